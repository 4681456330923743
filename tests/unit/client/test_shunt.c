#include "tests/unit/client/router_double.h"
#include "tests/unit/cmocka_all.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define ID DOUBLE_ID
static const char *const nowhere = "unix:/nonexistent/shunt.sock";

static struct shunt_client *open_client(const char *address, bool send_text)
{
    struct shunt_options options = SHUNT_OPTIONS_INIT;
    struct shunt_error error;
    options.address = address;
    options.default_arm = "small";
    options.route_timeout_s = 60; /* No test waits for it but those that set their own. */
    options.report_timeout_s = 60;
    options.send_text = send_text;
    options.text_window_bytes = 256;
    options.retry_first_s = 0.005;
    options.retry_max_s = 0.02;
    struct shunt_client *client = shunt_open(&options, &error);
    if (!client)
        fail_msg("%s", error.message);
    return client;
}

static struct shunt_report report_on(const char *id)
{
    static const struct shunt_value metrics[] = {{"quality", 0.5}};
    struct shunt_report report = SHUNT_REPORT_INIT;
    report.decision_id = id;
    report.metrics = metrics;
    report.metrics_n = 1;
    return report;
}

static void a_decision_comes_back_whole(void **unused)
{
    (void)unused;
    struct router_double d;
    router_double_start(&d, 0);
    struct shunt_client *client = open_client(d.address, false);
    const float features[] = {1, 2};
    const struct shunt_value weights[] = {{"quality", 1}, {"cost_usd", 0}};
    const char *candidates[] = {"large", "small"};
    struct shunt_request request = SHUNT_REQUEST_INIT;
    request.task = "code";
    request.features = features;
    request.features_n = 2;
    request.weights = weights;
    request.weights_n = 2;
    request.candidates = candidates;
    request.candidates_n = 2;
    struct shunt_decision decision = SHUNT_DECISION_INIT;
    struct shunt_error error;
    assert_int_equal(shunt_route(client, &request, &decision, &error), SHUNT_OK);
    assert_string_equal(decision.arm, "large");
    assert_string_equal(decision.decision_id, ID);
    assert_false(decision.fallback);
    assert_int_equal(decision.reason, SHUNT_REASON_EXPLORE);
    assert_true(decision.propensity == 0.25);
    assert_int_equal(decision.position, 42);
    assert_int_equal(decision.version, 3);
    assert_int_equal(decision.token_len, 3);
    assert_memory_equal(decision.token, "\x01\x00\xff", 3);
    assert_string_equal(d.last_route->router, "default");
    assert_string_equal(d.last_route->task, "code");
    assert_true(d.last_route->n_features == 2 && d.last_route->features[1] == 2.0f);
    assert_true(d.last_route->weights[1]->has_value && d.last_route->weights[1]->value == 0);
    assert_string_equal(d.last_route->candidates[1], "small");
    assert_null(d.last_route->decision_id);

    struct shunt_report report = shunt_report_of(&decision);
    report.metrics = weights;
    report.metrics_n = 1;
    report.status = SHUNT_STATUS_REFUSED;
    report.served_arm = "stood/in";
    report.idempotency_key = "step 1";
    report.source = "judge";
    struct shunt_outcome outcome = SHUNT_OUTCOME_INIT;
    assert_int_equal(shunt_report(client, &report, &outcome, &error), SHUNT_OK);
    assert_false(outcome.queued || outcome.duplicate);
    assert_int_equal(outcome.position, 7);
    assert_string_equal(d.last_report->decision_id, ID);
    assert_memory_equal(d.last_report->decision_token.data, "\x01\x00\xff", 3);
    assert_int_equal(d.last_report->status, SHUNT__V1__STATUS__STATUS_REFUSED);
    assert_string_equal(d.last_report->served_arm_id, "stood/in");
    assert_string_equal(d.last_report->idempotency_key, "step 1");
    assert_string_equal(d.last_report->source, "judge");
    assert_int_equal(shunt_report(client, &report, &outcome, NULL), SHUNT_OK);
    assert_true(outcome.duplicate);
    shunt_close(client);
    router_double_stop(&d);
}

