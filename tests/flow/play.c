#include "tests/flow/play.h"

#include "tests/unit/cmocka_all.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(int status, const struct call_error *error)
{
    if (status)
        fail_msg("%s %s: %s", call_status_name(status), error->code, error->message);
}

void played_connect(struct played *p)
{
    p->router = call_open(p->server.router);
    p->admin = call_open(p->server.admin);
}

void played_leave(struct played *p)
{
    call_close(p->router);
    call_close(p->admin);
}

int played_setup(void **state)
{
    struct played *p = calloc(1, sizeof *p);
    if (!p)
        return -1;
    server_init(&p->server);
    if (!server_start(&p->server))
        return -1;
    played_connect(p);
    *state = p;
    return 0;
}

int played_teardown(void **state)
{
    struct played *p = *state;
    played_leave(p);
    int status = server_stop(&p->server, SIGTERM);
    server_free(&p->server);
    free(p);
    return status;
}

ProtobufCMessage *played_admin(struct played *p, const char *method, ProtobufCMessage *request,
                               const ProtobufCMessageDescriptor *response, int expected)
{
    char path[128];
    ProtobufCMessage *answer = NULL;
    struct call_error error = {0};
    (void)snprintf(path, sizeof path, "/shunt.v1.Admin/%s", method);
    int status = call_unary(p->admin, path, request, response, 20, &answer, &error);
    if (status != expected)
        fail_msg("%s: %d %s %s", method, status, error.code, error.message);
    return answer;
}

void play_router(struct call_channel *admin, const char *name)
{
    char router[80], a[] = "a", b[] = "b";
    (void)snprintf(router, sizeof router, "%s", name);
    Shunt__V1__ArmSpec arms[2] = {SHUNT__V1__ARM_SPEC__INIT, SHUNT__V1__ARM_SPEC__INIT};
    Shunt__V1__ArmSpec *list[2] = {&arms[0], &arms[1]};
    Shunt__V1__RouterSpec spec = SHUNT__V1__ROUTER_SPEC__INIT;
    Shunt__V1__CreateRouterRequest request = SHUNT__V1__CREATE_ROUTER_REQUEST__INIT;
    arms[0].name = a;
    arms[1].name = b;
    spec.name = router;
    spec.has_task_slots = spec.has_scalars = spec.has_text_block = spec.has_features_n = 1;
    spec.features_n = 2;
    spec.arms = list;
    spec.n_arms = 2;
    request.spec = &spec;
    ProtobufCMessage *response = NULL;
    struct call_error error;
    must(call_unary(admin, "/shunt.v1.Admin/CreateRouter", &request.base,
                    &shunt__v1__router_info__descriptor, 20, &response, &error),
         &error);
    protobuf_c_message_free_unpacked(response, NULL);
}

void play_adapter(struct play_adapter *a, const char *name, uint64_t bytes)
{
    shunt__v1__arm_spec__init(&a->spec);
    shunt__v1__adapter__init(&a->adapter);
    (void)snprintf(a->name, sizeof a->name, "%s", name);
    (void)snprintf(a->path, sizeof a->path, "/models/%s", name);
    (void)snprintf(a->base, sizeof a->base, "base");
    a->spec.name = a->name;
    a->spec.adapter = &a->adapter;
    a->adapter.base_model = a->base;
    a->adapter.path = a->path;
    a->adapter.size_bytes = bytes;
}

int played_flow_setup(void **state)
{
    if (played_setup(state) != 0)
        return -1;
    play_router(((struct played *)*state)->admin, "flow");
    return 0;
}

static void route(struct call_channel *router, const char *name, bool ahead,
                  struct decision_kept *ret)
{
    char text[80];
    (void)snprintf(text, sizeof text, "%s", name);
    Shunt__V1__RouteRequest request = SHUNT__V1__ROUTE_REQUEST__INIT;
    float features[2] = {.5F, -.5F};
    request.router = text;
    request.features = features;
    request.n_features = 2;
    request.has_defer_activation = request.defer_activation = ahead;
    ProtobufCMessage *response = NULL;
    struct call_error error;
    must(call_unary(router, "/shunt.v1.Router/RouteRequest", &request.base,
                    &shunt__v1__route_response__descriptor, 20, &response, &error),
         &error);
    const Shunt__V1__RouteResponse *m = (const Shunt__V1__RouteResponse *)response;
    assert_non_null(m->decision_id);
    assert_true(m->decision_token.len > 0 && m->decision_token.len <= sizeof ret->token);
    (void)snprintf(ret->id, sizeof ret->id, "%s", m->decision_id);
    (void)snprintf(ret->arm, sizeof ret->arm, "%s", m->arm_id);
    memcpy(ret->token, m->decision_token.data, m->decision_token.len);
    ret->token_len = m->decision_token.len;
    protobuf_c_message_free_unpacked(response, NULL);
}

void play_route(struct call_channel *router, const char *name, struct decision_kept *ret)
{
    route(router, name, false, ret);
}

void play_route_ahead(struct call_channel *router, const char *name, struct decision_kept *ret)
{
    route(router, name, true, ret);
}

int play_report(struct call_channel *router, const struct decision_kept *d, const char *metric,
                double value, struct report_seen *ret, struct call_error *error)
{
    return play_report_as(router, d, NULL, metric, value, ret, error);
}

int play_report_as(struct call_channel *router, const struct decision_kept *d, const char *source,
                   const char *metric, double value, struct report_seen *ret,
                   struct call_error *error)
{
    struct decision_kept copy = *d;
    char name[80], from[80];
    (void)snprintf(name, sizeof name, "%s", metric);
    (void)snprintf(from, sizeof from, "%s", source ? source : "");
    Shunt__V1__ReportRewardRequest__MetricsEntry entry =
        SHUNT__V1__REPORT_REWARD_REQUEST__METRICS_ENTRY__INIT;
    Shunt__V1__ReportRewardRequest__MetricsEntry *list[1] = {&entry};
    Shunt__V1__ReportRewardRequest request = SHUNT__V1__REPORT_REWARD_REQUEST__INIT;
    entry.key = name;
    entry.has_value = 1;
    entry.value = value;
    request.metrics = list;
    request.n_metrics = 1;
    request.source = source ? from : NULL;
    request.decision_id = copy.id[0] ? copy.id : NULL;
    request.has_decision_token = copy.token_len > 0;
    request.decision_token = (ProtobufCBinaryData){copy.token_len, copy.token};
    ProtobufCMessage *response = NULL;
    int status = call_unary(router, "/shunt.v1.Router/ReportReward", &request.base,
                            &shunt__v1__report_reward_response__descriptor, 20, &response, error);
    if (status)
        return status;
    const Shunt__V1__ReportRewardResponse *m = (const Shunt__V1__ReportRewardResponse *)response;
    ret->duplicate = m->duplicate;
    ret->counted_n = m->n_counted;
    protobuf_c_message_free_unpacked(response, NULL);
    return 0;
}
