#include "server/live/live.h"

#include "state/base/mem.h"
#include "tests/unit/cmocka_all.h"

#include <pthread.h>
#include <string.h>

enum { THREADS = 8 };

static struct live *make_live(uint32_t recent_max, int64_t keep_us)
{
    struct live *l = NULL;
    assert_int_equal(live_new(recent_max, keep_us, &l), OK);
    return l;
}

static void make_id(uint32_t n, uint8_t ret_id[ID_BYTES])
{
    memset(ret_id, 0, ID_BYTES);
    memcpy(ret_id, &n, sizeof n);
}

static void run_threads(void *(*f)(void *), void *arg)
{
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, f, arg), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

static void counters_exist_once_prepared_and_keep_the_larger_value(void **unused)
{
    (void)unused;
    struct live *l = make_live(16, 1000);
    assert_null(live_get(l, 5));
    assert_int_equal(live_prepare(l, 5, 100), OK);
    struct live_count *c = live_get(l, 5);
    assert_non_null(c);
    assert_int_equal(c->issued, 100);
    atomic_fetch_add(&c->issued, 7);
    assert_int_equal(live_prepare(l, 5, 50), OK); /* Nothing issued is forgotten. */
    assert_int_equal(c->issued, 107);
    assert_int_equal(live_prepare(l, 5, 200), OK);
    assert_ptr_equal(live_get(l, 5), c);
    assert_int_equal(c->issued, 200);
    assert_int_equal(live_prepare(l, (1U << 26) - 1, 1), OK);
    assert_int_equal(live_get(l, (1U << 26) - 1)->issued, 1);
    assert_null(live_get(l, 1U << 25));
    assert_int_equal(live_prepare(l, 1U << 26, 1), ERR_LIMIT);
    assert_null(live_get(l, 1U << 26));
    assert_null(live_get(l, UINT32_MAX));
    live_free(l);
}

static void *count_many(void *arg)
{
    struct live *l = arg;
    for (uint32_t i = 0; i < 20000; i++) {
        struct live_count *c = live_get(l, i % 3000);
        if (c)
            atomic_fetch_add_explicit(&c->issued, 1, memory_order_relaxed);
        c = live_get(l, 0);
        atomic_fetch_add_explicit(&c->issued, 1, memory_order_relaxed);
    }
    return NULL;
}

static void *prepare_while_others_count(void *arg)
{
    struct live *l = arg;
    for (uint32_t uid = 0; uid < 3000; uid++)
        if (live_prepare(l, uid, 0) != OK)
            return arg;
    return NULL;
}

static void no_pull_is_lost_when_threads_count_and_the_writer_prepares(void **unused)
{
    (void)unused;
    struct live *l = make_live(16, 1000);
    assert_int_equal(live_prepare(l, 0, 0), OK);
    pthread_t writer;
    assert_int_equal(pthread_create(&writer, NULL, prepare_while_others_count, l), 0);
    run_threads(count_many, l);
    void *failed = NULL;
    pthread_join(writer, &failed);
    assert_null(failed);
    /* Every second count went to uid 0; the rest to it once in 3,000, as its chunk existed. */
    assert_int_equal(live_get(l, 0)->issued, THREADS * (20000 + 7));
    live_free(l);
}

struct probe_race {
    struct live_count *c;
    _Atomic int won;
};

static void *probe_once(void *arg)
{
    struct probe_race *race = arg;
    if (live_probe(race->c, 1000000, 500000))
        atomic_fetch_add(&race->won, 1);
    return NULL;
}

static void one_probe_an_interval_is_let_through(void **unused)
{
    (void)unused;
    struct live *l = make_live(16, 1000);
    assert_int_equal(live_prepare(l, 1, 0), OK);
    struct probe_race race = {.c = live_get(l, 1)};
    run_threads(probe_once, &race);
    assert_int_equal(race.won, 1);
    assert_false(live_probe(race.c, 1499999, 500000));
    assert_true(live_probe(race.c, 1500000, 500000));
    assert_false(live_probe(race.c, 1500000, 500000));
    /* Another thread's clock reading, a little earlier, is not a clock set back. */
    assert_false(live_probe(race.c, 1499990, 500000));
    assert_true(live_probe(race.c, 10, 500000));
    live_free(l);
}

