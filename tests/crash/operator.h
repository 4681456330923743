/* operator.h - the clients' operator: changes arms and weights under fire, and remembers what was
 * acknowledged.
 * Owns: nothing outside itself. Threads: one at a time. */
#pragma once

#include "client/call.h"
#include "tests/crash/wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct operator_arm {
    char name[16];
    bool present;
    unsigned version;
};

/* What is acknowledged, or would be if the call in doubt was taken. */
struct operator_view {
    struct operator_arm arms[4]; /* Of ROUTER_CHURN. */
    double weight;               /* Of `reward` in ROUTER_CHURN. */
    bool paused;                 /* The last arm of ROUTER_KEPT. */
};

struct operator
{
    struct operator_view known, doubtful;
    bool in_doubt; /* `doubtful` may be true as well. */
    uint64_t seed, turn, checkpoint;
    unsigned rotations;
    uint64_t acked;
    char wrong[512];
};

void operator_init(struct operator* o, uint64_t seed);
/* One random change. False when the server did not answer, or `wrong` is not empty. */
bool operator_act(struct operator* o, struct call_channel *admin);
/* Compares with what the server has; resolves what is in doubt. False: `wrong` says. */
bool operator_compare(struct operator* o, const struct wire_router *kept,
                      const struct wire_router *churn);
