/* What folding learned must be what ridge regression says, solved here from scratch: every outcome
 * is kept in a list, A and b are summed anew, and the system is solved by Gaussian elimination with
 * pivoting. Nothing is shared with the code but the equations of stats.h. */
#include "state/base/rng.h"
#include "state/math/packed.h"
#include "state/model/stats.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/model/given.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { D = GIVEN_D, METRICS = 5, ARMS = 3, CASES = 240 };

/* One decision as the reference remembers it. */
struct row {
    uint32_t arm;
    double x[D];
    bool in_group[METRIC_GROUPS];
    uint64_t learned[METRIC_GROUPS]; /* The clock when it entered the matrix. */
    uint16_t reported;
    double z[METRICS];      /* As reported. */
    bool at_prior[METRICS]; /* Served, learned before the arm had any prior: it stands at it. */
    double value[METRICS];  /* What b holds for it, as a float would. */
    bool pooled[METRICS];
    double centre[METRICS]; /* ybar_k when it entered the pooled sums. */
};

struct reference {
    const struct router_config *config;
    struct row rows[CASES];
    int n;
    bool has_prior[ARMS][METRICS];
    double prior[ARMS][METRICS];
    double level[METRICS];
    uint64_t clock;
    /* Where each arm's sums stand, and how much of the ridge is in them; [ARMS]: the pooled. */
    uint64_t at[ARMS + 1];
    double rho[ARMS + 1][METRIC_GROUPS];
};

static void reference_settle(struct reference *f, uint32_t arm)
{
    for (int g = 0; g < METRIC_GROUPS; g++) {
        f->rho[arm][g] *= pow(f->config->settings.gamma, (double)(f->clock - f->at[arm]));
        if (f->rho[arm][g] < .9)
            f->rho[arm][g] = 1;
    }
    f->at[arm] = f->clock;
}

/* What a row's part in group g counts where the sums of `arm` stand. */
static double weight_of(const struct reference *f, const struct row *row, enum metric_group g,
                        uint32_t arm)
{
    return pow(f->config->settings.gamma, (double)(f->at[arm] - row->learned[g]));
}

/* Faded mean of a metric over one arm's rows, or over all (arm == ARMS). */
static double sum_z(const struct reference *f, uint32_t arm, uint32_t m, double *ret_n)
{
    enum metric_group g = f->config->metrics[m].group;
    double sum = 0;
    *ret_n = 0;
    for (int k = 0; k < f->n; k++) {
        const struct row *row = &f->rows[k];
        if (!(row->reported >> m & 1) || (arm < ARMS && row->arm != arm))
            continue;
        double w = weight_of(f, row, g, arm);
        sum += w * row->z[m];
        *ret_n += w;
    }
    return sum;
}

/* ret = A^-1 y by Gaussian elimination with partial pivoting; A is destroyed. */
static void solve(double A[D][D], const double *y, double *ret)
{
    double v[D];
    memcpy(v, y, sizeof v);
    for (int c = 0; c < D; c++) {
        int p = c;
        for (int r = c + 1; r < D; r++)
            if (fabs(A[r][c]) > fabs(A[p][c]))
                p = r;
        for (int k = 0; k < D; k++) {
            double t = A[c][k];
            A[c][k] = A[p][k];
            A[p][k] = t;
        }
        double t = v[c];
        v[c] = v[p];
        v[p] = t;
        for (int r = c + 1; r < D; r++) {
            double f = A[r][c] / A[c][c];
            for (int k = c; k < D; k++)
                A[r][k] -= f * A[c][k];
            v[r] -= f * v[c];
        }
    }
    for (int r = D - 1; r >= 0; r--) {
        ret[r] = v[r];
        for (int k = r + 1; k < D; k++)
            ret[r] -= A[r][k] * ret[k];
        ret[r] /= A[r][r];
    }
}

static double ridge(const struct reference *f, enum metric_group g, int i)
{
    return f->config->settings.ridge[g][i > 0];
}

/* arm == ARMS: over all arms. */
static void sum_matrix(const struct reference *f, enum metric_group g, uint32_t arm, double A[D][D])
{
    memset(A, 0, sizeof(double) * D * D);
    for (int i = 0; i < D; i++)
        A[i][i] = f->rho[arm][g] * ridge(f, g, i);
    for (int k = 0; k < f->n; k++) {
        const struct row *row = &f->rows[k];
        if (!row->in_group[g] || (arm < ARMS && row->arm != arm))
            continue;
        double w = weight_of(f, row, g, arm);
        for (int i = 0; i < D; i++)
            for (int j = 0; j < D; j++)
                A[i][j] += w * row->x[i] * row->x[j];
    }
}

