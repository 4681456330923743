#include "server/lab/whatif_arms.h"

#include "state/base/mem.h"

#include <string.h>

static enum err widen(void **array, uint32_t cap, size_t size)
{
    void *wider = mem_realloc(*array, cap * size);
    if (!wider)
        return ERR_NOMEM;
    *array = wider;
    return OK;
}

static enum err grow(struct whatif_arms *a)
{
    uint32_t cap = a->cap ? 2 * a->cap : 16;
    void *uid = a->uid, *logged_n = a->logged_n, *logged = a->logged_share,
         *target = a->target_share;
    enum err e = widen(&uid, cap, sizeof *a->uid);
    a->uid = uid;
    if (e == OK)
        e = widen(&logged_n, cap, sizeof *a->logged_n);
    a->logged_n = logged_n;
    if (e == OK)
        e = widen(&logged, cap, sizeof *a->logged_share);
    a->logged_share = logged;
    if (e == OK)
        e = widen(&target, cap, sizeof *a->target_share);
    a->target_share = target;
    if (e == OK)
        a->cap = cap;
    return e;
}

/* Moves what stands from `at` on one place up, and clears the place. */
static void open_place(void *array, uint32_t at, uint32_t n, size_t size)
{
    char *place = (char *)array + at * size;
    memmove(place + size, place, (n - at) * size);
    memset(place, 0, size);
}

enum err whatif_arms_at(struct whatif_arms *a, uint32_t uid, uint32_t *ret_at)
{
    uint32_t low = 0, high = a->n;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (a->uid[middle] < uid)
            low = middle + 1;
        else
            high = middle;
    }
    *ret_at = low;
    if (low < a->n && a->uid[low] == uid)
        return OK;
    if (a->n == a->cap)
        TRY(grow(a));
    open_place(a->uid, low, a->n, sizeof *a->uid);
    open_place(a->logged_n, low, a->n, sizeof *a->logged_n);
    open_place(a->logged_share, low, a->n, sizeof *a->logged_share);
    open_place(a->target_share, low, a->n, sizeof *a->target_share);
    a->uid[low] = uid;
    a->n++;
    return OK;
}

void whatif_arms_done(struct whatif_arms *a)
{
    mem_free(a->uid);
    mem_free(a->logged_n);
    mem_free(a->logged_share);
    mem_free(a->target_share);
    memset(a, 0, sizeof *a);
}
