#include "state/model/settings.h"

#include "state/base/hash.h"
#include "state/model/budget.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void set_name(char *dst, const char *src)
{
    snprintf(dst, NAME_CAP, "%s", src);
}

static void settings_default_metrics(struct router_config *c)
{
    static const struct metric_def table[] = {
        {.name = "reward", .group = METRIC_RATED, .max = 1, .norm_high = 1, .weight = 1},
        {.name = "quality", .group = METRIC_RATED, .max = 1, .norm_high = 1},
        {.name = "cost_usd",
         .group = METRIC_SERVED,
         .lower_is_better = true,
         .max = 1e12,
         .norm_high = 1},
        {.name = "energy_j",
         .group = METRIC_SERVED,
         .lower_is_better = true,
         .max = 1e12,
         .norm_high = 1000},
        {.name = "latency_ms",
         .group = METRIC_SERVED,
         .lower_is_better = true,
         .max = 1e12,
         .norm_high = 60000},
    };
    c->metrics_n = sizeof table / sizeof *table;
    memcpy(c->metrics, table, sizeof table);
}

void settings_defaults(struct router_config *ret_config, const char *name)
{
    struct router_config *c = ret_config;
    memset(c, 0, sizeof *c);
    set_name(c->name, name);
    c->spec =
        (struct feature_spec){.version = 1, .task_slots = 16, .scalars = true, .text_block = true};
    c->settings = (struct router_settings){
        .alpha = 1.5,
        .ridge = {[METRIC_RATED] = {1, 20}, [METRIC_SERVED] = {.1, 1}},
        .explore_floor = .01,
        .drift_policy = DRIFT_NOTHING,
        .newcomer_pulls = 2,
        .newcomer_every = 3,
        .cooldown_failures = 5,
        .cooldown_window = 10,
        .cooldown_s = 10,
        .reward_wait_s = 86400,
        .session_ttl_s = 3600,
        .session_gamma = .9,
        .dedup_max = 2000000,
        .decision_log = DECISION_LOG_KEEP_ALL,
        .decision_log_sample = .01,
        .pooled_slopes = true,
        .policy = "linucb",
        .epsilon = .1,
        .split_share = .5,
        .split_alpha = -1,
        .split_epsilon = -1,
        .gamma = 1,
        .budget_ceiling = 2,
    };
    settings_default_metrics(c);
}

void settings_for_adapters(struct router_settings *s)
{
    s->alpha = 1.25;
    s->ridge[METRIC_RATED][0] = 1;
    s->ridge[METRIC_RATED][1] = .05;
    s->explore_floor = 0;
    s->newcomer_pulls = 0;
    s->pooled_slopes = false;
}

/* A number and the interval it must lie in; `open` leaves out the low end. */
struct range {
    const char *field;
    double value, low, high;
    bool open;
};

static enum err check_range(const struct range *r, struct err_detail *detail)
{
    if (!isfinite(r->value))
        return err_say(detail, ERR_NOT_FINITE, "%s is not a finite number", r->field);
    bool low_ok = r->open ? r->value > r->low : r->value >= r->low;
    if (!low_ok || r->value > r->high)
        return err_say(detail, ERR_OUT_OF_RANGE, "%s is %.10g; it must lie in %c%.10g, %.10g]",
                       r->field, r->value, r->open ? '(' : '[', r->low, r->high);
    return OK;
}

static enum err check_ranges(const struct range *r, size_t n, struct err_detail *detail)
{
    for (size_t i = 0; i < n; i++)
        TRY(check_range(&r[i], detail));
    return OK;
}

/* `name` stands in an array of NAME_CAP bytes that might hold no NUL. */
static enum err check_name(const char *field, const char *name, struct err_detail *detail)
{
    size_t len = strnlen(name, NAME_CAP);
    if (!name_valid(name, len))
        return err_say(detail, ERR_BAD_NAME,
                       "%s is not a name: 1 to 64 of A-Z a-z 0-9 . _ / - and no part . or ..",
                       field);
    return OK;
}

/* A name, or none. */
static enum err check_no_name(const char *field, const char *name, struct err_detail *detail)
{
    return name[0] ? check_name(field, name, detail) : OK;
}

