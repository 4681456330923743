/* The mirror of vLLM's LRU against the stub's: whatever clients ask for, what the rows call
 * resident is in a slot, and what is wanted is there after a tick. */
#include "server/ops/clock.h"
#include "state/base/rng.h"
#include "tests/engines/fleet.h"
#include "tests/unit/cmocka_all.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

static struct fleet *fleet_new(const char *const *more)
{
    static struct fleet f;
    memset(&f, 0, sizeof f);
    fleet_stub(&f, ENGINE_VLLM, 3, more);
    fleet_open(&f, 2);
    fleet_desire(&f, "01");
    assert_in_range(fleet_ticks(&f, 2), 1, 2);
    return &f;
}

/* A client's request, as the router sees it: decided, served, reported. */
static void use(struct fleet *f, uint32_t i)
{
    char body[64];
    f->used_us[i + 1] = clock_mono_ns() / 1000;
    (void)snprintf(body, sizeof body, "{\"use\":\"a%u\"}", i);
    stub_tell(&f->stubs[0], body);
}

static void check_rows(struct fleet *f)
{
    char name[8];
    for (uint32_t i = 0; i < FLEET_ADAPTERS; i++) {
        (void)snprintf(name, sizeof name, "a%u", i);
        if (fleet_row(f, 0, i + 1).phase == ENGINE_RESIDENT)
            assert_true(stub_has(&f->stubs[0], "resident", name));
    }
}

static void play(const char *const *more)
{
    struct fleet *f = fleet_new(more);
    const uint64_t seed = 11;
    for (uint64_t round = 0; round < 40; round++) {
        uint64_t n = rng_below(seed, 100 * round, 4);
        for (uint64_t k = 1; k <= n; k++)
            use(f, (uint32_t)rng_below(seed, 100 * round + k, FLEET_ADAPTERS));
        if (round == 20)
            fleet_desire(f, "34");
        assert_int_equal(fleet_ticks(f, 1), 1);
        fleet_holds(f, round < 20 ? "01" : "34");
        check_rows(f);
    }
    fleet_done(f);
}

static void the_mirror_is_never_wrong_about_what_is_resident(void **state)
{
    const char *more[] = {NULL};
    (void)state;
    play(more);
}

static void nor_where_registering_loads(void **state)
{
    const char *more[] = {"--load-at-register", NULL};
    (void)state;
    play(more);
}

static void nor_without_metrics(void **state)
{
    const char *more[] = {"--no-metrics", NULL};
    (void)state;
    play(more);
}

static void nor_where_the_engine_says_what_is_loaded(void **state)
{
    const char *more[] = {"--loaded-metric", NULL};
    (void)state;
    play(more);
}

/* Two slots of residents and one of scratch: one miss after another, each tick saves the residents
 * from being the next to go. */
static void residents_survive_a_row_of_misses_without_being_loaded_again(void **state)
{
    (void)state;
    struct fleet *f = fleet_new(NULL);
    long loads = stub_number(&f->stubs[0], "loads");
    for (uint32_t i = 0; i < 8; i++) {
        use(f, 2 + i % 4);
        assert_int_equal(fleet_ticks(f, 1), 1);
        fleet_holds(f, "01");
    }
    /* Each was a miss but the first, which the last offer may have left in the scratch slot. */
    assert_in_range(stub_number(&f->stubs[0], "loads") - loads, 7, 8);
    assert_true(fleet_view(f, 0).touches >= 8);
    fleet_done(f);
}

/* Loads long enough that a touch on a busy machine is not half of one. */
static const char *const slow_loads[] = {"--load-ms", "400", NULL};

/* The engine lives on and holds what is wanted; how long a load takes this process never saw. */
static void a_new_process_takes_no_touch_for_a_load(void **state)
{
    (void)state;
    struct fleet *f = fleet_new(slow_loads);
    assert_true(f->loads[1] == 1 && f->loads[2] == 1);
    reconciler_close(f->r);
    fleet_open(f, 2);
    fleet_desire(f, "01");
    assert_in_range(fleet_ticks(f, 2), 1, 2);
    fleet_holds(f, "01");
    assert_true(fleet_view(f, 0).touches >= 1);
    assert_true(f->loads[1] == 1 && f->loads[2] == 1);
    fleet_done(f);
}

