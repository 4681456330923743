#include "server/route/feature_agent.h"

#include <assert.h>
#include <math.h>

/* Where a number counts as full: beyond what agents reach in most runs, so that the logarithm uses
 * the range; more says no more. Chosen, not measured: the data at hand holds no runs. Frozen, as
 * any other would be another feature spec. */
static const struct {
    const char *name;
    double full; /* 0: a flag. */
} agent_row[AGENT_N] = {
    {"turn", 100},  {"tool_step", 100},           {"tool_errors", 20},  {"tokens_so_far", 1e6},
    {"images", 20}, {"max_output_tokens", 65536}, {"json_required", 0}, {"tools_required", 0},
};

void feature_agent_fill(const struct feature_agent *a, float ret_block[AGENT_N])
{
    const double value[AGENT_N] = {
        a->turn,   a->tool_step,         a->tool_errors,   (double)a->tokens_so_far,
        a->images, a->max_output_tokens, a->json_required, a->tools_required};
    const double scale = .5 / sqrt(AGENT_N);
    for (int i = 0; i < AGENT_N; i++) {
        double v = value[i];
        if (agent_row[i].full > 0)
            v = fmin(1, log1p(v) / log1p(agent_row[i].full));
        ret_block[i] = (float)(scale * v);
    }
}

const char *feature_agent_name(uint32_t i)
{
    assert(i < AGENT_N);
    return agent_row[i].name;
}
