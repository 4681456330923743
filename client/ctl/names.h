/* names.h - strings to small numbers, in the order of first appearance.
 * Why: a replay file repeats a few names on every row; rows keep numbers.
 * Owns: copies of the names. Threads: one at a time.
 * Invariant: the numbers are 0 .. n-1 without a gap; names[i] has number i. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct names {
    char **names;
    size_t n, cap;
    uint32_t *slots; /* Open addressing; number + 1, 0 is empty. Its size is slots_mask + 1. */
    size_t slots_mask;
};

void names_init(struct names *t);
void names_done(struct names *t);
/* The number of a name, which is added when new. False: out of memory. */
bool names_intern(struct names *t, const char *name, uint32_t *ret);
/* Sorts by bytes and writes the new number of each old one to ret_moved (n,). False: out of memory,
 * nothing moved. */
bool names_sort(struct names *t, uint32_t *ret_moved);
