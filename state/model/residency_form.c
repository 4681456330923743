/* The byte forms of residency.h: little-endian, one form each. */
#include "state/base/mem.h"
#include "state/model/residency.h"

#include <math.h>
#include <string.h>

/* The second byte of a record. */
enum residency_record { RECORD_UPDATE = 1, RECORD_LOADS = 2 };

static bool get_bool(struct reader *r)
{
    uint8_t v = reader_u8(r);
    if (v > 1)
        r->failed = true;
    return v == 1;
}

static double get_finite(struct reader *r)
{
    double v = reader_f64(r);
    if (!isfinite(v)) {
        r->failed = true;
        return 0;
    }
    return v;
}

static float get_finite_f32(struct reader *r)
{
    float v = reader_f32(r);
    if (!isfinite(v)) {
        r->failed = true;
        return 0;
    }
    return v;
}

static uint32_t get_at_most(struct reader *r, uint32_t max)
{
    uint32_t v = reader_u32(r);
    if (v > max) {
        r->failed = true;
        return 0;
    }
    return v;
}

/* A string inside the record may hold a NUL, which would make a second form of the same value. */
static void get_text(struct reader *r, char *dst, size_t cap)
{
    const uint8_t *before = r->p;
    reader_str(r, dst, cap);
    if (!r->failed && strlen(dst) + 2 != (size_t)(r->p - before))
        r->failed = true;
}

static void get_version(struct reader *r)
{
    if (reader_u8(r) != RESIDENCY_VERSION)
        r->failed = true;
}

static enum err outcome_of(const struct reader *r)
{
    return r->failed ? ERR_CORRUPT : OK;
}

void adapter_put(const struct adapter_config *a, struct buf *out)
{
    buf_put_str(out, a->base);
    buf_put_str(out, a->path);
    buf_put_u32(out, a->rank);
    buf_put_u64(out, a->bytes);
    buf_put_u8(out, a->pinned);
}

enum err adapter_get(struct reader *r, struct adapter_config *ret)
{
    memset(ret, 0, sizeof *ret);
    get_text(r, ret->base, sizeof ret->base);
    get_text(r, ret->path, sizeof ret->path);
    ret->rank = reader_u32(r);
    ret->bytes = reader_u64(r);
    ret->pinned = get_bool(r);
    return outcome_of(r);
}

void residency_put_settings(const struct residency_settings *s, struct buf *out)
{
    buf_put_u8(out, RESIDENCY_VERSION);
    buf_put_str(out, s->policy);
    buf_put_u32(out, s->slots);
    buf_put_u64(out, s->bytes);
    buf_put_f64(out, s->load_weight);
    buf_put_f64(out, s->load_ref_ms);
    buf_put_f64(out, s->bytes_per_ms);
    buf_put_f64(out, s->kappa);
    buf_put_u32(out, s->epoch_requests);
    buf_put_u32(out, s->epoch_max);
    buf_put_f64(out, s->epoch_loads);
    buf_put_f64(out, s->optimism);
    buf_put_f64(out, s->hysteresis);
    buf_put_u32(out, s->evictions_max);
    buf_put_u32(out, s->starve_requests);
    buf_put_f64(out, s->force_share);
    buf_put_f64(out, s->force_width);
    buf_put_u64(out, s->seed);
}

enum err residency_get_settings(struct reader *r, struct residency_settings *ret)
{
    memset(ret, 0, sizeof *ret);
    get_version(r);
    get_text(r, ret->policy, sizeof ret->policy);
    ret->slots = reader_u32(r);
    ret->bytes = reader_u64(r);
    ret->load_weight = get_finite(r);
    ret->load_ref_ms = get_finite(r);
    ret->bytes_per_ms = get_finite(r);
    ret->kappa = get_finite(r);
    ret->epoch_requests = reader_u32(r);
    ret->epoch_max = reader_u32(r);
    ret->epoch_loads = get_finite(r);
    ret->optimism = get_finite(r);
    ret->hysteresis = get_finite(r);
    ret->evictions_max = reader_u32(r);
    ret->starve_requests = reader_u32(r);
    ret->force_share = get_finite(r);
    ret->force_width = get_finite(r);
    ret->seed = reader_u64(r);
    return outcome_of(r);
}

static void put_arm(const struct residency_arm *a, struct buf *out)
{
    buf_put_u32(out, a->uid);
    buf_put_u8(out, a->desired);
    buf_put_f64(out, a->load_ms);
    buf_put_u64(out, a->loads);
    buf_put_u64(out, a->pulls);
    buf_put_u64(out, a->misses);
    buf_put_u64(out, a->waiting);
    buf_put_u64(out, a->used_at);
    buf_put_f64(out, a->rate);
}

/* In order of uid, each once: `last` is the one before, 0 at first. */
static void get_arm(struct reader *r, uint32_t last, struct residency_arm *ret)
{
    memset(ret, 0, sizeof *ret);
    ret->uid = reader_u32(r);
    ret->desired = get_bool(r);
    ret->load_ms = get_finite(r);
    ret->loads = reader_u64(r);
    ret->pulls = reader_u64(r);
    ret->misses = reader_u64(r);
    ret->waiting = reader_u64(r);
    ret->used_at = reader_u64(r);
    ret->rate = get_finite(r);
    if (ret->uid <= last)
        r->failed = true;
}

