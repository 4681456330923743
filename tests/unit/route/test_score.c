#include "server/route/score_pass.h"
#include "server/route/score_sheet.h"
#include "state/base/rng.h"
#include "state/math/packed.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/model/given.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REWARD, QUALITY, COST, ENERGY, LATENCY };

static const float x0[GIVEN_D] = {1, .5F, 0, -.25F, 0, 0, .125F, 0};

struct scene {
    struct given g;
    struct snapshot *s;
    const struct router_view *r;
};

static void look(struct scene *c)
{
    snapshot_free(c->s);
    c->s = NULL;
    assert_int_equal(snapshot_build(c->g.model, NULL, &c->s), OK);
    c->r = c->s->routers[0];
}

static void open_scene(struct scene *c, void (*set)(struct router_config *config))
{
    struct router_config config;
    given_config(&config);
    if (set)
        set(&config);
    memset(c, 0, sizeof *c);
    given_open(&c->g, &config);
}

static void close_scene(struct scene *c)
{
    snapshot_free(c->s);
    given_close(&c->g);
}

static void report(struct scene *c, uint32_t arm, uint16_t mask, const double *z)
{
    struct decision d = given_decision(&c->g, arm, c->g.ids);
    assert_int_equal(given_report(&c->g, &d, mask, z, OUTCOME_OK).err, OK);
}

static struct score score_of(const struct scene *c, uint32_t index, uint64_t pending,
                             const double *weights, double answer_share)
{
    struct utility u;
    struct eligible arm = {.index = index, .issued = pending, .pending = pending};
    struct score s;
    utility_init(&u, c->r, weights);
    score_arms(c->r, &u, x0, &arm, 1, answer_share, &s);
    return s;
}

static void teach(struct scene *c, uint32_t arm, int n, double reward, double cost)
{
    for (int i = 0; i < n; i++) {
        double z[MAX_METRICS] = {reward + .1 * (given_z((uint64_t)i, 9) - .5), 0, cost};
        report(c, arm, 0x05, z);
    }
}

static void
the_mean_is_the_weighted_sum_of_predictions_with_lower_is_better_subtracted(void **state)
{
    (void)state;
    struct scene c;
    open_scene(&c, NULL);
    uint32_t arm = given_arm(&c.g, "a");
    teach(&c, arm, 30, .6, .3);
    look(&c);
    double w[MAX_METRICS] = {.7, 0, .4};
    double reward = score_predict(c.r, c.r->arms[0], REWARD, x0);
    double cost = score_predict(c.r, c.r->arms[0], COST, x0);
    double x[GIVEN_D];
    for (int i = 0; i < GIVEN_D; i++)
        x[i] = (double)x0[i];
    assert_true(fabs(reward - given_predict(&c.g, arm, REWARD, x)) < 1e-6);
    assert_true(fabs(reward - .6) < .1 && fabs(cost - .3) < .1);
    assert_true(fabs((double)score_of(&c, 0, 0, w, 1).mean - (.7 * reward - .4 * cost)) < 1e-6);
    /* Without weights in the request the router's own hold: reward alone. */
    assert_true(fabs((double)score_of(&c, 0, 0, NULL, 1).mean - reward) < 1e-6);
    close_scene(&c);
}

static void the_weights_of_a_request_decide_which_arm_is_better(void **state)
{
    (void)state;
    struct scene c;
    open_scene(&c, NULL);
    teach(&c, given_arm(&c.g, "good"), 40, .9, .8);
    teach(&c, given_arm(&c.g, "cheap"), 40, .6, .1);
    look(&c);
    double quality[MAX_METRICS] = {1}, both[MAX_METRICS] = {1, 0, 1};
    assert_true(score_of(&c, 0, 0, quality, 1).mean > score_of(&c, 1, 0, quality, 1).mean);
    assert_true(score_of(&c, 0, 0, both, 1).mean < score_of(&c, 1, 0, both, 1).mean);
    close_scene(&c);
}

