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
    struct run *run;
    grpc_call *call;
    grpc_byte_buffer *request, *response;
    grpc_metadata_array initial, trailing;
    grpc_status_code status;
    grpc_slice details;
    uint64_t i;
    int64_t began_ns;
};

/* One load of those that share a thread and a queue. */
struct run {
    const struct load *load;
    grpc_completion_queue *cq;
    void *method;
    struct lane *lanes, **idle;
    uint32_t idle_n, lanes_n;
    uint64_t next;
    bool over; /* Nothing left to ask. */
    int64_t until_ns;
    struct meter meter;
    struct load_result *result;
};

grpc_channel *load_open(const char *address)
{
    static const struct {
        const char *name;
        int value;
    } settings[] = {{"grpc.enable_retries", 0},
                    {"grpc.enable_http_proxy", 0},
                    {"grpc.use_local_subchannel_pool", 1}}; /* A connection of its own. */
    enum { N = sizeof settings / sizeof *settings };
    char keys[N][40];
    grpc_arg args[N];
    for (size_t i = 0; i < N; i++) {
        (void)snprintf(keys[i], sizeof keys[i], "%s", settings[i].name);
        args[i] = (grpc_arg){.type = GRPC_ARG_INTEGER, .key = keys[i]};
        args[i].value.integer = settings[i].value;
    }
    grpc_channel_args all = {N, args};
    grpc_channel_credentials *creds = grpc_insecure_credentials_create();
    grpc_channel *channel = grpc_channel_create(address, creds, &all);
    grpc_channel_credentials_release(creds);
    return channel;
}

/* Starts the lane's next call, which was due at `due_ns`; false when there is nothing left to ask.
 */
static bool begin(struct run *r, struct lane *lane, int64_t due_ns)
{
    struct load_message m;
    lane->i = r->next;
    if (!r->load->request(r->load->ctx, lane->i, &m))
        return false;
    r->next++;
    gpr_timespec until = gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                                      gpr_time_from_seconds(CALL_TIMEOUT_S, GPR_TIMESPAN));
    grpc_slice bytes = grpc_slice_from_copied_buffer((const char *)m.bytes, m.len);
    lane->request = grpc_raw_byte_buffer_create(&bytes, 1);
    grpc_slice_unref(bytes);
    lane->response = NULL;
    lane->details = grpc_empty_slice();
    lane->began_ns = due_ns;
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

/* Of a load with a rate calls are due at even distances, whether or not the answers to those before
 * are there: one that finds every lane busy counts from when it was due. */
static void begin_due(struct run *r)
{
    while (r->idle_n && !r->over) {
        int64_t now = meter_now_ns(), due = now;
        if (r->load->rate > 0)
            due = r->meter.began_ns + (int64_t)((double)r->next * 1e9 / r->load->rate);
        if (due > now)
            return;
        r->over = due >= r->until_ns || !begin(r, r->idle[r->idle_n - 1], due);
        if (!r->over)
            r->idle_n--;
    }
}

/* Whoever waits for a time does not sleep: a queue's timers are milliseconds, too coarse. */
static gpr_timespec patience(const struct run *runs, size_t n)
{
    for (size_t k = 0; k < n; k++)
        if (runs[k].load->rate > 0 && !runs[k].over)
            return gpr_inf_past(GPR_CLOCK_MONOTONIC);
    return gpr_inf_future(GPR_CLOCK_MONOTONIC);
}

static bool is_done(const struct run *runs, size_t n)
{
    for (size_t k = 0; k < n; k++)
        if (!runs[k].over || runs[k].idle_n < runs[k].lanes_n)
            return false;
    return true;
}

static void loop(struct run *runs, size_t n)
{
    for (;;) {
        for (size_t k = 0; k < n; k++)
            begin_due(&runs[k]);
        if (is_done(runs, n))
            return;
        grpc_event ev = grpc_completion_queue_next(runs[0].cq, patience(runs, n), NULL);
        if (ev.type != GRPC_OP_COMPLETE)
            continue;
        struct lane *lane = ev.tag;
        finish(lane->run, lane);
        lane->run->idle[lane->run->idle_n++] = lane;
    }
}

static void run_open(struct run *r, const struct load *l, grpc_completion_queue *cq,
                     struct load_result *ret)
{
    uint32_t n = l->in_flight < LOAD_IN_FLIGHT_MAX ? l->in_flight : LOAD_IN_FLIGHT_MAX;
    *r = (struct run){.load = l, .cq = cq, .result = ret, .idle_n = n, .lanes_n = n};
    memset(ret, 0, sizeof *ret);
    r->lanes = calloc(n, sizeof *r->lanes);
    r->idle = calloc(n, sizeof(*r->idle));
    if (!r->lanes || !r->idle)
        abort();
    for (uint32_t i = 0; i < n; i++) {
        grpc_metadata_array_init(&r->lanes[i].initial);
        grpc_metadata_array_init(&r->lanes[i].trailing);
        r->lanes[i].run = r;
        r->idle[i] = &r->lanes[i];
    }
    r->method = grpc_channel_register_call(l->channel, l->path, NULL, NULL);
    meter_begin(&r->meter, l->server);
    r->until_ns = r->meter.began_ns + (int64_t)(l->seconds * 1e9);
}

static void run_close(struct run *r)
{
    meter_end(&r->meter, r->result);
    for (uint32_t i = 0; i < r->lanes_n; i++) {
        grpc_metadata_array_destroy(&r->lanes[i].initial);
        grpc_metadata_array_destroy(&r->lanes[i].trailing);
    }
    free(r->lanes);
    free(r->idle);
}

void load_run_all(const struct load *loads, size_t n, struct load_result *ret)
{
    struct run runs[LOADS_MAX];
    grpc_completion_queue *cq = grpc_completion_queue_create_for_next(NULL);
    if (n == 0 || n > LOADS_MAX)
        abort();
    for (size_t k = 0; k < n; k++)
        run_open(&runs[k], &loads[k], cq, &ret[k]);
    loop(runs, n);
    for (size_t k = 0; k < n; k++)
        run_close(&runs[k]);
    grpc_completion_queue_shutdown(cq);
    while (grpc_completion_queue_next(cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL).type !=
           GRPC_QUEUE_SHUTDOWN)
        ;
    grpc_completion_queue_destroy(cq);
}

void load_run(const struct load *l, struct load_result *ret)
{
    load_run_all(l, 1, ret);
}
