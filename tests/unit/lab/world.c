#include "tests/unit/lab/world.h"

#include "state/base/rng.h"
#include "tests/unit/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

void world_config(struct router_config *ret_config)
{
    struct router_config *c = ret_config;
    settings_defaults(c, "world");
    c->spec = (struct feature_spec){.version = 1, .features_n = WORLD_D - 1};
    c->settings.newcomer_pulls = 0;
    c->settings.explore_floor = 0;
    memset(c->metrics, 0, sizeof c->metrics);
    c->metrics_n = 2;
    c->metrics[WORLD_REWARD] = (struct metric_def){
        .name = "reward", .group = METRIC_RATED, .max = 1, .norm_high = 1, .weight = 1};
    c->metrics[WORLD_COST] = (struct metric_def){.name = "cost_usd",
                                                 .group = METRIC_SERVED,
                                                 .lower_is_better = true,
                                                 .max = 1e6,
                                                 .norm_high = 1};
}

const struct lab_arm *world_arms(void)
{
    static const struct lab_arm arms[WORLD_ARMS] = {{"high", NULL}, {"low", NULL}, {"dull", NULL}};
    return arms;
}

void world_context(uint64_t seed, float ret_x[WORLD_D])
{
    ret_x[0] = 1;
    ret_x[1] = (float)(2 * rng_uniform(seed, 0) - 1);
    ret_x[2] = (float)rng_uniform(seed, 1);
}

double world_reward(uint32_t arm, const float *x)
{
    static const double slope[WORLD_ARMS] = {.4, -.3, 0};
    return .5 - .1 * (arm == 2) + slope[arm] * (double)x[1];
}

double world_cost(uint32_t arm, const float *x)
{
    static const double base[WORLD_ARMS] = {.1, .2, .4};
    return base[arm] * (1 + .5 * (double)x[2]);
}

static void fill(struct world_row *w, uint64_t seed, double lean)
{
    struct logged_row *row = &w->row;
    world_context(rng_mix(seed, 7), w->x);
    double left = lean * (double)w->x[1], total = 0, u = rng_uniform(seed, 3);
    w->pmf[0] = (float)((1 + left) / 3);
    w->pmf[1] = (float)((1 - left) / 3);
    w->pmf[2] = 1 - w->pmf[0] - w->pmf[1];
    row->chosen = WORLD_ARMS - 1;
    for (uint32_t i = WORLD_ARMS; i-- > 0;) {
        w->arms[i] = i;
        w->truth[2 * i + WORLD_REWARD] = world_reward(i, w->x);
        w->truth[2 * i + WORLD_COST] = world_cost(i, w->x);
    }
    for (uint32_t i = 0; i < WORLD_ARMS; i++) {
        total += (double)w->pmf[i];
        if (u < total) {
            row->chosen = i;
            break;
        }
    }
    memcpy(row->id, &seed, sizeof seed);
    row->x = w->x;
    row->arms_n = WORLD_ARMS;
    row->arms = w->arms;
    row->pmf = w->pmf;
    row->truth = w->truth;
    row->propensity = (double)w->pmf[row->chosen];
    row->evaluable = true;
    row->has_mask = 3;
    row->raw[WORLD_REWARD] = rng_uniform(seed, 4) < world_reward(row->chosen, w->x);
    row->raw[WORLD_COST] = world_cost(row->chosen, w->x);
    row->z[WORLD_REWARD] = row->raw[WORLD_REWARD];
    row->z[WORLD_COST] = row->raw[WORLD_COST];
}

void world_log_open(struct world_log *log, uint32_t n, uint64_t seed, double lean)
{
    memset(log, 0, sizeof *log);
    log->n = n;
    log->rows = calloc(n, sizeof *log->rows);
    assert_non_null(log->rows);
    for (uint32_t i = 0; i < n; i++) {
        fill(&log->rows[i], rng_mix(seed, i), lean);
        log->rows[i].row.issued_us = 1000 + i;
    }
}

void world_log_close(struct world_log *log)
{
    free(log->rows);
}

static enum err next(void *self, struct logged_row *ret_row, bool *ret_end,
                     struct err_detail *detail)
{
    struct world_log *log = self;
    if (log->fail != OK && log->at == log->fail_at)
        return err_say(detail, log->fail, "the source broke");
    *ret_end = log->at == log->n;
    if (!*ret_end)
        *ret_row = log->rows[log->at++].row;
    return OK;
}

static enum err rewind_log(void *self, struct err_detail *detail)
{
    struct world_log *log = self;
    (void)detail;
    log->at = 0;
    return OK;
}

struct logged_source world_source(struct world_log *log)
{
    log->at = 0;
    return (struct logged_source){log, next, rewind_log};
}
