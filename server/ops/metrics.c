#include "server/ops/metrics.h"
#include "server/ops/utf8.h"
#include "state/base/mem.h"

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* What a family holds. Counters and gauges of all three kinds of value share the two TYPE lines. */
enum kind { KIND_COUNTER, KIND_GAUGE, KIND_HISTOGRAM, KIND_READER, KIND_COLLECTOR };

struct metrics_counter {
    _Atomic uint64_t value;
};

struct metrics_gauge {
    _Atomic uint64_t bits; /* Of the double. */
};

struct metrics_histogram {
    const struct metrics_buckets *shape;
    _Atomic uint64_t sum;                             /* In units of shape->unit. */
    _Atomic uint64_t counts[METRICS_BUCKETS_MAX + 1]; /* The last is above all bounds. */
};

struct series {
    struct series *next;
    char *labels; /* As rendered between the braces; "" for none. */
    union {
        struct metrics_counter counter;
        struct metrics_gauge gauge;
        struct metrics_histogram histogram;
    };
};

struct family {
    const char *name, *help;
    enum kind kind;
    enum metrics_type type; /* Of readers and collectors. */
    struct series *first, **last;
    size_t series_n;
    double (*read)(void *arg);
    void (*collect)(struct metrics_sink *sink, void *arg);
    void *arg;
};

struct metrics {
    pthread_mutex_t mutex;
    struct family families[METRICS_FAMILIES_MAX];
    size_t families_n;
};

struct metrics_sink {
    struct buf *out;
    const char *name;
    size_t samples, dropped;
};

static const double seconds_upper[] = {1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3,
                                       .01,  .025,   .05,  .1,   .25,    .5,   1,    2.5,    10};
static const double powers_upper[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096};
const struct metrics_buckets metrics_seconds = {seconds_upper,
                                                sizeof seconds_upper / sizeof *seconds_upper, 1e-9};
const struct metrics_buckets metrics_powers = {powers_upper,
                                               sizeof powers_upper / sizeof *powers_upper, 1};

static bool name_start(char c, bool colon)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (colon && c == ':');
}

static bool name_ok(const char *s, bool colon)
{
    if (!s || !name_start(*s, colon))
        return false;
    while (*++s)
        if (!name_start(*s, colon) && !(*s >= '0' && *s <= '9'))
            return false;
    return true;
}

static void put_text(struct buf *b, const char *s)
{
    buf_put(b, s, strlen(s));
}

/* help: quotes stand as they are; label values: escaped. Bad bytes become U+FFFD in both. */
static void put_escaped(struct buf *b, const char *s, bool quotes)
{
    for (size_t left = strlen(s); left;) {
        size_t n = utf8_char_len(s, left);
        if (*s == '\\')
            put_text(b, "\\\\");
        else if (*s == '\n')
            put_text(b, "\\n");
        else if (*s == '"' && quotes)
            put_text(b, "\\\"");
        else
            buf_put(b, n ? s : "\xef\xbf\xbd", n ? n : 3);
        n = n ? n : 1;
        s += n;
        left -= n;
    }
}

static bool labels_ok(const struct metrics_label *labels, size_t n)
{
    if (n > METRICS_LABELS_MAX)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!name_ok(labels[i].name, false) || !labels[i].value || !strcmp(labels[i].name, "le"))
            return false;
        for (size_t k = 0; k < i; k++)
            if (!strcmp(labels[k].name, labels[i].name))
                return false;
    }
    return true;
}

static void put_labels(struct buf *b, const struct metrics_label *labels, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        put_text(b, i ? "," : "");
        put_text(b, labels[i].name);
        put_text(b, "=\"");
        put_escaped(b, labels[i].value, true);
        put_text(b, "\"");
    }
}

static void put_number(struct buf *b, double v)
{
    char s[40];
    if (isnan(v))
        (void)snprintf(s, sizeof s, "NaN");
    else if (isinf(v))
        (void)snprintf(s, sizeof s, "%sInf", v < 0 ? "-" : "+");
    else
        (void)snprintf(s, sizeof s, "%.15g", v);
    put_text(b, s);
}

static void put_count(struct buf *b, uint64_t v)
{
    char s[24];
    (void)snprintf(s, sizeof s, "%" PRIu64, v);
    put_text(b, s);
}

/* name_suffix{labels,le="x"} and a blank; labels and le may be empty. */
static void put_name(struct buf *b, const char *name, const char *suffix, const char *labels,
                     const double *le)
{
    put_text(b, name);
    put_text(b, suffix);
    if (*labels || le) {
        put_text(b, "{");
        put_text(b, labels);
        if (le) {
            put_text(b, *labels ? ",le=\"" : "le=\"");
            put_number(b, *le);
            put_text(b, "\"");
        }
        put_text(b, "}");
    }
    put_text(b, " ");
}

enum err metrics_new(struct metrics **ret_metrics)
{
    struct metrics *m = mem_calloc(1, sizeof *m);
    if (!m)
        return ERR_NOMEM;
    (void)pthread_mutex_init(&m->mutex, NULL);
    *ret_metrics = m;
    return OK;
}

