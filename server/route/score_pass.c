#include "server/route/score_pass.h"

#include <string.h>

/* A product that is looked up costs what ten to fifteen of a vector do. */
static bool pays(uint32_t n, uint32_t d)
{
    return n <= SCORE_SPARSE_MAX && 7 * n * (n + 1) < d * (d + 1) / 2;
}

/* The largest n that pays: about d / sqrt(14). */
static uint32_t most_that_pay(uint32_t d)
{
    uint32_t n = d * 4 / 15;
    n = n < SCORE_SPARSE_MAX ? n : SCORE_SPARSE_MAX;
    while (n > 0 && !pays(n, d))
        n--;
    while (pays(n + 1, d))
        n++;
    return n;
}

/* As far as it pays: a dense context is known by its first numbers. */
static void sparse_fill(struct score_sparse *s, const float *x, uint32_t d)
{
    uint32_t most = most_that_pay(d), zeros = 0;
    for (uint32_t i = 0; i <= most && i < d; i++)
        zeros += x[i] == 0.0F;
    s->n = most + 1;
    if (zeros == 0)
        return;
    s->n = 0;
    for (uint32_t i = 0; i < d; i++) {
        if (x[i] == 0.0F)
            continue;
        if (s->n == most) {
            s->n++;
            return;
        }
        s->at[s->n] = (uint16_t)i;
        s->v[s->n++] = x[i];
    }
}

/* What a third cache of today (32 MiB, shared with others) surely keeps between decisions: matrices
 * of more than that are fetched ahead. Where they are near, fetching costs as much as it spares
 * elsewhere: each line is asked for twice (server/route/README.md has both figures). */
enum { NEAR_BYTES = 6 << 20 };

bool score_pass_is_sparse(const float *x, uint32_t d)
{
    struct score_sparse s;
    sparse_fill(&s, x, d);
    return pays(s.n, d);
}

void score_pass_init(struct score_pass *p, const float *const *x, uint32_t contexts, uint32_t d,
                     uint32_t arms_n, struct score_square *square)
{
    p->far = (size_t)arms_n * d * (d + 1) / 2 * sizeof(float) > NEAR_BYTES;
    p->kernel = score_kernel_at(0);
    p->d = d;
    p->stride = (d + VIEW_PAD - 1) / VIEW_PAD * VIEW_PAD;
    p->contexts = contexts;
    p->square = square;
    p->squared = false;
    p->sparse = false;
    if (contexts == 1) {
        sparse_fill(&p->few, x[0], d);
        p->sparse = pays(p->few.n, d);
    }
    if (p->sparse)
        return;
    for (uint32_t c = 0; c < contexts; c++)
        score_square_init(&square[c], x[c], d);
}

/* row . x */
static float few_dot(const float *row, const struct score_sparse *x)
{
    float s = 0;
    for (uint32_t a = 0; a < x->n; a++)
        s += row[x->at[a]] * x->v[a];
    return s;
}

/* x' P x */
static float few_spread(const float *P, const struct score_sparse *x)
{
    float total = 0;
    for (uint32_t a = 0; a < x->n; a++) {
        uint32_t i = x->at[a];
        const float *row = P + (size_t)i * (i + 1) / 2;
        float s = 0;
        for (uint32_t b = 0; b < a; b++)
            s += row[x->at[b]] * x->v[b];
        total += x->v[a] * (2 * s + row[i] * x->v[a]);
    }
    return total;
}

static void multiply(const struct score_pass *p, const float *const *row, uint32_t n,
                     const float *v, uint32_t length, bool far, float *ret)
{
    if (p->contexts == 1)
        (far ? p->kernel->multiply_far : p->kernel->multiply)(row, n, v, length, ret);
    else
        p->kernel->multiply_many(row, n, v, sizeof(struct score_square) / sizeof(float),
                                 p->contexts, length, ret);
}

/* ret (n, contexts): row . x */
static void dots(const struct score_pass *p, const float *const *row, uint32_t n, float *ret)
{
    for (uint32_t i = 0; p->sparse && i < n; i++)
        ret[i] = few_dot(row[i], &p->few);
    if (!p->sparse)
        multiply(p, row, n, p->square[0].x, p->stride, false, ret);
}

void score_pass_predict(const struct score_pass *p, const struct arm_view *const *arms, uint32_t n,
                        uint32_t m, float *ret_z)
{
    const float *row[SCORE_BLOCK];
    for (uint32_t i = 0; i < n; i++)
        row[i] = arms[i]->theta + (size_t)m * p->stride;
    dots(p, row, n, ret_z);
}

void score_pass_share(const struct score_pass *p, const struct arm_view *const *arms, uint32_t n,
                      float *ret_share)
{
    const float *row[SCORE_BLOCK];
    for (uint32_t i = 0; i < n; i++)
        row[i] = arms[i]->prior_share;
    dots(p, row, n, ret_share);
}

static void add_tile(const struct score_pass *p, const float *const *row, uint32_t n,
                     uint32_t length, double *ret_spread)
{
    float part[SCORE_BLOCK * SCORE_CONTEXTS];
    multiply(p, row, n, p->square[0].q, length, p->far, part);
    for (uint32_t i = 0; i < n * p->contexts; i++)
        ret_spread[i] += (double)part[i];
}

static uint32_t next_tile(const struct score_pass *p)
{
    uint32_t length = 0;
    for (uint32_t c = 0; c < p->contexts; c++)
        length = score_square_next(&p->square[c], p->kernel);
    return length;
}

/* Tile by tile: the products stay in the first cache while the arms pass. */
static void add_tiles(const struct score_pass *p, const float **row, uint32_t n, double *ret_spread)
{
    for (uint32_t c = 0; c < p->contexts; c++)
        p->square[c].row = p->square[c].held = 0;
    for (uint32_t length; (length = next_tile(p)) > 0;) {
        add_tile(p, row, n, length, ret_spread);
        for (uint32_t i = 0; i < n; i++)
            row[i] += length;
    }
}

static bool fits_tile(const struct score_pass *p)
{
    return p->d * (p->d + 1) / 2 <= SCORE_TILE;
}

void score_pass_square(struct score_pass *p)
{
    if (p->sparse || p->squared || !fits_tile(p))
        return;
    p->tile = next_tile(p);
    p->squared = true;
}

void score_pass_spread(struct score_pass *p, const struct arm_view *const *arms, uint32_t n,
                       enum metric_group group, double *ret_spread)
{
    const float *row[SCORE_BLOCK];
    if (p->sparse) {
        for (uint32_t i = 0; i < n; i++)
            ret_spread[i] = (double)few_spread(arms[i]->P[group], &p->few);
        return;
    }
    for (uint32_t i = 0; i < n; i++)
        row[i] = arms[i]->P[group];
    memset(ret_spread, 0, (size_t)n * p->contexts * sizeof *ret_spread);
    if (!fits_tile(p)) {
        add_tiles(p, row, n, ret_spread);
        return;
    }
    score_pass_square(p);
    add_tile(p, row, n, p->tile, ret_spread);
}
