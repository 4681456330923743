/* Caches that admit what was missed: by recency, by frequency. */
#include "server/adapters/cache_policy.h"

static double used_at(const struct residency_arm *arm)
{
    return (double)arm->used_at;
}

static double pulls(const struct residency_arm *arm)
{
    return (double)arm->pulls;
}

const struct cache_policy_ops cache_lru = {.name = "lru", .keep = used_at};
const struct cache_policy_ops cache_oblivious = {
    .name = "oblivious", .oblivious = true, .keep = used_at};
const struct cache_policy_ops cache_lfu = {.name = "lfu", .keep = pulls};
