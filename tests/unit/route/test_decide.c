#include "server/route/decide.h"
#include "state/base/rng.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/model/given.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARMS_MAX = 8 };

struct scene {
    struct given g;
    struct snapshot *s;
    struct decide_input in;
    struct eligible arms[ARMS_MAX];
    float x[GIVEN_D], pmf[ARMS_MAX];
    struct decide_result result;
    struct decide_scratch *scratch;
};

/* n arms; arm k was rated k/8 thirty times, unless fresh. */
static void open_scene(struct scene *c, uint32_t n, bool fresh, double floor, uint32_t newcomers)
{
    struct router_config config;
    memset(c, 0, sizeof *c);
    given_config(&config);
    config.settings.explore_floor = floor;
    config.settings.newcomer_pulls = newcomers;
    given_open(&c->g, &config);
    for (uint32_t k = 0; k < n; k++) {
        char name[NAME_CAP] = {(char)('a' + k)};
        uint32_t uid = given_arm(&c->g, name);
        for (uint64_t i = 0; !fresh && i < 30; i++) {
            double z[MAX_METRICS] = {k / 8. + .05 * given_z(i, k)};
            struct decision d = given_decision(&c->g, uid, i);
            given_report(&c->g, &d, 1, z, OUTCOME_OK);
        }
    }
    assert_int_equal(snapshot_build(c->g.model, NULL, &c->s), OK);
    c->scratch = calloc(1, sizeof *c->scratch);
    assert_non_null(c->scratch);
    c->x[0] = 1;
    for (uint32_t k = 0; k < n; k++)
        c->arms[k] = (struct eligible){.index = k, .issued = fresh ? 0 : 30, .pending = 0};
    c->in = (struct decide_input){
        .router = c->s->routers[0], .x = c->x, .arms = c->arms, .n = n, .answer_share = 1};
}

static void close_scene(struct scene *c)
{
    snapshot_free(c->s);
    given_close(&c->g);
    free(c->scratch);
}

static void set_policy(struct scene *c, const char *policy, double epsilon, const char *arm)
{
    struct router_settings *s =
        (struct router_settings *)(uintptr_t)&c->in.router->config->settings;
    snprintf(s->policy, sizeof s->policy, "%s", policy);
    snprintf(s->fixed_arm, sizeof s->fixed_arm, "%s", arm);
    s->epsilon = epsilon;
}

static void run(struct scene *c, uint64_t seed)
{
    c->in.seed = seed;
    decide(&c->in, c->scratch, c->pmf, &c->result);
}

static void assert_pmf_is_one_and_above_the_floor(const struct scene *c)
{
    double sum = 0, floor = c->in.router->config->settings.explore_floor;
    for (uint32_t i = 0; i < c->in.n; i++) {
        sum += (double)c->pmf[i];
        assert_true((double)c->pmf[i] >= floor / c->in.n * (1 - 1e-6));
    }
    assert_true(fabs(sum - 1) < 1e-6);
    assert_true(c->result.chosen < c->in.n);
    assert_true(c->result.propensity == (double)c->pmf[c->result.chosen]);
    assert_true(c->result.propensity > 0);
}

/* Pearson's statistic over 40,000 seeds; 40 is beyond 1e-6 for up to 7 degrees of freedom, and the
 * seeds are fixed: it passes always or never. */
static void assert_drawn_as_said(struct scene *c)
{
    enum { N = 40000 };
    uint32_t counts[ARMS_MAX] = {0};
    for (uint64_t k = 0; k < N; k++) {
        run(c, rng_mix(77, k));
        counts[c->result.chosen]++;
    }
    assert_pmf_is_one_and_above_the_floor(c);
    double chi = 0;
    for (uint32_t i = 0; i < c->in.n; i++) {
        double expected = N * (double)c->pmf[i];
        if (expected < 1e-9) {
            assert_int_equal(counts[i], 0);
            continue;
        }
        chi += (counts[i] - expected) * (counts[i] - expected) / expected;
    }
    if (!(chi < 40))
        fail_msg("chi-square %g", chi);
}

static void draws_follow_the_pmf_with_a_floor(void **state)
{
    (void)state;
    static const double floors[] = {0, .01, .3, 1};
    for (size_t i = 0; i < 4; i++) {
        struct scene c;
        open_scene(&c, 5, false, floors[i], 0);
        assert_drawn_as_said(&c);
        assert_true(fabs((double)c.pmf[4] - (1 - floors[i] + floors[i] / 5)) < 1e-6);
        close_scene(&c);
    }
}