/* What arms show of a rated metric, each as far as it is known, and one outcome at the best end;
 * less the best end. As of the last report. */
static void reference_levels(struct reference *f)
{
    for (uint32_t m = 0; m < METRICS; m++) {
        const struct metric_def *def = &f->config->metrics[m];
        double best = def->lower_is_better ? 0 : 1, ridge0 = ridge(f, METRIC_RATED, 0);
        double weights = 1 / (1 + ridge0), sum = best / (1 + ridge0);
        for (uint32_t k = 0; k < ARMS; k++) {
            double n, z = sum_z(f, k, m, &n);
            if (!(n > 0))
                continue;
            weights += n / (n + ridge0);
            sum += n / (n + ridge0) * (z / n);
        }
        f->level[m] = f->config->settings.pooled_level ? sum / weights - best : 0;
    }
}

static double prior_of(const struct reference *f, uint32_t arm, uint32_t m)
{
    const struct metric_def *def = &f->config->metrics[m];
    double best = def->lower_is_better ? 0 : 1;
    if (f->has_prior[arm][m])
        return f->prior[arm][m];
    double n, sum = sum_z(f, ARMS, m, &n);
    return def->group == METRIC_SERVED && n > 0 ? sum / n : best;
}

static void reference_theta(const struct reference *f, uint32_t arm, uint32_t m, double *ret)
{
    enum metric_group g = f->config->metrics[m].group;
    double A[D][D], y[D] = {0}, slopes[D] = {0};
    if (g == METRIC_RATED && f->config->settings.pooled_slopes) {
        double b0[D] = {0};
        for (int k = 0; k < f->n; k++)
            for (int i = 0; f->rows[k].pooled[m] && i < D; i++)
                b0[i] += weight_of(f, &f->rows[k], g, ARMS) *
                         (f->rows[k].value[m] - f->rows[k].centre[m]) * f->rows[k].x[i];
        sum_matrix(f, g, ARMS, A);
        solve(A, b0, slopes);
        slopes[0] = 0;
    }
    if (g == METRIC_RATED && !f->has_prior[arm][m])
        y[0] = f->rho[arm][g] * ridge(f, g, 0) * f->level[m];
    double prior = prior_of(f, arm, m);
    for (int k = 0; k < f->n; k++) {
        const struct row *row = &f->rows[k];
        if (row->arm != arm || !row->in_group[g] || row->at_prior[m])
            continue;
        for (int i = 0; i < D; i++)
            y[i] += weight_of(f, row, g, arm) * (row->value[m] - prior) * row->x[i];
    }
    for (int i = 0; i < D; i++)
        y[i] += f->rho[arm][g] * ridge(f, g, i) * slopes[i];
    sum_matrix(f, g, arm, A);
    solve(A, y, ret);
    ret[0] += prior;
}

static void enter_pooled(struct reference *f, struct row *row, uint32_t m)
{
    row->pooled[m] = true;
    double n, sum = sum_z(f, row->arm, m, &n);
    row->centre[m] = sum / (n + 1);
}

static void reference_count(struct row *row, uint32_t m, double z)
{
    row->reported = (uint16_t)(row->reported | 1u << m);
    row->z[m] = z;
}

static bool ever_reported(const struct reference *f, uint32_t arm, uint32_t m)
{
    for (int k = 0; k < f->n; k++)
        if (f->rows[k].arm == arm && (f->rows[k].reported >> m & 1))
            return true;
    return false;
}

static void reference_learn(struct reference *f, struct row *row, enum metric_group g,
                            uint16_t mask, const double *z)
{
    double predicted[METRICS];
    for (uint32_t m = 0; m < METRICS; m++) {
        double theta[D];
        reference_theta(f, row->arm, m, theta);
        predicted[m] = vec_dot(theta, row->x, D);
    }
    row->in_group[g] = true;
    row->learned[g] = f->clock;
    for (uint32_t m = 0; m < METRICS; m++) {
        if (f->config->metrics[m].group != g)
            continue;
        bool seen = mask >> m & 1;
        if (g == METRIC_SERVED && seen && !f->has_prior[row->arm][m]) {
            f->has_prior[row->arm][m] = true;
            f->prior[row->arm][m] = z[m];
        }
        row->at_prior[m] = g == METRIC_SERVED && !f->has_prior[row->arm][m];
        row->value[m] = (double)(float)(seen ? z[m] : predicted[m]);
        if (g == METRIC_RATED && (seen || ever_reported(f, row->arm, m)))
            enter_pooled(f, row, m);
        if (seen)
            reference_count(row, m, z[m]);
    }
}

