#include "state/model/settings.h"

#include "state/base/hash.h"
#include "tests/unit/cmocka_all.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* cmocka's own comparison rounds to float. */
static void assert_close(double a, double b, double tolerance)
{
    assert_true(fabs(a - b) <= tolerance);
}

static void the_defaults_pass_their_own_check(void **unused)
{
    (void)unused;
    struct router_config c;
    settings_defaults(&c, "default");
    assert_int_equal(settings_check(&c, NULL), OK);
    assert_string_equal(c.name, "default");
    assert_int_equal(c.metrics_n, 5);
    assert_int_equal(spec_d(&c.spec), 1 + 16 + SCALARS_V1_N + TEXT_BLOCK_N);
    assert_int_equal(c.spec.version, 1);
    assert_true(c.metrics[settings_metric_index(&c, "reward", 6)].weight == 1);
    for (uint32_t m = 1; m < c.metrics_n; m++)
        assert_true(c.metrics[m].weight == 0);
    assert_true(c.settings.ridge[METRIC_RATED][1] == 20);
    assert_true(c.settings.ridge[METRIC_SERVED][0] == .1);
}

/* Sets one number of a good configuration to `bad` and wants the refusal to name the field. */
#define REFUSES(place, bad, code, field)                                                           \
    do {                                                                                           \
        struct router_config c_;                                                                   \
        struct err_detail d_ = {""};                                                               \
        settings_defaults(&c_, "r");                                                               \
        c_.place = (bad);                                                                          \
        assert_int_equal(settings_check(&c_, &d_), code);                                          \
        assert_non_null(strstr(d_.text, field));                                                   \
    } while (0)

static void each_setting_out_of_range_is_refused_by_name(void **unused)
{
    (void)unused;
    REFUSES(settings.alpha, -.1, ERR_OUT_OF_RANGE, "settings.alpha");
    REFUSES(settings.alpha, 100.1, ERR_OUT_OF_RANGE, "[0, 100]");
    REFUSES(settings.alpha, (double)NAN, ERR_NOT_FINITE, "settings.alpha");
    REFUSES(settings.ridge[0][0], 0, ERR_OUT_OF_RANGE, "settings.ridge_bias");
    REFUSES(settings.ridge[0][1], 1e6 + 1, ERR_OUT_OF_RANGE, "settings.ridge_context");
    REFUSES(settings.ridge[1][0], 0, ERR_OUT_OF_RANGE, "settings.served_ridge_bias");
    REFUSES(settings.ridge[1][1], (double)INFINITY, ERR_NOT_FINITE,
            "settings.served_ridge_context");
    REFUSES(settings.explore_floor, 1.01, ERR_OUT_OF_RANGE, "settings.explore_floor");
    REFUSES(settings.epsilon, -.01, ERR_OUT_OF_RANGE, "settings.epsilon");
    REFUSES(settings.split_share, 1.01, ERR_OUT_OF_RANGE, "settings.split_share");
    REFUSES(settings.split_alpha, -.5, ERR_OUT_OF_RANGE, "settings.split_alpha");
    REFUSES(settings.split_epsilon, 1.5, ERR_OUT_OF_RANGE, "settings.split_epsilon");
    REFUSES(settings.split_policy[0], ' ', ERR_BAD_NAME, "settings.split_policy");
    REFUSES(settings.split_fixed_arm[0], ' ', ERR_BAD_NAME, "settings.split_fixed_arm");
    REFUSES(settings.mode, (enum router_mode)3, ERR_OUT_OF_RANGE, "settings.mode");
    REFUSES(settings.baseline_arm[0], ' ', ERR_BAD_NAME, "settings.baseline_arm");
    REFUSES(settings.policy[0], '\0', ERR_BAD_NAME, "settings.policy");
    REFUSES(settings.fixed_arm[0], ' ', ERR_BAD_NAME, "settings.fixed_arm");
    REFUSES(settings.newcomer_pulls, 1001, ERR_OUT_OF_RANGE, "settings.newcomer_pulls");
    REFUSES(settings.newcomer_every, 0, ERR_OUT_OF_RANGE, "settings.newcomer_every");
    REFUSES(settings.cooldown_failures, 65, ERR_OUT_OF_RANGE, "settings.cooldown_failures");
    REFUSES(settings.cooldown_window, 0, ERR_OUT_OF_RANGE, "settings.cooldown_window");
    REFUSES(settings.cooldown_s, 0, ERR_OUT_OF_RANGE, "(0, 86400]");
    REFUSES(settings.reward_wait_s, .5, ERR_OUT_OF_RANGE, "settings.reward_wait_s");
    REFUSES(settings.reward_wait_s, 2592001, ERR_OUT_OF_RANGE, "settings.reward_wait_s");
    REFUSES(settings.dedup_max, 999, ERR_OUT_OF_RANGE, "settings.dedup_max");
    REFUSES(settings.dedup_max, UINT64_MAX, ERR_OUT_OF_RANGE, "settings.dedup_max");
    REFUSES(settings.decision_log, (enum decision_log)3, ERR_OUT_OF_RANGE, "settings.decision_log");
    REFUSES(settings.decision_log_sample, -1, ERR_OUT_OF_RANGE, "settings.decision_log_sample");
    REFUSES(settings.gamma, .89, ERR_OUT_OF_RANGE, "settings.gamma");
    REFUSES(settings.gamma, 1.001, ERR_OUT_OF_RANGE, "settings.gamma");
}

