#include "server/adapters/reconciler.h"

#include "server/adapters/replica.h"
#include "server/ops/clock.h"
#include "state/base/mem.h"
#include "state/base/rng.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

/* A replica, its thread, and what it last said. */
struct post {
    struct reconciler *r;
    struct replica *replica;
    pthread_t thread;
    bool running;
    /* Under r->lock. */
    struct engine_row *rows;
    size_t rows_n;
    struct engine_replica_view view;
    bool down;
};

struct reconciler {
    struct reconciler_calls calls;
    struct replica_hooks hooks;
    uint32_t n, slots;
    uint64_t bytes;
    int64_t tick_us;
    struct reconcile_patience patience;
    struct post posts[ENGINE_REPLICAS_MAX];
    pthread_mutex_t plan; /* One assignment at a time. Taken before `lock`. */
    pthread_mutex_t lock; /* Guards library, posts' words, wakes. Held for memory only. */
    pthread_cond_t wake;
    struct library *library;
    uint64_t wakes; /* Rises when the library changes. */
    atomic_bool stopping;
    atomic_ullong version;
};

static struct library *hook_library(void *ctx)
{
    struct reconciler *r = ctx;
    pthread_mutex_lock(&r->lock);
    struct library *l = library_acquire(r->library);
    pthread_mutex_unlock(&r->lock);
    return l;
}

static bool hook_stopping(void *ctx)
{
    struct reconciler *r = ctx;
    return atomic_load(&r->stopping);
}

static void hook_publish(void *ctx, uint32_t index, struct engine_row *rows, size_t n,
                         const struct engine_replica_view *view, bool changed)
{
    struct reconciler *r = ctx;
    struct post *p = &r->posts[index];
    pthread_mutex_lock(&r->lock);
    struct engine_row *former = p->rows;
    p->rows = rows;
    p->rows_n = n;
    p->view = *view;
    pthread_mutex_unlock(&r->lock);
    mem_free(former);
    if (!changed)
        return;
    atomic_fetch_add(&r->version, 1);
    if (r->calls.on_change)
        r->calls.on_change(r->calls.ctx);
}

static size_t rows_copy(const struct reconciler *r, struct engine_row *ret_rows, size_t cap)
{
    size_t n = 0;
    for (uint32_t i = 0; i < r->n; i++)
        for (size_t k = 0; k < r->posts[i].rows_n; k++, n++)
            if (n < cap)
                ret_rows[n] = r->posts[i].rows[k];
    return n;
}

/* Gives `next` its assignment and makes it the library. Under r->plan. */
static enum err install(struct reconciler *r, struct library *next)
{
    bool down[ENGINE_REPLICAS_MAX];
    size_t cap = 0;
    for (;;) { /* Until the rows fit: they are counted and copied under two locks. */
        struct engine_row *rows = mem_calloc(cap ? cap : 1, sizeof *rows);
        if (!rows)
            return ERR_NOMEM;
        pthread_mutex_lock(&r->lock);
        size_t n = rows_copy(r, rows, cap);
        for (uint32_t i = 0; i < r->n; i++)
            down[i] = r->posts[i].down;
        struct library *former = library_acquire(r->library);
        pthread_mutex_unlock(&r->lock);
        enum err e = OK;
        if (n <= cap) {
            struct library_room room = {r->slots, r->bytes, rows, n, down};
            e = library_assign(next, former, &room);
        }
        mem_free(rows);
        library_release(former);
        if (e != OK)
            return e;
        if (n <= cap)
            break;
        cap = n + 64;
    }
    pthread_mutex_lock(&r->lock);
    struct library *former = r->library;
    r->library = next;
    r->wakes++;
    pthread_cond_broadcast(&r->wake);
    pthread_mutex_unlock(&r->lock);
    library_release(former);
    return OK;
}

/* Its share goes to the others, or comes back. Out of memory: as it was, until the next plan. */
static void hook_moved(void *ctx, uint32_t index, bool down)
{
    struct reconciler *r = ctx;
    pthread_mutex_lock(&r->plan);
    pthread_mutex_lock(&r->lock);
    r->posts[index].down = down;
    struct library *former = library_acquire(r->library);
    pthread_mutex_unlock(&r->lock);
    struct library *next = NULL;
    if (former && r->n > 1 && library_copy(former, &next) == OK && install(r, next) != OK)
        library_release(next);
    library_release(former);
    pthread_mutex_unlock(&r->plan);
}

static enum err range(struct err_detail *detail, const char *field, uint32_t value, uint32_t min,
                      uint32_t max)
{
    if (value == 0 || (value >= min && value <= max))
        return OK;
    return err_say(detail, ERR_OUT_OF_RANGE, "%s: %u to %u", field, min, max);
}

