#include "state/base/mem.h"
#include "state/base/slice.h"
#include "tests/unit/cmocka_all.h"

static void what_was_put_is_read_back(void **unused)
{
    (void)unused;
    struct buf b;
    buf_init(&b);
    buf_put_u8(&b, 7);
    buf_put_u16(&b, 300);
    buf_put_u32(&b, 70000);
    buf_put_u64(&b, UINT64_MAX);
    buf_put_f64(&b, 0.1);
    buf_put_f32(&b, 0.5f);
    buf_put_str(&b, "arm");
    assert_int_equal(buf_error(&b), OK);
    struct reader r;
    reader_init(&r, (struct slice){b.data, b.len});
    assert_int_equal(reader_u8(&r), 7);
    assert_int_equal(reader_u16(&r), 300);
    assert_int_equal(reader_u32(&r), 70000);
    assert_true(reader_u64(&r) == UINT64_MAX);
    assert_true(reader_f64(&r) == 0.1);
    assert_true(reader_f32(&r) == 0.5f);
    char s[4];
    reader_str(&r, s, sizeof s);
    assert_string_equal(s, "arm");
    assert_false(r.failed);
    assert_int_equal(reader_left(&r), 0);
    buf_done(&b);
}

static void a_short_read_fails_and_yields_zero(void **unused)
{
    (void)unused;
    const uint8_t three[3] = {1, 2, 3};
    struct reader r;
    reader_init(&r, (struct slice){three, 3});
    assert_int_equal(reader_u32(&r), 0);
    assert_true(r.failed);
    const uint8_t text[5] = {3, 0, 'a', 'b', 'c'};
    char s[3];
    reader_init(&r, (struct slice){text, 5});
    reader_str(&r, s, sizeof s);
    assert_true(r.failed); /* Three characters and a NUL do not fit into three bytes. */
}

static void a_failed_allocation_is_remembered(void **unused)
{
    (void)unused;
    struct buf b;
    buf_init(&b);
    mem_fail_nth(1);
    buf_put_u8(&b, 1);
    mem_fail_nth(0);
    buf_put_u8(&b, 1);
#ifdef SHUNT_FAULTS
    assert_int_equal(buf_error(&b), ERR_NOMEM);
    assert_int_equal(b.len, 0);
#endif
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_put_is_read_back),
        cmocka_unit_test(a_short_read_fails_and_yields_zero),
        cmocka_unit_test(a_failed_allocation_is_remembered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
