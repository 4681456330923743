/* score_kernel_body.h - the text of every kernel. Included once by each score_kernel_NAME.c, which
 * defines LANES (floats in a vector: 16, 8 or 4), ROWS_NEAR, ROWS_FAR, ROWS_MANY and
 * VECTORS_AT_ONCE (each at most 4, the last two together 8: how many sums its registers hold), NAME
 * and KERNEL (the struct). Why vectors of the language and not intrinsics: one text gives every
 * kernel the same order of additions. The order: float k of a row goes to partial sum k mod 32; the
 * sums k and k + 16 are added, then k and k + 8, 4, 2, 1. */
#include "server/route/score_kernel.h"

#include <stdbool.h>
#include <string.h>

enum { HALVES = 2, VECTORS_A_HALF = 16 / LANES };

typedef float vec __attribute__((vector_size(4 * LANES), may_alias));
typedef float vec4 __attribute__((vector_size(16), may_alias));

/* Loops whose sums are registers once nothing is left of the loop. ROLLED (builds with sanitizers):
 * loops and functions stay what the text says. Unrolled, clang needs minutes for the checks. */
#ifdef ROLLED
#define ALL_OF
#define INLINE static inline
#else
#define ALL_OF _Pragma("GCC unroll 16")
#define INLINE static inline __attribute__((always_inline))
#endif
/* In a register: gcc would read it from memory again for every row. */
#ifdef __x86_64__
#define KEEP(x) __asm__("" : "+v"(x))
#else
#define KEEP(x) (void)(x)
#endif

INLINE vec load(const float *p)
{
    return *(const vec *)(const void *)p;
}

#if LANES == 16
typedef float vec8 __attribute__((vector_size(32)));
INLINE vec4 fold_lanes(const vec *sum)
{
    vec8 a = __builtin_shufflevector(sum[0], sum[0], 0, 1, 2, 3, 4, 5, 6, 7) +
             __builtin_shufflevector(sum[0], sum[0], 8, 9, 10, 11, 12, 13, 14, 15);
    return __builtin_shufflevector(a, a, 0, 1, 2, 3) + __builtin_shufflevector(a, a, 4, 5, 6, 7);
}
#elif LANES == 8
INLINE vec4 fold_lanes(const vec *sum)
{
    vec a = sum[0] + sum[1];
    return __builtin_shufflevector(a, a, 0, 1, 2, 3) + __builtin_shufflevector(a, a, 4, 5, 6, 7);
}
#else
INLINE vec4 fold_lanes(const vec *sum)
{
    return (sum[0] + sum[2]) + (sum[1] + sum[3]);
}
#endif

/* Partial sums: (rows, vectors, HALVES, VECTORS_A_HALF). Counts are constants where these are
 * inlined, so that loops vanish and every sum is a register. */
enum { SUMS = HALVES * VECTORS_A_HALF };

INLINE float total(const vec *sum)
{
    vec half[VECTORS_A_HALF];
    for (int i = 0; i < VECTORS_A_HALF; i++)
        half[i] = sum[i] + sum[VECTORS_A_HALF + i];
    vec4 a = fold_lanes(half);
    a += __builtin_shufflevector(a, a, 2, 3, 0, 1);
    return a[0] + a[1];
}

/* 16 floats of A rows times those of C vectors, from number k on. */
INLINE void step(const float *const *row, int A, const float *v, size_t stride, int C, uint32_t k,
                 int half, vec *sum)
{
    for (int i = 0; i < VECTORS_A_HALF; i++)
        ALL_OF for (int c = 0; c < C; c++)
        {
            vec x = load(v + (size_t)c * stride + k + i * LANES);
            if (A > 1)
                KEEP(x);
            ALL_OF for (int a = 0; a < A; a++)
                sum[(a * C + c) * SUMS + half * VECTORS_A_HALF + i] +=
                load(row[a] + k + i * LANES) * x;
        }
}

/* Floats between what is multiplied and what is fetched from far memory, in each of the rows at
 * once, into the second cache: fetches into the first are too few at a time. A CPU's own prefetcher
 * begins anew with every row and every page. (10,000 x 39 over rows that lie apart: 1.3 to 1.5
 * times a plain read of one piece without, .85 of it with this.) */
enum { AHEAD = 512 };

/* Numbers from..to of the rows; of the rows in `next`, if it is not NULL, those `shift` further on
 * are fetched. */
INLINE void stretch(const float *const *row, const float *const *next, int64_t shift, int A,
                    const float *v, size_t stride, int C, uint32_t from, uint32_t to, vec *sum)
{
    for (uint32_t k = from; k < to; k += 32) {
        for (int a = 0; next && a < A; a++) {
            __builtin_prefetch(next[a] + (int64_t)k + shift, 0, 2);
            __builtin_prefetch(next[a] + (int64_t)k + shift + 16, 0, 2);
        }
        step(row, A, v, stride, C, k, 0, sum);
        step(row, A, v, stride, C, k + 16, 1, sum);
    }
}

