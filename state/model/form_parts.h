/* form_parts.h - the parts that a model's bytes are made of, in this order: the head of the model;
 * for each router its head, its arms, its residency, its two tables of decisions; the sessions.
 * Why: model_encode writes one after another; a freeze writes them one by one, each as it stood
 * when the freeze began (freeze.h). What TALLY counts of an arm stands in its router's head, so
 * that a tally of ten thousand arms changes one part.
 * Private to state/model. Threads: the writer. scratch: an event's room. */
#pragma once

#include "state/model/model.h"

void form_put_model(const struct model *m, struct buf *out);
void form_put_router(const struct router *r, struct event *scratch, struct buf *out);
void form_put_arm(const struct router *r, const struct arm *a, struct event *scratch,
                  struct buf *out);
void form_put_residency(const struct router *r, struct buf *out);
