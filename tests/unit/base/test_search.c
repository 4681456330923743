#include "state/base/search.h"
#include "tests/unit/cmocka_all.h"

enum { ROWS = 9 };

struct row {
    char before[3];
    uint32_t uid;
};

/* Uids 2, 4 ... 18: each is found, and each gap is where it would stand. */
static void a_place_is_found_or_the_one_where_it_would_be(void **state)
{
    struct row rows[ROWS], *pointers[ROWS];
    (void)state;
    for (uint32_t i = 0; i < ROWS; i++) {
        rows[i].uid = 2 * (i + 1);
        pointers[i] = &rows[i];
    }
    for (uint32_t n = 0; n <= ROWS; n++)
        for (uint32_t uid = 0; uid <= 2 * ROWS + 2; uid++) {
            uint32_t expected = uid == 0 ? 0 : (uid - 1) / 2;
            expected = expected < n ? expected : n;
            assert_int_equal(search_records(rows, n, sizeof *rows, offsetof(struct row, uid), uid),
                             expected);
            assert_int_equal(search_pointers(pointers, n, offsetof(struct row, uid), uid),
                             expected);
        }
    assert_int_equal(search_records(NULL, 0, sizeof *rows, 0, 7), 0);
    assert_int_equal(search_pointers(NULL, 0, 0, 7), 0);
    assert_int_equal(
        search_records(rows, ROWS, sizeof *rows, offsetof(struct row, uid), UINT32_MAX), ROWS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_place_is_found_or_the_one_where_it_would_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
