#include "state/base/mem.h"
#include "state/base/rng.h"
#include "state/math/packed.h"
#include "state/model/freeze.h"
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

static void life_open_as(struct life *l, uint64_t seed, enum aggregation aggregation)
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
    c.settings.aggregation = aggregation;
    c.settings.drift_policy = (enum drift_policy)(seed % 3);
    given_open(&l->g, &c);
    given_arm(&l->g, "a");
    given_arm(&l->g, "b");
}

static void life_open(struct life *l, uint64_t seed)
{
    life_open_as(l, seed, AGGREGATE_FIRST);
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
    const struct residency_load load = {n ? arms[n].uid : 1, given_z(s, 79), 1 + s % 9};
    struct buf b;
    buf_init(&b);
    if (rng_below(s, 62, 2))
        residency_put_update(&u, &b);
    else
        residency_put_loads(&load, 1, &b);
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
        ev->u.update.settings.pooled_level = rng_below(s, 34, 4) == 0;
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

/* ---- frozen ---- */

/* What a life does not meet otherwise. */
static void live_rare(struct life *l, uint64_t s)
{
    struct router *r = l->g.router;
    const struct arm *a = r->arms[rng_below(s, 90, r->arms_n)];
    struct decision d = given_decision(&l->g, a->uid, s);
    struct event *ev;
    switch (rng_below(s, 91, 7)) {
    case 0: /* The arm in a new version, like another or from nothing. */
        ev = fresh(l, EVENT_ARM_ADD);
        ev->u.arm.router_uid = r->uid;
        ev->u.arm.config = a->config;
        ev->u.arm.replace = true;
        ev->u.arm.strength = 5;
        ev->u.arm.like_uid = rng_below(s, 92, 2) ? r->arms[0]->uid : 0;
        break;
    case 1:
        ev = fresh(l, EVENT_ARM_ADD);
        ev->u.arm.router_uid = r->uid;
        (void)snprintf(ev->u.arm.config.name, NAME_CAP, "x%d", (int)rng_below(s, 93, 3));
        ev->u.arm.strength = 5;
        ev->u.arm.like_uid = a->uid;
        break;
    case 2:
        ev = fresh(l, EVENT_ARM_UPDATE);
        ev->u.arm.router_uid = r->uid;
        ev->u.arm.config = a->config;
        ev->u.arm.config.prior_mask = 31;
        break;
    case 3:
        ev = fresh(l, EVENT_ARM_PRICE);
        ev->u.price = (struct event_arm_price){
            .router_uid = r->uid, .arm_uid = a->uid, .metric = 2, .factor = 2, .z_scale = .9};
        break;
    case 4:
        ev = fresh(l, EVENT_SWEEP);
        ev->u.sweep.router_uid = r->uid;
        ev->u.sweep.until_us = l->g.now_us;
        ev->u.sweep.found = 1;
        break;
    case 5:
        ev = fresh(l, EVENT_ACTIVATE);
        d.deferred = 1;
        ev->u.activate.decision = d;
        break;
    default: /* Another arm answered. */
        ev = fresh(l, EVENT_OUTCOME);
        ev->u.outcome.decision = d;
        ev->u.outcome.served_uid = r->arms[0]->uid;
        ev->u.outcome.metrics_n = 1;
        ev->u.outcome.metrics[0] = (struct outcome_metric){1, .25, .25};
        (void)snprintf(ev->u.outcome.source, NAME_CAP, "judge");
        break;
    }
    given_fold(&l->g);
}

/* How far the reading of a freeze is, and what it must come to. */
struct reading {
    struct freeze *freeze;
    struct buf wanted, got;
    uint64_t finished, changed; /* Freezes read; of these, while the model became another. */
};

static void reading_begin(struct reading *r, struct life *l)
{
    r->wanted = given_bytes(&l->g);
    buf_reset(&r->got);
    assert_int_equal(freeze_begin(l->g.model, &r->freeze), OK);
    struct freeze *second;
    assert_int_equal(freeze_begin(l->g.model, &second), ERR_EXISTS);
}

static void reading_end(struct reading *r, struct life *l)
{
    assert_int_equal(r->got.len, r->wanted.len);
    for (size_t i = 0; i < r->got.len; i++) {
        char where[128];
        if (r->got.data[i] == r->wanted.data[i])
            continue;
        model_describe_offset((struct slice){r->wanted.data, r->wanted.len}, i, where,
                              sizeof where);
        fail_msg("seed %d, step %d: %s", (int)l->seed, (int)l->step, where);
    }
    struct buf now = given_bytes(&l->g);
    r->changed += now.len != r->got.len || memcmp(now.data, r->got.data, now.len) != 0;
    r->finished++;
    buf_done(&now);
    buf_done(&r->wanted);
    freeze_end(r->freeze);
    r->freeze = NULL;
    assert_null(l->g.model->freeze);
    assert_null(l->g.router->frozen);
}

/* A few more bytes, at times all of them; or the model is let go first. */
static void reading_step(struct reading *r, struct life *l, uint64_t s)
{
    bool done;
    size_t more = rng_below(s, 1, 20) ? rng_below(s, 2, 20000) : SIZE_MAX / 2;
    if (rng_below(s, 3, 200) == 0)
        freeze_detach(r->freeze);
    assert_int_equal(freeze_next(r->freeze, r->got.len + more, &r->got, &done), OK);
    if (done)
        reading_end(r, l);
}

static void a_frozen_model_is_read_as_it_stood_whatever_is_folded_meanwhile(void **state)
{
    (void)state;
    struct life *l = malloc(sizeof *l);
    struct reading r = {.freeze = NULL};
    assert_non_null(l);
    for (uint64_t seed = 1; seed < 13; seed++) {
        life_open_as(l, seed, seed % 4 == 3 ? AGGREGATE_SUM : AGGREGATE_FIRST);
        for (uint64_t i = 0; i < EVENTS; i++) {
            uint64_t s = rng_mix(seed + 100, i);
            if (r.freeze && rng_below(s, 0, 4) == 0)
                reading_step(&r, l, s);
            else if (!r.freeze && rng_below(s, 0, 6) == 0)
                reading_begin(&r, l);
            if (rng_below(s, 4, 12) == 0)
                live_rare(l, s);
            life_step(l);
        }
        bool done = false;
        if (r.freeze) {
            assert_int_equal(freeze_next(r.freeze, SIZE_MAX, &r.got, &done), OK);
            assert_true(done);
            reading_end(&r, l);
        }
        given_close(&l->g);
    }
    assert_true(r.finished > 300);
    assert_true(r.changed > 290);
    buf_done(&r.got);
    free(l);
}

static void new_reports(struct life *l, uint64_t from, uint64_t n)
{
    const double z[MAX_METRICS] = {.5};
    for (uint64_t i = from; i < from + n; i++) {
        struct decision d = given_decision(&l->g, l->g.router->arms[0]->uid, i);
        given_report(&l->g, &d, 1, z, OUTCOME_OK);
    }
}

/* The oldest are gone, so that its ring begins in the middle: growing moves all the others. */
static void a_table_that_grows_is_read_as_it_stood(void **state)
{
    (void)state;
    struct life *l = malloc(sizeof *l);
    struct reading r = {.freeze = NULL};
    bool done;
    assert_non_null(l);
    life_open(l, 1);
    const struct dedup *t = &l->g.router->dedup;
    new_reports(l, 0, 200);
    l->g.now_us += INT64_C(400) * 86400 * 1000000;
    new_reports(l, 200, 150);
    assert_true(t->head > 0 && t->n == 150);
    uint64_t capacity = t->capacity;
    reading_begin(&r, l);
    new_reports(l, 350, 300);
    assert_true(t->capacity > capacity);
    assert_int_equal(freeze_next(r.freeze, SIZE_MAX, &r.got, &done), OK);
    assert_true(done);
    reading_end(&r, l);
    buf_done(&r.got);
    given_close(&l->g);
    free(l);
}

static void a_router_that_is_removed_is_read_as_it_stood(void **state)
{
    (void)state;
    struct life *l = malloc(sizeof *l);
    struct reading r = {.freeze = NULL};
    bool done;
    assert_non_null(l);
    life_open(l, 3);
    for (int i = 0; i < 500; i++)
        life_step(l);
    r.wanted = given_bytes(&l->g);
    assert_int_equal(freeze_begin(l->g.model, &r.freeze), OK);
    assert_int_equal(freeze_next(r.freeze, 3000, &r.got, &done), OK);
    assert_false(done);
    fresh(l, EVENT_ROUTER_REMOVE)->u.router_uid = l->g.router->uid;
    given_fold(&l->g);
    assert_int_equal(l->g.model->routers_n, 0);
    struct event *ev = fresh(l, EVENT_ROUTER_CREATE);
    given_config(&ev->u.router);
    given_fold(&l->g);
    l->g.router = l->g.model->routers[0];
    assert_int_equal(freeze_next(r.freeze, SIZE_MAX, &r.got, &done), OK);
    assert_true(done);
    reading_end(&r, l);
    buf_done(&r.got);
    given_close(&l->g);
    free(l);
}

/* Folding goes on; reading says that it is of no use. */
static void without_memory_a_freeze_says_so_and_folding_goes_on(void **state)
{
    (void)state;
    struct life *l = malloc(sizeof *l), *undisturbed = malloc(sizeof *undisturbed);
    struct freeze *f = NULL;
    bool done, failed = false;
    assert_non_null(l);
    assert_non_null(undisturbed);
    for (long n = 1; n < 40; n++) {
        life_open(l, 6);
        life_open(undisturbed, 6);
        for (int i = 0; i < 200; i++) {
            life_step(l);
            life_step(undisturbed);
        }
        mem_fail_nth(n);
        enum err e = freeze_begin(l->g.model, &f);
        if (e == OK) {
            struct decision d = l->decisions[0];
            double z[MAX_METRICS] = {.5};
            struct event *ev = fresh(l, EVENT_OUTCOME);
            ev->at_us = l->g.now_us;
            ev->u.outcome.decision = d;
            ev->u.outcome.metrics_n = 1;
            ev->u.outcome.metrics[0] = (struct outcome_metric){1, z[0], z[0]};
            freeze_before(f, ev);
            freeze_detach(f);
            struct buf out;
            buf_init(&out);
            e = freeze_next(f, SIZE_MAX, &out, &done);
            buf_done(&out);
            freeze_end(f);
        }
        mem_fail_nth(0);
        assert_true(e == OK || e == ERR_NOMEM);
        failed = failed || e == ERR_NOMEM;
        assert_null(l->g.model->freeze);
        for (int i = 0; i < 100; i++) {
            life_step(l);
            life_step(undisturbed);
        }
        struct buf a = given_bytes(&l->g), b = given_bytes(&undisturbed->g);
        assert_int_equal(a.len, b.len);
        assert_memory_equal(a.data, b.data, a.len);
        buf_done(&a);
        buf_done(&b);
        given_close(&l->g);
        given_close(&undisturbed->g);
    }
#ifdef SHUNT_FAULTS
    assert_true(failed);
#endif
    free(l);
    free(undisturbed);
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
    bool arm = false, reports = false;
    for (size_t i = 0; i < b.len; i += 50) {
        model_describe_offset((struct slice){b.data, b.len}, i, text, sizeof text);
        arm = arm || strstr(text, "arm 2 of ");
        reports = reports || strstr(text, "reports, byte ");
    }
    assert_true(arm && reports);
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
        cmocka_unit_test(a_frozen_model_is_read_as_it_stood_whatever_is_folded_meanwhile),
        cmocka_unit_test(a_table_that_grows_is_read_as_it_stood),
        cmocka_unit_test(a_router_that_is_removed_is_read_as_it_stood),
        cmocka_unit_test(without_memory_a_freeze_says_so_and_folding_goes_on),
        cmocka_unit_test(bytes_cut_anywhere_are_corrupt_and_say_where),
        cmocka_unit_test(flipped_bytes_are_refused_or_make_a_model_that_can_be_read),
        cmocka_unit_test(describe_offset_names_the_router_of_a_byte),
        cmocka_unit_test(the_checker_finds_a_wrong_inverse_a_lost_count_and_what_is_not_finite),
        cmocka_unit_test(what_cannot_be_left_of_evidence_does_not_decode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
