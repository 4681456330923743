#include "state/model/trial.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/model/given.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { N = 200 };

static void open_with(struct given *g, enum router_mode mode, const char *split, const char *arms)
{
    struct router_config config;
    given_config(&config);
    config.settings.mode = mode;
    snprintf(config.settings.split_policy, NAME_CAP, "%s", split);
    given_open(g, &config);
    for (; *arms; arms++)
        (void)given_arm(g, (char[]){*arms, '\0'});
}

static void update(struct given *g, const struct router_settings *settings)
{
    memset(&g->event, 0, sizeof g->event);
    g->event.kind = EVENT_ROUTER_UPDATE;
    g->event.u.update.router_uid = g->router->uid;
    g->event.u.update.settings = *settings;
    g->event.u.update.metrics_n = g->router->config.metrics_n;
    for (uint32_t m = 0; m < g->router->config.metrics_n; m++)
        g->event.u.update.weights[m] = g->router->config.metrics[m].weight;
    assert_int_equal(given_fold(g).err, OK);
}

/* A decision of the trial in force. chosen: an apprentice's choice, 0 online. */
static struct decision decision_of(struct given *g, uint32_t arm, enum side side, uint32_t chosen)
{
    struct decision d = given_decision(g, g->router->arms[arm]->uid, g->ids);
    d.side = (uint8_t)side;
    d.mode = (uint8_t)g->router->config.settings.mode;
    d.epoch = g->router->trial.epoch;
    d.policy_arm_uid = chosen;
    return d;
}

static void sides_sum_what_their_decisions_reported_however_late(void **state)
{
    (void)state;
    struct given g;
    double n[2] = {0}, mean[2] = {0}, product[2] = {0}, raw_squares[2] = {0};
    open_with(&g, MODE_ONLINE, "random", "ab");
    for (uint64_t k = 0; k < N; k++) {
        int side = k % 3 == 0;
        struct decision d = decision_of(&g, k & 1, side ? SIDE_B : SIDE_A, 0);
        double z[MAX_METRICS] = {given_z(1, k), 0, given_z(2, k)};
        bool late = k % 2; /* Half of the costs come apart, before or after the reward. */
        given_report(&g, &d, late ? k % 4 == 1 ? 1 : 4 : 5, z, OUTCOME_OK);
        if (late)
            given_report(&g, &d, k % 4 == 1 ? 4 : 1, z, OUTCOME_OK);
        given_report(&g, &d, 5, z, OUTCOME_OK); /* A duplicate counts nothing. */
        n[side]++;
        mean[side] += z[0];
        product[side] += z[0] * z[2];
        raw_squares[side] += 100 * z[0] * z[0];
    }
    for (int side = 0; side < 2; side++) {
        const struct trial_sums *s = &g.router->trial.groups[side ? TRIAL_B : TRIAL_A];
        assert_int_equal(s->answered, n[side]);
        assert_int_equal(s->pair_n[0], n[side]);
        assert_int_equal(s->pair_n[3], n[side]); /* (2, 0) */
        assert_true(fabs(s->z[0] - mean[side]) < 1e-9);
        assert_true(fabs(s->pair_z[3] - product[side]) < 1e-9);
        assert_true(fabs(s->raw[0].mean - 10 * mean[side] / n[side]) < 1e-9);
        double squares = raw_squares[side] - n[side] * s->raw[0].mean * s->raw[0].mean;
        assert_true(fabs(s->raw[0].squares - squares) < 1e-6);
        assert_int_equal(s->pair_n[2], 0); /* Quality was never reported. */
    }
    assert_int_equal(g.router->trial.groups[TRIAL_AGREED].answered, 0);
    given_close(&g);
}

