#include "server/rpc/codec_lab.h"

#include "server/rpc/codec.h"
#include "server/rpc/codec_adapters.h"
#include "server/rpc/codec_spec.h"

#include <math.h>
#include <string.h>

/* ---- what is asked ---- */

enum err codec_lab_router(const Shunt__V1__StartJobRequest *m, struct slice *ret_router,
                          struct err_detail *detail)
{
    if (!!m->evaluate + !!m->what_if + !!m->sweep + !!m->export + !!m->simulate != 1)
        return err_say(detail, ERR_INVALID,
                       "set exactly one of evaluate, what_if, sweep, export and simulate");
    const Shunt__V1__EvaluateJob *e = m->evaluate;
    if (m->simulate || (e && e->data && e->data[0] && !(e->router && e->router[0])))
        *ret_router = (struct slice){"", 0};
    else
        *ret_router = codec_router(e            ? e->router
                                   : m->what_if ? m->what_if->router
                                   : m->sweep   ? m->sweep->router
                                                : m->export->router);
    return OK;
}

static enum err weight_in(const char *key, bool has, double value, struct router_config *config,
                          struct err_detail *detail)
{
    int m = settings_metric_index(config, key, strlen(key));
    if (m < 0)
        return err_say(detail, ERR_METRIC_NOT_FOUND, "weights: router `%s` has no metric `%.64s`",
                       config->name, key);
    config->metrics[m].weight = has ? value : 0;
    return OK;
}

/* A policy put on trial is tried alone: with the router's own split beside it, the figures of
 * "always this arm" would be those of a mixture, and nothing would say so. What a trial does not
 * look at is refused, not passed over. */
static enum err settings_in(const Shunt__V1__RouterSettings *m, struct router_settings *settings,
                            struct err_detail *detail)
{
    if (m && (m->budget_metric || m->has_budget_per_request || m->has_budget_ceiling))
        return err_say(
            detail, ERR_INVALID,
            "a budget cannot be tried on logged decisions: what is spent depends on what "
            "was chosen before; try weights instead, or a split");
    if (m && (m->has_mode || m->baseline_arm))
        return err_say(detail, ERR_INVALID,
                       "a trial is of the policy, whatever the mode; policy=fixed with fixed_arm "
                       "tries a baseline");
    if (m && m->policy && !m->split_policy)
        settings->split_policy[0] = '\0';
    return codec_settings_in(m, settings, detail);
}

/* As in a request: who names weights names all of them. */
static void take_weights(struct lab_request *q, size_t n)
{
    q->weights_given = n > 0;
    for (uint32_t i = 0; q->weights_given && i < q->config.metrics_n; i++)
        q->config.metrics[i].weight = 0;
}

static enum err path_in(const char *path, struct lab_request *q, struct err_detail *detail)
{
    if (path && strlen(path) >= sizeof q->data)
        return err_say(detail, ERR_TOO_LARGE, "data: a path has less than %zu bytes",
                       sizeof q->data);
    if (path)
        memcpy(q->data, path, strlen(path) + 1);
    return OK;
}

static enum err evaluate_in(const Shunt__V1__EvaluateJob *m, struct lab_request *q,
                            struct err_detail *detail)
{
    q->kind = LAB_EVALUATE;
    TRY(settings_in(m->settings, &q->config.settings, detail));
    take_weights(q, m->n_weights);
    for (size_t i = 0; i < m->n_weights; i++)
        TRY(weight_in(m->weights[i]->key ? m->weights[i]->key : "", m->weights[i]->has_value,
                      m->weights[i]->value, &q->config, detail));
    TRY(path_in(m->data, q, detail));
    q->since_us = m->since_us;
    q->until_us = m->until_us;
    q->frozen = m->frozen;
    q->no_replay = m->no_replay;
    q->seed = m->has_seed ? m->seed : 1;
    return OK;
}

