/* engine.h - the one place where a request meets snapshot, accounts, policy, token and decision
 * log, and where an outcome becomes an event. Plain values in and out: no gRPC, no protobuf. Why:
 * the main job can then be tested, and checked by the thread sanitizer, without a wire. Owns:
 * everything behind it: ledger, published snapshot, live accounts, writer thread, decision log.
 * Threads: engine_route and engine_report from any thread that holds an engine_worker (one each,
 * registered with RCU); admin calls may block until the writer answered.
 * Invariant: OK from a report means durable and folded once, and published. */
#pragma once

#include "server/live/pacers.h"
#include "server/loop/inbox.h"
#include "server/route/feature_agent.h"
#include "state/base/err.h"
#include "state/base/slice.h"
#include "state/ledger.h"
#include "state/model/event.h"
#include "state/model/snapshot.h"

struct engine;
struct engine_worker;
struct log;
struct projections;

struct engine_options {
    const char *data_dir;
    uint64_t map_bytes;
    uint32_t inbox_capacity;
    uint32_t max_text_bytes;
    uint64_t checkpoint_every_events;
    int64_t checkpoint_every_us;
    int64_t journal_keep_us;
    uint64_t journal_max_bytes;
    const char *decisions_dir;
    int64_t decisions_keep_us;
    uint64_t decisions_max_bytes;
    uint64_t decisions_ring_bytes;
    const char *engine_token;   /* For the inference engines that adapters live in; NULL: none. */
    const char *engine_ca_file; /* PEM of who signed their certificates; NULL: the system's. */
    const struct projections *projections; /* Borrowed; constant while the engine lives. */
    struct log *log;
    /* Called on the writer's thread when the disk can no longer be believed (failed fsync, corrupt
     * store): the process must stop, non-zero. */
    void (*fatal)(void *ctx, const char *why);
    void *fatal_ctx;
};

/* Opens the data directory, recovers, starts the writer. A fresh directory gets a key and no
 * router. */
MUST_USE enum err engine_open(const struct engine_options *o, struct engine **ret_engine,
                              struct err_detail *detail);
/* Refuses new events, writes what waits, takes a checkpoint, stops the threads. No worker may be
 * inside a call. */
void engine_close(struct engine *e);

MUST_USE enum err engine_worker_new(struct engine *e, struct engine_worker **ret_worker);
void engine_worker_free(struct engine_worker *w); /* On the thread that used it. */

/* ---- RouteRequest ---- */

struct engine_weight {
    struct slice name;
    double value;
};

struct route_in {
    struct slice router; /* Empty: "default". */
    struct slice text, task;
    const float *features;
    size_t features_n;
    const float *embedding;
    size_t embedding_n;
    struct feature_agent agent;
    const struct engine_weight *weights;
    size_t weights_n;
    const struct slice *candidates;
    size_t candidates_n;
    const struct slice *exclude;
    size_t exclude_n;
    struct slice baseline;        /* Arm that answers where no policy does; empty: the router's. */
    struct slice selector, stage; /* Empty: every arm. */
    struct slice tenant;          /* Empty: none. */
    const struct engine_weight *limits; /* Metrics and their bounds, in their own unit. */
    size_t limits_n;
    uint32_t input_tokens;       /* 0: estimated from the text. */
    uint8_t modalities;          /* Bit m: the prompt holds enum modality m beside agent.images. */
    struct slice decision_id;    /* Empty: the server makes one. */
    struct slice body;           /* The request's bytes; hashed when decision_id is given. */
    struct slice session;        /* Empty: none. */
    struct slice session_metric; /* Of a strict budget; data NULL: the request brings none. */
    double session_amount;       /* In that metric's unit. */
    bool latency_critical;       /* Nobody explores with it by force. */
    bool dry_run;
    bool defer; /* It counts as served once it is activated (engine_activate) or reported. */
    uint32_t max_ranked;
    bool explain;
    int64_t now_us; /* Unix time of the request; 0: the clock is read. */
    uint32_t ahead; /* Set by engine_route_ahead: 1 + its place there; 0: it was not. */
};

/* What a mean is the sum of: contributions, silence and charge (server/route/score.h), and the
 * price of what it costs (server/route/pacing.h). */
struct shown_terms {
    float predicted[MAX_METRICS];    /* z units, of metrics with weight. */
    float contribution[MAX_METRICS]; /* Signed weight times predicted. */
    float silence, charge, pacing;   /* <= 0. */
};

