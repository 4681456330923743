/* A source is forgotten: what is known equals what a ledger knows that it never reported to. */
#include "state/base/mem.h"
#include "state/base/rng.h"
#include "state/ledger.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/store/scratch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { D = 4, REWARD = 0, COST = 2, BATCH = 7 };
static const int64_t start_us = 1700000000000000;
static const int64_t step_us = 10000;
static const int64_t wait_us = 1000000; /* reward_wait_s */

struct scene {
    char dir[SCRATCH_CAP], data[SCRATCH_CAP];
    struct ledger_options o;
    struct ledger *l;
    struct err_detail detail;
    bool poisoned;     /* Whether `judge` reports, too. */
    bool human_is_off; /* Whether `human` does not. */
    uint32_t router, arms[2];
    uint64_t hash;
    int64_t now_us;
    struct event event;
    struct buf records[BATCH];
    uint32_t n;
    uint64_t by_judge, duplicates;
};

static void open_ledger(struct scene *s)
{
    struct ledger_recovery recovery;
    if (ledger_open(&s->o, &s->l, &recovery, &s->detail) != OK)
        fail_msg("%s", s->detail.text);
}

static void reopen(struct scene *s)
{
    ledger_close(s->l);
    s->l = NULL;
    open_ledger(s);
}

static void commit(struct scene *s)
{
    struct ledger_entry entries[BATCH];
    memset(entries, 0, sizeof entries);
    for (uint32_t i = 0; i < s->n; i++)
        entries[i].record = (struct slice){s->records[i].data, s->records[i].len};
    if (ledger_commit(s->l, entries, s->n, &s->detail) != OK)
        fail_msg("%s", s->detail.text);
    for (uint32_t i = 0; i < s->n; i++) {
        if (entries[i].err != OK)
            fail_msg("record %u of a batch: %s", i, err_code(entries[i].err));
        s->duplicates += entries[i].result.duplicate;
        buf_done(&s->records[i]);
    }
    s->n = 0;
}

static void queue(struct scene *s)
{
    struct buf *b = &s->records[s->n++];
    buf_init(b);
    event_encode(&s->event, b);
    assert_int_equal(buf_error(b), OK);
    if (s->n == BATCH)
        commit(s);
}

static struct event *fresh(struct scene *s, enum event_kind kind)
{
    memset(&s->event, 0, sizeof s->event);
    s->event.kind = kind;
    s->event.at_us = s->now_us;
    return &s->event;
}

static uint32_t declare(struct scene *s)
{
    struct fold_result r;
    if (s->n)
        commit(s);
    uint32_t uid = ledger_model(s->l)->next_uid;
    assert_int_equal(fold_check(ledger_model(s->l), &s->event, &r), OK);
    queue(s);
    commit(s);
    return uid;
}

static void open_scene(struct scene *s, bool poisoned, enum aggregation aggregation)
{
    memset(s, 0, sizeof *s);
    s->poisoned = poisoned;
    s->now_us = start_us;
    scratch_make(s->dir);
    scratch_path(s->dir, "data", s->data);
    s->o = (struct ledger_options){.dir = s->data, .journal_keep_us = 720 * 3600 * 1000000LL};
    open_ledger(s);
    struct event *ev = fresh(s, EVENT_ROUTER_CREATE);
    settings_defaults(&ev->u.router, "r");
    ev->u.router.spec = (struct feature_spec){.features_n = D - 1};
    s->hash = spec_hash(&ev->u.router.spec);
    struct router_settings *settings = &ev->u.router.settings;
    settings->seed = 1;
    settings->gamma = .995; /* When something was learned matters. */
    settings->drift_policy = DRIFT_WIDEN;
    settings->reward_wait_s = (double)wait_us * 1e-6;
    settings->cooldown_failures = 4;
    settings->aggregation = aggregation;
    strcpy(settings->budget_metric, "cost_usd");
    settings->budget_per_request = .5;
    s->router = declare(s);
    for (int i = 0; i < 2; i++) {
        ev = fresh(s, EVENT_ARM_ADD);
        ev->u.arm.router_uid = s->router;
        strcpy(ev->u.arm.config.name, i ? "b" : "a");
        s->arms[i] = declare(s);
    }
}

