#include "tests/bench/pool.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void pool_must(enum err e, const char *what)
{
    if (e == OK)
        return;
    (void)fprintf(stderr, "shunt-bench: %s: %s\n", what, err_text(e));
    exit(EXIT_FAILURE);
}

uint32_t pool_fold(struct pool *p)
{
    struct fold_result r;
    pool_must(model_reserve(p->model, p->event, 0), "reserve");
    fold_event(p->model, p->event, p->position++, &r);
    pool_must(r.err, "fold");
    return r.uid;
}

static void make_router(struct pool *p, void (*set)(struct router_settings *settings))
{
    memset(p->event, 0, sizeof *p->event);
    p->event->kind = EVENT_ROUTER_CREATE;
    struct router_config *c = &p->event->u.router;
    settings_defaults(c, "bench");
    c->spec = (struct feature_spec){.features_n = (uint16_t)(p->d - 1)};
    if (set)
        set(&c->settings);
    p->router_uid = pool_fold(p);
}

static void make_arms(struct pool *p)
{
    for (uint32_t a = 0; a < p->arms_n; a++) {
        memset(p->event, 0, sizeof *p->event);
        p->event->kind = EVENT_ARM_ADD;
        p->event->u.arm.router_uid = p->router_uid;
        (void)snprintf(p->event->u.arm.config.name, NAME_CAP, "arm-%05u", a);
        uint32_t uid = pool_fold(p);
        if (a == 0)
            p->first_uid = uid;
        if (uid != p->first_uid + a)
            pool_must(ERR_INVALID, "uids of arms are not in a row");
    }
}

/* Uniform numbers, a row of them of this length on average. */
static void fill_row(float *row, uint32_t n, double length, uint64_t seed)
{
    for (uint32_t i = 0; i < n; i++)
        row[i] = (float)((2 * rng_uniform(seed, i) - 1) * length * sqrt(3.0 / n));
}

void pool_open(struct pool *p, uint32_t arms_n, uint32_t d,
               void (*set)(struct router_settings *settings))
{
    memset(p, 0, sizeof *p);
    p->arms_n = arms_n;
    p->d = d;
    p->position = 1;
    p->event = calloc(1, sizeof *p->event);
    p->x = malloc((size_t)POOL_CONTEXTS * d * sizeof *p->x);
    p->theta = malloc((size_t)arms_n * d * sizeof *p->theta);
    pool_must(p->event && p->x && p->theta ? OK : ERR_NOMEM, "pool");
    pool_must(model_new(&p->model), "model");
    for (uint32_t c = 0; c < POOL_CONTEXTS; c++) {
        p->x[(size_t)c * d] = 1;
        fill_row(p->x + (size_t)c * d + 1, d - 1, .577, 1000 + c);
    }
    for (uint32_t a = 0; a < arms_n; a++)
        fill_row(p->theta + (size_t)a * d, d, 2, 100000 + a);
    make_router(p, set);
    make_arms(p);
}

void pool_close(struct pool *p)
{
    snapshot_free(p->snapshot);
    model_free(p->model);
    free(p->event);
    free(p->theta);
    free(p->x);
}

const float *pool_context(const struct pool *p, uint32_t c)
{
    return p->x + (size_t)(c % POOL_CONTEXTS) * p->d;
}

void pool_outcome(struct pool *p, uint32_t i, uint32_t c)
{
    const struct router_config *config = &model_router(p->model, p->router_uid)->config;
    struct event_outcome *o = &p->event->u.outcome;
    const float *x = pool_context(p, c), *theta = p->theta + (size_t)i * p->d;
    double value = .5, noise = .2 * (rng_uniform(7, p->reported) - .5) * 1.73;
    for (uint32_t k = 0; k < p->d; k++)
        value += .25 * (double)theta[k] * (double)x[k];
    value += noise;
    value = value < 0 ? 0 : value > 1 ? 1 : value;
    uint32_t cost = (uint32_t)settings_metric_index(config, "cost_usd", strlen("cost_usd"));
    double usd = 1e-4 * (1 + i % 16) * (.5 + rng_uniform(8, p->reported));
    double usd_z = metric_normalise(&config->metrics[cost], usd);
    memset(p->event, 0, sizeof *p->event);
    p->event->kind = EVENT_OUTCOME;
    memcpy(o->decision.id, &p->reported, sizeof p->reported);
    o->decision.router_uid = p->router_uid;
    o->decision.arm_uid = p->first_uid + i;
    o->decision.spec_hash = model_router(p->model, p->router_uid)->hash;
    o->decision.propensity = 1;
    o->decision.d = (uint16_t)p->d;
    memcpy(o->decision.x, x, p->d * sizeof *x);
    o->metrics[0] = (struct outcome_metric){0, value, value};
    o->metrics[1] = (struct outcome_metric){(uint8_t)cost, usd, usd_z};
    o->metrics_n = 2;
    p->reported++;
}

void pool_report(struct pool *p, uint32_t i, uint32_t c)
{
    pool_outcome(p, i, c);
    (void)pool_fold(p);
}

void pool_teach(struct pool *p, uint32_t outcomes)
{
    for (uint32_t k = 0; k < outcomes; k++)
        for (uint32_t i = 0; i < p->arms_n; i++)
            pool_report(p, i, (uint32_t)(rng_uniform(9, p->reported) * POOL_CONTEXTS));
}

void pool_look(struct pool *p)
{
    struct snapshot *next;
    pool_must(snapshot_build(p->model, p->snapshot, &next), "snapshot");
    snapshot_free(p->snapshot);
    p->snapshot = next;
}
