#include "client/handle.h"
#include "client/window.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void handle_clear(struct shunt_error *error)
{
    if (error)
        memset(error, 0, sizeof *error);
}

enum shunt_result handle_say(struct shunt_error *error, enum shunt_result r, const char *fmt, ...)
{
    if (error) {
        va_list args;
        handle_clear(error);
        va_start(args, fmt);
        (void)vsnprintf(error->message, sizeof error->message, fmt, args);
        va_end(args);
    }
    return r;
}

static void say_call(struct shunt_error *error, const struct call_error *call)
{
    _Static_assert(sizeof error->code == sizeof call->code, "codes of one length");
    _Static_assert(sizeof error->message == sizeof call->message, "messages of one length");
    if (!error)
        return;
    error->status = call->status;
    memcpy(error->code, call->code, sizeof error->code);
    memcpy(error->message, call->message, sizeof error->message);
}

bool handle_read(void *ours, size_t our_size, const void *theirs)
{
    size_t their_size;
    memcpy(&their_size, theirs, sizeof their_size);
    if (their_size < sizeof their_size)
        return false;
    memset(ours, 0, our_size);
    memcpy(ours, theirs, their_size < our_size ? their_size : our_size);
    return true;
}

void handle_write(void *theirs, const void *ours, size_t our_size)
{
    size_t their_size, head = sizeof their_size;
    memcpy(&their_size, theirs, head);
    size_t n = their_size < our_size ? their_size : our_size;
    if (n > head)
        memcpy((char *)theirs + head, (const char *)ours + head, n - head);
}

bool handle_timeout(double *timeout_s, double fallback_s)
{
    if (!(*timeout_s < 0) && !(*timeout_s > 0) && !isnan(*timeout_s))
        *timeout_s = fallback_s;
    return *timeout_s > 0 && *timeout_s <= HANDLE_TIMEOUT_MAX_S;
}

char *handle_window(const struct shunt_client *client, const char *text, size_t len)
{
    size_t max = client->options.text_window_bytes;
    char *window = malloc((len < max ? len : max) + 1);
    if (window)
        (void)window_cut(text, len, max, window);
    return window;
}

static bool list_holds(char *const *list, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i], name) == 0)
            return true;
    return false;
}

/* The arm to serve when nobody can be asked; NULL: none is allowed. */
static const char *fallback_arm(const Shunt__V1__RouteRequest *request, const char *preferred)
{
    bool listed = request->n_candidates == 0 ||
                  (preferred && list_holds(request->candidates, request->n_candidates, preferred));
    if (!preferred || request->session_budget) /* What nobody reserves nobody may spend. */
        return NULL;
    if (listed && !list_holds(request->exclude, request->n_exclude, preferred))
        return preferred;
    for (size_t i = 0; i < request->n_candidates; i++)
        if (!list_holds(request->exclude, request->n_exclude, request->candidates[i]))
            return request->candidates[i];
    return NULL;
}

/* INTERNAL, UNKNOWN and the like are what a dying server or a broken connection looks like. */
bool handle_is_outage(int status)
{
    const int cancelled = 1, unknown = 2, aborted = 10, data_loss = 15;
    return call_status_passing(status) || status == CALL_INTERNAL || status == cancelled ||
           status == unknown || status == aborted || status == data_loss;
}

enum shunt_result handle_refused(int status, const struct call_error *call,
                                 struct shunt_error *error)
{
    say_call(error, call);
    return handle_is_outage(status) ? SHUNT_UNAVAILABLE : SHUNT_REFUSED;
}

/* A name or a URL that was cut would be another one. */
static bool adapter_usable(const Shunt__V1__AdapterUse *a)
{
    return !a || ((!a->adapter || strlen(a->adapter) < SHUNT_NAME_CAP) &&
                  (!a->replica || strlen(a->replica) < SHUNT_URL_CAP));
}

static bool response_usable(const Shunt__V1__RouteResponse *response)
{
    return response->arm_id && response->arm_id[0] && strlen(response->arm_id) < SHUNT_NAME_CAP &&
           (!response->decision_id || strlen(response->decision_id) < SHUNT_ID_CAP) &&
           (!response->has_decision_token || response->decision_token.len <= SHUNT_TOKEN_CAP) &&
           adapter_usable(response->adapter);
}

