/* adapters_info.c - what is shown of a router's adapters, what requests tell of them, and pins. */
#include "server/engine/adapters_parts.h"

#include "state/base/hash.h"

#include <stdio.h>
#include <string.h>

/* The latest sentence of a replica that is to hold it and will not. */
static const char *refusal(const struct resident *r, uint32_t uid)
{
    for (size_t k = 0; k < r->rows_cap && r->rows[k].uid; k++)
        if (r->rows[k].uid == uid && r->rows[k].phase == ENGINE_FAILED)
            return r->rows[k].error;
    return NULL;
}

/* A replica that is up has it, or is to. The others have no room until the next plan, which is made
 * for those that are up then. */
static bool placed(const struct resident *r, uint32_t uid)
{
    struct engine_replica_view v;
    for (size_t k = 0; r->replicas && k < r->rows_cap && r->rows[k].uid; k++)
        if (r->rows[k].uid == uid && r->rows[k].wanted &&
            reconciler_replica(replicas_status(r->replicas), r->rows[k].replica, &v) && v.up)
            return true;
    return !r->replicas;
}

/* No replica could hold it, even empty. */
static bool too_large(const struct resident *r, const struct adapter_config *a)
{
    uint64_t bytes = r->view->config->settings.residency.bytes;
    return bytes && a->bytes > bytes;
}

/* What the last plan thought of it. */
static void say_worth(const struct resident *r, const struct controller_arm_view *v,
                      const struct adapter_info *info, char *ret, size_t cap)
{
    if (v->desired && !placed(r, v->uid))
        (void)snprintf(ret, cap, "desired, and no replica that is up has room for it now");
    else if (v->desired)
        (void)snprintf(ret, cap, "without it a request would be worth %.4f less", v->value);
    else if (too_large(r, &info->config))
        (void)snprintf(ret, cap, "it is larger than the bytes of a replica: it never has a place");
    else if (v->value <= r->settings.hysteresis)
        (void)snprintf(ret, cap, "a slot would gain %.4f a request: too little to load it",
                       v->value);
    else
        (void)snprintf(ret, cap, "a slot would gain %.4f a request: less than the others do",
                       v->value);
}

static void say_why(const struct resident *r, const struct controller_arm_view *v, uint32_t uid,
                    struct adapter_info *ret)
{
    const struct cache_policy_ops *ops = controller_policy(r->controller);
    const struct residency *state = controller_state(r->controller);
    size_t cap = sizeof ret->why;
    const char *refused = v->desired ? refusal(r, uid) : NULL;
    if (refused) /* Before what the plan thinks of it: it cannot be had. */
        (void)snprintf(ret->why, cap, "its engine has not loaded it: %.*s",
                       EXCLUDED_DETAIL_CAP - 32, refused);
    else if (!v->adapter)
        (void)snprintf(ret->why, cap, "a base model: always there");
    else if (v->pinned && v->desired)
        (void)snprintf(ret->why, cap, "pinned");
    else if (v->pinned && too_large(r, &ret->config))
        (void)snprintf(ret->why, cap, "pinned, and it is larger than the bytes of a replica");
    else if (v->pinned)
        (void)snprintf(ret->why, cap,
                       "pinned, and there is no room: those pinned before it take what the "
                       "replicas that are up have");
    else if (ret->paused)
        (void)snprintf(ret->why, cap, "paused: nobody is sent to it");
    else if (v->owed)
        (void)snprintf(ret->why, cap, "missed %u times in a row: it has a slot for an epoch",
                       r->settings.starve_requests);
    else if (ops->keep)
        (void)snprintf(ret->why, cap, "%s: %s", ops->name,
                       v->desired ? "of those used last it is kept" : "others are kept");
    else if (state->epoch == 0)
        (void)snprintf(ret->why, cap, "no plan yet: the first epoch takes %llu requests",
                       (unsigned long long)state->length);
    else if (!ops->values || !r->planned)
        (void)snprintf(ret->why, cap, "%s, plan %llu", ops->name, (unsigned long long)state->epoch);
    else
        say_worth(r, v, ret, ret->why, cap);
}

static void fill_adapter(const struct resident *r, const struct arm_view *arm,
                         struct adapter_info *ret)
{
    struct controller_arm_view v = controller_look(r->controller, arm->uid);
    const struct board *b = atomic_load_explicit(&r->board, memory_order_relaxed);
    const struct board_arm *shown = b ? board_find(b, arm->uid) : NULL;
    memset(ret, 0, sizeof *ret);
    memcpy(ret->name, arm->config->name, NAME_CAP);
    ret->version = arm->version;
    ret->config = arm->config->adapter;
    ret->paused = arm->paused;
    ret->desired = v.desired;
    ret->owed = v.owed;
    ret->residence = shown ? shown->residence : RESIDENCE_COLD;
    ret->held = shown ? shown->held : 0;
    ret->load_ms = v.load_ms;
    ret->price = v.price;
    ret->rate = v.rate;
    ret->value = v.value;
    ret->loads = v.loads;
    ret->pulls = v.pulls;
    ret->misses = v.misses;
    ret->waiting = v.waiting;
    say_why(r, &v, arm->uid, ret);
}

