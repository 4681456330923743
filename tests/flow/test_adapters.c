/* The simulator's workload, 20,000 requests over the wire, with a stub vLLM whose loads take a
 * fiftieth of their simulated time: the server must earn what the simulator says. The policy code
 * is the same; what differs is everything around it: threads, the journal, an engine that loads
 * while requests are served. */
#include "client/shunt.h"
#include "server/lab/simulate.h"
#include "state/math/check.h"
#include "tests/engines/stub.h"
#include "tests/flow/play.h"
#include "tests/flow/server.h"
#include "tests/unit/cmocka_all.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REQUESTS = 20000, SLOTS = 5, BOARD_LOOKS = 20000 /* A millisecond apart. */ };
static char router_name[] = "loras";
static const double speed = 50; /* Simulated over real time. */
static const double load_weight = .3, load_ref_ms = 1263;

struct world {
    struct workload w;
    struct stub stub;
    struct server server;
    struct call_channel *router, *admin;
    uint64_t served_loads[WORKLOAD_ADAPTERS_MAX]; /* Misses, by adapter. */
    double utility;
    uint64_t misses;
};

static void must(int status, const struct call_error *error)
{
    if (status)
        fail_msg("%s %s: %s", call_status_name(status), error->code, error->message);
}

static void start_engine(struct world *g)
{
    struct stub_adapter adapters[WORKLOAD_ADAPTERS_MAX];
    for (uint32_t i = 0; i < g->w.n; i++)
        adapters[i] = (struct stub_adapter){g->w.name[i], g->w.load_ms[i] / speed};
    stub_start_vllm(&g->stub, SLOTS, adapters, g->w.n);
}

static void declare(struct world *g)
{
    static struct play_adapter arms[WORKLOAD_ADAPTERS_MAX];
    Shunt__V1__ArmSpec *list[WORKLOAD_ADAPTERS_MAX];
    char reward[] = "reward", *urls[] = {g->stub.url};
    Shunt__V1__RouterSpec spec = SHUNT__V1__ROUTER_SPEC__INIT;
    Shunt__V1__RouterSettings settings = SHUNT__V1__ROUTER_SETTINGS__INIT;
    Shunt__V1__Residency r = SHUNT__V1__RESIDENCY__INIT;
    Shunt__V1__Metric metric = SHUNT__V1__METRIC__INIT, *metrics[] = {&metric};
    Shunt__V1__CreateRouterRequest request = SHUNT__V1__CREATE_ROUTER_REQUEST__INIT;
    for (uint32_t i = 0; i < g->w.n; i++) {
        play_adapter(&arms[i], g->w.name[i], g->w.bytes[i]);
        list[i] = &arms[i].spec;
    }
    metric.name = reward;
    metric.has_weight = 1;
    metric.weight = 1;
    r.has_slots = r.has_load_ref_ms = r.has_bytes_per_ms = r.has_engine = r.has_tick_ms = 1;
    r.slots = SLOTS;
    r.load_ref_ms = load_ref_ms / speed;
    r.bytes_per_ms = 500e3 * speed;
    r.engine = SHUNT__V1__RESIDENCY_ENGINE__RESIDENCY_ENGINE_VLLM;
    r.replicas = urls;
    r.n_replicas = 1;
    r.tick_ms = 20;
    settings.residency = &r;
    settings.has_seed = 1;
    settings.seed = 5;
    spec.name = router_name;
    spec.has_task_slots = spec.has_scalars = spec.has_text_block = spec.has_features_n = 1;
    spec.features_n = g->w.d;
    spec.settings = &settings;
    spec.metrics = metrics;
    spec.n_metrics = 1;
    spec.arms = list;
    spec.n_arms = g->w.n;
    request.spec = &spec;
    ProtobufCMessage *response = NULL;
    struct call_error error;
    must(call_unary(g->admin, "/shunt.v1.Admin/CreateRouter", &request.base,
                    &shunt__v1__router_info__descriptor, 20, &response, &error),
         &error);
    protobuf_c_message_free_unpacked(response, NULL);
}

static uint32_t index_of(const struct world *g, const char *name)
{
    for (uint32_t i = 0; i < g->w.n; i++)
        if (strcmp(g->w.name[i], name) == 0)
            return i;
    fail_msg("no adapter %s", name);
    return 0;
}