static enum err check(const struct reconciler_config *c, struct err_detail *detail)
{
    if (c->replicas_n == 0 || c->replicas_n > ENGINE_REPLICAS_MAX)
        return err_say(detail, ERR_OUT_OF_RANGE, "replicas: 1 to %d", ENGINE_REPLICAS_MAX);
    bool by_bytes = c->bytes > 0 && c->kind != ENGINE_LLAMACPP;
    if (c->slots > ENGINE_SLOTS_MAX || (c->slots == 0 && !by_bytes))
        return err_say(detail, ERR_OUT_OF_RANGE, "slots: 1 to %d%s", ENGINE_SLOTS_MAX,
                       c->kind == ENGINE_LLAMACPP ? "; --parallel of the engine less one" : "");
    TRY(range(detail, "tick_ms", c->tick_ms, 10, 600000));
    TRY(range(detail, "call_timeout_ms", c->call_timeout_ms, 10, 60000));
    TRY(range(detail, "load_timeout_ms", c->load_timeout_ms, 10, 3600000));
    TRY(range(detail, "backoff_min_ms", c->backoff_min_ms, 1, 60000));
    TRY(range(detail, "backoff_max_ms", c->backoff_max_ms, 1, 3600000));
    TRY(range(detail, "drain_ms", c->drain_ms, 1, 3600000));
    for (uint32_t i = 0; i < c->replicas_n; i++) {
        const char *name = c->replicas[i].name;
        if (!name || !name_valid(name, strlen(name)))
            return err_say(detail, ERR_BAD_NAME, "replica %u: its name: %s", i,
                           err_text(ERR_BAD_NAME));
        for (uint32_t k = 0; k < i; k++)
            if (strcmp(name, c->replicas[k].name) == 0)
                return err_say(detail, ERR_INVALID, "replica %s: there are two of this name", name);
    }
    return OK;
}

static int64_t or_default(uint32_t ms, uint32_t otherwise)
{
    return (int64_t)(ms ? ms : otherwise) * 1000;
}

/* Not more than 20 connections a second to a process that may come back to find them all. */
static uint32_t again_ms(const struct reconciler *r)
{
    const uint32_t least_ms = 50;
    uint32_t look_ms = (uint32_t)(reconcile_look_us(&r->patience) / 1000);
    return look_ms > least_ms ? look_ms : least_ms;
}

static enum err open_replicas(struct reconciler *r, const struct reconciler_config *c,
                              struct err_detail *detail)
{
    for (uint32_t i = 0; i < c->replicas_n; i++) {
        const struct engine_replica *from = &c->replicas[i];
        const struct replica_config config = {
            .index = i,
            .name = from->name,
            .router = c->router,
            .driver = {.kind = c->kind,
                       .http = {from->url, from->token, c->ca_file},
                       .slots = c->slots,
                       .call_timeout_ms = c->call_timeout_ms ? c->call_timeout_ms : 2000,
                       .load_timeout_ms = c->load_timeout_ms ? c->load_timeout_ms : 60000,
                       .again_ms = again_ms(r)},
            .drain_us = or_default(c->drain_ms, 30000),
            .backoff_min_us = r->patience.backoff_min_us,
            .backoff_max_us = or_default(c->backoff_max_ms, 30000),
            .seed = rng_mix(c->seed, i),
            .hooks = &r->hooks,
            .calls = &r->calls,
            .log = c->log,
        };
        struct err_detail one = {""};
        enum err e = replica_open(&config, &r->posts[i].replica, &one);
        if (e != OK)
            return one.text[0] ? err_say(detail, e, "replica %s: %s", from->name, one.text) : e;
        r->posts[i].r = r;
        memcpy(r->posts[i].view.name, from->name, strlen(from->name) + 1);
        r->posts[i].view.scratch_slot = c->kind == ENGINE_LLAMACPP ? (int32_t)c->slots : -1;
        r->n = i + 1;
    }
    return OK;
}

enum err reconciler_open(const struct reconciler_config *config, struct reconciler **ret_reconciler,
                         struct err_detail *detail)
{
    TRY(check(config, detail));
    struct reconciler *r = mem_calloc(1, sizeof *r);
    if (!r)
        return ERR_NOMEM;
    r->calls = config->calls;
    r->hooks = (struct replica_hooks){r, hook_library, hook_stopping, hook_publish, hook_moved};
    r->slots = config->slots;
    r->bytes = config->bytes;
    r->tick_us = or_default(config->tick_ms, 1000);
    r->patience = (struct reconcile_patience){r->tick_us, or_default(config->backoff_min_ms, 500)};
    atomic_init(&r->stopping, false);
    atomic_init(&r->version, 0);
    pthread_condattr_t attr;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&r->wake, &attr);
    (void)pthread_condattr_destroy(&attr);
    (void)pthread_mutex_init(&r->plan, NULL);
    (void)pthread_mutex_init(&r->lock, NULL);
    enum err e = open_replicas(r, config, detail);
    if (e != OK) {
        reconciler_close(r);
        return e;
    }
    *ret_reconciler = r;
    return OK;
}

