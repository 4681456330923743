/* What operators do: declare routers in a file, back up, restore, verify; and what happens when
 * more comes in than is allowed. */
#include "tests/flow/play.h"
#include "tests/flow/server.h"
#include "tests/unit/cmocka_all.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

/* Arms of a router; -1 when there is no such router. */
static int arms_of(struct call_channel *admin, const char *router, char ret_first[80])
{
    char name[80];
    (void)snprintf(name, sizeof name, "%s", router);
    Shunt__V1__GetRouterRequest request = SHUNT__V1__GET_ROUTER_REQUEST__INIT;
    ProtobufCMessage *response = NULL;
    struct call_error error;
    request.name = name;
    if (call_unary(admin, "/shunt.v1.Admin/GetRouter", &request.base,
                   &shunt__v1__router_info__descriptor, 20, &response, &error)) {
        assert_string_equal(error.code, "ROUTER_NOT_FOUND");
        return -1;
    }
    const Shunt__V1__RouterInfo *info = (const Shunt__V1__RouterInfo *)response;
    int n = (int)info->n_arms;
    if (n && ret_first)
        (void)snprintf(ret_first, 80, "%s", info->arms[0]->spec->description);
    protobuf_c_message_free_unpacked(response, NULL);
    return n;
}

static void bootstrap_creates_what_is_absent_and_overwrites_nothing(void **state)
{
    (void)state;
    struct server s;
    char config[256], words[80] = "";
    server_init(&s);
    (void)snprintf(config, sizeof config, "%s/shuntd.yaml", s.dir);
    write_file(config, "bootstrap:\n"
                       "  routers:\n"
                       "    - name: declared\n"
                       "      arms:\n"
                       "        - {name: x, description: first}\n");
    s.more[0] = "--config";
    s.more[1] = config;
    assert_true(server_start(&s));
    struct call_channel *admin = call_open(s.admin);
    assert_int_equal(arms_of(admin, "declared", words), 1);
    assert_int_equal(arms_of(admin, "default", NULL), -1);
    call_close(admin);
    assert_int_equal(server_stop(&s, SIGTERM), 0);
    write_file(config, "bootstrap:\n"
                       "  routers:\n"
                       "    - name: declared\n"
                       "      arms:\n"
                       "        - {name: x, description: second}\n"
                       "        - {name: y}\n");
    assert_true(server_start(&s));
    admin = call_open(s.admin);
    assert_int_equal(arms_of(admin, "declared", words), 2);
    assert_string_equal(words, "first");
    call_close(admin);
    assert_int_equal(server_stop(&s, SIGTERM), 0);
    server_free(&s);
}

static void a_mistake_in_bootstrap_stops_the_start_and_names_the_line(void **state)
{
    (void)state;
    struct server s;
    char config[256];
    server_init(&s);
    (void)snprintf(config, sizeof config, "%s/shuntd.yaml", s.dir);
    write_file(config, "bootstrap:\n"
                       "  routers:\n"
                       "    - name: declared\n"
                       "      features: 3\n");
    s.more[0] = "--config";
    s.more[1] = config;
    assert_false(server_start(&s));
    assert_int_equal(server_wait(&s), 1);
    assert_true(server_log_has(&s, "start_failed", "shuntd.yaml:4"));
    write_file(config, "bootstrap:\n"
                       "  routers:\n"
                       "    - {name: declared, settings: {alpha: 1}}\n"
                       "    - {name: declared, settings: {alpha: 2}}\n");
    assert_false(server_start(&s));
    assert_int_equal(server_wait(&s), 1);
    assert_true(server_log_has(&s, "start_failed", "declared twice"));
    server_free(&s);
}

static void ephemeral_routers_do_not_survive_a_restart(void **state)
{
    (void)state;
    struct server s;
    struct call_error error;
    ProtobufCMessage *response = NULL;
    char name[] = "passing";
    Shunt__V1__RouterSpec spec = SHUNT__V1__ROUTER_SPEC__INIT;
    Shunt__V1__CreateRouterRequest request = SHUNT__V1__CREATE_ROUTER_REQUEST__INIT;
    server_init(&s);
    assert_true(server_start(&s));
    struct call_channel *admin = call_open(s.admin);
    spec.name = name;
    spec.has_ephemeral = spec.ephemeral = 1;
    request.spec = &spec;
    assert_int_equal(call_unary(admin, "/shunt.v1.Admin/CreateRouter", &request.base,
                                &shunt__v1__router_info__descriptor, 20, &response, &error),
                     0);
    protobuf_c_message_free_unpacked(response, NULL);
    play_router(admin, "staying");
    call_close(admin);
    assert_int_equal(server_stop(&s, SIGKILL), 128 + SIGKILL);
    assert_true(server_start(&s));
    admin = call_open(s.admin);
    assert_int_equal(arms_of(admin, "passing", NULL), -1);
    assert_int_equal(arms_of(admin, "staying", NULL), 2);
    call_close(admin);
    assert_int_equal(server_stop(&s, SIGTERM), 0);
    server_free(&s);
}

