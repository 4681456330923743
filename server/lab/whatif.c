#include "server/lab/whatif.h"

#include "server/lab/predict.h"
#include "server/lab/whatif_arms.h"
#include "server/route/eligible.h"
#include "state/base/mem.h"
#include "state/base/rng.h"
#include "state/model/fold.h"
#include "state/model/model.h"

#include <math.h>
#include <string.h>

enum { BATCH_SHARE = 64, BATCH_MOST = 256 };

/* One of the two foldings. */
struct folding {
    struct model *model;
    struct snapshot *snapshot;
};

/* A what-if on its way. */
struct redo {
    const struct whatif_options *o;
    const struct event_source *source;
    struct err_detail *detail;
    struct folding then, other;
    uint32_t uid; /* Of the router; 0: not created yet. */
    struct event event, changed;
    struct router_config config;   /* Being changed. */
    uint64_t learned, unpublished; /* Outcomes folded; since the other side's snapshot. */
    bool stale;                    /* Something else than an outcome changed the router since. */
    struct evaluation_sums sums;
    struct whatif_arms arms;
    uint32_t *row_arms, *row_at; /* (MAX_ARMS) */
    struct eligible *eligible;   /* (MAX_ARMS) */
    float *pmf;                  /* (MAX_ARMS) */
    float *probes;               /* (WHATIF_PROBES, MAX_D): contexts, the oldest overwritten. */
    uint64_t probes_n;           /* Ever. */
    struct decide_scratch scratch;
    struct whatif result;
};

static void folding_done(struct folding *s)
{
    snapshot_free(s->snapshot);
    model_free(s->model);
}

static enum err publish(struct folding *s)
{
    struct snapshot *next;
    TRY(snapshot_build(s->model, s->snapshot, &next));
    snapshot_free(s->snapshot);
    s->snapshot = next;
    return OK;
}

static enum err fold(struct folding *s, const struct event *event, uint64_t position,
                     struct fold_result *ret)
{
    TRY(model_reserve(s->model, event, 0));
    fold_event(s->model, event, position, ret);
    return OK;
}

/* ---- the changed configuration ---- */

static enum err change(struct redo *r)
{
    const struct whatif_change *c = &r->o->change;
    TRY(c->apply(c->self, &r->config, r->detail));
    TRY(settings_check(&r->config, r->detail));
    return policy_check(&r->config.settings, r->detail);
}

static void update_from_config(struct redo *r)
{
    struct event_router_update *u = &r->changed.u.update;
    u->settings = r->config.settings;
    u->metrics_n = r->config.metrics_n;
    for (uint32_t m = 0; m < r->config.metrics_n; m++)
        u->weights[m] = r->config.metrics[m].weight;
}

/* The router as the base has it, updated as an operator would have. */
static enum err change_base(struct redo *r)
{
    const struct router *router = model_router_named(r->other.model, r->o->router);
    struct fold_result result;
    if (!router)
        return OK;
    r->uid = router->uid;
    r->config = router->config;
    TRY(change(r));
    memset(&r->changed, 0, sizeof r->changed);
    r->changed.kind = EVENT_ROUTER_UPDATE;
    r->changed.at_us = r->other.model->clock_us;
    r->changed.u.update.router_uid = router->uid;
    update_from_config(r);
    return fold(&r->other, &r->changed, r->other.model->position, &result);
}

/* r->changed = r->event as the changed configuration has it. */
static enum err change_event(struct redo *r)
{
    r->changed = r->event;
    if (r->event.kind == EVENT_ROUTER_CREATE && strcmp(r->event.u.router.name, r->o->router) == 0) {
        r->config = r->event.u.router;
        TRY(change(r));
        r->changed.u.router = r->config;
    }
    const struct event_router_update *u = &r->event.u.update;
    if (r->event.kind == EVENT_ROUTER_UPDATE && u->router_uid == r->uid) {
        const struct router *router = model_router(r->other.model, r->uid);
        if (!router)
            return OK;
        r->config = router->config;
        r->config.settings = u->settings;
        for (uint32_t m = 0; m < r->config.metrics_n && m < u->metrics_n; m++)
            r->config.metrics[m].weight = u->weights[m];
        TRY(change(r));
        update_from_config(r);
    }
    return OK;
}

/* ---- scoring an outcome ---- */

