#include "client/ctl/async_call.h"

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct async_channel {
    grpc_channel *channel;
    grpc_completion_queue *queue;
    void *methods[2];
};

struct async_call {
    grpc_call *call;
    grpc_byte_buffer *request, *response;
    grpc_metadata_array initial, trailing;
    grpc_slice details;
    grpc_status_code status;
};

struct async_channel *async_open(const char *address, const struct call_tls *tls,
                                 char why[CREDENTIALS_WHY_CAP])
{
    struct async_channel *c = calloc(1, sizeof *c);
    why[0] = '\0';
    if (!c)
        return NULL;
    grpc_init();
    grpc_channel_credentials *creds = credentials_new(address, tls, why);
    if (!creds) {
        grpc_shutdown();
        free(c);
        return NULL;
    }
    c->channel = credentials_channel(address, tls, creds);
    grpc_channel_credentials_release(creds);
    c->queue = grpc_completion_queue_create_for_next(NULL);
    c->methods[ASYNC_ROUTE] =
        grpc_channel_register_call(c->channel, "/shunt.v1.Router/RouteRequest", NULL, NULL);
    c->methods[ASYNC_REPORT] =
        grpc_channel_register_call(c->channel, "/shunt.v1.Router/ReportReward", NULL, NULL);
    return c;
}

void async_close(struct async_channel *c)
{
    if (!c)
        return;
    grpc_completion_queue_shutdown(c->queue);
    while (grpc_completion_queue_next(c->queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL).type !=
           GRPC_QUEUE_SHUTDOWN)
        ;
    grpc_completion_queue_destroy(c->queue);
    grpc_channel_destroy(c->channel);
    grpc_shutdown_blocking();
    free(c);
}

struct async_call *async_call_new(void)
{
    return calloc(1, sizeof(struct async_call));
}

static void call_clear(struct async_call *x)
{
    if (!x->call)
        return;
    grpc_call_unref(x->call);
    if (x->request)
        grpc_byte_buffer_destroy(x->request);
    if (x->response)
        grpc_byte_buffer_destroy(x->response);
    grpc_metadata_array_destroy(&x->initial);
    grpc_metadata_array_destroy(&x->trailing);
    grpc_slice_unref(x->details);
    *x = (struct async_call){0};
}

void async_call_free(struct async_call *call)
{
    if (call)
        call_clear(call);
    free(call);
}

static void request_pack(struct async_call *x, const ProtobufCMessage *request)
{
    grpc_slice slice = grpc_slice_malloc(protobuf_c_message_get_packed_size(request));
    protobuf_c_message_pack(request, GRPC_SLICE_START_PTR(slice));
    x->request = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
}

bool async_start(struct async_channel *c, struct async_call *x, enum async_method method,
                 const ProtobufCMessage *request, double timeout_s, void *tag)
{
    gpr_timespec deadline =
        gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                     gpr_time_from_micros((int64_t)(timeout_s * 1e6), GPR_TIMESPAN));
    grpc_op ops[6];
    memset(ops, 0, sizeof ops);
    *x = (struct async_call){.details = grpc_empty_slice()};
    x->call = grpc_channel_create_registered_call(c->channel, NULL, GRPC_PROPAGATE_DEFAULTS,
                                                  c->queue, c->methods[method], deadline, NULL);
    if (!x->call)
        return false;
    grpc_metadata_array_init(&x->initial);
    grpc_metadata_array_init(&x->trailing);
    request_pack(x, request);
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
    if (grpc_call_start_batch(x->call, ops, 6, tag, NULL) == GRPC_CALL_OK)
        return true;
    call_clear(x);
    return false;
}

void async_cancel(struct async_call *x)
{
    if (x->call)
        grpc_call_cancel(x->call, NULL);
}

void *async_next(struct async_channel *c, int wait_ms)
{
    gpr_timespec until =
        gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(wait_ms, GPR_TIMESPAN));
    grpc_event event = grpc_completion_queue_next(c->queue, until, NULL);
    return event.type == GRPC_OP_COMPLETE ? event.tag : NULL;
}

static void slice_text(grpc_slice slice, char *ret, size_t cap)
{
    size_t len = GRPC_SLICE_LENGTH(slice);
    snprintf(ret, cap, "%.*s", (int)(len < cap ? len : cap),
             (const char *)GRPC_SLICE_START_PTR(slice));
}

static int failed(const struct async_call *x, struct call_error *error)
{
    error->status = (int)x->status;
    slice_text(x->details, error->message, sizeof error->message);
    for (size_t i = 0; i < x->trailing.count; i++)
        if (grpc_slice_str_cmp(x->trailing.metadata[i].key, "shunt-code") == 0)
            slice_text(x->trailing.metadata[i].value, error->code, sizeof error->code);
    return error->status;
}

static ProtobufCMessage *response_unpack(const struct async_call *x,
                                         const ProtobufCMessageDescriptor *type)
{
    grpc_byte_buffer_reader reader;
    if (!x->response || !grpc_byte_buffer_reader_init(&reader, x->response))
        return NULL;
    grpc_slice bytes = grpc_byte_buffer_reader_readall(&reader);
    grpc_byte_buffer_reader_destroy(&reader);
    ProtobufCMessage *message = protobuf_c_message_unpack(type, NULL, GRPC_SLICE_LENGTH(bytes),
                                                          GRPC_SLICE_START_PTR(bytes));
    grpc_slice_unref(bytes);
    return message;
}

int async_finish(struct async_call *x, const ProtobufCMessageDescriptor *response,
                 ProtobufCMessage **ret_response, struct call_error *ret_error)
{
    *ret_error = (struct call_error){0};
    int status = (int)x->status;
    if (x->status != GRPC_STATUS_OK) {
        status = failed(x, ret_error);
    } else if (!(*ret_response = response_unpack(x, response))) {
        status = ret_error->status = CALL_INTERNAL;
        snprintf(ret_error->message, sizeof ret_error->message,
                 "the server's answer cannot be read as the expected type");
    }
    call_clear(x);
    return status;
}