/* What an earlier process had offered was in no slot, or is in none any more: that is seen. */
static void a_new_process_measures_what_others_have_driven_out_since(void **state)
{
    (void)state;
    struct fleet *f = fleet_new(slow_loads);
    reconciler_close(f->r);
    fleet_open(f, 2);
    fleet_desire(f, "01");
    assert_in_range(fleet_ticks(f, 2), 1, 2);
    use(f, 2);
    assert_int_equal(fleet_ticks(f, 1), 1);
    fleet_desire(f, "03");
    assert_in_range(fleet_ticks(f, 2), 1, 2);
    fleet_holds(f, "03");
    assert_int_equal(f->loads[4], 1);
    fleet_done(f);
}

static void *tick_once(void *arg)
{
    struct fleet *f = arg;
    return reconciler_tick(f->r, 0) == OK ? f : NULL;
}

/* The same where the library comes while the engine is first looked at, as when a server starts:
 * what is in it is registered by then, and the look did not ask for it. */
static void nor_does_one_that_learns_its_library_while_it_looks(void **state)
{
    (void)state;
    struct fleet *f = fleet_new(slow_loads);
    assert_true(f->loads[1] == 1 && f->loads[2] == 1);
    reconciler_close(f->r);
    fleet_open(f, 2);
    stub_tell(&f->stubs[0], "{\"mode\":\"slow\",\"ms\":500,\"count\":1}");
    long calls = stub_number(&f->stubs[0], "calls");
    pthread_t thread;
    void *ticked;
    assert_int_equal(pthread_create(&thread, NULL, tick_once, f), 0);
    while (stub_number(&f->stubs[0], "calls") == calls)
        continue;
    fleet_desire(f, "01");
    assert_int_equal(pthread_join(thread, &ticked), 0);
    assert_non_null(ticked);
    assert_in_range(fleet_ticks(f, 2), 1, 2); /* The library may have come after the look, too. */
    fleet_holds(f, "01");
    assert_true(f->loads[1] == 1 && f->loads[2] == 1);
    fleet_done(f);
}

/* Adapter 3 came in with a miss; that 4 and 5 may have run since leaves open whether it is there.
 */
static void what_a_miss_may_have_brought_in_is_no_load_when_it_is_wanted(void **state)
{
    (void)state;
    struct fleet *f = fleet_new(NULL);
    use(f, 3);
    for (uint32_t uid = 5; uid <= 6; uid++) {
        f->in_flight[uid] = 1;
        assert_int_equal(fleet_ticks(f, 1), 1);
        f->in_flight[uid] = 0;
    }
    assert_true(fleet_row(f, 0, 4).phase == ENGINE_COLD);
    assert_true(stub_has(&f->stubs[0], "resident", "a3"));
    fleet_desire(f, "03");
    assert_in_range(fleet_ticks(f, 2), 1, 2);
    fleet_holds(f, "03");
    assert_true(f->loads[4] == 0);
    fleet_done(f);
}

static void what_a_miss_brought_in_and_others_drove_out_is_a_load(void **state)
{
    (void)state;
    struct fleet *f = fleet_new(NULL);
    use(f, 3);
    assert_int_equal(fleet_ticks(f, 1), 1);
    use(f, 2); /* Only one at a time is out of its slots: the ticks between save the residents. */
    assert_int_equal(fleet_ticks(f, 1), 1);
    use(f, 4);
    assert_int_equal(fleet_ticks(f, 1), 1);
    assert_false(stub_has(&f->stubs[0], "resident", "a3"));
    fleet_desire(f, "03");
    assert_in_range(fleet_ticks(f, 2), 1, 2);
    fleet_holds(f, "03");
    assert_true(f->loads[4] == 1);
    fleet_done(f);
}

