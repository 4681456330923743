#include "client/ctl/replay_print.h"

#include "client/ctl/table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int set_real(json_t *object, const char *key, double value)
{
    return json_object_set_new(object, key, json_real(value));
}

static json_t *spread_json(const struct maths_spread *s)
{
    json_t *json = json_object();
    if (set_real(json, "mean", s->mean) || set_real(json, "sd", s->sd)) {
        json_decref(json);
        return NULL;
    }
    return json;
}

static json_t *utility_json(const struct maths_result *r)
{
    json_t *json = spread_json(&r->utility);
    if (!json || set_real(json, "worst", r->utility.min) ||
        set_real(json, "last_third", r->third.mean)) {
        json_decref(json);
        return NULL;
    }
    return json;
}

static json_t *metrics_json(const struct maths_result *r)
{
    json_t *json = json_object();
    int bad = 0;
    for (int m = 0; m < REPLAY_METRIC_N; m++)
        if (r->metric_there[m])
            bad |= json_object_set_new(json, replay_metric_name((enum replay_metric)m),
                                       spread_json(&r->metric[m]));
    if (bad) {
        json_decref(json);
        return NULL;
    }
    return json;
}

static json_t *share_json(const struct replay_summary *s)
{
    json_t *json = json_object();
    int bad = 0;
    for (size_t arm = 0; arm < s->data->arms.n; arm++)
        bad |= set_real(json, s->data->arms.names[arm], s->result->share[arm]);
    if (bad) {
        json_decref(json);
        return NULL;
    }
    return json;
}

static json_t *best_json(const struct replay_summary *s)
{
    json_t *json = json_object();
    const char *arm = s->data->arms.names[s->baselines->best_arm];
    if (json_object_set_new(json, "arm", json_string(arm)) ||
        set_real(json, "utility", s->baselines->best_single)) {
        json_decref(json);
        return NULL;
    }
    return json;
}

json_t *replay_print_json(const struct replay_summary *s)
{
    json_t *json = json_object();
    if (json_object_set_new(json, "rows", json_integer((json_int_t)s->baselines->rows)) ||
        json_object_set_new(json, "orders", json_integer((json_int_t)s->orders)) ||
        set_real(json, "seconds", s->seconds) ||
        json_object_set_new(json, "utility", utility_json(s->result)) ||
        json_object_set_new(json, "metrics", metrics_json(s->result)) ||
        json_object_set_new(json, "regret", spread_json(&s->result->regret)) ||
        json_object_set_new(json, "share", share_json(s)) ||
        set_real(json, "random", s->baselines->random) ||
        json_object_set_new(json, "best_single", best_json(s)) ||
        set_real(json, "best_per_task", s->baselines->best_per_task) ||
        set_real(json, "oracle", s->baselines->oracle)) {
        json_decref(json);
        return NULL;
    }
    return json;
}

/* Four digits where they say something: 0.9231, 0.00002871, 512.4. */
static void number_cell(struct table *t, double value)
{
    if (value == 0 || (fabs(value) >= 0.001 && fabs(value) < 10))
        table_cell(t, "%.4f", value);
    else
        table_cell(t, "%.4g", value);
}

static void spread_row(struct table *t, const char *name, const struct maths_spread *s, bool worst)
{
    table_cell(t, "%s", name);
    number_cell(t, s->mean);
    number_cell(t, s->sd);
    if (worst)
        number_cell(t, s->min);
    else
        table_cell(t, "%s", "");
}

/* " + 0.5 (1 - cost_usd/0.0123)": how the figure is made is no secret. */
static void print_term(const char *name, const struct maths_metric *metric, bool plus, FILE *out)
{
    fprintf(out, "%s %g %s", plus ? " +" : "", metric->weight, metric->lower ? "(1 - " : "");
    if (metric->log)
        fprintf(out, "%s on the log scale %g..%g", name, metric->low, metric->high);
    else if (metric->low != 0)
        fprintf(out, "(%s - %g)/%g", name, metric->low, metric->high - metric->low);
    else if (metric->high != 1)
        fprintf(out, "%s/%g", name, metric->high);
    else
        fputs(name, out);
    fputs(metric->lower ? ")" : "", out);
}

