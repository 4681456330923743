/* clock.h - the clocks, named once.
 * Why: what is pure takes time as an argument; whoever calls it asks here, so that a test can
 * replace the caller and not the clock.
 * Threads: any. */
#pragma once

#include <stdint.h>

/* Microseconds since 1970. May jump when the machine's clock is set: for stamps people read. */
int64_t clock_unix_us(void);
/* Nanoseconds since some start; never goes back. For intervals and deadlines. */
int64_t clock_mono_ns(void);
/* Nanoseconds of a processor that the calling thread has used. */
int64_t clock_thread_ns(void);