static void fill_replicas(const struct resident *r, struct adapter_plan *ret)
{
    ret->engine = r->target.engine;
    ret->replicas_n = r->target.replicas_n;
    memcpy(ret->url, r->target.replicas, sizeof ret->url);
    for (uint32_t i = 0; r->replicas && i < ret->replicas_n; i++)
        (void)reconciler_replica(replicas_status(r->replicas), i, &ret->replicas[i]);
    (void)snprintf(ret->error, sizeof ret->error, "%.*s", (int)sizeof ret->error - 1,
                   r->error.text);
}

static void fill_plan(const struct resident *r, struct adapter_plan *ret)
{
    const struct residency *state = controller_state(r->controller);
    memset(ret, 0, sizeof *ret);
    memcpy(ret->router, r->view->config->name, NAME_CAP);
    memcpy(ret->policy, r->settings.policy, NAME_CAP);
    ret->epoch = state->epoch;
    ret->requests = controller_asked(r->controller);
    ret->length = state->length;
    ret->begun_us = state->begun_us;
    ret->slots = r->settings.slots;
    ret->bytes = r->settings.bytes;
    ret->value = state->value;
    ret->uncached = state->uncached;
    ret->planned = r->planned;
    ret->how = r->plan.solve.how;
    ret->loads = r->plan.loads;
    ret->evictions = r->plan.evictions;
    ret->load_price = r->plan.load_price;
    ret->dropped = pulls_dropped(r->pulls);
    ret->journalled = resident_durable(r);
    for (uint32_t i = 0; i < state->arms_n; i++) {
        struct controller_arm_view v = controller_look(r->controller, state->arms[i].uid);
        ret->adapters += v.adapter;
        ret->desired += v.adapter && v.desired;
        ret->resident += v.adapter && v.resident;
    }
    fill_replicas(r, ret);
}

/* ---- of a decision ---- */

void adapters_show(const struct board *b, uint32_t arm_uid, const uint8_t id[ID_BYTES],
                   struct shown_adapter *ret)
{
    const struct board_arm *a = b ? board_find(b, arm_uid) : NULL;
    memset(ret, 0, sizeof *ret);
    ret->replica = ret->slot = -1;
    if (!a)
        return;
    ret->shown = true;
    ret->is_adapter = a->adapter;
    ret->residence = a->residence;
    ret->load_ms = a->residence == RESIDENCE_RESIDENT ? 0 : a->load_ms;
    ret->replica = board_replica(b, a, hash_bytes(id, ID_BYTES), &ret->slot);
    if (ret->replica >= 0)
        memcpy(ret->url, b->url[ret->replica], sizeof ret->url);
}

void adapters_tell(struct engine *e, struct resident *r, const struct router_view *router,
                   const struct decision *d, const double *overrides,
                   const struct shown_adapter *shown)
{
    const struct router_config *c = router->config;
    double weights[MAX_METRICS];
    if (!shown->shown)
        return;
    for (uint32_t m = 0; m < c->metrics_n; m++)
        weights[m] = overrides ? overrides[m] : c->metrics[m].weight;
    (void)pulls_put(r->pulls, d->arm_uid, shown->residence == RESIDENCE_RESIDENT, d->x, router->d,
                    weights);
    if (shown->replica >= 0)
        flights_depart(e->adapters->flights, d->id, d->arm_uid, (uint32_t)shown->replica,
                       clock_mono_ns() / 1000);
}

/* Of the weights that the request brought nothing is known any more: the router's count. */
void engine_tell_served(struct engine *e, const struct decision *d, bool departs)
{
    struct shown_adapter shown;
    const struct snapshot *s = published_acquire(e->published);
    const struct router_view *router = snapshot_router_uid(s, d->router_uid);
    struct resident *r =
        router && router->d == d->d ? adapters_find(e->adapters, router->uid) : NULL;
    if (r) {
        const struct board *b = atomic_load_explicit(&r->board, memory_order_acquire);
        adapters_show(b, d->arm_uid, d->id, &shown);
        if (!departs)
            shown.replica = -1;
        adapters_tell(e, r, router, d, NULL, &shown);
    }
    published_release(e->published);
}

/* ---- of a router ---- */

