/* stats.h - what is known of one arm, and of a router's arms together; how one outcome changes it.
 *
 * Papers. [Li10] Li, Chu, Langford, Schapire, "A Contextual-Bandit Approach to Personalized News
 * Article Recommendation", WWW 2010, Alg. 1 (disjoint LinUCB). We differ: two matrices an arm
 * (`rated`, `served`), one theta per metric, optimism by a prior mean at the metric's best value,
 * and every arm's slopes shrink towards those all arms share (pooled), not towards zero.
 *
 * Forgetting. [Gar11] Garivier, Moulines, "On Upper-Confidence Bound Policies for Switching Bandit
 * Problems", ALT 2011; [Rus19] Russac, Vernade, Cappe, "Weighted Linear Bandits for Non-Stationary
 * Environments", NeurIPS 2019 (D-LinUCB). The clock of a router counts the decisions folded in it;
 * at each tick all evidence of every arm, pulled or not, is worth gamma times what it was. Lazily:
 * an arm's sums stand at arm.clock, and stats_settle brings them up to date. We differ:
 * - the ridge does not fade, but is put back in steps: A = S + rho L, where S holds the faded sums
 *   and rho in [.9, 1] fades along with them until it would pass .9; then A becomes S + L and P is
 *   inverted anew. P is A^-1 at every moment, and theta the ridge solution under rho L.
 * - the width is x'Px. [Rus19] sums gamma^2 too, for x'P S_2 P x: that is smaller, by up to half in
 *   the long run; it costs a second matrix a group, and alpha is in units of measured noise anyway.
 * - what fades: A, b, the pooled A_0 and b_0, and the counts and sums that make means, centres and
 *   widths (`evidence`, `recent`). What does not: counts that people read, declared priors, the
 *   noise (whose window is 500), cooldowns.
 * With gamma = 1 nothing of this happens, and every number is as if it were not here.
 *
 * Shapes. d features, x[0] = 1 is the bias. L = diag(ridge): [0] bias, [1] the rest. Per group g:
 *   A_g = rho L_g + sum x x'  (d,d packed)      P_g = A_g^-1 (d,d packed), kept by Sherman-Morrison
 *   b_m = sum (z - r_m) x (d)               z: the metric on [0,1]; r_m: the prior mean
 * Rated: r_m is the best end (1, or 0 where lower is better): optimism sits on the bias and fades.
 *   With pooled_level an arm's prior mean is c_m, the level of all arms; without it, c_m = r_m.
 *   c_m = (w(1) r_m + sum_k w(n_k) y_k) / (w(1) + sum_k w(n_k)), w(n) = n / (n + L_0),
 *   y_k the arm's mean of z, n_k its observations, both faded: the collective mean of [Bue70]
 *   Buehlmann, Straub, "Glaubwuerdigkeit fuer Schadensaetze", Mitteilungen der Vereinigung
 *   schweizerischer Versicherungsmathematiker 70, 1970. Every arm counts as far as it is known,
 *   not as often as it was chosen. We differ: L_0 stands for sigma^2 / tau^2, which is not
 *   estimated, and one arm at the best end, worth one outcome, makes a young router optimistic.
 * Served: r_m is the first observation, or the declared prior.
 * Pooled over arms (rated): A_0, P_0 as above, b_0m = sum (z - ybar_k) x, ybar_k = S_k / (n_k + 1);
 *   m_m = P_0 b_0m with the bias set to c_m - r_m (0 where the arm declares
 *   a prior). Prediction z = r_m + x' P (b_m + rho L m_m).
 * Noise: N_ij running mean of products of one-step residuals, each winsorised at 3 sigma, start
 *   .05^2 I as one observation (of every pair: with unequal counts w'Nw could be negative), window
 *   500.
 *
 * A metric of the group that an outcome lacks enters b with its own prediction, which leaves theta
 * where it was; when it is reported later, b gets the difference (dedup.h remembers the value). A
 * served metric without any prior yet stands at r_m, whatever r_m will be: it enters b with zero.
 * b_0m takes a metric only from outcomes that hold it, or whose arm has shown it before; one
 * reported later for the first time enters then.
 * Threads: the writer. Allocation: arm_new and pooled_new only. */
