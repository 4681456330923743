#include "server/route/eligible.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/model/given.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { REWARD, QUALITY, COST, ENERGY, LATENCY };

static const float x0[GIVEN_D] = {1, .5F, 0, -.25F, 0, 0, .125F, 0};

/* ---- what is declared ---- */

static struct slice text(const char *t)
{
    return (struct slice){t, strlen(t)};
}

static struct selector selector_of(const char *t)
{
    static struct selector s;
    assert_int_equal(selector_parse(text(t), "selector", &s, NULL), OK);
    return s;
}

static struct arm_config labelled(const char *key, const char *value)
{
    static struct arm_config arm;
    memset(&arm, 0, sizeof arm);
    strcpy(arm.name, "a");
    assert_int_equal(labels_put(&arm.labels, text(key), text(value), NULL), OK);
    return arm;
}

static void an_arm_that_declares_nothing_can_do_anything(void **unused)
{
    (void)unused;
    const struct arm_config arm = {.name = "a"};
    const struct demand d = {.input_tokens = 1u << 30,
                             .max_output_tokens = 1u << 30,
                             .modalities = (1 << MODALITIES) - 1,
                             .tools = true,
                             .json = true};
    assert_true(demand_declared(&d));
    assert_int_equal(eligible_declared(&d, &arm), ELIGIBLE);
}

static void each_declared_lack_leaves_the_arm_out_with_its_own_reason(void **unused)
{
    (void)unused;
    struct arm_config arm = {
        .name = "a",
        .can = {1000, 200, 1 << MODALITY_TEXT | 1 << MODALITY_IMAGE, DECLARED_NO, DECLARED_NO}};
    static const struct {
        struct demand d;
        enum ineligible why;
    } asked[] = {
        {{.input_tokens = 800, .max_output_tokens = 200}, ELIGIBLE},
        {{.input_tokens = 801, .max_output_tokens = 200}, PROMPT_TOO_LONG},
        {{.input_tokens = 1001}, PROMPT_TOO_LONG},
        {{.input_tokens = 10, .max_output_tokens = 201}, ANSWER_TOO_LONG},
        {{.modalities = 1 << MODALITY_IMAGE}, ELIGIBLE},
        {{.modalities = 1 << MODALITY_IMAGE | 1 << MODALITY_AUDIO}, NO_MODALITY},
        {{.tools = true}, NO_TOOLS},
        {{.json = true}, NO_JSON},
    };
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++)
        assert_int_equal(eligible_declared(&asked[i].d, &arm), asked[i].why);
    arm.can.tools = arm.can.json = DECLARED_YES;
    assert_int_equal(eligible_declared(&asked[6].d, &arm), ELIGIBLE);
    assert_int_equal(eligible_declared(&asked[7].d, &arm), ELIGIBLE);
}

static void the_stage_is_asked_before_the_selector(void **unused)
{
    (void)unused;
    const struct arm_config arm = labelled("tier", "small");
    const struct selector small = selector_of("tier=small"), large = selector_of("tier=large");
    struct demand d = {.stage = &small, .selector = &small};
    assert_int_equal(eligible_declared(&d, &arm), ELIGIBLE);
    d.selector = &large;
    assert_int_equal(eligible_declared(&d, &arm), NOT_SELECTED);
    d.stage = &large;
    assert_int_equal(eligible_declared(&d, &arm), NOT_IN_STAGE);
    d.selector = NULL;
    assert_int_equal(eligible_declared(&d, &arm), NOT_IN_STAGE);
}

static void nothing_asked_is_seen_as_nothing(void **unused)
{
    (void)unused;
    struct demand d = {0};
    assert_false(demand_declared(&d));
    assert_int_equal(demand_metrics(&d), 0);
    d.limits_n = 2;
    d.limits[0].metric = COST;
    d.limits[1].metric = QUALITY;
    assert_false(demand_declared(&d)); /* Limits need predictions: another step. */
    assert_int_equal(demand_metrics(&d), 1 << COST | 1 << QUALITY);
}

static void tokens_of_a_text_are_a_third_of_its_bytes_rounded_up(void **unused)
{
    (void)unused;
    static const size_t bytes[] = {0, 1, 3, 4, 300, 1 << 20};
    static const uint64_t tokens[] = {0, 1, 1, 2, 100, 349526};
    for (size_t i = 0; i < sizeof bytes / sizeof *bytes; i++)
        assert_int_equal(tokens_of_text(bytes[i]), tokens[i]);
}

