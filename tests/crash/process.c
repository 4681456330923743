#include "tests/crash/process.h"

#include "tests/unit/cmocka_all.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ARGS_MAX = 16 };

uint64_t process_environment(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text && *text ? strtoull(text, NULL, 0) : otherwise;
}

uint64_t process_seed(void)
{
    uint64_t random = 0;
    assert_int_equal(getrandom(&random, sizeof random, 0), sizeof random);
    return process_environment("SHUNT_CRASH_SEED", random >> 16);
}

void process_write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void print_file(const char *path)
{
    char line[1024];
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f))
        print_error("%s", line);
    if (f)
        (void)fclose(f);
}

int process_run(const char *dir, const char *const *argv)
{
    char log[300];
    int status = 0;
    (void)snprintf(log, sizeof log, "%s/run", dir);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        char *args[ARGS_MAX + 1] = {NULL};
        for (size_t i = 0; argv[i] && i < ARGS_MAX; i++)
            args[i] = strdup(argv[i]);
        int fd = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        (void)dup2(fd, STDOUT_FILENO);
        (void)dup2(fd, STDERR_FILENO);
        (void)execv(args[0], args);
        _exit(127);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        print_file(log);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
