#include "state/store/env.h"

#include "state/base/hash.h"
#include "state/base/mem.h"
#include "state/store/place.h"

#include <assert.h>
#include <errno.h>
#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAP_MIN (UINT64_C(1) << 20)
#define MAP_MAX (UINT64_C(1) << 46) /* Of the 47 bits that x86-64 gives a process. */
#define SUM_BYTES sizeof(uint64_t)
#define RECORD_ALIGN 8u

struct env {
    MDB_env *mdb;
    MDB_dbi dbi[ENV_TABLES_MAX];
    const char *names[ENV_TABLES_MAX];
    size_t tables_n;
    pthread_rwlock_t map_lock; /* Shared by every transaction, alone while the map moves. */
    uint64_t map_bytes;        /* Under map_lock. */
    _Atomic bool failed;
    bool was_short, read_only;
    char file[PLACE_PATH_CAP];
};

struct txn {
    struct env *env;
    MDB_txn *mdb;
    struct err_detail *detail;
};

static MDB_val val(struct slice s)
{
    /* LMDB reads keys and values through a pointer that is not const. */
    return (MDB_val){s.len, (void *)(uintptr_t)s.data};
}

/* ---- errors ---- */

static enum err translate(struct env *e, int rc)
{
    switch (rc) {
    case 0:
        return OK;
    case MDB_NOTFOUND:
        return ERR_NOT_FOUND;
    case MDB_KEYEXIST:
        return ERR_EXISTS;
    case MDB_MAP_FULL:
        return ERR_MAP_FULL;
    case MDB_TXN_FULL:
        return ERR_TOO_LARGE;
    case MDB_READERS_FULL:
        return ERR_OVERLOADED;
    case ENOMEM:
        return ERR_NOMEM;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return ERR_DISK_FULL;
    case EIO:
        /* LMDB says EIO for a short write, and a full disk is a short write. */
        return place_is_full(e->file) ? ERR_DISK_FULL : ERR_IO;
    case MDB_PAGE_NOTFOUND:
    case MDB_CORRUPTED:
    case MDB_INVALID:
    case MDB_VERSION_MISMATCH:
    case MDB_INCOMPATIBLE:
    case MDB_CURSOR_FULL:
    case MDB_PAGE_FULL:
    /* LMDB marks a transaction that met a damaged page, and may have called the page's keys not
     * found. Nothing of ours goes on after any other failure. */
    case MDB_BAD_TXN:
        return ERR_CORRUPT;
    case MDB_BAD_DBI:
    case MDB_BAD_RSLOT:
    case MDB_BAD_VALSIZE:
    case EINVAL:
        return ERR_INTERNAL;
    default: /* MDB_PANIC: a meta page could not be written. And every other errno. */
        return ERR_IO;
    }
}

static enum err failure(struct env *e, int rc, struct err_detail *detail)
{
    enum err code = translate(e, rc);
    if (code == ERR_CORRUPT)
        return err_say(detail, code, "%s is damaged (%s); restore a backup with `shuntd restore`",
                       e->file, mdb_strerror(rc));
    return code == OK ? OK : err_say(detail, code, "%s: %s", e->file, mdb_strerror(rc));
}

/* Not found and exists are answers, not failures: they get no sentence. */
static enum err answer(struct txn *t, int rc)
{
    if (rc == MDB_NOTFOUND)
        return ERR_NOT_FOUND;
    if (rc == MDB_KEYEXIST)
        return ERR_EXISTS;
    return failure(t->env, rc, t->detail);
}

/* ---- checksums ---- */

static uint64_t sum_of(unsigned table, struct slice key, const void *data, size_t len)
{
    return hash_seeded(data, len, hash_seeded(key.data, key.len, table));
}