static void draws_follow_the_pmf_with_newcomers(void **state)
{
    (void)state;
    struct scene c;
    open_scene(&c, 6, false, .1, 5);
    c.arms[0].issued = 2;
    c.arms[2].issued = 2;
    c.arms[3].issued = 4;
    assert_drawn_as_said(&c);
    /* A third of the mass to the two that have the fewest pulls. */
    assert_true(fabs((double)c.pmf[0] - (.9 / 6 + .1 / 6)) < 1e-6);
    assert_true(fabs((double)c.pmf[2] - (double)c.pmf[0]) < 1e-6);
    assert_true(fabs((double)c.pmf[3] - .1 / 6) < 1e-6);
    assert_true(fabs((double)c.pmf[5] - (.6 + .1 / 6)) < 1e-6);
    assert_true(c.result.evaluable);
    close_scene(&c);
}

static void draws_follow_the_pmf_on_exact_ties(void **state)
{
    (void)state;
    struct scene c;
    open_scene(&c, 7, true, 0, 0);
    assert_drawn_as_said(&c);
    for (int i = 0; i < 7; i++)
        assert_true(fabs((double)c.pmf[i] - 1. / 7) < 1e-6);
    close_scene(&c);
}

/* Nobody has more pulls than a newcomer: the first requests of a router visit every arm once. */
static void on_a_cold_start_an_arm_without_a_pull_takes_all(void **state)
{
    (void)state;
    struct scene c;
    open_scene(&c, 4, true, 0, 2);
    for (uint32_t visited = 0; visited < 4; visited++) {
        assert_drawn_as_said(&c);
        for (uint32_t i = 0; i < 4; i++)
            assert_true(fabs((double)c.pmf[i] - (c.arms[i].issued ? 0 : 1. / (4 - visited))) <
                        1e-6);
        assert_int_equal(c.result.reason, REASON_NEWCOMER);
        assert_false(c.result.evaluable); /* No other arm had support... */
        c.arms[c.result.chosen].issued++;
    }
    c.arms[1].issued = 0;
    c.arms[2].issued = 2; /* The floor drew it twice: cold all the same. */
    run(&c, 1);
    assert_true(c.pmf[1] == 1);
    close_scene(&c);
    open_scene(&c, 4, true, .05, 2);
    run(&c, 1);
    assert_true(c.result.evaluable); /* ...but for the floor. */
    close_scene(&c);
}

static void
a_fresh_arm_in_a_router_that_serves_gets_a_share_and_the_fewest_pulls_come_first(void **state)
{
    (void)state;
    struct scene c;
    open_scene(&c, 4, false, 0, 5);
    c.arms[0].issued = 0;
    c.arms[2].issued = 3;
    assert_drawn_as_said(&c);
    assert_true(fabs((double)c.pmf[0] - 1. / 3) < 1e-6);
    assert_true(fabs((double)c.pmf[3] - 2. / 3) < 1e-6);
    assert_true(c.result.evaluable);
    close_scene(&c);
    /* However optimistic the policy is about an arm of which nothing is known. */
    static const char *const names[] = {"linucb", "thompson", "epsilon_greedy", "greedy", "random"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        open_scene(&c, 5, false, 0, 2);
        (void)given_arm(&c.g, "f");
        snapshot_free(c.s);
        assert_int_equal(snapshot_build(c.g.model, NULL, &c.s), OK);
        c.in.router = c.s->routers[0];
        set_policy(&c, names[i], .3, "");
        c.arms[5] = c.arms[4];
        c.arms[4] = (struct eligible){.index = 5};
        c.in.n = 6;
        assert_drawn_as_said(&c);
        assert_true(c.scratch->scores[4].mean > c.scratch->scores[5].mean);
        assert_true(fabs((double)c.pmf[4] - 1. / 3) < 1e-6);
        assert_true(c.pmf[5] > 0);
        set_policy(&c, "fixed", .3, "f");
        run(&c, 1);
        assert_true(c.pmf[4] > .999F); /* Whoever names it means it. */
        close_scene(&c);
    }
    /* One pull is enough not to be cold when newcomers get one. */
    open_scene(&c, 3, true, 0, 1);
    c.arms[0].issued = 2;
    run(&c, 1);
    assert_true(c.pmf[1] < 1);
    close_scene(&c);
}

