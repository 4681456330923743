#include "server/live/pacers.h"

#include "state/base/mem.h"
#include "tests/unit/cmocka_all.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { THREADS = 8, EACH = 5000, IDLE_US = 1000 };

static const struct pacer_budget one = {1, 1e6};
static const struct pacing_menu flat = {.base = .5};

static struct pacers *make(uint32_t keys_max)
{
    struct pacers *p = NULL;
    assert_int_equal(pacers_new(keys_max, IDLE_US, &p), OK);
    return p;
}

static struct pacer_id id_of(uint32_t router_uid, const char *key)
{
    struct pacer_id id = {.router_uid = router_uid};
    (void)snprintf(id.key, sizeof id.key, "%s", key);
    return id;
}

static struct pacer_id tenant(uint32_t n)
{
    struct pacer_id id = {.router_uid = 1};
    (void)snprintf(id.key, sizeof id.key, "tenant-%u", n);
    return id;
}

static void spend(struct pacers *p, struct pacer_id id, double cost, int64_t now_us)
{
    struct pacing_terms t;
    assert_int_equal(pacers_terms(p, &id, &one, now_us, &t), OK);
    pacers_charge(p, &id, &flat, cost);
}

/* The bank of the one account that moved. */
static struct pacer_saved only_moved(struct pacers *p)
{
    struct pacer_saved saved[2];
    assert_int_equal(pacers_collect(p, saved, 2), 1);
    return saved[0];
}

static void accounts_of_routers_and_keys_are_apart(void **unused)
{
    (void)unused;
    struct pacers *p = make(64);
    spend(p, id_of(1, ""), 3, 0);
    struct pacer_saved s = only_moved(p);
    assert_true(s.kept.bank == -2 && s.id.router_uid == 1 && s.id.key[0] == '\0');
    spend(p, id_of(2, ""), 4, 0);
    assert_true(only_moved(p).kept.bank == -3);
    spend(p, id_of(1, "a"), 5, 0);
    assert_true(only_moved(p).kept.bank == -4);
    spend(p, id_of(1, "a"), 1, 0);
    s = only_moved(p);
    assert_true(s.kept.bank == -4);
    assert_string_equal(s.id.key, "a");
    struct pacer_id id = id_of(1, "a");
    pacers_correct(p, &id, 5, 1);
    assert_true(only_moved(p).kept.bank == 0);
    assert_int_equal(pacers_count(p).keys, 1);
    pacers_free(p);
}

static void nothing_moved_is_collected_twice_and_few_at_a_time_reach_all(void **unused)
{
    (void)unused;
    enum { N = 100 };
    struct pacers *p = make(1600);
    bool seen[N] = {false};
    for (uint32_t i = 0; i < N; i++)
        spend(p, tenant(i), 1, 0);
    for (uint32_t k = 0; k < N; k += 10) {
        struct pacer_saved saved[10];
        /* Others go on moving; whoever has waited is not overtaken for ever. */
        assert_int_equal(pacers_collect(p, saved, 10), 10);
        for (int i = 0; i < 10; i++) {
            unsigned n;
            assert_int_equal(sscanf(saved[i].id.key, "tenant-%u", &n), 1);
            assert_false(seen[n]);
            seen[n] = true;
        }
    }
    struct pacer_saved saved[10];
    assert_int_equal(pacers_collect(p, saved, 10), 0);
    pacers_free(p);
}

static void a_full_table_takes_the_place_of_idle_keys_only_and_counts_their_debt(void **unused)
{
    (void)unused;
    struct pacers *p = make(16); /* One a shard. */
    uint32_t kept = 0, refused = 0;
    for (uint32_t i = 0; i < 1000; i++) {
        struct pacer_id id = tenant(i);
        struct pacing_terms t;
        enum err e = pacers_terms(p, &id, &one, 0, &t);
        assert_true(e == OK || e == ERR_LIMIT);
        kept += e == OK;
        refused += e == ERR_LIMIT;
        if (e == OK)
            pacers_charge(p, &id, &flat, 9);
    }
    assert_int_equal(kept, 16);
    struct pacers_count c = pacers_count(p);
    assert_int_equal(c.keys, 16);
    assert_int_equal(c.refused, refused);
    assert_int_equal(c.evicted, 0);
    for (uint32_t i = 1000; i < 2000; i++) {
        struct pacer_id id = tenant(i);
        struct pacing_terms t;
        (void)!pacers_terms(p, &id, &one, IDLE_US, &t);
    }
    c = pacers_count(p);
    assert_int_equal(c.keys, 16);
    assert_int_equal(c.evicted, 16);
    assert_int_equal(c.evicted_in_debt, 16);
    /* The moved ones that were evicted are not handed out. */
    struct pacer_saved saved[16];
    assert_int_equal(pacers_collect(p, saved, 16), 0);
    /* Charging an account that is gone is no error, and makes none. */
    struct pacer_id gone = tenant(0);
    pacers_charge(p, &gone, &flat, 1);
    pacers_correct(p, &gone, 1, 2);
    assert_int_equal(pacers_collect(p, saved, 16), 0);
    pacers_free(p);
}

