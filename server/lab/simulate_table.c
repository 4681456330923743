/* Many runs, one table: means over paired seeds, and what is printed of them. */
#include "server/adapters/cache_policy.h"
#include "server/lab/simulate.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { SLOPE_FROM = SIMULATE_POINTS - 5 }; /* T / 16. */

const char *simulate_policy(uint32_t index)
{
    const struct cache_policy_ops *ops = cache_policy_at(index);
    if (ops)
        return ops == &cache_oblivious ? SIMULATE_SAME_LEARNER : ops->name;
    if (index > 0 && cache_policy_at(index - 1))
        return SIMULATE_OBLIVIOUS;
    return index > 1 && cache_policy_at(index - 2) ? "oracle" : NULL;
}

/* Least squares of log regret on log T over the last points; NaN where a regret is not positive. */
static double slope_of(const double *curve)
{
    double sx = 0, sy = 0, sxx = 0, sxy = 0, n = 0;
    for (uint32_t k = SLOPE_FROM; k < SIMULATE_POINTS; k++) {
        if (!(curve[k] > 1e-3)) /* The oracle's is rounding. */
            return (double)NAN;
        double x = (double)k * log(2), y = log(curve[k]);
        sx += x;
        sy += y;
        sxx += x * x;
        sxy += x * y;
        n++;
    }
    return (n * sxy - sx * sy) / (n * sxx - sx * sx);
}

/* Running mean and sum of squares [Welford62], "Note on a method for calculating corrected sums".
 */
static void stat_add(struct simulate_stat *s, double v, uint32_t n)
{
    double d = v - s->mean;
    s->mean += d / n;
    s->sd += d * (v - s->mean);
}

static void stat_close(struct simulate_stat *s, uint32_t n)
{
    s->sd = n > 1 ? sqrt(s->sd / (n - 1)) : 0;
}

static void add_run(struct simulate_row *row, const struct simulate_run *r, uint32_t n)
{
    stat_add(&row->regret, r->regret, n);
    stat_add(&row->utility, r->utility, n);
    stat_add(&row->blind, r->blind, n);
    row->miss_rate += (r->miss_rate - row->miss_rate) / n;
    row->planned_loads += ((double)r->planned_loads - row->planned_loads) / n;
    row->forced += ((double)r->forced - row->forced) / n;
    row->epochs += ((double)r->epochs - row->epochs) / n;
    for (uint32_t k = 0; k < SIMULATE_POINTS; k++)
        row->curve[k] += (r->curve[k] - row->curve[k]) / n;
}

static enum err play_seed(const struct simulate_job *job, uint64_t seed, struct simulate_table *t)
{
    struct workload made;
    const struct workload *w = job->trace;
    struct workload again;
    if (w) {
        again = *w; /* The rows stay the trace's. */
        again.seed = seed;
        w = &again;
    } else {
        TRY(workload_make(&job->spec, seed, &made));
        w = &made;
    }
    enum err e = OK;
    for (uint32_t k = 0; e == OK && k < t->rows_n; k++) {
        struct simulate_run run;
        e = simulate_run(w, &job->settings, t->rows[k].policy, &run);
        if (e == OK)
            add_run(&t->rows[k], &run, t->seeds + 1);
    }
    t->horizon = w->horizon;
    if (!job->trace)
        workload_done(&made);
    return e;
}

enum err simulate_table(const struct simulate_job *job, struct simulate_table *ret_table)
{
    struct simulate_table t = {0};
    for (uint32_t k = 0; k < SIMULATE_POLICIES_MAX; k++) {
        const char *name =
            job->policies ? (k < job->policies_n ? job->policies[k] : NULL) : simulate_policy(k);
        if (!name)
            break;
        t.rows[t.rows_n++].policy = name;
    }
    for (uint32_t seed = 0; seed < job->seeds; seed++) {
        TRY(play_seed(job, seed + 1, &t));
        t.seeds++;
    }
    for (uint32_t k = 0; k < t.rows_n; k++) {
        stat_close(&t.rows[k].regret, t.seeds);
        stat_close(&t.rows[k].utility, t.seeds);
        stat_close(&t.rows[k].blind, t.seeds);
        t.rows[k].slope = slope_of(t.rows[k].curve);
    }
    *ret_table = t;
    return OK;
}

__attribute__((format(printf, 2, 3))) static void say(struct buf *out, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (n > 0)
        buf_put(out, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

void simulate_csv(const struct simulate_table *t, struct buf *out)
{
    say(out, "policy,seeds,t,regret_mean,regret_sd,utility_mean,utility_sd,miss_rate\n");
    for (uint32_t k = 0; k < t->rows_n; k++) {
        const struct simulate_row *r = &t->rows[k];
        say(out, "%s,%u,%u,%.6g,%.6g,%.6g,%.6g,%.6g\n", r->policy, t->seeds, t->horizon,
            r->regret.mean, r->regret.sd, r->utility.mean, r->utility.sd, r->miss_rate);
    }
}

void simulate_curves_csv(const struct simulate_table *t, struct buf *out)
{
    say(out, "policy,t,regret\n");
    for (uint32_t k = 0; k < t->rows_n; k++)
        for (uint32_t p = 0; p < SIMULATE_POINTS; p++)
            say(out, "%s,%u,%.6g\n", t->rows[k].policy, t->horizon >> (SIMULATE_POINTS - 1 - p),
                t->rows[k].curve[p]);
}

void simulate_json(const struct simulate_table *t, struct buf *out)
{
    say(out, "{\"seeds\":%u,\"horizon\":%u,\"policies\":{", t->seeds, t->horizon);
    for (uint32_t k = 0; k < t->rows_n; k++) {
        const struct simulate_row *r = &t->rows[k];
        say(out,
            "%s\"%s\":{\"regret\":{\"mean\":%.6g,\"sd\":%.6g},"
            "\"utility\":{\"mean\":%.6g,\"sd\":%.6g},\"miss_rate\":%.6g,\"planned_loads\":%.6g",
            k ? "," : "", r->policy, r->regret.mean, r->regret.sd, r->utility.mean, r->utility.sd,
            r->miss_rate, r->planned_loads);
        if (isfinite(r->slope))
            say(out, ",\"slope\":%.4g", r->slope);
        say(out, "}");
    }
    say(out, "}}\n");
}