static void reasons_say_which_part_of_the_mass_it_was(void **state)
{
    (void)state;
    struct scene c;
    open_scene(&c, 5, false, .2, 5);
    c.arms[0].issued = 1;
    uint32_t seen[8] = {0};
    for (uint64_t k = 0; k < 5000; k++) {
        run(&c, k);
        seen[c.result.reason]++;
        if (c.result.reason == REASON_NEWCOMER)
            assert_int_equal(c.result.chosen, 0);
        if (c.result.reason == REASON_EXPLOIT)
            assert_int_equal(c.result.chosen, 4);
    }
    /* .2 floor, a third of the rest newcomers, the rest exploits. */
    assert_true(abs((int)seen[REASON_EXPLORE] - 1000) < 150);
    assert_true(abs((int)seen[REASON_NEWCOMER] - 1333) < 150);
    assert_true(abs((int)seen[REASON_EXPLOIT] - 2667) < 150);
    close_scene(&c);
}

static void draws_follow_the_pmf_of_every_policy(void **state)
{
    (void)state;
    static const char *const names[] = {"linucb", "thompson", "epsilon_greedy",
                                        "greedy", "random",   "fixed"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        for (int newcomers = 0; newcomers < 2; newcomers++) {
            struct scene c;
            open_scene(&c, 6, false, newcomers ? .1 : 0, newcomers ? 5 : 0);
            set_policy(&c, names[i], .3, "b");
            c.arms[3].issued = newcomers ? 2 : 30;
            assert_drawn_as_said(&c);
            assert_string_equal(c.result.policy->name, names[i]);
            close_scene(&c);
        }
    }
}

/* Settings belong to the model; the views of a test are this test's alone. */
static void set_split(struct scene *c, const char *policy, double share, double alpha)
{
    struct router_settings *s = &c->g.router->config.settings;
    snprintf(s->split_policy, NAME_CAP, "%s", policy);
    s->split_share = share;
    s->split_alpha = alpha;
    c->g.router->touched = true;
    snapshot_free(c->s);
    assert_int_equal(snapshot_build(c->g.model, NULL, &c->s), OK);
    c->in.router = c->s->routers[0];
}

static void draws_follow_the_mixture_of_a_split_with_newcomers_and_floor(void **state)
{
    (void)state;
    static const char *const names[] = {"thompson", "epsilon_greedy", "random", "fixed"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        for (int newcomers = 0; newcomers < 2; newcomers++) {
            struct scene c;
            open_scene(&c, 6, false, newcomers ? .1 : 0, newcomers ? 5 : 0);
            set_policy(&c, "linucb", .3, "b");
            set_split(&c, names[i], .3, 4);
            c.arms[3].issued = newcomers ? 2 : 30;
            assert_drawn_as_said(&c);
            close_scene(&c);
        }
    }
}

static void the_propensity_of_a_split_is_the_mixtures_whichever_side_was_drawn(void **state)
{
    (void)state;
    struct scene c;
    uint32_t b = 0;
    open_scene(&c, 4, false, 0, 0);
    run(&c, 0);
    assert_int_equal(c.result.side, SIDE_NONE);
    set_split(&c, "random", .25, -1);
    for (uint64_t k = 0; k < 20000; k++) {
        run(&c, rng_mix(5, k));
        b += c.result.side == SIDE_B;
        assert_string_equal(c.result.policy->name, c.result.side == SIDE_B ? "random" : "linucb");
        assert_true(c.result.side == SIDE_B || c.result.chosen == 3);
        assert_true(fabs(c.result.propensity - (c.result.chosen == 3 ? .75 + .25 / 4 : .25 / 4)) <
                    1e-6);
    }
    assert_true(b > 4750 && b < 5250); /* Four standard deviations; the seeds are fixed. */
    close_scene(&c);
}

