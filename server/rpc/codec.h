/* codec.h - the data plane's messages as the engine's plain values, and back.
 * Why: the wire may be wrong in its own ways (a map entry without a key, a list without end); what
 * a name, a number or an id must be is the engine's to say. Owns: nothing. Decoded values borrow
 * from the message, encoded messages from the values and the arena. Threads: pure. */
#pragma once

#include "server/engine/engine.h"
#include "server/rpc/arena.h"
#include "shunt/v1/router.pb-c.h"

/* The router that a message means: an absent one is the default. */
static inline struct slice codec_router(const char *name)
{
    return slice_text(name && name[0] ? name : "default");
}

/* Lists that a decoded request points into. */
struct route_lists {
    struct engine_weight weights[MAX_METRICS], limits[MAX_METRICS];
    struct slice candidates[MAX_CANDIDATES], exclude[MAX_CANDIDATES];
};

/* `body` is the message's bytes. A key that comes twice in a map: the last wins.
 * ERR_OUT_OF_RANGE: too many of something. ERR_BAD_NAME: a map entry without a key. */
MUST_USE enum err codec_route_in(const Shunt__V1__RouteRequest *m, struct slice body,
                                 struct route_lists *lists, struct route_in *ret_in,
                                 struct err_detail *detail);
/* The terms of one arm's score, and the names of the metrics they belong to. */
struct terms_view {
    const char (*names)[NAME_CAP]; /* (metrics_n) */
    uint32_t metrics_n;
    uint16_t weighted_mask; /* Metrics that are shown. */
    double mean, width;
    uint64_t pending;
    const struct shown_terms *terms;
};
/* Everything is copied into the arena. */
MUST_USE enum err codec_terms_out(const struct terms_view *v, struct arena *arena,
                                  Shunt__V1__ScoreTerms **ret_terms, struct err_detail *detail);
MUST_USE enum err codec_route_out(const struct route_out *out, bool explain, struct arena *arena,
                                  Shunt__V1__RouteResponse **ret_message,
                                  struct err_detail *detail);

/* `metrics` holds MAX_METRICS. */
MUST_USE enum err codec_report_in(const Shunt__V1__ReportRewardRequest *m,
                                  struct engine_weight *metrics, struct report_in *ret_in,
                                  struct err_detail *detail);

/* Storage of one answer: it is made where the writer answers, which must not allocate for it. */
struct report_answer {
    Shunt__V1__ReportRewardResponse message;
    char *counted[MAX_METRICS];
};
/* `out` must outlive the answer. */
void codec_report_out(const struct report_out *out, struct report_answer *ret_answer);