/* How a budget bore on a decision. */
struct shown_budget {
    bool paced;            /* Else nothing else holds. */
    char metric[NAME_CAP]; /* Empty: its router was removed since. */
    char tenant[NAME_CAP]; /* Empty: the router's own. */
    double per_request, lambda, affordable;
    bool breaker, is_charged;
    double charged;
};

struct ranked_arm {
    char name[NAME_CAP];
    double propensity, mean, width;
    uint64_t pending;
    struct shown_terms terms; /* Only with explain. */
};

enum { EXCLUDED_DETAIL_CAP = 192 };

/* An arm that could not be chosen. */
struct excluded_arm {
    char name[NAME_CAP];
    uint8_t why;                      /* enum ineligible of server/route/eligible.h. */
    char detail[EXCLUDED_DETAIL_CAP]; /* The figures behind it; may be empty. */
};

/* Where the weights of the chosen arm are. */
struct shown_adapter {
    bool shown;        /* The router's arms are adapters, and how this one stands is known. */
    bool is_adapter;   /* Else a base model. */
    uint8_t residence; /* enum residence of server/engine/board.h; of shunt.v1.Residence. */
    float load_ms;     /* Expected before it can serve; 0: none. */
    int replica, slot; /* Of the engine; -1: none is known, none is needed. */
    char url[REPLICA_URL_CAP];
};

struct route_out {
    char decision_id[ID_TEXT_CAP];
    uint8_t token[DECISION_BYTES_MAX + 64];
    size_t token_len; /* 0 for a dry run. */
    char arm[NAME_CAP];
    uint32_t arm_version;
    double propensity;
    int reason; /* enum reason of server/route/decide.h; the same numbers as shunt.v1.Reason. */
    uint64_t position;
    uint32_t ranked_n;
    struct ranked_arm ranked[MAX_RANKED];
    uint16_t weighted_mask; /* Bit m: metric m had weight. */
    uint32_t metrics_n;
    char metric_names[MAX_METRICS][NAME_CAP]; /* Only with explain. */
    bool shows_excluded; /* With explain or dry_run; else the next two are empty. */
    uint32_t excluded_n; /* In all; the first MAX_EXCLUDED are here. */
    struct excluded_arm excluded[MAX_EXCLUDED];
    bool limits_uncertain;      /* The limits are kept by predictions, not surely. */
    bool strict;                /* A strict budget pays; else the next two are 0. */
    double reserved, left;      /* In the budget's unit, for this decision and after it. */
    bool waits;                 /* Not to be answered before engine_route_wait's `done`. */
    bool own_id;                /* The decision_id was the caller's. */
    struct shown_budget budget; /* As the two before. */
    struct shown_adapter adapter;
};

/* Decides. ret_out is the caller's (large: keep one per slot or worker). Fills every header field
 * it names and ranked[0..ranked_n). Answers a known decision_id with the same decision. */
MUST_USE enum err engine_route(struct engine_worker *w, const struct route_in *in,
                               struct route_out *ret_out, struct err_detail *detail);
/* Several requests that engine_route will be asked next, on the same worker: the contexts of those
 * to the first one's router are made, and what all of them read of its arms is read together. Their
 * decisions are what they would have been, bit by bit; an error is left to engine_route. At most
 * ENGINE_AHEAD. What requests point to must last until engine_route has them. */
enum { ENGINE_AHEAD = 8 };
void engine_route_ahead(struct engine_worker *w, struct route_in *const *in, uint32_t n);
/* Lets go of what was read. After every engine_route_ahead, on the same thread. */
void engine_route_ahead_done(struct engine_worker *w);

/* ---- ReportReward ---- */

struct report_in {
    struct slice decision_id; /* Text; may be empty when a token is given. */
    struct slice token;       /* May be empty: joined through the decision log. */
    const struct engine_weight *metrics;
    size_t metrics_n;
    int status;              /* enum outcome_status. */
    struct slice served_arm; /* Empty: the chosen arm. */
    struct slice piece_key;  /* Empty: none. */
    struct slice source;     /* Empty: nobody in particular. */
};

struct report_out {
    bool duplicate, unweighted, orphaned, gated;
    uint32_t counted_n;
    char counted[MAX_METRICS][NAME_CAP];
    uint64_t position;
};

/* The true figure of what a budget was charged, until it is known to have counted. */
struct report_charge {
    bool is_set;
    uint32_t router_uid;
    uint8_t metric;
    char tenant[NAME_CAP];
    double charged, cost;
};

/* What a decision counts once it is served. */
struct serving {
    uint32_t router_uid, arm_uid;
    uint8_t mode, side, paced, metric; /* The last two: of the budget that pays `charge`. */
    char tenant[NAME_CAP];
    double charge;
};

