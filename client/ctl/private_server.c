#include "client/ctl/private_server.h"

#include "client/ctl/replay_play.h"
#include "shunt/v1/admin.pb-c.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define READY_WITHIN_MS 30000
#define POLL_MS 20
#define LOG_SHOWN 2048 /* Bytes of the server's log shown when it does not start. */

static enum ctl_exit dir_make(struct private_server *server)
{
    const char *tmp = getenv("TMPDIR");
    char path[PRIVATE_DIR_CAP];
    int len = snprintf(path, sizeof path, "%s/shunt-replay-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (len >= (int)sizeof path)
        return ctl_fail(CTL_USAGE, "TMPDIR is too long for the path of a unix socket");
    if (!mkdtemp(path))
        return ctl_fail(CTL_REFUSED, "%s: %s", path, strerror(errno));
    snprintf(server->dir, sizeof server->dir, "%s", path);
    return CTL_OK;
}

/* In the child: only calls that are safe after fork, then the server. */
_Noreturn static void child_run(const char *shuntd, char *const argv[], const char *log,
                                pid_t parent)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    setpgid(0, 0); /* Ctrl-C is for us; we end the server ourselves. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) /* It died before the line above. */
        _exit(1);
    int fd = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || null < 0 || dup2(null, 0) < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0)
        _exit(126);
    execvp(shuntd, argv);
    static const char text[] = "cannot run shuntd\n";
    if (write(2, text, sizeof text - 1) < 0)
        _exit(126);
    _exit(127);
}

static enum ctl_exit child_start(struct private_server *server)
{
    char shuntd[4352], log[PRIVATE_DIR_CAP + 8], dir[PRIVATE_DIR_CAP];
    char listen[PRIVATE_DIR_CAP + 32], admin[PRIVATE_DIR_CAP + 32];
    ctl_find_shuntd(shuntd, sizeof shuntd);
    snprintf(dir, sizeof dir, "%s", server->dir);
    snprintf(log, sizeof log, "%s/log", dir);
    snprintf(listen, sizeof listen, "--listen=unix:%s/r.sock", dir);
    snprintf(admin, sizeof admin, "--admin-listen=unix:%s/a.sock", dir);
    char name[] = "shuntd", flag[] = "--data-dir", no_metrics[] = "--metrics-listen=none";
    char *const argv[] = {name, flag, dir, listen, admin, no_metrics, NULL};
    pid_t parent = getpid(), pid = fork();
    if (pid < 0)
        return ctl_fail(CTL_REFUSED, "fork: %s", strerror(errno));
    if (pid == 0)
        child_run(shuntd, argv, log, parent);
    server->pid = pid;
    return CTL_OK;
}

/* What the server said last; it is about to be removed. */
static void log_show(const struct private_server *server)
{
    char path[PRIVATE_DIR_CAP + 8], text[LOG_SHOWN + 1];
    snprintf(path, sizeof path, "%s/log", server->dir);
    FILE *log = fopen(path, "rb");
    if (!log)
        return;
    if (fseek(log, -LOG_SHOWN, SEEK_END) != 0)
        rewind(log);
    size_t len = fread(text, 1, LOG_SHOWN, log);
    fclose(log);
    text[len] = '\0';
    fputs(text, stderr);
}

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static bool child_ended(struct private_server *server)
{
    int status = 0;
    if (waitpid(server->pid, &status, WNOHANG) != server->pid)
        return false;
    server->pid = 0;
    return true;
}

/* The sockets appear when the server has opened its data; only then does it make sense to ask. */
static bool sockets_there(const struct private_server *server)
{
    char router[PRIVATE_DIR_CAP + 8], admin[PRIVATE_DIR_CAP + 8];
    snprintf(router, sizeof router, "%s/r.sock", server->dir);
    snprintf(admin, sizeof admin, "%s/a.sock", server->dir);
    return access(router, F_OK) == 0 && access(admin, F_OK) == 0;
}

static enum ctl_exit ready_wait(struct private_server *server, struct ctl *ctl)
{
    Shunt__V1__StatsRequest request = SHUNT__V1__STATS_REQUEST__INIT;
    struct call_error error = {.message = "its sockets did not appear"};
    for (int64_t until = now_ms() + READY_WITHIN_MS; now_ms() < until; usleep(POLL_MS * 1000)) {
        ProtobufCMessage *response = NULL;
        if (play_interrupted())
            return ctl_fail(CTL_REFUSED, "interrupted");
        if (child_ended(server)) {
            log_show(server);
            return ctl_fail(CTL_REFUSED, "the private shuntd ended at once");
        }
        if (!sockets_there(server))
            continue;
        enum ctl_exit code = ctl_try(ctl, CTL_ADMIN, "Stats", 1.0, &request.base,
                                     &shunt__v1__stats_response__descriptor, &response, &error);
        protobuf_c_message_free_unpacked(response, NULL);
        if (code == CTL_OK)
            return CTL_OK;
    }
    log_show(server);
    return ctl_fail(CTL_UNREACHABLE, "the private shuntd is not ready: %s", error.message);
}

enum ctl_exit private_server_start(struct private_server *server, struct ctl *ctl)
{
    char address[PRIVATE_DIR_CAP + 16];
    *server = (struct private_server){0};
    enum ctl_exit code = dir_make(server);
    if (code == CTL_OK)
        code = child_start(server);
    if (code != CTL_OK)
        return code;
    snprintf(address, sizeof address, "unix:%s/r.sock", server->dir);
    ctl_set_server(ctl, address);
    ctl->tls_asked = false; /* Its socket has none. */
    ctl->tls = (struct call_tls){0};
    snprintf(address, sizeof address, "unix:%s/a.sock", server->dir);
    ctl_set_admin(ctl, address);
    return ready_wait(server, ctl);
}

static int entry_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    remove(path); /* What cannot be removed is left; there is nobody to tell. */
    return 0;
}

void private_server_stop(struct private_server *server)
{
    if (server->pid > 0) {
        /* Nothing of it is kept, so it need not end in order. */
        kill(server->pid, SIGKILL);
        while (waitpid(server->pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    if (server->dir[0])
        nftw(server->dir, entry_remove, 16, FTW_DEPTH | FTW_PHYS);
    *server = (struct private_server){0};
}
