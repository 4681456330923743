/* forget.h - folding a journal again without what a source reported.
 * Why: a judge that turns out to be poisoned must be taken out of all that is known, and sums,
 * fading, drift and defaults do not subtract. So nothing is subtracted: the journal is folded again
 * from a base, and the reports of a forgotten source are passed over where they stand.
 *
 * A FORGET event at position p takes out every report of its source before p. Whoever folds a
 * journal that holds one must know it beforehand: first forgets_note of every FORGET between base
 * and end, then forgets_fold of every record. What is folded that way is, byte for byte, what a
 * ledger has that those reports never reached, but for
 *   - position and clock, which count all records;
 *   - source_counts, which say that they were forgotten;
 *   - marks: that source has had its say on those decisions, so a report sent again is a duplicate.
 * Reports that lost to a forgotten one count in its place: fold journals what a source says second
 * (struct dedup_reporter), be it another source or the default of a decision that nobody rated.
 * Not brought back: reports that were refused (too late, capped, too many pieces), and those of a
 * fourth source of one decision (MAX_REPORTERS).
 *
 * Accounts of budgets are what server/live counted, so they do not fold; a true cost that a
 * forgotten report had brought is given back, once, when the FORGET folds.
 * Strict sessions keep what they were told was spent: money is no statistic, and every later
 * reservation was made against it.
 *
 * Owns: a list. Threads: one. Invariant: events in ascending order of position. */
#pragma once

#include "state/base/slice.h"
#include "state/model/fold.h"
#include "state/model/model.h"

struct forgotten {
    uint64_t position;
    struct event_forget what;
    uint64_t taken; /* Reports that it is the first to take out, so far. */
};

/* What is given back to an account, in its metric's unit. */
struct account_refund {
    uint32_t forget; /* Index of what gives it back. */
    uint32_t router_uid;
    char tenant[NAME_CAP]; /* Empty: the router's own. */
    uint8_t metric;
    int64_t corrected;    /* True costs that were known by it. */
    double charged, cost; /* Sums over them: as predicted, as reported. */
};

struct forgets {
    uint32_t n, cap, refunds_n, refunds_cap;
    struct forgotten *all;
    struct account_refund *refunds; /* By forget, router, metric, tenant. */
};

void forgets_init(struct forgets *f);
void forgets_done(struct forgets *f);
/* The next FORGET. ERR_NOMEM, ERR_LIMIT. */
MUST_USE enum err forgets_note(struct forgets *f, const struct event_forget *what,
                               uint64_t position);
/* The first that takes this report out; NULL: it stays, or is no report. */
struct forgotten *forgets_find(const struct forgets *f, const struct event *ev, uint64_t position);
/* Folds the next record, with model_reserve. ERR_NOMEM. */
MUST_USE enum err forgets_fold(struct forgets *f, struct model *m, const struct event *ev,
                               uint64_t position);
/* Reports of the source that the model has, of one router or of all (0): what can only be taken out
 * of a base that is older. It may be less where a router has more than MAX_SOURCE_COUNTS sources.
 */
uint64_t forget_known(const struct model *m, const struct event_forget *what);
