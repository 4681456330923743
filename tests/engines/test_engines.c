/* Every driver against its engine's stub, each misbehaviour: what is resident comes to be what is
 * desired, in at most two ticks after the engine is itself again. */
#include "server/adapters/reconcile.h"
#include "state/base/mem.h"
#include "tests/engines/fleet.h"
#include "tests/unit/cmocka_all.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static enum engine_kind kinds[] = {ENGINE_VLLM, ENGINE_SGLANG, ENGINE_LLAMACPP};

static struct fleet *fleet_new(void **state)
{
    static struct fleet f;
    (void)state;
    memset(&f, 0, sizeof f);
    return &f;
}

/* Two residents and a scratch slot. */
static int setup(void **state)
{
    enum engine_kind kind = *(enum engine_kind *)*state;
    struct fleet *f = fleet_new(state);
    fleet_stub(f, kind, 3, NULL);
    fleet_open(f, 2);
    fleet_desire(f, "01");
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fleet_done(*state);
    return 0;
}

static void carries_a_plan_out_in_one_tick_and_tells_each_load(void **state)
{
    struct fleet *f = *state;
    assert_int_equal(reconciler_tick(f->r, 0), OK);
    assert_true(fleet_view(f, 0).converged);
    fleet_holds(f, "01");
    /* On a busy machine a touch of vLLM's may look like another load. */
    assert_in_range(f->loads[1], 1, f->kind == ENGINE_VLLM ? RECONCILE_ACTS : 1);
    assert_in_range(f->loads[2], 1, f->kind == ENGINE_VLLM ? RECONCILE_ACTS : 1);
    assert_int_equal(f->loads[3], 0);
    assert_true(f->changes > 0);
    assert_int_equal(fleet_row(f, 0, 3).phase, ENGINE_COLD);
    long loads = stub_number(&f->stubs[0], "loads");
    for (int i = 0; i < 3; i++)
        assert_int_equal(reconciler_tick(f->r, 0), OK);
    assert_int_equal(stub_number(&f->stubs[0], "loads"), loads);
}

static void a_miss_can_be_served_of_every_adapter_of_the_library(void **state)
{
    struct fleet *f = *state;
    assert_int_equal(fleet_ticks(f, 2), 1);
    assert_int_equal(stub_count(&f->stubs[0], "offered"), FLEET_ADAPTERS);
}

static void follows_a_plan_that_changes(void **state)
{
    struct fleet *f = *state;
    assert_int_equal(fleet_ticks(f, 2), 1);
    fleet_desire(f, "12");
    assert_int_equal(fleet_ticks(f, 2), 1);
    fleet_holds(f, "12");
    fleet_desire(f, "45");
    assert_int_equal(fleet_ticks(f, 2), 1);
    fleet_holds(f, "45");
    assert_true(f->loads[5] >= 1);
}

static void heals(struct fleet *f, const char *mode, enum err expected)
{
    stub_tell(&f->stubs[0], mode);
    for (int i = 0; i < 3; i++)
        assert_int_equal(reconciler_tick(f->r, 0), expected);
    assert_false(fleet_view(f, 0).up);
    assert_string_not_equal(fleet_view(f, 0).error, "");
    stub_tell(&f->stubs[0], "{\"mode\":\"ok\"}");
    assert_in_range(fleet_ticks(f, 2), 1, 2);
    assert_string_equal(fleet_view(f, 0).error, "");
    fleet_holds(f, "01");
}

/* Before it has loaded anything, and after. */
static void heals_twice(struct fleet *f, const char *mode, enum err expected)
{
    heals(f, mode, expected);
    heals(f, mode, expected);
}

static void heals_from_an_engine_that_answers_500(void **state)
{
    heals_twice(*state, "{\"mode\":\"error\"}", ERR_ENGINE_REFUSED);
}

static void heals_from_an_engine_that_answers_garbage(void **state)
{
    heals_twice(*state, "{\"mode\":\"garbage\"}", ERR_ENGINE_ANSWER);
}