static void the_width_is_alpha_sigma_times_the_root_of_the_quadratic_form(void **state)
{
    (void)state;
    struct scene c;
    open_scene(&c, NULL);
    uint32_t arm = given_arm(&c.g, "a");
    teach(&c, arm, 25, .5, .5);
    look(&c);
    const struct arm *a = given_find(&c.g, arm);
    double spread = 0;
    for (uint32_t i = 0; i < GIVEN_D; i++)
        for (uint32_t j = 0; j < GIVEN_D; j++) {
            uint32_t hi = i > j ? i : j, lo = i > j ? j : i;
            spread += (double)x0[i] * a->groups[0].P[hi * (hi + 1) / 2 + lo] * (double)x0[j];
        }
    double w[MAX_METRICS] = {2, 0, 3};
    const double *N = c.g.router->pooled->noise;
    double variance = 4 * N[0] + 9 * N[12] - 12 * N[2];
    double want = c.g.router->config.settings.alpha * sqrt(variance) * sqrt(spread);
    assert_true(fabs((double)score_of(&c, 0, 0, w, 1).width / want - 1) < 1e-5);
    close_scene(&c);
}

static void the_width_shrinks_with_pulls_that_are_not_answered_yet(void **state)
{
    (void)state;
    struct scene c;
    open_scene(&c, NULL);
    uint32_t arm = given_arm(&c.g, "a");
    teach(&c, arm, 8, .5, .5);
    look(&c);
    float w0 = score_of(&c, 0, 0, NULL, 1).width, last = w0;
    for (uint64_t p = 1; p < 1000; p *= 3) {
        float w = score_of(&c, 0, p, NULL, 1).width;
        assert_true(w < last);
        assert_true(fabs((double)(w / w0) - sqrt(9. / (9. + (double)p))) < 1e-5);
        last = w;
    }
    close_scene(&c);
}

static void an_arm_that_never_answers_falls_below_a_mediocre_one(void **state)
{
    (void)state;
    struct scene c;
    open_scene(&c, NULL);
    teach(&c, given_arm(&c.g, "mediocre"), 50, .4, .5);
    given_arm(&c.g, "silent");
    look(&c);
    struct score mediocre = score_of(&c, 0, 0, NULL, 1), silent = score_of(&c, 1, 0, NULL, 1);
    assert_true(silent.mean + silent.width > mediocre.mean + mediocre.width);
    silent = score_of(&c, 1, 12, NULL, 1);
    assert_true(silent.mean + silent.width < mediocre.mean);
    /* A router whose callers never answer tells nothing about this arm. */
    silent = score_of(&c, 1, 12, NULL, 0);
    assert_true(silent.mean >= .99F);
    /* One answer in ten: twelve pulls are no silence yet. */
    silent = score_of(&c, 1, 12, NULL, .1);
    assert_true(silent.mean > mediocre.mean);
    close_scene(&c);
}

static void an_arm_with_evidence_keeps_its_mean_while_answers_are_on_their_way(void **state)
{
    (void)state;
    struct scene c;
    open_scene(&c, NULL);
    teach(&c, given_arm(&c.g, "a"), 200, .8, .5);
    look(&c);
    float mean = score_of(&c, 0, 0, NULL, 1).mean;
    assert_true(mean - score_of(&c, 0, 500, NULL, 1).mean < .02F);
    close_scene(&c);
}

static void set_not_pooled(struct router_config *config)
{
    config->settings.pooled_slopes = false;
}

static void a_metric_never_reported_for_an_arm_is_imputed_by_the_mean_of_the_others(void **state)
{
    (void)state;
    void (*const sets[])(struct router_config *) = {NULL, set_not_pooled};
    for (int k = 0; k < 2; k++) {
        struct scene c;
        open_scene(&c, sets[k]);
        uint32_t a = given_arm(&c.g, "a"), b = given_arm(&c.g, "b");
        given_arm(&c.g, "untried");
        double z[MAX_METRICS] = {.5, .25, .5};
        report(&c, b, 0x01, z); /* Rated, but never by quality, and never its cost. */
        look(&c);
        struct snapshot *old = c.s; /* Views of b and of the untried arm may be shared from here. */
        c.s = NULL;
        for (int i = 0; i < 20; i++)
            report(&c, a, 0x07, z);
        assert_int_equal(snapshot_build(c.g.model, old, &c.s), OK);
        snapshot_free(old);
        c.r = c.s->routers[0];
        assert_true(score_predict(c.r, c.r->arms[1], QUALITY, x0) == .25);
        assert_true(fabs(score_predict(c.r, c.r->arms[1], COST, x0) - .5) < 1e-6);
        /* Optimism holds for the rated metric of an arm that was never rated at all... */
        assert_true(score_predict(c.r, c.r->arms[2], QUALITY, x0) > .9);
        /* ...but not for what it costs. */
        assert_true(fabs(score_predict(c.r, c.r->arms[2], COST, x0) - .5) < 1e-6);
        close_scene(&c);
    }
}

