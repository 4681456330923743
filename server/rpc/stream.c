/* stream.c - the two streams of the standard services, Health.Watch and ServerReflectionInfo, and
 * WatchResidency. All read a message, answer it, and then wait: reflection for the next question,
 * a watcher of health for the drain, one of residency for the next pass of the thread that tells
 * them (watchers.c). Everything of a stream happens under the server's mutex, and nothing that
 * waits or has much to do does: a queue's thread takes it.
 * Each stream has at most one batch out beside its recv-close.
 */
#include "grpc/health/v1/health.pb-c.h"
#include "server/ops/ready.h"
#include "server/rpc/core.h"
#include "server/rpc/message.h"
#include "server/rpc/reflect.h"
#include "shunt/v1/admin.pb-c.h"
#include "state/base/mem.h"

#include <grpc/byte_buffer.h>
#include <stdio.h>
#include <string.h>

enum { STREAMS_MAX = 64 };

#define SERVING GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING
#define NOT_SERVING GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING
#define UNKNOWN_SERVICE GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN

struct stream {
    struct tag arrived, read, written, finished, closed;
    struct queue *queue;
    uint32_t method;
    grpc_call *grpc;
    gpr_timespec deadline;
    grpc_metadata_array metadata;
    grpc_byte_buffer *request, *response;
    struct failure failure;
    bool failed, ending, listed, watching, known;
    bool residency, behind, due; /* It watches a router's adapters; it has not heard the last; the
                                    pass that runs tells it. */
    char router[NAME_CAP];
    int cancelled;
    unsigned tags_left;
    struct stream *next;
};

static void start(struct stream *s, const grpc_op *ops, size_t n, struct tag *tag)
{
    s->tags_left++;
    start_batch(s->grpc, ops, n, tag);
}

static void unlist(struct stream *s)
{
    struct rpc_server *server = s->queue->server;
    for (struct stream **p = &server->streams; *p; p = &(*p)->next)
        if (*p == s) {
            *p = s->next;
            server->streams_n--;
            return;
        }
}

static void stream_free(struct stream *s)
{
    if (s->listed)
        unlist(s);
    if (s->request)
        grpc_byte_buffer_destroy(s->request);
    if (s->response)
        grpc_byte_buffer_destroy(s->response);
    if (s->failed)
        failure_done(&s->failure);
    grpc_metadata_array_destroy(&s->metadata);
    if (s->grpc)
        grpc_call_unref(s->grpc);
    mem_free(s);
}

/* The last thing said; e OK ends it well. */
static void finish(struct stream *s, enum err e, const struct err_detail *detail)
{
    grpc_op ops[2];
    size_t n = 0;
    if (s->ending)
        return;
    s->ending = true;
    if (!s->listed) /* Refused before anything was sent. */
        ops[n++] = (grpc_op){.op = GRPC_OP_SEND_INITIAL_METADATA};
    if (e != OK) {
        failure_init(&s->failure, (int)e, detail);
        s->failed = true;
    }
    ops[n++] = failure_op(e == OK ? NULL : &s->failure);
    rpc_metrics_count(s->queue->server->options.metrics, s->method, (int)e, 0);
    start(s, ops, n, &s->finished);
}

/* Takes the bytes. */
static void send_bytes(struct stream *s, grpc_byte_buffer *bytes)
{
    if (s->response)
        grpc_byte_buffer_destroy(s->response);
    s->response = bytes;
    grpc_op op = {.op = GRPC_OP_SEND_MESSAGE};
    op.data.send_message.send_message = s->response;
    start(s, &op, 1, &s->written);
}

static void send(struct stream *s, const ProtobufCMessage *m)
{
    send_bytes(s, payload_pack(m));
}

/* A watcher of residency that can be sent something: only its recv-close is out. */
static bool can_hear(const struct stream *s)
{
    return s->residency && !s->ending && s->tags_left == 1;
}

static enum err watch_residency(struct stream *s, const char *router, struct err_detail *detail)
{
    /* The default one has one name here, so that it is built once a pass. */
    int n = snprintf(s->router, sizeof s->router, "%s", router && router[0] ? router : "default");
    if (n >= (int)sizeof s->router)
        return err_say(detail, ERR_BAD_NAME, "the router's name has %d bytes; at most %d", n,
                       NAME_CAP - 1);
    s->watching = s->residency = s->behind = true;
    watchers_wake(s->queue->server->watchers);
    return OK;
}

