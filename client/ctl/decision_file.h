/* decision_file.h - the first lines of a file of exported decisions: the router they are of.
 * Why: contexts and metrics mean something only together with a router's declaration; with it in
 * the file, the file can be evaluated anywhere, by a server that never saw the router.
 * {"router_spec": RouterSpec without arms}, then {"arm_spec": ArmSpec} for every arm that the
 * router has when it is exported: their descriptors and priors are what a hybrid learns through.
 * Every other line is a decision (README of server/engine). Owns: nothing. Threads: one. */
#pragma once

#include "client/ctl/ctl.h"
#include "shunt/v1/admin.pb-c.h"

#include <stdio.h>

/* Asks the server for the router and writes the lines. */
enum ctl_exit decision_file_begin(struct ctl *ctl, const char *router, FILE *out);
/* The declaration in the first lines, arms included; *ret NULL: there is none. The caller frees it.
 */
enum ctl_exit decision_file_spec(const char *path, Shunt__V1__RouterSpec **ret);
