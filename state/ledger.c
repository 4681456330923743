#include "state/ledger.h"

#include "state/base/hash.h"
#include "state/base/mem.h"
#include "state/model/snapshot.h"
#include "state/store/store.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    CHUNK_BYTES = 256 * 1024,
    CHUNKS_A_STEP = 4,
    TRIM_A_TICK = 65536,
    BASES_MAX = 56,
};

struct ledger {
    struct store *store;
    struct model *model;
    struct event *event; /* Scratch: an event is too large for the stack. */
    struct slice *records;
    uint32_t *accepted;
    uint32_t batch_cap;
    int64_t journal_keep_us;
    uint64_t journal_max_bytes;
    _Atomic uint64_t durable, checkpoint_position, journal_bytes;
    /* A checkpoint being written. */
    struct buf frozen;
    uint64_t generation, frozen_position, frozen_at;
    uint32_t chunk;
    bool running, mark_base;
};

/* ---- open ---- */

static enum err append_chunk(void *ctx, uint64_t index, struct slice bytes)
{
    (void)index;
    struct buf *b = ctx;
    buf_put(b, bytes.data, bytes.len);
    return buf_error(b);
}

static enum err read_generation(struct store *store, const struct store_generation *g,
                                struct model **ret_model, struct err_detail *detail)
{
    struct buf bytes;
    buf_init(&bytes);
    enum err e = store_generation_read(store, g->id, append_chunk, &bytes, detail);
    if (e == OK && hash_bytes(bytes.data, bytes.len) != g->hash)
        e = err_say(detail, ERR_CORRUPT, "checkpoint %" PRIu64 " does not match its hash", g->id);
    if (e == OK)
        e = model_decode((struct slice){bytes.data, bytes.len}, ret_model, detail);
    buf_done(&bytes);
    return e;
}

struct refold {
    struct model *model;
    struct event *event;
    uint64_t n;
    const _Atomic bool *cancelled;
    struct err_detail *detail;
};

static enum err refold_record(void *ctx, uint64_t position, struct slice record)
{
    struct refold *f = ctx;
    if (f->cancelled && atomic_load_explicit(f->cancelled, memory_order_relaxed))
        return ERR_CANCELLED;
    struct fold_result result;
    enum err e = event_decode(record, f->event);
    if (e != OK)
        return err_say(f->detail, ERR_CORRUPT, "journal record %" PRIu64 " cannot be decoded",
                       position);
    TRY(model_reserve(f->model, f->event, 0));
    fold_event(f->model, f->event, position, &result);
    f->n++;
    return OK;
}

static enum err recover(struct ledger *l, struct ledger_recovery *ret, struct err_detail *detail)
{
    struct store_generation list[STORE_GENERATIONS_MAX];
    size_t n;
    TRY(store_generation_list(l->store, list, &n, detail));
    memset(ret, 0, sizeof *ret);
    if (n > 0) {
        TRY(read_generation(l->store, &list[n - 1], &l->model, detail));
        ret->checkpoint_position = list[n - 1].position;
        if (l->model->position != ret->checkpoint_position)
            return err_say(detail, ERR_CORRUPT, "the checkpoint names another position");
    } else {
        TRY(model_new(&l->model));
    }
    uint64_t last = store_journal_last(l->store);
    struct refold f = {l->model, l->event, 0, NULL, detail};
    if (last > ret->checkpoint_position)
        TRY(store_journal_iterate(l->store, ret->checkpoint_position + 1, last, refold_record, &f,
                                  detail));
    ret->folded = f.n;
    ret->position = l->model->position;
    ret->fresh = n == 0 && last == 0;
    atomic_store(&l->durable, last);
    atomic_store(&l->checkpoint_position, ret->checkpoint_position);
    return OK;
}

enum err ledger_open(const struct ledger_options *o, struct ledger **ret_ledger,
                     struct ledger_recovery *ret_recovery, struct err_detail *detail)
{
    struct ledger *l = mem_calloc(1, sizeof *l);
    if (!l)
        return ERR_NOMEM;
    buf_init(&l->frozen);
    l->journal_keep_us = o->journal_keep_us;
    l->journal_max_bytes = o->journal_max_bytes;
    l->event = mem_calloc(1, sizeof *l->event);
    struct store_options so = {.map_bytes = o->map_bytes};
    enum err e = l->event ? store_open(o->dir, &so, &l->store, detail) : ERR_NOMEM;
    if (e == OK)
        e = recover(l, ret_recovery, detail);
    if (e != OK) {
        ledger_close(l);
        return e;
    }
    *ret_ledger = l;
    return OK;
}

