/* score_window.h - what every arm would be worth for every context of a window: one DGEMM for the
 * means of all of them, one for their widths.
 * Why: the slow loop asks which adapters should be resident, and that is a question about many
 * requests at once; the answer must rest on the same statistics and the same formula as routing.
 * What differs from score_arms: nothing is pending and nothing is charged, and the score is handed
 * out in two parts, because planning believes only a share of the optimism:
 *   neutral  the mean, with what is left of a rated prior (h of score.h) taken from the best end of
 *            the range to what the router's arms show on average;
 *   bonus    the rest: that optimism, and the width. neutral + bonus = mean + width of score_arms.
 * Threads: the slow loop's; blas_init first. Allocates work space; at most 8 MiB beside the results
 * and 8 bytes an arm, metric and context. */
#pragma once

#include "server/route/score.h"
#include "state/base/err.h"

struct score_window {
    const float *rows; /* (n, stride): a context x (d), then weights (weights_n). */
    uint32_t n;
    size_t stride;
    uint32_t weights_n; /* The router's metrics_n; or 0: the router's weights serve all. */
};

/* ret_neutral, ret_bonus: (router->arms_n, w->n). ret_bonus NULL: no width is computed. low, high:
 * (w->n) the ends of each context's utility. ERR_NOMEM. */
MUST_USE enum err score_window(const struct router_view *router, const struct score_window *w,
                               float *ret_neutral, float *ret_bonus, float *ret_low,
                               float *ret_high);
