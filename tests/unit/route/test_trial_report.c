#include "server/route/trial_report.h"
#include "state/base/rng.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/model/given.h"

#include <math.h>
#include <string.h>

/* A router of reward (weight .7) less cost_usd (weight .3) whose trial a test fills by hand. */
struct scene {
    struct given g;
    struct snapshot *s;
    struct router_view *r;
    float memory[MAX_METRICS];
};

static void open_scene(struct scene *c, enum router_mode mode)
{
    struct router_config config;
    memset(c, 0, sizeof *c);
    given_config(&config);
    config.settings.mode = mode;
    strcpy(config.settings.split_policy, "thompson");
    config.metrics[0].weight = .7;
    config.metrics[2].weight = .3;
    given_open(&c->g, &config);
    (void)given_arm(&c->g, "a");
    (void)given_arm(&c->g, "b");
    assert_int_equal(snapshot_build(c->g.model, NULL, &c->s), OK);
    c->r = c->s->routers[0]; /* This test's alone. */
}

static void close_scene(struct scene *c)
{
    snapshot_free(c->s);
    given_close(&c->g);
}

/* Roughly normal, mean 0 and variance 1/3. */
static double noise(uint64_t seed, uint64_t k)
{
    double sum = 0;
    for (uint64_t i = 0; i < 4; i++)
        sum += rng_uniform(seed, 4 * k + i);
    return sum - 2;
}

/* One decision of a group: reward and cost, cost in the raw unit ten times z. */
static void tell(struct scene *c, enum trial_group group, double reward, double cost, uint16_t mask)
{
    struct decision d = {.epoch = c->r->trial.epoch};
    d.mode = group >= TRIAL_AGREED ? MODE_APPRENTICE : MODE_ONLINE;
    d.side = (uint8_t)(group == TRIAL_A ? SIDE_A : group == TRIAL_B ? SIDE_B : SIDE_NONE);
    d.arm_uid = 1;
    d.policy_arm_uid = group == TRIAL_DIFFERED ? 2 : 1;
    const double z[MAX_METRICS] = {reward, 0, cost}, raw[MAX_METRICS] = {reward, 0, 10 * cost};
    const struct trial_report report = {&d, true, 0, mask, z, raw};
    assert_true(trial_learn(&c->r->trial, 5, &report, c->memory));
}