void ledger_close(struct ledger *l)
{
    if (!l)
        return;
    store_close(l->store);
    model_free(l->model);
    buf_done(&l->frozen);
    mem_free(l->event);
    mem_free(l->records);
    mem_free(l->accepted);
    mem_free(l);
}

struct model *ledger_model(struct ledger *l)
{
    return l->model;
}

uint64_t ledger_durable(struct ledger *l)
{
    return atomic_load(&l->durable);
}

uint64_t ledger_checkpoint_position(struct ledger *l)
{
    return atomic_load(&l->checkpoint_position);
}

uint64_t ledger_journal_bytes(struct ledger *l)
{
    return atomic_load(&l->journal_bytes);
}

/* ---- commit ---- */

bool ledger_batches(enum event_kind kind)
{
    return kind == EVENT_OUTCOME || kind == EVENT_TALLY || kind == EVENT_LABEL_ADD ||
           kind == EVENT_ACCOUNTS || kind == EVENT_SESSION;
}

static enum err reserve_batch(struct ledger *l, uint32_t n)
{
    if (n <= l->batch_cap)
        return OK;
    struct slice *records = mem_realloc(l->records, n * sizeof *records);
    if (!records)
        return ERR_NOMEM;
    l->records = records;
    uint32_t *accepted = mem_realloc(l->accepted, n * sizeof *accepted);
    if (!accepted)
        return ERR_NOMEM;
    l->accepted = accepted;
    l->batch_cap = n;
    return OK;
}

/* What passes the check goes into l->records; returns how many. */
static uint32_t accept(struct ledger *l, struct ledger_entry *entries, uint32_t n)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct ledger_entry *entry = &entries[i];
        entry->position = 0;
        memset(&entry->result, 0, sizeof entry->result);
        entry->err = event_decode(entry->record, l->event);
        if (entry->err == OK)
            entry->err = fold_check(l->model, l->event, &entry->result);
        if (entry->err != OK || entry->result.duplicate)
            continue;
        entry->err = model_reserve(l->model, l->event, kept);
        if (entry->err != OK)
            continue;
        l->records[kept] = entry->record;
        l->accepted[kept++] = i;
    }
    return kept;
}

enum err ledger_commit(struct ledger *l, struct ledger_entry *entries, uint32_t n,
                       struct err_detail *detail)
{
    TRY(reserve_batch(l, n));
    uint32_t kept = accept(l, entries, n);
    if (kept == 0)
        return OK;
    uint64_t last;
    TRY(store_append(l->store, l->records, kept, &last, detail));
    atomic_store(&l->durable, last);
    for (uint32_t k = 0; k < kept; k++) {
        struct ledger_entry *entry = &entries[l->accepted[k]];
        entry->position = last - kept + 1 + k;
        /* It decoded a moment ago. */
        entry->err = event_decode(entry->record, l->event);
        fold_event(l->model, l->event, entry->position, &entry->result);
        entry->err = entry->result.err;
    }
    return OK;
}

/* ---- checkpoint ---- */

bool ledger_checkpoint_running(const struct ledger *l)
{
    return l->running;
}

enum err ledger_encode(struct ledger *l, struct buf *out)
{
    model_encode(l->model, out);
    return buf_error(out);
}

static uint32_t chunks_of(const struct ledger *l)
{
    return (uint32_t)((l->frozen.len + CHUNK_BYTES - 1) / CHUNK_BYTES);
}

enum err ledger_checkpoint_begin(struct ledger *l, int64_t now_us, struct err_detail *detail)
{
    if (l->running)
        return OK;
    buf_reset(&l->frozen);
    TRY(ledger_encode(l, &l->frozen));
    l->frozen_position = l->model->position;
    TRY(store_generation_begin(l->store, l->frozen_position, now_us, &l->generation, detail));
    l->frozen_at = (uint64_t)now_us;
    l->chunk = 0;
    l->running = true;
    return OK;
}