static void a_declared_prior_is_not_replaced_by_the_mean_of_the_others(void **state)
{
    (void)state;
    struct scene c;
    open_scene(&c, set_not_pooled);
    uint32_t a = given_arm(&c.g, "a");
    memset(&c.g.event, 0, sizeof c.g.event);
    c.g.event.kind = EVENT_ARM_ADD;
    c.g.event.u.arm.router_uid = c.g.router->uid;
    strcpy(c.g.event.u.arm.config.name, "b");
    c.g.event.u.arm.config.prior_mask = 1 << QUALITY | 1 << COST;
    c.g.event.u.arm.config.prior_z[QUALITY] = .875;
    c.g.event.u.arm.config.prior_z[COST] = .0625;
    uint32_t b = given_fold(&c.g).uid;
    double z[MAX_METRICS] = {.5, .25, .5};
    for (int i = 0; i < 20; i++)
        report(&c, a, 0x07, z);
    report(&c, b, 0x01, z);
    look(&c);
    assert_true(fabs(score_predict(c.r, c.r->arms[1], QUALITY, x0) - .875) < 1e-6);
    assert_true(fabs(score_predict(c.r, c.r->arms[1], COST, x0) - .0625) < 1e-6);
    close_scene(&c);
}

static void a_predicted_cost_stays_within_a_fifth_and_five_times_what_the_arm_showed(void **state)
{
    (void)state;
    struct scene c;
    open_scene(&c, NULL);
    uint32_t arm = given_arm(&c.g, "a");
    for (int i = 0; i < 3; i++) {
        struct decision d = given_decision(&c.g, arm, 1);
        memset(d.x, 0, sizeof d.x);
        d.x[0] = 1;
        d.x[1] = (float)i;
        double z[MAX_METRICS] = {0, 0, .125 * i};
        given_report(&c.g, &d, 1 << COST, z, OUTCOME_OK);
    }
    look(&c);
    float far[GIVEN_D] = {1, 1000}, below[GIVEN_D] = {1, -1000};
    assert_true(fabs(score_predict(c.r, c.r->arms[0], COST, far) - 5 * .125) < 1e-9);
    assert_true(fabs(score_predict(c.r, c.r->arms[0], COST, below) - .2 * .125) < 1e-9);
    close_scene(&c);
}

static void after_one_outcome_a_difference_of_metrics_still_has_a_width(void **state)
{
    (void)state;
    struct scene c;
    open_scene(&c, NULL);
    uint32_t arm = given_arm(&c.g, "a");
    double z[MAX_METRICS] = {.25, .25, .5};
    report(&c, arm, 0x07, z);
    report(&c, arm, 0x01, z); /* And counts of pairs that differ. */
    report(&c, arm, 0x04, z);
    look(&c);
    for (uint32_t k = 0; k < 200; k++) {
        double w[MAX_METRICS];
        for (uint32_t m = 0; m < MAX_METRICS; m++)
            w[m] = given_z(k, m);
        assert_true(score_of(&c, 0, 0, w, 1).width > 0);
    }
    close_scene(&c);
}

static void set_quality_lower(struct router_config *config)
{
    config->metrics[QUALITY].lower_is_better = true;
}

/* Errors that always came together, then one of them alone until its noise is gone: the moments
 * are of different outcomes, and w'Nw of their difference is negative. */
static void moments_of_different_outcomes_never_end_exploration(void **state)
{
    (void)state;
    struct scene c;
    open_scene(&c, set_quality_lower);
    uint32_t arm = given_arm(&c.g, "a");
    for (uint64_t k = 0; k < 30; k++) {
        double e = given_z(k, 3), z[MAX_METRICS] = {e, e};
        report(&c, arm, 0x03, z);
    }
    for (uint64_t k = 0; k < 3000; k++) {
        double z[MAX_METRICS] = {.5};
        report(&c, arm, 0x01, z);
    }
    look(&c);
    double w[MAX_METRICS] = {1, .3};
    const double *N = c.g.router->pooled->noise;
    assert_true(N[0] + .09 * N[6] - .6 * N[1] < 0); /* Or the test shows nothing. */
    assert_true(score_of(&c, 0, 0, w, 1).width > 0);
    close_scene(&c);
}

