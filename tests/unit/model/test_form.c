#include "state/base/rng.h"
#include "state/math/packed.h"
#include "state/model/snapshot.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/model/given.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EVENTS = 2000, KEPT = 64 };

/* A random life: outcomes in pieces and twice, failures, arms that come and go, labels, keys,
 * tallies, gammas. The same seed makes the same events whatever becomes of the model. */
struct life {
    struct given g;
    uint64_t seed, step;
    struct decision decisions[KEPT]; /* Of late. */
    uint32_t decisions_n;
};

static void life_open(struct life *l, uint64_t seed)
{
    struct router_config c;
    memset(l, 0, sizeof *l);
    l->seed = seed;
    given_config(&c);
    c.spec.task_slots = 3;
    c.spec.features_n = 4;
    c.settings.dedup_max = 1000;
    c.settings.cooldown_failures = 2;
    c.settings.gamma = seed % 2 ? 1 : .97;
    c.settings.drift_policy = (enum drift_policy)(seed % 3);
    given_open(&l->g, &c);
    given_arm(&l->g, "a");
    given_arm(&l->g, "b");
}

static struct event *fresh(struct life *l, enum event_kind kind)
{
    memset(&l->g.event, 0, sizeof l->g.event);
    l->g.event.kind = kind;
    return &l->g.event;
}

static void live_arms(struct life *l, uint64_t s)
{
    struct router *r = l->g.router;
    if (r->arms_n < 2 || (r->arms_n < 5 && rng_below(s, 10, 2))) {
        struct event *ev = fresh(l, EVENT_ARM_ADD);
        ev->u.arm.router_uid = r->uid;
        ev->u.arm.config.name[0] = (char)('a' + rng_below(s, 11, 6));
        ev->u.arm.config.prior_mask = (uint16_t)rng_below(s, 12, 32);
        for (int m = 0; m < 5; m++)
            ev->u.arm.config.prior_z[m] = given_z(s, 20 + (uint64_t)m);
        given_fold(&l->g);
    } else {
        uint32_t uid = r->arms[rng_below(s, 13, r->arms_n)]->uid;
        struct event *ev = fresh(l, rng_below(s, 14, 3) ? EVENT_ARM_STATE : EVENT_ARM_REMOVE);
        ev->u.state = (struct event_arm_state){r->uid, uid, rng_below(s, 15, 2) == 1, false};
        given_fold(&l->g);
    }
}

/* A plan about the arms there are and one that is gone. Declared off and on in between. */
static void live_residency(struct life *l, uint64_t s)
{
    struct router *r = l->g.router;
    struct residency_arm arms[8] = {{.uid = 1, .load_ms = 5}};
    float samples[2 * MAX_D];
    uint32_t n = r->arms_n < 7 ? r->arms_n : 7, row = r->d + r->config.metrics_n;
    for (uint32_t i = 0; i < n; i++)
        arms[i + 1] = (struct residency_arm){
            .uid = r->arms[i]->uid, .desired = rng_below(s, 60 + i, 2), .rate = given_z(s, 70 + i)};
    for (uint32_t i = 0; i < 2 * row; i++)
        samples[i] = (float)given_z(s, 80 + i);
    struct residency_update u = {.epoch = 1 + rng_below(s, 61, 9),
                                 .begun_us = l->g.now_us,
                                 .arms_n = n + 1,
                                 .arms = arms,
                                 .samples_n = 2,
                                 .samples = samples,
                                 .d = r->d,
                                 .weights_n = r->config.metrics_n};
    struct buf b;
    buf_init(&b);
    residency_put_update(&u, &b);
    struct event *ev = fresh(l, EVENT_RESIDENCY);
    ev->u.residency.router_uid = r->uid;
    ev->u.residency.update = (struct slice){b.data, b.len};
    given_fold(&l->g);
    buf_done(&b);
}

