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

static void a_character_is_judged_alike_wherever_it_stands(void **unused)
{
    (void)unused;
    const char *fine = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/-";
    char name[64];
    for (size_t len = 1; len <= sizeof name; len++)
        for (size_t at = 0; at < len; at++)
            for (int c = 0; c < 256; c++) {
                memset(name, 'a', sizeof name);
                name[at] = (char)c;
                bool dot = c == '.' && len == 1;
                bool want = c != 0 && strchr(fine, c) && !dot;
                if (name_valid(name, len) != want)
                    fail_msg("character %d at %zu of %zu", c, at, len);
            }
}

/* The rules and examples of the Kubernetes documentation, "Syntax and character set". */
static void label_keys_and_values_follow_kubernetes(void **unused)
{
    (void)unused;
    const char *keys[] = {"tier",        "release", "kubernetes.io/arch",       "a",
                          "A_b.c-d9",    "0",       "this-is-a.dns.domain/key", "0.1.2.domain/99",
                          "a-b.c--d/X_Y"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!label_key_valid(keys[i], strlen(keys[i])))
            fail_msg("%s is a key", keys[i]);
    const char *no_keys[] = {"",      "-a",  "a-",    ".a",    "a_",       "/a",   "a/",
                             "a/b/c", "A/b", "a_b/c", "a../b", "-a/b",     "a-/b", "a.-b/c",
                             "a b",   "é",   "a,b",   "a=b",   "a.b-.c/d", ".a/b", "a./b"};
    for (size_t i = 0; i < sizeof no_keys / sizeof *no_keys; i++)
        if (label_key_valid(no_keys[i], strlen(no_keys[i])))
            fail_msg("%s is no key", no_keys[i]);
    assert_true(label_value_valid("", 0));
    assert_true(label_value_valid("10.10.100.1", 11));
    assert_false(label_value_valid("a/b", 3));
    assert_false(label_value_valid("a\0b", 3));
    char longest[LABEL_KEY_CAP + 1];
    memset(longest, 'a', sizeof longest);
    assert_true(label_value_valid(longest, 63) && label_key_valid(longest, 63));
    assert_false(label_value_valid(longest, 64) || label_key_valid(longest, 64));
    longest[253] = '/';
    assert_true(label_key_valid(longest, 253 + 1 + 63));
    assert_false(label_key_valid(longest, 253 + 1 + 64));
    longest[253] = 'a';
    longest[254] = '/';
    assert_false(label_key_valid(longest, 254 + 1 + 1));
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
        cmocka_unit_test(a_character_is_judged_alike_wherever_it_stands),
        cmocka_unit_test(label_keys_and_values_follow_kubernetes),
        cmocka_unit_test(an_id_survives_text_and_back),
        cmocka_unit_test(a_v7_id_holds_its_millisecond),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
