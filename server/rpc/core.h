/* core.h - what the files of this room share: tags, queues and the server's inside.
 * Why: the C core speaks in completion-queue tags; here a tag is an object that knows what to do,
 * so that a queue's thread is a loop of three lines.
 * Owns: see server.h.
 * Threads: a queue's lists and calls only from its thread; what crosses threads is atomic or under
 * a mutex that is named.
 * Invariant: a call is let go (grpc_call_unref) exactly when every tag it started is back. */
#pragma once

#include "server/rpc/server.h"

#include <grpc/grpc.h>
#include <pthread.h>
#include <stddef.h>

struct tag {
    void (*on)(struct tag *tag, bool ok);
};
#define TAG_OWNER(tag, type, member) ((type *)(void *)((char *)(tag)-offsetof(type, member)))

struct call;
struct stream;
struct route_stream;
struct pool;
struct watchers;

struct loop_thread {
    struct rpc_loop *loop;
    grpc_completion_queue *cq;
    pthread_t thread;
    struct handler *handler;      /* The thread's. */
    struct route_stream *holding; /* Streams that hold an answer back; the thread's. */
};

struct rpc_loop {
    struct rpc_loop_options options;
    struct loop_thread threads[RPC_THREADS_MAX];
    uint32_t threads_n;
    bool running; /* Written before the threads go, and after they are joined. */

    pthread_mutex_t mutex; /* Guards what follows, while starting. */
    pthread_cond_t changed;
    uint32_t begun;
    bool decided;
    enum err error;
};

/* One server's share of one thread. */
struct queue {
    struct rpc_server *server;
    struct loop_thread *on;
    struct call *idle;          /* Calls to post again. */
    uint32_t calls_n;           /* Allocated. */
    uint32_t owed[METHODS_MAX]; /* Postings that wait until a call is idle again, */
    uint32_t owed_n;            /* all together. */
};

struct rpc_server {
    struct rpc_options options;
    grpc_server *grpc;
    void *handles[METHODS_MAX]; /* Of registered methods; NULL: not on this server. */
    char bound[RPC_ADDRESSES_MAX][LISTEN_ADDRESS_CAP];
    struct queue queues[RPC_THREADS_MAX];
    uint32_t queues_n;
    struct pool *pool;         /* NULL when no method may wait. */
    struct pool *quiet;        /* For those that take seconds: one at a time. */
    struct watchers *watchers; /* NULL on the data plane. */
    _Atomic uint32_t *in_flight;
    _Atomic bool draining;
    struct tag stopped;

    pthread_mutex_t mutex; /* Guards what follows. */
    pthread_cond_t changed;
    bool stop_seen;
    struct stream *streams; /* Open ones. */
    uint32_t streams_n;
    struct route_stream *route_streams;
    uint32_t route_streams_n;
};

/* A handler for the calling thread, with a worker of the engine. */
MUST_USE enum err handler_open(const struct rpc_loop_options *o, size_t arena_bytes,
                               struct handler **ret_handler);
void handler_close(struct handler *h); /* On the same thread; NULL is fine. */
/* Takes events until the queue is shut down and empty, or *until (may be NULL) is set by one. */
void loop_drain(grpc_completion_queue *cq, const bool *until);

/* unary.c: posts requests of one method, or as many as the queue owes. */
void unary_post(struct queue *q, uint32_t method);
void unary_free_idle(struct queue *q);
/* For the pool: runs a waiting call's handler and answers. */
void unary_run(struct call *call, struct handler *h);
struct call **unary_next(struct call *call); /* Where the pool links it. */

/* unknown.c: keeps one request posted for methods that do not exist. */
enum err unknown_post(struct queue *q);

/* stream.c: Watch, reflection and WatchResidency. */
void stream_post(struct queue *q, uint32_t method);
/* What is desired or resident changed somewhere: watchers are to hear it. On the slow loop's
 * thread; only marks them. */
void streams_residency(void *rpc_server, struct engine_worker *w);
/* For watchers.c, with the server's mutex. Whether a watcher is to hear something and can; begin:
 * those are due from here on. */
bool streams_residency_begin(struct rpc_server *s, bool begin);
/* The router of one that is due; false: all were told. */
bool streams_residency_next(const struct rpc_server *s, char ret_router[NAME_CAP]);
/* Tells those of the router that are due: the bytes, which stay the caller's, or the end. */
void streams_residency_send(struct rpc_server *s, const char *router, enum err e,
                            grpc_byte_buffer *bytes, const struct err_detail *detail);
/* Tells watchers that the server drains, and ends every stream. */
void stream_drain(struct rpc_server *s);

/* watchers.c: the thread that tells watchers of residency. */
MUST_USE enum err watchers_open(struct rpc_server *s, struct watchers **ret_watchers);
/* A watcher may be due. With the server's mutex; NULL is fine. */
void watchers_wake(struct watchers *r);
void watchers_close(struct watchers *r); /* Takes NULL. */

/* batch.c: decides all requests of a RouteBatch. OK with *ret_answer NULL: `done` gets the answer,
 * or an error without a sentence, on the herald's or the writer's thread or before this returns. */
typedef void batch_done(void *ctx, enum err e, grpc_byte_buffer *answer);
MUST_USE enum err batch_run(struct handler *h, struct slice body, size_t max_bytes,
                            batch_done *done, void *ctx, grpc_byte_buffer **ret_answer,
                            struct err_detail *detail);

/* route_stream.c: RouteStream. */
void route_stream_post(struct queue *q, uint32_t method);
/* Nothing else is to do for the thread: its streams send what they hold back. */
void route_streams_flush(struct loop_thread *t);
/* Ends every stream once what it has read is answered. */
void route_streams_drain(struct rpc_server *s);

/* unary.c: the longest RouteRequest that the server takes. */
size_t route_bytes_max(const struct rpc_server *s);

/* pool.c: threads whose handlers have the loop's options and an arena of their own size. */
MUST_USE enum err pool_open(const struct rpc_loop_options *o, size_t arena_bytes,
                            uint32_t threads_n, struct pool **ret_pool);
void pool_put(struct pool *p, struct call *call);
void pool_close(struct pool *p); /* Nothing may wait in it. Takes NULL. */

/* payload.c: bytes of a request in one piece, borrowed from it or from *ret_hold, which the caller
 * unrefs. ERR_UNSUPPORTED: compressed. ERR_PARSE: no message. */
MUST_USE enum err payload_view(grpc_byte_buffer *b, grpc_slice *ret_hold, struct slice *ret_bytes,
                               struct err_detail *detail);
/* A message as one slice. */
grpc_byte_buffer *payload_pack(const ProtobufCMessage *m);
grpc_byte_buffer *payload_take(grpc_slice bytes);

/* What is said when a call fails: kept in the call, because the core borrows it. */
struct failure {
    grpc_status_code status;
    grpc_slice message;
    grpc_metadata trailers[2];
    size_t trailers_n;
};
void failure_init(struct failure *f, int code, const struct err_detail *detail);
void failure_done(struct failure *f);
/* The op that ends a call with it; f NULL: OK. */
grpc_op failure_op(const struct failure *f);
/* Starts a batch; a refusal would be a mistake of ours and stops the process. */
void start_batch(grpc_call *call, const grpc_op *ops, size_t n, struct tag *tag);
