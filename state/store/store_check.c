#include "state/store/store_inside.h"

#include "state/base/mem.h"
#include "state/store/probe.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PROGRESS_EVERY 1024 /* Values between two calls of progress. */
#define COPY_NAME "state.copy"

/* ---- check ---- */

struct check {
    struct store_counts counts;
    uint64_t seen;
    store_progress *progress;
    void *ctx;
};

static enum err tell(struct check *c, uint64_t bytes)
{
    c->counts.bytes += bytes;
    if (++c->seen % PROGRESS_EVERY != 0 || !c->progress)
        return OK;
    return c->progress(c->ctx, &c->counts);
}

static enum err see_record(void *ctx, uint64_t number, struct slice bytes)
{
    (void)number;
    struct check *c = ctx;
    c->counts.records++;
    return tell(c, bytes.len);
}

static enum err see_chunk(void *ctx, uint64_t number, struct slice bytes)
{
    (void)number;
    struct check *c = ctx;
    c->counts.chunks++;
    return tell(c, bytes.len);
}

static enum err see_setting(void *ctx, struct slice key, struct slice value)
{
    (void)key;
    struct check *c = ctx;
    c->counts.settings++;
    return tell(c, value.len);
}

static enum err see_nothing(void *ctx, struct slice key, struct slice value)
{
    (void)ctx;
    (void)key;
    (void)value;
    return OK;
}

static enum err check_journal(struct env *e, uint64_t after, struct check *c,
                              struct err_detail *detail)
{
    uint64_t first = 0, last = 0;
    enum err error;
    do {
        TRY(store_journal_edges(e, &first, &last, detail));
        if (last == 0 || after >= last)
            return OK;
        c->counts.records = 0;
        error = store_journal_walk(e, after + 1 > first ? after + 1 : first, last, see_record, c,
                                   detail);
    } while (error == ERR_NOT_FOUND); /* Trimmed under our feet: what is left is checked anew. */
    return error;
}

static enum err still_there(struct env *e, uint64_t id, bool *ret, struct err_detail *detail)
{
    struct store_generation *now = mem_calloc(STORE_GENERATIONS_MAX, sizeof *now);
    if (!now)
        return err_say(detail, ERR_NOMEM, "no memory to check");
    size_t n = 0;
    enum err error = store_generations(e, now, &n, detail);
    *ret = false;
    for (size_t i = 0; i < n; i++)
        *ret = *ret || now[i].id == id;
    mem_free(now);
    return error;
}

/* Generations oldest first; only the newest when not everything is wanted. */
static enum err check_generations(struct env *e, bool everything, struct check *c,
                                  uint64_t *ret_position, struct err_detail *detail)
{
    struct store_generation *g = mem_calloc(STORE_GENERATIONS_MAX, sizeof *g);
    if (!g)
        return err_say(detail, ERR_NOMEM, "no memory to check");
    size_t n = 0;
    enum err error = store_generations(e, g, &n, detail);
    for (size_t i = everything || n == 0 ? 0 : n - 1; error == OK && i < n; i++) {
        error = store_chunks_walk(e, &g[i], see_chunk, c, detail);
        bool there = true;
        struct err_detail unused;
        if (error == ERR_CORRUPT && still_there(e, g[i].id, &there, &unused) == OK && !there)
            error = OK; /* Dropped meanwhile. */
        c->counts.generations++;
    }
    if (error == OK)
        *ret_position = n ? g[n - 1].position : 0;
    mem_free(g);
    return error;
}

static enum err check_env(struct env *e, bool everything, struct check *c,
                          struct err_detail *detail)
{
    uint64_t position = 0;
    struct env_scan meta = {.table = TABLE_META, .visit = see_nothing};
    struct env_scan settings = {.table = TABLE_SETTING, .visit = see_setting, .ctx = c};
    TRY(env_check_free(e, detail));
    TRY(env_scan(e, &meta, detail));
    TRY(env_scan(e, &settings, detail));
    TRY(check_generations(e, everything, c, &position, detail));
    return check_journal(e, everything ? 0 : position, c, detail);
}

enum err store_check(struct store *s, store_progress *progress, void *ctx, struct store_counts *ret,
                     struct err_detail *detail)
{
    struct check c = {.progress = progress, .ctx = ctx};
    TRY(check_env(s->env, true, &c, detail));
    *ret = c.counts;
    return OK;
}

