#include "server/engine/engine_lab.h"
#include "server/engine/engine_parts.h"

#include "state/base/mem.h"
#include "state/model/snapshot.h"

#include <string.h>
#include <time.h>

enum { RECENT_MAX = 65536, LABELS_IN_FLIGHT_MAX = 16 };
static const int64_t recent_keep_us = 60 * 1000000LL;
/* Twice the tenants that may have a budget: no shard of the table is ever full of them. */
enum { ACCOUNTS_TABLE = 2 * MAX_TENANTS };
static const int64_t account_idle_us = 3600 * 1000000LL;

static void on_commit(void *ctx, double seconds, uint32_t records)
{
    struct engine *e = ctx;
    if (e->on_commit)
        e->on_commit(e->on_commit_ctx, seconds, records);
}

static void on_session(void *ctx, const struct session_account *account)
{
    struct engine *e = ctx;
    session_table_folded(e->sessions, account);
}

static enum err start_writer(struct engine *e)
{
    struct writer_options wo = {
        .ledger = e->ledger,
        .published = e->published,
        .inbox = e->inbox,
        .live = e->live,
        .pacers = e->pacers,
        .log = e->o.log,
        .checkpoint_every_events = e->o.checkpoint_every_events,
        .checkpoint_every_us = e->o.checkpoint_every_us,
        .on_commit = on_commit,
        .on_commit_ctx = e,
        .on_session = on_session,
        .on_session_ctx = e,
        .fatal = e->o.fatal,
        .fatal_ctx = e->o.fatal_ctx,
    };
    return writer_start(&wo, &e->writer);
}

/* A ring without a key cannot seal: the first start makes one. */
static enum err first_key(struct engine *e)
{
    const struct snapshot *s = published_current(e->published);
    if (s->keys_n > 0)
        return OK;
    struct engine_worker *w;
    TRY(engine_worker_new(e, &w));
    uint32_t id, n;
    struct err_detail detail;
    enum err err = engine_keys_rotate(w, &id, &n, &detail);
    engine_worker_free(w);
    return err;
}

static enum err open_parts(struct engine *e, struct err_detail *detail)
{
    const struct engine_options *o = &e->o;
    struct ledger_options lo = {
        .dir = o->data_dir,
        .map_bytes = o->map_bytes,
        .journal_keep_us = o->journal_keep_us,
        .journal_max_bytes = o->journal_max_bytes,
    };
    struct ledger_recovery recovery;
    int64_t start = clock_mono_ns();
    TRY(ledger_open(&lo, &e->ledger, &recovery, detail));
    log_event(o->log, LOG_INFO, "recovered", LOG_UINT("position", recovery.position),
              LOG_UINT("checkpoint", recovery.checkpoint_position),
              LOG_UINT("folded", recovery.folded),
              LOG_NUM("seconds", (double)(clock_mono_ns() - start) * 1e-9), LOG_END);
    struct audit_options ao = {
        .dir = o->decisions_dir,
        .ring_bytes = o->decisions_ring_bytes,
        .keep_us = o->decisions_keep_us,
        .max_bytes = o->decisions_max_bytes,
    };
    TRY(audit_open(&ao, &e->audit, detail));
    TRY(published_new(&e->published));
    TRY(live_new(RECENT_MAX, recent_keep_us, &e->live));
    TRY(pacers_new(ACCOUNTS_TABLE, account_idle_us, &e->pacers));
    TRY(source_caps_new(&e->source_caps));
    TRY(newcomer_quota_new(&e->newcomers));
    TRY(inbox_new(o->inbox_capacity, &e->inbox));
    TRY(engine_sessions_open(e));
    TRY(engine_adapters_open(e));
    TRY(start_writer(e));
    /* Before the threads that make events of their own: it looks at what is published unguarded. */
    TRY(first_key(e));
    TRY(engine_lab_open(e, detail));
    TRY(engine_adapters_start(e));
    return engine_defaults_open(e);
}

enum err engine_open(const struct engine_options *o, struct engine **ret_engine,
                     struct err_detail *detail)
{
    struct engine *e = mem_calloc(1, sizeof *e);
    if (!e)
        return err_say(detail, ERR_NOMEM, "no memory for the engine");
    e->o = *o;
    detail->text[0] = '\0';
    enum err err = open_parts(e, detail);
    if (err != OK) {
        if (detail->text[0] == '\0')
            (void)err_say(detail, err, "%s", err_text(err));
        engine_close(e);
        return err;
    }
    *ret_engine = e;
    return OK;
}

void engine_close(struct engine *e)
{
    if (!e)
        return;
    engine_lab_close(e);
    engine_defaults_close(e);
    engine_adapters_close(e);
    writer_stop(e->writer);
    if (e->inbox)
        inbox_free(e->inbox);
    if (e->audit)
        audit_close(e->audit);
    published_free(e->published);
    classify_free(atomic_load(&e->classifier));
    if (e->live)
        live_free(e->live);
    session_table_free(e->sessions);
    pacers_free(e->pacers);
    source_caps_free(e->source_caps);
    newcomer_quota_free(e->newcomers);
    ledger_close(e->ledger);
    mem_free(e);
}

