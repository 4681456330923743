/* method.h - one row a method: its path, its message, and who answers.
 * Why: what the server can do is a table, so that registering, limits, metrics and reflection
 * cannot disagree; a handler only moves values between message and engine. Owns: nothing; rows are
 * constant. Threads: a handler runs on the thread whose `struct handler` it gets. */
#pragma once

#include "server/engine/engine.h"
#include "server/rpc/arena.h"
#include "server/rpc/codec.h"

struct ready;

enum rpc_service { RPC_ROUTER, RPC_ADMIN, RPC_SERVICES };

/* One shown process setting; for GetConfig. */
struct rpc_setting {
    const char *key, *value, *source, *about;
};

/* What a handler works with: of one thread, but for what it borrows. */
struct handler {
    struct engine *engine;
    struct engine_worker *worker;
    struct ready *ready;
    const struct rpc_setting *settings;
    size_t settings_n;
    const char *service;            /* Full name of the service of this server. */
    struct arena arena;             /* Of the call; reset after it. */
    struct arena ahead;             /* Of requests of a batch that are read before their turn. */
    struct slice body;              /* The request's bytes. */
    const _Atomic bool *cancelled;  /* The caller went away; NULL when it cannot be known. */
    struct route_lists route_lists; /* Scratch, as all below. */
    struct route_out route_out;
    int64_t now_us; /* Of the batch that a request is in; 0: of no batch. */
    bool waits;     /* The answer of a ROUTE handler: not before engine_route_wait's `done`. */
    struct buf packed;
};

enum method_kind {
    METHOD_INLINE,    /* Answers at once, on the queue's thread. */
    METHOD_ROUTE,     /* RouteRequest: as INLINE, and reads its bytes itself. */
    METHOD_BLOCKING,  /* May wait, or has much to say: on a thread of the pool. */
    METHOD_LONG,      /* Takes seconds: on a thread of its own, one at a time. */
    METHOD_DEFERRED,  /* Answered by the writer or its herald, after the commit. */
    METHOD_BATCH,     /* RouteBatch: as INLINE, and some of its parts may wait for the writer. */
    METHOD_ROUTES,    /* RouteStream. */
    METHOD_WATCH,     /* Health.Watch. */
    METHOD_RESIDENCY, /* WatchResidency. */
    METHOD_REFLECT,   /* ServerReflection. */
};

struct method {
    const char *path, *name;
    bool on[RPC_SERVICES];
    enum method_kind kind;
    bool standard; /* Of gRPC, not ours: neither counted in flight nor refused. */
    const ProtobufCMessageDescriptor *request;
    /* INLINE, BLOCKING and LONG. The response lives in the arena or is constant. */
    enum err (*run)(struct handler *h, const ProtobufCMessage *request,
                    ProtobufCMessage **ret_response, struct err_detail *detail);
    /* DEFERRED: OK means that call->done is or was called. */
    enum err (*start)(struct handler *h, const ProtobufCMessage *request, struct report_call *call,
                      struct err_detail *detail);
    uint32_t max_bytes; /* Of a request; 0: the server's limit. */
};

enum { METHODS_MAX = 64 };
extern const struct method methods[];
extern const size_t methods_n;
/* Full name of each service: "shunt.v1.Router", "shunt.v1.Admin". */
const char *service_name(enum rpc_service service);
