#include "server/route/eligible.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

/* One-sided 95 % of a normal. */
static const double doubt = 1.645;
/* Outcomes of a served metric before its uncertainty counts. */
enum { TRIAL_OUTCOMES = 20 };

const char *ineligible_code(enum ineligible why)
{
    switch (why) {
#define X(name, number, text)                                                                      \
    case name:                                                                                     \
        return #name;
        INELIGIBLE_LIST(X)
#undef X
    }
    return "ELIGIBLE";
}

const char *ineligible_text(enum ineligible why)
{
    switch (why) {
#define X(name, number, text)                                                                      \
    case name:                                                                                     \
        return text;
        INELIGIBLE_LIST(X)
#undef X
    }
    return "";
}

uint64_t tokens_of_text(size_t text_bytes)
{
    return ((uint64_t)text_bytes + 2) / 3;
}

bool demand_declared(const struct demand *d)
{
    return d->stage || d->selector || d->input_tokens || d->max_output_tokens || d->modalities ||
           d->tools || d->json;
}

enum ineligible eligible_declared(const struct demand *d, const struct arm_config *arm)
{
    const struct capability *can = &arm->can;
    if (d->stage && !selector_matches(d->stage, arm))
        return NOT_IN_STAGE;
    if (d->selector && !selector_matches(d->selector, arm))
        return NOT_SELECTED;
    if (can->context_window && d->input_tokens + d->max_output_tokens > can->context_window)
        return PROMPT_TOO_LONG;
    if (can->max_output_tokens && d->max_output_tokens > can->max_output_tokens)
        return ANSWER_TOO_LONG;
    if (can->modalities && (d->modalities & ~can->modalities))
        return NO_MODALITY;
    if (d->tools && can->tools == DECLARED_NO)
        return NO_TOOLS;
    if (d->json && can->json == DECLARED_NO)
        return NO_JSON;
    return ELIGIBLE;
}

uint16_t demand_metrics(const struct demand *demand)
{
    uint32_t mask = 0;
    for (uint32_t i = 0; i < demand->limits_n; i++)
        mask |= 1u << demand->limits[i].metric;
    return (uint16_t)mask;
}

/* What an arm's metric is held against its limit as. */
struct estimate {
    double z, deviation, raw; /* raw: the plain mean, or the declared prior. */
};

/* Whether anything is known at all. */
static bool estimate_of(const struct metric_def *def, const struct arm_view *arm,
                        const struct guess *guess, uint32_t m, struct estimate *ret)
{
    bool trial = def->group == METRIC_SERVED && arm->n[m] < TRIAL_OUTCOMES;
    if (arm->mean_mask >> m & 1)
        *ret = (struct estimate){guess->z[m], trial ? 0 : guess->deviation[m], arm->recent_raw[m]};
    else if (arm->config->prior_mask >> m & 1)
        *ret = (struct estimate){arm->config->prior_z[m], 0, arm->config->prior_raw[m]};
    else
        return false;
    return true;
}

/* The end of the prediction that is held against the limit. */
static double edge_of(const struct metric_def *def, const struct estimate *e)
{
    bool above = def->lower_is_better == (def->group == METRIC_SERVED);
    return above ? e->z + doubt * e->deviation : e->z - doubt * e->deviation;
}

static bool breaks(const struct metric_def *def, const struct estimate *e, double raw)
{
    if (raw <= def->norm_low || raw >= def->norm_high)
        return def->lower_is_better ? e->raw > raw : e->raw < raw;
    double edge = edge_of(def, e), z = metric_normalise(def, raw);
    return def->lower_is_better ? edge > z : edge < z;
}

