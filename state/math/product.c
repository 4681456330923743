#include "state/math/product.h"

#include <cblas.h>

void blas_multiply_transposed(const double *A, const double *B, uint32_t m, uint32_t n, uint32_t k,
                              double *ret_C)
{
    int lda = (int)k, ldc = (int)n;
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)m, ldc, lda, 1, A, lda, B, lda, 0,
                ret_C, ldc);
}
