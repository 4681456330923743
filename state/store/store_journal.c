#include "state/store/store_inside.h"

#include "state/base/mem.h"

#define TRIM_RECORDS 4096

/* ---- append ---- */

struct append {
    const struct slice *records;
    size_t n;
    uint64_t first;
};

static enum err put_records(struct txn *t, void *ctx)
{
    const struct append *a = ctx;
    uint8_t key[KEY_SEQ_BYTES];
    for (size_t i = 0; i < a->n; i++) {
        unsigned long long seq = a->first + i;
        key_seq(seq, key);
        enum err e =
            txn_put(t, TABLE_JOURNAL, (struct slice){key, sizeof key}, a->records[i], TXN_APPEND);
        if (e == ERR_EXISTS) /* Not above the last: our own count is wrong. */
            return err_say(txn_detail(t), ERR_INTERNAL, "journal record %llu exists already", seq);
        TRY(e);
    }
    return OK;
}

static enum err check_batch(const struct slice *records, size_t n, struct err_detail *detail)
{
    size_t bytes = 0;
    if (n > STORE_BATCH_RECORDS_MAX)
        return err_say(detail, ERR_TOO_LARGE, "a batch of %zu records, the limit is %u", n,
                       STORE_BATCH_RECORDS_MAX);
    for (size_t i = 0; i < n; i++) {
        if (records[i].len > STORE_RECORD_MAX)
            return err_say(detail, ERR_TOO_LARGE, "a record of %zu bytes, the limit is %u",
                           records[i].len, STORE_RECORD_MAX);
        bytes += records[i].len;
    }
    if (bytes > STORE_BATCH_BYTES_MAX)
        return err_say(detail, ERR_TOO_LARGE, "a batch of %zu bytes, the limit is %u", bytes,
                       STORE_BATCH_BYTES_MAX);
    return OK;
}

enum err store_append(struct store *s, const struct slice *records, size_t n, uint64_t *ret_last,
                      struct err_detail *detail)
{
    TRY(check_batch(records, n, detail));
    pthread_mutex_lock(&s->append_lock);
    uint64_t last = atomic_load(&s->last);
    struct append a = {records, n, last + 1};
    enum err e = n ? env_write(s->env, put_records, &a, detail) : OK;
    if (e == OK) {
        last += n;
        atomic_store(&s->last, last);
        if (n && atomic_load(&s->first) == 0)
            atomic_store(&s->first, 1);
        *ret_last = last;
    }
    pthread_mutex_unlock(&s->append_lock);
    return e;
}

/* ---- edges ---- */

struct edges {
    uint64_t first, last;
};

static enum err edge_seq(struct txn *t, bool newest, uint64_t *ret)
{
    uint8_t key[ENV_KEY_MAX];
    size_t len = 0;
    enum err e = newest ? txn_last(t, TABLE_JOURNAL, key, &len)
                        : txn_seek(t, TABLE_JOURNAL, (struct slice){NULL, 0}, key, &len);
    if (e == ERR_NOT_FOUND) {
        *ret = 0;
        return OK;
    }
    TRY(e);
    if (len != KEY_SEQ_BYTES)
        return err_say(txn_detail(t), ERR_CORRUPT,
                       "%s is damaged: table journal has a key of %zu bytes; restore a backup "
                       "with `shuntd restore`",
                       txn_file(t), len);
    *ret = key_seq_read(key);
    return OK;
}

static enum err read_edges(struct txn *t, void *ctx)
{
    struct edges *g = ctx;
    TRY(edge_seq(t, false, &g->first));
    return edge_seq(t, true, &g->last);
}

enum err store_journal_edges(struct env *e, uint64_t *ret_first, uint64_t *ret_last,
                             struct err_detail *detail)
{
    struct edges g = {0, 0};
    TRY(env_read(e, read_edges, &g, detail));
    *ret_first = g.first;
    *ret_last = g.last;
    return OK;
}

uint64_t store_journal_first(struct store *s)
{
    return atomic_load(&s->first);
}

uint64_t store_journal_last(struct store *s)
{
    return atomic_load(&s->last);
}

/* ---- iterate ---- */

struct walk {
    struct env *env;
    uint64_t expected;
    store_visit *visit;
    void *ctx;
    struct err_detail *detail;
};

/* A record is missing: trimmed by another thread since we began, or lost. Trimming takes the oldest
 * ones only, so it is trimmed if the oldest kept is now beyond it. */
