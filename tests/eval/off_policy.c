/* off_policy - do the intervals that an evaluation shows hold the truth?
 * From rows where every arm's outcome is known (SHUNT_DATA): logs of 2,000 rows drawn with
 * replacement, decided by the default router at a floor of .05 and .10; on each, server/lab's own
 * evaluation of several targets; for each the share of logs whose interval held the truth, and the
 * median width. The truth of a frozen target is its mean over the whole file; of one that learns,
 * the mean over the log's rows of what it would have earned at each. off_policy [--quick]
 * [--propensity-only] [FILE...]. --quick: 40 logs instead of 200.
 * --propensity-only: logs hold the chosen arm's propensity alone, as tokens and journals do.
 * Exits 1 when an interval covers less than .92 of 200 logs, or one of a value is wider than
 * promised (but of the worst arm, which the log tried 67 times: nothing can be as narrow), 77
 * without SHUNT_DATA. */
#include "server/lab/evaluate.h"
#include "state/base/rng.h"
#include "tests/eval/logs.h"
#include "tests/eval/play.h"
#include "tests/eval/verdict.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    ROWS_LOGGED = 2000,
    LOGS = 200,
    QUICK_LOGS = 40,
    FROZEN_ROWS = 600,
    TARGETS = 5,
    WORST_ARM = 1
};
static const double floors[] = {.05, .10};
enum { FLOORS = 2 };

/* The intervals that an evaluation shows. */
enum shown { IPS, DR, IPS_LESS, DR_LESS, COST_IPS, COST_DR, SHOWN };
static const char *const shown_names[] = {"ips, snips",     "dr",        "ips less logged",
                                          "dr less logged", "cost, ips", "cost, dr"};

struct truth {
    double quality, cost, less_logged; /* less_logged: over a log's rows only. */
};

struct tally {
    double width[LOGS], error[LOGS];
    uint32_t n, held;
};

struct target_case {
    const char *name;
    struct router_config config;
    const struct router_view *frozen;
    uint32_t arm; /* Fixed: this one; else UINT32_MAX. */
    bool learns;
    struct truth file;    /* Of a target that does not learn; */
    struct truth *of_row; /* and of each of its rows. */
    struct tally tally[SHOWN];
    double ess[LOGS];
    uint32_t verdicts[4], wrong; /* Wrong: better or worse, and it is not. */
};

struct bench {
    const struct rows *rows;
    struct router_config config; /* The default router's, floor and all. */
    float *x;
    struct lab_arm *arms;
    struct target *learned; /* Whose statistics are frozen. */
    struct target_case *targets;
    uint32_t logs;
    bool propensity_only;
};

static double single_mean(const struct bench *b, uint32_t arm, bool cost)
{
    double sum = 0;
    uint32_t n = 0;
    for (uint32_t i = 0; i < b->rows->n; i++)
        if (!isnan(b->rows->row[i].quality[arm])) {
            sum += cost ? b->rows->row[i].cost[arm] : b->rows->row[i].quality[arm];
            n++;
        }
    return sum / n;
}

/* What a mass over a row's candidates earns. */
static double earned(const struct bench *b, const struct log_entry *e, const float *pmf, bool cost)
{
    const struct row *row = &b->rows->row[e->of];
    double sum = 0;
    for (uint32_t i = 0; i < e->row.arms_n; i++)
        sum += (double)pmf[i] * (cost ? row->cost[e->arms[i]] : row->quality[e->arms[i]]);
    return sum;
}

static struct target_options options_of(const struct bench *b, const struct target_case *c,
                                        uint64_t seed)
{
    return (struct target_options){.config = &c->config,
                                   .arms = b->arms,
                                   .arms_n = b->rows->arms.n,
                                   .frozen = c->frozen,
                                   .seed = seed};
}

/* What the target would earn at each row of the log, learning as the evaluation does. Called for
 * the whole file once when it does not learn: its mass depends on the row alone. */
static void fill_truth(const struct bench *b, const struct target_case *c, const struct log *log,
                       uint64_t seed, struct truth *ret_of_row)
{
    struct target *t;
    struct err_detail detail = {""};
    const struct target_options o = options_of(b, c, seed);
    logs_must(target_new(&o, &t, &detail), "target", &detail);
    for (uint32_t i = 0; i < log->n; i++) {
        const struct log_entry *e = &log->entry[i];
        struct target_decision d;
        logs_must(target_decide(t, &e->row, NULL, i, &d), "decide", NULL);
        ret_of_row[i] = (struct truth){earned(b, e, d.pmf, false), earned(b, e, d.pmf, true), 0};
        if (c->learns)
            logs_must(target_learn(t, &e->row), "learn", NULL);
    }
    target_free(t);
}

