/* hours.h - records by id for a while: one LMDB environment per hour, thrown away whole.
 *
 * What: DIR/<hour>.log, where hour is hours since 1970 (UTC). Value bytes under a 16-byte key; the
 * caller says which hour a record belongs to.
 * Why: the decision log can reach terabytes a day and nobody is promised a record of it. Deleting
 * by row would cost as much as writing; unlinking an hour costs nothing. Nothing here is synced, so
 * a record survives kill -9 but perhaps not the machine.
 * Owns: the directory, and at most HOURS_OPEN_MAX environments at once. Visitors see a checked
 * copy, outside of any transaction and lock, so they may be slow. Threads: any; meant for one that
 * writes and expires, and several that read. Damage: an hour that cannot be read is removed and
 * counted, a value with a wrong checksum is skipped and counted; neither is an error. LMDB has no
 * page checksums, so hours that were being written when the machine (not only the process) went
 * down are walked by a forked child in hours_open, and go when the child dies of it. That is why
 * hours_open belongs before the first thread. Invariant: an hour is never removed while somebody
 * reads it. */
#pragma once

#include "state/base/err.h"
#include "state/base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HOURS_KEY_BYTES 16
#define HOURS_RECORD_MAX (1u << 20)
#define HOURS_BATCH_MAX 65536u
#define HOURS_OPEN_MAX 8
#define HOURS_MAX 9000u /* Kept at once: a year and a bit. */
#define HOURS_US INT64_C(3600000000)

struct hours;

struct hours_options {
    uint64_t map_bytes; /* Of each hour, at first; 0: 64 MiB. It doubles when full. */
    size_t search_n;    /* hours_get looks into at most so many; 0: 72. */
};

struct hours_record {
    uint8_t key[HOURS_KEY_BYTES];
    struct slice bytes;
};

struct hours_counts {
    uint64_t hours, bytes;    /* Kept now; bytes as of the last put, drop or open of an hour. */
    uint64_t damaged_hours;   /* Removed since open. */
    uint64_t damaged_records; /* Skipped since open. */
    uint64_t dropped_hours;   /* By hours_expire since open. */
};

/* Creates DIR (0700) when absent; its parent must exist. options may be NULL. ERR_LOCKED: another
 * process has it. */
MUST_USE enum err hours_open(const char *dir, const struct hours_options *options,
                             struct hours **ret, struct err_detail *detail);
/* Syncs what is open, so that the next start need not look twice. NULL is fine. */
void hours_close(struct hours *h);

/* The hour of a time in microseconds since 1970. */
int64_t hours_of(int64_t us);

/* One transaction. A key again replaces. ERR_DISK_FULL, ERR_IO (until that hour is closed),
 * ERR_MAP_FULL: the batch was not kept. ERR_LIMIT: HOURS_MAX hours are kept. */
MUST_USE enum err hours_put(struct hours *h, int64_t hour, const struct hours_record *records,
                            size_t n, struct err_detail *detail);

typedef enum err hours_visit(void *ctx, int64_t hour, const uint8_t key[HOURS_KEY_BYTES],
                             struct slice bytes);

/* Calls visit once with the record, and returns what it returns. hint: the likely hour, tried first
 * with its neighbours; -1: unknown. Then newest to oldest, search_n hours in all. ERR_NOT_FOUND. */
MUST_USE enum err hours_get(struct hours *h, const uint8_t key[HOURS_KEY_BYTES], int64_t hint,
                            hours_visit *visit, void *ctx, struct err_detail *detail);

/* Every record of from_hour..to_hour inclusive, hour by hour, inside an hour by key. An hour that
 * expires meanwhile is left in the middle. */
MUST_USE enum err hours_iterate(struct hours *h, int64_t from_hour, int64_t to_hour,
                                hours_visit *visit, void *ctx, struct err_detail *detail);

/* Removes the hours that ended more than keep_us ago, then the oldest until at most max_bytes are
 * left; never the newest. Waits for readers of what it removes. */
MUST_USE enum err hours_expire(struct hours *h, int64_t now_us, int64_t keep_us, uint64_t max_bytes,
                               uint64_t *ret_dropped, struct err_detail *detail);

void hours_counts(struct hours *h, struct hours_counts *ret);
