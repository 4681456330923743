#include "server/adapters/controller.h"
#include "state/base/mem.h"
#include "state/base/rng.h"
#include "tests/unit/cmocka_all.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { D = 2, ARMS = 8, MB = 1000000 };

/* Arms 1..8, uid = number; arm 8 is the base model. */
struct scene {
    struct residency_settings s;
    struct controller *c;
    uint32_t uids[ARMS];
    float neutral[ARMS * WINDOW_MAX], bonus[ARMS * WINDOW_MAX], low[WINDOW_MAX], high[WINDOW_MAX];
    struct controller_plan plan;
    int64_t now_us;
};

static void open_scene(struct scene *t, const char *policy)
{
    memset(t, 0, sizeof *t);
    residency_defaults(&t->s);
    strcpy(t->s.policy, policy);
    t->s.slots = 3;
    t->s.epoch_requests = 50;
    t->s.epoch_loads = 0;
    t->s.seed = 9;
    assert_int_equal(controller_new(&t->s, NULL, D, 0, &t->c), OK);
    for (uint32_t i = 0; i < ARMS; i++) {
        t->uids[i] = i + 1;
        assert_int_equal(controller_arm(t->c, i + 1, i + 1 < ARMS ? 100 * MB : 0, false), OK);
    }
    for (uint32_t i = 0; i < WINDOW_MAX; i++)
        t->high[i] = 1;
}

static void close_scene(struct scene *t)
{
    controller_free(t->c);
}

/* Sends requests to a uid as the server would: by what is resident now. */
static void pull(struct scene *t, uint32_t uid, uint32_t times)
{
    for (uint32_t i = 0; i < times; i++) {
        float row[D] = {1, (float)uid};
        controller_pull(t->c, uid, controller_look(t->c, uid).resident, row);
    }
}

/* Values by request: arm k is worth `own` where the context names it, else `other`. */
static void plan_with(struct scene *t, double own, double other, double bonus)
{
    struct controller_window w = controller_close(t->c);
    for (uint32_t a = 0; a < ARMS; a++)
        for (uint32_t i = 0; i < w.n; i++) {
            bool mine = w.rows[i * w.stride + 1] == (float)(a + 1);
            t->neutral[a * w.n + i] = (float)(mine ? own : other);
            t->bonus[a * w.n + i] = (float)bonus;
        }
    struct controller_values v = {ARMS,   t->uids, t->neutral, w.bonus ? t->bonus : NULL,
                                  t->low, t->high};
    t->now_us += 1000;
    assert_int_equal(controller_plan(t->c, w.n ? &v : NULL, t->now_us, &t->plan), OK);
}

/* An engine that does at once as it is told. */
static void obey(struct scene *t)
{
    for (uint32_t i = 0; i < ARMS; i++)
        controller_resident(t->c, t->uids[i], controller_look(t->c, t->uids[i]).desired);
}

static uint32_t resident_n(const struct scene *t)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i + 1 < ARMS; i++)
        n += controller_look(t->c, t->uids[i]).resident;
    return n;
}

static void polar_plans_what_requests_gain_most_from(void **state)
{
    (void)state;
    static struct scene t;
    open_scene(&t, "polar");
    pull(&t, 2, 30);
    pull(&t, 5, 15);
    pull(&t, 7, 5);
    plan_with(&t, .9, .1, 0);
    uint32_t desired[8];
    assert_int_equal(controller_desired(t.c, desired, 8), 3);
    assert_int_equal(desired[0], 2);
    assert_int_equal(desired[1], 5);
    assert_int_equal(desired[2], 7);
    assert_int_equal(t.plan.loads, 3);
    assert_true(t.plan.solve.value > t.plan.solve.uncached);
    assert_int_equal(resident_n(&t), 0); /* Nothing is resident until an engine says so. */
    obey(&t);
    assert_int_equal(resident_n(&t), 3);
    close_scene(&t);
}

static void only_a_cold_adapter_is_charged_and_by_what_its_loads_took(void **state)
{
    (void)state;
    static struct scene t;
    open_scene(&t, "polar");
    /* 100 MB at 500 kB/ms, .3 of utility for a second. */
    assert_true(fabs(controller_charge(t.c, 1) - .06) < 1e-12);
    controller_measured(t.c, 1, 1000);
    assert_true(fabs(controller_charge(t.c, 1) - .3) < 1e-12);
    controller_measured(t.c, 1, 500);
    assert_true(fabs(controller_look(t.c, 1).load_ms - 900) < 1e-9);
    controller_measured(t.c, 1, (double)NAN);
    controller_measured(t.c, 1, -1);
    assert_true(fabs(controller_look(t.c, 1).load_ms - 900) < 1e-9);
    controller_resident(t.c, 1, true);
    assert_true(controller_charge(t.c, 1) == 0);
    assert_true(controller_charge(t.c, 8) == 0); /* The base model. */
    assert_true(controller_charge(t.c, 99) == 0);
    close_scene(&t);
    open_scene(&t, "oblivious");
    assert_true(controller_charge(t.c, 1) == 0);
    assert_true(controller_look(t.c, 1).price > 0);
    close_scene(&t);
}

