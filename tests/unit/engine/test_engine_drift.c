/* Arms that change while requests and rewards are in flight. */
#include "tests/unit/cmocka_all.h"
#include "tests/unit/engine/served.h"

#include <math.h>
#include <string.h>

static void set_widen(struct router_config *config)
{
    config->settings.drift_policy = DRIFT_WIDEN;
}

static void open_with(struct served *s, const char *arms)
{
    served_open(s);
    served_router(s, "default", set_widen);
    for (; *arms; arms++)
        served_arm(s, "default", (char[]){*arms, '\0'});
}

/* A copy of what is known of the arm now; its name must be there. */
static struct arm_view arm_now(struct served *s, const char *name)
{
    const struct snapshot *now = engine_snapshot_acquire(s->w);
    int k = router_view_arm(now->routers[0], name, strlen(name));
    assert_true(k >= 0);
    struct arm_view v = *now->routers[0]->arms[k];
    engine_snapshot_release(s->w);
    return v;
}

static uint64_t in_flight(struct served *s, const char *name)
{
    const struct snapshot *now = engine_snapshot_acquire(s->w);
    int k = router_view_arm(now->routers[0], name, strlen(name));
    uint64_t n = engine_in_flight(s->e, now->routers[0], now->routers[0]->arms[k],
                                  now->routers[0]->arms[k]->drain_since_us + 1);
    engine_snapshot_release(s->w);
    return n;
}

static void a_price_change_is_durable_and_scales_what_is_known(void **state)
{
    (void)state;
    struct served s;
    open_with(&s, "a");
    for (int i = 0; i < 20; i++) {
        served_route(&s);
        assert_int_equal(served_tell(&s, "cost_usd", .25, 0), OK);
    }
    assert_int_equal(
        engine_arm_price(s.w, text("default"), text("a"), text("cost_usd"), .5, &s.detail), OK);
    assert_true(fabs(arm_now(&s, "a").mean_raw[2] - .125) < 1e-12);
    served_verify(&s);
    served_again(&s);
    assert_true(fabs(arm_now(&s, "a").mean_raw[2] - .125) < 1e-12);
    assert_int_equal(
        engine_arm_price(s.w, text("default"), text("a"), text("cost_usd"), 0, &s.detail),
        ERR_OUT_OF_RANGE);
    assert_int_equal(
        engine_arm_price(s.w, text("default"), text("a"), text("reward"), 2, &s.detail),
        ERR_INVALID);
    assert_int_equal(
        engine_arm_price(s.w, text("default"), text("b"), text("cost_usd"), 2, &s.detail),
        ERR_ARM_NOT_FOUND);
    served_close(&s);
}

static void a_draining_arm_gets_nothing_more_and_is_done_with_its_last_answer(void **state)
{
    (void)state;
    struct served s;
    open_with(&s, "a");
    served_route(&s);
    assert_int_equal(engine_arm_drain(s.w, text("default"), text("a"), &s.detail), OK);
    assert_int_equal(in_flight(&s, "a"), 1);
    assert_true(arm_now(&s, "a").drain_since_us > 0);
    assert_int_equal(served_tell(&s, "reward", 1, 0), OK); /* Of the decision in flight. */
    assert_int_equal(in_flight(&s, "a"), 0);
    struct route_in in = {.text = text("x")};
    assert_int_equal(served_ask(&s, &in), ERR_NO_ELIGIBLE_ARM);
    served_again(&s);
    assert_true(arm_now(&s, "a").drain_since_us > 0);
    assert_int_equal(engine_arm_pause(s.w, text("default"), text("a"), false, &s.detail), OK);
    assert_true(arm_now(&s, "a").drain_since_us == 0);
    assert_int_equal(served_ask(&s, &in), OK);
    served_close(&s);
}

static void what_never_answers_does_not_hold_up_a_drain_beyond_the_wait(void **state)
{
    (void)state;
    struct served s;
    open_with(&s, "a");
    served_route(&s);
    assert_int_equal(engine_arm_drain(s.w, text("default"), text("a"), &s.detail), OK);
    const struct snapshot *now = engine_snapshot_acquire(s.w);
    const struct router_view *r = now->routers[0];
    int64_t wait_us = (int64_t)(r->config->settings.reward_wait_s * 1e6);
    assert_int_equal(engine_in_flight(s.e, r, r->arms[0], r->arms[0]->drain_since_us + wait_us), 0);
    engine_snapshot_release(s.w);
    served_close(&s);
}

