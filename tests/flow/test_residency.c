/* WatchResidency: whoever drives an engine hears what is to be resident, whole, at once and after
 * each change, and why it hears no more. */
#include "tests/flow/play.h"
#include "tests/unit/cmocka_all.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

enum { WATCHERS = 3 };
static char router_name[] = "loras";

/* With the adapters "a" and "b", and an engine that somebody else drives. */
static void create(struct played *p)
{
    struct play_adapter a, b;
    Shunt__V1__ArmSpec *arms[] = {&a.spec, &b.spec};
    Shunt__V1__RouterSpec spec = SHUNT__V1__ROUTER_SPEC__INIT;
    Shunt__V1__RouterSettings settings = SHUNT__V1__ROUTER_SETTINGS__INIT;
    Shunt__V1__Residency residency = SHUNT__V1__RESIDENCY__INIT;
    Shunt__V1__CreateRouterRequest request = SHUNT__V1__CREATE_ROUTER_REQUEST__INIT;
    play_adapter(&a, "a", 1000);
    play_adapter(&b, "b", 1000);
    residency.has_slots = residency.has_engine = 1;
    residency.slots = 1;
    residency.engine = SHUNT__V1__RESIDENCY_ENGINE__RESIDENCY_ENGINE_NONE;
    settings.residency = &residency;
    spec.name = router_name;
    spec.has_task_slots = spec.has_scalars = spec.has_text_block = spec.has_features_n = 1;
    spec.features_n = 2;
    spec.settings = &settings;
    spec.arms = arms;
    spec.n_arms = 2;
    request.spec = &spec;
    protobuf_c_message_free_unpacked(
        played_admin(p, "CreateRouter", &request.base, &shunt__v1__router_info__descriptor, 0),
        NULL);
}

static void add(struct played *p, const char *name)
{
    struct play_adapter arm;
    Shunt__V1__AddArmRequest request = SHUNT__V1__ADD_ARM_REQUEST__INIT;
    play_adapter(&arm, name, 1000);
    request.router = router_name;
    request.spec = &arm.spec;
    protobuf_c_message_free_unpacked(
        played_admin(p, "AddArm", &request.base, &shunt__v1__arm_info__descriptor, 0), NULL);
}

static struct call_stream *watch(struct played *p, char *router)
{
    Shunt__V1__WatchResidencyRequest request = SHUNT__V1__WATCH_RESIDENCY_REQUEST__INIT;
    uint8_t bytes[512];
    request.router = router;
    assert_true(shunt__v1__watch_residency_request__get_packed_size(&request) <= sizeof bytes);
    size_t len = shunt__v1__watch_residency_request__pack(&request, bytes);
    struct call_stream *s = call_stream_open(p->admin, "/shunt.v1.Admin/WatchResidency");
    assert_true(call_stream_write(s, bytes, len, false));
    return s;
}

/* The next state; NULL: it is over, and why. */
static Shunt__V1__ResidencyState *next(struct call_stream *s, struct call_error *error)
{
    for (;;) {
        ProtobufCMessage *m = NULL;
        enum call_event event =
            call_stream_next(s, &shunt__v1__residency_state__descriptor, 60, &m, error);
        if (event == CALL_OVER)
            return NULL;
        if (event == CALL_IDLE)
            fail_msg("nothing was heard for a minute");
        if (event == CALL_MESSAGE) {
            assert_non_null(m);
            return (Shunt__V1__ResidencyState *)m;
        }
    }
}

/* Listens until `n` adapters are there, each of them once. */
static void hear(struct call_stream *s, size_t n)
{
    for (bool heard = false; !heard;) {
        struct call_error error;
        Shunt__V1__ResidencyState *state = next(s, &error);
        if (!state)
            fail_msg("%d %s %s", error.status, error.code, error.message);
        assert_string_equal(state->plan->router, router_name);
        assert_int_equal(state->plan->adapters, state->n_adapters);
        for (size_t i = 1; i < state->n_adapters; i++)
            assert_true(strcmp(state->adapters[i - 1]->arm_id, state->adapters[i]->arm_id) < 0);
        heard = state->n_adapters == n;
        shunt__v1__residency_state__free_unpacked(state, NULL);
    }
}

static void expect_over(struct call_stream *s, int status, const char *code)
{
    struct call_error error;
    Shunt__V1__ResidencyState *state;
    while ((state = next(s, &error)))
        shunt__v1__residency_state__free_unpacked(state, NULL);
    assert_int_equal(error.status, status);
    assert_string_equal(error.code, code);
    call_stream_close(s);
}

