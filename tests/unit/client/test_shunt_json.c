#include "tests/unit/client/router_double.h"
#include "tests/unit/cmocka_all.h"

#include <stdio.h>
#include <string.h>

static struct shunt_client *open_client(const char *address, const char *more)
{
    char options[256], buf[SHUNT_JSON_CAP];
    size_t len;
    (void)snprintf(options, sizeof options,
                   "{\"address\":\"%s\",\"default_arm\":\"small\",\"route_timeout_s\":60,"
                   "\"report_timeout_s\":60,\"retry_first_s\":0.005%s}",
                   address, more);
    struct shunt_client *client = shunt_open_json(options, buf, sizeof buf, &len);
    if (!client)
        fail_msg("%s", buf);
    return client;
}

static void assert_holds(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("\"%s\" does not hold \"%s\"", text, part);
}

static void a_decision_and_its_report_are_text(void **unused)
{
    (void)unused;
    struct router_double d;
    router_double_start(&d, 0);
    struct shunt_client *client = open_client(d.address, "");
    char buf[SHUNT_JSON_CAP];
    size_t len;
    assert_int_equal(shunt_route_json(client,
                                      "{\"task\":\"code\",\"text\":\"secret\",\"timeout_s\":50,"
                                      "\"weights\":{\"quality\":1}}",
                                      buf, sizeof buf, &len),
                     SHUNT_OK);
    assert_string_equal(buf, "{\"decision_id\":\"" DOUBLE_ID "\",\"decision_token\":\"AQD/\","
                             "\"arm_id\":\"large\",\"propensity\":0.25,"
                             "\"reason\":\"REASON_EXPLORE\",\"position\":42,\"version\":3,"
                             "\"fallback\":false}");
    assert_int_equal(len, strlen(buf));
    assert_null(d.last_route->text);
    assert_string_equal(d.last_route->router, "default");
    assert_int_equal(shunt_report_json(client,
                                       "{\"decision_id\":\"" DOUBLE_ID
                                       "\",\"decision_token\":\"AQD/\","
                                       "\"metrics\":{\"quality\":0.5},\"status\":\"ok\"}",
                                       buf, sizeof buf, &len),
                     SHUNT_OK);
    assert_holds(buf, "\"duplicate\":false");
    assert_holds(buf, "\"queued\":false");
    assert_memory_equal(d.last_report->decision_token.data, "\x01\x00\xff", 3);
    assert_int_equal(shunt_stats_json(client, buf, sizeof buf, &len), SHUNT_OK);
    assert_holds(buf, "\"routed\":1");
    shunt_close(client);
    client = open_client(d.address, ",\"send_text\":true");
    assert_int_equal(shunt_route_json(client, "{\"text\":\"a prompt\"}", buf, sizeof buf, &len),
                     SHUNT_OK);
    assert_string_equal(d.last_route->text, "a prompt");
    shunt_close(client);
    router_double_stop(&d);
}

static void an_agents_numbers_have_their_names_of_the_proto(void **unused)
{
    (void)unused;
    struct router_double d;
    router_double_start(&d, 0);
    struct shunt_client *client = open_client(d.address, "");
    char buf[SHUNT_JSON_CAP];
    size_t len;
    assert_int_equal(shunt_route_json(client,
                                      "{\"turn\":1,\"tool_step\":2,\"tool_errors\":3,"
                                      "\"tokens_so_far\":5000000000,\"images\":4,"
                                      "\"max_output_tokens\":4294967295,"
                                      "\"json_required\":true,\"tools_required\":false}",
                                      buf, sizeof buf, &len),
                     SHUNT_OK);
    const Shunt__V1__RouteRequest *m = d.last_route;
    assert_true(m->turn == 1 && m->tool_step == 2 && m->tool_errors == 3 && m->images == 4);
    assert_true(m->tokens_so_far == UINT64_C(5000000000));
    assert_true(m->max_output_tokens == UINT32_MAX);
    assert_true(m->json_required && m->has_tools_required && !m->tools_required);
    assert_int_equal(shunt_route_json(client, "{\"turn\":-1}", buf, sizeof buf, &len),
                     SHUNT_INVALID);
    assert_holds(buf, "turn");
    shunt_close(client);
    router_double_stop(&d);
}

static void a_fallback_says_so_and_why(void **unused)
{
    (void)unused;
    struct shunt_client *client = open_client("unix:/nonexistent/shunt.sock", "");
    char buf[SHUNT_JSON_CAP];
    size_t len;
    assert_int_equal(shunt_route_json(client, "{}", buf, sizeof buf, &len), SHUNT_OK);
    assert_holds(buf, "{\"arm_id\":\"small\",\"fallback\":true,\"error\":{\"result\":"
                      "\"UNAVAILABLE\",\"status\":14,");
    assert_int_equal(shunt_route_json(client, "{\"default_arm\":\"tiny\"}", buf, sizeof buf, &len),
                     SHUNT_OK);
    assert_holds(buf, "\"arm_id\":\"tiny\"");
    assert_int_equal(
        shunt_report_json(client, "{\"metrics\":{\"quality\":1}}", buf, sizeof buf, &len),
        SHUNT_NOT_REPORTABLE);
    assert_int_equal(shunt_report_json(client, "{\"decision_id\":\"" DOUBLE_ID "\",\"later\":true}",
                                       buf, sizeof buf, &len),
                     SHUNT_OK);
    assert_string_equal(buf, "{\"queued\":true}");
    shunt_close(client);
}

