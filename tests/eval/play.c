#include "tests/eval/play.h"

#include "server/route/decide.h"
#include "server/route/features.h"
#include "state/base/rng.h"
#include "state/model/fold.h"
#include "state/model/model.h"
#include "state/model/snapshot.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { QUALITY, COST };

static void must(enum err e, const char *what)
{
    if (e == OK)
        return;
    fprintf(stderr, "play: %s: %s\n", what, err_text(e));
    abort();
}

static double mean_cost(const struct rows *rows, uint32_t arm)
{
    double sum = 0;
    uint32_t n = 0;
    for (uint32_t i = 0; i < rows->n; i++)
        if (!isnan(rows->row[i].quality[arm])) {
            sum += rows->row[i].cost[arm];
            n++;
        }
    return n ? sum / n : 0;
}

void play_config(const struct rows *rows, const struct feature_spec *spec, double cost_weight,
                 struct router_config *ret_config)
{
    struct router_config *c = ret_config;
    double low = (double)INFINITY, high = 0;
    settings_defaults(c, "played");
    c->spec = *spec;
    c->settings.explore_floor = 0;
    memset(c->metrics, 0, sizeof c->metrics);
    c->metrics_n = 1;
    c->metrics[QUALITY] = (struct metric_def){
        .name = "quality", .group = METRIC_RATED, .max = 1, .norm_high = 1, .weight = 1};
    for (uint32_t a = 0; a < rows->arms.n; a++) {
        double mean = mean_cost(rows, a);
        if (mean > 0) {
            low = fmin(low, mean);
            high = fmax(high, mean);
        }
    }
    if (low >= high)
        return;
    c->metrics_n = 2;
    c->metrics[COST] = (struct metric_def){.name = "cost_usd",
                                           .group = METRIC_SERVED,
                                           .lower_is_better = true,
                                           .logarithmic = true,
                                           .max = 1e12,
                                           .norm_low = low,
                                           .norm_high = high,
                                           .weight = cost_weight};
}

struct game {
    const struct play *p;
    struct model *model;
    struct snapshot *snapshot;
    struct event event;
    uint64_t position;
    uint32_t router_uid, arm_uid[ROWS_ARMS_MAX];
    uint32_t arm_of[ROWS_ARMS_MAX]; /* By place in the router's view: the arms in order of entry. */
    uint32_t arms_n;
    uint64_t issued[ROWS_ARMS_MAX];
    struct decide_scratch scratch;
    float pmf[MAX_ARMS];
};

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

/* Those that join before row i. */
static void add_arms(struct game *g, uint32_t i)
{
    const struct play *p = g->p;
    for (uint32_t a = 0; a < p->rows->arms.n; a++) {
        if ((p->enters ? p->enters[a] : 0) != i)
            continue;
        memset(&g->event, 0, sizeof g->event);
        g->event.kind = EVENT_ARM_ADD;
        g->event.u.arm.router_uid = g->router_uid;
        if (p->arms)
            g->event.u.arm.config = p->arms[a];
        memcpy(g->event.u.arm.config.name, p->rows->arms.name[a], ROWS_NAME_CAP);
        g->arm_uid[a] = fold(g);
        g->arm_of[g->arms_n++] = a;
    }
}

static void open_game(struct game *g)
{
    must(model_new(&g->model), "model");
    g->position = 1;
    g->event.kind = EVENT_ROUTER_CREATE;
    g->event.u.router = *g->p->config;
    g->event.u.router.settings.seed = g->p->seed;
    g->router_uid = fold(g);
    add_arms(g, 0);
    publish(g);
}

static void change_weights(struct game *g)
{
    struct event_router_update *u = &g->event.u.update;
    memset(&g->event, 0, sizeof g->event);
    g->event.kind = EVENT_ROUTER_UPDATE;
    u->router_uid = g->router_uid;
    u->settings = g->p->config->settings;
    u->settings.seed = g->p->seed;
    u->metrics_n = g->p->config->metrics_n;
    memcpy(u->weights, g->p->weights_then, u->metrics_n * sizeof *u->weights);
    (void)fold(g);
    publish(g);
}

static double cost_z(const struct play *p, const struct row *row, uint32_t arm)
{
    return p->config->metrics_n > COST ? metric_normalise(&p->config->metrics[COST], row->cost[arm])
                                       : 0;
}

