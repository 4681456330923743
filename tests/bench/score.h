/* score.h - shunt-bench score: what scoring costs, against the speed at which this machine reads.
 *
 *   shunt-bench score [--only grid|kernels|sparse|large|batch] [--arms N --d D]
 *                     [--rounds N] [--quick] [--json]
 *
 * grid     score_arms at N x d, over the time in which this machine reads as many bytes as the
 *          matrices are, from one piece of memory, in the same round; medians of rounds
 * kernels  every kernel that this CPU has, over the same matrices
 * sparse   a context of few numbers, looked up or multiplied whole
 * large    10,000 arms: a decision, all arms scored, and with those left out that cannot win
 *          (fails when a single decision differs)
 * batch    contexts that share a pass over memory *
 * Times are CPU time of the thread, so that they mean something on a busy machine too; its caches
 * and its memory are shared all the same: `noise` is the spread of the reading between its tenth
 * and its ninetieth part. */
#pragma once

/* argv[0] is "score". Returns the program's exit code. */
int bench_score(int argc, char **argv);