static enum err damaged(struct env *e, unsigned table, struct slice key, struct err_detail *detail)
{
    char hex[2 * ENV_KEY_MAX + 1];
    const uint8_t *p = key.data;
    size_t n = key.len < ENV_KEY_MAX ? key.len : ENV_KEY_MAX;
    for (size_t i = 0; i < n; i++)
        snprintf(hex + 2 * i, 3, "%02x", p[i]);
    hex[2 * n] = '\0';
    return err_say(detail, ERR_CORRUPT,
                   "%s is damaged: table %s, key 0x%s has a wrong checksum; restore a backup with "
                   "`shuntd restore`",
                   e->file, e->names[table], hex);
}

static enum err unseal(struct env *e, unsigned table, struct slice key, MDB_val stored,
                       struct slice *ret, struct err_detail *detail)
{
    uint64_t sum;
    if (key.len == 0 || key.len > ENV_KEY_MAX || stored.mv_size < SUM_BYTES)
        return damaged(e, table, key, detail);
    memcpy(&sum, stored.mv_data, SUM_BYTES);
    const uint8_t *data = (const uint8_t *)stored.mv_data + SUM_BYTES;
    size_t len = stored.mv_size - SUM_BYTES;
    if (sum != sum_of(table, key, data, len))
        return damaged(e, table, key, detail);
    *ret = (struct slice){data, len};
    return OK;
}

/* ---- open ---- */

static int open_tables(struct env *e, bool create)
{
    MDB_txn *txn = NULL;
    int rc = mdb_txn_begin(e->mdb, NULL, create ? 0 : MDB_RDONLY, &txn);
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < e->tables_n; i++) {
        rc = mdb_dbi_open(txn, e->names[i], create ? MDB_CREATE : 0, &e->dbi[i]);
        if (rc != 0) {
            mdb_txn_abort(txn);
            return rc == MDB_NOTFOUND ? MDB_INVALID : rc; /* A table is gone. */
        }
    }
    return mdb_txn_commit(txn); /* Committing keeps the handles, of a reader too. */
}

static int open_at_size(struct env *e, const struct env_options *o, uint64_t map_bytes)
{
    int rc = mdb_env_create(&e->mdb);
    if (rc != 0) {
        e->mdb = NULL;
        return rc;
    }
    unsigned flags = MDB_NOSUBDIR | MDB_NOTLS;
    if (o->read_only)
        flags |= MDB_RDONLY | MDB_NOLOCK;
    if (o->no_sync)
        flags |= MDB_NOSYNC | MDB_NOMETASYNC;
    rc = mdb_env_set_maxdbs(e->mdb, ENV_TABLES_MAX);
    if (rc == 0)
        rc = mdb_env_set_mapsize(e->mdb, map_bytes);
    if (rc == 0)
        rc = mdb_env_open(e->mdb, e->file, flags, 0600);
    if (rc != 0) {
        mdb_env_close(e->mdb);
        e->mdb = NULL;
    }
    return rc;
}

static enum err check_length(struct env *e, const struct env_options *o, struct err_detail *detail)
{
    struct env_sizes z = {0};
    TRY(env_sizes(e, &z, detail));
    e->map_bytes = z.map_bytes;
    e->was_short = z.file_bytes < z.used_bytes;
    if (!e->was_short || z.file_bytes == 0) /* LMDB writes the first pages of a new file now. */
        return OK;
    if (!o->accept_short)
        return err_say(detail, ERR_CORRUPT,
                       "%s is truncated: %llu bytes of %llu; restore a backup with "
                       "`shuntd restore`",
                       e->file, (unsigned long long)z.file_bytes, (unsigned long long)z.used_bytes);
    if (!o->read_only && truncate(e->file, (off_t)z.used_bytes) != 0)
        return place_errno(detail, errno, "lengthen", e->file);
    return OK;
}

