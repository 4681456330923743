#include "server/engine/jobs.h"
#include "tests/unit/cmocka_all.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* A piece of work whose end the test decides. */
struct piece {
    _Atomic bool started, finish;
    _Atomic int freed, ran;
    _Atomic int nice;
    enum err answer;
};

static void rest(void)
{
    static const struct timespec t = {.tv_nsec = 1000000};
    nanosleep(&t, NULL);
}

static enum err run(void *ctx, struct job *job, struct err_detail *detail)
{
    struct piece *p = ctx;
    p->ran++;
    errno = 0;
    p->nice = getpriority(PRIO_PROCESS, (id_t)gettid());
    p->started = true;
    job_progress(job, 7, 9);
    while (!p->finish) {
        if (job_cancelled(job))
            return ERR_CANCELLED;
        rest();
    }
    return p->answer == OK ? OK : err_say(detail, p->answer, "as the test wanted");
}

static void freed(void *ctx)
{
    ((struct piece *)ctx)->freed++;
}

static enum err start(struct jobs *j, struct piece *p, uint64_t *ret_id)
{
    const struct job_work work = {.kind = "piece", .run = run, .free = freed, .ctx = p};
    struct err_detail detail;
    return jobs_start(j, &work, ret_id, &detail);
}

static struct jobs *open_jobs(uint32_t waiting, uint32_t ended)
{
    const struct jobs_options o = {waiting, ended};
    struct jobs *j = NULL;
    assert_int_equal(jobs_new(&o, &j), OK);
    return j;
}

static struct job_info info_of(struct jobs *j, uint64_t id)
{
    struct job_info info;
    struct job *job = jobs_hold(j, id);
    assert_non_null(job);
    job_info(j, job, &info);
    jobs_release(j, job);
    return info;
}

static struct job_info wait_for(struct jobs *j, uint64_t id, enum job_state state)
{
    struct job_info info = info_of(j, id);
    for (int i = 0; i < 20000 && info.state != state; i++) {
        rest();
        info = info_of(j, id);
    }
    assert_int_equal(info.state, state);
    return info;
}

static void a_job_ends_as_its_work_says(void **unused)
{
    (void)unused;
    struct jobs *j = open_jobs(8, 32);
    struct piece good = {.finish = true}, bad = {.finish = true, .answer = ERR_DISK_FULL};
    uint64_t a, b;
    assert_int_equal(start(j, &good, &a), OK);
    assert_int_equal(start(j, &bad, &b), OK);
    struct job_info info = wait_for(j, a, JOB_DONE);
    assert_int_equal(info.done, 7);
    assert_int_equal(info.total, 9);
    assert_true(info.queued_us <= info.started_us && info.started_us <= info.ended_us);
    info = wait_for(j, b, JOB_FAILED);
    assert_int_equal(info.err, ERR_DISK_FULL);
    assert_string_equal(info.detail.text, "as the test wanted");
    assert_int_equal(good.nice, 19);
    jobs_free(j);
    assert_int_equal(good.freed, 1);
    assert_int_equal(bad.freed, 1);
}

static void jobs_run_one_at_a_time_in_order(void **unused)
{
    (void)unused;
    struct jobs *j = open_jobs(8, 32);
    struct piece p[3];
    uint64_t id[3];
    memset(p, 0, sizeof p);
    for (int i = 0; i < 3; i++)
        assert_int_equal(start(j, &p[i], &id[i]), OK);
    for (int i = 0; i < 3; i++) {
        wait_for(j, id[i], JOB_RUNNING);
        for (int k = i + 1; k < 3; k++)
            assert_int_equal(info_of(j, id[k]).state, JOB_QUEUED);
        p[i].finish = true;
        wait_for(j, id[i], JOB_DONE);
    }
    jobs_free(j);
}

static void a_full_queue_refuses_and_frees_the_work(void **unused)
{
    (void)unused;
    struct jobs *j = open_jobs(2, 32);
    struct piece running = {0}, waiting[2], more = {0};
    uint64_t id, unused_id;
    memset(waiting, 0, sizeof waiting);
    assert_int_equal(start(j, &running, &id), OK);
    wait_for(j, id, JOB_RUNNING);
    assert_int_equal(start(j, &waiting[0], &unused_id), OK);
    assert_int_equal(start(j, &waiting[1], &unused_id), OK);
    assert_int_equal(start(j, &more, &unused_id), ERR_JOBS_FULL);
    assert_int_equal(more.freed, 1);
    running.finish = true;
    wait_for(j, id, JOB_DONE);
    wait_for(j, id + 1, JOB_RUNNING);
    assert_int_equal(start(j, &running, &unused_id), OK); /* There is room again. */
    jobs_free(j);
}

