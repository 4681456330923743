/* Routers whose arms are adapters: what a miss costs, what is planned, and what a crash leaves. */
#include "server/engine/adapters_parts.h"
#include "state/base/mem.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/engine/served.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ADAPTERS = 6, SLOTS = 2, TASKS = 3, PATIENCE = 20000 /* Looks, a millisecond apart. */ };

static void with_adapters(struct router_config *c)
{
    c->spec = (struct feature_spec){.version = 1, .features_n = TASKS};
    settings_for_adapters(&c->settings);
    residency_defaults(&c->settings.residency);
    c->settings.residency.slots = SLOTS;
    c->settings.residency.epoch_requests = 100;
    c->settings.residency.epoch_loads = 0;
}

static void with_forcing(struct router_config *c)
{
    with_adapters(c);
    (void)snprintf(c->settings.residency.policy, NAME_CAP, "polar_plus");
    c->settings.residency.force_share = 1;
    c->settings.residency.force_width = 0; /* However much is known by the time it looks. */
}

static void add_adapter(struct served *s, const char *name)
{
    struct arm_config a = {.adapter = {.base = "qwen", .path = "/m", .bytes = 100 << 20}};
    (void)snprintf(a.name, NAME_CAP, "%s", name);
    assert_int_equal(engine_arm_add(s->w, text("default"), &a, &s->detail), OK);
}

static void open_with(struct served *s, void (*set)(struct router_config *c))
{
    served_open(s);
    served_router(s, "default", set);
    for (int i = 0; i < ADAPTERS; i++)
        add_adapter(s, (char[]){(char)('a' + i), '\0'});
    served_arm(s, "default", "qwen");
}

static struct adapter_plan plan_now(struct served *s)
{
    struct adapter_plan p;
    uint32_t n, total;
    for (int i = 0; i < PATIENCE; i++) {
        enum err e = engine_adapters(s->w, text("default"), NULL, 0, &n, &total, &p, &s->detail);
        if (e == OK)
            return p;
        assert_int_equal(e, ERR_ADAPTERS_PENDING);
        served_nap(1);
    }
    fail_msg("the slow loop does not come to the router");
    return p;
}

static struct adapter_info adapter_now(struct served *s, const char *name)
{
    struct adapter_info list[ADAPTERS + 1];
    struct adapter_plan p;
    uint32_t n, total;
    assert_int_equal(
        engine_adapters(s->w, text("default"), list, ADAPTERS + 1, &n, &total, &p, &s->detail), OK);
    assert_int_equal(total, ADAPTERS + 1);
    for (uint32_t i = 0; i < n; i++)
        if (strcmp(list[i].name, name) == 0)
            return list[i];
    fail_msg("no adapter %s", name);
    return list[0];
}

static void ask(struct served *s, uint32_t task, bool critical)
{
    float features[TASKS] = {0};
    features[task] = 1;
    struct route_in in = {.features = features,
                          .features_n = TASKS,
                          .latency_critical = critical,
                          .explain = true,
                          .max_ranked = ADAPTERS + 1};
    assert_int_equal(served_ask(s, &in), OK);
}

/* Adapter a is good at task 0, b at task 1, c at task 2, which is rare; the others at nothing. */
static void serve(struct served *s, uint32_t n, uint32_t from)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t task = (from + i) % 20 == 0 ? 2 : (from + i) % 2;
        ask(s, task, false);
        bool fits = s->route->arm[0] == (char)('a' + task) && s->route->arm[1] == '\0';
        assert_int_equal(served_tell(s, "reward", fits ? .9 : .3, 0), OK);
    }
}

/* Until the slow loop has taken in what was asked, and what it made of that is durable. */
static struct adapter_plan settle(struct served *s, uint64_t epochs)
{
    struct adapter_plan p;
    for (int i = 0; i < PATIENCE; i++) {
        p = plan_now(s);
        if (p.epoch >= epochs && p.journalled)
            return p;
        served_nap(1);
    }
    fail_msg("no plan %llu", (unsigned long long)epochs);
    return p;
}