#pragma once

#include "state/model/settings.h"

struct matrix_stats {
    uint64_t n;      /* Decisions folded in. */
    uint64_t since;  /* Of those, since P was last inverted from A. */
    double evidence; /* n, faded. */
    double ridge;    /* rho: the part of L that A holds. */
    double *A, *P;   /* packed_n(d) */
};

/* Observations, faded. */
struct recent {
    double n, sum_raw, sum_z;
};

struct metric_stats {
    uint64_t n; /* Observations. */
    double sum_raw, sum_z;
    struct recent recent;
    double prior_z; /* r_m; meaningful when has_prior. */
    bool has_prior;
    double *b; /* (d) */
};

struct arm {
    uint32_t uid, version;
    bool paused;
    int64_t drain_since_us; /* 0: not draining. */
    uint64_t issued;        /* By TALLY. */
    uint64_t clock;         /* Of the router, at which the faded sums stand. */
    uint64_t answered, failures, cooldowns;
    /* Decisions in each matrix that had chosen another arm, in whose place this one answered. */
    uint64_t stood_in[METRIC_GROUPS];
    /* Of an apprentice's trial: answers by this arm, the policy's choices of it. */
    uint64_t trial_served, trial_chosen;
    uint64_t recent;           /* Bit i: the i-th latest answer was a failure. */
    uint32_t recent_n;         /* Valid bits, at most 64. */
    int64_t cooldown_until_us; /* 0: none. */
    uint32_t cooldown_level;   /* Failed probes in a row, at most 4. */
    struct arm_config config;
    struct matrix_stats groups[METRIC_GROUPS];
    struct metric_stats metrics[MAX_METRICS];
    double *block;  /* All vectors and matrices, one allocation. */
    size_t block_n; /* Doubles in it. */
    bool touched;   /* Since the last snapshot. Not state. */
    struct drift *drift;
    uint64_t answered_at; /* The router's clock at the latest answer. */
};

/* A change of price of one metric: z becomes scale z + shift, a raw value factor times itself. */
struct stats_price {
    double factor, scale, shift;
};

struct pooled {
    struct matrix_stats matrix; /* Rated, over all arms. */
    uint64_t clock;
    double *b[MAX_METRICS];         /* (d), rated metrics only; else NULL. */
    uint64_t metric_n[MAX_METRICS]; /* Observations over all arms, arms since removed included. */
    double metric_sum_z[MAX_METRICS];
    struct recent recent[MAX_METRICS];
    uint64_t noise_n[MAX_METRICS * MAX_METRICS];
    double noise[MAX_METRICS * MAX_METRICS]; /* (metrics_n, metrics_n), N_ij. */
    double level[MAX_METRICS];               /* c_m - r_m as of the last pooled_level. */
    double *block;
    size_t block_n;
};

struct drift;
struct arm *arm_new(const struct router_config *router, const struct arm_config *config);
void arm_free(struct arm *a);
struct pooled *pooled_new(const struct router_config *router);
void pooled_free(struct pooled *p);

/* Declared priors act while the metric has no observation. */
void arm_set_config(struct arm *a, const struct router_config *router,
                    const struct arm_config *config);

/* One group's part of an outcome: the metrics of this group that it holds, with z and raw. */
struct stats_input {
    const double *x; /* (d) */
    uint16_t has_mask;
    const double *z, *raw; /* (MAX_METRICS) */
};
/* What must be known of a decision when another of its metrics comes later. */
struct stats_memory {
    float *fills;          /* (metrics_n): the value in b; NaN: stands at r_m. */
    uint16_t *pooled_mask; /* Bit m: metric m is in b_0m. */
    double weight;         /* What the decision still counts: gamma^(ticks since it was learned). */
    double *residuals;     /* (MAX_METRICS): of the metrics reported, before they were learned. */
};
/* Vectors px, p0x, u, w and a spare, and two packed matrices for the re-inversion: taken
 * beforehand, so that fold never allocates. */
size_t stats_scratch_n(uint32_t d);
/* Bring the faded sums to the router's clock; an arm and the pooled sums must stand there before
 * they learn. scratch: stats_scratch_n(d). O(d^2), and O(d^3) when the ridge is put back. */
