/* engine_session.h - sessions as the engine's callers see them: opened, ended, listed, and the wait
 * of a request that spends from a strict budget.
 * Why: such a request is answered only when its reservation is durable; the thread that decided it
 * must not wait for that, so it hands over what is needed to answer.
 * Owns: nothing. Threads: as engine.h. */
#pragma once

#include "server/engine/engine.h"

/* A request in flight to the journal; the caller's, alive until `done` was called. Zero it once,
 * route_wait_done frees its buffers; it may be used again and again. */
struct route_wait {
    struct inbox_item item;    /* Private, as all but done and ctx. */
    struct buf record, answer; /* The event; what a repeated decision_id is answered with. */
    struct engine *engine;
    uint32_t router_uid, arm_uid;
    char session[NAME_CAP];
    char new_label[NAME_CAP]; /* Proposed once it is taken; "": none. */
    uint64_t amount;
    uint8_t id[ID_BYTES];
    bool own_id; /* The caller's. */
    /* On the herald's or the writer's thread. */
    void (*done)(struct route_wait *wait, enum err e, const struct err_detail *detail);
    void *ctx;
};
void route_wait_done(struct route_wait *wait);

/* After engine_route said `waits`, on the same worker and before its next call. OK: `done` will be
 * called, once. Else the reservation is released, and the decision must not be used. */
MUST_USE enum err engine_route_wait(struct engine_worker *w, const struct route_out *out,
                                    struct route_wait *wait, struct err_detail *detail);

/* Instead, for a decision that is not used after all: the reservation is released. */
void engine_route_give_back(struct engine_worker *w, const struct route_out *out);

struct session_info {
    char name[NAME_CAP];
    bool strict;
    char metric[NAME_CAP];
    double budget, used; /* In the metric's unit; used: spent and reserved. */
    char held_arm[NAME_CAP];
    uint64_t steps;
    double expires_s; /* From now. */
};

struct session_in {
    struct slice router, session, metric; /* Without a metric: no budget. */
    double amount;
};
/* Opens it, or says how an open one stands. With a budget: durable. */
MUST_USE enum err engine_session_start(struct engine_worker *w, const struct session_in *in,
                                       struct session_info *ret_info, struct err_detail *detail);
struct session_end_in {
    struct slice router, session;
    const struct engine_weight *metrics; /* Rated ones; the reward of the whole session. */
    size_t metrics_n;
};
struct session_end_out {
    struct session_info info; /* As it stood. */
    uint32_t credited;        /* Steps that got a part of the reward. */
    uint32_t reported;        /* Of those it was for, had their own already. */
    uint32_t lost;            /* Of those it was for, are not in the decision log, or are late. */
};
/* Credits the reward by the router's session_credit to the remembered steps, through the gate that
 * every outcome passes, then ends the session. On error it is still open, and may be ended again:
 * nothing counts twice. ERR_SESSION_NOT_FOUND. Waits for two commits at most. */
MUST_USE enum err engine_session_end(struct engine_worker *w, const struct session_end_in *in,
                                     struct session_end_out *ret_out, struct err_detail *detail);

/* At most n of the router's open sessions; *ret_all is how many there are. */
MUST_USE enum err engine_session_list(struct engine_worker *w, struct slice router,
                                      struct session_info *ret_infos, uint32_t n, uint32_t *ret_n,
                                      uint32_t *ret_all, struct err_detail *detail);