static void every_reason_has_its_own_code_and_text(void **unused)
{
    (void)unused;
    for (int a = ELIGIBLE; a <= NEWCOMERS_SPENT; a++) {
        assert_true(strlen(ineligible_text((enum ineligible)a)) > 5);
        for (int b = ELIGIBLE; b < a; b++)
            assert_string_not_equal(ineligible_code((enum ineligible)a),
                                    ineligible_code((enum ineligible)b));
    }
    assert_string_equal(ineligible_code(OVER_LIMIT), "OVER_LIMIT");
}

/* ---- limits ---- */

struct scene {
    struct given g;
    struct snapshot *s;
    const struct router_view *r;
    struct guess guess;
};

static void open_scene(struct scene *c, bool logarithmic)
{
    struct router_config config;
    given_config(&config);
    config.metrics[COST].logarithmic = logarithmic;
    config.metrics[COST].norm_low = logarithmic ? 1e-5 : 0;
    memset(c, 0, sizeof *c);
    given_open(&c->g, &config);
}

static void close_scene(struct scene *c)
{
    snapshot_free(c->s);
    given_close(&c->g);
}

static void look(struct scene *c)
{
    snapshot_free(c->s);
    c->s = NULL;
    assert_int_equal(snapshot_build(c->g.model, NULL, &c->s), OK);
    c->r = c->s->routers[0];
}

/* n outcomes of about these z: a spread of a tenth, with a reason of its own in x. */
static void teach(struct scene *c, uint32_t arm, int n, uint16_t mask, double level)
{
    for (int i = 0; i < n; i++) {
        struct decision d = given_decision(&c->g, arm, c->g.ids);
        double z[MAX_METRICS];
        for (int m = 0; m < MAX_METRICS; m++)
            z[m] = level * (1 + .2 * (given_z((uint64_t)i, 9) - .5));
        assert_int_equal(given_report(&c->g, &d, mask, z, OUTCOME_OK).err, OK);
    }
}

/* Of the arm at `index`, one limit. */
static enum ineligible judge(struct scene *c, uint32_t index, uint32_t metric, double raw)
{
    const struct demand d = {.limits_n = 1, .limits = {{metric, raw}}};
    uint32_t limit = 99;
    memset(&c->guess, 0, sizeof c->guess);
    score_guess(c->r, demand_metrics(&d), x0, &index, 1, &c->guess);
    enum ineligible why = eligible_limits(&d, c->r, c->r->arms[index], &c->guess, &limit);
    assert_int_equal(limit, why == ELIGIBLE ? 99 : 0);
    return why;
}

static void a_guess_is_what_scores_predict_and_its_deviation_is_sigma_root_xpx(void **unused)
{
    (void)unused;
    struct scene c;
    open_scene(&c, false);
    uint32_t a = given_arm(&c.g, "a"), b = given_arm(&c.g, "b");
    teach(&c, a, 30, 1 << REWARD | 1 << COST, .4);
    teach(&c, b, 5, 1 << REWARD | 1 << COST, .02);
    look(&c);
    uint32_t indices[2] = {1, 0};
    struct guess guesses[2];
    score_guess(c.r, 1 << REWARD | 1 << COST, x0, indices, 2, guesses);
    for (int i = 0; i < 2; i++) {
        uint32_t k = indices[i];
        const struct arm_view *arm = c.r->arms[k];
        assert_true(guesses[i].z[REWARD] == score_predict(c.r, arm, REWARD, x0));
        assert_true(guesses[i].z[COST] == score_predict(c.r, arm, COST, x0));
        double w[MAX_METRICS] = {1};
        struct utility u;
        struct score s;
        utility_init(&u, c.r, w);
        score_arms(c.r, &u, x0, &(struct eligible){.index = k}, 1, 1, &s);
        double alpha = c.r->config->settings.alpha;
        assert_true(fabs(alpha * guesses[i].deviation[REWARD] - (double)s.width) < 1e-6);
    }
    /* The cheap arm's noise is bounded by its own mean, not by what the dear one spreads. */
    double pooled = sqrt(c.r->noise[COST * c.r->config->metrics_n + COST]);
    assert_true(pooled > .021);
    double xPx = pow(guesses[0].deviation[COST] / c.r->arms[1]->recent_z[COST], 2);
    assert_true(xPx > .01 && xPx < 12);
    close_scene(&c);
}

