/* resident.c - one router's share of a round of the slow loop. */
#include "server/engine/adapters_parts.h"

#include "server/route/score_window.h"
#include "state/base/hash.h"
#include "state/base/mem.h"
#include "state/base/rng.h"

#include <string.h>

enum { SEED_CACHE = 0xca5e, DRAIN_MOST = 8192 };

/* ---- what is declared ---- */

/* All that one plan is made for: the memory of the replicas that are up, or of all while none is:
 * a plan must not shrink to nothing because an engine restarts. */
static void whole_memory(const struct resident *r, struct residency_settings *s)
{
    uint64_t slots = 0, up = 0;
    struct engine_replica_view v;
    for (uint32_t i = 0; r->replicas && i < r->target.replicas_n; i++)
        if (reconciler_replica(replicas_status(r->replicas), i, &v) && v.up) {
            up++;
            slots += v.slots;
        }
    if (up == 0) {
        up = r->target.replicas_n ? r->target.replicas_n : 1;
        slots = (uint64_t)s->slots * up;
    }
    s->bytes = s->bytes > UINT64_MAX / up ? UINT64_MAX : s->bytes * up;
    s->slots = s->slots == 0 ? 0 : slots > MAX_ARMS ? MAX_ARMS : (uint32_t)slots;
}

static bool same_settings(const struct residency_settings *a, const struct residency_settings *b)
{
    return strcmp(a->policy, b->policy) == 0 && a->slots == b->slots && a->bytes == b->bytes &&
           a->load_weight == b->load_weight && a->load_ref_ms == b->load_ref_ms &&
           a->bytes_per_ms == b->bytes_per_ms && a->kappa == b->kappa &&
           a->epoch_requests == b->epoch_requests && a->epoch_max == b->epoch_max &&
           a->epoch_loads == b->epoch_loads && a->optimism == b->optimism &&
           a->hysteresis == b->hysteresis && a->evictions_max == b->evictions_max &&
           a->starve_requests == b->starve_requests && a->force_share == b->force_share &&
           a->force_width == b->force_width && a->seed == b->seed;
}

static enum err sync_settings(struct resident *r, const struct router_settings *declared)
{
    struct residency_settings s = declared->residency;
    if (s.seed == 0)
        s.seed = rng_mix(declared->seed, SEED_CACHE);
    whole_memory(r, &s);
    if (same_settings(&s, &r->settings))
        return OK;
    TRY(controller_set(r->controller, &s));
    controller_place(r->controller, declared->residency.bytes);
    r->settings = s;
    r->stale = true;
    return OK;
}

static enum err sync_arms(struct resident *r, const struct router_view *view)
{
    const struct residency *state = controller_state(r->controller);
    for (uint32_t i = state->arms_n; i-- > 0;) {
        uint32_t uid = state->arms[i].uid;
        if (router_view_arm_uid(view, uid) < 0)
            controller_remove(r->controller, uid);
    }
    for (uint32_t i = 0; i < view->arms_n; i++) {
        const struct adapter_config *c = &view->arms[i]->config->adapter;
        TRY(controller_arm(r->controller, view->arms[i]->uid, c->bytes, c->pinned));
    }
    return OK;
}

/* What the former engine held is where nobody will look for it. `seen` is a version that no
 * reconciler has: the next one's rows are read, however few its changes are. */
static void forget_engine(struct resident *r)
{
    const struct residency *state = controller_state(r->controller);
    for (size_t k = 0; k < r->rows_cap; k++)
        r->rows[k].uid = 0;
    for (uint32_t i = 0; i < state->arms_n; i++)
        controller_resident(r->controller, state->arms[i].uid, false);
    r->seen = UINT64_MAX;
}

static void take_counts(struct resident *r)
{
    uint64_t loads = 0, failed = 0;
    if (r->replicas)
        replicas_take_counts(r->replicas, &loads, &failed);
    r->loads += loads;
    r->failed += failed;
}

