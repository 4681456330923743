#include "server/route/policy.h"

/* [Sutton & Barto, 2.2]: the even draw may fall on the best arm too. */
static void pmf(const struct policy_input *in, double *work, float *ret_pmf)
{
    double epsilon = in->settings->epsilon;
    policy_greedy.pmf(in, work, ret_pmf);
    for (uint32_t i = 0; i < in->n; i++)
        ret_pmf[i] = (float)(epsilon / in->n + (1 - epsilon) * (double)ret_pmf[i]);
}

const struct policy_ops policy_epsilon_greedy = {.name = "epsilon_greedy", .pmf = pmf};
