#include "state/base/rng.h"
#include "state/math/packed.h"
#include "state/model/snapshot.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/model/given.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int64_t second_us = 1000000;
static const double all[MAX_METRICS] = {.75, .5, .25, .125, .5};

static struct event *next_event(struct given *g, enum event_kind kind)
{
    memset(&g->event, 0, sizeof g->event);
    g->event.kind = kind;
    return &g->event;
}

static void open_with(struct given *g, void (*set)(struct router_config *c))
{
    struct router_config c;
    given_config(&c);
    if (set)
        set(&c);
    given_open(g, &c);
}

static void assert_unchanged(const struct given *g, struct buf *before)
{
    struct buf now = given_bytes(g);
    /* Position and clock of the last event stand at byte 8 and 16 and do move; a refused outcome
     * is counted at 32. */
    memcpy(now.data + 8, before->data + 8, 16);
    memcpy(now.data + 32, before->data + 32, 8);
    assert_int_equal(now.len, before->len);
    assert_memory_equal(now.data, before->data, now.len);
    buf_done(&now);
    buf_done(before);
}

/* ---- outcomes that must count once, or not at all ---- */

static void a_duplicate_changes_nothing(void **state)
{
    (void)state;
    struct given g;
    open_with(&g, NULL);
    uint32_t arm = given_arm(&g, "a");
    struct decision d = given_decision(&g, arm, 1);
    assert_int_equal(given_report(&g, &d, 0x07, all, OUTCOME_OK).counted_mask, 0x07);
    double other[MAX_METRICS] = {0, 1, 1};
    for (int i = 0; i < 3; i++) {
        struct buf before = given_bytes(&g);
        struct fold_result r =
            given_report(&g, &d, 0x07, i ? other : all, i == 2 ? OUTCOME_ERROR : OUTCOME_OK);
        assert_int_equal(r.err, OK);
        assert_true(r.duplicate);
        assert_int_equal(r.counted_mask, 0);
        assert_unchanged(&g, &before);
    }
    struct buf before = given_bytes(&g);
    assert_true(given_report(&g, &d, 0, all, OUTCOME_ERROR).duplicate); /* A status alone. */
    assert_unchanged(&g, &before);
    given_close(&g);
}

static void a_later_report_counts_only_what_is_new_in_it(void **state)
{
    (void)state;
    struct given g;
    open_with(&g, NULL);
    uint32_t arm = given_arm(&g, "a");
    struct decision d = given_decision(&g, arm, 1);
    given_report(&g, &d, 0x01, all, OUTCOME_OK);
    struct fold_result r = given_report(&g, &d, 0x07, all, OUTCOME_OK);
    assert_false(r.duplicate);
    assert_int_equal(r.counted_mask, 0x06);
    const struct arm *a = given_find(&g, arm);
    assert_int_equal(a->answered, 1);
    assert_int_equal(g.router->outcomes_folded, 1);
    assert_int_equal(a->groups[METRIC_RATED].n, 1);
    assert_int_equal(a->groups[METRIC_SERVED].n, 1);
    assert_int_equal(a->metrics[0].n, 1);
    assert_int_equal(a->metrics[1].n, 1);
    assert_true(a->metrics[0].sum_raw == 7.5);
    given_close(&g);
}

static void what_cannot_be_placed_is_refused_and_changes_nothing(void **state)
{
    (void)state;
    struct given g;
    open_with(&g, NULL);
    uint32_t arm = given_arm(&g, "a");
    struct decision ok = given_decision(&g, arm, 1);
    given_report(&g, &ok, 0x07, all, OUTCOME_OK);

    struct decision d = given_decision(&g, arm, 2);
    struct buf before = given_bytes(&g);
    d.router_uid = 99;
    assert_int_equal(given_report(&g, &d, 1, all, OUTCOME_OK).err, ERR_DECISION_NOT_FOUND);
    assert_unchanged(&g, &before);

    d = given_decision(&g, arm, 3);
    before = given_bytes(&g);
    d.spec_hash ^= 1;
    assert_int_equal(given_report(&g, &d, 1, all, OUTCOME_OK).err, ERR_SPEC_MISMATCH);
    assert_unchanged(&g, &before);

    d = given_decision(&g, arm, 4);
    before = given_bytes(&g);
    d.d = 3; /* Shorter than the statistics. */
    assert_int_equal(given_report(&g, &d, 1, all, OUTCOME_OK).err, ERR_SPEC_MISMATCH);
    assert_unchanged(&g, &before);

    d = given_decision(&g, arm, 5);
    before = given_bytes(&g);
    assert_int_equal(given_report(&g, &d, 1 << 5, all, OUTCOME_OK).err, ERR_METRIC_NOT_FOUND);
    assert_unchanged(&g, &before);
    assert_int_equal(g.model->ignored, 4);
    given_close(&g);
}