static void send_state(struct stream *s)
{
    Grpc__Health__V1__HealthCheckResponse m = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    m.status = UNKNOWN_SERVICE;
    if (s->known)
        m.status = ready_check(s->queue->server->options.ready, NULL) ? SERVING : NOT_SERVING;
    send(s, &m.base);
}

static void read_next(struct stream *s)
{
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};
    if (s->request)
        grpc_byte_buffer_destroy(s->request);
    s->request = NULL;
    op.data.recv_message.recv_message = &s->request;
    start(s, &op, 1, &s->read);
}

/* One question came: answers it. */
static enum err answer(struct stream *s, struct err_detail *detail)
{
    struct handler *h = s->queue->on->handler;
    const struct method *m = &methods[s->method];
    ProtobufCMessage *request, *response;
    grpc_slice hold = grpc_empty_slice();
    h->service = service_name(s->queue->server->options.service);
    enum err e = payload_view(s->request, &hold, &h->body, detail);
    if (e == OK)
        e = message_unpack(m->request, h->body, &h->arena, &request, detail);
    if (e == OK && m->kind == METHOD_RESIDENCY) {
        e = watch_residency(s, ((Shunt__V1__WatchResidencyRequest *)request)->router, detail);
    } else if (e == OK && m->kind == METHOD_WATCH) {
        const char *name = ((Grpc__Health__V1__HealthCheckRequest *)request)->service;
        s->known = !name || !name[0] || strcmp(name, h->service) == 0;
        s->watching = true;
        send_state(s);
    } else if (e == OK) {
        e = reflect(request, h->service, &h->arena, &response, detail);
        if (e == OK)
            send(s, response);
    }
    arena_reset(&h->arena);
    grpc_slice_unref(hold);
    return e;
}

/* Locks, and tells whether the stream is still to be worked on. Ends with leave(). */
static bool enter(struct stream *s, bool ok)
{
    (void)pthread_mutex_lock(&s->queue->server->mutex);
    s->tags_left--;
    if (!ok && !s->ending) { /* The caller is gone; recv-close brings the end. */
        s->ending = true;
        (void)grpc_call_cancel(s->grpc, NULL);
    }
    return !s->ending;
}

static void leave(struct stream *s)
{
    struct rpc_server *server = s->queue->server;
    if (s->tags_left == 0)
        stream_free(s);
    (void)pthread_mutex_unlock(&server->mutex);
}

static void on_read(struct tag *tag, bool ok)
{
    struct stream *s = TAG_OWNER(tag, struct stream, read);
    struct err_detail detail;
    detail.text[0] = '\0';
    if (enter(s, ok)) {
        if (!s->request) {
            finish(s, OK, NULL); /* The client said all it wanted to. */
        } else {
            enum err e = answer(s, &detail);
            if (e != OK)
                finish(s, e, &detail);
        }
    }
    leave(s);
}

static void on_written(struct tag *tag, bool ok)
{
    struct stream *s = TAG_OWNER(tag, struct stream, written);
    if (enter(s, ok)) {
        if (atomic_load(&s->queue->server->draining))
            finish(s, ERR_SHUTTING_DOWN, NULL);
        else if (s->residency)
            watchers_wake(s->queue->server->watchers); /* It may be behind by now. */
        else if (!s->watching)
            read_next(s);
    }
    leave(s);
}

static void on_finished(struct tag *tag, bool ok)
{
    struct stream *s = TAG_OWNER(tag, struct stream, finished);
    (void)enter(s, ok);
    leave(s);
}

static void on_closed(struct tag *tag, bool ok)
{
    struct stream *s = TAG_OWNER(tag, struct stream, closed);
    (void)enter(s, ok);
    s->ending = true; /* Whether answered or cancelled: nothing can be sent any more. */
    leave(s);
}

