#include "state/store/store_inside.h"

#include "state/base/mem.h"

#include <string.h>

#define DROP_CHUNKS 64 /* Of up to 1 MiB: about what one transaction should free. */

void key_chunk(uint64_t id, uint32_t index, uint8_t ret[KEY_CHUNK_BYTES])
{
    key_seq(id, ret);
    for (size_t i = 0; i < 4; i++)
        ret[KEY_SEQ_BYTES + i] = (uint8_t)(index >> (24 - 8 * i));
}

uint32_t key_chunk_index(const uint8_t key[KEY_CHUNK_BYTES])
{
    uint32_t n = 0;
    for (size_t i = KEY_SEQ_BYTES; i < KEY_CHUNK_BYTES; i++)
        n = n << 8 | key[i];
    return n;
}

/* ---- the row ---- */

static void put_row(struct buf *b, const struct store_generation *g)
{
    buf_put_u64(b, g->position);
    buf_put_u64(b, g->hash);
    buf_put_u64(b, g->bytes);
    buf_put_u64(b, (uint64_t)g->created_at_us);
    buf_put_u32(b, g->chunks_n);
    buf_put_u8(b, g->base);
}

static enum err read_row(struct slice key, struct slice value, struct store_generation *ret,
                         const char *file, struct err_detail *detail)
{
    struct reader r;
    reader_init(&r, value);
    *ret = (struct store_generation){0};
    if (key.len == KEY_SEQ_BYTES)
        ret->id = key_seq_read(key.data);
    ret->position = reader_u64(&r);
    ret->hash = reader_u64(&r);
    ret->bytes = reader_u64(&r);
    ret->created_at_us = (int64_t)reader_u64(&r);
    ret->chunks_n = reader_u32(&r);
    ret->base = reader_u8(&r) != 0;
    if (r.failed || reader_left(&r) != 0 || ret->id == 0)
        return err_say(detail, ERR_CORRUPT,
                       "%s is damaged: table generation has a row that cannot be read; restore a "
                       "backup with `shuntd restore`",
                       file);
    return OK;
}

struct list {
    const char *file;
    struct store_generation *ret;
    size_t n;
    struct err_detail *detail;
};

static enum err list_row(void *ctx, struct slice key, struct slice value)
{
    struct list *l = ctx;
    if (l->n == STORE_GENERATIONS_MAX)
        return err_say(l->detail, ERR_CORRUPT,
                       "%s is damaged: table generation has more than %u rows; restore a backup "
                       "with `shuntd restore`",
                       l->file, STORE_GENERATIONS_MAX);
    TRY(read_row(key, value, &l->ret[l->n], l->file, l->detail));
    l->n++;
    return OK;
}

enum err store_generations(struct env *e, struct store_generation ret[STORE_GENERATIONS_MAX],
                           size_t *ret_n, struct err_detail *detail)
{
    struct list l = {env_file(e), ret, 0, detail};
    struct env_scan scan = {.table = TABLE_GENERATION, .visit = list_row, .ctx = &l};
    TRY(env_scan(e, &scan, detail));
    *ret_n = l.n;
    return OK;
}

enum err store_generation_list(struct store *s, struct store_generation ret[STORE_GENERATIONS_MAX],
                               size_t *ret_n, struct err_detail *detail)
{
    return store_generations(s->env, ret, ret_n, detail);
}

static enum err not_found(uint64_t id, struct err_detail *detail)
{
    return err_say(detail, ERR_NOT_FOUND, "there is no checkpoint generation %llu",
                   (unsigned long long)id);
}

static enum err load_row(struct txn *t, uint64_t id, struct store_generation *ret)
{
    uint8_t key[KEY_SEQ_BYTES];
    struct slice k = {key, sizeof key}, row;
    key_seq(id, key);
    enum err e = txn_get(t, TABLE_GENERATION, k, &row);
    if (e == ERR_NOT_FOUND)
        return not_found(id, txn_detail(t));
    TRY(e);
    return read_row(k, row, ret, txn_file(t), txn_detail(t));
}

