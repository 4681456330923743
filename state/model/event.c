#include "state/model/event.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* Record: version u8 | kind u8 | at_us u64 | the kind's fields in the order of its struct.
 * One event has exactly one byte form: booleans are 0 or 1, texts hold no NUL, nothing follows.
 *
 * Decoding checks form, not the ranges of settings_check: a range that gets narrower in a later
 * release must not make an acknowledged journal unreadable. */
enum { EVENT_VERSION = 6, DECISION_VERSION = 4 };

static void put_bool(struct buf *b, bool v)
{
    buf_put_u8(b, v ? 1 : 0);
}

static bool get_bool(struct reader *r)
{
    uint8_t v = reader_u8(r);
    if (v > 1)
        r->failed = true;
    return v == 1;
}

/* Yields 0 (and fails) for anything not below n. */
static uint32_t get_below(struct reader *r, uint32_t v, uint32_t n)
{
    if (v < n)
        return v;
    r->failed = true;
    return 0;
}

static double get_finite(struct reader *r)
{
    double v = reader_f64(r);
    if (isfinite(v))
        return v;
    r->failed = true;
    return 0;
}

static void get_text(struct reader *r, char *dst, size_t cap)
{
    const uint8_t *start = r->p;
    reader_str(r, dst, cap);
    if (!r->failed && strlen(dst) + 2 != (size_t)(r->p - start))
        r->failed = true; /* A NUL inside. */
}

/* A place of one type and a limit, or failure: never an index past an array. */
static uint32_t get_count(struct reader *r, uint32_t max)
{
    return get_below(r, reader_u32(r), max + 1);
}

/* flags: bit 0 evaluable, 1-2 side, 3-4 mode, 5 a trial's epoch follows, 6 the policy's arm, 7 what
 * a budget was charged, 8 deferred. */
enum { FLAG_EPOCH = 1 << 5, FLAG_POLICY_ARM = 1 << 6, FLAG_PACED = 1 << 7, FLAG_DEFERRED = 1 << 8 };

static uint16_t decision_flags(const struct decision *d)
{
    uint32_t flags = (d->evaluable ? 1u : 0) | (uint32_t)d->side << 1 | (uint32_t)d->mode << 3;
    flags |= (d->epoch ? FLAG_EPOCH : 0) | (d->policy_arm_uid ? FLAG_POLICY_ARM : 0);
    flags |= (d->paced ? FLAG_PACED : 0) | (d->deferred ? FLAG_DEFERRED : 0);
    return (uint16_t)flags;
}

static void get_charge(struct reader *r, struct decision *ret)
{
    ret->budget_metric = (uint8_t)get_below(r, reader_u8(r), MAX_METRICS);
    ret->charge = reader_f32(r);
    get_text(r, ret->tenant, sizeof ret->tenant);
    size_t len = strnlen(ret->tenant, NAME_CAP);
    if (!(isfinite(ret->charge) && ret->charge >= 0) || (len && !name_valid(ret->tenant, len)))
        r->failed = true;
}

static void get_flags(struct reader *r, struct decision *ret)
{
    uint32_t flags = reader_u16(r);
    ret->evaluable = flags & 1;
    ret->deferred = flags & FLAG_DEFERRED ? 1 : 0;
    ret->side = (uint8_t)get_below(r, flags >> 1 & 3, SIDE_B + 1);
    ret->mode = (uint8_t)get_below(r, flags >> 3 & 3, MODE_LOGGING_ONLY + 1);
    ret->epoch = flags & FLAG_EPOCH ? reader_u32(r) : 0;
    ret->policy_arm_uid = flags & FLAG_POLICY_ARM ? reader_u32(r) : 0;
    ret->paced = flags & FLAG_PACED ? 1 : 0;
    ret->budget_metric = 0;
    ret->charge = 0;
    memset(ret->tenant, 0, sizeof ret->tenant);
    if (ret->paced)
        get_charge(r, ret);
    if (decision_flags(ret) != flags)
        r->failed = true; /* A 0 that was spelled out. */
}

void decision_encode(const struct decision *d, struct buf *out)
{
    assert(d->d <= MAX_D && d->side <= SIDE_B && d->mode <= MODE_LOGGING_ONLY);
    buf_put_u8(out, DECISION_VERSION);
    buf_put(out, d->id, ID_BYTES);
    buf_put_u32(out, d->router_uid);
    buf_put_u32(out, d->arm_uid);
    buf_put_u64(out, d->spec_hash);
    buf_put_u64(out, (uint64_t)d->issued_us);
    buf_put_f32(out, d->propensity);
    buf_put_u8(out, d->reason);
    buf_put_u16(out, decision_flags(d));
    if (d->epoch)
        buf_put_u32(out, d->epoch);
    if (d->policy_arm_uid)
        buf_put_u32(out, d->policy_arm_uid);
    if (d->paced) {
        buf_put_u8(out, d->budget_metric);
        buf_put_f32(out, d->charge);
        buf_put_str(out, d->tenant);
    }
    buf_put_u16(out, d->d);
    buf_put(out, d->x, (size_t)d->d * sizeof *d->x);
}

