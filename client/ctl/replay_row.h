/* replay_row.h - one line of a replay file: a request and the outcome of every arm on it.
 * Why: replay lets a router choose and then shows it the chosen arm's outcome alone, so every
 * outcome must be known beforehand ("full information").
 *
 * A line is one JSON object:
 *   {"text": "...", "task": "math", "outcomes": {"small": {"quality": 0.8, "cost_usd": 0.0004}}}
 * outcomes: 1 to 256 arms; each has quality in [0, 1] and may have cost_usd, energy_j and
 * latency_ms (finite, >= 0, at most 1e12; null means absent). text and task are optional; other
 * keys beside them (id, family, ...) are ignored, other keys inside an outcome are refused, since a
 * misspelt metric would otherwise vanish without a word. Owns: a row owns its strings. Threads:
 * pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define REPLAY_LINE_MAX (2UL * 1024 * 1024) /* Bytes of a line. */
#define REPLAY_ROW_ARMS_MAX 256             /* As many candidates as a RouteRequest may name. */
#define REPLAY_LABEL_MAX 256                /* Bytes of an arm's name or a task label. */

enum replay_metric {
    REPLAY_QUALITY,
    REPLAY_COST_USD,
    REPLAY_ENERGY_J,
    REPLAY_LATENCY_MS,
    REPLAY_METRIC_N
};

struct replay_outcome {
    char *arm;
    double value[REPLAY_METRIC_N]; /* NAN: absent. */
};

struct replay_row {
    char *text; /* NULL: absent or not kept. */
    char *task; /* NULL: absent. */
    struct replay_outcome *outcomes;
    size_t outcomes_n;
};

struct replay_error {
    char text[512]; /* What is wrong, without the file and line. */
};

/* "quality", "cost_usd", ... */
const char *replay_metric_name(enum replay_metric metric);
/* The metric of this name, or REPLAY_METRIC_N. */
enum replay_metric replay_metric_find(const char *name);

/* False with a sentence when the line is not a row. On success the caller owns *ret. */
bool replay_row_parse(const char *line, size_t len, bool keep_text, struct replay_row *ret,
                      struct replay_error *error);
void replay_row_done(struct replay_row *row);
