/* whatif.h - the journal folded again under another configuration of one router.
 * Why: "what would it know, and do, had this setting been different?" is a question to the events,
 * from a base on. Two models fold every event: one as it was, one with the router changed. At the
 * first report of a decision the changed router says what it would have done, before it learns it.
 * What the journal does not hold is taken as follows: eligible arms are those of the router that
 * were neither paused nor cooling, and the chosen one; there is no budget's price; weights are the
 * router's as changed, not the request's. A decision whose metrics come in several events is scored
 * for each metric when it is first reported; its utility only when all metrics with weight came in
 * its first event. Settings that statistics are built on (ridge) act only where the router is
 * created in the events. Owns: nothing after it returns. Threads: one; polls the watch. */
#pragma once

#include "server/lab/evaluate.h"

struct model;

struct event_source {
    void *self;
    /* In order of position; what an event borrows lives until the next call. */
    enum err (*next)(void *self, struct event *ret_event, uint64_t *ret_position, bool *ret_end,
                     struct err_detail *detail);
    enum err (*rewind)(void *self, struct err_detail *detail);
};

/* Changes a configuration in place: settings and metric weights, nothing else. Called for the
 * router as the base has it, and after every event that creates or updates it. */
struct whatif_change {
    void *self;
    enum err (*apply)(void *self, struct router_config *config, struct err_detail *detail);
};

struct whatif_options {
    struct slice base;  /* model_encode's bytes; empty: from nothing. */
    const char *router; /* Name. ERR_ROUTER_NOT_FOUND when neither base nor events have it. */
    struct whatif_change change;
    uint32_t publish_every; /* As target.h. */
    uint64_t seed;
    struct lab_watch watch;
};

/* An arm that the router has when the events end. */
struct whatif_arm {
    char name[NAME_CAP];
    uint64_t logged;     /* Scored rows that chose it. */
    double logged_share; /* Of scored rows. */
    double other_share;  /* Mean mass under the other configuration. */
    /* Mean over the last WHATIF_PROBES scored contexts: predicted utility as it is, and under the
     * other configuration (each under its own weights). */
    double utility_then, utility_other;
};
enum { WHATIF_PROBES = 256 };

struct whatif {
    uint64_t events, outcomes;
    struct evaluation evaluation; /* Without replay. Agreement is in it. */
    uint32_t arms_n;
    struct whatif_arm *arms;
    double prediction_gap; /* Mean |difference| of predicted z over probes, arms and metrics. */
    double prediction_gap_max;
};

MUST_USE enum err whatif_run(const struct whatif_options *o, const struct event_source *events,
                             struct whatif *ret, struct err_detail *detail);
/* Frees ret->arms. */
void whatif_done(struct whatif *w);
