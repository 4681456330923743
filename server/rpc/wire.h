/* wire.h - the fields of a protobuf message, one after the other, without a schema.
 * Why: some need less than a message and more than bytes: the search for NULs in texts,
 * reflection's look into descriptors, batches taken apart and answers put together one by one.
 * Threads: pure. */
#pragma once

#include "state/base/slice.h"

enum { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

struct wire_field {
    uint32_t number;
    unsigned type;
    struct slice bytes; /* Of WIRE_BYTES; else empty. */
    uint64_t value;     /* Of WIRE_VARINT; else 0. */
};

/* Takes the next field off `in`. False: nothing left, or the bytes are not a message (then `in` is
 * not empty). */
bool wire_next(struct slice *in, struct wire_field *ret_field);

enum { WIRE_VARINT_MAX = 10 };
/* All write to `to`, or `begin`, and return where they ended. */
static inline uint8_t *wire_put_varint(uint8_t *to, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        *to++ = (uint8_t)(value | 0x80);
    *to++ = (uint8_t)value;
    return to;
}
/* Puts the length of begin..end before it: what is there moves up by at most WIRE_VARINT_MAX. */
uint8_t *wire_put_length(uint8_t *begin, uint8_t *end);
/* The same of bytes that were put at begin + WIRE_ROOM: they stay there if there are 128 to 16,383
 * of them. */
enum { WIRE_ROOM = 2 };
uint8_t *wire_fill_length(uint8_t *begin, uint8_t *end);
