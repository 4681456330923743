/* codec_plain.h - an ordinary RouteRequest read straight from its bytes, and the bytes of an
 * ordinary RouteResponse written straight from the decision.
 * Why: a generic packer walks all fields three times (into a message, for its size, to its bytes),
 * a generic reader fills a message of forty fields, and nearly every request and answer has the
 * same ten; in a RouteBatch each of the two was a tenth of our work.
 * Invariant: values and bytes are those of protobuf-c's message and codec.h. A field added to
 * RouteResponse is either written here or makes the answer not plain; one added to RouteRequest
 * makes it not plain until it is read here.
 * Owns: nothing. Threads: pure. */
#pragma once

#include "server/engine/engine.h"
#include "server/rpc/arena.h"

/* Reads a RouteRequest that has nothing but router, text, task, features, embedding, decision_id,
 * max_ranked, session_id and tenant, each at most once and written as packers write them. False:
 * it is another one, or wrong, or the arena is full; then it is to be read as a message. Vectors
 * are copied into the arena, texts borrow from the body. */
bool codec_plain_in(struct slice body, struct arena *arena, struct route_in *ret_in);

/* Whether the answer has no field but those written here: no terms, no adapter, nothing excluded.
 */
bool codec_plain_is(const struct route_out *out);
/* At least so many bytes does `to` of codec_plain_pack have. */
size_t codec_plain_max(const struct route_out *out);
/* Returns how many bytes were written: a shunt.v1.RouteResponse. `out` must be plain. */
size_t codec_plain_pack(const struct route_out *out, uint8_t *to);
