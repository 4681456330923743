/* What an arm knows, on its way from one router to another. */
#include "state/base/hash.h"
#include "state/math/packed.h"
#include "state/model/transfer.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/model/given.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LABELLED_D = 12 };

static void open_with(struct given *g, void (*set)(struct router_config *c))
{
    struct router_config c;
    given_config(&c);
    if (set)
        set(&c);
    given_open(g, &c);
}

static void teach(struct given *g, uint32_t arm, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        double z[MAX_METRICS];
        struct decision d = given_decision(g, arm, 100 + i);
        for (uint32_t m = 0; m < g->router->config.metrics_n; m++)
            z[m] = given_z(m, i);
        assert_int_equal(given_report(g, &d, i % 3 ? 0x1f : 0x05, z, OUTCOME_OK).err, OK);
    }
}

static struct buf exported(const struct given *g, uint32_t uid)
{
    struct buf b;
    buf_init(&b);
    transfer_encode(given_find(g, uid), &g->router->config, g->router->outcomes_folded, &b);
    assert_int_equal(buf_error(&b), OK);
    return b;
}

static struct fold_result import(struct given *g, const char *name, const struct buf *b,
                                 double strength)
{
    memset(&g->event, 0, sizeof g->event);
    g->event.kind = EVENT_ARM_ADD;
    g->event.u.arm.router_uid = g->router->uid;
    (void)snprintf(g->event.u.arm.config.name, NAME_CAP, "%s", name);
    g->event.u.arm.seed = (struct slice){b->data, b->len};
    g->event.u.arm.strength = strength;
    return given_fold(g);
}

/* The bytes after a change, with the checksum made good. */
static enum err decode_changed(struct buf *b, size_t at, const void *bytes, size_t len)
{
    struct transfer *t = NULL;
    struct err_detail detail = {""};
    uint8_t *copy = malloc(b->len);
    memcpy(copy, b->data, b->len);
    memcpy(copy + at, bytes, len);
    uint64_t sum = hash_bytes(copy, b->len - 8);
    memcpy(copy + b->len - 8, &sum, 8);
    enum err e = transfer_decode((struct slice){copy, b->len}, &t, &detail);
    assert_true(e == OK || detail.text[0]);
    if (e == OK)
        transfer_free(t);
    free(copy);
    return e;
}

static void it_has_one_byte_form(void **state)
{
    (void)state;
    struct given g;
    struct transfer *t;
    open_with(&g, NULL);
    uint32_t arm = given_arm(&g, "a");
    teach(&g, arm, 40);
    struct buf b = exported(&g, arm), again;
    assert_int_equal(transfer_decode((struct slice){b.data, b.len}, &t, NULL), OK);
    assert_string_equal(t->arm->config.name, "a");
    assert_int_equal(t->arm->version, 1);
    buf_init(&again);
    transfer_encode(t->arm, &t->from, t->arm->clock, &again);
    assert_int_equal(again.len, b.len);
    assert_memory_equal(again.data, b.data, b.len);
    transfer_free(t);
    buf_done(&again);
    buf_done(&b);
    given_close(&g);
}

/* One arm alone: the slopes that all arms share are its own, in both routers. What differs is that
 * online each outcome was centred on the mean until then, and here on the mean of all. */
static void it_predicts_elsewhere_what_it_predicted(void **state)
{
    (void)state;
    struct given from, to;
    open_with(&from, NULL);
    open_with(&to, NULL);
    uint32_t arm = given_arm(&from, "a");
    teach(&from, arm, 200);
    struct buf b = exported(&from, arm);
    struct fold_result r = import(&to, "b", &b, 0);
    assert_int_equal(r.err, OK);
    for (uint64_t i = 0; i < 20; i++) {
        double x[GIVEN_D] = {1};
        for (uint32_t k = 1; k < GIVEN_D; k++)
            x[k] = given_z(50 + k, i) - .5;
        for (uint32_t m = 0; m < 5; m++) {
            double there = given_predict(&from, arm, m, x), here = given_predict(&to, r.uid, m, x);
            /* Served metrics share nothing: only P, formed anew, is between them. */
            double room = from.router->config.metrics[m].group == METRIC_SERVED ? 1e-12 : .01;
            assert_true(fabs(there - here) < room);
        }
    }
    assert_true(given_find(&to, r.uid)->groups[METRIC_RATED].evidence == 200);
    assert_int_equal(given_find(&to, r.uid)->answered, 0);
    buf_done(&b);
    given_close(&from);
    given_close(&to);
}