static_assert(129 <= DECISION_BYTES_MAX - 4 * MAX_D, "the head of a decision is 50 to 129 bytes");

enum err decision_decode(struct reader *r, struct decision *ret)
{
    if (reader_u8(r) != DECISION_VERSION)
        r->failed = true;
    reader_copy(r, ret->id, ID_BYTES);
    ret->router_uid = reader_u32(r);
    ret->arm_uid = reader_u32(r);
    ret->spec_hash = reader_u64(r);
    ret->issued_us = (int64_t)reader_u64(r);
    ret->propensity = reader_f32(r);
    if (!(ret->propensity > 0 && ret->propensity <= 1))
        r->failed = true;
    ret->reason = reader_u8(r);
    get_flags(r, ret);
    ret->d = (uint16_t)get_below(r, reader_u16(r), MAX_D + 1);
    reader_copy(r, ret->x, (size_t)ret->d * sizeof *ret->x);
    for (uint16_t i = 0; i < ret->d; i++)
        if (!isfinite(ret->x[i]))
            r->failed = true;
    return r->failed ? ERR_CORRUPT : OK;
}

/* What follows the metrics, each only where it is. */
enum { OUTCOME_SERVED = 1, OUTCOME_PIECE = 2, OUTCOME_SOURCE = 4 };

static uint8_t outcome_flags(const struct event_outcome *o)
{
    return (uint8_t)((o->served_uid ? OUTCOME_SERVED : 0) | (o->piece ? OUTCOME_PIECE : 0) |
                     (o->source[0] ? OUTCOME_SOURCE : 0));
}

static void put_outcome(const struct event_outcome *o, struct buf *out)
{
    assert(o->metrics_n <= MAX_METRICS);
    decision_encode(&o->decision, out);
    buf_put_u8(out, (uint8_t)o->status);
    buf_put_u8(out, o->metrics_n);
    for (uint8_t i = 0; i < o->metrics_n; i++) {
        buf_put_u8(out, o->metrics[i].index);
        buf_put_f64(out, o->metrics[i].raw);
        buf_put_f64(out, o->metrics[i].z);
    }
    buf_put_u8(out, outcome_flags(o));
    if (o->served_uid)
        buf_put_u32(out, o->served_uid);
    if (o->piece)
        buf_put_u64(out, o->piece);
    if (o->source[0])
        buf_put_str(out, o->source);
}

static void get_outcome(struct reader *r, struct event_outcome *ret)
{
    if (decision_decode(r, &ret->decision) != OK)
        return; /* The reader remembers. */
    ret->status = (enum outcome_status)get_below(r, reader_u8(r), OUTCOME_STATUS_N);
    ret->metrics_n = (uint8_t)get_below(r, reader_u8(r), MAX_METRICS + 1);
    uint32_t seen = 0;
    for (uint8_t i = 0; i < ret->metrics_n; i++) {
        struct outcome_metric *m = &ret->metrics[i];
        m->index = (uint8_t)get_below(r, reader_u8(r), MAX_METRICS);
        m->raw = get_finite(r);
        m->z = get_finite(r);
        if (seen >> m->index & 1 || m->z < 0 || m->z > 1)
            r->failed = true; /* Twice in one report, or off the unit interval. */
        seen |= 1U << m->index;
    }
    uint32_t flags = reader_u8(r);
    ret->served_uid = flags & OUTCOME_SERVED ? reader_u32(r) : 0;
    ret->piece = flags & OUTCOME_PIECE ? reader_u64(r) : 0;
    memset(ret->source, 0, sizeof ret->source);
    if (flags & OUTCOME_SOURCE)
        get_text(r, ret->source, sizeof ret->source);
    size_t len = strnlen(ret->source, NAME_CAP);
    if (len && !name_valid(ret->source, len))
        r->failed = true;
    if (outcome_flags(ret) != flags)
        r->failed = true;
}

/* Bytes of one (arm uid, issued) pair. */
enum { TALLY_PAIR_BYTES = 12 };

