#include "server/engine/jobs.h"

#include "server/ops/clock.h"
#include "state/base/mem.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct job {
    struct job *next; /* In order of id. */
    uint64_t id;
    struct job_work work;
    _Atomic bool cancel;
    _Atomic uint64_t done, total;
    int64_t looked_ns, worked_ns; /* The thread's: clocks at the last look. */
    /* Under the lock of jobs. */
    enum job_state state;
    bool forget, listed;
    uint32_t holds;
    int64_t queued_us, started_us, ended_us;
    enum err err;
    struct err_detail detail;
};

struct jobs {
    struct jobs_options o;
    pthread_mutex_t lock; /* Guards all below. */
    pthread_cond_t changed;
    struct job *first;
    uint64_t last_id;
    uint32_t waiting_n, ended_n;
    bool closing, started;
    pthread_t thread;
};

/* ---- with the lock ---- */

static bool has_ended(const struct job *job)
{
    return job->state != JOB_QUEUED && job->state != JOB_RUNNING;
}

static struct job *find(struct jobs *j, uint64_t id)
{
    struct job *job = j->first;
    while (job && job->id != id)
        job = job->next;
    return job;
}

/* Out of the list. Returns it when nobody holds it, to be freed without the lock. */
static struct job *unlist(struct jobs *j, struct job *job)
{
    struct job **at = &j->first;
    while (*at != job)
        at = &(*at)->next;
    *at = job->next;
    job->listed = false;
    j->ended_n -= has_ended(job);
    return job->holds ? NULL : job;
}

static struct job *oldest_ended(struct jobs *j)
{
    struct job *job = j->first;
    while (job && !has_ended(job))
        job = job->next;
    return job;
}

/* Returns a job that is to be freed, or NULL. */
static struct job *end(struct jobs *j, struct job *job, enum job_state state)
{
    job->state = state;
    job->ended_us = clock_unix_us();
    j->ended_n++;
    if (job->forget)
        return unlist(j, job);
    struct job *old = j->ended_n > j->o.ended_max ? oldest_ended(j) : NULL;
    return old ? unlist(j, old) : NULL;
}

/* ---- without it ---- */

static void job_free(struct job *job)
{
    if (!job)
        return;
    job->work.free(job->work.ctx);
    mem_free(job);
}

static void run_one(struct jobs *j, struct job *job)
{
    struct err_detail detail = {""};
    enum err e = job->work.run(job->work.ctx, job, &detail);
    (void)pthread_mutex_lock(&j->lock);
    job->err = e;
    job->detail = detail;
    job->holds--;
    struct job *gone = end(j, job,
                           e == OK              ? JOB_DONE
                           : e == ERR_CANCELLED ? JOB_CANCELLED
                                                : JOB_FAILED);
    (void)pthread_mutex_unlock(&j->lock);
    job_free(gone);
}

/* Waits for a job; NULL: closing. */
static struct job *take(struct jobs *j)
{
    (void)pthread_mutex_lock(&j->lock);
    while (!j->closing && !j->waiting_n)
        (void)pthread_cond_wait(&j->changed, &j->lock);
    struct job *job = j->closing ? NULL : j->first;
    while (job && job->state != JOB_QUEUED)
        job = job->next;
    if (job) {
        j->waiting_n--;
        job->state = JOB_RUNNING;
        job->started_us = clock_unix_us();
        job->holds++;
    }
    (void)pthread_mutex_unlock(&j->lock);
    return job;
}

/* Of this thread alone: on Linux all three calls mean the thread when its id is given. A refusal
 * changes nothing but how much it gives way. */
static void give_way(void)
{
    enum { IOPRIO_WHO_THREAD = 1, IOPRIO_BEST_EFFORT_LOWEST = 2 << 13 | 7 };
    const struct sched_param none = {.sched_priority = 0};
    (void)sched_setscheduler(gettid(), SCHED_BATCH, &none); /* Wakes without taking a processor. */
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), 19);
    (void)syscall(SYS_ioprio_set, IOPRIO_WHO_THREAD, 0, IOPRIO_BEST_EFFORT_LOWEST);
}

static void *jobs_run(void *arg)
{
    struct jobs *j = arg;
    give_way();
    for (struct job *job; (job = take(j));)
        run_one(j, job);
    return NULL;
}

enum err jobs_new(const struct jobs_options *o, struct jobs **ret_jobs)
{
    struct jobs *j = mem_calloc(1, sizeof *j);
    if (!j)
        return ERR_NOMEM;
    j->o = *o;
    (void)pthread_mutex_init(&j->lock, NULL);
    (void)pthread_cond_init(&j->changed, NULL);
    j->started = pthread_create(&j->thread, NULL, jobs_run, j) == 0;
    if (!j->started) {
        jobs_free(j);
        return ERR_NOMEM;
    }
    *ret_jobs = j;
    return OK;
}

void jobs_free(struct jobs *j)
{
    if (!j)
        return;
    (void)pthread_mutex_lock(&j->lock);
    j->closing = true;
    for (struct job *job = j->first; job; job = job->next)
        atomic_store(&job->cancel, true);
    (void)pthread_cond_signal(&j->changed);
    (void)pthread_mutex_unlock(&j->lock);
    if (j->started)
        (void)pthread_join(j->thread, NULL);
    for (struct job *job = j->first, *next; job; job = next) {
        next = job->next;
        job_free(job);
    }
    (void)pthread_cond_destroy(&j->changed);
    (void)pthread_mutex_destroy(&j->lock);
    mem_free(j);
}

