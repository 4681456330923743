#include "proto/form/number.h"
#include "tests/unit/cmocka_all.h"

#include <float.h>
#include <locale.h>
#include <string.h>

static void a_double_survives_its_shortest_text(void **unused)
{
    (void)unused;
    const double values[] = {0.1, 1.0 / 3, 5e-324, DBL_MAX, -0.0, 1e22, 123456789.125};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        char text[FORM_NUMBER_CAP];
        double again;
        form_number_print(values[i], text);
        assert_true(form_number_double(text, strlen(text), &again));
        assert_memory_equal(&again, &values[i], sizeof again);
    }
    char text[FORM_NUMBER_CAP];
    form_number_print(0.1, text);
    assert_string_equal(text, "0.1");
    form_number_print(3, text);
    assert_string_equal(text, "3.0");
    assert_true(form_number_widen(0.1f) == 0.1);
}

static void what_is_not_a_whole_number_is_refused(void **unused)
{
    (void)unused;
    int64_t i;
    uint64_t u;
    double d;
    const char *bad[] = {"", " 1", "1 ", "0x10", "1.0", "1e3", "--1", "1-", "99999999999999999999"};
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++)
        assert_false(form_number_i64(bad[k], strlen(bad[k]), &i));
    assert_false(form_number_u64("-1", 2, &u));
    assert_true(form_number_u64("18446744073709551615", 20, &u));
    assert_true(u == UINT64_MAX);
    assert_true(form_number_i64("-9223372036854775808", 20, &i));
    assert_true(i == INT64_MIN);
    const char *not_finite[] = {"nan", "inf", "1e999", "1e", ".", "0x1p3", "1,5", ""};
    for (size_t k = 0; k < sizeof not_finite / sizeof *not_finite; k++)
        assert_false(form_number_double(not_finite[k], strlen(not_finite[k]), &d));
}

/* The host's locale must not leak in; where no comma locale is installed the C one is tested. */
static void a_comma_locale_changes_nothing(void **unused)
{
    (void)unused;
    const char *names[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "C"};
    for (size_t i = 0; i < 3 && !setlocale(LC_ALL, names[i]); i++)
        ;
    char text[FORM_NUMBER_CAP];
    double d;
    form_number_print(0.5, text);
    assert_string_equal(text, "0.5");
    assert_true(form_number_double("2.5", 3, &d));
    assert_true(d == 2.5);
    setlocale(LC_ALL, "C");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_double_survives_its_shortest_text),
        cmocka_unit_test(what_is_not_a_whole_number_is_refused),
        cmocka_unit_test(a_comma_locale_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
