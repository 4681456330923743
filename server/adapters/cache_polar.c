/* POLAR and POLAR+: the plan is SolveCache over the window's values. */
#include "server/adapters/cache_policy.h"

static enum err plan(const struct cache_input *in, uint8_t *ret_in, struct solve_result *ret)
{
    return solve_cache(&in->solve, ret_in, ret);
}

const struct cache_policy_ops cache_polar = {
    .name = "polar", .values = true, .believes = true, .plan = plan};

const struct cache_policy_ops cache_polar_plus = {.name = "polar_plus",
                                                  .values = true,
                                                  .believes = true,
                                                  .doubles = true,
                                                  .forces = true,
                                                  .plan = plan};
