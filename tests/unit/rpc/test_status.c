#include "server/rpc/status.h"
#include "tests/unit/cmocka_all.h"

#include <stdbool.h>

static void every_error_has_a_status_of_its_own_kind_and_only_ok_is_ok(void **state)
{
    (void)state;
    for (int e = OK; e < ERR_N; e++) {
        grpc_status_code status = status_of((enum err)e);
        assert_int_equal(status == GRPC_STATUS_OK, e == OK);
        /* UNKNOWN would mean that nobody decided. */
        assert_int_not_equal(status, GRPC_STATUS_UNKNOWN);
        assert_string_not_equal(status_name(status), "UNKNOWN");
        if (e != ERR_INTERNAL)
            assert_int_not_equal(status, GRPC_STATUS_INTERNAL);
    }
}

static void what_callers_rely_on_stays(void **state)
{
    (void)state;
    const struct {
        enum err e;
        grpc_status_code status;
    } rows[] = {
        {ERR_NOT_FINITE, GRPC_STATUS_INVALID_ARGUMENT},
        {ERR_WRONG_DIMENSION, GRPC_STATUS_INVALID_ARGUMENT},
        {ERR_PARSE, GRPC_STATUS_INVALID_ARGUMENT},
        {ERR_ROUTER_NOT_FOUND, GRPC_STATUS_NOT_FOUND},
        {ERR_DECISION_NOT_FOUND, GRPC_STATUS_NOT_FOUND},
        {ERR_NO_ELIGIBLE_ARM, GRPC_STATUS_FAILED_PRECONDITION},
        {ERR_DECISION_LATE, GRPC_STATUS_FAILED_PRECONDITION},
        {ERR_ID_REUSED, GRPC_STATUS_ALREADY_EXISTS},
        {ERR_ROUTER_EXISTS, GRPC_STATUS_ALREADY_EXISTS},
        {ERR_QUEUE_FULL, GRPC_STATUS_RESOURCE_EXHAUSTED},
        {ERR_OVERLOADED, GRPC_STATUS_RESOURCE_EXHAUSTED},
        {ERR_DISK_FULL, GRPC_STATUS_RESOURCE_EXHAUSTED},
        {ERR_SHUTTING_DOWN, GRPC_STATUS_UNAVAILABLE},
        {ERR_ADAPTERS_PENDING, GRPC_STATUS_UNAVAILABLE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(status_of(rows[i].e), rows[i].status);
}

static void only_exhausted_resources_say_when_to_come_back(void **state)
{
    (void)state;
    for (int e = OK; e < ERR_N; e++) {
        bool exhausted = status_of((enum err)e) == GRPC_STATUS_RESOURCE_EXHAUSTED;
        assert_int_equal(status_pushback_ms((enum err)e) != STATUS_NO_PUSHBACK, exhausted);
    }
    assert_true(status_pushback_ms(ERR_QUEUE_FULL) > 0);
    /* The same message again would be refused again. */
    assert_int_equal(status_pushback_ms(ERR_TOO_LARGE), STATUS_DO_NOT_RETRY);
}

static void a_message_says_what_happened_and_what_to_do(void **state)
{
    (void)state;
    struct err_detail detail = {"there is no arm x"};
    char text[STATUS_MESSAGE_CAP];
    status_message(ERR_ARM_NOT_FOUND, &detail, text, sizeof text);
    assert_string_equal(text, "there is no arm x; add the arm first or check its name");
    detail.text[0] = '\0';
    status_message(ERR_ARM_NOT_FOUND, &detail, text, sizeof text);
    assert_string_equal(text, "add the arm first or check its name");
    status_message(ERR_ARM_NOT_FOUND, NULL, text, sizeof text);
    assert_string_equal(text, "add the arm first or check its name");
    /* "See the message" says nothing to who is reading it. */
    detail = (struct err_detail){"there is no policy x; there are y and z"};
    status_message(ERR_INVALID, &detail, text, sizeof text);
    assert_string_equal(text, detail.text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_error_has_a_status_of_its_own_kind_and_only_ok_is_ok),
        cmocka_unit_test(what_callers_rely_on_stays),
        cmocka_unit_test(only_exhausted_resources_say_when_to_come_back),
        cmocka_unit_test(a_message_says_what_happened_and_what_to_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
