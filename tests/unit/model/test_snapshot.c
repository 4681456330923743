#include "state/base/mem.h"
#include "state/base/rng.h"
#include "state/model/snapshot.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/model/given.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double half[MAX_METRICS] = {.5, .5, .5, .5, .5};

static struct snapshot *build(struct given *g, const struct snapshot *last)
{
    struct snapshot *s = NULL;
    assert_int_equal(snapshot_build(g->model, last, &s), OK);
    return s;
}

static uint32_t add_router(struct given *g, const char *name)
{
    memset(&g->event, 0, sizeof g->event);
    g->event.kind = EVENT_ROUTER_CREATE;
    given_config(&g->event.u.router);
    snprintf(g->event.u.router.name, NAME_CAP, "%s", name);
    return given_fold(g).uid;
}

static void report(struct given *g, uint32_t arm, uint16_t mask, double z0)
{
    double z[MAX_METRICS] = {z0, .5, .5, .5, .5};
    struct decision d = given_decision(g, arm, g->ids);
    assert_int_equal(given_report(g, &d, mask, z, OUTCOME_OK).err, OK);
}

static void open_plain(struct given *g, bool pooled)
{
    struct router_config c;
    given_config(&c);
    c.settings.pooled_slopes = pooled;
    given_open(g, &c);
}

static void an_unchanged_routers_view_is_shared_and_a_changed_one_is_new(void **state)
{
    (void)state;
    struct given g;
    open_plain(&g, true);
    uint32_t arm = given_arm(&g, "a");
    add_router(&g, "other");
    struct snapshot *first = build(&g, NULL);
    report(&g, arm, 1, .5);
    struct snapshot *second = build(&g, first);
    assert_ptr_not_equal(first->routers[0], second->routers[0]);
    assert_ptr_equal(first->routers[1], second->routers[1]);
    assert_int_equal(second->position, first->position + 1);
    assert_int_equal(first->routers[0]->outcomes_folded, 0); /* What is published stays. */
    assert_int_equal(second->routers[0]->outcomes_folded, 1);
    snapshot_free(first); /* The shared view lives on in the second. */
    assert_string_equal(second->routers[1]->config->name, "other");
    struct snapshot *third = build(&g, second);
    assert_ptr_equal(third->routers[0], second->routers[0]);
    snapshot_free(second);
    assert_int_equal(third->routers[0]->arms[0]->n[0], 1);
    snapshot_free(third);
    given_close(&g);
}

static void an_untouched_arms_view_is_shared_when_slopes_are_not_pooled(void **state)
{
    (void)state;
    struct given g;
    open_plain(&g, false);
    uint32_t a = given_arm(&g, "a");
    given_arm(&g, "b");
    struct snapshot *first = build(&g, NULL);
    report(&g, a, 1, .5);
    struct snapshot *second = build(&g, first);
    assert_ptr_not_equal(first->routers[0]->arms[0], second->routers[0]->arms[0]);
    assert_ptr_equal(first->routers[0]->arms[1], second->routers[0]->arms[1]);
    snapshot_free(first);
    snapshot_free(second);
    given_close(&g);
}

static void views_show_what_was_learned(void **state)
{
    (void)state;
    struct given g;
    open_plain(&g, true);
    uint32_t a = given_arm(&g, "a"), b = given_arm(&g, "b");
    for (uint64_t k = 0; k < 30; k++)
        report(&g, k % 3 ? a : b, k % 2 ? 0x07 : 0x1f, given_z(k, 1));
    struct snapshot *s = build(&g, NULL);
    const struct router_view *r = s->routers[0];
    for (uint32_t i = 0; i < 2; i++) {
        const struct arm_view *v = r->arms[i];
        const struct arm *arm = given_find(&g, v->uid);
        for (uint32_t m = 0; m < 5; m++) {
            double theta[GIVEN_D];
            given_theta(&g, v->uid, m, theta);
            for (uint32_t k = 0; k < GIVEN_D; k++)
                assert_true((float)theta[k] == v->theta[m * v->stride + k]);
            assert_true(fabs(v->mean_raw[m] - arm->metrics[m].sum_raw / (double)v->n[m]) < 1e-12);
        }
        assert_int_equal(v->seen_mask, 0x1f);
        assert_int_equal(v->answered, arm->answered);
        assert_int_equal(v->folded[METRIC_RATED], arm->groups[METRIC_RATED].n);
        assert_true(v->P[METRIC_SERVED][5] == (float)arm->groups[METRIC_SERVED].P[5]);
        /* h = L_0 (P x)_0 at the bare bias. */
        assert_true(v->prior_share[0] == (float)arm->groups[METRIC_RATED].P[0]);
    }
    assert_int_equal(r->pooled_n[0], 30);
    snapshot_free(s);
    given_close(&g);
}