static void reference_amend(struct reference *f, struct row *row, uint32_t m, double z)
{
    if (!f->has_prior[row->arm][m] && f->config->metrics[m].group == METRIC_SERVED) {
        f->has_prior[row->arm][m] = true;
        f->prior[row->arm][m] = z;
    }
    if (f->config->metrics[m].group == METRIC_RATED && !row->pooled[m])
        enter_pooled(f, row, m);
    row->at_prior[m] = false;
    row->value[m] = z;
    reference_count(row, m, z);
}

static void reference_report(struct reference *f, struct row *row, uint16_t mask, const double *z)
{
    static const uint16_t groups[METRIC_GROUPS] = {0x03, 0x1c};
    reference_settle(f, row->arm);
    for (int g = 0; g < METRIC_GROUPS; g++) {
        uint16_t fresh = (uint16_t)(mask & ~row->reported & groups[g]);
        if (!fresh)
            continue;
        if (!row->in_group[g]) {
            reference_learn(f, row, (enum metric_group)g, fresh, z);
            continue;
        }
        for (uint32_t m = 0; m < METRICS; m++)
            if (fresh >> m & 1)
                reference_amend(f, row, m, z[m]);
    }
    reference_levels(f);
}

/* A decision that was never reported before. */
static void reference_tick(struct reference *f)
{
    f->clock++;
    reference_settle(f, ARMS);
    reference_settle(f, (uint32_t)(f->clock % ARMS));
}

static void assert_same(const struct given *g, const struct reference *f, const uint32_t *arms)
{
    for (uint32_t k = 0; k < ARMS; k++) {
        for (uint32_t m = 0; m < METRICS; m++) {
            double want[D], is[D];
            reference_theta(f, k, m, want);
            given_theta(g, arms[k], m, is);
            /* Sherman-Morrison over a few hundred updates loses about 1e-13. */
            for (int i = 0; i < D; i++)
                if (!(fabs(want[i] - is[i]) < 1e-9))
                    fail_msg("arm %u, metric %u, theta[%d]: %.12g, solved %.12g", k, m, i, is[i],
                             want[i]);
        }
    }
}

/* Random reports; late_in_8 of 8 rows hear of their other metrics later, if at all. */
static void compare_with_reference(struct router_config *c, uint64_t seed, uint64_t partial_in_8)
{
    struct given g;
    struct reference *f = calloc(1, sizeof *f);
    struct decision *decisions = calloc(CASES, sizeof *decisions);
    assert_non_null(f);
    assert_non_null(decisions);
    f->config = c;
    for (int k = 0; k <= ARMS; k++)
        f->rho[k][METRIC_RATED] = f->rho[k][METRIC_SERVED] = 1;
    given_open(&g, c);
    uint32_t arms[ARMS] = {given_arm(&g, "a"), given_arm(&g, "b"), given_arm(&g, "c")};
    for (int k = 0; k < CASES; k++) {
        struct row *row = &f->rows[f->n++];
        double z[MAX_METRICS] = {0};
        uint64_t s = rng_mix(seed, (uint64_t)k);
        row->arm = (uint32_t)rng_below(s, 100, ARMS);
        decisions[k] = given_decision(&g, arms[row->arm], s);
        for (int i = 0; i < D; i++)
            row->x[i] = (double)decisions[k].x[i];
        for (uint32_t m = 0; m < METRICS; m++)
            z[m] = given_z(s, 200 + m);
        uint16_t mask = 0x1f;
        if (rng_below(s, 300, 8) < partial_in_8)
            mask = (uint16_t)rng_below(s, 301, 32);
        reference_tick(f);
        reference_report(f, row, mask, z);
        assert_int_equal(given_report(&g, &decisions[k], mask, z, OUTCOME_OK).err, OK);
        if (partial_in_8 && k > 20) {
            int late = (int)rng_below(s, 302, (uint64_t)k);
            uint16_t more = (uint16_t)(rng_below(s, 303, 32) & ~f->rows[late].reported);
            for (uint32_t m = 0; m < METRICS; m++)
                z[m] = given_z(s, 400 + m);
            if (more)
                reference_report(f, &f->rows[late], more, z);
            assert_int_equal(given_report(&g, &decisions[late], more, z, OUTCOME_OK).err, OK);
        }
        if (k % 40 == 39)
            assert_same(&g, f, arms);
    }
    assert_same(&g, f, arms);
    given_close(&g);
    free(decisions);
    free(f);
}

