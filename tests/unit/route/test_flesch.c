#include "server/route/flesch.h"
#include "tests/unit/cmocka_all.h"

#include <math.h>
#include <string.h>

static struct slice of(const char *text)
{
    return (struct slice){text, strlen(text)};
}

static uint32_t syllables(const char *word)
{
    return flesch_syllables((const uint8_t *)word, strlen(word));
}

static void syllables_are_vowel_groups_less_silent_endings(void **unused)
{
    (void)unused;
    static const struct {
        const char *word;
        uint32_t n;
    } known[] = {
        {"a", 1},
        {"the", 1},
        {"cat", 1},
        {"make", 1},
        {"makes", 1},
        {"looked", 1},
        {"wanted", 2},
        {"added", 2},
        {"table", 2},
        {"tables", 2},
        {"boxes", 2},
        {"horses", 2},
        {"pages", 2},
        {"churches", 2},
        {"dishes", 2},
        {"free", 1},
        {"tree", 1},
        {"happy", 2},
        {"reading", 2},
        {"beautiful", 3},
        {"banana", 3},
        {"rhythm", 1},
        {"hmm", 1},
        {"queue", 1},
        {"university", 5},
        {"NASA", 2},
        {"Make", 1},
        {"e", 1},
        {"es", 1},
        {"ed", 1},
        {"na\xc3\xafve", 1},
        {"caf\xc3\xa9", 2},
        {"\xc3\x9c"
         "ber",
         2},
        {"", 1},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (syllables(known[i].word) != known[i].n)
            fail_msg("%s: %u syllables, not %u", known[i].word, syllables(known[i].word),
                     known[i].n);
}

static void words_sentences_and_syllables_are_counted(void **unused)
{
    (void)unused;
    struct flesch_counts n;
    flesch_count(of("The cat sat. Don't ask why! It's 3.14, or 2.\n\nA title\n\nthe rest"), &n);
    assert_int_equal(n.words, 3 + 3 + 2 + 2 + 2); /* "3.14" and "2" hold no letter. */
    assert_int_equal(n.sentences, 5);
    assert_int_equal(n.syllables, 3 + 3 + 2 + 3 + 2);
    flesch_count(of("etc.) Then (so.) more"), &n);
    assert_int_equal(n.sentences, 3);
    flesch_count(of("...!!! ??"), &n);
    assert_int_equal(n.words + n.sentences + n.syllables, 0);
}

static void ease_is_fleschs_formula(void **unused)
{
    (void)unused;
    /* 6 words, 1 sentence, 6 syllables: 206.835 - 6.09 - 84.6. */
    assert_true(fabs(flesch_ease(of("The cat sat on the mat.")) - 116.145) < 1e-9);
    /* 4 words in 2 sentences, 8 syllables: 206.835 - 2.03 - 169.2. */
    assert_true(fabs(flesch_ease(of("Bananas happen. Reading pays")) - (206.835 - 2.03 - 169.2)) <
                1e-9);
}

static void harder_texts_read_less_easily_and_both_ends_are_clipped(void **unused)
{
    (void)unused;
    double easy = flesch_ease(of("I see a dog. The dog runs to me."));
    double hard = flesch_ease(of("Constitutional jurisprudence necessitates interdisciplinary "
                                 "consideration of institutional accountability."));
    assert_true(easy > 100 && easy <= 121);
    assert_true(hard == -100);
    assert_true(flesch_ease(of("Go. Run. Sit.")) == 121);
}

static void other_scripts_and_no_words_give_nothing(void **unused)
{
    (void)unused;
    assert_true(flesch_ease(of("")) == 0);
    assert_true(flesch_ease((struct slice){NULL, 0}) == 0);
    assert_true(flesch_ease(of("1 + 2 = 3. ... !")) == 0);
    assert_true(flesch_ease(of("\xff\xfe\x80")) == 0);
    assert_true(flesch_ease(of("\xe4\xbd\xa0\xe5\xa5\xbd\xe4\xb8\x96\xe7\x95\x8c ok")) == 0);
    assert_true(flesch_ease(of("\xd0\x9f\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82 a")) == 0);
    /* A word of another script in an English sentence does not silence it. */
    assert_true(flesch_ease(of("What does \xe4\xbd\xa0 mean in English?")) != 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(syllables_are_vowel_groups_less_silent_endings),
        cmocka_unit_test(words_sentences_and_syllables_are_counted),
        cmocka_unit_test(ease_is_fleschs_formula),
        cmocka_unit_test(harder_texts_read_less_easily_and_both_ends_are_clipped),
        cmocka_unit_test(other_scripts_and_no_words_give_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
