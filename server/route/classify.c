#include "server/route/classify.h"

#include "state/base/hash.h"
#include "state/base/mem.h"
#include "state/base/rng.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum {
    BUCKET_BITS = 14,
    BUCKETS = 1 << BUCKET_BITS,
    /* The window, what parts its halves, a space at each end. */
    CLEAN_CAP = CLASSIFY_PREFIX_BYTES + CLASSIFY_SUFFIX_BYTES + 3,
    /* Three of each length at every character, two at every second one for words. */
    GRAMS_MAX = 4 * CLEAN_CAP,
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

struct classifier {
    uint32_t labels_n, stride, examples_n; /* stride: labels_n, up to a multiple of 8. */
    char labels[MAX_TASKS][NAME_CAP];
    float *weights; /* (BUCKETS, stride). */
};

/* ---- From a text to its grams ---- */

struct gram {
    uint16_t bucket;
    uint16_t count;
};

/* Grams of one text. On the stack: 70 KiB. */
struct grams {
    uint8_t count[BUCKETS];      /* Stops at 255. */
    uint16_t touched[GRAMS_MAX]; /* Buckets with a count, in order of appearance. */
    uint32_t n;
    uint8_t clean[CLEAN_CAP + 8];   /* Room to load eight bytes anywhere. */
    uint16_t starts[CLEAN_CAP + 1]; /* Where each character of clean begins, and its end. */
};

static bool is_space(uint8_t c)
{
    return c <= ' ' || c == 0x7f;
}

static bool is_word(uint8_t c)
{
    return (uint8_t)((c | 32) - 'a') < 26 || (uint8_t)(c - '0') < 10 || c >= 0x80 || c == '\'';
}

/* Lower case, one space for a run of them. Returns the new length. */
static size_t clean_part(uint8_t *out, size_t n, const uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        uint8_t c = p[i];
        if (!is_space(c))
            out[n++] = (uint8_t)(c - 'A') < 26 ? (uint8_t)(c | 32) : c;
        else if (out[n - 1] != ' ')
            out[n++] = ' ';
    }
    return n;
}

/* The window of the text, with a space at both ends. */
static size_t clean_text(struct grams *g, struct slice text)
{
    const uint8_t *p = text.data;
    size_t n = 1;
    g->clean[0] = ' ';
    if (text.len <= CLASSIFY_PREFIX_BYTES + CLASSIFY_SUFFIX_BYTES) {
        n = clean_part(g->clean, n, p, text.len);
    } else {
        n = clean_part(g->clean, n, p, CLASSIFY_PREFIX_BYTES);
        n = clean_part(g->clean, n, (const uint8_t *)" ", 1);
        n = clean_part(g->clean, n, p + text.len - CLASSIFY_SUFFIX_BYTES, CLASSIFY_SUFFIX_BYTES);
    }
    if (g->clean[n - 1] != ' ')
        g->clean[n++] = ' ';
    return n;
}

static void count_gram(struct grams *g, uint64_t hash)
{
    uint32_t b = (uint32_t)(hash >> (64 - BUCKET_BITS));
    g->touched[g->n] = (uint16_t)b; /* No branch: whether a gram is new, nothing can predict. */
    uint8_t c = g->count[b];
    g->n += c == 0;
    g->count[b] = (uint8_t)(c + (c < UINT8_MAX));
}

/* Up to eight bytes, which hold no NUL: one multiplication [Knuth, 6.4], three times as fast here
 * as XXH3, which takes the longer ones. */
static uint64_t hash_gram(const uint8_t *p, size_t len)
{
    if (len > 8)
        return hash_bytes(p, len);
    uint64_t v;
    memcpy(&v, p, sizeof v);
    v &= ~(uint64_t)0 >> (64 - 8 * len);
    return (v ^ v >> 23) * 0x9e3779b97f4a7c15;
}

/* Runs of 3, 4 and 5 characters, across words. A character is a byte and the continuation bytes of
 * UTF-8 after it, whether valid or not: every byte lies in at most 12 grams. */
static void count_characters(struct grams *g, size_t len)
{
    size_t chars = 0;
    for (size_t i = 0; i < len; i++)
        if ((g->clean[i] & 0xc0) != 0x80 || i == 0)
            g->starts[chars++] = (uint16_t)i;
    g->starts[chars] = (uint16_t)len;
    for (size_t i = 0; i + 3 <= chars; i++) {
        size_t longest = chars - i < 5 ? chars - i : 5;
        for (size_t k = 3; k <= longest; k++) {
            size_t from = g->starts[i];
            count_gram(g, hash_gram(g->clean + from, g->starts[i + k] - from));
        }
    }
}

static void count_words(struct grams *g, size_t len)
{
    uint64_t before = 0;
    for (size_t i = 0; i < len;) {
        size_t from = i;
        while (i < len && is_word(g->clean[i]))
            i++;
        if (i > from) {
            /* Seeded, so that the word "the" and the characters "the" are two grams. */
            uint64_t word = hash_seeded(g->clean + from, i - from, 1);
            count_gram(g, word);
            if (before)
                count_gram(g, rng_mix(before, word));
            before = word;
        } else {
            i++;
        }
    }
}

static void grams_fill(struct grams *g, struct slice text)
{
    memset(g->count, 0, sizeof g->count);
    g->n = 0;
    size_t len = clean_text(g, text);
    if (len <= 1)
        return; /* Nothing but space. */
    count_characters(g, len);
    count_words(g, len);
}

