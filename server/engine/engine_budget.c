/* engine_budget.c - whose budget pays for a request, what it affords, and what is said of it. */
#include "server/engine/engine_parts.h"

#include <stdio.h>
#include <string.h>

/* ---- of a request ---- */

enum err engine_find_budget(struct engine_worker *w, const struct router_view *r,
                            const char *tenant, int64_t now_us, struct budget *ret,
                            struct err_detail *detail)
{
    const struct router_settings *s = &r->config->settings;
    const struct tenant *own = tenant[0] ? tenants_find(r->tenants, tenant) : NULL;
    ret->paced = own || r->budget_metric >= 0;
    if (!ret->paced)
        return OK;
    memset(&ret->id, 0, sizeof ret->id);
    ret->id.router_uid = r->uid;
    ret->id.metric = own ? own->metric : (uint8_t)r->budget_metric;
    if (own)
        memcpy(ret->id.key, own->name, NAME_CAP);
    ret->limits = own ? (struct pacer_budget){own->per_request, own->ceiling}
                      : (struct pacer_budget){s->budget_per_request, s->budget_ceiling};
    enum err e = pacers_terms(w->engine->pacers, &ret->id, &ret->limits, now_us, &ret->terms);
    return e == OK ? OK
                   : err_say(detail, e, "no account for the budget of %s `%s`",
                             own ? "tenant" : "router", own ? own->name : r->config->name);
}

enum { LEFT_OUT = 0x80 }; /* A mark of an arm whose reason is written next. */

uint32_t engine_afford(struct engine_worker *w, const struct router_view *r, const struct budget *b,
                       const struct score_pass *pass, uint32_t n, uint32_t *ret_trials)
{
    uint8_t metric = b->id.metric;
    w->refused_n = 0;
    pacing_costs_with(pass, r, metric, b->limits.per_request, w->arms, n, w->costs);
    uint32_t kept = pacing_filter(r, metric, &b->terms, w->arms, w->costs, n, ret_trials);
    uint32_t stay = kept + (ret_trials ? *ret_trials : 0);
    for (uint32_t i = stay; i < n; i++) {
        w->refused_cost[w->arms[i].index] = w->costs[i];
        w->marks[w->arms[i].index] = LEFT_OUT;
    }
    for (uint32_t i = 0; stay < n && i < r->arms_n; i++) { /* In the order of the arms. */
        if (w->marks[i] != LEFT_OUT)
            continue;
        w->marks[i] = UNAFFORDABLE;
        if (w->refused_n < AUDIT_REFUSED_MAX)
            w->refused[w->refused_n] = (struct audit_refused){r->arms[i]->uid, w->refused_cost[i]};
        w->refused_n++;
    }
    return kept;
}

void engine_show_budget(const struct budget *b, const struct router_view *r,
                        struct shown_budget *ret)
{
    memset(ret, 0, sizeof *ret);
    ret->paced = b->paced;
    if (!b->paced)
        return;
    memcpy(ret->metric, r->config->metrics[b->id.metric].name, NAME_CAP);
    memcpy(ret->tenant, b->id.key, NAME_CAP);
    ret->per_request = b->terms.budget;
    ret->lambda = b->terms.lambda;
    ret->affordable = b->terms.affordable;
    ret->breaker = b->terms.cheapest_only;
}

void engine_say_unaffordable(const char *metric, double cost, double affordable, bool breaker,
                             char *ret_text, size_t cap)
{
    if (breaker)
        (void)snprintf(ret_text, cap, "%s %.3g predicted; the breaker lets the cheapest arm serve",
                       metric, cost);
    else
        (void)snprintf(ret_text, cap, "%s %.3g predicted, %.3g affordable now", metric, cost,
                       affordable);
}

void engine_correct(struct engine *e, const struct report_charge *c)
{
    struct pacer_id id;
    memset(&id, 0, sizeof id);
    id.router_uid = c->router_uid;
    id.metric = c->metric;
    memcpy(id.key, c->tenant, NAME_CAP);
    pacers_correct(e->pacers, &id, c->charged, c->cost);
}

/* ---- of the operator ---- */

/* An account of a budget that is gone, or of another metric, is nobody's. */
static void close_others(struct engine_worker *w, uint32_t router_uid, const char *tenant,
                         int metric)
{
    struct pacer_id id;
    memset(&id, 0, sizeof id);
    id.router_uid = router_uid;
    memcpy(id.key, tenant, NAME_CAP);
    for (int m = 0; m < MAX_METRICS; m++) {
        id.metric = (uint8_t)m;
        if (m != metric)
            pacers_close(w->engine->pacers, &id);
    }
}

/* Checks a budget against its router, and says which that is and which metric. */
static enum err look_up(struct engine_worker *w, struct slice router, const char *metric,
                        const struct tenant *t, uint32_t *ret_uid, uint8_t *ret_metric,
                        struct err_detail *detail)
{
    const struct router_view *r;
    enum err e = engine_find_router(engine_snapshot_acquire(w), router, &r, detail);
    if (e == OK)
        *ret_uid = r->uid;
    if (e == OK && metric) {
        e = budget_check(r->config, "", metric, t->per_request, t->ceiling, detail);
        *ret_metric = (uint8_t)settings_metric_index(r->config, metric, strlen(metric));
    }
    engine_snapshot_release(w);
    return e;
}

