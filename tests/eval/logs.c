#include "tests/eval/logs.h"

#include "server/route/features.h"
#include "state/base/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { QUALITY, COST };

void logs_must(enum err e, const char *what, const struct err_detail *detail)
{
    if (e == OK)
        return;
    fprintf(stderr, "%s: %s %s\n", what, err_text(e), detail ? detail->text : "");
    abort();
}

static void *must_alloc(void *p)
{
    logs_must(p ? OK : ERR_NOMEM, "memory", NULL);
    return p;
}

float *logs_contexts(const struct rows *rows, const struct feature_spec *spec)
{
    uint32_t d = spec_d(spec);
    float *x = must_alloc(malloc((size_t)rows->n * d * sizeof *x));
    for (uint32_t i = 0; i < rows->n; i++) {
        const struct row *row = &rows->row[i];
        struct err_detail detail = {""};
        const struct feature_input in = {.text = {row->text, row->text_len},
                                         .task_slot = spec->task_slots ? row->task : -1};
        logs_must(features_fill(spec, &in, x + (size_t)i * d, &detail), "features", &detail);
    }
    return x;
}

struct lab_arm *logs_arms(const struct rows *rows)
{
    struct lab_arm *arms = must_alloc(calloc(rows->arms.n, sizeof *arms));
    for (uint32_t i = 0; i < rows->arms.n; i++)
        arms[i].name = rows->arms.name[i];
    return arms;
}

void log_init(struct log *log, uint32_t n)
{
    log->n = n;
    log->at = 0;
    log->entry = must_alloc(calloc(n, sizeof *log->entry));
}

void log_done(struct log *log)
{
    free(log->entry);
}

void log_outcome(const struct rows *rows, const struct router_config *config, uint32_t chosen,
                 struct log_entry *e)
{
    const struct row *from = &rows->row[e->of];
    struct logged_row *row = &e->row;
    uint32_t arm = e->arms[chosen];
    const double raw[] = {from->quality[arm], from->cost[arm]};
    row->chosen = chosen;
    for (uint32_t m = 0; m < config->metrics_n; m++) {
        row->raw[m] = raw[m];
        row->z[m] = metric_normalise(&config->metrics[m], raw[m]);
        row->has_mask = (uint16_t)(row->has_mask | 1u << m);
    }
}

void log_generate(const struct rows *rows, const float *x, const struct target_options *logger,
                  uint64_t seed, bool keep_pmf, struct log *log, struct target **keep)
{
    struct target *t;
    struct err_detail detail = {""};
    uint32_t d = spec_d(&logger->config->spec);
    logs_must(target_new(logger, &t, &detail), "logger", &detail);
    for (uint32_t i = 0; i < log->n; i++) {
        struct log_entry *e = &log->entry[i];
        struct target_decision decision;
        memset(e, 0, sizeof *e);
        e->of = (uint32_t)rng_below(seed, i, rows->n);
        e->row.issued_us = i + 1;
        e->row.x = x + (size_t)e->of * d;
        e->row.evaluable = true;
        e->row.arms = e->arms;
        for (uint32_t a = 0; a < rows->arms.n; a++)
            if (!isnan(rows->row[e->of].quality[a]))
                e->arms[e->row.arms_n++] = a;
        logs_must(target_decide(t, &e->row, NULL, rng_mix(seed, ~(uint64_t)i), &decision), "decide",
                  NULL);
        memcpy(e->pmf, decision.pmf, e->row.arms_n * sizeof *e->pmf);
        e->row.pmf = keep_pmf ? e->pmf : NULL;
        e->row.propensity = (double)decision.pmf[decision.drawn];
        log_outcome(rows, logger->config, decision.drawn, e);
        logs_must(target_learn(t, &e->row), "learn", NULL);
    }
    if (keep)
        *keep = t;
    else
        target_free(t);
}

static enum err next(void *self, struct logged_row *ret_row, bool *ret_end,
                     struct err_detail *detail)
{
    struct log *log = self;
    (void)detail;
    *ret_end = log->at == log->n;
    if (!*ret_end)
        *ret_row = log->entry[log->at++].row;
    return OK;
}

static enum err rewind_log(void *self, struct err_detail *detail)
{
    struct log *log = self;
    (void)detail;
    log->at = 0;
    return OK;
}

struct logged_source log_source(struct log *log)
{
    log->at = 0;
    return (struct logged_source){log, next, rewind_log};
}