void metrics_free(struct metrics *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->families_n; i++) {
        struct series *next;
        for (struct series *s = m->families[i].first; s; s = next) {
            next = s->next;
            mem_free(s->labels);
            mem_free(s);
        }
    }
    (void)pthread_mutex_destroy(&m->mutex);
    mem_free(m);
}

static enum err family_get(struct metrics *m, const char *name, const char *help, enum kind kind,
                           struct family **ret_family)
{
    if (!name_ok(name, true))
        return ERR_BAD_NAME;
    for (size_t i = 0; i < m->families_n; i++)
        if (!strcmp(m->families[i].name, name)) {
            *ret_family = &m->families[i];
            return m->families[i].kind == kind ? OK : ERR_INVALID;
        }
    if (m->families_n == METRICS_FAMILIES_MAX)
        return ERR_LIMIT;
    struct family *f = &m->families[m->families_n++];
    f->name = name;
    f->help = help;
    f->kind = kind;
    f->last = &f->first;
    *ret_family = f;
    return OK;
}

static enum err series_add(struct family *f, const struct metrics_label *labels, size_t n,
                           struct series **ret_series)
{
    struct buf b;
    buf_init(&b);
    put_labels(&b, labels, n);
    buf_put_u8(&b, 0);
    struct series *s = mem_calloc(1, sizeof *s);
    enum err e = s ? buf_error(&b) : ERR_NOMEM;
    for (struct series *k = f->first; k && !e; k = k->next)
        if (!strcmp(k->labels, (const char *)b.data))
            e = ERR_EXISTS;
    if (!e && f->series_n == METRICS_SERIES_MAX)
        e = ERR_LIMIT;
    if (e) {
        buf_done(&b);
        mem_free(s);
        return e;
    }
    s->labels = (char *)b.data; /* The buffer's memory is the series' from here. */
    *f->last = s;
    f->last = &s->next;
    f->series_n++;
    *ret_series = s;
    return OK;
}

static enum err add(struct metrics *m, const char *name, const char *help, enum kind kind,
                    const struct metrics_label *labels, size_t n, struct series **ret_series)
{
    if (!labels_ok(labels, n))
        return ERR_BAD_NAME;
    (void)pthread_mutex_lock(&m->mutex);
    struct family *f = NULL;
    enum err e = family_get(m, name, help, kind, &f);
    if (!e)
        e = series_add(f, labels, n, ret_series);
    (void)pthread_mutex_unlock(&m->mutex);
    return e;
}

enum err metrics_add_counter(struct metrics *m, const char *name, const char *help,
                             const struct metrics_label *labels, size_t labels_n,
                             struct metrics_counter **ret_counter)
{
    struct series *s = NULL;
    TRY(add(m, name, help, KIND_COUNTER, labels, labels_n, &s));
    *ret_counter = &s->counter;
    return OK;
}

enum err metrics_add_gauge(struct metrics *m, const char *name, const char *help,
                           const struct metrics_label *labels, size_t labels_n,
                           struct metrics_gauge **ret_gauge)
{
    struct series *s = NULL;
    TRY(add(m, name, help, KIND_GAUGE, labels, labels_n, &s));
    *ret_gauge = &s->gauge;
    return OK;
}

enum err metrics_add_histogram(struct metrics *m, const char *name, const char *help,
                               const struct metrics_label *labels, size_t labels_n,
                               const struct metrics_buckets *buckets,
                               struct metrics_histogram **ret_histogram)
{
    if (buckets->n > METRICS_BUCKETS_MAX || !(buckets->unit > 0))
        return ERR_LIMIT;
    struct series *s = NULL;
    (void)pthread_mutex_lock(&m->mutex);
    struct family *f = NULL;
    enum err e = labels_ok(labels, labels_n) ? OK : ERR_BAD_NAME;
    if (!e)
        e = family_get(m, name, help, KIND_HISTOGRAM, &f);
    if (!e)
        e = series_add(f, labels, labels_n, &s);
    if (!e) {
        s->histogram.shape = buckets; /* Before a render can see the series. */
        *ret_histogram = &s->histogram;
    }
    (void)pthread_mutex_unlock(&m->mutex);
    return e;
}

static enum err add_callback(struct metrics *m, const char *name, const char *help,
                             enum metrics_type type, double (*read)(void *arg),
                             void (*collect)(struct metrics_sink *sink, void *arg), void *arg)
{
    (void)pthread_mutex_lock(&m->mutex);
    struct family *f = NULL;
    const size_t before = m->families_n;
    enum err e = family_get(m, name, help, read ? KIND_READER : KIND_COLLECTOR, &f);
    if (!e && m->families_n == before)
        e = ERR_EXISTS;
    if (!e) {
        f->type = type;
        f->read = read;
        f->collect = collect;
        f->arg = arg;
    }
    (void)pthread_mutex_unlock(&m->mutex);
    return e;
}

enum err metrics_add_reader(struct metrics *m, const char *name, const char *help,
                            enum metrics_type type, double (*read)(void *arg), void *arg)
{
    return add_callback(m, name, help, type, read, NULL, arg);
}

