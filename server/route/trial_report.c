#include "server/route/trial_report.h"

#include "server/route/score.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { ENOUGH = 30, ENOUGH_AGREEMENT = 100 };
/* From here on a promotion changes little. */
static const double agreement_enough = .8;
/* A baseline that is one arm so often does not vary. */
static const double constant_baseline = .95;
/* Choices of arms that nobody knows, above which agreement says little. */
static const double unknown_most = .2;

double student_quantile(double df)
{
    const double z = 1.959963984540054;
    if (df < 1.5)
        return 12.706204736;
    if (df < 2.5)
        return 4.302652730;
    /* [Abramowitz & Stegun 1964] 26.7.5, four terms. */
    double z2 = z * z, z3 = z2 * z, z5 = z3 * z2, z7 = z5 * z2, z9 = z7 * z2;
    double g1 = (z3 + z) / 4;
    double g2 = (5 * z5 + 16 * z3 + 3 * z) / 96;
    double g3 = (3 * z7 + 19 * z5 + 17 * z3 - 15 * z) / 384;
    double g4 = (79 * z9 + 776 * z7 + 1482 * z5 - 1920 * z3 - 945 * z) / 92160;
    return z + (g1 + (g2 + (g3 + g4 / df) / df) / df) / df;
}

static struct estimate estimate_of(uint64_t n, double mean, double variance)
{
    struct estimate e = {.n = n, .mean = n ? mean : (double)NAN, .variance = variance};
    e.low = e.high = (double)NAN;
    if (n >= 2) {
        double half = student_quantile((double)(n - 1)) * sqrt(variance);
        e.low = e.mean - half;
        e.high = e.mean + half;
    }
    return e;
}

/* b less a. */
static struct estimate difference_of(const struct estimate *a, const struct estimate *b)
{
    uint64_t n = a->n < b->n ? a->n : b->n;
    struct estimate e = {.n = n, .variance = a->variance + b->variance};
    e.mean = n ? b->mean - a->mean : (double)NAN;
    e.low = e.high = (double)NAN;
    if (n < 2)
        return e;
    double parts = a->variance * a->variance / (double)(a->n - 1) +
                   b->variance * b->variance / (double)(b->n - 1);
    double df = parts > 0 ? e.variance * e.variance / parts : (double)(n - 1);
    double half = student_quantile(df) * sqrt(e.variance);
    e.low = e.mean - half;
    e.high = e.mean + half;
    return e;
}

static uint32_t pair_of(uint32_t i, uint32_t j)
{
    return i * (i + 1) / 2 + j;
}

static uint64_t reported(const struct trial_sums *s, uint32_t m)
{
    return s->pair_n[pair_of(m, m)];
}

/* Sample covariance of metrics i >= j over the decisions that reported both. */
static double covariance(const struct trial_sums *s, uint32_t i, uint32_t j)
{
    double n = (double)s->pair_n[pair_of(i, j)];
    if (n < 2)
        return 0;
    double mi = s->z[i] / (double)reported(s, i), mj = s->z[j] / (double)reported(s, j);
    return (s->pair_z[pair_of(i, j)] - n * mi * mj) / (n - 1);
}

static struct estimate utility_of(const struct trial_sums *s, const double *weight, uint16_t mask)
{
    uint64_t least = UINT64_MAX;
    double mean = 0, variance = 0, alone = 0;
    for (uint32_t i = 0; i < MAX_METRICS; i++) {
        if (!(mask >> i & 1))
            continue;
        double n = (double)reported(s, i), own = covariance(s, i, i);
        least = reported(s, i) < least ? reported(s, i) : least;
        mean += weight[i] * s->z[i] / n;
        alone += weight[i] * weight[i] * (own > 0 ? own : 0) / n;
        for (uint32_t j = 0; j < i; j++)
            if (mask >> j & 1)
                variance += 2 * weight[i] * weight[j] * covariance(s, i, j) *
                            (double)s->pair_n[pair_of(i, j)] / (n * (double)reported(s, j));
    }
    variance += alone;
    /* Metrics of different outcomes need not make a positive matrix. */
    return estimate_of(least == UINT64_MAX ? 0 : least, mean, variance > 0 ? variance : alone);
}

