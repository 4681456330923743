#include "server/live/session_table.h"

#include "state/base/mem.h"
#include "tests/unit/cmocka_all.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

static struct session_ask ask_of(const char *name, int64_t now_us, uint64_t budget)
{
    struct session_ask ask = {.now_us = now_us, .ttl_us = 100, .strict = budget > 0, .metric = 2};
    ask.key.router_uid = 1;
    ask.budget = budget;
    (void)snprintf(ask.key.name, sizeof ask.key.name, "%s", name);
    return ask;
}

static struct session_account account_of(const struct session_ask *ask, uint64_t reserved)
{
    struct session_account a = {.router_uid = 1, .metric = 2, .budget = ask->budget};
    memcpy(a.name, ask->key.name, sizeof a.name);
    a.reserved = reserved;
    a.expires_us = ask->now_us + ask->ttl_us;
    return a;
}

static void what_is_on_its_way_counts_like_what_arrived(void **unused)
{
    (void)unused;
    struct session_table *t;
    struct session_view v;
    assert_int_equal(session_table_new(100, &t), OK);
    struct session_ask ask = ask_of("run", 0, 100);
    assert_int_equal(session_table_enter(t, &ask, &v), OK);
    assert_true(v.strict);
    assert_true(session_table_reserve(t, &ask.key, 60, &v));
    assert_false(session_table_reserve(t, &ask.key, 41, &v));
    assert_int_equal(v.used, 60);
    struct session_account a = account_of(&ask, 60);
    session_table_folded(t, &a);
    session_table_arrived(t, &ask.key, 60);
    assert_false(session_table_reserve(t, &ask.key, 41, &v));
    assert_int_equal(v.used, 60);
    a.reserved = 0;
    a.spent = 10;
    session_table_folded(t, &a);
    assert_true(session_table_reserve(t, &ask.key, 90, &v));
    session_table_arrived(t, &ask.key, 90); /* It was refused. */
    assert_true(session_table_reserve(t, &ask.key, 90, &v));
    session_table_free(t);
}

static void a_session_without_a_budget_reserves_nothing(void **unused)
{
    (void)unused;
    struct session_table *t;
    struct session_view v;
    assert_int_equal(session_table_new(100, &t), OK);
    struct session_ask ask = ask_of("run", 0, 0);
    assert_int_equal(session_table_enter(t, &ask, &v), OK);
    assert_false(v.strict);
    assert_false(session_table_reserve(t, &ask.key, 1, &v));
    struct session_ask other = ask_of("run", 0, 10);
    assert_int_equal(session_table_enter(t, &other, &v), ERR_SESSION_BUDGET);
    assert_int_equal(session_table_look(t, &other, &v), ERR_SESSION_BUDGET);
    session_table_free(t);
}

static void an_open_session_may_be_named_without_its_budget_but_not_with_another(void **unused)
{
    (void)unused;
    struct session_table *t;
    struct session_view v;
    assert_int_equal(session_table_new(100, &t), OK);
    struct session_ask ask = ask_of("run", 0, 100);
    assert_int_equal(session_table_look(t, &ask, &v), OK);
    assert_int_equal(v.budget, 100);
    struct session_row rows[2];
    assert_int_equal(session_table_list(t, 1, 0, rows, 2), 0); /* A look opens nothing. */
    assert_int_equal(session_table_enter(t, &ask, &v), OK);
    struct session_ask plain = ask_of("run", 1, 0);
    assert_int_equal(session_table_enter(t, &plain, &v), OK);
    assert_true(v.strict);
    ask.budget = 101;
    assert_int_equal(session_table_enter(t, &ask, &v), ERR_SESSION_BUDGET);
    assert_int_equal(v.budget, 100);
    assert_int_equal(session_table_list(t, 1, 0, rows, 2), 1);
    assert_string_equal(rows[0].key.name, "run");
    assert_int_equal(session_table_list(t, 2, 0, rows, 2), 0);
    session_table_free(t);
}

static void a_session_expires_unless_something_of_it_is_on_its_way(void **unused)
{
    (void)unused;
    struct session_table *t;
    struct session_view v;
    assert_int_equal(session_table_new(100, &t), OK);
    struct session_ask ask = ask_of("run", 0, 100);
    assert_int_equal(session_table_enter(t, &ask, &v), OK);
    assert_true(session_table_reserve(t, &ask.key, 70, &v));
    struct session_ask later = ask_of("run", 101, 50);
    assert_int_equal(session_table_enter(t, &later, &v), ERR_SESSION_BUDGET);
    session_table_arrived(t, &ask.key, 70);
    assert_int_equal(session_table_enter(t, &later, &v), OK);
    assert_int_equal(v.budget, 50);
    assert_int_equal(v.used, 0);
    session_table_free(t);
}

