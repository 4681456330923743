#include "state/model/session.h"

#include "state/base/mem.h"
#include "state/base/rng.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/model/given.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const int64_t minute_us = 60000000;

static struct event_session hold(const char *name, uint64_t budget, uint64_t amount, uint64_t id)
{
    struct event_session e = {.router_uid = 1, .metric = 2, .budget = budget, .amount = amount};
    (void)snprintf(e.name, sizeof e.name, "%s", name);
    e.ttl_us = minute_us;
    memcpy(e.id, &id, sizeof id);
    return e;
}

static enum err take(struct sessions *s, const struct event_session *e, int64_t at_us,
                     struct session_account *ret)
{
    struct session_account said;
    enum err check = sessions_check(s, e, at_us, &said);
    if (sessions_make_room(s, 1) != OK)
        return ERR_NOMEM;
    enum err err = sessions_hold(s, e, at_us, ret);
    assert_int_equal(check, err); /* What the gate says is what fold does. */
    return err;
}

static bool settle(struct sessions *s, uint64_t id, double raw, struct session_account *ret)
{
    uint8_t bytes[ID_BYTES] = {0};
    double values[MAX_METRICS] = {[2] = raw};
    memcpy(bytes, &id, sizeof id);
    return sessions_settle(s, 1, bytes, 1 << 2, values, ret);
}

static void bounds_round_up_and_budgets_down(void **unused)
{
    (void)unused;
    assert_int_equal(session_nano_up(0), 0);
    assert_int_equal(session_nano_up(1e-10), 1);
    assert_int_equal(session_nano_down(1.9e-9), 1);
    assert_int_equal(session_nano_up(.05), 50000000);
    assert_int_equal(session_nano_down(.05), 50000000);
    assert_int_equal(session_nano_down(-1), 0);
    assert_int_equal(session_nano_up(1e300), 1ULL << SESSION_NANO_BITS);
    assert_int_equal(session_nano_up((double)INFINITY), 1ULL << SESSION_NANO_BITS);
    for (uint64_t i = 0; i < 10000; i++) {
        double raw = rng_uniform(7, i);
        assert_true((double)session_nano_up(raw) >= raw * 1e9);
        assert_true((double)session_nano_down(raw) <= raw * 1e9);
    }
}

static void a_reservation_is_taken_only_when_it_fits_beside_all_others(void **unused)
{
    (void)unused;
    struct sessions *s;
    struct session_account a;
    assert_int_equal(sessions_new(&s), OK);
    struct event_session e = hold("run", 100, 60, 1);
    assert_int_equal(take(s, &e, 0, &a), OK);
    assert_int_equal(a.reserved, 60);
    e = hold("run", 100, 41, 2);
    assert_int_equal(take(s, &e, 1, &a), ERR_BUDGET_EXHAUSTED);
    assert_int_equal(a.reserved, 60);
    assert_int_equal(a.budget, 100);
    e = hold("run", 100, 40, 2);
    assert_int_equal(take(s, &e, 1, &a), OK);
    e = hold("run", 100, 1, 3);
    assert_int_equal(take(s, &e, 1, &a), ERR_BUDGET_EXHAUSTED);
    e = hold("other", 100, 101, 4);
    assert_int_equal(take(s, &e, 1, &a), ERR_BUDGET_EXHAUSTED);
    assert_int_equal(a.budget, 0); /* A session that is refused its first request is not opened. */
    assert_int_equal(sessions_count(s), 1);
    sessions_free(s);
}

static void a_report_replaces_the_bound_by_the_cost(void **unused)
{
    (void)unused;
    struct sessions *s;
    struct session_account a;
    assert_int_equal(sessions_new(&s), OK);
    struct event_session e = hold("run", 100, 60, 1);
    assert_int_equal(take(s, &e, 0, &a), OK);
    assert_false(settle(s, 9, 1e-9, &a)); /* Nobody's decision. */
    uint8_t id[ID_BYTES] = {1};
    double raw[MAX_METRICS] = {0};
    assert_false(sessions_settle(s, 1, id, 1 << 3, raw, &a)); /* Another metric. */
    assert_false(sessions_settle(s, 2, id, 1 << 2, raw, &a)); /* Another router. */
    assert_true(settle(s, 1, 20e-9, &a));
    assert_int_equal(a.spent, 20);
    assert_int_equal(a.reserved, 0);
    assert_false(settle(s, 1, 20e-9, &a)); /* Once. */
    e = hold("run", 100, 80, 2);
    assert_int_equal(take(s, &e, 1, &a), OK);
    sessions_free(s);
}

