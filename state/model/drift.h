/* drift.h - noticing that an arm is no longer what was learned of it, and what is done about it.
 * Why: a model behind an API gets worse without a word; ten thousand old outcomes would outvote the
 * new ones for weeks.
 *
 * Test. Per arm and metric a two-sided CUSUM [Page 1954, "Continuous inspection schemes",
 * Biometrika 41] on one-step residuals e over their own deviation sigma, winsorised at 3:
 *   g+ <- max(0, g+ + e/sigma - k),   g- <- max(0, g- - e/sigma - k),   alarm when g > h,
 * k = .5, h = 13, from the 21st observation on. sigma: of this arm and metric, window 500, its
 * first five residuals (still full of optimism) left out, at least 1 % of the arm's mean. The shift
 * is estimated by the mean residual since g last was 0: sigma (k + g / n) [Montgomery,
 * "Introduction to Statistical Quality Control", 9.1] stops at 3.5 sigma here, as g is made of
 * winsorised values.
 *
 * On an alarm, of the matrix (rated or served) that the metric belongs to:
 *   WIDEN     the statistics are kept aside; those in use are scaled down to 10 outcomes, and the
 *             bias is shifted by the estimate. The arm is a suspect: decide probes it. Each
 *             outcome of the metric adds .5 (e_new^2 - e_old^2) / sigma^2 (errors winsorised at 3
 *             sigma, the sum floored at 0): the log-likelihood of what was kept against what is in
 *             use. Above 2 what was kept is restored: the alarm was false, or is over. After 100
 *             outcomes without that it is dropped: what is in use then stands on its own.
 *   DISCOUNT  the statistics are scaled down to 10 outcomes, no more.
 *   NOTHING   there is an alarm to read.
 * Whatever the policy, the test begins anew after an alarm; of a suspect only when that is over:
 * ten outcomes follow a second change fast enough.
 *
 * A report that amends a decision learned before an alarm counts as the decision does by now;
 * exact unless two alarms of one matrix lie in between. One learned between an alarm and its
 * restoration was dropped by the restoration: it amends nothing.
 *
 * Owns: struct drift, one an arm, with at most one copy of each of its matrices.
 * Threads: the writer. Allocation: drift_new and drift_reserve only.
 * Invariant: fold's arithmetic: no libm but sqrt, one fixed order. */
#pragma once

#include "state/base/slice.h"
#include "state/model/stats.h"

enum { DRIFT_ALARMS_MAX = 32 }; /* Kept per router; the oldest go first. */

/* Observations since one side of a test last stood at 0. */
struct drift_side {
    double g, n, sum_e, sum_z, sum_raw; /* e: residuals, neither scaled nor winsorised. */
};

struct drift_metric {
    uint64_t seen;             /* Observations since the arm began or had an alarm. */
    uint64_t noise_n;          /* At most 500. */
    double noise;              /* Mean squared residual, z. */
    struct drift_side side[2]; /* Falling, rising. */
};

/* One matrix of an arm, kept aside. */
struct drift_group {
    bool kept;                   /* Whether `matrix` and `block` hold something. */
    uint8_t metric;              /* Whose alarm it was. */
    double gain;                 /* Log-likelihood for what is kept. */
    uint64_t tries;              /* Outcomes of that metric since. */
    uint64_t alarms;             /* Of this matrix, ever. */
    uint64_t scaled_at;          /* Clock of the last alarm that scaled; 0: none. */
    double scale;                /* What a decision learned until then still counts. */
    uint64_t void_from, void_to; /* Learned in (from, to]: dropped by a restoration. */
    struct matrix_stats matrix;  /* A and P point into block. */
    double *block;               /* A | P | per metric of the group: b (d), recent (3). */
};

struct drift {
    struct drift_metric metrics[MAX_METRICS];
    struct drift_group groups[METRIC_GROUPS];
};

/* Of a suspicion; NONE: the alarm began none. */
enum drift_end { DRIFT_OPEN = 0, DRIFT_RESTORED = 1, DRIFT_SETTLED = 2, DRIFT_NONE = 3 };
enum { DRIFT_ENDS = 4 };

struct drift_alarm {
    uint64_t id; /* From 1, per router. */
    int64_t at_us;
    uint32_t arm_uid, arm_version;
    char arm[NAME_CAP]; /* The arm may be gone by now. */
    uint8_t metric;
    bool rising, worse;   /* worse: the arm's utility falls by it. */
    uint8_t policy;       /* enum drift_policy that acted. */
    uint8_t end;          /* enum drift_end. */
    int64_t ended_us;     /* 0 while open. */
    double estimate;      /* Shift of the mean, z. */
    double before, after; /* Raw means: before the run that alarmed, and of it. */
    uint64_t pulls;       /* Outcomes of the arm until then. */
};

struct drift_log {
    uint64_t raised;
    uint32_t n; /* Oldest first. */
    struct drift_alarm rows[DRIFT_ALARMS_MAX];
};

struct drift *drift_new(void);
void drift_free(struct drift *d);
/* Room to keep what the arm's next `ahead` + 1 outcomes may want kept: those can raise a test by
 * 2.5 each. Gives back room that is not near being wanted. */
MUST_USE enum err drift_reserve(struct arm *a, const struct router_config *router, uint64_t ahead);

/* What one report says: residuals of the metrics in mask, before they were learned. */
struct drift_input {
    const double *x;
    uint16_t mask;
    const double *z, *raw, *residual; /* (MAX_METRICS) */
    int64_t at_us;
    uint64_t clock; /* The router's. */
};
/* What it led to: alarms that were raised, suspicions that ended. */
struct drift_news {
    uint32_t raised, ended;
};
/* After the group has learned the report; adds to the news. scratch: stats_scratch_n(d). */
void drift_learn(struct arm *a, const struct pooled *p, const struct router_config *router,
                 enum metric_group group, const struct drift_input *in, struct drift_log *log,
                 double *scratch, struct drift_news *news);
/* What a decision learned at that clock (modulo 2^32) still counts in the group for drift's sake.
 */
double drift_weight(const struct arm *a, enum metric_group group, uint64_t clock, uint32_t learned);
/* What is kept fades as what is in use does. */
void drift_fade(struct arm *a, const struct router_config *router, double f, double *scratch);
/* The metric's z becomes scale z + shift, its raw value factor times itself: what is kept, and the
 * test, which begins anew. */
void drift_reprice(struct arm *a, const struct router_config *router, uint32_t metric,
                   const struct stats_price *price);
/* Whether something is kept of the arm: its probes decide what becomes of that. */
bool drift_suspect(const struct arm *a);

/* Byte forms: of an arm's part, and of a router's log. A decoder leaves the reader failed, or
 * returns ERR_NOMEM. */
void drift_encode(const struct arm *a, const struct router_config *router, struct buf *out);
MUST_USE enum err drift_decode(struct reader *r, const struct router_config *router, struct arm *a);
void drift_log_encode(const struct drift_log *log, struct buf *out);
void drift_log_decode(struct reader *r, uint32_t metrics_n, struct drift_log *ret_log);
