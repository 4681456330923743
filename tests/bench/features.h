/* features.h - shunt-bench features: what making a context of a prompt costs.
 * Why: the budget of a decision is microseconds, and a prompt is the largest thing in it. */
#pragma once

/* argv[0] is "features". Returns the program's exit code: 77 when there is no $SHUNT_DATA. */
int bench_features(int argc, char **argv);
