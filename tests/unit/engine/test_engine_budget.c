#include "server/route/eligible.h"
#include "state/base/rng.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/engine/served.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Arms and their true cost in US$: small, middle, large; quality grows with it. */
static const char *const names[] = {"small", "middle", "large"};
static const double costs[] = {.001, .004, .04};
static const double rewards[] = {.5, .7, .9};

static void budgeted(struct router_config *c)
{
    strcpy(c->settings.budget_metric, "cost_usd");
    c->settings.budget_per_request = .004;
}

static void add_arm(struct served *s, int i, double factor)
{
    struct arm_config a;
    memset(&a, 0, sizeof a);
    (void)snprintf(a.name, sizeof a.name, "%s", names[i]);
    a.prior_mask = 1U << 2;
    a.prior_raw[2] = a.prior_z[2] = factor * costs[i];
    if (engine_arm_add(s->w, text("default"), &a, &s->detail) != OK)
        fail_msg("%s", s->detail.text);
}

static void open_with(struct served *s, void (*set)(struct router_config *c))
{
    served_open(s);
    served_router(s, "default", set);
    for (int i = 0; i < 3; i++)
        add_arm(s, i, 1);
}

static int arm_of(const struct served *s)
{
    for (int i = 0; i < 3; i++)
        if (strcmp(s->route->arm, names[i]) == 0)
            return i;
    fail_msg("arm %s", s->route->arm);
    return 0;
}

/* Four kinds of question; the dearer an arm, the more it gains on the higher ones. */
static const char *const tasks[] = {"chat", "facts", "maths", "code"};
static uint64_t asked;

static double reward_of(int arm)
{
    double kind = (double)(asked % 4) / 3, noise = .1 * (rng_uniform(9, asked) - .5);
    return rewards[arm] - .1 + (arm > 0 ? .2 * (kind - .5) : 0) + noise;
}

static void ask_as(struct served *s, const char *tenant)
{
    struct route_in in = {.text = text("What is two and two?"),
                          .task = text(tasks[++asked % 4]),
                          .max_ranked = 3,
                          .explain = true,
                          .tenant = text(tenant)};
    if (served_ask(s, &in) != OK)
        fail_msg("%s", s->detail.text);
}

/* The account of a tenant, or of the router ("-"). */
static struct budget_info account_of(struct served *s, const char *tenant)
{
    static struct budget_info all[16];
    uint32_t n, total;
    assert_int_equal(
        engine_budgets(s->w, text("default"), text(""), all, 16, &n, &total, &s->detail), OK);
    for (uint32_t i = 0; i < n; i++)
        if (strcmp(all[i].tenant, strcmp(tenant, "-") == 0 ? "" : tenant) == 0)
            return all[i];
    fail_msg("no budget of %s", tenant);
    return all[0];
}

static double paid(struct served *s, const char *tenant)
{
    return account_of(s, tenant).account.saved.totals.paid;
}

static void set_tenant(struct served *s, const char *tenant, const char *metric, double each)
{
    if (engine_tenant_set(s->w, text("default"), text(tenant), text(metric), each, 2, &s->detail) !=
        OK)
        fail_msg("%s", s->detail.text);
}

/* Asks and reports the true cost; every other decision is never rated. */
static double play(struct served *s, const char *tenant, int n, double factor)
{
    double spent = 0;
    for (int i = 0; i < n; i++) {
        ask_as(s, tenant);
        int arm = arm_of(s);
        double cost = factor * costs[arm] * (.8 + .4 * rng_uniform(5, (uint64_t)i));
        spent += cost;
        assert_int_equal(served_tell(s, "cost_usd", cost, OUTCOME_OK), OK);
        if (i % 2)
            assert_int_equal(served_tell(s, "reward", reward_of(arm), OUTCOME_OK), OK);
    }
    return spent / n;
}

