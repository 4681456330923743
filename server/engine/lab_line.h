/* lab_line.h - one line of a file of logged decisions (lab_file.h), taken apart.
 * Owns: a line owns its JSON; what points into it lives as long. Threads: pure. */
#pragma once

#include "state/base/err.h"
#include "state/base/slice.h"
#include "state/model/event.h"

#include <jansson.h>
#include <stdbool.h>

struct lab_line {
    json_t *json;
    bool header;             /* Declares the router or an arm; no decision. */
    const char *arm;         /* A valid name. */
    const char *task, *text; /* NULL: absent. task is a valid name. */
    size_t text_len;
    double propensity; /* In (0, 1]. */
    bool evaluable, beyond_sample;
    int64_t issued_us; /* 0: absent. */
    enum outcome_status status;
    const json_t *metrics;                  /* Object of numbers; NULL: not reported. */
    const json_t *weights;                  /* Object of numbers; NULL: absent. */
    const char *price_metric;               /* Our export: of the budget; NULL: there was none. */
    double price_per_request, price_lambda; /* > 0, >= 0 */
    const json_t *candidates;               /* Array of names; NULL: absent. */
    const json_t *arms;                     /* Our export: array of objects; NULL: absent. */
    const json_t *context;                  /* Our export: array of numbers; NULL: absent. */
    const json_t *features, *embedding;     /* Arrays of numbers; NULL: absent. */
    bool has_hash;
    uint64_t spec_hash; /* Our export: what context follows. */
};

/* ERR_PARSE, ERR_BAD_NAME, ERR_OUT_OF_RANGE with a sentence that does not name the line. */
MUST_USE enum err lab_line_parse(struct slice text, struct lab_line *ret_line,
                                 struct err_detail *detail);
void lab_line_done(struct lab_line *line);
/* An array of at most cap finite numbers. */
MUST_USE enum err lab_line_floats(const json_t *array, const char *field, float *ret, size_t cap,
                                  size_t *ret_n, struct err_detail *detail);
