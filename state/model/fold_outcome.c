/* OUTCOME: how a report changes the arm that it speaks of. */
#include "state/model/fold_parts.h"

#include "state/math/power.h"
#include "state/model/counting.h"

#include <string.h>

static const int64_t second_us = 1000000;
static const int64_t grace_us = 86400 * 1000000LL; /* Entries outlive reward_wait by a day. */
enum { COOLDOWN_LEVEL_MAX = 4 };                   /* 16 times the first. */
enum { LEVEL_ARMS = 64 };

static int64_t seconds_us(double s)
{
    return (int64_t)(s * (double)second_us);
}

static bool too_late(const struct router *r, const struct decision *d, int64_t at_us)
{
    return d->issued_us < r->late_before_us ||
           at_us - d->issued_us > seconds_us(r->config.settings.reward_wait_s);
}

static uint16_t metrics_mask(const struct event_outcome *o)
{
    uint16_t mask = 0;
    for (uint8_t i = 0; i < o->metrics_n; i++)
        mask = (uint16_t)(mask | 1u << o->metrics[i].index);
    return mask;
}

/* Whether a decision counts as made: it was not deferred, or it was activated. */
static bool is_served(const struct router *r, const struct decision *d)
{
    const struct dedup_entry *mark = d->deferred ? dedup_find(&r->marks, d->id) : NULL;
    return !d->deferred || (mark && mark->activated);
}

/* What of a report a source that can be forgotten said before, and this one has not yet: were that
 * one forgotten, this would count. 0 where there is no place left to remember it. */
static uint32_t beaten_by_others(const struct dedup_entry *e, uint32_t tag, uint32_t said)
{
    uint32_t others = 0, before = 0;
    bool place = false;
    for (uint32_t i = 0; i < MAX_REPORTERS; i++) {
        const struct dedup_reporter *by = &e->reporters[i];
        place = place || by->tag == tag || by->tag == 0;
        if (by->tag == tag)
            before = by->beaten;
        else if (by->tag && source_is_named(by->tag))
            others |= by->counted;
    }
    return place ? said & others & ~before : 0;
}

static void note_report(struct dedup_entry *e, uint32_t tag, uint32_t counted, uint32_t beaten)
{
    struct dedup_reporter *by = counted || beaten ? dedup_reporter(e, tag) : NULL;
    if (!by)
        return;
    by->tag = tag;
    by->counted |= counted;
    by->beaten |= beaten;
}

/* A default counts when nobody said anything of its metric while there was time. */
static enum err check_default(const struct router *r, const struct event *ev, uint16_t mask,
                              struct fold_result *ret)
{
    const struct decision *d = &ev->u.outcome.decision;
    const struct dedup_entry *entry = dedup_find(&r->dedup, d->id);
    bool due = ev->at_us - d->issued_us > seconds_us(r->config.settings.reward_wait_s);
    bool late = d->issued_us < r->late_before_us;
    ret->duplicate = entry && !(mask & ~entry->reported);
    if (entry && due && !late)
        ret->beaten = beaten_by_others(entry, source_tag(SOURCE_DEFAULT), mask);
    if (ret->duplicate)
        return OK;
    if (!due || !(entry || is_served(r, d)))
        return ERR_INVALID; /* The wait became longer meanwhile; or there was nothing to rate. */
    return late ? ERR_DECISION_LATE : OK;
}

void fold_begin_sweep(struct router *r, int64_t at_us)
{
    uint64_t applied = r->sweep.applied;
    r->sweep = (struct sweep){
        .until_us = at_us, .beginning = r->requests > 0, .before = r->requests, .applied = applied};
}

void fold_sweep(struct model *m, const struct event *ev)
{
    const struct event_sweep *s = &ev->u.sweep;
    struct router *r = model_router(m, s->router_uid);
    if (!r || s->until_us < r->sweep.until_us) {
        m->ignored++;
        return;
    }
    r->sweep.until_us = s->until_us;
    r->sweep.found += s->found;
    r->sweep.lost += s->lost;
    r->touched = true;
}

const struct dedup_reporter *fold_forgotten_of(const struct router *r, const uint8_t id[ID_BYTES],
                                               uint32_t tag)
{
    const struct dedup_entry *mark = dedup_find(&r->marks, id);
    for (uint32_t i = 0; mark && i < MAX_REPORTERS; i++)
        if (mark->reporters[i].tag == tag)
            return &mark->reporters[i];
    return NULL;
}