static void theta_of_whole_reports_is_the_ridge_solution_around_pooled_slopes(void **state)
{
    (void)state;
    struct router_config c;
    given_config(&c);
    compare_with_reference(&c, 1, 0);
}

static void theta_without_pooled_slopes_is_the_plain_ridge_solution(void **state)
{
    (void)state;
    struct router_config c;
    given_config(&c);
    c.settings.pooled_slopes = false;
    compare_with_reference(&c, 2, 0);
}

static void theta_leans_on_the_level_of_all_arms(void **state)
{
    (void)state;
    for (uint64_t seed = 40; seed < 44; seed++) {
        struct router_config c;
        given_config(&c);
        c.settings.pooled_level = true;
        c.settings.ridge[METRIC_RATED][0] = 5;
        c.settings.pooled_slopes = seed % 2 == 0;
        c.metrics[1].lower_is_better = true;
        compare_with_reference(&c, seed, seed < 42 ? 0 : 8);
    }
}

/* Three arms of known means: the level by hand, and who is not moved by it. */
static void the_level_counts_each_arm_as_far_as_it_is_known(void **state)
{
    (void)state;
    struct router_config c;
    struct given g;
    double x[D] = {1};
    given_config(&c);
    c.settings.pooled_slopes = false;
    c.settings.pooled_level = true;
    c.settings.ridge[METRIC_RATED][0] = 4;
    given_open(&g, &c);
    uint32_t a = given_arm(&g, "a"), b = given_arm(&g, "b"), fresh = given_arm(&g, "fresh");
    assert_true(given_predict(&g, fresh, 0, x) == 1);
    for (uint64_t k = 0; k < 36; k++) {
        double z[MAX_METRICS] = {k < 32 ? .75 : .25};
        struct decision d = given_decision(&g, k < 32 ? a : b, k);
        given_report(&g, &d, 1, z, OUTCOME_OK);
    }
    /* w = 1/5 at 1, 32/36 at .75, 4/8 at .25. */
    double level = (1. / 5 + 32. / 36 * .75 + .5 * .25) / (1. / 5 + 32. / 36 + .5);
    assert_true(fabs(given_predict(&g, fresh, 0, x) - level) < 1e-12);
    /* A declared prior stands; so does optimism where the router is told so. */
    memset(&g.event, 0, sizeof g.event);
    g.event.kind = EVENT_ARM_ADD;
    g.event.u.arm.router_uid = g.router->uid;
    strcpy(g.event.u.arm.config.name, "declared");
    g.event.u.arm.config.prior_mask = 1;
    g.event.u.arm.config.prior_z[0] = .625;
    uint32_t declared = given_fold(&g).uid;
    assert_true(given_predict(&g, declared, 0, x) == .625);
    memset(&g.event, 0, sizeof g.event);
    g.event.kind = EVENT_ROUTER_UPDATE;
    g.event.u.update.router_uid = g.router->uid;
    g.event.u.update.settings = g.router->config.settings;
    g.event.u.update.settings.pooled_level = false;
    given_fold(&g);
    assert_true(given_predict(&g, fresh, 0, x) == 1);
    given_close(&g);
}

static void theta_of_reports_in_pieces_is_the_ridge_solution_too(void **state)
{
    (void)state;
    struct router_config c;
    given_config(&c);
    for (uint64_t seed = 3; seed < 13; seed++)
        compare_with_reference(&c, seed, 8);
}

static void theta_of_evidence_that_fades_is_the_weighted_ridge_solution(void **state)
{
    (void)state;
    static const double gammas[] = {.9, .97, .995};
    for (uint64_t seed = 30; seed < 36; seed++) {
        struct router_config c;
        given_config(&c);
        c.settings.gamma = gammas[seed % 3];
        c.settings.pooled_slopes = seed % 2 == 0;
        c.settings.pooled_level = seed > 32;
        compare_with_reference(&c, seed, 8);
    }
}

