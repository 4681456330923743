/* See rpc.h. A round is echo (route's sizes), RouteRequest, echo (report's sizes), ReportReward,
 * each for S seconds; ratios are taken within a round and their median is printed, because a
 * machine changes from minute to minute. With --text a round has RouteRequest once more, with as
 * many ready features as the prompt's context has: the difference is what the prompt costs. Servers
 * run on one core, the client on another, when there are two. */
#include "tests/bench/rpc.h"

#include "client/call.h"
#include "shunt/v1/admin.pb-c.h"
#include "shunt/v1/router.pb-c.h"
#include "tests/bench/echo.h"
#include "tests/bench/load.h"
#include "tests/bench/machine.h"
#include "tests/flow/server.h"

#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    ROUNDS_MAX = 100,
    KEPT_MAX = 400000,
    REPORT_CAP = 1024,
    FEATURES_MAX = 512,
    PROMPTS = 64,
    EXAMPLES_CAP = 4 << 20
};
enum phase { ECHO_ROUTE, ROUTE, ECHO_REPORT, REPORT, READY, BESIDE, PHASES };

struct options {
    int rounds, in_flight, arms, features;
    int text;               /* Characters of prompt in each request; 0: ready features alone. */
    const char *classifier; /* A file of examples; NULL: no classifier. */
    double seconds;
    bool unix_socket, pin, json, job;
};

struct kept {
    uint32_t len;
    uint8_t bytes[REPORT_CAP]; /* A packed ReportRewardRequest. */
};

struct bench {
    struct options o;
    struct server shuntd;
    pid_t echo;
    char echo_address[256];
    grpc_channel *to_echo, *to_shuntd;
    struct load_message route[PROMPTS], ready; /* With --text a prompt each; else all the same. */
    uint32_t d;                                /* Of the router's context. */
    char *examples;                            /* The classifier's file. */
    uint8_t *blank;                            /* What echo is asked with. */
    size_t route_response, report_request, report_response;
    struct kept *kept;
    size_t kept_n;
    struct load_result results[ROUNDS_MAX][PHASES];
};

static void die(const char *what)
{
    (void)fprintf(stderr, "shunt-bench: %s\n", what);
    exit(EXIT_FAILURE);
}

static void pin(pid_t pid, size_t core)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    (void)sched_setaffinity(pid, sizeof set, &set);
}

/* ---- Servers ---- */

/* Children inherit the core that is set while they start. */
static void start_echo(struct bench *b)
{
    int out[2];
    char address[256];
    (void)snprintf(address, sizeof address, "127.0.0.1:0");
    if (b->o.unix_socket)
        (void)snprintf(address, sizeof address, "unix:%s/echo.sock", b->shuntd.dir);
    if (pipe(out) != 0)
        die("pipe");
    b->echo = fork();
    if (b->echo == 0) {
        char self[] = "/proc/self/exe", mode[] = "echo";
        char *argv[] = {self, mode, address, NULL};
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)dup2(out[1], STDOUT_FILENO);
        (void)execv(self, argv);
        _exit(127);
    }
    (void)close(out[1]);
    FILE *f = fdopen(out[0], "r");
    if (b->echo < 0 || !f || fscanf(f, "listening %255s", b->echo_address) != 1)
        die("the echo server did not start");
    (void)fclose(f);
}

/* The answer is the caller's. */
static ProtobufCMessage *call_admin(struct bench *b, const char *path,
                                    const ProtobufCMessage *request,
                                    const ProtobufCMessageDescriptor *type)
{
    struct call_channel *admin = call_open(b->shuntd.admin);
    struct call_error error;
    ProtobufCMessage *response = NULL;
    if (call_unary(admin, path, request, type, 60, &response, &error))
        die(error.message);
    call_close(admin);
    return response;
}

