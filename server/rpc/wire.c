#include "server/rpc/wire.h"

#include <string.h>

static bool take_varint(struct slice *in, uint64_t *ret_value)
{
    const uint8_t *p = in->data;
    uint64_t value = 0;
    if (in->len && !(p[0] & 0x80)) { /* Most are. */
        *in = (struct slice){p + 1, in->len - 1};
        *ret_value = p[0];
        return true;
    }
    for (size_t i = 0; i < in->len && i < 10; i++) {
        value |= (uint64_t)(p[i] & 0x7f) << (7 * i);
        if (!(p[i] & 0x80)) {
            *in = (struct slice){p + i + 1, in->len - i - 1};
            *ret_value = value;
            return true;
        }
    }
    return false;
}

static bool skip(struct slice *in, uint64_t n)
{
    if (n > in->len)
        return false;
    *in = (struct slice){(const uint8_t *)in->data + n, in->len - (size_t)n};
    return true;
}

static bool take_field(struct slice *in, struct wire_field *ret_field)
{
    uint64_t key, n;
    if (!in->len || !take_varint(in, &key) || key >> 3 == 0 || key >> 3 > UINT32_MAX)
        return false;
    ret_field->number = (uint32_t)(key >> 3);
    ret_field->type = (unsigned)(key & 7);
    ret_field->bytes = (struct slice){NULL, 0};
    ret_field->value = 0;
    switch (ret_field->type) {
    case WIRE_VARINT:
        return take_varint(in, &ret_field->value);
    case WIRE_FIXED64:
        return skip(in, 8);
    case WIRE_BYTES:
        if (!take_varint(in, &n) || n > in->len)
            return false;
        ret_field->bytes = (struct slice){in->data, (size_t)n};
        return skip(in, n);
    case WIRE_FIXED32:
        return skip(in, 4);
    default:
        return false;
    }
}

bool wire_next(struct slice *in, struct wire_field *ret_field)
{
    struct slice rest = *in; /* A field that is cut leaves its bytes. */
    if (!take_field(&rest, ret_field))
        return false;
    *in = rest;
    return true;
}

uint8_t *wire_put_length(uint8_t *begin, uint8_t *end)
{
    uint8_t length[WIRE_VARINT_MAX];
    size_t len = (size_t)(end - begin), n = (size_t)(wire_put_varint(length, len) - length);
    memmove(begin + n, begin, len);
    memcpy(begin, length, n);
    return end + n;
}

uint8_t *wire_fill_length(uint8_t *begin, uint8_t *end)
{
    uint8_t length[WIRE_VARINT_MAX];
    size_t len = (size_t)(end - begin) - WIRE_ROOM;
    size_t n = (size_t)(wire_put_varint(length, len) - length);
    if (n != WIRE_ROOM)
        memmove(begin + n, begin + WIRE_ROOM, len);
    memcpy(begin, length, n);
    return begin + n + len;
}
