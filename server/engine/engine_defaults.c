/* A thread that gives decisions their default reward when nobody rated them in time.
 *
 * It goes through the decision log behind reward_wait_s, window by window, and brings an ordinary
 * OUTCOME for each decision that is in it; the dedup table knows which of them were reported. When
 * a window is through, a SWEEP event moves the router's mark. A crash before that event means that
 * the window is gone through again, and that every outcome of it is a duplicate: exactly once. It
 * is niced, and holds no lock of the hot path. */
#include "server/engine/engine_parts.h"

#include "state/base/mem.h"

#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 256, REST_AFTER_FAILURE = 40 /* Passes, of a quarter of a second. */ };
static const int64_t second_us = 1000000;
/* Reports that were stamped in time may still be on their way to the writer. */
static const int64_t slack_us = 2 * INT64_C(1000000);

/* A router whose decisions are looked at, as it was when the pass began. */
struct subject {
    uint32_t uid, d;
    uint64_t hash;
    uint8_t metrics_n;
    struct outcome_metric metrics[MAX_METRICS];
    int64_t wait_us, until_us;
    uint64_t before, found, lost;
};

/* Requests that the journal knew of when this server began, before its first one, of the routers it
 * had then. */
struct at_start {
    uint32_t n;
    struct {
        uint32_t uid;
        uint64_t requests;
    } routers[MAX_ROUTERS];
};

struct defaults {
    struct engine *engine;
    struct engine_worker *worker;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool stop;
    int64_t opened_us;
    struct at_start *start;
    struct subject subject;
    uint64_t found; /* Decisions of the window. */
    bool write;     /* Whether outcomes are made of them. */
    uint32_t rest;  /* Passes to sit out. */
    struct inbox_item *items[BATCH];
    struct pending {
        struct inbox_item item;
        struct buf record;
        struct defaults *owner;
    } pending[BATCH];
    uint32_t pending_n, waiting;
    enum err failed; /* Of the writer: the window is not through. */
};

static bool stopping(struct defaults *t)
{
    pthread_mutex_lock(&t->lock);
    bool stop = t->stop;
    pthread_mutex_unlock(&t->lock);
    return stop;
}

/* ---- outcomes ---- */

static void answered(struct inbox_item *item, enum err e, const struct fold_result *result,
                     uint64_t position)
{
    (void)result;
    (void)position;
    void *at = item;
    struct defaults *t = ((struct pending *)at)->owner;
    pthread_mutex_lock(&t->lock);
    /* Refused for what it is (late, its router gone): that is final. */
    if (e == ERR_IO || e == ERR_DISK_FULL || e == ERR_NOMEM || e == ERR_CORRUPT ||
        e == ERR_SHUTTING_DOWN)
        t->failed = e;
    if (--t->waiting == 0)
        pthread_cond_signal(&t->changed);
    pthread_mutex_unlock(&t->lock);
}

