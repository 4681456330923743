#include "server/route/decide.h"

#include "state/base/rng.h"

#include <string.h>

/* Mass over the newcomers, and the share of the whole that they get. */
static double newcomer_share(const struct decide_input *in, float *ret_mass)
{
    const struct router_settings *s = &in->router->config->settings;
    uint64_t fewest = UINT64_MAX;
    uint32_t ties = 0;
    for (uint32_t i = 0; i < in->n; i++) {
        uint64_t issued = in->arms[i].issued;
        if (issued >= s->newcomer_pulls)
            continue;
        if (issued < fewest) {
            fewest = issued;
            ties = 1;
        } else if (issued == fewest) {
            ties++;
        }
    }
    if (ties == 0)
        return 0;
    for (uint32_t i = 0; i < in->n; i++)
        ret_mass[i] = in->arms[i].issued == fewest ? 1.0f / (float)ties : 0.0f;
    return fewest == 0 ? 1 : 1.0 / s->newcomer_every;
}

/* Index of the arm that the policy names; n: it names none, or that one is not eligible. */
static uint32_t named_arm(const struct decide_input *in, const struct policy_ops *policy)
{
    uint32_t i = in->n;
    if (!policy->names_arm)
        return i;
    const char *name = in->router->config->settings.fixed_arm;
    for (i = 0; i < in->n; i++)
        if (strcmp(in->router->arms[in->arms[i].index]->config->name, name) == 0)
            break;
    return i;
}

/* Scores, and the policy's mass; returns the arm that it names. */
static uint32_t fill_policy(const struct decide_input *in, struct decide_scratch *scratch,
                            struct decide_result *r)
{
    const struct router_settings *s = &in->router->config->settings;
    utility_init(&r->utility, in->router, in->weights);
    score_arms(in->router, &r->utility, in->x, in->arms, in->n, in->answer_share, scratch->scores);
    r->policy = policy_of(s);
    uint32_t named = named_arm(in, r->policy);
    const struct policy_input pi = {s, scratch->scores, in->n, named};
    r->policy->pmf(&pi, scratch->work, scratch->policy);
    r->fallback = r->policy->names_arm && named == in->n;
    return named;
}

/* The arm whose interval of the cumulative mass holds u. */
static uint32_t pick(const float *pmf, uint32_t n, double u)
{
    double total = 0;
    uint32_t last = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (!(pmf[i] > 0))
            continue;
        last = i;
        total += (double)pmf[i];
        if (u < total)
            return i;
    }
    return last; /* Rounding left u at or above the sum. */
}

static bool best_mean(const struct score *scores, uint32_t n, uint32_t chosen)
{
    for (uint32_t i = 0; i < n; i++)
        if (scores[i].mean > scores[chosen].mean)
            return false;
    return true;
}

void decide(const struct decide_input *in, struct decide_scratch *scratch, float *ret_pmf,
            struct decide_result *ret_result)
{
    const struct router_settings *s = &in->router->config->settings;
    struct decide_result *r = ret_result;
    uint32_t named = fill_policy(in, scratch, r);
    double share = newcomer_share(in, scratch->newcomer);
    double floor = s->explore_floor;
    for (uint32_t i = 0; i < in->n; i++) {
        double mass = (1 - share) * (double)scratch->policy[i];
        if (share > 0)
            mass += share * (double)scratch->newcomer[i];
        ret_pmf[i] = (float)((1 - floor) * mass + floor / in->n);
    }
    double u = rng_uniform(in->seed, 2);
    if (in->n == 1) {
        r->chosen = 0;
        r->reason = REASON_ONLY_ELIGIBLE;
    } else if (rng_uniform(in->seed, 0) < floor) {
        r->chosen = (uint32_t)(u * in->n);
        r->reason = REASON_EXPLORE;
    } else if (rng_uniform(in->seed, 1) < share) {
        r->chosen = pick(scratch->newcomer, in->n, u);
        r->reason = REASON_NEWCOMER;
    } else {
        r->chosen = pick(scratch->policy, in->n, u);
        r->reason = r->chosen == named                             ? REASON_FIXED
                    : best_mean(scratch->scores, in->n, r->chosen) ? REASON_EXPLOIT
                                                                   : REASON_EXPLORE;
    }
    r->evaluable = share < 1 || floor > 0;
    r->propensity = (double)ret_pmf[r->chosen];
}