static void extremes_never_give_a_score_that_is_not_finite(void **state)
{
    (void)state;
    struct scene c;
    open_scene(&c, NULL);
    uint32_t arm = given_arm(&c.g, "a");
    for (uint64_t k = 0; k < 3000; k++) {
        struct decision d = given_decision(&c.g, arm, k);
        for (uint32_t i = 1; i < GIVEN_D; i++)
            d.x[i] = k % 2 ? 1e6F : -1e6F;
        double z[MAX_METRICS] = {given_z(k, 0), given_z(k, 1), given_z(k, 2)};
        given_report(&c.g, &d, 7, z, OUTCOME_OK);
    }
    look(&c);
    float x[GIVEN_D];
    static const uint64_t pendings[] = {0, 1, UINT64_MAX - 1, UINT64_MAX};
    double w[MAX_METRICS] = {1e6, 1e6, 1e6};
    for (uint64_t k = 0; k < 400; k++) {
        x[0] = 1;
        for (uint32_t i = 1; i < GIVEN_D; i++)
            x[i] = (float)(rng_uniform(k, i) * 2e6 - 1e6);
        struct utility u;
        struct eligible e = {.issued = UINT64_MAX, .pending = pendings[k % 4]};
        struct score s;
        utility_init(&u, c.r, k % 2 ? w : NULL);
        score_arms(c.r, &u, x, &e, 1, k % 3 ? 1 : 0, &s);
        assert_true(isfinite(s.mean) && isfinite(s.width) && s.width >= 0);
    }
    close_scene(&c);
}

static void no_weight_at_all_is_a_score_of_zero(void **state)
{
    (void)state;
    struct scene c;
    open_scene(&c, NULL);
    given_arm(&c.g, "a");
    look(&c);
    double w[MAX_METRICS] = {0};
    struct score s = score_of(&c, 0, 3, w, 1);
    assert_true(s.mean == 0 && s.width == 0);
    close_scene(&c);
}

static struct score score_charged(const struct scene *c, uint64_t pending, float charge)
{
    struct utility u;
    struct eligible arm = {.issued = pending, .pending = pending, .charge = charge};
    struct score s;
    utility_init(&u, c->r, NULL);
    score_arms(c->r, &u, x0, &arm, 1, 1, &s);
    return s;
}

static void a_charge_counts_as_far_as_the_direction_is_known(void **state)
{
    (void)state;
    struct scene c;
    open_scene(&c, NULL);
    uint32_t arm = given_arm(&c.g, "a");
    look(&c);
    /* Nothing is known: a cold arm stands where a resident one stands. */
    assert_true(score_charged(&c, 0, .3F).mean == score_charged(&c, 0, 0).mean);
    /* A pull on its way is half of one that was answered, for the width and for the charge. */
    double paid = (double)score_charged(&c, 1, 0).mean - (double)score_charged(&c, 1, .3F).mean;
    assert_true(fabs(paid - .15) < 1e-6);
    teach(&c, arm, 200, .6, .5);
    look(&c);
    paid = (double)score_charged(&c, 0, 0).mean - (double)score_charged(&c, 0, .3F).mean;
    assert_true(paid > .2 && paid < .3);
    assert_true(score_charged(&c, 0, .3F).width == score_charged(&c, 0, 0).width);
    close_scene(&c);
}

static void the_part_of_a_charge_that_counts_stays_within_the_charge(void **state)
{
    (void)state;
    assert_true(score_charge(.3, 0, 1, 1) == .3);
    assert_true(score_charge(.3, 2, 1, 1) == 0); /* A ridge that was lowered later. */
    assert_true(fabs(score_charge(.3, .5, 1, .5) - .225) < 1e-12);
    assert_true(score_charge(.3, 0, 0, 1) == .3);
}