static void close_scene(struct scene *s)
{
    for (uint32_t i = 0; i < s->n; i++)
        buf_done(&s->records[i]);
    ledger_close(s->l);
    scratch_remove(s->dir);
}

static int64_t issued_us(uint64_t n)
{
    return start_us + (int64_t)n * step_us;
}

/* Report of decision n; z < 0: of no such metric. */
static struct event_outcome *report(struct scene *s, uint64_t n, const char *source, double reward,
                                    double cost)
{
    struct event_outcome *o = &fresh(s, EVENT_OUTCOME)->u.outcome;
    memcpy(o->decision.id, &n, sizeof n);
    o->decision.router_uid = s->router;
    o->decision.arm_uid = s->arms[n / 3 % 2];
    o->decision.spec_hash = s->hash;
    o->decision.issued_us = issued_us(n);
    o->decision.propensity = 1;
    o->decision.reason = REASON_EXPLOIT;
    o->decision.d = D;
    for (uint32_t i = 0; i < D; i++)
        o->decision.x[i] = i ? (float)rng_uniform(n, i) : 1;
    o->piece = n * 7 + (uint64_t)source[0] + 1;
    strcpy(o->source, source);
    if (reward >= 0)
        o->metrics[o->metrics_n++] = (struct outcome_metric){REWARD, reward, reward};
    if (cost >= 0)
        o->metrics[o->metrics_n++] = (struct outcome_metric){COST, cost, cost};
    return o;
}

static void judge(struct scene *s, uint64_t n, double reward, double cost)
{
    if (!s->poisoned)
        return;
    report(s, n, "judge", reward, cost);
    queue(s);
    s->by_judge++;
}

static void others(struct scene *s, uint64_t n, const char *source, double reward, double cost)
{
    if (s->human_is_off && strcmp(source, "human") == 0)
        return;
    report(s, n, source, reward, cost);
    queue(s);
}

static void give_default(struct scene *s, uint64_t n)
{
    report(s, n, SOURCE_DEFAULT, .5, -1)->piece = 1;
    queue(s);
}

/* Decision n and what is said of it: by everybody in every order, over 1.2 seconds. */
static void live(struct scene *s, uint64_t n)
{
    double z = rng_uniform(n, 60), lie = n % 2 ? 1 : 0;
    s->now_us = issued_us(n) + 1000;
    switch (n % 10) {
    case 0:
        judge(s, n, lie, 1);
        break;
    case 1: /* It was faster than somebody else, who says more. */
        judge(s, n, lie, -1);
        others(s, n, "human", z, .25);
        break;
    case 2: /* It came second. */
        others(s, n, "human", z, -1);
        judge(s, n, lie, .75);
        break;
    case 3:
        judge(s, n, lie, -1);
        others(s, n, "", z, .5);
        others(s, n, "", z, .5); /* Sent again. */
        break;
    case 4: /* Nobody else; later a default, which it has beaten. */
        judge(s, n, lie, -1);
        break;
    case 5:
        others(s, n, "other", -1, z);
        judge(s, n, lie, -1);
        others(s, n, "human", z, -1);
        break;
    case 6:
        judge(s, n, -1, 1);
        report(s, n, "other", z, .125)->status = OUTCOME_ERROR;
        queue(s);
        break;
    case 7:
        others(s, n, "", z, -1);
        break;
    default:
        others(s, n, "human", z, .25);
    }
    if (n >= 110 && (n - 110) % 10 == 4) {
        s->now_us = issued_us(n) + 2000;
        give_default(s, n - 110);
    }
    if (n % 50 == 49) {
        struct event_tally *t = &fresh(s, EVENT_TALLY)->u.tally;
        *t = (struct event_tally){.router_uid = s->router, .requests = n};
        queue(s);
    }
}

