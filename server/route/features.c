#include "server/route/features.h"

#include "server/route/flesch.h"
#include "server/route/text_block.h"
#include "server/route/text_symbols.h"
#include "state/base/rng.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Of the raw scalars over prompts of eight public routing sets, each set weighing the same (first
 * 1,000 rows). Frozen: other numbers would be another feature spec.
 * SHUNT_DATA=... tests/eval/scalars_fit, 2026-11-22.
 * No set has turns or images: ten turns are a deviation, and so is an image. */
static const struct {
    const char *name;
    double mean, sd;
} scalar_scale[SCALARS_V1_N] = {
    {"tokens", 3.853, 0.9842},      {"flesch", 67.9, 23.53},       {"sentence_words", 13.02, 7.047},
    {"lines", 1.324, 0.659},        {"questions", 0.2089, 0.2723}, {"digits", 0.01501, 0.03175},
    {"maths", 0.003565, 0.0153},    {"code", 0.007625, 0.08699},   {"options", 1.185, 1.781},
    {"non_latin", 0.02483, 0.1355}, {"turns", 0, 2.398},           {"image", 0, 1},
};

/* Where a scalar of ctx.v0 stands in the table above. */
static uint32_t scalar_row(uint8_t version, uint32_t i)
{
    return version == 0 && i > 0 ? i + 1 : i;
}

/* ---- Characters ---- */

enum char_class { CHAR_SPACE, CHAR_LETTER, CHAR_IDEOGRAPH, CHAR_SYMBOL };

/* What stands for a byte that is not UTF-8: beyond every code point. */

struct range32 {
    uint32_t low, high;
};

static bool in_ranges(uint32_t c, const struct range32 *r, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (c >= r[i].low && c <= r[i].high)
            return true;
    return false;
}

/* Scripts without spaces between words, and Hangul, whose syllables models read one by one. */
static bool is_ideograph(uint32_t c)
{
    static const struct range32 r[] = {{0x3040, 0x30ff}, {0x3400, 0x4dbf}, {0x4e00, 0x9fff},
                                       {0xac00, 0xd7af}, {0xf900, 0xfaff}, {0x20000, 0x3ffff}};
    return in_ranges(c, r, sizeof r / sizeof *r);
}

/* Punctuation, arrows, maths, boxes, pictures: of no script. */
static bool is_wide_symbol(uint32_t c)
{
    static const struct range32 r[] = {{0x80, 0xa9},
                                       {0xab, 0xb4},
                                       {0xb6, 0xb9},
                                       {0xbb, 0xbf},
                                       {0xd7, 0xd7},
                                       {0xf7, 0xf7},
                                       {0x2000, 0x2bff},
                                       {0x3000, 0x303f},
                                       {0xfe00, 0xfe6f},
                                       {0xff00, 0xff0f},
                                       {0xff1a, 0xff20},
                                       {0xff3b, 0xff40},
                                       {0xff5b, 0xff65},
                                       {0xfff0, 0xfffd},
                                       {0x1f000, 0x1faff},
                                       {0x61f, 0x61f},
                                       {0x964, 0x965},
                                       {0x60c, 0x60c},
                                       {TEXT_CODE_INVALID, TEXT_CODE_INVALID}};
    return in_ranges(c, r, sizeof r / sizeof *r);
}

static bool is_wide_space(uint32_t c)
{
    return c == 0x85 || c == 0xa0 || (c >= 0x2000 && c <= 0x200b) || c == 0x2028 || c == 0x2029 ||
           c == 0x202f || c == 0x3000 || c == 0xfeff;
}

static enum char_class classify(uint32_t c)
{
    if (c < 0x80) {
        if (c <= ' ' || c == 0x7f)
            return CHAR_SPACE;
        bool letter = (c | 32) - 'a' < 26 || c - '0' < 10 || c == '_';
        return letter ? CHAR_LETTER : CHAR_SYMBOL;
    }
    if (is_wide_space(c))
        return CHAR_SPACE;
    if (is_ideograph(c))
        return CHAR_IDEOGRAPH;
    return is_wide_symbol(c) ? CHAR_SYMBOL : CHAR_LETTER;
}

