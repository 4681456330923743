/* Reports and decisions that are wrong in value, not in form; and the same one many times. */
#include "tests/flow/play.h"
#include "tests/unit/cmocka_all.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

enum { INVALID_ARGUMENT = 3, NOT_FOUND = 5 };

static void values_that_are_no_outcome_are_refused_and_teach_nothing(void **state)
{
    struct played *f = *state;
    const struct {
        const char *metric, *code;
        double value;
        int status;
    } rows[] = {
        {"reward", "NOT_FINITE", (double)NAN, INVALID_ARGUMENT},
        {"reward", "NOT_FINITE", (double)INFINITY, INVALID_ARGUMENT},
        {"reward", "OUT_OF_RANGE", 1e308, INVALID_ARGUMENT},
        {"reward", "OUT_OF_RANGE", -.001, INVALID_ARGUMENT},
        {"no-such-metric", "METRIC_NOT_FOUND", .5, NOT_FOUND},
    };
    struct decision_kept d;
    struct report_seen seen;
    struct call_error error;
    play_route(f->router, "flow", &d);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(play_report(f->router, &d, rows[i].metric, rows[i].value, &seen, &error),
                         rows[i].status);
        assert_string_equal(error.code, rows[i].code);
    }
    /* None of them has used the decision up. */
    assert_int_equal(play_report(f->router, &d, "reward", .5, &seen, &error), 0);
    assert_int_equal(seen.duplicate, 0);
    assert_int_equal(seen.counted_n, 1);
}

static void features_that_do_not_fit_are_refused(void **state)
{
    struct played *f = *state;
    const struct {
        float value;
        size_t n;
        const char *code;
    } rows[] = {
        {.5F, 3, "WRONG_DIMENSION"},
        {.5F, 1, "WRONG_DIMENSION"},
        {NAN, 2, "NOT_FINITE"},
        {1e7F, 2, "OUT_OF_RANGE"},
    };
    char name[] = "flow";
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        float features[3] = {.5F, rows[i].value, .5F};
        Shunt__V1__RouteRequest request = SHUNT__V1__ROUTE_REQUEST__INIT;
        ProtobufCMessage *response = NULL;
        struct call_error error;
        request.router = name;
        request.features = features;
        request.n_features = rows[i].n;
        assert_int_equal(call_unary(f->router, "/shunt.v1.Router/RouteRequest", &request.base,
                                    &shunt__v1__route_response__descriptor, 20, &response, &error),
                         INVALID_ARGUMENT);
        assert_string_equal(error.code, rows[i].code);
        if (rows[i].n != 2)
            assert_non_null(strstr(error.message, "2"));
    }
}

static void a_forged_and_an_unknown_decision_get_the_same_answer(void **state)
{
    struct played *f = *state;
    struct decision_kept d, forged, unknown;
    struct report_seen seen;
    struct call_error first, second, third;
    play_route(f->router, "flow", &d);
    forged = unknown = d;
    forged.token[forged.token_len / 2] ^= 1;
    unknown.token_len = 0;
    (void)strcpy(unknown.id, "018f4e2a-0000-7000-8000-0123456789ab");
    assert_int_equal(play_report(f->router, &forged, "reward", .5, &seen, &first), NOT_FOUND);
    assert_int_equal(play_report(f->router, &unknown, "reward", .5, &seen, &second), NOT_FOUND);
    assert_string_equal(first.code, "DECISION_NOT_FOUND");
    assert_string_equal(second.code, first.code);
    assert_string_equal(second.message, first.message);
    struct decision_kept cut = d;
    cut.token_len /= 2;
    assert_int_equal(play_report(f->router, &cut, "reward", .5, &seen, &third), NOT_FOUND);
    assert_string_equal(third.message, first.message);
    /* The true one still works. */
    assert_int_equal(play_report(f->router, &d, "reward", .5, &seen, &first), 0);
}

static void a_report_without_a_token_is_joined_through_the_decision_log(void **state)
{
    struct played *f = *state;
    struct decision_kept d;
    struct report_seen seen;
    struct call_error error;
    play_route(f->router, "flow", &d);
    d.token_len = 0;
    assert_int_equal(play_report(f->router, &d, "reward", .5, &seen, &error), 0);
    assert_int_equal(seen.counted_n, 1);
}

