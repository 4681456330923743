/* engines.h - shunt-bench engines: what an engine that is dead, slow or lying does to RouteRequest.
 *
 *   shunt-bench engines [--rounds N] [--seconds S] [--in-flight N[: 16]] [--json]
 *
 * One shuntd, one router of adapters, one stub vLLM whose loads take time. A round is: healthy,
 * dead, healthy, slow, healthy, lying, healthy, each for S seconds of requests of changing
 * contexts. A state's ratio is taken to the mean of the two healthy stretches around it, and the
 * median of the rounds is printed: the machine changes from minute to minute. The ratios of one
 * healthy stretch to the next one are printed with them: that is what chance does. Each state
 * begins with an engine that has just been started, so that there are loads to fail at; what the
 * server asked of the engine in it is counted. */
#pragma once

/* argv[0] is "engines". Returns the program's exit code. */
int bench_engines(int argc, char **argv);
