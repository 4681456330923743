#include "server/route/flesch.h"
#include "server/route/text_block.h"
#include "server/route/text_symbols.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/route/text16_reference.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { REFERENCES = sizeof text_reference / sizeof *text_reference };

static struct slice of(const char *text)
{
    return (struct slice){text, strlen(text)};
}

static bool is_zero(const float block[TEXT_D])
{
    for (int d = 0; d < TEXT_D; d++)
        if (block[d] != 0)
            return false;
    return true;
}

static double distance(const char *a, const char *b)
{
    float x[TEXT_D], y[TEXT_D];
    double squares = 0;
    text_block(of(a), x);
    text_block(of(b), y);
    for (int d = 0; d < TEXT_D; d++)
        squares += ((double)x[d] - (double)y[d]) * ((double)x[d] - (double)y[d]);
    return sqrt(squares);
}

static void the_table_in_the_program_is_the_one_that_was_built(void **unused)
{
    (void)unused;
    assert_int_equal(text_table_check(), OK);
}

static void pieces_are_those_of_the_reference(void **unused)
{
    (void)unused;
    static uint16_t ids[TEXT_TOKENS_MAX];
    for (size_t i = 0; i < REFERENCES; i++) {
        const struct text_reference *r = &text_reference[i];
        size_t n = text_tokens((struct slice){r->text, r->len}, ids, TEXT_TOKENS_MAX);
        assert_int_equal(n, r->ids_n);
        assert_memory_equal(ids, r->ids, n * sizeof *ids);
    }
}

static void vectors_are_those_of_the_reference(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < REFERENCES; i++) {
        const struct text_reference *r = &text_reference[i];
        float block[TEXT_D];
        text_block((struct slice){r->text, r->len}, block);
        /* Sums are of integers; what is left is the last digit of a float below 1. */
        for (int d = 0; d < TEXT_D; d++)
            assert_true(fabs((double)block[d] - r->block[d]) < 1e-6);
    }
}

/* Ids by hand from the vocabulary, so that the reference itself is held to something. */
static void a_known_sentence_has_its_known_pieces(void **unused)
{
    (void)unused;
    static const uint16_t hello[] = {341, 4125, 311}; /* "_Hel" "lo" "_world" */
    uint16_t ids[8];
    assert_int_equal(text_tokens(of("Hello world"), ids, 8), 3);
    assert_memory_equal(ids, hello, sizeof hello);
    assert_int_equal(text_tokens(of("Hello\nworld"), ids, 8), 3);
    assert_memory_equal(ids, hello, sizeof hello);
}

static void a_short_buffer_gets_the_first_pieces_and_the_whole_count(void **unused)
{
    (void)unused;
    uint16_t all[8], one[2] = {0, 77};
    size_t n = text_tokens(of("Hello world"), all, 8);
    assert_int_equal(text_tokens(of("Hello world"), one, 1), n);
    assert_int_equal(one[0], all[0]);
    assert_int_equal(one[1], 77);
    assert_int_equal(text_tokens(of("Hello world"), NULL, 0), n);
}

static void texts_of_one_subject_lie_nearer_than_texts_of_two(void **unused)
{
    (void)unused;
    const char *cook = "How do I bake a chocolate cake in the oven?";
    const char *bread = "Give me a recipe for bread with flour and butter.";
    const char *court = "Can the judge dismiss the lawsuit before the trial?";
    const char *law = "The attorney filed an appeal against the court's verdict.";
    assert_true(distance(cook, bread) < distance(cook, court));
    assert_true(distance(cook, bread) < distance(bread, law));
    assert_true(distance(court, law) < distance(cook, law));
    assert_true(distance(court, law) < distance(bread, court));
}

static void a_text_without_a_known_word_is_zero(void **unused)
{
    (void)unused;
    /* Nothing, spaces, Chinese, no UTF-8, a picture, letters that spell no word. */
    static const char *const texts[] = {
        "",
        " ",
        "\n\t",
        "\xe4\xbd\xa0\xe5\xa5\xbd\xef\xbc\x8c\xe4\xb8\x96\xe7\x95\x8c",
        "\xff\xfe",
        "\xf0\x9f\x98\x80",
        "xqzjkwvbfqxjzk"};
    float block[TEXT_D];
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        text_block(of(texts[i]), block);
        assert_true(is_zero(block));
    }
    text_block((struct slice){NULL, 0}, block);
    assert_true(is_zero(block));
    text_block(of("Good morning"), block);
    assert_false(is_zero(block));
}

static void strange_words_count_and_signs_do_not(void **unused)
{
    (void)unused;
    float block[TEXT_D];
    /* Two of five pieces unknown is 40 %, which is not more than 40 %; three of six is. */
    text_block(of("the cat sat \xe4\xbd\xa0\xe5\xa5\xbd"), block);
    assert_false(is_zero(block));
    text_block(of("the cat sat \xe4\xbd\xa0\xe5\xa5\xbd\xe5"), block);
    assert_true(is_zero(block));
    text_block(of("red, green, blue: (1), [2]; {3}!"), block);
    assert_false(is_zero(block));
}

