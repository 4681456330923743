/* utf8.h - whether bytes are UTF-8, one character at a time.
 * Why: log lines and label values carry what callers sent; a reader of JSON or of the Prometheus
 * text format may refuse the whole page for one bad byte.
 * Threads: pure. */
#pragma once

#include <stddef.h>

/* Length in bytes (1..4) of the well-formed character that s begins with [RFC 3629]; 0 if there is
 * none: a stray continuation, an overlong form, a surrogate, above U+10FFFF, or cut short. */
size_t utf8_char_len(const char *s, size_t len);
/* Bytes of well-formed characters that s begins with; len when it is UTF-8 to its end. */
size_t utf8_good_len(const char *s, size_t len);
