/* whatif_arms.h - what a what-if counts for every arm version that it meets, by uid.
 * Owns: its arrays. Invariant: uids ascend; an index holds until the next arm is added. */
#pragma once

#include "state/base/err.h"

#include <stdint.h>

struct whatif_arms {
    uint32_t n, cap;
    uint32_t *uid;
    uint64_t *logged_n;                  /* Evaluable outcomes that chose it, of the whole pass. */
    double *logged_share, *target_share; /* Sums of scored rows. */
};

/* *ret_at: its index; it is added when it is new. */
MUST_USE enum err whatif_arms_at(struct whatif_arms *a, uint32_t uid, uint32_t *ret_at);
void whatif_arms_done(struct whatif_arms *a);
