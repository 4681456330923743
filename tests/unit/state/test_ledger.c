#include "state/base/mem.h"
#include "state/base/rng.h"
#include "state/ledger.h"
#include "state/math/check.h"
#include "state/model/snapshot.h"
#include "state/model/transfer.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/store/scratch.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { D = 4 };
static const int64_t start_us = 1700000000000000;
static const int64_t hour_us = 3600 * 1000000LL;

struct scene {
    char dir[SCRATCH_CAP], data[SCRATCH_CAP];
    struct ledger_options o;
    struct ledger *l;
    struct ledger_recovery recovery;
    struct err_detail detail;
    uint32_t router, arm;
    uint64_t hash, ids;
    int64_t now_us;
    struct event event;
};

static void open_ledger(struct scene *s)
{
    if (ledger_open(&s->o, &s->l, &s->recovery, &s->detail) != OK)
        fail_msg("%s", s->detail.text);
}

static void reopen(struct scene *s)
{
    ledger_close(s->l);
    s->l = NULL;
    open_ledger(s);
}

static struct event *fresh(struct scene *s, enum event_kind kind)
{
    memset(&s->event, 0, sizeof s->event);
    s->event.kind = kind;
    s->event.at_us = s->now_us += 1000;
    return &s->event;
}

static struct buf record_of(const struct event *ev)
{
    struct buf b;
    buf_init(&b);
    event_encode(ev, &b);
    assert_int_equal(buf_error(&b), OK);
    return b;
}

static struct ledger_entry commit_one(struct scene *s)
{
    struct buf b = record_of(&s->event);
    struct ledger_entry entry = {.record = {b.data, b.len}};
    assert_int_equal(ledger_commit(s->l, &entry, 1, &s->detail), OK);
    buf_done(&b);
    return entry;
}

static void open_scene(struct scene *s)
{
    memset(s, 0, sizeof *s);
    s->now_us = start_us;
    scratch_make(s->dir);
    scratch_path(s->dir, "data", s->data);
    s->o = (struct ledger_options){.dir = s->data, .journal_keep_us = 720 * hour_us};
    open_ledger(s);
    assert_true(s->recovery.fresh);
    struct event *ev = fresh(s, EVENT_ROUTER_CREATE);
    settings_defaults(&ev->u.router, "r");
    ev->u.router.spec = (struct feature_spec){.features_n = D - 1};
    ev->u.router.settings.seed = 1;
    ev->u.router.settings.gamma = .98; /* What is recovered and verified has faded. */
    s->hash = spec_hash(&ev->u.router.spec);
    s->router = commit_one(s).result.uid;
    ev = fresh(s, EVENT_ARM_ADD);
    ev->u.arm.router_uid = s->router;
    strcpy(ev->u.arm.config.name, "a");
    s->arm = commit_one(s).result.uid;
    assert_int_equal(ledger_durable(s->l), 2);
}

static void close_scene(struct scene *s)
{
    ledger_close(s->l);
    scratch_remove(s->dir);
}

/* Outcome number n: always the same bytes. */
static struct buf outcome(struct scene *s, uint64_t n)
{
    struct event *ev = fresh(s, EVENT_OUTCOME);
    struct event_outcome *o = &ev->u.outcome;
    memcpy(o->decision.id, &n, sizeof n);
    o->decision.router_uid = s->router;
    o->decision.arm_uid = s->arm;
    o->decision.spec_hash = s->hash;
    o->decision.issued_us = start_us;
    o->decision.propensity = 1;
    o->decision.reason = REASON_EXPLOIT;
    o->decision.d = D;
    for (uint32_t i = 0; i < D; i++)
        o->decision.x[i] = i ? (float)rng_uniform(n, i) : 1;
    o->metrics_n = 1;
    o->metrics[0] = (struct outcome_metric){.index = 0, .raw = .5, .z = rng_uniform(n, 50)};
    return record_of(ev);
}

