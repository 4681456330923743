#include "server/loop/audit.h"
#include "state/base/mem.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* version u8 | decision | position u64 | seed u64 | policy str | fallback u8 | weights_n u8 |
 * f64... | arms_n u32 | arms */
enum { RECORD_VERSION = 1, ARM_BYTES = 4 + 3 * 4 + 4 };

void audit_encode(const struct audit_record *r, struct buf *out)
{
    assert(r->weights_n <= MAX_METRICS && r->arms_n <= MAX_ARMS);
    buf_put_u8(out, RECORD_VERSION);
    decision_encode(&r->decision, out);
    buf_put_u64(out, r->position);
    buf_put_u64(out, r->seed);
    buf_put_str(out, r->policy);
    buf_put_u8(out, r->fallback);
    buf_put_u8(out, (uint8_t)r->weights_n);
    for (uint32_t i = 0; i < r->weights_n; i++)
        buf_put_f64(out, r->weights[i]);
    buf_put_u32(out, r->arms_n);
    for (uint32_t i = 0; i < r->arms_n; i++) {
        buf_put_u32(out, r->arms[i].arm_uid);
        buf_put_f32(out, r->arms[i].propensity);
        buf_put_f32(out, r->arms[i].mean);
        buf_put_f32(out, r->arms[i].width);
        buf_put_u32(out, r->arms[i].pending);
    }
}

static void get_head(struct reader *r, struct audit_record *ret)
{
    if (reader_u8(r) != RECORD_VERSION || decision_decode(r, &ret->decision) != OK)
        r->failed = true;
    ret->position = reader_u64(r);
    ret->seed = reader_u64(r);
    const uint8_t *at = r->p;
    reader_str(r, ret->policy, sizeof ret->policy);
    if (!r->failed && strlen(ret->policy) + 2 != (size_t)(r->p - at))
        r->failed = true; /* A NUL inside: it would not be written back the same. */
    uint8_t fallback = reader_u8(r);
    if (fallback > 1)
        r->failed = true;
    ret->fallback = fallback == 1;
    ret->weights_n = reader_u8(r);
    if (ret->weights_n > MAX_METRICS)
        r->failed = true;
    for (uint32_t i = 0; i < ret->weights_n && !r->failed; i++) {
        ret->weights[i] = reader_f64(r);
        if (!isfinite(ret->weights[i]))
            r->failed = true;
    }
    ret->arms_n = reader_u32(r);
    /* Before anything is allocated: the arms are exactly what is left. */
    if (ret->arms_n > MAX_ARMS || reader_left(r) != (size_t)ret->arms_n * ARM_BYTES)
        r->failed = true;
}

static void get_arms(struct reader *r, struct audit_arm *arms, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        arms[i].arm_uid = reader_u32(r);
        arms[i].propensity = reader_f32(r);
        arms[i].mean = reader_f32(r);
        arms[i].width = reader_f32(r);
        arms[i].pending = reader_u32(r);
        if (!(arms[i].propensity >= 0 && arms[i].propensity <= 1) || !isfinite(arms[i].mean) ||
            !isfinite(arms[i].width))
            r->failed = true;
    }
}

enum err audit_decode(struct slice bytes, struct audit_record *ret)
{
    struct reader r;
    reader_init(&r, bytes);
    ret->arms = NULL;
    get_head(&r, ret);
    if (r.failed)
        return ERR_CORRUPT;
    if (ret->arms_n == 0)
        return OK;
    ret->arms = mem_alloc(ret->arms_n * sizeof *ret->arms);
    if (!ret->arms)
        return ERR_NOMEM;
    get_arms(&r, ret->arms, ret->arms_n);
    if (!r.failed)
        return OK;
    mem_free(ret->arms);
    ret->arms = NULL;
    return ERR_CORRUPT;
}
