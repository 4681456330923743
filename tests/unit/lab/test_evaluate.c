#include "server/lab/evaluate.h"
#include "state/base/mem.h"
#include "state/base/rng.h"
#include "state/model/snapshot.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/lab/world.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static bool warned(const struct evaluation *v, enum evaluation_warning w)
{
    return v->warnings >> w & 1;
}

static struct evaluate_options options(const struct router_config *config)
{
    return (struct evaluate_options){
        .target = {.config = config, .arms = world_arms(), .arms_n = WORLD_ARMS, .seed = 3}};
}

static void must_evaluate(const struct evaluate_options *o, struct world_log *log,
                          struct evaluation *v)
{
    const struct logged_source source = world_source(log);
    struct err_detail detail = {""};
    enum err e = evaluate_run(o, &source, v, NULL, NULL, &detail);
    if (e != OK)
        fail_msg("%s: %s", err_code(e), detail.text);
}

static double true_mean(const struct world_log *log, uint32_t arm, uint32_t metric)
{
    double sum = 0;
    for (uint32_t i = 0; i < log->n; i++)
        sum += log->rows[i].truth[2 * arm + metric];
    return sum / log->n;
}

static void a_fixed_arm_is_estimated_near_its_truth_in_every_unit(void **state)
{
    (void)state;
    struct router_config config;
    struct world_log log;
    struct evaluation v;
    world_config(&config);
    target_set_fixed(&config, "high");
    world_log_open(&log, 4000, 1, .6);
    const struct evaluate_options o = options(&config);
    must_evaluate(&o, &log, &v);
    double reward = true_mean(&log, 0, WORLD_REWARD), cost = true_mean(&log, 0, WORLD_COST);
    /* 1,300 rows agree, a reward's deviation is .5: .05 is three and a half standard errors. */
    assert_true(fabs(v.utility.ips.value - reward) < .05);
    assert_true(fabs(v.utility.snips.value - reward) < .05);
    assert_true(fabs(v.utility.dr.value - reward) < .05);
    assert_true(v.utility.dr.interval.low < reward && reward < v.utility.dr.interval.high);
    assert_true(v.utility.dr.interval.high - v.utility.dr.interval.low < .12);
    assert_true(fabs(v.metric[WORLD_COST].dr.value - cost) < .01);
    assert_true(fabs(v.utility.replay - reward) < .08);
    assert_true(fabs(v.agreement - 1. / 3) < .05);
    assert_int_equal(v.used, 4000);
    assert_int_equal(v.rows, 4000);
    assert_true(v.unsupported == 0);
    assert_true(fabs(v.weight_mean - 1) < .1);
    assert_int_equal(v.warnings, 0);
    world_log_close(&log);
}

/* Over many logs the mean of an estimate is the truth: a bias of the size of an error of one log
 * would show. The target learns, so its truth is another one in every log. */
static void estimates_of_a_learning_target_are_unbiased(void **state)
{
    (void)state;
    enum { LOGS = 120, N = 250 };
    struct router_config config;
    double sum[2] = {0, 0}, squares[2] = {0, 0};
    world_config(&config);
    for (uint64_t k = 0; k < LOGS; k++) {
        struct world_log log;
        struct evaluation v;
        struct evaluate_options o = options(&config);
        struct target *t;
        double truth = 0;
        world_log_open(&log, N, 100 + k, .8);
        o.no_replay = true;
        must_evaluate(&o, &log, &v);
        assert_int_equal(target_new(&o.target, &t, NULL), OK);
        for (uint32_t i = 0; i < N; i++) {
            struct target_decision d;
            assert_int_equal(target_decide(t, &log.rows[i].row, NULL, i, &d), OK);
            for (uint32_t a = 0; a < WORLD_ARMS; a++)
                truth += (double)d.pmf[a] * log.rows[i].truth[2 * a] / N;
            assert_int_equal(target_learn(t, &log.rows[i].row), OK);
        }
        target_free(t);
        const double off[2] = {v.utility.ips.value - truth, v.utility.dr.value - truth};
        for (int e = 0; e < 2; e++) {
            sum[e] += off[e];
            squares[e] += off[e] * off[e];
        }
        world_log_close(&log);
    }
    for (int e = 0; e < 2; e++) {
        double mean = sum[e] / LOGS, error = sqrt((squares[e] / LOGS - mean * mean) / LOGS);
        if (!(fabs(mean) < 3.5 * error && error < .01))
            fail_msg("estimate %d is off by %g, standard error %g", e, mean, error);
    }
}

