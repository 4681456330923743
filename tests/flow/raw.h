/* raw.h - calls that a well-behaved client library would not make: any bytes, any path, cancelled
 * at once, with a deadline of a millisecond.
 * Threads: any; each call has a queue of its own. */
#pragma once

#include <grpc/grpc.h>
#include <stdbool.h>

struct raw_call {
    const char *path;
    const void *bytes;
    size_t len;
    double timeout_s;
    bool cancel; /* Right after it was started. */
    /* Answer: */
    grpc_status_code status;
    char code[64], message[1024];
    size_t response_len;
};

grpc_channel *raw_open(const char *address);
void raw_run(grpc_channel *channel, struct raw_call *c);
