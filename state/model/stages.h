/* stages.h - which arms a router allows at each named stage of a caller's pipeline.
 * Why: "the planner may use large models only" belongs to whoever runs the fleet, not to each
 * caller; a request names its stage and the router's table says what that means.
 * A stage's value is a label selector (server/route/selector.h), kept as text: this room does not
 * read it. At most MAX_STAGES, each of at most STAGE_SELECTOR_CAP - 1 bytes.
 * Owns: plain bytes. Threads: pure. Invariant: in order of name, each name once, zeros behind. */
#pragma once

#include "state/base/err.h"
#include "state/base/name.h"
#include "state/base/slice.h"
#include "state/model/limits.h"

struct stage {
    char name[NAME_CAP];
    char allowed[STAGE_SELECTOR_CAP]; /* Empty: every arm. */
};

struct stages {
    uint32_t n;
    struct stage all[MAX_STAGES];
};

/* Adds a stage, or gives one that is there another selector. ERR_BAD_NAME, ERR_TOO_LARGE (the
 * selector), ERR_OUT_OF_RANGE (too many). On error nothing changed. */
MUST_USE enum err stages_put(struct stages *stages, struct slice name, struct slice allowed,
                             struct err_detail *detail);
/* Whether it was there. */
bool stages_remove(struct stages *stages, struct slice name);
/* NULL: no such stage. */
const struct stage *stages_find(const struct stages *stages, struct slice name);

/* One byte form; a decoder fails with the reader left failed. */
void stages_encode(const struct stages *stages, struct buf *out);
void stages_decode(struct reader *r, struct stages *ret);
