#include "state/model/stats.h"

#include "state/base/mem.h"
#include "state/math/packed.h"

#include <math.h>
#include <string.h>

static const double noise_start = 0.05 * 0.05;
static const double winsor = 3;
enum { NOISE_WINDOW = 500, INVERT_EVERY = 4096 };

static size_t group_doubles(uint32_t d)
{
    return 2 * packed_n(d);
}

struct arm *arm_new(const struct router_config *router, const struct arm_config *config)
{
    uint32_t d = spec_d(&router->spec);
    struct arm *a = mem_calloc(1, sizeof *a);
    if (!a)
        return NULL;
    a->block_n = METRIC_GROUPS * group_doubles(d) + (size_t)router->metrics_n * d;
    a->block = mem_calloc(a->block_n, sizeof *a->block);
    if (!a->block) {
        mem_free(a);
        return NULL;
    }
    double *at = a->block;
    for (int g = 0; g < METRIC_GROUPS; g++) {
        a->groups[g].A = at;
        a->groups[g].P = at + packed_n(d);
        at += group_doubles(d);
        const double *ridge = router->settings.ridge[g];
        packed_set_ridge(a->groups[g].A, d, ridge[0], ridge[1]);
        packed_set_ridge(a->groups[g].P, d, 1 / ridge[0], 1 / ridge[1]);
    }
    for (uint32_t m = 0; m < router->metrics_n; m++) {
        a->metrics[m].b = at;
        at += d;
    }
    arm_set_config(a, router, config);
    return a;
}

void arm_free(struct arm *a)
{
    if (!a)
        return;
    mem_free(a->block);
    mem_free(a);
}

struct pooled *pooled_new(const struct router_config *router)
{
    uint32_t d = spec_d(&router->spec);
    struct pooled *p = mem_calloc(1, sizeof *p);
    if (!p)
        return NULL;
    uint32_t rated = (uint32_t)__builtin_popcount(stats_group_mask(router, METRIC_RATED));
    p->block_n = group_doubles(d) + (size_t)rated * d;
    p->block = mem_calloc(p->block_n, sizeof *p->block);
    if (!p->block) {
        mem_free(p);
        return NULL;
    }
    p->A = p->block;
    p->P = p->block + packed_n(d);
    const double *ridge = router->settings.ridge[METRIC_RATED];
    packed_set_ridge(p->A, d, ridge[0], ridge[1]);
    packed_set_ridge(p->P, d, 1 / ridge[0], 1 / ridge[1]);
    double *at = p->block + group_doubles(d);
    for (uint32_t m = 0; m < router->metrics_n; m++) {
        if (router->metrics[m].group != METRIC_RATED)
            continue;
        p->b[m] = at;
        at += d;
    }
    for (uint32_t m = 0; m < router->metrics_n; m++) {
        p->noise[m * router->metrics_n + m] = noise_start;
        for (uint32_t k = 0; k < router->metrics_n; k++)
            p->noise_n[m * router->metrics_n + k] = 1;
    }
    return p;
}

void pooled_free(struct pooled *p)
{
    if (!p)
        return;
    mem_free(p->block);
    mem_free(p);
}

void arm_set_config(struct arm *a, const struct router_config *router,
                    const struct arm_config *config)
{
    a->config = *config;
    a->touched = true;
    for (uint32_t m = 0; m < router->metrics_n; m++) {
        struct metric_stats *s = &a->metrics[m];
        /* A matrix that has data in it holds sums around the old prior: too late to move it. */
        if (s->n > 0 || a->groups[router->metrics[m].group].n > 0)
            continue;
        s->has_prior = (config->prior_mask >> m) & 1;
        s->prior_z = s->has_prior ? config->prior_z[m] : 0;
    }
}

uint16_t stats_group_mask(const struct router_config *router, enum metric_group group)
{
    uint16_t mask = 0;
    for (uint32_t m = 0; m < router->metrics_n; m++)
        if (router->metrics[m].group == group)
            mask = (uint16_t)(mask | 1u << m);
    return mask;
}