/* The truth that an evaluation of this log should find. */
static struct truth truth_of(const struct bench *b, const struct target_case *c,
                             const struct log *log, uint64_t seed)
{
    struct truth sum = {0, 0, 0}, *of_row = c->of_row;
    if (c->learns) {
        of_row = calloc(log->n, sizeof *of_row);
        logs_must(of_row ? OK : ERR_NOMEM, "truth", NULL);
        fill_truth(b, c, log, seed, of_row);
    }
    for (uint32_t i = 0; i < log->n; i++) {
        const struct log_entry *e = &log->entry[i];
        const struct truth *at = &of_row[c->learns ? i : e->of];
        sum.quality += at->quality / log->n;
        sum.cost += at->cost / log->n;
        sum.less_logged += (at->quality - earned(b, e, e->pmf, false)) / log->n;
    }
    if (c->learns) {
        free(of_row);
        return sum;
    }
    return (struct truth){c->file.quality, c->file.cost, sum.less_logged};
}

/* Every row of the file once, as a log without outcomes. */
static void whole_file(const struct bench *b, struct log *log)
{
    log_init(log, b->rows->n);
    for (uint32_t i = 0; i < b->rows->n; i++) {
        struct log_entry *e = &log->entry[i];
        e->of = i;
        e->row.x = b->x + (size_t)i * spec_d(&b->config.spec);
        e->row.arms = e->arms;
        for (uint32_t a = 0; a < b->rows->arms.n; a++)
            if (!isnan(b->rows->row[i].quality[a]))
                e->arms[e->row.arms_n++] = a;
    }
}

static uint32_t extreme_arm(const struct bench *b, int sign)
{
    uint32_t best = 0;
    for (uint32_t a = 1; a < b->rows->arms.n; a++)
        if (sign * (single_mean(b, a, false) - single_mean(b, best, false)) > 0)
            best = a;
    return best;
}

/* A target that does not learn: what it earns at every row, and over the file. */
static void close_case(const struct bench *b, struct target_case *c)
{
    struct log file;
    whole_file(b, &file);
    c->of_row = calloc(file.n, sizeof *c->of_row);
    logs_must(c->of_row ? OK : ERR_NOMEM, "truth", NULL);
    fill_truth(b, c, &file, 0, c->of_row);
    for (uint32_t i = 0; i < file.n; i++) {
        c->file.quality += c->of_row[i].quality / file.n;
        c->file.cost += c->of_row[i].cost / file.n;
    }
    log_done(&file);
}

static void fixed_case(const struct bench *b, struct target_case *c, const char *name, uint32_t arm)
{
    c->name = name;
    c->config = b->config;
    target_set_fixed(&c->config, b->rows->arms.name[arm]);
    close_case(b, c);
}

static void frozen_case(const struct bench *b, struct target_case *c, const char *name,
                        const char *policy)
{
    c->name = name;
    c->config = b->config;
    c->frozen = target_view(b->learned);
    c->config.settings.explore_floor = 0;
    c->config.settings.newcomer_pulls = 0;
    snprintf(c->config.settings.policy, NAME_CAP, "%s", policy);
    close_case(b, c);
}

static void open_cases(struct bench *b)
{
    struct log learned_from;
    const struct target_options logger = {
        .config = &b->config, .arms = b->arms, .arms_n = b->rows->arms.n, .seed = 5};
    log_init(&learned_from, FROZEN_ROWS);
    log_generate(b->rows, b->x, &logger, 4711, true, &learned_from, &b->learned);
    log_done(&learned_from);
    b->targets = calloc(TARGETS, sizeof *b->targets);
    logs_must(b->targets ? OK : ERR_NOMEM, "targets", NULL);
    fixed_case(b, &b->targets[0], "best arm", extreme_arm(b, 1));
    fixed_case(b, &b->targets[1], "worst arm", extreme_arm(b, -1));
    frozen_case(b, &b->targets[2], "frozen greedy", "greedy");
    frozen_case(b, &b->targets[3], "frozen thompson", "thompson");
    struct target_case *c = &b->targets[4];
    c->name = "learning greedy";
    c->config = b->config;
    c->learns = true;
    c->config.settings.explore_floor = 0;
    snprintf(c->config.settings.policy, NAME_CAP, "greedy");
}

