#include "server/route/features.h"

#include "server/route/flesch.h"
#include "server/route/text_block.h"
#include "state/base/mem.h"
#include "state/base/rng.h"
#include "tests/unit/cmocka_all.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* From a block of exactly the text's size, for the address sanitizer. */
/* cmocka's own comparison rounds to float. */
static void assert_close(double a, double b, double tolerance)
{
    assert_true(fabs(a - b) <= tolerance);
}

static void scalars_of(const char *text, size_t len, double *ret)
{
    char *copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, text, len);
    features_scalars((struct slice){copy, len}, ret);
    free(copy);
}

#define ASSERT_SCALARS(text, ...)                                                                  \
    do {                                                                                           \
        const double want_[SCALARS_N] = {__VA_ARGS__};                                             \
        double got_[SCALARS_N];                                                                    \
        scalars_of(text, sizeof(text) - 1, got_);                                                  \
        for (int i_ = 0; i_ < SCALARS_N; i_++)                                                     \
            assert_close(got_[i_], want_[i_], 1e-12); /* A rounding of libm. */                    \
    } while (0)

static void scalars_are_what_a_hand_counts(void **unused)
{
    (void)unused;
    /* Words: What is 3 14 2 I don't know. Symbols: . + ? . Visible: 24. The point in 3.14 ends
     * nothing. */
    ASSERT_SCALARS("What is 3.14 + 2? I don't know.", log(1 + 12.), 4, log(2), .5, 4 / 24., 1 / 24.,
                   0, 0, 0);
    /* An empty line ends a sentence, a trailing newline begins no line, a long word is two tokens.
     */
    ASSERT_SCALARS("Heading\n\nDiscombobulated\n", log(1 + 3.), 1, log(4), 0, 0, 0, 0, 0, 0);
    /* A row of one sign is one token; a closing quote belongs to the sentence it closes. */
    ASSERT_SCALARS("\"Go.\" Stop ----", log(1 + 6.), 1, log(2), 0, 0, 0, 0, 0, 0);
    ASSERT_SCALARS("", 0, 0, 0, 0, 0, 0, 0, 0, 0);
    ASSERT_SCALARS(" \t\r\n", 0, 0, log(2), 0, 0, 0, 0, 0, 0);
}

static void scripts_without_spaces_are_counted_by_their_characters(void **unused)
{
    (void)unused;
    /* 9 ideographs, 2 marks that end a sentence without a space. */
    ASSERT_SCALARS("你好。今天天气怎么样？", log(1 + 11.), 4.5, log(2), .5, 0, 0, 0, 0, 9 / 11.);
    /* Cyrillic has words, and is not latin; accents are. */
    ASSERT_SCALARS("Привет мир", log(1 + 2.), 2, log(2), 0, 0, 0, 0, 0, 1);
    ASSERT_SCALARS("Déjà vu", log(1 + 2.), 2, log(2), 0, 0, 0, 0, 0, 0);
    ASSERT_SCALARS("x ≤ 2×y", log(1 + 5.), 3, log(2), 0, 1 / 5., 2 / 5., 0, 0, 0);
}

