/* view_memory.h - where the views of a router's arms lie.
 * Why: of ten thousand arms a decision reads one matrix each, which is a twelfth of what a view
 * holds at d = 39. In a large pool the matrices of a group stand side by side on huge pages
 * (state/base/slots.h), the rest of the views on others; a small pool's view is one piece of the
 * heap, which the nearest caches hold.
 * Owns: the slots, shared by the snapshots of a router and by every view that lies in them.
 * Threads: views are made by the writer and freed by whoever releases the last snapshot of them. */
#pragma once

#include "state/model/snapshot.h"

struct view_memory;

/* Of views of this shape. *ret_memory is NULL where the heap serves better: matrices so large that
 * each is a long stream of its own. ERR_NOMEM. */
MUST_USE enum err view_memory_new(uint32_t d, uint32_t metrics_n, struct view_memory **ret_memory);
struct view_memory *view_memory_acquire(struct view_memory *m); /* NULL is fine. */
void view_memory_release(struct view_memory *m);                /* NULL is fine. */
bool view_memory_fits(const struct view_memory *m, uint32_t d, uint32_t metrics_n);

/* All zero but d, stride, metrics_n, config (a copy), where its arrays stand, and one reference.
 * memory NULL: the heap. NULL: no memory. */
struct arm_view *arm_view_new(struct view_memory *memory, uint32_t d, uint32_t metrics_n,
                              const struct arm_config *config);
/* The same numbers as `like`, which keeps being read and counted meanwhile; one reference. */
struct arm_view *arm_view_copy(struct view_memory *memory, const struct arm_view *like);
/* Whatever its count says. */
void arm_view_free(struct arm_view *v);
