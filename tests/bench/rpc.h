/* rpc.h - shunt-bench rpc: interleaved rounds against a bare echo of the same message sizes.
 *
 *   shunt-bench rpc [--rounds N] [--seconds S] [--in-flight N] [--arms N] [--features N]
 *                   [--text CHARACTERS: a prompt in each request, scalars and text block on]
 *                   [--classifier FILE: and the task classifier, trained from these examples]
 *                   [--job: RouteRequest once more, while a job evaluates the decision log]
 *                   [--unix] [--no-pin] [--json]
 */
#pragma once

/* argv[0] is "rpc". Returns the program's exit code. */
int bench_rpc(int argc, char **argv);