static void a_decision_outside_the_trial_or_of_an_older_one_counts_nowhere(void **state)
{
    (void)state;
    struct given g;
    double z[MAX_METRICS] = {.5};
    open_with(&g, MODE_ONLINE, "random", "a");
    struct decision old = decision_of(&g, 0, SIDE_A, 0), none = given_decision(&g, old.arm_uid, 1);
    uint32_t first = g.router->trial.epoch;
    assert_int_equal(first, 1);
    struct router_settings s = g.router->config.settings;
    s.split_share = .1;
    update(&g, &s);
    assert_int_equal(g.router->trial.epoch, 2);
    assert_int_equal(g.router->trial.since_us, g.model->clock_us);
    given_report(&g, &old, 1, z, OUTCOME_OK);
    given_report(&g, &none, 1, z, OUTCOME_OK);
    for (int i = 0; i < TRIAL_GROUPS; i++)
        assert_int_equal(g.router->trial.groups[i].answered, 0);
    assert_int_equal(g.router->arms[0]->metrics[0].n, 2); /* They teach all the same. */
    given_close(&g);
}

static void only_what_changes_a_trial_begins_one(void **state)
{
    (void)state;
    struct router_config c;
    given_config(&c);
    struct router_settings a = c.settings, b = a;
    assert_false(trial_begins(&a, &b));
    b.alpha = 9;
    assert_false(trial_begins(&a, &b)); /* There is no trial. */
    b = a;
    strcpy(b.split_policy, "greedy");
    assert_true(trial_begins(&a, &b));
    assert_false(trial_begins(&b, &a)); /* An end keeps the counts. */
    a = b;
    assert_false(trial_begins(&a, &b));
    b.explore_floor = .2;
    assert_false(trial_begins(&a, &b)); /* It weighs alike on both sides. */
    b.split_alpha = 3;
    assert_true(trial_begins(&a, &b));
    b = a;
    strcpy(b.policy, "thompson");
    assert_true(trial_begins(&a, &b));
    b = a;
    b.mode = MODE_APPRENTICE;
    assert_true(trial_begins(&a, &b));
    a = b;
    strcpy(b.baseline_arm, "x");
    assert_true(trial_begins(&a, &b));
    a = b;
    b.mode = MODE_LOGGING_ONLY;
    assert_false(trial_begins(&a, &b));
    b.mode = MODE_ONLINE;
    b.split_policy[0] = '\0';
    assert_false(trial_begins(&a, &b)); /* Promoted: the report can still be read. */
}

static void an_apprentice_counts_agreement_and_who_was_served_and_chosen(void **state)
{
    (void)state;
    struct given g;
    open_with(&g, MODE_APPRENTICE, "", "abc");
    const struct trial *t = &g.router->trial;
    uint32_t b = g.router->arms[1]->uid, c = g.router->arms[2]->uid;
    for (uint64_t k = 0; k < N; k++) {
        struct decision d = decision_of(&g, 1, SIDE_NONE, k % 4 == 0 ? c : b);
        d.reason = REASON_BASELINE;
        double z[MAX_METRICS] = {k % 4 == 0 ? .25 : .75, 0, .5};
        given_report(&g, &d, 1, z, OUTCOME_OK);
        given_report(&g, &d, 4, z, OUTCOME_OK);
    }
    assert_int_equal(t->groups[TRIAL_AGREED].answered, N * 3 / 4);
    assert_int_equal(t->groups[TRIAL_DIFFERED].answered, N / 4);
    assert_true(t->groups[TRIAL_AGREED].z[0] == .75 * N * 3 / 4);
    assert_true(t->groups[TRIAL_DIFFERED].z[0] == .25 * N / 4);
    assert_true(t->recent > .7 && t->recent < .8);
    assert_int_equal(g.router->arms[1]->trial_served, N);
    assert_int_equal(g.router->arms[1]->trial_chosen, N * 3 / 4);
    assert_int_equal(g.router->arms[2]->trial_served, 0);
    assert_int_equal(g.router->arms[2]->trial_chosen, N / 4);
    assert_int_equal(g.router->arms[1]->groups[METRIC_RATED].n, N); /* It learns. */
    struct router_settings s = g.router->config.settings;
    s.mode = MODE_ONLINE;
    update(&g, &s);
    assert_int_equal(t->groups[TRIAL_AGREED].answered, N * 3 / 4);
    s.mode = MODE_APPRENTICE;
    update(&g, &s);
    assert_int_equal(t->groups[TRIAL_AGREED].answered, 0);
    assert_int_equal(g.router->arms[2]->trial_chosen, 0);
    given_close(&g);
}

