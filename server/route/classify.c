#include "server/route/classify.h"

#include "state/base/hash.h"
#include "state/base/mem.h"
#include "state/base/rng.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum {
    BUCKET_BITS = 13,
    BUCKETS = 1 << BUCKET_BITS,
    /* The window, what parts its halves, a space at each end. */
    CLEAN_CAP = CLASSIFY_PREFIX_BYTES + CLASSIFY_SUFFIX_BYTES + 3,
    CHARS = 4,
    /* One at every character, two at every second one for words. */
    GRAMS_MAX = 2 * CLEAN_CAP,
    EPOCHS_MAX = 60,
    EPOCHS_MIN = 5,
};

/* Weight of the loss against half the squared weights: 1 / (L2 penalty). A higher one fits the
 * examples closer; macro-F1 on other rows is flat from 5 to 50 (tests/eval/classify_f1). */
static const float loss_weight = 20;
/* Multiply-adds of one training: some seconds for 4 MiB, where 20 examples a label take a
 * hundredth. */
static const double work_max = 2e9;
/* Change of a probability below which nothing more is learned. */
static const float change_least = 2e-3F;
static const uint64_t order_seed = 0x7461736b73; /* Any constant. */

/* The upper half of a float (bfloat16): sign, exponent, 7 bits of fraction. Precise enough for a
 * sum over hundreds of grams and halves the memory that a text touches. */
typedef uint16_t half;

enum {
    LANES = 4,         /* A register of floats. */
    GROUP = 2 * LANES, /* Labels to a register of halves. */
};

struct classifier {
    uint32_t labels_n, stride, examples_n; /* stride: labels_n, up to a multiple of GROUP. */
    char labels[MAX_TASKS][NAME_CAP];
    /* (BUCKETS, stride / 2): word k of a group has label k in its upper half and label k + LANES in
     * its lower one, so that a mask and a shift make floats of both. */
    uint32_t *weights;
    uint8_t folded[UINT8_MAX + 1]; /* A byte as it is looked at: lower case, a space for any. */
    bool word[UINT8_MAX + 1];      /* Which of those are in words. */
    /* What the occurrence after n others adds to a gram's value, and to that value's square. */
    float gain[UINT8_MAX + 1], square_gain[UINT8_MAX + 1];
};

/* ---- From a text to its grams ---- */

struct gram {
    uint16_t bucket;
    uint16_t count;
};

/* Grams of one text. On the stack: 44 KiB. */
struct grams {
    uint8_t count[BUCKETS];     /* Stops at 255. */
    uint16_t bucket[GRAMS_MAX]; /* Of every occurrence, in order. */
    float gain[GRAMS_MAX];      /* What each adds to the value of its gram. */
    uint32_t n;
    uint32_t len, chars, edges_n;
    uint8_t clean[CLEAN_CAP + 8];   /* Room to load eight bytes anywhere. */
    uint16_t starts[CLEAN_CAP + 1]; /* Where each character of clean begins, and its end. */
    uint16_t edges[CLEAN_CAP + 1];  /* Where words begin and end, by turns. */
};

static bool is_word(uint8_t c)
{
    return (uint8_t)((c | 32) - 'a') < 26 || (uint8_t)(c - '0') < 10 || c >= 0x80 || c == '\'';
}

static void bytes_fill(struct classifier *c)
{
    for (int i = 0; i <= UINT8_MAX; i++) {
        uint8_t byte = (uint8_t)i;
        bool space = byte <= ' ' || byte == 0x7f, upper = (uint8_t)(byte - 'A') < 26;
        c->folded[i] = space ? ' ' : upper ? (uint8_t)(byte | 32) : byte;
        c->word[i] = is_word(byte);
    }
}

/* Lower case, one space for a run of them. A character is a byte and the continuation bytes of
 * UTF-8 after it, whether valid or not. No branches: where words end, nothing can predict. */