/* The log prefers arm 0 where it is good: taking every row that agrees would flatter it by .09. */
static void replay_of_a_log_that_is_not_uniform_is_unbiased(void **state)
{
    (void)state;
    enum { LOGS = 60 };
    struct router_config config;
    double sum = 0, squares = 0, naive = 0;
    world_config(&config);
    target_set_fixed(&config, "high");
    for (uint64_t k = 0; k < LOGS; k++) {
        struct world_log log;
        struct evaluation v;
        const struct evaluate_options o = options(&config);
        uint32_t n = 0;
        double earned = 0;
        world_log_open(&log, 1500, 500 + k, .9);
        must_evaluate(&o, &log, &v);
        assert_true(v.replay_accepted > 20);
        double off = v.utility.replay - true_mean(&log, 0, WORLD_REWARD);
        sum += off / LOGS;
        squares += off * off / LOGS;
        for (uint32_t i = 0; i < log.n; i++)
            if (log.rows[i].row.chosen == 0) {
                n++;
                earned += log.rows[i].row.raw[0];
            }
        naive += (earned / n - true_mean(&log, 0, WORLD_REWARD)) / LOGS;
        world_log_close(&log);
    }
    double error = sqrt((squares - sum * sum) / LOGS);
    if (!(fabs(sum) < 3.5 * error && error < .02))
        fail_msg("off by %g, standard error %g", sum, error);
    assert_true(naive > .07);
}

static void better_worse_and_the_logging_policy_itself_are_told_apart(void **state)
{
    (void)state;
    struct router_config config;
    struct world_log log;
    struct evaluation v;
    world_config(&config);
    world_log_open(&log, 4000, 9, 0);
    struct evaluate_options o = options(&config);
    o.no_replay = true;
    snprintf(config.settings.policy, NAME_CAP, "greedy");
    must_evaluate(&o, &log, &v);
    assert_int_equal(v.verdict, VERDICT_BETTER);
    target_set_fixed(&config, "dull");
    must_evaluate(&o, &log, &v);
    assert_int_equal(v.verdict, VERDICT_WORSE);
    world_config(&config);
    snprintf(config.settings.policy, NAME_CAP, "random");
    must_evaluate(&o, &log, &v);
    assert_int_equal(v.verdict, VERDICT_CANNOT_TELL);
    /* Every weight is one: the difference is nothing, whatever the noise of rewards. */
    assert_true(fabs(v.utility.ips_less_logged.value) < 1e-6);
    assert_true(v.utility.ips_less_logged.interval.high < .01);
    assert_true(v.ess > 3999);
    world_log_close(&log);
}

static void forced_rows_are_learned_and_left_out(void **state)
{
    (void)state;
    struct router_config config;
    struct world_log log;
    struct evaluation v;
    world_config(&config);
    snprintf(config.settings.policy, NAME_CAP, "greedy");
    world_log_open(&log, 1200, 4, 0);
    for (uint32_t i = 0; i < 1000; i++)
        log.rows[i].row.evaluable = false;
    struct evaluate_options o = options(&config);
    must_evaluate(&o, &log, &v);
    assert_int_equal(v.not_evaluable, 1000);
    assert_int_equal(v.used, 200);
    assert_true(warned(&v, WARN_LEFT_OUT));
    /* It knew the arms before the first scored row: it earns more than the best single arm, .5. */
    assert_true(v.utility.dr.value > .53);
    world_log_close(&log);
}

static void rows_without_their_outcome_are_counted_and_failures_warned_of(void **state)
{
    (void)state;
    struct router_config config;
    struct world_log log;
    struct evaluation v;
    world_config(&config);
    world_log_open(&log, 600, 5, 0);
    for (uint32_t i = 0; i < 400; i++) {
        log.rows[i].row.has_mask = 1u << WORLD_COST;
        log.rows[i].row.status = i < 7 ? OUTCOME_ERROR : OUTCOME_OK;
    }
    const struct evaluate_options o = options(&config);
    must_evaluate(&o, &log, &v);
    assert_int_equal(v.used, 200);
    assert_int_equal(v.unreported, 400);
    assert_int_equal(v.unreported_failures, 7);
    assert_int_equal(v.metric[WORLD_COST].rows, 600);
    assert_true(warned(&v, WARN_UNREPORTED) && warned(&v, WARN_FAILURES));
    world_log_close(&log);
}