static void live_through(struct scene *s, uint64_t from, uint64_t to)
{
    for (uint64_t n = from; n < to; n++)
        live(s, n);
    if (s->n)
        commit(s);
}

static void checkpoint(struct scene *s)
{
    bool done = false;
    assert_int_equal(ledger_checkpoint_begin(s->l, s->now_us, &s->detail), OK);
    while (!done)
        assert_int_equal(ledger_checkpoint_step(s->l, &done, &s->detail), OK);
}

/* All that is known, but for what must differ: how many records there were, and that a source was
 * forgotten. */
static struct buf known(struct scene *s)
{
    struct buf bytes, plain;
    struct model *m = NULL;
    buf_init(&bytes);
    buf_init(&plain);
    assert_int_equal(ledger_encode(s->l, &bytes), OK);
    assert_int_equal(model_decode((struct slice){bytes.data, bytes.len}, &m, &s->detail), OK);
    m->position = m->ignored = m->forgot_at = 0;
    for (uint32_t i = 0; i < m->routers_n; i++) {
        memset(&m->routers[i]->sources, 0, sizeof m->routers[i]->sources);
        dedup_done(&m->routers[i]->marks);
    }
    model_encode(m, &plain);
    assert_int_equal(buf_error(&plain), OK);
    model_free(m);
    buf_done(&bytes);
    return plain;
}

static bool same(struct scene *a, struct scene *b)
{
    struct buf x = known(a), y = known(b);
    bool equal = x.len == y.len && memcmp(x.data, y.data, x.len) == 0;
    buf_done(&x);
    buf_done(&y);
    return equal;
}

static void assert_verified(struct scene *s)
{
    struct buf b;
    struct ledger_verdict v;
    buf_init(&b);
    assert_int_equal(ledger_encode(s->l, &b), OK);
    if (ledger_verify(s->l, ledger_model(s->l)->position, (struct slice){b.data, b.len}, NULL, &v,
                      &s->detail) != OK)
        fail_msg("%s", s->detail.text);
    if (!v.ok)
        fail_msg("%s", v.text);
    buf_done(&b);
}

static struct event_forget what_of(const struct scene *s, const char *source)
{
    struct event_forget what;
    memset(&what, 0, sizeof what);
    what.router_uid = s->router;
    strcpy(what.source, source);
    return what;
}

static struct ledger_forget *begin(struct scene *s, const char *source, bool partial)
{
    struct ledger_forget *f = NULL;
    struct ledger_forgotten so_far;
    struct event_forget what = what_of(s, source);
    if (ledger_forget_begin(s->l, &what, partial, NULL, &f, &so_far, &s->detail) != OK)
        fail_msg("%s", s->detail.text);
    return f;
}

static struct ledger_forgotten finish(struct scene *s, struct ledger_forget *f)
{
    struct ledger_forgotten r;
    if (ledger_forget_commit(s->l, f, s->now_us, &r, &s->detail) != OK)
        fail_msg("%s", s->detail.text);
    ledger_forget_free(s->l, f);
    assert_int_equal(r.position, ledger_durable(s->l));
    return r;
}

static struct ledger_forgotten forget(struct scene *s, const char *source)
{
    return finish(s, begin(s, source, false));
}

static const struct source_count *count_of(struct scene *s, const char *source)
{
    return source_counts_find(&model_router(ledger_model(s->l), s->router)->sources, source);
}

/* ---- equal to never having seen it ---- */

