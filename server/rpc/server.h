/* server.h - one grpc_server of the C core: listeners, calls, and a drain that ends.
 * Why: the data plane and the control plane are two servers, because in gRPC methods belong to a
 * server and not to a port.
 * How: on each thread of the loop, requests are posted ahead for every method; a call is two queue
 * events (it arrived with its bytes; its answer left). ReportReward is answered by the writer's
 * thread, and admin calls run on small pools, so that they block nobody.
 * Owns: sockets, calls and pools. Borrows the loop, readiness and metrics, which must outlive it.
 * Threads: all functions from the owner.
 * Invariant: after rpc_server_stop_wait no call of this server exists, and no report of it is with
 * the engine. */
#pragma once

#include "server/rpc/listen.h"
#include "server/rpc/loop.h"
#include "server/rpc/rpc_metrics.h"

enum { RPC_ADDRESSES_MAX = 8 };

struct log;
struct rpc_server;

struct rpc_options {
    enum rpc_service service;
    struct rpc_loop *loop; /* Not started yet. */
    struct ready *ready;
    struct rpc_metrics *metrics;
    struct log *log;
    const char *addresses[RPC_ADDRESSES_MAX];
    size_t addresses_n;
    struct rpc_tls tls;
    uint32_t max_in_flight;  /* Calls beyond it are answered OVERLOADED at once. */
    uint32_t max_text_bytes; /* Of RouteRequest.text; its message may be 256 KiB longer. */
    /* Then GOAWAY; a tenth of it, [100 ms, 30 s], later what still runs is cancelled. */
    uint32_t max_connection_age_ms;
};

/* Binds everything; answers once the loop has started. ERR_IO: an address. Also on error there is a
 * server (but for ERR_NOMEM's NULL) to be stopped and closed like the others. */
MUST_USE enum err rpc_server_open(const struct rpc_options *options, struct rpc_server **ret_server,
                                  struct err_detail *detail);
/* What was bound, in the order of the options; i < addresses_n. */
const char *rpc_server_address(const struct rpc_server *s, size_t i);
/* Tells every client to go elsewhere (GOAWAY) and takes no new call. Returns at once. */
void rpc_server_stop_begin(struct rpc_server *s);
/* Waits for the calls in flight until clock_mono_ns() reaches deadline_ns, then cancels them.
 * False: some had to be cancelled. */
bool rpc_server_stop_wait(struct rpc_server *s, int64_t deadline_ns);
/* After stop_wait and rpc_loop_stop. Takes NULL. */
void rpc_server_close(struct rpc_server *s);
