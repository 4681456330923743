#include "server/route/policy.h"

static void pmf(const struct policy_input *in, double *work, float *ret_pmf)
{
    (void)work;
    for (uint32_t i = 0; i < in->n; i++)
        ret_pmf[i] = 1.0f / (float)in->n;
}

const struct policy_ops policy_random = {.name = "random", .pmf = pmf};