static void a_cost_above_its_bound_counts_in_full_and_ends_the_spending(void **unused)
{
    (void)unused;
    struct sessions *s;
    struct session_account a;
    assert_int_equal(sessions_new(&s), OK);
    struct event_session e = hold("run", 100, 60, 1);
    assert_int_equal(take(s, &e, 0, &a), OK);
    assert_true(settle(s, 1, 150e-9, &a));
    assert_int_equal(a.spent, 150);
    e = hold("run", 100, 1, 2);
    assert_int_equal(take(s, &e, 1, &a), ERR_BUDGET_EXHAUSTED);
    sessions_free(s);
}

static void an_open_session_keeps_its_budget_and_a_decision_its_one_reservation(void **unused)
{
    (void)unused;
    struct sessions *s;
    struct session_account a;
    assert_int_equal(sessions_new(&s), OK);
    struct event_session e = hold("run", 100, 10, 1);
    assert_int_equal(take(s, &e, 0, &a), OK);
    e = hold("run", 1000, 10, 2);
    assert_int_equal(take(s, &e, 0, &a), ERR_SESSION_BUDGET);
    e = hold("run", 100, 10, 2);
    e.metric = 3;
    assert_int_equal(take(s, &e, 0, &a), ERR_SESSION_BUDGET);
    e = hold("run", 100, 10, 1);
    assert_int_equal(take(s, &e, 0, &a), ERR_ID_REUSED);
    e = hold("run", 100, 0, 0);
    assert_int_equal(take(s, &e, 0, &a), OK); /* Opens what is open. */
    assert_int_equal(a.reserved, 10);
    sessions_free(s);
}

static void a_session_expires_by_disuse_and_its_name_is_free_again(void **unused)
{
    (void)unused;
    struct sessions *s;
    struct session_account a;
    assert_int_equal(sessions_new(&s), OK);
    struct event_session e = hold("run", 100, 100, 1);
    assert_int_equal(take(s, &e, 0, &a), OK);
    assert_true(sessions_get(s, 1, "run", minute_us, &a));
    assert_false(sessions_get(s, 1, "run", minute_us + 1, &a));
    e = hold("run", 70, 70, 2);
    assert_int_equal(take(s, &e, minute_us, &a), ERR_SESSION_BUDGET);
    assert_int_equal(take(s, &e, minute_us + 1, &a), OK);
    assert_int_equal(a.budget, 70);
    assert_false(settle(s, 1, 1e-9, &a)); /* Of the one before. */
    /* Use keeps it: */
    e = hold("run", 70, 0, 0);
    assert_int_equal(take(s, &e, 2 * minute_us, &a), OK);
    assert_true(sessions_get(s, 1, "run", 3 * minute_us, &a));
    struct event_session_end end = {1, "run"};
    assert_true(sessions_end(s, &end, &a));
    assert_false(sessions_end(s, &end, &a));
    assert_false(settle(s, 2, 1e-9, &a));
    assert_int_equal(sessions_count(s), 0);
    sessions_free(s);
}

static void the_limit_of_sessions_holds_until_one_expires(void **unused)
{
    (void)unused;
    struct sessions *s;
    struct session_account a;
    char name[32];
    assert_int_equal(sessions_new(&s), OK);
    for (uint32_t i = 0; i < MAX_SESSIONS; i++) {
        (void)snprintf(name, sizeof name, "s%u", i);
        struct event_session e = hold(name, 10, 1, i + 1);
        assert_int_equal(sessions_make_room(s, 1), OK);
        assert_int_equal(sessions_hold(s, &e, i, &a), OK);
    }
    struct event_session e = hold("more", 10, 1, MAX_SESSIONS + 1);
    assert_int_equal(take(s, &e, minute_us, &a), ERR_LIMIT);
    assert_int_equal(take(s, &e, minute_us + 1, &a), OK);
    assert_int_equal(sessions_count(s), MAX_SESSIONS);
    sessions_free(s);
}

