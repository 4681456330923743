#include "server/route/score_window.h"

#include "state/base/mem.h"
#include "state/math/product.h"

#include <math.h>
#include <string.h>

enum { BLOCK_DOUBLES = 1 << 18 }; /* Of arms, and of contexts, at a time: 2 MiB each. */

struct job {
    const struct router_view *router;
    const struct score_window *w;
    struct utility *utility; /* (n) */
    uint16_t mask;           /* Metrics with weight in any context. */
    uint32_t rows;           /* Rows an arm has in z: its metrics of the mask, then h. */
    double *x;               /* (n, d) */
    double *z;               /* (arms_n * rows, n) */
    float *neutral, *bonus;
};

static const float *row_of(const struct job *j, uint32_t c)
{
    return j->w->rows + c * j->w->stride;
}

static enum err open_job(struct job *j)
{
    uint32_t n = j->w->n, d = j->router->d;
    j->utility = mem_alloc(n * sizeof *j->utility);
    j->x = mem_alloc((size_t)n * d * sizeof *j->x);
    if (!j->utility || !j->x)
        return ERR_NOMEM;
    for (uint32_t c = 0; c < n; c++) {
        double weights[MAX_METRICS];
        for (uint32_t m = 0; m < j->w->weights_n; m++)
            weights[m] = (double)row_of(j, c)[d + m];
        utility_init(&j->utility[c], j->router, j->w->weights_n ? weights : NULL);
        j->mask |= j->utility[c].mask;
        for (uint32_t i = 0; i < d; i++)
            j->x[(size_t)c * d + i] = (double)row_of(j, c)[i];
    }
    j->rows = (uint32_t)__builtin_popcount(j->mask) + 1;
    return OK;
}

static void close_job(struct job *j)
{
    mem_free(j->utility);
    mem_free(j->x);
    mem_free(j->z);
}

/* z = (every theta of the mask, and the prior's share) X'. */
static enum err multiply_means(struct job *j)
{
    const struct router_view *r = j->router;
    size_t rows = (size_t)r->arms_n * j->rows;
    double *left = mem_alloc(rows * r->d * sizeof *left);
    j->z = mem_alloc(rows * j->w->n * sizeof *j->z);
    if (!left || !j->z) {
        mem_free(left);
        return ERR_NOMEM;
    }
    double *at = left;
    for (uint32_t a = 0; a < r->arms_n; a++) {
        const struct arm_view *arm = r->arms[a];
        for (uint16_t m = j->mask; m; m = (uint16_t)(m & (m - 1))) {
            const float *theta = arm->theta + (size_t)__builtin_ctz(m) * arm->stride;
            for (uint32_t i = 0; i < r->d; i++)
                *at++ = (double)theta[i];
        }
        for (uint32_t i = 0; i < r->d; i++)
            *at++ = (double)arm->prior_share[i];
    }
    blas_multiply_transposed(left, j->x, (uint32_t)rows, j->w->n, r->d, j->z);
    mem_free(left);
    return OK;
}

/* How far the prior of metric m stands above what arms show: 0 where it is no optimism. */
static double prior_lead(const struct router_view *r, const struct arm_view *arm, uint32_t m)
{
    const struct metric_def *def = &r->config->metrics[m];
    bool imputed =
        !(arm->seen_mask >> m & 1) && r->pooled_n[m] > 0 && arm->folded[METRIC_RATED] > 0;
    if (def->group != METRIC_RATED || imputed || arm->config->prior_mask >> m & 1)
        return 0;
    double shown = r->pooled_n[m] ? r->pooled_mean_z[m] : .5;
    double lead = def->lower_is_better ? shown - r->level[m] : 1 + r->level[m] - shown;
    return lead > 0 ? lead : 0;
}

static void fill_arm(struct job *j, uint32_t a)
{
    const struct arm_view *arm = j->router->arms[a];
    uint32_t n = j->w->n;
    const double *z = j->z + (size_t)a * j->rows * n, *share = z + (size_t)(j->rows - 1) * n;
    for (uint32_t c = 0; c < n; c++) {
        const struct utility *u = &j->utility[c];
        double mean = 0, lead = 0, h = share[c];
        uint32_t row = 0;
        for (uint16_t left = j->mask; left; left = (uint16_t)(left & (left - 1)), row++) {
            uint32_t m = (uint32_t)__builtin_ctz(left);
            if (!(u->mask >> m & 1))
                continue;
            mean += u->weight[m] * score_bound(j->router, arm, m, z[(size_t)row * n + c]);
            lead += fabs(u->weight[m]) * prior_lead(j->router, arm, m);
        }
        lead *= h < 0 ? 0 : h > 1 ? 1 : h;
        j->neutral[(size_t)a * n + c] = (float)(mean - lead);
        if (j->bonus)
            j->bonus[(size_t)a * n + c] = (float)lead;
    }
}

/* x'P x is linear in P: with the products x_i x_k as columns (twice off the diagonal), widths of
 * many arms and contexts are one product of P as it is packed. Both are taken in blocks. */
struct widths {
    struct job *j;
    enum metric_group group;
    uint32_t k;              /* d(d+1)/2 */
    uint32_t arms, contexts; /* Of a block. */
    double *left, *right, *q;
};