/* The metrics that a source has had its say on. */
static uint16_t barred_by(const struct dedup_reporter *forgotten)
{
    return forgotten ? (uint16_t)(forgotten->counted & (REPORT_STATUS - 1)) : 0;
}

/* Why an outcome cannot change this router, or OK. Also says what would be a plain duplicate. */
enum err fold_check_outcome(const struct model *m, const struct event *ev, struct fold_result *ret)
{
    const struct event_outcome *o = &ev->u.outcome;
    const struct router *r = model_router(m, o->decision.router_uid);
    if (!r)
        return ERR_DECISION_NOT_FOUND;
    if (o->decision.spec_hash != r->hash || o->decision.d != r->d)
        return ERR_SPEC_MISMATCH;
    uint16_t mask = metrics_mask(o);
    if (mask >> r->config.metrics_n)
        return ERR_METRIC_NOT_FOUND;
    if (strcmp(o->source, SOURCE_DEFAULT) == 0)
        return check_default(r, ev, mask, ret);
    const struct dedup_entry *known = dedup_find(&r->dedup, o->decision.id);
    if (known && known->defaulted)
        return ERR_DECISION_LATE;
    enum trust trust = sources_rule(&r->config.settings.sources, o->source)->trust;
    if (trust == TRUST_REFUSE)
        return ERR_SOURCE_REFUSED;
    ret->gated = trust == TRUST_LOG_ONLY;
    if (ret->gated)
        return too_late(r, &o->decision, ev->at_us) ? ERR_DECISION_LATE : OK;
    uint32_t tag = source_tag(o->source);
    const struct dedup_reporter *forgotten = fold_forgotten_of(r, o->decision.id, tag);
    struct dedup_entry *entry = dedup_find(&r->dedup, o->decision.id);
    uint16_t barred = barred_by(forgotten), fresh;
    TRY(counting_check(r, entry, o, barred, &fresh));
    bool late = too_late(r, &o->decision, ev->at_us);
    if (entry && !late)
        ret->beaten =
            beaten_by_others(entry, tag, (uint32_t)(mask & ~barred & ~fresh) | REPORT_STATUS);
    ret->duplicate = (entry || forgotten) && !fresh;
    return late && !ret->duplicate ? ERR_DECISION_LATE : OK;
}

enum err fold_check_activate(const struct model *m, const struct event *ev, struct fold_result *ret)
{
    const struct decision *d = &ev->u.activate.decision;
    const struct router *r = model_router(m, d->router_uid);
    if (!r)
        return ERR_DECISION_NOT_FOUND;
    if (d->spec_hash != r->hash || d->d != r->d)
        return ERR_SPEC_MISMATCH;
    ret->duplicate = is_served(r, d) || dedup_find(&r->dedup, d->id);
    return !ret->duplicate && too_late(r, d, ev->at_us) ? ERR_DECISION_LATE : OK;
}

void fold_activate(struct model *m, const struct event *ev, struct fold_result *ret)
{
    ret->err = fold_check_activate(m, ev, ret);
    m->ignored += ret->err != OK;
    if (ret->err != OK || ret->duplicate)
        return;
    const struct decision *d = &ev->u.activate.decision;
    fold_mark(model_router(m, d->router_uid), d, ev->at_us)->activated = 1;
    ret->activated = true;
}

static uint32_t failures_within(const struct arm *a, uint32_t window)
{
    if (window > a->recent_n)
        window = a->recent_n;
    uint64_t bits = window < 64 ? a->recent & ((1ULL << window) - 1) : a->recent;
    return (uint32_t)__builtin_popcountll(bits);
}

static void end_cooldown(struct arm *a)
{
    a->cooldown_until_us = 0;
    a->cooldown_level = 0;
    a->recent = 0;
    a->recent_n = 0;
}

/* n failures within the last m answers start a cooldown; a probe that succeeds ends it, one that
 * fails doubles it. Answers to requests sent before the cooldown began say nothing new. */
