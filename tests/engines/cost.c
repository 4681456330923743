/* cost.c - what a reconciler costs its process, and whether anybody waits for it, while its engine
 * misbehaves: engine_cost [vllm|sglang|llamacpp [SECONDS]].
 * Prints, for each mode of the stub: processor time a second of the drivers' threads, with default
 * settings and four replicas; the 99th percentile and the largest time of a call to
 * reconciler_rows and reconciler_replica, 1000 a second beside it; how long the close took. Then,
 * by the clock and for two ticks, how long after an engine is well again, or listens again, its
 * adapters are there: the stub's loads take no time, so that is the seeing. */
#include "server/ops/clock.h"
#include "tests/engines/fleet.h"
#include "tests/unit/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { REPLICAS = 4, PER_SECOND = 1000, SECONDS_MAX = 60, RETURNS = 5, AWAY_S = 4 };

static const struct {
    const char *name, *tell; /* tell NULL: the process is killed. */
} modes[] = {
    {"well", "{\"mode\":\"ok\"}"},
    {"slow, 1 s", "{\"mode\":\"slow\",\"ms\":1000}"},
    {"hangs", "{\"mode\":\"hang\"}"},
    {"500", "{\"mode\":\"error\"}"},
    {"50 MB", "{\"mode\":\"garbage\",\"bytes\":52428800}"},
    {"lies", "{\"mode\":\"lie\"}"},
    {"dead", NULL},
};

/* Of which it comes back. */
static const struct {
    const char *name, *tell;
} outages[] = {
    {"dead", NULL},
    {"500", "{\"mode\":\"error\"}"},
    {"garbage", "{\"mode\":\"garbage\"}"},
    {"50 MB", "{\"mode\":\"garbage\",\"bytes\":52428800}"},
    {"slow, 8 s", "{\"mode\":\"slow\",\"ms\":8000}"},
    {"hangs", "{\"mode\":\"hang\"}"},
};

static double cpu_ms(void)
{
    struct rusage u;
    (void)getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e3 +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e3;
}

static double thread_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int rising(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void look(struct reconciler *r, double *ret_us)
{
    struct engine_row rows[REPLICAS * FLEET_ADAPTERS];
    struct engine_replica_view v;
    int64_t begun = clock_mono_ns();
    (void)reconciler_rows(r, rows, REPLICAS * FLEET_ADAPTERS);
    (void)reconciler_replica(r, 0, &v);
    *ret_us = (double)(clock_mono_ns() - begun) / 1e3;
}

static void play(struct fleet *f, size_t mode, int seconds)
{
    static double us[PER_SECOND * SECONDS_MAX];
    static const char *const names[REPLICAS] = {"r0", "r1", "r2", "r3"};
    struct engine_replica replicas[REPLICAS];
    const struct timespec pause = {0, 1000000000L / PER_SECOND};
    for (int i = 0; i < REPLICAS; i++) /* One process will do: it is slow for all of them. */
        replicas[i] = (struct engine_replica){names[i], f->stubs[0].url, NULL};
    const struct reconciler_config config = {
        .kind = f->kind, .replicas_n = REPLICAS, .replicas = replicas, .slots = 2};
    if (modes[mode].tell)
        stub_tell(&f->stubs[0], modes[mode].tell);
    else
        stub_kill(&f->stubs[0]);
    assert_int_equal(reconciler_open(&config, &f->r, NULL), OK);
    fleet_desire(f, "0123");
    assert_int_equal(reconciler_start(f->r), OK);
    double begun = cpu_ms(), own = thread_ms();
    int n = seconds * PER_SECOND;
    for (int i = 0; i < n; i++) {
        look(f->r, &us[i]);
        (void)nanosleep(&pause, NULL);
    }
    double spent = cpu_ms() - begun - (thread_ms() - own);
    int64_t closing = clock_mono_ns();
    reconciler_close(f->r);
    f->r = NULL;
    qsort(us, (size_t)n, sizeof *us, rising);
    printf("%-10s %8.2f ms/s  p99 %6.1f us  most %8.1f us  close %6.1f ms\n", modes[mode].name,
           spent / seconds, us[n * 99 / 100], us[n - 1], (double)(clock_mono_ns() - closing) / 1e6);
    (void)fflush(stdout);
    stub_restart(&f->stubs[0]);
}

static bool converged(struct fleet *f)
{
    struct engine_replica_view v = fleet_view(f, 0);
    return v.up && v.converged;
}

static double return_ms(struct fleet *f, const char *tell)
{
    const struct timespec away = {AWAY_S, 0}, pause = {0, 1000000L};
    if (tell)
        stub_tell(&f->stubs[0], tell);
    else
        stub_kill(&f->stubs[0]);
    (void)nanosleep(&away, NULL);
    assert_false(converged(f));
    if (tell)
        stub_tell(&f->stubs[0], "{\"mode\":\"ok\"}");
    else /* Returns when it has answered: the time is a little too good. */
        stub_restart(&f->stubs[0]);
    int64_t begun = clock_mono_ns();
    while (!converged(f))
        (void)nanosleep(&pause, NULL);
    return (double)(clock_mono_ns() - begun) / 1e6;
}

static void play_returns(struct fleet *f, uint32_t tick_ms, size_t outage)
{
    double ms[RETURNS];
    const struct engine_replica replica = {"r0", f->stubs[0].url, NULL};
    const struct reconciler_config config = {
        .kind = f->kind, .replicas_n = 1, .replicas = &replica, .slots = 2, .tick_ms = tick_ms};
    assert_int_equal(reconciler_open(&config, &f->r, NULL), OK);
    fleet_desire(f, "01");
    assert_int_equal(reconciler_start(f->r), OK);
    assert_true(fleet_until(f, converged));
    for (int i = 0; i < RETURNS; i++)
        ms[i] = return_ms(f, outages[outage].tell);
    reconciler_close(f->r);
    f->r = NULL;
    qsort(ms, RETURNS, sizeof *ms, rising);
    printf("tick %4u ms: %-10s for %d s, and back after %.0f ms (median of %d; %.0f to %.0f)\n",
           tick_ms, outages[outage].name, AWAY_S, ms[RETURNS / 2], RETURNS, ms[0], ms[RETURNS - 1]);
    (void)fflush(stdout);
}

int main(int argc, char **argv)
{
    struct fleet f;
    enum engine_kind kind = ENGINE_VLLM;
    int seconds = argc > 2 ? atoi(argv[2]) : 5;
    if ((argc > 1 && (engine_kind_parse(argv[1], &kind) != OK || kind == ENGINE_NONE)) ||
        seconds < 1 || seconds > SECONDS_MAX) {
        (void)fprintf(stderr, "engine_cost [vllm|sglang|llamacpp [SECONDS, 1 to %d]]\n",
                      SECONDS_MAX);
        return 2;
    }
    memset(&f, 0, sizeof f);
    fleet_stub(&f, kind, 3, NULL);
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        play(&f, i, seconds);
    for (size_t i = 0; i < sizeof outages / sizeof *outages; i++) {
        play_returns(&f, 1000, i); /* The default. */
        play_returns(&f, 100, i);
    }
    fleet_done(&f);
    return 0;
}
