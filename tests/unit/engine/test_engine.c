#include "server/engine/engine.h"
#include "server/loop/audit.h"
#include "server/route/decide.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/engine/served.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void four_slots(struct router_config *c)
{
    c->spec.task_slots = 4;
    c->spec.features_n = 2;
}

static void open_with_arms(struct served *s)
{
    served_open(s);
    served_router(s, "default", four_slots);
    served_arm(s, "default", "a");
    served_arm(s, "default", "b");
    served_arm(s, "default", "c");
}

/* The code, and a sentence that names the thing. */
#define ASSERT_ERR(call, code, names)                                                              \
    do {                                                                                           \
        enum err e_ = (call);                                                                      \
        if (e_ != (code) || !strstr(s.detail.text, (names)))                                       \
            fail_msg("%s: \"%s\" does not name \"%s\"", err_code(e_), s.detail.text, (names));     \
    } while (0)

/* ---- the main job ---- */

static void a_decision_is_learned_from_and_the_next_one_sees_it(void **state)
{
    (void)state;
    struct served s;
    open_with_arms(&s);
    for (uint64_t i = 1; i <= 30; i++) {
        served_route(&s);
        assert_true(s.route->propensity > 0 && s.route->propensity <= 1);
        assert_int_equal(strlen(s.route->decision_id), 36);
        assert_int_equal(served_tell(&s, "reward", .5, OUTCOME_OK), OK);
        assert_false(s.report.duplicate || s.report.unweighted || s.report.orphaned);
        assert_int_equal(s.report.counted_n, 1);
        assert_string_equal(s.report.counted[0], "reward");
        uint64_t position = s.report.position;
        assert_int_equal(served_folded(&s), i);
        served_route(&s);
        assert_true(s.route->position >= position);
    }
    served_verify(&s);
    served_close(&s);
}

static void a_duplicate_says_so_and_what_has_no_weight_too(void **state)
{
    (void)state;
    struct served s;
    open_with_arms(&s);
    served_route(&s);
    assert_int_equal(served_tell(&s, "reward", .5, OUTCOME_OK), OK);
    uint64_t position = s.report.position;
    assert_int_equal(served_tell(&s, "reward", .7, OUTCOME_OK), OK);
    assert_true(s.report.duplicate);
    assert_int_equal(s.report.counted_n, 0);
    assert_true(s.report.position >= position);
    assert_int_equal(served_tell(&s, "cost_usd", .7, OUTCOME_OK), OK);
    assert_true(s.report.unweighted && !s.report.duplicate);
    assert_string_equal(s.report.counted[0], "cost_usd");
    served_close(&s);
}

static void everything_is_there_after_a_restart(void **state)
{
    (void)state;
    struct served s;
    open_with_arms(&s);
    struct route_out first;
    for (int i = 0; i < 25; i++) {
        served_route(&s);
        if (i == 0)
            first = *s.route;
        if (i % 5 && i > 0)
            assert_int_equal(served_tell(&s, "reward", .5, OUTCOME_OK), OK);
    }
    uint64_t folded = served_folded(&s), a = served_issued(&s, "a"), b = served_issued(&s, "b"),
             c = served_issued(&s, "c"), requests = served_issued(&s, NULL);
    assert_int_equal(a + b + c, 25);
    for (int round = 0; round < 3; round++) {
        served_again(&s);
        assert_int_equal(served_folded(&s), folded);
        assert_int_equal(served_issued(&s, "a"), a);
        assert_int_equal(served_issued(&s, "b"), b);
        assert_int_equal(served_issued(&s, "c"), c);
        assert_int_equal(served_issued(&s, NULL), requests);
        struct engine_positions p = engine_positions(s.e);
        assert_int_equal(p.folded, p.journal);
        served_verify(&s);
    }
    /* Tokens too: they are opened with keys that are part of the state. */
    *s.route = first;
    assert_int_equal(served_tell(&s, "reward", .5, OUTCOME_OK), OK);
    assert_false(s.report.duplicate);
    served_close(&s);
}