static void one_session_has_at_most_so_many_reservations(void **unused)
{
    (void)unused;
    struct sessions *s;
    struct session_account a;
    assert_int_equal(sessions_new(&s), OK);
    for (uint32_t i = 0; i < MAX_SESSION_RESERVATIONS; i++) {
        struct event_session e = hold("run", 1000000, 1, i + 1);
        assert_int_equal(take(s, &e, 0, &a), OK);
    }
    struct event_session e = hold("run", 1000000, 1, 5000);
    assert_int_equal(take(s, &e, 0, &a), ERR_LIMIT);
    assert_true(settle(s, 77, 0, &a));
    assert_int_equal(take(s, &e, 0, &a), OK);
    sessions_free(s);
}

/* The rule recomputed by somebody who only adds up. */
static void whatever_comes_spent_and_reserved_stay_within_the_budget(void **unused)
{
    (void)unused;
    enum { NAMES = 5, STEPS = 20000 };
    struct sessions *s;
    struct session_account a = {0}; /* Of a settling that found nothing it stays what it was. */
    uint64_t held[STEPS] = {0}, owner[STEPS], used[NAMES] = {0};
    assert_int_equal(sessions_new(&s), OK);
    for (uint64_t i = 1; i < STEPS; i++) {
        uint64_t pick = rng_below(3, 4 * i, 3), who = rng_below(3, 4 * i + 1, NAMES);
        uint64_t amount = 1 + rng_below(3, 4 * i + 2, 400);
        char name[4] = {(char)('a' + who), 0};
        if (pick < 2) {
            struct event_session e = hold(name, 1000, amount, i);
            enum err err = take(s, &e, 0, &a);
            assert_int_equal(err, used[who] + amount <= 1000 && a.open <= MAX_SESSION_RESERVATIONS
                                      ? OK
                                      : ERR_BUDGET_EXHAUSTED);
            if (err == OK) {
                held[i] = amount;
                owner[i] = who;
                used[who] += amount;
            }
        } else {
            uint64_t of = 1 + rng_below(3, 4 * i + 3, i);
            uint64_t paid = of < i && held[of] ? rng_below(9, i, held[of] + 1) / 8 : 0;
            bool was = settle(s, of, (double)paid * 1e-9, &a);
            assert_int_equal(was, of < i && held[of] > 0);
            if (was) {
                used[owner[of]] -= held[of];
                used[owner[of]] += session_nano_up((double)paid * 1e-9);
                held[of] = 0;
                assert_int_equal(a.spent + a.reserved, used[owner[of]]);
            }
        }
        assert_true(a.spent + a.reserved <= 1000);
    }
    sessions_free(s);
}

static void the_byte_form_keeps_order_and_reservations(void **unused)
{
    (void)unused;
    struct sessions *s, *again;
    struct session_account a;
    struct buf b, c;
    assert_int_equal(sessions_new(&s), OK);
    for (uint64_t i = 1; i < 500; i++) {
        char name[8];
        (void)snprintf(name, sizeof name, "s%u", (unsigned)rng_below(5, i, 40));
        struct event_session e = hold(name, 10000, 1 + i, i);
        (void)take(s, &e, (int64_t)i, &a);
        if (i % 3 == 0)
            (void)settle(s, i / 2, 1e-9, &a);
    }
    buf_init(&b);
    buf_init(&c);
    sessions_encode(s, &b);
    assert_int_equal(buf_error(&b), OK);
    struct reader r;
    reader_init(&r, (struct slice){b.data, b.len});
    assert_int_equal(sessions_new(&again), OK);
    assert_int_equal(sessions_decode(&r, again), OK);
    assert_int_equal(reader_left(&r), 0);
    /* And the two go on alike. */
    for (uint64_t i = 1000; i < 1200; i++) {
        char name[8];
        struct session_account x, y;
        (void)snprintf(name, sizeof name, "s%u", (unsigned)rng_below(6, i, 60));
        struct event_session e = hold(name, 10000, 1 + i, i);
        assert_int_equal(take(s, &e, minute_us + (int64_t)i - 900, &x),
                         take(again, &e, minute_us + (int64_t)i - 900, &y));
    }
    buf_reset(&b);
    sessions_encode(s, &b);
    sessions_encode(again, &c);
    assert_int_equal(b.len, c.len);
    assert_memory_equal(b.data, c.data, b.len);
    sessions_free(s);
    sessions_free(again);
    buf_done(&b);
    buf_done(&c);
}

