/* unknown.c - calls to methods that do not exist are answered at once.
 * Without a generic request posted, the core holds them until the caller's deadline. */
#include "server/rpc/core.h"
#include "state/base/mem.h"

#include <grpc/slice.h>
#include <stdio.h>
#include <string.h>

struct unknown {
    struct tag arrived, answered;
    struct queue *queue;
    grpc_call *grpc;
    grpc_call_details details;
    grpc_metadata_array metadata;
    struct failure failure;
    int cancelled;
};

static void let_go(struct unknown *u)
{
    grpc_call_details_destroy(&u->details);
    grpc_metadata_array_destroy(&u->metadata);
    if (u->grpc)
        grpc_call_unref(u->grpc);
    mem_free(u);
}

static void on_answered(struct tag *tag, bool ok)
{
    struct unknown *u = TAG_OWNER(tag, struct unknown, answered);
    (void)ok;
    failure_done(&u->failure);
    let_go(u);
}

/* The path as sent, cut, with everything unprintable replaced. */
static void say_path(const grpc_slice path, char *ret_text, size_t cap)
{
    size_t len = GRPC_SLICE_LENGTH(path), n = 0;
    for (; n < len && n + 1 < cap; n++) {
        unsigned char b = GRPC_SLICE_START_PTR(path)[n];
        ret_text[n] = b > 0x20 && b < 0x7f ? (char)b : '?';
    }
    ret_text[n] = '\0';
}

static void on_arrived(struct tag *tag, bool ok)
{
    struct unknown *u = TAG_OWNER(tag, struct unknown, arrived);
    struct rpc_server *s = u->queue->server;
    if (!ok) {
        u->grpc = NULL;
        let_go(u);
        return;
    }
    if (!atomic_load(&s->draining))
        (void)unknown_post(u->queue);
    char path[96];
    struct err_detail detail;
    say_path(u->details.method, path, sizeof path);
    enum err e =
        err_say(&detail, ERR_UNSUPPORTED, "%s has no method %s; reflection lists those it has",
                service_name(s->options.service), path);
    failure_init(&u->failure, (int)e, &detail);
    rpc_metrics_count(s->options.metrics, METHOD_UNKNOWN, (int)e, 0);
    grpc_op ops[3] = {{.op = GRPC_OP_SEND_INITIAL_METADATA},
                      failure_op(&u->failure),
                      {.op = GRPC_OP_RECV_CLOSE_ON_SERVER}};
    ops[2].data.recv_close_on_server.cancelled = &u->cancelled;
    start_batch(u->grpc, ops, 3, &u->answered);
}

enum err unknown_post(struct queue *q)
{
    struct unknown *u = mem_calloc(1, sizeof *u);
    if (!u)
        return ERR_NOMEM;
    u->arrived.on = on_arrived;
    u->answered.on = on_answered;
    u->queue = q;
    grpc_call_details_init(&u->details);
    grpc_metadata_array_init(&u->metadata);
    if (grpc_server_request_call(q->server->grpc, &u->grpc, &u->details, &u->metadata, q->on->cq,
                                 q->on->cq, &u->arrived) != GRPC_CALL_OK) {
        let_go(u);
        return ERR_INTERNAL;
    }
    return OK;
}