static void heals_from_50_mb_of_garbage_of_which_it_reads_little(void **state)
{
    heals_twice(*state, "{\"mode\":\"garbage\",\"bytes\":52428800}", ERR_ENGINE_ANSWER);
}

/* Each call of a tick that hangs waits for its time to be up: short, and long for what heals. */
static void reopen(struct fleet *f, uint32_t timeout_ms)
{
    struct reconciler_config config;
    struct engine_replica replicas[FLEET_REPLICAS];
    reconciler_close(f->r);
    fleet_config(f, &config, replicas, 2);
    config.call_timeout_ms = config.load_timeout_ms = timeout_ms;
    assert_int_equal(reconciler_open(&config, &f->r, NULL), OK);
    fleet_desire(f, "01");
}

static void heals_from_an_engine_that_hangs(void **state)
{
    reopen(*state, 2000);
    heals_twice(*state, "{\"mode\":\"hang\"}", ERR_ENGINE_DOWN);
}

static void a_slow_engine_is_only_slow(void **state)
{
    struct fleet *f = *state;
    stub_tell(&f->stubs[0], "{\"mode\":\"slow\",\"ms\":30}");
    assert_int_equal(fleet_ticks(f, 2), 1);
    fleet_holds(f, "01");
}

static void loads_again_what_a_crashed_engine_has_forgotten(void **state)
{
    struct fleet *f = *state;
    assert_int_equal(fleet_ticks(f, 2), 1);
    stub_kill(&f->stubs[0]);
    for (int i = 0; i < 3; i++)
        assert_int_equal(reconciler_tick(f->r, 0), ERR_ENGINE_DOWN);
    assert_int_equal(fleet_row(f, 0, 1).phase, ENGINE_COLD);
    stub_restart(&f->stubs[0]);
    assert_in_range(fleet_ticks(f, 2), 1, 2);
    fleet_holds(f, "01");
    assert_true(f->loads[1] >= 2);
}

/* A quick one: no call fell into the gap. */
static void notices_a_restart_between_two_ticks(void **state)
{
    struct fleet *f = *state;
    assert_int_equal(fleet_ticks(f, 2), 1);
    stub_restart(&f->stubs[0]);
    assert_in_range(fleet_ticks(f, 2), 1, 2);
    fleet_holds(f, "01");
}

static void heals_from_a_crash_half_way_through_a_load(void **state)
{
    struct fleet *f = *state;
    stub_tell(&f->stubs[0], "{\"mode\":\"crash_on_load\"}");
    assert_int_equal(reconciler_tick(f->r, 0), ERR_ENGINE_DOWN);
    assert_int_equal(f->failures[1], 1);
    stub_restart(&f->stubs[0]);
    assert_in_range(fleet_ticks(f, 2), 1, 2);
    fleet_holds(f, "01");
}

static void one_refused_load_delays_no_other(void **state)
{
    struct fleet *f = *state;
    stub_tell(&f->stubs[0], "{\"mode\":\"load_error\",\"count\":1}");
    assert_int_equal(reconciler_tick(f->r, 0), OK);
    assert_int_equal(f->failures[1], 1);
    assert_true(f->loads[2] >= 1);
    fleet_holds(f, "1");
    assert_true(fleet_view(f, 0).up);
    assert_in_range(fleet_ticks(f, 2), 1, 2);
    fleet_holds(f, "01");
}

static void an_engine_that_refuses_every_load_is_not_down(void **state)
{
    struct fleet *f = *state;
    stub_tell(&f->stubs[0], "{\"mode\":\"load_error\"}");
    for (int i = 0; i < 3; i++)
        assert_int_equal(reconciler_tick(f->r, 0), OK);
    assert_true(fleet_view(f, 0).up);
    assert_int_equal(fleet_row(f, 0, 1).phase, ENGINE_FAILED);
    assert_non_null(strstr(fleet_row(f, 0, 1).error, "500"));
    stub_tell(&f->stubs[0], "{\"mode\":\"ok\"}");
    assert_in_range(fleet_ticks(f, 2), 1, 2);
    fleet_holds(f, "01");
    assert_string_equal(fleet_row(f, 0, 1).error, "");
}

