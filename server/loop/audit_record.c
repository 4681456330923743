#include "server/loop/audit.h"
#include "state/base/mem.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* version u8 | decision | position u64 | seed u64 | policy str | fallback u8 | baseline u32 |
 * weights_n u8 | f64... | lower u16 | arms_n u32 | arms | terms_n u8 | terms: arm u32 | silence f32
 * | charge f32 | predicted f32 of each metric with weight */
enum { RECORD_VERSION = 2, ARM_BYTES = 4 + 3 * 4 + 4 };

static void put_terms(const struct audit_record *r, struct buf *out)
{
    assert(r->terms_n <= AUDIT_TERMS_MAX);
    buf_put_u8(out, (uint8_t)r->terms_n);
    for (uint32_t i = 0; i < r->terms_n; i++) {
        buf_put_u32(out, r->terms[i].arm);
        buf_put_f32(out, r->terms[i].silence);
        buf_put_f32(out, r->terms[i].charge);
        for (uint32_t m = 0; m < r->weights_n; m++)
            if (r->weights[m] > 0)
                buf_put_f32(out, r->terms[i].predicted[m]);
    }
}

void audit_encode(const struct audit_record *r, struct buf *out)
{
    assert(r->weights_n <= MAX_METRICS && r->arms_n <= MAX_ARMS);
    buf_put_u8(out, RECORD_VERSION);
    decision_encode(&r->decision, out);
    buf_put_u64(out, r->position);
    buf_put_u64(out, r->seed);
    buf_put_str(out, r->policy);
    buf_put_u8(out, r->fallback);
    buf_put_u32(out, r->baseline_uid);
    buf_put_u8(out, (uint8_t)r->weights_n);
    for (uint32_t i = 0; i < r->weights_n; i++)
        buf_put_f64(out, r->weights[i]);
    buf_put_u16(out, r->lower_mask);
    buf_put_u32(out, r->arms_n);
    for (uint32_t i = 0; i < r->arms_n; i++) {
        buf_put_u32(out, r->arms[i].arm_uid);
        buf_put_f32(out, r->arms[i].propensity);
        buf_put_f32(out, r->arms[i].mean);
        buf_put_f32(out, r->arms[i].width);
        buf_put_u32(out, r->arms[i].pending);
    }
    put_terms(r, out);
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
    ret->baseline_uid = reader_u32(r);
    ret->weights_n = reader_u8(r);
    if (ret->weights_n > MAX_METRICS)
        r->failed = true;
    for (uint32_t i = 0; i < ret->weights_n && !r->failed; i++) {
        ret->weights[i] = reader_f64(r);
        if (!isfinite(ret->weights[i]))
            r->failed = true;
    }
    ret->lower_mask = reader_u16(r);
    if (!r->failed && ret->lower_mask >> ret->weights_n)
        r->failed = true;
    ret->arms_n = reader_u32(r);
    /* Before anything is allocated: the arms are there, and the count of their terms. */
    if (ret->arms_n > MAX_ARMS || reader_left(r) < (size_t)ret->arms_n * ARM_BYTES + 1)
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

static float get_finite(struct reader *r)
{
    float v = reader_f32(r);
    if (isfinite(v))
        return v;
    r->failed = true;
    return 0;
}

/* In the order of the arms, each at most once. */
static void get_terms(struct reader *r, struct audit_record *ret)
{
    ret->terms_n = reader_u8(r);
    if (ret->terms_n > AUDIT_TERMS_MAX)
        r->failed = true;
    for (uint32_t i = 0; i < ret->terms_n && !r->failed; i++) {
        struct audit_terms *t = &ret->terms[i];
        memset(t, 0, sizeof *t);
        t->arm = reader_u32(r);
        if (t->arm >= ret->arms_n || (i && t->arm <= ret->terms[i - 1].arm))
            r->failed = true;
        t->silence = get_finite(r);
        t->charge = get_finite(r);
        for (uint32_t m = 0; m < ret->weights_n; m++)
            if (ret->weights[m] > 0)
                t->predicted[m] = get_finite(r);
    }
    if (reader_left(r) != 0)
        r->failed = true;
}

enum err audit_decode(struct slice bytes, struct audit_record *ret)
{
    struct reader r;
    reader_init(&r, bytes);
    ret->arms = NULL;
    get_head(&r, ret);
    if (r.failed)
        return ERR_CORRUPT;
    if (ret->arms_n == 0) {
        get_terms(&r, ret);
        return r.failed ? ERR_CORRUPT : OK;
    }
    ret->arms = mem_alloc(ret->arms_n * sizeof *ret->arms);
    if (!ret->arms)
        return ERR_NOMEM;
    get_arms(&r, ret->arms, ret->arms_n);
    get_terms(&r, ret);
    if (!r.failed)
        return OK;
    mem_free(ret->arms);
    ret->arms = NULL;
    return ERR_CORRUPT;
}