static void a_backup_restores_what_was_learned_and_verifies(void **state)
{
    (void)state;
    struct server s, other;
    struct decision_kept d;
    struct report_seen seen;
    struct call_error error;
    ProtobufCMessage *response = NULL;
    char path[256];
    server_init(&s);
    server_init(&other);
    (void)snprintf(path, sizeof path, "%s/backup", s.dir);
    assert_true(server_start(&s));
    struct call_channel *admin = call_open(s.admin), *router = call_open(s.router);
    play_router(admin, "flow");
    play_route(router, "flow", &d);
    assert_int_equal(play_report(router, &d, "reward", .5, &seen, &error), 0);
    Shunt__V1__BackupRequest backup = SHUNT__V1__BACKUP_REQUEST__INIT;
    backup.path = path;
    assert_int_equal(call_unary(admin, "/shunt.v1.Admin/Backup", &backup.base,
                                &shunt__v1__backup_response__descriptor, 60, &response, &error),
                     0);
    protobuf_c_message_free_unpacked(response, NULL);
    assert_int_not_equal(call_unary(admin, "/shunt.v1.Admin/Backup", &backup.base,
                                    &shunt__v1__backup_response__descriptor, 60, &response, &error),
                         0);
    assert_string_equal(error.code, "EXISTS");
    call_close(admin);
    call_close(router);
    assert_int_equal(server_stop(&s, SIGTERM), 0);
    const char *verify[] = {"verify", "--data-dir", s.data, NULL};
    assert_int_equal(server_run(&s, verify), 0);
    assert_true(server_log_has(&s, "\"ok\":true", "\"events\":"));
    const char *restore[] = {"restore", "--from", path, "--data-dir", other.data, NULL};
    assert_int_equal(server_run(&other, restore), 0);
    assert_true(server_start(&other));
    router = call_open(other.router);
    assert_int_equal(play_report(router, &d, "reward", .5, &seen, &error), 0);
    assert_int_equal(seen.duplicate, 1); /* The copy knows that it was reported. */
    call_close(router);
    assert_int_equal(server_stop(&other, SIGTERM), 0);
    const char *missing[] = {"verify", "--data-dir", "/nonexistent/shunt", NULL};
    assert_int_equal(server_run(&other, missing), 1);
    server_free(&other);
    server_free(&s);
}

struct caller {
    struct call_channel *router;
    int served, refused, others;
};

static void *route_often(void *arg)
{
    struct caller *c = arg;
    char name[] = "flow";
    for (int i = 0; i < 200; i++) {
        Shunt__V1__RouteRequest request = SHUNT__V1__ROUTE_REQUEST__INIT;
        ProtobufCMessage *response = NULL;
        struct call_error error;
        request.router = name;
        int status = call_unary(c->router, "/shunt.v1.Router/RouteRequest", &request.base,
                                &shunt__v1__route_response__descriptor, 20, &response, &error);
        if (status == 0)
            protobuf_c_message_free_unpacked(response, NULL);
        c->served += status == 0;
        c->refused += status == CALL_RESOURCE_EXHAUSTED && strcmp(error.code, "OVERLOADED") == 0;
        c->others += status != 0 && status != CALL_RESOURCE_EXHAUSTED;
    }
    return NULL;
}

static void above_max_in_flight_calls_are_refused_or_served_but_never_held(void **state)
{
    (void)state;
    enum { CALLERS = 8 };
    struct server s;
    struct caller callers[CALLERS], all = {0};
    pthread_t threads[CALLERS];
    server_init(&s);
    s.more[0] = "--set";
    s.more[1] = "max_in_flight=1";
    assert_true(server_start(&s));
    struct call_channel *admin = call_open(s.admin), *router = call_open(s.router);
    play_router(admin, "flow");
    for (int i = 0; i < CALLERS; i++) {
        callers[i] = (struct caller){.router = router};
        assert_int_equal(pthread_create(&threads[i], NULL, route_often, &callers[i]), 0);
    }
    for (int i = 0; i < CALLERS; i++) {
        (void)pthread_join(threads[i], NULL);
        all.served += callers[i].served;
        all.refused += callers[i].refused;
        all.others += callers[i].others;
    }
    assert_int_equal(all.others, 0);
    assert_int_equal(all.served + all.refused, CALLERS * 200);
    assert_true(all.served > 0);
    assert_true(all.refused > 0);
    call_close(admin);
    call_close(router);
    assert_int_equal(server_stop(&s, SIGTERM), 0);
    server_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bootstrap_creates_what_is_absent_and_overwrites_nothing),
        cmocka_unit_test(a_mistake_in_bootstrap_stops_the_start_and_names_the_line),
        cmocka_unit_test(ephemeral_routers_do_not_survive_a_restart),
        cmocka_unit_test(a_backup_restores_what_was_learned_and_verifies),
        cmocka_unit_test(above_max_in_flight_calls_are_refused_or_served_but_never_held),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
