/* set.h - KEY=VALUE settings on a message, by dotted path.
 * What: `settings.explore_floor` 0, `metrics.cost_usd.norm_high` 0.01, `weights.quality` 1,
 * `tasks` a,b,c. Messages on the way are created when absent. A repeated message that has a `name`
 * is addressed by that name and created with it; a map field by its key. A name may hold dots: it
 * is the shortest for which what follows begins with a field of the element; the key of a map of
 * scalars is all that is left.
 * A list of scalars is replaced whole by the comma-separated values; empty text empties it.
 * Why: `shuntctl replay --set` and friends reach every setting without a flag for each.
 * Threads: pure. */
#pragma once

#include "proto/form/error.h"

#include <protobuf-c/protobuf-c.h>

/* The message must be one that protobuf_c_message_free_unpacked(m, NULL) may free. On an error the
 * value is not set, though elements named on the way may have been created. */
FORM_MUST_USE enum form_result form_set_field(ProtobufCMessage *message, const char *path,
                                              const char *value, struct form_error *error);