static void mistakes_are_named(void **unused)
{
    (void)unused;
    struct shunt_client *client = open_client("unix:/nonexistent/shunt.sock", "");
    char buf[SHUNT_JSON_CAP];
    size_t len;
    const char *bad[][2] = {
        {"{\"tesk\":\"code\"}", "unknown key \\\"tesk\\\"; known are router"},
        {"[]", "expected a JSON object"},
        {"{", "line 1"},
        {"{\"timeout_s\":\"soon\"}", "timeout_s: expected a number"},
        {"{\"timeout_s\":-1}", "timeout_s: expected a number"},
        {"{\"default_arm\":\"\"}", "default_arm: expected"},
        {"{\"features\":[true]}", "features[0]: expected a number, got true"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(shunt_route_json(client, bad[i][0], buf, sizeof buf, &len), SHUNT_INVALID);
        assert_holds(buf, "{\"error\":{\"result\":\"INVALID\",\"status\":0,");
        assert_holds(buf, bad[i][1]);
    }
    assert_int_equal(shunt_route_json(client, NULL, buf, sizeof buf, &len), SHUNT_INVALID);
    assert_int_equal(shunt_report_json(client, "{\"later\":1}", buf, sizeof buf, &len),
                     SHUNT_INVALID);
    shunt_close(client);
    assert_null(shunt_open_json("{\"adress\":\"x\"}", buf, sizeof buf, &len));
    assert_holds(buf, "known are address");
    assert_null(shunt_open_json("{\"queue_policy\":\"burst\"}", buf, sizeof buf, &len));
    assert_holds(buf, "expected \\\"drop\\\" or \\\"block\\\"");
    assert_null(shunt_open_json("{\"text_window_bytes\":3}", buf, sizeof buf, &len));
    assert_holds(buf, "[256, 1048576]");
    assert_null(shunt_open_json("{\"address\":\"127.0.0.1:1\",\"tls_ca\":\"/nonexistent/ca\"}", buf,
                                sizeof buf, &len));
    assert_holds(buf, "tls_ca: /nonexistent/ca: No such file");
    assert_null(shunt_open_json("{\"address\":\"unix:/s\",\"tls\":true}", buf, sizeof buf, &len));
    assert_holds(buf, "TLS is for HOST:PORT");
}

static void a_small_buffer_is_never_overrun(void **unused)
{
    (void)unused;
    struct shunt_client *client = open_client("unix:/nonexistent/shunt.sock", "");
    char whole[SHUNT_JSON_CAP], buf[SHUNT_JSON_CAP];
    size_t need, len;
    assert_int_equal(shunt_stats_json(client, whole, sizeof whole, &need), SHUNT_OK);
    memset(buf, 'x', sizeof buf);
    assert_int_equal(shunt_stats_json(client, buf, need, &len), SHUNT_SMALL_BUFFER);
    assert_int_equal(len, need);
    assert_true(buf[0] == '\0' && buf[need] == 'x');
    assert_int_equal(shunt_stats_json(client, buf, need + 1, &len), SHUNT_OK);
    assert_string_equal(buf, whole);
    assert_int_equal(shunt_stats_json(client, NULL, 0, &len), SHUNT_SMALL_BUFFER);
    assert_int_equal(len, need);
    shunt_close(client);
}

static void a_client_that_did_not_open_is_an_error_and_no_crash(void **unused)
{
    (void)unused;
    char buf[SHUNT_JSON_CAP];
    size_t len;
    struct shunt_client *client = shunt_open_json("{\"adress\":\"x\"}", buf, sizeof buf, &len);
    assert_null(client);
    assert_holds(buf, "unknown key");
    assert_int_equal(shunt_route_json(client, "{}", buf, sizeof buf, &len), SHUNT_INVALID);
    assert_holds(buf, "the client is NULL");
    assert_int_equal(shunt_report_json(client, "{}", buf, sizeof buf, &len), SHUNT_INVALID);
    assert_holds(buf, "the client is NULL");
}

static void the_library_knows_what_it_is(void **unused)
{
    (void)unused;
    assert_string_equal(shunt_version(), SHUNT_VERSION);
    assert_true(shunt_has("json") && shunt_has("queue"));
    assert_false(shunt_has("") || shunt_has(NULL) || shunt_has("telepathy"));
    assert_string_equal(shunt_result_name(SHUNT_QUEUE_FULL), "QUEUE_FULL");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_decision_and_its_report_are_text),
        cmocka_unit_test(an_agents_numbers_have_their_names_of_the_proto),
        cmocka_unit_test(a_fallback_says_so_and_why),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(a_small_buffer_is_never_overrun),
        cmocka_unit_test(a_client_that_did_not_open_is_an_error_and_no_crash),
        cmocka_unit_test(the_library_knows_what_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
