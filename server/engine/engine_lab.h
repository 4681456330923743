/* engine_lab.h - the jobs that look at what was learned and logged: evaluate, what-if, sweep and
 * export, queued on jobs.h and answered by server/lab.
 * Why: they take seconds to minutes and must not be felt: they hold no snapshot, no read
 * transaction and no lock for long, and run on a thread that gives way.
 * A job sees the router (settings, arms, statistics) as it was when the job was queued, and by
 * default the decisions made until then.
 * Owns: results, until the job is forgotten. Threads: any that holds a worker; a result is read
 * while its job is held. Limits: LAB_WAITING_MAX wait, LAB_ENDED_MAX are remembered. */
#pragma once

#include "server/engine/engine.h"
#include "server/engine/jobs.h"
#include "server/engine/lab_log.h"
#include "server/lab/simulate.h"
#include "server/lab/sweep.h"
#include "server/lab/whatif.h"

enum {
    LAB_WAITING_MAX = 8,
    LAB_ENDED_MAX = 32,
    LAB_OUTPUT_CHUNK = 1 << 20,
    LAB_PATH_CAP = 4096,
    LAB_NOTE_CAP = 512
};

enum lab_kind { LAB_EVALUATE, LAB_WHAT_IF, LAB_SWEEP, LAB_EXPORT, LAB_SIMULATE };

struct lab_request {
    enum lab_kind kind;
    /* The router's configuration with the settings and weights under trial. Its name is the router
     * to ask, unless `bare`: then it is complete by itself, and data says the rest. */
    struct router_config config;
    bool bare;
    bool weights_given;         /* Evaluate: config's weights for every row, not the logged ones. */
    int64_t since_us, until_us; /* Unix time; until_us 0: now. */
    char data[LAB_PATH_CAP];    /* Evaluate: a file; empty: the decision log. */
    bool frozen, no_replay, keep_policy;
    uint64_t seed;
    char served[NAME_CAP], rated[NAME_CAP]; /* Sweep; rated empty: the heaviest one. */
    uint32_t steps;
    uint64_t contexts_max;
    /* Simulate: workload, settings and seeds; what it points to is filled in by the job. `data` is
     * a trace. Always bare. */
    struct simulate_job simulate;
};

struct lab_share {
    char name[NAME_CAP];
    double logged, target;
};

/* What a job that is DONE has found; by kind. */
struct lab_result {
    struct router_config config; /* As the job used it: metrics, weights, policy. */
    bool has_log;
    struct lab_log_counts log;
    uint64_t arms_gone, arms_fewer; /* As evaluation and sweep_counts have it. */
    char note[LAB_NOTE_CAP];        /* Why the log holds nothing, or only a share; empty: it holds
                                       all. */
    struct evaluation evaluation;
    struct whatif whatif;
    uint32_t arms_n; /* Of an evaluation or a sweep. */
    struct lab_share *arms;
    uint32_t rated, served, steps_n;
    struct sweep_step *steps; /* (steps_n) */
    double *shares;           /* (steps_n, arms_n) */
    uint32_t sweep_warnings;
    uint64_t contexts, rows, bytes;
    struct simulate_table simulation;
};

/* Checks and queues. The request is copied. */
MUST_USE enum err engine_lab_start(struct engine_worker *w, const struct lab_request *request,
                                   uint64_t *ret_id, struct err_detail *detail);
/* The queue; hold, list and cancel as jobs.h says. */
struct jobs *engine_jobs(struct engine *e);
enum lab_kind engine_lab_kind(const struct job *job);
/* Name of the router it is about; empty for a bare one. Any time. */
const char *engine_lab_router(const struct job *job);
/* Once the state is DONE. */
const struct lab_result *engine_lab_result(const struct job *job);
/* Up to LAB_OUTPUT_CHUNK bytes of what an export wrote. *ret_end: the job has ended and no more
 * comes. ERR_JOB_NOT_FOUND, ERR_NOT_FOUND. */
MUST_USE enum err engine_lab_output(struct engine *e, uint64_t id, uint64_t offset, uint8_t *ret,
                                    size_t *ret_n, bool *ret_end, struct err_detail *detail);

/* For engine.c: the queue and DATA_DIR/lab, emptied. */
MUST_USE enum err engine_lab_open(struct engine *e, struct err_detail *detail);
void engine_lab_close(struct engine *e);