static void an_agents_numbers_arrive(void **unused)
{
    (void)unused;
    struct router_double d;
    router_double_start(&d, 0);
    struct shunt_client *client = open_client(d.address, false);
    struct shunt_request request = SHUNT_REQUEST_INIT;
    struct shunt_decision decision = SHUNT_DECISION_INIT;
    assert_int_equal(shunt_route(client, &request, &decision, NULL), SHUNT_OK);
    const Shunt__V1__RouteRequest *m = d.last_route;
    assert_false(m->has_turn || m->has_tool_step || m->has_tool_errors || m->has_tokens_so_far ||
                 m->has_images || m->has_max_output_tokens || m->has_json_required ||
                 m->has_tools_required);
    request.turn = 1;
    request.tool_step = 2;
    request.tool_errors = 3;
    request.tokens_so_far = UINT64_C(5000000000);
    request.images = 4;
    request.max_output_tokens = UINT32_MAX;
    request.json_required = true;
    request.tools_required = true;
    assert_int_equal(shunt_route(client, &request, &decision, NULL), SHUNT_OK);
    m = d.last_route;
    assert_int_equal(m->turn, 1);
    assert_int_equal(m->tool_step, 2);
    assert_int_equal(m->tool_errors, 3);
    assert_true(m->tokens_so_far == UINT64_C(5000000000));
    assert_int_equal(m->images, 4);
    assert_true(m->max_output_tokens == UINT32_MAX);
    assert_true(m->has_json_required && m->json_required);
    assert_true(m->has_tools_required && m->tools_required);
    assert_true(shunt_has("agent"));
    shunt_close(client);
    router_double_stop(&d);
}

/* As sizeof was before the agent's numbers were there, rubbish in the padding included. */
static void an_older_program_says_nothing_of_an_agent(void **unused)
{
    (void)unused;
    struct router_double d;
    router_double_start(&d, 0);
    struct shunt_client *client = open_client(d.address, false);
    struct shunt_request request;
    memset(&request, 0xff, sizeof request);
    size_t size = offsetof(struct shunt_request, tokens_so_far);
    memset(&request, 0, offsetof(struct shunt_request, dry_run) + sizeof request.dry_run);
    request.size = size;
    request.task = "code";
    struct shunt_decision decision = SHUNT_DECISION_INIT;
    assert_int_equal(shunt_route(client, &request, &decision, NULL), SHUNT_OK);
    const Shunt__V1__RouteRequest *m = d.last_route;
    assert_string_equal(m->task, "code");
    assert_false(m->has_turn || m->has_tool_step || m->has_tool_errors || m->has_tokens_so_far ||
                 m->has_images || m->has_max_output_tokens || m->has_json_required ||
                 m->has_tools_required);
    shunt_close(client);
    router_double_stop(&d);
}

static void text_is_sent_only_when_told_to_and_windowed(void **unused)
{
    (void)unused;
    struct router_double d;
    router_double_start(&d, 0);
    char prompt[1000];
    memset(prompt, 'a', sizeof prompt);
    memset(prompt + 500, 'b', 500);
    struct shunt_request request = SHUNT_REQUEST_INIT;
    request.text = prompt;
    request.text_len = sizeof prompt;
    struct shunt_decision decision = SHUNT_DECISION_INIT;
    struct shunt_client *client = open_client(d.address, false);
    assert_int_equal(shunt_route(client, &request, &decision, NULL), SHUNT_OK);
    assert_null(d.last_route->text);
    shunt_close(client);
    client = open_client(d.address, true);
    assert_int_equal(shunt_route(client, &request, &decision, NULL), SHUNT_OK);
    assert_int_equal(strlen(d.last_route->text), 256);
    assert_true(d.last_route->text[0] == 'a' && d.last_route->text[255] == 'b');
    shunt_close(client);
    router_double_stop(&d);
}