/* What tells a router's arms from those it had before. */
struct arms_known {
    uint32_t n, last;
};

static struct arms_known arms_of(const struct router_view *r)
{
    return (struct arms_known){r->arms_n, r->arms_n ? r->arms[r->arms_n - 1]->uid : 0};
}

static enum err look_up(struct engine_worker *w, struct slice router, uint32_t *ret_uid,
                        struct arms_known *ret_arms, struct err_detail *detail)
{
    const struct router_view *r;
    enum err e = engine_find_router(engine_snapshot_acquire(w), router, &r, detail);
    if (e == OK) {
        *ret_uid = r->uid;
        *ret_arms = arms_of(r);
        if (!r->config->settings.residency.policy[0])
            e = err_say(detail, ERR_NO_ADAPTERS, "router `%s` declares no settings.residency",
                        r->config->name);
    }
    engine_snapshot_release(w);
    return e;
}

enum err engine_adapters(struct engine_worker *w, struct slice router,
                         struct adapter_info *ret_adapters, uint32_t max, uint32_t *ret_n,
                         uint32_t *ret_total, struct adapter_plan *ret_plan,
                         struct err_detail *detail)
{
    struct adapters *a = w->engine->adapters;
    struct arms_known arms = {0};
    uint32_t uid, n = 0;
    TRY(look_up(w, router, &uid, &arms, detail));
    pthread_mutex_lock(&a->lock);
    const struct resident *r = adapters_find(a, uid);
    /* A router is there a moment before its arms are: who has just created it wants them, too. */
    struct arms_known seen = r && r->view ? arms_of(r->view) : arms;
    bool known = r && r->view && seen.n == arms.n && seen.last == arms.last;
    if (known) {
        for (uint32_t i = 0; ret_adapters && i < r->view->arms_n && n < max; i++)
            fill_adapter(r, r->view->arms[i], &ret_adapters[n++]);
        *ret_total = r->view->arms_n;
        *ret_n = n;
        fill_plan(r, ret_plan);
    }
    pthread_mutex_unlock(&a->lock);
    return known ? OK
                 : err_say(detail, ERR_ADAPTERS_PENDING,
                           "the slow loop has not come to this router, or to its latest arms, yet");
}

static void fill_counts(const struct resident *r, struct adapter_counts *ret)
{
    const struct residency *state = controller_state(r->controller);
    struct engine_replica_view v;
    memset(ret, 0, sizeof *ret);
    ret->router_uid = r->uid;
    memcpy(ret->router, r->view->config->name, NAME_CAP);
    ret->epoch = state->epoch;
    ret->pulls = r->pulled;
    ret->misses = r->missed;
    ret->loads = r->loads;
    ret->failed = r->failed;
    for (uint32_t i = 0; i < state->arms_n; i++) {
        struct controller_arm_view a = controller_look(r->controller, state->arms[i].uid);
        ret->resident += a.adapter && a.resident;
    }
    ret->replicas_n = r->target.replicas_n;
    memcpy(ret->url, r->target.replicas, sizeof ret->url);
    for (uint32_t i = 0; r->replicas && i < ret->replicas_n; i++)
        if (reconciler_replica(replicas_status(r->replicas), i, &v) && v.up)
            ret->up = (uint16_t)(ret->up | 1u << i);
}

bool engine_adapter_counts(struct engine *e, uint32_t after, struct adapter_counts *ret)
{
    struct adapters *a = e->adapters;
    const struct resident *next = NULL;
    pthread_mutex_lock(&a->lock);
    const struct residents *t = atomic_load_explicit(&a->table, memory_order_relaxed);
    for (uint32_t i = 0; t && i < t->n && !next; i++)
        if (t->rows[i]->uid > after && t->rows[i]->view)
            next = t->rows[i];
    if (next)
        fill_counts(next, ret);
    pthread_mutex_unlock(&a->lock);
    return next != NULL;
}

enum err engine_adapter_pin(struct engine_worker *w, struct slice router, struct slice arm,
                            bool pinned, struct err_detail *detail)
{
    struct arm_config config;
    const struct router_view *r;
    uint32_t k = 0;
    enum err e = engine_find_arm(engine_snapshot_acquire(w), router, arm, &r, &k, detail);
    if (e == OK && r->arms[k]->config->adapter.bytes == 0)
        e = err_say(detail, ERR_NO_ADAPTERS, "arm `%s` of router `%s` is no adapter",
                    r->arms[k]->config->name, r->config->name);
    if (e == OK)
        config = *r->arms[k]->config;
    engine_snapshot_release(w);
    if (e != OK)
        return e;
    if (config.adapter.pinned == pinned)
        return OK;
    config.adapter.pinned = pinned;
    return engine_arm_update(w, router, &config, detail);
}
