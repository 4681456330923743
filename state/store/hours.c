#include "state/store/hours.h"

#include "state/base/mem.h"
#include "state/store/env.h"
#include "state/store/place.h"
#include "state/store/probe.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MAP_BYTES (UINT64_C(64) << 20)
#define SEARCH_N 72
#define LOCK_FILE "hours.lock"
#define HOUR_END 70000000 /* Year 9955: four digits of a year are enough for the name. */
#define TABLE_RECORD 0
#define BOOT_CAP 64

static const char *const table_names[] = {"record"};

enum slot_state { SLOT_FREE, SLOT_BUSY, SLOT_OPEN }; /* BUSY: being opened or closed, unlocked. */

struct slot {
    enum slot_state state;
    bool doomed; /* Is to be removed: nobody else may acquire it. */
    bool marked; /* Its mark is on the disk: it may hold what was not synced. */
    unsigned refs;
    int64_t hour;
    uint64_t used; /* The larger, the more recent. */
    struct env *env;
};

struct entry {
    int64_t hour;
    uint64_t bytes;
};

struct hours {
    char dir[PLACE_PATH_CAP];
    char boot[BOOT_CAP]; /* Changes with each start of the machine. */
    int lock_fd;
    uint64_t map_bytes;
    size_t search_n;
    pthread_mutex_t lock; /* Guards all below. */
    pthread_cond_t changed;
    struct slot slots[HOURS_OPEN_MAX];
    uint64_t ticks;
    struct entry *entries; /* HOURS_MAX of them, ascending. */
    size_t entries_n;
    struct hours_counts counts; /* hours and bytes are computed when asked. */
};

int64_t hours_of(int64_t us)
{
    return us / HOURS_US - (us % HOURS_US < 0);
}

/* ---- names ---- */

enum file_kind { FILE_DATA, FILE_LOCK, FILE_MARK, FILE_DEAD };
static const char *const suffixes[] = {[FILE_DATA] = ".log",
                                       [FILE_LOCK] = ".log-lock",
                                       [FILE_MARK] = ".unsynced",
                                       [FILE_DEAD] = ".dead"};

static enum err path_of(const struct hours *h, int64_t hour, enum file_kind kind,
                        char ret[PLACE_PATH_CAP], struct err_detail *detail)
{
    if (hour < 0 || hour >= HOUR_END)
        return err_say(detail, ERR_OUT_OF_RANGE, "%lld is not an hour since 1970", (long long)hour);
    time_t seconds = (time_t)hour * 3600;
    struct tm tm;
    char name[64];
    gmtime_r(&seconds, &tm);
    size_t n = strftime(name, sizeof name, "%Y%m%dT%H", &tm);
    snprintf(name + n, sizeof name - n, "%s", suffixes[kind]);
    return place_join(h->dir, name, ret, detail);
}

/* The hour of a name of this kind, or -1. */
static int64_t hour_of_name(const char *name, enum file_kind kind)
{
    struct tm tm;
    memset(&tm, 0, sizeof tm);
    const char *rest = strptime(name, "%Y%m%dT%H", &tm);
    if (!rest || rest - name != 11 || strcmp(rest, suffixes[kind]) != 0)
        return -1;
    int64_t seconds = timegm(&tm);
    return seconds >= 0 && seconds / 3600 < HOUR_END ? seconds / 3600 : -1;
}

