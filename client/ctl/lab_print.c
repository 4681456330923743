#include "client/ctl/lab_print.h"

#include "client/ctl/table.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <time.h>

static enum ctl_exit finish(struct table *t)
{
    bool ok = t && table_print(t, stdout, ctl_bold());
    table_free(t);
    return ok ? CTL_OK : ctl_fail(CTL_REFUSED, "out of memory");
}

static void number_cell(struct table *t, protobuf_c_boolean has, double value)
{
    if (has)
        table_cell(t, "%.4g", value);
    else
        table_cell(t, "-");
}

static void share_cell(struct table *t, double share)
{
    table_cell(t, "%.1f %%", 100 * share);
}

/* ---- what it was made from ---- */

static void say_count(uint64_t n, const char *what)
{
    if (n)
        printf("  %" PRIu64 " %s\n", n, what);
}

static void print_log(const Shunt__V1__JobInfo *job)
{
    const Shunt__V1__LogCounts *c = job->log;
    if (!c)
        return;
    printf("router %s: %" PRIu64 " decisions in the window, %" PRIu64 " with an outcome\n",
           job->router, c->decisions, c->outcomes);
    say_count(c->beyond, "left out: a job takes 500,000; narrow the window by --since and --until");
    say_count(c->outcomes_unknown,
              "reports whose decision the log does not have (off, sampled out, dropped, expired)");
    say_count(c->damaged, "records that could not be read");
    say_count(c->gone, "decisions that expired while the job ran");
    say_count(c->arms_gone, "decisions left out: every arm of theirs was removed since");
    say_count(c->arms_fewer, "decisions asked of the arms that are left: some were removed since");
    say_count(c->dropped,
              "records that the log did not keep since the server started, all routers");
    if (c->note)
        printf("note: %s\n", c->note);
}

static void print_rows(const Shunt__V1__Evaluation *e)
{
    printf("%" PRIu64 " rows, %" PRIu64 " used", e->rows, e->used);
    if (e->not_evaluable)
        printf("; %" PRIu64 " left out: their arm was forced", e->not_evaluable);
    if (e->beyond_sample)
        printf("; %" PRIu64 " left out: explorations beyond the share that the log keeps",
               e->beyond_sample);
    if (e->arms_gone)
        printf("; %" PRIu64 " left out: every arm of theirs was removed since", e->arms_gone);
    if (e->priced)
        printf("; %" PRIu64 " under the price of their budget", e->priced);
    if (e->unreported)
        printf("; %" PRIu64 " left out: a metric with weight was not reported", e->unreported);
    if (e->unreported_failures)
        printf(" (%" PRIu64 " of them failed calls)", e->unreported_failures);
    puts("");
}

/* ---- estimates ---- */

static void estimate_row(struct table *t, const char *name, const Shunt__V1__Estimate *e)
{
    table_cell(t, "%s", name);
    number_cell(t, e && e->has_value, e ? e->value : 0);
    number_cell(t, e && e->has_low, e ? e->low : 0);
    number_cell(t, e && e->has_high, e ? e->high : 0);
}

static bool outside(const Shunt__V1__Estimate *e)
{
    return e && e->has_value && e->has_low && e->has_high &&
           (e->value < e->low || e->value > e->high);
}

