#include "server/engine/board.h"

#include "tests/unit/cmocka_all.h"

#include <string.h>

static struct board *three_replicas(void)
{
    struct board *b;
    assert_int_equal(board_new(3, 3, &b), OK);
    b->up = 7;
    b->arms[0] = (struct board_arm){.uid = 5, .adapter = true, .held = 6};
    b->arms[1] = (struct board_arm){.uid = 9, .adapter = true};
    b->arms[2] = (struct board_arm){.uid = 12, .residence = RESIDENCE_RESIDENT};
    b->slots[1] = 4;
    b->slots[2] = 2;
    b->scratch[0] = b->scratch[1] = b->scratch[2] = 7;
    return b;
}

static void an_arm_is_found_by_its_uid_or_not_at_all(void **state)
{
    (void)state;
    struct board *b = three_replicas();
    for (uint32_t i = 0; i < 3; i++)
        assert_ptr_equal(board_find(b, b->arms[i].uid), &b->arms[i]);
    assert_null(board_find(b, 6));
    assert_null(board_find(b, 99));
    board_free(b);
}

static void a_resident_is_asked_for_where_it_is(void **state)
{
    (void)state;
    struct board *b = three_replicas();
    uint32_t used[3] = {0};
    int slot;
    for (uint64_t seed = 0; seed < 1000; seed++) {
        int r = board_replica(b, &b->arms[0], seed, &slot);
        assert_true(r == 1 || r == 2);
        assert_int_equal(slot, r == 1 ? 4 : 2);
        used[r]++;
    }
    assert_true(used[1] > 400 && used[2] > 400);
    b->up = 5; /* One of the two is down. */
    for (uint64_t seed = 0; seed < 100; seed++)
        assert_int_equal(board_replica(b, &b->arms[0], seed, &slot), 2);
    board_free(b);
}

/* Its scratch slot may still hold the weights of the miss before. */
static void misses_of_an_adapter_go_to_one_replica_and_move_only_when_it_is_down(void **state)
{
    (void)state;
    struct board *b = three_replicas();
    uint32_t moved = 0;
    int slot;
    for (uint32_t uid = 1; uid < 300; uid++) {
        const struct board_arm arm = {.uid = uid, .adapter = true};
        b->up = 7;
        int r = board_replica(b, &arm, uid, &slot);
        assert_int_equal(slot, 7);
        for (uint64_t seed = 0; seed < 20; seed++)
            assert_int_equal(board_replica(b, &arm, seed, &slot), r);
        b->up = 3;
        int other = board_replica(b, &arm, 0, &slot);
        assert_true(other < 2 && (r == 2 || other == r));
        moved += other != r;
    }
    assert_true(moved > 60 && moved < 140);
    b->up = 0; /* None answers: somewhere all the same. */
    assert_true(board_replica(b, &b->arms[1], 0, &slot) >= 0);
    board_free(b);
}

static void a_base_model_is_everywhere_and_without_replicas_nothing_is(void **state)
{
    (void)state;
    struct board *b = three_replicas();
    uint32_t used[3] = {0};
    int slot;
    for (uint64_t seed = 0; seed < 900; seed++) {
        int r = board_replica(b, &b->arms[2], seed, &slot);
        used[r]++;
        assert_int_equal(slot, b->scratch[r]);
    }
    assert_true(used[0] > 200 && used[1] > 200 && used[2] > 200);
    b->replicas_n = 0;
    assert_int_equal(board_replica(b, &b->arms[2], 1, &slot), -1);
    board_free(b);
}

static void equal_is_every_fact_of_it(void **state)
{
    (void)state;
    struct board *a = three_replicas(), *b = three_replicas();
    assert_true(board_equal(a, b));
    b->arms[1].charge = .5F;
    assert_false(board_equal(a, b));
    b->arms[1].charge = 0;
    b->slots[8] = 1;
    assert_false(board_equal(a, b));
    b->slots[8] = -1;
    b->up = 1;
    assert_false(board_equal(a, b));
    b->up = 7;
    strcpy(b->url[1], "http://x");
    assert_false(board_equal(a, b));
    board_free(a);
    board_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_arm_is_found_by_its_uid_or_not_at_all),
        cmocka_unit_test(a_resident_is_asked_for_where_it_is),
        cmocka_unit_test(misses_of_an_adapter_go_to_one_replica_and_move_only_when_it_is_down),
        cmocka_unit_test(a_base_model_is_everywhere_and_without_replicas_nothing_is),
        cmocka_unit_test(equal_is_every_fact_of_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