/* What a log has of an event. */
static int logged(FILE *lines, const char *event)
{
    char line[2048];
    int n = 0;
    rewind(lines);
    while (fgets(line, sizeof line, lines))
        n += strstr(line, event) != NULL;
    return n;
}

/* Its list answers all the while. */
static void loads_fail_for_good(struct fleet *f, const char *mode, uint32_t timeout_ms,
                                enum err expected)
{
    struct reconciler_config config;
    struct engine_replica replicas[FLEET_REPLICAS];
    FILE *lines = tmpfile();
    const struct log_options options = {.fd = fileno(lines), .level = LOG_DEBUG};
    reconciler_close(f->r);
    fleet_config(f, &config, replicas, 2);
    assert_int_equal(log_open(&options, &config.log), OK);
    config.load_timeout_ms = timeout_ms;
    assert_int_equal(reconciler_open(&config, &f->r, NULL), OK);
    fleet_desire(f, "01");
    stub_tell(&f->stubs[0], mode);
    for (uint32_t i = 1; i <= 4; i++) {
        usleep(3000); /* Past every back-off of these tests. */
        assert_int_equal(reconciler_tick(f->r, 0), expected);
        assert_int_equal(fleet_view(f, 0).failures, i);
        assert_false(fleet_view(f, 0).up);
    }
    stub_tell(&f->stubs[0], "{\"mode\":\"ok\"}");
    assert_in_range(fleet_ticks(f, 2), 1, 2);
    assert_int_equal(fleet_view(f, 0).failures, 0);
    fleet_holds(f, "01");
    reconciler_close(f->r);
    f->r = NULL;
    log_close(config.log);
    assert_int_equal(logged(lines, "engine_down"), 1);
    assert_int_equal(logged(lines, "engine_up"), 1);
    (void)fclose(lines);
}

static void an_engine_whose_loads_hang_is_down(void **state)
{
    loads_fail_for_good(*state, "{\"mode\":\"load_hang\"}", 500, ERR_ENGINE_DOWN);
}

static void an_engine_whose_loads_want_another_token_is_down(void **state)
{
    loads_fail_for_good(*state, "{\"mode\":\"load_error\",\"status\":403}", 5000,
                        ERR_ENGINE_REFUSED);
}

/* It is looked at every tick, but its loads are not tried every tick; and that nothing is tried
 * does not mean that it is well. */
static void loads_that_hang_sit_out_their_pauses_while_the_list_is_looked_at(void **state)
{
    struct fleet *f = *state;
    struct reconciler_config config;
    struct engine_replica replicas[FLEET_REPLICAS];
    reconciler_close(f->r);
    fleet_config(f, &config, replicas, 2);
    config.load_timeout_ms = 500;
    config.backoff_min_ms = 60000;
    config.backoff_max_ms = 3600000;
    assert_int_equal(reconciler_open(&config, &f->r, NULL), OK);
    fleet_desire(f, "01");
    stub_tell(&f->stubs[0], "{\"mode\":\"load_hang\"}");
    uint32_t hung = 0; /* Each adapter once, where all of them are offered. */
    while (hung < FLEET_ADAPTERS && reconciler_tick(f->r, 0) != OK)
        hung++;
    assert_in_range(hung, 2, FLEET_ADAPTERS);
    for (int i = 0; i < 5; i++)
        assert_int_equal(reconciler_tick(f->r, 0), OK);
    assert_int_equal(f->failures[1], 1);
    assert_int_equal(f->failures[2], 1);
    assert_int_equal(fleet_view(f, 0).failures, hung); /* Only what goes well ends the row. */
    assert_false(fleet_view(f, 0).converged);
    stub_kill(&f->stubs[0]); /* Now it is gone, and what comes back is another process. */
    assert_int_equal(reconciler_tick(f->r, 0), ERR_ENGINE_DOWN);
    stub_restart(&f->stubs[0]);
    assert_in_range(fleet_ticks(f, 2), 1, 2);
    assert_int_equal(fleet_view(f, 0).failures, 0);
    fleet_holds(f, "01");
}

