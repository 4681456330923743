#include "server/engine/lab_line.h"

#include <math.h>
#include <string.h>

/* The field if it is there and not null. *ret NULL: it is not. */
static enum err field(const json_t *object, const char *key, bool (*is)(const json_t *),
                      const char *what, const json_t **ret, struct err_detail *detail)
{
    const json_t *json = json_object_get(object, key);
    *ret = json && !json_is_null(json) ? json : NULL;
    if (*ret && !is(*ret))
        return err_say(detail, ERR_PARSE, "`%s` is not %s", key, what);
    return OK;
}

static bool is_string(const json_t *j)
{
    return json_is_string(j);
}

static bool is_number(const json_t *j)
{
    return json_is_number(j) && isfinite(json_number_value(j));
}

static bool is_object(const json_t *j)
{
    return json_is_object(j);
}

static bool is_array(const json_t *j)
{
    return json_is_array(j);
}

static bool is_boolean(const json_t *j)
{
    return json_is_boolean(j);
}

static enum err name_field(const json_t *object, const char *key, const char **ret,
                           struct err_detail *detail)
{
    const json_t *json;
    TRY(field(object, key, is_string, "a string", &json, detail));
    *ret = json ? json_string_value(json) : NULL;
    if (*ret && !name_valid(*ret, json_string_length(json)))
        return err_say(detail, ERR_BAD_NAME,
                       "`%s` is \"%.64s\", which is no name: 1 to 64 of A-Z a-z 0-9 . _ / -", key,
                       *ret);
    return OK;
}

static enum err get_head(const json_t *json, struct lab_line *l, struct err_detail *detail)
{
    const json_t *j;
    TRY(name_field(json, json_object_get(json, "arm_id") ? "arm_id" : "arm", &l->arm, detail));
    if (!l->arm)
        return err_say(detail, ERR_PARSE, "`arm`, the arm that was chosen, is missing");
    TRY(name_field(json, "task", &l->task, detail));
    TRY(field(json, "text", is_string, "a string", &j, detail));
    l->text = j ? json_string_value(j) : NULL;
    l->text_len = j ? json_string_length(j) : 0;
    TRY(field(json, "propensity", is_number, "a number", &j, detail));
    l->propensity = j ? json_number_value(j) : 0;
    if (!j || l->propensity <= 0 || l->propensity > 1)
        return err_say(detail, ERR_OUT_OF_RANGE,
                       "`propensity`, the probability with which the arm was chosen, must be there "
                       "and in (0, 1]");
    TRY(field(json, "evaluable", is_boolean, "true or false", &j, detail));
    l->evaluable = !j || json_is_true(j);
    TRY(field(json, "beyond_sample", is_boolean, "true or false", &j, detail));
    l->beyond_sample = j && json_is_true(j);
    TRY(field(json, "issued_at_us", is_number, "a number", &j, detail));
    l->issued_us = j ? (int64_t)json_integer_value(j) : 0;
    return OK;
}

/* "STATUS_ERROR" or "error"; -1: unknown. */
static int status_of(const char *text)
{
    static const char *const names[OUTCOME_STATUS_N] = {"ok", "error", "refused", "timeout"};
    if (strncasecmp(text, "STATUS_", 7) == 0)
        text += 7;
    for (int i = 0; i < OUTCOME_STATUS_N; i++)
        if (strcasecmp(text, names[i]) == 0)
            return i;
    return -1;
}

static enum err get_outcome(const json_t *json, struct lab_line *l, struct err_detail *detail)
{
    const json_t *outcome, *j;
    TRY(field(json, "outcome", is_object, "an object", &outcome, detail));
    if (!outcome)
        return OK;
    TRY(field(outcome, "status", is_string, "a string", &j, detail));
    int status = j ? status_of(json_string_value(j)) : OUTCOME_OK;
    if (status < 0)
        return err_say(detail, ERR_PARSE, "`outcome.status` is not ok, error, refused or timeout");
    l->status = (enum outcome_status)status;
    TRY(field(outcome, "metrics", is_object, "an object", &l->metrics, detail));
    /* Our export nests the metrics; logged bandit data has them right there. */
    if (!l->metrics && !l->context)
        l->metrics = outcome;
    return OK;
}

