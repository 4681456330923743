/* Folding the journal again: to recover, to verify, and to forget a source. */
#include "state/ledger_inside.h"

#include "state/base/hash.h"
#include "state/base/mem.h"

#include <inttypes.h>
#include <string.h>

enum {
    CATCH_UP_ROUNDS = 8, /* Each as long as the one before took: few are needed. */
    CATCH_UP_N = 512,    /* Records that may be left to the writer. */
};

uint64_t ledger_hash(uint64_t before, struct slice chunk)
{
    return hash_seeded(chunk.data, chunk.len, before);
}

struct chunks {
    struct buf bytes;
    uint64_t hash;
};

static enum err append_chunk(void *ctx, uint64_t index, struct slice bytes)
{
    (void)index;
    struct chunks *c = ctx;
    c->hash = ledger_hash(c->hash, bytes);
    buf_put(&c->bytes, bytes.data, bytes.len);
    return buf_error(&c->bytes);
}

enum err ledger_read_generation(struct ledger *l, const struct store_generation *g,
                                struct model **ret_model, struct err_detail *detail)
{
    struct chunks c = {.hash = 0};
    buf_init(&c.bytes);
    enum err e = store_generation_read(l->store, g->id, append_chunk, &c, detail);
    if (e == OK && c.hash != g->hash)
        e = err_say(detail, ERR_CORRUPT, "checkpoint %" PRIu64 " does not match its hash", g->id);
    if (e == OK)
        e = model_decode((struct slice){c.bytes.data, c.bytes.len}, ret_model, detail);
    buf_done(&c.bytes);
    return e;
}

/* ---- folding again ---- */

/* One kept is always reached by the journal: what trims begins with the oldest base. */
enum err ledger_find_base(struct ledger *l, uint64_t position, struct model **ret_model,
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
            return ledger_read_generation(l, &list[i], ret_model, detail);
    return err_say(detail, ERR_CORRUPT, "no checkpoint reaches the journal's first record %" PRIu64,
                   first);
}

static bool refold_cancelled(const struct refold *f)
{
    return f->cancelled && atomic_load_explicit(f->cancelled, memory_order_relaxed);
}

static enum err refold_decode(struct refold *f, uint64_t position, struct slice record)
{
    if (refold_cancelled(f))
        return ERR_CANCELLED;
    return event_decode(record, f->event) == OK
               ? OK
               : err_say(f->detail, ERR_CORRUPT, "journal record %" PRIu64 " cannot be decoded",
                         position);
}

static enum err refold_record(void *ctx, uint64_t position, struct slice record)
{
    struct refold *f = ctx;
    TRY(refold_decode(f, position, record));
    f->n++;
    return forgets_fold(f->forgets, f->model, f->event, position);
}

static enum err note_forget(void *ctx, uint64_t position, struct slice record)
{
    struct refold *f = ctx;
    if (refold_cancelled(f))
        return ERR_CANCELLED;
    if (event_peek(record) != EVENT_FORGET)
        return OK;
    TRY(refold_decode(f, position, record));
    return forgets_note(f->forgets, &f->event->u.forget, position);
}

/* The records after `from`, up to `to`. */
static enum err each_record(struct ledger *l, uint64_t from, uint64_t to, store_visit *visit,
                            struct refold *f, struct err_detail *detail)
{
    return to > from ? store_journal_iterate(l->store, from + 1, to, visit, f, detail) : OK;
}

enum err ledger_refold_to(struct ledger *l, struct refold *f, uint64_t to,
                          struct err_detail *detail)
{
    uint64_t from = f->model->position;
    TRY(each_record(l, from, to, note_forget, f, detail));
    return each_record(l, from, to, refold_record, f, detail);
}

enum err ledger_fold_tail(struct ledger *l, uint64_t last, uint64_t *ret_folded,
                          struct err_detail *detail)
{
    struct forgets forgets;
    forgets_init(&forgets);
    struct refold f = {l->model, l->event, &forgets, 0, NULL, detail};
    enum err e = each_record(l, l->model->position, last, note_forget, &f, detail);
    if (e == OK && forgets.n == 0) {
        e = each_record(l, l->model->position, last, refold_record, &f, detail);
    } else if (e == OK) {
        forgets_done(&forgets);
        model_free(l->model);
        l->model = NULL;
        e = ledger_find_base(l, last, &l->model, detail);
        f.model = l->model;
        if (e == OK)
            e = ledger_refold_to(l, &f, last, detail);
    }
    forgets_done(&forgets);
    *ret_folded = f.n;
    return e;
}

