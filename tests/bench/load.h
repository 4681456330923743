/* load.h - a client that keeps n calls, or n messages of one stream, in flight on one channel, and
 * measures them.
 * Why: what a server can do shows only when the client costs as little as possible: one thread, one
 * queue, registered calls, messages packed beforehand.
 * Threads: one a run. */
#pragma once

#include <grpc/grpc.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct load_message {
    const uint8_t *bytes;
    size_t len;
};

struct load {
    grpc_channel *channel;
    const char *path;
    uint32_t in_flight;
    double rate; /* Calls a second, as long as fewer than in_flight wait; 0: always in_flight. */
    double seconds;
    /* The i-th request; false: there is none left. */
    bool (*request)(void *ctx, uint64_t i, struct load_message *ret);
    /* A response to request i; may be NULL. */
    void (*response)(void *ctx, uint64_t i, const uint8_t *bytes, size_t len);
    void *ctx;
    pid_t server; /* Whose processor time is counted. */
};

struct load_result {
    uint64_t calls, errors;
    double seconds, calls_per_s, p50_us, p99_us, p999_us;
    double server_cpu_us; /* Per call, user and system, all threads. */
    double client_cpu_us; /* Per call, of the thread that ran the load. */
    double beside_per_s;  /* Calls of another load beside it, where there is one. */
    char first_error[256];
};

enum { LOAD_IN_FLIGHT_MAX = 1024 };

/* HOST:PORT or unix:PATH; no two share a connection. */
grpc_channel *load_open(const char *address);
void load_run(const struct load *l, struct load_result *ret);
/* n loads side by side on one thread; client_cpu_us is then all of them, by each one's calls. */
enum { LOADS_MAX = 2 };
void load_run_all(const struct load *loads, size_t n, struct load_result *ret);
/* The same as messages of one bidirectional stream, which answers in order; a result counts as a
 * call. */
void load_stream_run(const struct load *l, struct load_result *ret);
