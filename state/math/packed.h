/* packed.h - symmetric matrices as packed lower triangles, in double, in one fixed order.
 * Why: fold must give the same bytes on every x86-64, so it uses these loops and no BLAS: every sum
 * has one written order (four interleaved partial sums, then their fixed tree), and the build
 * forbids contraction to fused multiply-add.
 * Shapes: d is the dimension; a packed matrix M holds packed_n(d) doubles, element (i,j) with j <=
 * i at i(i+1)/2 + j. Vectors hold d doubles. Outputs must not alias inputs unless said. Pure; no
 * allocation; sqrt is the only libm call. */
#pragma once

#include "state/base/err.h"

#include <stddef.h>
#include <stdint.h>

/* d(d+1)/2. */
size_t packed_n(uint32_t d);
double vec_dot(const double *a, const double *b, uint32_t d);
/* y += s x */
void vec_add_scaled(double *y, double s, const double *x, uint32_t d);
/* M = diag(bias, rest, rest, ...) */
void packed_set_ridge(double *M, uint32_t d, double bias, double rest);
/* ret_y = M x */
void packed_multiply(const double *M, uint32_t d, const double *x, double *ret_y);
/* M += s x x' */
void packed_rank1(double *M, uint32_t d, double s, const double *x);
/* ret_inverse = A^-1 by Cholesky, A = L L'. scratch: packed_n(d). ERR_INVALID when A is not
 * numerically positive definite (ret_inverse is then undefined). ret_inverse may alias A. */
MUST_USE enum err packed_invert(const double *A, uint32_t d, double *ret_inverse, double *scratch);
/* max_i |(A (P x))_i - x_i|: how far P is from A^-1 along x. px = P x is given; scratch: d. */
double packed_residual(const double *A, const double *px, const double *x, uint32_t d,
                       double *scratch);
