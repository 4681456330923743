#include "server/lab/sweep.h"
#include "state/base/mem.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/lab/world.h"

#include <math.h>
#include <string.h>

enum { STEPS = 11 };

struct scene {
    struct router_config config;
    struct world_log log;
    struct target *learned;
    struct sweep_options o;
    struct sweep_step steps[STEPS];
    double shares[STEPS * WORLD_ARMS];
    struct sweep_counts counts;
    struct err_detail detail;
};

static void open_scene(struct scene *s)
{
    memset(s, 0, sizeof *s);
    world_config(&s->config);
    world_log_open(&s->log, 2000, 21, 0);
    const struct target_options t = {
        .config = &s->config, .arms = world_arms(), .arms_n = WORLD_ARMS, .seed = 1};
    struct target_decision d;
    assert_int_equal(target_new(&t, &s->learned, NULL), OK);
    for (uint32_t i = 0; i < s->log.n; i++)
        assert_int_equal(target_learn(s->learned, &s->log.rows[i].row), OK);
    assert_int_equal(target_decide(s->learned, &s->log.rows[0].row, NULL, 0, &d), OK);
    s->o = (struct sweep_options){.router = target_view(s->learned),
                                  .arms = world_arms(),
                                  .arms_n = WORLD_ARMS,
                                  .rated = WORLD_REWARD,
                                  .served = WORLD_COST,
                                  .steps = STEPS};
}

static void close_scene(struct scene *s)
{
    target_free(s->learned);
    world_log_close(&s->log);
}

static enum err run(struct scene *s)
{
    const struct logged_source source = world_source(&s->log);
    return sweep_run(&s->o, &source, s->steps, s->shares, &s->counts, &s->detail);
}

static void quality_is_given_for_cost_as_lambda_grows(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s);
    assert_int_equal(run(&s), OK);
    assert_int_equal(s.counts.rows, 2000);
    for (uint32_t k = 0; k < STEPS; k++) {
        const double *share = s.shares + (size_t)k * WORLD_ARMS;
        assert_true(fabs(s.steps[k].lambda - .1 * k) < 1e-12);
        assert_true(fabs(share[0] + share[1] + share[2] - 1) < 1e-6);
        /* Each step takes the best of its own weights by its predictions, so neither grows. */
        if (k > 0) {
            assert_true(s.steps[k].rated_z <= s.steps[k - 1].rated_z + 1e-6);
            assert_true(s.steps[k].served_z <= s.steps[k - 1].served_z + 1e-6);
        }
    }
    /* Reward alone: high where x[1] > 0, low elsewhere; .675 on average. Cost alone: the cheapest.
     */
    assert_true(s.shares[0] > .4 && s.shares[0] < .6 && s.shares[2] < .05);
    assert_true(s.shares[(STEPS - 1) * WORLD_ARMS] > .99);
    close_scene(&s);
}

static void predictions_are_near_the_truth_where_it_is_known(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s);
    for (uint32_t i = 0; i < 500; i++)
        s.log.rows[i].row.truth = NULL;
    assert_int_equal(run(&s), OK);
    for (uint32_t k = 0; k < STEPS; k++) {
        assert_int_equal(s.steps[k].true_rows, 1500);
        assert_true(fabs(s.steps[k].rated - s.steps[k].true_rated) < .05);
        assert_true(fabs(s.steps[k].served - s.steps[k].true_served) < .02);
    }
    assert_true(s.steps[0].true_rated > .65);
    close_scene(&s);
}

static void rows_max_ends_it_and_no_truth_is_said_where_none_is(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s);
    for (uint32_t i = 0; i < s.log.n; i++)
        s.log.rows[i].row.truth = NULL;
    s.o.rows_max = 77;
    assert_int_equal(run(&s), OK);
    assert_int_equal(s.counts.rows, 77);
    assert_true(isnan(s.steps[3].true_rated) && isnan(s.steps[3].true_served));
    assert_true(isfinite(s.steps[3].rated));
    close_scene(&s);
}

static void the_routers_own_policy_is_kept_when_asked(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s);
    s.config.settings.explore_floor = .3;
    s.o.config = &s.config;
    s.o.keep_policy = true;
    assert_int_equal(run(&s), OK);
    for (uint32_t k = 0; k < STEPS * WORLD_ARMS; k++)
        assert_true(s.shares[k] >= .1 - 1e-6);
    close_scene(&s);
}

/* Prices on the logarithm: the mean of predictions must be a mean of dollars, not of logarithms. */
static void a_logarithmic_metric_comes_back_in_its_unit(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s);
    target_free(s.learned);
    s.config.metrics[WORLD_COST].logarithmic = true;
    s.config.metrics[WORLD_COST].norm_low = .01;
    s.config.metrics[WORLD_COST].norm_high = 10;
    const struct target_options t = {
        .config = &s.config, .arms = world_arms(), .arms_n = WORLD_ARMS, .seed = 1};
    struct target_decision d;
    assert_int_equal(target_new(&t, &s.learned, NULL), OK);
    for (uint32_t i = 0; i < s.log.n; i++) {
        struct logged_row *row = &s.log.rows[i].row;
        /* Half of the answers cost nothing to speak of, half twice as much. */
        row->raw[WORLD_COST] *= i % 2 ? 1.98 : .02;
        row->z[WORLD_COST] = metric_normalise(&s.config.metrics[WORLD_COST], row->raw[WORLD_COST]);
        assert_int_equal(target_learn(s.learned, row), OK);
    }
    assert_int_equal(target_decide(s.learned, &s.log.rows[0].row, NULL, 0, &d), OK);
    s.o.router = target_view(s.learned);
    assert_int_equal(run(&s), OK);
    assert_true(fabs(s.steps[STEPS - 1].served - s.steps[STEPS - 1].true_served) < .02);
    close_scene(&s);
}

