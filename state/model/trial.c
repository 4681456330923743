#include "state/model/trial.h"

#include <string.h>

static bool same_policy(const struct router_settings *a, const struct router_settings *b)
{
    return strcmp(a->policy, b->policy) == 0 && a->alpha == b->alpha && a->epsilon == b->epsilon &&
           strcmp(a->fixed_arm, b->fixed_arm) == 0;
}

static bool same_split(const struct router_settings *a, const struct router_settings *b)
{
    return strcmp(a->split_policy, b->split_policy) == 0 && a->split_share == b->split_share &&
           a->split_alpha == b->split_alpha && a->split_epsilon == b->split_epsilon &&
           strcmp(a->split_fixed_arm, b->split_fixed_arm) == 0;
}

bool trial_begins(const struct router_settings *old, const struct router_settings *next)
{
    bool moved = old->mode != next->mode || !same_policy(old, next);
    switch (next->mode) {
    case MODE_ONLINE:
        return next->split_policy[0] && (moved || !same_split(old, next));
    case MODE_APPRENTICE:
        return moved || strcmp(old->baseline_arm, next->baseline_arm) != 0;
    case MODE_LOGGING_ONLY:
        return false;
    }
    return false;
}

void trial_begin(struct trial *t, const struct router_settings *settings, int64_t at_us,
                 const uint64_t asked[2])
{
    uint32_t epoch = t->epoch + 1;
    memset(t, 0, sizeof *t);
    t->epoch = epoch ? epoch : 1;
    t->since_us = at_us;
    t->asked_before[0] = asked[0];
    t->asked_before[1] = asked[1];
    t->share = settings->split_share;
    memcpy(t->policies[0], settings->policy, NAME_CAP);
    if (settings->mode == MODE_ONLINE)
        memcpy(t->policies[1], settings->split_policy, NAME_CAP);
}

enum trial_group trial_group_of(const struct decision *d)
{
    if (d->epoch == 0)
        return TRIAL_GROUPS;
    if (d->mode == MODE_APPRENTICE)
        return d->policy_arm_uid == d->arm_uid ? TRIAL_AGREED : TRIAL_DIFFERED;
    return d->side == SIDE_A ? TRIAL_A : d->side == SIDE_B ? TRIAL_B : TRIAL_GROUPS;
}

static void learn_answer(struct trial *t, enum trial_group group)
{
    t->groups[group].answered++;
    if (group != TRIAL_AGREED && group != TRIAL_DIFFERED)
        return;
    uint64_t n = t->groups[TRIAL_AGREED].answered + t->groups[TRIAL_DIFFERED].answered;
    double agreed = group == TRIAL_AGREED ? 1 : 0;
    t->recent += (agreed - t->recent) / (double)(n < TRIAL_RECENT ? n : TRIAL_RECENT);
}

static uint32_t pair_of(uint32_t i, uint32_t j)
{
    return i >= j ? i * (i + 1) / 2 + j : j * (j + 1) / 2 + i;
}

/* Metric m of a decision whose metrics in `have` stand in memory already. */
static void learn_metric(struct trial_sums *s, uint32_t metrics_n, uint32_t m, uint16_t have,
                         double raw, const float *memory)
{
    double z = (double)memory[m];
    s->z[m] += z;
    uint64_t n = ++s->pair_n[pair_of(m, m)];
    s->pair_z[pair_of(m, m)] += z * z;
    double off = raw - s->raw[m].mean;
    s->raw[m].mean += off / (double)n;
    s->raw[m].squares += off * (raw - s->raw[m].mean);
    for (uint32_t k = 0; k < metrics_n; k++) {
        if (k == m || !(have >> k & 1))
            continue;
        s->pair_n[pair_of(m, k)]++;
        s->pair_z[pair_of(m, k)] += z * (double)memory[k];
    }
}

bool trial_learn(struct trial *t, uint32_t metrics_n, const struct trial_report *report,
                 float *memory)
{
    enum trial_group group = trial_group_of(report->decision);
    if (group == TRIAL_GROUPS || report->decision->epoch != t->epoch)
        return false;
    if (report->first)
        learn_answer(t, group);
    uint16_t have = report->had;
    for (uint32_t m = 0; m < metrics_n; m++) {
        if (!(report->fresh >> m & 1))
            continue;
        memory[m] = (float)report->z[m];
        learn_metric(&t->groups[group], metrics_n, m, have, report->raw[m], memory);
        have = (uint16_t)(have | 1u << m);
    }
    return true;
}

