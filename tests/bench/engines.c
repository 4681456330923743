#include "tests/bench/engines.h"

#include "client/call.h"
#include "shunt/v1/admin.pb-c.h"
#include "shunt/v1/router.pb-c.h"
#include "tests/bench/load.h"
#include "tests/bench/machine.h"
#include "tests/engines/stub.h"
#include "tests/flow/play.h"
#include "tests/flow/server.h"

#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ADAPTERS = 15,
    SLOTS = 5,
    LOAD_MS = 20,
    FEATURES = 10,
    PROMPTS = 64,
    BYTES_CAP = 256,
    ROUNDS_MAX = 100,
    SETTLE_MS = 300, /* Of a state, before it is measured: several looks at the engine. */
    TICK_MS = 100,   /* Ten times as often as by default. */
};

/* In the order of a round; every other stretch is healthy. */
enum state { DEAD, SLOW, LYING, STATES };
static const struct {
    const char *name, *mode; /* mode NULL: the process is killed. */
} states[STATES] = {
    {"dead", NULL}, {"slow", "{\"mode\":\"slow\",\"ms\":300}"}, {"lying", "{\"mode\":\"lie\"}"}};

/* What the server did to the engine. */
struct asked {
    double calls, errors, loads;
};

struct stretch {
    double p50_us, p99_us, calls_per_s;
    struct asked asked;
};

struct engines {
    int rounds, in_flight;
    double seconds;
    bool json;
    struct stub stub;
    struct server server;
    struct call_channel *admin;
    grpc_channel *channel;
    uint8_t bytes[PROMPTS][BYTES_CAP];
    size_t len[PROMPTS];
    /* Stretch 2 s + 1 of a round is state s, the others are healthy. */
    struct stretch seen[ROUNDS_MAX][2 * STATES + 1];
};

static char router_name[] = "loras";

static _Noreturn void die(const char *what)
{
    (void)fprintf(stderr, "shunt-bench engines: %s\n", what);
    exit(EXIT_FAILURE);
}

/* ---- The world ---- */

static void name_of(int i, char ret[32])
{
    (void)snprintf(ret, 32, "lora-%d", i);
}

static void start_engine(struct engines *b)
{
    char names[ADAPTERS][32];
    struct stub_adapter adapters[ADAPTERS];
    for (int i = 0; i < ADAPTERS; i++) {
        name_of(i, names[i]);
        adapters[i] = (struct stub_adapter){names[i], LOAD_MS};
    }
    stub_start_vllm(&b->stub, SLOTS, adapters, ADAPTERS);
}

static ProtobufCMessage *ask(struct engines *b, const char *path, const ProtobufCMessage *request,
                             const ProtobufCMessageDescriptor *type)
{
    struct call_error error;
    ProtobufCMessage *response = NULL;
    if (call_unary(b->admin, path, request, type, 60, &response, &error))
        die(error.message);
    return response;
}

/* No decision log: what the disk does to the tail would hide what an engine does. */
static void create_router(struct engines *b)
{
    struct play_adapter arms[ADAPTERS];
    Shunt__V1__ArmSpec *list[ADAPTERS];
    char *urls[] = {b->stub.url};
    Shunt__V1__RouterSpec spec = SHUNT__V1__ROUTER_SPEC__INIT;
    Shunt__V1__RouterSettings settings = SHUNT__V1__ROUTER_SETTINGS__INIT;
    Shunt__V1__Residency r = SHUNT__V1__RESIDENCY__INIT;
    Shunt__V1__CreateRouterRequest request = SHUNT__V1__CREATE_ROUTER_REQUEST__INIT;
    for (int i = 0; i < ADAPTERS; i++) {
        char name[32];
        name_of(i, name);
        play_adapter(&arms[i], name, (uint64_t)LOAD_MS * 1000000);
        list[i] = &arms[i].spec;
    }
    r.has_slots = r.has_bytes_per_ms = r.has_engine = r.has_tick_ms = 1;
    r.slots = SLOTS;
    r.bytes_per_ms = 1e6;
    r.engine = SHUNT__V1__RESIDENCY_ENGINE__RESIDENCY_ENGINE_VLLM;
    r.replicas = urls;
    r.n_replicas = 1;
    r.tick_ms = TICK_MS;
    settings.residency = &r;
    settings.has_decision_log = 1;
    settings.decision_log = SHUNT__V1__DECISION_LOG__DECISION_LOG_OFF;
    spec.name = router_name;
    spec.has_task_slots = spec.has_scalars = spec.has_text_block = spec.has_features_n = 1;
    spec.features_n = FEATURES;
    spec.settings = &settings;
    spec.arms = list;
    spec.n_arms = ADAPTERS;
    request.spec = &spec;
    protobuf_c_message_free_unpacked(
        ask(b, "/shunt.v1.Admin/CreateRouter", &request.base, &shunt__v1__router_info__descriptor),
        NULL);
}

