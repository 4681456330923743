#include "server/route/policy.h"

static void pmf(const struct policy_input *in, double *work, float *ret_pmf)
{
    (void)work;
    const struct score *scores = in->scores;
    float best = 0;
    uint32_t ties = 0;
    for (uint32_t i = 0; i < in->n; i++) {
        float s = scores[i].mean + scores[i].width;
        if (ties == 0 || s > best) {
            best = s;
            ties = 1;
        } else if (s == best) {
            ties++;
        }
    }
    for (uint32_t i = 0; i < in->n; i++)
        ret_pmf[i] = scores[i].mean + scores[i].width == best ? 1.0f / (float)ties : 0.0f;
}

const struct policy_ops policy_linucb = {.name = "linucb", .pmf = pmf};
