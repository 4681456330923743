/* 32 registers of 16 floats: sixteen sums, and what is multiplied. */
#define LANES 16
#define ROWS_NEAR 2
#define ROWS_FAR 4
#define ROWS_MANY 2
#define VECTORS_AT_ONCE 4
#define NAME "avx512"
#define KERNEL score_kernel_avx512
#include "server/route/score_kernel_body.h"