/* linucb on both sides: only the width differs, and what is shown is what decided. */
static void each_side_of_a_split_has_its_own_alpha(void **state)
{
    (void)state;
    struct scene c;
    float narrow[ARMS_MAX];
    bool seen[3] = {false};
    open_scene(&c, 4, false, 0, 0);
    run(&c, 0);
    for (int i = 0; i < 4; i++)
        narrow[i] = c.scratch->scores[i].width;
    double alpha = c.in.router->config->settings.alpha;
    set_split(&c, "linucb", .5, 3 * alpha);
    for (uint64_t k = 0; k < 100; k++) {
        run(&c, rng_mix(9, k));
        seen[c.result.side] = true;
        for (int i = 0; i < 4; i++) {
            double times = c.result.side == SIDE_B ? 3 : 1;
            assert_true(fabs((double)c.scratch->scores[i].width - times * (double)narrow[i]) <
                        1e-6);
        }
    }
    assert_true(seen[SIDE_A] && seen[SIDE_B]);
    set_split(&c, "linucb", .5, -1);
    c.g.router->config.settings.mode = MODE_APPRENTICE;
    c.g.router->touched = true;
    set_split(&c, "linucb", 1, -1);
    run(&c, 0);
    assert_int_equal(c.result.side, SIDE_NONE); /* Where a baseline answers, no side does. */
    close_scene(&c);
}

/* The scene's arms lie .125 apart, some widths: Thompson must still leave mass to the second. */
static void thompson_draws_the_second_arm_sometimes_and_calls_it_an_exploration(void **state)
{
    (void)state;
    struct scene c;
    open_scene(&c, 5, false, 0, 0);
    set_policy(&c, "thompson", 0, "");
    for (int i = 0; i < 5; i++)
        c.arms[i].pending = 0;
    ((struct router_settings *)(uintptr_t)&c.in.router->config->settings)->alpha = 20;
    uint32_t explored = 0, exploited = 0;
    for (uint64_t k = 0; k < 2000; k++) {
        run(&c, k);
        explored += c.result.reason == REASON_EXPLORE;
        exploited += c.result.reason == REASON_EXPLOIT;
        assert_int_equal(c.result.reason == REASON_EXPLOIT, c.result.chosen == 4);
    }
    assert_true(explored > 100 && exploited > explored / 2);
    close_scene(&c);
}

static void fixed_takes_its_arm_and_says_so_or_falls_to_the_best_mean(void **state)
{
    (void)state;
    struct scene c;
    open_scene(&c, 5, false, 0, 0);
    set_policy(&c, "fixed", 0, "b");
    run(&c, 1);
    assert_int_equal(c.result.chosen, 1);
    assert_int_equal(c.result.reason, REASON_FIXED);
    assert_true(c.pmf[1] == 1);
    assert_false(c.result.fallback);
    c.arms[1] = c.arms[4]; /* b is not among the eligible any more. */
    c.in.n = 4;
    run(&c, 1);
    assert_int_equal(c.result.chosen, 1);
    assert_int_equal(c.arms[c.result.chosen].index, 4);
    assert_int_equal(c.result.reason, REASON_EXPLOIT);
    assert_true(c.result.fallback);
    close_scene(&c);
}

static void an_unknown_policy_of_a_later_build_decides_as_linucb(void **state)
{
    (void)state;
    struct scene c;
    open_scene(&c, 5, false, .05, 0);
    set_policy(&c, "oracle", 0, "");
    run(&c, 1);
    assert_ptr_equal(c.result.policy, &policy_linucb);
    assert_drawn_as_said(&c);
    close_scene(&c);
}

static void the_same_seed_makes_the_same_choice(void **state)
{
    (void)state;
    struct scene c;
    open_scene(&c, 6, true, .3, 0);
    uint32_t differing = 0, last = 0;
    for (uint64_t k = 0; k < 500; k++) {
        run(&c, k);
        struct decide_result first = c.result;
        run(&c, k);
        assert_int_equal(c.result.chosen, first.chosen);
        assert_int_equal(c.result.reason, first.reason);
        differing += k && c.result.chosen != last;
        last = c.result.chosen;
    }
    assert_true(differing > 250); /* And other seeds others. */
    close_scene(&c);
}