static void forget_equals(enum aggregation aggregation)
{
    struct scene s, clean;
    open_scene(&s, true, aggregation);
    open_scene(&clean, false, aggregation);
    live_through(&s, 0, 600);
    live_through(&clean, 0, 600);
    assert_false(same(&s, &clean));
    assert_verified(&s);
    struct ledger_forgotten r = forget(&s, "judge");
    assert_true(r.taken > 300);
    assert_true(r.taken <= s.by_judge);
    assert_int_equal(r.before_base, 0);
    assert_int_equal(count_of(&s, "judge")->forgotten, r.taken);
    assert_int_equal(count_of(&s, "judge")->folded, 0);
    assert_true(same(&s, &clean));
    assert_verified(&s);
    reopen(&s); /* Without a checkpoint: the journal alone says it. */
    assert_true(same(&s, &clean));
    assert_verified(&s);
    live_through(&clean, 600, 700); /* It is said no more. */
    s.poisoned = false;
    live_through(&s, 600, 700);
    checkpoint(&s);
    reopen(&s);
    assert_true(same(&s, &clean));
    assert_verified(&s);
    close_scene(&s);
    close_scene(&clean);
}

static void what_a_forgotten_source_said_leaves_no_trace_in_the_statistics(void **unused)
{
    (void)unused;
    forget_equals(AGGREGATE_FIRST);
}

static void nor_where_reports_are_averaged(void **unused)
{
    (void)unused;
    forget_equals(AGGREGATE_MEAN);
}

static void reports_that_come_while_it_is_folded_anew_are_all_there(void **unused)
{
    (void)unused;
    struct scene s, clean;
    open_scene(&s, true, AGGREGATE_FIRST);
    open_scene(&clean, false, AGGREGATE_FIRST);
    live_through(&s, 0, 200);
    checkpoint(&s);
    struct ledger_forget *f = begin(&s, "judge", false);
    live_through(&s, 200, 400);
    finish(&s, f);
    live_through(&clean, 0, 400);
    assert_true(same(&s, &clean));
    assert_verified(&s);
    reopen(&s); /* The checkpoint is older, and holds what was forgotten. */
    assert_true(same(&s, &clean));
    assert_verified(&s);
    close_scene(&s);
    close_scene(&clean);
}

static void one_that_was_not_committed_changes_nothing(void **unused)
{
    (void)unused;
    struct scene s;
    open_scene(&s, true, AGGREGATE_FIRST);
    live_through(&s, 0, 200);
    struct buf before = known(&s);
    uint64_t durable = ledger_durable(s.l);
    struct ledger_forget *f = begin(&s, "judge", false), *second = NULL;
    struct ledger_forgotten r;
    struct event_forget what = what_of(&s, "judge");
    assert_int_equal(ledger_forget_begin(s.l, &what, false, NULL, &second, &r, &s.detail),
                     ERR_OVERLOADED);
    ledger_forget_free(s.l, f);
    reopen(&s);
    struct buf after = known(&s);
    assert_int_equal(ledger_durable(s.l), durable);
    assert_int_equal(before.len, after.len);
    assert_memory_equal(before.data, after.data, before.len);
    buf_done(&before);
    buf_done(&after);
    close_scene(&s);
}

static void one_can_be_cancelled(void **unused)
{
    (void)unused;
    struct scene s;
    struct ledger_forget *f = NULL;
    struct ledger_forgotten r;
    const _Atomic bool cancelled = true;
    open_scene(&s, true, AGGREGATE_FIRST);
    live_through(&s, 0, 100);
    struct event_forget what = what_of(&s, "judge");
    assert_int_equal(ledger_forget_begin(s.l, &what, false, &cancelled, &f, &r, &s.detail),
                     ERR_CANCELLED);
    assert_null(f);
    forget(&s, "judge"); /* And does not stand in the way of the next. */
    close_scene(&s);
}

