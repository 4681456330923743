#include "client/ctl/names.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_SLOTS 64U

void names_init(struct names *t)
{
    *t = (struct names){0};
}

void names_done(struct names *t)
{
    for (size_t i = 0; i < t->n; i++)
        free(t->names[i]);
    free(t->names);
    free(t->slots);
    *t = (struct names){0};
}

/* FNV-1a: the names come from the user's own file, so nobody attacks the table but himself. */
static size_t hash(const char *name)
{
    uint64_t h = 1469598103934665603ULL;
    for (; *name; name++)
        h = (h ^ (unsigned char)*name) * 1099511628211ULL;
    return (size_t)(h ^ (h >> 32));
}

/* The slot that holds the name, or the empty one where it belongs. */
static size_t slot_of(const struct names *t, const char *name)
{
    size_t i = hash(name) & t->slots_mask;
    while (t->slots[i] && strcmp(t->names[t->slots[i] - 1], name) != 0)
        i = (i + 1) & t->slots_mask;
    return i;
}

/* At most half of the slots are in use, so that slot_of ends. */
static bool grow(struct names *t)
{
    size_t size = t->slots ? (t->slots_mask + 1) * 2 : FIRST_SLOTS;
    char **more = realloc(t->names, size / 2 * sizeof *more);
    if (!more)
        return false;
    t->names = more;
    uint32_t *slots = calloc(size, sizeof *slots);
    if (!slots)
        return false;
    free(t->slots);
    t->slots = slots;
    t->slots_mask = size - 1;
    t->cap = size / 2;
    for (uint32_t i = 0; i < t->n; i++)
        slots[slot_of(t, t->names[i])] = i + 1;
    return true;
}

bool names_intern(struct names *t, const char *name, uint32_t *ret)
{
    if (t->n == t->cap && !grow(t))
        return false;
    size_t slot = slot_of(t, name);
    if (!t->slots[slot]) {
        char *copy = strdup(name);
        if (!copy)
            return false;
        t->names[t->n++] = copy;
        t->slots[slot] = (uint32_t)t->n;
    }
    *ret = t->slots[slot] - 1;
    return true;
}

struct order {
    char *name;
    uint32_t old;
};

static int compare(const void *a, const void *b)
{
    return strcmp(((const struct order *)a)->name, ((const struct order *)b)->name);
}

bool names_sort(struct names *t, uint32_t *ret_moved)
{
    if (!t->n)
        return true;
    struct order *order = malloc(t->n * sizeof *order);
    if (!order)
        return false;
    for (uint32_t i = 0; i < t->n; i++)
        order[i] = (struct order){t->names[i], i};
    qsort(order, t->n, sizeof *order, compare);
    memset(t->slots, 0, (t->slots_mask + 1) * sizeof *t->slots);
    for (uint32_t i = 0; i < t->n; i++) {
        t->names[i] = order[i].name;
        ret_moved[order[i].old] = i;
    }
    for (uint32_t i = 0; i < t->n; i++)
        t->slots[slot_of(t, t->names[i])] = i + 1;
    free(order);
    return true;
}
