#include "server/engine/engine_lab.h"

#include "server/engine/engine_parts.h"
#include "server/engine/lab_events.h"
#include "server/engine/lab_export.h"
#include "server/engine/lab_file.h"
#include "server/engine/lab_rows.h"
#include "server/lab/evaluate.h"
#include "state/base/mem.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A job's own: what was asked, what it works on, what it found. */
struct work {
    struct engine *engine;
    struct lab_request request;
    struct router_view *view; /* NULL: bare. */
    uint64_t id;              /* 0: not run yet. */
    int64_t queued_us;
    /* While it runs. */
    struct job *job;
    struct lab_log *log;
    struct lab_rows *rows;
    struct lab_file *file;
    struct logged_source source;
    const struct lab_arm *arms;
    uint32_t arms_n;
    struct lab_result result;
};

static bool go_on(void *self, uint64_t done, uint64_t total)
{
    struct work *k = self;
    job_progress(k->job, done, total);
    return !job_cancelled(k->job);
}

static struct lab_watch watch_of(struct work *k)
{
    return (struct lab_watch){go_on, k};
}

/* ---- where rows come from ---- */

/* Nobody should have to guess why there is nothing. */
static void note_log(struct work *k)
{
    const struct router_config *c = k->view->config;
    struct lab_log_counts n;
    char *out = k->result.note;
    lab_log_counts(k->log, &n);
    if (c->settings.decision_log == DECISION_LOG_KEEP_NONE)
        (void)snprintf(
            out, LAB_NOTE_CAP,
            "the decision_log of router `%s` is DECISION_LOG_OFF: what it decides is not "
            "logged. shuntctl router update %s --set decision_log=DECISION_LOG_ALL, and "
            "ask again when it has decided",
            c->name, c->name);
    else if (c->settings.decision_log == DECISION_LOG_KEEP_SAMPLE)
        (void)snprintf(out, LAB_NOTE_CAP,
                       "the decision_log of router `%s` is DECISION_LOG_SAMPLE: of what it decides "
                       "%g is kept, and every exploration",
                       c->name, c->settings.decision_log_sample);
    else if (n.decisions == 0 && k->view->requests_tallied == 0)
        (void)snprintf(out, LAB_NOTE_CAP, "router `%s` has decided nothing yet", c->name);
    else if (n.decisions == 0)
        (void)snprintf(
            out, LAB_NOTE_CAP,
            "router `%s` has decided, but not in this window, or longer ago than the log "
            "keeps (decision_log.keep and decision_log.max_bytes; shuntctl config): widen "
            "--since and --until, or ask again when there are newer ones",
            c->name);
}

static enum err open_log(struct work *k, struct err_detail *detail)
{
    const struct lab_request *q = &k->request;
    struct lab_window window = {q->since_us, q->until_us ? q->until_us : k->queued_us};
    TRY(lab_log_open(k->engine, k->view->uid, k->view->config, &window, k->job, &k->log, detail));
    note_log(k);
    TRY(lab_rows_open(k->log, k->view, &k->rows, detail));
    k->arms = lab_rows_arms(k->rows, &k->arms_n);
    k->source = lab_rows_source(k->rows);
    return OK;
}

/* Weights on what no line holds would leave out every row; better to say it. */
static enum err check_weights(const struct work *k, struct err_detail *detail)
{
    const struct router_config *c = &k->request.config;
    uint16_t there = lab_file_metrics(k->file);
    for (uint32_t m = 0; m < c->metrics_n; m++)
        if (c->metrics[m].weight > 0 && !(there >> m & 1))
            return err_say(detail, ERR_INVALID,
                           "metric `%s` has weight and no line of the file holds it; give weights "
                           "to metrics that are there",
                           c->metrics[m].name);
    return OK;
}

static enum err open_file(struct work *k, struct err_detail *detail)
{
    struct lab_request *q = &k->request;
    TRY(lab_file_open(q->data, &q->config, q->bare, k->job, &k->file, detail));
    lab_file_project(k->file, k->engine->o.projections);
    if (k->view)
        lab_file_declare(k->file, k->view);
    TRY(check_weights(k, detail));
    k->arms = lab_file_arms(k->file, &k->arms_n);
    k->source = lab_file_source(k->file);
    return OK;
}

