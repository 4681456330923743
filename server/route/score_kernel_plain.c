/* 16-byte vectors: SSE2 on x86-64, and what a compiler makes of them elsewhere. 16 registers of 4
 * floats: the sums of one product. */
#define LANES 4
#define ROWS_NEAR 1
#define ROWS_FAR 1
#define ROWS_MANY 1
#define VECTORS_AT_ONCE 1
#define NAME "plain"
#define KERNEL score_kernel_plain
#include "server/route/score_kernel_body.h"
