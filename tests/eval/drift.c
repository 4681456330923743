/* drift - arms that change in mid-stream, on real rows (SHUNT_DATA: pareto_val), under budgets:
 * learn on a random half, then swap; the other half in three phases of 297 rows. Decisions are
 * decide's, with the pacer and its gate; arms declare their mean cost; no task label; every outcome
 * is known at once. Scenarios: in `regression` mistral is silently worth .75 on average in the
 * middle phase; in `price` gemini costs a hundredth in the middle phase, and that is announced (a
 * price event); in `steady` nothing happens, so that alarms are false. Budgets: the middle three of
 * seven between the mean cost of llama and of gemini, evenly spaced on logarithms
 * (tests/eval/pacing has all). Arguments: orders (20), policy (widen, discount, nothing; widen
 * makes rows of the table). Exits 77 without SHUNT_DATA. */
#include "server/route/decide.h"
#include "server/route/features.h"
#include "server/route/pacing.h"
#include "state/base/rng.h"
#include "state/model/fold.h"
#include "state/model/model.h"
#include "tests/eval/rows.h"
#include "tests/eval/verdict.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { QUALITY, COST, METRICS };
enum { LLAMA, MISTRAL, GEMINI, ARMS };
enum { PHASES = 3, PHASE_ROWS = 297, PARTS = 2 * PHASES, BUDGETS = 3 };
enum scenario { STEADY, REGRESSION, PRICE, SCENARIOS };

static const char *const scenario_name[] = {"steady", "regression", "price"};
static const char *const policy_name[] = {"widen", "discount", "nothing"};
static const char *const budget_name[] = {"tight", "moderate", "loose"};
static const double cheap = .01, worse = .75;

/* Sums over halves of phases. */
struct result {
    double n[PARTS], quality[PARTS], cost[PARTS], gemini[PARTS], shares[PARTS][ARMS];
    uint64_t alarms, games;
};

struct game {
    const struct rows *rows;
    const float *x;
    struct router_config config;
    struct model *model;
    struct snapshot *snapshot;
    struct event event;
    uint64_t position, seed, decided;
    uint32_t router_uid, arm_uid[ARMS];
    uint64_t issued[ARMS], alarms;
    struct pacing pacing;
    struct pacing_slot slots[PACING_W];
    struct decide_scratch scratch;
};

static void must(enum err e, const char *what)
{
    if (e == OK)
        return;
    fprintf(stderr, "drift: %s: %s\n", what, err_text(e));
    abort();
}

static struct fold_result fold(struct game *g)
{
    struct fold_result r;
    must(model_reserve(g->model, &g->event, 0), "reserve");
    g->event.at_us = (int64_t)g->position * 1000000;
    fold_event(g->model, &g->event, g->position++, &r);
    must(r.err, "fold");
    struct snapshot *next;
    must(snapshot_build(g->model, g->snapshot, &next), "snapshot");
    snapshot_free(g->snapshot);
    g->snapshot = next;
    return r;
}

static struct event *fresh(struct game *g, enum event_kind kind)
{
    memset(&g->event, 0, sizeof g->event);
    g->event.kind = kind;
    return &g->event;
}

/* The default router, with the metrics quality and cost_usd out of its default table. */
static void configure(struct router_config *c, enum drift_policy policy)
{
    settings_defaults(c, "drift");
    c->spec.task_slots = 0;
    c->settings.explore_floor = 0;
    c->settings.drift_policy = policy;
    int quality = settings_metric_index(c, "quality", strlen("quality"));
    int cost = settings_metric_index(c, "cost_usd", strlen("cost_usd"));
    must(quality >= 0 && cost >= 0 ? OK : ERR_METRIC_NOT_FOUND, "default metrics");
    const struct metric_def kept[METRICS] = {c->metrics[quality], c->metrics[cost]};
    memcpy(c->metrics, kept, sizeof kept);
    c->metrics[QUALITY].weight = 1;
    c->metrics_n = METRICS;
}

