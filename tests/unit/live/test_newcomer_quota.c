/* What new arms may spend in an hour. */
#include "server/live/newcomer_quota.h"
#include "tests/unit/cmocka_all.h"

#include <math.h>
#include <pthread.h>

static const int64_t hour_us = INT64_C(3600) * 1000000;
static const struct quota_id id = {7, 2};

static void assert_left(struct newcomer_quota *q, const struct quota_id *of, int64_t now_us,
                        double left)
{
    assert_true(fabs(newcomer_quota_left(q, of, 1, now_us) - left) < 1e-9);
}

static void no_more_is_taken_than_there_is_and_a_new_hour_begins_anew(void **unused)
{
    (void)unused;
    struct newcomer_quota *q;
    const struct quota_id other = {7, 3};
    assert_int_equal(newcomer_quota_new(&q), OK);
    assert_left(q, &id, 10 * hour_us, 1);
    assert_true(newcomer_quota_take(q, &id, 1, .75, 10 * hour_us));
    assert_false(newcomer_quota_take(q, &id, 1, .5, 11 * hour_us - 1));
    assert_left(q, &id, 11 * hour_us - 1, .25);
    assert_true(newcomer_quota_take(q, &id, 1, .25, 11 * hour_us - 1));
    assert_left(q, &id, 11 * hour_us - 1, 0);
    assert_left(q, &other, 11 * hour_us - 1, 1);
    newcomer_quota_give(q, &id, .25, 11 * hour_us - 1);
    assert_left(q, &id, 11 * hour_us - 1, .25);
    assert_left(q, &id, 11 * hour_us, 1);
    newcomer_quota_free(q);
}

static void a_thousand_routers_keep_their_sums_apart(void **unused)
{
    (void)unused;
    struct newcomer_quota *q;
    assert_int_equal(newcomer_quota_new(&q), OK);
    for (uint32_t hour = 1; hour <= 3; hour++) {
        for (uint32_t uid = 1; uid <= 1000; uid++)
            assert_true(newcomer_quota_take(q, &(struct quota_id){uid * hour, 0}, 1, uid / 1000.,
                                            hour * hour_us));
        for (uint32_t uid = 1; uid <= 1000; uid++)
            assert_left(q, &(struct quota_id){uid * hour, 0}, hour * hour_us, 1 - uid / 1000.);
    }
    newcomer_quota_free(q);
}

static void *race(void *arg)
{
    uintptr_t won = 0;
    for (int i = 0; i < 1000; i++)
        won += newcomer_quota_take(arg, &id, 1, 1. / 1024, hour_us);
    return (void *)won;
}

static void threads_that_race_take_no_more_than_there_is(void **unused)
{
    (void)unused;
    struct newcomer_quota *q;
    pthread_t threads[4];
    uintptr_t won = 0;
    assert_int_equal(newcomer_quota_new(&q), OK);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, race, q), 0);
    for (int i = 0; i < 4; i++) {
        void *one;
        assert_int_equal(pthread_join(threads[i], &one), 0);
        won += (uintptr_t)one;
    }
    assert_int_equal(won, 1024);
    newcomer_quota_free(q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_more_is_taken_than_there_is_and_a_new_hour_begins_anew),
        cmocka_unit_test(a_thousand_routers_keep_their_sums_apart),
        cmocka_unit_test(threads_that_race_take_no_more_than_there_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
