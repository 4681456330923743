#include "state/store/store.h"

#include "state/base/mem.h"
#include "state/store/store_inside.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NEW_FILE "state.new"
#define LOCK_SUFFIX "-lock" /* LMDB's own lock file beside the data. */

static const char *const table_names[TABLE_N] = {
#define X(number, name) [number] = name,
    TABLE_LIST(X)
#undef X
};

static const char format_key[] = "format";
static const char format_magic[8] = "shuntdb";
#define FORMAT_BYTE_ORDER UINT32_C(0x01020304)

void key_seq(uint64_t n, uint8_t ret[KEY_SEQ_BYTES])
{
    for (size_t i = 0; i < KEY_SEQ_BYTES; i++)
        ret[i] = (uint8_t)(n >> (56 - 8 * i));
}

uint64_t key_seq_read(const uint8_t key[KEY_SEQ_BYTES])
{
    uint64_t n = 0;
    for (size_t i = 0; i < KEY_SEQ_BYTES; i++)
        n = n << 8 | key[i];
    return n;
}

/* ---- format row: its own form never changes, so that every version can read every other's ---- */

struct format {
    char magic[8];
    uint32_t byte_order, schema;
};

static enum err write_format(struct txn *t, void *ctx)
{
    (void)ctx;
    struct format f = {.byte_order = FORMAT_BYTE_ORDER, .schema = STORE_SCHEMA};
    memcpy(f.magic, format_magic, sizeof f.magic);
    return txn_put(t, TABLE_META, (struct slice){format_key, sizeof format_key - 1},
                   (struct slice){&f, sizeof f}, TXN_REPLACE);
}

static enum err check_format(struct txn *t, void *ctx)
{
    const char *file = ctx;
    struct slice row;
    struct format f;
    enum err e = txn_get(t, TABLE_META, (struct slice){format_key, sizeof format_key - 1}, &row);
    if (e == ERR_NOT_FOUND || (e == OK && row.len != sizeof f))
        return err_say(txn_detail(t), ERR_CORRUPT,
                       "%s has no format row, so it is not a state of shunt or damaged; restore a "
                       "backup with `shuntd restore`",
                       file);
    TRY(e);
    memcpy(&f, row.data, sizeof f);
    if (memcmp(f.magic, format_magic, sizeof f.magic) != 0)
        return err_say(txn_detail(t), ERR_CORRUPT,
                       "%s is not a state of shunt; restore a backup with `shuntd restore`", file);
    if (f.byte_order != FORMAT_BYTE_ORDER)
        return err_say(txn_detail(t), ERR_SCHEMA,
                       "%s was written on a machine of another byte order", file);
    if (f.schema != STORE_SCHEMA)
        return err_say(txn_detail(t), ERR_SCHEMA, "%s has schema %u, this program reads schema %u",
                       file, f.schema, STORE_SCHEMA);
    return OK;
}

enum err store_attach(const char *file, const struct store_options *options, enum store_attach how,
                      struct env **ret, struct err_detail *detail)
{
    struct env_options o = {.map_bytes = options->map_bytes ? options->map_bytes : STORE_MAP_BYTES,
                            .tables = table_names,
                            .tables_n = TABLE_N,
                            .read_only = how == STORE_READ_ALONE,
                            /* Either this is the child that checks, or it has just passed. */
                            .accept_short = how == STORE_READ_ALONE || !options->no_probe};
    struct env *env = NULL;
    TRY(env_open(file, &o, &env, detail));
    char name[PLACE_PATH_CAP];
    enum err e = place_keep(file, name, detail);
    if (e == OK)
        e = env_read(env, check_format, name, detail);
    if (e == OK)
        *ret = env;
    else
        env_close(env);
    return e;
}

/* ---- open ---- */

static void remove_with_lock(const char *file)
{
    char lock[PLACE_PATH_CAP + sizeof LOCK_SUFFIX];
    snprintf(lock, sizeof lock, "%s" LOCK_SUFFIX, file);
    unlink(file);
    unlink(lock);
}

/* A new state gets its name only when it is complete: then an empty or half-made file under that
 * name is damage, never a beginning. */
static enum err create_state(const char *dir, const char *file, const struct store_options *options,
                             struct err_detail *detail)
{
    char fresh[PLACE_PATH_CAP];
    TRY(place_join(dir, NEW_FILE, fresh, detail));
    remove_with_lock(fresh);
    struct env_options o = {.map_bytes = options->map_bytes ? options->map_bytes : STORE_MAP_BYTES,
                            .tables = table_names,
                            .tables_n = TABLE_N,
                            .create = true};
    struct env *env = NULL;
    enum err e = env_open(fresh, &o, &env, detail);
    if (e == OK)
        e = env_write(env, write_format, NULL, detail);
    env_close(env);
    if (e == OK && rename(fresh, file) != 0)
        e = place_errno(detail, errno, "create", file);
    remove_with_lock(fresh);
    return e == OK ? place_sync(dir, detail) : e;
}

static enum err state_exists(const char *file, bool *ret, struct err_detail *detail)
{
    struct stat st;
    bool there = stat(file, &st) == 0;
    if (!there && errno != ENOENT)
        return place_errno(detail, errno, "look at", file);
    /* It holds the keys that seal tokens: who reads it can make outcomes up. */
    if (there && (st.st_mode & S_IRWXO))
        return err_say(
            detail, ERR_UNSUPPORTED,
            "%s is open to everybody and holds secret keys; run `chmod o-rwx` on it, and "
            "rotate the keys",
            file);
    *ret = there;
    return OK;
}

