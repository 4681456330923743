#include "proto/form/number.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Longer numbers than this are nobody's: DBL_MAX written out has 309 digits. */
#define TEXT_CAP 330

static bool text_copy(const char *text, size_t len, const char *allowed, char ret[TEXT_CAP])
{
    if (len == 0 || len >= TEXT_CAP)
        return false;
    memcpy(ret, text, len);
    ret[len] = '\0';
    return strspn(ret, allowed) == len;
}

bool form_number_i64(const char *text, size_t len, int64_t *ret)
{
    char copy[TEXT_CAP], *end;
    if (!text_copy(text, len, "-0123456789", copy))
        return false;
    errno = 0;
    long long v = strtoll(copy, &end, 10);
    if (errno != 0 || *end != '\0')
        return false;
    *ret = v;
    return true;
}

bool form_number_u64(const char *text, size_t len, uint64_t *ret)
{
    char copy[TEXT_CAP], *end;
    if (!text_copy(text, len, "0123456789", copy))
        return false;
    errno = 0;
    unsigned long long v = strtoull(copy, &end, 10);
    if (errno != 0 || *end != '\0')
        return false;
    *ret = v;
    return true;
}

/* glibc never allocates for "C", so this cannot fail for want of memory. */
static locale_t plain_locale_enter(void)
{
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    return c ? uselocale(c) : (locale_t)0;
}

static void plain_locale_leave(locale_t old)
{
    if (old)
        freelocale(uselocale(old));
}

bool form_number_double(const char *text, size_t len, double *ret)
{
    char copy[TEXT_CAP], *end;
    if (!text_copy(text, len, "+-.0123456789eE", copy))
        return false;
    locale_t old = plain_locale_enter();
    double v = strtod(copy, &end);
    plain_locale_leave(old);
    if (*end != '\0' || !isfinite(v))
        return false;
    *ret = v;
    return true;
}

void form_number_print(double value, char ret_text[FORM_NUMBER_CAP])
{
    locale_t old = plain_locale_enter();
    for (int digits = 15; digits <= 17; digits++) {
        (void)snprintf(ret_text, FORM_NUMBER_CAP, "%.*g", digits, value);
        if (strtod(ret_text, NULL) == value)
            break;
    }
    plain_locale_leave(old);
    if (!strpbrk(ret_text, ".eE"))
        memcpy(ret_text + strlen(ret_text), ".0", sizeof ".0");
}

double form_number_widen(float value)
{
    char text[FORM_NUMBER_CAP];
    double wide = (double)value;
    locale_t old = plain_locale_enter();
    for (int digits = 6; digits <= 9; digits++) {
        (void)snprintf(text, sizeof text, "%.*g", digits, (double)value);
        wide = strtod(text, NULL);
        if ((float)wide == value)
            break;
    }
    plain_locale_leave(old);
    return wide;
}
