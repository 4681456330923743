/* model.h - all that is learned and declared: routers, their arms, keys. The working state.
 * Why: one value in RAM that events change and a checkpoint writes down, byte for byte.
 * Owns: everything below it. Threads: the writer; readers see snapshots.
 * Invariant: after model_decode(model_encode(m)), folding the same events gives the same bytes. */
#pragma once

#include "state/base/slice.h"
#include "state/model/budget.h"
#include "state/model/dedup.h"
#include "state/model/drift.h"
#include "state/model/event.h"
#include "state/model/session.h"
#include "state/model/stats.h"
#include "state/model/trial.h"

struct transfer;
struct freeze;
struct frozen_router;

struct arm_name {
    char name[NAME_CAP];
    uint32_t version; /* The last one given. */
};

/* Defaults for decisions that nobody rates; zero until a router gives one. */
struct sweep {
    int64_t until_us; /* Decisions issued before were looked at. */
    bool beginning;   /* No TALLY since until_us was set: */
    uint64_t before;  /* Requests before the first that is looked at... */
    uint64_t found;   /* ...those in the decision log by until_us... */
    uint64_t lost;    /* ...and those that are known not to be in it. */
    uint64_t applied; /* Defaults given. */
};

struct router {
    uint32_t uid, d;
    uint64_t hash; /* spec_hash. */
    struct router_config config;
    struct arm **arms; /* In order of uid. */
    uint32_t arms_n, arms_cap;
    struct arm_name *names;
    uint32_t names_n, names_cap;
    struct pooled *pooled;
    struct dedup dedup;
    struct dedup marks; /* Decisions that were activated, or that a forgotten source had reported;
                           of an entry the id, the times, `activated` and the reporters are used. */
    struct source_counts sources;
    int64_t late_before_us; /* Decisions issued before are refused: their entries may be gone. */
    uint64_t outcomes_folded, orphaned, requests; /* outcomes_folded is the clock of forgetting. */
    double gamma_before; /* In force until the clock stood at gamma_since; then settings.gamma. */
    uint64_t gamma_since;
    uint64_t sides[2], logged_requests; /* Of the requests: by side of a split, logging only. */
    uint64_t deferred, activated;       /* Of the requests: deferred; of these, served since. */
    uint64_t logged;                    /* Decisions answered that taught nobody, by mode. */
    uint64_t gated;                     /* Outcomes of sources that are not trusted. */
    struct sweep sweep;
    struct trial trial;
    struct drift_log alarms;
    struct tenants *tenants; /* NULL: none has a budget. */
    struct budget_account *tenant_accounts;
    uint32_t accounts_cap;
    struct budget_account account; /* Of settings.budget_metric. */
    struct residency residency;    /* epoch 0: no plan was made yet; may then be all zero. */
    bool touched;                  /* Since the last snapshot. Not state. */
    struct frozen_router *frozen;  /* In the freeze that goes on (freeze.h). Not state. */
};

struct model {
    uint64_t position;       /* Of the last event folded. */
    int64_t clock_us;        /* Of the last event folded. */
    uint32_t next_uid;       /* Starts at 1; routers and arms share the sequence. */
    struct router **routers; /* In order of uid. */
    uint32_t routers_n, routers_cap;
    uint32_t keys_n, next_key;
    struct key_view *keys;     /* (MAX_KEYS), oldest first. */
    uint64_t ignored;          /* Events that meant nothing to this model. */
    uint64_t forgot_at;        /* Position of the last FORGET; 0: there was none. */
    struct sessions *sessions; /* Under strict budgets. */
    double *scratch;           /* stats_scratch_n of the largest router. Not state. */
    double *vector;            /* (MAX_D), x as double. Not state. */
    size_t scratch_n;
    struct router *spare_router; /* Taken beforehand by model_reserve. Not state. */
    struct arm *spare_arm;
    struct transfer
        *spare_seed; /* What the arm to be added begins with; NULL: nothing that fits. */
    struct tenants *spare_tenants;
    struct freeze *freeze; /* NULL: none goes on. Not state. */
};

MUST_USE enum err model_new(struct model **ret_model);
void model_free(struct model *m);

struct router *model_router(const struct model *m, uint32_t uid);
struct router *model_router_named(const struct model *m, const char *name);
struct arm *router_arm(const struct router *r, uint32_t uid);
struct arm *router_arm_named(const struct router *r, const char *name);

/* Takes the memory that folding this event may need, so that fold cannot fail. Calls add up over a
 * batch: `ahead` events were reserved for and not folded yet. */
MUST_USE enum err model_reserve(struct model *m, const struct event *event, uint64_t ahead);

/* The exact bytes of the working state, in one fixed order. Check buf_error. */
void model_encode(const struct model *m, struct buf *out);
/* ERR_CORRUPT when the bytes are not a model; nothing is half-built. */
MUST_USE enum err model_decode(struct slice bytes, struct model **ret_model,
                               struct err_detail *detail);
/* What a person would call byte `offset` of the encoded form: "router 1 of 2, arm 5 of 16, ...". */
void model_describe_offset(struct slice bytes, size_t offset, char *ret_text, size_t cap);
/* Everything finite, symmetric positive definite inverses, counts that agree: OK or the first
 * violation in words. The invariant checker of `verify`. */
MUST_USE enum err model_check(const struct model *m, struct err_detail *detail);