static void a_dry_run_counts_what_would_be_taken_out(void **unused)
{
    (void)unused;
    struct scene s;
    struct ledger_forgotten foreseen;
    open_scene(&s, true, AGGREGATE_FIRST);
    live_through(&s, 0, 300);
    struct event_forget what = what_of(&s, "judge");
    struct buf before = known(&s);
    assert_int_equal(ledger_forget_count(s.l, &what, NULL, &foreseen, &s.detail), OK);
    struct buf after = known(&s);
    assert_memory_equal(before.data, after.data, before.len);
    buf_done(&before);
    buf_done(&after);
    assert_int_equal(foreseen.position, 0);
    struct ledger_forgotten r = forget(&s, "judge");
    assert_int_equal(r.taken, foreseen.taken);
    r = forget(&s, "judge"); /* There is nothing left. */
    assert_int_equal(r.taken, 0);
    assert_verified(&s);
    close_scene(&s);
}

static void both_count_reports_of_a_router_that_is_no_more(void **unused)
{
    (void)unused;
    struct scene s;
    struct ledger_forgotten foreseen;
    open_scene(&s, true, AGGREGATE_FIRST);
    live_through(&s, 0, 100);
    fresh(&s, EVENT_ROUTER_REMOVE)->u.router_uid = s.router;
    queue(&s);
    commit(&s);
    struct event_forget what = what_of(&s, "judge");
    what.router_uid = 0;
    assert_int_equal(ledger_forget_count(s.l, &what, NULL, &foreseen, &s.detail), OK);
    assert_true(foreseen.taken > 0);
    struct ledger_forget *f = NULL;
    struct ledger_forgotten so_far;
    assert_int_equal(ledger_forget_begin(s.l, &what, false, NULL, &f, &so_far, &s.detail), OK);
    assert_int_equal(finish(&s, f).taken, foreseen.taken);
    assert_verified(&s);
    close_scene(&s);
}

static void two_sources_can_be_forgotten_one_after_the_other(void **unused)
{
    (void)unused;
    struct scene s, clean;
    open_scene(&s, true, AGGREGATE_FIRST);
    open_scene(&clean, false, AGGREGATE_FIRST);
    live_through(&s, 0, 300);
    forget(&s, "human");
    checkpoint(&s);
    live_through(&s, 300, 400); /* Which counts again. */
    forget(&s, "judge");
    s.poisoned = false;
    live_through(&s, 400, 420);
    clean.human_is_off = true;
    live_through(&clean, 0, 300);
    clean.human_is_off = false;
    live_through(&clean, 300, 420);
    assert_true(same(&s, &clean));
    assert_verified(&s);
    reopen(&s);
    assert_true(same(&s, &clean));
    assert_verified(&s);
    close_scene(&s);
    close_scene(&clean);
}

/* ---- afterwards ---- */

static void a_forgotten_report_sent_again_is_a_duplicate(void **unused)
{
    (void)unused;
    struct scene s;
    open_scene(&s, true, AGGREGATE_FIRST);
    live_through(&s, 0, 60);
    forget(&s, "judge");
    uint64_t durable = ledger_durable(s.l), duplicates = s.duplicates;
    reopen(&s);
    judge(&s, 50, 1, 1);
    commit(&s);
    assert_int_equal(s.duplicates, duplicates + 1);
    assert_int_equal(ledger_durable(s.l), durable);
    judge(&s, 54, -1, .5); /* It had said nothing of the cost. */
    others(&s, 50, "late", .25, -1);
    commit(&s);
    assert_int_equal(s.duplicates, duplicates + 1);
    assert_int_equal(count_of(&s, "judge")->folded, 1);
    assert_int_equal(count_of(&s, "late")->folded, 1);
    assert_verified(&s);
    close_scene(&s);
}