static bool publish_due(const struct redo *r)
{
    uint64_t batch = r->o->publish_every;
    if (!batch) {
        batch = r->learned / BATCH_SHARE;
        batch = batch < 1 ? 1 : batch > BATCH_MOST ? BATCH_MOST : batch;
    }
    return r->stale || r->unpublished >= batch;
}

/* What the arm had been given when this event came, as far as events tell. */
static uint64_t issued_of(const struct arm_view *arm)
{
    return arm->tallied > arm->answered ? arm->tallied : arm->answered;
}

/* Fills the row from the outcome: the arms that could have been chosen, and the one that was.
 * False: that one is gone, or nothing was new. */
static enum err fill_row(struct redo *r, const struct router_view *view, struct logged_row *row,
                         bool *ret_filled)
{
    const struct event_outcome *o = &r->event.u.outcome;
    *ret_filled = false;
    for (uint32_t i = 0; i < view->arms_n; i++) {
        const struct arm_view *arm = view->arms[i];
        bool chosen = arm->uid == o->decision.arm_uid, probe_due;
        if (!chosen && eligible_check(arm, o->decision.issued_us, &probe_due) != ELIGIBLE)
            continue;
        if (chosen) {
            row->chosen = row->arms_n;
            *ret_filled = true;
        }
        r->eligible[row->arms_n] = (struct eligible){.index = i, .issued = issued_of(arm)};
        r->row_at[row->arms_n++] = i;
    }
    /* All are added before any index is taken: adding one moves the others. */
    uint32_t at;
    for (uint32_t i = 0; i < row->arms_n; i++)
        TRY(whatif_arms_at(&r->arms, view->arms[r->row_at[i]]->uid, &at));
    for (uint32_t i = 0; i < row->arms_n; i++)
        TRY(whatif_arms_at(&r->arms, view->arms[r->row_at[i]]->uid, &r->row_arms[i]));
    memcpy(row->id, o->decision.id, sizeof row->id);
    row->issued_us = o->decision.issued_us;
    row->x = o->decision.x;
    row->arms = r->row_arms;
    row->propensity = (double)o->decision.propensity;
    row->evaluable = o->decision.evaluable && !o->served_uid;
    row->status = o->status;
    for (uint8_t i = 0; i < o->metrics_n; i++) {
        const struct outcome_metric *m = &o->metrics[i];
        row->has_mask = (uint16_t)(row->has_mask | 1u << m->index);
        row->raw[m->index] = m->raw;
        row->z[m->index] = m->z;
    }
    return OK;
}

static void keep_probe(struct redo *r, const struct logged_row *row, uint32_t d)
{
    memcpy(r->probes + r->probes_n++ % WHATIF_PROBES * MAX_D, row->x, d * sizeof *row->x);
}

/* first: no event of this decision came before. */
static enum err score(struct redo *r, uint16_t fresh, bool first)
{
    struct logged_row row;
    struct decide_result decided;
    struct evaluation *v = &r->result.evaluation;
    bool filled;
    if (publish_due(r)) {
        TRY(publish(&r->other));
        r->unpublished = 0;
        r->stale = false;
    }
    const struct router_view *view = snapshot_router_uid(r->other.snapshot, r->uid);
    memset(&row, 0, sizeof row);
    if (!view)
        return OK;
    TRY(fill_row(r, view, &row, &filled));
    if (!filled)
        return OK;
    v->rows += first;
    v->unpriced += first && r->event.u.outcome.decision.paced;
    if (!row.evaluable) {
        v->not_evaluable += first;
        return OK;
    }
    const struct decide_input in = {.router = view,
                                    .x = row.x,
                                    .arms = r->eligible,
                                    .n = row.arms_n,
                                    .answer_share = 1,
                                    .seed = rng_mix(r->o->seed, r->result.outcomes)};
    decide(&in, &r->scratch, r->pmf, &decided);
    r->sums.logged_n = r->arms.logged_n;
    r->sums.logged_share = r->arms.logged_share;
    r->sums.target_share = r->arms.target_share;
    const struct evaluated_row scored = {&row, view, r->row_at, r->pmf, &decided.utility};
    bool known = evaluation_add(&r->sums, &scored, fresh);
    if (first && !known)
        v->unreported_failures += row.status == OUTCOME_ERROR || row.status == OUTCOME_TIMEOUT;
    if (first)
        keep_probe(r, &row, view->d);
    return OK;
}

