#include "tests/bench/load.h"
#include "tests/bench/meter.h"

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc_security.h>
#include <grpc/support/time.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CALL_TIMEOUT_S = 60 };

struct lane {
    grpc_call *call;
    grpc_byte_buffer *request, *response;
    grpc_metadata_array initial, trailing;
    grpc_status_code status;
    grpc_slice details;
    uint64_t i;
    int64_t began_ns;
};

struct run {
    const struct load *load;
    grpc_completion_queue *cq;
    void *method;
    uint64_t next, open;
    struct meter meter;
    struct load_result *result;
};

grpc_channel *load_open(const char *address)
{
    const char *const names[] = {"grpc.enable_retries", "grpc.enable_http_proxy"};
    char keys[2][40];
    grpc_arg args[2];
    for (size_t i = 0; i < 2; i++) {
        (void)snprintf(keys[i], sizeof keys[i], "%s", names[i]);
        args[i] = (grpc_arg){.type = GRPC_ARG_INTEGER, .key = keys[i]};
    }
    grpc_channel_args all = {2, args};
    grpc_channel_credentials *creds = grpc_insecure_credentials_create();
    grpc_channel *channel = grpc_channel_create(address, creds, &all);
    grpc_channel_credentials_release(creds);
    return channel;
}

/* Starts the lane's next call; false when there is nothing left to ask. */
static bool begin(struct run *r, struct lane *lane)
{
    struct load_message m;
    lane->i = r->next;
    if (!r->load->request(r->load->ctx, lane->i, &m))
        return false;
    r->next++;
    r->open++;
    gpr_timespec until = gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                                      gpr_time_from_seconds(CALL_TIMEOUT_S, GPR_TIMESPAN));
    grpc_slice bytes = grpc_slice_from_copied_buffer((const char *)m.bytes, m.len);
    lane->request = grpc_raw_byte_buffer_create(&bytes, 1);
    grpc_slice_unref(bytes);
    lane->response = NULL;
    lane->details = grpc_empty_slice();
    lane->began_ns = meter_now_ns();
    lane->call = grpc_channel_create_registered_call(
        r->load->channel, NULL, GRPC_PROPAGATE_DEFAULTS, r->cq, r->method, until, NULL);
    grpc_op ops[6] = {
        {.op = GRPC_OP_SEND_INITIAL_METADATA},  {.op = GRPC_OP_SEND_MESSAGE},
        {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT}, {.op = GRPC_OP_RECV_INITIAL_METADATA},
        {.op = GRPC_OP_RECV_MESSAGE},           {.op = GRPC_OP_RECV_STATUS_ON_CLIENT}};
    ops[1].data.send_message.send_message = lane->request;
    ops[3].data.recv_initial_metadata.recv_initial_metadata = &lane->initial;
    ops[4].data.recv_message.recv_message = &lane->response;
    ops[5].data.recv_status_on_client.trailing_metadata = &lane->trailing;
    ops[5].data.recv_status_on_client.status = &lane->status;
    ops[5].data.recv_status_on_client.status_details = &lane->details;
    if (grpc_call_start_batch(lane->call, ops, 6, lane, NULL) != GRPC_CALL_OK)
        abort();
    return true;
}

static void take_response(struct run *r, struct lane *lane)
{
    grpc_byte_buffer_reader reader;
    if (!r->load->response || !lane->response ||
        !grpc_byte_buffer_reader_init(&reader, lane->response))
        return;
    grpc_slice bytes = grpc_byte_buffer_reader_readall(&reader);
    r->load->response(r->load->ctx, lane->i, GRPC_SLICE_START_PTR(bytes), GRPC_SLICE_LENGTH(bytes));
    grpc_slice_unref(bytes);
    grpc_byte_buffer_reader_destroy(&reader);
}

static void finish(struct run *r, struct lane *lane)
{
    r->open--;
    meter_call(&r->meter, lane->began_ns);
    r->result->calls++;
    if (lane->status == GRPC_STATUS_OK) {
        take_response(r, lane);
    } else if (r->result->errors++ == 0) {
        (void)snprintf(r->result->first_error, sizeof r->result->first_error, "status %d: %.*s",
                       (int)lane->status, (int)GRPC_SLICE_LENGTH(lane->details),
                       (const char *)GRPC_SLICE_START_PTR(lane->details));
    }
    grpc_slice_unref(lane->details);
    grpc_byte_buffer_destroy(lane->request);
    if (lane->response)
        grpc_byte_buffer_destroy(lane->response);
    grpc_call_unref(lane->call);
}

static void loop(struct run *r, int64_t until_ns)
{
    while (r->open) {
        grpc_event ev =
            grpc_completion_queue_next(r->cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
        struct lane *lane = ev.tag;
        finish(r, lane);
        if (meter_now_ns() < until_ns)
            (void)begin(r, lane);
    }
}

void load_run(const struct load *l, struct load_result *ret)
{
    struct run r = {.load = l, .result = ret};
    uint32_t n = l->in_flight < LOAD_IN_FLIGHT_MAX ? l->in_flight : LOAD_IN_FLIGHT_MAX;
    struct lane *lanes = calloc(n, sizeof *lanes);
    memset(ret, 0, sizeof *ret);
    if (!lanes)
        abort();
    r.cq = grpc_completion_queue_create_for_next(NULL);
    r.method = grpc_channel_register_call(l->channel, l->path, NULL, NULL);
    meter_begin(&r.meter, l->server);
    for (uint32_t i = 0; i < n; i++) {
        grpc_metadata_array_init(&lanes[i].initial);
        grpc_metadata_array_init(&lanes[i].trailing);
        (void)begin(&r, &lanes[i]);
    }
    loop(&r, r.meter.began_ns + (int64_t)(l->seconds * 1e9));
    meter_end(&r.meter, ret);
    for (uint32_t i = 0; i < n; i++) {
        grpc_metadata_array_destroy(&lanes[i].initial);
        grpc_metadata_array_destroy(&lanes[i].trailing);
    }
    grpc_completion_queue_shutdown(r.cq);
    while (grpc_completion_queue_next(r.cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL).type !=
           GRPC_QUEUE_SHUTDOWN)
        ;
    grpc_completion_queue_destroy(r.cq);
    free(lanes);
}
