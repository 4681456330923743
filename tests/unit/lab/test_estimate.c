#include "server/lab/estimate.h"
#include "state/base/rng.h"
#include "tests/unit/cmocka_all.h"

#include <math.h>
#include <string.h>

static void near(double a, double b)
{
    if (!(fabs(a - b) <= 1e-9 * (1 + fabs(b))))
        fail_msg("%.15g is not %.15g", a, b);
}

static void three_rows_give_what_the_formulas_say(void **state)
{
    (void)state;
    static const struct estimate_input rows[] = {
        {2, 1, .5, .6}, {0, 0, .25, .5}, {.5, .5, .75, .7}};
    struct estimate_sums s;
    struct estimates e;
    estimate_sums_init(&s);
    for (size_t i = 0; i < 3; i++)
        estimate_add(&s, &rows[i]);
    estimate_finish(&s, 2, 0, 1, &e);
    near(e.ips.value, (2 + 0 + .25) / 3);
    near(e.snips.value, 2.25 / 2.5);
    near(e.dr.value, (.6 + 2 * .5 + .5 + 0 + .7 + .5 * -.25) / 3);
    near(e.logged.value, .5);
    near(e.ips_less_logged.value, e.ips.value - .5);
    near(e.dr_less_logged.value, e.dr.value - .5);
    near(e.ess, 2.5 * 2.5 / 4.25);
    assert_int_equal(e.rows, 3);
    assert_int_equal(e.replay_rows, 0);
    assert_true(isnan(e.replay));
}

static void an_end_is_the_regression_on_the_weight_by_hand(void **state)
{
    (void)state;
    struct moments m = {0};
    moments_add(&m, 2, 1.5);
    moments_add(&m, 0, 0);
    /* With (1, 1): mean w 1, mean y 5/6, var w 2/3, cov (3+1)/3 - 5/6 = 1/2, var y 13/12 - 25/36.
     */
    double left = 13. / 12 - 25. / 36 - .5 * .5 / (2. / 3);
    near(interval_end(&m, 1, 1, -1), 5. / 6 - sqrt(3.85 * left / 3));
    near(interval_end(&m, 1, 1, 1), 5. / 6 + sqrt(3.85 * left / 3));
    /* With (5, 0) the mean weight is 7/3: what it has too much is taken back along the slope. */
    double w = 7. / 3, var = 29. / 3 - w * w, cov = 1 - w * .5;
    double rest = .75 - .25 - cov * cov / var;
    near(interval_end(&m, 5, 0, -1), .5 + (1 - w) * cov / var - sqrt(3.85 * rest / 3));
}

static void weights_that_are_all_one_give_the_mean_of_the_log(void **state)
{
    (void)state;
    struct moments m = {0};
    for (int i = 0; i < 99; i++)
        moments_add(&m, 1, i % 2);
    double n = 100, mean = 49 / n, var = mean - mean * mean;
    near(interval_end(&m, 1, 0, -1), mean - sqrt(3.85 * var / n));
}

/* Random rows of a target that agrees with the log in a third of them. */
static void fill(struct estimate_sums *s, uint64_t seed, uint32_t n, double add, double *ret_least)
{
    estimate_sums_init(s);
    for (uint64_t i = 0; i < n; i++) {
        double r = rng_uniform(rng_mix(seed, i), 1) < .7, w = i % 3 == 0 ? 3 : 0;
        const struct estimate_input in = {w, r + add, .6 + add, .65 + add};
        estimate_add(s, &in);
        *ret_least = fmin(*ret_least, w);
    }
}

