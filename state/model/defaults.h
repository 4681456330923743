/* defaults.h - what a decision is given that nobody rates: a value for each of some rated metrics.
 * Why: users who say nothing mean something by it, and it may be another thing for every metric.
 * Owns: plain bytes. Threads: pure. Invariant: in order of name, each name once, zeros behind. */
#pragma once

#include "state/base/err.h"
#include "state/base/name.h"
#include "state/base/slice.h"
#include "state/model/limits.h"

#include <stdbool.h>
#include <stdint.h>

struct default_reward {
    char metric[NAME_CAP];
    double raw; /* In the metric's own unit. */
};

struct default_rewards {
    uint32_t n; /* 0: nothing is given. */
    struct default_reward all[MAX_METRICS];
};

/* Adds one, or changes the one of this metric. ERR_BAD_NAME, ERR_OUT_OF_RANGE (too many). */
MUST_USE enum err defaults_put(struct default_rewards *d, struct slice metric, double raw,
                               struct err_detail *detail);
/* Whether it was there. */
bool defaults_remove(struct default_rewards *d, struct slice metric);

/* One byte form; a decoder fails with the reader left failed. */
void defaults_encode(const struct default_rewards *d, struct buf *out);
void defaults_decode(struct reader *r, struct default_rewards *ret);
