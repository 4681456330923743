/* What an steward does to a server that is busy: stops it, copies it, rotates its keys, watches
 * it. Nothing acknowledged may be lost meanwhile. */
#include "tests/crash/load.h"
#include "tests/crash/process.h"
#include "tests/crash/wire.h"
#include "tests/flow/server.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/ops/prom.h"

#include <ctype.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { CLIENTS = 10, SOME = 1500 };

struct service {
    struct server server;
    struct load *load;
    uint64_t seed;
    char config[300];
};

static int setup(void **state)
{
    struct service *s = calloc(1, sizeof *s);
    assert_non_null(s);
    s->seed = process_seed();
    print_message("seed %llu\n", (unsigned long long)s->seed);
    server_init(&s->server);
    s->load = load_new(s->seed, CLIENTS);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    struct service *s = *state;
    (void)load_end(s->load);
    server_free(&s->server);
    load_free(s->load);
    free(s);
    return 0;
}

static void must(const struct service *s, bool kept_word, const char *phase)
{
    if (!kept_word)
        fail_msg("%s (seed %llu): %s", phase, (unsigned long long)s->seed, load_wrong(s->load));
}

static void begin(struct service *s)
{
    if (!server_start(&s->server))
        fail_msg("no start; the log is in %s", s->server.log);
    must(s, load_create_routers(s->load, s->server.admin), "routers");
}

static void verify(const struct service *s, const struct server *server)
{
    const char *argv[] = {SHUNTCTL_PATH, "--admin", server->admin, "verify", NULL};
    assert_int_equal(process_run(s->server.dir, argv), 0);
}

/* All there exactly once, by repetition, by count and mean, and by a second fold. */
static void check_all(struct service *s, const struct server *server)
{
    must(s, load_settle(s->load, server->router), "retries");
    must(s, load_repeat(s->load, server->router, 1), "repetitions");
    must(s, load_compare(s->load, server->admin), "figures");
    verify(s, server);
}

static void sigterm_under_load_ends_well_and_loses_nothing(void **state)
{
    struct service *s = *state;
    struct timespec from, to;
    begin(s);
    (void)load_begin(s->load, s->server.router, s->server.admin);
    load_wait(s->load, SOME);
    (void)clock_gettime(CLOCK_MONOTONIC, &from);
    assert_int_equal(server_stop(&s->server, SIGTERM), 0);
    (void)clock_gettime(CLOCK_MONOTONIC, &to);
    must(s, load_end(s->load), "under load");
    print_message("drain_seconds %.3f, %llu acknowledged, %llu in doubt\n",
                  (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) * 1e-9,
                  (unsigned long long)load_count(s->load).acked,
                  (unsigned long long)load_count(s->load).doubtful);
    assert_true(server_log_has(&s->server, "stopped", "info"));
    assert_false(server_log_has(&s->server, "drain_cut", "warn"));
    assert_true(server_start(&s->server));
    must(s, load_compare(s->load, s->server.admin), "after the restart");
    check_all(s, &s->server);
    assert_int_equal(server_stop(&s->server, SIGTERM), 0);
}

/* A second server on a copy, restored while the first one is dead. */
static void restore(struct service *s, const char *backup, struct server *ret_copy)
{
    server_init(ret_copy);
    const char *argv[] = {SHUNTD_PATH,  "restore",      "--from", backup,
                          "--data-dir", ret_copy->data, NULL};
    assert_int_equal(process_run(s->server.dir, argv), 0);
    if (!server_start(ret_copy))
        fail_msg("no start on the restored copy; the log is in %s", ret_copy->log);
}

static void a_backup_under_load_restores_to_all_that_was_before_it(void **state)
{
    struct service *s = *state;
    struct server copy;
    struct call_error error;
    char backup[300];
    begin(s);
    (void)load_begin(s->load, s->server.router, s->server.admin);
    load_wait(s->load, SOME);
    must(s, load_end(s->load), "before the backup");
    /* Without the steward: what he does now would be in doubt many times over. */
    (void)load_begin(s->load, s->server.router, NULL);
    load_wait(s->load, SOME / 4);
    (void)snprintf(backup, sizeof backup, "%s/backup", s->server.dir);
    struct call_channel *admin = call_open(s->server.admin);
    int status = wire_backup(admin, backup, &error);
    if (status)
        fail_msg("Backup: %s %s", error.code, error.message);
    assert_int_not_equal(wire_backup(admin, backup, &error), 0);
    assert_string_equal(error.code, "EXISTS");
    call_close(admin);
    load_wait(s->load, load_count(s->load).reports + SOME / 4);
    assert_int_equal(server_stop(&s->server, SIGKILL), 128 + SIGKILL);
    must(s, load_end(s->load), "around the backup");

    load_doubt(s->load);
    restore(s, backup, &copy);
    must(s, load_compare(s->load, copy.admin), "on the copy");
    check_all(s, &copy);
    struct load_counts n = load_count(s->load);
    print_message("of the reports around the backup %llu are in the copy, %llu came by token\n",
                  (unsigned long long)n.settled_in, (unsigned long long)n.settled_out);
    assert_true(n.settled_in > 0 && n.settled_out > 0); /* The copy is of the middle. */
    assert_int_equal(server_stop(&copy, SIGTERM), 0);
    server_free(&copy);
}