static void close_sources(struct work *k)
{
    if (k->log) {
        k->result.has_log = true;
        lab_log_counts(k->log, &k->result.log);
        k->result.log.damaged += k->rows ? lab_rows_damaged(k->rows) : 0;
    }
    lab_rows_free(k->rows);
    lab_log_free(k->log);
    lab_file_free(k->file);
    k->rows = NULL;
    k->log = NULL;
    k->file = NULL;
    k->arms = NULL;
}

static enum err make_shares(struct work *k, struct err_detail *detail)
{
    struct lab_result *r = &k->result;
    r->arms = mem_calloc(k->arms_n, sizeof *r->arms);
    if (!r->arms)
        return err_say(detail, ERR_NOMEM, "no memory for the result");
    r->arms_n = k->arms_n;
    for (uint32_t a = 0; a < k->arms_n; a++)
        (void)snprintf(r->arms[a].name, sizeof r->arms[a].name, "%s", k->arms[a].name);
    return OK;
}

/* ---- evaluate ---- */

/* A policy falls back to the best mean where the arm it names is not eligible. That serves
 * requests; on trial a misspelt name would get the figures of another policy. */
static enum err check_fixed(const struct work *k, const char *policy, const char *arm,
                            struct err_detail *detail)
{
    if (strcmp(policy, "fixed") != 0)
        return OK;
    if (k->request.kind == LAB_WHAT_IF) {
        if (router_view_arm(k->view, arm, strlen(arm)) >= 0)
            return OK;
    } else {
        for (uint32_t a = 0; a < k->arms_n; a++)
            if (strcmp(k->arms[a].name, arm) == 0)
                return OK;
    }
    return err_say(
        detail, ERR_ARM_NOT_FOUND,
        "the policy on trial is fixed to `%s`, which is none of the arms; check its name", arm);
}

static enum err check_fixed_arms(const struct work *k, struct err_detail *detail)
{
    const struct router_settings *s = &k->request.config.settings;
    TRY(check_fixed(k, s->policy, s->fixed_arm, detail));
    return check_fixed(k, s->split_policy,
                       s->split_fixed_arm[0] ? s->split_fixed_arm : s->fixed_arm, detail);
}

static int by_share(const void *a, const void *b)
{
    const struct lab_share *x = a, *y = b;
    if (x->logged != y->logged)
        return x->logged < y->logged ? 1 : -1;
    return strcmp(x->name, y->name);
}

static enum err evaluate_with(struct work *k, double *shares, struct err_detail *detail)
{
    const struct lab_request *q = &k->request;
    struct lab_result *r = &k->result;
    double weights[MAX_METRICS];
    for (uint32_t m = 0; m < q->config.metrics_n; m++)
        weights[m] = q->config.metrics[m].weight;
    const struct evaluate_options o = {
        .target = {.config = &q->config,
                   .arms = k->arms,
                   .arms_n = k->arms_n,
                   .frozen = q->frozen ? k->view : NULL,
                   .seed = q->seed},
        .weights = q->weights_given ? weights : NULL,
        .no_replay = q->no_replay,
        .learned_until_us = k->queued_us,
        .watch = watch_of(k),
    };
    TRY(evaluate_run(&o, &k->source, &r->evaluation, shares, shares + k->arms_n, detail));
    r->arms_gone = r->evaluation.arms_gone;
    r->arms_fewer = r->evaluation.arms_fewer;
    for (uint32_t a = 0; a < r->arms_n; a++) {
        r->arms[a].logged = shares[a];
        r->arms[a].target = shares[k->arms_n + a];
    }
    qsort(r->arms, r->arms_n, sizeof *r->arms, by_share);
    return OK;
}

static enum err run_evaluate(struct work *k, struct err_detail *detail)
{
    TRY(k->request.data[0] ? open_file(k, detail) : open_log(k, detail));
    TRY(check_fixed_arms(k, detail));
    TRY(make_shares(k, detail));
    double *shares = mem_calloc(2 * (size_t)k->arms_n, sizeof *shares);
    enum err e = shares ? evaluate_with(k, shares, detail)
                        : err_say(detail, ERR_NOMEM, "no memory for the shares");
    mem_free(shares);
    return e;
}

