/* What a request asks of an arm, through the whole engine: labels, stages, capabilities, limits. */
#include "server/engine/engine.h"
#include "server/route/eligible.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/engine/served.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ASSERT_ERR(call, code, part)                                                               \
    do {                                                                                           \
        assert_int_equal(call, code);                                                              \
        if (!strstr(s.detail.text, part))                                                          \
            fail_msg("\"%s\" does not name \"%s\"", s.detail.text, part);                          \
    } while (0)

static void add(struct served *s, const char *name, const char *tier, struct capability can)
{
    struct arm_config arm = {.can = can};
    strcpy(arm.name, name);
    if (tier)
        assert_int_equal(labels_put(&arm.labels, text("tier"), text(tier), NULL), OK);
    if (engine_arm_add(s->w, text("default"), &arm, &s->detail) != OK)
        fail_msg("%s", s->detail.text);
}

static void with_stages(struct router_config *config)
{
    struct stages *t = &config->settings.stages;
    assert_int_equal(stages_put(t, text("plan"), text("tier=large"), NULL), OK);
    assert_int_equal(stages_put(t, text("any"), text(""), NULL), OK);
}

static void open_three(struct served *s)
{
    served_open(s);
    served_router(s, "default", with_stages);
    add(s, "nano", "small", (struct capability){1200, 500, 1 << MODALITY_TEXT, DECLARED_NO, 0});
    add(s, "mid", "medium", (struct capability){.tools = DECLARED_YES, .json = DECLARED_NO});
    add(s, "max", "large", (struct capability){200000, 64000, 3, DECLARED_YES, DECLARED_YES});
}

/* Every arm that is drawn over 60 requests, as "max,mid,nano," in the order of the arms. */
static const char *drawn(struct served *s, const struct route_in *in)
{
    static const char *const names[] = {"nano", "mid", "max"};
    static char text[64];
    bool seen[3] = {false};
    for (int i = 0; i < 60; i++) {
        if (served_ask(s, in) != OK)
            fail_msg("%s", s->detail.text);
        for (int k = 0; k < 3; k++)
            seen[k] = seen[k] || strcmp(s->route->arm, names[k]) == 0;
    }
    text[0] = '\0';
    for (int k = 0; k < 3; k++)
        if (seen[k])
            snprintf(text + strlen(text), sizeof text - strlen(text), "%s,", names[k]);
    return text;
}

static void a_selector_chooses_among_arms_by_their_labels(void **state)
{
    (void)state;
    struct served s;
    open_three(&s);
    struct route_in in = {.text = text("x"), .selector = text("tier in (small, medium)")};
    assert_string_equal(drawn(&s, &in), "nano,mid,");
    in.selector = text("tier,tier!=small,!beta");
    assert_string_equal(drawn(&s, &in), "mid,max,");
    in.selector = text("  ");
    assert_string_equal(drawn(&s, &in), "nano,mid,max,");
    in.selector = text("tier=none");
    ASSERT_ERR(served_ask(&s, &in), ERR_NO_ELIGIBLE_ARM, "nano: NOT_SELECTED; mid: NOT_SELECTED");
    in.selector = text("tier=a,=");
    ASSERT_ERR(served_ask(&s, &in), ERR_BAD_SELECTOR, "selector, position 8: found `=`");
    served_again(&s); /* Labels are state. */
    in.selector = text("tier=large");
    assert_string_equal(drawn(&s, &in), "max,");
    served_verify(&s);
    served_close(&s);
}

static void a_stage_allows_what_its_selector_takes_and_an_unknown_one_is_an_error(void **state)
{
    (void)state;
    struct served s;
    open_three(&s);
    struct route_in in = {.text = text("x"), .stage = text("plan")};
    assert_string_equal(drawn(&s, &in), "max,");
    in.stage = text("any");
    assert_string_equal(drawn(&s, &in), "nano,mid,max,");
    in.stage = text("act");
    ASSERT_ERR(served_ask(&s, &in), ERR_STAGE_NOT_FOUND, "no stage `act`");
    in.stage = text("a b");
    ASSERT_ERR(served_ask(&s, &in), ERR_BAD_NAME, "stage");
    in.stage = text("plan");
    in.selector = text("tier=small");
    ASSERT_ERR(served_ask(&s, &in), ERR_NO_ELIGIBLE_ARM, "nano: NOT_IN_STAGE");
    struct router_config config;
    settings_defaults(&config, "other");
    assert_int_equal(stages_put(&config.settings.stages, text("bad"), text("a=b=c"), NULL), OK);
    ASSERT_ERR(engine_router_create(s.w, &config, &s.detail), ERR_BAD_SELECTOR,
               "stages.bad, position 4");
    served_close(&s);
}

