/* store.h - the state on disk: journal, checkpoint generations, settings; backup and check.
 *
 * What: one LMDB environment DIR/state, one lock file DIR/shunt.lock. The store keeps bytes and
 * never asks what they mean.
 * Why: an outcome exists from the moment its append returns OK; everything else here serves to get
 * it back after kill -9, power loss, a full disk or a flipped bit - or to say clearly that it is
 * lost and how to restore it.
 * Owns: the directory while it is open. LMDB memory never leaves: what callbacks see is a checked
 * copy, valid during the call, and no transaction is open meanwhile, so a callback may be slow and
 * may call the store.
 * Threads: every function may be called from any thread, except open, close, probe, verify and
 * restore. Those four that fork (open, probe, verify, restore) belong before the first thread.
 * Writers wait for one another; a backup makes a writer wait only if the map must grow meanwhile.
 * Signals: the process must ignore SIGXFSZ, or a file size limit kills it.
 * Invariants: sequence numbers start at 1 and have no gap; the newest record is never trimmed, so
 * a number is never given twice; everything after the current generation is in the journal; after
 * a failed write that may not have reached the disk, every later write is refused (a kernel reports
 * a failed fsync once and the next one lies).
 *
 * Errors of every call that writes:
 *   ERR_DISK_FULL  no room, quota or file size limit; nothing changed; try again later.
 *   ERR_IO         the disk failed; all later writes fail too; stop the process. What was being
 *                  written may be found after the restart, as an unacknowledged record may.
 *   ERR_MAP_FULL   the address space allows no larger map; nothing changed.
 *   ERR_NOMEM      nothing changed.
 * Errors of every call that reads: ERR_CORRUPT names table and key. */
#pragma once

#include "state/base/err.h"
#include "state/base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STORE_MAP_BYTES                                                                            \
    (UINT64_C(64) << 30)                  /* Sparse; halved until the address space takes it.      \
                                           */
#define STORE_RECORD_MAX (1u << 20)       /* Bytes of a record, a chunk, a setting. */
#define STORE_BATCH_RECORDS_MAX 65536u    /* Records of one append. */
#define STORE_BATCH_BYTES_MAX (64u << 20) /* Bytes of one append or generation_put. */
#define STORE_GENERATIONS_MAX 64u         /* Finished generations kept at once. */
#define STORE_SETTINGS_MAX 1024u          /* Names; a name is 1 to 64 bytes. */

struct store;

/* All zero is the default and the safest. */
struct store_options {
    uint64_t map_bytes;    /* 0: STORE_MAP_BYTES. It grows by doubling when full. */
    bool allow_network_fs; /* Do not refuse NFS, SMB and the like; no promise holds there. */
    bool no_probe;         /* Skip the look by a forked child (see store_probe). */
};

/* Opens or creates DIR (0700; its parent must exist), locks it, checks it.
 * ERR_LOCKED names the pid that has it.  ERR_UNSUPPORTED: a network file system; a directory that
 * everybody may write to, or a state that everybody may read.
 * ERR_SCHEMA: both versions.  ERR_CORRUPT: names the file and `shuntd restore`.
 * ERR_NOT_FOUND, ERR_IO: path and reason. */
MUST_USE enum err store_open(const char *dir, const struct store_options *options,
                             struct store **ret, struct err_detail *detail);
void store_close(struct store *s); /* NULL is fine. */

/* Once a minute: frees the reader slots of processes that died, which would pin old pages. */
void store_tick(struct store *s);
/* True after an ERR_IO of a write: nothing more is accepted until the store is opened anew. */
bool store_failed(const struct store *s);

struct store_sizes {
    uint64_t file_bytes;    /* The file's length. */
    uint64_t used_bytes;    /* Pages in use or free inside the file. */
    uint64_t map_bytes;     /* Address space; grows on demand. */
    uint64_t journal_bytes; /* Whole pages of the journal, so approximate. */
    uint64_t records;       /* In the journal. */
    uint64_t disk_free_bytes;
};
MUST_USE enum err store_sizes(struct store *s, struct store_sizes *ret, struct err_detail *detail);

/* ---- journal ---- */

/* Adds the records at last+1... in one transaction that is on the disk when this returns OK; on
 * error nothing was added. n = 0 is OK and changes nothing. ERR_TOO_LARGE: see the limits above. */
MUST_USE enum err store_append(struct store *s, const struct slice *records, size_t n,
                               uint64_t *ret_last, struct err_detail *detail);
uint64_t store_journal_first(struct store *s); /* Oldest kept; 0 when empty. */
uint64_t store_journal_last(struct store *s);  /* Newest; 0 when empty. */

/* number: the sequence number of a record, or the index of a chunk. What it returns other than OK
 * stops the walk and is returned as it is. */
typedef enum err store_visit(void *ctx, uint64_t number, struct slice bytes);

/* Calls visit for from..to in order, in short read transactions. from = 0: the oldest kept; a `to`
 * beyond the last (UINT64_MAX): the last. ERR_NOT_FOUND: `from` was trimmed.
 * ERR_CORRUPT: a checksum or a gap. */
MUST_USE enum err store_journal_iterate(struct store *s, uint64_t from, uint64_t to,
                                        store_visit *visit, void *ctx, struct err_detail *detail);

