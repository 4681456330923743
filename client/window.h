/* window.h - the part of a long prompt that is sent.
 * Why: features are read off the beginning (the instruction) and the end (the question); what lies
 * between costs bandwidth and privacy.
 * Threads: pure. */
#pragma once

#include <stddef.h>

/* Writes text to dst, which has room for max + 1 bytes, and returns the length. Text of more than
 * max bytes becomes its beginning, a line break, and its end, together at most max; neither cut
 * splits a UTF-8 character. NUL bytes become blanks: the wire format ends text at the first. */
size_t window_cut(const char *text, size_t len, size_t max, char *dst);
