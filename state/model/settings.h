/* settings.h - what an operator declares: routers, metrics, arms, and the spec of the context.
 * Why: these are state, changed by events; the learner reads them at every step.
 * Owns: plain values, no pointers: copied freely. Ranges and defaults stand in
 * proto/shunt/v1/admin.proto and are enforced by settings_check. Threads: pure. */
#pragma once

#include "state/base/err.h"
#include "state/base/name.h"
#include "state/model/limits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum metric_group { METRIC_RATED = 0, METRIC_SERVED = 1 };
enum { METRIC_GROUPS = 2 };

struct metric_def {
    char name[NAME_CAP];
    bool lower_is_better;
    bool logarithmic; /* Normalise on logarithms; norm_low > 0. */
    enum metric_group group;
    double min, max;            /* What a report may hold, raw unit. */
    double norm_low, norm_high; /* Raw values that become 0 and 1. */
    double weight;              /* >= 0, in the utility. */
};

enum decision_log {
    DECISION_LOG_KEEP_ALL = 0,
    DECISION_LOG_KEEP_SAMPLE = 1,
    DECISION_LOG_KEEP_NONE = 2
};

struct router_settings {
    double alpha;
    double ridge[METRIC_GROUPS][2]; /* [group][0] bias, [group][1] every other feature. */
    double explore_floor;
    uint32_t newcomer_pulls, newcomer_every;
    uint32_t cooldown_failures, cooldown_window;
    double cooldown_s;
    double reward_wait_s;
    uint64_t dedup_max;
    enum decision_log decision_log;
    double decision_log_sample;
    uint64_t seed;
    bool pooled_slopes;
};

/* The layout of x, in this order: bias | task one-hot | text scalars | features | embedding.
 * d = 1 + task_slots + (scalars ? SCALARS_N : 0) + features_n + (embedding_n ? EMBEDDING_D : 0). */
struct feature_spec {
    uint16_t task_slots; /* 0, or the table's size; the last slot is `other`. */
    bool scalars;
    uint16_t features_n;
    uint16_t embedding_n;
};

struct router_config {
    char name[NAME_CAP];
    bool ephemeral;
    struct feature_spec spec;
    struct router_settings settings;
    uint32_t metrics_n;
    struct metric_def metrics[MAX_METRICS];
    uint32_t tasks_n; /* Labels in slot order, at most spec.task_slots; grows by LABEL events. */
    char tasks[MAX_TASKS][NAME_CAP];
};

struct arm_config {
    char name[NAME_CAP];
    char description[DESCRIPTION_CAP];
    uint32_t tags_n;
    char tags[MAX_TAGS][NAME_CAP];
    uint16_t prior_mask; /* Bit m: prior of metric m is declared. */
    double prior_raw[MAX_METRICS];
    double prior_z[MAX_METRICS]; /* The same on the unit interval. */
};

/* Defaults of a router named `name`: the default metric table, 16 task slots, scalars on. */
void settings_defaults(struct router_config *ret_config, const char *name);
/* Every range; the sentence names the field. */
MUST_USE enum err settings_check(const struct router_config *config, struct err_detail *detail);
MUST_USE enum err settings_check_arm(const struct arm_config *arm, struct err_detail *detail);

uint32_t spec_d(const struct feature_spec *spec);
uint32_t spec_task_at(const struct feature_spec *spec);
uint32_t spec_scalars_at(const struct feature_spec *spec);
uint32_t spec_features_at(const struct feature_spec *spec);
uint32_t spec_embedding_at(const struct feature_spec *spec);
/* "ctx.v0 bias task=16 scalars=9 features=0 embedding=0"; its hash binds statistics to it. */
void spec_describe(const struct feature_spec *spec, char *ret_text, size_t cap);
uint64_t spec_hash(const struct feature_spec *spec);

/* Index of a metric by name; -1 when the table has none. */
int settings_metric_index(const struct router_config *config, const char *name, size_t len);
/* Raw value -> [0,1], saturating. May use log, so it is called when an event is made, never in
 * fold. */
double metric_normalise(const struct metric_def *metric, double raw);
/* OK when a report may hold `raw`; else says the range. */
MUST_USE enum err metric_check_value(const struct metric_def *metric, double raw,
                                     struct err_detail *detail);
/* +1 or -1: how the metric enters a utility. */
double metric_sign(const struct metric_def *metric);
