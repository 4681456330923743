/* pool.h - a router of N arms that have learned, for figures that need no server: the model, its
 * snapshot, and contexts to ask about.
 * The workload: contexts of a bias and d - 1 numbers in [-1, 1] / sqrt(d - 1); an arm's reward is
 * .5 + .25 (theta . x), theta of length 2 in a direction of its own, and noise of .1; a cost comes
 * with it. Aborts with a sentence when memory is out. */
#pragma once

#include "state/base/rng.h"
#include "state/model/event.h"
#include "state/model/fold.h"
#include "state/model/model.h"
#include "state/model/snapshot.h"

enum { POOL_CONTEXTS = 512 };

struct pool {
    uint32_t arms_n, d, router_uid, first_uid; /* Arms have uids in a row. */
    uint64_t position, reported;
    struct model *model;
    struct snapshot *snapshot; /* Of the last pool_look; NULL before. */
    float *x;                  /* (POOL_CONTEXTS, d) */
    float *theta;              /* (arms_n, d) */
    struct event *event;
};

/* set: changes to the settings, or NULL. */
void pool_open(struct pool *p, uint32_t arms_n, uint32_t d,
               void (*set)(struct router_settings *settings));
void pool_close(struct pool *p);
/* The outcome of arm i answering context c, in p->event. */
void pool_outcome(struct pool *p, uint32_t i, uint32_t c);
/* p->event is folded; returns the uid of what it created. */
uint32_t pool_fold(struct pool *p);
/* Both. */
void pool_report(struct pool *p, uint32_t i, uint32_t c);
/* So many outcomes for every arm. */
void pool_teach(struct pool *p, uint32_t outcomes);
/* Publishes: a new snapshot, sharing with the last what it can. */
void pool_look(struct pool *p);
const float *pool_context(const struct pool *p, uint32_t c);
/* Ends the program unless OK. */
void pool_must(enum err e, const char *what);
