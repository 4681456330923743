/* codec_plain.h - the bytes of an ordinary RouteResponse, written straight from the decision.
 * Why: a generic packer walks all fields three times (into a message, for its size, to its bytes)
 * and nearly every answer has the same ten; in a RouteBatch that was a tenth of our work.
 * Invariant: the bytes are those that protobuf-c packs of codec_route_out's message. A field added
 * to RouteResponse is either written here or makes the answer not plain.
 * Owns: nothing. Threads: pure. */
#pragma once

#include "server/engine/engine.h"

/* Whether the answer has no field but those written here: no terms, no adapter, nothing excluded.
 */
bool codec_plain_is(const struct route_out *out);
/* At least so many bytes does `to` of codec_plain_pack have. */
size_t codec_plain_max(const struct route_out *out);
/* Returns how many bytes were written: a shunt.v1.RouteResponse. `out` must be plain. */
size_t codec_plain_pack(const struct route_out *out, uint8_t *to);
