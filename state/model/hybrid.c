#include "state/model/hybrid.h"

#include "state/base/mem.h"
#include "state/math/packed.h"
#include "state/model/model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Variances of the effects, on the unit interval: what one standard deviation of a number, a family
 * and a tag may do. README.md has what was measured with others. */
static const double var_level = .25, var_number = .01, var_family = .02, var_tag = .005;
static const double tau2_start = .02, tau2_least = .0025;
/* What the variances above make of two numbers and a family. */
static const double spread2_start = .02 + .02 + 2 * .01;
static const double weight_most = 10;
enum { ROUNDS = 4, AT_SIZE = 1, AT_PRICE = 2, AT_FAMILY = 3, AT_TAG = AT_FAMILY + HYBRID_FAMILIES };

/* One arm as the fit sees it. */
struct described {
    double f[HYBRID_F];
    double unknown; /* Variance of what should be in f and is not. */
    double y, n;    /* Of the metric in hand. */
    bool any;       /* Whether it has a descriptor at all. */
};

struct fit {
    const struct router *r;
    struct described *arms;
    double P[HYBRID_F * (HYBRID_F + 1) / 2]; /* Posterior variance of beta. */
    double beta[HYBRID_F];
    double level, sigma2, tau2;
    double spread2; /* Variance of the arms around their level, explained or not. */
};

/* ---- From configurations to numbers ---- */

/* Binary logarithm, linear between powers of two: within .09, and the same bits everywhere. */
static double log_of(double v)
{
    int exponent;
    double part = frexp(v < 1e-6 ? 1e-6 : v, &exponent);
    return exponent - 2 + 2 * part;
}

static bool number_of(const struct arm_config *c, uint32_t at, double *ret)
{
    if (at == AT_SIZE) {
        *ret = log_of(c->size_b);
        return c->known & ARM_KNOWS_SIZE;
    }
    bool in = c->known & ARM_KNOWS_PRICE_IN, out = c->known & ARM_KNOWS_PRICE_OUT;
    double sum = (in ? log_of(c->price_in_usd) : 0) + (out ? log_of(c->price_out_usd) : 0);
    *ret = in && out ? sum / 2 : sum;
    return in || out;
}

/* Mean 0 and standard deviation 1 over the arms that know it; the others stand at the mean. */
static void fill_number(struct fit *t, uint32_t at)
{
    double sum = 0, squares = 0, v, n = 0;
    for (uint32_t i = 0; i < t->r->arms_n; i++) {
        if (!number_of(&t->r->arms[i]->config, at, &v))
            continue;
        sum += v;
        squares += v * v;
        n++;
    }
    double mean = n > 0 ? sum / n : 0,
           spread = n > 0 ? sqrt(fmax(squares / n - mean * mean, 0)) : 0;
    for (uint32_t i = 0; i < t->r->arms_n; i++) {
        if (!number_of(&t->r->arms[i]->config, at, &v))
            t->arms[i].unknown += var_number;
        else if (spread > 1e-6)
            t->arms[i].f[at] = (v - mean) / spread;
    }
}

struct word {
    const char *text;
    uint32_t arm;
};

static int compare_words(const void *a, const void *b)
{
    const struct word *x = a, *y = b;
    int c = strcmp(x->text, y->text);
    return c ? c : (x->arm > y->arm) - (x->arm < y->arm);
}

struct run {
    uint32_t at, n; /* Words [at, at + n) are the same. */
};

/* The `slots` longest runs of equal words of at least two arms, ties by the alphabet; the one
 * column of each is set for its arms. */
static void fill_words(struct fit *t, struct word *words, uint32_t n, uint32_t column,
                       uint32_t slots, double variance)
{
    struct run best[HYBRID_FAMILIES] = {0};
    qsort(words, n, sizeof *words, compare_words);
    for (uint32_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && strcmp(words[i].text, words[end].text) == 0; end++)
            ;
        for (uint32_t k = i; k < end; k++)
            t->arms[words[k].arm].unknown += variance;
        uint32_t at = slots;
        while (at > 0 && best[at - 1].n < end - i)
            at--;
        if (end - i < 2 || at == slots)
            continue;
        memmove(&best[at + 1], &best[at], (slots - at - 1) * sizeof *best);
        best[at] = (struct run){i, end - i};
    }
    for (uint32_t s = 0; s < slots; s++) {
        for (uint32_t k = best[s].at; k < best[s].at + best[s].n; k++) {
            t->arms[words[k].arm].f[column + s] = 1;
            t->arms[words[k].arm].unknown -= variance;
        }
    }
}

