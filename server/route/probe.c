#include "server/route/probe.h"

static const double share = .1;
static const double credit = .15; /* Of the budget. */
static const double trial_credit = .003;

static bool in_doubt(const struct router_view *router, const struct arm_view *a)
{
    uint64_t stale = router->config->settings.stale_after;
    return a->suspect ||
           (stale > 0 && a->answered > 0 && router->outcomes_folded - a->answered_at >= stale);
}

double probe_fill(const struct router_view *router, const struct eligible *arms, uint32_t n,
                  const float *cost, double budget, float *ret_mass)
{
    uint32_t doubtful = 0;
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        ret_mass[i] = in_doubt(router, router->arms[arms[i].index]) ? 1 : 0;
        doubtful += ret_mass[i] > 0;
    }
    for (uint32_t i = 0; doubtful && i < n; i++) {
        if (!(ret_mass[i] > 0))
            continue;
        double mass = share;
        if (cost && mass * (double)cost[i] > credit * budget)
            mass = credit * budget / (double)cost[i];
        ret_mass[i] = (float)(mass / doubtful);
        sum += (double)ret_mass[i];
    }
    return sum;
}

double probe_trials(const float *cost, uint32_t n, double budget, float *ret_mass)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        double mass = share;
        if (mass * (double)cost[i] > trial_credit * budget)
            mass = trial_credit * budget / (double)cost[i];
        ret_mass[i] = (float)(mass / n);
        sum += (double)ret_mass[i];
    }
    return sum;
}
