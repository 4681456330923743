/* scratch.h - a new directory for one test, gone afterwards; and records whose bytes say what they
 * must be. */
#pragma once

#include "state/store/store.h"

#define SCRATCH_CAP 4096
#define SCRATCH_RECORD_MAX 5000

/* $TMPDIR or /tmp; the test fails when it cannot be made. */
void scratch_make(char ret_dir[SCRATCH_CAP]);
void scratch_remove(const char *dir);
void scratch_path(const char *dir, const char *name, char ret[SCRATCH_CAP]);

/* Record `seq`: its length and every byte follow from its number. */
size_t scratch_record(uint64_t seq, uint8_t ret[SCRATCH_RECORD_MAX]);
/* A store_visit: ERR_INTERNAL when bytes are not record `number`; *ctx (uint64_t) counts. */
enum err scratch_expect(void *ctx, uint64_t number, struct slice bytes);
/* Appends the next n records in one batch. */
enum err scratch_append(struct store *s, size_t n, struct err_detail *detail);
/* Opens with defaults, or fails the test with the sentence. */
struct store *scratch_open(const char *dir);