/* -1 says that side B of a split has the router's value. */
static double own_value(double value)
{
    return value == -1 ? 0 : value;
}

static enum err check_settings(const struct router_settings *s, struct err_detail *detail)
{
    const struct range ranges[] = {
        {"settings.alpha", s->alpha, 0, 100, false},
        {"settings.ridge_bias", s->ridge[METRIC_RATED][0], 0, 1e6, true},
        {"settings.ridge_context", s->ridge[METRIC_RATED][1], 0, 1e6, true},
        {"settings.served_ridge_bias", s->ridge[METRIC_SERVED][0], 0, 1e6, true},
        {"settings.served_ridge_context", s->ridge[METRIC_SERVED][1], 0, 1e6, true},
        {"settings.explore_floor", s->explore_floor, 0, 1, false},
        {"settings.newcomer_pulls", s->newcomer_pulls, 0, 1000, false},
        {"settings.newcomer_every", s->newcomer_every, 1, 1000, false},
        {"settings.cooldown_failures", s->cooldown_failures, 0, 64, false},
        {"settings.cooldown_window", s->cooldown_window, 1, 64, false},
        {"settings.cooldown_s", s->cooldown_s, 0, 86400, true},
        {"settings.reward_wait_s", s->reward_wait_s, 1, 2592000, false},
        {"settings.session_ttl_s", s->session_ttl_s, 1, 604800, false},
        {"settings.switch_cost", s->switch_cost, 0, 1000, false},
        {"settings.session_gamma", s->session_gamma, 0, 1, true},
        {"settings.dedup_max", (double)s->dedup_max, 1000, 50000000, false},
        {"settings.decision_log", s->decision_log, DECISION_LOG_KEEP_ALL, DECISION_LOG_KEEP_NONE,
         false},
        {"settings.decision_log_sample", s->decision_log_sample, 0, 1, false},
        {"settings.epsilon", s->epsilon, 0, 1, false},
        {"settings.split_share", s->split_share, 0, 1, false},
        {"settings.split_alpha", own_value(s->split_alpha), 0, 100, false},
        {"settings.split_epsilon", own_value(s->split_epsilon), 0, 1, false},
        {"settings.aggregation", s->aggregation, AGGREGATE_FIRST, AGGREGATE_MEAN, false},
        {"settings.mode", s->mode, MODE_ONLINE, MODE_LOGGING_ONLY, false},
        {"settings.gamma", s->gamma, .9, 1, false},
        {"settings.drift_policy", s->drift_policy, DRIFT_WIDEN, DRIFT_NOTHING, false},
        {"settings.stale_after", s->stale_after, 0, 1e9, false},
    };
    TRY(check_ranges(ranges, sizeof ranges / sizeof *ranges, detail));
    TRY(check_name("settings.policy", s->policy, detail));
    TRY(check_no_name("settings.fixed_arm", s->fixed_arm, detail));
    TRY(check_no_name("settings.split_policy", s->split_policy, detail));
    TRY(check_no_name("settings.split_fixed_arm", s->split_fixed_arm, detail));
    return check_no_name("settings.baseline_arm", s->baseline_arm, detail);
}

/* names: n of them, NAME_CAP bytes each. */
static enum err check_unique(const char *field, const char *names, uint32_t n,
                             struct err_detail *detail)
{
    for (uint32_t i = 1; i < n; i++)
        for (uint32_t j = 0; j < i; j++)
            if (strcmp(names + (size_t)i * NAME_CAP, names + (size_t)j * NAME_CAP) == 0)
                return err_say(detail, ERR_INVALID, "%s holds \"%s\" twice; names must be unique",
                               field, names + (size_t)i * NAME_CAP);
    return OK;
}

