/* http.h - what a monitoring system asks: GET /metrics, /healthz, /readyz, and nothing else.
 * Why: Prometheus and load balancers speak plain HTTP; libmicrohttpd does, in one thread.
 * /healthz answers 200 while the process lives; /readyz 200, or 503 with the reasons.
 * Owns: a listening socket and the thread of libmicrohttpd. Borrows metrics, ready and log: close
 * this first, because a page being rendered calls their callbacks.
 * Threads: open and close from the owner.
 * Invariant: at most HTTP_CONNECTIONS_MAX connections; no request body is read; an idle connection
 * is closed after 10 s. */
#pragma once

#include "state/base/err.h"

#define HTTP_CONNECTIONS_MAX 16
#define HTTP_ADDRESS_CAP 80

struct http;
struct log;
struct metrics;
struct ready;

struct http_options {
    const char *address; /* HOST:PORT with a numeric host, [v6]:PORT, or localhost. Port 0: a free
                            one. */
    struct metrics *metrics;
    struct ready *ready;
    struct log *log; /* Gets "listening" with service "metrics". May be NULL. */
};

/* ERR_INVALID: not an address. ERR_IO: cannot bind; the detail has address and cause. */
MUST_USE enum err http_open(const struct http_options *options, struct http **ret_http,
                            struct err_detail *detail);
/* Stops answering, then returns. Takes NULL. */
void http_close(struct http *h);
/* The address really bound, such as "127.0.0.1:9464". */
const char *http_address(const struct http *h);
