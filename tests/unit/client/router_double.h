/* router_double.h - a Router service for tests, on fake_server: it answers well unless told not to,
 * and keeps what it was asked.
 * Threads: the fields are set before, and read after, the calls that they concern. */
#pragma once

#include "client/shunt.h"
#include "shunt/v1/router.pb-c.h"
#include "tests/unit/client/fake_server.h"

#include <stdatomic.h>
#include <stdbool.h>

struct router_double {
    struct fake_server *server;
    atomic_int status;    /* 0: answer well; FAKE_HANG; or gRPC's number, with code TEST_CODE. */
    atomic_bool codeless; /* A refusal has no code: gRPC's own, not the server's. */
    atomic_int routes, reports, batches; /* reports: also those of ReportRewards. */
    atomic_int largest_batch;
    atomic_bool no_batches; /* ReportRewards is refused as a whole. */
    /* In a batch, and alone, a report whose source is "refused" or "capped" is so while this is
     * true. */
    atomic_bool choosy;
    Shunt__V1__AdapterUse *adapter; /* Of every answer; NULL: none. The test's. */
    char address[32];
    Shunt__V1__RouteRequest *last_route; /* Owned. */
    Shunt__V1__ReportRewardRequest *last_report;
    Shunt__V1__ReportRewardsRequest *last_batch;
};

#define DOUBLE_ID "0190163d-8694-739b-aea5-966c26f8ad91"

/* port 0: a free one. */
void router_double_start(struct router_double *d, int port);
void router_double_stop(struct router_double *d);
