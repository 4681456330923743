/* Arms that fail, fall silent, get better or are new: what becomes of their share. */
#include "server/route/decide.h"
#include "state/base/rng.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/engine/served.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { ARMS = 4 };

struct scene {
    struct served s;
    double reward[ARMS]; /* Mean; < 0: says nothing at all. */
    bool errs[ARMS];
    uint64_t requests, to[ARMS];
};

static void short_cooldown(struct router_config *c)
{
    c->settings.cooldown_s = .2;
}

static void no_cooldown(struct router_config *c)
{
    c->settings.cooldown_failures = 0;
}

static void no_floor(struct router_config *c)
{
    c->settings.explore_floor = 0;
}

static void open_scene(struct scene *c, void (*set)(struct router_config *config))
{
    memset(c, 0, sizeof *c);
    served_open(&c->s);
    served_router(&c->s, "default", set);
    for (int i = 0; i < ARMS; i++) {
        char name[2] = {(char)('a' + i)};
        served_arm(&c->s, "default", name);
        c->reward[i] = .5;
    }
}

/* One request and what comes of it; returns the arm. */
static unsigned request(struct scene *c)
{
    served_route(&c->s);
    unsigned arm = (unsigned)(c->s.route->arm[0] - 'a');
    double r = c->reward[arm] + .2 * (rng_uniform(5, c->requests++) - .5);
    c->to[arm]++;
    if (c->errs[arm])
        assert_int_equal(served_tell(&c->s, "", 0, OUTCOME_ERROR), OK);
    else if (r >= 0)
        assert_int_equal(served_tell(&c->s, "reward", r > 1 ? 1 : r, OUTCOME_OK), OK);
    return arm;
}

/* Share of an arm in the next n requests. */
static double share_of(struct scene *c, unsigned arm, uint64_t n)
{
    memset(c->to, 0, sizeof c->to);
    for (uint64_t i = 0; i < n; i++)
        (void)request(c);
    return (double)c->to[arm] / (double)n;
}

static void assert_below(double share, double limit)
{
    if (!(share < limit))
        fail_msg("its share is %.4f", share);
}

static void an_arm_that_answers_nothing_but_errors_loses_its_traffic_and_regains_it(void **state)
{
    (void)state;
    struct scene c;
    open_scene(&c, short_cooldown);
    c.reward[1] = .8;
    (void)share_of(&c, 1, 150);
    assert_true(share_of(&c, 1, 100) > .8);
    c.errs[1] = true;
    assert_below(share_of(&c, 1, 1000), .02);
    c.errs[1] = false;
    /* The pause may have grown to 16 times 0.2 s; then one probe, and its old place. */
    time_t until = time(NULL) + 60;
    do {
        served_nap(20);
    } while (request(&c) != 1 && time(NULL) < until);
    assert_int_equal(c.s.route->reason, REASON_COOLDOWN_PROBE);
    assert_true(c.s.route->propensity == 1);
    assert_true(share_of(&c, 1, 100) > .8);
    served_verify(&c.s);
    served_close(&c.s);
}

static void when_every_arm_cools_requests_are_served_all_the_same(void **state)
{
    (void)state;
    struct scene c;
    open_scene(&c, short_cooldown);
    for (int i = 0; i < ARMS; i++)
        c.errs[i] = true;
    unsigned all_cooling = 0;
    for (int i = 0; i < 200; i++) {
        (void)request(&c);
        all_cooling += c.s.route->reason == REASON_ALL_COOLING;
    }
    assert_true(all_cooling > 50);
    c.errs[2] = false; /* A success ends its pause whatever the time. */
    for (int i = 0; i < 400 && c.s.route->reason == REASON_ALL_COOLING; i++)
        (void)request(&c);
    assert_true(share_of(&c, 2, 50) > .6);
    served_close(&c.s);
}

static void a_new_arm_that_never_answers_loses_its_traffic(void **state)
{
    (void)state;
    struct scene c;
    open_scene(&c, NULL);
    c.reward[3] = -9;
    (void)share_of(&c, 3, 60);
    assert_below(share_of(&c, 3, 1000), .02);
    served_close(&c.s);
}

static void a_new_arm_that_only_errs_loses_its_traffic_also_without_cooldown(void **state)
{
    (void)state;
    struct scene c;
    open_scene(&c, no_cooldown);
    c.errs[3] = true;
    (void)share_of(&c, 3, 60);
    assert_below(share_of(&c, 3, 1000), .02);
    served_close(&c.s);
}

