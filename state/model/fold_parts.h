/* fold_parts.h - what the files of fold share. Private to state/model; as fold.h says. */
#pragma once

#include "state/model/fold.h"
#include "state/model/model.h"

/* Why an outcome cannot change this model, or OK. Also says what would be a plain duplicate. */
enum err fold_check_outcome(const struct model *m, const struct event *ev, struct fold_result *ret);
void fold_sweep(struct model *m, const struct event *ev);
/* Defaults are for decisions from now on. */
void fold_begin_sweep(struct router *r, int64_t at_us);
void fold_outcome(struct model *m, const struct event *ev, struct fold_result *ret);
/* The true cost takes the place of what was reserved for the decision. */
void fold_settle_session(struct model *m, const struct event_outcome *o, uint16_t counted,
                         struct fold_result *ret);
enum err fold_check_activate(const struct model *m, const struct event *ev,
                             struct fold_result *ret);
void fold_activate(struct model *m, const struct event *ev, struct fold_result *ret);
/* What a source that was forgotten had said of the decision; NULL: nothing. */
const struct dedup_reporter *fold_forgotten_of(const struct router *r, const uint8_t id[ID_BYTES],
                                               uint32_t tag);
/* What is known of decisions that were forgotten goes with age. */
void fold_age_marks(struct router *r, int64_t at_us);
/* The mark of a decision, made if there is none; after dedup_reserve of r->marks. */
struct dedup_entry *fold_mark(struct router *r, const struct decision *d, int64_t at_us);
/* The oldest entry of the dedup table goes; decisions issued up to its time are refused from now
 * on, but none issued after at_most_us. */
void fold_forget_oldest(struct router *r, struct dedup *t, int64_t at_most_us);