static enum err open_mdb(struct env *e, const struct env_options *o, struct err_detail *detail)
{
    struct stat st;
    bool there = stat(e->file, &st) == 0;
    if (!there && !o->create)
        return place_errno(detail, errno, "open", e->file);
    /* LMDB takes an empty file for a new one: what was in it would be forgotten in silence. */
    if (there && st.st_size == 0 && !o->create)
        return err_say(detail, ERR_CORRUPT, "%s is empty; restore a backup with `shuntd restore`",
                       e->file);
    uint64_t size = o->map_bytes < MAP_MIN ? MAP_MIN : o->map_bytes;
    int rc = open_at_size(e, o, size);
    while (rc == ENOMEM && size > MAP_MIN) {
        size /= 2; /* Too little address space for the wish; LMDB keeps at least the file. */
        rc = open_at_size(e, o, size);
    }
    if (rc != 0)
        return failure(e, rc, detail);
    TRY(check_length(e, o, detail));
    return failure(e, open_tables(e, o->create), detail);
}

enum err env_open(const char *file, const struct env_options *o, struct env **ret,
                  struct err_detail *detail)
{
    assert(o->tables_n <= ENV_TABLES_MAX);
    struct env *e = mem_calloc(1, sizeof *e);
    if (!e)
        return err_say(detail, ERR_NOMEM, "no memory to open %s", file);
    pthread_rwlockattr_t attr;
    pthread_rwlockattr_init(&attr);
    /* Growing must not starve behind a stream of readers. */
    pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&e->map_lock, &attr);
    pthread_rwlockattr_destroy(&attr);
    e->read_only = o->read_only;
    e->tables_n = o->tables_n;
    for (size_t i = 0; i < o->tables_n; i++)
        e->names[i] = o->tables[i];
    enum err error = place_keep(file, e->file, detail);
    if (error == OK)
        error = open_mdb(e, o, detail);
    if (error != OK) {
        env_close(e);
        return error;
    }
    *ret = e;
    return OK;
}

/* See env.h, accept_short: a file that was closed in order is never short. */
static void lengthen(struct env *e)
{
    struct env_sizes z = {0};
    struct err_detail unused;
    if (!e->read_only && !env_failed(e) && env_sizes(e, &z, &unused) == OK &&
        z.file_bytes < z.used_bytes && truncate(e->file, (off_t)z.used_bytes) != 0)
        return; /* The next open sees it as it does after a kill. */
}

void env_close(struct env *e)
{
    if (!e)
        return;
    if (e->mdb) {
        lengthen(e);
        mdb_env_close(e->mdb);
    }
    pthread_rwlock_destroy(&e->map_lock);
    mem_free(e);
}

bool env_failed(const struct env *e)
{
    return atomic_load_explicit(&e->failed, memory_order_relaxed);
}

bool env_was_short(const struct env *e)
{
    return e->was_short;
}

enum err env_sync(struct env *e, struct err_detail *detail)
{
    pthread_rwlock_rdlock(&e->map_lock);
    int rc = mdb_env_sync(e->mdb, 1);
    enum err error = failure(e, rc, detail);
    pthread_rwlock_unlock(&e->map_lock);
    return error;
}

void env_reader_check(struct env *e)
{
    int dead = 0;
    pthread_rwlock_rdlock(&e->map_lock);
    mdb_reader_check(e->mdb, &dead);
    pthread_rwlock_unlock(&e->map_lock);
}

enum err env_sizes(struct env *e, struct env_sizes *ret, struct err_detail *detail)
{
    MDB_envinfo info;
    MDB_stat stat_now;
    struct stat st;
    pthread_rwlock_rdlock(&e->map_lock);
    mdb_env_info(e->mdb, &info);
    mdb_env_stat(e->mdb, &stat_now);
    pthread_rwlock_unlock(&e->map_lock);
    if (stat(e->file, &st) != 0)
        return place_errno(detail, errno, "look at", e->file);
    ret->file_bytes = (uint64_t)st.st_size;
    ret->used_bytes = ((uint64_t)info.me_last_pgno + 1) * stat_now.ms_psize;
    ret->map_bytes = info.me_mapsize;
    return OK;
}

enum err env_copy(struct env *e, const char *file, struct err_detail *detail)
{
    pthread_rwlock_rdlock(&e->map_lock);
    int rc = mdb_env_copy2(e->mdb, file, MDB_CP_COMPACT);
    /* Compacting counts pages and gives up on one that nobody references; a plain copy does not. */
    if (rc == MDB_INCOMPATIBLE && remove(file) == 0)
        rc = mdb_env_copy2(e->mdb, file, 0);
    pthread_rwlock_unlock(&e->map_lock);
    if (rc > 0)
        return place_errno(detail, rc, "copy the state to", file);
    return failure(e, rc, detail);
}

