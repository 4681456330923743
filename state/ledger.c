#include "state/ledger_inside.h"

#include "state/base/hash.h"
#include "state/base/mem.h"
#include "state/model/snapshot.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    CHUNK_BYTES = 256 * 1024,
    TRIM_A_STEP = 4096,
    BASES_MAX = 56,
};

/* ---- open ---- */

static enum err recover(struct ledger *l, struct ledger_recovery *ret, struct err_detail *detail)
{
    struct store_generation list[STORE_GENERATIONS_MAX];
    size_t n;
    TRY(store_generation_list(l->store, list, &n, detail));
    memset(ret, 0, sizeof *ret);
    if (n > 0) {
        TRY(ledger_read_generation(l, &list[n - 1], &l->model, detail));
        ret->checkpoint_position = list[n - 1].position;
        if (l->model->position != ret->checkpoint_position)
            return err_say(detail, ERR_CORRUPT, "the checkpoint names another position");
    } else {
        TRY(model_new(&l->model));
    }
    uint64_t last = store_journal_last(l->store);
    TRY(ledger_fold_tail(l, last, &ret->folded, detail));
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
    buf_init(&l->piece);
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
    freeze_end(l->freeze);
    store_close(l->store);
    model_free(l->model);
    buf_done(&l->piece);
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
           kind == EVENT_ACCOUNTS || kind == EVENT_SESSION || kind == EVENT_ACTIVATE;
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
        bool new = !entry->result.duplicate || entry->result.beaten;
        if (entry->err != OK || !new)
            continue;
        entry->err = model_reserve(l->model, l->event, kept);
        if (entry->err == OK)
            entry->err = fold_check_reserved(l->model, l->event);
        if (entry->err != OK)
            continue;
        l->records[kept] = entry->record;
        l->accepted[kept++] = i;
    }
    return kept;
}

enum err ledger_prepare(struct ledger *l, struct ledger_entry *entries, uint32_t n)
{
    l->kept = 0;
    TRY(reserve_batch(l, n));
    l->kept = accept(l, entries, n);
    return OK;
}

enum err ledger_append(struct ledger *l, struct err_detail *detail)
{
    if (l->kept == 0)
        return OK;
    uint64_t last;
    TRY(store_append(l->store, l->records, l->kept, &last, detail));
    atomic_store(&l->durable, last);
    return OK;
}

void ledger_fold(struct ledger *l, struct ledger_entry *entries)
{
    uint64_t before = ledger_durable(l) - l->kept;
    for (uint32_t k = 0; k < l->kept; k++) {
        struct ledger_entry *entry = &entries[l->accepted[k]];
        entry->position = before + 1 + k;
        /* It decoded a moment ago. */
        entry->err = event_decode(entry->record, l->event);
        fold_event(l->model, l->event, entry->position, &entry->result);
        entry->err = entry->result.err;
    }
    l->kept = 0;
}

enum err ledger_commit(struct ledger *l, struct ledger_entry *entries, uint32_t n,
                       struct err_detail *detail)
{
    TRY(ledger_prepare(l, entries, n));
    TRY(ledger_append(l, detail));
    ledger_fold(l, entries);
    return OK;
}

/* ---- checkpoint ---- */

bool ledger_checkpoint_running(const struct ledger *l)
{
    return l->phase != NO_CHECKPOINT || l->trim_to > 0;
}

enum err ledger_encode(struct ledger *l, struct buf *out)
{
    model_encode(l->model, out);
    return buf_error(out);
}

enum err ledger_checkpoint_begin(struct ledger *l, int64_t now_us, struct err_detail *detail)
{
    if (l->phase == WRITING || l->phase == DROPPING)
        return OK;
    TRY(freeze_begin(l->model, &l->freeze));
    l->frozen_position = l->model->position;
    enum err e =
        store_generation_begin(l->store, l->frozen_position, now_us, &l->generation, detail);
    if (e != OK) {
        freeze_end(l->freeze);
        l->freeze = NULL;
        return e;
    }
    l->frozen_at = (uint64_t)now_us;
    l->piece_at = 0;
    l->all_read = false;
    l->hash = 0;
    l->chunk = 0;
    l->phase = WRITING;
    return OK;
}

static void end_writing(struct ledger *l, enum checkpoint_phase next)
{
    freeze_end(l->freeze);
    l->freeze = NULL;
    buf_done(&l->piece);
    l->phase = next;
}

