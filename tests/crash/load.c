#include "tests/crash/load.h"

#include "state/base/rng.h"
#include "tests/crash/steward.h"
#include "tests/flow/server.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CLIENTS_MAX = 64, OPEN_MAX = 64, CANCELLED = 1, GRPC_RESOURCE_EXHAUSTED = 8 };
enum known { UNTOLD, DOUBTFUL, ACKED };

struct told {
    char id[40];
    uint8_t *token;
    uint32_t token_len, round;
    uint8_t churn, arm; /* Which router; which of the kept arms. */
    bool joint;         /* Its metrics went in one report: there together, or not at all. */
    uint8_t known[WIRE_METRICS];
    uint32_t told_in[WIRE_METRICS]; /* Round of the report. */
    double value[WIRE_METRICS];
};

struct client {
    struct load *load;
    struct call_channel *channel;
    pthread_t thread;
    uint64_t seed, turn;
    struct told *told;
    size_t told_n, told_cap;
    size_t open[OPEN_MAX]; /* Decisions to report later, some only after a crash. */
    unsigned open_n;
    double share; /* Of load_repeat. */
    uint64_t duplicates, settled_in, settled_out, pushed_back;
    char wrong[512];
};

struct load {
    struct client clients[CLIENTS_MAX];
    unsigned clients_n;
    struct steward steward;
    struct call_channel *admin;
    pthread_t steward_thread;
    uint32_t round;
    bool running;
    _Atomic bool stop;
    _Atomic unsigned ended;
    _Atomic uint64_t acked_now;
    char wrong[1024];
};

/* ---- small things ---- */

struct load *load_new(uint64_t seed, unsigned clients)
{
    struct load *l = calloc(1, sizeof *l);
    if (!l || clients == 0 || clients > CLIENTS_MAX)
        abort();
    l->clients_n = clients;
    steward_init(&l->steward, rng_mix(seed, 0));
    for (unsigned i = 0; i < clients; i++) {
        l->clients[i].load = l;
        l->clients[i].seed = rng_mix(seed, 1 + i);
    }
    return l;
}

void load_free(struct load *l)
{
    if (!l)
        return;
    for (unsigned i = 0; i < l->clients_n; i++) {
        for (size_t k = 0; k < l->clients[i].told_n; k++)
            free(l->clients[i].told[k].token);
        free(l->clients[i].told);
    }
    free(l);
}

const char *load_wrong(const struct load *l)
{
    return l->wrong;
}

static bool wrong(struct load *l, const char *what)
{
    if (!l->wrong[0])
        (void)snprintf(l->wrong, sizeof l->wrong, "%s", what);
    return false;
}

static bool wrong_call(struct load *l, const char *what, int status, const struct call_error *e)
{
    char text[1000];
    (void)snprintf(text, sizeof text, "%s: %s %s: %.800s", what, call_status_name(status), e->code,
                   e->message);
    return wrong(l, text);
}

static uint64_t draw(struct client *c, uint64_t n)
{
    return rng_below(c->seed, c->turn++, n);
}

static void client_wrong(struct client *c, const struct told *t, const char *what,
                         const struct call_error *e)
{
    if (!c->wrong[0])
        (void)snprintf(c->wrong, sizeof c->wrong, "decision %s of round %u (%s): %s%s%s %.200s",
                       t->id, t->round, t->churn ? ROUTER_CHURN : ROUTER_KEPT, what, e ? ": " : "",
                       e ? e->code : "", e ? e->message : "");
}

static struct told *tell(struct client *c)
{
    if (c->told_n == c->told_cap) {
        c->told_cap = c->told_cap ? 2 * c->told_cap : 1024;
        c->told = realloc(c->told, c->told_cap * sizeof *c->told);
        if (!c->told)
            abort();
    }
    struct told *t = &c->told[c->told_n++];
    memset(t, 0, sizeof *t);
    return t;
}