static void make_prompts(struct engines *b)
{
    for (size_t k = 0; k < PROMPTS; k++) {
        float x[FEATURES];
        Shunt__V1__RouteRequest m = SHUNT__V1__ROUTE_REQUEST__INIT;
        for (size_t i = 0; i < FEATURES; i++)
            x[i] = (float)((k * 5 + i * 7) % 11) / 11.0F - .5F;
        m.router = router_name;
        m.features = x;
        m.n_features = FEATURES;
        b->len[k] = protobuf_c_message_get_packed_size(&m.base);
        if (b->len[k] > BYTES_CAP)
            die("a request is longer than its room");
        (void)protobuf_c_message_pack(&m.base, b->bytes[k]);
    }
}

/* ---- A round ---- */

static bool next_request(void *ctx, uint64_t i, struct load_message *ret)
{
    struct engines *b = ctx;
    *ret = (struct load_message){b->bytes[i % PROMPTS], b->len[i % PROMPTS]};
    return true;
}

static struct load_result run(struct engines *b, double seconds)
{
    struct load_result result;
    const struct load l = {.channel = b->channel,
                           .path = "/shunt.v1.Router/RouteRequest",
                           .in_flight = (uint32_t)b->in_flight,
                           .seconds = seconds,
                           .request = next_request,
                           .ctx = b,
                           .server = b->server.pid};
    load_run(&l, &result);
    if (result.errors)
        die(result.first_error);
    return result;
}

static struct asked look(struct engines *b)
{
    Shunt__V1__GetPlanRequest request = SHUNT__V1__GET_PLAN_REQUEST__INIT;
    request.router = router_name;
    ProtobufCMessage *m =
        ask(b, "/shunt.v1.Admin/GetPlan", &request.base, &shunt__v1__adapter_plan__descriptor);
    const Shunt__V1__AdapterPlan *p = (const Shunt__V1__AdapterPlan *)m;
    if (p->n_replicas != 1)
        die("the router has no replica");
    struct asked a = {(double)p->replicas[0]->requests, (double)p->replicas[0]->errors,
                      (double)p->replicas[0]->loads};
    protobuf_c_message_free_unpacked(m, NULL);
    return a;
}

/* Under load from its beginning on, measured after it has settled. */
static struct stretch measure(struct engines *b)
{
    struct asked before = look(b);
    (void)run(b, SETTLE_MS / 1e3);
    struct load_result r = run(b, b->seconds);
    struct asked after = look(b);
    return (struct stretch){
        r.p50_us,
        r.p99_us,
        r.calls_per_s,
        {after.calls - before.calls, after.errors - before.errors, after.loads - before.loads}};
}

/* An engine that is new holds nothing: whatever the state is, there are loads to be done. */
static void play_round(struct engines *b, struct stretch *ret)
{
    for (int s = 0; s < STATES; s++) {
        stub_restart(&b->stub);
        ret[2 * s] = measure(b);
        stub_restart(&b->stub);
        if (states[s].mode)
            stub_tell(&b->stub, states[s].mode);
        else
            stub_kill(&b->stub);
        ret[2 * s + 1] = measure(b);
    }
    stub_restart(&b->stub);
    ret[2 * STATES] = measure(b);
}

/* ---- What it says ---- */

/* Median over rounds of the field at this offset of the stretch; -1: of all healthy ones. */
static double median_of(struct engines *b, int stretch, size_t field)
{
    double v[ROUNDS_MAX * (STATES + 1)];
    size_t n = 0;
    for (int r = 0; r < b->rounds; r++)
        for (int s = 0; s <= 2 * STATES; s++)
            if (stretch < 0 ? s % 2 == 0 : s == stretch) {
                double value;
                memcpy(&value, (const char *)&b->seen[r][s] + field, sizeof value);
                v[n++] = value;
            }
    return machine_median(v, n);
}

static double p99_at(struct engines *b, int round, int stretch)
{
    return b->seen[round][stretch].p99_us;
}

/* p99 of state s to its healthy neighbours', sorted over the rounds. */
static size_t ratios_of(struct engines *b, int s, double *ret)
{
    for (int r = 0; r < b->rounds; r++)
        ret[r] = 2 * p99_at(b, r, 2 * s + 1) / (p99_at(b, r, 2 * s) + p99_at(b, r, 2 * s + 2));
    return (size_t)b->rounds;
}

/* The same of a healthy stretch between two others. */
static size_t ratios_of_chance(struct engines *b, double *ret)
{
    size_t n = 0;
    for (int r = 0; r < b->rounds; r++)
        for (int s = 2; s < 2 * STATES; s += 2)
            ret[n++] = 2 * p99_at(b, r, s) / (p99_at(b, r, s - 2) + p99_at(b, r, s + 2));
    return n;
}

