#include "tests/bench/echo.h"

#include <dlfcn.h>
#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/support/time.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { POSTED = 16, ANSWER_MAX = 64 * 1024 };

struct slot {
    bool answering;
    grpc_call *call;
    gpr_timespec deadline;
    grpc_metadata_array metadata;
    grpc_byte_buffer *request, *response;
    int cancelled;
};

struct echo {
    grpc_server *server;
    grpc_completion_queue *cq;
    void *method;
};

static void post(struct echo *e, struct slot *s)
{
    s->answering = false;
    s->call = NULL;
    s->request = NULL;
    if (grpc_server_request_registered_call(e->server, e->method, &s->call, &s->deadline,
                                            &s->metadata, &s->request, e->cq, e->cq,
                                            s) != GRPC_CALL_OK)
        abort();
}

static uint32_t wanted_bytes(grpc_byte_buffer *request)
{
    grpc_byte_buffer_reader reader;
    uint32_t n = 0;
    if (!request || !grpc_byte_buffer_reader_init(&reader, request))
        return 0;
    grpc_slice bytes = grpc_byte_buffer_reader_readall(&reader);
    if (GRPC_SLICE_LENGTH(bytes) >= sizeof n)
        memcpy(&n, GRPC_SLICE_START_PTR(bytes), sizeof n);
    grpc_slice_unref(bytes);
    grpc_byte_buffer_reader_destroy(&reader);
    return n < ANSWER_MAX ? n : ANSWER_MAX;
}

static void answer(struct slot *s)
{
    uint32_t n = wanted_bytes(s->request);
    grpc_slice bytes = grpc_slice_malloc(n);
    memset(GRPC_SLICE_START_PTR(bytes), 0, n);
    s->response = grpc_raw_byte_buffer_create(&bytes, 1);
    grpc_slice_unref(bytes);
    grpc_op ops[4] = {{.op = GRPC_OP_SEND_INITIAL_METADATA},
                      {.op = GRPC_OP_SEND_MESSAGE},
                      {.op = GRPC_OP_SEND_STATUS_FROM_SERVER},
                      {.op = GRPC_OP_RECV_CLOSE_ON_SERVER}};
    ops[1].data.send_message.send_message = s->response;
    ops[2].data.send_status_from_server.status = GRPC_STATUS_OK;
    ops[3].data.recv_close_on_server.cancelled = &s->cancelled;
    s->answering = true;
    if (grpc_call_start_batch(s->call, ops, 4, s, NULL) != GRPC_CALL_OK)
        abort();
}

static void let_go(struct slot *s)
{
    grpc_byte_buffer_destroy(s->request);
    grpc_byte_buffer_destroy(s->response);
    grpc_call_unref(s->call);
}

/* The same arguments as shuntd where they cost anything on a call. */
static grpc_server *create(void)
{
    char reuse[] = "grpc.so_reuseport", inflate[] = "grpc.per_message_decompression",
         deflate[] = "grpc.per_message_compression";
    grpc_arg args[3] = {{.type = GRPC_ARG_INTEGER, .key = reuse},
                        {.type = GRPC_ARG_INTEGER, .key = inflate},
                        {.type = GRPC_ARG_INTEGER, .key = deflate}};
    grpc_channel_args all = {3, args};
    return grpc_server_create(&all, NULL);
}

static void stop_deadlock_detection(void)
{
    union {
        void *object;
        void (*set)(int mode);
    } found = {.object =
                   dlsym(RTLD_DEFAULT,
                         "_ZN4absl7debian329SetMutexDeadlockDetectionModeENS0_15OnDeadlockCycleE")};
    if (found.object)
        found.set(0);
}

int echo_serve(const char *address, bool even)
{
    if (even)
        stop_deadlock_detection();
    struct echo e;
    grpc_server_credentials *creds = grpc_insecure_server_credentials_create();
    e.server = create();
    e.cq = grpc_completion_queue_create_for_next(NULL);
    e.method = grpc_server_register_method(e.server, ECHO_PATH, NULL,
                                           GRPC_SRM_PAYLOAD_READ_INITIAL_BYTE_BUFFER, 0);
    grpc_server_register_completion_queue(e.server, e.cq, NULL);
    int port = grpc_server_add_http2_port(e.server, address, creds);
    grpc_server_credentials_release(creds);
    if (port <= 0)
        return EXIT_FAILURE;
    grpc_server_start(e.server);
    if (strncmp(address, "unix:", 5) == 0)
        (void)printf("listening %s\n", address);
    else
        (void)printf("listening 127.0.0.1:%d\n", port);
    (void)fflush(stdout);
    struct slot *slots = calloc(POSTED, sizeof *slots);
    for (size_t i = 0; slots && i < POSTED; i++) {
        grpc_metadata_array_init(&slots[i].metadata);
        post(&e, &slots[i]);
    }
    for (;;) { /* Ends with the process: nothing here is worth a drain. */
        grpc_event ev = grpc_completion_queue_next(e.cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
        struct slot *s = ev.tag;
        if (!s->answering) {
            answer(s);
            continue;
        }
        let_go(s);
        post(&e, s);
    }
}
