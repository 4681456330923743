#include "server/lab/target.h"

#include "state/base/mem.h"
#include "state/base/rng.h"
#include "state/model/fold.h"
#include "state/model/model.h"

#include <stddef.h>
#include <string.h>

enum { BATCH_SHARE = 64, BATCH_MOST = 256, DEDUP_MOST = 1000 };

struct target {
    struct target_options o;
    struct model *model; /* NULL: frozen. */
    struct snapshot *snapshot;
    struct router_view frozen; /* The options' view under the options' config. */
    struct router_config config;
    uint32_t *at;              /* (arms_n): place in the view's arms. */
    uint64_t *issued;          /* (arms_n) */
    struct eligible *eligible; /* (arms_n) */
    uint32_t *place;           /* (arms_n): of each eligible arm in the row. */
    float *pmf, *cost;         /* (arms_n) */
    uint32_t *uid;             /* (arms_n) */
    uint32_t router_uid;
    uint64_t learned, unpublished, position;
    int64_t clock_us;
    struct event event;
    struct decide_scratch scratch;
};

void target_set_fixed(struct router_config *config, const char *arm)
{
    struct router_settings *s = &config->settings;
    memset(s->policy, 0, sizeof s->policy);
    memcpy(s->policy, "fixed", 5);
    memset(s->fixed_arm, 0, sizeof s->fixed_arm);
    memcpy(s->fixed_arm, arm, strnlen(arm, NAME_CAP - 1));
    s->explore_floor = 0;
    s->newcomer_pulls = 0;
}

static enum err fold(struct target *t, uint32_t *ret_uid)
{
    struct fold_result r;
    t->event.at_us = t->clock_us;
    TRY(model_reserve(t->model, &t->event, 0));
    fold_event(t->model, &t->event, ++t->position, &r);
    *ret_uid = r.uid;
    return r.err;
}

static enum err publish(struct target *t)
{
    struct snapshot *next;
    TRY(snapshot_build(t->model, t->snapshot, &next));
    snapshot_free(t->snapshot);
    t->snapshot = next;
    t->unpublished = 0;
    return OK;
}

static enum err create_router(struct target *t)
{
    TRY(model_new(&t->model));
    memset(&t->event, 0, sizeof t->event);
    t->event.kind = EVENT_ROUTER_CREATE;
    t->event.u.router = t->config;
    /* Every row is a decision of its own: nothing is ever amended. */
    t->event.u.router.settings.dedup_max = DEDUP_MOST;
    t->event.u.router.settings.aggregation = AGGREGATE_FIRST; /* A row holds what it came to. */
    return fold(t, &t->router_uid);
}

static enum err add_arm(struct target *t, uint32_t i, struct err_detail *detail)
{
    const struct lab_arm *arm = &t->o.arms[i];
    struct arm_config *c = &t->event.u.arm.config;
    memset(&t->event, 0, sizeof t->event);
    t->event.kind = EVENT_ARM_ADD;
    t->event.u.arm.router_uid = t->router_uid;
    if (arm->config)
        *c = *arm->config;
    memset(c->name, 0, sizeof c->name);
    memcpy(c->name, arm->name, strnlen(arm->name, NAME_CAP));
    TRY(settings_check_arm(c, detail));
    enum err e = fold(t, &t->uid[i]);
    t->at[i] = i; /* Views are in order of uid. */
    return e == OK ? OK : err_say(detail, e, "arm `%s` of the log: %s", c->name, err_text(e));
}

static enum err open_learning(struct target *t, struct err_detail *detail)
{
    TRY(create_router(t));
    for (uint32_t i = 0; i < t->o.arms_n; i++)
        TRY(add_arm(t, i, detail));
    return publish(t);
}

static enum err open_frozen(struct target *t, struct err_detail *detail)
{
    const struct router_view *view = t->o.frozen;
    if (view->d != spec_d(&t->config.spec) || view->config->metrics_n != t->config.metrics_n)
        return err_say(detail, ERR_SPEC_MISMATCH,
                       "the frozen statistics have %u numbers a context and %u metrics, the target "
                       "%u and %u",
                       view->d, view->config->metrics_n, spec_d(&t->config.spec),
                       t->config.metrics_n);
    /* All but the count of its holders, which others write. */
    const size_t skip = offsetof(struct router_view, uid);
    memcpy((char *)&t->frozen + skip, (const char *)view + skip, sizeof t->frozen - skip);
    t->frozen.config = &t->config;
    uint32_t known = 0;
    for (uint32_t i = 0; i < t->o.arms_n; i++) {
        const char *name = t->o.arms[i].name;
        int at = router_view_arm(view, name, strnlen(name, NAME_CAP));
        t->at[i] = at < 0 ? TARGET_NO_ARM : (uint32_t)at;
        t->issued[i] = at < 0 ? 0 : view->arms[at]->tallied;
        known += at >= 0;
    }
    return known ? OK
                 : err_say(detail, ERR_ARM_NOT_FOUND,
                           "the frozen statistics have none of the arms that the log chose among, "
                           "such as `%s`",
                           t->o.arms[0].name);
}

static enum err open_target(struct target *t, struct err_detail *detail)
{
    TRY(settings_check(&t->config, detail));
    TRY(policy_check(&t->config.settings, detail));
    if (t->o.arms_n == 0 || t->o.arms_n > MAX_ARMS)
        return err_say(detail, ERR_LIMIT, "a log has 1 to %d arms, not %u", MAX_ARMS, t->o.arms_n);
    t->at = mem_calloc(t->o.arms_n, sizeof *t->at);
    t->uid = mem_calloc(t->o.arms_n, sizeof *t->uid);
    t->issued = mem_calloc(t->o.arms_n, sizeof *t->issued);
    t->eligible = mem_calloc(t->o.arms_n, sizeof *t->eligible);
    t->place = mem_calloc(t->o.arms_n, sizeof *t->place);
    t->pmf = mem_calloc(t->o.arms_n, sizeof *t->pmf);
    t->cost = mem_calloc(t->o.arms_n, sizeof *t->cost);
    if (!t->at || !t->uid || !t->issued || !t->eligible || !t->place || !t->pmf || !t->cost)
        return ERR_NOMEM;
    return t->o.frozen ? open_frozen(t, detail) : open_learning(t, detail);
}

