/* transfer.h - what is known of one arm, as bytes that another router can begin an arm with.
 * Why: a model that a replay, a staging server or a second region has learned need not be learned
 * again. The bytes are what ExportArm answers and a file holds, and they stand in the event that
 * begins the arm, so that recovery needs no file.
 *
 * What travels: the layout that the numbers mean something in (feature spec, ridges, metrics but
 * for their weights, task labels), what is declared of the arm, and per matrix A, per metric b, the
 * prior mean and the faded sums. What does not: P (it is A^-1, formed anew by fold), counts that
 * people read and the health of the arm (they belong to the version that earned them), the drift
 * test, the router's noise, and the slopes that its arms share; what the arm brings enters the
 * receiver's shared slopes (stats_pool). Two routers fit when layouts agree; task labels may stand
 * in another order.
 *
 * Byte form, little-endian: "SHTR" | u32 version 1 | layout (event_put_layout) | arm
 * (event_put_arm) | u32 arm version | per matrix (rated, served): f64 evidence, f64 rho, A packed |
 * per metric: recent n, sum_raw, sum_z, prior_z (f64), u8 has_prior, b (d f64) | u64 XXH3 of all
 * before it.
 *
 * Owns: a struct transfer owns its parts. Threads: pure.
 * Invariant: transfer_encode of what transfer_decode made gives the same bytes; what decodes has
 * finite sums and matrices that are positive definite. */
#pragma once

#include "state/base/slice.h"
#include "state/model/stats.h"

struct transfer {
    struct router_config from; /* Of the router that it left: what event_put_layout keeps. */
    struct arm *arm;           /* In that layout. */
};

/* What the arm knows at the router's clock; check buf_error. */
void transfer_encode(const struct arm *a, const struct router_config *router, uint64_t clock,
                     struct buf *out);
/* ERR_TOO_LARGE (TRANSFER_BYTES_MAX), ERR_CORRUPT (the sentence says what is wrong), ERR_NOMEM. */
MUST_USE enum err transfer_decode(struct slice bytes, struct transfer **ret_transfer,
                                  struct err_detail *detail);
void transfer_free(struct transfer *t);

/* Whether it can be settled in the router. ERR_SPEC_MISMATCH: another feature spec or metric table
 * (the sentence has both hashes) or other ridges. ERR_LIMIT: it knows more labels than the router
 * has free slots for. */
MUST_USE enum err transfer_check(const struct transfer *t, const struct router_config *router,
                                 struct err_detail *detail);
/* The router learns the labels that it lacks, and what is known moves to the slots of the router's.
 * In fold, as part of the arm's beginning: an import that is refused leaves no label behind. Only
 * of what transfer_check accepted. scratch: a packed matrix of the router's d. */
void transfer_settle(struct transfer *t, struct router_config *router, double *scratch);
/* Of name, direction, scale, group and range of every metric, in order; not of weights. */
uint64_t transfer_metrics_hash(const struct router_config *router);
