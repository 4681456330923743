/* rows.h - a file of real routing data in memory, for the programs here.
 * Why: each of them wants texts, labels and outcomes as plain arrays.
 * Owns: everything behind a struct rows. Errors go to stderr; a wrong file is NULL. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { ROWS_ARMS_MAX = 64, ROWS_NAMES_MAX = 64, ROWS_NAME_CAP = 65 };

struct row {
    char *text;
    size_t text_len;
    int task, family; /* In tasks, families; -1: none. */
    /* quality NAN: not a candidate. cost: US$, or joules where a file has no prices. */
    double quality[ROWS_ARMS_MAX], cost[ROWS_ARMS_MAX];
};

struct names {
    uint32_t n;
    char name[ROWS_NAMES_MAX][ROWS_NAME_CAP];
};

struct rows {
    uint32_t n;
    struct row *row;
    struct names arms, tasks, families;
};

/* A .jsonl.gz file of full information. */
struct rows *rows_read(const char *path);
void rows_free(struct rows *rows);
/* DIR/NAME.jsonl.gz of $SHUNT_DATA; NULL when that is not set or holds no such file. */
char *rows_path(const char *name);
/* ret_order = a permutation of 0..n-1, a function of (seed, n) alone. */
void rows_shuffle(uint64_t seed, uint32_t n, uint32_t *ret_order);
