#include "server/live/source_caps.h"

#include "state/model/limits.h"
#include "tests/unit/cmocka_all.h"

static const int64_t second_us = 1000000, start_us = 1700000040 * (int64_t)1000000;

static void a_cap_holds_within_its_second_and_its_minute(void **state)
{
    (void)state;
    struct source_caps *c = NULL;
    assert_int_equal(source_caps_new(&c), OK);
    for (int i = 0; i < 10; i++)
        assert_int_equal(source_caps_take(c, 1, 0, 2, 3, start_us + i),
                         i < 2 ? OK : ERR_SOURCE_CAP);
    /* Another second of that minute: one more. */
    assert_int_equal(source_caps_take(c, 1, 0, 2, 3, start_us + second_us), OK);
    assert_int_equal(source_caps_take(c, 1, 0, 2, 3, start_us + second_us), ERR_SOURCE_CAP);
    assert_int_equal(source_caps_take(c, 1, 0, 2, 3, start_us + 2 * second_us), ERR_SOURCE_CAP);
    assert_int_equal(source_caps_take(c, 1, 0, 2, 3, start_us + 60 * second_us), OK);
    source_caps_free(c);
}

static void sources_and_routers_have_counts_of_their_own(void **state)
{
    (void)state;
    struct source_caps *c = NULL;
    assert_int_equal(source_caps_new(&c), OK);
    for (uint32_t router = 1; router <= MAX_ROUTERS; router++)
        for (uint32_t slot = 0; slot <= MAX_SOURCES; slot++) {
            assert_int_equal(source_caps_take(c, router, slot, 1, 0, start_us), OK);
            assert_int_equal(source_caps_take(c, router, slot, 1, 0, start_us), ERR_SOURCE_CAP);
        }
    /* Many more routers, an hour later each: what is over makes room. */
    for (uint32_t router = 2000; router < 66000; router++)
        assert_int_equal(
            source_caps_take(c, router, 0, 1, 0, start_us + (int64_t)router * 3600 * second_us),
            OK);
    source_caps_free(c);
}

static void without_a_cap_nothing_is_refused(void **state)
{
    (void)state;
    struct source_caps *c = NULL;
    assert_int_equal(source_caps_new(&c), OK);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(source_caps_take(c, 1, 0, 0, 0, start_us), OK);
    source_caps_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cap_holds_within_its_second_and_its_minute),
        cmocka_unit_test(sources_and_routers_have_counts_of_their_own),
        cmocka_unit_test(without_a_cap_nothing_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