/* The server did not answer. Without a machine code CANCELLED is not its word either: gRPC drops so
 * what arrives while the server drains. */
static bool unanswered(int status, const struct call_error *e)
{
    return status == CALL_UNAVAILABLE || (status == CANCELLED && !e->code[0]);
}

/* "Retry later" is an answer: nothing was taken, and the client goes on. */
static bool pushed_back(struct client *c)
{
    c->pushed_back++;
    return true;
}

/* ---- load ---- */

static bool route_one(struct client *c)
{
    static const char *const tasks[] = {"code", "maths", "chat", "summary", "translate"};
    static const char *const texts[] = {
        "Sort a list of integers in C.", "What is 17 * 23?", "Write a poem about the sea.",
        "Summarise: a long time ago, in a small town, there lived two clockmakers.",
        "def f(x):\n    return x * 2\nWhat does f(21) return?"};
    struct wire_decision d;
    struct call_error error;
    bool churn = draw(c, 4) == 0;
    int status = wire_route(c->channel, churn ? ROUTER_CHURN : ROUTER_KEPT, texts[draw(c, 5)],
                            tasks[draw(c, 5)], &d, &error);
    struct told unknown = {.round = c->load->round};
    if (status == GRPC_RESOURCE_EXHAUSTED)
        return pushed_back(c);
    if (status) {
        if (!unanswered(status, &error))
            client_wrong(c, &unknown, "RouteRequest failed", &error);
        return false;
    }
    struct told *t = tell(c);
    memcpy(t->id, d.id, sizeof t->id);
    t->token = d.token;
    t->token_len = (uint32_t)d.token_len;
    t->round = c->load->round;
    t->churn = churn;
    t->arm = (uint8_t)(d.arm[1] - '0');
    if (c->open_n == OPEN_MAX) /* The decision that gives way is never reported: also a case. */
        c->open_n--;
    c->open[c->open_n++] = c->told_n - 1;
    return true;
}

/* Reports what is untold of `mask`; false when the server is gone or broke its word. */
static bool report_untold(struct client *c, struct told *t, unsigned mask)
{
    struct wire_answer answer;
    struct call_error error;
    for (unsigned m = 0; m < WIRE_METRICS; m++)
        if (t->known[m] != UNTOLD)
            mask &= ~(1u << m);
    if (mask == 0)
        return true;
    double values[WIRE_METRICS] = {(double)draw(c, 257) / 256, (double)draw(c, 257) / 256};
    int status =
        wire_report(c->channel, t->id, t->token, t->token_len, mask, values, &answer, &error);
    if (status == GRPC_RESOURCE_EXHAUSTED)
        return pushed_back(c);
    t->joint = t->joint || mask == 3;
    for (unsigned m = 0; m < WIRE_METRICS; m++) {
        if (!(mask >> m & 1))
            continue;
        t->value[m] = values[m];
        t->known[m] = status ? DOUBTFUL : ACKED;
        t->told_in[m] = c->load->round;
    }
    if (!status) {
        atomic_fetch_add(&c->load->acked_now, 1);
        if (answer.duplicate || answer.counted != mask)
            client_wrong(c, t, "a first report did not count", NULL);
    } else if (!unanswered(status, &error)) {
        client_wrong(c, t, "ReportReward failed", &error);
    }
    return !status && !c->wrong[0];
}

/* Reports what is acknowledged once more, with other values. */
static bool report_again(struct client *c, struct told *t)
{
    struct wire_answer answer;
    struct call_error error;
    unsigned mask = 0;
    for (unsigned m = 0; m < WIRE_METRICS; m++)
        if (t->known[m] == ACKED)
            mask |= 1u << m;
    if (mask == 0)
        return true;
    double values[WIRE_METRICS] = {1 - t->value[0], 1 - t->value[1]};
    int status =
        wire_report(c->channel, t->id, t->token, t->token_len, mask, values, &answer, &error);
    if (status) {
        if (!unanswered(status, &error) && status != GRPC_RESOURCE_EXHAUSTED)
            client_wrong(c, t, "a repeated report failed", &error);
        return status == GRPC_RESOURCE_EXHAUSTED && pushed_back(c);
    }
    c->duplicates++;
    if (!answer.duplicate || answer.counted)
        client_wrong(c, t, "an acknowledged outcome was not there: its repetition counted", NULL);
    return !c->wrong[0];
}

