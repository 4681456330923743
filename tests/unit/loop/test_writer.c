#include "server/loop/writer.h"
#include "state/base/mem.h"
#include "state/math/check.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/store/scratch.h"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>

enum { D = 2 };

struct scene {
    char dir[SCRATCH_CAP], data[SCRATCH_CAP];
    struct ledger *ledger;
    struct published *published;
    struct live *live;
    struct pacers *pacers;
    struct inbox *inbox;
    struct writer *writer;
    struct err_detail detail;
    struct event event;
    uint64_t hash;
    _Atomic int fatal;
    _Atomic uint32_t told; /* Accounts of sessions. */
    sem_t gate, at_gate;   /* on_commit stops here while `blocked`. */
    _Atomic bool blocked;
};

/* An item and its answer. */
struct sent {
    struct inbox_item item; /* First. */
    struct buf record;
    struct scene *scene;
    sem_t answered;
    enum err err;
    struct fold_result result;
    uint64_t position, published; /* As seen when it was answered. */
};

static void answered(struct inbox_item *item, enum err e, const struct fold_result *result,
                     uint64_t position)
{
    void *at = item;
    struct sent *s = at;
    s->err = e;
    s->result = *result;
    s->position = position;
    s->published = published_current(s->scene->published)->position;
    sem_post(&s->answered);
}

static void account_seen(void *ctx, const struct session_account *account)
{
    struct scene *s = ctx;
    assert_string_equal(account->name, "run");
    atomic_fetch_add(&s->told, 1);
}

static void commit_seen(void *ctx, double seconds, uint32_t records)
{
    struct scene *s = ctx;
    assert_true(seconds >= 0 && records > 0);
    if (atomic_load(&s->blocked)) {
        sem_post(&s->at_gate);
        sem_wait(&s->gate);
    }
}

static void count_fatal(void *ctx, const char *why)
{
    struct scene *s = ctx;
    (void)why;
    atomic_fetch_add(&s->fatal, 1);
}

static void start(struct scene *s, uint32_t capacity)
{
    struct ledger_options lo = {.dir = s->data, .journal_keep_us = 3600 * 1000000LL};
    struct ledger_recovery recovery;
    if (ledger_open(&lo, &s->ledger, &recovery, &s->detail) != OK)
        fail_msg("%s", s->detail.text);
    assert_int_equal(published_new(&s->published), OK);
    assert_int_equal(live_new(1024, 1000000, &s->live), OK);
    assert_int_equal(pacers_new(1024, 0, &s->pacers), OK);
    assert_int_equal(inbox_new(capacity, &s->inbox), OK);
    struct writer_options o = {
        .ledger = s->ledger,
        .published = s->published,
        .inbox = s->inbox,
        .live = s->live,
        .pacers = s->pacers,
        .checkpoint_every_events = 1000000,
        .checkpoint_every_us = 3600 * 1000000LL,
        .on_commit = commit_seen,
        .on_commit_ctx = s,
        .on_session = account_seen,
        .on_session_ctx = s,
        .fatal = count_fatal,
        .fatal_ctx = s,
    };
    assert_int_equal(writer_start(&o, &s->writer), OK);
}

static void stop(struct scene *s)
{
    writer_stop(s->writer);
    inbox_free(s->inbox);
    published_free(s->published);
    live_free(s->live);
    pacers_free(s->pacers);
    ledger_close(s->ledger);
}

static void open_scene(struct scene *s, uint32_t capacity)
{
    memset(s, 0, sizeof *s);
    scratch_make(s->dir);
    scratch_path(s->dir, "data", s->data);
    sem_init(&s->gate, 0, 0);
    sem_init(&s->at_gate, 0, 0);
    start(s, capacity);
}

static void close_scene(struct scene *s)
{
    stop(s);
    sem_destroy(&s->gate);
    sem_destroy(&s->at_gate);
    scratch_remove(s->dir);
}