/* One report in flight; the caller's, alive until `done` was called. Zero it once, report_call_done
 * frees its buffer; it may be used again and again. */
struct report_call {
    struct inbox_item item;            /* Private. */
    struct buf record;                 /* Private; kept between uses. */
    struct engine *engine;             /* Private. */
    uint16_t weighted_mask;            /* Private. */
    uint32_t metrics_n;                /* Private. */
    uint16_t sent_mask;                /* Private. */
    uint32_t router_uid;               /* Private. */
    struct report_charge charge;       /* Private. */
    struct serving served;             /* Private. */
    bool has_adapters;                 /* Private. */
    char names[MAX_METRICS][NAME_CAP]; /* Private. */
    /* On the herald's or the writer's thread (or inside engine_report for a plain duplicate). */
    void (*done)(struct report_call *call, enum err e, const struct report_out *out,
                 const struct err_detail *detail);
    void *ctx;
};

void report_call_done(struct report_call *call);

/* OK: `done` will be called, once, or already was. Else nothing was queued and `done` is not
 * called. */
MUST_USE enum err engine_report(struct engine_worker *w, const struct report_in *in,
                                struct report_call *call, struct err_detail *detail);

/* ---- ActivateDecision ---- */

struct activate_in {
    struct slice decision_id, token; /* As in report_in. */
    struct slice session;            /* Empty: none. */
};
struct activate_out {
    bool already; /* It was activated or reported before, or never deferred. */
};
/* A deferred decision is served from now on. Waits until that is durable. */
MUST_USE enum err engine_activate(struct engine_worker *w, const struct activate_in *in,
                                  struct activate_out *ret_out, struct err_detail *detail);
/* Requests of a router that were deferred, ever; of these, served since. */
void engine_deferred(struct engine *e, uint32_t router_uid, uint64_t *ret_deferred,
                     uint64_t *ret_activated);

/* ---- ReportRewards ---- */

enum { REPORTS_MAX = INBOX_GROUP_MAX };

struct report_result {
    enum err err; /* OK: `out` is filled; else `detail`. */
    struct report_out out;
    struct err_detail detail;
};

/* Takes n reports, at most REPORTS_MAX, in one commit and waits for it. Each stands for itself: one
 * that is refused leaves the others as they are. Its own error (ERR_QUEUE_FULL, ERR_SHUTTING_DOWN,
 * ERR_NOMEM): none was taken. ret_results (n). */
MUST_USE enum err engine_reports(struct engine_worker *w, const struct report_in *ins, uint32_t n,
                                 struct report_result *ret_results, struct err_detail *detail);

/* ---- Admin: each waits until its event is durable, folded and published ---- */

/* `config` as settings_check wants it; ret_uid may be NULL. settings.seed 0: a random one. */
MUST_USE enum err engine_router_create(struct engine_worker *w, const struct router_config *config,
                                       struct err_detail *detail);
/* The arms that a router has, or is to have. */
struct arm_names {
    const void *self;
    uint32_t n;
    const char *(*name)(const void *self, uint32_t i);
};
/* ERR_INVALID when fixed_arm, split_fixed_arm or baseline_arm names none of them: a misspelt one
 * would quietly be another policy. Names that stay as they were in `old` (or NULL) may be of an arm
 * that was removed since, and a router without arms may be told of one that is to come. */
MUST_USE enum err engine_check_named_arms(const struct router_settings *s,
                                          const struct router_settings *old,
                                          const struct arm_names *arms, struct err_detail *detail);
/* New settings and weights of an existing router; `config` must agree in all that is fixed.
 * settings.seed 0 keeps the seed. Arms that settings name anew must be there. */
MUST_USE enum err engine_router_update(struct engine_worker *w, const struct router_config *config,
                                       struct err_detail *detail);
MUST_USE enum err engine_router_remove(struct engine_worker *w, struct slice name,
                                       struct err_detail *detail);
MUST_USE enum err engine_arm_add(struct engine_worker *w, struct slice router,
                                 const struct arm_config *arm, struct err_detail *detail);
MUST_USE enum err engine_arm_update(struct engine_worker *w, struct slice router,
                                    const struct arm_config *arm, struct err_detail *detail);
MUST_USE enum err engine_arm_pause(struct engine_worker *w, struct slice router, struct slice arm,
                                   bool paused, struct err_detail *detail);
