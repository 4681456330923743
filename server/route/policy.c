#include "server/route/policy.h"

#include <stdio.h>
#include <string.h>

static const struct policy_ops *const policies[] = {
    &policy_linucb, &policy_thompson, &policy_epsilon_greedy,
    &policy_greedy, &policy_random,   &policy_fixed,
};
enum { POLICIES = sizeof policies / sizeof *policies };

const struct policy_ops *policy_find(const char *name)
{
    for (size_t i = 0; i < POLICIES; i++)
        if (strcmp(policies[i]->name, name) == 0)
            return policies[i];
    return NULL;
}

const struct policy_ops *policy_of(const struct router_settings *settings)
{
    const struct policy_ops *p = policy_find(settings->policy);
    return p ? p : &policy_linucb;
}

enum err policy_check(const struct router_settings *settings, struct err_detail *detail)
{
    const struct policy_ops *p = policy_find(settings->policy);
    if (p && p->names_arm && !settings->fixed_arm[0])
        return err_say(detail, ERR_INVALID,
                       "settings.policy is %s: settings.fixed_arm must name "
                       "the arm it takes",
                       p->name);
    if (p)
        return OK;
    char names[128];
    size_t at = 0;
    for (size_t i = 0; i < POLICIES && at < sizeof names; i++) {
        int n = snprintf(names + at, sizeof names - at, "%s%s", i ? ", " : "", policies[i]->name);
        at += n > 0 ? (size_t)n : 0;
    }
    return err_say(detail, ERR_INVALID, "settings.policy: there is no `%.64s`; there are %s",
                   settings->policy, names);
}
