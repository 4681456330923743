/* codec_info.h - what the server knows, as the admin plane's answers: routers, arms, statistics,
 * explained decisions.
 * Owns: nothing. Every text is copied into the arena, so that an answer outlives its snapshot.
 * Threads: pure but for engine_issued, which any thread may ask.
 * All: ERR_TOO_LARGE or ERR_NOMEM when the arena cannot hold the answer. */
#pragma once

#include "server/engine/engine.h"
#include "server/rpc/arena.h"
#include "shunt/v1/admin.pb-c.h"

MUST_USE enum err codec_arm_info(struct engine *e, const struct router_view *router,
                                 const struct arm_view *arm, struct arena *arena,
                                 Shunt__V1__ArmInfo **ret_info, struct err_detail *detail);
MUST_USE enum err codec_router_info(struct engine *e, const struct router_view *router,
                                    struct arena *arena, Shunt__V1__RouterInfo **ret_info,
                                    struct err_detail *detail);
/* `only`: one router, or NULL for all of the snapshot's. */
MUST_USE enum err codec_stats(struct engine *e, const struct snapshot *snapshot,
                              const struct router_view *only, struct arena *arena,
                              Shunt__V1__StatsResponse **ret_stats, struct err_detail *detail);
MUST_USE enum err codec_explained(const struct explain_out *out, struct arena *arena,
                                  Shunt__V1__ExplainResponse **ret_message,
                                  struct err_detail *detail);