/* The same reports whatever gamma is, and one router whose gamma is changed on the way. */
static void a_change_of_gamma_counts_from_then_on(void **state)
{
    (void)state;
    struct router_config c;
    struct given g;
    double x[D] = {1}, z[MAX_METRICS] = {.25};
    given_config(&c);
    c.settings.pooled_slopes = false;
    given_open(&g, &c);
    uint32_t a = given_arm(&g, "a"), b = given_arm(&g, "b");
    for (uint64_t k = 0; k < 40; k++) {
        struct decision d = given_decision(&g, a, k);
        memset(d.x + 1, 0, sizeof d.x - sizeof d.x[0]);
        given_report(&g, &d, 1, z, OUTCOME_OK);
        if (k == 19) {
            memset(&g.event, 0, sizeof g.event);
            g.event.kind = EVENT_ROUTER_UPDATE;
            g.event.u.update.router_uid = g.router->uid;
            g.event.u.update.settings = g.router->config.settings;
            g.event.u.update.settings.gamma = .95;
            given_fold(&g);
        }
    }
    /* 20 whole ones that faded 20 times, and 20 that faded 19, ..., 0 times. */
    double n = 20 * pow(.95, 20) + (1 - pow(.95, 20)) / .05;
    const struct arm *arm = given_find(&g, a);
    assert_true(fabs(arm->groups[METRIC_RATED].evidence - n) < 1e-9);
    double rho = arm->groups[METRIC_RATED].ridge;
    assert_true(rho <= 1 && rho >= .9);
    assert_true(fabs(given_predict(&g, a, 0, x) - (1 - .75 * n / (n + rho))) < 1e-9);
    assert_true(given_predict(&g, b, 0, x) == 1);
    assert_true(arm->groups[METRIC_RATED].n == 40);
    given_close(&g);
}

/* An answer and its rating 30 outcomes apart: the rating counts what its decision still counts,
 * also when gamma changed in between. */
static void a_metric_that_comes_late_counts_what_its_decision_still_counts(void **state)
{
    (void)state;
    for (int change = 0; change < 2; change++) {
        struct router_config c;
        struct given g;
        double x[D] = {1}, z[MAX_METRICS] = {.25, .5};
        given_config(&c);
        c.settings.pooled_slopes = false;
        c.settings.gamma = .98;
        given_open(&g, &c);
        uint32_t a = given_arm(&g, "a"), b = given_arm(&g, "b");
        struct decision first = given_decision(&g, a, 0);
        memset(first.x + 1, 0, sizeof first.x - sizeof first.x[0]);
        given_report(&g, &first, 1, z, OUTCOME_OK);
        for (uint64_t k = 0; k < 30; k++) {
            struct decision d = given_decision(&g, b, k);
            given_report(&g, &d, 3, z, OUTCOME_OK);
            if (k == 9 && change) {
                memset(&g.event, 0, sizeof g.event);
                g.event.kind = EVENT_ROUTER_UPDATE;
                g.event.u.update.router_uid = g.router->uid;
                g.event.u.update.settings = g.router->config.settings;
                g.event.u.update.settings.gamma = .9;
                given_fold(&g);
            }
        }
        given_report(&g, &first, 2, z, OUTCOME_OK);
        double n = change ? pow(.98, 10) * pow(.9, 20) : pow(.98, 30);
        const struct arm *arm = given_find(&g, a);
        double rho = arm->groups[METRIC_RATED].ridge;
        assert_true(fabs(arm->groups[METRIC_RATED].evidence - n) < 1e-12);
        assert_true(fabs(arm->metrics[1].recent.n - n) < 1e-12);
        assert_true(fabs(given_predict(&g, a, 1, x) - (1 - .5 * n / (n + rho))) < 1e-9);
        given_close(&g);
    }
}

/* What nobody pulls is known again as little as at first, and its sums are right at any age. */
static void an_arm_that_nobody_pulls_returns_to_its_prior(void **state)
{
    (void)state;
    struct router_config c;
    struct given g;
    double x[D] = {1}, z[MAX_METRICS] = {0};
    given_config(&c);
    c.settings.gamma = .9;
    given_open(&g, &c);
    uint32_t a = given_arm(&g, "a"), b = given_arm(&g, "b");
    for (uint64_t k = 0; k < 20; k++) {
        struct decision d = given_decision(&g, a, k);
        given_report(&g, &d, 1, z, OUTCOME_OK);
    }
    assert_true(given_predict(&g, a, 0, x) < .5);
    for (uint64_t k = 0; k < 9000; k++) { /* .9^9000 underflows. */
        struct decision d = given_decision(&g, b, k);
        given_report(&g, &d, 1, z, OUTCOME_OK);
    }
    const struct arm *arm = given_find(&g, a);
    assert_true(fabs(given_predict(&g, a, 0, x) - 1) < 1e-12);
    assert_true(arm->groups[METRIC_RATED].A[0] > .8999 && arm->groups[METRIC_RATED].A[0] < 1.0001);
    assert_true(arm->metrics[0].n == 20 && arm->metrics[0].recent.n < 1e-9);
    struct err_detail detail;
    assert_int_equal(model_check(g.model, &detail), OK);
    given_close(&g);
}

