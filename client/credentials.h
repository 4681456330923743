/* credentials.h - what a channel shows and whom it trusts: plaintext, TLS, or TLS with a
 * certificate of its own.
 * Why: libshunt, shuntctl and its replays open channels in two places and shall not differ in this.
 * Owns: nothing; the files are read once, and the private key is wiped from memory of ours.
 * Threads: any; after grpc_init. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct grpc_channel;
struct grpc_channel_credentials;

/* Paths of PEM files, and a name. */
struct call_tls {
    const char *ca;          /* Whom to trust. NULL: the system's roots. */
    const char *cert, *key;  /* Of the client: both, or NULL. */
    const char *server_name; /* The name that the server's certificate has to bear. NULL: the host
                              * of the address. */
};

#define CREDENTIALS_WHY_CAP 512

/* tls NULL: plaintext. NULL: `why` is a sentence, or "" when there is no memory. */
struct grpc_channel_credentials *credentials_new(const char *address, const struct call_tls *tls,
                                                 char why[CREDENTIALS_WHY_CAP]);
/* A channel with them, and the options that every channel of ours has: retries, proxies and service
 * configuration are off, and a server that comes back is found within a second. */
struct grpc_channel *credentials_channel(const char *address, const struct call_tls *tls,
                                         struct grpc_channel_credentials *creds);