/* ---- what-if ---- */

/* The settings and weights under trial, at every time; what fixes the statistics stays. */
static enum err apply_change(void *self, struct router_config *config, struct err_detail *detail)
{
    const struct router_config *q = &((const struct work *)self)->request.config;
    uint64_t seed = config->settings.seed;
    double ridge[METRIC_GROUPS][2];
    memcpy(ridge, config->settings.ridge, sizeof ridge);
    config->settings = q->settings;
    config->settings.seed = seed;
    memcpy(config->settings.ridge, ridge, sizeof ridge);
    for (uint32_t m = 0; m < q->metrics_n; m++) {
        const char *name = q->metrics[m].name;
        int at = settings_metric_index(config, name, strlen(name));
        if (at < 0)
            return err_say(detail, ERR_METRIC_NOT_FOUND,
                           "an earlier router of the name `%s` had no metric `%s`", q->name, name);
        config->metrics[at].weight = q->metrics[m].weight;
    }
    return OK;
}

static enum err run_what_if(struct work *k, struct err_detail *detail)
{
    struct lab_events *events = NULL;
    struct slice base = {NULL, 0};
    if (k->view->config->settings.aggregation != AGGREGATE_FIRST)
        return err_say(detail, ERR_UNSUPPORTED,
                       "router `%s` aggregates: its journal holds pieces, which cannot be scored "
                       "one by one; evaluate its decision log instead",
                       k->view->config->name);
    TRY(check_fixed_arms(k, detail));
    TRY(lab_events_open(k->engine, &events, &base, detail));
    const struct whatif_options o = {
        .base = base,
        .router = k->request.config.name,
        .change = {k, apply_change},
        .seed = k->request.seed,
        .watch = watch_of(k),
    };
    struct event_source source = lab_events_source(events);
    enum err e = whatif_run(&o, &source, &k->result.whatif, detail);
    lab_events_free(events);
    return e;
}

/* ---- sweep ---- */

static enum err find_metric(const struct router_config *c, const char *name,
                            enum metric_group group, uint32_t *ret_m, struct err_detail *detail)
{
    int m = settings_metric_index(c, name, strlen(name));
    if (m < 0 || c->metrics[m].group != group)
        return err_say(detail, ERR_METRIC_NOT_FOUND, "router `%s` has no %s metric `%s`", c->name,
                       group == METRIC_RATED ? "rated" : "served", name);
    *ret_m = (uint32_t)m;
    return OK;
}

static enum err find_heaviest(const struct router_config *c, uint32_t *ret_m,
                              struct err_detail *detail)
{
    int best = -1;
    for (uint32_t m = 0; m < c->metrics_n; m++)
        if (c->metrics[m].group == METRIC_RATED &&
            (best < 0 || c->metrics[m].weight > c->metrics[best].weight))
            best = (int)m;
    if (best < 0)
        return err_say(detail, ERR_METRIC_NOT_FOUND, "router `%s` has no rated metric", c->name);
    *ret_m = (uint32_t)best;
    return OK;
}

static enum err find_metrics(const struct lab_request *q, uint32_t *ret_rated, uint32_t *ret_served,
                             struct err_detail *detail)
{
    TRY(find_metric(&q->config, q->served, METRIC_SERVED, ret_served, detail));
    return q->rated[0] ? find_metric(&q->config, q->rated, METRIC_RATED, ret_rated, detail)
                       : find_heaviest(&q->config, ret_rated, detail);
}