static void a_rated_metric_where_lower_is_better_starts_at_zero(void **state)
{
    (void)state;
    struct router_config c;
    given_config(&c);
    c.metrics[1].lower_is_better = true;
    compare_with_reference(&c, 20, 4);
}

static void declared_priors_hold_until_the_matrix_has_data_and_enter_the_solution(void **state)
{
    (void)state;
    struct router_config c;
    struct given g;
    given_config(&c);
    c.settings.pooled_slopes = false;
    given_open(&g, &c);
    memset(&g.event, 0, sizeof g.event);
    g.event.kind = EVENT_ARM_ADD;
    g.event.u.arm.router_uid = g.router->uid;
    strcpy(g.event.u.arm.config.name, "a");
    g.event.u.arm.config.prior_mask = 0x05;
    g.event.u.arm.config.prior_z[0] = .625;
    g.event.u.arm.config.prior_z[2] = .25;
    uint32_t arm = given_fold(&g).uid;
    double x[D] = {1}, z[MAX_METRICS] = {.5, 0, .5};
    assert_true(given_predict(&g, arm, 0, x) == .625);
    assert_true(given_predict(&g, arm, 2, x) == .25);
    struct decision d = given_decision(&g, arm, 1);
    memset(d.x, 0, sizeof d.x);
    d.x[0] = 1;
    given_report(&g, &d, 0x05, z, OUTCOME_OK);
    /* One dimension: prior + (z - prior) / (ridge + 1). */
    assert_true(fabs(given_predict(&g, arm, 0, x) - (.625 - .125 / 2)) < 1e-12);
    assert_true(fabs(given_predict(&g, arm, 2, x) - (.25 + .25 / 1.1)) < 1e-12);
    double before = given_predict(&g, arm, 0, x);
    g.event.kind = EVENT_ARM_UPDATE;
    memset(&g.event.u, 0, sizeof g.event.u);
    g.event.u.arm.router_uid = g.router->uid;
    strcpy(g.event.u.arm.config.name, "a");
    g.event.u.arm.config.prior_mask = 1;
    g.event.u.arm.config.prior_z[0] = 0;
    assert_int_equal(given_fold(&g).err, OK);
    assert_true(given_predict(&g, arm, 0, x) == before);
    given_close(&g);
}

static void quality_reported_after_reward_leaves_the_rewards_theta(void **state)
{
    (void)state;
    struct router_config c;
    struct given g;
    given_config(&c);
    given_open(&g, &c);
    uint32_t arm = given_arm(&g, "a");
    for (uint64_t k = 0; k < 60; k++) {
        double z[MAX_METRICS] = {given_z(k, 1), given_z(k, 2)}, before[D], after[D];
        struct decision d = given_decision(&g, arm, k);
        given_report(&g, &d, 1, z, OUTCOME_OK);
        given_theta(&g, arm, 0, before);
        assert_int_equal(given_report(&g, &d, 2, z, OUTCOME_OK).counted_mask, 2);
        given_theta(&g, arm, 0, after);
        for (int i = 0; i < D; i++)
            assert_true(fabs(before[i] - after[i]) < 1e-12);
    }
    given_close(&g);
}

static void a_metric_that_an_outcome_lacks_stays_where_it_was_predicted(void **state)
{
    (void)state;
    struct router_config c;
    struct given g;
    given_config(&c);
    c.settings.pooled_slopes = false; /* The slopes of all arms do move; one arm's solution not. */
    given_open(&g, &c);
    uint32_t arm = given_arm(&g, "a");
    for (uint64_t k = 0; k < 40; k++) {
        double z[MAX_METRICS] = {given_z(k, 1), given_z(k, 2)};
        struct decision d = given_decision(&g, arm, k);
        given_report(&g, &d, 3, z, OUTCOME_OK);
    }
    double before[D], after[D], z[MAX_METRICS] = {.5};
    given_theta(&g, arm, 1, before);
    struct decision d = given_decision(&g, arm, 99);
    given_report(&g, &d, 1, z, OUTCOME_OK);
    given_theta(&g, arm, 1, after);
    /* The stand-in is remembered as a float. */
    for (int i = 0; i < D; i++)
        assert_true(fabs(before[i] - after[i]) < 1e-7);
    given_close(&g);
}

