#include "client/ctl/adapters_print.h"

#include "client/ctl/table.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static enum ctl_exit finish(struct table *t)
{
    bool ok = t && table_print(t, stdout, ctl_bold());
    table_free(t);
    return ok ? CTL_OK : ctl_fail(CTL_REFUSED, "out of memory");
}

const char *residence_text(Shunt__V1__Residence residence)
{
    switch (residence) {
    case SHUNT__V1__RESIDENCE__RESIDENCE_COLD:
        return "cold";
    case SHUNT__V1__RESIDENCE__RESIDENCE_LOADING:
        return "loading";
    case SHUNT__V1__RESIDENCE__RESIDENCE_RESIDENT:
        return "resident";
    case _SHUNT__V1__RESIDENCE_IS_INT_SIZE:
        break;
    }
    return "?";
}

static void replicas_cell(struct table *t, const Shunt__V1__AdapterInfo *a)
{
    char text[64] = "";
    size_t len = 0;
    for (size_t i = 0; i < a->n_replicas && len + 4 < sizeof text; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%u", i ? "," : "",
                                a->replicas[i] % 100);
    table_cell(t, "%s", text);
}

static void adapter_row(struct table *t, const Shunt__V1__AdapterInfo *a)
{
    table_cell(t, "%s", a->arm_id ? a->arm_id : "?");
    table_cell(t, "%s", residence_text(a->residence));
    table_cell(t, "%s", !a->adapter ? "" : a->desired ? "yes" : "no");
    replicas_cell(t, a);
    if (a->adapter) {
        table_cell(t, "%.0f", (double)a->adapter->size_bytes / (1 << 20));
        table_cell(t, "%.0f", a->load_ms);
        table_cell(t, "%.4f", a->price);
    } else {
        for (int i = 0; i < 3; i++)
            table_cell(t, "%s", "");
    }
    table_cell(t, "%.1f", 100 * a->share);
    table_cell(t, "%.4f", a->value);
    table_cell(t, "%" PRIu64, a->pulls);
    table_cell(t, "%" PRIu64, a->misses);
    table_cell(t, "%s", a->why ? a->why : "");
}

enum ctl_exit adapters_print_state(const Shunt__V1__ResidencyState *s)
{
    static const char *const columns[] = {"adapter", "is",      "desired", "on",
                                          "MiB",     "load ms", "price",   "share",
                                          "value",   "pulls",   "misses",  "why"};
    struct table *t = table_new();
    for (size_t i = 0; t && i < sizeof columns / sizeof *columns; i++)
        table_column(t, columns[i], i >= 4 && i <= 10 ? TABLE_RIGHT : TABLE_LEFT);
    for (size_t i = 0; t && i < s->n_adapters; i++)
        adapter_row(t, s->adapters[i]);
    return finish(t);
}

static void pair(struct table *t, const char *key, const char *value)
{
    table_cell(t, "%s", key);
    table_cell(t, "%s", value);
}

static void number(struct table *t, const char *key, double value, const char *format_end)
{
    table_cell(t, "%s", key);
    table_cell(t, "%.10g%s", value, format_end);
}

static struct table *plan_table(const Shunt__V1__AdapterPlan *p)
{
    struct table *t = table_new();
    if (!t)
        return NULL;
    table_column(t, "plan", TABLE_LEFT);
    table_column(t, p->router ? p->router : "?", TABLE_LEFT);
    pair(t, "policy", p->policy ? p->policy : "?");
    number(t, "plans made", (double)p->epoch,
           p->journalled ? "" : " (the last, or a load since, is not durable yet)");
    number(t, "requests of this epoch", (double)p->requests, "");
    number(t, "it may end after", (double)p->length, "");
    number(t, "adapters", p->adapters, "");
    number(t, "desired", p->desired, "");
    number(t, "resident", p->resident, "");
    if (p->slots)
        number(t, "slots", (double)p->slots, "");
    if (p->bytes)
        number(t, "bytes", (double)p->bytes, "");
    number(t, "a request is worth", p->value, "");
    number(t, "with the pinned alone", p->uncached, "");
    if (p->how) {
        pair(t, "found by", p->how);
        number(t, "loads asked for", p->loads, "");
        number(t, "evictions asked for", p->evictions, "");
        number(t, "price of the loads", p->load_price, "");
    }
    if (p->dropped)
        number(t, "requests not counted", (double)p->dropped, "");
    if (p->error)
        pair(t, "engine not driven", p->error);
    return t;
}

static void replica_row(struct table *t, const Shunt__V1__EngineReplica *r)
{
    table_cell(t, "%s", r->url ? r->url : "?");
    table_cell(t, "%s", r->up ? "up" : "down");
    table_cell(t, "%u", r->slots);
    table_cell(t, "%u", r->wanted);
    table_cell(t, "%u", r->resident);
    table_cell(t, "%s", r->converged ? "yes" : "no");
    table_cell(t, "%" PRIu64, r->loads);
    table_cell(t, "%" PRIu64, r->releases);
    table_cell(t, "%" PRIu64, r->errors);
    table_cell(t, "%s", r->error ? r->error : "");
}

