/* message.h - bytes of the wire as a message, or a sentence about why not.
 * Why: protobuf-c ends a text at its first NUL, so "a\0b" would pass as the name "a"; what a
 * caller sent must be refused, not reinterpreted. No gRPC here, so that a fuzzer can call it.
 * Owns: nothing; the message lives in the arena until its reset.
 * Threads: pure. */
#pragma once

#include "server/rpc/arena.h"
#include "state/base/slice.h"

/* ERR_PARSE: not such a message, a required field is absent, or a text holds a NUL (but for the
 * field `text` of a RouteRequest, where everything is tolerated). ERR_TOO_LARGE: the arena is too
 * small for it. */
MUST_USE enum err message_unpack(const ProtobufCMessageDescriptor *type, struct slice bytes,
                                 struct arena *arena, ProtobufCMessage **ret_message,
                                 struct err_detail *detail);

/* The bytes of a length-delimited field as they came, the last one if it was sent twice (as on the
 * wire the last wins); empty when absent. */
struct slice message_field(struct slice bytes, uint32_t number);
