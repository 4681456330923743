/* Logged propensities are what an estimate stands on: 100,000 draws of every policy, with and
 * without newcomers and floor, against the mass that each decision said it drew from. */
#include "server/route/decide.h"
#include "state/base/rng.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/model/given.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARMS = 5, DRAWS = 100000 };

struct setting {
    const char *policy;
    double floor;
    bool newcomers; /* Arms 1 and 3 have two pulls and one. */
};

/* n = 40 pulls an arm with ratings that overlap, so that no mass is one or zero for thompson. */
static void open_model(struct given *g, const struct setting *s)
{
    struct router_config config;
    given_config(&config);
    snprintf(config.settings.policy, NAME_CAP, "%s", s->policy);
    snprintf(config.settings.fixed_arm, NAME_CAP, "c");
    config.settings.epsilon = .2;
    config.settings.explore_floor = s->floor;
    config.settings.newcomer_pulls = 5;
    given_open(g, &config);
    for (uint32_t k = 0; k < ARMS; k++) {
        char name[NAME_CAP] = {(char)('a' + k)};
        uint32_t uid = given_arm(g, name);
        for (uint64_t i = 0; i < 40; i++) {
            double z[MAX_METRICS] = {.5 + .01 * k + .3 * (given_z(i, k) - .5)};
            struct decision d = given_decision(g, uid, rng_mix(i, k));
            given_report(g, &d, 1, z, OUTCOME_OK);
        }
    }
}

/* Pearson's statistic: with 4 degrees of freedom 30 is beyond 5e-6, and the seeds are fixed. */
static void assert_frequencies(const struct setting *s, const uint32_t *counts,
                               const double *expected)
{
    double chi = 0;
    for (uint32_t k = 0; k < ARMS; k++) {
        if (expected[k] < 1e-3) {
            assert_int_equal(counts[k], 0);
            continue;
        }
        chi += (counts[k] - expected[k]) * (counts[k] - expected[k]) / expected[k];
    }
    if (!(chi < 30))
        fail_msg("%s, floor %g, newcomers %d: chi-square %g", s->policy, s->floor, s->newcomers,
                 chi);
}

/* Contexts change from draw to draw, so expectations add up over different masses. */
static void draw_and_compare(const struct setting *s)
{
    struct given g;
    struct snapshot *snapshot;
    struct eligible arms[ARMS];
    uint32_t counts[ARMS] = {0};
    double expected[ARMS] = {0};
    struct decide_scratch *scratch = calloc(1, sizeof *scratch);
    assert_non_null(scratch);
    open_model(&g, s);
    assert_int_equal(snapshot_build(g.model, NULL, &snapshot), OK);
    for (uint32_t k = 0; k < ARMS; k++)
        arms[k] = (struct eligible){.index = k, .issued = s->newcomers && k % 2 ? 3 - k / 2 : 40};
    for (uint64_t i = 0; i < DRAWS; i++) {
        struct decision d = given_decision(&g, 0, i % 50);
        float pmf[ARMS];
        struct decide_result result;
        const struct decide_input in = {.router = snapshot->routers[0],
                                        .x = d.x,
                                        .arms = arms,
                                        .n = ARMS,
                                        .answer_share = 1,
                                        .seed = rng_mix(11, i)};
        decide(&in, scratch, pmf, &result);
        assert_true(result.propensity == (double)pmf[result.chosen]);
        counts[result.chosen]++;
        for (uint32_t k = 0; k < ARMS; k++)
            expected[k] += (double)pmf[k];
    }
    assert_frequencies(s, counts, expected);
    snapshot_free(snapshot);
    given_close(&g);
    free(scratch);
}

static void arms_are_drawn_as_often_as_every_policy_says(void **state)
{
    (void)state;
    static const char *const policies[] = {"linucb", "thompson", "epsilon_greedy",
                                           "greedy", "random",   "fixed"};
    for (size_t p = 0; p < sizeof policies / sizeof *policies; p++)
        for (int floor = 0; floor < 2; floor++)
            for (int newcomers = 0; newcomers < 2; newcomers++) {
                const struct setting s = {policies[p], floor ? .1 : 0, newcomers};
                draw_and_compare(&s);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arms_are_drawn_as_often_as_every_policy_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
