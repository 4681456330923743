#include "server/route/pacing.h"
#include "server/route/probe.h"

#include "state/base/rng.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/model/given.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COST = 2, ARMS = 5 };

#define assert_near(a, b, eps) assert_true(fabs((double)(a) - (double)(b)) <= (double)(eps))

struct account {
    struct pacing p;
    struct pacing_slot slots[PACING_W];
};

static void open_account(struct account *a, double budget)
{
    memset(a, 0xa5, sizeof *a); /* Whatever the ring holds. */
    pacing_init(&a->p, budget, 2, a->slots, PACING_W);
}

/* Utilities and costs of one context; index 0 is the cheapest. */
struct context {
    struct score s[ARMS];
    float cost[ARMS];
};

static struct context random_context(uint64_t seed)
{
    struct context c;
    for (uint32_t i = 0; i < ARMS; i++) {
        c.s[i] = (struct score){.mean = (float)(.2 * i + rng_uniform(seed, i)), .width = .1F};
        c.cost[i] = (float)(.3 * pow(2.5, i) * (.5 + rng_uniform(seed, 10 + i)));
    }
    return c;
}

static uint32_t best_at(const struct context *c, double lambda)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < ARMS; i++)
        if ((double)c->s[i].mean - lambda * (double)c->cost[i] >
            (double)c->s[best].mean - lambda * (double)c->cost[best])
            best = i;
    return best;
}

static struct pacing_menu menu_of(const struct context *c)
{
    struct score s[ARMS];
    float work[PACING_WORK(ARMS)];
    struct pacing_menu m;
    memcpy(s, c->s, sizeof s);
    pacing_apply(0, c->cost, ARMS, 0, s, work, &m);
    return m;
}

static void a_menu_spends_at_every_price_what_the_best_choice_spends(void **unused)
{
    (void)unused;
    for (uint64_t seed = 0; seed < 500; seed++) {
        struct context c = random_context(seed);
        struct pacing_menu m = menu_of(&c);
        for (int k = 0; k < 40; k++) {
            double lambda = .001 * pow(1.3, k), spent = m.base;
            for (uint32_t i = 0; i < m.n; i++)
                spent += m.price[i] > lambda ? m.cost[i] : 0;
            /* Costs are floats: a sum of their differences is good to their rounding. */
            assert_near(spent, (double)c.cost[best_at(&c, lambda)], 1e-4);
        }
        for (uint32_t i = 1; i < m.n; i++)
            assert_true(m.price[i] <= m.price[i - 1]);
    }
}

static void arms_beyond_the_steps_of_a_menu_still_end_at_the_best(void **unused)
{
    (void)unused;
    enum { MANY = 40 };
    struct score s[MANY];
    float cost[MANY];
    float work[PACING_WORK(MANY)];
    struct pacing_menu m;
    for (uint32_t i = 0; i < MANY; i++) { /* All on the hull: sqrt is concave. */
        cost[i] = (float)(1 + i);
        s[i] = (struct score){.mean = sqrtf((float)i)};
    }
    pacing_apply(0, cost, MANY, 0, s, work, &m);
    assert_int_equal(m.n, PACING_STEPS);
    double sum = m.base;
    for (uint32_t i = 0; i < m.n; i++)
        sum += m.cost[i];
    assert_near(sum, MANY, 1e-6);
}

static void the_price_is_taken_off_the_mean_and_the_width_counts_where_it_is_added(void **unused)
{
    (void)unused;
    struct score s[2] = {{.mean = .5F, .width = .1F}, {.mean = .5F, .width = .5F}};
    const float cost[2] = {1, 3};
    float work[PACING_WORK(2)];
    struct pacing_menu m;
    pacing_apply(0, cost, 2, 0, s, work, &m);
    assert_int_equal(m.n, 0); /* As good without the width: no step upwards. */
    pacing_apply(.25, cost, 2, 1, s, work, &m);
    assert_int_equal(m.n, 1);
    assert_near(m.price[0], .2, 1e-6);
    assert_near(s[0].mean, .25, 1e-6);
    assert_near(s[1].mean, -.25, 1e-6);
}

/* min { l : mean cost at l <= room } by bisection over the last contexts. */
static double solved(uint64_t from, uint64_t to, double room)
{
    double low = 0, high = 1000;
    for (int k = 0; k < 60; k++) {
        double middle = (low + high) / 2, sum = 0;
        for (uint64_t i = from; i < to; i++) {
            struct context c = random_context(i);
            sum += (double)c.cost[best_at(&c, middle)];
        }
        if (sum / (double)(to - from) <= room)
            high = middle;
        else
            low = middle;
    }
    return high;
}