static void a_served_limit_is_kept_with_its_uncertainty(void **unused)
{
    (void)unused;
    struct scene c;
    open_scene(&c, false);
    uint32_t a = given_arm(&c.g, "a");
    teach(&c, a, 19, 1 << REWARD | 1 << COST, .3);
    look(&c);
    /* On trial: the prediction alone. */
    assert_int_equal(judge(&c, 0, COST, .05), OVER_LIMIT);
    assert_int_equal(judge(&c, 0, COST, c.guess.z[COST] - 1e-6), OVER_LIMIT);
    assert_int_equal(judge(&c, 0, COST, c.guess.z[COST] + 1e-6), ELIGIBLE);
    teach(&c, a, 1, 1 << REWARD | 1 << COST, .3);
    look(&c);
    assert_int_equal(judge(&c, 0, COST, .05), OVER_LIMIT);
    double z = c.guess.z[COST], edge = z + 1.645 * c.guess.deviation[COST];
    assert_true(edge > z + .005 && edge < 1);
    assert_int_equal(judge(&c, 0, COST, z - 1e-6), OVER_LIMIT);
    assert_int_equal(judge(&c, 0, COST, z + .5 * (edge - z)), UNCERTAIN);
    assert_int_equal(judge(&c, 0, COST, edge - 1e-6), UNCERTAIN);
    assert_int_equal(judge(&c, 0, COST, edge + 1e-6), ELIGIBLE);
    /* Outcomes shrink the doubt. */
    double before = edge - z;
    teach(&c, a, 400, 1 << REWARD | 1 << COST, .3);
    look(&c);
    assert_int_equal(judge(&c, 0, COST, .2), OVER_LIMIT);
    assert_true(1.645 * c.guess.deviation[COST] < .5 * before);
    assert_int_equal(judge(&c, 0, COST, c.guess.z[COST] + .5 * before), ELIGIBLE);
    close_scene(&c);
}

static void a_rated_limit_leaves_out_only_what_cannot_reach_it(void **unused)
{
    (void)unused;
    struct scene c;
    open_scene(&c, false);
    teach(&c, given_arm(&c.g, "a"), 10, 1 << REWARD | 1 << QUALITY, .5);
    look(&c);
    assert_int_equal(judge(&c, 0, QUALITY, .3), ELIGIBLE);
    double edge = c.guess.z[QUALITY] + 1.645 * c.guess.deviation[QUALITY];
    assert_true(edge > c.guess.z[QUALITY] && edge < 1);
    assert_int_equal(judge(&c, 0, QUALITY, edge - 1e-6), ELIGIBLE);
    assert_int_equal(judge(&c, 0, QUALITY, edge + 1e-6), OVER_LIMIT);
    close_scene(&c);
}

static void what_was_never_seen_is_judged_by_its_prior_or_let_in(void **unused)
{
    (void)unused;
    struct scene c;
    open_scene(&c, false);
    uint32_t known = given_arm(&c.g, "known");
    (void)given_arm(&c.g, "new");
    memset(&c.g.event, 0, sizeof c.g.event);
    c.g.event.kind = EVENT_ARM_ADD;
    c.g.event.u.arm.router_uid = c.g.router->uid;
    strcpy(c.g.event.u.arm.config.name, "declared");
    c.g.event.u.arm.config.prior_mask = 1 << COST;
    c.g.event.u.arm.config.prior_raw[COST] = c.g.event.u.arm.config.prior_z[COST] = .25;
    uint32_t declared = given_fold(&c.g).uid;
    teach(&c, known, 50, 1 << REWARD | 1 << COST, .8);
    look(&c);
    assert_int_equal(judge(&c, 0, COST, .1), OVER_LIMIT);
    assert_int_equal(judge(&c, 1, COST, .1), ELIGIBLE); /* Though the router's mean is .8. */
    assert_int_equal(judge(&c, 2, COST, .1), OVER_LIMIT);
    assert_int_equal(judge(&c, 2, COST, .25), ELIGIBLE);
    assert_int_equal(judge(&c, 0, LATENCY, 1), ELIGIBLE);
    /* The first outcome takes the declared price's place. */
    teach(&c, declared, 60, 1 << REWARD | 1 << COST, .02);
    look(&c);
    assert_int_equal(judge(&c, 2, COST, .1), ELIGIBLE);
    close_scene(&c);
}

