#include "server/adapters/reconcile.h"
#include "tests/unit/cmocka_all.h"

#include <string.h>

enum { N = 4, DRAIN = 1000, MIN = 100, MAX = 1000 };

static const struct reconcile_rules lru = {
    .slots = 2, .offers = true, .drain_us = DRAIN, .backoff_min_us = MIN, .backoff_max_us = MAX};
static const struct reconcile_rules pins = {.slots = 2,
                                            .offers = true,
                                            .releases = true,
                                            .reloads = true,
                                            .drain_us = DRAIN,
                                            .backoff_min_us = MIN,
                                            .backoff_max_us = MAX};

struct scene {
    struct engine_item items[N];
    struct reconcile_pass pass;
};

/* Items 0 and 1 are wanted, 0 is busier; everything is offered, nothing resident. */
static struct scene scene(void)
{
    static const char *const names[N] = {"a", "b", "c", "d"};
    struct scene s;
    memset(&s, 0, sizeof s);
    for (uint32_t i = 0; i < N; i++) {
        s.items[i].uid = i + 1;
        memcpy(s.items[i].name, names[i], 2);
        s.items[i].offered = true;
        s.items[i].wanted = i < 2;
        s.items[i].rate = 1.0 / (i + 1);
    }
    s.pass = (struct reconcile_pass){.number = 1, .offers = 8};
    return s;
}

static struct reconcile_step next(struct scene *s, const struct reconcile_rules *rules, int64_t now)
{
    return reconcile_next(s->items, N, rules, &s->pass, now);
}

static void expect(struct scene *s, const struct reconcile_rules *rules, int64_t now,
                   enum reconcile_act act, size_t item)
{
    struct reconcile_step step = next(s, rules, now);
    assert_int_equal(step.act, act);
    assert_int_equal(step.item, item);
}

static void loads_the_busiest_first_and_then_rests(void **state)
{
    struct scene s = scene();
    (void)state;
    expect(&s, &lru, 1, RECONCILE_LOAD, 0);
    s.items[0].resident = true;
    expect(&s, &lru, 1, RECONCILE_LOAD, 1);
    s.items[1].resident = true;
    expect(&s, &lru, 1, RECONCILE_REST, 0);
}

static void a_failed_load_waits_longer_each_time_and_lets_others_go_first(void **state)
{
    struct scene s = scene();
    int64_t now = 1;
    (void)state;
    for (uint32_t k = 1; k <= 8; k++) {
        reconcile_begin(&s.items[0], RECONCILE_LOAD, &s.pass);
        reconcile_done(&s.items[0], RECONCILE_LOAD, &lru, "no such path", now, 0);
        int64_t pause = k < 5 ? MIN << (k - 1) : MAX;
        assert_int_equal(s.items[0].retry_us, now + pause);
        s.pass.number++;
        expect(&s, &lru, now + pause - 1, RECONCILE_LOAD, 1);
        expect(&s, &lru, now + pause, RECONCILE_LOAD, 0);
        now += pause;
    }
    assert_int_equal(reconcile_phase(&s.items[0]), ENGINE_FAILED);
    assert_string_equal(s.items[0].error, "no such path");
}

static void jitter_takes_at_most_half_of_a_pause(void **state)
{
    (void)state;
    assert_int_equal(reconcile_backoff_us(1, 100, 1000, 0), 100);
    assert_in_range(reconcile_backoff_us(1, 100, 1000, .999), 50, 51);
    assert_int_equal(reconcile_backoff_us(3, 100, 1000, 0), 400);
    assert_int_equal(reconcile_backoff_us(UINT32_MAX, 100, 1000, 0), 1000);
}

static void an_engine_that_never_does_what_it_says_ends_the_pass(void **state)
{
    struct scene s = scene();
    size_t steps = 0;
    (void)state;
    for (struct reconcile_step step; (step = next(&s, &lru, 1)).act != RECONCILE_REST; steps++) {
        struct engine_item *it = &s.items[step.item];
        reconcile_begin(it, step.act, &s.pass);
        reconcile_done(it, step.act, &lru, NULL, 1, 0); /* And it is still not resident. */
        assert_true(steps < 100);
    }
    assert_int_equal(steps, 2 * RECONCILE_ACTS);
}

static void what_has_requests_in_flight_is_released_when_they_end(void **state)
{
    struct scene s = scene();
    (void)state;
    s.items[2].resident = s.items[3].resident = true;
    s.items[2].traffic.in_flight = s.items[3].traffic.in_flight = 1;
    expect(&s, &pins, 10, RECONCILE_REST, 0); /* No room, and none can be made. */
    s.items[3].traffic.in_flight = 0;
    expect(&s, &pins, 20, RECONCILE_RELEASE, 3);
    s.items[3].resident = false;
    expect(&s, &pins, 20, RECONCILE_LOAD, 0);
    assert_false(s.items[2].undrained);
}