static void clean_part(const struct classifier *c, struct grams *g, const uint8_t *p, size_t len)
{
    uint32_t n = g->len, chars = g->chars, edges = g->edges_n;
    uint8_t last = g->clean[n - 1];
    for (size_t i = 0; i < len; i++) {
        uint8_t byte = c->folded[p[i]];
        bool kept = (byte != ' ') | (last != ' ');
        g->clean[n] = byte;
        g->starts[chars] = g->edges[edges] = (uint16_t)n;
        chars += kept & ((byte & 0xc0) != 0x80);
        edges += c->word[byte] != c->word[last];
        n += kept;
        last = byte;
    }
    g->len = n;
    g->chars = chars;
    g->edges_n = edges;
}

/* The window of the text, with a space at both ends. */
static void clean_text(const struct classifier *c, struct grams *g, struct slice text)
{
    static const uint8_t space[] = " ";
    const uint8_t *p = text.data;
    g->clean[0] = ' ';
    g->starts[0] = 0;
    g->len = g->chars = 1;
    g->edges_n = 0;
    if (text.len <= CLASSIFY_PREFIX_BYTES + CLASSIFY_SUFFIX_BYTES) {
        clean_part(c, g, p, text.len);
    } else {
        clean_part(c, g, p, CLASSIFY_PREFIX_BYTES);
        clean_part(c, g, space, 1);
        clean_part(c, g, p + text.len - CLASSIFY_SUFFIX_BYTES, CLASSIFY_SUFFIX_BYTES);
    }
    clean_part(c, g, space, 1);
    g->starts[g->chars] = (uint16_t)g->len;
}

static uint16_t bucket_of(uint64_t hash)
{
    return (uint16_t)(hash >> (64 - BUCKET_BITS));
}

static uint64_t load_eight(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* The first len bytes of v, 1 to 8, none of them NUL: one multiplication [Knuth, 6.4]. */
static uint64_t hash_short(uint64_t v, size_t len)
{
    v &= ~(uint64_t)0 >> (64 - 8 * len);
    return (v ^ v >> 23) * 0x9e3779b97f4a7c15;
}

static uint64_t hash_gram(const uint8_t *p, size_t len)
{
    return len > 8 ? hash_bytes(p, len) : hash_short(load_eight(p), len);
}

/* Runs of CHARS characters, across words; of a shorter text the whole. Returns how many. */
static uint32_t put_characters(const struct grams *g, uint16_t *ret_buckets)
{
    uint32_t n = 0;
    size_t run = g->chars < CHARS ? g->chars : CHARS;
    for (size_t i = 0; i + run <= g->chars && g->len > 1; i++) {
        const uint8_t *from = g->clean + g->starts[i];
        size_t len = (size_t)(g->starts[i + run] - g->starts[i]);
        ret_buckets[n++] = bucket_of(hash_gram(from, len));
    }
    return n;
}

/* Apart from the characters': the word "the" and the characters "the" are two grams. */
static uint64_t hash_word(const uint8_t *p, size_t len)
{
    return len > 8 ? hash_seeded(p, len, 1) : ~hash_short(load_eight(p), len) * 0xbf58476d1ce4e5b9;
}

static uint32_t put_words(const struct grams *g, uint16_t *ret_buckets)
{
    uint32_t n = 0;
    uint64_t before = 0;
    for (uint32_t k = 0; k + 2 <= g->edges_n; k += 2) {
        uint64_t word = hash_word(g->clean + g->edges[k], (size_t)(g->edges[k + 1] - g->edges[k]));
        ret_buckets[n++] = bucket_of(word);
        if (k > 0)
            ret_buckets[n++] = bucket_of((before >> 32 ^ before << 32 ^ word) * 0x94d049bb133111eb);
        before = word;
    }
    return n;
}

/* False: nothing but space. */
static bool grams_fill(const struct classifier *c, struct grams *g, struct slice text)
{
    clean_text(c, g, text);
    memset(g->count, 0, sizeof g->count);
    g->n = put_characters(g, g->bucket);
    g->n += put_words(g, g->bucket + g->n);
    return g->n > 0;
}

/* 1 + ln(count): a word said ten times is not ten times the evidence. */
static float gram_value(uint32_t count)
{
    return count ? 1 + logf((float)count) : 0;
}

static void gains_fill(struct classifier *c)
{
    for (uint32_t n = 0; n < UINT8_MAX; n++) {
        float before = gram_value(n), after = gram_value(n + 1);
        c->gain[n] = after - before;
        c->square_gain[n] = after * after - before * before;
    }
}

/* Fills gain, so that nobody needs to know which occurrence is a gram's last; returns 1 / length of
 * the values. */
static float grams_weigh(const struct classifier *c, struct grams *g)
{
    float squares = 0;
    for (uint32_t i = 0; i < g->n; i++) {
        uint8_t *count = &g->count[g->bucket[i]], before = *count;
        g->gain[i] = c->gain[before];
        squares += c->square_gain[before];
        *count = (uint8_t)(before + (before < UINT8_MAX));
    }
    return 1 / sqrtf(squares);
}

/* Each gram once with its count, in order of appearance; returns how many. Empties the counts. */
static uint32_t grams_list(struct grams *g, struct gram *ret_grams)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < g->n; i++) {
        uint16_t b = g->bucket[i];
        ret_grams[n] = (struct gram){b, g->count[b]};
        n += g->count[b] > 0;
        g->count[b] = 0;
    }
    return n;
}

