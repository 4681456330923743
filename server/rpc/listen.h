/* listen.h - addresses a server answers on.
 * Why: what the C core does silently must be an error here: sharing a port with another server,
 * taking over the socket file of a living one, leaving a dead one's.
 * Threads: from the owner, before the server starts. */
#pragma once

#include "state/base/err.h"

#include <grpc/grpc.h>

enum { LISTEN_ADDRESS_CAP = 288 };

/* Paths of PEM files; cert NULL or empty: plaintext. client_ca: clients must show a certificate. */
struct rpc_tls {
    const char *cert, *key, *client_ca;
};

/* HOST:PORT or unix:PATH. ret_bound says what was bound, with the port that 0 became. Unix sockets
 * are plaintext: their file's mode guards them.
 * ERR_IO: taken or not to be had, and by what; ERR_INVALID: the certificates. */
MUST_USE enum err listen_add(grpc_server *server, const char *address, const struct rpc_tls *tls,
                             char ret_bound[LISTEN_ADDRESS_CAP], struct err_detail *detail);
