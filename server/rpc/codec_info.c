#include "server/rpc/codec_info.h"

#include "server/ops/clock.h"
#include "server/rpc/codec.h"
#include "server/rpc/codec_budget.h"
#include "server/rpc/codec_sources.h"
#include "server/rpc/codec_spec.h"

#include <math.h>
#include <string.h>

static char *copy(struct arena *arena, const char *text)
{
    return arena_text(arena, text, strlen(text));
}

static Shunt__V1__MetricStats *metric_stats(const struct arm_view *arm, uint32_t m,
                                            struct arena *arena)
{
    Shunt__V1__MetricStats *s = arena_alloc(arena, sizeof *s);
    if (!s)
        return NULL;
    shunt__v1__metric_stats__init(s);
    s->has_n = true;
    s->n = arm->n[m];
    s->has_mean = arm->n[m] != 0;
    s->mean = arm->mean_raw[m];
    return s;
}

/* The maps of ArmInfo and ArmStats are different types of the same shape. */
#define METRICS_OUT(function, entry, entry_init)                                                   \
    static entry **function(const struct router_view *router, const struct arm_view *arm,          \
                            struct arena *arena)                                                   \
    {                                                                                              \
        uint32_t n = router->config->metrics_n;                                                    \
        entry *entries = arena_array(arena, n, sizeof *entries);                                   \
        entry **list = arena_array(arena, n, sizeof *list);                                        \
        for (uint32_t m = 0; entries && list && m < n; m++) {                                      \
            entry_init(&entries[m]);                                                               \
            entries[m].key = copy(arena, router->config->metrics[m].name);                         \
            entries[m].value = metric_stats(arm, m, arena);                                        \
            if (!entries[m].key || !entries[m].value)                                              \
                return NULL;                                                                       \
            list[m] = &entries[m];                                                                 \
        }                                                                                          \
        return entries ? list : NULL;                                                              \
    }
METRICS_OUT(info_metrics, Shunt__V1__ArmInfo__MetricsEntry,
            shunt__v1__arm_info__metrics_entry__init)
METRICS_OUT(stats_metrics, Shunt__V1__ArmStats__MetricsEntry,
            shunt__v1__arm_stats__metrics_entry__init)

/* What a drain waits for. */
static void fill_flight(struct engine *e, const struct router_view *router,
                        const struct arm_view *arm, Shunt__V1__ArmInfo *m)
{
    m->has_in_flight = m->has_suspect = true;
    m->in_flight = engine_in_flight(e, router, arm, clock_unix_us());
    m->suspect = arm->suspect;
    m->has_drained = arm->drain_since_us != 0;
    m->drained = m->has_drained && m->in_flight == 0;
    if (m->has_drained && !m->drained)
        m->state = SHUNT__V1__ARM_STATE__ARM_DRAINING;
}

enum err codec_arm_info(struct engine *e, const struct router_view *router,
                        const struct arm_view *arm, struct arena *arena,
                        Shunt__V1__ArmInfo **ret_info, struct err_detail *detail)
{
    Shunt__V1__ArmInfo *m = arena_alloc(arena, sizeof *m);
    if (!m)
        return arena_error(arena, detail);
    shunt__v1__arm_info__init(m);
    m->spec = codec_arm_out(arm->config, router->config, arena);
    m->metrics = info_metrics(router, arm, arena);
    if (!m->spec || !m->metrics)
        return arena_error(arena, detail);
    m->n_metrics = router->config->metrics_n;
    m->has_version = m->has_state = m->has_issued = m->has_answered = m->has_failures = true;
    m->has_cooldowns = true;
    m->version = arm->version;
    m->state = arm->paused ? SHUNT__V1__ARM_STATE__ARM_PAUSED : SHUNT__V1__ARM_STATE__ARM_ACTIVE;
    fill_flight(e, router, arm, m);
    m->issued = engine_issued(e, arm->uid);
    m->answered = arm->answered;
    m->failures = arm->failures;
    m->cooldowns = arm->cooldowns;
    m->has_cooldown_until_us = arm->cooldown_until_us != 0;
    m->cooldown_until_us = arm->cooldown_until_us;
    *ret_info = m;
    return OK;
}

static bool noise_out(const struct router_view *r, struct arena *arena, Shunt__V1__RouterInfo *m)
{
    uint32_t n = r->config->metrics_n;
    Shunt__V1__RouterInfo__NoiseEntry *entries = arena_array(arena, n, sizeof *entries);
    m->noise = arena_array(arena, n, sizeof *m->noise);
    if (!entries || !m->noise)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        shunt__v1__router_info__noise_entry__init(&entries[i]);
        entries[i].key = copy(arena, r->config->metrics[i].name);
        if (!entries[i].key)
            return false;
        entries[i].has_value = true;
        /* The diagonal holds second moments of the residuals. */
        entries[i].value = sqrt(r->noise[(size_t)i * n + i]);
        m->noise[i] = &entries[i];
    }
    m->n_noise = n;
    return true;
}