static void an_outcome_is_taken_until_reward_wait_is_over_and_not_after(void **state)
{
    (void)state;
    struct given g;
    open_with(&g, NULL);
    uint32_t arm = given_arm(&g, "a");
    struct decision a = given_decision(&g, arm, 1), b = given_decision(&g, arm, 2);
    int64_t wait_us = (int64_t)g.router->config.settings.reward_wait_s * second_us;
    g.now_us +=
        wait_us - second_us; /* The event itself comes a second later: exactly at the end. */
    assert_int_equal(given_report(&g, &a, 1, all, OUTCOME_OK).err, OK);
    struct buf before = given_bytes(&g);
    assert_int_equal(given_report(&g, &b, 1, all, OUTCOME_OK).err, ERR_DECISION_LATE);
    assert_unchanged(&g, &before);
    /* What was counted is still known as such; what was not, is too late as well. */
    assert_true(given_report(&g, &a, 1, all, OUTCOME_OK).duplicate);
    assert_int_equal(given_report(&g, &a, 2, all, OUTCOME_OK).err, ERR_DECISION_LATE);
    given_close(&g);
}

static void set_short_wait(struct router_config *c)
{
    c->settings.reward_wait_s = 10;
}

static void a_longer_reward_wait_does_not_bring_forgotten_outcomes_back(void **state)
{
    (void)state;
    struct given g;
    open_with(&g, set_short_wait);
    uint32_t arm = given_arm(&g, "a");
    struct decision old = given_decision(&g, arm, 1);
    given_report(&g, &old, 1, all, OUTCOME_OK);
    g.now_us += 2 * 86400 * second_us;
    struct decision d = given_decision(&g, arm, 2);
    given_report(&g, &d, 1, all, OUTCOME_OK); /* The first entry's time is over: it goes. */
    assert_int_equal(g.router->dedup.n, 1);
    struct event *ev = next_event(&g, EVENT_ROUTER_UPDATE);
    ev->u.update.router_uid = g.router->uid;
    ev->u.update.settings = g.router->config.settings;
    ev->u.update.settings.reward_wait_s = 30 * 86400;
    assert_int_equal(given_fold(&g).err, OK);
    assert_int_equal(given_report(&g, &old, 1, all, OUTCOME_OK).err, ERR_DECISION_LATE);
    assert_int_equal(given_find(&g, arm)->answered, 2);
    given_close(&g);
}

static void a_clock_far_ahead_does_not_make_everything_after_it_late(void **state)
{
    (void)state;
    struct given g;
    open_with(&g, set_short_wait);
    uint32_t arm = given_arm(&g, "a");
    struct decision wrong = given_decision(&g, arm, 1);
    wrong.issued_us += 3650LL * 86400 * second_us;
    given_report(&g, &wrong, 1, all, OUTCOME_OK);
    g.now_us += 2 * 86400 * second_us;
    for (uint64_t k = 0; k < 3; k++) {
        struct decision d = given_decision(&g, arm, k);
        assert_int_equal(given_report(&g, &d, 1, all, OUTCOME_OK).err, OK);
    }
    given_close(&g);
}

static void set_small_dedup(struct router_config *c)
{
    c->settings.dedup_max = 1000;
}

static void a_full_table_forgets_the_oldest_and_refuses_it_from_then_on(void **state)
{
    (void)state;
    struct given g;
    open_with(&g, set_small_dedup);
    uint32_t arm = given_arm(&g, "a");
    struct decision *d = calloc(1010, sizeof *d);
    assert_non_null(d);
    for (uint64_t k = 0; k < 1010; k++) {
        d[k] = given_decision(&g, arm, k);
        assert_int_equal(given_report(&g, &d[k], 1, all, OUTCOME_OK).err, OK);
    }
    assert_int_equal(g.router->dedup.n, 1000);
    assert_int_equal(g.router->late_before_us, d[9].issued_us + 1);
    for (uint64_t k = 0; k < 10; k++) {
        struct buf before = given_bytes(&g);
        assert_int_equal(given_report(&g, &d[k], 1, all, OUTCOME_OK).err, ERR_DECISION_LATE);
        assert_unchanged(&g, &before);
    }
    assert_true(given_report(&g, &d[10], 1, all, OUTCOME_OK).duplicate);
    assert_int_equal(given_find(&g, arm)->answered, 1010);
    free(d);
    given_close(&g);
}

