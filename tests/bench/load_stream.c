/* One stream, n messages in flight. As the server does, messages are handed to the core with
 * GRPC_WRITE_BUFFER_HINT while another one follows, and the last one leaves when the queue has
 * nothing else to do: whoever pipelines should not pay a system call a message. */
#include "tests/bench/load.h"
#include "tests/bench/meter.h"

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/support/time.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STREAM_TIMEOUT_S = 300 };
enum tag { TAG_STATUS = 1, TAG_READ, TAG_WRITTEN, TAG_CLOSED };

struct streaming {
    const struct load *load;
    grpc_completion_queue *cq;
    grpc_call *call;
    grpc_byte_buffer *sent, *got;
    grpc_metadata_array initial, trailing;
    grpc_status_code status;
    grpc_slice details;
    struct meter meter;
    struct load_result *result;
    int64_t began_ns[LOAD_IN_FLIGHT_MAX]; /* By number, modulo. */
    int64_t until_ns;
    uint64_t next, answered; /* Numbers: of the next to be sent, of the next to be answered. */
    uint32_t ready;          /* To be sent. */
    bool writing, closed, over;
};

static void *name(enum tag tag)
{
    return (void *)(uintptr_t)tag;
}

static void start(struct streaming *s, const grpc_op *op, size_t n, enum tag tag)
{
    if (grpc_call_start_batch(s->call, op, n, name(tag), NULL) != GRPC_CALL_OK)
        abort();
}

static void read_next(struct streaming *s)
{
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};
    op.data.recv_message.recv_message = &s->got;
    start(s, &op, 1, TAG_READ);
}

static void close_if_done(struct streaming *s)
{
    grpc_op op = {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT};
    if (s->closed || s->writing || s->answered < s->next || meter_now_ns() < s->until_ns)
        return;
    s->closed = true;
    start(s, &op, 1, TAG_CLOSED);
}

/* Sends one when there are more, or when nothing else is to do. */
static void send_next(struct streaming *s, bool idle)
{
    struct load_message m;
    if (s->writing || s->closed || s->ready == 0 || (s->ready == 1 && !idle))
        return;
    if (meter_now_ns() >= s->until_ns || !s->load->request(s->load->ctx, s->next, &m)) {
        s->until_ns = 0;
        s->ready = 0;
        close_if_done(s);
        return;
    }
    grpc_slice bytes = grpc_slice_from_copied_buffer((const char *)m.bytes, m.len);
    s->sent = grpc_raw_byte_buffer_create(&bytes, 1);
    grpc_slice_unref(bytes);
    s->began_ns[s->next++ % LOAD_IN_FLIGHT_MAX] = meter_now_ns();
    grpc_op op = {.op = GRPC_OP_SEND_MESSAGE};
    op.data.send_message.send_message = s->sent;
    if (--s->ready)
        op.flags = GRPC_WRITE_BUFFER_HINT;
    s->writing = true;
    start(s, &op, 1, TAG_WRITTEN);
}

static void take(struct streaming *s)
{
    grpc_byte_buffer_reader reader;
    meter_call(&s->meter, s->began_ns[s->answered % LOAD_IN_FLIGHT_MAX]);
    s->result->calls++;
    if (s->load->response && grpc_byte_buffer_reader_init(&reader, s->got)) {
        grpc_slice bytes = grpc_byte_buffer_reader_readall(&reader);
        s->load->response(s->load->ctx, s->answered, GRPC_SLICE_START_PTR(bytes),
                          GRPC_SLICE_LENGTH(bytes));
        grpc_slice_unref(bytes);
        grpc_byte_buffer_reader_destroy(&reader);
    }
    grpc_byte_buffer_destroy(s->got);
    s->got = NULL;
    s->answered++;
    s->ready++;
}

static void on_event(struct streaming *s, enum tag tag)
{
    switch (tag) {
    case TAG_READ:
        if (!s->got) /* The status is on its way. */
            return;
        take(s);
        read_next(s);
        break;
    case TAG_WRITTEN:
        grpc_byte_buffer_destroy(s->sent);
        s->writing = false;
        break;
    case TAG_STATUS:
        s->over = true;
        return;
    case TAG_CLOSED:
        return;
    }
    send_next(s, false);
    close_if_done(s);
}

static void open_call(struct streaming *s)
{
    gpr_timespec until = gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                                      gpr_time_from_seconds(STREAM_TIMEOUT_S, GPR_TIMESPAN));
    void *method = grpc_channel_register_call(s->load->channel, s->load->path, NULL, NULL);
    s->call = grpc_channel_create_registered_call(s->load->channel, NULL, GRPC_PROPAGATE_DEFAULTS,
                                                  s->cq, method, until, NULL);
    grpc_op ops[3] = {{.op = GRPC_OP_SEND_INITIAL_METADATA},
                      {.op = GRPC_OP_RECV_INITIAL_METADATA},
                      {.op = GRPC_OP_RECV_STATUS_ON_CLIENT}};
    ops[1].data.recv_initial_metadata.recv_initial_metadata = &s->initial;
    ops[2].data.recv_status_on_client.trailing_metadata = &s->trailing;
    ops[2].data.recv_status_on_client.status = &s->status;
    ops[2].data.recv_status_on_client.status_details = &s->details;
    start(s, ops, 3, TAG_STATUS);
    read_next(s);
}

static void run(struct streaming *s)
{
    const gpr_timespec never = gpr_inf_future(GPR_CLOCK_MONOTONIC);
    const gpr_timespec now = gpr_inf_past(GPR_CLOCK_MONOTONIC);
    while (!s->over) {
        bool holds = s->ready && !s->writing && !s->closed;
        grpc_event ev = grpc_completion_queue_next(s->cq, holds ? now : never, NULL);
        if (ev.type == GRPC_QUEUE_TIMEOUT)
            send_next(s, true);
        else
            on_event(s, (enum tag)(uintptr_t)ev.tag);
    }
}

static void done(struct streaming *s)
{
    if (s->status != GRPC_STATUS_OK) {
        s->result->errors++;
        (void)snprintf(s->result->first_error, sizeof s->result->first_error, "status %d: %.*s",
                       (int)s->status, (int)GRPC_SLICE_LENGTH(s->details),
                       (const char *)GRPC_SLICE_START_PTR(s->details));
    }
    grpc_call_unref(s->call);
    grpc_slice_unref(s->details);
    grpc_metadata_array_destroy(&s->initial);
    grpc_metadata_array_destroy(&s->trailing);
    grpc_completion_queue_shutdown(s->cq);
    while (grpc_completion_queue_next(s->cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL).type !=
           GRPC_QUEUE_SHUTDOWN)
        ;
    grpc_completion_queue_destroy(s->cq);
}

void load_stream_run(const struct load *l, struct load_result *ret)
{
    struct streaming *s = calloc(1, sizeof *s);
    memset(ret, 0, sizeof *ret);
    if (!s)
        abort();
    s->load = l;
    s->result = ret;
    s->ready = l->in_flight < LOAD_IN_FLIGHT_MAX ? l->in_flight : LOAD_IN_FLIGHT_MAX;
    s->details = grpc_empty_slice();
    s->cq = grpc_completion_queue_create_for_next(NULL);
    meter_begin(&s->meter, l->server);
    s->until_ns = s->meter.began_ns + (int64_t)(l->seconds * 1e9);
    open_call(s);
    run(s);
    meter_end(&s->meter, ret);
    done(s);
    free(s);
}
