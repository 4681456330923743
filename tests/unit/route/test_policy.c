#include "server/route/policy.h"
#include "state/base/rng.h"
#include "tests/unit/cmocka_all.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const names[] = {"linucb", "thompson", "epsilon_greedy",
                                    "greedy", "random",   "fixed"};
enum { NAMES = sizeof names / sizeof *names, N_MAX = 10000 };

static struct router_config config;
static struct score scores[N_MAX];
static double work[POLICY_WORK * N_MAX];
static float pmf[N_MAX];

static int set_up(void **state)
{
    (void)state;
    settings_defaults(&config, "r");
    return 0;
}

/* named: n for none. */
static void run(const char *policy, uint32_t n, uint32_t named)
{
    const struct policy_input in = {&config.settings, scores, n, named};
    const struct policy_ops *p = policy_find(policy);
    assert_non_null(p);
    assert_string_equal(p->name, policy);
    memset(pmf, 0x7f, n * sizeof *pmf);
    p->pmf(&in, work, pmf);
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        assert_true(pmf[i] >= 0 && pmf[i] <= 1);
        sum += (double)pmf[i];
    }
    /* A float's rounding of each mass, and the even split of 10,000. */
    if (!(fabs(sum - 1) < 1e-4))
        fail_msg("%s: %u arms sum to %.9g", policy, n, sum);
}

static void assert_near(double a, double b, double tolerance)
{
    if (!(fabs(a - b) <= tolerance))
        fail_msg("%.6f is not %.6f", a, b);
}

static void every_policy_but_chance_picks_the_obvious_arm(void **state)
{
    (void)state;
    for (uint32_t best = 0; best < 4; best++) {
        for (uint32_t i = 0; i < 4; i++)
            scores[i] = (struct score){.mean = i == best ? .9F : .2F, .width = .02F};
        for (size_t k = 0; k < NAMES; k++) {
            run(names[k], 4, best);
            if (strcmp(names[k], "random") == 0)
                assert_true(pmf[best] == .25F);
            else if (strcmp(names[k], "epsilon_greedy") == 0)
                assert_near((double)pmf[best], .9 + .1 / 4, 1e-6);
            else
                assert_near((double)pmf[best], 1, 1e-6);
        }
    }
}

static void linucb_takes_the_widest_where_it_might_be_best_and_greedy_does_not(void **state)
{
    (void)state;
    scores[0] = (struct score){.mean = .5F, .width = .1F};
    scores[1] = (struct score){.mean = .4F, .width = .3F};
    run("linucb", 2, 2);
    assert_true(pmf[0] == 0 && pmf[1] == 1);
    run("greedy", 2, 2);
    assert_true(pmf[0] == 1 && pmf[1] == 0);
    run("thompson", 2, 2);
    assert_true(pmf[0] > .5F && pmf[1] > .2F);
}

static void exact_ties_share_evenly(void **state)
{
    (void)state;
    for (int width = 0; width < 2; width++) {
        for (uint32_t i = 0; i < 7; i++)
            scores[i] = (struct score){.mean = i == 3 ? -.5F : .25F, .width = width ? .05F : 0};
        for (size_t k = 0; k < NAMES; k++) {
            if (strcmp(names[k], "random") == 0)
                continue;
            run(names[k], 7, 7);
            for (uint32_t i = 0; i < 7; i++)
                if (i != 3)
                    assert_near((double)pmf[i], (1 - (double)pmf[3]) / 6, 1e-6);
            assert_true(pmf[3] < .02F);
        }
    }
}

static void random_scores_make_masses_that_sum_to_one(void **state)
{
    (void)state;
    for (uint64_t k = 0; k < 200; k++) {
        uint32_t n = 1 + (uint32_t)rng_below(k, 1, k % 50 ? 60 : N_MAX);
        /* Coarse, so that ties are common; widths of zero and of five orders of magnitude. */
        for (uint32_t i = 0; i < n; i++) {
            scores[i].mean = (float)rng_below(k, 10 + i, 4) / 4 - 1;
            scores[i].width = (float)pow(10, -(double)rng_below(k, 20000 + i, 6));
            if (rng_below(k, 40000 + i, 5) == 0)
                scores[i].width = 0;
        }
        for (size_t j = 0; j < NAMES; j++)
            run(names[j], n, (uint32_t)rng_below(k, 2, n + 1));
    }
}

static void the_same_scores_make_the_same_masses_whatever_was_in_the_scratch(void **state)
{
    (void)state;
    float first[20];
    for (uint32_t i = 0; i < 20; i++)
        scores[i] =
            (struct score){.mean = (float)rng_uniform(3, i), .width = (float)rng_uniform(4, i) / 4};
    for (size_t k = 0; k < NAMES; k++) {
        memset(work, 0, sizeof work);
        run(names[k], 20, 5);
        memcpy(first, pmf, sizeof first);
        memset(work, 0xff, sizeof work);
        run(names[k], 20, 5);
        assert_memory_equal(first, pmf, sizeof first);
    }
}

/* Thompson on two arms has a closed form: P(y_0 > y_1) = Phi((m_0 - m_1) / sqrt(s_0^2 + s_1^2)). */
static double two_arms(double gap, double s0, double s1)
{
    return .5 * erfc(-gap / sqrt(2 * (s0 * s0 + s1 * s1)));
}

