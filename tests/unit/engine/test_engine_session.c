/* Sessions inside the engine: budgets that hold, arms that are kept, rewards that are shared. */
#include "server/engine/engine_session.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/engine/served.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A wait of the test's own thread. */
struct waiting {
    struct route_wait wait;
    pthread_mutex_t lock;
    pthread_cond_t told;
    bool done;
    enum err err;
    struct err_detail detail;
};

static void tell(struct route_wait *wait, enum err e, const struct err_detail *detail)
{
    struct waiting *w = wait->ctx;
    pthread_mutex_lock(&w->lock);
    w->err = e;
    w->detail = *detail;
    w->done = true;
    pthread_cond_signal(&w->told);
    pthread_mutex_unlock(&w->lock);
}

/* Routes, and waits where the answer has to. */
static enum err ask(struct served *s, const struct route_in *in)
{
    struct waiting w = {.wait = {.done = tell, .ctx = &w}};
    enum err e = served_ask(s, in);
    if (e != OK || !s->route->waits)
        return e;
    pthread_mutex_init(&w.lock, NULL);
    pthread_cond_init(&w.told, NULL);
    e = engine_route_wait(s->w, s->route, &w.wait, &s->detail);
    if (e == OK) {
        pthread_mutex_lock(&w.lock);
        while (!w.done)
            pthread_cond_wait(&w.told, &w.lock);
        pthread_mutex_unlock(&w.lock);
        e = w.err;
        s->detail = w.detail;
    }
    pthread_cond_destroy(&w.told);
    pthread_mutex_destroy(&w.lock);
    route_wait_done(&w.wait);
    return e;
}

static void add_arm(struct served *s, const char *name, double cap, double in, double out)
{
    struct arm_config arm;
    memset(&arm, 0, sizeof arm);
    (void)snprintf(arm.name, sizeof arm.name, "%s", name);
    if (cap >= 0) {
        arm.cap_mask = 1 << 2; /* cost_usd */
        arm.cap_raw[2] = cap;
    }
    if (in >= 0) {
        arm.known = ARM_KNOWS_PRICE_IN | ARM_KNOWS_PRICE_OUT;
        arm.price_in_usd = in;
        arm.price_out_usd = out;
    }
    assert_int_equal(engine_arm_add(s->w, text("default"), &arm, &s->detail), OK);
}

static struct route_in budgeted(const char *session, double amount)
{
    return (struct route_in){
        .text = text("a prompt"),
        .session = text(session),
        .session_metric = text("cost_usd"),
        .session_amount = amount,
    };
}

static void an_arm_without_a_bound_is_not_chosen_and_the_reason_says_what_to_declare(void **unused)
{
    (void)unused;
    struct served s;
    served_open(&s);
    served_router(&s, "default", NULL);
    add_arm(&s, "unbounded", -1, -1, -1);
    add_arm(&s, "priced", -1, 1, 2);
    struct route_in in = budgeted("run", 1);
    assert_int_equal(ask(&s, &in), ERR_NO_ELIGIBLE_ARM);
    assert_non_null(strstr(s.detail.text, "NO_BOUND"));
    assert_non_null(strstr(s.detail.text, "input_tokens"));
    in.input_tokens = 1000;
    in.agent.max_output_tokens = 500;
    for (int i = 0; i < 20; i++) {
        assert_int_equal(ask(&s, &in), OK);
        assert_string_equal(s.route->arm, "priced");
        assert_true(s.route->reserved > .00199999 && s.route->reserved < .00200001);
    }
    in.session = (struct slice){NULL, 0}; /* A budget of nobody. */
    assert_int_equal(ask(&s, &in), ERR_INVALID);
    served_close(&s);
}

static uint32_t labels_n(struct served *s)
{
    /* Behind the label in the queue: after it, the label is there. */
    assert_int_equal(engine_arm_pause(s->w, text("default"), text("arm"), false, &s->detail), OK);
    uint32_t n = snapshot_router(engine_snapshot_acquire(s->w), "default", 7)->config->tasks_n;
    engine_snapshot_release(s->w);
    return n;
}

/* A label waits for the reservation, as its answer does; with one that is not used it goes. */
static void a_task_is_learned_when_its_reservation_is_durable(void **unused)
{
    (void)unused;
    struct served s;
    served_open(&s);
    served_router(&s, "default", NULL);
    add_arm(&s, "arm", .4, -1, -1);
    struct route_in in = budgeted("run", 1);
    in.task = text("code");
    assert_int_equal(served_ask(&s, &in), OK);
    assert_true(s.route->waits);
    engine_route_give_back(s.w, s.route);
    assert_int_equal(labels_n(&s), 0);
    assert_int_equal(ask(&s, &in), OK);
    assert_int_equal(labels_n(&s), 1);
    served_close(&s);
}

