/* log.h - one JSON line an event, and no caller ever waits for it.
 * Why: a blocked pipe or a full disk behind stderr must not slow a route (fault 22). A caller
 * formats into a slot of a fixed ring; a thread of the log writes. When the ring is full the line
 * is dropped and counted, and a later line says how many were.
 * A line: {"ts":"2026-01-02T03:04:05.000006Z","level":"info","event":"listening",...fields}.
 * Prompt text, tokens and keys have no place in a field.
 * Owns: the ring and the thread. Borrows the file descriptor.
 * Threads: log_event and log_dropped from any; open and close from the owner. A NULL log swallows
 * events, so that a room can be tested without one.
 * Invariant: every line is one valid JSON object of at most LOG_LINE_CAP bytes, whatever bytes the
 * fields held; log_event allocates nothing and takes no lock. */
#pragma once

#include "state/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOG_LINE_CAP 2048 /* Below PIPE_BUF: a line is never torn by another process. */
#define LOG_RING_SLOTS 1024

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_LEVELS };

enum log_kind {
    LOG_KIND_END,
    LOG_KIND_STR,
    LOG_KIND_INT,
    LOG_KIND_UINT,
    LOG_KIND_NUM,
    LOG_KIND_BOOL
};

struct log_field {
    const char *key; /* A literal. */
    enum log_kind kind;
    size_t len; /* Of str. SIZE_MAX: up to its NUL. */
    union {
        const char *str; /* NULL is written as null. */
        int64_t i;
        uint64_t u;
        double d; /* Not finite is written as null: JSON has no other word. */
        bool b;
    } v;
};

#define LOG_STR(k, s) ((struct log_field){(k), LOG_KIND_STR, SIZE_MAX, {.str = (s)}})
#define LOG_BYTES(k, s, n) ((struct log_field){(k), LOG_KIND_STR, (n), {.str = (s)}})
#define LOG_INT(k, x) ((struct log_field){(k), LOG_KIND_INT, 0, {.i = (x)}})
#define LOG_UINT(k, x) ((struct log_field){(k), LOG_KIND_UINT, 0, {.u = (x)}})
#define LOG_NUM(k, x) ((struct log_field){(k), LOG_KIND_NUM, 0, {.d = (x)}})
#define LOG_BOOL(k, x) ((struct log_field){(k), LOG_KIND_BOOL, 0, {.b = (x)}})
#define LOG_END ((struct log_field){NULL, LOG_KIND_END, 0, {.u = 0}})

struct log;

struct log_options {
    int fd;                 /* Where lines go; not closed by log_close. */
    enum log_level level;   /* Lines below it are not made. */
    uint32_t per_event_max; /* Lines a second of one event name; 0: 20. More are counted, and a line
                               "suppressed" sums them up when the second is over. */
};

MUST_USE enum err log_open(const struct log_options *options, struct log **ret_log);
/* Writes what is left, waiting at most half a second for a blocked reader. Takes NULL. */
void log_close(struct log *log);
/* Waits until everything logged before the call is written, at most timeout_ms. False: it is not.
 */
bool log_flush(struct log *log, int timeout_ms);

/* log_event(log, LOG_INFO, "listening", LOG_STR("address", a), LOG_INT("port", n), LOG_END);
 * `event` is a literal: it is the name that the rate limit counts by. */
#define log_event(log, level, event, ...)                                                          \
    log_event_fields((log), (level), (event), (const struct log_field[]){__VA_ARGS__})
void log_event_fields(struct log *log, enum log_level level, const char *event,
                      const struct log_field *fields);

/* Lines lost to a full ring since log_open. */
uint64_t log_dropped(const struct log *log);
/* "debug", "info", "warn", "error". */
const char *log_level_name(enum log_level level);
MUST_USE enum err log_level_parse(const char *text, enum log_level *ret_level);

/* Writes the JSON line (with its newline) into line[cap]; returns its length. Strings that do not
 * fit are cut at a character, later fields left out, and "truncated":true says so. cap >= 256.
 * Pure: the ring uses it, tests and fuzzers too. */
size_t log_format(char *line, size_t cap, int64_t unix_us, enum log_level level, const char *event,
                  const struct log_field *fields);
