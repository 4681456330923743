/* handle_adapters.c - ListAdapters, GetPlan, PinAdapter, and what WatchResidency sends. */
#include "server/engine/engine_adapters.h"
#include "server/rpc/codec_adapters.h"
#include "server/rpc/handlers.h"
#include "state/base/mem.h"

#include <string.h>
#include <time.h>

static bool fill_replicas_of(const struct adapter_info *a, struct arena *arena,
                             Shunt__V1__AdapterInfo *m)
{
    m->replicas = arena_array(arena, REPLICAS_MAX, sizeof *m->replicas);
    if (!m->replicas)
        return false;
    for (uint32_t r = 0; r < REPLICAS_MAX; r++)
        if (a->held >> r & 1)
            m->replicas[m->n_replicas++] = r;
    return true;
}

static enum err fill_adapter(const struct adapter_info *a, struct arena *arena,
                             Shunt__V1__AdapterInfo *m, struct err_detail *detail)
{
    shunt__v1__adapter_info__init(m);
    m->arm_id = arena_text(arena, a->name, strlen(a->name));
    m->why = arena_text(arena, a->why, strlen(a->why));
    if (!m->arm_id || !m->why || !fill_replicas_of(a, arena, m))
        return arena_error(arena, detail);
    if (a->config.bytes && !(m->adapter = codec_adapter_out(&a->config, arena)))
        return arena_error(arena, detail);
    m->has_version = m->has_paused = m->has_desired = m->has_residence = m->has_load_ms = true;
    m->has_loads = m->has_price = m->has_share = m->has_value = m->has_pulls = true;
    m->has_misses = m->has_waiting = m->has_owed = true;
    m->version = a->version;
    m->paused = a->paused;
    m->desired = a->desired;
    m->residence = (Shunt__V1__Residence)a->residence;
    m->load_ms = a->load_ms;
    m->loads = a->loads;
    m->price = a->price;
    m->share = a->rate;
    m->value = a->value;
    m->pulls = a->pulls;
    m->misses = a->misses;
    m->waiting = a->waiting;
    m->owed = a->owed;
    return OK;
}

static void fill_counts(const struct engine_replica_view *v, Shunt__V1__EngineReplica *m)
{
    m->has_up = m->has_true_unload = m->has_residency_metric = m->has_pin = m->has_slots = true;
    m->has_wanted = m->has_resident = m->has_converged = m->has_failures = m->has_ticks = true;
    m->has_requests = m->has_loads = m->has_releases = m->has_touches = m->has_errors = true;
    m->has_undrained = true;
    m->up = v->up;
    m->true_unload = (v->flags & ENGINE_TRUE_UNLOAD) != 0;
    m->residency_metric = (v->flags & ENGINE_RESIDENCY_METRIC) != 0;
    m->pin = (v->flags & ENGINE_PIN) != 0;
    m->slots = v->slots;
    m->wanted = v->wanted;
    m->resident = v->resident;
    m->converged = v->converged;
    m->failures = v->failures;
    m->ticks = v->ticks;
    m->requests = v->requests;
    m->loads = v->loads;
    m->releases = v->releases;
    m->touches = v->touches;
    m->errors = v->errors;
    m->undrained = v->undrained;
}

static enum err fill_replica(const struct adapter_plan *p, uint32_t i, struct arena *arena,
                             Shunt__V1__EngineReplica *m, struct err_detail *detail)
{
    const struct engine_replica_view *v = &p->replicas[i];
    shunt__v1__engine_replica__init(m);
    m->url = arena_text(arena, p->url[i], strlen(p->url[i]));
    if (!m->url)
        return arena_error(arena, detail);
    if (v->name[0] && !(m->name = arena_text(arena, v->name, strlen(v->name))))
        return arena_error(arena, detail);
    if (v->error[0] && !(m->error = arena_text(arena, v->error, strlen(v->error))))
        return arena_error(arena, detail);
    fill_counts(v, m);
    return OK;
}