static void nothing_is_waited_for_longer_than_drain_us(void **state)
{
    struct scene s = scene();
    (void)state;
    s.items[2].resident = s.items[3].resident = true;
    s.items[2].traffic.in_flight = s.items[3].traffic.in_flight = 1;
    expect(&s, &pins, 10, RECONCILE_REST, 0);
    expect(&s, &pins, 10 + DRAIN - 1, RECONCILE_REST, 0);
    expect(&s, &pins, 10 + DRAIN, RECONCILE_RELEASE, 2);
    assert_true(s.items[2].undrained);
}

static void an_lru_needs_no_release_but_waits_for_what_drains(void **state)
{
    struct scene s = scene();
    (void)state;
    s.items[2].resident = s.items[3].resident = true;
    expect(&s, &lru, 10, RECONCILE_LOAD, 0); /* Both idle: the LRU makes room. */
    s.items[2].traffic.in_flight = s.items[3].traffic.in_flight = 1;
    expect(&s, &lru, 10, RECONCILE_REST, 0);
}

static void a_load_that_interrupts_service_waits_a_tenth_as_long(void **state)
{
    struct scene s = scene();
    (void)state;
    s.items[0].traffic.in_flight = 1;
    expect(&s, &pins, 10, RECONCILE_LOAD, 1);
    s.items[1].resident = true;
    expect(&s, &pins, 10 + DRAIN / 10 - 1, RECONCILE_REST, 0);
    expect(&s, &pins, 10 + DRAIN / 10, RECONCILE_LOAD, 0);
}

static void what_would_be_evicted_next_is_touched_once_a_pass(void **state)
{
    struct scene s = scene();
    (void)state;
    s.items[0].resident = s.items[1].resident = true;
    s.items[1].endangered = true;
    expect(&s, &lru, 1, RECONCILE_TOUCH, 1);
    reconcile_begin(&s.items[1], RECONCILE_TOUCH, &s.pass);
    reconcile_done(&s.items[1], RECONCILE_TOUCH, &lru, NULL, 1, 0);
    expect(&s, &lru, 1, RECONCILE_REST, 0);
}

static void a_resident_is_touched_before_a_load_that_would_evict_it(void **state)
{
    struct scene s = scene();
    (void)state;
    s.items[1].resident = s.items[1].endangered = true;
    expect(&s, &lru, 1, RECONCILE_TOUCH, 1);
    s.items[1].endangered = false;
    expect(&s, &lru, 1, RECONCILE_LOAD, 0);
}

static void offers_come_last_in_one_batch_and_no_more_than_allowed(void **state)
{
    struct scene s = scene();
    (void)state;
    s.items[0].resident = s.items[1].resident = true;
    s.items[2].offered = s.items[3].offered = false;
    expect(&s, &lru, 1, RECONCILE_OFFER, 2);
    s.items[2].offered = true;
    s.items[0].endangered = true; /* By that offer: touched when the batch is over. */
    expect(&s, &lru, 1, RECONCILE_OFFER, 3);
    s.items[3].offered = true;
    expect(&s, &lru, 1, RECONCILE_TOUCH, 0);
    s.items[0].endangered = false;
    s.items[3].offered = false;
    s.pass.offers = 0;
    expect(&s, &lru, 1, RECONCILE_REST, 0);
}

static void a_name_is_loaded_again_only_after_its_predecessor_is_retired(void **state)
{
    struct scene s = scene();
    (void)state;
    s.items[3].gone = true;
    memcpy(s.items[3].name, "a", 2);
    s.items[3].traffic.in_flight = 1;
    s.items[0].offered = false;
    expect(&s, &lru, 1, RECONCILE_LOAD, 1); /* Others need not wait for it. */
    s.items[1].resident = true;
    expect(&s, &lru, 1, RECONCILE_REST, 0);
    s.items[3].traffic.in_flight = 0;
    expect(&s, &lru, 1, RECONCILE_RETIRE, 3);
    s.items[3].offered = false;
    expect(&s, &lru, 1, RECONCILE_LOAD, 0);
}

static void a_claim_that_the_list_denies_is_a_failure_and_one_it_confirms_heals(void **state)
{
    struct scene s = scene();
    (void)state;
    s.items[0].claimed = s.items[0].denied = true;
    s.items[1].claimed = true;
    s.items[1].failures = 2;
    reconcile_confirm(s.items, N, &lru, 50, 0);
    assert_int_equal(s.items[0].failures, 1);
    assert_int_equal(s.items[0].retry_us, 50 + MIN);
    assert_int_equal(s.items[1].failures, 0);
}