/* Arm k is rated k/8 and costs k + 1: at a price of 1/4 a unit the cheapest is worth most. */
static void a_price_turns_the_choice_and_the_reason_is_one_of_priced_means(void **state)
{
    (void)state;
    struct scene c;
    const float cost[] = {1, 2, 3, 4};
    open_scene(&c, 4, false, 0, 0);
    set_policy(&c, "greedy", 0, "");
    run(&c, 1);
    assert_int_equal(c.result.chosen, 3);
    float before[4];
    for (int i = 0; i < 4; i++)
        before[i] = c.scratch->scores[i].mean;
    c.in.cost = cost;
    c.in.lambda = .25;
    run(&c, 1);
    assert_int_equal(c.result.chosen, 0);
    assert_int_equal(c.result.reason, REASON_EXPLOIT);
    for (int i = 0; i < 4; i++)
        assert_true(fabsf(c.scratch->scores[i].mean - (before[i] - .25F * cost[i])) < 1e-6F);
    assert_true(c.result.menu.base == 1);
    assert_true(c.result.menu.n > 0); /* Made before the price came off. */
    c.in.lambda = 0;
    run(&c, 1);
    assert_int_equal(c.result.chosen, 3);
    close_scene(&c);
}

/* Widths move linucb up the hull, and nobody else. */
static void the_menu_holds_what_the_policy_in_force_compares(void **state)
{
    (void)state;
    struct scene c;
    const float cost[] = {1, 2};
    open_scene(&c, 2, false, 0, 0);
    c.in.cost = cost;
    set_policy(&c, "greedy", 0, "");
    run(&c, 1);
    const struct score *s = c.scratch->scores;
    assert_int_equal(c.result.menu.n, 1);
    assert_true(fabs(c.result.menu.price[0] - (double)(s[1].mean - s[0].mean)) < 1e-6);
    set_policy(&c, "linucb", 0, "");
    run(&c, 1);
    double rise = (double)(s[1].mean + s[1].width - s[0].mean - s[0].width);
    assert_true(fabs(c.result.menu.price[0] - rise) < 1e-6);
    close_scene(&c);
}

static void a_single_arm_is_the_only_one_eligible(void **state)
{
    (void)state;
    struct scene c;
    for (int fresh = 0; fresh < 2; fresh++) {
        open_scene(&c, 1, fresh, .3, 5);
        run(&c, 1);
        assert_int_equal(c.result.chosen, 0);
        assert_int_equal(c.result.reason, REASON_ONLY_ELIGIBLE);
        assert_true(fabs(c.result.propensity - 1) < 1e-6);
        close_scene(&c);
    }
}

static void the_best_arm_gets_the_mass_whatever_the_order_of_the_candidates(void **state)
{
    (void)state;
    struct scene c;
    open_scene(&c, 5, false, 0, 0);
    for (uint32_t shift = 0; shift < 5; shift++) {
        for (uint32_t k = 0; k < 5; k++)
            c.arms[k].index = (k + shift) % 5;
        run(&c, shift);
        assert_int_equal(c.arms[c.result.chosen].index, 4);
        assert_int_equal(c.result.reason, REASON_EXPLOIT);
    }
    close_scene(&c);
}

static void set_switch_cost(struct scene *c, double cost)
{
    struct router_settings *s =
        (struct router_settings *)(uintptr_t)&c->in.router->config->settings;
    s->switch_cost = cost;
}

static void a_held_arm_stays_until_another_mean_is_more_than_the_switch_cost_better(void **state)
{
    (void)state;
    struct scene c;
    open_scene(&c, 4, false, .1, 0);
    c.in.holds = true;
    c.in.held = 1; /* Rated 1/8; the best one 3/8. */
    set_switch_cost(&c, .1);
    run(&c, 7);
    double gain = (double)c.scratch->scores[3].mean - (double)c.scratch->scores[1].mean;
    assert_true(gain > .1 && gain < .5);
    for (uint64_t seed = 0; seed < 200; seed++) {
        set_switch_cost(&c, gain * 1.001);
        run(&c, seed);
        assert_int_equal(c.result.chosen, 1);
        assert_int_equal(c.result.reason, REASON_SESSION);
        assert_false(c.result.evaluable);
        assert_true(c.result.propensity == 1 && c.pmf[1] == 1 && c.pmf[3] == 0);
        set_switch_cost(&c, gain * .999); /* As if nobody held anything. */
        run(&c, seed);
        struct decide_result moved = c.result;
        assert_int_not_equal(moved.reason, REASON_SESSION);
        assert_pmf_is_one_and_above_the_floor(&c);
        c.in.holds = false;
        run(&c, seed);
        assert_int_equal(c.result.chosen, moved.chosen);
        assert_int_equal(c.result.reason, moved.reason);
        assert_true(c.result.propensity == moved.propensity);
        c.in.holds = true;
    }
    close_scene(&c);
}

