/* replicas.h - the replicas of one router's engine: a reconciler, what requests do to it, and the
 * load times it measures.
 * Owns: the reconciler and a bounded list of loads. Borrows flights and log, which must outlive it.
 * Threads: one caller, the slow loop; the reconciler's own threads only come in through callbacks.
 * No call waits for an engine but replicas_close, which cuts off what is under way. */
#pragma once

#include "server/adapters/reconciler.h"
#include "server/live/flights.h"
#include "state/model/snapshot.h"

struct replicas;

struct replicas_options {
    const struct residency_target *target;
    uint32_t slots; /* Of each; 0: only bytes bounds it. */
    uint64_t bytes;
    const char *token, *ca_file; /* Of every replica; NULL: none, the system's. */
    uint64_t seed;
    struct flights *flights;
    struct log *log;
    const char *router; /* Its name, for the log. */
};

/* Starts its threads. The sentence says what the reconciler would not take. */
MUST_USE enum err replicas_open(const struct replicas_options *o, struct replicas **ret_replicas,
                                struct err_detail *detail);
void replicas_close(struct replicas *r); /* NULL is fine. */

MUST_USE enum err replicas_desire(struct replicas *r, const struct engine_adapter *adapters,
                                  size_t n, struct err_detail *detail);
/* Loads that ended and loads that failed since it was last asked. */
void replicas_take_counts(struct replicas *r, uint64_t *ret_loads, uint64_t *ret_failed);
/* A load that was measured since; false: no more. */
bool replicas_take_load(struct replicas *r, uint32_t *ret_uid, double *ret_ms);
struct reconciler *replicas_status(const struct replicas *r);
