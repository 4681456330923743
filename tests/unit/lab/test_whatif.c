#include "server/lab/whatif.h"
#include "state/base/mem.h"
#include "state/model/fold.h"
#include "state/model/model.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/lab/world.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUTER_UID = 2, FIRST_ARM_UID = 3, HEAD = 2 + WORLD_ARMS };

/* A journal: another router, the world's with its arms, then one outcome a row of the log. */
struct journal {
    uint32_t n, at;
    struct event *events;
};

static void put_head(struct journal *j)
{
    static const char *const names[] = {"other", "world"};
    for (int i = 0; i < 2; i++) {
        struct event *e = &j->events[j->n++];
        e->kind = EVENT_ROUTER_CREATE;
        world_config(&e->u.router);
        snprintf(e->u.router.name, NAME_CAP, "%s", names[i]);
    }
    for (uint32_t a = 0; a < WORLD_ARMS; a++) {
        struct event *e = &j->events[j->n++];
        e->kind = EVENT_ARM_ADD;
        e->u.arm.router_uid = ROUTER_UID;
        snprintf(e->u.arm.config.name, NAME_CAP, "%s", world_arms()[a].name);
    }
}

static void put_outcome(struct journal *j, const struct world_row *w, uint16_t mask)
{
    struct event *e = &j->events[j->n++];
    struct event_outcome *o = &e->u.outcome;
    struct router_config config;
    world_config(&config);
    e->kind = EVENT_OUTCOME;
    e->at_us = w->row.issued_us + 1;
    memcpy(o->decision.id, w->row.id, sizeof o->decision.id);
    o->decision.router_uid = ROUTER_UID;
    o->decision.arm_uid = FIRST_ARM_UID + w->row.chosen;
    o->decision.spec_hash = spec_hash(&config.spec);
    o->decision.issued_us = w->row.issued_us;
    o->decision.propensity = (float)w->row.propensity;
    o->decision.evaluable = w->row.evaluable;
    o->decision.d = WORLD_D;
    memcpy(o->decision.x, w->x, sizeof w->x);
    for (uint8_t m = 0; m < 2; m++)
        if (mask >> m & 1)
            o->metrics[o->metrics_n++] = (struct outcome_metric){m, w->row.raw[m], w->row.z[m]};
}

/* pieces: the cost of every decision comes first, its reward later. */
static void journal_open(struct journal *j, const struct world_log *log, bool pieces)
{
    memset(j, 0, sizeof *j);
    j->events = calloc(HEAD + 2 * (size_t)log->n, sizeof *j->events);
    assert_non_null(j->events);
    put_head(j);
    for (uint32_t i = 0; i < log->n; i++) {
        put_outcome(j, &log->rows[i], pieces ? 2 : 3);
        if (pieces && i >= 5)
            put_outcome(j, &log->rows[i - 5], 1);
    }
}

static enum err next(void *self, struct event *ret_event, uint64_t *ret_position, bool *ret_end,
                     struct err_detail *detail)
{
    struct journal *j = self;
    (void)detail;
    *ret_end = j->at == j->n;
    if (*ret_end)
        return OK;
    *ret_event = j->events[j->at++];
    *ret_position = j->at;
    return OK;
}

static enum err rewind_journal(void *self, struct err_detail *detail)
{
    struct journal *j = self;
    (void)detail;
    j->at = 0;
    return OK;
}

static struct event_source source_of(struct journal *j)
{
    j->at = 0;
    return (struct event_source){j, next, rewind_journal};
}

struct wish {
    const char *policy, *arm;
    double ridge, cost_weight, floor; /* 0: as it is. */
};

static enum err apply(void *self, struct router_config *config, struct err_detail *detail)
{
    const struct wish *w = self;
    if (w->arm)
        target_set_fixed(config, w->arm);
    if (w->policy)
        snprintf(config->settings.policy, NAME_CAP, "%s", w->policy);
    if (w->ridge > 0)
        config->settings.ridge[METRIC_RATED][1] = w->ridge;
    if (w->cost_weight > 0)
        config->metrics[WORLD_COST].weight = w->cost_weight;
    if (w->floor < 0)
        return err_say(detail, ERR_OUT_OF_RANGE, "no floor is below zero");
    return OK;
}

struct scene {
    struct world_log log;
    struct journal journal;
    struct wish wish;
    struct whatif_options o;
    struct whatif w;
    struct err_detail detail;
};

static void open_scene(struct scene *s, uint32_t n, bool pieces)
{
    memset(s, 0, sizeof *s);
    world_log_open(&s->log, n, 31, .5);
    journal_open(&s->journal, &s->log, pieces);
    s->o = (struct whatif_options){.router = "world", .change = {&s->wish, apply}, .seed = 9};
}