static bool reported_before(const struct redo *r)
{
    const struct router *router = model_router(r->then.model, r->uid);
    return router && dedup_find(&router->dedup, r->event.u.outcome.decision.id);
}

static enum err fold_outcome(struct redo *r, uint64_t position)
{
    struct fold_result then, other;
    bool first = !reported_before(r);
    r->result.outcomes++;
    TRY(fold(&r->then, &r->event, position, &then));
    if (then.err == OK && !then.duplicate && !then.orphaned && !then.gated)
        TRY(score(r, then.counted_mask, first));
    r->learned++;
    r->unpublished++;
    return fold(&r->other, &r->event, position, &other);
}

/* ---- the events ---- */

static enum err fold_other_kind(struct redo *r, uint64_t position)
{
    struct fold_result then, other;
    TRY(change_event(r));
    TRY(fold(&r->then, &r->event, position, &then));
    TRY(fold(&r->other, &r->changed, position, &other));
    if (r->event.kind == EVENT_ROUTER_CREATE && other.err == OK &&
        strcmp(r->event.u.router.name, r->o->router) == 0)
        r->uid = other.uid;
    r->stale = true;
    return OK;
}

static enum err next_event(struct redo *r, uint64_t *ret_position, bool *ret_end)
{
    *ret_end = false;
    return r->source->next(r->source->self, &r->event, ret_position, ret_end, r->detail);
}

/* How many events there are, and how often each arm was chosen where another could have been. */
static enum err survey(struct redo *r)
{
    uint64_t position;
    bool end;
    for (;;) {
        TRY(next_event(r, &position, &end));
        if (end)
            break;
        r->result.events++;
        const struct decision *d = &r->event.u.outcome.decision;
        if (r->event.kind == EVENT_OUTCOME && d->evaluable && !r->event.u.outcome.served_uid) {
            uint32_t at;
            TRY(whatif_arms_at(&r->arms, d->arm_uid, &at));
            r->arms.logged_n[at]++;
        }
        TRY(lab_watch_row(&r->o->watch, r->result.events, 0));
    }
    return r->source->rewind(r->source->self, r->detail);
}

static enum err fold_all(struct redo *r)
{
    uint64_t position;
    bool end;
    for (uint64_t n = 1;; n++) {
        TRY(next_event(r, &position, &end));
        if (end)
            return OK;
        bool outcome = r->event.kind == EVENT_OUTCOME;
        /* What other routers learn changes nothing here. */
        if (outcome && r->event.u.outcome.decision.router_uid == r->uid)
            TRY(fold_outcome(r, position));
        else if (!outcome)
            TRY(fold_other_kind(r, position));
        TRY(lab_watch_row(&r->o->watch, r->result.events + n, 2 * r->result.events));
    }
}

/* ---- the report ---- */

/* Differences of predicted z over all probes, for one arm in both views. */
struct gap {
    double sum, max;
    uint64_t n;
};

static double probe_arm(const struct router_view *view, const struct arm_view *arm,
                        const struct utility *u, const float *x, double *ret_z)
{
    double utility = 0;
    for (uint32_t m = 0; m < view->config->metrics_n; m++) {
        ret_z[m] = predict_z(view, arm, m, x);
        utility += u->weight[m] * ret_z[m];
    }
    return utility;
}

static void compare_arm(const struct redo *r, const struct router_view *then,
                        const struct router_view *other, const struct arm_view *const arms[2],
                        struct whatif_arm *ret, struct gap *gap)
{
    uint64_t n = r->probes_n < WHATIF_PROBES ? r->probes_n : WHATIF_PROBES;
    struct utility ut, uo;
    utility_init(&ut, then, NULL);
    utility_init(&uo, other, NULL);
    for (uint64_t i = 0; i < n; i++) {
        double zt[MAX_METRICS], zo[MAX_METRICS];
        const float *x = r->probes + i * MAX_D;
        ret->utility_then += probe_arm(then, arms[0], &ut, x, zt) / (double)n;
        ret->utility_other += probe_arm(other, arms[1], &uo, x, zo) / (double)n;
        for (uint32_t m = 0; m < then->config->metrics_n; m++) {
            double apart = fabs(zt[m] - zo[m]);
            gap->sum += apart;
            gap->max = fmax(gap->max, apart);
            gap->n++;
        }
    }
}