static void print_head(const struct replay_summary *s, FILE *out)
{
    fprintf(out, "%llu rows, %zu arms, %zu task labels; ", (unsigned long long)s->baselines->rows,
            s->data->arms.n, s->data->tasks.n);
    if (s->in_order)
        fprintf(out, "played once, in order");
    else
        fprintf(out, "%llu orders, seed %llu", (unsigned long long)s->orders,
                (unsigned long long)s->seed);
    if (s->data->warm_n)
        fprintf(out, ", after %zu rows to warm up", s->data->warm_n);
    if (s->delay)
        fprintf(out, ", outcomes %llu requests late", (unsigned long long)s->delay);
    fprintf(out, "\nutility =");
    for (int m = 0, n = 0; m < REPLAY_METRIC_N; m++)
        if (s->metrics[m].there && s->metrics[m].weight > 0)
            print_term(replay_metric_name((enum replay_metric)m), &s->metrics[m], n++ > 0, out);
    fputs("\n\n", out);
}

static bool print_result(const struct replay_summary *s, FILE *out, bool bold)
{
    struct table *t = table_new();
    if (!t)
        return false;
    table_column(t, "obtained", TABLE_LEFT);
    table_column(t, "mean", TABLE_RIGHT);
    table_column(t, "sd", TABLE_RIGHT);
    table_column(t, "worst order", TABLE_RIGHT);
    spread_row(t, "utility", &s->result->utility, true);
    spread_row(t, "  in the last third", &s->result->third, true);
    spread_row(t, "regret", &s->result->regret, false);
    for (int m = 0; m < REPLAY_METRIC_N; m++)
        if (s->result->metric_there[m])
            spread_row(t, replay_metric_name((enum replay_metric)m), &s->result->metric[m], false);
    bool ok = table_print(t, out, bold);
    table_free(t);
    return ok;
}

static void baseline_row(struct table *t, const char *name, double utility)
{
    table_cell(t, "%s", name);
    number_cell(t, utility);
    table_cell(t, "%s", "");
}

static bool print_baselines(const struct replay_summary *s, FILE *out, bool bold)
{
    struct table *t = table_new();
    if (!t)
        return false;
    table_column(t, "beside it", TABLE_LEFT);
    table_column(t, "utility", TABLE_RIGHT);
    table_column(t, "share", TABLE_RIGHT);
    baseline_row(t, "best arm of every row (oracle)", s->baselines->oracle);
    baseline_row(t, "best arm of every task", s->baselines->best_per_task);
    for (size_t arm = 0; arm < s->data->arms.n; arm++) {
        table_cell(t, "always %s%s", s->data->arms.names[arm],
                   arm == s->baselines->best_arm ? "  (best single)" : "");
        if (s->baselines->arms[arm].rows)
            number_cell(t, s->baselines->arms[arm].utility);
        else
            table_cell(t, "-");
        table_cell(t, "%.1f %%", 100 * s->result->share[arm]);
    }
    baseline_row(t, "random", s->baselines->random);
    bool ok = table_print(t, out, bold);
    table_free(t);
    return ok;
}

bool replay_print_table(const struct replay_summary *s, FILE *out, bool bold)
{
    print_head(s, out);
    if (!print_result(s, out, bold))
        return false;
    fputs("\n", out);
    if (!print_baselines(s, out, bold))
        return false;
    fprintf(out, "\n%.1f s, %.0f decisions/s, each learned from before the next%s\n", s->seconds,
            s->seconds > 0 ? s->decisions / s->seconds : 0, s->orders > 1 ? " of its order" : "");
    return true;
}