enum err ledger_forgets(struct ledger *l, uint64_t from, uint64_t to, struct forgets *forgets,
                        struct err_detail *detail)
{
    struct refold f = {NULL, mem_calloc(1, sizeof *f.event), forgets, 0, NULL, detail};
    if (!f.event)
        return err_say(detail, ERR_NOMEM, "no memory to read the journal");
    enum err e = store_journal_iterate(l->store, from, to, note_forget, &f, detail);
    mem_free(f.event);
    return e;
}

/* ---- forgetting a source ---- */

struct ledger_forget {
    struct event_forget what;
    struct forgets forgets;
    struct refold fold;
    struct ledger_forgotten so_far;
    struct buf record;
    uint32_t own; /* Of forgets: the one that is being made, behind all that were. */
};

/* What is being forgotten has no position yet: it takes out whatever comes. */
static enum err note_own(struct ledger_forget *f)
{
    f->own = f->forgets.n;
    return forgets_note(&f->forgets, &f->what, UINT64_MAX);
}

static enum err say_before_base(const struct ledger_forget *f, struct err_detail *detail)
{
    return err_say(detail, ERR_FORGET_PARTIAL,
                   "%" PRIu64 " reports of source `%s` lie before position %" PRIu64
                   ", the oldest from which the journal can be folded, and cannot be taken out; a "
                   "partial one takes out those after it",
                   f->so_far.before_base, f->what.source, f->so_far.base_position);
}

static enum err begin_at_base(struct ledger *l, struct ledger_forget *f, struct err_detail *detail)
{
    struct model *m = NULL;
    TRY(ledger_find_base(l, ledger_durable(l), &m, detail));
    f->fold.model = m;
    f->so_far.base_position = m ? m->position : 0;
    f->so_far.before_base = m ? forget_known(m, &f->what) : 0;
    return OK;
}

static enum err fold_anew(struct ledger *l, struct ledger_forget *f, bool partial,
                          struct err_detail *detail)
{
    TRY(begin_at_base(l, f, detail));
    if (f->so_far.before_base && !partial)
        return say_before_base(f, detail);
    uint64_t to = ledger_durable(l);
    TRY(each_record(l, f->so_far.base_position, to, note_forget, &f->fold, detail));
    TRY(note_own(f));
    for (int i = 0; i < CATCH_UP_ROUNDS; i++) {
        TRY(each_record(l, f->fold.model->position, to, refold_record, &f->fold, detail));
        if (ledger_durable(l) - to <= CATCH_UP_N)
            break;
        to = ledger_durable(l);
    }
    return OK;
}

enum err ledger_forget_begin(struct ledger *l, const struct event_forget *what, bool partial,
                             const _Atomic bool *cancelled, struct ledger_forget **ret_forget,
                             struct ledger_forgotten *ret_so_far, struct err_detail *detail)
{
    if (atomic_exchange(&l->forgetting, true))
        return err_say(detail, ERR_OVERLOADED, "a source is being forgotten already");
    struct ledger_forget *f = mem_calloc(1, sizeof *f);
    if (!f) {
        atomic_store(&l->forgetting, false);
        return err_say(detail, ERR_NOMEM, "no memory to fold anew");
    }
    f->what = *what;
    forgets_init(&f->forgets);
    buf_init(&f->record);
    f->fold = (struct refold){
        NULL, mem_calloc(1, sizeof *f->fold.event), &f->forgets, 0, cancelled, detail};
    enum err e = f->fold.event ? fold_anew(l, f, partial, detail)
                               : err_say(detail, ERR_NOMEM, "no memory to fold anew");
    f->fold.cancelled = NULL;
    *ret_so_far = f->so_far;
    if (e == OK)
        *ret_forget = f;
    else
        ledger_forget_free(l, f);
    return e;
}

