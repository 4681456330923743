/* What callers may do to the wire, and what they get for it. */
#include "tests/flow/play.h"
#include "tests/flow/raw.h"
#include "tests/flow/server.h"
#include "tests/unit/cmocka_all.h"

#include <grpc/grpc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUTE "/shunt.v1.Router/RouteRequest"
#define REPORT "/shunt.v1.Router/ReportReward"

struct fixture {
    struct server server;
    grpc_channel *data;
    struct call_channel *router, *admin;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    grpc_init();
    server_init(&f->server);
    if (!server_start(&f->server))
        return -1;
    f->data = raw_open(f->server.router);
    f->router = call_open(f->server.router);
    f->admin = call_open(f->server.admin);
    play_router(f->admin, "flow");
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    grpc_channel_destroy(f->data);
    call_close(f->router);
    call_close(f->admin);
    int status = server_stop(&f->server, SIGTERM);
    server_free(&f->server);
    free(f);
    grpc_shutdown();
    return status;
}

static struct raw_call send_bytes(struct fixture *f, const char *path, const void *bytes,
                                  size_t len)
{
    struct raw_call c = {.path = path, .bytes = bytes, .len = len, .timeout_s = 60};
    raw_run(f->data, &c);
    return c;
}

/* No call is held any more; asked again and again, since an answer may be on its way. */
static void assert_nothing_in_flight(struct fixture *f)
{
    double n = -1;
    for (int i = 0; i < 1000 && n != 0; i++) {
        n = server_metric(&f->server, "shunt_in_flight");
        if (n != 0)
            server_nap_ms(10);
    }
    assert_true(n == 0);
}

static void assert_still_serving(struct fixture *f)
{
    struct decision_kept d;
    play_route(f->router, "flow", &d);
    assert_nothing_in_flight(f);
}

static void an_unknown_method_is_unimplemented_at_once(void **state)
{
    /* At once: sixty seconds are allowed, and DEADLINE_EXCEEDED would be the answer after them. */
    struct raw_call c = send_bytes(*state, "/shunt.v1.Router/NoSuchMethod", "", 0);
    assert_int_equal(c.status, GRPC_STATUS_UNIMPLEMENTED);
    assert_string_equal(c.code, "UNSUPPORTED");
    assert_non_null(strstr(c.message, "NoSuchMethod"));
    for (int i = 0; i < 50; i++)
        assert_int_equal(send_bytes(*state, "/no/where", "x", 1).status, GRPC_STATUS_UNIMPLEMENTED);
    assert_still_serving(*state);
}

static void an_admin_method_on_the_data_port_is_unimplemented(void **state)
{
    struct raw_call c = send_bytes(*state, "/shunt.v1.Admin/ListRouters", "", 0);
    assert_int_equal(c.status, GRPC_STATUS_UNIMPLEMENTED);
}

static void garbage_is_an_invalid_argument(void **state)
{
    static const unsigned char garbage[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x13, 0x37};
    static const char *const paths[] = {ROUTE, REPORT};
    for (size_t i = 0; i < 2; i++) {
        struct raw_call c = send_bytes(*state, paths[i], garbage, sizeof garbage);
        assert_int_equal(c.status, GRPC_STATUS_INVALID_ARGUMENT);
        assert_string_equal(c.code, "PARSE");
    }
    assert_still_serving(*state);
}

static void a_name_that_hides_behind_a_nul_is_refused(void **state)
{
    static const char bytes[] = "\x0a\x06"
                                "flow\0x"; /* router = "flow\0x" */
    struct raw_call c = send_bytes(*state, ROUTE, bytes, sizeof bytes - 1);
    assert_int_equal(c.status, GRPC_STATUS_INVALID_ARGUMENT);
    assert_string_equal(c.code, "PARSE");
}

static void a_prompt_may_hold_any_bytes(void **state)
{
    static const char bytes[] = "\x0a\x04"
                                "flow"
                                "\x12\x05"
                                "a\0\xff\xfe"
                                "b"; /* router, text */
    struct raw_call c = send_bytes(*state, ROUTE, bytes, sizeof bytes - 1);
    assert_int_equal(c.status, GRPC_STATUS_OK);
    assert_true(c.response_len > 0);
}

static void an_empty_message_means_all_defaults(void **state)
{
    /* The default router has no arm yet: that is the answer of deciding, not of reading. */
    struct raw_call c = send_bytes(*state, ROUTE, "", 0);
    assert_int_equal(c.status, GRPC_STATUS_FAILED_PRECONDITION);
    assert_string_equal(c.code, "NO_ELIGIBLE_ARM");
    c = send_bytes(*state, REPORT, "", 0);
    assert_int_equal(c.status, GRPC_STATUS_INVALID_ARGUMENT);
}

