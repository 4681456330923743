/* adapters [--seeds N] [--horizon T] [--rotations R] [--adapters N] [--tasks M] [--slots K]
 *          [--delay D] [--missing P] [--policy NAME]... [--set NAME=VALUE]... [--json] [--csv]
 *          [--trace FILE]
 * What each cache policy costs on the workload of server/lab/workload.h, as a table. */
#include "server/lab/simulate.h"
#include "state/math/check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct options {
    struct simulate_job job;
    const char *policies[SIMULATE_POLICIES_MAX];
    const char *trace;
    bool json, csv;
};

static void die(const char *what, const char *why)
{
    fprintf(stderr, "adapters: %s: %s\n", what, why);
    exit(2);
}

static double number(const char *option, const char *text)
{
    char *end;
    double v = text ? strtod(text, &end) : 0;
    if (!text || end == text || *end)
        die(option, "a number is needed");
    return v;
}

static uint32_t whole(const char *option, const char *text)
{
    double v = number(option, text);
    if (!(v >= 0 && v <= 4e9))
        die(option, "a whole number is needed");
    return (uint32_t)v;
}

static void set(struct simulate_settings *s, const char *pair)
{
    struct residency_settings *r = &s->residency;
    struct {
        const char *name;
        double *real;
        uint32_t *whole;
    } fields[] = {
        {"alpha", &s->alpha, NULL},
        {"ridge_bias", &s->ridge_bias, NULL},
        {"ridge_context", &s->ridge_context, NULL},
        {"request_ms", &s->request_ms, NULL},
        {"load_weight", &r->load_weight, NULL},
        {"kappa", &r->kappa, NULL},
        {"optimism", &r->optimism, NULL},
        {"hysteresis", &r->hysteresis, NULL},
        {"force_share", &r->force_share, NULL},
        {"force_width", &r->force_width, NULL},
        {"epoch_loads", &r->epoch_loads, NULL},
        {"epoch_requests", NULL, &r->epoch_requests},
        {"epoch_max", NULL, &r->epoch_max},
        {"evictions_max", NULL, &r->evictions_max},
        {"starve_requests", NULL, &r->starve_requests},
    };
    const char *equals = pair ? strchr(pair, '=') : NULL;
    for (size_t i = 0; equals && i < sizeof fields / sizeof *fields; i++) {
        if (strncmp(pair, fields[i].name, (size_t)(equals - pair)) != 0 ||
            fields[i].name[equals - pair])
            continue;
        if (fields[i].real)
            *fields[i].real = number(pair, equals + 1);
        else
            *fields[i].whole = whole(pair, equals + 1);
        return;
    }
    die("--set", "NAME=VALUE of a setting is needed");
}

static bool is(const char *arg, const char *name)
{
    return strcmp(arg, name) == 0;
}

static void read_option(struct options *o, const char *name, const char *value)
{
    struct simulate_job *j = &o->job;
    if (is(name, "--seeds"))
        j->seeds = whole(name, value);
    else if (is(name, "--horizon"))
        j->spec.horizon = whole(name, value);
    else if (is(name, "--rotations"))
        j->spec.rotations = whole(name, value);
    else if (is(name, "--adapters"))
        j->spec.adapters = whole(name, value);
    else if (is(name, "--tasks"))
        j->spec.tasks = whole(name, value);
    else if (is(name, "--slots"))
        j->settings.residency.slots = whole(name, value);
    else if (is(name, "--delay"))
        j->settings.delay = whole(name, value);
    else if (is(name, "--missing"))
        j->settings.missing = number(name, value);
    else if (is(name, "--trace"))
        o->trace = value;
    else if (is(name, "--set"))
        set(&j->settings, value);
    else if (is(name, "--policy") && value && j->policies_n < SIMULATE_POLICIES_MAX)
        o->policies[j->policies_n++] = value;
    else
        die(name, "no such option, or no value");
}

static void read_options(struct options *o, int argc, char **argv)
{
    o->job.seeds = 10;
    workload_defaults(&o->job.spec);
    simulate_defaults(&o->job.settings);
    for (int i = 1; i < argc; i++) {
        if (is(argv[i], "--json"))
            o->json = true;
        else if (is(argv[i], "--csv"))
            o->csv = true;
        else {
            read_option(o, argv[i], i + 1 < argc ? argv[i + 1] : NULL);
            i++;
        }
    }
    o->job.policies = o->job.policies_n ? o->policies : NULL;
}

static void print_table(const struct simulate_table *t)
{
    printf("%-12s %9s %7s %10s %9s %7s %7s %7s %7s\n", "policy", "regret", "sd", "utility", "blind",
           "miss", "loads", "forced", "slope");
    for (uint32_t k = 0; k < t->rows_n; k++) {
        const struct simulate_row *r = &t->rows[k];
        printf("%-12s %9.1f %7.1f %10.1f %9.1f %7.4f %7.1f %7.1f %7.2f\n", r->policy,
               r->regret.mean, r->regret.sd, r->utility.mean, r->blind.mean, r->miss_rate,
               r->planned_loads, r->forced, r->slope);
    }
}

static void read_trace(const char *path, struct workload *ret)
{
    struct buf text;
    struct err_detail detail = {0};
    char piece[65536];
    FILE *f = fopen(path, "rb");
    if (!f)
        die(path, strerror(errno));
    buf_init(&text);
    for (size_t n; (n = fread(piece, 1, sizeof piece, f)) > 0;)
        buf_put(&text, piece, n);
    fclose(f);
    enum err e = buf_error(&text);
    if (e == OK)
        e = workload_parse((struct slice){text.data, text.len}, ret, &detail);
    if (e != OK)
        die(path, detail.text[0] ? detail.text : err_text(e));
    buf_done(&text);
}

int main(int argc, char **argv)
{
    static struct options o;
    static struct workload trace;
    struct simulate_table table;
    struct err_detail detail = {0};
    read_options(&o, argc, argv);
    if (blas_init() != OK)
        die("OpenBLAS", "the serial build is loaded");
    if (o.trace) {
        read_trace(o.trace, &trace);
        o.job.trace = &trace;
    } else if (workload_check(&o.job.spec, &detail) != OK) {
        die("workload", detail.text);
    }
    if (residency_check(&o.job.settings.residency, &detail) != OK)
        die("settings", detail.text);
    enum err e = simulate_table(&o.job, &table);
    if (e != OK)
        die("simulation", err_text(e));
    struct buf out;
    buf_init(&out);
    if (o.json)
        simulate_json(&table, &out);
    else if (o.csv)
        simulate_csv(&table, &out);
    else
        print_table(&table);
    if (buf_error(&out) == OK && out.len)
        fwrite(out.data, 1, out.len, stdout);
    buf_done(&out);
    workload_done(&trace);
    return 0;
}
