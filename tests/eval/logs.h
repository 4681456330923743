/* logs.h - logged bandit data made from rows of full information, so that an estimate meets the
 * truth. Why: what a target would have earned on such rows is known, and so is whether an interval
 * holds it. Owns: a log's arrays. Errors of ours abort. */
#pragma once

#include "server/lab/target.h"
#include "tests/eval/rows.h"

struct log_entry {
    uint32_t of; /* Row of the file. */
    struct logged_row row;
    uint32_t arms[ROWS_ARMS_MAX];
    float pmf[ROWS_ARMS_MAX];
};

struct log {
    uint32_t n, at; /* at: the source's place. */
    struct log_entry *entry;
};

/* Aborts with what and the sentence unless e is OK. */
void logs_must(enum err e, const char *what, const struct err_detail *detail);
/* The context of every row under the spec; the caller's label is its task. (rows->n, d), malloc. */
float *logs_contexts(const struct rows *rows, const struct feature_spec *spec);
/* A table of the file's arms; config NULL. (rows->arms.n), malloc. */
struct lab_arm *logs_arms(const struct rows *rows);

/* Room for n entries. */
void log_init(struct log *log, uint32_t n);
void log_done(struct log *log);
/* Fills an entry from one row of the file as the arm `chosen` (of the row's candidates) shows it.
 */
void log_outcome(const struct rows *rows, const struct router_config *config, uint32_t chosen,
                 struct log_entry *e);
/* n rows drawn with replacement, decided and learned by a router of this configuration that starts
 * knowing nothing; keep: *keep is that router at its end. keep_pmf: the log holds every mass. */
void log_generate(const struct rows *rows, const float *x, const struct target_options *logger,
                  uint64_t seed, bool keep_pmf, struct log *log, struct target **keep);
/* A source over the log; one at a time. */
struct logged_source log_source(struct log *log);
