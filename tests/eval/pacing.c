/* pacing - what a budget costs and what it buys, on real rows (SHUNT_DATA), by the protocol of
 * ParetoBandit: learn on a random half, decide and go on learning on the other, then swap; no task
 * label; seven budgets between the mean cost of the cheapest and of the dearest arm. The pacer of
 * the second half starts afresh: empty window, empty bank.
 * Printed: quality less the static hull (the best mix of two arms in hindsight that keeps the
 * budget), mean cost over budget, its largest value in one order, shares of the arms.
 * Then newcomers at the start of the second half: gemini-2.5-flash (pareto_val_k4), a bad one, one
 * ten times dearer than the dearest, with and without a declared price.
 * Arguments: orders (20; what is promised is promised of 20, fewer are noise). Exits 1 when a
 * promise is broken, 77 without SHUNT_DATA. */
#include "server/route/pacing.h"

#include "server/route/decide.h"
#include "server/route/features.h"
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
enum { BUDGETS = 7, DELAY_MAX = 256, RESCORE_EVERY = 5 };

/* One table: who is there when, and what is promised of it. */
struct plan {
    const char *title;
    uint32_t first_n;  /* Arms of the first half; the rest come with the second. */
    uint32_t from, to; /* Budgets [from, to). */
    bool free_first;   /* No budget in the first half. */
    bool undeclared;   /* Newcomers without a price. */
    bool rescore;      /* The window is scored again with today's model, every 5 requests. */
    uint32_t delay;    /* Requests until an outcome is known; at most DELAY_MAX. */
    double floor;
    bool promised;
    const double *least;  /* (BUDGETS): quality less the hull. NULL: not promised. */
    double newcomer_most; /* Share of pulls; 0: not promised. */
};

struct result {
    double budget, quality, hull, cost, worst, share[ROWS_ARMS_MAX];
};

struct waiting { /* A decision whose outcome is not known yet. */
    uint32_t row, arm;
    double charged;
};

struct game {
    const struct rows *rows;
    const struct plan *plan;
    const float *x;
    struct router_config config;
    struct model *model;
    struct snapshot *snapshot;
    struct event event;
    uint64_t position, seed, decided, learned;
    uint32_t router_uid, arm_uid[ROWS_ARMS_MAX];
    uint64_t issued[ROWS_ARMS_MAX];
    bool paced;
    uint32_t window[PACING_W]; /* Rows whose contexts are in the ring. */
    struct waiting waiting[DELAY_MAX + 1];
    struct pacing pacing;
    struct pacing_slot slots[PACING_W];
    struct decide_scratch scratch;
};

static void must(enum err e, const char *what)
{
    if (e == OK)
        return;
    fprintf(stderr, "pacing: %s: %s\n", what, err_text(e));
    abort();
}

static uint32_t fold(struct game *g)
{
    struct fold_result r;
    must(model_reserve(g->model, &g->event, 0), "reserve");
    fold_event(g->model, &g->event, g->position++, &r);
    must(r.err, "fold");
    return r.uid;
}

static void publish(struct game *g)
{
    struct snapshot *next;
    must(snapshot_build(g->model, g->snapshot, &next), "snapshot");
    snapshot_free(g->snapshot);
    g->snapshot = next;
}

static double mean_cost(const struct rows *rows, uint32_t arm)
{
    double sum = 0;
    for (uint32_t i = 0; i < rows->n; i++)
        sum += rows->row[i].cost[arm];
    return sum / rows->n;
}

static void add_arm(struct game *g, uint32_t arm, bool declared)
{
    memset(&g->event, 0, sizeof g->event);
    g->event.kind = EVENT_ARM_ADD;
    g->event.u.arm.router_uid = g->router_uid;
    struct arm_config *c = &g->event.u.arm.config;
    memcpy(c->name, g->rows->arms.name[arm], ROWS_NAME_CAP);
    if (declared) {
        c->prior_mask = 1U << COST;
        c->prior_raw[COST] = mean_cost(g->rows, arm);
        c->prior_z[COST] = metric_normalise(&g->config.metrics[COST], c->prior_raw[COST]);
    }
    g->arm_uid[arm] = fold(g);
}

/* The default router, with the metrics quality and cost_usd out of its default table. */
static void configure(struct router_config *c)
{
    settings_defaults(c, "paced");
    c->spec.task_slots = 0;
    int quality = settings_metric_index(c, "quality", strlen("quality"));
    int cost = settings_metric_index(c, "cost_usd", strlen("cost_usd"));
    must(quality >= 0 && cost >= 0 ? OK : ERR_METRIC_NOT_FOUND, "default metrics");
    const struct metric_def kept[METRICS] = {c->metrics[quality], c->metrics[cost]};
    memcpy(c->metrics, kept, sizeof kept);
    c->metrics[QUALITY].weight = 1;
    c->metrics_n = METRICS;
}

