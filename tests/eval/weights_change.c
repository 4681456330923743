/* weights_change - two promises about weights, on real rows (SHUNT_DATA).
 * - A router whose weights change at request 2,000 against one that had the new weights from the
 *   start: mean utility under the new weights over requests 2,050 to 2,500 within .015 of it, and
 *   from 2,050 to the end within .010. messplus3 and llmrouter9, from quality alone to the mix and
 *   back, 40 orders.
 * - theta of a weighted sum of metrics is the weighted sum of the metrics' thetas, to 1e-12: a
 *   router that learns the sum itself against one that learns the metrics, the same outcomes.
 * Exits 1 when a row fails, 77 without the data. Argument: orders. */
#include "state/base/rng.h"
#include "state/model/fold.h"
#include "state/model/model.h"
#include "tests/eval/play.h"
#include "tests/eval/verdict.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ORDERS = 40, CHANGE_AT = 2000, SETTLED = 2050, SOON = 2500, QUALITY = 0, COST = 1 };
static const double soon_limit = .015, end_limit = .010, theta_limit = 1e-12;
static const double weights[2][2] = {{1, 0}, {.5, .5}}; /* Quality alone; the mix. */

struct world {
    const char *name;
    struct rows *rows;
    struct router_config config;
    float *x;
    uint32_t *order;
};

static bool world_open(struct world *w, const char *file)
{
    char *path = rows_path(file);
    w->name = file;
    w->rows = path ? rows_read(path) : NULL;
    free(path);
    if (!w->rows)
        return false;
    struct feature_spec spec = {.version = 1, .scalars = true, .text_block = true};
    spec.task_slots = (uint16_t)(w->rows->tasks.n + 1);
    play_config(w->rows, &spec, 0, &w->config);
    /* As the mixes of tests/eval/run: linear up to the mean of the rows' largest cost. */
    double scale = 0;
    for (uint32_t i = 0; i < w->rows->n; i++) {
        double most = 0;
        for (uint32_t a = 0; a < w->rows->arms.n; a++)
            if (!isnan(w->rows->row[i].quality[a]))
                most = fmax(most, w->rows->row[i].cost[a]);
        scale += most / w->rows->n;
    }
    w->config.metrics[COST].logarithmic = false;
    w->config.metrics[COST].norm_low = 0;
    w->config.metrics[COST].norm_high = scale;
    w->x = malloc((size_t)w->rows->n * spec_d(&spec) * sizeof *w->x);
    w->order = malloc(w->rows->n * sizeof *w->order);
    if (!w->x || !w->order)
        abort();
    play_contexts(w->rows, &spec, true, w->x);
    return true;
}

static void world_close(struct world *w)
{
    rows_free(w->rows);
    free(w->x);
    free(w->order);
}

/* ---- A change of weights ---- */

struct spans {
    double soon, end; /* Sums of utility. */
};

static void watch(void *user, const struct play_step *step)
{
    struct spans *s = user;
    if (step->i < SETTLED)
        return;
    s->soon += step->i < SOON ? step->utility : 0;
    s->end += step->utility;
}

/* Mean utility under weights[to]; begun under weights[from]. */
static struct spans run(struct world *w, int from, int to, uint64_t seed)
{
    struct spans s = {0};
    for (int m = 0; m < 2; m++)
        w->config.metrics[m].weight = weights[from][m];
    struct play p = {.rows = w->rows,
                     .config = &w->config,
                     .x = w->x,
                     .order = w->order,
                     .order_n = w->rows->n,
                     .seed = seed,
                     .weights_then = weights[to],
                     .weights_at = CHANGE_AT,
                     .watch = watch,
                     .user = &s};
    (void)play_run(&p);
    s.soon /= SOON - SETTLED;
    s.end /= w->rows->n - SETTLED;
    return s;
}

static void change_row(struct verdicts *v, struct world *w, int from, int to, uint32_t orders)
{
    double soon = 0, end = 0, squares = 0;
    for (uint64_t o = 0; o < orders; o++) {
        rows_shuffle(o, w->rows->n, w->order);
        struct spans changed = run(w, from, to, o), all_along = run(w, to, to, o);
        soon += (changed.soon - all_along.soon) / orders;
        end += (changed.end - all_along.end) / orders;
        squares += pow(changed.end - all_along.end, 2) / orders;
    }
    /* Better than the router that knew is no failure. */
    char name[128];
    const char *way = to ? "quality to mix" : "mix to quality";
    snprintf(name, sizeof name, "weights change, %s, %s: %d-%d", w->name, way, SETTLED, SOON);
    verdict_at_least(v, name, soon, -soon_limit);
    snprintf(name, sizeof name, "weights change, %s, %s: %d-end", w->name, way, SETTLED);
    verdict_at_least(v, name, end, -end_limit);
    printf("  one standard error of the latter: %.4f\n",
           sqrt(fmax(0, squares - end * end) / orders));
    (void)fflush(stdout);
}

/* ---- theta under weights ---- */

enum { SUM_ORDER_N = 2000, WEIGHTINGS = 5, SIXTEENTHS = 16, STEPS = 4096 };

/* A model of one router with the rows' arms. */
struct learner {
    struct model *model;
    struct event event;
    uint64_t position;
    uint32_t router_uid, arm_uid[ROWS_ARMS_MAX];
};

static uint32_t fold(struct learner *l)
{
    struct fold_result r;
    if (model_reserve(l->model, &l->event, 0) != OK)
        abort();
    fold_event(l->model, &l->event, ++l->position, &r);
    return r.uid;
}