/* An untouched arm's view is shared while its evidence fades: the router's view says how far. */
static void the_view_of_an_arm_that_nobody_pulls_fades_with_the_clock(void **state)
{
    (void)state;
    struct router_config c;
    struct given g;
    given_config(&c);
    c.settings.pooled_slopes = false;
    c.settings.gamma = .99;
    given_open(&g, &c);
    uint32_t arms[4];
    static const char *const names[] = {"a", "b", "c", "d"};
    for (int i = 0; i < 4; i++)
        arms[i] = given_arm(&g, names[i]);
    struct snapshot *last = build(&g, NULL);
    uint32_t shared = 0;
    for (uint32_t k = 0; k < 40; k++) {
        report(&g, arms[0], 7, .5);
        struct snapshot *next = build(&g, last);
        const struct router_view *r = next->routers[0];
        for (uint32_t i = 0; i < 4; i++) {
            const struct arm *a = given_find(&g, arms[i]);
            uint64_t behind = r->outcomes_folded - a->clock;
            assert_true(behind < 4); /* Each arm is settled in its turn. */
            assert_true(fabs((double)r->fade[i] - pow(.99, (double)behind)) < 1e-6);
            assert_int_equal(r->arms[i]->clock, a->clock);
            assert_true(r->arms[i]->ridge[METRIC_RATED] == (float)a->groups[METRIC_RATED].ridge);
            shared += r->arms[i] == last->routers[0]->arms[i];
        }
        snapshot_free(last);
        last = next;
    }
    assert_true(shared > 40); /* Views are still shared. */
    assert_int_equal(last->routers[0]->arms[0]->n[0], 40);
    assert_true(fabs(last->routers[0]->arms[0]->recent_z[0] - .5) < 1e-12);
    snapshot_free(last);
    given_close(&g);
}

static void means_of_late_follow_what_an_arm_does_now(void **state)
{
    (void)state;
    struct router_config c;
    struct given g;
    given_config(&c);
    c.settings.gamma = .9;
    given_open(&g, &c);
    uint32_t a = given_arm(&g, "a");
    for (int k = 0; k < 100; k++)
        report(&g, a, 7, k < 50 ? 1 : 0);
    struct snapshot *s = build(&g, NULL);
    const struct router_view *r = s->routers[0];
    assert_true(r->arms[0]->mean_z[0] == .5 && r->arms[0]->recent_z[0] < .01);
    assert_true(r->pooled_mean_z[0] < .01);
    assert_true(fabs(r->arms[0]->evidence[METRIC_RATED] - 10) < .01); /* 1 / (1 - gamma). */
    assert_int_equal(r->arms[0]->folded[METRIC_RATED], 100);
    snapshot_free(s);
    given_close(&g);
}

/* Of a view, all that is not where it stands and who holds it. */
/* What no other arm has a say in. */
static void assert_same_knowledge(const struct arm_view *a, const struct arm_view *b)
{
    const size_t triangle = (size_t)a->d * (a->d + 1) / 2;
    assert_memory_equal(a->prior_share, b->prior_share, sizeof(float) * a->d);
    for (int g = 0; g < METRIC_GROUPS; g++)
        assert_memory_equal(a->P[g], b->P[g], sizeof(float) * triangle);
    assert_memory_equal(a->config, b->config, sizeof *a->config);
}