static enum err explain_gap(const struct walk *w)
{
    uint64_t first = 0, last = 0;
    TRY(store_journal_edges(w->env, &first, &last, w->detail));
    if (first > w->expected)
        return err_say(w->detail, ERR_NOT_FOUND,
                       "journal record %llu has been trimmed; the oldest kept is %llu",
                       (unsigned long long)w->expected, (unsigned long long)first);
    return err_say(w->detail, ERR_CORRUPT,
                   "%s is damaged: table journal, record %llu is missing; restore a backup with "
                   "`shuntd restore`",
                   env_file(w->env), (unsigned long long)w->expected);
}

static enum err walk_record(void *ctx, struct slice key, struct slice value)
{
    struct walk *w = ctx;
    if (key.len != KEY_SEQ_BYTES || key_seq_read(key.data) != w->expected)
        return explain_gap(w);
    return w->visit(w->ctx, w->expected++, value);
}

enum err store_journal_walk(struct env *e, uint64_t from, uint64_t to, store_visit *visit,
                            void *ctx, struct err_detail *detail)
{
    struct walk w = {e, from, visit, ctx, detail};
    uint8_t from_key[KEY_SEQ_BYTES], to_key[KEY_SEQ_BYTES];
    key_seq(from, from_key);
    key_seq(to, to_key);
    struct env_scan scan = {.table = TABLE_JOURNAL,
                            .from = {from_key, sizeof from_key},
                            .to = {to_key, sizeof to_key},
                            .visit = walk_record,
                            .ctx = &w};
    TRY(env_scan(e, &scan, detail));
    /* A damaged page can end a walk early: only reaching the end proves that all was seen. */
    return w.expected == to + 1 ? OK : explain_gap(&w);
}

enum err store_journal_iterate(struct store *s, uint64_t from, uint64_t to, store_visit *visit,
                               void *ctx, struct err_detail *detail)
{
    uint64_t first = 0, last = 0;
    TRY(store_journal_edges(s->env, &first, &last, detail));
    if (from == 0)
        from = first;
    if (to > last)
        to = last;
    if (last == 0 || from > to)
        return OK;
    if (from < first)
        return err_say(detail, ERR_NOT_FOUND,
                       "journal record %llu has been trimmed; the oldest kept is %llu",
                       (unsigned long long)from, (unsigned long long)first);
    return store_journal_walk(s->env, from, to, visit, ctx, detail);
}

/* ---- trim ---- */

struct trim {
    uint64_t upto, max_n, done;
};

static enum err delete_records(struct txn *t, void *ctx)
{
    struct trim *m = ctx;
    uint8_t to[KEY_SEQ_BYTES];
    key_seq(m->upto, to);
    return txn_del_range(t, TABLE_JOURNAL, (struct slice){NULL, 0}, (struct slice){to, sizeof to},
                         m->max_n, &m->done);
}

/* How far recovery, and every base, allow to trim. */
static enum err trim_limit(struct store *s, uint64_t *upto, struct err_detail *detail)
{
    struct store_generation *g = mem_calloc(STORE_GENERATIONS_MAX, sizeof *g);
    if (!g)
        return err_say(detail, ERR_NOMEM, "no memory to trim the journal");
    size_t n = 0;
    enum err e = store_generations(s->env, g, &n, detail);
    uint64_t limit = n ? g[n - 1].position : 0;
    for (size_t i = 0; i < n; i++)
        if (g[i].base && g[i].position < limit)
            limit = g[i].position;
    uint64_t last = store_journal_last(s);
    if (limit >= last)
        limit = last ? last - 1 : 0;
    if (e == OK && *upto > limit)
        *upto = limit;
    mem_free(g);
    return e;
}

enum err store_journal_trim(struct store *s, uint64_t upto, uint64_t max_records,
                            uint64_t *ret_done, struct err_detail *detail)
{
    *ret_done = 0;
    /* The generation lock keeps a base from being marked between the look and the deed. */
    pthread_mutex_lock(&s->generation_lock);
    enum err e = trim_limit(s, &upto, detail);
    while (e == OK && *ret_done < max_records && store_journal_first(s) <= upto && upto > 0) {
        uint64_t left = max_records - *ret_done;
        struct trim m = {upto, left < TRIM_RECORDS ? left : TRIM_RECORDS, 0};
        e = env_write(s->env, delete_records, &m, detail);
        if (e != OK || m.done == 0)
            break;
        *ret_done += m.done;
        atomic_fetch_add(&s->first, m.done);
    }
    pthread_mutex_unlock(&s->generation_lock);
    return e;
}
