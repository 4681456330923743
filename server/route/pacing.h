/* pacing.h - keeping a mean spend: what a unit of cost is worth now, and what may be spent at all.
 *
 * Maximise utility subject to mean cost <= B. With a price l on cost the choice for a context x is
 *   k*(x, l) = argmax_k u_k(x) - l c_k(x),
 * and the price is not chased but solved for over the last W contexts:
 *   l = min { l >= 0 : mean_i c_{k*(x_i, l)}(x_i) <= rate },   rate = max(0, 1 + (S - R) / H) f B,
 * S the bank: what was not spent yet; R a small reserve it should hold; f what the predictions have
 * proved to be worth (charged / true: the arm that is chosen is the one whose cost is predicted too
 * low). A dual step per request [Agrawal, Devanur, "Bandits with concave rewards and convex
 * knapsacks", EC 2014] oscillates where one arm costs about B; the minimum above does not.
 *
 * Menu. As l falls from infinity a context moves from its cheapest arm upwards along the concave
 * hull of (c_k, u_k); no other arm is chosen at any price. So a context is its cheapest cost and a
 * few steps (price below which it is taken, extra cost), and l is a weighted quantile of all steps.
 * The ring keeps the sums of steps by price in bins (16 an octave, linear within one): a request
 * adds its steps, takes off those of the request W before it, and moves a cursor. No search, no
 * second look at a context. Sums are integers: whatever comes and goes, nothing is left behind.
 *
 * Gate. Nothing that chooses (policy, newcomers, floor, probe) may choose an arm unless
 *   c_k <= B, or c_k <= S + A (1 - m) - K m,  A = 60 B, K = 20 B, m = mean cheapest cost / B <= 1,
 * an advance that the cheapest arm could pay back; where the cheapest arm takes the whole budget,
 * nothing beyond it may be chosen. The cheapest always may.
 * An arm whose cost was neither seen nor declared counts as dear as the dearest, 10 B at least; but
 * while no arm is known to cost 2 B or less, such arms get two pulls each all the same, the breaker
 * or not: it would hold a router at a dear arm that is the cheapest it knows.
 * An arm that the gate leaves out while its cost is unsure (declared by nobody, seen fewer than 5
 * times) stays on trial: no policy, newcomer's share or floor may choose it, but probe_trials gives
 * it a share so small that all trials together cost .003 B a request, as they are predicted. Else
 * one dear pull, or none at all, would keep it out for ever. No trials where no more than 1.5 B is
 * affordable: what is never paid back need not be known.
 *
 * Breaker. When the spend, averaged with a decay of 1/W a request, passes ceiling * B only the
 * cheapest arm may be chosen, until the average is back at B.
 *
 * Units: u utility; c the metric's raw unit (US$, J, ms); l utility per raw unit. Inside, costs are
 * in B. Constants were measured, see README: W 256, H 200, S in [-1000, 20] B, R 5 B.
 * Owns: nothing; the state is plain and its ring is the caller's. Threads: pure, no allocation. */
#pragma once

#include "server/route/score.h"

enum { PACING_W = 256, PACING_STEPS = 7, PACING_BINS = 640 };
/* Floats that a menu of n arms is worked out in. */
#define PACING_WORK(n) (2 * (((n) + 3) / 4 * 4))

/* One context: its cheapest cost, and its steps upwards in order of falling price. */
struct pacing_menu {
    double base;
    uint32_t n;
    double price[PACING_STEPS], cost[PACING_STEPS];
};

/* The same as the ring keeps it: costs in 2^-20 B, prices by bin. */
struct pacing_slot {
    uint32_t base, n;
    uint32_t cost[PACING_STEPS];
    uint16_t bin[PACING_STEPS];
};

