/* decide.h - from a context and the eligible arms to one arm, its propensity and its reason.
 *
 * The order in which mass is mixed, fixed and documented:
 *   1. the pmf of the policy in force (settings.policy); under a split (settings.split_policy in
 *      MODE_ONLINE) p = (1 - s) p_A + s p_B, side A the router's policy, B the second one,
 *      s = split_share: whoever asks for the propensity of an arm does not know the side
 * beforehand;
 *   2. newcomers: 1/newcomer_every of the mass goes evenly to the newcomers (fewer than
 *      newcomer_pulls pulls) that have the fewest pulls; on a cold start, while an eligible arm has
 *      no pull and none has more than newcomer_pulls, all of it. After a cold start an arm without
 *      a pull is no choice of the policy's, whose optimism would give it everything, but of `fixed`
 *      when it names it. So a fresh arm in a router that serves, and the arms that an apprentice's
 *      baseline never was, come in by their share and never take all;
 *   3. probes (probe.h): their share of the mass goes to arms whose figures are in doubt;
 *   4. explore_floor of it is spread evenly over the eligible arms;
 *      and arms on trial under a budget (pacing.h) take their small share off all of that.
 *   5. a session that holds an arm (settings.switch_cost > 0): while no eligible arm's mean, with
 * what a budget's price takes off it, exceeds the held one's by more than switch_cost, the held arm
 *      gets all the mass. Else 1 to 4 stand.
 * The draw is a function of (seed): rng_uniform(seed, 0) decides about the floor, 1 about
 * newcomers, 2 picks within what was decided, 3 is the decision log's, 4 the side of a split (below
 * s: B), 5 probes, 6 trials. The side is drawn for every request, so that newcomers and the floor
 * weigh alike on both. propensity is the arm's mass after all of these. A decision whose arm had to
 * be a newcomer's, or an arm's on probe, is not evaluable: no other arm had support. Reasons:
 * EXPLOIT, the policy's arm has the best mean; FIXED, it is the one that `fixed` names; EXPLORE,
 * any other arm of the policy's, and every draw of the floor. A budget (server/route/pacing.h)
 * takes price times cost off the means before any policy sees them, so that a mean here and in a
 * reason is one with the price; its arms were filtered before. SESSION, step 5 kept the arm: no
 * side decided, and it is not evaluable; SESSION_MOVED, in place of the reason above: the held arm
 * is not among the eligible. Pure; scratch is the caller's. */
#pragma once

#include "server/route/pacing.h"
#include "server/route/policy.h"
#include "server/route/score_sheet.h"

struct decide_input {
    const struct router_view *router;
    const float *x;                /* (d) */
    const double *weights;         /* (metrics_n), or NULL: the router's. */
    struct score_pass *pass;       /* Of x, open already; NULL: it is made here. */
    const struct utility *utility; /* Of those weights; NULL: it is made here. */
    const struct eligible *arms;
    uint32_t n; /* >= 1 */
    double answer_share;
    uint64_t seed;     /* Of this decision. */
    bool holds;        /* A session holds an arm; */
    uint32_t held;     /* which of `arms`; n: none of them. */
    const float *cost; /* (n), predicted, raw unit; NULL: no budget. */
    double lambda;     /* Its price. */
    double budget;     /* Raw unit a request. */
    /* With a budget: arms[n .. n + trials) and their costs are on trial. 0 while a session holds an
     * arm. */
    uint32_t trials;
    /* NULL, or where context `sheet_at` may stand: then what memory says of it is read there. */
    struct score_sheet *sheet;
    uint32_t sheet_at;
    /* Nobody asks for the scores of all arms: in a large pool those that cannot be chosen for their
     * score may be left out (score_best). The choice is the same. */
    bool best_only;
};

struct decide_scratch {
    struct score scores[MAX_ARMS], tried[MAX_ARMS];
    float policy[2][MAX_ARMS]; /* Of side A and B. */
    float newcomer[MAX_ARMS], probe[MAX_ARMS];
    double work[POLICY_WORK * MAX_ARMS];
    float menu[PACING_WORK(MAX_ARMS)];
};

struct decide_result {
    uint32_t chosen; /* Into in->arms, those on trial included. */
    enum reason reason;
    bool evaluable;
    double propensity;
    struct utility utility;
    enum side side;                  /* SIDE_NONE: there is no split. */
    const struct policy_ops *policy; /* Of the side that was drawn. */
    bool fallback;                   /* The arm it names was not eligible. */
    struct pacing_menu menu;         /* Only with a budget. */
    uint32_t left_out;               /* Arms that were not scored (score_best). */
    uint32_t policy_choice; /* What that policy draws (draw 2) without newcomers and floor. */
};

/* ret_pmf (n + trials): the mass of every eligible arm. Scores stay in scratch, with the widths of
 * the side that was drawn. */
void decide(const struct decide_input *in, struct decide_scratch *scratch, float *ret_pmf,
            struct decide_result *ret_result);