static double price_of(double load_ms)
{
    return load_weight * load_ms / load_ref_ms;
}

/* Serves it by the adapter that the server chose: what it earned, less what a miss took. */
static double serve(struct world *g, const Shunt__V1__RouteResponse *m, uint64_t t, const float *x,
                    double *ret_reward)
{
    uint32_t i = index_of(g, m->arm_id);
    assert_non_null(m->adapter);
    assert_string_equal(m->adapter->adapter, m->arm_id);
    assert_string_equal(m->adapter->replica, g->stub.url);
    *ret_reward = workload_reward(&g->w, i, t, x);
    if (m->adapter->residence == SHUNT__V1__RESIDENCE__RESIDENCE_RESIDENT)
        return *ret_reward;
    g->misses++;
    return *ret_reward - price_of(workload_load_ms(&g->w, i, g->served_loads[i]++));
}

static void step(struct world *g, uint64_t t)
{
    float x[1 + WORKLOAD_D_MAX];
    double reward;
    struct decision_kept d = {.id = ""};
    struct report_seen seen;
    struct call_error error;
    Shunt__V1__RouteRequest request = SHUNT__V1__ROUTE_REQUEST__INIT;
    ProtobufCMessage *response = NULL;
    workload_context(&g->w, t, 0, x);
    request.router = router_name;
    request.features = x + 1;
    request.n_features = g->w.d;
    for (int i = 0;; i++) {
        must(call_unary(g->router, "/shunt.v1.Router/RouteRequest", &request.base,
                        &shunt__v1__route_response__descriptor, 20, &response, &error),
             &error);
        if (t > 0 || ((const Shunt__V1__RouteResponse *)response)->adapter)
            break; /* Until the first board is there, nobody is an adapter. */
        protobuf_c_message_free_unpacked(response, NULL);
        response = NULL;
        if (i == BOARD_LOOKS)
            fail_msg("no board comes: no answer names an adapter");
        server_nap_ms(1);
    }
    const Shunt__V1__RouteResponse *m = (const Shunt__V1__RouteResponse *)response;
    g->utility += serve(g, m, t, x, &reward);
    memcpy(d.token, m->decision_token.data, m->decision_token.len);
    d.token_len = m->decision_token.len;
    protobuf_c_message_free_unpacked(response, NULL);
    must(play_report(g->router, &d, "reward", reward, &seen, &error), &error);
}

/* The plan's loads, each at its true price: kappa is 1. Returns how many there were. */
static uint64_t pay_loads(struct world *g)
{
    Shunt__V1__ListAdaptersRequest request = SHUNT__V1__LIST_ADAPTERS_REQUEST__INIT;
    ProtobufCMessage *response = NULL;
    struct call_error error;
    uint64_t loads = 0;
    request.router = router_name;
    must(call_unary(g->admin, "/shunt.v1.Admin/ListAdapters", &request.base,
                    &shunt__v1__residency_state__descriptor, 20, &response, &error),
         &error);
    const Shunt__V1__ResidencyState *m = (const Shunt__V1__ResidencyState *)response;
    assert_int_equal(m->n_adapters, g->w.n);
    assert_true(m->plan->epoch > 20 && m->plan->desired == SLOTS);
    for (size_t i = 0; i < m->n_adapters; i++) {
        loads += m->adapters[i]->loads;
        g->utility -= (double)m->adapters[i]->loads * price_of(g->w.load_ms[i]);
    }
    protobuf_c_message_free_unpacked(response, NULL);
    return loads;
}

/* Between these two, at last: the slow loop counts a little later than it routes. */
static void expect_metric(const struct world *g, const char *name, double least, double most)
{
    char sample[160];
    double value = -1;
    (void)snprintf(sample, sizeof sample, "%s{router=\"%s\"}", name, router_name);
    for (int i = 0; i < BOARD_LOOKS && value < least; i++) {
        server_nap_ms(1);
        value = server_metric(&g->server, sample);
    }
    if (value < least || value > most)
        fail_msg("%s is %g, not %g to %g", sample, value, least, most);
}