static void print_row(struct engines *b, const char *name, int stretch, double *ratios, size_t n)
{
    static const char json[] =
        "\n {\"engine\":\"%s\",\"p50_us\":%.1f,\"p99_us\":%.1f,\"calls_per_s\":%.0f,"
        "\"engine_calls\":%.0f,\"engine_errors\":%.0f,\"engine_loads\":%.0f,"
        "\"p99_ratio\":%.3f,\"p99_ratio_low\":%.3f,\"p99_ratio_high\":%.3f}%s";
    static const char text[] = "%-8s p50 %7.1f us, p99 %7.1f us, %6.0f/s; engine: %4.0f calls, "
                               "%3.0f failed, %3.0f loads; p99 to healthy %.3f (quartiles %.3f "
                               "to %.3f)%s\n";
    (void)printf(b->json ? json : text, name,
                 median_of(b, stretch, offsetof(struct stretch, p50_us)),
                 median_of(b, stretch, offsetof(struct stretch, p99_us)),
                 median_of(b, stretch, offsetof(struct stretch, calls_per_s)),
                 median_of(b, stretch, offsetof(struct stretch, asked.calls)),
                 median_of(b, stretch, offsetof(struct stretch, asked.errors)),
                 median_of(b, stretch, offsetof(struct stretch, asked.loads)),
                 machine_median(ratios, n), machine_quantile(ratios, n, .25),
                 machine_quantile(ratios, n, .75), b->json && stretch != 2 * STATES - 1 ? "," : "");
}

static void print(struct engines *b, double load_before)
{
    static double ratios[ROUNDS_MAX * STATES];
    char machine[256];
    machine_name(machine, sizeof machine);
    (void)printf(b->json ? "{\"machine\":\"%s\",\"load\":%.2f,\"rounds\":%d,\"seconds\":%g,"
                           "\"in_flight\":%d,\"engines\":["
                         : "%s, load %.2f before; %d rounds of %g s, %d in flight\n",
                 machine, load_before, b->rounds, b->seconds, b->in_flight);
    size_t n = ratios_of_chance(b, ratios);
    print_row(b, "healthy", -1, ratios, n);
    for (int s = 0; s < STATES; s++) {
        n = ratios_of(b, s, ratios);
        print_row(b, states[s].name, 2 * s + 1, ratios, n);
    }
    if (b->json)
        (void)puts("]}");
}

/* ---- The command ---- */

static int usage(void)
{
    (void)fprintf(stderr, "usage: shunt-bench engines [--rounds N] [--seconds S] [--in-flight N] "
                          "[--json]\n");
    return 2;
}

static bool read_options(int argc, char **argv, struct engines *b)
{
    static const struct option longs[] = {{"rounds", required_argument, NULL, 'r'},
                                          {"seconds", required_argument, NULL, 's'},
                                          {"in-flight", required_argument, NULL, 'i'},
                                          {"json", no_argument, NULL, 'j'},
                                          {NULL, 0, NULL, 0}};
    bool known = true;
    b->rounds = 10;
    b->seconds = 1;
    b->in_flight = 16;
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        b->rounds = c == 'r' && optarg ? atoi(optarg) : b->rounds;
        b->seconds = c == 's' && optarg ? atof(optarg) : b->seconds;
        b->in_flight = c == 'i' && optarg ? atoi(optarg) : b->in_flight;
        b->json = b->json || c == 'j';
        known = known && c != '?';
    }
    return known && b->rounds >= 1 && b->rounds <= ROUNDS_MAX && b->seconds > 0 &&
           b->in_flight >= 1 && b->in_flight <= LOAD_IN_FLIGHT_MAX;
}

int bench_engines(int argc, char **argv)
{
    static struct engines b;
    double load = 0;
    if (!read_options(argc, argv, &b))
        return usage();
    (void)getloadavg(&load, 1);
    grpc_init();
    start_engine(&b);
    server_init(&b.server);
    if (!server_start(&b.server))
        die("shuntd did not start");
    b.channel = load_open(b.server.router);
    b.admin = call_open(b.server.admin);
    create_router(&b);
    make_prompts(&b);
    (void)run(&b, SETTLE_MS / 1e3);
    for (int r = 0; r < b.rounds; r++)
        play_round(&b, b.seen[r]);
    print(&b, load);
    grpc_channel_destroy(b.channel);
    call_close(b.admin);
    (void)server_stop(&b.server, SIGTERM);
    server_free(&b.server);
    stub_done(&b.stub);
    grpc_shutdown();
    return EXIT_SUCCESS;
}
