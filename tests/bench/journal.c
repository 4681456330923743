#include "tests/bench/journal.h"

#include "tests/bench/box.h"
#include "tests/bench/machine.h"

#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS_MAX = 1001, ACKS_MAX = 200000, ACK_BATCH = 16 };

struct options {
    uint32_t arms, d, outcomes, checkpoints;
    int rounds;
    bool quick, json, more;
};

static void start(struct options *o)
{
    char machine[256];
    machine_name(machine, sizeof machine);
    (void)printf(o->json ? "{\"machine\":\"%s\",\"rows\":[" : "%s\n", machine);
}

static void finish(const struct options *o)
{
    if (o->json)
        (void)puts("\n]}");
}

static void journal_batch(struct options *o, struct box *b, uint32_t n)
{
    static double us[ROUNDS_MAX], cpu[ROUNDS_MAX];
    size_t rounds = (size_t)o->rounds;
    for (size_t r = 0; r < rounds; r++) {
        double began = machine_now_us(), began_cpu = machine_cpu_us();
        box_report(b, n);
        us[r] = machine_now_us() - began;
        cpu[r] = machine_cpu_us() - began_cpu;
    }
    double p50 = machine_quantile(us, rounds, .5), p99 = machine_quantile(us, rounds, .99);
    double busy = machine_quantile(cpu, rounds, .5);
    if (o->json)
        (void)printf("%s\n {\"what\":\"commit\",\"outcomes\":%u,\"arms\":%u,\"d\":%u,"
                     "\"p50_us\":%.0f,\"p99_us\":%.0f,\"cpu_us\":%.0f,\"per_s\":%.0f}",
                     o->more ? "," : "", n, o->arms, o->d, p50, p99, busy, n / p50 * 1e6);
    else
        (void)printf("%5u outcomes a commit: %8.0f us, p99 %8.0f, cpu %8.0f; %9.0f outcomes/s\n", n,
                     p50, p99, busy, n / p50 * 1e6);
    o->more = true;
    (void)fflush(stdout);
}

/* ---- beside checkpoints ---- */

static void print_times(struct options *o, const char *what, double *us, size_t n)
{
    double p50 = machine_quantile(us, n, .5), p99 = machine_quantile(us, n, .99);
    double most = us[n - 1]; /* They are sorted by now. */
    if (o->json)
        (void)printf("%s\n {\"what\":\"%s\",\"arms\":%u,\"d\":%u,\"n\":%zu,"
                     "\"p50_us\":%.0f,\"p99_us\":%.0f,\"max_us\":%.0f}",
                     o->more ? "," : "", what, o->arms, o->d, n, p50, p99, most);
    else
        (void)printf("%-24s %8.0f us, p99 %8.0f, max %8.0f; %zu\n", what, p50, p99, most, n);
    o->more = true;
    (void)fflush(stdout);
}

/* What the writer does between two batches, and a batch that came just before it: the longest that
 * somebody waits. */
static void beside(struct options *o, struct box *b)
{
    static double ack[ACKS_MAX], step[ACKS_MAX], cpu[ACKS_MAX];
    size_t n = 0;
    double first = machine_now_us();
    for (uint32_t made = 0; made < o->checkpoints && n < ACKS_MAX; n++) {
        double began = machine_now_us(), began_cpu = machine_cpu_us();
        made += box_checkpoint_step(b);
        step[n] = machine_now_us() - began;
        cpu[n] = machine_cpu_us() - began_cpu;
        box_report(b, ACK_BATCH);
        ack[n] = machine_now_us() - began;
    }
    double each_ms = (machine_now_us() - first) * 1e-3 / o->checkpoints;
    if (!o->json)
        (void)printf("a checkpoint beside reports takes %.0f ms\n", each_ms);
    print_times(o, "step", step, n);
    print_times(o, "step, cpu", cpu, n);
    print_times(o, "acknowledged beside it", ack, n);
}

static void checkpoints(struct options *o, struct box *b)
{
    static double us[ROUNDS_MAX];
    while (b->pool.reported + BOX_BATCH_MAX <= o->outcomes)
        box_report(b, BOX_BATCH_MAX);
    if (!o->json)
        (void)printf("a state of %.1f MB: %u arms, d = %u, %llu outcomes\n",
                     (double)box_state_bytes(b) * 1e-6, o->arms, o->d,
                     (unsigned long long)b->pool.reported);
    beside(o, b);
    for (size_t i = 0; i < (size_t)o->rounds; i++) {
        double began = machine_now_us();
        box_report(b, ACK_BATCH);
        us[i] = machine_now_us() - began;
    }
    print_times(o, "acknowledged without", us, (size_t)o->rounds);
}