static double mean_of(const struct rows *rows, uint32_t arm, int metric)
{
    double sum = 0;
    for (uint32_t i = 0; i < rows->n; i++)
        sum += metric == QUALITY ? rows->row[i].quality[arm] : rows->row[i].cost[arm];
    return sum / rows->n;
}

static void open_game(struct game *g)
{
    must(model_new(&g->model), "model");
    g->position = 1;
    fresh(g, EVENT_ROUTER_CREATE)->u.router = g->config;
    g->event.u.router.settings.seed = g->seed;
    g->router_uid = fold(g).uid;
    for (uint32_t a = 0; a < ARMS; a++) {
        struct event *e = fresh(g, EVENT_ARM_ADD);
        e->u.arm.router_uid = g->router_uid;
        struct arm_config *c = &e->u.arm.config;
        memcpy(c->name, g->rows->arms.name[a], ROWS_NAME_CAP);
        c->prior_mask = 1U << COST;
        c->prior_raw[COST] = mean_of(g->rows, a, COST);
        c->prior_z[COST] = metric_normalise(&g->config.metrics[COST], c->prior_raw[COST]);
        g->arm_uid[a] = fold(g).uid;
    }
}

static void close_game(struct game *g)
{
    snapshot_free(g->snapshot);
    model_free(g->model);
}

/* The arm for a row; what it is predicted to cost is paid. */
static uint32_t choose(struct game *g, const float *x, double *ret_charged)
{
    const struct router_view *r = g->snapshot->routers[0];
    struct pacing_terms t = pacing_terms(&g->pacing);
    struct eligible arms[ARMS];
    float cost[ARMS], pmf[ARMS];
    uint32_t n = r->arms_n;
    for (uint32_t a = 0; a < n; a++)
        arms[a] = (struct eligible){.index = a, .issued = g->issued[a]};
    pacing_costs(r, COST, x, t.budget, arms, n, cost);
    n = pacing_filter(r, COST, &t, arms, cost, n);
    const struct decide_input in = {.router = r,
                                    .x = x,
                                    .arms = arms,
                                    .n = n,
                                    .answer_share = 1,
                                    .seed = rng_mix(g->seed, g->decided++),
                                    .cost = cost,
                                    .lambda = t.lambda,
                                    .budget = t.budget};
    struct decide_result d;
    decide(&in, &g->scratch, pmf, &d);
    *ret_charged = (double)cost[d.chosen];
    pacing_charge(&g->pacing, &d.menu, *ret_charged);
    g->issued[arms[d.chosen].index]++;
    return arms[d.chosen].index;
}

static void learn(struct game *g, const float *x, uint32_t arm, double quality, double cost)
{
    struct event_outcome *o = &g->event.u.outcome;
    size_t d = spec_d(&g->config.spec);
    memset(&g->event, 0, offsetof(struct event, u) + sizeof *o);
    g->event.kind = EVENT_OUTCOME;
    memcpy(o->decision.id, &g->decided, sizeof g->decided);
    o->decision.router_uid = g->router_uid;
    o->decision.arm_uid = g->arm_uid[arm];
    o->decision.spec_hash = spec_hash(&g->config.spec);
    o->decision.propensity = 1;
    o->decision.d = (uint16_t)d;
    memcpy(o->decision.x, x, d * sizeof *x);
    double z = metric_normalise(&g->config.metrics[COST], cost);
    o->metrics[QUALITY] = (struct outcome_metric){QUALITY, quality, quality};
    o->metrics[COST] = (struct outcome_metric){COST, cost, z};
    o->metrics_n = METRICS;
    struct fold_result r = fold(g);
    g->alarms += r.alarms;
    if (r.alarms || r.alarms_ended)
        pacing_doubt(&g->pacing);
}

static void announce(struct game *g, uint32_t arm, double factor)
{
    struct event *e = fresh(g, EVENT_ARM_PRICE);
    e->u.price.router_uid = g->router_uid;
    e->u.price.arm_uid = g->arm_uid[arm];
    e->u.price.metric = COST;
    e->u.price.factor = e->u.price.z_scale =
        factor; /* norm_low is 0, the metric not logarithmic. */
    (void)fold(g);
    pacing_doubt(&g->pacing);
}

