#include "server/route/flesch.h"

#include "server/route/text_symbols.h"

#include <string.h>

static const double ease_min = -100, ease_max = 121;

/* Letters of the Latin blocks; not the signs among them. */
static bool is_latin(uint32_t c)
{
    if (c < 0x80)
        return (c | 32) - 'a' < 26;
    return (c >= 0xc0 && c <= 0x24f && c != 0xd7 && c != 0xf7) || (c >= 0x1e00 && c <= 0x1eff);
}

/* Letters of other scripts, near enough for a majority: all beyond Latin but marks, punctuation,
 * symbols and pictures. */
static bool is_other_letter(uint32_t c)
{
    if (c < 0x370 || c >= TEXT_CODE_INVALID)
        return false;
    bool symbol = (c >= 0x2000 && c <= 0x2bff) || (c >= 0x3000 && c <= 0x303f) ||
                  (c >= 0xe000 && c <= 0xf8ff) || (c >= 0xfe00 && c <= 0xfe6f) ||
                  (c >= 0xff00 && c <= 0xff20) || (c >= 0xfff0 && c <= 0xffff) ||
                  (c >= 0x1f000 && c <= 0x1faff) || c >= 0xe0000;
    return !symbol && !is_latin(c);
}

/* a, e, i, o, u and y, by their place in the alphabet. */
static const uint32_t vowels = 1U << 0 | 1U << 4 | 1U << 8 | 1U << 14 | 1U << 20 | 1U << 24;

static bool is_vowel(uint32_t letter)
{
    return vowels >> (letter - 'a') & 1;
}

/* A Latin letter as one of a-z, as far as syllables go: an accented vowel sounds wherever it
 * stands, as an a does; the rest are consonants. */
static uint32_t plain_letter(uint32_t c)
{
    if (c < 0x80)
        return c | 32;
    if (c > 0xff)
        return 'b';
    c |= 0x20; /* The accented letters of Latin-1 have their case where ASCII has it. */
    bool vowel = c <= 0xe6 || (c >= 0xe8 && c <= 0xef) || (c >= 0xf2 && c <= 0xfd);
    return vowel ? 'a' : 'b';
}

/* ---- Syllables ---- */

/* A word as it goes by: its vowel groups, and its last letters for the endings. */
struct word {
    uint64_t last; /* The newest eight, the newest in the low byte; 0 before the first. */
    uint32_t groups;
    bool in_group;
};

static void word_put(struct word *w, uint32_t letter)
{
    bool vowel = is_vowel(letter);
    w->groups += vowel & !w->in_group;
    w->in_group = vowel;
    w->last = w->last << 8 | letter;
}

static bool is_consonant(uint32_t letter)
{
    return letter != 0 && !is_vowel(letter);
}

static bool is_one_of(uint32_t c, const char *letters)
{
    return c != 0 && c < 0x80 && strchr(letters, (int)c) != NULL;
}

/* make, makes and looked end silently; table, horses, boxes, wanted and free do not. */
static bool ends_silently(const struct word *w)
{
    uint32_t l[4];
    for (unsigned i = 0; i < 4; i++)
        l[i] = w->last >> (8 * i) & 255;
    if (l[0] == 'e')
        return is_consonant(l[1]) && !(l[1] == 'l' && is_consonant(l[2]));
    if (l[1] != 'e' || !is_consonant(l[2]))
        return false;
    if (l[0] == 'd')
        return !is_one_of(l[2], "td");
    if (l[0] != 's')
        return false;
    bool hiss = is_one_of(l[2], "sxzcg") || (l[2] == 'h' && is_one_of(l[3], "cs"));
    return !hiss && !(l[2] == 'l' && is_consonant(l[3]));
}

static uint32_t word_syllables(const struct word *w)
{
    uint32_t n = w->groups - (w->groups > 0 && ends_silently(w));
    return n > 0 ? n : 1;
}

uint32_t flesch_syllables(const uint8_t *word, size_t len)
{
    struct word w = {0};
    const uint8_t *p = word, *end = word + len;
    while (p < end) {
        uint32_t c = text_code_next(&p, end);
        if (is_latin(c))
            word_put(&w, plain_letter(c));
    }
    return word_syllables(&w);
}

/* ---- A text ---- */

struct scan {
    struct flesch_counts *n;
    struct word word;
    uint64_t sentence_words;
    uint32_t newlines; /* Since the last visible character. */
    bool ending;       /* After . ! ? that a space would make an end. */
};

static void end_word(struct scan *s)
{
    if (s->word.last == 0)
        return;
    s->n->words++;
    s->sentence_words++;
    s->n->syllables += word_syllables(&s->word);
    s->word = (struct word){0};
}

static void end_sentence(struct scan *s)
{
    s->n->sentences += s->sentence_words > 0;
    s->sentence_words = 0;
    s->ending = false;
}

static void scan_code(struct scan *s, uint32_t c)
{
    if (is_latin(c)) {
        s->n->latin++;
        s->ending = false; /* "e.g.x" */
        s->newlines = 0;
        word_put(&s->word, plain_letter(c));
        return;
    }
    if (s->word.last && (c == '\'' || c == 0x2019))
        return; /* "don't" is one word. */
    end_word(s);
    if (c <= ' ') {
        s->newlines += c == '\n';
        if (s->ending || s->newlines >= 2)
            end_sentence(s);
        return;
    }
    s->newlines = 0;
    s->n->other += is_other_letter(c);
    if (c == '.' || c == '!' || c == '?')
        s->ending = true;
    else if (!is_one_of(c, "\"')]*"))
        s->ending = false;
}

/* The rest of a plain word, where most of most texts is: nothing but the word changes by it, which
 * stays in registers. */
static const uint8_t *scan_letters(struct scan *s, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *from = p;
    struct word w = s->word;
    for (; p < end && (uint32_t)(*p | 32) - 'a' < 26; p++)
        word_put(&w, *p | 32U);
    s->word = w;
    s->n->latin += (uint64_t)(p - from);
    return p;
}

void flesch_count(struct slice text, struct flesch_counts *ret_counts)
{
    *ret_counts = (struct flesch_counts){0};
    if (text.len == 0)
        return;
    struct scan s = {.n = ret_counts};
    const uint8_t *p = text.data, *end = p + text.len;
    while (p < end) {
        scan_code(&s, text_code_next(&p, end));
        if (s.word.last)
            p = scan_letters(&s, p, end);
    }
    end_word(&s);
    end_sentence(&s);
}

double flesch_ease(struct slice text)
{
    struct flesch_counts n;
    flesch_count(text, &n);
    if (n.words == 0 || n.other > n.latin)
        return 0;
    double ease = 206.835 - 1.015 * (double)n.words / (double)n.sentences -
                  84.6 * (double)n.syllables / (double)n.words;
    return ease < ease_min ? ease_min : ease > ease_max ? ease_max : ease;
}
