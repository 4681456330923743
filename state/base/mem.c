#include "state/base/mem.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Of the kernel; the C library of 2022 does not name it. */
#endif

#ifdef SHUNT_FAULTS
#include <stdatomic.h>

/* The only globals of the tree: a test arms them, every allocation counts. */
static _Atomic long fail_at;
static _Atomic long seen;
static _Atomic bool on; /* Those after fail_at fail as well. */

static bool fails(void)
{
    long n = atomic_fetch_add_explicit(&seen, 1, memory_order_relaxed) + 1;
    long at = atomic_load_explicit(&fail_at, memory_order_relaxed);
    return n == at || (n > at && atomic_load_explicit(&on, memory_order_relaxed));
}

static void arm(long n, bool go_on)
{
    atomic_store(&on, false);
    atomic_store(&seen, 0);
    atomic_store(&fail_at, n);
    atomic_store(&on, go_on);
}

void mem_fail_nth(long n)
{
    arm(n, false);
}

void mem_fail_from(long n)
{
    arm(n, true);
}

long mem_count(void)
{
    return atomic_load(&seen);
}
#else
static bool fails(void)
{
    return false;
}

void mem_fail_nth(long n)
{
    (void)n;
}

void mem_fail_from(long n)
{
    (void)n;
}

long mem_count(void)
{
    return 0;
}
#endif

void *mem_alloc(size_t size)
{
    return fails() ? NULL : malloc(size ? size : 1);
}

void *mem_calloc(size_t n, size_t size)
{
    return fails() ? NULL : calloc(n ? n : 1, size ? size : 1);
}

void *mem_realloc(void *p, size_t size)
{
    return fails() ? NULL : realloc(p, size ? size : 1);
}

void mem_free(void *p)
{
    free(p);
}

/* Twice as much is mapped, and what is not on the multiple goes back. */
void *mem_map(size_t size)
{
    if (fails())
        return NULL;
    uint8_t *p = mmap(NULL, 2 * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    size_t before = -(uintptr_t)p & (size - 1);
    if (before > 0)
        (void)munmap(p, before);
    (void)munmap(p + before + size, size - before);
    return p + before;
}

void mem_unmap(void *p, size_t size)
{
    (void)munmap(p, size);
}

void mem_make_huge(void *p, size_t size)
{
    if (madvise(p, size, MADV_COLLAPSE) != 0)
        (void)madvise(p, size, MADV_HUGEPAGE);
}