static void the_order_of_metrics_and_decisions_does_not_matter_for_the_sums(void **state)
{
    (void)state;
    /* Rated metrics of one arm, slopes not pooled, all reported in the end: theta is a function of
     * the set of outcomes. */
    struct router_config c;
    given_config(&c);
    c.settings.pooled_slopes = false;
    double theta[2][2][D];
    for (int order = 0; order < 2; order++) {
        struct given g;
        given_open(&g, &c);
        uint32_t arm = given_arm(&g, "a");
        struct decision d[50];
        for (uint64_t k = 0; k < 50; k++)
            d[k] = given_decision(&g, arm, k);
        for (int pass = 0; pass < 2; pass++) {
            for (uint64_t i = 0; i < 50; i++) {
                uint64_t k = order ? 49 - i : i;
                double z[MAX_METRICS] = {given_z(k, 1), given_z(k, 2)};
                given_report(&g, &d[k], (pass == 0) == (order == 0) ? 1 : 2, z, OUTCOME_OK);
            }
        }
        given_theta(&g, arm, 0, theta[order][0]);
        given_theta(&g, arm, 1, theta[order][1]);
        given_close(&g);
    }
    for (int m = 0; m < 2; m++)
        for (int i = 0; i < D; i++)
            assert_true(fabs(theta[0][m][i] - theta[1][m][i]) < 1e-9);
}

/* ---- noise ---- */

static void one_outrageous_outcome_moves_the_noise_by_three_sigma_at_most(void **state)
{
    (void)state;
    struct router_config c;
    struct given g;
    given_config(&c);
    given_open(&g, &c);
    uint32_t arm = given_arm(&g, "a");
    struct decision d = given_decision(&g, arm, 1);
    double z[MAX_METRICS] = {0}; /* Predicted 1: a residual of -1, twenty sigma. */
    given_report(&g, &d, 1, z, OUTCOME_OK);
    double start = .05 * .05;
    assert_true(fabs(g.router->pooled->noise[0] - (start + 9 * start) / 2) < 1e-15);
    given_close(&g);
}

static void the_noise_is_the_variance_of_what_cannot_be_predicted(void **state)
{
    (void)state;
    struct router_config c;
    struct given g;
    given_config(&c);
    given_open(&g, &c);
    uint32_t arm = given_arm(&g, "a");
    for (uint64_t k = 0; k < 4000; k++) {
        double e = .2 * (rng_uniform(k, 50) - .5);
        double z[MAX_METRICS] = {.5 + e, .5 - e};
        struct decision d = given_decision(&g, arm, k);
        given_report(&g, &d, 3, z, OUTCOME_OK);
    }
    /* Uniform of width .2: variance .2^2/12 = .00333; a window of 500 wobbles by about 6 %. */
    const double *n = g.router->pooled->noise;
    assert_true(fabs(n[0] / (.04 / 12) - 1) < .25);
    assert_true(fabs(n[1] / (-.04 / 12) - 1) < .25);
    assert_true(n[1] == n[METRICS]);
    given_close(&g);
}

static void the_noise_of_any_weighted_sum_is_never_negative_when_metrics_come_together(void **state)
{
    (void)state;
    struct router_config c;
    struct given g;
    given_config(&c);
    given_open(&g, &c);
    uint32_t arm = given_arm(&g, "a");
    for (uint64_t k = 0; k < 50; k++) {
        double z[MAX_METRICS] = {given_z(k, 1), given_z(k, 1)};
        struct decision d = given_decision(&g, arm, k);
        given_report(&g, &d, 3, z, OUTCOME_OK);
        /* w = (1,-1): two metrics that always err together. */
        const double *n = g.router->pooled->noise;
        assert_true(n[0] + n[METRICS + 1] - n[1] - n[METRICS] > 0);
    }
    given_close(&g);
}

/* ---- the inverse ---- */

static double inverse_error(const struct matrix_stats *g, uint32_t d)
{
    double *fresh = malloc(2 * packed_n(d) * sizeof *fresh), worst = 0;
    assert_non_null(fresh);
    assert_int_equal(packed_invert(g->A, d, fresh, fresh + packed_n(d)), OK);
    for (size_t i = 0; i < packed_n(d); i++)
        worst = fmax(worst, fabs(fresh[i] - g->P[i]));
    free(fresh);
    return worst;
}

