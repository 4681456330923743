/* server.h - a real shuntd as a child process, in a directory of its own.
 * Why: what is promised of the server is tested on the executable that users get.
 * Owns: the process and the directory; server_free kills the one and removes the other.
 * Threads: one test at a time. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct server {
    pid_t pid; /* 0: not running. */
    char dir[128], data[192], log[192];
    char router[256], admin[256], metrics[256]; /* Bound addresses, from its log. */
    const char *more[12]; /* Further arguments, NULL at the end; the test's. */
};

/* Makes the directory; starts nothing. */
void server_init(struct server *s);
/* Starts shuntd on ports of its own choice and waits for "ready". False: it exited. */
bool server_start(struct server *s);
/* Waits for it to end; the exit status, or 128 + the signal. */
int server_wait(struct server *s);
int server_stop(struct server *s, int signal); /* kill, then wait. */
void server_free(struct server *s);

/* Between two looks at what it does. */
void server_nap_ms(long ms);
/* Removes a directory with all that is in it. */
void server_remove_dir(const char *dir);

/* Runs `shuntd ARGS...` to its end, output to the log; args end with NULL. The exit status. */
int server_run(struct server *s, const char *const *args);

/* Whether a line of the log holds both texts. */
bool server_log_has(const struct server *s, const char *a, const char *b);
/* The page of /metrics; the caller frees it. NULL: not answered. */
char *server_metrics(const struct server *s);
/* Value of the sample whose line begins with `name` (labels included) and a blank; -1: none. */
double server_metric(const struct server *s, const char *name);
