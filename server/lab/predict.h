/* predict.h - a model's prediction of a metric, for estimates and reports.
 * Owns: nothing. Pure. */
#pragma once

#include "server/route/score.h"

/* Predicted z of metric m for the arm, on [0,1]. */
double predict_z(const struct router_view *router, const struct arm_view *arm, uint32_t m,
                 const float *x);
/* z in the metric's own unit. A logarithmic metric is scaled so that the arm's mean z becomes its
 * mean raw value: the mean of exponentials is not the exponential of the mean. */
double predict_raw(const struct router_view *router, const struct arm_view *arm, uint32_t m,
                   double z);
