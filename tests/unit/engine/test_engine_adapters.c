/* Routers whose arms are adapters: what a miss costs, what is planned, and what a crash leaves. */
#include "server/engine/engine_adapters.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/engine/served.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { ADAPTERS = 6, SLOTS = 2, TASKS = 3 };

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
    while (engine_adapters(s->w, text("default"), NULL, 0, &n, &total, &p, &s->detail) ==
           ERR_ADAPTERS_PENDING)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
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
    for (int i = 0; i < 20000; i++) {
        p = plan_now(s);
        if (p.epoch >= epochs && p.journalled)
            return p;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
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
    do /* The board follows the plan by a round. */
        ask(&s, 0, false);
    while (s.route->adapter.residence != RESIDENCE_RESIDENT);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plans_make_the_useful_adapters_resident_and_say_why),
        cmocka_unit_test(a_miss_is_a_term_of_the_score_and_the_answer_says_where_the_adapter_is),
        cmocka_unit_test(a_router_without_adapters_shows_none),
        cmocka_unit_test(epoch_plan_and_window_outlive_the_process),
        cmocka_unit_test(a_pinned_adapter_is_resident_from_the_next_plan_on),
        cmocka_unit_test(forced_exploration_spares_requests_that_are_latency_critical),
        cmocka_unit_test(a_router_can_give_up_its_adapters_and_have_them_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
