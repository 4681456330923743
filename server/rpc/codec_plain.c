#include "server/rpc/codec_plain.h"

#include "server/rpc/wire.h"

#include <string.h>

enum { /* Field numbers: of RouteResponse, ... */
       DECISION_ID = 1,
       DECISION_TOKEN = 2,
       ARM_ID = 3,
       PROPENSITY = 4,
       REASON = 5,
       RANKING = 6,
       POSITION = 7,
       VERSION = 8,
       SESSION_RESERVED = 30,
       SESSION_LEFT = 31,
       LIMITS_UNCERTAIN = 34,
       /* ... and of RankedArm. */
       RANKED_ARM_ID = 1,
       RANKED_PROPENSITY = 2,
       RANKED_SCORE = 3,
};

enum {
    HEAD_MAX = ID_TEXT_CAP + NAME_CAP + 128, /* All but token and ranking. */
    RANKED_MAX = NAME_CAP + 48,
};

bool codec_plain_is(const struct route_out *out)
{
    return !out->adapter.shown && !out->shows_excluded;
}

size_t codec_plain_max(const struct route_out *out)
{
    return HEAD_MAX + out->token_len + (size_t)out->ranked_n * RANKED_MAX;
}

static uint8_t *put_field(uint8_t *to, uint32_t field, unsigned type)
{
    return wire_put_varint(to, (uint64_t)field << 3 | type);
}

static uint8_t *put_number(uint8_t *to, uint32_t field, uint64_t v)
{
    return wire_put_varint(put_field(to, field, WIRE_VARINT), v);
}

static uint8_t *put_double(uint8_t *to, uint32_t field, double v)
{
    to = put_field(to, field, WIRE_FIXED64);
    memcpy(to, &v, sizeof v);
    return to + sizeof v;
}

static uint8_t *put_bytes(uint8_t *to, uint32_t field, const void *bytes, size_t len)
{
    to = wire_put_varint(put_field(to, field, WIRE_BYTES), len);
    memcpy(to, bytes, len);
    return to + len;
}

static uint8_t *put_ranked(uint8_t *to, const struct ranked_arm *a)
{
    uint8_t *begin = put_field(to, RANKING, WIRE_BYTES);
    to = put_bytes(begin, RANKED_ARM_ID, a->name, strlen(a->name));
    to = put_double(to, RANKED_PROPENSITY, a->propensity);
    to = put_double(to, RANKED_SCORE, a->mean + a->width);
    return wire_put_length(begin, to);
}

size_t codec_plain_pack(const struct route_out *out, uint8_t *to)
{
    const uint8_t *begin = to;
    if (out->token_len) {
        to = put_bytes(to, DECISION_ID, out->decision_id, ID_TEXT_CAP - 1);
        to = put_bytes(to, DECISION_TOKEN, out->token, out->token_len);
    }
    to = put_bytes(to, ARM_ID, out->arm, strlen(out->arm));
    to = put_double(to, PROPENSITY, out->propensity);
    to = put_number(to, REASON, (uint64_t)out->reason);
    for (uint32_t i = 0; i < out->ranked_n; i++)
        to = put_ranked(to, &out->ranked[i]);
    to = put_number(to, POSITION, out->position);
    to = put_number(to, VERSION, out->arm_version);
    if (out->strict) {
        to = put_double(to, SESSION_RESERVED, out->reserved);
        to = put_double(to, SESSION_LEFT, out->left);
    }
    if (out->limits_uncertain)
        to = put_number(to, LIMITS_UNCERTAIN, 1);
    return (size_t)(to - begin);
}
