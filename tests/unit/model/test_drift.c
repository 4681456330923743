#include "state/model/drift.h"
#include "state/model/snapshot.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/model/given.h"

#include <math.h>
#include <string.h>

enum { REWARD, QUALITY, COST };
enum { STEADY = 60 };

static void open_with(struct given *g, enum drift_policy policy)
{
    struct router_config config;
    given_config(&config);
    config.settings.drift_policy = policy;
    given_open(g, &config);
    (void)given_arm(g, "a");
    (void)given_arm(g, "b");
}

static struct arm *arm_of(const struct given *g, uint32_t i)
{
    return g->router->arms[i];
}

/* n outcomes of arm i around `reward` and `cost`, +- .05 and .01; returns how many came before an
 * alarm was raised (n: none was). */
static uint32_t live(struct given *g, uint32_t i, uint32_t n, double reward, double cost)
{
    for (uint32_t k = 0; k < n; k++) {
        struct decision d = given_decision(g, arm_of(g, i)->uid, g->ids);
        double z[MAX_METRICS] = {0};
        z[REWARD] = reward + .1 * (given_z(7, g->ids) - .5);
        z[COST] = cost + .02 * (given_z(8, g->ids) - .5);
        struct fold_result r = given_report(g, &d, 1U << REWARD | 1U << COST, z, OUTCOME_OK);
        assert_int_equal(r.err, OK);
        if (r.alarms)
            return k + 1;
    }
    return n;
}

static const struct drift_alarm *latest(const struct given *g)
{
    assert_true(g->router->alarms.n > 0);
    return &g->router->alarms.rows[g->router->alarms.n - 1];
}

static double bias_prediction(const struct given *g, uint32_t arm, uint32_t metric)
{
    double x[GIVEN_D] = {1};
    return given_predict(g, arm_of(g, arm)->uid, metric, x);
}

static void an_arm_that_stays_what_it_is_raises_no_alarm(void **state)
{
    (void)state;
    struct given g;
    open_with(&g, DRIFT_WIDEN);
    assert_int_equal(live(&g, 0, 900, .8, .2), 900);
    assert_int_equal(g.router->alarms.raised, 0);
    given_close(&g);
}

static void a_silent_drop_is_noticed_and_said_in_numbers(void **state)
{
    (void)state;
    struct given g;
    open_with(&g, DRIFT_NOTHING);
    (void)live(&g, 0, STEADY, .8, .2);
    uint32_t n = live(&g, 0, 60, .6, .2);
    assert_true(n < 15);
    const struct drift_alarm *a = latest(&g);
    assert_int_equal(a->metric, REWARD);
    assert_false(a->rising);
    assert_int_equal(a->arm_uid, arm_of(&g, 0)->uid);
    assert_string_equal(a->arm, "a");
    assert_int_equal(a->pulls, STEADY + n);
    assert_int_equal(a->at_us, g.now_us);
    /* The run may have begun a few outcomes before the change. */
    assert_true(fabs(a->after / 10 - .6) < .1 && fabs(a->before / 10 - .8) < .05);
    assert_true(fabs(a->estimate + .2) < .1);
    assert_false(drift_suspect(arm_of(&g, 0)));
    given_close(&g);
}

static void a_dearer_arm_is_noticed_by_its_cost(void **state)
{
    (void)state;
    struct given g;
    open_with(&g, DRIFT_WIDEN);
    (void)live(&g, 0, STEADY, .8, .2);
    assert_true(live(&g, 0, 60, .8, .3) < 15);
    assert_int_equal(latest(&g)->metric, COST);
    assert_true(latest(&g)->rising);
    /* The rated statistics are not to blame. */
    assert_false(arm_of(&g, 0)->drift->groups[METRIC_RATED].kept);
    assert_true(arm_of(&g, 0)->drift->groups[METRIC_SERVED].kept);
    given_close(&g);
}

static void no_alarm_before_the_21st_outcome(void **state)
{
    (void)state;
    struct given g;
    open_with(&g, DRIFT_WIDEN);
    (void)live(&g, 0, 8, .9, .2);
    assert_int_equal(live(&g, 0, 12, .3, .2), 12);
    assert_int_equal(g.router->alarms.raised, 0);
    given_close(&g);
}

