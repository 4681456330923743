#include "server/adapters/engine_lru.h"

#include <stdlib.h>

void lru_used(struct lru_use *u, int64_t begun_us, int64_t ended_us)
{
    if (begun_us > u->sure_us && begun_us >= u->floor_us)
        u->sure_us = begun_us;
    lru_maybe(u, ended_us);
}

void lru_maybe(struct lru_use *u, int64_t at_us)
{
    if (at_us > u->last_us)
        u->last_us = at_us;
}

void lru_doubt(struct lru_use *u, int64_t now_us)
{
    u->sure_us = 0;
    u->floor_us = now_us;
}

static int falling(const void *a, const void *b)
{
    int64_t x, y;
    x = *(const int64_t *)a;
    y = *(const int64_t *)b;
    return (x < y) - (x > y);
}

void lru_sort(int64_t *last, size_t n)
{
    if (n > 1) /* An empty library has no array. */
        qsort(last, n, sizeof *last, falling);
}

size_t lru_rank(const int64_t *last, size_t n, const struct lru_use *u)
{
    if (u->sure_us == 0)
        return SIZE_MAX;
    size_t low = 0, high = n; /* The first that is not later than the sure use. */
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (last[mid] > u->sure_us)
            low = mid + 1;
        else
            high = mid;
    }
    return low - (u->last_us > u->sure_us && low > 0);
}