static enum err drop_old(struct ledger *l, struct err_detail *detail)
{
    struct store_generation list[STORE_GENERATIONS_MAX];
    size_t n, bases = 0;
    TRY(store_generation_list(l->store, list, &n, detail));
    const struct store_generation *newest_base = NULL;
    for (size_t i = 0; i < n; i++) {
        if (list[i].base) {
            newest_base = &list[i];
            bases++;
        }
    }
    for (size_t i = 0; i + 1 < n; i++)
        if (!list[i].base)
            TRY(store_generation_drop(l->store, list[i].id, detail));
    /* A base now and then (30 within the time the journal is kept), so that the journal can be
     * trimmed in steps and still be folded from somewhere. */
    bool due = !newest_base ||
               (int64_t)l->frozen_at - newest_base->created_at_us > l->journal_keep_us / 30;
    if (due && bases < BASES_MAX)
        TRY(store_generation_mark_base(l->store, l->generation, true, detail));
    return OK;
}

static enum err finish_checkpoint(struct ledger *l, struct err_detail *detail)
{
    TRY(store_generation_commit(l->store, l->generation, chunks_of(l),
                                hash_bytes(l->frozen.data, l->frozen.len), detail));
    atomic_store(&l->checkpoint_position, l->frozen_position);
    return drop_old(l, detail);
}

enum err ledger_checkpoint_step(struct ledger *l, bool *ret_done, struct err_detail *detail)
{
    *ret_done = false;
    if (!l->running)
        return OK;
    struct slice chunks[CHUNKS_A_STEP];
    size_t n = 0;
    for (; n < CHUNKS_A_STEP && l->chunk + n < chunks_of(l); n++) {
        size_t at = (l->chunk + n) * (size_t)CHUNK_BYTES;
        size_t left = l->frozen.len - at;
        chunks[n] = (struct slice){l->frozen.data + at, left < CHUNK_BYTES ? left : CHUNK_BYTES};
    }
    enum err e;
    if (n > 0) {
        e = store_generation_put(l->store, l->generation, l->chunk, chunks, n, detail);
        l->chunk += (uint32_t)n;
        if (e == OK)
            return OK;
    } else {
        e = finish_checkpoint(l, detail);
        *ret_done = e == OK;
    }
    if (e != OK) {
        struct err_detail ignored;
        if (store_generation_abort(l->store, l->generation, &ignored) != OK)
            l->generation = 0; /* What is left of it goes at the next begin or open. */
    }
    l->running = false;
    buf_done(&l->frozen);
    return e;
}

/* ---- retention ---- */

/* The journal is kept back to the oldest base (or to its beginning). When the next base is itself
 * older than the time to keep, or the journal is too large, the oldest goes. */
static enum err retain(struct ledger *l, int64_t now_us, struct err_detail *detail)
{
    struct store_generation list[STORE_GENERATIONS_MAX];
    const struct store_generation *bases[STORE_GENERATIONS_MAX];
    size_t n, m = 0;
    TRY(store_generation_list(l->store, list, &n, detail));
    for (size_t i = 0; i < n; i++)
        if (list[i].base)
            bases[m++] = &list[i];
    if (m == 0)
        return OK;
    bool large = l->journal_max_bytes && ledger_journal_bytes(l) > l->journal_max_bytes;
    bool from_start = store_journal_first(l->store) <= bases[0]->position;
    const struct store_generation *next = from_start ? bases[0] : m > 1 ? bases[1] : NULL;
    if (!next || (!large && now_us - next->created_at_us <= l->journal_keep_us))
        return OK;
    if (!from_start) {
        TRY(store_generation_mark_base(l->store, bases[0]->id, false, detail));
        TRY(store_generation_drop(l->store, bases[0]->id, detail));
    }
    uint64_t done;
    return store_journal_trim(l->store, next->position, TRIM_A_TICK, &done, detail);
}

enum err ledger_tick(struct ledger *l, int64_t now_us, struct err_detail *detail)
{
    struct store_sizes sizes;
    store_tick(l->store);
    TRY(store_sizes(l->store, &sizes, detail));
    atomic_store(&l->journal_bytes, sizes.journal_bytes);
    return retain(l, now_us, detail);
}

/* ---- verify, backup ---- */

static enum err find_base(struct ledger *l, uint64_t position, struct model **ret_model,
                          struct err_detail *detail)
{
    uint64_t first = store_journal_first(l->store);
    if (first <= 1)
        return model_new(ret_model);
    struct store_generation list[STORE_GENERATIONS_MAX];
    size_t n;
    TRY(store_generation_list(l->store, list, &n, detail));
    for (size_t i = 0; i < n; i++)
        if (list[i].position + 1 >= first && list[i].position <= position)
            return read_generation(l->store, &list[i], ret_model, detail);
    return err_say(detail, ERR_CORRUPT, "no checkpoint reaches the journal's first record %" PRIu64,
                   first);
}

