#include "tests/unit/client/fake_server.h"

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/support/alloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fake_server {
    grpc_server *server;
    grpc_completion_queue *queue, *end; /* The end has a queue of its own: `run` reads the other. */
    pthread_t thread;
    int port;
    fake_answer_fn *answer;
    void *context;
};

static void must(bool done, const char *what)
{
    if (!done) {
        (void)fprintf(stderr, "fake server: %s\n", what);
        abort();
    }
}

/* Waits for one event; false: the server is going down. */
static bool next(struct fake_server *s)
{
    grpc_event event =
        grpc_completion_queue_next(s->queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    return event.type == GRPC_OP_COMPLETE && event.success;
}

static bool receive(struct fake_server *s, grpc_call *call, grpc_byte_buffer **ret)
{
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};
    op.data.recv_message.recv_message = ret;
    return grpc_call_start_batch(call, &op, 1, s, NULL) == GRPC_CALL_OK && next(s) && *ret;
}

static void respond(struct fake_server *s, grpc_call *call, const struct fake_answer *answer)
{
    int cancelled = 0;
    grpc_op ops[4];
    memset(ops, 0, sizeof ops);
    size_t n = 0;
    grpc_byte_buffer *body = NULL;
    grpc_slice details = grpc_slice_from_static_string("as the test says");
    grpc_metadata trailer = {.key = grpc_slice_from_static_string("shunt-code"),
                             .value =
                                 grpc_slice_from_copied_string(answer->code ? answer->code : "")};
    ops[n].op = GRPC_OP_RECV_CLOSE_ON_SERVER;
    ops[n++].data.recv_close_on_server.cancelled = &cancelled;
    if (answer->status != FAKE_HANG) {
        grpc_slice bytes = grpc_slice_from_copied_buffer((const char *)answer->bytes, answer->len);
        body = grpc_raw_byte_buffer_create(&bytes, 1);
        grpc_slice_unref(bytes);
        ops[n++].op = GRPC_OP_SEND_INITIAL_METADATA;
        if (answer->status == 0) {
            ops[n].op = GRPC_OP_SEND_MESSAGE;
            ops[n++].data.send_message.send_message = body;
        }
        ops[n].op = GRPC_OP_SEND_STATUS_FROM_SERVER;
        ops[n].data.send_status_from_server.status = (grpc_status_code)answer->status;
        ops[n].data.send_status_from_server.status_details = answer->status ? &details : NULL;
        ops[n].data.send_status_from_server.trailing_metadata_count = answer->code ? 1 : 0;
        ops[n++].data.send_status_from_server.trailing_metadata = &trailer;
    }
    must(grpc_call_start_batch(call, ops, n, s, NULL) == GRPC_CALL_OK, "cannot answer");
    (void)next(s);
    if (body)
        grpc_byte_buffer_destroy(body);
    grpc_slice_unref(trailer.value);
}

static void serve(struct fake_server *s, grpc_call *call, grpc_call_details *details)
{
    grpc_byte_buffer *buffer = NULL;
    grpc_byte_buffer_reader reader;
    if (!receive(s, call, &buffer))
        return;
    must(grpc_byte_buffer_reader_init(&reader, buffer), "cannot read a request");
    grpc_slice bytes = grpc_byte_buffer_reader_readall(&reader);
    grpc_byte_buffer_reader_destroy(&reader);
    grpc_byte_buffer_destroy(buffer);
    char *path = grpc_slice_to_c_string(details->method);
    struct fake_answer answer = {0};
    s->answer(s->context, path, GRPC_SLICE_START_PTR(bytes), GRPC_SLICE_LENGTH(bytes), &answer);
    gpr_free(path);
    grpc_slice_unref(bytes);
    respond(s, call, &answer);
}

static void *run(void *argument)
{
    struct fake_server *s = argument;
    bool up = true;
    while (up) {
        grpc_call *call = NULL;
        grpc_call_details details;
        grpc_metadata_array metadata;
        grpc_call_details_init(&details);
        grpc_metadata_array_init(&metadata);
        up = grpc_server_request_call(s->server, &call, &details, &metadata, s->queue, s->queue,
                                      s) == GRPC_CALL_OK &&
             next(s);
        if (up)
            serve(s, call, &details);
        if (call)
            grpc_call_unref(call);
        grpc_call_details_destroy(&details);
        grpc_metadata_array_destroy(&metadata);
    }
    return NULL;
}

struct fake_server *fake_server_start(int port, fake_answer_fn *answer, void *context)
{
    struct fake_server *s = calloc(1, sizeof *s);
    must(s != NULL, "no memory");
    grpc_init();
    s->answer = answer;
    s->context = context;
    s->server = grpc_server_create(NULL, NULL);
    s->queue = grpc_completion_queue_create_for_next(NULL);
    s->end = grpc_completion_queue_create_for_next(NULL);
    grpc_server_register_completion_queue(s->server, s->queue, NULL);
    grpc_server_register_completion_queue(s->server, s->end, NULL);
    char address[32];
    (void)snprintf(address, sizeof address, "127.0.0.1:%d", port);
    grpc_server_credentials *plain = grpc_insecure_server_credentials_create();
    s->port = grpc_server_add_http2_port(s->server, address, plain);
    grpc_server_credentials_release(plain);
    must(s->port > 0, "cannot listen");
    grpc_server_start(s->server);
    must(pthread_create(&s->thread, NULL, run, s) == 0, "no thread");
    return s;
}

int fake_server_port(const struct fake_server *s)
{
    return s->port;
}

static void drain(grpc_completion_queue *queue)
{
    grpc_completion_queue_shutdown(queue);
    while (grpc_completion_queue_next(queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL).type !=
           GRPC_QUEUE_SHUTDOWN)
        ;
    grpc_completion_queue_destroy(queue);
}

/* The pending request fails when the shutdown begins, which ends `run`. */
void fake_server_stop(struct fake_server *s)
{
    grpc_server_shutdown_and_notify(s->server, s->end, s);
    grpc_server_cancel_all_calls(s->server);
    (void)grpc_completion_queue_next(s->end, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    pthread_join(s->thread, NULL);
    grpc_server_destroy(s->server);
    drain(s->queue);
    drain(s->end);
    grpc_shutdown_blocking();
    free(s);
}