static void folding_an_import_again_gives_the_same_bytes(void **state)
{
    (void)state;
    struct given from;
    struct buf bytes[2];
    open_with(&from, NULL);
    uint32_t arm = given_arm(&from, "a");
    teach(&from, arm, 60);
    struct buf b = exported(&from, arm);
    for (int i = 0; i < 2; i++) {
        struct given to;
        open_with(&to, NULL);
        teach(&to, given_arm(&to, "old"), 10);
        struct fold_result r = import(&to, "a", &b, 12);
        assert_int_equal(r.err, OK);
        teach(&to, r.uid, 10);
        bytes[i] = given_bytes(&to);
        struct err_detail detail = {""};
        assert_int_equal(model_check(to.model, &detail), OK);
        given_close(&to);
    }
    assert_int_equal(bytes[0].len, bytes[1].len);
    assert_memory_equal(bytes[0].data, bytes[1].data, bytes[0].len);
    buf_done(&bytes[0]);
    buf_done(&bytes[1]);
    buf_done(&b);
    given_close(&from);
}

static void a_strength_bounds_what_it_is_worth(void **state)
{
    (void)state;
    struct given from, to;
    open_with(&from, NULL);
    open_with(&to, NULL);
    uint32_t arm = given_arm(&from, "a");
    teach(&from, arm, 60);
    struct buf b = exported(&from, arm);
    struct fold_result weak = import(&to, "weak", &b, 5), whole = import(&to, "whole", &b, 1000);
    const struct arm *w = given_find(&to, weak.uid), *all = given_find(&to, whole.uid);
    assert_true(fabs(w->groups[METRIC_RATED].evidence - 5) < 1e-9);
    assert_true(all->groups[METRIC_RATED].evidence == 60);
    /* The mean is the same, and less is thought of it. */
    assert_true(fabs(w->metrics[2].recent.sum_raw / w->metrics[2].recent.n -
                     all->metrics[2].recent.sum_raw / all->metrics[2].recent.n) < 1e-9);
    assert_true(w->groups[METRIC_RATED].P[0] > all->groups[METRIC_RATED].P[0]);
    /* Both enter what all arms share. */
    assert_true(fabs(to.router->pooled->matrix.evidence - 65) < 1e-9);
    buf_done(&b);
    given_close(&from);
    given_close(&to);
}

static void an_export_changes_nothing_and_fades_as_the_arm_does(void **state)
{
    (void)state;
    struct given g;
    struct transfer *t;
    struct router_config c;
    given_config(&c);
    c.settings.gamma = .9;
    given_open(&g, &c);
    uint32_t a = given_arm(&g, "a"), b = given_arm(&g, "b");
    teach(&g, a, 10);
    teach(&g, b, 10);
    struct buf before = given_bytes(&g), file = exported(&g, a), after = given_bytes(&g);
    assert_int_equal(before.len, after.len);
    assert_memory_equal(before.data, after.data, before.len);
    assert_int_equal(transfer_decode((struct slice){file.data, file.len}, &t, NULL), OK);
    /* 10 of 20 ticks were its own: 1 + .9 + ... + .9^9, times .9^10. */
    double worth = (1 - pow(.9, 10)) / .1 * pow(.9, 10);
    assert_true(fabs(t->arm->groups[METRIC_RATED].evidence - worth) < 1e-9);
    assert_int_equal(import(&g, "again", &file, 0).err, OK);
    transfer_free(t);
    buf_done(&before);
    buf_done(&after);
    buf_done(&file);
    given_close(&g);
}

/* ---- another layout ---- */

static void labelled(struct router_config *c, const char *const *tasks, uint32_t n)
{
    given_config(c);
    c->spec = (struct feature_spec){.version = 1, .task_slots = 4, .features_n = 7};
    c->tasks_n = n;
    for (uint32_t i = 0; i < n; i++)
        (void)snprintf(c->tasks[i], NAME_CAP, "%s", tasks[i]);
}

/* x of a task slot. */
static void task_x(double *x, int slot)
{
    memset(x, 0, LABELLED_D * sizeof *x);
    x[0] = 1;
    x[1 + slot] = 1;
}

static void teach_task(struct given *g, uint32_t arm, int slot, double z)
{
    double values[MAX_METRICS] = {z, z, z, z, z};
    for (uint64_t i = 0; i < 30; i++) {
        struct decision d = given_decision(g, arm, i);
        double x[LABELLED_D];
        task_x(x, slot);
        d.d = LABELLED_D;
        for (int k = 0; k < LABELLED_D; k++)
            d.x[k] = (float)x[k];
        assert_int_equal(given_report(g, &d, 0x1f, values, OUTCOME_OK).err, OK);
    }
}

