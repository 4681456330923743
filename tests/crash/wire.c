#include "tests/crash/wire.h"

#include "shunt/v1/admin.pb-c.h"
#include "shunt/v1/router.pb-c.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double patience_s = 60; /* A disk under load; no test asserts a time by it. */
const char *const wire_metrics[WIRE_METRICS] = {"reward", "cost_usd"};

/* protobuf-c's fields are not const, but packing reads them only. */
static char *borrow(const char *s)
{
    char *p;
    memcpy(&p, &s, sizeof p);
    return p;
}

static int call(struct call_channel *c, const char *path, const ProtobufCMessage *request,
                const ProtobufCMessageDescriptor *answer, ProtobufCMessage **ret,
                struct call_error *error)
{
    return call_unary(c, path, request, answer, patience_s, ret, error);
}

/* For answers that hold nothing of interest. */
static int call_plain(struct call_channel *c, const char *path, const ProtobufCMessage *request,
                      const ProtobufCMessageDescriptor *answer, struct call_error *error)
{
    ProtobufCMessage *response = NULL;
    int status = call(c, path, request, answer, &response, error);
    if (!status)
        protobuf_c_message_free_unpacked(response, NULL);
    return status;
}

int wire_route(struct call_channel *c, const char *router, const char *text, const char *task,
               struct wire_decision *ret, struct call_error *error)
{
    Shunt__V1__RouteRequest request = SHUNT__V1__ROUTE_REQUEST__INIT;
    ProtobufCMessage *response = NULL;
    request.router = borrow(router);
    request.text = borrow(text);
    request.task = borrow(task);
    int status = call(c, "/shunt.v1.Router/RouteRequest", &request.base,
                      &shunt__v1__route_response__descriptor, &response, error);
    if (status)
        return status;
    const Shunt__V1__RouteResponse *m = (const Shunt__V1__RouteResponse *)response;
    (void)snprintf(ret->id, sizeof ret->id, "%s", m->decision_id);
    (void)snprintf(ret->arm, sizeof ret->arm, "%s", m->arm_id);
    ret->token_len = m->decision_token.len;
    ret->token = malloc(ret->token_len + 1);
    if (!ret->token)
        abort();
    memcpy(ret->token, m->decision_token.data, ret->token_len);
    protobuf_c_message_free_unpacked(response, NULL);
    return 0;
}

int wire_report(struct call_channel *c, const char *id, const uint8_t *token, size_t token_len,
                unsigned mask, const double values[WIRE_METRICS], struct wire_answer *ret,
                struct call_error *error)
{
    Shunt__V1__ReportRewardRequest request = SHUNT__V1__REPORT_REWARD_REQUEST__INIT;
    Shunt__V1__ReportRewardRequest__MetricsEntry entries[WIRE_METRICS], *list[WIRE_METRICS];
    ProtobufCMessage *response = NULL;
    uint8_t sealed[4096];
    for (unsigned m = 0; m < WIRE_METRICS; m++) {
        if (!(mask >> m & 1))
            continue;
        shunt__v1__report_reward_request__metrics_entry__init(&entries[m]);
        entries[m].key = borrow(wire_metrics[m]);
        entries[m].has_value = 1;
        entries[m].value = values[m];
        list[request.n_metrics++] = &entries[m];
    }
    memcpy(sealed, token, token_len);
    request.metrics = list;
    request.decision_id = borrow(id);
    request.has_decision_token = 1;
    request.decision_token = (ProtobufCBinaryData){token_len, sealed};
    int status = call(c, "/shunt.v1.Router/ReportReward", &request.base,
                      &shunt__v1__report_reward_response__descriptor, &response, error);
    if (status)
        return status;
    const Shunt__V1__ReportRewardResponse *m = (const Shunt__V1__ReportRewardResponse *)response;
    *ret = (struct wire_answer){m->duplicate != 0, m->orphaned != 0, 0};
    for (size_t i = 0; i < m->n_counted; i++)
        for (unsigned k = 0; k < WIRE_METRICS; k++)
            if (strcmp(m->counted[i], wire_metrics[k]) == 0)
                ret->counted |= 1u << k;
    protobuf_c_message_free_unpacked(response, NULL);
    return 0;
}

