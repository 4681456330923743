#include "server/rpc/codec_spec.h"

#include "server/ops/utf8.h"
#include "server/rpc/codec_adapters.h"
#include "server/rpc/codec_capability.h"
#include "server/rpc/codec_session.h"
#include "server/rpc/codec_sources.h"

#include <string.h>

/* The settings whose wire field and own field agree: one row serves both directions. */
#define SETTINGS(X)                                                                                \
    X(alpha, alpha)                                                                                \
    X(ridge_bias, ridge[METRIC_RATED][0])                                                          \
    X(ridge_context, ridge[METRIC_RATED][1])                                                       \
    X(served_ridge_bias, ridge[METRIC_SERVED][0])                                                  \
    X(served_ridge_context, ridge[METRIC_SERVED][1])                                               \
    X(explore_floor, explore_floor)                                                                \
    X(newcomer_pulls, newcomer_pulls)                                                              \
    X(newcomer_every, newcomer_every)                                                              \
    X(cooldown_failures, cooldown_failures)                                                        \
    X(cooldown_window, cooldown_window)                                                            \
    X(cooldown_s, cooldown_s)                                                                      \
    X(reward_wait_s, reward_wait_s)                                                                \
    X(stale_after, stale_after)                                                                    \
    X(session_ttl_s, session_ttl_s)                                                                \
    X(switch_cost, switch_cost)                                                                    \
    X(session_gamma, session_gamma)                                                                \
    X(dedup_max, dedup_max)                                                                        \
    X(decision_log_sample, decision_log_sample)                                                    \
    X(seed, seed)                                                                                  \
    X(pooled_slopes, pooled_slopes)                                                                \
    X(pooled_level, pooled_level)                                                                  \
    X(epsilon, epsilon)                                                                            \
    X(gamma, gamma)                                                                                \
    X(hybrid, hybrid)                                                                              \
    X(split_share, split_share)                                                                    \
    X(split_alpha, split_alpha)                                                                    \
    X(split_epsilon, split_epsilon)                                                                \
    X(newcomer_per_hour, newcomer_per_hour)                                                        \
    X(budget_per_request, budget_per_request)                                                      \
    X(budget_ceiling, budget_ceiling)

/* Descriptors of an arm: wire and own name agree, a bit says that it is declared. */
#define DESCRIPTORS(X)                                                                             \
    X(size_b, ARM_KNOWS_SIZE)                                                                      \
    X(price_in_usd, ARM_KNOWS_PRICE_IN)                                                            \
    X(price_out_usd, ARM_KNOWS_PRICE_OUT)

static enum err copy_name(const char *from, const char *field, char ret_name[NAME_CAP],
                          struct err_detail *detail)
{
    size_t len = strlen(from);
    if (!name_valid(from, len))
        return err_say(detail, ERR_BAD_NAME, "%s: not a name", field);
    memcpy(ret_name, from, len + 1);
    return OK;
}

static enum err check_choice(int value, int last, const char *field, struct err_detail *detail)
{
    if (value < 0 || value > last)
        return err_say(detail, ERR_OUT_OF_RANGE, "%s: %d is no known choice", field, value);
    return OK;
}

/* Absent: what is there stays. Empty: none. */
static enum err no_name_in(const char *from, const char *field, char name[NAME_CAP],
                           struct err_detail *detail)
{
    if (from && from[0])
        return copy_name(from, field, name, detail);
    if (from)
        name[0] = '\0';
    return OK;
}

