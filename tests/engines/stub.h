/* stub.h - starts, drives and ends the stub engines (stub_engine.py): processes of their own, HTTP
 * over loopback.
 * Owns: the process; it dies with the test at the latest. Threads: one test at a time.
 * Everything asserts: a stub that does not answer is a broken test. */
#pragma once

#include "server/adapters/engine_http.h"

#include <stdbool.h>
#include <sys/types.h>

enum { STUB_ARGS_MAX = 40 };

struct stub {
    pid_t pid;
    int port;
    char url[64];
    char *args[STUB_ARGS_MAX]; /* Of the process, for the next start; NULL at the end. */
    size_t args_n;
    struct engine_http *control;
};

/* args: NULL at the end. */
void stub_start(struct stub *s, const char *kind, const char *const *args);
/* A vLLM with `slots` slots and the scratch slot, whose loads of the adapter at /models/NAME take
 * so long, after a restart, too. */
struct stub_adapter {
    const char *name;
    double load_ms;
};
void stub_start_vllm(struct stub *s, int slots, const struct stub_adapter *adapters, size_t n);
/* kill -9. */
void stub_kill(struct stub *s);
/* On the same port, with nothing in its memory. Tries again while the port is another's. */
void stub_restart(struct stub *s);
void stub_done(struct stub *s); /* Takes a zeroed one. */
/* POST /stub: a mode, {"use":NAME} or {"forget":true}. */
void stub_tell(struct stub *s, const char *json);
/* Whether `name` is in the list `field` ("resident", "offered"). */
bool stub_has(struct stub *s, const char *field, const char *name);
size_t stub_count(struct stub *s, const char *field);
/* A number: "loads", "evictions", "calls", "most_resident". */
long stub_number(struct stub *s, const char *field);