static void lru_evicts_what_was_used_longest_ago_and_never_a_pin(void **state)
{
    (void)state;
    static struct scene t;
    open_scene(&t, "lru");
    assert_int_equal(controller_arm(t.c, 1, 100 * MB, true), OK);
    pull(&t, 1, 1);
    pull(&t, 2, 5);
    pull(&t, 3, 1);
    assert_int_equal(resident_n(&t), 3);
    pull(&t, 2, 1);
    pull(&t, 4, 1); /* 1 is older, but pinned; 3 goes. */
    assert_int_equal(resident_n(&t), 3);
    assert_true(controller_look(t.c, 1).resident && controller_look(t.c, 2).resident);
    assert_true(controller_look(t.c, 4).resident && !controller_look(t.c, 3).resident);
    assert_int_equal(controller_look(t.c, 2).misses, 1);
    assert_int_equal(controller_look(t.c, 8).misses, 0);
    close_scene(&t);
}

static void lfu_evicts_what_was_used_least(void **state)
{
    (void)state;
    static struct scene t;
    open_scene(&t, "lfu");
    pull(&t, 1, 3);
    pull(&t, 2, 2);
    pull(&t, 3, 4);
    pull(&t, 4, 1);
    assert_true(!controller_look(t.c, 2).resident && controller_look(t.c, 4).resident);
    close_scene(&t);
}

static void a_budget_of_bytes_bounds_what_is_admitted(void **state)
{
    (void)state;
    static struct scene t;
    open_scene(&t, "lru");
    t.s.slots = 0;
    t.s.bytes = 250 * MB;
    assert_int_equal(controller_set(t.c, &t.s), OK);
    assert_int_equal(controller_arm(t.c, 3, 300 * MB, false), OK);
    pull(&t, 1, 1);
    pull(&t, 2, 1);
    pull(&t, 4, 1);
    assert_int_equal(resident_n(&t), 2);
    assert_false(controller_look(t.c, 1).resident);
    pull(&t, 3, 1); /* Larger than all there is. */
    assert_false(controller_look(t.c, 3).resident);
    close_scene(&t);
}

static void top_k_takes_the_largest_shares_and_static_takes_nothing_new(void **state)
{
    (void)state;
    static struct scene t;
    open_scene(&t, "top_k");
    pull(&t, 7, 20);
    pull(&t, 1, 10);
    pull(&t, 4, 15);
    pull(&t, 2, 5);
    plan_with(&t, 0, 1, 0); /* Values are not looked at. */
    uint32_t desired[8];
    assert_int_equal(controller_desired(t.c, desired, 8), 3);
    assert_true(desired[0] == 1 && desired[1] == 4 && desired[2] == 7);
    close_scene(&t);
    open_scene(&t, "static");
    pull(&t, 7, 2000); /* However long it misses. */
    plan_with(&t, 1, 0, 0);
    assert_int_equal(controller_desired(t.c, desired, 8), 3);
    assert_true(desired[0] == 1 && desired[1] == 2 && desired[2] == 3);
    close_scene(&t);
}

/* The set anew without a request: what the window says is what plan_with said last. */
static void amend(struct scene *t)
{
    struct controller_window w = controller_window(t->c);
    struct controller_values v = {ARMS,   t->uids, t->neutral, w.bonus ? t->bonus : NULL,
                                  t->low, t->high};
    assert_true(controller_stale(t->c));
    assert_int_equal(controller_amend(t->c, w.n ? &v : NULL, &t->plan), OK);
    assert_false(controller_stale(t->c));
}

static void pin(struct scene *t, uint32_t uid, bool pinned)
{
    assert_int_equal(controller_arm(t->c, uid, 100 * MB, pinned), OK);
}

static void static_has_the_first_that_fit_and_keeps_what_another_policy_left(void **state)
{
    (void)state;
    static struct scene t;
    uint32_t desired[8];
    open_scene(&t, "static");
    amend(&t); /* Before the first request. */
    assert_int_equal(controller_desired(t.c, desired, 8), 3);
    assert_true(desired[0] == 1 && desired[1] == 2 && desired[2] == 3);
    pin(&t, 7, true);
    amend(&t);
    assert_int_equal(controller_desired(t.c, desired, 8), 3);
    assert_true(desired[0] == 1 && desired[1] == 2 && desired[2] == 7);
    pin(&t, 7, false); /* It was chosen, and stays. */
    amend(&t);
    assert_true(controller_look(t.c, 7).desired);
    assert_int_equal(t.plan.update.epoch, 0);
    close_scene(&t);

    open_scene(&t, "top_k");
    for (uint32_t uid = 4; uid <= 6; uid++)
        pull(&t, uid, 20);
    plan_with(&t, 0, 0, 0);
    strcpy(t.s.policy, "static");
    assert_int_equal(controller_set(t.c, &t.s), OK);
    amend(&t);
    for (uint32_t uid = 1; uid < ARMS; uid++)
        assert_true(controller_look(t.c, uid).desired == (uid >= 4 && uid <= 6));
    close_scene(&t);
}