double stats_prior(const struct arm *a, const struct pooled *p, const struct router_config *router,
                   uint32_t metric)
{
    const struct metric_stats *s = &a->metrics[metric];
    if (s->has_prior)
        return s->prior_z;
    if (router->metrics[metric].group == METRIC_RATED)
        return router->metrics[metric].lower_is_better ? 0 : 1;
    /* Served and never seen here: what the router's arms show on average. */
    if (p->metric_n[metric] > 0)
        return p->metric_sum_z[metric] / (double)p->metric_n[metric];
    return router->metrics[metric].lower_is_better ? 0 : 1;
}

/* Sherman-Morrison: (A + x x')^-1 = P - (Px)(Px)'/(1 + x'Px). Then, on schedule or when P has
 * drifted from A^-1 along x, the inverse is formed again from A. If A ever fails to factor the
 * updated P stays: it is at least symmetric and was right a step ago. */
static void learn_matrix(double *A, double *P, uint64_t *n, uint64_t *since, const double *x,
                         const double *px, double q, uint32_t d, double *scratch)
{
    packed_rank1(A, d, 1, x);
    packed_rank1(P, d, -1 / (1 + q), px);
    (*n)++;
    (*since)++;
    bool due = *since >= INVERT_EVERY && *since >= 8ULL * d;
    if (!due && *since % 256 == 0) {
        packed_multiply(P, d, x, scratch);
        due = !(packed_residual(A, scratch, x, d, scratch + d) < 1e-8);
    }
    if (!due)
        return;
    double *inverse = scratch + 2 * (size_t)d;
    if (packed_invert(A, d, inverse, inverse + packed_n(d)) == OK)
        memcpy(P, inverse, packed_n(d) * sizeof *P);
    *since = 0; /* Also after a failure: else every outcome from here on would pay for another. */
}

/* Running second moments of the residuals e (of the metrics in mask). */
static void learn_noise(struct pooled *p, uint32_t metrics_n, uint16_t mask, const double *e)
{
    double bounded[MAX_METRICS] = {0};
    for (uint32_t m = 0; m < metrics_n; m++) {
        if (!(mask >> m & 1))
            continue;
        double limit = winsor * sqrt(p->noise[m * metrics_n + m]);
        bounded[m] = e[m] > limit ? limit : e[m] < -limit ? -limit : e[m];
    }
    for (uint32_t i = 0; i < metrics_n; i++) {
        for (uint32_t j = 0; j < metrics_n; j++) {
            if (!(mask >> i & 1) || !(mask >> j & 1))
                continue;
            uint64_t *n = &p->noise_n[i * metrics_n + j];
            *n += *n < NOISE_WINDOW;
            double *v = &p->noise[i * metrics_n + j];
            *v += (bounded[i] * bounded[j] - *v) / (double)*n;
        }
    }
}

static void count_metric(struct metric_stats *s, struct pooled *p, uint32_t m, double z, double raw)
{
    s->n++;
    s->sum_z += z;
    s->sum_raw += raw;
    p->metric_n[m]++;
    p->metric_sum_z[m] += z;
}

size_t stats_scratch_n(uint32_t d)
{
    return 6 * (size_t)d + 2 * packed_n(d);
}

/* What stats_learn hands to the metrics of the group, each in turn. */
struct learning {
    struct arm *a;
    struct pooled *p;
    const struct router_config *router;
    const struct stats_input *in;
    const struct stats_memory *memory;
    const double *px, *w; /* P x; P_0 L P x, or NULL when slopes are not pooled. */
    uint32_t d;
    bool rated;
};

/* One metric of the group: b and the pooled b move. Returns the one-step residual. */
static double learn_metric(const struct learning *l, uint32_t m)
{
    const struct stats_input *in = l->in;
    struct metric_stats *s = &l->a->metrics[m];
    bool seen = in->has_mask >> m & 1;
    if (!l->rated && !s->has_prior) {
        if (!seen) {
            l->memory->fills[m] = NAN;
            return 0;
        }
        s->prior_z = in->z[m]; /* The first observed cost is the prior. */
        s->has_prior = true;
    }
    double prior = stats_prior(l->a, l->p, l->router, m);
    double prediction = prior + vec_dot(l->px, s->b, l->d);
    if (l->w)
        prediction += vec_dot(l->w, l->p->b[m], l->d);
    l->memory->fills[m] = (float)(seen ? in->z[m] : prediction);
    /* What is remembered is a float; what enters must be the same number. */
    double value = (double)l->memory->fills[m];
    vec_add_scaled(s->b, value - prior, in->x, l->d);
    if (l->rated && (seen || s->n > 0)) {
        vec_add_scaled(l->p->b[m], value - s->sum_z / (double)(s->n + 1), in->x, l->d);
        *l->memory->pooled_mask = (uint16_t)(*l->memory->pooled_mask | 1u << m);
    }
    if (seen)
        count_metric(s, l->p, m, in->z[m], in->raw[m]);
    return value - prediction;
}

