/* echo.h - the bare server that every figure is measured against: the C core on the same path as
 * shuntd (registered calls, two queue events a call, one queue, one thread), which answers with as
 * many bytes as the request's first four say, and does nothing else.
 * Why: it is the ceiling of this machine at this minute; a ratio to it outlives both.
 * Threads: the caller's; returns on SIGTERM. */
#pragma once

#include <stdbool.h>

#define ECHO_PATH "/bench.Echo/Echo"

/* Listens on the address, prints "listening ADDRESS" to stdout, serves until SIGTERM. even: without
 * abseil's search for lock cycles, as shuntd (server/rpc/loop.c); else as gRPC's library is. */
int echo_serve(const char *address, bool even);
