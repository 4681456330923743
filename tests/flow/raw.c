#include "tests/flow/raw.h"

#include <grpc/byte_buffer.h>
#include <grpc/grpc_security.h>
#include <grpc/support/time.h>
#include <stdio.h>
#include <string.h>

grpc_channel *raw_open(const char *address)
{
    char key[] = "grpc.enable_http_proxy", limit[] = "grpc.max_send_message_length";
    grpc_arg args[2] = {{.type = GRPC_ARG_INTEGER, .key = key},
                        {.type = GRPC_ARG_INTEGER, .key = limit}};
    args[1].value.integer = -1;
    grpc_channel_args all = {2, args};
    grpc_channel_credentials *creds = grpc_insecure_credentials_create();
    grpc_channel *channel = grpc_channel_create(address, creds, &all);
    grpc_channel_credentials_release(creds);
    return channel;
}

static void copy_slice(const grpc_slice s, char *ret_text, size_t cap)
{
    size_t n = GRPC_SLICE_LENGTH(s) < cap - 1 ? GRPC_SLICE_LENGTH(s) : cap - 1;
    memcpy(ret_text, GRPC_SLICE_START_PTR(s), n);
    ret_text[n] = '\0';
}

static void read_trailers(const grpc_metadata_array *trailers, struct raw_call *c)
{
    for (size_t i = 0; i < trailers->count; i++)
        if (grpc_slice_str_cmp(trailers->metadata[i].key, "shunt-code") == 0)
            copy_slice(trailers->metadata[i].value, c->code, sizeof c->code);
}

void raw_run(grpc_channel *channel, struct raw_call *c)
{
    grpc_completion_queue *cq = grpc_completion_queue_create_for_pluck(NULL);
    gpr_timespec until =
        gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                     gpr_time_from_nanos((int64_t)(c->timeout_s * 1e9), GPR_TIMESPAN));
    grpc_slice path = grpc_slice_from_copied_string(c->path);
    grpc_call *call = grpc_channel_create_call(channel, NULL, GRPC_PROPAGATE_DEFAULTS, cq, path,
                                               NULL, until, NULL);
    grpc_slice_unref(path);
    grpc_slice bytes = grpc_slice_from_copied_buffer(c->bytes, c->len);
    grpc_byte_buffer *request = grpc_raw_byte_buffer_create(&bytes, 1), *response = NULL;
    grpc_metadata_array initial, trailing;
    grpc_slice details = grpc_empty_slice();
    grpc_metadata_array_init(&initial);
    grpc_metadata_array_init(&trailing);
    grpc_op ops[6] = {
        {.op = GRPC_OP_SEND_INITIAL_METADATA},  {.op = GRPC_OP_SEND_MESSAGE},
        {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT}, {.op = GRPC_OP_RECV_INITIAL_METADATA},
        {.op = GRPC_OP_RECV_MESSAGE},           {.op = GRPC_OP_RECV_STATUS_ON_CLIENT}};
    ops[1].data.send_message.send_message = request;
    ops[3].data.recv_initial_metadata.recv_initial_metadata = &initial;
    ops[4].data.recv_message.recv_message = &response;
    ops[5].data.recv_status_on_client.trailing_metadata = &trailing;
    ops[5].data.recv_status_on_client.status = &c->status;
    ops[5].data.recv_status_on_client.status_details = &details;
    (void)grpc_call_start_batch(call, ops, 6, c, NULL);
    if (c->cancel)
        (void)grpc_call_cancel(call, NULL);
    (void)grpc_completion_queue_pluck(cq, c, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    c->code[0] = '\0';
    read_trailers(&trailing, c);
    copy_slice(details, c->message, sizeof c->message);
    c->response_len = response ? grpc_byte_buffer_length(response) : 0;
    if (response)
        grpc_byte_buffer_destroy(response);
    grpc_byte_buffer_destroy(request);
    grpc_slice_unref(bytes);
    grpc_slice_unref(details);
    grpc_metadata_array_destroy(&initial);
    grpc_metadata_array_destroy(&trailing);
    grpc_call_unref(call);
    grpc_completion_queue_shutdown(cq);
    grpc_completion_queue_destroy(cq);
}
