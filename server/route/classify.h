/* classify.h - which task a prompt is, learned from a few examples of the operator's own.
 * Why: the task label is the best single signal there is, and many callers send none. A classifier
 * trained on benchmarks does not transfer, so none ships: this one learns in milliseconds, at
 * start or by an admin call.
 * What: multinomial logistic regression without a bias on hashed word 1-2-grams and character
 * 4-grams: 2^13 buckets, 1 + ln(count), length 1. Without evidence it says "all labels alike".
 * Owns: a classifier owns its weights and names; it never changes after training. It keeps no
 * example. Threads: pure; one classifier serves any number of threads.
 * Bound: a text is looked at through a window: its first 1,536 bytes and its last 512. */
#pragma once

#include "state/base/err.h"
#include "state/base/name.h"
#include "state/base/slice.h"
#include "state/model/limits.h"

#include <stdbool.h>

struct classifier;

enum {
    CLASSIFY_PREFIX_BYTES = 1536,
    CLASSIFY_SUFFIX_BYTES = 512,
    CLASSIFY_BYTES_MAX = 4 << 20,    /* Of an examples text. */
    CLASSIFY_EXAMPLES_MAX = 1 << 16, /* Lines in it. */
};

/* Learns from lines `label<TAB>example`; \n, \t and \\ stand for newline, tab and backslash in an
 * example; empty lines and lines that begin with # say nothing. Labels are names (name.h): 2 to
 * MAX_TASKS of them, in order of appearance. Deterministic on one build: same text, same weights.
 * ERR_PARSE, ERR_BAD_NAME, ERR_LIMIT, ERR_TOO_LARGE name the line, never what it holds. */
MUST_USE enum err classify_train(struct slice examples, struct classifier **ret_classifier,
                                 struct err_detail *detail);
void classify_free(struct classifier *c);

uint32_t classify_labels_n(const struct classifier *c); /* 0 for NULL. */
const char *classify_label(const struct classifier *c, uint32_t i);
uint32_t classify_examples_n(const struct classifier *c); /* Learned from; 0 for NULL. */

/* Probabilities of the labels, which sum to 1. False, and all zero: c is NULL, or the text holds
 * nothing but space. Allocates nothing; time is linear in the window. */
bool classify_text(const struct classifier *c, struct slice text, float ret_p[MAX_TASKS]);
