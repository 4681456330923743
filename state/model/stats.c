#include "state/model/stats.h"

#include "state/base/mem.h"
#include "state/math/packed.h"
#include "state/math/power.h"
#include "state/model/drift.h"

#include <math.h>
#include <string.h>

static const double noise_start = 0.05 * 0.05;
static const double winsor = 3;
static const double ridge_least = .9; /* Below it the faded ridge is put back. */
enum { NOISE_WINDOW = 500, INVERT_EVERY = 4096 };

static size_t group_doubles(uint32_t d)
{
    return 2 * packed_n(d);
}

/* A = L and P = L^-1, in the group_doubles(d) doubles at `at`. */
static void matrix_init(struct matrix_stats *g, double *at, const double *ridge, uint32_t d)
{
    g->A = at;
    g->P = at + packed_n(d);
    g->ridge = 1;
    packed_set_ridge(g->A, d, ridge[0], ridge[1]);
    packed_set_ridge(g->P, d, 1 / ridge[0], 1 / ridge[1]);
}

struct arm *arm_new(const struct router_config *router, const struct arm_config *config)
{
    uint32_t d = spec_d(&router->spec);
    struct arm *a = mem_calloc(1, sizeof *a);
    if (!a)
        return NULL;
    a->block_n = METRIC_GROUPS * group_doubles(d) + (size_t)router->metrics_n * d;
    a->block = mem_calloc(a->block_n, sizeof *a->block);
    a->drift = drift_new();
    if (!a->block || !a->drift) {
        arm_free(a);
        return NULL;
    }
    double *at = a->block;
    for (int g = 0; g < METRIC_GROUPS; g++) {
        matrix_init(&a->groups[g], at, router->settings.ridge[g], d);
        at += group_doubles(d);
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
    drift_free(a->drift);
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
    matrix_init(&p->matrix, p->block, router->settings.ridge[METRIC_RATED], d);
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
        const struct matrix_stats *g = &a->groups[router->metrics[m].group];
        /* A matrix that has data in it, its own or inherited, holds sums around the old prior: too
         * late to move it. */
        if (s->n > 0 || g->n > 0 || g->evidence > 0)
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
    if (p->recent[metric].n > 0)
        return p->recent[metric].sum_z / p->recent[metric].n;
    return router->metrics[metric].lower_is_better ? 0 : 1;
}

double stats_level(const struct arm *a, const struct pooled *p, const struct router_config *router,
                   uint32_t metric)
{
    bool own = router->metrics[metric].group != METRIC_RATED || a->metrics[metric].has_prior;
    return own ? 0 : p->level[metric];
}

static double level_of(uint32_t metric, const struct router_config *router, struct arm *const *arms,
                       uint32_t n)
{
    double ridge = router->settings.ridge[METRIC_RATED][0];
    double best = router->metrics[metric].lower_is_better ? 0 : 1;
    double weights = 1 / (1 + ridge), sum = 0; /* Of y - r_m. */
    for (uint32_t i = 0; i < n; i++) {
        const struct recent *y = &arms[i]->metrics[metric].recent;
        if (!(y->n > 0))
            continue;
        double w = y->n / (y->n + ridge);
        weights += w;
        sum += w * (y->sum_z / y->n - best);
    }
    return sum / weights;
}

void pooled_level(struct pooled *p, const struct router_config *router, struct arm *const *arms,
                  uint32_t n)
{
    for (uint32_t m = 0; m < router->metrics_n; m++)
        if (router->metrics[m].group == METRIC_RATED)
            p->level[m] = router->settings.pooled_level ? level_of(m, router, arms, n) : 0;
}

/* P = A^-1 from scratch. If A ever fails to factor the P at hand stays: it is at least symmetric
 * and was right a step ago. scratch: two packed matrices. */
static void invert(struct matrix_stats *g, uint32_t d, double *scratch)
{
    if (packed_invert(g->A, d, scratch, scratch + packed_n(d)) == OK)
        memcpy(g->P, scratch, packed_n(d) * sizeof *g->P);
    g->since = 0; /* Also after a failure: else every outcome from here on would pay for another. */
}

/* S + rho L becomes S + L. */
static void refill_ridge(struct matrix_stats *g, const double *ridge, uint32_t d, double *scratch)
{
    for (uint32_t i = 0; i < d; i++)
        g->A[packed_n(i) + i] += (1 - g->ridge) * ridge[i > 0];
    g->ridge = 1;
    invert(g, d, scratch);
}

/* S + rho L becomes f S + f rho L, whose inverse is P / f; or f S + L, when too little of the ridge
 * would be left. */
void stats_fade_matrix(struct matrix_stats *g, const double *ridge, double f, uint32_t d,
                       double *scratch)
{
    size_t n = packed_n(d);
    g->evidence *= f;
    g->ridge *= f;
    for (size_t i = 0; i < n; i++)
        g->A[i] *= f;
    if (g->ridge >= ridge_least) {
        for (size_t i = 0; i < n; i++)
            g->P[i] /= f;
        return;
    }
    refill_ridge(g, ridge, d, scratch);
}

static void fade_vector(double *b, double f, uint32_t d)
{
    for (uint32_t i = 0; i < d; i++)
        b[i] *= f;
}

/* Weights that have all but underflowed are nothing: their quotients would be noise. */
static void fade_recent(struct recent *r, double f)
{
    if (r->n * f < 1e-200) {
        *r = (struct recent){0};
        return;
    }
    r->n *= f;
    r->sum_raw *= f;
    r->sum_z *= f;
}

void stats_settle(struct arm *a, const struct router_config *router, uint64_t clock,
                  double *scratch)
{
    uint32_t d = spec_d(&router->spec);
    double gamma = router->settings.gamma;
    uint64_t ticks = clock - a->clock;
    a->clock = clock;
    if (ticks == 0 || gamma == 1)
        return;
    double f = power_of(gamma, ticks);
    for (int g = 0; g < METRIC_GROUPS; g++)
        stats_fade_matrix(&a->groups[g], router->settings.ridge[g], f, d, scratch);
    drift_fade(a, router, f, scratch);
    for (uint32_t m = 0; m < router->metrics_n; m++) {
        fade_vector(a->metrics[m].b, f, d);
        fade_recent(&a->metrics[m].recent, f);
    }
    a->touched = true;
}

void pooled_settle(struct pooled *p, const struct router_config *router, uint64_t clock,
                   double *scratch)
{
    uint32_t d = spec_d(&router->spec);
    double gamma = router->settings.gamma;
    uint64_t ticks = clock - p->clock;
    p->clock = clock;
    if (ticks == 0 || gamma == 1)
        return;
    double f = power_of(gamma, ticks);
    stats_fade_matrix(&p->matrix, router->settings.ridge[METRIC_RATED], f, d, scratch);
    for (uint32_t m = 0; m < router->metrics_n; m++) {
        if (p->b[m])
            fade_vector(p->b[m], f, d);
        fade_recent(&p->recent[m], f);
    }
}

void stats_scale(struct arm *a, const struct router_config *router, enum metric_group group,
                 double f, double *scratch)
{
    uint32_t d = spec_d(&router->spec);
    struct matrix_stats *g = &a->groups[group];
    g->evidence *= f;
    g->ridge *= f;
    for (size_t i = 0; i < packed_n(d); i++)
        g->A[i] *= f;
    refill_ridge(g, router->settings.ridge[group], d, scratch);
    for (uint32_t m = 0; m < router->metrics_n; m++) {
        if (router->metrics[m].group != group)
            continue;
        fade_vector(a->metrics[m].b, f, d);
        fade_recent(&a->metrics[m].recent, f);
    }
    a->touched = true;
}

void stats_reprice(struct arm *a, const struct router_config *router, uint32_t metric,
                   const struct stats_price *price)
{
    struct metric_stats *s = &a->metrics[metric];
    struct arm_config *c = &a->config;
    fade_vector(s->b, price->scale, spec_d(&router->spec));
    if (s->has_prior)
        s->prior_z = price->scale * s->prior_z + price->shift;
    s->sum_z = price->scale * s->sum_z + price->shift * (double)s->n;
    s->sum_raw *= price->factor;
    s->recent.sum_z = price->scale * s->recent.sum_z + price->shift * s->recent.n;
    s->recent.sum_raw *= price->factor;
    if (c->prior_mask >> metric & 1) {
        c->prior_raw[metric] *= price->factor;
        c->prior_z[metric] = price->scale * c->prior_z[metric] + price->shift;
    }
    drift_reprice(a, router, metric, price);
    a->touched = true;
}

void stats_inherit(struct arm *a, const struct arm *like, const struct router_config *router,
                   double strength, double *scratch)
{
    memcpy(a->block, like->block, a->block_n * sizeof *a->block);
    for (uint32_t m = 0; m < router->metrics_n; m++) {
        a->metrics[m].recent = like->metrics[m].recent;
        a->metrics[m].prior_z = like->metrics[m].prior_z;
        a->metrics[m].has_prior = like->metrics[m].has_prior;
    }
    for (int g = 0; g < METRIC_GROUPS; g++) {
        const struct matrix_stats *from = &like->groups[g];
        a->groups[g].evidence = from->evidence;
        a->groups[g].ridge = from->ridge;
        double f = from->evidence > strength ? strength / from->evidence : 1;
        stats_scale(a, router, (enum metric_group)g, f, scratch);
    }
    a->clock = like->clock;
}

/* scratch: three packed matrices. False: the sum does not factor, and nothing was changed. */
static bool pool_matrix(struct matrix_stats *p, const struct matrix_stats *g, const double *ridge,
                        uint32_t d, double *scratch)
{
    size_t n = packed_n(d);
    double *sum = scratch, *inverse = sum + n;
    for (size_t i = 0; i < n; i++)
        sum[i] = p->A[i] + g->A[i];
    for (uint32_t i = 0; i < d; i++)
        sum[packed_n(i) + i] -= g->ridge * ridge[i > 0];
    if (packed_invert(sum, d, inverse, inverse + n) != OK)
        return false;
    memcpy(p->A, sum, n * sizeof *sum);
    memcpy(p->P, inverse, n * sizeof *inverse);
    p->evidence += g->evidence;
    p->since = 0;
    return true;
}

void stats_pool(struct pooled *p, const struct arm *a, const struct router_config *router,
                double *scratch)
{
    uint32_t d = spec_d(&router->spec);
    const double *ridge = router->settings.ridge[METRIC_RATED];
    const struct matrix_stats *g = &a->groups[METRIC_RATED];
    bool factors = pool_matrix(&p->matrix, g, ridge, d, scratch);
    for (uint32_t m = 0; m < router->metrics_n; m++) {
        const struct metric_stats *s = &a->metrics[m];
        if (!(s->recent.n > 0))
            continue;
        p->recent[m].n += s->recent.n;
        p->recent[m].sum_raw += s->recent.sum_raw;
        p->recent[m].sum_z += s->recent.sum_z;
        if (!factors || !p->b[m])
            continue;
        double above = s->recent.sum_z / s->recent.n - stats_prior(a, p, router, m);
        for (uint32_t i = 0; i < d; i++) {
            double sum_x = g->A[packed_n(i)] - (i == 0 ? g->ridge * ridge[0] : 0);
            p->b[m][i] += s->b[i] - above * sum_x;
        }
    }
}

/* Sherman-Morrison: (A + x x')^-1 = P - (Px)(Px)'/(1 + x'Px). Then, on schedule or when P has
 * drifted from A^-1 along x, the inverse is formed again from A. */
static void learn_matrix(struct matrix_stats *g, const double *x, const double *px, double q,
                         uint32_t d, double *scratch)
{
    packed_rank1(g->A, d, 1, x);
    packed_rank1(g->P, d, -1 / (1 + q), px);
    g->n++;
    g->since++;
    g->evidence++;
    bool due = g->since >= INVERT_EVERY && g->since >= 8ULL * d;
    if (!due && g->since % 256 == 0) {
        packed_multiply(g->P, d, x, scratch);
        due = !(packed_residual(g->A, scratch, x, d, scratch + d) < 1e-8);
    }
    if (due)
        invert(g, d, scratch + 2 * (size_t)d);
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

static void count_recent(struct recent *r, double weight, double z, double raw)
{
    r->n += weight;
    r->sum_z += weight * z;
    r->sum_raw += weight * raw;
}

static void count_metric(struct metric_stats *s, struct pooled *p, uint32_t m, double weight,
                         double z, double raw)
{
    count_recent(&s->recent, weight, z, raw);
    count_recent(&p->recent[m], weight, z, raw);
    s->n++;
    s->sum_z += z;
    s->sum_raw += raw;
    p->metric_n[m]++;
    p->metric_sum_z[m] += z;
}

size_t stats_scratch_n(uint32_t d)
{
    return 6 * (size_t)d + 3 * packed_n(d);
}

/* What stats_learn hands to the metrics of the group, each in turn. */
struct learning {
    struct arm *a;
    struct pooled *p;
    const struct router_config *router;
    const struct stats_input *in;
    const struct stats_memory *memory;
    const double *px, *w; /* P x; P_0 L P x, or NULL when slopes are not pooled. */
    double lift;          /* rho L_0 (P x)_0: what of the level is in a prediction. */
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
    prediction += l->lift * stats_level(l->a, l->p, l->router, m);
    l->memory->fills[m] = (float)(seen ? in->z[m] : prediction);
    /* What is remembered is a float; what enters must be the same number. */
    double value = (double)l->memory->fills[m];
    vec_add_scaled(s->b, value - prior, in->x, l->d);
    if (l->rated && (seen || s->n > 0)) {
        vec_add_scaled(l->p->b[m], value - s->recent.sum_z / (s->recent.n + 1), in->x, l->d);
        *l->memory->pooled_mask = (uint16_t)(*l->memory->pooled_mask | 1u << m);
    }
    if (seen)
        count_metric(s, l->p, m, 1, in->z[m], in->raw[m]);
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
    struct learning l = {a, p, router, in, ret_memory, px, NULL, 0, d, rated};

    packed_multiply(g->P, d, in->x, px);
    l.lift = g->ridge * router->settings.ridge[group][0] * px[0];
    if (rated)
        packed_multiply(p->matrix.P, d, in->x, p0x);
    if (rated && router->settings.pooled_slopes) {
        /* x'P rho L m = (P_0 rho L P x)'b_0 with the bias left out: one product serves every
         * metric. */
        u[0] = 0;
        for (uint32_t i = 1; i < d; i++)
            u[i] = g->ridge * router->settings.ridge[METRIC_RATED][1] * px[i];
        packed_multiply(p->matrix.P, d, u, w);
        l.w = w;
    }
    for (uint32_t m = 0; m < router->metrics_n; m++)
        if (router->metrics[m].group == group)
            e[m] = learn_metric(&l, m);
    memcpy(ret_memory->residuals, e, sizeof e);
    learn_noise(p, router->metrics_n, in->has_mask, e);
    learn_matrix(g, in->x, px, vec_dot(in->x, px, d), d, rest);
    if (rated)
        learn_matrix(&p->matrix, in->x, p0x, vec_dot(in->x, p0x, d), d, rest);
    a->touched = true;
}

static void amend_pooled(struct arm *a, struct pooled *p, uint32_t m, double delta,
                         const struct stats_input *in, uint32_t d,
                         const struct stats_memory *memory)
{
    const struct metric_stats *s = &a->metrics[m];
    if (!(*memory->pooled_mask >> m & 1)) {
        delta = in->z[m] - s->recent.sum_z / (s->recent.n + 1);
        *memory->pooled_mask = (uint16_t)(*memory->pooled_mask | 1u << m);
    }
    vec_add_scaled(p->b[m], memory->weight * delta, in->x, d);
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
        memory->residuals[m] = delta;
        vec_add_scaled(s->b, memory->weight * delta, in->x, d);
        if (p->b[m])
            amend_pooled(a, p, m, delta, in, d, memory);
        count_metric(s, p, m, memory->weight, in->z[m], in->raw[m]);
    }
    a->touched = true;
}

static void restate_recent(struct recent *r, double z, double raw)
{
    r->sum_z += z;
    r->sum_raw += raw;
}

void stats_restate(struct arm *a, struct pooled *p, const struct router_config *router,
                   const struct stats_input *in, const struct stats_was *was,
                   const struct stats_memory *memory)
{
    uint32_t d = spec_d(&router->spec);
    for (uint32_t m = 0; m < router->metrics_n; m++) {
        if (!(in->has_mask >> m & 1))
            continue;
        struct metric_stats *s = &a->metrics[m];
        double z = in->z[m] - was->z[m], raw = in->raw[m] - was->raw[m];
        vec_add_scaled(s->b, memory->weight * z, in->x, d);
        if (p->b[m] && *memory->pooled_mask >> m & 1)
            vec_add_scaled(p->b[m], memory->weight * z, in->x, d);
        restate_recent(&s->recent, memory->weight * z, memory->weight * raw);
        restate_recent(&p->recent[m], memory->weight * z, memory->weight * raw);
        s->sum_z += z;
        s->sum_raw += raw;
        p->metric_sum_z[m] += z;
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
    packed_multiply(p->matrix.P, d, p->b[metric], ret_m);
    ret_m[0] = 0;
}

void stats_theta(const struct arm *a, const struct pooled *p, const struct router_config *router,
                 uint32_t metric, const double *slopes, double *target, double *ret_theta)
{
    uint32_t d = spec_d(&router->spec);
    const struct matrix_stats *g = &a->groups[router->metrics[metric].group];
    for (uint32_t i = 0; i < d; i++)
        target[i] = a->metrics[metric].b[i] + (i ? g->ridge * slopes[i] : 0);
    target[0] +=
        g->ridge * router->settings.ridge[METRIC_RATED][0] * stats_level(a, p, router, metric);
    packed_multiply(g->P, d, target, ret_theta);
    ret_theta[0] += stats_prior(a, p, router, metric);
}