/* ---- transactions ---- */

/* mdb_env_set_mapsize unmaps first: were the new map refused, there would be none. So ask before,
 * and go back to the old size should it happen all the same. */
static enum err grow_locked(struct env *e, struct err_detail *detail)
{
    uint64_t old = e->map_bytes, size = old * 2;
    if (size > MAP_MAX)
        return err_say(detail, ERR_MAP_FULL, "%s: the map has its largest size", e->file);
    void *trial = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (trial == MAP_FAILED)
        return err_say(detail, ERR_MAP_FULL,
                       "%s: no address space for a map of %llu bytes (ulimit -v?)", e->file,
                       (unsigned long long)size);
    munmap(trial, size);
    int rc = mdb_env_set_mapsize(e->mdb, size);
    if (rc == 0) {
        e->map_bytes = size;
        return OK;
    }
    if (mdb_env_set_mapsize(e->mdb, old) == 0)
        return err_say(detail, ERR_MAP_FULL, "%s: cannot grow the map to %llu bytes", e->file,
                       (unsigned long long)size);
    atomic_store(&e->failed, true);
    return err_say(detail, ERR_IO, "%s: lost the map while growing it", e->file);
}

static enum err grow(struct env *e, uint64_t seen_bytes, struct err_detail *detail)
{
    enum err error = OK;
    pthread_rwlock_wrlock(&e->map_lock);
    if (e->map_bytes == seen_bytes) /* Else another writer has grown it meanwhile. */
        error = grow_locked(e, detail);
    pthread_rwlock_unlock(&e->map_lock);
    return error;
}

static enum err write_once(struct env *e, env_work *work, void *ctx, struct err_detail *detail)
{
    struct txn t = {e, NULL, detail};
    int rc = mdb_txn_begin(e->mdb, NULL, 0, &t.mdb);
    if (rc != 0)
        return failure(e, rc, detail);
    enum err error = work(&t, ctx);
    if (error != OK) {
        mdb_txn_abort(t.mdb);
        return error;
    }
    return failure(e, mdb_txn_commit(t.mdb), detail);
}

enum err env_write(struct env *e, env_work *work, void *ctx, struct err_detail *detail)
{
    for (;;) {
        if (env_failed(e))
            return err_say(detail, ERR_IO, "%s: an earlier write failed; restart to recover",
                           e->file);
        pthread_rwlock_rdlock(&e->map_lock);
        uint64_t seen = e->map_bytes;
        enum err error = write_once(e, work, ctx, detail);
        if (error == ERR_IO)
            atomic_store(&e->failed, true);
        pthread_rwlock_unlock(&e->map_lock);
        if (error != ERR_MAP_FULL)
            return error;
        TRY(grow(e, seen, detail));
    }
}

enum err env_read(struct env *e, env_work *work, void *ctx, struct err_detail *detail)
{
    struct txn t = {e, NULL, detail};
    pthread_rwlock_rdlock(&e->map_lock);
    int rc = mdb_txn_begin(e->mdb, NULL, MDB_RDONLY, &t.mdb);
    enum err error = failure(e, rc, detail);
    if (rc == 0) {
        error = work(&t, ctx);
        mdb_txn_abort(t.mdb);
    }
    pthread_rwlock_unlock(&e->map_lock);
    return error;
}

struct err_detail *txn_detail(struct txn *t)
{
    return t->detail;
}

const char *env_file(const struct env *e)
{
    return e->file;
}

const char *txn_file(const struct txn *t)
{
    return t->env->file;
}