static void a_table_made_smaller_refuses_what_it_had_to_forget(void **state)
{
    (void)state;
    struct given g;
    open_with(&g, NULL);
    uint32_t arm = given_arm(&g, "a");
    struct decision *d = calloc(1200, sizeof *d);
    assert_non_null(d);
    for (uint64_t k = 0; k < 1200; k++) {
        d[k] = given_decision(&g, arm, k);
        given_report(&g, &d[k], 1, all, OUTCOME_OK);
    }
    struct event *ev = next_event(&g, EVENT_ROUTER_UPDATE);
    ev->u.update.router_uid = g.router->uid;
    ev->u.update.settings = g.router->config.settings;
    ev->u.update.settings.dedup_max = 1000;
    given_fold(&g);
    assert_int_equal(g.router->dedup.n, 1000);
    assert_int_equal(given_report(&g, &d[199], 1, all, OUTCOME_OK).err, ERR_DECISION_LATE);
    assert_true(given_report(&g, &d[200], 1, all, OUTCOME_OK).duplicate);
    free(d);
    given_close(&g);
}

/* ---- arms ---- */

static void remove_arm(struct given *g, uint32_t uid)
{
    struct event *ev = next_event(g, EVENT_ARM_REMOVE);
    ev->u.state = (struct event_arm_state){g->router->uid, uid, false, false};
    assert_int_equal(given_fold(g).err, OK);
}

static void an_outcome_of_a_removed_arm_is_orphaned_and_brings_nothing_back(void **state)
{
    (void)state;
    struct given g;
    open_with(&g, NULL);
    uint32_t first = given_arm(&g, "a");
    struct decision d = given_decision(&g, first, 1), e = given_decision(&g, first, 2);
    given_report(&g, &e, 1, all, OUTCOME_OK);
    remove_arm(&g, first);
    struct fold_result r = given_report(&g, &d, 3, all, OUTCOME_ERROR);
    assert_int_equal(r.err, OK);
    assert_true(r.orphaned);
    assert_int_equal(g.router->orphaned, 1);
    assert_int_equal(g.router->arms_n, 0);
    assert_true(given_report(&g, &d, 3, all, OUTCOME_OK).duplicate);
    assert_true(given_report(&g, &e, 2, all, OUTCOME_OK).orphaned); /* Known before the removal. */
    assert_int_equal(g.router->orphaned, 1);

    uint32_t second = given_arm(&g, "a");
    const struct arm *a = given_find(&g, second);
    assert_int_not_equal(second, first);
    assert_int_equal(a->version, 2);
    assert_int_equal(a->answered, 0);
    assert_int_equal(a->groups[0].n, 0);
    assert_int_equal(a->metrics[0].n, 0);
    for (uint32_t i = 0; i < GIVEN_D; i++)
        assert_true(a->metrics[0].b[i] == 0);
    struct decision late = given_decision(&g, first, 3);
    assert_true(given_report(&g, &late, 1, all, OUTCOME_OK).orphaned);
    assert_int_equal(given_find(&g, second)->answered, 0);
    remove_arm(&g, second);
    assert_int_equal(given_find(&g, given_arm(&g, "a"))->version, 3);
    given_close(&g);
}