/* An arm of today's, and what the counts say of it. */
static enum err report_arm(struct redo *r, const struct router_view *then,
                           const struct router_view *other, uint32_t i, struct gap *gap)
{
    const struct arm_view *arm = then->arms[i];
    struct whatif_arm *ret = &r->result.arms[i];
    uint32_t at;
    TRY(whatif_arms_at(&r->arms, arm->uid, &at));
    memcpy(ret->name, arm->config->name, sizeof ret->name);
    ret->logged_share = r->arms.logged_share[at];
    ret->other_share = r->arms.target_share[at];
    ret->logged = (uint64_t)llround(ret->logged_share * (double)r->result.evaluation.used);
    int k = router_view_arm_uid(other, arm->uid);
    if (k >= 0)
        compare_arm(r, then, other, (const struct arm_view *const[]){arm, other->arms[k]}, ret,
                    gap);
    return OK;
}

static enum err report(struct redo *r)
{
    struct whatif *w = &r->result;
    struct gap gap = {0, 0, 0};
    TRY(publish(&r->then));
    TRY(publish(&r->other));
    const struct router_view *then = snapshot_router_uid(r->then.snapshot, r->uid);
    const struct router_view *other = snapshot_router_uid(r->other.snapshot, r->uid);
    if (!then || !other)
        return err_say(r->detail, ERR_ROUTER_NOT_FOUND,
                       "neither the base nor the events leave a router `%s`", r->o->router);
    r->sums.logged_n = r->arms.logged_n;
    r->sums.logged_share = r->arms.logged_share;
    r->sums.target_share = r->arms.target_share;
    evaluation_finish(&r->sums, other->config, r->arms.n, &w->evaluation);
    w->arms = mem_calloc(then->arms_n, sizeof *w->arms);
    if (!w->arms)
        return ERR_NOMEM;
    w->arms_n = then->arms_n;
    for (uint32_t i = 0; i < then->arms_n; i++)
        TRY(report_arm(r, then, other, i, &gap));
    w->prediction_gap = gap.n ? gap.sum / (double)gap.n : 0;
    w->prediction_gap_max = gap.max;
    return OK;
}

static enum err open_folding(const struct redo *r, struct folding *s)
{
    if (r->o->base.len == 0)
        return model_new(&s->model);
    return model_decode(r->o->base, &s->model, r->detail);
}

static enum err redo_all(struct redo *r)
{
    r->row_arms = mem_calloc(MAX_ARMS, sizeof *r->row_arms);
    r->row_at = mem_calloc(MAX_ARMS, sizeof *r->row_at);
    r->eligible = mem_calloc(MAX_ARMS, sizeof *r->eligible);
    r->pmf = mem_calloc(MAX_ARMS, sizeof *r->pmf);
    r->probes = mem_calloc((size_t)WHATIF_PROBES * MAX_D, sizeof *r->probes);
    if (!r->row_arms || !r->row_at || !r->eligible || !r->pmf || !r->probes)
        return ERR_NOMEM;
    TRY(open_folding(r, &r->then));
    TRY(open_folding(r, &r->other));
    TRY(change_base(r));
    r->stale = true;
    evaluation_init(&r->sums);
    TRY(survey(r));
    TRY(fold_all(r));
    struct evaluation *v = &r->result.evaluation;
    v->unreported = v->rows - v->not_evaluable - r->sums.utility.ips.n;
    return report(r);
}

enum err whatif_run(const struct whatif_options *o, const struct event_source *events,
                    struct whatif *ret, struct err_detail *detail)
{
    struct redo *r = mem_calloc(1, sizeof *r);
    if (!r)
        return ERR_NOMEM;
    r->o = o;
    r->source = events;
    r->detail = detail;
    enum err e = redo_all(r);
    if (e == OK)
        *ret = r->result;
    else
        mem_free(r->result.arms);
    folding_done(&r->then);
    folding_done(&r->other);
    whatif_arms_done(&r->arms);
    mem_free(r->row_arms);
    mem_free(r->row_at);
    mem_free(r->eligible);
    mem_free(r->pmf);
    mem_free(r->probes);
    mem_free(r);
    return e;
}

void whatif_done(struct whatif *w)
{
    mem_free(w->arms);
    w->arms = NULL;
    w->arms_n = 0;
}
