/* hybrid.h - what arms like this one have shown: a prior for an arm's mean, made of descriptors.
 * Why: a newcomer need not be tried from nothing where its size, family, price and tags say what to
 * expect; and one unlucky answer must not hide a good arm of a good family.
 *
 * Papers. [Li10] Li, Chu, Langford, Schapire, WWW 2010, Alg. 2, shares coefficients between arms in
 * one joint regression over pairs of arm and request. We differ: what is shared is the mean, as the
 * second stage of a hierarchical model, fitted from the sums that fold keeps anyway (empirical
 * Bayes: [Mor83] Morris, "Parametric Empirical Bayes Inference", JASA 1983). So it costs no state
 * and no time in fold, can be switched at any moment, and forgets whatever arm is removed.
 *
 * Per rated metric, over the K arms that have shown it. y_k: mean of z over the arm's outcomes,
 * less what the shared slopes say of their contexts; n_k: how many; sigma^2: the router's measured
 * noise. f_k (HYBRID_F): 1 | log size | log price | family, one-hot | tags.
 *
 *   y_k = ybar + f_k' beta + e_k,   beta ~ N(0, V),   e_k ~ N(0, tau^2 + sigma^2 / n_k)
 *
 * tau^2, the part of arms that descriptors do not explain, is measured by how well each arm is
 * predicted from the others; s^2 is how much arms differ at all.
 * Arm k's prior is what the others say of it (its own outcomes left out): mean ybar + f_k' beta
 * with variance v. It weighs c sigma^2 / (tau^2 + v) outcomes, at most 10, beside the optimism at
 * the best end of the range, which keeps its ridge_bias outcomes. c = 1 - tau^2 / s^2 is the part
 * of s^2 that descriptors explain: where that is nothing, optimism alone decides, as without them;
 * and nearly so for an arm that resembles none, whose v is large.
 *
 * Cost: O(K HYBRID_F^2) a metric, four rounds a fit; above 64 arms one fit serves arms_n / 64
 * outcomes. Allocates its own scratch. Threads: the writer, when a snapshot is built. */
#pragma once

#include "state/base/err.h"

#include <stdint.h>

struct router;

enum { HYBRID_FAMILIES = 8, HYBRID_TAGS = 5, HYBRID_F = 3 + HYBRID_FAMILIES + HYBRID_TAGS };

struct hybrid_prior {
    float mean;   /* On the unit interval. */
    float weight; /* In outcomes; 0: none. */
};

/* Of one arm's priors (metrics_n), over the rated metrics that any arm has shown: the least. */
float hybrid_lightest(const struct router *r, const struct hybrid_prior *priors);
/* ret_priors (arms_n, metrics_n), arms in the router's order. ERR_NOMEM. */
MUST_USE enum err hybrid_fit(const struct router *r, struct hybrid_prior *ret_priors);