static void the_budget_is_never_exceeded_and_what_is_reported_is_free_again(void **unused)
{
    (void)unused;
    struct served s;
    served_open(&s);
    served_router(&s, "default", NULL);
    add_arm(&s, "dear", .4, -1, -1);
    add_arm(&s, "cheap", .15, -1, -1);
    struct route_in in = budgeted("run", 1);
    double reserved = 0;
    uint8_t token[sizeof s.route->token];
    size_t token_len = 0;
    enum err e;
    while ((e = ask(&s, &in)) == OK) {
        reserved += s.route->reserved;
        assert_true(reserved <= 1 + 1e-9);
        assert_true(s.route->left > 1 - reserved - 1e-9 && s.route->left < 1 - reserved + 1e-9);
        token_len = s.route->token_len;
        memcpy(token, s.route->token, token_len);
    }
    assert_int_equal(e, ERR_BUDGET_EXHAUSTED);
    assert_non_null(strstr(s.detail.text, "of its 1 cost_usd left"));
    assert_true(reserved > .85); /* Not even the cheap one fits. */
    struct engine_weight paid = {text("cost_usd"), 0};
    struct report_in report = {.token = {token, token_len}, .metrics = &paid, .metrics_n = 1};
    assert_int_equal(served_report(&s, &report), OK);
    assert_int_equal(ask(&s, &in), OK);
    served_verify(&s);
    served_close(&s);
}

static void a_restart_keeps_every_reservation(void **unused)
{
    (void)unused;
    struct served s;
    struct session_info info;
    struct session_in by_name = {.router = text("default"), .session = text("run")};
    served_open(&s);
    served_router(&s, "default", NULL);
    add_arm(&s, "only", .3, -1, -1);
    struct route_in in = budgeted("run", 1);
    for (int i = 0; i < 3; i++)
        assert_int_equal(ask(&s, &in), OK);
    assert_int_equal(ask(&s, &in), ERR_BUDGET_EXHAUSTED);
    served_again(&s);
    assert_int_equal(engine_session_start(s.w, &by_name, &info, &s.detail), OK);
    assert_true(info.strict);
    assert_true(info.used > .8999 && info.used < .9001);
    assert_int_equal(ask(&s, &in), ERR_BUDGET_EXHAUSTED);
    in.session_metric = (struct slice){NULL, 0}; /* Its name alone is enough while it is open. */
    assert_int_equal(ask(&s, &in), ERR_BUDGET_EXHAUSTED);
    in = budgeted("run", 2);
    assert_int_equal(ask(&s, &in), ERR_SESSION_BUDGET);
    served_close(&s);
}

static void a_budget_without_a_metric_is_refused_not_dropped(void **unused)
{
    (void)unused;
    struct served s;
    struct session_info info;
    struct session_in by_name = {
        .router = text("default"), .session = text("run"), .metric = text(""), .amount = 1};
    served_open(&s);
    served_router(&s, "default", NULL);
    add_arm(&s, "only", .3, -1, -1);
    struct route_in in = budgeted("run", 1);
    in.session_metric = text("");
    assert_int_equal(ask(&s, &in), ERR_BAD_NAME);
    assert_non_null(strstr(s.detail.text, "session_budget.metric"));
    assert_int_equal(engine_session_start(s.w, &by_name, &info, &s.detail), ERR_BAD_NAME);
    assert_int_equal(ask(&s, &(struct route_in){.session_metric = text("")}), ERR_INVALID);
    in = budgeted("run", 1); /* Nothing was opened: with its budget it is a new one. */
    assert_int_equal(ask(&s, &in), OK);
    served_close(&s);
}

static void a_dry_run_opens_and_reserves_nothing(void **unused)
{
    (void)unused;
    struct served s;
    struct session_info infos[4];
    uint32_t n, all;
    served_open(&s);
    served_router(&s, "default", NULL);
    add_arm(&s, "only", .3, -1, -1);
    struct route_in in = budgeted("run", 1);
    in.dry_run = true;
    for (int i = 0; i < 10; i++) {
        assert_int_equal(ask(&s, &in), OK);
        assert_false(s.route->waits);
    }
    assert_int_equal(engine_session_list(s.w, text("default"), infos, 4, &n, &all, &s.detail), OK);
    assert_int_equal(all, 0);
    in.session_amount = .2;
    assert_int_equal(ask(&s, &in), ERR_BUDGET_EXHAUSTED);
    served_close(&s);
}