/* The engine that is to be driven, as it is declared now. */
static void sync_replicas(struct adapters *a, struct resident *r, const struct router_view *view)
{
    const struct router_settings *s = &view->config->settings;
    if (memcmp(&r->target, &s->target, sizeof r->target) == 0 && r->slots == s->residency.slots &&
        r->bytes == s->residency.bytes)
        return;
    take_counts(r);
    replicas_close(r->replicas);
    r->replicas = NULL;
    r->target = s->target;
    r->slots = s->residency.slots;
    r->bytes = s->residency.bytes;
    r->wish = 0;
    forget_engine(r);
    r->error.text[0] = '\0';
    if (r->target.engine == RESIDENCY_ENGINE_NONE)
        return;
    const struct replicas_options o = {.target = &r->target,
                                       .slots = r->slots,
                                       .bytes = r->bytes,
                                       .token = a->engine->o.engine_token,
                                       .ca_file = a->engine->o.engine_ca_file,
                                       .seed = s->seed,
                                       .flights = a->flights,
                                       .log = a->engine->o.log,
                                       .router = view->config->name};
    enum err e = replicas_open(&o, &r->replicas, &r->error);
    if (e != OK)
        log_event(a->engine->o.log, LOG_WARN, "engine_not_driven",
                  LOG_STR("router", view->config->name), LOG_STR("code", err_code(e)),
                  LOG_STR("why", r->error.text), LOG_END);
}

enum err resident_sync(struct adapters *a, struct resident *r, struct router_view *view)
{
    if (view != r->view)
        r->synced = false;
    snapshot_router_release(r->view); /* The same view is held twice by now. */
    r->view = view;
    if (!r->synced)
        sync_replicas(a, r, view);
    TRY(sync_settings(r, &view->config->settings)); /* Always: replicas come and go. */
    if (r->synced)
        return OK;
    r->stale = true;
    TRY(sync_arms(r, view));
    r->synced = true;
    return OK;
}

enum err resident_new(const struct router_config *c, uint32_t router_uid, uint32_t d,
                      const struct residency *state, struct resident **ret_resident)
{
    struct resident *r = mem_calloc(1, sizeof *r);
    if (!r)
        return ERR_NOMEM;
    r->uid = router_uid;
    enum err e = pulls_new(d + c->metrics_n, &r->pulls);
    if (e == OK)
        e = controller_new(&c->settings.residency, state, d, c->metrics_n, &r->controller);
    if (e != OK) {
        resident_free(r);
        return e;
    }
    *ret_resident = r;
    return OK;
}

void resident_free(struct resident *r)
{
    if (!r)
        return;
    replicas_close(r->replicas);
    snapshot_router_release(r->view);
    controller_free(r->controller);
    pulls_free(r->pulls);
    board_free(atomic_load_explicit(&r->board, memory_order_relaxed));
    buf_done(&r->update);
    mem_free(r->rows);
    mem_free(r);
}

/* ---- what engines say ---- */

static enum err read_rows(struct resident *r)
{
    struct reconciler *status = replicas_status(r->replicas);
    size_t n = reconciler_rows(status, r->rows, r->rows_cap);
    while (n > r->rows_cap) {
        struct engine_row *rows = mem_realloc(r->rows, 2 * n * sizeof *rows);
        if (!rows)
            return ERR_NOMEM;
        r->rows = rows;
        r->rows_cap = 2 * n;
        n = reconciler_rows(status, r->rows, r->rows_cap);
    }
    for (size_t i = n; i < r->rows_cap; i++)
        r->rows[i].uid = 0; /* Nobody's. */
    return OK;
}

/* Nobody's engine: whoever watches carries the plan out, and it counts as carried out. */
static void take_plan_for_fact(struct resident *r)
{
    const struct residency *state = controller_state(r->controller);
    for (uint32_t i = 0; i < state->arms_n; i++)
        controller_resident(r->controller, state->arms[i].uid, state->arms[i].desired);
}

static bool in_memory(const struct engine_row *row)
{
    return row->phase == ENGINE_RESIDENT || row->phase == ENGINE_DRAINING;
}