/* scratch: px | p0x | u | w | what learn_matrix needs (two vectors, two matrices). */
void stats_learn(struct arm *a, struct pooled *p, const struct router_config *router,
                 enum metric_group group, const struct stats_input *in, double *scratch,
                 const struct stats_memory *ret_memory)
{
    uint32_t d = spec_d(&router->spec);
    struct matrix_stats *g = &a->groups[group];
    double *px = scratch, *p0x = px + d, *u = p0x + d, *w = u + d, *rest = w + d;
    bool rated = group == METRIC_RATED;
    double e[MAX_METRICS] = {0};
    struct learning l = {a, p, router, in, ret_memory, px, NULL, d, rated};

    packed_multiply(g->P, d, in->x, px);
    if (rated)
        packed_multiply(p->P, d, in->x, p0x);
    if (rated && router->settings.pooled_slopes) {
        /* x'P L m = (P_0 L P x)'b_0 with the bias left out: one product serves every metric. */
        u[0] = 0;
        for (uint32_t i = 1; i < d; i++)
            u[i] = router->settings.ridge[METRIC_RATED][1] * px[i];
        packed_multiply(p->P, d, u, w);
        l.w = w;
    }
    for (uint32_t m = 0; m < router->metrics_n; m++)
        if (router->metrics[m].group == group)
            e[m] = learn_metric(&l, m);
    learn_noise(p, router->metrics_n, in->has_mask, e);
    learn_matrix(g->A, g->P, &g->n, &g->since, in->x, px, vec_dot(in->x, px, d), d, rest);
    if (rated)
        learn_matrix(p->A, p->P, &p->n, &p->since, in->x, p0x, vec_dot(in->x, p0x, d), d, rest);
    a->touched = true;
}

static void amend_pooled(struct arm *a, struct pooled *p, uint32_t m, double delta,
                         const struct stats_input *in, uint32_t d,
                         const struct stats_memory *memory)
{
    const struct metric_stats *s = &a->metrics[m];
    if (!(*memory->pooled_mask >> m & 1)) {
        delta = in->z[m] - s->sum_z / (double)(s->n + 1);
        *memory->pooled_mask = (uint16_t)(*memory->pooled_mask | 1u << m);
    }
    vec_add_scaled(p->b[m], delta, in->x, d);
}

void stats_amend(struct arm *a, struct pooled *p, const struct router_config *router,
                 const struct stats_input *in, const struct stats_memory *memory)
{
    uint32_t d = spec_d(&router->spec);
    for (uint32_t m = 0; m < router->metrics_n; m++) {
        if (!(in->has_mask >> m & 1))
            continue;
        struct metric_stats *s = &a->metrics[m];
        if (!p->b[m] && !s->has_prior) {
            s->prior_z = in->z[m];
            s->has_prior = true;
        }
        double filled = isnan(memory->fills[m]) ? s->prior_z : (double)memory->fills[m];
        double delta = in->z[m] - filled;
        vec_add_scaled(s->b, delta, in->x, d);
        if (p->b[m])
            amend_pooled(a, p, m, delta, in, d, memory);
        count_metric(s, p, m, in->z[m], in->raw[m]);
    }
    a->touched = true;
}

void pooled_slopes(const struct pooled *p, const struct router_config *router, uint32_t metric,
                   double *ret_m)
{
    uint32_t d = spec_d(&router->spec);
    if (!p->b[metric] || !router->settings.pooled_slopes) {
        memset(ret_m, 0, d * sizeof *ret_m);
        return;
    }
    packed_multiply(p->P, d, p->b[metric], ret_m);
    ret_m[0] = 0;
}