struct pacing {
    double budget;        /* B, raw unit a request; > 0. */
    double ceiling;       /* Of the breaker, in B; > 1. */
    double bank;          /* S, in B. */
    double spend;         /* Decayed mean, in B; starts at 0. */
    double charged, cost; /* Decayed sums over the decisions whose true cost is known, in B. */
    double lambda;        /* In utility per B. */
    bool tripped;
    uint32_t slots_n, used, next; /* Ring: capacity, filled, where the next context goes. */
    struct pacing_slot *slots;
    uint32_t cursor;
    uint64_t base, above; /* Sums over the ring: cheapest costs; steps of bins > cursor. */
    uint64_t bin[PACING_BINS];
};

/* What a decision needs to know: a copy, so that no lock is held while scoring. */
struct pacing_terms {
    double budget;
    double lambda;     /* Utility per raw unit. */
    double affordable; /* Raw unit, >= budget. */
    bool cheapest_only;
};

/* What a restart must not forget. The window is not in it: the price holds until it has contexts
 * again. */
struct pacing_kept {
    double budget, bank, spend, charged, cost, lambda;
    bool tripped;
};

/* slots (slots_n >= 1), whatever they hold, live as long as p. budget > 0, ceiling > 1, finite. */
void pacing_init(struct pacing *p, double budget, double ceiling, struct pacing_slot *slots,
                 uint32_t slots_n);
/* Another budget or ceiling from the next request on; bank and window stay what they are in the raw
 * unit. */
void pacing_set(struct pacing *p, double budget, double ceiling);
/* Forgets the window and keeps the price until there are contexts again. */
void pacing_forget(struct pacing *p);
/* The same after a price change or an alarm: what was saved under the old figures is not spent on
 * the new ones, and 20 B stay in hand for what the first contexts misjudge. */
void pacing_doubt(struct pacing *p);
struct pacing_kept pacing_keep(const struct pacing *p);
/* Of what pacing_keep gave, perhaps under another budget. Not finite: as if nothing was kept. */
void pacing_restore(struct pacing *p, const struct pacing_kept *kept);

struct pacing_terms pacing_terms(const struct pacing *p);
/* What a request may cost now, on average, raw unit: the rate that lambda is solved for. */
double pacing_rate(const struct pacing *p);
/* ret_cost (n), raw unit: what a pull of each arm is predicted to cost. Scaled so that an arm's
 * prediction at its mean is its measured raw mean (a metric's interval saturates, and the mean of a
 * logarithm is not the logarithm of a mean), within [.2, 5] x that mean. All 0 while nothing is
 * known of any arm: a budget on a metric that nobody reports and no price declares binds nothing.
 */
void pacing_costs(const struct router_view *router, uint32_t metric, const float *x, double budget,
                  const struct eligible *arms, uint32_t n, float *ret_cost);
/* The same with a pass of x that is open already. */
void pacing_costs_with(const struct score_pass *pass, const struct router_view *router,
                       uint32_t metric, double budget, const struct eligible *arms, uint32_t n,
                       float *ret_cost);
/* Keeps the arms (and their costs) that may be chosen, in their order; returns how many, at least 1
 * of n >= 1. ret_trials: so many behind those are on trial, in no order; the rest follow. NULL:
 * there are no trials. */
uint32_t pacing_filter(const struct router_view *router, uint32_t metric,
                       const struct pacing_terms *t, struct eligible *arms, float *cost, uint32_t n,
                       uint32_t *ret_trials);
/* The menu of those arms, and the price taken off: mean -= lambda c, after the menu was made of
 * mean + width_share * width (1 where the policy in force adds the width, else 0). work
 * (PACING_WORK(n)). */
void pacing_apply(double lambda, const float *cost, uint32_t n, double width_share,
                  struct score *scores, float *work, struct pacing_menu *ret_menu);
/* A decision at `cost` (raw, predicted) whose context had this menu: bank, window, price move. */
void pacing_charge(struct pacing *p, const struct pacing_menu *menu, double cost);
/* Decisions that had been corrected turned out to be `more` (raw) cheaper, in all. Acts on the bank
 * alone: what else they moved has faded. */
void pacing_give_back(struct pacing *p, double more);
/* The true figure of a decision charged before. Acts on the next charge. */
void pacing_correct(struct pacing *p, double charged, double cost);