static void logging_only_keeps_outcomes_once_and_learns_nothing(void **state)
{
    (void)state;
    struct given g;
    open_with(&g, MODE_LOGGING_ONLY, "", "a");
    const struct arm *a = g.router->arms[0];
    double before[1024], z[MAX_METRICS] = {.5, .25, .125, 1, 1};
    size_t bytes = a->block_n * sizeof *a->block;
    assert_true(bytes <= sizeof before);
    memcpy(before, a->block, bytes);
    for (int i = 0; i < 20; i++) {
        struct decision d = decision_of(&g, 0, SIDE_NONE, 0);
        d.reason = REASON_BASELINE;
        assert_int_equal(given_report(&g, &d, 31, z, OUTCOME_ERROR).counted_mask, 31);
        assert_true(given_report(&g, &d, 31, z, OUTCOME_ERROR).duplicate);
    }
    assert_memory_equal(before, a->block, bytes);
    assert_int_equal(g.router->logged, 20);
    assert_int_equal(g.router->outcomes_folded, 0);
    assert_int_equal(a->answered + a->failures + a->metrics[0].n, 0);
    assert_int_equal(a->cooldown_until_us, 0);
    assert_int_equal(g.router->pooled->matrix.n, 0);
    given_close(&g);
}

static void an_answer_of_a_cooling_baseline_may_end_its_cooldown(void **state)
{
    (void)state;
    struct given g;
    double z[MAX_METRICS] = {.5};
    open_with(&g, MODE_APPRENTICE, "", "a");
    for (int i = 0; i < 10; i++) {
        struct decision d = decision_of(&g, 0, SIDE_NONE, g.router->arms[0]->uid);
        d.reason = REASON_BASELINE;
        given_report(&g, &d, 1, z, i < 9 ? OUTCOME_ERROR : OUTCOME_OK);
        if (i == 8)
            assert_true(g.router->arms[0]->cooldown_until_us > 0);
    }
    assert_int_equal(g.router->arms[0]->cooldown_until_us, 0);
    given_close(&g);
}

static void a_trial_comes_back_from_its_bytes_and_damage_is_seen(void **state)
{
    (void)state;
    struct trial t, again;
    struct given g;
    double z[MAX_METRICS] = {.5, .25, .125, 1, 1};
    open_with(&g, MODE_ONLINE, "random", "a");
    for (int i = 0; i < 9; i++) {
        struct decision d = decision_of(&g, 0, i % 2 ? SIDE_A : SIDE_B, 0);
        given_report(&g, &d, 31, z, OUTCOME_OK);
    }
    t = g.router->trial;
    struct buf b;
    buf_init(&b);
    trial_encode(&t, 5, &b);
    struct reader r;
    reader_init(&r, (struct slice){b.data, b.len});
    assert_int_equal(trial_decode(&r, 5, &again), OK);
    assert_int_equal(reader_left(&r), 0);
    assert_memory_equal(&t, &again, sizeof t);
    for (size_t len = 0; len < b.len; len++) {
        reader_init(&r, (struct slice){b.data, len});
        assert_int_equal(trial_decode(&r, 5, &again), ERR_CORRUPT);
    }
    buf_done(&b);
    given_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sides_sum_what_their_decisions_reported_however_late),
        cmocka_unit_test(a_decision_outside_the_trial_or_of_an_older_one_counts_nowhere),
        cmocka_unit_test(only_what_changes_a_trial_begins_one),
        cmocka_unit_test(an_apprentice_counts_agreement_and_who_was_served_and_chosen),
        cmocka_unit_test(logging_only_keeps_outcomes_once_and_learns_nothing),
        cmocka_unit_test(an_answer_of_a_cooling_baseline_may_end_its_cooldown),
        cmocka_unit_test(a_trial_comes_back_from_its_bytes_and_damage_is_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
