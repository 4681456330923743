/* Modes, splits and terms through the engine: what is answered, what is folded, what survives. */
#include "state/base/rng.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/engine/served.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void apprentice(struct router_config *c)
{
    c->settings.mode = MODE_APPRENTICE;
    (void)snprintf(c->settings.baseline_arm, NAME_CAP, "b");
}

static void split(struct router_config *c)
{
    (void)snprintf(c->settings.split_policy, NAME_CAP, "random");
    c->settings.split_share = .4;
    c->settings.explore_floor = 0;
}

static void weighted(struct router_config *c)
{
    c->metrics[1].weight = .5;
    c->metrics[2].weight = 2; /* cost_usd, lower is better. */
}

static void open_with(struct served *s, void (*set)(struct router_config *c))
{
    memset(s, 0, sizeof *s);
    served_open(s);
    served_router(s, "default", set);
    served_arm(s, "default", "a");
    served_arm(s, "default", "b");
    served_arm(s, "default", "c");
}

static void set_settings(struct served *s, enum router_mode mode, const char *baseline)
{
    static struct router_config c;
    c = *engine_snapshot_acquire(s->w)->routers[0]->config;
    engine_snapshot_release(s->w);
    c.settings.mode = mode;
    (void)snprintf(c.settings.baseline_arm, NAME_CAP, "%s", baseline);
    assert_int_equal(engine_router_update(s->w, &c, &s->detail), OK);
}

static struct trial trial_of(struct served *s)
{
    struct trial t = engine_snapshot_acquire(s->w)->routers[0]->trial;
    engine_snapshot_release(s->w);
    return t;
}

static void an_apprentice_answers_its_baseline_and_learns_from_it(void **state)
{
    (void)state;
    struct served s;
    open_with(&s, apprentice);
    for (int i = 0; i < 60; i++) {
        struct route_in in = {.text = text("hello"), .baseline = text(i % 3 ? "" : "a")};
        assert_int_equal(served_ask(&s, &in), OK);
        assert_string_equal(s.route->arm, i % 3 ? "b" : "a");
        assert_int_equal(s.route->reason, REASON_BASELINE);
        assert_true(s.route->propensity == 1);
        assert_int_equal(served_tell(&s, "reward", i % 3 ? .9 : .2, OUTCOME_OK), OK);
    }
    struct trial t = trial_of(&s);
    uint64_t agreed = t.groups[TRIAL_AGREED].answered;
    assert_int_equal(agreed + t.groups[TRIAL_DIFFERED].answered, 60);
    /* c was never served, so b is the policy's choice once it has shown itself: 40 times b. */
    assert_in_range(agreed, 30, 45);
    assert_int_equal(served_folded(&s), 60);
    assert_int_equal(served_issued(&s, "b"), 40);
    assert_int_equal(served_issued(&s, "c"), 0);
    served_verify(&s);
    served_again(&s);
    struct trial after = trial_of(&s);
    assert_memory_equal(&t, &after, sizeof t);
    served_verify(&s);
    served_close(&s);
}

static void a_promoted_apprentice_tries_other_arms_by_their_share(void **state)
{
    (void)state;
    struct served s;
    int to_b = 0;
    open_with(&s, apprentice);
    for (int i = 0; i < 60; i++) {
        served_route(&s);
        assert_int_equal(served_tell(&s, "reward", .9, OUTCOME_OK), OK);
    }
    set_settings(&s, MODE_ONLINE, "b");
    /* Nobody answers meanwhile: the first ten requests must not all go to who has no pull. */
    for (int i = 0; i < 10; i++) {
        served_route(&s);
        to_b += s.route->arm[0] == 'b';
        if (i == 0)
            assert_true(s.route->propensity < .7);
    }
    assert_in_range(to_b, 1, 10);
    for (int i = 0; i < 200; i++) {
        served_route(&s);
        assert_int_equal(served_tell(&s, "reward", s.route->arm[0] == 'b' ? .9 : .3, OUTCOME_OK),
                         OK);
    }
    assert_in_range(served_issued(&s, "a"), 1, 60);
    assert_in_range(served_issued(&s, "c"), 1, 60);
    served_close(&s);
}

