#include "server/ops/clock.h"
#include "server/ops/log.h"
#include "server/rpc/core.h"
#include "state/base/mem.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    KIB = 1024,
    POOL_THREADS = 2,
    ROUTER_ARENA = 4096 * KIB, /* Beside the text. */
    ADMIN_ARENA = 131072 * KIB /* A listing of ten thousand arms. */
};

/* What one call may make the server hold while its message is unpacked and answered. */
static size_t arena_limit(const struct rpc_options *o)
{
    return o->service == RPC_ROUTER ? (size_t)o->max_text_bytes + ROUTER_ARENA : ADMIN_ARENA;
}

enum err handler_open(struct rpc_server *s, struct handler **ret_handler)
{
    struct handler *h = mem_calloc(1, sizeof *h);
    if (!h)
        return ERR_NOMEM;
    h->engine = s->options.engine;
    h->ready = s->options.ready;
    h->settings = s->options.settings;
    h->settings_n = s->options.settings_n;
    h->service = service_name(s->options.service);
    arena_init(&h->arena, arena_limit(&s->options));
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
    mem_free(h);
}

/* ---- Building ---- */

static grpc_server *create_grpc(const struct rpc_options *o)
{
    enum { SECOND_MS = 1000 };
    const struct {
        const char *key;
        int value;
    } rows[] = {
        {GRPC_ARG_ALLOW_REUSEPORT, 0}, /* Else a second server silently shares the port. */
        {GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, o->service == RPC_ROUTER ? 1280 * KIB : 4096 * KIB},
        {GRPC_ARG_MAX_SEND_MESSAGE_LENGTH, -1},
        {GRPC_ARG_MAX_METADATA_SIZE, 8 * KIB},
        {GRPC_ARG_MAX_CONCURRENT_STREAMS, 256},
        {GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 5 * SECOND_MS},
        {GRPC_ARG_MAX_CONNECTION_IDLE_MS, 300 * SECOND_MS},
        {GRPC_ARG_MAX_CONNECTION_AGE_MS, 300 * SECOND_MS},
        {GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS, 30 * SECOND_MS},
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
        bool stream = methods[i].kind == METHOD_WATCH || methods[i].kind == METHOD_REFLECT;
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
    s->grpc = create_grpc(o);
    s->queues_n = o->threads < RPC_THREADS_MAX ? o->threads : RPC_THREADS_MAX;
    for (uint32_t i = 0; i < s->queues_n; i++) {
        s->queues[i].server = s;
        s->queues[i].cq = grpc_completion_queue_create_for_next(NULL);
        grpc_server_register_completion_queue(s->grpc, s->queues[i].cq, NULL);
    }
    return s;
}

/* ---- A queue's thread ---- */

static void post_all(struct queue *q)
{
    struct rpc_server *s = q->server;
    for (uint32_t m = 0; m < methods_n; m++) {
        if (!s->handles[m])
            continue;
        if (methods[m].kind == METHOD_WATCH || methods[m].kind == METHOD_REFLECT)
            stream_post(q, m);
        else
            unary_post(q, m);
    }
    if (unknown_post(q) != OK)
        log_event(s->options.log, LOG_WARN, "out_of_memory", LOG_STR("where", "unknown methods"),
                  LOG_END);
}

/* Reports that the worker is there, waits until the server has started. False: it will not. */
static bool wait_for_start(struct rpc_server *s, enum err e)
{
    (void)pthread_mutex_lock(&s->mutex);
    s->begun++;
    if (e != OK)
        s->begin_error = e;
    (void)pthread_cond_broadcast(&s->changed);
    while (!s->go && !s->give_up)
        (void)pthread_cond_wait(&s->changed, &s->mutex);
    bool go = s->go && e == OK;
    (void)pthread_mutex_unlock(&s->mutex);
    return go;
}

static void *run_queue(void *arg)
{
    struct queue *q = arg;
    enum err e = handler_open(q->server, &q->handler);
    if (wait_for_start(q->server, e))
        post_all(q);
    /* Also when it never started: the queue must be empty before it is destroyed. */
    for (;;) {
        grpc_event ev =
            grpc_completion_queue_next(q->cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
        if (ev.type == GRPC_QUEUE_SHUTDOWN)
            break;
        if (ev.type == GRPC_OP_COMPLETE) {
            struct tag *tag = ev.tag;
            tag->on(tag, ev.success != 0);
        }
    }
    unary_free_idle(q);
    handler_close(q->handler);
    q->handler = NULL;
    return NULL;
}

static enum err start_threads(struct rpc_server *s)
{
    uint32_t n = 0;
    enum err e = OK;
    for (; e == OK && n < s->queues_n; n++) {
        if (pthread_create(&s->queues[n].thread, NULL, run_queue, &s->queues[n]) != 0) {
            e = ERR_NOMEM;
            break;
        }
        s->queues[n].running = true;
    }
    (void)pthread_mutex_lock(&s->mutex);
    while (s->begun < n)
        (void)pthread_cond_wait(&s->changed, &s->mutex);
    if (e == OK)
        e = s->begin_error;
    (void)pthread_mutex_unlock(&s->mutex);
    return e;
}

static void release_threads(struct rpc_server *s, bool go)
{
    (void)pthread_mutex_lock(&s->mutex);
    s->go = go;
    s->give_up = !go;
    (void)pthread_cond_broadcast(&s->changed);
    (void)pthread_mutex_unlock(&s->mutex);
}

static bool has_blocking(enum rpc_service service)
{
    for (size_t i = 0; i < methods_n; i++)
        if (methods[i].on[service] && methods[i].kind == METHOD_BLOCKING)
            return true;
    return false;
}

static enum err open_parts(struct rpc_server *s, struct err_detail *detail)
{
    if (!s->grpc || !register_methods(s))
        return err_say(detail, ERR_INTERNAL, "the gRPC server cannot be made");
    if (has_blocking(s->options.service))
        TRY(pool_open(s, POOL_THREADS, &s->pool));
    TRY(start_threads(s));
    for (size_t i = 0; i < s->options.addresses_n; i++)
        TRY(listen_add(s->grpc, s->options.addresses[i], &s->options.tls, s->bound[i], detail));
    return OK;
}

enum err rpc_server_open(const struct rpc_options *options, struct rpc_server **ret_server,
                         struct err_detail *detail)
{
    struct rpc_server *s = allocate(options);
    if (!s)
        return err_say(detail, ERR_NOMEM, "out of memory for a server");
    enum err e = open_parts(s, detail);
    if (e == OK) {
        grpc_server_start(s->grpc);
        release_threads(s, true);
        *ret_server = s;
        return OK;
    }
    release_threads(s, false);
    rpc_server_stop_begin(s);
    (void)rpc_server_stop_wait(s, clock_mono_ns());
    rpc_server_close(s);
    return e;
}

const char *rpc_server_address(const struct rpc_server *s, size_t i)
{
    return s->bound[i];
}

/* ---- Taking down ---- */

void rpc_server_stop_begin(struct rpc_server *s)
{
    atomic_store(&s->draining, true);
    if (s->queues_n && s->queues[0].running)
        grpc_server_shutdown_and_notify(s->grpc, s->queues[0].cq, &s->stopped);
    stream_drain(s);
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

bool rpc_server_stop_wait(struct rpc_server *s, int64_t deadline_ns)
{
    struct timespec until = {deadline_ns / 1000000000, deadline_ns % 1000000000};
    bool clean = true;
    if (s->queues_n && s->queues[0].running) {
        clean = wait_stopped(s, &until);
        if (!clean) {
            grpc_server_cancel_all_calls(s->grpc);
            /* Every handler ends by itself or polls `cancelled`; the writer answers each report. */
            (void)wait_stopped(s, NULL);
        }
    }
    for (uint32_t i = 0; i < s->queues_n; i++) {
        struct queue *q = &s->queues[i];
        grpc_completion_queue_shutdown(q->cq);
        if (q->running)
            (void)pthread_join(q->thread, NULL);
        q->running = false;
    }
    pool_close(s->pool);
    s->pool = NULL;
    return clean;
}

void rpc_server_close(struct rpc_server *s)
{
    if (!s)
        return;
    if (s->grpc)
        grpc_server_destroy(s->grpc);
    for (uint32_t i = 0; i < s->queues_n; i++)
        grpc_completion_queue_destroy(s->queues[i].cq);
    grpc_shutdown();
    (void)pthread_cond_destroy(&s->changed);
    (void)pthread_mutex_destroy(&s->mutex);
    mem_free(s);
}