/* fail_nth: of the allocations that the writer makes for it; 0: none fails. */
static enum err send_failing(struct scene *s, struct sent *sent, long fail_nth)
{
    memset(sent, 0, sizeof *sent);
    sent->scene = s;
    sem_init(&sent->answered, 0, 0);
    event_encode(&s->event, &sent->record);
    assert_int_equal(buf_error(&sent->record), OK);
    sent->item.record = (struct slice){sent->record.data, sent->record.len};
    sent->item.done = answered;
    mem_fail_nth(fail_nth);
    return inbox_put(s->inbox, &sent->item);
}

static enum err send_event(struct scene *s, struct sent *sent)
{
    return send_failing(s, sent, 0);
}

static void forget(struct sent *sent)
{
    buf_done(&sent->record);
    sem_destroy(&sent->answered);
}

static uint32_t send_and_wait(struct scene *s, enum err expected)
{
    struct sent sent;
    assert_int_equal(send_event(s, &sent), OK);
    sem_wait(&sent.answered);
    assert_int_equal(sent.err, expected);
    assert_true(expected != OK || sent.published >= sent.position);
    forget(&sent);
    return sent.result.uid;
}

static void make_router(struct scene *s, const char *name)
{
    memset(&s->event, 0, sizeof s->event);
    s->event.kind = EVENT_ROUTER_CREATE;
    settings_defaults(&s->event.u.router, name);
    s->event.u.router.spec = (struct feature_spec){.features_n = D - 1};
    s->hash = spec_hash(&s->event.u.router.spec);
}

static void make_arm(struct scene *s, uint32_t router, const char *name)
{
    memset(&s->event, 0, sizeof s->event);
    s->event.kind = EVENT_ARM_ADD;
    s->event.u.arm.router_uid = router;
    strcpy(s->event.u.arm.config.name, name);
}

static void make_outcome(struct scene *s, uint32_t router, uint32_t arm, uint64_t n)
{
    memset(&s->event, 0, sizeof s->event);
    s->event.kind = EVENT_OUTCOME;
    struct event_outcome *o = &s->event.u.outcome;
    memcpy(o->decision.id, &n, sizeof n);
    o->decision.router_uid = router;
    o->decision.arm_uid = arm;
    o->decision.spec_hash = s->hash;
    o->decision.propensity = 1;
    o->decision.d = D;
    o->decision.x[0] = 1;
    o->metrics_n = 1;
    o->metrics[0].z = .5;
}

/* ---- */

static void an_item_is_answered_after_its_publication(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, 100);
    make_router(&s, "r");
    uint32_t router = send_and_wait(&s, OK);
    make_arm(&s, router, "a");
    uint32_t arm = send_and_wait(&s, OK);
    assert_non_null(live_get(s.live, arm));
    for (uint64_t n = 0; n < 50; n++) {
        make_outcome(&s, router, arm, n);
        send_and_wait(&s, OK);
    }
    assert_int_equal(writer_fold_lag(s.writer), 0);
    make_outcome(&s, router + 100, arm, 99);
    send_and_wait(&s, ERR_DECISION_NOT_FOUND);
    make_router(&s, "r");
    send_and_wait(&s, ERR_ROUTER_EXISTS);
    close_scene(&s);
}

