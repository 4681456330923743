#include "tests/bench/meter.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { SAMPLES_MAX = 4 * 1000 * 1000 };

int64_t meter_now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static double thread_s(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Seconds of processor that the threads of a process have used. */
static double process_s(pid_t pid)
{
    char path[300];
    double total = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *threads = opendir(path);
    for (const struct dirent *d; threads && (d = readdir(threads));) {
        unsigned long long ns = 0;
        if (d->d_name[0] == '.')
            continue;
        (void)snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", (int)pid, d->d_name);
        FILE *f = fopen(path, "re");
        if (f && fscanf(f, "%llu", &ns) == 1)
            total += (double)ns * 1e-9;
        if (f)
            (void)fclose(f);
    }
    if (threads)
        (void)closedir(threads);
    return total;
}

void meter_begin(struct meter *m, pid_t server)
{
    *m = (struct meter){.server = server, .samples_us = malloc(SAMPLES_MAX * sizeof(float))};
    if (!m->samples_us)
        abort();
    m->server_s = process_s(server);
    m->client_s = thread_s();
    m->began_ns = meter_now_ns();
}

void meter_call(struct meter *m, int64_t began_ns)
{
    if (m->samples_n < SAMPLES_MAX)
        m->samples_us[m->samples_n++] = (float)(meter_now_ns() - began_ns) / 1000;
}

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double percentile(const struct meter *m, double share)
{
    if (!m->samples_n)
        return 0;
    return (double)m->samples_us[(size_t)((double)(m->samples_n - 1) * share)];
}

void meter_end(struct meter *m, struct load_result *ret)
{
    ret->seconds = (double)(meter_now_ns() - m->began_ns) * 1e-9;
    ret->calls_per_s = (double)ret->calls / ret->seconds;
    if (ret->calls) {
        ret->client_cpu_us = (thread_s() - m->client_s) * 1e6 / (double)ret->calls;
        ret->server_cpu_us = (process_s(m->server) - m->server_s) * 1e6 / (double)ret->calls;
    }
    qsort(m->samples_us, m->samples_n, sizeof *m->samples_us, by_value);
    ret->p50_us = percentile(m, .5);
    ret->p99_us = percentile(m, .99);
    ret->p999_us = percentile(m, .999);
    free(m->samples_us);
}
