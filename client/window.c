#include "client/window.h"

#include <stdbool.h>
#include <string.h>

static bool is_continuation(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

/* A character has at most three continuation bytes; text with more is not UTF-8 and is cut where
 * it is. */
#define CONTINUATION_MAX 3

static size_t prefix_end(const char *text, size_t at)
{
    size_t end = at;
    for (int i = 0; i < CONTINUATION_MAX && end > 0 && is_continuation(text[end]); i++)
        end--;
    return is_continuation(text[end]) ? at : end;
}

static size_t suffix_start(const char *text, size_t len, size_t at)
{
    size_t start = at;
    for (int i = 0; i < CONTINUATION_MAX && start < len && is_continuation(text[start]); i++)
        start++;
    return start < len && is_continuation(text[start]) ? at : start;
}

size_t window_cut(const char *text, size_t len, size_t max, char *dst)
{
    size_t n = len;
    if (len <= max) {
        memcpy(dst, text, len);
    } else if (max == 0) {
        n = 0;
    } else {
        size_t room = max - 1, half = room - room / 2;
        size_t end = prefix_end(text, half);
        size_t start = suffix_start(text, len, len - room / 2);
        memcpy(dst, text, end);
        dst[end] = '\n';
        memcpy(dst + end + 1, text + start, len - start);
        n = end + 1 + (len - start);
    }
    for (char *p = dst; (p = memchr(p, '\0', n - (size_t)(p - dst))); p++)
        *p = ' ';
    dst[n] = '\0';
    return n;
}
