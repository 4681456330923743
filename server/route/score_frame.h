/* score_frame.h - how the numbers of a pass over memory become a score. For the files that walk
 * over arms (score_arms.c, score_best.c, pacing.c); everybody else includes score.h.
 * Threads: pure. */
#pragma once

#include "server/route/score.h"
#include "server/route/score_pass.h"

/* What a prediction is worth where the arm itself has shown little: what all arms of a metric
 * share, read once.
 * Never observed and no prior declared: the router's mean, not optimism; only an arm that was never
 * rated at all keeps the optimism of its rated metrics. (Taken from the router's view: the arm's
 * own may be older.) Cost-like metrics are predicted from few outcomes with a weak ridge: far from
 * what the arm ever showed is an artefact. */
struct score_bounds {
    uint32_t m;
    bool rated, pooled, clipped;
    double mean_z; /* Of the router. */
};

static inline struct score_bounds score_bounds_of(const struct router_view *router, uint32_t m)
{
    const struct metric_def *def = &router->config->metrics[m];
    bool rated = def->group == METRIC_RATED;
    return (struct score_bounds){
        .m = m,
        .rated = rated,
        .pooled = router->pooled_n[m] > 0,
        .clipped = !rated && !def->logarithmic,
        .mean_z = router->pooled_mean_z[m],
    };
}

static inline double score_bounded(const struct score_bounds *b, const struct arm_view *arm,
                                   double z)
{
    bool seen = arm->seen_mask & 1U << b->m;
    if (!seen && b->pooled && (!b->rated || arm->folded[METRIC_RATED] > 0))
        return b->mean_z;
    if (!b->clipped || arm->n[b->m] == 0)
        return z;
    double low = VIEW_NEAR * arm->recent_z[b->m], high = VIEW_FAR * arm->recent_z[b->m];
    return z < low ? low : z > high ? high : z;
}

/* One context and what it is scored for. */
struct score_frame {
    const struct router_view *router;
    const struct utility *u;
    const float *x;
    double answer_share, unit; /* width = unit * deviation. */
    double prior_spread;       /* -1: not known yet; most requests need none. */
};

void score_frame_init(struct score_frame *f, const struct router_view *router,
                      const struct utility *u, const float *x, double answer_share);
/* Whether pulls in flight take optimism from the arm's mean; and how much (<= 0), share being
 * prior_share . x. Here, since each arm of each decision asks. */
static inline bool score_waits(const struct score_frame *f, const struct eligible *e)
{
    return e->pending > 0 && f->u->rated > 0;
}
static inline double score_silence(const struct score_frame *f, const struct eligible *e,
                                   float share)
{
    /* Pulls without an answer after which half of the remaining optimism is gone. */
    const double patience = 5;
    double waited = (double)e->pending * f->answer_share;
    double left = (double)share;
    left = left < 0 ? 0 : left > 1 ? 1 : left;
    return -f->u->fall * left * waited / (waited + patience);
}

static inline bool score_any_waits(const struct score_frame *f, const struct eligible *arms,
                                   uint32_t n)
{
    bool any = false;
    for (uint32_t i = 0; i < n && !any; i++)
        any = score_waits(f, &arms[i]);
    return any;
}

/* mean (n) grows by what metric m adds, predicted as z (n). */
void score_add_metric(const struct score_frame *f, const struct arm_view *const *view, uint32_t n,
                      uint32_t m, const float *z, double *mean);
/* The same by what pulls in flight take off; share (n): prior_share . x. */
void score_add_silence(const struct score_frame *f, const struct eligible *arms, uint32_t n,
                       const float *share, double *mean);
/* ret_scores (n): the scores of arms with these means, which lack the charge. Neither mean nor
 * width falls when a spread grows, so that an upper bound of x' P x gives one of both: every step
 * is monotone, and so is rounding. */
void score_finish(struct score_frame *f, const struct eligible *arms, uint32_t n,
                  const double *mean, const double *spread, struct score *ret_scores);
/* What scoring `next` begins with is on its way while something else is multiplied: views are
 * pieces of the heap, and each would be waited for. like: an arm of the same router, which are all
 * laid out alike; mask: the metrics that will be asked for. */
void score_fetch(const struct arm_view *like, uint16_t mask, const struct arm_view *next);

/* A block of arms on its way. */
struct score_block {
    const struct arm_view *view[SCORE_BLOCK];
    uint32_t n;
    double mean[SCORE_BLOCK]; /* (n): all but what is charged. */
};

/* The means of up to SCORE_BLOCK of the `left` arms. */
void score_block_fill(struct score_block *b, const struct score_pass *pass,
                      const struct score_frame *f, const struct eligible *arms, uint32_t left);
