#include "client/call.h"

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct call_channel {
    grpc_channel *channel;
    bool tls;
    pthread_mutex_t lock; /* Guards what follows. */
    pthread_cond_t changed;
    pthread_t keeper;
    bool keeper_runs, wanted, stop;
};

/* gRPC's sockets are read by the threads that wait on its queues, and by nobody else. While a
 * server is away calls fail at once and wait on nothing, so the connection that would end the
 * outage is seen only by a look that gRPC takes every five seconds. The keeper is the thread that
 * waits meanwhile; it sleeps while the connection stands, so that calls do not pay for it. */
static void keeper_reconnect(struct call_channel *c, grpc_completion_queue *queue)
{
    const int64_t look_ms = 100; /* The longest that call_close waits for the keeper. */
    grpc_connectivity_state state = grpc_channel_check_connectivity_state(c->channel, 1);
    if (state == GRPC_CHANNEL_READY) {
        pthread_mutex_lock(&c->lock);
        c->wanted = false;
        pthread_mutex_unlock(&c->lock);
        return;
    }
    gpr_timespec until =
        gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(look_ms, GPR_TIMESPAN));
    grpc_channel_watch_connectivity_state(c->channel, state, until, queue, c);
    (void)grpc_completion_queue_next(queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
}

static void *keeper_run(void *argument)
{
    struct call_channel *c = argument;
    grpc_completion_queue *queue = grpc_completion_queue_create_for_next(NULL);
    pthread_mutex_lock(&c->lock);
    while (!c->stop) {
        if (!c->wanted) {
            pthread_cond_wait(&c->changed, &c->lock);
            continue;
        }
        pthread_mutex_unlock(&c->lock);
        keeper_reconnect(c, queue);
        pthread_mutex_lock(&c->lock);
    }
    pthread_mutex_unlock(&c->lock);
    grpc_completion_queue_shutdown(queue);
    while (grpc_completion_queue_next(queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL).type !=
           GRPC_QUEUE_SHUTDOWN)
        ;
    grpc_completion_queue_destroy(queue);
    return NULL;
}

/* After a call that found no server. Without a thread to spare gRPC's own look has to do. */
static void keeper_wake(struct call_channel *c)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_mutex_lock(&c->lock);
    c->wanted = true;
    if (!c->keeper_runs) {
        pthread_sigmask(SIG_SETMASK, &all, &old); /* Signals are for the host's threads. */
        c->keeper_runs = pthread_create(&c->keeper, NULL, keeper_run, c) == 0;
        pthread_sigmask(SIG_SETMASK, &old, NULL);
    }
    pthread_cond_signal(&c->changed);
    pthread_mutex_unlock(&c->lock);
}

static void keeper_stop(struct call_channel *c)
{
    pthread_mutex_lock(&c->lock);
    bool runs = c->keeper_runs;
    c->stop = true;
    pthread_cond_signal(&c->changed);
    pthread_mutex_unlock(&c->lock);
    if (runs)
        pthread_join(c->keeper, NULL);
}

static int fail(struct call_error *error, int status, const char *message)
{
    error->status = status;
    error->code[0] = '\0';
    (void)snprintf(error->message, sizeof error->message, "%s", message);
    return status;
}

static void channel_open(struct call_channel *c, const char *address, const struct call_tls *tls,
                         struct call_error *error)
{
    char why[CREDENTIALS_WHY_CAP];
    grpc_channel_credentials *creds = credentials_new(address, tls, why);
    if (!creds) {
        (void)fail(error, why[0] ? CALL_INVALID_ARGUMENT : CALL_INTERNAL,
                   why[0] ? why : "out of memory");
        return;
    }
    c->tls = tls != NULL;
    c->channel = credentials_channel(address, tls, creds);
    grpc_channel_credentials_release(creds);
    if (!c->channel)
        (void)fail(error, CALL_INTERNAL, "out of memory");
}

struct call_channel *call_open_tls(const char *address, const struct call_tls *tls,
                                   struct call_error *ret_error)
{
    struct call_channel *c = calloc(1, sizeof *c);
    if (!c) {
        (void)fail(ret_error, CALL_INTERNAL, "out of memory");
        return NULL;
    }
    grpc_init();
    channel_open(c, address, tls, ret_error);
    if (!c->channel) {
        grpc_shutdown();
        free(c);
        return NULL;
    }
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->changed, NULL);
    return c;
}

struct call_channel *call_open(const char *address)
{
    struct call_error error;
    return call_open_tls(address, NULL, &error);
}

