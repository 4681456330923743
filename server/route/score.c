#include "server/route/score.h"

#include <math.h>
#include <string.h>

/* Pulls without an answer after which half of the remaining optimism is gone. */
static const double patience = 5;

/* sqrt(w' N w). Moments of metrics that come in different outcomes need not make a positive matrix;
 * then they are taken as uncorrelated: no noise at all would end exploration for good. */
static double residual_sigma(const struct utility *u, const struct router_view *router)
{
    uint32_t n = router->config->metrics_n;
    double variance = 0, alone = 0;
    for (uint32_t i = 0; i < n; i++) {
        alone += u->weight[i] * u->weight[i] * router->noise[i * n + i];
        for (uint32_t j = 0; j < n; j++)
            variance += u->weight[i] * u->weight[j] * router->noise[i * n + j];
    }
    return sqrt(variance > 0 ? variance : alone);
}

void utility_init(struct utility *u, const struct router_view *router, const double *overrides)
{
    const struct router_config *c = router->config;
    memset(u, 0, sizeof *u);
    for (uint32_t m = 0; m < c->metrics_n; m++) {
        double w = overrides ? overrides[m] : c->metrics[m].weight;
        if (!(w > 0))
            continue;
        u->mask = (uint16_t)(u->mask | 1u << m);
        u->weight[m] = c->metrics[m].lower_is_better ? -w : w;
        if (c->metrics[m].group == METRIC_RATED)
            u->rated += w;
    }
    u->group = u->rated > 0 ? METRIC_RATED : METRIC_SERVED;
    u->sigma = residual_sigma(u, router);
}

/* The context with its zeros left out: a one-hot block leaves most of x empty, and the quadratic
 * form costs the square of what is kept. */
struct sparse {
    uint32_t n;
    uint16_t at[MAX_D];
    float v[MAX_D];
};

static void sparse_fill(struct sparse *s, const float *x, uint32_t d)
{
    s->n = 0;
    for (uint32_t i = 0; i < d; i++) {
        if (x[i] == 0.0f)
            continue;
        s->at[s->n] = (uint16_t)i;
        s->v[s->n++] = x[i];
    }
}

/* x' P x; P packed lower triangle. */
static float quadratic(const float *P, const struct sparse *x)
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

static float dot(const float *v, const struct sparse *x)
{
    float s = 0;
    for (uint32_t a = 0; a < x->n; a++)
        s += v[x->at[a]] * x->v[a];
    return s;
}

/* What a prediction is worth where the arm itself has shown little.
 * Never observed and no prior declared: the router's mean, not optimism; only an arm that was never
 * rated at all keeps the optimism of its rated metrics. (Taken from the router's view: the arm's
 * own may be older.) Cost-like metrics are predicted from few outcomes with a weak ridge: far from
 * what the arm ever showed is an artefact. */
double score_bound(const struct router_view *router, const struct arm_view *arm, uint32_t m,
                   double z)
{
    const struct metric_def *def = &router->config->metrics[m];
    bool rated = def->group == METRIC_RATED;
    bool seen = arm->seen_mask >> m & 1;
    if (!seen && router->pooled_n[m] > 0 && (!rated || arm->folded[METRIC_RATED] > 0))
        return router->pooled_mean_z[m];
    if (rated || arm->n[m] == 0 || def->logarithmic)
        return z;
    double low = .2 * arm->recent_z[m], high = 5 * arm->recent_z[m];
    return z < low ? low : z > high ? high : z;
}

static double predict(const struct router_view *router, const struct arm_view *arm, uint32_t m,
                      const struct sparse *x)
{
    return score_bound(router, arm, m, (double)dot(arm->theta + (size_t)m * arm->d, x));
}

double score_predict(const struct router_view *router, const struct arm_view *arm, uint32_t m,
                     const float *x)
{
    struct sparse s;
    sparse_fill(&s, x, router->d);
    return predict(router, arm, m, &s);
}

