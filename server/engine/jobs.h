/* jobs.h - work of seconds or minutes, one piece at a time, on a thread that gives way to all else.
 * Why: an evaluation over a million decisions must neither hold a call open nor slow a route; it is
 * queued, asked after, cancelled, and its result is kept for a while.
 * Owns: its thread, the jobs, and through job_work.free what they work with.
 * Threads: all functions from any; run on the jobs' thread, free on whichever lets go last.
 * Giving way: SCHED_BATCH (a thread that wakes takes nobody's processor), nice 19 and the lowest
 * best-effort priority of disk access, not SCHED_IDLE: the thread takes locks that the decision
 * log's thread wants too, and must get to run to let them go. Where the process shares the machine,
 * what a nice thread uses is still charged to the process; so a thread that was kept from its
 * processor, which shows that others want it, rests 99 times as long as it worked. Limits:
 * waiting_max wait, ended_max that ended are remembered; the oldest is forgotten first. Invariant:
 * a job that jobs_start took ends in one of DONE, FAILED, CANCELLED. Nothing outlives the process.
 */
#pragma once

#include "state/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The numbers of shunt.v1.JobState. */
enum job_state { JOB_QUEUED = 0, JOB_RUNNING = 1, JOB_DONE = 2, JOB_FAILED = 3, JOB_CANCELLED = 4 };

struct jobs;
struct job;

struct job_work {
    const char *kind; /* A literal. */
    /* Asks job_cancelled at least every tenth of a second and then returns ERR_CANCELLED. */
    enum err (*run)(void *ctx, struct job *job, struct err_detail *detail);
    void (*free)(void *ctx);
    void *ctx;
};

struct jobs_options {
    uint32_t waiting_max, ended_max;
};

struct job_info {
    uint64_t id; /* 1, 2, ... since jobs_new. */
    const char *kind;
    enum job_state state;
    uint64_t done, total;                    /* Of the present step; total 0: not known. */
    int64_t queued_us, started_us, ended_us; /* Unix time; 0: not yet. */
    enum err err;                            /* Of FAILED, with its sentence. */
    struct err_detail detail;
};

MUST_USE enum err jobs_new(const struct jobs_options *o, struct jobs **ret_jobs);
/* Cancels what waits and runs, waits for it to end, frees all. No job may be held. NULL is fine. */
void jobs_free(struct jobs *j);

/* Takes the work, even on error. ERR_JOBS_FULL: waiting_max wait already. ERR_SHUTTING_DOWN. */
MUST_USE enum err jobs_start(struct jobs *j, const struct job_work *work, uint64_t *ret_id,
                             struct err_detail *detail);
/* Ends it as soon as it looks; one that waits, at once. OK also when it has ended. forget: it is
 * gone from the list when it has ended. ERR_JOB_NOT_FOUND. */
MUST_USE enum err jobs_cancel(struct jobs *j, uint64_t id, bool forget, struct err_detail *detail);
/* All that are remembered, oldest first; returns how many of at most cap. */
size_t jobs_list(struct jobs *j, struct job_info *ret, size_t cap);

/* Keeps a job and its ctx from being freed until jobs_release. NULL: not known (any more). */
struct job *jobs_hold(struct jobs *j, uint64_t id);
void jobs_release(struct jobs *j, struct job *job);
void job_info(struct jobs *j, struct job *job, struct job_info *ret_info);
/* ctx of its work. What run writes there may be read by others once the state is DONE. */
void *job_ctx(const struct job *job);

/* For run. The place where the thread rests: cheap enough for every row. */
bool job_cancelled(struct job *job);
void job_progress(struct job *job, uint64_t done, uint64_t total);
uint64_t job_id(const struct job *job);
