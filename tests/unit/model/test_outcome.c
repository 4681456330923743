/* What an outcome may say beside its metrics: who answered, whose word it is, which piece it is. */
#include "tests/unit/cmocka_all.h"
#include "tests/unit/model/given.h"

#include <string.h>

static const double all[MAX_METRICS] = {.75, .5, .25, .125, .5};

static void open_plain(struct given *g)
{
    struct router_config c;
    given_config(&c);
    given_open(g, &c);
}

/* A report in whose decision `served` answered. */
static struct fold_result stand_in(struct given *g, const struct decision *d, uint32_t served,
                                   uint16_t mask, enum outcome_status status)
{
    memset(&g->event, 0, sizeof g->event);
    g->event.kind = EVENT_OUTCOME;
    struct event_outcome *o = &g->event.u.outcome;
    o->decision = *d;
    o->status = status;
    o->served_uid = served;
    for (uint32_t m = 0; m < MAX_METRICS; m++)
        if (mask >> m & 1)
            o->metrics[o->metrics_n++] =
                (struct outcome_metric){.index = (uint8_t)m, .raw = 10 * all[m], .z = all[m]};
    return given_fold(g);
}

/* ---- another arm answered ---- */

static void what_a_stand_in_earned_teaches_it_and_the_status_the_chosen_arm(void **state)
{
    (void)state;
    struct given g;
    open_plain(&g);
    uint32_t chosen = given_arm(&g, "chosen"), other = given_arm(&g, "other");
    struct decision d = given_decision(&g, chosen, 1);
    struct fold_result r = stand_in(&g, &d, other, 0x07, OUTCOME_ERROR);
    assert_int_equal(r.err, OK);
    assert_int_equal(r.counted_mask, 0x07);
    const struct arm *c = given_find(&g, chosen), *o = given_find(&g, other);
    assert_int_equal(c->failures, 1);
    assert_int_equal(c->answered, 1);
    assert_int_equal(c->groups[METRIC_RATED].n + c->groups[METRIC_SERVED].n, 0);
    assert_int_equal(o->failures, 0);
    assert_int_equal(o->answered, 0);
    assert_int_equal(o->groups[METRIC_RATED].n, 1);
    assert_int_equal(o->stood_in[METRIC_RATED], 1);
    assert_int_equal(o->metrics[0].n, 1);
    assert_int_equal(g.router->outcomes_folded, 1);
    struct err_detail detail;
    assert_int_equal(model_check(g.model, &detail), OK);
    given_close(&g);
}

static void a_later_report_of_a_stand_in_teaches_the_same_arm(void **state)
{
    (void)state;
    struct given g;
    open_plain(&g);
    uint32_t chosen = given_arm(&g, "chosen"), other = given_arm(&g, "other");
    struct decision d = given_decision(&g, chosen, 1);
    (void)stand_in(&g, &d, other, 0x04, OUTCOME_OK);
    assert_int_equal(stand_in(&g, &d, 0, 0x01, OUTCOME_OK).counted_mask, 0x01);
    assert_int_equal(given_find(&g, chosen)->metrics[0].n, 0);
    assert_int_equal(given_find(&g, other)->metrics[0].n, 1);
    assert_true(stand_in(&g, &d, chosen, 0x05, OUTCOME_OK).duplicate); /* Keyed by the decision. */
    given_close(&g);
}

static void a_stand_in_that_is_gone_teaches_nobody_and_the_status_still_counts(void **state)
{
    (void)state;
    struct given g;
    open_plain(&g);
    uint32_t chosen = given_arm(&g, "chosen");
    struct decision d = given_decision(&g, chosen, 1);
    struct fold_result r = stand_in(&g, &d, 999, 0x01, OUTCOME_TIMEOUT);
    assert_int_equal(r.err, OK);
    assert_true(r.orphaned);
    assert_int_equal(g.router->orphaned, 1);
    assert_int_equal(given_find(&g, chosen)->failures, 1);
    struct err_detail detail;
    assert_int_equal(model_check(g.model, &detail), OK);
    given_close(&g);
}

static void a_stand_in_is_the_same_after_its_bytes(void **state)
{
    (void)state;
    struct given g;
    open_plain(&g);
    uint32_t chosen = given_arm(&g, "chosen"), other = given_arm(&g, "other");
    struct decision d = given_decision(&g, chosen, 1);
    (void)stand_in(&g, &d, other, 0x07, OUTCOME_OK);
    struct buf bytes = given_bytes(&g), again;
    struct model *m = NULL;
    struct err_detail detail;
    assert_int_equal(model_decode((struct slice){bytes.data, bytes.len}, &m, &detail), OK);
    assert_int_equal(router_arm(m->routers[0], other)->stood_in[METRIC_RATED], 1);
    buf_init(&again);
    model_encode(m, &again);
    assert_int_equal(again.len, bytes.len);
    assert_memory_equal(again.data, bytes.data, bytes.len);
    buf_done(&again);
    buf_done(&bytes);
    model_free(m);
    given_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_stand_in_earned_teaches_it_and_the_status_the_chosen_arm),
        cmocka_unit_test(a_later_report_of_a_stand_in_teaches_the_same_arm),
        cmocka_unit_test(a_stand_in_that_is_gone_teaches_nobody_and_the_status_still_counts),
        cmocka_unit_test(a_stand_in_is_the_same_after_its_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