/* Rounds of requests until so many plans were made. */
static void play(struct served *s, uint64_t epochs)
{
    for (uint32_t i = 0; plan_now(s).epoch < epochs; i++) {
        assert_true(i < 1000);
        serve(s, 20, 20 * i);
    }
    settle(s, epochs);
}

static void plans_make_the_useful_adapters_resident_and_say_why(void **state)
{
    (void)state;
    struct served s;
    open_with(&s, with_adapters);
    assert_int_equal(plan_now(&s).epoch, 0);
    play(&s, 12);
    struct adapter_info a = adapter_now(&s, "a"), b = adapter_now(&s, "b"),
                        f = adapter_now(&s, "f");
    assert_true(a.desired && b.desired && !f.desired);
    assert_int_equal(a.residence, RESIDENCE_RESIDENT);
    assert_int_equal(f.residence, RESIDENCE_COLD);
    assert_true(a.value > f.value && a.rate > .2 && f.price > 0);
    assert_non_null(strstr(a.why, "without it a request would be worth"));
    struct adapter_plan p = plan_now(&s);
    assert_int_equal(p.slots, SLOTS);
    assert_int_equal(p.adapters, ADAPTERS);
    assert_int_equal(p.desired, SLOTS);
    assert_string_equal(p.policy, "polar");
    served_verify(&s);
    served_close(&s);
}

static void with_bytes(struct router_config *c)
{
    with_adapters(c);
    c->settings.residency.slots = 0;
    c->settings.residency.bytes = 250 << 20; /* Two of them, and never the large one. */
}

static void why_says_what_has_no_place_and_what_is_not_worth_one(void **state)
{
    (void)state;
    struct served s;
    open_with(&s, with_bytes);
    struct arm_config large = {.name = "large",
                               .adapter = {.base = "qwen", .path = "/m", .bytes = 300 << 20}};
    assert_int_equal(engine_arm_add(s.w, text("default"), &large, &s.detail), OK);
    play(&s, 12);
    struct adapter_info list[ADAPTERS + 2], *last = &list[ADAPTERS + 1];
    struct adapter_plan p;
    uint32_t n, total;
    assert_int_equal(
        engine_adapters(s.w, text("default"), list, ADAPTERS + 2, &n, &total, &p, &s.detail), OK);
    assert_string_equal(last->name, "large");
    assert_non_null(strstr(last->why, "it never has a place"));
    assert_string_equal(list[5].name, "f");
    assert_non_null(strstr(list[5].why, "too little to load it"));
    assert_int_equal(engine_adapter_pin(s.w, text("default"), text("large"), true, &s.detail), OK);
    for (int i = 0; i < PATIENCE && !strstr(last->why, "pinned, and it is larger"); i++) {
        served_nap(1);
        assert_int_equal(
            engine_adapters(s.w, text("default"), list, ADAPTERS + 2, &n, &total, &p, &s.detail),
            OK);
    }
    assert_non_null(strstr(last->why, "pinned, and it is larger"));
    served_verify(&s);
    served_close(&s);
}

static void ask_alone(struct served *s, const char *arm)
{
    struct slice only = text(arm);
    struct route_in in = {.candidates = &only, .candidates_n = 1};
    assert_int_equal(served_ask(s, &in), OK);
}

