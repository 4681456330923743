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

/* ---- requests ---- */

enum { /* Field numbers of RouteRequest. */
       IN_ROUTER = 1,
       IN_TEXT = 2,
       IN_TASK = 3,
       IN_FEATURES = 4,
       IN_EMBEDDING = 5,
       IN_DECISION_ID = 9,
       IN_MAX_RANKED = 11,
       IN_TENANT = 38,
       IN_SESSION_ID = 50,
       IN_NUMBERS = 64, /* Bits to remember them in. */
};

static struct slice *text_of(struct route_in *in, uint32_t number)
{
    switch (number) {
    case IN_ROUTER:
        return &in->router;
    case IN_TEXT:
        return &in->text;
    case IN_TASK:
        return &in->task;
    case IN_DECISION_ID:
        return &in->decision_id;
    case IN_TENANT:
        return &in->tenant;
    case IN_SESSION_ID:
        return &in->session;
    default:
        return NULL;
    }
}

/* Numbers are four bytes on the wire, and stand anywhere. */
static bool take_vector(struct slice bytes, struct arena *arena, const float **ret_v, size_t *ret_n)
{
    if (bytes.len == 0 || bytes.len % sizeof **ret_v)
        return false;
    void *v = arena_alloc(arena, bytes.len);
    if (!v)
        return false;
    memcpy(v, bytes.data, bytes.len);
    *ret_v = v;
    *ret_n = bytes.len / sizeof **ret_v;
    return true;
}

static bool take_bytes(const struct wire_field *f, struct arena *arena, struct route_in *in)
{
    if (f->number == IN_FEATURES)
        return take_vector(f->bytes, arena, &in->features, &in->features_n);
    if (f->number == IN_EMBEDDING)
        return take_vector(f->bytes, arena, &in->embedding, &in->embedding_n);
    struct slice *text = text_of(in, f->number);
    if (!text)
        return false;
    /* A NUL in a name is refused elsewhere, with a sentence; in a prompt it is nothing special. */
    if (f->number != IN_TEXT && f->bytes.len && memchr(f->bytes.data, 0, f->bytes.len))
        return false;
    *text = f->bytes;
    return true;
}

static size_t varint_len(uint64_t v)
{
    size_t n = 1;
    for (; v >= 0x80; v >>= 7)
        n++;
    return n;
}

/* Whether key and length, or key and value, are as short as can be: what is longer some readers
 * take and others do not. */
static bool is_short(const struct wire_field *f, size_t len)
{
    uint64_t second = f->type == WIRE_VARINT ? f->value : f->bytes.len;
    return len == varint_len((uint64_t)f->number << 3) + varint_len(second) + f->bytes.len;
}

bool codec_plain_in(struct slice body, struct arena *arena, struct route_in *ret_in)
{
    struct wire_field f;
    uint64_t seen = 0;
    memset(ret_in, 0, sizeof *ret_in);
    ret_in->body = body;
    ret_in->max_ranked = 1;
    for (size_t before = body.len; wire_next(&body, &f); before = body.len) {
        if (f.number >= IN_NUMBERS || (seen >> f.number & 1) || !is_short(&f, before - body.len))
            return false;
        seen |= 1ULL << f.number;
        if (f.type == WIRE_VARINT && f.number == IN_MAX_RANKED && f.value <= MAX_RANKED)
            ret_in->max_ranked = (uint32_t)f.value;
        else if (f.type != WIRE_BYTES || !take_bytes(&f, arena, ret_in))
            return false;
    }
    return body.len == 0;
}

/* ---- answers ---- */

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
