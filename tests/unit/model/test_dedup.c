#include "state/base/mem.h"
#include "state/base/rng.h"
#include "state/model/dedup.h"
#include "tests/unit/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

enum { FILLS = 5, OPERATIONS = 100000, NAIVE_MAX = 4096 };

/* Ids that share long prefixes, as those of one millisecond do. */
static void make_id(uint64_t n, uint8_t ret_id[ID_BYTES])
{
    memset(ret_id, 0xab, ID_BYTES);
    memcpy(ret_id, &n, sizeof n);
}

/* A queue that is searched from end to end. */
struct naive {
    uint64_t ids[NAIVE_MAX];
    uint64_t head, n;
};

static bool naive_has(const struct naive *q, uint64_t id)
{
    for (uint64_t i = 0; i < q->n; i++)
        if (q->ids[(q->head + i) % NAIVE_MAX] == id)
            return true;
    return false;
}

static void assert_holds_exactly(const struct dedup *t, const struct naive *q)
{
    assert_int_equal(t->n, q->n);
    for (uint64_t i = 0; i < q->n; i++) {
        uint8_t id[ID_BYTES];
        uint64_t n = q->ids[(q->head + i) % NAIVE_MAX];
        make_id(n, id);
        const struct dedup_entry *e = dedup_find(t, id);
        assert_non_null(e);
        assert_int_equal(e->issued_us, n);
        for (int k = 0; k < FILLS; k++)
            assert_true(e->fills[k] == (float)(n % 1000 + (uint64_t)k));
    }
}

static void add(struct dedup *t, struct naive *q, uint64_t n, uint64_t max)
{
    uint8_t id[ID_BYTES];
    make_id(n, id);
    assert_int_equal(dedup_reserve(t, 1, max), OK);
    struct dedup_entry *e = dedup_add(t, id);
    assert_int_equal(e->reported, 0);
    e->issued_us = (int64_t)n;
    for (int k = 0; k < FILLS; k++)
        e->fills[k] = (float)(n % 1000 + (uint64_t)k);
    q->ids[(q->head + q->n++) % NAIVE_MAX] = n;
}

static void drop(struct dedup *t, struct naive *q)
{
    uint8_t id[ID_BYTES];
    make_id(q->ids[q->head], id);
    assert_memory_equal(dedup_oldest(t)->id, id, ID_BYTES);
    dedup_drop_oldest(t);
    assert_null(dedup_find(t, id));
    q->head = (q->head + 1) % NAIVE_MAX;
    q->n--;
}

static void a_hundred_thousand_random_adds_and_drops_agree_with_a_list(void **state)
{
    (void)state;
    struct dedup t;
    struct naive *q = calloc(1, sizeof *q);
    assert_non_null(q);
    dedup_init(&t, FILLS, false);
    uint64_t next = 0;
    for (uint64_t i = 0; i < OPERATIONS; i++) {
        /* Waves: first it fills, then it empties, so that it wraps at every size. */
        uint64_t bias = (i / 5000) % 2 ? 35 : 65;
        bool full = q->n == 1500, empty = q->n == 0;
        if (!full && (empty || rng_below(9, i, 100) < bias))
            add(&t, q, rng_mix(4, next++), 1500);
        else
            drop(&t, q);
        uint8_t id[ID_BYTES];
        uint64_t probe = rng_mix(4, rng_below(5, i, next + 10));
        make_id(probe, id);
        assert_int_equal(dedup_find(&t, id) != NULL, naive_has(q, probe));
        if (i % 5000 == 0)
            assert_holds_exactly(&t, q);
    }
    assert_holds_exactly(&t, q);
    assert_true(t.capacity <= 1500);
    dedup_done(&t);
    free(q);
}

static void an_empty_table_knows_nothing_and_drops_nothing(void **state)
{
    (void)state;
    struct dedup t;
    uint8_t id[ID_BYTES] = {0};
    dedup_init(&t, FILLS, false);
    assert_null(dedup_find(&t, id));
    assert_null(dedup_oldest(&t));
    dedup_drop_oldest(&t);
    assert_int_equal(t.n, 0);
    dedup_done(&t);
}