static void the_key_used_last_stays(void **unused)
{
    (void)unused;
    struct pacers *p = make(32); /* Two a shard. */
    struct pacing_terms t;
    struct pacer_id mine = tenant(0);
    spend(p, mine, 3, 0);
    for (uint32_t i = 1; i < 500; i++) {
        struct pacer_id id = tenant(i);
        (void)!pacers_terms(p, &id, &one, (int64_t)i * IDLE_US, &t);
        assert_int_equal(pacers_terms(p, &mine, &one, (int64_t)i * IDLE_US, &t), OK);
    }
    pacers_charge(p, &mine, &flat, 1);
    assert_true(only_moved(p).kept.bank == -2);
    pacers_free(p);
}

static void the_routers_own_account_is_never_evicted_and_goes_with_the_router(void **unused)
{
    (void)unused;
    struct pacers *p = make(16);
    spend(p, id_of(1, ""), 3, 0);
    spend(p, id_of(2, ""), 3, 0);
    for (uint32_t i = 0; i < 300; i++) {
        struct pacer_id id = tenant(i);
        struct pacing_terms t;
        (void)!pacers_terms(p, &id, &one, (int64_t)(i + 1) * IDLE_US, &t);
    }
    struct pacer_saved saved[2];
    assert_int_equal(pacers_collect(p, saved, 2), 2);
    pacers_drop(p, 1);
    assert_int_equal(pacers_count(p).keys, 0);
    struct pacer_id id = id_of(1, "");
    pacers_charge(p, &id, &flat, 1);
    assert_int_equal(pacers_collect(p, saved, 2), 0);
    id = id_of(2, "");
    pacers_charge(p, &id, &flat, 1);
    assert_int_equal(pacers_collect(p, saved, 2), 1);
    assert_true(saved[0].kept.bank == -2);
    pacers_free(p);
}

static void a_restart_goes_on_with_bank_and_price(void **unused)
{
    (void)unused;
    struct pacers *p = make(16), *q = make(16);
    struct pacer_id id = id_of(7, "a");
    const struct pacing_menu menu = {.base = .5, .n = 1, .price = {.25}, .cost = {4}};
    struct pacing_terms before, after;
    for (int i = 0; i < 100; i++) {
        assert_int_equal(pacers_terms(p, &id, &one, 0, &before), OK);
        pacers_charge(p, &id, &menu, 1.1);
    }
    assert_int_equal(pacers_terms(p, &id, &one, 0, &before), OK);
    struct pacer_saved saved = only_moved(p);
    assert_int_equal(pacers_restore(q, &saved, one.ceiling, 0), OK);
    struct pacer_saved unused_saved[1];
    assert_int_equal(pacers_collect(q, unused_saved, 1), 0);
    assert_int_equal(pacers_terms(q, &id, &one, 0, &after), OK);
    assert_true(before.lambda > 0);
    assert_true(fabs(after.lambda - before.lambda) <= 1e-12);
    pacers_charge(q, &id, &menu, 1);
    assert_true(fabs(only_moved(q).kept.bank - saved.kept.bank) <= 1e-12);
    saved.kept.budget = (double)NAN;
    assert_int_equal(pacers_restore(q, &saved, one.ceiling, 0), ERR_INVALID);
    pacers_free(p);
    pacers_free(q);
}

static void another_budget_holds_from_the_next_request_on(void **unused)
{
    (void)unused;
    struct pacers *p = make(16);
    struct pacer_id id = id_of(7, "");
    const struct pacer_budget ten = {10, 2};
    struct pacing_terms t;
    spend(p, id, 51, 0);
    assert_int_equal(pacers_terms(p, &id, &ten, 0, &t), OK);
    assert_true(t.budget == 10);
    pacers_charge(p, &id, &flat, 10);
    assert_true(only_moved(p).kept.bank == -5);
    pacers_forget(p, 7);
    assert_int_equal(pacers_terms(p, &id, &ten, 0, &t), OK);
    pacers_free(p);
}