static bool play_one(struct client *c)
{
    if (c->open_n == 0 || draw(c, 2) == 0)
        return route_one(c);
    unsigned at = (unsigned)draw(c, c->open_n);
    struct told *t = &c->told[c->open[at]];
    uint64_t how = draw(c, 10);
    if (how == 0)
        return report_untold(c, t, 2) && report_untold(c, t, 1); /* The call ends, then is rated. */
    if (how == 1)
        return report_untold(c, t, 2); /* Rated later, perhaps after a crash. */
    c->open[at] = c->open[--c->open_n];
    bool both = how < 6;
    return report_untold(c, t, both ? 3 : 1) && (draw(c, 10) > 0 || report_again(c, t));
}

static void *client_run(void *arg)
{
    struct client *c = arg;
    while (!atomic_load(&c->load->stop) && play_one(c))
        ;
    atomic_fetch_add(&c->load->ended, 1);
    return NULL;
}

static void *steward_run(void *arg)
{
    struct load *l = arg;
    while (!atomic_load(&l->stop) && steward_act(&l->steward, l->admin))
        server_nap_ms((long)rng_below(l->steward.seed, l->steward.turn++, 40));
    return NULL;
}

bool load_create_routers(struct load *l, const char *address)
{
    static const char *const kept[] = {"k0", "k1", "k2", "k3"};
    static const char *const churn[] = {"c0", "c1", "c2", "c3"};
    struct call_channel *admin = call_open(address);
    struct call_error error;
    int status = wire_router_create(admin, ROUTER_KEPT, kept, KEPT_ARMS, &error);
    if (!status)
        status = wire_router_create(admin, ROUTER_CHURN, churn, CHURN_ARMS, &error);
    call_close(admin);
    return status ? wrong_call(l, "CreateRouter", status, &error) : true;
}

static void start_clients(struct load *l, const char *router, void *(*run)(void *))
{
    for (unsigned i = 0; i < l->clients_n; i++) {
        struct client *c = &l->clients[i];
        c->channel = call_open(router);
        if (pthread_create(&c->thread, NULL, run, c) != 0)
            abort();
    }
}

static void join_clients(struct load *l)
{
    for (unsigned i = 0; i < l->clients_n; i++) {
        (void)pthread_join(l->clients[i].thread, NULL);
        call_close(l->clients[i].channel);
        if (l->clients[i].wrong[0])
            (void)wrong(l, l->clients[i].wrong);
    }
}

bool load_begin(struct load *l, const char *router, const char *admin)
{
    atomic_store(&l->stop, false);
    atomic_store(&l->ended, 0);
    atomic_store(&l->acked_now, 0);
    l->round++;
    start_clients(l, router, client_run);
    l->admin = admin ? call_open(admin) : NULL;
    if (admin && pthread_create(&l->steward_thread, NULL, steward_run, l) != 0)
        abort();
    l->running = true;
    return true;
}

void load_wait(struct load *l, uint64_t reports)
{
    while (atomic_load(&l->acked_now) < reports && atomic_load(&l->ended) < l->clients_n)
        server_nap_ms(1);
}

bool load_end(struct load *l)
{
    if (!l->running)
        return true;
    atomic_store(&l->stop, true);
    join_clients(l);
    if (l->admin)
        (void)pthread_join(l->steward_thread, NULL);
    call_close(l->admin);
    l->running = false;
    if (l->steward.wrong[0])
        return wrong(l, l->steward.wrong);
    return !l->wrong[0];
}

