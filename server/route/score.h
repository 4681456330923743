/* score.h - predicted utility and exploration width of every eligible arm.
 *
 * [Li10] Alg. 1, line 8: p = theta'x + alpha sqrt(x' A^-1 x). We differ:
 * - one theta per metric; mean = sum_m +-w_m theta_m'x, formed when deciding, so that weights are a
 *   field of the request and need no relearning;
 * - alpha is in units of sigma_u = sqrt(w' N w), N the router's measured residual moments, so one
 *   alpha serves every unit and every weight;
 * - the width is multiplied by sqrt((n + 1) / (n + 1 + q)), q = p times the share of decisions that
 * the router's callers answer at all, p the pulls in flight: optimism shrinks with pulls issued,
 * not with outcomes received, and a router whose callers rate one answer in ten still explores;
 * - what is left of the rated prior (h = L_0 (P x)_0, about 1 for an untried arm) moves from the
 * prior mean to the worst end of the range as pulls go unanswered, by f = q / (q + PATIENCE) with q
 * = p times the share of decisions that the router's callers answer at all: an arm that never
 * answers loses its optimism, a router whose callers rate one answer in ten does not punish its
 * newcomers.
 * - what the arm costs beyond its metrics (the paging of an adapter that is not resident) is
 * subtracted, times 1 - s: s is the share of the prior variance x'L^-1 x that is left in this
 * direction, times the same (n + 1) / (n + 1 + q). Where nothing is known yet s = 1 and nothing is
 * charged: else an adapter that is cold would never be tried, whatever its charge and alpha, and
 * the cache that happened to be there first would stay for good. In flight is what the statistics
 * do not hold: an error without a metric, or a cost without its rating, is no evidence, and an arm
 * that gives nothing else must not keep its optimism either;
 * - an arm that has not been brought to the router's clock (stats.h, forgetting) is as wide as if
 * it had been, score_faded; its mean waits until then, at most as many outcomes as there are arms.
 * Units: utility; metrics on [0,1].
 * Shapes: x (d), weights (metrics_n). Pure; no allocation. */
#pragma once

#include "server/route/score_pass.h"

struct eligible {
    uint32_t index;   /* Into router->arms. */
    uint64_t issued;  /* Pulls, live. */
    uint64_t pending; /* Of those, not in the matrix that gives the width, as of the snapshot. */
    float charge;     /* Utility that choosing it costs now beyond its metrics: paging. >= 0. */
};

struct score {
    float mean, width;
    double deviation; /* width = alpha sigma_u deviation, for any alpha. */
};

/* What a mean is the sum of: the contributions, silence and charge. */
struct score_terms {
    double predicted[MAX_METRICS];    /* z of each metric with weight; 0 of the router's others. */
    double contribution[MAX_METRICS]; /* Signed weight times predicted. */
    double silence; /* <= 0: the optimism taken back while pulls are unanswered. */
    double charge;  /* <= 0: what choosing it costs beyond its metrics. */
};

/* Weights in force: the router's, or the request's in their place. */
struct utility {
    double weight[MAX_METRICS]; /* Signed: lower is better counts negative. */
    uint16_t mask;              /* Metrics with weight. */
    double sigma;               /* sqrt(w' N w). */
    double rated;               /* Sum of |weight| over rated metrics; */
    double fall; /* the same, each times the way from the prior mean to the worst end. */
    enum metric_group group; /* Whose matrix gives the width: rated when any rated metric counts. */
};

/* overrides: (metrics_n) weights >= 0, or NULL for the router's own. */
void utility_init(struct utility *u, const struct router_view *router, const double *overrides);

/* answer_share: decisions learned in the matrix of u->group / decisions made in this router, [0,1].
 */
void score_arms(const struct router_view *router, const struct utility *u, const float *x,
                const struct eligible *arms, uint32_t n, double answer_share,
                struct score *ret_scores);
/* score_arms with a pass of this x that is open already; its x and router's d are the pass's. */
void score_arms_with(struct score_pass *pass, const struct router_view *router,
                     const struct utility *u, const float *x, const struct eligible *arms,
                     uint32_t n, double answer_share, struct score *ret_scores);
/* As score_arms, of large pools: the matrices of arms that cannot have the largest mean + width are
 * not read; returns how many were. Exact, ties included: an arm is left out when even with an upper
 * bound of its width (arm_view.spread_cap) it stays below a score that another has. Then its
 * deviation is SCORE_LEFT_OUT, its width 0, and its mean an upper bound, of an arm that is not
 * charged its mean. So whoever asks for the largest mean + width or the largest mean gets the arms
 * that score_arms would give him. fresh_apart: arms without a pull are no rivals of the others, and
 * are scored. */
enum { SCORE_LEFT_OUT = -1 };
uint32_t score_best(const struct router_view *router, const struct utility *u, const float *x,
                    const struct eligible *arms, uint32_t n, double answer_share, bool fresh_apart,
                    struct score *ret_scores);
/* The terms of every arm's mean, ret_terms (n): their sum is what score_arms makes of it, to the
 * rounding of a float. */
void score_terms(const struct router_view *router, const struct utility *u, const float *x,
                 const struct eligible *arms, uint32_t n, double answer_share,
                 struct score_terms *ret_terms);
/* The same scores with the widths of another alpha. */
void score_widen(struct score *scores, uint32_t n, const struct utility *u, double alpha);
/* What a prediction z of metric m is worth where the arm itself has shown little; score_arms
 * applies it to every metric. */
double score_bound(const struct router_view *router, const struct arm_view *arm, uint32_t m,
                   double z);
/* x' L^-1 x of a group: the variance before the first outcome. */
double score_prior_spread(const struct router_view *router, enum metric_group group,
                          const float *x);
/* x' P x of evidence that has faded to `fade` of what P holds, where `ridge` of the ridge is in P
 * and all of it counts: for every x at least x' (fade (P^-1 - ridge L) + L)^-1 x, and never more
 * than the prior's. (The inverse is convex: x' (A + B)^-1 x <= 1 / (1 / x' A^-1 x + 1 / x' B^-1
 * x).) */
double score_faded(double spread, double prior_spread, double fade, double ridge);
/* The part of `charge` that counts, [0, charge]. spread: x' P x; prior_spread: x' L^-1 x; known:
 * (n + 1) / (n + 1 + q). */
double score_charge(double charge, double spread, double prior_spread, double known);
/* Predicted metric m of one arm on the unit interval, as score_arms used it. */
double score_predict(const struct router_view *router, const struct arm_view *arm, uint32_t m,
                     const float *x);

/* What is thought of single metrics of an arm at one context, for limits in a metric's own unit.
 * z: as score_predict says, on the unit interval. deviation: of that prediction, sigma_m sqrt(x' P
 * x), P the matrix of the metric's group, faded as in score_arms; sigma_m the router's residual
 * noise, for a linear served metric at most the arm's own recent mean: the noise is that of all
 * arms together, and begins at .05, where a cheap arm's costs are spread over thousandths.
 * (Measured: within a task the costs and latencies of 25 pairs of data and arm spread by .03 to .86
 * of their mean, one by 1.43.) */
struct guess {
    double z[MAX_METRICS], deviation[MAX_METRICS]; /* Of the metrics of the mask. */
};
/* ret_guesses (n): of the arms at `indices` into router->arms. */
void score_guess(const struct router_view *router, uint16_t mask, const float *x,
                 const uint32_t *indices, uint32_t n, struct guess *ret_guesses);