static void forms_that_unicode_calls_the_same_are_the_same(void **unused)
{
    (void)unused;
    static const char *const same[][2] = {
        {"caf\xc3\xa9", "cafe\xcc\x81"},
        {"\xef\xbc\xa8\xef\xbd\x85\xef\xbd\x8c\xef\xbd\x8c\xef\xbd\x8f", "Hello"},
        {"\xef\xac\x81ne", "fine"},
        {"a\xc2\xa0"
         "b",
         "a b"},
        {"\xe1\xbb\x87", "e\xcc\x82\xcc\xa3"},
        {"\xe1\xbb\x87", "\xe1\xba\xb9\xcc\x82"},
        {"\xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab", "\xed\x95\x9c"},
    };
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        uint8_t a[16], b[16];
        size_t n = text_symbols((const uint8_t *)same[i][0], strlen(same[i][0]), a, sizeof a);
        assert_int_equal(
            n, text_symbols((const uint8_t *)same[i][1], strlen(same[i][1]), b, sizeof b));
        assert_memory_equal(a, b, n);
    }
}

static void put_word(char *at)
{
    for (size_t i = 0; i < 10; i++)
        at[i] = "parliament"[i];
}

/* The middle of a long text is not read; its first and last words are. */
static void a_long_text_is_its_two_ends(void **unused)
{
    (void)unused;
    enum { LONG = 1 << 20 };
    char *text = malloc(LONG);
    float whole[TEXT_D], changed[TEXT_D];
    assert_non_null(text);
    for (size_t i = 0; i < LONG; i++)
        text[i] = "harbour and moon "[i % 17];
    text_block((struct slice){text, LONG}, whole);
    put_word(text + LONG / 2);
    text_block((struct slice){text, LONG}, changed);
    assert_memory_equal(whole, changed, sizeof whole);
    put_word(text + 17);
    text_block((struct slice){text, LONG}, changed);
    assert_memory_not_equal(whole, changed, sizeof whole);
    memcpy(text + 17, text, 10);
    put_word(text + LONG - 17);
    text_block((struct slice){text, LONG}, changed);
    assert_memory_not_equal(whole, changed, sizeof whole);
    free(text);
}

static void every_length_around_the_windows_is_finite_and_bounded(void **unused)
{
    (void)unused;
    enum { MOST = TEXT_PREFIX + TEXT_SUFFIX + 70 };
    static const char *const fill[] = {
        "the moon ",        "x",        "\xc3\xa9", "\xe4\xbd\xa0", "\xef\xb7\xba",
        "\xf0\x9f\x98\x80", "\xcc\x81", " "};
    for (size_t f = 0; f < sizeof fill / sizeof *fill; f++) {
        for (size_t len = TEXT_PREFIX - 70; len < MOST; len++) {
            char *exact = malloc(len); /* So that the address sanitizer sees a read beyond it. */
            float block[TEXT_D];
            assert_non_null(exact);
            for (size_t i = 0; i < len; i++)
                exact[i] = fill[f][i % strlen(fill[f])];
            text_block((struct slice){exact, len}, block);
            for (int d = 0; d < TEXT_D; d++)
                assert_true(fabsf(block[d]) <= .7F);
            assert_true(text_tokens((struct slice){exact, len}, NULL, 0) <= TEXT_TOKENS_MAX);
            free(exact);
        }
    }
}

/* The linker leads this room's allocations here (--wrap in CMakeLists.txt). */
static size_t allocations;
void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);

void *__wrap_malloc(size_t size)
{
    allocations++;
    return __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    allocations++;
    return __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
    allocations++;
    return __real_realloc(p, size);
}

static void no_text_allocates(void **unused)
{
    (void)unused;
    float block[TEXT_D];
    uint16_t ids[8];
    void *one = malloc(1);
    assert_true(allocations > 0); /* That they are counted at all. */
    free(one);
    allocations = 0;
    for (size_t i = 0; i < REFERENCES; i++) {
        struct slice text = {text_reference[i].text, text_reference[i].len};
        text_block(text, block);
        (void)text_tokens(text, ids, 8);
        (void)flesch_ease(text);
    }
    assert_int_equal(allocations, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_in_the_program_is_the_one_that_was_built),
        cmocka_unit_test(pieces_are_those_of_the_reference),
        cmocka_unit_test(vectors_are_those_of_the_reference),
        cmocka_unit_test(a_known_sentence_has_its_known_pieces),
        cmocka_unit_test(a_short_buffer_gets_the_first_pieces_and_the_whole_count),
        cmocka_unit_test(texts_of_one_subject_lie_nearer_than_texts_of_two),
        cmocka_unit_test(a_text_without_a_known_word_is_zero),
        cmocka_unit_test(strange_words_count_and_signs_do_not),
        cmocka_unit_test(forms_that_unicode_calls_the_same_are_the_same),
        cmocka_unit_test(a_long_text_is_its_two_ends),
        cmocka_unit_test(every_length_around_the_windows_is_finite_and_bounded),
        cmocka_unit_test(no_text_allocates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