static enum err check_spec(const struct feature_spec *spec, struct err_detail *detail)
{
    const struct range ranges[] = {
        {"task_slots", spec->task_slots, 0, MAX_TASKS, false},
        {"features_n", spec->features_n, 0, MAX_D, false},
        {"embedding_n", spec->embedding_n, 0, MAX_EMBEDDING, false},
    };
    TRY(check_ranges(ranges, sizeof ranges / sizeof *ranges, detail));
    if (spec->version >= SPEC_VERSIONS)
        return err_say(detail, ERR_OUT_OF_RANGE, "context: there is no version %u",
                       (unsigned)spec->version);
    if (spec->version == 0 && (spec->agent || spec->text_block))
        return err_say(detail, ERR_INVALID, "agent and text_block are blocks of ctx.v1");
    if (spec->text_block && spec->embedding_n)
        return err_say(detail, ERR_INVALID,
                       "text_block: an embedding takes its place; declare one of the two");
    if (spec->projection[0] && !spec->embedding_n)
        return err_say(detail, ERR_INVALID,
                       "projection: it is of an embedding; declare embedding_n too");
    if (spec_d(spec) > MAX_D)
        return err_say(detail, ERR_OUT_OF_RANGE,
                       "the blocks that are declared make a context of %u values; at most %d",
                       spec_d(spec), MAX_D);
    return OK;
}

static enum err check_tasks(const struct router_config *c, struct err_detail *detail)
{
    if (c->tasks_n > MAX_TASKS || c->tasks_n > c->spec.task_slots)
        return err_say(detail, ERR_OUT_OF_RANGE,
                       "tasks holds %u labels; it must hold at most task_slots (%u)", c->tasks_n,
                       (unsigned)c->spec.task_slots);
    for (uint32_t i = 0; i < c->tasks_n; i++) {
        char field[32];
        snprintf(field, sizeof field, "tasks[%u]", i);
        TRY(check_name(field, c->tasks[i], detail));
    }
    return check_unique("tasks", c->tasks[0], c->tasks_n, detail);
}

static enum err check_metric(const struct metric_def *m, uint32_t at, struct err_detail *detail)
{
    char field[64];
    snprintf(field, sizeof field, "metrics[%u].name", at);
    TRY(check_name(field, m->name, detail));
    const struct {
        const char *what;
        double value;
    } finite[] = {
        {"min", m->min}, {"max", m->max}, {"norm_low", m->norm_low}, {"norm_high", m->norm_high}};
    for (size_t i = 0; i < sizeof finite / sizeof *finite; i++)
        if (!isfinite(finite[i].value))
            return err_say(detail, ERR_NOT_FINITE, "metrics[%u].%s (%s) is not a finite number", at,
                           finite[i].what, m->name);
    if ((unsigned)m->group >= METRIC_GROUPS)
        return err_say(detail, ERR_OUT_OF_RANGE,
                       "metrics[%u].group (%s) is neither rated nor served", at, m->name);
    if (m->min >= m->max)
        return err_say(detail, ERR_OUT_OF_RANGE, "metrics[%u].min (%s) must be below max (%.10g)",
                       at, m->name, m->max);
    /* A difference that overflows would normalise everything to 0. */
    if (m->norm_low >= m->norm_high || !isfinite(m->norm_high - m->norm_low))
        return err_say(detail, ERR_OUT_OF_RANGE,
                       "metrics[%u].norm_low (%s) must be below norm_high (%.10g)", at, m->name,
                       m->norm_high);
    if (m->logarithmic && m->norm_low <= 0)
        return err_say(detail, ERR_OUT_OF_RANGE,
                       "metrics[%u].norm_low (%s) must be above 0 for a logarithmic metric", at,
                       m->name);
    char weight[64 + NAME_CAP]; /* Whoever changes weights knows names, not the table's order. */
    snprintf(weight, sizeof weight, "metrics[%u].weight (%s)", at, m->name);
    return check_range(&(struct range){weight, m->weight, 0, 1e6, false}, detail);
}