int wire_router_create(struct call_channel *c, const char *name, const char *const *arms,
                       size_t arms_n, struct call_error *error)
{
    Shunt__V1__CreateRouterRequest request = SHUNT__V1__CREATE_ROUTER_REQUEST__INIT;
    Shunt__V1__RouterSpec spec = SHUNT__V1__ROUTER_SPEC__INIT;
    Shunt__V1__RouterSettings settings = SHUNT__V1__ROUTER_SETTINGS__INIT;
    Shunt__V1__ArmSpec specs[WIRE_ARMS_MAX], *list[WIRE_ARMS_MAX];
    for (size_t i = 0; i < arms_n; i++) {
        shunt__v1__arm_spec__init(&specs[i]);
        specs[i].name = borrow(arms[i]);
        list[i] = &specs[i];
    }
    settings.has_explore_floor = 1;
    settings.explore_floor = .4; /* Every arm keeps getting something to lose. */
    spec.name = borrow(name);
    spec.settings = &settings;
    spec.arms = list;
    spec.n_arms = arms_n;
    request.spec = &spec;
    return call_plain(c, "/shunt.v1.Admin/CreateRouter", &request.base,
                      &shunt__v1__router_info__descriptor, error);
}

static void read_arm(const Shunt__V1__ArmInfo *m, struct wire_arm *ret)
{
    memset(ret, 0, sizeof *ret);
    (void)snprintf(ret->name, sizeof ret->name, "%s", m->spec->name);
    ret->version = m->version;
    ret->paused = m->state == SHUNT__V1__ARM_STATE__ARM_PAUSED;
    ret->issued = m->issued;
    ret->answered = m->answered;
    for (size_t i = 0; i < m->n_metrics; i++)
        for (unsigned k = 0; k < WIRE_METRICS; k++)
            if (strcmp(m->metrics[i]->key, wire_metrics[k]) == 0 && m->metrics[i]->value) {
                ret->n[k] = m->metrics[i]->value->n;
                ret->mean[k] = m->metrics[i]->value->mean;
            }
}

int wire_router_get(struct call_channel *c, const char *name, struct wire_router *ret,
                    struct call_error *error)
{
    Shunt__V1__GetRouterRequest request = SHUNT__V1__GET_ROUTER_REQUEST__INIT;
    ProtobufCMessage *response = NULL;
    request.name = borrow(name);
    int status = call(c, "/shunt.v1.Admin/GetRouter", &request.base,
                      &shunt__v1__router_info__descriptor, &response, error);
    if (status)
        return status;
    const Shunt__V1__RouterInfo *m = (const Shunt__V1__RouterInfo *)response;
    memset(ret, 0, sizeof *ret);
    ret->folded = m->outcomes_folded;
    ret->orphaned = m->orphaned;
    ret->requests = m->requests;
    for (size_t i = 0; i < m->n_arms && i < WIRE_ARMS_MAX; i++)
        read_arm(m->arms[i], &ret->arms[ret->arms_n++]);
    for (size_t i = 0; i < m->spec->n_metrics; i++)
        for (unsigned k = 0; k < WIRE_METRICS; k++)
            if (strcmp(m->spec->metrics[i]->name, wire_metrics[k]) == 0)
                ret->weight[k] = m->spec->metrics[i]->weight;
    protobuf_c_message_free_unpacked(response, NULL);
    return 0;
}