enum err engine_worker_new(struct engine *e, struct engine_worker **ret_worker)
{
    struct engine_worker *w = mem_calloc(1, sizeof *w);
    if (!w)
        return ERR_NOMEM;
    w->engine = e;
    enum err err = sealer_new(&w->sealer);
    if (err == OK)
        err = score_sheet_new(&w->ahead.sheet);
    if (err != OK) {
        sealer_free(w->sealer);
        mem_free(w);
        return err;
    }
    published_register_thread();
    *ret_worker = w;
    return OK;
}

void engine_worker_free(struct engine_worker *w)
{
    if (!w)
        return;
    published_unregister_thread();
    sealer_free(w->sealer);
    score_sheet_free(w->ahead.sheet);
    buf_done(&w->audit_bytes);
    buf_done(&w->answer);
    mem_free(w);
}

/* ---- waiting for the writer ---- */

struct waiter {
    struct writer_command command; /* First: its item is what is queued. */
    pthread_mutex_t lock;
    pthread_cond_t answered;
    bool done;
    enum err err;
    struct fold_result result;
    uint64_t position;
};

static void wake(struct inbox_item *item, enum err e, const struct fold_result *result,
                 uint64_t position)
{
    void *at = item;
    struct waiter *w = at;
    pthread_mutex_lock(&w->lock);
    w->err = e;
    w->result = *result;
    w->position = position;
    w->done = true;
    pthread_cond_signal(&w->answered);
    pthread_mutex_unlock(&w->lock);
}

static enum err put_and_wait(struct engine *e, struct waiter *w)
{
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->answered, NULL);
    w->command.item.done = wake;
    enum err err = inbox_put(e->inbox, &w->command.item);
    if (err == OK) {
        pthread_mutex_lock(&w->lock);
        while (!w->done)
            pthread_cond_wait(&w->answered, &w->lock);
        pthread_mutex_unlock(&w->lock);
        err = w->err;
    }
    pthread_cond_destroy(&w->answered);
    pthread_mutex_destroy(&w->lock);
    return err;
}

enum err engine_submit(struct engine_worker *w, const struct event *event,
                       struct fold_result *ret_result)
{
    struct buf record;
    struct waiter waiter;
    memset(&waiter, 0, sizeof waiter);
    buf_init(&record);
    event_encode(event, &record);
    enum err err = buf_error(&record);
    if (err == OK) {
        waiter.command.item.record = (struct slice){record.data, record.len};
        err = put_and_wait(w->engine, &waiter);
    }
    if (ret_result)
        *ret_result = waiter.result;
    if (record.data)
        explicit_bzero(record.data, record.len); /* It may have held a key. */
    buf_done(&record);
    return err;
}

enum err engine_command(struct engine_worker *w, enum writer_command_kind kind, struct buf *out,
                        uint64_t *ret_position)
{
    struct waiter waiter;
    memset(&waiter, 0, sizeof waiter);
    waiter.command.kind = kind;
    waiter.command.out = out;
    TRY(put_and_wait(w->engine, &waiter));
    *ret_position = waiter.position;
    return OK;
}

enum err engine_command_arm(struct engine_worker *w, uint32_t router_uid, uint32_t arm_uid,
                            struct buf *out)
{
    struct waiter waiter;
    memset(&waiter, 0, sizeof waiter);
    waiter.command.kind = WRITER_TRANSFER;
    waiter.command.out = out;
    waiter.command.router_uid = router_uid;
    waiter.command.arm_uid = arm_uid;
    return put_and_wait(w->engine, &waiter);
}

