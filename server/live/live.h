/* live.h - the accounts of now: what must count at the moment of deciding, before any disk knows.
 * Why: optimism shrinks with pulls issued, not with outcomes received; a caller's id sent twice
 * gets one decision. Counters reach the journal as cumulative TALLY events, so they survive a
 * restart. Owns: its tables. Counters are found by uid; uids are never used twice. Threads: any;
 * counters are relaxed atomics, the recent-id map has one short lock per shard. Never allocates on
 * the counting path once a uid's chunk exists (live_prepare, from the writer). */
#pragma once

#include "state/base/err.h"
#include "state/base/name.h"
#include "state/base/slice.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct recent;

/* Of one uid, router or arm. Zero until somebody counts. */
struct live_count {
    _Atomic uint64_t issued;     /* Arms: decisions for it. Routers: requests decided. */
    _Atomic uint64_t tallied;    /* The value last written by a TALLY. Writer only. */
    _Atomic int64_t probe_at_us; /* Arms: when the last cooldown probe was let through. */
    /* Routers: of the requests, those drawn to a side of a split (of deferred ones when they are
     * served), those of logging only, and the deferred ones. The last two move only together with
     * issued. */
    _Atomic uint64_t sides[2], logged, deferred;
    /* Routers: of the deferred ones, served since; and the value last written by a TALLY. */
    _Atomic uint64_t activated, activated_tallied;
};

/* Two levels: a table of pointers, never moved, to chunks of counters, never freed before the end.
 * So a reader needs one acquire load and no lock. The table is calloc'ed beyond malloc's mmap
 * threshold: its untouched pages cost nothing. Shown here for live_get, which every arm of every
 * decision calls; nobody else looks inside. */
enum { LIVE_CHUNK_N = 1024, LIVE_CHUNKS_N = 1 << 16 };
struct live_chunk {
    struct live_count counts[LIVE_CHUNK_N];
};
struct live {
    _Atomic(struct live_chunk *) *chunks;
    struct recent *recent;
};

/* recent_max: caller ids remembered, bounded (default 65536) and never 0; recent_keep_us: for how
 * long (60 s). Their answers take at most 64 MiB together; the oldest go first. */
MUST_USE enum err live_new(uint32_t recent_max, int64_t recent_keep_us, struct live **ret_live);
void live_free(struct live *l);

/* Makes the counters of `uid` exist, starting at `issued` when that is larger; `tallied` is left to
 * the caller. ERR_LIMIT from uid 2^26 on. Writer only. */
MUST_USE enum err live_prepare(struct live *l, uint32_t uid, uint64_t issued);
/* NULL only for a uid never prepared. */
static inline struct live_count *live_get(struct live *l, uint32_t uid)
{
    if (uid / LIVE_CHUNK_N >= LIVE_CHUNKS_N)
        return NULL;
    struct live_chunk *chunk =
        atomic_load_explicit(&l->chunks[uid / LIVE_CHUNK_N], memory_order_acquire);
    return chunk ? &chunk->counts[uid % LIVE_CHUNK_N] : NULL;
}

/* Lets one probe through per `interval_us`: true for exactly one caller per interval. */
bool live_probe(struct live_count *c, int64_t now_us, int64_t interval_us);

/* The caller's id: remembers (id, body hash) -> answer bytes for recent_keep_us.
 * FRESH: not known; the caller decides and then calls live_recent_put (or live_recent_drop).
 * SAME: ret_answer (caller's buffer, cap) holds what was answered. OTHER: known with another body.
 * BUSY: another thread is deciding this very id now, or every entry of its shard. */
enum live_recent { LIVE_FRESH, LIVE_SAME, LIVE_OTHER, LIVE_BUSY };
enum live_recent live_recent_begin(struct live *l, const uint8_t id[ID_BYTES], uint64_t body_hash,
                                   int64_t now_us, struct buf *ret_answer);
/* Both act only on an id that is still being decided. */
void live_recent_put(struct live *l, const uint8_t id[ID_BYTES], struct slice answer);
void live_recent_drop(struct live *l, const uint8_t id[ID_BYTES]);
