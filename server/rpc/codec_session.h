/* codec_session.h - sessions and their budgets as the engine's plain values, and back; the caps of
 * an arm, which those budgets reserve.
 * Owns: nothing. Decoded values borrow from the message, encoded messages from the values and the
 * arena. Threads: pure. */
#pragma once

#include "server/engine/engine_session.h"
#include "server/rpc/arena.h"
#include "shunt/v1/admin.pb-c.h"

/* Into a zeroed arm. ERR_METRIC_NOT_FOUND, ERR_OUT_OF_RANGE. */
MUST_USE enum err codec_caps_in(const Shunt__V1__ArmSpec *m, const struct router_config *config,
                                struct arm_config *arm, struct err_detail *detail);
/* false: arena_error. */
bool codec_caps_out(const struct arm_config *arm, const struct router_config *config,
                    struct arena *arena, Shunt__V1__ArmSpec *m);

void codec_session_in(const Shunt__V1__StartSessionRequest *m, struct session_in *ret_in);
/* `metrics` holds MAX_METRICS. */
MUST_USE enum err codec_session_end_in(const Shunt__V1__EndSessionRequest *m,
                                       struct engine_weight *metrics, struct session_end_in *ret_in,
                                       struct err_detail *detail);
MUST_USE enum err codec_session_out(const struct session_info *info, struct arena *arena,
                                    Shunt__V1__SessionInfo **ret_message,
                                    struct err_detail *detail);
