/* args.h - the values people type: numbers, lists of numbers, NAME=VALUE pairs, names.
 * Why: every command reads them by one set of rules, and says what was wrong in one sentence.
 * A name is what the server takes: [A-Za-z0-9._/-]{1,64}. Numbers are finite, in the C locale.
 * Owns: nothing but what args_list returns. Threads: pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARGS_NAME_CAP 65  /* 64 characters and the NUL. */
#define ARGS_PAIRS_MAX 16 /* As many metrics as a router may have. */
#define ARGS_ERROR_CAP 256

struct args_error {
    char text[ARGS_ERROR_CAP];
};

struct args_pair {
    char name[ARGS_NAME_CAP];
    double value;
};

struct args_pairs {
    struct args_pair items[ARGS_PAIRS_MAX];
    size_t n;
};

bool args_name_valid(const char *s);
/* The whole of text is one finite number in [min, max]. */
bool args_number(const char *text, double min, double max, double *ret, struct args_error *error);
/* The whole of text is one decimal integer in [min, max]. */
bool args_integer(const char *text, uint64_t min, uint64_t max, uint64_t *ret,
                  struct args_error *error);
/* A time as microseconds since 1970: "2026-11-22", "2026-11-22T05:30:00" (both UTC, a Z may
 * follow), "90s", "30m", "12h" or "3d" before now_us, or "@SECONDS" since 1970. */
bool args_time(const char *text, int64_t now_us, int64_t *ret_us, struct args_error *error);
/* Appends the pairs of "NAME=VALUE[,NAME=VALUE...]"; a name given twice, here or earlier, is an
 * error. On error ret may hold some of them. */
bool args_pairs_add(const char *text, double min, double max, struct args_pairs *ret,
                    struct args_error *error);
/* "1,2.5,-3" (commas, spaces or newlines between, brackets around are fine) to floats; the caller
 * frees *ret. At most max values. */
bool args_floats(const char *text, size_t max, float **ret, size_t *ret_n,
                 struct args_error *error);
