/* replay_maths.h - the order of the rows, what an outcome is worth, and what to compare with.
 * Why: the numbers of a replay are only worth something if anybody can compute them again.
 *
 * Order. SplitMix64 [Steele, Lea, Flood 2014]: mix(s, c) is its finaliser over s + (c+1) gamma. The
 * stream of (seed, order) starts at s = mix(mix(seed, order), stream); rows are shuffled by
 * Fisher-Yates from the last to the second, swapping i with floor(mix(s, i) (i+1) / 2^64).
 *
 * Utility of an outcome: sum_k w_k z_k over the metrics with weight, z in [0, 1] by the metric's
 * normalisation; a metric where lower is better counts as w_k (1 - z_k). (The server's own score
 * has -w_k z_k: a constant apart on every request, so the same arm is best.)
 * Units: utilities are in units of the weights. Threads: pure. */
#pragma once

#include "client/ctl/replay_data.h"

enum maths_stream { MATHS_STREAM_ROWS, MATHS_STREAM_WARM, MATHS_STREAM_ROUTER };

struct maths_metric {
    bool there; /* A row of the router's metric table. */
    bool lower; /* Lower is better. */
    bool log;
    double low, high; /* Values that become 0 and 1. */
    double weight;
};

struct maths_arm {
    double utility; /* Mean over the rows that have it. */
    uint64_t rows;
};

struct maths_baselines {
    double random;      /* Mean over rows of the mean over the row's arms. */
    double oracle;      /* Mean over rows of the best arm of each. */
    double best_single; /* Best arm's mean, rows without it left out. */
    uint32_t best_arm;
    double best_per_task;   /* The best arm within each label; rows without one are one label. */
    struct maths_arm *arms; /* (arms.n,) */
    size_t arms_n;
    uint64_t rows;
};

/* What one order obtained. */
struct maths_order {
    uint64_t rows, third_rows;
    double utility, oracle, third_utility; /* Sums; third: over the last third of the rows. */
    double metric[REPLAY_METRIC_N];        /* Sums over the rows that have the metric. */
    uint64_t metric_n[REPLAY_METRIC_N];
    uint64_t *chosen; /* (arms.n,) Borrowed. */
};

struct maths_spread {
    double mean, sd; /* Sample standard deviation, 0 for one order. */
    double min;
};

struct maths_result {
    struct maths_spread utility, third, regret;
    struct maths_spread metric[REPLAY_METRIC_N];
    bool metric_there[REPLAY_METRIC_N];
    double *share; /* (arms.n,) mean over orders. */
};

uint64_t maths_mix(uint64_t seed, uint64_t counter);
/* The start of the stream of (seed, order). */
uint64_t maths_seed(uint64_t seed, uint64_t order, enum maths_stream stream);
/* Fills items (n,) with first .. first+n-1, shuffled by a stream's start. */
void maths_shuffle(uint64_t start, uint32_t first, uint32_t *items, size_t n);

/* The unit interval, saturating. */
double maths_unit(const struct maths_metric *metric, double value);
/* value (REPLAY_METRIC_N,). Every metric with weight must be there: see maths_check. */
double maths_utility(const struct maths_metric *metrics, const double *value);
/* Refuses weights that the data cannot honour: none at all, or on a metric that some outcome lacks
 * (named by FILE:LINE). */
bool maths_check(const struct replay_data *data, const struct maths_metric *metrics,
                 struct replay_error *error);
/* ret (REPLAY_METRIC_N,): the largest mean of each metric over the arms, counted rows only; 0 when
 * there is none. False: out of memory. */
bool maths_largest_means(const struct replay_data *data, double *ret);
/* Best utility of an item. */
double maths_item_oracle(const struct replay_data *data, const struct maths_metric *metrics,
                         const struct replay_item *item);

/* Over the counted rows. False: out of memory. Free with maths_baselines_done. */
bool maths_baselines(const struct replay_data *data, const struct maths_metric *metrics,
                     struct maths_baselines *ret);
void maths_baselines_done(struct maths_baselines *b);

/* Counts the chosen outcome of an item; index: how many counted rows of this order came before,
 * total: how many there will be. */
void maths_order_add(struct maths_order *order, const struct replay_data *data,
                     const struct maths_metric *metrics, const struct replay_item *item,
                     const struct replay_cell *chosen, uint64_t total);
/* n >= 1 finished orders. False: out of memory. Free with maths_result_done. */
bool maths_result(const struct maths_order *orders, size_t n, size_t arms_n,
                  struct maths_result *ret);
void maths_result_done(struct maths_result *r);
