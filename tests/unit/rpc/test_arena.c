#include "server/rpc/arena.h"
#include "state/base/mem.h"
#include "tests/unit/cmocka_all.h"

#include <stdalign.h>
#include <stdint.h>
#include <string.h>

static void pieces_are_aligned_and_do_not_overlap(void **state)
{
    (void)state;
    struct arena a;
    unsigned char *pieces[200];
    arena_init(&a, 1 << 20);
    for (size_t i = 0; i < 200; i++) {
        pieces[i] = arena_alloc(&a, i + 1);
        assert_non_null(pieces[i]);
        assert_int_equal((uintptr_t)pieces[i] % alignof(max_align_t), 0);
        memset(pieces[i], (int)i, i + 1);
    }
    for (size_t i = 0; i < 200; i++)
        for (size_t k = 0; k <= i; k++)
            assert_int_equal(pieces[i][k], i);
    arena_done(&a);
}

static void beyond_the_limit_it_says_so_until_the_reset(void **state)
{
    (void)state;
    enum { LIMIT = 100000 };
    struct arena a;
    arena_init(&a, LIMIT);
    for (int round = 0; round < 3; round++) {
        size_t out = 0;
        while (arena_alloc(&a, 1000))
            out += 1000;
        assert_true(out > LIMIT / 2 && out <= LIMIT);
        assert_true(a.full);
        assert_int_equal(arena_error(&a, NULL), ERR_TOO_LARGE);
        arena_reset(&a);
        assert_false(a.full);
    }
    assert_null(arena_alloc(&a, LIMIT + 1));
    assert_null(arena_array(&a, SIZE_MAX / 2, 4));
    arena_done(&a);
}

static void a_reset_keeps_enough_for_the_next_call_of_this_size(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 1 << 20);
    for (int call = 0; call < 3; call++) {
        mem_fail_nth(0);
        for (int i = 0; i < 100; i++)
            assert_non_null(arena_alloc(&a, 3000));
        if (call == 2) /* The third call of a size needs no memory of the system any more. */
            assert_int_equal(mem_count(), 0);
        arena_reset(&a);
    }
    arena_done(&a);
}

static void when_memory_runs_out_it_is_not_called_full(void **state)
{
    (void)state;
#ifdef SHUNT_FAULTS
    struct arena a;
    arena_init(&a, 1 << 20);
    mem_fail_nth(1);
    assert_null(arena_alloc(&a, 10));
    assert_int_equal(arena_error(&a, NULL), ERR_NOMEM);
    arena_reset(&a);
    assert_non_null(arena_alloc(&a, 10));
    arena_done(&a);
#else
    skip();
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_are_aligned_and_do_not_overlap),
        cmocka_unit_test(beyond_the_limit_it_says_so_until_the_reset),
        cmocka_unit_test(a_reset_keeps_enough_for_the_next_call_of_this_size),
        cmocka_unit_test(when_memory_runs_out_it_is_not_called_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