static void put_tally(const struct event_tally *t, struct buf *out)
{
    assert(t->n <= MAX_ARMS);
    buf_put_u32(out, t->router_uid);
    buf_put_u64(out, t->requests);
    buf_put_u64(out, t->sides[0]);
    buf_put_u64(out, t->sides[1]);
    buf_put_u64(out, t->logged);
    buf_put_u64(out, t->deferred);
    buf_put_u64(out, t->activated);
    buf_put_u32(out, t->n);
    buf_put(out, t->pairs, (size_t)t->n * TALLY_PAIR_BYTES);
}

static void get_tally(struct reader *r, struct event_tally *ret)
{
    ret->router_uid = reader_u32(r);
    ret->requests = reader_u64(r);
    ret->sides[0] = reader_u64(r);
    ret->sides[1] = reader_u64(r);
    ret->logged = reader_u64(r);
    ret->deferred = reader_u64(r);
    ret->activated = reader_u64(r);
    ret->n = get_count(r, MAX_ARMS);
    ret->pairs = reader_take(r, (size_t)ret->n * TALLY_PAIR_BYTES);
}

static void put_settings(const struct router_settings *s, struct buf *out)
{
    buf_put_f64(out, s->alpha);
    for (int g = 0; g < METRIC_GROUPS; g++)
        for (int k = 0; k < 2; k++)
            buf_put_f64(out, s->ridge[g][k]);
    buf_put_f64(out, s->explore_floor);
    buf_put_u32(out, s->newcomer_pulls);
    buf_put_u32(out, s->newcomer_every);
    buf_put_u32(out, s->cooldown_failures);
    buf_put_u32(out, s->cooldown_window);
    buf_put_f64(out, s->cooldown_s);
    buf_put_f64(out, s->reward_wait_s);
    buf_put_u64(out, s->dedup_max);
    buf_put_u8(out, (uint8_t)s->decision_log);
    buf_put_f64(out, s->decision_log_sample);
    buf_put_u64(out, s->seed);
    put_bool(out, s->pooled_slopes);
    put_bool(out, s->pooled_level);
    buf_put_str(out, s->policy);
    buf_put_f64(out, s->epsilon);
    buf_put_str(out, s->fixed_arm);
    buf_put_f64(out, s->gamma);
    put_bool(out, s->hybrid);
    buf_put_str(out, s->split_policy);
    buf_put_f64(out, s->split_share);
    buf_put_f64(out, s->split_alpha);
    buf_put_f64(out, s->split_epsilon);
    buf_put_str(out, s->split_fixed_arm);
    buf_put_u8(out, (uint8_t)s->mode);
    buf_put_str(out, s->baseline_arm);
    stages_encode(&s->stages, out);
    buf_put_u8(out, (uint8_t)s->aggregation);
    sources_encode(&s->sources, out);
    defaults_encode(&s->defaults, out);
    buf_put_str(out, s->budget_metric);
    buf_put_f64(out, s->budget_per_request);
    buf_put_f64(out, s->budget_ceiling);
    buf_put_f64(out, s->session_ttl_s);
    buf_put_f64(out, s->switch_cost);
    buf_put_u8(out, (uint8_t)s->session_credit);
    buf_put_f64(out, s->session_gamma);
    buf_put_u8(out, (uint8_t)s->drift_policy);
    buf_put_u32(out, s->stale_after);
    put_bool(out, s->residency.policy[0] != '\0');
    if (s->residency.policy[0]) {
        residency_put_settings(&s->residency, out);
        residency_put_target(&s->target, out);
    }
    put_bool(out, s->newcomer_metric[0] != '\0');
    if (s->newcomer_metric[0]) {
        buf_put_str(out, s->newcomer_metric);
        buf_put_f64(out, s->newcomer_per_hour);
    }
}

/* fold's arithmetic counts on more than finite: evidence must fade, and not at once. */
static double get_gamma(struct reader *r)
{
    double v = get_finite(r);
    if (v >= .5 && v <= 1)
        return v;
    r->failed = true;
    return 1;
}

