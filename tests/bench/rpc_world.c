#include "tests/bench/rpc_world.h"

#include "client/call.h"
#include "shunt/v1/admin.pb-c.h"
#include "shunt/v1/router.pb-c.h"
#include "state/base/rng.h"
#include "state/store/store.h"
#include "tests/bench/echo.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EXAMPLES_CAP = 4 << 20 };

void rpc_die(const char *what)
{
    (void)fprintf(stderr, "shunt-bench: %s\n", what);
    exit(EXIT_FAILURE);
}

static void pin(size_t core)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    (void)sched_setaffinity(0, sizeof set, &set);
}

/* ---- Servers ---- */

/* Children inherit the core that is set while they start. */
static void start_echo(struct bench *b, enum transport t)
{
    int out[2];
    char address[256], bound[256];
    (void)snprintf(address, sizeof address, "127.0.0.1:0");
    if (t == UNIX)
        (void)snprintf(address, sizeof address, "unix:%s/echo.sock", b->shuntd.dir);
    if (pipe(out) != 0)
        rpc_die("pipe");
    b->echo[t] = fork();
    if (b->echo[t] == 0) {
        char self[] = "/proc/self/exe", mode[] = "echo";
        char even[] = "even", bare[] = "bare";
        char *argv[] = {self, mode, address, b->o.even ? even : bare, NULL};
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)dup2(out[1], STDOUT_FILENO);
        (void)execv(self, argv);
        _exit(127);
    }
    (void)close(out[1]);
    FILE *f = fdopen(out[0], "r");
    if (b->echo[t] < 0 || !f || fscanf(f, "listening %255s", bound) != 1)
        rpc_die("the echo server did not start");
    (void)fclose(f);
    b->to_echo[t] = load_open(bound);
    b->beside_echo[t] = load_open(bound);
}

static void start_shuntd(struct bench *b)
{
    static char address[256], threads[32];
    (void)snprintf(threads, sizeof threads, "rpc_threads=%d", b->o.threads);
    (void)snprintf(address, sizeof address, "unix:%s/route.sock", b->shuntd.dir);
    b->shuntd.more[0] = "--listen";
    b->shuntd.more[1] = address;
    b->shuntd.more[2] = "--listen";
    b->shuntd.more[3] = "127.0.0.1:0"; /* The last one is shuntd.router. */
    b->shuntd.more[4] = "--set";
    b->shuntd.more[5] = threads;
    if (!server_start(&b->shuntd))
        rpc_die("shuntd did not start");
    b->to_shuntd[TCP] = load_open(b->shuntd.router);
    b->to_shuntd[UNIX] = load_open(address);
    b->beside_shuntd[TCP] = load_open(b->shuntd.router);
    b->beside_shuntd[UNIX] = load_open(address);
}

/* ---- Routers ---- */

/* The answer is the caller's. */
static ProtobufCMessage *call_admin(struct bench *b, const char *path,
                                    const ProtobufCMessage *request,
                                    const ProtobufCMessageDescriptor *type)
{
    struct call_channel *admin = call_open(b->shuntd.admin);
    struct call_error error;
    ProtobufCMessage *response = NULL;
    if (call_unary(admin, path, request, type, 60, &response, &error))
        rpc_die(error.message);
    call_close(admin);
    return response;
}

struct wanted_router {
    char *name;
    int features;
    bool text, logged, budget;
};

static void fill_spec(const struct bench *b, const struct wanted_router *w,
                      Shunt__V1__RouterSettings *settings, Shunt__V1__RouterSpec *spec)
{
    static char metric[] = "cost_usd";
    spec->name = w->name;
    spec->has_scalars = spec->has_text_block = spec->has_features_n = 1;
    spec->has_task_slots = !(w->text && b->o.classifier); /* A router's default, or none. */
    spec->features_n = (uint32_t)w->features;
    spec->scalars = spec->text_block = w->text;
    settings->has_decision_log = 1;
    settings->decision_log = w->logged ? SHUNT__V1__DECISION_LOG__DECISION_LOG_ALL
                                       : SHUNT__V1__DECISION_LOG__DECISION_LOG_OFF;
    settings->has_dedup_max = b->o.dedup_max > 0;
    settings->dedup_max = b->o.dedup_max;
    if (w->budget) {
        settings->budget_metric = metric;
        settings->has_budget_per_request = 1;
        settings->budget_per_request = .008;
    }
    spec->settings = settings;
}

/* Returns the length of its context. The arms' cost is declared: a budget leaves out the unknown.
 */
