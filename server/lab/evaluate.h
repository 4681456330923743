/* evaluate.h - would another configuration have earned more than what was logged?
 *
 * Two passes over a source: one to survey it (smallest propensity, which arms were ever chosen),
 * one in which the target decides every row before it learns it (progressive), so that no estimate
 * uses a row twice. A second target replays: it learns from accepted rows alone (estimate.h).
 * Left out, and counted: rows that are not evaluable (their arm was forced: no other had support;
 * the target learns them all the same), and rows whose outcome lacks a metric that has weight (the
 * utility is then not known; each metric is still estimated where it was reported). Unreported
 * outcomes must be missing for reasons that do not depend on the arm, else every estimate here is
 * off: `unreported_failures` counts those that are not.
 * Verdict: from the paired difference in utility (DR) and its interval; none when the effective
 * sample size is below EVALUATE_ESS_LEAST, or more than EVALUATE_UNSUPPORTED_MOST of the target's
 * mass is on arms that the log never tried there.
 * Owns: nothing after it returns. Threads: one; polls the watch. Memory: two targets, and 8 bytes
 * an arm of the table. */
#pragma once

#include "server/lab/estimate.h"
#include "server/lab/target.h"

enum { EVALUATE_ESS_LEAST = 50 };
#define EVALUATE_UNSUPPORTED_MOST .05

struct evaluate_options {
    struct target_options target;
    const double *weights; /* (metrics_n) for every row; NULL: those in force when it was logged. */
    bool no_replay;        /* Half the work. */
    int64_t learned_until_us; /* A frozen target's clock: rows issued before may have taught it. */
    struct lab_watch watch;
};

enum verdict { VERDICT_NONE = 0, VERDICT_BETTER, VERDICT_WORSE, VERDICT_CANNOT_TELL };
const char *verdict_text(enum verdict v); /* "better"... */

/* Bit, and what it means for a reader; evaluation_warning_text has the sentence. */
#define EVALUATION_WARNINGS(X)                                                                     \
    X(WARN_NO_ROWS, "no row could be used")                                                        \
    X(WARN_ESS,                                                                                    \
      "the effective sample size is below 50: too few rows agree with the target to say "          \
      "anything; log with a higher explore_floor, or for longer")                                  \
    X(WARN_UNSUPPORTED, "the target would choose arms that the log never tried there: what they "  \
                        "would have earned is not in the data")                                    \
    X(WARN_NEVER_LOGGED, "an arm that the target would choose was never chosen in the log")        \
    X(WARN_LARGE_WEIGHT, "one row carries more than a tenth of all weight")                        \
    X(WARN_LEFT_OUT, "more than a tenth of the rows was left out because their arm was forced: "   \
                     "the estimate does not speak of them")                                        \
    X(WARN_UNREPORTED, "more than half of the rows lack a metric of the utility: the estimate "    \
                       "speaks of the reported ones alone")                                        \
    X(WARN_FAILURES, "failed calls without a reported metric were left out: arms that fail look "  \
                     "better than they are")                                                       \
    X(WARN_IN_SAMPLE,                                                                              \
      "the frozen statistics have learned from some of these rows, which flatters "                \
      "them; evaluate on rows issued later")                                                       \
    X(WARN_REPLAY_BIASED, "some propensities are below .001: replay takes too few of those rows")

enum evaluation_warning {
#define X(name, text) name,
    EVALUATION_WARNINGS(X)
#undef X
        EVALUATION_WARNINGS_N
};
/* NULL past the end. */
const char *evaluation_warning_text(uint32_t warning);

struct evaluation {
    uint64_t rows, used;          /* Used: in the utility's estimates. */
    uint64_t not_evaluable;       /* Left out: forced. */
    uint64_t unreported;          /* Left out: a metric with weight is missing. */
    uint64_t unreported_failures; /* Of those, status is ERROR or TIMEOUT. */
    uint64_t in_sample;           /* Used, issued before learned_until_us. */
    double ess, weight_mean, weight_max, weight_possible; /* Of used rows; the last is w_max. */
    double unsupported;        /* Mean share of the target's mass without support. */
    uint64_t unsupported_rows; /* Used rows with any. */
    uint32_t never_logged;     /* Arms with mass of the target, never chosen in the log. */
    double agreement;          /* Mean mass of the target on the logged arm. */
    double propensity_least;
    double replay_c;
    uint64_t replay_accepted, replay_below; /* Accepted rows; rows with p < replay_c. */
    struct estimates utility;
    struct estimates metric[MAX_METRICS]; /* In the metric's own unit, where reported. */
    uint32_t warnings;                    /* Bit per enum evaluation_warning. */
    enum verdict verdict;
};

/* ret_logged_share, ret_target_share: (arms_n) share of used rows, then and under the target; may
 * be NULL. ERR_CANCELLED, a source's error, ERR_CORRUPT for a row out of form. */
MUST_USE enum err evaluate_run(const struct evaluate_options *o, const struct logged_source *source,
                               struct evaluation *ret, double *ret_logged_share,
                               double *ret_target_share, struct err_detail *detail);
