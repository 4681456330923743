/* evaluation.h - what is said of a target after scored rows: estimates, how far to trust them, and
 * a verdict. Why: an evaluation of logged rows and a what-if over events score rows the same way.
 * Verdict: from the paired difference in utility and its interval; none when the effective sample
 * size is below EVALUATION_ESS_LEAST, when more than EVALUATION_UNSUPPORTED_MOST of the target's
 * mass is on arms that the log never tried there, or when weights do not average one: then what the
 * log calls propensities are none, or it has no support.
 * The range of intervals: of the utility, what its weights allow; of a rated metric, what a report
 * may hold; of a served metric, what the used rows showed.
 * Owns: plain values; logged_n and the shares are the caller's. Pure. */
#pragma once

#include "server/lab/estimate.h"
#include "server/lab/logged.h"
#include "server/route/score.h"

enum { EVALUATION_ESS_LEAST = 50 };
#define EVALUATION_UNSUPPORTED_MOST .05

enum verdict { VERDICT_NONE = 0, VERDICT_BETTER, VERDICT_WORSE, VERDICT_CANNOT_TELL };
const char *verdict_text(enum verdict v); /* "better"... */

/* Bit, and what it means for a reader; evaluation_warning_text has the sentence. */
#define EVALUATION_WARNINGS(X)                                                                     \
    X(WARN_NO_ROWS,                                                                                \
      "no row could be used: what can be evaluated are decisions with an outcome whose arm was "   \
      "drawn (MODE_ONLINE, explore_floor above 0)")                                                \
    X(WARN_ESS,                                                                                    \
      "the effective sample size is below 50: too few rows agree with the target to say "          \
      "anything; log with a higher explore_floor, or for longer")                                  \
    X(WARN_UNSUPPORTED, "the target would choose arms that the log never tried there: what they "  \
                        "would have earned is not in the data")                                    \
    X(WARN_NEVER_LOGGED, "an arm that the target would choose was never chosen in the log")        \
    X(WARN_WEIGHTS,                                                                                \
      "the weights do not average 1: too few of the rare rows were drawn, some logged "            \
      "propensities are wrong, or the log could not choose what the target would")                 \
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
    X(WARN_REPLAY_BIASED, "some propensities are below .001: replay takes too few of those rows")  \
    X(WARN_PRICED,                                                                                 \
      "rows were decided under a budget: the target was asked under the price that was in force "  \
      "then, which its own spend would have moved; what it would have spent stands in the "        \
      "estimate of that metric, and a split tries it for real")                                    \
    X(WARN_UNPRICED,                                                                               \
      "outcomes are of decisions under a budget, whose price the journal does not hold: the "      \
      "other policy was asked without one; evaluate the decision log instead")                     \
    X(WARN_ARMS_GONE,                                                                              \
      "rows chose among arms that were removed since: the target chose among those that are "      \
      "left, and a row with none left was left out")                                               \
    X(WARN_SAMPLED, "the log keeps a share of the decisions and every exploration: only the "      \
                    "share is scored, the other explorations teach the target alone")

enum evaluation_warning {
#define X(name, text) name,
    EVALUATION_WARNINGS(X)
#undef X
        EVALUATION_WARNINGS_N
};
/* NULL past the end. */
const char *evaluation_warning_text(uint32_t warning);
/* "ESS", "UNSUPPORTED", ...: what a program tests. */
const char *evaluation_warning_code(uint32_t warning);

struct evaluation {
    uint64_t rows, used;          /* Used: in the utility's estimates. */
    uint64_t not_evaluable;       /* Left out: forced. */
    uint64_t unreported;          /* Left out: a metric with weight is missing. */
    uint64_t unreported_failures; /* Of those, status is ERROR or TIMEOUT. */
    uint64_t in_sample;           /* Used, issued before learned_until_us. */
    uint64_t beyond_sample;       /* Left out: kept only because they explore. */
    uint64_t arms_gone;           /* Left out: a frozen target has none of their arms. */
    uint64_t arms_fewer;          /* Scored, though it lacks some of them. */
    uint64_t priced;              /* Scored under a budget's price. */
    uint64_t unpriced;            /* Decided under one that is not known (a what-if). */
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

#define EVALUATION_NO_ARM UINT32_MAX
/* One scored row. */
struct evaluated_row {
    const struct logged_row *row;
    const struct router_view *view; /* Whose predictions are q; its config has the metrics. */
    const uint32_t *at; /* (row->arms_n) each eligible arm's place in view->arms; one without mass
                           may be EVALUATION_NO_ARM: it is not there. */
    const float *pmf;   /* (row->arms_n) of the target. */
    const struct utility *utility;
};

/* Arms are numbered as row->arms numbers them. */
struct evaluation_sums {
    const uint64_t
        *logged_n; /* (arms): how often evaluable rows chose each. NULL: all have support. */
    double *logged_share, *target_share; /* (arms) sums, and after finish shares of used rows. */
    struct estimate_sums utility, metric[MAX_METRICS];
    double low, high; /* What the weights of the used rows allow. */
    double w_possible, w_max, unsupported, agreement;
    uint64_t unsupported_rows;
};

void evaluation_init(struct evaluation_sums *s);
/* The utility as reported; NAN when a metric with weight is missing. */
double evaluation_utility(const struct utility *u, const struct logged_row *row);
/* Scores an evaluable row: the utility if it is known, and every metric that fresh and
 * row->has_mask have. True: the utility was scored. */
bool evaluation_add(struct evaluation_sums *s, const struct evaluated_row *in, uint16_t fresh);
void evaluation_add_replay(struct evaluation_sums *s, const struct logged_row *row, double utility);
/* Fills estimates, weights, overlap, warnings and verdict; ret's counts of rows are the caller's,
 * and read. */
void evaluation_finish(const struct evaluation_sums *s, const struct router_config *config,
                       uint32_t arms_n, struct evaluation *ret);
