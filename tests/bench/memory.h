/* memory.h - shunt-bench memory: what an arm and a journalled outcome take, and whether a server
 * that runs at full rate grows.
 *
 *   shunt-bench memory [--minutes M] [--in-flight N] [--quick] [--json]
 *
 * arm      heap of 1,000 arms that learned, by d: the writer's state, and a published snapshot
 * outcome  heap (against duplicates) and disk (the journal) of a million outcomes, 16 arms, d = 39
 * soak     a shuntd under RouteRequest, logged and not, and ReportReward in turn, for M minutes (0:
 *          not run, the default); its own memory (RssAnon) after every round; what the last half of
 *          the rounds spread over, as a part of their median. The router remembers 20,000 decisions
 *          against duplicates, so that what is bounded has reached its bound by then. */
#pragma once

/* argv[0] is "memory". Returns the program's exit code: not 0 when the soak's last half spread over
 * more than a tenth, which is no noise. */
int bench_memory(int argc, char **argv);