static void arms_and_routers_that_exist_or_do_not_are_refused(void **state)
{
    (void)state;
    struct given g;
    open_with(&g, NULL);
    uint32_t arm = given_arm(&g, "a");
    struct event *ev = next_event(&g, EVENT_ARM_ADD);
    ev->u.arm.router_uid = g.router->uid;
    strcpy(ev->u.arm.config.name, "a");
    assert_int_equal(given_fold(&g).err, ERR_ARM_EXISTS);
    ev->kind = EVENT_ARM_UPDATE;
    strcpy(ev->u.arm.config.name, "b");
    assert_int_equal(given_fold(&g).err, ERR_ARM_NOT_FOUND);
    ev->u.arm.router_uid = 77;
    assert_int_equal(given_fold(&g).err, ERR_ROUTER_NOT_FOUND);
    ev->kind = EVENT_ARM_ADD;
    assert_int_equal(given_fold(&g).err, ERR_ROUTER_NOT_FOUND);
    ev = next_event(&g, EVENT_ARM_STATE);
    ev->u.state = (struct event_arm_state){g.router->uid, arm + 50, true, false};
    assert_int_equal(given_fold(&g).err, ERR_ARM_NOT_FOUND);
    ev->u.state.router_uid = 77;
    assert_int_equal(given_fold(&g).err, ERR_ROUTER_NOT_FOUND);
    ev->u.state = (struct event_arm_state){g.router->uid, arm, true, false};
    assert_int_equal(given_fold(&g).err, OK);
    assert_true(given_find(&g, arm)->paused);
    ev = next_event(&g, EVENT_ROUTER_CREATE);
    given_config(&ev->u.router);
    assert_int_equal(given_fold(&g).err, ERR_ROUTER_EXISTS);
    ev = next_event(&g, EVENT_ROUTER_REMOVE);
    ev->u.router_uid = 77;
    assert_int_equal(given_fold(&g).err, ERR_ROUTER_NOT_FOUND);
    ev->u.router_uid = g.router->uid;
    assert_int_equal(given_fold(&g).err, OK);
    assert_int_equal(g.model->routers_n, 0);
    given_close(&g);
}

static void a_uid_is_never_given_twice(void **state)
{
    (void)state;
    struct given g;
    open_with(&g, NULL);
    uint32_t last = g.router->uid;
    for (int i = 0; i < 20; i++) {
        uint32_t uid = given_arm(&g, "a");
        assert_true(uid > last);
        last = uid;
        remove_arm(&g, uid);
    }
    given_close(&g);
}

/* ---- cooldown ---- */

static void set_cooldown(struct router_config *c)
{
    c->settings.cooldown_failures = 3;
    c->settings.cooldown_window = 5;
    c->settings.cooldown_s = 100;
}

static void answer(struct given *g, uint32_t arm, enum outcome_status status, enum reason reason)
{
    struct decision d = given_decision(g, arm, g->ids);
    d.reason = (uint8_t)reason;
    given_report(g, &d, 0, all, status);
}

static int64_t cooling_s(const struct given *g, uint32_t arm)
{
    int64_t until = given_find(g, arm)->cooldown_until_us;
    return until ? (until - g->now_us) / second_us : 0;
}

static void cooldown_starts_with_the_third_failure_among_five_answers(void **state)
{
    (void)state;
    struct given g;
    open_with(&g, set_cooldown);
    uint32_t arm = given_arm(&g, "a");
    for (int round = 0; round < 4; round++) { /* Two failures in any five are borne. */
        answer(&g, arm, OUTCOME_ERROR, REASON_EXPLOIT);
        answer(&g, arm, OUTCOME_TIMEOUT, REASON_EXPLOIT);
        for (int i = 0; i < 3; i++)
            answer(&g, arm, i ? OUTCOME_OK : OUTCOME_REFUSED, REASON_EXPLOIT);
        assert_int_equal(cooling_s(&g, arm), 0);
    }
    answer(&g, arm, OUTCOME_ERROR, REASON_EXPLOIT);
    answer(&g, arm, OUTCOME_OK, REASON_EXPLOIT);
    answer(&g, arm, OUTCOME_ERROR, REASON_EXPLOIT);
    assert_int_equal(cooling_s(&g, arm), 0);
    answer(&g, arm, OUTCOME_TIMEOUT, REASON_EXPLOIT);
    assert_int_equal(cooling_s(&g, arm), 100);
    assert_int_equal(given_find(&g, arm)->cooldowns, 1);
    assert_int_equal(given_find(&g, arm)->failures, 11);
    given_close(&g);
}