static enum err describe(struct fit *t)
{
    uint32_t n = t->r->arms_n, families = 0, tags = 0;
    struct word *words = mem_alloc((size_t)n * (1 + MAX_TAGS) * sizeof *words);
    if (!words)
        return ERR_NOMEM;
    struct word *tag_words = words + n;
    for (uint32_t i = 0; i < n; i++) {
        const struct arm_config *c = &t->r->arms[i]->config;
        t->arms[i].f[0] = 1;
        t->arms[i].any = c->known || c->family[0] || c->tags_n;
        if (c->family[0])
            words[families++] = (struct word){c->family, i};
        for (uint32_t k = 0; k < c->tags_n; k++)
            tag_words[tags++] = (struct word){c->tags[k], i};
    }
    fill_words(t, words, families, AT_FAMILY, HYBRID_FAMILIES, var_family);
    fill_words(t, tag_words, tags, AT_TAG, HYBRID_TAGS, var_tag);
    mem_free(words);
    fill_number(t, AT_SIZE);
    fill_number(t, AT_PRICE);
    return OK;
}

/* ---- One metric ---- */

/* y_k and n_k of every arm. slopes: (d), the shared ones. */
static void observe(struct fit *t, uint32_t m, const double *slopes)
{
    double sum = 0, n = 0;
    for (uint32_t i = 0; i < t->r->arms_n; i++) {
        const struct arm *a = t->r->arms[i];
        const struct matrix_stats *g = &a->groups[METRIC_RATED];
        struct described *k = &t->arms[i];
        k->n = a->metrics[m].recent.n;
        if (!(k->n > 0) || !(g->evidence > 0)) {
            k->n = 0;
            continue;
        }
        /* Off the diagonal A holds sums of x alone, row i beginning with the one for the bias. */
        double expected = 0;
        for (uint32_t j = 1; j < t->r->d; j++)
            expected += slopes[j] * g->A[packed_n(j)];
        k->y = a->metrics[m].recent.sum_z / k->n - expected / g->evidence;
        sum += k->n / (k->n + 4) * k->y; /* An arm seen a thousand times is one arm. */
        n += k->n / (k->n + 4);
    }
    t->level = n > 0 ? sum / n : 0;
}

static double variance_of(uint32_t column)
{
    return column == 0          ? var_level
           : column < AT_FAMILY ? var_number
           : column < AT_TAG    ? var_family
                                : var_tag;
}

/* beta and its variance, given tau^2. */
static void solve(struct fit *t)
{
    double scratch[HYBRID_F * (HYBRID_F + 1) / 2], target[HYBRID_F] = {0};
    memset(t->P, 0, sizeof t->P);
    for (uint32_t i = 0; i < HYBRID_F; i++)
        t->P[packed_n(i) + i] = 1 / variance_of(i);
    for (uint32_t i = 0; i < t->r->arms_n; i++) {
        const struct described *k = &t->arms[i];
        if (!(k->n > 0))
            continue;
        double w = 1 / (t->tau2 + k->unknown + t->sigma2 / k->n);
        packed_rank1(t->P, HYBRID_F, w, k->f);
        vec_add_scaled(target, w * (k->y - t->level), k->f, HYBRID_F);
    }
    /* Never fails: a positive diagonal and squares. */
    if (packed_invert(t->P, HYBRID_F, t->P, scratch) != OK)
        packed_set_ridge(t->P, HYBRID_F, var_level, var_tag);
    packed_multiply(t->P, HYBRID_F, target, t->beta);
}

