#include "server/route/policy.h"

static void pmf(const struct policy_input *in, double *work, float *ret_pmf)
{
    (void)work;
    float best = in->scores[0].mean;
    uint32_t ties = 1;
    for (uint32_t i = 1; i < in->n; i++) {
        if (in->scores[i].mean > best) {
            best = in->scores[i].mean;
            ties = 1;
        } else if (in->scores[i].mean == best) {
            ties++;
        }
    }
    for (uint32_t i = 0; i < in->n; i++)
        ret_pmf[i] = in->scores[i].mean == best ? 1.0f / (float)ties : 0.0f;
}

const struct policy_ops policy_greedy = {.name = "greedy", .pmf = pmf};
