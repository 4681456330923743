#include "state/model/fold_parts.h"

#include "state/model/freeze.h"
#include "state/model/model_build.h"
#include "state/model/snapshot.h"
#include "state/model/transfer.h"

#include <math.h>
#include <string.h>

static void keep_larger(uint64_t *count, uint64_t value)
{
    if (value > *count)
        *count = value;
}

static void fold_tally(struct model *m, const struct event *ev)
{
    const struct event_tally *t = &ev->u.tally;
    struct router *r = model_router(m, t->router_uid);
    if (!r) {
        m->ignored++;
        return;
    }
    r->touched = true;
    keep_larger(&r->requests, t->requests);
    if (r->sweep.beginning && ev->at_us > r->sweep.until_us) {
        /* Counts come a moment late. So a few requests after the beginning are taken for earlier
         * ones: rather that than earlier ones for lost ones. */
        r->sweep.before = r->requests;
        r->sweep.beginning = false;
    }
    keep_larger(&r->sides[0], t->sides[0]);
    keep_larger(&r->sides[1], t->sides[1]);
    keep_larger(&r->logged_requests, t->logged);
    keep_larger(&r->deferred, t->deferred);
    keep_larger(&r->activated, t->activated);
    struct reader pairs;
    reader_init(&pairs, (struct slice){t->pairs, (size_t)t->n * 12});
    for (uint32_t i = 0; i < t->n; i++) {
        struct arm *a = router_arm(r, reader_u32(&pairs));
        uint64_t issued = reader_u64(&pairs);
        if (a && issued > a->issued) {
            a->issued = issued;
            a->touched = true;
        }
    }
}

static enum err check_router_create(const struct model *m, const struct event *ev)
{
    if (model_router_named(m, ev->u.router.name))
        return ERR_ROUTER_EXISTS;
    return m->routers_n >= MAX_ROUTERS ? ERR_LIMIT : OK;
}

/* Of a split or an apprentice; what was counted before is gone with its epoch. */
static void begin_trial(struct router *r, const struct router_settings *settings, int64_t at_us)
{
    trial_begin(&r->trial, settings, at_us, r->sides);
    for (uint32_t i = 0; i < r->arms_n; i++)
        r->arms[i]->trial_served = r->arms[i]->trial_chosen = 0;
}

static void fold_router_create(struct model *m, const struct event *ev, struct fold_result *ret)
{
    ret->err = check_router_create(m, ev);
    if (ret->err != OK)
        return;
    struct router *r = m->spare_router;
    m->spare_router = NULL;
    r->uid = ret->uid = m->next_uid++;
    if (r->config.settings.defaults.n)
        fold_begin_sweep(r, ev->at_us);
    struct router_settings none = r->config.settings;
    none.mode = MODE_ONLINE;
    none.split_policy[0] = '\0';
    if (trial_begins(&none, &r->config.settings))
        begin_trial(r, &r->config.settings, ev->at_us);
    m->routers[m->routers_n++] = r;
}

/* Whatever faded so far did so by the old gamma. */
static void end_gamma(struct model *m, struct router *r)
{
    for (uint32_t i = 0; i < r->arms_n; i++)
        stats_settle(r->arms[i], &r->config, r->outcomes_folded, m->scratch);
    pooled_settle(r->pooled, &r->config, r->outcomes_folded, m->scratch);
    r->gamma_before = r->config.settings.gamma;
    r->gamma_since = r->outcomes_folded;
}

static void fold_router_update(struct model *m, const struct event *ev, struct fold_result *ret)
{
    const struct event_router_update *u = &ev->u.update;
    struct router *r = model_router(m, u->router_uid);
    if (!r) {
        ret->err = ERR_ROUTER_NOT_FOUND;
        return;
    }
    struct router_settings next = u->settings;
    if (trial_begins(&r->config.settings, &next))
        begin_trial(r, &next, ev->at_us);
    /* The statistics are built on these. */
    memcpy(next.ridge, r->config.settings.ridge, sizeof next.ridge);
    next.aggregation = r->config.settings.aggregation;
    if (next.defaults.n && !r->config.settings.defaults.n)
        fold_begin_sweep(r, ev->at_us);
    if (next.gamma != r->config.settings.gamma)
        end_gamma(m, r);
    if (strcmp(next.budget_metric, r->config.settings.budget_metric) != 0)
        memset(&r->account, 0, sizeof r->account); /* Another unit. */
    if (!next.residency.policy[0])
        residency_done(&r->residency);
    r->config.settings = next;
    for (uint32_t i = 0; i < u->metrics_n && i < r->config.metrics_n; i++)
        r->config.metrics[i].weight = u->weights[i];
    while (r->marks.n > next.dedup_max)
        fold_forget_oldest(r, &r->marks, INT64_MAX);
    while (r->dedup.n > next.dedup_max)
        fold_forget_oldest(r, &r->dedup, INT64_MAX);
    r->touched = true;
    pooled_level(r->pooled, &r->config, r->arms, r->arms_n);
    /* Ways of predicting may have changed (pooled_slopes, pooled_level): no arm's view may be
     * shared. */
    for (uint32_t i = 0; i < r->arms_n; i++)
        r->arms[i]->touched = true;
}

