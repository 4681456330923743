/* unary.c - the life of a call: posted, arrived, answered, let go.
 * INLINE and DEFERRED calls start one batch [initial metadata, message, status, recv-close] and
 * come back with one tag: whether the caller is still there changes nothing of what is done. Calls
 * that run on a pool start recv-close under its own tag first, so that a caller who went away is
 * seen, and come back with two. */
#include "server/engine/engine_session.h"
#include "server/ops/clock.h"
#include "server/rpc/codec_plain.h"
#include "server/rpc/core.h"
#include "server/rpc/handlers.h"
#include "server/rpc/message.h"
#include "state/base/mem.h"

#include <grpc/byte_buffer.h>
#include <grpc/support/time.h>

struct call {
    struct tag arrived, answered, closed;
    struct queue *queue;
    uint32_t method; /* Index of its row. */
    grpc_call *grpc;
    gpr_timespec deadline;
    grpc_metadata_array metadata;
    grpc_byte_buffer *request, *response;
    struct failure failure;
    bool failed;       /* failure is set. */
    int cancelled;     /* The core's. */
    _Atomic bool gone; /* The caller went away: a long handler may give up. */
    unsigned tags_left;
    int64_t began_ns;
    struct report_call report; /* Of METHOD_DEFERRED; its buffer is kept between calls. */
    struct route_wait wait;    /* Of a RouteRequest that spends from a strict budget. */
    struct call *next;
};

enum {
    /* Requests kept posted for decisions and ReportReward, and for everything else. Few: Debian's
     * core looks for every event's tag among all that are outstanding, one after the other. */
    POSTED_BUSY = 16,
    POSTED_QUIET = 1,
    SPARE_CALLS = 512,  /* Beyond max_in_flight: enough to post, and to refuse with. */
    TEXT_SLACK = 262144 /* Bytes of a RouteRequest beside its text: 256 KiB. */
};

static uint32_t posted_goal(const struct method *m)
{
    bool busy = m->kind == METHOD_ROUTE || m->kind == METHOD_BATCH || m->kind == METHOD_DEFERRED;
    return busy ? POSTED_BUSY : POSTED_QUIET;
}

static void on_arrived(struct tag *tag, bool ok);
static void on_answered(struct tag *tag, bool ok);
static void on_closed(struct tag *tag, bool ok);
static void on_report_done(struct report_call *report, enum err e, const struct report_out *out,
                           const struct err_detail *detail);
static void on_reserved(struct route_wait *wait, enum err e, const struct err_detail *detail);

static struct call *take_idle(struct queue *q)
{
    struct call *c = q->idle;
    if (c) {
        q->idle = c->next;
        return c;
    }
    if (q->calls_n >= q->server->options.max_in_flight + SPARE_CALLS)
        return NULL;
    c = mem_calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->arrived.on = on_arrived;
    c->answered.on = on_answered;
    c->closed.on = on_closed;
    c->queue = q;
    c->report.done = on_report_done;
    c->report.ctx = c;
    c->wait.done = on_reserved;
    c->wait.ctx = c;
    grpc_metadata_array_init(&c->metadata);
    q->calls_n++;
    return c;
}

static void owe(struct queue *q, uint32_t method)
{
    q->owed[method]++;
    q->owed_n++;
}

static void post_one(struct queue *q, uint32_t method)
{
    struct rpc_server *s = q->server;
    struct call *c = take_idle(q);
    if (!c) { /* Calls of this method wait in the core until one is let go. */
        owe(q, method);
        return;
    }
    c->method = method;
    c->grpc = NULL;
    c->request = c->response = NULL;
    c->failed = false;
    c->cancelled = 0;
    atomic_store_explicit(&c->gone, false, memory_order_relaxed);
    grpc_call_error e = grpc_server_request_registered_call(s->grpc, s->handles[method], &c->grpc,
                                                            &c->deadline, &c->metadata, &c->request,
                                                            q->on->cq, q->on->cq, &c->arrived);
    if (e != GRPC_CALL_OK) {
        c->next = q->idle;
        q->idle = c;
        owe(q, method);
    }
}

