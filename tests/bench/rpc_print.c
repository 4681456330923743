#include "tests/bench/machine.h"
#include "tests/bench/rpc_world.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* f of round r of a cell; NAN: it has none. */
typedef double figure(const struct cell *c, int r);

static double median_of(const struct bench *b, const struct cell *c, figure *f)
{
    double values[ROUNDS_MAX];
    for (int r = 0; r < b->o.rounds; r++)
        values[r] = f(c, r);
    return machine_median(values, (size_t)b->o.rounds);
}

#define RATIO(name, member, above, below)                                                          \
    static double name(const struct cell *c, int r)                                                \
    {                                                                                              \
        return c->results[r][above].member / c->results[r][below].member;                          \
    }
RATIO(route_to_echo, calls_per_s, ROUTE, ECHO)
RATIO(route_p99_to_echo, p99_us, ROUTE, ECHO)
RATIO(route_cpu_to_echo, server_cpu_us, ROUTE, ECHO)
RATIO(logged_to_echo, calls_per_s, LOGGED, ECHO)
RATIO(stream_to_echo, calls_per_s, STREAM, ECHO)
RATIO(report_to_echo, calls_per_s, REPORT, ECHO_REPORT)
RATIO(beside_p99_to_route, p99_us, BESIDE, ROUTE)
RATIO(echo_beside_p99_to_echo, p99_us, ECHO_BESIDE, ECHO)
RATIO(paced_beside_p99_to_paced, p99_us, PACED_BESIDE, PACED)
RATIO(job_to_logged, calls_per_s, JOB, LOGGED)
RATIO(job_p99_to_logged, p99_us, JOB, LOGGED)

static double batch_decisions(const struct cell *c, int r)
{
    return BATCH * c->results[r][BATCHES].calls_per_s;
}

static double report_p50_to_commit(const struct cell *c, int r)
{
    return c->results[r][REPORT].p50_us / c->commit_us[r];
}

static double commit(const struct cell *c, int r)
{
    return c->commit_us[r];
}

#define MORE_CPU(name, above, below)                                                               \
    static double name(const struct cell *c, int r)                                                \
    {                                                                                              \
        return c->results[r][above].server_cpu_us - c->results[r][below].server_cpu_us;            \
    }
MORE_CPU(text_cpu_us, ROUTE, READY)
MORE_CPU(pacer_cpu_us, PACER, ROUTE)
MORE_CPU(session_cpu_us, SESSION, ROUTE)
MORE_CPU(both_cpu_us, BOTH, ROUTE)

/* Rows of the summary: which phase must have run, at how many in flight it is asked for. */
static const struct {
    const char *key;
    figure *f;
    enum phase phase;
    int in_flight;
    const char *about;
} rows[] = {
    {"route_to_echo", route_to_echo, ROUTE, 64, "RouteRequest, decision log off / echo"},
    {"route_p99_to_echo", route_p99_to_echo, ROUTE, 64, "... p99"},
    {"route_cpu_to_echo", route_cpu_to_echo, ROUTE, 64, "... server CPU"},
    {"logged_to_echo", logged_to_echo, LOGGED, 64, "RouteRequest, decision log on / echo"},
    {"report_to_echo", report_to_echo, REPORT, 256, "ReportReward, durable / echo"},
    {"report_p50_to_commit", report_p50_to_commit, REPORT, 16, "... p50 / a commit of 16 records"},
    {"commit_16_us", commit, REPORT, 16, "a commit of 16 records of 300 bytes, us"},
    {"stream_to_echo", stream_to_echo, STREAM, 64, "RouteStream / unary echo"},
    {"batch_decisions_per_s", batch_decisions, BATCHES, 64, "RouteBatch of 32, decisions/s"},
    {"beside_p99_to_route", beside_p99_to_route, BESIDE, 64, "RouteRequest beside rewards, p99"},
    {"echo_beside_p99_to_echo", echo_beside_p99_to_echo, ECHO_BESIDE, 64,
     "... an echo beside echoes, p99"},
    {"paced_beside_p99_to_paced", paced_beside_p99_to_paced, PACED_BESIDE, 64,
     "... at a pace that leaves room, p99"},
    {"job_to_logged", job_to_logged, JOB, 64, "RouteRequest beside a job / without"},
    {"job_p99_to_logged", job_p99_to_logged, JOB, 64, "... p99"},
    {"text_cpu_us", text_cpu_us, READY, 64, "a prompt's CPU above ready features, us"},
    {"pacer_cpu_us", pacer_cpu_us, PACER, 64, "a pacer's CPU, us"},
    {"session_cpu_us", session_cpu_us, SESSION, 64, "a session's CPU, us"},
    {"both_cpu_us", both_cpu_us, BOTH, 64, "both, us"},
};
enum { ROWS = sizeof rows / sizeof *rows };

