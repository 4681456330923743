/* The process: started twice, stopped, told to reload, killed. */
#include "tests/flow/play.h"
#include "tests/flow/server.h"
#include "tests/unit/cmocka_all.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static void a_second_server_on_the_same_directory_names_the_first(void **state)
{
    (void)state;
    struct server first, second;
    char pid[32];
    server_init(&first);
    server_init(&second);
    assert_true(server_start(&first));
    memcpy(second.data, first.data, sizeof second.data);
    assert_false(server_start(&second));
    assert_int_equal(server_wait(&second), 1);
    (void)snprintf(pid, sizeof pid, "%d", (int)first.pid);
    assert_true(server_log_has(&second, "LOCKED", pid));
    /* The first one has lost nothing: neither its sockets nor its port. */
    struct call_channel *admin = call_open(first.admin);
    play_router(admin, "still-here");
    call_close(admin);
    assert_int_equal(server_stop(&first, SIGTERM), 0);
    server_free(&second);
    server_free(&first);
}

static void a_taken_port_is_a_start_error_that_names_it(void **state)
{
    (void)state;
    struct server first, second;
    server_init(&first);
    server_init(&second);
    assert_true(server_start(&first));
    second.more[0] = "--listen";
    second.more[1] = first.router;
    assert_false(server_start(&second));
    assert_int_equal(server_wait(&second), 1);
    assert_true(server_log_has(&second, "start_failed", first.router));
    assert_int_equal(server_stop(&first, SIGTERM), 0);
    server_free(&second);
    server_free(&first);
}

static void a_living_servers_socket_is_not_taken_over(void **state)
{
    (void)state;
    struct server first, second;
    char path[256];
    server_init(&first);
    server_init(&second);
    (void)snprintf(path, sizeof path, "unix:%s/data.sock", first.dir);
    first.more[0] = second.more[0] = "--listen";
    first.more[1] = second.more[1] = path;
    assert_true(server_start(&first));
    struct stat st;
    assert_int_equal(stat(path + strlen("unix:"), &st), 0);
    assert_int_equal(st.st_mode & 077, 0); /* Nobody else may connect. */
    assert_false(server_start(&second));
    assert_int_equal(server_wait(&second), 1);
    assert_true(server_log_has(&second, "start_failed", "in use by another server"));
    /* A dead server's socket is no obstacle. */
    assert_int_equal(server_stop(&first, SIGKILL), 128 + SIGKILL);
    assert_int_equal(stat(path + strlen("unix:"), &st), 0);
    assert_true(server_start(&second));
    assert_int_equal(server_stop(&second, SIGTERM), 0);
    server_free(&second);
    server_free(&first);
}

static void a_token_file_without_a_token_stops_the_start(void **state)
{
    (void)state;
    struct server s;
    char path[256], setting[300], text[4200];
    server_init(&s);
    (void)snprintf(path, sizeof path, "%s/token", s.dir);
    (void)snprintf(setting, sizeof setting, "engines.token_file=%s", path);
    s.more[0] = "--set";
    s.more[1] = setting;
    memset(text, 's', sizeof text);
    const struct {
        size_t len;
        const char *first, *says;
    } files[] = {{0, "", "first line is empty"},
                 {9, "\nsecret\n", "first line is empty"},
                 {4097, "", "more than 4096 bytes"}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        FILE *f = fopen(path, "we");
        assert_non_null(f);
        memcpy(text, files[i].first, strlen(files[i].first));
        assert_int_equal(fwrite(text, 1, files[i].len, f), files[i].len);
        assert_int_equal(fclose(f), 0);
        assert_false(server_start(&s));
        assert_int_equal(server_wait(&s), 1);
        assert_true(server_log_has(&s, "engines.token_file", files[i].says));
        assert_false(server_log_has(&s, "engines.token_file", "secret"));
    }
    server_free(&s);
}

/* A pipe that nobody writes into was waited for, with every signal blocked. */
static void a_pipe_in_place_of_a_file_stops_the_start(void **state)
{
    (void)state;
    static const char *const settings[] = {"classifier.examples", "engines.token_file",
                                           "engines.ca_file",     "tls.key",
                                           "projection.dir",      NULL};
    for (size_t i = 0; settings[i]; i++) {
        struct server s;
        char path[256], setting[300], cert[300];
        server_init(&s);
        (void)snprintf(path, sizeof path, "%s/p.f32", s.dir);
        assert_int_equal(mkfifo(path, 0600), 0);
        bool folder = strcmp(settings[i], "projection.dir") == 0;
        (void)snprintf(setting, sizeof setting, "%s=%s", settings[i], folder ? s.dir : path);
        (void)snprintf(cert, sizeof cert, "tls.cert=%s", s.log); /* A key has one. */
        s.more[0] = "--set";
        s.more[1] = setting;
        if (strcmp(settings[i], "tls.key") == 0) {
            s.more[2] = "--set";
            s.more[3] = cert;
        }
        assert_false(server_start(&s));
        assert_in_range(server_wait(&s), 1, 2);
        assert_true(server_log_has(&s, path, "no regular file"));
        server_free(&s);
    }
}