static void too_few_rows_that_agree_give_a_warning_and_no_verdict(void **state)
{
    (void)state;
    struct router_config config;
    struct world_log log;
    struct evaluation v;
    world_config(&config);
    target_set_fixed(&config, "dull");
    world_log_open(&log, 90, 6, 0);
    const struct evaluate_options o = options(&config);
    must_evaluate(&o, &log, &v);
    assert_true(v.ess < EVALUATION_ESS_LEAST);
    assert_true(warned(&v, WARN_ESS));
    assert_int_equal(v.verdict, VERDICT_NONE);
    world_log_close(&log);
}

/* The log never chose arm 2, though it was eligible; whether its mass is known to be zero or not.
 */
static void a_target_on_arms_never_logged_gets_no_verdict(void **state)
{
    (void)state;
    for (int known = 0; known < 2; known++) {
        struct router_config config;
        struct world_log log;
        struct evaluation v;
        double logged[WORLD_ARMS], target[WORLD_ARMS];
        struct err_detail detail;
        world_config(&config);
        snprintf(config.settings.policy, NAME_CAP, "random");
        world_log_open(&log, 2000, 7, 0);
        uint32_t n = 0;
        for (uint32_t i = 0; i < log.n; i++) {
            struct world_row *w = &log.rows[i];
            if (w->row.chosen == 2)
                w->row.chosen = i % 2;
            w->row.propensity = .5;
            w->pmf[0] = w->pmf[1] = .5f;
            w->pmf[2] = 0;
            w->row.pmf = known ? w->pmf : NULL;
            n += w->row.chosen == 0;
        }
        const struct evaluate_options o = options(&config);
        const struct logged_source source = world_source(&log);
        assert_int_equal(evaluate_run(&o, &source, &v, logged, target, &detail), OK);
        assert_true(fabs(v.unsupported - 1. / 3) < 1e-6);
        assert_int_equal(v.unsupported_rows, 2000);
        assert_int_equal(v.never_logged, 1);
        assert_true(warned(&v, WARN_UNSUPPORTED) && warned(&v, WARN_NEVER_LOGGED));
        assert_true(warned(&v, WARN_WEIGHTS));
        assert_int_equal(v.verdict, VERDICT_NONE);
        assert_true(fabs(logged[0] - (double)n / 2000) < 1e-9 && logged[2] == 0);
        assert_true(fabs(target[2] - 1. / 3) < 1e-6);
        world_log_close(&log);
    }
}

static void the_first_row_is_decided_knowing_nothing(void **state)
{
    (void)state;
    struct router_config config;
    struct world_log log;
    struct evaluation v;
    world_config(&config);
    world_log_open(&log, 1, 8, 0);
    const struct evaluate_options o = options(&config);
    must_evaluate(&o, &log, &v);
    assert_true(fabs(v.agreement - 1. / 3) < 1e-6);
    world_log_close(&log);
}

/* Pulls of the log are the target's: after two of each arm none is a newcomer. */
static void a_target_forces_newcomers_until_the_log_has_pulled_them(void **state)
{
    (void)state;
    struct router_config config;
    struct world_log log;
    struct target *t;
    struct target_decision d;
    world_config(&config);
    target_set_fixed(&config, "high");
    config.settings.newcomer_pulls = 2;
    world_log_open(&log, 20, 15, 0);
    const struct evaluate_options o = options(&config);
    assert_int_equal(target_new(&o.target, &t, NULL), OK);
    for (uint32_t i = 0; i < 2 * WORLD_ARMS; i++) {
        struct logged_row row = log.rows[i].row;
        row.chosen = i % WORLD_ARMS;
        assert_int_equal(target_decide(t, &row, NULL, i, &d), OK);
        assert_true(d.pmf[1] + d.pmf[2] > .1f);
        assert_int_equal(target_learn(t, &row), OK);
    }
    assert_int_equal(target_decide(t, &log.rows[0].row, NULL, 9, &d), OK);
    assert_true(d.pmf[0] == 1);
    target_free(t);
    world_log_close(&log);
}