static void learn_health(struct arm *a, const struct router_settings *s,
                         const struct event_outcome *o, int64_t at_us)
{
    bool failed = o->status == OUTCOME_ERROR || o->status == OUTCOME_TIMEOUT;
    a->answered++;
    a->failures += failed;
    if (a->cooldown_until_us) {
        bool probe = o->decision.reason == REASON_COOLDOWN_PROBE ||
                     o->decision.reason == REASON_ALL_COOLING ||
                     o->decision.reason == REASON_BASELINE;
        if (probe && !failed) {
            end_cooldown(a);
        } else if (probe) {
            a->cooldown_level += a->cooldown_level < COOLDOWN_LEVEL_MAX;
            a->cooldown_until_us = at_us + (seconds_us(s->cooldown_s) << a->cooldown_level);
        }
        return;
    }
    a->recent = a->recent << 1 | failed;
    a->recent_n += a->recent_n < 64;
    if (s->cooldown_failures && failures_within(a, s->cooldown_window) >= s->cooldown_failures) {
        a->cooldowns++;
        a->cooldown_until_us = at_us + seconds_us(s->cooldown_s);
        a->recent = 0;
        a->recent_n = 0;
    }
}

/* Decisions issued up to this one's time are refused from now on: what was known of them goes. */
void fold_forget_oldest(struct router *r, struct dedup *t, int64_t at_most_us)
{
    int64_t before_us = dedup_oldest(t)->issued_us + 1;
    if (before_us > at_most_us)
        before_us = at_most_us;
    if (before_us > r->late_before_us)
        r->late_before_us = before_us;
    dedup_drop_oldest(t);
}

void fold_age_marks(struct router *r, int64_t at_us)
{
    int64_t wait_us = seconds_us(r->config.settings.reward_wait_s);
    while (r->marks.n > 0 && dedup_oldest(&r->marks)->at_us + wait_us + grace_us < at_us)
        dedup_drop_oldest(&r->marks); /* Such decisions are late by age. */
}

struct dedup_entry *fold_mark(struct router *r, const struct decision *d, int64_t at_us)
{
    struct dedup_entry *mark = dedup_find(&r->marks, d->id);
    if (mark)
        return mark;
    fold_age_marks(r, at_us);
    while (r->marks.n > 0 && r->marks.n >= r->config.settings.dedup_max)
        fold_forget_oldest(r, &r->marks, INT64_MAX);
    mark = dedup_add(&r->marks, d->id);
    mark->at_us = at_us;
    mark->issued_us = d->issued_us;
    return mark;
}

static struct dedup_entry *remember(struct router *r, const struct event *ev)
{
    const struct decision *d = &ev->u.outcome.decision;
    struct dedup *t = &r->dedup;
    int64_t wait_us = seconds_us(r->config.settings.reward_wait_s);
    /* By age: such decisions are late already, and stay it if reward_wait_s grows. One that a clock
     * set wrong issued in the future must not make all that is issued until then late. */
    while (t->n > 0 && dedup_oldest(t)->at_us + wait_us + grace_us < ev->at_us)
        fold_forget_oldest(r, t, ev->at_us - wait_us);
    while (t->n > 0 && t->n >= r->config.settings.dedup_max)
        fold_forget_oldest(r, t, INT64_MAX);
    fold_age_marks(r, ev->at_us);
    struct dedup_entry *entry = dedup_add(t, d->id);
    entry->at_us = ev->at_us;
    entry->issued_us = d->issued_us;
    entry->arm_uid = ev->u.outcome.served_uid ? ev->u.outcome.served_uid : d->arm_uid;
    entry->status = (uint8_t)ev->u.outcome.status;
    return entry;
}

/* What a decision learned at that clock (modulo 2^32) counts now. Exact unless gamma was changed
 * twice since. */
static double faded_since(const struct router *r, uint32_t learned)
{
    double gamma = r->config.settings.gamma;
    uint64_t ticks = (uint32_t)r->outcomes_folded - learned;
    uint64_t under_this = r->outcomes_folded - r->gamma_since;
    if (ticks <= under_this)
        return gamma == 1 ? 1 : power_of(gamma, ticks);
    return power_of(gamma, under_this) * power_of(r->gamma_before, ticks - under_this);
}

/* The clock ticks. Arms that nobody pulls are brought up to date in turn, one at each tick: exactly
 * where they stand, while a snapshot widens them in between (router_view.fade). */
