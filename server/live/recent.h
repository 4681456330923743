/* recent.h - caller ids of the last minute and what was answered, behind live_recent_*.
 * Why: a call sent again after a lost answer must get the same decision, not a second one.
 * Owns: copies of the answers; entries and memory are bounded (RECENT_BYTES_MAX): when full, the
 * oldest answered entry goes before its time. Ids come from outside, so the hash is seeded.
 * Threads: any; one mutex a shard, held for a lookup and a copy of the answer.
 * Invariant: while an id is remembered, exactly one caller was told LIVE_FRESH for it. */
#pragma once

#include "server/live/live.h"

struct recent;

/* Bytes of all remembered answers together. */
enum { RECENT_BYTES_MAX = 64 << 20 };

MUST_USE enum err recent_new(uint32_t max, int64_t keep_us, struct recent **ret_recent);
void recent_free(struct recent *r);

/* See live.h. LIVE_BUSY also when nothing can be forgotten because everything is being decided. */
enum live_recent recent_begin(struct recent *r, const uint8_t id[ID_BYTES], uint64_t body_hash,
                              int64_t now_us, struct buf *ret_answer);
/* Without memory for the answer the id is forgotten. */
void recent_put(struct recent *r, const uint8_t id[ID_BYTES], struct slice answer);
void recent_drop(struct recent *r, const uint8_t id[ID_BYTES]);