/* A character of a script other than latin; symbols are of no script, what is not UTF-8 counts. */
static bool is_non_latin(uint32_t c, enum char_class class)
{
    static const struct range32 latin[] = {
        {0, 0x36f}, {0x1e00, 0x1eff}, {0x2c60, 0x2c7f}, {0xa720, 0xa7ff}, {0xab30, 0xab6f}};
    if (c == TEXT_CODE_INVALID || class == CHAR_IDEOGRAPH)
        return true;
    return class == CHAR_LETTER && !in_ranges(c, latin, sizeof latin / sizeof *latin);
}

/* + = < > ^ * / \ $ % of ASCII (a hyphen is mostly no minus), and the maths blocks of Unicode. */
static bool is_maths(uint32_t c)
{
    static const struct range32 r[] = {{0xb1, 0xb3},     {0xb9, 0xb9},     {0xd7, 0xd7},
                                       {0xf7, 0xf7},     {0x2070, 0x209f}, {0x2200, 0x22ff},
                                       {0x27c0, 0x27ef}, {0x2a00, 0x2aff}};
    if (c < 0x80)
        return c != 0 && strchr("+=<>^*/\\$%", (int)c) != NULL;
    return in_ranges(c, r, sizeof r / sizeof *r);
}

/* ---- Words and sentences ---- */

struct scan {
    uint64_t visible; /* Characters that are not space. */
    uint64_t
        tokens;     /* A word of n characters: ceil(n / 8); an ideograph, a run of one symbol: 1. */
    uint64_t words; /* Runs of letters and digits; each ideograph. */
    uint64_t sentences; /* Ended ones. */
    uint64_t questions, digits, maths, non_latin;
    uint64_t word_len;
    uint64_t sentence_words; /* Words since the last end. */
    uint32_t last_symbol;    /* 0 after anything else. */
    uint32_t newlines;       /* Since the last visible character. */
    bool ending;             /* After . ! ? that a space would make an end. */
};

static void end_sentence(struct scan *s)
{
    if (s->sentence_words)
        s->sentences++;
    s->sentence_words = 0;
    s->ending = false;
}

static void end_word(struct scan *s)
{
    s->tokens += (s->word_len + 7) / 8;
    s->word_len = 0;
}

static void scan_space(struct scan *s, uint32_t c)
{
    end_word(s);
    s->last_symbol = 0;
    if (c == '\n')
        s->newlines++;
    if (s->ending || s->newlines >= 2) /* "end. Next", or an empty line. */
        end_sentence(s);
}

static void scan_word(struct scan *s, enum char_class class)
{
    s->last_symbol = 0;
    s->ending = false; /* "3.14", "e.g.x" */
    if (class == CHAR_IDEOGRAPH) {
        end_word(s);
        s->tokens++;
    }
    if (class == CHAR_IDEOGRAPH || s->word_len == 0) {
        s->words++;
        s->sentence_words++;
    }
    if (class == CHAR_LETTER)
        s->word_len++;
}

static bool closes(uint32_t c)
{
    return c == '"' || c == '\'' || c == ')' || c == ']' || c == '*' || c == 0x201d || c == 0x2019;
}

static void scan_symbol(struct scan *s, uint32_t c)
{
    if (s->word_len && (c == '\'' || c == 0x2019))
        return; /* "don't" is one word. */
    end_word(s);
    if (c != s->last_symbol)
        s->tokens++;
    s->last_symbol = c;
    if (c == '?' || c == 0xff1f || c == 0x61f)
        s->questions++;
    if (c == 0x3002 || c == 0xff01 || c == 0xff1f || c == 0x61f || c == 0x964)
        end_sentence(s); /* These scripts put no space after an end. */
    else if (c == '.' || c == '!' || c == '?' || c == 0x2026)
        s->ending = true;
    else if (!closes(c))
        s->ending = false;
}

static void scan_text(struct scan *s, struct slice text)
{
    const uint8_t *p = text.data, *end = p + text.len;
    while (p < end) {
        uint32_t c = text_code_next(&p, end);
        enum char_class class = classify(c);
        if (class == CHAR_SPACE) {
            scan_space(s, c);
            continue;
        }
        s->visible++;
        s->newlines = 0;
        s->digits += c - '0' < 10;
        s->maths += class == CHAR_SYMBOL && is_maths(c);
        s->non_latin += c >= 0x80 && is_non_latin(c, class);
        if (class == CHAR_SYMBOL) {
            scan_symbol(s, c);
            continue;
        }
        scan_word(s, class);
        /* The rest of a plain word, where most of most prompts is: nothing else changes by it. */
        const uint8_t *from = p;
        while (class == CHAR_LETTER && p < end && (uint32_t)(*p | 32) - 'a' < 26)
            p++;
        s->visible += (uint64_t)(p - from);
        s->word_len += (uint64_t)(p - from);
    }
    end_word(s);
    end_sentence(s);
}