static enum err run_sweep(struct work *k, struct err_detail *detail)
{
    const struct lab_request *q = &k->request;
    struct lab_result *r = &k->result;
    TRY(find_metrics(q, &r->rated, &r->served, detail));
    TRY(open_log(k, detail));
    TRY(make_shares(k, detail));
    r->steps = mem_calloc(q->steps, sizeof *r->steps);
    r->shares = mem_calloc((size_t)q->steps * k->arms_n, sizeof *r->shares);
    if (!r->steps || !r->shares)
        return err_say(detail, ERR_NOMEM, "no memory for the result");
    r->steps_n = q->steps;
    const struct sweep_options o = {
        .router = k->view,
        .config = &q->config,
        .arms = k->arms,
        .arms_n = k->arms_n,
        .rated = r->rated,
        .served = r->served,
        .steps = q->steps,
        .keep_policy = q->keep_policy,
        .rows_max = q->contexts_max,
        .watch = watch_of(k),
    };
    struct sweep_counts counts;
    TRY(sweep_run(&o, &k->source, r->steps, r->shares, &counts, detail));
    r->contexts = counts.rows;
    r->arms_gone = counts.arms_gone;
    r->arms_fewer = counts.arms_fewer;
    r->sweep_warnings = counts.warnings;
    if (r->contexts)
        return OK;
    if (r->arms_gone)
        return err_say(detail, ERR_NOT_FOUND,
                       "of router `%s` the decision log holds %llu decisions in this window, all "
                       "of arms that were removed since; ask again when there are newer ones",
                       q->config.name, (unsigned long long)r->arms_gone);
    return err_say(detail, ERR_NOT_FOUND,
                   "the decision log holds no decision of router `%s` in this window: %s",
                   q->config.name, r->note);
}

/* ---- export ---- */

static void lab_dir(const struct engine *e, char *ret, size_t cap)
{
    (void)snprintf(ret, cap, "%s/lab", e->o.data_dir);
}

static enum err export_rows(struct work *k, struct lab_export *x, struct buf *line,
                            struct err_detail *detail)
{
    struct lab_logged row;
    bool end;
    for (;;) {
        TRY(lab_log_next(k->log, &row, &end, detail));
        if (end)
            return lab_export_finish(x, &k->result.bytes, detail);
        buf_reset(line);
        lab_export_line(&row, k->view, k->rows, line);
        if (buf_error(line) != OK)
            return err_say(detail, ERR_NOMEM, "no memory for a line");
        TRY(lab_export_put(x, (struct slice){line->data, line->len}, detail));
        job_progress(k->job, ++k->result.rows, lab_log_n(k->log));
    }
}

static enum err run_export(struct work *k, struct err_detail *detail)
{
    char dir[LAB_PATH_CAP];
    struct lab_export *x = NULL;
    struct buf line;
    lab_dir(k->engine, dir, sizeof dir);
    TRY(open_log(k, detail));
    TRY(lab_export_open(dir, k->id, &x, detail));
    buf_init(&line);
    enum err e = export_rows(k, x, &line, detail);
    buf_done(&line);
    lab_export_close(x);
    return e;
}

/* ---- simulate ---- */

enum { TRACE_BYTES_MAX = 256 << 20, SIMULATE_SEEDS_MAX = 1000, SIMULATE_DELAY_MAX = 100000 };

static enum err check_simulate(const struct lab_request *q, struct err_detail *detail)
{
    const struct simulate_job *j = &q->simulate;
    if (j->seeds < 1 || j->seeds > SIMULATE_SEEDS_MAX)
        return err_say(detail, ERR_OUT_OF_RANGE, "seeds is %u; it must lie in [1, %d]", j->seeds,
                       SIMULATE_SEEDS_MAX);
    if (j->settings.delay > SIMULATE_DELAY_MAX)
        return err_say(detail, ERR_OUT_OF_RANGE, "delay is %u; it must lie in [0, %d]",
                       j->settings.delay, SIMULATE_DELAY_MAX);
    if (!(j->settings.missing >= 0 && j->settings.missing < 1))
        return err_say(detail, ERR_OUT_OF_RANGE, "missing must lie in [0, 1)");
    if (!(j->settings.plain_alpha >= 0 && j->settings.plain_alpha <= 100))
        return err_say(detail, ERR_OUT_OF_RANGE, "plain_alpha must lie in [0, 100]");
    TRY(residency_check(&j->settings.residency, detail));
    return workload_check(&j->spec, detail);
}

