#include "server/adapters/assign.h"
#include "state/base/mem.h"
#include "tests/unit/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

enum { N = 6, REPLICAS = 3 };

struct scene {
    uint8_t desired[N], held[REPLICAS * N], want[REPLICAS * N];
    double rate[N];
    uint64_t bytes[N];
    struct assign_input in;
    uint32_t left;
};

static void open_scene(struct scene *s, uint32_t slots)
{
    static const double rates[N] = {.4, .3, .1, .1, .05, .05};
    memset(s, 0, sizeof *s);
    for (uint32_t i = 0; i < N; i++) {
        s->desired[i] = 1;
        s->rate[i] = rates[i];
        s->bytes[i] = 100;
    }
    s->in = (struct assign_input){N, REPLICAS, s->desired, s->rate, s->bytes, s->held, slots, 0};
}

static uint32_t copies(const struct scene *s, uint32_t i)
{
    uint32_t n = 0;
    for (uint32_t r = 0; r < REPLICAS; r++)
        n += s->want[r * N + i];
    return n;
}

static uint32_t held_by(const struct scene *s, uint32_t r)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < N; i++)
        n += s->want[r * N + i];
    return n;
}

static void run(struct scene *s)
{
    assert_int_equal(assign_replicas(&s->in, s->want, &s->left), OK);
}

static void every_adapter_has_a_place_and_no_replica_is_overfull(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, 2);
    run(&s);
    assert_int_equal(s.left, 0);
    for (uint32_t i = 0; i < N; i++)
        assert_int_equal(copies(&s, i), 1);
    for (uint32_t r = 0; r < REPLICAS; r++)
        assert_int_equal(held_by(&s, r), 2);
    /* The two busiest are not on one replica. */
    for (uint32_t r = 0; r < REPLICAS; r++)
        assert_false(s.want[r * N] && s.want[r * N + 1]);
}

static void an_adapter_stays_where_it_is(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, 2);
    s.held[1 * N + 0] = s.held[1 * N + 5] = s.held[2 * N + 3] = 1;
    run(&s);
    assert_true(s.want[1 * N + 0] && s.want[1 * N + 5] && s.want[2 * N + 3]);
    struct scene again = s;
    memcpy(again.held, s.want, sizeof again.held);
    again.in.held = again.held;
    again.in.desired = again.desired;
    again.in.rate = again.rate;
    again.in.bytes = again.bytes;
    run(&again);
    assert_memory_equal(again.want, s.want, sizeof s.want); /* Nothing moves twice. */
}

static void room_that_is_left_goes_to_copies_of_the_busiest(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, 3); /* Nine slots for six adapters. */
    run(&s);
    assert_true(copies(&s, 0) >= 2 && copies(&s, 1) >= 2);
    assert_int_equal(copies(&s, 4), 1);
    assert_int_equal(held_by(&s, 0) + held_by(&s, 1) + held_by(&s, 2), 9);
}

static void what_fits_nowhere_is_counted_and_what_is_not_desired_is_left_out(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, 0);
    s.in.budget = 250;
    s.bytes[0] = 300;
    s.desired[2] = 0;
    run(&s);
    assert_int_equal(s.left, 1);
    assert_int_equal(copies(&s, 0), 0);
    assert_int_equal(copies(&s, 2), 0);
    for (uint32_t r = 0; r < REPLICAS; r++)
        assert_true(held_by(&s, r) <= 2);
    s.in.replicas = ASSIGN_REPLICAS_MAX + 1;
    assert_int_equal(assign_replicas(&s.in, s.want, &s.left), ERR_LIMIT);
}

static void without_bounds_every_replica_holds_them_all(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, 0);
    run(&s);
    for (uint32_t i = 0; i < N; i++)
        assert_int_equal(copies(&s, i), REPLICAS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_adapter_has_a_place_and_no_replica_is_overfull),
        cmocka_unit_test(an_adapter_stays_where_it_is),
        cmocka_unit_test(room_that_is_left_goes_to_copies_of_the_busiest),
        cmocka_unit_test(what_fits_nowhere_is_counted_and_what_is_not_desired_is_left_out),
        cmocka_unit_test(without_bounds_every_replica_holds_them_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