void unary_post(struct queue *q, uint32_t method)
{
    uint32_t n = posted_goal(&methods[method]);
    while (n--)
        post_one(q, method);
}

void unary_free_idle(struct queue *q)
{
    while (q->idle) {
        struct call *c = q->idle;
        q->idle = c->next;
        grpc_metadata_array_destroy(&c->metadata);
        report_call_done(&c->report);
        route_wait_done(&c->wait);
        mem_free(c);
        q->calls_n--;
    }
}

struct call **unary_next(struct call *call)
{
    return &call->next;
}

static void let_go(struct call *c)
{
    struct queue *q = c->queue;
    if (c->request)
        grpc_byte_buffer_destroy(c->request);
    if (c->response)
        grpc_byte_buffer_destroy(c->response);
    if (c->failed)
        failure_done(&c->failure);
    if (c->grpc) {
        if (!methods[c->method].standard)
            atomic_fetch_sub(q->server->in_flight, 1);
        grpc_call_unref(c->grpc);
    }
    c->next = q->idle;
    q->idle = c;
    if (atomic_load_explicit(&q->server->draining, memory_order_relaxed))
        return;
    for (uint32_t m = 0; q->owed_n && m < methods_n && q->idle; m++)
        while (q->owed[m] && q->idle) {
            q->owed[m]--;
            q->owed_n--;
            post_one(q, m);
        }
}

static void tag_back(struct call *c)
{
    if (--c->tags_left == 0)
        let_go(c);
}

static void on_answered(struct tag *tag, bool ok)
{
    (void)ok; /* A caller that went away needs no answer. */
    tag_back(TAG_OWNER(tag, struct call, answered));
}

static void on_closed(struct tag *tag, bool ok)
{
    struct call *c = TAG_OWNER(tag, struct call, closed);
    if (!ok || c->cancelled)
        atomic_store(&c->gone, true);
    tag_back(c);
}

static grpc_op close_op(struct call *c)
{
    grpc_op op = {.op = GRPC_OP_RECV_CLOSE_ON_SERVER};
    op.data.recv_close_on_server.cancelled = &c->cancelled;
    return op;
}

/* Sends what the call holds. After this the call may be gone: touch it no more, unless on its
 * queue's thread. */
static void answer(struct call *c, bool with_close)
{
    grpc_op ops[4];
    size_t n = 0;
    ops[n++] = (grpc_op){.op = GRPC_OP_SEND_INITIAL_METADATA};
    if (!c->failed && c->response) {
        ops[n] = (grpc_op){.op = GRPC_OP_SEND_MESSAGE};
        ops[n++].data.send_message.send_message = c->response;
    }
    ops[n++] = failure_op(c->failed ? &c->failure : NULL);
    if (with_close)
        ops[n++] = close_op(c);
    start_batch(c->grpc, ops, n, &c->answered);
}

static void settle(struct call *c, int code, const struct err_detail *detail)
{
    if (code != OK) {
        failure_init(&c->failure, code, detail);
        c->failed = true;
    }
    rpc_metrics_count(c->queue->server->options.metrics, c->method, code, c->began_ns);
}

/* Sets the answer and counts it. */
static void conclude(struct call *c, int code, const ProtobufCMessage *response,
                     const struct err_detail *detail)
{
    if (code == OK)
        c->response = payload_pack(response);
    settle(c, code, detail);
}

static bool is_inline(const struct method *m)
{
    return m->kind == METHOD_INLINE || m->kind == METHOD_ROUTE;
}

/* Reads the message into the handler's arena. */
static enum err take_message(struct call *c, struct handler *h, grpc_slice *hold,
                             ProtobufCMessage **ret_message, struct err_detail *detail)
{
    TRY(payload_view(c->request, hold, &h->body, detail));
    return message_unpack(methods[c->method].request, h->body, &h->arena, ret_message, detail);
}

