/* sweep.h - GreenServ's dial: quality against cost as lambda goes from 0 to 1, from one model.
 * Why: utility is formed when deciding, so every lambda is a question to the same statistics.
 * [GreenServ] score = (1 - lambda) quality - lambda cost, both on the unit interval: weights
 * (1 - lambda) on a rated metric, lambda on a served one, nothing on the others.
 * The policy is greedy without floor and newcomers unless keep_policy: a sweep explores nothing.
 * Predictions are the model's; a logarithmic metric is turned back into its unit so that an arm's
 * mean z becomes its mean raw value (the mean of exponentials is not the exponential of the mean).
 * A row's price and its arms that the router lacks are passed over: the dial is the price here, and
 * the arms are those of now.
 * Owns: nothing. Threads: one; polls the watch. */
#pragma once

#include "server/lab/target.h"

enum { SWEEP_STEPS_MAX = 101 };

struct sweep_options {
    const struct router_view *router;   /* Learned; borrowed. */
    const struct router_config *config; /* NULL: the view's own. Its settings decide. */
    const struct lab_arm *arms;         /* The table rows index, by name in router. */
    uint32_t arms_n;
    uint32_t rated, served; /* Metrics. ERR_INVALID when they are not of that group. */
    uint32_t steps;         /* 2 to SWEEP_STEPS_MAX: lambda = i / (steps - 1). */
    bool keep_policy;
    uint64_t rows_max; /* 0: all of the source. */
    struct lab_watch watch;
};

struct sweep_step {
    double lambda;
    double rated, served;           /* Predicted means, own units. */
    double rated_z, served_z;       /* The same on the unit interval. */
    double true_rated, true_served; /* Over rows with truth for every arm chosen; NAN: none. */
    uint64_t true_rows;
};

/* Bit, and what it means for a reader. */
#define SWEEP_WARNINGS(X)                                                                          \
    X(SWEEP_NOT_LEARNED,                                                                           \
      "the router has learned no outcome of either metric: these are the figures that arms "       \
      "declare, or start from; report outcomes, then ask again")                                   \
    X(SWEEP_RATED_UNKNOWN, "no outcome of the rated metric was learned: its column is what arms "  \
                           "declare, or start from")                                               \
    X(SWEEP_SERVED_UNKNOWN,                                                                        \
      "no outcome of the served metric was learned: its column is what arms declare, or start "    \
      "from")                                                                                      \
    X(SWEEP_ARMS_GONE, "contexts chose among arms that were removed since: they were asked of "    \
                       "those that are left, and one with none left was left out")

enum sweep_warning {
#define X(name, text) name,
    SWEEP_WARNINGS(X)
#undef X
        SWEEP_WARNINGS_N
};
/* NULL past the end; "NOT_LEARNED", ... is what a program tests. */
const char *sweep_warning_text(uint32_t warning);
const char *sweep_warning_code(uint32_t warning);

struct sweep_counts {
    uint64_t rows;       /* Contexts asked. */
    uint64_t arms_gone;  /* Left out: the router has none of their arms. */
    uint64_t arms_fewer; /* Asked, though it lacks some of them. */
    uint32_t warnings;   /* Bit per enum sweep_warning. */
};

/* ret_steps (steps), ret_shares (steps, arms_n): of no meaning on error. */
MUST_USE enum err sweep_run(const struct sweep_options *o, const struct logged_source *source,
                            struct sweep_step *ret_steps, double *ret_shares,
                            struct sweep_counts *ret_counts, struct err_detail *detail);