static void fold_router_remove(struct model *m, const struct event *ev, struct fold_result *ret)
{
    for (uint32_t i = 0; i < m->routers_n; i++) {
        if (m->routers[i]->uid != ev->u.router_uid)
            continue;
        router_free(m->routers[i]);
        memmove(&m->routers[i], &m->routers[i + 1],
                (m->routers_n - i - 1) * sizeof(struct router *));
        m->routers_n--;
        return;
    }
    ret->err = ERR_ROUTER_NOT_FOUND;
}

static enum err check_label(const struct model *m, const struct event *ev, struct fold_result *ret)
{
    const struct router *r = model_router(m, ev->u.label.router_uid);
    if (!r)
        return ERR_ROUTER_NOT_FOUND;
    const struct router_config *c = &r->config;
    for (uint32_t i = 0; i < c->tasks_n; i++) {
        if (strcmp(c->tasks[i], ev->u.label.label) == 0) {
            ret->duplicate = true;
            return OK;
        }
    }
    /* The last slot is kept for `other`. */
    return c->tasks_n + 1 >= c->spec.task_slots ? ERR_LIMIT : OK;
}

static void fold_label(struct model *m, const struct event *ev, struct fold_result *ret)
{
    ret->err = check_label(m, ev, ret);
    if (ret->err != OK || ret->duplicate)
        return;
    struct router *r = model_router(m, ev->u.label.router_uid);
    memcpy(r->config.tasks[r->config.tasks_n++], ev->u.label.label, NAME_CAP);
    r->touched = true;
}

static enum err check_arm(const struct model *m, const struct event *ev)
{
    const struct event_arm *e = &ev->u.arm;
    const struct router *r = model_router(m, e->router_uid);
    if (!r)
        return ERR_ROUTER_NOT_FOUND;
    bool there = router_arm_named(r, e->config.name) != NULL;
    if (ev->kind == EVENT_ARM_UPDATE)
        return there ? OK : ERR_ARM_NOT_FOUND;
    if (there && !e->replace)
        return ERR_ARM_EXISTS;
    if (e->like_uid && !router_arm(r, e->like_uid))
        return ERR_ARM_NOT_FOUND;
    return there ? OK : r->arms_n >= MAX_ARMS || r->names_n >= MAX_ARM_NAMES ? ERR_LIMIT : OK;
}

static uint32_t next_version(struct router *r, const char *name)
{
    for (uint32_t i = 0; i < r->names_n; i++)
        if (strcmp(r->names[i].name, name) == 0)
            return ++r->names[i].version;
    struct arm_name *fresh = &r->names[r->names_n++];
    memset(fresh, 0, sizeof *fresh);
    memcpy(fresh->name, name, strlen(name) + 1);
    return fresh->version = 1;
}

static void drop_arm(struct router *r, uint32_t i)
{
    residency_drop(&r->residency, r->arms[i]->uid);
    arm_free(r->arms[i]);
    memmove(&r->arms[i], &r->arms[i + 1], (r->arms_n - i - 1) * sizeof(struct arm *));
    r->arms_n--;
}

/* What came from elsewhere, with its labels: all of it, or what `strength` outcomes are worth. */
static void seed_arm(struct model *m, struct router *r, const struct event_arm *e, struct arm *a)
{
    transfer_settle(m->spare_seed, &r->config, m->scratch);
    m->spare_seed->arm->clock = r->outcomes_folded;
    stats_inherit(a, m->spare_seed->arm, &r->config,
                  e->strength > 0 ? e->strength : (double)INFINITY, m->scratch);
    pooled_settle(r->pooled, &r->config, r->outcomes_folded, m->scratch);
    stats_pool(r->pooled, a, &r->config, m->scratch);
    for (uint32_t i = 0; i < r->arms_n; i++)
        r->arms[i]->touched = true; /* Shared slopes have moved. */
}