static void many_reports_in_one_call_have_an_answer_each(void **state)
{
    struct played *f = *state;
    enum { N = 3 };
    struct decision_kept d[N];
    Shunt__V1__ReportRewardsRequest request = SHUNT__V1__REPORT_REWARDS_REQUEST__INIT;
    Shunt__V1__ReportRewardRequest reports[N], *list[N];
    Shunt__V1__ReportRewardRequest__MetricsEntry metrics[N], *metric[N];
    char reward[] = "reward", nobody[] = "nobody";
    for (int i = 0; i < N; i++) {
        play_route(f->router, "flow", &d[i]);
        shunt__v1__report_reward_request__init(list[i] = &reports[i]);
        shunt__v1__report_reward_request__metrics_entry__init(metric[i] = &metrics[i]);
        metrics[i].key = reward;
        metrics[i].has_value = 1;
        metrics[i].value = .5;
        reports[i].has_decision_token = 1;
        reports[i].decision_token.data = d[i].token;
        reports[i].decision_token.len = d[i].token_len;
        reports[i].metrics = &metric[i];
        reports[i].n_metrics = 1;
    }
    reports[1].served_arm_id = nobody;
    request.reports = list;
    request.n_reports = N;
    ProtobufCMessage *response = NULL;
    struct call_error error;
    assert_int_equal(call_unary(f->router, "/shunt.v1.Router/ReportRewards", &request.base,
                                &shunt__v1__report_rewards_response__descriptor, 20, &response,
                                &error),
                     0);
    const Shunt__V1__ReportRewardsResponse *r = (const Shunt__V1__ReportRewardsResponse *)response;
    assert_int_equal(r->n_results, N);
    for (int i = 0; i < N; i += 2) {
        assert_non_null(r->results[i]->response);
        assert_int_equal(r->results[i]->response->n_counted, 1);
        assert_string_equal(r->results[i]->response->counted[0], "reward");
    }
    assert_null(r->results[1]->response);
    assert_int_equal(r->results[1]->status, NOT_FOUND);
    assert_string_equal(r->results[1]->code, "ARM_NOT_FOUND");
    assert_non_null(strstr(r->results[1]->message, "nobody"));
    protobuf_c_message_free_unpacked(response, NULL);
    request.n_reports = 0;
    assert_int_equal(call_unary(f->router, "/shunt.v1.Router/ReportRewards", &request.base,
                                &shunt__v1__report_rewards_response__descriptor, 20, &response,
                                &error),
                     INVALID_ARGUMENT);
    assert_string_equal(error.code, "OUT_OF_RANGE");
}

enum { THREADS = 10, EACH = 10 };

struct crowd {
    struct call_channel *router;
    const struct decision_kept *decision;
    int counted, duplicates, failures;
};

static void *report_often(void *arg)
{
    struct crowd *c = arg;
    for (int i = 0; i < EACH; i++) {
        struct report_seen seen = {0};
        struct call_error error;
        if (play_report(c->router, c->decision, "reward", .5, &seen, &error))
            c->failures++;
        else if (seen.duplicate)
            c->duplicates++;
        else
            c->counted += (int)seen.counted_n;
    }
    return NULL;
}

static void of_a_hundred_equal_reports_at_once_exactly_one_counts(void **state)
{
    struct played *f = *state;
    struct decision_kept d;
    pthread_t threads[THREADS];
    struct crowd crowds[THREADS], all = {0};
    play_route(f->router, "flow", &d);
    for (int i = 0; i < THREADS; i++) {
        crowds[i] = (struct crowd){.router = f->router, .decision = &d};
        assert_int_equal(pthread_create(&threads[i], NULL, report_often, &crowds[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        (void)pthread_join(threads[i], NULL);
        all.counted += crowds[i].counted;
        all.duplicates += crowds[i].duplicates;
        all.failures += crowds[i].failures;
    }
    assert_int_equal(all.failures, 0);
    assert_int_equal(all.counted, 1);
    assert_int_equal(all.duplicates, THREADS * EACH - 1);
}

static void an_outcome_of_a_removed_arm_is_orphaned_and_teaches_nobody(void **state)
{
    struct played *f = *state;
    struct decision_kept d;
    struct report_seen seen;
    struct call_error error;
    char router[] = "gone";
    play_router(f->admin, router);
    play_route(f->router, router, &d);
    Shunt__V1__RemoveArmRequest request = SHUNT__V1__REMOVE_ARM_REQUEST__INIT;
    request.router = router;
    request.name = d.arm;
    ProtobufCMessage *response = NULL;
    assert_int_equal(call_unary(f->admin, "/shunt.v1.Admin/RemoveArm", &request.base,
                                &shunt__v1__remove_arm_response__descriptor, 20, &response, &error),
                     0);
    protobuf_c_message_free_unpacked(response, NULL);
    assert_int_equal(play_report(f->router, &d, "reward", .5, &seen, &error), 0);
    Shunt__V1__GetRouterRequest get = SHUNT__V1__GET_ROUTER_REQUEST__INIT;
    get.name = router;
    assert_int_equal(call_unary(f->admin, "/shunt.v1.Admin/GetRouter", &get.base,
                                &shunt__v1__router_info__descriptor, 20, &response, &error),
                     0);
    const Shunt__V1__RouterInfo *info = (const Shunt__V1__RouterInfo *)response;
    assert_int_equal(info->orphaned, 1);
    assert_int_equal(info->outcomes_folded, 0);
    assert_int_equal(info->n_arms, 1);
    protobuf_c_message_free_unpacked(response, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_that_are_no_outcome_are_refused_and_teach_nothing),
        cmocka_unit_test(features_that_do_not_fit_are_refused),
        cmocka_unit_test(a_forged_and_an_unknown_decision_get_the_same_answer),
        cmocka_unit_test(many_reports_in_one_call_have_an_answer_each),
        cmocka_unit_test(a_report_without_a_token_is_joined_through_the_decision_log),
        cmocka_unit_test(of_a_hundred_equal_reports_at_once_exactly_one_counts),
        cmocka_unit_test(an_outcome_of_a_removed_arm_is_orphaned_and_teaches_nobody),
    };
    return cmocka_run_group_tests(tests, played_flow_setup, played_teardown);
}
