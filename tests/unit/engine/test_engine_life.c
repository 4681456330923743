/* Decisions made ahead, defaults of several metrics, and sources that are forgotten. */
#include "state/base/mem.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/engine/served.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 600 };

static void open_two(struct served *s, void (*set)(struct router_config *c))
{
    served_open(s);
    served_router(s, "default", set);
    served_arm(s, "default", "a");
    served_arm(s, "default", "b");
}

static uint64_t issued(struct served *s)
{
    return served_issued(s, "a") + served_issued(s, "b");
}

static enum err defer(struct served *s)
{
    const struct route_in in = {.defer = true};
    return served_ask(s, &in);
}

static enum err activate(struct served *s, bool *ret_already)
{
    const struct activate_in in = {.token = {s->route->token, s->route->token_len}};
    struct activate_out out = {.already = true};
    enum err e = engine_activate(s->w, &in, &out, &s->detail);
    *ret_already = out.already;
    return e;
}

static void assert_deferred(struct served *s, uint64_t deferred, uint64_t activated)
{
    uint64_t d, a;
    const struct snapshot *p = engine_snapshot_acquire(s->w);
    uint32_t uid = snapshot_router(p, "default", 7)->uid;
    engine_snapshot_release(s->w);
    engine_deferred(s->e, uid, &d, &a);
    assert_int_equal(d, deferred);
    assert_int_equal(a, activated);
}

static void a_cent_a_request(struct router_config *c)
{
    strcpy(c->settings.budget_metric, "cost_usd");
    c->settings.budget_per_request = .01;
}

static uint64_t charged(struct served *s)
{
    struct budget_info info;
    uint32_t n, all;
    assert_int_equal(
        engine_budgets(s->w, text("default"), text(""), &info, 1, &n, &all, &s->detail), OK);
    assert_int_equal(n, 1);
    return info.has_account ? info.account.saved.totals.requests : 0;
}

/* ---- decisions made ahead ---- */

static void a_deferred_decision_counts_once_it_is_activated(void **state)
{
    (void)state;
    struct served s;
    bool already;
    open_two(&s, NULL);
    assert_int_equal(defer(&s), OK);
    assert_int_equal(issued(&s), 0);
    assert_deferred(&s, 1, 0);
    assert_int_equal(activate(&s, &already), OK);
    assert_false(already);
    assert_int_equal(issued(&s), 1);
    assert_deferred(&s, 1, 1);
    assert_int_equal(activate(&s, &already), OK);
    assert_true(already);
    served_again(&s);
    assert_int_equal(issued(&s), 1);
    assert_deferred(&s, 1, 1);
    assert_int_equal(activate(&s, &already), OK);
    assert_true(already); /* The journal knows. */
    assert_int_equal(served_tell(&s, "reward", 1, OUTCOME_OK), OK);
    assert_int_equal(issued(&s), 1);
    assert_int_equal(served_folded(&s), 1);
    served_verify(&s);
    served_close(&s);
}

/* Whatever allocation fails from when on, up to the publication of what is durable. */
static void an_activation_counts_once_although_its_caller_was_told_that_it_failed(void **state)
{
    (void)state;
#ifndef SHUNT_FAULTS
    skip();
#endif
    struct served s;
    bool already, told = false;
    enum err e = ERR_NOMEM;
    open_two(&s, a_cent_a_request);
    for (long n = 1; e != OK; n++) {
        assert_int_equal(defer(&s), OK);
        mem_fail_from(n);
        e = activate(&s, &already);
        mem_fail_nth(0);
        if (e != OK) {
            assert_int_equal(activate(&s, &already), OK);
            told = told || already;
        }
        assert_int_equal(issued(&s), n);
        assert_int_equal(charged(&s), n);
        assert_deferred(&s, (uint64_t)n, (uint64_t)n);
        assert_true(n < 500);
    }
    assert_true(told);
    served_verify(&s);
    served_close(&s);
}

static void a_report_activates_too(void **state)
{
    (void)state;
    struct served s;
    bool already;
    open_two(&s, NULL);
    assert_int_equal(defer(&s), OK);
    served_again(&s); /* The token is all that it takes. */
    assert_int_equal(issued(&s), 0);
    assert_int_equal(served_tell(&s, "reward", 1, OUTCOME_OK), OK);
    assert_int_equal(issued(&s), 1);
    assert_int_equal(served_tell(&s, "cost_usd", 1, OUTCOME_OK), OK);
    assert_int_equal(issued(&s), 1);
    assert_deferred(&s, 1, 1);
    assert_int_equal(activate(&s, &already), OK);
    assert_true(already);
    served_verify(&s);
    served_close(&s);
}

