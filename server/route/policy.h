/* policy.h - from scores to a probability mass function over the eligible arms.
 * A policy is one file policy_<name>.c with one `const struct policy_ops`, and one row in policy.c.
 * Pure; no allocation. */
#pragma once

#include "server/route/score.h"

struct policy_ops {
    const char *name;
    /* ret_pmf (n) is >= 0 and sums to 1. */
    void (*pmf)(const struct score *scores, uint32_t n, float *ret_pmf);
};

/* [Li10] Alg. 1: all mass on the largest mean + width, split evenly over exact ties. */
extern const struct policy_ops policy_linucb;

/* NULL when there is none of this name. */
const struct policy_ops *policy_find(const char *name);