static void the_price_is_the_one_that_bisection_finds_over_the_window(void **unused)
{
    (void)unused;
    const double budgets[] = {.5, 1, 3, 6};
    for (size_t b = 0; b < sizeof budgets / sizeof *budgets; b++) {
        struct account a;
        open_account(&a, budgets[b]);
        for (uint64_t i = 0; i < 700; i++) {
            struct context c = random_context(i);
            struct pacing_menu m = menu_of(&c);
            a.p.bank = 4; /* One budget comes and one goes: the bank stays at the reserve, 5. */
            pacing_charge(&a.p, &m, 0);
        }
        a.p.bank = 5;
        double expected = solved(700 - PACING_W, 700, budgets[b]);
        /* A bin is 1/16 of an octave wide, at most 6.25 %; the room of a window of 256 moves it a
         * little more. */
        assert_near(pacing_terms(&a.p).lambda, expected, .08 * expected + 1e-9);
    }
}

static void a_window_gone_by_leaves_nothing_behind(void **unused)
{
    (void)unused;
    struct account a, fresh;
    open_account(&a, 1);
    open_account(&fresh, 1);
    for (uint64_t i = 0; i < 5000; i++) {
        struct context c = random_context(i);
        struct pacing_menu m = menu_of(&c);
        pacing_charge(&a.p, &m, rng_uniform(3, i) * 40);
        a.p.bank = 0;
        if (i < 5000 - PACING_W)
            continue;
        pacing_charge(&fresh.p, &m, 1);
        fresh.p.bank = 0;
    }
    struct context c = random_context(1);
    struct pacing_menu m = menu_of(&c);
    pacing_charge(&a.p, &m, 1);
    pacing_charge(&fresh.p, &m, 1);
    assert_memory_equal(a.p.bin, fresh.p.bin, sizeof a.p.bin);
    assert_int_equal(a.p.base, fresh.p.base);
    assert_true(a.p.lambda == fresh.p.lambda); /* The same integers, the same arithmetic. */
}

/* Plays n requests; predictions are `bias` times the truth. Returns the true mean cost. */
static double play(struct account *a, uint64_t from, uint64_t n, double bias)
{
    double spent = 0;
    for (uint64_t i = from; i < from + n; i++) {
        struct context c = random_context(i);
        double truth[ARMS];
        for (uint32_t k = 0; k < ARMS; k++) {
            truth[k] = (double)c.cost[k];
            c.cost[k] = (float)(truth[k] * bias);
        }
        struct pacing_terms t = pacing_terms(&a->p);
        struct pacing_menu m = menu_of(&c);
        uint32_t k = best_at(&c, t.lambda);
        if (t.cheapest_only || (double)c.cost[k] > t.affordable)
            k = 0;
        pacing_charge(&a->p, &m, (double)c.cost[k]);
        pacing_correct(&a->p, (double)c.cost[k], truth[k]);
        spent += truth[k];
    }
    return spent / (double)n;
}

static void the_mean_spend_is_the_budget_even_when_predictions_are_off_by_a_third(void **unused)
{
    (void)unused;
    const double biases[] = {.75, 1, 1.5};
    for (int b = 0; b < 3; b++) {
        struct account a;
        open_account(&a, 2);
        play(&a, 0, 2000, biases[b]);
        double mean = play(&a, 2000, 4000, biases[b]);
        assert_near(mean, 2, .03); /* The bank may move by 60 B: 60 / 4000. */
    }
}

static void a_change_of_the_budget_holds_from_then_on_and_keeps_the_window(void **unused)
{
    (void)unused;
    struct account a, b;
    open_account(&a, 4);
    open_account(&b, 1);
    play(&a, 0, 1000, 1);
    pacing_set(&a.p, 1, 2);
    assert_int_equal(a.p.used, PACING_W);
    for (uint64_t i = 1000 - PACING_W; i < 1000; i++) {
        struct context c = random_context(i);
        struct pacing_menu m = menu_of(&c);
        pacing_charge(&b.p, &m, 1);
    }
    /* The same contexts in other units; costs rounded to 2^-20 twice. */
    assert_near((double)a.p.base, (double)b.p.base, 4 * PACING_W);
    assert_false(a.p.tripped); /* What was within the old budget is no offence. */
    a.p.bank = 0;
    double mean = play(&a, 2000, 3000, 1);
    assert_near(mean, 1, .03);
}