static enum err open_state(struct store *s, const struct store_options *options,
                           struct err_detail *detail)
{
    char file[PLACE_PATH_CAP];
    bool exists = false;
    TRY(place_join(s->dir, STORE_FILE, file, detail));
    TRY(state_exists(file, &exists, detail));
    if (!exists)
        TRY(create_state(s->dir, file, options, detail));
    else if (!options->no_probe)
        TRY(store_look(s->dir, false, detail));
    TRY(store_attach(file, options, STORE_WRITE, &s->env, detail));
    env_reader_check(s->env);
    uint64_t first = 0, last = 0;
    TRY(store_journal_edges(s->env, &first, &last, detail));
    atomic_store(&s->first, first);
    atomic_store(&s->last, last);
    enum err e = store_drop_orphans(s->env, 0, detail);
    return e == ERR_DISK_FULL ? OK : e; /* They go at the next begin; reading needs no room. */
}

enum err store_open(const char *dir, const struct store_options *options, struct store **ret,
                    struct err_detail *detail)
{
    static const struct store_options defaults;
    if (!options)
        options = &defaults;
    TRY(place_make(dir, detail));
    if (!options->allow_network_fs)
        TRY(place_refuse_network(dir, detail));
    struct store *s = mem_calloc(1, sizeof *s);
    if (!s)
        return err_say(detail, ERR_NOMEM, "no memory to open %s", dir);
    s->lock_fd = -1;
    pthread_mutex_init(&s->append_lock, NULL);
    pthread_mutex_init(&s->generation_lock, NULL);
    char lock[PLACE_PATH_CAP];
    enum err e = place_keep(dir, s->dir, detail);
    if (e == OK)
        e = place_join(dir, STORE_LOCK, lock, detail);
    if (e == OK)
        e = place_lock(lock, false, &s->lock_fd, detail);
    if (e == OK)
        e = open_state(s, options, detail);
    if (e != OK) {
        store_close(s);
        return e;
    }
    *ret = s;
    return OK;
}

void store_close(struct store *s)
{
    if (!s)
        return;
    env_close(s->env);
    if (s->lock_fd >= 0)
        close(s->lock_fd); /* The file stays: removing it would let two servers lock two files. */
    pthread_mutex_destroy(&s->append_lock);
    pthread_mutex_destroy(&s->generation_lock);
    mem_free(s);
}

void store_tick(struct store *s)
{
    env_reader_check(s->env);
}

bool store_failed(const struct store *s)
{
    return env_failed(s->env);
}

static enum err read_journal_stat(struct txn *t, void *ctx)
{
    return txn_stat(t, TABLE_JOURNAL, ctx);
}

enum err store_sizes(struct store *s, struct store_sizes *ret, struct err_detail *detail)
{
    struct env_sizes z = {0};
    struct txn_stat journal = {0};
    TRY(env_sizes(s->env, &z, detail));
    TRY(env_read(s->env, read_journal_stat, &journal, detail));
    *ret = (struct store_sizes){.file_bytes = z.file_bytes,
                                .used_bytes = z.used_bytes,
                                .map_bytes = z.map_bytes,
                                .journal_bytes = journal.bytes,
                                .records = journal.entries,
                                .disk_free_bytes = place_free_bytes(s->dir)};
    return OK;
}

/* ---- settings ---- */

struct setting {
    struct slice name, bytes;
    struct buf *out;
};

static enum err setting_of(const char *name, struct slice bytes, struct buf *out,
                           struct setting *ret, struct err_detail *detail)
{
    size_t len = strlen(name);
    if (len == 0 || len > ENV_KEY_MAX)
        return err_say(detail, ERR_BAD_NAME, "a setting's name is 1 to %d bytes", ENV_KEY_MAX);
    if (bytes.len > STORE_RECORD_MAX)
        return err_say(detail, ERR_TOO_LARGE, "setting %s has %zu bytes, the limit is %u", name,
                       bytes.len, STORE_RECORD_MAX);
    *ret = (struct setting){{name, len}, bytes, out};
    return OK;
}

static enum err put_setting(struct txn *t, void *ctx)
{
    struct setting *set = ctx;
    struct txn_stat st = {0};
    TRY(txn_put(t, TABLE_SETTING, set->name, set->bytes, TXN_REPLACE));
    TRY(txn_stat(t, TABLE_SETTING, &st));
    if (st.entries > STORE_SETTINGS_MAX)
        return err_say(txn_detail(t), ERR_LIMIT, "there are %u settings, the limit",
                       STORE_SETTINGS_MAX);
    return OK;
}

enum err store_put_setting(struct store *s, const char *name, struct slice bytes,
                           struct err_detail *detail)
{
    struct setting set;
    TRY(setting_of(name, bytes, NULL, &set, detail));
    return env_write(s->env, put_setting, &set, detail);
}

static enum err get_setting(struct txn *t, void *ctx)
{
    struct setting *set = ctx;
    struct slice value;
    TRY(txn_get(t, TABLE_SETTING, set->name, &value));
    buf_reset(set->out);
    buf_put(set->out, value.data, value.len);
    return buf_error(set->out);
}

enum err store_get_setting(struct store *s, const char *name, struct buf *ret,
                           struct err_detail *detail)
{
    struct setting set;
    TRY(setting_of(name, (struct slice){NULL, 0}, ret, &set, detail));
    enum err e = env_read(s->env, get_setting, &set, detail);
    if (e == ERR_NOT_FOUND || e == ERR_NOMEM)
        return err_say(detail, e, "cannot read setting %s: %s", name, err_text(e));
    return e;
}
