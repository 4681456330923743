/* outbox.h - outcomes that wait for the server, and the thread that delivers them.
 * Why: a host must not wait, or lose what it learned, because shunt is restarted.
 * Owns: the queued messages and one thread, which blocks all signals and runs nothing of the
 * host's. Delivery is in order, many in one send. What is to be tried again stays where it is, or
 * goes to the end when it alone has to wait, and is sent after a pause that doubles, with jitter,
 * so that a thousand clients do not come back in step. After a failure one message is sent alone,
 * and twice as many with each send that succeeds: knocking at the door of a server that is away
 * costs little, and a link that is too slow for a thousand in one deadline still gets them through.
 * Threads: everything but outbox_free from any thread.
 * Invariant: never more than outcomes_max messages and bytes_max bytes, those being sent
 * included. */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct outbox;

enum outbox_verdict {
    OUTBOX_DELIVERED,
    OUTBOX_REFUSED, /* Will never be taken. */
    OUTBOX_RETRY,   /* The server is away or busy: nothing overtakes it. */
    OUTBOX_DEFER,   /* It alone has to wait: the others go first. */
};

struct outbox_config {
    size_t outcomes_max, bytes_max;
    double first_s, max_s; /* Pauses. */
    size_t send_max;       /* Messages of one send, at least 1. */
    size_t send_bytes_max; /* Their bytes; a longer message is sent alone. */
    /* Sends the n messages in their order; ret_verdicts (n). */
    void (*send)(void *context, const ProtobufCMessage *const *messages, size_t n,
                 enum outbox_verdict *ret_verdicts);
    void *context;
};

struct outbox_stats {
    uint64_t queued, queued_bytes, delivered, refused, dropped, retries;
};

/* NULL: no memory or no thread. */
struct outbox *outbox_new(const struct outbox_config *config);
/* Waits for a running send to return; what is queued is lost. NULL is fine. */
void outbox_free(struct outbox *o);

/* Takes a message (as protobuf_c_message_free_unpacked(m, NULL) frees it) of so many packed bytes.
 * Without room it waits up to wait_s seconds; then false, the message is freed and counted. */
bool outbox_put_take(struct outbox *o, ProtobufCMessage *message, size_t bytes, double wait_s);
/* Whether the last send failed and what it left still waits. */
bool outbox_retrying(struct outbox *o);
/* Ends the present pause, if there is one: a reason to hope has come up. */
void outbox_nudge(struct outbox *o);
/* Ends the present pause, then waits until the queue is empty. false: not within timeout_s. */
bool outbox_flush(struct outbox *o, double timeout_s);
void outbox_read_stats(struct outbox *o, struct outbox_stats *ret);
