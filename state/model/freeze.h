/* freeze.h - the bytes of a model at one moment, read piece by piece while the model changes on.
 * Why: a checkpoint of hundreds of megabytes must be of one position, and no acknowledgement may
 * wait until so much is copied. So nothing is copied at first; before fold changes a part of the
 * form (form_parts.h) that was not read yet, that part is written down as it stands. (Copy on
 * update: M. Vaz Salles et al., "An Evaluation of Checkpoint Recovery for Massively Multiplayer
 * Online Games", PVLDB 2(1), 2009. We differ: what changes often and is small, a router's head,
 * is a part of its own, and the bytes come in the order of the form.)
 * Cost: one search an event; the first change of an arm during a freeze copies it, about as many
 * bytes as learning from the event reads.
 * Owns: what it wrote down and nobody has read. Threads: the writer's, as the model.
 * Invariant: the pieces together are what model_encode would have given at freeze_begin. Whoever
 * changes state that the form holds, outside of fold_event and model_reserve, breaks it; whoever
 * adds to fold says in freeze_before which parts that changes. */
#pragma once

#include "state/base/err.h"
#include "state/base/slice.h"
#include "state/model/event.h"

struct dedup;
struct model;
struct router;
struct freeze;

/* At most one of a model at once. ERR_NOMEM. */
MUST_USE enum err freeze_begin(struct model *m, struct freeze **ret_freeze);
/* Appends the next parts until out holds `enough` bytes, which the last of them may exceed;
 * *ret_done: there are no more. ERR_NOMEM: now or before, and the freeze is of no more use. */
MUST_USE enum err freeze_next(struct freeze *f, size_t enough, struct buf *out, bool *ret_done);
/* What is not read yet is written down: the model may change and go unseen. */
void freeze_detach(struct freeze *f);
/* NULL is fine. While the model still lives, unless it is detached. */
void freeze_end(struct freeze *f);

/* Called by fold_event beforehand, when a freeze goes on. Cannot fail: freeze_next says so. */
void freeze_before(struct freeze *f, const struct event *event);
/* Called by model_reserve: the entries of this table of the router get other slots. */
void freeze_before_move(struct freeze *f, const struct router *r, const struct dedup *t);
