#include "server/loop/writer.h"

#include "server/loop/accounts.h"
#include "server/loop/herald.h"
#include "server/loop/tally.h"
#include "server/ops/clock.h"
#include "state/base/mem.h"
#include "state/model/transfer.h"

#include <pthread.h>
#include <string.h>

enum { BATCH_MAX = 2048, TALLY_ROOM = 1024, TOGETHER_MAX = 64, APART_MAX = 63 };
static const int64_t tally_every_us = INT64_C(100) * 1000;
static const int64_t tick_every_us = 60 * 1000000LL;
static const int64_t together_wait_us = 1000;
static const int64_t idle_wait_us = INT64_C(250) * 1000;

struct writer {
    struct writer_options o;
    pthread_t thread;
    struct herald *herald;
    /* Entries: BATCH_MAX + TALLY_ROOM + ACCOUNTS_EVENTS; those of tallies have no item. While one
     * batch is told, the other fills. */
    struct herald_batch batches[2], *filling;
    struct herald_batch *untold; /* Folded: to be told beside the next commit, or before else. */
    struct tally *tally;
    struct accounts *accounts;
    int64_t tallied_us, ticked_us, checkpointed_us;
    struct writer_command *waiting; /* For the checkpoint that runs. */
    struct writer_command *queued;  /* For the one after it. */
    int64_t commit_us;              /* What the last one took. */
    uint32_t apart, alone;          /* Batches yet to go without waiting; the last such number. */
    bool failed;
    bool wants_base; /* A source was forgotten: what a start would fold again is long. */
};

uint64_t writer_fold_lag(struct writer *w)
{
    return herald_lag(w->herald);
}

/* Whatever was folded is published and answered when this returns. */
static void settle(struct writer *w)
{
    if (w->untold)
        herald_tell(w->herald, w->untold);
    w->untold = NULL;
}

static void fail(struct writer *w, enum err e, const struct err_detail *detail)
{
    if (w->failed)
        return;
    w->failed = true;
    log_event(w->o.log, LOG_ERROR, "disk_failed", LOG_STR("code", err_code(e)),
              LOG_STR("detail", detail->text), LOG_END);
    w->o.fatal(w->o.fatal_ctx, detail->text);
}

/* What is about to be created gets its counters first: an arm without any would look like one
 * without a pull for ever. Such an event stands alone, so its uid is the next one. */
static enum err prepare_live(struct writer *w, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        enum event_kind kind = event_peek(w->filling->entries[i].record);
        if (kind == EVENT_ROUTER_CREATE || kind == EVENT_ARM_ADD)
            TRY(live_prepare(w->o.live, ledger_model(w->o.ledger)->next_uid, 0));
    }
    return OK;
}

/* Journals the batch and folds it. The one before it is published and answered meanwhile: the
 * herald's thread works while this one waits for the disk. */
static enum err write_batch(struct writer *w, struct herald_batch *b, struct err_detail *detail)
{
    int64_t start = clock_mono_ns();
    uint64_t before = ledger_durable(w->o.ledger);
    enum err e = w->failed ? ERR_IO : prepare_live(w, b->items_n);
    if (e == OK)
        e = ledger_prepare(w->o.ledger, b->entries, b->n);
    if (w->untold)
        herald_begin(w->herald, w->untold);
    w->untold = NULL;
    if (e == OK)
        e = ledger_append(w->o.ledger, detail);
    uint64_t written = ledger_durable(w->o.ledger) - before;
    int64_t took_ns = clock_mono_ns() - start;
    w->commit_us = took_ns / 1000;
    if (written && w->o.on_commit)
        w->o.on_commit(w->o.on_commit_ctx, (double)took_ns * 1e-9, (uint32_t)written);
    herald_wait_published(w->herald);
    if (e == OK)
        ledger_fold(w->o.ledger, b->entries);
    b->moved = written > 0;
    return e;
}

/* Commits the entries[0..n) that were filled, of which the first `items_n` have somebody waiting.
 */
static void commit(struct writer *w, uint32_t items_n, uint32_t n)
{
    struct err_detail detail = {""};
    struct herald_batch *b = w->filling;
    b->items_n = items_n;
    b->n = n;
    for (uint32_t i = 0; i < n; i++) /* Of the batch before: not what became of this one. */
        memset(&b->entries[i].result, 0, sizeof b->entries[i].result);
    enum err e = write_batch(w, b, &detail);
    b->err = e;
    b->durable = ledger_durable(w->o.ledger);
    bool tallies = n > items_n;
    if (e != OK && tallies)
        accounts_return(w->accounts, w->o.pacers);
    if (e == OK && tallies)
        tally_commit(w->tally, w->o.live);
    if (e == ERR_IO || e == ERR_CORRUPT)
        fail(w, e, &detail);
    else if (e != OK)
        log_event(w->o.log, LOG_WARN, "commit_refused", LOG_STR("code", err_code(e)),
                  LOG_STR("detail", detail.text), LOG_END);
    w->untold = b;
    w->filling = b == &w->batches[0] ? &w->batches[1] : &w->batches[0];
    herald_wait(w->herald); /* The other batch is what is filled next. */
    if (tallies)
        settle(w);
}

