/* Arms that change, over the wire: the alarm that can be read, what each policy makes of it, a
 * price that is announced, a new version behind an old name. */
#include "tests/flow/play.h"
#include "tests/unit/cmocka_all.h"

#include <stdio.h>
#include <string.h>

enum { INVALID_ARGUMENT = 3, NOT_FOUND = 5 };

/* A router whose arm b is paused: a has every request, so that its change is met in order. */
static void open_router(struct played *f, const char *name, Shunt__V1__DriftPolicy policy)
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
        played_admin(f, "UpdateRouter", &update.base, &shunt__v1__router_info__descriptor, 0),
        NULL);
    Shunt__V1__SetArmStateRequest pause = SHUNT__V1__SET_ARM_STATE_REQUEST__INIT;
    pause.router = text;
    pause.name = b;
    pause.state = SHUNT__V1__ARM_STATE__ARM_PAUSED;
    protobuf_c_message_free_unpacked(
        played_admin(f, "SetArmState", &pause.base, &shunt__v1__arm_info__descriptor, 0), NULL);
}

static void outcomes(struct played *f, const char *router, int n, double reward)
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

static Shunt__V1__ListAlarmsResponse *alarms(struct played *f, const char *router, int expected)
{
    char name[64];
    (void)snprintf(name, sizeof name, "%s", router);
    Shunt__V1__ListAlarmsRequest request = SHUNT__V1__LIST_ALARMS_REQUEST__INIT;
    request.router = name;
    return (Shunt__V1__ListAlarmsResponse *)played_admin(
        f, "ListAlarms", &request.base, &shunt__v1__list_alarms_response__descriptor, expected);
}

/* The rated outcomes that a's statistics are worth, as an export of them says. */
static double worth(struct played *f, const char *router)
{
    char name[64], a[] = "a";
    (void)snprintf(name, sizeof name, "%s", router);
    Shunt__V1__ExportArmRequest request = SHUNT__V1__EXPORT_ARM_REQUEST__INIT;
    request.router = name;
    request.name = a;
    ProtobufCMessage *answer =
        played_admin(f, "ExportArm", &request.base, &shunt__v1__arm_statistics__descriptor, 0);
    const Shunt__V1__ArmStatistics *m = (const Shunt__V1__ArmStatistics *)answer;
    assert_true(m->has_statistics && m->statistics.len > 100);
    double outcomes = m->rated_outcomes;
    protobuf_c_message_free_unpacked(answer, NULL);
    return outcomes;
}

static void an_arm_that_becomes_worse_raises_an_alarm_and_the_policy_acts(void **state)
{
    struct played *f = *state;
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
    struct played *f = *state;
    char name[] = "prices", a[] = "a", rated[] = "reward";
    open_router(f, name, SHUNT__V1__DRIFT_POLICY__DRIFT_NOTHING);
    outcomes(f, name, 10, .5);
    Shunt__V1__SetArmPriceRequest price = SHUNT__V1__SET_ARM_PRICE_REQUEST__INIT;
    price.router = name;
    price.name = a;
    price.factor = .5;
    protobuf_c_message_free_unpacked(
        played_admin(f, "SetArmPrice", &price.base, &shunt__v1__arm_info__descriptor, 0), NULL);
    price.metric = rated;
    (void)played_admin(f, "SetArmPrice", &price.base, &shunt__v1__arm_info__descriptor,
                       INVALID_ARGUMENT);
    Shunt__V1__ReloadArmRequest reload = SHUNT__V1__RELOAD_ARM_REQUEST__INIT;
    reload.router = name;
    reload.name = a;
    reload.has_strength = 1;
    reload.strength = 4;
    ProtobufCMessage *info =
        played_admin(f, "ReloadArm", &reload.base, &shunt__v1__arm_info__descriptor, 0);
    assert_int_equal(((const Shunt__V1__ArmInfo *)info)->version, 2);
    protobuf_c_message_free_unpacked(info, NULL);
    double kept = worth(f, name);
    assert_true(kept > 3.99 && kept < 4.01);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            an_arm_that_becomes_worse_raises_an_alarm_and_the_policy_acts, played_setup,
            played_teardown),
        cmocka_unit_test_setup_teardown(prices_and_versions_change_over_the_wire, played_setup,
                                        played_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
