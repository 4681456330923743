#include "server/lab/interval.h"

#include <math.h>

static const double chi_square = 3.85;

void moments_add(struct moments *m, double w, double y)
{
    m->n++;
    m->w += w;
    m->ww += w * w;
    m->y += y;
    m->yw += y * w;
    m->yy += y * y;
}

double moments_mean(const struct moments *m)
{
    return m->n ? m->y / (double)m->n : 0;
}

double interval_end(const struct moments *m, double fake_w, double fake_y, int sign)
{
    struct moments f = *m;
    moments_add(&f, fake_w, fake_y);
    double n = (double)f.n, w = f.w / n, y = f.y / n;
    double var_w = fmax(0, f.ww / n - w * w), var_y = fmax(0, f.yy / n - y * y);
    double cov = f.yw / n - w * y;
    /* Weights that are all alike (a log's own mean) say nothing: no correction. */
    double slope = var_w > 1e-12 * (w * w + 1) ? cov / var_w : 0;
    double left = fmax(0, var_y - slope * cov);
    return y + (1 - w) * slope + sign * sqrt(chi_square * left / n);
}
