/* status.h - what the outside world sees of an error.
 * Form: a gRPC status; a message "what happened; what to do"; the trailer `shunt-code` with the
 * stable machine code; and, where trying again may help or is pointless, `grpc-retry-pushback-ms`.
 * Threads: pure. */
#pragma once

#include "state/base/err.h"

#include <grpc/status.h>
#include <stddef.h>

enum { STATUS_MESSAGE_CAP = 1280, STATUS_NO_PUSHBACK = -2, STATUS_DO_NOT_RETRY = -1 };

/* The one place that decides; a new error does not compile until it has a row here. */
grpc_status_code status_of(enum err e);
/* Milliseconds to wait before a retry, STATUS_DO_NOT_RETRY, or STATUS_NO_PUSHBACK. */
int status_pushback_ms(enum err e);
/* Writes the message; detail may be NULL or empty. */
void status_message(enum err e, const struct err_detail *detail, char *ret_text, size_t cap);
/* "OK", "NOT_FOUND"...; never NULL. */
const char *status_name(grpc_status_code status);
