/* snapshot.h - what deciding reads: an immutable picture of the model at one position.
 * Why: scoring takes no lock and reads no page; the writer publishes, readers never wait.
 * Owns: views are counted; an unchanged arm's view is shared by successive snapshots. Everything
 * reachable from a snapshot lives until it is freed.
 * Threads: built and released by the writer (and whoever reclaims); read by any.
 * Invariant: nothing reachable from a published snapshot ever changes. */
#pragma once

#include "state/model/budget.h"
#include "state/model/drift.h"
#include "state/model/trial.h"

#include <stdatomic.h>

struct model;

/* What one float of a row or a matrix is padded to, and the bytes they stand on: what vectors of a
 * CPU load whole. */
enum { VIEW_PAD = 16, VIEW_ALIGN = 64 };

/* A metric's prediction z of an arm in the metric's own unit, for one that is not logarithmic:
 * at_zero + slope z, kept within [low, high]. Around what the arm showed lately, if it did: its
 * prediction at its mean is its measured raw mean, and nothing is further than VIEW_NEAR and
 * VIEW_FAR times from it: such a prediction, of few outcomes under a weak ridge, is an artefact.
 * All 0 of a metric that was neither seen nor declared. One line of memory for what stands in five.
 */
struct raw_line {
    double at_zero, slope, low, high; /* high: INFINITY where nothing was shown. */
};
#define VIEW_NEAR .2
#define VIEW_FAR 5.

/* One arm version. Matrices are packed lower triangles, row-major: element (i,j), j <= i, stands at
 * i(i+1)/2 + j. Every row and matrix begins at VIEW_ALIGN bytes and is followed by zeros up to a
 * multiple of VIEW_PAD floats; the rows of theta stand as far from the view in every arm of a
 * router. Statistics are on the unit interval z of each metric. What scoring reads of every arm
 * stands first: in a pool of thousands each line of memory counts. */
struct arm_view {
    _Atomic uint32_t refs;
    uint32_t d, stride, metrics_n;
    float *theta;            /* (metrics_n, stride): predicted z = theta_m . x. */
    float *P[METRIC_GROUPS]; /* (d(d+1)/2) each: inverse information matrices, priors included. */
    float *prior_share; /* (d): h = prior_share . x is what is left of the rated prior, about 1 for
                           an untried arm. */
    uint64_t folded[METRIC_GROUPS]; /* Decisions in each matrix, */
    double evidence[METRIC_GROUPS]; /* the same, faded by the view's clock. */
    float ridge[METRIC_GROUPS];     /* Part of the ridge that P holds, (0, 1]. */
    /* x' P x <= spread_cap x'x, for every x; INFINITY where nobody computed it (small pools). */
    float spread_cap[METRIC_GROUPS];
    uint16_t seen_mask; /* Bit m: metric m has an observation or a declared prior. */
    uint32_t uid, version;
    bool paused;
    int64_t drain_since_us;    /* 0: not draining. */
    bool suspect;              /* An alarm is open: its probes decide (drift.h). */
    uint64_t answered_at;      /* The router's outcomes_folded at its latest answer. */
    int64_t cooldown_until_us; /* 0: not in cooldown. */
    uint64_t answered, failures, cooldowns;
    uint64_t trial_served, trial_chosen; /* As in struct arm. */
    uint64_t stood_in[METRIC_GROUPS];    /* Of folded, issued for another arm (fold.h). */
    uint64_t clock;    /* Of the router, at which the sums behind this view stand. */
    uint64_t tallied;  /* Issued pulls as of the last TALLY. */
    uint64_t pooled_n; /* The router's rated outcomes when this view was built. */
    uint64_t n[MAX_METRICS];
    double mean_raw[MAX_METRICS]; /* 0 while n = 0. */
    double mean_z[MAX_METRICS];
    /* The same of what has not faded, inherited observations included: what predictions are held
     * against. Bit m of mean_mask: there is such a mean of metric m. */
    uint16_t mean_mask;
    double recent_raw[MAX_METRICS], recent_z[MAX_METRICS];
    struct raw_line raw[MAX_METRICS];
    const struct arm_config *config; /* Lives as long as the view. */
    void *storage;                   /* NULL: it lies in its router's memory (view_memory.h). */
};