static enum err save_row(struct txn *t, const struct store_generation *g, enum txn_put how)
{
    uint8_t key[KEY_SEQ_BYTES];
    struct buf b;
    buf_init(&b);
    key_seq(g->id, key);
    put_row(&b, g);
    enum err e = buf_error(&b);
    if (e == OK)
        e = txn_put(t, TABLE_GENERATION, (struct slice){key, sizeof key},
                    (struct slice){b.data, b.len}, how);
    else
        err_say(txn_detail(t), e, "no memory for a checkpoint's row");
    buf_done(&b);
    return e;
}

/* ---- orphans: chunks without a row ---- */

struct chunk_range {
    uint64_t id, deleted;
};

static enum err delete_chunks(struct txn *t, void *ctx)
{
    struct chunk_range *c = ctx;
    uint8_t from[KEY_CHUNK_BYTES], to[KEY_CHUNK_BYTES];
    key_chunk(c->id, 0, from);
    key_chunk(c->id, UINT32_MAX, to);
    return txn_del_range(t, TABLE_CHUNK, (struct slice){from, sizeof from},
                         (struct slice){to, sizeof to}, DROP_CHUNKS, &c->deleted);
}

static enum err drop_chunks(struct env *e, uint64_t id, struct err_detail *detail)
{
    struct chunk_range c = {id, 0};
    do
        TRY(env_write(e, delete_chunks, &c, detail));
    while (c.deleted == DROP_CHUNKS);
    return OK;
}

struct next_chunk {
    uint64_t from, id; /* The least id >= from that has chunks; 0 when none has. */
    bool claimed;
};

static enum err find_chunk(struct txn *t, void *ctx)
{
    struct next_chunk *c = ctx;
    uint8_t from[KEY_CHUNK_BYTES], key[ENV_KEY_MAX];
    size_t len = 0;
    key_chunk(c->from, 0, from);
    c->id = 0;
    enum err e = txn_seek(t, TABLE_CHUNK, (struct slice){from, sizeof from}, key, &len);
    if (e == ERR_NOT_FOUND)
        return OK;
    TRY(e);
    if (len != KEY_CHUNK_BYTES)
        return err_say(txn_detail(t), ERR_CORRUPT,
                       "%s is damaged: table chunk has a key of %zu bytes; restore a backup with "
                       "`shuntd restore`",
                       txn_file(t), len);
    c->id = key_seq_read(key);
    struct slice row;
    e = txn_get(t, TABLE_GENERATION, (struct slice){key, KEY_SEQ_BYTES}, &row);
    c->claimed = e == OK;
    return e == ERR_NOT_FOUND ? OK : e;
}

enum err store_drop_orphans(struct env *e, uint64_t spare, struct err_detail *detail)
{
    struct next_chunk c = {.from = 1};
    for (;;) {
        TRY(env_read(e, find_chunk, &c, detail));
        if (c.id == 0)
            return OK;
        if (!c.claimed && c.id != spare)
            TRY(drop_chunks(e, c.id, detail));
        if (c.id == UINT64_MAX)
            return OK;
        c.from = c.id + 1;
    }
}

enum err store_generation_sweep(struct store *s, bool *ret_done, struct err_detail *detail)
{
    struct next_chunk c = {.from = 1};
    enum err e;
    *ret_done = false;
    pthread_mutex_lock(&s->generation_lock);
    while ((e = env_read(s->env, find_chunk, &c, detail)) == OK && c.id != 0) {
        if (!c.claimed && c.id != s->building.id) {
            struct chunk_range range = {c.id, 0};
            e = env_write(s->env, delete_chunks, &range, detail);
            break;
        }
        if (c.id == UINT64_MAX)
            break;
        c.from = c.id + 1;
    }
    *ret_done = e == OK && (c.id == 0 || c.id == UINT64_MAX);
    pthread_mutex_unlock(&s->generation_lock);
    return e;
}

/* ---- build ---- */