static enum err take_rows(struct resident *r)
{
    const struct residency *state = controller_state(r->controller);
    uint8_t *held = mem_calloc(1, state->arms_n + 1);
    if (!held)
        return ERR_NOMEM;
    for (size_t k = 0; k < r->rows_cap && r->rows[k].uid; k++) {
        const struct residency_arm *arm = residency_find(state, r->rows[k].uid);
        if (arm && in_memory(&r->rows[k]))
            held[arm - state->arms] = 1;
    }
    for (uint32_t i = 0; i < state->arms_n; i++)
        controller_resident(r->controller, state->arms[i].uid, held[i]);
    mem_free(held);
    return OK;
}

/* Always anew where the policy admits what it misses: it thinks that this is done at once. */
static enum err take_facts(struct resident *r)
{
    uint32_t uid;
    double ms;
    if (!r->replicas) {
        if (r->target.engine == RESIDENCY_ENGINE_NONE)
            take_plan_for_fact(r);
        return OK;
    }
    take_counts(r);
    while (replicas_take_load(r->replicas, &uid, &ms)) {
        controller_measured(r->controller, uid, ms);
        r->stale = true;
    }
    uint64_t version = reconciler_version(replicas_status(r->replicas));
    if (version == r->seen && !controller_policy(r->controller)->keep)
        return OK;
    TRY(read_rows(r));
    r->seen = version;
    r->stale = true;
    return take_rows(r);
}

/* ---- what requests say ---- */

static void take_pulls(struct resident *r)
{
    struct pull p;
    for (int n = 0; n < DRAIN_MOST && pulls_take(r->pulls, &p); n++) {
        controller_pull(r->controller, p.uid, p.resident, p.row);
        bool adapter = controller_look(r->controller, p.uid).adapter;
        r->pulled += adapter;
        r->missed += adapter && !p.resident;
        r->stale |= controller_policy(r->controller)->keep != NULL;
    }
    uint32_t forced = atomic_load_explicit(&r->forced, memory_order_relaxed);
    if (forced && controller_look(r->controller, forced).uid == 0 && /* Removed: nobody takes it. */
        atomic_compare_exchange_strong_explicit(&r->forced, &forced, 0, memory_order_relaxed,
                                                memory_order_relaxed))
        forced = 0;
    if (forced == 0) { /* A request may have brought one back meanwhile. */
        uint32_t next = controller_force(r->controller, false);
        if (next)
            (void)atomic_compare_exchange_strong_explicit(
                &r->forced, &forced, next, memory_order_relaxed, memory_order_relaxed);
    }
}

/* ---- the end of an epoch ---- */

struct values {
    uint32_t *uids;
    float *neutral, *bonus, *low, *high;
    void *block;
};

static enum err open_values(struct values *v, const struct router_view *view, uint32_t contexts)
{
    size_t cells = (size_t)view->arms_n * contexts;
    v->block = mem_alloc((2 * cells + 2 * (size_t)contexts) * sizeof *v->neutral +
                         view->arms_n * sizeof *v->uids + 1);
    if (!v->block)
        return ERR_NOMEM;
    v->neutral = v->block;
    v->bonus = v->neutral + cells;
    v->low = v->bonus + cells;
    v->high = v->low + contexts;
    v->uids = (uint32_t *)(v->high + contexts);
    for (uint32_t i = 0; i < view->arms_n; i++)
        v->uids[i] = view->arms[i]->uid;
    return OK;
}

/* Nobody is sent to an arm that is paused: it is worth no slot. */
static void discount_paused(struct values *v, const struct router_view *view, uint32_t contexts)
{
    for (uint32_t i = 0; i < view->arms_n; i++) {
        if (!view->arms[i]->paused)
            continue;
        memcpy(v->neutral + (size_t)i * contexts, v->low, contexts * sizeof *v->low);
        memset(v->bonus + (size_t)i * contexts, 0, contexts * sizeof *v->bonus);
    }
}

/* The epoch's plan, or, within one, the set anew. */
static enum err plan_by(struct resident *r, bool amend, const struct controller_values *values,
                        int64_t now_us, struct controller_plan *ret_plan)
{
    return amend ? controller_amend(r->controller, values, ret_plan)
                 : controller_plan(r->controller, values, now_us, ret_plan);
}

