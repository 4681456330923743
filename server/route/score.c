#include "server/route/score_frame.h"

#include <math.h>
#include <string.h>

/* sqrt(w' N w). Moments of metrics that come in different outcomes need not make a positive matrix;
 * then they are taken as uncorrelated: no noise at all would end exploration for good. */
static double residual_sigma(const struct utility *u, const struct router_view *router)
{
    uint32_t n = router->config->metrics_n;
    double variance = 0, alone = 0;
    for (uint16_t a = u->mask; a; a = (uint16_t)(a & (a - 1))) {
        uint32_t i = (uint32_t)__builtin_ctz(a);
        alone += u->weight[i] * u->weight[i] * router->noise[i * n + i];
        for (uint16_t b = u->mask; b; b = (uint16_t)(b & (b - 1))) {
            uint32_t j = (uint32_t)__builtin_ctz(b);
            variance += u->weight[i] * u->weight[j] * router->noise[i * n + j];
        }
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
        if (c->metrics[m].group != METRIC_RATED)
            continue;
        u->rated += w;
        u->fall += w * (1 - fabs(router->level[m]));
    }
    u->group = u->rated > 0 ? METRIC_RATED : METRIC_SERVED;
    u->sigma = residual_sigma(u, router);
}

double score_bound(const struct router_view *router, const struct arm_view *arm, uint32_t m,
                   double z)
{
    const struct score_bounds b = score_bounds_of(router, m);
    return score_bounded(&b, arm, z);
}

double score_predict(const struct router_view *router, const struct arm_view *arm, uint32_t m,
                     const float *x)
{
    struct score_square square;
    struct score_pass pass;
    float z;
    score_pass_init(&pass, &x, 1, router->d, 1, &square);
    score_pass_predict(&pass, &arm, 1, m, &z);
    return score_bound(router, arm, m, (double)z);
}