static void sigterm_and_sigint_end_it_well(void **state)
{
    (void)state;
    static const int signals[] = {SIGTERM, SIGINT};
    for (size_t i = 0; i < 2; i++) {
        struct server s;
        server_init(&s);
        assert_true(server_start(&s));
        assert_int_equal(server_stop(&s, signals[i]), 0);
        assert_true(server_log_has(&s, "stopped", "info"));
        server_free(&s);
    }
}

static void sighup_changes_nothing_and_says_why(void **state)
{
    (void)state;
    struct server s;
    server_init(&s);
    assert_true(server_start(&s));
    assert_int_equal(kill(s.pid, SIGHUP), 0);
    for (int i = 0; i < 1000 && !server_log_has(&s, "nothing_to_reload", "shuntctl"); i++) {
        server_nap_ms(10);
    }
    assert_true(server_log_has(&s, "nothing_to_reload", "shuntctl"));
    struct call_channel *admin = call_open(s.admin);
    play_router(admin, "after-hup");
    call_close(admin);
    assert_int_equal(server_stop(&s, SIGTERM), 0);
    server_free(&s);
}

/* Folded decisions of router "flow", by Stats. */
static uint64_t folded(struct call_channel *admin)
{
    Shunt__V1__StatsRequest request = SHUNT__V1__STATS_REQUEST__INIT;
    ProtobufCMessage *response = NULL;
    struct call_error error;
    uint64_t n = UINT64_MAX;
    assert_int_equal(call_unary(admin, "/shunt.v1.Admin/Stats", &request.base,
                                &shunt__v1__stats_response__descriptor, 20, &response, &error),
                     0);
    const Shunt__V1__StatsResponse *m = (const Shunt__V1__StatsResponse *)response;
    for (size_t i = 0; i < m->n_routers; i++)
        if (strcmp(m->routers[i]->key, "flow") == 0)
            n = m->routers[i]->value->outcomes_folded;
    protobuf_c_message_free_unpacked(response, NULL);
    return n;
}

static void what_was_acknowledged_survives_a_kill(void **state)
{
    (void)state;
    enum { REPORTS = 40 };
    struct server s;
    struct decision_kept open;
    struct report_seen seen;
    struct call_error error;
    server_init(&s);
    assert_true(server_start(&s));
    struct call_channel *admin = call_open(s.admin), *router = call_open(s.router);
    play_router(admin, "flow");
    for (int i = 0; i < REPORTS; i++) {
        struct decision_kept d;
        play_route(router, "flow", &d);
        assert_int_equal(play_report(router, &d, "reward", .5, &seen, &error), 0);
        assert_int_equal(seen.counted_n, 1);
    }
    play_route(router, "flow", &open);
    call_close(admin);
    call_close(router);
    assert_int_equal(server_stop(&s, SIGKILL), 128 + SIGKILL);
    assert_true(server_start(&s));
    admin = call_open(s.admin);
    router = call_open(s.router);
    assert_int_equal(folded(admin), REPORTS);
    /* A decision of before the crash is still known by its token. */
    assert_int_equal(play_report(router, &open, "reward", 1, &seen, &error), 0);
    assert_int_equal(seen.duplicate, 0);
    assert_int_equal(folded(admin), REPORTS + 1);
    call_close(admin);
    call_close(router);
    assert_int_equal(server_stop(&s, SIGTERM), 0);
    server_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_second_server_on_the_same_directory_names_the_first),
        cmocka_unit_test(a_taken_port_is_a_start_error_that_names_it),
        cmocka_unit_test(a_living_servers_socket_is_not_taken_over),
        cmocka_unit_test(a_token_file_without_a_token_stops_the_start),
        cmocka_unit_test(a_pipe_in_place_of_a_file_stops_the_start),
        cmocka_unit_test(sigterm_and_sigint_end_it_well),
        cmocka_unit_test(sighup_changes_nothing_and_says_why),
        cmocka_unit_test(what_was_acknowledged_survives_a_kill),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
