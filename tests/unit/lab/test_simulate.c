#include "server/lab/simulate.h"
#include "state/base/mem.h"
#include "state/math/check.h"
#include "tests/unit/cmocka_all.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void make(struct workload *w, uint32_t horizon, uint64_t seed)
{
    struct workload_spec spec;
    workload_defaults(&spec);
    spec.horizon = horizon;
    assert_int_equal(workload_make(&spec, seed, w), OK);
}

static struct simulate_run run(const struct workload *w, const struct simulate_settings *s,
                               const char *policy)
{
    struct simulate_run r;
    assert_int_equal(simulate_run(w, s, policy, &r), OK);
    return r;
}

static void the_same_seed_gives_the_same_run(void **state)
{
    (void)state;
    struct workload w;
    struct simulate_settings s;
    simulate_defaults(&s);
    make(&w, 2000, 1);
    struct simulate_run a = run(&w, &s, "polar"), b = run(&w, &s, "polar");
    assert_memory_equal(&a, &b, sizeof a);
    workload_done(&w);
}

static void the_oracle_has_no_regret_and_nobody_earns_more(void **state)
{
    (void)state;
    struct simulate_settings s;
    simulate_defaults(&s);
    for (uint64_t seed = 1; seed < 4; seed++) {
        struct workload w;
        make(&w, 3000, seed);
        struct simulate_run best = run(&w, &s, "oracle");
        assert_true(fabs(best.regret) < 1e-6);
        for (uint32_t k = 0; simulate_policy(k); k++) {
            if (strcmp(simulate_policy(k), "oracle") == 0)
                continue;
            struct simulate_run r = run(&w, &s, simulate_policy(k));
            assert_true(r.regret > 0 && r.utility < best.utility);
            /* Rewards are noisy, the noise is the request's: the two accounts agree closely. */
            assert_true(fabs(best.utility - r.utility - r.regret) < 10 + .05 * r.regret);
        }
        workload_done(&w);
    }
}

static void the_curve_rises_to_the_regret(void **state)
{
    (void)state;
    struct workload w;
    struct simulate_settings s;
    simulate_defaults(&s);
    make(&w, 4096, 2);
    struct simulate_run r = run(&w, &s, "lru");
    for (int k = 1; k < SIMULATE_POINTS; k++)
        assert_true(r.curve[k] >= r.curve[k - 1] - 1e-9);
    assert_true(r.curve[SIMULATE_POINTS - 1] == r.regret);
    workload_done(&w);
}

static void polar_beats_what_does_not_look_at_values(void **state)
{
    (void)state;
    struct simulate_settings s;
    simulate_defaults(&s);
    double polar = 0, lru = 0, fixed = 0, random = 0;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct workload w;
        make(&w, 8000, seed);
        polar += run(&w, &s, "polar").regret;
        lru += run(&w, &s, "lru").regret;
        fixed += run(&w, &s, "static").regret;
        random += run(&w, &s, "random").regret;
        workload_done(&w);
    }
    assert_true(polar < lru && polar < .5 * fixed && polar < .2 * random);
}

static void a_reward_that_comes_late_costs_little_more_than_the_blind_start(void **state)
{
    (void)state;
    struct simulate_settings s;
    double now = 0, late = 0;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct workload w;
        make(&w, 8000, seed);
        simulate_defaults(&s);
        now += run(&w, &s, "polar").regret;
        s.delay = 50;
        s.missing = .05;
        struct simulate_run r = run(&w, &s, "polar");
        assert_true(r.blind > 1);
        late += r.regret - r.blind;
        workload_done(&w);
    }
    /* Pulls on their way teach nothing yet, so some are made twice; what follows is the same. */
    assert_true(late < 2 * now);
}

static void prefetch_is_paid_by_kappa(void **state)
{
    (void)state;
    struct workload w;
    struct simulate_settings s;
    simulate_defaults(&s);
    make(&w, 4000, 1);
    s.residency.kappa = 1;
    struct simulate_run paid = run(&w, &s, "random");
    s.residency.kappa = 0;
    struct simulate_run free_run = run(&w, &s, "random");
    assert_true(paid.planned_loads == free_run.planned_loads && paid.planned_loads > 40);
    /* Each is about .14 of utility. */
    assert_true(paid.regret - free_run.regret > .07 * (double)paid.planned_loads);
    assert_true(paid.regret - free_run.regret < .3 * (double)paid.planned_loads);
    workload_done(&w);
}

static void a_trace_is_played_like_a_workload(void **state)
{
    (void)state;
    struct buf text;
    struct workload w;
    struct err_detail d;
    struct simulate_settings s;
    buf_init(&text);
    static const char head[] = "adapter,a,100000000,400\nadapter,b,100000000,400\n"
                               "adapter,c,100000000,400\nadapter,base,0,0\n";
    buf_put(&text, head, sizeof head - 1);
    /* b is always right, c for every tenth request; the cache holds one. */
    static const char common[] = "request,0,0.2,0.9,0.1,0.5\n",
                      rare[] = "request,1,0.2,0.3,0.9,0.5\n";
    for (int t = 0; t < 3000; t++)
        buf_put(&text, t % 10 ? common : rare, t % 10 ? sizeof common - 1 : sizeof rare - 1);
    assert_int_equal(workload_parse((struct slice){text.data, text.len}, &w, &d), OK);
    simulate_defaults(&s);
    s.residency.slots = 1;
    s.request_ms = 1000;
    struct simulate_run best = run(&w, &s, "oracle"), polar = run(&w, &s, "polar"),
                        fixed = run(&w, &s, "static");
    /* b resident: 2700 times .9; c pays a load of .3 * 400 / 1263 on its 300. */
    assert_true(fabs(best.utility - (2700 * .9 + 300 * (.9 - .3 * 400 / 1263))) < .01);
    assert_true(polar.regret < 25 && fixed.regret > 100);
    assert_true(polar.miss_rate < .2);
    buf_done(&text);
    workload_done(&w);
}

