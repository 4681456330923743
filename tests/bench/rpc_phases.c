#include "server/rpc/wire.h"
#include "state/store/store.h"
#include "tests/bench/echo.h"
#include "tests/bench/machine.h"
#include "tests/bench/meter.h"
#include "tests/bench/rpc_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- What is asked ---- */

static bool next_route(void *ctx, uint64_t i, struct load_message *ret)
{
    *ret = ((struct bench *)ctx)->route[i % PROMPTS];
    return true;
}

static bool next_logged(void *ctx, uint64_t i, struct load_message *ret)
{
    *ret = ((struct bench *)ctx)->logged[i % PROMPTS];
    return true;
}

static bool next_ready(void *ctx, uint64_t i, struct load_message *ret)
{
    (void)i;
    *ret = ((struct bench *)ctx)->ready;
    return true;
}

static bool next_stream(void *ctx, uint64_t i, struct load_message *ret)
{
    (void)i;
    *ret = ((struct bench *)ctx)->stream;
    return true;
}

static bool next_batch(void *ctx, uint64_t i, struct load_message *ret)
{
    *ret = ((struct bench *)ctx)->batch[i % BATCH_MESSAGES];
    return true;
}

static bool next_pacer(void *ctx, uint64_t i, struct load_message *ret)
{
    (void)i;
    *ret = ((struct bench *)ctx)->pacer;
    return true;
}

/* Sessions in an order without a pattern: 1,597 has no factor in common with their number. */
static bool next_session(void *ctx, uint64_t i, struct load_message *ret)
{
    *ret = ((struct bench *)ctx)->session[i * 1597 % SESSIONS];
    return true;
}

static bool next_both(void *ctx, uint64_t i, struct load_message *ret)
{
    *ret = ((struct bench *)ctx)->both[i * 1597 % SESSIONS];
    return true;
}

static bool next_report(void *ctx, uint64_t i, struct load_message *ret)
{
    struct bench *b = ctx;
    (void)i;
    if (b->reported_n >= b->packed_n)
        return false;
    const struct kept *k = &b->kept[b->reported_n++];
    *ret = (struct load_message){k->bytes, k->len};
    return true;
}

/* A decision to be reported, packed while nobody measures. */
static void keep_decision(void *ctx, uint64_t i, const uint8_t *bytes, size_t len)
{
    struct bench *b = ctx;
    (void)i;
    b->route_response = len;
    if (b->kept_n == KEPT_MAX)
        return;
    struct kept *k = &b->kept[b->kept_n];
    if (len > sizeof k->bytes)
        return;
    k->len = (uint32_t)len; /* The response itself for now: unpacking here would slow the load. */
    memcpy(k->bytes, bytes, len);
    b->kept_n++;
}

static void see_report(void *ctx, uint64_t i, const uint8_t *bytes, size_t len)
{
    (void)i;
    (void)bytes;
    ((struct bench *)ctx)->report_response = len;
}

static bool is_decision(struct slice result)
{
    enum { RESPONSE = 1, ID = 1, TOKEN = 2, ARM = 3 };
    struct wire_field f;
    uint32_t seen = 0;
    if (!wire_next(&result, &f) || f.number != RESPONSE || f.type != WIRE_BYTES || result.len)
        return false;
    struct slice response = f.bytes;
    while (wire_next(&response, &f))
        if (f.number <= ARM && f.type == WIRE_BYTES && f.bytes.len)
            seen |= 1U << f.number;
    return response.len == 0 && seen == (1U << ID | 1U << TOKEN | 1U << ARM);
}

/* Every answer is read, as a caller would. */
static void see_batch(void *ctx, uint64_t i, const uint8_t *bytes, size_t len)
{
    (void)ctx;
    (void)i;
    struct slice body = {bytes, len};
    struct wire_field f;
    int decisions = 0;
    while (wire_next(&body, &f))
        decisions += f.number == 1 && f.type == WIRE_BYTES && is_decision(f.bytes);
    if (body.len || decisions != BATCH)
        rpc_die("a batch was answered with something else than its decisions");
}

struct echo_sizes {
    const uint8_t *blank; /* Begins with how long the answer is to be. */
    size_t request;
};

static bool next_echo(void *ctx, uint64_t i, struct load_message *ret)
{
    const struct echo_sizes *s = ctx;
    (void)i;
    *ret = (struct load_message){s->blank, s->request};
    return true;
}

/* ---- One phase ---- */

static void check(const struct load_result *r)
{
    if (!r->errors)
        return;
    (void)fprintf(stderr, "shunt-bench: %llu errors, the first: %s\n",
                  (unsigned long long)r->errors, r->first_error);
    exit(EXIT_FAILURE);
}

