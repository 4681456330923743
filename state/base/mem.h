/* mem.h - allocation that tests can make fail.
 * Why: "the n-th allocation fails" must be a test for every n, not a hope. With SHUNT_FAULTS off
 * these are malloc and friends.
 * Threads: any. The fault counter is shared by all threads. */
#pragma once

#include <stddef.h>

void *mem_alloc(size_t size);
void *mem_calloc(size_t n, size_t size);
void *mem_realloc(void *p, size_t size);
void mem_free(void *p);

/* `size` zeroed bytes of pages of their own, on a multiple of size, which is a power of two and at
 * least a page; counted as an allocation. Only what is touched takes memory. NULL: none. */
void *mem_map(size_t size);
void mem_unmap(void *p, size_t size);
/* Asks the system to hold these bytes, which are all in use, on huge pages: at once where it can
 * (Linux from 6.1), else when it finds the time. A wish: what is read is the same. */
void mem_make_huge(void *p, size_t size);

/* Tests only: the n-th allocation from now (1-based) fails, once; 0 disarms. A no-op without
 * SHUNT_FAULTS. */
void mem_fail_nth(long n);
/* Tests only: so do all after it, until mem_fail_nth(0). */
void mem_fail_from(long n);
/* Tests only: allocations seen since the last of these. 0 without SHUNT_FAULTS. */
long mem_count(void);
