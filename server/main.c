/* main.c - shuntd: builds the parts, joins them, takes them down in reverse.
 * Order of building: signals, configuration, log, metrics, readiness, http, engine, bootstrap, data
 * plane, control plane. Nothing here decides anything about requests. */
#include "server/adapters/engine.h"
#include "server/bootstrap.h"
#include "server/config.h"
#include "server/engine/engine.h"
#include "server/gauges.h"
#include "server/offline.h"
#include "server/ops/clock.h"
#include "server/ops/http.h"
#include "server/ops/input.h"
#include "server/ops/log.h"
#include "server/ops/ready.h"
#include "server/route/classify.h"
#include "server/route/projection.h"
#include "server/rpc/server.h"
#include "server/seal/seal.h"
#include "state/base/mem.h"
#include "state/math/check.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "the journal and the tokens are little-endian");

enum {
    EXIT_USAGE = 2,
    RPC_ADMIN_IN_FLIGHT = 64,
    MESSAGE_ARENA = 4194304 /* What a RouteRequest may unpack to beside its text: 4 MiB. */
};

#define PROJECTION_SUFFIX ".f32"

struct app {
    struct config *config;
    struct config_entry *entries; /* What `settings` points into. */
    struct rpc_setting *settings;
    size_t settings_n;
    struct log *log;
    struct metrics *metrics;
    struct rpc_metrics *rpc_metrics;
    struct ready ready;
    struct http *http;
    struct engine *engine;
    struct projections projections;
    char engine_token[ENGINE_TOKEN_CAP];
    struct gauges gauges;
    struct rpc_loop *loop;
    struct rpc_server *servers[RPC_SERVICES];
};

/* The signals that main waits for; every thread inherits that they are blocked. */
static void block_signals(sigset_t *ret_set)
{
    (void)sigemptyset(ret_set);
    (void)sigaddset(ret_set, SIGTERM);
    (void)sigaddset(ret_set, SIGINT);
    (void)sigaddset(ret_set, SIGHUP);
    (void)pthread_sigmask(SIG_BLOCK, ret_set, NULL);
    (void)signal(SIGPIPE, SIG_IGN); /* A peer that went away is an error of a write, no more. */
    (void)signal(SIGXFSZ, SIG_IGN); /* So is a file that may not grow. */
}

/* What the process may leave behind: no core with keys and prompts in it, no file for others. */
static void close_leaks(void)
{
    struct rlimit none = {0, 0};
    (void)setrlimit(RLIMIT_CORE, &none);
    (void)umask(0077);
    /* The core's own log goes to stderr in a form of its own, between our JSON lines. */
    (void)setenv("GRPC_VERBOSITY", "NONE", 0);
}

/* On the writer's thread. Nothing more may be acknowledged: what is on disk is all there is. */
static void stop_at_once(void *ctx, const char *why)
{
    struct app *a = ctx;
    log_event(
        a->log, LOG_ERROR, "fatal", LOG_STR("why", why),
        LOG_STR("do", "look at the disk; acknowledged outcomes are recovered at the next start"),
        LOG_END);
    (void)log_flush(a->log, 1000);
    _exit(EXIT_FAILURE);
}

static struct engine_options engine_options_of(struct app *a)
{
    const struct config *c = a->config;
    return (struct engine_options){
        .data_dir = c->data_dir,
        .map_bytes = (uint64_t)c->journal.map_bytes,
        .inbox_capacity = (uint32_t)c->inbox_capacity,
        .max_text_bytes = (uint32_t)c->max_text_bytes,
        .checkpoint_every_events = (uint64_t)c->checkpoint.every_events,
        .checkpoint_every_us = c->checkpoint.every_us,
        .journal_keep_us = c->journal.keep_us,
        .journal_max_bytes = (uint64_t)c->journal.max_bytes,
        .decisions_dir = c->decision_log.dir,
        .decisions_keep_us = c->decision_log.keep_us,
        .decisions_max_bytes = (uint64_t)c->decision_log.max_bytes,
        .decisions_ring_bytes = (uint64_t)c->decision_log.ring_bytes,
        .engine_token = a->engine_token[0] ? a->engine_token : NULL,
        .engine_ca_file = c->engines.ca_file[0] ? c->engines.ca_file : NULL,
        .projections = &a->projections,
        .log = a->log,
        .fatal = stop_at_once,
        .fatal_ctx = a,
    };
}

