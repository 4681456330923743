/* watchers.c - the thread that tells watchers of residency what changed.
 * Why a thread: what is shown of adapters stands under the slow loop's lock, which a plan or an
 * engine may hold for long, and 10,000 rows take time to pack. So neither a queue's thread nor the
 * slow loop builds them; both only mark streams (stream.c).
 * A pass builds the state of each router once, without the server's mutex, and all of its watchers
 * are sent the same bytes. Passes are residency_pause_ms apart: that is how often a watcher hears
 * at most, however often a policy changes its mind; what changed in between is in the next state.
 */
#include "server/ops/clock.h"
#include "server/rpc/core.h"
#include "server/rpc/handlers.h"
#include "state/base/mem.h"

#include <grpc/byte_buffer.h>
#include <time.h>

enum { RESIDENCY_BYTES = 32 << 20 }; /* Of 10,000 adapters, with what it is made from. */
static const int64_t residency_pause_ms = 100;

struct watchers {
    struct rpc_server *server; /* Whose mutex guards what follows. */
    pthread_cond_t changed;
    bool begun, stop;
    enum err error;
    int64_t next_ns; /* No pass before this. */
    pthread_t thread;
};

/* Locked; unlocked while it builds. */
static void tell(struct watchers *r, struct engine_worker *w, const char *router)
{
    struct err_detail detail = {""};
    grpc_byte_buffer *bytes = NULL;
    ProtobufCMessage *m;
    struct arena arena;
    (void)pthread_mutex_unlock(&r->server->mutex);
    arena_init(&arena, RESIDENCY_BYTES);
    enum err e = answer_residency(w, router, &arena, &m, &detail);
    if (e == OK)
        bytes = payload_pack(m);
    arena_done(&arena);
    (void)pthread_mutex_lock(&r->server->mutex);
    streams_residency_send(r->server, router, e, bytes, &detail);
    if (bytes)
        grpc_byte_buffer_destroy(bytes);
}

/* Locked. Waits until a pass is due; false: it is over. */
static bool wait_for_pass(struct watchers *r)
{
    enum { SECOND_NS = 1000000000 };
    while (!r->stop) {
        struct timespec until = {r->next_ns / SECOND_NS, r->next_ns % SECOND_NS};
        if (!streams_residency_begin(r->server, false))
            (void)pthread_cond_wait(&r->changed, &r->server->mutex);
        else if (clock_mono_ns() < r->next_ns)
            (void)pthread_cond_timedwait(&r->changed, &r->server->mutex, &until);
        else
            return true;
    }
    return false;
}

static void serve(struct watchers *r, struct engine_worker *w)
{
    char router[NAME_CAP];
    while (wait_for_pass(r)) {
        (void)streams_residency_begin(r->server, true);
        while (!r->stop && streams_residency_next(r->server, router))
            tell(r, w, router);
        r->next_ns = clock_mono_ns() + residency_pause_ms * 1000000;
    }
}

static void *run(void *arg)
{
    struct watchers *r = arg;
    struct engine_worker *w = NULL;
    enum err e = engine_worker_new(r->server->options.loop->options.engine, &w);
    (void)pthread_mutex_lock(&r->server->mutex);
    r->begun = true;
    r->error = e;
    (void)pthread_cond_broadcast(&r->changed);
    if (e == OK)
        serve(r, w);
    (void)pthread_mutex_unlock(&r->server->mutex);
    engine_worker_free(w);
    return NULL;
}

/* Waits until the thread has its worker. */
static enum err wait_begun(struct watchers *r)
{
    (void)pthread_mutex_lock(&r->server->mutex);
    while (!r->begun)
        (void)pthread_cond_wait(&r->changed, &r->server->mutex);
    enum err e = r->error;
    (void)pthread_mutex_unlock(&r->server->mutex);
    return e;
}

enum err watchers_open(struct rpc_server *server, struct watchers **ret_watchers)
{
    struct watchers *r = mem_calloc(1, sizeof *r);
    pthread_condattr_t attr;
    if (!r)
        return ERR_NOMEM;
    r->server = server;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&r->changed, &attr);
    (void)pthread_condattr_destroy(&attr);
    if (pthread_create(&r->thread, NULL, run, r) != 0) {
        (void)pthread_cond_destroy(&r->changed);
        mem_free(r);
        return ERR_NOMEM;
    }
    enum err e = wait_begun(r);
    if (e == OK)
        *ret_watchers = r;
    else
        watchers_close(r);
    return e;
}

void watchers_wake(struct watchers *r)
{
    if (r)
        (void)pthread_cond_broadcast(&r->changed);
}

void watchers_close(struct watchers *r)
{
    if (!r)
        return;
    (void)pthread_mutex_lock(&r->server->mutex);
    r->stop = true;
    (void)pthread_cond_broadcast(&r->changed);
    (void)pthread_mutex_unlock(&r->server->mutex);
    (void)pthread_join(r->thread, NULL);
    (void)pthread_cond_destroy(&r->changed);
    mem_free(r);
}