/* The file's bytes, into text. */
static enum err read_text(struct work *k, int fd, struct buf *text, struct err_detail *detail)
{
    const char *path = k->request.data;
    uint8_t piece[65536];
    for (ssize_t n; (n = read(fd, piece, sizeof piece)) != 0;) {
        if (n < 0)
            return err_say(detail, ERR_INVALID, "data: %.900s: %s", path, strerror(errno));
        buf_put(text, piece, (size_t)n);
        if (text->len > TRACE_BYTES_MAX)
            return err_say(detail, ERR_TOO_LARGE, "data: %.900s has more than %d bytes", path,
                           TRACE_BYTES_MAX);
        if (job_cancelled(k->job))
            return ERR_CANCELLED;
    }
    return buf_error(text);
}

static enum err read_trace(struct work *k, struct workload *ret, struct err_detail *detail)
{
    struct buf text;
    int fd = -1;
    TRY(lab_file_fd(k->request.data, &fd, detail));
    buf_init(&text);
    enum err e = read_text(k, fd, &text, detail);
    (void)close(fd);
    if (e == OK)
        e = workload_parse((struct slice){text.data, text.len}, ret, detail);
    buf_done(&text);
    return e;
}

static bool simulate_cancelled(void *arg)
{
    return job_cancelled(((struct work *)arg)->job);
}

static enum err run_simulate(struct work *k, struct err_detail *detail)
{
    struct simulate_job job = k->request.simulate;
    struct workload *trace = NULL;
    enum err e = OK;
    job.settings.cancelled = simulate_cancelled;
    job.settings.arg = k;
    if (k->request.data[0]) {
        trace = mem_calloc(1, sizeof *trace);
        e = trace ? read_trace(k, trace, detail) : ERR_NOMEM;
        job.trace = trace;
    }
    if (e == OK)
        e = simulate_table(&job, &k->result.simulation);
    if (trace)
        workload_done(trace);
    mem_free(trace);
    return e;
}

/* ---- the job ---- */

static enum err run_kind(struct work *k, struct err_detail *detail)
{
    switch (k->request.kind) {
    case LAB_EVALUATE:
        return run_evaluate(k, detail);
    case LAB_WHAT_IF:
        return run_what_if(k, detail);
    case LAB_SWEEP:
        return run_sweep(k, detail);
    case LAB_EXPORT:
        return run_export(k, detail);
    case LAB_SIMULATE:
        return run_simulate(k, detail);
    }
    return ERR_INTERNAL;
}

static enum err run(void *ctx, struct job *job, struct err_detail *detail)
{
    struct work *k = ctx;
    k->job = job;
    k->id = job_id(job);
    detail->text[0] = '\0';
    enum err e = run_kind(k, detail);
    close_sources(k);
    k->result.config = k->request.config;
    if (e != OK && detail->text[0] == '\0')
        (void)err_say(detail, e, "%s", err_text(e));
    log_event(k->engine->o.log, e == OK || e == ERR_CANCELLED ? LOG_INFO : LOG_WARN, "job_ended",
              LOG_UINT("job", k->id), LOG_STR("code", err_code(e)), LOG_END);
    return e;
}

static void work_free(void *ctx)
{
    struct work *k = ctx;
    char dir[LAB_PATH_CAP], path[LAB_PATH_CAP + 32];
    lab_dir(k->engine, dir, sizeof dir);
    if (k->request.kind == LAB_EXPORT && k->id && lab_export_path(dir, k->id, path, sizeof path))
        (void)unlink(path);
    snapshot_router_release(k->view);
    whatif_done(&k->result.whatif);
    mem_free(k->result.arms);
    mem_free(k->result.steps);
    mem_free(k->result.shares);
    mem_free(k);
}

/* What can be said before it is queued. */
static enum err check_request(const struct lab_request *q, struct err_detail *detail)
{
    TRY(settings_check(&q->config, detail));
    TRY(policy_check(&q->config.settings, detail));
    if (q->until_us && q->until_us <= q->since_us)
        return err_say(detail, ERR_OUT_OF_RANGE, "the window ends before it begins");
    if (q->since_us < 0 || q->until_us < 0)
        return err_say(detail, ERR_OUT_OF_RANGE, "since_us and until_us are Unix times, >= 0");
    if (q->data[0] && q->data[0] != '/')
        return err_say(detail, ERR_INVALID, "data: an absolute path, on the server's host");
    if (q->frozen && q->bare)
        return err_say(detail, ERR_INVALID,
                       "frozen statistics are those of a router: name the router");
    if (q->kind == LAB_SIMULATE)
        return check_simulate(q, detail);
    if (q->kind != LAB_SWEEP)
        return OK;
    uint32_t rated, served;
    if (q->steps < 2 || q->steps > SWEEP_STEPS_MAX)
        return err_say(detail, ERR_OUT_OF_RANGE, "steps is %u; it must lie in [2, %d]", q->steps,
                       SWEEP_STEPS_MAX);
    return find_metrics(q, &rated, &served, detail);
}