static void the_inverse_stays_exact_over_the_scheduled_inversion(void **state)
{
    (void)state;
    struct router_config c;
    struct given g;
    given_config(&c);
    given_open(&g, &c);
    uint32_t arm = given_arm(&g, "a");
    uint64_t least = UINT64_MAX;
    for (uint64_t k = 0; k < 4400; k++) {
        double z[MAX_METRICS] = {given_z(k, 1), 0, given_z(k, 2)};
        struct decision d = given_decision(&g, arm, k);
        given_report(&g, &d, 5, z, OUTCOME_OK);
        const struct arm *a = given_find(&g, arm);
        if (k > 4000 && a->groups[0].since < least)
            least = a->groups[0].since;
        if (k % 512 == 0 || (k > 4090 && k < 4100))
            for (int m = 0; m < METRIC_GROUPS; m++)
                assert_true(inverse_error(&a->groups[m], D) < 1e-9);
    }
    assert_int_equal(least, 0); /* It was inverted anew. */
    struct err_detail detail;
    assert_int_equal(model_check(g.model, &detail), OK);
    given_close(&g);
}

static bool all_finite(const double *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(v[i]))
            return false;
    return true;
}

/* Features of one direction only, as large as a caller may send them. */
static void huge_and_collinear_features_never_make_a_statistic_that_is_not_finite(void **state)
{
    (void)state;
    struct router_config c;
    struct given g;
    given_config(&c);
    for (int kind = 0; kind < 3; kind++) {
        given_open(&g, &c);
        uint32_t arm = given_arm(&g, "a");
        for (uint64_t k = 0; k < 9000; k++) {
            double z[MAX_METRICS] = {given_z(k, 1), given_z(k, 2), given_z(k, 3)};
            struct decision d = given_decision(&g, arm, k);
            for (uint32_t i = 1; i < D; i++) {
                if (kind == 0)
                    d.x[i] = 1e6F; /* One direction. */
                else if (kind == 1)
                    d.x[i] *= 2e6F;
                else
                    d.x[i] = 1e6F + (float)(k % 3); /* Nearly one direction. */
            }
            given_report(&g, &d, 7, z, OUTCOME_OK);
            const struct arm *a = given_find(&g, arm);
            if (k % 64)
                continue;
            assert_true(all_finite(a->block, a->block_n));
            assert_true(all_finite(g.router->pooled->block, g.router->pooled->block_n));
            for (uint32_t m = 0; m < 3; m++) {
                double x[D];
                for (int i = 0; i < D; i++)
                    x[i] = (double)d.x[i];
                double p = given_predict(&g, arm, m, x);
                if (!(fabs(p) < 10))
                    fail_msg("kind %d, after %u outcomes metric %u is predicted %g", kind,
                             (unsigned)k, m, p);
            }
        }
        given_close(&g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(theta_of_whole_reports_is_the_ridge_solution_around_pooled_slopes),
        cmocka_unit_test(theta_without_pooled_slopes_is_the_plain_ridge_solution),
        cmocka_unit_test(theta_leans_on_the_level_of_all_arms),
        cmocka_unit_test(the_level_counts_each_arm_as_far_as_it_is_known),
        cmocka_unit_test(theta_of_reports_in_pieces_is_the_ridge_solution_too),
        cmocka_unit_test(theta_of_evidence_that_fades_is_the_weighted_ridge_solution),
        cmocka_unit_test(a_change_of_gamma_counts_from_then_on),
        cmocka_unit_test(a_metric_that_comes_late_counts_what_its_decision_still_counts),
        cmocka_unit_test(an_arm_that_nobody_pulls_returns_to_its_prior),
        cmocka_unit_test(a_rated_metric_where_lower_is_better_starts_at_zero),
        cmocka_unit_test(declared_priors_hold_until_the_matrix_has_data_and_enter_the_solution),
        cmocka_unit_test(quality_reported_after_reward_leaves_the_rewards_theta),
        cmocka_unit_test(a_metric_that_an_outcome_lacks_stays_where_it_was_predicted),
        cmocka_unit_test(the_order_of_metrics_and_decisions_does_not_matter_for_the_sums),
        cmocka_unit_test(one_outrageous_outcome_moves_the_noise_by_three_sigma_at_most),
        cmocka_unit_test(the_noise_is_the_variance_of_what_cannot_be_predicted),
        cmocka_unit_test(
            the_noise_of_any_weighted_sum_is_never_negative_when_metrics_come_together),
        cmocka_unit_test(the_inverse_stays_exact_over_the_scheduled_inversion),
        cmocka_unit_test(huge_and_collinear_features_never_make_a_statistic_that_is_not_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