static void the_default_arm_serves_when_nobody_listens(void **unused)
{
    (void)unused;
    struct shunt_client *client = open_client(nowhere, false);
    struct shunt_request request = SHUNT_REQUEST_INIT;
    struct shunt_decision decision = SHUNT_DECISION_INIT;
    struct shunt_error error;
    assert_int_equal(shunt_route(client, &request, &decision, &error), SHUNT_OK);
    assert_true(decision.fallback);
    assert_string_equal(decision.arm, "small");
    assert_string_equal(decision.decision_id, "");
    assert_int_equal(decision.token_len, 0);
    assert_int_equal(error.status, 14);
    struct shunt_report report = shunt_report_of(&decision);
    assert_int_equal(shunt_report(client, &report, NULL, &error), SHUNT_NOT_REPORTABLE);
    struct shunt_stats stats = SHUNT_STATS_INIT;
    shunt_stats(client, &stats);
    assert_int_equal(stats.fallbacks, 1);
    assert_int_equal(stats.routed + stats.queued, 0);
    shunt_close(client);
}

static void the_default_arm_serves_when_the_server_stalls(void **unused)
{
    (void)unused;
    struct router_double d;
    router_double_start(&d, 0);
    atomic_store(&d.status, FAKE_HANG);
    struct shunt_client *client = open_client(d.address, false);
    struct shunt_request request = SHUNT_REQUEST_INIT;
    request.timeout_s = 0.05;
    request.default_arm = "tiny";
    struct shunt_decision decision = SHUNT_DECISION_INIT;
    struct shunt_error error;
    assert_int_equal(shunt_route(client, &request, &decision, &error), SHUNT_OK);
    assert_true(decision.fallback);
    assert_string_equal(decision.arm, "tiny");
    assert_int_equal(error.status, 4);
    shunt_close(client);
    router_double_stop(&d);
}

static void a_fallback_honours_candidates_and_exclusions(void **unused)
{
    (void)unused;
    struct shunt_client *client = open_client(nowhere, false);
    const char *candidates[] = {"a", "b"}, *exclude[] = {"a"}, *both[] = {"a", "b"};
    struct shunt_request request = SHUNT_REQUEST_INIT;
    request.candidates = candidates;
    request.candidates_n = 2;
    request.exclude = exclude;
    request.exclude_n = 1;
    struct shunt_decision decision = SHUNT_DECISION_INIT;
    assert_int_equal(shunt_route(client, &request, &decision, NULL), SHUNT_OK);
    assert_string_equal(decision.arm, "b");
    request.exclude = both;
    request.exclude_n = 2;
    assert_int_equal(shunt_route(client, &request, &decision, NULL), SHUNT_UNAVAILABLE);
    const char *the_default[] = {"small"};
    request.candidates_n = 0;
    request.exclude = the_default;
    request.exclude_n = 1;
    assert_int_equal(shunt_route(client, &request, &decision, NULL), SHUNT_UNAVAILABLE);
    shunt_close(client);
}

static void a_budget_travels_with_its_session_and_has_no_fallback(void **unused)
{
    (void)unused;
    struct router_double d;
    router_double_start(&d, 0);
    struct shunt_client *client = open_client(d.address, false);
    struct shunt_request request = SHUNT_REQUEST_INIT;
    request.session_id = "run-17";
    request.session_metric = "cost_usd";
    request.session_budget = .5;
    request.input_tokens = 400;
    struct shunt_decision decision = SHUNT_DECISION_INIT;
    struct shunt_error error;
    assert_int_equal(shunt_route(client, &request, &decision, &error), SHUNT_OK);
    assert_string_equal(d.last_route->session_id, "run-17");
    assert_string_equal(d.last_route->session_budget->metric, "cost_usd");
    assert_true(d.last_route->session_budget->amount == .5);
    assert_int_equal(d.last_route->input_tokens, 400);
    request.session_budget = -1;
    assert_int_equal(shunt_route(client, &request, &decision, &error), SHUNT_INVALID);
    shunt_close(client);
    router_double_stop(&d);

    client = open_client(nowhere, false);
    request.session_budget = .5;
    assert_int_equal(shunt_route(client, &request, &decision, &error), SHUNT_UNAVAILABLE);
    request.session_metric = NULL;
    assert_int_equal(shunt_route(client, &request, &decision, &error), SHUNT_OK);
    assert_true(decision.fallback);
    struct shunt_session_end end = SHUNT_SESSION_END_INIT;
    assert_int_equal(shunt_end_session(client, &end, NULL, &error), SHUNT_INVALID);
    end.session_id = "run-17";
    assert_int_equal(shunt_end_session(client, &end, NULL, &error), SHUNT_UNAVAILABLE);
    shunt_close(client);
}

