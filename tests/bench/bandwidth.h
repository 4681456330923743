/* bandwidth.h - how fast this machine can read, as the yardstick of what reads memory for a living.
 */
#pragma once

#include <stddef.h>

/* Reads `bytes` (a multiple of 512, on 64 bytes) in the widest loads this CPU has, and does nothing
 * else with them; returns something that depends on all of it. */
unsigned bandwidth_read(const void *from, size_t bytes);
