/* machine.h - what every figure of shunt-bench is printed with: which machine, and how it is summed
 * up. Why: a figure without its machine is a rumour, and a mean on a shared machine is noise.
 * Threads: pure but for /proc. */
#pragma once

#include <stddef.h>

/* "2 x MODEL, Linux RELEASE". */
void machine_name(char *ret, size_t cap);
/* Sorts the values. n >= 1. */
double machine_median(double *values, size_t n);
/* The q-th of the sorted values, q in [0, 1]. Sorts them. n >= 1. */
double machine_quantile(double *values, size_t n, double q);
/* Monotonic. */
double machine_now_us(void);
/* CPU time of the calling thread: blind to whoever else runs, but for the caches. */
double machine_cpu_us(void);
/* The calling thread stays on the processor it runs on. */
void machine_pin(void);
