#include "server/route/decide.h"
#include "state/base/rng.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/model/given.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARMS = 300, CONTEXTS = 60 };

struct scene {
    struct given g;
    struct snapshot *s;
    const struct router_view *r;
    struct eligible arms[ARMS];
    struct decide_scratch *scratch[2];
    float pmf[2][ARMS];
    struct decide_result result[2];
    uint64_t left_out, decisions;
};

struct given_settings {
    double alpha, gamma;
    const char *policy;
    bool charged, pending;
    uint32_t fresh; /* Arms that were never pulled. */
    uint32_t twins; /* Arms that know nothing, though pulled: exact ties. */
};

static void open_scene(struct scene *c, const struct given_settings *set)
{
    struct router_config config;
    memset(c, 0, sizeof *c);
    given_config(&config);
    config.settings.alpha = set->alpha;
    config.settings.gamma = set->gamma;
    config.settings.explore_floor = .01;
    (void)snprintf(config.settings.policy, NAME_CAP, "%s", set->policy);
    given_open(&c->g, &config);
    for (uint32_t k = 0; k < ARMS; k++) {
        char name[NAME_CAP];
        (void)snprintf(name, sizeof name, "arm-%u", k);
        uint32_t uid = given_arm(&c->g, name);
        uint32_t outcomes = k < set->fresh + set->twins ? 0 : 5 + k % 40;
        for (uint32_t i = 0; i < outcomes; i++) {
            double z[MAX_METRICS] = {.2 + .6 * rng_uniform(k, 7) + .1 * given_z(i, k)};
            struct decision d = given_decision(&c->g, uid, 1000 * k + i);
            assert_int_equal(given_report(&c->g, &d, 1, z, OUTCOME_OK).err, OK);
        }
        c->arms[k] = (struct eligible){
            .index = k,
            .issued = k < set->fresh ? 0 : 100,
            .pending = set->pending && k % 3 == 0 ? k % 7 : 0,
            .charge = set->charged && k % 4 != 0 ? .05F * (float)(k % 5) : 0,
        };
    }
    assert_int_equal(snapshot_build(c->g.model, NULL, &c->s), OK);
    c->r = c->s->routers[0];
    for (int i = 0; i < 2; i++) {
        c->scratch[i] = calloc(1, sizeof *c->scratch[i]);
        assert_non_null(c->scratch[i]);
    }
}

static void close_scene(struct scene *c)
{
    free(c->scratch[0]);
    free(c->scratch[1]);
    snapshot_free(c->s);
    given_close(&c->g);
}

static void context(uint64_t seed, float *ret_x)
{
    ret_x[0] = 1;
    for (uint32_t i = 1; i < GIVEN_D; i++)
        ret_x[i] = (float)(rng_uniform(seed, i) - .5);
}

/* The same decision, with every arm scored and with the best alone; they must be one. */
static void decide_both(struct scene *c, uint64_t seed)
{
    float x[GIVEN_D];
    context(seed, x);
    struct decide_input in = {
        .router = c->r, .x = x, .arms = c->arms, .n = ARMS, .answer_share = .7, .seed = seed};
    decide(&in, c->scratch[0], c->pmf[0], &c->result[0]);
    in.best_only = true;
    decide(&in, c->scratch[1], c->pmf[1], &c->result[1]);
    const struct decide_result *all = &c->result[0], *best = &c->result[1];
    assert_memory_equal(c->pmf[0], c->pmf[1], sizeof c->pmf[0]);
    assert_int_equal(all->chosen, best->chosen);
    assert_int_equal(all->policy_choice, best->policy_choice);
    assert_int_equal(all->reason, best->reason);
    assert_int_equal(all->left_out, 0);
    const struct score *want = c->scratch[0]->scores, *got = c->scratch[1]->scores;
    assert_memory_equal(&want[all->chosen], &got[all->chosen], sizeof *want);
    float most = want[0].mean + want[0].width, kept = got[0].mean + got[0].width;
    uint32_t exact = 0;
    for (uint32_t i = 0; i < ARMS; i++) {
        exact += got[i].deviation >= 0;
        if (got[i].deviation >= 0)
            assert_memory_equal(&want[i], &got[i], sizeof *want);
        else
            assert_true(got[i].mean >= want[i].mean && got[i].width == 0);
        if (got[i].deviation < 0 && !(c->arms[i].charge > 0))
            assert_true(got[i].mean == want[i].mean);
        most = want[i].mean + want[i].width > most ? want[i].mean + want[i].width : most;
        kept = got[i].mean + got[i].width > kept ? got[i].mean + got[i].width : kept;
    }
    assert_true(most == kept); /* A ranking of one arm names the same. */
    assert_true(exact == ARMS - best->left_out ||
                exact == ARMS - best->left_out + 1); /* The chosen one. */
    c->left_out += best->left_out;
    c->decisions++;
}

