/* fleet.h - a reconciler with stub engines behind it, as the tests of drivers want it: adapters
 * "a0" to "a5" (uids 1 to 6), all of them in the library, and a record of what the callbacks said.
 * Threads: the test's, and the reconciler's where a test starts them. */
#pragma once

#include "server/adapters/reconciler.h"
#include "tests/engines/stub.h"

#include <stdatomic.h>

enum { FLEET_ADAPTERS = 6, FLEET_REPLICAS = 2 };

struct fleet {
    enum engine_kind kind;
    struct stub stubs[FLEET_REPLICAS];
    uint32_t stubs_n;
    struct reconciler *r;
    /* What the tests say of traffic, and hear of loads; by uid. */
    atomic_uint in_flight[FLEET_ADAPTERS + 1];
    atomic_llong used_us[FLEET_ADAPTERS + 1];
    atomic_uint loads[FLEET_ADAPTERS + 1], failures[FLEET_ADAPTERS + 1], changes;
    atomic_uint changes_up; /* While replica 0 was up. */
};

/* `more` arguments of the stub besides its slots and adapters; NULL at the end, or NULL. */
void fleet_stub(struct fleet *f, enum engine_kind kind, int slots, const char *const *more);
/* With what the stubs need; `config` may be changed before. */
void fleet_config(struct fleet *f, struct reconciler_config *ret, struct engine_replica *replicas,
                  uint32_t slots);
/* fleet_config and reconciler_open; slots 0: bounded by bytes, two adapters' worth. */
void fleet_open(struct fleet *f, uint32_t slots);
void fleet_done(struct fleet *f);
/* Adapters of `wanted` ("02": a0 and a2) desired, by falling rate as they stand there. */
void fleet_desire(struct fleet *f, const char *wanted);
/* Ticks replica 0 until it says converged, at most n times; how many it took, n + 1: never. */
int fleet_ticks(struct fleet *f, int n);
struct engine_row fleet_row(struct fleet *f, uint32_t replica, uint32_t uid);
struct engine_replica_view fleet_view(struct fleet *f, uint32_t replica);
/* Each of these is resident, in the stub and by its row; others may be too. */
void fleet_holds(struct fleet *f, const char *wanted);
/* Waits, patiently, until a condition holds. */
bool fleet_until(struct fleet *f, bool (*holds)(struct fleet *));
