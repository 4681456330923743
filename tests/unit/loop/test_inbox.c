#include "server/loop/inbox.h"

#include "state/base/mem.h"
#include "tests/unit/cmocka_all.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

static struct inbox *make_inbox(uint32_t capacity)
{
    struct inbox *b = NULL;
    assert_int_equal(inbox_new(capacity, &b), OK);
    return b;
}

static void items_come_out_in_the_order_they_went_in(void **unused)
{
    (void)unused;
    struct inbox *b = make_inbox(8);
    struct inbox_item items[5];
    memset(items, 0, sizeof items);
    for (int i = 0; i < 5; i++)
        assert_int_equal(inbox_put(b, &items[i]), OK);
    assert_int_equal(inbox_depth(b), 5);
    struct inbox_item *list;
    uint32_t n;
    bool closed;
    inbox_take(b, 3, 0, &list, &n, &closed);
    assert_int_equal(n, 3);
    assert_ptr_equal(list, &items[0]);
    assert_ptr_equal(list->next, &items[1]);
    assert_ptr_equal(list->next->next, &items[2]);
    assert_null(list->next->next->next);
    assert_int_equal(inbox_put(b, &items[0]), OK);
    inbox_take(b, 100, 0, &list, &n, &closed);
    assert_int_equal(n, 3);
    assert_ptr_equal(list, &items[3]);
    assert_ptr_equal(list->next->next, &items[0]);
    assert_null(list->next->next->next);
    inbox_take(b, 100, 1000, &list, &n, &closed);
    assert_int_equal(n, 0);
    assert_null(list);
    assert_false(closed);
    inbox_free(b);
}

static void a_group_is_taken_whole_or_waits(void **unused)
{
    (void)unused;
    struct inbox *b = make_inbox(8);
    struct inbox_item items[9], *group[8], *list;
    uint32_t n;
    bool closed;
    memset(items, 0, sizeof items);
    for (int i = 0; i < 8; i++)
        group[i] = &items[i + 1];
    assert_int_equal(inbox_put(b, &items[0]), OK);
    assert_int_equal(inbox_put_all(b, group, 8), ERR_QUEUE_FULL); /* Seven would fit: none goes. */
    assert_int_equal(inbox_depth(b), 1);
    assert_int_equal(inbox_put_all(b, group, 4), OK);
    inbox_take(b, 4, 0, &list, &n, &closed); /* The group would not fit behind the first. */
    assert_int_equal(n, 1);
    inbox_take(b, 4, 0, &list, &n, &closed);
    assert_int_equal(n, 4);
    assert_ptr_equal(list, &items[1]);
    assert_null(list->next->next->next->next);
    inbox_close(b);
    assert_int_equal(inbox_put_all(b, group, 2), ERR_SHUTTING_DOWN);
    inbox_free(b);
}

static void a_full_inbox_refuses_and_takes_again_when_emptied(void **unused)
{
    (void)unused;
    struct inbox *b = make_inbox(2), *none = NULL;
    struct inbox_item items[3];
    memset(items, 0, sizeof items);
    assert_int_equal(inbox_put(b, &items[0]), OK);
    assert_int_equal(inbox_put(b, &items[1]), OK);
    assert_int_equal(inbox_put(b, &items[2]), ERR_QUEUE_FULL);
    struct inbox_item *list;
    uint32_t n;
    bool closed;
    inbox_take(b, 1, 0, &list, &n, &closed);
    assert_int_equal(inbox_put(b, &items[2]), OK);
    inbox_take(b, 9, 0, &list, &n, &closed);
    assert_int_equal(n, 2);
    assert_ptr_equal(list->next, &items[2]);
    inbox_free(b);
    assert_int_equal(inbox_new(0, &none), ERR_INVALID);
    inbox_free(NULL);
}

static void closing_refuses_new_items_and_gives_out_the_old(void **unused)
{
    (void)unused;
    struct inbox *b = make_inbox(4);
    struct inbox_item items[2];
    memset(items, 0, sizeof items);
    assert_int_equal(inbox_put(b, &items[0]), OK);
    inbox_close(b);
    assert_int_equal(inbox_put(b, &items[1]), ERR_SHUTTING_DOWN);
    struct inbox_item *list;
    uint32_t n;
    bool closed;
    inbox_take(b, 9, -1, &list, &n, &closed);
    assert_int_equal(n, 1);
    assert_false(closed); /* First what waits, then the end. */
    inbox_take(b, 9, -1, &list, &n, &closed);
    assert_int_equal(n, 0);
    assert_true(closed);
    inbox_free(b);
}

enum { PUTTERS = 8, EACH = 3000 };

