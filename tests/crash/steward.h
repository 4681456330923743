/* steward.h - the clients' steward: changes arms and weights under fire, and remembers what was
 * acknowledged.
 * Owns: nothing outside itself. Threads: one at a time. */
#pragma once

#include "client/call.h"
#include "tests/crash/wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct steward_arm {
    char name[16];
    bool present;
    unsigned version;
};

/* What is acknowledged, or would be if the call in doubt was taken. */
struct steward_view {
    struct steward_arm arms[4]; /* Of ROUTER_CHURN. */
    double weight;              /* Of `reward` in ROUTER_CHURN. */
    bool paused;                /* The last arm of ROUTER_KEPT. */
};

struct steward {
    struct steward_view known, doubtful;
    bool in_doubt; /* `doubtful` may be true as well. */
    uint64_t seed, turn, checkpoint;
    unsigned rotations;
    uint64_t acked;
    char wrong[512];
};

void steward_init(struct steward *o, uint64_t seed);
/* One random change. False when the server did not answer, or `wrong` is not empty. */
bool steward_act(struct steward *o, struct call_channel *admin);
/* Compares with what the server has; resolves what is in doubt. False: `wrong` says. */
bool steward_compare(struct steward *o, const struct wire_router *kept,
                     const struct wire_router *churn);
