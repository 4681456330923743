#include "state/base/mem.h"
#include "state/base/slots.h"
#include "tests/unit/cmocka_all.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { PLACE = 3000, ROUNDED = 3008, IN_SLAB = (SLOTS_SLAB_BYTES - SLOTS_ALIGN) / ROUNDED };

static void **take_many(struct slots *s, size_t n)
{
    void **places = malloc(n * sizeof *places);
    assert_non_null(places);
    for (size_t i = 0; i < n; i++) {
        places[i] = slots_take(s);
        assert_non_null(places[i]);
    }
    return places;
}

static bool is_mapped(void *place)
{
    unsigned char there;
    void *page = (char *)place - ((uintptr_t)place & 4095);
    return mincore(page, 1, &there) == 0 || errno != ENOMEM;
}

static void places_stand_apart_and_on_whole_lines(void **state)
{
    (void)state;
    const size_t n = 2 * IN_SLAB + 10;
    struct slots *s = slots_new(PLACE);
    assert_non_null(s);
    void **places = take_many(s, n);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal((uintptr_t)places[i] % SLOTS_ALIGN, 0);
        memset(places[i], (int)(i % 251), PLACE);
    }
    for (size_t i = 0; i < n; i++) {
        const unsigned char *p = places[i];
        assert_int_equal(p[0], i % 251);
        assert_memory_equal(p, p + 1, PLACE - 1);
    }
    struct slots_count c = slots_count(s);
    assert_int_equal(c.out, n);
    assert_int_equal(c.slabs, 3);
    for (size_t i = 0; i < n; i++)
        slots_give(places[i]);
    slots_release(s);
    free(places);
}

static void a_slab_becomes_huge_when_it_is_full_and_not_before(void **state)
{
    (void)state;
    struct slots *s = slots_new(PLACE);
    void **places = take_many(s, IN_SLAB - 1);
    memset(places[0], 7, PLACE);
    assert_int_equal(slots_count(s).huge, 0);
    void *last = slots_take(s);
    assert_int_equal(slots_count(s).huge, 1);
    const unsigned char *first = places[0];
    assert_int_equal(first[0], 7); /* It moved, and is what it was. */
    assert_memory_equal(first, first + 1, PLACE - 1);
    slots_give(last);
    for (size_t i = 0; i < IN_SLAB - 1; i++)
        slots_give(places[i]);
    slots_release(s);
    free(places);
}

static void what_was_given_back_is_taken_next_and_the_oldest_slab_first(void **state)
{
    (void)state;
    struct slots *s = slots_new(PLACE);
    void **places = take_many(s, 3 * IN_SLAB);
    slots_give(places[2 * IN_SLAB + 5]);
    slots_give(places[IN_SLAB + 7]);
    slots_give(places[3]);
    assert_ptr_equal(slots_take(s), places[3]);
    assert_ptr_equal(slots_take(s), places[IN_SLAB + 7]);
    assert_ptr_equal(slots_take(s), places[2 * IN_SLAB + 5]);
    assert_int_equal(slots_count(s).slabs, 3);
    for (size_t i = 0; i < 3 * IN_SLAB; i++)
        slots_give(places[i]);
    slots_release(s);
    free(places);
}

static void of_the_slabs_that_run_empty_one_is_kept(void **state)
{
    (void)state;
    const size_t n = 4 * IN_SLAB;
    struct slots *s = slots_new(PLACE);
    void **places = take_many(s, n);
    for (size_t i = IN_SLAB; i < n; i++)
        slots_give(places[i]);
    assert_int_equal(slots_count(s).slabs, 2);
    assert_false(is_mapped(places[n - 1]) && is_mapped(places[n - IN_SLAB - 1]));
    /* What is left gives places as before. */
    void **more = take_many(s, 2 * IN_SLAB);
    assert_int_equal(slots_count(s).slabs, 3);
    for (size_t i = 0; i < 2 * IN_SLAB; i++)
        slots_give(more[i]);
    for (size_t i = 0; i < IN_SLAB; i++)
        slots_give(places[i]);
    assert_int_equal(slots_count(s).slabs, 1);
    assert_int_equal(slots_count(s).out, 0);
    slots_release(s);
    free(places);
    free(more);
}

