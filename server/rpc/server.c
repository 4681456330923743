#include "server/engine/engine_adapters.h"
#include "server/rpc/core.h"
#include "state/base/mem.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { KIB = 1024, POOL_THREADS = 2, ADMIN_ARENA = 131072 * KIB /* A listing of 10,000 arms. */ };

/* ---- Building ---- */

static grpc_server *create_grpc(uint32_t age_ms)
{
    enum { SECOND_MS = 1000 };
    const struct {
        const char *key;
        int value;
    } rows[] = {
        {GRPC_ARG_ALLOW_REUSEPORT, 0}, /* Else a second server silently shares the port. */
        /* An examples text or a thousand reports, and what is around it. */
        {GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, 4160 * KIB},
        {GRPC_ARG_MAX_SEND_MESSAGE_LENGTH, -1},
        {GRPC_ARG_MAX_METADATA_SIZE, 8 * KIB},
        {GRPC_ARG_MAX_CONCURRENT_STREAMS, 256},
        {GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 5 * SECOND_MS},
        {GRPC_ARG_MAX_CONNECTION_IDLE_MS, 300 * SECOND_MS},
        {GRPC_ARG_MAX_CONNECTION_AGE_MS, (int)age_ms},
        {GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS, age_ms < SECOND_MS         ? SECOND_MS / 10
                                               : age_ms < 300 * SECOND_MS ? (int)age_ms / 10
                                                                          : 30 * SECOND_MS},
        {GRPC_ARG_KEEPALIVE_TIME_MS, 30 * SECOND_MS},
        {GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10 * SECOND_MS},
        {GRPC_ARG_HTTP2_MAX_PING_STRIKES, 2},
        /* Not inflated at all: a small message may not become a large one. */
        {GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0},
        {GRPC_ARG_ENABLE_PER_MESSAGE_COMPRESSION, 0},
        {GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, 1 << GRPC_COMPRESS_NONE},
    };
    enum { N = sizeof rows / sizeof *rows };
    char keys[N][64]; /* The core's struct wants char *. */
    grpc_arg args[N];
    for (size_t i = 0; i < N; i++) {
        (void)snprintf(keys[i], sizeof keys[i], "%s", rows[i].key);
        args[i] = (grpc_arg){.type = GRPC_ARG_INTEGER, .key = keys[i]};
        args[i].value.integer = rows[i].value;
    }
    grpc_channel_args all = {N, args};
    return grpc_server_create(&all, NULL);
}

static bool register_methods(struct rpc_server *s)
{
    for (size_t i = 0; i < methods_n; i++) {
        if (!methods[i].on[s->options.service])
            continue;
        enum method_kind kind = methods[i].kind;
        bool stream = kind == METHOD_WATCH || kind == METHOD_REFLECT || kind == METHOD_ROUTES ||
                      kind == METHOD_RESIDENCY;
        s->handles[i] = grpc_server_register_method(
            s->grpc, methods[i].path, NULL,
            stream ? GRPC_SRM_PAYLOAD_NONE : GRPC_SRM_PAYLOAD_READ_INITIAL_BYTE_BUFFER, 0);
        if (!s->handles[i])
            return false;
    }
    return true;
}

static void on_stopped(struct tag *tag, bool ok)
{
    struct rpc_server *s = TAG_OWNER(tag, struct rpc_server, stopped);
    (void)ok;
    (void)pthread_mutex_lock(&s->mutex);
    s->stop_seen = true;
    (void)pthread_cond_broadcast(&s->changed);
    (void)pthread_mutex_unlock(&s->mutex);
}

static struct rpc_server *allocate(const struct rpc_options *o)
{
    struct rpc_server *s = mem_calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->options = *o;
    s->stopped.on = on_stopped;
    s->in_flight = &o->metrics->in_flight[o->service];
    pthread_condattr_t attr;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&s->mutex, NULL);
    (void)pthread_cond_init(&s->changed, &attr);
    (void)pthread_condattr_destroy(&attr);
    grpc_init();
    s->grpc = create_grpc(o->max_connection_age_ms);
    s->queues_n = o->loop->threads_n;
    for (uint32_t i = 0; i < s->queues_n; i++) {
        s->queues[i].server = s;
        s->queues[i].on = &o->loop->threads[i];
        grpc_server_register_completion_queue(s->grpc, s->queues[i].on->cq, NULL);
    }
    return s;
}

/* No thread takes events yet, so the queues may be touched from here. */
static enum err post_all(struct queue *q)
{
    struct rpc_server *s = q->server;
    for (uint32_t m = 0; m < methods_n; m++) {
        if (!s->handles[m])
            continue;
        if (methods[m].kind == METHOD_WATCH || methods[m].kind == METHOD_REFLECT ||
            methods[m].kind == METHOD_RESIDENCY)
            stream_post(q, m);
        else if (methods[m].kind == METHOD_ROUTES)
            route_stream_post(q, m);
        else
            unary_post(q, m);
    }
    return unknown_post(q);
}