static enum err what_if_in(const Shunt__V1__WhatIfJob *m, struct lab_request *q,
                           struct err_detail *detail)
{
    q->kind = LAB_WHAT_IF;
    TRY(settings_in(m->settings, &q->config.settings, detail));
    take_weights(q, m->n_weights);
    for (size_t i = 0; i < m->n_weights; i++)
        TRY(weight_in(m->weights[i]->key ? m->weights[i]->key : "", m->weights[i]->has_value,
                      m->weights[i]->value, &q->config, detail));
    q->seed = m->has_seed ? m->seed : 1;
    return OK;
}

static enum err metric_name_in(const char *text, const char *field, char ret[NAME_CAP],
                               struct err_detail *detail)
{
    if (!name_valid(text, strlen(text)))
        return err_say(detail, ERR_BAD_NAME, "%s: no name of a metric", field);
    memcpy(ret, text, strlen(text) + 1);
    return OK;
}

static enum err sweep_in(const Shunt__V1__SweepJob *m, struct lab_request *q,
                         struct err_detail *detail)
{
    q->kind = LAB_SWEEP;
    TRY(metric_name_in(m->served ? m->served : "cost_usd", "served", q->served, detail));
    if (m->rated)
        TRY(metric_name_in(m->rated, "rated", q->rated, detail));
    q->steps = m->has_steps ? m->steps : 11;
    q->since_us = m->since_us;
    q->until_us = m->until_us;
    q->keep_policy = m->keep_policy;
    q->contexts_max = m->contexts_max;
    return OK;
}

static enum err simulate_in(const Shunt__V1__SimulateJob *m, struct lab_request *q,
                            struct err_detail *detail)
{
    struct simulate_job *j = &q->simulate;
    struct router_settings cache = {.explore_floor = 0};
    q->kind = LAB_SIMULATE;
    workload_defaults(&j->spec);
    simulate_defaults(&j->settings);
    j->seeds = m->has_seeds ? m->seeds : 10;
    if (m->has_horizon)
        j->spec.horizon = m->horizon;
    if (m->has_adapters)
        j->spec.adapters = m->adapters;
    if (m->has_tasks)
        j->spec.tasks = m->tasks;
    j->spec.rotations = m->rotations;
    j->settings.delay = m->delay;
    j->settings.missing = m->missing;
    if (m->has_plain_alpha)
        j->settings.plain_alpha = m->plain_alpha;
    cache.residency = j->settings.residency;
    TRY(codec_residency_in(m->residency, &cache, detail));
    j->settings.residency = cache.residency;
    return path_in(m->data, q, detail);
}

enum err codec_lab_in(const Shunt__V1__StartJobRequest *m, const struct router_config *config,
                      struct lab_request *ret_request, struct err_detail *detail)
{
    struct lab_request *q = ret_request;
    struct slice router = {NULL, 0};
    TRY(codec_lab_router(m, &router, detail));
    memset(q, 0, sizeof *q);
    q->config = *config;
    q->bare = router.len == 0;
    if (m->evaluate)
        return evaluate_in(m->evaluate, q, detail);
    if (m->what_if)
        return what_if_in(m->what_if, q, detail);
    if (m->sweep)
        return sweep_in(m->sweep, q, detail);
    if (m->simulate)
        return simulate_in(m->simulate, q, detail);
    q->kind = LAB_EXPORT;
    q->since_us = m->export->since_us;
    q->until_us = m->export->until_us;
    return OK;
}

/* ---- how far it is ---- */

static char *copy(struct arena *arena, const char *text)
{
    return arena_text(arena, text, strlen(text));
}

