#include "server/engine/lab_file.h"

#include "server/engine/jobs.h"
#include "server/engine/lab_line.h"
#include "server/ops/input.h"
#include "server/route/features.h"
#include "state/base/mem.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

static const uint32_t none = UINT32_MAX;
enum { LOOK_EVERY = 64 };

struct arm_seen {
    char name[NAME_CAP];
    uint64_t n[MAX_METRICS];
    double sum[MAX_METRICS];
};

struct lab_file {
    struct router_config *config;
    struct job *job;
    char path[4096];
    gzFile in;
    char *text; /* LAB_FILE_LINE_MAX + 2 */
    uint64_t line;
    struct arm_seen *seen; /* In order of name. */
    struct lab_arm *arms;
    uint32_t arms_n, arms_cap;
    uint16_t metrics;
    uint64_t spec_hash;
    struct lab_line current; /* Of the row handed out. */
    /* What that row points to. */
    uint32_t eligible[MAX_ARMS];
    float pmf[MAX_ARMS], x[MAX_D];
    double weights[MAX_METRICS];
    uint64_t rows;             /* Lines whose arms were read, over all readings. */
    uint64_t listed[MAX_ARMS]; /* The last of them that named the arm. */
    float vector[MAX_EMBEDDING], features[MAX_D];
    const struct projections *projections; /* NULL: none. */
};

/* ---- the file ---- */

enum err lab_file_fd(const char *path, int *ret_fd, struct err_detail *detail)
{
    struct err_detail why;
    enum err e = input_open(path, ret_fd, &why);
    return e == OK ? OK : err_say(detail, e, "%.900s: %.100s", path, why.text);
}

static enum err open_file(struct lab_file *f, struct err_detail *detail)
{
    int fd = -1;
    TRY(lab_file_fd(f->path, &fd, detail));
    f->in = gzdopen(fd, "rb");
    if (!f->in) {
        (void)close(fd);
        return err_say(detail, ERR_NOMEM, "no memory to read %.900s", f->path);
    }
    f->line = 0;
    return OK;
}

static void close_file(struct lab_file *f)
{
    lab_line_done(&f->current);
    if (f->in)
        (void)gzclose(f->in);
    f->in = NULL;
}

/* Puts the place in front of what was said. */
static enum err say_where(const struct lab_file *f, enum err e, struct err_detail *detail)
{
    struct err_detail what = *detail;
    const char *name = strrchr(f->path, '/');
    return err_say(detail, e, "%.200s:%llu: %.700s", name ? name + 1 : f->path,
                   (unsigned long long)f->line, what.text);
}

/* The next line that is not blank. *ret_len 0: the end. */
static enum err read_line(struct lab_file *f, size_t *ret_len, struct err_detail *detail)
{
    do {
        *ret_len = 0;
        if (f->line++ % LOOK_EVERY == 0 && job_cancelled(f->job))
            return err_say(detail, ERR_CANCELLED, "the job was cancelled");
        if (f->line > LAB_FILE_ROWS_MAX)
            return err_say(detail, ERR_TOO_LARGE, "a file may have %d lines", LAB_FILE_ROWS_MAX);
        if (!gzgets(f->in, f->text, LAB_FILE_LINE_MAX + 2)) {
            int error = Z_OK;
            const char *why = gzerror(f->in, &error);
            return error == Z_OK ? OK : err_say(detail, ERR_INVALID, "it cannot be read: %s", why);
        }
        *ret_len = strlen(f->text);
        if (*ret_len > LAB_FILE_LINE_MAX)
            return err_say(detail, ERR_TOO_LARGE, "the line has more than %d bytes",
                           LAB_FILE_LINE_MAX);
    } while (strspn(f->text, " \t\r\n") == *ret_len);
    return OK;
}

