/* event.h - everything that changes what is known, and its byte form.
 * Why: "anything that changes what is learned is an event, and every event passes one gate". The
 * same bytes are queued, journalled and folded again after a crash.
 * Owns: an event borrows from the record it was decoded from.
 * Threads: pure.
 * Invariant: event_decode(event_encode(e)) == e; a record that does not decode is ERR_CORRUPT. */
#pragma once

#include "state/base/err.h"
#include "state/base/slice.h"
#include "state/model/budget.h"
#include "state/model/session.h"
#include "state/model/settings.h"

enum event_kind {
    EVENT_OUTCOME = 1,
    EVENT_TALLY = 2,
    EVENT_ROUTER_CREATE = 3,
    EVENT_ROUTER_UPDATE = 4,
    EVENT_ROUTER_REMOVE = 5,
    EVENT_LABEL_ADD = 6,
    EVENT_ARM_ADD = 7,
    EVENT_ARM_UPDATE = 8,
    EVENT_ARM_STATE = 9,
    EVENT_ARM_REMOVE = 10,
    EVENT_KEY_ADD = 11,
    EVENT_TENANT_SET = 12,
    EVENT_ACCOUNTS = 13,
    EVENT_SESSION = 14,
    EVENT_SESSION_END = 15,
    EVENT_ARM_PRICE = 16,
    EVENT_SWEEP = 17,
    EVENT_RESIDENCY = 18,
    EVENT_FORGET = 19,
    EVENT_ACTIVATE = 20,
};

enum outcome_status { OUTCOME_OK = 0, OUTCOME_ERROR = 1, OUTCOME_REFUSED = 2, OUTCOME_TIMEOUT = 3 };
enum { OUTCOME_STATUS_N = 4 };

/* Why an arm was chosen; the numbers of shunt.v1.Reason. */
enum reason {
    REASON_NONE = 0,
    REASON_EXPLOIT = 1,
    REASON_EXPLORE = 2,
    REASON_NEWCOMER = 3,
    REASON_ONLY_ELIGIBLE = 4,
    REASON_COOLDOWN_PROBE = 5,
    REASON_ALL_COOLING = 6,
    REASON_FIXED = 7,
    REASON_BASELINE = 8,
    REASON_SESSION = 9,
    REASON_SESSION_MOVED = 10,
    REASON_PROBE = 11,
    REASON_ADAPTER_PROBE = 12,
};

/* Which policy of a split decided; none: no split was in force, or no policy decided. */
enum side { SIDE_NONE = 0, SIDE_A = 1, SIDE_B = 2 };

/* What fold must know of a decision, hours later: the content of the sealed token. */
struct decision {
    uint8_t id[ID_BYTES];
    uint32_t router_uid;
    uint32_t arm_uid;        /* Names arm and version: uids are never used twice. */
    uint64_t spec_hash;      /* Of the router's feature spec. */
    int64_t issued_us;       /* Unix time. */
    float propensity;        /* (0, 1]. */
    uint8_t reason;          /* enum reason. */
    uint8_t evaluable;       /* Whether an off-policy estimate may use it. */
    uint8_t side;            /* enum side. */
    uint8_t mode;            /* enum router_mode that it was decided in. */
    uint8_t deferred;        /* 1: not served until it is activated, or somebody reports on it. */
    uint32_t epoch;          /* Of the trial that it counts in (trial.h); 0: in none. */
    uint32_t policy_arm_uid; /* MODE_APPRENTICE: what the policy would have chosen; else 0. */
    /* A budget paid for it: `charge` was taken from the account of this metric and tenant (empty:
     * the router's own). Else 0. */
    uint8_t paced, budget_metric;
    float charge; /* Raw unit, as predicted. */
    char tenant[NAME_CAP];
    uint16_t d;
    float x[MAX_D]; /* The context, d values. */
};

struct outcome_metric {
    uint8_t index; /* In the router's metric table. */
    double raw;    /* As reported. */
    double z;      /* On the unit interval. */
};

struct event_outcome {
    struct decision decision;
    enum outcome_status status;
    uint8_t metrics_n;
    struct outcome_metric metrics[MAX_METRICS];
    /* The arm that answered in place of the chosen one, and whose metrics these are; 0: none did.
     * The status stays the chosen arm's. */
    uint32_t served_uid;
    uint64_t piece;        /* Hash of the report's idempotency key; 0: it has none. */
    char source[NAME_CAP]; /* Who says so (sources.h); empty: nobody in particular. */
};

/* Cumulative counters of server/live; folding takes the larger value, so order does not matter. */
struct event_tally {
    uint32_t router_uid;
    uint64_t requests;
    uint64_t sides[2];            /* Of those, drawn to side A and B of a split. */
    uint64_t logged;              /* Of those, decided in MODE_LOGGING_ONLY. */
    uint64_t deferred, activated; /* Of those, deferred; of these, served since. */
    uint32_t n;
    const uint8_t *pairs; /* n times (u32 arm uid, u64 issued), packed, borrowed. */
};