static void spend_goes_to_the_budget_and_what_it_can_buy_is_bought(void **state)
{
    (void)state;
    struct served s;
    open_with(&s, budgeted);
    (void)play(&s, "", 300, 1);
    double mean = play(&s, "", 700, 1);
    assert_true(mean > .8 * .004 && mean < 1.04 * .004);
    struct budget_info b = account_of(&s, "-");
    assert_int_equal(b.account.saved.totals.requests, 1000);
    assert_int_equal(b.account.saved.totals.corrected, 1000);
    assert_true(b.account.terms.lambda > 0);
    served_close(&s);
}

static void a_true_cost_corrects_the_charge_exactly_once(void **state)
{
    (void)state;
    struct served s;
    open_with(&s, budgeted);
    ask_as(&s, "");
    assert_true(s.route->budget.paced && s.route->budget.is_charged);
    double charged = s.route->budget.charged;
    assert_true(charged > 0 && paid(&s, "-") == charged);
    assert_int_equal(served_tell(&s, "reward", .5, OUTCOME_OK), OK);
    assert_true(paid(&s, "-") == charged);
    assert_int_equal(served_tell(&s, "cost_usd", .5, OUTCOME_OK), OK);
    assert_true(fabs(paid(&s, "-") - .5) < 1e-12);
    assert_int_equal(served_tell(&s, "cost_usd", .5, OUTCOME_OK), OK);
    assert_true(s.report.duplicate);
    assert_true(fabs(paid(&s, "-") - .5) < 1e-12);
    assert_int_equal(account_of(&s, "-").account.saved.totals.corrected, 1);
    served_close(&s);
}

static void a_report_without_a_token_corrects_by_the_decision_log(void **state)
{
    (void)state;
    struct served s;
    open_with(&s, budgeted);
    set_tenant(&s, "acme", "cost_usd", .002);
    ask_as(&s, "acme");
    struct engine_weight m = {text("cost_usd"), .25};
    struct report_in in = {
        .decision_id = text(s.route->decision_id), .metrics = &m, .metrics_n = 1};
    assert_int_equal(served_report(&s, &in), OK);
    assert_true(fabs(paid(&s, "acme") - .25) < 1e-12);
    served_close(&s);
}

static void a_callers_id_sent_again_and_a_dry_run_are_not_charged(void **state)
{
    (void)state;
    struct served s;
    open_with(&s, budgeted);
    struct route_in in = {.text = text("x"),
                          .decision_id = text("01234567-89ab-4def-8123-456789abcdef"),
                          .body = text("x"),
                          .explain = true};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(served_ask(&s, &in), OK);
        assert_true(s.route->budget.paced);
        assert_int_equal(account_of(&s, "-").account.saved.totals.requests, 1);
    }
    in.dry_run = true;
    assert_int_equal(served_ask(&s, &in), OK);
    assert_true(s.route->budget.paced && !s.route->budget.is_charged);
    in = (struct route_in){
        .text = text("x"), .candidates = &(struct slice){"none", 4}, .candidates_n = 1};
    assert_int_equal(served_ask(&s, &in), ERR_ARM_NOT_FOUND);
    assert_int_equal(account_of(&s, "-").account.saved.totals.requests, 1);
    served_close(&s);
}

static void a_restart_keeps_every_account(void **state)
{
    (void)state;
    struct served s;
    open_with(&s, budgeted);
    set_tenant(&s, "acme", "cost_usd", .002);
    set_tenant(&s, "zeta", "latency_ms", 500);
    (void)play(&s, "", 50, 1);
    (void)play(&s, "acme", 50, 3);
    struct budget_info before[2] = {account_of(&s, "-"), account_of(&s, "acme")};
    served_again(&s);
    struct budget_info after[2] = {account_of(&s, "-"), account_of(&s, "acme")};
    for (int i = 0; i < 2; i++) {
        const struct pacer_saved *a = &before[i].account.saved, *b = &after[i].account.saved;
        assert_memory_equal(&a->totals, &b->totals, sizeof a->totals);
        assert_true(a->kept.bank == b->kept.bank && a->kept.spend == b->kept.spend);
        assert_true(fabs(before[i].account.terms.lambda - after[i].account.terms.lambda) <=
                    1e-9 * before[i].account.terms.lambda);
    }
    assert_false(account_of(&s, "zeta").has_account);
    served_verify(&s);
    served_close(&s);
}