static enum ctl_exit print_utility(const Shunt__V1__Evaluation *e, const Shunt__V1__Estimates *u)
{
    struct table *t = table_new();
    if (!t)
        return finish(t);
    table_column(t, "utility", TABLE_LEFT);
    table_column(t, "estimate", TABLE_RIGHT);
    table_column(t, "low", TABLE_RIGHT);
    table_column(t, "high", TABLE_RIGHT);
    table_column(t, "rows", TABLE_RIGHT);
    const struct {
        const char *name;
        const Shunt__V1__Estimate *estimate;
        uint64_t rows;
    } rows[] = {{"logged policy", u->logged, u->rows},
                {"target, doubly robust", u->dr, u->rows},
                {"target, self-normalised IPS", u->snips, u->rows},
                {"target, inverse propensity", u->ips, u->rows},
                {"difference, doubly robust", u->dr_difference, u->rows},
                {"difference, inverse propensity", u->ips_difference, u->rows}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        estimate_row(t, rows[i].name, rows[i].estimate);
        table_cell(t, "%" PRIu64, rows[i].rows);
    }
    if (u->has_replay) {
        table_cell(t, "target, replay");
        number_cell(t, 1, u->replay);
        /* Two standard errors on both sides: accepted rows are a sample like any. */
        number_cell(t, u->has_replay_error, u->replay - 2 * u->replay_error);
        number_cell(t, u->has_replay_error, u->replay + 2 * u->replay_error);
        table_cell(t, "%" PRIu64, u->replay_rows);
    }
    enum ctl_exit code = finish(t);
    printf("intervals: 95 %%, for outcomes in [%.4g, %.4g]; replay's: two standard errors\n",
           u->range_low, u->range_high);
    if (outside(u->ips) || outside(u->ips_difference))
        puts("inverse propensity lies outside its interval: the weights do not average one here, "
             "which\nthe interval puts right and the estimate does not");
    printf("effective sample size %.0f of %" PRIu64 "; the target agrees with %.1f %% of the log; "
           "largest weight %.3g, mean weight %.4g\n",
           e->ess, e->used, 100 * e->agreement, e->weight_max, e->weight_mean);
    return code;
}

static enum ctl_exit print_metrics(const Shunt__V1__Evaluation *e)
{
    struct table *t = table_new();
    if (!t)
        return finish(t);
    table_column(t, "metric, own unit", TABLE_LEFT);
    table_column(t, "rows", TABLE_RIGHT);
    table_column(t, "logged", TABLE_RIGHT);
    table_column(t, "target", TABLE_RIGHT);
    table_column(t, "low", TABLE_RIGHT);
    table_column(t, "high", TABLE_RIGHT);
    for (size_t i = 1; i < e->n_estimates; i++) {
        const Shunt__V1__Estimates *m = e->estimates[i];
        table_cell(t, "%s", m->name);
        table_cell(t, "%" PRIu64, m->rows);
        number_cell(t, m->logged && m->logged->has_value, m->logged ? m->logged->value : 0);
        number_cell(t, m->dr && m->dr->has_value, m->dr ? m->dr->value : 0);
        number_cell(t, m->dr && m->dr->has_low, m->dr ? m->dr->low : 0);
        number_cell(t, m->dr && m->dr->has_high, m->dr ? m->dr->high : 0);
    }
    return finish(t);
}

static void print_warnings(char *const *texts, char *const *codes, size_t n, size_t codes_n)
{
    for (size_t i = 0; i < n; i++)
        printf("warning%s%s: %s\n", i < codes_n ? " " : "", i < codes_n ? codes[i] : "", texts[i]);
}

static void print_verdict(const Shunt__V1__Evaluation *e)
{
    switch (e->verdict) {
    case SHUNT__V1__VERDICT__VERDICT_BETTER:
        puts("verdict: better: the difference in utility lies above 0");
        break;
    case SHUNT__V1__VERDICT__VERDICT_WORSE:
        puts("verdict: worse: the difference in utility lies below 0");
        break;
    case SHUNT__V1__VERDICT__VERDICT_CANNOT_TELL:
        puts("verdict: cannot tell: the interval of the difference holds 0");
        break;
    case SHUNT__V1__VERDICT__VERDICT_NONE:
    case _SHUNT__V1__VERDICT_IS_INT_SIZE:
        puts("verdict: none");
        break;
    }
    print_warnings(e->warnings, e->warning_codes, e->n_warnings, e->n_warning_codes);
}