static void logging_only_answers_and_moves_no_statistic(void **state)
{
    (void)state;
    struct served s;
    open_with(&s, NULL);
    for (int i = 0; i < 30; i++) {
        served_route(&s);
        assert_int_equal(served_tell(&s, "reward", .5, OUTCOME_OK), OK);
    }
    uint64_t issued = served_issued(&s, "c"), folded = served_folded(&s);
    set_settings(&s, MODE_LOGGING_ONLY, "c");
    for (int i = 0; i < 30; i++) {
        served_route(&s);
        assert_string_equal(s.route->arm, "c");
        assert_int_equal(s.route->reason, REASON_BASELINE);
        assert_int_equal(served_tell(&s, "reward", 0, OUTCOME_ERROR), OK);
        assert_int_equal(s.report.counted_n, 1);
        assert_int_equal(served_tell(&s, "reward", 0, OUTCOME_ERROR), OK);
        assert_true(s.report.duplicate);
    }
    assert_int_equal(served_issued(&s, "c"), issued); /* Else it would seem never to answer. */
    assert_int_equal(served_folded(&s), folded);
    const struct router_view *r = engine_snapshot_acquire(s.w)->routers[0];
    assert_int_equal(r->logged, 30);
    assert_int_equal(r->arms[2]->failures, 0);
    engine_snapshot_release(s.w);
    served_verify(&s);
    served_again(&s);
    r = engine_snapshot_acquire(s.w)->routers[0];
    assert_int_equal(r->logged, 30);
    engine_snapshot_release(s.w);
    served_close(&s);
}

#define REFUSED(in, code, words)                                                                   \
    do {                                                                                           \
        assert_int_equal(served_ask(&s, &(in)), code);                                             \
        assert_non_null(strstr(s.detail.text, words));                                             \
    } while (0)

static void a_baseline_that_is_missing_or_may_not_serve_is_refused_with_what_to_do(void **state)
{
    (void)state;
    struct served s;
    open_with(&s, NULL);
    struct slice b[1] = {text("b")}, a[1] = {text("a")};
    struct route_in named = {.text = text("x"), .baseline = text("nobody")}, plain = {0},
                    without = {.exclude = b, .exclude_n = 1}, other = {.candidates = a};
    other.candidates_n = 1;
    REFUSED(named, ERR_ARM_NOT_FOUND, "baseline `nobody`"); /* Online, too: a typing mistake. */
    named.baseline = text("b");
    assert_int_equal(served_ask(&s, &named), OK);
    assert_int_not_equal(s.route->reason, REASON_BASELINE);
    set_settings(&s, MODE_APPRENTICE, "");
    REFUSED(plain, ERR_BASELINE_REQUIRED, "there is no baseline arm");
    served_arm(&s, "default", "gone");
    set_settings(&s, MODE_LOGGING_ONLY, "gone");
    assert_int_equal(engine_arm_remove(s.w, text("default"), text("gone"), &s.detail), OK);
    REFUSED(plain, ERR_BASELINE_REQUIRED, "its baseline_arm `gone` is no arm of it");
    set_settings(&s, MODE_APPRENTICE, "b");
    REFUSED(without, ERR_NO_ELIGIBLE_ARM, "the baseline `b`");
    REFUSED(other, ERR_NO_ELIGIBLE_ARM, "the baseline `b`");
    assert_int_equal(engine_arm_pause(s.w, text("default"), text("b"), true, &s.detail), OK);
    REFUSED(plain, ERR_NO_ELIGIBLE_ARM, "resume it or name another");
    assert_int_equal(engine_arm_pause(s.w, text("default"), text("b"), false, &s.detail), OK);
    /* Cooling: it answers, and a success ends the cooldown. */
    for (int i = 0; i < 8; i++) {
        assert_int_equal(served_ask(&s, &plain), OK);
        assert_string_equal(s.route->arm, "b");
        assert_int_equal(served_tell(&s, "", 0, OUTCOME_ERROR), OK);
    }
    assert_int_equal(served_ask(&s, &plain), OK);
    assert_string_equal(s.route->arm, "b");
    assert_int_equal(served_tell(&s, "reward", 1, OUTCOME_OK), OK);
    const struct router_view *r = engine_snapshot_acquire(s.w)->routers[0];
    assert_int_equal(r->arms[1]->cooldowns, 1);
    assert_int_equal(r->arms[1]->cooldown_until_us, 0);
    engine_snapshot_release(s.w);
    served_close(&s);
}

static enum err set_names(struct served *s, const char *fixed, const char *split,
                          const char *baseline)
{
    static struct router_config c;
    c = *engine_snapshot_acquire(s->w)->routers[0]->config;
    engine_snapshot_release(s->w);
    (void)snprintf(c.settings.fixed_arm, NAME_CAP, "%s", fixed);
    (void)snprintf(c.settings.split_fixed_arm, NAME_CAP, "%s", split);
    (void)snprintf(c.settings.baseline_arm, NAME_CAP, "%s", baseline);
    return engine_router_update(s->w, &c, &s->detail);
}