static void a_router_that_learned_nothing_says_so(void **state)
{
    (void)state;
    struct scene s;
    struct target_decision d;
    open_scene(&s);
    assert_int_equal(run(&s), OK);
    assert_int_equal(s.counts.warnings, 0);
    const struct target_options t = {
        .config = &s.config, .arms = world_arms(), .arms_n = WORLD_ARMS, .seed = 1};
    target_free(s.learned);
    assert_int_equal(target_new(&t, &s.learned, NULL), OK);
    s.o.router = target_view(s.learned);
    assert_int_equal(run(&s), OK);
    assert_int_equal(s.counts.warnings, 1u << SWEEP_NOT_LEARNED);
    assert_string_equal(sweep_warning_code(SWEEP_NOT_LEARNED), "NOT_LEARNED");
    for (uint32_t i = 0; i < 40; i++) {
        s.log.rows[i].row.has_mask = 1u << WORLD_COST;
        assert_int_equal(target_learn(s.learned, &s.log.rows[i].row), OK);
    }
    assert_int_equal(target_decide(s.learned, &s.log.rows[0].row, NULL, 0, &d), OK);
    s.o.router = target_view(s.learned);
    assert_int_equal(run(&s), OK);
    assert_int_equal(s.counts.warnings, 1u << SWEEP_RATED_UNKNOWN);
    close_scene(&s);
}

static void contexts_of_arms_that_went_are_asked_of_those_that_are_left(void **state)
{
    (void)state;
    static const uint32_t gone_alone[] = {2};
    const struct lab_arm arms[] = {world_arms()[0], world_arms()[1], {"gone", NULL}};
    struct scene s;
    open_scene(&s);
    s.o.arms = arms;
    for (uint32_t i = 0; i < 100; i++) {
        struct logged_row *row = &s.log.rows[i].row;
        row->arms_n = 1;
        row->arms = gone_alone;
        row->pmf = NULL;
        row->truth = NULL;
        row->chosen = 0;
    }
    assert_int_equal(run(&s), OK);
    assert_int_equal(s.counts.rows, 1900);
    assert_int_equal(s.counts.arms_gone, 100);
    assert_int_equal(s.counts.arms_fewer, 1900);
    assert_int_equal(s.counts.warnings, 1u << SWEEP_ARMS_GONE);
    for (uint32_t k = 0; k < STEPS; k++) {
        const double *share = s.shares + (size_t)k * WORLD_ARMS;
        assert_true(fabs(share[0] + share[1] - 1) < 1e-6 && share[2] == 0);
        assert_int_equal(s.steps[k].true_rows, 1900);
    }
    close_scene(&s);
}

static void what_cannot_be_swept_is_refused_in_words(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s);
    const struct sweep_options good = s.o;
    s.o.rated = WORLD_COST;
    assert_int_equal(run(&s), ERR_INVALID);
    assert_non_null(strstr(s.detail.text, "rated"));
    s.o = good;
    s.o.served = 9;
    assert_int_equal(run(&s), ERR_INVALID);
    s.o = good;
    s.o.steps = 1;
    assert_int_equal(run(&s), ERR_OUT_OF_RANGE);
    s.o = good;
    s.log.rows[5].row.chosen = 9;
    assert_int_equal(run(&s), ERR_OUT_OF_RANGE);
    close_scene(&s);
}

static bool never(void *self, uint64_t done, uint64_t total)
{
    (void)self;
    (void)total;
    return done < 16;
}

static void a_sweep_can_be_stopped_and_runs_out_of_memory_cleanly(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s);
    s.o.watch.go_on = never;
    assert_int_equal(run(&s), ERR_CANCELLED);
    s.o.watch.go_on = NULL;
    s.o.rows_max = 4;
    mem_fail_nth(0);
    assert_int_equal(run(&s), OK);
    long all = mem_count();
    for (long n = 1; n <= all; n++) {
        mem_fail_nth(n);
        assert_int_equal(run(&s), ERR_NOMEM);
    }
    mem_fail_nth(0);
    close_scene(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quality_is_given_for_cost_as_lambda_grows),
        cmocka_unit_test(predictions_are_near_the_truth_where_it_is_known),
        cmocka_unit_test(rows_max_ends_it_and_no_truth_is_said_where_none_is),
        cmocka_unit_test(the_routers_own_policy_is_kept_when_asked),
        cmocka_unit_test(a_logarithmic_metric_comes_back_in_its_unit),
        cmocka_unit_test(a_router_that_learned_nothing_says_so),
        cmocka_unit_test(contexts_of_arms_that_went_are_asked_of_those_that_are_left),
        cmocka_unit_test(what_cannot_be_swept_is_refused_in_words),
        cmocka_unit_test(a_sweep_can_be_stopped_and_runs_out_of_memory_cleanly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