static void tick(struct model *m, struct router *r)
{
    r->outcomes_folded++;
    if (r->config.settings.gamma == 1)
        return;
    pooled_settle(r->pooled, &r->config, r->outcomes_folded, m->scratch);
    stats_settle(r->arms[r->outcomes_folded % r->arms_n], &r->config, r->outcomes_folded,
                 m->scratch);
}

/* What a decision that the matrix of this group took still counts. */
static double counts_now(const struct router *r, const struct arm *a,
                         const struct dedup_entry *entry, enum metric_group g)
{
    uint32_t learned = entry->learned[g];
    return faded_since(r, learned) * drift_weight(a, g, r->outcomes_folded, learned);
}

/* Another piece of a metric that was learned: drift has seen its first. */
static void restate_metrics(const struct router *r, struct arm *a, struct dedup_entry *entry,
                            const struct counting *c, const double *x)
{
    const struct stats_was was = {c->was_z, c->was_raw};
    if (!c->again)
        return;
    struct stats_input in = {x, c->again, c->z, c->raw};
    struct stats_memory memory = {entry->fills, &entry->pooled,
                                  counts_now(r, a, entry, METRIC_RATED), NULL};
    stats_restate(a, r->pooled, &r->config, &in, &was, &memory);
}

static struct drift_news learn_metrics(struct model *m, struct router *r, struct arm *a,
                                       struct dedup_entry *entry, const struct event_outcome *o,
                                       const struct counting *c)
{
    struct drift_news news = {0, 0};
    for (uint32_t i = 0; i < r->d; i++)
        m->vector[i] = (double)o->decision.x[i];
    stats_settle(a, &r->config, r->outcomes_folded, m->scratch);
    pooled_settle(r->pooled, &r->config, r->outcomes_folded, m->scratch);
    for (int g = 0; g < METRIC_GROUPS; g++) {
        uint16_t has = c->fresh & stats_group_mask(&r->config, (enum metric_group)g);
        if (!has)
            continue;
        struct stats_input in = {m->vector, has, c->z, c->raw};
        double residuals[MAX_METRICS] = {0};
        struct stats_memory memory = {entry->fills, &entry->pooled, 1, residuals};
        if (entry->groups >> g & 1) {
            memory.weight = counts_now(r, a, entry, (enum metric_group)g);
            stats_amend(a, r->pooled, &r->config, &in, &memory);
        } else {
            stats_learn(a, r->pooled, &r->config, (enum metric_group)g, &in, m->scratch, &memory);
            entry->groups = (uint8_t)(entry->groups | 1u << g);
            entry->learned[g] = (uint32_t)r->outcomes_folded;
            a->stood_in[g] += a->uid != o->decision.arm_uid;
        }
        const struct drift_input report = {
            m->vector, has, c->z, c->raw, residuals, m->clock_us, r->outcomes_folded};
        drift_learn(a, r->pooled, &r->config, (enum metric_group)g, &report, &r->alarms, m->scratch,
                    &news);
    }
    restate_metrics(r, a, entry, c, m->vector);
    /* A look at every arm; in a large pool one outcome in so many makes it as cheap. */
    if (r->config.settings.pooled_level && r->outcomes_folded % (r->arms_n / LEVEL_ARMS + 1) == 0)
        pooled_level(r->pooled, &r->config, r->arms, r->arms_n);
    return news;
}

/* The trial that the decision was part of; arms count only for an apprentice. */
static void learn_trial(struct router *r, struct dedup_entry *entry, const struct event_outcome *o,
                        bool first, const struct counting *c)
{
    struct trial_report report = {&o->decision, first, (uint16_t)(entry->reported & ~c->fresh),
                                  c->fresh,     c->z,  c->raw};
    bool counted = trial_learn(&r->trial, r->config.metrics_n, &report, entry->fills);
    report.had = entry->reported;
    report.fresh = c->again;
    trial_restate(&r->trial, r->config.metrics_n, &report, c->was_raw, entry->fills);
    if (!counted || !first || o->decision.mode != MODE_APPRENTICE)
        return;
    struct arm *served = router_arm(r, o->decision.arm_uid);
    struct arm *chosen = router_arm(r, o->decision.policy_arm_uid);
    if (served) {
        served->trial_served++;
        served->touched = true;
    }
    if (chosen) {
        chosen->trial_chosen++;
        chosen->touched = true;
    }
}

