/* score_pass.h - theta_m . x and x' P x of a block of arms, for one context or several at once.
 * Why apart: this is where the time of a decision goes, and where memory is read; what is made of
 * the numbers (bounds, silence, charge, width) is score.c's.
 *
 * Two ways, chosen by the context alone, so that arms that know the same score the same:
 * - dense: the kernels (score_kernel.h) over whole rows;
 * - sparse: of a context of few numbers (a task label and the bias: 3 products of 1,035) only what
 *   meets them is read. `shunt-bench score --only sparse` measures the crossing.
 * Borrows the rows of x until its last use. Threads: pure; no allocation. */
#pragma once

#include "server/route/score_kernel.h"
#include "state/model/snapshot.h"

enum { SCORE_BLOCK = 64 };   /* Arms between two looks at anything else. */
enum { SCORE_CONTEXTS = 8 }; /* That share a pass over memory. */
enum { SCORE_SPARSE_MAX = 24 };

/* A context with its zeros left out. */
struct score_sparse {
    uint32_t n; /* When so many do not pay, the rest is not looked at. */
    uint16_t at[SCORE_SPARSE_MAX];
    float v[SCORE_SPARSE_MAX];
};

struct score_pass {
    const struct score_kernel *kernel;
    uint32_t d, stride; /* Of the rows of the arms. */
    uint32_t contexts;  /* 1 .. SCORE_CONTEXTS. */
    bool sparse;        /* Then of one context. */
    bool far;           /* The matrices are not in the nearest caches. */
    struct score_sparse few;
    bool squared;                /* Where P is one tile: the squares' q are filled, with */
    uint32_t tile;               /* so many floats. */
    struct score_square *square; /* (contexts) */
};

/* Whether a pass of this context alone would be sparse. */
bool score_pass_is_sparse(const float *x, uint32_t d);
/* x (contexts): pointers to d floats. arms_n: how many it will be asked about, for what memory is
 * fetched when. square (contexts): scratch that the pass keeps. */
void score_pass_init(struct score_pass *p, const float *const *x, uint32_t contexts, uint32_t d,
                     uint32_t arms_n, struct score_square *square);
/* Multiplies the context out (x' P x wants that) ahead of the first score_pass_spread, which does
 * it otherwise: work for whoever waits for memory meanwhile. */
void score_pass_square(struct score_pass *p);
/* ret_z (n, contexts): predictions of metric m. n <= SCORE_BLOCK. */
void score_pass_predict(const struct score_pass *p, const struct arm_view *const *arms, uint32_t n,
                        uint32_t m, float *ret_z);
/* ret_share (n, contexts): prior_share . x. */
void score_pass_share(const struct score_pass *p, const struct arm_view *const *arms, uint32_t n,
                      float *ret_share);
/* ret_spread (n, contexts): x' P x of a group. n <= SCORE_BLOCK. */
void score_pass_spread(struct score_pass *p, const struct arm_view *const *arms, uint32_t n,
                       enum metric_group group, double *ret_spread);
