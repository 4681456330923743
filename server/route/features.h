/* features.h - from a request to its context vector x, ctx.v0.
 * Layout (settings.h): bias 1 | task one-hot | text scalars | caller's features | embedding.
 * Text scalars, in order: log(1 + tokens), words per sentence, log(1 + lines), question marks per
 * sentence, digit share, maths-symbol share, code flag, option lines, non-latin share. Each is
 * z = clip((value - mean) / sd, -3, 3) times 0.5/sqrt(SCALARS_N); mean and sd are frozen constants
 * (features.c says from what they were measured). No text: all zero.
 * Embedding: L2-normalised, then a fixed seeded sign projection to 32, scaled by 1/sqrt(32).
 * Pure, no allocation, linear time in the text. UTF-8; invalid bytes count as non-latin characters.
 */
#pragma once

#include "state/base/err.h"
#include "state/base/slice.h"
#include "state/model/settings.h"

struct feature_input {
    struct slice text; /* May be empty. */
    int task_slot;     /* -1: unknown (all zero). */
    const float *features;
    size_t features_n; /* 0, or exactly spec->features_n. */
    const float *embedding;
    size_t embedding_n; /* 0, or exactly spec->embedding_n. */
};

/* Fills ret_x (spec_d values). ERR_WRONG_DIMENSION names the expected one; ERR_NOT_FINITE,
 * ERR_OUT_OF_RANGE (|feature| > 1e6) name the index. */
MUST_USE enum err features_fill(const struct feature_spec *spec, const struct feature_input *in,
                                float *ret_x, struct err_detail *detail);
/* The raw scalars of a text, before scaling: (SCALARS_N). */
void features_scalars(struct slice text, double ret_scalars[SCALARS_N]);
