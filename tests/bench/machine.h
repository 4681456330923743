/* machine.h - what every figure of shunt-bench is printed with: which machine, and how it is summed
 * up. Why: a figure without its machine is a rumour, and a mean on a shared machine is noise.
 * Threads: pure but for /proc. */
#pragma once

#include <stddef.h>

/* "2 x MODEL, Linux RELEASE". */
void machine_name(char *ret, size_t cap);
/* Sorts the values. n >= 1. */
double machine_median(double *values, size_t n);
