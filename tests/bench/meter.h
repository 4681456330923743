/* meter.h - what a run of load is measured with: times of calls, processor time of both sides.
 * Processor time is read from /proc/PID/task/N/schedstat, in nanoseconds: a tick of 10 ms would
 * be two percent of half a second.
 * Owns: its samples, until meter_end. Threads: one a meter. */
#pragma once

#include "tests/bench/load.h"

struct meter {
    pid_t server;
    int64_t began_ns;
    double server_s, client_s; /* Processor time at the beginning. */
    float *samples_us;
    size_t samples_n;
};

int64_t meter_now_ns(void);
void meter_begin(struct meter *m, pid_t server);
void meter_call(struct meter *m, int64_t began_ns);
/* Fills all of ret but calls (which it reads) and errors; frees the samples. */
void meter_end(struct meter *m, struct load_result *ret);