/* TCP where there is a choice, and the nearest number in flight. */
static const struct cell *cell_for(const struct bench *b, int in_flight)
{
    const struct cell *best = &b->cells[0];
    for (int i = 1; i < b->cells_n; i++) {
        const struct cell *c = &b->cells[i];
        if (c->transport == best->transport &&
            abs(c->in_flight - in_flight) < abs(best->in_flight - in_flight))
            best = c;
    }
    return best;
}

/* Half of the rounds lie this much apart, as a share of the middle: what the machine does while
 * nothing of ours changes. */
static double noise_of(const struct bench *b, const struct cell *c)
{
    double v[ROUNDS_MAX];
    int n = b->o.rounds;
    for (int r = 0; r < n; r++)
        v[r] = c->results[r][ECHO].calls_per_s;
    double middle = machine_median(v, (size_t)n); /* Sorts. */
    return (v[(3 * n) / 4 < n ? (3 * n) / 4 : n - 1] - v[n / 4]) / middle;
}

static const char *const phase_names[PHASES] = {
    "echo",           "route",       "logged",  "ready",       "beside_job",  "stream",
    "batch",          "pacer",       "session", "both",        "echo_report", "report",
    "beside_rewards", "echo_beside", "paced",   "paced_beside"};
static const char *const transport_names[TRANSPORTS] = {"tcp", "unix"};

static struct load_result medians(const struct bench *b, const struct cell *c, int p)
{
    struct load_result m;
    double v[7][ROUNDS_MAX];
    size_t n = (size_t)b->o.rounds;
    memset(&m, 0, sizeof m);
    for (size_t r = 0; r < n; r++) {
        const struct load_result *from = &c->results[r][p];
        v[0][r] = from->calls_per_s;
        v[1][r] = from->p50_us;
        v[2][r] = from->p99_us;
        v[3][r] = from->p999_us;
        v[4][r] = from->server_cpu_us;
        v[5][r] = from->client_cpu_us;
        v[6][r] = from->beside_per_s;
    }
    m.calls_per_s = machine_median(v[0], n);
    m.p50_us = machine_median(v[1], n);
    m.p99_us = machine_median(v[2], n);
    m.p999_us = machine_median(v[3], n);
    m.server_cpu_us = machine_median(v[4], n);
    m.client_cpu_us = machine_median(v[5], n);
    m.beside_per_s = machine_median(v[6], n);
    return m;
}

static void print_json_cell(const struct bench *b, const struct cell *c)
{
    (void)printf("{\"transport\":\"%s\",\"in_flight\":%d,\"noise\":%.3f",
                 transport_names[c->transport], c->in_flight, noise_of(b, c));
    for (int i = 0; i < ROWS; i++)
        if (b->wanted[rows[i].phase])
            (void)printf(",\"%s\":%.4g", rows[i].key, median_of(b, c, rows[i].f));
    for (int p = 0; p < PHASES; p++) {
        if (!b->wanted[p])
            continue;
        struct load_result m = medians(b, c, p);
        (void)printf(",\"%s\":{\"calls_per_s\":%.0f,\"p50_us\":%.0f,\"p99_us\":%.0f,"
                     "\"p999_us\":%.0f,\"server_cpu_us\":%.2f,\"client_cpu_us\":%.2f,"
                     "\"beside_per_s\":%.0f}",
                     phase_names[p], m.calls_per_s, m.p50_us, m.p99_us, m.p999_us, m.server_cpu_us,
                     m.client_cpu_us, m.beside_per_s);
    }
    (void)printf("}");
}