static void a_pin_is_carried_out_without_a_request_whatever_the_policy(void **state)
{
    (void)state;
    static struct scene t;
    const struct cache_policy_ops *ops;
    for (uint32_t p = 0; (ops = cache_policy_at(p)); p++) {
        uint32_t desired[8];
        open_scene(&t, ops->name);
        pin(&t, 7, true); /* Before anything was asked. */
        amend(&t);
        obey(&t);
        assert_true(controller_look(t.c, 7).resident);
        uint64_t length = controller_state(t.c)->length;
        for (uint32_t uid = 1; uid <= 3; uid++)
            pull(&t, uid, 30);
        plan_with(&t, .9, .1, 0);
        obey(&t);
        assert_int_equal(resident_n(&t), 3);
        /* In the middle of an epoch, and the cache is full. */
        pull(&t, 1, 10);
        uint64_t epoch = controller_state(t.c)->epoch, begun = controller_state(t.c)->requests;
        length = ops->doubles ? 2 * length : length;
        pin(&t, 6, true);
        amend(&t);
        assert_int_equal(controller_asked(t.c), 10);
        assert_int_equal(controller_state(t.c)->epoch, epoch + 1);
        assert_int_equal(t.plan.update.epoch, epoch + 1);
        assert_int_equal(controller_state(t.c)->requests, begun);
        assert_int_equal(controller_state(t.c)->length, length);
        assert_int_equal(controller_desired(t.c, desired, 8), 3);
        assert_true(controller_look(t.c, 6).desired && controller_look(t.c, 7).desired);
        pin(&t, 6, false);
        assert_true(controller_stale(t.c));
        pin(&t, 6, true); /* Changed back before anybody looked. */
        amend(&t);
        assert_true(controller_look(t.c, 6).desired);
        close_scene(&t);
    }
}

static void an_adapter_that_is_unpinned_loses_a_slot_it_is_not_worth(void **state)
{
    (void)state;
    static struct scene t;
    open_scene(&t, "polar");
    for (uint32_t uid = 1; uid <= 3; uid++)
        pull(&t, uid, 20);
    pin(&t, 7, true);
    plan_with(&t, .9, .1, 0);
    obey(&t);
    assert_true(controller_look(t.c, 7).resident);
    pin(&t, 7, false);
    amend(&t);
    assert_false(controller_look(t.c, 7).desired);
    for (uint32_t uid = 1; uid <= 3; uid++)
        assert_true(controller_look(t.c, uid).desired);
    close_scene(&t);
}

/* A pin that found no room must not be tried for ever, nor be forgotten. */
static void pins_beyond_the_room_wait_for_it(void **state)
{
    (void)state;
    static struct scene t;
    open_scene(&t, "lru");
    for (uint32_t uid = 1; uid <= 4; uid++)
        pin(&t, uid, true);
    amend(&t);
    assert_false(controller_look(t.c, 4).desired);
    pin(&t, 4, true);
    assert_false(controller_stale(t.c));
    pin(&t, 2, false);
    amend(&t);
    assert_true(controller_look(t.c, 4).desired);
    assert_false(controller_look(t.c, 2).desired);
    close_scene(&t);
}

/* An idle router ends no epoch that would give it away. */
static void a_place_that_comes_free_is_given_away_without_a_request(void **state)
{
    (void)state;
    static struct scene t;
    open_scene(&t, "static");
    amend(&t);
    controller_remove(t.c, 5); /* It had none. */
    assert_false(controller_stale(t.c));
    controller_remove(t.c, 2);
    amend(&t);
    assert_true(controller_look(t.c, 4).desired);
    t.s.slots = 4;
    assert_int_equal(controller_set(t.c, &t.s), OK);
    amend(&t);
    assert_true(controller_look(t.c, 6).desired);
    t.s.slots = 2; /* A replica went away, perhaps for a moment. */
    assert_int_equal(controller_set(t.c, &t.s), OK);
    assert_false(controller_stale(t.c));
    t.s.slots = 4;
    assert_int_equal(controller_set(t.c, &t.s), OK);
    amend(&t);
    assert_int_equal(t.plan.update.epoch, 0);
    close_scene(&t);

    open_scene(&t, "polar");
    for (uint32_t uid = 1; uid <= 4; uid++)
        pin(&t, uid, true);
    amend(&t);
    assert_false(controller_look(t.c, 4).desired);
    controller_remove(t.c, 1);
    amend(&t);
    assert_true(controller_look(t.c, 4).desired);
    pin(&t, 5, true);
    amend(&t);
    assert_false(controller_look(t.c, 5).desired);
    t.s.slots = 4; /* A replica came back. */
    assert_int_equal(controller_set(t.c, &t.s), OK);
    amend(&t);
    assert_true(controller_look(t.c, 5).desired);
    t.s.slots = 5; /* Nobody waits for more, and no request says who is worth it. */
    assert_int_equal(controller_set(t.c, &t.s), OK);
    assert_false(controller_stale(t.c));
    close_scene(&t);
}

static void give_slots(struct scene *t, uint32_t slots)
{
    t->s.slots = slots;
    assert_int_equal(controller_set(t->c, &t->s), OK);
}