static void while_a_commit_runs_the_inbox_fills_and_then_refuses(void **state)
{
    (void)state;
    struct scene s;
    struct sent first, waiting, refused;
    open_scene(&s, 1);
    make_router(&s, "r");
    uint32_t router = send_and_wait(&s, OK);
    make_arm(&s, router, "a");
    uint32_t arm = send_and_wait(&s, OK);
    atomic_store(&s.blocked, true);
    make_outcome(&s, router, arm, 1);
    assert_int_equal(send_event(&s, &first), OK);
    sem_wait(&s.at_gate); /* The writer has it and stands in its commit. */
    make_outcome(&s, router, arm, 2);
    assert_int_equal(send_event(&s, &waiting), OK);
    make_outcome(&s, router, arm, 3);
    assert_int_equal(send_event(&s, &refused), ERR_QUEUE_FULL);
    assert_int_equal(inbox_depth(s.inbox), 1);
    assert_int_equal(writer_fold_lag(s.writer), 1); /* Durable, not yet published. */
    atomic_store(&s.blocked, false);
    sem_post(&s.gate);
    sem_wait(&first.answered);
    sem_wait(&waiting.answered);
    assert_int_equal(first.err, OK);
    assert_int_equal(waiting.err, OK);
    assert_int_not_equal(sem_trywait(&refused.answered), 0);
    forget(&first);
    forget(&waiting);
    forget(&refused);
    close_scene(&s);
}

/* The first outcome stands in its commit, the second waits in the inbox; and nobody will be waited
 * for, since who was just answered did not come again. */
static void stand_in_a_commit(struct scene *s, struct sent *first, struct sent *second)
{
    struct sent before;
    open_scene(s, 100);
    make_router(s, "r");
    uint32_t router = send_and_wait(s, OK);
    make_arm(s, router, "a");
    uint32_t arm = send_and_wait(s, OK);
    atomic_store(&s->blocked, true);
    make_outcome(s, router, arm, 0);
    assert_int_equal(send_event(s, &before), OK);
    sem_wait(&s->at_gate);
    make_outcome(s, router, arm, 1);
    assert_int_equal(send_event(s, first), OK);
    sem_post(&s->gate);
    sem_wait(&before.answered);
    assert_int_equal(before.err, OK);
    forget(&before);
    sem_wait(&s->at_gate);
    make_outcome(s, router, arm, 2);
    assert_int_equal(send_event(s, second), OK);
}

static void a_batch_is_published_and_answered_while_the_next_one_is_committed(void **state)
{
    (void)state;
    struct scene s;
    struct sent first, second;
    stand_in_a_commit(&s, &first, &second);
    sem_post(&s.gate);
    sem_wait(&s.at_gate); /* The second is durable, and nothing more yet. */
    sem_wait(&first.answered);
    assert_int_equal(first.err, OK);
    assert_int_equal(first.published, first.position);
    assert_int_equal(ledger_durable(s.ledger), first.position + 1);
    assert_int_equal(writer_fold_lag(s.writer), 1);
    assert_int_not_equal(sem_trywait(&second.answered), 0);
    atomic_store(&s.blocked, false);
    sem_post(&s.gate);
    sem_wait(&second.answered);
    assert_int_equal(second.err, OK);
    assert_int_equal(second.position, first.position + 1);
    assert_true(second.published >= second.position);
    forget(&first);
    forget(&second);
    close_scene(&s);
}

static void a_commit_that_fails_leaves_the_batch_before_it_alone(void **state)
{
    (void)state;
    struct scene s;
    struct sent first, second, third;
    struct rlimit old;
    (void)signal(SIGXFSZ, SIG_IGN);
    stand_in_a_commit(&s, &first, &second);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    struct rlimit tight = {8192, old.rlim_max}; /* Room for LMDB's two first pages. */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    atomic_store(&s.blocked, false);
    sem_post(&s.gate);
    sem_wait(&first.answered);
    sem_wait(&second.answered);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(first.err, OK);
    assert_true(first.published >= first.position);
    assert_int_equal(second.err, ERR_DISK_FULL);
    assert_int_equal(second.published, first.position);
    assert_int_equal(ledger_durable(s.ledger), first.position);
    assert_int_equal(send_event(&s, &third), OK); /* Now there is room for it. */
    sem_wait(&third.answered);
    assert_int_equal(third.err, OK);
    assert_int_equal(third.position, first.position + 1);
    assert_int_equal(atomic_load(&s.fatal), 0);
    forget(&first);
    forget(&second);
    forget(&third);
    stop(&s);
    start(&s, 100);
    assert_int_equal(ledger_model(s.ledger)->routers[0]->outcomes_folded, 3);
    close_scene(&s);
}