void residency_put(const struct residency *res, struct buf *out)
{
    size_t row = (size_t)res->d + res->weights_n;
    buf_put_u8(out, RESIDENCY_VERSION);
    buf_put_u32(out, res->d);
    buf_put_u32(out, res->weights_n);
    buf_put_u64(out, res->epoch);
    buf_put_u64(out, res->requests);
    buf_put_u64(out, res->length);
    buf_put_u64(out, (uint64_t)res->begun_us);
    buf_put_f64(out, res->value);
    buf_put_f64(out, res->uncached);
    buf_put_u32(out, res->arms_n);
    for (uint32_t i = 0; i < res->arms_n; i++)
        put_arm(&res->arms[i], out);
    buf_put_u32(out, res->window_n);
    buf_put_u32(out, res->window_next);
    for (size_t i = 0; i < res->window_n * row; i++)
        buf_put_f32(out, res->window[i]);
}

static enum err get_arms(struct reader *r, struct residency *ret)
{
    uint32_t n = get_at_most(r, MAX_ARMS);
    if (r->failed)
        return ERR_CORRUPT;
    TRY(residency_reserve(ret, n));
    for (uint32_t i = 0; i < n && !r->failed; i++) {
        get_arm(r, i ? ret->arms[i - 1].uid : 0, &ret->arms[i]);
        ret->arms_n = i + 1;
    }
    return outcome_of(r);
}

static enum err get_window(struct reader *r, struct residency *ret)
{
    uint32_t n = get_at_most(r, WINDOW_MAX), next = get_at_most(r, WINDOW_MAX - 1);
    if (r->failed || (n < WINDOW_MAX && next != n))
        return ERR_CORRUPT;
    size_t floats = n * ((size_t)ret->d + ret->weights_n);
    for (size_t i = 0; i < floats; i++)
        ret->window[i] = get_finite_f32(r);
    ret->window_n = n;
    ret->window_next = next;
    return outcome_of(r);
}

enum err residency_get(struct reader *r, struct residency *ret)
{
    get_version(r);
    uint32_t d = get_at_most(r, MAX_D), weights_n = get_at_most(r, MAX_METRICS);
    if (r->failed)
        return ERR_CORRUPT;
    TRY(residency_init(ret, d, weights_n));
    ret->epoch = reader_u64(r);
    ret->requests = reader_u64(r);
    ret->length = reader_u64(r);
    ret->begun_us = (int64_t)reader_u64(r);
    ret->value = get_finite(r);
    ret->uncached = get_finite(r);
    enum err e = get_arms(r, ret);
    if (e == OK)
        e = get_window(r, ret);
    if (e != OK)
        residency_done(ret);
    return e;
}

void residency_put_loads(const struct residency_load *loads, uint32_t n, struct buf *out)
{
    buf_put_u8(out, RESIDENCY_VERSION);
    buf_put_u8(out, RECORD_LOADS);
    buf_put_u32(out, n);
    for (uint32_t i = 0; i < n; i++) {
        buf_put_u32(out, loads[i].uid);
        buf_put_f64(out, loads[i].load_ms);
        buf_put_u64(out, loads[i].loads);
    }
}

/* In order of uid, as get_arm. */
static void get_load(struct reader *r, uint32_t last, struct residency_load *ret)
{
    ret->uid = reader_u32(r);
    ret->load_ms = get_finite(r);
    ret->loads = reader_u64(r);
    if (ret->uid <= last || signbit(ret->load_ms) || ret->loads == 0)
        r->failed = true;
}

static uint32_t get_loads_n(struct reader *r)
{
    uint32_t n = get_at_most(r, MAX_ARMS);
    if (n == 0) /* A record that says nothing. */
        r->failed = true;
    return n;
}

/* What kind of record it is; failed when it is none. */
static enum residency_record get_kind(struct reader *r)
{
    get_version(r);
    uint8_t kind = reader_u8(r);
    if (kind != RECORD_UPDATE && kind != RECORD_LOADS)
        r->failed = true;
    return kind == RECORD_LOADS ? RECORD_LOADS : RECORD_UPDATE;
}

void residency_put_update(const struct residency_update *u, struct buf *out)
{
    buf_put_u8(out, RESIDENCY_VERSION);
    buf_put_u8(out, RECORD_UPDATE);
    buf_put_u64(out, u->epoch);
    buf_put_u64(out, u->requests);
    buf_put_u64(out, u->length);
    buf_put_u64(out, (uint64_t)u->begun_us);
    buf_put_f64(out, u->value);
    buf_put_f64(out, u->uncached);
    buf_put_u32(out, u->d);
    buf_put_u32(out, u->weights_n);
    buf_put_u32(out, u->arms_n);
    buf_put_u32(out, u->samples_n);
    for (uint32_t i = 0; i < u->arms_n; i++)
        put_arm(&u->arms[i], out);
    size_t floats = u->samples_n * ((size_t)u->d + u->weights_n);
    for (size_t i = 0; i < floats; i++)
        buf_put_f32(out, u->samples[i]);
}