/* Every number of x, zeros too: without indices eight at a time cost less than two in `dot`. */
static float dense_dot(const float *v, const float *x, uint32_t d)
{
    typedef float lanes __attribute__((vector_size(16)));
    lanes sum[2] = {{0}, {0}}, a, b;
    float rest = 0;
    uint32_t i = 0;
    for (; i + 8 <= d; i += 8)
        for (uint32_t k = 0; k < 2; k++) {
            memcpy(&a, v + i + 4 * (size_t)k, sizeof a);
            memcpy(&b, x + i + 4 * (size_t)k, sizeof b);
            sum[k] += a * b;
        }
    for (; i < d; i++)
        rest += v[i] * x[i];
    a = sum[0] + sum[1];
    return (a[0] + a[1]) + (a[2] + a[3]) + rest;
}

void score_predict_arms(const struct router_view *router, uint32_t m, const float *x,
                        const struct eligible *arms, uint32_t n, float *ret_z)
{
    for (uint32_t i = 0; i < n; i++) {
        const struct arm_view *arm = router->arms[arms[i].index];
        double z = (double)dense_dot(arm->theta + (size_t)m * arm->d, x, arm->d);
        ret_z[i] = (float)score_bound(router, arm, m, z);
    }
}

double score_prior_spread(const struct router_view *router, enum metric_group group, const float *x)
{
    const double *ridge = router->config->settings.ridge[group];
    double rest = 0;
    for (uint32_t i = 1; i < router->d; i++)
        rest += (double)x[i] * (double)x[i];
    return (double)x[0] * (double)x[0] / ridge[0] + rest / ridge[1];
}

/* x' P x of one group, faded; as in score_arms, without what is pending. */
static double spread_of(const struct router_view *router, uint32_t index, enum metric_group group,
                        const struct sparse *x, double prior)
{
    const struct arm_view *arm = router->arms[index];
    double spread = (double)quadratic(arm->P[group], x);
    double fade = router->fade ? (double)router->fade[index] : 1;
    if (!(spread > 0))
        return 0;
    return fade < 1 ? score_faded(spread, prior, fade, (double)arm->ridge[group]) : spread;
}

/* sigma_m of this arm. */
static double noise_of(const struct router_view *router, const struct arm_view *arm, uint32_t m)
{
    const struct metric_def *def = &router->config->metrics[m];
    double sigma = sqrt(router->noise[m * router->config->metrics_n + m]);
    bool own = def->group == METRIC_SERVED && !def->logarithmic && arm->n[m] > 0;
    return own && arm->recent_z[m] < sigma ? arm->recent_z[m] : sigma;
}

void score_guess(const struct router_view *router, uint16_t mask, const float *x,
                 const uint32_t *indices, uint32_t n, struct guess *ret_guesses)
{
    struct sparse s;
    sparse_fill(&s, x, router->d);
    double prior[METRIC_GROUPS] = {0};
    for (int k = 0; k < METRIC_GROUPS && router->fade; k++)
        prior[k] = score_prior_spread(router, (enum metric_group)k, x);
    for (uint32_t i = 0; i < n; i++) {
        const struct arm_view *arm = router->arms[indices[i]];
        double deviation[METRIC_GROUPS] = {-1, -1}; /* -1: no metric has asked yet. */
        for (uint16_t left = mask; left; left = (uint16_t)(left & (left - 1))) {
            uint32_t m = (uint32_t)__builtin_ctz(left);
            enum metric_group k = router->config->metrics[m].group;
            if (deviation[k] < 0)
                deviation[k] = sqrt(spread_of(router, indices[i], k, &s, prior[k]));
            ret_guesses[i].z[m] = predict(router, arm, m, &s);
            ret_guesses[i].deviation[m] = noise_of(router, arm, m) * deviation[k];
        }
    }
}

/* A ridge changed after the arm was made may put the spread above what it makes the prior's. */
double score_charge(double charge, double spread, double prior_spread, double known)
{
    double unknown = prior_spread > 0 ? spread / prior_spread * known : 0;
    return charge * (1 - (unknown < 1 ? unknown : 1));
}

double score_faded(double spread, double prior_spread, double fade, double ridge)
{
    if (!(spread > 0) || !(prior_spread > 0))
        return spread;
    return 1 / (fade / spread + (1 - fade * ridge) / prior_spread);
}