/* The next decision, in f->current. */
static enum err next_line(struct lab_file *f, bool *ret_end, struct err_detail *detail)
{
    size_t len = 0;
    for (;;) {
        lab_line_done(&f->current);
        TRY(read_line(f, &len, detail));
        *ret_end = len == 0;
        if (*ret_end)
            return OK;
        TRY(lab_line_parse((struct slice){f->text, len}, &f->current, detail));
        if (!f->current.header)
            return OK;
    }
}

/* ---- arms ---- */

static uint32_t place_of(const struct lab_file *f, const char *name)
{
    uint32_t low = 0, high = f->arms_n;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (strcmp(f->seen[middle].name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static uint32_t index_of(const struct lab_file *f, const char *name)
{
    uint32_t at = place_of(f, name);
    return at < f->arms_n && strcmp(f->seen[at].name, name) == 0 ? at : none;
}

static enum err add_arm(struct lab_file *f, const char *name, struct err_detail *detail)
{
    uint32_t at = place_of(f, name);
    if (at < f->arms_n && strcmp(f->seen[at].name, name) == 0)
        return OK;
    if (f->arms_n == MAX_ARMS)
        return err_say(detail, ERR_LIMIT, "there are more than %d arms", MAX_ARMS);
    if (f->arms_n == f->arms_cap) {
        uint32_t cap = f->arms_cap ? 2 * f->arms_cap : 64;
        struct arm_seen *seen = mem_realloc(f->seen, cap * sizeof *seen);
        if (!seen)
            return err_say(detail, ERR_NOMEM, "no memory for the arms of the file");
        f->seen = seen;
        f->arms_cap = cap;
    }
    memmove(&f->seen[at + 1], &f->seen[at], (f->arms_n - at) * sizeof *f->seen);
    f->arms_n++;
    memset(&f->seen[at], 0, sizeof f->seen[at]);
    (void)snprintf(f->seen[at].name, NAME_CAP, "%s", name);
    return OK;
}

/* The name in a list of names, or of objects with arm_id. */
static enum err listed_name(const json_t *item, const char **ret, struct err_detail *detail)
{
    *ret = json_string_value(json_is_object(item) ? json_object_get(item, "arm_id") : item);
    if (!*ret || !name_valid(*ret, strlen(*ret)))
        return err_say(detail, ERR_BAD_NAME, "the list of arms holds something that is no name");
    return OK;
}

/* ---- the first reading ---- */

static enum err metric_of(const struct lab_file *f, const char *name, const json_t *value,
                          uint32_t *ret_m, double *ret_raw, struct err_detail *detail)
{
    int m = settings_metric_index(f->config, name, strlen(name));
    if (m < 0)
        return err_say(detail, ERR_METRIC_NOT_FOUND, "the router has no metric `%.64s`", name);
    if (!json_is_number(value))
        return err_say(detail, ERR_PARSE, "metric `%s` is no number", name);
    *ret_m = (uint32_t)m;
    *ret_raw = json_number_value(value);
    return metric_check_value(&f->config->metrics[m], *ret_raw, detail);
}

/* The key of our own nesting and null are no metrics. */
static bool is_metric(const char *name, const json_t *value)
{
    return strcmp(name, "status") != 0 && !json_is_null(value);
}

static enum err survey_metrics(struct lab_file *f, struct err_detail *detail)
{
    struct arm_seen *arm = &f->seen[place_of(f, f->current.arm)]; /* It was added. */
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)f->current.metrics, name, value)
    {
        uint32_t m = 0;
        double raw = 0;
        if (!is_metric(name, value))
            continue;
        TRY(metric_of(f, name, value, &m, &raw, detail));
        arm->n[m]++;
        arm->sum[m] += raw;
        f->metrics = (uint16_t)(f->metrics | 1u << m);
    }
    return OK;
}

static void learn_label(struct router_config *c, const char *label)
{
    for (uint32_t i = 0; i < c->tasks_n; i++)
        if (strcmp(c->tasks[i], label) == 0)
            return;
    if (c->tasks_n + 1 < c->spec.task_slots) /* The last slot is `other`. */
        (void)snprintf(c->tasks[c->tasks_n++], NAME_CAP, "%s", label);
}

static enum err survey_line(struct lab_file *f, struct err_detail *detail)
{
    const struct lab_line *l = &f->current;
    const json_t *list = l->arms ? l->arms : l->candidates;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name = NULL;
        TRY(listed_name(json_array_get(list, i), &name, detail));
        TRY(add_arm(f, name, detail));
    }
    TRY(add_arm(f, l->arm, detail));
    if (l->task)
        learn_label(f->config, l->task);
    return l->metrics ? survey_metrics(f, detail) : OK;
}

