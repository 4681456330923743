/* Without an engine: what is refused, what is assigned to whom, and that memory may run out. */
#include "server/adapters/reconciler.h"
#include "state/base/mem.h"
#include "tests/unit/cmocka_all.h"

#include <math.h>
#include <string.h>

static const struct engine_replica two[] = {{"r0", "http://127.0.0.1:1", NULL},
                                            {"r1", "http://127.0.0.1:1", NULL}};

static struct reconciler_config planned(void)
{
    return (struct reconciler_config){
        .kind = ENGINE_NONE, .replicas_n = 2, .replicas = two, .slots = 2};
}

static const struct engine_adapter library[] = {
    {4, "d", "", 10, .4, true, 0},    {1, "a", "/a", 10, .1, true, 0},
    {2, "b", "/b", 10, .2, true, 0},  {3, "c", "/c", 10, .3, true, 0},
    {5, "e", "/e", 10, .5, false, 0},
};

static void names_the_field_that_is_wrong(void **state)
{
    static const struct engine_replica bad[][2] = {
        {{"r0", "ftp://x", NULL}, {"r1", "http://x", NULL}},
        {{"r0", "http://u:p@x", NULL}, {"r1", "http://x", NULL}},
        {{"r0", "http://x/v1", NULL}, {"r1", "http://x", NULL}},
        {{"r0", "http://x/", NULL}, {"r1", "http://x", NULL}},
        {{"r0", "http://", NULL}, {"r1", "http://x", NULL}},
        {{"r0", "http://x", "a b"}, {"r1", "http://x", NULL}},
        {{"r0", NULL, NULL}, {"r1", "http://x", NULL}},
        {{"r0", "http://x", NULL}, {"r0", "http://x", NULL}},
        {{"no name", "http://x", NULL}, {"r1", "http://x", NULL}},
    };
    struct reconciler_config c = planned();
    struct reconciler *r = NULL;
    struct err_detail detail;
    (void)state;
    c.kind = ENGINE_VLLM;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        detail.text[0] = 0;
        c.replicas = bad[i];
        assert_int_not_equal(reconciler_open(&c, &r, &detail), OK);
        assert_non_null(strstr(detail.text, "replica"));
        assert_null(strstr(detail.text, "u:p"));
    }
    c = planned();
    c.slots = 0;
    assert_int_equal(reconciler_open(&c, &r, &detail), ERR_OUT_OF_RANGE);
    c = planned();
    c.tick_ms = 5;
    assert_int_equal(reconciler_open(&c, &r, &detail), ERR_OUT_OF_RANGE);
    assert_non_null(strstr(detail.text, "tick_ms"));
    c = planned();
    c.replicas_n = ENGINE_REPLICAS_MAX + 1;
    assert_int_equal(reconciler_open(&c, &r, &detail), ERR_OUT_OF_RANGE);
    assert_null(r);
}

static void refuses_a_library_that_is_not_one_and_keeps_the_former(void **state)
{
    static const struct engine_adapter bad[][2] = {
        {{1, "a", "", 1, 0, true, 0}, {1, "b", "", 1, 0, true, 0}},
        {{1, "a", "", 1, 0, true, 0}, {2, "a", "", 1, 0, true, 0}},
        {{0, "a", "", 1, 0, true, 0}, {2, "b", "", 1, 0, true, 0}},
        {{1, "", "", 1, 0, true, 0}, {2, "b", "", 1, 0, true, 0}},
        {{1, "a", "\xff", 1, 0, true, 0}, {2, "b", "", 1, 0, true, 0}},
        {{1, "a", "", 1, -1, true, 0}, {2, "b", "", 1, 0, true, 0}},
        {{1, "a", "", 1, (double)NAN, true, 0}, {2, "b", "", 1, 0, true, 0}},
    };
    struct reconciler_config c = planned();
    struct reconciler *r;
    struct engine_row rows[16];
    (void)state;
    assert_int_equal(reconciler_open(&c, &r, NULL), OK);
    assert_int_equal(reconciler_desire(r, library, 5, NULL), OK);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err_detail detail = {""};
        assert_int_equal(reconciler_desire(r, bad[i], 2, &detail), ERR_INVALID);
        assert_string_not_equal(detail.text, "");
    }
    assert_int_equal(reconciler_tick(r, 0), OK);
    assert_int_equal(reconciler_tick(r, 1), OK);
    assert_int_equal(reconciler_tick(r, 2), ERR_INVALID);
    assert_int_equal(reconciler_rows(r, rows, 16), 4);
    reconciler_close(r);
}

