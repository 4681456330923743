#include "server/lab/predict.h"

#include <math.h>

double predict_z(const struct router_view *router, const struct arm_view *arm, uint32_t m,
                 const float *x)
{
    return fmin(1, fmax(0, score_predict(router, arm, m, x)));
}

/* The inverse of metric_normalise. */
static double unit_of(const struct metric_def *def, double z)
{
    if (def->logarithmic)
        return def->norm_low * pow(def->norm_high / def->norm_low, z);
    return def->norm_low + z * (def->norm_high - def->norm_low);
}

double predict_raw(const struct router_view *router, const struct arm_view *arm, uint32_t m,
                   double z)
{
    const struct metric_def *def = &router->config->metrics[m];
    double raw = unit_of(def, z);
    if (def->logarithmic && arm->n[m] > 0)
        raw *= arm->mean_raw[m] / unit_of(def, arm->mean_z[m]);
    return raw;
}