static enum err next_id(struct txn *t, void *ctx)
{
    uint64_t *id = ctx;
    uint8_t key[ENV_KEY_MAX];
    size_t len = 0;
    *id = 0;
    enum err e = txn_last(t, TABLE_GENERATION, key, &len);
    if (e == OK && len == KEY_SEQ_BYTES)
        *id = key_seq_read(key);
    if (e != OK && e != ERR_NOT_FOUND)
        return e;
    e = txn_last(t, TABLE_CHUNK, key, &len);
    if (e == OK && len == KEY_CHUNK_BYTES && key_seq_read(key) > *id)
        *id = key_seq_read(key);
    if (e != OK && e != ERR_NOT_FOUND)
        return e;
    ++*id;
    return OK;
}

static enum err begin_locked(struct store *s, uint64_t position, int64_t now_us, uint64_t *ret_id,
                             struct err_detail *detail)
{
    if (s->building.id)
        return err_say(detail, ERR_EXISTS, "checkpoint generation %llu is being built",
                       (unsigned long long)s->building.id);
    if (position > store_journal_last(s))
        return err_say(detail, ERR_INVALID,
                       "a checkpoint at %llu is beyond the journal, which ends at %llu",
                       (unsigned long long)position, (unsigned long long)store_journal_last(s));
    struct store_generation *kept = mem_calloc(STORE_GENERATIONS_MAX, sizeof *kept);
    if (!kept)
        return err_say(detail, ERR_NOMEM, "no memory to begin a checkpoint");
    size_t n = 0;
    enum err e = store_generations(s->env, kept, &n, detail);
    if (e == OK && n == STORE_GENERATIONS_MAX)
        e = err_say(detail, ERR_LIMIT, "%u checkpoint generations are kept, the limit",
                    STORE_GENERATIONS_MAX);
    /* Recovery reads the current generation's position as the newest there is. */
    if (e == OK && n && position < kept[n - 1].position)
        e = err_say(detail, ERR_INVALID, "a checkpoint at %llu is older than the current one",
                    (unsigned long long)position);
    mem_free(kept);
    TRY(e);
    TRY(store_drop_orphans(s->env, 0, detail));
    uint64_t id = 0;
    TRY(env_read(s->env, next_id, &id, detail));
    s->building =
        (struct store_generation){.id = id, .position = position, .created_at_us = now_us};
    *ret_id = id;
    return OK;
}

enum err store_generation_begin(struct store *s, uint64_t position, int64_t now_us,
                                uint64_t *ret_id, struct err_detail *detail)
{
    pthread_mutex_lock(&s->generation_lock);
    enum err e = begin_locked(s, position, now_us, ret_id, detail);
    pthread_mutex_unlock(&s->generation_lock);
    return e;
}

struct put {
    uint64_t id;
    uint32_t first_index;
    const struct slice *chunks;
    size_t n;
};

static enum err put_chunks(struct txn *t, void *ctx)
{
    const struct put *p = ctx;
    uint8_t key[KEY_CHUNK_BYTES];
    for (size_t i = 0; i < p->n; i++) {
        uint32_t index = p->first_index + (uint32_t)i;
        key_chunk(p->id, index, key);
        enum err e =
            txn_put(t, TABLE_CHUNK, (struct slice){key, sizeof key}, p->chunks[i], TXN_NEW);
        if (e == ERR_EXISTS)
            return err_say(txn_detail(t), e, "chunk %u was put already", index);
        TRY(e);
    }
    return OK;
}

static enum err check_chunks(const struct put *p, uint64_t *ret_bytes, struct err_detail *detail)
{
    uint64_t bytes = 0;
    if (p->n > UINT32_MAX - p->first_index)
        return err_say(detail, ERR_OUT_OF_RANGE, "too many chunks in a checkpoint");
    for (size_t i = 0; i < p->n; i++) {
        if (p->chunks[i].len > STORE_RECORD_MAX)
            return err_say(detail, ERR_TOO_LARGE, "a chunk of %zu bytes, the limit is %u",
                           p->chunks[i].len, STORE_RECORD_MAX);
        bytes += p->chunks[i].len;
    }
    if (bytes > STORE_BATCH_BYTES_MAX || p->n > STORE_BATCH_RECORDS_MAX)
        return err_say(detail, ERR_TOO_LARGE, "one put of %zu chunks, %llu bytes, is too much",
                       p->n, (unsigned long long)bytes);
    *ret_bytes = bytes;
    return OK;
}