/* Commits outcomes first..first+n in one batch; all must be folded. */
static void learn(struct scene *s, uint64_t first, uint32_t n)
{
    struct ledger_entry *entries = calloc(n, sizeof *entries);
    struct buf *records = calloc(n, sizeof *records);
    assert_non_null(entries);
    assert_non_null(records);
    for (uint32_t i = 0; i < n; i++) {
        records[i] = outcome(s, first + i);
        entries[i].record = (struct slice){records[i].data, records[i].len};
    }
    uint64_t before = ledger_durable(s->l);
    assert_int_equal(ledger_commit(s->l, entries, n, &s->detail), OK);
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(entries[i].err, OK);
        assert_int_equal(entries[i].position, before + 1 + i);
        assert_int_equal(entries[i].result.counted_mask, 1);
        buf_done(&records[i]);
    }
    assert_int_equal(ledger_durable(s->l), before + n);
    free(entries);
    free(records);
}

static struct buf bytes_of(struct scene *s)
{
    struct buf b;
    buf_init(&b);
    assert_int_equal(ledger_encode(s->l, &b), OK);
    return b;
}

static void assert_same(struct buf *a, struct buf *b)
{
    assert_int_equal(a->len, b->len);
    assert_memory_equal(a->data, b->data, a->len);
    buf_done(a);
    buf_done(b);
}

static void checkpoint(struct scene *s)
{
    bool done = false;
    assert_int_equal(ledger_checkpoint_begin(s->l, s->now_us, &s->detail), OK);
    while (!done)
        assert_int_equal(ledger_checkpoint_step(s->l, &done, &s->detail), OK);
    assert_false(ledger_checkpoint_running(s->l));
}

static struct ledger_verdict verify(struct scene *s)
{
    struct buf b = bytes_of(s);
    struct ledger_verdict v;
    enum err e = ledger_verify(s->l, ledger_model(s->l)->position, (struct slice){b.data, b.len},
                               NULL, &v, &s->detail);
    if (e != OK)
        fail_msg("%s", s->detail.text);
    buf_done(&b);
    return v;
}

/* ---- what is committed stays ---- */

static void a_closed_and_opened_ledger_has_the_same_bytes(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s);
    for (uint64_t i = 0; i < 20; i++)
        learn(&s, i * 10, 10);
    struct buf before = bytes_of(&s);
    reopen(&s);
    assert_int_equal(s.recovery.position, 202);
    assert_int_equal(s.recovery.folded, 202);
    assert_int_equal(s.recovery.checkpoint_position, 0);
    assert_false(s.recovery.fresh);
    struct buf after = bytes_of(&s);
    assert_same(&before, &after);
    close_scene(&s);
}

static void a_checkpoint_and_the_tail_after_it_give_the_same_bytes(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s);
    learn(&s, 0, 100);
    checkpoint(&s);
    assert_int_equal(ledger_checkpoint_position(s.l), 102);
    learn(&s, 100, 37);
    struct buf before = bytes_of(&s);
    reopen(&s);
    assert_int_equal(s.recovery.checkpoint_position, 102);
    assert_int_equal(s.recovery.folded, 37);
    struct buf after = bytes_of(&s);
    assert_same(&before, &after);
    /* And what was counted before the checkpoint is still known as counted. */
    struct buf again = outcome(&s, 5);
    struct ledger_entry entry = {.record = {again.data, again.len}};
    assert_int_equal(ledger_commit(s.l, &entry, 1, &s.detail), OK);
    assert_true(entry.result.duplicate);
    assert_int_equal(entry.position, 0);
    buf_done(&again);
    close_scene(&s);
}