static void a_restart_without_traffic_writes_nothing_to_the_journal(void **state)
{
    (void)state;
    struct served s;
    open_with_arms(&s);
    for (int i = 0; i < 5; i++)
        served_route(&s);
    served_again(&s);
    uint64_t journal = engine_positions(s.e).journal;
    served_again(&s);
    served_again(&s);
    assert_int_equal(engine_positions(s.e).journal, journal);
    served_close(&s);
}

/* ---- tokens and ids ---- */

static void a_token_that_is_not_ours_is_unknown_whatever_is_wrong_with_it(void **state)
{
    (void)state;
    struct served s;
    open_with_arms(&s); /* Another server; a thread has one worker at a time. */
    served_route(&s);
    uint8_t foreign[sizeof s.route->token];
    size_t foreign_len = s.route->token_len;
    memcpy(foreign, s.route->token, foreign_len);
    served_close(&s);
    open_with_arms(&s);
    served_route(&s);
    struct report_in in = {.status = OUTCOME_ERROR};
    char sentence[sizeof s.detail.text];
    for (int kind = 0; kind < 5; kind++) {
        uint8_t token[sizeof s.route->token];
        memcpy(token, s.route->token, s.route->token_len);
        in.token = (struct slice){token, s.route->token_len};
        in.decision_id = (struct slice){NULL, 0};
        if (kind == 0)
            token[s.route->token_len - 1] ^= 1;
        if (kind == 1)
            in.token.len -= 1;
        if (kind == 2)
            in.decision_id = text("00000000-0000-7000-8000-000000000000"); /* Not its id. */
        if (kind == 3)
            in.token = text("garbage");
        if (kind == 4)
            in.token = (struct slice){foreign, foreign_len};
        ASSERT_ERR(served_report(&s, &in), ERR_DECISION_NOT_FOUND, "not known");
        if (kind > 0)
            assert_string_equal(s.detail.text, sentence);
        strcpy(sentence, s.detail.text);
    }
    assert_int_equal(served_folded(&s), 0);
    served_close(&s);
}

static void a_token_of_a_rotated_key_opens_until_sixteen_newer_ones_came(void **state)
{
    (void)state;
    struct served s;
    open_with_arms(&s);
    served_route(&s);
    uint32_t id, n;
    for (int i = 0; i < 15; i++)
        assert_int_equal(engine_keys_rotate(s.w, &id, &n, &s.detail), OK);
    assert_int_equal(n, 16);
    assert_int_equal(served_tell(&s, "reward", .5, OUTCOME_OK), OK);
    assert_int_equal(engine_keys_rotate(s.w, &id, &n, &s.detail), OK);
    assert_int_equal(n, 16);
    ASSERT_ERR(served_tell(&s, "cost_usd", .5, OUTCOME_OK), ERR_DECISION_NOT_FOUND, "not known");
    served_close(&s);
}

static void without_its_token_a_decision_is_found_in_the_decision_log(void **state)
{
    (void)state;
    struct served s;
    open_with_arms(&s);
    served_route(&s);
    struct engine_weight m = {text("reward"), .5};
    struct report_in in = {
        .decision_id = text(s.route->decision_id), .metrics = &m, .metrics_n = 1};
    assert_int_equal(served_report(&s, &in), OK);
    assert_false(s.report.duplicate);
    assert_int_equal(served_tell(&s, "reward", .5, OUTCOME_OK), OK); /* The same one. */
    assert_true(s.report.duplicate);
    in.decision_id = text("01234567-89ab-7def-8123-456789abcdef");
    ASSERT_ERR(served_report(&s, &in), ERR_DECISION_NOT_FOUND, "not known");
    in.decision_id = text("nonsense");
    ASSERT_ERR(served_report(&s, &in), ERR_BAD_ID, "UUID");
    in.decision_id = text("");
    ASSERT_ERR(served_report(&s, &in), ERR_INVALID, "decision_id");
    served_close(&s);
}

