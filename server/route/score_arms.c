#include "server/route/score_frame.h"

#include <string.h>

static void add_metric(struct score_block *b, const struct score_pass *pass,
                       const struct score_frame *f, uint32_t m)
{
    float z[SCORE_BLOCK];
    score_pass_predict(pass, b->view, b->n, m, z);
    score_add_metric(f, b->view, b->n, m, z, b->mean);
}

static void add_silence(struct score_block *b, const struct score_pass *pass,
                        const struct score_frame *f, const struct eligible *arms)
{
    float share[SCORE_BLOCK];
    if (!score_any_waits(f, arms, b->n))
        return;
    score_pass_share(pass, b->view, b->n, share);
    score_add_silence(f, arms, b->n, share, b->mean);
}

void score_fetch(const struct arm_view *like, uint16_t mask, const struct arm_view *next)
{
    const char *view = (const char *)like, *theta = (const char *)like->theta;
    size_t row_bytes = like->stride * sizeof *like->theta;
    const char *at = (const char *)next;
    __builtin_prefetch(at, 0, 2);
    __builtin_prefetch(at + 64, 0, 2);
    for (uint16_t left = mask; left; left = (uint16_t)(left & (left - 1)))
        for (size_t k = 0; k < row_bytes; k += 64)
            __builtin_prefetch(at + (theta - view) + (size_t)__builtin_ctz(left) * row_bytes + k, 0,
                               2);
}

static uint32_t block_of(uint32_t left)
{
    return left < SCORE_BLOCK ? left : SCORE_BLOCK;
}

void score_block_fill(struct score_block *b, const struct score_pass *pass,
                      const struct score_frame *f, const struct eligible *arms, uint32_t left)
{
    uint32_t n = block_of(left), next = pass->far ? block_of(left - n) : 0;
    b->n = n;
    for (uint32_t i = 0; i < n; i++)
        b->view[i] = f->router->arms[arms[i].index];
    memset(b->mean, 0, n * sizeof *b->mean);
    for (uint32_t i = 0; i < next; i++)
        score_fetch(b->view[0], f->u->mask, f->router->arms[arms[n + i].index]);
    for (uint16_t rest = f->u->mask; rest; rest = (uint16_t)(rest & (rest - 1)))
        add_metric(b, pass, f, (uint32_t)__builtin_ctz(rest));
    add_silence(b, pass, f, arms);
}

void score_arms_with(struct score_pass *pass, const struct router_view *router,
                     const struct utility *u, const float *x, const struct eligible *arms,
                     uint32_t n, double answer_share, struct score *ret_scores)
{
    struct score_frame frame;
    struct score_block block;
    double spread[SCORE_BLOCK];
    score_frame_init(&frame, router, u, x, answer_share);
    for (uint32_t at = 0; at < n; at += SCORE_BLOCK) {
        score_block_fill(&block, pass, &frame, arms + at, n - at);
        score_pass_spread(pass, block.view, block.n, u->group, spread);
        score_finish(&frame, arms + at, block.n, block.mean, spread, ret_scores + at);
    }
}

void score_arms(const struct router_view *router, const struct utility *u, const float *x,
                const struct eligible *arms, uint32_t n, double answer_share,
                struct score *ret_scores)
{
    struct score_square square;
    struct score_pass pass;
    score_pass_init(&pass, &x, 1, router->d, n, &square);
    score_arms_with(&pass, router, u, x, arms, n, answer_share, ret_scores);
}