static void live_admin(struct life *l, uint64_t s)
{
    struct router *r = l->g.router;
    struct event *ev;
    uint8_t pairs[12];
    uint64_t issued = rng_below(s, 30, 1000);
    switch (rng_below(s, 31, 11)) {
    case 9:
    case 10:
        live_residency(l, s);
        return;
    case 6:
    case 7:
        ev = fresh(l, EVENT_SESSION);
        ev->u.session.router_uid = r->uid;
        ev->u.session.name[0] = (char)('p' + rng_below(s, 55, 4));
        ev->u.session.metric = 1;
        ev->u.session.budget = 1000;
        ev->u.session.ttl_us = 1000000 * (int64_t)rng_below(s, 56, 60);
        ev->u.session.amount = rng_below(s, 57, 300);
        memcpy(ev->u.session.id, &s, sizeof s);
        break;
    case 8:
        ev = fresh(l, EVENT_SESSION_END);
        ev->u.session_end.router_uid = r->uid;
        ev->u.session_end.name[0] = (char)('p' + rng_below(s, 58, 4));
        break;
    case 4:
        ev = fresh(l, EVENT_TENANT_SET);
        ev->u.tenant.router_uid = r->uid;
        ev->u.tenant.tenant.name[0] = (char)('t' + rng_below(s, 38, 5));
        ev->u.tenant.tenant.metric = (uint8_t)rng_below(s, 39, 2);
        ev->u.tenant.tenant.per_request = (double)rng_below(s, 50, 3);
        ev->u.tenant.tenant.ceiling = 2;
        break;
    case 5:
        ev = fresh(l, EVENT_ACCOUNTS);
        ev->u.accounts.n = 2;
        for (uint32_t i = 0; i < 2; i++) {
            struct account_row *row = &ev->u.accounts.rows[i];
            row->router_uid = r->uid;
            row->metric = (uint8_t)rng_below(s, 51, 2);
            row->tenant[0] = i ? (char)('t' + rng_below(s, 52, 5)) : '\0';
            row->account.budget = 1;
            row->account.bank = given_z(s, 53) - .5;
            row->account.requests = rng_below(s, 54, 100);
        }
        break;
    case 0:
        ev = fresh(l, EVENT_KEY_ADD);
        memset(ev->u.key, (int)issued & 0xff, KEY_BYTES);
        break;
    case 1:
        ev = fresh(l, EVENT_LABEL_ADD);
        ev->u.label.router_uid = r->uid;
        ev->u.label.label[0] = (char)('k' + rng_below(s, 32, 4));
        break;
    case 2:
        memcpy(pairs, &r->arms[0]->uid, 4);
        memcpy(pairs + 4, &issued, 8);
        ev = fresh(l, EVENT_TALLY);
        ev->u.tally = (struct event_tally){.router_uid = r->uid,
                                           .requests = issued * 2,
                                           .sides = {issued, issued / 2},
                                           .logged = issued / 4,
                                           .n = 1,
                                           .pairs = pairs};
        break;
    default:
        ev = fresh(l, EVENT_ROUTER_UPDATE);
        ev->u.update.router_uid = r->uid;
        ev->u.update.settings = r->config.settings;
        ev->u.update.settings.pooled_slopes = rng_below(s, 33, 4) > 0;
        if (l->seed % 2 == 0) /* Half of the lives never forget. */
            ev->u.update.settings.gamma = 1 - .02 * given_z(s, 35);
        ev->u.update.settings.mode = (enum router_mode)(rng_below(s, 36, 8) % 3);
        ev->u.update.settings.split_policy[0] = rng_below(s, 37, 2) ? 'p' : '\0';
        (void)snprintf(ev->u.update.settings.budget_metric, NAME_CAP, "%s",
                       rng_below(s, 55, 2) ? "reward" : "quality");
        residency_defaults(&ev->u.update.settings.residency);
        if (rng_below(s, 56, 4) == 0)
            memset(&ev->u.update.settings.residency, 0, sizeof ev->u.update.settings.residency);
        ev->u.update.metrics_n = 5;
        ev->u.update.weights[0] = given_z(s, 34);
    }
    given_fold(&l->g);
}

static void live_outcome(struct life *l, uint64_t s)
{
    struct router *r = l->g.router;
    bool again = l->decisions_n > 0 && rng_below(s, 1, 3) == 0;
    struct decision *d = &l->decisions[rng_below(s, 2, l->decisions_n ? l->decisions_n : 1)];
    if (!again) {
        d = &l->decisions[l->decisions_n < KEPT ? l->decisions_n++ : rng_below(s, 3, KEPT)];
        *d = given_decision(&l->g, r->arms[rng_below(s, 4, r->arms_n)]->uid, s);
        d->reason = rng_below(s, 5, 4) ? REASON_EXPLOIT : REASON_COOLDOWN_PROBE;
        d->mode = (uint8_t)r->config.settings.mode;
        d->side = (uint8_t)(d->mode == MODE_ONLINE ? rng_below(s, 8, 3) : SIDE_NONE);
        bool trial = d->side || d->mode == MODE_APPRENTICE;
        d->epoch = trial ? r->trial.epoch : 0;
        if (d->mode == MODE_APPRENTICE)
            d->policy_arm_uid = r->arms[rng_below(s, 9, r->arms_n)]->uid;
    }
    double z[MAX_METRICS];
    for (uint32_t m = 0; m < MAX_METRICS; m++)
        z[m] = given_z(s, 40 + m);
    given_report(&l->g, d, (uint16_t)rng_below(s, 6, 32), z,
                 rng_below(s, 7, 6) ? OUTCOME_OK : OUTCOME_ERROR);
}

