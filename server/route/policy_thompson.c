/* Thompson sampling without a sample. [Agrawal & Goyal 2013] draw theta from the posterior and take
 * the best arm of it; the mass of an arm is the probability that its draw is the largest:
 *   y_i ~ N(mean_i, s_i^2), independent;   p_i = P(y_i = max_j y_j)
 * We integrate instead of drawing, so that the propensity is known and the same statistics give the
 * same mass. s_i = width_i / 1.5: a width is alpha sigma_u sqrt(x' P x), so at the default alpha
 * (1.5) s_i is the posterior's own standard deviation, and alpha still says how much is explored.
 *
 * The line from lo to hi is cut into cells. Within one, d(prod_j F_j) is shared out by the product
 * rule, each F_j at its mean over the cell: exact for two arms, second order in the cell otherwise;
 * what is over or under by it is scaled away at the end.
 *
 * Cost: CELLS values of erfc for each arm that may be best, 3 to 5 us an arm: a router of thousands
 * of arms pays milliseconds, and linucb does not. */
#include "server/route/policy.h"

#include <math.h>

enum { CELLS = 96 };
static const double alpha_of_posterior = 1.5;
/* Standard deviations beyond which a tail is left out: 3e-7 of the mass. */
static const double reach = 5;
/* F from which an arm is left out of a cell: it cannot be the largest there, and hinders nobody. */
static const double whole = 1 - 3e-7;
static const double sqrt_half = 0.70710678118654752;

/* An arm that is certain is a step; a step this steep is one for every other arm. */
static double spread_of(const struct score *s, double least)
{
    double spread = (double)s->width / alpha_of_posterior;
    return spread > least ? spread : least;
}

static double least_spread(const struct policy_input *in)
{
    double largest = 0;
    for (uint32_t i = 0; i < in->n; i++)
        largest = fmax(largest, fabs((double)in->scores[i].mean));
    return 1e-6 * largest + 1e-30;
}

/* P(y_i <= v) */
static double below(const struct policy_input *in, uint32_t i, double least, double v)
{
    double s = spread_of(&in->scores[i], least);
    return .5 * erfc(((double)in->scores[i].mean - v) / s * sqrt_half);
}

/* Adds one cell, up to v: total[i] += dF_i prod_{j != i} mean F_j. before[i] = F_i at its lower
 * end, and then at its upper one. */
static void add_cell(const struct policy_input *in, double least, double v, double *before,
                     double *total, double *middle)
{
    double product = 1;
    for (uint32_t i = 0; i < in->n; i++) {
        if (before[i] >= whole)
            continue;
        double now = below(in, i, least, v);
        middle[i] = .5 * (before[i] + now);
        product *= middle[i];
    }
    for (uint32_t i = 0; i < in->n; i++) {
        if (before[i] >= whole)
            continue;
        double now = 2 * middle[i] - before[i];
        if (middle[i] > 0)
            total[i] += (now - before[i]) * product / middle[i];
        before[i] = now;
    }
}

static void pmf(const struct policy_input *in, double *work, float *ret_pmf)
{
    double *before = work, *total = work + in->n, *middle = work + 2 * (size_t)in->n;
    double least = least_spread(in), lo = -HUGE_VAL, hi = -HUGE_VAL, sum = 0;
    for (uint32_t i = 0; i < in->n; i++) {
        double mean = (double)in->scores[i].mean, s = spread_of(&in->scores[i], least);
        lo = fmax(lo, mean - reach * s);
        hi = fmax(hi, mean + reach * s);
    }
    for (uint32_t i = 0; i < in->n; i++) {
        before[i] = below(in, i, least, lo);
        total[i] = 0;
    }
    for (uint32_t c = 1; c <= CELLS; c++)
        add_cell(in, least, lo + (hi - lo) * c / CELLS, before, total, middle);
    for (uint32_t i = 0; i < in->n; i++)
        sum += total[i];
    for (uint32_t i = 0; i < in->n; i++)
        ret_pmf[i] = (float)(total[i] / sum);
}

const struct policy_ops policy_thompson = {.name = "thompson", .weighs_all = true, .pmf = pmf};