/* Returns the length of its context. */
static uint32_t create_router(struct bench *b, char *name, int features, bool text)
{
    size_t n = (size_t)b->o.arms;
    Shunt__V1__ArmSpec *arms = calloc(n, sizeof *arms), **list = calloc(n, sizeof(*list));
    char(*names)[32] = calloc(n, sizeof *names);
    Shunt__V1__RouterSpec spec = SHUNT__V1__ROUTER_SPEC__INIT;
    Shunt__V1__CreateRouterRequest request = SHUNT__V1__CREATE_ROUTER_REQUEST__INIT;
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(names[i], sizeof names[i], "arm-%zu", i);
        shunt__v1__arm_spec__init(&arms[i]);
        arms[i].name = names[i];
        list[i] = &arms[i];
    }
    spec.name = name;
    spec.has_scalars = spec.has_text_block = spec.has_features_n = 1;
    spec.has_task_slots = !(text && b->o.classifier); /* Those of a router by default, or none. */
    spec.features_n = (uint32_t)features;
    spec.scalars = spec.text_block = text;
    spec.arms = list;
    spec.n_arms = n;
    request.spec = &spec;
    ProtobufCMessage *m = call_admin(b, "/shunt.v1.Admin/CreateRouter", &request.base,
                                     &shunt__v1__router_info__descriptor);
    uint32_t d = ((const Shunt__V1__RouterInfo *)m)->d;
    protobuf_c_message_free_unpacked(m, NULL);
    free(arms);
    free(list);
    free(names);
    return d;
}

static char *read_file(const char *path)
{
    FILE *f = fopen(path, "re");
    char *text = calloc(1, EXAMPLES_CAP);
    if (!f || !text || fread(text, 1, EXAMPLES_CAP - 1, f) == 0)
        die("the classifier's file cannot be read");
    (void)fclose(f);
    return text;
}

static void train_classifier(struct bench *b)
{
    Shunt__V1__TrainClassifierRequest request = SHUNT__V1__TRAIN_CLASSIFIER_REQUEST__INIT;
    if (!b->o.classifier)
        return;
    b->examples = read_file(b->o.classifier);
    request.examples = b->examples;
    protobuf_c_message_free_unpacked(call_admin(b, "/shunt.v1.Admin/TrainClassifier", &request.base,
                                                &shunt__v1__train_classifier_response__descriptor),
                                     NULL);
}

/* ---- Messages ---- */

/* The k-th prompt of n characters: the classifier's examples one after another from the k-th 64th
 * on, or else prose. */
static char *make_text(const struct bench *b, size_t k, size_t n)
{
    static const char prose[] =
        "Our nightly job copies the orders of the day into a second table and "
        "sometimes stops halfway. How would you find out why, and what would "
        "you change first? ";
    const char *source = b->examples ? b->examples : prose;
    size_t len = strlen(source), at = b->examples ? len / PROMPTS * k : k;
    char *text = malloc(n + 1);
    for (size_t i = 0; i < n; i++) {
        char c = source[(at + i) % len];
        text[i] = c == '\t' || c == '\n' ? ' ' : c;
    }
    text[n] = '\0';
    return text;
}

static struct load_message pack_route(char *router, int features, char *text)
{
    static float values[FEATURES_MAX];
    Shunt__V1__RouteRequest m = SHUNT__V1__ROUTE_REQUEST__INIT;
    for (int i = 0; i < features; i++)
        values[i] = (float)((i * 7) % 11) / 11.0F - .5F;
    m.router = router;
    m.features = values;
    m.n_features = (size_t)features;
    m.text = text;
    size_t len = shunt__v1__route_request__get_packed_size(&m);
    uint8_t *bytes = malloc(len);
    (void)shunt__v1__route_request__pack(&m, bytes);
    return (struct load_message){bytes, len};
}

