/* accounts.h - the spending accounts as events: those that moved since they were last written.
 * Why: what was charged must outlive the process; the last row of an account counts, so what a
 * batch has no room for waits for the next one.
 * Owns: its buffers, reused. Threads: the writer. */
#pragma once

#include "server/live/pacers.h"
#include "state/base/slice.h"
#include "state/model/event.h"

struct router;

enum { ACCOUNTS_EVENTS = 16 }; /* A batch: at most 1,024 accounts. */

struct accounts {
    struct buf bytes; /* Records back to back. */
    size_t ends[ACCOUNTS_EVENTS];
    uint32_t n; /* Records. */
    uint32_t saved_n;
    struct pacer_saved saved[ACCOUNTS_EVENTS * ACCOUNTS_MAX];
    struct event event; /* Scratch. */
};

void accounts_done(struct accounts *a);
void accounts_collect(struct accounts *a, struct pacers *pacers, int64_t now_us);
struct slice accounts_record(const struct accounts *a, uint32_t i);
/* They were not written: the next batch has them again. */
void accounts_return(struct accounts *a, struct pacers *pacers);
/* At start: the accounts of a router's budgets go on from where the journal has them. */
MUST_USE enum err accounts_restore(const struct router *router, struct pacers *pacers,
                                   int64_t now_us);