static void administrative_events_of_one_batch_see_one_another(void **state)
{
    (void)state;
    struct scene s;
    struct sent first, a[3];
    open_scene(&s, 100);
    make_router(&s, "r");
    uint32_t router = send_and_wait(&s, OK);
    atomic_store(&s.blocked, true);
    make_arm(&s, router, "x");
    assert_int_equal(send_event(&s, &first), OK);
    sem_wait(&s.at_gate);
    for (int i = 0; i < 3; i++) { /* These come in one batch. */
        make_arm(&s, router, i == 1 ? "b" : "a");
        assert_int_equal(send_event(&s, &a[i]), OK);
    }
    atomic_store(&s.blocked, false);
    sem_post(&s.gate);
    sem_wait(&first.answered);
    static const enum err expected[] = {OK, OK, ERR_ARM_EXISTS};
    for (int i = 0; i < 3; i++) {
        sem_wait(&a[i].answered);
        assert_int_equal(a[i].err, expected[i]);
        forget(&a[i]);
    }
    forget(&first);
    close_scene(&s);
}

static void what_waits_when_the_writer_stops_is_still_answered(void **state)
{
    (void)state;
    struct scene s;
    struct sent first, waiting[20], late;
    open_scene(&s, 100);
    make_router(&s, "r");
    uint32_t router = send_and_wait(&s, OK);
    make_arm(&s, router, "a");
    uint32_t arm = send_and_wait(&s, OK);
    atomic_store(&s.blocked, true);
    make_outcome(&s, router, arm, 100);
    assert_int_equal(send_event(&s, &first), OK);
    sem_wait(&s.at_gate);
    for (uint64_t i = 0; i < 20; i++) {
        make_outcome(&s, router, arm, i);
        assert_int_equal(send_event(&s, &waiting[i]), OK);
    }
    inbox_close(s.inbox);
    make_outcome(&s, router, arm, 101);
    assert_int_equal(send_event(&s, &late), ERR_SHUTTING_DOWN);
    atomic_fetch_add(&live_get(s.live, router)->issued, 21);
    atomic_fetch_add(&live_get(s.live, arm)->issued, 21);
    atomic_store(&s.blocked, false);
    sem_post(&s.gate);
    stop(&s);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(sem_trywait(&waiting[i].answered), 0);
        assert_int_equal(waiting[i].err, OK);
        forget(&waiting[i]);
    }
    forget(&first);
    forget(&late);
    start(&s, 100); /* With the counters of the end, from a checkpoint of the end. */
    assert_int_equal(atomic_load(&live_get(s.live, arm)->issued), 21);
    assert_int_equal(atomic_load(&live_get(s.live, router)->issued), 21);
    assert_int_equal(ledger_checkpoint_position(s.ledger), ledger_durable(s.ledger));
    const struct router *r = ledger_model(s.ledger)->routers[0];
    assert_int_equal(r->outcomes_folded, 21);
    close_scene(&s);
}

/* Runs at the end of the commit that could not be published; then memory is there again. */
static void a_publication_that_failed_is_made_up_before_the_answer(void **state)
{
    (void)state;
#ifndef SHUNT_FAULTS
    skip();
#endif
    struct scene s;
    struct sent sent;
    open_scene(&s, 100);
    make_router(&s, "r");
    uint32_t router = send_and_wait(&s, OK);
    make_arm(&s, router, "a");
    uint32_t arm = send_and_wait(&s, OK);
    for (uint64_t n = 0; n < 5; n++) {
        atomic_store(&s.blocked, true);
        make_outcome(&s, router, arm, n);
        assert_int_equal(send_event(&s, &sent), OK);
        sem_wait(&s.at_gate); /* Committed; the snapshot is what it allocates next. */
        mem_fail_nth((long)n + 1);
        atomic_store(&s.blocked, false);
        sem_post(&s.gate);
        sem_wait(&sent.answered);
        mem_fail_nth(0);
        assert_int_equal(sent.err, OK);
        assert_true(sent.published >= sent.position);
        forget(&sent);
    }
    close_scene(&s);
}