static void restate_metric(struct trial_sums *s, uint32_t metrics_n, uint32_t m, uint16_t have,
                           float now, double raw, double was_raw, float *memory)
{
    double was = (double)memory[m], z = (double)now;
    uint64_t n = s->pair_n[pair_of(m, m)];
    s->z[m] += z - was;
    s->pair_z[pair_of(m, m)] += z * z - was * was;
    /* [Welford 1962] with one value replaced: mean' = mean + (b - a)/n, and the squares move by
     * (b - a)(b - mean' + a - mean). */
    double mean = s->raw[m].mean;
    s->raw[m].mean += (raw - was_raw) / (double)n;
    s->raw[m].squares += (raw - was_raw) * (raw - s->raw[m].mean + was_raw - mean);
    if (s->raw[m].squares < 0)
        s->raw[m].squares = 0; /* By a rounding. */
    for (uint32_t k = 0; k < metrics_n; k++)
        if (k != m && have >> k & 1)
            s->pair_z[pair_of(m, k)] += (z - was) * (double)memory[k];
    memory[m] = now;
}

void trial_restate(struct trial *t, uint32_t metrics_n, const struct trial_report *report,
                   const double *was_raw, float *memory)
{
    enum trial_group group = trial_group_of(report->decision);
    if (group == TRIAL_GROUPS || report->decision->epoch != t->epoch)
        return;
    struct trial_sums *s = &t->groups[group];
    for (uint32_t m = 0; m < metrics_n; m++)
        if (report->fresh >> m & 1 && s->pair_n[pair_of(m, m)] > 0)
            restate_metric(s, metrics_n, m, report->had, (float)report->z[m], report->raw[m],
                           was_raw[m], memory);
}

static void put_sums(const struct trial_sums *s, uint32_t metrics_n, struct buf *out)
{
    uint32_t pairs = metrics_n * (metrics_n + 1) / 2;
    buf_put_u64(out, s->answered);
    for (uint32_t m = 0; m < metrics_n; m++) {
        buf_put_f64(out, s->raw[m].mean);
        buf_put_f64(out, s->raw[m].squares);
        buf_put_f64(out, s->z[m]);
    }
    buf_put(out, s->pair_n, pairs * sizeof *s->pair_n);
    buf_put(out, s->pair_z, pairs * sizeof *s->pair_z);
}

static void get_sums(struct reader *r, uint32_t metrics_n, struct trial_sums *s)
{
    uint32_t pairs = metrics_n * (metrics_n + 1) / 2;
    s->answered = reader_u64(r);
    for (uint32_t m = 0; m < metrics_n; m++) {
        s->raw[m].mean = reader_f64(r);
        s->raw[m].squares = reader_f64(r);
        s->z[m] = reader_f64(r);
    }
    reader_copy(r, s->pair_n, pairs * sizeof *s->pair_n);
    reader_copy(r, s->pair_z, pairs * sizeof *s->pair_z);
}

void trial_encode(const struct trial *t, uint32_t metrics_n, struct buf *out)
{
    buf_put_u32(out, t->epoch);
    if (t->epoch == 0)
        return;
    buf_put_u64(out, (uint64_t)t->since_us);
    buf_put_u64(out, t->asked_before[0]);
    buf_put_u64(out, t->asked_before[1]);
    buf_put_f64(out, t->share);
    buf_put_str(out, t->policies[0]);
    buf_put_str(out, t->policies[1]);
    buf_put_f64(out, t->recent);
    for (int g = 0; g < TRIAL_GROUPS; g++)
        put_sums(&t->groups[g], metrics_n, out);
}

static void get_name(struct reader *r, char name[NAME_CAP])
{
    const uint8_t *start = r->p;
    reader_str(r, name, NAME_CAP);
    if (!r->failed && strlen(name) + 2 != (size_t)(r->p - start))
        r->failed = true; /* A NUL inside: it would not be written back the same. */
}

enum err trial_decode(struct reader *r, uint32_t metrics_n, struct trial *ret)
{
    memset(ret, 0, sizeof *ret);
    ret->epoch = reader_u32(r);
    if (ret->epoch == 0)
        return r->failed ? ERR_CORRUPT : OK;
    ret->since_us = (int64_t)reader_u64(r);
    ret->asked_before[0] = reader_u64(r);
    ret->asked_before[1] = reader_u64(r);
    ret->share = reader_f64(r);
    get_name(r, ret->policies[0]);
    get_name(r, ret->policies[1]);
    ret->recent = reader_f64(r);
    for (int g = 0; g < TRIAL_GROUPS && !r->failed; g++)
        get_sums(r, metrics_n, &ret->groups[g]);
    return r->failed ? ERR_CORRUPT : OK;
}