struct traffic {
    struct inbox *b;
    _Atomic uint32_t next_putter;
    struct inbox_item *items; /* PUTTERS * EACH */
    uint32_t next_of[PUTTERS], taken;
    bool in_order;
};

static void who_gathers_takes_none_and_waits_no_longer_than_it_must(void **unused)
{
    (void)unused;
    struct inbox *b;
    struct inbox_item items[4], *list;
    uint32_t n;
    bool closed;
    assert_int_equal(inbox_new(4, &b), OK);
    assert_int_equal(inbox_gather(b, 1, 1000), 0); /* The time is over. */
    for (int i = 0; i < 3; i++)
        assert_int_equal(inbox_put(b, &items[i]), OK);
    assert_int_equal(inbox_gather(b, 4, 1000), 3);
    assert_int_equal(inbox_gather(b, 3, -1), 3); /* Each of these would hang. */
    assert_int_equal(inbox_put(b, &items[3]), OK);
    assert_int_equal(inbox_gather(b, 9, -1), 4); /* More do not go in. */
    inbox_take(b, 3, 0, &list, &n, &closed);
    assert_int_equal(n, 3);
    inbox_close(b);
    assert_int_equal(inbox_gather(b, 4, -1), 1);
    inbox_free(b);
}

enum { GATHERED = 100 };

static void *put_some(void *arg)
{
    static struct inbox_item items[GATHERED];
    for (int i = 0; i < GATHERED; i++)
        assert_int_equal(inbox_put(arg, &items[i]), OK);
    return NULL;
}

static void who_gathers_is_woken_by_the_last_of_those_it_wants(void **unused)
{
    (void)unused;
    struct inbox *b;
    pthread_t putter;
    assert_int_equal(inbox_new(2 * GATHERED, &b), OK);
    assert_int_equal(pthread_create(&putter, NULL, put_some, b), 0);
    assert_int_equal(inbox_gather(b, GATHERED, -1), GATHERED);
    pthread_join(putter, NULL);
    struct inbox_item *list;
    uint32_t n;
    bool closed;
    inbox_take(b, GATHERED, -1, &list, &n, &closed);
    assert_int_equal(n, GATHERED);
    inbox_free(b);
}

static void *put_many(void *arg)
{
    struct traffic *t = arg;
    uint32_t who = atomic_fetch_add(&t->next_putter, 1);
    for (uint32_t i = 0; i < EACH; i++) {
        struct inbox_item *item = &t->items[who * EACH + i];
        while (inbox_put(t->b, item) == ERR_QUEUE_FULL)
            sched_yield();
    }
    return NULL;
}

static void *take_all(void *arg)
{
    struct traffic *t = arg;
    bool closed = false;
    t->in_order = true;
    while (!closed) {
        struct inbox_item *list;
        uint32_t n, seen = 0;
        inbox_take(t->b, 50, -1, &list, &n, &closed);
        for (struct inbox_item *i = list; i; i = i->next, seen++) {
            uint32_t at = (uint32_t)(i - t->items);
            t->in_order = t->in_order && t->next_of[at / EACH]++ == at % EACH;
        }
        t->in_order = t->in_order && seen == n;
        t->taken += n;
    }
    return NULL;
}

static void every_item_of_eight_threads_arrives_once_and_in_its_threads_order(void **unused)
{
    (void)unused;
    static struct traffic t;
    t.b = make_inbox(64);
    t.items = mem_calloc(PUTTERS * EACH, sizeof *t.items);
    assert_non_null(t.items);
    pthread_t taker, putters[PUTTERS];
    assert_int_equal(pthread_create(&taker, NULL, take_all, &t), 0);
    for (int i = 0; i < PUTTERS; i++)
        assert_int_equal(pthread_create(&putters[i], NULL, put_many, &t), 0);
    for (int i = 0; i < PUTTERS; i++)
        pthread_join(putters[i], NULL);
    inbox_close(t.b);
    pthread_join(taker, NULL);
    assert_int_equal(t.taken, PUTTERS * EACH);
    assert_true(t.in_order);
    assert_int_equal(inbox_depth(t.b), 0);
    mem_free(t.items);
    inbox_free(t.b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_come_out_in_the_order_they_went_in),
        cmocka_unit_test(a_group_is_taken_whole_or_waits),
        cmocka_unit_test(a_full_inbox_refuses_and_takes_again_when_emptied),
        cmocka_unit_test(closing_refuses_new_items_and_gives_out_the_old),
        cmocka_unit_test(who_gathers_takes_none_and_waits_no_longer_than_it_must),
        cmocka_unit_test(who_gathers_is_woken_by_the_last_of_those_it_wants),
        cmocka_unit_test(every_item_of_eight_threads_arrives_once_and_in_its_threads_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