static void add(struct tally *t, struct interval in, double truth)
{
    t->width[t->n] = in.high - in.low;
    t->error[t->n++] = .5 * (in.high + in.low) - truth;
    /* A sum of 2,000 equal prices is not 2,000 times the price. */
    double slack = 1e-6 * fabs(truth);
    t->held += in.low - slack <= truth && truth <= in.high + slack;
}

static void add_case(struct target_case *c, const struct evaluation *v, struct truth truth)
{
    const struct estimates *u = &v->utility, *cost = &v->metric[1];
    c->ess[c->tally[IPS].n] = v->ess;
    c->verdicts[v->verdict]++;
    c->wrong += (v->verdict == VERDICT_BETTER && truth.less_logged < 0) ||
                (v->verdict == VERDICT_WORSE && truth.less_logged > 0);
    add(&c->tally[IPS], u->snips.interval, truth.quality);
    add(&c->tally[DR], u->dr.interval, truth.quality);
    add(&c->tally[IPS_LESS], u->ips_less_logged.interval, truth.less_logged);
    add(&c->tally[DR_LESS], u->dr_less_logged.interval, truth.less_logged);
    if (cost->rows) {
        add(&c->tally[COST_IPS], cost->snips.interval, truth.cost);
        add(&c->tally[COST_DR], cost->dr.interval, truth.cost);
    }
}

static void run_log(struct bench *b, uint32_t number)
{
    struct log log;
    const struct target_options logger = {.config = &b->config,
                                          .arms = b->arms,
                                          .arms_n = b->rows->arms.n,
                                          .seed = rng_mix(1, number)};
    log_init(&log, ROWS_LOGGED);
    log_generate(b->rows, b->x, &logger, rng_mix(2, number), !b->propensity_only, &log, NULL);
    for (uint32_t k = 0; k < TARGETS; k++) {
        struct target_case *c = &b->targets[k];
        const struct truth truth = truth_of(b, c, &log, number);
        const struct evaluate_options o = {.target = options_of(b, c, number), .no_replay = true};
        const struct logged_source source = log_source(&log);
        struct evaluation v;
        struct err_detail detail = {""};
        logs_must(evaluate_run(&o, &source, &v, NULL, NULL, &detail), "evaluate", &detail);
        add_case(c, &v, truth);
    }
    log_done(&log);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v, uint32_t n)
{
    qsort(v, n, sizeof *v, by_value);
    return v[n / 2];
}

static const struct {
    const char *file;
    double floor, width;
} promises[] = {{"llmrouter9_train", .10, .40}, {"pareto_val", .10, .08}};

static double promised_width(const char *file, double floor)
{
    for (size_t i = 0; i < sizeof promises / sizeof *promises; i++)
        if (strcmp(promises[i].file, file) == 0 && fabs(promises[i].floor - floor) < 1e-9)
            return promises[i].width;
    return (double)INFINITY;
}

/* The rows of the table: the least coverage of any interval, the widest of those with a promise. */
static int print_rows(const struct bench *b, const char *file, double floor, double least,
                      double widest)
{
    struct verdicts v = {0};
    char name[96];
    if (b->logs >= LOGS) {
        snprintf(name, sizeof name, "intervals, %s, floor %.2f: least coverage", file, floor);
        verdict_at_least(&v, name, least, .92);
    }
    if (isfinite(promised_width(file, floor))) {
        snprintf(name, sizeof name, "intervals, %s, floor %.2f: median width, but worst arm", file,
                 floor);
        verdict_at_most(&v, name, widest, promised_width(file, floor));
    }
    return (int)v.failed;
}