/* On the herald's or the writer's thread. The answer was packed before it was known whether it may
 * be given. */
static void on_reserved(struct route_wait *wait, enum err e, const struct err_detail *detail)
{
    struct call *c = wait->ctx;
    settle(c, (int)e, detail);
    answer(c, true);
}

/* The answer of a handler: `response`, or without one the plain decision. */
static grpc_byte_buffer *pack(const struct handler *h, const ProtobufCMessage *response)
{
    if (response)
        return payload_pack(response);
    grpc_slice bytes = grpc_slice_malloc(codec_plain_max(&h->route_out));
    GRPC_SLICE_SET_LENGTH(bytes, codec_plain_pack(&h->route_out, GRPC_SLICE_START_PTR(bytes)));
    return payload_take(bytes);
}

/* Packs the answer and hands the call to the writer; then it may be answered by now. */
static enum err wait_for_commit(struct call *c, struct handler *h, const ProtobufCMessage *response,
                                struct err_detail *detail)
{
    c->response = pack(h, response);
    return engine_route_wait(h->worker, &h->route_out, &c->wait, detail);
}

static enum err handle(struct call *c, struct handler *h, grpc_slice *hold,
                       ProtobufCMessage **ret_response, struct err_detail *detail)
{
    const struct method *m = &methods[c->method];
    ProtobufCMessage *request = NULL;
    if (m->kind == METHOD_ROUTE) {
        TRY(payload_view(c->request, hold, &h->body, detail));
        return handle_route_request(h, h->body, ret_response, detail);
    }
    TRY(take_message(c, h, hold, &request, detail));
    return m->run(h, request, ret_response, detail);
}

void unary_run(struct call *c, struct handler *h)
{
    const struct method *m = &methods[c->method];
    struct err_detail detail;
    ProtobufCMessage *response = NULL;
    grpc_slice hold = grpc_empty_slice();
    detail.text[0] = '\0';
    h->service = service_name(c->queue->server->options.service);
    h->cancelled = is_inline(m) ? NULL : &c->gone;
    enum err e = OK;
    if (h->cancelled && atomic_load(h->cancelled))
        e = ERR_CANCELLED; /* It waited in vain. */
    if (e == OK)
        e = handle(c, h, &hold, &response, &detail);
    bool waits = e == OK && h->waits;
    h->waits = false;
    if (waits)
        e = wait_for_commit(c, h, response, &detail);
    if (!waits && e == OK)
        c->response = pack(h, response);
    if (!waits || e != OK)
        settle(c, (int)e, &detail);
    arena_reset(&h->arena);
    grpc_slice_unref(hold);
    if (!waits || e != OK)
        answer(c, is_inline(m));
}

/* On the herald's or the writer's thread, or inside engine_report. */
static void on_report_done(struct report_call *report, enum err e, const struct report_out *out,
                           const struct err_detail *detail)
{
    struct call *c = report->ctx;
    struct report_answer a;
    if (e == OK)
        codec_report_out(out, &a);
    conclude(c, (int)e, e == OK ? &a.message.base : NULL, detail);
    answer(c, true);
}

static void run_deferred(struct call *c, struct handler *h)
{
    struct err_detail detail;
    ProtobufCMessage *request = NULL;
    grpc_slice hold = grpc_empty_slice();
    detail.text[0] = '\0';
    enum err e = take_message(c, h, &hold, &request, &detail);
    if (e == OK)
        e = methods[c->method].start(h, request, &c->report, &detail);
    if (e != OK) { /* Else the call belongs to the writer, and may be answered by now. */
        conclude(c, (int)e, NULL, &detail);
        answer(c, true);
    }
    arena_reset(&h->arena);
    grpc_slice_unref(hold);
}

static void on_batch_done(void *ctx, enum err e, grpc_byte_buffer *answer_bytes)
{
    struct call *c = ctx;
    struct err_detail detail = {""};
    c->response = answer_bytes;
    settle(c, (int)e, &detail);
    answer(c, true);
}

