/* replay_router.h - the routers that a replay plays on: how they are declared, and what the server
 * made of it.
 * Why: figures are only comparable when every order starts from the same declaration; the metric
 * table in force is read back from the server, so utility is computed from what it really uses.
 * Owns: nothing. Threads: one. */
#pragma once

#include "client/ctl/args.h"
#include "client/ctl/ctl.h"
#include "client/ctl/replay_maths.h"

struct replay_declare {
    const struct replay_data *data;
    const double *highs;              /* (REPLAY_METRIC_N,) maths_largest_means. */
    const struct args_pairs *weights; /* NULL: quality=1. */
    const char *const *settings;      /* (settings_n,) KEY=VALUE of --set. */
    size_t settings_n;
    uint64_t seed;
    bool tasks; /* Played with task labels. */
};

/* Creates the router `name` for an order: arms and labels of the data in sorted order, the metric
 * table (quality; cost_usd, energy_j, latency_ms where the data has them, 1 being the largest mean
 * of an arm), a seed of (seed, order), no decision log, ephemeral; then --set.
 * ret_metrics (REPLAY_METRIC_N,): the table in force; may be NULL. */
enum ctl_exit replay_router_create(struct ctl *ctl, const struct replay_declare *declare,
                                   const char *name, uint64_t order,
                                   struct maths_metric *ret_metrics);
/* False: it could not be removed, and it was said. */
bool replay_router_remove(struct ctl *ctl, const char *name);
/* The table of a router that is there. weights NULL: the router's own. */
enum ctl_exit replay_router_read(struct ctl *ctl, const char *name,
                                 const struct args_pairs *weights,
                                 struct maths_metric *ret_metrics);
