#include "state/base/name.h"

#include <string.h>

/* [A-Za-z0-9._/-] as bits: every request brings a few names, and a table needs no branches. */
static const uint64_t name_chars[4] = {0x03ffe00000000000, 0x07fffffe87fffffe};

static bool name_char(char c)
{
    unsigned char u = (unsigned char)c;
    return name_chars[u >> 6] >> (u & 63) & 1;
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
    bool valid = true, dotted = false;
    for (size_t i = 0; i < len; i++) {
        valid &= name_char(s[i]);
        dotted |= s[i] == '.';
    }
    return valid && (!dotted || no_dot_parts(s, len));
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