static void tenants_do_not_pay_for_one_another(void **state)
{
    (void)state;
    struct served s;
    open_with(&s, budgeted);
    set_tenant(&s, "rich", "cost_usd", .1);
    set_tenant(&s, "poor", "cost_usd", .001);
    for (int i = 0; i < 30; i++) {
        (void)play(&s, "rich", 5, 1);
        (void)play(&s, "poor", 5, 1);
        (void)play(&s, "stranger", 5, 1);
    }
    (void)play(&s, "", 5, 1);
    assert_int_equal(account_of(&s, "rich").account.saved.totals.requests, 150);
    assert_int_equal(account_of(&s, "poor").account.saved.totals.requests, 150);
    assert_int_equal(account_of(&s, "-").account.saved.totals.requests, 155);
    assert_true(paid(&s, "rich") / 150 > .02); /* The large arm is the best. */
    assert_true(paid(&s, "poor") / 150 < .0013);
    assert_int_equal(engine_tenant_remove(s.w, text("default"), text("rich"), &s.detail), OK);
    ask_as(&s, "rich");
    assert_true(s.route->budget.tenant[0] == '\0');
    assert_int_equal(account_of(&s, "-").account.saved.totals.requests, 156);
    assert_int_equal(engine_tenant_remove(s.w, text("default"), text("rich"), &s.detail),
                     ERR_TENANT_NOT_FOUND);
    served_close(&s);
}

static void what_is_not_affordable_is_named_in_the_answer_and_in_the_log(void **state)
{
    (void)state;
    struct served s;
    struct explain_out e;
    open_with(&s, budgeted);
    set_tenant(&s, "poor", "cost_usd", .001);
    (void)play(&s, "poor", 20, 1);
    ask_as(&s, "poor");
    assert_string_equal(s.route->arm, "small");
    assert_int_equal(s.route->excluded_n, 2);
    assert_int_equal(s.route->excluded[1].why, 13);
    assert_string_equal(s.route->excluded[1].name, "large");
    assert_non_null(strstr(s.route->excluded[1].detail, "affordable now"));
    assert_int_equal(engine_explain(s.w, text(s.route->decision_id), &e, &s.detail), OK);
    assert_true(e.budget.paced && e.budget.is_charged);
    assert_string_equal(e.budget.tenant, "poor");
    assert_string_equal(e.budget.metric, "cost_usd");
    assert_true(e.budget.lambda == s.route->budget.lambda);
    assert_int_equal(e.unaffordable_n, 2);
    assert_string_equal(e.unaffordable[0].name, "middle");
    explain_out_done(&e);
    served_close(&s);
}

static double sum_of(const struct shown_terms *t)
{
    double sum = (double)t->silence + (double)t->charge + (double)t->pacing;
    for (int m = 0; m < MAX_METRICS; m++)
        sum += (double)t->contribution[m];
    return sum;
}

static void terms_sum_to_the_mean_with_the_price(void **state)
{
    (void)state;
    struct served s;
    struct explain_out e;
    bool priced = false;
    open_with(&s, budgeted);
    for (int i = 0; i < 20; i++) {
        (void)play(&s, "", 10, 1);
        ask_as(&s, "");
        for (uint32_t k = 0; k < s.route->ranked_n; k++) {
            const struct ranked_arm *r = &s.route->ranked[k];
            assert_true(fabs(sum_of(&r->terms) - r->mean) < 2e-6);
            priced = priced || r->terms.pacing < -.01F;
        }
        assert_int_equal(engine_explain(s.w, text(s.route->decision_id), &e, &s.detail), OK);
        for (uint32_t k = 0; k < e.arms_n; k++)
            assert_true(fabs(sum_of(&e.arms[k].terms) - e.arms[k].mean) < 2e-6);
        explain_out_done(&e);
    }
    assert_true(priced);
    served_close(&s);
}

