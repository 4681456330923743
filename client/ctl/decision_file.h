/* decision_file.h - the first line of a file of exported decisions: the router they are of.
 * Why: contexts and metrics mean something only together with a router's declaration; with it in
 * the file, the file can be evaluated anywhere, by a server that never saw the router.
 * The line is {"router_spec": RouterSpec without arms}; every other line is a decision (README of
 * server/engine). Owns: nothing. Threads: one. */
#pragma once

#include "client/ctl/ctl.h"
#include "shunt/v1/admin.pb-c.h"

#include <stdio.h>

/* Asks the server for the router and writes the line. */
enum ctl_exit decision_file_begin(struct ctl *ctl, const char *router, FILE *out);
/* The declaration in the first line; *ret NULL: it has none. The caller frees it. */
enum ctl_exit decision_file_spec(const char *path, Shunt__V1__RouterSpec **ret);