static void fill_products(const struct widths *w, uint32_t from, uint32_t n)
{
    uint32_t d = w->j->router->d;
    double *to = w->right;
    for (uint32_t c = 0; c < n; c++) {
        const double *x = w->j->x + (size_t)(from + c) * d;
        for (uint32_t i = 0; i < d; i++) {
            for (uint32_t l = 0; l < i; l++)
                *to++ = 2 * x[i] * x[l];
            *to++ = x[i] * x[i];
        }
    }
}

/* An arm whose view is older than the router's knows less by now. */
static double faded(const struct widths *w, uint32_t arm, uint32_t context, double spread)
{
    const struct router_view *r = w->j->router;
    double fade = r->fade ? (double)r->fade[arm] : 1;
    if (!(fade < 1) || !(spread > 0))
        return spread;
    double prior = score_prior_spread(r, w->group, row_of(w->j, context));
    return score_faded(spread, prior, fade, (double)r->arms[arm]->ridge[w->group]);
}

static void add_block(const struct widths *w, uint32_t arm, uint32_t arms, uint32_t context,
                      uint32_t contexts)
{
    const struct router_view *r = w->j->router;
    double alpha = r->config->settings.alpha;
    for (uint32_t a = 0; a < arms; a++)
        for (uint32_t i = 0; i < w->k; i++)
            w->left[(size_t)a * w->k + i] = (double)r->arms[arm + a]->P[w->group][i];
    blas_multiply_transposed(w->left, w->right, arms, contexts, w->k, w->q);
    for (uint32_t a = 0; a < arms; a++) {
        float *bonus = w->j->bonus + (size_t)(arm + a) * w->j->w->n + context;
        for (uint32_t c = 0; c < contexts; c++) {
            const struct utility *u = &w->j->utility[context + c];
            double spread = faded(w, arm + a, context + c, w->q[(size_t)a * contexts + c]);
            if (u->group == w->group && spread > 0)
                bonus[c] += (float)(alpha * u->sigma * sqrt(spread));
        }
    }
}

static uint32_t at_least_one(uint32_t n, uint32_t most)
{
    return n < 1 ? 1 : n < most ? n : most;
}

static enum err add_widths(struct job *j, enum metric_group group)
{
    uint32_t n = j->w->n, arms_n = j->router->arms_n;
    uint32_t k = j->router->d * (j->router->d + 1) / 2;
    if (k == 0)
        return OK;
    struct widths w = {j,
                       group,
                       k,
                       at_least_one(BLOCK_DOUBLES / k, arms_n),
                       at_least_one(BLOCK_DOUBLES / k, n),
                       NULL,
                       NULL,
                       NULL};
    size_t left = (size_t)w.arms * k, right = (size_t)w.contexts * k;
    w.left = mem_alloc((left + right + (size_t)w.arms * w.contexts) * sizeof *w.left);
    if (!w.left)
        return ERR_NOMEM;
    w.right = w.left + left;
    w.q = w.right + right;
    for (uint32_t c = 0; c < n; c += w.contexts) {
        uint32_t contexts = n - c < w.contexts ? n - c : w.contexts;
        fill_products(&w, c, contexts);
        for (uint32_t a = 0; a < arms_n; a += w.arms)
            add_block(&w, a, arms_n - a < w.arms ? arms_n - a : w.arms, c, contexts);
    }
    mem_free(w.left);
    return OK;
}

/* The best and the worst that metrics on [0,1] can make of the weights. */
static void fill_ends(const struct job *j, float *ret_low, float *ret_high)
{
    for (uint32_t c = 0; c < j->w->n; c++) {
        double low = 0, high = 0;
        for (uint32_t m = 0; m < j->router->config->metrics_n; m++) {
            double w = j->utility[c].weight[m];
            low += w < 0 ? w : 0;
            high += w > 0 ? w : 0;
        }
        ret_low[c] = (float)low;
        ret_high[c] = (float)high;
    }
}

/* Contexts may weigh metrics of either group: the widths of a group are computed if any needs it.
 */
static enum err add_all_widths(struct job *j)
{
    bool wanted[METRIC_GROUPS] = {false};
    for (uint32_t c = 0; c < j->w->n; c++)
        wanted[j->utility[c].group] = true;
    for (int g = 0; g < METRIC_GROUPS; g++)
        if (wanted[g])
            TRY(add_widths(j, (enum metric_group)g));
    return OK;
}

enum err score_window(const struct router_view *router, const struct score_window *w,
                      float *ret_neutral, float *ret_bonus, float *ret_low, float *ret_high)
{
    struct job j = {.router = router, .w = w, .neutral = ret_neutral, .bonus = ret_bonus};
    if (router->arms_n == 0 || w->n == 0)
        return OK;
    enum err e = open_job(&j);
    if (e == OK)
        e = multiply_means(&j);
    for (uint32_t a = 0; e == OK && a < router->arms_n; a++)
        fill_arm(&j, a);
    if (e == OK && ret_bonus)
        e = add_all_widths(&j);
    if (e == OK)
        fill_ends(&j, ret_low, ret_high);
    close_job(&j);
    return e;
}