static void a_full_table_forgets_who_has_no_budget_and_refuses_when_all_have(void **unused)
{
    (void)unused;
    struct session_table *t;
    struct session_view v;
    char name[16];
    uint32_t refused = 0;
    assert_int_equal(session_table_new(64, &t), OK);
    for (int i = 0; i < 2000; i++) {
        (void)snprintf(name, sizeof name, "plain%d", i);
        struct session_ask ask = ask_of(name, 0, 0);
        refused += session_table_enter(t, &ask, &v) != OK;
    }
    struct session_row rows[64];
    assert_true(session_table_list(t, 1, 0, rows, 64) <= 64);
    assert_true(refused < 2000);
    session_table_free(t);
    assert_int_equal(session_table_new(64, &t), OK);
    for (int i = 0; i < 65; i++) {
        (void)snprintf(name, sizeof name, "strict%d", i);
        struct session_ask ask = ask_of(name, 0, 10);
        assert_int_equal(session_table_enter(t, &ask, &v), i < 64 ? OK : ERR_LIMIT);
    }
    assert_int_equal(session_table_list(t, 1, 0, rows, 64), 64);
    session_table_free(t);
}

static void a_full_table_forgets_others_before_those_that_are_used(void **unused)
{
    (void)unused;
    struct session_table *t;
    struct session_view v;
    char name[16];
    assert_int_equal(session_table_new(1000, &t), OK);
    for (int i = 0; i < 4000; i++) {
        (void)snprintf(name, sizeof name, "plain%d", i);
        struct session_ask ask = ask_of(name, 0, 0), used = ask_of("used", 0, 0);
        assert_int_equal(session_table_enter(t, &used, &v), OK);
        assert_int_equal(v.steps, (uint64_t)i);
        session_table_step(t, &used.key, 0, (const uint8_t[ID_BYTES]){1}, 1);
        enum err e = session_table_enter(t, &ask, &v);
        assert_true(e == OK || e == ERR_LIMIT); /* Nobody else is in its shard. */
    }
    session_table_free(t);
}

static void the_last_steps_are_remembered_in_order(void **unused)
{
    (void)unused;
    static uint8_t ids[SESSION_STEPS_MAX][ID_BYTES];
    struct session_table *t;
    struct session_view v;
    uint32_t n;
    assert_int_equal(session_table_new(100, &t), OK);
    for (uint32_t steps = 0; steps < 700; steps += 35) {
        struct session_ask ask = ask_of("run", 0, 0);
        assert_int_equal(session_table_enter(t, &ask, &v), OK);
        for (uint32_t k = 0; k < steps; k++) {
            uint8_t id[ID_BYTES] = {(uint8_t)k, (uint8_t)(k >> 8)};
            session_table_step(t, &ask.key, k % 2 ? v.hash : 0, id, 10 + k);
        }
        assert_true(session_table_steps(t, &ask.key, 0, &v, ids, &n));
        assert_int_equal(v.steps, steps);
        assert_int_equal(v.held_arm, steps ? 9 + steps : 0);
        assert_int_equal(n, steps < SESSION_STEPS_MAX ? steps : SESSION_STEPS_MAX);
        for (uint32_t i = 0; i < n; i++) {
            uint32_t k = steps - n + i;
            assert_int_equal(ids[i][0] | ids[i][1] << 8, k);
        }
        session_table_end(t, &ask.key);
        assert_false(session_table_steps(t, &ask.key, 0, &v, ids, &n));
    }
    session_table_free(t);
}

static void without_memory_for_more_a_session_remembers_its_last_five_steps(void **unused)
{
    (void)unused;
    static uint8_t ids[SESSION_STEPS_MAX][ID_BYTES];
    struct session_table *t;
    struct session_view v;
    uint32_t n;
    assert_int_equal(session_table_new(100, &t), OK);
    struct session_ask ask = ask_of("run", 0, 0);
    assert_int_equal(session_table_enter(t, &ask, &v), OK);
    mem_fail_from(1);
    for (uint8_t k = 0; k < 12; k++) {
        const uint8_t id[ID_BYTES] = {k};
        session_table_step(t, &ask.key, v.hash, id, 1);
    }
    mem_fail_nth(0);
    assert_true(session_table_steps(t, &ask.key, 0, &v, ids, &n));
    assert_int_equal(v.steps, 12);
#ifdef SHUNT_FAULTS
    assert_int_equal(n, 5);
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(ids[i][0], 7 + i);
#endif
    session_table_free(t);
}