/* It is durable: an account that did not hear of it would stay as it was. */
static void sessions_hear_of_a_batch_that_cannot_be_published(void **state)
{
    (void)state;
#ifndef SHUNT_FAULTS
    skip();
#endif
    struct scene s;
    struct sent sent;
    open_scene(&s, 100);
    make_router(&s, "r");
    uint32_t router = send_and_wait(&s, OK);
    memset(&s.event, 0, sizeof s.event);
    s.event.kind = EVENT_SESSION;
    s.event.at_us = 1700000000000000;
    s.event.u.session.router_uid = router;
    memcpy(s.event.u.session.name, "run", 4);
    s.event.u.session.metric = 2; /* cost_usd */
    s.event.u.session.budget = 1000;
    s.event.u.session.amount = 10;
    s.event.u.session.ttl_us = 3600 * 1000000LL;
    atomic_store(&s.blocked, true);
    assert_int_equal(send_event(&s, &sent), OK);
    sem_wait(&s.at_gate); /* Committed; the snapshot is what it allocates next. */
    mem_fail_from(1);
    atomic_store(&s.blocked, false);
    sem_post(&s.gate);
    sem_wait(&sent.answered);
    mem_fail_nth(0);
    assert_int_equal(sent.err, ERR_NOMEM);
    assert_true(sent.published < ledger_durable(s.ledger));
    assert_int_equal(atomic_load(&s.told), 1);
    forget(&sent);
    close_scene(&s);
}

static void a_router_is_created_with_its_counters_or_not_at_all(void **state)
{
    (void)state;
#ifndef SHUNT_FAULTS
    skip();
#endif
    struct scene s;
    struct sent sent;
    bool reached = true;
    for (long n = 1; reached; n++) { /* Each on a server of its own: what was reserved stays. */
        open_scene(&s, 100);
        make_router(&s, "r");
        assert_int_equal(send_failing(&s, &sent, n), OK);
        sem_wait(&sent.answered);
        reached = mem_count() >= n;
        mem_fail_nth(0);
        if (sent.err == OK) {
            assert_non_null(live_get(s.live, sent.result.uid));
        } else {
            assert_int_equal(sent.err, ERR_NOMEM);
            assert_int_equal(ledger_durable(s.ledger), 0);
        }
        assert_true(n > 8 || reached);
        forget(&sent);
        close_scene(&s);
    }
}

struct commanded {
    struct writer_command command; /* First. */
    sem_t answered;
    enum err err;
    uint64_t position;
};

static void command_answered(struct inbox_item *item, enum err e, const struct fold_result *result,
                             uint64_t position)
{
    void *at = item;
    struct commanded *c = at;
    (void)result;
    c->err = e;
    c->position = position;
    sem_post(&c->answered);
}

static uint64_t command(struct scene *s, enum writer_command_kind kind, struct buf *out)
{
    struct commanded c;
    memset(&c, 0, sizeof c);
    sem_init(&c.answered, 0, 0);
    c.command.kind = kind;
    c.command.out = out;
    c.command.item.done = command_answered;
    assert_int_equal(inbox_put(s->inbox, &c.command.item), OK);
    sem_wait(&c.answered);
    sem_destroy(&c.answered);
    assert_int_equal(c.err, OK);
    return c.position;
}

