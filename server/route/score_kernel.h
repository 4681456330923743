/* score_kernel.h - the inner loops of scoring: many rows times one vector, in float.
 * Why: x' P x is linear in P. With the products x_i x_j (twice off the diagonal) written out once,
 * in the order in which a packed P stands in memory, the quadratic form of every arm is one dot
 * product over its P: one stream, no row ends, and as fast as memory gives it. A theta is a row of
 * the same kind.
 *
 * Three compilations of one text (score_kernel_body.h): AVX-512, AVX2, and whatever every CPU has.
 * All three give the same bits. A row is summed in 32 partial sums, each product rounded before it
 * is added (no fused multiply-add: some CPUs lack it; on those that have it the loads are what the
 * loop waits for), then in one fixed tree; so a decision does not depend on the machine, nor on
 * how many arms were scored beside it.
 *
 * Error. |got - exact| <= SCORE_KERNEL_ULPS * 2^-24 * sum_k |row_k v_k| for up to SCORE_TILE
 * numbers: one rounding of the product x_i x_j, one of row_k v_k, at most SCORE_TILE / 32 of the
 * partial sum, five of the tree. Longer rows are cut into tiles whose sums are added in double,
 * so the bound holds for every d.
 *
 * Shapes: rows and vectors are padded with zeros to a multiple of 16 floats and stand on 64 bytes.
 * Threads: pure; no allocation. */
#pragma once

#include "state/model/limits.h"

#include <stddef.h>
#include <stdint.h>

enum {
    /* Floats: 10 KiB, so that two rows stream by and do not push it out of a cache of 32. */
    SCORE_TILE = 2560,
    SCORE_PAD = 16,
    SCORE_KERNEL_ULPS = SCORE_TILE / 32 + 8,
};

/* The products of one context, a tile at a time. */
struct score_square {
    _Alignas(64) float x[MAX_D + SCORE_PAD]; /* Zeros after d. */
    /* A tile, the row of P that reaches beyond it, and what whole vectors write after that. */
    _Alignas(64) float q[SCORE_TILE + MAX_D + 2 * SCORE_PAD];
    uint32_t d, row,
        held; /* Rows written, and how many products they are; from the tile's start. */
};

struct score_kernel {
    const char *name;
    /* ret[i] = row_i . v; n floats, a multiple of 16, at most SCORE_TILE. */
    void (*multiply)(const float *const *row, uint32_t rows, const float *v, uint32_t n,
                     float *ret);
    /* The same for rows that are not in the nearest caches, and are fetched ahead. */
    void (*multiply_far)(const float *const *row, uint32_t rows, const float *v, uint32_t n,
                         float *ret);
    /* ret[i * vectors + c] = row_i . v_c, v_c = v + c * stride; the same bits as `multiply`. Each
     * row is read from memory once for all vectors. stride: a multiple of 16. */
    void (*multiply_many)(const float *const *row, uint32_t rows, const float *v, size_t stride,
                          uint32_t vectors, uint32_t n, float *ret);
    /* Writes products row by row until a tile is full or P is at its end. */
    void (*fill_square)(struct score_square *s);
};

/* The i-th of those that this CPU can run, the fastest first; NULL: there are no more. */
const struct score_kernel *score_kernel_at(uint32_t i);

void score_square_init(struct score_square *s, const float *x, uint32_t d);
/* The next tile is in s->q; returns how many floats (padded with zeros to a multiple of 16), 0 at
 * the end. */
uint32_t score_square_next(struct score_square *s, const struct score_kernel *kernel);

extern const struct score_kernel score_kernel_plain;
#ifdef __x86_64__
extern const struct score_kernel score_kernel_avx2, score_kernel_avx512;
#endif