/* ---- after the crash ---- */

static void settle_report(struct client *c, struct told *t, unsigned mask)
{
    struct wire_answer answer;
    struct call_error error;
    int status =
        wire_report(c->channel, t->id, t->token, t->token_len, mask, t->value, &answer, &error);
    if (status) {
        client_wrong(c, t, "the retry of a report in doubt failed", &error);
        return;
    }
    /* A report is one event: there as a whole, or not at all. */
    if (answer.counted != (answer.duplicate ? 0 : mask))
        client_wrong(c, t, "a report in doubt was there in part", NULL);
    *(answer.duplicate ? &c->settled_in : &c->settled_out) += 1;
    for (unsigned m = 0; m < WIRE_METRICS; m++)
        if (mask >> m & 1)
            t->known[m] = ACKED;
}

static void settle_one(struct client *c, struct told *t)
{
    unsigned mask = 0;
    for (unsigned m = 0; m < WIRE_METRICS; m++)
        if (t->known[m] == DOUBTFUL)
            mask |= 1u << m;
    if (t->joint && mask)
        settle_report(c, t, mask);
    else
        for (unsigned m = 0; m < WIRE_METRICS; m++)
            if (mask >> m & 1)
                settle_report(c, t, 1u << m);
}

static void *settle_run(void *arg)
{
    struct client *c = arg;
    for (size_t i = 0; i < c->told_n && !c->wrong[0]; i++)
        settle_one(c, &c->told[i]);
    return NULL;
}

void load_doubt(struct load *l)
{
    for (unsigned i = 0; i < l->clients_n; i++) {
        struct client *c = &l->clients[i];
        for (size_t k = 0; k < c->told_n; k++)
            for (unsigned m = 0; m < WIRE_METRICS; m++)
                if (c->told[k].known[m] == ACKED && c->told[k].told_in[m] == l->round)
                    c->told[k].known[m] = DOUBTFUL;
    }
}

bool load_settle(struct load *l, const char *router)
{
    start_clients(l, router, settle_run);
    join_clients(l);
    return !l->wrong[0];
}

static void *repeat_run(void *arg)
{
    struct client *c = arg;
    for (size_t i = 0; i < c->told_n && !c->wrong[0]; i++)
        if (c->told[i].round == c->load->round || rng_uniform(c->seed, c->turn++) < c->share)
            if (!report_again(c, &c->told[i]) && !c->wrong[0])
                client_wrong(c, &c->told[i], "the server went away while nobody killed it", NULL);
    return NULL;
}

bool load_repeat(struct load *l, const char *router, double share)
{
    for (unsigned i = 0; i < l->clients_n; i++)
        l->clients[i].share = share;
    start_clients(l, router, repeat_run);
    join_clients(l);
    return !l->wrong[0];
}

/* What one arm must hold: [0] without what is in doubt, [1] with it. */
struct expected {
    uint64_t n[2][WIRE_METRICS];
    double sum[2][WIRE_METRICS];
};
struct expectation {
    struct expected kept[KEPT_ARMS];
    uint64_t kept_decisions[2], churn_decisions[2], doubtful;
};

static void expect_one(const struct told *t, struct expectation *e)
{
    bool seen[2] = {false, false};
    for (unsigned m = 0; m < WIRE_METRICS; m++) {
        for (int with = 0; with < 2; with++) {
            if (t->known[m] == UNTOLD || (!with && t->known[m] == DOUBTFUL))
                continue;
            seen[with] = true;
            if (!t->churn) {
                e->kept[t->arm].n[with][m]++;
                e->kept[t->arm].sum[with][m] += t->value[m];
            }
        }
        e->doubtful += t->known[m] == DOUBTFUL;
    }
    for (int with = 0; with < 2; with++)
        *(t->churn ? &e->churn_decisions[with] : &e->kept_decisions[with]) += seen[with];
}

