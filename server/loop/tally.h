/* tally.h - the live counters as events: what was issued since the last tally.
 * Owns: its buffers, reused. Threads: the writer. */
#pragma once

#include "server/live/live.h"
#include "state/base/slice.h"
#include "state/model/snapshot.h"

struct tally {
    struct buf bytes;       /* Records back to back. */
    struct buf pairs;       /* Scratch. */
    size_t ends[1024];      /* End of each record in bytes. */
    uint32_t routers[1024]; /* Whose it is. */
    uint32_t n;
};

void tally_init(struct tally *t);
void tally_done(struct tally *t);
/* One record per router whose counters moved; cumulative values. A request counts its router before
 * its arm; so that not every arm is looked at ten times a second, an arm alone that moved waits for
 * the router's next request, unless `all`. */
void tally_collect(struct tally *t, struct live *live, const struct snapshot *s, int64_t now_us,
                   bool all);
struct slice tally_record(const struct tally *t, uint32_t i);
/* The collected values are durable: they need no further tally. */
void tally_commit(const struct tally *t, struct live *live);