static void stay(struct router_config *c)
{
    c->settings.switch_cost = 1000;
    c->settings.newcomer_pulls = 0;
    (void)snprintf(c->settings.policy, NAME_CAP, "random");
}

static void a_session_stays_with_its_arm_until_it_may_not_serve(void **unused)
{
    (void)unused;
    struct served s;
    char held[NAME_CAP];
    served_open(&s);
    served_router(&s, "default", stay);
    for (int i = 0; i < 4; i++) {
        char name[2] = {(char)('a' + i), 0};
        served_arm(&s, "default", name);
    }
    struct route_in in = {.text = text("a prompt"), .session = text("run")};
    assert_int_equal(ask(&s, &in), OK);
    assert_int_not_equal(s.route->reason, REASON_SESSION);
    memcpy(held, s.route->arm, NAME_CAP);
    for (int i = 0; i < 30; i++) {
        assert_int_equal(ask(&s, &in), OK);
        assert_string_equal(s.route->arm, held);
        assert_int_equal(s.route->reason, REASON_SESSION);
        assert_true(s.route->propensity == 1);
    }
    struct slice gone = text(held);
    in.exclude = &gone;
    in.exclude_n = 1;
    assert_int_equal(ask(&s, &in), OK);
    assert_string_not_equal(s.route->arm, held);
    assert_int_equal(s.route->reason, REASON_SESSION_MOVED);
    assert_true(s.route->propensity < 1);
    /* Requests of nobody's session move as before. */
    struct route_in plain = {.text = text("a prompt")};
    int others = 0;
    for (int i = 0; i < 40; i++) {
        assert_int_equal(ask(&s, &plain), OK);
        others += strcmp(s.route->arm, held) != 0;
    }
    assert_true(others > 5);
    served_close(&s);
}

static uint64_t rewards(struct served *s, double *ret_sum)
{
    uint64_t n = 0;
    *ret_sum = 0;
    const struct snapshot *snapshot = engine_snapshot_acquire(s->w);
    const struct router_view *r = snapshot_router(snapshot, "default", 7);
    for (uint32_t i = 0; i < r->arms_n; i++) {
        n += r->arms[i]->n[0];
        *ret_sum += (double)r->arms[i]->n[0] * r->arms[i]->mean_raw[0];
    }
    engine_snapshot_release(s->w);
    return n;
}

static void discounted(struct router_config *c)
{
    c->settings.session_credit = CREDIT_DISCOUNTED;
    c->settings.session_gamma = .5;
}

static void even(struct router_config *c)
{
    c->settings.session_credit = CREDIT_EVEN;
}

/* A session of four steps, of which the first reported its own reward, .25. */
static void end_of_four(void (*set)(struct router_config *c), uint32_t credited, uint32_t reported,
                        double sum)
{
    struct served s;
    struct session_end_out out;
    double got;
    served_open(&s);
    served_router(&s, "default", set);
    served_arm(&s, "default", "a");
    served_arm(&s, "default", "b");
    struct route_in in = {.text = text("a prompt"), .session = text("run")};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(ask(&s, &in), OK);
        if (i == 0)
            assert_int_equal(served_tell(&s, "reward", .25, OUTCOME_OK), OK);
    }
    struct engine_weight reward = {text("reward"), 1};
    struct session_end_in end = {.session = text("run"), .metrics = &reward, .metrics_n = 1};
    assert_int_equal(engine_session_end(s.w, &end, &out, &s.detail), OK);
    assert_int_equal(out.info.steps, 4);
    assert_int_equal(out.credited, credited);
    assert_int_equal(out.reported, reported);
    assert_int_equal(out.lost, 0);
    assert_int_equal(rewards(&s, &got), 1 + credited);
    assert_true(got > sum - 1e-9 && got < sum + 1e-9);
    assert_int_equal(engine_session_end(s.w, &end, &out, &s.detail), ERR_SESSION_NOT_FOUND);
    served_verify(&s);
    served_close(&s);
}

static void a_reward_for_the_session_goes_to_its_steps_by_the_rule(void **unused)
{
    (void)unused;
    end_of_four(NULL, 1, 0, .25 + 1);
    end_of_four(even, 3, 1, .25 + 3);
    end_of_four(discounted, 3, 1, .25 + 1 + .5 + .25);
}