static void make_routers(struct bench *b)
{
    char name[] = "bench", ready[] = "ready";
    b->d = create_router(b, name, b->o.features, b->o.text > 0);
    for (size_t k = 0; k < PROMPTS; k++) {
        char *text = b->o.text > 0 ? make_text(b, k, (size_t)b->o.text) : NULL;
        b->route[k] = pack_route(name, b->o.features, text);
        free(text);
    }
    if (b->o.text > 0) {
        (void)create_router(b, ready, (int)b->d - 1, false); /* 1: the bias. */
        b->ready = pack_route(ready, (int)b->d - 1, NULL);
    }
}

/* A report for a decision, packed while nobody measures. */
static void keep_decision(void *ctx, uint64_t i, const uint8_t *bytes, size_t len)
{
    struct bench *b = ctx;
    (void)i;
    b->route_response = len;
    if (b->kept_n == KEPT_MAX)
        return;
    struct kept *k = &b->kept[b->kept_n];
    if (len > sizeof k->bytes)
        return;
    k->len = (uint32_t)len; /* The response itself for now: unpacking here would slow the load. */
    memcpy(k->bytes, bytes, len);
    b->kept_n++;
}

static void pack_reports(struct bench *b)
{
    char metric[] = "reward";
    for (size_t i = 0; i < b->kept_n; i++) {
        struct kept *k = &b->kept[i];
        Shunt__V1__RouteResponse *r = shunt__v1__route_response__unpack(NULL, k->len, k->bytes);
        Shunt__V1__ReportRewardRequest m = SHUNT__V1__REPORT_REWARD_REQUEST__INIT;
        Shunt__V1__ReportRewardRequest__MetricsEntry e =
            SHUNT__V1__REPORT_REWARD_REQUEST__METRICS_ENTRY__INIT;
        Shunt__V1__ReportRewardRequest__MetricsEntry *list[] = {&e};
        if (!r)
            die("a response cannot be read");
        e.key = metric;
        e.has_value = 1;
        e.value = (double)(i % 10) / 10;
        m.decision_id = r->decision_id;
        m.has_decision_token = 1;
        m.decision_token = r->decision_token;
        m.metrics = list;
        m.n_metrics = 1;
        if (shunt__v1__report_reward_request__get_packed_size(&m) > sizeof k->bytes)
            die("a report is larger than planned");
        k->len = (uint32_t)shunt__v1__report_reward_request__pack(&m, k->bytes);
        b->report_request = k->len;
        shunt__v1__route_response__free_unpacked(r, NULL);
    }
}

static bool next_route(void *ctx, uint64_t i, struct load_message *ret)
{
    *ret = ((struct bench *)ctx)->route[i % PROMPTS];
    return true;
}

static bool next_ready(void *ctx, uint64_t i, struct load_message *ret)
{
    (void)i;
    *ret = ((struct bench *)ctx)->ready;
    return true;
}

static bool next_report(void *ctx, uint64_t i, struct load_message *ret)
{
    struct bench *b = ctx;
    if (i >= b->kept_n)
        return false;
    *ret = (struct load_message){b->kept[i].bytes, b->kept[i].len};
    return true;
}

static void see_report(void *ctx, uint64_t i, const uint8_t *bytes, size_t len)
{
    (void)i;
    (void)bytes;
    ((struct bench *)ctx)->report_response = len;
}

struct echo_sizes {
    struct bench *bench;
    size_t request;
};

static bool next_echo(void *ctx, uint64_t i, struct load_message *ret)
{
    const struct echo_sizes *s = ctx;
    (void)i;
    *ret = (struct load_message){s->bench->blank, s->request};
    return true;
}

/* ---- Phases ---- */

static void run_echo(struct bench *b, size_t request, size_t response, struct load_result *ret)
{
    struct echo_sizes sizes = {b, request};
    uint32_t wanted = (uint32_t)response;
    memcpy(b->blank, &wanted, sizeof wanted);
    struct load l = {.channel = b->to_echo,
                     .path = ECHO_PATH,
                     .in_flight = (uint32_t)b->o.in_flight,
                     .seconds = b->o.seconds,
                     .request = next_echo,
                     .ctx = &sizes,
                     .server = b->echo};
    load_run(&l, ret);
}

