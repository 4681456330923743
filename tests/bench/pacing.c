/* pacing_cost - CPU of a budget in a decision: what each step of the pacer takes, in nanoseconds.
 * Arguments: arms (16), features (44; with the bias a context of 45). Medians of passes over 4,096
 * contexts; the whole is what RouteRequest pays on top, `score` what it pays anyway. */
#include "server/live/pacers.h"
#include "state/base/rng.h"
#include "state/model/fold.h"
#include "state/model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CONTEXTS = 4096, PASSES = 31, ARMS_MAX = 1024, FEATURES_MAX = 500 };
enum step { SCORE, TERMS, COSTS, FILTER, APPLY, CHARGE, CORRECT, STEPS };
static const char *const step_names[STEPS] = {"score (paid anyway)", "terms",  "costs",  "filter",
                                              "apply and menu",      "charge", "correct"};

struct bench {
    uint32_t arms_n, d, router_uid, metric;
    struct model *model;
    struct snapshot *snapshot;
    struct pacers *pacers;
    struct event event;
    uint64_t position;
    float *x; /* (CONTEXTS, d) */
    uint32_t uid[ARMS_MAX];
    struct eligible arms[ARMS_MAX];
    struct score scores[ARMS_MAX];
    float cost[ARMS_MAX];
    float work[PACING_WORK(ARMS_MAX)];
    double ns[STEPS + 1][PASSES];
};

static void must(enum err e)
{
    if (e == OK)
        return;
    fprintf(stderr, "pacing_cost: %s\n", err_text(e));
    abort();
}

static double now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static uint32_t fold(struct bench *b)
{
    struct fold_result r;
    must(model_reserve(b->model, &b->event, 0));
    fold_event(b->model, &b->event, b->position++, &r);
    must(r.err);
    return r.uid;
}

static void make_router(struct bench *b, uint32_t features)
{
    must(model_new(&b->model));
    b->position = 1;
    b->event.kind = EVENT_ROUTER_CREATE;
    struct router_config *c = &b->event.u.router;
    settings_defaults(c, "bench");
    c->spec = (struct feature_spec){.features_n = (uint16_t)features};
    b->metric = (uint32_t)settings_metric_index(c, "cost_usd", strlen("cost_usd"));
    b->d = spec_d(&c->spec);
    b->router_uid = fold(b);
    for (uint32_t a = 0; a < b->arms_n; a++) {
        memset(&b->event, 0, sizeof b->event);
        b->event.kind = EVENT_ARM_ADD;
        b->event.u.arm.router_uid = b->router_uid;
        (void)snprintf(b->event.u.arm.config.name, NAME_CAP, "arm-%u", a);
        b->uid[a] = fold(b);
    }
}

/* Every arm: quality and cost that depend on the context, dearer arms better. */
static void teach(struct bench *b)
{
    uint64_t hash = model_router(b->model, b->router_uid)->hash;
    for (uint32_t i = 0; i < 64 * b->arms_n; i++) {
        uint32_t a = i % b->arms_n;
        struct event_outcome *o = &b->event.u.outcome;
        memset(&b->event, 0, sizeof b->event);
        b->event.kind = EVENT_OUTCOME;
        memcpy(o->decision.id, &i, sizeof i);
        o->decision.router_uid = b->router_uid;
        o->decision.arm_uid = b->uid[a];
        o->decision.spec_hash = hash;
        o->decision.d = (uint16_t)b->d;
        memcpy(o->decision.x, b->x + (size_t)(i % CONTEXTS) * b->d, b->d * sizeof(float));
        double cost = (1 + a * a) * 1e-4 * (.5 + rng_uniform(1, i));
        double reward = .5 + .4 * a / b->arms_n + .1 * rng_uniform(2, i);
        o->metrics[0] = (struct outcome_metric){0, reward, reward};
        o->metrics[1] = (struct outcome_metric){(uint8_t)b->metric, cost, cost};
        o->metrics_n = 2;
        (void)fold(b);
    }
    must(snapshot_build(b->model, NULL, &b->snapshot));
}

