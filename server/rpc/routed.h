/* routed.h - one RouteRequest among many: decided, or refused in its own place.
 * Why: RouteBatch and RouteStream carry what RouteRequest carries, with the same meaning; only how
 * an error is said differs, since it must not end the others.
 * Owns: nothing. A result borrows from the handler's arena and from the routed.
 * Threads: the handler's; routed_refuse any. */
#pragma once

#include "server/rpc/method.h"
#include "server/rpc/status.h"

struct routed {
    Shunt__V1__RouteResult result;
    enum err err;
    bool waits;                    /* Not to be sent before engine_route_wait's `done`. */
    const struct route_out *plain; /* The response, in place of result.response; or NULL. */
    char message[STATUS_MESSAGE_CAP];
};

/* Unpacks and decides; `bytes` are those of a RouteRequest. max_bytes: the longest that is taken.
 * in: what they say, where somebody has read them; or NULL. */
void routed_run(struct handler *h, struct slice bytes, size_t max_bytes, struct route_in *in,
                struct routed *ret_routed);
/* Makes it a refusal. */
void routed_refuse(struct routed *r, enum err e, const struct err_detail *detail);
/* The bytes of its RouteResult: at least so many does `to` have, and how many were written. */
size_t routed_max(const struct routed *r);
size_t routed_pack(const struct routed *r, uint8_t *to);
