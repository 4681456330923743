/* Arms that change, over the wire: the alarm that can be read, what each policy makes of it, a
 * price that is announced, a new version behind an old name. */
#include "tests/flow/play.h"
#include "tests/flow/server.h"
#include "tests/unit/cmocka_all.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INVALID_ARGUMENT = 3, NOT_FOUND = 5 };

struct fixture {
    struct server server;
    struct call_channel *router, *admin;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    server_init(&f->server);
    if (!server_start(&f->server))
        return 1;
    f->router = call_open(f->server.router);
    f->admin = call_open(f->server.admin);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    call_close(f->router);
    call_close(f->admin);
    int status = server_stop(&f->server, SIGTERM);
    server_free(&f->server);
    free(f);
    return status;
}

static ProtobufCMessage *admin(struct fixture *f, const char *method, ProtobufCMessage *request,
                               const ProtobufCMessageDescriptor *response, int expected)
{
    char path[128];
    ProtobufCMessage *answer = NULL;
    struct call_error error = {0};
    (void)snprintf(path, sizeof path, "/shunt.v1.Admin/%s", method);
    int status = call_unary(f->admin, path, request, response, 20, &answer, &error);
    if (status != expected)
        fail_msg("%s: %d %s %s", method, status, error.code, error.message);
    return answer;
}

/* A router whose arm b is paused: a has every request, so that its change is met in order. */
static void open_router(struct fixture *f, const char *name, Shunt__V1__DriftPolicy policy)
{
    char text[64], b[] = "b";
    (void)snprintf(text, sizeof text, "%s", name);
    play_router(f->admin, name);
    Shunt__V1__RouterSettings settings = SHUNT__V1__ROUTER_SETTINGS__INIT;
    Shunt__V1__UpdateRouterRequest update = SHUNT__V1__UPDATE_ROUTER_REQUEST__INIT;
    settings.has_drift_policy = 1;
    settings.drift_policy = policy;
    update.name = text;
    update.settings = &settings;
    protobuf_c_message_free_unpacked(
        admin(f, "UpdateRouter", &update.base, &shunt__v1__router_info__descriptor, 0), NULL);
    Shunt__V1__SetArmStateRequest pause = SHUNT__V1__SET_ARM_STATE_REQUEST__INIT;
    pause.router = text;
    pause.name = b;
    pause.state = SHUNT__V1__ARM_STATE__ARM_PAUSED;
    protobuf_c_message_free_unpacked(
        admin(f, "SetArmState", &pause.base, &shunt__v1__arm_info__descriptor, 0), NULL);
}

static void outcomes(struct fixture *f, const char *router, int n, double reward)
{
    for (int i = 0; i < n; i++) {
        struct decision_kept d;
        struct report_seen seen;
        struct call_error error;
        play_route(f->router, router, &d);
        assert_string_equal(d.arm, "a");
        double noise = (i % 5 - 2) * .02;
        assert_int_equal(play_report(f->router, &d, "reward", reward + noise, &seen, &error), 0);
    }
}

static Shunt__V1__ListAlarmsResponse *alarms(struct fixture *f, const char *router, int expected)
{
    char name[64];
    (void)snprintf(name, sizeof name, "%s", router);
    Shunt__V1__ListAlarmsRequest request = SHUNT__V1__LIST_ALARMS_REQUEST__INIT;
    request.router = name;
    return (Shunt__V1__ListAlarmsResponse *)admin(
        f, "ListAlarms", &request.base, &shunt__v1__list_alarms_response__descriptor, expected);
}

/* The rated outcomes that a's statistics are worth, as an export of them says. */
static double worth(struct fixture *f, const char *router)
{
    char name[64], a[] = "a";
    (void)snprintf(name, sizeof name, "%s", router);
    Shunt__V1__ExportArmRequest request = SHUNT__V1__EXPORT_ARM_REQUEST__INIT;
    request.router = name;
    request.name = a;
    ProtobufCMessage *answer =
        admin(f, "ExportArm", &request.base, &shunt__v1__arm_statistics__descriptor, 0);
    const Shunt__V1__ArmStatistics *m = (const Shunt__V1__ArmStatistics *)answer;
    assert_true(m->has_statistics && m->statistics.len > 100);
    double outcomes = m->rated_outcomes;
    protobuf_c_message_free_unpacked(answer, NULL);
    return outcomes;
}

