#include "server/route/score_kernel.h"

#include <string.h>

const struct score_kernel *score_kernel_at(uint32_t i)
{
#ifdef __x86_64__
    /* Whether the system saves the registers is in the answer too. */
    if (__builtin_cpu_supports("avx512f") && i-- == 0)
        return &score_kernel_avx512;
    if (__builtin_cpu_supports("avx2") && i-- == 0)
        return &score_kernel_avx2;
#endif
    return i == 0 ? &score_kernel_plain : NULL;
}

void score_square_init(struct score_square *s, const float *x, uint32_t d)
{
    memcpy(s->x, x, d * sizeof *x);
    memset(s->x + d, 0, SCORE_PAD * sizeof *x);
    s->d = d;
    s->row = s->held = 0;
}

uint32_t score_square_next(struct score_square *s, const struct score_kernel *kernel)
{
    if (s->held > SCORE_TILE) /* What the last tile left over begins the next one. */
        memmove(s->q, s->q + SCORE_TILE, (s->held - SCORE_TILE) * sizeof *s->q);
    s->held -= s->held < SCORE_TILE ? s->held : SCORE_TILE;
    kernel->fill_square(s);
    if (s->held >= SCORE_TILE)
        return SCORE_TILE;
    uint32_t n = (s->held + SCORE_PAD - 1) / SCORE_PAD * SCORE_PAD;
    memset(s->q + s->held, 0, (n - s->held) * sizeof *s->q);
    return n;
}