static void run_shuntd(struct bench *b, enum phase phase, struct load_result *ret)
{
    bool (*next[PHASES])(void *, uint64_t, struct load_message *) = {
        [ROUTE] = next_route, [READY] = next_ready, [BESIDE] = next_route, [REPORT] = next_report};
    void (*see[PHASES])(void *, uint64_t, const uint8_t *,
                        size_t) = {[ROUTE] = keep_decision, [REPORT] = see_report};
    struct load l = {.channel = b->to_shuntd,
                     .path = phase == REPORT ? "/shunt.v1.Router/ReportReward"
                                             : "/shunt.v1.Router/RouteRequest",
                     .in_flight = (uint32_t)b->o.in_flight,
                     .seconds = b->o.seconds,
                     .request = next[phase],
                     .response = see[phase],
                     .ctx = b,
                     .server = b->shuntd.pid};
    load_run(&l, ret);
    if (ret->errors) {
        (void)fprintf(stderr, "shunt-bench: %llu errors, the first: %s\n",
                      (unsigned long long)ret->errors, ret->first_error);
        exit(EXIT_FAILURE);
    }
}

/* ---- A job beside ---- */

/* Both targets over every decision so far; as many of them as may wait, one after another. */
enum { JOBS = 8 };

static uint64_t start_job(struct bench *b)
{
    char name[] = "bench";
    Shunt__V1__StartJobRequest request = SHUNT__V1__START_JOB_REQUEST__INIT;
    Shunt__V1__EvaluateJob evaluate = SHUNT__V1__EVALUATE_JOB__INIT;
    request.evaluate = &evaluate;
    evaluate.router = name;
    ProtobufCMessage *m =
        call_admin(b, "/shunt.v1.Admin/StartJob", &request.base, &shunt__v1__job_info__descriptor);
    uint64_t id = ((const Shunt__V1__JobInfo *)m)->id;
    protobuf_c_message_free_unpacked(m, NULL);
    return id;
}

static Shunt__V1__JobState job_state(struct bench *b, uint64_t id)
{
    Shunt__V1__GetJobRequest get = SHUNT__V1__GET_JOB_REQUEST__INIT;
    get.id = id;
    ProtobufCMessage *m =
        call_admin(b, "/shunt.v1.Admin/GetJob", &get.base, &shunt__v1__job_info__descriptor);
    Shunt__V1__JobState state = ((const Shunt__V1__JobInfo *)m)->state;
    if (state == SHUNT__V1__JOB_STATE__JOB_STATE_FAILED)
        die(((const Shunt__V1__JobInfo *)m)->error);
    protobuf_c_message_free_unpacked(m, NULL);
    return state;
}

static void forget_job(struct bench *b, uint64_t id)
{
    Shunt__V1__CancelJobRequest cancel = SHUNT__V1__CANCEL_JOB_REQUEST__INIT;
    cancel.id = id;
    cancel.has_forget = cancel.forget = 1;
    protobuf_c_message_free_unpacked(call_admin(b, "/shunt.v1.Admin/CancelJob", &cancel.base,
                                                &shunt__v1__cancel_job_response__descriptor),
                                     NULL);
}

/* Jobs must have run all the while, else the figure is of nothing. */
static void run_beside(struct bench *b, struct load_result *ret)
{
    uint64_t ids[JOBS];
    for (int i = 0; i < JOBS; i++)
        ids[i] = start_job(b);
    run_shuntd(b, BESIDE, ret);
    if (job_state(b, ids[JOBS - 1]) == SHUNT__V1__JOB_STATE__JOB_STATE_DONE)
        die("the jobs ended before the phase did: measure shorter phases");
    for (int i = JOBS - 1; i >= 0; i--)
        forget_job(b, ids[i]);
}