/* A replica was away for an epoch's end, and is back: its room is filled by the contexts there are,
 * in the epoch that runs, though nobody asks for anything any more. */
static void room_that_comes_back_is_filled_without_a_request(void **state)
{
    (void)state;
    static const char *const policies[] = {"polar", "polar_plus", "top_k", "random"};
    for (size_t k = 0; k < sizeof policies / sizeof *policies; k++) {
        static struct scene t;
        uint32_t had[8], has[8];
        open_scene(&t, policies[k]);
        for (uint32_t uid = 1; uid <= 3; uid++)
            pull(&t, uid, 20);
        plan_with(&t, .9, .1, 0);
        obey(&t);
        assert_int_equal(controller_desired(t.c, had, 8), 3);
        give_slots(&t, 1);
        give_slots(&t, 3); /* A hiccup: the plan stands. */
        assert_false(controller_stale(t.c));
        give_slots(&t, 1);
        for (uint32_t uid = 1; uid <= 3; uid++)
            pull(&t, uid, 200);
        plan_with(&t, .9, .1, 0);
        obey(&t);
        assert_int_equal(controller_desired(t.c, has, 8), 1);
        uint64_t epoch = controller_state(t.c)->epoch;
        give_slots(&t, 3);
        assert_true(controller_stale(t.c));
        amend(&t);
        assert_int_equal(t.plan.update.epoch, epoch + 1);
        assert_int_equal(controller_desired(t.c, has, 8), 3);
        if (strcmp(policies[k], "random") != 0)
            assert_memory_equal(has, had, sizeof(uint32_t[3]));
        assert_false(controller_stale(t.c));
        close_scene(&t);
    }
}

/* What admits its misses has nothing to fill it with. */
static void room_that_comes_back_to_an_lru_waits_for_its_misses(void **state)
{
    (void)state;
    static struct scene t;
    open_scene(&t, "lru");
    for (uint32_t uid = 1; uid <= 3; uid++)
        pull(&t, uid, 20);
    give_slots(&t, 1);
    plan_with(&t, 0, 0, 0);
    give_slots(&t, 3);
    assert_false(controller_stale(t.c));
    close_scene(&t);
}

static void random_draws_another_full_set_each_epoch(void **state)
{
    (void)state;
    static struct scene t;
    uint32_t times[ARMS + 1] = {0};
    open_scene(&t, "random");
    for (int k = 0; k < 70; k++) {
        uint32_t desired[8];
        pull(&t, 8, 50); /* The base model: nobody waits for a slot. */
        plan_with(&t, 0, 0, 0);
        assert_int_equal(controller_desired(t.c, desired, 8), 3);
        for (int i = 0; i < 3; i++)
            times[desired[i]]++;
    }
    for (uint32_t uid = 1; uid < ARMS; uid++)
        assert_true(times[uid] > 10 && times[uid] < 50); /* 30 expected. */
    assert_int_equal(times[ARMS], 0);
    close_scene(&t);
}

static void pins_give_back_what_they_took_of_a_random_set(void **state)
{
    (void)state;
    static struct scene t;
    open_scene(&t, "random");
    for (int k = 0; k < 10; k++) {
        uint32_t drawn[8], now[8], cold[8], cold_n = 0;
        pull(&t, 8, 50);
        plan_with(&t, 0, 0, 0);
        assert_int_equal(controller_desired(t.c, drawn, 8), 3);
        for (uint32_t uid = 1; uid < ARMS; uid++)
            if (!controller_look(t.c, uid).desired)
                cold[cold_n++] = uid;
        for (uint32_t i = 0; i < 2; i++) { /* Each pin takes one place, and no more. */
            pin(&t, cold[i], true);
            amend(&t);
            uint32_t left = 0;
            for (uint32_t j = 0; j < 3; j++)
                left += controller_look(t.c, drawn[j]).desired;
            assert_int_equal(left, 2 - i);
            assert_true(controller_look(t.c, cold[i]).desired);
        }
        for (uint32_t i = 0; i < 2; i++) {
            pin(&t, cold[i], false);
            amend(&t);
        }
        assert_int_equal(controller_desired(t.c, now, 8), 3);
        assert_memory_equal(now, drawn, 3 * sizeof *now);
    }
    close_scene(&t);
}

static void expect_load(const struct controller *c, uint32_t uid, double load_ms)
{
    assert_true(fabs(controller_look(c, uid).load_ms - load_ms) < 1e-9 * (1 + load_ms));
}