static void measure_metrics(struct lab_file *f)
{
    for (uint32_t m = 0; m < f->config->metrics_n; m++) {
        struct metric_def *d = &f->config->metrics[m];
        double largest = 0;
        for (uint32_t a = 0; a < f->arms_n && d->group == METRIC_SERVED; a++) {
            const struct arm_seen *s = &f->seen[a];
            if (s->n[m] && s->sum[m] / (double)s->n[m] > largest)
                largest = s->sum[m] / (double)s->n[m];
        }
        if (largest > d->norm_low)
            d->norm_high = largest;
    }
}

static enum err survey(struct lab_file *f, bool measure, struct err_detail *detail)
{
    bool end = false;
    uint64_t n = 0;
    TRY(open_file(f, detail));
    for (; !end; n++) {
        enum err e = next_line(f, &end, detail);
        if (e == OK && !end)
            e = survey_line(f, detail);
        if (e != OK)
            return e == ERR_CANCELLED ? e : say_where(f, e, detail);
        job_progress(f->job, n, 0);
    }
    close_file(f);
    if (f->arms_n == 0)
        return err_say(detail, ERR_INVALID, "%.900s holds no decision", f->path);
    if (measure)
        measure_metrics(f);
    f->arms = mem_calloc(f->arms_n, sizeof *f->arms);
    if (!f->arms)
        return err_say(detail, ERR_NOMEM, "no memory for the arms of the file");
    for (uint32_t a = 0; a < f->arms_n; a++)
        f->arms[a].name = f->seen[a].name;
    return OK;
}

enum err lab_file_open(const char *path, struct router_config *config, bool measure,
                       struct job *job, struct lab_file **ret_file, struct err_detail *detail)
{
    struct lab_file *f = mem_calloc(1, sizeof *f);
    if (!f)
        return err_say(detail, ERR_NOMEM, "no memory to read a file");
    f->config = config;
    f->job = job;
    f->spec_hash = spec_hash(&config->spec);
    enum err e = OK;
    if (path[0] != '/' || strlen(path) >= sizeof f->path)
        e = err_say(detail, ERR_INVALID,
                    "data: an absolute path of less than %zu bytes: it is on the server's host",
                    sizeof f->path);
    (void)snprintf(f->path, sizeof f->path, "%s", path);
    f->text = mem_alloc(LAB_FILE_LINE_MAX + 2);
    if (e == OK && !f->text)
        e = err_say(detail, ERR_NOMEM, "no memory to read a file");
    if (e == OK)
        e = survey(f, measure, detail);
    if (e == OK)
        e = open_file(f, detail);
    if (e != OK)
        lab_file_free(f);
    else
        *ret_file = f;
    return e;
}

void lab_file_project(struct lab_file *f, const struct projections *projections)
{
    f->projections = projections;
}

void lab_file_declare(struct lab_file *f, const struct router_view *view)
{
    for (uint32_t i = 0; i < f->arms_n; i++) {
        const char *name = f->arms[i].name;
        int at = router_view_arm(view, name, strlen(name));
        f->arms[i].config = at >= 0 ? view->arms[at]->config : NULL;
    }
}

void lab_file_free(struct lab_file *f)
{
    if (!f)
        return;
    close_file(f);
    mem_free(f->text);
    mem_free(f->seen);
    mem_free(f->arms);
    mem_free(f);
}