static void get_settings(struct reader *r, struct router_settings *ret)
{
    ret->alpha = get_finite(r);
    for (int g = 0; g < METRIC_GROUPS; g++)
        for (int k = 0; k < 2; k++)
            ret->ridge[g][k] = get_finite(r);
    ret->explore_floor = get_finite(r);
    ret->newcomer_pulls = reader_u32(r);
    ret->newcomer_every = reader_u32(r);
    ret->cooldown_failures = reader_u32(r);
    ret->cooldown_window = reader_u32(r);
    ret->cooldown_s = get_finite(r);
    ret->reward_wait_s = get_finite(r);
    ret->dedup_max = reader_u64(r);
    ret->decision_log = (enum decision_log)get_below(r, reader_u8(r), DECISION_LOG_KEEP_NONE + 1);
    ret->decision_log_sample = get_finite(r);
    ret->seed = reader_u64(r);
    ret->pooled_slopes = get_bool(r);
    ret->pooled_level = get_bool(r);
    get_text(r, ret->policy, sizeof ret->policy);
    ret->epsilon = get_finite(r);
    get_text(r, ret->fixed_arm, sizeof ret->fixed_arm);
    ret->gamma = get_gamma(r);
    ret->hybrid = get_bool(r);
    get_text(r, ret->split_policy, sizeof ret->split_policy);
    ret->split_share = get_finite(r);
    ret->split_alpha = get_finite(r);
    ret->split_epsilon = get_finite(r);
    get_text(r, ret->split_fixed_arm, sizeof ret->split_fixed_arm);
    ret->mode = (enum router_mode)get_below(r, reader_u8(r), MODE_LOGGING_ONLY + 1);
    get_text(r, ret->baseline_arm, sizeof ret->baseline_arm);
    stages_decode(r, &ret->stages);
    ret->aggregation = (enum aggregation)get_below(r, reader_u8(r), AGGREGATE_MEAN + 1);
    sources_decode(r, &ret->sources);
    defaults_decode(r, &ret->defaults);
    get_text(r, ret->budget_metric, sizeof ret->budget_metric);
    ret->budget_per_request = get_finite(r);
    ret->budget_ceiling = get_finite(r);
    ret->session_ttl_s = get_finite(r);
    ret->switch_cost = get_finite(r);
    ret->session_credit = (enum session_credit)get_below(r, reader_u8(r), CREDIT_DISCOUNTED + 1);
    ret->session_gamma = get_finite(r);
    ret->drift_policy = (enum drift_policy)get_below(r, reader_u8(r), DRIFT_POLICIES);
    ret->stale_after = reader_u32(r);
    memset(&ret->residency, 0, sizeof ret->residency);
    memset(&ret->target, 0, sizeof ret->target);
    if (get_bool(r) &&
        (residency_get_settings(r, &ret->residency) != OK ||
         residency_get_target(r, &ret->target) != OK || ret->residency.policy[0] == '\0'))
        r->failed = true;
    memset(ret->newcomer_metric, 0, sizeof ret->newcomer_metric);
    ret->newcomer_per_hour = 0;
    if (!get_bool(r))
        return;
    get_text(r, ret->newcomer_metric, sizeof ret->newcomer_metric);
    ret->newcomer_per_hour = get_finite(r);
    if (!ret->newcomer_metric[0])
        r->failed = true;
}

static void put_metric(const struct metric_def *m, struct buf *out)
{
    buf_put_str(out, m->name);
    put_bool(out, m->lower_is_better);
    put_bool(out, m->logarithmic);
    buf_put_u8(out, (uint8_t)m->group);
    buf_put_f64(out, m->min);
    buf_put_f64(out, m->max);
    buf_put_f64(out, m->norm_low);
    buf_put_f64(out, m->norm_high);
    buf_put_f64(out, m->weight);
}

static void get_metric(struct reader *r, struct metric_def *ret)
{
    get_text(r, ret->name, sizeof ret->name);
    ret->lower_is_better = get_bool(r);
    ret->logarithmic = get_bool(r);
    ret->group = (enum metric_group)get_below(r, reader_u8(r), METRIC_GROUPS);
    ret->min = get_finite(r);
    ret->max = get_finite(r);
    ret->norm_low = get_finite(r);
    ret->norm_high = get_finite(r);
    ret->weight = get_finite(r);
}

static void put_spec(const struct feature_spec *s, struct buf *out)
{
    buf_put_u8(out, s->version);
    buf_put_u16(out, s->task_slots);
    put_bool(out, s->scalars);
    put_bool(out, s->agent);
    put_bool(out, s->text_block);
    buf_put_u16(out, s->features_n);
    buf_put_u16(out, s->embedding_n);
    if (s->embedding_n == 0)
        return;
    buf_put_str(out, s->projection);
    if (s->projection[0])
        buf_put_u64(out, s->projection_hash);
}

static void get_spec(struct reader *r, struct feature_spec *ret)
{
    ret->version = (uint8_t)get_below(r, reader_u8(r), SPEC_VERSIONS);
    ret->task_slots = (uint16_t)get_below(r, reader_u16(r), MAX_TASKS + 1);
    ret->scalars = get_bool(r);
    ret->agent = get_bool(r);
    ret->text_block = get_bool(r);
    ret->features_n = (uint16_t)get_below(r, reader_u16(r), MAX_D + 1);
    ret->embedding_n = (uint16_t)get_below(r, reader_u16(r), MAX_EMBEDDING + 1);
    if (ret->embedding_n) {
        get_text(r, ret->projection, sizeof ret->projection);
        ret->projection_hash = ret->projection[0] ? reader_u64(r) : 0;
        if (ret->projection[0] && !name_valid(ret->projection, strlen(ret->projection)))
            r->failed = true;
    }
    /* Two specs of one layout would have two hashes; and every x of a router that is too large
     * would overrun. */
    if ((ret->version == 0 && (ret->agent || ret->text_block)) ||
        (ret->text_block && ret->embedding_n) || spec_d(ret) > MAX_D)
        r->failed = true;
}

