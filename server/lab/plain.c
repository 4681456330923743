#include "server/lab/plain.h"

#include "state/base/mem.h"

#include <math.h>
#include <stddef.h>

struct plain {
    uint32_t n, d;
    double alpha;
    double *inverse, *b, *theta, *work; /* (n, d, d), (n, d), (n, d), (d) */
};

enum err plain_new(uint32_t n, uint32_t d, double alpha, struct plain **ret_plain)
{
    struct plain *p = mem_calloc(1, sizeof *p);
    if (!p)
        return ERR_NOMEM;
    *p = (struct plain){.n = n, .d = d, .alpha = alpha};
    p->inverse = mem_calloc((size_t)n * d * d, sizeof *p->inverse);
    p->b = mem_calloc((size_t)n * d, sizeof *p->b);
    p->theta = mem_calloc((size_t)n * d, sizeof *p->theta);
    p->work = mem_calloc(d, sizeof *p->work);
    if (!p->inverse || !p->b || !p->theta || !p->work) {
        plain_free(p);
        return ERR_NOMEM;
    }
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = 0; k < d; k++)
            p->inverse[((size_t)i * d + k) * d + k] = 1;
    *ret_plain = p;
    return OK;
}

void plain_free(struct plain *p)
{
    if (!p)
        return;
    mem_free(p->inverse);
    mem_free(p->b);
    mem_free(p->theta);
    mem_free(p->work);
    mem_free(p);
}

/* p->work = A^-1 x of the arm; returns x' A^-1 x. */
static double spread(const struct plain *p, uint32_t arm, const float *x)
{
    const double *P = p->inverse + (size_t)arm * p->d * p->d;
    double sum = 0;
    for (uint32_t i = 0; i < p->d; i++) {
        p->work[i] = 0;
        for (uint32_t k = 0; k < p->d; k++)
            p->work[i] += P[(size_t)i * p->d + k] * (double)x[k];
        sum += p->work[i] * (double)x[i];
    }
    return sum;
}

uint32_t plain_choose(const struct plain *p, const float *x)
{
    uint32_t best = 0;
    double most = -(double)INFINITY;
    for (uint32_t i = 0; i < p->n; i++) {
        double score = p->alpha * sqrt(spread(p, i, x));
        for (uint32_t k = 0; k < p->d; k++)
            score += p->theta[(size_t)i * p->d + k] * (double)x[k];
        if (score > most) {
            most = score;
            best = i;
        }
    }
    return best;
}

/* Sherman-Morrison: a few ten thousand updates of a small matrix, far from where it drifts. */
void plain_learn(struct plain *p, uint32_t arm, const float *x, double reward)
{
    double *P = p->inverse + (size_t)arm * p->d * p->d;
    double *b = p->b + (size_t)arm * p->d, *theta = p->theta + (size_t)arm * p->d;
    double scale = 1 / (1 + spread(p, arm, x));
    for (uint32_t i = 0; i < p->d; i++) {
        b[i] += reward * (double)x[i];
        for (uint32_t k = 0; k < p->d; k++)
            P[(size_t)i * p->d + k] -= scale * p->work[i] * p->work[k];
    }
    for (uint32_t i = 0; i < p->d; i++) {
        theta[i] = 0;
        for (uint32_t k = 0; k < p->d; k++)
            theta[i] += P[(size_t)i * p->d + k] * b[k];
    }
}
