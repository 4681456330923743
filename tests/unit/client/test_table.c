#include "client/ctl/table.h"

#include "tests/unit/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

/* Prints into memory; the caller frees. */
static char *printed(const struct table *t, bool bold)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    assert_non_null(out);
    assert_true(table_print(t, out, bold));
    fclose(out);
    return text;
}

static void columns_line_up_and_numbers_stand_right(void **unused)
{
    (void)unused;
    struct table *t = table_new();
    table_column(t, "arm", TABLE_LEFT);
    table_column(t, "n", TABLE_RIGHT);
    table_column(t, "note", TABLE_LEFT);
    table_cell(t, "small");
    table_cell(t, "%d", 7);
    table_cell(t, "x");
    table_cell(t, "m\xC3\xBCll"); /* u umlaut: two bytes, one column. */
    table_cell(t, "%d", 1234);
    table_cell(t, "y");
    char *text = printed(t, false);
    assert_string_equal(text, "arm       n  note\n"
                              "small     7  x\n"
                              "m\xC3\xBCll   1234  y\n");
    free(text);
    table_free(t);
}

static void wide_and_combining_characters_are_measured(void **unused)
{
    (void)unused;
    assert_int_equal(table_text_width("abc"), 3);
    assert_int_equal(table_text_width("\xE5\x8A\xA8\xE7\x89\xA9"), 4); /* Two Chinese characters. */
    assert_int_equal(table_text_width("e\xCC\x81"), 1);        /* e and a combining acute. */
    assert_int_equal(table_text_width("\xF0\x9F\x98\x80"), 2); /* An emoji. */
    assert_int_equal(table_text_width("\xFF\xC3"), 2);         /* Two bytes that are not UTF-8. */
}

static void what_a_server_sends_cannot_move_the_cursor(void **unused)
{
    (void)unused;
    struct table *t = table_new();
    table_column(t, "name", TABLE_LEFT);
    table_cell(t, "a\033[31m\nb\xC2\x9B\xFF");
    char *text = printed(t, false);
    assert_non_null(strstr(text, "a?[31m?b??\n"));
    assert_null(strchr(text, '\033'));
    free(text);
    text = printed(t, true);
    assert_memory_equal(text, "\033[1mname", 8);
    free(text);
    table_free(t);
}

static void a_table_without_columns_is_not_printed(void **unused)
{
    (void)unused;
    struct table *t = table_new();
    assert_false(table_print(t, stdout, false));
    table_free(t);
    table_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_line_up_and_numbers_stand_right),
        cmocka_unit_test(wide_and_combining_characters_are_measured),
        cmocka_unit_test(what_a_server_sends_cannot_move_the_cursor),
        cmocka_unit_test(a_table_without_columns_is_not_printed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
