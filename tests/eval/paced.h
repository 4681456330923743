/* paced.h - a router under a budget that plays real rows a decision at a time: what `pacing` and
 * `drift` have in common. Decisions are decide's, with the pacer, its gate and its price; outcomes
 * fold when the caller says that they are known. No server, no wire, no task label.
 * Owns: model and snapshot, between open and close. Errors of ours abort. Threads: one. */
#pragma once

#include "server/route/decide.h"
#include "state/model/fold.h"
#include "state/model/settings.h"
#include "tests/eval/rows.h"

#include <stdbool.h>

enum { PACED_QUALITY, PACED_COST, PACED_METRICS };

struct paced {
    /* The caller's, before paced_open. */
    const struct rows *rows;
    const float *x; /* (rows->n, d), paced_contexts. */
    struct router_config config;
    uint64_t seed;
    bool budgeted; /* False: no gate and no price. May change between decisions. */
    bool doubts;   /* An alarm makes the pacer doubt its window, as in the server. */
    /* To read. */
    uint64_t decided;
    struct pacing pacing;
    /* Its own. */
    struct model *model;
    struct snapshot *snapshot;
    struct event event;
    uint64_t position, learned;
    uint32_t router_uid, arm_uid[ROWS_ARMS_MAX];
    uint64_t issued[ROWS_ARMS_MAX];
    struct pacing_slot slots[PACING_W];
    struct decide_scratch scratch;
};

/* A decision whose outcome is not known yet. */
struct paced_choice {
    uint32_t row, arm;
    double charged; /* What it was predicted to cost. */
};

/* What would be decided: the arms that may be chosen, what they cost, which it is. */
struct paced_look {
    struct eligible arms[ROWS_ARMS_MAX];
    float cost[ROWS_ARMS_MAX];
    uint32_t n;
    struct decide_result result;
};

/* The default router, with the metrics quality and cost_usd out of its default table, no tasks. */
void paced_config(struct router_config *ret_config);
/* The contexts of all rows under that configuration; the caller frees them. */
float *paced_contexts(const struct rows *rows);
double paced_mean(const struct rows *rows, uint32_t arm, int metric);

/* Without arms and without a pacer. */
void paced_open(struct paced *g);
void paced_close(struct paced *g);
/* Arms are added in the order of the rows' columns. declared: with the arm's mean cost. */
void paced_add_arm(struct paced *g, uint32_t arm, bool declared);
/* A pacer that starts afresh: empty window, empty bank. US$ a request. */
void paced_budget(struct paced *g, double budget);
/* Of the next decision, at this context; nothing is counted. */
void paced_look(struct paced *g, const float *x, struct paced_look *ret_look);
/* Decides row number `row`; what the arm is predicted to cost is paid. */
struct paced_choice paced_choose(struct paced *g, uint32_t row);
/* The outcome becomes known. */
struct fold_result paced_learn(struct paced *g, const struct paced_choice *c, double quality,
                               double cost);
/* An announced change of an arm's price. */
void paced_announce(struct paced *g, uint32_t arm, double factor);
