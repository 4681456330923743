#include "server/route/classify.h"

#include "state/base/mem.h"
#include "tests/unit/cmocka_all.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char two_labels[] = "# what the labels mean\n"
                                 "fruit\tapples and pears ripen in autumn\n"
                                 "fruit\ta basket of ripe plums and cherries\n"
                                 "fruit\tpeel the orange and eat the banana\r\n"
                                 "\n"
                                 "iron\tforge the steel bar until it glows\n"
                                 "iron\tthe smith hammers a red hot horseshoe\n"
                                 "iron\tmolten metal runs out of the furnace\n";

static struct slice text_of(const char *s)
{
    return (struct slice){s, strlen(s)};
}

static struct classifier *trained(const char *examples)
{
    struct classifier *c = NULL;
    struct err_detail detail;
    assert_int_equal(classify_train(text_of(examples), &c, &detail), OK);
    return c;
}

static void assert_sums_to_1(const struct classifier *c, const float *p)
{
    float sum = 0;
    for (uint32_t l = 0; l < MAX_TASKS; l++) {
        assert_true(p[l] >= 0 && p[l] <= 1);
        assert_true(l < classify_labels_n(c) || p[l] == 0);
        sum += p[l];
    }
    assert_true(fabsf(sum - 1) < 1e-5F); /* A rounding for each of 64 labels. */
}

static void a_text_gets_the_label_of_the_examples_it_resembles(void **unused)
{
    (void)unused;
    struct classifier *c = trained(two_labels);
    float p[MAX_TASKS];
    assert_int_equal(classify_labels_n(c), 2);
    assert_int_equal(classify_examples_n(c), 6);
    assert_string_equal(classify_label(c, 0), "fruit");
    assert_string_equal(classify_label(c, 1), "iron");
    assert_true(classify_text(c, text_of("Ripe PEARS and a banana"), p));
    assert_true(p[0] > .7F);
    assert_sums_to_1(c, p);
    assert_true(classify_text(c, text_of("a hot furnace for the smith"), p));
    assert_true(p[1] > .7F);
    assert_sums_to_1(c, p);
    classify_free(c);
}

static void a_text_without_evidence_gets_all_labels_alike(void **unused)
{
    (void)unused;
    struct classifier *c = trained(two_labels);
    float p[MAX_TASKS];
    assert_true(classify_text(c, text_of("0123456789"), p));
    /* Ten digits share no gram with the examples, though a few may share a bucket of 16,384. */
    assert_true(fabsf(p[0] - .5F) < .1F);
    classify_free(c);
}

static void untrained_or_blank_it_abstains_with_zeros(void **unused)
{
    (void)unused;
    struct classifier *c = trained(two_labels);
    const char *blank[] = {"", " ", "\n\t \r\n"};
    float p[MAX_TASKS];
    for (size_t i = 0; i < 3; i++) {
        memset(p, 0xff, sizeof p);
        assert_false(classify_text(c, text_of(blank[i]), p));
        for (int l = 0; l < MAX_TASKS; l++)
            assert_true(p[l] == 0);
    }
    memset(p, 0xff, sizeof p);
    assert_false(classify_text(NULL, text_of("ripe plums"), p));
    for (int l = 0; l < MAX_TASKS; l++)
        assert_true(p[l] == 0);
    assert_int_equal(classify_labels_n(NULL), 0);
    assert_int_equal(classify_examples_n(NULL), 0);
    classify_free(NULL);
    classify_free(c);
}

static void the_same_examples_give_the_same_classifier(void **unused)
{
    (void)unused;
    struct classifier *a = trained(two_labels), *b = trained(two_labels);
    float p[MAX_TASKS], q[MAX_TASKS];
    assert_true(classify_text(a, text_of("an iron basket of plums"), p));
    assert_true(classify_text(b, text_of("an iron basket of plums"), q));
    assert_memory_equal(p, q, sizeof p);
    classify_free(a);
    classify_free(b);
}