/* S of a few outcomes, P = (S + rho L)^-1; against (f S + L)^-1 formed anew. */
static void faded_widths_cover_what_they_stand_for_and_never_pass_the_priors(void **state)
{
    (void)state;
    enum { D = GIVEN_D };
    for (uint64_t seed = 1; seed < 400; seed++) {
        double S[D * (D + 1) / 2] = {0}, A[D * (D + 1) / 2], P[D * (D + 1) / 2],
                               scratch[D * (D + 1) / 2], x[D], px[D];
        double fade = rng_uniform(seed, 1), rho = .9 + .1 * rng_uniform(seed, 2);
        for (uint64_t k = 0; k < rng_below(seed, 3, 40); k++) {
            for (uint32_t i = 0; i < D; i++)
                x[i] = i ? rng_uniform(seed, 100 * k + i) - .5 : 1;
            packed_rank1(S, D, 1, x);
        }
        for (uint32_t i = 0; i < D; i++)
            x[i] = i ? rng_uniform(seed, 9000 + i) - .5 : 1;
        double spreads[3]; /* As P has it, faded, of the prior. */
        for (int k = 0; k < 3; k++) {
            packed_set_ridge(A, D, k ? 1 : rho, k ? 20 : 20 * rho);
            for (uint32_t i = 0; i < D * (D + 1) / 2; i++)
                A[i] += (k == 0 ? 1 : k == 1 ? fade : 0) * S[i];
            assert_int_equal(packed_invert(A, D, P, scratch), OK);
            packed_multiply(P, D, x, px);
            spreads[k] = vec_dot(x, px, D);
        }
        double is = score_faded(spreads[0], spreads[2], fade, rho);
        assert_true(is >= spreads[1] * (1 - 1e-12) && is <= spreads[2] * (1 + 1e-12));
        /* Half of the room between the two at most: a bound, and not a useless one. */
        assert_true(is - spreads[1] <= .5 * (spreads[2] - spreads[1]) + 1e-12);
    }
    assert_true(fabs(score_faded(.25, 1, .5, 1) - 1 / 2.5) < 1e-12); /* One dimension: exact. */
    assert_true(score_faded(.25, 1, 0, 1) == 1);
    assert_true(score_faded(0, 1, .5, 1) == 0);
}

static void forget_fast(struct router_config *c)
{
    c->settings.gamma = .95;
    c->settings.pooled_slopes = false;
}

static void an_arm_that_nobody_pulls_widens_outcome_by_outcome(void **state)
{
    (void)state;
    struct scene c;
    open_scene(&c, forget_fast);
    uint32_t arms[5];
    static const char *const names[] = {"a", "b", "c", "d", "e"};
    for (int i = 0; i < 5; i++)
        arms[i] = given_arm(&c.g, names[i]);
    teach(&c, arms[1], 40, .6, .3);
    look(&c);
    struct utility u;
    double first = 0, last = 0;
    for (int k = 0; k < 120; k++) {
        struct eligible arm = {.index = 1};
        struct score s;
        struct snapshot *next;
        utility_init(&u, c.r, NULL);
        score_arms(c.r, &u, x0, &arm, 1, 1, &s);
        double width = (double)s.width / u.sigma; /* The noise is the router's, and moves too. */
        if (k == 0)
            first = width;
        else /* Putting the ridge back takes a tenth of the evidence's variance at most. */
            assert_true(width > last * .94);
        last = width;
        teach(&c, arms[0], 1, .5, .3);
        assert_int_equal(snapshot_build(c.g.model, c.s, &next), OK);
        snapshot_free(c.s);
        c.s = next;
        c.r = next->routers[0];
    }
    struct eligible untried = {.index = 2};
    struct score s;
    score_arms(c.r, &u, x0, &untried, 1, 1, &s);
    assert_true(last > 2 * first);
    assert_true(fabs(last / ((double)s.width / u.sigma) - 1) < .06);
    close_scene(&c);
}

/* In blocks that are full and one that is not; arms left out, in another order, with pulls in
 * flight and charges that differ from context to context. */