/* small fails into cooldown; large, dearer than the account affords, fails too: only small may be
 * probed. */
static void cooling(struct router_config *c)
{
    budgeted(c);
    c->settings.budget_per_request = .0012;
    c->settings.cooldown_failures = 1;
    c->settings.cooldown_s = 1e-6;
    c->settings.explore_floor = 0;
}

static void a_probe_must_be_affordable_too(void **state)
{
    (void)state;
    struct served s;
    int probes[3] = {0};
    open_with(&s, cooling);
    struct slice large = {"large", 5}, small = {"small", 5};
    for (int i = 0; i < 2; i++) { /* Named alone, each is the cheapest there is. */
        struct route_in in = {
            .text = text("x"), .candidates = i ? &large : &small, .candidates_n = 1};
        assert_int_equal(served_ask(&s, &in), OK);
        assert_int_equal(served_tell(&s, "cost_usd", costs[arm_of(&s)], OUTCOME_ERROR), OK);
    }
    for (int i = 0; i < 60; i++) {
        ask_as(&s, "");
        probes[arm_of(&s)] += s.route->reason == 5;
        assert_int_equal(s.route->reason == 5 ? s.route->propensity == 1 : 1, 1);
        assert_int_equal(served_tell(&s, "cost_usd", costs[arm_of(&s)], OUTCOME_ERROR), OK);
    }
    assert_true(probes[0] > 0);
    assert_int_equal(probes[2], 0);
    served_close(&s);
}

static void another_metric_begins_another_account(void **state)
{
    (void)state;
    struct served s;
    open_with(&s, budgeted);
    set_tenant(&s, "acme", "cost_usd", .002);
    (void)play(&s, "acme", 10, 1);
    ask_as(&s, "acme");
    set_tenant(&s, "acme", "latency_ms", 100);
    assert_false(account_of(&s, "acme").has_account);
    /* The decision before the change is of an account that is gone. */
    assert_int_equal(served_tell(&s, "cost_usd", .5, OUTCOME_OK), OK);
    assert_false(account_of(&s, "acme").has_account);
    ask_as(&s, "acme");
    assert_string_equal(s.route->budget.metric, "latency_ms");
    assert_int_equal(account_of(&s, "acme").account.saved.totals.requests, 1);
    served_close(&s);
}

static void apprentice(struct router_config *c)
{
    budgeted(c);
    c->settings.mode = MODE_APPRENTICE;
    strcpy(c->settings.baseline_arm, "large");
}

static void logging(struct router_config *c)
{
    apprentice(c);
    c->settings.mode = MODE_LOGGING_ONLY;
}

static void a_baseline_answers_whatever_it_costs_and_pays_from_no_account(void **state)
{
    (void)state;
    struct served s;
    open_with(&s, apprentice);
    for (int i = 0; i < 100; i++) {
        ask_as(&s, "");
        assert_string_equal(s.route->arm, "large");
        assert_false(s.route->budget.is_charged);
        assert_int_equal(served_tell(&s, "cost_usd", costs[2], OUTCOME_OK), OK);
    }
    /* What the policy would have spent: the price that a promotion finds. */
    struct budget_info b = account_of(&s, "-");
    assert_int_equal(b.account.saved.totals.requests, 100);
    assert_int_equal(b.account.saved.totals.corrected, 0);
    assert_true(b.account.saved.totals.paid / 100 < .01);
    served_close(&s);
    open_with(&s, logging);
    ask_as(&s, "");
    assert_string_equal(s.route->arm, "large");
    assert_false(account_of(&s, "-").has_account);
    served_close(&s);
}