/* Adds the records of moved counters behind the batch's own, when it is time; `now`: all of them,
 * whatever the time. */
static uint32_t add_tallies(struct writer *w, uint32_t n, int64_t now_us, bool now)
{
    if (!now && now_us - w->tallied_us < tally_every_us)
        return n;
    w->tallied_us = now_us;
    settle(w); /* What was issued is compared with what is published. */
    tally_collect(w->tally, w->o.live, published_current(w->o.published), now_us, now);
    for (uint32_t i = 0; i < w->tally->n; i++)
        w->filling->entries[n++].record = tally_record(w->tally, i);
    accounts_collect(w->accounts, w->o.pacers, now_us);
    for (uint32_t i = 0; i < w->accounts->n; i++)
        w->filling->entries[n++].record = accounts_record(w->accounts, i);
    return n;
}

static void finish_waiting(struct writer *w, struct writer_command **list, enum err e)
{
    struct writer_command *c = *list;
    *list = NULL;
    while (c) {
        struct writer_command *next = c->next_waiting;
        struct fold_result none = {0};
        c->item.done(&c->item, e, &none, ledger_checkpoint_position(w->o.ledger));
        c = next;
    }
}

static void begin_checkpoint(struct writer *w, int64_t now_us)
{
    struct err_detail detail = {""};
    settle(w);
    enum err e = ledger_checkpoint_begin(w->o.ledger, now_us, &detail);
    w->checkpointed_us = now_us;
    w->wants_base = false;
    w->waiting = w->queued;
    w->queued = NULL;
    if (e == OK)
        return;
    log_event(w->o.log, LOG_WARN, "checkpoint_failed", LOG_STR("code", err_code(e)),
              LOG_STR("detail", detail.text), LOG_END);
    finish_waiting(w, &w->waiting, e);
    if (e == ERR_IO)
        fail(w, e, &detail);
}

static void step_checkpoint(struct writer *w)
{
    struct err_detail detail = {""};
    bool done;
    settle(w); /* Acknowledgements do not wait for it. */
    enum err e = ledger_checkpoint_step(w->o.ledger, &done, &detail);
    if (e != OK)
        log_event(w->o.log, LOG_WARN, "checkpoint_failed", LOG_STR("code", err_code(e)),
                  LOG_STR("detail", detail.text), LOG_END);
    if (done || e != OK)
        finish_waiting(w, &w->waiting, e);
    if (e == ERR_IO)
        fail(w, e, &detail);
}

static enum err encode_arm(struct writer *w, const struct writer_command *c)
{
    const struct router *r = model_router(ledger_model(w->o.ledger), c->router_uid);
    const struct arm *a = r ? router_arm(r, c->arm_uid) : NULL;
    if (!a)
        return r ? ERR_ARM_NOT_FOUND : ERR_ROUTER_NOT_FOUND;
    transfer_encode(a, &r->config, r->outcomes_folded, c->out);
    return buf_error(c->out);
}

/* The accounts of now move by as much as the journal's did. */
static void give_back(struct writer *w, const struct ledger_forget *forget)
{
    uint32_t n;
    const struct account_refund *refunds = ledger_forget_refunds(forget, &n);
    for (uint32_t i = 0; i < n; i++) {
        struct pacer_id id;
        memset(&id, 0, sizeof id);
        id.router_uid = refunds[i].router_uid;
        id.metric = refunds[i].metric;
        memcpy(id.key, refunds[i].tenant, sizeof id.key);
        pacers_give_back(w->o.pacers, &id, refunds[i].corrected,
                         refunds[i].cost - refunds[i].charged);
    }
}

static enum err forget(struct writer *w, struct writer_command *c)
{
    struct err_detail detail = {""};
    enum err e = w->failed ? ERR_IO
                           : ledger_forget_commit(w->o.ledger, c->forget, clock_unix_us(),
                                                  &c->forgotten, &detail);
    if (e == OK) {
        w->wants_base = true;
        give_back(w, c->forget);
        /* What is stale is tried again; the source is forgotten for good. */
        (void)!herald_publish(w->herald);
        return OK;
    }
    if (e == ERR_IO || e == ERR_CORRUPT)
        fail(w, e, &detail);
    return e;
}

