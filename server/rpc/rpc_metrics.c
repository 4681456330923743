#include "server/rpc/rpc_metrics.h"

#include "server/ops/clock.h"
#include "state/base/mem.h"

static void collect_calls(struct metrics_sink *sink, void *arg)
{
    struct rpc_metrics *m = arg;
    for (uint32_t i = 0; i <= METHODS_MAX; i++) {
        const char *name = i < methods_n ? methods[i].name : "unknown";
        for (int code = 0; code < CODES_N; code++) {
            uint64_t n = atomic_load_explicit(&m->calls[i][code], memory_order_relaxed);
            struct metrics_label labels[] = {{"method", name}, {"code", rpc_code(code)}};
            /* OK stands there from the start, so that a rate over it exists; errors once seen. */
            if (n || (code == OK && i < methods_n))
                metrics_emit(sink, labels, 2, (double)n);
        }
    }
}

static double read_in_flight(void *arg)
{
    struct rpc_metrics *m = arg;
    return (double)(atomic_load(&m->in_flight[RPC_ROUTER]) + atomic_load(&m->in_flight[RPC_ADMIN]));
}

static double read_route_streams(void *arg)
{
    struct rpc_metrics *m = arg;
    return (double)atomic_load(&m->route_streams);
}

static enum err add_all(struct rpc_metrics *m, struct metrics *metrics)
{
    TRY(metrics_add_collector(metrics, "shunt_rpc_calls_total",
                              "Calls answered, by method and machine code (OK when it worked).",
                              METRICS_COUNTER, collect_calls, m));
    TRY(metrics_add_reader(metrics, "shunt_in_flight", "Calls taken and not yet answered.",
                           METRICS_GAUGE, read_in_flight, m));
    TRY(metrics_add_reader(metrics, "shunt_route_streams_total", "RouteStreams opened.",
                           METRICS_COUNTER, read_route_streams, m));
    for (size_t i = 0; i < methods_n; i++) {
        struct metrics_label label = {"method", methods[i].name};
        if (!methods[i].standard)
            TRY(metrics_add_histogram(metrics, "shunt_rpc_seconds",
                                      "Time from a call's arrival to its answer, in seconds.",
                                      &label, 1, &metrics_seconds, &m->seconds[i]));
    }
    return OK;
}

enum err rpc_metrics_new(struct metrics *metrics, struct rpc_metrics **ret_metrics)
{
    struct rpc_metrics *m = mem_calloc(1, sizeof *m);
    if (!m)
        return ERR_NOMEM;
    /* Given out even on error: the registry may hold callbacks with it by now. */
    *ret_metrics = m;
    return add_all(m, metrics);
}

void rpc_metrics_free(struct rpc_metrics *m)
{
    mem_free(m);
}

void rpc_metrics_count(struct rpc_metrics *m, uint32_t method, int code, int64_t began_ns)
{
    atomic_fetch_add_explicit(&m->calls[method][code], 1, memory_order_relaxed);
    if (began_ns && method < METHODS_MAX)
        metrics_histogram_observe(m->seconds[method], (double)(clock_mono_ns() - began_ns) * 1e-9);
}

const char *rpc_code(int code)
{
    return code == CODE_DEADLINE ? "DEADLINE" : err_code((enum err)code);
}
