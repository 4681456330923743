/* engine_lru.h - a mirror of an engine's least-recently-used slots: what is surely still there.
 * Why: vLLM says neither what is resident nor what it evicted, but evicts by one known rule. Uses
 * are intervals, since nobody outside sees the instant: an adapter's latest sure use began no
 * earlier than `sure_us`; no use of it, sure or possible, came later than `last_us`. An adapter is
 * in one of `slots` slots if fewer than `slots` others can have been used after its sure use: exact
 * when the intervals are points, and never wrong about what is there when they are not.
 * Pure; times are microseconds of one clock, above 0. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lru_use {
    int64_t sure_us;  /* 0: never, or forgotten. */
    int64_t last_us;  /* 0: never. */
    int64_t floor_us; /* A use before this proves nothing: the engine may have forgotten since. */
};

/* It was used, somewhen from begun to ended. */
void lru_used(struct lru_use *u, int64_t begun_us, int64_t ended_us);
/* It may have been used, up to then. */
void lru_maybe(struct lru_use *u, int64_t at_us);
/* The engine may have forgotten it. */
void lru_doubt(struct lru_use *u, int64_t now_us);

/* last (n): every adapter's last_us, in falling order. How many others may have been used since its
 * sure use; SIZE_MAX when there is none. It is there while that is below the number of slots, and
 * the next to go when it is one below. */
size_t lru_rank(const int64_t *last, size_t n, const struct lru_use *u);
void lru_sort(int64_t *last, size_t n);