static void weights_in_force_and_weights_given_make_the_utility(void **state)
{
    (void)state;
    struct router_config config;
    struct world_log log;
    struct evaluation v, given;
    static const double half[] = {.5, .5};
    world_config(&config);
    target_set_fixed(&config, "low");
    world_log_open(&log, 300, 10, 0);
    for (uint32_t i = 0; i < log.n; i++)
        log.rows[i].row.weights = half;
    struct evaluate_options o = options(&config);
    must_evaluate(&o, &log, &v);
    for (uint32_t i = 0; i < log.n; i++)
        log.rows[i].row.weights = NULL;
    o.weights = half;
    must_evaluate(&o, &log, &given);
    assert_true(v.utility.dr.value == given.utility.dr.value);
    double is = .5 * v.metric[0].ips.value - .5 * v.metric[1].ips.value;
    assert_true(fabs(v.utility.ips.value - is) < 1e-9);
    assert_true(v.utility.low == -.5 && v.utility.high == .5);
    world_log_close(&log);
}

/* A view that has learned from the log: a frozen target decides by it and changes nothing. */
static void a_frozen_target_decides_alike_from_the_first_row_to_the_last(void **state)
{
    (void)state;
    struct router_config config;
    struct world_log log;
    struct evaluation v;
    struct target *t;
    world_config(&config);
    snprintf(config.settings.policy, NAME_CAP, "greedy");
    world_log_open(&log, 1500, 11, 0);
    struct evaluate_options o = options(&config);
    assert_int_equal(target_new(&o.target, &t, NULL), OK);
    struct target_decision d;
    for (uint32_t i = 0; i < 1000; i++)
        assert_int_equal(target_learn(t, &log.rows[i].row), OK);
    assert_int_equal(target_decide(t, &log.rows[0].row, NULL, 0, &d), OK);
    o.target.frozen = target_view(t);
    o.learned_until_us = 1000 + 999;
    must_evaluate(&o, &log, &v);
    assert_int_equal(v.in_sample, 1000);
    assert_true(warned(&v, WARN_IN_SAMPLE));
    assert_true(v.utility.dr.value > .53);
    o.target.arms = (const struct lab_arm[]){{"gone", NULL}, {"too", NULL}, {"also", NULL}};
    const struct logged_source source = world_source(&log);
    struct err_detail detail;
    assert_int_equal(evaluate_run(&o, &source, &v, NULL, NULL, &detail), ERR_ARM_NOT_FOUND);
    assert_non_null(strstr(detail.text, "`gone`"));
    target_free(t);
    world_log_close(&log);
}

/* `dull` is hardly ever the best, so that without it the same target earns the same; and rows that
 * `dull` served say so as rows that disagree. */
static void a_frozen_target_without_an_arm_goes_on_with_the_others(void **state)
{
    (void)state;
    static const uint32_t dull_alone[] = {2};
    const struct lab_arm arms[] = {world_arms()[0], world_arms()[1], {"removed/9", NULL}};
    struct router_config config;
    struct world_log log;
    struct evaluation all, v;
    struct target *t;
    struct target_decision d;
    double share[WORLD_ARMS];
    struct err_detail detail;
    world_config(&config);
    snprintf(config.settings.policy, NAME_CAP, "greedy");
    world_log_open(&log, 1500, 11, 0);
    struct evaluate_options o = options(&config);
    assert_int_equal(target_new(&o.target, &t, NULL), OK);
    for (uint32_t i = 0; i < 1000; i++)
        assert_int_equal(target_learn(t, &log.rows[i].row), OK);
    assert_int_equal(target_decide(t, &log.rows[0].row, NULL, 0, &d), OK);
    o.target.frozen = target_view(t);
    must_evaluate(&o, &log, &all);
    assert_false(warned(&all, WARN_ARMS_GONE));
    o.target.arms = arms;
    const struct logged_source source = world_source(&log);
    assert_int_equal(evaluate_run(&o, &source, &v, NULL, share, &detail), OK);
    assert_int_equal(v.used, 1500);
    assert_int_equal(v.arms_fewer, 1500);
    assert_true(warned(&v, WARN_ARMS_GONE));
    assert_true(share[2] == 0);
    assert_true(fabs(v.utility.dr.value - all.utility.dr.value) < .01);
    assert_true(fabs(v.utility.logged.value - all.utility.logged.value) < 1e-12);
    for (uint32_t i = 0; i < 100; i++) {
        struct logged_row *row = &log.rows[i].row;
        row->arms_n = 1;
        row->arms = dull_alone;
        row->pmf = NULL;
        row->chosen = 0;
    }
    must_evaluate(&o, &log, &v);
    assert_int_equal(v.arms_gone, 100);
    assert_int_equal(v.used, 1400);
    target_free(t);
    world_log_close(&log);
}