static void names_that_differ_in_their_last_letter_are_two_sessions(void **unused)
{
    (void)unused;
    char name[NAME_CAP] = "";
    struct session_table *t;
    struct session_view v;
    const uint8_t id[ID_BYTES] = {0};
    assert_int_equal(session_table_new(1000, &t), OK);
    for (uint32_t last = 'a'; last <= 'c'; last++)
        for (uint32_t len = 1; len < NAME_CAP; len++) {
            memset(name, 'x', len);
            name[len - 1] = (char)last;
            name[len] = '\0';
            struct session_ask ask = ask_of(name, 0, 0);
            assert_int_equal(session_table_enter(t, &ask, &v), OK);
            assert_int_equal(v.steps, 0);
            session_table_step(t, &ask.key, v.hash, id, 100 * last + len);
        }
    for (uint32_t last = 'a'; last <= 'c'; last++)
        for (uint32_t len = 1; len < NAME_CAP; len++) {
            memset(name, 'x', len);
            name[len - 1] = (char)last;
            name[len] = '\0';
            struct session_ask ask = ask_of(name, 0, 0);
            assert_int_equal(session_table_look(t, &ask, &v), OK);
            assert_int_equal(v.held_arm, 100 * last + len);
        }
    session_table_free(t);
}

static void what_the_journal_held_is_there_after_a_start(void **unused)
{
    (void)unused;
    struct session_table *t;
    struct session_view v;
    assert_int_equal(session_table_new(100, &t), OK);
    struct session_ask ask = ask_of("run", 5, 100);
    struct session_account a = account_of(&ask, 80);
    assert_int_equal(session_table_restore(t, &a), OK);
    struct session_ask plain = ask_of("run", 6, 0);
    assert_int_equal(session_table_enter(t, &plain, &v), OK);
    assert_true(v.strict);
    assert_int_equal(v.used, 80);
    assert_int_equal(v.expires_us, 105);
    session_table_free(t);
}

enum { RACERS = 8, TRIES = 20000, BUDGET = 40000 };
struct race {
    struct session_table *t;
    struct session_ask ask;
    _Atomic uint64_t taken;
};

static void *race(void *ctx)
{
    struct race *r = ctx;
    struct session_view v;
    for (int i = 0; i < TRIES; i++)
        if (session_table_reserve(r->t, &r->ask.key, 3, &v))
            atomic_fetch_add(&r->taken, 3);
    return NULL;
}

static void racers_for_the_last_cent_get_no_more_than_there_is(void **unused)
{
    (void)unused;
    struct race r = {.ask = ask_of("run", 0, BUDGET)};
    struct session_view v;
    pthread_t threads[RACERS];
    assert_int_equal(session_table_new(100, &r.t), OK);
    assert_int_equal(session_table_enter(r.t, &r.ask, &v), OK);
    for (int i = 0; i < RACERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, race, &r), 0);
    for (int i = 0; i < RACERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(r.taken, BUDGET / 3 * 3);
    session_table_free(r.t);
}

static void running_out_of_memory_is_said_and_leaks_nothing(void **unused)
{
    (void)unused;
    for (long n = 1; n < 200; n++) {
        struct session_table *t = NULL;
        struct session_view v;
        mem_fail_nth(n);
        enum err e = session_table_new(100, &t);
        struct session_ask ask = ask_of("run", 0, 0);
        if (e == OK)
            e = session_table_enter(t, &ask, &v);
        uint8_t id[ID_BYTES] = {0};
        if (e == OK)
            session_table_step(t, &ask.key, 0, id, 1);
        mem_fail_nth(0);
        assert_true(e == OK || e == ERR_NOMEM);
        session_table_free(t);
    }
}