void call_close(struct call_channel *channel)
{
    if (!channel)
        return;
    keeper_stop(channel);
    grpc_channel_destroy(channel->channel);
    grpc_shutdown_blocking();
    pthread_cond_destroy(&channel->changed);
    pthread_mutex_destroy(&channel->lock);
    free(channel);
}

static const char *const status_names[] = {
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
};

const char *call_status_name(int status)
{
    int n = (int)(sizeof status_names / sizeof *status_names);
    return status >= 0 && status < n ? status_names[status] : "UNKNOWN";
}

bool call_status_passing(int status)
{
    return status == CALL_UNAVAILABLE || status == CALL_DEADLINE_EXCEEDED ||
           status == CALL_RESOURCE_EXHAUSTED;
}

/* What one call holds while it runs. Everything is released by exchange_done. */
struct exchange {
    grpc_completion_queue *queue;
    grpc_call *call;
    grpc_byte_buffer *request, *response;
    grpc_metadata_array initial, trailing;
    grpc_slice details;
    grpc_status_code status;
};

static void exchange_init(struct exchange *x, grpc_completion_queue *queue)
{
    *x = (struct exchange){.queue = queue, .details = grpc_empty_slice()};
    grpc_metadata_array_init(&x->initial);
    grpc_metadata_array_init(&x->trailing);
}

static bool exchange_pack(struct exchange *x, const ProtobufCMessage *request)
{
    size_t len = protobuf_c_message_get_packed_size(request);
    grpc_slice slice = grpc_slice_malloc(len);
    (void)protobuf_c_message_pack(request, GRPC_SLICE_START_PTR(slice));
    x->request = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    return x->request != NULL;
}

static gpr_timespec deadline_in(double timeout_s)
{
    const double longest_s = 86400;
    if (timeout_s > longest_s)
        timeout_s = longest_s;
    return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                        gpr_time_from_micros((int64_t)(timeout_s * 1e6), GPR_TIMESPAN));
}

/* Runs the whole call as one batch and waits for its end. The status arrives at the deadline at
 * the latest, so the wait itself needs none. false: the batch did not start. */