/* Callers go first: it waits until the queue has room. */
static enum err flush(struct defaults *t)
{
    uint32_t n = t->pending_n;
    t->pending_n = 0;
    if (n == 0)
        return OK;
    t->waiting = n;
    enum err e = ERR_QUEUE_FULL;
    while (e == ERR_QUEUE_FULL && !stopping(t)) {
        e = inbox_put_all(t->engine->inbox, t->items, n);
        if (e == ERR_QUEUE_FULL)
            nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
    if (e != OK)
        return e;
    pthread_mutex_lock(&t->lock);
    while (t->waiting)
        pthread_cond_wait(&t->changed, &t->lock);
    e = t->failed;
    pthread_mutex_unlock(&t->lock);
    return e;
}

static enum err add_outcome(struct defaults *t, const struct decision *d)
{
    struct event *ev = &t->worker->event;
    struct event_outcome *o = &ev->u.outcome;
    struct pending *p = &t->pending[t->pending_n];
    memset(ev, 0, sizeof *ev);
    ev->kind = EVENT_OUTCOME;
    ev->at_us = clock_unix_us();
    o->decision = *d;
    o->metrics_n = t->subject.metrics_n;
    memcpy(o->metrics, t->subject.metrics, sizeof o->metrics);
    memcpy(o->source, SOURCE_DEFAULT, sizeof SOURCE_DEFAULT);
    buf_reset(&p->record);
    event_encode(ev, &p->record);
    TRY(buf_error(&p->record));
    p->owner = t;
    p->item.done = answered;
    p->item.record = (struct slice){p->record.data, p->record.len};
    t->items[t->pending_n++] = &p->item;
    return t->pending_n < BATCH ? OK : flush(t);
}

static enum err visit(void *ctx, const struct audit_record *record)
{
    struct defaults *t = ctx;
    const struct decision *d = &record->decision;
    if (stopping(t))
        return ERR_CANCELLED;
    if (d->router_uid != t->subject.uid)
        return OK;
    t->found++;
    bool fits = d->spec_hash == t->subject.hash && d->d == t->subject.d;
    return t->write && fits ? add_outcome(t, d) : OK;
}

/* ---- windows ---- */

static enum err go_through(struct defaults *t, int64_t from_us, int64_t to_us, bool write)
{
    struct err_detail detail;
    uint64_t damaged = 0;
    t->found = 0;
    t->write = write;
    t->failed = OK;
    t->pending_n = 0;
    TRY(audit_iterate(t->engine->audit, from_us, to_us, visit, t, &damaged, &detail));
    return flush(t);
}

static enum err submit_sweep(struct defaults *t, int64_t until_us, uint64_t found, uint64_t lost)
{
    struct event *ev = &t->worker->event;
    memset(ev, 0, sizeof *ev);
    ev->kind = EVENT_SWEEP;
    ev->at_us = clock_unix_us();
    ev->u.sweep = (struct event_sweep){t->subject.uid, until_us, found, lost};
    return engine_submit(t->worker, ev, NULL);
}

/* The next window, when it is worth it: the log is read by whole hours. */
static enum err sweep(struct defaults *t)
{
    const struct subject *s = &t->subject;
    int64_t to_us = clock_unix_us() - s->wait_us - slack_us;
    int64_t step_us = s->wait_us / 16;
    step_us = step_us < second_us         ? second_us
              : step_us > 300 * second_us ? 300 * second_us
                                          : step_us;
    if (to_us - s->until_us < step_us)
        return OK;
    if (to_us - s->until_us > 3600 * second_us) /* The server was away: an hour at a time. */
        to_us = s->until_us + 3600 * second_us;
    TRY(go_through(t, s->until_us, to_us, true));
    return submit_sweep(t, to_us, t->found, 0);
}

/* Decisions that were counted before this start and that neither the windows so far nor the log
 * hold: a crash took them, or the log had dropped them. `requests` is as the last start left it. */
static enum err count_lost(struct defaults *t, uint64_t requests)
{
    const struct subject *s = &t->subject;
    if (s->until_us >= t->opened_us)
        return OK;
    TRY(go_through(t, s->until_us, t->opened_us, false));
    uint64_t known = s->before + s->found + s->lost + t->found;
    return requests > known ? submit_sweep(t, s->until_us, 0, requests - known) : OK;
}

static void take_defaults(const struct router_config *c, struct subject *ret)
{
    const struct default_rewards *defaults = &c->settings.defaults;
    for (uint32_t i = 0; i < defaults->n; i++) {
        const struct default_reward *d = &defaults->all[i];
        int m = settings_metric_index(c, d->metric, strlen(d->metric));
        if (m >= 0) /* As settings_check wants it; an older journal may hold another one. */
            ret->metrics[ret->metrics_n++] = (struct outcome_metric){
                (uint8_t)m, d->raw, metric_normalise(&c->metrics[m], d->raw)};
    }
}

/* The i-th router of now; false: there are no more. *ret_wanted: it gives a default. */
static bool look(struct defaults *t, uint32_t i, bool *ret_wanted)
{
    const struct snapshot *s = engine_snapshot_acquire(t->worker);
    bool there = i < s->routers_n;
    const struct router_view *r = there ? s->routers[i] : NULL;
    *ret_wanted = there && r->config->settings.defaults.n > 0;
    if (*ret_wanted) {
        t->subject = (struct subject){
            .uid = r->uid,
            .d = r->d,
            .hash = r->hash,
            .wait_us = (int64_t)(r->config->settings.reward_wait_s * 1e6),
            .until_us = r->swept_until_us,
            .before = r->swept_before,
            .found = r->swept_found,
            .lost = r->unaccounted,
        };
        take_defaults(r->config, &t->subject);
        *ret_wanted = t->subject.metrics_n > 0;
    }
    engine_snapshot_release(t->worker);
    return there;
}

/* A disk that is full stays so for a while: the next pass waits. */
static void say_failed(struct defaults *t, enum err e)
{
    if (e == OK || e == ERR_CANCELLED || e == ERR_SHUTTING_DOWN)
        return;
    t->rest = REST_AFTER_FAILURE;
    log_event(t->engine->o.log, LOG_WARN, "defaults_failed", LOG_STR("code", err_code(e)), LOG_END);
}

static void *run(void *arg)
{
    struct defaults *t = arg;
    bool wanted;
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), 19);
    enum err e = engine_worker_new(t->engine, &t->worker);
    for (uint32_t i = 0; e == OK && look(t, i, &wanted) && !stopping(t); i++)
        for (uint32_t k = 0; wanted && k < t->start->n; k++)
            if (t->start->routers[k].uid == t->subject.uid)
                say_failed(t, count_lost(t, t->start->routers[k].requests));
    while (e == OK && !stopping(t)) {
        t->rest -= t->rest > 0;
        for (uint32_t i = 0; t->rest == 0 && look(t, i, &wanted) && !stopping(t); i++)
            if (wanted)
                say_failed(t, sweep(t));
        nanosleep(&(struct timespec){.tv_nsec = 250000000}, NULL);
    }
    engine_worker_free(t->worker);
    return NULL;
}