static enum err enqueue(struct jobs *j, struct job *job, struct err_detail *detail)
{
    if (j->closing)
        return err_say(detail, ERR_SHUTTING_DOWN, "the server is shutting down");
    if (j->waiting_n >= j->o.waiting_max)
        return err_say(detail, ERR_JOBS_FULL, "%u jobs wait already", j->waiting_n);
    struct job **at = &j->first;
    while (*at)
        at = &(*at)->next;
    *at = job;
    job->listed = true;
    job->id = ++j->last_id;
    j->waiting_n++;
    (void)pthread_cond_signal(&j->changed);
    return OK;
}

enum err jobs_start(struct jobs *j, const struct job_work *work, uint64_t *ret_id,
                    struct err_detail *detail)
{
    struct job *job = mem_calloc(1, sizeof *job);
    if (!job) {
        work->free(work->ctx);
        return err_say(detail, ERR_NOMEM, "no memory for the job");
    }
    job->work = *work;
    job->queued_us = clock_unix_us();
    (void)pthread_mutex_lock(&j->lock);
    enum err e = enqueue(j, job, detail);
    uint64_t id = job->id;
    (void)pthread_mutex_unlock(&j->lock);
    if (e != OK) {
        job_free(job);
        return e;
    }
    *ret_id = id;
    return OK;
}

enum err jobs_cancel(struct jobs *j, uint64_t id, bool forget, struct err_detail *detail)
{
    struct job *gone = NULL;
    (void)pthread_mutex_lock(&j->lock);
    struct job *job = find(j, id);
    if (job) {
        atomic_store(&job->cancel, true);
        job->forget = job->forget || forget;
        if (job->state == JOB_QUEUED) {
            j->waiting_n--;
            gone = end(j, job, JOB_CANCELLED);
        } else if (has_ended(job) && forget) {
            gone = unlist(j, job);
        }
    }
    (void)pthread_mutex_unlock(&j->lock);
    job_free(gone);
    return job ? OK
               : err_say(detail, ERR_JOB_NOT_FOUND, "there is no job %llu", (unsigned long long)id);
}

static void fill_info(const struct job *job, struct job_info *ret)
{
    *ret = (struct job_info){.id = job->id,
                             .kind = job->work.kind,
                             .state = job->state,
                             .done = atomic_load(&job->done),
                             .total = atomic_load(&job->total),
                             .queued_us = job->queued_us,
                             .started_us = job->started_us,
                             .ended_us = job->ended_us,
                             .err = job->err,
                             .detail = job->detail};
}

size_t jobs_list(struct jobs *j, struct job_info *ret, size_t cap)
{
    size_t n = 0;
    (void)pthread_mutex_lock(&j->lock);
    for (const struct job *job = j->first; job && n < cap; job = job->next)
        fill_info(job, &ret[n++]);
    (void)pthread_mutex_unlock(&j->lock);
    return n;
}

struct job *jobs_hold(struct jobs *j, uint64_t id)
{
    (void)pthread_mutex_lock(&j->lock);
    struct job *job = find(j, id);
    if (job)
        job->holds++;
    (void)pthread_mutex_unlock(&j->lock);
    return job;
}

void jobs_release(struct jobs *j, struct job *job)
{
    (void)pthread_mutex_lock(&j->lock);
    bool gone = --job->holds == 0 && !job->listed;
    (void)pthread_mutex_unlock(&j->lock);
    if (gone)
        job_free(job);
}

void job_info(struct jobs *j, struct job *job, struct job_info *ret_info)
{
    (void)pthread_mutex_lock(&j->lock);
    fill_info(job, ret_info);
    (void)pthread_mutex_unlock(&j->lock);
}

void *job_ctx(const struct job *job)
{
    return job->work.ctx;
}

static int64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    (void)clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Rests if in the last millisecond the thread had clearly less of a processor than it wanted. A
 * tenth of a second at most, so that cancelling stays quick. */
static void rest(struct job *job)
{
    enum { LOOK_EVERY_NS = 1000000, REST_MOST_NS = 100000000, REST_SHARE = 99 };
    int64_t now = clock_ns(CLOCK_MONOTONIC);
    if (now - job->looked_ns < LOOK_EVERY_NS)
        return;
    int64_t cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    int64_t passed = now - job->looked_ns, worked = cpu - job->worked_ns;
    if (job->looked_ns && worked < passed - passed / 4) {
        int64_t ns = REST_SHARE * worked < REST_MOST_NS ? REST_SHARE * worked : REST_MOST_NS;
        const struct timespec t = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
        (void)nanosleep(&t, NULL);
        now = clock_ns(CLOCK_MONOTONIC);
    }
    job->looked_ns = now;
    job->worked_ns = cpu;
}

bool job_cancelled(struct job *job)
{
    rest(job);
    return atomic_load_explicit(&job->cancel, memory_order_relaxed);
}

void job_progress(struct job *job, uint64_t done, uint64_t total)
{
    atomic_store_explicit(&job->done, done, memory_order_relaxed);
    atomic_store_explicit(&job->total, total, memory_order_relaxed);
}

uint64_t job_id(const struct job *job)
{
    return job->id;
}