/* ret (A, ret_stride), its first C columns. next: A rows that are wanted after these, in far
 * memory, from number `begin` on; NULL: they are near. */
INLINE void block(const float *const *row, const float *const *next, uint32_t begin, int A,
                  const float *v, size_t stride, int C, uint32_t n, float *ret, size_t ret_stride)
{
    vec sum[SUMS * 8];
    uint32_t even = n / 32 * 32, turn = even > AHEAD ? even - AHEAD : 0;
    ALL_OF for (int i = 0; i < A * C * SUMS; i++) sum[i] = (vec){0};
    if (next) {
        stretch(row, row, AHEAD, A, v, stride, C, 0, turn, sum);
        stretch(row, next, (int64_t)begin - turn, A, v, stride, C, turn, even, sum);
    } else {
        stretch(row, NULL, 0, A, v, stride, C, 0, even, sum);
    }
    if (even < n)
        step(row, A, v, stride, C, even, 0, sum);
    ALL_OF for (int a = 0; a < A; a++) ALL_OF for (int c = 0; c < C; c++)
        ret[(size_t)a * ret_stride + (size_t)c] = total(sum + (a * C + c) * SUMS);
}

static void multiply_near(const float *const *row, uint32_t rows, const float *v, uint32_t n,
                          float *ret)
{
    uint32_t i = 0;
    for (; i + ROWS_NEAR <= rows; i += ROWS_NEAR)
        block(row + i, NULL, 0, ROWS_NEAR, v, 0, 1, n, ret + i, 1);
    for (; i < rows; i++)
        block(row + i, NULL, 0, 1, v, 0, 1, n, ret + i, 1);
}

/* After a whole tile the rows are wanted again, where it ends. */
static void multiply_far(const float *const *row, uint32_t rows, const float *v, uint32_t n,
                         float *ret)
{
    uint32_t i = 0;
    for (; i + ROWS_FAR <= rows; i += ROWS_FAR) {
        if (i + 2 * ROWS_FAR <= rows)
            block(row + i, row + i + ROWS_FAR, 0, ROWS_FAR, v, 0, 1, n, ret + i, 1);
        else if (n == SCORE_TILE)
            block(row + i, row, n, ROWS_FAR, v, 0, 1, n, ret + i, 1);
        else
            block(row + i, NULL, 0, ROWS_FAR, v, 0, 1, n, ret + i, 1);
    }
    multiply_near(row + i, rows - i, v, n, ret + i);
}

/* A rows against all vectors; `next`: A rows that come after these. */
INLINE void block_many(const float *const *row, const float *const *next, int A, const float *v,
                       size_t stride, uint32_t vectors, uint32_t n, float *ret)
{
    uint32_t c = 0;
    for (; c + VECTORS_AT_ONCE <= vectors; c += VECTORS_AT_ONCE)
        block(row, c ? NULL : next, 0, A, v + c * stride, stride, VECTORS_AT_ONCE, n, ret + c,
              vectors);
    for (; c < vectors; c++)
        block(row, c ? NULL : next, 0, A, v + c * stride, stride, 1, n, ret + c, vectors);
}

/* Here arithmetic takes longer than memory, but for the first vectors. */
static void multiply_many(const float *const *row, uint32_t rows, const float *v, size_t stride,
                          uint32_t vectors, uint32_t n, float *ret)
{
    uint32_t i = 0;
    for (; i + ROWS_MANY <= rows; i += ROWS_MANY)
        block_many(row + i, i + 2 * ROWS_MANY <= rows ? row + i + ROWS_MANY : NULL, ROWS_MANY, v,
                   stride, vectors, n, ret + (size_t)i * vectors);
    for (; i < rows; i++)
        block_many(row + i, i + 1 < rows ? row + i + 1 : NULL, 1, v, stride, vectors, n,
                   ret + (size_t)i * vectors);
}

static void fill_square(struct score_square *s)
{
    const float *x = s->x;
    uint32_t held = s->held, row = s->row;
    for (; held < SCORE_TILE && row < s->d; row++) {
        float *to = s->q + held, twice = 2 * x[row];
        for (uint32_t j = 0; j < row; j += LANES) {
            vec products = load(x + j) * twice;
            memcpy(to + j, &products, sizeof products);
        }
        to[row] = x[row] * x[row];
        held += row + 1;
    }
    s->held = held;
    s->row = row;
}

const struct score_kernel KERNEL = {NAME, multiply_near, multiply_far, multiply_many, fill_square};
