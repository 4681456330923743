/* given.h - a small model and the events that change it, for tests of what folding does.
 * Every event goes through its byte form, as it does in the server; what fold_check said beforehand
 * must be what fold_event says. */
#pragma once

#include "state/model/fold.h"
#include "state/model/model.h"

enum { GIVEN_D = 8 };

struct given {
    struct model *model;
    struct router *router; /* The first one. */
    int64_t now_us;        /* Moves one second an event. */
    uint64_t ids;          /* Decisions made. */
    struct fold_result last;
    struct event event, decoded;
};

/* Metrics in order: reward, quality (rated); cost_usd, energy_j, latency_ms (served). Context: a
 * bias and seven features of the caller. Alarms do nothing. */
void given_config(struct router_config *ret_config);
void given_open(struct given *g, const struct router_config *config);
void given_close(struct given *g);
/* Folds g->event, at g->now_us. */
struct fold_result given_fold(struct given *g);
uint32_t given_arm(struct given *g, const char *name);
struct arm *given_find(const struct given *g, uint32_t uid);
/* A decision of the first router with a new id and a random context. */
struct decision given_decision(struct given *g, uint32_t arm_uid, uint64_t seed);
/* Reports z[m] for the metrics of the mask; raw is z on every metric's own scale. */
struct fold_result given_report(struct given *g, const struct decision *d, uint16_t mask,
                                const double *z, enum outcome_status status);
/* The encoded model; buf_done it. */
struct buf given_bytes(const struct given *g);
/* A z that a float holds exactly, in [0,1]. */
double given_z(uint64_t seed, uint64_t counter);
/* Predicted z of metric m at x: theta . x, theta = P (b + L m_m), in double. */
double given_predict(const struct given *g, uint32_t arm_uid, uint32_t metric, const double *x);
void given_theta(const struct given *g, uint32_t arm_uid, uint32_t metric, double *ret_theta);