static void what_a_monitor_asks_counts_every_pull_of_an_adapter(void **state)
{
    (void)state;
    struct served s;
    struct adapter_counts c = {.router_uid = 0};
    open_with(&s, with_adapters);
    served_router(&s, "plain", NULL);
    for (int i = 0; i < PATIENCE && !s.route->adapter.shown; i++) {
        served_nap(1);
        ask_alone(&s, "qwen");
    }
    for (int i = 0; i < 10; i++) { /* No plan yet: f is a miss each time. */
        ask_alone(&s, "f");
        ask_alone(&s, "qwen");
    }
    for (int i = 0; i < PATIENCE && c.pulls < 10; i++) {
        assert_true(engine_adapter_counts(s.e, 0, &c));
        served_nap(1);
    }
    assert_string_equal(c.router, "default");
    assert_int_equal(c.pulls, 10); /* Those of the base model are none. */
    assert_int_equal(c.misses, 10);
    assert_int_equal(c.epoch, 0);
    assert_int_equal(c.resident, 0);
    assert_true(c.loads == 0 && c.failed == 0 && c.replicas_n == 0); /* Nobody's engine. */
    play(&s, 12);
    for (int i = 0; i < PATIENCE && c.resident < SLOTS; i++) {
        assert_true(engine_adapter_counts(s.e, 0, &c));
        served_nap(1);
    }
    assert_int_equal(c.resident, SLOTS);
    assert_in_range(c.epoch, 12, plan_now(&s).epoch);
    assert_in_range(c.misses, 11, c.pulls - 1); /* What is resident is no miss. */
    assert_false(engine_adapter_counts(s.e, c.router_uid, &c));
    served_close(&s);
}

static float charge_of(const struct served *s, const char *name)
{
    for (uint32_t i = 0; i < s->route->ranked_n; i++)
        if (strcmp(s->route->ranked[i].name, name) == 0)
            return s->route->ranked[i].terms.charge;
    fail_msg("%s is not in the ranking", name);
    return 0;
}

static void a_miss_is_a_term_of_the_score_and_the_answer_says_where_the_adapter_is(void **state)
{
    (void)state;
    struct served s;
    open_with(&s, with_adapters);
    play(&s, 12);
    ask(&s, 0, false);
    for (int i = 0; s.route->adapter.residence != RESIDENCE_RESIDENT; i++) {
        if (i == PATIENCE) /* The board follows the plan by a round. */
            fail_msg("no request sees the plan's adapters resident");
        served_nap(1);
        ask(&s, 0, false);
    }
    assert_string_equal(s.route->arm, "a");
    assert_true(s.route->adapter.shown && s.route->adapter.is_adapter);
    assert_true(s.route->adapter.load_ms == 0 && s.route->adapter.replica == -1);
    assert_true(charge_of(&s, "a") == 0);
    assert_true(charge_of(&s, "f") < 0);
    assert_true(charge_of(&s, "qwen") == 0);
    struct route_in base = {.candidates = (struct slice[]){text("qwen")}, .candidates_n = 1};
    assert_int_equal(served_ask(&s, &base), OK);
    assert_true(s.route->adapter.shown && !s.route->adapter.is_adapter);
    struct route_in cold = {.candidates = (struct slice[]){text("f")}, .candidates_n = 1};
    assert_int_equal(served_ask(&s, &cold), OK);
    assert_int_equal(s.route->adapter.residence, RESIDENCE_COLD);
    assert_true(s.route->adapter.load_ms > 100);
    served_close(&s);
}

static void a_router_without_adapters_shows_none(void **state)
{
    (void)state;
    struct served s;
    struct adapter_plan p;
    uint32_t n, total;
    served_open(&s);
    served_router(&s, "default", NULL);
    served_arm(&s, "default", "a");
    served_route(&s);
    assert_false(s.route->adapter.shown);
    assert_int_equal(engine_adapters(s.w, text("default"), NULL, 0, &n, &total, &p, &s.detail),
                     ERR_NO_ADAPTERS);
    assert_int_equal(engine_adapter_pin(s.w, text("default"), text("a"), true, &s.detail),
                     ERR_NO_ADAPTERS);
    served_close(&s);
}