static void run_batch(struct call *c, struct handler *h)
{
    struct err_detail detail = {""};
    struct slice body;
    grpc_slice hold = grpc_empty_slice();
    grpc_byte_buffer *response = NULL;
    enum err e = payload_view(c->request, &hold, &body, &detail);
    if (e == OK)
        e = batch_run(h, body, route_bytes_max(c->queue->server), on_batch_done, c, &response,
                      &detail);
    grpc_slice_unref(hold);
    if (e == OK && !response) /* It is answered by now, or will be. */
        return;
    c->response = response;
    settle(c, (int)e, &detail);
    answer(c, true);
}

size_t route_bytes_max(const struct rpc_server *s)
{
    return (size_t)s->options.max_text_bytes + TEXT_SLACK;
}

/* The core gives deadlines on the monotonic clock, which was read when the call arrived. */
static bool is_late(const struct call *c)
{
    enum { SECOND_NS = 1000000000 };
    if (c->deadline.clock_type != GPR_CLOCK_MONOTONIC)
        return gpr_time_cmp(c->deadline, gpr_now(c->deadline.clock_type)) <= 0;
    int64_t s = c->began_ns / SECOND_NS;
    return c->deadline.tv_sec < s ||
           (c->deadline.tv_sec == s && c->deadline.tv_nsec <= c->began_ns % SECOND_NS);
}

/* Whether the call may be worked on; else what to say. */
static int admit(struct call *c, uint32_t in_flight, struct err_detail *detail)
{
    const struct rpc_options *o = &c->queue->server->options;
    const struct method *m = &methods[c->method];
    if (!c->queue->on->handler) /* The start failed; this one slipped in. */
        return ERR_SHUTTING_DOWN;
    if (m->standard)
        return OK;
    if (in_flight >= o->max_in_flight)
        return (int)err_say(detail, ERR_OVERLOADED, "%u calls are in flight", in_flight);
    if (is_late(c))
        return CODE_DEADLINE;
    size_t len = c->request ? grpc_byte_buffer_length(c->request) : 0;
    size_t max = m->max_bytes;
    if (!max && o->service == RPC_ROUTER)
        max = route_bytes_max(c->queue->server);
    if (max && len > max)
        return (int)err_say(detail, ERR_TOO_LARGE, "the message has %zu bytes; at most %zu", len,
                            max);
    return OK;
}

static void on_arrived(struct tag *tag, bool ok)
{
    struct call *c = TAG_OWNER(tag, struct call, arrived);
    struct queue *q = c->queue;
    const struct method *m = &methods[c->method];
    struct err_detail detail;
    if (!ok) { /* The server shuts down. */
        c->grpc = NULL;
        let_go(c);
        return;
    }
    if (!atomic_load_explicit(&q->server->draining, memory_order_relaxed))
        post_one(q, c->method);
    detail.text[0] = '\0';
    c->began_ns = clock_mono_ns();
    uint32_t before = m->standard ? 0 : atomic_fetch_add(q->server->in_flight, 1);
    int refused = admit(c, before, &detail);
    bool pooled = m->kind == METHOD_BLOCKING || m->kind == METHOD_LONG;
    c->tags_left = pooled && !refused ? 2 : 1;
    if (refused) {
        conclude(c, refused, NULL, &detail);
        answer(c, true);
    } else if (is_inline(m)) {
        unary_run(c, q->on->handler);
    } else if (m->kind == METHOD_BATCH) {
        run_batch(c, q->on->handler);
    } else if (m->kind == METHOD_DEFERRED) {
        run_deferred(c, q->on->handler);
    } else {
        grpc_op op = close_op(c);
        start_batch(c->grpc, &op, 1, &c->closed);
        pool_put(m->kind == METHOD_LONG ? q->server->quiet : q->server->pool, c);
    }
}
