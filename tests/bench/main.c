/* shunt-bench - honest figures: one subcommand a question, each with its machine and its noise.
 *
 *   shunt-bench rpc         what the wire costs, against a bare echo; see rpc.h
 *   shunt-bench engines     RouteRequest while an engine is dead, slow, lying; see engines.h
 *   shunt-bench features    a prompt's context; see features.h
 *   shunt-bench score       all arms, against the read bandwidth of the machine; see score.h
 *   shunt-bench update      learning from an outcome, and publishing; see update.h
 *   shunt-bench journal     commits of outcomes; see journal.h
 *   shunt-bench recover     a start; see journal.h
 *   shunt-bench memory      of an arm, of an outcome, of a server under load; see memory.h */
#include "tests/bench/echo.h"
#include "tests/bench/engines.h"
#include "tests/bench/features.h"
#include "tests/bench/journal.h"
#include "tests/bench/memory.h"
#include "tests/bench/rpc.h"
#include "tests/bench/score.h"
#include "tests/bench/update.h"

#include <grpc/grpc.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} commands[] = {{"rpc", bench_rpc},       {"features", bench_features}, {"score", bench_score},
                {"update", bench_update}, {"journal", bench_journal},   {"recover", bench_recover},
                {"memory", bench_memory}, {"engines", bench_engines}};

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "echo") == 0) { /* Of `rpc`, in a process of its own. */
        grpc_init();
        return echo_serve(argv[2], strcmp(argv[3], "even") == 0);
    }
    for (size_t i = 0; argc >= 2 && i < sizeof commands / sizeof *commands; i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    (void)fprintf(stderr, "usage: shunt-bench COMMAND [OPTIONS]; commands:");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        (void)fprintf(stderr, " %s", commands[i].name);
    (void)fputc('\n', stderr);
    return 2;
}