static void escapes_stand_for_what_a_line_cannot_hold(void **unused)
{
    (void)unused;
    struct classifier *a = trained("x\tone\\ntwo\\tthree \\\\d\ny\tfour five six\n");
    struct classifier *b = trained("x\tone two three \\d\ny\tfour five six\n");
    float p[MAX_TASKS], q[MAX_TASKS];
    /* Any run of space is one space, so the two must agree; "\d" is no escape. */
    assert_true(classify_text(a, text_of("one two three \\d five"), p));
    assert_true(classify_text(b, text_of("one two three \\d five"), q));
    assert_memory_equal(p, q, sizeof p);
    classify_free(a);
    classify_free(b);
}

static void only_both_ends_of_a_long_text_are_looked_at(void **unused)
{
    (void)unused;
    enum { SIZE = 1 << 20 };
    struct classifier *c = trained(two_labels);
    char *text = malloc(SIZE);
    float ends[MAX_TASKS], p[MAX_TASKS];
    assert_non_null(text);
    memset(text, '7', SIZE);
    memcpy(text, "ripe plums ", 11);
    memcpy(text + SIZE - 7, " pears ", 7);
    assert_true(classify_text(c, (struct slice){text, SIZE}, ends));
    assert_true(ends[0] > .5F);
    memcpy(text + SIZE / 2, " the smith hammers ", 19); /* Outside of the window. */
    assert_true(classify_text(c, (struct slice){text, SIZE}, p));
    assert_memory_equal(p, ends, sizeof p);
    /* The last byte of the prefix and the first of the suffix are inside. */
    text[CLASSIFY_PREFIX_BYTES - 1] = 'q';
    assert_true(classify_text(c, (struct slice){text, SIZE}, p));
    assert_memory_not_equal(p, ends, sizeof p);
    text[CLASSIFY_PREFIX_BYTES - 1] = '7';
    text[SIZE - CLASSIFY_SUFFIX_BYTES] = 'q';
    assert_true(classify_text(c, (struct slice){text, SIZE}, p));
    assert_memory_not_equal(p, ends, sizeof p);
    free(text);
    classify_free(c);
}

static void any_bytes_give_probabilities(void **unused)
{
    (void)unused;
    struct classifier *c = trained(two_labels);
    static const size_t lengths[] = {1, 2, 3, 5, 100, 2047, 2048, 2049, 2051, 5000};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        for (int byte = 0; byte < 256; byte++) {
            /* Of exactly the text's size, for the address sanitizer. */
            char *text = malloc(lengths[i]);
            float p[MAX_TASKS];
            assert_non_null(text);
            memset(text, byte, lengths[i]);
            if (classify_text(c, (struct slice){text, lengths[i]}, p))
                assert_sums_to_1(c, p);
            else
                assert_true(byte <= ' ' || byte == 0x7f);
            free(text);
        }
    classify_free(c);
}

static void the_most_grams_that_a_window_can_hold_fit(void **unused)
{
    (void)unused;
    struct classifier *c = trained(two_labels);
    /* Words of one letter: a gram for nearly every character beside its three. */
    char text[CLASSIFY_PREFIX_BYTES + CLASSIFY_SUFFIX_BYTES];
    float p[MAX_TASKS];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)(i % 2 ? ' ' : 33 + i * i * 7 / 11 % 94);
    assert_true(classify_text(c, (struct slice){text, sizeof text}, p));
    assert_sums_to_1(c, p);
    classify_free(c);
}

static void assert_refused(const char *examples, size_t len, enum err code, const char *word)
{
    struct classifier *c = NULL;
    struct err_detail detail = {""};
    assert_int_equal(classify_train((struct slice){examples, len}, &c, &detail), code);
    assert_null(c);
    assert_non_null(strstr(detail.text, word));
    assert_null(strstr(detail.text, "secret")); /* Examples are prompts. */
}

#define ASSERT_REFUSED(text, code, word) assert_refused(text, sizeof(text) - 1, code, word)

