#include "state/base/mem.h"
#include "state/model/model.h"
#include "state/published.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/model/given.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

enum { READERS = 3, SNAPSHOTS = 2000 };

struct shared {
    struct published *p;
    _Atomic bool stop;
    _Atomic uint64_t reads;
};

/* Follows every pointer of what it got: a snapshot freed too early is seen by the sanitizers, and
 * positions of one reader never go back. */
static void *read_all(void *arg)
{
    struct shared *s = arg;
    uint64_t last = 0, wrong = 0;
    published_register_thread();
    while (!atomic_load_explicit(&s->stop, memory_order_relaxed)) {
        const struct snapshot *snapshot = published_acquire(s->p);
        wrong += snapshot->position < last;
        last = snapshot->position;
        for (uint32_t i = 0; i < snapshot->routers_n; i++) {
            const struct router_view *r = snapshot->routers[i];
            for (uint32_t k = 0; k < r->arms_n; k++)
                wrong += r->arms[k]->n[0] > r->outcomes_folded || r->arms[k]->config->name[0] == 0;
        }
        published_release(s->p);
        atomic_fetch_add_explicit(&s->reads, 1, memory_order_relaxed);
    }
    published_unregister_thread();
    return wrong ? s : NULL;
}

static void readers_always_see_a_whole_snapshot_and_never_an_older_one(void **state)
{
    (void)state;
    struct router_config c;
    struct given g;
    struct shared s = {.p = NULL};
    struct snapshot *snapshot;
    pthread_t threads[READERS];
    double z[MAX_METRICS] = {.5};
    given_config(&c);
    given_open(&g, &c);
    uint32_t arm = given_arm(&g, "a");
    assert_int_equal(published_new(&s.p), OK);
    assert_null(published_current(s.p));
    assert_int_equal(snapshot_build(g.model, NULL, &snapshot), OK);
    published_register_thread();
    published_set(s.p, snapshot);
    for (int i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_all, &s), 0);
    for (uint64_t k = 0; k < SNAPSHOTS; k++) {
        struct decision d = given_decision(&g, arm, k);
        given_report(&g, &d, 1, z, OUTCOME_OK);
        assert_int_equal(snapshot_build(g.model, published_current(s.p), &snapshot), OK);
        published_set(s.p, snapshot);
    }
    while (atomic_load(&s.reads) < 100) /* On one busy core they may not have begun. */
        sched_yield();
    atomic_store(&s.stop, true);
    for (int i = 0; i < READERS; i++) {
        void *wrong;
        pthread_join(threads[i], &wrong);
        assert_null(wrong);
    }
    assert_int_equal(published_current(s.p)->position, g.model->position);
    published_free(s.p);
    published_unregister_thread();
    given_close(&g);
}

struct storm {
    struct published *p;
    struct model *model;
    _Atomic uint32_t set;
};

static void *publish_many(void *arg)
{
    struct storm *s = arg;
    published_register_thread();
    for (int i = 0; i < 4 * PUBLISHED_RETIRED_MAX; i++) {
        struct snapshot *snapshot;
        if (snapshot_build(s->model, NULL, &snapshot) != OK)
            return arg;
        published_set(s->p, snapshot);
        atomic_fetch_add(&s->set, 1);
    }
    published_unregister_thread();
    return NULL;
}

/* One reader holds on while the writer publishes: what the reader may see cannot be freed, so the
 * writer must stop at the bound, and go on when the reader lets go. */
static void a_storm_of_updates_keeps_a_bounded_number_of_snapshots(void **state)
{
    (void)state;
    struct storm s = {.p = NULL};
    struct snapshot *first;
    pthread_t writer;
    void *failed;
    assert_int_equal(model_new(&s.model), OK);
    assert_int_equal(published_new(&s.p), OK);
    assert_int_equal(snapshot_build(s.model, NULL, &first), OK);
    published_register_thread();
    published_set(s.p, first);
    assert_ptr_equal(published_acquire(s.p), first);
    assert_int_equal(pthread_create(&writer, NULL, publish_many, &s), 0);
    while (atomic_load(&s.set) < PUBLISHED_RETIRED_MAX)
        sched_yield();
    for (int i = 0; i < 50; i++) { /* Time to break the bound, if there is none. */
        struct timespec t = {0, 1000000};
        nanosleep(&t, NULL);
    }
    assert_int_equal(atomic_load(&s.set), PUBLISHED_RETIRED_MAX);
    assert_int_equal(first->position, 0); /* The sanitizer sees whether it is still there. */
    published_release(s.p);
    pthread_join(writer, &failed);
    assert_null(failed);
    assert_int_equal(atomic_load(&s.set), 4 * PUBLISHED_RETIRED_MAX);
    published_free(s.p);
    published_unregister_thread();
    model_free(s.model);
}

static void without_memory_the_old_snapshot_still_goes(void **state)
{
    (void)state;
#ifndef SHUNT_FAULTS
    skip();
#endif
    struct model *m;
    struct published *p;
    struct snapshot *s;
    assert_int_equal(model_new(&m), OK);
    mem_fail_nth(1);
    assert_int_equal(published_new(&p), ERR_NOMEM);
    mem_fail_nth(0);
    assert_int_equal(published_new(&p), OK);
    published_register_thread();
    for (int i = 0; i < 3; i++) {
        assert_int_equal(snapshot_build(m, NULL, &s), OK);
        mem_fail_nth(1);
        published_set(p, s); /* The leak checker sees whether the one before went. */
        mem_fail_nth(0);
        assert_ptr_equal(published_current(p), s);
    }
    published_free(p);
    published_free(NULL);
    published_unregister_thread();
    model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readers_always_see_a_whole_snapshot_and_never_an_older_one),
        cmocka_unit_test(a_storm_of_updates_keeps_a_bounded_number_of_snapshots),
        cmocka_unit_test(without_memory_the_old_snapshot_still_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
