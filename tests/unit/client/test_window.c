#include "client/window.h"
#include "tests/unit/cmocka_all.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Strict enough to see a split character: lead bytes are followed by their continuations. */
static bool is_utf8(const char *text)
{
    const unsigned char *p = (const unsigned char *)text;
    while (*p) {
        int more = *p < 0x80 ? 0 : *p >= 0xf0 ? 3 : *p >= 0xe0 ? 2 : *p >= 0xc0 ? 1 : -1;
        if (more < 0)
            return false;
        p++;
        for (; more > 0; more--, p++)
            if ((*p & 0xc0) != 0x80)
                return false;
    }
    return true;
}

static void short_text_is_sent_whole(void **unused)
{
    (void)unused;
    char dst[9];
    assert_int_equal(window_cut("12345678", 8, 8, dst), 8);
    assert_string_equal(dst, "12345678");
    assert_int_equal(window_cut("", 0, 8, dst), 0);
    assert_string_equal(dst, "");
}

static void long_text_keeps_its_beginning_and_its_end(void **unused)
{
    (void)unused;
    char dst[10];
    assert_int_equal(window_cut("abcdefghijklmnop", 16, 9, dst), 9);
    assert_string_equal(dst, "abcd\nmnop");
}

static void no_cut_splits_a_character(void **unused)
{
    (void)unused;
    /* Characters of one to four bytes, so that every cut falls at every place within them. */
    const char *piece = "a\u00e9\u20ac\U0001F600";
    char text[10 * 40 + 1] = "", dst[sizeof text];
    for (int i = 0; i < 40; i++)
        strcat(text, piece);
    size_t len = strlen(text);
    for (size_t shift = 0; shift < 10; shift++) {
        if (((unsigned char)text[shift] & 0xc0) == 0x80)
            continue;
        for (size_t max = 1; max < len; max++) {
            size_t n = window_cut(text + shift, len - shift, max, dst);
            assert_true(n <= max);
            assert_int_equal(n, strlen(dst));
            assert_true(is_utf8(dst));
            if (len - shift > max && max > 10)
                assert_true(n + 6 >= max); /* At most three bytes are lost at each cut. */
        }
    }
}

static void bytes_that_are_not_utf8_stay_within_the_window(void **unused)
{
    (void)unused;
    char text[64], dst[64];
    memset(text, 0x80, sizeof text);
    for (size_t max = 0; max < sizeof text; max++)
        assert_true(window_cut(text, sizeof text, max, dst) <= max);
}

static void a_nul_byte_does_not_end_the_text(void **unused)
{
    (void)unused;
    char dst[8];
    assert_int_equal(window_cut("a\0b\0", 4, 7, dst), 4);
    assert_string_equal(dst, "a b ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(short_text_is_sent_whole),
        cmocka_unit_test(long_text_keeps_its_beginning_and_its_end),
        cmocka_unit_test(no_cut_splits_a_character),
        cmocka_unit_test(bytes_that_are_not_utf8_stay_within_the_window),
        cmocka_unit_test(a_nul_byte_does_not_end_the_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
