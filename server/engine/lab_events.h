/* lab_events.h - the journal from its base on, one event at a time, for a what-if.
 * Why: whoever folds takes events at his own pace; so records are copied in batches, and no
 * transaction is open while he works.
 * Owns: a batch. Threads: one. */
#pragma once

#include "server/engine/engine.h"
#include "server/lab/whatif.h"

struct lab_events;

/* Up to the last position that is durable now. *ret_base borrows from what is returned. */
MUST_USE enum err lab_events_open(struct engine *e, struct lab_events **ret_events,
                                  struct slice *ret_base, struct err_detail *detail);
void lab_events_free(struct lab_events *v); /* NULL is fine. Overwrites the keys in the base. */
struct event_source lab_events_source(struct lab_events *v);
uint64_t lab_events_n(const struct lab_events *v);
