#include "client/ctl/replay_router.h"

#include "client/ctl/command.h"
#include "proto/form/field.h"
#include "shunt/v1/admin.pb-c.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TASK_SLOTS_MAX 64U
#define SERVED_MAX 1e12
#define ROUTER_TIMEOUT_S 30.0

typedef Shunt__V1__RouterSpec spec_t;

static enum ctl_exit set(spec_t *spec, const char *path, const char *value)
{
    struct form_error error;
    if (form_set_field(&spec->base, path, value, &error) == FORM_OK)
        return CTL_OK;
    return ctl_fail(CTL_REFUSED, "%s", error.text);
}

static enum ctl_exit set_number(spec_t *spec, const char *path, double value)
{
    char text[32];
    snprintf(text, sizeof text, "%.17g", value);
    return set(spec, path, text);
}

/* One row of the metric table, by its name. */
static enum ctl_exit metric_set(spec_t *spec, enum replay_metric m, double largest_mean)
{
    const char *name = replay_metric_name(m);
    char path[64];
    bool served = m != REPLAY_QUALITY;
    double high = served ? largest_mean : 1;
    const struct {
        const char *field, *word;
        double number;
    } rows[] = {{"better", served ? "BETTER_LOWER" : "BETTER_HIGHER", 0},
                {"group", served ? "GROUP_SERVED" : "GROUP_RATED", 0},
                {"min", NULL, 0},
                {"max", NULL, served ? SERVED_MAX : 1},
                {"norm_low", NULL, 0},
                {"norm_high", NULL, high > 0 ? high : 1}, /* All free: any bound will do. */
                {"weight", NULL, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        snprintf(path, sizeof path, "metrics.%s.%s", name, rows[i].field);
        enum ctl_exit code =
            rows[i].word ? set(spec, path, rows[i].word) : set_number(spec, path, rows[i].number);
        if (code != CTL_OK)
            return code;
    }
    return CTL_OK;
}

static enum ctl_exit weights_set(spec_t *spec, const struct replay_declare *declare)
{
    static const struct args_pairs quality = {.items = {{"quality", 1}}, .n = 1};
    const struct args_pairs *weights = declare->weights ? declare->weights : &quality;
    for (size_t i = 0; i < weights->n; i++) {
        char path[128];
        enum replay_metric m = replay_metric_find(weights->items[i].name);
        if (m == REPLAY_METRIC_N || !declare->data->has[m])
            return ctl_fail(CTL_USAGE, "--weights: the data has no metric '%s'",
                            weights->items[i].name);
        snprintf(path, sizeof path, "metrics.%s.weight", weights->items[i].name);
        enum ctl_exit code = set_number(spec, path, weights->items[i].value);
        if (code != CTL_OK)
            return code;
    }
    return CTL_OK;
}

static bool strings_copy(char *const *from, size_t n, char ***ret, size_t *ret_n)
{
    *ret = calloc(n + 1, sizeof **ret);
    for (*ret_n = 0; *ret && *ret_n < n; ++*ret_n)
        if (!((*ret)[*ret_n] = strdup(from[*ret_n])))
            return false;
    return *ret != NULL;
}

static bool arms_copy(spec_t *spec, const struct replay_data *data)
{
    spec->arms = calloc(data->arms.n, sizeof(Shunt__V1__ArmSpec *));
    for (; spec->arms && spec->n_arms < data->arms.n; spec->n_arms++) {
        Shunt__V1__ArmSpec *arm =
            (Shunt__V1__ArmSpec *)form_message_new(&shunt__v1__arm_spec__descriptor);
        if (!arm)
            return false;
        spec->arms[spec->n_arms] = arm;
        if (!(arm->name = strdup(data->arm_ids[spec->n_arms]))) {
            spec->n_arms++;
            return false;
        }
    }
    return spec->arms != NULL;
}

/* A slot for each label and one for `other`; when there are more labels than slots the first ones
 * in sorted order have theirs. */
static enum ctl_exit tasks_set(spec_t *spec, const struct replay_declare *declare)
{
    size_t n = declare->tasks ? declare->data->tasks.n : 0;
    size_t slots = n ? n + 1 : 0;
    if (slots > TASK_SLOTS_MAX) {
        slots = TASK_SLOTS_MAX;
        n = slots - 1;
    }
    spec->has_task_slots = 1;
    spec->task_slots = (uint32_t)slots;
    if (n && !strings_copy(declare->data->task_ids, n, &spec->tasks, &spec->n_tasks))
        return ctl_fail(CTL_REFUSED, "out of memory");
    return CTL_OK;
}

/* Removing the order's seed by --set settings.seed would be a choice; so --set comes last. */
static enum ctl_exit spec_fill(spec_t *spec, const struct replay_declare *declare, const char *name,
                               uint64_t order)
{
    enum ctl_exit code = CTL_OK;
    uint64_t seed = maths_seed(declare->seed, order, MATHS_STREAM_ROUTER);
    char text[32];
    if (!(spec->name = strdup(name)) || !arms_copy(spec, declare->data))
        return ctl_fail(CTL_REFUSED, "out of memory");
    for (int m = 0; m < REPLAY_METRIC_N && code == CTL_OK; m++)
        if (declare->data->has[m])
            code = metric_set(spec, (enum replay_metric)m, declare->highs[m]);
    if (code == CTL_OK)
        code = weights_set(spec, declare);
    if (code == CTL_OK)
        code = tasks_set(spec, declare);
    snprintf(text, sizeof text, "%llu", (unsigned long long)(seed ? seed : 1)); /* 0: random. */
    if (code == CTL_OK)
        code = set(spec, "settings.seed", text);
    if (code == CTL_OK)
        code = set(spec, "settings.decision_log", "DECISION_LOG_OFF");
    if (code == CTL_OK)
        code = set(spec, "ephemeral", "true");
    for (size_t i = 0; i < declare->settings_n && code == CTL_OK; i++)
        code = command_setting(&spec->base, "settings", "", declare->settings[i]);
    return code;
}

static double or_else(protobuf_c_boolean has, double value, double absent)
{
    return has ? value : absent;
}

static void metrics_take(const spec_t *spec, struct maths_metric *ret)
{
    memset(ret, 0, REPLAY_METRIC_N * sizeof *ret);
    for (size_t i = 0; spec && i < spec->n_metrics; i++) {
        const Shunt__V1__Metric *row = spec->metrics[i];
        enum replay_metric m = replay_metric_find(row->name);
        if (m == REPLAY_METRIC_N)
            continue;
        ret[m] = (struct maths_metric){
            .there = true,
            .lower = row->has_better && row->better == SHUNT__V1__BETTER__BETTER_LOWER,
            .log =
                row->has_normalise && row->normalise == SHUNT__V1__NORMALISATION__NORMALISATION_LOG,
            .low = or_else(row->has_norm_low, row->norm_low, or_else(row->has_min, row->min, 0)),
            .high = or_else(row->has_norm_high, row->norm_high, 1),
            .weight = or_else(row->has_weight, row->weight, 0)};
    }
}

enum ctl_exit replay_router_create(struct ctl *ctl, const struct replay_declare *declare,
                                   const char *name, uint64_t order,
                                   struct maths_metric *ret_metrics)
{
    ProtobufCMessage *response = NULL;
    Shunt__V1__CreateRouterRequest *request = (Shunt__V1__CreateRouterRequest *)form_message_new(
        &shunt__v1__create_router_request__descriptor);
    if (!request)
        return ctl_fail(CTL_REFUSED, "out of memory");
    request->spec = (spec_t *)form_message_new(&shunt__v1__router_spec__descriptor);
    enum ctl_exit code = request->spec ? spec_fill(request->spec, declare, name, order)
                                       : ctl_fail(CTL_REFUSED, "out of memory");
    if (code == CTL_OK)
        code = ctl_call(ctl, CTL_ADMIN, "CreateRouter", &request->base,
                        &shunt__v1__router_info__descriptor, &response);
    if (code == CTL_OK && ret_metrics)
        metrics_take(((Shunt__V1__RouterInfo *)response)->spec, ret_metrics);
    protobuf_c_message_free_unpacked(response, NULL);
    protobuf_c_message_free_unpacked(&request->base, NULL);
    return code;
}

bool replay_router_remove(struct ctl *ctl, const char *name)
{
    ProtobufCMessage *response = NULL;
    struct call_error error;
    char copy[ARGS_NAME_CAP];
    Shunt__V1__RemoveRouterRequest request = SHUNT__V1__REMOVE_ROUTER_REQUEST__INIT;
    snprintf(copy, sizeof copy, "%s", name);
    request.name = copy;
    enum ctl_exit code = ctl_try(ctl, CTL_ADMIN, "RemoveRouter", ROUTER_TIMEOUT_S, &request.base,
                                 &shunt__v1__remove_router_response__descriptor, &response, &error);
    if (code != CTL_OK)
        fprintf(
            stderr,
            "shuntctl: router %s was not removed (%s); it is ephemeral: the server's next start "
            "removes it and those after it\n",
            name, error.message);
    protobuf_c_message_free_unpacked(response, NULL);
    return code == CTL_OK;
}

static enum ctl_exit weights_replace(const Shunt__V1__RouterInfo *router,
                                     const struct args_pairs *weights, struct maths_metric *metrics)
{
    for (int m = 0; m < REPLAY_METRIC_N; m++)
        metrics[m].weight = 0;
    for (size_t i = 0; i < weights->n; i++) {
        enum replay_metric m = replay_metric_find(weights->items[i].name);
        if (m == REPLAY_METRIC_N || !metrics[m].there)
            return ctl_fail(CTL_USAGE,
                            "--weights: router %s has no metric '%s' that a row could have",
                            router->spec ? router->spec->name : "", weights->items[i].name);
        metrics[m].weight = weights->items[i].value;
    }
    return CTL_OK;
}

enum ctl_exit replay_router_read(struct ctl *ctl, const char *name,
                                 const struct args_pairs *weights, struct maths_metric *ret_metrics)
{
    ProtobufCMessage *response = NULL;
    char copy[ARGS_NAME_CAP];
    Shunt__V1__GetRouterRequest request = SHUNT__V1__GET_ROUTER_REQUEST__INIT;
    snprintf(copy, sizeof copy, "%s", name);
    request.name = copy;
    enum ctl_exit code = ctl_call(ctl, CTL_ADMIN, "GetRouter", &request.base,
                                  &shunt__v1__router_info__descriptor, &response);
    if (code != CTL_OK)
        return code;
    const Shunt__V1__RouterInfo *router = (const Shunt__V1__RouterInfo *)response;
    metrics_take(router->spec, ret_metrics);
    if (weights)
        code = weights_replace(router, weights, ret_metrics);
    protobuf_c_message_free_unpacked(response, NULL);
    return code;
}