/* ---- What the weights say ---- */

/* p = softmax(logits). */
static void softmax(const float *logits, uint32_t n, float *ret_p)
{
    float top = logits[0], sum = 0;
    for (uint32_t l = 1; l < n; l++)
        top = fmaxf(top, logits[l]);
    for (uint32_t l = 0; l < n; l++)
        sum += ret_p[l] = expf(logits[l] - top);
    for (uint32_t l = 0; l < n; l++)
        ret_p[l] /= sum;
}

/* Compilers do not see that rows and sums are apart. */
typedef float lanes __attribute__((vector_size(LANES * sizeof(float))));
typedef uint32_t words __attribute__((vector_size(LANES * sizeof(uint32_t))));

/* Of 2 GROUP columns from weights on, or of GROUP alone: ret_logits = scale sum_i gain_i row_i.
 * Both groups of a row in one go, as a row is mostly one line that no cache holds any more. `both`
 * is a constant to the compiler. */
static inline __attribute__((always_inline)) void sum_groups(const struct grams *g,
                                                             const uint32_t *weights, size_t stride,
                                                             float scale, bool both,
                                                             float *ret_logits)
{
    lanes upper = {0}, lower = {0}, upper2 = {0}, lower2 = {0};
    words row;
    for (uint32_t i = 0; i < g->n; i++) {
        const uint32_t *at = weights + g->bucket[i] * stride;
        memcpy(&row, at, sizeof row);
        upper += g->gain[i] * (lanes)(row & 0xffff0000U);
        lower += g->gain[i] * (lanes)(row << 16);
        if (!both)
            continue;
        memcpy(&row, at + LANES, sizeof row);
        upper2 += g->gain[i] * (lanes)(row & 0xffff0000U);
        lower2 += g->gain[i] * (lanes)(row << 16);
    }
    const lanes sum[] = {scale * upper, scale * lower, scale * upper2, scale * lower2};
    memcpy(ret_logits, sum, both ? sizeof sum : sizeof sum / 2);
}

/* ret_logits = scale sum_i gain_i weights(bucket_i). (stride,) */
static void sum_text(const struct classifier *c, const struct grams *g, float scale,
                     float *ret_logits)
{
    size_t at = 0, stride = c->stride / 2;
    for (; at + GROUP <= stride; at += GROUP) /* Two groups: GROUP words. */
        sum_groups(g, c->weights + at, stride, scale, true, ret_logits + at * 2);
    if (at < stride)
        sum_groups(g, c->weights + at, stride, scale, false, ret_logits + at * 2);
}