static void what_cannot_be_retired_is_given_up_but_for_a_name_that_is_back(void **state)
{
    struct scene s = scene();
    (void)state;
    struct engine_item *gone = &s.items[N - 1];
    gone->gone = gone->resident = true;
    gone->failures = RECONCILE_HOPELESS - 1;
    reconcile_confirm(s.items, N, &lru, 50, 0); /* That it is there still is no success. */
    assert_int_equal(gone->failures, RECONCILE_HOPELESS - 1);
    assert_false(reconcile_hopeless(s.items, N - 1, gone));
    reconcile_done(gone, RECONCILE_RETIRE, &lru, "no", 50, 0);
    assert_true(reconcile_hopeless(s.items, N - 1, gone));
    memcpy(s.items[0].name, gone->name, sizeof gone->name);
    assert_false(reconcile_hopeless(s.items, N - 1, gone));
}

static void forgiving_spares_what_may_bring_the_engine_down(void **state)
{
    struct scene s = scene();
    (void)state;
    for (size_t i = 0; i < N; i++)
        s.items[i].retry_us = 1000;
    s.items[0].failures = RECONCILE_STUBBORN;
    s.items[1].failures = RECONCILE_STUBBORN - 1;
    reconcile_forgive(s.items, N);
    assert_int_equal(s.items[0].retry_us, 1000);
    assert_int_equal(s.items[1].retry_us, 0);
}

static void too_small_an_engine_keeps_what_it_has_and_says_what_to_do(void **state)
{
    struct scene s = scene();
    struct reconcile_rules small = pins;
    (void)state;
    small.slots = 1;
    s.items[1].resident = true; /* The less busy one: not exchanged for the busier. */
    expect(&s, &small, 1, RECONCILE_REST, 0);
    reconcile_crowd(s.items, N, &small, "start it with more");
    assert_int_equal(reconcile_phase(&s.items[0]), ENGINE_FAILED);
    assert_non_null(strstr(s.items[0].error, "room for 1 of 2 adapters: start it with more"));
    assert_int_equal(reconcile_phase(&s.items[1]), ENGINE_RESIDENT);
}

/* However often it failed, and whatever a tick is. */
static void a_replica_that_fails_is_looked_at_within_a_tick_or_a_second(void **state)
{
    static const int64_t ticks_ms[] = {10, 200, 1000, 600000};
    (void)state;
    for (size_t k = 0; k < sizeof ticks_ms / sizeof *ticks_ms; k++) {
        const struct reconcile_patience p = {ticks_ms[k] * 1000, 500000};
        int64_t most = ticks_ms[k] < 1000 ? ticks_ms[k] * 1000 : 1000000;
        assert_int_equal(reconcile_look_us(&p), most);
        for (uint32_t failures = 1; failures < 40; failures++) {
            assert_in_range(reconcile_pause_us(&p, failures, 0, 0), 1, most);
            assert_in_range(reconcile_pause_us(&p, failures, 0, .999), 1, most * 51 / 100);
        }
        assert_int_equal(reconcile_pause_us(&p, 9, 0, 0), most);
    }
}

/* Megabytes of nonsense, ten times a second, would else have a processor for themselves. */
static void a_look_that_was_dear_is_not_repeated_at_once(void **state)
{
    const struct reconcile_patience p = {100000, 500000};
    (void)state;
    assert_int_equal(reconcile_pause_us(&p, 9, 25000, 0), 100000);
    assert_int_equal(reconcile_pause_us(&p, 9, 60000, 0), 240000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loads_the_busiest_first_and_then_rests),
        cmocka_unit_test(a_failed_load_waits_longer_each_time_and_lets_others_go_first),
        cmocka_unit_test(jitter_takes_at_most_half_of_a_pause),
        cmocka_unit_test(a_replica_that_fails_is_looked_at_within_a_tick_or_a_second),
        cmocka_unit_test(a_look_that_was_dear_is_not_repeated_at_once),
        cmocka_unit_test(an_engine_that_never_does_what_it_says_ends_the_pass),
        cmocka_unit_test(what_has_requests_in_flight_is_released_when_they_end),
        cmocka_unit_test(nothing_is_waited_for_longer_than_drain_us),
        cmocka_unit_test(an_lru_needs_no_release_but_waits_for_what_drains),
        cmocka_unit_test(a_load_that_interrupts_service_waits_a_tenth_as_long),
        cmocka_unit_test(what_would_be_evicted_next_is_touched_once_a_pass),
        cmocka_unit_test(a_resident_is_touched_before_a_load_that_would_evict_it),
        cmocka_unit_test(offers_come_last_in_one_batch_and_no_more_than_allowed),
        cmocka_unit_test(a_name_is_loaded_again_only_after_its_predecessor_is_retired),
        cmocka_unit_test(a_claim_that_the_list_denies_is_a_failure_and_one_it_confirms_heals),
        cmocka_unit_test(what_cannot_be_retired_is_given_up_but_for_a_name_that_is_back),
        cmocka_unit_test(forgiving_spares_what_may_bring_the_engine_down),
        cmocka_unit_test(too_small_an_engine_keeps_what_it_has_and_says_what_to_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