static enum err hold_view(struct engine_worker *w, struct work *k, struct err_detail *detail)
{
    const struct router_view *r = NULL;
    const char *name = k->request.config.name;
    const struct snapshot *s = engine_snapshot_acquire(w);
    enum err e = engine_find_router(s, (struct slice){name, strlen(name)}, &r, detail);
    if (e == OK)
        k->view = snapshot_router_hold(s, r->uid);
    engine_snapshot_release(w);
    return e;
}

enum err engine_lab_start(struct engine_worker *w, const struct lab_request *request,
                          uint64_t *ret_id, struct err_detail *detail)
{
    static const char *const kinds[] = {"evaluate", "what_if", "sweep", "export", "simulate"};
    TRY(check_request(request, detail));
    struct work *k = mem_calloc(1, sizeof *k);
    if (!k)
        return err_say(detail, ERR_NOMEM, "no memory for the job");
    k->engine = w->engine;
    k->request = *request;
    k->queued_us = clock_unix_us() + 1; /* What was decided up to now is in the window. */
    enum err e = request->bare ? OK : hold_view(w, k, detail);
    if (e != OK) {
        work_free(k);
        return e;
    }
    const struct job_work work = {
        .kind = kinds[request->kind], .run = run, .free = work_free, .ctx = k};
    return jobs_start(w->engine->jobs, &work, ret_id, detail);
}

struct jobs *engine_jobs(struct engine *e)
{
    return e->jobs;
}

enum lab_kind engine_lab_kind(const struct job *job)
{
    return ((const struct work *)job_ctx(job))->request.kind;
}

const char *engine_lab_router(const struct job *job)
{
    const struct work *k = job_ctx(job);
    return k->request.bare ? "" : k->request.config.name;
}

const struct lab_result *engine_lab_result(const struct job *job)
{
    return &((const struct work *)job_ctx(job))->result;
}

enum err engine_lab_output(struct engine *e, uint64_t id, uint64_t offset, uint8_t *ret,
                           size_t *ret_n, bool *ret_end, struct err_detail *detail)
{
    char dir[LAB_PATH_CAP];
    struct job_info info;
    struct job *job = jobs_hold(e->jobs, id);
    if (!job)
        return err_say(detail, ERR_JOB_NOT_FOUND, "there is no job %llu", (unsigned long long)id);
    lab_dir(e, dir, sizeof dir);
    job_info(e->jobs, job, &info); /* Before the bytes: what was written then is seen. */
    enum err err = lab_export_read(dir, id, offset, ret, LAB_OUTPUT_CHUNK, ret_n, detail);
    if (err == ERR_NOT_FOUND && (info.state == JOB_QUEUED || info.state == JOB_RUNNING)) {
        *ret_n = 0; /* Not yet. */
        err = engine_lab_kind(job) == LAB_EXPORT ? OK : err;
    }
    *ret_end = info.state != JOB_QUEUED && info.state != JOB_RUNNING && *ret_n < LAB_OUTPUT_CHUNK;
    jobs_release(e->jobs, job);
    return err;
}

enum err engine_lab_open(struct engine *e, struct err_detail *detail)
{
    static const struct jobs_options o = {LAB_WAITING_MAX, LAB_ENDED_MAX};
    char dir[LAB_PATH_CAP];
    if (strlen(e->o.data_dir) > LAB_PATH_CAP - 64)
        return err_say(detail, ERR_INVALID, "the path of the data directory is too long");
    lab_dir(e, dir, sizeof dir);
    TRY(lab_export_prepare(dir, detail));
    return jobs_new(&o, &e->jobs);
}

void engine_lab_close(struct engine *e)
{
    jobs_free(e->jobs);
    e->jobs = NULL;
}
