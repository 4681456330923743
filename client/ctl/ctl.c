#include "client/ctl/ctl.h"

#include "client/ctl/progress.h"
#include "proto/form/json.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TIMEOUT_S 10.0
#define LONG_TIMEOUT_S 3600.0
#define DEFAULT_SERVER "127.0.0.1:7077"
#define DEFAULT_DATA_DIR "/var/lib/shunt"

static const char *env(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

static bool set(char address[CTL_ADDRESS_CAP], const char *text)
{
    return snprintf(address, CTL_ADDRESS_CAP, "%s", text) < CTL_ADDRESS_CAP;
}

void ctl_init(struct ctl *ctl)
{
    *ctl = (struct ctl){0};
    const char *server = env("SHUNT_SERVER"), *admin = env("SHUNT_ADMIN");
    const char *data_dir = env("SHUNT_DATA_DIR");
    set(ctl->server, server ? server : DEFAULT_SERVER);
    if (admin)
        set(ctl->admin, admin);
    else
        snprintf(ctl->admin, sizeof ctl->admin, "unix:%s/admin.sock",
                 data_dir ? data_dir : DEFAULT_DATA_DIR);
    ctl->tls = (struct call_tls){.ca = env("SHUNT_TLS_CA"),
                                 .cert = env("SHUNT_TLS_CERT"),
                                 .key = env("SHUNT_TLS_KEY"),
                                 .server_name = env("SHUNT_TLS_SERVER_NAME")};
    ctl->tls_asked = env("SHUNT_TLS") != NULL;
}

const struct call_tls *ctl_tls(const struct ctl *ctl)
{
    const struct call_tls *t = &ctl->tls;
    return ctl->tls_asked || t->ca || t->cert || t->key || t->server_name ? t : NULL;
}

void ctl_done(struct ctl *ctl)
{
    for (int i = 0; i < 2; i++)
        if (ctl->channels[i])
            call_close(ctl->channels[i]);
    *ctl = (struct ctl){0};
}

bool ctl_set_server(struct ctl *ctl, const char *address)
{
    ctl->server_given = true;
    return *address && set(ctl->server, address);
}

bool ctl_set_admin(struct ctl *ctl, const char *address)
{
    ctl->admin_given = true;
    return *address && set(ctl->admin, address);
}

#define PATH_CAP 128

/* The channel of a service and the path of a method; NULL: *ret_error says why. */
static struct call_channel *open_channel(struct ctl *ctl, enum ctl_service service,
                                         const char *method, char ret_path[PATH_CAP],
                                         struct call_error *ret_error)
{
    struct call_channel **channel = &ctl->channels[service];
    *ret_error = (struct call_error){0};
    snprintf(ret_path, PATH_CAP, "/shunt.v1.%s/%s", service == CTL_ADMIN ? "Admin" : "Router",
             method);
    if (!*channel)
        *channel = service == CTL_ADMIN ? call_open_tls(ctl->admin, NULL, ret_error)
                                        : call_open_tls(ctl->server, ctl_tls(ctl), ret_error);
    return *channel;
}

static enum ctl_exit exit_of(int status, const struct call_error *error)
{
    if (status == 0)
        return CTL_OK;
    /* A server that answers names its code; without one there was no answer. */
    bool silent = !error->code[0];
    bool gone = status == CALL_UNAVAILABLE || status == CALL_DEADLINE_EXCEEDED;
    return silent && gone ? CTL_UNREACHABLE : CTL_REFUSED;
}

/* A file of TLS that cannot be used is a mistake on the command line. */
static enum ctl_exit opened_not(const struct call_error *error)
{
    return error->status == CALL_INVALID_ARGUMENT ? CTL_USAGE : CTL_REFUSED;
}

enum ctl_exit ctl_try(struct ctl *ctl, enum ctl_service service, const char *method,
                      double timeout_s, const ProtobufCMessage *request,
                      const ProtobufCMessageDescriptor *response, ProtobufCMessage **ret_response,
                      struct call_error *ret_error)
{
    char path[PATH_CAP];
    struct call_channel *channel = open_channel(ctl, service, method, path, ret_error);
    if (!channel)
        return opened_not(ret_error);
    int status = call_unary(channel, path, request, response, timeout_s, ret_response, ret_error);
    return exit_of(status, ret_error);
}

/* True: `each` has had enough; else *ret_error says how it ended. */
static bool watch(struct call_stream *s, const ProtobufCMessageDescriptor *response,
                  bool (*each)(void *ctx, ProtobufCMessage *message), void *ctx,
                  struct call_error *ret_error)
{
    for (;;) {
        ProtobufCMessage *m = NULL;
        switch (call_stream_next(s, response, 3600, &m, ret_error)) {
        case CALL_OVER:
            return false;
        case CALL_WRITTEN:
        case CALL_IDLE:
            break;
        case CALL_MESSAGE:
            if (!m) {
                *ret_error = (struct call_error){.status = CALL_INTERNAL,
                                                 .message = "the answer cannot be read"};
                return false;
            }
            bool enough = !each(ctx, m);
            protobuf_c_message_free_unpacked(m, NULL);
            if (enough)
                return true;
        }
    }
}

enum ctl_exit ctl_watch(struct ctl *ctl, enum ctl_service service, const char *method,
                        const ProtobufCMessage *request, const ProtobufCMessageDescriptor *response,
                        bool (*each)(void *ctx, ProtobufCMessage *message), void *ctx)
{
    char path[PATH_CAP];
    struct call_error error;
    struct call_channel *channel = open_channel(ctl, service, method, path, &error);
    if (!channel) {
        ctl_explain(ctl, service, &error);
        return opened_not(&error);
    }
    struct call_stream *s = call_stream_open(channel, path);
    size_t len = protobuf_c_message_get_packed_size(request);
    uint8_t *bytes = malloc(len + 1);
    bool enough = false;
    if (s && bytes) {
        (void)protobuf_c_message_pack(request, bytes);
        (void)call_stream_write(s, bytes, len, false);
        enough = watch(s, response, each, ctx, &error);
    } else {
        error = (struct call_error){.status = CALL_INTERNAL, .message = "out of memory"};
    }
    free(bytes);
    call_stream_close(s);
    if (enough || error.status == 0)
        return CTL_OK;
    ctl_explain(ctl, service, &error);
    return exit_of(error.status, &error);
}

static const char *hint_for(const char *code)
{
    static const struct {
        const char *code, *hint;
    } hints[] = {
        {"ROUTER_NOT_FOUND", "`shuntctl router list` names the routers that are there"},
        {"ARM_NOT_FOUND", "`shuntctl arm list --router ROUTER` names the arms that are there"},
        {"ROUTER_EXISTS", "`shuntctl router update` changes it"},
        {"ARM_EXISTS", "`shuntctl arm update` changes it"},
        {"METRIC_NOT_FOUND", "`shuntctl router show ROUTER` has the table of metrics"},
        {"FIXED_AT_CREATION", "add a router under another name, or remove this one first"},
        {"DECISION_NOT_FOUND",
         "a decision is known by its token, or while the decision log has it"},
        {"NO_ELIGIBLE_ARM", "`shuntctl arm show ARM` shows what an arm declares and how it stands"},
        {"EXISTS", "name a path on the server's host that is not there yet"},
    };
    for (size_t i = 0; i < sizeof hints / sizeof *hints; i++)
        if (strcmp(hints[i].code, code) == 0)
            return hints[i].hint;
    return NULL;
}

void ctl_explain(const struct ctl *ctl, enum ctl_service service, const struct call_error *error)
{
    bool admin = service == CTL_ADMIN;
    bool gone = error->status == CALL_UNAVAILABLE || error->status == CALL_DEADLINE_EXCEEDED;
    if (gone && !error->code[0]) {
        fprintf(stderr,
                "shuntctl: no answer from the %s service at %s: %s\n"
                "  is shuntd running there? %s ADDR or %s names another address\n",
                admin ? "admin" : "router", admin ? ctl->admin : ctl->server, error->message,
                admin ? "--admin" : "--server", admin ? "SHUNT_ADMIN" : "SHUNT_SERVER");
        return;
    }
    const char *code = error->code[0] ? error->code : call_status_name(error->status);
    const char *hint = hint_for(error->code);
    fprintf(stderr, "shuntctl: %s: %s\n", code, error->message);
    if (hint)
        fprintf(stderr, "  %s\n", hint);
}

enum ctl_exit ctl_call(struct ctl *ctl, enum ctl_service service, const char *method,
                       const ProtobufCMessage *request, const ProtobufCMessageDescriptor *response,
                       ProtobufCMessage **ret_response)
{
    struct call_error error;
    double timeout_s = ctl->timeout_s > 0 ? ctl->timeout_s : TIMEOUT_S;
    enum ctl_exit code =
        ctl_try(ctl, service, method, timeout_s, request, response, ret_response, &error);
    if (code != CTL_OK)
        ctl_explain(ctl, service, &error);
    return code;
}

struct spinner {
    const char *label;
    atomic_bool done;
};

static void *spinner_run(void *arg)
{
    struct spinner *spinner = arg;
    struct progress progress;
    progress_begin(&progress, spinner->label, 0);
    while (progress.on && !atomic_load(&spinner->done)) {
        progress_set(&progress, 0);
        usleep(50000);
    }
    progress_end(&progress);
    return NULL;
}

enum ctl_exit ctl_call_long(struct ctl *ctl, enum ctl_service service, const char *method,
                            const char *label, const ProtobufCMessage *request,
                            const ProtobufCMessageDescriptor *response,
                            ProtobufCMessage **ret_response)
{
    struct spinner spinner = {.label = label};
    struct call_error error;
    pthread_t thread;
    double timeout_s = ctl->timeout_s > 0 ? ctl->timeout_s : LONG_TIMEOUT_S;
    bool spinning = pthread_create(&thread, NULL, spinner_run, &spinner) == 0;
    enum ctl_exit code =
        ctl_try(ctl, service, method, timeout_s, request, response, ret_response, &error);
    atomic_store(&spinner.done, true);
    if (spinning)
        pthread_join(thread, NULL);
    if (code != CTL_OK)
        ctl_explain(ctl, service, &error);
    return code;
}

enum ctl_exit ctl_fail(enum ctl_exit code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fputs("shuntctl: ", stderr);
    vfprintf(stderr, fmt, args);
    fputs("\n", stderr);
    va_end(args);
    return code;
}

enum ctl_exit ctl_print_json(json_t *json)
{
    char *text = json ? form_json_print(json, 2) : NULL;
    json_decref(json);
    if (!text)
        return ctl_fail(CTL_REFUSED, "out of memory");
    /* A pipe that closed or a full disk must not look like success. */
    bool bad = puts(text) < 0 || fflush(stdout) != 0;
    free(text);
    return bad ? ctl_fail(CTL_REFUSED, "cannot write to standard output") : CTL_OK;
}

enum ctl_exit ctl_print_message(const ProtobufCMessage *message)
{
    json_t *json = NULL;
    struct form_error error;
    if (form_json_from_message(message, FORM_LISTS, &json, &error) != FORM_OK)
        return ctl_fail(CTL_REFUSED, "%s", error.text);
    return ctl_print_json(json);
}

enum ctl_exit ctl_read_file(const char *path, size_t max, char **ret, size_t *ret_len)
{
    bool is_stdin = strcmp(path, "-") == 0;
    FILE *in = is_stdin ? stdin : fopen(path, "rb");
    if (!in)
        return ctl_fail(CTL_USAGE, "%s: %s", path, strerror(errno));
    char *text = malloc(max + 2);
    size_t len = text ? fread(text, 1, max + 1, in) : 0;
    bool bad = ferror(in) != 0;
    if (!is_stdin)
        fclose(in);
    if (!text)
        return ctl_fail(CTL_REFUSED, "out of memory");
    if (bad || len > max) {
        free(text);
        return bad ? ctl_fail(CTL_USAGE, "%s: cannot be read", path)
                   : ctl_fail(CTL_USAGE, "%s: more than %zu bytes", path, max);
    }
    text[len] = '\0';
    *ret = text;
    *ret_len = len;
    return CTL_OK;
}

enum ctl_exit ctl_write_file(const char *path, const void *bytes, size_t len)
{
    char part[4096];
    if (strcmp(path, "-") == 0)
        return fwrite(bytes, 1, len, stdout) == len && fflush(stdout) == 0
                   ? CTL_OK
                   : ctl_fail(CTL_REFUSED, "standard output: %s", strerror(errno));
    if (snprintf(part, sizeof part, "%s.part", path) >= (int)sizeof part)
        return ctl_fail(CTL_USAGE, "%s: the path is too long", path);
    int fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    FILE *out = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (!out) {
        int why = errno;
        if (fd >= 0)
            close(fd);
        return ctl_fail(CTL_USAGE, "%s: %s", part, strerror(why));
    }
    bool ok = fwrite(bytes, 1, len, out) == len;
    ok = fclose(out) == 0 && ok && rename(part, path) == 0;
    if (ok)
        return CTL_OK;
    int why = errno;
    unlink(part);
    return ctl_fail(CTL_REFUSED, "%s: %s", path, strerror(why));
}

bool ctl_bold(void)
{
    const char *term = getenv("TERM");
    return isatty(STDOUT_FILENO) && !env("NO_COLOR") && term && strcmp(term, "dumb") != 0;
}

void ctl_find_shuntd(char *ret, size_t cap)
{
    char self[4096];
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    snprintf(ret, cap, "shuntd");
    if (len <= 0)
        return;
    self[len] = '\0';
    char *slash = strrchr(self, '/');
    if (!slash)
        return;
    *slash = '\0';
    char beside[sizeof self + 16];
    int n = snprintf(beside, sizeof beside, "%s/shuntd", self);
    if (n > 0 && (size_t)n < cap && access(beside, X_OK) == 0)
        snprintf(ret, cap, "%s", beside);
}