static void epoch_plan_and_window_outlive_the_process(void **state)
{
    (void)state;
    struct served s;
    open_with(&s, with_adapters);
    play(&s, 8);
    struct adapter_plan before = plan_now(&s);
    struct adapter_info a = adapter_now(&s, "a"), f = adapter_now(&s, "f");
    served_again(&s);
    struct adapter_plan after = plan_now(&s);
    assert_int_equal(after.epoch, before.epoch);
    assert_int_equal(after.begun_us, before.begun_us);
    assert_true(after.value == before.value && after.uncached == before.uncached);
    assert_int_equal(adapter_now(&s, "a").desired, a.desired);
    assert_int_equal(adapter_now(&s, "f").desired, f.desired);
    assert_int_equal(after.desired, before.desired);
    assert_true(adapter_now(&s, "a").rate == a.rate);
    play(&s, before.epoch + 2);
    served_verify(&s);
    served_close(&s);
}

/* Until the slow loop has come to it: nothing is asked meanwhile. */
static void await_desired(struct served *s, const char *name, bool desired)
{
    (void)plan_now(s);
    for (int i = 0; adapter_now(s, name).desired != desired; i++) {
        if (i == PATIENCE)
            fail_msg("%s is %sdesired for good", name, desired ? "not " : "");
        served_nap(1);
        (void)plan_now(s);
    }
}

static void with_static(struct router_config *c)
{
    with_adapters(c);
    (void)snprintf(c->settings.residency.policy, NAME_CAP, "static");
}

static void pins_of_a_router_that_nobody_asks_are_carried_out(void **state)
{
    (void)state;
    struct served s;
    open_with(&s, with_adapters);
    assert_int_equal(engine_adapter_pin(s.w, text("default"), text("f"), true, &s.detail), OK);
    await_desired(&s, "f", true);
    served_again(&s); /* It is durable, and what is carried out is not planned again. */
    await_desired(&s, "f", true);
    assert_int_equal(plan_now(&s).epoch, 1);
    play(&s, 10);
    assert_int_equal(engine_adapter_pin(s.w, text("default"), text("f"), false, &s.detail), OK);
    await_desired(&s, "f", false);
    served_verify(&s);
    served_close(&s);
}

static void static_begins_with_the_first_adapters_that_were_declared(void **state)
{
    (void)state;
    struct served s;
    open_with(&s, with_static);
    await_desired(&s, "a", true);
    await_desired(&s, "b", true);
    assert_int_equal(plan_now(&s).desired, SLOTS);
    serve(&s, 1000, 0); /* Nothing moves it. */
    assert_true(adapter_now(&s, "a").desired && adapter_now(&s, "b").desired);
    assert_int_equal(engine_adapter_pin(s.w, text("default"), text("e"), true, &s.detail), OK);
    await_desired(&s, "e", true);
    assert_false(adapter_now(&s, "b").desired);
    served_close(&s);
}

static void a_pinned_adapter_is_resident_from_the_next_plan_on(void **state)
{
    (void)state;
    struct served s;
    open_with(&s, with_adapters);
    play(&s, 10);
    assert_false(adapter_now(&s, "f").desired);
    assert_int_equal(engine_adapter_pin(s.w, text("default"), text("f"), true, &s.detail), OK);
    play(&s, plan_now(&s).epoch + 2);
    struct adapter_info f = adapter_now(&s, "f");
    assert_true(f.desired && f.config.pinned);
    assert_string_equal(f.why, "pinned");
    assert_int_equal(engine_adapter_pin(s.w, text("default"), text("f"), false, &s.detail), OK);
    play(&s, plan_now(&s).epoch + 2);
    assert_false(adapter_now(&s, "f").desired);
    served_close(&s);
}

static void forced_exploration_spares_requests_that_are_latency_critical(void **state)
{
    (void)state;
    struct served s;
    uint32_t forced = 0, critical = 0;
    open_with(&s, with_forcing);
    /* The slow loop has a thread of its own, which a busy machine may keep waiting. */
    for (uint32_t i = 0; i < 1500 || (!forced && i < 100000); i++) {
        ask(&s, i % TASKS, i % 2);
        bool probe = s.route->reason == REASON_ADAPTER_PROBE;
        forced += probe;
        critical += probe && i % 2;
        assert_int_equal(served_tell(&s, "reward", .5, 0), OK);
    }
    assert_int_equal(critical, 0);
    assert_true(forced > 0);
    served_close(&s);
}