static void life_step(struct life *l)
{
    uint64_t s = rng_mix(l->seed, l->step++);
    uint64_t kind = rng_below(s, 0, 100);
    if (kind < 3)
        live_arms(l, s);
    else if (kind < 8)
        live_admin(l, s);
    else
        live_outcome(l, s);
}

/* The model goes through its bytes and back. */
static void reborn(struct life *l)
{
    struct buf b = given_bytes(&l->g);
    struct model *again;
    struct err_detail detail = {""};
    uint32_t uid = l->g.router->uid;
    if (model_decode((struct slice){b.data, b.len}, &again, &detail) != OK)
        fail_msg("%s", detail.text);
    struct buf more;
    buf_init(&more);
    model_encode(again, &more);
    assert_int_equal(more.len, b.len);
    assert_memory_equal(more.data, b.data, b.len);
    buf_done(&more);
    buf_done(&b);
    model_free(l->g.model);
    l->g.model = again;
    l->g.router = model_router(again, uid);
    assert_non_null(l->g.router);
}

static void a_model_that_goes_through_its_bytes_at_any_point_ends_with_the_same_bytes(void **state)
{
    (void)state;
    struct life *straight = malloc(sizeof *straight), *broken = malloc(sizeof *broken);
    assert_non_null(straight);
    assert_non_null(broken);
    for (uint64_t seed = 1; seed < 5; seed++) {
        life_open(straight, seed);
        life_open(broken, seed);
        for (int i = 0; i < EVENTS; i++) {
            life_step(straight);
            if (rng_below(seed, (uint64_t)i, 40) == 0)
                reborn(broken);
            life_step(broken);
        }
        struct buf a = given_bytes(&straight->g), b = given_bytes(&broken->g);
        assert_int_equal(a.len, b.len);
        assert_memory_equal(a.data, b.data, a.len);
        struct err_detail detail = {""};
        if (model_check(straight->g.model, &detail) != OK)
            fail_msg("%s", detail.text);
        assert_true(straight->g.router->outcomes_folded > 500); /* It was a life. */
        assert_true(straight->g.model->next_uid > 10);
        buf_done(&a);
        buf_done(&b);
        given_close(&straight->g);
        given_close(&broken->g);
    }
    free(straight);
    free(broken);
}

static struct buf some_bytes(void)
{
    struct life *l = malloc(sizeof *l);
    assert_non_null(l);
    life_open(l, 5);
    for (int i = 0; i < 60; i++)
        life_step(l);
    struct buf b = given_bytes(&l->g);
    given_close(&l->g);
    free(l);
    return b;
}

static void bytes_cut_anywhere_are_corrupt_and_say_where(void **state)
{
    (void)state;
    struct buf b = some_bytes();
    assert_true(b.len > 5000);
    for (size_t len = 0; len < b.len; len += 97) {
        struct model *m = NULL;
        struct err_detail detail = {""};
        uint8_t *exact = malloc(len ? len : 1); /* The sanitizer sees one byte too many. */
        assert_non_null(exact);
        memcpy(exact, b.data, len);
        assert_int_equal(model_decode((struct slice){exact, len}, &m, &detail), ERR_CORRUPT);
        assert_null(m);
        assert_non_null(strstr(detail.text, "byte"));
        free(exact);
    }
    buf_put_u8(&b, 0);
    struct model *m = NULL;
    struct err_detail detail;
    assert_int_equal(model_decode((struct slice){b.data, b.len}, &m, &detail), ERR_CORRUPT);
    buf_done(&b);
}

static void flipped_bytes_are_refused_or_make_a_model_that_can_be_read(void **state)
{
    (void)state;
    struct buf b = some_bytes();
    for (uint64_t i = 0; i < 1500; i++) {
        size_t at = i < 300 ? (size_t)i : (size_t)rng_below(8, i, b.len);
        uint8_t was = b.data[at];
        b.data[at] = (uint8_t)(was ^ (1U << rng_below(9, i, 8)));
        struct model *m = NULL;
        struct err_detail detail;
        if (model_decode((struct slice){b.data, b.len}, &m, &detail) == OK) {
            struct snapshot *s = NULL;
            enum err checked = model_check(m, &detail);
            assert_true(checked == OK || checked == ERR_CORRUPT);
            assert_int_equal(snapshot_build(m, NULL, &s), OK);
            snapshot_free(s);
            model_free(m);
        }
        b.data[at] = was;
    }
    buf_done(&b);
}

static void describe_offset_names_the_router_of_a_byte(void **state)
{
    (void)state;
    struct buf b = some_bytes();
    char text[128];
    model_describe_offset((struct slice){b.data, b.len}, 3, text, sizeof text);
    assert_non_null(strstr(text, "head"));
    model_describe_offset((struct slice){b.data, b.len}, b.len / 2, text, sizeof text);
    assert_non_null(strstr(text, "router 1 of 1"));
    model_describe_offset((struct slice){b.data, b.len}, b.len - 1, text, sizeof text);
    assert_non_null(strstr(text, "the sessions, byte "));
    buf_done(&b);
}

