#include "client/ctl/replay_maths.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sum {
    double sum;
    uint64_t n;
};

uint64_t maths_mix(uint64_t seed, uint64_t counter)
{
    uint64_t z = seed + (counter + 1) * 0x9E3779B97F4A7C15ULL;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
}

uint64_t maths_seed(uint64_t seed, uint64_t order, enum maths_stream stream)
{
    return maths_mix(maths_mix(seed, order), (uint64_t)stream);
}

/* floor(x n / 2^64): uniform but for a bias below n / 2^64. */
static size_t below(uint64_t x, size_t n)
{
    __extension__ typedef unsigned __int128 wide;
    return (size_t)(((wide)x * n) >> 64);
}

void maths_shuffle(uint64_t start, uint32_t first, uint32_t *items, size_t n)
{
    for (size_t i = 0; i < n; i++)
        items[i] = first + (uint32_t)i;
    for (size_t i = n; i-- > 1;) {
        size_t j = below(maths_mix(start, i), i + 1);
        uint32_t kept = items[i];
        items[i] = items[j];
        items[j] = kept;
    }
}

double maths_unit(const struct maths_metric *metric, double value)
{
    double z;
    if (metric->log)
        z = value <= metric->low
                ? 0
                : (log(value) - log(metric->low)) / (log(metric->high) - log(metric->low));
    else
        z = (value - metric->low) / (metric->high - metric->low);
    return z < 0 ? 0 : z > 1 ? 1 : z;
}

double maths_utility(const struct maths_metric *metrics, const double *value)
{
    double sum = 0;
    for (int m = 0; m < REPLAY_METRIC_N; m++) {
        if (!metrics[m].there || metrics[m].weight <= 0)
            continue;
        double z = maths_unit(&metrics[m], value[m]);
        sum += metrics[m].weight * (metrics[m].lower ? 1 - z : z);
    }
    return sum;
}

static bool item_check(const struct replay_data *data, const struct replay_item *item, int metric,
                       struct replay_error *error)
{
    for (uint32_t c = 0; c < item->cells_n; c++) {
        const struct replay_cell *cell = &data->cells[item->first + c];
        if (!isnan(cell->value[metric]))
            continue;
        snprintf(error->text, sizeof error->text,
                 "%.200s:%u: outcomes.%.100s.%s is missing, and %s has weight",
                 data->files[item->file], item->line, data->arms.names[cell->arm],
                 replay_metric_name((enum replay_metric)metric),
                 replay_metric_name((enum replay_metric)metric));
        return false;
    }
    return true;
}

bool maths_check(const struct replay_data *data, const struct maths_metric *metrics,
                 struct replay_error *error)
{
    bool any = false;
    for (int m = 0; m < REPLAY_METRIC_N; m++) {
        if (!metrics[m].there || metrics[m].weight <= 0)
            continue;
        any = true;
        for (size_t i = data->warm_n; i < data->items_n; i++)
            if (!item_check(data, &data->items[i], m, error))
                return false;
    }
    if (!any)
        snprintf(error->text, sizeof error->text,
                 "no metric of the data has weight; give --weights, such as quality=1");
    return any;
}

static void sums_of_metric(const struct replay_data *data, enum replay_metric metric,
                           struct sum *sums)
{
    for (size_t i = data->warm_n; i < data->items_n; i++) {
        const struct replay_item *item = &data->items[i];
        for (uint32_t c = 0; c < item->cells_n; c++) {
            const struct replay_cell *cell = &data->cells[item->first + c];
            if (isnan(cell->value[metric]))
                continue;
            sums[cell->arm].sum += cell->value[metric];
            sums[cell->arm].n++;
        }
    }
}

bool maths_largest_means(const struct replay_data *data, double *ret)
{
    struct sum *sums = malloc(data->arms.n * sizeof *sums);
    if (!sums)
        return false;
    for (int m = 0; m < REPLAY_METRIC_N; m++) {
        memset(sums, 0, data->arms.n * sizeof *sums);
        sums_of_metric(data, (enum replay_metric)m, sums);
        ret[m] = 0;
        for (size_t arm = 0; arm < data->arms.n; arm++)
            if (sums[arm].n && sums[arm].sum / (double)sums[arm].n > ret[m])
                ret[m] = sums[arm].sum / (double)sums[arm].n;
    }
    free(sums);
    return true;
}

double maths_item_oracle(const struct replay_data *data, const struct maths_metric *metrics,
                         const struct replay_item *item)
{
    double best = -HUGE_VAL;
    for (uint32_t c = 0; c < item->cells_n; c++) {
        double u = maths_utility(metrics, data->cells[item->first + c].value);
        best = u > best ? u : best;
    }
    return best;
}

/* sums (tasks.n + 1, arms.n): utility per label and arm; the last row is "no label". */
static void sums_fill(const struct replay_data *data, const struct maths_metric *metrics,
                      struct sum *sums, uint64_t *task_rows, struct maths_baselines *ret)
{
    for (size_t i = data->warm_n; i < data->items_n; i++) {
        const struct replay_item *item = &data->items[i];
        size_t task = item->task == REPLAY_NO_TASK ? data->tasks.n : item->task;
        double all = 0;
        for (uint32_t c = 0; c < item->cells_n; c++) {
            const struct replay_cell *cell = &data->cells[item->first + c];
            double u = maths_utility(metrics, cell->value);
            struct sum *s = &sums[task * data->arms.n + cell->arm];
            s->sum += u;
            s->n++;
            all += u;
        }
        ret->random += all / item->cells_n;
        ret->oracle += maths_item_oracle(data, metrics, item);
        task_rows[task]++;
    }
    ret->rows = data->items_n - data->warm_n;
    ret->random /= (double)ret->rows;
    ret->oracle /= (double)ret->rows;
}