static uint32_t create_router(struct bench *b, const struct wanted_router *w)
{
    static char metric[] = "cost_usd";
    size_t n = (size_t)b->o.arms;
    Shunt__V1__ArmSpec *arms = calloc(n, sizeof *arms), **list = calloc(n, sizeof(*list));
    Shunt__V1__ArmSpec__PriorsEntry *priors = calloc(n, sizeof *priors),
                                    **prior = calloc(n, sizeof(*prior));
    char(*names)[32] = calloc(n, sizeof *names);
    Shunt__V1__RouterSettings settings = SHUNT__V1__ROUTER_SETTINGS__INIT;
    Shunt__V1__RouterSpec spec = SHUNT__V1__ROUTER_SPEC__INIT;
    Shunt__V1__CreateRouterRequest request = SHUNT__V1__CREATE_ROUTER_REQUEST__INIT;
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(names[i], sizeof names[i], "arm-%zu", i);
        shunt__v1__arm_spec__init(&arms[i]);
        shunt__v1__arm_spec__priors_entry__init(&priors[i]);
        priors[i].key = metric;
        priors[i].has_value = 1;
        priors[i].value = .001 * (double)(i + 1);
        prior[i] = &priors[i];
        arms[i].name = names[i];
        arms[i].priors = &prior[i];
        arms[i].n_priors = w->budget;
        list[i] = &arms[i];
    }
    fill_spec(b, w, &settings, &spec);
    spec.arms = list;
    spec.n_arms = n;
    request.spec = &spec;
    ProtobufCMessage *m = call_admin(b, "/shunt.v1.Admin/CreateRouter", &request.base,
                                     &shunt__v1__router_info__descriptor);
    uint32_t d = ((const Shunt__V1__RouterInfo *)m)->d;
    protobuf_c_message_free_unpacked(m, NULL);
    free(arms);
    free(list);
    free(priors);
    free(prior);
    free(names);
    return d;
}