static struct load echo_load(const struct bench *b, const struct cell *c,
                             const struct echo_sizes *sizes)
{
    return (struct load){.channel = b->to_echo[c->transport],
                         .path = ECHO_PATH,
                         .in_flight = (uint32_t)c->in_flight,
                         .seconds = b->o.seconds,
                         .request = next_echo,
                         .ctx = (void *)(uintptr_t)sizes,
                         .server = b->echo[c->transport]};
}

static void run_echo(struct bench *b, const struct cell *c, enum phase p, struct load_result *ret)
{
    bool report = p == ECHO_REPORT;
    struct echo_sizes sizes = {b->blank, report ? b->report_request : b->route[0].len};
    uint32_t wanted = (uint32_t)(report ? b->report_response : b->route_response);
    memcpy(b->blank, &wanted, sizeof wanted);
    struct load l = echo_load(b, c, &sizes);
    load_run(&l, ret);
    check(ret);
}

#define ROUTE_PATH "/shunt.v1.Router/RouteRequest"
#define REPORT_PATH "/shunt.v1.Router/ReportReward"

static struct load shuntd_load(struct bench *b, const struct cell *c, enum phase p)
{
    static const struct {
        const char *path;
        bool (*next)(void *, uint64_t, struct load_message *);
        void (*see)(void *, uint64_t, const uint8_t *, size_t);
    } rows[PHASES] = {
        [ROUTE] = {ROUTE_PATH, next_route, keep_decision},
        [LOGGED] = {ROUTE_PATH, next_logged, keep_decision},
        [READY] = {ROUTE_PATH, next_ready, NULL},
        [JOB] = {ROUTE_PATH, next_logged, NULL},
        [STREAM] = {"/shunt.v1.Router/RouteStream", next_stream, NULL},
        [BATCHES] = {"/shunt.v1.Router/RouteBatch", next_batch, see_batch},
        [PACER] = {ROUTE_PATH, next_pacer, NULL},
        [SESSION] = {ROUTE_PATH, next_session, NULL},
        [BOTH] = {ROUTE_PATH, next_both, NULL},
        [REPORT] = {REPORT_PATH, next_report, see_report},
        [BESIDE] = {ROUTE_PATH, next_route, NULL},
        [PACED] = {ROUTE_PATH, next_route, NULL},
        [PACED_BESIDE] = {ROUTE_PATH, next_route, NULL},
    };
    return (struct load){.channel = b->to_shuntd[c->transport],
                         .path = rows[p].path,
                         .in_flight = (uint32_t)c->in_flight,
                         .rate = p == PACED || p == PACED_BESIDE ? b->o.pace : 0,
                         .seconds = b->o.seconds,
                         .request = rows[p].next,
                         .response = rows[p].see,
                         .ctx = b,
                         .server = b->shuntd.pid};
}

static void run_shuntd(struct bench *b, const struct cell *c, enum phase p, struct load_result *ret)
{
    struct load l = shuntd_load(b, c, p);
    if (p ==
        BATCHES) /* As many decisions as half of the calls would be, and two batches at least. */
        l.in_flight = l.in_flight / (BATCH / 2) > 2 ? l.in_flight / (BATCH / 2) : 2;
    if (p == STREAM)
        load_stream_run(&l, ret);
    else
        load_run(&l, ret);
    check(ret);
}

/* ---- Beside others ---- */

enum { REPORTS_BESIDE = 64, REPORTS_A_SECOND_MAX = 40000 };

/* Decisions enough to be reported for a whole phase: few in flight have not made as many. */
static void decide_enough(struct bench *b, const struct cell *c)
{
    struct load_result ignored;
    struct load l = shuntd_load(b, c, ROUTE);
    l.in_flight = REPORTS_BESIDE;
    while (b->packed_n - b->reported_n < (size_t)(REPORTS_A_SECOND_MAX * b->o.seconds) &&
           b->kept_n < KEPT_MAX) {
        load_run(&l, &ignored);
        check(&ignored);
        rpc_pack_reports(b);
    }
}

/* Rewards on a connection of their own: at the pace of the routes, or 64 in flight. */
static void run_beside(struct bench *b, const struct cell *c, enum phase p, struct load_result *ret)
{
    struct load loads[] = {shuntd_load(b, c, p), shuntd_load(b, c, REPORT)};
    struct load_result results[2];
    loads[1].channel = b->beside_shuntd[c->transport];
    loads[1].in_flight = loads[0].rate > 0 ? loads[0].in_flight : REPORTS_BESIDE;
    loads[1].rate = loads[0].rate;
    decide_enough(b, c);
    load_run_all(loads, 2, results);
    check(&results[0]);
    check(&results[1]);
    *ret = results[0];
    ret->beside_per_s = results[1].calls_per_s;
}