static void what_lies_before_the_base_is_counted_and_stays(void **unused)
{
    (void)unused;
    struct scene s;
    struct ledger_forget *f = NULL;
    struct ledger_forgotten r;
    open_scene(&s, true, AGGREGATE_FIRST);
    live_through(&s, 0, 200);
    uint64_t folded = count_of(&s, "judge")->folded + count_of(&s, "judge")->beaten;
    ledger_close(s.l);
    s.o.journal_max_bytes = 1;
    open_ledger(&s);
    checkpoint(&s);
    live_through(&s, 200, 300);
    assert_int_equal(ledger_tick(s.l, s.now_us, &s.detail), OK);
    struct event_forget what = what_of(&s, "judge");
    assert_int_equal(ledger_forget_begin(s.l, &what, false, NULL, &f, &r, &s.detail),
                     ERR_FORGET_PARTIAL);
    assert_int_equal(r.before_base, folded);
    assert_true(r.base_position > 0);
    r = finish(&s, begin(&s, "judge", true));
    assert_int_equal(r.before_base, folded);
    assert_true(r.taken > 40);
    assert_verified(&s);
    reopen(&s);
    assert_verified(&s);
    /* When the journal goes on from after it, nothing is left to be told about it. */
    live_through(&s, 300, 310);
    checkpoint(&s);
    live_through(&s, 310, 320);
    for (int i = 0; i < 3; i++)
        assert_int_equal(ledger_tick(s.l, s.now_us, &s.detail), OK);
    assert_verified(&s);
    reopen(&s);
    assert_verified(&s);
    close_scene(&s);
}

/* Bases in between hold what was forgotten: nothing may ever be folded from them. */
static void bases_that_hold_it_are_never_folded_from(void **unused)
{
    (void)unused;
    struct scene s, clean;
    open_scene(&s, true, AGGREGATE_FIRST);
    open_scene(&clean, false, AGGREGATE_FIRST);
    ledger_close(s.l);
    s.o.journal_keep_us = 30 * step_us; /* Each checkpoint is a base. */
    open_ledger(&s);
    for (uint64_t n = 0; n < 300; n += 50) {
        live_through(&s, n, n + 50);
        checkpoint(&s);
    }
    live_through(&clean, 0, 300);
    forget(&s, "judge");
    assert_int_equal(ledger_tick(s.l, s.now_us, &s.detail), OK); /* All of them are old enough. */
    assert_true(same(&s, &clean));
    assert_verified(&s);
    reopen(&s);
    assert_true(same(&s, &clean));
    live_through(&s, 300, 310);
    s.poisoned = false;
    checkpoint(&s);
    s.now_us += 1000 * step_us;
    assert_int_equal(ledger_tick(s.l, s.now_us, &s.detail), OK);
    uint64_t base;
    struct buf bytes;
    buf_init(&bytes);
    assert_int_equal(ledger_base(s.l, &bytes, &base, &s.detail), OK);
    buf_done(&bytes);
    assert_true(base >= ledger_model(s.l)->forgot_at); /* Now it was trimmed, to after it. */
    assert_verified(&s);
    close_scene(&s);
    close_scene(&clean);
}

/* The checkpoint that is being written is of the model that goes; it becomes current and nothing
 * that was forgotten comes back by it. */
static void a_source_is_forgotten_while_a_checkpoint_is_written(void **unused)
{
    (void)unused;
    struct scene s, clean;
    for (int steps = 0; steps < 3; steps++) {
        bool done = false;
        open_scene(&s, true, AGGREGATE_FIRST);
        open_scene(&clean, false, AGGREGATE_FIRST);
        live_through(&s, 0, 300);
        live_through(&clean, 0, 310);
        uint64_t position = ledger_durable(s.l);
        assert_int_equal(ledger_checkpoint_begin(s.l, s.now_us, &s.detail), OK);
        for (int i = 0; i < steps; i++)
            assert_int_equal(ledger_checkpoint_step(s.l, &done, &s.detail), OK);
        assert_false(done);
        forget(&s, "judge");
        s.poisoned = false;
        live_through(&s, 300, 310);
        while (!done)
            assert_int_equal(ledger_checkpoint_step(s.l, &done, &s.detail), OK);
        assert_int_equal(ledger_checkpoint_position(s.l), position);
        assert_true(same(&s, &clean));
        assert_verified(&s);
        reopen(&s);
        assert_true(same(&s, &clean));
        assert_verified(&s);
        close_scene(&s);
        close_scene(&clean);
    }
}

