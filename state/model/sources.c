#include "state/model/sources.h"

#include "state/base/hash.h"

#include <stdio.h>
#include <string.h>

static const char *const trusts[] = {"fold", "log_only", "refuse"};
enum { TRUST_N = 3 };

/* ---- rules ---- */

static struct slice next_word(struct slice *text)
{
    const char *p = text->data, *end = p ? p + text->len : p;
    while (p < end && *p == ' ')
        p++;
    const char *start = p;
    while (p < end && *p != ' ')
        p++;
    *text = (struct slice){p, (size_t)(end - p)};
    return (struct slice){start, (size_t)(p - start)};
}

static bool word_is(struct slice word, const char *text)
{
    return word.len == strlen(text) && memcmp(word.data, text, word.len) == 0;
}

/* "KEY=N", N in [1, 1e9]. */
static bool cap_in(struct slice word, const char *key, uint32_t *ret)
{
    size_t len = strlen(key);
    const char *s = word.data;
    uint64_t v = 0;
    if (word.len <= len || word.len > len + 10 || memcmp(s, key, len) != 0)
        return false;
    for (size_t i = len; i < word.len; i++) {
        if (s[i] < '0' || s[i] > '9')
            return false;
        v = v * 10 + (uint64_t)(s[i] - '0');
    }
    if (v < 1 || v > 1000000000)
        return false;
    *ret = (uint32_t)v;
    return true;
}

enum err source_rule_parse(struct slice text, struct source_rule *ret, struct err_detail *detail)
{
    struct source_rule rule = {TRUST_FOLD, 0, 0};
    struct slice rest = text, word = next_word(&rest);
    uint32_t t = 0;
    while (word.len && t < TRUST_N && !word_is(word, trusts[t]))
        t++;
    if (t == TRUST_N)
        return err_say(detail, ERR_INVALID,
                       "sources: a rule begins with fold, log_only or refuse, not with `%.*s`",
                       (int)(word.len < 32 ? word.len : 32), (const char *)word.data);
    rule.trust = (enum trust)t;
    for (word = next_word(&rest); word.len; word = next_word(&rest))
        if (!cap_in(word, "max_per_s=", &rule.max_per_s) &&
            !cap_in(word, "max_per_min=", &rule.max_per_min))
            return err_say(
                detail, ERR_INVALID,
                "sources: `%.*s` is neither max_per_s=N nor max_per_min=N, N in [1, 1e9]",
                (int)(word.len < 32 ? word.len : 32), (const char *)word.data);
    *ret = rule;
    return OK;
}

void source_rule_print(const struct source_rule *rule, char ret_text[SOURCE_RULE_CAP])
{
    int n = snprintf(ret_text, SOURCE_RULE_CAP, "%s", trusts[rule->trust]);
    if (rule->max_per_s)
        n +=
            snprintf(ret_text + n, (size_t)(SOURCE_RULE_CAP - n), " max_per_s=%u", rule->max_per_s);
    if (rule->max_per_min)
        (void)snprintf(ret_text + n, (size_t)(SOURCE_RULE_CAP - n), " max_per_min=%u",
                       rule->max_per_min);
}

/* ---- the table ---- */

/* Where the name stands or would stand. */
static uint32_t find_place(const struct sources *s, struct slice name, bool *ret_there)
{
    *ret_there = false;
    for (uint32_t i = 0; i < s->n; i++) {
        size_t len = strlen(s->all[i].name), both = len < name.len ? len : name.len;
        int order = both ? memcmp(s->all[i].name, name.data, both) : 0;
        *ret_there = order == 0 && len == name.len;
        if (order > 0 || (order == 0 && len >= name.len))
            return i;
    }
    return s->n;
}

static enum err put(struct sources *s, struct slice name, const struct source_rule *rule,
                    struct err_detail *detail)
{
    if (!name_valid(name.data, name.len))
        return err_say(detail, ERR_BAD_NAME,
                       "sources: a source's name is 1 to 64 of A-Z a-z 0-9 . _ / - and no part . "
                       "or ..");
    if (word_is(name, SOURCE_DEFAULT))
        return err_say(detail, ERR_INVALID,
                       "sources: `" SOURCE_DEFAULT "` is the server's own source and has no rule");
    bool there;
    uint32_t i = find_place(s, name, &there);
    if (!there && s->n == MAX_SOURCES)
        return err_say(detail, ERR_OUT_OF_RANGE, "sources: more than %d", MAX_SOURCES);
    if (!there) {
        memmove(&s->all[i + 1], &s->all[i], (s->n - i) * sizeof *s->all);
        s->n++;
    }
    memset(&s->all[i], 0, sizeof s->all[i]);
    memcpy(s->all[i].name, name.data, name.len);
    s->all[i].rule = *rule;
    return OK;
}

enum err sources_put(struct sources *s, struct slice name, struct slice rule,
                     struct err_detail *detail)
{
    struct source_rule r;
    TRY(source_rule_parse(rule, &r, detail));
    return put(s, name, &r, detail);
}

uint32_t sources_find(const struct sources *s, struct slice name)
{
    bool there = false;
    uint32_t i = name.len ? find_place(s, name, &there) : 0;
    return there ? i : s->n;
}