static void run_echo_beside(struct bench *b, const struct cell *c, struct load_result *ret)
{
    static uint8_t report[KEPT_CAP];
    const struct echo_sizes sizes[] = {{b->blank, b->route[0].len}, {report, b->report_request}};
    struct load loads[] = {echo_load(b, c, &sizes[0]), echo_load(b, c, &sizes[1])};
    struct load_result results[2];
    uint32_t wanted = (uint32_t)b->route_response, wanted_report = (uint32_t)b->report_response;
    memcpy(b->blank, &wanted, sizeof wanted);
    memcpy(report, &wanted_report, sizeof wanted_report);
    loads[1].channel = b->beside_echo[c->transport];
    loads[1].in_flight = REPORTS_BESIDE;
    load_run_all(loads, 2, results);
    check(&results[0]);
    check(&results[1]);
    *ret = results[0];
    ret->beside_per_s = results[1].calls_per_s;
}

static void run_job(struct bench *b, const struct cell *c, struct load_result *ret)
{
    uint64_t ids[JOBS];
    rpc_jobs_start(b, ids);
    run_shuntd(b, c, JOB, ret);
    rpc_jobs_end(b, ids);
}

/* Median microseconds of a commit of 16 records of 300 bytes, by the store itself, on this disk:
 * what an acknowledgement is held against. */
static double commit_us(struct bench *b)
{
    enum { COMMITS = 15, RECORDS = 16, BYTES = 300 };
    static const uint8_t zeros[BYTES];
    struct slice records[RECORDS];
    double us[COMMITS];
    for (int i = 0; i < RECORDS; i++)
        records[i] = (struct slice){zeros, BYTES};
    for (int i = 0; i < COMMITS; i++) {
        struct err_detail detail = {""};
        uint64_t last;
        int64_t began = meter_now_ns();
        if (store_append(b->store, records, RECORDS, &last, &detail) != OK)
            rpc_die(detail.text);
        us[i] = (double)(meter_now_ns() - began) * 1e-3;
    }
    return machine_median(us, COMMITS);
}

/* ---- A round ---- */

static void run_cell(struct bench *b, struct cell *c, int round)
{
    struct load_result *results = c->results[round];
    b->kept_n = b->packed_n = b->reported_n = 0;
    for (int p = 0; p < PHASES; p++) {
        if (!b->wanted[p])
            continue;
        if (p == ECHO_REPORT)
            rpc_pack_reports(b);
        if (p == ECHO || p == ECHO_REPORT)
            run_echo(b, c, (enum phase)p, &results[p]);
        else if (p == JOB)
            run_job(b, c, &results[p]);
        else if (p == BESIDE || p == PACED_BESIDE)
            run_beside(b, c, (enum phase)p, &results[p]);
        else if (p == ECHO_BESIDE)
            run_echo_beside(b, c, &results[p]);
        else
            run_shuntd(b, c, (enum phase)p, &results[p]);
    }
    c->commit_us[round] = commit_us(b);
}

void rpc_round(struct bench *b, int round)
{
    for (int i = 0; i < b->cells_n; i++)
        run_cell(b, &b->cells[i], round);
}

/* Learns the sizes, warms all servers, leaves the newcomers' phase of the routers behind. */
void rpc_warm_up(struct bench *b)
{
    static struct cell cells[TRANSPORTS];
    double seconds = b->o.seconds;
    b->o.seconds = .3;
    for (int t = 0; t < TRANSPORTS; t++) {
        struct load_result ignored;
        cells[t].transport = (enum transport)t;
        cells[t].in_flight = 16;
        if (!b->o.transports[t])
            continue;
        run_shuntd(b, &cells[t], ROUTE, &ignored);
        rpc_pack_reports(b);
        run_shuntd(b, &cells[t], REPORT, &ignored);
        for (int p = 0; p < PHASES; p++)
            if (b->wanted[p] && p != ROUTE && p != REPORT && p != JOB && p != ECHO &&
                p != ECHO_REPORT && p < BESIDE)
                run_shuntd(b, &cells[t], (enum phase)p, &ignored);
        run_echo(b, &cells[t], ECHO, &ignored);
        run_echo(b, &cells[t], ECHO_REPORT, &ignored);
    }
    b->o.seconds = seconds;
}