static void finds_out_an_engine_that_lies(void **state)
{
    struct fleet *f = *state;
    const char *wanted = "01";
    if (f->kind == ENGINE_SGLANG) { /* A build that never listed an adapter is believed. */
        assert_int_equal(fleet_ticks(f, 2), 1);
        fleet_desire(f, wanted = "23");
    }
    stub_tell(&f->stubs[0], "{\"mode\":\"lie\"}");
    for (int i = 0; i < 3; i++) {
        usleep(3000); /* Past every back-off of these tests. */
        assert_int_equal(reconciler_tick(f->r, 0), OK);
    }
    assert_true(fleet_row(f, 0, (uint32_t)(wanted[0] - '0') + 1).failures > 0);
    stub_tell(&f->stubs[0], "{\"mode\":\"ok\"}");
    assert_in_range(fleet_ticks(f, 2), 1, 2);
    fleet_holds(f, wanted);
}

static void releases_nothing_that_has_requests_in_flight(void **state)
{
    struct fleet *f = *state;
    assert_int_equal(fleet_ticks(f, 2), 1);
    f->in_flight[1] = 1;
    fleet_desire(f, "12");
    for (int i = 0; i < 3; i++)
        assert_int_equal(reconciler_tick(f->r, 0), OK);
    assert_true(stub_has(&f->stubs[0], "resident", "a0"));
    assert_int_equal(fleet_row(f, 0, 1).phase, ENGINE_DRAINING);
    assert_int_equal(fleet_row(f, 0, 3).phase, ENGINE_COLD);
    f->in_flight[1] = 0;
    assert_int_equal(fleet_ticks(f, 2), 1);
    fleet_holds(f, "12");
    assert_int_equal(fleet_view(f, 0).undrained, 0);
}

static void says_so_when_the_engine_has_fewer_slots_and_does_not_thrash(void **state)
{
    enum engine_kind kind = *(enum engine_kind *)*state;
    struct fleet *f = fleet_new(state);
    fleet_stub(f, kind, 2, NULL);
    fleet_open(f, 3);
    fleet_desire(f, "012");
    for (int i = 0; i < 3; i++)
        assert_int_equal(reconciler_tick(f->r, 0), OK);
    assert_int_equal(fleet_row(f, 0, 1).phase, ENGINE_RESIDENT);
    assert_true(stub_has(&f->stubs[0], "resident", "a0"));
    assert_int_equal(fleet_row(f, 0, 3).phase, ENGINE_FAILED);
    assert_string_not_equal(fleet_row(f, 0, 3).error, "");
    assert_false(fleet_view(f, 0).converged);
    long loads = stub_number(&f->stubs[0], "loads");
    for (int i = 0; i < 5; i++) {
        usleep(3000); /* Past every back-off of these tests. */
        assert_int_equal(reconciler_tick(f->r, 0), OK);
    }
    assert_int_equal(stub_number(&f->stubs[0], "loads"), loads);
    fleet_done(f);
}

/* Without a word on slots: as many as bytes allow, and as the engine has. */
/* Whoever was there before us pinned other adapters than we want: their slots come free. */
static void pins_of_a_process_before_this_one_are_taken_over(void **state)
{
    struct fleet *f = *state;
    assert_int_equal(reconciler_tick(f->r, 0), OK);
    fleet_holds(f, "01");
    reconciler_close(f->r);
    fleet_open(f, 2);
    fleet_desire(f, "12");
    assert_in_range(fleet_ticks(f, 2), 1, 2);
    fleet_holds(f, "12");
    assert_int_equal(fleet_view(f, 0).errors, 0);
    assert_int_equal(fleet_view(f, 0).slots, 2);
    fleet_desire(f, "34");
    assert_in_range(fleet_ticks(f, 2), 1, 2);
    fleet_holds(f, "34");
}