static void beyond_what_the_statistics_hold_the_plain_mean_decides(void **unused)
{
    (void)unused;
    struct scene c;
    open_scene(&c, true);
    uint32_t a = given_arm(&c.g, "a");
    for (int i = 0; i < 30; i++) { /* Saturates at z = 1; 4 US$ are kept as they are. */
        struct decision d = given_decision(&c.g, a, c.g.ids);
        memset(&c.g.event, 0, sizeof c.g.event);
        c.g.event.kind = EVENT_OUTCOME;
        c.g.event.u.outcome.decision = d;
        c.g.event.u.outcome.metrics_n = 1;
        c.g.event.u.outcome.metrics[0] = (struct outcome_metric){COST, 4, 1};
        assert_int_equal(given_fold(&c.g).err, OK);
    }
    look(&c);
    assert_int_equal(judge(&c, 0, COST, 5), ELIGIBLE);
    assert_int_equal(judge(&c, 0, COST, 3), OVER_LIMIT);
    assert_int_equal(judge(&c, 0, COST, .5), OVER_LIMIT);
    assert_int_equal(judge(&c, 0, COST, 1e-6), OVER_LIMIT);
    close_scene(&c);
}

static void the_sentence_names_metric_prediction_and_limit_in_its_own_unit(void **unused)
{
    (void)unused;
    struct scene c;
    char say[160];
    open_scene(&c, true);
    teach(&c, given_arm(&c.g, "a"), 60, 1 << REWARD | 1 << COST, .5);
    look(&c);
    const struct demand d = {.limits_n = 1, .limits = {{COST, .001}}};
    assert_int_equal(judge(&c, 0, COST, .001), OVER_LIMIT);
    ineligible_say(OVER_LIMIT, &d, c.r, c.r->arms[0], 0, &c.guess, say, sizeof say);
    static const char head[] = "cost_usd is predicted as ";
    assert_memory_equal(say, head, sizeof head - 1);
    char *end;
    double predicted = strtod(say + sizeof head - 1, &end);
    assert_true(fabs(log(predicted) - log(1e-5) - c.guess.z[COST] * log(1e5)) < .01);
    assert_non_null(strstr(end, "with its uncertainty"));
    assert_non_null(strstr(end, "wanted is at most 0.001"));
    struct arm_view arm = *c.r->arms[0];
    struct arm_config config = *arm.config;
    config.can = (struct capability){1000, 0, 1 << MODALITY_TEXT, 0, 0};
    arm.config = &config;
    const struct demand long_prompt = {.input_tokens = 990, .max_output_tokens = 11};
    ineligible_say(PROMPT_TOO_LONG, &long_prompt, c.r, &arm, 0, NULL, say, sizeof say);
    assert_string_equal(say, "990 tokens in and 11 out, window 1000");
    const struct demand seen = {.modalities = 1 << MODALITY_IMAGE | 1 << MODALITY_VIDEO};
    ineligible_say(NO_MODALITY, &seen, c.r, &arm, 0, NULL, say, sizeof say);
    assert_string_equal(say, "image, video");
    close_scene(&c);
}

static void a_paused_arm_is_paused_and_a_cooling_one_is_due_when_its_pause_is_over(void **unused)
{
    (void)unused;
    struct arm_view v = {.cooldown_until_us = 0};
    bool due = true;
    assert_int_equal(eligible_check(&v, 5, &due), ELIGIBLE);
    assert_false(due);
    v.cooldown_until_us = 10;
    assert_int_equal(eligible_check(&v, 9, &due), COOLING);
    assert_false(due);
    assert_int_equal(eligible_check(&v, 10, &due), COOLING);
    assert_true(due);
    v.paused = true;
    assert_int_equal(eligible_check(&v, 10, &due), PAUSED);
    assert_false(due);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_arm_that_declares_nothing_can_do_anything),
        cmocka_unit_test(each_declared_lack_leaves_the_arm_out_with_its_own_reason),
        cmocka_unit_test(the_stage_is_asked_before_the_selector),
        cmocka_unit_test(nothing_asked_is_seen_as_nothing),
        cmocka_unit_test(tokens_of_a_text_are_a_third_of_its_bytes_rounded_up),
        cmocka_unit_test(every_reason_has_its_own_code_and_text),
        cmocka_unit_test(a_guess_is_what_scores_predict_and_its_deviation_is_sigma_root_xpx),
        cmocka_unit_test(a_served_limit_is_kept_with_its_uncertainty),
        cmocka_unit_test(a_rated_limit_leaves_out_only_what_cannot_reach_it),
        cmocka_unit_test(what_was_never_seen_is_judged_by_its_prior_or_let_in),
        cmocka_unit_test(beyond_what_the_statistics_hold_the_plain_mean_decides),
        cmocka_unit_test(the_sentence_names_metric_prediction_and_limit_in_its_own_unit),
        cmocka_unit_test(a_paused_arm_is_paused_and_a_cooling_one_is_due_when_its_pause_is_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