static void a_setting_that_names_no_arm_is_refused_with_the_arms_there_are(void **state)
{
    (void)state;
    struct served s;
    memset(&s, 0, sizeof s);
    served_open(&s);
    served_router(&s, "default", NULL);
    assert_int_equal(set_names(&s, "a", "", ""), OK); /* It has none yet: this one may come. */
    served_arm(&s, "default", "b");
    served_arm(&s, "default", "c");
    assert_int_equal(set_names(&s, "a", "b", ""), OK); /* `a` is what it was. */
    assert_int_equal(set_names(&s, "bb", "b", ""), ERR_INVALID);
    assert_non_null(strstr(s.detail.text, "settings.fixed_arm is `bb`"));
    assert_non_null(strstr(s.detail.text, "it has b, c."));
    assert_int_equal(set_names(&s, "a", "d", ""), ERR_INVALID);
    assert_non_null(strstr(s.detail.text, "settings.split_fixed_arm is `d`"));
    assert_int_equal(set_names(&s, "a", "b", "cc"), ERR_INVALID);
    assert_non_null(strstr(s.detail.text, "settings.baseline_arm is `cc`"));
    assert_int_equal(set_names(&s, "c", "", "b"), OK);
    assert_int_equal(engine_arm_remove(s.w, text("default"), text("b"), &s.detail), OK);
    assert_int_equal(set_names(&s, "c", "", "b"), OK); /* Other settings may still be changed. */
    assert_int_equal(set_names(&s, "b", "", ""), ERR_INVALID);
    served_close(&s);
}

static void weights_that_are_all_zero_are_refused(void **state)
{
    (void)state;
    struct served s;
    static struct router_config c;
    open_with(&s, NULL);
    c = *engine_snapshot_acquire(s.w)->routers[0]->config;
    engine_snapshot_release(s.w);
    for (uint32_t m = 0; m < c.metrics_n; m++)
        c.metrics[m].weight = 0;
    assert_int_equal(engine_router_update(s.w, &c, &s.detail), ERR_INVALID);
    assert_non_null(strstr(s.detail.text, "above 0"));
    struct engine_weight none = {text("reward"), 0};
    struct route_in in = {.weights = &none, .weights_n = 1};
    REFUSED(in, ERR_INVALID, "above 0");
    served_close(&s);
}

static void a_split_counts_requests_and_outcomes_by_side_and_both_teach(void **state)
{
    (void)state;
    struct served s;
    uint64_t sides[2], again[2];
    open_with(&s, split);
    for (int i = 0; i < 300; i++) {
        served_route(&s);
        if (i % 3)
            assert_int_equal(
                served_tell(&s, "reward", s.route->arm[0] == 'b' ? .9 : .2, OUTCOME_OK), OK);
    }
    engine_issued_sides(s.e, 1, sides);
    assert_int_equal(sides[0] + sides[1], 300);
    assert_in_range(sides[1], 85, 155);
    struct trial t = trial_of(&s);
    assert_int_equal(t.groups[TRIAL_A].answered + t.groups[TRIAL_B].answered, 200);
    assert_int_equal(served_folded(&s), 200);
    assert_true(t.groups[TRIAL_A].raw[0].mean > t.groups[TRIAL_B].raw[0].mean);
    served_again(&s);
    engine_issued_sides(s.e, 1, again);
    assert_memory_equal(sides, again, sizeof sides);
    struct trial after = trial_of(&s);
    assert_memory_equal(&t, &after, sizeof t);
    served_verify(&s);
    served_close(&s);
}

static void assert_terms_sum(const struct shown_terms *t, double mean)
{
    double sum = (double)t->silence + (double)t->charge;
    for (int m = 0; m < MAX_METRICS; m++)
        sum += (double)t->contribution[m];
    if (!(fabs(sum - mean) < 2e-6)) /* Of terms up to 2, each rounded to a float. */
        fail_msg("terms sum to %.9g, the mean is %.9g", sum, mean);
}

