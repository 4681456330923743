#include "server/route/score_frame.h"

#include <string.h>

static void add_metric(struct score_block *b, const struct score_pass *pass,
                       const struct score_frame *frames, uint32_t m)
{
    float z[SCORE_BLOCK * SCORE_CONTEXTS];
    score_pass_predict(pass, b->view, b->n, m, z);
    for (uint32_t c = 0; c < pass->contexts; c++)
        if (frames[c].u->mask >> m & 1)
            score_add_metric(&frames[c], b->view, b->n, m, z + c, pass->contexts, b->mean + c);
}

static void add_silence(struct score_block *b, const struct score_pass *pass,
                        const struct score_frame *frames, const struct eligible *const *arms)
{
    float share[SCORE_BLOCK * SCORE_CONTEXTS];
    bool any = false;
    for (uint32_t c = 0; c < pass->contexts; c++)
        for (uint32_t i = 0; i < b->n && !any; i++)
            any = score_waits(&frames[c], &arms[c][i]);
    if (!any)
        return;
    score_pass_share(pass, b->view, b->n, share);
    for (uint32_t i = 0, k = 0; i < b->n; i++)
        for (uint32_t c = 0; c < pass->contexts; c++, k++)
            if (score_waits(&frames[c], &arms[c][i]))
                b->mean[k] += score_silence(&frames[c], &arms[c][i], share[k]);
}

/* What the next block begins with is on its way while this one is multiplied: views are pieces of
 * the heap, and each would be waited for. All arms of a router are laid out alike. */
static void fetch(const struct router_view *router, const struct arm_view *like, uint16_t mask,
                  const struct eligible *arms, uint32_t n)
{
    const char *view = (const char *)like, *theta = (const char *)like->theta;
    size_t row_bytes = like->stride * sizeof *like->theta;
    for (uint32_t i = 0; i < n; i++) {
        const char *at = (const char *)router->arms[arms[i].index];
        __builtin_prefetch(at, 0, 2);
        __builtin_prefetch(at + 64, 0, 2);
        for (uint16_t left = mask; left; left = (uint16_t)(left & (left - 1)))
            for (size_t k = 0; k < row_bytes; k += 64)
                __builtin_prefetch(
                    at + (theta - view) + (size_t)__builtin_ctz(left) * row_bytes + k, 0, 2);
    }
}

static uint32_t block_of(uint32_t left)
{
    return left < SCORE_BLOCK ? left : SCORE_BLOCK;
}

void score_block_fill(struct score_block *b, const struct score_pass *pass,
                      const struct score_frame *frames, const struct eligible *const *arms,
                      uint32_t left)
{
    uint32_t n = block_of(left);
    uint16_t mask = 0;
    b->n = n;
    for (uint32_t i = 0; i < n; i++)
        b->view[i] = frames[0].router->arms[arms[0][i].index];
    for (uint32_t c = 0; c < pass->contexts; c++)
        mask |= frames[c].u->mask;
    memset(b->mean, 0, (size_t)n * pass->contexts * sizeof *b->mean);
    if (pass->far)
        fetch(frames[0].router, b->view[0], mask, arms[0] + n, block_of(left - n));
    for (uint16_t rest = mask; rest; rest = (uint16_t)(rest & (rest - 1)))
        add_metric(b, pass, frames, (uint32_t)__builtin_ctz(rest));
    add_silence(b, pass, frames, arms);
}

/* The scores of a block for the contexts whose widths come from this group. */
static void finish(const struct score_block *b, struct score_pass *pass, struct score_frame *frames,
                   const struct eligible *const *arms, enum metric_group group,
                   struct score *const *ret_scores)
{
    double spread[SCORE_BLOCK * SCORE_CONTEXTS];
    bool any = false;
    for (uint32_t c = 0; c < pass->contexts; c++)
        any |= frames[c].u->group == group;
    if (!any)
        return;
    score_pass_spread(pass, b->view, b->n, group, spread);
    for (uint32_t c = 0; c < pass->contexts; c++)
        if (frames[c].u->group == group)
            score_finish(&frames[c], arms[c], b->n, b->mean + c, spread + c, pass->contexts,
                         ret_scores[c]);
}

/* All arms, block by block, for the contexts of a pass. */
static void walk(struct score_pass *pass, struct score_frame *frames,
                 const struct eligible *const *arms, uint32_t n, struct score *const *scores)
{
    struct score_block block;
    const struct eligible *here[SCORE_CONTEXTS];
    struct score *to[SCORE_CONTEXTS];
    for (uint32_t at = 0; at < n; at += SCORE_BLOCK) {
        for (uint32_t c = 0; c < SCORE_CONTEXTS; c++) {
            uint32_t k = c < pass->contexts ? c : 0;
            here[c] = arms[k] + at;
            to[c] = scores[k] + at;
        }
        score_block_fill(&block, pass, frames, here, n - at);
        for (int g = 0; g < METRIC_GROUPS; g++)
            finish(&block, pass, frames, here, (enum metric_group)g, to);
    }
}

void score_arms(const struct router_view *router, const struct utility *u, const float *x,
                const struct eligible *arms, uint32_t n, double answer_share,
                struct score *ret_scores)
{
    struct score_square square;
    struct score_frame frame;
    struct score_pass pass;
    score_frame_init(&frame, router, u, x, answer_share);
    score_pass_init(&pass, &x, 1, router->d, n, &square);
    walk(&pass, &frame, &arms, n, &ret_scores);
}

void score_arms_batch(const struct router_view *router, const struct score_context *contexts,
                      uint32_t contexts_n, uint32_t n, struct score_batch_work *work)
{
    struct score_frame frames[SCORE_CONTEXTS];
    const float *x[SCORE_CONTEXTS];
    const struct eligible *arms[SCORE_CONTEXTS] = {NULL};
    struct score *scores[SCORE_CONTEXTS] = {NULL};
    struct score_pass pass;
    uint32_t held = 0;
    for (uint32_t c = 0; c < contexts_n; c++) {
        const struct score_context *in = &contexts[c];
        if (score_pass_is_sparse(in->x, router->d)) {
            score_arms(router, in->u, in->x, in->arms, n, in->answer_share, in->scores);
        } else {
            score_frame_init(&frames[held], router, in->u, in->x, in->answer_share);
            x[held] = in->x;
            arms[held] = in->arms;
            scores[held++] = in->scores;
        }
        if (held == SCORE_CONTEXTS || (held > 0 && c + 1 == contexts_n)) {
            score_pass_init(&pass, x, held, router->d, n, work->square);
            walk(&pass, frames, arms, n, scores);
            held = 0;
        }
    }
}