static void thompson_on_two_arms_is_the_closed_form(void **state)
{
    (void)state;
    for (uint64_t k = 0; k < 500; k++) {
        double m0 = rng_uniform(k, 0), m1 = rng_uniform(k, 1);
        double s0 = .3 * rng_uniform(k, 2) + .01, s1 = .3 * rng_uniform(k, 3) + .01;
        /* Widths are 1.5 posterior standard deviations. */
        scores[0] = (struct score){.mean = (float)m0, .width = (float)(1.5 * s0)};
        scores[1] = (struct score){.mean = (float)m1, .width = (float)(1.5 * s1)};
        run("thompson", 2, 2);
        /* A cell is at most a tenth of the wider deviation, and a step lies within one. */
        assert_near((double)pmf[0], two_arms(m0 - m1, s0, s1), .02);
    }
    scores[0] = (struct score){.mean = .5F, .width = .15F};
    scores[1] = (struct score){.mean = .4F, .width = .15F};
    run("thompson", 2, 2);
    assert_near((double)pmf[0], two_arms(.1, .1, .1), 5e-4);
}

static double normal(uint64_t seed, uint64_t at)
{
    double u = 1 - rng_uniform(seed, 2 * at), v = rng_uniform(seed, 2 * at + 1);
    return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}

/* 40,000 draws have a standard error of at most .0025; four of them, and a cell. */
static void thompson_on_nine_arms_is_what_drawing_gives(void **state)
{
    (void)state;
    enum { ARMS = 9, DRAWS = 40000 };
    for (uint64_t k = 0; k < 6; k++) {
        uint32_t wins[ARMS] = {0};
        for (uint32_t i = 0; i < ARMS; i++)
            scores[i] = (struct score){.mean = (float)(.3 * rng_uniform(k, i)),
                                       .width = (float)(.02 + .4 * rng_uniform(k, 100 + i))};
        for (uint64_t t = 0; t < DRAWS; t++) {
            double best = -1e9;
            uint32_t at = 0;
            for (uint32_t i = 0; i < ARMS; i++) {
                double y = (double)scores[i].mean +
                           (double)scores[i].width / 1.5 * normal(k + 50, t * ARMS + i);
                if (y > best) {
                    best = y;
                    at = i;
                }
            }
            wins[at]++;
        }
        run("thompson", ARMS, ARMS);
        for (uint32_t i = 0; i < ARMS; i++)
            assert_near((double)pmf[i], wins[i] / (double)DRAWS, .012);
    }
}

static void thompson_without_any_width_is_greedy(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 5; i++)
        scores[i] = (struct score){.mean = .1F * (float)i, .width = 0};
    run("thompson", 5, 5);
    assert_true(pmf[4] == 1);
}

static void epsilon_is_the_share_of_the_even_draw(void **state)
{
    (void)state;
    static const double epsilons[] = {0, .2, 1};
    for (uint32_t i = 0; i < 5; i++)
        scores[i] = (struct score){.mean = .1F * (float)i, .width = .5F - .1F * (float)i};
    for (size_t k = 0; k < 3; k++) {
        config.settings.epsilon = epsilons[k];
        run("epsilon_greedy", 5, 5);
        assert_near((double)pmf[4], 1 - epsilons[k] + epsilons[k] / 5, 1e-6);
        assert_near((double)pmf[0], epsilons[k] / 5, 1e-6);
    }
}

static void fixed_takes_the_named_arm_or_the_best_mean_without_it(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 5; i++)
        scores[i] = (struct score){.mean = .1F * (float)i, .width = .1F};
    run("fixed", 5, 2);
    assert_true(pmf[2] == 1);
    run("fixed", 5, 5);
    assert_true(pmf[4] == 1);
}

static void policies_are_found_by_name_and_only_those(void **state)
{
    (void)state;
    struct err_detail detail;
    for (size_t k = 0; k < NAMES; k++) {
        snprintf(config.settings.policy, sizeof config.settings.policy, "%s", names[k]);
        snprintf(config.settings.fixed_arm, sizeof config.settings.fixed_arm, "a");
        assert_int_equal(policy_check(&config.settings, &detail), OK);
        assert_string_equal(policy_of(&config.settings)->name, names[k]);
        config.settings.fixed_arm[0] = '\0';
        bool refused = policy_check(&config.settings, &detail) == ERR_INVALID;
        assert_int_equal(refused, strcmp(names[k], "fixed") == 0);
    }
    assert_non_null(strstr(detail.text, "fixed_arm"));
    snprintf(config.settings.policy, sizeof config.settings.policy, "oracle");
    assert_null(policy_find("oracle"));
    assert_ptr_equal(policy_of(&config.settings), &policy_linucb);
    assert_int_equal(policy_check(&config.settings, &detail), ERR_INVALID);
    for (size_t k = 0; k < NAMES; k++)
        assert_non_null(strstr(detail.text, names[k]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(every_policy_but_chance_picks_the_obvious_arm, set_up),
        cmocka_unit_test_setup(linucb_takes_the_widest_where_it_might_be_best_and_greedy_does_not,
                               set_up),
        cmocka_unit_test_setup(exact_ties_share_evenly, set_up),
        cmocka_unit_test_setup(random_scores_make_masses_that_sum_to_one, set_up),
        cmocka_unit_test_setup(the_same_scores_make_the_same_masses_whatever_was_in_the_scratch,
                               set_up),
        cmocka_unit_test_setup(thompson_on_two_arms_is_the_closed_form, set_up),
        cmocka_unit_test_setup(thompson_on_nine_arms_is_what_drawing_gives, set_up),
        cmocka_unit_test_setup(thompson_without_any_width_is_greedy, set_up),
        cmocka_unit_test_setup(epsilon_is_the_share_of_the_even_draw, set_up),
        cmocka_unit_test_setup(fixed_takes_the_named_arm_or_the_best_mean_without_it, set_up),
        cmocka_unit_test_setup(policies_are_found_by_name_and_only_those, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
