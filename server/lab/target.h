/* target.h - a policy under trial: a router's configuration, deciding over its own statistics.
 * Why: what is estimated must be what would run. So it is route's decide over a snapshot of a
 * private model that fold changes; nothing here imitates either.
 * Two kinds. Learning: starts knowing nothing and learns the rows it is given. Frozen: decides by
 * statistics as given and learns nothing (a fixed arm that learns its predictions is the first kind
 * with target_set_fixed).
 * A snapshot is built before a decision when at least max(1, learned/64), at most 256, rows were
 * learned since the last one (publish_every: exactly so many): one for every row costs arms x d^2,
 * more than all the rest. Every learned row counts as answered at once: pending is 0.
 * A row that was decided under a budget's price is decided under that price here too: the arms it
 * could afford are its eligible ones, and lambda times the cost that this target predicts is taken
 * off their means. What the target's own spend would have done to the price is not known.
 * Owns: its model and snapshot; borrows the options' config, arms and frozen view.
 * Threads: one at a time. No allocation a row, but for snapshots and a bounded dedup table. */
#pragma once

#include "server/lab/logged.h"
#include "server/route/decide.h"

struct target;

struct target_options {
    const struct router_config *config; /* Name, spec, metrics with their weights, settings. */
    const struct lab_arm *arms;         /* (arms_n): the table that rows index. */
    uint32_t arms_n;
    const struct router_view *frozen; /* NULL: learns. Else has config's spec and metrics; arms by
                                         name; those that it lacks are never chosen, and if it
                                         has none of them, ERR_ARM_NOT_FOUND. */
    uint32_t publish_every;           /* 0: as above. */
    uint64_t seed;                    /* Of its draws. */
};

/* Makes config decide for one arm always: policy `fixed`, no floor, no newcomers. */
void target_set_fixed(struct router_config *config, const char *arm);

MUST_USE enum err target_new(const struct target_options *o, struct target **ret_target,
                             struct err_detail *detail);
void target_free(struct target *t);

/* What it would do now with this context. pmf (row->arms_n) lives until the next call. */
struct target_decision {
    const float *pmf;
    uint32_t drawn; /* Into row->arms. */
    struct utility utility;
};
/* How many of the row's eligible arms the target can choose: all of them if it learns. */
uint32_t target_arms_left(const struct target *t, const struct logged_row *row);
/* At least one arm must be left. weights: (metrics_n) in place of the config's, or NULL. draw:
 * number of the draw. */
MUST_USE enum err target_decide(struct target *t, const struct logged_row *row,
                                const double *weights, uint64_t draw,
                                struct target_decision *ret_decision);
/* Learns the logged arm's outcome. Frozen: nothing. */
MUST_USE enum err target_learn(struct target *t, const struct logged_row *row);

/* The statistics that the last target_decide used, and where in them an arm of the table is;
 * TARGET_NO_ARM: a frozen one lacks it. */
#define TARGET_NO_ARM UINT32_MAX /* As evaluation.h's. */
const struct router_view *target_view(const struct target *t);
uint32_t target_arm(const struct target *t, uint32_t arm);