static uint64_t file_bytes(const char *file)
{
    struct stat st;
    return stat(file, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}

/* ---- the list of hours; the lock is held ---- */

/* Where the hour is, or where it would go. */
static size_t entry_at(const struct hours *h, int64_t hour)
{
    size_t low = 0, high = h->entries_n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (h->entries[mid].hour < hour)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static bool is_listed(const struct hours *h, int64_t hour)
{
    size_t at = entry_at(h, hour);
    return at < h->entries_n && h->entries[at].hour == hour;
}

static void list_hour(struct hours *h, int64_t hour, uint64_t bytes)
{
    size_t at = entry_at(h, hour);
    if (at == h->entries_n || h->entries[at].hour != hour) {
        if (h->entries_n == HOURS_MAX)
            return;
        memmove(&h->entries[at + 1], &h->entries[at], (h->entries_n - at) * sizeof *h->entries);
        h->entries[at].hour = hour;
        h->entries_n++;
    }
    h->entries[at].bytes = bytes;
}

static void unlist_hour(struct hours *h, int64_t hour)
{
    size_t at = entry_at(h, hour);
    if (at == h->entries_n || h->entries[at].hour != hour)
        return;
    h->entries_n--;
    memmove(&h->entries[at], &h->entries[at + 1], (h->entries_n - at) * sizeof *h->entries);
}

/* ---- files ---- */

/* The mark goes to the disk before the first unsynced page can. */
static enum err write_mark(const struct hours *h, int64_t hour, struct err_detail *detail)
{
    char mark[PLACE_PATH_CAP];
    TRY(path_of(h, hour, FILE_MARK, mark, detail));
    int fd = open(mark, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return place_errno(detail, errno, "create", mark);
    size_t len = strlen(h->boot);
    errno = ENOSPC; /* What a short write means. */
    bool written = write(fd, h->boot, len) == (ssize_t)len && fsync(fd) == 0;
    int number = errno;
    close(fd);
    if (!written) {
        unlink(mark);
        return place_errno(detail, number, "write", mark);
    }
    return place_sync(h->dir, detail);
}

static bool mark_is_of_this_boot(const struct hours *h, int64_t hour)
{
    char mark[PLACE_PATH_CAP], boot[BOOT_CAP] = "";
    struct err_detail unused;
    if (path_of(h, hour, FILE_MARK, mark, &unused) != OK)
        return false;
    int fd = open(mark, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, boot, sizeof boot - 1);
    close(fd);
    return n > 0 && h->boot[0] && strcmp(boot, h->boot) == 0;
}

static void unlink_kind(const struct hours *h, int64_t hour, enum file_kind kind)
{
    char file[PLACE_PATH_CAP];
    struct err_detail unused;
    if (path_of(h, hour, kind, file, &unused) == OK)
        unlink(file);
}

/* Renaming is quick, freeing gigabytes is not: so the slow half may run without the lock. */
static void bury(const struct hours *h, int64_t hour)
{
    char file[PLACE_PATH_CAP], dead[PLACE_PATH_CAP];
    struct err_detail unused;
    if (path_of(h, hour, FILE_DATA, file, &unused) != OK ||
        path_of(h, hour, FILE_DEAD, dead, &unused) != OK)
        return;
    if (rename(file, dead) != 0)
        unlink(file);
    unlink_kind(h, hour, FILE_LOCK);
    unlink_kind(h, hour, FILE_MARK);
}

static enum err open_env(const struct hours *h, int64_t hour, bool create, bool checked,
                         struct env **ret, struct err_detail *detail)
{
    char file[PLACE_PATH_CAP];
    struct env_options o = {.map_bytes = h->map_bytes,
                            .tables = table_names,
                            .tables_n = 1,
                            .create = create,
                            .no_sync = true,
                            .accept_short = checked};
    TRY(path_of(h, hour, FILE_DATA, file, detail));
    return env_open(file, &o, ret, detail);
}

static void close_env(const struct hours *h, struct slot *s)
{
    struct err_detail unused;
    if (s->marked && env_sync(s->env, &unused) == OK)
        unlink_kind(h, s->hour, FILE_MARK);
    env_close(s->env);
    s->env = NULL;
    s->marked = false;
}

/* ---- slots; the lock is held on entry and on return ---- */

static struct slot *slot_of(struct hours *h, int64_t hour)
{
    for (size_t i = 0; i < HOURS_OPEN_MAX; i++)
        if (h->slots[i].state != SLOT_FREE && h->slots[i].hour == hour)
            return &h->slots[i];
    return NULL;
}

static void set_state(struct hours *h, struct slot *s, enum slot_state state)
{
    s->state = state;
    pthread_cond_broadcast(&h->changed);
}

/* A free slot, or the idle one that was used longest ago, or NULL. */
static struct slot *spare_slot(struct hours *h)
{
    struct slot *oldest = NULL;
    for (size_t i = 0; i < HOURS_OPEN_MAX; i++) {
        struct slot *s = &h->slots[i];
        if (s->state == SLOT_FREE)
            return s;
        if (s->state == SLOT_OPEN && s->refs == 0 && !s->doomed &&
            (!oldest || s->used < oldest->used))
            oldest = s;
    }
    return oldest;
}

static enum err open_slot(struct hours *h, struct slot *s, int64_t hour, bool create,
                          struct err_detail *detail)
{
    *s = (struct slot){.state = SLOT_BUSY, .hour = hour};
    pthread_mutex_unlock(&h->lock);
    enum err e = open_env(h, hour, create, false, &s->env, detail);
    if (e == ERR_CORRUPT)
        bury(h, hour);
    pthread_mutex_lock(&h->lock);
    if (e == ERR_CORRUPT) {
        unlist_hour(h, hour);
        h->counts.damaged_hours++;
    }
    if (e == OK && create && !is_listed(h, hour))
        list_hour(h, hour, 0);
    set_state(h, s, e == OK ? SLOT_OPEN : SLOT_FREE);
    return e;
}

static enum err acquire(struct hours *h, int64_t hour, bool create, struct slot **ret,
                        struct err_detail *detail)
{
    for (;;) {
        struct slot *s = slot_of(h, hour);
        if (s && s->state == SLOT_OPEN && !s->doomed) {
            s->refs++;
            s->used = ++h->ticks;
            *ret = s;
            return OK;
        }
        struct slot *spare = s ? NULL : spare_slot(h);
        if (!s && !create && !is_listed(h, hour))
            return ERR_NOT_FOUND;
        if (!s && create && !is_listed(h, hour) && h->entries_n == HOURS_MAX)
            return err_say(detail, ERR_LIMIT, "%u hours are kept, the limit", HOURS_MAX);
        if (!spare) {
            pthread_cond_wait(&h->changed, &h->lock);
        } else if (spare->state == SLOT_OPEN) {
            set_state(h, spare, SLOT_BUSY);
            pthread_mutex_unlock(&h->lock);
            close_env(h, spare);
            pthread_mutex_lock(&h->lock);
            set_state(h, spare, SLOT_FREE);
        } else {
            TRY(open_slot(h, spare, hour, create, detail));
        }
    }
}

static void release(struct hours *h, struct slot *s)
{
    if (--s->refs == 0)
        pthread_cond_broadcast(&h->changed);
}

/* Removes an hour once nobody is inside. */
static void drop(struct hours *h, int64_t hour)
{
    struct slot *s;
    while ((s = slot_of(h, hour)) != NULL && (s->state != SLOT_OPEN || s->refs > 0)) {
        s->doomed = true;
        pthread_cond_wait(&h->changed, &h->lock);
    }
    if (s) {
        env_close(s->env); /* Not synced: it is going away. */
        *s = (struct slot){.state = SLOT_FREE};
    }
    unlist_hour(h, hour);
    bury(h, hour);
    pthread_cond_broadcast(&h->changed);
    pthread_mutex_unlock(&h->lock);
    unlink_kind(h, hour, FILE_DEAD);
    pthread_mutex_lock(&h->lock);
}

static void drop_damaged(struct hours *h, int64_t hour)
{
    drop(h, hour);
    h->counts.damaged_hours++;
}

/* ---- open ---- */

struct look {
    const struct hours *h;
    int64_t hour;
    bool same_boot;
};

static enum err skip(void *ctx, struct slice key, struct slice value)
{
    (void)ctx;
    (void)key;
    (void)value;
    return OK;
}

static enum err look_in_child(void *ctx, struct err_detail *detail)
{
    const struct look *l = ctx;
    char file[PLACE_PATH_CAP];
    struct env *env = NULL;
    struct env_options o = {.map_bytes = 1,
                            .tables = table_names,
                            .tables_n = 1,
                            .read_only = true,
                            .accept_short = true};
    TRY(path_of(l->h, l->hour, FILE_DATA, file, detail));
    TRY(env_open(file, &o, &env, detail));
    enum err e = OK;
    if (!l->same_boot || env_was_short(env)) {
        struct env_scan scan = {.table = TABLE_RECORD, .skip_damaged = true, .visit = skip};
        e = env_check_free(env, detail);
        if (e == OK)
            e = env_scan(env, &scan, detail);
    }
    env_close(env);
    return e;
}

/* An hour with a mark was open when the process ended. Of the same boot all its pages are there. */
static enum err look_at_marked(struct hours *h, int64_t hour, struct err_detail *detail)
{
    char file[PLACE_PATH_CAP];
    TRY(path_of(h, hour, FILE_DATA, file, detail));
    if (!is_listed(h, hour)) {
        unlink_kind(h, hour, FILE_MARK);
        return OK;
    }
    struct look l = {h, hour, mark_is_of_this_boot(h, hour)};
    struct env *env = NULL;
    enum err e = probe_run(file, look_in_child, &l, detail);
    if (e == OK)
        e = open_env(h, hour, false, true, &env, detail); /* Makes a short file long enough. */
    env_close(env);
    if (e == ERR_CORRUPT) {
        drop_damaged(h, hour);
        return OK;
    }
    if (e == OK && !l.same_boot)
        unlink_kind(h, hour, FILE_MARK); /* What we have read is what the disk holds. */
    return e;
}

static enum err each_file(struct hours *h, enum file_kind kind,
                          enum err (*see)(struct hours *h, int64_t hour, struct err_detail *detail),
                          struct err_detail *detail)
{
    DIR *dir = opendir(h->dir);
    if (!dir)
        return place_errno(detail, errno, "read directory", h->dir);
    enum err e = OK;
    for (struct dirent *d = readdir(dir); d && e == OK; d = readdir(dir)) {
        int64_t hour = hour_of_name(d->d_name, kind);
        if (hour >= 0)
            e = see(h, hour, detail);
    }
    closedir(dir);
    return e;
}

static enum err remove_dead(struct hours *h, int64_t hour, struct err_detail *detail)
{
    (void)detail;
    unlink_kind(h, hour, FILE_DEAD);
    return OK;
}

static enum err list_file(struct hours *h, int64_t hour, struct err_detail *detail)
{
    char file[PLACE_PATH_CAP];
    TRY(path_of(h, hour, FILE_DATA, file, detail));
    list_hour(h, hour, file_bytes(file));
    return OK;
}

static void read_boot(char ret[BOOT_CAP])
{
    ret[0] = '\0'; /* Unknown: then no mark is of this boot, and each is looked at. */
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t n = read(fd, ret, BOOT_CAP - 1);
    ret[n > 0 ? n : 0] = '\0';
    close(fd);
}

static enum err open_dir(struct hours *h, struct err_detail *detail)
{
    char lock[PLACE_PATH_CAP];
    TRY(place_join(h->dir, LOCK_FILE, lock, detail));
    TRY(place_lock(lock, false, &h->lock_fd, detail));
    TRY(each_file(h, FILE_DEAD, remove_dead, detail));
    TRY(each_file(h, FILE_DATA, list_file, detail));
    pthread_mutex_lock(&h->lock);
    enum err e = each_file(h, FILE_MARK, look_at_marked, detail);
    pthread_mutex_unlock(&h->lock);
    return e;
}

enum err hours_open(const char *dir, const struct hours_options *options, struct hours **ret,
                    struct err_detail *detail)
{
    TRY(place_make(dir, detail));
    struct hours *h = mem_calloc(1, sizeof *h);
    if (!h)
        return err_say(detail, ERR_NOMEM, "no memory to open %s", dir);
    h->lock_fd = -1;
    h->map_bytes = options && options->map_bytes ? options->map_bytes : MAP_BYTES;
    h->search_n = options && options->search_n ? options->search_n : SEARCH_N;
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->changed, NULL);
    read_boot(h->boot);
    h->entries = mem_calloc(HOURS_MAX, sizeof *h->entries);
    enum err e = place_keep(dir, h->dir, detail);
    if (e == OK && !h->entries)
        e = err_say(detail, ERR_NOMEM, "no memory to open %s", dir);
    if (e == OK)
        e = open_dir(h, detail);
    if (e != OK) {
        hours_close(h);
        return e;
    }
    *ret = h;
    return OK;
}

void hours_close(struct hours *h)
{
    if (!h)
        return;
    for (size_t i = 0; i < HOURS_OPEN_MAX; i++)
        if (h->slots[i].state == SLOT_OPEN)
            close_env(h, &h->slots[i]);
    if (h->lock_fd >= 0)
        close(h->lock_fd);
    pthread_mutex_destroy(&h->lock);
    pthread_cond_destroy(&h->changed);
    mem_free(h->entries);
    mem_free(h);
}

/* ---- put ---- */

struct batch {
    const struct hours_record *records;
    size_t n;
};

static enum err put_batch(struct txn *t, void *ctx)
{
    const struct batch *b = ctx;
    for (size_t i = 0; i < b->n; i++)
        TRY(txn_put(t, TABLE_RECORD, (struct slice){b->records[i].key, HOURS_KEY_BYTES},
                    b->records[i].bytes, TXN_REPLACE));
    return OK;
}

static enum err put_once(struct hours *h, int64_t hour, struct batch *b, struct err_detail *detail)
{
    struct slot *s = NULL;
    char file[PLACE_PATH_CAP];
    TRY(path_of(h, hour, FILE_DATA, file, detail));
    pthread_mutex_lock(&h->lock);
    enum err e = acquire(h, hour, true, &s, detail);
    bool marked = e == OK && s->marked;
    pthread_mutex_unlock(&h->lock);
    TRY(e);
    if (!marked)
        e = write_mark(h, hour, detail);
    if (e == OK)
        e = env_write(s->env, put_batch, b, detail);
    pthread_mutex_lock(&h->lock);
    s->marked = s->marked || e == OK;
    release(h, s);
    if (e == ERR_CORRUPT)
        drop_damaged(h, hour);
    else if (is_listed(h, hour))
        list_hour(h, hour, file_bytes(file));
    pthread_mutex_unlock(&h->lock);
    return e;
}

enum err hours_put(struct hours *h, int64_t hour, const struct hours_record *records, size_t n,
                   struct err_detail *detail)
{
    if (n > HOURS_BATCH_MAX)
        return err_say(detail, ERR_TOO_LARGE, "a batch of %zu records, the limit is %u", n,
                       HOURS_BATCH_MAX);
    for (size_t i = 0; i < n; i++)
        if (records[i].bytes.len > HOURS_RECORD_MAX)
            return err_say(detail, ERR_TOO_LARGE, "a record of %zu bytes, the limit is %u",
                           records[i].bytes.len, HOURS_RECORD_MAX);
    struct batch b = {records, n};
    enum err e = put_once(h, hour, &b, detail);
    /* The damaged hour is gone by now; this batch begins it anew. */
    return e == ERR_CORRUPT ? put_once(h, hour, &b, detail) : e;
}

/* ---- get ---- */

struct lookup {
    const uint8_t *key;
    struct buf *out;
};

static enum err copy_record(struct txn *t, void *ctx)
{
    struct lookup *l = ctx;
    struct slice value;
    TRY(txn_get(t, TABLE_RECORD, (struct slice){l->key, HOURS_KEY_BYTES}, &value));
    buf_reset(l->out);
    buf_put(l->out, value.data, value.len);
    return buf_error(l->out);
}

/* ERR_NOT_FOUND also when the hour, or the record, turns out to be damaged: both are counted. */
static enum err get_from(struct hours *h, int64_t hour, struct lookup *l, struct err_detail *detail)
{
    struct slot *s = NULL;
    pthread_mutex_lock(&h->lock);
    enum err e = acquire(h, hour, false, &s, detail);
    pthread_mutex_unlock(&h->lock);
    if (e == OK) {
        e = env_read(s->env, copy_record, l, detail);
        pthread_mutex_lock(&h->lock);
        release(h, s);
        h->counts.damaged_records += e == ERR_CORRUPT;
        pthread_mutex_unlock(&h->lock);
    }
    return e == ERR_CORRUPT ? ERR_NOT_FOUND : e;
}

/* The newest hour below `below`, or -1. */
static int64_t hour_below(struct hours *h, int64_t below)
{
    pthread_mutex_lock(&h->lock);
    size_t at = entry_at(h, below);
    int64_t hour = at > 0 ? h->entries[at - 1].hour : -1;
    pthread_mutex_unlock(&h->lock);
    return hour;
}

static enum err find(struct hours *h, int64_t hint, struct lookup *l, int64_t *ret_hour,
                     struct err_detail *detail)
{
    static const int64_t around[] = {0, -1, 1};
    bool hinted = hint >= 0 && hint < HOUR_END;
    size_t looked = 0;
    for (size_t i = 0; hinted && i < 3; i++) {
        *ret_hour = hint + around[i];
        enum err e = get_from(h, *ret_hour, l, detail);
        if (e != ERR_NOT_FOUND)
            return e;
        looked++;
    }
    int64_t hour = INT64_MAX;
    while (looked < h->search_n && (hour = hour_below(h, hour)) >= 0) {
        if (hinted && hour >= hint - 1 && hour <= hint + 1)
            continue;
        enum err e = get_from(h, hour, l, detail);
        *ret_hour = hour;
        if (e != ERR_NOT_FOUND)
            return e;
        looked++;
    }
    return err_say(detail, ERR_NOT_FOUND, "no such record in the decision log");
}

enum err hours_get(struct hours *h, const uint8_t key[HOURS_KEY_BYTES], int64_t hint,
                   hours_visit *visit, void *ctx, struct err_detail *detail)
{
    struct buf out;
    int64_t hour = -1;
    buf_init(&out);
    struct lookup l = {key, &out};
    enum err e = find(h, hint, &l, &hour, detail);
    if (e == ERR_NOMEM)
        err_say(detail, e, "no memory for a record of the decision log");
    if (e == OK)
        e = visit(ctx, hour, key, (struct slice){out.data, out.len});
    buf_done(&out);
    return e;
}

/* ---- iterate ---- */

enum { LOOK_EVERY = 256 }; /* Records between two looks whether the hour is to be dropped. */

struct walk {
    struct hours *h;
    const struct slot *slot;
    size_t seen;
    int64_t hour;
    hours_visit *visit;
    void *ctx;
    enum err error; /* The visitor's, which may be ERR_CORRUPT without the hour being it. */
};

/* Whoever drops it waits for us, and the decision log behind it. */
static bool doomed(const struct walk *w)
{
    pthread_mutex_lock(&w->h->lock);
    bool is = w->slot->doomed;
    pthread_mutex_unlock(&w->h->lock);
    return is;
}

static enum err walk_record(void *ctx, struct slice key, struct slice value)
{
    struct walk *w = ctx;
    if (++w->seen % LOOK_EVERY == 0 && doomed(w))
        return ERR_NOT_FOUND;
    if (key.len == HOURS_KEY_BYTES)
        w->error = w->visit(w->ctx, w->hour, key.data, value);
    return w->error;
}

static enum err walk_hour(struct hours *h, struct walk *w, struct err_detail *detail)
{
    struct slot *s = NULL;
    struct env_scan scan = {
        .table = TABLE_RECORD, .skip_damaged = true, .visit = walk_record, .ctx = w};
    pthread_mutex_lock(&h->lock);
    enum err e = acquire(h, w->hour, false, &s, detail);
    pthread_mutex_unlock(&h->lock);
    if (e != OK) /* Expired meanwhile, or damaged and already counted. */
        return e == ERR_NOT_FOUND || e == ERR_CORRUPT ? OK : e;
    w->slot = s;
    e = env_scan(s->env, &scan, detail);
    pthread_mutex_lock(&h->lock);
    release(h, s);
    h->counts.damaged_records += scan.damaged_n;
    if (e == ERR_NOT_FOUND && w->error == OK)
        e = OK; /* It is being dropped: what is left of it counts as dropped. */
    if (e == ERR_CORRUPT && w->error == OK) {
        drop_damaged(h, w->hour);
        e = OK;
    }
    pthread_mutex_unlock(&h->lock);
    return e;
}

static int64_t hour_from(struct hours *h, int64_t from)
{
    pthread_mutex_lock(&h->lock);
    size_t at = entry_at(h, from);
    int64_t hour = at < h->entries_n ? h->entries[at].hour : -1;
    pthread_mutex_unlock(&h->lock);
    return hour;
}

enum err hours_iterate(struct hours *h, int64_t from_hour, int64_t to_hour, hours_visit *visit,
                       void *ctx, struct err_detail *detail)
{
    int64_t hour = hour_from(h, from_hour);
    while (hour >= 0 && hour <= to_hour) {
        struct walk w = {.h = h, .hour = hour, .visit = visit, .ctx = ctx};
        TRY(walk_hour(h, &w, detail));
        hour = hour_from(h, hour + 1);
    }
    return OK;
}

/* ---- expire ---- */

static uint64_t total_bytes(const struct hours *h)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < h->entries_n; i++)
        bytes += h->entries[i].bytes;
    return bytes;
}

enum err hours_expire(struct hours *h, int64_t now_us, int64_t keep_us, uint64_t max_bytes,
                      uint64_t *ret_dropped, struct err_detail *detail)
{
    if (keep_us < 0)
        return err_say(detail, ERR_OUT_OF_RANGE, "a negative time to keep the decision log");
    uint64_t dropped = 0;
    pthread_mutex_lock(&h->lock);
    while (h->entries_n > 1) {
        int64_t oldest = h->entries[0].hour;
        bool old = (oldest + 1) * HOURS_US < now_us - keep_us;
        if (!old && total_bytes(h) <= max_bytes)
            break;
        drop(h, oldest);
        dropped++;
    }
    h->counts.dropped_hours += dropped;
    pthread_mutex_unlock(&h->lock);
    *ret_dropped = dropped;
    return OK;
}

void hours_counts(struct hours *h, struct hours_counts *ret)
{
    pthread_mutex_lock(&h->lock);
    *ret = h->counts;
    ret->hours = h->entries_n;
    ret->bytes = total_bytes(h);
    pthread_mutex_unlock(&h->lock);
}