static void a_router_can_give_up_its_adapters_and_have_them_again(void **state)
{
    (void)state;
    struct served s;
    struct router_config c;
    open_with(&s, with_adapters);
    play(&s, 3);
    const struct snapshot *now = engine_snapshot_acquire(s.w);
    c = *now->routers[0]->config;
    engine_snapshot_release(s.w);
    const struct residency_settings kept = c.settings.residency;
    memset(&c.settings.residency, 0, sizeof c.settings.residency);
    assert_int_equal(engine_router_update(s.w, &c, &s.detail), OK);
    served_route(&s);
    assert_false(s.route->adapter.shown);
    c.settings.residency = kept;
    assert_int_equal(engine_router_update(s.w, &c, &s.detail), OK);
    play(&s, plan_now(&s).epoch + 2);
    assert_int_equal(engine_arm_remove(s.w, text("default"), text("a"), &s.detail), OK);
    add_adapter(&s, "a");
    play(&s, plan_now(&s).epoch + 2);
    served_verify(&s);
    assert_int_equal(engine_router_remove(s.w, text("default"), &s.detail), OK);
    served_close(&s);
}

/* ---- the table of routers ---- */

/* The slow loop's row of a router, once it has one. */
static struct resident *row_of(struct served *s, const char *router)
{
    struct resident *r = NULL;
    for (int i = 0; i < PATIENCE && !r; i++) {
        const struct snapshot *now = engine_snapshot_acquire(s->w);
        r = adapters_find(s->e->adapters, snapshot_router(now, router, strlen(router))->uid);
        engine_snapshot_release(s->w);
        if (!r)
            served_nap(1);
    }
    assert_non_null(r);
    return r;
}

static uint32_t arm_uid(struct served *s, const char *name)
{
    const struct snapshot *now = engine_snapshot_acquire(s->w);
    const struct router_view *r = snapshot_router(now, "default", 7);
    uint32_t uid = r->arms[router_view_arm(r, name, strlen(name))]->uid;
    engine_snapshot_release(s->w);
    return uid;
}

static struct router_config config_of(struct served *s, const char *router)
{
    const struct snapshot *now = engine_snapshot_acquire(s->w);
    struct router_config c = *snapshot_router(now, router, strlen(router))->config;
    engine_snapshot_release(s->w);
    return c;
}

static void an_older_router_that_gets_adapters_leaves_those_of_newer_ones_alone(void **state)
{
    (void)state;
    struct served s;
    struct adapter_plan p;
    uint32_t n, total;
    served_open(&s);
    served_router(&s, "older", NULL);
    served_router(&s, "default", with_adapters);
    add_adapter(&s, "a");
    assert_int_equal(plan_now(&s).adapters, 1);
    const struct resident *before = row_of(&s, "default");
    struct router_config c = config_of(&s, "older");
    residency_defaults(&c.settings.residency);
    assert_int_equal(engine_router_update(s.w, &c, &s.detail), OK);
    (void)row_of(&s, "older");
    assert_ptr_equal(row_of(&s, "default"), before);
    assert_int_equal(engine_adapters(s.w, text("default"), NULL, 0, &n, &total, &p, &s.detail), OK);
    served_close(&s);
}

/* ---- one row, without the thread ---- */

static struct router_view *hold(struct served *s)
{
    const struct snapshot *now = engine_snapshot_acquire(s->w);
    struct router_view *v = snapshot_router_hold(now, snapshot_router(now, "default", 7)->uid);
    engine_snapshot_release(s->w);
    return v;
}

static struct resident *new_row(struct served *s)
{
    struct resident *r;
    struct router_view *v = hold(s);
    assert_int_equal(resident_new(v->config, v->uid, v->d, NULL, &r), OK);
    snapshot_router_release(v);
    return r;
}