static void what_was_spent_is_summed_and_put_right(void **unused)
{
    (void)unused;
    struct pacers *p = make(16), *q = make(16);
    struct pacer_id id = id_of(7, "a"), other = id;
    other.metric = 3; /* Another unit: another account. */
    struct pacer_report r;
    assert_false(pacers_read(p, &id, &r));
    for (int i = 0; i < 4; i++)
        spend(p, id, 2, 0);
    pacers_correct(p, &id, 2, 5);
    pacers_correct(p, &other, 2, 50); /* Nobody's. */
    assert_true(pacers_read(p, &id, &r));
    assert_int_equal(r.saved.totals.requests, 4);
    assert_int_equal(r.saved.totals.corrected, 1);
    assert_true(r.saved.totals.predicted == 8 && r.saved.totals.paid == 11);
    assert_true(r.saved.totals.allowed == 4 && r.saved.kept.bank == -7);
    assert_true(r.rate > 0 && r.rate < 1 && r.terms.budget == 1);
    assert_false(pacers_read(p, &other, &r));
    struct pacer_saved saved = only_moved(p);
    assert_int_equal(pacers_restore(q, &saved, 2, 0), OK);
    assert_true(pacers_read(q, &id, &r));
    assert_true(r.saved.totals.paid == 11 && r.saved.kept.bank == -7);
    pacers_correct(q, &id, 100, 0); /* A charge that a crash took. */
    assert_true(pacers_read(q, &id, &r) && r.saved.totals.paid == 0);
    pacers_free(p);
    pacers_free(q);
}

static void what_could_not_be_kept_is_collected_again(void **unused)
{
    (void)unused;
    struct pacers *p = make(16);
    struct pacer_saved saved[2];
    spend(p, id_of(1, ""), 2, 0);
    saved[0] = only_moved(p);
    assert_int_equal(pacers_collect(p, &saved[1], 1), 0);
    pacers_return(p, saved, 1);
    assert_true(only_moved(p).kept.bank == -1);
    pacers_close(p, &saved[0].id);
    pacers_return(p, saved, 1);
    assert_int_equal(pacers_collect(p, saved, 2), 0);
    pacers_free(p);
}

static void the_breaker_counts_the_requests_it_holds(void **unused)
{
    (void)unused;
    struct pacers *p = make(16);
    struct pacer_id id = id_of(1, "");
    const struct pacer_budget tight = {1, 1.5};
    struct pacing_terms t;
    struct pacer_report r;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pacers_terms(p, &id, &tight, 0, &t), OK);
        assert_int_equal(t.cheapest_only, i > 0);
        pacers_charge(p, &id, &flat, 500);
    }
    assert_true(pacers_read(p, &id, &r));
    assert_int_equal(r.saved.totals.breaker, 2);
    pacers_free(p);
}

static void *spend_much(void *arg)
{
    struct pacers *p = arg;
    for (uint32_t i = 0; i < EACH; i++) {
        struct pacer_id id = i % 2 ? id_of(1, "") : tenant(i % 50);
        struct pacing_terms t;
        if (pacers_terms(p, &id, &one, 0, &t) != OK)
            return arg;
        pacers_charge(p, &id, &flat, 1.0009765625); /* Exact in binary: sums have no order. */
    }
    return NULL;
}

static void no_charge_of_eight_threads_is_lost(void **unused)
{
    (void)unused;
    struct pacers *p = make(1600);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, spend_much, p), 0);
    for (int i = 0; i < THREADS; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    struct pacer_saved saved[64];
    uint32_t n = pacers_collect(p, saved, 64);
    assert_int_equal(n, 26); /* 25 even tenants and the router. */
    double sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += saved[i].kept.bank;
    assert_true(sum == -THREADS * EACH * .0009765625);
    pacers_free(p);
}

static void failed_allocations_leave_nothing_behind(void **unused)
{
    (void)unused;
    struct pacers *p = NULL;
    enum err e = ERR_NOMEM;
    struct pacer_id id = id_of(1, "a");
    struct pacing_terms t;
    for (long n = 1; e != OK && n < 100; n++) {
        mem_fail_nth(n);
        e = pacers_new(16, 0, &p);
        if (e == OK) {
            e = pacers_terms(p, &id, &one, 0, &t);
            assert_int_equal(pacers_count(p).keys, e == OK);
            if (e != OK)
                pacers_free(p);
        }
        mem_fail_nth(0);
        if (e != OK)
            assert_int_equal(e, ERR_NOMEM);
    }
    assert_int_equal(e, OK);
    pacers_free(p);
    pacers_free(NULL);
    assert_int_equal(pacers_new(1, 0, &p), ERR_INVALID);
    assert_int_equal(pacers_new(16, -1, &p), ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accounts_of_routers_and_keys_are_apart),
        cmocka_unit_test(nothing_moved_is_collected_twice_and_few_at_a_time_reach_all),
        cmocka_unit_test(a_full_table_takes_the_place_of_idle_keys_only_and_counts_their_debt),
        cmocka_unit_test(the_key_used_last_stays),
        cmocka_unit_test(the_routers_own_account_is_never_evicted_and_goes_with_the_router),
        cmocka_unit_test(a_restart_goes_on_with_bank_and_price),
        cmocka_unit_test(another_budget_holds_from_the_next_request_on),
        cmocka_unit_test(what_was_spent_is_summed_and_put_right),
        cmocka_unit_test(what_could_not_be_kept_is_collected_again),
        cmocka_unit_test(the_breaker_counts_the_requests_it_holds),
        cmocka_unit_test(no_charge_of_eight_threads_is_lost),
        cmocka_unit_test(failed_allocations_leave_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