enum err txn_put(struct txn *t, unsigned table, struct slice key, struct slice value,
                 enum txn_put how)
{
    unsigned flags = MDB_RESERVE; /* LMDB gives the room; checksum and bytes go there at once. */
    if (how == TXN_NEW)
        flags |= MDB_NOOVERWRITE;
    else if (how == TXN_APPEND)
        flags |= MDB_APPEND;
    uint64_t sum = sum_of(table, key, value.data, value.len);
    MDB_val k = val(key), v = {SUM_BYTES + value.len, NULL};
    int rc = mdb_put(t->mdb, t->env->dbi[table], &k, &v, flags);
    if (rc != 0)
        return answer(t, rc);
    memcpy(v.mv_data, &sum, SUM_BYTES);
    if (value.len)
        memcpy((uint8_t *)v.mv_data + SUM_BYTES, value.data, value.len);
    return OK;
}

enum err txn_get(struct txn *t, unsigned table, struct slice key, struct slice *ret)
{
    MDB_val k = val(key), v;
    int rc = mdb_get(t->mdb, t->env->dbi[table], &k, &v);
    if (rc != 0)
        return answer(t, rc);
    return unseal(t->env, table, key, v, ret, t->detail);
}

static int compare(MDB_val a, struct slice b)
{
    size_t n = a.mv_size < b.len ? a.mv_size : b.len;
    int c = n ? memcmp(a.mv_data, b.data, n) : 0;
    return c ? c : (a.mv_size > b.len) - (a.mv_size < b.len);
}

/* Visits keys of from..to; deletes them when asked. */
static enum err range(struct txn *t, unsigned table, struct slice from, struct slice to,
                      uint64_t max_n, bool delete_them, uint64_t *ret_n)
{
    MDB_cursor *c = NULL;
    int rc = mdb_cursor_open(t->mdb, t->env->dbi[table], &c);
    if (rc != 0)
        return failure(t->env, rc, t->detail);
    MDB_val k = val(from), v;
    uint64_t n = 0;
    rc = mdb_cursor_get(c, &k, &v, from.len ? MDB_SET_RANGE : MDB_FIRST);
    while (rc == 0 && n < max_n && (to.len == 0 || compare(k, to) <= 0)) {
        if (delete_them)
            rc = mdb_cursor_del(c, 0);
        if (rc != 0)
            break;
        n++;
        /* After a delete the cursor stands on the next, or beyond a page's end: NEXT knows. */
        rc = mdb_cursor_get(c, &k, &v, MDB_NEXT);
    }
    mdb_cursor_close(c);
    *ret_n = n;
    return rc == 0 || rc == MDB_NOTFOUND ? OK : failure(t->env, rc, t->detail);
}

enum err txn_del_range(struct txn *t, unsigned table, struct slice from, struct slice to,
                       uint64_t max_n, uint64_t *ret_n)
{
    return range(t, table, from, to, max_n, true, ret_n);
}

enum err txn_count_range(struct txn *t, unsigned table, struct slice from, struct slice to,
                         uint64_t *ret_n)
{
    return range(t, table, from, to, UINT64_MAX, false, ret_n);
}

static enum err edge(struct txn *t, unsigned table, struct slice from, MDB_cursor_op op,
                     uint8_t ret_key[ENV_KEY_MAX], size_t *ret_len)
{
    MDB_cursor *c = NULL;
    int rc = mdb_cursor_open(t->mdb, t->env->dbi[table], &c);
    if (rc != 0)
        return failure(t->env, rc, t->detail);
    MDB_val k = val(from), v;
    rc = mdb_cursor_get(c, &k, &v, op);
    enum err error = answer(t, rc);
    if (error == OK && (k.mv_size == 0 || k.mv_size > ENV_KEY_MAX))
        error = damaged(t->env, table, (struct slice){k.mv_data, k.mv_size}, t->detail);
    if (error == OK) {
        memcpy(ret_key, k.mv_data, k.mv_size);
        *ret_len = k.mv_size;
    }
    mdb_cursor_close(c);
    return error;
}

enum err txn_seek(struct txn *t, unsigned table, struct slice from, uint8_t ret_key[ENV_KEY_MAX],
                  size_t *ret_len)
{
    return edge(t, table, from, from.len ? MDB_SET_RANGE : MDB_FIRST, ret_key, ret_len);
}