static void run_command(struct writer *w, struct writer_command *c)
{
    struct fold_result none = {0};
    enum err e = OK;
    switch (c->kind) {
    case WRITER_CHECKPOINT:
        c->next_waiting = w->queued;
        w->queued = c;
        return;
    case WRITER_ENCODE:
        e = ledger_encode(w->o.ledger, c->out);
        break;
    case WRITER_TRANSFER:
        e = encode_arm(w, c);
        break;
    case WRITER_FORGET:
        e = forget(w, c);
        break;
    }
    c->item.done(&c->item, e, &none, ledger_model(w->o.ledger)->position);
}

/* Runs of events that may share a commit; an administrative event or a command stands alone. */
static void process(struct writer *w, struct inbox_item *list, int64_t now_us)
{
    uint32_t n = 0;
    while (list) {
        struct inbox_item *item = list;
        list = list->next;
        bool command = item->record.len == 0;
        bool alone = command || !ledger_batches(event_peek(item->record));
        if (alone && n > 0) {
            commit(w, n, n);
            n = 0;
        }
        if (alone)
            settle(w);
        if (command) {
            /* item is the command's first member. */
            void *c = item;
            run_command(w, c);
            continue;
        }
        w->filling->items[n] = item;
        w->filling->entries[n++].record = item->record;
        if (alone) {
            commit(w, n, n);
            settle(w);
            n = 0;
        }
    }
    uint32_t all = add_tallies(w, n, now_us, false);
    if (all > 0)
        commit(w, n, all);
}

static void housekeeping(struct writer *w, int64_t now_us)
{
    struct ledger *l = w->o.ledger;
    if (ledger_checkpoint_running(l)) {
        step_checkpoint(w);
    } else {
        uint64_t since = ledger_durable(l) - ledger_checkpoint_position(l);
        bool due = since >= w->o.checkpoint_every_events ||
                   (since > 0 && now_us - w->checkpointed_us >= w->o.checkpoint_every_us);
        if (!w->failed && (due || w->queued || w->wants_base))
            begin_checkpoint(w, now_us);
    }
    if (now_us - w->ticked_us >= tick_every_us) {
        struct err_detail detail = {""};
        w->ticked_us = now_us;
        settle(w);
        enum err e = ledger_tick(l, now_us, &detail);
        if (e != OK)
            log_event(w->o.log, LOG_WARN, "retention_failed", LOG_STR("code", err_code(e)),
                      LOG_STR("detail", detail.text), LOG_END);
    }
}

/* Everything is answered: what the counters still hold, and a checkpoint for a quick start. */
static void finish(struct writer *w)
{
    int64_t now_us = clock_unix_us();
    uint32_t all;
    /* Accounts come a thousand at a time; what a failed disk does not take is not tried for ever.
     */
    for (int i = 0; i < 64 && (all = add_tallies(w, 0, now_us, true)) > 0; i++)
        commit(w, 0, all);
    while (!w->failed && ledger_checkpoint_running(w->o.ledger))
        step_checkpoint(w);
    if (!w->failed && ledger_durable(w->o.ledger) > ledger_checkpoint_position(w->o.ledger))
        begin_checkpoint(w, now_us);
    while (!w->failed && ledger_checkpoint_running(w->o.ledger))
        step_checkpoint(w);
    finish_waiting(w, &w->waiting, ERR_SHUTTING_DOWN);
    finish_waiting(w, &w->queued, ERR_SHUTTING_DOWN);
}

/* Callers who report one thing after the other fall into two groups, of which one waits for the
 * commit of the other and then for its own. If they are few, those who are answered now are here
 * again before another commit would end: they are waited for, so that all share one. Where they
 * do not come, it is tried again after 1, 3, 7... 63 batches. */
static void gather(struct writer *w)
{
    uint32_t waiting = inbox_depth(w->o.inbox);
    uint32_t wanted = w->untold ? w->untold->items_n + waiting : 0;
    if (wanted < 2 || wanted > TOGETHER_MAX || waiting == wanted)
        return;
    if (w->apart > 0) {
        w->apart--;
        return;
    }
    int64_t wait_us = w->commit_us < together_wait_us ? w->commit_us : together_wait_us;
    settle(w);
    bool came = inbox_gather(w->o.inbox, wanted, wait_us) >= wanted - wanted / 4;
    w->alone = came ? 0 : 2 * w->alone + 1 < APART_MAX ? 2 * w->alone + 1 : APART_MAX;
    w->apart = w->alone;
}

