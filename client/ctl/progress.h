/* progress.h - one line on stderr that says how far long work has come.
 * Why: replay, verify and backup may take minutes. Nothing is printed unless stderr is a terminal,
 * so logs and pipes stay clean. Owns: nothing. Threads: one. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct progress {
    const char *label; /* Borrowed. */
    uint64_t total;    /* 0: unknown; a spinner with the seconds so far is shown. */
    int64_t started_ms, shown_ms;
    bool on;
};

void progress_begin(struct progress *p, const char *label, uint64_t total);
/* Cheap: draws at most ten times a second. */
void progress_set(struct progress *p, uint64_t done);
/* Clears the line. */
void progress_end(struct progress *p);
