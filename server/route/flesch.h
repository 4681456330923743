/* flesch.h - Flesch reading ease: how hard an English text is to read.
 * Why: of the cheap measures of complexity it is the one that prompts differ by most.
 *
 * ease = 206.835 - 1.015 words/sentences - 84.6 syllables/words, clipped to [-100, 121]
 * [Flesch 1948]. 121 is a text of one-syllable words in one-word sentences.
 *
 * A word is a run of letters with at least one Latin one; an apostrophe inside does not end it. A
 * sentence ends with . ! or ? before a space (or the end), or with an empty line; the rest of a
 * text is one more. Syllables: groups of vowels, less a silent -e, -es or -ed, at least one. The
 * formula knows English only: no word, or more letters of other scripts than Latin ones, gives 0
 * and leaves it to the share of other scripts to speak.
 * Pure, no allocation, linear time. UTF-8; a byte that is not ends a word. */
#pragma once

#include "state/base/slice.h"

struct flesch_counts {
    uint64_t words, sentences, syllables;
    uint64_t latin, other; /* Letters. */
};

void flesch_count(struct slice text, struct flesch_counts *ret_counts);
/* Of one word of ASCII letters and UTF-8 Latin ones; at least 1. */
uint32_t flesch_syllables(const uint8_t *word, size_t len);
double flesch_ease(struct slice text);