static void a_wrong_reward_leaves_the_session_open(void **unused)
{
    (void)unused;
    struct served s;
    struct session_end_out out;
    served_open(&s);
    served_router(&s, "default", NULL);
    served_arm(&s, "default", "a");
    struct route_in in = {.text = text("a prompt"), .session = text("run")};
    assert_int_equal(ask(&s, &in), OK);
    struct engine_weight reward = {text("cost_usd"), .1};
    struct session_end_in end = {.session = text("run"), .metrics = &reward, .metrics_n = 1};
    assert_int_equal(engine_session_end(s.w, &end, &out, &s.detail), ERR_INVALID);
    reward = (struct engine_weight){text("reward"), 7};
    assert_int_equal(engine_session_end(s.w, &end, &out, &s.detail), ERR_OUT_OF_RANGE);
    reward.value = 1;
    assert_int_equal(engine_session_end(s.w, &end, &out, &s.detail), OK);
    assert_int_equal(out.credited, 1);
    served_close(&s);
}

static void an_ended_session_gives_up_its_reservations_and_its_name(void **unused)
{
    (void)unused;
    struct served s;
    struct session_end_out out;
    served_open(&s);
    served_router(&s, "default", NULL);
    add_arm(&s, "only", .6, -1, -1);
    struct route_in in = budgeted("run", 1);
    assert_int_equal(ask(&s, &in), OK);
    assert_int_equal(ask(&s, &in), ERR_BUDGET_EXHAUSTED);
    struct session_end_in end = {.session = text("run")};
    assert_int_equal(engine_session_end(s.w, &end, &out, &s.detail), OK);
    assert_true(out.info.used > .5999);
    served_again(&s);
    in.session_amount = .7;
    assert_int_equal(ask(&s, &in), OK);
    served_close(&s);
}

/* A worker belongs to its thread. */
struct other_caller {
    struct engine *engine;
    const struct route_in *in;
    enum err err;
};

static void *call_too(void *ctx)
{
    struct other_caller *c = ctx;
    struct engine_worker *w;
    struct err_detail detail;
    struct route_out *out = malloc(sizeof *out);
    c->err = out ? engine_worker_new(c->engine, &w) : ERR_NOMEM;
    if (c->err == OK) {
        c->err = engine_route(w, c->in, out, &detail);
        engine_worker_free(w);
    }
    free(out);
    return NULL;
}

static void an_own_decision_id_is_answered_again_only_when_it_is_durable(void **unused)
{
    (void)unused;
    struct served s;
    served_open(&s);
    served_router(&s, "default", NULL);
    add_arm(&s, "only", .3, -1, -1);
    struct route_in in = budgeted("run", 1);
    in.decision_id = text("01890000-0000-7000-8000-00000000abcd");
    in.body = text("body");
    /* Decided, and on its way: */
    assert_int_equal(served_ask(&s, &in), OK);
    assert_true(s.route->waits);
    struct waiting w = {.wait = {.done = tell, .ctx = &w}};
    struct other_caller caller = {s.e, &in, OK};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, call_too, &caller), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(caller.err, ERR_OVERLOADED);
    pthread_mutex_init(&w.lock, NULL);
    pthread_cond_init(&w.told, NULL);
    assert_int_equal(engine_route_wait(s.w, s.route, &w.wait, &s.detail), OK);
    pthread_mutex_lock(&w.lock);
    while (!w.done)
        pthread_cond_wait(&w.told, &w.lock);
    pthread_mutex_unlock(&w.lock);
    assert_int_equal(w.err, OK);
    route_wait_done(&w.wait);
    pthread_cond_destroy(&w.told);
    pthread_mutex_destroy(&w.lock);
    assert_int_equal(served_ask(&s, &in), OK);
    assert_false(s.route->waits);
    assert_true(s.route->strict);
    assert_true(s.route->reserved > .2999);
    served_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_arm_without_a_bound_is_not_chosen_and_the_reason_says_what_to_declare),
        cmocka_unit_test(a_task_is_learned_when_its_reservation_is_durable),
        cmocka_unit_test(the_budget_is_never_exceeded_and_what_is_reported_is_free_again),
        cmocka_unit_test(a_restart_keeps_every_reservation),
        cmocka_unit_test(a_budget_without_a_metric_is_refused_not_dropped),
        cmocka_unit_test(a_dry_run_opens_and_reserves_nothing),
        cmocka_unit_test(a_session_stays_with_its_arm_until_it_may_not_serve),
        cmocka_unit_test(a_reward_for_the_session_goes_to_its_steps_by_the_rule),
        cmocka_unit_test(a_wrong_reward_leaves_the_session_open),
        cmocka_unit_test(an_ended_session_gives_up_its_reservations_and_its_name),
        cmocka_unit_test(an_own_decision_id_is_answered_again_only_when_it_is_durable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
