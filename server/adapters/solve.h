/* solve.h - SolveCache: which adapters should be resident, given what each would be worth for each
 * of a sample of contexts.
 *
 * [Polar26] "Online Learning for LoRA Adapter Caching and Routing in Edge LLM Serving", arXiv
 * 2604.16583: a slow loop picks the resident set by solving a caching problem on estimated
 * utilities. The problem below is our reconstruction of it (README). With q_i(x) the utility of arm
 * i for context x, c_i the price of a miss, R what is resident now: V(S) = mean_x max( max_{i in S}
 * q_i(x), max_i (q_i(x) - c_i) )
 *          - load_share * sum_{i in S, not in R} c_i
 * V is a facility location, not a sum over adapters: two near-duplicate specialists do not both
 * deserve a slot. It is monotone and submodular but for the loads, so greedy is within 1 - 1/e; a
 * 1-swap local search follows, and where sets are few they are enumerated with a bound instead.
 *
 * Pure; no clock, no randomness. Allocates work space, about 4 bytes an adapter and context. */
#pragma once

#include "state/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum solve_flag {
    SOLVE_ALWAYS = 1,   /* No adapter but a base model: always there, takes no room. */
    SOLVE_MUST = 2,     /* Pinned, or owed a slot. */
    SOLVE_RESIDENT = 4, /* Resident now. */
};

struct solve_input {
    uint32_t n, contexts;
    const float *q;        /* (n, contexts) */
    const double *cost;    /* (n) c_i >= 0, utility. */
    const uint64_t *bytes; /* (n) */
    const uint8_t *flags;  /* (n) of enum solve_flag. */
    uint32_t slots;        /* 0: no bound on their number. */
    uint64_t budget;       /* Bytes; 0: no bound. */
    double load_share;     /* kappa / requests of the epoch. */
    double hysteresis;     /* What a new set must gain, utility a request. */
    uint32_t evictions;    /* Residents that may be evicted, beyond what musts and a shrunk budget
                              force. */
    uint64_t exact_sets;   /* Enumerate when there are at most this many sets; 0: never. */
};

enum solve_how { SOLVE_KEPT, SOLVE_GREEDY, SOLVE_SINGLE, SOLVE_EXACT, SOLVE_CAPPED };

struct solve_result {
    double value;     /* V of the set. */
    double kept;      /* V of what is resident now; meaningless when that no longer fits. */
    double uncached;  /* V of the musts alone. */
    uint32_t dropped; /* Musts that do not fit: the first in order of index are taken. */
    enum solve_how how;
};

/* ret_in (n): 1 for every adapter that should be resident; SOLVE_ALWAYS arms stay 0. ERR_NOMEM. */
MUST_USE enum err solve_cache(const struct solve_input *in, uint8_t *ret_in,
                              struct solve_result *ret_result);
/* What each adapter is worth to the set ret_in of solve_cache, utility a request, loads aside:
 * ret_gain (n), for one that is in it what V would lose without it, for another what V would gain
 * with it, room aside; 0 for SOLVE_ALWAYS. */
void solve_gains(const struct solve_input *in, const uint8_t *set, double *ret_gain);
/* A word for how: "kept", "greedy", "single", "exact", "capped". */
const char *solve_how_name(enum solve_how how);