enum err engine_forget_command(struct engine_worker *w, struct ledger_forget *forget,
                               const _Atomic bool *cancelled, struct ledger_forgotten *ret)
{
    struct waiter waiter;
    enum err e = ERR_QUEUE_FULL;
    /* A queue is full for an instant; what was folded anew for this took minutes, maybe. */
    while (e == ERR_QUEUE_FULL) {
        if (cancelled && atomic_load_explicit(cancelled, memory_order_relaxed))
            return ERR_CANCELLED;
        memset(&waiter, 0, sizeof waiter);
        waiter.command.kind = WRITER_FORGET;
        waiter.command.forget = forget;
        e = put_and_wait(w->engine, &waiter);
        if (e == ERR_QUEUE_FULL)
            nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
    if (e == OK)
        *ret = waiter.command.forgotten;
    return e;
}

struct label_item {
    struct inbox_item item;
    struct engine *engine;
    struct buf record;
};

static void label_done(struct inbox_item *item, enum err e, const struct fold_result *result,
                       uint64_t position)
{
    (void)e;
    (void)result;
    (void)position;
    void *at = item;
    struct label_item *l = at;
    atomic_fetch_sub(&l->engine->labels_in_flight, 1);
    buf_done(&l->record);
    mem_free(l);
}

static enum err encode_label(uint32_t router_uid, const char *label, struct buf *out)
{
    struct event *ev = mem_calloc(1, sizeof *ev);
    if (!ev)
        return ERR_NOMEM;
    ev->kind = EVENT_LABEL_ADD;
    ev->at_us = clock_unix_us();
    ev->u.label.router_uid = router_uid;
    memcpy(ev->u.label.label, label, strlen(label));
    event_encode(ev, out);
    mem_free(ev);
    return buf_error(out);
}

void engine_learn_label(struct engine *e, uint32_t router_uid, const char *label)
{
    if (!label[0])
        return;
    if (atomic_fetch_add(&e->labels_in_flight, 1) >= LABELS_IN_FLIGHT_MAX) {
        atomic_fetch_sub(&e->labels_in_flight, 1);
        return; /* Another request of this label will ask again. */
    }
    struct label_item *l = mem_calloc(1, sizeof *l);
    if (!l) {
        atomic_fetch_sub(&e->labels_in_flight, 1);
        return;
    }
    l->engine = e;
    l->item.done = label_done;
    enum err err = encode_label(router_uid, label, &l->record);
    l->item.record = (struct slice){l->record.data, l->record.len};
    if (err == OK)
        err = inbox_put(e->inbox, &l->item);
    if (err != OK) {
        struct fold_result none = {0};
        label_done(&l->item, err, &none, 0);
    }
}

/* ---- small things ---- */

enum err engine_name(struct slice s, const char *what, char ret_name[NAME_CAP],
                     struct err_detail *detail)
{
    if (!name_valid(s.data, s.len))
        return err_say(detail, ERR_BAD_NAME, "the name of %s is not valid", what);
    memset(ret_name, 0, NAME_CAP);
    memcpy(ret_name, s.data, s.len);
    return OK;
}

enum err engine_find_router(const struct snapshot *s, struct slice name,
                            const struct router_view **ret_router, struct err_detail *detail)
{
    if (name.len == 0)
        name = (struct slice){"default", 7};
    char valid[NAME_CAP];
    TRY(engine_name(name, "the router", valid, detail));
    const struct router_view *r = snapshot_router(s, name.data, name.len);
    if (!r)
        return err_say(detail, ERR_ROUTER_NOT_FOUND, "there is no router `%s`", valid);
    *ret_router = r;
    return OK;
}

enum err engine_find_arm(const struct snapshot *s, struct slice router, struct slice arm,
                         const struct router_view **ret_router, uint32_t *ret_arm,
                         struct err_detail *detail)
{
    char name[NAME_CAP];
    TRY(engine_name(arm, "the arm", name, detail));
    TRY(engine_find_router(s, router, ret_router, detail));
    int k = router_view_arm(*ret_router, arm.data, arm.len);
    if (k < 0)
        return err_say(detail, ERR_ARM_NOT_FOUND, "router `%s` has no arm `%s`",
                       (*ret_router)->config->name, name);
    *ret_arm = (uint32_t)k;
    return OK;
}

enum err engine_unknown_decision(struct err_detail *detail)
{
    return err_say(detail, ERR_DECISION_NOT_FOUND, "this decision is not known here");
}

const struct snapshot *engine_snapshot_acquire(struct engine_worker *w)
{
    return published_acquire(w->engine->published);
}

void engine_snapshot_release(struct engine_worker *w)
{
    published_release(w->engine->published);
}

uint64_t engine_issued(struct engine *e, uint32_t uid)
{
    struct live_count *c = live_get(e->live, uid);
    return c ? atomic_load_explicit(&c->issued, memory_order_relaxed) : 0;
}

uint64_t engine_capped(struct engine *e, uint32_t router_uid, const char *source)
{
    return source_caps_refused(e->source_caps, router_uid, source_tag(source));
}

void engine_deferred(struct engine *e, uint32_t router_uid, uint64_t *ret_deferred,
                     uint64_t *ret_activated)
{
    struct live_count *c = live_get(e->live, router_uid);
    *ret_deferred = c ? atomic_load_explicit(&c->deferred, memory_order_relaxed) : 0;
    *ret_activated = c ? atomic_load_explicit(&c->activated, memory_order_relaxed) : 0;
}

void engine_issued_sides(struct engine *e, uint32_t router_uid, uint64_t ret_sides[2])
{
    struct live_count *c = live_get(e->live, router_uid);
    for (int side = 0; side < 2; side++)
        ret_sides[side] = c ? atomic_load_explicit(&c->sides[side], memory_order_relaxed) : 0;
}

struct engine_positions engine_positions(struct engine *e)
{
    uint64_t durable = ledger_durable(e->ledger);
    return (struct engine_positions){
        .journal = durable,
        .checkpoint = ledger_checkpoint_position(e->ledger),
        .folded = durable - writer_fold_lag(e->writer),
    };
}

struct engine_gauges engine_gauges(struct engine *e)
{
    return (struct engine_gauges){
        .inbox_depth = inbox_depth(e->inbox),
        .fold_lag = writer_fold_lag(e->writer),
        .audit_dropped = audit_dropped(e->audit),
        .journal_bytes = ledger_journal_bytes(e->ledger),
    };
}

void engine_on_commit(struct engine *e, void (*f)(void *ctx, double seconds, uint32_t records),
                      void *ctx)
{
    e->on_commit_ctx = ctx;
    e->on_commit = f;
}
