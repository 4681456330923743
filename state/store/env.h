/* env.h - one LMDB environment with checked values, a map that grows, and errors in our words.
 *
 * What: tables by number, opened once; work done in transactions; every value carries an 8-byte
 * XXH3 of (table, key, value), so a flipped bit, and a value under the wrong key, are both seen.
 * Why: env.c is the only file of the tree that includes <lmdb.h>; what is special about LMDB 0.9.24
 * (a full disk looks like EIO, a failed remap leaves no map, a commit after a failed fsync lies)
 * is handled once, here.
 * Owns: the environment, its map, its lock on the map. One process must not open a file twice.
 * Threads: any. A transaction holds the map lock shared; growing takes it alone. So work functions
 * must not begin another transaction.
 * Invariant: after ERR_IO of a write every later write is refused. */
#pragma once

#include "state/base/err.h"
#include "state/base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ENV_TABLES_MAX 8
#define ENV_KEY_MAX 64
#define ENV_BATCH_RECORDS 4096
#define ENV_BATCH_BYTES (1u << 20)

struct env;
struct txn;

struct env_options {
    uint64_t map_bytes;
    const char *const *tables;
    size_t tables_n;
    bool create;    /* The file and its tables; else an absent table is ERR_CORRUPT. */
    bool read_only; /* Without LMDB's lock file: only while nobody writes. */
    bool no_sync;   /* For data that may be lost with the machine; survives the process. */
    /* A transaction may end with unused, never written pages behind the last used one, so a short
     * file is not always a truncated one. Accept it (and lengthen it) only when every value has
     * been or is going to be checked where a crash does no harm. */
    bool accept_short;
};

/* ERR_CORRUPT: not an LMDB file, shorter than its last page, or a table is missing.
 * ERR_NOT_FOUND: no file. */
MUST_USE enum err env_open(const char *file, const struct env_options *options, struct env **ret,
                           struct err_detail *detail);
void env_close(struct env *e);
bool env_failed(const struct env *e);
/* The file that it was opened from: a sentence about damage names it. */
const char *env_file(const struct env *e);
MUST_USE enum err env_sync(struct env *e, struct err_detail *detail);
void env_reader_check(struct env *e);

struct env_sizes {
    uint64_t file_bytes, used_bytes, map_bytes;
};
/* Whether the file was shorter than its last page when it was opened. */
bool env_was_short(const struct env *e);
MUST_USE enum err env_sizes(struct env *e, struct env_sizes *ret, struct err_detail *detail);
/* A compact copy to a new file; not synced. */
MUST_USE enum err env_copy(struct env *e, const char *file, struct err_detail *detail);
/* Walks LMDB's own list of free pages: a wrong number there overwrites live data later. */
MUST_USE enum err env_check_free(struct env *e, struct err_detail *detail);

/* What is done inside a transaction; not OK aborts it. May run again when the map had to grow. */
typedef enum err env_work(struct txn *t, void *ctx);
MUST_USE enum err env_read(struct env *e, env_work *work, void *ctx, struct err_detail *detail);
MUST_USE enum err env_write(struct env *e, env_work *work, void *ctx, struct err_detail *detail);

/* Inside a transaction. Keys are 1 to ENV_KEY_MAX bytes. */
enum txn_put { TXN_REPLACE, TXN_NEW, TXN_APPEND }; /* NEW: ERR_EXISTS. APPEND: beyond the last. */
MUST_USE enum err txn_put(struct txn *t, unsigned table, struct slice key, struct slice value,
                          enum txn_put how);
/* ret is LMDB's memory, until the transaction ends or writes. */
MUST_USE enum err txn_get(struct txn *t, unsigned table, struct slice key, struct slice *ret);
/* Deletes keys of from..to inclusive, the first max_n of them. */
MUST_USE enum err txn_del_range(struct txn *t, unsigned table, struct slice from, struct slice to,
                                uint64_t max_n, uint64_t *ret_n);
/* Counts the keys of from..to inclusive without looking at values. */
MUST_USE enum err txn_count_range(struct txn *t, unsigned table, struct slice from, struct slice to,
                                  uint64_t *ret_n);
/* The first key >= from (len 0: the first of all), or the last of all. ERR_NOT_FOUND. */
MUST_USE enum err txn_seek(struct txn *t, unsigned table, struct slice from,
                           uint8_t ret_key[ENV_KEY_MAX], size_t *ret_len);
MUST_USE enum err txn_last(struct txn *t, unsigned table, uint8_t ret_key[ENV_KEY_MAX],
                           size_t *ret_len);
struct txn_stat {
    uint64_t entries, bytes; /* Bytes in whole pages. */
};
MUST_USE enum err txn_stat(struct txn *t, unsigned table, struct txn_stat *ret);
struct err_detail *txn_detail(struct txn *t);
/* As env_file, of the environment that it runs in. */
const char *txn_file(const struct txn *t);

/* Called outside of any transaction with a checked copy. */
typedef enum err env_visit(void *ctx, struct slice key, struct slice value);
struct env_scan {
    unsigned table;
    struct slice from, to; /* Inclusive; len 0: from the first, to the last. */
    bool skip_damaged;     /* Count values with a wrong checksum instead of failing. */
    uint64_t damaged_n;
    env_visit *visit;
    void *ctx;
};
/* In order of key, in short read transactions. ERR_CORRUPT also when keys do not ascend. */
MUST_USE enum err env_scan(struct env *e, struct env_scan *scan, struct err_detail *detail);
