/* decide.h - from a context and the eligible arms to one arm, its propensity and its reason.
 *
 * The order in which mass is mixed, fixed and documented:
 *   1. the pmf of the policy in force (settings.policy);
 *   2. newcomers: while an eligible arm has no pull at all, the mass goes evenly to the arms
 * without one; else 1/newcomer_every of it goes evenly to the newcomers (fewer than newcomer_pulls
 *      pulls) that have the fewest pulls;
 *   3. explore_floor of it is spread evenly over the eligible arms.
 * The draw is a function of (seed): rng_uniform(seed, 0) decides about the floor, 1 about
 * newcomers, 2 picks within what was decided. propensity is the arm's mass after all three. A
 * decision whose arm had to be a newcomer's, or an arm's on probe, is not evaluable: no other arm
 * had support.
 * Reasons: EXPLOIT, the policy's arm has the best mean; FIXED, it is the one that `fixed` names;
 * EXPLORE, any other arm of the policy's, and every draw of the floor.
 * Pure; scratch is the caller's. */
#pragma once

#include "server/route/policy.h"

struct decide_input {
    const struct router_view *router;
    const float *x;        /* (d) */
    const double *weights; /* (metrics_n), or NULL: the router's. */
    const struct eligible *arms;
    uint32_t n; /* >= 1 */
    double answer_share;
    uint64_t seed; /* Of this decision. */
};

struct decide_scratch {
    struct score scores[MAX_ARMS];
    float policy[MAX_ARMS], newcomer[MAX_ARMS];
    double work[POLICY_WORK * MAX_ARMS];
};

struct decide_result {
    uint32_t chosen; /* Into in->arms. */
    enum reason reason;
    bool evaluable;
    double propensity;
    struct utility utility;
    const struct policy_ops *policy; /* Whose pmf was mixed. */
    bool fallback;                   /* The arm it names was not eligible. */
};

/* ret_pmf (n): the mass of every eligible arm. Scores stay in scratch. */
void decide(const struct decide_input *in, struct decide_scratch *scratch, float *ret_pmf,
            struct decide_result *ret_result);