static void who_can_serve_and_who_pays_travels_with_the_request(void **unused)
{
    (void)unused;
    struct router_double d;
    router_double_start(&d, 0);
    struct shunt_client *client = open_client(d.address, false);
    const struct shunt_value limits[] = {{"cost_usd", .002}, {"quality", .5}};
    struct shunt_request request = SHUNT_REQUEST_INIT;
    request.selector = "tier in (small,medium),!beta";
    request.stage = "draft";
    request.tenant = "acme/eu";
    request.baseline = "small";
    request.limits = limits;
    request.limits_n = 2;
    request.modalities = SHUNT_TEXT | SHUNT_AUDIO;
    struct shunt_decision decision = SHUNT_DECISION_INIT;
    struct shunt_error error;
    assert_true(shunt_has("constraints"));
    assert_int_equal(shunt_route(client, &request, &decision, &error), SHUNT_OK);
    const Shunt__V1__RouteRequest *m = d.last_route;
    assert_string_equal(m->selector, "tier in (small,medium),!beta");
    assert_string_equal(m->stage, "draft");
    assert_string_equal(m->tenant, "acme/eu");
    assert_string_equal(m->baseline_arm_id, "small");
    assert_int_equal(m->n_limits, 2);
    assert_string_equal(m->limits[1]->key, "quality");
    assert_true(m->limits[0]->value == .002 && m->limits[1]->value == .5);
    assert_int_equal(m->n_modalities, 2);
    assert_int_equal(m->modalities[1], SHUNT__V1__MODALITY__MODALITY_AUDIO);
    request.modalities = 1 << 5;
    assert_int_equal(shunt_route(client, &request, &decision, &error), SHUNT_INVALID);
    request.modalities = 0;
    request.tenant = "";
    assert_int_equal(shunt_route(client, &request, &decision, &error), SHUNT_INVALID);
    request.tenant = NULL;
    request.limits_n = 65;
    assert_int_equal(shunt_route(client, &request, &decision, &error), SHUNT_INVALID);
    /* A program compiled before they were there says nothing in them. */
    request.size = offsetof(struct shunt_request, selector);
    assert_int_equal(shunt_route(client, &request, &decision, &error), SHUNT_OK);
    assert_null(d.last_route->selector);
    assert_int_equal(d.last_route->n_limits, 0);
    shunt_close(client);
    router_double_stop(&d);
}

static void a_mistake_of_the_caller_is_no_fallback(void **unused)
{
    (void)unused;
    struct router_double d;
    router_double_start(&d, 0);
    atomic_store(&d.status, 5);
    struct shunt_client *client = open_client(d.address, false);
    struct shunt_request request = SHUNT_REQUEST_INIT;
    struct shunt_decision decision = SHUNT_DECISION_INIT;
    struct shunt_error error;
    assert_int_equal(shunt_route(client, &request, &decision, &error), SHUNT_REFUSED);
    assert_int_equal(error.status, 5);
    assert_string_equal(error.code, "TEST_CODE");
    struct shunt_report report = report_on(ID);
    assert_int_equal(shunt_report(client, &report, NULL, &error), SHUNT_REFUSED);
    struct shunt_stats stats = SHUNT_STATS_INIT;
    shunt_stats(client, &stats);
    assert_int_equal(stats.queued + stats.fallbacks, 0);
    shunt_close(client);
    router_double_stop(&d);
}