static void a_dear_arm_needs_a_bank_or_an_advance_that_the_cheapest_can_pay_back(void **unused)
{
    (void)unused;
    struct account a;
    struct pacing_menu cheap = {.base = 0}, dear = {.base = 1};
    open_account(&a, 1);
    /* Before any context is known nothing beyond the budget is. */
    assert_near(pacing_terms(&a.p).affordable, 1, 0);
    for (int i = 0; i < 4 * PACING_W; i++)
        pacing_charge(&a.p, &cheap, 1);
    assert_near(pacing_terms(&a.p).affordable, 60, 6);
    pacing_charge(&a.p, &cheap, 41);
    assert_near(pacing_terms(&a.p).affordable, 20, 6);
    for (int i = 0; i < 4 * PACING_W; i++)
        pacing_charge(&a.p, &dear, 0);
    /* The bank is full; but the cheapest arm takes it all. */
    assert_near(a.p.bank, 20, 0);
    assert_near(pacing_terms(&a.p).affordable, 1, 0);
}

static void
the_breaker_trips_above_the_ceiling_and_holds_until_the_mean_is_the_budget(void **unused)
{
    (void)unused;
    struct account a;
    struct pacing_menu m = {.base = .1};
    open_account(&a, 1);
    uint32_t tripped = 0;
    while (!a.p.tripped && tripped < 10000) {
        pacing_charge(&a.p, &m, 4);
        tripped++;
    }
    /* Half of 4 of a decaying mean over 256: 256 ln 2 = 177 requests. */
    assert_in_range(tripped, 170, 185);
    assert_true(pacing_terms(&a.p).cheapest_only);
    while (a.p.spend > 1) {
        assert_true(pacing_terms(&a.p).cheapest_only);
        pacing_charge(&a.p, &m, .1);
    }
    assert_false(pacing_terms(&a.p).cheapest_only);
    /* One absurd report trips it, and is got over. */
    pacing_correct(&a.p, 1, 1e300);
    assert_true(pacing_terms(&a.p).cheapest_only);
    uint32_t after = 0;
    for (; a.p.tripped && after < 10000; after++)
        pacing_charge(&a.p, &m, .1);
    assert_in_range(after, 100, 1000);
}

static void what_is_kept_is_taken_up_again_under_another_budget_too(void **unused)
{
    (void)unused;
    struct account a, b;
    open_account(&a, 2);
    play(&a, 0, 1000, 1.2);
    a.p.bank = -8;
    struct pacing_kept kept = pacing_keep(&a.p);
    open_account(&b, 4);
    pacing_restore(&b.p, &kept);
    assert_near(b.p.bank, -4, 1e-9);
    assert_near(b.p.spend, a.p.spend, 1e-9);
    assert_near(pacing_terms(&b.p).lambda, pacing_terms(&a.p).lambda, 1e-9);
    assert_int_equal(b.p.used, 0);
    kept.bank = (double)NAN;
    open_account(&b, 4);
    pacing_restore(&b.p, &kept);
    assert_near(b.p.bank, 0, 0);
    kept.bank = 1;
    kept.lambda = -1;
    pacing_restore(&b.p, &kept);
    assert_near(b.p.bank, 0, 0);
}

static void forgetting_the_window_keeps_the_price(void **unused)
{
    (void)unused;
    struct account a;
    open_account(&a, 1);
    play(&a, 0, 500, 1);
    double lambda = pacing_terms(&a.p).lambda;
    assert_true(lambda > 0);
    pacing_forget(&a.p);
    assert_true(pacing_terms(&a.p).lambda == lambda);
    assert_near(play(&a, 500, 4000, 1), 1, .03);
}

static float as_float(double v)
{
    return v > (double)FLT_MAX / 4 ? FLT_MAX / 4 : (float)v;
}