/* What one arm is scored from, gathered once. */
struct scoring {
    const struct router_view *router;
    const struct utility *u;
    const float *x;
    struct sparse s;
    double answer_share;
    double prior_spread; /* -1: not known yet; most requests need none. */
};

static void scoring_init(struct scoring *g, const struct router_view *router,
                         const struct utility *u, const float *x, double answer_share)
{
    g->router = router;
    g->u = u;
    g->x = x;
    g->answer_share = answer_share;
    g->prior_spread = -1;
    sparse_fill(&g->s, x, router->d);
}

static double silence_of(const struct scoring *g, const struct eligible *e)
{
    if (!e->pending || !(g->u->rated > 0))
        return 0;
    double waited = (double)e->pending * g->answer_share;
    double left = (double)dot(g->router->arms[e->index]->prior_share, &g->s);
    left = left < 0 ? 0 : left > 1 ? 1 : left;
    return -g->u->rated * left * waited / (waited + patience);
}

/* deviation^2 of the arm's width, and what it is charged. */
static double variance_of(struct scoring *g, const struct eligible *e, double *ret_charge)
{
    const struct arm_view *arm = g->router->arms[e->index];
    double waited = (double)e->pending * g->answer_share;
    double fade = g->router->fade ? (double)g->router->fade[e->index] : 1;
    double folded = arm->evidence[g->u->group] * fade + 1;
    double known = folded / (folded + waited);
    double spread = (double)quadratic(arm->P[g->u->group], &g->s);
    if (!(spread > 0))
        spread = 0;
    if (g->prior_spread < 0 && (e->charge > 0 || fade < 1))
        g->prior_spread = score_prior_spread(g->router, g->u->group, g->x);
    if (fade < 1)
        spread = score_faded(spread, g->prior_spread, fade, (double)arm->ridge[g->u->group]);
    *ret_charge =
        e->charge > 0 ? -score_charge((double)e->charge, spread, g->prior_spread, known) : 0;
    return spread * known;
}

void score_arms(const struct router_view *router, const struct utility *u, const float *x,
                const struct eligible *arms, uint32_t n, double answer_share,
                struct score *ret_scores)
{
    struct scoring g;
    scoring_init(&g, router, u, x, answer_share);
    double alpha = router->config->settings.alpha * u->sigma;
    for (uint32_t i = 0; i < n; i++) {
        const struct arm_view *arm = router->arms[arms[i].index];
        double mean = 0, charge;
        for (uint16_t left = u->mask; left; left = (uint16_t)(left & (left - 1))) {
            uint32_t m = (uint32_t)__builtin_ctz(left);
            mean += u->weight[m] * predict(router, arm, m, &g.s);
        }
        double variance = variance_of(&g, &arms[i], &charge);
        ret_scores[i].mean = (float)(mean + silence_of(&g, &arms[i]) + charge);
        ret_scores[i].deviation = sqrt(variance);
        ret_scores[i].width = (float)(alpha * ret_scores[i].deviation);
    }
}

void score_widen(struct score *scores, uint32_t n, const struct utility *u, double alpha)
{
    double unit = alpha * u->sigma;
    for (uint32_t i = 0; i < n; i++)
        scores[i].width = (float)(unit * scores[i].deviation);
}

static void fill_terms(struct scoring *g, const struct eligible *e, struct score_terms *t)
{
    const struct arm_view *arm = g->router->arms[e->index];
    memset(t, 0, sizeof *t);
    for (uint16_t left = g->u->mask; left; left = (uint16_t)(left & (left - 1))) {
        uint32_t m = (uint32_t)__builtin_ctz(left);
        t->predicted[m] = predict(g->router, arm, m, &g->s);
        t->contribution[m] = g->u->weight[m] * t->predicted[m];
    }
    t->silence = silence_of(g, e);
    if (e->charge > 0)
        (void)variance_of(g, e, &t->charge);
}

void score_terms(const struct router_view *router, const struct utility *u, const float *x,
                 const struct eligible *arms, uint32_t n, double answer_share,
                 struct score_terms *ret_terms)
{
    struct scoring g;
    scoring_init(&g, router, u, x, answer_share);
    for (uint32_t i = 0; i < n; i++)
        fill_terms(&g, &arms[i], &ret_terms[i]);
}