static void it_never_grows_beyond_the_limit(void **state)
{
    (void)state;
    struct dedup t;
    struct naive *q = calloc(1, sizeof *q);
    assert_non_null(q);
    dedup_init(&t, FILLS, false);
    for (uint64_t n = 0; n < 1000; n++)
        add(&t, q, n, 1000);
    assert_int_equal(dedup_reserve(&t, 5000, 1000), OK);
    assert_int_equal(t.capacity, 1000);
    assert_holds_exactly(&t, q);
    dedup_done(&t);
    free(q);
}

static void its_bytes_hold_the_entries_in_order_wherever_the_ring_starts(void **state)
{
    (void)state;
    struct dedup t, again;
    struct naive *q = calloc(1, sizeof *q);
    assert_non_null(q);
    dedup_init(&t, FILLS, false);
    dedup_init(&again, FILLS, false);
    for (uint64_t n = 0; n < 200; n++)
        add(&t, q, n, 256);
    for (uint64_t n = 0; n < 190; n++)
        drop(&t, q);
    for (uint64_t n = 200; n < 430; n++)
        add(&t, q, n, 256);
    assert_true(t.head + t.n > t.capacity); /* It does wrap. */
    struct buf bytes, more;
    buf_init(&bytes);
    buf_init(&more);
    dedup_encode(&t, &bytes);
    struct reader r;
    reader_init(&r, (struct slice){bytes.data, bytes.len});
    assert_int_equal(dedup_decode(&again, &r), OK);
    assert_holds_exactly(&again, q);
    dedup_encode(&again, &more);
    assert_int_equal(bytes.len, more.len);
    assert_memory_equal(bytes.data, more.data, bytes.len);
    buf_done(&bytes);
    buf_done(&more);
    dedup_done(&t);
    dedup_done(&again);
    free(q);
}

static void bytes_that_name_an_id_twice_or_end_early_are_corrupt(void **state)
{
    (void)state;
    struct dedup t, again;
    struct naive *q = calloc(1, sizeof *q);
    assert_non_null(q);
    dedup_init(&t, FILLS, false);
    dedup_init(&again, FILLS, false);
    add(&t, q, 1, 10);
    add(&t, q, 2, 10);
    struct buf bytes;
    buf_init(&bytes);
    dedup_encode(&t, &bytes);
    struct reader r;
    reader_init(&r, (struct slice){bytes.data, bytes.len - 1});
    assert_int_equal(dedup_decode(&again, &r), ERR_CORRUPT);
    dedup_done(&again);
    memcpy(bytes.data + 8 + t.stride, bytes.data + 8, ID_BYTES);
    reader_init(&r, (struct slice){bytes.data, bytes.len});
    assert_int_equal(dedup_decode(&again, &r), ERR_CORRUPT);
    buf_done(&bytes);
    dedup_done(&t);
    dedup_done(&again);
    free(q);
}

static void without_memory_to_grow_nothing_is_lost(void **state)
{
    (void)state;
#ifndef SHUNT_FAULTS
    skip();
#endif
    struct dedup t;
    struct naive *q = calloc(1, sizeof *q);
    assert_non_null(q);
    dedup_init(&t, FILLS, false);
    for (uint64_t n = 0; n < 256; n++)
        add(&t, q, n, 10000);
    for (long nth = 1; nth <= 2; nth++) {
        mem_fail_nth(nth);
        assert_int_equal(dedup_reserve(&t, 1, 10000), ERR_NOMEM);
        mem_fail_nth(0);
        assert_holds_exactly(&t, q);
    }
    add(&t, q, 256, 10000);
    assert_holds_exactly(&t, q);
    dedup_done(&t);
    free(q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hundred_thousand_random_adds_and_drops_agree_with_a_list),
        cmocka_unit_test(an_empty_table_knows_nothing_and_drops_nothing),
        cmocka_unit_test(it_never_grows_beyond_the_limit),
        cmocka_unit_test(its_bytes_hold_the_entries_in_order_wherever_the_ring_starts),
        cmocka_unit_test(bytes_that_name_an_id_twice_or_end_early_are_corrupt),
        cmocka_unit_test(without_memory_to_grow_nothing_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