static void running_out_of_memory_leaves_the_tables_as_they_were(void **unused)
{
    (void)unused;
    for (long n = 1;; n++) {
        struct sessions *s;
        struct session_account a;
        assert_int_equal(sessions_new(&s), OK);
        struct event_session e = hold("first", 10, 5, 1);
        assert_int_equal(take(s, &e, 0, &a), OK);
        mem_fail_nth(n);
        enum err err = sessions_make_room(s, 200);
        mem_fail_nth(0);
        e = hold("first", 10, 5, 2);
        assert_int_equal(take(s, &e, 0, &a), OK);
        assert_int_equal(a.reserved, 10);
        assert_true(settle(s, 1, 1e-9, &a));
        sessions_free(s);
        if (err == OK)
            break;
        assert_int_equal(err, ERR_NOMEM);
        assert_true(n < 20);
    }
}

static void an_outcome_that_is_counted_settles_what_its_decision_reserved(void **unused)
{
    (void)unused;
    struct given g;
    struct router_config config;
    given_config(&config);
    given_open(&g, &config);
    uint32_t arm = given_arm(&g, "a");
    struct decision d = given_decision(&g, arm, 1);
    double z[MAX_METRICS] = {.5, .5, .25, .5, .5};
    memset(&g.event, 0, sizeof g.event);
    g.event.kind = EVENT_SESSION;
    g.event.u.session = hold("run", 5000000000, 4000000000, 0);
    g.event.u.session.router_uid = g.router->uid;
    memcpy(g.event.u.session.id, d.id, ID_BYTES);
    struct fold_result got = given_fold(&g);
    assert_int_equal(got.err, OK);
    assert_true(got.has_session);
    got = given_report(&g, &d, 1, z, OUTCOME_OK); /* A reward says nothing of the cost. */
    assert_false(got.has_session);
    got = given_report(&g, &d, 1 << 2, z, OUTCOME_OK);
    assert_true(got.has_session);
    assert_int_equal(got.session.reserved, 0);
    assert_true(got.session.spent > 0);
    assert_int_equal(got.session.spent, session_nano_up(g.event.u.outcome.metrics[0].raw));
    got = given_report(&g, &d, 1 << 2, z, OUTCOME_OK);
    assert_true(got.duplicate);
    assert_false(got.has_session);
    given_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bounds_round_up_and_budgets_down),
        cmocka_unit_test(a_reservation_is_taken_only_when_it_fits_beside_all_others),
        cmocka_unit_test(a_report_replaces_the_bound_by_the_cost),
        cmocka_unit_test(a_cost_above_its_bound_counts_in_full_and_ends_the_spending),
        cmocka_unit_test(an_open_session_keeps_its_budget_and_a_decision_its_one_reservation),
        cmocka_unit_test(a_session_expires_by_disuse_and_its_name_is_free_again),
        cmocka_unit_test(the_limit_of_sessions_holds_until_one_expires),
        cmocka_unit_test(one_session_has_at_most_so_many_reservations),
        cmocka_unit_test(whatever_comes_spent_and_reserved_stay_within_the_budget),
        cmocka_unit_test(the_byte_form_keeps_order_and_reservations),
        cmocka_unit_test(running_out_of_memory_leaves_the_tables_as_they_were),
        cmocka_unit_test(an_outcome_that_is_counted_settles_what_its_decision_reserved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