static void a_callers_id_sent_again_gets_the_same_decision(void **state)
{
    (void)state;
    struct served s;
    open_with_arms(&s);
    struct route_in in = {
        .text = text("hello"),
        .decision_id = text("01234567-89ab-4def-8123-456789abcdef"),
        .body = text("the body"),
        .max_ranked = 3,
        .explain = true,
    };
    assert_int_equal(served_ask(&s, &in), OK);
    assert_string_equal(s.route->decision_id, "01234567-89ab-4def-8123-456789abcdef");
    struct route_out *first = malloc(sizeof *first);
    assert_non_null(first);
    *first = *s.route;
    for (int i = 0; i < 20; i++) {
        memset(s.route, 0xee, sizeof *s.route);
        assert_int_equal(served_ask(&s, &in), OK);
        assert_string_equal(s.route->decision_id, first->decision_id);
        assert_string_equal(s.route->arm, first->arm);
        assert_int_equal(s.route->token_len, first->token_len);
        assert_memory_equal(s.route->token, first->token, first->token_len);
        assert_true(s.route->propensity == first->propensity);
        assert_int_equal(s.route->reason, first->reason);
        assert_int_equal(s.route->arm_version, first->arm_version);
        assert_int_equal(s.route->position, first->position);
        assert_int_equal(s.route->ranked_n, first->ranked_n);
        assert_int_equal(s.route->metrics_n, first->metrics_n);
        assert_int_equal(s.route->weighted_mask, first->weighted_mask);
        assert_string_equal(s.route->ranked[2].name, first->ranked[2].name);
        assert_string_equal(s.route->metric_names[1], first->metric_names[1]);
    }
    free(first);
    assert_int_equal(served_issued(&s, NULL), 1);
    in.body = text("another body");
    ASSERT_ERR(served_ask(&s, &in), ERR_ID_REUSED, "decision_id");
    in.decision_id = text("01234567-89ab-4def-8123-456789abcde");
    ASSERT_ERR(served_ask(&s, &in), ERR_BAD_ID, "UUID");
    served_close(&s);
}

static void an_id_whose_request_failed_may_be_used_again(void **state)
{
    (void)state;
    struct served s;
    open_with_arms(&s);
    struct route_in in = {.decision_id = text("01234567-89ab-4def-8123-456789abcdef"),
                          .body = text("x"),
                          .router = text("nowhere")};
    ASSERT_ERR(served_ask(&s, &in), ERR_ROUTER_NOT_FOUND, "nowhere");
    in.router = text("default");
    in.body = text("y");
    assert_int_equal(served_ask(&s, &in), OK);
    served_close(&s);
}

static void a_dry_run_leaves_no_trace(void **state)
{
    (void)state;
    struct served s;
    open_with_arms(&s);
    for (int i = 0; i < 5; i++)
        served_route(&s);
    uint64_t requests = served_issued(&s, NULL), journal = engine_positions(s.e).journal;
    struct route_in in = {.text = text("hello"),
                          .task = text("unheard-of"),
                          .decision_id = text("01234567-89ab-4def-8123-456789abcdef"),
                          .dry_run = true,
                          .max_ranked = 3};
    struct explain_out explained;
    for (int i = 0; i < 30; i++) {
        assert_int_equal(served_ask(&s, &in), OK);
        assert_int_equal(s.route->token_len, 0);
        assert_string_equal(s.route->decision_id, "");
        assert_int_equal(s.route->ranked_n, 3);
    }
    assert_int_equal(served_issued(&s, NULL), requests);
    assert_int_equal(served_issued(&s, "a") + served_issued(&s, "b") + served_issued(&s, "c"),
                     requests);
    assert_int_equal(engine_explain(s.w, in.decision_id, &explained, &s.detail),
                     ERR_DECISION_NOT_FOUND);
    /* An event that comes after would show a label learned meanwhile. */
    assert_int_equal(engine_arm_pause(s.w, text("default"), text("a"), false, &s.detail), OK);
    const struct snapshot *p = engine_snapshot_acquire(s.w);
    assert_int_equal(snapshot_router(p, "default", 7)->config->tasks_n, 0);
    engine_snapshot_release(s.w);
    assert_true(engine_positions(s.e).journal <= journal + 2); /* The pause and one tally. */
    in.dry_run = false;
    in.body = text("z");
    assert_int_equal(served_ask(&s, &in), OK); /* The id was not remembered either. */
    served_close(&s);
}

