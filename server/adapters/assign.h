/* assign.h - which replica of an engine is to hold which of the desired adapters.
 * Why: several replicas are one larger cache, if each adapter is put where it already is and the
 * busiest are put more than once; what a router must know is only where each one is.
 * Plans are made for the sum of the replicas' slots; a replica that has no room for an adapter
 * leaves it out, and a request for it is a miss. Pure. Allocates work space of n + replicas
 * numbers. */
#pragma once

#include "state/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ASSIGN_REPLICAS_MAX = 64 };

struct assign_input {
    uint32_t n, replicas;   /* replicas <= ASSIGN_REPLICAS_MAX. */
    const uint8_t *desired; /* (n) */
    const double *rate;     /* (n) share of requests, >= 0. */
    const uint64_t *bytes;  /* (n) */
    const uint8_t *held;    /* (replicas, n): what each holds now. */
    uint32_t slots;         /* Of each replica; 0: no bound. */
    uint64_t budget;        /* Bytes of each; 0: no bound. */
};

/* ret_want (replicas, n): 1 where a replica should hold an adapter. Every desired adapter that fits
 * somewhere stands once, by falling rate: where it is held already, else on the replica with the
 * least to do; then what room is left goes to copies of the busiest. With a bound of neither kind
 * every replica holds them all. ret_left: adapters that fit nowhere. ERR_NOMEM; ERR_LIMIT. */
MUST_USE enum err assign_replicas(const struct assign_input *in, uint8_t *ret_want,
                                  uint32_t *ret_left);
