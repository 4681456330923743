/* gauges.h - what the engine knows of itself, as metrics.
 * Why: the engine has no metrics of its own, so that its tests need none; here its numbers get
 * their names. Owns: two histograms' registration and its callbacks. Borrows engine, log and
 * registry. Threads: open and close from main. Callbacks run on whoever renders the registry, and
 * on the writer for commits. Close it after nothing renders any more, and after the engine is
 * closed. */
#pragma once

#include "server/engine/engine.h"
#include "server/ops/log.h"
#include "server/ops/metrics.h"

/* Most samples that a family with a series per arm puts on one page. */
enum { GAUGES_ARMS_MAX = 2000 };
/* Most routers with adapters on one page. */
enum { GAUGES_ADAPTERS_MAX = 200 };

struct gauges {
    struct engine *engine;
    struct log *log;
    struct metrics_histogram *commit_seconds, *batch_records;
};

/* Registers everything; `g` stays where it is until the registry is freed. */
MUST_USE enum err gauges_init(struct gauges *g, struct engine *engine, struct log *log,
                              struct metrics *metrics);
