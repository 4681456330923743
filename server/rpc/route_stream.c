/* route_stream.c - RouteStream: requests are read one after another and decided on the queue's
 * thread; results go out in order, a few reservations of strict budgets apart.
 *
 * Why answers are held back: a result that leaves alone costs a system call, more than deciding it.
 * So a result is handed to the core with GRPC_WRITE_BUFFER_HINT while another one follows, and the
 * last one waits until the thread has nothing else to do (route_streams_flush): then a burst of
 * requests that was read together is answered together.
 * Bounds: STREAM_WORK results that are not yet taken by the transport, or STREAM_BYTES of them:
 * then nothing is read, so a client that does not take its answers is held by HTTP/2's flow
 * control. ROUTE_STREAMS_MAX streams a server.
 * Threads: everything of a stream is under its lock, since the writer's thread brings reservations;
 * deciding is not. Lock order: the server's, the stream's. */
#include "server/engine/engine_session.h"
#include "server/ops/clock.h"
#include "server/rpc/core.h"
#include "server/rpc/message.h"
#include "server/rpc/routed.h"
#include "server/rpc/wire.h"
#include "state/base/mem.h"

#include <grpc/byte_buffer.h>
#include <string.h>

enum { ROUTE_STREAMS_MAX = 256, STREAM_WORK = 64, STREAM_BYTES = 256 * 1024 };
enum { TAG_FIELD = 1, REQUEST_FIELD = 2 };

struct route_stream {
    struct tag arrived, read, written, finished, closed;
    struct queue *queue;
    uint32_t method;
    grpc_call *grpc;
    gpr_timespec deadline;
    grpc_metadata_array metadata;

    pthread_mutex_t lock;      /* Guards what follows. */
    grpc_byte_buffer *request; /* Being read. */
    grpc_byte_buffer *sent;    /* With the core. */
    grpc_byte_buffer *answers[STREAM_WORK];
    uint32_t first, answers_n;       /* Of the ring. */
    uint32_t waits_n;                /* Reservations on their way; each has a place in the ring. */
    size_t bytes;                    /* Of `answers`, and of those that wait. */
    unsigned tags_left;              /* Of batches that are not back, and one while `held`. */
    bool reading, deciding, closing; /* closing: the client has said all. */
    bool flush;                      /* The last answer need not wait for another one. */
    bool ending, gone;               /* The status was sent; nothing can be sent. */
    bool begun;                      /* Initial metadata is sent, or on its way. */
    bool failed, counted, listed;
    enum err refusal; /* What the stream ends with. */
    struct failure failure;
    int cancelled;

    struct route_stream *next_holding; /* The queue's thread's; while `held`. */
    bool held;
    struct route_stream *next; /* The server's. */
};

/* A result whose reservation is on its way. */
struct parked {
    struct route_wait wait;
    struct route_stream *stream;
    uint64_t tag;
    grpc_byte_buffer *answer;
    int64_t began_ns;
};

/* ---- the end of it ---- */

static void unlist(struct route_stream *s)
{
    struct rpc_server *server = s->queue->server;
    (void)pthread_mutex_lock(&server->mutex);
    for (struct route_stream **p = &server->route_streams; *p; p = &(*p)->next)
        if (*p == s) {
            *p = s->next;
            server->route_streams_n--;
            break;
        }
    (void)pthread_mutex_unlock(&server->mutex);
}

static void drop_answers(struct route_stream *s)
{
    while (s->answers_n) {
        s->bytes -= grpc_byte_buffer_length(s->answers[s->first]);
        grpc_byte_buffer_destroy(s->answers[s->first]);
        s->first = (s->first + 1) % STREAM_WORK;
        s->answers_n--;
    }
}

/* Maybe on the herald's thread: the count is what a server that stops waits for, so it goes last.
 */
static void stream_free(struct route_stream *s)
{
    _Atomic uint32_t *in_flight = s->counted ? s->queue->server->in_flight : NULL;
    if (s->listed)
        unlist(s);
    drop_answers(s);
    if (s->request)
        grpc_byte_buffer_destroy(s->request);
    if (s->sent)
        grpc_byte_buffer_destroy(s->sent);
    if (s->failed)
        failure_done(&s->failure);
    grpc_metadata_array_destroy(&s->metadata);
    (void)pthread_mutex_destroy(&s->lock);
    if (s->grpc)
        grpc_call_unref(s->grpc);
    mem_free(s);
    if (in_flight)
        atomic_fetch_sub(in_flight, 1);
}

/* Unlocks; the last one out frees. Only whoever has a tag or a reservation of the stream, or is
 * deciding for it, may be in it, so nobody else can come. */