enum ctl_exit adapters_print_plan(const Shunt__V1__AdapterPlan *p)
{
    static const char *const columns[] = {"replica",   "is",    "slots",    "wanted", "resident",
                                          "converged", "loads", "releases", "errors", "error"};
    enum ctl_exit code = finish(plan_table(p));
    if (code != CTL_OK || p->n_replicas == 0)
        return code;
    struct table *t = table_new();
    for (size_t i = 0; t && i < sizeof columns / sizeof *columns; i++)
        table_column(t, columns[i],
                     (i >= 2 && i <= 4) || (i >= 6 && i <= 8) ? TABLE_RIGHT : TABLE_LEFT);
    for (size_t i = 0; t && i < p->n_replicas; i++)
        replica_row(t, p->replicas[i]);
    puts("");
    return finish(t);
}

/* ---- simulations ---- */

/* The oracle's regret is rounding, of either sign: no "-0.0". */
static double tenth(double v)
{
    return v > -.05 && v < .05 ? 0 : v;
}

enum ctl_exit adapters_print_simulation(const Shunt__V1__Simulation *s)
{
    static const char *const columns[] = {"policy", "regret", "sd",   "utility",
                                          "misses", "loads",  "slope"};
    struct table *t = table_new();
    for (size_t i = 0; t && i < sizeof columns / sizeof *columns; i++)
        table_column(t, columns[i], i ? TABLE_RIGHT : TABLE_LEFT);
    for (size_t i = 0; t && i < s->n_policies; i++) {
        const Shunt__V1__SimulatedPolicy *p = s->policies[i];
        table_cell(t, "%s", p->policy ? p->policy : "?");
        table_cell(t, "%.1f", tenth(p->regret_mean));
        table_cell(t, "%.1f", p->regret_sd);
        table_cell(t, "%.1f", p->utility_mean);
        table_cell(t, "%.2f %%", 100 * p->miss_rate);
        table_cell(t, "%.1f", p->planned_loads);
        if (p->has_slope)
            table_cell(t, "%.2f", p->slope);
        else
            table_cell(t, "%s", "");
    }
    enum ctl_exit code = finish(t);
    printf("%u paired seeds of %u requests; regret and utility are sums over a run\n", s->seeds,
           s->horizon);
    return code;
}

json_t *adapters_json(const Shunt__V1__Simulation *s)
{
    json_t *policies = json_object();
    for (size_t i = 0; i < s->n_policies; i++) {
        const Shunt__V1__SimulatedPolicy *p = s->policies[i];
        json_t *row = json_pack("{s:{s:f, s:f}, s:{s:f, s:f}, s:f, s:f, s:f}", "regret", "mean",
                                p->regret_mean, "sd", p->regret_sd, "utility", "mean",
                                p->utility_mean, "sd", p->utility_sd, "miss_rate", p->miss_rate,
                                "planned_loads", p->planned_loads, "forced", p->forced);
        if (p->has_slope)
            (void)json_object_set_new(row, "slope", json_real(p->slope));
        (void)json_object_set_new(policies, p->policy ? p->policy : "?", row);
    }
    return json_pack("{s:i, s:i, s:o}", "seeds", (int)s->seeds, "horizon", (int)s->horizon,
                     "policies", policies);
}

static void table_lines(const Shunt__V1__Simulation *s, FILE *out)
{
    (void)fprintf(out, "policy,seeds,t,regret_mean,regret_sd,utility_mean,utility_sd,miss_rate\n");
    for (size_t i = 0; i < s->n_policies; i++) {
        const Shunt__V1__SimulatedPolicy *p = s->policies[i];
        (void)fprintf(out, "%s,%u,%u,%.6g,%.6g,%.6g,%.6g,%.6g\n", p->policy ? p->policy : "?",
                      s->seeds, s->horizon, p->regret_mean, p->regret_sd, p->utility_mean,
                      p->utility_sd, p->miss_rate);
    }
}

static void curve_lines(const Shunt__V1__Simulation *s, FILE *out)
{
    (void)fprintf(out, "policy,t,regret\n");
    for (size_t i = 0; i < s->n_policies; i++)
        for (size_t k = 0; k < s->policies[i]->n_curve; k++)
            (void)fprintf(
                out, "%s,%u,%.6g\n", s->policies[i]->policy ? s->policies[i]->policy : "?",
                s->horizon >> (s->policies[i]->n_curve - 1 - k), s->policies[i]->curve[k]);
}

static enum ctl_exit write_lines(const Shunt__V1__Simulation *s,
                                 void (*lines)(const Shunt__V1__Simulation *s, FILE *out),
                                 const char *path)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    if (!out)
        return ctl_fail(CTL_REFUSED, "out of memory");
    lines(s, out);
    if (fclose(out) != 0) {
        free(text);
        return ctl_fail(CTL_REFUSED, "out of memory");
    }
    enum ctl_exit code = ctl_write_file(path, text, len);
    free(text);
    return code;
}

enum ctl_exit adapters_write_table(const Shunt__V1__Simulation *s, const char *path)
{
    return write_lines(s, table_lines, path);
}

enum ctl_exit adapters_write_curves(const Shunt__V1__Simulation *s, const char *path)
{
    return write_lines(s, curve_lines, path);
}