static void only_a_probe_ends_a_cooldown_and_failed_probes_double_it_to_sixteen_times(void **state)
{
    (void)state;
    struct given g;
    open_with(&g, set_cooldown);
    uint32_t arm = given_arm(&g, "a");
    for (int i = 0; i < 3; i++)
        answer(&g, arm, OUTCOME_ERROR, REASON_EXPLOIT);
    int64_t until = given_find(&g, arm)->cooldown_until_us;
    for (int i = 0; i < 10; i++) /* Sent before it began. */
        answer(&g, arm, i % 2 ? OUTCOME_OK : OUTCOME_ERROR, REASON_EXPLOIT);
    assert_int_equal(given_find(&g, arm)->cooldown_until_us, until);
    static const int64_t doubled[] = {200, 400, 800, 1600, 1600, 1600};
    for (size_t i = 0; i < sizeof doubled / sizeof *doubled; i++) {
        answer(&g, arm, OUTCOME_ERROR, i % 2 ? REASON_ALL_COOLING : REASON_COOLDOWN_PROBE);
        assert_int_equal(cooling_s(&g, arm), doubled[i]);
    }
    answer(&g, arm, OUTCOME_OK, REASON_COOLDOWN_PROBE);
    assert_int_equal(cooling_s(&g, arm), 0);
    assert_int_equal(given_find(&g, arm)->cooldown_level, 0);
    answer(&g, arm, OUTCOME_ERROR, REASON_EXPLOIT); /* It starts with a clean slate... */
    answer(&g, arm, OUTCOME_ERROR, REASON_EXPLOIT);
    assert_int_equal(cooling_s(&g, arm), 0);
    answer(&g, arm, OUTCOME_ERROR, REASON_EXPLOIT); /* ...and at the first length. */
    assert_int_equal(cooling_s(&g, arm), 100);
    assert_int_equal(given_find(&g, arm)->cooldowns, 2);
    given_close(&g);
}

static void set_no_cooldown(struct router_config *c)
{
    c->settings.cooldown_failures = 0;
}

static void without_cooldown_failures_an_arm_never_cools(void **state)
{
    (void)state;
    struct given g;
    open_with(&g, set_no_cooldown);
    uint32_t arm = given_arm(&g, "a");
    for (int i = 0; i < 100; i++)
        answer(&g, arm, OUTCOME_ERROR, REASON_EXPLOIT);
    assert_int_equal(cooling_s(&g, arm), 0);
    assert_int_equal(given_find(&g, arm)->failures, 100);
    given_close(&g);
}

/* ---- router, labels, keys, tallies ---- */

static void an_update_moves_settings_and_weights_but_never_the_ridge(void **state)
{
    (void)state;
    struct given g;
    open_with(&g, NULL);
    uint32_t arm = given_arm(&g, "a");
    struct decision d = given_decision(&g, arm, 1);
    given_report(&g, &d, 7, all, OUTCOME_OK);
    struct event *ev = next_event(&g, EVENT_ROUTER_UPDATE);
    ev->u.update.router_uid = g.router->uid;
    ev->u.update.settings = g.router->config.settings;
    ev->u.update.settings.alpha = 9;
    ev->u.update.settings.ridge[METRIC_RATED][1] = 5555;
    ev->u.update.metrics_n = 5;
    ev->u.update.weights[1] = 3;
    assert_int_equal(given_fold(&g).err, OK);
    assert_true(g.router->config.settings.alpha == 9);
    assert_true(g.router->config.settings.ridge[METRIC_RATED][1] == 2);
    assert_true(g.router->config.metrics[0].weight == 0);
    assert_true(g.router->config.metrics[1].weight == 3);
    assert_int_equal(given_find(&g, arm)->answered, 1);
    struct err_detail detail;
    assert_int_equal(model_check(g.model, &detail), OK);
    given_close(&g);
}

static void update_policy(struct given *g, const char *policy, double epsilon, const char *arm)
{
    struct event *ev = next_event(g, EVENT_ROUTER_UPDATE);
    ev->u.update.router_uid = g->router->uid;
    ev->u.update.settings = g->router->config.settings;
    snprintf(ev->u.update.settings.policy, NAME_CAP, "%s", policy);
    snprintf(ev->u.update.settings.fixed_arm, NAME_CAP, "%s", arm);
    ev->u.update.settings.epsilon = epsilon;
    ev->u.update.metrics_n = g->router->config.metrics_n;
    for (uint32_t m = 0; m < ev->u.update.metrics_n; m++)
        ev->u.update.weights[m] = g->router->config.metrics[m].weight;
    assert_int_equal(given_fold(g).err, OK);
}