static enum err fill_plan_lists(const struct adapter_plan *p, struct arena *arena,
                                Shunt__V1__AdapterPlan *m, struct err_detail *detail)
{
    const char *how = solve_how_name(p->how);
    Shunt__V1__EngineReplica *rows = arena_array(arena, REPLICAS_MAX, sizeof *rows);
    m->replicas = arena_array(arena, REPLICAS_MAX, sizeof *m->replicas);
    m->router = arena_text(arena, p->router, strlen(p->router));
    m->policy = arena_text(arena, p->policy, strlen(p->policy));
    if (!rows || !m->replicas || !m->router || !m->policy)
        return arena_error(arena, detail);
    if (p->planned && !(m->how = arena_text(arena, how, strlen(how))))
        return arena_error(arena, detail);
    if (p->error[0] && !(m->error = arena_text(arena, p->error, strlen(p->error))))
        return arena_error(arena, detail);
    for (uint32_t i = 0; i < p->replicas_n; i++) {
        TRY(fill_replica(p, i, arena, &rows[i], detail));
        m->replicas[m->n_replicas++] = &rows[i];
    }
    return OK;
}

static enum err plan_out(const struct adapter_plan *p, struct arena *arena,
                         Shunt__V1__AdapterPlan **ret, struct err_detail *detail)
{
    Shunt__V1__AdapterPlan *m = arena_alloc(arena, sizeof *m);
    if (!m)
        return arena_error(arena, detail);
    shunt__v1__adapter_plan__init(m);
    TRY(fill_plan_lists(p, arena, m, detail));
    m->has_epoch = m->has_requests = m->has_length = m->has_slots = m->has_bytes = true;
    m->has_value = m->has_uncached = m->has_adapters = m->has_desired = m->has_resident = true;
    m->has_dropped = m->has_journalled = m->has_engine = true;
    m->has_loads = m->has_evictions = m->has_load_price = p->planned;
    m->has_begun_us = p->begun_us != 0;
    m->epoch = p->epoch;
    m->requests = p->requests;
    m->length = p->length;
    m->begun_us = p->begun_us;
    m->slots = p->slots;
    m->bytes = p->bytes;
    m->value = p->value;
    m->uncached = p->uncached;
    m->loads = p->loads;
    m->evictions = p->evictions;
    m->load_price = p->load_price;
    m->adapters = p->adapters;
    m->desired = p->desired;
    m->resident = p->resident;
    m->dropped = p->dropped;
    m->journalled = p->journalled;
    m->engine = (Shunt__V1__ResidencyEngine)p->engine;
    *ret = m;
    return OK;
}

/* How many there are is known under the slow loop's lock only: asked for, then fetched; what was
 * added in between is left for the next answer. */
static enum err fetch(struct engine_worker *w, struct slice router, struct adapter_info **ret_list,
                      uint32_t *ret_n, struct adapter_plan *plan, struct err_detail *detail)
{
    uint32_t n, total;
    TRY(engine_adapters(w, router, NULL, 0, &n, &total, plan, detail));
    struct adapter_info *list = mem_calloc((size_t)total + 1, sizeof *list);
    if (!list)
        return err_say(detail, ERR_NOMEM, "no memory for the list of adapters");
    enum err e = engine_adapters(w, router, list, total, ret_n, &n, plan, detail);
    if (e != OK) {
        mem_free(list);
        return e;
    }
    *ret_list = list;
    return OK;
}

static enum err state_out(const struct adapter_info *list, uint32_t n,
                          const struct adapter_plan *plan, struct arena *arena,
                          Shunt__V1__ResidencyState **ret, struct err_detail *detail)
{
    Shunt__V1__ResidencyState *m = arena_alloc(arena, sizeof *m);
    Shunt__V1__AdapterInfo *rows = arena_array(arena, n ? n : 1, sizeof *rows);
    if (!m || !rows)
        return arena_error(arena, detail);
    shunt__v1__residency_state__init(m);
    m->adapters = arena_array(arena, n ? n : 1, sizeof *m->adapters);
    if (!m->adapters)
        return arena_error(arena, detail);
    for (uint32_t i = 0; i < n; i++) {
        TRY(fill_adapter(&list[i], arena, &rows[i], detail));
        m->adapters[m->n_adapters++] = &rows[i];
    }
    *ret = m;
    return plan_out(plan, arena, &m->plan, detail);
}

