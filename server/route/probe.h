/* probe.h - the share of requests that goes to arms whose figures are in doubt.
 * Why: an arm that an alarm made look bad is never chosen again, so nobody would notice that the
 * alarm was false, or that the arm has recovered.
 *
 * Who: a suspect (an alarm is open, state/model/drift.h), until its probes have restored what was
 * kept of it, or 100 of its outcomes have not. And, where settings.stale_after says so, an arm that
 * answered before but not within the last stale_after outcomes of its router, until it answers.
 * How much: one request in ten, shared evenly; of a budget B a request, never more than .15 B: an
 * arm that costs c gets at most .15 B / c. Shares are probabilities and part of the propensity, so
 * nothing has to be counted. Only eligible arms are probed: what the pacer's gate leaves out is
 * not. Pure; no allocation. */
#pragma once

#include "server/route/score.h"

/* ret_mass (n), the share of each arm; returns their sum, at most .1. cost (n), raw unit, and the
 * budget in it; NULL: no budget. */
double probe_fill(const struct router_view *router, const struct eligible *arms, uint32_t n,
                  const float *cost, double budget, float *ret_mass);
/* The same for n arms that the pacer keeps on trial (pacing.h): one in ten requests at most, and
 * together .003 B a request. */
double probe_trials(const float *cost, uint32_t n, double budget, float *ret_mass);