static void activating_what_was_not_deferred_changes_nothing(void **state)
{
    (void)state;
    struct served s;
    bool already;
    open_two(&s, NULL);
    served_route(&s);
    assert_int_equal(activate(&s, &already), OK);
    assert_true(already);
    assert_int_equal(issued(&s), 1);
    s.route->token[20] ^= 1;
    assert_int_equal(activate(&s, &already), ERR_DECISION_NOT_FOUND);
    served_close(&s);
}

static void a_budget_pays_for_a_deferred_decision_when_it_is_activated(void **state)
{
    (void)state;
    struct served s;
    bool already;
    open_two(&s, a_cent_a_request);
    assert_int_equal(defer(&s), OK);
    assert_int_equal(charged(&s), 0);
    assert_int_equal(activate(&s, &already), OK);
    assert_int_equal(charged(&s), 1);
    assert_int_equal(defer(&s), OK);
    assert_int_equal(served_tell(&s, "cost_usd", .02, OUTCOME_OK), OK);
    assert_int_equal(charged(&s), 2);
    served_close(&s);
}

static void a_strict_session_defers_nothing(void **state)
{
    (void)state;
    struct served s;
    open_two(&s, NULL);
    const struct route_in in = {.defer = true,
                                .session = text("run"),
                                .session_metric = text("cost_usd"),
                                .session_amount = 1};
    assert_int_equal(served_ask(&s, &in), ERR_INVALID);
    assert_non_null(strstr(s.detail.text, "defer_activation"));
    assert_int_equal(issued(&s), 0);
    served_close(&s);
}

/* ---- defaults ---- */

static void put_default(struct router_config *c, const char *metric, double raw)
{
    assert_int_equal(
        defaults_put(&c->settings.defaults, (struct slice){metric, strlen(metric)}, raw, NULL), OK);
}

static void two_defaults_after_a_second(struct router_config *c)
{
    put_default(c, "reward", .25);
    put_default(c, "quality", .75);
    c->settings.reward_wait_s = 1;
}

struct sums {
    uint64_t defaulted, n[2];
    double mean[2];
};

/* Of both arms together, of reward and quality. */
static struct sums look(struct served *s)
{
    const struct snapshot *p = engine_snapshot_acquire(s->w);
    const struct router_view *r = snapshot_router(p, "default", 7);
    struct sums sums = {.defaulted = r->defaulted};
    for (int m = 0; m < 2; m++) {
        for (uint32_t k = 0; k < r->arms_n; k++) {
            sums.n[m] += r->arms[k]->n[m];
            sums.mean[m] += r->arms[k]->mean_raw[m] * (double)r->arms[k]->n[m];
        }
        sums.mean[m] /= sums.n[m] ? (double)sums.n[m] : 1;
    }
    engine_snapshot_release(s->w);
    return sums;
}

static struct sums wait_for(struct served *s, uint64_t defaulted)
{
    for (int i = 0; i < ROUNDS && look(s).defaulted < defaulted; i++)
        served_nap(50);
    return look(s);
}

static void each_metric_has_its_own_default_and_what_was_rated_keeps_its_rating(void **state)
{
    (void)state;
    struct served s;
    open_two(&s, two_defaults_after_a_second);
    served_route(&s); /* Silent. */
    served_route(&s);
    assert_int_equal(served_tell(&s, "reward", 1, OUTCOME_OK), OK);
    served_route(&s);
    assert_int_equal(served_tell(&s, "reward", 0, OUTCOME_OK), OK);
    assert_int_equal(served_tell(&s, "quality", 0, OUTCOME_OK), OK);
    const struct sums sums = wait_for(&s, 2);
    assert_int_equal(sums.defaulted, 2);
    assert_int_equal(sums.n[0], 3);
    assert_int_equal(sums.n[1], 3);
    assert_float_equal(sums.mean[0], (.25 + 1 + 0) / 3, 1e-12);
    assert_float_equal(sums.mean[1], (.75 + .75 + 0) / 3, 1e-12);
    served_verify(&s);
    served_close(&s);
}