static void a_metric_that_contradicts_a_load_is_believed(void **state)
{
    const char *more[] = {"--loaded-metric", NULL};
    (void)state;
    struct fleet *f = fleet_new(more);
    assert_int_equal(fleet_ticks(f, 1), 1);
    assert_true(fleet_view(f, 0).flags & ENGINE_RESIDENCY_METRIC);
    stub_tell(&f->stubs[0], "{\"mode\":\"lie\"}");
    fleet_desire(f, "23");
    assert_int_equal(reconciler_tick(f->r, 0), OK); /* Believes the answer to the load, */
    stub_tell(&f->stubs[0], "{\"mode\":\"error\",\"count\":3}");
    assert_int_equal(reconciler_tick(f->r, 0), ERR_ENGINE_REFUSED);
    stub_tell(&f->stubs[0], "{\"mode\":\"ok\"}");
    assert_int_equal(fleet_ticks(f, 1), 1); /* until the metric says otherwise. */
    fleet_holds(f, "23");
    fleet_done(f);
}

static void metrics_that_have_grown_too_long_are_done_without(void **state)
{
    const char *more[] = {"--loaded-metric", NULL};
    (void)state;
    struct fleet *f = fleet_new(more);
    assert_int_equal(fleet_ticks(f, 1), 1);
    assert_true(fleet_view(f, 0).flags & ENGINE_RESIDENCY_METRIC);
    stub_tell(&f->stubs[0], "{\"mode\":\"long_metrics\",\"bytes\":2000000}");
    assert_int_equal(reconciler_tick(f->r, 0), OK);
    assert_true(fleet_view(f, 0).up);
    assert_false(fleet_view(f, 0).flags & ENGINE_RESIDENCY_METRIC);
    fleet_desire(f, "34");
    assert_int_equal(fleet_ticks(f, 1), 1);
    fleet_holds(f, "34");
    check_rows(f);
    fleet_done(f);
}

/* Two processes answer behind one address, or a client library counts children too. */
static void several_start_times_in_one_answer_are_no_restart(void **state)
{
    const char *more[] = {"--also-started", "9e9", NULL};
    (void)state;
    struct fleet *f = fleet_new(more);
    assert_int_equal(fleet_ticks(f, 1), 1);
    uint64_t touches = fleet_view(f, 0).touches;
    long loads = stub_number(&f->stubs[0], "loads");
    for (int i = 0; i < 5; i++)
        assert_int_equal(fleet_ticks(f, 1), 1);
    assert_int_equal(fleet_view(f, 0).touches, touches);
    assert_int_equal(stub_number(&f->stubs[0], "loads"), loads);
    fleet_done(f);
}

static void a_start_time_that_is_no_number_hides_no_restart(void **state)
{
    const char *more[] = {"--also-started", "NaN", "--also-started", "+Inf", NULL};
    (void)state;
    struct fleet *f = fleet_new(more);
    assert_int_equal(fleet_ticks(f, 1), 1);
    stub_tell(&f->stubs[0], "{\"forget\":true}");
    assert_int_equal(fleet_ticks(f, 1), 1);
    fleet_holds(f, "01");
    fleet_done(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_mirror_is_never_wrong_about_what_is_resident),
        cmocka_unit_test(nor_where_registering_loads),
        cmocka_unit_test(nor_without_metrics),
        cmocka_unit_test(nor_where_the_engine_says_what_is_loaded),
        cmocka_unit_test(residents_survive_a_row_of_misses_without_being_loaded_again),
        cmocka_unit_test(a_new_process_takes_no_touch_for_a_load),
        cmocka_unit_test(a_new_process_measures_what_others_have_driven_out_since),
        cmocka_unit_test(nor_does_one_that_learns_its_library_while_it_looks),
        cmocka_unit_test(what_a_miss_may_have_brought_in_is_no_load_when_it_is_wanted),
        cmocka_unit_test(what_a_miss_brought_in_and_others_drove_out_is_a_load),
        cmocka_unit_test(a_metric_that_contradicts_a_load_is_believed),
        cmocka_unit_test(metrics_that_have_grown_too_long_are_done_without),
        cmocka_unit_test(several_start_times_in_one_answer_are_no_restart),
        cmocka_unit_test(a_start_time_that_is_no_number_hides_no_restart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