static void leave(struct route_stream *s)
{
    bool last = s->tags_left == 0 && s->waits_n == 0 && !s->deciding;
    (void)pthread_mutex_unlock(&s->lock);
    if (last)
        stream_free(s);
}

/* ---- with the lock ---- */

static void start(struct route_stream *s, const grpc_op *ops, size_t n, struct tag *tag)
{
    s->tags_left++;
    start_batch(s->grpc, ops, n, tag);
}

static void finish(struct route_stream *s, enum err e, const struct err_detail *detail)
{
    grpc_op ops[2];
    size_t n = 0;
    if (s->ending || s->gone)
        return;
    s->ending = true;
    if (!s->begun) /* Refused, or drained, before anything was sent. */
        ops[n++] = (grpc_op){.op = GRPC_OP_SEND_INITIAL_METADATA};
    if (e != OK) {
        failure_init(&s->failure, (int)e, detail);
        s->failed = true;
    }
    ops[n++] = failure_op(e == OK ? NULL : &s->failure);
    start(s, ops, n, &s->finished);
}

static void send_first(struct route_stream *s)
{
    grpc_op op = {.op = GRPC_OP_SEND_MESSAGE};
    s->sent = s->answers[s->first];
    s->first = (s->first + 1) % STREAM_WORK;
    s->answers_n--;
    s->bytes -= grpc_byte_buffer_length(s->sent);
    if (s->answers_n)
        op.flags = GRPC_WRITE_BUFFER_HINT;
    op.data.send_message.send_message = s->sent;
    start(s, &op, 1, &s->written);
}

static void read_next(struct route_stream *s)
{
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};
    op.data.recv_message.recv_message = &s->request;
    s->reading = true;
    start(s, &op, 1, &s->read);
}

/* Does whatever can be done next. */
static void pump(struct route_stream *s)
{
    if (s->ending || s->gone)
        return;
    if (s->answers_n == 0)
        s->flush = false;
    bool over = s->closing && !s->reading && !s->deciding;
    if (!s->sent && (s->answers_n > 1 || (s->answers_n == 1 && (s->flush || over))))
        send_first(s);
    bool room = s->answers_n + s->waits_n < STREAM_WORK && s->bytes < STREAM_BYTES;
    if (!s->reading && !s->deciding && !s->closing && room)
        read_next(s);
    bool idle = !s->sent && s->answers_n == 0 && s->waits_n == 0 && !s->deciding;
    if (s->closing && idle)
        finish(s, s->refusal, NULL);
}

static void put_answer(struct route_stream *s, grpc_byte_buffer *answer)
{
    s->answers[(s->first + s->answers_n) % STREAM_WORK] = answer;
    s->answers_n++;
    s->bytes += grpc_byte_buffer_length(answer);
}

/* On the queue's thread: an answer may lie here that nothing pushes on. */
static void hold(struct route_stream *s)
{
    struct loop_thread *t = s->queue->on;
    if (s->held || s->answers_n == 0 || s->sent || s->ending || s->gone)
        return;
    s->held = true;
    s->tags_left++;
    s->next_holding = t->holding;
    t->holding = s;
}

void route_streams_flush(struct loop_thread *t)
{
    struct route_stream *s = t->holding;
    t->holding = NULL;
    while (s) {
        struct route_stream *next = s->next_holding;
        (void)pthread_mutex_lock(&s->lock);
        s->held = false;
        s->tags_left--;
        s->flush = true;
        pump(s);
        leave(s);
        s = next;
    }
}

/* ---- one request ---- */

static grpc_byte_buffer *pack(struct routed *r, uint64_t tag)
{
    r->result.has_tag = true;
    r->result.tag = tag;
    grpc_slice bytes = grpc_slice_malloc(routed_max(r));
    GRPC_SLICE_SET_LENGTH(bytes, routed_pack(r, GRPC_SLICE_START_PTR(bytes)));
    return payload_take(bytes);
}

/* On the herald's or the writer's thread. */
static void on_reserved(struct route_wait *wait, enum err e, const struct err_detail *detail)
{
    struct parked *p = wait->ctx;
    struct route_stream *s = p->stream;
    size_t counted = grpc_byte_buffer_length(p->answer);
    if (e != OK) {
        struct routed r;
        shunt__v1__route_result__init(&r.result);
        routed_refuse(&r, e, detail);
        grpc_byte_buffer_destroy(p->answer);
        p->answer = pack(&r, p->tag);
    }
    rpc_metrics_count(s->queue->server->options.metrics, s->method, (int)e, p->began_ns);
    (void)pthread_mutex_lock(&s->lock);
    s->waits_n--;
    s->bytes -= counted;
    put_answer(s, p->answer);
    s->flush = true;
    pump(s);
    leave(s);
    route_wait_done(&p->wait);
    mem_free(p);
}

