/* bootstrap.h - what must be there before the first request: declared routers, and no left-overs.
 * Why: routers are state, not configuration; `bootstrap:` creates what is absent and never
 * overwrites, so that a restart cannot undo what an operator changed since.
 * Threads: before the servers start, with the caller's worker. */
#pragma once

#include "server/config.h"
#include "server/engine/engine.h"

/* Removes ephemeral routers of an earlier run; creates the routers and arms of `bootstrap:` that
 * are absent; on a fresh directory without any, a router `default` without arms, so that adding an
 * arm is all it takes to begin. An error names file and line, or the router. */
MUST_USE enum err bootstrap(const struct config *config, struct engine *engine,
                            struct engine_worker *worker, struct log *log,
                            struct err_detail *detail);