void ledger_forget_free(struct ledger *l, struct ledger_forget *f)
{
    if (!f)
        return;
    model_free(f->fold.model);
    mem_free(f->fold.event);
    forgets_done(&f->forgets);
    buf_done(&f->record);
    mem_free(f);
    atomic_store(&l->forgetting, false);
}

static void touch_all(struct model *m)
{
    for (uint32_t i = 0; i < m->routers_n; i++) {
        m->routers[i]->touched = true;
        for (uint32_t k = 0; k < m->routers[i]->arms_n; k++)
            m->routers[i]->arms[k]->touched = true;
    }
}

/* The record is folded by the very code that would meet it in the journal. */
static enum err fold_own(struct ledger_forget *f, uint64_t position)
{
    f->forgets.all[f->own].position = position;
    return forgets_fold(&f->forgets, f->fold.model, f->fold.event, position);
}

enum err ledger_forget_commit(struct ledger *l, struct ledger_forget *f, int64_t at_us,
                              struct ledger_forgotten *ret, struct err_detail *detail)
{
    struct fold_result result;
    f->fold.detail = detail;
    TRY(each_record(l, f->fold.model->position, ledger_durable(l), refold_record, &f->fold,
                    detail));
    struct event *ev = f->fold.event;
    memset(ev, 0, sizeof *ev);
    ev->kind = EVENT_FORGET;
    ev->at_us = at_us;
    ev->u.forget = f->what;
    TRY(fold_check(f->fold.model, ev, &result));
    event_encode(ev, &f->record);
    TRY(buf_error(&f->record));
    struct slice record = {f->record.data, f->record.len};
    uint64_t position;
    TRY(store_append(l->store, &record, 1, &position, detail));
    atomic_store(&l->durable, position);
    TRY(fold_own(f, position)); /* Takes no memory: it cannot fail. */
    touch_all(f->fold.model);
    if (l->freeze)
        freeze_detach(l->freeze);
    struct model *old = l->model;
    l->model = f->fold.model;
    f->fold.model = old;
    f->so_far.position = position;
    f->so_far.taken = f->forgets.all[f->own].taken;
    *ret = f->so_far;
    return OK;
}

const struct account_refund *ledger_forget_refunds(const struct ledger_forget *f, uint32_t *ret_n)
{
    uint32_t first = f->forgets.refunds_n; /* They stand at the end: it was noted last. */
    while (first > 0 && f->forgets.refunds[first - 1].forget == f->own)
        first--;
    *ret_n = f->forgets.refunds_n - first;
    return *ret_n ? f->forgets.refunds + first : NULL;
}

static enum err count_record(void *ctx, uint64_t position, struct slice record)
{
    struct refold *f = ctx;
    if (refold_cancelled(f))
        return ERR_CANCELLED;
    if (event_peek(record) != EVENT_OUTCOME)
        return OK;
    TRY(refold_decode(f, position, record));
    struct forgotten *by = forgets_find(f->forgets, f->event, position);
    if (by)
        by->taken++;
    return OK;
}

static enum err count_all(struct ledger *l, struct ledger_forget *f, struct err_detail *detail)
{
    uint64_t to = ledger_durable(l);
    TRY(begin_at_base(l, f, detail));
    TRY(each_record(l, f->so_far.base_position, to, note_forget, &f->fold, detail));
    TRY(note_own(f));
    TRY(each_record(l, f->so_far.base_position, to, count_record, &f->fold, detail));
    f->so_far.taken = f->forgets.all[f->own].taken;
    return OK;
}

enum err ledger_forget_count(struct ledger *l, const struct event_forget *what,
                             const _Atomic bool *cancelled, struct ledger_forgotten *ret,
                             struct err_detail *detail)
{
    struct ledger_forget f;
    memset(&f, 0, sizeof f);
    f.what = *what;
    forgets_init(&f.forgets);
    f.fold = (struct refold){NULL,  mem_calloc(1, sizeof *f.fold.event), &f.forgets, 0, cancelled,
                             detail};
    enum err e = f.fold.event ? count_all(l, &f, detail)
                              : err_say(detail, ERR_NOMEM, "no memory to read the journal");
    model_free(f.fold.model);
    mem_free(f.fold.event);
    forgets_done(&f.forgets);
    *ret = f.so_far;
    return e;
}