static void cancelling_ends_what_runs_and_what_waits(void **unused)
{
    (void)unused;
    struct jobs *j = open_jobs(8, 32);
    struct piece running = {0}, waiting = {0};
    struct err_detail detail;
    uint64_t a, b;
    assert_int_equal(start(j, &running, &a), OK);
    assert_int_equal(start(j, &waiting, &b), OK);
    wait_for(j, a, JOB_RUNNING);
    assert_int_equal(jobs_cancel(j, b, false, &detail), OK);
    assert_int_equal(info_of(j, b).state, JOB_CANCELLED);
    assert_int_equal(jobs_cancel(j, a, false, &detail), OK);
    wait_for(j, a, JOB_CANCELLED);
    assert_int_equal(jobs_cancel(j, a, false, &detail), OK); /* Again: nothing more. */
    assert_int_equal(jobs_cancel(j, 77, false, &detail), ERR_JOB_NOT_FOUND);
    jobs_free(j);
    assert_int_equal(waiting.ran, 0);
    assert_int_equal(waiting.freed, 1);
}

static void a_forgotten_job_is_freed_when_it_has_ended_and_nobody_holds_it(void **unused)
{
    (void)unused;
    struct jobs *j = open_jobs(8, 32);
    struct piece p = {0};
    struct err_detail detail;
    uint64_t id;
    assert_int_equal(start(j, &p, &id), OK);
    wait_for(j, id, JOB_RUNNING);
    struct job *held = jobs_hold(j, id);
    assert_int_equal(jobs_cancel(j, id, true, &detail), OK);
    struct job_info info;
    do {
        rest();
        job_info(j, held, &info);
    } while (info.state == JOB_RUNNING);
    assert_null(jobs_hold(j, id));
    assert_int_equal(p.freed, 0);
    jobs_release(j, held);
    assert_int_equal(p.freed, 1);
    jobs_free(j);
}

static void the_oldest_that_ended_is_forgotten_first(void **unused)
{
    (void)unused;
    struct jobs *j = open_jobs(8, 2);
    struct piece p[4];
    struct job_info list[8];
    uint64_t id[4];
    memset(p, 0, sizeof p);
    for (int i = 0; i < 4; i++) {
        p[i].finish = true;
        assert_int_equal(start(j, &p[i], &id[i]), OK);
        wait_for(j, id[i], JOB_DONE);
    }
    assert_int_equal(jobs_list(j, list, 8), 2);
    assert_int_equal(list[0].id, id[2]);
    assert_int_equal(list[1].id, id[3]);
    assert_int_equal(p[0].freed + p[1].freed, 2);
    jobs_free(j);
}

static void closing_cancels_what_runs_and_frees_what_waits(void **unused)
{
    (void)unused;
    struct jobs *j = open_jobs(8, 32);
    struct piece running = {0}, waiting = {0};
    uint64_t a, b;
    assert_int_equal(start(j, &running, &a), OK);
    assert_int_equal(start(j, &waiting, &b), OK);
    wait_for(j, a, JOB_RUNNING);
    jobs_free(j);
    assert_int_equal(running.freed, 1);
    assert_int_equal(waiting.ran, 0);
    assert_int_equal(waiting.freed, 1);
}

/* For the thread sanitizer: everybody at once. */
struct crowd {
    struct jobs *j;
    struct piece *p;
};

static void *asks_and_cancels(void *arg)
{
    struct crowd *c = arg;
    struct err_detail detail;
    for (uint64_t i = 1; i < 300; i++) {
        struct job_info list[16];
        uint64_t id;
        (void)!start(c->j, c->p, &id);
        size_t n = jobs_list(c->j, list, 16);
        for (size_t k = 0; k < n; k++) {
            struct job *job = jobs_hold(c->j, list[k].id);
            if (job)
                jobs_release(c->j, job);
        }
        (void)!jobs_cancel(c->j, i, i % 2, &detail);
    }
    return NULL;
}

static void a_crowd_starts_lists_holds_and_cancels(void **unused)
{
    (void)unused;
    enum { CROWD = 4 };
    struct jobs *j = open_jobs(4, 4);
    struct piece p = {.finish = true};
    struct crowd c = {j, &p};
    pthread_t t[CROWD];
    for (int i = 0; i < CROWD; i++)
        assert_int_equal(pthread_create(&t[i], NULL, asks_and_cancels, &c), 0);
    for (int i = 0; i < CROWD; i++)
        assert_int_equal(pthread_join(t[i], NULL), 0);
    jobs_free(j);
    assert_int_equal(p.freed, 4 * 299);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_job_ends_as_its_work_says),
        cmocka_unit_test(jobs_run_one_at_a_time_in_order),
        cmocka_unit_test(a_full_queue_refuses_and_frees_the_work),
        cmocka_unit_test(cancelling_ends_what_runs_and_what_waits),
        cmocka_unit_test(a_forgotten_job_is_freed_when_it_has_ended_and_nobody_holds_it),
        cmocka_unit_test(the_oldest_that_ended_is_forgotten_first),
        cmocka_unit_test(closing_cancels_what_runs_and_frees_what_waits),
        cmocka_unit_test(a_crowd_starts_lists_holds_and_cancels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