static void explain_shows_what_was_decided_and_with_what(void **state)
{
    (void)state;
    struct served s;
    open_with_arms(&s);
    for (int i = 0; i < 20; i++) {
        served_route(&s);
        served_tell(&s, "reward", s.route->arm[0] == 'b' ? .9 : .2, OUTCOME_OK);
    }
    struct engine_weight w[2] = {{text("quality"), .5}, {text("cost_usd"), .25}};
    struct route_in in = {.text = text("hello"), .weights = w, .weights_n = 2, .max_ranked = 3};
    assert_int_equal(served_ask(&s, &in), OK);
    struct explain_out x;
    if (engine_explain(s.w, text(s.route->decision_id), &x, &s.detail) != OK)
        fail_msg("%s", s.detail.text);
    assert_string_equal(x.router, "default");
    assert_string_equal(x.arm, s.route->arm);
    assert_int_equal(x.position, s.route->position);
    assert_true(fabs((double)x.decision.propensity - s.route->propensity) < 1e-6);
    assert_int_equal(x.arms_n, 3);
    double sum = 0;
    for (uint32_t i = 0; i < 3; i++) {
        sum += x.arms[i].propensity;
        assert_string_equal(x.arms[i].name, s.route->ranked[i].name);
        assert_true(fabs(x.arms[i].mean - s.route->ranked[i].mean) < 1e-6);
        assert_true(fabs(x.arms[i].width - s.route->ranked[i].width) < 1e-6);
        assert_int_equal(x.arms[i].pending, s.route->ranked[i].pending);
    }
    assert_true(fabs(sum - 1) < 1e-5);
    assert_string_equal(x.metric_names[2], "cost_usd");
    assert_true(x.weights[0] == 0 && x.weights[1] == .5 && x.weights[2] == .25);
    explain_out_done(&x);
    ASSERT_ERR(engine_explain(s.w, text("no"), &x, &s.detail), ERR_BAD_ID, "UUID");
    served_close(&s);
}

/* ---- who may be chosen ---- */

static void candidates_and_exclusions_are_kept(void **state)
{
    (void)state;
    struct served s;
    open_with_arms(&s);
    struct slice both[2] = {text("a"), text("c")}, a[1] = {text("a")};
    struct route_in in = {.candidates = both, .candidates_n = 2, .exclude = a, .exclude_n = 1};
    for (int i = 0; i < 20; i++) {
        assert_int_equal(served_ask(&s, &in), OK);
        assert_string_equal(s.route->arm, "c");
        assert_int_equal(s.route->reason, REASON_ONLY_ELIGIBLE);
        assert_true(s.route->propensity == 1);
    }
    struct slice gone[1] = {text("removed-long-ago")};
    in.exclude = gone;
    assert_int_equal(served_ask(&s, &in), OK);
    in.candidates = gone;
    in.candidates_n = 1;
    ASSERT_ERR(served_ask(&s, &in), ERR_ARM_NOT_FOUND, "removed-long-ago");
    in.candidates_n = MAX_CANDIDATES + 1;
    ASSERT_ERR(served_ask(&s, &in), ERR_TOO_LARGE, "256");
    served_close(&s);
}

static void when_no_arm_is_eligible_the_sentence_says_why_of_each(void **state)
{
    (void)state;
    struct served s;
    served_open(&s);
    served_router(&s, "default", NULL);
    struct route_in in = {.text = text("x")};
    ASSERT_ERR(served_ask(&s, &in), ERR_NO_ELIGIBLE_ARM, "no arms");
    served_arm(&s, "default", "a");
    served_arm(&s, "default", "b");
    served_arm(&s, "default", "c");
    assert_int_equal(engine_arm_pause(s.w, text("default"), text("a"), true, &s.detail), OK);
    struct slice ab[2] = {text("a"), text("b")}, b[1] = {text("b")};
    in.candidates = ab;
    in.candidates_n = 2;
    in.exclude = b;
    in.exclude_n = 1;
    ASSERT_ERR(served_ask(&s, &in), ERR_NO_ELIGIBLE_ARM, "a: PAUSED");
    assert_non_null(strstr(s.detail.text, "b: EXCLUDED"));
    assert_non_null(strstr(s.detail.text, "c: NOT_A_CANDIDATE"));
    assert_int_equal(engine_arm_pause(s.w, text("default"), text("a"), false, &s.detail), OK);
    assert_int_equal(served_ask(&s, &in), OK);
    served_close(&s);
}

