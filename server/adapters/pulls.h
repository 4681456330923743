/* pulls.h - what requests tell the slow loop: who was chosen, was it resident, the context.
 * Why: a controller has one caller, and requests come on many threads; none of them may wait.
 * Where the slow loop is late and the queue is full, a pull is dropped and counted: plans are made
 * from samples, and a share of a flood is a sample too.
 * Owns: a bounded queue of rows. Threads: put from any, never waiting; take from one.
 * [Vyukov] "Bounded MPMC queue", with one consumer. */
#pragma once

#include "state/base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct pulls;

struct pull {
    uint32_t uid;
    bool resident;    /* As it was routed. */
    const float *row; /* (row_n): context, then weights. */
};

/* row_n: numbers of a row. Holds 256 to 4096 pulls, fewer where rows are long: 2 MB at most. */
MUST_USE enum err pulls_new(uint32_t row_n, struct pulls **ret_pulls);
void pulls_free(struct pulls *p);

/* x (x_n), weights (row_n - x_n): both are copied. False: the queue is full. */
bool pulls_put(struct pulls *p, uint32_t uid, bool resident, const float *x, uint32_t x_n,
               const double *weights);
/* False: it is empty. ret->row lives until the next call. */
bool pulls_take(struct pulls *p, struct pull *ret);
uint64_t pulls_dropped(const struct pulls *p);