static void open_game(struct game *g)
{
    must(model_new(&g->model), "model");
    g->position = 1;
    g->event.kind = EVENT_ROUTER_CREATE;
    g->event.u.router = g->config;
    g->event.u.router.settings.seed = g->seed;
    g->router_uid = fold(g);
    for (uint32_t a = 0; a < g->plan->first_n; a++)
        add_arm(g, a, !g->plan->undeclared);
    publish(g);
}

/* What is decided of a row: the arms that may be chosen, what they cost, which it is. */
struct view {
    struct eligible arms[ROWS_ARMS_MAX];
    float cost[ROWS_ARMS_MAX];
    uint32_t n;
    struct decide_result result;
};

static void look(struct game *g, const float *x, struct view *v)
{
    const struct router_view *r = g->snapshot->routers[0];
    struct pacing_terms t = pacing_terms(&g->pacing);
    float pmf[ROWS_ARMS_MAX];
    memset(v, 0, sizeof *v);
    v->n = r->arms_n;
    for (uint32_t a = 0; a < v->n; a++)
        v->arms[a] = (struct eligible){.index = a, .issued = g->issued[a]};
    if (g->paced) {
        pacing_costs(r, COST, x, t.budget, v->arms, v->n, v->cost);
        v->n = pacing_filter(r, COST, &t, v->arms, v->cost, v->n);
    }
    const struct decide_input in = {
        .router = r,
        .x = x,
        .arms = v->arms,
        .n = v->n,
        .answer_share = 1,
        .seed = rng_mix(g->seed, g->decided),
        .cost = g->paced ? v->cost : NULL,
        .lambda = t.lambda,
    };
    decide(&in, &g->scratch, pmf, &v->result);
}

/* The window as today's model sees it; bank and breaker stay. */
static void rescore(struct game *g)
{
    struct pacing was = g->pacing;
    struct view v;
    size_t d = spec_d(&g->config.spec);
    uint32_t first = (was.next + PACING_W - was.used) % PACING_W;
    pacing_forget(&g->pacing);
    g->pacing.next = first;
    for (uint32_t i = 0; i < was.used; i++) {
        struct pacing now = g->pacing;
        g->pacing.base = was.base; /* What may be chosen is the same for all of them. */
        g->pacing.used = was.used;
        look(g, g->x + g->window[(first + i) % PACING_W] * d, &v);
        g->pacing = now;
        pacing_charge(&g->pacing, &v.result.menu, 0);
        g->pacing.bank = was.bank;
        g->pacing.spend = was.spend;
        g->pacing.tripped = was.tripped;
    }
}

/* The arm for a row; what it is predicted to cost is paid. */
static struct waiting choose(struct game *g, uint32_t row, const float *x)
{
    struct view v;
    if (g->paced && g->plan->rescore && g->decided % RESCORE_EVERY == 0)
        rescore(g);
    look(g, x, &v);
    uint32_t chosen = v.result.chosen, arm = v.arms[chosen].index;
    g->decided++;
    g->issued[arm]++;
    if (g->paced) {
        g->window[g->pacing.next] = row;
        pacing_charge(&g->pacing, &v.result.menu, (double)v.cost[chosen]);
    }
    return (struct waiting){row, arm, (double)v.cost[chosen]};
}

/* The outcome of a decision becomes known. */
static void learn(struct game *g, const struct waiting *w)
{
    const struct row *row = &g->rows->row[w->row];
    uint32_t arm = w->arm;
    struct event_outcome *o = &g->event.u.outcome;
    size_t d = spec_d(&g->config.spec);
    const float *x = g->x + w->row * d;
    memset(&g->event, 0, offsetof(struct event, u) + sizeof *o);
    g->event.kind = EVENT_OUTCOME;
    g->learned++;
    memcpy(o->decision.id, &g->learned, sizeof g->learned);
    o->decision.router_uid = g->router_uid;
    o->decision.arm_uid = g->arm_uid[arm];
    o->decision.spec_hash = spec_hash(&g->config.spec);
    o->decision.propensity = 1;
    o->decision.d = (uint16_t)d;
    memcpy(o->decision.x, x, d * sizeof *x);
    double z = metric_normalise(&g->config.metrics[COST], row->cost[arm]);
    o->metrics[QUALITY] = (struct outcome_metric){QUALITY, row->quality[arm], row->quality[arm]};
    o->metrics[COST] = (struct outcome_metric){COST, row->cost[arm], z};
    o->metrics_n = METRICS;
    (void)fold(g);
    publish(g);
    if (g->paced)
        pacing_correct(&g->pacing, w->charged, row->cost[arm]);
}