static void stop(struct reconciler *r)
{
    atomic_store(&r->stopping, true);
    for (uint32_t i = 0; i < r->n; i++)
        replica_abort(r->posts[i].replica);
    pthread_mutex_lock(&r->lock);
    pthread_cond_broadcast(&r->wake);
    pthread_mutex_unlock(&r->lock);
    for (uint32_t i = 0; i < r->n; i++) {
        if (r->posts[i].running)
            (void)pthread_join(r->posts[i].thread, NULL);
        r->posts[i].running = false;
    }
}

void reconciler_close(struct reconciler *r)
{
    if (!r)
        return;
    stop(r);
    for (uint32_t i = 0; i < r->n; i++) {
        replica_close(r->posts[i].replica);
        mem_free(r->posts[i].rows);
    }
    library_release(r->library);
    (void)pthread_cond_destroy(&r->wake);
    (void)pthread_mutex_destroy(&r->lock);
    (void)pthread_mutex_destroy(&r->plan);
    mem_free(r);
}

/* Until the time is up, a new library (unless the replica is down: it keeps its pause), or the
 * end. */
static void rest(struct reconciler *r, int64_t pause_us, bool is_down, uint64_t *seen)
{
    int64_t until_ns = clock_mono_ns() + pause_us * 1000;
    const struct timespec until = {until_ns / 1000000000, until_ns % 1000000000};
    pthread_mutex_lock(&r->lock);
    while (!atomic_load(&r->stopping) && (is_down || r->wakes == *seen))
        if (pthread_cond_timedwait(&r->wake, &r->lock, &until) == ETIMEDOUT)
            break;
    *seen = r->wakes;
    pthread_mutex_unlock(&r->lock);
}

static int64_t pause_of(const struct reconciler *r, struct replica *replica, enum err e,
                        int64_t spent_us)
{
    double jitter = replica_jitter(replica);
    if (e != OK)
        return reconcile_pause_us(&r->patience, replica_failures(replica), spent_us, jitter);
    /* Ticks are spread by a tenth, so that replicas do not march in step. */
    return r->tick_us - (int64_t)((double)r->tick_us / 10 * jitter);
}

static void *run(void *arg)
{
    struct post *p = arg;
    struct reconciler *r = p->r;
    uint64_t seen = 0;
    while (!atomic_load(&r->stopping)) {
        bool more;
        int64_t begun_ns = clock_thread_ns();
        enum err e = replica_tick(p->replica, &more);
        int64_t spent_us = (clock_thread_ns() - begun_ns) / 1000;
        if (e != OK || !more)
            rest(r, pause_of(r, p->replica, e, spent_us), e != OK, &seen);
    }
    return NULL;
}

enum err reconciler_start(struct reconciler *r)
{
    sigset_t all, before;
    (void)sigfillset(&all); /* Signals are main's; and TLS must not die of a SIGPIPE. */
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = 0;
    for (uint32_t i = 0; i < r->n && !failed; i++) {
        failed = pthread_create(&r->posts[i].thread, NULL, run, &r->posts[i]);
        r->posts[i].running = !failed;
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!failed)
        return OK;
    stop(r);
    return ERR_INTERNAL;
}

enum err reconciler_desire(struct reconciler *r, const struct engine_adapter *adapters, size_t n,
                           struct err_detail *detail)
{
    struct library *next = NULL;
    TRY(library_new(adapters, n, r->n, &next, detail));
    pthread_mutex_lock(&r->plan);
    enum err e = install(r, next);
    pthread_mutex_unlock(&r->plan);
    if (e != OK)
        library_release(next);
    return e;
}

enum err reconciler_tick(struct reconciler *r, uint32_t replica)
{
    bool more;
    if (replica >= r->n || r->posts[replica].running)
        return ERR_INVALID;
    return replica_tick(r->posts[replica].replica, &more);
}

size_t reconciler_rows(struct reconciler *r, struct engine_row *ret_rows, size_t cap)
{
    pthread_mutex_lock(&r->lock);
    size_t n = rows_copy(r, ret_rows, cap);
    pthread_mutex_unlock(&r->lock);
    return n;
}

bool reconciler_replica(struct reconciler *r, uint32_t replica, struct engine_replica_view *ret)
{
    if (replica >= r->n)
        return false;
    pthread_mutex_lock(&r->lock);
    *ret = r->posts[replica].view;
    pthread_mutex_unlock(&r->lock);
    return true;
}

uint32_t reconciler_replicas(const struct reconciler *r)
{
    return r->n;
}

uint64_t reconciler_version(const struct reconciler *r)
{
    return atomic_load(&r->version);
}