static void begin(struct stream *s)
{
    struct rpc_server *server = s->queue->server;
    grpc_op op = {.op = GRPC_OP_RECV_CLOSE_ON_SERVER};
    op.data.recv_close_on_server.cancelled = &s->cancelled;
    start(s, &op, 1, &s->closed);
    if (server->streams_n >= STREAMS_MAX || atomic_load(&server->draining)) {
        finish(s, atomic_load(&server->draining) ? ERR_SHUTTING_DOWN : ERR_OVERLOADED, NULL);
        return;
    }
    s->listed = true;
    s->next = server->streams;
    server->streams = s;
    server->streams_n++;
    grpc_op ops[2] = {{.op = GRPC_OP_SEND_INITIAL_METADATA}, {.op = GRPC_OP_RECV_MESSAGE}};
    ops[1].data.recv_message.recv_message = &s->request;
    start(s, ops, 2, &s->read);
}

static void on_arrived(struct tag *tag, bool ok)
{
    struct stream *s = TAG_OWNER(tag, struct stream, arrived);
    struct rpc_server *server = s->queue->server;
    if (!ok) {
        s->grpc = NULL;
        stream_free(s);
        return;
    }
    if (!atomic_load(&server->draining))
        stream_post(s->queue, s->method);
    (void)pthread_mutex_lock(&server->mutex);
    begin(s);
    (void)pthread_mutex_unlock(&server->mutex);
}

void stream_post(struct queue *q, uint32_t method)
{
    struct stream *s = mem_calloc(1, sizeof *s);
    if (!s)
        return; /* Calls wait in the core; memory is short everywhere. */
    s->arrived.on = on_arrived;
    s->read.on = on_read;
    s->written.on = on_written;
    s->finished.on = on_finished;
    s->closed.on = on_closed;
    s->queue = q;
    s->method = method;
    grpc_metadata_array_init(&s->metadata);
    if (grpc_server_request_registered_call(q->server->grpc, q->server->handles[method], &s->grpc,
                                            &s->deadline, &s->metadata, NULL, q->on->cq, q->on->cq,
                                            &s->arrived) != GRPC_CALL_OK)
        stream_free(s);
}

void stream_drain(struct rpc_server *server)
{
    (void)pthread_mutex_lock(&server->mutex);
    for (struct stream *s = server->streams; s; s = s->next) {
        if (s->ending)
            continue;
        /* A parked watcher hears the new state, and on_written ends it. Whoever is in the middle of
         * writing is ended there too. A question not yet asked will not be. */
        bool parked = s->tags_left == 1;
        if (parked && s->watching && !s->residency)
            send_state(s);
        else if (!s->watching || (parked && s->residency))
            finish(s, ERR_SHUTTING_DOWN, NULL);
    }
    (void)pthread_mutex_unlock(&server->mutex);
}

/* ---- watchers of residency ---- */

void streams_residency(void *rpc_server, struct engine_worker *w)
{
    struct rpc_server *server = rpc_server;
    (void)w;
    (void)pthread_mutex_lock(&server->mutex);
    for (struct stream *s = server->streams; s; s = s->next)
        s->behind = s->behind || s->residency;
    watchers_wake(server->watchers);
    (void)pthread_mutex_unlock(&server->mutex);
}

bool streams_residency_begin(struct rpc_server *server, bool begin)
{
    bool any = false;
    for (struct stream *s = server->streams; s; s = s->next) {
        bool due = can_hear(s) && s->behind;
        any = any || due;
        if (begin) {
            s->due = due;
            s->behind = s->behind && !due; /* What changes from here on is for the next pass. */
        }
    }
    return any;
}

bool streams_residency_next(const struct rpc_server *server, char ret_router[NAME_CAP])
{
    for (const struct stream *s = server->streams; s; s = s->next)
        if (s->due && can_hear(s)) {
            memcpy(ret_router, s->router, NAME_CAP);
            return true;
        }
    return false;
}

void streams_residency_send(struct rpc_server *server, const char *router, enum err e,
                            grpc_byte_buffer *bytes, const struct err_detail *detail)
{
    for (struct stream *s = server->streams; s; s = s->next) {
        if (!s->due || !can_hear(s) || strcmp(s->router, router) != 0)
            continue;
        s->due = false;
        if (e == OK)
            send_bytes(s, grpc_byte_buffer_copy(bytes)); /* Its slices are shared. */
        else if (e != ERR_ADAPTERS_PENDING) /* The slow loop comes to it: that is a change. */
            finish(s, e, detail);
    }
}