static void a_wrong_line_is_refused_by_its_number(void **unused)
{
    (void)unused;
    ASSERT_REFUSED("a\tone\nsecret b two\n", ERR_PARSE, "line 2");
    ASSERT_REFUSED("a\tone\n#\n\nb secret\ttwo\n", ERR_BAD_NAME, "line 4");
    ASSERT_REFUSED("a\tone\n\tsecret\n", ERR_BAD_NAME, "line 2");
    ASSERT_REFUSED("a\tone\nb\t \n", ERR_PARSE, "line 2");
    ASSERT_REFUSED("a\tone\na\ttwo\n", ERR_PARSE, "1 labels");
    ASSERT_REFUSED("", ERR_PARSE, "0 labels");
    char many[MAX_TASKS * 16 + 64];
    size_t n = 0;
    for (int i = 0; i <= MAX_TASKS; i++)
        n += (size_t)snprintf(many + n, sizeof many - n, "l%d\tsecret\n", i);
    assert_refused(many, n, ERR_LIMIT, "line 65");
    char *large = calloc(1, CLASSIFY_BYTES_MAX + 1);
    assert_non_null(large);
    assert_refused(large, CLASSIFY_BYTES_MAX + 1, ERR_TOO_LARGE, "at most");
    free(large);
}

static void training_without_memory_leaves_nothing_behind(void **unused)
{
    (void)unused;
    long failed = 0;
    for (long n = 1;; n++) {
        struct classifier *c = NULL;
        struct err_detail detail;
        mem_fail_nth(n);
        enum err e = classify_train(text_of(two_labels), &c, &detail);
        mem_fail_nth(0);
        if (e == OK) {
            classify_free(c);
            break;
        }
        assert_int_equal(e, ERR_NOMEM);
        failed++;
    }
#ifdef SHUNT_FAULTS
    assert_true(failed >= 5);
#else
    (void)failed;
#endif
}

static void a_text_is_classified_without_an_allocation(void **unused)
{
    (void)unused;
    struct classifier *c = trained(two_labels);
    float p[MAX_TASKS];
    mem_fail_nth(0);
    long before = mem_count();
    assert_true(classify_text(c, text_of("ripe plums"), p));
    assert_int_equal(mem_count(), before);
    classify_free(c);
}

/* The sample is a starting point: it must at least know its own lines. */
static void the_sample_file_teaches_its_nine_labels(void **unused)
{
    (void)unused;
    FILE *f = fopen("deploy/sample/tasks.tsv", "rb");
    static char text[1 << 20];
    assert_non_null(f);
    size_t len = fread(text, 1, sizeof text - 1, f);
    assert_int_equal(fclose(f), 0);
    struct classifier *c = trained(text);
    uint32_t lines[MAX_TASKS] = {0}, right = 0, all = 0;
    assert_int_equal(classify_labels_n(c), 9);
    assert_true(len > 0 && text[0] == '#');
    for (char *save = NULL, *line = strtok_r(text, "\n", &save); line;
         line = strtok_r(NULL, "\n", &save)) {
        char *tab = strchr(line, '\t');
        float p[MAX_TASKS];
        if (line[0] == '#' || !tab)
            continue;
        *tab = '\0';
        assert_true(classify_text(c, text_of(tab + 1), p));
        uint32_t best = 0;
        for (uint32_t l = 1; l < 9; l++)
            best = p[l] > p[best] ? l : best;
        right += strcmp(classify_label(c, best), line) == 0;
        for (uint32_t l = 0; l < 9; l++)
            lines[l] += strcmp(classify_label(c, l), line) == 0;
        all++;
    }
    for (uint32_t l = 0; l < 9; l++)
        assert_true(lines[l] >= 20);
    assert_int_equal(right, all);
    classify_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_gets_the_label_of_the_examples_it_resembles),
        cmocka_unit_test(a_text_without_evidence_gets_all_labels_alike),
        cmocka_unit_test(untrained_or_blank_it_abstains_with_zeros),
        cmocka_unit_test(the_same_examples_give_the_same_classifier),
        cmocka_unit_test(escapes_stand_for_what_a_line_cannot_hold),
        cmocka_unit_test(only_both_ends_of_a_long_text_are_looked_at),
        cmocka_unit_test(any_bytes_give_probabilities),
        cmocka_unit_test(the_most_grams_that_a_window_can_hold_fit),
        cmocka_unit_test(a_wrong_line_is_refused_by_its_number),
        cmocka_unit_test(training_without_memory_leaves_nothing_behind),
        cmocka_unit_test(a_text_is_classified_without_an_allocation),
        cmocka_unit_test(the_sample_file_teaches_its_nine_labels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