void stats_settle(struct arm *a, const struct router_config *router, uint64_t clock,
                  double *scratch);
void pooled_settle(struct pooled *p, const struct router_config *router, uint64_t clock,
                   double *scratch);
/* First report of a decision in this group: A, P, b, pooled and noise move.
 * scratch: stats_scratch_n(d) doubles. */
void stats_learn(struct arm *a, struct pooled *p, const struct router_config *router,
                 enum metric_group group, const struct stats_input *in, double *scratch,
                 const struct stats_memory *ret_memory);
/* A later report of the same decision: b moves by the difference to what had been filled in, as far
 * as the decision still counts. */
void stats_amend(struct arm *a, struct pooled *p, const struct router_config *router,
                 const struct stats_input *in, const struct stats_memory *memory);

/* A group's evidence is worth f in (0, 1] times what it was, at once and whatever gamma is; all of
 * the ridge stands again. scratch: stats_scratch_n(d). */
void stats_scale(struct arm *a, const struct router_config *router, enum metric_group group,
                 double f, double *scratch);
/* A matrix of sums fades, as stats_settle does it. scratch: two packed matrices. */
void stats_fade_matrix(struct matrix_stats *g, const double *ridge, double f, uint32_t d,
                       double *scratch);
/* All that is known of a metric of the arm, declared prior included, as if every value had been
 * seen at the new price. What an earlier report filled in for it keeps the old one. */
void stats_reprice(struct arm *a, const struct router_config *router, uint32_t metric,
                   const struct stats_price *price);
/* `a`, which has learned nothing, begins with what `like` knows, worth at most `strength` outcomes
 * a group; its counts stay 0. Of one layout. */
void stats_inherit(struct arm *a, const struct arm *like, const struct router_config *router,
                   double strength, double *scratch);

/* What an arm that came from elsewhere knows enters the slopes that all arms share, as if each of
 * its outcomes were centred on its mean of all of them: A_0 += A - L, and b_0m += b_m -
 * (ybar - r_m) sum x, where sum x is the bias' row of A - L. Values that stood in for metrics that
 * an outcome lacked count like the others. An A_0 that would not factor stays as it was. */
void stats_pool(struct pooled *p, const struct arm *a, const struct router_config *router,
                double *scratch);
/* Of metrics that the decision's sums hold already: what stood for them was *was, now it is *in. b,
 * the pooled b and the means move by the difference; counts and the noise do not. */
struct stats_was {
    const double *z, *raw; /* (MAX_METRICS) */
};
void stats_restate(struct arm *a, struct pooled *p, const struct router_config *router,
                   const struct stats_input *in, const struct stats_was *was,
                   const struct stats_memory *memory);

/* c_m - r_m anew, from all arms of the router; 0 without pooled_level. O(arms). */
void pooled_level(struct pooled *p, const struct router_config *router, struct arm *const *arms,
                  uint32_t n);
/* c_m - r_m as this arm is predicted: 0 for a served metric and where the arm declares a prior. */
double stats_level(const struct arm *a, const struct pooled *p, const struct router_config *router,
                   uint32_t metric);
/* ret_m (d): m_m of metric m, zero on the bias (all zero when slopes are not pooled). */
void pooled_slopes(const struct pooled *p, const struct router_config *router, uint32_t metric,
                   double *ret_m);
/* theta_m of one arm, the prior mean on the bias included: z = theta_m . x. slopes (d): L m_m,
 * whose bias is not read; target (d): scratch. What a snapshot holds as float; linear in b and m,
 * so that theta of a weighted sum of metrics of a group is the weighted sum of their thetas. */
void stats_theta(const struct arm *a, const struct pooled *p, const struct router_config *router,
                 uint32_t metric, const double *slopes, double *target, double *ret_theta);
/* The prior mean that holds for a metric of this arm now; whether it is more than optimism. */
double stats_prior(const struct arm *a, const struct pooled *p, const struct router_config *router,
                   uint32_t metric);
/* Mask of the metrics of a group. */
uint16_t stats_group_mask(const struct router_config *router, enum metric_group group);