enum err txn_last(struct txn *t, unsigned table, uint8_t ret_key[ENV_KEY_MAX], size_t *ret_len)
{
    return edge(t, table, (struct slice){NULL, 0}, MDB_LAST, ret_key, ret_len);
}

enum err txn_stat(struct txn *t, unsigned table, struct txn_stat *ret)
{
    MDB_stat st;
    int rc = mdb_stat(t->mdb, t->env->dbi[table], &st);
    if (rc != 0)
        return failure(t->env, rc, t->detail);
    ret->entries = st.ms_entries;
    ret->bytes = (st.ms_branch_pages + st.ms_leaf_pages + st.ms_overflow_pages) * st.ms_psize;
    return OK;
}

/* ---- scan ---- */

struct record_head {
    uint32_t key_len, value_len;
};

struct batch {
    struct env_scan *scan;
    struct env *env;
    struct buf bytes;         /* record_head, key, value, padding; repeated. */
    uint8_t key[ENV_KEY_MAX]; /* The last one copied. */
    size_t key_len;
    bool started, ended;
};

static void pad(struct buf *b)
{
    static const uint8_t zeros[RECORD_ALIGN];
    buf_put(b, zeros, (RECORD_ALIGN - b->len % RECORD_ALIGN) % RECORD_ALIGN);
}

static enum err take_record(struct txn *t, struct batch *b, MDB_val k, MDB_val v)
{
    struct env_scan *s = b->scan;
    struct slice key = {k.mv_data, k.mv_size}, value = {NULL, 0};
    if (k.mv_size == 0 || k.mv_size > ENV_KEY_MAX ||
        (b->started && compare(k, (struct slice){b->key, b->key_len}) <= 0))
        return err_say(t->detail, ERR_CORRUPT,
                       "%s is damaged: the keys of table %s do not ascend; restore a backup with "
                       "`shuntd restore`",
                       t->env->file, t->env->names[s->table]);
    memcpy(b->key, k.mv_data, k.mv_size);
    b->key_len = k.mv_size;
    b->started = true;
    enum err error = unseal(t->env, s->table, key, v, &value, t->detail);
    if (error == ERR_CORRUPT && s->skip_damaged) {
        s->damaged_n++;
        return OK;
    }
    TRY(error);
    struct record_head head = {(uint32_t)key.len, (uint32_t)value.len};
    buf_put(&b->bytes, &head, sizeof head);
    buf_put(&b->bytes, key.data, key.len);
    pad(&b->bytes);
    buf_put(&b->bytes, value.data, value.len);
    pad(&b->bytes);
    return buf_error(&b->bytes);
}

/* A damaged page can end a walk early. A whole table seen in one transaction has a known count. */
static enum err check_complete(struct txn *t, unsigned table, size_t seen)
{
    struct txn_stat st = {0};
    TRY(txn_stat(t, table, &st));
    if (seen == st.entries)
        return OK;
    return err_say(t->detail, ERR_CORRUPT,
                   "%s is damaged: table %s has %zu of %llu rows; restore a backup with "
                   "`shuntd restore`",
                   t->env->file, t->env->names[table], seen, (unsigned long long)st.entries);
}