static void figures_out_of_all_proportion_leave_the_state_finite(void **unused)
{
    (void)unused;
    const double odd[] = {0, 1e-300, 1e-12, 1e12, 1e300, (double)FLT_MAX};
    enum { N = sizeof odd / sizeof *odd };
    struct account a;
    for (int b = 1; b < N; b++) {
        open_account(&a, odd[b]);
        for (uint64_t i = 0; i < 2000; i++) {
            struct score s[3];
            float cost[3];
            float work[PACING_WORK(3)];
            struct pacing_menu m;
            for (uint64_t k = 0; k < 3; k++) {
                s[k].mean = as_float(odd[rng_below((uint64_t)b, 6 * i + k, N)]);
                s[k].width = 0;
                cost[k] = as_float(odd[rng_below((uint64_t)b, 6 * i + 3 + k, N)]);
            }
            pacing_apply(0, cost, 3, 1, s, work, &m);
            pacing_charge(&a.p, &m, (double)cost[i % 3]);
            pacing_correct(&a.p, (double)cost[i % 3], odd[i % N]);
            assert_true(isfinite(a.p.bank) && isfinite(a.p.spend) && isfinite(a.p.lambda));
            assert_true(isfinite(a.p.charged) && isfinite(a.p.cost));
        }
    }
}

/* ---- predictions ---- */

struct scene {
    struct given g;
    struct snapshot *s;
    const struct router_view *r;
};

static const float x0[GIVEN_D] = {1};

static void open_scene(struct scene *c, bool logarithmic)
{
    struct router_config config;
    given_config(&config);
    if (logarithmic) {
        config.metrics[COST].logarithmic = true;
        config.metrics[COST].norm_low = 1e-4;
    }
    config.metrics[COST].norm_high = 1;
    memset(c, 0, sizeof *c);
    given_open(&c->g, &config);
}

static void look(struct scene *c)
{
    snapshot_free(c->s);
    c->s = NULL;
    assert_int_equal(snapshot_build(c->g.model, NULL, &c->s), OK);
    c->r = c->s->routers[0];
}

static void close_scene(struct scene *c)
{
    snapshot_free(c->s);
    given_close(&c->g);
}

static void report_cost(struct scene *c, uint32_t arm, double raw)
{
    struct decision d = given_decision(&c->g, arm, c->g.ids);
    struct event *e = &c->g.event;
    memset(e, 0, sizeof *e);
    e->kind = EVENT_OUTCOME;
    e->u.outcome.decision = d;
    memcpy(e->u.outcome.decision.x, x0, sizeof x0);
    const struct metric_def *def = &c->g.router->config.metrics[COST];
    e->u.outcome.metrics[0] = (struct outcome_metric){COST, raw, metric_normalise(def, raw)};
    e->u.outcome.metrics_n = 1;
    assert_int_equal(given_fold(&c->g).err, OK);
}

static void predictions_are_in_the_raw_unit_whatever_the_scale_of_the_metric(void **unused)
{
    (void)unused;
    for (int logarithmic = 0; logarithmic < 2; logarithmic++) {
        struct scene c;
        open_scene(&c, logarithmic);
        uint32_t a = given_arm(&c.g, "a"), b = given_arm(&c.g, "b");
        for (int i = 0; i < 200; i++) {
            report_cost(&c, a, i % 2 ? .001 : .003);
            report_cost(&c, b, i % 4 ? 1 : 5); /* Past the end of the interval: saturates. */
        }
        look(&c);
        const struct eligible arms[2] = {{.index = 0}, {.index = 1}};
        float cost[2];
        pacing_costs(c.r, COST, x0, 1, arms, 2, cost);
        /* All outcomes share one context; the ridge leaves a thousandth. */
        assert_near((double)cost[0], .002, .002 * .01);
        assert_near((double)cost[1], 2, 2 * .01);
        close_scene(&c);
    }
}

