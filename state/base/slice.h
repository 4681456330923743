/* slice.h - borrowed bytes, and growing bytes with a bounded reader.
 * Owns: a `struct buf` owns its bytes; a slice owns nothing.
 * Byte order is little-endian on disk and in tokens: shunt runs on x86-64 and says so at start.
 * Threads: no sharing. */
#pragma once

#include "state/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
    const void *data;
    size_t len;
};

/* Of a text, without its NUL. An absent one (NULL) stays NULL. */
static inline struct slice slice_text(const char *text)
{
    return (struct slice){text, text ? strlen(text) : 0};
}

struct buf {
    uint8_t *data;
    size_t len, cap;
    bool failed; /* An allocation failed; every later put is a no-op. Check once, at the end. */
};

void buf_init(struct buf *b);
void buf_done(struct buf *b);
void buf_reset(struct buf *b); /* Keeps the memory. */
void buf_put(struct buf *b, const void *data, size_t len);
/* Room for len > 0 bytes behind what is there, for the caller to write and add to `len`; NULL:
 * failed. */
uint8_t *buf_room(struct buf *b, size_t len);
void buf_put_u8(struct buf *b, uint8_t v);
void buf_put_u16(struct buf *b, uint16_t v);
void buf_put_u32(struct buf *b, uint32_t v);
void buf_put_u64(struct buf *b, uint64_t v);
void buf_put_f64(struct buf *b, double v);
void buf_put_f32(struct buf *b, float v);
void buf_put_str(struct buf *b, const char *s);   /* u16 length, bytes, no NUL. */
MUST_USE enum err buf_error(const struct buf *b); /* OK or ERR_NOMEM. */

/* Reads forward; past the end it sets `failed` and yields zeros, so decoders check once. */
struct reader {
    const uint8_t *p, *end;
    bool failed;
};

void reader_init(struct reader *r, struct slice s);
const void *reader_take(struct reader *r, size_t len); /* Borrowed; NULL when short. */
void reader_copy(struct reader *r, void *dst, size_t len);
uint8_t reader_u8(struct reader *r);
uint16_t reader_u16(struct reader *r);
uint32_t reader_u32(struct reader *r);
uint64_t reader_u64(struct reader *r);
double reader_f64(struct reader *r);
float reader_f32(struct reader *r);
void reader_str(struct reader *r, char *dst,
                size_t cap); /* Fails when it does not fit with its NUL. */
size_t reader_left(const struct reader *r);