static void bytes_alone_bound_what_is_resident(void **state)
{
    enum engine_kind kind = *(enum engine_kind *)*state;
    struct fleet *f = fleet_new(state);
    struct reconciler_config config;
    struct engine_replica replicas[FLEET_REPLICAS];
    fleet_stub(f, kind, 3, NULL);
    if (kind == ENGINE_LLAMACPP) {
        fleet_config(f, &config, replicas, 0);
        config.bytes = 1000;
        assert_int_equal(reconciler_open(&config, &f->r, NULL), ERR_OUT_OF_RANGE);
    } else {
        fleet_open(f, 0);
        fleet_desire(f, "012");
        assert_in_range(fleet_ticks(f, 2), 1, 2);
        fleet_holds(f, "01");
        assert_int_equal(fleet_view(f, 0).wanted, 2);
    }
    fleet_done(f);
}

static void a_wrong_token_is_an_error_that_does_not_tell_it(void **state)
{
    enum engine_kind kind = *(enum engine_kind *)*state;
    struct fleet *f = fleet_new(state);
    const char *more[] = {"--token", "right-secret", "--echo", NULL};
    struct reconciler_config config;
    struct engine_replica replicas[FLEET_REPLICAS];
    fleet_stub(f, kind, 3, more);
    fleet_config(f, &config, replicas, 2);
    FILE *lines = tmpfile();
    const struct log_options options = {.fd = fileno(lines), .level = LOG_DEBUG};
    assert_int_equal(log_open(&options, &config.log), OK);
    config.router = "loras";
    replicas[0].token = "wrong-secret";
    assert_int_equal(reconciler_open(&config, &f->r, NULL), OK);
    fleet_desire(f, "01");
    assert_int_equal(reconciler_tick(f->r, 0), ERR_ENGINE_REFUSED);
    assert_non_null(strstr(fleet_view(f, 0).error, "401"));
    assert_null(strstr(fleet_view(f, 0).error, "secret"));
    reconciler_close(f->r);
    replicas[0].token = "right-secret";
    assert_int_equal(reconciler_open(&config, &f->r, NULL), OK);
    fleet_desire(f, "01");
    assert_int_equal(fleet_ticks(f, 2), 1);
    log_close(config.log);
    char text[4096];
    rewind(lines);
    size_t n = fread(text, 1, sizeof text - 1, lines);
    text[n] = 0;
    (void)fclose(lines);
    assert_non_null(strstr(text, "\"engine_down\",\"router\":\"loras\",\"replica\":\"r0\""));
    assert_null(strstr(text, "secret"));
    fleet_done(f);
}

static bool is_loading(struct fleet *f)
{
    return fleet_row(f, 0, 1).phase == ENGINE_LOADING || fleet_view(f, 0).ticks > 0;
}

/* A pass that was under way when the stub began to hang may still end; after it one more begins at
 * most, and it is one that hangs. */
static void wait_until_it_hangs(struct fleet *f)
{
    uint64_t ticks = 0, before = 0;
    for (int i = 0; i < 100 && fleet_view(f, 0).requests != before; i++) {
        before = fleet_view(f, 0).requests;
        usleep(200000); /* Ten ticks. */
        ticks = fleet_view(f, 0).ticks;
    }
    fleet_desire(f, "23");
    usleep(200000);
    assert_int_equal(fleet_view(f, 0).ticks, ticks);
    assert_int_equal(fleet_view(f, 0).requests, before);
}

