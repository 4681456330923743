#include "tests/bench/rpc.h"

#include "tests/bench/rpc_world.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void usage(void)
{
    (void)fprintf(stderr, "usage: shunt-bench rpc [--rounds N] [--seconds S] [--in-flight N[,N]] "
                          "[--tcp | --unix] [--arms N] [--features N] [--budgets] "
                          "[--text CHARACTERS [--classifier FILE]] [--job] [--pace CALLS_A_SECOND] "
                          "[--only PHASE[,PHASE]] [--even] [--threads N] [--no-pin] [--json]\n");
    exit(2);
}

static void read_in_flight(char *text, struct options *o)
{
    o->in_flight_n = 0;
    for (char *n = strtok(text, ","); n; n = strtok(NULL, ",")) {
        int value = atoi(n);
        if (o->in_flight_n == 4 || value < 1 || value > LOAD_IN_FLIGHT_MAX)
            usage();
        o->in_flight[o->in_flight_n++] = value;
    }
    if (o->in_flight_n == 0)
        usage();
}

/* Echo is always there; reports need decisions. */
static void read_only(char *text, bool *wanted)
{
    static const struct {
        const char *name;
        enum phase phase;
    } names[] = {{"route", ROUTE},   {"logged", LOGGED}, {"stream", STREAM}, {"batch", BATCHES},
                 {"report", REPORT}, {"beside", BESIDE}, {"paced", PACED}};
    bool known = true;
    memset(wanted, 0, PHASES * sizeof *wanted);
    for (char *n = strtok(text, ","); n; n = strtok(NULL, ",")) {
        size_t i = 0;
        while (i < sizeof names / sizeof *names && strcmp(n, names[i].name) != 0)
            i++;
        known = known && i < sizeof names / sizeof *names;
        if (known)
            wanted[names[i].phase] = true;
    }
    if (!known)
        usage();
    wanted[ECHO] = true;
    wanted[ECHO_BESIDE] = wanted[BESIDE];
    wanted[PACED_BESIDE] = wanted[PACED];
    wanted[ECHO_REPORT] = wanted[REPORT] || wanted[BESIDE] || wanted[PACED];
    wanted[ROUTE] = wanted[ROUTE] || wanted[ECHO_REPORT];
}

static void check(const struct options *o)
{
    if (o->rounds < 1 || o->rounds > ROUNDS_MAX || o->arms < 1 || o->arms > 1000 ||
        o->features < 1 || o->features > 450 || o->text < 0 || o->text > 200000 || o->threads < 1 ||
        o->threads > 64 || (o->classifier && !o->text) || !(o->seconds > 0) ||
        !(o->pace >= 1 && o->pace <= 1e6))
        usage();
}

static void read_options(int argc, char **argv, struct bench *b)
{
    struct options o = {.rounds = 5,
                        .in_flight = {1, 16, 64, 256},
                        .in_flight_n = 4,
                        .transports = {true, true},
                        .arms = 16,
                        .features = 38,
                        .threads = 1,
                        .seconds = .5,
                        .pace = 5000,
                        .pin = true};
    bool wanted[PHASES] = {
        [ECHO] = true,        [ROUTE] = true,       [LOGGED] = true,      [STREAM] = true,
        [BATCHES] = true,     [ECHO_REPORT] = true, [REPORT] = true,      [BESIDE] = true,
        [ECHO_BESIDE] = true, [PACED] = true,       [PACED_BESIDE] = true};
    static const struct option longs[] = {{"rounds", required_argument, NULL, 'r'},
                                          {"seconds", required_argument, NULL, 's'},
                                          {"in-flight", required_argument, NULL, 'i'},
                                          {"arms", required_argument, NULL, 'a'},
                                          {"features", required_argument, NULL, 'f'},
                                          {"threads", required_argument, NULL, 'h'},
                                          {"text", required_argument, NULL, 't'},
                                          {"pace", required_argument, NULL, 'k'},
                                          {"classifier", required_argument, NULL, 'c'},
                                          {"only", required_argument, NULL, 'o'},
                                          {"unix", no_argument, NULL, 'u'},
                                          {"tcp", no_argument, NULL, 'p'},
                                          {"no-pin", no_argument, NULL, 'n'},
                                          {"json", no_argument, NULL, 'j'},
                                          {"job", no_argument, NULL, 'b'},
                                          {"even", no_argument, NULL, 'e'},
                                          {"budgets", no_argument, NULL, 'g'},
                                          {NULL, 0, NULL, 0}};
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        int n = optarg ? atoi(optarg) : 0;
        o.rounds = c == 'r' ? n : o.rounds;
        o.arms = c == 'a' ? n : o.arms;
        o.features = c == 'f' ? n : o.features;
        o.threads = c == 'h' ? n : o.threads;
        o.text = c == 't' ? n : o.text;
        o.classifier = c == 'c' ? optarg : o.classifier;
        o.seconds = c == 's' && optarg ? atof(optarg) : o.seconds;
        o.pace = c == 'k' && optarg ? atof(optarg) : o.pace;
        o.transports[TCP] = o.transports[TCP] && c != 'u';
        o.transports[UNIX] = o.transports[UNIX] && c != 'p';
        o.pin = o.pin && c != 'n';
        o.json = o.json || c == 'j';
        o.job = o.job || c == 'b';
        o.budgets = o.budgets || c == 'g';
        o.even = o.even || c == 'e';
        if (c == 'i')
            read_in_flight(optarg, &o);
        if (c == 'o')
            read_only(optarg, wanted);
        if (c == '?')
            usage();
    }
    check(&o);
    wanted[READY] = o.text > 0;
    wanted[JOB] = o.job;
    wanted[LOGGED] = wanted[LOGGED] || o.job;
    wanted[PACER] = wanted[SESSION] = wanted[BOTH] = o.budgets;
    wanted[ROUTE] = wanted[ROUTE] || o.text > 0 || o.budgets;
    b->o = o;
    memcpy(b->wanted, wanted, sizeof wanted);
}

int bench_rpc(int argc, char **argv)
{
    static struct bench b;
    double load = 0;
    read_options(argc, argv, &b);
    (void)getloadavg(&load, 1);
    for (int t = 0; t < TRANSPORTS; t++)
        for (int i = 0; b.o.transports[t] && i < b.o.in_flight_n; i++) {
            b.cells[b.cells_n].transport = (enum transport)t;
            b.cells[b.cells_n++].in_flight = b.o.in_flight[i];
        }
    if (b.cells_n == 0)
        usage();
    rpc_world_open(&b);
    rpc_warm_up(&b);
    for (int i = 0; i < b.o.rounds; i++)
        rpc_round(&b, i);
    rpc_print(&b, load);
    rpc_world_close(&b);
    return EXIT_SUCCESS;
}
