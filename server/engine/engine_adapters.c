/* engine_adapters.c - the slow loop's thread: which routers have adapters, their rounds, the
 * journal, and what is published. */
#include "server/engine/adapters_parts.h"

#include "state/base/mem.h"
#include "state/base/rng.h"
#include "state/base/search.h"

#include <stddef.h>
#include <string.h>

/* Between two rounds: while there is traffic, while there is none, while no router has adapters. */
static const int64_t busy_us = 5000, idle_us = 20000, asleep_us = 250000;
static const int64_t flight_keep_us = 120 * INT64_C(1000000), expire_every_us = 1000000;
static const int64_t journal_again_us = 1000000; /* After the writer refused an update. */

/* ---- the table ---- */

struct resident *adapters_find(struct adapters *a, uint32_t router_uid)
{
    const struct residents *t = atomic_load_explicit(&a->table, memory_order_acquire);
    uint32_t n = t ? t->n : 0;
    uint32_t at = n ? search_pointers(t->rows, n, offsetof(struct resident, uid), router_uid) : 0;
    return at < n && t->rows[at]->uid == router_uid ? t->rows[at] : NULL;
}

/* In order of uid: all rows and a fresh one; or, without one, those that are kept. Which are is
 * known only when every router was looked at. */
static enum err renew_table(struct adapters *a, struct resident *fresh)
{
    struct residents *old = atomic_load_explicit(&a->table, memory_order_relaxed);
    uint32_t n = old ? old->n : 0;
    bool placed = false;
    struct residents *t = mem_calloc(1, sizeof *t + (n + 1) * sizeof(struct resident *));
    if (!t)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < n; i++) {
        if (fresh && !placed && fresh->uid < old->rows[i]->uid) {
            t->rows[t->n++] = fresh;
            placed = true;
        }
        if (fresh || old->rows[i]->kept)
            t->rows[t->n++] = old->rows[i];
        else if (a->retired_n < MAX_ROUTERS)
            a->retired_rows[a->retired_n++] = old->rows[i];
    }
    if (fresh && !placed)
        t->rows[t->n++] = fresh;
    atomic_store_explicit(&a->table, t, memory_order_release);
    /* Nobody but this thread and requests looks at a table; old ones go one by one. */
    published_wait_for_readers(a->engine->published);
    mem_free(old);
    return OK;
}

/* The next router of now with adapters, held: its uid is above `after`. NULL: there are no more.
 * By uid, not by place: a router that is removed meanwhile moves those behind it up, and one that
 * is passed over is taken for gone. */
static struct router_view *look(struct adapters *a, uint32_t after)
{
    const struct snapshot *s = engine_snapshot_acquire(a->worker);
    struct router_view *view = NULL;
    uint32_t low = 0, high = s->routers_n;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (s->routers[middle]->uid <= after)
            low = middle + 1;
        else
            high = middle;
    }
    for (uint32_t i = low; i < s->routers_n && !view; i++)
        if (s->routers[i]->config->settings.residency.policy[0])
            view = snapshot_router_hold(s, s->routers[i]->uid);
    engine_snapshot_release(a->worker);
    return view;
}

/* Each error once, until another one or none comes of the same: a round is some milliseconds. */
static void say_failed(struct adapters *a, uint32_t router_uid, enum err e, enum err *said)
{
    if (e != OK && e != *said)
        log_event(a->engine->o.log, LOG_WARN, "adapters_failed", LOG_UINT("router_uid", router_uid),
                  LOG_STR("code", err_code(e)), LOG_END);
    *said = e;
}

static enum err sync_router(struct adapters *a, struct router_view *view)
{
    struct resident *r = adapters_find(a, view->uid);
    enum err e = OK;
    if (!r) {
        e = resident_new(view->config, view->uid, view->d, NULL, &r);
        if (e != OK) {
            snapshot_router_release(view);
            return e;
        }
        e = renew_table(a, r);
        if (e != OK) {
            resident_free(r);
            snapshot_router_release(view);
            return e;
        }
    }
    r->kept = true;
    e = resident_sync(a, r, view);
    say_failed(a, r->uid, e, &r->said[RESIDENT_SYNC]);
    return OK; /* The others need not wait for it; it is tried again in the next round. */
}

static void free_retired(struct adapters *a)
{
    if (!a->retired && !a->retired_n)
        return;
    published_wait_for_readers(a->engine->published);
    while (a->retired) {
        struct board *b = a->retired;
        a->retired = b->next;
        board_free(b);
    }
    while (a->retired_n)
        resident_free(a->retired_rows[--a->retired_n]);
}

/* New routers get a row; rows of those that are gone are retired, which is a change. The last
 * error, if any. */
