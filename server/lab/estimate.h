/* estimate.h - what another policy would have earned, from rows that it did not decide.
 *
 * For a used row: r the outcome, p its logged propensity, pi the target's mass function computed
 * before it saw the row, a the logged arm, q(.) the target's own prediction before it saw the row,
 * w = pi(a) / p, v = sum_k pi(k) q(k).
 *   IPS    mean of w r                                                    [Horvitz & Thompson 1952]
 *   SNIPS  sum w r / sum w                                          [Swaminathan & Joachims 2015]
 *   DR     mean of v + w (r - q(a))                                 [Dudik, Langford & Li 2011]
 *   replay mean of r over accepted rows: a draw of the target is the logged arm, and a second draw
 *          is below c / p, c the smallest propensity of the log (never below .001). For a
 *          uniform log p = c always, which is [Li et al. 2011] Alg. 2; else every row is accepted
 *          with probability c whatever x is [Dudik et al. 2012]. The replayed target learns from
 *          accepted rows alone.
 * Weights are not cut off: a cut biases towards arms that the log preferred.
 * w_max, for the fake datum of interval.h, is the largest weight that could have been: over used
 * rows max_k pi(k) / p(k) when the row holds the logged mass of every arm, else 1 / p.
 * DR's fake row has the mean prediction and an outcome at the end of its range; where the range is
 * only what was seen, its outcome misses the prediction by the most that any row's did.
 * IPS and SNIPS share one interval. Effective sample size: (sum w)^2 / sum w^2.
 * Differences to the logging policy are paired: mean of (w - 1) r, and of v + w (r - q(a)) - r.
 * Owns: plain values. Pure. */
#pragma once

#include "server/lab/interval.h"

#include <math.h>
#include <stdbool.h>

struct estimate_sums {
    struct moments ips, dr, ips_less_logged, dr_less_logged, logged;
    double v;            /* Sum of v. */
    double r_min, r_max; /* Seen. */
    double e_min, e_max; /* r - q, seen. */
    uint64_t replay_n;
    double replay, replay_squares; /* Over accepted rows. */
};

/* One outcome of a used row. */
struct estimate_input {
    double w, r, q, v;
};

struct estimated {
    double value;
    struct interval interval;
};

/* Everything about one quantity: the utility, or a metric in its own unit. */
struct estimates {
    uint64_t rows;    /* Used rows that held it. */
    double ess;       /* (sum w)^2 / sum w^2 of these rows. */
    double low, high; /* The range the intervals assume. */
    struct estimated ips, snips, dr;
    struct estimated logged; /* What the logging policy earned on the same rows. */
    struct estimated ips_less_logged, dr_less_logged;
    uint64_t replay_rows;        /* Accepted, and held it. */
    double replay, replay_error; /* Mean; standard error of it. NAN without rows. */
};

void estimate_sums_init(struct estimate_sums *s);
void estimate_add(struct estimate_sums *s, const struct estimate_input *in);
void estimate_add_replay(struct estimate_sums *s, double r);
/* low, high: the range of r; NAN: as seen. */
void estimate_finish(const struct estimate_sums *s, double w_max, double low, double high,
                     struct estimates *ret);