static void a_change_of_policy_and_back_leaves_every_learned_byte(void **state)
{
    (void)state;
    struct given g;
    enum { HEAD = 24 }; /* Magic, version, position, time. */
    open_with(&g, NULL);
    uint32_t arm = given_arm(&g, "a");
    for (uint64_t k = 0; k < 40; k++) {
        struct decision d = given_decision(&g, arm, k);
        given_report(&g, &d, 7, all, OUTCOME_OK);
    }
    struct buf before = given_bytes(&g);
    update_policy(&g, "fixed", .25, "a");
    assert_string_equal(g.router->config.settings.policy, "fixed");
    assert_string_equal(g.router->config.settings.fixed_arm, "a");
    assert_true(g.router->config.settings.epsilon == .25);
    struct buf between = given_bytes(&g);
    assert_int_equal(between.len, before.len); /* linucb -> fixed is one shorter, the arm one. */
    update_policy(&g, "linucb", .1, "");
    struct buf after = given_bytes(&g);
    assert_int_equal(after.len, before.len);
    assert_memory_equal(after.data + HEAD, before.data + HEAD, before.len - HEAD);
    assert_memory_not_equal(between.data + HEAD, before.data + HEAD, before.len - HEAD);
    buf_done(&before);
    buf_done(&between);
    buf_done(&after);
    given_close(&g);
}

static void set_four_slots(struct router_config *c)
{
    c->spec.task_slots = 4;
}

static void labels_fill_the_table_up_to_the_slot_that_is_kept_for_other(void **state)
{
    (void)state;
    struct given g;
    open_with(&g, set_four_slots);
    static const char *const names[] = {"maths", "code", "maths", "chat", "law"};
    static const enum err expect[] = {OK, OK, OK, OK, ERR_LIMIT};
    for (size_t i = 0; i < 5; i++) {
        struct event *ev = next_event(&g, EVENT_LABEL_ADD);
        ev->u.label.router_uid = g.router->uid;
        strcpy(ev->u.label.label, names[i]);
        struct fold_result r = given_fold(&g);
        assert_int_equal(r.err, expect[i]);
        assert_int_equal(r.duplicate, i == 2);
    }
    assert_int_equal(g.router->config.tasks_n, 3);
    assert_string_equal(g.router->config.tasks[2], "chat");
    struct event *ev = next_event(&g, EVENT_LABEL_ADD);
    ev->u.label.router_uid = 99;
    strcpy(ev->u.label.label, "x");
    assert_int_equal(given_fold(&g).err, ERR_ROUTER_NOT_FOUND);
    given_close(&g);
}

static void a_router_without_task_slots_takes_no_label(void **state)
{
    (void)state;
    struct given g;
    open_with(&g, NULL);
    struct event *ev = next_event(&g, EVENT_LABEL_ADD);
    ev->u.label.router_uid = g.router->uid;
    strcpy(ev->u.label.label, "maths");
    assert_int_equal(given_fold(&g).err, ERR_LIMIT);
    given_close(&g);
}

static void the_key_ring_keeps_the_newest_sixteen(void **state)
{
    (void)state;
    struct given g;
    open_with(&g, NULL);
    for (uint8_t i = 1; i <= 20; i++) {
        struct event *ev = next_event(&g, EVENT_KEY_ADD);
        memset(ev->u.key, i, KEY_BYTES);
        assert_int_equal(given_fold(&g).uid, i);
    }
    assert_int_equal(g.model->keys_n, MAX_KEYS);
    for (uint32_t i = 0; i < MAX_KEYS; i++) {
        assert_int_equal(g.model->keys[i].id, 5 + i);
        assert_int_equal(g.model->keys[i].secret[KEY_BYTES - 1], 5 + i);
    }
    given_close(&g);
}

static void tally(struct given *g, uint64_t requests, uint32_t uid, uint64_t issued)
{
    uint8_t pairs[12];
    memcpy(pairs, &uid, 4);
    memcpy(pairs + 4, &issued, 8);
    struct event *ev = next_event(g, EVENT_TALLY);
    ev->u.tally = (struct event_tally){
        .router_uid = g->router->uid, .requests = requests, .n = 1, .pairs = pairs};
    assert_int_equal(given_fold(g).err, OK);
}

