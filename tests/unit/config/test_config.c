#include "server/config.h"
#include "state/base/mem.h"
#include "tests/unit/cmocka_all.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yaml.h>

struct site {
    char dir[64], file[96];
};

static int set_up(void **state)
{
    struct site *s = calloc(1, sizeof *s);
    assert_non_null(s);
    (void)snprintf(s->dir, sizeof s->dir, "/tmp/shunt-config-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    (void)snprintf(s->file, sizeof s->file, "%s/c.yaml", s->dir);
    *state = s;
    return 0;
}

static int tear_down(void **state)
{
    struct site *s = *state;
    (void)unlink(s->file);
    (void)rmdir(s->dir);
    free(s);
    return 0;
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
}

/* Loads with the arguments, a NULL ends them. yaml, if any, becomes the --config file. */
static enum err load(const struct site *s, const char *yaml, const char *const *args,
                     struct config **ret_config, struct err_detail *detail)
{
    char copies[24][256];
    char *argv[24];
    int n = 0;
    const char *const first[] = {"shuntd", "--config", s->file, NULL};
    for (int i = 0; first[i] && (yaml || !i); i++)
        (void)snprintf(copies[n++], sizeof copies[0], "%s", first[i]);
    for (int i = 0; args[i] && n < 23; i++)
        (void)snprintf(copies[n++], sizeof copies[0], "%s", args[i]);
    for (int i = 0; i < n; i++)
        argv[i] = copies[i];
    argv[n] = NULL;
    if (yaml)
        write_file(s->file, yaml);
    return config_load(n, argv, ret_config, detail);
}

static const char *const plain[] = {"--data-dir", "/d", NULL};

static struct config *must_load(const struct site *s, const char *yaml, const char *const *args)
{
    struct config *c = NULL;
    struct err_detail detail = {""};
    if (load(s, yaml, args, &c, &detail))
        fail_msg("%s", detail.text);
    return c;
}

/* The text after the file's name, such as ":3:5: ..." or all of it for the command line. */
static void must_fail(const struct site *s, const char *yaml, const char *const *args,
                      const char *expected)
{
    struct config *c = NULL;
    struct err_detail detail = {""};
    assert_int_not_equal(load(s, yaml, args, &c, &detail), OK);
    assert_null(c);
    if (!strstr(detail.text, expected))
        fail_msg("\"%s\" does not say \"%s\"", detail.text, expected);
    if (expected[0] == ':')
        assert_memory_equal(detail.text, s->file, strlen(s->file));
}

static const struct config_entry *entry(const struct config *c, const char *key,
                                        struct config_entry *e)
{
    for (size_t i = 0; i < config_entries_n(); i++) {
        config_entry(c, i, e);
        if (!strcmp(e->key, key))
            return e;
    }
    fail_msg("no setting %s", key);
    return NULL;
}

static void a_data_directory_is_all_that_is_needed(void **state)
{
    struct config *c = must_load(*state, NULL, plain);
    assert_int_equal(c->command, CONFIG_SERVE);
    assert_int_equal(c->listen.n, 2);
    assert_string_equal(c->listen.text[0], "127.0.0.1:7077");
    assert_string_equal(c->listen.text[1], "unix:/d/shunt.sock");
    assert_int_equal(c->admin_listen.n, 1);
    assert_string_equal(c->admin_listen.text[0], "unix:/d/admin.sock");
    assert_string_equal(c->metrics_listen, "127.0.0.1:9464");
    assert_string_equal(c->decision_log.dir, "/d/decisions");
    assert_int_equal(c->log_level, LOG_INFO);
    assert_int_equal(c->rpc_threads, 1);
    assert_int_equal(c->max_text_bytes, 262144);
    assert_int_equal(c->drain_grace_us, 8000000);
    assert_int_equal(c->max_connection_age_us, 300000000);
    assert_int_equal(c->decision_log.keep_us, INT64_C(72) * 3600 * 1000000);
    assert_int_equal(c->journal.map_bytes, INT64_C(64) << 30);
    assert_int_equal(c->checkpoint.every_events, 200000);
    assert_false(c->allow_plaintext_non_loopback);
    config_free(c);
    must_fail(*state, NULL, (const char *const[]){NULL}, "--data-dir");
}

static void the_command_line_wins_over_the_file_and_the_file_over_defaults(void **state)
{
    const char *yaml = "log_level: debug\n"
                       "rpc_threads: 2\n"
                       "listen: [127.0.0.1:1, 'unix:/x']\n"
                       "checkpoint: {every: 10s}\n";
    const char *const args[] = {"--data-dir",       "/d",      "--listen", "[::1]:5",
                                "--listen",         "unix:/y", "--set",    "rpc_threads=3",
                                "--metrics-listen", "none",    NULL};
    struct config_entry e;
    struct config *c = must_load(*state, yaml, args);
    assert_int_equal(c->log_level, LOG_DEBUG);
    assert_int_equal(c->rpc_threads, 3);
    assert_int_equal(c->listen.n, 2);
    assert_string_equal(c->listen.text[0], "[::1]:5");
    assert_string_equal(entry(c, "listen", &e)->value, "[::1]:5, unix:/y");
    assert_string_equal(e.source, "command line");
    assert_string_equal(entry(c, "checkpoint.every", &e)->source, "file:4");
    assert_string_equal(e.value, "10s");
    assert_string_equal(entry(c, "journal.keep", &e)->source, "default");
    assert_string_equal(e.value, "30d");
    assert_string_equal(entry(c, "log_level", &e)->value, "debug");
    assert_string_equal(e.source, "file:1");
    assert_string_equal(entry(c, "metrics_listen", &e)->value, "none");
    assert_non_null(strstr(entry(c, "max_text_bytes", &e)->about, "[1KiB, 1MiB]"));
    config_free(c);
    c = must_load(*state, "listen: [127.0.0.1:1, 'unix:/x']\n", plain);
    assert_string_equal(entry(c, "listen", &e)->value, "127.0.0.1:1, unix:/x");
    config_free(c);
}

static void what_is_wrong_in_the_file_is_named_with_its_place(void **state)
{
    static const struct {
        const char *yaml, *expected;
    } cases[] = {
        {"log_level: info\nlisen: x\n",
         ":2:1: unknown key \"lisen\"; known here: data_dir, listen"},
        {"journal:\n  keeps: 1d\n", ":2:3: unknown key \"keeps\"; known here: map_bytes, keep"},
        {"journal.keep: 1d\n", ":1:1: unknown key \"journal.keep\""},
        {"log_level: info\n\nlog_level: warn\n", ":3:1: \"log_level\" stands here twice"},
        {"tls: {cert: a, cert: b}\n", ":1:16: \"cert\" stands here twice"},
        {"rpc_threads: 65\n", ":1:14: rpc_threads: 65 is outside [1, 64]"},
        {"rpc_threads: 0\n", "outside [1, 64]"},
        {"rpc_threads: -1\n", "expected a whole number"},
        {"rpc_threads: 1.5\n", "expected a whole number, not \"1.5\""},
        {"rpc_threads: 99999999999999999999\n", "outside [1, 64]"},
        {"rpc_threads: [1]\n", ":1:14: rpc_threads: expected a single value"},
        {"max_text_bytes: 2MiB\n", "2MiB is outside [1KiB, 1MiB]"},
        {"max_text_bytes: 64MB\n", "expected a size such as 64MiB"},
        {"drain_grace: 10\n", "expected a duration such as"},
        {"drain_grace: 11s\n", "11s is outside [0, 10s]"},
        {"journal: {keep: 99999999999999999d}\n", "is outside [1h, 3650d]"},
        {"log_level: loud\n", "expected debug, info, warn or error"},
        {"allow_plaintext_non_loopback: yes\n", "expected true or false"},
        {"listen: localhost\n", ":1:9: listen: expected HOST:PORT"},
        {"listen:\n  - 127.0.0.1:70000\n", ":2:5: listen: expected HOST:PORT"},
        {"listen: []\n", "at least one address"},
        {"listen: 'fe80::1:7077'\n", "expected HOST:PORT, [IPV6]:PORT"},
        {"listen: 'unix:'\n", "a unix socket's path"},
        {"metrics_listen: unix:/m\n", "expected HOST:PORT or none"},
        {"data_dir:\n", "expected a path"},
        {"data_dir: \"a\\0b\"\n", "a NUL byte"},
        {"journal: 5\n", ":1:10: journal: expected keys with values: map_bytes"},
        {"[1, 2]\n", ":1:1: expected keys with values: data_dir"},
        {"? [a]\n: b\n", "expected the name of a setting"},
        {"a: &x 1\nbootstrap: *x\n", "aliases"},
        {"bootstrap: &x {routers: [*x]}\n", "aliases"},
        {"log_level: info\n---\nlog_level: warn\n", "a second document"},
        {"log_level: [info\n", "not YAML"},
        {"log_level: \"\xff\"\n", "not YAML"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        must_fail(*state, cases[i].yaml, plain, cases[i].expected);
    const char *const missing[] = {"--data-dir", "/d", "--config", "/nowhere/c.yaml", NULL};
    must_fail(*state, NULL, missing, "/nowhere/c.yaml: No such file");
    const char *const folder[] = {"--data-dir", "/d", "--config", "/", NULL};
    must_fail(*state, NULL, folder, "no regular file");
}

static void what_is_wrong_on_the_command_line_is_named(void **state)
{
    static const struct {
        const char *args[8], *expected;
    } cases[] = {
        {{"--data-dir", "/d", "--listen", "x"}, "listen on the command line: expected HOST:PORT"},
        {{"--data-dir", "/d", "--log-level", "x"}, "log_level on the command line: expected debug"},
        {{"--data-dir", "/d", "--set", "x"}, "--set x: expected KEY=VALUE"},
        {{"--data-dir", "/d", "--set", "x=1"}, "no setting \"x\"; there are data_dir"},
        {{"--data-dir", ""}, "expected a path"},
        {{"serve"}, "\"serve\" is no command"},
        {{"verify", "verify"}, "\"verify\": give one command"},
        {{"verify"}, "--data-dir"},
        {{"restore", "--data-dir", "/d"}, "give --from BACKUP"},
        {{"--data-dir", "/d", "--from", "/b"}, "--from belongs to restore"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        must_fail(*state, NULL, cases[i].args, cases[i].expected);
}

static void subcommands_are_understood(void **state)
{
    const char *const verify[] = {"verify", "--data-dir", "/d", NULL};
    const char *const restore[] = {"restore", "--from", "/b", "--data-dir", "/d", NULL};
    const char *const version[] = {"version", NULL};
    const char *const help[] = {"--help", NULL};
    const char *const help_of_one[] = {"restore", "--help", NULL};
    struct config *c = must_load(*state, NULL, verify);
    assert_int_equal(c->command, CONFIG_VERIFY);
    config_free(c);
    c = must_load(*state, NULL, restore);
    assert_int_equal(c->command, CONFIG_RESTORE);
    assert_string_equal(c->restore_from, "/b");
    config_free(c);
    c = must_load(*state, NULL, version);
    assert_int_equal(c->command, CONFIG_VERSION);
    config_free(c);
    c = must_load(*state, NULL, help);
    assert_int_equal(c->command, CONFIG_HELP);
    config_free(c);
    c = must_load(*state, NULL, help_of_one);
    assert_int_equal(c->command, CONFIG_HELP);
    config_free(c);
}

static void plaintext_beyond_this_machine_needs_the_flag(void **state)
{
    const char *const open_data[] = {"--data-dir", "/d", "--listen", "0.0.0.0:7077", NULL};
    const char *const open_admin[] = {"--data-dir", "/d", "--admin-listen", "10.0.0.1:1", NULL};
    const char *const open_pages[] = {"--data-dir", "/d", "--metrics-listen", "[::]:9464", NULL};
    must_fail(*state, NULL, open_data, "listen: 0.0.0.0:7077 can be reached from other machines");
    must_fail(*state, NULL, open_data, "allow_plaintext_non_loopback");
    must_fail(*state, NULL, open_admin, "admin_listen: 10.0.0.1:1 can be reached");
    must_fail(*state, NULL, open_pages, "metrics_listen: [::]:9464 can be reached");
    must_fail(*state, "allow_plaintext_non_loopback: false\n", open_data, "can be reached");
    struct config *c = must_load(*state, "allow_plaintext_non_loopback: true\n", open_data);
    assert_string_equal(c->listen.text[0], "0.0.0.0:7077");
    config_free(c);
    const char *local[] = {"127.0.0.1:1", "127.9.9.9:1", "localhost:1", "[::1]:1", "unix:/x"};
    const char *far[] = {"0.0.0.0:1", "127.0.0.1.example.org:1", "localhost.example.org:1",
                         "[::]:1",    "[::ffff:10.0.0.1]:1",     "1270:1",
                         "*:1"};
    for (size_t i = 0; i < sizeof local / sizeof *local; i++)
        assert_true(config_address_is_local(local[i]));
    for (size_t i = 0; i < sizeof far / sizeof *far; i++)
        assert_false(config_address_is_local(far[i]));
}

static void a_key_that_everybody_can_read_is_refused(void **state)
{
    const struct site *s = *state;
    char key[96], yaml[512];
    (void)snprintf(key, sizeof key, "%s/k.pem", s->dir);
    write_file(key, "x");
    (void)snprintf(yaml, sizeof yaml, "listen: 0.0.0.0:7077\ntls: {cert: %s, key: %s}\n", key, key);
    assert_int_equal(chmod(key, 0644), 0);
    must_fail(s, yaml, plain, "tls.key: ");
    must_fail(s, yaml, plain, "chmod 0600");
    assert_int_equal(chmod(key, 0600), 0);
    struct config *c = must_load(s, yaml, plain); /* With TLS, 0.0.0.0 needs no flag. */
    config_free(c);
    (void)snprintf(yaml, sizeof yaml, "tls: {cert: %s}\n", key);
    must_fail(s, yaml, plain, "give both or neither");
    (void)snprintf(yaml, sizeof yaml, "tls: {client_ca: %s}\n", key);
    must_fail(s, yaml, plain, "needs tls.cert");
    must_fail(s, "tls: {cert: /, key: /}\n", plain, "tls.cert: / is no regular file");
    must_fail(s, "engines: {ca_file: /dev/null}\n", plain, "engines.ca_file: /dev/null is no");
    must_fail(s, "tls: {cert: /nowhere/a, key: /nowhere/b}\n", plain, "/nowhere/a: No such file");
    (void)unlink(key);
}

static void a_socket_path_that_cannot_be_bound_is_refused(void **state)
{
    char dir[140];
    memset(dir, 'd', sizeof dir - 1);
    dir[0] = '/';
    dir[sizeof dir - 1] = '\0';
    const char *const serve[] = {"--data-dir", dir, NULL};
    const char *const verify[] = {"verify", "--data-dir", dir, NULL};
    must_fail(*state, NULL, serve, "a unix socket's path has 1 to 107 bytes");
    struct config *c = must_load(*state, NULL, verify);
    config_free(c);
}

/* It would wait for a writer, with the signals that could end it blocked. */
static void a_pipe_is_no_file_of_settings(void **state)
{
    const struct site *s = *state;
    char pipe[96];
    (void)snprintf(pipe, sizeof pipe, "%s/pipe", s->dir);
    assert_int_equal(mkfifo(pipe, 0600), 0);
    const char *const args[] = {"--config", pipe, "--data-dir", "d", NULL};
    must_fail(s, NULL, args, "no regular file");
    assert_int_equal(unlink(pipe), 0);
}

static void bootstrap_is_handed_over_as_a_tree(void **state)
{
    struct yaml_document_s *document = NULL;
    struct yaml_node_s *node = NULL;
    struct config *c = must_load(
        *state, "bootstrap:\n  routers:\n  - name: default\n    arms: [{name: a}]\n", plain);
    assert_true(config_bootstrap(c, &document, &node));
    assert_int_equal(node->type, YAML_MAPPING_NODE);
    const yaml_node_t *key = yaml_document_get_node(document, node->data.mapping.pairs.start->key);
    assert_string_equal((const char *)key->data.scalar.value, "routers");
    config_free(c);
    c = must_load(*state, "# nothing\n", plain);
    assert_false(config_bootstrap(c, &document, &node));
    config_free(c);
}

static void sizes_and_durations_have_units(void **unused)
{
    (void)unused;
    static const struct {
        const char *text;
        int64_t value;
    } sizes[] = {{"0", 0},         {"5", 5},           {"7B", 7},
                 {"64KiB", 65536}, {"1 MiB", 1048576}, {"2TiB", INT64_C(2) << 40}},
      times[] = {{"0", 0},
                 {"1us", 1},
                 {"500ms", 500000},
                 {"10s", 10000000},
                 {"5min", 300000000},
                 {"5m", 300000000},
                 {"24h", INT64_C(86400000000)},
                 {"30d", INT64_C(2592000000000)}};
    int64_t n = -1;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        assert_int_equal(config_parse_bytes(sizes[i].text, &n), OK);
        assert_int_equal(n, sizes[i].value);
    }
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        assert_int_equal(config_parse_duration(times[i].text, &n), OK);
        assert_int_equal(n, times[i].value);
    }
    const char *bad[] = {"", "-1s", "1", "s", "1 S", "1sx", " 1s", "1.5h", "0x10s"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(config_parse_duration(bad[i], &n), ERR_INVALID);
    assert_int_equal(config_parse_bytes("99999999TiB", &n), ERR_OUT_OF_RANGE);
    assert_int_equal(config_parse_bytes("1KB", &n), ERR_INVALID);
}

/* What config shows can be written back: every default, as printed, is accepted. */
static void every_setting_reads_what_it_prints(void **state)
{
    struct config *c = must_load(*state, NULL, plain);
    for (size_t i = 0; i < config_entries_n(); i++) {
        struct config_entry e;
        char given[300];
        config_entry(c, i, &e);
        assert_true(e.about[0]);
        if (!e.value[0] || strstr(e.value, ", "))
            continue;
        (void)snprintf(given, sizeof given, "%s=%.200s", e.key, e.value);
        const char *const args[] = {"--data-dir", "/d", "--set", given, NULL};
        struct config *again = must_load(*state, NULL, args);
        struct config_entry back;
        assert_string_equal(entry(again, e.key, &back)->value, e.value);
        config_free(again);
    }
    config_free(c);
}

static void every_failed_allocation_is_an_error_and_no_leak(void **state)
{
    const struct site *s = *state;
    for (long n = 1;; n++) {
        struct config *c = NULL;
        struct err_detail detail;
        mem_fail_nth(n);
        const enum err e = load(s, "log_level: info\n", plain, &c, &detail);
        const bool reached = mem_count() >= n;
        mem_fail_nth(0);
        assert_int_equal(e, reached ? ERR_NOMEM : OK);
        config_free(c);
        if (!reached)
            break;
    }
}

/* The sample is where people look settings up: it must have all of them, with their defaults. */
static void the_sample_has_every_setting_with_its_default(void **state)
{
    const char *const args[] = {"--config", SHUNT_SAMPLE, NULL};
    const char *const data[] = {"--data-dir", "/var/lib/shunt", NULL};
    struct config *sample = must_load(*state, NULL, args);
    struct config *defaults = must_load(*state, NULL, data);
    for (size_t i = 0; i < config_entries_n(); i++) {
        struct config_entry a, b;
        config_entry(sample, i, &a);
        config_entry(defaults, i, &b);
        assert_string_equal(a.value, b.value);
        /* A path that is unset by default stands there as a comment. */
        bool unset = strncmp(a.key, "tls.", 4) == 0 || strncmp(a.key, "engines.", 8) == 0 ||
                     strcmp(a.key, "classifier.examples") == 0 ||
                     strcmp(a.key, "projection.dir") == 0;
        if (!unset && strncmp(a.source, "file:", 5) != 0)
            fail_msg("the sample lacks %s", a.key);
    }
    config_free(sample);
    config_free(defaults);
}

static void help_names_every_setting(void **unused)
{
    (void)unused;
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    assert_non_null(f);
    config_print_help(f);
    assert_int_equal(fclose(f), 0);
    assert_non_null(strstr(text, "--data-dir"));
    assert_non_null(strstr(text, "allow_plaintext_non_loopback"));
    assert_non_null(strstr(text, "checkpoint.every_events"));
    assert_non_null(strstr(text, "[1, 64]"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_data_directory_is_all_that_is_needed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            the_command_line_wins_over_the_file_and_the_file_over_defaults, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_wrong_in_the_file_is_named_with_its_place, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_is_wrong_on_the_command_line_is_named, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(subcommands_are_understood, set_up, tear_down),
        cmocka_unit_test_setup_teardown(plaintext_beyond_this_machine_needs_the_flag, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_key_that_everybody_can_read_is_refused, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_socket_path_that_cannot_be_bound_is_refused, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_pipe_is_no_file_of_settings, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bootstrap_is_handed_over_as_a_tree, set_up, tear_down),
        cmocka_unit_test(sizes_and_durations_have_units),
        cmocka_unit_test_setup_teardown(every_setting_reads_what_it_prints, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_failed_allocation_is_an_error_and_no_leak, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_sample_has_every_setting_with_its_default, set_up,
                                        tear_down),
        cmocka_unit_test(help_names_every_setting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