static void a_task_label_is_learned_in_the_background_and_the_last_slot_is_kept(void **state)
{
    (void)state;
    struct served s;
    open_with_arms(&s);
    static const char *const tasks[] = {"maths", "code", "chat", "law", "art"};
    for (int i = 0; i < 5; i++) {
        struct route_in in = {.task = text(tasks[i])};
        for (int k = 0; k < 4; k++)
            assert_int_equal(served_ask(&s, &in), OK);
        /* Behind the label in the queue: after it, the label is there. */
        assert_int_equal(engine_arm_pause(s.w, text("default"), text("a"), false, &s.detail), OK);
    }
    const struct snapshot *p = engine_snapshot_acquire(s.w);
    const struct router_config *c = snapshot_router(p, "default", 7)->config;
    assert_int_equal(c->tasks_n, 3);
    for (int i = 0; i < 3; i++)
        assert_string_equal(c->tasks[i], tasks[i]);
    engine_snapshot_release(s.w);
    struct route_in in = {.task = text("bad name")};
    ASSERT_ERR(served_ask(&s, &in), ERR_BAD_NAME, "task");
    served_close(&s);
}

static void ranking_is_by_score_and_never_longer_than_asked(void **state)
{
    (void)state;
    struct served s;
    open_with_arms(&s);
    for (int i = 0; i < 40; i++) {
        served_route(&s);
        served_tell(&s, "reward", s.route->arm[0] == 'b' ? .9 : .2, OUTCOME_OK);
    }
    struct route_in in = {.text = text("hello"), .max_ranked = 2, .explain = true};
    assert_int_equal(served_ask(&s, &in), OK);
    assert_int_equal(s.route->ranked_n, 2);
    assert_string_equal(s.route->ranked[0].name, "b");
    assert_true(s.route->ranked[0].mean + s.route->ranked[0].width >=
                s.route->ranked[1].mean + s.route->ranked[1].width);
    assert_true(fabsf(s.route->ranked[0].terms.predicted[0] - .9F) < .1F);
    assert_string_equal(s.route->metric_names[0], "reward");
    in.max_ranked = MAX_RANKED;
    assert_int_equal(served_ask(&s, &in), OK);
    assert_int_equal(s.route->ranked_n, 3);
    in.max_ranked = MAX_RANKED + 1;
    ASSERT_ERR(served_ask(&s, &in), ERR_OUT_OF_RANGE, "max_ranked");
    in.max_ranked = 0;
    assert_int_equal(served_ask(&s, &in), OK);
    assert_int_equal(s.route->ranked_n, 0);
    served_close(&s);
}

/* ---- what is refused ---- */

static void bad_requests_are_refused_with_their_code_and_count_as_nothing(void **state)
{
    (void)state;
    struct served s;
    open_with_arms(&s);
    float features[3] = {1, NAN, 0};
    struct route_in in = {.router = text("nowhere")};
    ASSERT_ERR(served_ask(&s, &in), ERR_ROUTER_NOT_FOUND, "nowhere");
    in.router = text("../etc");
    ASSERT_ERR(served_ask(&s, &in), ERR_BAD_NAME, "router");
    in.router = text("");
    in.features = features;
    in.features_n = 3;
    ASSERT_ERR(served_ask(&s, &in), ERR_WRONG_DIMENSION, "2");
    in.features_n = 2;
    ASSERT_ERR(served_ask(&s, &in), ERR_NOT_FINITE, "1");
    features[1] = 2e6F;
    ASSERT_ERR(served_ask(&s, &in), ERR_OUT_OF_RANGE, "1");
    in.features_n = 0;
    char *large = calloc(1, 5000);
    assert_non_null(large);
    memset(large, 'x', 4999);
    in.text = text(large);
    ASSERT_ERR(served_ask(&s, &in), ERR_TOO_LARGE, "4096");
    free(large);
    in.text = text("");
    struct engine_weight w = {text("fame"), 1};
    in.weights = &w;
    in.weights_n = 1;
    ASSERT_ERR(served_ask(&s, &in), ERR_METRIC_NOT_FOUND, "fame");
    w.name = text("reward");
    w.value = -1;
    ASSERT_ERR(served_ask(&s, &in), ERR_OUT_OF_RANGE, "reward");
    w.value = (double)INFINITY;
    ASSERT_ERR(served_ask(&s, &in), ERR_NOT_FINITE, "reward");
    assert_int_equal(served_issued(&s, NULL), 0);
    served_close(&s);
}

