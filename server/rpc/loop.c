#include "server/rpc/core.h"
#include "state/base/mem.h"

#include <dlfcn.h>

/* Debian builds abseil without NDEBUG, so that every lock gRPC takes passes a search for cycles in
 * the order of all locks, under a spin lock of the process: a twentieth of a call's processor time.
 * absl::SetMutexDeadlockDetectionMode(kIgnore) ends that. Found by its name, since it is C++ and
 * its name holds abseil's version; where it is not found everything works as before. */
static void stop_deadlock_detection(void)
{
    union { /* ISO C has no cast from the one to the other; POSIX promises that they are alike. */
        void *object;
        void (*set)(int mode);
    } found = {.object =
                   dlsym(RTLD_DEFAULT,
                         "_ZN4absl7debian329SetMutexDeadlockDetectionModeENS0_15OnDeadlockCycleE")};
    const int ignore = 0;
    if (found.object)
        found.set(ignore);
}

enum err rpc_loop_new(const struct rpc_loop_options *options, struct rpc_loop **ret_loop)
{
    struct rpc_loop *l = mem_calloc(1, sizeof *l);
    if (!l)
        return ERR_NOMEM;
    l->options = *options;
    l->threads_n = options->threads < RPC_THREADS_MAX ? options->threads : RPC_THREADS_MAX;
    (void)pthread_mutex_init(&l->mutex, NULL);
    (void)pthread_cond_init(&l->changed, NULL);
    stop_deadlock_detection();
    grpc_init();
    for (uint32_t i = 0; i < l->threads_n; i++) {
        l->threads[i].loop = l;
        l->threads[i].cq = grpc_completion_queue_create_for_next(NULL);
    }
    *ret_loop = l;
    return OK;
}

/* Vectors of eight requests. */
enum { AHEAD_BYTES = 256 * 1024 };

enum err handler_open(const struct rpc_loop_options *o, size_t arena_bytes,
                      struct handler **ret_handler)
{
    struct handler *h = mem_calloc(1, sizeof *h);
    if (!h)
        return ERR_NOMEM;
    h->engine = o->engine;
    h->ready = o->ready;
    h->settings = o->settings;
    h->settings_n = o->settings_n;
    arena_init(&h->arena, arena_bytes);
    arena_init(&h->ahead, AHEAD_BYTES);
    enum err e = engine_worker_new(h->engine, &h->worker);
    if (e != OK) {
        handler_close(h);
        return e;
    }
    *ret_handler = h;
    return OK;
}

void handler_close(struct handler *h)
{
    if (!h)
        return;
    if (h->worker)
        engine_worker_free(h->worker);
    arena_done(&h->arena);
    arena_done(&h->ahead);
    buf_done(&h->packed);
    mem_free(h);
}

void loop_drain(grpc_completion_queue *cq, const bool *until)
{
    while (!until || !*until) {
        grpc_event ev = grpc_completion_queue_next(cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
        if (ev.type == GRPC_QUEUE_SHUTDOWN)
            return;
        if (ev.type == GRPC_OP_COMPLETE) {
            struct tag *tag = ev.tag;
            tag->on(tag, ev.success != 0);
        }
    }
}

enum { FLUSH_EVERY = 64 }; /* Events: an answer that is held back waits for no more than these. */

/* As loop_drain; and whenever nothing is left to do at once, streams send what they held back. */
static void serve(struct loop_thread *t)
{
    const gpr_timespec never = gpr_inf_future(GPR_CLOCK_MONOTONIC);
    const gpr_timespec now = gpr_inf_past(GPR_CLOCK_MONOTONIC);
    uint32_t since = 0;
    for (;;) {
        grpc_event ev = grpc_completion_queue_next(t->cq, t->holding ? now : never, NULL);
        if (ev.type == GRPC_QUEUE_SHUTDOWN)
            return;
        if (ev.type == GRPC_OP_COMPLETE) {
            struct tag *tag = ev.tag;
            tag->on(tag, ev.success != 0);
        }
        since = t->holding ? since + 1 : 0;
        if (t->holding && (ev.type == GRPC_QUEUE_TIMEOUT || since >= FLUSH_EVERY)) {
            route_streams_flush(t);
            since = 0;
        }
    }
}

static void *run(void *arg)
{
    struct loop_thread *t = arg;
    struct rpc_loop *l = t->loop;
    enum err e = handler_open(&l->options, l->options.arena_bytes, &t->handler);
    (void)pthread_mutex_lock(&l->mutex);
    l->begun++;
    if (e != OK)
        l->error = e;
    (void)pthread_cond_broadcast(&l->changed);
    while (!l->decided)
        (void)pthread_cond_wait(&l->changed, &l->mutex);
    bool go = l->running;
    (void)pthread_mutex_unlock(&l->mutex);
    if (go)
        serve(t);
    handler_close(t->handler);
    t->handler = NULL;
    return NULL;
}

/* Waits until every thread has its handler; then they all go, or none does. */
static enum err decide(struct rpc_loop *l, uint32_t started, enum err e)
{
    (void)pthread_mutex_lock(&l->mutex);
    while (l->begun < started)
        (void)pthread_cond_wait(&l->changed, &l->mutex);
    if (e == OK)
        e = l->error;
    l->running = e == OK;
    l->decided = true;
    (void)pthread_cond_broadcast(&l->changed);
    (void)pthread_mutex_unlock(&l->mutex);
    return e;
}

enum err rpc_loop_start(struct rpc_loop *l)
{
    uint32_t n = 0;
    enum err e = OK;
    for (; e == OK && n < l->threads_n; n++)
        if (pthread_create(&l->threads[n].thread, NULL, run, &l->threads[n]) != 0) {
            e = ERR_NOMEM;
            break;
        }
    e = decide(l, n, e);
    if (e != OK)
        for (uint32_t i = 0; i < n; i++)
            (void)pthread_join(l->threads[i].thread, NULL);
    return e;
}

void rpc_loop_stop(struct rpc_loop *l)
{
    for (uint32_t i = 0; i < l->threads_n; i++) {
        grpc_completion_queue_shutdown(l->threads[i].cq);
        if (l->running)
            (void)pthread_join(l->threads[i].thread, NULL);
        else /* What was posted comes back here. */
            loop_drain(l->threads[i].cq, NULL);
    }
    l->running = false;
}

void rpc_loop_free(struct rpc_loop *l)
{
    if (!l)
        return;
    for (uint32_t i = 0; i < l->threads_n; i++)
        grpc_completion_queue_destroy(l->threads[i].cq);
    grpc_shutdown();
    (void)pthread_cond_destroy(&l->changed);
    (void)pthread_mutex_destroy(&l->mutex);
    mem_free(l);
}
