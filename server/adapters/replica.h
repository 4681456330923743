/* replica.h - one replica of an engine: what it holds, what it should, and a pass between the two.
 * Why: each replica has its own memory, its own faults and its own thread, so that a slow one
 * delays nobody else. Owns: its driver, its items, its share of the library. Borrows hooks,
 * callbacks and log. Threads: one caller at a time; replica_abort from any. What others may see
 * leaves through hooks->publish. */
#pragma once

#include "server/adapters/driver.h"
#include "server/adapters/library.h"
#include "server/adapters/reconciler.h"

enum {
    REPLICA_OFFERS = 32, /* A pass: each may disturb an LRU, and residents are touched after. */
    REPLICA_DOWN = 3,    /* Failures in a row after which its share goes to the others. */
};

struct replica;

/* To whoever owns the replicas. None may wait for an engine. */
struct replica_hooks {
    void *ctx;
    /* The newest library, acquired; NULL: nothing is desired yet. */
    struct library *(*library)(void *ctx);
    bool (*stopping)(void *ctx);
    /* Its rows (owned by the callee from now on) and its view. changed: worth telling others. */
    void (*publish)(void *ctx, uint32_t index, struct engine_row *rows, size_t n,
                    const struct engine_replica_view *view, bool changed);
    /* It is down, or back. */
    void (*moved)(void *ctx, uint32_t index, bool down);
};

struct replica_config {
    uint32_t index;
    const char *name;
    const char *router; /* For the log; NULL: not said. */
    struct driver_config driver;
    int64_t drain_us, backoff_min_us, backoff_max_us;
    uint64_t seed;
    const struct replica_hooks *hooks;
    const struct reconciler_calls *calls;
    struct log *log;
};

MUST_USE enum err replica_open(const struct replica_config *config, struct replica **ret_replica,
                               struct err_detail *detail);
void replica_close(struct replica *r); /* Takes NULL. */
void replica_abort(struct replica *r);
/* As reconciler_tick says; ERR_CANCELLED when it is being stopped. ret_more: work is left that the
 * pass had no room for. */
MUST_USE enum err replica_tick(struct replica *r, bool *ret_more);
/* Failures in a row, for the pause until the next pass. */
uint32_t replica_failures(const struct replica *r);
double replica_jitter(struct replica *r); /* [0, 1). */