/* 100 MB at 500 kB/ms is what was declared: 200 ms. It counts as one adapter among the measured. */
static void what_nobody_measured_is_priced_at_the_rate_of_the_others(void **state)
{
    (void)state;
    struct scene t;
    struct controller *again;
    open_scene(&t, "polar");
    expect_load(t.c, 2, 200);
    controller_measured(t.c, 1, 1000);
    expect_load(t.c, 1, 1000);
    expect_load(t.c, 2, (200 + 1000) / 2.0);
    controller_measured(t.c, 1, 500); /* Its average is 900 now. */
    controller_measured(t.c, 3, 300);
    expect_load(t.c, 2, (200 + 900 + 300) / 3.0);
    for (int i = 0; i < 50; i++) { /* Comes, is slow, and goes: nothing is left of it. */
        assert_int_equal(controller_arm(t.c, 40, 77 * MB, false), OK);
        controller_measured(t.c, 40, 1e8 / 3 + i);
        controller_remove(t.c, 40);
    }
    expect_load(t.c, 2, (200 + 900 + 300) / 3.0);
    assert_int_equal(controller_arm(t.c, 2, 50 * MB, false), OK);
    expect_load(t.c, 2, 50 * (100 + 900 + 300) / 250.0);
    /* So it is after a restart, which knows what was measured before it knows the sizes. */
    assert_int_equal(controller_new(&t.s, controller_state(t.c), D, 0, &again), OK);
    assert_int_equal(controller_arm(again, 2, 50 * MB, false), OK);
    assert_int_equal(controller_arm(again, 1, 100 * MB, false), OK);
    assert_int_equal(controller_arm(again, 3, 100 * MB, false), OK);
    expect_load(again, 2, controller_look(t.c, 2).load_ms);
    assert_true(controller_look(again, 2).load_ms == controller_look(t.c, 2).load_ms);
    controller_free(again);
    controller_remove(t.c, 1);
    expect_load(t.c, 2, 50 * (100 + 300) / 150.0);
    expect_load(t.c, 8, 0); /* The base model. */
    close_scene(&t);
}

/* What a crash would lose is told once: between plans by itself, else with the plan. */
static void a_load_is_told_once_by_itself_or_with_the_next_plan(void **state)
{
    (void)state;
    const struct residency_load *loads;
    struct scene t;
    open_scene(&t, "polar");
    assert_false(controller_has_loads(t.c));
    assert_int_equal(controller_loads(t.c, &loads), 0);
    controller_measured(t.c, 5, 100);
    controller_measured(t.c, 2, 40);
    controller_measured(t.c, 5, 200);
    controller_measured(t.c, 77, 1); /* Nobody's. */
    assert_true(controller_has_loads(t.c));
    assert_int_equal(controller_loads(t.c, &loads), 2);
    assert_int_equal(loads[0].uid, 2);
    assert_int_equal(loads[0].loads, 1);
    assert_int_equal(loads[1].uid, 5);
    assert_int_equal(loads[1].loads, 2);
    assert_true(loads[1].load_ms == controller_look(t.c, 5).load_ms);
    assert_false(controller_has_loads(t.c));
    assert_int_equal(controller_loads(t.c, &loads), 0);
    controller_measured(t.c, 3, 60);
    pull(&t, 1, 50);
    plan_with(&t, .9, .1, 0);
    assert_false(controller_has_loads(t.c));
    uint32_t found = 0;
    for (uint32_t i = 0; i < t.plan.update.arms_n; i++)
        found += t.plan.update.arms[i].uid == 3 && t.plan.update.arms[i].loads == 1;
    assert_int_equal(found, 1);
    controller_measured(t.c, 4, 60);
    controller_remove(t.c, 4);
    assert_int_equal(controller_loads(t.c, &loads), 0);
    close_scene(&t);
}

static void an_epoch_lasts_its_requests_and_its_loads(void **state)
{
    (void)state;
    static struct scene t;
    open_scene(&t, "polar");
    t.s.epoch_loads = 20; /* Of 200 ms. */
    assert_int_equal(controller_set(t.c, &t.s), OK);
    pull(&t, 1, 49);
    assert_false(controller_due(t.c, 10000000));
    pull(&t, 1, 1);
    assert_false(controller_due(t.c, 3999999));
    assert_true(controller_due(t.c, 4000000));
    close_scene(&t);
}

static void epochs_of_polar_plus_double_up_to_the_cap(void **state)
{
    (void)state;
    static struct scene t;
    open_scene(&t, "polar_plus");
    t.s.epoch_max = 180;
    assert_int_equal(controller_set(t.c, &t.s), OK);
    static const uint64_t lengths[] = {25, 50, 100, 180, 180};
    for (size_t k = 0; k < 5; k++) {
        assert_int_equal(controller_state(t.c)->length, lengths[k]);
        pull(&t, 1, (uint32_t)lengths[k]);
        assert_true(controller_due(t.c, t.now_us));
        plan_with(&t, .5, .5, 0);
    }
    close_scene(&t);
}