static void commits_go_on_while_a_checkpoint_is_written_in_steps(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s);
    learn(&s, 0, 2000);
    for (uint64_t i = 2000; i < 30000; i += 2000) /* Several megabytes of dedup entries. */
        learn(&s, i, 2000);
    assert_int_equal(ledger_checkpoint_begin(s.l, s.now_us, &s.detail), OK);
    uint64_t next = 30000, steps = 0;
    for (bool done = false; !done; steps++) {
        learn(&s, next++, 1);
        assert_int_equal(ledger_checkpoint_step(s.l, &done, &s.detail), OK);
    }
    assert_true(steps >= 3);
    assert_int_equal(ledger_checkpoint_position(s.l), 30002);
    struct buf before = bytes_of(&s);
    reopen(&s);
    assert_int_equal(s.recovery.checkpoint_position, 30002);
    assert_int_equal(s.recovery.folded, steps);
    struct buf after = bytes_of(&s);
    assert_same(&before, &after);
    close_scene(&s);
}

static void a_checkpoint_that_was_not_finished_leaves_the_one_before(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s);
    learn(&s, 0, 50);
    checkpoint(&s);
    learn(&s, 50, 50);
    bool done;
    assert_int_equal(ledger_checkpoint_begin(s.l, s.now_us, &s.detail), OK);
    assert_int_equal(ledger_checkpoint_step(s.l, &done, &s.detail), OK);
    assert_false(done);
    struct buf before = bytes_of(&s);
    reopen(&s);
    assert_int_equal(s.recovery.checkpoint_position, 52);
    struct buf after = bytes_of(&s);
    assert_same(&before, &after);
    checkpoint(&s);
    assert_int_equal(ledger_checkpoint_position(s.l), 102);
    close_scene(&s);
}

struct counted {
    uint64_t n, first, last;
};

static enum err count_record(void *ctx, uint64_t position, struct slice record)
{
    struct counted *c = ctx;
    assert_true(record.len > 0);
    c->first = c->n++ ? c->first : position;
    c->last = position;
    return OK;
}

/* Reports, steps of a checkpoint in between, and death after the k-th; 3: it was done by then. */
_Noreturn static void die_after_step(struct scene *s, uint64_t next, uint64_t k)
{
    bool done = false;
    open_ledger(s);
    if (ledger_checkpoint_begin(s->l, s->now_us, &s->detail) != OK)
        _exit(1);
    for (uint64_t i = 0; i < k; i++) {
        learn(s, next + i, 1);
        if (ledger_checkpoint_step(s->l, &done, &s->detail) != OK)
            _exit(2);
    }
    if (done)
        _exit(3);
    (void)raise(SIGKILL);
    _exit(4);
}

/* Whatever was there when it died, what is folded from a checkpoint is what is folded from nothing;
 * and the checkpoint is the former one or the new one. */
static void killed_after_any_step_of_a_checkpoint_it_starts_with_the_same_bytes(void **state)
{
    (void)state;
    struct scene s;
    uint64_t next = 0, fresh_ones = 0, former_ones = 0, k = 0;
    open_scene(&s);
    for (; next < 8000; next += 2000) /* Of several chunks. */
        learn(&s, next, 2000);
    checkpoint(&s);
    learn(&s, next++, 1);
    for (bool all = false; !all; k++) {
        uint64_t former = ledger_checkpoint_position(s.l), now = ledger_durable(s.l);
        ledger_close(s.l);
        s.l = NULL;
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
            die_after_step(&s, next, k);
        int status = 0;
        assert_int_equal(waitpid(child, &status, 0), child);
        all = WIFEXITED(status) && WEXITSTATUS(status) == 3;
        assert_true(all || (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL));
        next += k;
        open_ledger(&s);
        assert_int_equal(ledger_durable(s.l), now + k);
        uint64_t position = ledger_checkpoint_position(s.l);
        assert_true(position == former || position == now);
        former_ones += position == former;
        fresh_ones += position == now;
        assert_int_equal(s.recovery.folded, now + k - position);
        struct ledger_verdict v = verify(&s);
        if (!v.ok)
            fail_msg("%s", v.text);
        assert_int_equal(v.base_position, 0);
    }
    assert_true(k > 6 && former_ones > 3 && fresh_ones > 1);
    close_scene(&s);
}

