/* pacers.h - the spending accounts of now: one pacer a budget, found by router and tenant key.
 * Why: spend counts when it is decided, before any disk knows; route/pacing has the arithmetic,
 * this the locks, the table and what a restart needs.
 *
 * A request takes the terms (one short lock), scores without a lock, and charges its choice (one
 * more). Between the two other requests may charge: terms are then a few requests old, which the
 * next charges make good. Its true cost corrects the account when it is known.
 *
 * Bounds. The router's own account (empty key) stays until pacers_drop. Tenants' are at most
 * keys_max in all, about 9 KB each, allocated on a key's first request. A new key in a full table
 * takes the place of the one not used for longest, if that has been idle for idle_us, else it is
 * refused: an account in use, its debt with it, is never lost to a flood of new keys. What was
 * evicted begins again with an empty bank and window; a debt forgotten that way is counted.
 *
 * Restart. pacers_collect hands out the accounts that moved since it last did, each once, as many
 * as asked for: cumulative state, so a batch that is full or lost delays nothing but itself. What
 * was charged after the last one collected before a crash is not in the bank. Owns: accounts.
 * Threads: any; one lock for a sixteenth of the keys, held for well under a microsecond but by
 * pacers_drop and pacers_forget. */
#pragma once

#include "server/route/pacing.h"
#include "state/base/err.h"
#include "state/base/name.h"

struct pacers;

/* Which account: an empty key is the router's own. A budget on another metric is another account.
 */
struct pacer_id {
    uint32_t router_uid;
    char key[NAME_CAP];
    uint8_t metric;
};
/* As declared now; an account under another one is converted on its next use. */
struct pacer_budget {
    double per_request; /* Raw unit of the metric, > 0. */
    double ceiling;     /* Of the breaker, in budgets, > 1. */
};
/* Since the account began; for people. */
struct pacer_totals {
    uint64_t requests, corrected; /* Charged; of those, with a true cost. */
    uint64_t breaker;             /* Charged while the breaker held. */
    double predicted, paid;       /* Raw unit: charged; the same, put right where it is known. */
    double allowed;               /* Raw unit: a budget for each request. */
};
struct pacer_saved {
    struct pacer_id id;
    struct pacing_kept kept;
    struct pacer_totals totals;
};
/* An account as it stands. */
struct pacer_report {
    struct pacer_saved saved;
    struct pacing_terms terms;
    double rate; /* Raw unit a request. */
};
struct pacers_count {
    uint64_t keys, evicted, evicted_in_debt, refused;
};

/* keys_max >= 16; ERR_INVALID otherwise. */
MUST_USE enum err pacers_new(uint32_t keys_max, int64_t idle_us, struct pacers **ret_pacers);
void pacers_free(struct pacers *p);

/* Makes the account if there is none. ERR_LIMIT: the table is full of keys in use. ERR_NOMEM. */
MUST_USE enum err pacers_terms(struct pacers *p, const struct pacer_id *id,
                               const struct pacer_budget *budget, int64_t now_us,
                               struct pacing_terms *ret_terms);
/* An account that is gone by now is left alone. */
void pacers_charge(struct pacers *p, const struct pacer_id *id, const struct pacing_menu *menu,
                   double cost);
void pacers_correct(struct pacers *p, const struct pacer_id *id, double charged, double cost);
/* True costs of so many requests turned out to be no such: they had been `more` dearer than
 * predicted, in the metric's unit. */
void pacers_give_back(struct pacers *p, const struct pacer_id *id, int64_t corrected, double more);
/* After a price change or an alarm: windows of a router's accounts begin anew, prices hold. */
void pacers_forget(struct pacers *p, uint32_t router_uid);
/* pacing_doubt of them: after an alarm, and after a price change that was announced. */
void pacers_doubt(struct pacers *p, uint32_t router_uid);
/* A router removed: its accounts go. */
void pacers_drop(struct pacers *p, uint32_t router_uid);
/* A budget removed: its account goes. */
void pacers_close(struct pacers *p, const struct pacer_id *id);
/* False: there is no such account (yet). */
bool pacers_read(struct pacers *p, const struct pacer_id *id, struct pacer_report *ret_report);

/* At most n accounts that moved since they were last collected; returns how many. */
uint32_t pacers_collect(struct pacers *p, struct pacer_saved *ret_saved, uint32_t n);
/* What was collected could not be kept: it is collected again. */
void pacers_return(struct pacers *p, const struct pacer_saved *saved, uint32_t n);
/* At start, before the first request. ERR_LIMIT, ERR_NOMEM as pacers_terms; ceiling as declared. */
MUST_USE enum err pacers_restore(struct pacers *p, const struct pacer_saved *saved, double ceiling,
                                 int64_t now_us);
struct pacers_count pacers_count(struct pacers *p);