static void widening_leaves_ten_outcomes_at_the_new_mean(void **state)
{
    (void)state;
    struct given g;
    open_with(&g, DRIFT_WIDEN);
    (void)live(&g, 0, 200, .8, .2);
    (void)live(&g, 0, 60, .5, .2);
    struct arm *a = arm_of(&g, 0);
    assert_true(drift_suspect(a));
    assert_true(fabs(a->groups[METRIC_RATED].evidence - 10) < 1e-9);
    /* Ten outcomes beside a ridge of 1 that believes in 1. */
    assert_true(fabs(bias_prediction(&g, 0, REWARD) - .5) < .15);
    assert_true(fabs(a->metrics[REWARD].recent.sum_z / a->metrics[REWARD].recent.n - .5) < .05);
    assert_int_equal(a->metrics[REWARD].n, a->answered); /* What people read stays. */
    given_close(&g);
}

static void what_was_kept_comes_back_when_the_arm_does(void **state)
{
    (void)state;
    struct given g;
    open_with(&g, DRIFT_WIDEN);
    (void)live(&g, 0, 200, .8, .2);
    double before = bias_prediction(&g, 0, REWARD);
    (void)live(&g, 0, 60, .5, .2);
    (void)live(&g, 0, 15, .5, .2);
    assert_true(drift_suspect(arm_of(&g, 0)));
    (void)live(&g, 0, 15, .8, .2);
    assert_false(drift_suspect(arm_of(&g, 0)));
    assert_int_equal(latest(&g)->end, DRIFT_RESTORED);
    assert_true(latest(&g)->ended_us > latest(&g)->at_us);
    assert_true(arm_of(&g, 0)->groups[METRIC_RATED].evidence > 190);
    assert_true(fabs(bias_prediction(&g, 0, REWARD) - before) < .05);
    struct err_detail detail;
    assert_int_equal(model_check(g.model, &detail), OK);
    given_close(&g);
}

static void after_a_hundred_outcomes_the_new_figures_stand_on_their_own(void **state)
{
    (void)state;
    struct given g;
    open_with(&g, DRIFT_WIDEN);
    (void)live(&g, 0, 200, .8, .2);
    (void)live(&g, 0, 60, .5, .2);
    (void)live(&g, 0, 120, .5, .2);
    assert_false(drift_suspect(arm_of(&g, 0)));
    assert_int_equal(latest(&g)->end, DRIFT_SETTLED);
    assert_true(fabs(bias_prediction(&g, 0, REWARD) - .5) < .05);
    given_close(&g);
}

static void discounting_keeps_nothing_aside(void **state)
{
    (void)state;
    struct given g;
    open_with(&g, DRIFT_DISCOUNT);
    (void)live(&g, 0, 200, .8, .2);
    (void)live(&g, 0, 60, .5, .2);
    assert_false(drift_suspect(arm_of(&g, 0)));
    assert_true(fabs(arm_of(&g, 0)->groups[METRIC_RATED].evidence - 10) < 1e-9);
    given_close(&g);
}

/* A cost that comes after the alarm of a decision learned before it moves b by its faded worth. */
static void a_late_metric_of_a_decision_before_the_alarm_counts_what_the_decision_does(void **state)
{
    (void)state;
    struct given g;
    open_with(&g, DRIFT_DISCOUNT);
    (void)live(&g, 0, 200, .8, .2);
    struct decision d = given_decision(&g, arm_of(&g, 0)->uid, 1);
    double z[MAX_METRICS] = {.8, .7, .2};
    given_report(&g, &d, 1U << REWARD | 1U << COST, z, OUTCOME_OK);
    (void)live(&g, 0, 60, .5, .2);
    uint32_t learned = 201;
    double scale = drift_weight(arm_of(&g, 0), METRIC_RATED, g.router->outcomes_folded, learned);
    assert_true(scale > 0 && scale < .06);
    assert_true(drift_weight(arm_of(&g, 0), METRIC_RATED, g.router->outcomes_folded,
                             (uint32_t)g.router->outcomes_folded + 1 - 1) <= 1);
    double before = arm_of(&g, 0)->metrics[QUALITY].b[0];
    given_report(&g, &d, 1U << QUALITY, z, OUTCOME_OK);
    assert_true(fabs(arm_of(&g, 0)->metrics[QUALITY].b[0] - before) < .06);
    given_close(&g);
}

