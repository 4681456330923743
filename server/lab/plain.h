/* plain.h - LinUCB as it stands in papers and in most gateways, to be compared with.
 * [Li10] Alg. 1: disjoint arms, A = I + sum x x', theta = A^-1 b, the arm of the largest theta.x +
 * alpha sqrt(x' A^-1 x); ties go to the first. No bias, no measured noise, no pulls in flight, no
 * price of a miss: what our learner (server/route/score.h) has beyond that is what the difference
 * shows. Owns: its arrays. Threads: one caller. */
#pragma once

#include "state/base/err.h"

#include <stdint.h>

struct plain;

MUST_USE enum err plain_new(uint32_t n, uint32_t d, double alpha, struct plain **ret_plain);
void plain_free(struct plain *p);
/* x (d). */
uint32_t plain_choose(const struct plain *p, const float *x);
void plain_learn(struct plain *p, uint32_t arm, const float *x, double reward);