static enum ctl_exit print_shares(const Shunt__V1__Evaluation *e)
{
    struct table *t = table_new();
    if (!t)
        return finish(t);
    table_column(t, "arm", TABLE_LEFT);
    table_column(t, "logged", TABLE_RIGHT);
    table_column(t, "target", TABLE_RIGHT);
    for (size_t i = 0; i < e->n_arms; i++) {
        table_cell(t, "%s", e->arms[i]->arm_id);
        share_cell(t, e->arms[i]->logged);
        share_cell(t, e->arms[i]->target);
    }
    return finish(t);
}

enum ctl_exit lab_print_evaluation(const Shunt__V1__JobInfo *job)
{
    const Shunt__V1__Evaluation *e = job->evaluation;
    if (!e || e->n_estimates == 0)
        return ctl_fail(CTL_REFUSED, "the server sent no evaluation");
    print_log(job);
    printf("target: policy %s; ", e->policy);
    print_rows(e);
    puts("");
    if (e->used == 0) { /* Tables of zeros would look like figures. */
        print_verdict(e);
        return CTL_OK;
    }
    enum ctl_exit code = print_utility(e, e->estimates[0]);
    puts("");
    if (code == CTL_OK && e->n_estimates > 1) {
        code = print_metrics(e);
        puts("");
    }
    if (code == CTL_OK)
        code = print_shares(e);
    puts("");
    print_verdict(e);
    return code;
}

/* ---- what-if ---- */

static enum ctl_exit print_other_arms(const Shunt__V1__WhatIf *w)
{
    struct table *t = table_new();
    if (!t)
        return finish(t);
    table_column(t, "arm", TABLE_LEFT);
    table_column(t, "chosen", TABLE_RIGHT);
    table_column(t, "share", TABLE_RIGHT);
    table_column(t, "other", TABLE_RIGHT);
    table_column(t, "predicted utility", TABLE_RIGHT);
    table_column(t, "other", TABLE_RIGHT);
    for (size_t i = 0; i < w->n_arms; i++) {
        const Shunt__V1__WhatIfArm *a = w->arms[i];
        table_cell(t, "%s", a->arm_id);
        table_cell(t, "%" PRIu64, a->logged);
        share_cell(t, a->logged_share);
        share_cell(t, a->other_share);
        number_cell(t, a->has_utility_then, a->utility_then);
        number_cell(t, a->has_utility_other, a->utility_other);
    }
    enum ctl_exit code = finish(t);
    printf("predictions differ by %.4g on the unit interval, at most %.4g\n\n", w->prediction_gap,
           w->prediction_gap_max);
    return code;
}

enum ctl_exit lab_print_what_if(const Shunt__V1__JobInfo *job)
{
    const Shunt__V1__WhatIf *w = job->what_if;
    if (!w || !w->evaluation || w->evaluation->n_estimates == 0)
        return ctl_fail(CTL_REFUSED, "the server sent no what-if");
    printf("router %s: %" PRIu64 " events folded again, %" PRIu64 " outcomes of it; other policy "
           "%s\n",
           job->router, w->events, w->outcomes, w->evaluation->policy);
    print_rows(w->evaluation);
    puts("");
    enum ctl_exit code = CTL_OK;
    if (w->evaluation->used) { /* Tables of zeros would look like figures. */
        code = print_other_arms(w);
        if (code == CTL_OK)
            code = print_utility(w->evaluation, w->evaluation->estimates[0]);
        puts("");
    }
    print_verdict(w->evaluation);
    return code;
}

/* ---- lambda ---- */

