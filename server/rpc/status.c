#include "server/rpc/status.h"

#include <stdbool.h>
#include <stdio.h>

/* test_status sees that no code was forgotten; one that was is INTERNAL. */
static const grpc_status_code statuses[ERR_N] = {
    [OK] = GRPC_STATUS_OK,
    [ERR_INVALID] = GRPC_STATUS_INVALID_ARGUMENT,
    [ERR_NOT_FINITE] = GRPC_STATUS_INVALID_ARGUMENT,
    [ERR_OUT_OF_RANGE] = GRPC_STATUS_INVALID_ARGUMENT,
    [ERR_WRONG_DIMENSION] = GRPC_STATUS_INVALID_ARGUMENT,
    [ERR_BAD_NAME] = GRPC_STATUS_INVALID_ARGUMENT,
    [ERR_BAD_ID] = GRPC_STATUS_INVALID_ARGUMENT,
    [ERR_PARSE] = GRPC_STATUS_INVALID_ARGUMENT,
    [ERR_BAD_SELECTOR] = GRPC_STATUS_INVALID_ARGUMENT,
    [ERR_PIECE_KEY_REQUIRED] = GRPC_STATUS_INVALID_ARGUMENT,
    [ERR_ROUTER_NOT_FOUND] = GRPC_STATUS_NOT_FOUND,
    [ERR_ARM_NOT_FOUND] = GRPC_STATUS_NOT_FOUND,
    [ERR_METRIC_NOT_FOUND] = GRPC_STATUS_NOT_FOUND,
    [ERR_STAGE_NOT_FOUND] = GRPC_STATUS_NOT_FOUND,
    [ERR_SOURCE_NOT_FOUND] = GRPC_STATUS_NOT_FOUND,
    [ERR_TENANT_NOT_FOUND] = GRPC_STATUS_NOT_FOUND,
    [ERR_PROJECTION_NOT_FOUND] = GRPC_STATUS_NOT_FOUND,
    [ERR_DECISION_NOT_FOUND] = GRPC_STATUS_NOT_FOUND,
    [ERR_SESSION_NOT_FOUND] = GRPC_STATUS_NOT_FOUND,
    [ERR_JOB_NOT_FOUND] = GRPC_STATUS_NOT_FOUND,
    [ERR_NOT_FOUND] = GRPC_STATUS_NOT_FOUND,
    [ERR_SESSION_BUDGET] = GRPC_STATUS_FAILED_PRECONDITION,
    [ERR_BUDGET_EXHAUSTED] = GRPC_STATUS_FAILED_PRECONDITION,
    [ERR_DECISION_LATE] = GRPC_STATUS_FAILED_PRECONDITION,
    [ERR_NO_ELIGIBLE_ARM] = GRPC_STATUS_FAILED_PRECONDITION,
    [ERR_BASELINE_REQUIRED] = GRPC_STATUS_FAILED_PRECONDITION,
    [ERR_NO_ADAPTERS] = GRPC_STATUS_FAILED_PRECONDITION,
    [ERR_LOG_REQUIRED] = GRPC_STATUS_FAILED_PRECONDITION,
    [ERR_FORGET_PARTIAL] = GRPC_STATUS_FAILED_PRECONDITION,
    [ERR_FIXED_AT_CREATION] = GRPC_STATUS_FAILED_PRECONDITION,
    [ERR_SPEC_MISMATCH] = GRPC_STATUS_FAILED_PRECONDITION,
    [ERR_SCHEMA] = GRPC_STATUS_FAILED_PRECONDITION,
    [ERR_LOCKED] = GRPC_STATUS_FAILED_PRECONDITION,
    [ERR_ADDRESS] = GRPC_STATUS_FAILED_PRECONDITION,
    [ERR_ENGINE_REFUSED] = GRPC_STATUS_FAILED_PRECONDITION,
    [ERR_ENGINE_ANSWER] = GRPC_STATUS_FAILED_PRECONDITION,
    [ERR_ROUTER_EXISTS] = GRPC_STATUS_ALREADY_EXISTS,
    [ERR_ARM_EXISTS] = GRPC_STATUS_ALREADY_EXISTS,
    [ERR_EXISTS] = GRPC_STATUS_ALREADY_EXISTS,
    [ERR_ID_REUSED] = GRPC_STATUS_ALREADY_EXISTS,
    [ERR_NOMEM] = GRPC_STATUS_RESOURCE_EXHAUSTED,
    [ERR_TOO_LARGE] = GRPC_STATUS_RESOURCE_EXHAUSTED,
    [ERR_LIMIT] = GRPC_STATUS_RESOURCE_EXHAUSTED,
    [ERR_PIECES_FULL] = GRPC_STATUS_RESOURCE_EXHAUSTED,
    [ERR_SOURCE_CAP] = GRPC_STATUS_RESOURCE_EXHAUSTED,
    [ERR_JOBS_FULL] = GRPC_STATUS_RESOURCE_EXHAUSTED,
    [ERR_QUEUE_FULL] = GRPC_STATUS_RESOURCE_EXHAUSTED,
    [ERR_OVERLOADED] = GRPC_STATUS_RESOURCE_EXHAUSTED,
    [ERR_DISK_FULL] = GRPC_STATUS_RESOURCE_EXHAUSTED,
    [ERR_MAP_FULL] = GRPC_STATUS_RESOURCE_EXHAUSTED,
    [ERR_IO] = GRPC_STATUS_UNAVAILABLE,
    [ERR_SHUTTING_DOWN] = GRPC_STATUS_UNAVAILABLE,
    [ERR_ENGINE_DOWN] = GRPC_STATUS_UNAVAILABLE,
    [ERR_ADAPTERS_PENDING] = GRPC_STATUS_UNAVAILABLE,
    [ERR_SOURCE_REFUSED] = GRPC_STATUS_PERMISSION_DENIED,
    [ERR_CORRUPT] = GRPC_STATUS_DATA_LOSS,
    [ERR_CANCELLED] = GRPC_STATUS_CANCELLED,
    [ERR_UNSUPPORTED] = GRPC_STATUS_UNIMPLEMENTED,
    [ERR_INTERNAL] = GRPC_STATUS_INTERNAL,
};

