/* table.h - aligned columns for people.
 * Why: numbers are compared down a column, so they are right-aligned; names come from a server, so
 * control characters are shown as '?' and can never move the cursor or change a colour.
 * Owns: copies of its cells. Threads: one.
 * Invariant: cells fill row by row; a failed allocation is remembered and told by table_print. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum table_align { TABLE_LEFT, TABLE_RIGHT };

struct table;

struct table *table_new(void); /* NULL: out of memory. */
void table_free(struct table *t);
/* All columns come before the first cell; at most 32. */
void table_column(struct table *t, const char *title, enum table_align align);
__attribute__((format(printf, 2, 3))) void table_cell(struct table *t, const char *fmt, ...);
/* Header in bold when `bold`. False: out of memory somewhere before. */
bool table_print(const struct table *t, FILE *out, bool bold);

/* Terminal columns that UTF-8 text takes: 0 for combining marks, 2 for wide East Asian characters
 * and emoji, 1 for everything else, invalid bytes included (they are shown as '?'). */
size_t table_text_width(const char *text);