static void a_table_has_a_row_for_every_policy_in_json_and_csv(void **state)
{
    (void)state;
    struct simulate_job job = {.seeds = 2};
    struct simulate_table t;
    struct buf json, csv;
    workload_defaults(&job.spec);
    simulate_defaults(&job.settings);
    job.spec.horizon = 1024;
    assert_int_equal(simulate_table(&job, &t), OK);
    assert_int_equal(t.rows_n, 10);
    buf_init(&json);
    buf_init(&csv);
    simulate_json(&t, &json);
    simulate_csv(&t, &csv);
    buf_put_u8(&json, 0);
    buf_put_u8(&csv, 0);
    assert_int_equal(buf_error(&json), OK);
    static const char *const names[] = {
        "polar",  "polar_plus", "lru",       "lfu",   "top_k", "oblivious_same_learner",
        "static", "random",     "oblivious", "oracle"};
    for (size_t k = 0; k < 10; k++) {
        char key[64];
        (void)snprintf(key, sizeof key, "\"%s\":{\"regret\"", names[k]);
        assert_non_null(strstr((const char *)json.data, key));
        (void)snprintf(key, sizeof key, "\n%s,2,1024,", names[k]);
        assert_non_null(strstr((const char *)csv.data, key));
        assert_true(k == 9 || t.rows[k].regret.sd > 0);
    }
    assert_null(strstr((const char *)csv.data, "\n\n")); /* One table. */
    buf_reset(&csv);
    simulate_curves_csv(&t, &csv);
    buf_put_u8(&csv, 0);
    assert_int_equal(strncmp((const char *)csv.data, "policy,t,regret\npolar,8,", 24), 0);
    buf_done(&json);
    buf_done(&csv);
}

static bool at_once(void *arg)
{
    return --*(int *)arg < 0;
}

static void a_job_stops_when_it_is_told_to(void **state)
{
    (void)state;
    int runs = 3;
    struct simulate_job job = {.seeds = 1000};
    struct simulate_table t;
    workload_defaults(&job.spec);
    simulate_defaults(&job.settings);
    job.spec.horizon = 5000;
    job.settings.cancelled = at_once;
    job.settings.arg = &runs;
    assert_int_equal(simulate_table(&job, &t), ERR_CANCELLED);
    assert_int_equal(runs, -1); /* Within the first run. */
}

static bool count(void *arg)
{
    ++*(int *)arg;
    return false;
}

static void finding_the_oracles_sets_can_be_stopped_too(void **state)
{
    (void)state;
    int looks = 0;
    struct simulate_settings s;
    struct simulate_run r;
    struct workload w;
    const struct workload_spec spec = {.adapters = 3, .tasks = 2, .horizon = 50, .rotations = 40};
    simulate_defaults(&s);
    s.cancelled = count;
    s.arg = &looks;
    assert_int_equal(workload_make(&spec, 1, &w), OK);
    assert_int_equal(simulate_run(&w, &s, "lru", &r), OK);
    assert_true(looks > 41); /* In every phase, each of which has a set of its own. */
    looks = 1;
    s.cancelled = at_once;
    assert_int_equal(simulate_run(&w, &s, "lru", &r), ERR_CANCELLED);
    workload_done(&w);
}

static void a_policy_that_does_not_exist_is_refused(void **state)
{
    (void)state;
    struct workload w;
    struct simulate_settings s;
    struct simulate_run r;
    simulate_defaults(&s);
    make(&w, 100, 1);
    assert_int_equal(simulate_run(&w, &s, "mru", &r), ERR_INVALID);
    workload_done(&w);
}

static void a_failed_allocation_ends_the_run_cleanly(void **state)
{
    (void)state;
    struct workload w;
    struct simulate_settings s;
    struct simulate_run r;
    simulate_defaults(&s);
    make(&w, 60, 1);
    s.residency.epoch_requests = 20;
    s.residency.epoch_loads = 0;
    enum err e = ERR_NOMEM;
    long n = 0;
    while (e != OK && n < 20000) {
        mem_fail_nth(++n);
        e = simulate_run(&w, &s, "polar", &r);
        assert_true(e == OK || e == ERR_NOMEM);
        bool fired = mem_count() >= n;
        mem_fail_nth(0);
        n += n / 20; /* Each in the beginning, then every so many. */
        if (!fired)
            break;
    }
    assert_int_equal(e, OK);
    workload_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_seed_gives_the_same_run),
        cmocka_unit_test(the_oracle_has_no_regret_and_nobody_earns_more),
        cmocka_unit_test(the_curve_rises_to_the_regret),
        cmocka_unit_test(polar_beats_what_does_not_look_at_values),
        cmocka_unit_test(a_reward_that_comes_late_costs_little_more_than_the_blind_start),
        cmocka_unit_test(prefetch_is_paid_by_kappa),
        cmocka_unit_test(a_trace_is_played_like_a_workload),
        cmocka_unit_test(a_table_has_a_row_for_every_policy_in_json_and_csv),
        cmocka_unit_test(a_job_stops_when_it_is_told_to),
        cmocka_unit_test(finding_the_oracles_sets_can_be_stopped_too),
        cmocka_unit_test(a_policy_that_does_not_exist_is_refused),
        cmocka_unit_test(a_failed_allocation_ends_the_run_cleanly),
    };
    if (blas_init() != OK)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
