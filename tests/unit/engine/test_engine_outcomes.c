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

/* ---- many at once ---- */

enum { MANY = 1000 };

static void a_thousand_reports_share_a_commit_and_each_has_its_answer(void **state)
{
    (void)state;
    struct served s;
    open_two(&s, NULL);
    static uint8_t tokens[MANY][1024];
    static struct report_in ins[MANY + 1];
    static struct report_result results[MANY];
    struct engine_weight good = {text("reward"), .5}, bad = {text("reward"), 7};
    memset(ins, 0, sizeof ins);
    for (int i = 0; i < MANY; i++) {
        served_route(&s);
        assert_true(s.route->token_len <= sizeof tokens[i]);
        memcpy(tokens[i], s.route->token, s.route->token_len);
        ins[i] = (struct report_in){
            .token = {tokens[i], s.route->token_len}, .metrics = &good, .metrics_n = 1};
    }
    ins[10].metrics = &bad;
    tokens[20][40] ^= 1;
    ins[31].token = ins[30].token;
    assert_int_equal(engine_reports(s.w, ins, MANY, results, &s.detail), OK);
    uint64_t least = UINT64_MAX, most = 0;
    for (int i = 0; i < MANY; i++) {
        const struct report_result *r = &results[i];
        assert_int_equal(r->err, i == 10   ? ERR_OUT_OF_RANGE
                                 : i == 20 ? ERR_DECISION_NOT_FOUND
                                           : OK);
        if (r->err != OK) {
            assert_true(r->detail.text[0]);
            continue;
        }
        assert_int_equal(r->out.counted_n, i == 31 ? 0 : 1);
        assert_int_equal(r->out.duplicate, i == 31);
        least = r->out.position < least ? r->out.position : least;
        most = r->out.position > most ? r->out.position : most;
    }
    assert_int_equal(served_folded(&s), MANY - 3);
    /* Nothing came in between: one batch. */
    assert_true(most - least <= MANY);
    assert_int_equal(engine_reports(s.w, ins, MANY, results, &s.detail), OK);
    assert_true(results[0].out.duplicate);
    assert_int_equal(engine_reports(s.w, ins, MANY + 1, results, &s.detail), ERR_OUT_OF_RANGE);
    assert_int_equal(engine_reports(s.w, ins, 0, results, &s.detail), ERR_OUT_OF_RANGE);
    served_verify(&s);
    served_close(&s);
}

/* ---- pieces ---- */

static void sum(struct router_config *c)
{
    c->settings.aggregation = AGGREGATE_SUM;
}

static void a_router_that_sums_wants_keys_and_counts_each_once(void **state)
{
    (void)state;
    struct served s;
    open_two(&s, sum);
    served_route(&s);
    struct engine_weight m = {text("reward"), .25};
    struct report_in in = {
        .token = {s.route->token, s.route->token_len}, .metrics = &m, .metrics_n = 1};
    assert_int_equal(served_report(&s, &in), ERR_PIECE_KEY_REQUIRED);
    for (int twice = 0; twice < 2; twice++) {
        in.piece_key = text("step 1");
        assert_int_equal(served_report(&s, &in), OK);
        assert_int_equal(s.report.duplicate, twice);
        in.piece_key = text("step 2");
        assert_int_equal(served_report(&s, &in), OK);
        assert_int_equal(s.report.counted_n, 1 - twice);
    }
    const struct snapshot *p = engine_snapshot_acquire(s.w);
    const struct router_view *r = snapshot_router(p, "default", 7);
    int k = router_view_arm(r, s.route->arm, strlen(s.route->arm));
    assert_int_equal(r->arms[k]->n[0], 1);
    assert_true(r->arms[k]->mean_raw[0] == .5);
    engine_snapshot_release(s.w);
    char longest[PIECE_KEY_BYTES + 2];
    memset(longest, 'k', sizeof longest);
    longest[PIECE_KEY_BYTES + 1] = '\0';
    in.piece_key = text(longest);
    assert_int_equal(served_report(&s, &in), ERR_TOO_LARGE);
    served_verify(&s);
    served_close(&s);
}

static void aggregation_is_fixed_and_no_logarithm_can_be_added_up(void **state)
{
    (void)state;
    struct served s;
    open_two(&s, sum);
    struct router_config c;
    const struct snapshot *p = engine_snapshot_acquire(s.w);
    c = *snapshot_router(p, "default", 7)->config;
    engine_snapshot_release(s.w);
    c.settings.aggregation = AGGREGATE_MEAN;
    assert_int_equal(engine_router_update(s.w, &c, &s.detail), ERR_FIXED_AT_CREATION);
    assert_non_null(strstr(s.detail.text, "aggregation"));
    settings_defaults(&c, "logs");
    c.settings.aggregation = AGGREGATE_MEAN;
    c.metrics[0].logarithmic = true;
    c.metrics[0].norm_low = .1;
    assert_int_equal(engine_router_create(s.w, &c, &s.detail), ERR_INVALID);
    assert_non_null(strstr(s.detail.text, "logarithmic"));
    served_close(&s);
}

/* ---- sources ---- */

static void novices(struct router_config *c)
{
    struct sources *s = &c->settings.sources;
    assert_int_equal(sources_put(s, text("novice"), text("log_only max_per_min=2"), NULL), OK);
    assert_int_equal(sources_put(s, text("spam"), text("refuse"), NULL), OK);
}

static enum err say(struct served *s, const char *source, double value)
{
    struct engine_weight m = {text("reward"), value};
    struct report_in in = {.token = {s->route->token, s->route->token_len},
                           .metrics = &m,
                           .metrics_n = 1,
                           .source = text(source)};
    return served_report(s, &in);
}