static void a_held_arm_that_may_not_serve_is_left_and_the_reason_says_so(void **state)
{
    (void)state;
    struct scene c;
    open_scene(&c, 4, false, .1, 0);
    c.in.holds = true;
    c.in.held = 4;
    set_switch_cost(&c, 100);
    for (uint64_t seed = 0; seed < 100; seed++) {
        run(&c, seed);
        assert_int_equal(c.result.reason, REASON_SESSION_MOVED);
        assert_pmf_is_one_and_above_the_floor(&c);
        assert_true(c.result.evaluable);
    }
    c.in.n = c.in.held = 1; /* Left, and only one other may serve. */
    run(&c, 1);
    assert_int_equal(c.result.reason, REASON_SESSION_MOVED);
    c.in.held = 0;
    run(&c, 1);
    assert_int_equal(c.result.reason, REASON_ONLY_ELIGIBLE);
    close_scene(&c);
}

/* Two arms may be chosen, one is on trial at 1 of 30 budgets: it is drawn as often as its
 * propensity says, as a probe, and all propensities are one. */
static void an_arm_on_trial_is_drawn_as_seldom_as_it_says(void **unused)
{
    (void)unused;
    struct scene c;
    open_scene(&c, 3, false, 0, 0);
    const float cost[3] = {1, 1, .01F};
    c.in.n = 2;
    c.in.trials = 1;
    c.in.cost = cost;
    c.in.budget = .1;
    uint32_t drawn = 0, n = 20000;
    for (uint64_t seed = 0; seed < n; seed++) {
        run(&c, seed);
        assert_true(fabs((double)(c.pmf[0] + c.pmf[1] + c.pmf[2]) - 1) < 1e-6);
        assert_true(fabs((double)c.pmf[2] - .003 * .1 / .01) < 1e-6);
        assert_true(fabs(c.result.propensity - (double)c.pmf[c.result.chosen]) < 1e-9);
        assert_true((c.result.reason == REASON_PROBE) == (c.result.chosen == 2));
        drawn += c.result.chosen == 2;
    }
    /* 600 expected; 5 standard deviations. */
    assert_true(fabs(drawn - .03 * n) < 5 * sqrt(.03 * .97 * n));
    close_scene(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_arm_on_trial_is_drawn_as_seldom_as_it_says),
        cmocka_unit_test(draws_follow_the_pmf_with_a_floor),
        cmocka_unit_test(draws_follow_the_pmf_with_newcomers),
        cmocka_unit_test(draws_follow_the_pmf_on_exact_ties),
        cmocka_unit_test(on_a_cold_start_an_arm_without_a_pull_takes_all),
        cmocka_unit_test(
            a_fresh_arm_in_a_router_that_serves_gets_a_share_and_the_fewest_pulls_come_first),
        cmocka_unit_test(reasons_say_which_part_of_the_mass_it_was),
        cmocka_unit_test(draws_follow_the_pmf_of_every_policy),
        cmocka_unit_test(draws_follow_the_mixture_of_a_split_with_newcomers_and_floor),
        cmocka_unit_test(the_propensity_of_a_split_is_the_mixtures_whichever_side_was_drawn),
        cmocka_unit_test(each_side_of_a_split_has_its_own_alpha),
        cmocka_unit_test(thompson_draws_the_second_arm_sometimes_and_calls_it_an_exploration),
        cmocka_unit_test(fixed_takes_its_arm_and_says_so_or_falls_to_the_best_mean),
        cmocka_unit_test(an_unknown_policy_of_a_later_build_decides_as_linucb),
        cmocka_unit_test(the_same_seed_makes_the_same_choice),
        cmocka_unit_test(a_price_turns_the_choice_and_the_reason_is_one_of_priced_means),
        cmocka_unit_test(the_menu_holds_what_the_policy_in_force_compares),
        cmocka_unit_test(a_held_arm_stays_until_another_mean_is_more_than_the_switch_cost_better),
        cmocka_unit_test(a_held_arm_that_may_not_serve_is_left_and_the_reason_says_so),
        cmocka_unit_test(a_single_arm_is_the_only_one_eligible),
        cmocka_unit_test(the_best_arm_gets_the_mass_whatever_the_order_of_the_candidates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
