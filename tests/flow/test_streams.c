/* Many requests at once, as libshunt asks them: in one message, and on a stream that outlives its
 * connection. */
#include "client/shunt.h"
#include "tests/flow/play.h"
#include "tests/flow/server.h"
#include "tests/unit/cmocka_all.h"

#include <grpc/grpc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 64, MANY = 3000 };

struct fixture {
    struct server server;
    char listen[256];
    struct shunt_client *client;
};

static void start(struct fixture *f)
{
    if (!server_start(&f->server))
        fail_msg("shuntd did not start");
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
    f->server.more[2] = "--set";
    f->server.more[3] = "max_connection_age=1s";
    start(f);
    struct call_channel *admin = call_open(f->server.admin);
    play_router(admin, "flow");
    call_close(admin);
    struct shunt_options options = SHUNT_OPTIONS_INIT;
    options.address = f->listen;
    options.router = "flow";
    options.default_arm = "fallback";
    options.route_timeout_s = 60; /* No answer is waited for so long but where a test says so. */
    f->client = shunt_open(&options, NULL);
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

static const float features[2] = {.5F, -.5F};

static struct shunt_request request_for(const char *const *candidate)
{
    struct shunt_request r = SHUNT_REQUEST_INIT;
    r.features = features;
    r.features_n = 2;
    r.candidates = candidate;
    r.candidates_n = candidate ? 1 : 0;
    return r;
}

/* ---- batches ---- */

struct batch {
    struct shunt_request requests[BATCH];
    const struct shunt_request *list[BATCH];
    struct shunt_decision *decisions, *to[BATCH];
    enum shunt_result results[BATCH];
    struct shunt_error *errors;
};

static void batch_fill(struct batch *b)
{
    static const char *const arms[2] = {"a", "b"};
    b->decisions = calloc(BATCH, sizeof *b->decisions);
    b->errors = calloc(BATCH, sizeof *b->errors);
    for (int i = 0; i < BATCH; i++) {
        b->requests[i] = request_for(&arms[i % 2]);
        b->list[i] = &b->requests[i];
        b->decisions[i].size = sizeof b->decisions[i];
        b->to[i] = &b->decisions[i];
    }
}

static void batch_free(struct batch *b)
{
    free(b->decisions);
    free(b->errors);
}

static void a_batch_has_every_answer_in_its_place(void **state)
{
    struct fixture *f = *state;
    struct batch b;
    struct shunt_error error;
    batch_fill(&b);
    b.requests[3].router = "nobody";
    assert_int_equal(shunt_route_batch(f->client, b.list, BATCH, b.to, b.results, b.errors, &error),
                     SHUNT_OK);
    for (int i = 0; i < BATCH; i++) {
        if (i == 3) {
            assert_int_equal(b.results[i], SHUNT_REFUSED);
            assert_string_equal(b.errors[i].code, "ROUTER_NOT_FOUND");
            continue;
        }
        assert_int_equal(b.results[i], SHUNT_OK);
        assert_false(b.decisions[i].fallback);
        assert_string_equal(b.decisions[i].arm, i % 2 ? "b" : "a");
        struct shunt_report report = shunt_report_of(&b.decisions[i]);
        struct shunt_value reward = {"reward", .5};
        struct shunt_outcome outcome = SHUNT_OUTCOME_INIT;
        report.metrics = &reward;
        report.metrics_n = 1;
        assert_int_equal(shunt_report(f->client, &report, &outcome, &error), SHUNT_OK);
        assert_false(outcome.queued || outcome.duplicate);
    }
    batch_free(&b);
}

static void a_batch_falls_back_while_the_server_is_away(void **state)
{
    struct fixture *f = *state;
    struct batch b;
    assert_int_equal(server_stop(&f->server, SIGTERM), 0);
    batch_fill(&b);
    for (int i = 0; i < BATCH; i++) /* The default arm is none of the candidates. */
        b.requests[i].candidates_n = i == 5 ? 1 : 0;
    assert_int_equal(shunt_route_batch(f->client, b.list, BATCH, b.to, b.results, b.errors, NULL),
                     SHUNT_OK);
    for (int i = 0; i < BATCH; i++) {
        assert_int_equal(b.results[i], SHUNT_OK);
        assert_true(b.decisions[i].fallback);
        assert_string_equal(b.decisions[i].arm, i == 5 ? "b" : "fallback");
        assert_string_not_equal(b.errors[i].message, "");
    }
    batch_free(&b);
}

static void a_batch_of_none_or_too_many_asks_nobody(void **state)
{
    struct fixture *f = *state;
    struct batch b;
    struct shunt_error error;
    batch_fill(&b);
    assert_int_equal(shunt_route_batch(f->client, b.list, 0, b.to, b.results, NULL, &error),
                     SHUNT_INVALID);
    assert_int_equal(shunt_route_batch(f->client, b.list, 257, b.to, b.results, NULL, &error),
                     SHUNT_INVALID);
    b.requests[1].size = 0;
    assert_int_equal(shunt_route_batch(f->client, b.list, 2, b.to, b.results, NULL, &error),
                     SHUNT_INVALID);
    batch_free(&b);
}

/* ---- streams ---- */

/* Which of MANY requests were answered, and by whom. */
struct seen {
    bool answered[MANY];
    int n, fallbacks;
    char id[MANY][SHUNT_ID_CAP];
};

/* Takes one answer; false: everything is answered. */
static bool take(struct shunt_stream *stream, struct seen *seen)
{
    struct shunt_decision decision = SHUNT_DECISION_INIT;
    struct shunt_error error;
    uint64_t tag = MANY;
    enum shunt_result r = shunt_stream_next(stream, 60, &tag, &decision, &error);
    if (r == SHUNT_EMPTY)
        return false;
    if (r != SHUNT_OK)
        fail_msg("%s: %s", shunt_result_name(r), error.message);
    assert_true(tag < MANY);
    assert_false(seen->answered[tag]);
    seen->answered[tag] = true;
    seen->n++;
    seen->fallbacks += decision.fallback;
    memcpy(seen->id[tag], decision.decision_id, SHUNT_ID_CAP);
    return true;
}

/* Sends requests [from, to), and takes an answer whenever there is no room. */
static void send(struct shunt_stream *stream, struct seen *seen, uint64_t from, uint64_t to)
{
    struct shunt_request request = request_for(NULL);
    struct shunt_error error;
    for (uint64_t i = from; i < to; i++) {
        enum shunt_result r;
        while ((r = shunt_stream_send(stream, &request, i, &error)) == SHUNT_QUEUE_FULL)
            assert_true(take(stream, seen));
        if (r != SHUNT_OK)
            fail_msg("%s: %s", shunt_result_name(r), error.message);
    }
}

static void a_stream_answers_every_request_once(void **state)
{
    struct fixture *f = *state;
    struct seen *seen = calloc(1, sizeof *seen);
    struct shunt_stream *stream = shunt_stream_open(f->client, 200, NULL);
    send(stream, seen, 0, MANY);
    while (take(stream, seen))
        ;
    assert_int_equal(seen->n, MANY);
    assert_int_equal(seen->fallbacks, 0);
    for (int i = 1; i < MANY; i++)
        assert_string_not_equal(seen->id[i - 1], seen->id[i]);
    shunt_stream_close(stream);
    free(seen);
}

static void a_refusal_on_a_stream_is_of_its_request_alone(void **state)
{
    struct fixture *f = *state;
    struct shunt_request good = request_for(NULL), bad = request_for(NULL);
    struct shunt_decision decision = SHUNT_DECISION_INIT;
    struct shunt_error error;
    struct shunt_stream *stream = shunt_stream_open(f->client, 0, NULL);
    uint64_t tag;
    bad.features_n = 1;
    assert_int_equal(shunt_stream_send(stream, &good, 7, NULL), SHUNT_OK);
    assert_int_equal(shunt_stream_send(stream, &bad, 8, NULL), SHUNT_OK);
    assert_int_equal(shunt_stream_send(stream, &good, 9, NULL), SHUNT_OK);
    assert_int_equal(shunt_stream_next(stream, 60, &tag, &decision, &error), SHUNT_OK);
    assert_int_equal(tag, 7);
    assert_int_equal(shunt_stream_next(stream, 60, &tag, &decision, &error), SHUNT_REFUSED);
    assert_int_equal(tag, 8);
    assert_string_equal(error.code, "WRONG_DIMENSION");
    assert_int_equal(shunt_stream_next(stream, 60, &tag, &decision, &error), SHUNT_OK);
    assert_int_equal(tag, 9);
    assert_int_equal(shunt_stream_next(stream, 0, &tag, &decision, &error), SHUNT_EMPTY);
    shunt_stream_close(stream);
}

/* Connections are a second old at most here, and what runs on one is cut a tenth later. */
static void a_stream_outlives_its_connections(void **state)
{
    struct fixture *f = *state;
    struct seen *seen = calloc(1, sizeof *seen);
    struct shunt_stream *stream = shunt_stream_open(f->client, 0, NULL);
    for (uint64_t i = 0; i < 40; i++) {
        send(stream, seen, i * 4, i * 4 + 4);
        while (take(stream, seen))
            ;
        server_nap_ms(100);
    }
    assert_int_equal(seen->n, 160);
    assert_int_equal(seen->fallbacks, 0);
    /* It was cut: more than one stream was opened. */
    assert_true(server_metric(&f->server, "shunt_route_streams_total") > 1);
    shunt_stream_close(stream);
    free(seen);
}

static void a_stream_asks_again_what_a_killed_server_did_not_answer(void **state)
{
    struct fixture *f = *state;
    struct seen *seen = calloc(1, sizeof *seen);
    struct shunt_stream *stream = shunt_stream_open(f->client, 500, NULL);
    send(stream, seen, 0, 1000);
    assert_int_equal(server_stop(&f->server, SIGKILL), 128 + SIGKILL);
    start(f);
    send(stream, seen, 1000, 2000);
    while (take(stream, seen))
        ;
    assert_int_equal(seen->n, 2000);
    assert_int_equal(seen->fallbacks, 0);
    shunt_stream_close(stream);
    free(seen);
}

static void a_stream_falls_back_by_the_deadline_while_the_server_is_away(void **state)
{
    struct fixture *f = *state;
    struct shunt_request request = request_for(NULL);
    struct shunt_decision decision = SHUNT_DECISION_INIT;
    struct shunt_error error;
    uint64_t tag;
    struct shunt_stream *stream = shunt_stream_open(f->client, 0, NULL);
    assert_int_equal(server_stop(&f->server, SIGTERM), 0);
    request.timeout_s = .2;
    assert_int_equal(shunt_stream_send(stream, &request, 1, NULL), SHUNT_OK);
    assert_int_equal(shunt_stream_next(stream, 60, &tag, &decision, &error), SHUNT_OK);
    assert_int_equal(tag, 1);
    assert_true(decision.fallback);
    assert_string_equal(decision.arm, "fallback");
    shunt_stream_close(stream);
}

static void an_open_stream_does_not_hold_up_the_end_of_the_server(void **state)
{
    struct fixture *f = *state;
    struct seen *seen = calloc(1, sizeof *seen);
    struct shunt_stream *stream = shunt_stream_open(f->client, 0, NULL);
    send(stream, seen, 0, 10);
    while (take(stream, seen))
        ;
    assert_int_equal(server_stop(&f->server, SIGTERM), 0);
    assert_false(server_log_has(&f->server, "drain", "cancelled"));
    assert_int_equal(seen->n, 10);
    shunt_stream_close(stream);
    free(seen);
}

static void a_full_stream_says_so_and_takes_more_after_an_answer(void **state)
{
    struct fixture *f = *state;
    struct shunt_request request = request_for(NULL);
    struct shunt_decision decision = SHUNT_DECISION_INIT;
    uint64_t tag;
    struct shunt_stream *stream = shunt_stream_open(f->client, 2, NULL);
    assert_int_equal(shunt_stream_send(stream, &request, 1, NULL), SHUNT_OK);
    assert_int_equal(shunt_stream_send(stream, &request, 2, NULL), SHUNT_OK);
    assert_int_equal(shunt_stream_send(stream, &request, 3, NULL), SHUNT_QUEUE_FULL);
    assert_int_equal(shunt_stream_next(stream, 60, &tag, &decision, NULL), SHUNT_OK);
    assert_int_equal(shunt_stream_send(stream, &request, 3, NULL), SHUNT_OK);
    assert_null(shunt_stream_open(f->client, 1025, NULL));
    shunt_stream_close(stream);
}

int main(void)
{
#define ROW(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        ROW(a_batch_has_every_answer_in_its_place),
        ROW(a_batch_falls_back_while_the_server_is_away),
        ROW(a_batch_of_none_or_too_many_asks_nobody),
        ROW(a_stream_answers_every_request_once),
        ROW(a_refusal_on_a_stream_is_of_its_request_alone),
        ROW(a_stream_outlives_its_connections),
        ROW(a_stream_asks_again_what_a_killed_server_did_not_answer),
        ROW(a_stream_falls_back_by_the_deadline_while_the_server_is_away),
        ROW(an_open_stream_does_not_hold_up_the_end_of_the_server),
        ROW(a_full_stream_says_so_and_takes_more_after_an_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