static void print_json(const struct bench *b, const char *machine, const double load[2])
{
    (void)printf("{\"machine\":\"%s\",\"load\":[%.2f,%.2f],\"rounds\":%d,\"seconds\":%g,"
                 "\"arms\":%d,\"features\":%d,\"text\":%d,\"classifier\":%s,\"d\":%u,"
                 "\"pinned\":%s,\"even\":%s,\"bytes\":{\"route\":[%zu,%zu],\"report\":[%zu,%zu]}",
                 machine, load[0], load[1], b->o.rounds, b->o.seconds, b->o.arms, b->o.features,
                 b->o.text, b->o.classifier ? "true" : "false", b->d, b->o.pin ? "true" : "false",
                 b->o.even ? "true" : "false", b->route[0].len, b->route_response,
                 b->report_request, b->report_response);
    for (int i = 0; i < ROWS; i++)
        if (b->wanted[rows[i].phase])
            (void)printf(",\"%s\":%.4g", rows[i].key,
                         median_of(b, cell_for(b, rows[i].in_flight), rows[i].f));
    (void)printf(",\"cells\":[");
    for (int i = 0; i < b->cells_n; i++) {
        (void)printf("%s", i ? "," : "");
        print_json_cell(b, &b->cells[i]);
    }
    (void)puts("]}");
}

static void print_cell(const struct bench *b, const struct cell *c)
{
    (void)printf("%s, %d in flight; echo's rounds lie within %.0f %%\n",
                 c->transport == UNIX ? "unix socket" : "TCP on loopback", c->in_flight,
                 100 * noise_of(b, c));
    (void)printf("%-15s %9s %8s %8s %9s %11s %11s %11s\n", "", "calls/s", "p50 us", "p99 us",
                 "p99.9 us", "server CPU", "client CPU", "beside/s");
    for (int p = 0; p < PHASES; p++) {
        if (!b->wanted[p])
            continue;
        struct load_result m = medians(b, c, p);
        (void)printf("%-15s %9.0f %8.0f %8.0f %9.0f %11.2f %11.2f", phase_names[p], m.calls_per_s,
                     m.p50_us, m.p99_us, m.p999_us, m.server_cpu_us, m.client_cpu_us);
        if (m.beside_per_s > 0)
            (void)printf(" %11.0f", m.beside_per_s);
        (void)puts("");
    }
    (void)puts("");
}

static void print_summary(const struct bench *b)
{
    (void)printf("%-42s", "medians of the rounds' ratios");
    for (int i = 0; i < b->cells_n; i++)
        (void)printf(" %s/%-3d", transport_names[b->cells[i].transport], b->cells[i].in_flight);
    (void)puts("");
    for (int r = 0; r < ROWS; r++) {
        if (!b->wanted[rows[r].phase])
            continue;
        (void)printf("%-42s", rows[r].about);
        for (int i = 0; i < b->cells_n; i++) {
            double v = median_of(b, &b->cells[i], rows[r].f);
            int width = b->cells[i].transport == UNIX ? 8 : 7;
            (void)printf(" %*.*f", width, fabs(v) < 100 ? 2 : 0, v);
        }
        (void)puts("");
    }
    if (b->wanted[REPORT])
        (void)puts(
            "the commit: 16 records of 300 bytes by the store alone, in a directory beside the "
            "server's, from the\nclient's core; the median of 15 in a row after the phases of "
            "a round, while nobody calls");
}

void rpc_print(struct bench *b, double load_before)
{
    char machine[256];
    double load[2] = {load_before, 0};
    machine_name(machine, sizeof machine);
    (void)getloadavg(&load[1], 1);
    if (b->o.json) {
        print_json(b, machine, load);
        return;
    }
    (void)printf("%s; load %.2f before, %.2f after, this program's included\n"
                 "%d arms, %d features, d %u, medians of %d rounds of %g s, %s\n"
                 "bytes: route %zu -> %zu, report %zu -> %zu; CPU in us a call\n\n",
                 machine, load[0], load[1], b->o.arms, b->o.features, b->d, b->o.rounds,
                 b->o.seconds, b->o.pin ? "servers on one core, client on another" : "not pinned",
                 b->route[0].len, b->route_response, b->report_request, b->report_response);
    for (int i = 0; i < b->cells_n; i++)
        print_cell(b, &b->cells[i]);
    print_summary(b);
}