static enum err plan(struct resident *r, bool amend, int64_t now_us,
                     struct controller_plan *ret_plan)
{
    struct controller_window w =
        amend ? controller_window(r->controller) : controller_close(r->controller);
    struct values v = {0};
    if (w.n == 0)
        return plan_by(r, amend, NULL, now_us, ret_plan);
    enum err e = open_values(&v, r->view, w.n);
    const struct score_window sw = {w.rows, w.n, w.stride, r->view->config->metrics_n};
    if (e == OK)
        e = score_window(r->view, &sw, v.neutral, w.bonus ? v.bonus : NULL, v.low, v.high);
    if (e == OK) {
        discount_paused(&v, r->view, w.n);
        const struct controller_values cv = {r->view->arms_n,          v.uids, v.neutral,
                                             w.bonus ? v.bonus : NULL, v.low,  v.high};
        e = plan_by(r, amend, &cv, now_us, ret_plan);
    } else if (!amend) { /* The epoch is over all the same: the next one may find the memory. */
        (void)!controller_plan(r->controller, NULL, now_us, ret_plan);
    }
    mem_free(v.block);
    return e;
}

/* Ends the epoch; or amends the plan in it, which may leave it as it is. */
static enum err make_plan(struct resident *r, bool amend, int64_t now_us)
{
    struct controller_plan p;
    memset(&p, 0, sizeof p);
    enum err e = plan(r, amend, now_us, &p);
    if (p.update.epoch == 0)
        return e;
    buf_reset(&r->update);
    residency_put_update(&p.update, &r->update);
    r->to_journal = buf_error(&r->update) == OK;
    memset(&p.update, 0, sizeof p.update);
    r->plan = p;
    r->planned = r->stale = true;
    return e;
}

/* ---- what the engine is told ---- */

static enum err tell(struct resident *r, struct err_detail *detail)
{
    const struct router_view *view = r->view;
    struct engine_adapter *list = mem_calloc(view->arms_n + 1, sizeof *list);
    uint32_t n = 0;
    if (!list)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < view->arms_n; i++) {
        const struct arm_config *c = view->arms[i]->config;
        struct controller_arm_view v = controller_look(r->controller, view->arms[i]->uid);
        if (c->adapter.bytes)
            list[n++] = (struct engine_adapter){.uid = view->arms[i]->uid,
                                                .name = c->name,
                                                .path = c->adapter.path,
                                                .bytes = c->adapter.bytes,
                                                .rate = v.rate,
                                                .desired = v.desired,
                                                .load_ms = v.loads ? v.load_ms : 0};
    }
    enum err e = replicas_desire(r->replicas, list, n, detail);
    mem_free(list);
    return e;
}

/* Of all that the replicas are told but the rates, which only break ties. */
static uint64_t wish_of(const struct resident *r)
{
    uint64_t h = r->view->arms_n + 1;
    for (uint32_t i = 0; i < r->view->arms_n; i++) {
        const struct arm_view *arm = r->view->arms[i];
        const struct adapter_config *c = &arm->config->adapter;
        if (c->bytes == 0)
            continue;
        bool desired = controller_look(r->controller, arm->uid).desired;
        h = rng_mix(h, (uint64_t)arm->uid << 1 | desired);
        h = rng_mix(h, c->bytes ^ hash_bytes(c->path, strlen(c->path)));
    }
    return h ? h : 1;
}

static enum err tell_engine(struct resident *r)
{
    if (!r->replicas)
        return OK;
    uint64_t wish = wish_of(r);
    if (wish == r->wish)
        return OK;
    enum err e = tell(r, &r->error);
    if (e == OK) {
        r->wish = wish;
        r->error.text[0] = '\0';
    }
    return e == ERR_NOMEM ? e : OK; /* What it would not take stands in its own sentence. */
}

/* ---- what requests see ---- */

