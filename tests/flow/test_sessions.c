/* Sessions over the wire: opened, spent from, listed, ended. */
#include "tests/flow/play.h"
#include "tests/unit/cmocka_all.h"

#include <string.h>

enum { NOT_FOUND = 5, FAILED_PRECONDITION = 9, INVALID_ARGUMENT = 3 };

static void add_capped(struct call_channel *admin, char *name, double cap)
{
    char metric[] = "cost_usd", router[] = "flow";
    struct call_error error;
    ProtobufCMessage *answer = NULL;
    Shunt__V1__ArmSpec__CapsEntry entry, *caps[] = {&entry};
    Shunt__V1__ArmSpec spec;
    Shunt__V1__AddArmRequest m;
    shunt__v1__arm_spec__caps_entry__init(&entry);
    shunt__v1__arm_spec__init(&spec);
    shunt__v1__add_arm_request__init(&m);
    entry.key = metric;
    entry.has_value = 1;
    entry.value = cap;
    spec.name = name;
    spec.caps = caps;
    spec.n_caps = 1;
    m.router = router;
    m.spec = &spec;
    int status = call_unary(admin, "/shunt.v1.Admin/AddArm", &m.base,
                            &shunt__v1__arm_info__descriptor, 10, &answer, &error);
    if (status)
        fail_msg("AddArm: %s %s", error.code, error.message);
    const Shunt__V1__ArmInfo *info = (const Shunt__V1__ArmInfo *)answer;
    assert_int_equal(info->spec->n_caps, 1);
    assert_true(info->spec->caps[0]->value == cap);
    protobuf_c_message_free_unpacked(answer, NULL);
}

static int setup(void **state)
{
    char name[] = "capped";
    if (played_flow_setup(state) != 0)
        return -1;
    add_capped(((struct played *)*state)->admin, name, .25);
    return 0;
}

static int start(struct played *f, double amount, Shunt__V1__SessionInfo **ret,
                 struct call_error *error)
{
    char router[] = "flow", name[] = "run-17", metric[] = "cost_usd";
    Shunt__V1__SessionBudget budget;
    Shunt__V1__StartSessionRequest m;
    ProtobufCMessage *answer = NULL;
    shunt__v1__session_budget__init(&budget);
    shunt__v1__start_session_request__init(&m);
    budget.metric = metric;
    budget.amount = amount;
    m.router = router;
    m.session_id = name;
    m.budget = amount > 0 ? &budget : NULL;
    int status = call_unary(f->router, "/shunt.v1.Router/StartSession", &m.base,
                            &shunt__v1__session_info__descriptor, 10, &answer, error);
    *ret = (Shunt__V1__SessionInfo *)answer;
    return status;
}

static int step(struct played *f, Shunt__V1__RouteResponse **ret, struct call_error *error)
{
    char router[] = "flow", name[] = "run-17";
    Shunt__V1__RouteRequest m;
    ProtobufCMessage *answer = NULL;
    shunt__v1__route_request__init(&m);
    m.router = router;
    m.session_id = name;
    int status = call_unary(f->router, "/shunt.v1.Router/RouteRequest", &m.base,
                            &shunt__v1__route_response__descriptor, 10, &answer, error);
    *ret = (Shunt__V1__RouteResponse *)answer;
    return status;
}

static int end(struct played *f, double reward, Shunt__V1__EndSessionResponse **ret,
               struct call_error *error)
{
    char router[] = "flow", name[] = "run-17", metric[] = "reward";
    Shunt__V1__EndSessionRequest__MetricsEntry entry, *metrics[] = {&entry};
    Shunt__V1__EndSessionRequest m;
    ProtobufCMessage *answer = NULL;
    shunt__v1__end_session_request__metrics_entry__init(&entry);
    shunt__v1__end_session_request__init(&m);
    entry.key = metric;
    entry.has_value = 1;
    entry.value = reward;
    m.router = router;
    m.session_id = name;
    m.metrics = metrics;
    m.n_metrics = 1;
    int status = call_unary(f->router, "/shunt.v1.Router/EndSession", &m.base,
                            &shunt__v1__end_session_response__descriptor, 10, &answer, error);
    *ret = (Shunt__V1__EndSessionResponse *)answer;
    return status;
}

static size_t listed(struct played *f)
{
    char router[] = "flow";
    Shunt__V1__ListSessionsRequest m;
    struct call_error error;
    ProtobufCMessage *answer = NULL;
    shunt__v1__list_sessions_request__init(&m);
    m.router = router;
    assert_int_equal(call_unary(f->admin, "/shunt.v1.Admin/ListSessions", &m.base,
                                &shunt__v1__list_sessions_response__descriptor, 10, &answer,
                                &error),
                     0);
    const Shunt__V1__ListSessionsResponse *r = (const Shunt__V1__ListSessionsResponse *)answer;
    size_t n = r->n_sessions;
    assert_int_equal(r->all, n);
    protobuf_c_message_free_unpacked(answer, NULL);
    return n;
}

static void a_budget_is_spent_step_by_step_and_given_up_at_the_end(void **state)
{
    struct played *f = *state;
    Shunt__V1__SessionInfo *info;
    Shunt__V1__RouteResponse *answer;
    Shunt__V1__EndSessionResponse *ended;
    struct call_error error;
    assert_int_equal(end(f, 1, &ended, &error), NOT_FOUND);
    assert_string_equal(error.code, "SESSION_NOT_FOUND");
    assert_int_equal(start(f, 1, &info, &error), 0);
    assert_true(info->budget && info->budget->amount == 1 && info->left == 1);
    shunt__v1__session_info__free_unpacked(info, NULL);
    assert_int_equal(start(f, 2, &info, &error), FAILED_PRECONDITION);
    assert_string_equal(error.code, "SESSION_BUDGET");
    for (int i = 1; i <= 4; i++) {
        assert_int_equal(step(f, &answer, &error), 0);
        assert_string_equal(answer->arm_id, "capped");
        assert_true(answer->session_reserved == .25);
        assert_true(answer->session_left == 1 - .25 * i);
        shunt__v1__route_response__free_unpacked(answer, NULL);
    }
    assert_int_equal(step(f, &answer, &error), FAILED_PRECONDITION);
    assert_string_equal(error.code, "BUDGET_EXHAUSTED");
    assert_non_null(strstr(error.message, "has 0 of its 1 cost_usd left"));
    assert_int_equal(listed(f), 1);
    assert_int_equal(end(f, 2, &ended, &error), INVALID_ARGUMENT); /* Out of reward's range. */
    assert_int_equal(listed(f), 1);
    assert_int_equal(end(f, 1, &ended, &error), 0);
    assert_int_equal(ended->session->steps, 4);
    assert_int_equal(ended->credited, 1); /* CREDIT_LAST. */
    assert_true(ended->session->used == 1);
    shunt__v1__end_session_response__free_unpacked(ended, NULL);
    assert_int_equal(listed(f), 0);
    assert_int_equal(start(f, 2, &info, &error), 0); /* Its name is free. */
    assert_true(info->used == 0);
    shunt__v1__session_info__free_unpacked(info, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_budget_is_spent_step_by_step_and_given_up_at_the_end,
                                        setup, played_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
