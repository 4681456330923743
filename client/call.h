/* call.h - one blocking unary call on a gRPC channel; the only part of the client that sees gRPC.
 * Why: libshunt and shuntctl ask the same server in the same way, and neither should know a
 * completion queue.
 * Owns: the channel. Each call has a completion queue of its own, so calls never wait for each
 * other; retries, proxies and service configuration are off: what is retried is decided above.
 * A channel that has met an absent server has a thread that watches for its return.
 * Threads: call_unary from any number of threads at once; call_close after the last has returned.
 * After fork() the child must open its own channel.
 * Invariant: call_unary returns by its deadline, whatever the server or the network does. */
#pragma once

#include "client/credentials.h"

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>

struct call_error {
    int status;    /* gRPC's numbers: 0 OK, 4 DEADLINE_EXCEEDED, 5 NOT_FOUND, 14 UNAVAILABLE... */
    char code[64]; /* The server's machine code ("ARM_NOT_FOUND"); "" when it sent none. */
    char message[1024]; /* The sentence for people. */
};

#define CALL_INVALID_ARGUMENT 3
#define CALL_DEADLINE_EXCEEDED 4
#define CALL_RESOURCE_EXHAUSTED 8
#define CALL_INTERNAL 13
#define CALL_UNAVAILABLE 14

struct call_channel;

/* HOST:PORT or unix:PATH, plaintext: for loopback. Never blocks and never fails for want of a
 * server; the connection is made by the first call. NULL: out of memory. */
struct call_channel *call_open(const char *address);
/* The same over TLS; tls NULL: plaintext. NULL: *ret_error says why; CALL_INVALID_ARGUMENT for
 * files that cannot be used. They are read now and not again. What the handshake finds wrong is
 * found by the first call: CALL_UNAVAILABLE with a sentence of ours in front of gRPC's. */
struct call_channel *call_open_tls(const char *address, const struct call_tls *tls,
                                   struct call_error *ret_error);
/* NULL is fine. Takes up to a tenth of a second while the server is away. */
void call_close(struct call_channel *channel);

/* Sends request to path ("/shunt.v1.Router/RouteRequest") and waits for the answer, at most
 * timeout_s seconds. Returns 0 or the gRPC status, which is also in *ret_error (always written).
 * On 0, *ret_response is the caller's: protobuf_c_message_free_unpacked(m, NULL). An answer that
 * cannot be read gives CALL_INTERNAL. */
int call_unary(struct call_channel *channel, const char *path, const ProtobufCMessage *request,
               const ProtobufCMessageDescriptor *response, double timeout_s,
               ProtobufCMessage **ret_response, struct call_error *ret_error);

/* ---- one bidirectional stream, for client/stream.c ---- */

struct call_stream;

enum call_event {
    CALL_MESSAGE, /* One was read; *ret_message. The next is being read. */
    CALL_WRITTEN, /* Another message may be written. */
    CALL_IDLE,    /* Nothing happened until the time was over. */
    CALL_OVER,    /* The stream ended; *ret_error says how. Only call_stream_close may follow. */
};

/* Begins it; never blocks. NULL: out of memory. */
struct call_stream *call_stream_open(struct call_channel *channel, const char *path);
/* NULL is fine. Cancels what is open. */
void call_stream_close(struct call_stream *s);
/* Hands over one message, copied. more: another one follows at once, so this one need not leave
 * alone. False: one is on its way still, see CALL_WRITTEN. */
bool call_stream_write(struct call_stream *s, const void *bytes, size_t len, bool more);
bool call_stream_writing(const struct call_stream *s);
/* Waits at most wait_s seconds, which may be 0. The message is the caller's, NULL when it cannot be
 * read. */
enum call_event call_stream_next(struct call_stream *s, const ProtobufCMessageDescriptor *type,
                                 double wait_s, ProtobufCMessage **ret_message,
                                 struct call_error *ret_error);

/* "DEADLINE_EXCEEDED" and the like, for people; never NULL. */
const char *call_status_name(int status);
/* Whether the same call may succeed later without any change: UNAVAILABLE, DEADLINE_EXCEEDED,
 * RESOURCE_EXHAUSTED. */
bool call_status_passing(int status);