/* ---- the journal, read again ---- */

enum err ledger_records(struct ledger *l, uint64_t from, uint64_t to, ledger_visit *visit,
                        void *ctx, struct err_detail *detail)
{
    return store_journal_iterate(l->store, from, to, visit, ctx, detail);
}

struct stamp {
    struct event *event;
    int64_t at_us;
};

static enum err take_stamp(void *ctx, uint64_t position, struct slice record)
{
    (void)position;
    struct stamp *s = ctx;
    TRY(event_decode(record, s->event));
    s->at_us = s->event->at_us;
    return OK;
}

/* Bisection: the last one that is old enough, if the stamps ascend but for the slack. */
static enum err seek(struct ledger *l, int64_t at_us, struct stamp *s, uint64_t *ret_position,
                     struct err_detail *detail)
{
    uint64_t low = store_journal_first(l->store), high = ledger_durable(l), found = 0;
    while (low > 0 && low <= high) {
        uint64_t middle = low + (high - low) / 2;
        enum err e = store_journal_iterate(l->store, middle, middle, take_stamp, s, detail);
        if (e != OK && e != ERR_NOT_FOUND)
            return e;
        if (e == ERR_NOT_FOUND || s->at_us < at_us) { /* Trimmed meanwhile: older still. */
            found = middle;
            low = middle + 1;
        } else {
            high = middle - 1;
        }
    }
    *ret_position = found;
    return OK;
}

enum err ledger_seek(struct ledger *l, int64_t at_us, uint64_t *ret_position,
                     struct err_detail *detail)
{
    static const int64_t slack_us = 60 * 1000000LL;
    struct stamp s = {mem_calloc(1, sizeof(struct event)), 0};
    if (!s.event)
        return err_say(detail, ERR_NOMEM, "no memory to read the journal");
    enum err e = seek(l, at_us - slack_us, &s, ret_position, detail);
    mem_free(s.event);
    return e;
}

enum err ledger_base(struct ledger *l, struct buf *out, uint64_t *ret_position,
                     struct err_detail *detail)
{
    struct model *m = NULL;
    TRY(find_base(l, ledger_durable(l), &m, detail));
    *ret_position = m->position;
    if (m->position > 0)
        model_encode(m, out);
    model_free(m);
    return buf_error(out);
}

static void compare(const struct model *again, struct slice state, struct ledger_verdict *v)
{
    struct buf bytes;
    buf_init(&bytes);
    model_encode(again, &bytes);
    size_t n = bytes.len < state.len ? bytes.len : state.len, at = 0;
    const uint8_t *theirs = state.data;
    while (at < n && bytes.data[at] == theirs[at])
        at++;
    v->ok = !bytes.failed && bytes.len == state.len && at == n;
    if (!v->ok) {
        char where[128];
        model_describe_offset(state, at, where, sizeof where);
        (void)snprintf(v->text, sizeof v->text,
                       "%zu bytes folded again, %zu running; first difference at byte %zu (%s)",
                       bytes.len, state.len, at, where);
    }
    buf_done(&bytes);
}

enum err ledger_verify(struct ledger *l, uint64_t position, struct slice state,
                       const _Atomic bool *cancelled, struct ledger_verdict *ret_verdict,
                       struct err_detail *detail)
{
    struct model *again = NULL;
    struct event *event = mem_calloc(1, sizeof *event);
    if (!event)
        return ERR_NOMEM;
    struct ledger_verdict v = {.position = position, .state_bytes = state.len};
    enum err e = find_base(l, position, &again, detail);
    if (e == OK && again) {
        v.base_position = again->position;
        struct refold f = {again, event, 0, cancelled, detail};
        if (position > v.base_position)
            e = store_journal_iterate(l->store, v.base_position + 1, position, refold_record, &f,
                                      detail);
        v.events = f.n;
    }
    if (e == OK && again) {
        compare(again, state, &v);
        struct err_detail violation = {""};
        if (v.ok && model_check(again, &violation) != OK) {
            v.ok = false;
            (void)snprintf(v.text, sizeof v.text, "%.250s", violation.text);
        }
        *ret_verdict = v;
    }
    model_free(again);
    mem_free(event);
    return e;
}

enum err ledger_backup(struct ledger *l, const char *path, uint64_t *ret_position,
                       uint64_t *ret_bytes, struct err_detail *detail)
{
    *ret_position = ledger_durable(l);
    return store_backup(l->store, path, ret_bytes, detail);
}