enum err codec_job_info(const struct job_info *info, const char *router, struct arena *arena,
                        Shunt__V1__JobInfo **ret_message, struct err_detail *detail)
{
    Shunt__V1__JobInfo *m = arena_alloc(arena, sizeof *m);
    if (!m)
        return arena_error(arena, detail);
    shunt__v1__job_info__init(m);
    m->has_id = m->has_state = m->has_done = m->has_total = m->has_queued_at_us = true;
    m->id = info->id;
    m->state = (Shunt__V1__JobState)info->state;
    m->done = info->done;
    m->total = info->total;
    m->queued_at_us = info->queued_us;
    m->has_started_at_us = info->started_us != 0;
    m->started_at_us = info->started_us;
    m->has_ended_at_us = info->ended_us != 0;
    m->ended_at_us = info->ended_us;
    m->kind = copy(arena, info->kind);
    m->router = copy(arena, router);
    if (!m->kind || !m->router)
        return arena_error(arena, detail);
    if (info->state == JOB_FAILED) {
        m->error_code = copy(arena, err_code(info->err));
        m->error = copy(arena, info->detail.text);
        if (!m->error_code || !m->error)
            return arena_error(arena, detail);
    }
    *ret_message = m;
    return OK;
}

/* ---- what was found ---- */

/* A number that is not known is absent. */
#define NUMBER(m, field, v)                                                                        \
    do {                                                                                           \
        double number_ = (v);                                                                      \
        (m)->has_##field = isfinite(number_);                                                      \
        (m)->field = (m)->has_##field ? number_ : 0;                                               \
    } while (0)
#define COUNT(m, field, v)                                                                         \
    do {                                                                                           \
        (m)->has_##field = true;                                                                   \
        (m)->field = (v);                                                                          \
    } while (0)

static bool log_out(const struct lab_result *r, struct arena *arena, Shunt__V1__JobInfo *out)
{
    const struct lab_log_counts *c = &r->log;
    Shunt__V1__LogCounts *m = arena_alloc(arena, sizeof *m);
    if (!m)
        return false;
    shunt__v1__log_counts__init(m);
    COUNT(m, decisions, c->decisions);
    COUNT(m, beyond, c->beyond);
    COUNT(m, outcomes, c->outcomes);
    COUNT(m, without_outcome, c->decisions - c->beyond - c->outcomes);
    COUNT(m, outcomes_unknown, c->outcomes_unknown);
    COUNT(m, damaged, c->damaged);
    COUNT(m, gone, c->gone);
    COUNT(m, dropped, c->dropped);
    COUNT(m, arms_gone, r->arms_gone);
    COUNT(m, arms_fewer, r->arms_fewer);
    m->note = r->note[0] ? copy(arena, r->note) : NULL;
    if (r->note[0] && !m->note)
        return false;
    out->log = m;
    return true;
}

static Shunt__V1__Estimate *estimate_out(const struct estimated *e, struct arena *arena)
{
    Shunt__V1__Estimate *m = arena_alloc(arena, sizeof *m);
    if (!m)
        return NULL;
    shunt__v1__estimate__init(m);
    NUMBER(m, value, e->value);
    NUMBER(m, low, e->interval.low);
    NUMBER(m, high, e->interval.high);
    return m;
}

static Shunt__V1__Estimates *estimates_out(const struct estimates *e, const char *name,
                                           struct arena *arena)
{
    Shunt__V1__Estimates *m = arena_alloc(arena, sizeof *m);
    if (!m)
        return NULL;
    shunt__v1__estimates__init(m);
    m->name = copy(arena, name);
    COUNT(m, rows, e->rows);
    NUMBER(m, range_low, e->low);
    NUMBER(m, range_high, e->high);
    m->ips = estimate_out(&e->ips, arena);
    m->snips = estimate_out(&e->snips, arena);
    m->dr = estimate_out(&e->dr, arena);
    m->logged = estimate_out(&e->logged, arena);
    m->ips_difference = estimate_out(&e->ips_less_logged, arena);
    m->dr_difference = estimate_out(&e->dr_less_logged, arena);
    COUNT(m, replay_rows, e->replay_rows);
    NUMBER(m, replay, e->replay);
    NUMBER(m, replay_error, e->replay_error);
    return m->name && m->ips && m->snips && m->dr && m->logged && m->ips_difference &&
                   m->dr_difference
               ? m
               : NULL;
}