static void *run(void *arg)
{
    struct writer *w = arg;
    published_register_thread(); /* call_rcu wants a registered thread. */
    bool closed = false;
    while (!closed) {
        struct inbox_item *list = NULL;
        uint32_t n = 0;
        gather(w);
        bool busy = w->untold || ledger_checkpoint_running(w->o.ledger) || w->queued;
        inbox_take(w->o.inbox, BATCH_MAX, busy ? 0 : idle_wait_us, &list, &n, &closed);
        int64_t now_us = clock_unix_us();
        if (n == 0) /* Nothing to journal meanwhile. */
            settle(w);
        process(w, list, now_us);
        if (!w->untold && herald_stale(w->herald))
            (void)!herald_publish(w->herald);
        housekeeping(w, now_us);
    }
    finish(w);
    published_unregister_thread();
    return NULL;
}

/* Counters go on from `issued`; `tallied` of them are in the journal already. */
static enum err restore_count(struct live *live, uint32_t uid, uint64_t issued, uint64_t tallied)
{
    TRY(live_prepare(live, uid, issued));
    atomic_store_explicit(&live_get(live, uid)->tallied, tallied, memory_order_relaxed);
    return OK;
}

static enum err prepare_all(struct writer *w)
{
    const struct model *m = ledger_model(w->o.ledger);
    for (uint32_t i = 0; i < m->routers_n; i++) {
        const struct router *r = m->routers[i];
        TRY(restore_count(w->o.live, r->uid, r->requests, r->requests));
        TRY(accounts_restore(r, w->o.pacers, clock_unix_us()));
        struct live_count *c = live_get(w->o.live, r->uid);
        for (int side = 0; side < 2; side++)
            atomic_store_explicit(&c->sides[side], r->sides[side], memory_order_relaxed);
        atomic_store_explicit(&c->logged, r->logged_requests, memory_order_relaxed);
        atomic_store_explicit(&c->deferred, r->deferred, memory_order_relaxed);
        atomic_store_explicit(&c->activated, r->activated, memory_order_relaxed);
        atomic_store_explicit(&c->activated_tallied, r->activated, memory_order_relaxed);
        for (uint32_t k = 0; k < r->arms_n; k++) {
            const struct arm *a = r->arms[k];
            /* A crash can lose a tenth of a second of counts, never an answered one. */
            uint64_t issued = a->issued > a->answered ? a->issued : a->answered;
            TRY(restore_count(w->o.live, a->uid, issued, a->issued));
        }
    }
    return OK;
}

static void writer_free(struct writer *w)
{
    herald_free(w->herald);
    if (w->tally)
        tally_done(w->tally);
    mem_free(w->tally);
    if (w->accounts)
        accounts_done(w->accounts);
    mem_free(w->accounts);
    for (int i = 0; i < 2; i++) {
        mem_free(w->batches[i].entries);
        mem_free(w->batches[i].items);
    }
    mem_free(w);
}

static enum err make_parts(struct writer *w)
{
    const struct herald_options ho = {.ledger = w->o.ledger,
                                      .published = w->o.published,
                                      .log = w->o.log,
                                      .on_session = w->o.on_session,
                                      .on_session_ctx = w->o.on_session_ctx};
    for (int i = 0; i < 2; i++) {
        struct herald_batch *b = &w->batches[i];
        b->entries = mem_calloc(BATCH_MAX + TALLY_ROOM + ACCOUNTS_EVENTS, sizeof *b->entries);
        b->items = mem_calloc(BATCH_MAX, sizeof(struct inbox_item *));
        if (!b->entries || !b->items)
            return ERR_NOMEM;
    }
    w->filling = &w->batches[0];
    w->tally = mem_calloc(1, sizeof *w->tally);
    w->accounts = mem_calloc(1, sizeof *w->accounts);
    if (!w->tally || !w->accounts)
        return ERR_NOMEM;
    return herald_new(&ho, &w->herald);
}

enum err writer_start(const struct writer_options *o, struct writer **ret_writer)
{
    struct writer *w = mem_calloc(1, sizeof *w);
    if (!w)
        return ERR_NOMEM;
    w->o = *o;
    w->ticked_us = w->checkpointed_us = clock_unix_us();
    enum err e = make_parts(w);
    if (e == OK)
        e = prepare_all(w);
    if (e == OK)
        e = herald_publish(w->herald);
    if (e == OK && pthread_create(&w->thread, NULL, run, w) != 0)
        e = ERR_NOMEM;
    if (e != OK)
        writer_free(w);
    else
        *ret_writer = w;
    return e;
}

void writer_stop(struct writer *w)
{
    if (!w)
        return;
    inbox_close(w->o.inbox);
    (void)pthread_join(w->thread, NULL);
    writer_free(w);
}