static void a_plan_that_somebody_else_carries_out_counts_as_done(void **state)
{
    struct reconciler_config c = planned();
    struct reconciler *r;
    struct engine_row rows[16];
    struct engine_replica_view v;
    (void)state;
    assert_int_equal(reconciler_open(&c, &r, NULL), OK);
    assert_int_equal(reconciler_desire(r, library, 5, NULL), OK);
    uint64_t before = reconciler_version(r);
    assert_int_equal(reconciler_tick(r, 0), OK);
    assert_int_equal(reconciler_tick(r, 1), OK);
    assert_true(reconciler_version(r) > before);
    assert_int_equal(reconciler_rows(r, NULL, 0), 4);
    assert_int_equal(reconciler_rows(r, rows, 16), 4);
    uint32_t seen = 0;
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(rows[i].phase, ENGINE_RESIDENT);
        seen |= 1U << rows[i].uid;
    }
    assert_int_equal(seen, 2 | 4 | 8 | 16); /* Each desired adapter once; slots hold no copies. */
    for (uint32_t i = 0; i < 2; i++) {
        assert_true(reconciler_replica(r, i, &v));
        assert_true(v.converged);
        assert_int_equal(v.resident, 2);
    }
    assert_false(reconciler_replica(r, 2, &v));
    before = reconciler_version(r);
    assert_int_equal(reconciler_tick(r, 0), OK);
    assert_int_equal(reconciler_version(r), before); /* Nothing changed: nobody is told. */
    reconciler_close(r);
}

/* Started on a dead address, with everything there is to go wrong, and closed at once. */
static void starts_and_stops_at_any_moment(void **state)
{
    struct reconciler_config c = planned();
    struct reconciler *r;
    (void)state;
    c.kind = ENGINE_VLLM;
    c.tick_ms = 10;
    c.backoff_min_ms = 1;
    for (int i = 0; i < 20; i++) {
        assert_int_equal(reconciler_open(&c, &r, NULL), OK);
        assert_int_equal(reconciler_desire(r, library, 5, NULL), OK);
        assert_int_equal(reconciler_start(r), OK);
        if (i % 2)
            assert_int_equal(reconciler_desire(r, library, 3, NULL), OK);
        reconciler_close(r);
    }
}

/* A router is created before its first arm, and its engine is looked at from then on. */
static void a_replica_is_looked_at_before_anything_is_wanted_of_it(void **state)
{
    static const enum engine_kind kinds[] = {ENGINE_VLLM, ENGINE_SGLANG, ENGINE_LLAMACPP};
    (void)state;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        struct reconciler_config c = planned();
        struct reconciler *r;
        c.kind = kinds[k];
        assert_int_equal(reconciler_open(&c, &r, NULL), OK);
        assert_int_equal(reconciler_tick(r, 0), ERR_ENGINE_DOWN);
        assert_int_equal(reconciler_desire(r, NULL, 0, NULL), OK);
        assert_int_equal(reconciler_tick(r, 1), ERR_ENGINE_DOWN);
        assert_int_equal(reconciler_rows(r, NULL, 0), 0);
        reconciler_close(r);
    }
}

static enum err everything(void)
{
    struct reconciler_config c = planned();
    struct reconciler *r;
    struct err_detail detail = {""};
    c.kind = ENGINE_VLLM; /* Nobody listens there: the pass ends after its first question. */
    TRY(reconciler_open(&c, &r, &detail));
    enum err e = reconciler_desire(r, library, 5, &detail);
    if (e == OK)
        e = reconciler_desire(r, library, 4, &detail);
    if (e == OK) {
        e = reconciler_tick(r, 0);
        e = e == ERR_ENGINE_DOWN ? OK : e;
    }
    reconciler_close(r);
    return e;
}

static void memory_may_run_out_anywhere(void **state)
{
    (void)state;
#ifdef SHUNT_FAULTS
    for (long n = 1;; n++) {
        mem_fail_nth(n);
        enum err e = everything();
        long made = mem_count();
        mem_fail_nth(0);
        assert_true(e == OK || e == ERR_NOMEM);
        if (made < n)
            break;
        assert_true(n < 1000);
    }
#else
    skip();
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_the_field_that_is_wrong),
        cmocka_unit_test(refuses_a_library_that_is_not_one_and_keeps_the_former),
        cmocka_unit_test(a_plan_that_somebody_else_carries_out_counts_as_done),
        cmocka_unit_test(starts_and_stops_at_any_moment),
        cmocka_unit_test(a_replica_is_looked_at_before_anything_is_wanted_of_it),
        cmocka_unit_test(memory_may_run_out_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