static void only_deferred_decisions_that_were_activated_get_a_default(void **state)
{
    (void)state;
    struct served s;
    bool already;
    open_two(&s, two_defaults_after_a_second);
    assert_int_equal(defer(&s), OK); /* Never served. */
    struct route_out *never = malloc(sizeof *never);
    assert_non_null(never);
    *never = *s.route;
    assert_int_equal(defer(&s), OK);
    assert_int_equal(activate(&s, &already), OK);
    served_route(&s);
    served_again(&s);
    assert_int_equal(wait_for(&s, 2).defaulted, 2);
    served_route(&s); /* Its default comes after all of those before it. */
    const struct sums sums = wait_for(&s, 3);
    assert_int_equal(sums.defaulted, 3);
    assert_int_equal(sums.n[0], 3);
    const struct activate_in in = {.token = {never->token, never->token_len}};
    struct activate_out out;
    assert_int_equal(engine_activate(s.w, &in, &out, &s.detail), ERR_DECISION_LATE);
    free(never);
    served_verify(&s);
    served_close(&s);
}

/* ---- forgetting ---- */

static enum err forget(struct served *s, const char *source, bool dry_run,
                       struct ledger_forgotten *ret)
{
    const struct forget_in in = {
        .source = text(source), .router = text("default"), .dry_run = dry_run};
    return engine_forget(s->w, &in, NULL, ret, &s->detail);
}

static enum err tell(struct served *s, const char *source, double reward, double cost)
{
    struct engine_weight m[] = {{text("reward"), reward}, {text("cost_usd"), cost}};
    const struct report_in in = {.token = {s->route->token, s->route->token_len},
                                 .metrics = m,
                                 .metrics_n = 2,
                                 .source = text(source)};
    return served_report(s, &in);
}

static void a_forgotten_source_is_gone_from_what_decides_and_stays_gone(void **state)
{
    (void)state;
    struct served s;
    struct ledger_forgotten r;
    open_two(&s, a_cent_a_request);
    for (int i = 0; i < 40; i++) {
        served_route(&s);
        if (i % 4 == 0)
            assert_int_equal(tell(&s, "judge", 1, 5), OK);
        if (i % 8 != 0)
            assert_int_equal(tell(&s, "human", .5, .01), OK);
    }
    struct sums before = look(&s);
    assert_int_equal(before.n[0], 40);
    assert_int_equal(forget(&s, "judge", true, &r), OK);
    assert_int_equal(r.taken, 10);
    assert_int_equal(r.position, 0);
    assert_int_equal(look(&s).n[0], 40);
    assert_int_equal(forget(&s, "judge", false, &r), OK);
    assert_int_equal(r.taken, 10);
    assert_true(r.position > 0);
    struct sums after = look(&s);
    assert_int_equal(after.n[0], 35); /* Five were rated by the judge alone. */
    assert_float_equal(after.mean[0], .5, 1e-12);
    struct budget_info info;
    uint32_t n, all;
    assert_int_equal(engine_budgets(s.w, text("default"), text(""), &info, 1, &n, &all, &s.detail),
                     OK);
    assert_int_equal(info.account.saved.totals.corrected, 35);
    assert_true(info.account.saved.totals.paid < 5);
    assert_int_equal(forget(&s, "judge", false, &r), OK);
    assert_int_equal(r.taken, 0);
    served_verify(&s);
    served_again(&s);
    assert_int_equal(look(&s).n[0], 35);
    assert_int_equal(tell(&s, "human", .5, .01), OK);
    served_verify(&s);
    served_close(&s);
}

static uint64_t position(struct served *s)
{
    uint64_t at = engine_snapshot_acquire(s->w)->position;
    engine_snapshot_release(s->w);
    return at;
}

static void what_cannot_be_forgotten_is_refused(void **state)
{
    (void)state;
    struct served s;
    struct ledger_forgotten r;
    open_two(&s, NULL);
    assert_int_equal(forget(&s, "", false, &r), ERR_BAD_NAME);
    assert_int_equal(forget(&s, "default", false, &r), ERR_INVALID);
    const struct forget_in in = {.source = text("judge"), .router = text("nowhere")};
    assert_int_equal(engine_forget(s.w, &in, NULL, &r, &s.detail), ERR_ROUTER_NOT_FOUND);
    uint64_t before = position(&s);
    assert_int_equal(forget(&s, "nobody", false, &r), ERR_SOURCE_NOT_FOUND);
    assert_non_null(strstr(s.detail.text, "nobody"));
    assert_int_equal(forget(&s, "nobody", true, &r), ERR_SOURCE_NOT_FOUND);
    const struct forget_in all = {.source = text("nobody")};
    assert_int_equal(engine_forget(s.w, &all, NULL, &r, &s.detail), ERR_SOURCE_NOT_FOUND);
    assert_int_equal(position(&s), before); /* No event says so. */
    served_route(&s);
    assert_int_equal(tell(&s, "nobody", 1, .01), OK); /* Now it is somebody. */
    assert_int_equal(forget(&s, "nobody", false, &r), OK);
    assert_int_equal(r.taken, 1);
    served_close(&s);
}