static void what_failed_of_a_router_is_brought_up_to_it_in_the_next_round(void **state)
{
    (void)state;
    struct served s;
    int failed = 0;
    open_with(&s, with_adapters);
    for (int nth = 1; nth < 8; nth++) {
        struct resident *r = new_row(&s);
        mem_fail_nth(nth);
        enum err e = resident_sync(s.e->adapters, r, hold(&s));
        mem_fail_nth(0);
        failed += e != OK;
        if (e != OK)
            assert_int_equal(resident_sync(s.e->adapters, r, hold(&s)), OK);
        assert_int_equal(controller_state(r->controller)->arms_n, ADAPTERS + 1);
        resident_free(r);
    }
#ifdef SHUNT_FAULTS
    assert_true(failed > 0);
#endif
    served_close(&s);
}

/* Takes connections and says nothing. */
static int listen_silently(char ret_url[REPLICA_URL_CAP])
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    void *address = &at;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, address, len), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, address, &len), 0);
    (void)snprintf(ret_url, REPLICA_URL_CAP, "http://127.0.0.1:%u", (unsigned)ntohs(at.sin_port));
    return fd;
}

static void another_engine_begins_with_nothing_of_what_the_former_one_held(void **state)
{
    (void)state;
    struct served s;
    struct board *b;
    open_with(&s, with_adapters);
    struct resident *r = new_row(&s);
    uint32_t a = arm_uid(&s, "a");
    assert_int_equal(resident_sync(s.e->adapters, r, hold(&s)), OK);
    controller_resident(r->controller, a, true);
    r->rows = mem_calloc(1, sizeof *r->rows);
    r->rows_cap = 1;
    r->rows[0] = (struct engine_row){.uid = a, .phase = ENGINE_RESIDENT, .slot = 3};
    struct router_config c = config_of(&s, "default");
    c.settings.target.engine = RESIDENCY_ENGINE_LLAMACPP;
    c.settings.target.replicas_n = 1;
    int fd = listen_silently(c.settings.target.replicas[0]);
    if (engine_router_update(s.w, &c, &s.detail) != OK)
        fail_msg("%s", s.detail.text);
    assert_int_equal(resident_sync(s.e->adapters, r, hold(&s)), OK);
    assert_false(controller_look(r->controller, a).resident);
    assert_int_equal(resident_round(r, 1, 1, &b), OK);
    assert_non_null(b);
    const struct board_arm *shown = board_find(b, a);
    assert_int_equal(shown->held, 0);
    assert_int_equal(shown->residence, RESIDENCE_COLD);
    board_free(b);
    resident_free(r);
    close(fd);
    served_close(&s);
}

/* ---- decisions made ahead ---- */

static void ask_ahead(struct served *s)
{
    float features[TASKS] = {1};
    struct route_in in = {.features = features, .features_n = TASKS, .defer = true};
    assert_int_equal(served_ask(s, &in), OK);
}

/* Until the slow loop has come to every arm: a request is counted for those that it knows. */
static void await_arms(struct served *s)
{
    static const char *const names[ADAPTERS + 1] = {"a", "b", "c", "d", "e", "f", "qwen"};
    float features[TASKS] = {1};
    for (size_t k = 0; k <= ADAPTERS; k++) {
        const struct slice only = text(names[k]);
        struct route_in in = {.features = features,
                              .features_n = TASKS,
                              .candidates = &only,
                              .candidates_n = 1,
                              .defer = true};
        assert_int_equal(served_ask(s, &in), OK);
        for (int i = 0; i < PATIENCE && !s->route->adapter.shown; i++) {
            served_nap(1);
            assert_int_equal(served_ask(s, &in), OK);
        }
        assert_true(s->route->adapter.shown);
    }
}

/* Until the slow loop has counted as many. */
static void await_requests(struct served *s, uint64_t n)
{
    for (int i = 0; i < PATIENCE && plan_now(s).requests < n; i++)
        served_nap(1);
    assert_int_equal(plan_now(s).requests, n);
}

