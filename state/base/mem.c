#include "state/base/mem.h"

#include <stdbool.h>
#include <stdlib.h>

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