static uint32_t block_of(uint32_t left)
{
    return left < SCORE_BLOCK ? left : SCORE_BLOCK;
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
static double faded(const struct router_view *router, uint32_t index, enum metric_group group,
                    double spread, double prior)
{
    double fade = router->fade ? (double)router->fade[index] : 1;
    if (!(spread > 0))
        return 0;
    return fade < 1 ? score_faded(spread, prior, fade, (double)router->arms[index]->ridge[group])
                    : spread;
}

/* sigma_m of this arm. */
static double noise_of(const struct router_view *router, const struct arm_view *arm, uint32_t m)
{
    const struct metric_def *def = &router->config->metrics[m];
    double sigma = sqrt(router->noise[m * router->config->metrics_n + m]);
    bool own = def->group == METRIC_SERVED && !def->logarithmic && arm->n[m] > 0;
    return own && arm->recent_z[m] < sigma ? arm->recent_z[m] : sigma;
}

/* The guesses of a block of arms. prior (METRIC_GROUPS). */
static void guess_block(const struct router_view *router, uint16_t mask, struct score_pass *pass,
                        const uint32_t *indices, uint32_t n, const double *prior,
                        struct guess *ret_guesses)
{
    const struct arm_view *view[SCORE_BLOCK];
    double spread[SCORE_BLOCK];
    float z[SCORE_BLOCK];
    for (uint32_t i = 0; i < n; i++)
        view[i] = router->arms[indices[i]];
    for (int g = 0; g < METRIC_GROUPS; g++) {
        enum metric_group k = (enum metric_group)g;
        uint16_t left = mask & stats_group_mask(router->config, k);
        if (!left)
            continue;
        score_pass_spread(pass, view, n, k, spread);
        for (uint32_t i = 0; i < n; i++)
            spread[i] = sqrt(faded(router, indices[i], k, spread[i], prior[k]));
        for (; left; left = (uint16_t)(left & (left - 1))) {
            uint32_t m = (uint32_t)__builtin_ctz(left);
            score_pass_predict(pass, view, n, m, z);
            for (uint32_t i = 0; i < n; i++) {
                ret_guesses[i].z[m] = score_bound(router, view[i], m, (double)z[i]);
                ret_guesses[i].deviation[m] = noise_of(router, view[i], m) * spread[i];
            }
        }
    }
}

void score_guess(const struct router_view *router, uint16_t mask, const float *x,
                 const uint32_t *indices, uint32_t n, struct guess *ret_guesses)
{
    struct score_square square;
    struct score_pass pass;
    double prior[METRIC_GROUPS] = {0};
    score_pass_init(&pass, &x, 1, router->d, n, &square);
    for (int k = 0; k < METRIC_GROUPS && router->fade; k++)
        prior[k] = score_prior_spread(router, (enum metric_group)k, x);
    for (uint32_t at = 0, k; at < n; at += k) {
        k = block_of(n - at);
        guess_block(router, mask, &pass, indices + at, k, prior, ret_guesses + at);
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

void score_frame_init(struct score_frame *f, const struct router_view *router,
                      const struct utility *u, const float *x, double answer_share)
{
    f->router = router;
    f->u = u;
    f->x = x;
    f->answer_share = answer_share;
    f->unit = router->config->settings.alpha * u->sigma;
    f->prior_spread = -1;
}

void score_add_metric(const struct score_frame *f, const struct arm_view *const *view, uint32_t n,
                      uint32_t m, const float *z, double *mean)
{
    const struct score_bounds b = score_bounds_of(f->router, m);
    double weight = f->u->weight[m];
    for (uint32_t i = 0; i < n; i++)
        mean[i] += weight * score_bounded(&b, view[i], (double)z[i]);
}

void score_add_silence(const struct score_frame *f, const struct eligible *arms, uint32_t n,
                       const float *share, double *mean)
{
    for (uint32_t i = 0; i < n; i++)
        if (score_waits(f, &arms[i]))
            mean[i] += score_silence(f, &arms[i], share[i]);
}

/* What variance_of makes of an arm that has not faded and is not charged. */
static inline double known_spread(const struct score_frame *f, const struct eligible *e,
                                  double spread)
{
    double waited = (double)e->pending * f->answer_share;
    double folded = f->router->arms[e->index]->evidence[f->u->group] + 1;
    double known = waited > 0 ? folded / (folded + waited) : 1;
    return (spread > 0 ? spread : 0) * known;
}

/* deviation^2 of the arm's width, and what it is charged. */
static inline double variance_of(struct score_frame *f, const struct eligible *e, double spread,
                                 double *ret_charge)
{
    const struct arm_view *arm = f->router->arms[e->index];
    double waited = (double)e->pending * f->answer_share;
    double fade = f->router->fade ? (double)f->router->fade[e->index] : 1;
    double folded = arm->evidence[f->u->group] * fade + 1;
    double known = waited > 0 ? folded / (folded + waited) : 1;
    if (!(spread > 0))
        spread = 0;
    if (f->prior_spread < 0 && (e->charge > 0 || fade < 1))
        f->prior_spread = score_prior_spread(f->router, f->u->group, f->x);
    if (fade < 1)
        spread = score_faded(spread, f->prior_spread, fade, (double)arm->ridge[f->u->group]);
    *ret_charge =
        e->charge > 0 ? -score_charge((double)e->charge, spread, f->prior_spread, known) : 0;
    return spread * known;
}

void score_finish(struct score_frame *f, const struct eligible *arms, uint32_t n,
                  const double *mean, const double *spread, struct score *ret_scores)
{
    bool ordinary = !f->router->fade; /* Nothing but pulls in flight narrows a width. */
    for (uint32_t i = 0; i < n; i++) {
        double charge = 0, variance;
        if (ordinary && !(arms[i].charge > 0))
            variance = known_spread(f, &arms[i], spread[i]);
        else
            variance = variance_of(f, &arms[i], spread[i], &charge);
        double deviation = sqrt(variance);
        ret_scores[i] = (struct score){
            .mean = (float)(mean[i] + charge),
            .width = f->unit > 0 ? (float)(f->unit * deviation) : 0,
            .deviation = deviation,
        };
    }
}

void score_widen(struct score *scores, uint32_t n, const struct utility *u, double alpha)
{
    double unit = alpha * u->sigma;
    for (uint32_t i = 0; i < n; i++)
        scores[i].width = (float)(unit * scores[i].deviation);
}

/* x' P x is read anew, only for arms that are charged. */
static void fill_charge(struct score_frame *f, struct score_pass *pass, const struct eligible *e,
                        struct score_terms *t)
{
    const struct arm_view *arm = f->router->arms[e->index];
    double spread;
    score_pass_spread(pass, &arm, 1, f->u->group, &spread);
    (void)variance_of(f, e, spread, &t->charge);
}

/* n <= SCORE_BLOCK. */
static void fill_terms(struct score_frame *f, struct score_pass *pass, const struct eligible *arms,
                       uint32_t n, struct score_terms *t)
{
    const struct arm_view *view[SCORE_BLOCK];
    float z[SCORE_BLOCK];
    bool waits = false;
    size_t metrics = f->router->config->metrics_n * sizeof t->predicted[0];
    for (uint32_t i = 0; i < n; i++) {
        memset(t[i].predicted, 0, metrics);
        memset(t[i].contribution, 0, metrics);
        t[i].silence = t[i].charge = 0;
        view[i] = f->router->arms[arms[i].index];
        waits = waits || score_waits(f, &arms[i]);
    }
    for (uint16_t left = f->u->mask; left; left = (uint16_t)(left & (left - 1))) {
        uint32_t m = (uint32_t)__builtin_ctz(left);
        score_pass_predict(pass, view, n, m, z);
        for (uint32_t i = 0; i < n; i++) {
            t[i].predicted[m] = score_bound(f->router, view[i], m, (double)z[i]);
            t[i].contribution[m] = f->u->weight[m] * t[i].predicted[m];
        }
    }
    if (waits) {
        score_pass_share(pass, view, n, z);
        for (uint32_t i = 0; i < n; i++)
            if (score_waits(f, &arms[i]))
                t[i].silence = score_silence(f, &arms[i], z[i]);
    }
    for (uint32_t i = 0; i < n; i++)
        if (arms[i].charge > 0)
            fill_charge(f, pass, &arms[i], &t[i]);
}

void score_terms(const struct router_view *router, const struct utility *u, const float *x,
                 const struct eligible *arms, uint32_t n, double answer_share,
                 struct score_terms *ret_terms)
{
    struct score_square square;
    struct score_frame frame;
    struct score_pass pass;
    score_frame_init(&frame, router, u, x, answer_share);
    score_pass_init(&pass, &x, 1, router->d, n, &square);
    for (uint32_t at = 0, k; at < n; at += k) {
        k = block_of(n - at);
        fill_terms(&frame, &pass, arms + at, k, ret_terms + at);
    }
}