static void labels_move_to_the_slots_of_the_other_router(void **state)
{
    (void)state;
    static const char *const here[] = {"math", "code"}, *const there[] = {"chat", "code", "math"};
    struct given from, to;
    struct router_config c;
    labelled(&c, here, 2);
    given_open(&from, &c);
    labelled(&c, there, 3);
    given_open(&to, &c);
    uint32_t arm = given_arm(&from, "a");
    teach_task(&from, arm, 0, .9);
    teach_task(&from, arm, 1, .1);
    teach_task(&from, arm, 3, .5); /* `other` */
    struct buf b = exported(&from, arm);
    struct fold_result r = import(&to, "a", &b, 0);
    assert_int_equal(r.err, OK);
    assert_int_equal(to.router->config.tasks_n, 3);
    static const int slots[][2] = {{0, 2}, {1, 1}, {3, 3}};
    for (int i = 0; i < 3; i++) {
        double x[LABELLED_D], y[LABELLED_D];
        task_x(x, slots[i][0]);
        task_x(y, slots[i][1]);
        double before = given_predict(&from, arm, 2, x), after = given_predict(&to, r.uid, 2, y);
        assert_true(fabs(before - after) < 1e-9);
    }
    buf_done(&b);
    given_close(&from);
    given_close(&to);
}

static void labels_that_the_router_lacks_come_with_the_arm(void **state)
{
    (void)state;
    static const char *const here[] = {"math", "code"}, *const there[] = {"chat", "code"};
    struct given from, to;
    struct router_config c;
    labelled(&c, here, 2);
    given_open(&from, &c);
    labelled(&c, there, 2);
    given_open(&to, &c);
    uint32_t arm = given_arm(&from, "a");
    teach_task(&from, arm, 0, .9);
    struct buf b = exported(&from, arm);
    struct fold_result r = import(&to, "a", &b, 0);
    assert_int_equal(r.err, OK);
    assert_int_equal(to.router->config.tasks_n, 3);
    assert_string_equal(to.router->config.tasks[2], "math");
    double x[LABELLED_D], y[LABELLED_D];
    task_x(x, 0);
    task_x(y, 2);
    assert_true(fabs(given_predict(&from, arm, 2, x) - given_predict(&to, r.uid, 2, y)) < 1e-9);
    buf_done(&b);
    given_close(&from);
    given_close(&to);
}

static void labels_without_a_slot_refuse_the_arm_and_leave_none_behind(void **state)
{
    (void)state;
    static const char *const here[] = {"math", "code"}, *const there[] = {"chat", "prose"};
    struct given from, to;
    struct router_config c;
    struct transfer *t;
    struct err_detail detail = {""};
    labelled(&c, here, 2); /* Of 4 slots one is kept: there is room for one of the two. */
    given_open(&from, &c);
    labelled(&c, there, 2);
    given_open(&to, &c);
    struct buf b = exported(&from, given_arm(&from, "a"));
    assert_int_equal(import(&to, "a", &b, 0).err, ERR_LIMIT);
    assert_int_equal(to.router->config.tasks_n, 2);
    assert_int_equal(to.router->arms_n, 0);
    assert_int_equal(transfer_decode((struct slice){b.data, b.len}, &t, NULL), OK);
    assert_int_equal(transfer_check(t, &to.router->config, &detail), ERR_LIMIT);
    assert_non_null(strstr(detail.text, "`code`"));
    transfer_free(t);
    buf_done(&b);
    given_close(&from);
    given_close(&to);
}

static void other_spec(struct router_config *c)
{
    c->spec.features_n = 6;
}
static void other_metrics(struct router_config *c)
{
    c->metrics[2].norm_high = 7;
}
static void other_ridges(struct router_config *c)
{
    c->settings.ridge[METRIC_SERVED][1] = 3;
}
static void other_weights(struct router_config *c)
{
    c->metrics[2].weight = 9;
}

static void another_spec_or_table_is_refused_with_both_hashes(void **state)
{
    (void)state;
    struct given from;
    open_with(&from, NULL);
    uint32_t arm = given_arm(&from, "a");
    teach(&from, arm, 5);
    struct buf b = exported(&from, arm);
    void (*const others[])(struct router_config *) = {other_spec, other_metrics, other_ridges};
    for (size_t i = 0; i < 3; i++) {
        struct given to;
        struct transfer *t;
        struct err_detail detail = {""};
        char ours[24], theirs[24];
        open_with(&to, others[i]);
        assert_int_equal(import(&to, "a", &b, 0).err, ERR_SPEC_MISMATCH);
        assert_int_equal(to.router->arms_n, 0);
        assert_int_equal(transfer_decode((struct slice){b.data, b.len}, &t, NULL), OK);
        assert_int_equal(transfer_check(t, &to.router->config, &detail), ERR_SPEC_MISMATCH);
        uint64_t a = i == 0 ? spec_hash(&t->from.spec) : transfer_metrics_hash(&t->from);
        uint64_t z =
            i == 0 ? spec_hash(&to.router->config.spec) : transfer_metrics_hash(&to.router->config);
        (void)snprintf(theirs, sizeof theirs, "%016llx", (unsigned long long)a);
        (void)snprintf(ours, sizeof ours, "%016llx", (unsigned long long)z);
        assert_true(i == 2 || (strstr(detail.text, ours) && strstr(detail.text, theirs)));
        transfer_free(t);
        given_close(&to);
    }
    struct given to;
    open_with(&to, other_weights);
    assert_int_equal(import(&to, "a", &b, 0).err, OK);
    given_close(&to);
    buf_done(&b);
    given_close(&from);
}