/* ---- the checker ---- */

static void assert_violation(struct given *g, const char *what)
{
    struct err_detail detail = {""};
    assert_int_equal(model_check(g->model, &detail), ERR_CORRUPT);
    if (!strstr(detail.text, what))
        fail_msg("\"%s\" does not say \"%s\"", detail.text, what);
}

static void the_checker_finds_a_wrong_inverse_a_lost_count_and_what_is_not_finite(void **state)
{
    (void)state;
    struct router_config c;
    struct given g;
    struct err_detail detail;
    double z[MAX_METRICS] = {.5, .5, .5};
    given_config(&c);
    given_open(&g, &c);
    uint32_t uid = given_arm(&g, "arm-x");
    for (uint64_t k = 0; k < 20; k++) {
        struct decision d = given_decision(&g, uid, k);
        given_report(&g, &d, 7, z, OUTCOME_OK);
    }
    assert_int_equal(model_check(g.model, &detail), OK);
    struct arm *a = given_find(&g, uid);
    double was = a->groups[METRIC_SERVED].P[3];
    a->groups[METRIC_SERVED].P[3] += 1e-5;
    assert_violation(&g, "arm-x: the served matrix");
    a->groups[METRIC_SERVED].P[3] = was;
    was = a->groups[METRIC_RATED].A[0];
    a->groups[METRIC_RATED].A[0] = -1;
    assert_violation(&g, "arm-x: the rated matrix");
    a->groups[METRIC_RATED].A[0] = was;
    a->metrics[0].b[2] = (double)NAN;
    assert_violation(&g, "not finite");
    a->metrics[0].b[2] = 0;
    was = g.router->pooled->matrix.P[0];
    g.router->pooled->matrix.P[0] = 7;
    assert_violation(&g, "pooled");
    g.router->pooled->matrix.P[0] = was;
    a->groups[METRIC_RATED].n++;
    assert_violation(&g, "more learned than answered");
    a->groups[METRIC_RATED].n--;
    g.router->outcomes_folded--;
    assert_violation(&g, "answered 20, folded 19");
    given_close(&g);
}

/* Flips nothing but the number itself, so that only its own check can refuse it. */
static bool decodes_with(struct given *g, double *number, double value)
{
    double was = *number;
    *number = value;
    struct buf b = given_bytes(g);
    *number = was;
    struct model *m = NULL;
    struct err_detail detail;
    enum err e = model_decode((struct slice){b.data, b.len}, &m, &detail);
    buf_done(&b);
    model_free(m);
    return e == OK;
}

static void what_cannot_be_left_of_evidence_does_not_decode(void **state)
{
    (void)state;
    struct router_config c;
    struct given g;
    double z[MAX_METRICS] = {.5, .5, .5};
    given_config(&c);
    c.settings.gamma = .99;
    given_open(&g, &c);
    uint32_t uid = given_arm(&g, "a");
    struct decision d = given_decision(&g, uid, 1);
    given_report(&g, &d, 7, z, OUTCOME_OK);
    struct arm *a = given_find(&g, uid);
    double *ridge = &a->groups[METRIC_RATED].ridge, *evidence = &g.router->pooled->matrix.evidence;
    assert_true(decodes_with(&g, ridge, .95));
    assert_false(decodes_with(&g, ridge, 0));
    assert_false(decodes_with(&g, ridge, 1.01));
    assert_false(decodes_with(&g, ridge, (double)NAN));
    assert_false(decodes_with(&g, evidence, -1));
    assert_false(decodes_with(&g, evidence, (double)INFINITY));
    assert_false(decodes_with(&g, &a->metrics[0].recent.n, -1));
    assert_false(decodes_with(&g, &g.router->gamma_before, 1.5));
    struct buf b;
    a->clock = 2; /* Ahead of the router's. */
    b = given_bytes(&g);
    struct model *m = NULL;
    struct err_detail detail;
    assert_int_equal(model_decode((struct slice){b.data, b.len}, &m, &detail), ERR_CORRUPT);
    buf_done(&b);
    given_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_model_that_goes_through_its_bytes_at_any_point_ends_with_the_same_bytes),
        cmocka_unit_test(bytes_cut_anywhere_are_corrupt_and_say_where),
        cmocka_unit_test(flipped_bytes_are_refused_or_make_a_model_that_can_be_read),
        cmocka_unit_test(describe_offset_names_the_router_of_a_byte),
        cmocka_unit_test(the_checker_finds_a_wrong_inverse_a_lost_count_and_what_is_not_finite),
        cmocka_unit_test(what_cannot_be_left_of_evidence_does_not_decode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