/* The commands of the README, one after the other. */
static void who_has_just_made_a_router_is_shown_its_adapters(void **state)
{
    struct played *p = *state;
    Shunt__V1__ListAdaptersRequest list = SHUNT__V1__LIST_ADAPTERS_REQUEST__INIT;
    Shunt__V1__RemoveRouterRequest remove = SHUNT__V1__REMOVE_ROUTER_REQUEST__INIT;
    list.router = remove.name = router_name;
    for (int i = 0; i < 8; i++) {
        create(p);
        Shunt__V1__ResidencyState *s = (Shunt__V1__ResidencyState *)played_admin(
            p, "ListAdapters", &list.base, &shunt__v1__residency_state__descriptor, 0);
        assert_int_equal(s->n_adapters, 2);
        shunt__v1__residency_state__free_unpacked(s, NULL);
        protobuf_c_message_free_unpacked(
            played_admin(p, "RemoveRouter", &remove.base,
                         &shunt__v1__remove_router_response__descriptor, 0),
            NULL);
    }
}

static void every_watcher_hears_the_whole_state_and_every_change(void **state)
{
    struct played *p = *state;
    struct call_stream *watchers[WATCHERS];
    create(p);
    for (int i = 0; i < WATCHERS; i++)
        watchers[i] = watch(p, router_name);
    for (int i = 0; i < WATCHERS; i++)
        hear(watchers[i], 2);
    add(p, "c");
    for (int i = 0; i < WATCHERS; i++)
        hear(watchers[i], 3);
    call_stream_close(watchers[0]); /* One that goes away is nothing to the others. */
    add(p, "d");
    for (int i = 1; i < WATCHERS; i++)
        hear(watchers[i], 4);
    /* And one that comes later hears what is there, though nothing changes. */
    watchers[0] = watch(p, router_name);
    hear(watchers[0], 4);
    for (int i = 0; i < WATCHERS; i++)
        call_stream_close(watchers[i]);
}

static void a_watcher_is_told_why_there_is_nothing_to_watch(void **state)
{
    const int invalid = 3, not_found = 5, precondition = 9;
    struct played *p = *state;
    char nobody[] = "nobody", flow[] = "flow", longer[301] = "";
    memset(longer, 'x', sizeof longer - 1);
    play_router(p->admin, flow);
    expect_over(watch(p, nobody), not_found, "ROUTER_NOT_FOUND");
    expect_over(watch(p, flow), precondition, "NO_ADAPTERS");
    /* Not cut to a name that may be another router's. */
    expect_over(watch(p, longer), invalid, "BAD_NAME");
}

static void the_end_of_a_router_ends_its_watchers(void **state)
{
    const int not_found = 5;
    struct played *p = *state;
    Shunt__V1__RemoveRouterRequest request = SHUNT__V1__REMOVE_ROUTER_REQUEST__INIT;
    create(p);
    struct call_stream *s = watch(p, router_name);
    hear(s, 2);
    request.name = router_name;
    protobuf_c_message_free_unpacked(played_admin(p, "RemoveRouter", &request.base,
                                                  &shunt__v1__remove_router_response__descriptor,
                                                  0),
                                     NULL);
    expect_over(s, not_found, "ROUTER_NOT_FOUND");
}

static void the_end_of_the_server_ends_its_watchers(void **state)
{
    struct played *p = *state;
    create(p);
    struct call_stream *s = watch(p, router_name);
    hear(s, 2);
    assert_int_equal(server_stop(&p->server, SIGTERM), 0);
    assert_false(server_log_has(&p->server, "drain", "cancelled"));
    expect_over(s, CALL_UNAVAILABLE, "SHUTTING_DOWN");
    assert_true(server_start(&p->server)); /* For the teardown. */
}

int main(void)
{
#define ROW(f) cmocka_unit_test_setup_teardown(f, played_setup, played_teardown)
    const struct CMUnitTest tests[] = {
        ROW(who_has_just_made_a_router_is_shown_its_adapters),
        ROW(every_watcher_hears_the_whole_state_and_every_change),
        ROW(a_watcher_is_told_why_there_is_nothing_to_watch),
        ROW(the_end_of_a_router_ends_its_watchers),
        ROW(the_end_of_the_server_ends_its_watchers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
