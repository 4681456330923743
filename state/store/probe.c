#include "state/store/probe.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* Smaller than PIPE_BUF, so it arrives whole or not at all. */
struct answer {
    enum err error;
    struct err_detail detail;
};

static void work_in_child(int out, probe_work *work, void *ctx)
{
    /* Die with the parent, and die plainly: no core file, no handler of a sanitizer or of ours. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    const int fatal[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};
    for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++)
        signal(fatal[i], SIG_DFL);
    struct answer a;
    memset(&a, 0, sizeof a);
    a.error = work(ctx, &a.detail);
    ssize_t n = write(out, &a, sizeof a);
    _exit(n == (ssize_t)sizeof a ? 0 : 1);
}

static enum err crashed(const char *file, int status, struct err_detail *detail)
{
    int sig = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    if (sig == SIGKILL || sig == SIGTERM || sig == SIGINT)
        return err_say(detail, ERR_CANCELLED, "the check of %s was killed by signal %d", file, sig);
    return err_say(detail, ERR_CORRUPT,
                   "%s is damaged: reading it crashed (signal %d); restore a backup with "
                   "`shuntd restore`",
                   file, sig);
}

enum err probe_run(const char *file, probe_work *work, void *ctx, struct err_detail *detail)
{
    int ends[2];
    if (pipe(ends) != 0)
        return err_say(detail, ERR_IO, "cannot check %s: no pipe (errno %d)", file, errno);
    pid_t child = fork();
    if (child < 0) {
        int number = errno;
        close(ends[0]);
        close(ends[1]);
        return err_say(detail, ERR_NOMEM, "cannot check %s: no process (errno %d)", file, number);
    }
    if (child == 0)
        work_in_child(ends[1], work, ctx);
    close(ends[1]);
    struct answer a;
    ssize_t n;
    do
        n = read(ends[0], &a, sizeof a);
    while (n < 0 && errno == EINTR);
    close(ends[0]);
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    if (n != (ssize_t)sizeof a)
        return crashed(file, status, detail);
    a.detail.text[sizeof a.detail.text - 1] = '\0';
    return a.error == OK ? OK : err_say(detail, a.error, "%s", a.detail.text);
}