static char *read_file(const char *path)
{
    FILE *f = fopen(path, "re");
    char *text = calloc(1, EXAMPLES_CAP);
    if (!f || !text || fread(text, 1, EXAMPLES_CAP - 1, f) == 0)
        rpc_die("the classifier's file cannot be read");
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

static struct load_message pack(const ProtobufCMessage *m)
{
    size_t len = protobuf_c_message_get_packed_size(m);
    uint8_t *bytes = malloc(len);
    (void)protobuf_c_message_pack(m, bytes);
    return (struct load_message){bytes, len};
}

static void fill_request(Shunt__V1__RouteRequest *m, char *router, int features)
{
    static float values[FEATURES_MAX];
    shunt__v1__route_request__init(m);
    for (int i = 0; i < features; i++)
        values[i] = (float)((i * 7) % 11) / 11.0F - .5F;
    m->router = router;
    m->features = values;
    m->n_features = (size_t)features;
}

static struct load_message pack_route(char *router, int features, char *text, char *session)
{
    Shunt__V1__RouteRequest m;
    fill_request(&m, router, features);
    m.text = text;
    m.session_id = session;
    return pack(&m.base);
}

static void pack_stream(struct bench *b, char *router)
{
    Shunt__V1__RouteRequest m;
    Shunt__V1__RouteStreamRequest one = SHUNT__V1__ROUTE_STREAM_REQUEST__INIT;
    fill_request(&m, router, b->o.features);
    one.request = &m;
    b->stream = pack(&one.base);
}

/* No two contexts are alike: nothing can be computed once for all. */
static struct load_message pack_batch(char *router, int features, uint64_t k)
{
    static float x[BATCH][FEATURES_MAX];
    Shunt__V1__RouteRequest m[BATCH], *list[BATCH];
    Shunt__V1__RouteBatchRequest all = SHUNT__V1__ROUTE_BATCH_REQUEST__INIT;
    for (uint64_t i = 0; i < BATCH; i++) {
        fill_request(&m[i], router, features);
        for (int j = 0; j < features; j++)
            x[i][j] = (float)rng_uniform(k * BATCH + i, (uint64_t)j) - .5F;
        m[i].features = x[i];
        list[i] = &m[i];
    }
    all.requests = list;
    all.n_requests = BATCH;
    return pack(&all.base);
}

static void make_sessions(struct bench *b, char *plain, char *paced)
{
    for (int i = 0; i < SESSIONS; i++) {
        char id[32];
        (void)snprintf(id, sizeof id, "run-%d", i);
        b->session[i] = pack_route(plain, b->o.features, NULL, id);
        b->both[i] = pack_route(paced, b->o.features, NULL, id);
    }
    b->pacer = pack_route(paced, b->o.features, NULL, NULL);
}

static void make_routers(struct bench *b)
{
    static char name[] = "bench", logged[] = "logged", ready[] = "ready", paced[] = "paced";
    bool text = b->o.text > 0;
    const struct wanted_router plain = {name, b->o.features, text, false, false};
    const struct wanted_router kept = {logged, b->o.features, text, true, false};
    b->d = create_router(b, &plain);
    (void)create_router(b, &kept);
    for (size_t k = 0; k < PROMPTS; k++) {
        char *prompt = text ? make_text(b, k, (size_t)b->o.text) : NULL;
        b->route[k] = pack_route(name, b->o.features, prompt, NULL);
        b->logged[k] = pack_route(logged, b->o.features, prompt, NULL);
        free(prompt);
    }
    if (text) {
        const struct wanted_router w = {ready, (int)b->d - 1, false, false, false}; /* 1: bias. */
        (void)create_router(b, &w);
        b->ready = pack_route(ready, w.features, NULL, NULL);
    }
    pack_stream(b, name);
    for (uint64_t k = 0; k < BATCH_MESSAGES; k++)
        b->batch[k] = pack_batch(name, b->o.features, k);
    if (!b->o.budgets)
        return;
    const struct wanted_router w = {paced, b->o.features, text, false, true};
    (void)create_router(b, &w);
    make_sessions(b, name, paced);
}

void rpc_pack_reports(struct bench *b)
{
    static char metric[] = "reward";
    for (; b->packed_n < b->kept_n; b->packed_n++) {
        struct kept *k = &b->kept[b->packed_n];
        Shunt__V1__RouteResponse *r = shunt__v1__route_response__unpack(NULL, k->len, k->bytes);
        Shunt__V1__ReportRewardRequest m = SHUNT__V1__REPORT_REWARD_REQUEST__INIT;
        Shunt__V1__ReportRewardRequest__MetricsEntry e =
            SHUNT__V1__REPORT_REWARD_REQUEST__METRICS_ENTRY__INIT;
        Shunt__V1__ReportRewardRequest__MetricsEntry *list[] = {&e};
        if (!r)
            rpc_die("a response cannot be read");
        e.key = metric;
        e.has_value = 1;
        e.value = (double)(b->packed_n % 10) / 10;
        m.decision_id = r->decision_id;
        m.has_decision_token = 1;
        m.decision_token = r->decision_token;
        m.metrics = list;
        m.n_metrics = 1;
        if (shunt__v1__report_reward_request__get_packed_size(&m) > sizeof k->bytes)
            rpc_die("a report is larger than planned");
        k->len = (uint32_t)shunt__v1__report_reward_request__pack(&m, k->bytes);
        b->report_request = k->len;
        shunt__v1__route_response__free_unpacked(r, NULL);
    }
}

/* ---- All of it ---- */

static void open_store(struct bench *b)
{
    char dir[256];
    struct err_detail detail = {""};
    (void)snprintf(dir, sizeof dir, "%s/commits", b->shuntd.dir);
    if (mkdir(dir, 0700) != 0 || store_open(dir, NULL, &b->store, &detail) != OK)
        rpc_die(detail.text[0] ? detail.text : "the store for commits");
}

void rpc_world_open(struct bench *b)
{
    bool pinned = b->o.pin && sysconf(_SC_NPROCESSORS_ONLN) > 1;
    b->o.pin = pinned;
    server_init(&b->shuntd);
    open_store(b); /* It forks: before gRPC's threads. */
    if (pinned)
        pin(0);
    grpc_init();
    for (int t = 0; t < TRANSPORTS; t++)
        start_echo(b, (enum transport)t);
    start_shuntd(b);
    if (pinned)
        pin(1);
    train_classifier(b);
    make_routers(b);
    b->kept = malloc(KEPT_MAX * sizeof *b->kept);
    b->blank = calloc(1, 1 << 16);
    if (!b->kept || !b->blank)
        rpc_die("out of memory");
}

static void free_messages(struct bench *b)
{
    struct load_message *lists[] = {b->route, b->logged, &b->ready,  &b->stream,
                                    b->batch, &b->pacer, b->session, b->both};
    size_t counts[] = {PROMPTS, PROMPTS, 1, 1, BATCH_MESSAGES, 1, SESSIONS, SESSIONS};
    for (size_t l = 0; l < sizeof lists / sizeof *lists; l++)
        for (size_t i = 0; i < counts[l]; i++) {
            union { /* Packed by us. */
                const uint8_t *in;
                uint8_t *out;
            } u = {.in = lists[l][i].bytes};
            free(u.out);
        }
}

void rpc_world_close(struct bench *b)
{
    for (int t = 0; t < TRANSPORTS; t++) {
        grpc_channel_destroy(b->to_echo[t]);
        grpc_channel_destroy(b->to_shuntd[t]);
        grpc_channel_destroy(b->beside_echo[t]);
        grpc_channel_destroy(b->beside_shuntd[t]);
        (void)kill(b->echo[t], SIGTERM);
        (void)waitpid(b->echo[t], NULL, 0);
    }
    (void)server_stop(&b->shuntd, SIGTERM);
    store_close(b->store);
    server_free(&b->shuntd);
    free_messages(b);
    free(b->kept);
    free(b->blank);
    free(b->examples);
    grpc_shutdown();
}
