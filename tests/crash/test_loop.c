/* kill -9 in a loop under concurrent load: every acknowledged outcome is there exactly once.
 * SHUNT_CRASH_ROUNDS (25) and SHUNT_CRASH_SEED (random) may be set; both are printed. */
#include "state/base/rng.h"
#include "tests/crash/load.h"
#include "tests/crash/process.h"
#include "tests/flow/server.h"
#include "tests/unit/cmocka_all.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CLIENTS = 10, ROUNDS = 25 };

struct loop {
    struct server server;
    struct load *load;
    uint64_t seed, turn;
    char config[300], config_small[300];
};

static uint64_t draw(struct loop *l, uint64_t n)
{
    return rng_below(l->seed, l->turn++, n);
}

/* Kills a server that has not come up yet: recovery must be idempotent. */
static void kill_while_starting(struct loop *l)
{
    uint64_t ms = draw(l, 60);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
        (void)dup2(fd, STDERR_FILENO);
        (void)execl(SHUNTD_PATH, SHUNTD_PATH, "--data-dir", l->server.data, "--listen",
                    "127.0.0.1:0", "--metrics-listen", "none", (char *)NULL);
        _exit(127);
    }
    server_nap_ms((long)ms);
    (void)kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void must(const struct loop *l, bool kept_word, const char *phase, uint64_t round)
{
    if (!kept_word)
        fail_msg("round %llu, %s (seed %llu): %s", (unsigned long long)round, phase,
                 (unsigned long long)l->seed, load_wrong(l->load));
}

static void verify(struct loop *l)
{
    const char *argv[] = {SHUNTCTL_PATH, "--admin", l->server.admin, "verify", NULL};
    assert_int_equal(process_run(l->server.dir, argv), 0);
}

/* Up to the kill: everything is a promise from here on. */
static void load_and_kill(struct loop *l, uint64_t round)
{
    uint64_t ms = 30 + draw(l, 1000);
    assert_true(load_begin(l->load, l->server.router, l->server.admin));
    if (round == 1)
        load_wait(l->load, 100); /* The first crash has something to lose. */
    server_nap_ms((long)ms);
    assert_int_equal(server_stop(&l->server, SIGKILL), 128 + SIGKILL);
    must(l, load_end(l->load), "under load", round);
}

/* What a crash left is whole before anybody repeats a report, and still after. */
static void recover_and_check(struct loop *l, uint64_t round, double share)
{
    if (!server_start(&l->server))
        fail_msg("round %llu (seed %llu): no start; the log is in %s", (unsigned long long)round,
                 (unsigned long long)l->seed, l->server.log);
    must(l, load_compare(l->load, l->server.admin), "after the restart", round);
    verify(l);
    must(l, load_settle(l->load, l->server.router), "retries", round);
    must(l, load_repeat(l->load, l->server.router, share), "repetitions", round);
    must(l, load_compare(l->load, l->server.admin), "after all reports again", round);
    verify(l);
}

static void every_acknowledged_outcome_survives_kill_9_exactly_once(void **state)
{
    struct loop *l = *state;
    uint64_t rounds = process_environment("SHUNT_CRASH_ROUNDS", ROUNDS);
    const char *offline[] = {SHUNTD_PATH, "--data-dir", l->server.data, "verify", NULL};
    print_message("seed %llu, %llu rounds\n", (unsigned long long)l->seed,
                  (unsigned long long)rounds);
    assert_true(server_start(&l->server));
    must(l, load_create_routers(l->load, l->server.admin), "routers", 0);
    for (uint64_t round = 1; round <= rounds; round++) {
        load_and_kill(l, round);
        struct load_counts doubt = load_count(l->load);
        if (round % 5 == 0)
            kill_while_starting(l);
        if (round % 8 == 0)
            assert_int_equal(process_run(l->server.dir, offline), 0);
        /* Every second server writes generations all the time. */
        l->server.more[1] = round % 2 ? l->config_small : l->config;
        recover_and_check(l, round, round == rounds ? 1 : .02);
        struct load_counts n = load_count(l->load);
        print_message("round %llu: %llu decisions, %llu acknowledged, %llu in doubt, %llu of the "
                      "steward\n",
                      (unsigned long long)round, (unsigned long long)n.routes,
                      (unsigned long long)n.acked, (unsigned long long)doubt.doubtful,
                      (unsigned long long)n.operations);
    }
    assert_int_equal(server_stop(&l->server, SIGTERM), 0);
    assert_int_equal(process_run(l->server.dir, offline), 0);
    struct load_counts n = load_count(l->load);
    print_message("%llu duplicates recognised; of the reports in doubt %llu were there, %llu not\n",
                  (unsigned long long)n.duplicates, (unsigned long long)n.settled_in,
                  (unsigned long long)n.settled_out);
    assert_true(n.duplicates >= n.acked && n.operations > 0);
}

static int setup(void **state)
{
    struct loop *l = calloc(1, sizeof *l);
    assert_non_null(l);
    l->seed = process_seed();
    server_init(&l->server);
    l->load = load_new(l->seed, CLIENTS);
    (void)snprintf(l->config, sizeof l->config, "%s/plain.yaml", l->server.dir);
    (void)snprintf(l->config_small, sizeof l->config_small, "%s/small.yaml", l->server.dir);
    process_write_file(l->config, "log_level: info\n");
    process_write_file(l->config_small, "checkpoint:\n  every_events: 200\n  every: 100ms\n"
                                        "journal:\n  map_bytes: 1MiB\n");
    l->server.more[0] = "--config";
    l->server.more[1] = l->config_small;
    *state = l;
    return 0;
}

static int teardown(void **state)
{
    struct loop *l = *state;
    (void)load_end(l->load);
    server_free(&l->server);
    load_free(l->load);
    free(l);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_acknowledged_outcome_survives_kill_9_exactly_once,
                                        setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