static void arms_fill(const struct replay_data *data, const struct sum *sums,
                      struct maths_baselines *ret)
{
    ret->best_single = -HUGE_VAL;
    for (size_t arm = 0; arm < data->arms.n; arm++) {
        struct sum total = {0};
        for (size_t task = 0; task <= data->tasks.n; task++) {
            total.sum += sums[task * data->arms.n + arm].sum;
            total.n += sums[task * data->arms.n + arm].n;
        }
        ret->arms[arm].rows = total.n;
        ret->arms[arm].utility = total.n ? total.sum / (double)total.n : (double)NAN;
        if (total.n && ret->arms[arm].utility > ret->best_single) {
            ret->best_single = ret->arms[arm].utility;
            ret->best_arm = (uint32_t)arm;
        }
    }
}

static void tasks_fill(const struct replay_data *data, const struct sum *sums,
                       const uint64_t *task_rows, struct maths_baselines *ret)
{
    for (size_t task = 0; task <= data->tasks.n; task++) {
        double best = -HUGE_VAL;
        for (size_t arm = 0; arm < data->arms.n; arm++) {
            const struct sum *s = &sums[task * data->arms.n + arm];
            if (s->n && s->sum / (double)s->n > best)
                best = s->sum / (double)s->n;
        }
        if (task_rows[task])
            ret->best_per_task += best * (double)task_rows[task];
    }
    ret->best_per_task /= (double)ret->rows;
}

bool maths_baselines(const struct replay_data *data, const struct maths_metric *metrics,
                     struct maths_baselines *ret)
{
    struct sum *sums = calloc((data->tasks.n + 1) * data->arms.n, sizeof *sums);
    uint64_t *task_rows = calloc(data->tasks.n + 1, sizeof *task_rows);
    *ret = (struct maths_baselines){.arms = calloc(data->arms.n, sizeof *ret->arms),
                                    .arms_n = data->arms.n};
    bool ok = sums && task_rows && ret->arms;
    if (ok) {
        sums_fill(data, metrics, sums, task_rows, ret);
        arms_fill(data, sums, ret);
        tasks_fill(data, sums, task_rows, ret);
    } else {
        maths_baselines_done(ret);
    }
    free(sums);
    free(task_rows);
    return ok;
}

void maths_baselines_done(struct maths_baselines *b)
{
    free(b->arms);
    *b = (struct maths_baselines){0};
}

void maths_order_add(struct maths_order *order, const struct replay_data *data,
                     const struct maths_metric *metrics, const struct replay_item *item,
                     const struct replay_cell *chosen, uint64_t total)
{
    double u = maths_utility(metrics, chosen->value);
    order->utility += u;
    order->oracle += maths_item_oracle(data, metrics, item);
    if (order->rows >= total - (total + 2) / 3) { /* The last third, at least one row. */
        order->third_utility += u;
        order->third_rows++;
    }
    for (int m = 0; m < REPLAY_METRIC_N; m++) {
        if (isnan(chosen->value[m]))
            continue;
        order->metric[m] += chosen->value[m];
        order->metric_n[m]++;
    }
    order->chosen[chosen->arm]++;
    order->rows++;
}

/* Around the first value, so that equal values give exactly it, and a deviation of exactly 0. */
static struct maths_spread spread_of(const double *values, size_t n)
{
    struct maths_spread s = {.min = values[0]};
    for (size_t i = 0; i < n; i++) {
        s.mean += (values[i] - values[0]) / (double)n;
        s.min = values[i] < s.min ? values[i] : s.min;
    }
    s.mean += values[0];
    double squares = 0;
    for (size_t i = 0; i < n; i++)
        squares += (values[i] - s.mean) * (values[i] - s.mean);
    s.sd = n > 1 ? sqrt(squares / (double)(n - 1)) : 0;
    return s;
}

static void metric_spread(const struct maths_order *orders, size_t n, int m, double *values,
                          struct maths_result *ret)
{
    size_t there = 0;
    for (size_t i = 0; i < n; i++)
        if (orders[i].metric_n[m])
            values[there++] = orders[i].metric[m] / (double)orders[i].metric_n[m];
    ret->metric_there[m] = there > 0;
    if (there)
        ret->metric[m] = spread_of(values, there);
}

bool maths_result(const struct maths_order *orders, size_t n, size_t arms_n,
                  struct maths_result *ret)
{
    double *values = calloc(n, sizeof *values);
    *ret = (struct maths_result){.share = calloc(arms_n, sizeof *ret->share)};
    if (!values || !ret->share) {
        free(values);
        maths_result_done(ret);
        return false;
    }
    for (size_t i = 0; i < n; i++)
        values[i] = orders[i].utility / (double)orders[i].rows;
    ret->utility = spread_of(values, n);
    for (size_t i = 0; i < n; i++)
        values[i] = (orders[i].oracle - orders[i].utility) / (double)orders[i].rows;
    ret->regret = spread_of(values, n);
    for (size_t i = 0; i < n; i++)
        values[i] = orders[i].third_utility / (double)orders[i].third_rows;
    ret->third = spread_of(values, n);
    for (int m = 0; m < REPLAY_METRIC_N; m++)
        metric_spread(orders, n, m, values, ret);
    for (size_t arm = 0; arm < arms_n; arm++)
        for (size_t i = 0; i < n; i++)
            ret->share[arm] += (double)orders[i].chosen[arm] / (double)orders[i].rows / (double)n;
    free(values);
    return true;
}

void maths_result_done(struct maths_result *r)
{
    free(r->share);
    *r = (struct maths_result){0};
}
