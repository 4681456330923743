/* lambda_play.h - GreenServ's dial on full-information rows: one pass of learning, then every
 * lambda asked of the same statistics.
 * Why: with every arm's outcome in the rows, a sweep can print what each lambda would truly have
 * earned and cost, not what is predicted.
 * How: a router learns the rows once, in shuffled order, through the server's door, under weights
 * of its own; then it is switched to greedy without floor and newcomers, and each row is asked as a
 * dry run with weights (1 - lambda) on quality and lambda on the served metric.
 * Owns: nothing that outlives a call. Threads: one. */
#pragma once

#include "client/ctl/args.h"
#include "client/ctl/ctl.h"
#include "client/ctl/replay_row.h"

#define LAMBDA_STEPS_MAX 101

struct lambda_plan {
    const char *const *files; /* (files_n,) */
    size_t files_n;
    enum replay_metric served;
    uint64_t steps, seed;
    const struct args_pairs *weights; /* While learning; NULL: .5 quality, .5 the served metric. */
    const char *const *settings;      /* (settings_n,) KEY=VALUE of --set. */
    size_t settings_n;
    bool text, task, keep_policy;
};

/* Plays on a private server, or on ctl's when its router service was named, and prints. */
enum ctl_exit lambda_play(struct ctl *ctl, const struct lambda_plan *plan);