static void sources_beyond_those_that_are_counted_by_name_can_be_forgotten(void **state)
{
    (void)state;
    struct served s;
    struct ledger_forgotten r;
    open_two(&s, NULL);
    for (int i = 0; i <= MAX_SOURCE_COUNTS; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "s%d", i);
        served_route(&s);
        assert_int_equal(tell(&s, name, 1, .01), OK);
    }
    char last[16];
    (void)snprintf(last, sizeof last, "s%d", MAX_SOURCE_COUNTS);
    assert_int_equal(forget(&s, last, false, &r), OK);
    assert_int_equal(r.taken, 1);
    served_close(&s);
}

/* ---- a full queue ---- */

/* A report whose answer holds the writer up until `gate` opens. */
struct held {
    struct report_call call; /* First. */
    sem_t at_gate, gate;
};

static void hold_up(struct report_call *call, enum err e, const struct report_out *out,
                    const struct err_detail *detail)
{
    void *at = call;
    struct held *h = at;
    (void)e;
    (void)out;
    (void)detail;
    sem_post(&h->at_gate);
    sem_wait(&h->gate);
}

static void held_report(struct served *s, struct held *h)
{
    struct engine_weight m = {text("reward"), 1};
    const struct report_in in = {
        .token = {s->route->token, s->route->token_len}, .metrics = &m, .metrics_n = 1};
    memset(h, 0, sizeof *h);
    h->call.done = hold_up;
    sem_init(&h->at_gate, 0, 0);
    sem_init(&h->gate, 0, 0);
    assert_int_equal(engine_report(s->w, &in, &h->call, &s->detail), OK);
}

static void held_done(struct held *h)
{
    sem_destroy(&h->at_gate);
    sem_destroy(&h->gate);
    report_call_done(&h->call);
}

struct forgetting {
    struct engine *engine;
    _Atomic bool cancelled;
    enum err e;
    struct ledger_forgotten result;
};

static void *forget_beside(void *arg)
{
    struct forgetting *f = arg;
    struct engine_worker *w = NULL;
    struct err_detail detail;
    const struct forget_in in = {.source = text("judge")};
    assert_int_equal(engine_worker_new(f->engine, &w), OK);
    f->e = engine_forget(w, &in, &f->cancelled, &f->result, &detail);
    engine_worker_free(w);
    return NULL;
}

/* Cancelled while the queue is full, then not. */
static void forgetting_waits_for_a_place_in_the_queue(void **state)
{
    (void)state;
    struct served s;
    struct held first, second;
    open_two(&s, NULL);
    served_route(&s);
    assert_int_equal(tell(&s, "judge", 1, .01), OK);
    s.o.inbox_capacity = 1;
    served_again(&s);
    served_route(&s);
    held_report(&s, &first);
    sem_wait(&first.at_gate); /* The writer stands. */
    held_report(&s, &second); /* The queue is full. */
    struct forgetting f[2] = {{.engine = s.e}, {.engine = s.e}};
    for (int i = 0; i < 2; i++) {
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, forget_beside, &f[i]), 0);
        served_nap(200); /* As a rule it has tried. */
        if (i == 0) {
            atomic_store(&f[i].cancelled, true);
        } else {
            sem_post(&first.gate);
            sem_post(&second.gate);
        }
        assert_int_equal(pthread_join(thread, NULL), 0);
    }
    assert_int_equal(f[0].e, ERR_CANCELLED);
    assert_int_equal(f[1].e, OK);
    assert_int_equal(f[1].result.taken, 1);
    served_verify(&s);
    served_close(&s);
    held_done(&first);
    held_done(&second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_deferred_decision_counts_once_it_is_activated),
        cmocka_unit_test(an_activation_counts_once_although_its_caller_was_told_that_it_failed),
        cmocka_unit_test(a_report_activates_too),
        cmocka_unit_test(activating_what_was_not_deferred_changes_nothing),
        cmocka_unit_test(a_budget_pays_for_a_deferred_decision_when_it_is_activated),
        cmocka_unit_test(a_strict_session_defers_nothing),
        cmocka_unit_test(each_metric_has_its_own_default_and_what_was_rated_keeps_its_rating),
        cmocka_unit_test(only_deferred_decisions_that_were_activated_get_a_default),
        cmocka_unit_test(a_forgotten_source_is_gone_from_what_decides_and_stays_gone),
        cmocka_unit_test(what_cannot_be_forgotten_is_refused),
        cmocka_unit_test(sources_beyond_those_that_are_counted_by_name_can_be_forgotten),
        cmocka_unit_test(forgetting_waits_for_a_place_in_the_queue),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
