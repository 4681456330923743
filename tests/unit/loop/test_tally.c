#include "server/loop/tally.h"
#include "state/base/mem.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/model/given.h"

#include <string.h>

struct scene {
    struct given g;
    struct snapshot *s;
    struct live *live;
    struct tally t;
    uint32_t a, b;
};

static void open_scene(struct scene *c)
{
    struct router_config config;
    memset(c, 0, sizeof *c);
    given_config(&config);
    given_open(&c->g, &config);
    c->a = given_arm(&c->g, "a");
    c->b = given_arm(&c->g, "b");
    assert_int_equal(snapshot_build(c->g.model, NULL, &c->s), OK);
    assert_int_equal(live_new(1024, 1000000, &c->live), OK);
    assert_int_equal(live_prepare(c->live, c->b, 0), OK);
    tally_init(&c->t);
}

static void close_scene(struct scene *c)
{
    tally_done(&c->t);
    live_free(c->live);
    snapshot_free(c->s);
    given_close(&c->g);
}

static void issue(struct scene *c, uint32_t uid, uint64_t n)
{
    atomic_fetch_add(&live_get(c->live, uid)->issued, n);
}

static uint32_t collect(struct scene *c, bool all)
{
    tally_collect(&c->t, c->live, c->s, 5, all);
    return c->t.n;
}

/* Folds what was collected, as the ledger would. */
static void fold_all(struct scene *c)
{
    for (uint32_t i = 0; i < c->t.n; i++) {
        struct fold_result r;
        assert_int_equal(event_decode(tally_record(&c->t, i), &c->g.decoded), OK);
        fold_event(c->g.model, &c->g.decoded, c->g.model->position + 1, &r);
        assert_int_equal(r.err, OK);
    }
    tally_commit(&c->t, c->live);
}

static void counters_that_moved_are_collected_once(void **state)
{
    (void)state;
    struct scene c;
    open_scene(&c);
    assert_int_equal(collect(&c, false), 0);
    issue(&c, c.g.router->uid, 10);
    issue(&c, c.a, 7);
    issue(&c, c.b, 3);
    assert_int_equal(collect(&c, false), 1);
    fold_all(&c);
    assert_int_equal(c.g.router->requests, 10);
    assert_int_equal(given_find(&c.g, c.a)->issued, 7);
    assert_int_equal(given_find(&c.g, c.b)->issued, 3);
    assert_int_equal(collect(&c, false), 0);
    assert_int_equal(collect(&c, true), 0);
    close_scene(&c);
}

static void what_was_collected_but_not_committed_is_collected_again(void **state)
{
    (void)state;
    struct scene c;
    open_scene(&c);
    issue(&c, c.g.router->uid, 1);
    issue(&c, c.a, 1);
    assert_int_equal(collect(&c, false), 1);
    issue(&c, c.a, 1); /* Counted while the commit runs: the commit does not cover it. */
    assert_int_equal(collect(&c, false), 1);
    fold_all(&c);
    assert_int_equal(given_find(&c.g, c.a)->issued, 2);
    issue(&c, c.a, 1);
    tally_commit(&c.t, c.live);
    issue(&c, c.g.router->uid, 1);
    assert_int_equal(collect(&c, false), 1);
    fold_all(&c);
    assert_int_equal(given_find(&c.g, c.a)->issued, 3);
    close_scene(&c);
}

static void an_arm_counted_after_its_router_is_not_lost_at_the_end(void **state)
{
    (void)state;
    struct scene c;
    open_scene(&c);
    issue(&c, c.g.router->uid, 1); /* A request is half-way through... */
    assert_int_equal(collect(&c, false), 1);
    fold_all(&c);
    issue(&c, c.a, 1); /* ...and done, and the last one. */
    assert_int_equal(collect(&c, false), 0);
    assert_int_equal(collect(&c, true), 1);
    fold_all(&c);
    assert_int_equal(given_find(&c.g, c.a)->issued, 1);
    assert_int_equal(c.g.router->requests, 1);
    close_scene(&c);
}

static void counters_near_the_end_of_their_range_are_kept(void **state)
{
    (void)state;
    struct scene c;
    open_scene(&c);
    issue(&c, c.g.router->uid, UINT64_MAX - 1);
    issue(&c, c.a, UINT64_MAX);
    assert_int_equal(collect(&c, false), 1);
    fold_all(&c);
    assert_true(c.g.router->requests == UINT64_MAX - 1);
    assert_true(given_find(&c.g, c.a)->issued == UINT64_MAX);
    close_scene(&c);
}

static void without_memory_nothing_is_collected_by_halves(void **state)
{
    (void)state;
#ifndef SHUNT_FAULTS
    skip();
#endif
    struct scene c;
    open_scene(&c);
    issue(&c, c.g.router->uid, 4);
    issue(&c, c.a, 4);
    for (long n = 1; n <= 2; n++) { /* The pairs, then the record. */
        mem_fail_nth(n);
        assert_int_equal(collect(&c, false), 0);
        mem_fail_nth(0);
        tally_done(&c.t);
        tally_init(&c.t);
    }
    assert_int_equal(collect(&c, false), 1);
    fold_all(&c);
    assert_int_equal(given_find(&c.g, c.a)->issued, 4);
    close_scene(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counters_that_moved_are_collected_once),
        cmocka_unit_test(what_was_collected_but_not_committed_is_collected_again),
        cmocka_unit_test(an_arm_counted_after_its_router_is_not_lost_at_the_end),
        cmocka_unit_test(counters_near_the_end_of_their_range_are_kept),
        cmocka_unit_test(without_memory_nothing_is_collected_by_halves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