static void a_spec_or_table_out_of_range_is_refused_by_name(void **unused)
{
    (void)unused;
    REFUSES(spec.task_slots, 65, ERR_OUT_OF_RANGE, "task_slots");
    REFUSES(spec.features_n, 513, ERR_OUT_OF_RANGE, "features_n");
    REFUSES(spec.features_n, 512, ERR_OUT_OF_RANGE, "at most 512"); /* d is 557 then. */
    REFUSES(spec.embedding_n, 8193, ERR_OUT_OF_RANGE, "embedding_n");
    REFUSES(spec.version, SPEC_VERSIONS, ERR_OUT_OF_RANGE, "context");
    REFUSES(spec, ((struct feature_spec){.agent = true}), ERR_INVALID, "agent");
    REFUSES(spec, ((struct feature_spec){.text_block = true}), ERR_INVALID, "text_block");
    REFUSES(spec, ((struct feature_spec){.version = 1, .text_block = true, .embedding_n = 2}),
            ERR_INVALID, "one of the two");
    REFUSES(tasks_n, 17, ERR_OUT_OF_RANGE, "task_slots");
    REFUSES(tasks_n, 1, ERR_BAD_NAME, "tasks[0]"); /* An empty label. */
    REFUSES(metrics_n, 0, ERR_OUT_OF_RANGE, "metrics");
    REFUSES(metrics_n, 17, ERR_OUT_OF_RANGE, "metrics");
    REFUSES(metrics_n, 6, ERR_BAD_NAME, "metrics[5].name");
    REFUSES(name[0], ' ', ERR_BAD_NAME, "name");
    REFUSES(metrics[0].min, 1, ERR_OUT_OF_RANGE, "metrics[0].min");
    REFUSES(metrics[0].max, (double)INFINITY, ERR_NOT_FINITE, "metrics[0].max");
    REFUSES(metrics[2].norm_low, 1, ERR_OUT_OF_RANGE, "metrics[2].norm_low");
    REFUSES(metrics[2].norm_high, (double)NAN, ERR_NOT_FINITE, "metrics[2].norm_high");
    REFUSES(metrics[2].logarithmic, true, ERR_OUT_OF_RANGE, "logarithmic");
    REFUSES(metrics[3].weight, -1, ERR_OUT_OF_RANGE, "metrics[3].weight");
    REFUSES(metrics[3].weight, 2e6, ERR_OUT_OF_RANGE, "metrics[3].weight");
    REFUSES(metrics[3].group, (enum metric_group)2, ERR_OUT_OF_RANGE, "metrics[3].group");
}

