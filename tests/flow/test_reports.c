/* Many outcomes at once, as libshunt reports them, to a server that is killed meanwhile. */
#include "client/shunt.h"
#include "tests/flow/play.h"
#include "tests/flow/server.h"
#include "tests/unit/cmocka_all.h"

#include <grpc/grpc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUTED = 250, MANY = 8 * ROUTED };

struct fixture {
    struct server server;
    char listen[256];
    struct shunt_client *client;
};

/* Decisions, and what became of the reports on them. */
struct work {
    struct shunt_client *client;
    struct shunt_decision decisions[MANY];
    struct shunt_value reward;
    struct shunt_report reports[MANY];
    const struct shunt_report *list[MANY];
    struct shunt_outcome outcomes[MANY], *to[MANY];
    enum shunt_result results[MANY], batch;
    struct shunt_error errors[MANY];
};

static void start(struct fixture *f)
{
    if (!server_start(&f->server))
        fail_msg("shuntd did not start");
}

static struct shunt_client *open_client(const struct fixture *f)
{
    struct shunt_options options = SHUNT_OPTIONS_INIT;
    options.address = f->listen;
    options.router = "flow";
    options.route_timeout_s = 60;
    options.report_timeout_s = 60;
    options.retry_first_s = 0.01;
    options.retry_max_s = 0.1;
    return shunt_open(&options, NULL);
}

/* A server on a unix socket, so that it comes back where it was, with the router "flow". */
static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    grpc_init();
    server_init(&f->server);
    (void)snprintf(f->listen, sizeof f->listen, "unix:%s/s", f->server.dir);
    f->server.more[0] = "--listen";
    f->server.more[1] = f->listen;
    f->server.more[2] = "--metrics-listen";
    f->server.more[3] = "none";
    start(f);
    struct call_channel *admin = call_open(f->server.admin);
    play_router(admin, "flow");
    call_close(admin);
    f->client = open_client(f);
    *state = f;
    return f->client ? 0 : -1;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    shunt_close(f->client);
    if (f->server.pid)
        (void)server_stop(&f->server, SIGTERM);
    server_free(&f->server);
    free(f);
    grpc_shutdown();
    return 0;
}

static void route_some(struct shunt_client *client, struct shunt_decision *ret)
{
    static const float features[2] = {.5F, -.5F};
    struct shunt_request request = SHUNT_REQUEST_INIT;
    const struct shunt_request *requests[ROUTED];
    struct shunt_decision *to[ROUTED];
    enum shunt_result results[ROUTED];
    request.features = features;
    request.features_n = 2;
    for (int i = 0; i < ROUTED; i++) {
        requests[i] = &request;
        ret[i].size = sizeof ret[i];
        to[i] = &ret[i];
    }
    assert_int_equal(shunt_route_batch(client, requests, ROUTED, to, results, NULL, NULL),
                     SHUNT_OK);
    for (int i = 0; i < ROUTED; i++)
        assert_int_equal(results[i], SHUNT_OK);
}

/* MANY decisions, each with a report to be made. */
static struct work *work_new(struct shunt_client *client)
{
    struct work *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->client = client;
    w->reward = (struct shunt_value){"reward", .5};
    for (int i = 0; i < MANY; i += ROUTED)
        route_some(client, &w->decisions[i]);
    for (int i = 0; i < MANY; i++) {
        w->reports[i] = shunt_report_of(&w->decisions[i]);
        w->reports[i].metrics = &w->reward;
        w->reports[i].metrics_n = 1;
        w->list[i] = &w->reports[i];
        w->outcomes[i].size = sizeof w->outcomes[i];
        w->to[i] = &w->outcomes[i];
    }
    return w;
}

static void *report_all(void *argument)
{
    struct work *w = argument;
    w->batch = shunt_report_batch(w->client, w->list, MANY, w->to, w->results, w->errors, NULL);
    return NULL;
}

/* Folded outcomes of router "flow", by Stats. */
static uint64_t folded(const struct fixture *f)
{
    Shunt__V1__StatsRequest request = SHUNT__V1__STATS_REQUEST__INIT;
    ProtobufCMessage *response = NULL;
    struct call_error error;
    uint64_t n = UINT64_MAX;
    struct call_channel *admin = call_open(f->server.admin);
    assert_int_equal(call_unary(admin, "/shunt.v1.Admin/Stats", &request.base,
                                &shunt__v1__stats_response__descriptor, 20, &response, &error),
                     0);
    const Shunt__V1__StatsResponse *m = (const Shunt__V1__StatsResponse *)response;
    for (size_t i = 0; i < m->n_routers; i++)
        if (strcmp(m->routers[i]->key, "flow") == 0)
            n = m->routers[i]->value->outcomes_folded;
    protobuf_c_message_free_unpacked(response, NULL);
    call_close(admin);
    return n;
}

