#include "proto/form/field.h"
#include "proto/form/json.h"
#include "shunt/v1/admin.pb-c.h"
#include "shunt/v1/router.pb-c.h"
#include "tests/unit/cmocka_all.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static enum form_result from_text(const ProtobufCMessageDescriptor *type, const char *text,
                                  ProtobufCMessage **ret, struct form_error *error)
{
    json_t *json;
    enum form_result r = form_json_parse(text, strlen(text), &json, error);
    if (r != FORM_OK)
        return r;
    r = form_message_from_json(type, json, ret, error);
    json_decref(json);
    return r;
}

static void assert_refused(const ProtobufCMessageDescriptor *type, const char *text,
                           const char *sentence)
{
    ProtobufCMessage *message = NULL;
    struct form_error error = {""};
    assert_int_equal(from_text(type, text, &message, &error), FORM_BAD);
    assert_null(message);
    if (!strstr(error.text, sentence))
        fail_msg("\"%s\" does not hold \"%s\"", error.text, sentence);
}

static void assert_text(const ProtobufCMessage *message, unsigned flags, const char *expected)
{
    json_t *json;
    assert_int_equal(form_json_from_message(message, flags, &json, NULL), FORM_OK);
    char *text = form_json_print(json, 0);
    assert_string_equal(text, expected);
    free(text);
    json_decref(json);
}

static void a_request_is_the_same_after_text_and_bytes(void **unused)
{
    (void)unused;
    const char *text =
        "{\"router\":\"r\",\"text\":\"h\\u00e9\\n\",\"features\":[0.1,2.0],"
        "\"weights\":{\"quality\":1.0,\"cost_usd\":0.25},\"candidates\":[\"a\",\"b\"],"
        "\"dry_run\":true,\"max_ranked\":4294967295}";
    ProtobufCMessage *m;
    assert_int_equal(from_text(&shunt__v1__route_request__descriptor, text, &m, NULL), FORM_OK);
    const Shunt__V1__RouteRequest *request = (const Shunt__V1__RouteRequest *)m;
    assert_int_equal(request->n_features, 2);
    assert_true(request->features[0] == 0.1f);
    assert_int_equal(request->n_weights, 2);
    assert_string_equal(request->weights[1]->key, "cost_usd");
    assert_true(request->weights[1]->has_value && request->weights[1]->value == 0.25);
    assert_true(request->has_dry_run && request->dry_run);
    assert_false(request->has_explain);
    size_t len = protobuf_c_message_get_packed_size(m);
    uint8_t *bytes = malloc(len);
    protobuf_c_message_pack(m, bytes);
    ProtobufCMessage *again =
        protobuf_c_message_unpack(&shunt__v1__route_request__descriptor, NULL, len, bytes);
    assert_non_null(again);
    assert_text(again, 0,
                "{\"router\":\"r\",\"text\":\"h\u00e9\\n\",\"features\":[0.1,2.0],"
                "\"weights\":{\"quality\":1.0,\"cost_usd\":0.25},"
                "\"candidates\":[\"a\",\"b\"],\"dry_run\":true,"
                "\"max_ranked\":4294967295}");
    free(bytes);
    protobuf_c_message_free_unpacked(again, NULL);
    protobuf_c_message_free_unpacked(m, NULL);
}

static void enums_are_taken_with_and_without_prefix_in_either_case(void **unused)
{
    (void)unused;
    const char *texts[] = {"LOWER", "lower", "BETTER_LOWER", "better_lower"};
    for (size_t i = 0; i < 4; i++) {
        char text[80];
        (void)snprintf(text, sizeof text, "{\"name\":\"m\",\"better\":\"%s\"}", texts[i]);
        ProtobufCMessage *m;
        assert_int_equal(from_text(&shunt__v1__metric__descriptor, text, &m, NULL), FORM_OK);
        assert_int_equal(((const Shunt__V1__Metric *)m)->better, SHUNT__V1__BETTER__BETTER_LOWER);
        assert_text(m, 0, "{\"name\":\"m\",\"better\":\"BETTER_LOWER\"}");
        protobuf_c_message_free_unpacked(m, NULL);
    }
    assert_refused(&shunt__v1__metric__descriptor, "{\"name\":\"m\",\"better\":\"best\"}",
                   "better: expected one of HIGHER, LOWER, got \"best\"");
    assert_int_equal(form_enum_prefix(&shunt__v1__decision_log__descriptor), 13);
}

