#include "server/route/policy.h"

/* A router that answers beats one that fails because its arm is paused. */
static void pmf(const struct policy_input *in, double *work, float *ret_pmf)
{
    if (in->named >= in->n) {
        policy_greedy.pmf(in, work, ret_pmf);
        return;
    }
    for (uint32_t i = 0; i < in->n; i++)
        ret_pmf[i] = i == in->named ? 1.0f : 0.0f;
}

const struct policy_ops policy_fixed = {.name = "fixed", .names_arm = true, .pmf = pmf};