enum err answer_residency(struct engine_worker *w, const char *router, struct arena *arena,
                          ProtobufCMessage **ret_response, struct err_detail *detail)
{
    struct adapter_plan *plan = arena_alloc(arena, sizeof *plan);
    struct adapter_info *list = NULL;
    Shunt__V1__ResidencyState *m = NULL;
    uint32_t n = 0;
    if (!plan)
        return arena_error(arena, detail);
    TRY(fetch(w, codec_router(router), &list, &n, plan, detail));
    enum err e = state_out(list, n, plan, arena, &m, detail);
    mem_free(list);
    if (e == OK)
        *ret_response = &m->base;
    return e;
}

/* The slow loop comes to a new router within milliseconds; who has just created one and asks after
 * its adapters is not sent away for that. Whatever else is wrong the caller finds out himself. */
static void wait_until_known(struct engine_worker *w, const char *router)
{
    enum { LOOKS = 100, PAUSE_NS = 10000000 };
    struct adapter_plan plan;
    struct err_detail detail;
    uint32_t n, total;
    for (int i = 0; i < LOOKS && engine_adapters(w, codec_router(router), NULL, 0, &n, &total,
                                                 &plan, &detail) == ERR_ADAPTERS_PENDING;
         i++)
        (void)nanosleep(&(struct timespec){.tv_nsec = PAUSE_NS}, NULL);
}

enum err handle_list_adapters(struct handler *h, const ProtobufCMessage *request,
                              ProtobufCMessage **ret_response, struct err_detail *detail)
{
    const Shunt__V1__ListAdaptersRequest *m = (const Shunt__V1__ListAdaptersRequest *)request;
    wait_until_known(h->worker, m->router);
    return answer_residency(h->worker, m->router, &h->arena, ret_response, detail);
}

enum err handle_get_plan(struct handler *h, const ProtobufCMessage *request,
                         ProtobufCMessage **ret_response, struct err_detail *detail)
{
    const Shunt__V1__GetPlanRequest *m = (const Shunt__V1__GetPlanRequest *)request;
    struct adapter_plan *plan = arena_alloc(&h->arena, sizeof *plan);
    Shunt__V1__AdapterPlan *r = NULL;
    uint32_t n, total;
    if (!plan)
        return arena_error(&h->arena, detail);
    wait_until_known(h->worker, m->router);
    TRY(engine_adapters(h->worker, codec_router(m->router), NULL, 0, &n, &total, plan, detail));
    TRY(plan_out(plan, &h->arena, &r, detail));
    *ret_response = r ? &r->base : NULL;
    return OK;
}

enum err handle_pin_adapter(struct handler *h, const ProtobufCMessage *request,
                            ProtobufCMessage **ret_response, struct err_detail *detail)
{
    const Shunt__V1__PinAdapterRequest *m = (const Shunt__V1__PinAdapterRequest *)request;
    struct slice router = codec_router(m->router);
    bool pinned = !m->has_pinned || m->pinned;
    ProtobufCMessage *state = NULL;
    TRY(engine_adapter_pin(h->worker, router, slice_text(m->arm_id), pinned, detail));
    wait_until_known(h->worker, m->router);
    TRY(answer_residency(h->worker, m->router, &h->arena, &state, detail));
    const Shunt__V1__ResidencyState *s = (const Shunt__V1__ResidencyState *)state;
    for (size_t i = 0; s && i < s->n_adapters; i++)
        if (strcmp(s->adapters[i]->arm_id, m->arm_id) == 0) {
            if (s->adapters[i]->adapter) /* The slow loop may not have come to it yet. */
                s->adapters[i]->adapter->pinned = pinned;
            *ret_response = &s->adapters[i]->base;
            return OK;
        }
    return err_say(detail, ERR_ARM_NOT_FOUND, "the arm was removed meanwhile");
}