static void a_row_under_a_price_is_decided_under_that_price(void **state)
{
    (void)state;
    struct router_config config;
    struct world_log log;
    struct evaluation v;
    double free_share[WORLD_ARMS], share[WORLD_ARMS];
    struct err_detail detail;
    world_config(&config);
    snprintf(config.settings.policy, NAME_CAP, "greedy");
    world_log_open(&log, 1500, 11, 0);
    const struct evaluate_options o = options(&config);
    const struct logged_source source = world_source(&log);
    assert_int_equal(evaluate_run(&o, &source, &v, NULL, free_share, &detail), OK);
    assert_false(warned(&v, WARN_PRICED));
    /* Ten of utility a dollar: `low`, a tenth dearer than `high`, is never worth it. */
    for (uint32_t i = 0; i < log.n; i++)
        log.rows[i].row.price = (struct logged_price){true, WORLD_COST, .3, 10};
    assert_int_equal(source.rewind(source.self, &detail), OK);
    assert_int_equal(evaluate_run(&o, &source, &v, NULL, share, &detail), OK);
    assert_int_equal(v.priced, 1500);
    assert_true(warned(&v, WARN_PRICED));
    assert_string_equal(evaluation_warning_code(WARN_PRICED), "PRICED");
    assert_true(free_share[0] < .6 && share[0] > .9);
    log.rows[3].row.price.metric = 2;
    assert_int_equal(source.rewind(source.self, &detail), OK);
    assert_int_equal(evaluate_run(&o, &source, &v, NULL, NULL, &detail), ERR_OUT_OF_RANGE);
    world_log_close(&log);
}

static void what_was_kept_beyond_the_sample_teaches_and_is_not_scored(void **state)
{
    (void)state;
    struct router_config config;
    struct world_log log;
    struct evaluation all, v;
    world_config(&config);
    world_log_open(&log, 1500, 11, 0);
    const struct evaluate_options o = options(&config);
    must_evaluate(&o, &log, &all);
    for (uint32_t i = 0; i < 900; i += 3)
        log.rows[i].row.beyond_sample = true;
    must_evaluate(&o, &log, &v);
    assert_int_equal(v.beyond_sample, 300);
    assert_int_equal(v.used, 1200);
    assert_int_equal(v.rows, 1500);
    assert_int_equal(v.not_evaluable, 0);
    assert_true(warned(&v, WARN_SAMPLED) && !warned(&all, WARN_SAMPLED));
    world_log_close(&log);
}

static void a_row_that_cannot_be_is_refused_in_words(void **state)
{
    (void)state;
    struct router_config config;
    struct world_log log;
    struct evaluation v;
    struct err_detail detail;
    world_config(&config);
    world_log_open(&log, 20, 12, 0);
    const struct evaluate_options o = options(&config);
    const struct logged_row good = log.rows[9].row;
    static const float bad_x[WORLD_D] = {1, (float)INFINITY, 0};
    static const uint32_t bad_arms[] = {0, 1, 3};
    struct logged_row *row = &log.rows[9].row;
    for (int k = 0; k < 7; k++) {
        *row = good;
        row->propensity = k == 0 ? 0 : k == 1 ? 1.5 : k == 2 ? (double)NAN : good.propensity;
        row->x = k == 3 ? bad_x : good.x;
        row->chosen = k == 4 ? 3 : good.chosen;
        row->arms = k == 5 ? bad_arms : good.arms;
        row->has_mask = k == 6 ? 4 : good.has_mask;
        const struct logged_source source = world_source(&log);
        detail.text[0] = '\0';
        assert_int_not_equal(evaluate_run(&o, &source, &v, NULL, NULL, &detail), OK);
        assert_true(strlen(detail.text) > 20);
    }
    world_log_close(&log);
}

static void a_source_that_breaks_ends_the_evaluation_with_its_error(void **state)
{
    (void)state;
    struct router_config config;
    struct world_log log;
    struct evaluation v;
    struct err_detail detail;
    world_config(&config);
    world_log_open(&log, 20, 12, 0);
    const struct evaluate_options o = options(&config);
    const struct logged_source source = world_source(&log);
    log.fail = ERR_IO;
    log.fail_at = 12;
    assert_int_equal(evaluate_run(&o, &source, &v, NULL, NULL, &detail), ERR_IO);
    assert_string_equal(detail.text, "the source broke");
    world_log_close(&log);
}