static void open_bench(struct bench *b, uint32_t features)
{
    b->x = malloc((size_t)CONTEXTS * (features + 1) * sizeof *b->x);
    must(b->x ? OK : ERR_NOMEM);
    make_router(b, features);
    for (uint32_t i = 0; i < CONTEXTS * b->d; i++)
        b->x[i] = i % b->d == 0 ? 1 : (float)(rng_uniform(3, i) - .5) * .5F;
    teach(b);
    must(pacers_new(10000, 60000000, &b->pacers));
}

/* One decision; ns[k] grows by what step k took. */
static void decide_one(struct bench *b, uint32_t i, double ns[STEPS + 1])
{
    const struct router_view *r = b->snapshot->routers[0];
    const float *x = b->x + (size_t)i * b->d;
    const struct pacer_id id = {.router_uid = b->router_uid};
    const struct pacer_budget budget = {.002, 2};
    struct pacing_terms t;
    struct pacing_menu menu;
    struct utility u;
    uint32_t n = b->arms_n;
    double at[STEPS + 1];
    for (uint32_t a = 0; a < n; a++)
        b->arms[a] = (struct eligible){.index = a, .issued = 100};
    utility_init(&u, r, NULL);
    at[0] = now_ns();
    score_arms(r, &u, x, b->arms, n, 1, b->scores);
    at[1] = now_ns();
    must(pacers_terms(b->pacers, &id, &budget, 1, &t));
    at[2] = now_ns();
    pacing_costs(r, b->metric, x, t.budget, b->arms, n, b->cost);
    at[3] = now_ns();
    n = pacing_filter(r, b->metric, &t, b->arms, b->cost, n, NULL);
    at[4] = now_ns();
    pacing_apply(t.lambda, b->cost, n, 1, b->scores, b->work, &menu);
    at[5] = now_ns();
    uint32_t best = 0;
    for (uint32_t a = 1; a < n; a++)
        if (b->scores[a].mean + b->scores[a].width > b->scores[best].mean + b->scores[best].width)
            best = a;
    double charge_at = now_ns();
    pacers_charge(b->pacers, &id, &menu, (double)b->cost[best]);
    at[6] = now_ns();
    pacers_correct(b->pacers, &id, (double)b->cost[best], 1.1 * (double)b->cost[best]);
    at[7] = now_ns();
    for (int k = 0; k < STEPS; k++)
        ns[k] += at[k + 1] - (k == CHARGE ? charge_at : at[k]);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void print_steps(struct bench *b, double clock_ns)
{
    double sum = 0;
    printf("%u arms, d %u, ns a decision (less %.0f for the clock)\n", b->arms_n, b->d, clock_ns);
    for (int k = 0; k < STEPS; k++) {
        qsort(b->ns[k], PASSES, sizeof(double), by_value);
        double median = b->ns[k][PASSES / 2] / CONTEXTS - clock_ns;
        printf("  %-20s %6.0f\n", step_names[k], median);
        if (k != SCORE && k != CORRECT)
            sum += median;
    }
    printf("  %-20s %6.0f\n", "RouteRequest grows by", sum);
}

int main(int argc, char **argv)
{
    struct bench *b = calloc(1, sizeof *b);
    must(b ? OK : ERR_NOMEM);
    long arms = argc > 1 ? strtol(argv[1], NULL, 10) : 16;
    long features = argc > 2 ? strtol(argv[2], NULL, 10) : 44;
    if (arms < 1 || arms > ARMS_MAX || features < 0 || features > FEATURES_MAX) {
        fprintf(stderr, "pacing_cost [ARMS 1..%d [FEATURES 0..%d]]\n", ARMS_MAX, FEATURES_MAX);
        return 2;
    }
    b->arms_n = (uint32_t)arms;
    open_bench(b, (uint32_t)features);
    for (int pass = 0; pass < PASSES; pass++) {
        double ns[STEPS + 1] = {0};
        for (uint32_t i = 0; i < CONTEXTS; i++)
            decide_one(b, i, ns);
        for (int k = 0; k < STEPS; k++)
            b->ns[k][pass] = ns[k];
    }
    double start = now_ns();
    for (int i = 0; i < 100000; i++)
        (void)now_ns();
    print_steps(b, (now_ns() - start) / 100001);
    pacers_free(b->pacers);
    snapshot_free(b->snapshot);
    model_free(b->model);
    free(b->x);
    free(b);
    return 0;
}