static void bytes_that_are_not_utf8_count_one_by_one_as_non_latin(void **unused)
{
    (void)unused;
    static const struct {
        const char *bytes;
        size_t len, invalid;
    } cases[] = {
        {"\xff\xfe", 2, 2},
        {"\xc0\x80", 2, 2},
        {"\xc1\xbf", 2, 2},
        {"\xed\xa0\x80", 3, 3},
        {"\xe0\x80\x80", 3, 3},
        {"\xf4\x90\x80\x80", 4, 4},
        {"\xe4\xbd", 2, 2},
        {"\xf0\x9f\x98", 3, 3},
        {"\x80", 1, 1},
        {"\xe4\x41\x42", 3, 1},
        {"\xc3", 1, 1},
        {"\xf0\x80\x80\x80", 4, 4},
        {"\xf5\x80\x80\x80", 4, 4},
        {"\xf0\x9f\x98\x80", 4, 0},
        {"\xef\xbf\xbd", 3, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[8] = "ab";
        double s[SCALARS_N];
        memcpy(text + 2, cases[i].bytes, cases[i].len);
        scalars_of(text, 2 + cases[i].len, s);
        /* a b, the invalid ones, and what is left as good characters. */
        double good = cases[i].invalid == cases[i].len ? 0 : cases[i].invalid ? 2 : 1;
        double invalid = (double)cases[i].invalid;
        assert_close(s[8], invalid / (2 + good + invalid), 1e-12);
    }
}

static double code_flag(const char *text)
{
    double s[SCALARS_N];
    scalars_of(text, strlen(text), s);
    return s[6];
}

static void code_is_told_from_prose(void **unused)
{
    (void)unused;
    assert_true(code_flag("def f(x):\n    '''Doc.'''\n") == 1);
    assert_true(code_flag("Fix this:\n```\nx\n```\n") == 1);
    assert_true(code_flag("int main(void)\n{\n    return 0;\n}\n") == 1);
    assert_true(code_flag("#include <stdio.h>") == 1);
    assert_true(code_flag("SELECT a\nFROM b;\n") == 1);
    assert_true(code_flag("He came; he saw;\nhe conquered.") == 0);
    assert_true(code_flag("Please return my call;") == 0);
    assert_true(code_flag("Define a class of functions.\nImport duties rise.") == 0);
}

static void lines_that_offer_answers_are_counted(void **unused)
{
    (void)unused;
    double s[SCALARS_N];
    const char *text =
        "Pick one:\nA. red\n  b) blue\n(C) green\nD: black\r\nE.\nK. no\nA.b\nAn egg\n(";
    scalars_of(text, strlen(text), s);
    assert_true(s[7] == 5);
}

static void a_mebibyte_of_one_byte_is_taken(void **unused)
{
    (void)unused;
    enum { SIZE = 1 << 20 };
    char *text = malloc(SIZE);
    assert_non_null(text);
    const char bytes[] = {'a', '\n', '?', '\xff', '\xe4', 0, '1'};
    for (size_t i = 0; i < sizeof bytes; i++) {
        memset(text, bytes[i], SIZE);
        double s[SCALARS_N];
        features_scalars((struct slice){text, SIZE}, s);
        for (int k = 0; k < SCALARS_N; k++)
            assert_true(isfinite(s[k]));
        if (bytes[i] == 'a')
            assert_close(s[0], log1p(SIZE / 8), 1e-12);
        if (bytes[i] == '\n')
            assert_close(s[2], log1p(SIZE), 1e-12);
        if (bytes[i] == '?')
            assert_true(s[3] == SIZE);
        if (bytes[i] == '\xff')
            assert_true(s[8] == 1);
    }
    free(text);
}

static const struct feature_spec whole = {
    .task_slots = 4, .scalars = true, .features_n = 3, .embedding_n = 8};
enum { WHOLE_D = 1 + 4 + SCALARS_N + 3 + EMBEDDING_D };

static void each_block_stands_where_the_layout_says(void **unused)
{
    (void)unused;
    assert_int_equal(spec_d(&whole), WHOLE_D);
    const float features[3] = {-1e6F, .5F, 1e6F}, embedding[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    struct feature_input in = {.text = {"Why?", 4},
                               .task_slot = 2,
                               .features = features,
                               .features_n = 3,
                               .embedding = embedding,
                               .embedding_n = 8};
    float x[WHOLE_D], again[WHOLE_D];
    assert_int_equal(features_fill(&whole, &in, x, NULL), OK);
    assert_true(x[0] == 1);
    for (int i = 0; i < 4; i++)
        assert_true(x[1 + i] == (i == 2 ? 1.F : 0.F));
    for (int i = 0; i < SCALARS_N; i++)
        assert_true(x[5 + i] != 0 && fabsf(x[5 + i]) <= .5F);
    assert_memory_equal(x + 5 + SCALARS_N, features, sizeof features);
    assert_int_equal(features_fill(&whole, &in, again, NULL), OK);
    assert_memory_equal(x, again, sizeof x);
}

static void what_is_absent_is_all_zero(void **unused)
{
    (void)unused;
    struct feature_input in = {.task_slot = -1};
    float x[WHOLE_D];
    memset(x, 0xff, sizeof x);
    assert_int_equal(features_fill(&whole, &in, x, NULL), OK);
    assert_true(x[0] == 1);
    for (int i = 1; i < WHOLE_D; i++)
        assert_true(x[i] == 0);
    const float zeros[8] = {0}; /* An embedding of length 0 points nowhere. */
    in.embedding = zeros;
    in.embedding_n = 8;
    assert_int_equal(features_fill(&whole, &in, x, NULL), OK);
    for (int i = 1; i < WHOLE_D; i++)
        assert_true(x[i] == 0);
}

static void extreme_texts_stay_within_three_deviations(void **unused)
{
    (void)unused;
    static char text[100000];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = "A) 1?;\n+"[i % 8];
    const struct feature_spec spec = {.scalars = true};
    struct feature_input in = {.text = {text, sizeof text}, .task_slot = -1};
    float x[1 + SCALARS_N];
    assert_int_equal(features_fill(&spec, &in, x, NULL), OK);
    float largest = 0;
    for (int i = 1; i <= SCALARS_N; i++)
        largest = fmaxf(largest, fabsf(x[i]));
    assert_true(largest == .5F); /* 3 * .5 / sqrt(9): something is clipped, nothing is beyond. */
}

/* The refusal's code, and a sentence that holds `word`; x is left alone. */
static void assert_refused(const struct feature_input *in, enum err code, const char *word)
{
    float x[WHOLE_D];
    for (int i = 0; i < WHOLE_D; i++)
        x[i] = 42;
    struct err_detail detail = {""};
    assert_int_equal(features_fill(&whole, in, x, &detail), code);
    assert_non_null(strstr(detail.text, word));
    for (int i = 0; i < WHOLE_D; i++)
        assert_true(x[i] == 42);
}

static void wrong_numbers_are_refused_and_named(void **unused)
{
    (void)unused;
    float v[9] = {0};
    assert_refused(&(struct feature_input){.task_slot = -1, .features = v, .features_n = 2},
                   ERR_WRONG_DIMENSION, "exactly 3");
    assert_refused(&(struct feature_input){.task_slot = -1, .embedding = v, .embedding_n = 9},
                   ERR_WRONG_DIMENSION, "exactly 8");
    assert_refused(&(struct feature_input){.task_slot = 4}, ERR_OUT_OF_RANGE, "slot 4");
    v[1] = NAN;
    assert_refused(&(struct feature_input){.task_slot = -1, .features = v, .features_n = 3},
                   ERR_NOT_FINITE, "features[1]");
    assert_refused(&(struct feature_input){.task_slot = -1, .embedding = v, .embedding_n = 8},
                   ERR_NOT_FINITE, "embedding[1]");
    v[1] = -INFINITY;
    assert_refused(&(struct feature_input){.task_slot = -1, .embedding = v, .embedding_n = 8},
                   ERR_NOT_FINITE, "embedding[1]");
    v[1] = 0;
    v[2] = -1000001;
    assert_refused(&(struct feature_input){.task_slot = -1, .features = v, .features_n = 3},
                   ERR_OUT_OF_RANGE, "features[2]");
}

static void an_embedding_keeps_its_direction_and_about_its_length(void **unused)
{
    (void)unused;
    enum { N = 384, TRIALS = 200 };
    const struct feature_spec spec = {.embedding_n = N};
    static float e[N], large[N];
    double squares = 0;
    for (uint64_t t = 0; t < TRIALS; t++) {
        float x[1 + EMBEDDING_D], y[1 + EMBEDDING_D];
        for (uint64_t j = 0; j < N; j++) {
            e[j] = (float)rng_uniform(t, j) - .5F;
            large[j] = e[j] * 1e30F; /* Squares beyond float. */
        }
        struct feature_input in = {.task_slot = -1, .embedding = e, .embedding_n = N};
        assert_int_equal(features_fill(&spec, &in, x, NULL), OK);
        in.embedding = large;
        assert_int_equal(features_fill(&spec, &in, y, NULL), OK);
        for (int k = 1; k <= EMBEDDING_D; k++) {
            assert_close((double)x[k], (double)y[k], 1e-5); /* 384 float roundings. */
            squares += (double)x[k] * (double)x[k];
        }
    }
    /* The squared length of one projection is 1 with deviation sqrt(2/32) = .25; of 200, .018. */
    assert_close(squares / TRIALS, 1, .09);
}

/* ---- ctx.v1 ---- */

static const struct feature_spec whole_v1 = {.version = 1,
                                             .task_slots = 4,
                                             .scalars = true,
                                             .agent = true,
                                             .text_block = true,
                                             .features_n = 3};
enum {
    V1_SCALARS = 1 + 4,
    V1_AGENT = V1_SCALARS + SCALARS_V1_N,
    V1_FEATURES = V1_AGENT + AGENT_N,
    V1_TEXT = V1_FEATURES + 3,
    V1_D = V1_TEXT + TEXT_BLOCK_N
};

static double length_of(const float *x, int n)
{
    double squares = 0;
    for (int i = 0; i < n; i++)
        squares += (double)x[i] * (double)x[i];
    return sqrt(squares);
}

static void each_block_of_v1_stands_where_the_layout_says(void **unused)
{
    (void)unused;
    const float features[3] = {-1, 2, 3};
    struct feature_input in = {
        .text = {"Translate the good news into French, please.", 44},
        .task_slot = 3,
        .features = features,
        .features_n = 3,
        .agent = {.turn = 100, .json_required = true},
    };
    float x[V1_D], block[TEXT_BLOCK_N];
    assert_int_equal(spec_d(&whole_v1), V1_D);
    assert_int_equal(features_fill(&whole_v1, &in, x, NULL), OK);
    assert_true(x[0] == 1);
    for (int i = 0; i < 4; i++)
        assert_true(x[1 + i] == (i == 3 ? 1.F : 0.F));
    assert_true(length_of(x + V1_SCALARS, 10) > 0);
    const float s = .5F / sqrtf(8);
    assert_close((double)x[V1_AGENT], (double)s, 1e-7);
    for (int i = 1; i < AGENT_N; i++)
        assert_close((double)x[V1_AGENT + i], i == 6 ? (double)s : 0, 1e-7);
    assert_memory_equal(x + V1_FEATURES, features, sizeof features);
    text_block(in.text, block);
    assert_true(length_of(block, TEXT_BLOCK_N) > 0);
    assert_memory_equal(x + V1_TEXT, block, sizeof block);
}

static void a_label_of_the_caller_beats_the_classifier_and_both_beat_nothing(void **unused)
{
    (void)unused;
    const float p[4] = {.1F, .2F, .3F, .4F};
    struct feature_input in = {.task_slot = -1, .task_p = p};
    float x[V1_D];
    assert_int_equal(features_fill(&whole_v1, &in, x, NULL), OK);
    assert_memory_equal(x + 1, p, sizeof p);
    in.task_slot = 1;
    assert_int_equal(features_fill(&whole_v1, &in, x, NULL), OK);
    for (int i = 0; i < 4; i++)
        assert_true(x[1 + i] == (i == 1 ? 1.F : 0.F));
    in = (struct feature_input){.task_slot = -1};
    assert_int_equal(features_fill(&whole_v1, &in, x, NULL), OK);
    for (int i = 1; i < V1_D; i++) /* Not even turns: none is as good as not said. */
        assert_true(x[i] == 0);
    /* ctx.v0 has labels only. */
    float old[WHOLE_D];
    in.task_p = p;
    assert_int_equal(features_fill(&whole, &in, old, NULL), OK);
    for (int i = 1; i < WHOLE_D; i++)
        assert_true(old[i] == 0);
}

static void an_embedding_takes_the_place_of_the_text_block(void **unused)
{
    (void)unused;
    const struct feature_spec v0 = {.embedding_n = 8}, v1 = {.version = 1, .embedding_n = 8};
    const float e[8] = {1, -2, 3, -4, 5, -6, 7, -8};
    struct feature_input in = {.text = {"words", 5}, .task_slot = -1, .embedding = e};
    float x[1 + EMBEDDING_D], y[1 + EMBEDDING_D];
    in.embedding_n = 8;
    assert_int_equal(features_fill(&v0, &in, x, NULL), OK);
    assert_int_equal(features_fill(&v1, &in, y, NULL), OK);
    assert_memory_equal(x, y, sizeof x);
}

static void more_of_a_run_is_a_larger_number_up_to_full(void **unused)
{
    (void)unused;
    const double limit = .5 / sqrt(AGENT_N) + 1e-7; /* A rounding to float. */
    float before[AGENT_N] = {0};
    for (uint32_t v = 1; v != 0; v *= 2) { /* Up to 2^31, past every "full". */
        struct feature_agent a = {v, v, v, v, v, v, v > 2, v > 2};
        float now[AGENT_N];
        feature_agent_fill(&a, now);
        for (int i = 0; i < AGENT_N; i++) {
            assert_true(now[i] >= before[i] && (double)now[i] <= limit);
            assert_true(v >= 64 || i > 5 || now[i] > before[i] || now[i] == now[6]);
        }
        memcpy(before, now, sizeof now);
    }
    struct feature_agent most = {UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT64_MAX,
                                 UINT32_MAX, UINT32_MAX, true,       true};
    float x[AGENT_N];
    feature_agent_fill(&most, x);
    assert_close(length_of(x, AGENT_N), .5, 1e-6);
}

static void the_scalars_of_v1_are_those_of_v0_with_ease_turns_and_images(void **unused)
{
    (void)unused;
    const struct feature_spec v0 = {.scalars = true}, v1 = {.version = 1, .scalars = true};
    struct feature_input in = {.text = {"Name 3 rivers. Why these?", 25}, .task_slot = -1};
    float old[1 + SCALARS_N], new[1 + SCALARS_V1_N];
    in.agent = (struct feature_agent){.turn = 2, .tool_step = 9, .images = 7};
    assert_int_equal(features_fill(&v0, &in, old, NULL), OK);
    assert_int_equal(features_fill(&v1, &in, new, NULL), OK);
    /* The same z, times another block's scale. */
    const double ratio = sqrt((double)SCALARS_V1_N / SCALARS_N);
    assert_close((double)new[1] * ratio, (double)old[1], 1e-6);
    for (int i = 1; i < SCALARS_N; i++)
        assert_close((double)new[2 + i] * ratio, (double)old[1 + i], 1e-6);
    const double s = .5 / sqrt(SCALARS_V1_N);
    assert_close((double)new[2], s * (flesch_ease(in.text) - 67.9) / 23.53, 1e-6);
    assert_close((double)new[11], s * log(10) / 2.398, 1e-6); /* The larger of the two. */
    assert_close((double)new[12], s, 1e-6);
}

static void every_text_stays_within_the_bounds_of_its_blocks(void **unused)
{
    (void)unused;
    static char text[1 << 20];
    static const char *const units[] = {
        "a", "\xff", "A) 1?;\n+", "the cat sat. ", "\xe4\xbd\xa0", "def f(x):\n"};
    for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
        size_t len = strlen(units[u]);
        for (size_t i = 0; i < sizeof text; i++)
            text[i] = units[u][i % len];
        for (size_t n = 1; n <= sizeof text; n *= 4) {
            struct feature_input in = {.text = {text, n}, .task_slot = -1};
            float x[V1_D];
            assert_int_equal(features_fill(&whole_v1, &in, x, NULL), OK);
            for (int i = 0; i < V1_D; i++)
                assert_true(isfinite(x[i]));
            assert_true(length_of(x + V1_SCALARS, SCALARS_V1_N) <= 1.5 + 1e-6);
            assert_true(length_of(x + V1_TEXT, TEXT_BLOCK_N) <= 2.8 + 1e-6);
        }
    }
}

static void assert_name(const struct router_config *c, uint32_t i, const char *want)
{
    char name[2 * NAME_CAP];
    features_name(c, i, name, sizeof name);
    assert_string_equal(name, want);
}

static void every_number_has_a_name(void **unused)
{
    (void)unused;
    static struct router_config c;
    settings_defaults(&c, "r");
    c.spec = whole_v1;
    c.tasks_n = 1;
    memcpy(c.tasks[0], "code", 5);
    assert_name(&c, 0, "bias");
    assert_name(&c, 1, "task.code");
    assert_name(&c, 2, "task.1");
    assert_name(&c, 4, "task.other");
    assert_name(&c, V1_SCALARS, "scalars.tokens");
    assert_name(&c, V1_SCALARS + 1, "scalars.flesch");
    assert_name(&c, V1_SCALARS + 11, "scalars.image");
    assert_name(&c, V1_AGENT + 7, "agent.tools_required");
    assert_name(&c, V1_FEATURES + 2, "features.2");
    assert_name(&c, V1_D - 1, "text.15");
    c.spec = (struct feature_spec){.scalars = true, .embedding_n = 3};
    assert_name(&c, 1, "scalars.tokens");
    assert_name(&c, 2, "scalars.sentence_words");
    assert_name(&c, 1 + SCALARS_N, "embedding.0");
}

static void a_context_is_made_without_an_allocation(void **unused)
{
    (void)unused;
    struct feature_input in = {.text = {"What is it?", 11}, .task_slot = -1};
    float x[V1_D];
    mem_fail_nth(0);
    long before = mem_count();
    assert_int_equal(features_fill(&whole_v1, &in, x, NULL), OK);
    assert_int_equal(mem_count(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalars_are_what_a_hand_counts),
        cmocka_unit_test(scripts_without_spaces_are_counted_by_their_characters),
        cmocka_unit_test(bytes_that_are_not_utf8_count_one_by_one_as_non_latin),
        cmocka_unit_test(code_is_told_from_prose),
        cmocka_unit_test(lines_that_offer_answers_are_counted),
        cmocka_unit_test(a_mebibyte_of_one_byte_is_taken),
        cmocka_unit_test(each_block_stands_where_the_layout_says),
        cmocka_unit_test(what_is_absent_is_all_zero),
        cmocka_unit_test(extreme_texts_stay_within_three_deviations),
        cmocka_unit_test(wrong_numbers_are_refused_and_named),
        cmocka_unit_test(an_embedding_keeps_its_direction_and_about_its_length),
        cmocka_unit_test(each_block_of_v1_stands_where_the_layout_says),
        cmocka_unit_test(a_label_of_the_caller_beats_the_classifier_and_both_beat_nothing),
        cmocka_unit_test(an_embedding_takes_the_place_of_the_text_block),
        cmocka_unit_test(more_of_a_run_is_a_larger_number_up_to_full),
        cmocka_unit_test(the_scalars_of_v1_are_those_of_v0_with_ease_turns_and_images),
        cmocka_unit_test(every_text_stays_within_the_bounds_of_its_blocks),
        cmocka_unit_test(every_number_has_a_name),
        cmocka_unit_test(a_context_is_made_without_an_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
