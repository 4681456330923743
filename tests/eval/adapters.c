/* adapters [--seeds N] [--horizon T] [--rotations R] [--adapters N] [--tasks M] [--slots K]
 *          [--delay D] [--missing P] [--policy NAME]... [--set NAME=VALUE]... [--json] [--csv]
 *          [--curves]
 *          [--trace FILE]
 * What each cache policy costs on the workload of server/lab/workload.h, as a table.
 * adapters --check: what the README of server/adapters promises, on paired seeds; exits 1 when
 * a line does not hold. */
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
    bool json, csv, curves, check;
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
        {"plain_alpha", &s->plain_alpha, NULL},
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
        else if (is(argv[i], "--curves"))
            o->curves = true;
        else if (is(argv[i], "--check"))
            o->check = true;
        else {
            read_option(o, argv[i], i + 1 < argc ? argv[i + 1] : NULL);
            i++;
        }
    }
    o->job.policies = o->job.policies_n ? o->policies : NULL;
}

static void print_table(const struct simulate_table *t)
{
    printf("%-22s %9s %7s %10s %9s %7s %7s %7s %7s\n", "policy", "regret", "sd", "utility", "blind",
           "miss", "loads", "forced", "slope");
    for (uint32_t k = 0; k < t->rows_n; k++) {
        const struct simulate_row *r = &t->rows[k];
        printf("%-22s %9.1f %7.1f %10.1f %9.1f %7.4f %7.1f %7.1f %7.2f\n", r->policy,
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

static const struct simulate_row *row_of(const struct simulate_table *t, const char *policy)
{
    for (uint32_t k = 0; k < t->rows_n; k++)
        if (is(t->rows[k].policy, policy))
            return &t->rows[k];
    die(policy, "not in the table");
    return NULL;
}

static void play(struct options *o, uint32_t horizon, uint32_t rotations, struct simulate_table *t)
{
    o->job.spec.horizon = horizon;
    o->job.spec.rotations = rotations;
    enum err e = simulate_table(&o->job, t);
    if (e != OK)
        die("simulation", err_text(e));
    printf("T=%u, %u rotations, %u seeds\n", horizon, rotations, o->job.seeds);
    print_table(t);
}

static int claim(const char *what, double value, double most)
{
    bool holds = value <= most;
    printf("%-4s %-58s %8.3f  at most %g\n", holds ? "ok" : "NOT", what, value, most);
    return holds ? 0 : 1;
}

static double ratio(const struct simulate_table *t, const char *policy)
{
    return row_of(t, "polar")->regret.mean / row_of(t, policy)->regret.mean;
}

static int check(struct options *o)
{
    struct simulate_table t;
    int failed = 0;
    play(o, 20000, 0, &t);
    failed += claim("T=20k: regret of polar", row_of(&t, "polar")->regret.mean, 77);
    failed += claim("T=20k: polar over lru", ratio(&t, "lru"), .5);
    failed += claim("T=20k: polar over lfu", ratio(&t, "lfu"), 1);
    failed += claim("T=20k: polar over top_k", ratio(&t, "top_k"), 1);
    failed += claim("T=20k: polar over oblivious LinUCB", ratio(&t, SIMULATE_OBLIVIOUS), .25);
    failed += claim("T=20k: polar over oblivious with the same learner",
                    ratio(&t, SIMULATE_SAME_LEARNER), .5);
    failed += claim("T=20k: polar over static", ratio(&t, "static"), .08);
    uint32_t seeds =
        o->job.seeds; /* Ten are too few for this one: its standard error is 12 then. */
    o->job.seeds = 40;
    play(o, 20000, 0, &t);
    failed +=
        claim("T=20k, 40 seeds: regret of polar_plus", row_of(&t, "polar_plus")->regret.mean, 93);
    o->job.seeds = seeds;
    play(o, 80000, 0, &t);
    failed += claim("T=80k: regret of polar", row_of(&t, "polar")->regret.mean, 111);
    failed += claim("T=80k: polar_plus over lru",
                    row_of(&t, "polar_plus")->regret.mean / row_of(&t, "lru")->regret.mean, .3);
    failed += claim("T=80k: polar over lru", ratio(&t, "lru"), .3);
    failed += claim("T=80k: polar over lfu", ratio(&t, "lfu"), 1);
    failed += claim("T=80k: polar over top_k", ratio(&t, "top_k"), 1);
    failed += claim("T=80k: slope of polar", row_of(&t, "polar")->slope, .55);
    failed += claim("T=80k: slope of polar_plus", row_of(&t, "polar_plus")->slope, .55);
    play(o, 20000, 3, &t);
    failed += claim("three rotations: polar over lfu", ratio(&t, "lfu"), .8);
    o->job.spec.adapters = 24;
    o->job.spec.tasks = 10;
    play(o, 20000, 3, &t);
    failed += claim("24 adapters, 10 tasks, three rotations: polar over lfu", ratio(&t, "lfu"), .8);
    return failed ? 1 : 0;
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
    if (o.check)
        return check(&o);
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
    else if (o.curves)
        simulate_curves_csv(&table, &out);
    else
        print_table(&table);
    if (buf_error(&out) == OK && out.len)
        fwrite(out.data, 1, out.len, stdout);
    buf_done(&out);
    workload_done(&trace);
    return 0;
}
