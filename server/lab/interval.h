/* interval.h - intervals for means that are known through weights of mean one.
 *
 * [Karampatziakis, Langford & Mineiro 2020] "Empirical Likelihood for Contextual Bandits": E w = 1
 * is known, so what the weights miss of it corrects the mean (the Cressie-Read member of the family
 * has a closed form). We differ: one fake extreme datum instead of a search over its place. Each
 * end is the more extreme of two, one with a fake weight of w_max and one of 0, y as extreme as the
 * end asks for; with N counting the fake datum end = mean y + (1 - mean w) cov(w,y)/var w  -+
 * sqrt(3.85 var_resid / N) (Its place by the mean weight, w_max below one and 0 above, covers .82
 * to .97: a few lucky heavy rows then decide against the end that they falsify. Both places cost a
 * tenth of the width.) var_resid is what is left of y after its regression on w; 3.85 is the .95
 * point of chi-square(1), rounded up. Normal and bootstrap intervals of the same estimates cover
 * .57 to .97 on real data where .95 is said; tests/eval/off_policy measures ours. The ends do not
 * change when a constant is added to every outcome. Owns: nothing. Pure. */
#pragma once

#include <stdint.h>

struct interval {
    double low, high;
};

/* Sums over rows of a weight w and a value y. */
struct moments {
    uint64_t n;
    double w, ww, y, yw, yy;
};

void moments_add(struct moments *m, double w, double y);
double moments_mean(const struct moments *m); /* Of y; 0 without rows. */

/* One end: sign -1 the lower, +1 the upper. (fake_w, fake_y) is the extra datum. */
double interval_end(const struct moments *m, double fake_w, double fake_y, int sign);