/* What it inherits, and whom it replaces. */
static void begin_arm(struct model *m, struct router *r, const struct event_arm *e, struct arm *a)
{
    struct arm *like = router_arm(r, e->like_uid), *old = router_arm_named(r, e->config.name);
    if (like) {
        stats_settle(like, &r->config, r->outcomes_folded, m->scratch);
        stats_inherit(a, like, &r->config, e->strength, m->scratch);
    } else if (e->seed.len) {
        seed_arm(m, r, e, a);
    }
    for (uint32_t i = 0; old && i < r->arms_n; i++) {
        if (r->arms[i] == old) {
            drop_arm(r, i);
            return;
        }
    }
}

static void fold_arm(struct model *m, const struct event *ev, struct fold_result *ret)
{
    ret->err = check_arm(m, ev);
    if (ret->err != OK)
        return;
    const struct event_arm *e = &ev->u.arm;
    struct router *r = model_router(m, e->router_uid);
    ret->err = fold_check_reserved(m, ev);
    if (ret->err != OK)
        return;
    r->touched = true;
    if (ev->kind == EVENT_ARM_UPDATE) {
        struct arm *a = router_arm_named(r, e->config.name);
        arm_set_config(a, &r->config, &e->config);
        ret->uid = a->uid;
        return;
    }
    struct arm *a = m->spare_arm;
    m->spare_arm = NULL;
    a->uid = ret->uid = m->next_uid++;
    a->clock = a->answered_at = r->outcomes_folded;
    begin_arm(m, r, e, a);
    transfer_free(m->spare_seed);
    m->spare_seed = NULL;
    a->version = next_version(r, e->config.name);
    r->arms[r->arms_n++] = a;
}

static enum err check_price(const struct model *m, const struct event *ev)
{
    const struct event_arm_price *e = &ev->u.price;
    const struct router *r = model_router(m, e->router_uid);
    if (!r)
        return ERR_ROUTER_NOT_FOUND;
    if (!router_arm(r, e->arm_uid))
        return ERR_ARM_NOT_FOUND;
    bool served =
        e->metric < r->config.metrics_n && r->config.metrics[e->metric].group == METRIC_SERVED;
    return served ? OK : ERR_METRIC_NOT_FOUND;
}

static void fold_price(struct model *m, const struct event *ev, struct fold_result *ret)
{
    const struct event_arm_price *e = &ev->u.price;
    ret->err = check_price(m, ev);
    if (ret->err != OK)
        return;
    struct router *r = model_router(m, e->router_uid);
    struct arm *a = router_arm(r, e->arm_uid);
    const struct stats_price price = {e->factor, e->z_scale, e->z_shift};
    stats_reprice(a, &r->config, e->metric, &price);
    r->touched = true;
    ret->uid = a->uid;
}

static void fold_arm_state(struct model *m, const struct event *ev, struct fold_result *ret)
{
    const struct event_arm_state *e = &ev->u.state;
    struct router *r = model_router(m, e->router_uid);
    ret->err = r ? ERR_ARM_NOT_FOUND : ERR_ROUTER_NOT_FOUND;
    for (uint32_t i = 0; r && i < r->arms_n; i++) {
        struct arm *a = r->arms[i];
        if (a->uid != e->arm_uid)
            continue;
        ret->err = OK;
        ret->uid = a->uid;
        r->touched = true;
        if (ev->kind == EVENT_ARM_STATE) {
            a->paused = e->paused;
            a->drain_since_us = e->draining ? ev->at_us : 0;
            a->touched = true;
            return;
        }
        drop_arm(r, i);
        return;
    }
}

static void fold_key(struct model *m, const struct event *ev, struct fold_result *ret)
{
    if (m->keys_n == MAX_KEYS) {
        memmove(&m->keys[0], &m->keys[1], (MAX_KEYS - 1) * sizeof *m->keys);
        m->keys_n--;
    }
    struct key_view *k = &m->keys[m->keys_n++];
    k->id = ret->uid = m->next_key++;
    memcpy(k->secret, ev->u.key, KEY_BYTES);
}