/* ---- in a child ---- */

struct look {
    const char *file;
    bool everything;
};

static enum err look_in_child(void *ctx, struct err_detail *detail)
{
    const struct look *l = ctx;
    struct env *env = NULL;
    struct check c = {0};
    /* No larger than the file needs: the child must not fail for want of address space. */
    const struct store_options options = {.map_bytes = 1};
    TRY(store_attach(l->file, &options, STORE_READ_ALONE, &env, detail));
    /* Of a short file only a look at everything tells whether a used page is gone. */
    enum err e = check_env(env, l->everything || env_was_short(env), &c, detail);
    env_close(env);
    return e;
}

enum err store_look(const char *dir, bool everything, struct err_detail *detail)
{
    char file[PLACE_PATH_CAP];
    TRY(place_join(dir, STORE_FILE, file, detail));
    struct look l = {file, everything};
    return probe_run(file, look_in_child, &l, detail);
}

static enum err look_locked(const char *dir, bool everything, struct err_detail *detail)
{
    char lock[PLACE_PATH_CAP];
    int fd = -1;
    TRY(place_join(dir, STORE_LOCK, lock, detail));
    /* A backup has no lock file, and nobody writes it. */
    enum err e = place_lock(lock, true, &fd, detail);
    if (e != OK && e != ERR_NOT_FOUND)
        return e;
    e = store_look(dir, everything, detail);
    if (fd >= 0)
        close(fd);
    return e;
}

enum err store_probe(const char *dir, struct err_detail *detail)
{
    return look_locked(dir, false, detail);
}

enum err store_verify(const char *dir, struct err_detail *detail)
{
    return look_locked(dir, true, detail);
}

/* ---- backup and restore ---- */

static enum err write_backup(struct store *s, const char *part, const char *file, const char *dest,
                             struct err_detail *detail)
{
    TRY(env_copy(s->env, part, detail));
    TRY(place_sync(part, detail));
    if (rename(part, file) != 0)
        return place_errno(detail, errno, "finish", file);
    TRY(place_sync(dest, detail));
    return place_sync_parent(dest, detail);
}

enum err store_backup(struct store *s, const char *dest, uint64_t *ret_bytes,
                      struct err_detail *detail)
{
    char part[PLACE_PATH_CAP], file[PLACE_PATH_CAP];
    struct stat st;
    TRY(place_join(dest, COPY_NAME, part, detail));
    TRY(place_join(dest, STORE_FILE, file, detail));
    if (mkdir(dest, 0700) != 0)
        return place_errno(detail, errno, "create directory", dest);
    enum err e = write_backup(s, part, file, dest, detail);
    if (e == OK && stat(file, &st) != 0)
        e = place_errno(detail, errno, "look at", file);
    if (e != OK) {
        unlink(part);
        unlink(file);
        rmdir(dest);
        return e;
    }
    *ret_bytes = (uint64_t)st.st_size;
    return OK;
}

static enum err copy_state(const char *from_dir, const char *data_dir, struct err_detail *detail)
{
    char from[PLACE_PATH_CAP], part[PLACE_PATH_CAP], file[PLACE_PATH_CAP];
    struct stat st;
    uint64_t bytes = 0;
    TRY(place_join(from_dir, STORE_FILE, from, detail));
    TRY(place_join(data_dir, COPY_NAME, part, detail));
    TRY(place_join(data_dir, STORE_FILE, file, detail));
    if (stat(file, &st) == 0)
        return err_say(detail, ERR_EXISTS, "%s holds a state already; restore into an empty one",
                       data_dir);
    unlink(part); /* Of a restore that was killed; we hold the lock. */
    TRY(place_copy(from, part, &bytes, detail));
    if (rename(part, file) != 0) {
        enum err e = place_errno(detail, errno, "finish", file);
        unlink(part);
        return e;
    }
    return place_sync(data_dir, detail);
}

enum err store_restore(const char *from_dir, const char *data_dir, struct err_detail *detail)
{
    char lock[PLACE_PATH_CAP];
    int fd = -1;
    TRY(store_verify(from_dir, detail));
    TRY(place_make(data_dir, detail));
    TRY(place_join(data_dir, STORE_LOCK, lock, detail));
    TRY(place_lock(lock, false, &fd, detail));
    enum err e = copy_state(from_dir, data_dir, detail);
    close(fd);
    return e;
}
