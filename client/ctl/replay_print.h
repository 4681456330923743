/* replay_print.h - the table of a replay, for people and for scripts.
 * Why: the JSON object's keys are a contract: rows, orders, seconds,
 * utility{mean,sd,worst,last_third}, metrics{NAME{mean,sd}}, regret{mean,sd}, share{ARM}, random,
 * best_single{arm,utility}, best_per_task, oracle. The table for people shows the same and more.
 * Owns: nothing. Threads: one. */
#pragma once

#include "client/ctl/replay_maths.h"

#include <jansson.h>
#include <stdio.h>

struct replay_summary {
    const struct replay_data *data;
    const struct maths_metric *metrics; /* (REPLAY_METRIC_N,) */
    const struct maths_baselines *baselines;
    const struct maths_result *result;
    uint64_t orders, seed, delay;
    bool in_order;    /* Played once in file order, onto a router that stays. */
    double seconds;   /* Wall clock of the play. */
    double decisions; /* Warm ones included. */
};

/* NULL: out of memory. */
json_t *replay_print_json(const struct replay_summary *s);
/* False: out of memory. */
bool replay_print_table(const struct replay_summary *s, FILE *out, bool bold);