/* The utility, then what was reported. */
static bool estimate_list_out(const struct evaluation *e, const struct router_config *c,
                              struct arena *arena, Shunt__V1__Evaluation *m)
{
    m->estimates = arena_array(arena, c->metrics_n + 1, sizeof *m->estimates);
    if (!m->estimates || !(m->estimates[0] = estimates_out(&e->utility, "utility", arena)))
        return false;
    m->n_estimates = 1;
    for (uint32_t i = 0; i < c->metrics_n; i++) {
        if (e->metric[i].rows == 0)
            continue;
        Shunt__V1__Estimates *one = estimates_out(&e->metric[i], c->metrics[i].name, arena);
        if (!one)
            return false;
        m->estimates[m->n_estimates++] = one;
    }
    return true;
}

/* Sentences of the bits that are set, or their codes. */
static bool words_out(uint32_t mask, const char *(*word)(uint32_t), struct arena *arena,
                      char ***ret_words, size_t *ret_n)
{
    *ret_words = arena_array(arena, 32, sizeof **ret_words);
    *ret_n = 0;
    if (!*ret_words)
        return false;
    for (uint32_t i = 0; i < 32; i++) {
        const char *text = mask >> i & 1 ? word(i) : NULL;
        if (!text)
            continue;
        char *copied = copy(arena, text);
        if (!copied)
            return false;
        (*ret_words)[(*ret_n)++] = copied;
    }
    return true;
}

static bool warnings_out(const struct evaluation *e, struct arena *arena, Shunt__V1__Evaluation *m)
{
    return words_out(e->warnings, evaluation_warning_text, arena, &m->warnings, &m->n_warnings) &&
           words_out(e->warnings, evaluation_warning_code, arena, &m->warning_codes,
                     &m->n_warning_codes);
}

static bool shares_out(const struct lab_result *r, struct arena *arena, Shunt__V1__Evaluation *m)
{
    Shunt__V1__ArmShare *arms = arena_array(arena, r->arms_n, sizeof *arms);
    m->arms = arena_array(arena, r->arms_n, sizeof *m->arms);
    if (!arms || !m->arms)
        return false;
    for (uint32_t a = 0; a < r->arms_n; a++) {
        shunt__v1__arm_share__init(&arms[a]);
        arms[a].arm_id = copy(arena, r->arms[a].name);
        if (!arms[a].arm_id)
            return false;
        NUMBER(&arms[a], logged, r->arms[a].logged);
        NUMBER(&arms[a], target, r->arms[a].target);
        m->arms[a] = &arms[a];
    }
    m->n_arms = r->arms_n;
    return true;
}

static void evaluation_numbers(const struct evaluation *e, Shunt__V1__Evaluation *m)
{
    COUNT(m, rows, e->rows);
    COUNT(m, used, e->used);
    COUNT(m, not_evaluable, e->not_evaluable);
    COUNT(m, unreported, e->unreported);
    COUNT(m, unreported_failures, e->unreported_failures);
    COUNT(m, in_sample, e->in_sample);
    COUNT(m, beyond_sample, e->beyond_sample);
    COUNT(m, arms_gone, e->arms_gone);
    COUNT(m, arms_fewer, e->arms_fewer);
    COUNT(m, priced, e->priced);
    COUNT(m, replay_accepted, e->replay_accepted);
    NUMBER(m, ess, e->ess);
    NUMBER(m, weight_mean, e->weight_mean);
    NUMBER(m, weight_max, e->weight_max);
    NUMBER(m, weight_possible, e->weight_possible);
    NUMBER(m, unsupported, e->unsupported);
    NUMBER(m, agreement, e->agreement);
    NUMBER(m, propensity_least, e->propensity_least);
    m->has_verdict = true;
    m->verdict = (Shunt__V1__Verdict)e->verdict;
}