static void terms_sum_to_the_mean_in_the_answer_and_in_the_log(void **state)
{
    (void)state;
    struct served s;
    struct explain_out e;
    bool silence = false;
    open_with(&s, weighted);
    for (int i = 0; i < 60; i++) {
        struct route_in in = {.text = text(i % 2 ? "a longer text, with 2 numbers" : "short"),
                              .max_ranked = 3,
                              .explain = true};
        assert_int_equal(served_ask(&s, &in), OK);
        assert_int_equal(s.route->ranked_n, 3);
        for (uint32_t k = 0; k < 3; k++) {
            const struct ranked_arm *r = &s.route->ranked[k];
            assert_terms_sum(&r->terms, r->mean);
            assert_true(r->terms.contribution[2] <= 0 && r->terms.contribution[3] == 0);
            assert_true(
                fabs((double)r->terms.contribution[1] - .5 * (double)r->terms.predicted[1]) < 1e-6);
            silence = silence || r->terms.silence < 0;
        }
        assert_int_equal(engine_explain(s.w, text(s.route->decision_id), &e, &s.detail), OK);
        assert_int_equal(e.arms_n, 3);
        for (uint32_t k = 0; k < 3; k++) {
            assert_true(e.arms[k].has_terms);
            assert_terms_sum(&e.arms[k].terms, e.arms[k].mean);
        }
        explain_out_done(&e);
        if (i % 4 == 0)
            assert_int_equal(served_tell(&s, "reward", .7, OUTCOME_OK), OK);
        if (i % 4 == 1)
            assert_int_equal(served_tell(&s, "cost_usd", .3, OUTCOME_OK), OK);
    }
    assert_true(silence);
    served_close(&s);
}

static void of_many_arms_the_log_has_the_terms_of_the_chosen_and_the_best(void **state)
{
    (void)state;
    struct served s;
    struct explain_out e;
    open_with(&s, split);
    for (int i = 0; i < 150; i++) {
        char name[8];
        (void)snprintf(name, sizeof name, "x%d", i);
        served_arm(&s, "default", name);
    }
    for (int i = 0; i < 20; i++) {
        served_route(&s);
        assert_int_equal(engine_explain(s.w, text(s.route->decision_id), &e, &s.detail), OK);
        uint32_t n = 0;
        assert_int_equal(e.arms_n, 153);
        for (uint32_t k = 0; k < e.arms_n; k++) {
            n += e.arms[k].has_terms;
            if (strcmp(e.arms[k].name, s.route->arm) == 0)
                assert_true(e.arms[k].has_terms);
            if (e.arms[k].has_terms)
                assert_terms_sum(&e.arms[k].terms, e.arms[k].mean);
        }
        assert_int_equal(n, 64);
        explain_out_done(&e);
    }
    served_close(&s);
}

static void a_change_of_weights_acts_on_the_next_request(void **state)
{
    (void)state;
    struct served s;
    static struct router_config c;
    open_with(&s, split);
    struct route_in in = {.text = text("x"), .max_ranked = 1};
    for (int i = 0; i < 90; i++) {
        served_route(&s);
        char arm = s.route->arm[0];
        assert_int_equal(served_tell(&s, "reward", arm == 'a' ? .9 : .4, OUTCOME_OK), OK);
        assert_int_equal(served_tell(&s, "cost_usd", arm == 'a' ? .9 : .1, OUTCOME_OK), OK);
    }
    assert_int_equal(served_ask(&s, &in), OK);
    assert_string_equal(s.route->ranked[0].name, "a");
    struct engine_weight w[2] = {{text("reward"), 1}, {text("cost_usd"), 5}};
    in.weights = w;
    in.weights_n = 2;
    assert_int_equal(served_ask(&s, &in), OK);
    assert_string_not_equal(s.route->ranked[0].name, "a");
    in.weights_n = 0;
    c = *engine_snapshot_acquire(s.w)->routers[0]->config;
    engine_snapshot_release(s.w);
    c.metrics[2].weight = 5;
    assert_int_equal(engine_router_update(s.w, &c, &s.detail), OK);
    assert_int_equal(served_ask(&s, &in), OK);
    assert_string_not_equal(s.route->ranked[0].name, "a");
    served_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_apprentice_answers_its_baseline_and_learns_from_it),
        cmocka_unit_test(a_promoted_apprentice_tries_other_arms_by_their_share),
        cmocka_unit_test(logging_only_answers_and_moves_no_statistic),
        cmocka_unit_test(a_baseline_that_is_missing_or_may_not_serve_is_refused_with_what_to_do),
        cmocka_unit_test(a_setting_that_names_no_arm_is_refused_with_the_arms_there_are),
        cmocka_unit_test(weights_that_are_all_zero_are_refused),
        cmocka_unit_test(a_split_counts_requests_and_outcomes_by_side_and_both_teach),
        cmocka_unit_test(terms_sum_to_the_mean_in_the_answer_and_in_the_log),
        cmocka_unit_test(of_many_arms_the_log_has_the_terms_of_the_chosen_and_the_best),
        cmocka_unit_test(a_change_of_weights_acts_on_the_next_request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
