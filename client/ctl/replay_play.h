/* replay_play.h - plays rows on routers by RPC: RouteRequest, then ReportReward with the chosen
 * arm's outcome alone.
 * Why: what a replay says must be what the server would have done, so it goes through its door.
 * What: several orders at once, each strictly one call after the other, so the same seed gives the
 * same figures whatever else runs. The outcome of request i is reported after request i + delay was
 * routed, what is left at the end.
 * Owns: nothing that outlives the call. Threads: one.
 * Limits: 32 orders in flight. RESOURCE_EXHAUSTED is tried again, with a pause, for 30 seconds. */
#pragma once

#include "client/ctl/args.h"
#include "client/ctl/ctl.h"
#include "client/ctl/replay_maths.h"

struct play_plan {
    const struct replay_data *data;
    const struct maths_metric *metrics; /* (REPLAY_METRIC_N,); those `there` are reported. */
    const char *address;
    const struct call_tls *tls; /* NULL: plaintext. */
    char *const *routers;       /* (orders,) */
    uint64_t seed;
    size_t orders, delay;
    bool in_order; /* File order; else shuffled by (seed, order). */
    bool send_text, send_task;
    bool name_candidates;             /* Even when a row has every arm of the data. */
    const struct args_pairs *weights; /* Sent with every request; NULL: the router's own. */
    double timeout_s;                 /* Of one call. */
};

/* orders (plan->orders,), with `chosen` set and zero; filled. CTL_OK, or the reason is on stderr.
 * SIGINT, SIGTERM and SIGHUP must be blocked: a pending one ends the play. */
enum ctl_exit play_run(const struct play_plan *plan, struct maths_order *orders);
/* From here on these signals wait until they are looked for, so that whatever was made is always
 * taken down. Every thread made later inherits it. */
void play_block_signals(void);
/* Whether one of those signals is pending. */
bool play_interrupted(void);
