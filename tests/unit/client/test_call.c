#include "client/call.h"
#include "shunt/v1/router.pb-c.h"
#include "tests/unit/client/fake_server.h"
#include "tests/unit/cmocka_all.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* Answers by the router that is asked for. */
static void answer(void *unused, const char *path, const uint8_t *request, size_t len,
                   struct fake_answer *ret)
{
    (void)unused;
    Shunt__V1__RouteRequest *m = shunt__v1__route_request__unpack(NULL, len, request);
    Shunt__V1__RouteResponse response = SHUNT__V1__ROUTE_RESPONSE__INIT;
    char arm[] = "the-arm";
    response.arm_id = arm;
    const char *router = m && m->router ? m->router : "";
    if (strcmp(path, "/shunt.v1.Router/RouteRequest") != 0)
        ret->status = 12;
    else if (strcmp(router, "missing") == 0)
        *ret = (struct fake_answer){.status = 5, .code = "ROUTER_NOT_FOUND"};
    else if (strcmp(router, "slow") == 0)
        ret->status = FAKE_HANG;
    else if (strcmp(router, "garbage") == 0)
        memset(ret->bytes, 0xff, ret->len = 9);
    else
        ret->len = shunt__v1__route_response__pack(&response, ret->bytes);
    if (m)
        shunt__v1__route_request__free_unpacked(m, NULL);
}

struct setting {
    struct fake_server *server;
    struct call_channel *channel;
};

static int open_both(void **state)
{
    static struct setting s;
    char address[32];
    s.server = fake_server_start(0, answer, NULL);
    (void)snprintf(address, sizeof address, "127.0.0.1:%d", fake_server_port(s.server));
    s.channel = call_open(address);
    *state = &s;
    return s.channel ? 0 : -1;
}

static int close_both(void **state)
{
    struct setting *s = *state;
    call_close(s->channel);
    fake_server_stop(s->server);
    return 0;
}

static int ask(struct call_channel *channel, const char *path, const char *router, double timeout_s,
               ProtobufCMessage **ret, struct call_error *error)
{
    char name[32];
    (void)snprintf(name, sizeof name, "%s", router);
    Shunt__V1__RouteRequest request = SHUNT__V1__ROUTE_REQUEST__INIT;
    request.router = name;
    return call_unary(channel, path, &request.base, &shunt__v1__route_response__descriptor,
                      timeout_s, ret, error);
}

static const char *const route = "/shunt.v1.Router/RouteRequest";

static void an_answer_is_unpacked(void **state)
{
    struct setting *s = *state;
    struct call_error error;
    ProtobufCMessage *m = NULL;
    assert_int_equal(ask(s->channel, route, "r", 60, &m, &error), 0);
    assert_int_equal(error.status, 0);
    assert_string_equal(((Shunt__V1__RouteResponse *)m)->arm_id, "the-arm");
    protobuf_c_message_free_unpacked(m, NULL);
}

static void a_refusal_carries_status_code_and_sentence(void **state)
{
    struct setting *s = *state;
    struct call_error error;
    ProtobufCMessage *m = NULL;
    assert_int_equal(ask(s->channel, route, "missing", 60, &m, &error), 5);
    assert_null(m);
    assert_string_equal(error.code, "ROUTER_NOT_FOUND");
    assert_string_equal(error.message, "as the test says");
    assert_string_equal(call_status_name(5), "NOT_FOUND");
    assert_int_equal(ask(s->channel, "/shunt.v1.Router/Nothing", "r", 60, &m, &error), 12);
    assert_string_equal(error.code, "");
}

static void a_server_that_hangs_gives_deadline_exceeded(void **state)
{
    struct setting *s = *state;
    struct call_error error;
    ProtobufCMessage *m = NULL;
    assert_int_equal(ask(s->channel, route, "slow", 0.05, &m, &error), CALL_DEADLINE_EXCEEDED);
    assert_int_equal(ask(s->channel, route, "r", -1, &m, &error), CALL_DEADLINE_EXCEEDED);
    assert_null(m);
    assert_true(call_status_passing(error.status));
}

static void an_unreadable_answer_is_an_error(void **state)
{
    struct setting *s = *state;
    struct call_error error;
    ProtobufCMessage *m = NULL;
    assert_int_equal(ask(s->channel, route, "garbage", 60, &m, &error), CALL_INTERNAL);
    assert_null(m);
    assert_false(call_status_passing(error.status));
}

static void *ask_often(void *channel)
{
    for (int i = 0; i < 50; i++) {
        struct call_error error;
        ProtobufCMessage *m = NULL;
        if (ask(channel, route, "r", 60, &m, &error) != 0)
            return channel;
        protobuf_c_message_free_unpacked(m, NULL);
    }
    return NULL;
}

static void many_threads_share_a_channel(void **state)
{
    struct setting *s = *state;
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_often, s->channel), 0);
    for (int i = 0; i < 4; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
}

static void nobody_listening_is_unavailable(void **unused)
{
    (void)unused;
    struct call_error error;
    ProtobufCMessage *m = NULL;
    struct call_channel *channel = call_open("unix:/nonexistent/shunt.sock");
    assert_int_equal(ask(channel, route, "r", 60, &m, &error), CALL_UNAVAILABLE);
    assert_true(error.message[0] != '\0');
    assert_null(m);
    call_close(channel);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_answer_is_unpacked, open_both, close_both),
        cmocka_unit_test_setup_teardown(a_refusal_carries_status_code_and_sentence, open_both,
                                        close_both),
        cmocka_unit_test_setup_teardown(a_server_that_hangs_gives_deadline_exceeded, open_both,
                                        close_both),
        cmocka_unit_test_setup_teardown(an_unreadable_answer_is_an_error, open_both, close_both),
        cmocka_unit_test_setup_teardown(many_threads_share_a_channel, open_both, close_both),
        cmocka_unit_test(nobody_listening_is_unavailable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