enum shunt_result handle_settle(struct shunt_client *client, const Shunt__V1__RouteRequest *request,
                                const char *default_arm, struct call_error *call,
                                Shunt__V1__RouteResponse *take, struct handle_routed *ret,
                                struct shunt_error *error)
{
    *ret = (struct handle_routed){NULL, NULL};
    if (call->status == 0 && (!take || !response_usable(take))) {
        call->status = CALL_INTERNAL;
        (void)snprintf(call->message, sizeof call->message, "the server's answer makes no sense");
    }
    say_call(error, call);
    if (call->status == 0) {
        atomic_fetch_add(&client->routed, 1);
        if (atomic_load(&client->away) && atomic_exchange(&client->away, false))
            outbox_nudge(client->outbox);
        ret->response = take;
        return SHUNT_OK;
    }
    shunt__v1__route_response__free_unpacked(take, NULL);
    if (!handle_is_outage(call->status))
        return SHUNT_REFUSED;
    ret->fallback_arm =
        fallback_arm(request, default_arm ? default_arm : client->options.default_arm);
    if (!ret->fallback_arm)
        return SHUNT_UNAVAILABLE;
    atomic_fetch_add(&client->fallbacks, 1);
    return SHUNT_OK;
}

/* What one result of many says in place of a response; status 0: it says nothing. */
static void refusal(int status, const char *code, const char *message, struct call_error *ret)
{
    ret->status = status ? status : CALL_INTERNAL;
    (void)snprintf(ret->code, sizeof ret->code, "%s", code ? code : "");
    (void)snprintf(ret->message, sizeof ret->message, "%s",
                   message ? message : "the server's answer has no place for this");
}

Shunt__V1__RouteResponse *handle_open_result(Shunt__V1__RouteResult *r, struct call_error *ret_call)
{
    Shunt__V1__RouteResponse *response = r ? r->response : NULL;
    memset(ret_call, 0, sizeof *ret_call);
    if (response) {
        r->response = NULL;
        return response;
    }
    refusal(r ? r->status : 0, r ? r->code : NULL, r ? r->message : NULL, ret_call);
    return NULL;
}

enum shunt_result handle_route(struct shunt_client *client, Shunt__V1__RouteRequest *request,
                               const char *default_arm, double timeout_s, struct handle_routed *ret,
                               struct shunt_error *error)
{
    struct call_error call;
    ProtobufCMessage *message = NULL;
    (void)call_unary(client->channel, "/shunt.v1.Router/RouteRequest", &request->base,
                     &shunt__v1__route_response__descriptor, timeout_s, &message, &call);
    return handle_settle(client, request, default_arm, &call, (Shunt__V1__RouteResponse *)message,
                         ret, error);
}

double handle_now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Queues a copy. wait_s is what is left of the caller's time; none left: it does not wait. */
static enum shunt_result keep(struct shunt_client *client,
                              const Shunt__V1__ReportRewardRequest *report, double wait_s,
                              struct shunt_error *error)
{
    size_t len = protobuf_c_message_get_packed_size(&report->base);
    uint8_t *bytes = malloc(len > 0 ? len : 1);
    if (!bytes)
        return handle_say(error, SHUNT_NO_MEMORY, "out of memory");
    (void)protobuf_c_message_pack(&report->base, bytes);
    ProtobufCMessage *copy =
        protobuf_c_message_unpack(&shunt__v1__report_reward_request__descriptor, NULL, len, bytes);
    free(bytes);
    if (!copy)
        return handle_say(error, SHUNT_NO_MEMORY, "out of memory");
    bool block = client->options.queue_policy == SHUNT_BLOCK;
    if (!outbox_put_take(client->outbox, copy, len, block ? wait_s : 0))
        return handle_say(error, SHUNT_QUEUE_FULL,
                          "the outcome is dropped: %zu outcomes or %zu bytes wait already",
                          client->options.queue_max, client->options.queue_max_bytes);
    return SHUNT_OK;
}

/* CANCELLED without a machine code is not the server's word: gRPC says it for calls that arrive
 * while a server drains, and repeating a report is safe. What is too large stays so. */
bool handle_report_passing(const struct call_error *call)
{
    const int cancelled = 1;
    return (call_status_passing(call->status) && strcmp(call->code, "TOO_LARGE") != 0) ||
           (call->status == cancelled && !call->code[0]);
}

enum shunt_result handle_settle_report(struct shunt_client *client,
                                       const Shunt__V1__ReportRewardRequest *report,
                                       const struct call_error *call,
                                       Shunt__V1__ReportRewardResponse *take, double wait_s,
                                       Shunt__V1__ReportRewardResponse **ret_response,
                                       struct shunt_error *error)
{
    *ret_response = take;
    say_call(error, call);
    if (call->status == 0)
        return SHUNT_OK;
    return handle_report_passing(call) ? keep(client, report, wait_s, error) : SHUNT_REFUSED;
}