grpc_status_code status_of(enum err e)
{
    if (e == OK)
        return GRPC_STATUS_OK;
    /* A row that nobody filled is 0: a failure must not look like an answer. */
    bool known = (unsigned)e < ERR_N && statuses[e] != GRPC_STATUS_OK;
    return known ? statuses[e] : GRPC_STATUS_INTERNAL;
}

int status_pushback_ms(enum err e)
{
    if (status_of(e) != GRPC_STATUS_RESOURCE_EXHAUSTED)
        return STATUS_NO_PUSHBACK;
    /* The same message or one more thing is refused again however long one waits. */
    if (e == ERR_TOO_LARGE || e == ERR_LIMIT || e == ERR_PIECES_FULL)
        return STATUS_DO_NOT_RETRY;
    /* A queue empties in milliseconds; memory and disks need somebody or something. */
    return e == ERR_QUEUE_FULL || e == ERR_OVERLOADED ? 100 : 2000;
}

void status_message(enum err e, const struct err_detail *detail, char *ret_text, size_t cap)
{
    /* "Correct the value" adds nothing to a sentence that says what is wrong with which. */
    if (detail && detail->text[0] && e == ERR_INVALID)
        (void)snprintf(ret_text, cap, "%s", detail->text);
    else if (detail && detail->text[0])
        (void)snprintf(ret_text, cap, "%s; %s", detail->text, err_text(e));
    else
        (void)snprintf(ret_text, cap, "%s", err_text(e));
}

const char *status_name(grpc_status_code status)
{
    static const char *const names[] = {"OK",
                                        "CANCELLED",
                                        "UNKNOWN",
                                        "INVALID_ARGUMENT",
                                        "DEADLINE_EXCEEDED",
                                        "NOT_FOUND",
                                        "ALREADY_EXISTS",
                                        "PERMISSION_DENIED",
                                        "RESOURCE_EXHAUSTED",
                                        "FAILED_PRECONDITION",
                                        "ABORTED",
                                        "OUT_OF_RANGE",
                                        "UNIMPLEMENTED",
                                        "INTERNAL",
                                        "UNAVAILABLE",
                                        "DATA_LOSS",
                                        "UNAUTHENTICATED"};
    return (unsigned)status < sizeof names / sizeof *names ? names[status] : "UNKNOWN";
}