struct view_memory;

struct router_view {
    _Atomic uint32_t refs;
    uint32_t uid;
    const struct router_config *config; /* Lives as long as the view. */
    uint64_t hash;                      /* spec_hash(&config->spec). */
    uint32_t d;
    uint32_t arms_n;
    struct arm_view **arms; /* In order of uid. */
    uint32_t *by_name;      /* Indices into arms, in order of name. */
    /* (arms_n): what an arm's evidence is worth by now, where its view is older than this one; NULL
     * while gamma is 1. */
    float *fade;
    /* (arms_n, metrics_n): what other arms say of each, as its view holds it; NULL unless hybrid.
     */
    struct hybrid_prior *hybrid;
    uint64_t hybrid_at; /* Rated outcomes when it was fitted. */
    double noise[MAX_METRICS *
                 MAX_METRICS]; /* (metrics_n, metrics_n) residual second moments, z units. */
    uint64_t pooled_n[MAX_METRICS];
    double pooled_mean_z[MAX_METRICS]; /* Recent. */
    double
        level[MAX_METRICS]; /* Of a rated metric: arms' prior mean less the best end (stats.h). */
    uint64_t outcomes_folded, orphaned,
        requests_tallied;   /* The first is the clock of forgetting. */
    uint64_t logged;        /* Decisions answered that taught nobody, by mode. */
    uint64_t gated;         /* Outcomes of sources that are not trusted. */
    int64_t swept_until_us; /* As model.h's struct sweep. */
    uint64_t swept_before, swept_found, unaccounted, defaulted;
    struct trial trial; /* All zero while its epoch is 0. */
    uint64_t alarms_raised;
    uint32_t alarms_n; /* Of those, the latest, oldest first. */
    struct drift_alarm *alarms;
    uint32_t sources_n; /* Rows of sources, and one more for the others. */
    struct source_count *sources;
    struct view_memory *memory;      /* Of its arms' views; NULL: the heap. */
    struct tenants *tenants;         /* With budgets of their own; NULL: none. */
    int budget_metric;               /* Of the router's own budget; -1: it has none. */
    uint64_t learned[METRIC_GROUPS]; /* Decisions in each matrix, over all arms. */
    void *storage;
};

struct key_view {
    uint32_t id;
    uint8_t secret[KEY_BYTES];
};

struct snapshot {
    uint64_t position; /* Of the last event folded. */
    int64_t clock_us;
    uint32_t routers_n;
    struct router_view **routers; /* In order of uid. */
    uint32_t *by_name;
    uint32_t keys_n;
    struct key_view keys[MAX_KEYS]; /* Oldest first; the last seals. */
};

/* Builds the picture; views that `last` holds and the model has not touched since are shared.
 * Clears the model's touched marks only on success. */
MUST_USE enum err snapshot_build(struct model *model, const struct snapshot *last,
                                 struct snapshot **ret_snapshot);
/* Drops its references; NULL is fine. */
void snapshot_free(struct snapshot *snapshot);

const struct router_view *snapshot_router(const struct snapshot *s, const char *name, size_t len);
const struct router_view *snapshot_router_uid(const struct snapshot *s, uint32_t uid);
/* The router's view, kept until it is released, also when the snapshot is gone; NULL: no such
 * router. The snapshot must be held meanwhile. */
struct router_view *snapshot_router_hold(const struct snapshot *s, uint32_t uid);
void snapshot_router_release(struct router_view *r); /* NULL is fine. */
/* Index into r->arms; -1 when absent. */
int router_view_arm(const struct router_view *r, const char *name, size_t len);
int router_view_arm_uid(const struct router_view *r, uint32_t uid);