static double utility_of(const struct play *p, const struct row *row, uint32_t arm)
{
    const struct metric_def *m = p->config->metrics;
    double quality = p->weights_then ? p->weights_then[QUALITY] : m[QUALITY].weight;
    if (p->config->metrics_n <= COST)
        return quality * row->quality[arm];
    double cost = p->weights_then ? p->weights_then[COST] : m[COST].weight;
    return quality * row->quality[arm] - cost * cost_z(p, row, arm);
}

/* The arm for row number `i` of the stream. */
static uint32_t choose(struct game *g, uint32_t i, const struct row *row, const float *x)
{
    const struct router_view *r = g->snapshot->routers[0];
    struct eligible arms[ROWS_ARMS_MAX];
    struct decide_result result;
    uint32_t n = 0;
    for (uint32_t k = 0; k < r->arms_n; k++)
        if (!isnan(row->quality[g->arm_of[k]])) /* Nothing waits for its outcome. */
            arms[n++] = (struct eligible){.index = k, .issued = g->issued[g->arm_of[k]]};
    struct decide_input in = {.router = r,
                              .x = x,
                              .arms = arms,
                              .n = n,
                              .answer_share = i ? 1 : 0,
                              .seed = rng_mix(g->p->seed, i)};
    decide(&in, &g->scratch, g->pmf, &result);
    uint32_t arm = g->arm_of[arms[result.chosen].index];
    g->issued[arm]++;
    return arm;
}

static void learn(struct game *g, uint32_t i, const struct row *row, uint32_t arm, const float *x)
{
    struct event_outcome *o = &g->event.u.outcome;
    memset(&g->event, 0, offsetof(struct event, u) + sizeof *o);
    g->event.kind = EVENT_OUTCOME;
    memcpy(o->decision.id, &i, sizeof i);
    o->decision.router_uid = g->router_uid;
    o->decision.arm_uid = g->arm_uid[arm];
    o->decision.spec_hash = spec_hash(&g->p->config->spec);
    o->decision.propensity = 1;
    o->decision.d = (uint16_t)spec_d(&g->p->config->spec);
    memcpy(o->decision.x, x, o->decision.d * sizeof *x);
    o->metrics[QUALITY] = (struct outcome_metric){QUALITY, row->quality[arm], row->quality[arm]};
    o->metrics_n = 1;
    if (g->p->config->metrics_n > COST)
        o->metrics[o->metrics_n++] =
            (struct outcome_metric){COST, row->cost[arm], cost_z(g->p, row, arm)};
    (void)fold(g);
    publish(g);
}

double play_run(const struct play *p)
{
    struct game *g = calloc(1, sizeof *g);
    size_t d = spec_d(&p->config->spec);
    double sum = 0;
    must(g ? OK : ERR_NOMEM, "game");
    g->p = p;
    open_game(g);
    for (uint32_t i = 0; i < p->order_n; i++) {
        const struct row *row = &p->rows->row[p->order[i]];
        const float *x = p->x + p->order[i] * d;
        if (i > 0 && p->enters) {
            add_arms(g, i);
            publish(g);
        }
        if (p->weights_then && i == p->weights_at)
            change_weights(g);
        uint32_t arm = choose(g, i, row, x);
        struct play_step step = {i, arm, utility_of(p, row, arm), row};
        sum += step.utility;
        if (p->watch)
            p->watch(p->user, &step);
        learn(g, i, row, arm, x);
    }
    snapshot_free(g->snapshot);
    model_free(g->model);
    free(g);
    return sum / p->order_n;
}

void play_contexts(const struct rows *rows, const struct feature_spec *spec, bool task,
                   float *ret_x)
{
    size_t d = spec_d(spec);
    for (uint32_t i = 0; i < rows->n; i++) {
        const struct row *row = &rows->row[i];
        struct feature_input in = {.text = {row->text, row->text_len}, .task_slot = -1};
        struct err_detail detail;
        if (task)
            in.task_slot = row->task;
        must(features_fill(spec, &in, ret_x + i * d, &detail), "context");
    }
}

double play_best_single(const struct play *p)
{
    double best = -(double)INFINITY;
    for (uint32_t a = 0; a < p->rows->arms.n; a++) {
        double sum = 0;
        uint32_t n = 0;
        for (uint32_t i = 0; i < p->order_n; i++)
            if (!isnan(p->rows->row[p->order[i]].quality[a])) {
                sum += utility_of(p, &p->rows->row[p->order[i]], a);
                n++;
            }
        best = n ? fmax(best, sum / n) : best;
    }
    return best;
}