static void a_source_is_gated_refused_or_capped_by_its_rule(void **state)
{
    (void)state;
    struct served s;
    open_two(&s, novices);
    served_route(&s);
    assert_int_equal(say(&s, "spam", 0), ERR_SOURCE_REFUSED);
    assert_int_equal(say(&s, SOURCE_DEFAULT, 0), ERR_INVALID);
    assert_int_equal(say(&s, "no name", 0), ERR_BAD_NAME);
    assert_int_equal(say(&s, "novice", 7), ERR_OUT_OF_RANGE); /* Not counted against the cap. */
    /* Two a minute: of six, within at most two minutes, two to four pass. */
    int passed = 0, capped = 0;
    for (int i = 0; i < 6; i++) {
        enum err e = say(&s, "novice", 0);
        passed += e == OK && s.report.gated && !s.report.counted_n;
        capped += e == ERR_SOURCE_CAP;
    }
    assert_int_equal(passed + capped, 6);
    assert_true(passed >= 2 && passed <= 4);
    assert_int_equal(served_folded(&s), 0);
    assert_int_equal(say(&s, "judge", .5), OK);
    assert_false(s.report.gated);
    assert_int_equal(s.report.counted_n, 1);
    served_again(&s);
    const struct snapshot *p = engine_snapshot_acquire(s.w);
    const struct router_view *r = snapshot_router(p, "default", 7);
    assert_int_equal(r->gated, passed);
    assert_int_equal(r->outcomes_folded, 1);
    assert_int_equal(r->config->settings.sources.n, 2);
    engine_snapshot_release(s.w);
    served_verify(&s);
    served_close(&s);
}

/* ---- defaults ---- */

static void give_default(struct router_config *c, const char *metric, double raw)
{
    memset(&c->settings.defaults, 0, sizeof c->settings.defaults);
    assert_int_equal(
        defaults_put(&c->settings.defaults, (struct slice){metric, strlen(metric)}, raw, NULL), OK);
}

static void worst_after_a_second(struct router_config *c)
{
    give_default(c, "reward", 0);
    c->settings.reward_wait_s = 1;
}

/* As the published snapshot has it. */
static uint64_t defaulted(struct served *s, uint64_t *ret_unaccounted)
{
    const struct snapshot *p = engine_snapshot_acquire(s->w);
    const struct router_view *r = snapshot_router(p, "default", 7);
    uint64_t n = r->defaulted;
    *ret_unaccounted = r->unaccounted;
    engine_snapshot_release(s->w);
    return n;
}

static void what_nobody_rates_gets_its_default_once_also_across_a_restart(void **state)
{
    (void)state;
    struct served s;
    uint64_t lost;
    open_two(&s, worst_after_a_second);
    for (int i = 0; i < 20; i++) {
        served_route(&s);
        if (i % 4 == 0)
            assert_int_equal(served_tell(&s, "reward", 1, OUTCOME_OK), OK);
        else if (i % 4 == 1)
            assert_int_equal(served_tell(&s, "cost_usd", .5, OUTCOME_OK), OK);
    }
    served_again(&s); /* The log is all there. */
    for (int i = 0; i < 600 && defaulted(&s, &lost) < 15; i++)
        served_nap(50);
    assert_int_equal(defaulted(&s, &lost), 15);
    assert_int_equal(lost, 0);
    assert_int_equal(served_folded(&s), 20);
    assert_int_equal(served_tell(&s, "reward", 1, OUTCOME_OK), ERR_DECISION_LATE);
    served_again(&s);
    served_nap(2000);
    assert_int_equal(defaulted(&s, &lost), 15);
    assert_int_equal(lost, 0);
    served_verify(&s);
    served_close(&s);
}

static void a_default_needs_the_whole_decision_log_and_a_rated_metric(void **state)
{
    (void)state;
    struct served s;
    open_two(&s, NULL);
    struct router_config c;
    settings_defaults(&c, "r");
    give_default(&c, "reward", 0);
    c.settings.decision_log = DECISION_LOG_KEEP_SAMPLE;
    assert_int_equal(engine_router_create(s.w, &c, &s.detail), ERR_LOG_REQUIRED);
    c.settings.decision_log = DECISION_LOG_KEEP_ALL;
    give_default(&c, "reward", 7);
    assert_int_equal(engine_router_create(s.w, &c, &s.detail), ERR_OUT_OF_RANGE);
    give_default(&c, "cost_usd", 7);
    assert_int_equal(engine_router_create(s.w, &c, &s.detail), ERR_INVALID);
    give_default(&c, "nothing", 7);
    assert_int_equal(engine_router_create(s.w, &c, &s.detail), ERR_METRIC_NOT_FOUND);
    served_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_arm_that_stood_in_learns_and_the_chosen_one_has_the_failure),
        cmocka_unit_test(naming_the_chosen_arm_says_that_nobody_stood_in),
        cmocka_unit_test(a_thousand_reports_share_a_commit_and_each_has_its_answer),
        cmocka_unit_test(a_router_that_sums_wants_keys_and_counts_each_once),
        cmocka_unit_test(aggregation_is_fixed_and_no_logarithm_can_be_added_up),
        cmocka_unit_test(a_source_is_gated_refused_or_capped_by_its_rule),
        cmocka_unit_test(what_nobody_rates_gets_its_default_once_also_across_a_restart),
        cmocka_unit_test(a_default_needs_the_whole_decision_log_and_a_rated_metric),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