/* The bytes of a model that keeps statistics aside, read back, fold on to the same bytes. */
static void a_checkpoint_holds_what_is_kept_aside(void **state)
{
    (void)state;
    struct given g;
    struct model *again;
    struct fold_result r;
    struct err_detail detail;
    open_with(&g, DRIFT_WIDEN);
    (void)live(&g, 0, 200, .8, .2);
    (void)live(&g, 0, 60, .5, .2);
    assert_true(drift_suspect(arm_of(&g, 0)));
    struct buf bytes = given_bytes(&g);
    assert_int_equal(model_decode((struct slice){bytes.data, bytes.len}, &again, &detail), OK);
    for (size_t n = 0; n < bytes.len; n += 37) {
        struct model *cut;
        assert_int_equal(model_decode((struct slice){bytes.data, n}, &cut, NULL), ERR_CORRUPT);
    }
    buf_done(&bytes);
    for (int k = 0; k < 30; k++) {
        (void)live(&g, 0, 1, .8, .2);
        assert_int_equal(model_reserve(again, &g.decoded, 0), OK);
        fold_event(again, &g.decoded, g.model->position, &r);
    }
    assert_int_equal(latest(&g)->end, DRIFT_RESTORED);
    struct buf one = given_bytes(&g), two;
    buf_init(&two);
    model_encode(again, &two);
    assert_int_equal(one.len, two.len);
    assert_memory_equal(one.data, two.data, one.len);
    buf_done(&one);
    buf_done(&two);
    model_free(again);
    given_close(&g);
}

static void the_log_of_a_router_is_bounded_and_keeps_the_latest(void **state)
{
    (void)state;
    struct given g;
    open_with(&g, DRIFT_NOTHING);
    uint64_t raised = 0;
    for (int k = 0; k < 4000 && raised < DRIFT_ALARMS_MAX + 5; k++) {
        (void)live(&g, 0, 25, k % 2 ? .2 : .9, .2);
        raised = g.router->alarms.raised;
    }
    assert_true(raised >= DRIFT_ALARMS_MAX + 5);
    assert_int_equal(g.router->alarms.n, DRIFT_ALARMS_MAX);
    assert_int_equal(latest(&g)->id, raised);
    assert_int_equal(g.router->alarms.rows[0].id, raised + 1 - DRIFT_ALARMS_MAX);
    struct snapshot *s;
    assert_int_equal(snapshot_build(g.model, NULL, &s), OK);
    assert_int_equal(s->routers[0]->alarms_n, DRIFT_ALARMS_MAX);
    assert_int_equal(s->routers[0]->alarms[DRIFT_ALARMS_MAX - 1].id, raised);
    snapshot_free(s);
    given_close(&g);
}

static struct event *fresh(struct given *g, enum event_kind kind)
{
    memset(&g->event, 0, sizeof g->event);
    g->event.kind = kind;
    return &g->event;
}

static void a_price_event_scales_what_is_known_of_the_cost_and_nothing_else(void **state)
{
    (void)state;
    struct given g;
    open_with(&g, DRIFT_WIDEN);
    (void)live(&g, 0, 100, .8, .2);
    struct arm *a = arm_of(&g, 0);
    double cost = bias_prediction(&g, 0, COST), reward = bias_prediction(&g, 0, REWARD);
    double raw = a->metrics[COST].recent.sum_raw;
    fresh(&g, EVENT_ARM_PRICE)->u.price =
        (struct event_arm_price){g.router->uid, a->uid, COST, .25, .25, .01};
    assert_int_equal(given_fold(&g).err, OK);
    assert_true(fabs(bias_prediction(&g, 0, COST) - (.25 * cost + .01)) < 1e-12);
    assert_true(fabs(bias_prediction(&g, 0, REWARD) - reward) < 1e-12);
    assert_true(fabs(a->metrics[COST].recent.sum_raw - .25 * raw) < 1e-9);
    /* What is paid from now on is what was announced: no alarm. */
    assert_int_equal(live(&g, 0, 200, .8, .06), 200);
    fresh(&g, EVENT_ARM_PRICE)->u.price =
        (struct event_arm_price){g.router->uid, a->uid, REWARD, .25, .25, 0};
    assert_int_equal(given_fold(&g).err, ERR_METRIC_NOT_FOUND);
    given_close(&g);
}

