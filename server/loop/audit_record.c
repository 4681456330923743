#include "server/loop/audit.h"
#include "state/base/mem.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* version u8 | decision | position u64 | seed u64 | kept f32 | policy str | fallback u8 | baseline
 * u32 | weights_n u8 | f64... | lower u16 | paced u8 | budget | arms_n u32 | arms | terms_n u8 |
 * terms: arm u32 | silence f32 | charge f32 | pacing f32 when paced | predicted f32 of each metric
 * with weight. budget, when paced: metric u8 | tenant str | per_request f64 | lambda f64 |
 * affordable f64 | breaker u8 | refused_n u32 | (arm u32 | cost f32) of the first 64 */
enum { RECORD_VERSION = 4, ARM_BYTES = 4 + 3 * 4 + 4 };

static void put_terms(const struct audit_record *r, struct buf *out)
{
    assert(r->terms_n <= AUDIT_TERMS_MAX);
    buf_put_u8(out, (uint8_t)r->terms_n);
    for (uint32_t i = 0; i < r->terms_n; i++) {
        buf_put_u32(out, r->terms[i].arm);
        buf_put_f32(out, r->terms[i].silence);
        buf_put_f32(out, r->terms[i].charge);
        if (r->budget.paced)
            buf_put_f32(out, r->terms[i].pacing);
        for (uint32_t m = 0; m < r->weights_n; m++)
            if (r->weights[m] > 0)
                buf_put_f32(out, r->terms[i].predicted[m]);
    }
}

/* Every decision has them all: room is made once, and a row is as it stands in memory. */
static void put_arms(const struct audit_record *r, struct buf *out)
{
    static_assert(sizeof *r->arms == ARM_BYTES, "a row has no padding, and the order of the form");
    size_t len = r->arms_n * sizeof *r->arms;
    buf_put_u32(out, r->arms_n);
    buf_put(out, r->arms, len);
}

static uint32_t refused_kept(const struct audit_budget *b)
{
    return b->refused_n < AUDIT_REFUSED_MAX ? b->refused_n : AUDIT_REFUSED_MAX;
}

static void put_budget(const struct audit_budget *b, struct buf *out)
{
    buf_put_u8(out, b->paced);
    if (!b->paced)
        return;
    buf_put_u8(out, b->metric);
    buf_put_str(out, b->tenant);
    buf_put_f64(out, b->per_request);
    buf_put_f64(out, b->lambda);
    buf_put_f64(out, b->affordable);
    buf_put_u8(out, b->breaker);
    buf_put_u32(out, b->refused_n);
    for (uint32_t i = 0; i < refused_kept(b); i++) {
        buf_put_u32(out, b->refused[i].arm_uid);
        buf_put_f32(out, b->refused[i].cost);
    }
}

void audit_encode(const struct audit_record *r, struct buf *out)
{
    assert(r->weights_n <= MAX_METRICS && r->arms_n <= MAX_ARMS);
    buf_put_u8(out, RECORD_VERSION);
    decision_encode(&r->decision, out);
    buf_put_u64(out, r->position);
    buf_put_u64(out, r->seed);
    buf_put_f32(out, r->kept);
    buf_put_str(out, r->policy);
    buf_put_u8(out, r->fallback);
    buf_put_u32(out, r->baseline_uid);
    buf_put_u8(out, (uint8_t)r->weights_n);
    for (uint32_t i = 0; i < r->weights_n; i++)
        buf_put_f64(out, r->weights[i]);
    buf_put_u16(out, r->lower_mask);
    put_budget(&r->budget, out);
    put_arms(r, out);
    put_terms(r, out);
}

static float get_finite(struct reader *r)
{
    float v = reader_f32(r);
    if (isfinite(v))
        return v;
    r->failed = true;
    return 0;
}

static double get_amount(struct reader *r)
{
    double v = reader_f64(r);
    if (isfinite(v) && v >= 0)
        return v;
    r->failed = true;
    return 0;
}

static bool get_bool(struct reader *r)
{
    uint8_t v = reader_u8(r);
    if (v > 1)
        r->failed = true;
    return v == 1;
}

/* A text that holds no NUL: else it would not be written back the same. */
static void get_text(struct reader *r, char *ret, size_t cap)
{
    const uint8_t *at = r->p;
    reader_str(r, ret, cap);
    if (!r->failed && strlen(ret) + 2 != (size_t)(r->p - at))
        r->failed = true;
}

static void get_budget(struct reader *r, struct audit_budget *ret)
{
    memset(ret, 0, sizeof *ret);
    ret->paced = get_bool(r);
    if (!ret->paced)
        return;
    ret->metric = reader_u8(r);
    if (ret->metric >= MAX_METRICS)
        r->failed = true;
    get_text(r, ret->tenant, sizeof ret->tenant);
    ret->per_request = get_amount(r);
    ret->lambda = get_amount(r);
    ret->affordable = get_amount(r);
    ret->breaker = get_bool(r);
    ret->refused_n = reader_u32(r);
    if (ret->refused_n > MAX_ARMS)
        r->failed = true;
    for (uint32_t i = 0; i < refused_kept(ret) && !r->failed; i++) {
        ret->refused[i].arm_uid = reader_u32(r);
        ret->refused[i].cost = get_finite(r);
    }
}

static void get_head(struct reader *r, struct audit_record *ret)
{
    if (reader_u8(r) != RECORD_VERSION || decision_decode(r, &ret->decision) != OK)
        r->failed = true;
    ret->position = reader_u64(r);
    ret->seed = reader_u64(r);
    ret->kept = get_finite(r);
    if (ret->kept < 0 || ret->kept > 1)
        r->failed = true;
    get_text(r, ret->policy, sizeof ret->policy);
    ret->fallback = get_bool(r);
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
    get_budget(r, &ret->budget);
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
        t->pacing = ret->budget.paced ? get_finite(r) : 0;
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