static void bad_reports_are_refused_with_their_code_and_store_nothing(void **state)
{
    (void)state;
    struct served s;
    open_with_arms(&s);
    served_route(&s);
    uint64_t journal = engine_positions(s.e).journal;
    ASSERT_ERR(served_tell(&s, "reward", 1.5, OUTCOME_OK), ERR_OUT_OF_RANGE, "reward");
    ASSERT_ERR(served_tell(&s, "reward", (double)NAN, OUTCOME_OK), ERR_NOT_FINITE, "reward");
    ASSERT_ERR(served_tell(&s, "cost_usd", 1e308, OUTCOME_OK), ERR_OUT_OF_RANGE, "cost_usd");
    ASSERT_ERR(served_tell(&s, "fame", 1, OUTCOME_OK), ERR_METRIC_NOT_FOUND, "fame");
    ASSERT_ERR(served_tell(&s, "", 0, OUTCOME_OK), ERR_INVALID, "no metric");
    ASSERT_ERR(served_tell(&s, "reward", .5, 17), ERR_OUT_OF_RANGE, "17");
    struct engine_weight twice[2] = {{text("reward"), .5}, {text("reward"), .6}};
    struct report_in in = {
        .token = {s.route->token, s.route->token_len}, .metrics = twice, .metrics_n = 2};
    ASSERT_ERR(served_report(&s, &in), ERR_INVALID, "twice");
    in.metrics_n = MAX_METRICS + 1;
    ASSERT_ERR(served_report(&s, &in), ERR_TOO_LARGE, "16");
    assert_int_equal(served_folded(&s), 0);
    assert_true(engine_positions(s.e).journal <= journal + 1); /* A tally may have come. */
    served_close(&s);
}

static void an_outcome_of_a_removed_arm_is_taken_and_said_to_be_orphaned(void **state)
{
    (void)state;
    struct served s;
    open_with_arms(&s);
    served_route(&s);
    assert_int_equal(engine_arm_remove(s.w, text("default"), text(s.route->arm), &s.detail), OK);
    assert_int_equal(served_tell(&s, "reward", .5, OUTCOME_OK), OK);
    assert_true(s.report.orphaned);
    served_arm(&s, "default", s.route->arm);
    for (int i = 0; i < 10; i++)
        served_route(&s); /* The new one has no pull: it comes at once. */
    assert_int_equal(served_folded(&s), 0);
    assert_int_equal(engine_router_remove(s.w, text("default"), &s.detail), OK);
    ASSERT_ERR(served_tell(&s, "reward", .5, OUTCOME_OK), ERR_DECISION_NOT_FOUND, "not known");
    served_close(&s);
}

static void short_wait(struct router_config *c)
{
    c->settings.reward_wait_s = 1;
}

static void a_report_after_reward_wait_is_late(void **state)
{
    (void)state;
    struct served s;
    served_open(&s);
    served_router(&s, "default", short_wait);
    served_arm(&s, "default", "a");
    served_route(&s);
    struct timespec t = {.tv_sec = 1, .tv_nsec = 200000000};
    while (nanosleep(&t, &t) != 0)
        ;
    assert_int_equal(served_tell(&s, "reward", .5, OUTCOME_OK), ERR_DECISION_LATE);
    assert_non_null(strstr(s.detail.text, "reward_wait_s"));
    served_close(&s);
}

/* ---- administration ---- */