static bool has_kind(enum rpc_service service, enum method_kind kind)
{
    for (size_t i = 0; i < methods_n; i++)
        if (methods[i].on[service] && methods[i].kind == kind)
            return true;
    return false;
}

static enum err open_parts(struct rpc_server *s, struct err_detail *detail)
{
    const struct rpc_loop_options *loop = &s->options.loop->options;
    if (!register_methods(s))
        return err_say(detail, ERR_INTERNAL, "the gRPC server cannot be made");
    if (has_kind(s->options.service, METHOD_BLOCKING))
        TRY(pool_open(loop, ADMIN_ARENA, POOL_THREADS, &s->pool));
    if (has_kind(s->options.service, METHOD_LONG))
        TRY(pool_open(loop, ADMIN_ARENA, 1, &s->quiet));
    if (has_kind(s->options.service, METHOD_RESIDENCY))
        TRY(watchers_open(s, &s->watchers));
    for (size_t i = 0; i < s->options.addresses_n; i++)
        TRY(listen_add(s->grpc, s->options.addresses[i], &s->options.tls, s->bound[i], detail));
    grpc_server_start(s->grpc);
    for (uint32_t i = 0; i < s->queues_n; i++)
        TRY(post_all(&s->queues[i]));
    if (has_kind(s->options.service, METHOD_RESIDENCY))
        engine_on_residency(loop->engine, streams_residency, s);
    return OK;
}

enum err rpc_server_open(const struct rpc_options *options, struct rpc_server **ret_server,
                         struct err_detail *detail)
{
    struct rpc_server *s = allocate(options);
    if (!s)
        return err_say(detail, ERR_NOMEM, "out of memory for a server");
    *ret_server = s; /* Also on error: it is taken down with the rest, in their order. */
    return open_parts(s, detail);
}

const char *rpc_server_address(const struct rpc_server *s, size_t i)
{
    return s->bound[i];
}

/* ---- Taking down ---- */

void rpc_server_stop_begin(struct rpc_server *s)
{
    atomic_store(&s->draining, true);
    if (has_kind(s->options.service, METHOD_RESIDENCY))
        engine_on_residency(s->options.loop->options.engine, NULL, NULL);
    grpc_server_shutdown_and_notify(s->grpc, s->queues[0].on->cq, &s->stopped);
    stream_drain(s);
    route_streams_drain(s);
}

/* Waits for the core to say that no call is left. */
static bool wait_stopped(struct rpc_server *s, const struct timespec *until)
{
    int e = 0;
    (void)pthread_mutex_lock(&s->mutex);
    while (!s->stop_seen && e == 0)
        e = until ? pthread_cond_timedwait(&s->changed, &s->mutex, until)
                  : pthread_cond_wait(&s->changed, &s->mutex);
    bool seen = s->stop_seen;
    (void)pthread_mutex_unlock(&s->mutex);
    return seen;
}

/* The core says that no call is left when no connection is: a call whose caller hung up may still
 * be with the writer, which will answer it, or on a thread of the pool. */
static void wait_answered(const struct rpc_server *s)
{
    const struct timespec nap = {0, 1000000};
    while (atomic_load(s->in_flight) > 0)
        (void)nanosleep(&nap, NULL);
}

bool rpc_server_stop_wait(struct rpc_server *s, int64_t deadline_ns)
{
    struct timespec until = {deadline_ns / 1000000000, deadline_ns % 1000000000};
    bool clean = true;
    if (!s->options.loop->running) {
        loop_drain(s->queues[0].on->cq, &s->stop_seen); /* No thread does. */
    } else {
        clean = wait_stopped(s, &until);
        if (!clean) {
            grpc_server_cancel_all_calls(s->grpc);
            /* Every handler ends by itself or polls `cancelled`; the writer answers each report. */
            (void)wait_stopped(s, NULL);
        }
        wait_answered(s);
    }
    pool_close(s->pool);
    pool_close(s->quiet);
    watchers_close(s->watchers);
    s->pool = s->quiet = NULL;
    s->watchers = NULL;
    return clean;
}

void rpc_server_close(struct rpc_server *s)
{
    if (!s)
        return;
    grpc_server_destroy(s->grpc);
    for (uint32_t i = 0; i < s->queues_n; i++)
        unary_free_idle(&s->queues[i]);
    grpc_shutdown();
    (void)pthread_cond_destroy(&s->changed);
    (void)pthread_mutex_destroy(&s->mutex);
    mem_free(s);
}
