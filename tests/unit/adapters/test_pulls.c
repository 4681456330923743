#include "server/adapters/pulls.h"

#include "tests/unit/cmocka_all.h"

#include <pthread.h>
#include <stdatomic.h>

enum { X = 3, ROW = 5, PUTTERS = 4, EACH = 20000 };

static bool put(struct pulls *p, uint32_t n)
{
    const float x[X] = {(float)n, 1, 2};
    const double w[ROW - X] = {.5, (double)n};
    return pulls_put(p, n, n % 2, x, X, w);
}

static void pulls_come_out_in_order_whole(void **state)
{
    (void)state;
    struct pulls *p;
    struct pull out;
    assert_int_equal(pulls_new(ROW, &p), OK);
    assert_false(pulls_take(p, &out));
    for (uint32_t round = 0; round < 5; round++) {
        for (uint32_t n = 0; n < 3000; n++)
            assert_true(put(p, n));
        for (uint32_t n = 0; n < 3000; n++) {
            assert_true(pulls_take(p, &out));
            assert_int_equal(out.uid, n);
            assert_int_equal(out.resident, n % 2);
            assert_true(out.row[0] == (float)n && out.row[3] == .5F && out.row[4] == (float)n);
        }
        assert_false(pulls_take(p, &out));
    }
    pulls_free(p);
}

static void a_full_queue_drops_and_counts_and_goes_on(void **state)
{
    (void)state;
    struct pulls *p;
    struct pull out;
    uint32_t held = 0;
    assert_int_equal(pulls_new(ROW, &p), OK);
    while (put(p, held))
        held++;
    assert_int_equal(held, 4096);
    assert_false(put(p, 1));
    assert_int_equal(pulls_dropped(p), 2);
    assert_true(pulls_take(p, &out));
    assert_int_equal(out.uid, 0);
    assert_true(put(p, 7));
    pulls_free(p);
    assert_int_equal(pulls_new(8192, &p), OK); /* 32 KB a row. */
    for (held = 0; pulls_put(p, 1, false, (const float[8192]){0}, 8192, NULL); held++)
        assert_true(held < 1000);
    assert_int_equal(held, 256);
    pulls_free(p);
}

struct putter {
    struct pulls *p;
    uint32_t id, taken;
};

static void *put_many(void *arg)
{
    struct putter *me = arg;
    for (uint32_t n = 0; n < EACH; n++)
        me->taken += put(me->p, me->id * EACH + n);
    return NULL;
}

/* Nothing is lost but what was refused, nothing is torn, and each thread's own stay in order. */
static void pulls_of_many_threads_arrive_once_each(void **state)
{
    (void)state;
    struct putter putters[PUTTERS];
    pthread_t threads[PUTTERS];
    uint32_t last[PUTTERS] = {0}, n = 0, wanted = 0;
    struct pulls *p;
    struct pull out;
    assert_int_equal(pulls_new(ROW, &p), OK);
    for (uint32_t i = 0; i < PUTTERS; i++) {
        putters[i] = (struct putter){p, i, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, put_many, &putters[i]), 0);
    }
    for (uint64_t spins = 0; n + pulls_dropped(p) < PUTTERS * EACH; spins++) {
        if (!pulls_take(p, &out))
            continue;
        uint32_t who = out.uid / EACH, count = out.uid % EACH + 1;
        assert_true(out.row[0] == (float)out.uid && out.row[4] == (float)out.uid);
        assert_true(count > last[who]);
        last[who] = count;
        n++;
    }
    for (uint32_t i = 0; i < PUTTERS; i++) {
        pthread_join(threads[i], NULL);
        wanted += putters[i].taken;
    }
    assert_int_equal(n, wanted);
    assert_false(pulls_take(p, &out));
    pulls_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pulls_come_out_in_order_whole),
        cmocka_unit_test(a_full_queue_drops_and_counts_and_goes_on),
        cmocka_unit_test(pulls_of_many_threads_arrive_once_each),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