static void routers_and_arms_are_refused_with_their_code(void **state)
{
    (void)state;
    struct served s;
    open_with_arms(&s);
    struct router_config c;
    struct arm_config a;
    memset(&a, 0, sizeof a);
    settings_defaults(&c, "default");
    ASSERT_ERR(engine_router_create(s.w, &c, &s.detail), ERR_ROUTER_EXISTS, "default");
    ASSERT_ERR(engine_router_update(s.w, &c, &s.detail), ERR_FIXED_AT_CREATION, "task=4");
    four_slots(&c);
    c.settings.alpha = 1e9;
    ASSERT_ERR(engine_router_update(s.w, &c, &s.detail), ERR_OUT_OF_RANGE, "alpha");
    c.settings.alpha = 1;
    c.settings.ridge[0][0] = 3;
    ASSERT_ERR(engine_router_update(s.w, &c, &s.detail), ERR_FIXED_AT_CREATION, "ridge");
    c.settings.ridge[0][0] = 1;
    c.metrics[0].max = 2;
    ASSERT_ERR(engine_router_update(s.w, &c, &s.detail), ERR_FIXED_AT_CREATION, "metric");
    c.metrics[0].max = 1;
    assert_int_equal(engine_router_update(s.w, &c, &s.detail), OK);
    settings_defaults(&c, "else");
    ASSERT_ERR(engine_router_update(s.w, &c, &s.detail), ERR_ROUTER_NOT_FOUND, "else");
    ASSERT_ERR(engine_router_remove(s.w, text("else"), &s.detail), ERR_ROUTER_NOT_FOUND, "else");
    strcpy(a.name, "a");
    ASSERT_ERR(engine_arm_add(s.w, text("default"), &a, &s.detail), ERR_ARM_EXISTS, "a");
    ASSERT_ERR(engine_arm_add(s.w, text("else"), &a, &s.detail), ERR_ROUTER_NOT_FOUND, "else");
    strcpy(a.name, "z");
    ASSERT_ERR(engine_arm_update(s.w, text("default"), &a, &s.detail), ERR_ARM_NOT_FOUND, "z");
    ASSERT_ERR(engine_arm_pause(s.w, text("default"), text("z"), true, &s.detail),
               ERR_ARM_NOT_FOUND, "z");
    ASSERT_ERR(engine_arm_remove(s.w, text("default"), text("z"), &s.detail), ERR_ARM_NOT_FOUND,
               "z");
    strcpy(a.name, "not a name");
    ASSERT_ERR(engine_arm_add(s.w, text("default"), &a, &s.detail), ERR_BAD_NAME, "name");
    ASSERT_ERR(engine_arm_pause(s.w, text("default"), text("a b"), true, &s.detail), ERR_BAD_NAME,
               "arm");
    uint64_t position, size;
    ASSERT_ERR(engine_backup(s.w, "relative", &position, &size, &s.detail), ERR_INVALID,
               "absolute");
    served_verify(&s);
    served_close(&s);
}

static void an_update_without_a_seed_keeps_the_seed(void **state)
{
    (void)state;
    struct served s;
    open_with_arms(&s);
    struct router_config c;
    settings_defaults(&c, "default");
    four_slots(&c);
    c.settings.alpha = 2;
    assert_int_equal(engine_router_update(s.w, &c, &s.detail), OK);
    const struct snapshot *p = engine_snapshot_acquire(s.w);
    const struct router_settings *now = &snapshot_router(p, "default", 7)->config->settings;
    assert_true(now->alpha == 2);
    assert_int_equal(now->seed, 11);
    engine_snapshot_release(s.w);
    c.settings.seed = 12;
    assert_int_equal(engine_router_update(s.w, &c, &s.detail), OK);
    p = engine_snapshot_acquire(s.w);
    assert_int_equal(snapshot_router(p, "default", 7)->config->settings.seed, 12);
    engine_snapshot_release(s.w);
    served_close(&s);
}

static void a_router_without_a_seed_gets_a_random_one(void **state)
{
    (void)state;
    struct served s;
    uint64_t seeds[2];
    served_open(&s);
    for (int i = 0; i < 2; i++) {
        struct router_config c;
        settings_defaults(&c, i ? "one" : "two");
        assert_int_equal(engine_router_create(s.w, &c, &s.detail), OK);
        const struct snapshot *p = engine_snapshot_acquire(s.w);
        seeds[i] = snapshot_router(p, c.name, 3)->config->settings.seed;
        engine_snapshot_release(s.w);
    }
    assert_true(seeds[0] && seeds[1] && seeds[0] != seeds[1]);
    served_close(&s);
}