static void report_group(const struct trial_sums *s, uint32_t metrics_n, const double *weight,
                         uint16_t mask, struct group_report *ret)
{
    memset(ret, 0, sizeof *ret);
    ret->answered = s->answered;
    for (uint32_t m = 0; m < metrics_n; m++) {
        uint64_t n = reported(s, m);
        double variance = n < 2 ? 0 : s->raw[m].squares / (double)(n - 1) / (double)n;
        ret->metrics[m] = estimate_of(n, s->raw[m].mean, variance > 0 ? variance : 0);
    }
    ret->utility = utility_of(s, weight, mask);
}

/* Two groups, each utility over the metrics that both have reported. */
static void report_pair(const struct router_view *r, enum trial_group a, enum trial_group b,
                        struct group_report *ret_a, struct group_report *ret_b)
{
    struct utility u;
    const struct trial_sums *sa = &r->trial.groups[a], *sb = &r->trial.groups[b];
    uint32_t n = r->config->metrics_n;
    utility_init(&u, r, NULL);
    uint16_t mask = 0;
    for (uint32_t m = 0; m < n; m++)
        if (u.mask >> m & 1 && reported(sa, m) && reported(sb, m))
            mask = (uint16_t)(mask | 1u << m);
    report_group(sa, n, u.weight, mask, ret_a);
    report_group(sb, n, u.weight, mask, ret_b);
}

static void say_split(const struct trial *t, struct split_report *r)
{
    const struct estimate *d = &r->utility;
    const char *a = t->policies[0], *b = t->policies[1];
    bool sure = d->n >= ENOUGH && (d->low > 0 || d->high < 0);
    r->better = !sure ? SIDE_NONE : d->mean > 0 ? SIDE_B : SIDE_A;
    char *out = r->sentence;
    if (d->n == 0)
        (void)snprintf(out, TRIAL_SENTENCE_CAP,
                       "Cannot tell yet: no metric with weight was reported on both sides.");
    else if (d->n < ENOUGH)
        (void)snprintf(out, TRIAL_SENTENCE_CAP,
                       "Cannot tell yet: %llu answers on the smaller side, at least %d are needed.",
                       (unsigned long long)d->n, ENOUGH);
    else if (sure)
        (void)snprintf(out, TRIAL_SENTENCE_CAP,
                       "%c (%s) is better than %c (%s) by %.4f in utility (95 %% interval %.4f to "
                       "%.4f).",
                       d->mean > 0 ? 'B' : 'A', d->mean > 0 ? b : a, d->mean > 0 ? 'A' : 'B',
                       d->mean > 0 ? a : b, fabs(d->mean), fmin(fabs(d->low), fabs(d->high)),
                       fmax(fabs(d->low), fabs(d->high)));
    else
        (void)snprintf(out, TRIAL_SENTENCE_CAP,
                       "Cannot tell yet: B (%s) less A (%s) lies between %.4f and %.4f in utility.",
                       b, a, d->low, d->high);
}

void trial_report_split(const struct router_view *r, struct split_report *ret)
{
    memset(ret, 0, sizeof *ret);
    report_pair(r, TRIAL_A, TRIAL_B, &ret->sides[0], &ret->sides[1]);
    for (uint32_t m = 0; m < r->config->metrics_n; m++)
        ret->metrics[m] = difference_of(&ret->sides[0].metrics[m], &ret->sides[1].metrics[m]);
    ret->utility = difference_of(&ret->sides[0].utility, &ret->sides[1].utility);
    say_split(&r->trial, ret);
}

/* Choices of arms of which no outcome is known, over all; ret_arm: which of them most. */
static double unknown_share(const struct router_view *r, uint64_t answered,
                            const struct arm_view **ret_arm)
{
    uint64_t unknown = 0, most = 0;
    *ret_arm = NULL;
    for (uint32_t i = 0; i < r->arms_n; i++) {
        const struct arm_view *a = r->arms[i];
        if (a->answered)
            continue;
        unknown += a->trial_chosen;
        if (a->trial_chosen > most) {
            most = a->trial_chosen;
            *ret_arm = a;
        }
    }
    return answered ? (double)unknown / (double)answered : 0;
}