static void counters_only_grow_whatever_the_order_of_tallies(void **state)
{
    (void)state;
    struct given g;
    open_with(&g, NULL);
    uint32_t arm = given_arm(&g, "a");
    tally(&g, 10, arm, 7);
    tally(&g, 4, arm, 3);
    assert_int_equal(g.router->requests, 10);
    assert_int_equal(given_find(&g, arm)->issued, 7);
    tally(&g, 11, arm + 100, 5); /* An arm removed since. */
    assert_int_equal(g.router->requests, 11);
    tally(&g, UINT64_MAX, arm, UINT64_MAX);
    assert_true(g.router->requests == UINT64_MAX);
    tally(&g, 12, arm, 12);
    assert_true(given_find(&g, arm)->issued == UINT64_MAX);
    given_close(&g);
}

static void every_event_moves_position_and_clock_also_one_that_is_refused(void **state)
{
    (void)state;
    struct given g;
    open_with(&g, NULL);
    uint64_t position = g.model->position;
    struct decision d = given_decision(&g, 1000, 1);
    d.router_uid = 1000;
    given_report(&g, &d, 1, all, OUTCOME_OK);
    assert_int_equal(g.model->position, position + 1);
    assert_int_equal(g.model->clock_us, g.now_us);
    given_close(&g);
}

/* ---- adapters ---- */

static void with_adapters(struct router_config *c)
{
    residency_defaults(&c->settings.residency);
}

static struct fold_result fold_plan(struct given *g, uint32_t router_uid, const uint32_t *uids,
                                    uint32_t n, uint64_t epoch)
{
    struct residency_arm arms[4] = {{0}};
    struct buf b;
    for (uint32_t i = 0; i < n; i++)
        arms[i] = (struct residency_arm){.uid = uids[i], .desired = true, .load_ms = 7};
    const struct residency_update u = {.epoch = epoch, .arms_n = n, .arms = arms};
    buf_init(&b);
    residency_put_update(&u, &b);
    struct event *ev = next_event(g, EVENT_RESIDENCY);
    ev->u.residency.router_uid = router_uid;
    ev->u.residency.update = (struct slice){b.data, b.len};
    struct fold_result r = given_fold(g);
    buf_done(&b);
    return r;
}

static void a_plan_is_folded_and_an_arm_that_leaves_leaves_it(void **state)
{
    (void)state;
    struct given g;
    open_with(&g, with_adapters);
    uint32_t uids[2] = {given_arm(&g, "a"), given_arm(&g, "b")};
    assert_int_equal(fold_plan(&g, g.router->uid, uids, 2, 5).err, OK);
    assert_int_equal(g.router->residency.epoch, 5);
    assert_true(residency_find(&g.router->residency, uids[0])->desired);
    next_event(&g, EVENT_ARM_REMOVE)->u.state =
        (struct event_arm_state){.router_uid = g.router->uid, .arm_uid = uids[0]};
    given_fold(&g);
    assert_null(residency_find(&g.router->residency, uids[0]));
    assert_non_null(residency_find(&g.router->residency, uids[1]));
    given_close(&g);
}

/* Planned before the arm was removed, folded after. */
static void a_plan_brings_no_removed_arm_back(void **state)
{
    (void)state;
    struct given g;
    open_with(&g, with_adapters);
    uint32_t uids[2] = {given_arm(&g, "a"), given_arm(&g, "b")};
    next_event(&g, EVENT_ARM_REMOVE)->u.state =
        (struct event_arm_state){.router_uid = g.router->uid, .arm_uid = uids[0]};
    given_fold(&g);
    assert_int_equal(fold_plan(&g, g.router->uid, uids, 2, 1).err, OK);
    assert_int_equal(g.router->residency.arms_n, 1);
    given_close(&g);
}

/* Measured before the arm was removed, folded after; and before there is a plan. */
static void measured_loads_are_folded_without_a_plan_and_bring_no_removed_arm_back(void **state)
{
    (void)state;
    struct given g;
    open_with(&g, with_adapters);
    uint32_t uids[2] = {given_arm(&g, "a"), given_arm(&g, "b")};
    next_event(&g, EVENT_ARM_REMOVE)->u.state =
        (struct event_arm_state){.router_uid = g.router->uid, .arm_uid = uids[0]};
    given_fold(&g);
    const struct residency_load loads[2] = {{uids[0], 20, 1}, {uids[1], 30, 2}};
    struct buf b;
    buf_init(&b);
    residency_put_loads(loads, 2, &b);
    struct event *ev = next_event(&g, EVENT_RESIDENCY);
    ev->u.residency.router_uid = g.router->uid;
    ev->u.residency.update = (struct slice){b.data, b.len};
    assert_int_equal(given_fold(&g).err, OK);
    buf_done(&b);
    assert_int_equal(g.router->residency.epoch, 0);
    assert_int_equal(g.router->residency.arms_n, 1);
    assert_true(residency_find(&g.router->residency, uids[1])->load_ms == 30);
    assert_int_equal(residency_find(&g.router->residency, uids[1])->loads, 2);
    given_close(&g);
}

