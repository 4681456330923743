/* name.h - the names and ids that callers bring, checked in one place.
 * A name is [A-Za-z0-9._/-]{1,64} and neither "." nor ".." in any part of it, so that it can never
 * walk a path, break a log line or forge a metric label. An id is a UUID: 16 bytes, 36 characters.
 */
#pragma once

#include "state/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NAME_CAP 65 /* 64 characters and the NUL. */
#define ID_BYTES 16
#define ID_TEXT_CAP 37 /* 36 characters and the NUL. */

bool name_valid(const char *s, size_t len);

/* Labels as in Kubernetes ("Labels and Selectors: Syntax and character set"). A key is
 * [PREFIX/]NAME: NAME 1 to 63 of A-Z a-z 0-9 - _ . with a letter or digit at both ends; PREFIX a
 * DNS subdomain of at most 253 characters, parts of a-z 0-9 - with a letter or digit at both ends.
 * A value is empty or like NAME. */
enum { LABEL_NAME_MAX = 63, LABEL_PREFIX_MAX = 253 };
#define LABEL_KEY_CAP (LABEL_PREFIX_MAX + 1 + LABEL_NAME_MAX + 1)
bool label_key_valid(const char *s, size_t len);
bool label_value_valid(const char *s, size_t len);

/* Parses 8-4-4-4-12 hexadecimal digits, either case. */
MUST_USE enum err id_parse(const char *s, size_t len, uint8_t ret_id[ID_BYTES]);
void id_format(const uint8_t id[ID_BYTES], char ret_text[ID_TEXT_CAP]);
/* UUIDv7 [RFC 9562, 5.7]: 48 bits of Unix milliseconds, the rest from random[10]. */
void id_make_v7(int64_t unix_us, const uint8_t random[10], uint8_t ret_id[ID_BYTES]);
/* Milliseconds since 1970 of a version-7 id; -1 for other versions. */
int64_t id_v7_ms(const uint8_t id[ID_BYTES]);