static void outcomes_wait_for_the_server_to_come_back(void **unused)
{
    (void)unused;
    struct router_double d;
    router_double_start(&d, 0);
    atomic_store(&d.status, 14);
    struct shunt_client *client = open_client(d.address, false);
    struct shunt_report report = report_on(ID);
    struct shunt_outcome outcome = SHUNT_OUTCOME_INIT;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(shunt_report(client, &report, &outcome, NULL), SHUNT_OK);
        assert_true(outcome.queued);
    }
    assert_int_equal(shunt_flush(client, 0.01), SHUNT_TIMEOUT);
    atomic_store(&d.status, 0);
    assert_int_equal(shunt_flush(client, 60), SHUNT_OK);
    struct shunt_stats stats = SHUNT_STATS_INIT;
    shunt_stats(client, &stats);
    assert_int_equal(stats.delivered, 5);
    assert_int_equal(stats.queued, 0);
    assert_true(stats.retries > 0);
    assert_int_equal(atomic_load(&d.reports), 5);
    assert_true(d.last_report->metrics[0]->value == 0.5);
    shunt_close(client);
    router_double_stop(&d);
}

/* The pause would last a minute: only the answer to the route can end it in time. */
static void an_answered_route_sends_what_is_queued(void **unused)
{
    (void)unused;
    struct router_double d;
    router_double_start(&d, 0);
    atomic_store(&d.status, 14);
    struct shunt_options options = SHUNT_OPTIONS_INIT;
    options.address = d.address;
    options.route_timeout_s = options.report_timeout_s = 60;
    options.retry_first_s = options.retry_max_s = 3600;
    struct shunt_client *client = shunt_open(&options, NULL);
    struct shunt_report report = report_on(ID);
    struct shunt_stats stats = SHUNT_STATS_INIT;
    report.later = true;
    assert_int_equal(shunt_report(client, &report, NULL, NULL), SHUNT_OK);
    while (stats.retries == 0)
        shunt_stats(client, &stats);
    atomic_store(&d.status, 0);
    struct shunt_request request = SHUNT_REQUEST_INIT;
    struct shunt_decision decision = SHUNT_DECISION_INIT;
    assert_int_equal(shunt_route(client, &request, &decision, NULL), SHUNT_OK);
    while (stats.queued > 0)
        shunt_stats(client, &stats);
    assert_int_equal(stats.delivered, 1);
    shunt_close(client);
    router_double_stop(&d);
}

static void outcomes_survive_a_restart_of_the_server(void **unused)
{
    (void)unused;
    struct router_double d, again;
    router_double_start(&d, 0);
    struct shunt_client *client = open_client(d.address, false);
    struct shunt_report report = report_on(ID);
    assert_int_equal(shunt_report(client, &report, NULL, NULL), SHUNT_OK);
    int port = fake_server_port(d.server);
    router_double_stop(&d);
    struct shunt_outcome outcome = SHUNT_OUTCOME_INIT;
    assert_int_equal(shunt_report(client, &report, &outcome, NULL), SHUNT_OK);
    assert_true(outcome.queued);
    router_double_start(&again, port);
    assert_int_equal(shunt_flush(client, 60), SHUNT_OK);
    assert_int_equal(atomic_load(&again.reports), 1);
    shunt_close(client);
    router_double_stop(&again);
}