static void when_nobody_answers_every_arm_keeps_being_tried(void **state)
{
    (void)state;
    struct scene c;
    open_scene(&c, NULL);
    for (int i = 0; i < ARMS; i++)
        c.reward[i] = -9;
    memset(c.to, 0, sizeof c.to);
    for (int i = 0; i < 400; i++)
        (void)request(&c);
    for (int i = 0; i < ARMS; i++)
        assert_true(c.to[i] > 40);
    served_close(&c.s);
}

static void a_newcomer_gets_its_pulls_and_no_more_when_it_is_worse(void **state)
{
    (void)state;
    struct scene c;
    open_scene(&c, no_floor);
    (void)share_of(&c, 0, 200);
    served_arm(&c.s, "default", "z");
    uint64_t first = 0, newcomer = 0;
    for (uint64_t i = 0; i < 200; i++) {
        served_route(&c.s);
        bool is = c.s.route->arm[0] == 'z';
        first = is && !first ? i + 1 : first;
        newcomer += is && c.s.route->reason == REASON_NEWCOMER;
        served_tell(&c.s, "reward", is ? .1 : .5, OUTCOME_OK);
    }
    assert_in_range(first, 1, 10); /* By its share of a third, not by force. */
    assert_in_range(newcomer, 1, 5);
    assert_true(served_issued(&c.s, "z") < 30);
    served_close(&c.s);
}

static void the_best_arm_gets_most_of_the_traffic(void **state)
{
    (void)state;
    struct scene c;
    open_scene(&c, NULL);
    c.reward[2] = .7;
    (void)share_of(&c, 2, 200);
    assert_true(share_of(&c, 2, 300) > .9);
    served_close(&c.s);
}

static void change_policy(struct scene *c, const char *policy, const char *arm, enum err want)
{
    const struct snapshot *s = engine_snapshot_acquire(c->s.w);
    struct router_config config = *snapshot_router(s, "default", 7)->config;
    engine_snapshot_release(c->s.w);
    snprintf(config.settings.policy, NAME_CAP, "%s", policy);
    snprintf(config.settings.fixed_arm, NAME_CAP, "%s", arm);
    assert_int_equal(engine_router_update(c->s.w, &config, &c->s.detail), want);
}

/* What the explanation of the latest decision says of its policy. */
static bool explained(struct scene *c, const char *policy)
{
    struct explain_out why;
    assert_int_equal(engine_explain(c->s.w, text(c->s.route->decision_id), &why, &c->s.detail), OK);
    assert_string_equal(why.policy, policy);
    assert_int_equal(why.decision.reason, c->s.route->reason);
    explain_out_done(&why);
    return why.fallback;
}

static void a_change_of_policy_acts_on_the_next_request_and_loses_nothing(void **state)
{
    (void)state;
    struct scene c;
    open_scene(&c, no_floor);
    c.reward[2] = .7;
    (void)share_of(&c, 2, 300);
    uint64_t learned = served_folded(&c.s);
    change_policy(&c, "fixed", "", ERR_INVALID);
    change_policy(&c, "oracle", "", ERR_INVALID);
    change_policy(&c, "fixed", "b", OK);
    assert_int_equal(request(&c), 1);
    assert_int_equal(c.s.route->reason, REASON_FIXED);
    assert_false(explained(&c, "fixed"));
    assert_int_equal(engine_arm_pause(c.s.w, text("default"), text("b"), true, &c.s.detail), OK);
    assert_int_equal(request(&c), 2);
    assert_int_equal(c.s.route->reason, REASON_EXPLOIT);
    assert_true(explained(&c, "fixed"));
    assert_int_equal(engine_arm_pause(c.s.w, text("default"), text("b"), false, &c.s.detail), OK);
    change_policy(&c, "random", "", OK);
    assert_below(share_of(&c, 2, 400), .4);
    assert_false(explained(&c, "random"));
    change_policy(&c, "linucb", "", OK);
    assert_true(share_of(&c, 2, 100) > .9);
    assert_false(explained(&c, "linucb"));
    assert_int_equal(served_folded(&c.s), learned + 502);
    served_verify(&c.s);
    served_close(&c.s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_arm_that_answers_nothing_but_errors_loses_its_traffic_and_regains_it),
        cmocka_unit_test(when_every_arm_cools_requests_are_served_all_the_same),
        cmocka_unit_test(a_new_arm_that_never_answers_loses_its_traffic),
        cmocka_unit_test(a_new_arm_that_only_errs_loses_its_traffic_also_without_cooldown),
        cmocka_unit_test(when_nobody_answers_every_arm_keeps_being_tried),
        cmocka_unit_test(a_newcomer_gets_its_pulls_and_no_more_when_it_is_worse),
        cmocka_unit_test(the_best_arm_gets_most_of_the_traffic),
        cmocka_unit_test(a_change_of_policy_acts_on_the_next_request_and_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