/* Nobody routes yet, so these are what the journal says. */
static enum err note_start(struct engine *e, struct at_start *start)
{
    struct engine_worker *w = NULL;
    TRY(engine_worker_new(e, &w));
    const struct snapshot *s = engine_snapshot_acquire(w);
    for (uint32_t i = 0; i < s->routers_n && i < MAX_ROUTERS; i++) {
        start->routers[start->n].uid = s->routers[i]->uid;
        start->routers[start->n++].requests = s->routers[i]->requests_tallied;
    }
    engine_snapshot_release(w);
    engine_worker_free(w);
    return OK;
}

enum err engine_defaults_open(struct engine *e)
{
    struct defaults *t = mem_calloc(1, sizeof *t);
    struct at_start *start = mem_calloc(1, sizeof *start);
    if (!t || !start || note_start(e, start) != OK) {
        mem_free(start);
        mem_free(t);
        return ERR_NOMEM;
    }
    t->engine = e;
    t->start = start;
    t->opened_us = clock_unix_us();
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->changed, NULL);
    if (pthread_create(&t->thread, NULL, run, t) != 0) {
        pthread_cond_destroy(&t->changed);
        pthread_mutex_destroy(&t->lock);
        mem_free(start);
        mem_free(t);
        return ERR_NOMEM;
    }
    e->defaults = t;
    return OK;
}

void engine_defaults_close(struct engine *e)
{
    struct defaults *t = e->defaults;
    if (!t)
        return;
    pthread_mutex_lock(&t->lock);
    t->stop = true;
    pthread_mutex_unlock(&t->lock);
    (void)pthread_join(t->thread, NULL);
    for (uint32_t i = 0; i < BATCH; i++)
        buf_done(&t->pending[i].record);
    pthread_cond_destroy(&t->changed);
    pthread_mutex_destroy(&t->lock);
    mem_free(t->start);
    mem_free(t);
    e->defaults = NULL;
}
