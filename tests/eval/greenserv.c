/* greenserv - what the default router would have earned on GreenServ's log, by unbiased replay.
 * greenserv_logged.jsonl.gz of SHUNT_DATA: 7,500 requests of five tasks, one of 16 arms each, drawn
 * uniformly, with the reward (accuracy and energy at lambda .5) that it had. A row counts when the
 * router's own draw is the logged arm, and it learns from those alone [Li et al. 2011]: about 470
 * steps for 16 arms. 60 shuffles.
 * greenserv [ORDERS]. Prints the accepted rows, the mean reward over shuffles and its standard
 * error, for the default router, for it without its explore_floor, for arms that begin at the level
 * of all (alpha 1.7), and for what one may compare with. Exits 1 when the default is below .721, 77
 * without SHUNT_DATA. */
#include "server/lab/evaluate.h"
#include "server/route/features.h"
#include "tests/eval/logs.h"
#include "tests/eval/verdict.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { ARMS = 16, ORDERS = 60, LINE_CAP = 1 << 20 };
static const double promised = .721;

struct greenserv {
    struct names arms, tasks;
    struct log log; /* In the file's order. */
    struct router_config config;
    float *x;
    uint32_t all_arms[ARMS];
    struct lab_arm table[ARMS];
};

static uint32_t name_of(struct names *names, const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    uint32_t i = 0;
    while (s && i < names->n && strcmp(names->name[i], s) != 0)
        i++;
    logs_must(s && i < ARMS && strlen(s) < ROWS_NAME_CAP ? OK : ERR_PARSE, key, NULL);
    if (i == names->n)
        memcpy(names->name[names->n++], s, strlen(s) + 1);
    return i;
}

static void read_line(struct greenserv *g, const char *line, float *ret_x, struct logged_row *row)
{
    json_error_t error;
    struct err_detail detail = {""};
    json_t *o = json_loads(line, JSON_ALLOW_NUL, &error), *text = json_object_get(o, "text");
    logs_must(o && json_is_string(text) ? OK : ERR_PARSE, "a line", NULL);
    const struct feature_input in = {
        .text = {json_string_value(text), json_string_length(text)},
        .task_slot = (int)name_of(&g->tasks, o, "task"),
    };
    logs_must(features_fill(&g->config.spec, &in, ret_x, &detail), "features", &detail);
    row->evaluable = true;
    row->arms = g->all_arms;
    row->arms_n = ARMS;
    row->chosen = name_of(&g->arms, o, "arm");
    row->propensity = json_number_value(json_object_get(o, "propensity"));
    row->has_mask = 1;
    row->raw[0] = json_number_value(json_object_get(json_object_get(o, "outcome"), "reward"));
    row->z[0] = metric_normalise(&g->config.metrics[0], row->raw[0]);
    json_decref(o);
}

/* False: there is no such file. */
static bool read_all(struct greenserv *g)
{
    char *path = rows_path("greenserv_logged"), *line = malloc(LINE_CAP);
    gzFile f = path ? gzopen(path, "rb") : NULL;
    uint32_t cap = 0, d = spec_d(&g->config.spec);
    while (f && line && gzgets(f, line, LINE_CAP)) {
        if (g->log.n == cap) {
            cap = cap ? 2 * cap : 1024;
            g->log.entry = realloc(g->log.entry, cap * sizeof *g->log.entry);
            g->x = realloc(g->x, (size_t)cap * d * sizeof *g->x);
            logs_must(g->log.entry && g->x ? OK : ERR_NOMEM, "memory", NULL);
        }
        struct log_entry *e = &g->log.entry[g->log.n];
        memset(e, 0, sizeof *e);
        read_line(g, line, g->x + (size_t)g->log.n++ * d, &e->row);
    }
    for (uint32_t i = 0; i < g->log.n; i++)
        g->log.entry[i].row.x = g->x + (size_t)i * d;
    for (uint32_t i = 0; i < ARMS; i++) {
        g->all_arms[i] = i;
        g->table[i].name = g->arms.name[i];
    }
    if (f)
        gzclose(f);
    free(path);
    free(line);
    return g->log.n > 0;
}

struct answer {
    double mean, error, accepted, ips, dr;
};

static struct answer replay(const struct greenserv *g, const struct router_config *config,
                            uint32_t orders)
{
    struct answer a = {0, 0, 0, 0, 0};
    struct log shuffled;
    double squares = 0;
    uint32_t *order = malloc(g->log.n * sizeof *order);
    log_init(&shuffled, g->log.n);
    logs_must(order ? OK : ERR_NOMEM, "memory", NULL);
    for (uint32_t k = 0; k < orders; k++) {
        struct evaluation v;
        struct err_detail detail = {""};
        rows_shuffle(k, g->log.n, order);
        for (uint32_t i = 0; i < g->log.n; i++)
            shuffled.entry[i] = g->log.entry[order[i]];
        const struct logged_source source = log_source(&shuffled);
        const struct evaluate_options o = {
            .target = {.config = config, .arms = g->table, .arms_n = ARMS, .seed = k}};
        logs_must(evaluate_run(&o, &source, &v, NULL, NULL, &detail), "evaluate", &detail);
        a.mean += v.utility.replay / orders;
        squares += v.utility.replay * v.utility.replay / orders;
        a.accepted += (double)v.replay_accepted / orders;
        a.ips += v.utility.ips.value / orders;
        a.dr += v.utility.dr.value / orders;
    }
    a.error = sqrt(fmax(0, squares - a.mean * a.mean) / fmax(1, orders - 1));
    free(order);
    log_done(&shuffled);
    return a;
}

static void print_answer(const char *name, struct answer a)
{
    printf("%-32s %8.1f  %.4f  %.4f  %.4f  %.4f\n", name, a.accepted, a.mean, a.error, a.ips, a.dr);
    (void)fflush(stdout);
}

int main(int argc, char **argv)
{
    static struct greenserv g; /* A large table of names: not for the stack. */
    static const char *const others[] = {"thompson", "greedy", "random"};
    uint32_t orders = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : ORDERS;
    settings_defaults(&g.config, "greenserv");
    if (orders < 2 || !read_all(&g)) {
        printf("skipped: SHUNT_DATA names no folder with greenserv_logged.jsonl.gz\n");
        return 77;
    }
    printf("%u rows, %u arms, %u shuffles; the last two columns learn from every row\n", g.log.n,
           g.arms.n, orders);
    printf("%-32s %8s  %6s  %6s  %6s  %6s\n", "router", "accepted", "replay", "error", "ips", "dr");
    struct answer a = replay(&g, &g.config, orders);
    print_answer("default", a);
    struct router_config config = g.config;
    config.settings.explore_floor = 0;
    print_answer("default, explore_floor=0", replay(&g, &config, orders));
    config = g.config;
    config.settings.pooled_level = true;
    config.settings.ridge[METRIC_RATED][0] = 3;
    config.settings.alpha = 1.7;
    print_answer("pooled_level, ridge_bias=3", replay(&g, &config, orders));
    for (size_t i = 0; i < 3; i++) {
        config = g.config;
        snprintf(config.settings.policy, NAME_CAP, "%s", others[i]);
        print_answer(others[i], replay(&g, &config, orders));
    }
    struct verdicts v = {0};
    verdict_at_least(&v, "GreenServ's log, unbiased replay: mean reward of the default", a.mean,
                     promised);
    free(g.x);
    log_done(&g.log);
    return verdict_end(&v);
}