static Shunt__V1__Evaluation *evaluation_out(const struct lab_result *r, const struct evaluation *e,
                                             struct arena *arena)
{
    Shunt__V1__Evaluation *m = arena_alloc(arena, sizeof *m);
    if (!m)
        return NULL;
    shunt__v1__evaluation__init(m);
    evaluation_numbers(e, m);
    m->policy = copy(arena, r->config.settings.policy);
    return m->policy && estimate_list_out(e, &r->config, arena, m) && shares_out(r, arena, m) &&
                   warnings_out(e, arena, m)
               ? m
               : NULL;
}

static bool what_if_arms_out(const struct whatif *w, struct arena *arena, Shunt__V1__WhatIf *m)
{
    Shunt__V1__WhatIfArm *arms = arena_array(arena, w->arms_n, sizeof *arms);
    m->arms = arena_array(arena, w->arms_n, sizeof *m->arms);
    if (!arms || !m->arms)
        return false;
    for (uint32_t a = 0; a < w->arms_n; a++) {
        const struct whatif_arm *from = &w->arms[a];
        shunt__v1__what_if_arm__init(&arms[a]);
        arms[a].arm_id = copy(arena, from->name);
        if (!arms[a].arm_id)
            return false;
        COUNT(&arms[a], logged, from->logged);
        NUMBER(&arms[a], logged_share, from->logged_share);
        NUMBER(&arms[a], other_share, from->other_share);
        NUMBER(&arms[a], utility_then, from->utility_then);
        NUMBER(&arms[a], utility_other, from->utility_other);
        m->arms[a] = &arms[a];
    }
    m->n_arms = w->arms_n;
    return true;
}

static Shunt__V1__WhatIf *what_if_out(const struct lab_result *r, struct arena *arena)
{
    Shunt__V1__WhatIf *m = arena_alloc(arena, sizeof *m);
    if (!m)
        return NULL;
    shunt__v1__what_if__init(m);
    COUNT(m, events, r->whatif.events);
    COUNT(m, outcomes, r->whatif.outcomes);
    NUMBER(m, prediction_gap, r->whatif.prediction_gap);
    NUMBER(m, prediction_gap_max, r->whatif.prediction_gap_max);
    m->evaluation = evaluation_out(r, &r->whatif.evaluation, arena);
    return m->evaluation && what_if_arms_out(&r->whatif, arena, m) ? m : NULL;
}

static Shunt__V1__SweepStep *step_out(const struct lab_result *r, uint32_t i, struct arena *arena)
{
    Shunt__V1__SweepStep *m = arena_alloc(arena, sizeof *m);
    Shunt__V1__SweepStep__SharesEntry *entries = arena_array(arena, r->arms_n, sizeof *entries);
    Shunt__V1__SweepStep__SharesEntry **list = arena_array(arena, r->arms_n, sizeof *list);
    if (!m || !entries || !list)
        return NULL;
    shunt__v1__sweep_step__init(m);
    NUMBER(m, lambda, r->steps[i].lambda);
    NUMBER(m, rated, r->steps[i].rated);
    NUMBER(m, served, r->steps[i].served);
    for (uint32_t a = 0; a < r->arms_n; a++) {
        shunt__v1__sweep_step__shares_entry__init(&entries[a]);
        entries[a].key = copy(arena, r->arms[a].name);
        if (!entries[a].key)
            return NULL;
        NUMBER(&entries[a], value, r->shares[(size_t)i * r->arms_n + a]);
        list[a] = &entries[a];
    }
    m->shares = list;
    m->n_shares = r->arms_n;
    return m;
}

