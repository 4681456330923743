#include "state/model/model.h"

#include "state/base/mem.h"
#include "state/base/search.h"
#include "state/model/freeze.h"
#include "state/model/model_build.h"
#include "state/model/snapshot.h"
#include "state/model/transfer.h"

#include <stddef.h>
#include <string.h>

enum err model_new(struct model **ret_model)
{
    struct model *m = mem_calloc(1, sizeof *m);
    if (!m)
        return ERR_NOMEM;
    m->keys = mem_calloc(MAX_KEYS, sizeof *m->keys);
    m->vector = mem_calloc(MAX_D, sizeof *m->vector);
    if (!m->keys || !m->vector || sessions_new(&m->sessions) != OK) {
        model_free(m);
        return ERR_NOMEM;
    }
    m->next_uid = 1;
    m->next_key = 1;
    *ret_model = m;
    return OK;
}

void router_free(struct router *r)
{
    if (!r)
        return;
    for (uint32_t i = 0; i < r->arms_n; i++)
        arm_free(r->arms[i]);
    mem_free(r->arms);
    mem_free(r->names);
    pooled_free(r->pooled);
    dedup_done(&r->dedup);
    dedup_done(&r->marks);
    tenants_release(r->tenants);
    mem_free(r->tenant_accounts);
    residency_done(&r->residency);
    mem_free(r);
}

struct router *router_new(const struct router_config *config)
{
    struct router *r = mem_calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->config = *config;
    r->d = spec_d(&config->spec);
    r->hash = spec_hash(&config->spec);
    dedup_init(&r->dedup, config->metrics_n, config->settings.aggregation != AGGREGATE_FIRST);
    dedup_init(&r->marks, 0, false);
    r->pooled = pooled_new(config);
    if (!r->pooled) {
        router_free(r);
        return NULL;
    }
    r->gamma_before = config->settings.gamma;
    r->touched = true;
    return r;
}

void model_free(struct model *m)
{
    if (!m)
        return;
    for (uint32_t i = 0; i < m->routers_n; i++)
        router_free(m->routers[i]);
    mem_free(m->routers);
    router_free(m->spare_router);
    arm_free(m->spare_arm);
    transfer_free(m->spare_seed);
    tenants_release(m->spare_tenants);
    sessions_free(m->sessions);
    if (m->keys)
        explicit_bzero(m->keys, MAX_KEYS * sizeof *m->keys);
    mem_free(m->keys);
    mem_free(m->vector);
    mem_free(m->scratch);
    mem_free(m);
}

struct router *model_router(const struct model *m, uint32_t uid)
{
    uint32_t at = search_pointers(m->routers, m->routers_n, offsetof(struct router, uid), uid);
    return at < m->routers_n && m->routers[at]->uid == uid ? m->routers[at] : NULL;
}

struct router *model_router_named(const struct model *m, const char *name)
{
    for (uint32_t i = 0; i < m->routers_n; i++)
        if (strcmp(m->routers[i]->config.name, name) == 0)
            return m->routers[i];
    return NULL;
}

struct arm *router_arm(const struct router *r, uint32_t uid)
{
    uint32_t at = search_pointers(r->arms, r->arms_n, offsetof(struct arm, uid), uid);
    return at < r->arms_n && r->arms[at]->uid == uid ? r->arms[at] : NULL;
}

struct arm *router_arm_named(const struct router *r, const char *name)
{
    for (uint32_t i = 0; i < r->arms_n; i++)
        if (strcmp(r->arms[i]->config.name, name) == 0)
            return r->arms[i];
    return NULL;
}

/* Room for one more element of an array that doubles. */
static enum err grow(void **array, uint32_t n, uint32_t *cap, size_t size)
{
    if (n < *cap)
        return OK;
    uint32_t wider = *cap ? *cap * 2 : 8;
    void *grown = mem_realloc(*array, wider * size);
    if (!grown)
        return ERR_NOMEM;
    *array = grown;
    *cap = wider;
    return OK;
}

enum err model_reserve_scratch(struct model *m, uint32_t d)
{
    size_t n = stats_scratch_n(d);
    if (n <= m->scratch_n)
        return OK;
    double *scratch = mem_realloc(m->scratch, n * sizeof *scratch);
    if (!scratch)
        return ERR_NOMEM;
    m->scratch = scratch;
    m->scratch_n = n;
    return OK;
}

enum err model_reserve_router(struct model *m)
{
    void *array = m->routers;
    enum err e = grow(&array, m->routers_n, &m->routers_cap, sizeof *m->routers);
    m->routers = array;
    return e;
}

