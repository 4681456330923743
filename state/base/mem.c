#include "state/base/mem.h"

#include <stdbool.h>
#include <stdlib.h>

#ifdef SHUNT_FAULTS
#include <stdatomic.h>

/* The one global of the tree: a test arms it, every allocation counts. */
static _Atomic long fail_at;
static _Atomic long seen;

static bool fails(void)
{
    long n = atomic_fetch_add_explicit(&seen, 1, memory_order_relaxed) + 1;
    return n == atomic_load_explicit(&fail_at, memory_order_relaxed);
}

void mem_fail_nth(long n)
{
    atomic_store(&seen, 0);
    atomic_store(&fail_at, n);
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
