#include "tests/engines/stub.h"

#include "tests/unit/cmocka_all.h"

#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_MS = 20000, SPAWNS = 10, SPAWN_PAUSE_MS = 200 };

/* False: it ended before it said on which port it is; what it said is on stderr already. */
static bool spawn_once(struct stub *s)
{
    int out[2];
    char line[64] = "";
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    s->pid = fork();
    assert_true(s->pid >= 0);
    if (s->pid == 0) {
        if (dup2(out[1], STDOUT_FILENO) >= 0)
            (void)execv(s->args[0], s->args);
        _exit(127);
    }
    (void)close(out[1]);
    FILE *f = fdopen(out[0], "r");
    assert_non_null(f);
    bool good = fgets(line, sizeof line, f) && sscanf(line, "port %d", &s->port) == 1;
    (void)fclose(f);
    if (!good) {
        print_error("the stub said \"%s\" instead of its port\n", line);
        stub_kill(s);
    }
    return good;
}

/* The port of an earlier process may be another's for a moment: a connection that leaves here. */
static void spawn(struct stub *s)
{
    const struct timespec pause = {0, SPAWN_PAUSE_MS * 1000000L};
    bool good = spawn_once(s);
    for (int i = 1; i < SPAWNS && !good; i++) {
        (void)nanosleep(&pause, NULL);
        good = spawn_once(s);
    }
    assert_true(good);
}

static void add(struct stub *s, const char *arg)
{
    assert_true(s->args_n + 1 < STUB_ARGS_MAX);
    s->args[s->args_n++] = strdup(arg);
}

static void make_control(struct stub *s)
{
    const struct engine_http_config c = {.url = s->url};
    engine_http_close(s->control);
    assert_int_equal(engine_http_open(&c, &s->control, NULL), OK);
}

void stub_start(struct stub *s, const char *kind, const char *const *args)
{
    char port[16];
    memset(s, 0, sizeof *s);
    add(s, SHUNT_PYTHON);
    add(s, "-B");
    add(s, STUB_ENGINE_PATH);
    add(s, kind);
    for (; *args; args++)
        add(s, *args);
    spawn(s);
    (void)snprintf(port, sizeof port, "%d", s->port);
    add(s, "--port");
    add(s, port);
    (void)snprintf(s->url, sizeof s->url, "http://127.0.0.1:%d", s->port);
    make_control(s);
}

void stub_start_vllm(struct stub *s, int slots, const struct stub_adapter *adapters, size_t n)
{
    char count[16], texts[STUB_ARGS_MAX / 2][256];
    const char *args[STUB_ARGS_MAX + 1] = {"--slots", count, "--cold-reloads"};
    size_t args_n = 3;
    (void)snprintf(count, sizeof count, "%d", slots + 1);
    assert_true(args_n + 2 * n < STUB_ARGS_MAX);
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(texts[i], sizeof texts[i], "%s=/models/%s=%.0f", adapters[i].name,
                       adapters[i].name, adapters[i].load_ms);
        args[args_n++] = "--adapter";
        args[args_n++] = texts[i];
    }
    stub_start(s, "vllm", args);
}

void stub_kill(struct stub *s)
{
    if (s->pid <= 0)
        return;
    (void)kill(s->pid, SIGKILL);
    assert_int_equal(waitpid(s->pid, NULL, 0), s->pid);
    s->pid = 0;
}

void stub_restart(struct stub *s)
{
    stub_kill(s);
    spawn(s);
    make_control(s);
}

void stub_done(struct stub *s)
{
    stub_kill(s);
    engine_http_close(s->control);
    s->control = NULL;
    for (size_t i = 0; i < s->args_n; i++)
        free(s->args[i]);
    s->args_n = 0;
}

static json_t *look(struct stub *s, const char *body)
{
    struct engine_reply reply;
    struct err_detail detail = {""};
    bool refused;
    const struct engine_ask ask = {.path = "/stub", .body = body, .timeout_ms = PATIENCE_MS};
    enum err e = engine_http_call(s->control, &ask, &reply, &refused, &detail);
    assert_string_equal(detail.text, "");
    assert_int_equal(e, OK);
    assert_int_equal(reply.status, 200);
    json_t *root = json_loadb(reply.body.data, reply.body.len, 0, NULL);
    assert_non_null(root);
    return root;
}

void stub_tell(struct stub *s, const char *json)
{
    json_decref(look(s, json));
}

bool stub_has(struct stub *s, const char *field, const char *name)
{
    json_t *root = look(s, NULL), *row;
    bool found = false;
    size_t i;
    json_array_foreach(json_object_get(root, field), i, row) found =
        found || strcmp(json_string_value(row), name) == 0;
    json_decref(root);
    return found;
}

size_t stub_count(struct stub *s, const char *field)
{
    json_t *root = look(s, NULL);
    size_t n = json_array_size(json_object_get(root, field));
    json_decref(root);
    return n;
}

long stub_number(struct stub *s, const char *field)
{
    json_t *root = look(s, NULL);
    json_t *value = json_object_get(root, field);
    assert_true(json_is_integer(value));
    long n = (long)json_integer_value(value);
    json_decref(root);
    return n;
}