enum err target_new(const struct target_options *o, struct target **ret_target,
                    struct err_detail *detail)
{
    struct target *t = mem_calloc(1, sizeof *t);
    if (!t)
        return ERR_NOMEM;
    t->o = *o;
    t->config = *o->config;
    enum err e = open_target(t, detail);
    if (e != OK)
        target_free(t);
    else
        *ret_target = t;
    return e;
}

void target_free(struct target *t)
{
    if (!t)
        return;
    snapshot_free(t->snapshot);
    model_free(t->model);
    mem_free(t->at);
    mem_free(t->uid);
    mem_free(t->issued);
    mem_free(t->eligible);
    mem_free(t->place);
    mem_free(t->pmf);
    mem_free(t->cost);
    mem_free(t);
}

const struct router_view *target_view(const struct target *t)
{
    return t->o.frozen ? &t->frozen : t->snapshot->routers[0];
}

uint32_t target_arm(const struct target *t, uint32_t arm)
{
    return t->at[arm];
}

static bool publish_due(const struct target *t)
{
    uint64_t batch = t->o.publish_every;
    if (!batch) {
        batch = t->learned / BATCH_SHARE;
        batch = batch < 1 ? 1 : batch > BATCH_MOST ? BATCH_MOST : batch;
    }
    return t->unpublished >= batch;
}

uint32_t target_arms_left(const struct target *t, const struct logged_row *row)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < row->arms_n; i++)
        n += t->at[row->arms[i]] != TARGET_NO_ARM;
    return n;
}

/* The row's arms that the target knows; returns how many. */
static uint32_t take_arms(struct target *t, const struct logged_row *row)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < row->arms_n; i++) {
        uint32_t arm = row->arms[i];
        if (t->at[arm] == TARGET_NO_ARM)
            continue;
        t->eligible[n] = (struct eligible){.index = t->at[arm], .issued = t->issued[arm]};
        t->place[n++] = i;
    }
    return n;
}

/* From the n arms taken to all of the row's: from the end on, since a place is never before the
 * number of its arm. */
static void spread(struct target *t, uint32_t n, uint32_t arms_n)
{
    for (uint32_t i = arms_n; i-- > 0;) {
        bool taken = n > 0 && t->place[n - 1] == i;
        t->pmf[i] = taken ? t->pmf[--n] : 0;
    }
}

enum err target_decide(struct target *t, const struct logged_row *row, const double *weights,
                       uint64_t draw, struct target_decision *ret_decision)
{
    const struct logged_price *price = &row->price;
    if (publish_due(t))
        TRY(publish(t));
    uint32_t n = take_arms(t, row);
    if (n == 0)
        return ERR_NO_ELIGIBLE_ARM;
    if (price->paced)
        pacing_costs(target_view(t), price->metric, row->x, price->per_request, t->eligible, n,
                     t->cost);
    const struct decide_input in = {.router = target_view(t),
                                    .x = row->x,
                                    .weights = weights,
                                    .arms = t->eligible,
                                    .n = n,
                                    .answer_share = 1,
                                    .seed = rng_mix(t->o.seed, draw),
                                    .cost = price->paced ? t->cost : NULL,
                                    .lambda = price->lambda,
                                    .budget = price->per_request};
    struct decide_result result;
    decide(&in, &t->scratch, t->pmf, &result);
    spread(t, n, row->arms_n);
    ret_decision->pmf = t->pmf;
    ret_decision->drawn = t->place[result.chosen];
    ret_decision->utility = result.utility;
    return OK;
}

/* Ids are counted, not the rows' own: a log that holds an id twice teaches twice. */
static void fill_outcome(struct target *t, const struct logged_row *row)
{
    struct event_outcome *o = &t->event.u.outcome;
    memset(&t->event, 0, offsetof(struct event, u) + sizeof *o);
    t->event.kind = EVENT_OUTCOME;
    memcpy(o->decision.id, &t->learned, sizeof t->learned);
    o->decision.router_uid = t->router_uid;
    o->decision.arm_uid = t->uid[row->arms[row->chosen]];
    o->decision.spec_hash = spec_hash(&t->config.spec);
    o->decision.issued_us = t->clock_us;
    o->decision.propensity = (float)row->propensity;
    o->decision.d = (uint16_t)spec_d(&t->config.spec);
    memcpy(o->decision.x, row->x, o->decision.d * sizeof *row->x);
    o->status = row->status;
    for (uint32_t m = 0; m < t->config.metrics_n; m++)
        if (row->has_mask >> m & 1)
            o->metrics[o->metrics_n++] =
                (struct outcome_metric){(uint8_t)m, row->raw[m], row->z[m]};
}

enum err target_learn(struct target *t, const struct logged_row *row)
{
    uint32_t uid;
    if (t->o.frozen)
        return OK;
    t->issued[row->arms[row->chosen]]++;
    if (!row->has_mask)
        return OK;
    /* The clock only moves on, so that no row is late. */
    t->clock_us = row->issued_us > t->clock_us ? row->issued_us : t->clock_us + 1;
    t->learned++;
    t->unpublished++;
    fill_outcome(t, row);
    return fold(t, &uid);
}
