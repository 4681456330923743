/* fake_server.h - a gRPC server that answers as a test tells it to.
 * Why: the client's promises are about servers that refuse, stall and come back; the real one does
 * none of that on demand.
 * Owns: one thread and one port; serves one call at a time.
 * Threads: start and stop from the test's thread; answer runs on the server's. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct fake_answer {
    int status;       /* gRPC's number; FAKE_HANG: no answer until the client gives up. */
    const char *code; /* Trailer shunt-code, or NULL. */
    uint8_t bytes[32768];
    size_t len;
};
#define FAKE_HANG (-1)

/* Fills *ret, which is zeroed: an empty OK. */
typedef void fake_answer_fn(void *context, const char *path, const uint8_t *request, size_t len,
                            struct fake_answer *ret);

struct fake_server;

/* port 0: a free one. Aborts the test program when it cannot listen. */
struct fake_server *fake_server_start(int port, fake_answer_fn *answer, void *context);
int fake_server_port(const struct fake_server *s);
void fake_server_stop(struct fake_server *s);
