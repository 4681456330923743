/* llama.cpp's slots against the stub's: what clients do to them is seen, and mended. */
#include "tests/engines/fleet.h"
#include "tests/unit/cmocka_all.h"

#include <string.h>

static struct fleet *fleet_new(int total, const char *const *more)
{
    static struct fleet f;
    memset(&f, 0, sizeof f);
    fleet_stub(&f, ENGINE_LLAMACPP, total, more);
    fleet_open(&f, 2);
    fleet_desire(&f, "01");
    assert_in_range(fleet_ticks(&f, 2), 1, 2);
    assert_int_equal(fleet_ticks(&f, 1), 1); /* The list confirms the loads. */
    return &f;
}

static void a_slot_that_a_client_took_is_taken_back(void **state)
{
    (void)state;
    struct fleet *f = fleet_new(3, NULL);
    const int32_t slot = fleet_row(f, 0, 1).slot;
    assert_true(fleet_view(f, 0).flags & ENGINE_RESIDENCY_METRIC);
    stub_tell(&f->stubs[0],
              slot ? "{\"complete\":{\"id_slot\":1,\"lora\":[{\"id\":4,\"scale\":1.0}]}}"
                   : "{\"complete\":{\"id_slot\":0,\"lora\":[{\"id\":4,\"scale\":1.0}]}}");
    assert_false(stub_has(&f->stubs[0], "resident", "a0"));
    assert_int_equal(fleet_ticks(f, 1), 1);
    fleet_holds(f, "01");
    assert_int_equal(f->loads[1], 2);
    fleet_done(f);
}

static void a_request_without_adapters_takes_a_slot_too(void **state)
{
    (void)state;
    struct fleet *f = fleet_new(3, NULL);
    stub_tell(&f->stubs[0], "{\"complete\":{\"id_slot\":0}}");
    assert_int_equal(stub_count(&f->stubs[0], "resident"), 1);
    assert_int_equal(fleet_ticks(f, 1), 1);
    fleet_holds(f, "01");
    fleet_done(f);
}

static void a_miss_through_the_scratch_slot_moves_no_resident(void **state)
{
    (void)state;
    struct fleet *f = fleet_new(3, NULL);
    assert_int_equal(fleet_view(f, 0).scratch_slot, 2);
    stub_tell(&f->stubs[0], "{\"complete\":{\"id_slot\":2,\"lora\":[{\"id\":4,\"scale\":1.0}]}}");
    assert_int_equal(fleet_ticks(f, 1), 1);
    assert_int_equal(f->loads[1] + f->loads[2], 2);
    fleet_holds(f, "01");
    fleet_done(f);
}

/* A router that starts again finds what the one before had loaded. */
static void what_the_slots_hold_already_is_not_loaded_again(void **state)
{
    (void)state;
    struct fleet *f = fleet_new(3, NULL);
    long loads = stub_number(&f->stubs[0], "loads");
    reconciler_close(f->r);
    memset(f->loads, 0, sizeof f->loads);
    fleet_open(f, 2);
    fleet_desire(f, "12");
    assert_int_equal(fleet_ticks(f, 1), 1);
    fleet_holds(f, "12");
    assert_int_equal(f->loads[2], 0);
    assert_int_equal(stub_number(&f->stubs[0], "loads"), loads + 1);
    fleet_done(f);
}

static void knows_only_what_it_sent_where_slots_are_not_told(void **state)
{
    const char *more[] = {"--no-slots-endpoint", NULL};
    (void)state;
    struct fleet *f = fleet_new(3, more);
    assert_false(fleet_view(f, 0).flags & ENGINE_RESIDENCY_METRIC);
    fleet_desire(f, "23");
    assert_int_equal(fleet_ticks(f, 1), 1);
    fleet_holds(f, "23");
    assert_int_equal(fleet_ticks(f, 1), 1);
    assert_int_equal(f->loads[3] + f->loads[4], 2);
    fleet_done(f);
}

/* An id_slot beyond the last wraps around: the scratch slot would be a resident's. */
static void keeps_a_scratch_slot_where_there_are_fewer_than_was_said(const char *const *more)
{
    struct fleet f = {.r = NULL};
    fleet_stub(&f, ENGINE_LLAMACPP, 2, more);
    fleet_open(&f, 3);
    fleet_desire(&f, "012");
    assert_int_equal(fleet_ticks(&f, 3), 4); /* Never. */
    assert_int_equal(fleet_view(&f, 0).slots, 1);
    assert_int_equal(fleet_view(&f, 0).scratch_slot, 1);
    fleet_holds(&f, "0");
    assert_non_null(strstr(fleet_row(&f, 0, 2).error, "--parallel"));
    assert_int_equal(stub_number(&f.stubs[0], "loads"), 1);
    fleet_done(&f);
}

static void fewer_slots_as_the_slots_tell(void **state)
{
    (void)state;
    keeps_a_scratch_slot_where_there_are_fewer_than_was_said(NULL);
}

static void fewer_slots_as_the_properties_tell(void **state)
{
    const char *more[] = {"--no-slots-endpoint", NULL};
    (void)state;
    keeps_a_scratch_slot_where_there_are_fewer_than_was_said(more);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slot_that_a_client_took_is_taken_back),
        cmocka_unit_test(a_request_without_adapters_takes_a_slot_too),
        cmocka_unit_test(a_miss_through_the_scratch_slot_moves_no_resident),
        cmocka_unit_test(what_the_slots_hold_already_is_not_loaded_again),
        cmocka_unit_test(knows_only_what_it_sent_where_slots_are_not_told),
        cmocka_unit_test(fewer_slots_as_the_slots_tell),
        cmocka_unit_test(fewer_slots_as_the_properties_tell),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