static void the_journal_is_trimmed_in_steps(void **state)
{
    (void)state;
    struct scene s;
    uint64_t steps = 0;
    bool done;
    open_scene(&s);
    ledger_close(s.l);
    s.o.journal_max_bytes = 1;
    open_ledger(&s);
    for (uint64_t i = 0; i < 10000; i += 2000)
        learn(&s, i, 2000);
    checkpoint(&s);
    learn(&s, 10000, 1);
    assert_int_equal(ledger_tick(s.l, s.now_us, &s.detail), OK);
    for (; ledger_checkpoint_running(s.l); steps++)
        assert_int_equal(ledger_checkpoint_step(s.l, &done, &s.detail), OK);
    assert_true(steps > 1);
    struct counted c = {0};
    assert_int_equal(ledger_records(s.l, 0, UINT64_MAX, count_record, &c, &s.detail), OK);
    assert_int_equal(c.first, 10003);
    assert_int_equal(c.n, 1);
    assert_true(verify(&s).ok);
    close_scene(&s);
}

static void a_bad_record_in_a_batch_is_refused_and_the_others_are_journalled(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s);
    struct buf r[5] = {outcome(&s, 1), outcome(&s, 2), outcome(&s, 3), outcome(&s, 1)};
    struct event *ev = fresh(&s, EVENT_OUTCOME);
    ev->u.outcome.decision.router_uid = 99;
    ev->u.outcome.decision.propensity = 1;
    r[4] = record_of(ev);
    struct ledger_entry e[6] = {
        {.record = {r[0].data, r[0].len}}, {.record = {r[1].data, r[1].len - 1}},
        {.record = {r[2].data, r[2].len}}, {.record = {r[3].data, r[3].len}},
        {.record = {r[4].data, r[4].len}}, {.record = {"", 0}},
    };
    assert_int_equal(ledger_commit(s.l, e, 6, &s.detail), OK);
    assert_int_equal(e[0].err, OK);
    assert_int_equal(e[0].position, 3);
    assert_int_equal(e[1].err, ERR_CORRUPT);
    assert_int_equal(e[1].position, 0);
    assert_int_equal(e[2].err, OK);
    assert_int_equal(e[2].position, 4);
    assert_int_equal(e[3].err, OK); /* Twice in one batch: journalled, counted once. */
    assert_true(e[3].result.duplicate);
    assert_int_equal(e[4].err, ERR_DECISION_NOT_FOUND);
    assert_int_equal(e[5].err, ERR_CORRUPT);
    assert_int_equal(ledger_durable(s.l), 5);
    assert_int_equal(ledger_model(s.l)->routers[0]->outcomes_folded, 2);
    assert_true(verify(&s).ok);
    for (int i = 0; i < 5; i++)
        buf_done(&r[i]);
    close_scene(&s);
}

static void until_the_fold_a_batch_has_changed_nothing_that_is_learned(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s);
    struct buf before = bytes_of(&s);
    struct buf r[2] = {outcome(&s, 1), outcome(&s, 2)};
    struct ledger_entry e[2] = {{.record = {r[0].data, r[0].len}},
                                {.record = {r[1].data, r[1].len}}};
    assert_int_equal(ledger_prepare(s.l, e, 2), OK); /* And never appended. */
    struct buf after = bytes_of(&s);
    assert_same(&before, &after);
    before = bytes_of(&s);
    assert_int_equal(ledger_durable(s.l), 2);
    assert_int_equal(ledger_prepare(s.l, e, 1), OK);
    assert_int_equal(ledger_append(s.l, &s.detail), OK);
    assert_int_equal(ledger_durable(s.l), 3);
    after = bytes_of(&s);
    assert_same(&before, &after);
    ledger_fold(s.l, e);
    assert_int_equal(e[0].position, 3);
    assert_int_equal(ledger_model(s.l)->position, 3);
    assert_int_equal(ledger_model(s.l)->routers[0]->outcomes_folded, 1);
    assert_true(verify(&s).ok);
    buf_done(&r[0]);
    buf_done(&r[1]);
    close_scene(&s);
}

