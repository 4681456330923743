/* simulate.h - one router with adapters plays through a workload: decide, page, learn, plan.
 * Why: which cache policy is worth how much is asked before a GPU is rented for it. The code is the
 * server's: model, fold, snapshot, decide and the controller; what is simulated is requests,
 * rewards and load times.
 *
 * Regret of a request: what the best fixed set under the true utilities would have given (the
 * oracle's arm at its price), less what the chosen arm gives in expectation at its price, plus
 * kappa times the price of the plan's loads. Utility: what was really given, less what was really
 * paid. Threads: none shared. A run takes about 3 MB. */
#pragma once

#include "server/lab/workload.h"
#include "state/model/residency.h"

enum { SIMULATE_POINTS = 8, SIMULATE_POLICIES_MAX = 16 };

struct simulate_settings {
    struct residency_settings residency;     /* policy is each run's own. */
    double alpha, ridge_bias, ridge_context; /* Of the router. */
    double plain_alpha;                      /* Of "oblivious" (plain.h), in utility. */
    uint32_t delay;                          /* Requests until a reward comes. */
    double missing;                          /* Share of rewards that never come. */
    double request_ms;                       /* Time between two requests. */
    /* Asked every few requests, and as often while the oracle's sets are found, which for many
     * rotations is most of the work; ERR_CANCELLED when it says so. NULL: never. */
    bool (*cancelled)(void *arg);
    void *arg;
};

struct simulate_run {
    double regret, utility; /* Sums. */
    double blind;           /* Of the regret, before the first reward came. */
    double miss_rate;       /* Share of requests. */
    uint64_t planned_loads, epochs, forced;
    double curve[SIMULATE_POINTS]; /* Regret at T / 2^(7 - k). */
};

struct simulate_stat {
    double mean, sd;
};

struct simulate_row {
    const char *policy;
    struct simulate_stat regret, utility, blind;
    double miss_rate, planned_loads, forced, epochs;
    double curve[SIMULATE_POINTS]; /* Means. */
    double slope; /* Of log regret in log T, least squares over the curve from T / 16 on; NaN: there
                     is no regret. */
};

struct simulate_table {
    uint32_t rows_n, seeds, horizon;
    struct simulate_row rows[SIMULATE_POLICIES_MAX];
};

/* The router of the design: weak ridges, since adapters are specialists; no floor, no forced
 * newcomers, no slopes shared between arms. */
void simulate_defaults(struct simulate_settings *ret_settings);
/* LRU and LinUCB as papers have it, oblivious of the cache: the baseline of the design. And the
 * cache policy `oblivious`: the same, but with our learner. */
#define SIMULATE_OBLIVIOUS "oblivious"
#define SIMULATE_SAME_LEARNER "oblivious_same_learner"
/* `policy` is one of cache_policy.h, or one of the two above, or "oracle". ERR_INVALID, ERR_NOMEM,
 * ERR_CANCELLED. */
MUST_USE enum err simulate_run(const struct workload *w, const struct simulate_settings *s,
                               const char *policy, struct simulate_run *ret_run);

/* Every policy on the same `seeds` workloads; a trace (not NULL) is played once a seed, which then
 * only moves draws of the policies. ERR_CANCELLED when settings.cancelled says so. */
struct simulate_job {
    struct workload_spec spec;
    const struct workload *trace;
    struct simulate_settings settings;
    const char *const *policies; /* NULL: all, and the oracle. */
    uint32_t policies_n, seeds;
};
MUST_USE enum err simulate_table(const struct simulate_job *job, struct simulate_table *ret_table);
/* "polar", ..., "oblivious", "oracle"; NULL at the end. */
const char *simulate_policy(uint32_t index);

/* policy,seeds,t,regret_mean,... one line a policy. Check buf_error. */
void simulate_csv(const struct simulate_table *t, struct buf *out);
/* policy,t,regret: for plotting. Check buf_error. */
void simulate_curves_csv(const struct simulate_table *t, struct buf *out);
/* {"policies":{"polar":{"regret":{"mean","sd"},"utility":{...},"miss_rate",...}}} */
void simulate_json(const struct simulate_table *t, struct buf *out);
