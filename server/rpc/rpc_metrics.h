/* rpc_metrics.h - calls by method and code, their time, and how many are in flight.
 * Why: one table for both servers, since a metric family exists once.
 * Owns: its counters; the histograms are the registry's.
 * Threads: rpc_metrics_count and the in_flight counters from any; new and free from main. Free it
 * only after nothing renders the registry any more. */
#pragma once

#include "server/ops/metrics.h"
#include "server/rpc/method.h"

#include <stdatomic.h>

/* Codes that are no enum err. */
enum { CODE_DEADLINE = ERR_N, CODES_N };
/* The row of calls to methods that do not exist. */
enum { METHOD_UNKNOWN = METHODS_MAX };

struct rpc_metrics {
    _Atomic uint32_t in_flight[RPC_SERVICES];
    _Atomic uint64_t calls[METHODS_MAX + 1][CODES_N];
    _Atomic uint64_t route_streams; /* Opened. */
    struct metrics_histogram *seconds[METHODS_MAX];
};

/* Registers shunt_rpc_calls_total (of RouteStream its requests), shunt_rpc_seconds, shunt_in_flight
 * and shunt_route_streams_total. An error may come with an
 * object (else NULL): the registry may know it already, so free it after the registry. */
MUST_USE enum err rpc_metrics_new(struct metrics *metrics, struct rpc_metrics **ret_metrics);
void rpc_metrics_free(struct rpc_metrics *m);
/* method: index in `methods`, or METHOD_UNKNOWN. code: enum err or CODE_DEADLINE. began_ns: 0 when
 * the time means nothing. */
void rpc_metrics_count(struct rpc_metrics *m, uint32_t method, int code, int64_t began_ns);
/* "DEADLINE", "ARM_NOT_FOUND"... */
const char *rpc_code(int code);
