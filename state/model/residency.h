/* residency.h - which adapters are to be in fast memory, what loading them costs, and the sample of
 * contexts that the next plan is made from. The slow loop's state.
 * Why: epoch, plan, window and measured loads must survive a kill -9: the slow loop ends an epoch
 * with one update, says in between what loads have taken since, both are journalled, and folding
 * them gives the state again.
 * Owns: its two arrays. Names arms by uid: what an adapter is (size, base, path) is declared with
 * the arm. Threads: whoever holds it; the model's copy is the writer's.
 * Invariants: arms stand in order of uid; folding is total and only copies what the update says, so
 * it gives the same bytes everywhere; residency_get(residency_put(r)) == r. */
#pragma once

#include "state/base/err.h"
#include "state/base/name.h"
#include "state/base/slice.h"
#include "state/model/limits.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    ADAPTER_PATH_CAP = 257, /* 256 bytes and the NUL. */
    WINDOW_MAX = 256,       /* Contexts kept for planning. */
    EPOCH_SAMPLE_MAX = 52,  /* Contexts that one epoch adds: five epochs fill the window. */
    RESIDENCY_VERSION = 2,  /* Of all byte forms. */
    ADAPTER_RANK_MAX = 4096,
};

/* What an operator declares of an arm that is an adapter. bytes 0: the arm is no adapter, but a
 * model that is always there. */
struct adapter_config {
    char base[NAME_CAP];         /* The base model it belongs to. */
    char path[ADAPTER_PATH_CAP]; /* Where an engine finds the weights; may be empty. */
    uint32_t rank;               /* 0: not said. */
    uint64_t bytes;
    bool pinned; /* Resident whatever the plan thinks of it. */
};

/* Whose memory it is. The numbers of shunt.v1.ResidencyEngine. */
enum residency_engine {
    RESIDENCY_ENGINE_NONE = 0, /* Nobody's: the plan is only published. */
    RESIDENCY_ENGINE_VLLM = 1,
    RESIDENCY_ENGINE_SGLANG = 2,
    RESIDENCY_ENGINE_LLAMACPP = 3,
};
enum { RESIDENCY_ENGINES = 4, REPLICAS_MAX = 16, REPLICA_URL_CAP = 257 };

/* Where the plan is carried out. Slots and bytes of residency_settings are those of each replica.
 */
struct residency_target {
    enum residency_engine engine;
    uint32_t tick_ms;    /* How often each replica is looked at, [10, 600000]; 0: the default. */
    uint32_t replicas_n; /* 0 for RESIDENCY_ENGINE_NONE, else at least 1. */
    char replicas[REPLICAS_MAX][REPLICA_URL_CAP]; /* http://HOST:PORT or https://HOST:PORT. */
};

/* How the slow loop of one router works. residency_defaults says the values; README of
 * server/adapters says what each was measured to do. */
struct residency_settings {
    char policy[NAME_CAP];   /* server/adapters/cache_policy.h knows which there are. */
    uint32_t slots;          /* Adapters that may be resident; 0: only bytes bounds them. */
    uint64_t bytes;          /* Bytes they may take together; 0: only slots bounds them. */
    double load_weight;      /* Utility of a load of load_ref_ms, [0, 100]. */
    double load_ref_ms;      /* (0, 1e7]. */
    double bytes_per_ms;     /* Of a load, until any is measured; then the others' count, too. */
    double kappa;            /* Share of a planned load's price that is not overlapped, [0, 1]. */
    uint32_t epoch_requests; /* Least length of an epoch; the first one's where epochs double. */
    uint32_t epoch_max;      /* Longest epoch where they double: a guard against drift. */
    double epoch_loads;      /* Least length in mean load times, [0, 1e4]. */
    double optimism;         /* Share of an arm's optimism that planning believes, [0, 1]. */
    double hysteresis;       /* Utility a request that a new set must gain, [0, 1]. */
    uint32_t evictions_max;  /* Adapters that one plan may evict. */
    uint32_t
        starve_requests; /* Misses after which an adapter gets a slot for an epoch; 0: never. */
    double force_share;  /* c_f of forced exploration, [0, 10]. */
    double force_width;  /* No forcing of an arm whose optimism is below this, utility, [0, 1]. */
    uint64_t seed;
};

/* One adapter, as the slow loop knows it. */
struct residency_arm {
    uint32_t uid;
    bool desired;     /* The plan wants it resident. */
    double load_ms;   /* EWMA of measured loads; 0: none measured. */
    uint64_t loads;   /* Measured. */
    uint64_t pulls;   /* Requests routed to it. */
    uint64_t misses;  /* Of those, while it was not resident. */
    uint64_t waiting; /* Misses since it was last resident. */
    uint64_t used_at; /* Request number of the last pull, from 1. */
    double rate;      /* Share of requests, EWMA over epochs. */
};