/* What the client saw; but for what came before the first board, or while a queue was full. */
static void expect_metrics(const struct world *g, uint64_t loads)
{
    char up[160];
    bool answers = false;
    double missed = (double)g->misses;
    expect_metric(g, "shunt_adapter_pulls_total", .99 * REQUESTS, REQUESTS);
    expect_metric(g, "shunt_adapter_misses_total", .9 * missed, missed);
    expect_metric(g, "shunt_adapter_loads_total", (double)loads, 2 * (double)loads);
    expect_metric(g, "shunt_adapter_loads_failed_total", 0, 0);
    expect_metric(g, "shunt_adapters_epoch", 20, REQUESTS);
    expect_metric(g, "shunt_adapters_resident", SLOTS, SLOTS + 1);
    (void)snprintf(up, sizeof up, "shunt_replica_up{router=\"%s\",replica=\"0\",url=\"%s\"}",
                   router_name, g->stub.url);
    for (int i = 0; i < BOARD_LOOKS && !answers; i++) {
        server_nap_ms(1);
        answers = server_metric(&g->server, up) == 1;
    }
    assert_true(answers);
}

/* Every adapter by itself: those that the server says are resident are the plan's, and cost
 * nothing. */
static void expect_libshunt_says_the_same(const struct world *g)
{
    float x[1 + WORKLOAD_D_MAX];
    struct shunt_options options = SHUNT_OPTIONS_INIT;
    struct shunt_request request = SHUNT_REQUEST_INIT;
    struct shunt_decision d = SHUNT_DECISION_INIT;
    struct shunt_error error;
    uint32_t residents = 0;
    options.address = g->server.router;
    options.router = router_name;
    struct shunt_client *client = shunt_open(&options, NULL);
    assert_non_null(client);
    workload_context(&g->w, 0, 0, x);
    request.features = x + 1;
    request.features_n = g->w.d;
    request.timeout_s = 60;
    request.dry_run = true;
    request.candidates_n = 1;
    for (uint32_t i = 0; i < g->w.n; i++) {
        const char *only = g->w.name[i];
        request.candidates = &only;
        if (shunt_route(client, &request, &d, &error) != SHUNT_OK)
            fail_msg("%s", error.message);
        assert_true(d.has_residence && !d.has_engine_slot);
        assert_string_equal(d.adapter, g->w.name[i]);
        assert_string_equal(d.replica, g->stub.url);
        assert_int_equal(d.replica_index, 0);
        assert_true((d.residence == SHUNT_RESIDENT) == (d.expected_load_ms <= 0));
        residents += d.residence == SHUNT_RESIDENT;
    }
    assert_in_range(residents, SLOTS, SLOTS + 1);
    shunt_close(client);
}

static void the_server_earns_what_the_simulator_says(void **state)
{
    (void)state;
    static struct world g;
    struct workload_spec spec;
    struct simulate_settings s;
    struct simulate_run simulated;
    (void)!blas_init();
    workload_defaults(&spec);
    simulate_defaults(&s);
    spec.horizon = REQUESTS;
    assert_int_equal(workload_make(&spec, 1, &g.w), OK);
    assert_int_equal(simulate_run(&g.w, &s, "polar", &simulated), OK);
    start_engine(&g);
    server_init(&g.server);
    assert_true(server_start(&g.server));
    g.router = call_open(g.server.router);
    g.admin = call_open(g.server.admin);
    declare(&g);
    for (uint64_t t = 0; t < REQUESTS; t++)
        step(&g, t);
    uint64_t loads = pay_loads(&g);
    print_message("net utility %.1f, simulated %.1f (%+.2f %%); misses %.2f %%, simulated %.2f %%; "
                  "loads %llu, simulated %llu\n",
                  g.utility, simulated.utility, 100 * (g.utility / simulated.utility - 1),
                  100. * (double)g.misses / REQUESTS, 100 * simulated.miss_rate,
                  (unsigned long long)loads, (unsigned long long)simulated.planned_loads);
    assert_true(fabs(g.utility / simulated.utility - 1) < .03);
    expect_metrics(&g, loads);
    expect_libshunt_says_the_same(&g);
    call_close(g.router);
    call_close(g.admin);
    assert_int_equal(server_stop(&g.server, 15), 0);
    server_free(&g.server);
    stub_done(&g.stub);
    workload_done(&g.w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_server_earns_what_the_simulator_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
