/* async_call.h - many unary calls to the router service in flight from one thread.
 * Why: a replay plays dozens of orders at once on the machine that also runs the server; a thread
 * for each would spend more on waking up than on the calls.
 * Owns: an async_channel owns channel and queue; an async_call one call from start to finish.
 * Threads: one.
 * Invariant: every started call comes back once from async_next, by its deadline at the latest, and
 * must be finished before its memory goes. */
#pragma once

#include "client/call.h"

enum async_method { ASYNC_ROUTE, ASYNC_REPORT };

struct async_channel;
struct async_call;

/* tls NULL: plaintext. NULL: `why` is a sentence, or "" when there is no memory. */
struct async_channel *async_open(const char *address, const struct call_tls *tls,
                                 char why[CREDENTIALS_WHY_CAP]);
/* No call may be in flight. */
void async_close(struct async_channel *channel);

struct async_call *async_call_new(void);
void async_call_free(struct async_call *call); /* Not in flight; NULL is fine. */

/* False: not started, and the call is free again. tag comes back from async_next. */
bool async_start(struct async_channel *channel, struct async_call *call, enum async_method method,
                 const ProtobufCMessage *request, double timeout_s, void *tag);
/* Cancels a call in flight; it still comes back from async_next. */
void async_cancel(struct async_call *call);
/* The tag of a call that ended; NULL after wait_ms without one. */
void *async_next(struct async_channel *channel, int wait_ms);
/* As call_unary ends: 0 and a message, or the status and the reason. */
int async_finish(struct async_call *call, const ProtobufCMessageDescriptor *response,
                 ProtobufCMessage **ret_response, struct call_error *ret_error);
