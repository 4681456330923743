/* 16 registers of 8 floats. */
#define LANES 8
#define ROWS_NEAR 1
#define ROWS_FAR 2
#define ROWS_MANY 1
#define VECTORS_AT_ONCE 2
#define NAME "avx2"
#define KERNEL score_kernel_avx2
#include "server/route/score_kernel_body.h"
