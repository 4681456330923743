#include "tests/eval/examples.h"

#include <string.h>

static void put_escaped(struct buf *out, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        const char *escape = c == '\n' ? "\\n" : c == '\t' ? "\\t" : c == '\\' ? "\\\\" : NULL;
        if (escape)
            buf_put(out, escape, 2);
        else
            buf_put_u8(out, (uint8_t)c);
    }
}

void examples_put(const struct rows *rows, const uint32_t *order, uint32_t per_label,
                  bool by_family, struct buf *out, bool *ret_used)
{
    const struct names *names = by_family ? &rows->families : &rows->tasks;
    uint32_t have[ROWS_NAMES_MAX] = {0};
    memset(ret_used, 0, rows->n * sizeof *ret_used);
    for (uint32_t i = 0; i < rows->n; i++) {
        const struct row *r = &rows->row[order[i]];
        int label = by_family ? r->family : r->task;
        if (label < 0 || have[label] == per_label)
            continue;
        have[label]++;
        ret_used[order[i]] = true;
        buf_put(out, names->name[label], strlen(names->name[label]));
        buf_put_u8(out, '\t');
        put_escaped(out, r->text, r->text_len);
        buf_put_u8(out, '\n');
    }
}
