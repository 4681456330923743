/* logged.h - one logged decision with what came of it, and where such rows come from.
 * Why: the decision log joined with outcomes, the journal and a file of logged bandit data are all
 * evaluated by the same code; each is a source that fills this row.
 * Owns: nothing. What a row points to lives until the source's next call.
 * Threads: the job's alone. Invariant: a source gives the same rows in the same order after rewind.
 */
#pragma once

#include "state/base/err.h"
#include "state/model/event.h"

#include <stdbool.h>

/* The arms that rows speak of, by index into this table. Names are distinct. */
struct lab_arm {
    const char *name;                /* < NAME_CAP */
    const struct arm_config *config; /* Declared priors and tags; NULL: a name alone. */
};

/* The price that a budget took off every arm's mean when the decision fell (server/route/pacing.h).
 */
struct logged_price {
    bool paced; /* False: no budget bore on it, and the rest is 0. */
    uint8_t metric;
    double per_request, lambda; /* Raw unit; utility per raw unit, >= 0. */
};

struct logged_row {
    uint8_t id[ID_BYTES];
    int64_t issued_us;    /* Unix time; 0: not known. */
    const float *x;       /* (d) of the target's spec. */
    uint32_t arms_n;      /* Eligible arms, 1 to the table's size. */
    const uint32_t *arms; /* (arms_n) into the table, distinct. */
    uint32_t chosen;      /* Into arms. */
    double propensity;    /* Of chosen, all mixing included: (0, 1]. */
    const float *pmf;     /* (arms_n) logged mass of every arm; NULL: only chosen's is known. */
    bool evaluable;       /* False: forced, held or replaced; it teaches but is not scored. */
    bool beyond_sample;   /* A log that keeps a share kept it all the same, because it explores:
                             scored, such rows would outweigh the others. It teaches. */
    struct logged_price price; /* Before any arm was chosen; the eligible arms it could afford. */
    enum outcome_status status;
    uint16_t has_mask; /* Bit m: metric m of the router's table was reported. */
    double raw[MAX_METRICS], z[MAX_METRICS];
    const double *weights; /* (metrics_n) in force, unsigned; NULL: the target's own. */
    const double *truth;   /* (arms_n, metrics_n) raw: what every arm would have earned, for scoring
                              a sweep of full-information rows; NAN: not known. NULL: none is. */
};

struct logged_source {
    void *self;
    /* OK and *ret_end false: *ret_row is filled. OK and *ret_end true: there are no more. */
    enum err (*next)(void *self, struct logged_row *ret_row, bool *ret_end,
                     struct err_detail *detail);
    enum err (*rewind)(void *self, struct err_detail *detail);
};

/* Who waits for a job: told how far it is, and asked whether to go on. */
struct lab_watch {
    /* done rows of total (0: not known yet), every LAB_POLL_ROWS rows. False: stop; the job returns
     * ERR_CANCELLED. NULL: nobody waits. */
    bool (*go_on)(void *self, uint64_t done, uint64_t total);
    void *self;
};
enum { LAB_POLL_ROWS = 8 };

/* After row number `done`: ERR_CANCELLED when told to stop. */
MUST_USE enum err lab_watch_row(const struct lab_watch *watch, uint64_t done, uint64_t total);

/* Refuses what would break arithmetic or indices further on, and says what. */
MUST_USE enum err logged_check(const struct logged_row *row, uint32_t arms_n, uint32_t d,
                               uint32_t metrics_n, struct err_detail *detail);