/* If any of these waited for the engine, this would never end: the stub answers nothing. */
static void a_hanging_engine_holds_up_nobody_and_no_shutdown(void **state)
{
    struct fleet *f = *state;
    struct reconciler_config config;
    struct engine_replica replicas[FLEET_REPLICAS];
    reconciler_close(f->r);
    fleet_config(f, &config, replicas, 2);
    config.call_timeout_ms = 60000;
    config.load_timeout_ms = 3600000;
    assert_int_equal(reconciler_open(&config, &f->r, NULL), OK);
    fleet_desire(f, "01");
    assert_int_equal(reconciler_start(f->r), OK);
    assert_true(fleet_until(f, is_loading));
    stub_tell(&f->stubs[0], "{\"mode\":\"hang\"}");
    wait_until_it_hangs(f);
    for (int i = 0; i < 100; i++) {
        fleet_desire(f, i % 2 ? "23" : "45");
        (void)fleet_view(f, 0);
        (void)fleet_row(f, 0, 1);
    }
    reconciler_close(f->r);
    f->r = NULL;
}

static bool both_converged(struct fleet *f)
{
    return fleet_view(f, 0).converged && fleet_view(f, 1).converged &&
           fleet_view(f, 0).wanted + fleet_view(f, 1).wanted >= 4;
}

static bool second_took_over(struct fleet *f)
{
    return !fleet_view(f, 0).up && fleet_row(f, 1, 1).phase == ENGINE_RESIDENT &&
           fleet_row(f, 1, 2).phase == ENGINE_RESIDENT;
}

static void the_share_of_a_dead_replica_goes_to_the_others_and_comes_back(void **state)
{
    enum engine_kind kind = *(enum engine_kind *)*state;
    struct fleet *f = fleet_new(state);
    fleet_stub(f, kind, 3, NULL);
    fleet_stub(f, kind, 3, NULL);
    fleet_open(f, 2);
    fleet_desire(f, "0123");
    assert_int_equal(reconciler_start(f->r), OK);
    assert_true(fleet_until(f, both_converged));
    stub_kill(&f->stubs[0]);
    assert_true(fleet_until(f, second_took_over)); /* The two busiest. */
    stub_restart(&f->stubs[0]);
    assert_true(fleet_until(f, both_converged));
    for (uint32_t uid = 1; uid <= 4; uid++)
        assert_true(fleet_row(f, 0, uid).phase == ENGINE_RESIDENT ||
                    fleet_row(f, 1, uid).phase == ENGINE_RESIDENT);
    fleet_done(f);
}

/* Its list answers all the while. */
static void the_share_of_a_replica_whose_loads_fail_stays_away_until_they_go_well(void **state)
{
    enum engine_kind kind = *(enum engine_kind *)*state;
    struct fleet *f = fleet_new(state);
    fleet_stub(f, kind, 3, NULL);
    fleet_stub(f, kind, 3, NULL);
    fleet_open(f, 2);
    fleet_desire(f, "0123");
    stub_tell(&f->stubs[0], "{\"mode\":\"load_error\",\"status\":403}");
    for (int i = 0; i < 6; i++) {
        usleep(3000); /* Past every back-off of these tests. */
        f->changes_up = 0;
        assert_int_equal(reconciler_tick(f->r, 0), ERR_ENGINE_REFUSED);
        assert_int_equal(f->changes_up > 0, i < 3); /* Not even for the length of a pass. */
        assert_int_equal(reconciler_tick(f->r, 1), OK);
        assert_int_equal(second_took_over(f), i >= 2);
    }
    stub_tell(&f->stubs[0], "{\"mode\":\"ok\"}");
    for (int i = 0; i < 3; i++) {
        usleep(3000);
        assert_int_equal(reconciler_tick(f->r, 0), OK);
        assert_int_equal(reconciler_tick(f->r, 1), OK);
    }
    assert_true(both_converged(f));
    for (uint32_t uid = 1; uid <= 4; uid++)
        assert_true(fleet_row(f, 0, uid).phase == ENGINE_RESIDENT ||
                    fleet_row(f, 1, uid).phase == ENGINE_RESIDENT);
    fleet_done(f);
}