/* 1 + ln(count): a word said ten times is not ten times the evidence. */
static float gram_value(uint32_t count)
{
    static const float small[] = {0, 1, 1.693147F, 2.098612F, 2.386294F, 2.609438F, 2.791759F};
    return count < sizeof small / sizeof *small ? small[count] : 1 + logf((float)count);
}

/* The touched buckets with their counts, (g->n,); returns 1 / length of the values. */
static float grams_list(const struct grams *g, struct gram *ret_grams)
{
    float squares = 0;
    for (uint32_t i = 0; i < g->n; i++) {
        ret_grams[i] = (struct gram){g->touched[i], g->count[g->touched[i]]};
        float v = gram_value(ret_grams[i].count);
        squares += v * v;
    }
    return 1 / sqrtf(squares);
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

/* Four labels to a register: compilers do not see that rows and sums are apart. */
typedef float four __attribute__((vector_size(16)));

/* Columns at .. at + 4 width of sum_i value(g_i) weights(bucket_i); width is a constant to the
 * compiler. Sixteen labels are one cache line of each row, so it is read once. */
static inline __attribute__((always_inline)) void sum_columns(const float *weights, size_t stride,
                                                              const struct gram *g, uint32_t n,
                                                              float scale, size_t width,
                                                              float *ret_logits)
{
    four sum[4] = {{0}}, row[4];
    for (uint32_t i = 0; i < n; i++) {
        float v = gram_value(g[i].count);
        memcpy(row, weights + g[i].bucket * stride, width * sizeof *row);
        for (size_t k = 0; k < width; k++)
            sum[k] += v * row[k];
    }
    for (size_t k = 0; k < width; k++)
        sum[k] *= scale;
    memcpy(ret_logits, sum, width * sizeof *sum);
}

/* ret_logits = scale sum_i value(g_i) weights(bucket_i). (stride,) */
static void sum_rows(const struct classifier *c, const struct gram *g, uint32_t n, float scale,
                     float *ret_logits)
{
    uint32_t at = 0;
    for (; at + 16 <= c->stride; at += 16)
        sum_columns(c->weights + at, c->stride, g, n, scale, 4, ret_logits + at);
    if (at < c->stride)
        sum_columns(c->weights + at, c->stride, g, n, scale, 2, ret_logits + at);
}

/* weights(bucket_i) += scale value(g_i) delta. delta (stride,) */
static void add_rows(struct classifier *c, const struct gram *g, uint32_t n, float scale,
                     const float *delta)
{
    for (uint32_t at = 0; at < c->stride; at += 8) {
        four add[2], row[2];
        memcpy(add, delta + at, sizeof add);
        for (uint32_t i = 0; i < n; i++) {
            float v = scale * gram_value(g[i].count);
            float *w = c->weights + (size_t)g[i].bucket * c->stride + at;
            memcpy(row, w, sizeof row);
            row[0] += v * add[0];
            row[1] += v * add[1];
            memcpy(w, row, sizeof row);
        }
    }
}

bool classify_text(const struct classifier *c, struct slice text, float ret_p[MAX_TASKS])
{
    memset(ret_p, 0, MAX_TASKS * sizeof *ret_p);
    if (!c || text.len == 0)
        return false;
    struct grams g;
    grams_fill(&g, text);
    if (g.n == 0)
        return false;
    struct gram list[GRAMS_MAX];
    float logits[MAX_TASKS] = {0};
    float scale = grams_list(&g, list);
    sum_rows(c, list, g.n, scale, logits);
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
    float *alpha;  /* (examples_n, stride). */
    uint8_t *text; /* One example, its escapes undone. */
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
    grams_fill(g, text);
    if (g->n == 0)
        return err_say(detail, ERR_PARSE, "line %zu: no example after the tab", line);
    if (t->c->examples_n == CLASSIFY_EXAMPLES_MAX)
        return err_say(detail, ERR_LIMIT, "line %zu: more than %d examples", line,
                       CLASSIFY_EXAMPLES_MAX);
    struct example e = {(uint32_t)(t->grams.len / sizeof(struct gram)), g->n, label, 0};
    e.scale = grams_list(g, t->list);
    buf_put(&t->grams, t->list, g->n * sizeof *t->list);
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
    sum_rows(c, g, e->n, e->scale, logits);
    softmax(logits, c->labels_n, p);
    const float share = 2 / (loss_weight + 2);
    for (uint32_t l = 0; l < c->labels_n; l++) {
        delta[l] = share * ((l == e->label ? 1.F : 0.F) - p[l] - alpha[l]);
        alpha[l] += delta[l];
        largest = fmaxf(largest, fabsf(delta[l]));
    }
    add_rows(t->c, g, e->n, loss_weight * e->scale, delta);
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

static enum err train_all(struct training *t, struct slice examples, struct err_detail *detail)
{
    struct classifier *c = t->c;
    TRY(read_examples(t, examples, detail));
    c->stride = (c->labels_n + 7) / 8 * 8;
    c->weights = mem_calloc((size_t)BUCKETS * c->stride, sizeof *c->weights);
    t->alpha = mem_calloc((size_t)c->examples_n * c->stride, sizeof *t->alpha);
    uint32_t *order = mem_alloc(c->examples_n * sizeof *order);
    enum err e = c->weights && t->alpha && order ? OK : ERR_NOMEM;
    if (e == OK)
        train(t, order);
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