static void assert_same_view(const struct arm_view *a, const struct arm_view *b)
{
    struct arm_view *pair[2] = {calloc(1, sizeof *a), calloc(1, sizeof *a)};
    const struct arm_view *from[2] = {a, b};
    const size_t counted = sizeof a->refs;
    for (int i = 0; i < 2; i++) {
        assert_non_null(pair[i]);
        memcpy((char *)pair[i] + counted, (const char *)from[i] + counted, sizeof *a - counted);
        pair[i]->theta = pair[i]->prior_share = NULL;
        memset(pair[i]->P, 0, sizeof pair[i]->P);
        pair[i]->config = NULL;
        pair[i]->storage = NULL;
    }
    assert_memory_equal(pair[0], pair[1], sizeof *a);
    free(pair[0]);
    free(pair[1]);
    assert_memory_equal(a->theta, b->theta, sizeof(float) * a->stride * a->metrics_n);
    assert_same_knowledge(a, b);
}

static void a_view_brought_up_to_date_is_the_one_that_would_be_built_anew(void **state)
{
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        struct router_config c;
        struct given g;
        given_config(&c);
        c.settings.pooled_slopes = true;
        c.settings.pooled_level = kind & 1;
        c.settings.gamma = kind & 2 ? .99 : 1;
        given_open(&g, &c);
        uint32_t arms[5], copied = 0;
        for (int i = 0; i < 5; i++)
            arms[i] = given_arm(&g, ((const char *[]){"a", "b", "c", "d", "e"})[i]);
        struct snapshot *last = build(&g, NULL);
        for (uint64_t k = 0; k < 60; k++) {
            report(&g, arms[k * k % 5], k % 3 ? 7 : 1, .1 * (double)(k % 10));
            for (int i = 0; i < 5; i++)
                copied += !given_find(&g, arms[i])->touched;
            struct snapshot *next = build(&g, last), *anew = build(&g, NULL);
            for (int i = 0; i < 5; i++)
                assert_same_view(next->routers[0]->arms[i], anew->routers[0]->arms[i]);
            snapshot_free(anew);
            snapshot_free(last);
            last = next;
        }
        assert_true(copied > 100);
        snapshot_free(last);
        given_close(&g);
    }
}

static void an_untried_arm_keeps_its_whole_prior(void **state)
{
    (void)state;
    struct given g;
    open_plain(&g, true);
    given_arm(&g, "a");
    struct snapshot *s = build(&g, NULL);
    const struct arm_view *v = s->routers[0]->arms[0];
    assert_true(v->prior_share[0] == 1);
    assert_true(v->theta[0] == 1); /* Reward: the best end. */
    assert_int_equal(v->seen_mask, 0);
    snapshot_free(s);
    given_close(&g);
}

static void names_are_found_whatever_the_order_of_creation(void **state)
{
    (void)state;
    struct given g;
    open_plain(&g, true);
    char name[NAME_CAP];
    for (uint64_t i = 0; i < 40; i++) {
        snprintf(name, sizeof name, "n%llu", (unsigned long long)(i * 17 % 40));
        given_arm(&g, name);
        add_router(&g, name);
    }
    struct snapshot *s = build(&g, NULL);
    const struct router_view *r = snapshot_router(s, "r", 1);
    assert_non_null(r);
    for (uint32_t i = 0; i < 40; i++) {
        snprintf(name, sizeof name, "n%u", i);
        int k = router_view_arm(r, name, strlen(name));
        assert_true(k >= 0);
        assert_string_equal(r->arms[k]->config->name, name);
        assert_int_equal(router_view_arm_uid(r, r->arms[k]->uid), k);
        const struct router_view *other = snapshot_router(s, name, strlen(name));
        assert_non_null(other);
        assert_string_equal(other->config->name, name);
        assert_ptr_equal(snapshot_router_uid(s, other->uid), other);
        if (i > 0) /* In order of name. */
            assert_true(strcmp(r->arms[r->by_name[i - 1]]->config->name,
                               r->arms[r->by_name[i]]->config->name) < 0);
    }
    assert_int_equal(router_view_arm(r, "n", 1), -1);
    assert_int_equal(router_view_arm(r, "n1x", 3), -1);
    assert_int_equal(router_view_arm(r, "", 0), -1);
    assert_null(snapshot_router(s, "n40", 3));
    assert_null(snapshot_router_uid(s, 9999));
    assert_int_equal(router_view_arm_uid(r, 9999), -1);
    /* The name may be followed by anything in the caller's memory. */
    assert_non_null(snapshot_router(s, "n1garbage", 2));
    snapshot_free(s);
    given_close(&g);
}

