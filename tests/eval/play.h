/* play.h - a router plays through real rows: decide, learn, decide; no server, no wire.
 * Why: a figure over 20 orders takes seconds this way, through the very route and model code that
 * the server runs. Every row's outcome folds before the next row is decided.
 * Owns: nothing beyond a call; the contexts are the caller's. Errors of ours abort. */
#pragma once

#include "state/model/settings.h"
#include "tests/eval/rows.h"

#include <stdbool.h>

/* What happened at one row, for whoever watches. */
struct play_step {
    uint32_t i; /* In the order. */
    uint32_t arm;
    double utility; /* Under the weights in force, or those that are to come. */
    const struct row *row;
};

struct play {
    const struct rows *rows;
    const struct router_config *config; /* Metrics as play_config declares them. */
    const float *x;                     /* (rows->n, spec_d). */
    const uint32_t *order;              /* (order_n): the rows that come, as they come. */
    uint32_t order_n;
    uint64_t seed; /* Of the router's draws. */
    /* What may be left out, zero: */
    const struct arm_config *arms; /* (arms.n): declarations; else names alone. */
    const uint32_t *enters;        /* (arms.n): an arm joins before that row; else at the start. */
    /* New weights of the metrics before row weights_at; utility counts by them all along. */
    const double *weights_then;
    uint32_t weights_at;
    void (*watch)(void *user, const struct play_step *step);
    void *user;
};

/* A default router with two metrics: quality, and cost, normalised on the logarithm between the
 * mean of the cheapest arm and that of the dearest (none when rows hold no cost); explore_floor 0.
 */
void play_config(const struct rows *rows, const struct feature_spec *spec, double cost_weight,
                 struct router_config *ret_config);
/* The contexts of all rows: ret_x (rows->n, spec_d); with their task in its slot, or without. */
void play_contexts(const struct rows *rows, const struct feature_spec *spec, bool task,
                   float *ret_x);
/* Mean utility of the arms it chose: sum of +-weight z over the metrics of the configuration. */
double play_run(const struct play *p);
/* Mean utility of one arm always, of the best. */
double play_best_single(const struct play *p);
