/* labels.h - what an operator says of an arm as key and value, as Kubernetes labels its objects.
 * Why: a request can then ask for `tier=small,!beta` in place of a list of names that grows old.
 * Grammar: label_key_valid and label_value_valid of name.h. At most MAX_LABELS labels of
 * LABELS_BYTES in all, the bytes of keys and values and one more of each.
 * Owns: plain bytes, no pointers: copied freely. Threads: pure.
 * Invariant: in order of key, each key once, zeros behind: equal labels, begun from zeros, have
 * equal bytes. */
#pragma once

#include "state/base/err.h"
#include "state/base/slice.h"
#include "state/model/limits.h"

struct labels {
    uint16_t n, bytes_n;
    char bytes[LABELS_BYTES]; /* n times key, NUL, value, NUL. */
};

/* One label; both texts end with NUL and stand in the labels. */
struct label {
    const char *key, *value;
    size_t key_len, value_len;
};

/* Adds a label, or gives one that is there another value. ERR_BAD_NAME: not a key, or not a value.
 * ERR_OUT_OF_RANGE: too many labels, or too many bytes. On error nothing changed. */
MUST_USE enum err labels_put(struct labels *labels, struct slice key, struct slice value,
                             struct err_detail *detail);
/* The value of a key; NULL when there is none. */
const char *labels_get(const struct labels *labels, const char *key, size_t len);
/* Steps through them: *at 0 at the start; false after the last. */
bool labels_next(const struct labels *labels, uint16_t *at, struct label *ret_label);

/* One byte form; a decoder fails with the reader left failed. */
void labels_encode(const struct labels *labels, struct buf *out);
void labels_decode(struct reader *r, struct labels *ret);