static void what_leaves_the_library_leaves_the_engine(void **state)
{
    struct fleet *f = *state;
    if (f->kind == ENGINE_LLAMACPP)
        skip();
    assert_int_equal(fleet_ticks(f, 2), 1);
    const struct engine_adapter left[] = {
        {1, "a0", "/models/a0.gguf", 1000, 1, true, 0},
        {2, "a1", "/models/a1-retrained", 1000, .5, true, 0}, /* Another path: loaded anew. */
    };
    assert_int_equal(reconciler_desire(f->r, left, 2, NULL), OK);
    assert_int_equal(fleet_ticks(f, 2), 1);
    fleet_holds(f, "01");
    assert_int_equal(stub_count(&f->stubs[0], "offered"), 2);
    assert_true(f->loads[2] >= 2);
}

/* Requests of one pass that has nothing to do. */
static uint64_t quiet_requests(struct fleet *f)
{
    uint64_t before = fleet_view(f, 0).requests;
    usleep(3000); /* Past every back-off of these tests. */
    assert_int_equal(reconciler_tick(f->r, 0), OK);
    return fleet_view(f, 0).requests - before;
}

static void what_the_engine_will_not_forget_is_given_up(void **state)
{
    struct fleet *f = *state;
    if (f->kind == ENGINE_LLAMACPP)
        skip();
    const struct engine_adapter left[] = {
        {1, "a0", "/models/a0.gguf", 1000, 1, true, 0},
        {2, "a1", "/models/a1.gguf", 1000, .5, true, 0},
    };
    assert_int_equal(fleet_ticks(f, 2), 1);
    uint64_t quiet = quiet_requests(f);
    stub_tell(&f->stubs[0], "{\"mode\":\"unload_error\"}");
    assert_int_equal(reconciler_desire(f->r, left, 2, NULL), OK);
    assert_true(quiet_requests(f) > quiet);
    int n = 0;
    while (quiet_requests(f) > quiet)
        assert_true(++n < 2 * RECONCILE_HOPELESS);
    assert_int_equal(stub_count(&f->stubs[0], "offered"), FLEET_ADAPTERS);
    assert_int_equal(fleet_ticks(f, 1), 1);
    fleet_holds(f, "01");
}

/* Else the new one would be served the old one's weights. */
static void a_successor_waits_for_its_name_however_often_the_engine_refuses(void **state)
{
    struct fleet *f = *state;
    if (f->kind == ENGINE_LLAMACPP)
        skip();
    const struct engine_adapter left[] = {
        {1, "a0", "/models/a0.gguf", 1000, 1, true, 0},
        {2, "a1", "/models/a1-retrained", 1000, .5, true, 0},
    };
    assert_int_equal(fleet_ticks(f, 2), 1);
    unsigned loads = f->loads[2];
    stub_tell(&f->stubs[0], "{\"mode\":\"unload_error\"}");
    assert_int_equal(reconciler_desire(f->r, left, 2, NULL), OK);
    for (int i = 0; i < 2 * RECONCILE_HOPELESS; i++)
        (void)quiet_requests(f);
    assert_int_equal(f->loads[2], loads);
    assert_int_not_equal(fleet_row(f, 0, 2).phase, ENGINE_RESIDENT);
    stub_tell(&f->stubs[0], "{\"mode\":\"ok\"}");
    assert_in_range(fleet_ticks(f, 2), 1, 2);
    fleet_holds(f, "01");
    assert_true(f->loads[2] > loads);
}

static void ten_thousand_adapters_of_an_engine_are_listed(void **state)
{
    enum engine_kind kind = *(enum engine_kind *)*state;
    struct fleet *f = fleet_new(state);
    const char *more[] = {"--others", "10000", NULL};
    if (kind == ENGINE_LLAMACPP)
        skip();
    fleet_stub(f, kind, 3, more);
    fleet_open(f, 2);
    fleet_desire(f, "01");
    assert_in_range(fleet_ticks(f, 2), 1, 2);
    fleet_holds(f, "01");
    fleet_done(f);
}