enum err router_reserve_arm(struct router *r)
{
    void *array = r->arms;
    enum err e = grow(&array, r->arms_n, &r->arms_cap, sizeof *r->arms);
    r->arms = array;
    if (e != OK)
        return e;
    array = r->names;
    e = grow(&array, r->names_n, &r->names_cap, sizeof *r->names);
    r->names = array;
    return e;
}

enum err router_reserve_accounts(struct router *r, uint32_t n)
{
    if (n <= r->accounts_cap)
        return OK;
    uint32_t cap = n < 8 ? 8 : 2 * n;
    struct budget_account *accounts = mem_realloc(r->tenant_accounts, cap * sizeof *accounts);
    if (!accounts)
        return ERR_NOMEM;
    r->tenant_accounts = accounts;
    r->accounts_cap = cap;
    return OK;
}

static enum err reserve_tenants(struct model *m, const struct event_tenant *e)
{
    struct router *r = model_router(m, e->router_uid);
    if (!r)
        return OK;
    TRY(router_reserve_accounts(r, (r->tenants ? r->tenants->n : 0) + 1));
    tenants_release(m->spare_tenants);
    m->spare_tenants = tenants_with(r->tenants, &e->tenant);
    return m->spare_tenants ? OK : ERR_NOMEM;
}

static enum err reserve_entries(struct model *m, struct router *r, struct dedup *t, uint64_t more)
{
    uint64_t max = r->config.settings.dedup_max;
    if (m->freeze && dedup_would_move(t, more, max))
        freeze_before_move(m->freeze, r, t);
    return dedup_reserve(t, more, max);
}

/* The arm that learns is the one that the decision's first report names, which may be ahead of this
 * one: a decision moves each test once, so the first report's turn here makes room for all. */
static enum err reserve_outcome(struct model *m, struct router *r, const struct event_outcome *o,
                                uint64_t ahead)
{
    const struct dedup_entry *entry = dedup_find(&r->dedup, o->decision.id);
    const uint32_t uids[] = {o->decision.arm_uid, o->served_uid, entry ? entry->arm_uid : 0};
    for (size_t i = 0; i < sizeof uids / sizeof *uids; i++) {
        struct arm *a = router_arm(r, uids[i]);
        if (a)
            TRY(drift_reserve(a, &r->config, ahead));
    }
    return reserve_entries(m, r, &r->dedup, ahead + 1);
}

static enum err reserve_residency(const struct model *m, const struct event_residency *e)
{
    uint32_t fresh;
    struct router *r = model_router(m, e->router_uid);
    if (!r)
        return OK;
    TRY(residency_check_record(e->update, &r->residency, &fresh));
    if (!r->residency.window)
        TRY(residency_init(&r->residency, r->d, r->config.metrics_n));
    return residency_reserve(&r->residency, fresh);
}

/* Bytes that are no statistics, or of another layout, are left to fold_check_reserved. */
static enum err reserve_arm(struct model *m, const struct event_arm *e)
{
    struct router *r = model_router(m, e->router_uid);
    transfer_free(m->spare_seed);
    m->spare_seed = NULL;
    if (!r)
        return OK;
    if (e->seed.len && transfer_decode(e->seed, &m->spare_seed, NULL) == ERR_NOMEM)
        return ERR_NOMEM;
    arm_free(m->spare_arm);
    m->spare_arm = arm_new(&r->config, &e->config);
    if (!m->spare_arm)
        return ERR_NOMEM;
    return router_reserve_arm(r);
}

enum err model_reserve(struct model *m, const struct event *event, uint64_t ahead)
{
    if (event->kind == EVENT_ROUTER_CREATE) {
        router_free(m->spare_router);
        m->spare_router = router_new(&event->u.router);
        if (!m->spare_router)
            return ERR_NOMEM;
        TRY(model_reserve_scratch(m, m->spare_router->d));
        return model_reserve_router(m);
    }
    if (event->kind == EVENT_ARM_ADD)
        return reserve_arm(m, &event->u.arm);
    if (event->kind == EVENT_ACTIVATE) {
        struct router *r = model_router(m, event->u.activate.decision.router_uid);
        return r ? reserve_entries(m, r, &r->marks, ahead + 1) : OK;
    }
    if (event->kind == EVENT_SESSION)
        return sessions_make_room(m->sessions, ahead + 1);
    if (event->kind == EVENT_RESIDENCY)
        return reserve_residency(m, &event->u.residency);
    if (event->kind == EVENT_TENANT_SET)
        return reserve_tenants(m, &event->u.tenant);
    if (event->kind == EVENT_OUTCOME) {
        struct router *r = model_router(m, event->u.outcome.decision.router_uid);
        return r ? reserve_outcome(m, r, &event->u.outcome, ahead) : OK;
    }
    return OK;
}