static void a_batch_of_nothing_but_refusals_writes_nothing(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s);
    learn(&s, 1, 1);
    struct buf r = outcome(&s, 1);
    struct ledger_entry e[2] = {{.record = {r.data, r.len}}, {.record = {"x", 1}}};
    assert_int_equal(ledger_commit(s.l, e, 2, &s.detail), OK);
    assert_true(e[0].result.duplicate);
    assert_int_equal(ledger_durable(s.l), 3);
    assert_int_equal(ledger_commit(s.l, e, 0, &s.detail), OK);
    buf_done(&r);
    close_scene(&s);
}

/* ---- verify ---- */

static void verify_folds_the_journal_again_and_agrees(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s);
    learn(&s, 0, 500);
    struct ledger_verdict v = verify(&s);
    assert_true(v.ok);
    assert_int_equal(v.base_position, 0);
    assert_int_equal(v.events, 502);
    assert_int_equal(v.position, 502);
    close_scene(&s);
}

static void verify_says_where_a_flipped_statistic_is(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s);
    learn(&s, 0, 50);
    double *b = &ledger_model(s.l)->routers[0]->arms[0]->metrics[0].b[2];
    uint64_t bits;
    memcpy(&bits, b, sizeof bits);
    bits ^= 1;
    memcpy(b, &bits, sizeof bits);
    struct ledger_verdict v = verify(&s);
    assert_false(v.ok);
    assert_non_null(strstr(v.text, "router 1 of 1"));
    close_scene(&s);
}

static void verify_can_be_cancelled(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s);
    learn(&s, 0, 10);
    struct buf b = bytes_of(&s);
    struct ledger_verdict v;
    _Atomic bool cancelled = true;
    assert_int_equal(
        ledger_verify(s.l, 12, (struct slice){b.data, b.len}, &cancelled, &v, &s.detail),
        ERR_CANCELLED);
    buf_done(&b);
    close_scene(&s);
}

static void a_trimmed_journal_still_verifies_from_its_base(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s);
    ledger_close(s.l);
    s.o.journal_keep_us = 1000; /* A millisecond. */
    open_ledger(&s);
    uint64_t last_base = 0;
    for (uint64_t round = 0; round < 8; round++) {
        learn(&s, round * 100, 100);
        s.now_us += 10000;
        checkpoint(&s);
        s.now_us += 10000;
        learn(&s, 10000 + round, 1);
        assert_int_equal(ledger_tick(s.l, s.now_us, &s.detail), OK);
        struct ledger_verdict v = verify(&s);
        if (!v.ok)
            fail_msg("%s", v.text);
        assert_true(v.base_position >= last_base);
        last_base = v.base_position;
        struct buf before = bytes_of(&s);
        reopen(&s);
        struct buf after = bytes_of(&s);
        assert_same(&before, &after);
    }
    assert_true(last_base > 300); /* It was trimmed, more than once. */
    close_scene(&s);
}