struct residency {
    uint32_t d, weights_n; /* Of a context, and of its weights. */
    uint64_t epoch;        /* Plans made. */
    uint64_t requests;     /* When the epoch began. */
    uint64_t length;       /* Of the epoch that runs, in requests. */
    int64_t begun_us;      /* When it began, Unix time. */
    double value;          /* What the plan thought a request would gain, utility. */
    double uncached;       /* The same with nothing resident. */
    uint32_t arms_n, arms_cap;
    struct residency_arm *arms;
    uint32_t window_n, window_next; /* Contexts held; where the next one goes. */
    float *window;                  /* (WINDOW_MAX, d + weights_n): a context, then its weights. */
};

/* What ends an epoch. Everything is borrowed. */
struct residency_update {
    uint64_t epoch, requests, length;
    int64_t begun_us;
    double value, uncached;
    uint32_t arms_n; /* That changed; in order of uid. */
    const struct residency_arm *arms;
    uint32_t samples_n, d, weights_n;
    const float *samples; /* (samples_n, d + weights_n). */
};

/* What is known of one adapter's loads, whole: folding it twice is folding it once. */
struct residency_load {
    uint32_t uid;
    double load_ms; /* As in residency_arm, finite and not negative. */
    uint64_t loads; /* At least 1. */
};

void residency_defaults(struct residency_settings *ret_settings);
/* Every range; the sentence names the field. Of the policy only that it is a name is checked here:
 * which there are is known to server/adapters. */
MUST_USE enum err residency_check(const struct residency_settings *s, struct err_detail *detail);
MUST_USE enum err residency_check_target(const struct residency_target *t,
                                         struct err_detail *detail);
/* http://HOST:PORT or https://HOST:PORT of a replica, nothing behind it. NULL is refused. */
MUST_USE enum err residency_check_url(const char *url, struct err_detail *detail);
MUST_USE enum err adapter_check(const struct adapter_config *a, struct err_detail *detail);
/* "none", "vllm", "sglang", "llamacpp". */
const char *residency_engine_name(enum residency_engine engine);

MUST_USE enum err residency_init(struct residency *r, uint32_t d, uint32_t weights_n);
void residency_done(struct residency *r);
/* NULL when it has no entry. */
struct residency_arm *residency_find(const struct residency *r, uint32_t uid);
/* Room for `more` new arms: fold and add then cannot fail. ERR_LIMIT beyond MAX_ARMS. */
MUST_USE enum err residency_reserve(struct residency *r, uint32_t more);
/* The arm's entry, zeroed when new; room must have been reserved. */
struct residency_arm *residency_add(struct residency *r, uint32_t uid);
/* Forgets an arm that was removed. */
void residency_drop(struct residency *r, uint32_t uid);
void residency_sample(struct residency *r, const float *row);
/* Folds an update; room for update->arms_n arms must have been reserved. An update of another shape
 * (d, weights_n) changes nothing but the arms. */
void residency_fold(struct residency *r, const struct residency_update *update);
/* Load estimates, and nothing else: epoch, plan and counts stay as the last plan left them. Room
 * for n arms must have been reserved. */
void residency_fold_loads(struct residency *r, const struct residency_load *loads, uint32_t n);
/* Whether anything was ever folded: else there is nothing to keep. */
bool residency_any(const struct residency *r);

/* Byte forms. A getter fails with ERR_CORRUPT, ret then holds nothing to free. */
void adapter_put(const struct adapter_config *a, struct buf *out);
MUST_USE enum err adapter_get(struct reader *r, struct adapter_config *ret);
void residency_put_settings(const struct residency_settings *s, struct buf *out);
MUST_USE enum err residency_get_settings(struct reader *r, struct residency_settings *ret);
void residency_put(const struct residency *r, struct buf *out);
MUST_USE enum err residency_get(struct reader *r, struct residency *ret);
/* What EVENT_RESIDENCY carries: an update, or loads (1 to MAX_ARMS, in order of uid). */
void residency_put_update(const struct residency_update *u, struct buf *out);
void residency_put_loads(const struct residency_load *loads, uint32_t n, struct buf *out);
/* Whether the record is exactly one of these two; ret_new: how many of its arms have no entry in
 * `known`, which may be NULL. */
MUST_USE enum err residency_check_record(struct slice record, const struct residency *known,
                                         uint32_t *ret_new);
/* residency_fold, or _fold_loads, of a record that residency_check_record passed. */
void residency_fold_record(struct residency *r, struct slice record);
/* A target of no engine is one byte. */
void residency_put_target(const struct residency_target *t, struct buf *out);
MUST_USE enum err residency_get_target(struct reader *r, struct residency_target *ret);
