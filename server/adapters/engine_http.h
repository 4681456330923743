/* engine_http.h - one replica's HTTP: libcurl, bounded in time, bytes and patience.
 * Why: an engine is somebody else's process. Whatever it sends, a call ends by its deadline or at
 * once when aborted, and keeps at most the bytes its caller allows.
 * Owns: its connections, two at most, and the latest answer. Redirects, proxies of the environment
 * and compressed answers are not taken: an engine needs none of them, and each is a way around the
 * bounds. Threads: one caller at a time; engine_http_abort from any. Invariant: the token appears
 * in no error; what an engine echoes is its caller's to look at. */
#pragma once

#include "state/base/slice.h"

enum {
    ENGINE_BODY_MAX = 1 << 20,
    ENGINE_LIST_MAX = 8 << 20, /* Of a list of models: 10,000 rows of 800 bytes. */
    ENGINE_HEADERS_MAX = 64 << 10,
    ENGINE_KEEPALIVE_MS = 4000, /* Servers of these engines keep an idle connection five seconds. */
};

struct engine_http;

struct engine_http_config {
    const char *url;
    const char *token;   /* NULL: none. */
    const char *ca_file; /* NULL: the system's. */
};

/* Checks the form only (residency_check_url); nothing is sent. Borrows nothing. ERR_INVALID,
 * ERR_NOMEM. */
MUST_USE enum err engine_http_open(const struct engine_http_config *config,
                                   struct engine_http **ret_http, struct err_detail *detail);
void engine_http_close(struct engine_http *h); /* Takes NULL. */
/* Ends the call that is under way, and each later one, with ERR_CANCELLED. */
void engine_http_abort(struct engine_http *h);

struct engine_ask {
    const char *path, *body; /* body NULL: GET; else POST of that JSON. */
    uint32_t timeout_ms;
    size_t most; /* Bytes of an answer; 0: ENGINE_BODY_MAX. */
    /* Of a question to who was silent: without an answer after so long it is asked again, over a
     * connection of its own, and again; the first one or the latest, whichever is answered first.
     * A process that is back answers at once, and would else be waited for until the question to
     * its predecessor times out. 0: it is asked once. */
    uint32_t again_ms;
};

struct engine_reply {
    long status;       /* Of HTTP. */
    struct slice body; /* Borrowed until the next call. */
    double ms;         /* From sending to the last byte. */
    bool reconnected;  /* The engine had closed a connection that was still fresh: a new process? */
};

/* ERR_ENGINE_DOWN: no answer; ret_refused then says that the process was not there (refused, reset)
 * rather than slow. ERR_ENGINE_ANSWER: too much or broken HTTP. Any status is OK here. */
MUST_USE enum err engine_http_call(struct engine_http *h, const struct engine_ask *ask,
                                   struct engine_reply *ret_reply, bool *ret_refused,
                                   struct err_detail *detail);