enum shunt_result handle_report(struct shunt_client *client,
                                const Shunt__V1__ReportRewardRequest *report, double timeout_s,
                                bool later, Shunt__V1__ReportRewardResponse **ret_response,
                                struct shunt_error *error)
{
    struct call_error call;
    ProtobufCMessage *message = NULL;
    double until_s = handle_now_s() + timeout_s;
    *ret_response = NULL;
    handle_clear(error);
    size_t bytes = protobuf_c_message_get_packed_size(&report->base);
    if (bytes > HANDLE_REPORT_BYTES_MAX)
        return handle_say(error, SHUNT_INVALID, "the report has %zu bytes; at most %zu", bytes,
                          HANDLE_REPORT_BYTES_MAX);
    if (later || outbox_retrying(client->outbox))
        return keep(client, report, timeout_s, error);
    (void)call_unary(client->channel, "/shunt.v1.Router/ReportReward", &report->base,
                     &shunt__v1__report_reward_response__descriptor, timeout_s, &message, &call);
    return handle_settle_report(client, report, &call, (Shunt__V1__ReportRewardResponse *)message,
                                until_s - handle_now_s(), ret_response, error);
}

int handle_report_rewards(struct shunt_client *client, Shunt__V1__ReportRewardRequest **reports,
                          size_t n, double timeout_s,
                          Shunt__V1__ReportRewardsResponse **ret_response,
                          struct call_error *ret_call)
{
    Shunt__V1__ReportRewardsRequest m = SHUNT__V1__REPORT_REWARDS_REQUEST__INIT;
    ProtobufCMessage *message = NULL;
    m.reports = reports;
    m.n_reports = n;
    int status =
        call_unary(client->channel, "/shunt.v1.Router/ReportRewards", &m.base,
                   &shunt__v1__report_rewards_response__descriptor, timeout_s, &message, ret_call);
    *ret_response = (Shunt__V1__ReportRewardsResponse *)message;
    return status;
}

Shunt__V1__ReportRewardResponse *
handle_open_reported(const Shunt__V1__ReportRewardsResponse *response, size_t i,
                     struct call_error *ret_call)
{
    Shunt__V1__ReportRewardResult *r = i < response->n_results ? response->results[i] : NULL;
    Shunt__V1__ReportRewardResponse *taken = r ? r->response : NULL;
    memset(ret_call, 0, sizeof *ret_call);
    if (taken)
        r->response = NULL;
    else
        refusal(r ? r->status : 0, r ? r->code : NULL, r ? r->message : NULL, ret_call);
    return taken;
}

/* A cap on a source holds that source up, for an hour maybe, and nobody else. */
static enum outbox_verdict verdict_of(const struct call_error *call)
{
    if (call->status == 0)
        return OUTBOX_DELIVERED;
    if (strcmp(call->code, "SOURCE_CAP") == 0)
        return OUTBOX_DEFER;
    return handle_report_passing(call) ? OUTBOX_RETRY : OUTBOX_REFUSED;
}

static int deliver_one(struct shunt_client *client, const ProtobufCMessage *report,
                       enum outbox_verdict *ret_verdict)
{
    struct call_error call;
    ProtobufCMessage *message = NULL;
    int status = call_unary(client->channel, "/shunt.v1.Router/ReportReward", report,
                            &shunt__v1__report_reward_response__descriptor,
                            client->options.report_timeout_s, &message, &call);
    if (message)
        protobuf_c_message_free_unpacked(message, NULL);
    *ret_verdict = verdict_of(&call);
    return status;
}

/* A refusal of the whole says nothing of any one of them: the next send has the first alone. */
static int deliver_many(struct shunt_client *client, const ProtobufCMessage *const *reports,
                        size_t n, enum outbox_verdict *ret_verdicts)
{
    struct call_error call;
    Shunt__V1__ReportRewardsResponse *response = NULL;
    Shunt__V1__ReportRewardRequest **list = (Shunt__V1__ReportRewardRequest **)(uintptr_t)reports;
    int status =
        handle_report_rewards(client, list, n, client->options.report_timeout_s, &response, &call);
    for (size_t i = 0; i < n; i++) {
        ret_verdicts[i] = OUTBOX_RETRY;
        if (status != 0)
            continue;
        Shunt__V1__ReportRewardResponse *one = handle_open_reported(response, i, &call);
        ret_verdicts[i] = verdict_of(&call);
        if (one)
            shunt__v1__report_reward_response__free_unpacked(one, NULL);
    }
    if (response)
        shunt__v1__report_rewards_response__free_unpacked(response, NULL);
    return status;
}

void handle_deliver(void *context, const ProtobufCMessage *const *reports, size_t n,
                    enum outbox_verdict *ret_verdicts)
{
    struct shunt_client *client = context;
    int status = n == 1 ? deliver_one(client, reports[0], ret_verdicts)
                        : deliver_many(client, reports, n, ret_verdicts);
    /* Other passing trouble (a full queue or disk) does not end because routes are answered. */
    atomic_store(&client->away, status == CALL_UNAVAILABLE);
}