static uint32_t add_like(struct given *g, const char *name, uint32_t like, double strength,
                         bool replace)
{
    struct event *e = fresh(g, EVENT_ARM_ADD);
    e->u.arm.router_uid = g->router->uid;
    strcpy(e->u.arm.config.name, name);
    e->u.arm.like_uid = like;
    e->u.arm.strength = strength;
    e->u.arm.replace = replace;
    struct fold_result r = given_fold(g);
    assert_int_equal(r.err, OK);
    return r.uid;
}

static void an_arm_like_another_begins_with_its_means_and_a_newcomers_width(void **state)
{
    (void)state;
    struct given g;
    open_with(&g, DRIFT_WIDEN);
    (void)live(&g, 0, 200, .7, .2);
    uint32_t uid = add_like(&g, "c", arm_of(&g, 0)->uid, 20, false);
    struct arm *c = given_find(&g, uid), *a = arm_of(&g, 0);
    assert_true(fabs(c->groups[METRIC_RATED].evidence - 20) < 1e-9);
    assert_true(fabs(a->groups[METRIC_RATED].evidence - 200) < 1e-9);
    assert_int_equal(c->answered, 0);
    assert_int_equal(c->metrics[REWARD].n, 0);
    assert_true(fabs(bias_prediction(&g, 2, REWARD) - .7) < .06);
    assert_true(c->groups[METRIC_RATED].P[0] > 5 * a->groups[METRIC_RATED].P[0]);
    struct err_detail detail;
    assert_int_equal(model_check(g.model, &detail), OK);
    given_close(&g);
}

static void a_reloaded_arm_is_a_new_version_and_late_rewards_of_the_old_teach_nobody(void **state)
{
    (void)state;
    struct given g;
    open_with(&g, DRIFT_WIDEN);
    (void)live(&g, 0, 50, .7, .2);
    uint32_t old = arm_of(&g, 0)->uid;
    struct decision late = given_decision(&g, old, 1);
    uint32_t uid = add_like(&g, "a", old, 10, true);
    assert_int_equal(g.router->arms_n, 2);
    struct arm *a = given_find(&g, uid);
    assert_int_equal(a->version, 2);
    assert_true(fabs(a->groups[METRIC_RATED].evidence - 10) < 1e-9);
    double z[MAX_METRICS] = {.1}, before = a->metrics[REWARD].b[0];
    assert_true(given_report(&g, &late, 1U << REWARD, z, OUTCOME_OK).orphaned);
    assert_true(a->metrics[REWARD].b[0] == before);
    uid = add_like(&g, "a", 0, 0, true);
    a = given_find(&g, uid);
    assert_int_equal(a->version, 3);
    assert_true(a->groups[METRIC_RATED].evidence == 0);
    given_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_arm_that_stays_what_it_is_raises_no_alarm),
        cmocka_unit_test(a_silent_drop_is_noticed_and_said_in_numbers),
        cmocka_unit_test(a_dearer_arm_is_noticed_by_its_cost),
        cmocka_unit_test(no_alarm_before_the_21st_outcome),
        cmocka_unit_test(widening_leaves_ten_outcomes_at_the_new_mean),
        cmocka_unit_test(what_was_kept_comes_back_when_the_arm_does),
        cmocka_unit_test(after_a_hundred_outcomes_the_new_figures_stand_on_their_own),
        cmocka_unit_test(discounting_keeps_nothing_aside),
        cmocka_unit_test(
            a_late_metric_of_a_decision_before_the_alarm_counts_what_the_decision_does),
        cmocka_unit_test(a_checkpoint_holds_what_is_kept_aside),
        cmocka_unit_test(the_log_of_a_router_is_bounded_and_keeps_the_latest),
        cmocka_unit_test(a_price_event_scales_what_is_known_of_the_cost_and_nothing_else),
        cmocka_unit_test(an_arm_like_another_begins_with_its_means_and_a_newcomers_width),
        cmocka_unit_test(a_reloaded_arm_is_a_new_version_and_late_rewards_of_the_old_teach_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
