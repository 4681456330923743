#include "server/route/flesch.h"

#include "server/route/text_symbols.h"

#include <string.h>

static const double ease_min = -100, ease_max = 121;

static uint32_t lower(uint32_t c)
{
    return c - 'A' < 26 ? c | 32 : c;
}

/* Letters of the Latin blocks; not the signs among them. */
static bool is_latin(uint32_t c)
{
    if (c < 0x80)
        return lower(c) - 'a' < 26;
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

static bool is_vowel(uint32_t c)
{
    c = lower(c);
    if (c < 0x80)
        return c == 'a' || c == 'e' || c == 'i' || c == 'o' || c == 'u' || c == 'y';
    if (c < 0xc0 || c > 0xff)
        return false;
    c |= 0x20; /* The accented letters of Latin-1 have their case where ASCII has it. */
    return c <= 0xe6 || (c >= 0xe8 && c <= 0xef) || (c >= 0xf2 && c <= 0xfd && c != 0xf7);
}

/* ---- Syllables ---- */

/* A word as it goes by: its vowel groups, and its last letters for the endings. */
struct word {
    uint32_t letters, groups;
    bool in_group;
    uint32_t last[5]; /* [0] the newest; 0 before the first. */
};

static void word_put(struct word *w, uint32_t c)
{
    bool vowel = is_vowel(c);
    w->groups += vowel && !w->in_group;
    w->in_group = vowel;
    w->letters++;
    memmove(&w->last[1], &w->last[0], sizeof w->last - sizeof *w->last);
    w->last[0] = lower(c);
}

static bool is_one_of(uint32_t c, const char *letters)
{
    return c != 0 && c < 0x80 && strchr(letters, (int)c) != NULL;
}

/* make, makes and looked end silently; table, horses, boxes, wanted and free do not. */
static bool ends_silently(const struct word *w)
{
    const uint32_t *l = w->last;
    if (l[0] == 'e') {
        bool le = l[1] == 'l' && l[2] != 0 && !is_vowel(l[2]);
        return l[1] != 0 && !is_vowel(l[1]) && !le;
    }
    if (l[1] != 'e' || l[2] == 0 || is_vowel(l[2]))
        return false;
    if (l[0] == 'd')
        return !is_one_of(l[2], "td");
    if (l[0] != 's')
        return false;
    bool hiss = is_one_of(l[2], "sxzcg") || (l[2] == 'h' && is_one_of(l[3], "cs"));
    bool les = l[2] == 'l' && l[3] != 0 && !is_vowel(l[3]);
    return !hiss && !les;
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
            word_put(&w, c);
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
    if (s->word.letters == 0)
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
        word_put(&s->word, c);
        return;
    }
    if (s->word.letters && (c == '\'' || c == 0x2019))
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

void flesch_count(struct slice text, struct flesch_counts *ret_counts)
{
    *ret_counts = (struct flesch_counts){0};
    if (text.len == 0)
        return;
    struct scan s = {.n = ret_counts};
    const uint8_t *p = text.data, *end = p + text.len;
    while (p < end)
        scan_code(&s, text_code_next(&p, end));
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
