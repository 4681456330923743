/* workload.h - requests to adapters whose true worth is known: the synthetic workload that the
 * controller is measured on, or an operator's own trace.
 *
 * Synthetic, after the setting that [Polar26] reports (15 adapters of 50-656 MB, loads of 291-1263
 * ms, power-law requests): sizes exp(U[ln 50, ln 656]) MB; load_ms = 291 + 1.604 (MB - 50), each
 * load times LogNormal(0, 0.1); a task m by Zipf(1); context e_m + 0.1 |g| normalised, g standard
 * normal; adapter i is worth theta_i . x, theta_i[m] = 0.25 + 0.25 U, for its speciality 0.60 +
 * 0.35 U (the first adapters cover every task once, the others draw theirs); reward clip(theta.x +
 * N(0, 0.1), 0, 1). At each of R rotations, evenly spaced, every task takes the popularity of the
 * next.
 *
 * A trace is lines of comma-separated values:
 *   adapter,NAME,BYTES,LOAD_MS      one an adapter, first; BYTES 0: a model that is always there
 *   request,X1,...,XD,U1,...,UN     features, then the utility [0,1] that each adapter would give
 * Empty lines and lines that begin with # count for nothing.
 *
 * Threads: none shared. Every draw is a function of (seed, t), so runs with the same seed are
 * paired.
 */
#pragma once

#include "state/base/err.h"
#include "state/base/name.h"
#include "state/base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    WORKLOAD_ADAPTERS_MAX = 256,
    WORKLOAD_D_MAX = 64,
    WORKLOAD_T_MAX = 10000000,
    WORKLOAD_TRACE_FLOATS_MAX = 1 << 27,
};

struct workload_spec {
    uint32_t adapters, tasks; /* Synthetic: d = tasks. */
    uint32_t horizon, rotations;
};

struct workload {
    uint32_t n, d; /* Adapters; features without the bias. */
    uint32_t horizon, phases;
    char name[WORKLOAD_ADAPTERS_MAX][NAME_CAP];
    uint64_t bytes[WORKLOAD_ADAPTERS_MAX];
    double load_ms[WORKLOAD_ADAPTERS_MAX]; /* Mean. */
    uint64_t seed;
    double *theta;      /* (n, d), synthetic; else NULL. */
    double *popularity; /* (d) */
    float *rows;        /* (horizon, d + n), trace; else NULL. */
};

/* N=15, 5 tasks, T=20,000, no rotation. */
void workload_defaults(struct workload_spec *ret_spec);
MUST_USE enum err workload_check(const struct workload_spec *spec, struct err_detail *detail);
MUST_USE enum err workload_make(const struct workload_spec *spec, uint64_t seed,
                                struct workload *ret);
/* ERR_PARSE, ERR_LIMIT: the sentence names the line. */
MUST_USE enum err workload_parse(struct slice text, struct workload *ret,
                                 struct err_detail *detail);
void workload_done(struct workload *w);

/* Request t of phase `phase`; t beyond the horizon is another draw of the phase. ret_x (1 + d), a
 * bias first. */
void workload_context(const struct workload *w, uint64_t t, uint32_t phase, float *ret_x);
uint32_t workload_phase(const struct workload *w, uint64_t t);
/* What adapter i gives in expectation, and what it gave. t < horizon for a trace. */
double workload_mean(const struct workload *w, uint32_t i, uint64_t t, const float *x);
double workload_reward(const struct workload *w, uint32_t i, uint64_t t, const float *x);
/* The k-th load of adapter i. */
double workload_load_ms(const struct workload *w, uint32_t i, uint64_t k);
