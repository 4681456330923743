#include "state/base/name.h"

#include <string.h>

#define EVERY 0x0101010101010101ULL /* Times a character: eight of them. */

/* Eight characters, the first lowest or highest: they are looked at side by side. */
static uint64_t word_at(const char *s)
{
    uint64_t w;
    memcpy(&w, s, sizeof w);
    return w;
}

/* Fewer than eight; the rest are letters. */
static uint64_t short_word(const char *s, size_t len)
{
    uint64_t w = 'a' * EVERY;
    memcpy(&w, s, len);
    return w;
}

/* The high bit of every character, each below 128, that is in [low, high]. */
static uint64_t within(uint64_t w, uint64_t low, uint64_t high)
{
    return (w + (128 - low) * EVERY) & ~(w + (127 - high) * EVERY);
}

/* From - to 9 stand -./0123456789. What is wrong with some of the characters: the high bits of
 * those outside [A-Za-z0-9._/-]. */
static uint64_t wrong(uint64_t w)
{
    uint64_t ascii = w & 0x7F * EVERY;
    uint64_t fine =
        within(ascii | 0x20 * EVERY, 'a', 'z') | within(ascii, '-', '9') | within(ascii, '_', '_');
    return (w | ~fine) & 0x80 * EVERY;
}

static uint64_t dots(uint64_t w)
{
    return within(w & 0x7F * EVERY, '.', '.') & 0x80 * EVERY;
}

/* No part between slashes is "." or "..". */
static bool no_dot_parts(const char *s, size_t len)
{
    size_t part = 0; /* Length of the part since the last slash, while it is dots only. */
    bool dots = true;
    for (size_t i = 0; i <= len; i++) {
        if (i == len || s[i] == '/') {
            if (dots && part >= 1 && part <= 2)
                return false;
            part = 0;
            dots = true;
            continue;
        }
        dots = dots && s[i] == '.';
        part++;
    }
    return true;
}

bool name_valid(const char *s, size_t len)
{
    if (len == 0 || len > NAME_CAP - 1)
        return false;
    uint64_t last = len < 8 ? short_word(s, len) : word_at(s + len - 8);
    uint64_t bad = wrong(last), dotted = dots(last);
    for (size_t i = 0; i + 8 < len; i += 8) {
        bad |= wrong(word_at(s + i));
        dotted |= dots(word_at(s + i));
    }
    return bad == 0 && (dotted == 0 || no_dot_parts(s, len));
}

static bool lower_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool letter_or_digit(char c)
{
    return lower_or_digit(c) || (c >= 'A' && c <= 'Z');
}

/* A qualified name without its prefix: a letter or digit at both ends. */
static bool label_name_valid(const char *s, size_t len)
{
    if (len == 0 || len > LABEL_NAME_MAX || !letter_or_digit(s[0]) || !letter_or_digit(s[len - 1]))
        return false;
    for (size_t i = 0; i < len; i++)
        if (!letter_or_digit(s[i]) && s[i] != '-' && s[i] != '_' && s[i] != '.')
            return false;
    return true;
}

/* [RFC 1123] as Kubernetes reads it; a part may be as long as the whole. */
static bool dns_subdomain_valid(const char *s, size_t len)
{
    if (len == 0 || len > LABEL_PREFIX_MAX)
        return false;
    for (size_t i = 0; i < len; i++) {
        bool edge = i == 0 || i + 1 == len || s[i - 1] == '.' || s[i + 1] == '.';
        if (!lower_or_digit(s[i]) && (edge || (s[i] != '-' && s[i] != '.')))
            return false;
    }
    return true;
}

bool label_key_valid(const char *s, size_t len)
{
    const char *slash = len ? memchr(s, '/', len) : NULL;
    if (!slash)
        return label_name_valid(s, len);
    size_t prefix = (size_t)(slash - s);
    return dns_subdomain_valid(s, prefix) && label_name_valid(slash + 1, len - prefix - 1);
}

bool label_value_valid(const char *s, size_t len)
{
    return len == 0 || label_name_valid(s, len);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static bool dash_at(size_t i)
{
    return i == 8 || i == 13 || i == 18 || i == 23;
}

enum err id_parse(const char *s, size_t len, uint8_t ret_id[ID_BYTES])
{
    if (len != ID_TEXT_CAP - 1)
        return ERR_BAD_ID;
    uint8_t id[ID_BYTES] = {0};
    size_t nibble = 0;
    for (size_t i = 0; i < len; i++) {
        if (dash_at(i)) {
            if (s[i] != '-')
                return ERR_BAD_ID;
            continue;
        }
        int v = hex_digit(s[i]);
        if (v < 0)
            return ERR_BAD_ID;
        id[nibble / 2] = (uint8_t)(id[nibble / 2] << 4 | v);
        nibble++;
    }
    for (size_t i = 0; i < ID_BYTES; i++)
        ret_id[i] = id[i];
    return OK;
}

void id_format(const uint8_t id[ID_BYTES], char ret_text[ID_TEXT_CAP])
{
    static const char digits[] = "0123456789abcdef";
    char *to = ret_text;
    for (size_t i = 0; i < ID_BYTES; i++) {
        if (dash_at((size_t)(to - ret_text)))
            *to++ = '-';
        *to++ = digits[id[i] >> 4];
        *to++ = digits[id[i] & 15];
    }
    *to = '\0';
}

void id_make_v7(int64_t unix_us, const uint8_t random[10], uint8_t ret_id[ID_BYTES])
{
    uint64_t ms = unix_us > 0 ? (uint64_t)unix_us / 1000 : 0;
    for (size_t i = 0; i < 6; i++)
        ret_id[i] = (uint8_t)(ms >> (40 - 8 * i));
    for (size_t i = 0; i < 10; i++)
        ret_id[6 + i] = random[i];
    ret_id[6] = (uint8_t)(0x70 | (ret_id[6] & 0x0f));
    ret_id[8] = (uint8_t)(0x80 | (ret_id[8] & 0x3f));
}

int64_t id_v7_ms(const uint8_t id[ID_BYTES])
{
    if (id[6] >> 4 != 7)
        return -1;
    uint64_t ms = 0;
    for (size_t i = 0; i < 6; i++)
        ms = ms << 8 | id[i];
    return (int64_t)ms;
}