static void forgetting(struct router_config *c)
{
    budgeted(c);
    c->settings.budget_per_request = .002;
    c->settings.gamma = .98;
}

/* Of the next n requests, those for an arm; the middle one costs what it is told to. */
static uint32_t share_of(struct served *s, int n, int arm, double middle)
{
    uint32_t got = 0;
    for (int i = 0; i < n; i++) {
        ask_as(s, "");
        int a = arm_of(s);
        got += a == arm;
        assert_int_equal(served_tell(s, "cost_usd", a == 1 ? middle : costs[a], OUTCOME_OK), OK);
        assert_int_equal(served_tell(s, "reward", reward_of(a), OUTCOME_OK), OK);
    }
    return got;
}

static void a_price_that_drops_is_noticed_by_what_is_reported(void **state)
{
    (void)state;
    struct served s;
    open_with(&s, forgetting);
    assert_int_equal(engine_arm_pause(s.w, text("default"), text("large"), true, &s.detail), OK);
    (void)share_of(&s, 500, 1, .004); /* Until the window holds what was learned, not hoped. */
    uint32_t before = share_of(&s, 200, 1, .004);
    assert_in_range(before, 20, 100); /* A third is what the budget buys. */
    (void)share_of(&s, 200, 1, .001);
    assert_true(share_of(&s, 200, 1, .001) > 170);
    served_close(&s);
}

/* large for the price of small: declared, it is worth trying again at once. */
static void an_arm_that_is_added_again_with_its_new_price_is_bought_at_once(void **state)
{
    (void)state;
    struct served s;
    open_with(&s, budgeted);
    (void)play(&s, "", 300, 1);
    assert_int_equal(engine_arm_remove(s.w, text("default"), text("large"), &s.detail), OK);
    add_arm(&s, 2, .05);
    uint32_t got = 0;
    for (int i = 0; i < 100; i++) {
        ask_as(&s, "");
        int arm = arm_of(&s);
        got += arm == 2;
        assert_int_equal(served_tell(&s, "cost_usd", arm == 2 ? .002 : costs[arm], OUTCOME_OK), OK);
        assert_int_equal(served_tell(&s, "reward", reward_of(arm), OUTCOME_OK), OK);
    }
    assert_true(got > 60);
    served_close(&s);
}