static void names_said_twice_or_without_an_end_are_refused(void **unused)
{
    (void)unused;
    struct router_config c;
    struct err_detail d;
    settings_defaults(&c, "r");
    strcpy(c.metrics[4].name, "reward");
    assert_int_equal(settings_check(&c, &d), ERR_INVALID);
    assert_non_null(strstr(d.text, "reward"));
    settings_defaults(&c, "r");
    c.tasks_n = 2;
    strcpy(c.tasks[0], "code");
    strcpy(c.tasks[1], "code");
    assert_int_equal(settings_check(&c, &d), ERR_INVALID);
    settings_defaults(&c, "r");
    memset(c.name, 'a', sizeof c.name);
    assert_int_equal(settings_check(&c, &d), ERR_BAD_NAME);
}

static void an_arm_is_checked_like_a_router(void **unused)
{
    (void)unused;
    struct err_detail d;
    struct arm_config good = {.name = "gpt-4.1", .description = "large", .tags_n = 2};
    strcpy(good.tags[0], "tier/large");
    strcpy(good.tags[1], "eu");
    good.prior_mask = 1U << 2;
    good.prior_raw[2] = .01;
    good.prior_z[2] = .01;
    assert_int_equal(settings_check_arm(&good, &d), OK);
    struct arm_config a = good;
    a.tags_n = MAX_TAGS + 1;
    assert_int_equal(settings_check_arm(&a, &d), ERR_OUT_OF_RANGE);
    a = good;
    strcpy(a.tags[1], "tier/large");
    assert_int_equal(settings_check_arm(&a, &d), ERR_INVALID);
    a = good;
    a.prior_z[2] = 1.5;
    assert_int_equal(settings_check_arm(&a, &d), ERR_OUT_OF_RANGE);
    a = good;
    a.prior_raw[2] = (double)NAN;
    assert_int_equal(settings_check_arm(&a, &d), ERR_NOT_FINITE);
    a = good;
    memset(a.description, 'x', sizeof a.description);
    assert_int_equal(settings_check_arm(&a, &d), ERR_TOO_LARGE);
    a = good;
    strcpy(a.description, "red \033[31m");
    assert_int_equal(settings_check_arm(&a, &d), ERR_INVALID);
    a = good;
    a.name[0] = '\0';
    assert_int_equal(settings_check_arm(&a, &d), ERR_BAD_NAME);
}

static void normalising_is_linear_or_logarithmic_and_saturates(void **unused)
{
    (void)unused;
    struct metric_def m = {.name = "m", .min = -1e308, .max = 1e308, .norm_low = 2, .norm_high = 6};
    assert_true(metric_normalise(&m, 3) == .25);
    assert_true(metric_normalise(&m, -1e308) == 0);
    assert_true(metric_normalise(&m, 1e308) == 1);
    m.logarithmic = true;
    m.norm_low = .001;
    m.norm_high = 10;
    /* Two of four decades; libm's log is good to an ulp. */
    assert_close(metric_normalise(&m, .1), .5, 1e-12);
    assert_true(metric_normalise(&m, 0) == 0);
    assert_true(metric_normalise(&m, -5) == 0);
    assert_true(metric_normalise(&m, 11) == 1);
    m.norm_high = nextafter(m.norm_low, 1);
    assert_true(metric_normalise(&m, m.norm_high) == 1);
    assert_true(metric_normalise(&m, m.norm_low) == 0);
}

