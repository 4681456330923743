#include "tests/unit/client/router_double.h"

#include <stdio.h>
#include <string.h>

static void answer_route(struct router_double *d, const uint8_t *request, size_t len,
                         struct fake_answer *ret)
{
    char arm[] = "large", id[] = DOUBLE_ID;
    uint8_t token[] = {1, 0, 255};
    if (d->last_route)
        shunt__v1__route_request__free_unpacked(d->last_route, NULL);
    d->last_route = shunt__v1__route_request__unpack(NULL, len, request);
    Shunt__V1__RouteResponse m = SHUNT__V1__ROUTE_RESPONSE__INIT;
    m.arm_id = arm;
    m.decision_id = id;
    m.has_decision_token = 1;
    m.decision_token = (ProtobufCBinaryData){sizeof token, token};
    m.has_propensity = m.has_reason = m.has_position = m.has_version = 1;
    m.propensity = 0.25;
    m.reason = SHUNT__V1__REASON__REASON_EXPLORE;
    m.position = 42;
    m.version = 3;
    m.adapter = d->adapter;
    ret->len = shunt__v1__route_response__pack(&m, ret->bytes);
    atomic_fetch_add(&d->routes, 1);
}

static void answer_report(struct router_double *d, const uint8_t *request, size_t len,
                          struct fake_answer *ret)
{
    if (d->last_report)
        shunt__v1__report_reward_request__free_unpacked(d->last_report, NULL);
    d->last_report = shunt__v1__report_reward_request__unpack(NULL, len, request);
    Shunt__V1__ReportRewardResponse m = SHUNT__V1__REPORT_REWARD_RESPONSE__INIT;
    m.has_position = m.has_duplicate = 1;
    m.position = 7;
    m.duplicate = atomic_load(&d->reports) > 0;
    ret->len = shunt__v1__report_reward_response__pack(&m, ret->bytes);
    atomic_fetch_add(&d->reports, 1);
}

static void answer(void *context, const char *path, const uint8_t *request, size_t len,
                   struct fake_answer *ret)
{
    struct router_double *d = context;
    int status = atomic_load(&d->status);
    if (status != 0)
        *ret = (struct fake_answer){.status = status,
                                    .code = atomic_load(&d->codeless) ? NULL : "TEST_CODE"};
    else if (strcmp(path, "/shunt.v1.Router/RouteRequest") == 0)
        answer_route(d, request, len, ret);
    else if (strcmp(path, "/shunt.v1.Router/ReportReward") == 0)
        answer_report(d, request, len, ret);
    else
        ret->status = 12;
}

void router_double_start(struct router_double *d, int port)
{
    memset(d, 0, sizeof *d);
    d->server = fake_server_start(port, answer, d);
    (void)snprintf(d->address, sizeof d->address, "127.0.0.1:%d", fake_server_port(d->server));
}

void router_double_stop(struct router_double *d)
{
    fake_server_stop(d->server);
    if (d->last_route)
        shunt__v1__route_request__free_unpacked(d->last_route, NULL);
    if (d->last_report)
        shunt__v1__report_reward_request__free_unpacked(d->last_report, NULL);
}
