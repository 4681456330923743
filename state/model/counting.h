/* counting.h - which metrics of a report count, and what they make of the decision's.
 * Why: a metric counts once per decision (FIRST), or its reports are pieces that are added up or
 * averaged (SUM, MEAN): then a piece has a key, and counts once by that.
 * A default is no piece: it stands in for the metrics that have none, however many others have.
 * Only rated metrics come in pieces: a call's cost is known once, when it ends.
 * Private to state/model. Threads: the writer. No libm. */
#pragma once

#include "state/model/fold.h"
#include "state/model/model.h"

struct counting {
    uint16_t fresh, again; /* Counted for the first time; counted before, and another value now. */
    double z[MAX_METRICS], raw[MAX_METRICS];         /* Of both. */
    double was_z[MAX_METRICS], was_raw[MAX_METRICS]; /* Of `again`. */
};

/* Why a report cannot count, or OK; *ret_mask: its metrics that would. entry: of its decision, NULL
 * for the first report; barred: bit m, metric m of it must not count.
 * ERR_PIECE_KEY_REQUIRED, ERR_PIECES_FULL. */
MUST_USE enum err counting_check(const struct router *r, struct dedup_entry *entry,
                                 const struct event_outcome *o, uint16_t barred,
                                 uint16_t *ret_mask);
/* Counts them in the entry. After counting_check said OK. */
void counting_take(const struct router *r, struct dedup_entry *entry, const struct event_outcome *o,
                   uint16_t barred, struct counting *ret);
