/* policy.h - from scores to a probability mass function over the eligible arms.
 * A policy is one file policy_<name>.c with one `const struct policy_ops`, and one row in policy.c.
 * All read the same statistics and none keeps any: which of them decides is a setting that may
 * change between two requests and loses nothing learned.
 * Pure, deterministic, no allocation: what is random is the draw, and that is decide's. */
#pragma once

#include "server/route/score.h"
#include "state/base/err.h"

struct policy_input {
    const struct router_settings *settings;
    const struct score *scores; /* (n) */
    uint32_t n;                 /* >= 1 */
    uint32_t named; /* Index of settings->fixed_arm among the n; n: none, or not eligible. */
};

/* Doubles of scratch for every eligible arm. */
enum { POLICY_WORK = 3 };

struct policy_ops {
    const char *name;
    bool names_arm;  /* Takes settings->fixed_arm whatever the scores say. */
    bool weighs_all; /* Needs the width of every arm; else who has the largest mean + width, or the
                        largest mean, is enough. */
    /* ret_pmf (n) is >= 0 and sums to 1. work (POLICY_WORK * n). */
    void (*pmf)(const struct policy_input *in, double *work, float *ret_pmf);
};

/* [Li10] Alg. 1: all mass on the largest mean + width, split evenly over exact ties. */
extern const struct policy_ops policy_linucb;
/* Thompson sampling: an arm's mass is the probability that it is the best. */
extern const struct policy_ops policy_thompson;
/* settings->epsilon spread evenly over all arms, the rest as greedy. */
extern const struct policy_ops policy_epsilon_greedy;
/* All mass on the largest mean, split evenly over exact ties. */
extern const struct policy_ops policy_greedy;
/* The same mass for every arm: the baseline, and the log with the most support. */
extern const struct policy_ops policy_random;
/* settings->fixed_arm; when it is not eligible, as greedy. */
extern const struct policy_ops policy_fixed;

/* NULL when there is none of this name. */
const struct policy_ops *policy_find(const char *name);
/* Whose turn it is. A name that this build does not know (a state of a later one) means linucb. */
const struct policy_ops *policy_of(const struct router_settings *settings);
/* What settings_check cannot know: ERR_INVALID names the policies there are, or says that `fixed`
 * needs an arm. */
MUST_USE enum err policy_check(const struct router_settings *settings, struct err_detail *detail);