static int print_cases(struct bench *b, const char *file, double floor)
{
    double least = 1, widest = 0;
    for (uint32_t k = 0; k < TARGETS; k++) {
        struct target_case *c = &b->targets[k];
        double ess = median(c->ess, b->logs);
        for (int s = 0; s < SHOWN; s++) {
            struct tally *t = &c->tally[s];
            if (t->n == 0)
                continue;
            double bias = 0, held = (double)t->held / t->n, width = median(t->width, t->n);
            for (uint32_t i = 0; i < t->n; i++)
                bias += t->error[i] / t->n;
            least = fmin(least, held);
            if (s < IPS_LESS && k != WORST_ARM)
                widest = fmax(widest, width);
            printf("%-17s %.2f  %-16s %6.0f  %-16s %.3f  %#8.3g  %#+9.2g\n", file, floor, c->name,
                   ess, shown_names[s], held, width, bias);
        }
        printf(
            "%-17s %.2f  %-16s verdicts: %u none, %u better, %u worse, %u cannot tell; %u wrong\n",
            file, floor, c->name, c->verdicts[0], c->verdicts[1], c->verdicts[2], c->verdicts[3],
            c->wrong);
    }
    int broken = print_rows(b, file, floor, least, widest);
    (void)fflush(stdout);
    return broken;
}

static int run_floor(struct bench *b, const char *file, double floor)
{
    b->config.settings.explore_floor = floor;
    open_cases(b);
    for (uint32_t i = 0; i < b->logs; i++)
        run_log(b, i);
    int broken = print_cases(b, file, floor);
    target_free(b->learned);
    for (uint32_t k = 0; k < TARGETS; k++)
        free(b->targets[k].of_row);
    free(b->targets);
    return broken;
}

/* The floors side by side, a process each; what they print comes in their order. */
static int run_floors(struct bench *b, const char *file)
{
    pid_t child[FLOORS];
    FILE *out[FLOORS];
    int broken = 0;
    (void)fflush(stdout); /* Else a child prints it once more. */
    for (int f = 0; f < FLOORS; f++) {
        out[f] = tmpfile();
        child[f] = out[f] ? fork() : -1;
        logs_must(child[f] < 0 ? ERR_IO : OK, "fork", NULL);
        if (child[f] == 0) {
            logs_must(dup2(fileno(out[f]), STDOUT_FILENO) < 0 ? ERR_IO : OK, "dup2", NULL);
            _exit(run_floor(b, file, floors[f]));
        }
    }
    for (int f = 0; f < FLOORS; f++) {
        int status = 0, c;
        logs_must(waitpid(child[f], &status, 0) < 0 || !WIFEXITED(status) ? ERR_IO : OK, "a child",
                  NULL);
        broken += WEXITSTATUS(status);
        rewind(out[f]);
        while ((c = getc(out[f])) != EOF)
            putchar(c);
        (void)fclose(out[f]);
    }
    return broken;
}

/* Broken promises, or -1. */
static int run_file(const char *file, uint32_t logs, bool propensity_only)
{
    char *path = rows_path(file);
    struct rows *rows = path ? rows_read(path) : NULL;
    struct bench b = {.rows = rows, .logs = logs, .propensity_only = propensity_only};
    struct feature_spec spec = {.version = 1, .scalars = true, .text_block = true};
    free(path);
    if (!rows)
        return -1;
    spec.task_slots = (uint16_t)(rows->tasks.n + 1);
    play_config(rows, &spec, 0, &b.config);
    b.x = logs_contexts(rows, &spec);
    b.arms = logs_arms(rows);
    int broken = run_floors(&b, file);
    free(b.x);
    free(b.arms);
    rows_free(rows);
    return broken;
}

int main(int argc, char **argv)
{
    static const char *const usual[] = {"pareto_val", "llmrouter9_train", "messplus3_energy"};
    uint32_t logs = LOGS;
    bool propensity_only = false;
    int broken = 0, at = 1;
    for (; at < argc && argv[at][0] == '-'; at++) {
        if (strcmp(argv[at], "--quick") == 0)
            logs = QUICK_LOGS;
        else if (strcmp(argv[at], "--propensity-only") == 0)
            propensity_only = true;
    }
    if (!getenv("SHUNT_DATA")) {
        printf("skipped: SHUNT_DATA names no folder with the data files\n");
        return 77;
    }
    printf("%-17s %-4s  %-16s %6s  %-16s %5s  %8s  %9s\n", "data", "floor", "target", "ess",
           "interval", "holds", "width", "centre");
    (void)fflush(stdout); /* Before any fork. */
    for (int i = 0; i < (at < argc ? argc - at : 3); i++) {
        int rc = run_file(at < argc ? argv[at + i] : usual[i], logs, propensity_only);
        if (rc < 0)
            return 1;
        broken += rc;
    }
    printf("%d promises broken\n", broken);
    return broken > 0;
}
