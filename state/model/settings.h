/* settings.h - what an operator declares: routers, metrics, arms, and the spec of the context.
 * Why: these are state, changed by events; the learner reads them at every step.
 * Owns: plain values, no pointers: copied freely. Ranges and defaults stand in
 * proto/shunt/v1/admin.proto and are enforced by settings_check. Threads: pure. */
#pragma once

#include "state/base/err.h"
#include "state/base/name.h"
#include "state/model/capability.h"
#include "state/model/defaults.h"
#include "state/model/labels.h"
#include "state/model/limits.h"
#include "state/model/residency.h"
#include "state/model/sources.h"
#include "state/model/stages.h"

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

/* Who answers. The numbers of shunt.v1.RouterMode. */
enum router_mode {
    MODE_ONLINE = 0,     /* The policy. */
    MODE_APPRENTICE = 1, /* The baseline; its outcomes teach, the policy's own choice is counted. */
    MODE_LOGGING_ONLY = 2, /* The baseline; outcomes are kept, nothing is learned. */
};

/* What an alarm does (drift.h). The numbers of shunt.v1.DriftPolicy. */
enum drift_policy { DRIFT_WIDEN = 0, DRIFT_DISCOUNT = 1, DRIFT_NOTHING = 2 };
enum { DRIFT_POLICIES = 3 };

/* What several reports of one rated metric make of a decision. The numbers of shunt.v1.Aggregation.
 */
enum aggregation {
    AGGREGATE_FIRST = 0, /* The first counts. */
    AGGREGATE_SUM = 1,   /* Saturating at the metric's range. */
    AGGREGATE_MEAN = 2,
};

/* Which steps a session's reward is credited to. The numbers of shunt.v1.SessionCredit. */
enum session_credit {
    CREDIT_LAST = 0,       /* The last one. */
    CREDIT_EVEN = 1,       /* Each, all of it. */
    CREDIT_DISCOUNTED = 2, /* Each, times session_gamma for every step that came after it. */
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
    bool pooled_slopes, pooled_level;
    char policy[NAME_CAP]; /* server/route/policy.h knows which there are. */
    double epsilon;
    char fixed_arm[NAME_CAP];    /* Empty: none. */
    double gamma;                /* What an outcome still counts after one more; 1: for ever. */
    bool hybrid;                 /* Descriptors of arms make priors (hybrid.h). */
    char split_policy[NAME_CAP]; /* Of side B; empty: no split. */
    double split_share;          /* Of the requests that side B decides. */
    double split_alpha, split_epsilon; /* Side B's; -1: the router's. */
    char split_fixed_arm[NAME_CAP];    /* Side B's; empty: the router's. */
    enum router_mode mode;
    char baseline_arm[NAME_CAP]; /* Empty: every request must name its own. */
    struct stages stages;
    enum aggregation aggregation; /* Of rated metrics; fixed at creation. */
    struct sources sources;
    struct default_rewards defaults; /* What a decision is given that nobody rates. */
    /* What may be spent (server/route/pacing.h). Empty: no budget; the rest is meaningless then. */
    char budget_metric[NAME_CAP];
    double budget_per_request; /* Mean a request, raw unit. */
    double budget_ceiling;     /* Of the breaker, in budgets. */
    double session_ttl_s;      /* A session without a request for so long is over. */
    double switch_cost;        /* Gain, in utility, that moves a session to another arm; 0: any. */
    enum session_credit session_credit;
    double session_gamma; /* Of CREDIT_DISCOUNTED. */
    enum drift_policy drift_policy;
    uint32_t stale_after; /* Outcomes of others after which an arm is probed again; 0: never. */
    /* What arms whose cost is not known well may spend in an hour (server/live/newcomer_quota.h).
     * Empty: no such quota, and the next one is 0. */
    char newcomer_metric[NAME_CAP];
    double newcomer_per_hour; /* Raw unit. */
    /* Which adapters are in fast memory. policy empty: the router's arms are no adapters, all of
     * both is zero. */
    struct residency_settings residency;
    struct residency_target target;
};

/* Which numbers make x, and in which order; server/route/features.h says what each one means.
 * ctx.v0: bias | task one-hot | 9 text scalars | features | embedding.
 * ctx.v1: bias | task | 12 scalars | agent | features | text block, or the embedding in its place.
 * Task is task_slots numbers, features features_n, an embedding EMBEDDING_D. */