static void an_id_sent_again_gets_the_same_answer_until_it_expires(void **unused)
{
    (void)unused;
    struct live *l = make_live(16, 1000);
    struct buf answer;
    buf_init(&answer);
    uint8_t id[ID_BYTES];
    make_id(1, id);
    assert_int_equal(live_recent_begin(l, id, 77, 0, &answer), LIVE_FRESH);
    assert_int_equal(live_recent_begin(l, id, 77, 1, &answer), LIVE_BUSY);
    assert_int_equal(live_recent_begin(l, id, 78, 1, &answer), LIVE_OTHER);
    live_recent_put(l, id, (struct slice){"arm-b", 5});
    live_recent_put(l, id, (struct slice){"arm-c", 5}); /* An answer given never changes. */
    buf_put_str(&answer, "left over from before");
    assert_int_equal(live_recent_begin(l, id, 77, 1000, &answer), LIVE_SAME);
    assert_int_equal(answer.len, 5);
    assert_memory_equal(answer.data, "arm-b", 5);
    assert_int_equal(live_recent_begin(l, id, 78, 1000, &answer), LIVE_OTHER);
    live_recent_drop(l, id); /* Answered: stays. */
    assert_int_equal(live_recent_begin(l, id, 77, 1000, &answer), LIVE_SAME);
    assert_int_equal(live_recent_begin(l, id, 78, 1001, &answer), LIVE_FRESH);
    live_recent_drop(l, id);
    assert_int_equal(live_recent_begin(l, id, 79, 1001, &answer), LIVE_FRESH);
    buf_done(&answer);
    live_free(l);
}

static void the_oldest_answer_goes_when_the_map_is_full_but_never_one_in_the_making(void **unused)
{
    (void)unused;
    struct live *l = make_live(4, 1000000);
    struct buf answer;
    buf_init(&answer);
    uint8_t id[ID_BYTES];
    for (uint32_t i = 0; i < 4; i++) {
        make_id(i, id);
        assert_int_equal(live_recent_begin(l, id, 1, i, &answer), LIVE_FRESH);
        if (i > 0)
            live_recent_put(l, id, (struct slice){&i, sizeof i});
    }
    make_id(4, id);
    assert_int_equal(live_recent_begin(l, id, 1, 4, &answer), LIVE_FRESH); /* Pushes out id 1. */
    make_id(0, id);
    assert_int_equal(live_recent_begin(l, id, 1, 4, &answer), LIVE_BUSY);
    make_id(2, id);
    assert_int_equal(live_recent_begin(l, id, 1, 4, &answer), LIVE_SAME);
    for (uint32_t i = 5; i < 7; i++) {
        make_id(i, id);
        assert_int_equal(live_recent_begin(l, id, 1, 5, &answer), LIVE_FRESH);
    }
    make_id(7, id); /* 0, 4, 5 and 6 are all being decided. */
    assert_int_equal(live_recent_begin(l, id, 1, 5, &answer), LIVE_BUSY);
    make_id(4, id);
    live_recent_drop(l, id);
    make_id(7, id);
    assert_int_equal(live_recent_begin(l, id, 1, 5, &answer), LIVE_FRESH);
    buf_done(&answer);
    live_free(l);
}

static void remembered_answers_are_bounded_in_bytes(void **unused)
{
    (void)unused;
    enum { PART = 20 << 20 };
    struct live *l = make_live(64, 1000000);
    struct buf answer;
    buf_init(&answer);
    uint8_t *bytes = mem_calloc(1, (64 << 20) + 1);
    assert_non_null(bytes);
    uint8_t id[ID_BYTES];
    for (uint32_t i = 0; i < 4; i++) { /* 80 MiB of answers: the first must have gone. */
        make_id(i, id);
        assert_int_equal(live_recent_begin(l, id, 1, 0, &answer), LIVE_FRESH);
        live_recent_put(l, id, (struct slice){bytes, PART});
    }
    make_id(0, id);
    assert_int_equal(live_recent_begin(l, id, 1, 0, &answer), LIVE_FRESH);
    live_recent_put(l, id, (struct slice){bytes, (64 << 20) + 1}); /* Too large: forgotten. */
    assert_int_equal(live_recent_begin(l, id, 1, 0, &answer), LIVE_FRESH);
    make_id(3, id);
    assert_int_equal(live_recent_begin(l, id, 1, 0, &answer), LIVE_SAME);
    assert_int_equal(answer.len, PART);
    buf_done(&answer);
    mem_free(bytes);
    live_free(l);
}