static void a_request_gets_only_arms_that_can_do_it(void **state)
{
    (void)state;
    struct served s;
    open_three(&s);
    static char prompt[3601];
    memset(prompt, 'a', sizeof prompt);
    struct route_in in = {.text = {prompt, 2100}}; /* 700 tokens by its bytes. */
    in.agent.max_output_tokens = 500;
    assert_string_equal(drawn(&s, &in), "nano,mid,max,");
    in.agent.max_output_tokens = 501;
    assert_string_equal(drawn(&s, &in), "mid,max,");
    in.text.len = 3601;
    in.agent.max_output_tokens = 0;
    assert_string_equal(drawn(&s, &in), "mid,max,");
    in.input_tokens = 1000; /* The caller knows better. */
    assert_string_equal(drawn(&s, &in), "nano,mid,max,");
    in.agent.images = 1;
    assert_string_equal(drawn(&s, &in), "mid,max,");
    in.modalities = 1 << MODALITY_AUDIO;
    assert_string_equal(drawn(&s, &in), "mid,");
    in.agent.json_required = true;
    ASSERT_ERR(served_ask(&s, &in), ERR_NO_ELIGIBLE_ARM, "nano: NO_MODALITY (image, audio)");
    assert_non_null(strstr(s.detail.text, "mid: NO_JSON"));
    assert_non_null(strstr(s.detail.text, "max: NO_MODALITY (audio)"));
    in.modalities = 0;
    in.agent.images = 0;
    in.agent.tools_required = true;
    assert_string_equal(drawn(&s, &in), "max,");
    served_close(&s);
}

static void teach(struct served *s, const char *arm, int n, double cost)
{
    struct slice only[1] = {text(arm)};
    struct route_in in = {.text = text("x"), .candidates = only, .candidates_n = 1};
    for (int i = 0; i < n; i++) {
        assert_int_equal(served_ask(s, &in), OK);
        assert_int_equal(served_tell(s, "cost_usd", cost, OUTCOME_OK), OK);
    }
}

static void a_limit_leaves_out_what_is_known_to_break_it_and_says_the_figures(void **state)
{
    (void)state;
    struct served s;
    open_three(&s);
    teach(&s, "nano", 60, .0001);
    teach(&s, "max", 60, .02);
    struct engine_weight limits[2] = {{text("cost_usd"), .001}, {text("quality"), .2}};
    struct route_in in = {.text = text("x"), .limits = limits, .limits_n = 2};
    assert_string_equal(drawn(&s, &in), "nano,mid,"); /* mid was never seen. */
    teach(&s, "mid", 60, .005);
    assert_string_equal(drawn(&s, &in), "nano,");
    limits[0].value = .00001;
    ASSERT_ERR(served_ask(&s, &in), ERR_NO_ELIGIBLE_ARM, "nano: OVER_LIMIT (cost_usd is predicted");
    assert_non_null(strstr(s.detail.text, "wanted is at most 1e-05"));
    limits[0].value = -1;
    ASSERT_ERR(served_ask(&s, &in), ERR_OUT_OF_RANGE, "cost_usd");
    limits[0].name = text("carbon_g");
    ASSERT_ERR(served_ask(&s, &in), ERR_METRIC_NOT_FOUND, "carbon_g");
    served_close(&s);
}

static void where_no_arm_keeps_a_limit_surely_the_prediction_decides_and_it_is_said(void **state)
{
    (void)state;
    struct served s;
    open_three(&s);
    teach(&s, "nano", 60, .0001);
    teach(&s, "mid", 60, .005);
    teach(&s, "max", 60, .02);
    /* 1.05 times what nano costs: not sure, and nobody is. */
    struct engine_weight limits[1] = {{text("cost_usd"), .000105}};
    struct route_in in = {.text = text("x"), .limits = limits, .limits_n = 1, .explain = true};
    assert_string_equal(drawn(&s, &in), "nano,");
    assert_true(s.route->limits_uncertain);
    /* 1.05 times what mid costs, which nano keeps surely: mid is left out, and says why. */
    limits[0].value = .00525;
    assert_string_equal(drawn(&s, &in), "nano,");
    assert_false(s.route->limits_uncertain);
    assert_int_equal(s.route->excluded_n, 2);
    assert_int_equal(s.route->excluded[0].why, UNCERTAIN);
    assert_non_null(strstr(s.route->excluded[0].detail, "with its uncertainty"));
    assert_int_equal(s.route->excluded[1].why, OVER_LIMIT);
    served_verify(&s);
    served_close(&s);
}