static void forced_pulls_are_bounded_spread_and_spare_critical_requests(void **state)
{
    (void)state;
    static struct scene t;
    open_scene(&t, "polar_plus");
    t.s.epoch_max = 1000;
    assert_int_equal(controller_set(t.c, &t.s), OK);
    assert_int_equal(controller_force(t.c, false), 0); /* No plan yet. */
    for (uint64_t length = 25; length <= 800; length *= 2) {
        pull(&t, 1, (uint32_t)length);
        plan_with(&t, .5, .5, .5);
    }
    uint64_t length = controller_state(t.c)->length, forced = 0, since = 0, most = 0;
    double t0 = (double)controller_state(t.c)->requests;
    for (uint64_t i = 0; i < length; i++) {
        bool critical = i % 2;
        uint32_t uid = controller_force(t.c, critical);
        assert_false(critical && uid);
        since++;
        if (uid) {
            assert_int_not_equal(uid, 1); /* The one that had the most pulls. */
            forced++;
            most = since > most ? since : most;
            since = 0;
        }
        pull(&t, uid ? uid : 1, 1);
    }
    double bound = ceil(t.s.force_share * ARMS * log(2 + t0 + (double)length));
    assert_true(forced > 0 && (double)forced <= bound);
    assert_true(most <= 2 * length / (uint64_t)bound + 2);
    /* Nothing is forced once optimism is small. */
    plan_with(&t, .5, .5, t.s.force_width / 2);
    for (uint64_t i = 0; i < length; i++) {
        assert_int_equal(controller_force(t.c, false), 0);
        pull(&t, 1, 1);
    }
    close_scene(&t);
}

static void one_plan_evicts_no_more_than_its_cap(void **state)
{
    (void)state;
    static struct scene t;
    open_scene(&t, "polar");
    t.s.evictions_max = 1;
    assert_int_equal(controller_set(t.c, &t.s), OK);
    for (uint32_t uid = 1; uid <= 3; uid++)
        controller_resident(t.c, uid, true);
    for (uint32_t k = 1; k <= 3; k++) {
        pull(&t, 5, 20);
        pull(&t, 6, 20);
        pull(&t, 7, 20);
        plan_with(&t, .9, .1, 0);
        assert_int_equal(t.plan.evictions, 1);
        obey(&t);
    }
    assert_true(controller_look(t.c, 5).resident && controller_look(t.c, 6).resident &&
                controller_look(t.c, 7).resident);
    close_scene(&t);
}

/* Seven adapters asked equally often, of which three are worth keeping: each of the others gets an
 * epoch's slot after starve_requests misses and at most as many epochs as there are others. */
static void no_adapter_starves(void **state)
{
    (void)state;
    static struct scene t;
    open_scene(&t, "polar");
    t.s.starve_requests = 20;
    assert_int_equal(controller_set(t.c, &t.s), OK);
    uint64_t waited[ARMS + 1] = {0}, most = 0;
    bool owed = false;
    for (int k = 0; k < 60; k++) {
        for (uint32_t i = 0; i < 56; i++)
            pull(&t, 1 + i % 7, 1);
        struct controller_window w = controller_close(t.c);
        for (uint32_t a = 0; a < ARMS; a++)
            for (uint32_t i = 0; i < w.n; i++) {
                bool mine = w.rows[i * w.stride + 1] == (float)(a + 1);
                t.neutral[a * w.n + i] = mine ? (a < 3 ? .9F : .5F) : 0;
                t.bonus[a * w.n + i] = 0;
            }
        struct controller_values v = {ARMS, t.uids, t.neutral, t.bonus, t.low, t.high};
        assert_int_equal(controller_plan(t.c, &v, ++t.now_us, &t.plan), OK);
        obey(&t);
        for (uint32_t uid = 1; uid < ARMS; uid++) {
            owed |= controller_look(t.c, uid).owed;
            waited[uid] = controller_look(t.c, uid).resident ? 0 : waited[uid] + 1;
            most = waited[uid] > most ? waited[uid] : most;
        }
    }
    assert_true(owed);
    assert_true(most <= 3 + 5); /* 20 misses of 8 an epoch; five may wait in line. */
    close_scene(&t);
}

static void assert_same_bytes(const struct residency *a, const struct residency *b)
{
    struct buf x, y;
    buf_init(&x);
    buf_init(&y);
    residency_put(a, &x);
    residency_put(b, &y);
    assert_int_equal(x.len, y.len);
    assert_memory_equal(x.data, y.data, x.len);
    buf_done(&x);
    buf_done(&y);
}

static void step_of_history(struct scene *t, uint64_t k)
{
    for (uint64_t i = 0; i < 50 + k % 3; i++)
        pull(t, 1 + (uint32_t)rng_below(k, i, ARMS), 1);
    controller_measured(t->c, 1 + (uint32_t)(k % 7), 100 + (double)k);
    plan_with(t, .5 + .01 * (double)(k % 9), .3, .1);
    obey(t);
}

/* The journal is all that is left after a kill -9. */
static void updates_folded_into_nothing_are_the_controllers_state(void **state)
{
    (void)state;
    static const char *const policies[] = {"polar", "polar_plus", "lru", "top_k", "static"};
    for (size_t p = 0; p < 5; p++) {
        static struct scene t;
        struct residency folded;
        open_scene(&t, policies[p]);
        assert_int_equal(residency_init(&folded, D, 0), OK);
        for (uint64_t k = 0; k < 30; k++) {
            for (uint64_t i = 0; i < 50 + k % 3; i++)
                pull(&t, 1 + (uint32_t)rng_below(k, i, ARMS), 1);
            controller_measured(t.c, 1 + (uint32_t)(k % 7), 100 + (double)k);
            plan_with(&t, .5 + .01 * (double)(k % 9), .3, .1);
            assert_int_equal(residency_reserve(&folded, t.plan.update.arms_n), OK);
            residency_fold(&folded, &t.plan.update);
            assert_same_bytes(&folded, controller_state(t.c));
            obey(&t);
            pin(&t, 1 + (uint32_t)(k % 7), k % 2);
            if (!controller_stale(t.c))
                continue;
            amend(&t);
            if (t.plan.update.epoch) { /* Counts of the epoch that runs go with it. */
                residency_fold(&folded, &t.plan.update);
                assert_same_bytes(&folded, controller_state(t.c));
            }
            obey(&t);
        }
        residency_done(&folded);
        close_scene(&t);
    }
}