/* What the row is worth and costs now. drop: what mistral has lost on average, as a factor. */
static void outcome_of(const struct row *row, enum scenario s, uint32_t phase, double drop,
                       uint32_t arm, double *ret_quality, double *ret_cost)
{
    *ret_quality = row->quality[arm];
    *ret_cost = row->cost[arm];
    if (phase != 1)
        return;
    if (s == REGRESSION && arm == MISTRAL)
        *ret_quality *= drop;
    if (s == PRICE && arm == GEMINI)
        *ret_cost *= cheap;
}

static void play(struct game *g, enum scenario s, const uint32_t *order, uint32_t n, bool counted,
                 double budget, struct result *r)
{
    size_t d = spec_d(&g->config.spec);
    double drop = worse / mean_of(g->rows, MISTRAL, QUALITY);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t phase = counted ? i / PHASE_ROWS : 0;
        if (counted && s == PRICE && i % PHASE_ROWS == 0 && phase > 0)
            announce(g, GEMINI, phase == 1 ? cheap : 1 / cheap);
        const struct row *row = &g->rows->row[order[i]];
        const float *x = g->x + order[i] * d;
        double charged, quality, cost, best, unused;
        uint32_t arm = choose(g, x, &charged);
        outcome_of(row, s, phase, drop, arm, &quality, &cost);
        outcome_of(row, s, phase, drop, GEMINI, &best, &unused);
        learn(g, x, arm, quality, cost);
        pacing_correct(&g->pacing, charged, cost);
        if (!counted)
            continue;
        uint32_t part = 2 * phase + (i % PHASE_ROWS >= PHASE_ROWS / 2);
        r->n[part]++;
        r->quality[part] += quality;
        r->cost[part] += cost / budget;
        r->gemini[part] += best;
        r->shares[part][arm]++;
    }
}

static void play_halves(struct game *g, enum scenario s, const uint32_t *order, bool swap,
                        double budget, struct result *r)
{
    uint32_t half = g->rows->n / 2, n = g->rows->n;
    open_game(g);
    pacing_init(&g->pacing, budget, 2, g->slots, PACING_W);
    play(g, STEADY, order + (swap ? half : 0), swap ? n - half : half, false, budget, NULL);
    g->alarms = 0;
    pacing_init(&g->pacing, budget, 2, g->slots, PACING_W);
    play(g, s, order + (swap ? 0 : half), PHASES * PHASE_ROWS, true, budget, r);
    r->alarms += g->alarms;
    r->games++;
    close_game(g);
}

/* Of a whole phase: mean of sum over its two parts. */
static double phase_mean(const struct result *r, const double *sum, uint32_t phase)
{
    return (sum[2 * phase] + sum[2 * phase + 1]) / (r->n[2 * phase] + r->n[2 * phase + 1]);
}

static void print_result(enum scenario s, uint32_t budget, const struct result *r)
{
    printf("%-10s %-8s quality", scenario_name[s], budget_name[budget]);
    for (uint32_t p = 0; p < PHASES; p++)
        printf(" %.4f", phase_mean(r, r->quality, p));
    printf("  cost");
    for (uint32_t p = 0; p < PHASES; p++)
        printf(" %.3f", phase_mean(r, r->cost, p));
    printf("  alarms %.2f  llama, mistral, gemini", (double)r->alarms / (double)r->games);
    for (uint32_t p = 0; p < PHASES; p++) {
        double n = r->n[2 * p] + r->n[2 * p + 1];
        printf(p ? " |" : "");
        for (uint32_t a = 0; a < ARMS; a++)
            printf(" %.0f%%", 100 * (r->shares[2 * p][a] + r->shares[2 * p + 1][a]) / n);
    }
    printf("\n");
    (void)fflush(stdout);
}