static void run_round(struct bench *b, struct load_result results[PHASES])
{
    b->kept_n = 0;
    run_echo(b, b->route[0].len, b->route_response, &results[ECHO_ROUTE]);
    run_shuntd(b, ROUTE, &results[ROUTE]);
    if (b->o.text > 0)
        run_shuntd(b, READY, &results[READY]);
    if (b->o.job)
        run_beside(b, &results[BESIDE]);
    pack_reports(b);
    run_echo(b, b->report_request, b->report_response, &results[ECHO_REPORT]);
    run_shuntd(b, REPORT, &results[REPORT]);
}

/* Learns the sizes, warms both servers, leaves the newcomers' phase of the router behind. */
static void warm_up(struct bench *b)
{
    struct load_result ignored;
    double seconds = b->o.seconds;
    b->o.seconds = .3;
    run_shuntd(b, ROUTE, &ignored);
    pack_reports(b);
    run_shuntd(b, REPORT, &ignored);
    if (b->o.text > 0)
        run_shuntd(b, READY, &ignored);
    run_echo(b, b->route[0].len, b->route_response, &ignored);
    b->o.seconds = seconds;
}

/* ---- Figures ---- */

#define MEDIAN(b, ret, expression)                                                                 \
    do {                                                                                           \
        double values_[ROUNDS_MAX];                                                                \
        for (int i_ = 0; i_ < (b)->o.rounds; i_++) {                                               \
            const struct load_result *r = (b)->results[i_];                                        \
            values_[i_] = (expression);                                                            \
        }                                                                                          \
        (ret) = machine_median(values_, (size_t)(b)->o.rounds);                                    \
    } while (0)

struct figures {
    struct load_result phase[PHASES]; /* Medians. */
    double route_to_echo, route_p99_to_echo, report_to_echo, route_cpu_to_echo;
    double beside_to_route, beside_p99_to_route;
    double text_cpu_us; /* Of RouteRequest with a prompt, less that with ready features. */
};

static void summarise(const struct bench *b, struct figures *f)
{
    memset(f, 0, sizeof *f);
    for (int p = 0; p < PHASES; p++) {
        MEDIAN(b, f->phase[p].calls_per_s, r[p].calls_per_s);
        MEDIAN(b, f->phase[p].p50_us, r[p].p50_us);
        MEDIAN(b, f->phase[p].p99_us, r[p].p99_us);
        MEDIAN(b, f->phase[p].server_cpu_us, r[p].server_cpu_us);
    }
    MEDIAN(b, f->route_to_echo, r[ROUTE].calls_per_s / r[ECHO_ROUTE].calls_per_s);
    MEDIAN(b, f->route_p99_to_echo, r[ROUTE].p99_us / r[ECHO_ROUTE].p99_us);
    MEDIAN(b, f->report_to_echo, r[REPORT].calls_per_s / r[ECHO_REPORT].calls_per_s);
    MEDIAN(b, f->route_cpu_to_echo, r[ROUTE].server_cpu_us / r[ECHO_ROUTE].server_cpu_us);
    if (b->o.job) {
        MEDIAN(b, f->beside_to_route, r[BESIDE].calls_per_s / r[ROUTE].calls_per_s);
        MEDIAN(b, f->beside_p99_to_route, r[BESIDE].p99_us / r[ROUTE].p99_us);
    }
    MEDIAN(b, f->text_cpu_us, r[ROUTE].server_cpu_us - r[READY].server_cpu_us);
}

static const char *const phase_names[PHASES] = {"echo_route", "route", "echo_report",
                                                "report",     "ready", "beside_job"};

static bool was_run(const struct bench *b, int phase)
{
    return phase == READY ? b->o.text > 0 : phase == BESIDE ? b->o.job : true;
}

