#include "server/route/decide.h"
#include "server/route/probe.h"
#include "state/base/rng.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/model/given.h"

#include <math.h>
#include <stdlib.h>

enum { ARMS = 3 };

/* Three arms that were answered thirty times each; what is in doubt of them is set by the test. */
struct scene {
    struct given g;
    struct snapshot *s;
    struct eligible arms[ARMS];
    float mass[ARMS];
};

static void open_scene(struct scene *c, uint32_t stale_after)
{
    struct router_config config;
    given_config(&config);
    config.settings.explore_floor = 0;
    config.settings.stale_after = stale_after;
    given_open(&c->g, &config);
    for (uint32_t k = 0; k < ARMS; k++) {
        uint32_t uid = given_arm(&c->g, (char[]){(char)('a' + k), '\0'});
        for (uint64_t i = 0; i < 30; i++) {
            double z[MAX_METRICS] = {.2 + .3 * k};
            struct decision d = given_decision(&c->g, uid, i);
            given_report(&c->g, &d, 1, z, OUTCOME_OK);
        }
        c->arms[k] = (struct eligible){.index = k, .issued = 30};
    }
    assert_int_equal(snapshot_build(c->g.model, NULL, &c->s), OK);
}

static void close_scene(struct scene *c)
{
    snapshot_free(c->s);
    given_close(&c->g);
}

static double fill(struct scene *c, const float *cost, double budget)
{
    return probe_fill(c->s->routers[0], c->arms, ARMS, cost, budget, c->mass);
}

static void nothing_is_probed_while_nothing_is_in_doubt(void **state)
{
    (void)state;
    struct scene c;
    open_scene(&c, 0);
    assert_true(fill(&c, NULL, 0) == 0);
    close_scene(&c);
}

static void suspects_share_a_tenth(void **state)
{
    (void)state;
    struct scene c;
    open_scene(&c, 0);
    c.s->routers[0]->arms[0]->suspect = true;
    assert_true(fabs(fill(&c, NULL, 0) - .1) < 1e-7);
    c.s->routers[0]->arms[1]->suspect = true;
    assert_true(fabs(fill(&c, NULL, 0) - .1) < 1e-7);
    assert_true(fabs((double)c.mass[0] - .05) < 1e-7 && c.mass[0] == c.mass[1] && c.mass[2] == 0);
    close_scene(&c);
}

static void a_budget_pays_at_most_15_percent_for_probes(void **state)
{
    (void)state;
    struct scene c;
    const float cost[ARMS] = {30, 1, 1};
    open_scene(&c, 0);
    c.s->routers[0]->arms[0]->suspect = true;
    assert_true(fabs(fill(&c, cost, 2) - .15 * 2 / 30) < 1e-7);
    assert_true(fabs(fill(&c, cost, 200) - .1) < 1e-7);
    close_scene(&c);
}

/* Arm a answered the first 30 of 90 outcomes, b the next 30. */
static void an_arm_without_an_answer_for_long_is_probed(void **state)
{
    (void)state;
    struct scene c;
    open_scene(&c, 60);
    assert_true(fill(&c, NULL, 0) > 0);
    assert_true(c.mass[0] > 0 && c.mass[1] == 0 && c.mass[2] == 0);
    close_scene(&c);
}

/* The pmf holds the probes, and the draw keeps to it: .1 of 4000 is 400, give or take 4 x 19. */
static void decide_draws_probes_as_often_as_its_propensities_say(void **state)
{
    (void)state;
    struct scene c;
    open_scene(&c, 0);
    struct decide_scratch *scratch = calloc(1, sizeof *scratch);
    assert_non_null(scratch);
    c.s->routers[0]->arms[0]->suspect = true;
    float x[GIVEN_D] = {1}, pmf[ARMS];
    int probes = 0;
    for (uint64_t i = 0; i < 4000; i++) {
        struct decide_result r;
        const struct decide_input in = {.router = c.s->routers[0],
                                        .x = x,
                                        .arms = c.arms,
                                        .n = ARMS,
                                        .answer_share = 1,
                                        .seed = rng_mix(5, i)};
        decide(&in, scratch, pmf, &r);
        assert_true(fabs((double)(pmf[0] + pmf[1] + pmf[2]) - 1) < 1e-6);
        assert_true(fabs((double)pmf[0] - .1) < 1e-6 && fabs((double)pmf[2] - .9) < 1e-6);
        assert_true((r.reason == REASON_PROBE) == (r.chosen == 0));
        probes += r.reason == REASON_PROBE;
    }
    assert_true(abs(probes - 400) < 76);
    free(scratch);
    close_scene(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_probed_while_nothing_is_in_doubt),
        cmocka_unit_test(suspects_share_a_tenth),
        cmocka_unit_test(a_budget_pays_at_most_15_percent_for_probes),
        cmocka_unit_test(an_arm_without_an_answer_for_long_is_probed),
        cmocka_unit_test(decide_draws_probes_as_often_as_its_propensities_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
