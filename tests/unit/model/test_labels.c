#include "state/model/labels.h"
#include "tests/unit/cmocka_all.h"

#include <stdio.h>
#include <string.h>

static struct slice text(const char *s)
{
    return (struct slice){s, strlen(s)};
}

static enum err put(struct labels *l, const char *key, const char *value)
{
    return labels_put(l, text(key), text(value), NULL);
}

static void the_order_of_putting_leaves_no_trace(void **unused)
{
    (void)unused;
    static const char *const pairs[][2] = {
        {"tier", "small"}, {"beta", ""}, {"region", "eu"}, {"tie", "x"}, {"tiers", "y"}};
    enum { N = sizeof pairs / sizeof *pairs };
    struct labels first = {0};
    for (size_t i = 0; i < N; i++)
        assert_int_equal(put(&first, pairs[i][0], pairs[i][1]), OK);
    for (size_t start = 0; start < N; start++) {
        struct labels other = {0};
        for (size_t i = 0; i < N; i++)
            assert_int_equal(put(&other, pairs[(start + i) % N][0], "before"), OK);
        for (size_t i = 0; i < N; i++)
            assert_int_equal(put(&other, pairs[i][0], pairs[i][1]), OK);
        assert_int_equal(other.n, N);
        assert_memory_equal(&other, &first, sizeof first);
    }
    for (size_t i = 0; i < N; i++)
        assert_string_equal(labels_get(&first, pairs[i][0], strlen(pairs[i][0])), pairs[i][1]);
    assert_null(labels_get(&first, "ti", 2));
    assert_null(labels_get(&first, "tierx", 5));
}

static void stepping_shows_every_label_in_order_of_key(void **unused)
{
    (void)unused;
    struct labels l = {0};
    assert_int_equal(put(&l, "b", "2"), OK);
    assert_int_equal(put(&l, "c", ""), OK);
    assert_int_equal(put(&l, "a", "1"), OK);
    char seen[32] = "";
    struct label one;
    for (uint16_t at = 0; labels_next(&l, &at, &one);)
        snprintf(seen + strlen(seen), sizeof seen - strlen(seen), "%s=%s,", one.key, one.value);
    assert_string_equal(seen, "a=1,b=2,c=,");
}

static void what_is_refused_changes_nothing(void **unused)
{
    (void)unused;
    struct labels l = {0};
    struct err_detail detail;
    for (int i = 0; i < MAX_LABELS; i++) {
        char key[8];
        snprintf(key, sizeof key, "k%d", i);
        assert_int_equal(put(&l, key, "v"), OK);
    }
    const struct labels before = l;
    assert_int_equal(put(&l, "one-more", "v"), ERR_OUT_OF_RANGE);
    assert_int_equal(put(&l, "-k", "v"), ERR_BAD_NAME);
    assert_int_equal(labels_put(&l, text("k1"), text("no/value"), &detail), ERR_BAD_NAME);
    assert_non_null(strstr(detail.text, "k1"));
    assert_memory_equal(&l, &before, sizeof l);
    assert_int_equal(put(&l, "k1", "w"), OK); /* Another value is no further label. */
    assert_int_equal(l.n, MAX_LABELS);
}

static void all_bytes_can_be_used_and_not_one_more(void **unused)
{
    (void)unused;
    struct labels l = {0};
    char key[64], value[64];
    memset(key, 'k', 63);
    memset(value, 'v', 63);
    key[63] = value[63] = '\0';
    for (char c = 'a'; c < 'a' + 8; c++) { /* Eight of 128 bytes are all. */
        key[0] = c;
        assert_int_equal(put(&l, key, value), OK);
    }
    assert_int_equal(l.bytes_n, LABELS_BYTES);
    assert_int_equal(put(&l, "z", ""), ERR_OUT_OF_RANGE);
    assert_int_equal(put(&l, key, ""), OK);
    assert_int_equal(put(&l, "z", ""), OK);
    assert_string_equal(labels_get(&l, "z", 1), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_order_of_putting_leaves_no_trace),
        cmocka_unit_test(stepping_shows_every_label_in_order_of_key),
        cmocka_unit_test(what_is_refused_changes_nothing),
        cmocka_unit_test(all_bytes_can_be_used_and_not_one_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