static struct expectation expect(const struct load *l)
{
    struct expectation e;
    memset(&e, 0, sizeof e);
    for (unsigned i = 0; i < l->clients_n; i++)
        for (size_t k = 0; k < l->clients[i].told_n; k++)
            expect_one(&l->clients[i].told[k], &e);
    return e;
}

static bool between(struct load *l, const char *what, uint64_t have, uint64_t low, uint64_t high)
{
    char text[300];
    if (have >= low && have <= high)
        return true;
    (void)snprintf(text, sizeof text, "%s: the server has %llu, the clients' ledger %llu to %llu",
                   what, (unsigned long long)have, (unsigned long long)low,
                   (unsigned long long)high);
    return wrong(l, text);
}

static bool same_arm(struct load *l, const struct wire_arm *arm, const struct expected *want,
                     bool settled)
{
    char what[160];
    for (unsigned m = 0; m < WIRE_METRICS; m++) {
        (void)snprintf(what, sizeof what, "n of %s of arm %s", wire_metrics[m], arm->name);
        if (!between(l, what, arm->n[m], want->n[0][m], want->n[1][m]))
            return false;
        if (!settled || want->n[0][m] == 0)
            continue;
        /* The sum is exact; the quotient and its product lose a unit in the last place each. */
        double sum = arm->mean[m] * (double)arm->n[m];
        if (fabs(sum - want->sum[0][m]) > 1e-12 * (want->sum[0][m] + 1)) {
            (void)snprintf(what, sizeof what, "the sum of %s of arm %s is %.17g, not %.17g",
                           wire_metrics[m], arm->name, sum, want->sum[0][m]);
            return wrong(l, what);
        }
    }
    return true;
}

bool load_compare(struct load *l, const char *address)
{
    struct wire_router kept, churn;
    struct call_error error;
    struct call_channel *admin = call_open(address);
    int status = wire_router_get(admin, ROUTER_KEPT, &kept, &error);
    if (!status)
        status = wire_router_get(admin, ROUTER_CHURN, &churn, &error);
    call_close(admin);
    if (status)
        return wrong_call(l, "GetRouter", status, &error);
    struct expectation e = expect(l);
    if (kept.arms_n != KEPT_ARMS)
        return wrong(l, "an arm of the kept router came or went");
    for (unsigned i = 0; i < KEPT_ARMS; i++)
        if (!same_arm(l, &kept.arms[i], &e.kept[kept.arms[i].name[1] - '0'], e.doubtful == 0))
            return false;
    if (kept.orphaned)
        return wrong(l, "an outcome of an arm that is there was orphaned");
    if (!steward_compare(&l->steward, &kept, &churn))
        return wrong(l, l->steward.wrong);
    return between(l, "decisions of " ROUTER_KEPT, kept.folded, e.kept_decisions[0],
                   e.kept_decisions[1]) &&
           between(l, "decisions of " ROUTER_CHURN " with orphaned ones",
                   churn.folded + churn.orphaned, e.churn_decisions[0], e.churn_decisions[1]);
}

struct load_counts load_count(const struct load *l)
{
    struct load_counts n = {.operations = l->steward.acked, .reports = atomic_load(&l->acked_now)};
    struct expectation e = expect(l);
    n.kept_decisions = e.kept_decisions[0];
    n.churn_decisions = e.churn_decisions[0];
    n.doubtful = e.doubtful;
    for (unsigned i = 0; i < l->clients_n; i++) {
        const struct client *c = &l->clients[i];
        n.routes += c->told_n;
        n.duplicates += c->duplicates;
        n.pushed_back += c->pushed_back;
        n.settled_in += c->settled_in;
        n.settled_out += c->settled_out;
        for (size_t k = 0; k < c->told_n; k++)
            n.acked += c->told[k].known[0] == ACKED || c->told[k].known[1] == ACKED;
    }
    return n;
}
