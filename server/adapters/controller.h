/* controller.h - the slow loop of one router: counts what is asked, learns what loading costs, and
 * at the end of each epoch plans what is to be resident.
 *
 * One epoch, as the server and the simulator run it:
 *   controller_charge    what a miss of an arm costs, for `charge` of server/route/score.h
 *   controller_force     whether this request should explore, and which arm
 *   controller_pull      after each request: who was chosen, was it resident, the context
 *   controller_measured  a load took so long;  controller_resident: an engine has it, or no longer
 *   controller_due       the epoch is over: value the window (server/route/score_window.h), then
 *   controller_plan      the next set, and the update that is journalled as the epoch's event
 *   controller_stale     pins have changed: controller_window, value it, then
 *   controller_amend     the set anew, within the epoch, whether anything is asked or not
 *   controller_loads     what loads have taken since the last plan: journalled, too
 * Drivers read controller_desired and make it so; what is resident is what they say, not what was
 * planned.
 * Owns: its copy of the folded state (residency.h); folding the updates of controller_plan and what
 * controller_loads said, in order, into an empty state gives that copy as of the last plan, with
 * the load estimates of now. What was counted since is lost in a crash: at most one epoch.
 * Threads: one caller at a time. Pure: time is an argument, randomness a function of the seed.
 * Pull, charge and force do not allocate. */
#pragma once

#include "server/adapters/cache_policy.h"

struct controller;

/* state: as folded so far, copied; NULL: none yet. d and weights_n: of a context and its weights.
 * ERR_INVALID for a policy that does not exist; ERR_NOMEM. */
MUST_USE enum err controller_new(const struct residency_settings *settings,
                                 const struct residency *state, uint32_t d, uint32_t weights_n,
                                 struct controller **ret_controller);
void controller_free(struct controller *c);
/* From the next plan on. ERR_INVALID for a policy that does not exist: nothing changed. */
MUST_USE enum err controller_set(struct controller *c, const struct residency_settings *settings);

/* Bytes of one replica, where settings.bytes are those of several together: a larger adapter has no
 * place, whatever they add up to. 0: settings.bytes, the default. */
void controller_place(struct controller *c, uint64_t bytes);
/* Adds the arm, or changes what is known of it. bytes 0: always there. ERR_NOMEM, ERR_LIMIT. */
MUST_USE enum err controller_arm(struct controller *c, uint32_t uid, uint64_t bytes, bool pinned);
void controller_remove(struct controller *c, uint32_t uid);
/* An engine says so. Unknown uids are nobody's. */
void controller_resident(struct controller *c, uint32_t uid, bool resident);
void controller_measured(struct controller *c, uint32_t uid, double load_ms);
/* A load was measured that no update and no controller_loads has told of. */
bool controller_has_loads(const struct controller *c);
/* The estimates of the adapters that were, in order of uid; returns how many. They count as told.
 * Borrowed until the controller's next call. */
uint32_t controller_loads(struct controller *c, const struct residency_load **ret_loads);

/* How things stand with one arm; all zero for an unknown uid. */
struct controller_arm_view {
    uint32_t uid;
    bool adapter, resident, desired, pinned, owed; /* owed: it waited too long, and has a slot. */
    double load_ms;                                /* Expected. */
    double price;                                  /* Of a miss, utility. */
    uint64_t pulls, misses, waiting, loads;
    double rate;
    double value; /* What the last plan thought it worth, utility a request: solve_gains. 0 where
                     the policy does not ask. */
};
struct controller_arm_view controller_look(const struct controller *c, uint32_t uid);
/* Utility that choosing it would cost now; 0 for a resident, and when the policy is oblivious. */
double controller_charge(const struct controller *c, uint32_t uid);
/* The uid that this request should be given to, or 0; at most as often as the plan said, and never
 * a request that is latency-critical. Counts as given. */
uint32_t controller_force(struct controller *c, bool critical);
/* A request was given to `uid`. resident: as it was routed. row: x (d), weights (weights_n). */
void controller_pull(struct controller *c, uint32_t uid, bool resident, const float *row);

/* Requests of this epoch so far. */
uint64_t controller_asked(const struct controller *c);
bool controller_due(const struct controller *c, int64_t now_us);

/* The contexts to value: those of this epoch are among them. */
struct controller_window {
    const float *rows; /* (n, stride) */
    uint32_t n;
    size_t stride;
    bool bonus; /* The plan needs the optimism, too. */
};
/* Ends the counting of the epoch; controller_plan must follow. n may be 0. */
struct controller_window controller_close(struct controller *c);

/* What score_window found: arms in order of uid; those the controller does not know are skipped,
 * and arms that are missing here are worth nothing. */
struct controller_values {
    uint32_t arms_n;
    const uint32_t *uids;         /* (arms_n) */
    const float *neutral, *bonus; /* (arms_n, window n); bonus may be NULL. */
    const float *low, *high;      /* (window n) */
};
struct controller_plan {
    struct solve_result solve;
    uint32_t loads, evictions;      /* Against what is resident now. */
    double load_price;              /* Of those loads, utility; kappa of it counts. */
    struct residency_update update; /* Borrows from the controller, until its next call. */
};
/* values NULL where the policy needs none. ERR_NOMEM: what is desired stays; *ret_plan and its
 * update are good all the same. */
MUST_USE enum err controller_plan(struct controller *c, const struct controller_values *values,
                                  int64_t now_us, struct controller_plan *ret_plan);

/* Since the last plan a pin came or went, or an adapter came that the policy has a place for, or
 * room that the plan does not fill: the set should not wait for an epoch that an idle router never
 * ends. */
bool controller_stale(const struct controller *c);
/* The contexts there are, for controller_amend. */
struct controller_window controller_window(const struct controller *c);
/* As controller_plan, but the epoch goes on: its length, its counts, its sample and its forced
 * pulls stay, and who is owed a slot keeps it. update.epoch is 0 when what is desired stays as it
 * was: then there is nothing to journal. */
MUST_USE enum err controller_amend(struct controller *c, const struct controller_values *values,
                                   struct controller_plan *ret_plan);

/* uids that should be resident, in order; returns how many there are, fills at most cap. */
uint32_t controller_desired(const struct controller *c, uint32_t *ret_uids, uint32_t cap);
const struct residency *controller_state(const struct controller *c);
const struct cache_policy_ops *controller_policy(const struct controller *c);