static enum err fill_batch(struct txn *t, void *ctx)
{
    struct batch *b = ctx;
    struct env_scan *s = b->scan;
    MDB_cursor *c = NULL;
    int rc = mdb_cursor_open(t->mdb, t->env->dbi[s->table], &c);
    if (rc != 0)
        return failure(t->env, rc, t->detail);
    enum err error = OK;
    MDB_val k = b->started ? (MDB_val){b->key_len, b->key} : val(s->from), v;
    rc = mdb_cursor_get(c, &k, &v, k.mv_size ? MDB_SET_RANGE : MDB_FIRST);
    if (rc == 0 && b->started && compare(k, (struct slice){b->key, b->key_len}) == 0)
        rc = mdb_cursor_get(c, &k, &v, MDB_NEXT);
    const bool first = !b->started;
    size_t n = 0;
    for (; rc == 0 && n < ENV_BATCH_RECORDS && b->bytes.len < ENV_BATCH_BYTES; n++) {
        if (s->to.len && compare(k, s->to) > 0) {
            rc = MDB_NOTFOUND;
            break;
        }
        error = take_record(t, b, k, v);
        if (error != OK)
            break;
        rc = mdb_cursor_get(c, &k, &v, MDB_NEXT);
    }
    mdb_cursor_close(c);
    TRY(error);
    b->ended = rc == MDB_NOTFOUND;
    TRY(b->ended ? OK : failure(t->env, rc, t->detail));
    return first && b->ended && !s->from.len && !s->to.len ? check_complete(t, s->table, n) : OK;
}

static size_t padded(size_t n)
{
    return (n + RECORD_ALIGN - 1) / RECORD_ALIGN * RECORD_ALIGN;
}

static enum err visit_batch(const struct batch *b)
{
    for (size_t at = 0; at < b->bytes.len;) {
        struct record_head head;
        memcpy(&head, b->bytes.data + at, sizeof head);
        const uint8_t *key = b->bytes.data + at + sizeof head;
        const uint8_t *value = b->bytes.data + padded(at + sizeof head + head.key_len);
        TRY(b->scan->visit(b->scan->ctx, (struct slice){key, head.key_len},
                           (struct slice){value, head.value_len}));
        at = padded(at + sizeof head + head.key_len) + padded(head.value_len);
    }
    return OK;
}

enum err env_scan(struct env *e, struct env_scan *scan, struct err_detail *detail)
{
    struct batch b = {.scan = scan, .env = e};
    enum err error = OK;
    buf_init(&b.bytes);
    while (error == OK && !b.ended) {
        buf_reset(&b.bytes);
        error = env_read(e, fill_batch, &b, detail);
        if (error == ERR_NOMEM)
            err_say(detail, error, "no memory to read %s", e->file);
        if (error == OK)
            error = visit_batch(&b);
    }
    buf_done(&b.bytes);
    return error;
}

/* ---- the list of free pages ---- */

static bool free_ids_sound(MDB_val v, uint64_t last_page)
{
    /* Count, then page numbers in descending order. */
    uint64_t count, id, above = last_page + 1;
    if (v.mv_size < sizeof count)
        return false;
    memcpy(&count, v.mv_data, sizeof count);
    if (count > v.mv_size / sizeof id - 1)
        return false;
    for (uint64_t i = 1; i <= count; i++) {
        memcpy(&id, (const uint8_t *)v.mv_data + i * sizeof id, sizeof id);
        if (id < 2 || id >= above)
            return false;
        above = id;
    }
    return true;
}

static enum err check_free(struct txn *t, void *ctx)
{
    (void)ctx;
    const MDB_dbi free_list = 0;
    MDB_envinfo info;
    MDB_cursor *c = NULL;
    MDB_val k, v;
    mdb_env_info(t->env->mdb, &info);
    int rc = mdb_cursor_open(t->mdb, free_list, &c);
    if (rc != 0)
        return failure(t->env, rc, t->detail);
    enum err error = OK;
    uint64_t before = 0, id;
    while (error == OK && (rc = mdb_cursor_get(c, &k, &v, MDB_NEXT)) == 0) {
        id = 0;
        if (k.mv_size == sizeof id)
            memcpy(&id, k.mv_data, sizeof id);
        if (id <= before || !free_ids_sound(v, info.me_last_pgno))
            error = err_say(t->detail, ERR_CORRUPT,
                            "%s is damaged: its list of free pages is not sound; restore a backup "
                            "with `shuntd restore`",
                            t->env->file);
        before = id;
    }
    mdb_cursor_close(c);
    TRY(error);
    return rc == MDB_NOTFOUND ? OK : failure(t->env, rc, t->detail);
}

enum err env_check_free(struct env *e, struct err_detail *detail)
{
    return env_read(e, check_free, NULL, detail);
}