static void the_journal_is_read_again_from_a_time_on_and_from_its_base(void **state)
{
    (void)state;
    struct scene s;
    struct counted c = {0};
    uint64_t at, base;
    open_scene(&s);
    learn(&s, 0, 300);
    s.now_us += hour_us;
    int64_t later = s.now_us;
    learn(&s, 300, 50);
    assert_int_equal(ledger_records(s.l, 0, UINT64_MAX, count_record, &c, &s.detail), OK);
    assert_int_equal(c.n, 352);
    assert_int_equal(ledger_seek(s.l, later, &at, &s.detail), OK);
    assert_int_equal(at, 302); /* Router, arm and 300 outcomes came before. */
    assert_int_equal(ledger_seek(s.l, 0, &at, &s.detail), OK);
    assert_int_equal(at, 0);
    assert_int_equal(ledger_seek(s.l, later + hour_us, &at, &s.detail), OK);
    assert_int_equal(at, 352);
    struct buf bytes;
    buf_init(&bytes);
    assert_int_equal(ledger_base(s.l, &bytes, &base, &s.detail), OK);
    assert_int_equal(base, 0);
    assert_int_equal(bytes.len, 0);

    ledger_close(s.l);
    s.o.journal_max_bytes = 1;
    open_ledger(&s);
    checkpoint(&s);
    learn(&s, 350, 10);
    assert_int_equal(ledger_tick(s.l, s.now_us, &s.detail), OK);
    assert_int_equal(ledger_base(s.l, &bytes, &base, &s.detail), OK);
    assert_int_equal(base, 352);
    struct model *m = NULL;
    assert_int_equal(model_decode((struct slice){bytes.data, bytes.len}, &m, &s.detail), OK);
    assert_int_equal(m->position, 352);
    model_free(m);
    buf_done(&bytes);
    c = (struct counted){0};
    assert_int_equal(ledger_records(s.l, base + 1, UINT64_MAX, count_record, &c, &s.detail), OK);
    assert_int_equal(c.n, 10);
    assert_int_equal(c.last, 362);
    assert_int_equal(ledger_records(s.l, 5, 6, count_record, &c, &s.detail), ERR_NOT_FOUND);
    close_scene(&s);
}

static void a_journal_that_is_too_large_is_trimmed_although_it_is_young(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s);
    ledger_close(s.l);
    s.o.journal_max_bytes = 1;
    open_ledger(&s);
    learn(&s, 0, 300);
    checkpoint(&s);
    learn(&s, 300, 10);
    assert_int_equal(ledger_tick(s.l, s.now_us, &s.detail), OK);
    struct ledger_verdict v = verify(&s);
    assert_true(v.ok);
    assert_int_equal(v.base_position, 302);
    assert_int_equal(v.events, 10);
    assert_true(ledger_journal_bytes(s.l) > 0);
    close_scene(&s);
}

static void within_the_time_to_keep_nothing_is_trimmed(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s);
    for (uint64_t round = 0; round < 4; round++) {
        learn(&s, round * 20, 20);
        checkpoint(&s);
        s.now_us += hour_us;
        assert_int_equal(ledger_tick(s.l, s.now_us, &s.detail), OK);
    }
    assert_int_equal(verify(&s).base_position, 0);
    close_scene(&s);
}

static void a_backup_opens_with_what_was_durable(void **state)
{
    (void)state;
    struct scene s;
    char path[SCRATCH_CAP], again[SCRATCH_CAP];
    open_scene(&s);
    learn(&s, 0, 60);
    checkpoint(&s);
    learn(&s, 60, 5);
    scratch_path(s.dir, "copy", path);
    uint64_t position, size;
    assert_int_equal(ledger_backup(s.l, path, &position, &size, &s.detail), OK);
    assert_int_equal(position, 67);
    assert_true(size > 0);
    struct buf before = bytes_of(&s);
    learn(&s, 500, 5); /* Not in the copy. */
    ledger_close(s.l);
    scratch_path(s.dir, "again", again);
    assert_int_equal(store_restore(path, again, &s.detail), OK);
    s.o.dir = again;
    open_ledger(&s);
    struct buf after = bytes_of(&s);
    assert_same(&before, &after);
    close_scene(&s);
}

/* ---- without memory ---- */