static void put_tables(const struct router_config *c, struct buf *out)
{
    assert(c->metrics_n <= MAX_METRICS && c->tasks_n <= MAX_TASKS);
    buf_put_u32(out, c->metrics_n);
    for (uint32_t i = 0; i < c->metrics_n; i++)
        put_metric(&c->metrics[i], out);
    buf_put_u32(out, c->tasks_n);
    for (uint32_t i = 0; i < c->tasks_n; i++)
        buf_put_str(out, c->tasks[i]);
}

static void get_tables(struct reader *r, struct router_config *ret)
{
    ret->metrics_n = get_count(r, MAX_METRICS);
    for (uint32_t i = 0; i < ret->metrics_n; i++)
        get_metric(r, &ret->metrics[i]);
    ret->tasks_n = get_count(r, ret->spec.task_slots);
    for (uint32_t i = 0; i < ret->tasks_n; i++)
        get_text(r, ret->tasks[i], sizeof ret->tasks[i]);
}

void event_put_router(const struct router_config *c, struct buf *out)
{
    buf_put_str(out, c->name);
    put_bool(out, c->ephemeral);
    put_spec(&c->spec, out);
    put_settings(&c->settings, out);
    put_tables(c, out);
}

void event_put_layout(const struct router_config *c, struct buf *out)
{
    put_spec(&c->spec, out);
    for (int g = 0; g < METRIC_GROUPS; g++)
        for (int k = 0; k < 2; k++)
            buf_put_f64(out, c->settings.ridge[g][k]);
    put_tables(c, out);
}

enum err event_get_router(struct reader *r, struct router_config *ret)
{
    memset(ret, 0, sizeof *ret);
    get_text(r, ret->name, sizeof ret->name);
    ret->ephemeral = get_bool(r);
    get_spec(r, &ret->spec);
    get_settings(r, &ret->settings);
    get_tables(r, ret);
    return r->failed ? ERR_CORRUPT : OK;
}

enum err event_get_layout(struct reader *r, struct router_config *ret)
{
    memset(ret, 0, sizeof *ret);
    get_spec(r, &ret->spec);
    for (int g = 0; g < METRIC_GROUPS; g++)
        for (int k = 0; k < 2; k++)
            ret->settings.ridge[g][k] = get_finite(r);
    get_tables(r, ret);
    return r->failed ? ERR_CORRUPT : OK;
}

static void put_update(const struct event_router_update *u, struct buf *out)
{
    assert(u->metrics_n <= MAX_METRICS);
    buf_put_u32(out, u->router_uid);
    put_settings(&u->settings, out);
    buf_put_u32(out, u->metrics_n);
    for (uint32_t i = 0; i < u->metrics_n; i++)
        buf_put_f64(out, u->weights[i]);
}

static void get_update(struct reader *r, struct event_router_update *ret)
{
    ret->router_uid = reader_u32(r);
    get_settings(r, &ret->settings);
    ret->metrics_n = get_count(r, MAX_METRICS);
    for (uint32_t i = 0; i < ret->metrics_n; i++)
        ret->weights[i] = get_finite(r);
}

static void put_descriptors(const struct arm_config *c, struct buf *out)
{
    buf_put_u8(out, c->known);
    if (c->known & ARM_KNOWS_SIZE)
        buf_put_f64(out, c->size_b);
    if (c->known & ARM_KNOWS_PRICE_IN)
        buf_put_f64(out, c->price_in_usd);
    if (c->known & ARM_KNOWS_PRICE_OUT)
        buf_put_f64(out, c->price_out_usd);
    buf_put_str(out, c->family);
}

static void get_descriptors(struct reader *r, struct arm_config *ret)
{
    ret->known = (uint8_t)get_below(r, reader_u8(r), ARM_KNOWS_ALL + 1);
    if (ret->known & ARM_KNOWS_SIZE)
        ret->size_b = get_finite(r);
    if (ret->known & ARM_KNOWS_PRICE_IN)
        ret->price_in_usd = get_finite(r);
    if (ret->known & ARM_KNOWS_PRICE_OUT)
        ret->price_out_usd = get_finite(r);
    get_text(r, ret->family, sizeof ret->family);
}

