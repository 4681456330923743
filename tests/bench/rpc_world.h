/* rpc_world.h - what shunt-bench rpc measures: a shuntd and two echo servers (TCP, unix socket),
 * the routers of every phase, and the messages packed beforehand. Private to rpc*.c. Owns:
 * processes, channels, messages; rpc_world_close. Threads: one. */
#pragma once

#include "tests/bench/load.h"
#include "tests/flow/server.h"

enum {
    ROUNDS_MAX = 100,
    CELLS_MAX = 16,
    KEPT_MAX = 200000,
    KEPT_CAP = 1024,
    FEATURES_MAX = 512,
    PROMPTS = 64,
    BATCH = 32,
    BATCH_MESSAGES = 16, /* Each of other contexts. */
    SESSIONS = 2000,
};

enum transport { TCP, UNIX, TRANSPORTS };

/* What is measured, in the order of a round. */
enum phase {
    ECHO,         /* Route's sizes. */
    ROUTE,        /* RouteRequest, decision log off. */
    LOGGED,       /* ... on. */
    READY,        /* With --text: as many ready features as a prompt's context has. */
    JOB,          /* With --job: beside a job that reads the decision log. */
    STREAM,       /* RouteStream, log off. */
    BATCHES,      /* RouteBatch of BATCH, log off; a call is a batch. */
    PACER,        /* With --budgets: a budget of the router's, */
    SESSION,      /* sessions, */
    BOTH,         /* both. */
    ECHO_REPORT,  /* Report's sizes. */
    REPORT,       /* ReportReward, durable. */
    BESIDE,       /* RouteRequest while 64 reports are in flight, too, and */
    ECHO_BESIDE,  /* the same of bare echoes: what sharing a core does by itself. */
    PACED,        /* RouteRequest at --pace calls a second, and */
    PACED_BESIDE, /* the same while as many reports arrive. */
    PHASES
};

struct options {
    int rounds, arms, features;
    int threads; /* Of shuntd's data plane. */
    int in_flight[4], in_flight_n;
    bool transports[TRANSPORTS];
    int text;               /* Characters of prompt in each request; 0: ready features alone. */
    const char *classifier; /* A file of examples; NULL: no classifier. */
    double seconds;
    double pace;        /* Calls a second. */
    uint64_t dedup_max; /* Of the routers; 0: the default. */
    bool pin, json, job, budgets;
    bool even; /* Echo has the one setting of the process that shuntd has. */
};

struct kept {
    uint32_t len;
    uint8_t bytes[KEPT_CAP]; /* A RouteResponse, later the ReportRewardRequest about it. */
};

struct cell {
    enum transport transport;
    int in_flight;
    struct load_result results[ROUNDS_MAX][PHASES];
    double commit_us[ROUNDS_MAX]; /* Median of commits of 16 records. */
};

struct bench {
    struct options o;
    bool wanted[PHASES];
    struct server shuntd;
    pid_t echo[TRANSPORTS];
    grpc_channel *to_echo[TRANSPORTS], *to_shuntd[TRANSPORTS];
    grpc_channel *beside_echo[TRANSPORTS], *beside_shuntd[TRANSPORTS];
    struct store *store; /* Of the commits. */
    struct load_message route[PROMPTS], logged[PROMPTS], ready, stream;
    struct load_message batch[BATCH_MESSAGES];
    struct load_message pacer, session[SESSIONS], both[SESSIONS];
    uint32_t d;     /* Of the router's context. */
    char *examples; /* The classifier's file. */
    uint8_t *blank; /* What echo is asked with. */
    size_t route_response, report_request, report_response;
    struct kept *kept;
    size_t kept_n, packed_n, reported_n;
    struct cell cells[CELLS_MAX];
    int cells_n;
};

/* Says what, and ends the program. */
_Noreturn void rpc_die(const char *what);
void rpc_world_open(struct bench *b);
void rpc_world_close(struct bench *b);
/* Makes reports of the decisions that were kept since. */
void rpc_pack_reports(struct bench *b);

/* rpc_phases.c: all phases once, in every cell; `round` is where results go. */
void rpc_warm_up(struct bench *b);
void rpc_round(struct bench *b, int round);

/* rpc_job.c: jobs that read the decision log, as many as may wait. */
enum { JOBS = 8 };
void rpc_jobs_start(struct bench *b, uint64_t ids[JOBS]);
/* They must still be running: else what was measured beside them is of nothing. */
void rpc_jobs_end(struct bench *b, const uint64_t ids[JOBS]);

/* rpc_print.c */
void rpc_print(struct bench *b, double load_before);