static void when_an_allocation_fails_in_a_commit_nothing_is_half_done(void **state)
{
    (void)state;
#ifndef SHUNT_FAULTS
    skip();
#endif
    struct scene s;
    open_scene(&s);
    /* Enough that the dedup table must grow in the batch, and with it buffers. */
    enum { BATCH = 300 };
    struct buf r[BATCH];
    struct ledger_entry e[BATCH];
    uint64_t known = 0, failed = 0;
    for (long n = 1;; n++) {
        for (uint64_t i = 0; i < BATCH; i++) {
            r[i] = outcome(&s, (uint64_t)n * 1000 + i);
            e[i] = (struct ledger_entry){.record = {r[i].data, r[i].len}};
        }
        uint64_t durable = ledger_durable(s.l);
        mem_fail_nth(n);
        enum err err = ledger_commit(s.l, e, BATCH, &s.detail);
        bool reached = mem_count() >= n;
        mem_fail_nth(0);
        uint64_t counted = 0;
        for (int i = 0; i < BATCH; i++) {
            counted += err == OK && e[i].err == OK;
            assert_true(err != OK || e[i].err == OK || e[i].err == ERR_NOMEM);
            assert_true(err != OK || (e[i].err == OK) == (e[i].position > 0));
            buf_done(&r[i]);
        }
        failed += err != OK || counted < BATCH;
        assert_true(err == OK || err == ERR_NOMEM);
        assert_int_equal(ledger_durable(s.l), durable + counted);
        assert_int_equal(ledger_model(s.l)->position, durable + counted);
        known += counted;
        assert_int_equal(ledger_model(s.l)->routers[0]->outcomes_folded, known);
        if (!reached)
            break;
    }
    assert_true(failed > 0);
    struct ledger_verdict v = verify(&s);
    if (!v.ok)
        fail_msg("%s", v.text);
    close_scene(&s);
}

static void when_an_allocation_fails_in_a_new_router_or_arm_nothing_is_half_done(void **state)
{
    (void)state;
#ifndef SHUNT_FAULTS
    skip();
#endif
    struct scene s;
    open_scene(&s);
    for (int kind = 0; kind < 2; kind++) {
        struct event *ev = fresh(&s, kind ? EVENT_ARM_ADD : EVENT_ROUTER_CREATE);
        if (kind) {
            ev->u.arm.router_uid = s.router;
            strcpy(ev->u.arm.config.name, "b");
        } else {
            settings_defaults(&ev->u.router, "second");
        }
        struct buf r = record_of(ev);
        struct ledger_entry entry = {.record = {r.data, r.len}};
        uint64_t durable = ledger_durable(s.l);
        long n = 0;
        for (;;) {
            struct buf before = bytes_of(&s);
            mem_fail_nth(++n);
            enum err err = ledger_commit(s.l, &entry, 1, &s.detail);
            bool reached = mem_count() >= n;
            mem_fail_nth(0);
            if (err == OK && entry.err == OK) {
                buf_done(&before);
                assert_true(n > 1 && !reached);
                break;
            }
            assert_true(err == ERR_NOMEM || entry.err == ERR_NOMEM);
            assert_int_equal(ledger_durable(s.l), durable);
            struct buf after = bytes_of(&s);
            assert_same(&before, &after);
        }
        assert_int_equal(ledger_durable(s.l), durable + 1);
        buf_done(&r);
    }
    assert_true(verify(&s).ok);
    close_scene(&s);
}

static void when_an_allocation_fails_in_opening_nothing_is_left_open(void **state)
{
    (void)state;
#ifndef SHUNT_FAULTS
    skip();
#endif
    struct scene s;
    open_scene(&s);
    learn(&s, 0, 300);
    checkpoint(&s);
    learn(&s, 300, 5);
    struct buf before = bytes_of(&s);
    ledger_close(s.l);
    for (long n = 1;; n++) {
        s.l = NULL;
        mem_fail_nth(n);
        enum err e = ledger_open(&s.o, &s.l, &s.recovery, &s.detail);
        mem_fail_nth(0);
        if (e == OK)
            break;
        assert_int_equal(e, ERR_NOMEM);
        assert_null(s.l);
        assert_true(n < 200);
    }
    struct buf after = bytes_of(&s);
    assert_same(&before, &after);
    close_scene(&s);
}

static void admin_events_are_never_batched(void **state)
{
    (void)state;
    for (int kind = EVENT_OUTCOME; kind <= EVENT_RESIDENCY; kind++)
        assert_int_equal(ledger_batches((enum event_kind)kind),
                         kind == EVENT_OUTCOME || kind == EVENT_TALLY || kind == EVENT_LABEL_ADD ||
                             kind == EVENT_ACCOUNTS || kind == EVENT_SESSION);
}