static void a_reported_value_is_refused_outside_its_range_never_clamped(void **unused)
{
    (void)unused;
    struct router_config c;
    struct err_detail d;
    settings_defaults(&c, "r");
    assert_int_equal(metric_check_value(&c.metrics[0], 0, &d), OK);
    assert_int_equal(metric_check_value(&c.metrics[0], 1, &d), OK);
    assert_int_equal(metric_check_value(&c.metrics[0], 1.0001, &d), ERR_OUT_OF_RANGE);
    assert_non_null(strstr(d.text, "reward"));
    assert_non_null(strstr(d.text, "[0, 1]"));
    assert_int_equal(metric_check_value(&c.metrics[0], (double)NAN, &d), ERR_NOT_FINITE);
    assert_int_equal(metric_check_value(&c.metrics[2], (double)INFINITY, &d), ERR_NOT_FINITE);
    assert_int_equal(metric_check_value(&c.metrics[2], DBL_MAX, &d), ERR_OUT_OF_RANGE);
    assert_true(metric_sign(&c.metrics[0]) == 1);
    assert_true(metric_sign(&c.metrics[2]) == -1);
}

static void the_blocks_of_a_context_follow_one_another(void **unused)
{
    (void)unused;
    struct feature_spec s = {.task_slots = 3, .scalars = true, .features_n = 5, .embedding_n = 768};
    assert_int_equal(spec_task_at(&s), 1);
    assert_int_equal(spec_scalars_at(&s), 4);
    assert_int_equal(spec_features_at(&s), 4 + SCALARS_N);
    assert_int_equal(spec_embedding_at(&s), 4 + SCALARS_N + 5);
    assert_int_equal(spec_d(&s), 4 + SCALARS_N + 5 + EMBEDDING_D);
    char text[128];
    spec_describe(&s, text, sizeof text);
    assert_string_equal(text, "ctx.v0 bias task=3 scalars=9 features=5 embedding=768");
    assert_true(spec_hash(&s) == hash_bytes(text, strlen(text)));
    struct feature_spec bare = {0}, bare_v1 = {.version = 1};
    assert_int_equal(spec_d(&bare), 1);
    assert_true(spec_hash(&bare) != spec_hash(&s));
    assert_true(spec_hash(&bare) != spec_hash(&bare_v1));
    struct feature_spec v1 = {.version = 1,
                              .task_slots = 3,
                              .scalars = true,
                              .agent = true,
                              .text_block = true,
                              .features_n = 5};
    assert_int_equal(spec_agent_at(&v1), 4 + SCALARS_V1_N);
    assert_int_equal(spec_features_at(&v1), 4 + SCALARS_V1_N + AGENT_N);
    assert_int_equal(spec_embedding_at(&v1), 4 + SCALARS_V1_N + AGENT_N + 5);
    assert_int_equal(spec_d(&v1), 4 + SCALARS_V1_N + AGENT_N + 5 + TEXT_BLOCK_N);
    spec_describe(&v1, text, sizeof text);
    assert_string_equal(text, "ctx.v1 bias task=3 scalars=12 agent=8 features=5 text=16.1 "
                              "embedding=0");
    struct feature_spec projected = {.version = 1, .embedding_n = 4, .projection_hash = 255};
    struct feature_spec signs = {.version = 1, .embedding_n = 4};
    char longest[SPEC_TEXT_CAP];
    memcpy(projected.projection, "minilm", 7);
    spec_describe(&projected, longest, sizeof longest);
    assert_string_equal(longest, "ctx.v1 bias task=0 scalars=0 agent=0 features=0 text=0 "
                                 "embedding=4 projection=minilm:00000000000000ff");
    assert_true(spec_hash(&projected) != spec_hash(&signs));
    uint64_t hash = spec_hash(&projected);
    projected.projection_hash++;
    assert_true(spec_hash(&projected) != hash);
    projected = (struct feature_spec){.version = 1,
                                      .task_slots = 64,
                                      .scalars = true,
                                      .agent = true,
                                      .features_n = 395,
                                      .embedding_n = 8192,
                                      .projection_hash = UINT64_MAX};
    memset(projected.projection, 'n', NAME_CAP - 1);
    spec_describe(&projected, longest, sizeof longest);
    assert_true(strlen(longest) + 1 < sizeof longest); /* Whole: it ends with the hash. */
    assert_non_null(strstr(longest, ":ffffffffffffffff"));
}

