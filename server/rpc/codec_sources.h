/* codec_sources.h - a router's sources: their rules as settings carry them, and what they brought.
 * As codec_spec.h. */
#pragma once

#include "server/engine/engine.h"
#include "server/rpc/arena.h"
#include "shunt/v1/admin.pb-c.h"
#include "state/model/sources.h"

/* Sources that are present change, the others stay. */
MUST_USE enum err codec_sources_in(const Shunt__V1__RouterSettings *m, struct sources *sources,
                                   struct err_detail *detail);
/* False: the arena is full. */
MUST_USE bool codec_sources_out(const struct sources *sources, struct arena *arena,
                                Shunt__V1__RouterSettings *m);
/* False: the arena is full. */
MUST_USE bool codec_source_counts_out(struct engine *e, const struct router_view *r,
                                      struct arena *arena, Shunt__V1__RouterInfo *m);
