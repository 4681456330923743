/* update.h - shunt-bench update: what learning from an outcome costs, and what publishing does.
 *
 *   shunt-bench update [--rounds N] [--quick] [--json]
 *
 * fold     one outcome with a rated and a served metric, two matrices: by the length d of x
 * publish  a snapshot after one outcome: by the number of arms
 * Times are CPU time of the thread; medians of rounds. */
#pragma once

/* argv[0] is "update". Returns the program's exit code. */
int bench_update(int argc, char **argv);
