/* flights.h - decisions that are being served: of which adapter, on which replica of an engine.
 * Why: an adapter may leave an engine's memory only when nobody is using it, and who mirrors an
 * engine's least-recently-used order must know what was sent there, and what of it arrived.
 * A decision takes off when it is made and lands with its first report; one that is never reported
 * is given up after `keep_us`. Counts are of now: a restart begins with none.
 * Owns: two bounded tables, 2.1 MB. Where they are full the oldest gives way: then a count is too
 * small, never too large. Threads: any; one short lock of a shard at a time, never two. */
#pragma once

#include "state/base/err.h"
#include "state/base/name.h"

#include <stdbool.h>
#include <stdint.h>

struct flights;

MUST_USE enum err flights_new(int64_t keep_us, struct flights **ret_flights);
void flights_free(struct flights *f);

/* now_us: monotonic, > 0. */
void flights_depart(struct flights *f, const uint8_t id[ID_BYTES], uint32_t uid, uint32_t replica,
                    int64_t now_us);
/* The decision was reported. served: the report says that the engine did answer. Later reports of
 * it, and ids that are not known, change nothing. */
void flights_land(struct flights *f, const uint8_t id[ID_BYTES], bool served);
/* Gives up what took off before now - keep. Looks at everything: once a second or so. */
void flights_expire(struct flights *f, int64_t now_us);

/* 0 where there was none. */
struct flights_view {
    uint32_t in_flight;
    int64_t departed_us; /* The latest. */
    int64_t served_us;   /* When the latest took off of those that landed as served. */
};
struct flights_view flights_look(struct flights *f, uint32_t uid, uint32_t replica);