/* ---- money ---- */

static const struct budget_account *account(struct scene *s)
{
    return &model_router(ledger_model(s->l), s->router)->account;
}

static void put_account(struct scene *s, uint64_t corrected, double paid)
{
    struct event_accounts *a = &fresh(s, EVENT_ACCOUNTS)->u.accounts;
    a->n = 1;
    a->rows[0] = (struct account_row){
        .router_uid = s->router,
        .metric = COST,
        .account = {.budget = .5, .bank = -7, .requests = 5, .corrected = corrected, .paid = paid}};
    queue(s);
    commit(s);
}

static void pay(struct scene *s, uint64_t n, const char *source, double cost)
{
    struct event_outcome *o = report(s, n, source, -1, cost);
    o->decision.paced = 1;
    o->decision.budget_metric = COST;
    o->decision.charge = .5F;
    o->metrics[0].z = cost / 8;
    queue(s);
    commit(s);
}

static void true_costs_that_it_brought_go_back_to_the_account(void **unused)
{
    (void)unused;
    struct scene s;
    open_scene(&s, true, AGGREGATE_FIRST);
    s.now_us += step_us;
    pay(&s, 0, "judge", 4);
    pay(&s, 1, "judge", 1);
    pay(&s, 1, "human", .75); /* Takes its place. */
    pay(&s, 2, "human", .25);
    put_account(&s, 3, 8);
    struct ledger_forget *f = begin(&s, "judge", false);
    struct ledger_forgotten r;
    assert_int_equal(ledger_forget_commit(s.l, f, s.now_us, &r, &s.detail), OK);
    uint32_t n;
    const struct account_refund *refunds = ledger_forget_refunds(f, &n);
    assert_int_equal(n, 1);
    assert_int_equal(refunds[0].corrected, 1); /* Two less, one more. */
    assert_true(refunds[0].charged == .5);
    assert_true(refunds[0].cost == 4.25);
    ledger_forget_free(s.l, f);
    assert_int_equal(account(&s)->corrected, 2);
    assert_true(account(&s)->paid == 8 - 3.75);
    assert_true(account(&s)->bank == -7 + 3.75 / .5);
    assert_verified(&s);
    reopen(&s);
    assert_true(account(&s)->paid == 8 - 3.75);
    put_account(&s, 2, 4.5); /* What the server's own account says afterwards stands. */
    forget(&s, "human");
    assert_int_equal(account(&s)->corrected, 0);
    assert_true(account(&s)->paid == 4.5 - (.25 - .5) - (.75 - .5));
    assert_verified(&s);
    close_scene(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_forgotten_source_said_leaves_no_trace_in_the_statistics),
        cmocka_unit_test(nor_where_reports_are_averaged),
        cmocka_unit_test(reports_that_come_while_it_is_folded_anew_are_all_there),
        cmocka_unit_test(one_that_was_not_committed_changes_nothing),
        cmocka_unit_test(one_can_be_cancelled),
        cmocka_unit_test(a_dry_run_counts_what_would_be_taken_out),
        cmocka_unit_test(both_count_reports_of_a_router_that_is_no_more),
        cmocka_unit_test(two_sources_can_be_forgotten_one_after_the_other),
        cmocka_unit_test(a_forgotten_report_sent_again_is_a_duplicate),
        cmocka_unit_test(what_lies_before_the_base_is_counted_and_stays),
        cmocka_unit_test(bases_that_hold_it_are_never_folded_from),
        cmocka_unit_test(a_source_is_forgotten_while_a_checkpoint_is_written),
        cmocka_unit_test(true_costs_that_it_brought_go_back_to_the_account),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