int wire_router_weigh(struct call_channel *c, const char *name, double reward_weight,
                      struct call_error *error)
{
    Shunt__V1__UpdateRouterRequest request = SHUNT__V1__UPDATE_ROUTER_REQUEST__INIT;
    Shunt__V1__UpdateRouterRequest__WeightsEntry entry =
        SHUNT__V1__UPDATE_ROUTER_REQUEST__WEIGHTS_ENTRY__INIT;
    Shunt__V1__UpdateRouterRequest__WeightsEntry *list[1] = {&entry};
    entry.key = borrow(wire_metrics[0]);
    entry.has_value = 1;
    entry.value = reward_weight;
    request.name = borrow(name);
    request.weights = list;
    request.n_weights = 1;
    return call_plain(c, "/shunt.v1.Admin/UpdateRouter", &request.base,
                      &shunt__v1__router_info__descriptor, error);
}

int wire_arm_add(struct call_channel *c, const char *router, const char *name,
                 unsigned *ret_version, struct call_error *error)
{
    Shunt__V1__AddArmRequest request = SHUNT__V1__ADD_ARM_REQUEST__INIT;
    Shunt__V1__ArmSpec spec = SHUNT__V1__ARM_SPEC__INIT;
    ProtobufCMessage *response = NULL;
    spec.name = borrow(name);
    request.router = borrow(router);
    request.spec = &spec;
    int status = call(c, "/shunt.v1.Admin/AddArm", &request.base, &shunt__v1__arm_info__descriptor,
                      &response, error);
    if (status)
        return status;
    *ret_version = ((const Shunt__V1__ArmInfo *)response)->version;
    protobuf_c_message_free_unpacked(response, NULL);
    return 0;
}

int wire_arm_remove(struct call_channel *c, const char *router, const char *name,
                    struct call_error *error)
{
    Shunt__V1__RemoveArmRequest request = SHUNT__V1__REMOVE_ARM_REQUEST__INIT;
    request.router = borrow(router);
    request.name = borrow(name);
    return call_plain(c, "/shunt.v1.Admin/RemoveArm", &request.base,
                      &shunt__v1__remove_arm_response__descriptor, error);
}

int wire_arm_pause(struct call_channel *c, const char *router, const char *name, bool paused,
                   struct call_error *error)
{
    Shunt__V1__SetArmStateRequest request = SHUNT__V1__SET_ARM_STATE_REQUEST__INIT;
    request.router = borrow(router);
    request.name = borrow(name);
    request.state = paused ? SHUNT__V1__ARM_STATE__ARM_PAUSED : SHUNT__V1__ARM_STATE__ARM_ACTIVE;
    return call_plain(c, "/shunt.v1.Admin/SetArmState", &request.base,
                      &shunt__v1__arm_info__descriptor, error);
}

int wire_checkpoint(struct call_channel *c, uint64_t *ret_position, struct call_error *error)
{
    Shunt__V1__CheckpointRequest request = SHUNT__V1__CHECKPOINT_REQUEST__INIT;
    ProtobufCMessage *response = NULL;
    int status = call(c, "/shunt.v1.Admin/Checkpoint", &request.base,
                      &shunt__v1__checkpoint_response__descriptor, &response, error);
    if (status)
        return status;
    *ret_position = ((const Shunt__V1__CheckpointResponse *)response)->position;
    protobuf_c_message_free_unpacked(response, NULL);
    return 0;
}

int wire_keys_rotate(struct call_channel *c, struct call_error *error)
{
    Shunt__V1__RotateKeysRequest request = SHUNT__V1__ROTATE_KEYS_REQUEST__INIT;
    return call_plain(c, "/shunt.v1.Admin/RotateKeys", &request.base,
                      &shunt__v1__rotate_keys_response__descriptor, error);
}

int wire_backup(struct call_channel *c, const char *path, struct call_error *error)
{
    Shunt__V1__BackupRequest request = SHUNT__V1__BACKUP_REQUEST__INIT;
    request.path = borrow(path);
    return call_plain(c, "/shunt.v1.Admin/Backup", &request.base,
                      &shunt__v1__backup_response__descriptor, error);
}