static void what_the_server_refuses_later_is_dropped_and_counted(void **unused)
{
    (void)unused;
    struct router_double d;
    router_double_start(&d, 0);
    atomic_store(&d.status, 9);
    struct shunt_client *client = open_client(d.address, false);
    struct shunt_report report = report_on(ID);
    report.later = true;
    assert_int_equal(shunt_report(client, &report, NULL, NULL), SHUNT_OK);
    assert_int_equal(shunt_flush(client, 60), SHUNT_OK);
    struct shunt_stats stats = SHUNT_STATS_INIT;
    shunt_stats(client, &stats);
    assert_int_equal(stats.refused, 1);
    assert_int_equal(stats.delivered, 0);
    shunt_close(client);
    router_double_stop(&d);
}

/* gRPC answers CANCELLED, without a code of ours, for what arrives while a server drains. */
static void a_report_that_a_draining_server_drops_is_delivered_later(void **unused)
{
    (void)unused;
    const int cancelled = 1;
    struct router_double d;
    router_double_start(&d, 0);
    atomic_store(&d.codeless, true);
    atomic_store(&d.status, cancelled);
    struct shunt_client *client = open_client(d.address, false);
    struct shunt_report report = report_on(ID);
    struct shunt_outcome outcome = SHUNT_OUTCOME_INIT;
    assert_int_equal(shunt_report(client, &report, &outcome, NULL), SHUNT_OK);
    assert_true(outcome.queued);
    atomic_store(&d.status, 0);
    assert_int_equal(shunt_flush(client, 60), SHUNT_OK);
    assert_int_equal(atomic_load(&d.reports), 1);
    shunt_close(client);
    router_double_stop(&d);
}

static void a_full_queue_says_so(void **unused)
{
    (void)unused;
    struct shunt_options options = SHUNT_OPTIONS_INIT;
    options.address = nowhere;
    options.queue_max = 2;
    options.queue_policy = SHUNT_BLOCK;
    struct shunt_client *client = shunt_open(&options, NULL);
    struct shunt_report report = report_on(ID);
    struct shunt_error error;
    report.timeout_s = 0.05;
    assert_int_equal(shunt_report(client, &report, NULL, NULL), SHUNT_OK);
    assert_int_equal(shunt_report(client, &report, NULL, NULL), SHUNT_OK);
    assert_int_equal(shunt_report(client, &report, NULL, &error), SHUNT_QUEUE_FULL);
    assert_non_null(strstr(error.message, "2 outcomes"));
    struct shunt_stats stats = SHUNT_STATS_INIT;
    shunt_stats(client, &stats);
    assert_int_equal(stats.queued, 2);
    assert_int_equal(stats.dropped, 1);
    shunt_close(client);
}

static void wrong_arguments_are_refused_before_anything_is_sent(void **unused)
{
    (void)unused;
    struct shunt_error error;
    struct shunt_options options = SHUNT_OPTIONS_INIT;
    options.route_timeout_s = (double)NAN;
    assert_null(shunt_open(&options, &error));
    assert_non_null(strstr(error.message, "(0, 3600]"));
    options = (struct shunt_options)SHUNT_OPTIONS_INIT;
    options.size = 0;
    assert_null(shunt_open(&options, &error));
    struct shunt_client *client = open_client(nowhere, false);
    struct shunt_request request = SHUNT_REQUEST_INIT;
    struct shunt_decision decision = SHUNT_DECISION_INIT;
    const float features[] = {(float)INFINITY};
    request.features = features;
    request.features_n = 1;
    assert_int_equal(shunt_route(client, &request, &decision, &error), SHUNT_INVALID);
    struct shunt_report report = report_on("not-an-id");
    assert_int_equal(shunt_report(client, &report, NULL, &error), SHUNT_INVALID);
    const struct shunt_value not_finite[] = {{"quality", (double)NAN}};
    report = report_on(ID);
    report.metrics = not_finite;
    assert_int_equal(shunt_report(client, &report, NULL, &error), SHUNT_INVALID);
    shunt_close(client);
}

