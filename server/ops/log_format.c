#include "server/ops/log.h"
#include "server/ops/utf8.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static const char truncated[] = ",\"truncated\":true";

/* Room for the closing words is taken off the capacity beforehand, so that they always fit. */
struct line {
    char *p;
    size_t len, cap;
    bool cut;
};

static bool put(struct line *l, const char *s, size_t n)
{
    if (n > l->cap - l->len) {
        l->cut = true;
        return false;
    }
    memcpy(l->p + l->len, s, n);
    l->len += n;
    return true;
}

static size_t escape(const char *s, size_t left, char ret[8], size_t *ret_n)
{
    const unsigned char c = (unsigned char)s[0];
    const char *two = c == '"'    ? "\\\""
                      : c == '\\' ? "\\\\"
                      : c == '\n' ? "\\n"
                      : c == '\r' ? "\\r"
                      : c == '\t' ? "\\t"
                                  : NULL;
    if (two) {
        memcpy(ret, two, 2);
        *ret_n = 2;
        return 1;
    }
    if (c < 0x20 || c == 0x7f) {
        *ret_n = (size_t)snprintf(ret, 8, "\\u%04x", c);
        return 1;
    }
    const size_t n = utf8_char_len(s, left);
    memcpy(ret, n ? s : "\\ufffd", n ? n : 6);
    *ret_n = n ? n : 6;
    return n ? n : 1;
}

/* A cut string stays a string: its closing quote has a byte kept for it. */
static void put_string(struct line *l, const char *s, size_t len)
{
    if (l->cap - l->len < 2) {
        l->cut = true;
        return;
    }
    l->p[l->len++] = '"';
    l->cap--;
    for (size_t i = 0; i < len && !l->cut;) {
        char out[8];
        size_t n;
        const size_t used = escape(s + i, len - i, out, &n);
        if (!put(l, out, n))
            break;
        i += used;
    }
    l->cap++;
    l->p[l->len++] = '"';
}

static void put_value(struct line *l, const struct log_field *f)
{
    char number[40];
    int n = 0;
    switch (f->kind) {
    case LOG_KIND_STR:
        if (!f->v.str)
            (void)put(l, "null", 4);
        else
            put_string(l, f->v.str, f->len == SIZE_MAX ? strlen(f->v.str) : f->len);
        return;
    case LOG_KIND_INT:
        n = snprintf(number, sizeof number, "%" PRId64, f->v.i);
        break;
    case LOG_KIND_UINT:
        n = snprintf(number, sizeof number, "%" PRIu64, f->v.u);
        break;
    case LOG_KIND_NUM:
        n = isfinite(f->v.d) ? snprintf(number, sizeof number, "%.9g", f->v.d)
                             : snprintf(number, sizeof number, "null");
        break;
    case LOG_KIND_BOOL:
        n = snprintf(number, sizeof number, "%s", f->v.b ? "true" : "false");
        break;
    case LOG_KIND_END:
        return;
    }
    (void)put(l, number, (size_t)n);
}

static void put_field(struct line *l, const struct log_field *f)
{
    const size_t start = l->len;
    if (!put(l, ",", 1))
        return;
    put_string(l, f->key, strlen(f->key));
    if (!l->cut)
        (void)put(l, ":", 1);
    const size_t value = l->len;
    if (!l->cut)
        put_value(l, f);
    /* A key without a value, or half a number, is not JSON: the field goes. Half a string is. */
    if (l->cut && (f->kind != LOG_KIND_STR || l->len == value))
        l->len = start;
}

size_t log_format(char *line, size_t cap, int64_t unix_us, enum log_level level, const char *event,
                  const struct log_field *fields)
{
    struct line l = {line, 0, cap - sizeof truncated - 2, false};
    const time_t s = (time_t)(unix_us / 1000000);
    struct tm tm;
    char head[96];
    (void)gmtime_r(&s, &tm);
    int n = snprintf(head, sizeof head,
                     "{\"ts\":\"%04d-%02d-%02dT%02d:%02d:%02d.%06dZ\",\"level\":\"%s\",\"event\":",
                     tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
                     (int)(unix_us % 1000000), log_level_name(level));
    (void)put(&l, head, (size_t)n);
    put_string(&l, event, strlen(event));
    for (const struct log_field *f = fields; f->kind != LOG_KIND_END && !l.cut; f++)
        put_field(&l, f);
    if (l.cut) {
        memcpy(l.p + l.len, truncated, sizeof truncated - 1);
        l.len += sizeof truncated - 1;
    }
    l.p[l.len++] = '}';
    l.p[l.len++] = '\n';
    return l.len;
}

static const char *const level_names[LOG_LEVELS] = {"debug", "info", "warn", "error"};

const char *log_level_name(enum log_level level)
{
    return (unsigned)level < LOG_LEVELS ? level_names[level] : "error";
}

enum err log_level_parse(const char *text, enum log_level *ret_level)
{
    for (int i = 0; i < LOG_LEVELS; i++)
        if (!strcmp(text, level_names[i])) {
            *ret_level = (enum log_level)i;
            return OK;
        }
    return ERR_INVALID;
}
