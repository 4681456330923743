/* features.h - from a request to its context vector x; settings.h has the order of the blocks.
 * ctx.v0: bias 1 | task one-hot | 9 text scalars | caller's features | embedding.
 * ctx.v1: bias 1 | task: one-hot of the caller's label, else the classifier's probabilities | 12
 * scalars | agent (feature_agent.h), when declared | caller's features | text block (text_block.h),
 * or an embedding in its place.
 * Scalars, in order: log(1 + tokens), Flesch reading ease (v1), words per sentence, log(1 + lines),
 * question marks per sentence, digit share, maths-symbol share, code flag, option lines, non-latin
 * share, log(1 + the larger of turn and tool step) (v1), has an image (v1). Each is
 * z = clip((value - mean) / sd, -3, 3) times 0.5/sqrt(n), n scalars; mean and sd are frozen
 * constants (features.c says from what they were measured). No text: its scalars are zero.
 * Embedding: L2-normalised, then to 32 numbers by the operator's matrix that the spec names
 * (projection.h), else by a fixed seeded sign projection, scaled by 1/sqrt(32).
 * Bounds, whatever the text: scalars have length <= 1.5, agent <= .5, text block <= 2.8, task <= 1.
 * Pure, no allocation, linear time in the text. UTF-8; invalid bytes count as non-latin characters.
 */
#pragma once

#include "server/route/feature_agent.h"
#include "server/route/projection.h"
#include "state/base/err.h"
#include "state/base/slice.h"
#include "state/model/settings.h"

struct feature_input {
    struct slice text;   /* May be empty. */
    int task_slot;       /* -1: the caller gave no label of the table. */
    const float *task_p; /* v1, (task_slots): used when task_slot is -1. NULL: unknown, all zero. */
    const float *features;
    size_t features_n; /* 0, or exactly spec->features_n. */
    const float *embedding;
    size_t embedding_n; /* 0, or exactly spec->embedding_n. */
    /* Of the name in the spec; NULL: there is none now. */
    const struct projection *projection;
    struct feature_agent agent;
};

/* Fills ret_x (spec_d values). ERR_WRONG_DIMENSION names the expected one; ERR_NOT_FINITE,
 * ERR_OUT_OF_RANGE (|feature| > 1e6) name the index. ERR_SPEC_MISMATCH, of an embedding: the
 * projection is not the one that the statistics were learned through; names both. */
MUST_USE enum err features_fill(const struct feature_spec *spec, const struct feature_input *in,
                                float *ret_x, struct err_detail *detail);
/* The raw scalars of a text, before scaling: those of ctx.v0, (SCALARS_N). */
void features_scalars(struct slice text, double ret_scalars[SCALARS_N]);

/* What x[i] is, i < spec_d: "bias", "task.code", "scalars.flesch", "agent.turn", "features.0",
 * "text.3"; a free task slot is "task.5", the last one "task.other". */
void features_name(const struct router_config *config, uint32_t i, char *ret_text, size_t cap);