static void a_checkpoint_and_a_backup_hold_what_was_acknowledged(void **state)
{
    (void)state;
    struct served s;
    char path[SCRATCH_CAP], again[SCRATCH_CAP];
    open_with_arms(&s);
    for (int i = 0; i < 10; i++) {
        served_route(&s);
        served_tell(&s, "reward", .5, OUTCOME_OK);
    }
    uint64_t acknowledged = s.report.position, position, size;
    assert_int_equal(engine_checkpoint(s.w, &position, &s.detail), OK);
    assert_true(position >= acknowledged);
    assert_int_equal(engine_positions(s.e).checkpoint, position);
    scratch_path(s.dir, "copy", path);
    if (engine_backup(s.w, path, &position, &size, &s.detail) != OK)
        fail_msg("%s", s.detail.text);
    assert_true(position >= acknowledged && size > 0);
    ASSERT_ERR(engine_backup(s.w, path, &position, &size, &s.detail), ERR_EXISTS, "copy");
    engine_worker_free(s.w);
    engine_close(s.e);
    scratch_path(s.dir, "again", again);
    assert_int_equal(store_restore(path, again, &s.detail), OK);
    strcpy(s.data, again);
    assert_int_equal(engine_open(&s.o, &s.e, &s.detail), OK);
    assert_int_equal(engine_worker_new(s.e, &s.w), OK);
    assert_int_equal(served_folded(&s), 10);
    served_close(&s);
}

static void a_directory_that_cannot_be_used_is_refused_with_a_sentence(void **state)
{
    (void)state;
    struct served s;
    served_open(&s);
    struct engine *second = NULL;
    ASSERT_ERR(engine_open(&s.o, &second, &s.detail), ERR_LOCKED, "");
    assert_true(s.detail.text[0] != '\0');
    struct engine_options o = s.o;
    o.data_dir = "/nonexistent/shunt/data";
    ASSERT_ERR(engine_open(&o, &second, &s.detail), ERR_NOT_FOUND, "/nonexistent");
    assert_null(second);
    served_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_decision_is_learned_from_and_the_next_one_sees_it),
        cmocka_unit_test(a_duplicate_says_so_and_what_has_no_weight_too),
        cmocka_unit_test(everything_is_there_after_a_restart),
        cmocka_unit_test(a_restart_without_traffic_writes_nothing_to_the_journal),
        cmocka_unit_test(a_token_that_is_not_ours_is_unknown_whatever_is_wrong_with_it),
        cmocka_unit_test(a_token_of_a_rotated_key_opens_until_sixteen_newer_ones_came),
        cmocka_unit_test(without_its_token_a_decision_is_found_in_the_decision_log),
        cmocka_unit_test(a_callers_id_sent_again_gets_the_same_decision),
        cmocka_unit_test(an_id_whose_request_failed_may_be_used_again),
        cmocka_unit_test(a_dry_run_leaves_no_trace),
        cmocka_unit_test(explain_shows_what_was_decided_and_with_what),
        cmocka_unit_test(candidates_and_exclusions_are_kept),
        cmocka_unit_test(when_no_arm_is_eligible_the_sentence_says_why_of_each),
        cmocka_unit_test(a_task_label_is_learned_in_the_background_and_the_last_slot_is_kept),
        cmocka_unit_test(ranking_is_by_score_and_never_longer_than_asked),
        cmocka_unit_test(bad_requests_are_refused_with_their_code_and_count_as_nothing),
        cmocka_unit_test(bad_reports_are_refused_with_their_code_and_store_nothing),
        cmocka_unit_test(an_outcome_of_a_removed_arm_is_taken_and_said_to_be_orphaned),
        cmocka_unit_test(a_report_after_reward_wait_is_late),
        cmocka_unit_test(routers_and_arms_are_refused_with_their_code),
        cmocka_unit_test(an_update_without_a_seed_keeps_the_seed),
        cmocka_unit_test(a_router_without_a_seed_gets_a_random_one),
        cmocka_unit_test(a_checkpoint_and_a_backup_hold_what_was_acknowledged),
        cmocka_unit_test(a_directory_that_cannot_be_used_is_refused_with_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
