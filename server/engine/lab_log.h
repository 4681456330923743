/* lab_log.h - what a router decided in a window of time, each decision with its outcome: the
 * decision log joined with the journal.
 * Why: estimates, what-if and export all read the same rows, in the order of time, any number of
 * times. How: one walk of the log collects ids, one walk of the journal from the window's beginning
 * on collects what was reported for them, and every row is then read by its id. So no transaction
 * is open between two rows, and what is held is an index, not the rows.
 * Owns: the index. Threads: one.
 * Limits: LAB_LOG_ROWS_MAX decisions; of a window that holds more the first ones that the log's
 * order brings are taken (hour by hour) and the others counted. Memory: 56 bytes and 8 a metric for
 * each; where rated metrics are aggregated 16 for every piece, at most MAX_PIECES each. */
#pragma once

#include "server/engine/engine.h"
#include "server/loop/audit.h"

enum { LAB_LOG_ROWS_MAX = 500000 };

struct job;
struct lab_log;

/* One decision. Valid until the next call. */
struct lab_logged {
    const struct audit_record *record;
    bool has_outcome;
    bool replaced;       /* Another arm answered than the chosen one: a status and no metric. */
    int64_t reported_us; /* When its first report came. */
    enum outcome_status status;
    uint16_t mask; /* Bit m: metric m was counted. */
    double raw[MAX_METRICS];
};

struct lab_log_counts {
    uint64_t decisions;        /* Of the router in the window. */
    uint64_t beyond;           /* Of those, more than LAB_LOG_ROWS_MAX. */
    uint64_t outcomes;         /* Rows with one. */
    uint64_t outcomes_unknown; /* Outcomes of the router and window whose decision the log lacks:
                                  off, sampled out, dropped, or expired. */
    uint64_t damaged;          /* Records that could not be read. */
    uint64_t gone;             /* Rows that expired between index and reading. */
    uint64_t dropped;          /* Records that the log did not keep since the server started. */
};

struct lab_window {
    int64_t since_us, until_us; /* Issued in [since, until). */
};

/* Collects, and counts metrics as the router does (config, which must outlive the log).
 * ERR_CANCELLED when the job is. */
MUST_USE enum err lab_log_open(struct engine *e, uint32_t router_uid,
                               const struct router_config *config, const struct lab_window *window,
                               struct job *job, struct lab_log **ret_log,
                               struct err_detail *detail);
void lab_log_free(struct lab_log *log); /* NULL is fine. */
uint64_t lab_log_n(const struct lab_log *log);
/* The next row in order of time; *ret_end: there is none. */
MUST_USE enum err lab_log_next(struct lab_log *log, struct lab_logged *ret_row, bool *ret_end,
                               struct err_detail *detail);
void lab_log_rewind(struct lab_log *log);
/* `gone` as of the rows read since the last rewind. */
void lab_log_counts(const struct lab_log *log, struct lab_log_counts *ret_counts);
