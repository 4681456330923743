/* number.h - numbers and text, whatever locale the host has set.
 * Why: libshunt lives in other people's processes; strtod would read "0,5" there.
 * Threads: pure, but for uselocale, which is per thread and put back. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The longest text form_number_print writes, with its NUL. */
#define FORM_NUMBER_CAP 32

/* The whole of text must be one decimal number; no blanks, no hexadecimal, nothing but digits in
 * integers. false: it is not, or does not fit. A double must be finite. */
bool form_number_i64(const char *text, size_t len, int64_t *ret);
bool form_number_u64(const char *text, size_t len, uint64_t *ret);
bool form_number_double(const char *text, size_t len, double *ret);

/* The shortest decimal text that reads back as the same value, always with a '.' or an exponent.
 * value must be finite. */
void form_number_print(double value, char ret_text[FORM_NUMBER_CAP]);
/* The double whose shortest text is that of the float: 0.1f gives 0.1, not 0.10000000149. */
double form_number_widen(float value);
