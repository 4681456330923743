#include "tests/bench/machine.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double machine_median(double *values, size_t n)
{
    qsort(values, n, sizeof *values, by_value);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

void machine_name(char *ret, size_t cap)
{
    char line[256], model[128] = "unknown processor";
    struct utsname u;
    FILE *f = fopen("/proc/cpuinfo", "re");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, "model name", 10) == 0 && strchr(line, ':')) {
            (void)snprintf(model, sizeof model, "%.*s", (int)strcspn(strchr(line, ':') + 2, "\n\""),
                           strchr(line, ':') + 2);
            break;
        }
    if (f)
        (void)fclose(f);
    (void)uname(&u);
    (void)snprintf(ret, cap, "%ld x %s, Linux %.40s", sysconf(_SC_NPROCESSORS_ONLN), model,
                   u.release);
}

double machine_quantile(double *values, size_t n, double q)
{
    qsort(values, n, sizeof *values, by_value);
    size_t i = (size_t)(q * (double)(n - 1) + .5);
    return values[i < n ? i : n - 1];
}

static double read_us(clockid_t clock)
{
    struct timespec t;
    (void)clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

double machine_now_us(void)
{
    return read_us(CLOCK_MONOTONIC);
}

double machine_cpu_us(void)
{
    return read_us(CLOCK_THREAD_CPUTIME_ID);
}

void machine_pin(void)
{
    cpu_set_t here;
    CPU_ZERO(&here);
    CPU_SET((size_t)sched_getcpu(), &here);
    (void)sched_setaffinity(0, sizeof here, &here);
}