static void a_deferred_decision_is_asked_for_once_it_is_served(void **state)
{
    (void)state;
    struct served s;
    struct activate_out out;
    open_with(&s, with_adapters);
    await_arms(&s);
    for (int i = 0; i < 5; i++) {
        ask_ahead(&s);
        const struct activate_in in = {.token = {s.route->token, s.route->token_len}};
        assert_int_equal(engine_activate(s.w, &in, &out, &s.detail), OK);
        assert_int_equal(engine_activate(s.w, &in, &out, &s.detail), OK);
        assert_true(out.already);
        assert_int_equal(served_tell(&s, "reward", 1, OUTCOME_OK), OK);
    }
    await_requests(&s, 5);
    for (int i = 0; i < 5; i++) {
        ask_ahead(&s);
        assert_int_equal(served_tell(&s, "reward", 1, OUTCOME_OK), OK);
        assert_int_equal(served_tell(&s, "reward", 1, OUTCOME_OK), OK);
    }
    await_requests(&s, 10);
    served_close(&s);
}

static void a_served_decision_is_in_flight_on_the_replica_that_was_shown(void **state)
{
    (void)state;
    struct served s;
    open_with(&s, with_adapters);
    struct resident *r = row_of(&s, "default");
    struct router_view *v = hold(&s);
    const struct shown_adapter shown = {.shown = true, .replica = 1};
    struct decision d;
    memset(&d, 0, sizeof d);
    d.id[0] = 1;
    d.arm_uid = arm_uid(&s, "a");
    adapters_tell(s.e, r, v, &d, NULL, &shown);
    assert_int_equal(flights_look(s.e->adapters->flights, d.arm_uid, 1).in_flight, 1);
    assert_int_equal(flights_look(s.e->adapters->flights, d.arm_uid, 0).in_flight, 0);
    snapshot_router_release(v);
    served_close(&s);
}

/* ---- forced pulls; this router's policy asks for none, so all are the test's ---- */

static bool explores(struct served *s, const struct route_in *more)
{
    float features[TASKS] = {1};
    struct route_in in = *more;
    in.features = features;
    in.features_n = TASKS;
    assert_int_equal(served_ask(s, &in), OK);
    return s->route->reason == REASON_ADAPTER_PROBE;
}

static void a_forced_pull_waits_for_a_request_that_is_surely_served(void **state)
{
    (void)state;
    struct served s;
    open_with(&s, with_adapters);
    struct resident *r = row_of(&s, "default");
    uint32_t f = arm_uid(&s, "f");
    atomic_store(&r->forced, f);
    assert_false(explores(&s, &(struct route_in){.defer = true}));
    assert_int_equal(atomic_load(&r->forced), f);
    assert_true(explores(&s, &(struct route_in){.max_ranked = 1}));
    assert_string_equal(s.route->arm, "f");
    assert_int_equal(atomic_load(&r->forced), 0);
    served_close(&s);
}

static void with_a_budget(struct router_config *c)
{
    with_adapters(c);
    (void)snprintf(c->settings.budget_metric, NAME_CAP, "cost_usd");
    c->settings.budget_per_request = .001;
}

static void add_at(struct served *s, const char *name, double cost)
{
    struct arm_config a = {.adapter = {.base = "qwen", .path = "/m", .bytes = 100 << 20},
                           .prior_mask = 1U << 2};
    (void)snprintf(a.name, NAME_CAP, "%s", name);
    a.prior_raw[2] = cost;
    a.prior_z[2] = cost < 1 ? cost : 1;
    assert_int_equal(engine_arm_add(s->w, text("default"), &a, &s->detail), OK);
}