bool sources_remove(struct sources *s, struct slice name)
{
    uint32_t i = sources_find(s, name);
    if (i == s->n)
        return false;
    memmove(&s->all[i], &s->all[i + 1], (s->n - i - 1) * sizeof *s->all);
    memset(&s->all[--s->n], 0, sizeof *s->all);
    return true;
}

const struct source_rule *sources_rule(const struct sources *s, const char *name)
{
    static const struct source_rule own = {TRUST_FOLD, 0, 0};
    if (strcmp(name, SOURCE_DEFAULT) == 0)
        return &own;
    uint32_t i = sources_find(s, (struct slice){name, strlen(name)});
    return i < s->n ? &s->all[i].rule : &s->unknown;
}

/* ---- bytes ---- */

static void put_rule(const struct source_rule *rule, struct buf *out)
{
    buf_put_u8(out, (uint8_t)rule->trust);
    buf_put_u32(out, rule->max_per_s);
    buf_put_u32(out, rule->max_per_min);
}

static void take_rule(struct reader *r, struct source_rule *ret)
{
    uint32_t trust = reader_u8(r);
    if (trust >= TRUST_N) {
        r->failed = true;
        trust = 0;
    }
    ret->trust = (enum trust)trust;
    ret->max_per_s = reader_u32(r);
    ret->max_per_min = reader_u32(r);
}

void sources_encode(const struct sources *s, struct buf *out)
{
    put_rule(&s->unknown, out);
    buf_put_u8(out, (uint8_t)s->n);
    for (uint32_t i = 0; i < s->n; i++) {
        buf_put_str(out, s->all[i].name);
        put_rule(&s->all[i].rule, out);
    }
}

void sources_decode(struct reader *r, struct sources *ret)
{
    memset(ret, 0, sizeof *ret);
    take_rule(r, &ret->unknown);
    uint32_t n = reader_u8(r);
    for (uint32_t i = 0; i < n && !r->failed; i++) {
        struct source_rule rule;
        size_t len = reader_u16(r);
        const char *name = reader_take(r, len);
        take_rule(r, &rule);
        /* In order and each once: there is one form, so what stood last before this must stay last
         * but one. */
        if (r->failed || put(ret, (struct slice){name, len}, &rule, NULL) != OK ||
            ret->n != i + 1 || memcmp(ret->all[i].name, name, len) != 0)
            r->failed = true;
    }
}

/* ---- counts ---- */

uint32_t source_tag(const char *name)
{
    uint32_t tag = (uint32_t)hash_bytes(name, strlen(name));
    return tag ? tag : 1;
}

bool source_is_named(uint32_t tag)
{
    return tag != source_tag("") && tag != source_tag(SOURCE_DEFAULT);
}

const struct source_count *source_counts_find(const struct source_counts *c, const char *name)
{
    for (uint32_t i = 0; i < c->n; i++)
        if (strcmp(c->all[i].name, name) == 0)
            return &c->all[i];
    return NULL;
}

struct source_count *source_counts_of(struct source_counts *c, const char *name)
{
    for (uint32_t i = 0; i < c->n; i++)
        if (strcmp(c->all[i].name, name) == 0)
            return &c->all[i];
    if (c->n == MAX_SOURCE_COUNTS)
        return &c->others;
    struct source_count *fresh = &c->all[c->n++];
    memset(fresh, 0, sizeof *fresh);
    memcpy(fresh->name, name, strlen(name) + 1);
    return fresh;
}

static void put_count(const struct source_count *c, struct buf *out)
{
    buf_put_u64(out, c->folded);
    buf_put_u64(out, c->logged);
    buf_put_u64(out, c->beaten);
    buf_put_u64(out, c->forgotten);
}

static void take_count(struct reader *r, struct source_count *ret)
{
    ret->folded = reader_u64(r);
    ret->logged = reader_u64(r);
    ret->beaten = reader_u64(r);
    ret->forgotten = reader_u64(r);
}

void source_counts_encode(const struct source_counts *c, struct buf *out)
{
    put_count(&c->others, out);
    buf_put_u8(out, (uint8_t)c->n);
    for (uint32_t i = 0; i < c->n; i++) {
        buf_put_str(out, c->all[i].name);
        put_count(&c->all[i], out);
    }
}

void source_counts_decode(struct reader *r, struct source_counts *ret)
{
    memset(ret, 0, sizeof *ret);
    take_count(r, &ret->others);
    uint32_t n = reader_u8(r);
    if (n > MAX_SOURCE_COUNTS)
        r->failed = true;
    for (uint32_t i = 0; i < n && !r->failed; i++) {
        struct source_count *c = &ret->all[i];
        const uint8_t *start = r->p;
        reader_str(r, c->name, NAME_CAP);
        size_t len = r->failed ? 0 : strlen(c->name);
        if (!r->failed && (len + 2 != (size_t)(r->p - start) ||
                           (len && !name_valid(c->name, len)) || source_counts_find(ret, c->name)))
            r->failed = true;
        take_count(r, c);
        ret->n++;
    }
}
