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
#include "state/base/rng.h"
#include "tests/eval/paced.h"
#include "tests/eval/verdict.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

struct game {
    struct paced p;
    const struct plan *plan;
    uint32_t window[PACING_W]; /* Rows whose contexts are in the ring. */
    struct paced_choice waiting[DELAY_MAX + 1];
};

static void must(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "pacing: %s\n", what);
    abort();
}

/* The window as today's model sees it; bank and breaker stay. */
static void rescore(struct game *g)
{
    struct pacing *pacing = &g->p.pacing, was = *pacing;
    struct paced_look look;
    size_t d = spec_d(&g->p.config.spec);
    uint32_t first = (was.next + PACING_W - was.used) % PACING_W;
    pacing_forget(pacing);
    pacing->next = first;
    for (uint32_t i = 0; i < was.used; i++) {
        struct pacing now = *pacing;
        pacing->base = was.base; /* What may be chosen is the same for all of them. */
        pacing->used = was.used;
        paced_look(&g->p, g->p.x + g->window[(first + i) % PACING_W] * d, &look);
        *pacing = now;
        pacing_charge(pacing, &look.result.menu, 0);
        pacing->bank = was.bank;
        pacing->spend = was.spend;
        pacing->tripped = was.tripped;
    }
}

static struct paced_choice choose(struct game *g, uint32_t row)
{
    if (g->p.budgeted && g->plan->rescore && g->p.decided % RESCORE_EVERY == 0)
        rescore(g);
    g->window[g->p.pacing.next] = row;
    return paced_choose(&g->p, row);
}

static void learn(struct game *g, const struct paced_choice *c)
{
    const struct row *row = &g->p.rows->row[c->row];
    (void)paced_learn(&g->p, c, row->quality[c->arm], row->cost[c->arm]);
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
    const struct rows *rows = g->p.rows;
    uint32_t delay = g->plan->delay;
    for (uint32_t i = from; i < to; i++) {
        const struct row *row = &rows->row[order[i]];
        struct paced_choice *c = &g->waiting[i % (delay + 1)];
        *c = choose(g, order[i]);
        uint32_t arm = c->arm;
        r->quality += weight * row->quality[arm] / (to - from);
        r->share[arm] += weight / (to - from);
        spent += row->cost[arm] / (to - from);
        for (uint32_t a = 0; a < rows->arms.n; a++) {
            quality[a] += row->quality[a] / (to - from);
            cost[a] += row->cost[a] / (to - from);
        }
        if (i - from >= delay)
            learn(g, &g->waiting[(i - delay) % (delay + 1)]);
    }
    for (uint32_t i = to - delay; i < to; i++)
        learn(g, &g->waiting[i % (delay + 1)]);
    r->hull += weight * hull_at(quality, cost, rows->arms.n, r->budget);
    r->cost += weight * spent / r->budget;
    r->worst = fmax(r->worst, spent / r->budget);
}

static void play_halves(struct game *g, const uint32_t *order, bool swap, double weight,
                        struct result *r)
{
    uint32_t half = g->p.rows->n / 2, n = g->p.rows->n;
    struct result unused = {.budget = r->budget};
    paced_open(&g->p);
    for (uint32_t a = 0; a < g->plan->first_n; a++)
        paced_add_arm(&g->p, a, !g->plan->undeclared);
    paced_budget(&g->p, r->budget);
    g->p.budgeted = !g->plan->free_first;
    play(g, order, swap ? half : 0, swap ? n : half, weight, &unused);
    for (uint32_t a = g->plan->first_n; a < g->p.rows->arms.n; a++)
        paced_add_arm(&g->p, a, !g->plan->undeclared);
    paced_budget(&g->p, r->budget);
    g->p.budgeted = true;
    play(g, order, swap ? 0 : half, swap ? half : n, weight, r);
    paced_close(&g->p);
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
    struct game *g = calloc(1, sizeof *g);
    uint32_t *order = malloc(rows->n * sizeof *order);
    double low = paced_mean(rows, 0, PACED_COST), high = paced_mean(rows, dearest, PACED_COST);
    int broken = 0;
    must(g && order, "no memory for a game");
    printf("%s\n  budget    quality  - hull   cost (worst)  shares of %s ...\n", p->title,
           rows->arms.name[0]);
    for (uint32_t b = p->from; b < p->to; b++) {
        struct result r = {.budget = low * pow(high / low, b / (BUDGETS - 1.0))};
        for (uint32_t o = 0; o < 2 * orders; o++) {
            g->p.rows = rows;
            g->plan = p;
            g->p.x = x;
            g->p.seed = rng_mix(1, o);
            paced_config(&g->p.config);
            g->p.config.settings.explore_floor = p->floor;
            rows_shuffle(o / 2, rows->n, order);
            play_halves(g, order, o & 1, .5 / orders, &r);
        }
        broken += print_result(p, rows, b, &r);
    }
    free(order);
    free(g);
    return broken;
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
    must(rows, name);
    float *x = paced_contexts(rows);
    if (rows->arms.n > FLASH) {
        broken = RUN(flash, rows, x);
    } else {
        broken = RUN(alone, rows, x);
        add_column(rows, "bad", LLAMA, .5,
                   paced_mean(rows, MISTRAL, PACED_COST) / paced_mean(rows, LLAMA, PACED_COST));
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