enum err codec_router_info(struct engine *e, const struct router_view *router, struct arena *arena,
                           Shunt__V1__RouterInfo **ret_info, struct err_detail *detail)
{
    char words[256];
    Shunt__V1__RouterInfo *m = arena_alloc(arena, sizeof *m);
    if (!m)
        return arena_error(arena, detail);
    shunt__v1__router_info__init(m);
    spec_describe(&router->config->spec, words, sizeof words);
    m->spec = codec_spec_out(router->config, arena);
    m->feature_spec = copy(arena, words);
    m->arms = arena_array(arena, router->arms_n, sizeof *m->arms);
    if (!m->spec || !m->feature_spec || !m->arms || !noise_out(router, arena, m) ||
        !codec_source_counts_out(e, router, arena, m))
        return arena_error(arena, detail);
    m->has_feature_spec_hash = m->has_d = m->has_outcomes_folded = m->has_orphaned = true;
    m->has_requests = m->has_logged = true;
    m->logged = router->logged;
    m->has_gated = m->has_defaulted = m->has_unaccounted = true;
    m->defaulted = router->defaulted;
    m->unaccounted = router->unaccounted;
    m->gated = router->gated;
    m->has_deferred = m->has_activated = true;
    engine_deferred(e, router->uid, &m->deferred, &m->activated);
    m->feature_spec_hash = router->hash;
    m->d = router->d;
    m->outcomes_folded = router->outcomes_folded;
    m->orphaned = router->orphaned;
    m->requests = engine_issued(e, router->uid);
    for (uint32_t i = 0; i < router->arms_n; i++)
        TRY(codec_arm_info(e, router, router->arms[i], arena, &m->arms[i], detail));
    m->n_arms = router->arms_n;
    *ret_info = m;
    return OK;
}

static Shunt__V1__ArmStats *arm_stats(struct engine *e, const struct router_view *router,
                                      const struct arm_view *arm, struct arena *arena)
{
    Shunt__V1__ArmStats *s = arena_alloc(arena, sizeof *s);
    if (!s)
        return NULL;
    shunt__v1__arm_stats__init(s);
    s->has_issued = true;
    s->issued = engine_issued(e, arm->uid);
    s->metrics = stats_metrics(router, arm, arena);
    s->n_metrics = router->config->metrics_n;
    return s->metrics ? s : NULL;
}

static Shunt__V1__RouterStats *router_stats(struct engine *e, const struct router_view *r,
                                            struct arena *arena)
{
    Shunt__V1__RouterStats *s = arena_alloc(arena, sizeof *s);
    Shunt__V1__RouterStats__ArmsEntry *entries = arena_array(arena, r->arms_n, sizeof *entries);
    Shunt__V1__RouterStats__ArmsEntry **list = arena_array(arena, r->arms_n, sizeof *list);
    if (!s || !entries || !list)
        return NULL;
    shunt__v1__router_stats__init(s);
    s->has_outcomes_folded = true;
    s->outcomes_folded = r->outcomes_folded;
    for (uint32_t i = 0; i < r->arms_n; i++) {
        shunt__v1__router_stats__arms_entry__init(&entries[i]);
        entries[i].key = copy(arena, r->arms[i]->config->name);
        entries[i].value = arm_stats(e, r, r->arms[i], arena);
        if (!entries[i].key || !entries[i].value)
            return NULL;
        list[i] = &entries[i];
    }
    s->arms = list;
    s->n_arms = r->arms_n;
    return s;
}

enum err codec_stats(struct engine *e, const struct snapshot *snapshot,
                     const struct router_view *only, struct arena *arena,
                     Shunt__V1__StatsResponse **ret_stats, struct err_detail *detail)
{
    uint32_t n = only ? 1 : snapshot->routers_n;
    Shunt__V1__StatsResponse *m = arena_alloc(arena, sizeof *m);
    Shunt__V1__StatsResponse__RoutersEntry *entries = arena_array(arena, n, sizeof *entries);
    Shunt__V1__StatsResponse__RoutersEntry **list = arena_array(arena, n, sizeof *list);
    if (!m || !entries || !list)
        return arena_error(arena, detail);
    shunt__v1__stats_response__init(m);
    for (uint32_t i = 0; i < n; i++) {
        const struct router_view *r = only ? only : snapshot->routers[i];
        shunt__v1__stats_response__routers_entry__init(&entries[i]);
        entries[i].key = copy(arena, r->config->name);
        entries[i].value = router_stats(e, r, arena);
        if (!entries[i].key || !entries[i].value)
            return arena_error(arena, detail);
        list[i] = &entries[i];
    }
    struct engine_positions at = engine_positions(e);
    m->has_journal_position = m->has_checkpoint_position = true;
    m->journal_position = at.journal;
    m->checkpoint_position = at.checkpoint;
    m->routers = list;
    m->n_routers = n;
    *ret_stats = m;
    return OK;
}