static void contexts_that_share_a_pass_score_as_each_would_alone(void **state)
{
    (void)state;
    enum { ARMS = 2 * SCORE_BLOCK + 5, ASKED = ARMS - 3 };
    struct scene c;
    open_scene(&c, NULL);
    for (uint32_t k = 0; k < ARMS; k++) {
        char name[NAME_CAP];
        snprintf(name, sizeof name, "arm-%u", k);
        teach(&c, given_arm(&c.g, name), (int)(k % 5), .3 + .004 * k, .2);
    }
    look(&c);
    struct score_sheet *sheet = NULL;
    assert_int_equal(score_sheet_new(&sheet), OK);
    static struct score together[ARMS], alone[ARMS];
    static struct eligible arms[ARMS];
    float values[SCORE_CONTEXTS][GIVEN_D], *x[SCORE_CONTEXTS];
    const float *in[SCORE_CONTEXTS];
    struct utility u[2], part;
    utility_init(&u[0], c.r, (double[MAX_METRICS]){1, 0, .5});
    utility_init(&u[1], c.r, (double[MAX_METRICS]){0, 0, 2, 1});
    utility_init(&part, c.r, (double[MAX_METRICS]){1});
    assert_true(u[0].group != u[1].group);
    for (uint32_t i = 0; i < SCORE_CONTEXTS; i++) {
        for (uint32_t k = 0; k < GIVEN_D; k++)
            values[i][k] = k ? (float)(given_z(i, k) - .5) : 1;
        in[i] = x[i] = values[i];
    }
    for (uint32_t n = 1; n <= SCORE_CONTEXTS; n++) {
        const struct utility *of = &u[n % 2];
        assert_int_equal(score_sheet_fill(sheet, c.r, of, in, n), OK);
        for (uint32_t i = 0; i < n; i++) {
            for (uint32_t k = 0; k < ASKED; k++)
                arms[k] = (struct eligible){.index = ARMS - 1 - k,
                                            .pending = i == 0 ? 0 : (i + k) % 3,
                                            .charge = k % 7 == i % 7 ? .1F : 0};
            assert_true(score_sheet_has(sheet, i, c.r, of, x[i]));
            score_sheet_read(sheet, i, of, arms, ASKED, .6, together);
            score_arms(c.r, of, x[i], arms, ASKED, .6, alone);
            assert_memory_equal(together, alone, ASKED * sizeof *alone);
            if (of == &u[0]) { /* Fewer metrics than were read. */
                score_sheet_read(sheet, i, &part, arms, ASKED, .6, together);
                score_arms(c.r, &part, x[i], arms, ASKED, .6, alone);
                assert_memory_equal(together, alone, ASKED * sizeof *alone);
            }
        }
        assert_false(score_sheet_has(sheet, n, c.r, of, x[0]));
        assert_false(score_sheet_has(sheet, 0, c.r, &u[(n + 1) % 2], x[0]));
        x[0][GIVEN_D - 1] += 1;
        assert_false(score_sheet_has(sheet, 0, c.r, of, x[0]));
        x[0][GIVEN_D - 1] -= 1;
    }
    score_sheet_free(sheet);
    close_scene(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(contexts_that_share_a_pass_score_as_each_would_alone),
        cmocka_unit_test(
            the_mean_is_the_weighted_sum_of_predictions_with_lower_is_better_subtracted),
        cmocka_unit_test(the_weights_of_a_request_decide_which_arm_is_better),
        cmocka_unit_test(the_width_is_alpha_sigma_times_the_root_of_the_quadratic_form),
        cmocka_unit_test(the_width_shrinks_with_pulls_that_are_not_answered_yet),
        cmocka_unit_test(an_arm_that_never_answers_falls_below_a_mediocre_one),
        cmocka_unit_test(an_arm_with_evidence_keeps_its_mean_while_answers_are_on_their_way),
        cmocka_unit_test(a_metric_never_reported_for_an_arm_is_imputed_by_the_mean_of_the_others),
        cmocka_unit_test(a_declared_prior_is_not_replaced_by_the_mean_of_the_others),
        cmocka_unit_test(a_predicted_cost_stays_within_a_fifth_and_five_times_what_the_arm_showed),
        cmocka_unit_test(after_one_outcome_a_difference_of_metrics_still_has_a_width),
        cmocka_unit_test(moments_of_different_outcomes_never_end_exploration),
        cmocka_unit_test(extremes_never_give_a_score_that_is_not_finite),
        cmocka_unit_test(no_weight_at_all_is_a_score_of_zero),
        cmocka_unit_test(a_charge_counts_as_far_as_the_direction_is_known),
        cmocka_unit_test(faded_widths_cover_what_they_stand_for_and_never_pass_the_priors),
        cmocka_unit_test(an_arm_that_nobody_pulls_widens_outcome_by_outcome),
        cmocka_unit_test(the_part_of_a_charge_that_counts_stays_within_the_charge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