static bool exchange_run(struct exchange *x)
{
    grpc_op ops[6];
    memset(ops, 0, sizeof ops);
    ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
    ops[1].op = GRPC_OP_SEND_MESSAGE;
    ops[1].data.send_message.send_message = x->request;
    ops[2].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    ops[3].op = GRPC_OP_RECV_INITIAL_METADATA;
    ops[3].data.recv_initial_metadata.recv_initial_metadata = &x->initial;
    ops[4].op = GRPC_OP_RECV_MESSAGE;
    ops[4].data.recv_message.recv_message = &x->response;
    ops[5].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
    ops[5].data.recv_status_on_client.trailing_metadata = &x->trailing;
    ops[5].data.recv_status_on_client.status = &x->status;
    ops[5].data.recv_status_on_client.status_details = &x->details;
    if (grpc_call_start_batch(x->call, ops, 6, x, NULL) != GRPC_CALL_OK)
        return false;
    grpc_event event =
        grpc_completion_queue_pluck(x->queue, x, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    return event.type == GRPC_OP_COMPLETE;
}

static void exchange_done(struct exchange *x)
{
    if (x->call)
        grpc_call_unref(x->call);
    if (x->request)
        grpc_byte_buffer_destroy(x->request);
    if (x->response)
        grpc_byte_buffer_destroy(x->response);
    grpc_metadata_array_destroy(&x->initial);
    grpc_metadata_array_destroy(&x->trailing);
    grpc_slice_unref(x->details);
    grpc_completion_queue_shutdown(x->queue);
    grpc_completion_queue_destroy(x->queue);
}

static void slice_text(grpc_slice slice, char *ret, size_t cap)
{
    size_t len = GRPC_SLICE_LENGTH(slice);
    if (len >= cap)
        len = cap - 1;
    memcpy(ret, GRPC_SLICE_START_PTR(slice), len);
    ret[len] = '\0';
}

/* What gRPC's words for a connection that TLS did not let come about mean, for those who have to
 * mend it. NULL: they speak for themselves. */
static const char *tls_meaning(const char *text)
{
    static const struct {
        const char *says, *means;
    } rows[] = {
        {"ertificate verify failed",
         "the server's certificate is not of those that tls_ca trusts, or not valid today"},
        {"CERTIFICATE_VERIFY_FAILED",
         "the server's certificate is not of those that tls_ca trusts, or not valid today"},
        {"is not in peer certificate",
         "the server's certificate is for another name; if that is right, give the name as "
         "tls_server_name"},
        {"rong version number", "what listens there speaks no TLS"},
        {"WRONG_VERSION_NUMBER", "what listens there speaks no TLS"},
        {"empty address list",
         "tls_cert and tls_key do not go together, or a file of TLS is damaged"},
        {"Socket closed", "the server hung up; it may ask for a certificate (tls_cert) that it "
                          "trusts, or be going away"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strstr(text, rows[i].says))
            return rows[i].means;
    return NULL;
}

static int exchange_failed(const struct call_channel *channel, const struct exchange *x,
                           struct call_error *error)
{
    char message[sizeof error->message];
    slice_text(x->details, message, sizeof message);
    (void)fail(error, (int)x->status, message[0] ? message : call_status_name((int)x->status));
    const char *means =
        channel->tls && (int)x->status == CALL_UNAVAILABLE ? tls_meaning(message) : NULL;
    if (means)
        (void)snprintf(error->message, sizeof error->message, "%s (%.512s)", means, message);
    for (size_t i = 0; i < x->trailing.count; i++)
        if (grpc_slice_str_cmp(x->trailing.metadata[i].key, "shunt-code") == 0)
            slice_text(x->trailing.metadata[i].value, error->code, sizeof error->code);
    return error->status;
}

static int exchange_unpack(const struct exchange *x, const ProtobufCMessageDescriptor *type,
                           ProtobufCMessage **ret, struct call_error *error)
{
    grpc_byte_buffer_reader reader;
    if (!x->response || !grpc_byte_buffer_reader_init(&reader, x->response))
        return fail(error, CALL_INTERNAL, "the server sent no readable message");
    grpc_slice bytes = grpc_byte_buffer_reader_readall(&reader);
    grpc_byte_buffer_reader_destroy(&reader);
    ProtobufCMessage *message = protobuf_c_message_unpack(type, NULL, GRPC_SLICE_LENGTH(bytes),
                                                          GRPC_SLICE_START_PTR(bytes));
    grpc_slice_unref(bytes);
    if (!message)
        return fail(error, CALL_INTERNAL,
                    "the server's answer cannot be read as the expected type");
    *ret = message;
    return fail(error, 0, "");
}

int call_unary(struct call_channel *channel, const char *path, const ProtobufCMessage *request,
               const ProtobufCMessageDescriptor *response, double timeout_s,
               ProtobufCMessage **ret_response, struct call_error *ret_error)
{
    int status;
    if (!(timeout_s > 0)) /* gRPC would still try, and sometimes be quick enough. */
        return fail(ret_error, CALL_DEADLINE_EXCEEDED, "no time is left for the call");
    struct exchange x;
    exchange_init(&x, grpc_completion_queue_create_for_pluck(NULL));
    grpc_slice method = grpc_slice_from_copied_string(path);
    x.call = grpc_channel_create_call(channel->channel, NULL, GRPC_PROPAGATE_DEFAULTS, x.queue,
                                      method, NULL, deadline_in(timeout_s), NULL);
    grpc_slice_unref(method);
    if (!x.call || !exchange_pack(&x, request) || !exchange_run(&x))
        status = fail(ret_error, CALL_INTERNAL, "the call could not be started");
    else if (x.status != GRPC_STATUS_OK)
        status = exchange_failed(channel, &x, ret_error);
    else
        status = exchange_unpack(&x, response, ret_response, ret_error);
    exchange_done(&x);
    if (status == CALL_UNAVAILABLE)
        keeper_wake(channel);
    return status;
}

/* ---- a stream ---- */

enum stream_tag { STREAM_STATUS = 1, STREAM_READ, STREAM_WRITTEN };

struct call_stream {
    struct call_channel *channel;
    struct exchange x;  /* request: being written; response: being read. */
    bool writing, over; /* over: the status is there. */
};

static bool stream_start(struct call_stream *s, const grpc_op *ops, size_t n, enum stream_tag tag)
{
    return grpc_call_start_batch(s->x.call, ops, n, (void *)(uintptr_t)tag, NULL) == GRPC_CALL_OK;
}

static void stream_read(struct call_stream *s)
{
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};
    op.data.recv_message.recv_message = &s->x.response;
    (void)stream_start(s, &op, 1, STREAM_READ); /* If not, the status is there already. */
}

static bool stream_begin(struct call_stream *s, const char *path)
{
    grpc_slice method = grpc_slice_from_copied_string(path);
    s->x.call =
        grpc_channel_create_call(s->channel->channel, NULL, GRPC_PROPAGATE_DEFAULTS, s->x.queue,
                                 method, NULL, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    grpc_slice_unref(method);
    if (!s->x.call)
        return false;
    grpc_op ops[3] = {{.op = GRPC_OP_SEND_INITIAL_METADATA},
                      {.op = GRPC_OP_RECV_INITIAL_METADATA},
                      {.op = GRPC_OP_RECV_STATUS_ON_CLIENT}};
    ops[1].data.recv_initial_metadata.recv_initial_metadata = &s->x.initial;
    ops[2].data.recv_status_on_client.trailing_metadata = &s->x.trailing;
    ops[2].data.recv_status_on_client.status = &s->x.status;
    ops[2].data.recv_status_on_client.status_details = &s->x.details;
    if (!stream_start(s, ops, 3, STREAM_STATUS))
        return false;
    stream_read(s);
    return true;
}

struct call_stream *call_stream_open(struct call_channel *channel, const char *path)
{
    struct call_stream *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->channel = channel;
    exchange_init(&s->x, grpc_completion_queue_create_for_next(NULL));
    s->over = !stream_begin(s, path);
    return s;
}

void call_stream_close(struct call_stream *s)
{
    if (!s)
        return;
    if (s->x.call && !s->over)
        (void)grpc_call_cancel(s->x.call, NULL);
    /* What is open comes back first. */
    grpc_completion_queue_shutdown(s->x.queue);
    while (grpc_completion_queue_next(s->x.queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL).type !=
           GRPC_QUEUE_SHUTDOWN)
        ;
    exchange_done(&s->x);
    free(s);
}

bool call_stream_write(struct call_stream *s, const void *bytes, size_t len, bool more)
{
    grpc_op op = {.op = GRPC_OP_SEND_MESSAGE};
    if (s->writing || s->over)
        return false;
    if (s->x.request)
        grpc_byte_buffer_destroy(s->x.request);
    grpc_slice slice = grpc_slice_from_copied_buffer(bytes, len);
    s->x.request = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    op.flags = more ? GRPC_WRITE_BUFFER_HINT : 0;
    op.data.send_message.send_message = s->x.request;
    s->writing = stream_start(s, &op, 1, STREAM_WRITTEN);
    return s->writing;
}

bool call_stream_writing(const struct call_stream *s)
{
    return s->writing;
}

static ProtobufCMessage *stream_take(struct call_stream *s, const ProtobufCMessageDescriptor *type)
{
    struct call_error unreadable;
    ProtobufCMessage *message = NULL;
    (void)exchange_unpack(&s->x, type, &message, &unreadable);
    grpc_byte_buffer_destroy(s->x.response);
    s->x.response = NULL;
    return message;
}

static enum call_event stream_over(struct call_stream *s, struct call_error *error)
{
    s->over = true;
    if (!s->x.call)
        (void)fail(error, CALL_INTERNAL, "the stream could not be started");
    else if (s->x.status == GRPC_STATUS_OK)
        (void)fail(error, CALL_UNAVAILABLE, "the server ended the stream");
    else
        (void)exchange_failed(s->channel, &s->x, error);
    if (error->status == CALL_UNAVAILABLE)
        keeper_wake(s->channel);
    return CALL_OVER;
}

enum call_event call_stream_next(struct call_stream *s, const ProtobufCMessageDescriptor *type,
                                 double wait_s, ProtobufCMessage **ret_message,
                                 struct call_error *ret_error)
{
    gpr_timespec until = wait_s > 0 ? deadline_in(wait_s) : gpr_inf_past(GPR_CLOCK_MONOTONIC);
    for (;;) {
        if (s->over)
            return stream_over(s, ret_error);
        grpc_event ev = grpc_completion_queue_next(s->x.queue, until, NULL);
        if (ev.type != GRPC_OP_COMPLETE)
            return CALL_IDLE;
        switch ((enum stream_tag)(uintptr_t)ev.tag) {
        case STREAM_WRITTEN:
            s->writing = false;
            return CALL_WRITTEN;
        case STREAM_STATUS:
            return stream_over(s, ret_error);
        case STREAM_READ:
            if (!s->x.response) /* The status is on its way. */
                continue;
            *ret_message = stream_take(s, type);
            stream_read(s);
            return CALL_MESSAGE;
        }
    }
}
