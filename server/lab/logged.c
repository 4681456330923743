#include "server/lab/logged.h"

#include <math.h>

enum err lab_watch_row(const struct lab_watch *watch, uint64_t done, uint64_t total)
{
    if (!watch->go_on || done % LAB_POLL_ROWS || watch->go_on(watch->self, done, total))
        return OK;
    return ERR_CANCELLED;
}

static enum err check_numbers(const struct logged_row *row, uint32_t d, struct err_detail *detail)
{
    for (uint32_t i = 0; i < d; i++)
        if (!isfinite(row->x[i]))
            return err_say(detail, ERR_NOT_FINITE, "number %u of a row's context is not finite", i);
    for (uint32_t m = 0; m < MAX_METRICS; m++)
        if (row->has_mask >> m & 1 && !(isfinite(row->raw[m]) && row->z[m] >= 0 && row->z[m] <= 1))
            return err_say(detail, ERR_OUT_OF_RANGE,
                           "metric %u of a row is not finite, or is not normalised to [0, 1]", m);
    return OK;
}

enum err logged_check(const struct logged_row *row, uint32_t arms_n, uint32_t d, uint32_t metrics_n,
                      struct err_detail *detail)
{
    if (row->arms_n == 0 || row->arms_n > arms_n || row->chosen >= row->arms_n)
        return err_say(detail, ERR_OUT_OF_RANGE,
                       "a row has %u eligible arms, of which number %u was chosen, in a log of %u "
                       "arms",
                       row->arms_n, row->chosen, arms_n);
    for (uint32_t i = 0; i < row->arms_n; i++)
        if (row->arms[i] >= arms_n)
            return err_say(detail, ERR_OUT_OF_RANGE, "a row has arm %u in a log of %u arms",
                           row->arms[i], arms_n);
    if (!(row->propensity > 0 && row->propensity <= 1))
        return err_say(detail, ERR_OUT_OF_RANGE,
                       "a row's propensity is %g: log the probability with which its arm was "
                       "chosen, in (0, 1]",
                       row->propensity);
    if (row->price.paced && !(row->price.metric < metrics_n && row->price.per_request > 0 &&
                              isfinite(row->price.per_request) && row->price.lambda >= 0 &&
                              isfinite(row->price.lambda)))
        return err_say(
            detail, ERR_OUT_OF_RANGE,
            "a row's price is of metric %u at %g a request and %g of utility a unit: the "
            "metric must be one of the router's %u, the amounts finite and >= 0",
            row->price.metric, row->price.per_request, row->price.lambda, metrics_n);
    if (row->has_mask >> metrics_n)
        return err_say(detail, ERR_METRIC_NOT_FOUND,
                       "a row holds a metric beyond the %u that the router has", metrics_n);
    return check_numbers(row, d, detail);
}