static enum err check_building(const struct store *s, uint64_t id, struct err_detail *detail)
{
    if (id != 0 && s->building.id == id)
        return OK;
    return err_say(detail, ERR_NOT_FOUND, "checkpoint generation %llu is not being built",
                   (unsigned long long)id);
}

enum err store_generation_put(struct store *s, uint64_t id, uint32_t first_index,
                              const struct slice *chunks, size_t n, struct err_detail *detail)
{
    struct put p = {id, first_index, chunks, n};
    uint64_t bytes = 0;
    TRY(check_chunks(&p, &bytes, detail));
    pthread_mutex_lock(&s->generation_lock);
    enum err e = check_building(s, id, detail);
    if (e == OK)
        e = env_write(s->env, put_chunks, &p, detail);
    if (e == OK)
        s->building.bytes += bytes;
    pthread_mutex_unlock(&s->generation_lock);
    return e;
}

static enum err finish(struct txn *t, void *ctx)
{
    const struct store_generation *g = ctx;
    uint8_t from[KEY_CHUNK_BYTES], to[KEY_CHUNK_BYTES];
    uint64_t all = 0, wanted = 0;
    key_chunk(g->id, 0, from);
    key_chunk(g->id, UINT32_MAX, to);
    TRY(txn_count_range(t, TABLE_CHUNK, (struct slice){from, sizeof from},
                        (struct slice){to, sizeof to}, &all));
    if (g->chunks_n) {
        key_chunk(g->id, g->chunks_n - 1, to);
        TRY(txn_count_range(t, TABLE_CHUNK, (struct slice){from, sizeof from},
                            (struct slice){to, sizeof to}, &wanted));
    }
    if (all != g->chunks_n || wanted != g->chunks_n)
        return err_say(txn_detail(t), ERR_INVALID,
                       "a checkpoint of %u chunks has %llu, of which %llu are in range",
                       g->chunks_n, (unsigned long long)all, (unsigned long long)wanted);
    return save_row(t, g, TXN_NEW);
}

enum err store_generation_commit(struct store *s, uint64_t id, uint32_t chunks_n, uint64_t hash,
                                 struct err_detail *detail)
{
    pthread_mutex_lock(&s->generation_lock);
    enum err e = check_building(s, id, detail);
    if (e == OK) {
        struct store_generation g = s->building;
        g.chunks_n = chunks_n;
        g.hash = hash;
        e = env_write(s->env, finish, &g, detail);
    }
    if (e == OK)
        s->building = (struct store_generation){0};
    pthread_mutex_unlock(&s->generation_lock);
    return e;
}

enum err store_generation_abort(struct store *s, uint64_t id, struct err_detail *detail)
{
    enum err e = OK;
    pthread_mutex_lock(&s->generation_lock);
    if (id != 0 && s->building.id == id) {
        s->building = (struct store_generation){0};
        e = drop_chunks(s->env, id, detail);
    }
    pthread_mutex_unlock(&s->generation_lock);
    return e;
}

/* ---- read, mark, drop ---- */

struct chunks_walk {
    const char *file;
    const struct store_generation *g;
    uint32_t next;
    uint64_t bytes;
    store_visit *visit;
    void *ctx;
    struct err_detail *detail;
};

static enum err broken(const char *file, const struct store_generation *g, uint32_t index,
                       struct err_detail *detail)
{
    return err_say(detail, ERR_CORRUPT,
                   "%s is damaged: checkpoint generation %llu lacks chunk %u of %u; restore a "
                   "backup with `shuntd restore`",
                   file, (unsigned long long)g->id, index, g->chunks_n);
}

