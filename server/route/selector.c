#include "server/route/selector.h"

#include <stdio.h>
#include <string.h>

/* What a token may be. Whether `in` is a word or an operator depends on where it stands. */
enum kind { END, WORD, COMMA, OPEN, CLOSE, NOT, EQUAL, UNEQUAL, ABOVE, BELOW, UNKNOWN };

struct token {
    enum kind kind;
    size_t at; /* First byte, from 0. */
    struct slice text;
};

struct parser {
    const char *text;
    size_t len, at;
    const char *what; /* The field, for the sentence. */
    struct token next;
    struct selector *out;
    struct err_detail *detail;
};

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool special(char c)
{
    return c == '=' || c == '!' || c == '(' || c == ')' || c == ',' || c == '>' || c == '<';
}

/* The longest operator that begins here; a run of signs that is none, such as `=!`, is cut where
 * the longest one ends. */
static enum kind sign(const char *s, size_t left, size_t *ret_len)
{
    bool equal_next = left > 1 && s[1] == '=';
    *ret_len = 1;
    switch (s[0]) {
    case ',':
        return COMMA;
    case '(':
        return OPEN;
    case ')':
        return CLOSE;
    case '>':
        return ABOVE;
    case '<':
        return BELOW;
    case '!':
        *ret_len = equal_next ? 2 : 1;
        return equal_next ? UNEQUAL : NOT;
    case '=':
        *ret_len = equal_next ? 2 : 1;
        return EQUAL;
    }
    return UNKNOWN;
}

static void advance(struct parser *p)
{
    while (p->at < p->len && blank(p->text[p->at]))
        p->at++;
    struct token *t = &p->next;
    const char *s = p->text + p->at;
    size_t left = p->len - p->at, n = 0;
    t->at = p->at;
    if (left == 0) {
        t->kind = END;
    } else if (special(*s)) {
        t->kind = sign(s, left, &n);
    } else {
        while (n < left && !special(s[n]) && !blank(s[n]))
            n++;
        t->kind = WORD;
    }
    t->text = (struct slice){s, n};
    p->at += n;
}

/* The token as people may see it: what is no printable ASCII must not reach a terminal or a log. */
static void show(const struct token *t, char *ret_text, size_t cap)
{
    const unsigned char *s = t->text.data;
    if (t->kind == END) {
        (void)snprintf(ret_text, cap, "its end");
        return;
    }
    for (size_t i = 0; i < t->text.len && i < 32; i++)
        if (s[i] < 0x20 || s[i] > 0x7e) {
            (void)snprintf(ret_text, cap, "byte 0x%02x", s[i]);
            return;
        }
    bool cut = t->text.len > 32;
    (void)snprintf(ret_text, cap, "`%.*s%s`", cut ? 32 : (int)t->text.len, (const char *)s,
                   cut ? "..." : "");
}

static enum err expected(struct parser *p, const char *want)
{
    char found[48];
    show(&p->next, found, sizeof found);
    return err_say(p->detail, ERR_BAD_SELECTOR, "%s, position %zu: found %s; expected %s", p->what,
                   p->next.at + 1, found, want);
}

static bool is_word(const struct token *t, const char *word)
{
    return t->kind == WORD && t->text.len == strlen(word) &&
           memcmp(t->text.data, word, t->text.len) == 0;
}

static enum err take_key(struct parser *p, struct selector_requirement *r)
{
    if (p->next.kind != WORD)
        return expected(p, r->test == SELECTOR_ABSENT ? "a label's key" : "a label's key or `!`");
    if (!label_key_valid(p->next.text.data, p->next.text.len))
        return expected(p, "a label's key: [PREFIX/]NAME, NAME 1 to 63 of A-Z a-z 0-9 - _ . with a "
                           "letter or digit at both ends, PREFIX a DNS subdomain");
    r->key = p->next.text;
    advance(p);
    return OK;
}

/* A word, or nothing: the empty value. */
static enum err take_value(struct parser *p, struct selector_requirement *r)
{
    struct slice v = {p->text + p->next.at, 0};
    if (p->next.kind == WORD) {
        v = p->next.text;
        if (!label_value_valid(v.data, v.len))
            return expected(p, "a label's value: 1 to 63 of A-Z a-z 0-9 - _ . with a letter or "
                               "digit at both ends");
    }
    if (r->values_n == SELECTOR_VALUES)
        return err_say(p->detail, ERR_BAD_SELECTOR, "%s, position %zu: more than %d values",
                       p->what, p->next.at + 1, SELECTOR_VALUES);
    p->out->values[p->out->values_n++] = v;
    r->values_n++;
    if (p->next.kind == WORD)
        advance(p);
    return OK;
}

static enum err take_set(struct parser *p, struct selector_requirement *r)
{
    advance(p); /* in or notin */
    if (p->next.kind != OPEN)
        return expected(p, "`(`");
    do {
        advance(p);
        TRY(take_value(p, r));
    } while (p->next.kind == COMMA);
    if (p->next.kind != CLOSE)
        return expected(p, "`,` or `)`");
    advance(p);
    return OK;
}

static enum err take_exact(struct parser *p, struct selector_requirement *r)
{
    r->test = p->next.kind == UNEQUAL ? SELECTOR_NOT_IN : SELECTOR_IN;
    advance(p);
    if (p->next.kind != WORD && p->next.kind != COMMA && p->next.kind != END)
        return expected(p, "a value, `,` or the end");
    return take_value(p, r);
}

