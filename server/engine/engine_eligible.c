/* engine_eligible.c - what a request asks of an arm, which arms cannot give it, and saying so. */
#include "server/engine/engine_parts.h"

#include <stdio.h>
#include <string.h>

static enum err fill_limits(struct engine_worker *w, const struct router_view *r,
                            const struct route_in *in, struct err_detail *detail)
{
    struct demand *d = &w->demand;
    for (size_t i = 0; i < in->limits_n; i++) {
        const struct engine_weight *l = &in->limits[i];
        char name[NAME_CAP];
        TRY(engine_name(l->name, "a limit's metric", name, detail));
        int m = settings_metric_index(r->config, l->name.data, l->name.len);
        if (m < 0)
            return err_say(detail, ERR_METRIC_NOT_FOUND, "limits: router `%s` has no metric `%s`",
                           r->config->name, name);
        TRY(metric_check_value(&r->config->metrics[m], l->value, detail));
        d->limits[d->limits_n++] = (struct limit){(uint32_t)m, l->value};
    }
    return OK;
}

static enum err fill_selectors(struct engine_worker *w, const struct router_view *r,
                               const struct route_in *in, struct err_detail *detail)
{
    if (in->selector.len > 0) {
        TRY(selector_parse(in->selector, "selector", &w->selector, detail));
        w->demand.selector = w->selector.n ? &w->selector : NULL;
    }
    if (in->stage.len == 0)
        return OK;
    char name[NAME_CAP];
    TRY(engine_name(in->stage, "stage", name, detail));
    const struct stage *s = stages_find(&r->config->settings.stages, in->stage);
    if (!s)
        return err_say(detail, ERR_STAGE_NOT_FOUND, "router `%s` has no stage `%s`",
                       r->config->name, name);
    struct slice allowed = {s->allowed, strlen(s->allowed)};
    TRY(selector_parse(allowed, "the stage's selector", &w->stage, detail));
    w->demand.stage = w->stage.n ? &w->stage : NULL;
    return OK;
}

enum err engine_demand(struct engine_worker *w, const struct router_view *r,
                       const struct route_in *in, struct err_detail *detail)
{
    struct demand *d = &w->demand;
    if (in->limits_n > MAX_METRICS)
        return err_say(detail, ERR_OUT_OF_RANGE, "limits holds at most %d metrics", MAX_METRICS);
    d->stage = d->selector = NULL;
    d->limits_n = 0;
    d->input_tokens = in->input_tokens ? in->input_tokens : tokens_of_text(in->text.len);
    d->max_output_tokens = in->agent.max_output_tokens;
    d->modalities = (uint8_t)(in->modalities | (in->agent.images ? 1u << MODALITY_IMAGE : 0));
    d->tools = in->agent.tools_required;
    d->json = in->agent.json_required;
    if (in->selector.len > 0 || in->stage.len > 0)
        TRY(fill_selectors(w, r, in, detail));
    return in->limits_n > 0 ? fill_limits(w, r, in, detail) : OK;
}

/* Judges w->limited[0..n), at most ENGINE_GUESSES of them. */
static void judge(struct engine_worker *w, const struct router_view *r, uint32_t n)
{
    score_guess(r, demand_metrics(&w->demand), w->decision.x, w->limited, n, w->guesses);
    for (uint32_t k = 0; k < n; k++) {
        uint32_t i = w->limited[k], limit = 0;
        enum ineligible why = eligible_limits(&w->demand, r, r->arms[i], &w->guesses[k], &limit);
        w->marks[i] = (uint8_t)why;
        w->broken[i] = (uint8_t)limit;
    }
}

void engine_constrain(struct engine_worker *w, const struct router_view *r)
{
    const struct demand *d = &w->demand;
    bool declared = demand_declared(d);
    if (!declared && d->limits_n == 0)
        return;
    uint32_t n = 0;
    for (uint32_t i = 0; i < r->arms_n; i++) {
        if (w->marks[i] != ELIGIBLE)
            continue;
        enum ineligible why = r->arms[i]->paused ? PAUSED : ELIGIBLE;
        if (why == ELIGIBLE && declared)
            why = eligible_declared(d, r->arms[i]->config);
        w->marks[i] = (uint8_t)why;
        if (why != ELIGIBLE || d->limits_n == 0)
            continue;
        w->limited[n++] = i;
        if (n == ENGINE_GUESSES) {
            judge(w, r, n);
            n = 0;
        }
    }
    if (n)
        judge(w, r, n);
}

/* The figures behind a mark; predicted anew, since only a few are shown. */
static void say_detail(struct engine_worker *w, const struct router_view *r, uint32_t index,
                       char *ret_text, size_t cap)
{
    enum ineligible why = (enum ineligible)w->marks[index];
    if (why == NO_BOUND || why == OVER_BUDGET) {
        engine_session_say_arm(w, r, index, ret_text, cap);
        return;
    }
    if (why == NEWCOMERS_SPENT) {
        engine_newcomers_say(w, r, index, ret_text, cap);
        return;
    }
    if (why == OVER_LIMIT || why == UNCERTAIN)
        score_guess(r, demand_metrics(&w->demand), w->decision.x, &index, 1, w->guesses);
    ineligible_say(why, &w->demand, r, r->arms[index], w->broken[index], w->guesses, ret_text, cap);
}

/* The code and the figures of every arm, as many as fit, and how many more there are. */
enum err engine_say_no_arm(struct engine_worker *w, const struct router_view *r,
                           struct err_detail *detail)
{
    if (r->arms_n == 0)
        return err_say(detail, ERR_NO_ELIGIBLE_ARM, "router `%s` has no arms; add one first",
                       r->config->name);
    char text[sizeof detail->text - 160], one[EXCLUDED_DETAIL_CAP], more[32] = "";
    size_t at = 0;
    for (uint32_t i = 0; i < r->arms_n; i++) {
        say_detail(w, r, i, one, sizeof one);
        int n = snprintf(text + at, sizeof text - at, "%s%s: %s%s%s%s", i ? "; " : "",
                         r->arms[i]->config->name, ineligible_code((enum ineligible)w->marks[i]),
                         one[0] ? " (" : "", one, one[0] ? ")" : "");
        if (n < 0 || (size_t)n >= sizeof text - at) {
            text[at] = '\0';
            (void)snprintf(more, sizeof more, "; and %u more", r->arms_n - i);
            break;
        }
        at += (size_t)n;
    }
    return err_say(detail, ERR_NO_ELIGIBLE_ARM, "no arm of router `%s` is eligible: %s%s",
                   r->config->name, text, more);
}

void engine_show_excluded(struct engine_worker *w, const struct router_view *r, bool all_cooling,
                          uint32_t chosen, const struct budget *budget, struct route_out *out)
{
    for (uint32_t i = 0; i < r->arms_n; i++) {
        bool served = i == chosen || (all_cooling && w->marks[i] == COOLING);
        if (w->marks[i] == ELIGIBLE || served)
            continue;
        if (out->excluded_n++ >= MAX_EXCLUDED)
            continue;
        struct excluded_arm *e = &out->excluded[out->excluded_n - 1];
        memcpy(e->name, r->arms[i]->config->name, NAME_CAP);
        e->why = w->marks[i];
        if (e->why == UNAFFORDABLE)
            engine_say_unaffordable(r->config->metrics[budget->id.metric].name,
                                    (double)w->refused_cost[i], budget->terms.affordable,
                                    budget->terms.cheapest_only, e->detail, sizeof e->detail);
        else
            say_detail(w, r, i, e->detail, sizeof e->detail);
    }
}