static void students_quantile_is_that_of_the_tables(void **state)
{
    (void)state;
    static const double table[][2] = {{1, 12.7062}, {2, 4.3027},  {3, 3.1824},   {5, 2.5706},
                                      {10, 2.2281}, {30, 2.0423}, {120, 1.9799}, {1e9, 1.95996}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        assert_true(fabs(student_quantile(table[i][0]) / table[i][1] - 1) < 2e-3);
}

/* The router's utility of every decision, summed up the plain way. */
static void utility_and_its_interval_are_those_of_the_decisions_own_utilities(void **state)
{
    (void)state;
    enum { N = 400 };
    struct scene c;
    struct split_report r;
    double sum = 0, squares = 0;
    open_scene(&c, MODE_ONLINE);
    for (uint64_t k = 0; k < N; k++) {
        /* Floats exactly, and reward and cost move together. */
        double cost = given_z(1, k), reward = (cost + given_z(2, k)) / 2;
        tell(&c, TRIAL_A, reward, cost, 5);
        tell(&c, TRIAL_B, reward, cost, 5);
        double u = .7 * reward - .3 * cost;
        sum += u;
        squares += u * u;
    }
    trial_report_split(c.r, &r);
    double mean = sum / N, variance = (squares - sum * mean) / (N - 1) / N;
    double half = student_quantile(N - 1) * sqrt(variance);
    for (int side = 0; side < 2; side++) {
        assert_int_equal(r.sides[side].answered, N);
        assert_true(fabs(r.sides[side].utility.mean - mean) < 1e-9);
        assert_true(fabs(r.sides[side].utility.high - mean - half) < 1e-9);
        assert_int_equal(r.sides[side].metrics[1].n, 0);
        assert_true(isnan(r.sides[side].metrics[1].mean));
    }
    assert_true(fabs(r.utility.mean) < 1e-12);
    assert_true(fabs(r.utility.high - student_quantile(2 * N - 2) * sqrt(2 * variance)) < 1e-9);
    assert_int_equal(r.better, SIDE_NONE);
    assert_non_null(strstr(r.sentence, "Cannot tell yet: B (thompson) less A (linucb)"));
    close_scene(&c);
}

/* 400 trials of 60 decisions a side without any difference: 5 % of the intervals miss it. 95 +- 4.4
 * points is four standard deviations, and the seeds are fixed. */
static void intervals_of_a_difference_cover_as_they_say(void **state)
{
    (void)state;
    enum { TRIALS = 400, N = 60 };
    int covered = 0;
    for (uint64_t t = 0; t < TRIALS; t++) {
        struct scene c;
        struct split_report r;
        open_scene(&c, MODE_ONLINE);
        for (uint64_t k = 0; k < N; k++)
            for (int side = 0; side < 2; side++) {
                uint64_t at = (t * N + k) * 2 + (uint64_t)side;
                double cost = .5 + .1 * noise(2, at), reward = .5 + .1 * (side + 1) * noise(1, at);
                /* One cost in three is not known. */
                tell(&c, side ? TRIAL_B : TRIAL_A, reward + .3 * (cost - .5), cost, k % 3 ? 5 : 1);
            }
        trial_report_split(c.r, &r);
        covered += r.utility.low <= 0 && r.utility.high >= 0;
        close_scene(&c);
    }
    assert_in_range(covered, TRIALS * .906, TRIALS * .994);
}

static void the_better_side_is_named_when_there_are_enough_answers(void **state)
{
    (void)state;
    struct scene c;
    struct split_report r;
    open_scene(&c, MODE_ONLINE);
    trial_report_split(c.r, &r);
    assert_non_null(strstr(r.sentence, "no metric with weight was reported on both"));
    for (uint64_t k = 0; k < 29; k++) {
        tell(&c, TRIAL_A, .75 + .1 * noise(1, k), .5, 5);
        tell(&c, TRIAL_B, .25 + .1 * noise(2, k), .5, 5);
    }
    trial_report_split(c.r, &r);
    assert_int_equal(r.better, SIDE_NONE);
    assert_non_null(strstr(r.sentence, "29 answers on the smaller side"));
    tell(&c, TRIAL_A, .75, .5, 5);
    tell(&c, TRIAL_B, .25, .5, 5);
    trial_report_split(c.r, &r);
    assert_int_equal(r.better, SIDE_A);
    assert_non_null(strstr(r.sentence, "A (linucb) is better than B (thompson) by 0.3"));
    assert_true(fabs(r.metrics[0].mean + .5) < .05 && r.metrics[0].high < 0);
    assert_true(r.metrics[2].mean == 0);
    close_scene(&c);
}

static void an_apprentice_is_promoted_by_agreement_and_not_by_what_nobody_knows(void **state)
{
    (void)state;
    struct scene c;
    struct agreement_report r;
    open_scene(&c, MODE_APPRENTICE);
    for (int k = 0; k < 99; k++)
        tell(&c, k % 10 ? TRIAL_AGREED : TRIAL_DIFFERED, .5, .5, 5);
    trial_report_agreement(c.r, &r);
    assert_false(r.promote);
    assert_non_null(strstr(r.sentence, "Too early: 99"));
    tell(&c, TRIAL_AGREED, .5, .5, 5);
    trial_report_agreement(c.r, &r);
    assert_true(r.promote);
    assert_true(fabs(r.share - .9) < 1e-12 && fabs(r.recent - .9) < .02);
    assert_non_null(strstr(r.sentence, "Advisable"));
    c.r->arms[1]->trial_chosen = 40; /* Of an arm that never answered. */
    trial_report_agreement(c.r, &r);
    assert_false(r.promote);
    assert_true(fabs(r.unknown - .4) < 1e-12);
    assert_non_null(strstr(r.sentence, "`b` most often"));
    c.r->arms[1]->answered = 1;
    for (uint64_t k = 0; k < 200; k++)
        tell(&c, TRIAL_DIFFERED, .1 + .01 * noise(1, k), .5, 5);
    trial_report_agreement(c.r, &r);
    assert_false(r.promote);
    assert_non_null(strstr(r.sentence, "earns 0.2"));
    for (uint64_t k = 0; k < 2000; k++)
        tell(&c, TRIAL_DIFFERED, .9, .5, 5);
    trial_report_agreement(c.r, &r);
    assert_non_null(strstr(r.sentence, "earns no less"));
    close_scene(&c);
}

static void agreement_is_held_against_what_chance_would_give(void **state)
{
    (void)state;
    struct scene c;
    struct agreement_report r;
    open_scene(&c, MODE_APPRENTICE);
    trial_report_agreement(c.r, &r);
    assert_true(isnan(r.constant) && isnan(r.by_chance) && isnan(r.kappa));
    for (int k = 0; k < 100; k++)
        tell(&c, k % 10 ? TRIAL_AGREED : TRIAL_DIFFERED, .5, .5, 5);
    struct arm_view **arms = c.r->arms;
    arms[0]->answered = arms[1]->answered = 1;
    /* The baseline is always `a`, the policy in 90 of 100: no more than by chance. */
    arms[0]->trial_served = 100;
    arms[0]->trial_chosen = 90;
    arms[1]->trial_chosen = 10;
    trial_report_agreement(c.r, &r);
    assert_true(fabs(r.constant - 1) < 1e-12 && fabs(r.by_chance - .9) < 1e-12);
    assert_true(fabs(r.kappa) < 1e-9);
    assert_true(r.promote);
    assert_non_null(strstr(r.sentence, "no proof of skill"));
    /* Half and half on both sides: .5 by chance, so that .9 is worth (.9 - .5) / (1 - .5). */
    arms[0]->trial_served = arms[1]->trial_served = 50;
    arms[0]->trial_chosen = arms[1]->trial_chosen = 50;
    trial_report_agreement(c.r, &r);
    assert_true(fabs(r.constant - .5) < 1e-12 && fabs(r.by_chance - .5) < 1e-12);
    assert_true(fabs(r.kappa - .8) < 1e-9);
    assert_null(strstr(r.sentence, "no proof of skill"));
    /* Neither ever varied: agreement says nothing, and nor does a number. */
    arms[0]->trial_served = arms[0]->trial_chosen = 100;
    arms[1]->trial_served = arms[1]->trial_chosen = 0;
    trial_report_agreement(c.r, &r);
    assert_true(isnan(r.kappa));
    close_scene(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(students_quantile_is_that_of_the_tables),
        cmocka_unit_test(utility_and_its_interval_are_those_of_the_decisions_own_utilities),
        cmocka_unit_test(intervals_of_a_difference_cover_as_they_say),
        cmocka_unit_test(the_better_side_is_named_when_there_are_enough_answers),
        cmocka_unit_test(an_apprentice_is_promoted_by_agreement_and_not_by_what_nobody_knows),
        cmocka_unit_test(agreement_is_held_against_what_chance_would_give),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