enum { RACED_IDS = 500 };

struct id_race {
    struct live *l;
    _Atomic int fresh[RACED_IDS];
    _Atomic int wrong;
};

static void *begin_same_ids(void *arg)
{
    struct id_race *race = arg;
    struct buf answer;
    buf_init(&answer);
    for (uint32_t i = 0; i < RACED_IDS; i++) {
        uint8_t id[ID_BYTES];
        make_id(i, id);
        switch (live_recent_begin(race->l, id, i, 5, &answer)) {
        case LIVE_FRESH:
            atomic_fetch_add(&race->fresh[i], 1);
            live_recent_put(race->l, id, (struct slice){id, sizeof id});
            break;
        case LIVE_SAME:
            if (answer.len != sizeof id || memcmp(answer.data, id, sizeof id) != 0)
                atomic_fetch_add(&race->wrong, 1);
            break;
        case LIVE_OTHER:
            atomic_fetch_add(&race->wrong, 1);
            break;
        case LIVE_BUSY:
            break;
        }
    }
    buf_done(&answer);
    return NULL;
}

static void of_eight_threads_with_one_id_exactly_one_decides(void **unused)
{
    (void)unused;
    static struct id_race race;
    race.l = make_live(65536, 1000000);
    run_threads(begin_same_ids, &race);
    assert_int_equal(race.wrong, 0);
    for (int i = 0; i < RACED_IDS; i++)
        assert_int_equal(race.fresh[i], 1);
    live_free(race.l);
}

static void a_map_under_churn_forgets_and_stays_whole(void **unused)
{
    (void)unused;
    struct live *l = make_live(1024, 300);
    struct buf answer;
    buf_init(&answer);
    uint32_t seen = 0;
    for (uint32_t i = 0; i < 50000; i++) {
        uint8_t id[ID_BYTES];
        make_id(i % 2 ? i : i / 4 * 4, id);
        switch (live_recent_begin(l, id, 0, i, &answer)) {
        case LIVE_FRESH:
            if (i % 5 == 0)
                live_recent_drop(l, id);
            else
                live_recent_put(l, id, (struct slice){&i, i % 9 ? sizeof i : 0});
            break;
        case LIVE_SAME:
            seen++;
            break;
        case LIVE_OTHER:
        case LIVE_BUSY:
            fail();
        }
    }
    assert_true(seen > 0);
    buf_done(&answer);
    live_free(l);
}

static void failed_allocations_leave_nothing_behind(void **unused)
{
    (void)unused;
    struct live *l = NULL;
    enum err e = ERR_NOMEM;
    for (long n = 1; e != OK && n < 500; n++) {
        mem_fail_nth(n);
        e = live_new(256, 10, &l);
        mem_fail_nth(0);
        if (e != OK)
            assert_int_equal(e, ERR_NOMEM);
    }
    assert_int_equal(e, OK);
    live_free(l);
    assert_int_equal(live_new(0, 10, &l), ERR_INVALID);
    live_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counters_exist_once_prepared_and_keep_the_larger_value),
        cmocka_unit_test(no_pull_is_lost_when_threads_count_and_the_writer_prepares),
        cmocka_unit_test(one_probe_an_interval_is_let_through),
        cmocka_unit_test(an_id_sent_again_gets_the_same_answer_until_it_expires),
        cmocka_unit_test(the_oldest_answer_goes_when_the_map_is_full_but_never_one_in_the_making),
        cmocka_unit_test(remembered_answers_are_bounded_in_bytes),
        cmocka_unit_test(of_eight_threads_with_one_id_exactly_one_decides),
        cmocka_unit_test(a_map_under_churn_forgets_and_stays_whole),
        cmocka_unit_test(failed_allocations_leave_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
