#include "client/ctl/args.h"

#include "tests/unit/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

static void pairs_are_read_and_appended(void **unused)
{
    (void)unused;
    struct args_pairs pairs = {.n = 0};
    struct args_error error;
    assert_true(args_pairs_add("quality=.5,cost_usd=1e-3", 0, 1e6, &pairs, &error));
    assert_true(args_pairs_add("energy_j=2", 0, 1e6, &pairs, &error));
    assert_int_equal(pairs.n, 3);
    assert_string_equal(pairs.items[0].name, "quality");
    assert_true(pairs.items[0].value == 0.5);
    assert_string_equal(pairs.items[1].name, "cost_usd");
    assert_true(pairs.items[1].value == 1e-3);
    assert_string_equal(pairs.items[2].name, "energy_j");
    assert_true(pairs.items[2].value == 2);
}

static void bad_pairs_are_refused(void **unused)
{
    (void)unused;
    static const char *const bad[] = {"",        "quality",      "=1",    "quality=", "quality=x",
                                      "q=nan",   "q=inf",        "q=-1",  "q=1,q=2",  "q=1,",
                                      "q q=1",   "q=1 ",         "q=1e7", "q=1,,r=2", "\n=1",
                                      "q=1e999", "caf\xC3\xA9=1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct args_pairs pairs = {.n = 0};
        struct args_error error = {.text = ""};
        assert_false(args_pairs_add(bad[i], 0, 1e6, &pairs, &error));
        assert_true(strlen(error.text) > 0);
    }
}

static void a_name_given_in_an_earlier_option_is_refused(void **unused)
{
    (void)unused;
    struct args_pairs pairs = {.n = 0};
    struct args_error error;
    assert_true(args_pairs_add("a=1", 0, 1, &pairs, &error));
    assert_false(args_pairs_add("a=1", 0, 1, &pairs, &error));
    assert_non_null(strstr(error.text, "twice"));
}

static void more_pairs_than_metrics_are_refused(void **unused)
{
    (void)unused;
    struct args_pairs pairs = {.n = 0};
    struct args_error error;
    char text[] = "a=1";
    for (int i = 0; i < ARGS_PAIRS_MAX; i++) {
        text[0] = (char)('a' + i);
        assert_true(args_pairs_add(text, 0, 1, &pairs, &error));
    }
    assert_false(args_pairs_add("zz=1", 0, 1, &pairs, &error));
    assert_int_equal(pairs.n, ARGS_PAIRS_MAX);
}

static void whole_numbers_have_no_sign_fraction_or_rest(void **unused)
{
    (void)unused;
    static const char *const bad[] = {"", "-1", "+1", "1.5", "1x", " 1", "99999999999999999999",
                                      "9"};
    uint64_t value = 7;
    struct args_error error;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(args_integer(bad[i], 0, 8, &value, &error));
    assert_int_equal(value, 7);
    assert_true(args_integer("8", 0, 8, &value, &error));
    assert_int_equal(value, 8);
    assert_true(args_integer("18446744073709551615", 0, UINT64_MAX, &value, &error));
    assert_true(value == UINT64_MAX);
}

static void lists_of_floats_take_commas_blanks_and_brackets(void **unused)
{
    (void)unused;
    float *values = NULL;
    size_t n = 0;
    struct args_error error;
    assert_true(args_floats("[1, 2.5\n-3]", 8, &values, &n, &error));
    assert_int_equal(n, 3);
    assert_true(values[0] == 1.0f && values[1] == 2.5f && values[2] == -3.0f);
    free(values);
    values = NULL;
    assert_true(args_floats(" ", 8, &values, &n, &error));
    assert_int_equal(n, 0);
    free(values);
}

static void lists_with_a_word_or_too_many_values_are_refused(void **unused)
{
    (void)unused;
    float *values = NULL;
    size_t n = 0;
    struct args_error error;
    assert_false(args_floats("1,two", 8, &values, &n, &error));
    assert_false(args_floats("1,nan", 8, &values, &n, &error));
    assert_false(args_floats("1,1e39", 8, &values, &n, &error)); /* Beyond float. */
    assert_false(args_floats("1,2,3", 2, &values, &n, &error));
    assert_null(values);
}

static void times_are_dates_or_ages(void **unused)
{
    (void)unused;
    static const int64_t now = INT64_C(1795327200000000); /* 2026-11-22T06:00:00Z */
    static const struct {
        const char *text;
        int64_t us;
    } good[] = {{"2026-11-22", INT64_C(1795305600000000)},
                {"2026-11-22T06:00:00", now},
                {"2026-11-22T06:00:00Z", now},
                {"90s", now - 90 * INT64_C(1000000)},
                {"30m", now - 1800 * INT64_C(1000000)},
                {"12h", now - 43200 * INT64_C(1000000)},
                {"3d", now - 259200 * INT64_C(1000000)},
                {"999999d", 0}, /* Before everything. */
                {"@1795327200", now},
                {"1970-01-01", 0}};
    static const char *const bad[] = {
        "",           "now",         "12",          "12w",  "-3d", "h",
        "2026-13-01", "2026-11-22T", "2026-11-22x", "@1.5", "@-1", "2026-11-22T06:00:00Zz",
        "9999999999d"};
    struct args_error error;
    int64_t us = -1;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        if (!args_time(good[i].text, now, &us, &error))
            fail_msg("%s: %s", good[i].text, error.text);
        assert_int_equal(us, good[i].us);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (args_time(bad[i], now, &us, &error))
            fail_msg("'%s' was taken", bad[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_are_dates_or_ages),
        cmocka_unit_test(pairs_are_read_and_appended),
        cmocka_unit_test(bad_pairs_are_refused),
        cmocka_unit_test(a_name_given_in_an_earlier_option_is_refused),
        cmocka_unit_test(more_pairs_than_metrics_are_refused),
        cmocka_unit_test(whole_numbers_have_no_sign_fraction_or_rest),
        cmocka_unit_test(lists_of_floats_take_commas_blanks_and_brackets),
        cmocka_unit_test(lists_with_a_word_or_too_many_values_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