void event_put_arm(const struct arm_config *c, struct buf *out)
{
    assert(c->tags_n <= MAX_TAGS);
    buf_put_str(out, c->name);
    buf_put_str(out, c->description);
    buf_put_u8(out, (uint8_t)c->tags_n);
    for (uint32_t i = 0; i < c->tags_n; i++)
        buf_put_str(out, c->tags[i]);
    buf_put_u16(out, c->prior_mask);
    for (uint32_t m = 0; m < MAX_METRICS; m++) {
        if (!(c->prior_mask >> m & 1))
            continue;
        buf_put_f64(out, c->prior_raw[m]);
        buf_put_f64(out, c->prior_z[m]);
    }
    put_descriptors(c, out);
    labels_encode(&c->labels, out);
    capability_encode(&c->can, out);
    buf_put_u16(out, c->cap_mask);
    for (uint32_t m = 0; m < MAX_METRICS; m++)
        if (c->cap_mask >> m & 1)
            buf_put_f64(out, c->cap_raw[m]);
    put_bool(out, c->adapter.bytes > 0);
    if (c->adapter.bytes)
        adapter_put(&c->adapter, out);
}

enum err event_get_arm(struct reader *r, struct arm_config *ret)
{
    memset(ret, 0, sizeof *ret);
    get_text(r, ret->name, sizeof ret->name);
    get_text(r, ret->description, sizeof ret->description);
    ret->tags_n = get_below(r, reader_u8(r), MAX_TAGS + 1);
    for (uint32_t i = 0; i < ret->tags_n; i++)
        get_text(r, ret->tags[i], sizeof ret->tags[i]);
    ret->prior_mask = reader_u16(r);
    for (uint32_t m = 0; m < MAX_METRICS; m++) {
        if (!(ret->prior_mask >> m & 1))
            continue;
        ret->prior_raw[m] = get_finite(r);
        ret->prior_z[m] = get_finite(r);
    }
    get_descriptors(r, ret);
    labels_decode(r, &ret->labels);
    capability_decode(r, &ret->can);
    ret->cap_mask = reader_u16(r);
    for (uint32_t m = 0; m < MAX_METRICS; m++)
        if (ret->cap_mask >> m & 1)
            ret->cap_raw[m] = get_finite(r);
    if (get_bool(r) && (adapter_get(r, &ret->adapter) != OK || ret->adapter.bytes == 0))
        r->failed = true;
    return r->failed ? ERR_CORRUPT : OK;
}

static void put_beginning(const struct event_arm *a, struct buf *out)
{
    assert(a->seed.len <= TRANSFER_BYTES_MAX && !(a->like_uid && a->seed.len));
    buf_put_u32(out, a->like_uid);
    buf_put_u32(out, (uint32_t)a->seed.len);
    if (a->like_uid || a->seed.len)
        buf_put_f64(out, a->strength);
    put_bool(out, a->replace);
    buf_put(out, a->seed.data, a->seed.len);
}

static void get_beginning(struct reader *r, enum event_kind kind, struct event_arm *ret)
{
    bool adds = kind == EVENT_ARM_ADD;
    ret->like_uid = adds ? reader_u32(r) : 0;
    uint32_t seed = adds ? get_count(r, TRANSFER_BYTES_MAX) : 0;
    ret->strength = ret->like_uid || seed ? get_finite(r) : 0;
    ret->replace = adds ? get_bool(r) : false;
    ret->seed = (struct slice){seed ? reader_take(r, seed) : NULL, seed};
    if ((ret->like_uid && (seed || !(ret->strength > 0))) || ret->strength < 0)
        r->failed = true;
}

static void put_price(const struct event_arm_price *p, struct buf *out)
{
    buf_put_u32(out, p->router_uid);
    buf_put_u32(out, p->arm_uid);
    buf_put_u8(out, p->metric);
    buf_put_f64(out, p->factor);
    buf_put_f64(out, p->z_scale);
    buf_put_f64(out, p->z_shift);
}

static void get_price(struct reader *r, struct event_arm_price *ret)
{
    ret->router_uid = reader_u32(r);
    ret->arm_uid = reader_u32(r);
    ret->metric = (uint8_t)get_below(r, reader_u8(r), MAX_METRICS);
    ret->factor = get_finite(r);
    ret->z_scale = get_finite(r);
    ret->z_shift = get_finite(r);
    /* Bounds that keep fold's sums finite whatever follows. */
    if (!(ret->factor >= 1e-6 && ret->factor <= 1e6 && ret->z_scale >= 1e-6 &&
          ret->z_scale <= 1e6 && fabs(ret->z_shift) <= 1e6))
        r->failed = true;
}

