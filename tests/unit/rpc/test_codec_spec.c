#include "server/rpc/codec_spec.h"
#include "tests/unit/cmocka_all.h"

#include <string.h>

static char name[] = "r";

static enum err decode(const Shunt__V1__RouterSpec *m, struct router_config *ret,
                       struct err_detail *detail)
{
    detail->text[0] = '\0';
    return codec_spec_in(m, ret, detail);
}

static void an_empty_spec_is_what_the_contract_promises(void **state)
{
    (void)state;
    Shunt__V1__RouterSpec m = SHUNT__V1__ROUTER_SPEC__INIT;
    struct router_config c;
    struct err_detail detail;
    m.name = name;
    assert_int_equal(decode(&m, &c, &detail), OK);
    /* The figures of admin.proto's comments. */
    assert_true(c.settings.alpha == 1.5);
    assert_true(c.settings.ridge[METRIC_RATED][0] == 1 && c.settings.ridge[METRIC_RATED][1] == 20);
    assert_true(c.settings.ridge[METRIC_SERVED][0] == .1 &&
                c.settings.ridge[METRIC_SERVED][1] == 1);
    assert_true(c.settings.explore_floor == .01);
    assert_int_equal(c.settings.newcomer_pulls, 2);
    assert_int_equal(c.settings.newcomer_every, 3);
    assert_int_equal(c.settings.cooldown_failures, 5);
    assert_int_equal(c.settings.cooldown_window, 10);
    assert_true(c.settings.cooldown_s == 10 && c.settings.reward_wait_s == 86400);
    assert_int_equal(c.settings.dedup_max, 2000000);
    assert_int_equal(c.settings.decision_log, DECISION_LOG_KEEP_ALL);
    assert_true(c.settings.pooled_slopes && !c.settings.pooled_level);
    assert_true(c.settings.epsilon == .1);
    assert_true(c.settings.gamma == 1 && !c.settings.hybrid);
    assert_string_equal(c.settings.policy, "linucb");
    assert_string_equal(c.settings.fixed_arm, "");
    assert_string_equal(c.settings.split_policy, "");
    assert_true(c.settings.split_share == .5);
    assert_true(c.settings.split_alpha == -1 && c.settings.split_epsilon == -1);
    assert_int_equal(c.settings.mode, MODE_ONLINE);
    assert_string_equal(c.settings.baseline_arm, "");
    assert_int_equal(c.spec.task_slots, 16);
    assert_true(c.spec.scalars);
    assert_int_equal(c.metrics_n, 5);
    assert_string_equal(c.metrics[0].name, "reward");
    assert_true(c.metrics[0].weight == 1);
}

/* Specialists: what an operator does not say is what was measured for them. */
static void a_router_of_adapters_has_the_defaults_of_adapters_unless_it_says_otherwise(void **state)
{
    (void)state;
    Shunt__V1__RouterSpec m = SHUNT__V1__ROUTER_SPEC__INIT;
    Shunt__V1__RouterSettings s = SHUNT__V1__ROUTER_SETTINGS__INIT;
    Shunt__V1__Residency r = SHUNT__V1__RESIDENCY__INIT;
    struct router_config c;
    struct err_detail detail;
    char lru[] = "lru", bad[] = "fifo", none[] = "none", url[] = "http://gpu:8000";
    char *urls[] = {url, url};
    m.name = name;
    m.settings = &s;
    s.residency = &r;
    s.has_explore_floor = 1;
    s.explore_floor = .02;
    assert_int_equal(decode(&m, &c, &detail), OK);
    assert_true(c.settings.alpha == 1.25 && c.settings.explore_floor == .02);
    assert_true(c.settings.ridge[METRIC_RATED][0] == 1 && c.settings.ridge[METRIC_RATED][1] == .05);
    assert_int_equal(c.settings.newcomer_pulls, 0);
    assert_false(c.settings.pooled_slopes);
    assert_string_equal(c.settings.residency.policy, "polar");
    assert_int_equal(c.settings.residency.slots, 4);
    r.policy = lru;
    r.has_bytes = 1;
    r.bytes = 1 << 30;
    assert_int_equal(decode(&m, &c, &detail), OK);
    assert_int_equal(c.settings.residency.slots, 0);
    assert_true(c.settings.residency.bytes == 1 << 30);
    r.policy = bad;
    assert_int_equal(decode(&m, &c, &detail), ERR_INVALID);
    r.policy = NULL;
    r.n_replicas = 1;
    r.replicas = urls;
    assert_int_equal(decode(&m, &c, &detail), ERR_INVALID); /* Of which engine? */
    r.has_engine = 1;
    r.engine = SHUNT__V1__RESIDENCY_ENGINE__RESIDENCY_ENGINE_VLLM;
    assert_int_equal(decode(&m, &c, &detail), OK);
    assert_string_equal(c.settings.target.replicas[0], url);
    r.n_replicas = 2;
    assert_int_equal(decode(&m, &c, &detail), ERR_INVALID);
    r.policy = none;
    assert_int_equal(codec_settings_in(&s, &c.settings, &detail), OK);
    assert_int_equal(c.settings.residency.policy[0], 0);
    assert_int_equal(c.settings.target.replicas_n, 0);
}