/* Tops the piece up to a chunk, if there is so much. */
static enum err read_piece(struct ledger *l)
{
    size_t left = l->piece.len - l->piece_at;
    if (left >= CHUNK_BYTES || l->all_read)
        return OK;
    if (left)
        memmove(l->piece.data, l->piece.data + l->piece_at, left);
    l->piece.len = left;
    l->piece_at = 0;
    return freeze_next(l->freeze, CHUNK_BYTES, &l->piece, &l->all_read);
}

static enum err write_step(struct ledger *l, struct err_detail *detail)
{
    TRY(read_piece(l));
    size_t left = l->piece.len - l->piece_at;
    if (left > 0) {
        struct slice chunk = {l->piece.data + l->piece_at, left < CHUNK_BYTES ? left : CHUNK_BYTES};
        l->hash = ledger_hash(l->hash, chunk);
        TRY(store_generation_put(l->store, l->generation, l->chunk, &chunk, 1, detail));
        l->piece_at += chunk.len;
        l->chunk++;
        return OK;
    }
    TRY(store_generation_commit(l->store, l->generation, l->chunk, l->hash, detail));
    atomic_store(&l->checkpoint_position, l->frozen_position);
    end_writing(l, DROPPING);
    return OK;
}

static enum err drop_base(struct ledger *l, const struct store_generation *g,
                          struct err_detail *detail)
{
    TRY(store_generation_mark_base(l->store, g->id, false, detail));
    if (l->phase == NO_CHECKPOINT)
        l->phase = SWEEPING; /* What it held goes in steps. */
    return store_generation_release(l->store, g->id, detail);
}

/* A base that holds what was forgotten since; not the oldest: the journal is folded from there,
 * without what was forgotten. The newest goes first, so that the oldest stays so. NULL: none. */
static const struct store_generation *find_tainted(const struct ledger *l,
                                                   const struct store_generation *list, size_t n)
{
    size_t oldest = store_journal_first(l->store) <= 1 ? n : 0;
    while (oldest < n && !list[oldest].base)
        oldest++;
    for (size_t i = n; i-- > 0;)
        if (list[i].base && i != oldest && list[i].position < l->model->forgot_at)
            return &list[i];
    return NULL;
}

/* A base now and then (30 within the time the journal is kept), so that the journal can be trimmed
 * in steps and still be folded from somewhere. */
static bool base_is_due(const struct ledger *l, const struct store_generation *list, size_t n)
{
    const struct store_generation *newest = NULL;
    size_t bases = 0;
    for (size_t i = 0; i < n; i++) {
        if (list[i].base) {
            newest = &list[i];
            bases++;
        }
    }
    bool due = !newest || newest->position < l->model->forgot_at ||
               (int64_t)l->frozen_at - newest->created_at_us > l->journal_keep_us / 30;
    return due && bases < BASES_MAX;
}

/* The first thing that is to be done about what was kept before; nothing: it is swept. */
static enum err drop_step(struct ledger *l, struct err_detail *detail)
{
    struct store_generation list[STORE_GENERATIONS_MAX];
    size_t n;
    TRY(store_generation_list(l->store, list, &n, detail));
    for (size_t i = 0; i + 1 < n; i++)
        if (!list[i].base)
            return store_generation_release(l->store, list[i].id, detail);
    /* If it was forgotten while this one was written, the next will do. */
    if (l->frozen_position >= l->model->forgot_at) {
        if (base_is_due(l, list, n))
            return store_generation_mark_base(l->store, l->generation, true, detail);
        const struct store_generation *tainted = find_tainted(l, list, n);
        if (tainted)
            return drop_base(l, tainted, detail);
    }
    l->phase = SWEEPING;
    return OK;
}

static enum err sweep_step(struct ledger *l, struct err_detail *detail)
{
    bool done;
    TRY(store_generation_sweep(l->store, &done, detail));
    if (done)
        l->phase = NO_CHECKPOINT;
    return OK;
}

static enum err trim_step(struct ledger *l, struct err_detail *detail)
{
    uint64_t done = 0, to = l->trim_to;
    l->trim_to = 0; /* Whatever stops it: the next tick looks again. */
    if (to == 0 || atomic_load(&l->forgetting))
        return OK;
    TRY(store_journal_trim(l->store, to, TRIM_A_STEP, &done, detail));
    if (done == TRIM_A_STEP)
        l->trim_to = to;
    return OK;
}