/* The settings as GetConfig shows them; they do not change while the process lives. */
static enum err show_settings(struct app *a)
{
    size_t n = config_entries_n();
    a->entries = mem_calloc(n, sizeof *a->entries);
    a->settings = mem_calloc(n, sizeof *a->settings);
    if (!a->entries || !a->settings)
        return ERR_NOMEM;
    for (size_t i = 0; i < n; i++) {
        struct config_entry *e = &a->entries[i];
        config_entry(a->config, i, e);
        a->settings[i] = (struct rpc_setting){e->key, e->value, e->source, e->about};
    }
    a->settings_n = n;
    return OK;
}

/* Libraries that want one call before there are threads. */
static enum err init_libraries(struct err_detail *detail)
{
    if (blas_init() != OK)
        return err_say(detail, ERR_UNSUPPORTED,
                       "the serial build of OpenBLAS is loaded, which is not safe with threads: "
                       "install libopenblas0-pthread");
    return seal_init();
}

static enum err open_monitoring(struct app *a, struct err_detail *detail)
{
    struct http_options o = {.address = a->config->metrics_listen,
                             .metrics = a->metrics,
                             .ready = &a->ready,
                             .log = a->log};
    if (strcmp(o.address, "none") == 0)
        return OK;
    return http_open(&o, &a->http, detail);
}

/* A file that cannot be learned from stops the start: a label that is silently missing would be
 * looked for in the wrong place. */
static enum err train_classifier(struct app *a, struct engine_worker *w, struct err_detail *detail)
{
    const char *path = a->config->classifier.examples;
    struct err_detail why = {{'\0'}};
    struct buf text;
    uint32_t examples = 0, labels = 0;
    if (!path[0])
        return OK;
    buf_init(&text);
    enum err e = input_read(path, CLASSIFY_BYTES_MAX, &text, &why);
    if (e == OK)
        e = engine_classifier_train(w, (struct slice){text.data, text.len}, &examples, &labels,
                                    NULL, &why);
    if (text.data)
        explicit_bzero(text.data, text.len);
    buf_done(&text);
    if (e != OK)
        return err_say(detail, e, "classifier.examples: %.512s: %.400s", path, why.text);
    log_event(a->log, LOG_INFO, "classifier_trained", LOG_UINT("examples", examples),
              LOG_UINT("labels", labels), LOG_END);
    return OK;
}

/* Straight to where it stays: buffers on the way would keep copies. */
static enum err read_secret(const char *path, char *ret, size_t cap, struct err_detail *detail)
{
    int fd = -1;
    TRY(input_open(path, &fd, detail));
    size_t len = 0;
    ssize_t n = 1;
    while (len < cap && n > 0) {
        n = read(fd, ret + len, cap - len);
        len += n > 0 ? (size_t)n : 0;
    }
    int why = errno;
    (void)close(fd);
    if (n >= 0 && len < cap) {
        ret[len] = '\0';
        return OK;
    }
    explicit_bzero(ret, cap);
    if (n < 0)
        return err_say(detail, ERR_INVALID, "%s", strerror(why));
    return err_say(detail, ERR_TOO_LARGE, "more than %zu bytes", cap - 1);
}

/* The first line; never shown, never logged. */
static enum err load_engine_token(struct app *a, struct err_detail *detail)
{
    const char *path = a->config->engines.token_file;
    struct err_detail why = {{'\0'}};
    if (!path[0])
        return OK;
    enum err e = read_secret(path, a->engine_token, sizeof a->engine_token, &why);
    size_t line = strcspn(a->engine_token, "\r\n");
    explicit_bzero(a->engine_token + line, sizeof a->engine_token - line);
    if (e == OK && !a->engine_token[0])
        e = err_say(&why, ERR_INVALID, "its first line is empty");
    return e == OK ? OK : err_say(detail, e, "engines.token_file: %.512s: %.400s", path, why.text);
}

static enum err load_projection(struct app *a, const char *file, struct err_detail *detail)
{
    char path[CONFIG_PATH_CAP + NAME_CAP + 8], name[NAME_CAP];
    size_t len = strlen(file) - strlen(PROJECTION_SUFFIX);
    struct err_detail why = {{'\0'}};
    struct buf bytes;
    if (len >= sizeof name)
        return err_say(detail, ERR_BAD_NAME, "projection.dir: a name of %zu characters", len);
    (void)snprintf(name, sizeof name, "%.*s", (int)len, file);
    (void)snprintf(path, sizeof path, "%s/%s", a->config->projection.dir, file);
    buf_init(&bytes);
    enum err e = input_read(path, PROJECTION_BYTES_MAX, &bytes, &why);
    if (e == OK)
        e = projections_add(&a->projections, name, (struct slice){bytes.data, bytes.len}, &why);
    buf_done(&bytes);
    if (e != OK)
        return err_say(detail, e, "projection.dir: %.512s: %.400s", path, why.text);
    const struct projection *p = projections_find(&a->projections, name);
    log_event(a->log, LOG_INFO, "projection_loaded", LOG_STR("name", name),
              LOG_UINT("embedding_n", p->embedding_n), LOG_END);
    return OK;
}

