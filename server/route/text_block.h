/* text_block.h - what a text is about, as 16 numbers: the static text block of ctx.v1.
 * Why: meaning moves which arm is best, and an encoder at run time costs milliseconds. Here every
 * word piece has a vector, distilled from one (table/build_text16.py), and a text is their mean:
 *
 *     block = 0.7/sqrt(16) * clip(1/n sum_i row[piece_i], -4, 4)
 *
 * row folds the SIF weight a/(a+p) and the whitening on WordNet's glosses, so that sentences of a
 * dictionary have mean 0 and covariance 1 before the clip [Arora 2017]. The pieces are those that
 * the tokenizer of @energetic-ai/embeddings 0.2.0 finds: the path of most log-probability.
 *
 * n leaves out unknown characters and lone spaces. When more than 40 % of all pieces but lone
 * spaces are unknown characters or single letters, the text is not of this vocabulary (another
 * script, base64) and the block is zero, as it is for a text without any piece. Digits and signs do
 * not count: commas and formulas are no strange words, and zeroing such texts took a third of the
 * block's gain on llmrouter9_train.
 *
 * Long texts: up to TEXT_PREFIX + TEXT_SUFFIX bytes a text is read whole; of a longer one the first
 * TEXT_PREFIX bytes, back to a space, and the last TEXT_SUFFIX, from a space on. On 120 prompts of
 * 4 to 9 KiB that moved the 16 numbers (before the scale) by .42 of a length of 1.98 and a distance
 * of 1.2 between prompts; 1024 + 512 moved them by .74, 4096 + 1024 by .18 at twice the time.
 *
 * Pure, no allocation, about 40 KB of stack, time bounded by the two windows.
 * Invariant: every value is finite and within +-0.7, whatever the bytes. */
#pragma once

#include "server/route/text_table.h"
#include "state/base/slice.h"

enum {
    TEXT_PREFIX = 2048,
    TEXT_SUFFIX = 1024,
    TEXT_SYMBOLS_MAX = TEXT_PREFIX + TEXT_SUFFIX + 1, /* Of one window, its first space included. */
    TEXT_TOKENS_MAX = 2 * TEXT_SYMBOLS_MAX,
};

void text_block(struct slice text, float ret_block[TEXT_D]);
/* The piece ids of both windows, in order, neighbouring unknown characters as one 0. Writes at most
 * cap and returns how many there are (at most TEXT_TOKENS_MAX). */
size_t text_tokens(struct slice text, uint16_t *ret_ids, size_t cap);
