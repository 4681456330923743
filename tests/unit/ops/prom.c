#include "tests/unit/ops/prom.h"
#include "server/ops/utf8.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct parser {
    struct prom_page *page;
    int line;
    char family[128], type[16]; /* The block we are in; type "" until its TYPE line. */
    bool help_seen, samples_seen;
    char closed[512][128]; /* Families that may not come back. */
    size_t closed_n;
};

__attribute__((format(printf, 2, 3))) static bool fail(struct parser *p, const char *fmt, ...)
{
    va_list ap;
    int n = snprintf(p->page->error, sizeof p->page->error, "line %d: ", p->line);
    va_start(ap, fmt);
    (void)vsnprintf(p->page->error + n, sizeof p->page->error - (size_t)n, fmt, ap);
    va_end(ap);
    return false;
}

static size_t name_len(const char *s, bool colon)
{
    size_t n = strspn(s, colon ? "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_:0123456789"
                               : "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789");
    return n && n < 128 && !(s[0] >= '0' && s[0] <= '9') ? n : 0;
}

static bool enter_family(struct parser *p, const char *name, size_t n)
{
    if (strlen(p->family) == n && !strncmp(p->family, name, n))
        return true;
    if (p->family[0])
        (void)snprintf(p->closed[p->closed_n++], 128, "%s", p->family);
    (void)snprintf(p->family, sizeof p->family, "%.*s", (int)n, name);
    p->type[0] = '\0';
    p->help_seen = p->samples_seen = false;
    for (size_t i = 0; i < p->closed_n; i++)
        if (!strcmp(p->closed[i], p->family))
            return fail(p, "family %s has a second block", p->family);
    return p->closed_n < 511 || fail(p, "too many families");
}

static bool parse_comment(struct parser *p, const char *s)
{
    const bool help = !strncmp(s, "# HELP ", 7), type = !strncmp(s, "# TYPE ", 7);
    if (!help && !type)
        return true; /* A comment. */
    const size_t n = name_len(s + 7, true);
    if (!n || s[7 + n] != ' ')
        return fail(p, "no metric name after %.6s", s);
    if (!enter_family(p, s + 7, n))
        return false;
    const char *rest = s + 7 + n + 1;
    if (help) {
        for (const char *c = rest; *c; c++)
            if (*c == '\\' && *++c != '\\' && *c != 'n')
                return fail(p, "bad escape in help");
        if (p->help_seen || p->samples_seen)
            return fail(p, "HELP twice or after samples");
        p->help_seen = true;
        return true;
    }
    if (p->type[0] || p->samples_seen)
        return fail(p, "TYPE twice or after samples");
    if (strcmp(rest, "counter") != 0 && strcmp(rest, "gauge") != 0 &&
        strcmp(rest, "histogram") != 0)
        return fail(p, "unknown type \"%s\"", rest);
    (void)snprintf(p->type, sizeof p->type, "%s", rest);
    return true;
}

/* s stands after '{'; returns what follows '}', NULL on error. */
static const char *parse_labels(struct parser *p, const char *s)
{
    for (;;) {
        const size_t n = name_len(s, false);
        if (!n || s[n] != '=' || s[n + 1] != '"') {
            (void)fail(p, "bad label near \"%.20s\"", s);
            return NULL;
        }
        for (s += n + 2; *s != '"'; s++) {
            if (!*s || (*s == '\\' && *++s != '\\' && *s != '"' && *s != 'n')) {
                (void)fail(p, "bad label value");
                return NULL;
            }
        }
        s++;
        if (*s == '}')
            return s + 1;
        if (*s++ != ',') {
            (void)fail(p, "labels not closed");
            return NULL;
        }
    }
}

static bool belongs(const struct parser *p, const char *name)
{
    const size_t n = strlen(p->family);
    if (strncmp(name, p->family, n) != 0)
        return false;
    if (strcmp(p->type, "histogram") != 0)
        return !name[n];
    return !strcmp(name + n, "_bucket") || !strcmp(name + n, "_sum") || !strcmp(name + n, "_count");
}

static bool parse_value(struct parser *p, const char *s, double *ret_value)
{
    char *end;
    *ret_value = strtod(s, &end);
    const bool special = !strcmp(s, "NaN") || !strcmp(s, "+Inf") || !strcmp(s, "-Inf");
    const bool plain = strspn(s, "0123456789+-.e") == strlen(s);
    if (end == s || *end || (!special && !plain))
        return fail(p, "\"%s\" is no value", s);
    return true;
}