static void wrong_input_is_refused_with_its_path(void **unused)
{
    (void)unused;
    const ProtobufCMessageDescriptor *route = &shunt__v1__route_request__descriptor;
    const ProtobufCMessageDescriptor *spec = &shunt__v1__router_spec__descriptor;
    assert_refused(route, "{\"rooter\":\"r\"}", "unknown key \"rooter\"; known are router, text");
    assert_refused(route, "{\"router\":5}", "router: expected text, got 5");
    assert_refused(route, "{\"features\":[1,\"x\"]}", "features[1]: expected a number");
    assert_refused(route, "{\"features\":[1e39]}", "features[0]: expected a number, got 1e+39");
    assert_refused(route, "{\"features\":1}", "features: expected a list");
    assert_refused(route, "{\"weights\":{\"q\":true}}", "weights.q: expected a number, got true");
    assert_refused(route, "{\"weights\":{\"q\":null}}", "weights.q: expected a number");
    assert_refused(route, "{\"max_ranked\":4294967296}", "an integer in [0, 4294967295]");
    assert_refused(route, "{\"max_ranked\":-1}", "got -1");
    assert_refused(route, "{\"max_ranked\":1.5}", "got 1.5");
    assert_refused(route, "{\"dry_run\":\"true\"}", "dry_run: expected true or false");
    assert_refused(route, "{\"router\":\"a\",\"router\":\"b\"}", "given twice");
    assert_refused(route, "{\"router\":\"a\"} x", "line 1");
    assert_refused(route, "[]", "expected a mapping");
    assert_refused(spec, "{}", "the required key \"name\" is missing");
    assert_refused(spec, "{\"name\":null}", "the required key \"name\" is missing");
    assert_refused(spec, "{\"name\":\"r\",\"metrics\":[{\"name\":\"a\"},{}]}",
                   "metrics[1]: the required key \"name\" is missing");
    assert_refused(&shunt__v1__report_reward_request__descriptor,
                   "{\"decision_token\":\"not base64!\"}", "decision_token: expected base64 text");
}

static void an_error_never_holds_the_prompt(void **unused)
{
    (void)unused;
    struct form_error error;
    ProtobufCMessage *m;
    const char *bad[] = {"{\"task\":\"t\",\"dry_run\":\"my secret prompt\"}",
                         "{\"my secret prompt\":1}", "{\"text\":\"my secret prompt}",
                         "{\"weights\":{\"my secret prompt\":\"x\"}}"};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(from_text(&shunt__v1__route_request__descriptor, bad[i], &m, &error),
                         FORM_BAD);
        assert_null(strstr(error.text, "secret"));
    }
}

static void integers_above_2_63_travel_as_text(void **unused)
{
    (void)unused;
    Shunt__V1__RouterSettings settings = SHUNT__V1__ROUTER_SETTINGS__INIT;
    settings.has_seed = 1;
    settings.seed = UINT64_MAX;
    settings.has_dedup_max = 1;
    settings.dedup_max = INT64_MAX;
    assert_text(&settings.base, 0,
                "{\"dedup_max\":9223372036854775807,\"seed\":\"18446744073709551615\"}");
    ProtobufCMessage *m;
    assert_int_equal(from_text(&shunt__v1__router_settings__descriptor,
                               "{\"seed\":\"18446744073709551615\"}", &m, NULL),
                     FORM_OK);
    assert_true(((const Shunt__V1__RouterSettings *)m)->seed == UINT64_MAX);
    protobuf_c_message_free_unpacked(m, NULL);
}