enum err metrics_add_collector(struct metrics *m, const char *name, const char *help,
                               enum metrics_type type,
                               void (*collect)(struct metrics_sink *sink, void *arg), void *arg)
{
    return add_callback(m, name, help, type, NULL, collect, arg);
}

void metrics_counter_add(struct metrics_counter *c, uint64_t n)
{
    if (c)
        (void)atomic_fetch_add_explicit(&c->value, n, memory_order_relaxed);
}

void metrics_gauge_set(struct metrics_gauge *g, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (g)
        atomic_store_explicit(&g->bits, bits, memory_order_relaxed);
}

void metrics_histogram_observe(struct metrics_histogram *h, double value)
{
    if (!h)
        return;
    /* 1e9 units of 1e-9 s are a second; a sum holds 584 years of them. */
    const double v = value > 0 ? value : 0;
    const double units = fmin(v / h->shape->unit, 1e15);
    size_t i = 0;
    while (i < h->shape->n && v > h->shape->upper[i])
        i++;
    (void)atomic_fetch_add_explicit(&h->counts[i], 1, memory_order_relaxed);
    (void)atomic_fetch_add_explicit(&h->sum, (uint64_t)(units + .5), memory_order_relaxed);
}

void metrics_emit(struct metrics_sink *sink, const struct metrics_label *labels, size_t labels_n,
                  double value)
{
    if (sink->samples == METRICS_SAMPLES_MAX || !labels_ok(labels, labels_n)) {
        sink->dropped++;
        return;
    }
    sink->samples++;
    put_text(sink->out, sink->name);
    if (labels_n) {
        put_text(sink->out, "{");
        put_labels(sink->out, labels, labels_n);
        put_text(sink->out, "}");
    }
    put_text(sink->out, " ");
    put_number(sink->out, value);
    put_text(sink->out, "\n");
}

/* Counts move while they are read: the total is the sum of what was read, so that the +Inf bucket
 * and _count always agree, as the format demands. */
static void render_histogram(struct buf *b, const char *name, struct series *s)
{
    struct metrics_histogram *h = &s->histogram;
    uint64_t total = 0;
    for (size_t i = 0; i <= h->shape->n; i++) {
        const double upper = i < h->shape->n ? h->shape->upper[i] : (double)INFINITY;
        total += atomic_load_explicit(&h->counts[i], memory_order_relaxed);
        put_name(b, name, "_bucket", s->labels, &upper);
        put_count(b, total);
        put_text(b, "\n");
    }
    put_name(b, name, "_sum", s->labels, NULL);
    put_number(b, (double)atomic_load_explicit(&h->sum, memory_order_relaxed) * h->shape->unit);
    put_text(b, "\n");
    put_name(b, name, "_count", s->labels, NULL);
    put_count(b, total);
    put_text(b, "\n");
}

static void render_series(struct buf *b, const struct family *f, struct series *s)
{
    if (f->kind == KIND_HISTOGRAM) {
        render_histogram(b, f->name, s);
        return;
    }
    put_name(b, f->name, "", s->labels, NULL);
    if (f->kind == KIND_COUNTER) {
        put_count(b, atomic_load_explicit(&s->counter.value, memory_order_relaxed));
    } else {
        const uint64_t bits = atomic_load_explicit(&s->gauge.bits, memory_order_relaxed);
        double v;
        memcpy(&v, &bits, sizeof v);
        put_number(b, v);
    }
    put_text(b, "\n");
}

static void render_head(struct buf *b, const char *name, const char *help, const char *type)
{
    put_text(b, "# HELP ");
    put_text(b, name);
    put_text(b, " ");
    put_escaped(b, help, false);
    put_text(b, "\n# TYPE ");
    put_text(b, name);
    put_text(b, " ");
    put_text(b, type);
    put_text(b, "\n");
}

static const char *type_name(const struct family *f)
{
    if (f->kind == KIND_HISTOGRAM)
        return "histogram";
    if (f->kind == KIND_COUNTER)
        return "counter";
    return f->kind != KIND_GAUGE && f->type == METRICS_COUNTER ? "counter" : "gauge";
}

void metrics_render(struct metrics *m, struct buf *b)
{
    struct metrics_sink sink = {b, NULL, 0, 0};
    (void)pthread_mutex_lock(&m->mutex);
    for (size_t i = 0; i < m->families_n; i++) {
        struct family *f = &m->families[i];
        render_head(b, f->name, f->help, type_name(f));
        sink.name = f->name;
        for (struct series *s = f->first; s; s = s->next)
            render_series(b, f, s);
        if (f->kind == KIND_READER)
            metrics_emit(&sink, NULL, 0, f->read(f->arg));
        else if (f->kind == KIND_COLLECTOR)
            f->collect(&sink, f->arg);
    }
    (void)pthread_mutex_unlock(&m->mutex);
    render_head(b, "shunt_metrics_samples_dropped",
                "Samples left out of this page because there were too many.", "gauge");
    put_name(b, "shunt_metrics_samples_dropped", "", "", NULL);
    put_count(b, sink.dropped);
    put_text(b, "\n");
}