static bool parse_sample(struct parser *p, const char *s)
{
    struct prom_page *page = p->page;
    if (page->n % 256 == 0) {
        struct prom_sample *more = realloc(page->samples, (page->n + 256) * sizeof *page->samples);
        if (!more)
            return fail(p, "out of memory");
        page->samples = more;
    }
    struct prom_sample *out = &page->samples[page->n];
    memset(out, 0, sizeof *out);
    const size_t n = name_len(s, true);
    if (!n)
        return fail(p, "no metric name in \"%.30s\"", s);
    (void)snprintf(out->name, sizeof out->name, "%.*s", (int)n, s);
    if (!p->type[0] || !belongs(p, out->name))
        return fail(p, "%s stands outside its family's block", out->name);
    s += n;
    if (*s == '{') {
        const char *end = parse_labels(p, s + 1);
        if (!end)
            return false;
        if ((size_t)(end - s) > sizeof out->labels)
            return fail(p, "labels too long for this parser");
        (void)snprintf(out->labels, sizeof out->labels, "%.*s", (int)(end - s - 2), s + 1);
        s = end;
    }
    if (*s++ != ' ')
        return fail(p, "no blank before the value");
    if (!parse_value(p, s, &out->value))
        return false;
    if (prom_find(page, out->name, out->labels))
        return fail(p, "%s{%s} comes twice", out->name, out->labels);
    memcpy(out->family, p->family, sizeof out->family);
    memcpy(out->type, p->type, sizeof out->type);
    p->samples_seen = true;
    page->n++;
    return true;
}

/* Buckets come in rising order of `le`, so a run of them ends at +Inf and is followed by _sum and
 * _count of the same labels. */
static bool check_histograms(struct parser *p)
{
    double last = 0, bound = -HUGE_VAL;
    for (size_t i = 0; i < p->page->n; i++) {
        const struct prom_sample *s = &p->page->samples[i];
        if (strcmp(s->type, "histogram") != 0 ||
            strcmp(s->name + strlen(s->family), "_bucket") != 0)
            continue;
        const char *le = strstr(s->labels, "le=\"");
        if (!le)
            return fail(p, "%s without le", s->name);
        const double upper = strtod(le + 4, NULL);
        if (!(upper > bound) || s->value < last)
            return fail(p, "buckets of %s do not rise", s->family);
        bound = upper;
        last = s->value;
        if (isinf(upper)) {
            if (i + 2 >= p->page->n || strcmp(s[2].name + strlen(s->family), "_count") != 0 ||
                s[2].value < last || s[2].value > last)
                return fail(p, "+Inf of %s is not its count", s->family);
            last = 0;
            bound = -HUGE_VAL;
        }
    }
    return !(bound > -HUGE_VAL) || fail(p, "a histogram without +Inf");
}

static bool parse_lines(struct parser *p, char *text, size_t len)
{
    for (size_t i = 0; i < len;) {
        const size_t n = utf8_char_len(text + i, len - i);
        if (!n || !text[i] || text[i] == '\r')
            return fail(p, "not UTF-8 text at byte %zu", i);
        i += n;
    }
    if (len && text[len - 1] != '\n')
        return fail(p, "the last line has no newline");
    char *next;
    for (char *s = text; *s; s = next) {
        p->line++;
        next = strchr(s, '\n');
        *next++ = '\0';
        const bool good = *s == '#' ? parse_comment(p, s) : !*s || parse_sample(p, s);
        if (!good)
            return false;
    }
    return check_histograms(p);
}

bool prom_parse(const char *text, size_t len, struct prom_page *ret_page)
{
    memset(ret_page, 0, sizeof *ret_page);
    struct parser *p = calloc(1, sizeof *p);
    char *copy = malloc(len + 1);
    bool good = false;
    if (p && copy) {
        p->page = ret_page;
        memcpy(copy, text, len);
        copy[len] = '\0';
        good = parse_lines(p, copy, len);
    }
    free(copy);
    free(p);
    return good;
}

void prom_free(struct prom_page *page)
{
    free(page->samples);
    page->samples = NULL;
}

const struct prom_sample *prom_find(const struct prom_page *page, const char *name,
                                    const char *labels)
{
    for (size_t i = 0; i < page->n; i++)
        if (!strcmp(page->samples[i].name, name) && !strcmp(page->samples[i].labels, labels))
            return &page->samples[i];
    return NULL;
}
