/* verdict.h - a row of the table of promises: what was measured, what it must be, whether it is.
 * Why: every program of tests/eval prints its rows alike, so that tests/eval/run can join them into
 * one table. A row is one line on stdout, its cells separated by tabs:
 * ROW, its name, the figure, ">=" or "<=", the limit, "pass" or "FAIL".
 * Owns: plain counters. Threads: one. */
#pragma once

#include <stdbool.h>

struct verdicts {
    unsigned passed, failed;
};

/* Prints the row and counts it; a figure that is not finite fails. */
void verdict_at_least(struct verdicts *v, const char *row, double measured, double limit);
void verdict_at_most(struct verdicts *v, const char *row, double measured, double limit);
/* Prints `N passed, N failed`; the exit code of the program: 0 when none failed. */
int verdict_end(const struct verdicts *v);