bool classify_text(const struct classifier *c, struct slice text, float ret_p[MAX_TASKS])
{
    memset(ret_p, 0, MAX_TASKS * sizeof *ret_p);
    if (!c || text.len == 0)
        return false;
    struct grams g;
    if (!grams_fill(c, &g, text))
        return false;
    float logits[MAX_TASKS] = {0};
    float scale = grams_weigh(c, &g);
    sum_text(c, &g, scale, logits);
    softmax(logits, c->labels_n, ret_p);
    return true;
}

uint32_t classify_labels_n(const struct classifier *c)
{
    return c ? c->labels_n : 0;
}

const char *classify_label(const struct classifier *c, uint32_t i)
{
    assert(i < c->labels_n);
    return c->labels[i];
}

uint32_t classify_examples_n(const struct classifier *c)
{
    return c ? c->examples_n : 0;
}

/* ---- Reading examples ---- */

struct example {
    uint32_t first, n; /* Of its grams. */
    uint32_t label;
    float scale; /* 1 / length of its values. */
};

struct training {
    struct classifier *c;
    struct buf examples, grams; /* struct example, struct gram. */
    struct grams scratch;
    struct gram list[GRAMS_MAX];
    float value[UINT8_MAX + 1]; /* Of a gram, by its count. */
    float *weights;             /* (BUCKETS, stride), in full while they are learned. */
    float *alpha;               /* (examples_n, stride). */
    uint8_t *text;              /* One example, its escapes undone. */
    size_t text_cap;
};

static enum err find_label(struct classifier *c, const uint8_t *name, size_t len, size_t line,
                           uint32_t *ret_label, struct err_detail *detail)
{
    if (!name_valid((const char *)name, len))
        return err_say(detail, ERR_BAD_NAME,
                       "line %zu: the label before the tab is no name: 1 to 64 of A-Z a-z 0-9 . _ "
                       "/ -",
                       line);
    for (uint32_t l = 0; l < c->labels_n; l++)
        if (strlen(c->labels[l]) == len && memcmp(c->labels[l], name, len) == 0) {
            *ret_label = l;
            return OK;
        }
    if (c->labels_n == MAX_TASKS)
        return err_say(detail, ERR_LIMIT, "line %zu: more than %d labels", line, MAX_TASKS);
    memcpy(c->labels[c->labels_n], name, len);
    *ret_label = c->labels_n++;
    return OK;
}

static size_t unescape(const uint8_t *p, size_t len, uint8_t *out)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        uint8_t c = p[i];
        if (c == '\\' && i + 1 < len && (p[i + 1] == 'n' || p[i + 1] == 't' || p[i + 1] == '\\')) {
            i++;
            c = p[i] == 'n' ? '\n' : p[i] == 't' ? '\t' : '\\';
        }
        out[n++] = c;
    }
    return n;
}

static enum err add_example(struct training *t, uint32_t label, struct slice text, size_t line,
                            struct err_detail *detail)
{
    struct grams *g = &t->scratch;
    if (!grams_fill(t->c, g, text))
        return err_say(detail, ERR_PARSE, "line %zu: no example after the tab", line);
    if (t->c->examples_n == CLASSIFY_EXAMPLES_MAX)
        return err_say(detail, ERR_LIMIT, "line %zu: more than %d examples", line,
                       CLASSIFY_EXAMPLES_MAX);
    struct example e = {.first = (uint32_t)(t->grams.len / sizeof(struct gram)), .label = label};
    e.scale = grams_weigh(t->c, g);
    e.n = grams_list(g, t->list);
    buf_put(&t->grams, t->list, e.n * sizeof *t->list);
    buf_put(&t->examples, &e, sizeof e);
    t->c->examples_n++;
    return OK;
}

static enum err read_line(struct training *t, const uint8_t *p, size_t len, size_t line,
                          struct err_detail *detail)
{
    if (len && p[len - 1] == '\r')
        len--;
    if (len == 0 || p[0] == '#')
        return OK;
    const uint8_t *tab = memchr(p, '\t', len);
    uint32_t label = 0;
    if (!tab)
        return err_say(detail, ERR_PARSE, "line %zu: no tab between label and example", line);
    TRY(find_label(t->c, p, (size_t)(tab - p), line, &label, detail));
    size_t n = unescape(tab + 1, (size_t)(p + len - tab - 1), t->text);
    return add_example(t, label, (struct slice){t->text, n}, line, detail);
}

