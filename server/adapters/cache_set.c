/* Sets that are chosen by rank, without looking at values. */
#include "server/adapters/cache_policy.h"
#include "state/base/rng.h"

#include <math.h>
#include <string.h>

struct filling {
    const struct solve_input *in;
    uint8_t *has;
    uint32_t n;
    uint64_t bytes;
};

static bool room_for(const struct filling *f, uint32_t i)
{
    const struct solve_input *in = f->in;
    return (in->slots == 0 || f->n < in->slots) &&
           (in->budget == 0 ||
            (in->bytes[i] <= in->budget && f->bytes <= in->budget - in->bytes[i]));
}

static void take(struct filling *f, uint32_t i)
{
    f->has[i] = 1;
    f->n++;
    f->bytes += f->in->bytes[i];
}

enum err cache_fill(const struct cache_input *in,
                    double (*rank)(const struct cache_input *in, uint32_t i), uint8_t *ret_in,
                    struct solve_result *ret)
{
    const struct solve_input *s = &in->solve;
    struct filling f = {s, ret_in, 0, 0};
    memset(ret_in, 0, s->n);
    memset(ret, 0, sizeof *ret);
    for (uint32_t i = 0; i < s->n; i++) {
        if (s->flags[i] & SOLVE_ALWAYS || !(s->flags[i] & SOLVE_MUST))
            continue;
        if (room_for(&f, i))
            take(&f, i);
        else
            ret->dropped++;
    }
    for (;;) {
        uint32_t best = s->n;
        double most = 0;
        for (uint32_t i = 0; i < s->n; i++) {
            if (s->flags[i] & SOLVE_ALWAYS || ret_in[i] || !room_for(&f, i))
                continue;
            double r = rank(in, i);
            if (r > CACHE_NEVER && (best == s->n || r > most)) {
                best = i;
                most = r;
            }
        }
        if (best == s->n)
            return OK;
        take(&f, best);
    }
}

/* Among equals what is resident stays. */
static double by_rate(const struct cache_input *in, uint32_t i)
{
    return in->arms[i]->rate + (in->solve.flags[i] & SOLVE_RESIDENT ? 1e-9 : 0);
}

/* What is there stays; among others the order in which they were declared. */
static double by_place(const struct cache_input *in, uint32_t i)
{
    return in->arms[i]->desired ? 1 : 0;
}

/* The number of the plan would not do: a pin that comes or goes makes a plan too. */
static double by_chance(const struct cache_input *in, uint32_t i)
{
    return rng_uniform(rng_mix(in->settings->seed, in->requests), in->arms[i]->uid);
}

static enum err plan_top_k(const struct cache_input *in, uint8_t *ret_in, struct solve_result *ret)
{
    return cache_fill(in, by_rate, ret_in, ret);
}

static enum err plan_random(const struct cache_input *in, uint8_t *ret_in, struct solve_result *ret)
{
    return cache_fill(in, by_chance, ret_in, ret);
}

static enum err plan_static(const struct cache_input *in, uint8_t *ret_in, struct solve_result *ret)
{
    return cache_fill(in, by_place, ret_in, ret);
}

const struct cache_policy_ops cache_top_k = {.name = "top_k", .plan = plan_top_k};
const struct cache_policy_ops cache_random = {.name = "random", .plan = plan_random};
const struct cache_policy_ops cache_static = {.name = "static", .fixed = true, .plan = plan_static};
