/* fold.h - how an event changes the model. Total and deterministic.
 * Why: recovery is "fold again"; the same events from the same base give the same bytes on any
 * x86-64 with the same build. So fold calls no BLAS and no libm but sqrt.
 * Threads: the writer only.
 * Invariant: a record that fold_check and fold_check_reserved accepted cannot fail to fold; one
 * that means nothing to this model (its router is gone) changes nothing but the clock and a
 * counter. */
#pragma once

#include "state/model/event.h"

struct model;

struct fold_result {
    enum err err; /* OK, or why the event changed nothing (ERR_DECISION_LATE, ERR_ARM_EXISTS...). */
    uint32_t uid; /* Of a created router or arm, or the id of an added key. */
    bool duplicate;        /* OUTCOME: nothing in it was new. ACTIVATE: it was served before. */
    bool activated;        /* ACTIVATE, OUTCOME: of a deferred decision, served by that. */
    bool orphaned;         /* OUTCOME: its arm version is gone. */
    uint32_t alarms_ended; /* OUTCOME: suspicions that ended with it. */
    uint32_t alarms;       /* OUTCOME: raised by it (drift.h), the last of the router's log. */
    uint16_t counted_mask; /* OUTCOME: bit m, metric m was counted by this event. */
    bool gated;            /* OUTCOME: its source is not trusted: journalled, and nothing more. */
    uint16_t added_mask;   /* OUTCOME: of those, added to what was counted before (aggregation). */
    uint32_t beaten;       /* OUTCOME: what another source said first (struct dedup_reporter): it is
                              journalled all the same, for that source may be forgotten. */
    bool has_session;      /* The account of a session is as it follows. */
    struct session_account session;
};

/* What fold would say, without changing anything: lets the writer refuse before journalling.
 * ERR_NOMEM cannot happen in fold: model_reserve makes room first. */
enum err fold_check(const struct model *model, const struct event *event,
                    struct fold_result *ret_result);
/* The rest of it, once model_reserve has made room: whether what an arm shall begin with means the
 * same here. Apart, because model_reserve decodes it, and it may be long. */
enum err fold_check_reserved(const struct model *model, const struct event *event);
/* Folds one event at `position`. */
void fold_event(struct model *model, const struct event *event, uint64_t position,
                struct fold_result *ret_result);