static enum err settings_names_in(const Shunt__V1__RouterSettings *m,
                                  struct router_settings *settings, struct err_detail *detail)
{
    if (m->policy)
        TRY(copy_name(m->policy, "settings.policy", settings->policy, detail));
    TRY(no_name_in(m->fixed_arm, "settings.fixed_arm", settings->fixed_arm, detail));
    TRY(no_name_in(m->split_policy, "settings.split_policy", settings->split_policy, detail));
    TRY(no_name_in(m->split_fixed_arm, "settings.split_fixed_arm", settings->split_fixed_arm,
                   detail));
    TRY(no_name_in(m->budget_metric, "settings.budget_metric", settings->budget_metric, detail));
    TRY(no_name_in(m->newcomer_metric, "settings.newcomer_metric", settings->newcomer_metric,
                   detail));
    if (!settings->newcomer_metric[0] && !m->has_newcomer_per_hour)
        settings->newcomer_per_hour = 0; /* It went with its metric. */
    for (size_t i = 0; i < m->n_default_rewards; i++) {
        /* An entry on the wire can come without its key. */
        TRY(defaults_put(&settings->defaults, slice_text(m->default_rewards[i]->key),
                         m->default_rewards[i]->value, detail));
    }
    return no_name_in(m->baseline_arm, "settings.baseline_arm", settings->baseline_arm, detail);
}

static bool defaults_out(const struct default_rewards *d, struct arena *arena,
                         Shunt__V1__RouterSettings *m)
{
    Shunt__V1__RouterSettings__DefaultRewardsEntry *entries =
        arena_array(arena, d->n, sizeof *entries);
    m->default_rewards = arena_array(arena, d->n, sizeof *m->default_rewards);
    if (!entries || !m->default_rewards)
        return false;
    for (uint32_t i = 0; i < d->n; i++) {
        shunt__v1__router_settings__default_rewards_entry__init(&entries[i]);
        entries[i].key = arena_text(arena, d->all[i].metric, strlen(d->all[i].metric));
        entries[i].has_value = true;
        entries[i].value = d->all[i].raw;
        m->default_rewards[i] = &entries[i];
        if (!entries[i].key)
            return false;
    }
    m->n_default_rewards = d->n;
    return true;
}

