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
/* The oldest entry of the dedup table goes; decisions issued up to its time are refused from now
 * on, but none issued after at_most_us. */
void fold_forget_oldest(struct router *r, int64_t at_most_us);
