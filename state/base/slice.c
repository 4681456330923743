#include "state/base/slice.h"

#include "state/base/mem.h"

#include <string.h>

void buf_init(struct buf *b)
{
    memset(b, 0, sizeof *b);
}

void buf_done(struct buf *b)
{
    mem_free(b->data);
    buf_init(b);
}

void buf_reset(struct buf *b)
{
    b->len = 0;
    b->failed = false;
}

uint8_t *buf_room(struct buf *b, size_t len)
{
    if (b->failed)
        return NULL;
    if (len > b->cap - b->len) {
        size_t cap = b->cap ? b->cap : 256;
        while (cap - b->len < len)
            cap *= 2;
        uint8_t *grown = mem_realloc(b->data, cap);
        if (!grown) {
            b->failed = true;
            return NULL;
        }
        b->data = grown;
        b->cap = cap;
    }
    return b->data + b->len;
}

void buf_put(struct buf *b, const void *data, size_t len)
{
    uint8_t *to = len ? buf_room(b, len) : NULL;
    if (!to)
        return;
    memcpy(to, data, len);
    b->len += len;
}

/* The same for a few bytes whose number the compiler knows: mostly there is room. */
static inline void put_few(struct buf *b, const void *data, size_t len)
{
    if (b->failed || len > b->cap - b->len) {
        buf_put(b, data, len);
        return;
    }
    memcpy(b->data + b->len, data, len);
    b->len += len;
}

void buf_put_u8(struct buf *b, uint8_t v)
{
    put_few(b, &v, sizeof v);
}

void buf_put_u16(struct buf *b, uint16_t v)
{
    put_few(b, &v, sizeof v);
}

void buf_put_u32(struct buf *b, uint32_t v)
{
    put_few(b, &v, sizeof v);
}

void buf_put_u64(struct buf *b, uint64_t v)
{
    put_few(b, &v, sizeof v);
}

void buf_put_f64(struct buf *b, double v)
{
    put_few(b, &v, sizeof v);
}

void buf_put_f32(struct buf *b, float v)
{
    put_few(b, &v, sizeof v);
}

void buf_put_str(struct buf *b, const char *s)
{
    size_t len = strlen(s);
    if (len > UINT16_MAX)
        len = UINT16_MAX;
    buf_put_u16(b, (uint16_t)len);
    buf_put(b, s, len);
}

enum err buf_error(const struct buf *b)
{
    return b->failed ? ERR_NOMEM : OK;
}

void reader_init(struct reader *r, struct slice s)
{
    r->p = s.data;
    r->end = s.len ? r->p + s.len : r->p;
    r->failed = false;
}

const void *reader_take(struct reader *r, size_t len)
{
    if (r->failed || (size_t)(r->end - r->p) < len) {
        r->failed = true;
        return NULL;
    }
    const void *at = r->p;
    r->p += len;
    return at;
}

void reader_copy(struct reader *r, void *dst, size_t len)
{
    const void *at = reader_take(r, len);
    if (at && len)
        memcpy(dst, at, len);
    else if (len)
        memset(dst, 0, len);
}

uint8_t reader_u8(struct reader *r)
{
    uint8_t v;
    reader_copy(r, &v, sizeof v);
    return v;
}

uint16_t reader_u16(struct reader *r)
{
    uint16_t v;
    reader_copy(r, &v, sizeof v);
    return v;
}

uint32_t reader_u32(struct reader *r)
{
    uint32_t v;
    reader_copy(r, &v, sizeof v);
    return v;
}

uint64_t reader_u64(struct reader *r)
{
    uint64_t v;
    reader_copy(r, &v, sizeof v);
    return v;
}

double reader_f64(struct reader *r)
{
    double v;
    reader_copy(r, &v, sizeof v);
    return v;
}

float reader_f32(struct reader *r)
{
    float v;
    reader_copy(r, &v, sizeof v);
    return v;
}

void reader_str(struct reader *r, char *dst, size_t cap)
{
    size_t len = reader_u16(r);
    if (len >= cap)
        r->failed = true;
    const void *at = reader_take(r, len);
    if (!at)
        len = 0;
    if (len)
        memcpy(dst, at, len);
    dst[len] = '\0';
}

size_t reader_left(const struct reader *r)
{
    return (size_t)(r->end - r->p);
}