/* Field `number` (bytes) of `len` characters. */
static size_t put_text(unsigned char *to, unsigned number, size_t len)
{
    size_t n = 0;
    to[n++] = (unsigned char)(number << 3 | 2);
    for (size_t left = len; left; left >>= 7)
        to[n++] = (unsigned char)((left & 0x7f) | (left > 0x7f ? 0x80 : 0));
    memset(to + n, 'x', len);
    return n + len;
}

static void oversized_messages_exhaust_a_resource_of_theirs_only(void **state)
{
    struct fixture *f = *state;
    enum { HUGE = 16 * 1024 * 1024, BEYOND_ROUTE = 700 * 1024, BEYOND_REPORT = 65 * 1024 };
    unsigned char *bytes = malloc(HUGE + 16);
    assert_non_null(bytes);
    /* Beyond the core's limit, beyond RouteRequest's own, beyond ReportReward's own. */
    size_t len = put_text(bytes, 2, HUGE);
    assert_int_equal(send_bytes(f, ROUTE, bytes, len).status, GRPC_STATUS_RESOURCE_EXHAUSTED);
    len = put_text(bytes, 2, BEYOND_ROUTE);
    struct raw_call c = send_bytes(f, ROUTE, bytes, len);
    assert_int_equal(c.status, GRPC_STATUS_RESOURCE_EXHAUSTED);
    assert_string_equal(c.code, "TOO_LARGE");
    len = put_text(bytes, 2, BEYOND_REPORT);
    c = send_bytes(f, REPORT, bytes, len);
    assert_int_equal(c.status, GRPC_STATUS_RESOURCE_EXHAUSTED);
    assert_string_equal(c.code, "TOO_LARGE");
    free(bytes);
    assert_still_serving(f);
}

static void deadlines_and_cancels_leave_nothing_behind(void **state)
{
    struct fixture *f = *state;
    static const char route[] = "\x0a\x04"
                                "flow";
    for (int i = 0; i < 200; i++) {
        struct raw_call hasty = {.path = i % 2 ? ROUTE : REPORT,
                                 .bytes = route,
                                 .len = sizeof route - 1,
                                 .timeout_s = .001};
        struct raw_call fickle = hasty;
        fickle.timeout_s = 60;
        fickle.cancel = true;
        raw_run(f->data, &hasty);
        raw_run(f->data, &fickle);
        struct raw_call past = hasty;
        past.timeout_s = -1;
        raw_run(f->data, &past);
        assert_int_equal(past.status, GRPC_STATUS_DEADLINE_EXCEEDED);
    }
    assert_still_serving(f);
}

static void an_absurd_deadline_is_as_good_as_any(void **state)
{
    static const char route[] = "\x0a\x04"
                                "flow";
    struct raw_call c = {.path = ROUTE, .bytes = route, .len = sizeof route - 1, .timeout_s = 1e9};
    raw_run(((struct fixture *)*state)->data, &c);
    assert_int_equal(c.status, GRPC_STATUS_OK);
}

static void calls_are_counted_by_method_and_code(void **state)
{
    struct fixture *f = *state;
    static const char name[] = "shunt_rpc_calls_total{method=\"RouteRequest\",code=\"%s\"}";
    char ok[128], missing[128];
    (void)snprintf(ok, sizeof ok, name, "OK");
    (void)snprintf(missing, sizeof missing, name, "ROUTER_NOT_FOUND");
    double before = server_metric(&f->server, ok);
    struct decision_kept d;
    play_route(f->router, "flow", &d);
    (void)send_bytes(f, ROUTE, "\x0a\x04none", 6);
    assert_true(server_metric(&f->server, ok) == before + 1);
    assert_true(server_metric(&f->server, missing) >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_unknown_method_is_unimplemented_at_once),
        cmocka_unit_test(an_admin_method_on_the_data_port_is_unimplemented),
        cmocka_unit_test(garbage_is_an_invalid_argument),
        cmocka_unit_test(a_name_that_hides_behind_a_nul_is_refused),
        cmocka_unit_test(a_prompt_may_hold_any_bytes),
        cmocka_unit_test(an_empty_message_means_all_defaults),
        cmocka_unit_test(oversized_messages_exhaust_a_resource_of_theirs_only),
        cmocka_unit_test(deadlines_and_cancels_leave_nothing_behind),
        cmocka_unit_test(an_absurd_deadline_is_as_good_as_any),
        cmocka_unit_test(calls_are_counted_by_method_and_code),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
