#include "server/route/score_sheet.h"

#include "server/route/score_frame.h"
#include "state/base/mem.h"

#include <string.h>

struct score_sheet {
    struct score_square square[SCORE_CONTEXTS]; /* Of the contexts; first, for its alignment. */
    const struct router_view *router;           /* NULL: nothing is on it. */
    struct score_pass pass;
    uint16_t mask; /* Metrics predicted, in order, */
    enum metric_group group;
    uint32_t arms_n;
    bool shares; /* `share` is filled: only pulls in flight need it. */
    float *z;    /* (metrics of the mask, arms_n, contexts) */
    float *share;
    double *spread; /* (arms_n, contexts), as share. */
    size_t cap;     /* Bytes of `tables`. */
    double *tables; /* What these three point into. */
    void *storage;
};

enum { ALIGN = 64 };

enum err score_sheet_new(struct score_sheet **ret_sheet)
{
    char *storage = mem_calloc(1, sizeof(struct score_sheet) + ALIGN);
    if (!storage)
        return ERR_NOMEM;
    struct score_sheet *s = (void *)(storage + (ALIGN - (uintptr_t)storage % ALIGN));
    s->storage = storage;
    *ret_sheet = s;
    return OK;
}

void score_sheet_free(struct score_sheet *s)
{
    if (!s)
        return;
    mem_free(s->tables);
    mem_free(s->storage);
}

/* Numbers of one metric, or of the shares, or of the spreads. */
static size_t table_n(const struct score_sheet *s)
{
    return (size_t)s->arms_n * s->pass.contexts;
}

static enum err lay_out(struct score_sheet *s)
{
    size_t n = table_n(s), metrics = (size_t)__builtin_popcount(s->mask);
    size_t bytes = n * (sizeof *s->spread + (metrics + 1) * sizeof *s->z);
    if (bytes > s->cap) {
        mem_free(s->tables);
        s->cap = 0;
        s->tables = mem_alloc(bytes);
        if (!s->tables)
            return ERR_NOMEM;
        s->cap = bytes;
    }
    s->spread = s->tables;
    s->share = (float *)(s->spread + n);
    s->z = s->share + n;
    return OK;
}

static float *predictions_of(const struct score_sheet *s, uint32_t m)
{
    unsigned before = s->mask & ((1U << m) - 1);
    return s->z + (size_t)__builtin_popcount(before) * table_n(s);
}

static uint32_t block_of(uint32_t left)
{
    return left < SCORE_BLOCK ? left : SCORE_BLOCK;
}

static void fill_block(struct score_sheet *s, uint32_t at)
{
    const struct arm_view *const *view = (const struct arm_view *const *)s->router->arms + at;
    uint32_t n = block_of(s->arms_n - at), next = s->pass.far ? block_of(s->arms_n - at - n) : 0;
    size_t first = (size_t)at * s->pass.contexts;
    for (uint32_t i = 0; i < next; i++)
        score_fetch(view[0], s->mask, view[n + i]);
    for (uint16_t rest = s->mask; rest; rest = (uint16_t)(rest & (rest - 1))) {
        uint32_t m = (uint32_t)__builtin_ctz(rest);
        score_pass_predict(&s->pass, view, n, m, predictions_of(s, m) + first);
    }
    score_pass_spread(&s->pass, view, n, s->group, s->spread + first);
}

enum err score_sheet_fill(struct score_sheet *s, const struct router_view *router,
                          const struct utility *u, const float *const *x, uint32_t contexts)
{
    s->router = NULL;
    s->mask = u->mask;
    s->group = u->group;
    s->arms_n = router->arms_n;
    s->shares = false;
    score_pass_init(&s->pass, x, contexts, router->d, router->arms_n, s->square);
    TRY(lay_out(s));
    s->router = router;
    for (uint32_t at = 0; at < s->arms_n; at += SCORE_BLOCK)
        fill_block(s, at);
    return OK;
}

bool score_sheet_has(const struct score_sheet *s, uint32_t k, const struct router_view *router,
                     const struct utility *u, const float *x)
{
    return s->router == router && k < s->pass.contexts && (u->mask & ~s->mask) == 0 &&
           u->group == s->group && memcmp(s->square[k].x, x, router->d * sizeof *x) == 0;
}

/* All arms and contexts, once the first pull in flight asks for it. */
static void fill_shares(struct score_sheet *s)
{
    const struct arm_view *const *view = (const struct arm_view *const *)s->router->arms;
    for (uint32_t at = 0; at < s->arms_n; at += SCORE_BLOCK)
        score_pass_share(&s->pass, view + at, block_of(s->arms_n - at),
                         s->share + (size_t)at * s->pass.contexts);
    s->shares = true;
}

/* ret (n): the k-th context's numbers of these arms. */
static void take(const struct score_sheet *s, const float *table, uint32_t k,
                 const struct eligible *arms, uint32_t n, float *ret)
{
    for (uint32_t i = 0; i < n; i++)
        ret[i] = table[(size_t)arms[i].index * s->pass.contexts + k];
}

static void read_block(struct score_sheet *s, uint32_t k, struct score_frame *f,
                       const struct eligible *arms, uint32_t n, struct score *ret_scores)
{
    const struct arm_view *view[SCORE_BLOCK];
    double mean[SCORE_BLOCK], spread[SCORE_BLOCK];
    float number[SCORE_BLOCK];
    memset(mean, 0, n * sizeof *mean);
    for (uint32_t i = 0; i < n; i++) {
        view[i] = s->router->arms[arms[i].index];
        spread[i] = s->spread[(size_t)arms[i].index * s->pass.contexts + k];
    }
    for (uint16_t rest = f->u->mask; rest; rest = (uint16_t)(rest & (rest - 1))) {
        uint32_t m = (uint32_t)__builtin_ctz(rest);
        take(s, predictions_of(s, m), k, arms, n, number);
        score_add_metric(f, view, n, m, number, mean);
    }
    if (score_any_waits(f, arms, n)) {
        if (!s->shares)
            fill_shares(s);
        take(s, s->share, k, arms, n, number);
        score_add_silence(f, arms, n, number, mean);
    }
    score_finish(f, arms, n, mean, spread, ret_scores);
}

void score_sheet_read(struct score_sheet *s, uint32_t k, const struct utility *u,
                      const struct eligible *arms, uint32_t n, double answer_share,
                      struct score *ret_scores)
{
    struct score_frame frame;
    score_frame_init(&frame, s->router, u, s->square[k].x, answer_share);
    for (uint32_t at = 0; at < n; at += SCORE_BLOCK)
        read_block(s, k, &frame, arms + at, block_of(n - at), ret_scores + at);
}