static enum err submit_tenant(struct engine_worker *w, uint32_t uid, const struct tenant *t,
                              struct err_detail *detail)
{
    struct event *ev = &w->event;
    memset(ev, 0, sizeof *ev);
    ev->kind = EVENT_TENANT_SET;
    ev->at_us = clock_unix_us();
    ev->u.tenant.router_uid = uid;
    ev->u.tenant.tenant = *t;
    enum err e = engine_submit(w, ev, NULL);
    if (e == ERR_LIMIT)
        return err_say(detail, e, "%d tenants have a budget of their own already", MAX_TENANTS);
    if (e == ERR_TENANT_NOT_FOUND)
        return err_say(detail, e, "tenant `%s` has no budget of its own", t->name);
    return e == OK ? OK : err_say(detail, e, "the budget of `%s` was not changed", t->name);
}

enum err engine_tenant_set(struct engine_worker *w, struct slice router, struct slice tenant,
                           struct slice metric, double per_request, double ceiling,
                           struct err_detail *detail)
{
    struct tenant t;
    char name[NAME_CAP];
    uint32_t uid = 0;
    memset(&t, 0, sizeof t);
    TRY(engine_name(tenant, "the tenant", t.name, detail));
    TRY(engine_name(metric, "the metric", name, detail));
    t.per_request = per_request;
    t.ceiling = ceiling;
    TRY(look_up(w, router, name, &t, &uid, &t.metric, detail));
    TRY(submit_tenant(w, uid, &t, detail));
    close_others(w, uid, t.name, t.metric);
    return OK;
}

enum err engine_tenant_remove(struct engine_worker *w, struct slice router, struct slice tenant,
                              struct err_detail *detail)
{
    struct tenant t;
    uint32_t uid = 0;
    memset(&t, 0, sizeof t);
    TRY(engine_name(tenant, "the tenant", t.name, detail));
    TRY(look_up(w, router, NULL, NULL, &uid, NULL, detail));
    TRY(submit_tenant(w, uid, &t, detail));
    close_others(w, uid, t.name, -1);
    return OK;
}

/* ---- the list ---- */

struct listing {
    struct engine_worker *w;
    const char *tenant; /* "": all. */
    struct budget_info *to;
    uint32_t max, n, total;
};

static void list_one(struct listing *l, const struct router_view *r, const struct tenant *t)
{
    struct pacer_id id;
    if (l->total++ >= l->max)
        return;
    struct budget_info *b = &l->to[l->n++];
    memset(b, 0, sizeof *b);
    memset(&id, 0, sizeof id);
    id.router_uid = r->uid;
    id.metric = t->metric;
    memcpy(id.key, t->name, NAME_CAP);
    memcpy(b->router, r->config->name, NAME_CAP);
    memcpy(b->tenant, t->name, NAME_CAP);
    memcpy(b->metric, r->config->metrics[t->metric].name, NAME_CAP);
    b->per_request = t->per_request;
    b->ceiling = t->ceiling;
    b->has_account = pacers_read(l->w->engine->pacers, &id, &b->account);
}

static void list_router(struct listing *l, const struct router_view *r)
{
    const struct router_settings *s = &r->config->settings;
    const struct tenant *one = l->tenant[0] ? tenants_find(r->tenants, l->tenant) : NULL;
    if (one)
        list_one(l, r, one);
    if (l->tenant[0])
        return;
    if (r->budget_metric >= 0) {
        const struct tenant own = {.metric = (uint8_t)r->budget_metric,
                                   .per_request = s->budget_per_request,
                                   .ceiling = s->budget_ceiling};
        list_one(l, r, &own);
    }
    for (uint32_t i = 0; r->tenants && i < r->tenants->n; i++)
        list_one(l, r, &r->tenants->rows[i]);
}

enum err engine_budgets(struct engine_worker *w, struct slice router, struct slice tenant,
                        struct budget_info *ret_budgets, uint32_t max, uint32_t *ret_n,
                        uint32_t *ret_total, struct err_detail *detail)
{
    char name[NAME_CAP] = "";
    const struct router_view *r = NULL;
    if (tenant.len > 0)
        TRY(engine_name(tenant, "the tenant", name, detail));
    struct listing l = {.w = w, .tenant = name, .to = ret_budgets, .max = max};
    const struct snapshot *s = engine_snapshot_acquire(w);
    enum err e = router.len > 0 ? engine_find_router(s, router, &r, detail) : OK;
    if (r)
        list_router(&l, r);
    for (uint32_t i = 0; e == OK && !r && i < s->routers_n; i++)
        list_router(&l, s->routers[i]);
    engine_snapshot_release(w);
    *ret_n = l.n;
    *ret_total = l.total;
    return e;
}

uint32_t engine_sessions_count(struct engine *e, uint32_t *ret_strict)
{
    return session_table_count(e->sessions, clock_unix_us(), ret_strict);
}

struct pacers_count engine_accounts(struct engine *e)
{
    return pacers_count(e->pacers);
}