static void each_report_of_a_batch_has_its_own_answer(void **state)
{
    struct fixture *f = *state;
    struct work *w = work_new(f->client);
    struct shunt_value unknown = {"beauty", .5}, unweighted = {"latency_ms", 7};
    unsigned char token[SHUNT_TOKEN_CAP];
    memcpy(token, w->decisions[2].token, w->decisions[2].token_len);
    token[w->decisions[2].token_len / 2] ^= 1;
    w->reports[1].metrics = &unknown;
    w->reports[2].token = token; /* Forged. */
    w->reports[3] = w->reports[0];
    w->reports[4].metrics = &unweighted;
    (void)report_all(w);
    assert_int_equal(w->batch, SHUNT_OK);
    for (int i = 0; i < MANY; i++) {
        bool wrong = i == 1 || i == 2;
        assert_int_equal(w->results[i], wrong ? SHUNT_REFUSED : SHUNT_OK);
        assert_true(wrong || !w->outcomes[i].queued);
        assert_true(wrong || w->outcomes[i].position > 0);
        assert_true(wrong || w->outcomes[i].duplicate == (i == 3));
    }
    assert_true(w->outcomes[4].unweighted && !w->outcomes[5].unweighted);
    assert_string_equal(w->errors[1].code, "METRIC_NOT_FOUND");
    assert_string_equal(w->errors[2].code, "DECISION_NOT_FOUND");
    assert_int_equal(folded(f), MANY - 3);
    free(w);
}

/* One round: reports while the server is killed after a while, starts again, and is told the rest.
 */
static void kill_meanwhile(struct fixture *f, long after_ms, uint64_t folded_before)
{
    struct work *w = work_new(f->client);
    pthread_t reporter;
    assert_int_equal(pthread_create(&reporter, NULL, report_all, w), 0);
    server_nap_ms(after_ms);
    assert_int_equal(server_stop(&f->server, SIGKILL), 128 + SIGKILL);
    pthread_join(reporter, NULL);
    start(f);
    assert_int_equal(w->batch, SHUNT_OK);
    /* What was acknowledged is there, whatever of the rest has been delivered by now. */
    struct shunt_client *other = open_client(f);
    struct shunt_outcome again = SHUNT_OUTCOME_INIT;
    int acknowledged = 0;
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(w->results[i], SHUNT_OK);
        if (w->outcomes[i].queued)
            continue;
        acknowledged++;
        assert_false(w->outcomes[i].duplicate);
        assert_int_equal(shunt_report(other, w->list[i], &again, NULL), SHUNT_OK);
        assert_true(again.duplicate);
    }
    shunt_close(other);
    print_message("killed after %ld ms: %d of %d were acknowledged\n", after_ms, acknowledged,
                  MANY);
    assert_int_equal(shunt_flush(f->client, 60), SHUNT_OK);
    /* Nothing is lost and nothing counts twice. */
    assert_int_equal(folded(f), folded_before + MANY);
    free(w);
}

static void a_server_that_dies_in_a_batch_loses_nothing_and_counts_nothing_twice(void **state)
{
    struct fixture *f = *state;
    const long after_ms[] = {0, 3, 6, 12, 25, 50};
    struct shunt_stats stats = SHUNT_STATS_INIT;
    uint64_t before = 0;
    for (size_t i = 0; i < sizeof after_ms / sizeof *after_ms; i++, before += MANY)
        kill_meanwhile(f, after_ms[i], before);
    shunt_stats(f->client, &stats);
    assert_int_equal(stats.refused + stats.dropped + stats.queued, 0);
}

static void what_waits_while_the_server_is_away_is_delivered_in_few_messages(void **state)
{
    struct fixture *f = *state;
    struct work *w = work_new(f->client);
    assert_int_equal(server_stop(&f->server, SIGTERM), 0);
    f->server.more[3] = "127.0.0.1:0";
    (void)report_all(w);
    for (int i = 0; i < MANY; i++)
        assert_true(w->results[i] == SHUNT_OK && w->outcomes[i].queued);
    start(f);
    assert_int_equal(shunt_flush(f->client, 60), SHUNT_OK);
    struct shunt_stats stats = SHUNT_STATS_INIT;
    shunt_stats(f->client, &stats);
    assert_int_equal(stats.delivered, MANY);
    assert_int_equal(folded(f), MANY);
    /* 1 alone, then 2, 4 ... 512 and the rest. */
    double calls =
        server_metric(&f->server, "shunt_rpc_calls_total{method=\"ReportRewards\",code=\"OK\"}");
    print_message("%d reports in %g messages\n", MANY, calls);
    assert_true(calls > 0 && calls < 20);
    free(w);
}

int main(void)
{
#define ROW(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        ROW(each_report_of_a_batch_has_its_own_answer),
        ROW(a_server_that_dies_in_a_batch_loses_nothing_and_counts_nothing_twice),
        ROW(what_waits_while_the_server_is_away_is_delivered_in_few_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
