/* inbox.h - the bounded queue between those who bring events and the one writer.
 * Owns: nothing but its list; an item belongs to the caller until `done` was called on it.
 * Threads: put from any, take from the writer. */
#pragma once

#include "state/base/err.h"
#include "state/base/slice.h"
#include "state/model/fold.h"

struct inbox;

/* What a caller brings: the record's bytes (kept alive by the caller until done) and who to tell.
 * `done` runs on the writer's thread or its herald's, one at a time, after commit, fold and publish
 * (or on failure); it must be quick and must not wait. */
struct inbox_item {
    struct slice record;
    void (*done)(struct inbox_item *item, enum err e, const struct fold_result *result,
                 uint64_t position);
    struct inbox_item *next; /* The inbox's. */
    uint32_t together;       /* The inbox's: items of its group from this one on. */
};
enum { INBOX_GROUP_MAX = 1000 };

MUST_USE enum err inbox_new(uint32_t capacity, struct inbox **ret_inbox);
/* Empty by then: taken items and waiting ones alike are told `done` by the writer. */
void inbox_free(struct inbox *b);

/* ERR_QUEUE_FULL when `capacity` items wait; ERR_SHUTTING_DOWN after inbox_close. The item was then
 * not taken. */
MUST_USE enum err inbox_put(struct inbox *b, struct inbox_item *item);
/* The same for n items, at most INBOX_GROUP_MAX, which stay together: one inbox_take hands out all
 * of them, in order, so that they share a commit. Takes all or none. */
MUST_USE enum err inbox_put_all(struct inbox *b, struct inbox_item *const *items, uint32_t n);
/* Takes up to max items in order; waits up to wait_us for the first (negative: without end). max is
 * at least INBOX_GROUP_MAX, unless nobody puts groups. *ret_n 0: timed out, or closed and empty
 * (then *ret_closed). The list is linked by next, and read before `done`: after it the item may be
 * gone or in the inbox again. */
void inbox_take(struct inbox *b, uint32_t max, int64_t wait_us, struct inbox_item **ret_list,
                uint32_t *ret_n, bool *ret_closed);
/* From the writer: waits up to wait_us until `wanted` items are there, or the inbox is full or
 * closed. Takes none; returns how many there are. */
uint32_t inbox_gather(struct inbox *b, uint32_t wanted, int64_t wait_us);
/* Refuses new items and wakes the writer; what waits can still be taken. */
void inbox_close(struct inbox *b);
uint32_t inbox_depth(struct inbox *b);
