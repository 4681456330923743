#include "tests/bench/memory.h"

#include "tests/bench/box.h"
#include "tests/bench/machine.h"
#include "tests/bench/pool.h"
#include "tests/bench/rpc_world.h"

#include <getopt.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct settings {
    double minutes;
    int in_flight;
    bool quick, json, more;
};

static void comma(struct settings *o)
{
    if (o->json)
        (void)fputs(o->more ? ",\n " : "\n ", stdout);
    o->more = true;
}

static double heap(void)
{
    struct mallinfo2 m = mallinfo2();
    return (double)(m.uordblks + m.hblkhd);
}

/* Kilobytes that are the process's own: not its code, not the mapped journal. */
static double anonymous_kb(pid_t pid)
{
    char path[64], line[256];
    double kb = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, "RssAnon:", 8) == 0)
            kb = atof(line + 8);
    if (f)
        (void)fclose(f);
    return kb;
}

/* What is in use of pages of any kind: views of large pools are not pieces of the heap. */
static double resident(void)
{
    (void)malloc_trim(0); /* What comes next takes pages of its own. */
    return anonymous_kb(getpid()) * 1024;
}

/* ---- an arm ---- */

static void arm(struct settings *o, uint32_t arms_n, uint32_t d)
{
    struct pool p, empty;
    double before = heap();
    pool_open(&empty, 1, d, NULL);
    double fixed = heap() - before;
    before = heap();
    pool_open(&p, arms_n, d, NULL);
    double rows = (double)(arms_n - 1) * d * sizeof *p.theta; /* The bench's own truth. */
    double model = (heap() - before - fixed - rows) / (arms_n - 1);
    before = resident();
    pool_look(&p);
    double view = (resident() - before) / arms_n;
    comma(o);
    if (o->json)
        (void)printf("{\"what\":\"arm\",\"d\":%u,\"state_bytes\":%.0f,\"view_bytes\":%.0f}", d,
                     model, view);
    else
        (void)printf("an arm, d = %-4u %9.0f bytes of state, %9.0f published\n", d, model, view);
    pool_close(&p);
    pool_close(&empty);
}

/* ---- an outcome ---- */

static void outcome(struct settings *o)
{
    static struct box b;
    uint32_t batches = o->quick ? 20 : 200;
    double n = (double)batches * BOX_BATCH_MAX;
    box_new(&b, 16, 39);
    for (uint32_t i = 0; i < batches; i++)
        box_report(&b, BOX_BATCH_MAX);
    double disk = (double)box_disk_bytes(&b);
    const struct dedup *t = &model_router(ledger_model(b.ledger), b.pool.router_uid)->dedup;
    double entry = (double)t->stride + (double)t->index_n * sizeof *t->index / (double)t->capacity;
    comma(o);
    if (o->json)
        (void)printf("{\"what\":\"outcome\",\"d\":39,\"disk_bytes\":%.1f,\"memory_bytes\":%.1f}",
                     disk / n, entry);
    else
        (void)printf(
            "a million outcomes, d = 39: %.0f MB of disk, %.0f MB of memory while they are "
            "remembered\n",
            disk / n, entry);
    box_free(&b);
}

/* ---- soak ---- */

enum { SAMPLES_MAX = 100000 };

static int soak(struct settings *o)
{
    static struct bench b;
    static double kb[SAMPLES_MAX];
    double calls = 0, reports = 0;
    size_t n = 0;
    b.o = (struct options){.rounds = 1,
                           .arms = 16,
                           .features = 38,
                           .seconds = 1,
                           .transports = {true, false},
                           .dedup_max = 20000,
                           .threads = 1};
    b.wanted[ECHO] = b.wanted[ROUTE] = b.wanted[LOGGED] = true;
    b.wanted[ECHO_REPORT] = b.wanted[REPORT] = true;
    b.cells_n = 1;
    b.cells[0].transport = TCP;
    b.cells[0].in_flight = o->in_flight;
    rpc_world_open(&b);
    rpc_warm_up(&b);
    b.wanted[ECHO] = false; /* It has said how long an answer is. */
    double began = machine_now_us();
    while (machine_now_us() - began < o->minutes * 60e6 && n < SAMPLES_MAX) {
        rpc_round(&b, 0);
        const struct load_result *r = b.cells[0].results[0];
        calls += r[ROUTE].calls_per_s * b.o.seconds + r[LOGGED].calls_per_s * b.o.seconds;
        reports += r[REPORT].calls_per_s * b.o.seconds;
        kb[n++] = anonymous_kb(b.shuntd.pid);
    }
    double first = kb[0], last = kb[n - 1];
    double *half = kb + n / 2;
    double low = machine_quantile(half, n - n / 2, 0), high = machine_quantile(half, n - n / 2, 1);
    double spread = (high - low) / machine_quantile(half, n - n / 2, .5);
    comma(o);
    if (o->json)
        (void)printf("{\"what\":\"soak\",\"minutes\":%g,\"decisions\":%.0f,\"reports\":%.0f,"
                     "\"first_mb\":%.1f,\"last_mb\":%.1f,\"last_half_spread\":%.4f}",
                     o->minutes, calls, reports, first / 1024, last / 1024, spread);
    else
        (void)printf(
            "soak of %g minutes, %.0f decisions, %.0f reports: %.1f MB after a round, %.1f "
            "at the end; last half within %.2f %%\n",
            o->minutes, calls, reports, first / 1024, last / 1024, 100 * spread);
    rpc_world_close(&b);
    return spread < .1 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int usage(void)
{
    (void)fprintf(stderr, "usage: shunt-bench memory [--minutes M] [--in-flight N] [--quick] "
                          "[--json]\n");
    return 2;
}

int bench_memory(int argc, char **argv)
{
    static const uint32_t dimensions[] = {11, 39, 64, 385};
    struct settings o = {.in_flight = 64};
    static const struct option longs[] = {{"minutes", required_argument, NULL, 'm'},
                                          {"in-flight", required_argument, NULL, 'i'},
                                          {"quick", no_argument, NULL, 'q'},
                                          {"json", no_argument, NULL, 'j'},
                                          {NULL, 0, NULL, 0}};
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        o.minutes = c == 'm' && optarg ? atof(optarg) : o.minutes;
        o.in_flight = c == 'i' && optarg ? atoi(optarg) : o.in_flight;
        o.quick = o.quick || c == 'q';
        o.json = o.json || c == 'j';
        if (c == '?')
            return usage();
    }
    if (!(o.minutes >= 0 && o.minutes <= 24 * 60) || o.in_flight < 1 ||
        o.in_flight > LOAD_IN_FLIGHT_MAX)
        return usage();
    char machine[256];
    machine_name(machine, sizeof machine);
    (void)printf(o.json ? "{\"machine\":\"%s\",\"rows\":[" : "%s\n", machine);
    for (size_t i = 0; i < (o.quick ? 2 : sizeof dimensions / sizeof *dimensions); i++)
        arm(&o, o.quick ? 100 : 1000, dimensions[i]);
    outcome(&o);
    int rc = o.minutes > 0 ? soak(&o) : EXIT_SUCCESS;
    if (o.json)
        (void)puts("\n]}");
    return rc;
}