/* The best mix of two arms that keeps the budget; under the cheapest arm's cost, that arm. */
static double hull_at(const double *quality, const double *cost, uint32_t n, double budget)
{
    double best = -1;
    uint32_t cheapest = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (cost[i] < cost[cheapest])
            cheapest = i;
        if (cost[i] <= budget)
            best = fmax(best, quality[i]);
        for (uint32_t j = 0; j < n; j++)
            if (cost[i] < budget && cost[j] > budget)
                best = fmax(best, quality[i] + (quality[j] - quality[i]) * (budget - cost[i]) /
                                                   (cost[j] - cost[i]));
    }
    return best < 0 ? quality[cheapest] : best;
}

/* Plays rows[order[from..to)]; sums into r, each row counting `weight`. */
static void play(struct game *g, const uint32_t *order, uint32_t from, uint32_t to, double weight,
                 struct result *r)
{
    double quality[ROWS_ARMS_MAX] = {0}, cost[ROWS_ARMS_MAX] = {0}, spent = 0;
    size_t d = spec_d(&g->config.spec);
    uint32_t delay = g->plan->delay;
    for (uint32_t i = from; i < to; i++) {
        const struct row *row = &g->rows->row[order[i]];
        struct waiting *w = &g->waiting[i % (delay + 1)];
        *w = choose(g, order[i], g->x + order[i] * d);
        uint32_t arm = w->arm;
        r->quality += weight * row->quality[arm] / (to - from);
        r->share[arm] += weight / (to - from);
        spent += row->cost[arm] / (to - from);
        for (uint32_t a = 0; a < g->rows->arms.n; a++) {
            quality[a] += row->quality[a] / (to - from);
            cost[a] += row->cost[a] / (to - from);
        }
        if (i - from >= delay)
            learn(g, &g->waiting[(i - delay) % (delay + 1)]);
    }
    for (uint32_t i = to - delay; i < to; i++)
        learn(g, &g->waiting[i % (delay + 1)]);
    r->hull += weight * hull_at(quality, cost, g->rows->arms.n, r->budget);
    r->cost += weight * spent / r->budget;
    r->worst = fmax(r->worst, spent / r->budget);
}

static void play_halves(struct game *g, const uint32_t *order, bool swap, double weight,
                        struct result *r)
{
    uint32_t half = g->rows->n / 2, n = g->rows->n;
    struct result unused = {.budget = r->budget};
    open_game(g);
    pacing_init(&g->pacing, r->budget, 2, g->slots, PACING_W);
    g->paced = !g->plan->free_first;
    play(g, order, swap ? half : 0, swap ? n : half, weight, &unused);
    for (uint32_t a = g->plan->first_n; a < g->rows->arms.n; a++)
        add_arm(g, a, !g->plan->undeclared);
    publish(g);
    pacing_init(&g->pacing, r->budget, 2, g->slots, PACING_W);
    g->paced = true;
    play(g, order, swap ? 0 : half, swap ? half : n, weight, r);
    snapshot_free(g->snapshot);
    model_free(g->model);
}

static const double cost_most = 1.004;

static int judge(const struct plan *p, uint32_t budget, const struct result *r, double newcomer)
{
    struct verdicts v = {0};
    char name[96];
    if (!p->promised)
        return 0;
    snprintf(name, sizeof name, "%s, budget %.3g: cost", p->title, r->budget);
    verdict_at_most(&v, name, r->cost, cost_most);
    if (p->least) {
        snprintf(name, sizeof name, "%s, budget %.3g: quality less the hull", p->title, r->budget);
        verdict_at_least(&v, name, r->quality - r->hull, p->least[budget]);
    }
    if (p->newcomer_most > 0) {
        snprintf(name, sizeof name, "%s, budget %.3g: its share", p->title, r->budget);
        verdict_at_most(&v, name, newcomer, p->newcomer_most);
    }
    return (int)v.failed;
}

static int print_result(const struct plan *p, const struct rows *rows, uint32_t budget,
                        const struct result *r)
{
    double newcomer = 0;
    printf("  %.3g  %.4f  %+.4f  %.4f (%.3f) ", r->budget, r->quality, r->quality - r->hull,
           r->cost, r->worst);
    for (uint32_t a = 0; a < rows->arms.n; a++) {
        printf(" %5.2f%%", 100 * r->share[a]);
        newcomer += a >= p->first_n ? r->share[a] : 0;
    }
    printf("\n");
    (void)fflush(stdout);
    return judge(p, budget, r, newcomer);
}

