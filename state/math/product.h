/* product.h - one dense product by OpenBLAS, for the slow loop; never for fold (check.h says why).
 * Threads: one caller at a time; blas_init first. */
#pragma once

#include <stdint.h>

/* ret_C (m,n) = A (m,k) B' with B (n,k); all row-major, none aliased. DGEMM. */
void blas_multiply_transposed(const double *A, const double *B, uint32_t m, uint32_t n, uint32_t k,
                              double *ret_C);