MUST_USE enum err engine_arm_remove(struct engine_worker *w, struct slice router, struct slice arm,
                                    struct err_detail *detail);
MUST_USE enum err engine_keys_rotate(struct engine_worker *w, uint32_t *ret_key_id,
                                     uint32_t *ret_keys, struct err_detail *detail);

/* ---- Budgets ---- */

/* A budget and its account. */
struct budget_info {
    char router[NAME_CAP];
    char tenant[NAME_CAP]; /* Empty: the router's own. */
    char metric[NAME_CAP];
    double per_request, ceiling;
    bool has_account; /* Else nothing was charged yet. */
    struct pacer_report account;
};
/* From now on the arm costs `factor` times as much of a served metric, [.001, 1000]: what is known
 * of it is scaled, and budgets look anew. Logged nowhere else. */
MUST_USE enum err engine_arm_price(struct engine_worker *w, struct slice router, struct slice arm,
                                   struct slice metric, double factor, struct err_detail *detail);
/* Pauses it, and is drained once nothing is in flight (engine_in_flight). */
MUST_USE enum err engine_arm_drain(struct engine_worker *w, struct slice router, struct slice arm,
                                   struct err_detail *detail);
/* Adds an arm that begins with what arm `like` knows, worth at most `strength` outcomes, (0, 1e6].
 */
MUST_USE enum err engine_arm_add_like(struct engine_worker *w, struct slice router,
                                      const struct arm_config *arm, struct slice like,
                                      double strength, struct err_detail *detail);
/* A new version of the arm as it is declared; strength 0: it knows nothing. */
MUST_USE enum err engine_arm_reload(struct engine_worker *w, struct slice router, struct slice arm,
                                    double strength, struct err_detail *detail);
/* What an arm knows, as bytes (state/model/transfer.h); the caller's out is appended to. */
MUST_USE enum err engine_arm_export(struct engine_worker *w, struct slice router, struct slice arm,
                                    struct buf *out, struct err_detail *detail);
/* Begins an arm with such bytes, under the name that they have when `name` is empty. strength: what
 * they are worth at most, in outcomes, (0, 1e6]; 0: all that they say. replace: an arm of this name
 * becomes an older version. Labels that the router lacks are learned with it; an import that fails
 * leaves none. ERR_SPEC_MISMATCH: they mean something else there. ERR_CORRUPT becomes ERR_PARSE: it
 * is the caller's input. ret_name: the arm's. */
struct arm_import {
    struct slice router, name, statistics;
    double strength;
    bool replace;
};
MUST_USE enum err engine_arm_import(struct engine_worker *w, const struct arm_import *in,
                                    char ret_name[NAME_CAP], struct err_detail *detail);
/* Decisions of the arm that were not answered; 0 once a draining arm has waited reward_wait_s. */
uint64_t engine_in_flight(struct engine *e, const struct router_view *r, const struct arm_view *a,
                          int64_t now_us);
/* Gives a tenant a budget of its own. */
MUST_USE enum err engine_tenant_set(struct engine_worker *w, struct slice router,
                                    struct slice tenant, struct slice metric, double per_request,
                                    double ceiling, struct err_detail *detail);
MUST_USE enum err engine_tenant_remove(struct engine_worker *w, struct slice router,
                                       struct slice tenant, struct err_detail *detail);
/* Fills ret_budgets (max), in order of router, its own first, then tenants by name; ret_n how many,
 * ret_total how many there are. Empty router: all of them; empty tenant: all. */
MUST_USE enum err engine_budgets(struct engine_worker *w, struct slice router, struct slice tenant,
                                 struct budget_info *ret_budgets, uint32_t max, uint32_t *ret_n,
                                 uint32_t *ret_total, struct err_detail *detail);
struct pacers_count engine_accounts(struct engine *e);
/* Open sessions of all routers; ret_strict: those with a budget. */
uint32_t engine_sessions_count(struct engine *e, uint32_t *ret_strict);

/* ---- The task classifier ---- */

/* Learns from examples (classify.h) and takes the place of what was there; RouteRequest never waits
 * for it. In RAM only: gone with the process. Every ret_ may be NULL; ret_labels holds MAX_TASKS.
 */
MUST_USE enum err engine_classifier_train(struct engine_worker *w, struct slice examples,
                                          uint32_t *ret_examples_n, uint32_t *ret_labels_n,
                                          char ret_labels[][NAME_CAP], struct err_detail *detail);