static void show_rows(const struct resident *r, struct board *b)
{
    struct engine_replica_view v;
    struct reconciler *status = replicas_status(r->replicas);
    memcpy(b->url, r->target.replicas, sizeof b->url);
    for (uint32_t i = 0; i < b->replicas_n; i++)
        if (reconciler_replica(status, i, &v)) {
            b->up = (uint16_t)(b->up | (v.up ? 1u << i : 0));
            b->scratch[i] = (int16_t)v.scratch_slot;
        }
    for (size_t k = 0; k < r->rows_cap && r->rows[k].uid; k++) {
        const struct engine_row *row = &r->rows[k];
        const struct board_arm *found = board_find(b, row->uid);
        if (!found || row->replica >= b->replicas_n)
            continue;
        struct board_arm *arm = &b->arms[found - b->arms];
        if (in_memory(row)) {
            arm->held = (uint16_t)(arm->held | 1u << row->replica);
            b->slots[(size_t)(arm - b->arms) * b->replicas_n + row->replica] = (int16_t)row->slot;
        } else if (row->phase == ENGINE_LOADING && arm->residence == RESIDENCE_COLD) {
            arm->residence = RESIDENCE_LOADING;
        }
    }
}

static enum err draw_board(const struct resident *r, struct board **ret_board)
{
    const struct router_view *view = r->view;
    TRY(board_new(view->arms_n, r->replicas ? r->target.replicas_n : 0, ret_board));
    for (uint32_t i = 0; i < view->arms_n; i++) {
        uint32_t uid = view->arms[i]->uid;
        struct controller_arm_view v = controller_look(r->controller, uid);
        (*ret_board)->arms[i] = (struct board_arm){
            .uid = uid,
            .adapter = v.adapter,
            .residence = v.resident ? RESIDENCE_RESIDENT : RESIDENCE_COLD,
            .charge = v.adapter ? (float)controller_charge(r->controller, uid) : 0,
            .load_ms = (float)v.load_ms,
        };
    }
    if (r->replicas)
        show_rows(r, *ret_board);
    return OK;
}

/* ---- loads between plans ---- */

bool resident_durable(const struct resident *r)
{
    return !r->to_journal && !controller_has_loads(r->controller);
}

/* Without memory they wait for the next plan, which has them too. */
void resident_tell_loads(struct resident *r)
{
    const struct residency_load *loads;
    if (r->to_journal || !controller_has_loads(r->controller))
        return;
    uint32_t n = controller_loads(r->controller, &loads);
    buf_reset(&r->update);
    residency_put_loads(loads, n, &r->update);
    r->to_journal = n > 0 && buf_error(&r->update) == OK;
}

/* At most one record in the time between two looks at a replica, or a second: a load is known when
 * it has ended, and its record holds all that have since the last one. */
static void tell_loads(struct resident *r, int64_t mono_us)
{
    const int64_t most_us = 1000000;
    if (mono_us < r->loads_at_us || resident_durable(r))
        return;
    resident_tell_loads(r);
    int64_t tick_us = (int64_t)r->target.tick_ms * 1000;
    r->loads_at_us = mono_us + (tick_us && tick_us < most_us ? tick_us : most_us);
}

enum err resident_round(struct resident *r, int64_t now_us, int64_t mono_us,
                        struct board **ret_board)
{
    struct board *next, *last = atomic_load_explicit(&r->board, memory_order_relaxed);
    *ret_board = NULL;
    TRY(take_facts(r));
    take_pulls(r);
    if (!r->to_journal && controller_due(r->controller, now_us))
        TRY(make_plan(r, false, now_us));
    else if (!r->to_journal && controller_stale(r->controller))
        TRY(make_plan(r, true, now_us));
    tell_loads(r, mono_us);
    if (!r->replicas && r->target.engine == RESIDENCY_ENGINE_NONE)
        take_plan_for_fact(r);
    TRY(tell_engine(r));
    if (!r->stale)
        return OK;
    TRY(draw_board(r, &next));
    r->stale = false;
    if (last && board_equal(last, next))
        board_free(next);
    else
        *ret_board = next;
    return OK;
}