static void who_was_left_out_is_shown_with_explain_or_dry_run_alone(void **state)
{
    (void)state;
    struct served s;
    open_three(&s);
    struct route_in in = {.text = text("x"), .selector = text("tier!=small"), .explain = true};
    in.input_tokens = 150000;
    in.agent.max_output_tokens = 60000;
    assert_int_equal(served_ask(&s, &in), OK);
    assert_string_equal(s.route->arm, "mid");
    assert_true(s.route->shows_excluded);
    assert_int_equal(s.route->excluded_n, 2);
    assert_string_equal(s.route->excluded[0].name, "nano");
    assert_int_equal(s.route->excluded[0].why, NOT_SELECTED);
    assert_string_equal(s.route->excluded[0].detail, "");
    assert_string_equal(s.route->excluded[1].name, "max");
    assert_int_equal(s.route->excluded[1].why, PROMPT_TOO_LONG);
    assert_string_equal(s.route->excluded[1].detail,
                        "150000 tokens in and 60000 out, window 200000");
    in.explain = false;
    in.dry_run = true;
    assert_int_equal(served_ask(&s, &in), OK);
    assert_int_equal(s.route->excluded_n, 2);
    in.dry_run = false;
    assert_int_equal(served_ask(&s, &in), OK);
    assert_false(s.route->shows_excluded);
    assert_int_equal(s.route->excluded_n, 0);
    /* The same decision asked for again shows the same arms. */
    in.explain = true;
    in.decision_id = text("0190163d-8694-739b-aea5-966c26f8ad91");
    in.body = text("body");
    for (int i = 0; i < 2; i++) {
        memset(s.route, 0x55, sizeof *s.route);
        assert_int_equal(served_ask(&s, &in), OK);
        assert_int_equal(s.route->excluded_n, 2);
        assert_int_equal(s.route->excluded[1].why, PROMPT_TOO_LONG);
    }
    served_close(&s);
}

static void many_arms_that_cannot_serve_are_counted_not_listed(void **state)
{
    (void)state;
    struct served s;
    served_open(&s);
    served_router(&s, "default", NULL);
    for (int i = 0; i < 100; i++) {
        char name[16];
        snprintf(name, sizeof name, "arm-%03d", i);
        add(&s, name, i ? "small" : "large", (struct capability){0});
    }
    struct route_in in = {.text = text("x"), .selector = text("tier=none")};
    ASSERT_ERR(served_ask(&s, &in), ERR_NO_ELIGIBLE_ARM, "arm-000: NOT_SELECTED; arm-001");
    const char *more = strstr(s.detail.text, "; and ");
    assert_non_null(more);
    unsigned listed = 0;
    for (const char *at = s.detail.text; (at = strstr(at, "NOT_SELECTED")); at++)
        listed++;
    assert_int_equal(strtoul(more + 6, NULL, 10), 100 - listed);
    assert_true(listed > 10);
    in.selector = text("tier=large");
    in.dry_run = true;
    assert_int_equal(served_ask(&s, &in), OK);
    assert_int_equal(s.route->excluded_n, 99);
    assert_string_equal(s.route->excluded[MAX_EXCLUDED - 1].name, "arm-064");
    served_close(&s);
}

/* An arm in cooldown serves when nothing else is left, but not what it cannot do. */
static void a_cooling_arm_that_cannot_do_it_stays_out(void **state)
{
    (void)state;
    struct served s;
    served_open(&s);
    served_router(&s, "default", NULL);
    add(&s, "a", "small", (struct capability){.tools = DECLARED_NO});
    struct route_in in = {.text = text("x")};
    for (int i = 0; i < 6; i++) {
        assert_int_equal(served_ask(&s, &in), OK);
        assert_int_equal(served_tell(&s, "", 0, OUTCOME_ERROR), OK);
    }
    in.explain = true;
    assert_int_equal(served_ask(&s, &in), OK);
    assert_int_equal(s.route->reason, REASON_ALL_COOLING);
    assert_int_equal(s.route->excluded_n, 0);
    in.agent.tools_required = true;
    ASSERT_ERR(served_ask(&s, &in), ERR_NO_ELIGIBLE_ARM, "a: NO_TOOLS");
    served_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_selector_chooses_among_arms_by_their_labels),
        cmocka_unit_test(a_stage_allows_what_its_selector_takes_and_an_unknown_one_is_an_error),
        cmocka_unit_test(a_request_gets_only_arms_that_can_do_it),
        cmocka_unit_test(a_limit_leaves_out_what_is_known_to_break_it_and_says_the_figures),
        cmocka_unit_test(where_no_arm_keeps_a_limit_surely_the_prediction_decides_and_it_is_said),
        cmocka_unit_test(who_was_left_out_is_shown_with_explain_or_dry_run_alone),
        cmocka_unit_test(many_arms_that_cannot_serve_are_counted_not_listed),
        cmocka_unit_test(a_cooling_arm_that_cannot_do_it_stays_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