static void judge(struct verdicts *v, enum scenario s, uint32_t budget, const struct result *r)
{
    double first = phase_mean(r, r->quality, 0), dearest = 0;
    char row[96];
    for (uint32_t p = 0; p < PHASES; p++)
        dearest = fmax(dearest, phase_mean(r, r->cost, p));
#define NAMED(what)                                                                                \
    (snprintf(row, sizeof row, "drift %s, %s: " what, scenario_name[s], budget_name[budget]), row)
    if (s == REGRESSION) {
        verdict_at_least(v, NAMED("third phase of the first"), phase_mean(r, r->quality, 2) / first,
                         .975);
        verdict_at_least(v, NAMED("its last half"), r->quality[5] / r->n[5] / first, .99);
        verdict_at_most(v, NAMED("cost of the dearest phase"), dearest, 1.02);
    } else if (s == PRICE) {
        verdict_at_least(v, NAMED("middle phase less gemini"),
                         phase_mean(r, r->quality, 1) - phase_mean(r, r->gemini, 1), -.005);
        verdict_at_most(v, NAMED("cost afterwards"), phase_mean(r, r->cost, 2), 1.04);
    } else {
        verdict_at_most(v, NAMED("false alarms in 891 rows"), (double)r->alarms / (double)r->games,
                        .5);
    }
}

static double budget_of(const struct rows *rows, uint32_t b)
{
    double low = mean_of(rows, LLAMA, COST), high = mean_of(rows, GEMINI, COST);
    return low * pow(high / low, (b + 2) / 6.0);
}

static int run(const struct rows *rows, const float *x, uint32_t orders, enum drift_policy policy)
{
    struct game *g = malloc(sizeof *g);
    uint32_t *order = malloc(rows->n * sizeof *order);
    struct verdicts v = {0, 0};
    must(g && order ? OK : ERR_NOMEM, "game");
    for (enum scenario s = STEADY; s < SCENARIOS; s++) {
        for (uint32_t b = 0; b < BUDGETS; b++) {
            struct result r = {.alarms = 0};
            for (uint32_t o = 0; o < 2 * orders; o++) {
                memset(g, 0, sizeof *g);
                g->rows = rows;
                g->x = x;
                g->seed = rng_mix(1, o);
                configure(&g->config, policy);
                rows_shuffle(o / 2, rows->n, order);
                play_halves(g, s, order, o & 1, budget_of(rows, b), &r);
            }
            print_result(s, b, &r);
            if (policy == DRIFT_WIDEN)
                judge(&v, s, b, &r);
        }
    }
    free(order);
    free(g);
    return verdict_end(&v);
}

static float *contexts(const struct rows *rows)
{
    struct router_config config;
    configure(&config, DRIFT_WIDEN);
    size_t d = spec_d(&config.spec);
    float *x = malloc(rows->n * d * sizeof *x);
    must(x ? OK : ERR_NOMEM, "contexts");
    for (uint32_t i = 0; i < rows->n; i++) {
        struct feature_input in = {.text = {rows->row[i].text, rows->row[i].text_len},
                                   .task_slot = -1};
        struct err_detail detail;
        must(features_fill(&config.spec, &in, x + i * d, &detail), "features");
    }
    return x;
}

int main(int argc, char **argv)
{
    uint32_t orders = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 20;
    enum drift_policy policy = DRIFT_WIDEN;
    char *path = rows_path("pareto_val");
    if (!path) {
        printf("skipped: SHUNT_DATA names no folder with the data files\n");
        return 77;
    }
    for (int p = 0; argc > 2 && p < DRIFT_POLICIES; p++)
        if (strcmp(argv[2], policy_name[p]) == 0)
            policy = (enum drift_policy)p;
    struct rows *rows = rows_read(path);
    free(path);
    must(rows && rows->arms.n == ARMS ? OK : ERR_INVALID, "pareto_val");
    float *x = contexts(rows);
    int code = run(rows, x, orders ? orders : 1, policy);
    free(x);
    rows_free(rows);
    return code;
}
