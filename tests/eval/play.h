/* play.h - a router plays through real rows: decide, learn, decide; no server, no wire.
 * Why: a figure over 20 orders takes seconds this way, through the very route and model code that
 * the server runs. Every row's outcome folds before the next row is decided.
 * Owns: nothing beyond a call; the contexts are the caller's. Errors of ours abort. */
#pragma once

#include "state/model/settings.h"
#include "tests/eval/rows.h"

#include <stdbool.h>

struct play {
    const struct rows *rows;
    const struct router_config *config; /* Metrics as play_config declares them. */
    const float *x;                     /* (rows->n, spec_d). */
    double cost_weight;    /* w: utility is (1 - w) quality + w (1 - normalised cost). */
    const uint32_t *order; /* (order_n): the rows that come, as they come. */
    uint32_t order_n;
    uint64_t seed; /* Of the router's draws. */
};

/* A default router with two metrics: quality, and cost, normalised on the logarithm between the
 * mean of the cheapest arm and that of the dearest (none when rows hold no cost); explore_floor 0.
 */
void play_config(const struct rows *rows, const struct feature_spec *spec, double cost_weight,
                 struct router_config *ret_config);
/* Mean utility of the arms it chose. */
double play_run(const struct play *p);
/* Mean utility of one arm always, of the best. */
double play_best_single(const struct play *p);
