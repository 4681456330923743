#include "tests/bench/allocations.h"

#include <stdatomic.h>
#include <stddef.h>

static _Atomic unsigned long count;

/* Names that the linker prescribes. */
void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);

void *__wrap_malloc(size_t size)
{
    atomic_fetch_add(&count, 1);
    return __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    atomic_fetch_add(&count, 1);
    return __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
    atomic_fetch_add(&count, 1);
    return __real_realloc(p, size);
}

unsigned long allocations_count(void)
{
    return atomic_load(&count);
}
