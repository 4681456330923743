/* trial_report.h - what a trial (state/model/trial.h) shows, with intervals and a verdict.
 * Why: counts do not decide; a difference and how sure it is do.
 *
 * Intervals are two-sided 95 %, mean -+ t se, t of Student's distribution; the difference of two
 * groups has the standard error and the degrees of freedom of [Welch 1947]. They hold for one look:
 * whoever looks every hour until a difference shows will see one.
 *
 * Utility is that of the router's weights as they are now. With u = sum_i w_i z_i over the metrics
 * with weight that both groups reported, and n_ij decisions that reported i and j,
 *   mean(u) = sum_i w_i mean(z_i)    var(mean(u)) = sum_ij w_i w_j cov(z_i, z_j) n_ij / (n_i n_j):
 * a cost that is always known and a rating that is seldom given each count with what they have.
 * Right when what is missing is missing at random.
 * Pure; scratch is the stack. */
#pragma once

#include "state/model/snapshot.h"

enum { TRIAL_SENTENCE_CAP = 512 };

struct estimate {
    uint64_t n;             /* Of utility: of the metric that was reported least. */
    double mean, low, high; /* NaN: unknown; low and high need n >= 2. */
    double variance;        /* Of the mean. */
};

struct group_report {
    uint64_t answered;
    struct estimate metrics[MAX_METRICS]; /* In their own unit. */
    struct estimate utility;
};

struct split_report {
    struct group_report sides[2];
    struct estimate metrics[MAX_METRICS]; /* B less A. */
    struct estimate utility;
    enum side better; /* SIDE_NONE: cannot tell yet. */
    char sentence[TRIAL_SENTENCE_CAP];
};

struct agreement_report {
    struct group_report agreed, differed;
    double share;  /* Of answered decisions in which the policy would have chosen the baseline. */
    double recent; /* The same, fading over the last TRIAL_RECENT. */
    /* What the share is worth. A policy that always says the arm that the baseline is most often
     * would agree in `constant` of the decisions; two that know nothing of one another and choose
     * as often as these two did, in `by_chance`. kappa = (share - by_chance) / (1 - by_chance)
     * [Cohen 1960, "A coefficient of agreement for nominal scales", eq. 1]: 1 agrees always, 0 as
     * by chance; NaN where by_chance is 1, as neither ever varied. An arm removed since counts as
     * one that the other never chose. */
    double constant, by_chance, kappa;
    double unknown; /* Share in which it would have chosen an arm without an outcome. */
    bool promote;
    char sentence[TRIAL_SENTENCE_CAP];
};

void trial_report_split(const struct router_view *r, struct split_report *ret_report);
void trial_report_agreement(const struct router_view *r, struct agreement_report *ret_report);

/* The .975 quantile of Student's t, df >= 1 (exact for 1 and 2; from 3 on within .2 %). */
double student_quantile(double df);