/* A file that is no projection stops the start, as one that is gone does not: its routers answer
 * everything but embeddings. */
static enum err load_projections(struct app *a, struct err_detail *detail)
{
    const char *dir = a->config->projection.dir;
    if (!dir[0])
        return OK;
    DIR *d = opendir(dir);
    if (!d)
        return err_say(detail, ERR_NOT_FOUND, "projection.dir: %.512s: %s", dir, strerror(errno));
    enum err e = OK;
    for (const struct dirent *f; e == OK && (f = readdir(d));) {
        size_t len = strlen(f->d_name), suffix = strlen(PROJECTION_SUFFIX);
        if (len > suffix && strcmp(f->d_name + len - suffix, PROJECTION_SUFFIX) == 0)
            e = load_projection(a, f->d_name, detail);
    }
    (void)closedir(d);
    return e;
}

static enum err open_engine(struct app *a, struct err_detail *detail)
{
    struct engine_worker *w = NULL;
    TRY(load_projections(a, detail));
    TRY(load_engine_token(a, detail));
    struct engine_options o = engine_options_of(a);
    TRY(engine_open(&o, &a->engine, detail));
    TRY(gauges_init(&a->gauges, a->engine, a->log, a->metrics));
    TRY(engine_worker_new(a->engine, &w));
    enum err e = bootstrap(a->config, a->engine, w, a->log, detail);
    if (e == OK)
        e = train_classifier(a, w, detail);
    engine_worker_free(w);
    return e;
}

static enum err open_loop(struct app *a)
{
    struct rpc_loop_options o = {
        .engine = a->engine,
        .ready = &a->ready,
        .settings = a->settings,
        .settings_n = a->settings_n,
        .threads = (uint32_t)a->config->rpc_threads,
        .arena_bytes = (size_t)a->config->max_text_bytes + MESSAGE_ARENA,
    };
    return rpc_loop_new(&o, &a->loop);
}

static enum err open_server(struct app *a, enum rpc_service service, struct err_detail *detail)
{
    const struct config *c = a->config;
    const struct config_addresses *at = service == RPC_ROUTER ? &c->listen : &c->admin_listen;
    struct rpc_options o = {
        .service = service,
        .loop = a->loop,
        .ready = &a->ready,
        .metrics = a->rpc_metrics,
        .log = a->log,
        .addresses_n = at->n,
        .max_in_flight =
            service == RPC_ROUTER ? (uint32_t)c->max_in_flight : (uint32_t)RPC_ADMIN_IN_FLIGHT,
        .max_text_bytes = (uint32_t)c->max_text_bytes,
        .max_connection_age_ms = (uint32_t)(c->max_connection_age_us / 1000),
    };
    if (service == RPC_ROUTER)
        o.tls = (struct rpc_tls){c->tls.cert, c->tls.key, c->tls.client_ca};
    for (size_t i = 0; i < at->n; i++)
        o.addresses[i] = at->text[i];
    return rpc_server_open(&o, &a->servers[service], detail);
}

static void log_addresses(struct app *a, enum rpc_service service)
{
    const struct config *c = a->config;
    const struct config_addresses *at = service == RPC_ROUTER ? &c->listen : &c->admin_listen;
    for (size_t i = 0; i < at->n; i++)
        log_event(a->log, LOG_INFO, "listening",
                  LOG_STR("service", service == RPC_ROUTER ? "router" : "admin"),
                  LOG_STR("address", rpc_server_address(a->servers[service], i)), LOG_END);
}

static enum err open_all(struct app *a, struct err_detail *detail)
{
    TRY(seal_init());
    if (blas_init() != OK)
        log_event(a->log, LOG_WARN, "openblas_is_serial",
                  LOG_STR("do", "install libopenblas0-pthread: two verifications at once may be "
                                "wrong with the serial one"),
                  LOG_END);
    TRY(metrics_new(&a->metrics));
    TRY(rpc_metrics_new(a->metrics, &a->rpc_metrics));
    TRY(show_settings(a));
    TRY(open_monitoring(a, detail));
    TRY(open_engine(a, detail));
    TRY(open_loop(a));
    TRY(open_server(a, RPC_ROUTER, detail));
    TRY(open_server(a, RPC_ADMIN, detail));
    TRY(rpc_loop_start(a->loop));
    log_addresses(a, RPC_ROUTER);
    log_addresses(a, RPC_ADMIN);
    ready_release(&a->ready, "starting");
    return OK;
}