struct event_router_update {
    uint32_t router_uid;
    struct router_settings settings; /* The whole new settings. */
    uint32_t metrics_n;
    double weights[MAX_METRICS];
};

struct event_label {
    uint32_t router_uid;
    char label[NAME_CAP];
};

struct event_arm {
    uint32_t router_uid;
    struct arm_config config;
    /* ARM_ADD: the arm begins with what arm `like_uid` knows, worth at most `strength` outcomes of
     * each matrix; 0: with nothing. replace: an arm of this name goes, and may be the one that it
     * is like. */
    uint32_t like_uid;
    double strength;
    bool replace;
    /* Or with what these bytes say (transfer.h), not both; empty: with nothing. strength 0: all
     * that they are worth. Borrowed. */
    struct slice seed;
};

/* From now on the metric of the arm costs `factor` times as much. */
struct event_arm_price {
    uint32_t router_uid, arm_uid;
    uint8_t metric;          /* Of the served ones. */
    double factor;           /* Of raw values, > 0. */
    double z_scale, z_shift; /* What that is on the unit interval. */
};

struct event_arm_state {
    uint32_t router_uid, arm_uid;
    bool paused, draining; /* draining: paused, and being waited for. */
};

struct event_tenant {
    uint32_t router_uid;
    struct tenant tenant; /* per_request 0: it spends from the router's budget again. */
};

/* Cumulative, as of now; the last one counts. */
struct event_accounts {
    uint32_t n;
    struct account_row rows[ACCOUNTS_MAX];
};

/* The decision log was gone through for decisions without a report: up to a time, and what was
 * there. */
struct event_sweep {
    uint32_t router_uid;
    int64_t until_us; /* Of issue; Unix time. */
    uint64_t found;   /* Decisions in the log since the last one. */
    uint64_t lost;    /* Decisions that were made and are not in it. */
};

/* The slow loop of a router's adapters ended an epoch. */
struct event_residency {
    uint32_t router_uid;
    struct slice update; /* residency_put_update's or _put_loads' bytes, borrowed. */
};

/* What this source reported in the records before this one is taken out: forget.h. */
struct event_forget {
    uint32_t router_uid; /* 0: in every router. */
    char source[NAME_CAP];
};

/* A deferred decision is served. */
struct event_activate {
    struct decision decision;
};

enum { KEY_BYTES = 32 };

struct event {
    enum event_kind kind;
    int64_t at_us; /* When the server took it; fold's only clock. */
    union {
        struct event_outcome outcome;
        struct event_tally tally;
        struct router_config router;       /* ROUTER_CREATE */
        struct event_router_update update; /* ROUTER_UPDATE */
        uint32_t router_uid;               /* ROUTER_REMOVE */
        struct event_label label;
        struct event_arm arm; /* ARM_ADD, ARM_UPDATE */
        struct event_arm_price price;
        struct event_arm_state state; /* ARM_STATE, ARM_REMOVE (paused unused) */
        uint8_t key[KEY_BYTES];       /* KEY_ADD; its id is given by fold. */
        struct event_tenant tenant;
        struct event_accounts accounts;
        struct event_sweep sweep;
        struct event_residency residency;
        struct event_forget forget;
        struct event_activate activate;
        struct event_session session;
        struct event_session_end session_end;
    } u;
};

/* Appends the record; check buf_error. */
void event_encode(const struct event *event, struct buf *out);
/* Checks form, not the ranges of settings_check: a narrower range in a later release must not make
 * an old journal unreadable. On failure *ret_event holds nothing of use. An event has one byte
 * form: what decodes, encodes to the same bytes again. */
MUST_USE enum err event_decode(struct slice record, struct event *ret_event);
/* Reads only the kind; 0 when empty. */
enum event_kind event_peek(struct slice record);

/* The decision alone: the plain text of a token, and the head of an OUTCOME. */
void decision_encode(const struct decision *decision, struct buf *out);
MUST_USE enum err decision_decode(struct reader *r, struct decision *ret_decision);

/* The declared part of a router and of an arm, as checkpoints keep it. A decoder fails with
 * ERR_CORRUPT and leaves the reader failed. */
void event_put_router(const struct router_config *config, struct buf *out);
MUST_USE enum err event_get_router(struct reader *r, struct router_config *ret_config);
/* Of a router, what its statistics mean something in: spec, ridges, metrics, task labels; the rest
 * of *ret_config is 0. */
void event_put_layout(const struct router_config *config, struct buf *out);
MUST_USE enum err event_get_layout(struct reader *r, struct router_config *ret_config);
void event_put_arm(const struct arm_config *config, struct buf *out);
MUST_USE enum err event_get_arm(struct reader *r, struct arm_config *ret_config);

/* Largest byte form of a decision. */
enum { DECISION_BYTES_MAX = 144 + 4 * MAX_D };