static void print_json(const struct bench *b, const struct figures *f, const char *machine)
{
    (void)printf(
        "{\"machine\":\"%s\",\"transport\":\"%s\",\"in_flight\":%d,\"rounds\":%d,"
        "\"arms\":%d,\"features\":%d,\"text\":%d,\"classifier\":%s,\"d\":%u,\"pinned\":%s,",
        machine, b->o.unix_socket ? "unix" : "tcp", b->o.in_flight, b->o.rounds, b->o.arms,
        b->o.features, b->o.text, b->o.classifier ? "true" : "false", b->d,
        b->o.pin ? "true" : "false");
    (void)printf("\"bytes\":{\"route\":[%zu,%zu],\"report\":[%zu,%zu]},", b->route[0].len,
                 b->route_response, b->report_request, b->report_response);
    for (int p = 0; p < PHASES; p++)
        if (was_run(b, p))
            (void)printf("\"%s\":{\"calls_per_s\":%.0f,\"p50_us\":%.0f,\"p99_us\":%.0f,"
                         "\"server_cpu_us\":%.2f},",
                         phase_names[p], f->phase[p].calls_per_s, f->phase[p].p50_us,
                         f->phase[p].p99_us, f->phase[p].server_cpu_us);
    (void)printf("\"route_to_echo\":%.3f,\"route_p99_to_echo\":%.3f,\"report_to_echo\":%.3f,"
                 "\"route_cpu_to_echo\":%.3f",
                 f->route_to_echo, f->route_p99_to_echo, f->report_to_echo, f->route_cpu_to_echo);
    if (b->o.job)
        (void)printf(",\"beside_to_route\":%.3f,\"beside_p99_to_route\":%.3f", f->beside_to_route,
                     f->beside_p99_to_route);
    if (b->o.text > 0)
        (void)printf(",\"text_cpu_us\":%.2f", f->text_cpu_us);
    (void)puts("}");
}

static void print_table(const struct bench *b, const struct figures *f, const char *machine)
{
    (void)printf("%s\n%s, %d in flight, %d arms, %d features, medians of %d rounds of %.1f s\n"
                 "bytes: route %zu -> %zu, report %zu -> %zu\n\n",
                 machine, b->o.unix_socket ? "unix socket" : "TCP on loopback", b->o.in_flight,
                 b->o.arms, b->o.features, b->o.rounds, b->o.seconds, b->route[0].len,
                 b->route_response, b->report_request, b->report_response);
    (void)printf("%-12s %10s %9s %9s %18s\n", "", "calls/s", "p50 us", "p99 us",
                 "server CPU us/call");
    for (int p = 0; p < PHASES; p++)
        if (was_run(b, p))
            (void)printf("%-12s %10.0f %9.0f %9.0f %18.2f\n", phase_names[p],
                         f->phase[p].calls_per_s, f->phase[p].p50_us, f->phase[p].p99_us,
                         f->phase[p].server_cpu_us);
    (void)printf("\nRouteRequest / echo %.3f (p99 %.2f, CPU %.2f); ReportReward / echo %.3f\n",
                 f->route_to_echo, f->route_p99_to_echo, f->route_cpu_to_echo, f->report_to_echo);
    if (b->o.job)
        (void)printf("RouteRequest while a job runs / without %.3f (p99 %.2f)\n",
                     f->beside_to_route, f->beside_p99_to_route);
    if (b->o.text > 0)
        (void)printf("A prompt of %d characters%s / %u ready features: %+.1f us CPU\n", b->o.text,
                     b->o.classifier ? " with the classifier" : "", b->d - 1, f->text_cpu_us);
}

/* ---- Main ---- */