static void an_arm_that_becomes_worse_raises_an_alarm_and_the_policy_acts(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *router;
        Shunt__V1__DriftPolicy policy;
        Shunt__V1__AlarmState end;
        bool scaled;
    } rows[] = {
        {"widen", SHUNT__V1__DRIFT_POLICY__DRIFT_WIDEN, SHUNT__V1__ALARM_STATE__ALARM_OPEN, true},
        {"discount", SHUNT__V1__DRIFT_POLICY__DRIFT_DISCOUNT, SHUNT__V1__ALARM_STATE__ALARM_NOTED,
         true},
        {"nothing", SHUNT__V1__DRIFT_POLICY__DRIFT_NOTHING, SHUNT__V1__ALARM_STATE__ALARM_NOTED,
         false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        open_router(f, rows[i].router, rows[i].policy);
        outcomes(f, rows[i].router, 80, .9);
        Shunt__V1__ListAlarmsResponse *r = alarms(f, rows[i].router, 0);
        assert_int_equal(r->n_alarms, 0);
        shunt__v1__list_alarms_response__free_unpacked(r, NULL);
        outcomes(f, rows[i].router, 12, .3);
        r = alarms(f, rows[i].router, 0);
        assert_int_equal(r->n_alarms, 1);
        const Shunt__V1__Alarm *a = r->alarms[0];
        assert_string_equal(a->arm, "a");
        assert_string_equal(a->metric, "reward");
        assert_true(a->worse && !a->rising);
        assert_int_equal(a->policy, rows[i].policy);
        assert_int_equal(a->state, rows[i].end);
        assert_true(a->before > .8 && a->after < .4);
        shunt__v1__list_alarms_response__free_unpacked(r, NULL);
        double outcomes_worth = worth(f, rows[i].router);
        assert_true(rows[i].scaled ? outcomes_worth < 25 : outcomes_worth == 92);
        assert_true(server_log_has(&f->server, "\"alarm\"", "shuntctl alarms"));
    }
    (void)alarms(f, "nowhere", NOT_FOUND);
}

static void prices_and_versions_change_over_the_wire(void **state)
{
    struct fixture *f = *state;
    char name[] = "prices", a[] = "a", rated[] = "reward";
    open_router(f, name, SHUNT__V1__DRIFT_POLICY__DRIFT_NOTHING);
    outcomes(f, name, 10, .5);
    Shunt__V1__SetArmPriceRequest price = SHUNT__V1__SET_ARM_PRICE_REQUEST__INIT;
    price.router = name;
    price.name = a;
    price.factor = .5;
    protobuf_c_message_free_unpacked(
        admin(f, "SetArmPrice", &price.base, &shunt__v1__arm_info__descriptor, 0), NULL);
    price.metric = rated;
    (void)admin(f, "SetArmPrice", &price.base, &shunt__v1__arm_info__descriptor, INVALID_ARGUMENT);
    Shunt__V1__ReloadArmRequest reload = SHUNT__V1__RELOAD_ARM_REQUEST__INIT;
    reload.router = name;
    reload.name = a;
    reload.has_strength = 1;
    reload.strength = 4;
    ProtobufCMessage *info =
        admin(f, "ReloadArm", &reload.base, &shunt__v1__arm_info__descriptor, 0);
    assert_int_equal(((const Shunt__V1__ArmInfo *)info)->version, 2);
    protobuf_c_message_free_unpacked(info, NULL);
    double kept = worth(f, name);
    assert_true(kept > 3.99 && kept < 4.01);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            an_arm_that_becomes_worse_raises_an_alarm_and_the_policy_acts, setup, teardown),
        cmocka_unit_test_setup_teardown(prices_and_versions_change_over_the_wire, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
