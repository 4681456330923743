/* engine_newcomers.c - what new arms may spend in an hour: who is new, who must wait. */
#include "server/engine/engine_parts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { KNOWN_OUTCOMES = 20 }; /* Values of the metric from which an arm's cost counts as known. */

static int metric_of(const struct router_view *r)
{
    const char *name = r->config->settings.newcomer_metric;
    return name[0] ? settings_metric_index(r->config, name, strlen(name)) : -1;
}

static bool is_new(const struct router_view *r, uint32_t index, int metric)
{
    return r->arms[index]->n[metric] < KNOWN_OUTCOMES;
}

static struct quota_id id_of(const struct router_view *r, int metric)
{
    return (struct quota_id){r->uid, (uint8_t)metric};
}

/* What an arm is predicted to cost; the dearest known cost where nobody knows it. */
static double cost_of(const struct engine_worker *w, const struct router_view *r, int metric,
                      uint32_t index)
{
    const struct eligible one = {.index = index};
    float cost = 0;
    if (r->arms[index]->seen_mask >> metric & 1) {
        pacing_costs(r, (uint32_t)metric, w->decision.x, 0, &one, 1, &cost);
        return (double)cost;
    }
    double dearest = 0;
    for (uint32_t i = 0; i < r->arms_n; i++)
        dearest = fmax(dearest, r->arms[i]->recent_raw[metric]);
    return dearest;
}

uint32_t engine_newcomers_filter(struct engine_worker *w, const struct router_view *r,
                                 int64_t now_us, uint32_t n, struct newcomer_ask *ret)
{
    double per_hour = r->config->settings.newcomer_per_hour;
    uint32_t stay = 0, kept = 0;
    *ret = (struct newcomer_ask){.metric = metric_of(r), .now_us = now_us};
    if (ret->metric < 0)
        return n;
    const struct quota_id id = id_of(r, ret->metric);
    ret->left = newcomer_quota_left(w->engine->newcomers, &id, per_hour, now_us);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t index = w->arms[i].index;
        bool spent = is_new(r, index, ret->metric) && cost_of(w, r, ret->metric, index) > ret->left;
        w->marks[index] = spent ? NEWCOMERS_SPENT : ELIGIBLE;
        stay += !spent;
    }
    ret->all_stay = stay == 0;
    ret->refused = stay ? n - stay : 0; /* Nobody was left out, else. */
    for (uint32_t i = 0; i < n; i++) {
        if (stay == 0) /* Serving beats failing. */
            w->marks[w->arms[i].index] = ELIGIBLE;
        else if (w->marks[w->arms[i].index] == ELIGIBLE)
            w->arms[kept++] = w->arms[i];
    }
    return stay ? stay : n;
}

bool engine_newcomers_may_pay(const struct engine_worker *w, const struct router_view *r,
                              const struct newcomer_ask *ask, uint32_t index)
{
    return ask->metric < 0 || !is_new(r, index, ask->metric) ||
           cost_of(w, r, ask->metric, index) <= ask->left;
}

bool engine_newcomers_take(struct engine_worker *w, const struct router_view *r,
                           const struct newcomer_ask *ask, uint32_t index, bool dry_run)
{
    if (ask->metric < 0 || dry_run || !is_new(r, index, ask->metric))
        return true;
    const struct quota_id id = id_of(r, ask->metric);
    double cost = cost_of(w, r, ask->metric, index);
    if (cost > ask->left)
        return ask->all_stay;
    return newcomer_quota_take(w->engine->newcomers, &id, r->config->settings.newcomer_per_hour,
                               cost, ask->now_us);
}

void engine_newcomers_give(struct engine_worker *w, const struct router_view *r,
                           const struct newcomer_ask *ask, uint32_t index)
{
    if (ask->metric < 0 || !is_new(r, index, ask->metric))
        return;
    const struct quota_id id = id_of(r, ask->metric);
    double cost = cost_of(w, r, ask->metric, index);
    if (cost <= ask->left)
        newcomer_quota_give(w->engine->newcomers, &id, cost, ask->now_us);
}

void engine_newcomers_say(struct engine_worker *w, const struct router_view *r, uint32_t index,
                          char *ret_text, size_t cap)
{
    int metric = metric_of(r);
    ret_text[0] = '\0';
    if (metric < 0)
        return;
    const struct quota_id id = id_of(r, metric);
    double per_hour = r->config->settings.newcomer_per_hour;
    (void)snprintf(ret_text, cap, "%s %.3g predicted, %.3g left of %.3g an hour",
                   r->config->metrics[metric].name, cost_of(w, r, metric, index),
                   newcomer_quota_left(w->engine->newcomers, &id, per_hour, clock_unix_us()),
                   per_hour);
}
