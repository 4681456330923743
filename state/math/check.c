#include "state/math/check.h"

#include "state/base/mem.h"
#include "state/math/packed.h"

#include <cblas.h>
#include <math.h>

enum err blas_init(void)
{
    openblas_set_num_threads(1);
    return openblas_get_parallel() == OPENBLAS_SEQUENTIAL ? ERR_UNSUPPORTED : OK;
}

static void unpack(const double *M, uint32_t d, double *ret_full)
{
    for (uint32_t i = 0; i < d; i++)
        for (uint32_t j = 0; j <= i; j++)
            ret_full[(size_t)i * d + j] = ret_full[(size_t)j * d + i] = M[packed_n(i) + j];
}

enum err blas_inverse_error(const double *A, const double *P, uint32_t d, double *ret_error)
{
    size_t n = (size_t)d * d;
    double *full = mem_calloc(3 * n, sizeof *full);
    if (!full)
        return ERR_NOMEM;
    double *a = full, *p = full + n, *product = full + 2 * n;
    unpack(A, d, a);
    unpack(P, d, p);
    int k = (int)d;
    cblas_dsymm(CblasRowMajor, CblasLeft, CblasLower, k, k, 1, a, k, p, k, 0, product, k);
    double worst = 0;
    for (uint32_t i = 0; i < d; i++) {
        for (uint32_t j = 0; j < d; j++) {
            double e = fabs(product[(size_t)i * d + j] - (i == j ? 1 : 0));
            if (!(e <= worst))
                worst = e;
        }
    }
    mem_free(full);
    *ret_error = worst;
    return OK;
}