/* The answer's place in the ring is kept. False: it is answered now, with what `r` is by then. */
static bool park(struct route_stream *s, struct handler *h, struct routed *r, uint64_t tag,
                 int64_t began_ns)
{
    struct err_detail detail = {""};
    struct parked *p = mem_calloc(1, sizeof *p);
    if (!p) {
        engine_route_give_back(h->worker, &h->route_out);
        routed_refuse(r, ERR_NOMEM, &detail);
        return false;
    }
    p->stream = s;
    p->tag = tag;
    p->began_ns = began_ns;
    p->answer = pack(r, tag);
    p->wait.done = on_reserved;
    p->wait.ctx = p;
    size_t len = grpc_byte_buffer_length(p->answer);
    (void)pthread_mutex_lock(&s->lock);
    s->waits_n++; /* Before it can come back. */
    s->bytes += len;
    (void)pthread_mutex_unlock(&s->lock);
    enum err e = engine_route_wait(h->worker, &h->route_out, &p->wait, &detail);
    if (e == OK)
        return true;
    (void)pthread_mutex_lock(&s->lock);
    s->waits_n--;
    s->bytes -= len;
    (void)pthread_mutex_unlock(&s->lock);
    grpc_byte_buffer_destroy(p->answer);
    route_wait_done(&p->wait);
    mem_free(p);
    routed_refuse(r, e, &detail);
    return false;
}

/* tag = 1, request = 2, other fields are passed over; of one that comes twice the last counts. */
static enum err split(struct slice body, uint64_t *ret_tag, struct slice *ret_request)
{
    struct wire_field field;
    *ret_tag = 0;
    *ret_request = (struct slice){NULL, 0};
    while (wire_next(&body, &field)) {
        if (field.number == TAG_FIELD && field.type == WIRE_VARINT)
            *ret_tag = field.value;
        if (field.number == REQUEST_FIELD && field.type == WIRE_BYTES)
            *ret_request = field.bytes;
    }
    return body.len ? ERR_PARSE : OK;
}

/* Without the lock. ret_answer NULL: it comes later. An error ends the stream. */
static enum err decide(struct route_stream *s, grpc_byte_buffer *message,
                       grpc_byte_buffer **ret_answer, struct err_detail *detail)
{
    struct handler *h = s->queue->on->handler;
    struct rpc_server *server = s->queue->server;
    struct routed r;
    struct slice body, request;
    grpc_slice whole = grpc_empty_slice();
    int64_t began_ns = clock_mono_ns();
    uint64_t tag = 0;
    *ret_answer = NULL;
    enum err e = payload_view(message, &whole, &body, detail);
    if (e == OK && split(body, &tag, &request) != OK)
        e = err_say(detail, ERR_PARSE, "the bytes are not a shunt.v1.RouteStreamRequest");
    if (e == OK) {
        routed_run(h, request, route_bytes_max(server), NULL, &r);
        if (!r.waits || !park(s, h, &r, tag, began_ns)) {
            *ret_answer = pack(&r, tag);
            rpc_metrics_count(server->options.metrics, s->method, (int)r.err, began_ns);
        }
        arena_reset(&h->arena);
    }
    grpc_slice_unref(whole);
    return e;
}

/* Unlocked and locked again around the work. */
static void take(struct route_stream *s)
{
    struct err_detail detail = {""};
    grpc_byte_buffer *message = s->request, *answer = NULL;
    s->request = NULL;
    s->deciding = true;
    (void)pthread_mutex_unlock(&s->lock);
    enum err e = decide(s, message, &answer, &detail);
    grpc_byte_buffer_destroy(message);
    (void)pthread_mutex_lock(&s->lock);
    s->deciding = false;
    if (answer)
        put_answer(s, answer);
    if (e != OK) {
        rpc_metrics_count(s->queue->server->options.metrics, s->method, (int)e, 0);
        finish(s, e, &detail);
    }
}

/* ---- what comes back ---- */

/* Locks. Not ok: the caller is gone; recv-close brings the end, for certain once it is cancelled.
 */
static void enter(struct route_stream *s, bool ok)
{
    (void)pthread_mutex_lock(&s->lock);
    s->tags_left--;
    if (!ok && !s->ending && !s->gone)
        (void)grpc_call_cancel(s->grpc, NULL);
    s->gone = s->gone || !ok;
}

static void on_read(struct tag *tag, bool ok)
{
    struct route_stream *s = TAG_OWNER(tag, struct route_stream, read);
    enter(s, ok);
    s->reading = false;
    if (!s->request)
        s->closing = true;
    else if (!s->ending && !s->gone)
        take(s);
    pump(s);
    hold(s);
    leave(s);
}