static enum err check_metrics(const struct router_config *c, struct err_detail *detail)
{
    if (c->metrics_n < 1 || c->metrics_n > MAX_METRICS)
        return err_say(detail, ERR_OUT_OF_RANGE, "metrics holds %u rows; it must hold 1 to %d",
                       c->metrics_n, MAX_METRICS);
    char names[MAX_METRICS][NAME_CAP];
    double weights = 0;
    for (uint32_t i = 0; i < c->metrics_n; i++) {
        TRY(check_metric(&c->metrics[i], i, detail));
        memcpy(names[i], c->metrics[i].name, NAME_CAP);
        weights += c->metrics[i].weight;
    }
    if (!(weights > 0))
        return err_say(detail, ERR_INVALID,
                       "the weight of every metric is 0, so that no arm could be better than "
                       "another: give one of them a weight above 0");
    return check_unique("metrics", names[0], c->metrics_n, detail);
}

/* fold adds the pieces up, and has no logarithm; nor may a sum of them be infinite. */
static enum err check_aggregation(const struct router_config *c, struct err_detail *detail)
{
    static const double most = 1e300;
    for (uint32_t i = 0; i < c->metrics_n && c->settings.aggregation != AGGREGATE_FIRST; i++) {
        const struct metric_def *m = &c->metrics[i];
        if (m->group != METRIC_RATED)
            continue;
        if (m->logarithmic)
            return err_say(detail, ERR_INVALID,
                           "settings.aggregation: metric %s is logarithmic; only FIRST can be",
                           m->name);
        if (m->min < -most || m->max > most)
            return err_say(detail, ERR_OUT_OF_RANGE,
                           "settings.aggregation: the range of metric %s is beyond 1e300", m->name);
    }
    return OK;
}

static enum err check_defaults(const struct router_config *c, struct err_detail *detail)
{
    const struct default_rewards *d = &c->settings.defaults;
    for (uint32_t i = 0; i < d->n; i++) {
        const char *name = d->all[i].metric;
        int m = settings_metric_index(c, name, strnlen(name, NAME_CAP));
        if (m < 0)
            return err_say(detail, ERR_METRIC_NOT_FOUND,
                           "settings.default_rewards: router `%s` has no metric %s", c->name, name);
        if (c->metrics[m].group != METRIC_RATED)
            return err_say(detail, ERR_INVALID,
                           "settings.default_rewards: %s is not a rated metric", name);
        TRY(metric_check_value(&c->metrics[m], d->all[i].raw, detail));
    }
    if (d->n && c->settings.decision_log != DECISION_LOG_KEEP_ALL)
        return err_say(detail, ERR_LOG_REQUIRED,
                       "settings.default_rewards: decisions without a report are found in the "
                       "decision log, which this router does not keep in full");
    return OK;
}

static enum err check_newcomers(const struct router_config *c, struct err_detail *detail)
{
    const struct router_settings *s = &c->settings;
    const char *name = s->newcomer_metric;
    if (!name[0] && s->newcomer_per_hour != 0)
        return err_say(detail, ERR_INVALID, "settings.newcomer_per_hour needs a newcomer_metric");
    if (!name[0])
        return OK;
    int m = settings_metric_index(c, name, strnlen(name, NAME_CAP));
    if (m < 0)
        return err_say(detail, ERR_METRIC_NOT_FOUND,
                       "settings.newcomer_metric: router `%s` has no metric `%.64s`", c->name,
                       name);
    if (c->metrics[m].group != METRIC_SERVED || !c->metrics[m].lower_is_better)
        return err_say(detail, ERR_INVALID,
                       "settings.newcomer_metric: `%s` cannot be spent; name a served metric where "
                       "lower is better, such as cost_usd",
                       name);
    if (!(s->newcomer_per_hour > 0 && s->newcomer_per_hour <= 1e12))
        return err_say(detail, ERR_OUT_OF_RANGE,
                       "settings.newcomer_per_hour is %.10g; it must lie in (0, 1e12]",
                       s->newcomer_per_hour);
    return OK;
}

enum err settings_check(const struct router_config *config, struct err_detail *detail)
{
    TRY(check_name("name", config->name, detail));
    TRY(check_spec(&config->spec, detail));
    TRY(check_tasks(config, detail));
    TRY(check_metrics(config, detail));
    TRY(check_settings(&config->settings, detail));
    TRY(check_aggregation(config, detail));
    TRY(check_defaults(config, detail));
    TRY(check_newcomers(config, detail));
    const struct router_settings *s = &config->settings;
    if (s->residency.policy[0]) {
        TRY(residency_check(&s->residency, detail));
        TRY(residency_check_target(&s->target, detail));
    }
    return s->budget_metric[0] ? budget_check(config, "settings.budget_", s->budget_metric,
                                              s->budget_per_request, s->budget_ceiling, detail)
                               : OK;
}