static void a_bad_tenant_budget_is_refused_with_a_sentence(void **state)
{
    (void)state;
    struct served s;
    open_with(&s, NULL);
    const struct {
        const char *router, *tenant, *metric;
        double each, ceiling;
        enum err expected;
        const char *says;
    } rows[] = {
        {"nowhere", "t", "cost_usd", 1, 2, ERR_ROUTER_NOT_FOUND, "nowhere"},
        {"default", "no name", "cost_usd", 1, 2, ERR_BAD_NAME, "tenant"},
        {"default", "t", "cost", 1, 2, ERR_METRIC_NOT_FOUND, "cost"},
        {"default", "t", "reward", 1, 2, ERR_INVALID, "reward"},
        {"default", "t", "cost_usd", 0, 2, ERR_OUT_OF_RANGE, "per_request"},
        {"default", "t", "cost_usd", 1, 1, ERR_OUT_OF_RANGE, "ceiling"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(engine_tenant_set(s.w, text(rows[i].router), text(rows[i].tenant),
                                           text(rows[i].metric), rows[i].each, rows[i].ceiling,
                                           &s.detail),
                         rows[i].expected);
        assert_non_null(strstr(s.detail.text, rows[i].says));
    }
    struct route_in in = {.text = text("x"), .tenant = text("no name")};
    assert_int_equal(served_ask(&s, &in), ERR_BAD_NAME);
    ask_as(&s, "t"); /* Without a budget a tenant is just a name. */
    assert_false(s.route->budget.paced);
    served_close(&s);
}

/* Fault 49: whoever writes the prompts makes the dear arm the best by far on every one of them, for
 * as long as it takes. The router learns that, and the budget holds all the same: it stands outside
 * the bandit. A strict session takes no arm without a bound. */
static void prompts_that_attract_the_dear_arm_break_no_budget(void **state)
{
    (void)state;
    struct served s;
    double spent = 0;
    uint32_t dear = 0, n = 1500;
    open_with(&s, budgeted);
    for (uint32_t i = 0; i < n; i++) {
        ask_as(&s, "");
        int arm = arm_of(&s);
        dear += arm == 2;
        spent += costs[arm];
        assert_int_equal(served_tell(&s, "cost_usd", costs[arm], OUTCOME_OK), OK);
        assert_int_equal(served_tell(&s, "reward", arm == 2 ? 1 : 0, OUTCOME_OK), OK);
    }
    assert_true(dear > 0); /* It is attractive: all else is worth nothing. */
    assert_true(spent / n <= 1.02 * .004);
    struct route_in in = {.text = text("x"),
                          .session = text("s"),
                          .session_metric = text("cost_usd"),
                          .session_amount = .1,
                          .input_tokens = 10};
    assert_int_equal(served_ask(&s, &in), ERR_NO_ELIGIBLE_ARM); /* No arm declares a bound. */
    served_verify(&s);
    served_close(&s);
}

/* ---- what new arms may spend ---- */

static void newcomers_may_spend(struct router_config *c)
{
    (void)snprintf(c->settings.newcomer_metric, NAME_CAP, "cost_usd");
    c->settings.newcomer_per_hour = .025;
    c->settings.explore_floor = .2;
}

static void new_arms_spend_no_more_in_an_hour_than_their_quota(void **state)
{
    (void)state;
    struct served s;
    served_open(&s);
    served_router(&s, "default", newcomers_may_spend);
    served_arm(&s, "default", "old");
    struct arm_config dear = {.name = "dear", .prior_mask = 1U << 2};
    dear.prior_raw[2] = .01;
    dear.prior_z[2] = .01;
    /* The first arm is new as well; it serves all the same, since nobody else does. */
    for (int i = 0; i < 25; i++) {
        served_route(&s);
        assert_string_equal(s.route->arm, "old");
        assert_int_equal(served_tell(&s, "cost_usd", .0001, OUTCOME_OK), OK);
    }
    double spent = 0;
    assert_int_equal(engine_arm_add(s.w, text("default"), &dear, &s.detail), OK);
    for (int i = 0; i < 300; i++) { /* Nobody reports: it stays new. */
        served_route(&s);
        spent += s.route->arm[0] == 'd' ? .01 : 0;
    }
    /* Two pulls fit into what `old`'s first ones, at most .002, left of .025; or four where an hour
     * of the clock ended meanwhile; .2 / 2 of 300 requests would have been 30. */
    assert_in_range(lround(spent / .01), 2, 4);
    struct route_in in = {.text = text("x"), .dry_run = true};
    assert_int_equal(served_ask(&s, &in), OK);
    assert_int_equal(s.route->excluded_n, 1);
    assert_int_equal(s.route->excluded[0].why, NEWCOMERS_SPENT);
    assert_non_null(strstr(s.route->excluded[0].detail, "left of 0.025 an hour"));
    /* Alone it serves. */
    struct slice only[1] = {text("dear")};
    in = (struct route_in){.text = text("x"), .candidates = only, .candidates_n = 1};
    assert_int_equal(served_ask(&s, &in), OK);
    served_verify(&s);
    served_close(&s);
}

static void dear_arms_fail_at_once(struct router_config *c)
{
    newcomers_may_spend(c);
    c->settings.explore_floor = 0;
    c->settings.newcomer_pulls = 0;
    c->settings.cooldown_failures = 1;
    c->settings.cooldown_s = 1e-6; /* A probe is due at every request. */
}

static void add_dear(struct served *s, const char *name, double cost)
{
    struct arm_config dear = {.prior_mask = 1U << 2};
    (void)snprintf(dear.name, sizeof dear.name, "%s", name);
    dear.prior_raw[2] = dear.prior_z[2] = cost;
    assert_int_equal(engine_arm_add(s->w, text("default"), &dear, &s->detail), OK);
}

static void a_probe_of_a_new_arm_is_paid_or_waits(void **state)
{
    (void)state;
    struct served s;
    int probes = 0;
    served_open(&s);
    served_router(&s, "default", dear_arms_fail_at_once);
    served_arm(&s, "default", "old");
    for (int i = 0; i < 25; i++) { /* New as well, it pays for the first 20. */
        served_route(&s);
        assert_int_equal(served_tell(&s, "cost_usd", .0001, OUTCOME_OK), OK);
    }
    add_dear(&s, "dear", .01);
    struct slice only[1] = {text("dear")};
    const struct route_in in = {.text = text("x"), .candidates = only, .candidates_n = 1};
    assert_int_equal(served_ask(&s, &in), OK);
    assert_int_equal(served_tell(&s, "cost_usd", .01, OUTCOME_ERROR), OK);
    for (int i = 0; i < 100; i++) {
        served_route(&s);
        probes += s.route->reason == REASON_COOLDOWN_PROBE;
        assert_int_equal(s.route->arm[0] == 'd', s.route->reason == REASON_COOLDOWN_PROBE);
    }
    /* What is left pays for one more of .01, or three where an hour of the clock ended meanwhile.
     */
    assert_in_range(probes, 1, 3);
    served_close(&s);
}

static void where_no_arm_could_be_left_out_the_decision_says_how_good_the_others_are(void **state)
{
    (void)state;
    struct served s;
    struct explain_out e;
    served_open(&s);
    served_router(&s, "default", newcomers_may_spend);
    add_dear(&s, "a", .5);
    add_dear(&s, "b", .5);
    for (int i = 0; i < 20; i++) { /* Of the first, a cold start decides. */
        served_route(&s);
        assert_int_equal(s.route->excluded_n, 0);
    }
    assert_int_equal(engine_explain(s.w, text(s.route->decision_id), &e, &s.detail), OK);
    assert_int_equal(e.arms_n, 2);
    assert_true(e.decision.evaluable);
    explain_out_done(&e);
    served_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new_arms_spend_no_more_in_an_hour_than_their_quota),
        cmocka_unit_test(a_probe_of_a_new_arm_is_paid_or_waits),
        cmocka_unit_test(where_no_arm_could_be_left_out_the_decision_says_how_good_the_others_are),
        cmocka_unit_test(spend_goes_to_the_budget_and_what_it_can_buy_is_bought),
        cmocka_unit_test(a_true_cost_corrects_the_charge_exactly_once),
        cmocka_unit_test(a_report_without_a_token_corrects_by_the_decision_log),
        cmocka_unit_test(a_callers_id_sent_again_and_a_dry_run_are_not_charged),
        cmocka_unit_test(a_restart_keeps_every_account),
        cmocka_unit_test(tenants_do_not_pay_for_one_another),
        cmocka_unit_test(what_is_not_affordable_is_named_in_the_answer_and_in_the_log),
        cmocka_unit_test(terms_sum_to_the_mean_with_the_price),
        cmocka_unit_test(a_probe_must_be_affordable_too),
        cmocka_unit_test(another_metric_begins_another_account),
        cmocka_unit_test(a_baseline_answers_whatever_it_costs_and_pays_from_no_account),
        cmocka_unit_test(a_price_that_drops_is_noticed_by_what_is_reported),
        cmocka_unit_test(an_arm_that_is_added_again_with_its_new_price_is_bought_at_once),
        cmocka_unit_test(a_bad_tenant_budget_is_refused_with_a_sentence),
        cmocka_unit_test(prompts_that_attract_the_dear_arm_break_no_budget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