enum err codec_settings_in(const Shunt__V1__RouterSettings *m, struct router_settings *settings,
                           struct err_detail *detail)
{
    if (!m)
        return OK;
    if (m->has_decision_log) {
        TRY(check_choice((int)m->decision_log, DECISION_LOG_KEEP_NONE, "decision_log", detail));
        settings->decision_log = (enum decision_log)m->decision_log;
    }
    if (m->has_session_credit) {
        TRY(check_choice((int)m->session_credit, CREDIT_DISCOUNTED, "session_credit", detail));
        settings->session_credit = (enum session_credit)m->session_credit;
    }
    if (m->has_mode) {
        TRY(check_choice((int)m->mode, MODE_LOGGING_ONLY, "mode", detail));
        settings->mode = (enum router_mode)m->mode;
    }
    if (m->has_drift_policy) {
        TRY(check_choice((int)m->drift_policy, DRIFT_NOTHING, "drift_policy", detail));
        settings->drift_policy = (enum drift_policy)m->drift_policy;
    }
    if (m->has_aggregation) {
        TRY(check_choice((int)m->aggregation, AGGREGATE_MEAN, "aggregation", detail));
        settings->aggregation = (enum aggregation)m->aggregation;
    }
    TRY(settings_names_in(m, settings, detail));
    TRY(codec_stages_in(m, &settings->stages, detail));
    TRY(codec_sources_in(m, &settings->sources, detail));
    TRY(codec_residency_in(m->residency, settings, detail));
#define X(wire, own)                                                                               \
    if (m->has_##wire)                                                                             \
        settings->own = m->wire;
    SETTINGS(X)
#undef X
    return OK;
}

static enum err metric_in(const Shunt__V1__Metric *m, struct metric_def *ret,
                          struct err_detail *detail)
{
    TRY(copy_name(m->name, "metrics.name", ret->name, detail));
    if (m->has_better)
        TRY(check_choice((int)m->better, SHUNT__V1__BETTER__BETTER_LOWER, "metrics.better",
                         detail));
    if (m->has_group)
        TRY(check_choice((int)m->group, METRIC_SERVED, "metrics.group", detail));
    if (m->has_normalise)
        TRY(check_choice((int)m->normalise, SHUNT__V1__NORMALISATION__NORMALISATION_LOG,
                         "metrics.normalise", detail));
    ret->lower_is_better = m->has_better && m->better == SHUNT__V1__BETTER__BETTER_LOWER;
    ret->group = m->has_group ? (enum metric_group)m->group : METRIC_RATED;
    ret->logarithmic =
        m->has_normalise && m->normalise == SHUNT__V1__NORMALISATION__NORMALISATION_LOG;
    ret->min = m->has_min ? m->min : 0;
    ret->max = m->has_max ? m->max : ret->group == METRIC_RATED ? 1 : 1e12;
    ret->norm_low = m->has_norm_low ? m->norm_low : ret->min;
    ret->norm_high = m->has_norm_high ? m->norm_high : 1;
    ret->weight = m->has_weight ? m->weight : 0;
    return OK;
}

static enum err metrics_in(const Shunt__V1__RouterSpec *m, struct router_config *config,
                           struct err_detail *detail)
{
    if (!m->n_metrics)
        return OK;
    if (m->n_metrics > MAX_METRICS)
        return err_say(detail, ERR_OUT_OF_RANGE, "metrics: %zu of them; at most %d", m->n_metrics,
                       MAX_METRICS);
    memset(config->metrics, 0, sizeof config->metrics);
    for (size_t i = 0; i < m->n_metrics; i++)
        TRY(metric_in(m->metrics[i], &config->metrics[i], detail));
    config->metrics_n = (uint32_t)m->n_metrics;
    return OK;
}

/* Fields narrower than the wire's are checked here, before they are cut; limits of meaning are
 * settings_check's. */
static enum err narrow(uint32_t value, uint32_t max, const char *field, uint16_t *ret,
                       struct err_detail *detail)
{
    if (value > max)
        return err_say(detail, ERR_OUT_OF_RANGE, "%s: %u is not in [0, %u]", field, value, max);
    *ret = (uint16_t)value;
    return OK;
}

/* Absent: what is there stays. */
static enum err version_in(const char *name, uint8_t *ret_version, struct err_detail *detail)
{
    for (uint8_t v = 0; name && v < SPEC_VERSIONS; v++)
        if (strcmp(name, spec_version_name(v)) == 0) {
            *ret_version = v;
            return OK;
        }
    return name ? err_say(detail, ERR_INVALID, "context: \"%.32s\" is neither ctx.v0 nor ctx.v1",
                          name)
                : OK;
}

static enum err context_in(const Shunt__V1__RouterSpec *m, struct router_config *config,
                           struct err_detail *detail)
{
    if (m->has_task_slots)
        TRY(narrow(m->task_slots, MAX_TASKS, "task_slots", &config->spec.task_slots, detail));
    TRY(version_in(m->context, &config->spec.version, detail));
    if (m->has_scalars)
        config->spec.scalars = m->scalars;
    if (m->has_agent)
        config->spec.agent = m->agent;
    if (m->has_features_n)
        TRY(narrow(m->features_n, MAX_D, "features_n", &config->spec.features_n, detail));
    if (m->has_embedding_n)
        TRY(narrow(m->embedding_n, MAX_EMBEDDING, "embedding_n", &config->spec.embedding_n,
                   detail));
    TRY(no_name_in(m->projection, "projection", config->spec.projection, detail));
    config->spec.text_block = m->has_text_block
                                  ? m->text_block
                                  : config->spec.version == 1 && config->spec.embedding_n == 0;
    if (m->n_tasks > MAX_TASKS)
        return err_say(detail, ERR_OUT_OF_RANGE, "tasks: %zu of them; at most %d", m->n_tasks,
                       MAX_TASKS);
    for (size_t i = 0; i < m->n_tasks; i++)
        TRY(copy_name(m->tasks[i], "tasks", config->tasks[i], detail));
    config->tasks_n = (uint32_t)m->n_tasks;
    return OK;
}

enum err codec_spec_in(const Shunt__V1__RouterSpec *m, struct router_config *ret_config,
                       struct err_detail *detail)
{
    char name[NAME_CAP];
    TRY(copy_name(m->name, "name", name, detail));
    if (m->n_arms > MAX_ARMS)
        return err_say(detail, ERR_OUT_OF_RANGE, "arms: %zu of them; at most %d", m->n_arms,
                       MAX_ARMS);
    settings_defaults(ret_config, name);
    ret_config->ephemeral = m->has_ephemeral && m->ephemeral;
    TRY(metrics_in(m, ret_config, detail));
    TRY(context_in(m, ret_config, detail));
    if (m->settings && m->settings->residency)
        settings_for_adapters(&ret_config->settings);
    TRY(codec_settings_in(m->settings, &ret_config->settings, detail));
    return settings_check(ret_config, detail);
}

static enum err description_in(const char *text, struct arm_config *arm, struct err_detail *detail)
{
    size_t len = text ? strlen(text) : 0;
    if (len >= DESCRIPTION_CAP)
        return err_say(detail, ERR_OUT_OF_RANGE, "description: %zu bytes; at most %d", len,
                       DESCRIPTION_CAP - 1);
    size_t good = utf8_good_len(text, len);
    if (good < len) /* Clients that check would refuse every answer that holds it. */
        return err_say(detail, ERR_INVALID, "description: byte %zu is not UTF-8", good);
    if (len)
        memcpy(arm->description, text, len);
    return OK;
}

static enum err prior_in(const Shunt__V1__ArmSpec__PriorsEntry *e,
                         const struct router_config *config, struct arm_config *arm,
                         struct err_detail *detail)
{
    int m = e->key ? settings_metric_index(config, e->key, strlen(e->key)) : -1;
    if (m < 0)
        return err_say(detail, ERR_METRIC_NOT_FOUND, "priors: router %s has no metric %.64s",
                       config->name, e->key ? e->key : "without a name");
    TRY(metric_check_value(&config->metrics[m], e->value, detail));
    arm->prior_mask = (uint16_t)(arm->prior_mask | 1u << m);
    arm->prior_raw[m] = e->value;
    arm->prior_z[m] = metric_normalise(&config->metrics[m], e->value);
    return OK;
}

static enum err descriptors_in(const Shunt__V1__ArmSpec *m, struct arm_config *arm,
                               struct err_detail *detail)
{
#define X(field, bit)                                                                              \
    if (m->has_##field) {                                                                          \
        arm->field = m->field;                                                                     \
        arm->known = (uint8_t)(arm->known | bit);                                                  \
    }
    DESCRIPTORS(X)
#undef X
    return m->family && m->family[0] ? copy_name(m->family, "family", arm->family, detail) : OK;
}

enum err codec_arm_in(const Shunt__V1__ArmSpec *m, const struct router_config *config,
                      struct arm_config *ret_arm, struct err_detail *detail)
{
    memset(ret_arm, 0, sizeof *ret_arm);
    TRY(copy_name(m->name, "name", ret_arm->name, detail));
    TRY(description_in(m->description, ret_arm, detail));
    if (m->n_tags > MAX_TAGS)
        return err_say(detail, ERR_OUT_OF_RANGE, "tags: %zu of them; at most %d", m->n_tags,
                       MAX_TAGS);
    for (size_t i = 0; i < m->n_tags; i++)
        TRY(copy_name(m->tags[i], "tags", ret_arm->tags[i], detail));
    ret_arm->tags_n = (uint32_t)m->n_tags;
    for (size_t i = 0; i < m->n_priors; i++)
        TRY(prior_in(m->priors[i], config, ret_arm, detail));
    TRY(descriptors_in(m, ret_arm, detail));
    TRY(codec_caps_in(m, config, ret_arm, detail));
    TRY(codec_capability_in(m, ret_arm, detail));
    TRY(codec_adapter_in(m->adapter, &ret_arm->adapter, detail));
    return settings_check_arm(ret_arm, detail);
}

static Shunt__V1__RouterSettings *settings_out(const struct router_settings *s, struct arena *arena)
{
    Shunt__V1__RouterSettings *m = arena_alloc(arena, sizeof *m);
    if (!m)
        return NULL;
    shunt__v1__router_settings__init(m);
    m->has_decision_log = true;
    m->decision_log = (Shunt__V1__DecisionLog)s->decision_log;
#define X(wire, own)                                                                               \
    m->has_##wire = true;                                                                          \
    m->wire = s->own;
    SETTINGS(X)
#undef X
    m->policy = arena_text(arena, s->policy, strlen(s->policy));
    m->fixed_arm = arena_text(arena, s->fixed_arm, strlen(s->fixed_arm));
    m->split_policy = arena_text(arena, s->split_policy, strlen(s->split_policy));
    m->split_fixed_arm = arena_text(arena, s->split_fixed_arm, strlen(s->split_fixed_arm));
    m->has_drift_policy = true;
    m->drift_policy = (Shunt__V1__DriftPolicy)s->drift_policy;
    m->has_aggregation = true;
    m->aggregation = (Shunt__V1__Aggregation)s->aggregation;
    m->has_session_credit = true;
    m->session_credit = (Shunt__V1__SessionCredit)s->session_credit;
    m->has_mode = true;
    m->mode = (Shunt__V1__RouterMode)s->mode;
    m->baseline_arm = arena_text(arena, s->baseline_arm, strlen(s->baseline_arm));
    m->budget_metric = arena_text(arena, s->budget_metric, strlen(s->budget_metric));
    m->newcomer_metric = arena_text(arena, s->newcomer_metric, strlen(s->newcomer_metric));
    bool split = m->split_policy && m->split_fixed_arm;
    if (s->residency.policy[0] && !(m->residency = codec_residency_out(s, arena)))
        return NULL;
    if (!codec_stages_out(&s->stages, arena, m) || !codec_sources_out(&s->sources, arena, m) ||
        !defaults_out(&s->defaults, arena, m) || !m->newcomer_metric)
        return NULL;
    return m->policy && m->fixed_arm && split && m->baseline_arm && m->budget_metric ? m : NULL;
}

static bool metric_out(const struct metric_def *d, struct arena *arena, Shunt__V1__Metric *m)
{
    shunt__v1__metric__init(m);
    m->name = arena_text(arena, d->name, strlen(d->name));
    m->has_better = m->has_group = m->has_min = m->has_max = m->has_normalise = true;
    m->has_norm_low = m->has_norm_high = m->has_weight = true;
    m->better =
        d->lower_is_better ? SHUNT__V1__BETTER__BETTER_LOWER : SHUNT__V1__BETTER__BETTER_HIGHER;
    m->group = (Shunt__V1__MetricGroup)d->group;
    m->normalise = d->logarithmic ? SHUNT__V1__NORMALISATION__NORMALISATION_LOG
                                  : SHUNT__V1__NORMALISATION__NORMALISATION_LINEAR;
    m->min = d->min;
    m->max = d->max;
    m->norm_low = d->norm_low;
    m->norm_high = d->norm_high;
    m->weight = d->weight;
    return m->name != NULL;
}

static bool lists_out(const struct router_config *c, struct arena *arena, Shunt__V1__RouterSpec *m)
{
    Shunt__V1__Metric *metrics = arena_array(arena, c->metrics_n, sizeof *metrics);
    m->metrics = arena_array(arena, c->metrics_n, sizeof *m->metrics);
    m->tasks = arena_array(arena, c->tasks_n, sizeof *m->tasks);
    if (!metrics || !m->metrics || !m->tasks)
        return false;
    for (uint32_t i = 0; i < c->metrics_n; i++) {
        if (!metric_out(&c->metrics[i], arena, &metrics[i]))
            return false;
        m->metrics[i] = &metrics[i];
    }
    m->n_metrics = c->metrics_n;
    for (uint32_t i = 0; i < c->tasks_n; i++) {
        m->tasks[i] = arena_text(arena, c->tasks[i], strlen(c->tasks[i]));
        if (!m->tasks[i])
            return false;
    }
    m->n_tasks = c->tasks_n;
    return true;
}

Shunt__V1__RouterSpec *codec_spec_out(const struct router_config *config, struct arena *arena)
{
    Shunt__V1__RouterSpec *m = arena_alloc(arena, sizeof *m);
    if (!m)
        return NULL;
    shunt__v1__router_spec__init(m);
    m->name = arena_text(arena, config->name, strlen(config->name));
    m->settings = settings_out(&config->settings, arena);
    if (!m->name || !m->settings || !lists_out(config, arena, m))
        return NULL;
    if (config->spec.projection[0] &&
        !(m->projection =
              arena_text(arena, config->spec.projection, strlen(config->spec.projection))))
        return NULL;
    m->has_task_slots = m->has_scalars = m->has_features_n = m->has_embedding_n = true;
    m->has_ephemeral = m->has_agent = m->has_text_block = true;
    m->context = arena_text(arena, spec_version_name(config->spec.version), 6);
    m->agent = config->spec.agent;
    m->text_block = config->spec.text_block;
    m->task_slots = config->spec.task_slots;
    m->scalars = config->spec.scalars;
    m->features_n = config->spec.features_n;
    m->embedding_n = config->spec.embedding_n;
    m->ephemeral = config->ephemeral;
    return m->context ? m : NULL;
}

static bool priors_out(const struct arm_config *arm, const struct router_config *config,
                       struct arena *arena, Shunt__V1__ArmSpec *m)
{
    Shunt__V1__ArmSpec__PriorsEntry *entries =
        arena_array(arena, config->metrics_n, sizeof *entries);
    m->priors = arena_array(arena, config->metrics_n, sizeof *m->priors);
    if (!entries || !m->priors)
        return false;
    for (uint32_t i = 0; i < config->metrics_n; i++) {
        if (!(arm->prior_mask >> i & 1))
            continue;
        Shunt__V1__ArmSpec__PriorsEntry *e = &entries[m->n_priors];
        shunt__v1__arm_spec__priors_entry__init(e);
        e->key = arena_text(arena, config->metrics[i].name, strlen(config->metrics[i].name));
        e->has_value = true;
        e->value = arm->prior_raw[i];
        if (!e->key)
            return false;
        m->priors[m->n_priors++] = e;
    }
    return true;
}

Shunt__V1__ArmSpec *codec_arm_out(const struct arm_config *arm, const struct router_config *config,
                                  struct arena *arena)
{
    Shunt__V1__ArmSpec *m = arena_alloc(arena, sizeof *m);
    if (!m)
        return NULL;
    shunt__v1__arm_spec__init(m);
    m->name = arena_text(arena, arm->name, strlen(arm->name));
    m->description = arena_text(arena, arm->description, strlen(arm->description));
    m->tags = arena_array(arena, arm->tags_n, sizeof *m->tags);
    if (!m->name || !m->description || !m->tags)
        return NULL;
    for (uint32_t i = 0; i < arm->tags_n; i++) {
        m->tags[i] = arena_text(arena, arm->tags[i], strlen(arm->tags[i]));
        if (!m->tags[i])
            return NULL;
    }
    m->n_tags = arm->tags_n;
#define X(field, bit)                                                                              \
    m->has_##field = (arm->known & bit) != 0;                                                      \
    m->field = arm->field;
    DESCRIPTORS(X)
#undef X
    m->family = arena_text(arena, arm->family, strlen(arm->family));
    if (!m->family || !codec_capability_out(arm, arena, m))
        return NULL;
    if (!codec_caps_out(arm, config, arena, m))
        return NULL;
    if (arm->adapter.bytes && !(m->adapter = codec_adapter_out(&arm->adapter, arena)))
        return NULL;
    return arm->prior_mask && !priors_out(arm, config, arena, m) ? NULL : m;
}