static enum err read_examples(struct training *t, struct slice examples, struct err_detail *detail)
{
    const uint8_t *p = examples.data, *end = p + examples.len;
    for (size_t line = 1; p < end; line++) {
        const uint8_t *eol = memchr(p, '\n', (size_t)(end - p));
        TRY(read_line(t, p, (size_t)((eol ? eol : end) - p), line, detail));
        p = eol ? eol + 1 : end;
    }
    if (t->c->labels_n < 2)
        return err_say(detail, ERR_PARSE, "the examples hold %u labels; two make a choice",
                       t->c->labels_n);
    TRY(buf_error(&t->examples));
    return buf_error(&t->grams);
}

/* ---- Training ---- */

/* ret_logits = scale sum_i value(g_i) weights(bucket_i). (stride,) */
static void sum_rows(const struct training *t, const struct gram *g, uint32_t n, float scale,
                     float *ret_logits)
{
    for (uint32_t at = 0; at < t->c->stride; at += GROUP) {
        lanes sum[2] = {{0}}, row[2];
        for (uint32_t i = 0; i < n; i++) {
            float v = t->value[g[i].count];
            memcpy(row, t->weights + (size_t)g[i].bucket * t->c->stride + at, sizeof row);
            sum[0] += v * row[0];
            sum[1] += v * row[1];
        }
        sum[0] *= scale;
        sum[1] *= scale;
        memcpy(ret_logits + at, sum, sizeof sum);
    }
}

/* weights(bucket_i) += scale value(g_i) delta. delta (stride,) */
static void add_rows(struct training *t, const struct gram *g, uint32_t n, float scale,
                     const float *delta)
{
    for (uint32_t at = 0; at < t->c->stride; at += GROUP) {
        lanes add[2], row[2];
        memcpy(add, delta + at, sizeof add);
        for (uint32_t i = 0; i < n; i++) {
            float v = scale * t->value[g[i].count];
            float *w = t->weights + (size_t)g[i].bucket * t->c->stride + at;
            memcpy(row, w, sizeof row);
            row[0] += v * add[0];
            row[1] += v * add[1];
            memcpy(w, row, sizeof row);
        }
    }
}

/* One step of dual coordinate ascent on example i; returns the largest change of its alpha.
 * At the optimum weights = C sum_i alpha_i x_i' with alpha_i = onehot(label_i) - p_i, so a step
 * moves alpha_i towards that, by the share that cannot overshoot: the loss curves by at most 1/2,
 * and x_i has length 1 [Shalev-Shwartz & Zhang 2013, SDCA, option V]. */
static float train_one(struct training *t, uint32_t i)
{
    const struct classifier *c = t->c;
    const struct example *e = (const struct example *)(const void *)t->examples.data + i;
    const struct gram *g = (const struct gram *)(const void *)t->grams.data + e->first;
    float *alpha = t->alpha + (size_t)i * c->stride;
    float logits[MAX_TASKS] = {0}, p[MAX_TASKS] = {0}, delta[MAX_TASKS] = {0}, largest = 0;
    sum_rows(t, g, e->n, e->scale, logits);
    softmax(logits, c->labels_n, p);
    const float share = 2 / (loss_weight + 2);
    for (uint32_t l = 0; l < c->labels_n; l++) {
        delta[l] = share * ((l == e->label ? 1.F : 0.F) - p[l] - alpha[l]);
        alpha[l] += delta[l];
        largest = fmaxf(largest, fabsf(delta[l]));
    }
    add_rows(t, g, e->n, loss_weight * e->scale, delta);
    return largest;
}

/* A seeded order for each epoch: examples come sorted by label in most files. */
static void shuffle(uint32_t *order, uint32_t n, uint64_t epoch)
{
    for (uint32_t i = n; i > 1; i--) {
        uint32_t j = (uint32_t)rng_below(order_seed + epoch, i, i), at = order[i - 1];
        order[i - 1] = order[j];
        order[j] = at;
    }
}

