/* Caches that admit what was missed: by recency, by frequency. Admitting is the controller's; a
 * plan only makes room for what is pinned. */
#include "server/adapters/cache_policy.h"

#include <math.h>

static double used_at(const struct residency_arm *arm)
{
    return (double)arm->used_at;
}

static double pulls(const struct residency_arm *arm)
{
    return (double)arm->pulls;
}

/* What was admitted, whether it is loaded by now or not, and what is there; nothing else. */
static double rank(const struct cache_input *in, uint32_t i, double keep)
{
    bool resident = in->solve.flags[i] & SOLVE_RESIDENT;
    return in->arms[i]->desired || resident ? keep : CACHE_NEVER;
}

static double by_recency(const struct cache_input *in, uint32_t i)
{
    return rank(in, i, used_at(in->arms[i]));
}

static double by_frequency(const struct cache_input *in, uint32_t i)
{
    return rank(in, i, pulls(in->arms[i]));
}

static enum err plan_recent(const struct cache_input *in, uint8_t *ret_in, struct solve_result *ret)
{
    return cache_fill(in, by_recency, ret_in, ret);
}

static enum err plan_frequent(const struct cache_input *in, uint8_t *ret_in,
                              struct solve_result *ret)
{
    return cache_fill(in, by_frequency, ret_in, ret);
}

const struct cache_policy_ops cache_lru = {.name = "lru", .keep = used_at, .plan = plan_recent};
const struct cache_policy_ops cache_oblivious = {
    .name = "oblivious", .oblivious = true, .keep = used_at, .plan = plan_recent};
const struct cache_policy_ops cache_lfu = {.name = "lfu", .keep = pulls, .plan = plan_frequent};
