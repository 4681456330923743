/* score_sheet.h - what scoring reads of memory, read once for up to SCORE_CONTEXTS contexts.
 * Why: contexts of a batch share one pass over the statistics of their router's arms, and are still
 * decided one after the other: predictions and quadratic forms depend on context and statistics
 * alone; pulls in flight, answers, charges and who is eligible come in when a context is scored.
 * The scores are those of score_arms to the last bit.
 * Owns: its tables, which grow to the largest pool asked for: 114 KiB, and 16 to 76 bytes for each
 * arm and context. Borrows the router's view until the next fill.
 * Threads: one's. */
#pragma once

#include "server/route/score.h"

struct score_sheet;

MUST_USE enum err score_sheet_new(struct score_sheet **ret_sheet);
void score_sheet_free(struct score_sheet *s); /* NULL is fine. */

/* x (contexts): pointers to d floats, copied; none of them sparse (score_pass_is_sparse). u: which
 * metrics and which matrix will be asked for. On error nothing is on it. */
MUST_USE enum err score_sheet_fill(struct score_sheet *s, const struct router_view *router,
                                   const struct utility *u, const float *const *x,
                                   uint32_t contexts);
/* Whether score_sheet_read can: the k-th context of this router was x, and what u weighs is there.
 */
bool score_sheet_has(const struct score_sheet *s, uint32_t k, const struct router_view *router,
                     const struct utility *u, const float *x);
/* As score_arms, of the k-th context. */
void score_sheet_read(struct score_sheet *s, uint32_t k, const struct utility *u,
                      const struct eligible *arms, uint32_t n, double answer_share,
                      struct score *ret_scores);