/* What the other arms say of this one: the rank-1 downdate of the fit by the arm's own row. */
static void leave_out(const struct fit *t, const struct described *k, double *ret_mean,
                      double *ret_variance)
{
    double pf[HYBRID_F];
    packed_multiply(t->P, HYBRID_F, k->f, pf);
    double h = vec_dot(k->f, pf, HYBRID_F), mean = vec_dot(k->f, t->beta, HYBRID_F);
    double w = k->n > 0 ? 1 / (t->tau2 + k->unknown + t->sigma2 / k->n) : 0;
    double left = fmax(1 - w * h, 1e-6);
    *ret_mean = t->level + (mean - w * h * (k->y - t->level)) / left;
    *ret_variance = h / left + k->unknown;
}

/* tau^2 by its moments: squared misses, less what noise and the fit's own variance explain, beside
 * two arms' worth of the start. */
static double measure_tau2(const struct fit *t)
{
    double sum = 2 * tau2_start, n = 2;
    for (uint32_t i = 0; i < t->r->arms_n; i++) {
        const struct described *k = &t->arms[i];
        double mean, variance;
        if (!(k->n > 0) || !k->any)
            continue;
        leave_out(t, k, &mean, &variance);
        double miss = k->y - mean, explained = t->sigma2 / k->n + variance;
        double g = tau2_start / (tau2_start + explained); /* Arms that are not known say little. */
        sum += g * (miss * miss - explained);
        n += g;
    }
    return fmax(sum / n, tau2_least);
}

/* The same of the level alone: what there is to explain. */
static double measure_spread2(const struct fit *t)
{
    double sum = 2 * spread2_start, n = 2;
    for (uint32_t i = 0; i < t->r->arms_n; i++) {
        const struct described *k = &t->arms[i];
        if (!(k->n > 0) || !k->any)
            continue;
        double miss = k->y - t->level, explained = t->sigma2 / k->n;
        double g = tau2_start / (tau2_start + explained);
        sum += g * (miss * miss - explained);
        n += g;
    }
    return fmax(sum / n, tau2_least);
}

static void fit_metric(struct fit *t, uint32_t m, struct hybrid_prior *ret)
{
    uint32_t metrics_n = t->r->config.metrics_n;
    t->sigma2 = t->r->pooled->noise[m * metrics_n + m];
    t->tau2 = tau2_start;
    t->spread2 = measure_spread2(t);
    for (int round = 0; round < ROUNDS; round++) {
        solve(t);
        t->tau2 = measure_tau2(t);
    }
    solve(t);
    double explained = fmax(1 - t->tau2 / t->spread2, 0);
    for (uint32_t i = 0; i < t->r->arms_n; i++) {
        double mean, variance;
        if (!t->arms[i].any || t->r->arms[i]->metrics[m].has_prior)
            continue;
        leave_out(t, &t->arms[i], &mean, &variance);
        double weight = explained * t->sigma2 / (t->tau2 + variance);
        struct hybrid_prior *p = &ret[(size_t)i * metrics_n + m];
        p->mean = (float)fmin(fmax(mean, 0), 1);
        p->weight = (float)fmin(weight, weight_most);
    }
}

enum err hybrid_fit(const struct router *r, struct hybrid_prior *ret_priors)
{
    const struct router_config *c = &r->config;
    memset(ret_priors, 0, (size_t)r->arms_n * c->metrics_n * sizeof *ret_priors);
    struct fit t = {.r = r, .arms = mem_calloc(r->arms_n, sizeof *t.arms)};
    double *slopes = mem_alloc(r->d * sizeof *slopes);
    enum err e = t.arms && slopes ? describe(&t) : ERR_NOMEM;
    for (uint32_t m = 0; e == OK && m < c->metrics_n; m++) {
        if (c->metrics[m].group != METRIC_RATED || !(r->pooled->recent[m].n > 0))
            continue;
        pooled_slopes(r->pooled, c, m, slopes);
        observe(&t, m, slopes);
        fit_metric(&t, m, ret_priors);
    }
    mem_free(slopes);
    mem_free(t.arms);
    return e;
}

float hybrid_lightest(const struct router *r, const struct hybrid_prior *priors)
{
    float least = -1;
    for (uint32_t m = 0; m < r->config.metrics_n; m++)
        if (r->config.metrics[m].group == METRIC_RATED && r->pooled->recent[m].n > 0 &&
            (least < 0.0F || priors[m].weight < least))
            least = priors[m].weight;
    return least > 0.0F ? least : 0;
}