/* ---- bytes that are no statistics ---- */

static void damaged_bytes_are_refused(void **state)
{
    (void)state;
    struct given g;
    struct transfer *t;
    open_with(&g, NULL);
    uint32_t arm = given_arm(&g, "a");
    teach(&g, arm, 20);
    struct buf b = exported(&g, arm);
    for (size_t i = 0; i < b.len; i++) {
        b.data[i] ^= 0x10;
        assert_int_equal(transfer_decode((struct slice){b.data, b.len}, &t, NULL), ERR_CORRUPT);
        b.data[i] ^= 0x10;
        assert_int_equal(transfer_decode((struct slice){b.data, i}, &t, NULL), ERR_CORRUPT);
    }
    /* With a checksum that agrees: A's last element, the bias of A, what a number must not be. */
    const size_t vectors = 5 * (4 * 8 + 1 + GIVEN_D * 8), served = packed_n(GIVEN_D) * 8;
    const size_t last = b.len - 8 - vectors - 8, first = last + 8 - served;
    const double nan = (double)NAN, huge = 1e300, negative = -1, larger = 900;
    assert_int_equal(decode_changed(&b, first, &larger, 8), OK);
    assert_int_equal(decode_changed(&b, first, &nan, 8), ERR_CORRUPT);
    assert_int_equal(decode_changed(&b, first, &huge, 8), ERR_CORRUPT);
    assert_int_equal(decode_changed(&b, first, &negative, 8), ERR_CORRUPT);
    assert_int_equal(decode_changed(&b, last, &negative, 8), ERR_CORRUPT);
    assert_int_equal(decode_changed(&b, first - 16, &negative, 8), ERR_CORRUPT); /* Evidence. */
    assert_int_equal(decode_changed(&b, b.len - 16, &nan, 8), ERR_CORRUPT);      /* b */
    struct slice large = {b.data, (size_t)TRANSFER_BYTES_MAX + 1};
    assert_int_equal(transfer_decode(large, &t, NULL), ERR_TOO_LARGE); /* Before it is looked at. */
    buf_done(&b);
    given_close(&g);
}

static void an_update_does_not_move_what_was_imported(void **state)
{
    (void)state;
    struct given from, to;
    open_with(&from, NULL);
    open_with(&to, NULL);
    uint32_t arm = given_arm(&from, "a");
    teach(&from, arm, 30);
    struct buf b = exported(&from, arm);
    struct fold_result r = import(&to, "a", &b, 0);
    double x[GIVEN_D] = {1, .5};
    double before = given_predict(&to, r.uid, 2, x);
    memset(&to.event, 0, sizeof to.event);
    to.event.kind = EVENT_ARM_UPDATE;
    to.event.u.arm.router_uid = to.router->uid;
    (void)snprintf(to.event.u.arm.config.name, NAME_CAP, "a");
    to.event.u.arm.config.prior_mask = 1u << 2;
    to.event.u.arm.config.prior_z[2] = .9;
    assert_int_equal(given_fold(&to).err, OK);
    assert_true(given_predict(&to, r.uid, 2, x) == before);
    buf_done(&b);
    given_close(&from);
    given_close(&to);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_has_one_byte_form),
        cmocka_unit_test(it_predicts_elsewhere_what_it_predicted),
        cmocka_unit_test(folding_an_import_again_gives_the_same_bytes),
        cmocka_unit_test(a_strength_bounds_what_it_is_worth),
        cmocka_unit_test(an_export_changes_nothing_and_fades_as_the_arm_does),
        cmocka_unit_test(labels_move_to_the_slots_of_the_other_router),
        cmocka_unit_test(labels_that_the_router_lacks_come_with_the_arm),
        cmocka_unit_test(labels_without_a_slot_refuse_the_arm_and_leave_none_behind),
        cmocka_unit_test(another_spec_or_table_is_refused_with_both_hashes),
        cmocka_unit_test(damaged_bytes_are_refused),
        cmocka_unit_test(an_update_does_not_move_what_was_imported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