const struct lab_arm *lab_file_arms(const struct lab_file *f, uint32_t *ret_n)
{
    *ret_n = f->arms_n;
    return f->arms;
}

uint16_t lab_file_metrics(const struct lab_file *f)
{
    return f->metrics;
}

/* ---- rows ---- */

/* Of an arm in `arms`; without one it could not have been chosen. */
static enum err arm_propensity(const json_t *item, float *ret, struct err_detail *detail)
{
    const json_t *json = json_object_get(item, "propensity");
    double p = json_number_value(json);
    const double rounding = 1e-6; /* Ours are floats. */
    if (json && !(json_is_number(json) && p >= 0 && p <= 1 + rounding))
        return err_say(detail, ERR_OUT_OF_RANGE, "a `propensity` in `arms` is not in [0, 1]");
    *ret = (float)p;
    return OK;
}

static enum err fill_arms(struct lab_file *f, struct logged_row *ret, struct err_detail *detail)
{
    const struct lab_line *l = &f->current;
    const json_t *list = l->arms ? l->arms : l->candidates;
    uint32_t n = list ? (uint32_t)json_array_size(list) : f->arms_n;
    uint32_t chosen = index_of(f, l->arm);
    f->rows++;
    if (n > MAX_ARMS)
        return err_say(detail, ERR_LIMIT, "it has more than %d arms", MAX_ARMS);
    ret->chosen = none;
    for (uint32_t i = 0; i < n; i++) {
        const char *name = NULL;
        if (list)
            TRY(listed_name(json_array_get(list, i), &name, detail));
        f->eligible[i] = list ? index_of(f, name) : i;
        if (f->eligible[i] == none)
            return err_say(detail, ERR_INVALID, "the file changed while it was read");
        if (f->listed[f->eligible[i]] == f->rows)
            return err_say(detail, ERR_INVALID, "its list of arms names `%s` twice", name);
        f->listed[f->eligible[i]] = f->rows;
        if (f->eligible[i] == chosen)
            ret->chosen = i;
        if (l->arms)
            TRY(arm_propensity(json_array_get(list, i), &f->pmf[i], detail));
    }
    if (ret->chosen == none)
        return err_say(detail, ERR_INVALID, "its arm is not among those that were eligible");
    ret->arms_n = n;
    ret->arms = f->eligible;
    ret->pmf = l->arms ? f->pmf : NULL;
    return OK;
}

static enum err fill_context(struct lab_file *f, struct logged_row *ret, struct err_detail *detail)
{
    const struct lab_line *l = &f->current;
    size_t n = 0, d = spec_d(&f->config->spec);
    ret->x = f->x;
    if (l->context) {
        if (l->has_hash && l->spec_hash != f->spec_hash)
            return err_say(detail, ERR_SPEC_MISMATCH,
                           "its context was made by another feature spec than the router has; name "
                           "the router that it came from");
        TRY(lab_line_floats(l->context, "context", f->x, d, &n, detail));
        return n == d ? OK
                      : err_say(detail, ERR_WRONG_DIMENSION,
                                "its context has %zu numbers; the router has %zu", n, d);
    }
    struct feature_input in = {.text = {l->text, l->text_len},
                               .task_slot = -1,
                               .features = f->features,
                               .embedding = f->vector,
                               .projection =
                                   projections_find(f->projections, f->config->spec.projection)};
    const struct router_config *c = f->config;
    for (uint32_t i = 0; l->task && i < c->tasks_n; i++)
        if (strcmp(c->tasks[i], l->task) == 0)
            in.task_slot = (int)i;
    if (l->task && in.task_slot < 0 && c->spec.task_slots > 0)
        in.task_slot = c->spec.task_slots - 1;
    if (l->features)
        TRY(lab_line_floats(l->features, "features", f->features, MAX_D, &in.features_n, detail));
    if (l->embedding)
        TRY(lab_line_floats(l->embedding, "embedding", f->vector, MAX_EMBEDDING, &in.embedding_n,
                            detail));
    return features_fill(&c->spec, &in, f->x, detail);
}