/* Control characters could steer the terminal of whoever lists the arms. */
static enum err check_description(const char *text, struct err_detail *detail)
{
    size_t len = strnlen(text, DESCRIPTION_CAP);
    if (len >= DESCRIPTION_CAP)
        return err_say(detail, ERR_TOO_LARGE, "description is longer than %d bytes",
                       DESCRIPTION_CAP - 1);
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return err_say(detail, ERR_INVALID, "description holds a control character at byte %zu",
                           i);
    return OK;
}

static enum err check_descriptors(const struct arm_config *arm, struct err_detail *detail)
{
    const struct {
        int bit;
        struct range range;
    } numbers[] = {
        {ARM_KNOWS_SIZE, {"size_b", arm->size_b, 0, 1e6, true}},
        {ARM_KNOWS_PRICE_IN, {"price_in_usd", arm->price_in_usd, 0, 1e6, false}},
        {ARM_KNOWS_PRICE_OUT, {"price_out_usd", arm->price_out_usd, 0, 1e6, false}},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (arm->known & numbers[i].bit)
            TRY(check_range(&numbers[i].range, detail));
    return arm->family[0] ? check_name("family", arm->family, detail) : OK;
}

enum err settings_check_arm(const struct arm_config *arm, struct err_detail *detail)
{
    TRY(check_name("name", arm->name, detail));
    TRY(check_description(arm->description, detail));
    if (arm->tags_n > MAX_TAGS)
        return err_say(detail, ERR_OUT_OF_RANGE, "tags holds %u names; at most %d", arm->tags_n,
                       MAX_TAGS);
    for (uint32_t i = 0; i < arm->tags_n; i++) {
        char field[32];
        snprintf(field, sizeof field, "tags[%u]", i);
        TRY(check_name(field, arm->tags[i], detail));
    }
    TRY(check_unique("tags", arm->tags[0], arm->tags_n, detail));
    TRY(adapter_check(&arm->adapter, detail));
    for (uint32_t m = 0; m < MAX_METRICS; m++) {
        if (!(arm->prior_mask >> m & 1))
            continue;
        if (!isfinite(arm->prior_raw[m]))
            return err_say(detail, ERR_NOT_FINITE, "priors: metric %u is not a finite number", m);
        char field[64];
        snprintf(field, sizeof field, "priors: metric %u on the unit interval", m);
        TRY(check_range(&(struct range){field, arm->prior_z[m], 0, 1, false}, detail));
    }
    for (uint32_t m = 0; m < MAX_METRICS; m++) {
        char field[32];
        snprintf(field, sizeof field, "caps: metric %u", m);
        if (arm->cap_mask >> m & 1)
            TRY(check_range(&(struct range){field, arm->cap_raw[m], 0, 1e9, false}, detail));
    }
    TRY(check_descriptors(arm, detail));
    return capability_check(&arm->can, detail);
}

uint32_t spec_task_at(const struct feature_spec *spec)
{
    (void)spec; /* The bias alone comes before. */
    return 1;
}

uint32_t spec_scalars_at(const struct feature_spec *spec)
{
    return spec_task_at(spec) + spec->task_slots;
}

uint32_t spec_scalars_n(const struct feature_spec *spec)
{
    return !spec->scalars ? 0 : spec->version == 0 ? SCALARS_N : SCALARS_V1_N;
}

uint32_t spec_agent_at(const struct feature_spec *spec)
{
    return spec_scalars_at(spec) + spec_scalars_n(spec);
}

uint32_t spec_features_at(const struct feature_spec *spec)
{
    return spec_agent_at(spec) + (spec->agent ? AGENT_N : 0);
}

uint32_t spec_embedding_at(const struct feature_spec *spec)
{
    return spec_features_at(spec) + spec->features_n;
}

static uint32_t spec_tail_n(const struct feature_spec *spec)
{
    return spec->embedding_n ? EMBEDDING_D : spec->text_block ? TEXT_BLOCK_N : 0;
}

uint32_t spec_d(const struct feature_spec *spec)
{
    return spec_embedding_at(spec) + spec_tail_n(spec);
}

uint32_t spec_blocks(const struct feature_spec *spec, struct spec_block ret[SPEC_BLOCKS_MAX])
{
    const struct spec_block all[] = {
        {"bias", 0, 1},
        {"task", spec_task_at(spec), spec->task_slots},
        {"scalars", spec_scalars_at(spec), spec_scalars_n(spec)},
        {"agent", spec_agent_at(spec), spec->agent ? AGENT_N : 0},
        {"features", spec_features_at(spec), spec->features_n},
        {spec->embedding_n ? "embedding" : "text", spec_embedding_at(spec), spec_tail_n(spec)},
    };
    uint32_t n = 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].n)
            ret[n++] = all[i];
    return n;
}