static void absent_fields_of_a_metric_have_their_defaults(void **state)
{
    (void)state;
    Shunt__V1__Metric rated = SHUNT__V1__METRIC__INIT, served = SHUNT__V1__METRIC__INIT;
    Shunt__V1__Metric *list[] = {&rated, &served};
    Shunt__V1__RouterSpec m = SHUNT__V1__ROUTER_SPEC__INIT;
    char a[] = "a", b[] = "b";
    struct router_config c;
    struct err_detail detail;
    rated.name = a;
    rated.has_min = 1;
    rated.min = -1;
    rated.has_weight = 1;
    rated.weight = 1;
    served.name = b;
    served.has_group = 1;
    served.group = SHUNT__V1__METRIC_GROUP__GROUP_SERVED;
    m.name = name;
    m.metrics = list;
    m.n_metrics = 2;
    assert_int_equal(decode(&m, &c, &detail), OK);
    assert_int_equal(c.metrics_n, 2);
    assert_true(c.metrics[0].max == 1 && c.metrics[0].norm_low == -1 &&
                c.metrics[0].norm_high == 1);
    assert_false(c.metrics[0].lower_is_better || c.metrics[0].logarithmic);
    assert_int_equal(c.metrics[1].group, METRIC_SERVED);
    assert_true(c.metrics[1].min == 0 && c.metrics[1].max == 1e12 && c.metrics[1].weight == 0);
}

/* What is shown is what was declared, and declaring what is shown gives the same router again. */
static void a_spec_shown_and_declared_again_is_the_same(void **state)
{
    (void)state;
    Shunt__V1__RouterSettings settings = SHUNT__V1__ROUTER_SETTINGS__INIT;
    Shunt__V1__Metric metric = SHUNT__V1__METRIC__INIT, *metrics[] = {&metric};
    Shunt__V1__RouterSpec m = SHUNT__V1__ROUTER_SPEC__INIT;
    char policy[] = "fixed", cost[] = "cost", maths[] = "maths", code[] = "code",
         *tasks[] = {maths, code};
    struct router_config first, second;
    struct err_detail detail;
    struct arena arena;
    arena_init(&arena, 1 << 20);
    metric.name = cost;
    metric.has_better = metric.has_group = metric.has_normalise = metric.has_norm_low = 1;
    metric.has_weight = 1;
    metric.better = SHUNT__V1__BETTER__BETTER_LOWER;
    metric.group = SHUNT__V1__METRIC_GROUP__GROUP_SERVED;
    metric.normalise = SHUNT__V1__NORMALISATION__NORMALISATION_LOG;
    metric.norm_low = .001;
    metric.weight = .5;
    settings.has_alpha = settings.has_seed = settings.has_decision_log = 1;
    settings.has_pooled_slopes = settings.has_served_ridge_context = 1;
    settings.alpha = .25;
    settings.seed = 77;
    settings.decision_log = SHUNT__V1__DECISION_LOG__DECISION_LOG_OFF;
    settings.served_ridge_context = 7;
    settings.policy = policy;
    settings.fixed_arm = code;
    settings.has_epsilon = 1;
    settings.epsilon = .3;
    settings.has_gamma = settings.has_hybrid = settings.hybrid = 1;
    settings.has_pooled_level = settings.pooled_level = 1;
    settings.gamma = .95;
    settings.split_policy = policy;
    settings.split_fixed_arm = settings.baseline_arm = maths;
    settings.has_split_share = settings.has_split_alpha = settings.has_split_epsilon = 1;
    settings.split_share = .25;
    settings.split_alpha = 0;
    settings.split_epsilon = .5;
    settings.has_mode = 1;
    settings.mode = SHUNT__V1__ROUTER_MODE__MODE_APPRENTICE;
    m.name = name;
    m.metrics = metrics;
    m.n_metrics = 1;
    m.tasks = tasks;
    m.n_tasks = 2;
    m.has_task_slots = m.has_scalars = m.has_features_n = m.has_embedding_n = m.has_ephemeral = 1;
    m.task_slots = 4;
    m.features_n = 3;
    m.embedding_n = 384;
    m.projection = maths;
    m.ephemeral = 1;
    m.settings = &settings;
    memset(&first, 0, sizeof first);
    memset(&second, 0, sizeof second);
    assert_int_equal(decode(&m, &first, &detail), OK);
    Shunt__V1__RouterSpec *shown = codec_spec_out(&first, &arena);
    assert_non_null(shown);
    assert_int_equal(decode(shown, &second, &detail), OK);
    assert_memory_equal(&first.settings, &second.settings, sizeof first.settings);
    assert_memory_equal(&first.metrics, &second.metrics, sizeof first.metrics);
    assert_memory_equal(&first.spec, &second.spec, sizeof first.spec);
    assert_memory_equal(&first.tasks, &second.tasks, sizeof first.tasks);
    assert_int_equal(first.ephemeral, second.ephemeral);
    assert_true(second.settings.alpha == .25 && second.settings.seed == 77);
    assert_true(second.settings.gamma == .95 && second.settings.hybrid);
    assert_string_equal(second.settings.split_policy, "fixed");
    assert_string_equal(second.settings.split_fixed_arm, "maths");
    assert_true(second.settings.split_share == .25 && second.settings.split_alpha == 0);
    assert_true(second.settings.split_epsilon == .5);
    assert_int_equal(second.settings.mode, MODE_APPRENTICE);
    assert_string_equal(second.settings.baseline_arm, "maths");
    assert_false(second.spec.scalars);
    assert_string_equal(second.spec.projection, "maths");
    arena_done(&arena);
}

