/* projection.h - an operator's own way from an embedding of theirs to 32 numbers.
 * Why: the seeded signs of features.c keep distances of any embedding; who knows which directions
 * of theirs matter (a PCA of their prompts) does better with 32 of those.
 * What: a file of float32, little-endian, 32 rows of embedding_n values each, row after row; its
 * name is the router's `projection`, and the XXH3 of its bytes is part of the feature spec: what
 * was learned through one matrix is never read through another.
 * Owns: a set owns its matrices. It is filled once, before anybody reads it.
 * Threads: pure; any number of readers. */
#pragma once

#include "state/base/err.h"
#include "state/base/name.h"
#include "state/base/slice.h"
#include "state/model/limits.h"

#include <stdint.h>

enum {
    PROJECTIONS_MAX = 16,
    PROJECTION_BYTES_MAX = EMBEDDING_D * MAX_EMBEDDING * 4, /* 1 MiB. */
};

struct projection {
    char name[NAME_CAP];
    uint64_t hash;
    uint32_t embedding_n;
    float *columns; /* (embedding_n, EMBEDDING_D): as it is multiplied. */
};

struct projections {
    struct projection item[PROJECTIONS_MAX];
    uint32_t n;
};

/* Adds what a file holds; bytes is borrowed. ERR_BAD_NAME, ERR_LIMIT, ERR_WRONG_DIMENSION (no whole
 * number of columns), ERR_NOT_FINITE, ERR_OUT_OF_RANGE (|value| > 1000), ERR_NOMEM. */
MUST_USE enum err projections_add(struct projections *p, const char *name, struct slice bytes,
                                  struct err_detail *detail);
/* NULL: there is none of that name; p may be NULL. */
const struct projection *projections_find(const struct projections *p, const char *name);
void projections_done(struct projections *p);

/* ret (EMBEDDING_D) = P e / |e|; zero for an e of length 0. e (embedding_n), finite. */
void projection_apply(const struct projection *p, const float *e, float *ret);