/* And a widening that gets no memory leaves longer chains, no less. */
static void a_table_that_grew_finds_everyone_and_forgets_who_ended(void **unused)
{
    (void)unused;
    enum { MANY = 6000 };
    struct session_table *t;
    struct session_view v;
    const uint8_t id[ID_BYTES] = {7};
    char name[NAME_CAP];
    assert_int_equal(session_table_new(2 * MANY, &t), OK);
    for (uint32_t i = 0; i < MANY; i++) {
        (void)snprintf(name, sizeof name, "run-%u", i);
        struct session_ask ask = ask_of(name, 0, 0);
        session_table_expect(t, &ask);
        mem_fail_nth(i % 8 ? 1 : 0);
        assert_int_equal(session_table_enter(t, &ask, &v), OK);
        mem_fail_nth(0);
        assert_int_equal(v.steps, 0);
        session_table_step(t, &ask.key, ask.hash, id, i + 1);
        if (i % 3 == 0)
            session_table_end(t, &ask.key);
    }
    for (uint32_t i = 0; i < MANY; i++) {
        (void)snprintf(name, sizeof name, "run-%u", i);
        struct session_ask ask = ask_of(name, 1, 0);
        session_table_expect(t, &ask);
        assert_int_equal(session_table_look(t, &ask, &v), OK);
        assert_int_equal(v.held_arm, i % 3 ? i + 1 : 0);
    }
    uint32_t strict;
    assert_int_equal(session_table_count(t, 1, &strict), MANY - MANY / 3);
    session_table_free(t);
}

enum { OPENERS = 4, OPENED = 2000 };

struct opener {
    struct session_table *t;
    uint32_t number, lost;
};

/* Opens sessions of its own, and ends every third; asks for all of the others' beside. */
static void *open_many(void *arg)
{
    struct opener *o = arg;
    uint8_t id[ID_BYTES] = {0};
    char name[NAME_CAP];
    struct session_view v;
    for (uint32_t i = 0; i < OPENED; i++) {
        for (uint32_t k = 0; k < OPENERS; k++) {
            (void)snprintf(name, sizeof name, "run-%u-%u", (o->number + k) % OPENERS, i);
            struct session_ask ask = ask_of(name, 0, 0);
            session_table_expect(o->t, &ask);
            if (k > 0)
                continue;
            o->lost += session_table_enter(o->t, &ask, &v) != OK;
            session_table_step(o->t, &ask.key, ask.hash, id, i + 1);
            o->lost += session_table_look(o->t, &ask, &v) != OK || v.held_arm != i + 1;
            if (i % 3 == 0)
                session_table_end(o->t, &ask.key);
        }
    }
    return NULL;
}

/* For the thread sanitizer too: what fetches holds no lock. */
static void threads_find_their_sessions_while_others_make_the_table_grow(void **unused)
{
    (void)unused;
    struct opener o[OPENERS];
    pthread_t threads[OPENERS];
    struct session_table *t;
    uint32_t strict;
    assert_int_equal(session_table_new(2 * OPENERS * OPENED, &t), OK);
    for (uint32_t i = 0; i < OPENERS; i++) {
        o[i] = (struct opener){t, i, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, open_many, &o[i]), 0);
    }
    for (uint32_t i = 0; i < OPENERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (uint32_t i = 0; i < OPENERS; i++)
        assert_int_equal(o[i].lost, 0);
    assert_int_equal(session_table_count(t, 1, &strict), OPENERS * (OPENED - (OPENED + 2) / 3));
    session_table_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_on_its_way_counts_like_what_arrived),
        cmocka_unit_test(a_session_without_a_budget_reserves_nothing),
        cmocka_unit_test(an_open_session_may_be_named_without_its_budget_but_not_with_another),
        cmocka_unit_test(a_session_expires_unless_something_of_it_is_on_its_way),
        cmocka_unit_test(a_full_table_forgets_who_has_no_budget_and_refuses_when_all_have),
        cmocka_unit_test(a_full_table_forgets_others_before_those_that_are_used),
        cmocka_unit_test(the_last_steps_are_remembered_in_order),
        cmocka_unit_test(without_memory_for_more_a_session_remembers_its_last_five_steps),
        cmocka_unit_test(names_that_differ_in_their_last_letter_are_two_sessions),
        cmocka_unit_test(what_the_journal_held_is_there_after_a_start),
        cmocka_unit_test(racers_for_the_last_cent_get_no_more_than_there_is),
        cmocka_unit_test(running_out_of_memory_is_said_and_leaks_nothing),
        cmocka_unit_test(a_table_that_grew_finds_everyone_and_forgets_who_ended),
        cmocka_unit_test(threads_find_their_sessions_while_others_make_the_table_grow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