static enum err sync_table(struct adapters *a, bool *ret_changed)
{
    struct residents *t = atomic_load_explicit(&a->table, memory_order_relaxed);
    struct router_view *view;
    uint32_t gone = 0;
    enum err failed = OK;
    for (uint32_t i = 0; t && i < t->n; i++)
        t->rows[i]->kept = false;
    for (uint32_t after = 0; (view = look(a, after));) {
        after = view->uid;
        enum err e = sync_router(a, view);
        failed = e == OK ? failed : e;
    }
    t = atomic_load_explicit(&a->table, memory_order_relaxed);
    for (uint32_t i = 0; t && i < t->n; i++)
        gone += !t->rows[i]->kept;
    *ret_changed |= gone > 0;
    enum err e = gone ? renew_table(a, NULL) : OK;
    return e == OK ? failed : e;
}

/* ---- a round ---- */

/* Of what is desired and where it is. */
static uint64_t shown_of(const struct resident *r, const struct board *b)
{
    uint64_t h = rng_mix(b->n, b->up);
    for (uint32_t i = 0; i < b->n; i++) {
        uint64_t desired = controller_look(r->controller, b->arms[i].uid).desired;
        uint64_t state = (uint64_t)b->arms[i].held << 8 | (uint64_t)b->arms[i].residence << 1;
        h = rng_mix(h, (uint64_t)b->arms[i].uid << 32 | state | desired);
    }
    return h;
}

static void publish(struct adapters *a, struct resident *r, struct board *next, bool *ret_changed)
{
    struct board *last = atomic_exchange_explicit(&r->board, next, memory_order_acq_rel);
    uint64_t shown = shown_of(r, next);
    if (last) {
        last->next = a->retired;
        a->retired = last;
    }
    *ret_changed |= shown != r->shown;
    r->shown = shown;
}

/* Every router's; true: what is desired or resident changed somewhere. */
static bool rounds(struct adapters *a, int64_t now_us, int64_t mono_us)
{
    bool changed = false;
    struct board *next;
    pthread_mutex_lock(&a->lock);
    say_failed(a, 0, sync_table(a, &changed), &a->said);
    const struct residents *t = atomic_load_explicit(&a->table, memory_order_relaxed);
    for (uint32_t i = 0; t && i < t->n; i++) {
        struct resident *r = t->rows[i];
        if (!r->view)
            continue; /* It could not be brought up to its router yet. */
        enum err e = resident_round(r, now_us, mono_us, &next);
        say_failed(a, r->uid, e, &r->said[RESIDENT_ROUND]);
        if (e == OK && next)
            publish(a, r, next, &changed);
    }
    free_retired(a);
    pthread_mutex_unlock(&a->lock);
    return changed;
}

/* Outside the lock: it waits for the writer. Rows live until this thread retires them. What is
 * refused is brought again, by a full queue at once, else after a second; the next plan waits for
 * it. */
static void journal(struct adapters *a, int64_t mono_us)
{
    const struct residents *t = atomic_load_explicit(&a->table, memory_order_relaxed);
    struct event *ev = &a->worker->event;
    for (uint32_t i = 0; t && i < t->n; i++) {
        struct resident *r = t->rows[i];
        if (!r->to_journal || mono_us < r->journal_at_us)
            continue;
        memset(ev, 0, sizeof *ev);
        ev->kind = EVENT_RESIDENCY;
        ev->at_us = clock_unix_us();
        ev->u.residency.router_uid = r->uid;
        ev->u.residency.update = (struct slice){r->update.data, r->update.len};
        enum err e = engine_submit(a->worker, ev, NULL);
        if (e == OK || e == ERR_ROUTER_NOT_FOUND) {
            pthread_mutex_lock(&a->lock);
            r->to_journal = false;
            pthread_mutex_unlock(&a->lock);
            e = OK;
        }
        if (e == ERR_QUEUE_FULL || e == ERR_SHUTTING_DOWN)
            continue;
        say_failed(a, r->uid, e, &r->said[RESIDENT_JOURNAL]);
        r->journal_at_us = e == OK ? 0 : mono_us + journal_again_us;
    }
}

/* The writer is there until this thread has ended: loads need not wait for their turn now. */
static void tell_rest(struct adapters *a)
{
    journal(a, clock_mono_ns() / 1000);
    pthread_mutex_lock(&a->lock);
    const struct residents *t = atomic_load_explicit(&a->table, memory_order_relaxed);
    for (uint32_t i = 0; t && i < t->n; i++)
        resident_tell_loads(t->rows[i]);
    pthread_mutex_unlock(&a->lock);
    journal(a, clock_mono_ns() / 1000);
}

static bool rest(struct adapters *a, int64_t us)
{
    int64_t until_ns = clock_mono_ns() + us * 1000;
    const struct timespec until = {until_ns / 1000000000, until_ns % 1000000000};
    pthread_mutex_lock(&a->lock);
    while (!a->stop && pthread_cond_timedwait(&a->changed, &a->lock, &until) == 0)
        continue;
    bool stop = a->stop;
    pthread_mutex_unlock(&a->lock);
    return stop;
}

