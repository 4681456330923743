#include "server/live/flights.h"

#include "tests/unit/cmocka_all.h"

#include <string.h>

static const int64_t keep_us = 1000;

static void make_id(uint64_t n, uint8_t ret_id[ID_BYTES])
{
    memset(ret_id, 0, ID_BYTES);
    memcpy(ret_id, &n, sizeof n);
}

static void depart(struct flights *f, uint64_t n, uint32_t uid, uint32_t replica, int64_t at)
{
    uint8_t id[ID_BYTES];
    make_id(n, id);
    flights_depart(f, id, uid, replica, at);
}

static void land(struct flights *f, uint64_t n, bool served)
{
    uint8_t id[ID_BYTES];
    make_id(n, id);
    flights_land(f, id, served);
}

static void a_decision_is_in_flight_until_its_first_report(void **state)
{
    (void)state;
    struct flights *f;
    assert_int_equal(flights_new(keep_us, &f), OK);
    depart(f, 1, 7, 0, 100);
    depart(f, 2, 7, 0, 110);
    depart(f, 3, 7, 1, 120);
    assert_int_equal(flights_look(f, 7, 0).in_flight, 2);
    assert_int_equal(flights_look(f, 7, 0).departed_us, 110);
    assert_int_equal(flights_look(f, 7, 1).in_flight, 1);
    assert_int_equal(flights_look(f, 8, 0).in_flight, 0);
    land(f, 2, true);
    land(f, 2, true); /* A rating after the cost. */
    land(f, 99, true);
    assert_int_equal(flights_look(f, 7, 0).in_flight, 1);
    assert_int_equal(flights_look(f, 7, 0).served_us, 110);
    land(f, 1, false);
    assert_int_equal(flights_look(f, 7, 0).in_flight, 0);
    assert_int_equal(flights_look(f, 7, 0).served_us, 110); /* A failure served nobody. */
    flights_free(f);
}

static void what_is_never_reported_is_given_up(void **state)
{
    (void)state;
    struct flights *f;
    assert_int_equal(flights_new(keep_us, &f), OK);
    for (uint64_t n = 1; n <= 500; n++)
        depart(f, n, 7, 3, (int64_t)n);
    flights_expire(f, 101 + keep_us);
    assert_int_equal(flights_look(f, 7, 3).in_flight, 400);
    land(f, 1, true); /* Too late to count. */
    assert_int_equal(flights_look(f, 7, 3).in_flight, 400);
    flights_expire(f, 501 + keep_us);
    assert_int_equal(flights_look(f, 7, 3).in_flight, 0);
    flights_free(f);
}

/* Ten times what the table holds: counts stay exact for what it holds, and come down to nothing. */
static void a_flood_is_bounded_and_drains(void **state)
{
    (void)state;
    struct flights *f;
    assert_int_equal(flights_new(keep_us, &f), OK);
    uint64_t many = 655360;
    for (uint64_t n = 1; n <= many; n++)
        depart(f, n, 1 + (uint32_t)(n % 50), 0, 1 + (int64_t)n);
    uint64_t sum = 0;
    for (uint32_t uid = 1; uid <= 50; uid++)
        sum += flights_look(f, uid, 0).in_flight;
    assert_true(sum > 60000 && sum <= 65536);
    for (uint64_t n = 1; n <= many; n++)
        land(f, n, true);
    for (uint32_t uid = 1; uid <= 50; uid++)
        assert_int_equal(flights_look(f, uid, 0).in_flight, 0);
    flights_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_decision_is_in_flight_until_its_first_report),
        cmocka_unit_test(what_is_never_reported_is_given_up),
        cmocka_unit_test(a_flood_is_bounded_and_drains),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