static double share_left_out(const struct given_settings *set)
{
    struct scene c;
    open_scene(&c, set);
    for (uint64_t seed = 1; seed <= CONTEXTS; seed++)
        decide_both(&c, seed);
    double share = (double)c.left_out / (double)c.decisions / ARMS;
    close_scene(&c);
    return share;
}

static const struct given_settings plain = {.alpha = .1, .gamma = 1, .policy = "linucb"};

static void leaving_arms_out_changes_no_decision_and_most_are_left_out(void **state)
{
    (void)state;
    assert_true(share_left_out(&plain) > .7);
    struct given_settings s = plain;
    s.pending = true;
    assert_true(share_left_out(&s) > .7);
}

static void it_is_exact_at_every_alpha_and_for_policies_that_ask_for_means(void **state)
{
    (void)state;
    static const double alphas[] = {0, .5, 1.5, 20};
    for (size_t i = 0; i < sizeof alphas / sizeof *alphas; i++) {
        struct given_settings s = plain;
        s.alpha = alphas[i];
        (void)share_left_out(&s);
        s.policy = "greedy";
        s.pending = true;
        (void)share_left_out(&s);
        s.policy = "epsilon_greedy";
        (void)share_left_out(&s);
    }
}

static void exact_ties_share_the_mass_as_if_all_were_scored(void **state)
{
    (void)state;
    struct given_settings s = plain;
    s.twins = 40; /* At the optimistic end: they win, all of them. */
    struct scene c;
    open_scene(&c, &s);
    decide_both(&c, 1);
    uint32_t ties = 0;
    for (uint32_t i = 0; i < ARMS; i++)
        ties += c.scratch[1]->policy[0][i] > 0;
    assert_int_equal(ties, 40);
    close_scene(&c);
    (void)share_left_out(&s);
}

static void what_is_charged_hides_no_mean(void **state)
{
    (void)state;
    struct given_settings s = plain;
    s.charged = true;
    assert_true(share_left_out(&s) > .5);
    s.policy = "greedy";
    assert_true(share_left_out(&s) > .5);
    s.alpha = 1.5;
    s.policy = "linucb";
    s.pending = true;
    (void)share_left_out(&s);
}

static void evidence_that_fades_widens_the_bound_too(void **state)
{
    (void)state;
    struct given_settings s = plain;
    s.gamma = .999;
    assert_true(share_left_out(&s) > 0);
    s.charged = true;
    (void)share_left_out(&s);
}

static void arms_without_a_pull_are_no_rivals_and_take_nobodys_place(void **state)
{
    (void)state;
    struct given_settings s = plain;
    s.fresh = 10;
    assert_true(share_left_out(&s) > .7);
    s.charged = true;
    s.policy = "greedy";
    (void)share_left_out(&s);
}

static void thompson_is_given_every_width(void **state)
{
    (void)state;
    struct given_settings s = plain;
    s.policy = "thompson";
    assert_true(share_left_out(&s) == 0);
}

static void no_spread_is_above_its_cap(void **state)
{
    (void)state;
    struct scene c;
    struct given_settings s = plain;
    s.twins = 3;
    open_scene(&c, &s);
    for (uint64_t seed = 1; seed <= CONTEXTS; seed++) {
        struct utility u;
        struct score scores[ARMS];
        float x[GIVEN_D];
        context(seed, x);
        double length = 0;
        for (uint32_t i = 0; i < GIVEN_D; i++)
            length += (double)x[i] * (double)x[i];
        utility_init(&u, c.r, NULL);
        score_arms(c.r, &u, x, c.arms, ARMS, 1, scores);
        for (uint32_t i = 0; i < ARMS; i++) {
            double spread = scores[i].deviation * scores[i].deviation;
            double cap = (double)c.r->arms[i]->spread_cap[u.group];
            assert_true(spread <= cap * length && cap < 100 * spread / length);
        }
    }
    close_scene(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(leaving_arms_out_changes_no_decision_and_most_are_left_out),
        cmocka_unit_test(it_is_exact_at_every_alpha_and_for_policies_that_ask_for_means),
        cmocka_unit_test(exact_ties_share_the_mass_as_if_all_were_scored),
        cmocka_unit_test(what_is_charged_hides_no_mean),
        cmocka_unit_test(evidence_that_fades_widens_the_bound_too),
        cmocka_unit_test(arms_without_a_pull_are_no_rivals_and_take_nobodys_place),
        cmocka_unit_test(thompson_is_given_every_width),
        cmocka_unit_test(no_spread_is_above_its_cap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