static void a_controller_made_from_the_state_plans_as_the_old_one_would(void **state)
{
    (void)state;
    static struct scene a, b;
    open_scene(&a, "polar");
    for (uint64_t k = 0; k < 12; k++)
        step_of_history(&a, k);
    open_scene(&b, "polar");
    controller_free(b.c);
    assert_int_equal(controller_new(&b.s, controller_state(a.c), D, 0, &b.c), OK);
    for (uint32_t i = 0; i < ARMS; i++)
        assert_int_equal(controller_arm(b.c, i + 1, i + 1 < ARMS ? 100 * MB : 0, false), OK);
    obey(&b); /* The engine still holds what was planned. */
    b.now_us = a.now_us;
    for (uint64_t k = 12; k < 20; k++) {
        step_of_history(&a, k);
        step_of_history(&b, k);
        for (uint32_t uid = 1; uid <= ARMS; uid++)
            assert_int_equal(controller_look(a.c, uid).desired, controller_look(b.c, uid).desired);
    }
    close_scene(&a);
    close_scene(&b);
}

static void the_sample_of_an_epoch_is_as_likely_early_as_late(void **state)
{
    (void)state;
    uint32_t quarter[4] = {0};
    static struct scene t;
    open_scene(&t, "polar");
    for (int k = 0; k < 40; k++) {
        for (uint32_t i = 0; i < 1000; i++) {
            float row[D] = {1, (float)i};
            controller_pull(t.c, 1, false, row);
        }
        plan_with(&t, .5, .5, 0);
        assert_int_equal(t.plan.update.samples_n, EPOCH_SAMPLE_MAX);
        for (uint32_t i = 0; i < EPOCH_SAMPLE_MAX; i++)
            quarter[(uint32_t)t.plan.update.samples[i * D + 1] / 250]++;
    }
    /* 520 expected each, standard deviation 20; seeds are fixed. */
    for (int i = 0; i < 4; i++)
        assert_true(quarter[i] > 440 && quarter[i] < 600);
    close_scene(&t);
}

static void arms_come_and_go_and_the_others_keep_what_is_theirs(void **state)
{
    (void)state;
    static struct scene t;
    open_scene(&t, "polar");
    pull(&t, 3, 4);
    pull(&t, 6, 2);
    controller_resident(t.c, 6, true);
    controller_remove(t.c, 4);
    controller_remove(t.c, 4);
    assert_int_equal(controller_look(t.c, 4).uid, 0);
    assert_true(controller_look(t.c, 6).resident);
    assert_int_equal(controller_look(t.c, 6).pulls, 2);
    for (uint32_t uid = 100; uid > 50; uid--)
        assert_int_equal(controller_arm(t.c, uid, 1, false), OK);
    assert_int_equal(controller_arm(t.c, 4, 2 * MB, true), OK);
    assert_false(controller_look(t.c, 4).resident);
    assert_true(controller_look(t.c, 4).pinned);
    assert_true(controller_look(t.c, 6).resident);
    assert_int_equal(controller_look(t.c, 3).pulls, 4);
    float row[D] = {1, 0};
    controller_pull(t.c, 4000, false, row); /* Gone meanwhile: a request, but nobody's. */
    controller_resident(t.c, 4000, true);
    close_scene(&t);
}

static void a_plan_without_memory_keeps_what_was_desired(void **state)
{
    (void)state;
    static struct scene t;
    open_scene(&t, "polar");
    step_of_history(&t, 1);
    uint32_t before[8], after[8];
    uint32_t n = controller_desired(t.c, before, 8);
    pull(&t, 7, 50);
    struct controller_window w = controller_close(t.c);
    struct controller_values v = {ARMS, t.uids, t.neutral, t.bonus, t.low, t.high};
    assert_true(w.n > 0);
    mem_fail_nth(1);
    enum err e = controller_plan(t.c, &v, 5, &t.plan);
    bool counted = mem_count() > 0;
    mem_fail_nth(0);
    if (!counted)
        skip(); /* Built without counted faults. */
    assert_int_equal(e, ERR_NOMEM);
    assert_int_equal(controller_desired(t.c, after, 8), n);
    assert_memory_equal(before, after, n * sizeof *before);
    assert_int_equal(t.plan.update.samples_n, 50);
    close_scene(&t);
}