enum ctl_exit lab_print_sweep(const Shunt__V1__JobInfo *job)
{
    const Shunt__V1__Sweep *s = job->sweep;
    struct table *t = table_new();
    if (!s || !t) {
        table_free(t);
        return ctl_fail(CTL_REFUSED, t ? "the server sent no sweep" : "out of memory");
    }
    print_log(job);
    printf("predicted over %" PRIu64 " contexts, weights (1 - lambda) on %s and lambda on %s\n\n",
           s->contexts, s->rated, s->served);
    table_column(t, "lambda", TABLE_RIGHT);
    table_column(t, s->rated, TABLE_RIGHT);
    table_column(t, s->served, TABLE_RIGHT);
    table_column(t, "shares", TABLE_LEFT);
    for (size_t i = 0; i < s->n_steps; i++) {
        const Shunt__V1__SweepStep *step = s->steps[i];
        char *text = NULL;
        size_t len = 0;
        FILE *out = open_memstream(&text, &len);
        for (size_t a = 0; out && a < step->n_shares; a++)
            if (step->shares[a]->value >= 0.0005)
                fprintf(out, "%s%s %.1f %%", ftell(out) ? ", " : "", step->shares[a]->key,
                        100 * step->shares[a]->value);
        if (out)
            fclose(out);
        table_cell(t, "%.2f", step->lambda);
        number_cell(t, step->has_rated, step->rated);
        number_cell(t, step->has_served, step->served);
        table_cell(t, "%s", text ? text : "");
        free(text);
    }
    enum ctl_exit code = finish(t);
    if (s->n_warnings)
        puts("");
    print_warnings(s->warnings, s->warning_codes, s->n_warnings, s->n_warning_codes);
    return code;
}

/* ---- jobs ---- */

static const char *state_text(Shunt__V1__JobState state)
{
    static const char *const names[] = {"queued", "running", "done", "failed", "cancelled"};
    return (unsigned)state < sizeof names / sizeof *names ? names[state] : "?";
}

static void time_cell(struct table *t, int64_t us)
{
    time_t seconds = (time_t)(us / 1000000);
    struct tm tm;
    char text[32] = "-";
    if (us && gmtime_r(&seconds, &tm))
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm);
    table_cell(t, "%s", text);
}

static void job_row(struct table *t, const Shunt__V1__JobInfo *job)
{
    table_cell(t, "%" PRIu64, job->id);
    table_cell(t, "%s", job->kind ? job->kind : "");
    table_cell(t, "%s", job->router ? job->router : "");
    table_cell(t, "%s", state_text(job->state));
    if (job->state == SHUNT__V1__JOB_STATE__JOB_STATE_DONE)
        table_cell(t, "100 %%"); /* A job that found less than it made ready for is done too. */
    else if (job->total)
        table_cell(t, "%.0f %%", 100.0 * (double)job->done / (double)job->total);
    else
        table_cell(t, "%" PRIu64, job->done);
    time_cell(t, job->queued_at_us);
    if (job->has_started_at_us && job->has_ended_at_us)
        table_cell(t, "%.1f s", (double)(job->ended_at_us - job->started_at_us) / 1e6);
    else
        table_cell(t, "-");
    table_cell(t, "%s", job->error ? job->error : "");
}

static struct table *jobs_table(void)
{
    struct table *t = table_new();
    if (!t)
        return NULL;
    table_column(t, "job", TABLE_RIGHT);
    table_column(t, "kind", TABLE_LEFT);
    table_column(t, "router", TABLE_LEFT);
    table_column(t, "state", TABLE_LEFT);
    table_column(t, "done", TABLE_RIGHT);
    table_column(t, "queued", TABLE_LEFT);
    table_column(t, "took", TABLE_RIGHT);
    table_column(t, "error", TABLE_LEFT);
    return t;
}

enum ctl_exit lab_print_jobs(const Shunt__V1__ListJobsResponse *jobs)
{
    struct table *t = jobs_table();
    for (size_t i = 0; t && i < jobs->n_jobs; i++)
        job_row(t, jobs->jobs[i]);
    return finish(t);
}

enum ctl_exit lab_print_job(const Shunt__V1__JobInfo *job)
{
    if (job->evaluation)
        return lab_print_evaluation(job);
    if (job->what_if)
        return lab_print_what_if(job);
    if (job->sweep)
        return lab_print_sweep(job);
    struct table *t = jobs_table();
    if (t)
        job_row(t, job);
    enum ctl_exit code = finish(t);
    if (job->export)
        printf("%" PRIu64 " decisions, %" PRIu64 " bytes\n", job->export->rows, job->export->bytes);
    return code;
}