static void a_constant_added_to_every_outcome_moves_the_ends_by_it(void **state)
{
    (void)state;
    struct estimate_sums a, b;
    struct estimates ea, eb;
    double least = 0;
    /* 301 rows: the mean weight is not one. */
    fill(&a, 1, 301, 0, &least);
    fill(&b, 1, 301, 10, &least);
    estimate_finish(&a, 5, 0, 1, &ea);
    estimate_finish(&b, 5, 10, 11, &eb);
    assert_true(ea.snips.interval.high - ea.snips.interval.low > .01);
    assert_true(fabs(eb.snips.interval.low - ea.snips.interval.low - 10) < 1e-6);
    assert_true(fabs(eb.snips.interval.high - ea.snips.interval.high - 10) < 1e-6);
    assert_true(fabs(eb.dr.interval.low - ea.dr.interval.low - 10) < 1e-6);
    assert_true(fabs(eb.ips_less_logged.interval.high - ea.ips_less_logged.interval.high) < 1e-6);
    assert_true(fabs(eb.dr_less_logged.interval.low - ea.dr_less_logged.interval.low) < 1e-6);
}

static void no_end_leaves_the_range_of_the_outcome(void **state)
{
    (void)state;
    struct estimate_sums s;
    struct estimates e;
    const struct estimate_input in = {20, 1, .5, .5};
    estimate_sums_init(&s);
    for (int i = 0; i < 3; i++)
        estimate_add(&s, &in);
    estimate_finish(&s, 20, 0, 1, &e);
    const struct estimated *all[] = {&e.ips, &e.dr, &e.logged};
    for (size_t i = 0; i < 3; i++) {
        assert_true(all[i]->interval.low >= 0 && all[i]->interval.high <= 1);
        assert_true(all[i]->interval.low <= all[i]->interval.high);
    }
    assert_true(e.ips_less_logged.interval.low >= -1 && e.ips_less_logged.interval.high <= 1);
}

/* Binary outcomes of mean .7 where the target goes, logged with probability .05: a textbook
 * interval of the same estimate holds it in .80 of the logs. */
static void the_interval_holds_the_truth_of_rare_heavy_rows(void **state)
{
    (void)state;
    enum { LOGS = 400, N = 300 };
    uint32_t held = 0, normal = 0;
    for (uint64_t k = 0; k < LOGS; k++) {
        struct estimate_sums s;
        struct estimates e;
        estimate_sums_init(&s);
        for (uint64_t i = 0; i < N; i++) {
            uint64_t seed = rng_mix(rng_mix(3, k), i);
            bool agrees = rng_uniform(seed, 0) < .05;
            double r = rng_uniform(seed, 1) < (agrees ? .7 : .4);
            const struct estimate_input in = {agrees ? 20 : 0, r, .5, .5};
            estimate_add(&s, &in);
        }
        estimate_finish(&s, 20, 0, 1, &e);
        held += e.snips.interval.low <= .7 && .7 <= e.snips.interval.high;
        double var = s.ips.yy / N - e.ips.value * e.ips.value;
        normal += fabs(e.ips.value - .7) <= 1.96 * sqrt(var / N) && e.ips.value <= 1;
    }
    if (held < LOGS * 94 / 100)
        fail_msg("%u of %u", held, LOGS);
    assert_true(normal < held);
}

static void replay_is_the_mean_of_what_was_accepted_with_its_error(void **state)
{
    (void)state;
    struct estimate_sums s;
    struct estimates e;
    estimate_sums_init(&s);
    for (int i = 0; i < 4; i++)
        estimate_add_replay(&s, i < 3);
    estimate_finish(&s, 1, 0, 1, &e);
    near(e.replay, .75);
    near(e.replay_error, sqrt(.75 * .25 / 3));
    assert_int_equal(e.rows, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_rows_give_what_the_formulas_say),
        cmocka_unit_test(an_end_is_the_regression_on_the_weight_by_hand),
        cmocka_unit_test(weights_that_are_all_one_give_the_mean_of_the_log),
        cmocka_unit_test(a_constant_added_to_every_outcome_moves_the_ends_by_it),
        cmocka_unit_test(no_end_leaves_the_range_of_the_outcome),
        cmocka_unit_test(the_interval_holds_the_truth_of_rare_heavy_rows),
        cmocka_unit_test(replay_is_the_mean_of_what_was_accepted_with_its_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