/* An arm "b" that begins with these statistics; ret_durable: the journal after it. */
static enum err begin_with(struct scene *s, const struct buf *seed, uint64_t *ret_durable)
{
    struct event *ev = fresh(s, EVENT_ARM_ADD);
    ev->u.arm.router_uid = s->router;
    strcpy(ev->u.arm.config.name, "b");
    ev->u.arm.seed = (struct slice){seed->data, seed->len};
    enum err e = commit_one(s).err;
    *ret_durable = ledger_durable(s->l);
    return e;
}

static void statistics_that_do_not_fit_are_not_journalled(void **state)
{
    (void)state;
    struct scene s;
    uint64_t durable;
    struct buf b;
    open_scene(&s);
    const struct model *m = ledger_model(s.l);
    const struct router *r = model_router(m, s.router);
    struct router_config *other = malloc(sizeof *other);
    *other = r->config;
    other->metrics[0].max += 1;
    buf_init(&b);
    transfer_encode(r->arms[0], other, r->outcomes_folded, &b);
    assert_int_equal(begin_with(&s, &b, &durable), ERR_SPEC_MISMATCH);
    assert_int_equal(durable, 2);
    buf_reset(&b);
    transfer_encode(r->arms[0], &r->config, r->outcomes_folded, &b);
    b.len--;
    assert_int_equal(begin_with(&s, &b, &durable), ERR_CORRUPT);
    assert_int_equal(durable, 2);
    b.len++;
    assert_int_equal(begin_with(&s, &b, &durable), OK);
    assert_int_equal(durable, 3);
    reopen(&s);
    assert_int_equal(model_router(ledger_model(s.l), s.router)->arms_n, 2);
    buf_done(&b);
    free(other);
    close_scene(&s);
}

int main(void)
{
    (void)!blas_init(); /* Its threads, if it had any, would be seen by the sanitizer. */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_closed_and_opened_ledger_has_the_same_bytes),
        cmocka_unit_test(a_checkpoint_and_the_tail_after_it_give_the_same_bytes),
        cmocka_unit_test(commits_go_on_while_a_checkpoint_is_written_in_steps),
        cmocka_unit_test(a_checkpoint_that_was_not_finished_leaves_the_one_before),
        cmocka_unit_test(killed_after_any_step_of_a_checkpoint_it_starts_with_the_same_bytes),
        cmocka_unit_test(the_journal_is_trimmed_in_steps),
        cmocka_unit_test(a_bad_record_in_a_batch_is_refused_and_the_others_are_journalled),
        cmocka_unit_test(until_the_fold_a_batch_has_changed_nothing_that_is_learned),
        cmocka_unit_test(a_batch_of_nothing_but_refusals_writes_nothing),
        cmocka_unit_test(verify_folds_the_journal_again_and_agrees),
        cmocka_unit_test(verify_says_where_a_flipped_statistic_is),
        cmocka_unit_test(verify_can_be_cancelled),
        cmocka_unit_test(a_trimmed_journal_still_verifies_from_its_base),
        cmocka_unit_test(the_journal_is_read_again_from_a_time_on_and_from_its_base),
        cmocka_unit_test(a_journal_that_is_too_large_is_trimmed_although_it_is_young),
        cmocka_unit_test(within_the_time_to_keep_nothing_is_trimmed),
        cmocka_unit_test(a_backup_opens_with_what_was_durable),
        cmocka_unit_test(when_an_allocation_fails_in_a_commit_nothing_is_half_done),
        cmocka_unit_test(when_an_allocation_fails_in_a_new_router_or_arm_nothing_is_half_done),
        cmocka_unit_test(when_an_allocation_fails_in_opening_nothing_is_left_open),
        cmocka_unit_test(admin_events_are_never_batched),
        cmocka_unit_test(statistics_that_do_not_fit_are_not_journalled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
