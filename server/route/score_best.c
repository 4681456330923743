#include "server/route/score_frame.h"

#include <math.h>
#include <string.h>

/* Survivors whose matrices are read at once: more would be chosen by an older best. */
enum { GATHER = 16 };

/* scores[i].mean and .width of an arm that is not done are upper bounds, .deviation is its mean
 * without its charge. */
struct search {
    struct score_frame frame;
    struct score_pass pass;
    const struct eligible *arms;
    uint32_t n;
    bool fresh_apart;
    struct score *scores;
    uint64_t done[(MAX_ARMS + 63) / 64];
    uint32_t scored;
    float best, best_mean; /* Of arms that are done and not apart. */
};

static bool is_done(const struct search *s, uint32_t i)
{
    return s->done[i / 64] >> (i % 64) & 1;
}

static bool is_apart(const struct search *s, uint32_t i)
{
    return s->fresh_apart && s->arms[i].issued == 0;
}

static float total(const struct score *s)
{
    return s->mean + s->width;
}

/* Upper bounds of all; returns the arm that has the largest of those that count; n: none does. */
static uint32_t bound_all(struct search *s)
{
    struct score_block block;
    uint32_t first = s->n;
    double length = 0, cap[SCORE_BLOCK];
    for (uint32_t i = 0; i < s->pass.d; i++)
        length += (double)s->frame.x[i] * (double)s->frame.x[i];
    for (uint32_t at = 0; at < s->n; at += block.n) {
        const struct eligible *arms = s->arms + at;
        score_block_fill(&block, &s->pass, &s->frame, arms, s->n - at);
        for (uint32_t k = 0; k < block.n; k++)
            cap[k] = length * (double)block.view[k]->spread_cap[s->frame.u->group];
        score_finish(&s->frame, arms, block.n, block.mean, cap, s->scores + at);
        for (uint32_t k = 0; k < block.n; k++) {
            uint32_t i = at + k;
            s->scores[i].deviation = block.mean[k];
            if (!is_apart(s, i) &&
                (first == s->n || total(&s->scores[i]) > total(&s->scores[first])))
                first = i;
        }
    }
    return first;
}

static void score_these(struct search *s, const uint32_t *list, uint32_t n)
{
    const struct arm_view *view[GATHER] = {NULL};
    double spread[GATHER];
    for (uint32_t k = 0; k < n; k++)
        view[k] = s->frame.router->arms[s->arms[list[k]].index];
    score_pass_spread(&s->pass, view, n, s->frame.u->group, spread);
    for (uint32_t k = 0; k < n; k++) {
        uint32_t i = list[k];
        struct score *got = &s->scores[i];
        const double mean = got->deviation;
        score_finish(&s->frame, &s->arms[i], 1, &mean, &spread[k], got);
        s->done[i / 64] |= (uint64_t)1 << (i % 64);
        if (is_apart(s, i))
            continue;
        s->best = s->best > total(got) ? s->best : total(got);
        s->best_mean = s->best_mean > got->mean ? s->best_mean : got->mean;
    }
    s->scored += n;
}

static bool may_be_best(const struct search *s, uint32_t i)
{
    return is_apart(s, i) || !(total(&s->scores[i]) < s->best);
}

/* Only of an arm that is charged is the mean not known yet. */
static bool may_have_best_mean(const struct search *s, uint32_t i)
{
    return s->arms[i].charge > 0 && !(s->scores[i].mean < s->best_mean);
}

/* Scores the arms that may be what `may` says, as far as is known when their turn comes: bests only
 * grow. */
static void sweep(struct search *s, bool (*may)(const struct search *s, uint32_t i))
{
    uint32_t list[GATHER], n = 0;
    for (uint32_t i = 0; i < s->n; i++) {
        if (is_done(s, i) || !may(s, i))
            continue;
        list[n++] = i;
        if (n == GATHER) {
            score_these(s, list, n);
            n = 0;
        }
    }
    if (n > 0)
        score_these(s, list, n);
}

uint32_t score_best(const struct router_view *router, const struct utility *u, const float *x,
                    const struct eligible *arms, uint32_t n, double answer_share, bool fresh_apart,
                    struct score *ret_scores)
{
    struct score_square square;
    struct search s;
    s.arms = arms;
    s.n = n;
    s.fresh_apart = fresh_apart;
    s.scores = ret_scores;
    s.scored = 0;
    s.best = s.best_mean = -HUGE_VALF;
    memset(s.done, 0, sizeof s.done);
    score_frame_init(&s.frame, router, u, x, answer_share);
    score_pass_init(&s.pass, &x, 1, router->d, n, &square);
    uint32_t first = bound_all(&s);
    if (first < n)
        score_these(&s, &first, 1);
    sweep(&s, may_be_best);
    sweep(&s, may_have_best_mean);
    for (uint32_t i = 0; i < n; i++)
        if (!is_done(&s, i)) {
            ret_scores[i].width = 0;
            ret_scores[i].deviation = SCORE_LEFT_OUT;
        }
    return s.scored;
}
