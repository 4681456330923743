#include "server/adapters/assign.h"

#include "state/base/mem.h"

#include <string.h>

struct replica {
    uint32_t n;
    uint64_t bytes;
    double load; /* Share of requests that its adapters bring. */
};

struct assigning {
    const struct assign_input *in;
    struct replica replicas[ASSIGN_REPLICAS_MAX];
    uint32_t *copies; /* (n) */
    uint8_t *full;    /* (n): no replica takes another copy. */
    uint8_t *want;
};

static bool takes(const struct assigning *a, uint32_t r, uint32_t i)
{
    const struct assign_input *in = a->in;
    const struct replica *p = &a->replicas[r];
    return !a->want[(size_t)r * in->n + i] && (in->slots == 0 || p->n < in->slots) &&
           (in->budget == 0 ||
            (in->bytes[i] <= in->budget && p->bytes <= in->budget - in->bytes[i]));
}

/* Held before less busy. */
static bool put(struct assigning *a, uint32_t i)
{
    const struct assign_input *in = a->in;
    uint32_t best = in->replicas;
    for (uint32_t r = 0; r < in->replicas; r++) {
        if (!takes(a, r, i))
            continue;
        bool held = in->held[(size_t)r * in->n + i];
        bool best_held = best < in->replicas && in->held[(size_t)best * in->n + i];
        if (best == in->replicas || (held && !best_held) ||
            (held == best_held && a->replicas[r].load < a->replicas[best].load))
            best = r;
    }
    if (best == in->replicas)
        return false;
    a->want[(size_t)best * in->n + i] = 1;
    a->replicas[best].n++;
    a->replicas[best].bytes += in->bytes[i];
    a->replicas[best].load += in->rate[i] / (a->copies[i] + 1);
    a->copies[i]++;
    return true;
}

/* The desired adapter with the most requests a copy; n when there is none. */
static uint32_t busiest(const struct assigning *a, bool first)
{
    const struct assign_input *in = a->in;
    uint32_t best = in->n;
    double most = 0;
    for (uint32_t i = 0; i < in->n; i++) {
        if (!in->desired[i] || a->full[i] || (first && a->copies[i]))
            continue;
        double rate = in->rate[i] / (a->copies[i] ? a->copies[i] : 1);
        if (best == in->n || rate > most) {
            best = i;
            most = rate;
        }
    }
    return best;
}

enum err assign_replicas(const struct assign_input *in, uint8_t *ret_want, uint32_t *ret_left)
{
    if (in->replicas > ASSIGN_REPLICAS_MAX)
        return ERR_LIMIT;
    struct assigning a = {.in = in, .want = ret_want};
    a.copies = mem_calloc(in->n ? in->n : 1, sizeof *a.copies + sizeof *a.full);
    if (!a.copies)
        return ERR_NOMEM;
    a.full = (uint8_t *)(a.copies + in->n);
    memset(ret_want, 0, (size_t)in->replicas * in->n);
    *ret_left = 0;
    for (uint32_t i; (i = busiest(&a, true)) < in->n;)
        if (!put(&a, i)) {
            a.full[i] = 1;
            ++*ret_left;
        }
    for (uint32_t i; (i = busiest(&a, false)) < in->n;)
        a.full[i] = !put(&a, i);
    mem_free(a.copies);
    return OK;
}