/* How the chosen arm fared: that another answered in its place changes nothing of it. */
static void learn_status(struct router *r, const struct event *ev)
{
    struct arm *chosen = router_arm(r, ev->u.outcome.decision.arm_uid);
    if (!chosen)
        return;
    chosen->touched = true;
    if (strcmp(ev->u.outcome.source, SOURCE_DEFAULT) == 0) { /* Nobody knows how it fared. */
        chosen->answered++;
        return;
    }
    learn_health(chosen, &r->config.settings, &ev->u.outcome, ev->at_us);
}

/* What a report teaches: its status the arm that was chosen, its metrics the one that answered. */
static void learn_arms(struct model *m, struct router *r, struct dedup_entry *entry,
                       const struct event *ev, bool first, const struct counting *c,
                       struct fold_result *ret)
{
    /* The arm of the first report holds: an id names one decision. */
    struct arm *a = router_arm(r, entry->arm_uid);
    if (first && r->arms_n > 0 && (a || ev->u.outcome.served_uid)) {
        tick(m, r);
        learn_status(r, ev);
    }
    if (!a) {
        ret->orphaned = true;
        r->orphaned += first;
        return;
    }
    a->touched = true;
    if (first)
        a->answered_at = r->outcomes_folded;
    const struct drift_news news = learn_metrics(m, r, a, entry, &ev->u.outcome, c);
    ret->alarms = news.raised;
    ret->alarms_ended = news.ended;
}

void fold_settle_session(struct model *m, const struct event_outcome *o, uint16_t counted,
                         struct fold_result *ret)
{
    double raw[MAX_METRICS] = {0};
    for (uint8_t i = 0; i < o->metrics_n; i++)
        raw[o->metrics[i].index] = o->metrics[i].raw;
    ret->has_session = sessions_settle(m->sessions, o->decision.router_uid, o->decision.id, counted,
                                       raw, &ret->session);
}

/* A report that teaches nothing now: not trusted, or said before by another source. */
static bool only_counts(struct router *r, const struct event_outcome *o, struct dedup_entry *entry,
                        const struct fold_result *ret)
{
    if (ret->gated) { /* It uses nothing up: whoever is trusted may still report. */
        r->gated++;
        source_counts_of(&r->sources, o->source)->logged++;
    } else if (ret->duplicate && ret->beaten) {
        note_report(entry, source_tag(o->source), 0, ret->beaten);
        source_counts_of(&r->sources, o->source)->beaten++;
    }
    r->touched = r->touched || ret->gated || ret->beaten;
    return ret->gated || ret->duplicate;
}

void fold_outcome(struct model *m, const struct event *ev, struct fold_result *ret)
{
    const struct event_outcome *o = &ev->u.outcome;
    ret->err = fold_check_outcome(m, ev, ret);
    if (ret->err != OK) {
        m->ignored++;
        return;
    }
    struct router *r = model_router(m, o->decision.router_uid);
    struct dedup_entry *entry = dedup_find(&r->dedup, o->decision.id);
    if (only_counts(r, o, entry, ret))
        return;
    bool first = !entry;
    ret->activated = first && !is_served(r, &o->decision);
    if (first)
        entry = remember(r, ev);
    if (strcmp(o->source, SOURCE_DEFAULT) == 0) {
        entry->defaulted = 1;
        r->sweep.applied++;
    }
    struct counting c;
    uint32_t tag = source_tag(o->source);
    counting_take(r, entry, o, barred_by(fold_forgotten_of(r, o->decision.id, tag)), &c);
    ret->counted_mask = (uint16_t)(c.fresh | c.again);
    note_report(entry, tag, ret->counted_mask | (first ? REPORT_STATUS : 0u), ret->beaten);
    source_counts_of(&r->sources, o->source)->folded++;
    ret->added_mask = c.again;
    r->touched = true;
    fold_settle_session(m, o, ret->counted_mask, ret);
    if (o->decision.mode == MODE_LOGGING_ONLY) {
        r->logged += first;
        return;
    }
    learn_arms(m, r, entry, ev, first, &c, ret);
    /* After the statistics: what they filled in for a metric of this report is used up. */
    learn_trial(r, entry, o, first, &c);
}
