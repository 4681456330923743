/* drift - arms that change in mid-stream, on real rows (SHUNT_DATA: pareto_val), under budgets:
 * learn on a random half, then swap; the other half in three phases of 297 rows. Decisions are
 * decide's, with the pacer and its gate; arms declare their mean cost; no task label; every outcome
 * is known at once. Scenarios: in `regression` mistral is silently worth .75 on average in the
 * middle phase; in `price` gemini costs a hundredth in the middle phase, and that is announced (a
 * price event); in `steady` nothing happens, so that alarms are false. Budgets: the middle three of
 * seven between the mean cost of llama and of gemini, evenly spaced on logarithms
 * (tests/eval/pacing has all). Arguments: orders (20), policy (widen, discount, nothing; widen
 * makes rows of the table). Exits 77 without SHUNT_DATA. */
#include "state/base/rng.h"
#include "tests/eval/paced.h"
#include "tests/eval/verdict.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static void must(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "drift: %s\n", what);
    abort();
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

static void play(struct paced *g, enum scenario s, const uint32_t *order, uint32_t n, double budget,
                 struct result *r)
{
    double drop = worse / paced_mean(g->rows, MISTRAL, PACED_QUALITY);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t phase = r ? i / PHASE_ROWS : 0;
        if (r && s == PRICE && i % PHASE_ROWS == 0 && phase > 0)
            paced_announce(g, GEMINI, phase == 1 ? cheap : 1 / cheap);
        const struct row *row = &g->rows->row[order[i]];
        double quality, cost, best, unused;
        struct paced_choice c = paced_choose(g, order[i]);
        outcome_of(row, s, phase, drop, c.arm, &quality, &cost);
        outcome_of(row, s, phase, drop, GEMINI, &best, &unused);
        struct fold_result learned = paced_learn(g, &c, quality, cost);
        if (!r)
            continue;
        uint32_t part = 2 * phase + (i % PHASE_ROWS >= PHASE_ROWS / 2);
        r->alarms += learned.alarms;
        r->n[part]++;
        r->quality[part] += quality;
        r->cost[part] += cost / budget;
        r->gemini[part] += best;
        r->shares[part][c.arm]++;
    }
}

static void play_halves(struct paced *g, enum scenario s, const uint32_t *order, bool swap,
                        double budget, struct result *r)
{
    uint32_t half = g->rows->n / 2, n = g->rows->n;
    paced_open(g);
    for (uint32_t a = 0; a < ARMS; a++)
        paced_add_arm(g, a, true);
    paced_budget(g, budget);
    play(g, STEADY, order + (swap ? half : 0), swap ? n - half : half, budget, NULL);
    paced_budget(g, budget);
    play(g, s, order + (swap ? 0 : half), PHASES * PHASE_ROWS, budget, r);
    r->games++;
    paced_close(g);
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
    double low = paced_mean(rows, LLAMA, PACED_COST), high = paced_mean(rows, GEMINI, PACED_COST);
    return low * pow(high / low, (b + 2) / 6.0);
}

static int run(const struct rows *rows, const float *x, uint32_t orders, enum drift_policy policy)
{
    struct paced *g = calloc(1, sizeof *g);
    uint32_t *order = malloc(rows->n * sizeof *order);
    struct verdicts v = {0, 0};
    must(g && order, "no memory for a game");
    for (enum scenario s = STEADY; s < SCENARIOS; s++) {
        for (uint32_t b = 0; b < BUDGETS; b++) {
            struct result r = {.alarms = 0};
            for (uint32_t o = 0; o < 2 * orders; o++) {
                g->rows = rows;
                g->x = x;
                g->seed = rng_mix(1, o);
                g->budgeted = g->doubts = true;
                paced_config(&g->config);
                g->config.settings.explore_floor = 0;
                g->config.settings.drift_policy = policy;
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
    must(rows && rows->arms.n == ARMS, "pareto_val is not what it was");
    float *x = paced_contexts(rows);
    int code = run(rows, x, orders ? orders : 1, policy);
    free(x);
    rows_free(rows);
    return code;
}
