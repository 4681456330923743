#include "client/ctl/replay_row.h"

#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VALUE_MAX 1e12 /* Largest value of a served metric: the range of replay's metric table. */

static const char *const METRICS[REPLAY_METRIC_N] = {"quality", "cost_usd", "energy_j",
                                                     "latency_ms"};

__attribute__((format(printf, 2, 3))) static bool say(struct replay_error *error, const char *fmt,
                                                      ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(error->text, sizeof error->text, fmt, args);
    va_end(args);
    return false;
}

const char *replay_metric_name(enum replay_metric metric)
{
    return METRICS[metric];
}

enum replay_metric replay_metric_find(const char *name)
{
    int i = 0;
    while (i < REPLAY_METRIC_N && strcmp(METRICS[i], name) != 0)
        i++;
    return (enum replay_metric)i;
}

static bool label_check(const char *what, const char *label, struct replay_error *error)
{
    size_t len = strlen(label);
    if (len == 0)
        return say(error, "%s is empty", what);
    if (len > REPLAY_LABEL_MAX)
        return say(error, "%s is longer than %d bytes", what, REPLAY_LABEL_MAX);
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)label[i] < 0x20 || label[i] == 0x7F)
            return say(error, "%s holds a control character", what);
    return true;
}

static bool value_read(const char *arm, enum replay_metric metric, const json_t *json, double *ret,
                       struct replay_error *error)
{
    if (json_is_null(json) && metric != REPLAY_QUALITY)
        return true;
    if (!json_is_number(json))
        return say(error, "outcomes.%.64s.%s is not a number", arm, METRICS[metric]);
    double value = json_number_value(json);
    double max = metric == REPLAY_QUALITY ? 1.0 : VALUE_MAX;
    if (!isfinite(value) || value < 0 || value > max)
        return say(error, "outcomes.%.64s.%s is %g, outside [0, %g]", arm, METRICS[metric], value,
                   max);
    *ret = value;
    return true;
}

static bool outcome_read(const char *arm, json_t *json, struct replay_outcome *ret,
                         struct replay_error *error)
{
    if (!label_check("an arm's name", arm, error))
        return false;
    if (!json_is_object(json))
        return say(error, "outcomes.%.64s is not an object", arm);
    for (int i = 0; i < REPLAY_METRIC_N; i++)
        ret->value[i] = (double)NAN;
    const char *key;
    json_t *value;
    json_object_foreach(json, key, value)
    {
        enum replay_metric metric = replay_metric_find(key);
        if (metric == REPLAY_METRIC_N)
            return say(error,
                       "outcomes.%.64s.%.64s is unknown; known: quality, cost_usd, energy_j, "
                       "latency_ms",
                       arm, key);
        if (!value_read(arm, metric, value, &ret->value[metric], error))
            return false;
    }
    if (isnan(ret->value[REPLAY_QUALITY]))
        return say(error, "outcomes.%.64s.quality is missing", arm);
    ret->arm = strdup(arm);
    return ret->arm ? true : say(error, "out of memory");
}

static bool outcomes_read(json_t *json, struct replay_row *ret, struct replay_error *error)
{
    if (!json)
        return say(error, "'outcomes' is missing");
    if (!json_is_object(json))
        return say(error, "'outcomes' is not an object");
    size_t n = json_object_size(json);
    if (n == 0)
        return say(error, "'outcomes' names no arm");
    if (n > REPLAY_ROW_ARMS_MAX)
        return say(error, "'outcomes' names %zu arms; the most is %d", n, REPLAY_ROW_ARMS_MAX);
    ret->outcomes = calloc(n, sizeof *ret->outcomes);
    if (!ret->outcomes)
        return say(error, "out of memory");
    const char *arm;
    json_t *outcome;
    json_object_foreach(json, arm, outcome)
    {
        if (!outcome_read(arm, outcome, &ret->outcomes[ret->outcomes_n], error))
            return false;
        ret->outcomes_n++;
    }
    return true;
}

/* An optional string; null counts as absent. */
static bool string_read(const json_t *object, const char *key, bool keep, char **ret,
                        struct replay_error *error)
{
    const json_t *json = json_object_get(object, key);
    if (!json || json_is_null(json))
        return true;
    if (!json_is_string(json))
        return say(error, "'%s' is not a string", key);
    if (keep && !(*ret = strdup(json_string_value(json))))
        return say(error, "out of memory");
    return true;
}

bool replay_row_parse(const char *line, size_t len, bool keep_text, struct replay_row *ret,
                      struct replay_error *error)
{
    struct replay_row row = {0};
    bool ok = false;
    json_error_t where;
    json_t *json = json_loadb(line, len, JSON_REJECT_DUPLICATES, &where);
    if (!json) {
        say(error, "not a JSON object: %s (column %d)", where.text, where.column);
        goto out;
    }
    if (!json_is_object(json)) {
        say(error, "not a JSON object");
        goto out;
    }
    if (!string_read(json, "text", keep_text, &row.text, error) ||
        !string_read(json, "task", true, &row.task, error) ||
        (row.task && !label_check("'task'", row.task, error)) ||
        !outcomes_read(json_object_get(json, "outcomes"), &row, error))
        goto out;
    *ret = row;
    row = (struct replay_row){0};
    ok = true;
out:
    replay_row_done(&row);
    json_decref(json);
    return ok;
}

void replay_row_done(struct replay_row *row)
{
    for (size_t i = 0; i < row->outcomes_n; i++)
        free(row->outcomes[i].arm);
    free(row->outcomes);
    free(row->text);
    free(row->task);
    *row = (struct replay_row){0};
}