static void a_full_map_grows_unseen(void **state)
{
    struct service *s = *state;
    struct stat st;
    char file[300];
    (void)snprintf(s->config, sizeof s->config, "%s/small.yaml", s->server.dir);
    process_write_file(s->config,
                       "journal:\n  map_bytes: 1MiB\ncheckpoint:\n  every_events: 500\n");
    s->server.more[0] = "--config";
    s->server.more[1] = s->config;
    begin(s);
    (void)load_begin(s->load, s->server.router, s->server.admin);
    load_wait(s->load, 5000);
    must(s, load_end(s->load), "while the map grows");
    assert_int_equal(load_count(s->load).pushed_back, 0);
    (void)snprintf(file, sizeof file, "%s/state", s->server.data);
    assert_int_equal(stat(file, &st), 0);
    assert_true(st.st_size > 2 << 20); /* It has grown more than once. */
    assert_int_equal(server_stop(&s->server, SIGKILL), 128 + SIGKILL);
    assert_true(server_start(&s->server));
    check_all(s, &s->server);
    assert_int_equal(server_stop(&s->server, SIGTERM), 0);
}

static void report_all(struct call_channel *c, const struct wire_decision *d, size_t n,
                       bool duplicate)
{
    const double values[WIRE_METRICS] = {.5, .25};
    struct wire_answer answer;
    struct call_error error;
    for (size_t i = 0; i < n; i++) {
        if (wire_report(c, d[i].id, d[i].token, d[i].token_len, 3, values, &answer, &error))
            fail_msg("token %zu: %s %s", i, error.code, error.message);
        assert_int_equal(answer.duplicate, duplicate);
    }
}

static void tokens_of_before_a_rotation_open_after_it_and_after_a_crash(void **state)
{
    enum { ROTATIONS = 6, EACH = 5 };
    struct service *s = *state;
    struct wire_decision d[ROTATIONS][EACH];
    struct call_error error;
    begin(s);
    struct call_channel *admin = call_open(s->server.admin), *router = call_open(s->server.router);
    for (size_t k = 0; k < ROTATIONS; k++) {
        for (size_t i = 0; i < EACH; i++)
            assert_int_equal(wire_route(router, ROUTER_KEPT, "Hello.", "chat", &d[k][i], &error),
                             0);
        assert_int_equal(wire_keys_rotate(admin, &error), 0);
    }
    report_all(router, d[0], EACH, false);
    call_close(admin);
    call_close(router);
    assert_int_equal(server_stop(&s->server, SIGKILL), 128 + SIGKILL);
    assert_true(server_start(&s->server));
    router = call_open(s->server.router);
    for (size_t k = 0; k < ROTATIONS; k++)
        report_all(router, d[k], EACH, k == 0);
    call_close(router);
    verify(s, &s->server);
    assert_int_equal(server_stop(&s->server, SIGTERM), 0);
    for (size_t k = 0; k < ROTATIONS; k++)
        for (size_t i = 0; i < EACH; i++)
            free(d[k][i].token);
}

/* ---- metrics ---- */

static void scrape(const struct service *s, struct prom_page *ret_page)
{
    char *answer = server_metrics(&s->server);
    assert_non_null(answer);
    assert_non_null(strstr(answer, " 200 "));
    char *body = strstr(answer, "\r\n\r\n");
    assert_non_null(body);
    if (!prom_parse(body + 4, strlen(body + 4), ret_page))
        fail_msg("/metrics: %s", ret_page->error);
    free(answer);
}

static double value_of(const struct prom_page *page, const char *name, const char *labels)
{
    const struct prom_sample *sample = prom_find(page, name, labels);
    if (!sample)
        fail_msg("/metrics has no %s{%s}", name, labels);
    return sample->value;
}

static double sum_of(const struct prom_page *page, const char *name, const char *part)
{
    double sum = 0;
    size_t n = 0;
    for (size_t i = 0; i < page->n; i++)
        if (strcmp(page->samples[i].name, name) == 0 && strstr(page->samples[i].labels, part)) {
            sum += page->samples[i].value;
            n++;
        }
    if (n == 0)
        fail_msg("/metrics has no %s with %s", name, part);
    return sum;
}

