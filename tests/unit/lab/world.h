/* world.h - a small world where the truth is known: three arms, a context of a bias and two
 * numbers, a reward that each arm gives by the context, and a price. And logs made in it. */
#pragma once

#include "server/lab/evaluate.h"

enum { WORLD_D = 3, WORLD_ARMS = 3, WORLD_REWARD = 0, WORLD_COST = 1 };

/* Metrics: reward (rated, weight 1), cost (served, weight 0, 0 to 1 $). Newcomers are not forced.
 */
void world_config(struct router_config *ret_config);
const struct lab_arm *world_arms(void);
void world_context(uint64_t seed, float ret_x[WORLD_D]);
/* In [0,1]: arm 0 is good where x[1] is high, arm 1 where it is low, arm 2 is dull. */
double world_reward(uint32_t arm, const float *x);
/* .1, .2 and .4, more for a larger x[2]. */
double world_cost(uint32_t arm, const float *x);

struct world_row {
    struct logged_row row;
    float x[WORLD_D], pmf[WORLD_ARMS];
    uint32_t arms[WORLD_ARMS];
    double truth[WORLD_ARMS * 2];
};

struct world_log {
    uint32_t n, at;
    struct world_row *rows;
    enum err fail; /* What next answers at the row `fail_at`, unless OK. */
    uint32_t fail_at;
};

/* Rewards are 0 or 1 with the arm's reward as probability; the arm is drawn from a mass that leans
 * on x[1] by `lean` (0: uniform; at most .9). */
void world_log_open(struct world_log *log, uint32_t n, uint64_t seed, double lean);
void world_log_close(struct world_log *log);
struct logged_source world_source(struct world_log *log);