static enum err get_amount(const json_t *budget, const char *key, double *ret,
                           struct err_detail *detail)
{
    const json_t *j;
    TRY(field(budget, key, is_number, "a number", &j, detail));
    *ret = j ? json_number_value(j) : -1;
    if (*ret < 0)
        return err_say(detail, ERR_OUT_OF_RANGE, "`budget.%s` must be there and >= 0", key);
    return OK;
}

static enum err get_budget(const json_t *json, struct lab_line *l, struct err_detail *detail)
{
    const json_t *budget;
    TRY(field(json, "budget", is_object, "an object", &budget, detail));
    if (!budget)
        return OK;
    TRY(name_field(budget, "metric", &l->price_metric, detail));
    if (!l->price_metric)
        return err_say(detail, ERR_PARSE, "`budget.metric` is missing");
    TRY(get_amount(budget, "per_request", &l->price_per_request, detail));
    if (l->price_per_request <= 0)
        return err_say(detail, ERR_OUT_OF_RANGE, "`budget.per_request` must be above 0");
    return get_amount(budget, "lambda", &l->price_lambda, detail);
}

static enum err get_hash(const json_t *json, struct lab_line *l, struct err_detail *detail)
{
    const json_t *j = json_object_get(json, "feature_spec_hash");
    if (!j || json_is_null(j))
        return OK;
    l->has_hash = true;
    if (json_is_integer(j)) {
        l->spec_hash = (uint64_t)json_integer_value(j);
        return OK;
    }
    /* Above 2^63 - 1 as text, as everywhere in our JSON. */
    const char *text = json_string_value(j);
    if (!text || *text < '0' || *text > '9' || strlen(text) > 20)
        return err_say(detail, ERR_PARSE, "`feature_spec_hash` is no unsigned number");
    for (l->spec_hash = 0; *text >= '0' && *text <= '9'; text++)
        l->spec_hash = l->spec_hash * 10 + (uint64_t)(*text - '0');
    return OK;
}

static enum err get_all(struct lab_line *l, struct err_detail *detail)
{
    const json_t *json = l->json;
    if (!json_is_object(json))
        return err_say(detail, ERR_PARSE, "it is no JSON object");
    if (json_object_get(json, "router_spec") || json_object_get(json, "arm_spec")) {
        l->header = true;
        return OK;
    }
    TRY(get_head(json, l, detail));
    TRY(field(json, "context", is_array, "an array", &l->context, detail));
    TRY(field(json, "arms", is_array, "an array", &l->arms, detail));
    TRY(field(json, "candidates", is_array, "an array", &l->candidates, detail));
    TRY(field(json, "weights", is_object, "an object", &l->weights, detail));
    TRY(field(json, "features", is_array, "an array", &l->features, detail));
    TRY(field(json, "embedding", is_array, "an array", &l->embedding, detail));
    TRY(get_hash(json, l, detail));
    TRY(get_budget(json, l, detail));
    return get_outcome(json, l, detail);
}

enum err lab_line_parse(struct slice text, struct lab_line *ret_line, struct err_detail *detail)
{
    struct lab_line l;
    json_error_t where;
    memset(&l, 0, sizeof l);
    l.json = json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES, &where);
    if (!l.json)
        return err_say(detail, ERR_PARSE, "it is no JSON object: %s (column %d)", where.text,
                       where.column);
    enum err e = get_all(&l, detail);
    if (e != OK)
        lab_line_done(&l);
    else
        *ret_line = l;
    return e;
}

void lab_line_done(struct lab_line *line)
{
    json_decref(line->json);
    line->json = NULL;
}

enum err lab_line_floats(const json_t *array, const char *field_name, float *ret, size_t cap,
                         size_t *ret_n, struct err_detail *detail)
{
    size_t n = json_array_size(array);
    if (n > cap)
        return err_say(detail, ERR_WRONG_DIMENSION, "`%s` has %zu numbers; %zu are expected",
                       field_name, n, cap);
    for (size_t i = 0; i < n; i++) {
        const json_t *j = json_array_get(array, i);
        if (!is_number(j) || fabs(json_number_value(j)) > 1e30)
            return err_say(detail, ERR_NOT_FINITE, "`%s`[%zu] is no finite number", field_name, i);
        ret[i] = (float)json_number_value(j);
    }
    *ret_n = n;
    return OK;
}
