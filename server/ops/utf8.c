#include "server/ops/utf8.h"

#include <stdbool.h>
#include <stdint.h>

static bool continues(const char *s, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        if (((unsigned char)s[i] & 0xc0) != 0x80)
            return false;
    return true;
}

size_t utf8_char_len(const char *s, size_t len)
{
    if (!len)
        return 0;
    const unsigned char a = (unsigned char)s[0];
    if (a < 0x80)
        return 1;
    const size_t n = a >= 0xc2 && a <= 0xdf   ? 2
                     : a >= 0xe0 && a <= 0xef ? 3
                     : a >= 0xf0 && a <= 0xf4 ? 4
                                              : 0;
    if (!n || n > len || !continues(s, 1, n))
        return 0;
    const unsigned char b = (unsigned char)s[1];
    /* The second byte alone tells overlong forms, surrogates and what lies above U+10FFFF. */
    if ((a == 0xe0 && b < 0xa0) || (a == 0xed && b > 0x9f) || (a == 0xf0 && b < 0x90) ||
        (a == 0xf4 && b > 0x8f))
        return 0;
    return n;
}

size_t utf8_good_len(const char *s, size_t len)
{
    size_t at = 0;
    for (size_t n; at < len && (n = utf8_char_len(s + at, len - at)) > 0;)
        at += n;
    return at;
}