static void close_scene(struct scene *s)
{
    whatif_done(&s->w);
    free(s->journal.events);
    world_log_close(&s->log);
}

static enum err run(struct scene *s)
{
    const struct event_source source = source_of(&s->journal);
    whatif_done(&s->w);
    return whatif_run(&s->o, &source, &s->w, &s->detail);
}

static void must_run(struct scene *s)
{
    enum err e = run(s);
    if (e != OK)
        fail_msg("%s: %s", err_code(e), s->detail.text);
}

static void nothing_changed_gives_the_same_model(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, 500, false);
    must_run(&s);
    assert_int_equal(s.w.events, HEAD + 500);
    assert_int_equal(s.w.outcomes, 500);
    assert_int_equal(s.w.evaluation.rows, 500);
    assert_int_equal(s.w.evaluation.used, 500);
    assert_true(s.w.prediction_gap_max == 0);
    assert_int_equal(s.w.arms_n, WORLD_ARMS);
    for (uint32_t i = 0; i < WORLD_ARMS; i++)
        assert_true(s.w.arms[i].utility_then == s.w.arms[i].utility_other);
    close_scene(&s);
}

static void one_arm_always_has_all_the_mass_and_its_reward(void **state)
{
    (void)state;
    struct scene s;
    uint32_t chosen = 0;
    double truth = 0;
    open_scene(&s, 2500, false);
    s.wish.arm = "low";
    must_run(&s);
    for (uint32_t i = 0; i < s.log.n; i++) {
        chosen += s.log.rows[i].row.chosen == 1;
        truth += s.log.rows[i].truth[2] / s.log.n;
    }
    const struct evaluation *v = &s.w.evaluation;
    assert_string_equal(s.w.arms[1].name, "low");
    assert_int_equal(s.w.arms[1].logged, chosen);
    assert_true(fabs(s.w.arms[1].other_share - 1) < 1e-6);
    assert_true(fabs(v->agreement - chosen / 2500.) < 1e-6);
    assert_true(v->utility.dr.interval.low < truth && truth < v->utility.dr.interval.high);
    assert_true(fabs(v->utility.dr.value - truth) < .06);
    /* Only who decides was changed: both learned the same. */
    assert_true(s.w.prediction_gap_max == 0);
    close_scene(&s);
}

static void another_ridge_learns_another_model_and_weights_another_utility(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, 400, false);
    s.wish.ridge = 1;
    must_run(&s);
    assert_true(s.w.prediction_gap > 1e-4 && s.w.prediction_gap < .2);
    s.wish.ridge = 0;
    s.wish.cost_weight = .5;
    must_run(&s);
    assert_true(s.w.prediction_gap_max == 0);
    assert_true(s.w.arms[2].utility_other < s.w.arms[2].utility_then - .15);
    close_scene(&s);
}

static void a_decision_reported_in_pieces_counts_once_for_each_metric(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, 300, true);
    must_run(&s);
    const struct evaluation *v = &s.w.evaluation;
    assert_int_equal(v->rows, 300);
    assert_int_equal(v->metric[WORLD_COST].rows, 300);
    assert_int_equal(v->metric[WORLD_REWARD].rows, 295);
    assert_int_equal(v->used, 295);
    assert_int_equal(v->unreported, 5);
    s.wish.cost_weight = .5; /* Now no event holds all that has weight. */
    must_run(&s);
    assert_int_equal(v->used, 0);
    assert_int_equal(v->unreported, 300);
    assert_true(v->warnings >> WARN_NO_ROWS & 1);
    close_scene(&s);
}

/* The second report repeats what the first said: only what is new in it counts. */
static void a_metric_sent_again_is_not_scored_again(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, 100, true);
    for (uint32_t i = HEAD; i < s.journal.n; i++) {
        struct event_outcome *o = &s.journal.events[i].u.outcome;
        if (o->metrics[0].index == WORLD_REWARD)
            o->metrics[o->metrics_n++] = (struct outcome_metric){WORLD_COST, .9, .9};
    }
    must_run(&s);
    assert_int_equal(s.w.evaluation.metric[WORLD_COST].rows, 100);
    assert_int_equal(s.w.evaluation.used, 95);
    close_scene(&s);
}

static void duplicates_and_forced_decisions_are_not_scored(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, 100, false);
    for (uint32_t i = 0; i < 20; i++)
        s.journal.events[HEAD + i].u.outcome.decision.evaluable = false;
    memcpy(s.journal.events[HEAD + 99].u.outcome.decision.id,
           s.journal.events[HEAD + 98].u.outcome.decision.id, ID_BYTES);
    must_run(&s);
    assert_int_equal(s.w.evaluation.rows, 99);
    assert_int_equal(s.w.evaluation.not_evaluable, 20);
    assert_int_equal(s.w.evaluation.used, 79);
    close_scene(&s);
}

