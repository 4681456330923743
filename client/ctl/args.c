#include "client/ctl/args.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
