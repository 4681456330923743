#include "client/ctl/table.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS_MAX 32

struct table {
    char *titles[COLUMNS_MAX];
    enum table_align align[COLUMNS_MAX];
    size_t columns;
    char **cells;
    size_t cells_n, cells_cap;
    bool failed;
};

struct range {
    uint32_t first, last;
};

/* One character at *p (not NUL); moves *p on. 0xFFFD for an invalid byte, which is one step. */
static uint32_t utf8_next(const char **p)
{
    const unsigned char *s = (const unsigned char *)*p;
    size_t more = s[0] < 0x80 ? 0 : s[0] < 0xC2 ? 4 : s[0] < 0xE0 ? 1 : s[0] < 0xF0 ? 2 : 3;
    if (more == 4 || s[0] > 0xF4) {
        *p += 1;
        return 0xFFFD;
    }
    uint32_t c = more ? s[0] & (0x3FU >> more) : s[0];
    for (size_t i = 1; i <= more; i++) {
        if ((s[i] & 0xC0) != 0x80) {
            *p += 1;
            return 0xFFFD;
        }
        c = (c << 6) | (s[i] & 0x3FU);
    }
    *p += more + 1;
    return c;
}

static bool in_ranges(uint32_t c, const struct range *ranges, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (c >= ranges[i].first && c <= ranges[i].last)
            return true;
    return false;
}

static bool is_control(uint32_t c)
{
    return c < 0x20 || (c >= 0x7F && c < 0xA0) || c == 0xFFFD || (c >= 0x202A && c <= 0x202E) ||
           (c >= 0x2066 && c <= 0x2069);
}

static size_t char_width(uint32_t c)
{
    static const struct range zero[] = {
        {0x300, 0x36F}, {0x200B, 0x200F}, {0x20D0, 0x20FF}, {0xFE00, 0xFE0F}, {0xFE20, 0xFE2F}};
    static const struct range wide[] = {{0x1100, 0x115F},  {0x2E80, 0xA4CF},   {0xAC00, 0xD7A3},
                                        {0xF900, 0xFAFF},  {0xFE30, 0xFE6F},   {0xFF00, 0xFF60},
                                        {0xFFE0, 0xFFE6},  {0x1F300, 0x1F64F}, {0x1F900, 0x1F9FF},
                                        {0x20000, 0x3FFFD}};
    if (is_control(c))
        return 1;
    if (in_ranges(c, zero, sizeof zero / sizeof *zero))
        return 0;
    return in_ranges(c, wide, sizeof wide / sizeof *wide) ? 2 : 1;
}

size_t table_text_width(const char *text)
{
    size_t width = 0;
    while (*text)
        width += char_width(utf8_next(&text));
    return width;
}

struct table *table_new(void)
{
    return calloc(1, sizeof(struct table));
}

void table_free(struct table *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->columns; i++)
        free(t->titles[i]);
    for (size_t i = 0; i < t->cells_n; i++)
        free(t->cells[i]);
    free(t->cells);
    free(t);
}

void table_column(struct table *t, const char *title, enum table_align align)
{
    if (t->columns == COLUMNS_MAX || !(t->titles[t->columns] = strdup(title))) {
        t->failed = true;
        return;
    }
    t->align[t->columns++] = align;
}

void table_cell(struct table *t, const char *fmt, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, fmt);
    int len = vasprintf(&text, fmt, args);
    va_end(args);
    if (len < 0) {
        t->failed = true;
        return;
    }
    if (t->cells_n == t->cells_cap) {
        size_t cap = t->cells_cap ? t->cells_cap * 2 : 64;
        char **cells = realloc(t->cells, cap * sizeof *cells);
        if (!cells) {
            free(text);
            t->failed = true;
            return;
        }
        t->cells = cells;
        t->cells_cap = cap;
    }
    t->cells[t->cells_n++] = text;
}

static void put_text(const char *text, FILE *out)
{
    while (*text) {
        const char *start = text;
        uint32_t c = utf8_next(&text);
        if (is_control(c))
            fputc('?', out);
        else
            fwrite(start, 1, (size_t)(text - start), out);
    }
}

static void put_padded(const char *text, size_t width, enum table_align align, FILE *out)
{
    int pad = (int)(width - table_text_width(text));
    if (align == TABLE_RIGHT)
        fprintf(out, "%*s", pad, "");
    put_text(text, out);
    if (align == TABLE_LEFT)
        fprintf(out, "%*s", pad, "");
}

/* One line of n <= columns cells, without blanks at its end. False: out of memory. */
static bool put_line(const struct table *t, const size_t *width, char *const *cells, size_t n,
                     FILE *out)
{
    char *line = NULL;
    size_t len = 0;
    FILE *buffer = open_memstream(&line, &len);
    if (!buffer)
        return false;
    for (size_t i = 0; i < n; i++) {
        fputs(i ? "  " : "", buffer);
        put_padded(cells[i], width[i], t->align[i], buffer);
    }
    bool ok = fclose(buffer) == 0;
    while (ok && len && line[len - 1] == ' ')
        len--;
    if (ok)
        fwrite(line, 1, len, out);
    free(line);
    return ok;
}

bool table_print(const struct table *t, FILE *out, bool bold)
{
    if (t->failed || !t->columns)
        return false;
    size_t width[COLUMNS_MAX];
    for (size_t i = 0; i < t->columns; i++)
        width[i] = table_text_width(t->titles[i]);
    for (size_t i = 0; i < t->cells_n; i++) {
        size_t w = table_text_width(t->cells[i]);
        if (w > width[i % t->columns])
            width[i % t->columns] = w;
    }
    fputs(bold ? "\033[1m" : "", out);
    bool ok = put_line(t, width, t->titles, t->columns, out);
    fputs(bold ? "\033[0m\n" : "\n", out);
    for (size_t i = 0; i < t->cells_n && ok; i += t->columns) {
        size_t left = t->cells_n - i;
        ok = put_line(t, width, t->cells + i, left < t->columns ? left : t->columns, out);
        fputs("\n", out);
    }
    return ok;
}
