#include "client/ctl/args.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

__attribute__((format(printf, 2, 3))) static bool say(struct args_error *error, const char *fmt,
                                                      ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(error->text, sizeof error->text, fmt, args);
    va_end(args);
    return false;
}

bool args_name_valid(const char *s)
{
    size_t len = strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._/-");
    return len > 0 && len < ARGS_NAME_CAP && s[len] == '\0';
}

bool args_number(const char *text, double min, double max, double *ret, struct args_error *error)
{
    char *end = NULL;
    errno = 0;
    double value = strtod(text, &end);
    if (end == text || *end != '\0')
        return say(error, "'%.64s' is not a number", text);
    if (!isfinite(value))
        return say(error, "'%.64s' is not a finite number", text);
    if (value < min || value > max)
        return say(error, "'%.64s' is outside [%g, %g]", text, min, max);
    *ret = value;
    return true;
}

bool args_integer(const char *text, uint64_t min, uint64_t max, uint64_t *ret,
                  struct args_error *error)
{
    char *end = NULL;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    /* strtoull takes "-1" and wraps it: the first character must be a digit. */
    if (text[0] < '0' || text[0] > '9' || *end != '\0')
        return say(error, "'%.64s' is not a whole number", text);
    if (errno == ERANGE || value < min || value > max)
        return say(error, "'%.64s' is outside [%llu, %llu]", text, (unsigned long long)min,
                   (unsigned long long)max);
    *ret = value;
    return true;
}

/* "12h"; false: not of this form. */
static bool time_ago(const char *text, int64_t now_us, int64_t *ret_us)
{
    static const struct {
        char unit;
        int64_t seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 9 || strlen(text) != digits + 1)
        return false;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (text[digits] == units[i].unit) {
            int64_t us = now_us - strtoll(text, NULL, 10) * units[i].seconds * 1000000;
            *ret_us = us > 0 ? us : 0;
            return true;
        }
    return false;
}

static bool time_date(const char *text, int64_t *ret_us)
{
    struct tm tm = {0};
    const char *end = strptime(text, "%Y-%m-%d", &tm);
    if (end && *end == 'T') {
        struct tm clock = {0};
        end = strptime(end + 1, "%H:%M:%S", &clock);
        tm.tm_hour = clock.tm_hour;
        tm.tm_min = clock.tm_min;
        tm.tm_sec = clock.tm_sec;
    }
    if (end && *end == 'Z')
        end++;
    if (!end || *end || tm.tm_year < 70)
        return false;
    *ret_us = (int64_t)timegm(&tm) * 1000000;
    return true;
}

bool args_time(const char *text, int64_t now_us, int64_t *ret_us, struct args_error *error)
{
    uint64_t seconds = 0;
    if (text[0] == '@') {
        if (!args_integer(text + 1, 0, INT64_MAX / 1000000, &seconds, error))
            return false;
        *ret_us = (int64_t)seconds * 1000000;
        return true;
    }
    if (time_ago(text, now_us, ret_us) || time_date(text, ret_us))
        return true;
    return say(error,
               "'%.64s' is no time: 2026-11-22, 2026-11-22T05:30:00 (UTC), 30m, 12h, 3d (before "
               "now) or @SECONDS",
               text);
}

static bool pair_add(const char *text, size_t len, double min, double max, struct args_pairs *ret,
                     struct args_error *error)
{
    const char *eq = memchr(text, '=', len);
    if (!eq)
        return say(error, "'%.*s' is not NAME=VALUE", (int)(len < 64 ? len : 64), text);
    size_t name_len = (size_t)(eq - text), value_len = len - name_len - 1;
    struct args_pair pair = {.value = 0};
    char value[64];
    if (name_len >= sizeof pair.name || value_len >= sizeof value)
        return say(error, "'%.64s' is too long", text);
    memcpy(pair.name, text, name_len);
    memcpy(value, eq + 1, value_len);
    value[value_len] = '\0';
    if (!args_name_valid(pair.name))
        return say(error, "'%s' is not a name: 1 to 64 of A-Z a-z 0-9 . _ / -", pair.name);
    struct args_error inner;
    if (!args_number(value, min, max, &pair.value, &inner))
        return say(error, "%s: %.180s", pair.name, inner.text);
    for (size_t i = 0; i < ret->n; i++)
        if (strcmp(ret->items[i].name, pair.name) == 0)
            return say(error, "'%s' is given twice", pair.name);
    if (ret->n == ARGS_PAIRS_MAX)
        return say(error, "more than %d pairs", ARGS_PAIRS_MAX);
    ret->items[ret->n++] = pair;
    return true;
}

bool args_pairs_add(const char *text, double min, double max, struct args_pairs *ret,
                    struct args_error *error)
{
    for (;;) {
        size_t len = strcspn(text, ",");
        if (!pair_add(text, len, min, max, ret, error))
            return false;
        if (text[len] == '\0')
            return true;
        text += len + 1;
    }
}

static bool float_push(float **values, size_t *n, size_t *cap, float value)
{
    if (*n == *cap) {
        size_t grown = *cap ? *cap * 2 : 64;
        float *more = realloc(*values, grown * sizeof *more);
        if (!more)
            return false;
        *values = more;
        *cap = grown;
    }
    (*values)[(*n)++] = value;
    return true;
}

bool args_floats(const char *text, size_t max, float **ret, size_t *ret_n, struct args_error *error)
{
    static const char between[] = " \t\r\n,[]";
    float *values = NULL;
    size_t n = 0, cap = 0;
    bool ok = false;
    for (const char *p = text + strspn(text, between); *p; p += strspn(p, between)) {
        size_t len = strcspn(p, between);
        char word[64];
        double value = 0;
        if (len >= sizeof word) {
            say(error, "'%.64s' is not a number", p);
            goto out;
        }
        memcpy(word, p, len);
        word[len] = '\0';
        if (!args_number(word, -(double)FLT_MAX, (double)FLT_MAX, &value, error))
            goto out;
        if (n == max) {
            say(error, "more than %zu values", max);
            goto out;
        }
        if (!float_push(&values, &n, &cap, (float)value)) {
            say(error, "out of memory");
            goto out;
        }
        p += len;
    }
    ok = true;
    *ret = values;
    *ret_n = n;
    values = NULL;
out:
    free(values);
    return ok;
}