/* An alert on a name that the server does not have would never fire. */
static void every_name_of_the_alerts_is_there(const struct prom_page *page)
{
    char line[2048];
    size_t names = 0;
    FILE *f = fopen(ALERTS_PATH, "re");
    assert_non_null(f);
    while (fgets(line, sizeof line, f))
        for (char *p = strstr(line, "expr:"); p && (p = strstr(p, "shunt_"));) {
            size_t len = 0;
            bool found = false;
            while (isalnum((unsigned char)p[len]) || p[len] == '_')
                len++;
            for (size_t i = 0; i < page->n && !found; i++)
                found = strlen(page->samples[i].name) == len &&
                        memcmp(page->samples[i].name, p, len) == 0;
            if (!found)
                fail_msg("deploy/alerts.yaml asks for %.*s, which /metrics does not have", (int)len,
                         p);
            names++;
            p += len;
        }
    (void)fclose(f);
    assert_true(names > 5);
}

/* The alerts ask after those of routers with adapters, too. Nobody can listen on port 1. */
static void have_adapters(struct service *s)
{
    const char *argv[] = {SHUNTCTL_PATH,
                          "--admin",
                          s->server.admin,
                          "router",
                          "add",
                          "loras",
                          "--set",
                          "residency.slots=1",
                          "--set",
                          "residency.engine=RESIDENCY_ENGINE_VLLM",
                          "--set",
                          "residency.replicas=http://127.0.0.1:1",
                          NULL};
    assert_int_equal(process_run(s->server.dir, argv), 0);
    const char *list[] = {SHUNTCTL_PATH, "--admin", s->server.admin, "adapters", "--router",
                          "loras",       NULL};
    assert_int_equal(process_run(s->server.dir, list), 0); /* The slow loop has come to it. */
}

static void metrics_under_load_parse_and_count_what_the_clients_counted(void **state)
{
    static const char *const gauges[] = {
        "shunt_in_flight",        "shunt_inbox_depth",         "shunt_fold_lag",
        "shunt_journal_bytes",    "shunt_checkpoint_position", "shunt_audit_dropped_total",
        "shunt_log_dropped_total"};
    struct service *s = *state;
    struct prom_page page;
    double last = 0;
    begin(s);
    (void)load_begin(s->load, s->server.router, s->server.admin);
    for (unsigned i = 1; i <= 20; i++) {
        load_wait(s->load, SOME / 20 * i);
        scrape(s, &page);
        double now = value_of(&page, "shunt_journal_position", "");
        assert_true(now >= last); /* A counter of this kind never falls. */
        last = now;
        prom_free(&page);
    }
    must(s, load_end(s->load), "under load");
    have_adapters(s);
    scrape(s, &page);
    struct load_counts n = load_count(s->load);
    const char *const route = "method=\"RouteRequest\",code=\"OK\"";
    const char *const report = "method=\"ReportReward\",code=\"OK\"";
    assert_int_equal((uint64_t)value_of(&page, "shunt_rpc_calls_total", route), n.routes);
    assert_int_equal((uint64_t)value_of(&page, "shunt_rpc_calls_total", report),
                     n.reports + n.duplicates);
    assert_int_equal(
        (uint64_t)value_of(&page, "shunt_rpc_seconds_count", "method=\"RouteRequest\""), n.routes);
    assert_int_equal((uint64_t)sum_of(&page, "shunt_arm_outcomes", "router=\"kept\""),
                     n.kept_decisions);
    double share = sum_of(&page, "shunt_arm_share", "router=\"kept\"");
    assert_true(share > 1 - 1e-9 && share < 1 + 1e-9);
    /* Every outcome and operation is an event; events of counters and labels come on top. */
    assert_true(value_of(&page, "shunt_journal_position", "") >= (double)n.reports);
    assert_true(value_of(&page, "shunt_commit_seconds_count", "") > 0);
    assert_true(value_of(&page, "shunt_batch_records_sum", "") >= (double)n.reports);
    for (size_t i = 0; i < sizeof gauges / sizeof *gauges; i++)
        assert_true(value_of(&page, gauges[i], "") >= 0);
    every_name_of_the_alerts_is_there(&page);
    prom_free(&page);
    assert_int_equal(server_stop(&s->server, SIGTERM), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(sigterm_under_load_ends_well_and_loses_nothing, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_backup_under_load_restores_to_all_that_was_before_it,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_map_grows_unseen, setup, teardown),
        cmocka_unit_test_setup_teardown(tokens_of_before_a_rotation_open_after_it_and_after_a_crash,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(metrics_under_load_parse_and_count_what_the_clients_counted,
                                        setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
