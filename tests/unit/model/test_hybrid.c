/* What descriptors say of arms, and that it is no more than a prior. */
#include "state/math/packed.h"
#include "state/model/hybrid.h"
#include "state/model/snapshot.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/model/given.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { D = GIVEN_D, ARMS_MAX = 16, METRICS = 5 };

static void open_hybrid(struct given *g)
{
    struct router_config c;
    given_config(&c);
    c.settings.hybrid = true;
    given_open(g, &c);
}

static uint32_t add(struct given *g, const char *name, const char *family, double size_b)
{
    memset(&g->event, 0, sizeof g->event);
    g->event.kind = EVENT_ARM_ADD;
    struct arm_config *c = &g->event.u.arm.config;
    g->event.u.arm.router_uid = g->router->uid;
    snprintf(c->name, NAME_CAP, "%s", name);
    snprintf(c->family, NAME_CAP, "%s", family);
    c->known = size_b > 0 ? ARM_KNOWS_SIZE : 0;
    c->size_b = size_b;
    return given_fold(g).uid;
}

/* n outcomes around mean, of a noise that is the same for every arm. */
static void teach(struct given *g, uint32_t arm, int n, double mean)
{
    for (int k = 0; k < n; k++) {
        double z[MAX_METRICS] = {mean + (k % 2 ? .125 : -.125)};
        struct decision d = given_decision(g, arm, g->ids);
        assert_int_equal(given_report(g, &d, 1, z, OUTCOME_OK).err, OK);
    }
}

static struct hybrid_prior prior_of(const struct given *g, uint32_t uid)
{
    struct hybrid_prior all[ARMS_MAX * METRICS];
    assert_true(g->router->arms_n <= ARMS_MAX);
    assert_int_equal(hybrid_fit(g->router, all), OK);
    for (uint32_t i = 0; i < g->router->arms_n; i++)
        if (g->router->arms[i]->uid == uid)
            return all[i * METRICS];
    fail_msg("no such arm");
    return all[0];
}

/* Three arms of a good family, three of a bad one. */
static void teach_families(struct given *g)
{
    for (int i = 0; i < 6; i++) {
        char name[8];
        snprintf(name, sizeof name, "k%d", i);
        teach(g, add(g, name, i < 3 ? "good" : "bad", 0), 60, i < 3 ? .75 : .25);
    }
}

static void a_newcomer_is_expected_to_be_like_its_family(void **state)
{
    (void)state;
    struct given g;
    open_hybrid(&g);
    teach_families(&g);
    struct hybrid_prior good = prior_of(&g, add(&g, "new-good", "good", 0));
    struct hybrid_prior bad = prior_of(&g, add(&g, "new-bad", "bad", 0));
    struct hybrid_prior other = prior_of(&g, add(&g, "new-other", "other", 0));
    assert_true(good.mean > .65F && good.mean < .8F);
    assert_true(bad.mean < .35F && bad.mean > .2F);
    assert_true(other.mean > .4F && other.mean < .6F); /* A family that nobody knows. */
    assert_true(other.weight < good.weight && good.weight <= 10.0F && bad.weight > 0.0F);
    given_close(&g);
}

static void a_newcomer_is_expected_to_follow_the_trend_in_size(void **state)
{
    (void)state;
    struct given g;
    open_hybrid(&g);
    static const double sizes[] = {1, 2, 4, 8, 16, 32};
    for (int i = 0; i < 6; i++) {
        char name[8];
        snprintf(name, sizeof name, "k%d", i);
        teach(&g, add(&g, name, "", sizes[i]), 60, .25 + .1 * i);
    }
    uint32_t small = add(&g, "small", "", 1.5), large = add(&g, "large", "", 24);
    assert_true(prior_of(&g, large).mean - prior_of(&g, small).mean > .2F);
    given_close(&g);
}

static void descriptors_that_explain_nothing_make_a_light_prior(void **state)
{
    (void)state;
    float weight[2];
    for (int mixed = 0; mixed < 2; mixed++) {
        struct given g;
        open_hybrid(&g);
        for (int i = 0; i < 8; i++) {
            char name[8];
            bool good = mixed ? i % 2 : i < 4;
            snprintf(name, sizeof name, "k%d", i);
            teach(&g, add(&g, name, i < 4 ? "a" : "b", 0), 60, good ? .75 : .25);
        }
        weight[mixed] = prior_of(&g, add(&g, "new", "a", 0)).weight;
        given_close(&g);
    }
    assert_true(weight[1] < .5F * weight[0]);
}

static void an_arm_without_descriptors_or_with_a_declared_prior_has_none_of_others(void **state)
{
    (void)state;
    struct given g;
    open_hybrid(&g);
    teach_families(&g);
    uint32_t plain = add(&g, "plain", "", 0);
    assert_true(prior_of(&g, plain).weight == 0.0F);
    memset(&g.event, 0, sizeof g.event);
    g.event.kind = EVENT_ARM_ADD;
    g.event.u.arm.router_uid = g.router->uid;
    strcpy(g.event.u.arm.config.name, "declared");
    strcpy(g.event.u.arm.config.family, "good");
    g.event.u.arm.config.prior_mask = 1;
    g.event.u.arm.config.prior_z[0] = .125;
    uint32_t declared = given_fold(&g).uid;
    assert_true(prior_of(&g, declared).weight == 0.0F);
    struct snapshot *s = NULL;
    assert_int_equal(snapshot_build(g.model, NULL, &s), OK);
    int at = router_view_arm_uid(s->routers[0], plain);
    assert_true(s->routers[0]->arms[at]->theta[0] == 1); /* Its optimism. */
    assert_true(s->routers[0]->arms[at]->P[METRIC_RATED][0] == 1);
    at = router_view_arm_uid(s->routers[0], declared);
    assert_true(s->routers[0]->arms[at]->theta[0] == .125F);
    snapshot_free(s);
    given_close(&g);
}