static void a_projection_without_an_embedding_is_refused(void **unused)
{
    (void)unused;
    struct router_config c;
    struct err_detail detail;
    settings_defaults(&c, "r");
    c.spec.text_block = false;
    memcpy(c.spec.projection, "minilm", 7);
    assert_int_equal(settings_check(&c, &detail), ERR_INVALID);
    assert_non_null(strstr(detail.text, "embedding_n"));
    c.spec.embedding_n = 384;
    assert_int_equal(settings_check(&c, &detail), OK);
}

/* Every choice of blocks: the blocks cover x without gap, and no two choices share a hash. */
static void every_choice_of_blocks_has_its_own_layout_and_hash(void **unused)
{
    (void)unused;
    uint64_t hashes[128];
    size_t n = 0;
    for (uint32_t bits = 0; bits < 128; bits++) {
        struct feature_spec s = {.version = bits & 1,
                                 .task_slots = bits & 2 ? 4 : 0,
                                 .scalars = bits >> 2 & 1,
                                 .agent = bits >> 3 & 1,
                                 .text_block = bits >> 4 & 1,
                                 .features_n = bits & 32 ? 2 : 0,
                                 .embedding_n = bits & 64 ? 100 : 0};
        struct router_config c;
        settings_defaults(&c, "r");
        c.spec = s;
        if (settings_check(&c, NULL) != OK)
            continue;
        struct spec_block blocks[SPEC_BLOCKS_MAX];
        uint32_t at = 0, blocks_n = spec_blocks(&s, blocks);
        assert_in_range(blocks_n, 1, SPEC_BLOCKS_MAX);
        for (uint32_t i = 0; i < blocks_n; i++) {
            assert_int_equal(blocks[i].at, at);
            assert_true(blocks[i].n > 0);
            at += blocks[i].n;
        }
        assert_int_equal(at, spec_d(&s));
        hashes[n] = spec_hash(&s);
        for (size_t i = 0; i < n; i++)
            assert_true(hashes[i] != hashes[n]);
        n++;
    }
    /* v0: 4 choices (task, scalars, features, embedding) = 16; v1: 3 and an agent block, with text,
     * embedding or neither = 48. */
    assert_int_equal(n, 64);
}

static void a_metric_is_found_by_its_whole_name_only(void **unused)
{
    (void)unused;
    struct router_config c;
    settings_defaults(&c, "r");
    assert_int_equal(settings_metric_index(&c, "quality", 7), 1);
    assert_int_equal(settings_metric_index(&c, "quality", 6), -1);
    assert_int_equal(settings_metric_index(&c, "qualityx", 8), -1);
    assert_int_equal(settings_metric_index(&c, "", 0), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_defaults_pass_their_own_check),
        cmocka_unit_test(each_setting_out_of_range_is_refused_by_name),
        cmocka_unit_test(a_spec_or_table_out_of_range_is_refused_by_name),
        cmocka_unit_test(names_said_twice_or_without_an_end_are_refused),
        cmocka_unit_test(an_arm_is_checked_like_a_router),
        cmocka_unit_test(normalising_is_linear_or_logarithmic_and_saturates),
        cmocka_unit_test(a_reported_value_is_refused_outside_its_range_never_clamped),
        cmocka_unit_test(the_blocks_of_a_context_follow_one_another),
        cmocka_unit_test(a_projection_without_an_embedding_is_refused),
        cmocka_unit_test(every_choice_of_blocks_has_its_own_layout_and_hash),
        cmocka_unit_test(a_metric_is_found_by_its_whole_name_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