static void a_removed_arm_and_router_leave_the_next_snapshot(void **state)
{
    (void)state;
    struct given g;
    open_plain(&g, true);
    uint32_t a = given_arm(&g, "a");
    uint32_t b = given_arm(&g, "b");
    uint32_t other = add_router(&g, "other");
    struct snapshot *first = build(&g, NULL);
    memset(&g.event, 0, sizeof g.event);
    g.event.kind = EVENT_ARM_REMOVE;
    g.event.u.state = (struct event_arm_state){g.router->uid, a, false, false};
    given_fold(&g);
    memset(&g.event, 0, sizeof g.event);
    g.event.kind = EVENT_ROUTER_REMOVE;
    g.event.u.router_uid = other;
    given_fold(&g);
    struct snapshot *second = build(&g, first);
    assert_int_equal(second->routers_n, 1);
    assert_null(snapshot_router(second, "other", 5));
    assert_int_equal(router_view_arm(second->routers[0], "a", 1), -1);
    assert_int_equal(second->routers[0]->arms[router_view_arm(second->routers[0], "b", 1)]->uid, b);
    assert_int_equal(router_view_arm(first->routers[0], "a", 1), 0);
    assert_non_null(snapshot_router(first, "other", 5));
    snapshot_free(first);
    snapshot_free(second);
    given_close(&g);
}

static void switching_pooled_slopes_off_changes_the_view_of_every_arm(void **state)
{
    (void)state;
    struct given g;
    open_plain(&g, true);
    uint32_t a = given_arm(&g, "a");
    uint32_t b = given_arm(&g, "b");
    report(&g, b, 1, .5);
    for (uint64_t k = 0; k < 50; k++)
        report(&g, a, 1, given_z(k, 1));
    struct snapshot *first = build(&g, NULL);
    memset(&g.event, 0, sizeof g.event);
    g.event.kind = EVENT_ROUTER_UPDATE;
    g.event.u.update.router_uid = g.router->uid;
    g.event.u.update.settings = g.router->config.settings;
    g.event.u.update.settings.pooled_slopes = false;
    given_fold(&g);
    struct snapshot *second = build(&g, first);
    double theta[GIVEN_D];
    given_theta(&g, b, 0, theta);
    for (uint32_t i = 0; i < GIVEN_D; i++)
        assert_true(second->routers[0]->arms[1]->theta[i] == (float)theta[i]);
    snapshot_free(first);
    snapshot_free(second);
    given_close(&g);
}

/* With more arms than are rebuilt each time, an arm without outcomes follows the pooled slopes at
 * least every 128 outcomes, whatever the size of the batches. */
static void in_a_large_pool_no_view_falls_far_behind_the_pooled_slopes(void **state)
{
    (void)state;
    static const uint64_t batches[] = {1, 64, 100};
    for (size_t b = 0; b < sizeof batches / sizeof *batches; b++) {
        struct given g;
        open_plain(&g, true);
        uint32_t first = 0;
        for (int i = 0; i < 80; i++) {
            char name[NAME_CAP];
            snprintf(name, sizeof name, "a%d", i);
            uint32_t uid = given_arm(&g, name);
            first = first ? first : uid;
        }
        struct snapshot *s = build(&g, NULL);
        uint64_t built[80] = {0};
        for (uint64_t k = 1; k <= 640; k++) {
            report(&g, first, 1, given_z(k, 1));
            if (k % batches[b])
                continue;
            struct snapshot *next = build(&g, s);
            for (uint32_t i = 1; i < 80; i++) {
                if (next->routers[0]->arms[i] != s->routers[0]->arms[i])
                    built[i] = k;
                if (k - built[i] > 128 + batches[b])
                    fail_msg("batches of %llu: arm %u is %llu outcomes old",
                             (unsigned long long)batches[b], i, (unsigned long long)(k - built[i]));
            }
            snapshot_free(s);
            s = next;
        }
        snapshot_free(s);
        given_close(&g);
    }
}