enum ineligible eligible_limits(const struct demand *demand, const struct router_view *router,
                                const struct arm_view *arm, const struct guess *guess,
                                uint32_t *ret_limit)
{
    enum ineligible why = ELIGIBLE;
    for (uint32_t i = 0; i < demand->limits_n; i++) {
        const struct limit *l = &demand->limits[i];
        const struct metric_def *def = &router->config->metrics[l->metric];
        struct estimate e;
        if (!estimate_of(def, arm, guess, l->metric, &e) || !breaks(def, &e, l->raw))
            continue;
        *ret_limit = i;
        e.deviation = 0;
        if (def->group == METRIC_RATED || breaks(def, &e, l->raw))
            return OVER_LIMIT;
        why = UNCERTAIN;
    }
    return why;
}

/* ---- in words ---- */

/* From the unit interval back to the metric's own unit. */
static double raw_of(const struct metric_def *def, double z)
{
    if (def->logarithmic)
        return exp(log(def->norm_low) + z * (log(def->norm_high) - log(def->norm_low)));
    return def->norm_low + z * (def->norm_high - def->norm_low);
}

static void say_limit(const struct limit *limit, const struct router_view *router,
                      const struct arm_view *arm, const struct guess *guess, char *ret_text,
                      size_t cap)
{
    const struct metric_def *def = &router->config->metrics[limit->metric];
    struct estimate e = {0};
    (void)estimate_of(def, arm, guess, limit->metric, &e);
    const char *bound = def->lower_is_better ? "at most" : "at least";
    if (!(arm->mean_mask >> limit->metric & 1))
        (void)snprintf(ret_text, cap, "%s is declared as %.3g, wanted is %s %.6g", def->name, e.raw,
                       bound, limit->raw);
    else if (limit->raw <= def->norm_low || limit->raw >= def->norm_high)
        (void)snprintf(ret_text, cap, "%s is %.3g on average, wanted is %s %.6g", def->name, e.raw,
                       bound, limit->raw);
    else
        (void)snprintf(
            ret_text, cap, "%s is predicted as %.3g, with its uncertainty %.3g, wanted is %s %.6g",
            def->name, raw_of(def, e.z), raw_of(def, edge_of(def, &e)), bound, limit->raw);
}

static void say_modalities(const struct demand *demand, const struct arm_config *arm,
                           char *ret_text, size_t cap)
{
    uint32_t lacks = demand->modalities & ~(uint32_t)arm->can.modalities;
    size_t at = 0;
    for (uint32_t m = 0; m < MODALITIES && at < cap; m++) {
        if (!(lacks >> m & 1))
            continue;
        int n = snprintf(ret_text + at, cap - at, "%s%s", at ? ", " : "", modality_name(m));
        at += n > 0 ? (size_t)n : 0;
    }
}

void ineligible_say(enum ineligible why, const struct demand *demand,
                    const struct router_view *router, const struct arm_view *arm, uint32_t limit,
                    const struct guess *guess, char *ret_text, size_t cap)
{
    const struct capability *can = &arm->config->can;
    ret_text[0] = '\0';
    switch (why) {
    case PROMPT_TOO_LONG:
        (void)snprintf(ret_text, cap, "%" PRIu64 " tokens in and %" PRIu64 " out, window %u",
                       demand->input_tokens, demand->max_output_tokens, can->context_window);
        return;
    case ANSWER_TOO_LONG:
        (void)snprintf(ret_text, cap, "%" PRIu64 " tokens out, at most %u",
                       demand->max_output_tokens, can->max_output_tokens);
        return;
    case NO_MODALITY:
        say_modalities(demand, arm->config, ret_text, cap);
        return;
    case OVER_LIMIT:
    case UNCERTAIN:
        say_limit(&demand->limits[limit], router, arm, guess, ret_text, cap);
        return;
    case ELIGIBLE:
    case NOT_A_CANDIDATE:
    case EXCLUDED:
    case PAUSED:
    case COOLING:
    case NOT_IN_STAGE:
    case NOT_SELECTED:
    case NO_TOOLS:
    case NO_JSON:
    case NO_BOUND:
    case OVER_BUDGET:
    case NEWCOMERS_SPENT:
    case UNAFFORDABLE: /* pacing knows the figures. */
        return;
    }
}