static void on_written(struct tag *tag, bool ok)
{
    struct route_stream *s = TAG_OWNER(tag, struct route_stream, written);
    enter(s, ok);
    grpc_byte_buffer_destroy(s->sent);
    s->sent = NULL;
    pump(s);
    hold(s);
    leave(s);
}

static void on_finished(struct tag *tag, bool ok)
{
    struct route_stream *s = TAG_OWNER(tag, struct route_stream, finished);
    enter(s, ok);
    leave(s);
}

static void on_closed(struct tag *tag, bool ok)
{
    struct route_stream *s = TAG_OWNER(tag, struct route_stream, closed);
    enter(s, ok);
    s->gone = true; /* Whether answered or cancelled: nothing can be sent any more. */
    drop_answers(s);
    leave(s);
}

/* ---- the beginning of it ---- */

/* Why it is not taken, or OK; then the server knows it. */
static enum err admit(struct route_stream *s, struct err_detail *detail)
{
    struct rpc_server *server = s->queue->server;
    uint32_t before = atomic_fetch_add(server->in_flight, 1);
    s->counted = true;
    if (!s->queue->on->handler)
        return ERR_SHUTTING_DOWN;
    if (before >= server->options.max_in_flight)
        return err_say(detail, ERR_OVERLOADED, "%u calls are in flight", before);
    (void)pthread_mutex_lock(&server->mutex);
    bool draining = atomic_load(&server->draining);
    bool full = server->route_streams_n >= ROUTE_STREAMS_MAX;
    if (!draining && !full) {
        s->listed = true;
        s->next = server->route_streams;
        server->route_streams = s;
        server->route_streams_n++;
    }
    (void)pthread_mutex_unlock(&server->mutex);
    if (draining)
        return ERR_SHUTTING_DOWN;
    return full ? err_say(detail, ERR_OVERLOADED, "%d streams are open", ROUTE_STREAMS_MAX) : OK;
}

static void begin(struct route_stream *s)
{
    struct err_detail detail = {""};
    enum err e = admit(s, &detail);
    (void)pthread_mutex_lock(&s->lock);
    grpc_op op = {.op = GRPC_OP_RECV_CLOSE_ON_SERVER};
    op.data.recv_close_on_server.cancelled = &s->cancelled;
    start(s, &op, 1, &s->closed);
    if (s->ending) { /* It was listed, so a drain came first: its status is on its way. */
        leave(s);
        return;
    }
    if (e == OK) {
        s->begun = true;
        atomic_fetch_add(&s->queue->server->options.metrics->route_streams, 1);
        grpc_op ops[2] = {{.op = GRPC_OP_SEND_INITIAL_METADATA}, {.op = GRPC_OP_RECV_MESSAGE}};
        ops[1].data.recv_message.recv_message = &s->request;
        s->reading = true;
        start(s, ops, 2, &s->read);
    } else {
        rpc_metrics_count(s->queue->server->options.metrics, s->method, (int)e, 0);
        finish(s, e, &detail);
    }
    leave(s);
}

static void on_arrived(struct tag *tag, bool ok)
{
    struct route_stream *s = TAG_OWNER(tag, struct route_stream, arrived);
    if (!ok) {
        s->grpc = NULL;
        stream_free(s);
        return;
    }
    if (!atomic_load(&s->queue->server->draining))
        route_stream_post(s->queue, s->method);
    begin(s);
}

void route_stream_post(struct queue *q, uint32_t method)
{
    struct route_stream *s = mem_calloc(1, sizeof *s);
    if (!s)
        return; /* Calls wait in the core; memory is short everywhere. */
    s->arrived.on = on_arrived;
    s->read.on = on_read;
    s->written.on = on_written;
    s->finished.on = on_finished;
    s->closed.on = on_closed;
    s->queue = q;
    s->method = method;
    (void)pthread_mutex_init(&s->lock, NULL);
    grpc_metadata_array_init(&s->metadata);
    if (grpc_server_request_registered_call(q->server->grpc, q->server->handles[method], &s->grpc,
                                            &s->deadline, &s->metadata, NULL, q->on->cq, q->on->cq,
                                            &s->arrived) != GRPC_CALL_OK)
        stream_free(s);
}

void route_streams_drain(struct rpc_server *server)
{
    (void)pthread_mutex_lock(&server->mutex);
    for (struct route_stream *s = server->route_streams; s; s = s->next) {
        (void)pthread_mutex_lock(&s->lock);
        s->closing = s->flush = true; /* A request that is being read is not taken any more. */
        s->refusal = ERR_SHUTTING_DOWN;
        pump(s);
        (void)pthread_mutex_unlock(&s->lock);
    }
    (void)pthread_mutex_unlock(&server->mutex);
}
