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

static enum err check_policy(const char *field, const char *name, const char *arm_field,
                             const char *arm, struct err_detail *detail)
{
    const struct policy_ops *p = policy_find(name);
    if (p && p->names_arm && !arm[0])
        return err_say(detail, ERR_INVALID,
                       "settings.%s is %s: settings.%s must name the arm it "
                       "takes",
                       field, p->name, arm_field);
    if (p)
        return OK;
    char names[128];
    size_t at = 0;
    for (size_t i = 0; i < POLICIES && at < sizeof names; i++) {
        int n = snprintf(names + at, sizeof names - at, "%s%s", i ? ", " : "", policies[i]->name);
        at += n > 0 ? (size_t)n : 0;
    }
    return err_say(detail, ERR_INVALID, "settings.%s: there is no `%.64s`; there are %s", field,
                   name, names);
}

enum err policy_check(const struct router_settings *settings, struct err_detail *detail)
{
    const struct router_settings *s = settings;
    TRY(check_policy("policy", s->policy, "fixed_arm", s->fixed_arm, detail));
    if (!s->split_policy[0])
        return OK;
    const char *arm = s->split_fixed_arm[0] ? s->split_fixed_arm : s->fixed_arm;
    return check_policy("split_policy", s->split_policy, "split_fixed_arm", arm, detail);
}