struct waiter {
    uint64_t calls, last, stop_at;
};

static bool go_on(void *self, uint64_t done, uint64_t total)
{
    struct waiter *w = self;
    assert_true(done > w->last);
    assert_true(total == 0 || done <= total);
    w->last = done;
    return ++w->calls != w->stop_at;
}

static void progress_grows_and_a_waiter_can_stop_it(void **state)
{
    (void)state;
    struct router_config config;
    struct world_log log;
    struct evaluation v;
    struct waiter w = {0, 0, 0};
    world_config(&config);
    world_log_open(&log, 200, 13, 0);
    struct evaluate_options o = options(&config);
    o.watch = (struct lab_watch){go_on, &w};
    must_evaluate(&o, &log, &v);
    assert_int_equal(w.calls, 400 / LAB_POLL_ROWS);
    for (uint64_t stop = 1; stop <= 50; stop += 7) {
        const struct logged_source source = world_source(&log);
        w = (struct waiter){.stop_at = stop};
        assert_int_equal(evaluate_run(&o, &source, &v, NULL, NULL, NULL), ERR_CANCELLED);
        assert_int_equal(w.calls, stop);
    }
    world_log_close(&log);
}

static void every_failed_allocation_is_out_of_memory(void **state)
{
    (void)state;
    struct router_config config;
    struct world_log log;
    struct evaluation v;
    enum err e = ERR_NOMEM;
    long n = 0;
    world_config(&config);
    world_log_open(&log, 12, 14, 0);
    const struct evaluate_options o = options(&config);
    mem_fail_nth(0);
    must_evaluate(&o, &log, &v);
    if (mem_count() == 0)
        skip();
    while (e != OK && n < 2000) {
        const struct logged_source source = world_source(&log);
        mem_fail_nth(++n);
        e = evaluate_run(&o, &source, &v, NULL, NULL, NULL);
        mem_fail_nth(0);
        assert_true(e == OK || e == ERR_NOMEM);
    }
    assert_int_equal(e, OK);
    assert_true(n > 20);
    world_log_close(&log);
}

static void every_warning_and_verdict_has_its_words(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < EVALUATION_WARNINGS_N; i++)
        assert_true(strlen(evaluation_warning_text(i)) > 15);
    assert_null(evaluation_warning_text(EVALUATION_WARNINGS_N));
    assert_string_equal(verdict_text(VERDICT_BETTER), "better");
    assert_string_equal(verdict_text(VERDICT_NONE), "no verdict");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fixed_arm_is_estimated_near_its_truth_in_every_unit),
        cmocka_unit_test(estimates_of_a_learning_target_are_unbiased),
        cmocka_unit_test(replay_of_a_log_that_is_not_uniform_is_unbiased),
        cmocka_unit_test(better_worse_and_the_logging_policy_itself_are_told_apart),
        cmocka_unit_test(forced_rows_are_learned_and_left_out),
        cmocka_unit_test(rows_without_their_outcome_are_counted_and_failures_warned_of),
        cmocka_unit_test(too_few_rows_that_agree_give_a_warning_and_no_verdict),
        cmocka_unit_test(a_target_on_arms_never_logged_gets_no_verdict),
        cmocka_unit_test(the_first_row_is_decided_knowing_nothing),
        cmocka_unit_test(a_target_forces_newcomers_until_the_log_has_pulled_them),
        cmocka_unit_test(weights_in_force_and_weights_given_make_the_utility),
        cmocka_unit_test(a_frozen_target_decides_alike_from_the_first_row_to_the_last),
        cmocka_unit_test(a_frozen_target_without_an_arm_goes_on_with_the_others),
        cmocka_unit_test(a_row_under_a_price_is_decided_under_that_price),
        cmocka_unit_test(what_was_kept_beyond_the_sample_teaches_and_is_not_scored),
        cmocka_unit_test(a_row_that_cannot_be_is_refused_in_words),
        cmocka_unit_test(a_source_that_breaks_ends_the_evaluation_with_its_error),
        cmocka_unit_test(progress_grows_and_a_waiter_can_stop_it),
        cmocka_unit_test(every_failed_allocation_is_out_of_memory),
        cmocka_unit_test(every_warning_and_verdict_has_its_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