static void a_forced_pull_that_the_budget_refuses_is_the_next_request_s(void **state)
{
    (void)state;
    struct served s;
    served_open(&s);
    served_router(&s, "default", with_a_budget);
    add_at(&s, "cheap", .0005);
    add_at(&s, "fair", .0006);
    add_at(&s, "dear", .9);
    struct resident *r = row_of(&s, "default");
    uint32_t dear = arm_uid(&s, "dear"), fair = arm_uid(&s, "fair");
    atomic_store(&r->forced, dear);
    assert_false(explores(&s, &(struct route_in){.max_ranked = 3}));
    assert_string_not_equal(s.route->arm, "dear");
    assert_int_equal(atomic_load(&r->forced), dear);
    atomic_store(&r->forced, fair);
    assert_true(explores(&s, &(struct route_in){.max_ranked = 3}));
    assert_string_equal(s.route->arm, "fair");
    assert_true(s.route->propensity == 1);
    served_close(&s);
}

static void a_forced_pull_under_a_budget_takes_no_place_beyond_the_arms(void **state)
{
    (void)state;
    struct served s;
    served_open(&s);
    served_router(&s, "default", with_a_budget);
    add_at(&s, "a", .0005);
    add_at(&s, "b", .0006);
    struct resident *r = row_of(&s, "default");
    const struct eligible mark = {.index = 77, .issued = 77, .pending = 77, .charge = 77};
    s.w->arms[2] = mark;
    s.w->costs[2] = 77;
    atomic_store(&r->forced, arm_uid(&s, "a"));
    assert_true(explores(&s, &(struct route_in){.max_ranked = 2}));
    assert_string_equal(s.route->arm, "a");
    assert_int_equal(s.w->arms[2].index, mark.index);
    assert_true(s.w->costs[2] == 77);
    served_close(&s);
}

static void a_forced_pull_of_an_arm_that_is_gone_is_forgotten(void **state)
{
    (void)state;
    struct served s;
    open_with(&s, with_adapters);
    struct resident *r = row_of(&s, "default");
    atomic_store(&r->forced, arm_uid(&s, "f"));
    assert_int_equal(engine_arm_remove(s.w, text("default"), text("f"), &s.detail), OK);
    for (int i = 0; i < PATIENCE && atomic_load(&r->forced); i++)
        served_nap(1);
    assert_int_equal(atomic_load(&r->forced), 0);
    served_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plans_make_the_useful_adapters_resident_and_say_why),
        cmocka_unit_test(why_says_what_has_no_place_and_what_is_not_worth_one),
        cmocka_unit_test(what_a_monitor_asks_counts_every_pull_of_an_adapter),
        cmocka_unit_test(a_miss_is_a_term_of_the_score_and_the_answer_says_where_the_adapter_is),
        cmocka_unit_test(a_router_without_adapters_shows_none),
        cmocka_unit_test(epoch_plan_and_window_outlive_the_process),
        cmocka_unit_test(a_pinned_adapter_is_resident_from_the_next_plan_on),
        cmocka_unit_test(pins_of_a_router_that_nobody_asks_are_carried_out),
        cmocka_unit_test(static_begins_with_the_first_adapters_that_were_declared),
        cmocka_unit_test(forced_exploration_spares_requests_that_are_latency_critical),
        cmocka_unit_test(a_router_can_give_up_its_adapters_and_have_them_again),
        cmocka_unit_test(an_older_router_that_gets_adapters_leaves_those_of_newer_ones_alone),
        cmocka_unit_test(what_failed_of_a_router_is_brought_up_to_it_in_the_next_round),
        cmocka_unit_test(another_engine_begins_with_nothing_of_what_the_former_one_held),
        cmocka_unit_test(a_deferred_decision_is_asked_for_once_it_is_served),
        cmocka_unit_test(a_served_decision_is_in_flight_on_the_replica_that_was_shown),
        cmocka_unit_test(a_forced_pull_waits_for_a_request_that_is_surely_served),
        cmocka_unit_test(a_forced_pull_that_the_budget_refuses_is_the_next_request_s),
        cmocka_unit_test(a_forced_pull_under_a_budget_takes_no_place_beyond_the_arms),
        cmocka_unit_test(a_forced_pull_of_an_arm_that_is_gone_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