static void places_outlive_those_who_made_the_slots(void **state)
{
    (void)state;
    struct slots *s = slots_new(PLACE);
    struct slots *also = slots_acquire(s);
    unsigned char *a = slots_take(s), *b = slots_take(also);
    slots_release(s);
    slots_release(also);
    memset(a, 1, PLACE);
    memset(b, 2, PLACE);
    assert_int_equal(a[PLACE - 1], 1);
    slots_give(a);
    assert_true(is_mapped(b));
    assert_int_equal(b[0], 2);
    slots_give(b);
    assert_false(is_mapped(b));
    slots_give(NULL);
    slots_release(NULL);
}

static void without_memory_nothing_is_taken_and_later_it_is(void **state)
{
    (void)state;
#ifndef SHUNT_FAULTS
    skip();
#endif
    mem_fail_nth(1);
    assert_null(slots_new(PLACE));
    mem_fail_nth(0);
    struct slots *s = slots_new(PLACE);
    for (long n = 1; n <= 2; n++) { /* The list of slabs, and the slab. */
        mem_fail_nth(n);
        assert_null(slots_take(s));
        mem_fail_nth(0);
        assert_int_equal(slots_count(s).out, 0);
        assert_int_equal(slots_count(s).slabs, 0);
    }
    void *p = slots_take(s);
    assert_non_null(p);
    slots_give(p);
    slots_release(s);
}

enum { TURNS = 20000, HELD = 1500 };

struct passing {
    struct slots *slots;
    pthread_mutex_t lock;
    unsigned char *waiting[HELD];
    int n;
    bool done;
};

static void *give_back(void *arg)
{
    struct passing *p = arg;
    for (bool done = false; !done;) {
        unsigned char *mine[HELD];
        pthread_mutex_lock(&p->lock);
        int n = p->n;
        memcpy(mine, p->waiting, (size_t)n * sizeof *mine);
        p->n = 0;
        done = p->done;
        pthread_mutex_unlock(&p->lock);
        for (int i = 0; i < n; i++) {
            assert_int_equal(mine[i][0], mine[i][PLACE - 1]);
            slots_give(mine[i]);
        }
    }
    return NULL;
}

static void one_thread_takes_while_another_gives_back(void **state)
{
    (void)state;
    struct passing p = {.slots = slots_new(PLACE)};
    pthread_t other;
    assert_int_equal(pthread_mutex_init(&p.lock, NULL), 0);
    assert_int_equal(pthread_create(&other, NULL, give_back, &p), 0);
    for (int i = 0; i < TURNS;) {
        unsigned char *place = slots_take(p.slots);
        assert_non_null(place);
        place[0] = place[PLACE - 1] = (unsigned char)i;
        for (bool passed = false; !passed;) {
            pthread_mutex_lock(&p.lock);
            passed = p.n < HELD;
            if (passed)
                p.waiting[p.n++] = place;
            pthread_mutex_unlock(&p.lock);
        }
        i++;
    }
    pthread_mutex_lock(&p.lock);
    p.done = true;
    pthread_mutex_unlock(&p.lock);
    assert_int_equal(pthread_join(other, NULL), 0);
    struct slots_count c = slots_count(p.slots);
    assert_int_equal(c.out, 0);
    assert_true(c.slabs <= 1);
    slots_release(p.slots);
    pthread_mutex_destroy(&p.lock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(places_stand_apart_and_on_whole_lines),
        cmocka_unit_test(a_slab_becomes_huge_when_it_is_full_and_not_before),
        cmocka_unit_test(what_was_given_back_is_taken_next_and_the_oldest_slab_first),
        cmocka_unit_test(of_the_slabs_that_run_empty_one_is_kept),
        cmocka_unit_test(places_outlive_those_who_made_the_slots),
        cmocka_unit_test(without_memory_nothing_is_taken_and_later_it_is),
        cmocka_unit_test(one_thread_takes_while_another_gives_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