const char *spec_version_name(uint8_t version)
{
    return version == 0 ? "ctx.v0" : "ctx.v1";
}

void spec_describe(const struct feature_spec *spec, char *ret_text, size_t cap)
{
    if (spec->version == 0)
        snprintf(ret_text, cap, "ctx.v0 bias task=%u scalars=%u features=%u embedding=%u",
                 (unsigned)spec->task_slots, spec_scalars_n(spec), (unsigned)spec->features_n,
                 (unsigned)spec->embedding_n);
    else
        snprintf(ret_text, cap,
                 "ctx.v1 bias task=%u scalars=%u agent=%d features=%u text=%s embedding=%u",
                 (unsigned)spec->task_slots, spec_scalars_n(spec), spec->agent ? AGENT_N : 0,
                 (unsigned)spec->features_n, spec->text_block ? "16.1" : "0",
                 (unsigned)spec->embedding_n);
    size_t n = strlen(ret_text);
    if (spec->projection[0])
        snprintf(ret_text + n, cap - n, " projection=%s:%016llx", spec->projection,
                 (unsigned long long)spec->projection_hash);
}

uint64_t spec_hash(const struct feature_spec *spec)
{
    char text[SPEC_TEXT_CAP];
    spec_describe(spec, text, sizeof text);
    return hash_bytes(text, strlen(text));
}

int settings_metric_index(const struct router_config *config, const char *name, size_t len)
{
    for (uint32_t i = 0; i < config->metrics_n; i++) {
        const char *have = config->metrics[i].name;
        if (strlen(have) == len && memcmp(have, name, len) == 0)
            return (int)i;
    }
    return -1;
}

double metric_normalise_linear(const struct metric_def *metric, double raw)
{
    if (!(raw > metric->norm_low))
        return 0;
    if (raw >= metric->norm_high)
        return 1;
    return (raw - metric->norm_low) / (metric->norm_high - metric->norm_low);
}

double metric_normalise(const struct metric_def *metric, double raw)
{
    /* Saturate first: then a logarithm never sees a value that it has no answer for. */
    if (!(raw > metric->norm_low))
        return 0;
    if (raw >= metric->norm_high)
        return 1;
    double z =
        metric->logarithmic
            ? (log(raw) - log(metric->norm_low)) / (log(metric->norm_high) - log(metric->norm_low))
            : (raw - metric->norm_low) / (metric->norm_high - metric->norm_low);
    /* Bounds a rounding apart may share a logarithm: 0/0. */
    return z >= 0 && z <= 1 ? z : 1;
}

enum err metric_check_value(const struct metric_def *metric, double raw, struct err_detail *detail)
{
    if (!isfinite(raw))
        return err_say(detail, ERR_NOT_FINITE, "metric %s is not a finite number", metric->name);
    if (raw < metric->min || raw > metric->max)
        return err_say(detail, ERR_OUT_OF_RANGE,
                       "metric %s is %.10g; it must lie in [%.10g, %.10g]", metric->name, raw,
                       metric->min, metric->max);
    return OK;
}

double metric_sign(const struct metric_def *metric)
{
    return metric->lower_is_better ? -1 : 1;
}