static void a_plan_of_a_router_without_adapters_changes_nothing(void **state)
{
    (void)state;
    struct given g;
    open_with(&g, NULL);
    uint32_t uid = given_arm(&g, "a");
    uint64_t ignored = g.model->ignored;
    assert_int_equal(fold_plan(&g, g.router->uid, &uid, 1, 1).err, OK);
    assert_int_equal(g.model->ignored, ignored + 1);
    assert_int_equal(g.router->residency.arms_n, 0);
    assert_int_equal(fold_plan(&g, 999, &uid, 1, 1).err, ERR_ROUTER_NOT_FOUND);
    given_close(&g);
}

static void a_router_that_gives_up_its_adapters_forgets_its_plan(void **state)
{
    (void)state;
    struct given g;
    open_with(&g, with_adapters);
    uint32_t uid = given_arm(&g, "a");
    assert_int_equal(fold_plan(&g, g.router->uid, &uid, 1, 1).err, OK);
    struct event_router_update *u = &next_event(&g, EVENT_ROUTER_UPDATE)->u.update;
    u->router_uid = g.router->uid;
    u->settings = g.router->config.settings;
    memset(&u->settings.residency, 0, sizeof u->settings.residency);
    given_fold(&g);
    assert_int_equal(g.router->residency.epoch, 0);
    assert_int_equal(g.router->residency.arms_n, 0);
    given_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_duplicate_changes_nothing),
        cmocka_unit_test(a_plan_is_folded_and_an_arm_that_leaves_leaves_it),
        cmocka_unit_test(a_plan_brings_no_removed_arm_back),
        cmocka_unit_test(measured_loads_are_folded_without_a_plan_and_bring_no_removed_arm_back),
        cmocka_unit_test(a_plan_of_a_router_without_adapters_changes_nothing),
        cmocka_unit_test(a_router_that_gives_up_its_adapters_forgets_its_plan),
        cmocka_unit_test(a_later_report_counts_only_what_is_new_in_it),
        cmocka_unit_test(what_cannot_be_placed_is_refused_and_changes_nothing),
        cmocka_unit_test(an_outcome_is_taken_until_reward_wait_is_over_and_not_after),
        cmocka_unit_test(a_longer_reward_wait_does_not_bring_forgotten_outcomes_back),
        cmocka_unit_test(a_clock_far_ahead_does_not_make_everything_after_it_late),
        cmocka_unit_test(a_full_table_forgets_the_oldest_and_refuses_it_from_then_on),
        cmocka_unit_test(a_table_made_smaller_refuses_what_it_had_to_forget),
        cmocka_unit_test(an_outcome_of_a_removed_arm_is_orphaned_and_brings_nothing_back),
        cmocka_unit_test(arms_and_routers_that_exist_or_do_not_are_refused),
        cmocka_unit_test(a_uid_is_never_given_twice),
        cmocka_unit_test(cooldown_starts_with_the_third_failure_among_five_answers),
        cmocka_unit_test(only_a_probe_ends_a_cooldown_and_failed_probes_double_it_to_sixteen_times),
        cmocka_unit_test(without_cooldown_failures_an_arm_never_cools),
        cmocka_unit_test(a_change_of_policy_and_back_leaves_every_learned_byte),
        cmocka_unit_test(an_update_moves_settings_and_weights_but_never_the_ridge),
        cmocka_unit_test(labels_fill_the_table_up_to_the_slot_that_is_kept_for_other),
        cmocka_unit_test(a_router_without_task_slots_takes_no_label),
        cmocka_unit_test(the_key_ring_keeps_the_newest_sixteen),
        cmocka_unit_test(counters_only_grow_whatever_the_order_of_tallies),
        cmocka_unit_test(every_event_moves_position_and_clock_also_one_that_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