static void train(struct training *t, uint32_t *order)
{
    uint32_t n = t->c->examples_n;
    size_t grams_n = t->grams.len / sizeof(struct gram);
    double work = 2.0 * (double)grams_n * t->c->stride;
    double affordable = work_max / work;
    for (uint32_t i = 0; i < n; i++)
        order[i] = i;
    for (uint32_t epoch = 0; epoch < EPOCHS_MAX; epoch++) {
        if (epoch >= EPOCHS_MIN && epoch >= affordable)
            return;
        float largest = 0;
        shuffle(order, n, epoch);
        for (uint32_t i = 0; i < n; i++)
            largest = fmaxf(largest, train_one(t, order[i]));
        if (largest < change_least)
            return;
    }
}

/* The nearest half; ties to even. Weights are finite. */
static half half_of(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return (half)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static void keep_weights(const struct training *t)
{
    struct classifier *c = t->c;
    const float *w = t->weights;
    uint32_t *out = c->weights;
    for (size_t group = 0; group < (size_t)BUCKETS * c->stride / GROUP; group++, w += GROUP)
        for (size_t k = 0; k < LANES; k++)
            *out++ = (uint32_t)half_of(w[k]) << 16 | half_of(w[k + LANES]);
}

static enum err train_all(struct training *t, struct slice examples, struct err_detail *detail)
{
    struct classifier *c = t->c;
    bytes_fill(c);
    gains_fill(c);
    for (uint32_t n = 0; n <= UINT8_MAX; n++)
        t->value[n] = gram_value(n);
    TRY(read_examples(t, examples, detail));
    c->stride = (c->labels_n + GROUP - 1) / GROUP * GROUP;
    c->weights = mem_alloc((size_t)BUCKETS * c->stride / 2 * sizeof *c->weights);
    t->weights = mem_calloc((size_t)BUCKETS * c->stride, sizeof *t->weights);
    t->alpha = mem_calloc((size_t)c->examples_n * c->stride, sizeof *t->alpha);
    uint32_t *order = mem_alloc(c->examples_n * sizeof *order);
    enum err e = c->weights && t->weights && t->alpha && order ? OK : ERR_NOMEM;
    if (e == OK) {
        train(t, order);
        keep_weights(t);
    }
    mem_free(order);
    return e;
}

/* The examples are prompts: nothing of them stays in freed memory. */
static void training_free(struct training *t)
{
    if (!t)
        return;
    if (t->text)
        explicit_bzero(t->text, t->text_cap);
    explicit_bzero(&t->scratch, sizeof t->scratch);
    mem_free(t->text);
    mem_free(t->weights);
    mem_free(t->alpha);
    buf_done(&t->examples);
    buf_done(&t->grams);
    classify_free(t->c);
    mem_free(t);
}

enum err classify_train(struct slice examples, struct classifier **ret_classifier,
                        struct err_detail *detail)
{
    if (examples.len > CLASSIFY_BYTES_MAX)
        return err_say(detail, ERR_TOO_LARGE, "the examples have %zu bytes; at most %d",
                       examples.len, CLASSIFY_BYTES_MAX);
    struct training *t = mem_calloc(1, sizeof *t);
    enum err e = ERR_NOMEM;
    if (!t)
        goto out;
    buf_init(&t->examples);
    buf_init(&t->grams);
    t->text_cap = examples.len + 1;
    t->text = mem_alloc(t->text_cap);
    t->c = mem_calloc(1, sizeof *t->c);
    if (!t->text || !t->c)
        goto out;
    e = train_all(t, examples, detail);
    if (e != OK)
        goto out;
    *ret_classifier = t->c;
    t->c = NULL;
out:
    if (e == ERR_NOMEM)
        e = err_say(detail, e, "no memory for training a classifier");
    training_free(t);
    return e;
}

void classify_free(struct classifier *c)
{
    if (!c)
        return;
    mem_free(c->weights);
    mem_free(c);
}
