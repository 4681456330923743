/* TLS between libshunt, shuntctl and shuntd, with certificates that openssl makes on the spot. */
#include "client/shunt.h"
#include "tests/flow/play.h"
#include "tests/flow/server.h"
#include "tests/unit/cmocka_all.h"

#include <grpc/grpc.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

enum { PATH_CAP = 256 };

static char certificates[PATH_CAP]; /* The folder that all tests share. */
static bool made;                   /* openssl is there, and so are they. */

struct fixture {
    struct server server;
    char listen[64], cert[PATH_CAP * 2], key[PATH_CAP * 2], client_ca[PATH_CAP * 2];
};

/* The exit status of a command of the shell. */
__attribute__((format(printf, 1, 2))) static int run(const char *fmt, ...)
{
    char command[2048];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(command, sizeof command, fmt, args);
    va_end(args);
    int status = system(command); /* NOLINT(cert-env33-c): fixed words and a folder of ours. */
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* NAME.pem and NAME.key of an authority that signs itself. */
static void make_authority(const char *name)
{
    assert_int_equal(run("cd %s && openssl req -x509 -newkey ec -pkeyopt "
                         "ec_paramgen_curve:prime256v1 -nodes -keyout %s.key -out %s.pem "
                         "-subj /CN=%s -days 2 2>/dev/null",
                         certificates, name, name, name),
                     0);
}

/* NAME.pem and NAME.key for the names, signed by the authority; days -1: it ended yesterday. */
static void make_certificate(const char *name, const char *authority, const char *names, int days)
{
    assert_int_equal(run("cd %s && openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 "
                         "-nodes -keyout %s.key -out %s.csr -subj /CN=%s 2>/dev/null && "
                         "echo subjectAltName=%s > %s.ext && "
                         "openssl x509 -req -in %s.csr -CA %s.pem -CAkey %s.key -CAcreateserial "
                         "-out %s.pem -extfile %s.ext -days %d 2>/dev/null",
                         certificates, name, name, name, names, name, name, authority, authority,
                         name, name, days),
                     0);
}

static int make_all(void **state)
{
    const char *tmp = getenv("TMPDIR");
    (void)state;
    (void)snprintf(certificates, sizeof certificates, "%s/shunt-tls-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(certificates))
        return -1;
    made = run("openssl version >/dev/null 2>&1") == 0;
    if (!made) {
        print_message("skipped: openssl is not there (deploy/packages.txt)\n");
        return 0;
    }
    make_authority("ca");
    make_authority("other");
    make_certificate("server", "ca", "DNS:shunt.test,IP:127.0.0.1", 2);
    make_certificate("renewed", "ca", "DNS:shunt.test,IP:127.0.0.1", 2);
    make_certificate("named", "ca", "DNS:shunt.test", 2);
    make_certificate("expired", "ca", "DNS:shunt.test,IP:127.0.0.1", -1);
    make_certificate("client", "ca", "DNS:client", 2);
    make_certificate("stranger", "other", "DNS:client", 2);
    return 0;
}

static int remove_all(void **state)
{
    (void)state;
    server_remove_dir(certificates);
    return 0;
}

/* The path of a file of ours, in one of a few places that take turns. */
static const char *file(const char *name)
{
    static char paths[8][PATH_CAP * 2];
    static unsigned next;
    char *path = paths[next++ % 8];
    (void)snprintf(path, sizeof paths[0], "%s/%s", certificates, name);
    return path;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    grpc_init();
    server_init(&f->server);
    (void)snprintf(f->listen, sizeof f->listen, "127.0.0.1:0");
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    server_free(&f->server);
    free(f);
    grpc_shutdown();
    return 0;
}

/* A server with that certificate, which comes back where it was; client_ca NULL: it asks its
 * clients for none. */
static void start(struct fixture *f, const char *name, const char *client_ca)
{
    const char *args[] = {
        "--listen", f->listen, "--metrics-listen", "none", "--set", f->cert, "--set",
        f->key,     "--set",   f->client_ca};
    size_t n = sizeof args / sizeof *args - (client_ca ? 0 : 2);
    if (!made)
        skip();
    (void)snprintf(f->cert, sizeof f->cert, "tls.cert=%s/%s.pem", certificates, name);
    (void)snprintf(f->key, sizeof f->key, "tls.key=%s/%s.key", certificates, name);
    (void)snprintf(f->client_ca, sizeof f->client_ca, "tls.client_ca=%s/%s.pem", certificates,
                   client_ca ? client_ca : "");
    memset(f->server.more, 0, sizeof f->server.more);
    memcpy(f->server.more, args, n * sizeof *args);
    if (!server_start(&f->server))
        fail_msg("shuntd did not start");
    (void)snprintf(f->listen, sizeof f->listen, "%.63s", f->server.router);
    struct call_channel *admin = call_open(f->server.admin);
    if (strcmp(name, "renewed") != 0)
        play_router(admin, "flow");
    call_close(admin);
}

static struct shunt_client *open_client(const struct fixture *f, const char *ca, const char *name,
                                        const char *server_name)
{
    struct shunt_options options = SHUNT_OPTIONS_INIT;
    struct shunt_error error;
    options.address = f->listen;
    options.router = "flow";
    options.default_arm = "fallback";
    options.route_timeout_s = options.report_timeout_s = 60;
    options.retry_first_s = options.retry_max_s = 0.02;
    options.tls_ca = ca ? file(ca) : NULL;
    options.tls_server_name = server_name;
    char cert[64], key[64];
    (void)snprintf(cert, sizeof cert, "%s.pem", name ? name : "");
    (void)snprintf(key, sizeof key, "%s.key", name ? name : "");
    options.tls_cert = name ? file(cert) : NULL;
    options.tls_key = name ? file(key) : NULL;
    struct shunt_client *client = shunt_open(&options, &error);
    if (!client)
        fail_msg("%s", error.message);
    return client;
}

static enum shunt_result route(struct shunt_client *client, struct shunt_decision *ret,
                               struct shunt_error *ret_error)
{
    static const float features[2] = {.5F, -.5F};
    struct shunt_request request = SHUNT_REQUEST_INIT;
    request.features = features;
    request.features_n = 2;
    *ret = (struct shunt_decision)SHUNT_DECISION_INIT;
    return shunt_route(client, &request, ret, ret_error);
}

/* A decision and its outcome, both by the server. */
static void expect_served(struct shunt_client *client)
{
    static const struct shunt_value reward = {"reward", .5};
    struct shunt_decision decision;
    struct shunt_error error;
    struct shunt_outcome outcome = SHUNT_OUTCOME_INIT;
    assert_int_equal(route(client, &decision, &error), SHUNT_OK);
    if (decision.fallback)
        fail_msg("%s", error.message);
    struct shunt_report report = shunt_report_of(&decision);
    report.metrics = &reward;
    report.metrics_n = 1;
    assert_int_equal(shunt_report(client, &report, &outcome, &error), SHUNT_OK);
    assert_false(outcome.queued);
    shunt_close(client);
}

/* The default arm, and why. */
static void expect_fallback(struct shunt_client *client, const char *says)
{
    struct shunt_decision decision;
    struct shunt_error error;
    assert_int_equal(route(client, &decision, &error), SHUNT_OK);
    assert_true(decision.fallback);
    assert_string_equal(decision.arm, "fallback");
    assert_int_equal(error.status, 14);
    if (!strstr(error.message, says))
        fail_msg("\"%s\" does not say \"%s\"", error.message, says);
    shunt_close(client);
}

static const char *const not_trusted = "not of those that tls_ca trusts, or not valid today";

static void a_trusted_server_is_spoken_to(void **state)
{
    struct fixture *f = *state;
    start(f, "server", NULL);
    assert_true(shunt_has("tls"));
    expect_served(open_client(f, "ca.pem", NULL, NULL));
    expect_served(open_client(f, "ca.pem", NULL, "shunt.test"));
    expect_served(open_client(f, "ca.pem", "client", NULL)); /* It is not asked for. */
}

static void a_server_that_nobody_trusted_signed_is_not_spoken_to(void **state)
{
    struct fixture *f = *state;
    start(f, "server", NULL);
    expect_fallback(open_client(f, "other.pem", NULL, NULL), not_trusted);
    /* The system's roots have never heard of it either. */
    struct shunt_options options = SHUNT_OPTIONS_INIT;
    options.address = f->listen;
    options.default_arm = "fallback";
    options.route_timeout_s = 60;
    options.tls = true;
    expect_fallback(shunt_open(&options, NULL), not_trusted);
    /* And without TLS there is nothing to talk about. */
    expect_fallback(open_client(f, NULL, NULL, NULL), "");
}

static void an_expired_certificate_is_refused(void **state)
{
    struct fixture *f = *state;
    start(f, "expired", NULL);
    expect_fallback(open_client(f, "ca.pem", NULL, NULL), not_trusted);
}

static void a_certificate_is_good_for_its_names_only(void **state)
{
    struct fixture *f = *state;
    start(f, "named", NULL);
    expect_fallback(open_client(f, "ca.pem", NULL, NULL), "is for another name");
    expect_fallback(open_client(f, "ca.pem", NULL, "else.test"), "is for another name");
    expect_served(open_client(f, "ca.pem", NULL, "shunt.test"));
}

static void a_server_that_asks_for_certificates_takes_those_it_trusts(void **state)
{
    struct fixture *f = *state;
    start(f, "server", "ca");
    expect_fallback(open_client(f, "ca.pem", NULL, NULL), "it may ask for a certificate");
    expect_fallback(open_client(f, "ca.pem", "stranger", NULL), "it may ask for a certificate");
    expect_fallback(open_client(f, "ca.pem", "expired", NULL), "it may ask for a certificate");
    expect_served(open_client(f, "ca.pem", "client", NULL));
}

/* What was queued goes to nobody but a server that is trusted. */
static void outcomes_wait_for_a_server_that_is_trusted(void **state)
{
    struct fixture *f = *state;
    struct shunt_decision decision;
    static const struct shunt_value reward = {"reward", .5};
    start(f, "server", NULL);
    struct shunt_client *client = open_client(f, "ca.pem", NULL, NULL);
    assert_int_equal(route(client, &decision, NULL), SHUNT_OK);
    assert_false(decision.fallback);
    assert_int_equal(server_stop(&f->server, SIGKILL), 128 + SIGKILL);
    struct shunt_report report = shunt_report_of(&decision);
    report.metrics = &reward;
    report.metrics_n = 1;
    struct shunt_outcome outcome = SHUNT_OUTCOME_INIT;
    assert_int_equal(shunt_report(client, &report, &outcome, NULL), SHUNT_OK);
    assert_true(outcome.queued);
    struct server first = f->server;
    server_init(&f->server); /* An impostor at the address. */
    start(f, "expired", NULL);
    assert_int_equal(shunt_flush(client, 1), SHUNT_TIMEOUT);
    server_free(&f->server);
    f->server = first;
    start(f, "renewed", NULL);
    assert_int_equal(shunt_flush(client, 60), SHUNT_OK);
    struct shunt_stats stats = SHUNT_STATS_INIT;
    shunt_stats(client, &stats);
    assert_int_equal(stats.delivered, 1);
    shunt_close(client);
}

static void expect_not_opened(const struct shunt_options *options, const char *says)
{
    struct shunt_error error;
    assert_null(shunt_open(options, &error));
    if (!strstr(error.message, says))
        fail_msg("\"%s\" does not say \"%s\"", error.message, says);
}

static void files_that_cannot_be_used_are_named_at_once(void **state)
{
    (void)state;
    if (!made)
        skip();
    struct shunt_options o = SHUNT_OPTIONS_INIT;
    o.address = "127.0.0.1:1";
    o.tls_ca = file("nobody.pem");
    expect_not_opened(&o, "nobody.pem: No such file");
    o.tls_ca = file("ca.key");
    expect_not_opened(&o, "holds no certificate in PEM");
    o.tls_ca = certificates;
    expect_not_opened(&o, "cannot be read");
    o.tls_ca = file("ca.pem");
    o.tls_cert = file("client.pem");
    expect_not_opened(&o, "tls_key is missing");
    o.tls_key = file("ca.pem");
    expect_not_opened(&o, "holds no private key");
    o.tls_key = file("client.key");
    o.address = "unix:/tmp/s";
    expect_not_opened(&o, "TLS is for HOST:PORT");
    o.address = "127.0.0.1:1";
    assert_int_equal(run("head -c 1100000 /dev/zero > %s", file("long.pem")), 0);
    o.tls_ca = file("long.pem");
    expect_not_opened(&o, "more than a MiB");
    /* Whether they go together only the first call finds. */
    o.tls_ca = file("ca.pem");
    o.tls_key = file("stranger.key");
    o.default_arm = "fallback";
    expect_fallback(shunt_open(&o, NULL), "do not go together");
}

/* The exit status of `shuntctl route` with these options. */
static int ctl_route(const struct fixture *f, const char *options)
{
    return run("cd %s && %s --server %s --timeout 30 %s route --router flow --features .5,-.5 "
               ">>out 2>&1",
               certificates, SHUNTCTL_PATH, f->listen, options);
}

static void shuntctl_takes_the_same_files(void **state)
{
    struct fixture *f = *state;
    start(f, "server", "ca");
    assert_int_equal(ctl_route(f, "--tls-ca ca.pem --tls-cert client.pem --tls-key client.key"), 0);
    assert_int_equal(ctl_route(f, "--tls-ca ca.pem --tls-cert client.pem --tls-key client.key "
                                  "--tls-server-name shunt.test"),
                     0);
    assert_int_equal(ctl_route(f, "--tls-ca ca.pem"), 3);
    assert_int_equal(ctl_route(f, "--tls"), 3);
    assert_int_equal(ctl_route(f, ""), 3);
    assert_int_equal(ctl_route(f, "--tls-ca nobody.pem"), 2);
    assert_int_equal(run("SHUNT_TLS_CA=%s SHUNT_TLS_CERT=%s SHUNT_TLS_KEY=%s %s --server %s route "
                         "--router flow --features .5,-.5 >/dev/null",
                         file("ca.pem"), file("client.pem"), file("client.key"), SHUNTCTL_PATH,
                         f->listen),
                     0);
}

int main(void)
{
#define ROW(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        ROW(a_trusted_server_is_spoken_to),
        ROW(a_server_that_nobody_trusted_signed_is_not_spoken_to),
        ROW(an_expired_certificate_is_refused),
        ROW(a_certificate_is_good_for_its_names_only),
        ROW(a_server_that_asks_for_certificates_takes_those_it_trusts),
        ROW(outcomes_wait_for_a_server_that_is_trusted),
        ROW(files_that_cannot_be_used_are_named_at_once),
        ROW(shuntctl_takes_the_same_files),
    };
    (void)setenv("GRPC_VERBOSITY", "NONE", 0); /* It tells of every handshake that fails. */
    return cmocka_run_group_tests(tests, make_all, remove_all);
}