static enum err check_tenant(const struct model *m, const struct event *ev)
{
    const struct event_tenant *e = &ev->u.tenant;
    const struct router *r = model_router(m, e->router_uid);
    if (!r)
        return ERR_ROUTER_NOT_FOUND;
    if (e->tenant.metric >= r->config.metrics_n)
        return ERR_METRIC_NOT_FOUND;
    uint32_t n = 0;
    if (tenants_find(r->tenants, e->tenant.name))
        return OK;
    if (!(e->tenant.per_request > 0))
        return ERR_TENANT_NOT_FOUND;
    for (uint32_t i = 0; i < m->routers_n; i++)
        n += m->routers[i]->tenants ? m->routers[i]->tenants->n : 0;
    return n >= MAX_TENANTS ? ERR_LIMIT : OK;
}

static void fold_tenant(struct model *m, const struct event *ev, struct fold_result *ret)
{
    ret->err = check_tenant(m, ev);
    if (ret->err != OK)
        return;
    const struct tenant *next = &ev->u.tenant.tenant;
    struct router *r = model_router(m, ev->u.tenant.router_uid);
    const struct tenant *last = tenants_find(r->tenants, next->name);
    bool there, keep = next->per_request > 0;
    uint32_t n = r->tenants ? r->tenants->n : 0, at = tenants_place(r->tenants, next->name, &there);
    struct budget_account *a = r->tenant_accounts + at;
    bool same = last && keep && last->metric == next->metric;
    if (there != keep)
        memmove(a + keep, a + there, (n - at - there) * sizeof *a);
    if (keep && !same)
        memset(a, 0, sizeof *a);
    tenants_release(r->tenants);
    r->tenants = m->spare_tenants;
    m->spare_tenants = NULL;
    r->touched = true;
}

/* The account that a row is about, if there is a budget of that metric. */
static struct budget_account *find_account(const struct model *m, const struct account_row *row)
{
    struct router *r = model_router(m, row->router_uid);
    if (!r)
        return NULL;
    const char *own = r->config.settings.budget_metric;
    if (!row->tenant[0]) {
        int metric = settings_metric_index(&r->config, own, strlen(own));
        return metric == row->metric ? &r->account : NULL;
    }
    const struct tenant *t = tenants_find(r->tenants, row->tenant);
    return t && t->metric == row->metric ? &r->tenant_accounts[t - r->tenants->rows] : NULL;
}

/* No snapshot shows an account: server/live has those of now. */
static void fold_accounts(struct model *m, const struct event *ev)
{
    for (uint32_t i = 0; i < ev->u.accounts.n; i++) {
        const struct account_row *row = &ev->u.accounts.rows[i];
        struct budget_account *a = find_account(m, row);
        if (a)
            *a = row->account;
        else
            m->ignored++;
    }
}

/* A plan may have been made before an arm was removed or the router gave up its adapters, and come
 * after that. */
static void fold_residency(struct model *m, const struct event *ev, struct fold_result *ret)
{
    struct router *r = model_router(m, ev->u.residency.router_uid);
    if (!r) {
        ret->err = ERR_ROUTER_NOT_FOUND;
        return;
    }
    if (!r->config.settings.residency.policy[0]) {
        m->ignored++;
        return;
    }
    struct residency *res = &r->residency;
    residency_fold_record(res, ev->u.residency.update);
    for (uint32_t i = res->arms_n; i-- > 0;)
        if (!router_arm(r, res->arms[i].uid))
            residency_drop(res, res->arms[i].uid);
}

static enum err check_session(const struct model *m, const struct event *ev,
                              struct fold_result *ret)
{
    const struct event_session *e = &ev->u.session;
    const struct router *r = model_router(m, e->router_uid);
    if (!r)
        return ERR_ROUTER_NOT_FOUND;
    if (e->metric >= r->config.metrics_n)
        return ERR_METRIC_NOT_FOUND;
    enum err err = sessions_check(m->sessions, e, ev->at_us, &ret->session);
    ret->has_session = ret->session.budget > 0;
    return err;
}

static void fold_session(struct model *m, const struct event *ev, struct fold_result *ret)
{
    ret->err = check_session(m, ev, ret);
    if (ret->err == OK)
        ret->err = sessions_hold(m->sessions, &ev->u.session, ev->at_us, &ret->session);
    ret->has_session = ret->session.budget > 0;
    m->ignored += ret->err != OK;
}

static enum err check_forget(const struct model *m, const struct event *ev)
{
    uint32_t uid = ev->u.forget.router_uid;
    return uid && !model_router(m, uid) ? ERR_ROUTER_NOT_FOUND : OK;
}

