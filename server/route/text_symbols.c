#include "server/route/text_symbols.h"

#include "server/route/text_table.h"

#include <stdbool.h>
#include <string.h>

enum { RUN_MAX = 32 }; /* As Unicode's Stream-Safe format: a character and its marks. */

/* A starter with the marks that follow it, until the next starter says that they are all. */
struct run {
    uint32_t code[RUN_MAX];
    uint8_t combining[RUN_MAX];
    size_t n;
    uint8_t *out;
    size_t out_n, cap;
};

uint32_t text_code_next(const uint8_t **p, const uint8_t *end)
{
    const uint8_t *s = *p;
    uint32_t c = *s++;
    *p = s;
    if (c < 0x80)
        return c;
    uint32_t more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1;
    static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
    if (c < 0xc2 || c > 0xf4 || (size_t)(end - s) < more)
        return TEXT_CODE_INVALID;
    c &= 0x3fU >> more;
    for (uint32_t i = 0; i < more; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return TEXT_CODE_INVALID;
        c = c << 6 | (s[i] & 0x3f);
    }
    if (c < least[more] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
        return TEXT_CODE_INVALID;
    *p = s + more;
    return c;
}

static const struct text_entry *entry_of(uint32_t code)
{
    if (code >= 0x20000)
        return &text_table.entry[0];
    return &text_table.entry[text_table.page[text_table.page_of[code >> 7]][code & 127]];
}

static void emit(struct run *r, uint32_t code)
{
    if (r->out_n < r->cap)
        r->out[r->out_n++] = code == ' ' ? TEXT_SYMBOL_SPACE : entry_of(code)->symbol;
}

/* Hangul by arithmetic [Unicode 3.12]: leading + vowel, and that + trailing. */
static uint32_t compose_hangul(uint32_t first, uint32_t second)
{
    if (first - 0x1100 < 19 && second - 0x1161 < 21)
        return 0xac00 + ((first - 0x1100) * 21 + second - 0x1161) * 28;
    if (first - 0xac00 < 11172 && (first - 0xac00) % 28 == 0 && second - 0x11a8 < 27)
        return first + second - 0x11a7;
    return 0;
}

/* 0: they stay two. */
static uint32_t compose(uint32_t first, uint32_t second)
{
    size_t low = 0, high = TEXT16_PAIRS;
    while (low < high) {
        size_t mid = (low + high) / 2;
        const struct text_pair *p = &text_table.pair[mid];
        if (p->first == first && p->second == second)
            return p->composed;
        if (p->first < first || (p->first == first && p->second < second))
            low = mid + 1;
        else
            high = mid;
    }
    return compose_hangul(first, second);
}

/* Canonical order, then the starter takes every mark it can that no kept one blocks. */
static void settle(struct run *r)
{
    for (size_t i = 2; i < r->n; i++) {
        uint32_t code = r->code[i];
        uint8_t combining = r->combining[i];
        size_t k = i;
        for (; k > 0 && r->combining[k - 1] > combining; k--) {
            r->code[k] = r->code[k - 1];
            r->combining[k] = r->combining[k - 1];
        }
        r->code[k] = code;
        r->combining[k] = combining;
    }
    if (r->n < 2 || r->combining[0] != 0)
        return;
    size_t kept = 1;
    for (size_t i = 1; i < r->n; i++) {
        bool blocked = kept > 1 && r->combining[kept - 1] >= r->combining[i];
        uint32_t composed = blocked ? 0 : compose(r->code[0], r->code[i]);
        if (composed) {
            r->code[0] = composed;
            continue;
        }
        r->code[kept] = r->code[i];
        r->combining[kept++] = r->combining[i];
    }
    r->n = kept;
}

static void flush(struct run *r)
{
    settle(r);
    for (size_t i = 0; i < r->n; i++)
        emit(r, r->code[i]);
    r->n = 0;
}

static void push(struct run *r, uint32_t code, const struct text_entry *e)
{
    if (e->combining == 0 && r->n > 0) {
        settle(r);
        if (e->second && r->n == 1 && r->combining[0] == 0) {
            uint32_t composed = compose(r->code[0], code);
            if (composed) {
                r->code[0] = composed;
                return;
            }
        }
        flush(r);
    }
    if (r->n == RUN_MAX)
        flush(r);
    r->code[r->n] = code;
    r->combining[r->n++] = e->combining;
}

static void push_expanded(struct run *r, uint32_t code)
{
    const struct text_entry *e = entry_of(code);
    if (e->expansion_n == 0) {
        push(r, code, e);
        return;
    }
    for (size_t i = 0; i < e->expansion_n; i++) {
        uint32_t part = text_table.pool[e->pool_at + i];
        push(r, part, entry_of(part));
    }
}

static uint32_t as_space(uint32_t c)
{
    return c == '\t' || c == '\n' || c == '\r' ? ' ' : c;
}

/* Characters of ASCII that ASCII follows, from the first at p; returns what comes after them. */
static const uint8_t *emit_ascii(struct run *r, const uint8_t *p, const uint8_t *end)
{
    const uint16_t *page = text_table.page[text_table.page_of[0]];
    size_t room = r->cap - r->out_n;
    const uint8_t *stop = (size_t)(end - p) > room ? p + room : end;
    uint8_t *out = r->out + r->out_n;
    do {
        uint32_t c = as_space(*p++);
        *out++ = c == ' ' ? TEXT_SYMBOL_SPACE : text_table.entry[page[c]].symbol;
    } while (p < stop && *p < 0x80 && (p + 1 == end || p[1] < 0x80));
    r->out_n = (size_t)(out - r->out);
    return p;
}

size_t text_symbols(const uint8_t *text, size_t len, uint8_t *ret_symbols, size_t cap)
{
    struct run r;
    r.n = 0;
    r.out = ret_symbols;
    r.out_n = 0;
    r.cap = cap;
    const uint8_t *p = text, *end = text + len;
    while (p < end && r.out_n < cap) {
        /* Most of most prompts: no mark can follow a character that ASCII follows. */
        if (*p < 0x80 && (p + 1 == end || p[1] < 0x80)) {
            if (r.n)
                flush(&r);
            p = emit_ascii(&r, p, end);
            continue;
        }
        push_expanded(&r, as_space(text_code_next(&p, end)));
    }
    flush(&r);
    return r.out_n;
}