/* A program compiled against a header whose structs were shorter must still work. */
static void a_shorter_struct_is_read_and_written_within_its_size(void **unused)
{
    (void)unused;
    struct router_double d;
    router_double_start(&d, 0);
    struct shunt_client *client = open_client(d.address, false);
    struct shunt_request request = SHUNT_REQUEST_INIT;
    request.size = offsetof(struct shunt_request, text);
    request.timeout_s = -1; /* Beyond the size: must not be looked at. */
    struct shunt_decision decision = SHUNT_DECISION_INIT;
    decision.size = offsetof(struct shunt_decision, token_len);
    decision.token_len = 99;
    assert_int_equal(shunt_route(client, &request, &decision, NULL), SHUNT_OK);
    assert_string_equal(decision.arm, "large");
    assert_int_equal(decision.token_len, 99);
    assert_int_equal(decision.size, offsetof(struct shunt_decision, token_len));
    shunt_close(client);
    router_double_stop(&d);
}

static void an_answer_says_where_the_adapter_is_and_what_it_waits_for(void **unused)
{
    (void)unused;
    struct router_double d;
    char name[] = "math", url[] = "http://127.0.0.1:8000";
    Shunt__V1__AdapterUse use = SHUNT__V1__ADAPTER_USE__INIT;
    router_double_start(&d, 0);
    struct shunt_client *client = open_client(d.address, false);
    struct shunt_request request = SHUNT_REQUEST_INIT;
    struct shunt_decision decision = SHUNT_DECISION_INIT;
    memset(decision.replica, 'x', sizeof decision.replica); /* What was there before is not kept. */
    assert_int_equal(shunt_route(client, &request, &decision, NULL), SHUNT_OK);
    assert_false(decision.has_residence || decision.has_engine_slot);
    assert_string_equal(decision.adapter, "");
    assert_string_equal(decision.replica, "");
    use.adapter = name;
    use.replica = url;
    use.has_residence = use.has_expected_load_ms = use.has_replica_index = use.has_engine_slot = 1;
    use.residence = SHUNT__V1__RESIDENCE__RESIDENCE_LOADING;
    use.expected_load_ms = 291.5;
    use.replica_index = 3;
    use.engine_slot = 0; /* A slot as good as any. */
    d.adapter = &use;
    assert_int_equal(shunt_route(client, &request, &decision, NULL), SHUNT_OK);
    assert_true(decision.has_residence && decision.has_engine_slot);
    assert_string_equal(decision.adapter, "math");
    assert_string_equal(decision.replica, url);
    assert_int_equal(decision.residence, SHUNT_LOADING);
    assert_true(decision.expected_load_ms == 291.5);
    assert_int_equal(decision.replica_index, 3);
    assert_int_equal(decision.engine_slot, 0);
    shunt_close(client);
    router_double_stop(&d);
}

/* A URL that was cut would be another server's. */
static void an_engine_that_does_not_fit_is_no_answer(void **unused)
{
    (void)unused;
    struct router_double d;
    char url[SHUNT_URL_CAP + 1];
    Shunt__V1__AdapterUse use = SHUNT__V1__ADAPTER_USE__INIT;
    memset(url, 'u', sizeof url);
    url[SHUNT_URL_CAP] = '\0';
    use.replica = url;
    router_double_start(&d, 0);
    d.adapter = &use;
    struct shunt_client *client = open_client(d.address, false);
    struct shunt_request request = SHUNT_REQUEST_INIT;
    struct shunt_decision decision = SHUNT_DECISION_INIT;
    assert_int_equal(shunt_route(client, &request, &decision, NULL), SHUNT_OK);
    assert_true(decision.fallback);
    url[SHUNT_URL_CAP - 1] = '\0';
    assert_int_equal(shunt_route(client, &request, &decision, NULL), SHUNT_OK);
    assert_false(decision.fallback);
    assert_int_equal(strlen(decision.replica), SHUNT_URL_CAP - 1);
    shunt_close(client);
    router_double_stop(&d);
}