/* The head of an update; what follows are its arms, then its samples. */
static void get_head(struct reader *r, struct residency_update *ret)
{
    memset(ret, 0, sizeof *ret);
    ret->epoch = reader_u64(r);
    ret->requests = reader_u64(r);
    ret->length = reader_u64(r);
    ret->begun_us = (int64_t)reader_u64(r);
    ret->value = get_finite(r);
    ret->uncached = get_finite(r);
    ret->d = get_at_most(r, MAX_D);
    ret->weights_n = get_at_most(r, MAX_METRICS);
    ret->arms_n = get_at_most(r, MAX_ARMS);
    ret->samples_n = get_at_most(r, EPOCH_SAMPLE_MAX);
    if (ret->epoch == 0) /* Which is how a router says that it has no plan yet. */
        r->failed = true;
}

static uint32_t check_update(struct reader *r, const struct residency *known)
{
    uint32_t fresh = 0;
    struct residency_update u;
    struct residency_arm arm = {.uid = 0};
    get_head(r, &u);
    for (uint32_t i = 0; i < u.arms_n && !r->failed; i++) {
        get_arm(r, arm.uid, &arm);
        fresh += !known || !residency_find(known, arm.uid);
    }
    size_t floats = u.samples_n * ((size_t)u.d + u.weights_n);
    for (size_t i = 0; i < floats && !r->failed; i++)
        (void)get_finite_f32(r);
    return fresh;
}

static uint32_t check_loads(struct reader *r, const struct residency *known)
{
    uint32_t fresh = 0, n = get_loads_n(r);
    struct residency_load load = {.uid = 0};
    for (uint32_t i = 0; i < n && !r->failed; i++) {
        get_load(r, load.uid, &load);
        fresh += !known || !residency_find(known, load.uid);
    }
    return fresh;
}

enum err residency_check_record(struct slice record, const struct residency *known,
                                uint32_t *ret_new)
{
    struct reader r;
    reader_init(&r, record);
    uint32_t fresh =
        get_kind(&r) == RECORD_LOADS ? check_loads(&r, known) : check_update(&r, known);
    if (r.failed || reader_left(&r) != 0)
        return ERR_CORRUPT;
    *ret_new = fresh;
    return OK;
}

static void fold_update(struct residency *res, struct reader *r)
{
    struct residency_update u;
    struct residency_arm arm = {.uid = 0};
    float row[MAX_D + MAX_METRICS];
    get_head(r, &u);
    struct residency_update head = u;
    head.arms_n = head.samples_n = 0;
    residency_fold(res, &head);
    for (uint32_t i = 0; i < u.arms_n && !r->failed; i++) {
        get_arm(r, arm.uid, &arm);
        *residency_add(res, arm.uid) = arm;
    }
    if (u.d != res->d || u.weights_n != res->weights_n)
        return;
    for (uint32_t i = 0; i < u.samples_n && !r->failed; i++) {
        for (uint32_t k = 0; k < u.d + u.weights_n; k++)
            row[k] = get_finite_f32(r);
        residency_sample(res, row);
    }
}

/* The parts one after the other, so that folding needs no memory for the whole. */
void residency_fold_record(struct residency *res, struct slice record)
{
    struct reader r;
    reader_init(&r, record);
    if (get_kind(&r) == RECORD_UPDATE) {
        fold_update(res, &r);
        return;
    }
    struct residency_load load = {.uid = 0};
    uint32_t n = get_loads_n(&r);
    for (uint32_t i = 0; i < n && !r.failed; i++) {
        get_load(&r, load.uid, &load);
        residency_fold_loads(res, &load, 1);
    }
}

void residency_put_target(const struct residency_target *t, struct buf *out)
{
    buf_put_u8(out, (uint8_t)t->engine);
    if (t->engine == RESIDENCY_ENGINE_NONE)
        return;
    buf_put_u32(out, t->tick_ms);
    buf_put_u8(out, (uint8_t)t->replicas_n);
    for (uint32_t i = 0; i < t->replicas_n; i++)
        buf_put_str(out, t->replicas[i]);
}

enum err residency_get_target(struct reader *r, struct residency_target *ret)
{
    memset(ret, 0, sizeof *ret);
    uint8_t engine = reader_u8(r);
    if (engine >= RESIDENCY_ENGINES)
        r->failed = true;
    if (r->failed || engine == RESIDENCY_ENGINE_NONE)
        return outcome_of(r);
    ret->engine = (enum residency_engine)engine;
    ret->tick_ms = reader_u32(r);
    uint8_t n = reader_u8(r);
    if (n == 0 || n > REPLICAS_MAX)
        r->failed = true;
    for (uint32_t i = 0; i < n && !r->failed; i++)
        get_text(r, ret->replicas[i], REPLICA_URL_CAP);
    ret->replicas_n = r->failed ? 0 : n;
    return outcome_of(r);
}