static void a_policy_that_does_not_exist_is_refused_by_name(void **state)
{
    (void)state;
    static struct scene t;
    struct err_detail d;
    struct controller *c;
    open_scene(&t, "polar");
    strcpy(t.s.policy, "mru");
    assert_int_equal(controller_new(&t.s, NULL, D, 0, &c), ERR_INVALID);
    assert_int_equal(controller_set(t.c, &t.s), ERR_INVALID);
    assert_string_equal(controller_policy(t.c)->name, "polar");
    assert_int_equal(cache_policy_check(&t.s, &d), ERR_INVALID);
    assert_non_null(strstr(d.text, "polar_plus"));
    for (uint32_t i = 0; cache_policy_at(i); i++)
        assert_ptr_equal(cache_policy_find(cache_policy_at(i)->name), cache_policy_at(i));
    close_scene(&t);
}

/* Two replicas of 150 MB: arm 1, of 200, has no place, though it is the best and missed most. */
static void what_no_replica_could_hold_is_neither_planned_nor_owed(void **state)
{
    const char *const policies[] = {"polar", "top_k", "lru", "static", "random"};
    (void)state;
    for (size_t k = 0; k < sizeof policies / sizeof *policies; k++) {
        struct scene t;
        open_scene(&t, policies[k]);
        t.s.bytes = 300 * MB;
        t.s.starve_requests = 20;
        assert_int_equal(controller_set(t.c, &t.s), OK);
        controller_place(t.c, 150 * MB);
        assert_int_equal(controller_arm(t.c, 1, 200 * MB, false), OK);
        for (int epoch = 0; epoch < 4; epoch++) {
            for (uint32_t uid = 1; uid < 6; uid++)
                pull(&t, uid, uid == 1 ? 40 : 10);
            plan_with(&t, .9, .1, 0);
            obey(&t);
            assert_false(controller_look(t.c, 1).desired || controller_look(t.c, 1).owed);
            assert_in_range(resident_n(&t), 1, 3);
        }
        close_scene(&t);
    }
}

/* One that never has a place waits longest for good. */
static void one_that_has_no_place_keeps_nobody_from_their_turn(void **state)
{
    (void)state;
    struct scene t;
    open_scene(&t, "polar");
    t.s.bytes = 120 * MB; /* Of one replica: nothing is said of others. */
    t.s.starve_requests = 20;
    assert_int_equal(controller_set(t.c, &t.s), OK);
    assert_int_equal(controller_arm(t.c, 1, 200 * MB, false), OK);
    pull(&t, 1, 60);
    pull(&t, 2, 30);
    plan_with(&t, .2, .2, 0);
    assert_true(controller_look(t.c, 2).owed && controller_look(t.c, 2).desired);
    close_scene(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(polar_plans_what_requests_gain_most_from),
        cmocka_unit_test(only_a_cold_adapter_is_charged_and_by_what_its_loads_took),
        cmocka_unit_test(lru_evicts_what_was_used_longest_ago_and_never_a_pin),
        cmocka_unit_test(lfu_evicts_what_was_used_least),
        cmocka_unit_test(a_budget_of_bytes_bounds_what_is_admitted),
        cmocka_unit_test(top_k_takes_the_largest_shares_and_static_takes_nothing_new),
        cmocka_unit_test(static_has_the_first_that_fit_and_keeps_what_another_policy_left),
        cmocka_unit_test(a_pin_is_carried_out_without_a_request_whatever_the_policy),
        cmocka_unit_test(an_adapter_that_is_unpinned_loses_a_slot_it_is_not_worth),
        cmocka_unit_test(pins_beyond_the_room_wait_for_it),
        cmocka_unit_test(a_place_that_comes_free_is_given_away_without_a_request),
        cmocka_unit_test(room_that_comes_back_is_filled_without_a_request),
        cmocka_unit_test(room_that_comes_back_to_an_lru_waits_for_its_misses),
        cmocka_unit_test(random_draws_another_full_set_each_epoch),
        cmocka_unit_test(pins_give_back_what_they_took_of_a_random_set),
        cmocka_unit_test(what_nobody_measured_is_priced_at_the_rate_of_the_others),
        cmocka_unit_test(a_load_is_told_once_by_itself_or_with_the_next_plan),
        cmocka_unit_test(an_epoch_lasts_its_requests_and_its_loads),
        cmocka_unit_test(epochs_of_polar_plus_double_up_to_the_cap),
        cmocka_unit_test(forced_pulls_are_bounded_spread_and_spare_critical_requests),
        cmocka_unit_test(one_plan_evicts_no_more_than_its_cap),
        cmocka_unit_test(no_adapter_starves),
        cmocka_unit_test(updates_folded_into_nothing_are_the_controllers_state),
        cmocka_unit_test(a_controller_made_from_the_state_plans_as_the_old_one_would),
        cmocka_unit_test(the_sample_of_an_epoch_is_as_likely_early_as_late),
        cmocka_unit_test(arms_come_and_go_and_the_others_keep_what_is_theirs),
        cmocka_unit_test(a_plan_without_memory_keeps_what_was_desired),
        cmocka_unit_test(a_policy_that_does_not_exist_is_refused_by_name),
        cmocka_unit_test(what_no_replica_could_hold_is_neither_planned_nor_owed),
        cmocka_unit_test(one_that_has_no_place_keeps_nobody_from_their_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