/* What it asks for happened before: whoever folds up to here has left it out (forget.h). */
static void fold_forget(struct model *m, const struct event *ev, struct fold_result *ret)
{
    ret->err = check_forget(m, ev);
    m->ignored += ret->err != OK;
    m->forgot_at = m->position;
}

enum err fold_check(const struct model *model, const struct event *event,
                    struct fold_result *ret_result)
{
    memset(ret_result, 0, sizeof *ret_result);
    switch (event->kind) {
    case EVENT_OUTCOME:
        return fold_check_outcome(model, event, ret_result);
    case EVENT_ROUTER_CREATE:
        return check_router_create(model, event);
    case EVENT_ARM_ADD:
    case EVENT_ARM_UPDATE:
        return check_arm(model, event);
    case EVENT_LABEL_ADD:
        return check_label(model, event, ret_result);
    case EVENT_TENANT_SET:
        return check_tenant(model, event);
    case EVENT_ARM_PRICE:
        return check_price(model, event);
    case EVENT_SESSION:
        return check_session(model, event, ret_result);
    case EVENT_RESIDENCY:
        return model_router(model, event->u.residency.router_uid) ? OK : ERR_ROUTER_NOT_FOUND;
    case EVENT_FORGET:
        return check_forget(model, event);
    case EVENT_ACTIVATE:
        return fold_check_activate(model, event, ret_result);
    case EVENT_SWEEP:
    case EVENT_SESSION_END:
    case EVENT_ACCOUNTS:
    case EVENT_TALLY:
    case EVENT_ROUTER_UPDATE:
    case EVENT_ROUTER_REMOVE:
    case EVENT_ARM_STATE:
    case EVENT_ARM_REMOVE:
    case EVENT_KEY_ADD:
        return OK;
    }
    return ERR_INVALID;
}

enum err fold_check_reserved(const struct model *model, const struct event *event)
{
    const struct event_arm *e = &event->u.arm;
    if (event->kind != EVENT_ARM_ADD || e->seed.len == 0)
        return OK;
    if (!model->spare_seed)
        return ERR_CORRUPT;
    return transfer_check(model->spare_seed, &model_router(model, e->router_uid)->config, NULL);
}

void fold_event(struct model *model, const struct event *event, uint64_t position,
                struct fold_result *ret_result)
{
    memset(ret_result, 0, sizeof *ret_result);
    if (model->freeze)
        freeze_before(model->freeze, event);
    model->position = position;
    model->clock_us = event->at_us;
    switch (event->kind) {
    case EVENT_OUTCOME:
        fold_outcome(model, event, ret_result);
        break;
    case EVENT_TALLY:
        fold_tally(model, event);
        break;
    case EVENT_ROUTER_CREATE:
        fold_router_create(model, event, ret_result);
        break;
    case EVENT_ROUTER_UPDATE:
        fold_router_update(model, event, ret_result);
        break;
    case EVENT_ROUTER_REMOVE:
        fold_router_remove(model, event, ret_result);
        break;
    case EVENT_LABEL_ADD:
        fold_label(model, event, ret_result);
        break;
    case EVENT_ARM_ADD:
    case EVENT_ARM_UPDATE:
        fold_arm(model, event, ret_result);
        break;
    case EVENT_ARM_STATE:
    case EVENT_ARM_REMOVE:
        fold_arm_state(model, event, ret_result);
        break;
    case EVENT_ARM_PRICE:
        fold_price(model, event, ret_result);
        break;
    case EVENT_KEY_ADD:
        fold_key(model, event, ret_result);
        break;
    case EVENT_TENANT_SET:
        fold_tenant(model, event, ret_result);
        break;
    case EVENT_ACCOUNTS:
        fold_accounts(model, event);
        break;
    case EVENT_SESSION:
        fold_session(model, event, ret_result);
        break;
    case EVENT_SWEEP:
        fold_sweep(model, event);
        break;
    case EVENT_RESIDENCY:
        fold_residency(model, event, ret_result);
        break;
    case EVENT_FORGET:
        fold_forget(model, event, ret_result);
        break;
    case EVENT_ACTIVATE:
        fold_activate(model, event, ret_result);
        break;
    case EVENT_SESSION_END:
        model->ignored +=
            !sessions_end(model->sessions, &event->u.session_end, &ret_result->session);
        break;
    }
}
