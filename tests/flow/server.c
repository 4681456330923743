#include "tests/flow/server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ftw.h>
#include <jansson.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ARGS_MAX = 32, POLL_MS = 10, PATIENCE_MS = 60000 };

void server_nap_ms(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    (void)nanosleep(&t, NULL);
}

void server_init(struct server *s)
{
    const char *tmp = getenv("TMPDIR");
    memset(s, 0, sizeof *s);
    (void)snprintf(s->dir, sizeof s->dir, "%s/shunt-flow-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(s->dir))
        abort();
    (void)snprintf(s->data, sizeof s->data, "%s/data", s->dir);
    (void)snprintf(s->log, sizeof s->log, "%s/log", s->dir);
}

/* Becomes shuntd, both its outputs in the log, and dies with the test. */
static void become(const struct server *s, const char *const *args, pid_t parent)
{
    char *argv[ARGS_MAX + 2];
    size_t n = 0;
    argv[n++] = strdup(SHUNTD_PATH);
    for (; *args && n <= ARGS_MAX; args++)
        argv[n++] = strdup(*args);
    argv[n] = NULL;
    int log = open(s->log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (log < 0 || getppid() != parent || dup2(log, STDERR_FILENO) < 0 ||
        dup2(log, STDOUT_FILENO) < 0)
        _exit(126);
    (void)execv(SHUNTD_PATH, argv);
    _exit(127);
}

static void spawn(struct server *s, const char *const *args)
{
    pid_t parent = getpid();
    (void)unlink(s->log);
    s->pid = fork();
    if (s->pid < 0)
        abort();
    if (s->pid == 0)
        become(s, args, parent);
}

/* The test's arguments, and free ports where it names none. */
static void spawn_serving(struct server *s)
{
    const char *args[ARGS_MAX] = {"--data-dir", s->data};
    size_t n = 2;
    bool listens = false, monitored = false;
    for (size_t i = 0; s->more[i]; i++) {
        args[n++] = s->more[i];
        listens = listens || strcmp(s->more[i], "--listen") == 0;
        monitored = monitored || strcmp(s->more[i], "--metrics-listen") == 0;
    }
    if (!listens) {
        args[n++] = "--listen";
        args[n++] = "127.0.0.1:0";
    }
    if (!monitored) {
        args[n++] = "--metrics-listen";
        args[n++] = "127.0.0.1:0";
    }
    spawn(s, args);
}

int server_run(struct server *s, const char *const *args)
{
    spawn(s, args);
    return server_wait(s);
}

/* Reads the log from its beginning. True once the server said "ready". */
static bool read_log(struct server *s)
{
    char line[4096];
    bool ready = false;
    FILE *f = fopen(s->log, "re");
    while (f && fgets(line, sizeof line, f)) {
        json_t *j = json_loads(line, 0, NULL);
        const char *event = json_string_value(json_object_get(j, "event"));
        const char *service = json_string_value(json_object_get(j, "service"));
        const char *address = json_string_value(json_object_get(j, "address"));
        if (event && service && address && strcmp(event, "listening") == 0) {
            char *to = strcmp(service, "router") == 0  ? s->router
                       : strcmp(service, "admin") == 0 ? s->admin
                                                       : s->metrics;
            (void)snprintf(to, sizeof s->router, "%s", address);
        }
        ready = ready || (event && strcmp(event, "ready") == 0);
        json_decref(j);
    }
    if (f)
        (void)fclose(f);
    return ready;
}

bool server_start(struct server *s)
{
    s->router[0] = s->admin[0] = s->metrics[0] = '\0';
    spawn_serving(s);
    for (int ms = 0; ms < PATIENCE_MS; ms += POLL_MS) {
        siginfo_t info = {0};
        if (read_log(s))
            return true;
        if (waitid(P_PID, (id_t)s->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid)
            return read_log(s);
        server_nap_ms(POLL_MS);
    }
    return false;
}

int server_wait(struct server *s)
{
    int status = 0;
    if (!s->pid || waitpid(s->pid, &status, 0) != s->pid)
        return -1;
    s->pid = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int server_stop(struct server *s, int signal)
{
    if (s->pid)
        (void)kill(s->pid, signal);
    return server_wait(s);
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

void server_remove_dir(const char *dir)
{
    (void)nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void server_free(struct server *s)
{
    if (s->pid)
        (void)server_stop(s, SIGKILL);
    server_remove_dir(s->dir);
}

bool server_log_has(const struct server *s, const char *a, const char *b)
{
    char line[4096];
    bool found = false;
    FILE *f = fopen(s->log, "re");
    while (f && !found && fgets(line, sizeof line, f))
        found = strstr(line, a) && strstr(line, b);
    if (f)
        (void)fclose(f);
    return found;
}

char *server_metrics(const struct server *s)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    const char *colon = strrchr(s->metrics, ':');
    if (!colon)
        return NULL;
    a.sin_port = htons((uint16_t)atoi(colon + 1));
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    static const char ask[] = "GET /metrics HTTP/1.0\r\n\r\n";
    size_t len = 0, cap = 1 << 20;
    char *page = malloc(cap);
    if (page && connect(fd, (struct sockaddr *)&a, sizeof a) == 0 &&
        write(fd, ask, sizeof ask - 1) == (ssize_t)(sizeof ask - 1))
        for (ssize_t n; len + 1 < cap && (n = read(fd, page + len, cap - len - 1)) > 0;)
            len += (size_t)n;
    (void)close(fd);
    if (page)
        page[len] = '\0';
    return page;
}

double server_metric(const struct server *s, const char *name)
{
    char *page = server_metrics(s);
    double value = -1;
    size_t len = strlen(name);
    for (char *line = page; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, len) == 0 && line[len] == ' ')
            value = strtod(line + len, NULL);
    }
    free(page);
    return value;
}