static void fields_too_wide_for_us_are_refused_and_not_cut(void **state)
{
    (void)state;
    Shunt__V1__RouterSpec m = SHUNT__V1__ROUTER_SPEC__INIT;
    struct router_config c;
    struct err_detail detail;
    m.name = name;
    m.has_features_n = 1;
    m.features_n = 65536 + 3;
    assert_int_equal(decode(&m, &c, &detail), ERR_OUT_OF_RANGE);
    assert_non_null(strstr(detail.text, "features_n"));
    m.has_features_n = 0;
    m.has_task_slots = 1;
    m.task_slots = 65;
    assert_int_equal(decode(&m, &c, &detail), ERR_OUT_OF_RANGE);
}

static void the_layout_of_the_context_is_asked_for_by_name(void **state)
{
    (void)state;
    Shunt__V1__RouterSpec m = SHUNT__V1__ROUTER_SPEC__INIT;
    struct router_config c, again;
    struct err_detail detail;
    char v0[] = "ctx.v0", v1[] = "ctx.v1", other[] = "ctx.v2";
    struct arena arena;
    arena_init(&arena, 1 << 16);
    m.name = name;
    m.context = v0;
    assert_int_equal(decode(&m, &c, &detail), OK);
    assert_true(c.spec.version == 0 && !c.spec.text_block && !c.spec.agent);
    m.context = v1;
    assert_int_equal(decode(&m, &c, &detail), OK);
    assert_true(c.spec.version == 1 && c.spec.text_block && !c.spec.agent);
    m.has_agent = m.agent = m.has_text_block = 1;
    assert_int_equal(decode(&m, &c, &detail), OK);
    assert_true(c.spec.agent && !c.spec.text_block);
    assert_int_equal(decode(codec_spec_out(&c, &arena), &again, &detail), OK);
    assert_memory_equal(&c.spec, &again.spec, sizeof c.spec);
    /* An embedding takes the text block's place, unless somebody asked for both. */
    m.has_text_block = 0;
    m.has_embedding_n = 1;
    m.embedding_n = 3;
    assert_int_equal(decode(&m, &c, &detail), OK);
    assert_false(c.spec.text_block);
    m.has_text_block = m.text_block = 1;
    assert_int_equal(decode(&m, &c, &detail), ERR_INVALID);
    assert_non_null(strstr(detail.text, "text_block"));
    m.has_text_block = m.has_embedding_n = 0;
    m.context = v0;
    assert_int_equal(decode(&m, &c, &detail), ERR_INVALID); /* The agent block. */
    m.context = other;
    assert_int_equal(decode(&m, &c, &detail), ERR_INVALID);
    assert_non_null(strstr(detail.text, "ctx.v2"));
    arena_done(&arena);
}

static void a_name_that_is_none_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "a b", "../x", "a\nb", "\xc3\xa9"};
    Shunt__V1__RouterSpec m = SHUNT__V1__ROUTER_SPEC__INIT;
    struct router_config c;
    struct err_detail detail;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[16];
        (void)strcpy(text, bad[i]);
        m.name = text;
        assert_int_equal(decode(&m, &c, &detail), ERR_BAD_NAME);
    }
}