/* A router that is gone has no names for its metrics. */
static enum err explained_terms(const struct explain_out *out, const struct explained_arm *arm,
                                struct arena *arena, Shunt__V1__ScoreTerms **ret_terms,
                                struct err_detail *detail)
{
    const struct terms_view v = {
        .names = out->metric_names,
        .metrics_n = out->weights_n,
        .weighted_mask = out->weighted_mask,
        .mean = arm->mean,
        .width = arm->width,
        .pending = arm->pending,
        .terms = &arm->terms,
    };
    return arm->has_terms && out->router[0] ? codec_terms_out(&v, arena, ret_terms, detail) : OK;
}

static bool explained_arms(const struct explain_out *out, struct arena *arena,
                           Shunt__V1__ExplainResponse *m, struct err_detail *detail)
{
    Shunt__V1__ExplainedArm *arms = arena_array(arena, out->arms_n, sizeof *arms);
    m->arms = arena_array(arena, out->arms_n, sizeof *m->arms);
    if (!arms || !m->arms)
        return false;
    for (uint32_t i = 0; i < out->arms_n; i++) {
        const struct explained_arm *from = &out->arms[i];
        shunt__v1__explained_arm__init(&arms[i]);
        arms[i].arm_id = copy(arena, from->name);
        if (!arms[i].arm_id || explained_terms(out, from, arena, &arms[i].terms, detail) != OK)
            return false;
        arms[i].has_propensity = arms[i].has_mean = arms[i].has_width = true;
        arms[i].has_pending = true;
        arms[i].propensity = from->propensity;
        arms[i].mean = from->mean;
        arms[i].width = from->width;
        arms[i].pending = from->pending;
        m->arms[i] = &arms[i];
    }
    m->n_arms = out->arms_n;
    return true;
}

static bool explained_weights(const struct explain_out *out, struct arena *arena,
                              Shunt__V1__ExplainResponse *m)
{
    Shunt__V1__ExplainResponse__WeightsEntry *entries =
        arena_array(arena, out->weights_n, sizeof *entries);
    m->weights = arena_array(arena, out->weights_n, sizeof *m->weights);
    if (!entries || !m->weights)
        return false;
    for (uint32_t i = 0; i < out->weights_n; i++) {
        shunt__v1__explain_response__weights_entry__init(&entries[i]);
        entries[i].key = copy(arena, out->metric_names[i]);
        if (!entries[i].key)
            return false;
        entries[i].has_value = true;
        entries[i].value = out->weights[i];
        m->weights[i] = &entries[i];
    }
    m->n_weights = out->weights_n;
    return true;
}

static enum err explained_budget(const struct explain_out *out, struct arena *arena,
                                 Shunt__V1__ExplainResponse *m, struct err_detail *detail)
{
    uint32_t n = out->unaffordable_n < MAX_EXCLUDED ? out->unaffordable_n : MAX_EXCLUDED;
    TRY(codec_budget_use(&out->budget, arena, &m->budget, detail));
    if (!m->budget)
        return OK;
    TRY(codec_excluded(out->unaffordable, n, arena, &m->unaffordable, detail));
    m->n_unaffordable = n;
    m->has_unaffordable_n = true;
    m->unaffordable_n = out->unaffordable_n;
    return OK;
}

enum err codec_explained(const struct explain_out *out, struct arena *arena,
                         Shunt__V1__ExplainResponse **ret_message, struct err_detail *detail)
{
    const struct decision *d = &out->decision;
    char id[ID_TEXT_CAP];
    id_format(d->id, id);
    Shunt__V1__ExplainResponse *m = arena_alloc(arena, sizeof *m);
    if (!m)
        return arena_error(arena, detail);
    shunt__v1__explain_response__init(m);
    m->decision_id = copy(arena, id);
    m->router = copy(arena, out->router);
    m->arm_id = copy(arena, out->arm);
    m->policy = copy(arena, out->policy);
    m->baseline_arm_id = copy(arena, out->baseline);
    m->policy_arm_id = copy(arena, out->policy_arm);
    m->context = arena_array(arena, d->d, sizeof *m->context);
    if (!m->policy || !m->decision_id || !m->router || !m->arm_id || !m->context ||
        !m->baseline_arm_id || !m->policy_arm_id || !explained_arms(out, arena, m, detail) ||
        !explained_weights(out, arena, m))
        return arena_error(arena, detail);
    memcpy(m->context, d->x, d->d * sizeof *m->context);
    m->n_context = d->d;
    m->has_reason = m->has_propensity = m->has_issued_at_us = m->has_position = true;
    m->has_seed = m->has_feature_spec_hash = m->has_evaluable = m->has_fallback = true;
    m->reason = (Shunt__V1__Reason)d->reason;
    m->propensity = (double)d->propensity;
    m->issued_at_us = d->issued_us;
    m->position = out->position;
    m->seed = out->seed;
    m->feature_spec_hash = d->spec_hash;
    m->evaluable = d->evaluable;
    m->fallback = out->fallback;
    TRY(explained_budget(out, arena, m, detail));
    m->has_mode = m->has_side = true;
    m->mode = (Shunt__V1__RouterMode)d->mode;
    m->side = (Shunt__V1__Side)d->side;
    *ret_message = m;
    return OK;
}