static void learner_open(struct learner *l, const struct world *w, uint32_t metrics_n)
{
    memset(l, 0, sizeof *l);
    if (model_new(&l->model) != OK)
        abort();
    l->event.kind = EVENT_ROUTER_CREATE;
    l->event.u.router = w->config;
    struct router_config *c = &l->event.u.router;
    c->metrics_n = metrics_n;
    for (uint32_t m = 0; m < metrics_n; m++)
        c->metrics[m] = (struct metric_def){
            .name = {(char)('a' + m)}, .group = METRIC_RATED, .max = 1, .norm_high = 1};
    l->router_uid = fold(l);
    for (uint32_t a = 0; a < w->rows->arms.n; a++) {
        memset(&l->event, 0, sizeof l->event);
        l->event.kind = EVENT_ARM_ADD;
        l->event.u.arm.router_uid = l->router_uid;
        memcpy(l->event.u.arm.config.name, w->rows->arms.name[a], ROWS_NAME_CAP);
        l->arm_uid[a] = fold(l);
    }
}

static void learn(struct learner *l, const struct world *w, uint32_t i, uint32_t arm,
                  const double *z, uint8_t n)
{
    struct event_outcome *o = &l->event.u.outcome;
    memset(&l->event, 0, sizeof l->event);
    l->event.kind = EVENT_OUTCOME;
    memcpy(o->decision.id, &i, sizeof i);
    o->decision.router_uid = l->router_uid;
    o->decision.arm_uid = l->arm_uid[arm];
    o->decision.spec_hash = spec_hash(&w->config.spec);
    o->decision.propensity = 1;
    o->decision.d = (uint16_t)spec_d(&w->config.spec);
    memcpy(o->decision.x, w->x + (size_t)w->order[i] * o->decision.d,
           o->decision.d * sizeof(float));
    for (o->metrics_n = 0; o->metrics_n < n; o->metrics_n++)
        o->metrics[o->metrics_n] =
            (struct outcome_metric){o->metrics_n, z[o->metrics_n], z[o->metrics_n]};
    (void)fold(l);
}

static void theta_of(const struct learner *l, uint32_t arm, uint32_t m, double *ret)
{
    const struct router *r = model_router(l->model, l->router_uid);
    double slopes[MAX_D], target[MAX_D];
    pooled_slopes(r->pooled, &r->config, m, slopes);
    for (uint32_t i = 0; i < r->d; i++)
        slopes[i] *= r->config.settings.ridge[METRIC_RATED][1];
    stats_theta(router_arm(r, l->arm_uid[arm]), r->pooled, &r->config, m, slopes, target, ret);
}

/* Quality and cheapness in steps that a float holds exactly, as their sums do. */
static double step_of(double v)
{
    return floor(fmin(fmax(v, 0), 1) * STEPS) / STEPS;
}

static double largest_gap(const struct world *w, double gamma)
{
    struct learner parts, sums[WEIGHTINGS];
    struct world faded = *w;
    double worst = 0, d = spec_d(&w->config.spec);
    faded.config.settings.gamma = gamma;
    learner_open(&parts, &faded, 2);
    for (int k = 0; k < WEIGHTINGS; k++)
        learner_open(&sums[k], &faded, 1);
    rows_shuffle(3, w->rows->n, w->order);
    for (uint32_t i = 0; i < SUM_ORDER_N; i++) {
        const struct row *row = &w->rows->row[w->order[i]];
        uint32_t arm = (uint32_t)rng_below(5, i, w->rows->arms.n);
        if (isnan(row->quality[arm]))
            continue;
        double z[2] = {step_of(row->quality[arm]),
                       step_of(1 - row->cost[arm] / w->config.metrics[COST].norm_high)};
        learn(&parts, w, i, arm, z, 2);
        for (int k = 0; k < WEIGHTINGS; k++) {
            double share = (1 + 3.0 * k) / SIXTEENTHS, sum = share * z[0] + (1 - share) * z[1];
            learn(&sums[k], w, i, arm, &sum, 1);
        }
    }
    for (uint32_t a = 0; a < w->rows->arms.n; a++) {
        double quality[MAX_D], cheap[MAX_D], sum[MAX_D];
        theta_of(&parts, a, 0, quality);
        theta_of(&parts, a, 1, cheap);
        for (int k = 0; k < WEIGHTINGS; k++) {
            double share = (1 + 3.0 * k) / SIXTEENTHS;
            theta_of(&sums[k], a, 0, sum);
            for (int i = 0; i < d; i++)
                worst = fmax(worst, fabs(sum[i] - share * quality[i] - (1 - share) * cheap[i]));
        }
    }
    model_free(parts.model);
    for (int k = 0; k < WEIGHTINGS; k++)
        model_free(sums[k].model);
    return worst;
}

static void theta_row(struct verdicts *v, const struct world *w, double gamma)
{
    char name[128];
    snprintf(name, sizeof name, "theta under weights, %s, gamma %g: largest difference", w->name,
             gamma);
    verdict_at_most(v, name, largest_gap(w, gamma), theta_limit);
}

int main(int argc, char **argv)
{
    static const char *const files[] = {"messplus3_energy", "llmrouter9_train"};
    uint32_t orders = argc > 1 ? (uint32_t)atoi(argv[1]) : ORDERS;
    struct verdicts v = {0};
    for (size_t f = 0; f < sizeof files / sizeof *files; f++) {
        struct world w = {0};
        if (!world_open(&w, files[f])) {
            printf("skipped: SHUNT_DATA names no folder with %s\n", files[f]);
            return 77;
        }
        theta_row(&v, &w, 1);
        theta_row(&v, &w, .999);
        change_row(&v, &w, 0, 1, orders);
        change_row(&v, &w, 1, 0, orders);
        world_close(&w);
    }
    return verdict_end(&v);
}
