/* check.h - a second opinion on our own linear algebra, by OpenBLAS. The one room that sees it.
 * Why: fold keeps its inverses by Sherman-Morrison in its own fixed-order C; `verify` asks a
 * library that shares no line with it whether they still are the inverses. Never used by fold: the
 * same call gives other bytes on other kernels. Threads: one caller at a time (blas_init first);
 * OpenBLAS is set to one thread. */
#pragma once

#include "state/base/err.h"

#include <stdint.h>

/* Call once, first thing in main: one BLAS thread. ERR_UNSUPPORTED when the serial build of
 * OpenBLAS is loaded, which computes wrong results when called concurrently. */
MUST_USE enum err blas_init(void);
/* ret_error = max |(A P - I)_ij| over the packed symmetric A and P, by dsymm. ERR_NOMEM. */
MUST_USE enum err blas_inverse_error(const double *A, const double *P, uint32_t d,
                                     double *ret_error);