/* The n-th allocation fails, anywhere in a plan and the tick that carries it out. */
static void memory_may_run_out_in_a_tick_and_the_next_one_heals(void **state)
{
    struct fleet *f = *state;
#ifdef SHUNT_FAULTS
    assert_int_equal(fleet_ticks(f, 2), 1);
    for (long n = 1; n <= 40; n++) {
        const char *wanted = n % 2 ? "23" : "01";
        fleet_desire(f, wanted);
        mem_fail_nth(n);
        enum err e = reconciler_tick(f->r, 0);
        mem_fail_nth(0);
        assert_true(e == OK || e == ERR_NOMEM);
        assert_in_range(fleet_ticks(f, 2), 1, 2);
        fleet_holds(f, wanted);
    }
#else
    (void)f;
    skip();
#endif
}

#define EACH(test)                                                                                 \
    {"vllm: " #test, test, setup, teardown, &kinds[0]},                                            \
        {"sglang: " #test, test, setup, teardown, &kinds[1]},                                      \
    {                                                                                              \
        "llamacpp: " #test, test, setup, teardown, &kinds[2]                                       \
    }
#define EACH_ALONE(test)                                                                           \
    {"vllm: " #test, test, NULL, NULL, &kinds[0]},                                                 \
        {"sglang: " #test, test, NULL, NULL, &kinds[1]},                                           \
    {                                                                                              \
        "llamacpp: " #test, test, NULL, NULL, &kinds[2]                                            \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(carries_a_plan_out_in_one_tick_and_tells_each_load),
        EACH(a_miss_can_be_served_of_every_adapter_of_the_library),
        EACH(follows_a_plan_that_changes),
        EACH(heals_from_an_engine_that_answers_500),
        EACH(heals_from_an_engine_that_answers_garbage),
        EACH(heals_from_50_mb_of_garbage_of_which_it_reads_little),
        EACH(heals_from_an_engine_that_hangs),
        EACH(a_slow_engine_is_only_slow),
        EACH(loads_again_what_a_crashed_engine_has_forgotten),
        EACH(notices_a_restart_between_two_ticks),
        EACH(pins_of_a_process_before_this_one_are_taken_over),
        EACH(heals_from_a_crash_half_way_through_a_load),
        EACH(one_refused_load_delays_no_other),
        EACH(an_engine_that_refuses_every_load_is_not_down),
        EACH(an_engine_whose_loads_hang_is_down),
        EACH(an_engine_whose_loads_want_another_token_is_down),
        EACH(loads_that_hang_sit_out_their_pauses_while_the_list_is_looked_at),
        EACH(finds_out_an_engine_that_lies),
        EACH(releases_nothing_that_has_requests_in_flight),
        EACH_ALONE(says_so_when_the_engine_has_fewer_slots_and_does_not_thrash),
        EACH_ALONE(bytes_alone_bound_what_is_resident),
        EACH_ALONE(a_wrong_token_is_an_error_that_does_not_tell_it),
        EACH(a_hanging_engine_holds_up_nobody_and_no_shutdown),
        EACH_ALONE(the_share_of_a_dead_replica_goes_to_the_others_and_comes_back),
        EACH_ALONE(the_share_of_a_replica_whose_loads_fail_stays_away_until_they_go_well),
        EACH(what_leaves_the_library_leaves_the_engine),
        EACH(what_the_engine_will_not_forget_is_given_up),
        EACH(a_successor_waits_for_its_name_however_often_the_engine_refuses),
        EACH_ALONE(ten_thousand_adapters_of_an_engine_are_listed),
        EACH(memory_may_run_out_in_a_tick_and_the_next_one_heals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