/* 0 active, 1 paused, 2 draining; 0 for an arm that is removed. */
static void put_state(const struct event *event, struct buf *out)
{
    const struct event_arm_state *s = &event->u.state;
    bool sets = event->kind == EVENT_ARM_STATE;
    buf_put_u8(out, !sets ? 0 : s->draining ? 2 : s->paused ? 1 : 0);
}

static void get_state(struct reader *r, enum event_kind kind, struct event_arm_state *ret)
{
    uint32_t state = get_below(r, reader_u8(r), kind == EVENT_ARM_STATE ? 3 : 1);
    ret->paused = state != 0;
    ret->draining = state == 2;
}

static void put_accounts(const struct event_accounts *a, struct buf *out)
{
    assert(a->n <= ACCOUNTS_MAX);
    buf_put_u8(out, (uint8_t)a->n);
    for (uint32_t i = 0; i < a->n; i++) {
        buf_put_u32(out, a->rows[i].router_uid);
        buf_put_u8(out, a->rows[i].metric);
        buf_put_str(out, a->rows[i].tenant);
        account_encode(&a->rows[i].account, out);
    }
}

static void get_accounts(struct reader *r, struct event_accounts *ret)
{
    ret->n = get_below(r, reader_u8(r), ACCOUNTS_MAX + 1);
    for (uint32_t i = 0; i < ret->n && !r->failed; i++) {
        struct account_row *row = &ret->rows[i];
        row->router_uid = reader_u32(r);
        row->metric = (uint8_t)get_below(r, reader_u8(r), MAX_METRICS);
        get_text(r, row->tenant, sizeof row->tenant);
        account_decode(r, &row->account);
    }
}

static void get_residency(struct reader *r, struct event_residency *ret)
{
    uint32_t fresh;
    ret->router_uid = reader_u32(r);
    ret->update.len = reader_left(r);
    ret->update.data = reader_take(r, ret->update.len);
    if (r->failed || residency_check_record(ret->update, NULL, &fresh) != OK)
        r->failed = true;
}

static void get_forget(struct reader *r, struct event_forget *ret)
{
    ret->router_uid = reader_u32(r);
    get_text(r, ret->source, sizeof ret->source);
    if (r->failed || !name_valid(ret->source, strlen(ret->source)) ||
        !source_is_named(source_tag(ret->source)))
        r->failed = true;
}

static void get_declared(struct reader *r, enum event_kind kind, struct event_arm *ret)
{
    ret->router_uid = reader_u32(r);
    if (event_get_arm(r, &ret->config) != OK)
        r->failed = true;
    get_beginning(r, kind, ret);
}

static void put_sweep(const struct event_sweep *s, struct buf *out)
{
    buf_put_u32(out, s->router_uid);
    buf_put_u64(out, (uint64_t)s->until_us);
    buf_put_u64(out, s->found);
    buf_put_u64(out, s->lost);
}

static void get_sweep(struct reader *r, struct event_sweep *ret)
{
    ret->router_uid = reader_u32(r);
    ret->until_us = (int64_t)reader_u64(r);
    ret->found = reader_u64(r);
    ret->lost = reader_u64(r);
}

static void put_body(const struct event *event, struct buf *out)
{
    switch (event->kind) {
    case EVENT_OUTCOME:
        put_outcome(&event->u.outcome, out);
        return;
    case EVENT_TALLY:
        put_tally(&event->u.tally, out);
        return;
    case EVENT_ROUTER_CREATE:
        event_put_router(&event->u.router, out);
        return;
    case EVENT_ROUTER_UPDATE:
        put_update(&event->u.update, out);
        return;
    case EVENT_ROUTER_REMOVE:
        buf_put_u32(out, event->u.router_uid);
        return;
    case EVENT_LABEL_ADD:
        buf_put_u32(out, event->u.label.router_uid);
        buf_put_str(out, event->u.label.label);
        return;
    case EVENT_ARM_ADD:
    case EVENT_ARM_UPDATE:
        buf_put_u32(out, event->u.arm.router_uid);
        event_put_arm(&event->u.arm.config, out);
        if (event->kind == EVENT_ARM_ADD)
            put_beginning(&event->u.arm, out);
        return;
    case EVENT_ARM_PRICE:
        put_price(&event->u.price, out);
        return;
    case EVENT_ARM_STATE:
    case EVENT_ARM_REMOVE:
        buf_put_u32(out, event->u.state.router_uid);
        buf_put_u32(out, event->u.state.arm_uid);
        put_state(event, out);
        return;
    case EVENT_KEY_ADD:
        buf_put(out, event->u.key, KEY_BYTES);
        return;
    case EVENT_TENANT_SET:
        buf_put_u32(out, event->u.tenant.router_uid);
        tenant_encode(&event->u.tenant.tenant, out);
        return;
    case EVENT_ACCOUNTS:
        put_accounts(&event->u.accounts, out);
        return;
    case EVENT_SESSION:
        session_event_encode(&event->u.session, out);
        return;
    case EVENT_SWEEP:
        put_sweep(&event->u.sweep, out);
        return;
    case EVENT_RESIDENCY:
        buf_put_u32(out, event->u.residency.router_uid);
        buf_put(out, event->u.residency.update.data, event->u.residency.update.len);
        return;
    case EVENT_FORGET:
        buf_put_u32(out, event->u.forget.router_uid);
        buf_put_str(out, event->u.forget.source);
        return;
    case EVENT_ACTIVATE:
        decision_encode(&event->u.activate.decision, out);
        return;
    case EVENT_SESSION_END:
        session_end_encode(&event->u.session_end, out);
        return;
    }
    assert(0 && "an event of no kind");
}