static enum err fill_outcome(struct lab_file *f, struct logged_row *ret, struct err_detail *detail)
{
    const char *name;
    json_t *value;
    ret->status = f->current.status;
    ret->has_mask = 0;
    json_object_foreach((json_t *)(uintptr_t)f->current.metrics, name, value)
    {
        uint32_t m = 0;
        double raw = 0;
        if (!is_metric(name, value))
            continue;
        TRY(metric_of(f, name, value, &m, &raw, detail));
        ret->has_mask = (uint16_t)(ret->has_mask | 1u << m);
        ret->raw[m] = raw;
        ret->z[m] = metric_normalise(&f->config->metrics[m], raw);
    }
    return OK;
}

/* What each decision was made with; a line without them was made with the router's. */
static enum err fill_weights(struct lab_file *f, struct logged_row *ret, struct err_detail *detail)
{
    const char *name;
    json_t *value;
    ret->weights = NULL;
    if (!f->current.weights)
        return OK;
    memset(f->weights, 0, sizeof f->weights);
    json_object_foreach((json_t *)(uintptr_t)f->current.weights, name, value)
    {
        int m = settings_metric_index(f->config, name, strlen(name));
        double w = json_number_value(value);
        if (m < 0)
            return err_say(detail, ERR_METRIC_NOT_FOUND, "the router has no metric `%.64s`", name);
        if (!json_is_number(value) || !(w >= 0 && w <= 1e6))
            return err_say(detail, ERR_OUT_OF_RANGE, "the weight of `%.64s` is outside [0, 1e6]",
                           name);
        f->weights[m] = w;
    }
    ret->weights = f->weights;
    return OK;
}

static enum err fill_price(struct lab_file *f, struct logged_row *ret, struct err_detail *detail)
{
    const struct lab_line *l = &f->current;
    if (!l->price_metric)
        return OK;
    int m = settings_metric_index(f->config, l->price_metric, strlen(l->price_metric));
    if (m < 0)
        return err_say(detail, ERR_METRIC_NOT_FOUND, "the router has no metric `%.64s`",
                       l->price_metric);
    ret->price = (struct logged_price){true, (uint8_t)m, l->price_per_request, l->price_lambda};
    return OK;
}

static enum err fill_row(struct lab_file *f, struct logged_row *ret, struct err_detail *detail)
{
    memset(ret->id, 0, sizeof ret->id);
    memset(&ret->price, 0, sizeof ret->price);
    ret->issued_us = f->current.issued_us;
    /* Ours was a float when it was written with nine digits. */
    ret->propensity =
        f->current.context ? (double)(float)f->current.propensity : f->current.propensity;
    ret->evaluable = f->current.evaluable;
    ret->beyond_sample = f->current.beyond_sample;
    ret->truth = NULL;
    TRY(fill_arms(f, ret, detail));
    TRY(fill_context(f, ret, detail));
    TRY(fill_weights(f, ret, detail));
    TRY(fill_price(f, ret, detail));
    return fill_outcome(f, ret, detail);
}

static enum err next_row(void *self, struct logged_row *ret, bool *ret_end,
                         struct err_detail *detail)
{
    struct lab_file *f = self;
    enum err e = next_line(f, ret_end, detail);
    if (e == OK && !*ret_end)
        e = fill_row(f, ret, detail);
    return e == OK || e == ERR_CANCELLED ? e : say_where(f, e, detail);
}

static enum err rewind_file(void *self, struct err_detail *detail)
{
    struct lab_file *f = self;
    close_file(f);
    return open_file(f, detail);
}

struct logged_source lab_file_source(struct lab_file *f)
{
    return (struct logged_source){f, next_row, rewind_file};
}
