#include "server/adapters/cache_policy.h"

#include <stdio.h>
#include <string.h>

static const struct cache_policy_ops *const policies[] = {
    &cache_polar, &cache_polar_plus, &cache_lru,    &cache_lfu,
    &cache_top_k, &cache_oblivious,  &cache_static, &cache_random,
};
enum { POLICIES = sizeof policies / sizeof *policies };

const struct cache_policy_ops *cache_policy_at(uint32_t index)
{
    return index < POLICIES ? policies[index] : NULL;
}

const struct cache_policy_ops *cache_policy_find(const char *name)
{
    for (size_t i = 0; i < POLICIES; i++)
        if (strcmp(policies[i]->name, name) == 0)
            return policies[i];
    return NULL;
}

enum err cache_policy_check(const struct residency_settings *s, struct err_detail *detail)
{
    if (cache_policy_find(s->policy))
        return OK;
    char names[160];
    size_t at = 0;
    for (size_t i = 0; i < POLICIES && at < sizeof names; i++) {
        int n = snprintf(names + at, sizeof names - at, "%s%s", i ? ", " : "", policies[i]->name);
        at += n > 0 ? (size_t)n : 0;
    }
    return err_say(detail, ERR_INVALID, "residency.policy: there is no `%.64s`; there are %s",
                   s->policy, names);
}