struct feature_spec {
    uint8_t version;     /* 0: ctx.v0, 1: ctx.v1. */
    uint16_t task_slots; /* 0, or the table's size; the last slot is `other`. */
    bool scalars;
    bool agent;      /* v1 only. */
    bool text_block; /* v1 only, and not with an embedding. */
    uint16_t features_n;
    uint16_t embedding_n;
    /* Of an embedding only. "": the seeded signs. Else the name of an operator's matrix
     * (server/route/projection.h) and the hash of its bytes when the router was made. */
    char projection[NAME_CAP];
    uint64_t projection_hash;
};
enum { SPEC_VERSIONS = 2, SPEC_TEXT_CAP = 192 };

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

/* Bits of arm_config.known. */
enum { ARM_KNOWS_SIZE = 1, ARM_KNOWS_PRICE_IN = 2, ARM_KNOWS_PRICE_OUT = 4, ARM_KNOWS_ALL = 7 };

struct arm_config {
    char name[NAME_CAP];
    char description[DESCRIPTION_CAP];
    uint32_t tags_n;
    char tags[MAX_TAGS][NAME_CAP];
    uint16_t prior_mask; /* Bit m: prior of metric m is declared. */
    double prior_raw[MAX_METRICS];
    double prior_z[MAX_METRICS]; /* The same on the unit interval. */
    uint8_t known;               /* Which of the next three are declared; the others are 0. */
    double size_b;               /* Parameters, billions. */
    double price_in_usd, price_out_usd; /* Per million tokens. */
    char family[NAME_CAP];              /* Empty: none. */
    struct labels labels;
    struct capability can;
    uint16_t cap_mask;             /* Bit m: the next one holds for metric m. */
    double cap_raw[MAX_METRICS];   /* Most that one request can cost, raw unit. */
    struct adapter_config adapter; /* bytes 0: it is none, all of it is zero. */
};

/* Defaults of a router named `name`: the default metric table; ctx.v1 with 16 task slots, scalars
 * and the text block. */
void settings_defaults(struct router_config *ret_config, const char *name);
/* The defaults of a router whose arms are adapters: they are specialists, and a ridge that suits
 * models of one kind says that an adapter that is poor at one task is poor at all; which arm is
 * tried is a matter of what a miss costs (server/adapters/README.md). */
void settings_for_adapters(struct router_settings *settings);
/* Every range; the sentence names the field. */
MUST_USE enum err settings_check(const struct router_config *config, struct err_detail *detail);
MUST_USE enum err settings_check_arm(const struct arm_config *arm, struct err_detail *detail);

uint32_t spec_d(const struct feature_spec *spec);
uint32_t spec_task_at(const struct feature_spec *spec);
uint32_t spec_scalars_at(const struct feature_spec *spec);
uint32_t spec_scalars_n(const struct feature_spec *spec);
uint32_t spec_agent_at(const struct feature_spec *spec);
uint32_t spec_features_at(const struct feature_spec *spec);
uint32_t spec_embedding_at(const struct feature_spec *spec); /* Or of the text block. */

/* A run of x with one meaning: bias, task, scalars, agent, features, text or embedding. */
struct spec_block {
    const char *name;
    uint32_t at, n; /* n > 0. */
};
/* The blocks in order, without gap; returns how many. They cover [0, d). */
uint32_t spec_blocks(const struct feature_spec *spec, struct spec_block ret[SPEC_BLOCKS_MAX]);
/* "ctx.v1": what a router declares it by. */
const char *spec_version_name(uint8_t version);
/* "ctx.v1 bias task=16 scalars=12 agent=0 features=0 text=16.1 embedding=0" (16.1: of the first
 * table of vectors), at the end " projection=NAME:HASH" if there is one; its hash binds statistics
 * to it. SPEC_TEXT_CAP bytes are enough. */
void spec_describe(const struct feature_spec *spec, char *ret_text, size_t cap);
uint64_t spec_hash(const struct feature_spec *spec);

/* Index of a metric by name; -1 when the table has none. */
int settings_metric_index(const struct router_config *config, const char *name, size_t len);
/* Raw value -> [0,1], saturating. May use log, so it is called when an event is made, never in
 * fold. */
double metric_normalise(const struct metric_def *metric, double raw);
/* The same of a metric that is not logarithmic; fold may use it. */
double metric_normalise_linear(const struct metric_def *metric, double raw);
/* OK when a report may hold `raw`; else says the range. */
MUST_USE enum err metric_check_value(const struct metric_def *metric, double raw,
                                     struct err_detail *detail);
/* +1 or -1: how the metric enters a utility. */
double metric_sign(const struct metric_def *metric);