static enum err walk_chunk(void *ctx, struct slice key, struct slice value)
{
    struct chunks_walk *w = ctx;
    if (key.len != KEY_CHUNK_BYTES || key_chunk_index(key.data) != w->next ||
        w->next >= w->g->chunks_n)
        return broken(w->file, w->g, w->next, w->detail);
    w->bytes += value.len;
    return w->visit(w->ctx, w->next++, value);
}

enum err store_chunks_walk(struct env *e, const struct store_generation *g, store_visit *visit,
                           void *ctx, struct err_detail *detail)
{
    struct chunks_walk w = {env_file(e), g, 0, 0, visit, ctx, detail};
    uint8_t from[KEY_CHUNK_BYTES], to[KEY_CHUNK_BYTES];
    key_chunk(g->id, 0, from);
    key_chunk(g->id, UINT32_MAX, to);
    struct env_scan scan = {.table = TABLE_CHUNK,
                            .from = {from, sizeof from},
                            .to = {to, sizeof to},
                            .visit = walk_chunk,
                            .ctx = &w};
    TRY(env_scan(e, &scan, detail));
    if (w.next != g->chunks_n || w.bytes != g->bytes)
        return broken(env_file(e), g, w.next, detail);
    return OK;
}

static enum err find_generation(struct txn *t, void *ctx)
{
    struct store_generation *g = ctx;
    return load_row(t, g->id, g);
}

enum err store_generation_read(struct store *s, uint64_t id, store_visit *visit, void *ctx,
                               struct err_detail *detail)
{
    struct store_generation g = {.id = id};
    TRY(env_read(s->env, find_generation, &g, detail));
    enum err e = store_chunks_walk(s->env, &g, visit, ctx, detail);
    if (e != ERR_CORRUPT)
        return e;
    /* Dropped by another thread while we read? Then it is not damage. */
    struct store_generation again = {.id = id};
    struct err_detail unused;
    if (env_read(s->env, find_generation, &again, &unused) == ERR_NOT_FOUND)
        return not_found(id, detail);
    return e;
}

static enum err mark(struct txn *t, void *ctx)
{
    const struct store_generation *wish = ctx;
    struct store_generation g = {0};
    TRY(load_row(t, wish->id, &g));
    g.base = wish->base;
    return save_row(t, &g, TXN_REPLACE);
}

enum err store_generation_mark_base(struct store *s, uint64_t id, bool base,
                                    struct err_detail *detail)
{
    struct store_generation wish = {.id = id, .base = base};
    pthread_mutex_lock(&s->generation_lock);
    enum err e = env_write(s->env, mark, &wish, detail);
    pthread_mutex_unlock(&s->generation_lock);
    return e;
}

static enum err delete_row(struct txn *t, void *ctx)
{
    const uint64_t *id = ctx;
    struct store_generation g = {0};
    uint8_t key[ENV_KEY_MAX], own[KEY_SEQ_BYTES];
    size_t len = 0;
    uint64_t n;
    TRY(load_row(t, *id, &g));
    TRY(txn_last(t, TABLE_GENERATION, key, &len));
    key_seq(*id, own);
    if (g.base || (len == KEY_SEQ_BYTES && memcmp(key, own, len) == 0))
        return err_say(txn_detail(t), ERR_INVALID, "checkpoint generation %llu is %s",
                       (unsigned long long)*id, g.base ? "a base" : "the current one");
    return txn_del_range(t, TABLE_GENERATION, (struct slice){own, sizeof own},
                         (struct slice){own, sizeof own}, 1, &n);
}

enum err store_generation_release(struct store *s, uint64_t id, struct err_detail *detail)
{
    pthread_mutex_lock(&s->generation_lock);
    enum err e = env_write(s->env, delete_row, &id, detail);
    pthread_mutex_unlock(&s->generation_lock);
    return e;
}

enum err store_generation_drop(struct store *s, uint64_t id, struct err_detail *detail)
{
    pthread_mutex_lock(&s->generation_lock);
    enum err e = env_write(s->env, delete_row, &id, detail); /* From now on nobody sees it. */
    if (e == OK)
        e = drop_chunks(s->env, id, detail);
    pthread_mutex_unlock(&s->generation_lock);
    return e;
}