static int usage(void)
{
    (void)fprintf(stderr, "usage: shunt-bench journal|recover [--arms N --d D] [--rounds N] "
                          "[--outcomes N] [--checkpoints N] [--quick] [--json]\n");
    return 2;
}

static bool read_options(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {
        {"rounds", required_argument, NULL, 'r'}, {"arms", required_argument, NULL, 'a'},
        {"d", required_argument, NULL, 'd'},      {"checkpoints", required_argument, NULL, 'c'},
        {"quick", no_argument, NULL, 'q'},        {"outcomes", required_argument, NULL, 'n'},
        {"json", no_argument, NULL, 'j'},         {NULL, 0, NULL, 0}};
    *o = (struct options){.arms = 16, .d = 39, .outcomes = 1000000, .rounds = 101};
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        int n = optarg ? atoi(optarg) : 0;
        o->rounds = c == 'r' ? n : o->rounds;
        o->arms = c == 'a' ? (uint32_t)n : o->arms;
        o->d = c == 'd' ? (uint32_t)n : o->d;
        o->outcomes = c == 'n' ? (uint32_t)n : o->outcomes;
        o->checkpoints = c == 'c' ? (uint32_t)n : o->checkpoints;
        o->quick = o->quick || c == 'q';
        o->json = o->json || c == 'j';
        if (c == '?')
            return false;
    }
    if (o->quick) {
        o->rounds = 5;
        o->outcomes = 20000;
    }
    return o->rounds >= 1 && o->rounds <= ROUNDS_MAX && o->arms >= 1 && o->arms <= MAX_ARMS &&
           o->d >= 2 && o->d <= MAX_D && o->outcomes >= BOX_BATCH_MAX && o->outcomes <= 50000000 &&
           o->checkpoints <= 1000;
}

int bench_journal(int argc, char **argv)
{
    static const uint32_t batches[] = {1, 16, 128, BOX_BATCH_MAX};
    static struct box b;
    struct options o;
    if (!read_options(argc, argv, &o))
        return usage();
    start(&o);
    box_new(&b, o.arms, o.d);
    for (size_t i = 0; i < sizeof batches / sizeof *batches && !o.checkpoints; i++)
        journal_batch(&o, &b, batches[i]);
    if (o.checkpoints)
        checkpoints(&o, &b);
    box_free(&b);
    finish(&o);
    return EXIT_SUCCESS;
}

/* Closes and opens, and says what that took. */
static void reopen(struct options *o, struct box *b, const char *what)
{
    struct ledger_recovery got;
    uint64_t bytes = box_disk_bytes(b);
    double began = machine_now_us();
    box_reopen(b, &got);
    double s = (machine_now_us() - began) * 1e-6;
    if (o->json)
        (void)printf("%s\n {\"what\":\"recover\",\"from\":\"%s\",\"arms\":%u,\"d\":%u,"
                     "\"folded\":%llu,\"seconds\":%.3f,\"per_s\":%.0f}",
                     o->more ? "," : "", what, o->arms, o->d, (unsigned long long)got.folded, s,
                     (double)got.folded / s);
    else
        (void)printf("from %-14s %9llu events folded in %7.3f s, %8.0f a second; %.0f MB on disk\n",
                     what, (unsigned long long)got.folded, s, (double)got.folded / s,
                     (double)bytes * 1e-6);
    o->more = true;
    (void)fflush(stdout);
}

int bench_recover(int argc, char **argv)
{
    static struct box b;
    struct options o;
    if (!read_options(argc, argv, &o))
        return usage();
    start(&o);
    box_new(&b, o.arms, o.d);
    while (b.pool.reported + BOX_BATCH_MAX <= o.outcomes)
        box_report(&b, BOX_BATCH_MAX);
    reopen(&o, &b, "the journal");
    box_checkpoint(&b);
    reopen(&o, &b, "a checkpoint");
    box_free(&b);
    finish(&o);
    return EXIT_SUCCESS;
}