/* Digits alone, below 2^63: the same for a label's value and for the number it is compared with. */
static bool whole_number(const char *s, size_t len, int64_t *ret_number)
{
    uint64_t v = 0;
    for (size_t i = 0; i < len; i++) {
        uint64_t digit = (uint64_t)s[i] - '0';
        if (s[i] < '0' || s[i] > '9' || v > (INT64_MAX - digit) / 10)
            return false;
        v = 10 * v + digit;
    }
    *ret_number = (int64_t)v;
    return len > 0;
}

static enum err take_number(struct parser *p, struct selector_requirement *r)
{
    r->test = p->next.kind == ABOVE ? SELECTOR_ABOVE : SELECTOR_BELOW;
    advance(p);
    if (p->next.kind != WORD || !whole_number(p->next.text.data, p->next.text.len, &r->number))
        return expected(p, "a whole number");
    advance(p);
    return OK;
}

static enum err take_test(struct parser *p, struct selector_requirement *r)
{
    r->values_at = p->out->values_n;
    if (p->next.kind == EQUAL || p->next.kind == UNEQUAL)
        return take_exact(p, r);
    if (p->next.kind == ABOVE || p->next.kind == BELOW)
        return take_number(p, r);
    if (is_word(&p->next, "in") || is_word(&p->next, "notin")) {
        r->test = is_word(&p->next, "in") ? SELECTOR_IN : SELECTOR_NOT_IN;
        return take_set(p, r);
    }
    if (p->next.kind != COMMA && p->next.kind != END)
        return expected(p, "`=`, `==`, `!=`, `in`, `notin`, `>`, `<`, `,` or the end");
    r->test = SELECTOR_EXISTS;
    return OK;
}

static enum err take_requirement(struct parser *p)
{
    if (p->out->n == SELECTOR_REQUIREMENTS)
        return err_say(p->detail, ERR_BAD_SELECTOR, "%s, position %zu: more than %d requirements",
                       p->what, p->next.at + 1, SELECTOR_REQUIREMENTS);
    struct selector_requirement *r = &p->out->requirements[p->out->n];
    memset(r, 0, sizeof *r);
    bool absent = p->next.kind == NOT;
    r->test = absent ? SELECTOR_ABSENT : SELECTOR_EXISTS;
    if (absent)
        advance(p);
    TRY(take_key(p, r));
    if (!absent)
        TRY(take_test(p, r));
    else if (p->next.kind != COMMA && p->next.kind != END)
        return expected(p, "`,` or the end");
    p->out->n++;
    return OK;
}

enum err selector_parse(struct slice text, const char *what, struct selector *ret_selector,
                        struct err_detail *detail)
{
    struct parser p = {
        .text = text.data, .len = text.len, .what = what, .out = ret_selector, .detail = detail};
    if (text.len > SELECTOR_BYTES)
        return err_say(detail, ERR_TOO_LARGE, "%s: %zu bytes; at most %d", what, text.len,
                       SELECTOR_BYTES);
    ret_selector->n = ret_selector->values_n = 0;
    if (text.len == 0)
        return OK;
    advance(&p);
    if (p.next.kind == END)
        return OK;
    for (;;) {
        TRY(take_requirement(&p));
        if (p.next.kind == END)
            return OK;
        if (p.next.kind != COMMA)
            return expected(&p, "`,` or the end");
        advance(&p);
    }
}

enum err selector_check_stages(const struct stages *stages, struct err_detail *detail)
{
    struct selector s;
    for (uint32_t i = 0; i < stages->n; i++) {
        char what[NAME_CAP + 16];
        (void)snprintf(what, sizeof what, "stages.%s", stages->all[i].name);
        struct slice text = {stages->all[i].allowed, strlen(stages->all[i].allowed)};
        TRY(selector_parse(text, what, &s, detail));
    }
    return OK;
}

/* The value of the arm's label, "" of a tag; NULL when it has neither. */
static const char *arm_value(const struct arm_config *arm, struct slice key)
{
    const char *value = labels_get(&arm->labels, key.data, key.len);
    for (uint32_t i = 0; !value && i < arm->tags_n; i++)
        if (strlen(arm->tags[i]) == key.len && memcmp(arm->tags[i], key.data, key.len) == 0)
            value = "";
    return value;
}

static bool among(const struct selector *s, const struct selector_requirement *r, const char *value)
{
    size_t len = strlen(value);
    for (uint32_t i = 0; i < r->values_n; i++) {
        const struct slice *v = &s->values[r->values_at + i];
        if (v->len == len && memcmp(v->data, value, len) == 0)
            return true;
    }
    return false;
}

static bool holds(const struct selector *s, const struct selector_requirement *r, const char *value)
{
    int64_t number;
    switch (r->test) {
    case SELECTOR_IN:
        return value && among(s, r, value);
    case SELECTOR_NOT_IN:
        return !value || !among(s, r, value);
    case SELECTOR_EXISTS:
        return value != NULL;
    case SELECTOR_ABSENT:
        return !value;
    case SELECTOR_ABOVE:
        return value && whole_number(value, strlen(value), &number) && number > r->number;
    case SELECTOR_BELOW:
        return value && whole_number(value, strlen(value), &number) && number < r->number;
    }
    return false;
}

bool selector_matches(const struct selector *selector, const struct arm_config *arm)
{
    for (uint32_t i = 0; i < selector->n; i++) {
        const struct selector_requirement *r = &selector->requirements[i];
        if (!holds(selector, r, arm_value(arm, r->key)))
            return false;
    }
    return true;
}
