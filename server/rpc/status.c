#include "server/rpc/status.h"

#include <stdio.h>

grpc_status_code status_of(enum err e)
{
    switch (e) {
    case OK:
        return GRPC_STATUS_OK;
    case ERR_INVALID:
    case ERR_NOT_FINITE:
    case ERR_OUT_OF_RANGE:
    case ERR_WRONG_DIMENSION:
    case ERR_BAD_NAME:
    case ERR_BAD_ID:
    case ERR_PARSE:
    case ERR_BAD_SELECTOR:
    case ERR_PIECE_KEY_REQUIRED:
        return GRPC_STATUS_INVALID_ARGUMENT;
    case ERR_ROUTER_NOT_FOUND:
    case ERR_ARM_NOT_FOUND:
    case ERR_METRIC_NOT_FOUND:
    case ERR_STAGE_NOT_FOUND:
    case ERR_SOURCE_NOT_FOUND:
    case ERR_TENANT_NOT_FOUND:
    case ERR_PROJECTION_NOT_FOUND:
    case ERR_DECISION_NOT_FOUND:
    case ERR_SESSION_NOT_FOUND:
    case ERR_JOB_NOT_FOUND:
    case ERR_NOT_FOUND:
        return GRPC_STATUS_NOT_FOUND;
    case ERR_SESSION_BUDGET:
    case ERR_BUDGET_EXHAUSTED:
    case ERR_DECISION_LATE:
    case ERR_NO_ELIGIBLE_ARM:
    case ERR_BASELINE_REQUIRED:
    case ERR_NO_ADAPTERS:
    case ERR_LOG_REQUIRED:
    case ERR_FORGET_PARTIAL:
    case ERR_FIXED_AT_CREATION:
    case ERR_SPEC_MISMATCH:
    case ERR_SCHEMA:
    case ERR_LOCKED:
    case ERR_ADDRESS:
    case ERR_ENGINE_REFUSED:
    case ERR_ENGINE_ANSWER:
        return GRPC_STATUS_FAILED_PRECONDITION;
    case ERR_ROUTER_EXISTS:
    case ERR_ARM_EXISTS:
    case ERR_EXISTS:
    case ERR_ID_REUSED:
        return GRPC_STATUS_ALREADY_EXISTS;
    case ERR_NOMEM:
    case ERR_TOO_LARGE:
    case ERR_LIMIT:
    case ERR_PIECES_FULL:
    case ERR_SOURCE_CAP:
    case ERR_JOBS_FULL:
    case ERR_QUEUE_FULL:
    case ERR_OVERLOADED:
    case ERR_DISK_FULL:
    case ERR_MAP_FULL:
        return GRPC_STATUS_RESOURCE_EXHAUSTED;
    case ERR_IO:
    case ERR_SHUTTING_DOWN:
    case ERR_ENGINE_DOWN:
        return GRPC_STATUS_UNAVAILABLE;
    case ERR_SOURCE_REFUSED:
        return GRPC_STATUS_PERMISSION_DENIED;
    case ERR_CORRUPT:
        return GRPC_STATUS_DATA_LOSS;
    case ERR_CANCELLED:
        return GRPC_STATUS_CANCELLED;
    case ERR_UNSUPPORTED:
        return GRPC_STATUS_UNIMPLEMENTED;
    case ERR_INTERNAL:
    case ERR_N:
        break;
    }
    return GRPC_STATUS_INTERNAL;
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
    /* The general sentence of ERR_INVALID points at the one that is there. */
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
