#include "server/route/policy.h"

#include <string.h>

static const struct policy_ops *const policies[] = {&policy_linucb};

const struct policy_ops *policy_find(const char *name)
{
    for (size_t i = 0; i < sizeof policies / sizeof *policies; i++)
        if (strcmp(policies[i]->name, name) == 0)
            return policies[i];
    return NULL;
}