/* As many outcomes at the bare bias, each of the prior's mean, solved from scratch. */
static void a_view_holds_the_prior_as_outcomes_that_came_before(void **state)
{
    (void)state;
    struct given g;
    struct snapshot *s = NULL;
    open_hybrid(&g);
    teach_families(&g);
    uint32_t uid = add(&g, "new", "good", 0);
    teach(&g, uid, 3, .5);
    struct hybrid_prior prior = prior_of(&g, uid);
    double weight = (double)prior.weight, A[D * (D + 1) / 2], P[D * (D + 1) / 2],
           scratch[D * (D + 1) / 2], bias[D] = {1}, theta[D], want[D], target[D];
    const struct arm *a = given_find(&g, uid);
    memcpy(A, a->groups[METRIC_RATED].A, sizeof A);
    given_theta(&g, uid, 0, theta);
    packed_multiply(A, D, theta, target); /* A theta = what went into it, whatever that was. */
    target[0] += weight * (double)prior.mean;
    packed_rank1(A, D, weight, bias);
    assert_int_equal(packed_invert(A, D, P, scratch), OK);
    packed_multiply(P, D, target, want);
    assert_int_equal(snapshot_build(g.model, NULL, &s), OK);
    const struct arm_view *v = s->routers[0]->arms[router_view_arm_uid(s->routers[0], uid)];
    for (int i = 0; i < D; i++)
        assert_true(fabs((double)v->theta[i] - want[i]) < 1e-6);
    for (int i = 0; i < D * (D + 1) / 2; i++)
        assert_true(fabs((double)v->P[METRIC_RATED][i] - P[i]) < 1e-6);
    snapshot_free(s);
    given_close(&g);
}

/* Nothing of it is learned, so it can be switched at any time. */
static void what_is_learned_does_not_depend_on_it(void **state)
{
    (void)state;
    struct given on, off;
    struct router_config c;
    open_hybrid(&on);
    given_config(&c);
    given_open(&off, &c);
    teach_families(&on);
    teach_families(&off);
    for (uint32_t i = 0; i < on.router->arms_n; i++)
        assert_memory_equal(on.router->arms[i]->block, off.router->arms[i]->block,
                            on.router->arms[i]->block_n * sizeof(double));
    assert_memory_equal(on.router->pooled->block, off.router->pooled->block,
                        on.router->pooled->block_n * sizeof(double));
    struct snapshot *s = NULL;
    assert_int_equal(snapshot_build(off.model, NULL, &s), OK);
    assert_null(s->routers[0]->hybrid);
    snapshot_free(s);
    given_close(&on);
    given_close(&off);
}

static void arms_that_leave_take_what_they_said_along(void **state)
{
    (void)state;
    struct given g;
    open_hybrid(&g);
    teach_families(&g);
    uint32_t uid = add(&g, "new", "good", 0);
    float before = prior_of(&g, uid).mean;
    for (int i = 0; i < 3; i++) {
        memset(&g.event, 0, sizeof g.event);
        g.event.kind = EVENT_ARM_REMOVE;
        g.event.u.state.router_uid = g.router->uid;
        g.event.u.state.arm_uid = g.router->arms[0]->uid;
        given_fold(&g);
    }
    assert_true(prior_of(&g, uid).mean < before - .2F);
    given_close(&g);
}

static void many_words_and_no_arms_are_no_trouble(void **state)
{
    (void)state;
    struct given g;
    struct hybrid_prior none[METRICS];
    open_hybrid(&g);
    assert_int_equal(hybrid_fit(g.router, none), OK);
    for (uint32_t i = 0; i < ARMS_MAX; i++) { /* A family and 16 tags each: more than columns. */
        memset(&g.event, 0, sizeof g.event);
        g.event.kind = EVENT_ARM_ADD;
        struct arm_config *c = &g.event.u.arm.config;
        g.event.u.arm.router_uid = g.router->uid;
        snprintf(c->name, NAME_CAP, "k%u", i);
        snprintf(c->family, NAME_CAP, "f%u", i / 2 % 9);
        c->tags_n = MAX_TAGS;
        for (uint32_t t = 0; t < MAX_TAGS; t++)
            snprintf(c->tags[t], NAME_CAP, "t%u", (i * 7 + t) % 23);
        c->known = ARM_KNOWS_ALL;
        c->size_b = 1e6;
        c->price_out_usd = i ? 1e6 : 0;
        teach(&g, given_fold(&g).uid, 2, .5);
    }
    for (uint32_t i = 0; i < ARMS_MAX; i++) {
        struct hybrid_prior p = prior_of(&g, g.router->arms[i]->uid);
        assert_true(p.mean >= 0.0F && p.mean <= 1.0F && p.weight >= 0.0F && p.weight <= 10.0F);
    }
    given_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_newcomer_is_expected_to_be_like_its_family),
        cmocka_unit_test(a_newcomer_is_expected_to_follow_the_trend_in_size),
        cmocka_unit_test(descriptors_that_explain_nothing_make_a_light_prior),
        cmocka_unit_test(an_arm_without_descriptors_or_with_a_declared_prior_has_none_of_others),
        cmocka_unit_test(a_view_holds_the_prior_as_outcomes_that_came_before),
        cmocka_unit_test(what_is_learned_does_not_depend_on_it),
        cmocka_unit_test(arms_that_leave_take_what_they_said_along),
        cmocka_unit_test(many_words_and_no_arms_are_no_trouble),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
