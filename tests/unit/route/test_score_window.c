#include "server/route/score_window.h"
#include "state/math/check.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/model/given.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ARMS = 9, CONTEXTS = 37, STRIDE = GIVEN_D + 5 };

struct scene {
    struct given g;
    struct snapshot *s;
    const struct router_view *r;
    float rows[CONTEXTS * STRIDE];
    float neutral[ARMS * CONTEXTS], bonus[ARMS * CONTEXTS], low[CONTEXTS], high[CONTEXTS];
};

/* Arms with none to many outcomes, some without a rating; contexts with weights of their own, the
 * fourth of which weigh no rated metric at all. */
static void open_scene(struct scene *c, double gamma, bool pooled)
{
    struct router_config config;
    memset(c, 0, sizeof *c);
    given_config(&config);
    config.settings.gamma = gamma;
    config.settings.pooled_slopes = pooled;
    given_open(&c->g, &config);
    for (uint32_t k = 0; k < ARMS; k++) {
        char name[NAME_CAP] = {(char)('a' + k)};
        uint32_t uid = given_arm(&c->g, name);
        for (uint64_t i = 0; i < (uint64_t)k * k; i++) {
            double z[MAX_METRICS];
            for (uint32_t m = 0; m < 5; m++)
                z[m] = .1 * k + .2 * given_z(i, 10 * k + m);
            struct decision d = given_decision(&c->g, uid, 100 * k + i);
            given_report(&c->g, &d, (uint16_t)(k % 3 == 2 ? 0x1c : 0x1f >> k % 2), z, OUTCOME_OK);
        }
    }
    assert_int_equal(snapshot_build(c->g.model, NULL, &c->s), OK);
    c->r = c->s->routers[0];
    for (uint32_t i = 0; i < CONTEXTS; i++) {
        float *row = c->rows + i * STRIDE;
        row[0] = 1;
        for (uint32_t k = 1; k < GIVEN_D; k++)
            row[k] = (float)(given_z(i, k) - .5) * 2;
        for (uint32_t m = 0; m < 5; m++)
            row[GIVEN_D + m] = i % 4 == 3 && m < 2 ? 0 : (float)given_z(i + 7, m);
    }
}

static void close_scene(struct scene *c)
{
    snapshot_free(c->s);
    given_close(&c->g);
}

static struct score_window window_of(const struct scene *c, bool weights)
{
    return (struct score_window){c->rows, CONTEXTS, STRIDE, weights ? 5 : 0};
}

static void assert_as_score_arms(struct scene *c, bool own_weights)
{
    struct score_window w = window_of(c, own_weights);
    assert_int_equal(score_window(c->r, &w, c->neutral, c->bonus, c->low, c->high), OK);
    uint32_t optimistic = 0;
    for (uint32_t i = 0; i < CONTEXTS; i++) {
        const float *row = c->rows + i * STRIDE;
        double weights[MAX_METRICS];
        for (uint32_t m = 0; m < 5; m++)
            weights[m] = (double)row[GIVEN_D + m];
        struct utility u;
        struct eligible arms[ARMS];
        struct score scores[ARMS];
        utility_init(&u, c->r, own_weights ? weights : NULL);
        for (uint32_t a = 0; a < ARMS; a++)
            arms[a] = (struct eligible){.index = a};
        score_arms(c->r, &u, row, arms, ARMS, 1, scores);
        for (uint32_t a = 0; a < ARMS; a++) {
            size_t at = (size_t)a * CONTEXTS + i;
            double sum = (double)c->neutral[at] + (double)c->bonus[at];
            /* score_arms sums in float. */
            assert_true(fabs(sum - (double)scores[a].mean - (double)scores[a].width) < 2e-5);
            assert_true(c->bonus[at] >= 0);
            optimistic += c->neutral[at] < scores[a].mean - .05F;
        }
    }
    assert_true(optimistic > 0); /* Else the two parts were never apart. */
}

static void a_window_is_worth_what_routing_would_say(void **state)
{
    (void)state;
    struct scene c;
    open_scene(&c, 1, true);
    assert_as_score_arms(&c, true);
    assert_as_score_arms(&c, false);
    close_scene(&c);
}

static void evidence_that_fades_widens_a_window_as_it_widens_a_score(void **state)
{
    (void)state;
    struct scene c;
    open_scene(&c, .995, true);
    assert_as_score_arms(&c, true);
    close_scene(&c);
}

static void the_ends_are_the_best_and_the_worst_that_the_weights_allow(void **state)
{
    (void)state;
    struct scene c;
    open_scene(&c, 1, true);
    struct score_window w = window_of(&c, true);
    assert_int_equal(score_window(c.r, &w, c.neutral, NULL, c.low, c.high), OK);
    for (uint32_t i = 0; i < CONTEXTS; i++) {
        const float *weights = c.rows + i * STRIDE + GIVEN_D;
        assert_true(fabs((double)(c.high[i] - weights[0] - weights[1])) < 1e-6);
        assert_true(fabs((double)(c.low[i] + weights[2] + weights[3] + weights[4])) < 1e-6);
    }
    close_scene(&c);
}

static void without_a_bonus_the_neutral_part_is_the_same(void **state)
{
    (void)state;
    struct scene c;
    open_scene(&c, 1, true);
    static float alone[ARMS * CONTEXTS];
    struct score_window w = window_of(&c, true);
    assert_int_equal(score_window(c.r, &w, c.neutral, c.bonus, c.low, c.high), OK);
    assert_int_equal(score_window(c.r, &w, alone, NULL, c.low, c.high), OK);
    assert_memory_equal(alone, c.neutral, sizeof alone);
    close_scene(&c);
}

static void an_arm_that_nobody_tried_stands_where_the_others_stand_on_average(void **state)
{
    (void)state;
    struct scene c;
    open_scene(&c, 1, false);
    struct score_window w = window_of(&c, false);
    assert_int_equal(score_window(c.r, &w, c.neutral, c.bonus, c.low, c.high), OK);
    /* Arm 0 has no outcome: the prior's lead over the mean of the others is all in the bonus. */
    double shown = c.r->pooled_mean_z[0] * c.r->config->metrics[0].weight;
    uint32_t m = c.r->config->metrics_n;
    for (uint32_t i = 1; i < m; i++)
        assert_true(c.r->config->metrics[i].weight == 0);
    for (uint32_t i = 0; i < CONTEXTS; i++)
        assert_true(fabs((double)c.neutral[i] - shown) < 1e-5);
    close_scene(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_window_is_worth_what_routing_would_say),
        cmocka_unit_test(evidence_that_fades_widens_a_window_as_it_widens_a_score),
        cmocka_unit_test(the_ends_are_the_best_and_the_worst_that_the_weights_allow),
        cmocka_unit_test(without_a_bonus_the_neutral_part_is_the_same),
        cmocka_unit_test(an_arm_that_nobody_tried_stands_where_the_others_stand_on_average),
    };
    if (blas_init() != OK)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
