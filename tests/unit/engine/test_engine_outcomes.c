/* What happens to an outcome between the caller and the statistics. */
#include "tests/unit/cmocka_all.h"
#include "tests/unit/engine/served.h"

#include <stdio.h>
#include <string.h>

static void open_two(struct served *s, void (*set)(struct router_config *c))
{
    served_open(s);
    served_router(s, "default", set);
    served_arm(s, "default", "a");
    served_arm(s, "default", "b");
}

/* Figures of one arm in the published snapshot. */
static void look(struct served *s, const char *arm, uint64_t *ret_rewards, uint64_t *ret_failures)
{
    const struct snapshot *p = engine_snapshot_acquire(s->w);
    const struct router_view *r = snapshot_router(p, "default", 7);
    int k = router_view_arm(r, arm, strlen(arm));
    assert_true(k >= 0);
    *ret_rewards = r->arms[k]->n[0];
    *ret_failures = r->arms[k]->failures;
    engine_snapshot_release(s->w);
}

/* ---- another arm answered ---- */

static void the_arm_that_stood_in_learns_and_the_chosen_one_has_the_failure(void **state)
{
    (void)state;
    struct served s;
    open_two(&s, NULL);
    served_route(&s);
    const char *other = strcmp(s.route->arm, "a") == 0 ? "b" : "a";
    struct engine_weight m = {text("reward"), .5};
    struct report_in in = {.token = {s.route->token, s.route->token_len},
                           .metrics = &m,
                           .metrics_n = 1,
                           .status = OUTCOME_ERROR,
                           .served_arm = text("nobody")};
    assert_int_equal(served_report(&s, &in), ERR_ARM_NOT_FOUND);
    assert_non_null(strstr(s.detail.text, "served_arm_id"));
    in.served_arm = text(other);
    assert_int_equal(served_report(&s, &in), OK);
    assert_int_equal(s.report.counted_n, 1);
    uint64_t rewards, failures;
    look(&s, other, &rewards, &failures);
    assert_int_equal(rewards, 1);
    assert_int_equal(failures, 0);
    look(&s, s.route->arm, &rewards, &failures);
    assert_int_equal(rewards, 0);
    assert_int_equal(failures, 1);
    served_again(&s);
    look(&s, other, &rewards, &failures);
    assert_int_equal(rewards, 1);
    served_verify(&s);
    served_close(&s);
}

static void naming_the_chosen_arm_says_that_nobody_stood_in(void **state)
{
    (void)state;
    struct served s;
    open_two(&s, NULL);
    served_route(&s);
    struct engine_weight m = {text("reward"), .5};
    struct report_in in = {.token = {s.route->token, s.route->token_len},
                           .metrics = &m,
                           .metrics_n = 1,
                           .served_arm = text(s.route->arm)};
    assert_int_equal(served_report(&s, &in), OK);
    const struct snapshot *p = engine_snapshot_acquire(s.w);
    const struct router_view *r = snapshot_router(p, "default", 7);
    int k = router_view_arm(r, s.route->arm, strlen(s.route->arm));
    assert_int_equal(r->arms[k]->folded[METRIC_RATED], 1);
    assert_int_equal(r->arms[k]->stood_in[METRIC_RATED], 0);
    engine_snapshot_release(s.w);
    served_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_arm_that_stood_in_learns_and_the_chosen_one_has_the_failure),
        cmocka_unit_test(naming_the_chosen_arm_says_that_nobody_stood_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
