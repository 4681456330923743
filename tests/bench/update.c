#include "tests/bench/update.h"

#include "tests/bench/machine.h"
#include "tests/bench/pool.h"

#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROUNDS_MAX = 1001, ARMS = 16 };

struct options {
    int rounds;
    bool quick, json, more;
};

static void row(struct options *o, const char *what, uint32_t arms_n, uint32_t d, double *us)
{
    double median = machine_quantile(us, (size_t)o->rounds, .5);
    double p99 = machine_quantile(us, (size_t)o->rounds, .99);
    if (o->json)
        (void)printf("%s\n {\"what\":\"%s\",\"arms\":%u,\"d\":%u,\"us\":%.3f,\"p99_us\":%.3f}",
                     o->more ? "," : "", what, arms_n, d, median, p99);
    else
        (void)printf("%-8s %6u x %-4u %10.2f us, p99 %10.2f\n", what, arms_n, d, median, p99);
    o->more = true;
    (void)fflush(stdout);
}

static void fold(struct options *o, uint32_t d)
{
    static double us[ROUNDS_MAX];
    struct pool pool;
    uint32_t calls = d > 200 ? 20 : 200;
    pool_open(&pool, ARMS, d, NULL);
    pool_teach(&pool, 5);
    for (int r = 0; r < o->rounds; r++) {
        us[r] = 0;
        for (uint32_t i = 0; i < calls; i++) {
            pool_outcome(&pool, i % ARMS, i);
            double began = machine_cpu_us();
            pool_fold(&pool);
            us[r] += (machine_cpu_us() - began) / calls;
        }
    }
    row(o, "fold", ARMS, d, us);
    pool_close(&pool);
}

static void publish(struct options *o, uint32_t arms_n, uint32_t d)
{
    static double us[ROUNDS_MAX];
    struct pool pool;
    pool_open(&pool, arms_n, d, NULL);
    pool_teach(&pool, 2);
    pool_look(&pool);
    for (int r = 0; r < o->rounds; r++) {
        pool_report(&pool, (uint32_t)r % arms_n, (uint32_t)r);
        double began = machine_cpu_us();
        pool_look(&pool);
        us[r] = machine_cpu_us() - began;
    }
    row(o, "publish", arms_n, d, us);
    pool_close(&pool);
}

int bench_update(int argc, char **argv)
{
    static const uint32_t dimensions[] = {11, 16, 32, 39, 64, 128, 256, 385, 512};
    static const uint32_t pools[] = {1, 16, 64, 256, 1000, 4000, 10000};
    struct options o = {.rounds = 201};
    static const struct option longs[] = {{"rounds", required_argument, NULL, 'r'},
                                          {"quick", no_argument, NULL, 'q'},
                                          {"json", no_argument, NULL, 'j'},
                                          {NULL, 0, NULL, 0}};
    bool wrong = false;
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        o.rounds = c == 'r' && optarg ? atoi(optarg) : o.rounds;
        o.quick = o.quick || c == 'q';
        o.json = o.json || c == 'j';
        wrong = wrong || c == '?';
    }
    if (wrong || o.rounds < 1 || o.rounds > ROUNDS_MAX) {
        (void)fprintf(stderr, "usage: shunt-bench update [--rounds N] [--quick] [--json]\n");
        return 2;
    }
    char machine[256];
    machine_name(machine, sizeof machine);
    machine_pin();
    (void)printf(o.json ? "{\"machine\":\"%s\",\"rows\":[" : "%s\n", machine);
    for (size_t i = 0; i < (o.quick ? 2 : sizeof dimensions / sizeof *dimensions); i++)
        fold(&o, dimensions[i]);
    for (size_t i = 0; i < (o.quick ? 2 : sizeof pools / sizeof *pools); i++)
        publish(&o, pools[i], 39);
    if (o.json)
        (void)puts("\n]}");
    return EXIT_SUCCESS;
}