static void
an_arm_without_a_price_counts_as_the_dearest_but_two_pulls_are_free_of_need(void **unused)
{
    (void)unused;
    struct scene c;
    open_scene(&c, false);
    uint32_t a = given_arm(&c.g, "a");
    (void)given_arm(&c.g, "b");
    look(&c);
    struct eligible arms[2] = {{.index = 0}, {.index = 1}};
    const struct pacing_terms t = {.budget = .001, .affordable = .001};
    float cost[2];
    /* Nobody's cost is known: nothing binds. */
    pacing_costs(c.r, COST, x0, t.budget, arms, 2, cost);
    assert_true(cost[0] == 0 && cost[1] == 0);
    assert_int_equal(pacing_filter(c.r, COST, &t, arms, cost, 2, NULL), 2);
    /* The one that is known costs 50 B: the other one is tried, twice. */
    report_cost(&c, a, .05);
    look(&c);
    pacing_costs(c.r, COST, x0, t.budget, arms, 2, cost);
    assert_near((double)cost[1], .05, .001);
    cost[1] = .06F;
    arms[1].issued = 1;
    assert_int_equal(pacing_filter(c.r, COST, &t, arms, cost, 2, NULL), 2);
    const struct pacing_terms tripped = {.budget = .001, .affordable = .001, .cheapest_only = true};
    assert_int_equal(pacing_filter(c.r, COST, &tripped, arms, cost, 2, NULL), 2);
    arms[1].issued = 2;
    assert_int_equal(pacing_filter(c.r, COST, &t, arms, cost, 2, NULL), 1);
    close_scene(&c);
    /* The one that is known is cheap: no trial that cannot be afforded. */
    open_scene(&c, false);
    a = given_arm(&c.g, "a");
    (void)given_arm(&c.g, "b");
    report_cost(&c, a, .0005);
    look(&c);
    arms[1] = (struct eligible){.index = 1};
    pacing_costs(c.r, COST, x0, t.budget, arms, 2, cost);
    assert_near((double)cost[1], .01, 1e-6); /* 10 B */
    assert_int_equal(pacing_filter(c.r, COST, &t, arms, cost, 2, NULL), 1);
    assert_int_equal(arms[0].index, 0);
    close_scene(&c);
}

static void only_affordable_arms_stay_and_the_cheapest_always_does(void **unused)
{
    (void)unused;
    struct scene c;
    open_scene(&c, false);
    uint32_t uid[3] = {given_arm(&c.g, "a"), given_arm(&c.g, "b"), given_arm(&c.g, "c")};
    const double raw[3] = {.3, .1, .2};
    for (int i = 0; i < 3; i++)
        report_cost(&c, uid[i], raw[i]);
    look(&c);
    struct eligible arms[3] = {{.index = 0}, {.index = 1}, {.index = 2}};
    float cost[3] = {.3F, .1F, .2F};
    struct pacing_terms t = {.budget = .05, .affordable = .25};
    assert_int_equal(pacing_filter(c.r, COST, &t, arms, cost, 3, NULL), 2);
    assert_int_equal(arms[0].index, 1);
    assert_int_equal(arms[1].index, 2);
    assert_true(cost[1] == .2F);
    t.affordable = .05;
    assert_int_equal(pacing_filter(c.r, COST, &t, arms, cost, 2, NULL), 1);
    assert_int_equal(arms[0].index, 1);
    t = (struct pacing_terms){.budget = 1, .affordable = 60, .cheapest_only = true};
    struct eligible again[3] = {{.index = 0}, {.index = 1}, {.index = 2}};
    float costs[3] = {.3F, .1F, .2F};
    assert_int_equal(pacing_filter(c.r, COST, &t, again, costs, 3, NULL), 1);
    assert_int_equal(again[0].index, 1);
    close_scene(&c);
}

/* b was seen once, at fifty budgets; c never; d declares that it is dear. */
static void an_arm_that_the_gate_leaves_out_stays_on_trial_while_its_cost_is_unsure(void **unused)
{
    (void)unused;
    struct scene c;
    open_scene(&c, false);
    uint32_t a = given_arm(&c.g, "a"), b = given_arm(&c.g, "b"), trials = 9;
    (void)given_arm(&c.g, "c");
    memset(&c.g.event, 0, sizeof c.g.event);
    c.g.event.kind = EVENT_ARM_ADD;
    c.g.event.u.arm.router_uid = c.g.router->uid;
    (void)snprintf(c.g.event.u.arm.config.name, NAME_CAP, "d");
    c.g.event.u.arm.config.prior_mask = 1U << COST;
    c.g.event.u.arm.config.prior_raw[COST] = .5;
    c.g.event.u.arm.config.prior_z[COST] = .5;
    assert_int_equal(given_fold(&c.g).err, OK);
    report_cost(&c, a, .001);
    report_cost(&c, b, .05);
    for (int i = 0; i < 2; i++) {
        look(&c);
        struct eligible arms[4] = {{.index = 3}, {.index = 1}, {.index = 2}, {.index = 0}};
        float cost[4];
        struct pacing_terms t = {.budget = .001, .affordable = .003};
        pacing_costs(c.r, COST, x0, t.budget, arms, 4, cost);
        assert_int_equal(pacing_filter(c.r, COST, &t, arms, cost, 4, &trials), 1);
        assert_int_equal(arms[0].index, 0);
        assert_int_equal(trials, i == 0 ? 2 : 1);
        bool b_tried = arms[1].index == 1 || (trials == 2 && arms[2].index == 1);
        assert_int_equal(b_tried, i == 0);
        /* Together they cost three thousandths of the budget. */
        float mass[4];
        double spent = 0;
        (void)probe_trials(cost + 1, trials, t.budget, mass);
        for (uint32_t k = 0; k < trials; k++)
            spent += (double)mass[k] * (double)cost[1 + k] / t.budget;
        assert_near(spent, .003, 1e-6);
        /* Nothing to spare, or the breaker: no trials. */
        t.affordable = .001;
        assert_int_equal(pacing_filter(c.r, COST, &t, arms, cost, 4, &trials), 1);
        assert_int_equal(trials, 0);
        t = (struct pacing_terms){.budget = .001, .affordable = .003, .cheapest_only = true};
        (void)pacing_filter(c.r, COST, &t, arms, cost, 4, &trials);
        assert_int_equal(trials, 0);
        for (int k = 0; k < 4; k++)
            report_cost(&c, b, .05); /* Now it is sure. */
    }
    close_scene(&c);
}