/* ---- Lines ---- */

struct lines {
    uint64_t n, options, code;
    bool fence;
};

static bool starts_with(const uint8_t *p, const uint8_t *end, const char *word)
{
    size_t len = strlen(word);
    return (size_t)(end - p) >= len && memcmp(p, word, len) == 0;
}

/* "A. x", "b) x", "C: x", "(D) x" with A to J in either case; p is past the indent. */
static bool is_option(const uint8_t *p, const uint8_t *end)
{
    bool bracket = p < end && *p == '(';
    p += bracket;
    if (end - p < 2 || (uint32_t)(*p | 32) - 'a' >= 10)
        return false;
    bool mark = p[1] == ')' || (!bracket && (p[1] == '.' || p[1] == ':'));
    return mark && (end - p == 2 || p[2] == ' ' || p[2] == '\t');
}

/* How much a line looks like a program's: 2 for what only code holds ("def f(x):", "#include"), 1
 * for an end in ; { or } and for beginnings that prose rarely has in that spelling. */
static uint64_t code_signs(const uint8_t *p, const uint8_t *end)
{
    static const char *const words[] = {
        "import ", "function ", "public ", "private ", "return ", "assert ", "SELECT ",
        "const ",  "var ",      "elif ",   "else:",    "print(",  "if (",    "for (",
        "while (", "@",         "struct ", "void ",    "static ", "def ",    "class "};
    if (p == end)
        return 0;
    bool block = starts_with(p, end, "def ") || starts_with(p, end, "class ");
    if ((block && end[-1] == ':') || starts_with(p, end, "#include") || starts_with(p, end, "#!/"))
        return 2;
    if (end[-1] == ';' || end[-1] == '{' || end[-1] == '}')
        return 1;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (starts_with(p, end, words[i]))
            return 1;
    return 0;
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static void scan_line(struct lines *l, const uint8_t *p, const uint8_t *end)
{
    while (p < end && is_blank(*p))
        p++;
    while (end > p && is_blank(end[-1]))
        end--;
    l->n++;
    l->options += is_option(p, end);
    l->code += code_signs(p, end);
    l->fence = l->fence || starts_with(p, end, "```");
}

static void scan_lines(struct lines *l, struct slice text)
{
    const uint8_t *p = text.data, *end = p + text.len;
    while (p < end) {
        const uint8_t *eol = memchr(p, '\n', (size_t)(end - p));
        scan_line(l, p, eol ? eol : end);
        p = eol ? eol + 1 : end;
    }
}

/* ---- The scalars ---- */

static double share(uint64_t part, uint64_t whole)
{
    return whole ? (double)part / (double)whole : 0;
}

void features_scalars(struct slice text, double ret[SCALARS_N])
{
    struct scan s = {0};
    struct lines l = {0};
    if (text.len) {
        scan_text(&s, text);
        scan_lines(&l, text);
    }
    uint64_t sentences = s.sentences ? s.sentences : 1;
    /* How long: a rough count of model tokens; costs and latencies go with it. */
    ret[0] = log1p((double)s.tokens);
    /* How it is built: instructions run long, questions and lists are short. */
    ret[1] = share(s.words, sentences);
    /* Lines of text, a last one without a newline included: lists, tables, code. */
    ret[2] = log1p((double)l.n);
    /* ? of any script for each sentence. */
    ret[3] = share(s.questions, sentences);
    /* 0-9 among visible characters. */
    ret[4] = share(s.digits, s.visible);
    /* Signs of formulas among visible characters (is_maths). */
    ret[5] = share(s.maths, s.visible);
    /* 1: a fenced block, or two signs of code (one may be a coincidence). */
    ret[6] = l.fence || l.code >= 2;
    /* Lines that offer an answer to choose. */
    ret[7] = (double)l.options;
    /* Characters of other scripts, and bytes that are not UTF-8, among visible characters. */
    ret[8] = share(s.non_latin, s.visible);
}

static float scale_scalar(uint32_t row, double raw, uint32_t n)
{
    double z = (raw - scalar_scale[row].mean) / scalar_scale[row].sd;
    z = z < -3 ? -3 : z > 3 ? 3 : z;
    /* The block's length stays near .5 however many scalars there are. */
    return (float)(z * (.5 / sqrt(n)));
}

/* No text says nothing; an average text would say something. */
static void fill_text_scalars(const struct feature_spec *spec, struct slice text, float *ret)
{
    if (text.len == 0)
        return;
    double raw[SCALARS_N];
    uint32_t n = spec_scalars_n(spec);
    features_scalars(text, raw);
    for (uint32_t i = 0; i < SCALARS_N; i++) {
        uint32_t row = scalar_row(0, i);
        ret[spec->version == 0 ? i : row] = scale_scalar(row, raw[i], n);
    }
    if (spec->version == 1)
        ret[1] = scale_scalar(1, flesch_ease(text), n);
}

static void fill_scalars(const struct feature_spec *spec, const struct feature_input *in,
                         float *ret)
{
    fill_text_scalars(spec, in->text, ret);
    if (spec->version == 0)
        return;
    uint32_t turns = in->agent.turn > in->agent.tool_step ? in->agent.turn : in->agent.tool_step;
    ret[10] = scale_scalar(10, log1p(turns), SCALARS_V1_N);
    ret[11] = scale_scalar(11, in->agent.images > 0, SCALARS_V1_N);
}

/* ---- The caller's numbers ---- */

static enum err check_vector(const char *what, const float *v, size_t n, size_t want, float limit,
                             struct err_detail *detail)
{
    if (n == 0)
        return OK;
    if (n != want)
        return err_say(detail, ERR_WRONG_DIMENSION,
                       "%s holds %zu values; this router expects exactly %zu", what, n, want);
    float most = limit < FLT_MAX ? limit : FLT_MAX;
    bool fine = true; /* Neither a NaN nor an infinity is at most that. */
    for (size_t i = 0; i < n; i++)
        fine &= fabsf(v[i]) <= most;
    for (size_t i = 0; !fine && i < n; i++) {
        if (!isfinite(v[i]))
            return err_say(detail, ERR_NOT_FINITE, "%s[%zu] is not a finite number", what, i);
        if (fabsf(v[i]) > limit)
            return err_say(detail, ERR_OUT_OF_RANGE, "%s[%zu] is %g; it must lie in [-%g, %g]",
                           what, i, (double)v[i], (double)limit, (double)limit);
    }
    return OK;
}

/* Frozen: another seed would be another feature spec. */
static const uint64_t projection_seed = 0x73687531;

/* ret (32) = S e / |e| / sqrt(32), S (32, n) of random signs, so that lengths and angles are kept
 * on average [Achlioptas 2003]. Row k of S is bit k of the j-th mix; no matrix is stored. */
static void project(const float *embedding, size_t n, float *ret)
{
    double squares = 0;
    for (size_t j = 0; j < n; j++)
        squares += (double)embedding[j] * (double)embedding[j];
    if (squares <= 0)
        return;
    double scale = 1 / sqrt(squares * EMBEDDING_D);
    float sum[EMBEDDING_D] = {0};
    uint32_t bit[EMBEDDING_D]; /* A table, so that compilers make vectors of the loop below. */
    for (uint32_t k = 0; k < EMBEDDING_D; k++)
        bit[k] = 1U << k;
    for (size_t j = 0; j < n; j++) {
        float v = (float)((double)embedding[j] * scale);
        uint32_t signs = (uint32_t)rng_mix(projection_seed, j);
        for (uint32_t k = 0; k < EMBEDDING_D; k++)
            sum[k] += signs & bit[k] ? v : -v;
    }
    memcpy(ret, sum, sizeof sum);
}

static_assert(EMBEDDING_D == 32, "one bit of a 32-bit word for each row");

/* What was learned through one matrix says nothing of another's numbers. */
static enum err fill_embedding(const struct feature_spec *spec, const struct feature_input *in,
                               float *ret, struct err_detail *detail)
{
    const struct projection *p = in->projection;
    unsigned long long bound = spec->projection_hash;
    if (!spec->projection[0]) {
        project(in->embedding, in->embedding_n, ret);
        return OK;
    }
    if (!p)
        return err_say(detail, ERR_SPEC_MISMATCH,
                       "this router learned through the projection `%s` of hash %016llx, and the "
                       "server has none of that name now: put its file back",
                       spec->projection, bound);
    if (p->hash != spec->projection_hash || p->embedding_n != spec->embedding_n)
        return err_say(detail, ERR_SPEC_MISMATCH,
                       "this router learned through the projection `%s` of hash %016llx, and the "
                       "server's file holds hash %016llx now: put the old file back, or create a "
                       "router for the new one",
                       spec->projection, bound, (unsigned long long)p->hash);
    projection_apply(p, in->embedding, ret);
    return OK;
}

/* The caller's word is worth more than a guess. */
static void fill_task(const struct feature_spec *spec, const struct feature_input *in, float *ret)
{
    if (in->task_slot >= 0)
        ret[in->task_slot] = 1;
    else if (spec->version == 1 && in->task_p)
        memcpy(ret, in->task_p, spec->task_slots * sizeof *ret);
}

static_assert((int)TEXT_D == (int)TEXT_BLOCK_N, "the text block is as wide as its table");
static_assert(TEXT16_VERSION == 1, "spec_describe names the table's version");

enum err features_fill(const struct feature_spec *spec, const struct feature_input *in,
                       float *ret_x, struct err_detail *detail)
{
    TRY(check_vector("features", in->features, in->features_n, spec->features_n, 1e6F, detail));
    TRY(check_vector("embedding", in->embedding, in->embedding_n, spec->embedding_n, INFINITY,
                     detail));
    if (in->task_slot >= (int)spec->task_slots)
        return err_say(detail, ERR_OUT_OF_RANGE, "task slot %d of %u", in->task_slot,
                       (unsigned)spec->task_slots);
    memset(ret_x, 0, spec_d(spec) * sizeof *ret_x);
    ret_x[0] = 1;
    fill_task(spec, in, ret_x + spec_task_at(spec));
    if (spec->scalars)
        fill_scalars(spec, in, ret_x + spec_scalars_at(spec));
    if (spec->agent)
        feature_agent_fill(&in->agent, ret_x + spec_agent_at(spec));
    if (in->features_n)
        memcpy(ret_x + spec_features_at(spec), in->features, in->features_n * sizeof *ret_x);
    if (in->embedding_n)
        TRY(fill_embedding(spec, in, ret_x + spec_embedding_at(spec), detail));
    else if (spec->text_block)
        text_block(in->text, ret_x + spec_embedding_at(spec));
    return OK;
}

/* ---- Names ---- */

static void name_task(const struct router_config *c, uint32_t slot, char *ret, size_t cap)
{
    if (slot < c->tasks_n)
        (void)snprintf(ret, cap, "task.%s", c->tasks[slot]);
    else if (slot + 1 == c->spec.task_slots)
        (void)snprintf(ret, cap, "task.other");
    else
        (void)snprintf(ret, cap, "task.%u", slot);
}

void features_name(const struct router_config *config, uint32_t i, char *ret_text, size_t cap)
{
    const struct feature_spec *spec = &config->spec;
    struct spec_block blocks[SPEC_BLOCKS_MAX];
    uint32_t k = 0, n = spec_blocks(spec, blocks);
    assert(i < spec_d(spec));
    while (k + 1 < n && i >= blocks[k + 1].at)
        k++;
    uint32_t at = i - blocks[k].at;
    if (i == 0)
        (void)snprintf(ret_text, cap, "bias");
    else if (blocks[k].at == spec_task_at(spec) && at < spec->task_slots)
        name_task(config, at, ret_text, cap);
    else if (spec->scalars && blocks[k].at == spec_scalars_at(spec))
        (void)snprintf(ret_text, cap, "scalars.%s",
                       scalar_scale[scalar_row(spec->version, at)].name);
    else if (spec->agent && blocks[k].at == spec_agent_at(spec))
        (void)snprintf(ret_text, cap, "agent.%s", feature_agent_name(at));
    else
        (void)snprintf(ret_text, cap, "%s.%u", blocks[k].name, at);
}
