/* engine_adapters.h - the slow loop of routers whose arms are adapters, and what is shown of it.
 *
 * One thread goes round every few milliseconds. For each such router it takes in what requests and
 * engines have said since, ends the epoch when it is over (value the window, plan, journal the
 * update as EVENT_RESIDENCY), hands the plan to the router's engine and publishes a board, which is
 * all that a request ever reads.
 * Why: RouteRequest never waits for a plan, for the journal, or for an engine.
 * Owns: a controller, a queue of pulls, a board and the replicas of each router.
 * Threads: list, pin and watch from any thread with a worker; they may wait for one plan. */
#pragma once

#include "server/adapters/engine.h"
#include "server/adapters/solve.h"
#include "server/engine/board.h"
#include "server/engine/engine.h"

/* One adapter, or the base model. */
struct adapter_info {
    char name[NAME_CAP];
    uint32_t version;
    struct adapter_config config;
    bool paused, desired, owed;
    uint8_t residence; /* enum residence. */
    uint16_t held;     /* As in struct board_arm. */
    double load_ms, price, rate, value;
    uint64_t loads, pulls, misses, waiting;
    char why[EXCLUDED_DETAIL_CAP]; /* Why it is to be resident, or not: a sentence. */
};

/* The plan in force. */
struct adapter_plan {
    char router[NAME_CAP], policy[NAME_CAP];
    uint64_t epoch;            /* Plans made. */
    uint64_t requests, length; /* Of the epoch that runs: so far, and at least. */
    int64_t begun_us;
    uint64_t slots, bytes; /* Of all replicas together; 0: not a bound. */
    double value, uncached;
    bool planned; /* Since this server began; else the next four are 0. */
    enum solve_how how;
    uint32_t loads, evictions;
    double load_price;
    uint32_t adapters, desired, resident;
    uint64_t dropped; /* Pulls that the slow loop was too late for. */
    bool journalled;  /* The last plan is durable, and so are the loads measured until now. */
    enum residency_engine engine;
    uint32_t replicas_n;
    struct engine_replica_view replicas[REPLICAS_MAX];
    char url[REPLICAS_MAX][REPLICA_URL_CAP];
    char error[EXCLUDED_DETAIL_CAP]; /* Why the engine is not driven; empty: it is. */
};

/* Fills ret_adapters (max) in order of the arms; ret_n how many, ret_total how many there are.
 * ret_adapters may be NULL. ERR_ROUTER_NOT_FOUND; ERR_NO_ADAPTERS: the router declares none.
 * ERR_ADAPTERS_PENDING: it, or one of its arms, is so new that the slow loop has not come to it; it
 * will. */
MUST_USE enum err engine_adapters(struct engine_worker *w, struct slice router,
                                  struct adapter_info *ret_adapters, uint32_t max, uint32_t *ret_n,
                                  uint32_t *ret_total, struct adapter_plan *ret_plan,
                                  struct err_detail *detail);
/* What a monitor wants of a router's adapters. The counts are of this server since it began, or
 * since the router declared adapters, and never fall meanwhile. */
struct adapter_counts {
    uint32_t router_uid;
    char router[NAME_CAP];
    uint64_t epoch;         /* Plans made. */
    uint32_t resident;      /* Adapters in fast memory of one replica at least. */
    uint64_t pulls, misses; /* Of adapters: requests that the slow loop has counted. */
    uint64_t loads, failed; /* By the engine; without one, none. */
    uint32_t replicas_n;
    uint16_t up; /* Bit r: replica r answered when it was last asked. */
    char url[REPLICAS_MAX][REPLICA_URL_CAP];
};

/* Of the next router with adapters whose uid is above `after`; false: there are no more. For any
 * thread; may wait for one plan. */
bool engine_adapter_counts(struct engine *e, uint32_t after, struct adapter_counts *ret_counts);
/* The adapter is resident whatever the plan thinks of it; or no longer. A plan that does so is made
 * within milliseconds, whether anything is asked or not. */
MUST_USE enum err engine_adapter_pin(struct engine_worker *w, struct slice router, struct slice arm,
                                     bool pinned, struct err_detail *detail);
/* Rises whenever what is desired or resident changed somewhere. */
uint64_t engine_adapters_version(struct engine *e);
/* Called after each such change, on the slow loop's thread, with its worker. NULL: nobody,
 * from the return of this on: a call under way is waited for, by a lock that is held while f runs
 * and that nothing else takes. So f must not call this. */
void engine_on_residency(struct engine *e, void (*f)(void *ctx, struct engine_worker *w),
                         void *ctx);
