/* evaluate.h - would another configuration have earned more than what was logged?
 *
 * Two passes over a source: one to survey it (smallest propensity, which arms were ever chosen),
 * one in which the target decides every row before it learns it (progressive), so that no estimate
 * uses a row twice. A second target replays: it learns from accepted rows alone (estimate.h).
 * Left out, and counted: rows that are not evaluable (their arm was forced: no other had support;
 * the target learns them all the same), explorations that a log kept beyond the share it samples,
 * rows of which a frozen target has no arm (one that it merely lacks gets no mass: what is
 * estimated is what today's arms would have earned), and rows whose outcome lacks a metric that has
 * weight (the utility is then not known; each metric is still estimated where it was reported).
 * Unreported outcomes must be missing for reasons that do not depend on the arm, else every
 * estimate here is off: `unreported_failures` counts those that are not. Owns: nothing after it
 * returns. Threads: one; polls the watch. Memory: two targets, and 28 bytes an arm of the table. */
#pragma once

#include "server/lab/evaluation.h"
#include "server/lab/target.h"

struct evaluate_options {
    struct target_options target;
    const double *weights; /* (metrics_n) for every row; NULL: those in force when it was logged. */
    bool no_replay;        /* Half the work. */
    int64_t learned_until_us; /* A frozen target's clock: rows issued before may have taught it. */
    struct lab_watch watch;
};

/* ret_logged_share, ret_target_share: (arms_n) share of used rows, then and under the target; may
 * be NULL. ERR_CANCELLED, a source's error, what logged_check refuses. */
MUST_USE enum err evaluate_run(const struct evaluate_options *o, const struct logged_source *source,
                               struct evaluation *ret, double *ret_logged_share,
                               double *ret_target_share, struct err_detail *detail);