/* What a request looks like to the learner. */
struct features_out {
    struct router_config config;
    float x[MAX_D];
    uint32_t labels_n; /* 0: no classifier, or a text that holds nothing. */
    char labels[MAX_TASKS][NAME_CAP];
    float label_p[MAX_TASKS];
};
/* The context that engine_route would make of it; decides and learns nothing. */
MUST_USE enum err engine_features(struct engine_worker *w, const struct route_in *in,
                                  struct features_out *ret_out, struct err_detail *detail);

/* Between acquire and release the snapshot and all it reaches stay; do not wait in between. */
const struct snapshot *engine_snapshot_acquire(struct engine_worker *w);
void engine_snapshot_release(struct engine_worker *w);
/* Decisions issued for an arm or made by a router, now (live, not the tally). */
uint64_t engine_issued(struct engine *e, uint32_t uid);

/* Reports of a source (empty: of all without a rule) that its caps refused since the start. */
uint64_t engine_capped(struct engine *e, uint32_t router_uid, const char *source);

/* Requests drawn to sides A and B of its splits, ever and now. */
void engine_issued_sides(struct engine *e, uint32_t router_uid, uint64_t ret_sides[2]);

struct engine_positions {
    uint64_t journal, checkpoint, folded;
};
struct engine_positions engine_positions(struct engine *e);

MUST_USE enum err engine_checkpoint(struct engine_worker *w, uint64_t *ret_position,
                                    struct err_detail *detail);
struct verify_result {
    bool ok;
    uint64_t base_position, position, events, state_bytes;
    char detail[256];
};
/* Takes seconds; niced thread of the caller. cancelled may be NULL; polled. */
MUST_USE enum err engine_verify(struct engine_worker *w, const _Atomic bool *cancelled,
                                struct verify_result *ret_result, struct err_detail *detail);
MUST_USE enum err engine_backup(struct engine_worker *w, const char *path, uint64_t *ret_position,
                                uint64_t *ret_bytes, struct err_detail *detail);

/* ---- forgetting a source ---- */

struct forget_in {
    struct slice source;
    struct slice router; /* Empty: every one. */
    bool dry_run;        /* Only counts. */
    bool partial;        /* Also when some reports lie too far back to be taken out. */
};
/* Takes what a source reported out of the statistics, as if it had never come; folds the journal
 * again meanwhile, so it takes as long as engine_verify. ERR_FORGET_PARTIAL: nothing was done; some
 * lie before the base. ERR_SOURCE_NOT_FOUND: nobody reported under that name. ERR_OVERLOADED:
 * another one runs. */
MUST_USE enum err engine_forget(struct engine_worker *w, const struct forget_in *in,
                                const _Atomic bool *cancelled, struct ledger_forgotten *ret,
                                struct err_detail *detail);

struct explained_arm {
    char name[NAME_CAP]; /* Empty: removed since. */
    double propensity, mean, width;
    uint64_t pending;
    bool has_terms; /* Of the chosen arm and the best scores, 64 in all. */
    struct shown_terms terms;
};
struct explain_out {
    struct decision decision;
    char router[NAME_CAP], arm[NAME_CAP]; /* Empty: removed since. */
    uint64_t position, seed;
    char policy[NAME_CAP]; /* Whose pmf was mixed; fallback: the arm it names was not eligible. */
    bool fallback;
    char baseline[NAME_CAP];   /* Empty: none was named. */
    char policy_arm[NAME_CAP]; /* An apprentice's choice; else empty. */
    uint32_t weights_n;
    char metric_names[MAX_METRICS][NAME_CAP];
    double weights[MAX_METRICS];
    uint16_t weighted_mask; /* Bit m: metric m had weight. */
    struct shown_budget budget;
    uint32_t unaffordable_n; /* In all; the first MAX_EXCLUDED are here. */
    struct excluded_arm unaffordable[MAX_EXCLUDED];
    uint32_t arms_n;
    struct explained_arm *arms; /* Best score first; freed by explain_out_done. */
};
MUST_USE enum err engine_explain(struct engine_worker *w, struct slice decision_id,
                                 struct explain_out *ret_out, struct err_detail *detail);
void explain_out_done(struct explain_out *out);

/* For /metrics; cheap, any thread. */
struct engine_gauges {
    uint32_t inbox_depth;
    uint64_t fold_lag; /* Events durable but not yet published. */
    uint64_t audit_dropped;
    uint64_t journal_bytes;
};
struct engine_gauges engine_gauges(struct engine *e);
/* Called by the writer after each commit: seconds it took, records in it. Set before traffic. */
void engine_on_commit(struct engine *e, void (*f)(void *ctx, double seconds, uint32_t records),
                      void *ctx);