/* Arms that were declared while the pool was small have no bound; once it is large each needs one.
 */
static void a_pool_that_grows_large_has_the_bounds_of_one(void **state)
{
    (void)state;
    for (int pooled = 0; pooled < 2; pooled++) {
        struct given g;
        struct snapshot *s = NULL;
        open_plain(&g, pooled);
        for (int i = 0; i < 65; i++) {
            char name[NAME_CAP];
            snprintf(name, sizeof name, "a%d", i);
            given_arm(&g, name);
            struct snapshot *next = build(&g, s);
            snapshot_free(s);
            s = next;
            const struct router_view *r = s->routers[0];
            for (uint32_t k = 0; k < r->arms_n; k++)
                for (int m = 0; m < METRIC_GROUPS; m++)
                    assert_true((r->arms[k]->spread_cap[m] < HUGE_VALF) == (r->arms_n > 64));
        }
        struct snapshot *anew = build(&g, NULL);
        for (uint32_t k = 0; k < 65; k++)
            assert_same_view(s->routers[0]->arms[k], anew->routers[0]->arms[k]);
        snapshot_free(anew);
        snapshot_free(s);
        given_close(&g);
    }
}

enum { LARGE = 80 };

static void add_many(struct given *g, uint32_t *ret_arms)
{
    for (int i = 0; i < LARGE; i++) {
        char name[NAME_CAP];
        snprintf(name, sizeof name, "a%d", i);
        ret_arms[i] = given_arm(g, name);
    }
}

/* Views come and go in places that others have left, while older snapshots still read theirs. */
static void a_large_pools_views_keep_their_numbers_whoever_is_freed_first(void **state)
{
    (void)state;
    enum { KEPT = 5 };
    struct given g;
    uint32_t arms[LARGE];
    struct snapshot *kept[KEPT] = {NULL}, *anew[KEPT] = {NULL};
    open_plain(&g, false);
    add_many(&g, arms);
    for (uint64_t k = 0; k < 60; k++) {
        report(&g, arms[rng_below(3, k, LARGE)], k % 3 ? 7 : 1, .1 * (double)(k % 10));
        struct snapshot *last = k ? kept[(k - 1) % KEPT] : NULL, *next = build(&g, last);
        size_t at = k % KEPT;
        for (uint32_t i = 0; kept[at] && i < LARGE; i++)
            assert_same_knowledge(kept[at]->routers[0]->arms[i], anew[at]->routers[0]->arms[i]);
        snapshot_free(kept[at]);
        snapshot_free(anew[at]);
        kept[at] = next;
        anew[at] = build(&g, NULL);
    }
    for (size_t k = 0; k < KEPT; k++) { /* In an order of its own. */
        size_t at = k * 3 % KEPT;
        for (uint32_t i = 0; i < LARGE; i++) {
            const struct arm_view *v = kept[at]->routers[0]->arms[i];
            assert_null(v->storage); /* Not a piece of the heap. */
            assert_same_knowledge(v, anew[at]->routers[0]->arms[i]);
        }
        snapshot_free(kept[at]);
        snapshot_free(anew[at]);
    }
    given_close(&g);
}

static void of_a_large_pool_that_finds_no_memory_nothing_leaks(void **state)
{
    (void)state;
#ifndef SHUNT_FAULTS
    skip();
#endif
    struct given g;
    uint32_t arms[LARGE];
    open_plain(&g, false);
    add_many(&g, arms);
    struct snapshot *s = NULL, *last = NULL;
    for (int turn = 0; turn < 2; turn++) {
        enum err e;
        long n = 0;
        do {
            mem_fail_nth(++n);
            e = snapshot_build(g.model, last, &s);
            mem_fail_nth(0);
            assert_true(e == OK || (e == ERR_NOMEM && !s));
        } while (e != OK);
        /* Only the first time there are slabs to be made: three, and what knows them. */
        assert_true(turn == 0 ? n > 14 : n > 4 && n < 10);
        snapshot_free(last);
        last = s;
        s = NULL;
        report(&g, arms[7], 1, .25);
    }
    assert_int_equal(last->routers[0]->arms[7]->n[0], 1);
    snapshot_free(last);
    given_close(&g);
}

