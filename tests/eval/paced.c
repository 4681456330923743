#include "tests/eval/paced.h"

#include "server/route/features.h"
#include "state/base/rng.h"
#include "state/model/model.h"
#include "state/model/snapshot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(enum err e, const char *what)
{
    if (e == OK)
        return;
    fprintf(stderr, "paced: %s: %s\n", what, err_text(e));
    abort();
}

void paced_config(struct router_config *c)
{
    settings_defaults(c, "paced");
    c->spec.task_slots = 0;
    int quality = settings_metric_index(c, "quality", strlen("quality"));
    int cost = settings_metric_index(c, "cost_usd", strlen("cost_usd"));
    must(quality >= 0 && cost >= 0 ? OK : ERR_METRIC_NOT_FOUND, "default metrics");
    const struct metric_def kept[PACED_METRICS] = {c->metrics[quality], c->metrics[cost]};
    memcpy(c->metrics, kept, sizeof kept);
    c->metrics[PACED_QUALITY].weight = 1;
    c->metrics_n = PACED_METRICS;
}

float *paced_contexts(const struct rows *rows)
{
    struct router_config config;
    paced_config(&config);
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

double paced_mean(const struct rows *rows, uint32_t arm, int metric)
{
    double sum = 0;
    for (uint32_t i = 0; i < rows->n; i++)
        sum += metric == PACED_QUALITY ? rows->row[i].quality[arm] : rows->row[i].cost[arm];
    return sum / rows->n;
}

/* A second an event, for what has a clock. */
static struct fold_result fold(struct paced *g)
{
    struct fold_result r;
    struct snapshot *next;
    must(model_reserve(g->model, &g->event, 0), "reserve");
    g->event.at_us = (int64_t)g->position * 1000000;
    fold_event(g->model, &g->event, g->position++, &r);
    must(r.err, "fold");
    must(snapshot_build(g->model, g->snapshot, &next), "snapshot");
    snapshot_free(g->snapshot);
    g->snapshot = next;
    return r;
}

static struct event *fresh(struct paced *g, enum event_kind kind)
{
    memset(&g->event, 0, sizeof g->event);
    g->event.kind = kind;
    return &g->event;
}

void paced_open(struct paced *g)
{
    must(model_new(&g->model), "model");
    g->snapshot = NULL;
    g->position = 1;
    g->decided = g->learned = 0;
    memset(g->issued, 0, sizeof g->issued);
    fresh(g, EVENT_ROUTER_CREATE)->u.router = g->config;
    g->event.u.router.settings.seed = g->seed;
    g->router_uid = fold(g).uid;
}

void paced_close(struct paced *g)
{
    snapshot_free(g->snapshot);
    model_free(g->model);
}

void paced_add_arm(struct paced *g, uint32_t arm, bool declared)
{
    struct event *e = fresh(g, EVENT_ARM_ADD);
    e->u.arm.router_uid = g->router_uid;
    struct arm_config *c = &e->u.arm.config;
    memcpy(c->name, g->rows->arms.name[arm], ROWS_NAME_CAP);
    if (declared) {
        c->prior_mask = 1U << PACED_COST;
        c->prior_raw[PACED_COST] = paced_mean(g->rows, arm, PACED_COST);
        c->prior_z[PACED_COST] =
            metric_normalise(&g->config.metrics[PACED_COST], c->prior_raw[PACED_COST]);
    }
    g->arm_uid[arm] = fold(g).uid;
}

void paced_budget(struct paced *g, double budget)
{
    pacing_init(&g->pacing, budget, 2, g->slots, PACING_W);
}

void paced_look(struct paced *g, const float *x, struct paced_look *ret)
{
    const struct router_view *r = g->snapshot->routers[0];
    struct pacing_terms t = pacing_terms(&g->pacing);
    float pmf[ROWS_ARMS_MAX];
    uint32_t trials = 0;
    memset(ret, 0, sizeof *ret);
    ret->n = r->arms_n;
    for (uint32_t a = 0; a < ret->n; a++)
        ret->arms[a] = (struct eligible){.index = a, .issued = g->issued[a]};
    if (g->budgeted) {
        pacing_costs(r, PACED_COST, x, t.budget, ret->arms, ret->n, ret->cost);
        ret->n = pacing_filter(r, PACED_COST, &t, ret->arms, ret->cost, ret->n, &trials);
    }
    const struct decide_input in = {.router = r,
                                    .x = x,
                                    .arms = ret->arms,
                                    .n = ret->n,
                                    .answer_share = 1,
                                    .seed = rng_mix(g->seed, g->decided),
                                    .cost = g->budgeted ? ret->cost : NULL,
                                    .lambda = t.lambda,
                                    .budget = t.budget,
                                    .trials = trials};
    decide(&in, &g->scratch, pmf, &ret->result);
}

struct paced_choice paced_choose(struct paced *g, uint32_t row)
{
    struct paced_look look;
    paced_look(g, g->x + row * spec_d(&g->config.spec), &look);
    uint32_t chosen = look.result.chosen, arm = look.arms[chosen].index;
    double charged = (double)look.cost[chosen];
    g->decided++;
    g->issued[arm]++;
    if (g->budgeted)
        pacing_charge(&g->pacing, &look.result.menu, charged);
    return (struct paced_choice){row, arm, charged};
}

struct fold_result paced_learn(struct paced *g, const struct paced_choice *c, double quality,
                               double cost)
{
    struct event_outcome *o = &g->event.u.outcome;
    size_t d = spec_d(&g->config.spec);
    memset(&g->event, 0, offsetof(struct event, u) + sizeof *o);
    g->event.kind = EVENT_OUTCOME;
    g->learned++;
    memcpy(o->decision.id, &g->learned, sizeof g->learned);
    o->decision.router_uid = g->router_uid;
    o->decision.arm_uid = g->arm_uid[c->arm];
    o->decision.spec_hash = spec_hash(&g->config.spec);
    o->decision.propensity = 1;
    o->decision.d = (uint16_t)d;
    memcpy(o->decision.x, g->x + c->row * d, d * sizeof *g->x);
    double z = metric_normalise(&g->config.metrics[PACED_COST], cost);
    o->metrics[PACED_QUALITY] = (struct outcome_metric){PACED_QUALITY, quality, quality};
    o->metrics[PACED_COST] = (struct outcome_metric){PACED_COST, cost, z};
    o->metrics_n = PACED_METRICS;
    struct fold_result r = fold(g);
    if (g->doubts && (r.alarms || r.alarms_ended))
        pacing_doubt(&g->pacing);
    if (g->budgeted)
        pacing_correct(&g->pacing, c->charged, cost);
    return r;
}

void paced_announce(struct paced *g, uint32_t arm, double factor)
{
    struct event *e = fresh(g, EVENT_ARM_PRICE);
    e->u.price.router_uid = g->router_uid;
    e->u.price.arm_uid = g->arm_uid[arm];
    e->u.price.metric = PACED_COST;
    /* norm_low is 0 and the metric not logarithmic: both scales move alike. */
    e->u.price.factor = e->u.price.z_scale = factor;
    (void)fold(g);
    pacing_doubt(&g->pacing);
}