/* Reverse order; every part may be missing. */
static void close_all(struct app *a)
{
    bool clean = true;
    ready_hold(&a->ready, "draining");
    int64_t until = clock_mono_ns() + a->config->drain_grace_us * 1000;
    for (int i = 0; i < RPC_SERVICES; i++)
        if (a->servers[i])
            rpc_server_stop_begin(a->servers[i]);
    for (int i = 0; i < RPC_SERVICES; i++)
        if (a->servers[i] && !rpc_server_stop_wait(a->servers[i], until))
            clean = false;
    if (!clean)
        log_event(a->log, LOG_WARN, "drain_cut",
                  LOG_STR("why", "calls were still in flight after drain_grace and were cancelled"),
                  LOG_END);
    if (a->loop)
        rpc_loop_stop(a->loop);
    for (int i = 0; i < RPC_SERVICES; i++)
        rpc_server_close(a->servers[i]);
    rpc_loop_free(a->loop);
    http_close(a->http); /* Its pages ask the engine. */
    if (a->engine)
        engine_close(a->engine);
    projections_done(&a->projections);
    metrics_free(a->metrics);
    rpc_metrics_free(a->rpc_metrics);
    mem_free(a->settings);
    mem_free(a->entries);
}

static const char *signal_name(int signal)
{
    return signal == SIGTERM ? "SIGTERM" : "SIGINT";
}

/* Returns when the process is to stop. */
static void wait_for_signal(struct app *a, const sigset_t *set)
{
    for (;;) {
        siginfo_t info;
        int signal = sigwaitinfo(set, &info);
        if (signal == SIGTERM || signal == SIGINT) {
            log_event(a->log, LOG_INFO, "draining", LOG_STR("signal", signal_name(signal)),
                      LOG_END);
            return;
        }
        if (signal == SIGHUP)
            log_event(a->log, LOG_INFO, "nothing_to_reload",
                      LOG_STR("why", "routers and arms are state: change them with shuntctl; "
                                     "process settings take a restart"),
                      LOG_END);
    }
}

static int serve(struct app *a, const sigset_t *set)
{
    struct err_detail detail = {{'\0'}};
    log_event(a->log, LOG_INFO, "starting", LOG_STR("version", SHUNT_VERSION),
              LOG_STR("data_dir", a->config->data_dir), LOG_INT("pid", getpid()), LOG_END);
    int64_t began = clock_mono_ns();
    enum err e = open_all(a, &detail);
    if (e == OK) {
        log_event(a->log, LOG_INFO, "ready",
                  LOG_NUM("seconds", (double)(clock_mono_ns() - began) * 1e-9), LOG_END);
        wait_for_signal(a, set);
    } else {
        log_event(a->log, LOG_ERROR, "start_failed", LOG_STR("code", err_code(e)),
                  LOG_STR("why", detail.text), LOG_STR("do", err_text(e)), LOG_END);
    }
    close_all(a);
    log_event(a->log, LOG_INFO, "stopped", LOG_END);
    return e == OK ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int run(struct app *a, const sigset_t *set)
{
    struct log_options o = {.fd = STDERR_FILENO, .level = a->config->log_level};
    switch (a->config->command) {
    case CONFIG_VERSION:
        (void)printf("shuntd %s\n", SHUNT_VERSION);
        return EXIT_SUCCESS;
    case CONFIG_HELP:
        config_print_help(stdout);
        return EXIT_SUCCESS;
    case CONFIG_RESTORE:
        return offline_restore(a->config);
    case CONFIG_SERVE:
    case CONFIG_VERIFY:
        break;
    }
    if (log_open(&o, &a->log) != OK) {
        (void)fprintf(stderr, "shuntd: out of memory\n");
        return EXIT_FAILURE;
    }
    ready_init(&a->ready);
    struct err_detail detail = {{'\0'}};
    int status = EXIT_FAILURE;
    if (init_libraries(&detail) != OK) {
        (void)fprintf(stderr, "shuntd: %s\n", detail.text);
    } else if (a->config->command == CONFIG_VERIFY) {
        struct engine_options options = engine_options_of(a);
        status = offline_verify(a->config, &options);
    } else {
        status = serve(a, set);
    }
    ready_done(&a->ready);
    log_close(a->log);
    return status;
}

int main(int argc, char **argv)
{
    struct app app = {0};
    struct err_detail detail = {{'\0'}};
    sigset_t set;
    block_signals(&set);
    close_leaks();
    enum err e = config_load(argc, argv, &app.config, &detail);
    if (e != OK) {
        (void)fprintf(stderr, "shuntd: %s\n", detail.text);
        return EXIT_USAGE;
    }
    int status = run(&app, &set);
    config_free(app.config);
    return status;
}