static Shunt__V1__Sweep *sweep_out(const struct lab_result *r, struct arena *arena)
{
    Shunt__V1__Sweep *m = arena_alloc(arena, sizeof *m);
    if (!m)
        return NULL;
    shunt__v1__sweep__init(m);
    m->rated = copy(arena, r->config.metrics[r->rated].name);
    m->served = copy(arena, r->config.metrics[r->served].name);
    m->steps = arena_array(arena, r->steps_n, sizeof *m->steps);
    if (!m->rated || !m->served || !m->steps)
        return NULL;
    COUNT(m, contexts, r->contexts);
    if (!words_out(r->sweep_warnings, sweep_warning_text, arena, &m->warnings, &m->n_warnings) ||
        !words_out(r->sweep_warnings, sweep_warning_code, arena, &m->warning_codes,
                   &m->n_warning_codes))
        return NULL;
    for (uint32_t i = 0; i < r->steps_n; i++)
        if (!(m->steps[i] = step_out(r, i, arena)))
            return NULL;
    m->n_steps = r->steps_n;
    return m;
}

static Shunt__V1__Export *export_out(const struct lab_result *r, struct arena *arena)
{
    Shunt__V1__Export *m = arena_alloc(arena, sizeof *m);
    if (!m)
        return NULL;
    shunt__v1__export__init(m);
    COUNT(m, rows, r->rows);
    COUNT(m, bytes, r->bytes);
    return m;
}

static bool policy_out(const struct simulate_row *r, struct arena *arena,
                       Shunt__V1__SimulatedPolicy *m)
{
    shunt__v1__simulated_policy__init(m);
    m->policy = copy(arena, r->policy);
    m->curve = arena_array(arena, SIMULATE_POINTS, sizeof *m->curve);
    if (!m->policy || !m->curve)
        return false;
    COUNT(m, regret_mean, r->regret.mean);
    COUNT(m, regret_sd, r->regret.sd);
    COUNT(m, utility_mean, r->utility.mean);
    COUNT(m, utility_sd, r->utility.sd);
    COUNT(m, miss_rate, r->miss_rate);
    COUNT(m, planned_loads, r->planned_loads);
    COUNT(m, forced, r->forced);
    m->has_slope = isfinite(r->slope);
    m->slope = m->has_slope ? r->slope : 0;
    m->n_curve = SIMULATE_POINTS;
    memcpy(m->curve, r->curve, sizeof r->curve);
    return true;
}

static Shunt__V1__Simulation *simulation_out(const struct simulate_table *t, struct arena *arena)
{
    Shunt__V1__Simulation *m = arena_alloc(arena, sizeof *m);
    Shunt__V1__SimulatedPolicy *rows = arena_array(arena, t->rows_n, sizeof *rows);
    if (!m || !rows)
        return NULL;
    shunt__v1__simulation__init(m);
    m->policies = arena_array(arena, t->rows_n, sizeof *m->policies);
    if (!m->policies)
        return NULL;
    COUNT(m, seeds, t->seeds);
    COUNT(m, horizon, t->horizon);
    for (uint32_t i = 0; i < t->rows_n; i++) {
        if (!policy_out(&t->rows[i], arena, &rows[i]))
            return NULL;
        m->policies[m->n_policies++] = &rows[i];
    }
    return m;
}

enum err codec_lab_result(const struct lab_result *result, enum lab_kind kind, struct arena *arena,
                          Shunt__V1__JobInfo *message, struct err_detail *detail)
{
    bool ok = !result->has_log || log_out(result, arena, message);
    switch (kind) {
    case LAB_EVALUATE:
        message->evaluation = evaluation_out(result, &result->evaluation, arena);
        ok = ok && message->evaluation;
        break;
    case LAB_WHAT_IF:
        message->what_if = what_if_out(result, arena);
        ok = ok && message->what_if;
        break;
    case LAB_SWEEP:
        message->sweep = sweep_out(result, arena);
        ok = ok && message->sweep;
        break;
    case LAB_SIMULATE:
        message->simulation = simulation_out(&result->simulation, arena);
        ok = ok && message->simulation;
        break;
    case LAB_EXPORT:
        message->export = export_out(result, arena);
        ok = ok && message->export;
        break;
    }
    return ok ? OK : arena_error(arena, detail);
}
