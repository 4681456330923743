/* published.h - the one pointer that readers follow: the current snapshot, reclaimed by RCU.
 * Why: a reader takes no lock and never waits for the writer; the writer waits for readers only
 * when PUBLISHED_RETIRED_MAX snapshots are still to be freed. Without that bound a storm of updates
 * on a machine that leaves the reclaiming thread no time would fill the memory with snapshots.
 * Owns: the current snapshot and those that readers may still hold.
 * Threads: set from the writer only. A reader thread registers once, and between acquire and
 * release neither blocks nor waits for the writer. Invariant: a snapshot is freed only when every
 * reader that could have seen it has released. */
#pragma once

#include "state/base/err.h"
#include "state/model/snapshot.h"

struct published;

enum { PUBLISHED_RETIRED_MAX = 64 };

MUST_USE enum err published_new(struct published **ret_published);
/* No reader may be left. Frees what is held. */
void published_free(struct published *p);

void published_register_thread(void);
void published_unregister_thread(void);

const struct snapshot *published_acquire(struct published *p);
void published_release(struct published *p);

/* Returns when every reader that was between acquire and release is through: what they may have
 * seen beside the snapshot can go. From any thread that holds no snapshot; may take milliseconds.
 */
void published_wait_for_readers(struct published *p);

/* The writer's own look at what is current; NULL before the first set. */
const struct snapshot *published_current(const struct published *p);
/* Takes the snapshot; readers see it at once. Without memory, or with as many retired as may be,
 * the one before is freed before this returns: it waits until its readers are through. */
void published_set(struct published *p, struct snapshot *snapshot);
