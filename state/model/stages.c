#include "state/model/stages.h"

#include <string.h>

/* Where the name stands or would stand. */
static uint32_t find_place(const struct stages *stages, struct slice name, bool *ret_there)
{
    *ret_there = false;
    for (uint32_t i = 0; i < stages->n; i++) {
        size_t len = strlen(stages->all[i].name), both = len < name.len ? len : name.len;
        int order = memcmp(stages->all[i].name, name.data, both);
        *ret_there = order == 0 && len == name.len;
        if (order > 0 || (order == 0 && len >= name.len))
            return i;
    }
    return stages->n;
}

const struct stage *stages_find(const struct stages *stages, struct slice name)
{
    bool there;
    if (name.len == 0)
        return NULL;
    uint32_t i = find_place(stages, name, &there);
    return there ? &stages->all[i] : NULL;
}

bool stages_remove(struct stages *stages, struct slice name)
{
    const struct stage *s = stages_find(stages, name);
    if (!s)
        return false;
    size_t i = (size_t)(s - stages->all);
    memmove(&stages->all[i], &stages->all[i + 1], (stages->n - i - 1) * sizeof *stages->all);
    memset(&stages->all[--stages->n], 0, sizeof *stages->all);
    return true;
}

enum err stages_put(struct stages *stages, struct slice name, struct slice allowed,
                    struct err_detail *detail)
{
    if (!name_valid(name.data, name.len))
        return err_say(detail, ERR_BAD_NAME,
                       "stages: a stage's name is 1 to 64 of A-Z a-z 0-9 . _ / - and no part . or "
                       "..");
    if (allowed.len >= STAGE_SELECTOR_CAP)
        return err_say(detail, ERR_TOO_LARGE,
                       "stages: the selector of %.*s has %zu bytes; at most %d", (int)name.len,
                       (const char *)name.data, allowed.len, STAGE_SELECTOR_CAP - 1);
    bool there;
    uint32_t i = find_place(stages, name, &there);
    if (!there && stages->n == MAX_STAGES)
        return err_say(detail, ERR_OUT_OF_RANGE, "stages: more than %d", MAX_STAGES);
    if (!there) {
        memmove(&stages->all[i + 1], &stages->all[i], (stages->n - i) * sizeof *stages->all);
        stages->n++;
    }
    memset(&stages->all[i], 0, sizeof stages->all[i]);
    memcpy(stages->all[i].name, name.data, name.len);
    if (allowed.len)
        memcpy(stages->all[i].allowed, allowed.data, allowed.len);
    return OK;
}

void stages_encode(const struct stages *stages, struct buf *out)
{
    buf_put_u8(out, (uint8_t)stages->n);
    for (uint32_t i = 0; i < stages->n; i++) {
        buf_put_str(out, stages->all[i].name);
        buf_put_str(out, stages->all[i].allowed);
    }
}

/* A text of the byte form, borrowed from it. */
static struct slice take_text(struct reader *r)
{
    size_t len = reader_u16(r);
    const char *s = reader_take(r, len);
    if (!s || memchr(s, '\0', len)) {
        r->failed = true;
        return (struct slice){"", 0};
    }
    return (struct slice){s, len};
}

void stages_decode(struct reader *r, struct stages *ret)
{
    memset(ret, 0, sizeof *ret);
    uint32_t n = reader_u8(r);
    for (uint32_t i = 0; i < n && !r->failed; i++) {
        struct slice name = take_text(r), allowed = take_text(r);
        /* In order and each once: there is one form, so what stood last before this must stay last
         * but one. */
        if (r->failed || stages_put(ret, name, allowed, NULL) != OK || ret->n != i + 1 ||
            strlen(ret->all[i].name) != name.len ||
            memcmp(ret->all[i].name, name.data, name.len) != 0)
            r->failed = true;
    }
}