/* How long until the next round is worth it. */
static int64_t pause_us(struct adapters *a, uint64_t *asked)
{
    const struct residents *t = atomic_load_explicit(&a->table, memory_order_relaxed);
    uint64_t now = 0;
    for (uint32_t i = 0; t && i < t->n; i++)
        now += controller_state(t->rows[i]->controller)->requests +
               controller_asked(t->rows[i]->controller);
    bool busy = now != *asked;
    *asked = now;
    return !t || t->n == 0 ? asleep_us : busy ? busy_us : idle_us;
}

static void *run(void *arg)
{
    struct adapters *a = arg;
    uint64_t asked = 0;
    enum err e = engine_worker_new(a->engine, &a->worker);
    if (e != OK) {
        log_event(a->engine->o.log, LOG_ERROR, "adapters_stopped", LOG_STR("code", err_code(e)),
                  LOG_STR("hint", "nothing is planned or loaded until the server is started anew"),
                  LOG_END);
        return NULL;
    }
    do {
        int64_t now_us = clock_unix_us(), mono_us = clock_mono_ns() / 1000;
        if (rounds(a, now_us, mono_us)) {
            atomic_fetch_add_explicit(&a->version, 1, memory_order_release);
            pthread_mutex_lock(&a->hook);
            if (a->on_change)
                a->on_change(a->on_change_ctx, a->worker);
            pthread_mutex_unlock(&a->hook);
        }
        journal(a, mono_us);
        if (mono_us - a->expired_us >= expire_every_us) {
            flights_expire(a->flights, mono_us);
            a->expired_us = mono_us;
        }
    } while (!rest(a, pause_us(a, &asked)));
    tell_rest(a);
    engine_worker_free(a->worker);
    return NULL;
}

/* ---- beginning and end ---- */

/* A row for every router of the journal, with what it remembers of its adapters. */
static enum err recover(struct adapters *a)
{
    const struct model *m = ledger_model(a->engine->ledger);
    struct residents *t = mem_calloc(1, sizeof *t + m->routers_n * sizeof(struct resident *) + 1);
    if (!t)
        return ERR_NOMEM;
    atomic_store_explicit(&a->table, t, memory_order_relaxed);
    for (uint32_t i = 0; i < m->routers_n; i++) {
        const struct router *r = m->routers[i];
        if (r->config.settings.residency.policy[0])
            TRY(resident_new(&r->config, r->uid, r->d,
                             residency_any(&r->residency) ? &r->residency : NULL, &t->rows[t->n]));
        t->n += r->config.settings.residency.policy[0] != '\0';
    }
    return OK;
}

enum err engine_adapters_open(struct engine *e)
{
    struct adapters *a = mem_calloc(1, sizeof *a);
    if (!a)
        return ERR_NOMEM;
    e->adapters = a;
    a->engine = e;
    pthread_mutex_init(&a->lock, NULL);
    pthread_mutex_init(&a->hook, NULL);
    pthread_condattr_t attr;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&a->changed, &attr);
    (void)pthread_condattr_destroy(&attr);
    TRY(flights_new(flight_keep_us, &a->flights));
    return recover(a);
}

enum err engine_adapters_start(struct engine *e)
{
    if (pthread_create(&e->adapters->thread, NULL, run, e->adapters) != 0)
        return ERR_NOMEM;
    e->adapters->started = true;
    return OK;
}

void engine_adapters_close(struct engine *e)
{
    struct adapters *a = e->adapters;
    if (!a)
        return;
    pthread_mutex_lock(&a->lock);
    a->stop = true;
    pthread_cond_signal(&a->changed);
    pthread_mutex_unlock(&a->lock);
    if (a->started)
        (void)pthread_join(a->thread, NULL);
    struct residents *t = atomic_load_explicit(&a->table, memory_order_relaxed);
    for (uint32_t i = 0; t && i < t->n; i++)
        resident_free(t->rows[i]);
    mem_free(t);
    flights_free(a->flights);
    pthread_cond_destroy(&a->changed);
    pthread_mutex_destroy(&a->hook);
    pthread_mutex_destroy(&a->lock);
    mem_free(a);
    e->adapters = NULL;
}

uint64_t engine_adapters_version(struct engine *e)
{
    return atomic_load_explicit(&e->adapters->version, memory_order_acquire);
}

void engine_on_residency(struct engine *e, void (*f)(void *ctx, struct engine_worker *w), void *ctx)
{
    struct adapters *a = e->adapters;
    pthread_mutex_lock(&a->hook);
    a->on_change_ctx = ctx;
    a->on_change = f;
    pthread_mutex_unlock(&a->hook);
}