static void a_guess_about_an_unknown_arm_proves_nothing_of_predictions(void **unused)
{
    (void)unused;
    struct pacing p;
    struct pacing_slot slots[4];
    pacing_init(&p, 1, 2, slots, 4);
    pacing_correct(&p, 10, 180); /* Charged as dear as 10 B since nobody knew. */
    p.bank = 0;
    double guessed = pacing_rate(&p);
    pacing_init(&p, 1, 2, slots, 4);
    p.bank = 0;
    assert_near(guessed, pacing_rate(&p), 1e-12);
    pacing_correct(&p, 2, 4); /* A prediction that was too low. */
    p.bank = 0;
    assert_true(pacing_rate(&p) < guessed);
}

/* With gamma < 1 the mean of long ago has faded from predictions, and so from costs. */
static void what_an_arm_cost_long_ago_is_forgotten_as_predictions_forget(void **unused)
{
    (void)unused;
    struct scene c;
    open_scene(&c, false);
    c.g.router->config.settings.gamma = .9;
    c.g.router->gamma_before = .9;
    uint32_t a = given_arm(&c.g, "a");
    for (int i = 0; i < 200; i++)
        report_cost(&c, a, i < 150 ? .4 : .1);
    look(&c);
    const struct eligible arms[1] = {{.index = 0}};
    float cost[1];
    assert_true(c.r->arms[0]->mean_raw[COST] > .3);
    pacing_costs(c.r, COST, x0, 1, arms, 1, cost);
    assert_near((double)cost[0], .1, .01);
    close_scene(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_menu_spends_at_every_price_what_the_best_choice_spends),
        cmocka_unit_test(arms_beyond_the_steps_of_a_menu_still_end_at_the_best),
        cmocka_unit_test(the_price_is_taken_off_the_mean_and_the_width_counts_where_it_is_added),
        cmocka_unit_test(the_price_is_the_one_that_bisection_finds_over_the_window),
        cmocka_unit_test(a_window_gone_by_leaves_nothing_behind),
        cmocka_unit_test(the_mean_spend_is_the_budget_even_when_predictions_are_off_by_a_third),
        cmocka_unit_test(a_change_of_the_budget_holds_from_then_on_and_keeps_the_window),
        cmocka_unit_test(a_dear_arm_needs_a_bank_or_an_advance_that_the_cheapest_can_pay_back),
        cmocka_unit_test(
            the_breaker_trips_above_the_ceiling_and_holds_until_the_mean_is_the_budget),
        cmocka_unit_test(what_is_kept_is_taken_up_again_under_another_budget_too),
        cmocka_unit_test(forgetting_the_window_keeps_the_price),
        cmocka_unit_test(figures_out_of_all_proportion_leave_the_state_finite),
        cmocka_unit_test(predictions_are_in_the_raw_unit_whatever_the_scale_of_the_metric),
        cmocka_unit_test(
            an_arm_without_a_price_counts_as_the_dearest_but_two_pulls_are_free_of_need),
        cmocka_unit_test(only_affordable_arms_stay_and_the_cheapest_always_does),
        cmocka_unit_test(an_arm_that_the_gate_leaves_out_stays_on_trial_while_its_cost_is_unsure),
        cmocka_unit_test(a_guess_about_an_unknown_arm_proves_nothing_of_predictions),
        cmocka_unit_test(what_an_arm_cost_long_ago_is_forgotten_as_predictions_forget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