enum err ledger_checkpoint_step(struct ledger *l, bool *ret_done, struct err_detail *detail)
{
    enum err e = OK;
    *ret_done = false;
    switch (l->phase) {
    case NO_CHECKPOINT:
        return trim_step(l, detail);
    case WRITING:
        e = write_step(l, detail);
        break;
    case DROPPING:
        e = drop_step(l, detail);
        break;
    case SWEEPING:
        e = sweep_step(l, detail);
        *ret_done = l->phase == NO_CHECKPOINT;
        break;
    }
    if (e == OK)
        return OK;
    if (l->phase == WRITING) {
        struct err_detail ignored;
        if (store_generation_abort(l->store, l->generation, &ignored) != OK)
            l->generation = 0; /* What is left of it goes at the next begin or open. */
    }
    end_writing(l, NO_CHECKPOINT);
    return e;
}

/* ---- retention ---- */

/* The base that the journal could be folded from next, or NULL. One before the last FORGET would
 * bring back what that took out. */
static const struct store_generation *
next_base(const struct ledger *l, const struct store_generation *list, size_t n, bool from_start)
{
    bool skip = !from_start; /* The oldest is in use. */
    for (size_t i = 0; i < n; i++) {
        if (!list[i].base)
            continue;
        if (!skip && list[i].position >= l->model->forgot_at)
            return &list[i];
        skip = false;
    }
    return NULL;
}

/* The journal is kept back to the oldest base (or to its beginning). When the next base is itself
 * older than the time to keep, or the journal is too large, what lies before it goes. */
static enum err retain(struct ledger *l, int64_t now_us, struct err_detail *detail)
{
    struct store_generation list[STORE_GENERATIONS_MAX];
    size_t n, oldest = 0;
    TRY(store_generation_list(l->store, list, &n, detail));
    while (oldest < n && !list[oldest].base)
        oldest++;
    if (oldest == n || atomic_load(&l->forgetting))
        return OK;
    bool large = l->journal_max_bytes && ledger_journal_bytes(l) > l->journal_max_bytes;
    bool from_start = store_journal_first(l->store) <= list[oldest].position;
    const struct store_generation *next = next_base(l, list, n, from_start);
    if (!next || (!large && now_us - next->created_at_us <= l->journal_keep_us))
        return OK;
    /* The oldest last: until then it is what the journal is folded from. */
    for (size_t i = (size_t)(next - list); i-- > 0;)
        if (list[i].base)
            TRY(drop_base(l, &list[i], detail));
    l->trim_to = next->position;
    return trim_step(l, detail);
}

enum err ledger_tick(struct ledger *l, int64_t now_us, struct err_detail *detail)
{
    struct store_sizes sizes;
    store_tick(l->store);
    TRY(store_sizes(l->store, &sizes, detail));
    atomic_store(&l->journal_bytes, sizes.journal_bytes);
    return retain(l, now_us, detail);
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
    TRY(ledger_find_base(l, ledger_durable(l), &m, detail));
    *ret_position = m->position;
    if (m->position > 0)
        model_encode(m, out);
    model_free(m);
    return buf_error(out);
}

/* ---- verify, backup ---- */

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
    struct forgets forgets;
    forgets_init(&forgets);
    struct refold f = {NULL, mem_calloc(1, sizeof *f.event), &forgets, 0, cancelled, detail};
    if (!f.event)
        return ERR_NOMEM;
    struct ledger_verdict v = {.position = position, .state_bytes = state.len};
    enum err e = ledger_find_base(l, position, &f.model, detail);
    if (e == OK) {
        v.base_position = f.model->position;
        e = ledger_refold_to(l, &f, position, detail);
        v.events = f.n;
    }
    if (e == OK) {
        compare(f.model, state, &v);
        struct err_detail violation = {""};
        if (v.ok && model_check(f.model, &violation) != OK) {
            v.ok = false;
            (void)snprintf(v.text, sizeof v.text, "%.250s", violation.text);
        }
        *ret_verdict = v;
    }
    model_free(f.model);
    mem_free(f.event);
    forgets_done(&forgets);
    return e;
}

enum err ledger_backup(struct ledger *l, const char *path, uint64_t *ret_position,
                       uint64_t *ret_bytes, struct err_detail *detail)
{
    *ret_position = ledger_durable(l);
    return store_backup(l->store, path, ret_bytes, detail);
}
