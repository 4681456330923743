#include "state/base/name.h"
#include "tests/unit/cmocka_all.h"

#include <string.h>

static void names_that_walk_paths_or_forge_lines_are_refused(void **unused)
{
    (void)unused;
    const char *bad[] = {"", ".", "..", "a/../b", "../x", "a/.", "a b", "a\nb", "a\"b", "é"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(name_valid(bad[i], strlen(bad[i])));
    assert_false(name_valid("a\0b", 3));
    char longest[66];
    memset(longest, 'a', sizeof longest);
    assert_true(name_valid(longest, 64));
    assert_false(name_valid(longest, 65));
    const char *good[] = {"a", "gpt-4.1", "org/model.v2", "...", "a/b..c"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(name_valid(good[i], strlen(good[i])));
}

static void an_id_survives_text_and_back(void **unused)
{
    (void)unused;
    const char *text = "0190163d-8694-739b-aea5-966c26f8ad91";
    uint8_t id[ID_BYTES];
    char again[ID_TEXT_CAP];
    assert_int_equal(id_parse(text, strlen(text), id), OK);
    id_format(id, again);
    assert_string_equal(text, again);
    assert_int_equal(id_v7_ms(id), 0x0190163d8694);
    assert_int_equal(id_parse(text, 35, id), ERR_BAD_ID);
    assert_int_equal(id_parse("0190163d-8694-739b-aea5-966c26f8adg1", 36, id), ERR_BAD_ID);
    assert_int_equal(id_parse("0190163d-8694-739b-aea5x966c26f8ad91", 36, id), ERR_BAD_ID);
}

static void a_v7_id_holds_its_millisecond(void **unused)
{
    (void)unused;
    uint8_t random[10], id[ID_BYTES];
    memset(random, 0xff, sizeof random);
    id_make_v7(1700000000123456, random, id);
    assert_int_equal(id_v7_ms(id), 1700000000123);
    assert_int_equal(id[6] >> 4, 7);
    assert_int_equal(id[8] >> 6, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_that_walk_paths_or_forge_lines_are_refused),
        cmocka_unit_test(an_id_survives_text_and_back),
        cmocka_unit_test(a_v7_id_holds_its_millisecond),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