static void open_all(struct bench *b)
{
    bool pinned = b->o.pin && sysconf(_SC_NPROCESSORS_ONLN) > 1;
    char listen[256];
    server_init(&b->shuntd);
    if (b->o.unix_socket) {
        (void)snprintf(listen, sizeof listen, "unix:%s/route.sock", b->shuntd.dir);
        b->shuntd.more[0] = "--listen";
        b->shuntd.more[1] = listen;
    }
    b->o.pin = pinned;
    if (pinned)
        pin(0, 0);
    start_echo(b);
    if (!server_start(&b->shuntd))
        die("shuntd did not start");
    if (pinned)
        pin(0, 1);
    grpc_init();
    train_classifier(b);
    make_routers(b);
    b->to_echo = load_open(b->echo_address);
    b->to_shuntd = load_open(b->shuntd.router);
    b->kept = malloc(KEPT_MAX * sizeof *b->kept);
    b->blank = calloc(1, 1 << 16);
    if (!b->kept || !b->blank)
        die("out of memory");
}

static void close_all(struct bench *b)
{
    grpc_channel_destroy(b->to_echo);
    grpc_channel_destroy(b->to_shuntd);
    (void)kill(b->echo, SIGTERM);
    (void)waitpid(b->echo, NULL, 0);
    (void)server_stop(&b->shuntd, SIGTERM);
    server_free(&b->shuntd);
    free(b->kept);
    free(b->blank);
    free(b->examples);
    grpc_shutdown();
}

static void usage(void)
{
    (void)fprintf(stderr, "usage: shunt-bench rpc [--rounds N] [--seconds S] [--in-flight N] "
                          "[--arms N] [--features N] [--text CHARACTERS [--classifier FILE]] "
                          "[--job] [--unix] [--no-pin] "
                          "[--json]\n");
    exit(2);
}

static struct options read_options(int argc, char **argv)
{
    struct options o = {
        .rounds = 5, .in_flight = 64, .arms = 16, .features = 8, .seconds = 1, .pin = true};
    static const struct option longs[] = {{"rounds", required_argument, NULL, 'r'},
                                          {"seconds", required_argument, NULL, 's'},
                                          {"in-flight", required_argument, NULL, 'i'},
                                          {"arms", required_argument, NULL, 'a'},
                                          {"features", required_argument, NULL, 'f'},
                                          {"text", required_argument, NULL, 't'},
                                          {"classifier", required_argument, NULL, 'c'},
                                          {"unix", no_argument, NULL, 'u'},
                                          {"no-pin", no_argument, NULL, 'n'},
                                          {"json", no_argument, NULL, 'j'},
                                          {"job", no_argument, NULL, 'b'},
                                          {NULL, 0, NULL, 0}};
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        int n = optarg ? atoi(optarg) : 0;
        o.rounds = c == 'r' ? n : o.rounds;
        o.in_flight = c == 'i' ? n : o.in_flight;
        o.arms = c == 'a' ? n : o.arms;
        o.features = c == 'f' ? n : o.features;
        o.text = c == 't' ? n : o.text;
        o.classifier = c == 'c' ? optarg : o.classifier;
        o.seconds = c == 's' && optarg ? atof(optarg) : o.seconds;
        o.unix_socket = o.unix_socket || c == 'u';
        o.pin = o.pin && c != 'n';
        o.json = o.json || c == 'j';
        o.job = o.job || c == 'b';
        if (c == '?')
            usage();
    }
    if (o.rounds < 1 || o.rounds > ROUNDS_MAX || o.in_flight < 1 || o.in_flight > 1024 ||
        o.arms < 1 || o.arms > 1000 || o.features < 1 || o.features > 450 || o.text < 0 ||
        o.text > 200000 || (o.classifier && !o.text) || !(o.seconds > 0))
        usage();
    return o;
}

int bench_rpc(int argc, char **argv)
{
    static struct bench b;
    struct figures f;
    char machine[256];
    b.o = read_options(argc, argv);
    open_all(&b);
    warm_up(&b);
    for (int i = 0; i < b.o.rounds; i++)
        run_round(&b, b.results[i]);
    summarise(&b, &f);
    machine_name(machine, sizeof machine);
    if (b.o.json)
        print_json(&b, &f, machine);
    else
        print_table(&b, &f, machine);
    close_all(&b);
    return EXIT_SUCCESS;
}