static void an_arm_keeps_its_words_and_its_priors_in_their_unit(void **state)
{
    (void)state;
    struct router_config c;
    struct arm_config arm;
    struct err_detail detail;
    struct arena arena;
    char small[] = "small", *tags[] = {small}, words[] = "na\xc3\xafve", quality[] = "quality";
    Shunt__V1__ArmSpec__PriorsEntry prior = SHUNT__V1__ARM_SPEC__PRIORS_ENTRY__INIT;
    Shunt__V1__ArmSpec__PriorsEntry *priors[] = {&prior};
    Shunt__V1__ArmSpec m = SHUNT__V1__ARM_SPEC__INIT;
    arena_init(&arena, 1 << 16);
    settings_defaults(&c, "r");
    prior.key = quality;
    prior.has_value = 1;
    prior.value = .75;
    m.name = name;
    m.description = words;
    m.tags = tags;
    m.n_tags = 1;
    m.priors = priors;
    m.n_priors = 1;
    assert_int_equal(codec_arm_in(&m, &c, &arm, &detail), OK);
    Shunt__V1__ArmSpec *shown = codec_arm_out(&arm, &c, &arena);
    assert_non_null(shown);
    assert_string_equal(shown->description, words);
    assert_string_equal(shown->tags[0], "small");
    assert_int_equal(shown->n_priors, 1);
    assert_string_equal(shown->priors[0]->key, "quality");
    assert_true(shown->priors[0]->value == .75);
    prior.value = 1.5;
    assert_int_equal(codec_arm_in(&m, &c, &arm, &detail), ERR_OUT_OF_RANGE);
    prior.key = words;
    assert_int_equal(codec_arm_in(&m, &c, &arm, &detail), ERR_METRIC_NOT_FOUND);
    m.n_priors = 0;
    words[3] = 'x'; /* Half a character is left. */
    assert_int_equal(codec_arm_in(&m, &c, &arm, &detail), ERR_INVALID);
    arena_done(&arena);
}

static void descriptors_of_an_arm_come_back_and_absent_ones_stay_absent(void **state)
{
    (void)state;
    Shunt__V1__ArmSpec m = SHUNT__V1__ARM_SPEC__INIT;
    struct router_config c;
    struct arm_config arm, again;
    struct err_detail detail;
    struct arena arena;
    char family[] = "qwen";
    arena_init(&arena, 1 << 16);
    settings_defaults(&c, "r");
    m.name = name;
    m.family = family;
    m.has_size_b = m.has_price_in_usd = 1;
    m.size_b = 7.6;
    m.price_in_usd = 0; /* Free is known; absent is not. */
    assert_int_equal(codec_arm_in(&m, &c, &arm, &detail), OK);
    Shunt__V1__ArmSpec *shown = codec_arm_out(&arm, &c, &arena);
    assert_non_null(shown);
    assert_true(shown->has_size_b && shown->size_b == 7.6);
    assert_true(shown->has_price_in_usd && shown->price_in_usd == 0 && !shown->has_price_out_usd);
    assert_string_equal(shown->family, "qwen");
    assert_int_equal(codec_arm_in(shown, &c, &again, &detail), OK);
    assert_memory_equal(&arm, &again, sizeof arm);
    m.size_b = 0;
    assert_int_equal(codec_arm_in(&m, &c, &arm, &detail), ERR_OUT_OF_RANGE);
    assert_non_null(strstr(detail.text, "size_b"));
    m.size_b = 7.6;
    m.price_in_usd = -1;
    assert_int_equal(codec_arm_in(&m, &c, &arm, &detail), ERR_OUT_OF_RANGE);
    m.price_in_usd = 0;
    family[0] = ' ';
    assert_int_equal(codec_arm_in(&m, &c, &arm, &detail), ERR_BAD_NAME);
    assert_non_null(strstr(detail.text, "family"));
    arena_done(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_spec_is_what_the_contract_promises),
        cmocka_unit_test(absent_fields_of_a_metric_have_their_defaults),
        cmocka_unit_test(
            a_router_of_adapters_has_the_defaults_of_adapters_unless_it_says_otherwise),
        cmocka_unit_test(a_spec_shown_and_declared_again_is_the_same),
        cmocka_unit_test(fields_too_wide_for_us_are_refused_and_not_cut),
        cmocka_unit_test(the_layout_of_the_context_is_asked_for_by_name),
        cmocka_unit_test(a_name_that_is_none_is_refused),
        cmocka_unit_test(an_arm_keeps_its_words_and_its_priors_in_their_unit),
        cmocka_unit_test(descriptors_of_an_arm_come_back_and_absent_ones_stay_absent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