/* The first half as a base, the second as events: the router is changed where it stands. */
static void a_base_is_where_it_begins(void **state)
{
    (void)state;
    struct scene s;
    struct model *m;
    struct buf base;
    struct fold_result r;
    open_scene(&s, 400, false);
    assert_int_equal(model_new(&m), OK);
    for (uint32_t i = 0; i < HEAD + 200; i++) {
        assert_int_equal(model_reserve(m, &s.journal.events[i], 0), OK);
        fold_event(m, &s.journal.events[i], i + 1, &r);
        assert_int_equal(r.err, OK);
    }
    buf_init(&base);
    model_encode(m, &base);
    assert_int_equal(buf_error(&base), OK);
    s.o.base = (struct slice){base.data, base.len};
    memmove(s.journal.events, s.journal.events + HEAD + 200, 200 * sizeof *s.journal.events);
    s.journal.n = 200;
    s.wish.arm = "high";
    must_run(&s);
    assert_int_equal(s.w.evaluation.used, 200);
    assert_true(fabs(s.w.arms[0].other_share - 1) < 1e-6);
    assert_true(s.w.prediction_gap_max == 0);
    buf_done(&base);
    model_free(m);
    close_scene(&s);
}

/* An operator's own later update does not end the change. */
static void an_update_in_the_journal_is_changed_too(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, 300, false);
    struct event *e = &s.journal.events[HEAD + 150];
    struct router_config config;
    world_config(&config);
    memset(e, 0, sizeof *e);
    e->kind = EVENT_ROUTER_UPDATE;
    e->at_us = 1150;
    e->u.update.router_uid = ROUTER_UID;
    e->u.update.settings = config.settings;
    e->u.update.metrics_n = 2;
    e->u.update.weights[WORLD_REWARD] = 1;
    s.wish.arm = "dull";
    must_run(&s);
    assert_int_equal(s.w.evaluation.used, 299);
    assert_true(fabs(s.w.arms[2].other_share - 1) < 1e-6);
    close_scene(&s);
}

static void what_cannot_be_done_is_said_in_words(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, 20, false);
    s.o.router = "nobody";
    assert_int_equal(run(&s), ERR_ROUTER_NOT_FOUND);
    assert_non_null(strstr(s.detail.text, "nobody"));
    s.o.router = "world";
    s.wish.floor = -1;
    assert_int_equal(run(&s), ERR_OUT_OF_RANGE);
    s.wish.floor = 0;
    s.wish.policy = "clairvoyant";
    assert_int_equal(run(&s), ERR_INVALID);
    s.wish.policy = NULL;
    s.o.base = (struct slice){"nonsense", 8};
    assert_int_equal(run(&s), ERR_CORRUPT);
    close_scene(&s);
}

static bool stop_at(void *self, uint64_t done, uint64_t total)
{
    (void)total;
    return done < *(const uint64_t *)self;
}

static void it_can_be_stopped_in_both_passes_and_runs_out_of_memory_cleanly(void **state)
{
    (void)state;
    struct scene s;
    uint64_t at;
    open_scene(&s, 40, false);
    s.o.watch = (struct lab_watch){stop_at, &at};
    for (at = 8; at < 2 * (HEAD + 40); at += 32)
        assert_int_equal(run(&s), ERR_CANCELLED);
    s.o.watch.go_on = NULL;
    s.journal.n = HEAD + 3;
    mem_fail_nth(0);
    must_run(&s);
    long all = mem_count();
    for (long n = 1; n <= all; n++) {
        mem_fail_nth(n);
        assert_int_equal(run(&s), ERR_NOMEM);
    }
    mem_fail_nth(0);
    close_scene(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_changed_gives_the_same_model),
        cmocka_unit_test(one_arm_always_has_all_the_mass_and_its_reward),
        cmocka_unit_test(another_ridge_learns_another_model_and_weights_another_utility),
        cmocka_unit_test(a_decision_reported_in_pieces_counts_once_for_each_metric),
        cmocka_unit_test(a_metric_sent_again_is_not_scored_again),
        cmocka_unit_test(duplicates_and_forced_decisions_are_not_scored),
        cmocka_unit_test(a_base_is_where_it_begins),
        cmocka_unit_test(an_update_in_the_journal_is_changed_too),
        cmocka_unit_test(what_cannot_be_done_is_said_in_words),
        cmocka_unit_test(it_can_be_stopped_in_both_passes_and_runs_out_of_memory_cleanly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