static void compare_with_chance(const struct router_view *r, uint64_t answered,
                                struct agreement_report *ret)
{
    double n = (double)answered, most = 0, both = 0;
    for (uint32_t i = 0; i < r->arms_n; i++) {
        const struct arm_view *a = r->arms[i];
        most = fmax(most, (double)a->trial_served / n);
        both += (double)a->trial_served / n * ((double)a->trial_chosen / n);
    }
    ret->constant = answered ? most : (double)NAN;
    ret->by_chance = answered ? both : (double)NAN;
    ret->kappa = both < 1 ? (ret->share - both) / (1 - both) : (double)NAN;
}

static void say_agreement(const struct arm_view *unknown_arm, uint64_t answered,
                          struct agreement_report *r)
{
    struct estimate d = difference_of(&r->agreed.utility, &r->differed.utility);
    char *out = r->sentence;
    if (answered < ENOUGH_AGREEMENT)
        (void)snprintf(out, TRIAL_SENTENCE_CAP,
                       "Too early: %llu decisions answered, at least %d are needed.",
                       (unsigned long long)answered, ENOUGH_AGREEMENT);
    else if (r->unknown > unknown_most && unknown_arm)
        (void)snprintf(out, TRIAL_SENTENCE_CAP,
                       "Not yet: in %.0f %% of decisions the policy would have tried an arm of "
                       "which no outcome is known, `%s` most often. Agreement says little until "
                       "the baseline varies; promoted, such an arm enters by the newcomer share.",
                       100 * r->unknown, unknown_arm->config->name);
    else if (r->recent >= agreement_enough && r->constant >= constant_baseline)
        (void)snprintf(out, TRIAL_SENTENCE_CAP,
                       "Advisable: the policy agrees with the baseline in %.0f %% of the latest "
                       "decisions, so a promotion changes little at first. That is no proof of "
                       "skill: the baseline is one arm in %.0f %% of decisions, and a policy that "
                       "always says that arm would agree as often.",
                       100 * r->recent, 100 * r->constant);
    else if (r->recent >= agreement_enough)
        (void)snprintf(out, TRIAL_SENTENCE_CAP,
                       "Advisable: the policy agrees with the baseline in %.0f %% of the latest "
                       "decisions, so a promotion changes little at first.",
                       100 * r->recent);
    else if (d.n >= ENOUGH && d.high < 0)
        (void)snprintf(out, TRIAL_SENTENCE_CAP,
                       "Not yet by agreement (%.0f %%). But where the policy differs the baseline "
                       "earns %.4f less: it is wrong there, or those requests are harder. A split "
                       "against the policy `fixed` would tell which.",
                       100 * r->recent, -d.mean);
    else
        (void)snprintf(out, TRIAL_SENTENCE_CAP,
                       "Not yet: the policy agrees with the baseline in %.0f %% of the latest "
                       "decisions, %.0f %% are asked for, and where it differs the baseline earns "
                       "no less.",
                       100 * r->recent, 100 * agreement_enough);
    r->promote =
        answered >= ENOUGH_AGREEMENT && r->unknown <= unknown_most && r->recent >= agreement_enough;
}

void trial_report_agreement(const struct router_view *r, struct agreement_report *ret)
{
    const struct arm_view *unknown_arm;
    memset(ret, 0, sizeof *ret);
    report_pair(r, TRIAL_AGREED, TRIAL_DIFFERED, &ret->agreed, &ret->differed);
    uint64_t answered = ret->agreed.answered + ret->differed.answered;
    ret->share = answered ? (double)ret->agreed.answered / (double)answered : (double)NAN;
    ret->recent = answered ? r->trial.recent : (double)NAN;
    compare_with_chance(r, answered, ret);
    ret->unknown = unknown_share(r, answered, &unknown_arm);
    say_agreement(unknown_arm, answered, ret);
}