void event_encode(const struct event *event, struct buf *out)
{
    buf_put_u8(out, EVENT_VERSION);
    buf_put_u8(out, (uint8_t)event->kind);
    buf_put_u64(out, (uint64_t)event->at_us);
    put_body(event, out);
}

/* Which member of the union is alive follows from the kind, which is set before. */
static void get_body(struct reader *r, struct event *ret)
{
    switch (ret->kind) {
    case EVENT_OUTCOME:
        get_outcome(r, &ret->u.outcome);
        return;
    case EVENT_TALLY:
        get_tally(r, &ret->u.tally);
        return;
    case EVENT_ROUTER_CREATE:
        if (event_get_router(r, &ret->u.router) != OK)
            r->failed = true;
        return;
    case EVENT_ROUTER_UPDATE:
        memset(&ret->u.update, 0, sizeof ret->u.update);
        get_update(r, &ret->u.update);
        return;
    case EVENT_ROUTER_REMOVE:
        ret->u.router_uid = reader_u32(r);
        return;
    case EVENT_LABEL_ADD:
        ret->u.label.router_uid = reader_u32(r);
        get_text(r, ret->u.label.label, sizeof ret->u.label.label);
        return;
    case EVENT_ARM_ADD:
    case EVENT_ARM_UPDATE:
        get_declared(r, ret->kind, &ret->u.arm);
        return;
    case EVENT_ARM_PRICE:
        get_price(r, &ret->u.price);
        return;
    case EVENT_ARM_STATE:
    case EVENT_ARM_REMOVE:
        ret->u.state.router_uid = reader_u32(r);
        ret->u.state.arm_uid = reader_u32(r);
        get_state(r, ret->kind, &ret->u.state);
        return;
    case EVENT_KEY_ADD:
        reader_copy(r, ret->u.key, KEY_BYTES);
        return;
    case EVENT_TENANT_SET:
        ret->u.tenant.router_uid = reader_u32(r);
        tenant_decode(r, &ret->u.tenant.tenant);
        return;
    case EVENT_ACCOUNTS:
        get_accounts(r, &ret->u.accounts);
        return;
    case EVENT_SESSION:
        session_event_decode(r, &ret->u.session);
        return;
    case EVENT_SWEEP:
        get_sweep(r, &ret->u.sweep);
        return;
    case EVENT_RESIDENCY:
        get_residency(r, &ret->u.residency);
        return;
    case EVENT_FORGET:
        get_forget(r, &ret->u.forget);
        return;
    case EVENT_ACTIVATE:
        (void)!decision_decode(r, &ret->u.activate.decision); /* The reader remembers. */
        return;
    case EVENT_SESSION_END:
        session_end_decode(r, &ret->u.session_end);
        return;
    }
    r->failed = true; /* A kind that this release does not know. */
}

enum err event_decode(struct slice record, struct event *ret_event)
{
    struct reader r;
    reader_init(&r, record);
    if (reader_u8(&r) != EVENT_VERSION)
        return ERR_CORRUPT;
    ret_event->kind = (enum event_kind)reader_u8(&r);
    ret_event->at_us = (int64_t)reader_u64(&r);
    if (r.failed)
        return ERR_CORRUPT;
    get_body(&r, ret_event);
    return r.failed || reader_left(&r) != 0 ? ERR_CORRUPT : OK;
}

enum event_kind event_peek(struct slice record)
{
    const uint8_t *bytes = record.data;
    return record.len < 2 ? (enum event_kind)0 : (enum event_kind)bytes[1];
}