static void bytes_are_base64_both_ways(void **unused)
{
    (void)unused;
    ProtobufCMessage *m;
    assert_int_equal(from_text(&shunt__v1__report_reward_request__descriptor,
                               "{\"decision_token\":\"AP8Q\",\"metrics\":{},\"status\":\"error\"}",
                               &m, NULL),
                     FORM_OK);
    const Shunt__V1__ReportRewardRequest *report = (const Shunt__V1__ReportRewardRequest *)m;
    assert_int_equal(report->decision_token.len, 3);
    assert_memory_equal(report->decision_token.data, "\x00\xff\x10", 3);
    assert_text(m, 0, "{\"decision_token\":\"AP8Q\",\"status\":\"STATUS_ERROR\"}");
    protobuf_c_message_free_unpacked(m, NULL);
}

static void defaults_are_shown_when_asked_for(void **unused)
{
    (void)unused;
    Shunt__V1__ReportRewardResponse response = SHUNT__V1__REPORT_REWARD_RESPONSE__INIT;
    assert_text(&response.base, 0, "{}");
    assert_text(&response.base, FORM_LISTS, "{\"counted\":[]}");
    assert_text(&response.base, FORM_LISTS | FORM_DEFAULTS,
                "{\"duplicate\":false,\"counted\":[],\"unweighted\":false,\"position\":0,"
                "\"orphaned\":false,\"gated\":false}");
}

static void what_the_sender_left_out_is_not_shown_as_zero(void **unused)
{
    (void)unused;
    Shunt__V1__AdapterUse use = SHUNT__V1__ADAPTER_USE__INIT;
    use.has_expected_load_ms = true; /* 0 was said; which slot was not. */
    Shunt__V1__RouteResponse response = SHUNT__V1__ROUTE_RESPONSE__INIT;
    response.adapter = &use;
    assert_text(&response.base, FORM_LISTS,
                "{\"ranking\":[],\"excluded\":[],\"adapter\":{\"expected_load_ms\":0.0}}");
    use.has_engine_slot = true;
    assert_text(&use.base, FORM_LISTS, "{\"expected_load_ms\":0.0,\"engine_slot\":0}");
}

static void maps_of_messages_nest(void **unused)
{
    (void)unused;
    const char *text = "{\"journal_position\":7,\"routers\":{\"r\":{\"outcomes_folded\":1,\"arms\":"
                       "{\"a\":{\"issued\":2,\"metrics\":{\"quality\":{\"n\":1,\"mean\":0.5}}}}}}}";
    ProtobufCMessage *m;
    assert_int_equal(from_text(&shunt__v1__stats_response__descriptor, text, &m, NULL), FORM_OK);
    assert_text(m, 0, text);
    protobuf_c_message_free_unpacked(m, NULL);
}

static void what_json_cannot_hold_is_still_shown(void **unused)
{
    (void)unused;
    Shunt__V1__RankedArm arm = SHUNT__V1__RANKED_ARM__INIT;
    char name[] = "a\xff";
    arm.arm_id = name;
    arm.has_score = 1;
    arm.score = (double)NAN;
    assert_text(&arm.base, 0, "{\"arm_id\":\"a?\"}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_the_same_after_text_and_bytes),
        cmocka_unit_test(enums_are_taken_with_and_without_prefix_in_either_case),
        cmocka_unit_test(wrong_input_is_refused_with_its_path),
        cmocka_unit_test(an_error_never_holds_the_prompt),
        cmocka_unit_test(integers_above_2_63_travel_as_text),
        cmocka_unit_test(bytes_are_base64_both_ways),
        cmocka_unit_test(defaults_are_shown_when_asked_for),
        cmocka_unit_test(what_the_sender_left_out_is_not_shown_as_zero),
        cmocka_unit_test(maps_of_messages_nest),
        cmocka_unit_test(what_json_cannot_hold_is_still_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