/* Deletes records up to `upto`, at most max_records, in transactions of 4096. Never beyond the
 * position of the current generation or of the oldest base, never the newest record; without a
 * generation nothing. ret_done counts, also on error. */
MUST_USE enum err store_journal_trim(struct store *s, uint64_t upto, uint64_t max_records,
                                     uint64_t *ret_done, struct err_detail *detail);

/* ---- checkpoint generations ----
 * begin, put in any order of index, commit: visible at once, or never. One is built at a time. */

struct store_generation {
    uint64_t id;
    uint64_t position; /* Holds everything up to this sequence number. */
    uint64_t hash;     /* The caller's, over the whole; kept, not interpreted. */
    uint64_t bytes;
    int64_t created_at_us;
    uint32_t chunks_n; /* Indices 0..chunks_n-1. */
    bool base;         /* Kept until unmarked; the journal after it is kept too. */
};

/* ERR_INVALID: position is beyond the journal.  ERR_LIMIT: STORE_GENERATIONS_MAX are kept.
 * ERR_EXISTS: another is being built. */
MUST_USE enum err store_generation_begin(struct store *s, uint64_t position, int64_t now_us,
                                         uint64_t *ret_id, struct err_detail *detail);
/* One transaction. Keep it small (about 1 MiB): appends wait for it. ERR_EXISTS: an index twice. */
MUST_USE enum err store_generation_put(struct store *s, uint64_t id, uint32_t first_index,
                                       const struct slice *chunks, size_t n,
                                       struct err_detail *detail);
/* Makes it current. ERR_INVALID: not exactly chunks 0..chunks_n-1 were put; it is still open. */
MUST_USE enum err store_generation_commit(struct store *s, uint64_t id, uint32_t chunks_n,
                                          uint64_t hash, struct err_detail *detail);
/* Forgets it; OK also when `id` is not being built. What cannot be deleted now goes at the next
 * begin or open. */
MUST_USE enum err store_generation_abort(struct store *s, uint64_t id, struct err_detail *detail);

/* Oldest first; the last one is the current one. */
MUST_USE enum err store_generation_list(struct store *s,
                                        struct store_generation ret[STORE_GENERATIONS_MAX],
                                        size_t *ret_n, struct err_detail *detail);
/* Every chunk in order of index. ERR_NOT_FOUND: no such generation. */
MUST_USE enum err store_generation_read(struct store *s, uint64_t id, store_visit *visit, void *ctx,
                                        struct err_detail *detail);
MUST_USE enum err store_generation_mark_base(struct store *s, uint64_t id, bool base,
                                             struct err_detail *detail);
/* Deletes in bounded transactions. ERR_INVALID: the current one, or a base. */
MUST_USE enum err store_generation_drop(struct store *s, uint64_t id, struct err_detail *detail);
/* The same for who must not wait: one small transaction, after which nobody sees it; its chunks go
 * by store_generation_sweep, or at the next begin or open. */
MUST_USE enum err store_generation_release(struct store *s, uint64_t id, struct err_detail *detail);
/* One bounded transaction: deletes chunks that belong to no generation. *ret_done: none is left. */
MUST_USE enum err store_generation_sweep(struct store *s, bool *ret_done,
                                         struct err_detail *detail);

/* ---- settings ---- */

/* Durable when it returns; replaces. ERR_LIMIT: STORE_SETTINGS_MAX. ERR_BAD_NAME. */
MUST_USE enum err store_put_setting(struct store *s, const char *name, struct slice bytes,
                                    struct err_detail *detail);
/* Replaces the content of ret. ERR_NOT_FOUND. */
MUST_USE enum err store_get_setting(struct store *s, const char *name, struct buf *ret,
                                    struct err_detail *detail);

/* ---- proof, backup ---- */

struct store_counts {
    uint64_t records, generations, chunks, settings, bytes;
};
/* Called now and then; anything but OK stops the check and is returned. */
typedef enum err store_progress(void *ctx, const struct store_counts *so_far);

/* Every table, every checksum, no gap in the journal, every chunk of every generation. While others
 * write, too. progress may be NULL. */
MUST_USE enum err store_check(struct store *s, store_progress *progress, void *ctx,
                              struct store_counts *ret, struct err_detail *detail);

/* A look at a directory that nobody has open, by a forked child: LMDB has no page checksums, so a
 * damaged page may kill whoever reads it, and then it kills the child: ERR_CORRUPT. probe: the
 * current generation, the journal after it, settings, free list. verify: everything.
 * ERR_NOT_FOUND: no store there. */
MUST_USE enum err store_probe(const char *dir, struct err_detail *detail);
MUST_USE enum err store_verify(const char *dir, struct err_detail *detail);

/* A compact, consistent copy in a new directory (0700), synced; appends go on meanwhile.
 * ERR_EXISTS: dest is there already. */
MUST_USE enum err store_backup(struct store *s, const char *dest, uint64_t *ret_bytes,
                               struct err_detail *detail);
/* Verifies every byte of the backup, then copies it. ERR_EXISTS: data_dir holds a store. */
MUST_USE enum err store_restore(const char *from_dir, const char *data_dir,
                                struct err_detail *detail);
