/* apply.h - the difference between routers as a file declares them and as a server has them.
 * Why: configuration that people keep in a repository must be comparable before it is applied, and
 * what cannot be changed must be named before anything is.
 * Owns: a plan owns its lines and the requests that carry them out. Threads: one.
 * Invariant: without prune no line removes anything; fields that the file leaves out are left
 * alone. */
#pragma once

#include "client/ctl/ctl.h"

#include <stdio.h>

struct apply_plan;

/* Reads the file, asks the server and compares. */
enum ctl_exit apply_plan_make(struct ctl *ctl, const char *file, bool prune,
                              struct apply_plan **ret);
void apply_plan_free(struct apply_plan *plan); /* NULL is fine. */
/* A difference is there that no request can carry out. */
bool apply_blocked(const struct apply_plan *plan);
/* Something is there to do. */
bool apply_pending(const struct apply_plan *plan);
void apply_print(const struct apply_plan *plan, FILE *out);
/* {"changes":[{"action","router","arm"?,"detail"?}],"applied"}; NULL: out of memory. */
json_t *apply_json(const struct apply_plan *plan, bool applied);
/* Carries the lines out in their order and stops at the first that fails. */
enum ctl_exit apply_run(struct ctl *ctl, const struct apply_plan *plan);
