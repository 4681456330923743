/* source_caps.h - how many reports a source may bring in a second and in a minute.
 * Why: one source that floods must not take the writer's queue from all others.
 * Windows are the clock's: a source may bring its cap at the end of one and again at the start of
 * the next. Counts are of now: a restart forgets them.
 * Owns: a bounded table, made at the first cap. Threads: any; one short lock. */
#pragma once

#include "state/base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct source_caps;

MUST_USE enum err source_caps_new(struct source_caps **ret_caps);
void source_caps_free(struct source_caps *c);

/* One more report of a source (source_tag of its name; of "": all without a rule of their own) of a
 * router, if its caps (0: none) allow it.
 * ERR_SOURCE_CAP: too many in this second or minute; ERR_NOMEM. */
MUST_USE enum err source_caps_take(struct source_caps *c, uint32_t router_uid, uint32_t tag,
                                   uint32_t max_per_s, uint32_t max_per_min, int64_t now_us);
/* Reports that its caps refused. */
uint64_t source_caps_refused(struct source_caps *c, uint32_t router_uid, uint32_t tag);