static void without_memory_nothing_leaks_and_the_next_snapshot_is_whole(void **state)
{
    (void)state;
#ifndef SHUNT_FAULTS
    skip();
#endif
    struct given g;
    open_plain(&g, false);
    uint32_t a = given_arm(&g, "a");
    given_arm(&g, "b");
    add_router(&g, "other");
    struct snapshot *last = build(&g, NULL);
    report(&g, a, 1, .25);
    given_arm(&g, "c");
    add_router(&g, "more");
    struct snapshot *s = NULL;
    long n = 0;
    enum err e;
    do {
        mem_fail_nth(++n);
        e = snapshot_build(g.model, last, &s);
        mem_fail_nth(0);
        assert_true(e == OK || (e == ERR_NOMEM && !s));
    } while (e != OK);
    assert_true(n > 6);
    /* The marks were kept: what had changed is in it. */
    assert_int_equal(s->routers_n, 3);
    assert_int_equal(s->routers[0]->arms_n, 3);
    assert_int_equal(s->routers[0]->arms[0]->n[0], 1);
    assert_true(s->routers[0]->arms[0]->mean_z[0] == .25);
    assert_ptr_equal(s->routers[1], last->routers[1]);
    snapshot_free(last);
    snapshot_free(s);
    given_close(&g);
}

static void a_model_without_routers_has_a_snapshot(void **state)
{
    (void)state;
    struct model *m;
    struct snapshot *s;
    assert_int_equal(model_new(&m), OK);
    assert_int_equal(snapshot_build(m, NULL, &s), OK);
    assert_int_equal(s->routers_n, 0);
    assert_null(snapshot_router(s, "default", 7));
    snapshot_free(s);
    snapshot_free(NULL);
    model_free(m);
}

static void unseen_served_metrics_show_as_unseen_until_observed_or_declared(void **state)
{
    (void)state;
    struct given g;
    open_plain(&g, true);
    uint32_t a = given_arm(&g, "a");
    struct decision d = given_decision(&g, a, 1);
    given_report(&g, &d, 0x09, half, OUTCOME_OK); /* reward, energy */
    struct snapshot *s = build(&g, NULL);
    assert_int_equal(s->routers[0]->arms[0]->seen_mask, 0x09);
    snapshot_free(s);
    given_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_unchanged_routers_view_is_shared_and_a_changed_one_is_new),
        cmocka_unit_test(an_untouched_arms_view_is_shared_when_slopes_are_not_pooled),
        cmocka_unit_test(views_show_what_was_learned),
        cmocka_unit_test(a_view_brought_up_to_date_is_the_one_that_would_be_built_anew),
        cmocka_unit_test(an_untried_arm_keeps_its_whole_prior),
        cmocka_unit_test(names_are_found_whatever_the_order_of_creation),
        cmocka_unit_test(a_removed_arm_and_router_leave_the_next_snapshot),
        cmocka_unit_test(the_view_of_an_arm_that_nobody_pulls_fades_with_the_clock),
        cmocka_unit_test(means_of_late_follow_what_an_arm_does_now),
        cmocka_unit_test(switching_pooled_slopes_off_changes_the_view_of_every_arm),
        cmocka_unit_test(in_a_large_pool_no_view_falls_far_behind_the_pooled_slopes),
        cmocka_unit_test(a_pool_that_grows_large_has_the_bounds_of_one),
        cmocka_unit_test(a_large_pools_views_keep_their_numbers_whoever_is_freed_first),
        cmocka_unit_test(of_a_large_pool_that_finds_no_memory_nothing_leaks),
        cmocka_unit_test(without_memory_nothing_leaks_and_the_next_snapshot_is_whole),
        cmocka_unit_test(a_model_without_routers_has_a_snapshot),
        cmocka_unit_test(unseen_served_metrics_show_as_unseen_until_observed_or_declared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