static void commands_cover_all_that_was_answered_before_them(void **state)
{
    (void)state;
    struct scene s;
    struct buf bytes;
    struct ledger_verdict v;
    open_scene(&s, 100);
    buf_init(&bytes);
    make_router(&s, "r");
    uint32_t router = send_and_wait(&s, OK);
    make_arm(&s, router, "a");
    uint32_t arm = send_and_wait(&s, OK);
    for (uint64_t n = 0; n < 5; n++) {
        make_outcome(&s, router, arm, n);
        send_and_wait(&s, OK);
        uint64_t durable = ledger_durable(s.ledger);
        assert_int_equal(command(&s, WRITER_CHECKPOINT, NULL), durable);
        assert_int_equal(ledger_checkpoint_position(s.ledger), durable);
        buf_reset(&bytes);
        assert_int_equal(command(&s, WRITER_ENCODE, &bytes), durable);
        assert_int_equal(ledger_verify(s.ledger, durable, (struct slice){bytes.data, bytes.len},
                                       NULL, &v, &s.detail),
                         OK);
        assert_true(v.ok);
    }
    buf_done(&bytes);
    close_scene(&s);
}

/* Whatever allocation fails from when on: what is durable is answered as done. */
static void a_source_is_forgotten_once_that_is_durable_and_shown_later(void **state)
{
    (void)state;
#ifndef SHUNT_FAULTS
    skip();
#endif
    struct scene s;
    struct event_forget what = {.source = "judge"};
    bool reached = true, refused = false, late = false;
    open_scene(&s, 100);
    published_register_thread();
    make_router(&s, "r");
    uint32_t router = send_and_wait(&s, OK);
    make_arm(&s, router, "a");
    (void)send_and_wait(&s, OK);
    for (long n = 1; reached; n++) {
        struct commanded c;
        struct ledger_forgotten so_far;
        memset(&c, 0, sizeof c);
        sem_init(&c.answered, 0, 0);
        c.command.kind = WRITER_FORGET;
        c.command.item.done = command_answered;
        assert_int_equal(ledger_forget_begin(s.ledger, &what, false, NULL, &c.command.forget,
                                             &so_far, &s.detail),
                         OK);
        uint64_t before = ledger_durable(s.ledger);
        mem_fail_from(n);
        assert_int_equal(inbox_put(s.inbox, &c.command.item), OK);
        sem_wait(&c.answered);
        reached = mem_count() >= n;
        bool shown = published_acquire(s.published)->position > before;
        published_release(s.published);
        mem_fail_nth(0);
        assert_int_equal(c.err == OK, ledger_durable(s.ledger) > before);
        refused = refused || c.err != OK;
        late = late || (c.err == OK && !shown);
        ledger_forget_free(s.ledger, c.command.forget);
        sem_destroy(&c.answered);
        assert_true(n < 500);
        (void)command(&s, WRITER_CHECKPOINT, NULL); /* The loop is through: no memory is missing. */
        assert_int_equal(writer_fold_lag(s.writer), 0);
    }
    assert_true(refused);
    assert_true(late);
    assert_int_equal(atomic_load(&s.fatal), 0);
    published_unregister_thread();
    close_scene(&s);
}

int main(void)
{
    (void)!blas_init(); /* Its threads, if it had any, would be seen by the sanitizer. */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_item_is_answered_after_its_publication),
        cmocka_unit_test(while_a_commit_runs_the_inbox_fills_and_then_refuses),
        cmocka_unit_test(a_batch_is_published_and_answered_while_the_next_one_is_committed),
        cmocka_unit_test(a_commit_that_fails_leaves_the_batch_before_it_alone),
        cmocka_unit_test(administrative_events_of_one_batch_see_one_another),
        cmocka_unit_test(what_waits_when_the_writer_stops_is_still_answered),
        cmocka_unit_test(a_publication_that_failed_is_made_up_before_the_answer),
        cmocka_unit_test(sessions_hear_of_a_batch_that_cannot_be_published),
        cmocka_unit_test(a_router_is_created_with_its_counters_or_not_at_all),
        cmocka_unit_test(commands_cover_all_that_was_answered_before_them),
        cmocka_unit_test(a_source_is_forgotten_once_that_is_durable_and_shown_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
