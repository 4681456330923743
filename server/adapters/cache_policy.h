/* cache_policy.h - who decides what is resident: one table of functions a policy.
 * Why: the paper's controller and what it is compared with run through the same controller, the
 * same router and the same simulator; which one a router uses is a setting. A policy is stateless:
 * what it reads is the folded state (residency.h) and what the controller hands it. Pure; the slow
 * loop's thread. */
#pragma once

#include "server/adapters/solve.h"
#include "state/model/residency.h"

/* What a plan is made from; arrays of n adapters and base models, in order of uid. */
struct cache_input {
    const struct residency_settings *settings;
    struct solve_input solve;                /* q left NULL where the policy asks for none. */
    const struct residency_arm *const *arms; /* (n) */
    uint64_t requests; /* When the epoch began: amended, a plan is of the same epoch. */
};

struct cache_policy_ops {
    const char *name;
    bool oblivious; /* The router is not told what a miss costs. */
    bool values;    /* A plan needs q. */
    bool doubles;   /* Epochs double, from epoch_requests / 2. */
    bool forces;    /* Forced exploration of the least-pulled adapter. */
    bool believes;  /* Planning counts a share of the optimism. */
    /* Not NULL: an adapter that was missed is admitted at once, in the place of whichever resident
     * this gives the least to. */
    double (*keep)(const struct residency_arm *arm);
    bool fixed; /* It plans before the first request, and no request moves it: nobody is ever owed a
                   slot. */
    /* What is resident in the next epoch. */
    enum err (*plan)(const struct cache_input *in, uint8_t *ret_in, struct solve_result *ret);
};

/* A rank that is never taken; pins are. */
#define CACHE_NEVER (-(double)INFINITY)
/* Pins first, in order of uid, then by falling rank while there is room, among equals in order of
 * uid. */
MUST_USE enum err cache_fill(const struct cache_input *in,
                             double (*rank)(const struct cache_input *in, uint32_t i),
                             uint8_t *ret_in, struct solve_result *ret);

/* Fixed epochs, a share of the optimism, no forced pulls: the default; holds under drift. */
extern const struct cache_policy_ops cache_polar;
/* [Polar26] POLAR+: doubling epochs, forced exploration; and, unlike the design, a share of the
 * optimism: README. */
extern const struct cache_policy_ops cache_polar_plus;
/* Admit what was missed, evict what was used longest ago; the router knows the price. */
extern const struct cache_policy_ops cache_lru;
/* The same, evicting what was used least often. */
extern const struct cache_policy_ops cache_lfu;
/* Each epoch the adapters with the largest share of the requests of the last epochs. */
extern const struct cache_policy_ops cache_top_k;
/* LRU, and a router that does not know what is resident: LinUCB as it stands in most gateways. */
extern const struct cache_policy_ops cache_oblivious;
/* What is desired stays. Places that are free go to the adapters that were declared first, at once:
 * a router that is created with it has the first that fit, one that is switched to it keeps what it
 * has, and a pin takes the place of the last declared. */
extern const struct cache_policy_ops cache_static;
/* Another set each epoch, drawn evenly; within one only pins change it, and give back what they
 * took. */
extern const struct cache_policy_ops cache_random;

/* NULL when there is none of this name. */
const struct cache_policy_ops *cache_policy_find(const char *name);
/* Index from 0; NULL at the end. */
const struct cache_policy_ops *cache_policy_at(uint32_t index);
/* ERR_INVALID names the policies there are. */
MUST_USE enum err cache_policy_check(const struct residency_settings *s, struct err_detail *detail);
