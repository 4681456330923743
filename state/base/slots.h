/* slots.h - places of one size, side by side on huge pages.
 * Why: what a decision reads of ten thousand arms is as many pieces of memory. In a heap each lies
 * on pages of its own, and a CPU spends as long on finding pages as on reading them; and pieces
 * that are freed and taken again one by one leave a heap without order. Here they stand in slabs of
 * one huge page, and a place that was given back is the next to be taken.
 * Owns: its slabs. Every place that is out keeps the slots alive, so who gives the last one back
 * may be later than who made them.
 * Threads: any; one lock, held for a few instructions, or while a slab is mapped or made huge.
 * Invariants: a slab is asked to become a huge page when it is full for the first time, so memory
 * that nobody took is never paid for; the oldest slab with room gives the next place, so the young
 * ones run empty; of those that are, one is kept. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct slots;

enum {
    SLOTS_SLAB_BYTES = 2 << 20, /* A huge page of x86-64 and arm64. */
    SLOTS_PLACE_MAX = 64 << 10, /* Larger ones would waste more than a 32nd of a slab, */
    SLOTS_ALIGN = 64,           /* what every place stands on. */
};

/* Of places of 1 .. SLOTS_PLACE_MAX bytes. NULL: no memory. */
struct slots *slots_new(size_t place_bytes);
struct slots *slots_acquire(struct slots *s);
void slots_release(struct slots *s); /* NULL is fine. */

/* Its bytes are anything. NULL: no memory. */
void *slots_take(struct slots *s);
void slots_give(void *place); /* NULL is fine. */

/* For tests and figures. */
struct slots_count {
    size_t out;         /* Places. */
    size_t slabs, huge; /* Mapped, and of those asked to be huge pages. */
};
struct slots_count slots_count(struct slots *s);
