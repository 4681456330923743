/* trial.h - two ways of deciding compared on a router's own traffic.
 * Why: a policy is believed when it was seen beside another. A split shows one policy beside a
 * second (sides A and B); an apprentice shows what the policy would have done beside the baseline
 * that answered. What is counted here is folded from outcomes, so it survives whatever the
 * statistics survive.
 * Owns: plain values. Threads: pure; no allocation, no libm.
 * Invariant: a decision is counted in one group of one epoch. A new trial is a new epoch and begins
 * at zero; outcomes of an older epoch count nowhere. A trial that ends keeps its counts.
 *
 * Utilities are not summed: sums, squares and products of the metrics on the unit interval are, so
 * the mean utility of a group and its variance follow for any weights, today's included. */
#pragma once

#include "state/base/slice.h"
#include "state/model/event.h"

enum trial_group {
    TRIAL_A,
    TRIAL_B,
    TRIAL_AGREED,   /* The policy would have chosen the baseline. */
    TRIAL_DIFFERED, /* It would have chosen another arm. */
    TRIAL_GROUPS
};
enum {
    TRIAL_PAIRS = MAX_METRICS * (MAX_METRICS + 1) / 2,
    TRIAL_RECENT = 100, /* Answers that the fading average looks back on. */
};

/* Of one metric, as reported: [Welford 1962], running mean and sum of squared deviations. */
struct trial_raw {
    double mean, squares;
};

/* Metrics i >= j of the unit interval are pair i(i+1)/2 + j; (i, i) holds its own n and squares. */
struct trial_sums {
    uint64_t answered; /* Decisions with a report. */
    struct trial_raw raw[MAX_METRICS];
    double z[MAX_METRICS];
    uint64_t pair_n[TRIAL_PAIRS]; /* Decisions that reported both. */
    double pair_z[TRIAL_PAIRS];   /* Sum of z_i z_j over them. */
};

struct trial {
    uint32_t epoch;             /* 0: there was none yet. */
    int64_t since_us;           /* Unix time of its beginning. */
    uint64_t asked_before[2];   /* Requests of sides A and B before it. */
    double share;               /* Of side B. */
    char policies[2][NAME_CAP]; /* Of A and B; an apprentice's is A. */
    double recent;              /* Fading average of agreement. */
    struct trial_sums groups[TRIAL_GROUPS];
};

/* Whether changing a router's settings begins a trial: a split or an apprenticeship that was not
 * there, or not with these policies, share or baseline. */
bool trial_begins(const struct router_settings *old, const struct router_settings *next);
/* Zero, in a new epoch. asked: requests of both sides so far. */
void trial_begin(struct trial *t, const struct router_settings *settings, int64_t at_us,
                 const uint64_t asked[2]);

/* What one report says of a decision. */
struct trial_report {
    const struct decision *decision;
    bool first;            /* Its first report. */
    uint16_t had, fresh;   /* Metrics reported before, and by this report. */
    const double *z, *raw; /* (MAX_METRICS), of those in fresh. */
};
/* memory (metrics_n): where z of the metrics in `had` stands, and those in `fresh` are put. Whether
 * it counted. */
bool trial_learn(struct trial *t, uint32_t metrics_n, const struct trial_report *report,
                 float *memory);
/* A metric that was counted already has another value now (aggregation): memory[m] holds what it
 * was on the unit interval, was_raw in its own unit. have: every metric that was reported. */
void trial_restate(struct trial *t, uint32_t metrics_n, const struct trial_report *report,
                   const double *was_raw, float *memory);
/* AGREED or DIFFERED, A or B; TRIAL_GROUPS: the decision is part of no trial. */
enum trial_group trial_group_of(const struct decision *decision);

/* The byte form, of the first metrics_n metrics. ERR_CORRUPT leaves the reader failed. */
void trial_encode(const struct trial *t, uint32_t metrics_n, struct buf *out);
MUST_USE enum err trial_decode(struct reader *r, uint32_t metrics_n, struct trial *ret_trial);
