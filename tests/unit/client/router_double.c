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

/* What a report is refused with; NULL: it is taken. */
static const char *refusal(struct router_double *d, const Shunt__V1__ReportRewardRequest *m,
                           int *ret_status)
{
    const int permission_denied = 7, resource_exhausted = 8;
    bool choosy = atomic_load(&d->choosy) && m->source;
    if (choosy && strcmp(m->source, "refused") == 0) {
        *ret_status = permission_denied;
        return "SOURCE_REFUSED";
    }
    if (choosy && strcmp(m->source, "capped") == 0) {
        *ret_status = resource_exhausted;
        return "SOURCE_CAP";
    }
    return NULL;
}

static void response_init(struct router_double *d, Shunt__V1__ReportRewardResponse *m)
{
    shunt__v1__report_reward_response__init(m);
    m->has_position = m->has_duplicate = 1;
    m->position = 7;
    m->duplicate = atomic_fetch_add(&d->reports, 1) > 0;
}

static void answer_report(struct router_double *d, const uint8_t *request, size_t len,
                          struct fake_answer *ret)
{
    if (d->last_report)
        shunt__v1__report_reward_request__free_unpacked(d->last_report, NULL);
    d->last_report = shunt__v1__report_reward_request__unpack(NULL, len, request);
    Shunt__V1__ReportRewardResponse m;
    ret->code = refusal(d, d->last_report, &ret->status);
    if (ret->code)
        return;
    response_init(d, &m);
    ret->len = shunt__v1__report_reward_response__pack(&m, ret->bytes);
}

static void answer_batch(struct router_double *d, const uint8_t *request, size_t len,
                         struct fake_answer *ret)
{
    static Shunt__V1__ReportRewardResponse response[1000];
    static Shunt__V1__ReportRewardResult result[1000], *list[1000];
    if (d->last_batch)
        shunt__v1__report_rewards_request__free_unpacked(d->last_batch, NULL);
    d->last_batch = shunt__v1__report_rewards_request__unpack(NULL, len, request);
    Shunt__V1__ReportRewardsResponse m = SHUNT__V1__REPORT_REWARDS_RESPONSE__INIT;
    m.results = list;
    m.n_results = d->last_batch->n_reports;
    for (size_t i = 0; i < m.n_results; i++) {
        list[i] = &result[i];
        shunt__v1__report_reward_result__init(list[i]);
        list[i]->code = (char *)(uintptr_t)refusal(d, d->last_batch->reports[i], &result[i].status);
        list[i]->has_status = list[i]->code != NULL;
        if (list[i]->code)
            continue;
        response_init(d, &response[i]);
        list[i]->response = &response[i];
    }
    if ((int)m.n_results > atomic_load(&d->largest_batch))
        atomic_store(&d->largest_batch, (int)m.n_results);
    atomic_fetch_add(&d->batches, 1);
    ret->len = shunt__v1__report_rewards_response__pack(&m, ret->bytes);
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
    else if (strcmp(path, "/shunt.v1.Router/ReportRewards") == 0 && !atomic_load(&d->no_batches))
        answer_batch(d, request, len, ret);
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
    if (d->last_batch)
        shunt__v1__report_rewards_request__free_unpacked(d->last_batch, NULL);
}