static void a_reward_in_flight_over_a_reload_is_taken_and_teaches_nobody(void **state)
{
    (void)state;
    struct served s;
    open_with(&s, "a");
    for (int i = 0; i < 30; i++) {
        served_route(&s);
        assert_int_equal(served_tell(&s, "reward", .5, 0), OK);
    }
    served_route(&s);
    assert_int_equal(engine_arm_reload(s.w, text("default"), text("a"), 8, &s.detail), OK);
    struct arm_view v = arm_now(&s, "a");
    assert_int_equal(v.version, 2);
    assert_true(fabs(v.evidence[METRIC_RATED] - 8) < 1e-9);
    assert_int_equal(served_tell(&s, "reward", 0, 0), OK);
    assert_true(s.report.orphaned);
    assert_true(fabs(arm_now(&s, "a").evidence[METRIC_RATED] - 8) < 1e-9);
    assert_int_equal(engine_arm_reload(s.w, text("default"), text("a"), 0, &s.detail), OK);
    assert_true(arm_now(&s, "a").evidence[METRIC_RATED] == 0);
    assert_int_equal(engine_arm_reload(s.w, text("default"), text("a"), -1, &s.detail),
                     ERR_OUT_OF_RANGE);
    served_verify(&s);
    served_close(&s);
}

static void an_arm_like_another_is_added_with_its_knowledge(void **state)
{
    (void)state;
    struct served s;
    struct arm_config b;
    open_with(&s, "a");
    memset(&b, 0, sizeof b);
    strcpy(b.name, "b");
    for (int i = 0; i < 30; i++) {
        served_route(&s);
        assert_int_equal(served_tell(&s, "reward", .5, 0), OK);
    }
    assert_int_equal(engine_arm_add_like(s.w, text("default"), &b, text("a"), 6, &s.detail), OK);
    assert_true(fabs(arm_now(&s, "b").evidence[METRIC_RATED] - 6) < 1e-9);
    assert_int_equal(arm_now(&s, "b").answered, 0);
    assert_int_equal(engine_arm_add_like(s.w, text("default"), &b, text("a"), 6, &s.detail),
                     ERR_ARM_EXISTS);
    assert_int_equal(engine_arm_add_like(s.w, text("default"), &b, text("z"), 6, &s.detail),
                     ERR_ARM_NOT_FOUND);
    assert_int_equal(engine_arm_add_like(s.w, text("default"), &b, text("a"), 0, &s.detail),
                     ERR_OUT_OF_RANGE);
    served_close(&s);
}

static void a_drop_is_an_alarm_that_survives_a_restart(void **state)
{
    (void)state;
    struct served s;
    open_with(&s, "a");
    for (int i = 0; i < 100; i++) {
        served_route(&s);
        assert_int_equal(served_tell(&s, "reward", (i < 60 ? .8 : .3) + .01 * (i % 7), 0), OK);
        if (arm_now(&s, "a").suspect)
            break;
    }
    assert_true(arm_now(&s, "a").suspect);
    served_verify(&s);
    served_again(&s);
    assert_true(arm_now(&s, "a").suspect);
    const struct snapshot *now = engine_snapshot_acquire(s.w);
    assert_int_equal(now->routers[0]->alarms_n, 1);
    assert_string_equal(now->routers[0]->alarms[0].arm, "a");
    assert_true(now->routers[0]->alarms[0].worse);
    engine_snapshot_release(s.w);
    served_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_price_change_is_durable_and_scales_what_is_known),
        cmocka_unit_test(a_draining_arm_gets_nothing_more_and_is_done_with_its_last_answer),
        cmocka_unit_test(what_never_answers_does_not_hold_up_a_drain_beyond_the_wait),
        cmocka_unit_test(a_reward_in_flight_over_a_reload_is_taken_and_teaches_nobody),
        cmocka_unit_test(an_arm_like_another_is_added_with_its_knowledge),
        cmocka_unit_test(a_drop_is_an_alarm_that_survives_a_restart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
