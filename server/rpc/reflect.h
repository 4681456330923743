/* reflect.h - one question of grpc.reflection.v1alpha, answered from the embedded descriptors.
 * Why: apart from the stream that carries it, so that it can be tested without a wire.
 * Threads: pure. */
#pragma once

#include "server/rpc/arena.h"
#include "server/rpc/method.h"

/* `service` is what the server offers beside the standard services. The answer lives in the arena
 * and borrows from `request`. */
MUST_USE enum err reflect(const ProtobufCMessage *request, const char *service, struct arena *arena,
                          ProtobufCMessage **ret_response, struct err_detail *detail);