static int run_plan(const struct plan *p, const struct rows *rows, uint32_t dearest, const float *x,
                    uint32_t orders)
{
    struct game *g = malloc(sizeof *g);
    uint32_t *order = malloc(rows->n * sizeof *order);
    double low = mean_cost(rows, 0), high = mean_cost(rows, dearest);
    int broken = 0;
    must(g && order ? OK : ERR_NOMEM, "game");
    printf("%s\n  budget    quality  - hull   cost (worst)  shares of %s ...\n", p->title,
           rows->arms.name[0]);
    for (uint32_t b = p->from; b < p->to; b++) {
        struct result r = {.budget = low * pow(high / low, b / (BUDGETS - 1.0))};
        for (uint32_t o = 0; o < 2 * orders; o++) {
            memset(g, 0, offsetof(struct game, scratch));
            g->rows = rows;
            g->plan = p;
            g->x = x;
            g->seed = rng_mix(1, o);
            configure(&g->config);
            g->config.settings.explore_floor = p->floor;
            rows_shuffle(o / 2, rows->n, order);
            play_halves(g, order, o & 1, .5 / orders, &r);
        }
        broken += print_result(p, rows, b, &r);
    }
    free(order);
    free(g);
    return broken;
}

static float *contexts(const struct rows *rows)
{
    struct router_config config;
    configure(&config);
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

/* An arm made of another: its quality and cost times two factors. */
static void add_column(struct rows *rows, const char *name, uint32_t of, double quality,
                       double cost)
{
    uint32_t a = rows->arms.n++;
    (void)snprintf(rows->arms.name[a], ROWS_NAME_CAP, "%s", name);
    for (uint32_t i = 0; i < rows->n; i++) {
        rows->row[i].quality[a] = quality * rows->row[i].quality[of];
        rows->row[i].cost[a] = cost * rows->row[i].cost[of];
    }
}

/* Arms of the files, in their order. */
enum { LLAMA, MISTRAL, GEMINI, FLASH };

static const double least_alone[BUDGETS] = {-.0025, .008, .028, -.0025, -.0025, -.0025, -.0025};
static const double least_flash[BUDGETS] = {-.003, -.003, -.003, -.003, -.003, -.003, -.003};
#define ALL .to = BUDGETS
#define MIDDLE .from = 2, .to = 5
static const struct plan alone[] = {
    {.title = "pareto_val", .first_n = 3, ALL, .promised = true, .least = least_alone},
    {.title = "pareto_val, floor .01", .first_n = 3, ALL, .floor = .01},
    {.title = "pareto_val, window scored anew with today's model",
     .first_n = 3,
     ALL,
     .rescore = true},
    {.title = "pareto_val, outcomes known 100 requests later", .first_n = 3, ALL, .delay = 100},
    {.title = "pareto_val, first half without a budget", .first_n = 3, ALL, .free_first = true},
};
static const struct plan flash[] = {
    {.title = "pareto_val_k4, flash comes with the second half",
     .first_n = 3,
     MIDDLE,
     .promised = true,
     .least = least_flash},
    {.title = "the same without a declared price", .first_n = 3, MIDDLE, .undeclared = true},
};
static const struct plan bad[] = {
    {.title = "pareto_val, newcomer: half of llama's quality at mistral's cost",
     .first_n = 3,
     MIDDLE,
     .promised = true,
     .newcomer_most = .01},
};
static const struct plan dear[] = {
    {.title = "pareto_val, newcomer: gemini at ten times the cost",
     .first_n = 3,
     ALL,
     .promised = true},
    {.title = "the same without a declared price", .first_n = 3, ALL, .undeclared = true},
};
#define RUN(plans, rows, x) run_plans(plans, sizeof(plans) / sizeof *(plans), rows, x, orders)

static int run_plans(const struct plan *plans, size_t n, const struct rows *rows, const float *x,
                     uint32_t orders)
{
    int broken = 0;
    for (size_t i = 0; i < n; i++)
        broken += run_plan(&plans[i], rows, GEMINI, x, orders);
    return broken;
}

static int run_file(const char *name, uint32_t orders)
{
    char *path = rows_path(name);
    struct rows *rows = path ? rows_read(path) : NULL;
    int broken = 0;
    free(path);
    must(rows ? OK : ERR_INVALID, name);
    float *x = contexts(rows);
    if (rows->arms.n > FLASH) {
        broken = RUN(flash, rows, x);
    } else {
        broken = RUN(alone, rows, x);
        add_column(rows, "bad", LLAMA, .5, mean_cost(rows, MISTRAL) / mean_cost(rows, LLAMA));
        broken += RUN(bad, rows, x);
        rows->arms.n--;
        add_column(rows, "dear", GEMINI, 1, 10);
        broken += RUN(dear, rows, x);
    }
    free(x);
    rows_free(rows);
    return broken;
}

int main(int argc, char **argv)
{
    uint32_t orders = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 20;
    char *path = rows_path("pareto_val");
    if (!path) {
        printf("skipped: SHUNT_DATA names no folder with the data files\n");
        return 77;
    }
    free(path);
    int broken = run_file("pareto_val", orders ? orders : 1);
    broken += run_file("pareto_val_k4", orders ? orders : 1);
    printf("%d broken\n", broken);
    return broken > 0;
}