/* Sends `n` requests on a stream to a server that refuses streams, and expects this of each. */
static void expect_of_each(struct shunt_client *client, const struct shunt_request *request,
                           uint64_t n, enum shunt_result expected, int status, const char *code)
{
    struct shunt_stream *stream = shunt_stream_open(client, 0, NULL);
    struct shunt_decision decision = SHUNT_DECISION_INIT;
    struct shunt_error error;
    uint64_t tag, tags = 0;
    for (uint64_t i = 0; i < n; i++)
        assert_int_equal(shunt_stream_send(stream, request, i, NULL), SHUNT_OK);
    for (uint64_t i = 0; i < n; i++) {
        assert_int_equal(shunt_stream_next(stream, 120, &tag, &decision, &error), expected);
        assert_int_equal(error.status, status);
        assert_string_equal(error.code, code);
        assert_true(decision.fallback == (expected == SHUNT_OK));
        tags |= UINT64_C(1) << tag;
    }
    assert_int_equal(tags, (UINT64_C(1) << n) - 1);
    assert_int_equal(shunt_stream_next(stream, 0, &tag, &decision, &error), SHUNT_EMPTY);
    shunt_stream_close(stream);
}

static void a_server_without_streams_refuses_every_request_of_one(void **unused)
{
    (void)unused;
    const int unimplemented = 12;
    struct router_double d;
    router_double_start(&d, 0);
    struct shunt_client *client = open_client(d.address, false);
    struct shunt_request request = SHUNT_REQUEST_INIT;
    request.timeout_s = 3600; /* Never by the deadline. */
    expect_of_each(client, &request, 3, SHUNT_REFUSED, unimplemented, "");
    shunt_close(client);
    router_double_stop(&d);
}

/* What may be asked only once is not asked on another stream, so it ends with the first one. */
static void a_fallback_on_a_stream_says_why_the_server_would_not(void **unused)
{
    (void)unused;
    const int exhausted = 8;
    struct router_double d;
    router_double_start(&d, 0);
    atomic_store(&d.status, exhausted);
    struct shunt_client *client = open_client(d.address, true);
    struct shunt_request request = SHUNT_REQUEST_INIT;
    request.timeout_s = 3600;
    request.session_id = "s";
    expect_of_each(client, &request, 1, SHUNT_OK, exhausted, "TEST_CODE");
    shunt_close(client);
    router_double_stop(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_decision_comes_back_whole),
        cmocka_unit_test(an_agents_numbers_arrive),
        cmocka_unit_test(an_older_program_says_nothing_of_an_agent),
        cmocka_unit_test(text_is_sent_only_when_told_to_and_windowed),
        cmocka_unit_test(the_default_arm_serves_when_nobody_listens),
        cmocka_unit_test(the_default_arm_serves_when_the_server_stalls),
        cmocka_unit_test(a_fallback_honours_candidates_and_exclusions),
        cmocka_unit_test(a_budget_travels_with_its_session_and_has_no_fallback),
        cmocka_unit_test(who_can_serve_and_who_pays_travels_with_the_request),
        cmocka_unit_test(a_mistake_of_the_caller_is_no_fallback),
        cmocka_unit_test(outcomes_wait_for_the_server_to_come_back),
        cmocka_unit_test(an_answered_route_sends_what_is_queued),
        cmocka_unit_test(outcomes_survive_a_restart_of_the_server),
        cmocka_unit_test(what_the_server_refuses_later_is_dropped_and_counted),
        cmocka_unit_test(a_report_that_a_draining_server_drops_is_delivered_later),
        cmocka_unit_test(a_full_queue_says_so),
        cmocka_unit_test(wrong_arguments_are_refused_before_anything_is_sent),
        cmocka_unit_test(a_server_without_streams_refuses_every_request_of_one),
        cmocka_unit_test(a_fallback_on_a_stream_says_why_the_server_would_not),
        cmocka_unit_test(a_shorter_struct_is_read_and_written_within_its_size),
        cmocka_unit_test(an_answer_says_where_the_adapter_is_and_what_it_waits_for),
        cmocka_unit_test(an_engine_that_does_not_fit_is_no_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
