/* The public calls in structs: check the arguments, borrow them as a message, ask handle.c. */
#include "client/handle.h"
#include "client/route.h"

#include <assert.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

const char *shunt_version(void)
{
    return SHUNT_VERSION;
}

bool shunt_has(const char *feature)
{
    static const char *const features[] = {
        "json",       "queue", "block",  "flush",    "unix",  "text-window", "default-arm", "agent",
        "served-arm", "key",   "source", "sessions", "batch", "stream",      "constraints"};
    for (size_t i = 0; i < sizeof features / sizeof *features; i++)
        if (feature && strcmp(feature, features[i]) == 0)
            return true;
    return false;
}

const char *shunt_result_name(enum shunt_result result)
{
    switch (result) {
    case SHUNT_OK:
        return "OK";
    case SHUNT_INVALID:
        return "INVALID";
    case SHUNT_NO_MEMORY:
        return "NO_MEMORY";
    case SHUNT_REFUSED:
        return "REFUSED";
    case SHUNT_UNAVAILABLE:
        return "UNAVAILABLE";
    case SHUNT_QUEUE_FULL:
        return "QUEUE_FULL";
    case SHUNT_NOT_REPORTABLE:
        return "NOT_REPORTABLE";
    case SHUNT_SMALL_BUFFER:
        return "SMALL_BUFFER";
    case SHUNT_TIMEOUT:
        return "TIMEOUT";
    case SHUNT_EMPTY:
        return "EMPTY";
    }
    return "UNKNOWN";
}

/* ---- open and close ---- */

static void size_default(size_t *value, size_t fallback)
{
    if (*value == 0)
        *value = fallback;
}

/* Fills the defaults in; NULL or what is wrong. */
static const char *options_complete(struct shunt_options *o)
{
    if (!o->address)
        o->address = "127.0.0.1:7077";
    if (!o->router)
        o->router = "default";
    size_default(&o->text_window_bytes, 16384);
    size_default(&o->queue_max, 10000);
    size_default(&o->queue_max_bytes, 16 << 20);
    if (!route_name_fits(o->router) || !route_name_fits(o->default_arm))
        return "router and default_arm are names of 1 to 64 characters";
    if (!handle_timeout(&o->route_timeout_s, 0.25) || !handle_timeout(&o->report_timeout_s, 2) ||
        !handle_timeout(&o->retry_first_s, 0.1) || !handle_timeout(&o->retry_max_s, 30))
        return "times are in (0, 3600] seconds; 0 means the default";
    if (o->text_window_bytes < 256 || o->text_window_bytes > 1 << 20)
        return "text_window_bytes is in [256, 1048576]";
    if (o->queue_max > 10000000)
        return "queue_max is at most 10000000";
    if (o->queue_policy != SHUNT_DROP && o->queue_policy != SHUNT_BLOCK)
        return "queue_policy is SHUNT_DROP or SHUNT_BLOCK";
    return NULL;
}

static bool text_copy(const char **text)
{
    if (!*text)
        return true;
    *text = strdup(*text);
    return *text != NULL;
}

static struct shunt_client *client_new(const struct shunt_options *o)
{
    struct shunt_client *client = calloc(1, sizeof *client);
    if (!client)
        return NULL;
    client->options = *o;
    bool address = text_copy(&client->options.address);
    bool router = text_copy(&client->options.router);
    bool arm = text_copy(&client->options.default_arm);
    const struct outbox_config box = {.outcomes_max = o->queue_max,
                                      .bytes_max = o->queue_max_bytes,
                                      .first_s = o->retry_first_s,
                                      .max_s = o->retry_max_s,
                                      .send = handle_deliver,
                                      .context = client};
    if (address && router && arm)
        client->channel = call_open(client->options.address);
    if (client->channel)
        client->outbox = outbox_new(&box);
    if (!client->outbox) {
        shunt_close(client);
        return NULL;
    }
    return client;
}

struct shunt_client *shunt_open(const struct shunt_options *options, struct shunt_error *ret_error)
{
    struct shunt_options o = SHUNT_OPTIONS_INIT;
    handle_clear(ret_error);
    const char *wrong = NULL;
    if (options && !handle_read(&o, sizeof o, options))
        wrong = "start the options with SHUNT_OPTIONS_INIT";
    if (!wrong)
        wrong = options_complete(&o);
    if (wrong) {
        (void)handle_say(ret_error, SHUNT_INVALID, "%s", wrong);
        return NULL;
    }
    struct shunt_client *client = client_new(&o);
    if (!client)
        (void)handle_say(ret_error, SHUNT_NO_MEMORY, "no memory or no thread");
    return client;
}

void shunt_close(struct shunt_client *client)
{
    if (!client)
        return;
    outbox_free(client->outbox);
    call_close(client->channel);
    free(handle_text(client->options.address));
    free(handle_text(client->options.router));
    free(handle_text(client->options.default_arm));
    free(client);
}

/* ---- route ---- */

enum shunt_result shunt_route(struct shunt_client *client, const struct shunt_request *request,
                              struct shunt_decision *ret, struct shunt_error *ret_error)
{
    struct route_message x;
    struct handle_routed routed;
    handle_clear(ret_error);
    if (!client || !request || !ret || ret->size < sizeof ret->size)
        return handle_say(ret_error, SHUNT_INVALID,
                          "start the request and the decision with their _INIT");
    enum shunt_result result = route_message_init(&x, client, request, ret_error);
    if (result != SHUNT_OK)
        return result;
    result = handle_route(client, &x.m, x.read.default_arm, x.read.timeout_s, &routed, ret_error);
    route_message_done(&x);
    if (result == SHUNT_OK)
        route_decision(&routed, ret);
    return result;
}

/* ---- report ---- */

/* As in route.c. */
static_assert(offsetof(struct shunt_report, served_arm) % _Alignof(struct shunt_report) == 0,
              "a report without it had this size");

static const char *report_wrong(const struct shunt_client *client, struct shunt_report *r)
{
    if (r->token_len > SHUNT_TOKEN_CAP || (r->token_len > 0 && !r->token))
        return "a token is at most 4096 bytes";
    if (r->decision_id && r->decision_id[0] && strlen(r->decision_id) != 36)
        return "a decision_id is a UUID of 36 characters";
    if (r->status < SHUNT_STATUS_OK || r->status > SHUNT_STATUS_TIMEOUT)
        return "status is one of SHUNT_STATUS_*";
    if (!handle_timeout(&r->timeout_s, client->options.report_timeout_s))
        return "timeout_s is in (0, 3600]; 0 means that of the options";
    return route_values_wrong(r->metrics, r->metrics_n);
}

static void report_borrow(const struct shunt_report *r,
                          Shunt__V1__ReportRewardRequest__MetricsEntry *entries,
                          Shunt__V1__ReportRewardRequest__MetricsEntry **metrics,
                          Shunt__V1__ReportRewardRequest *m)
{
    shunt__v1__report_reward_request__init(m);
    if (r->decision_id && r->decision_id[0])
        m->decision_id = handle_text(r->decision_id);
    m->has_decision_token = r->token_len > 0;
    m->decision_token.data = (uint8_t *)(uintptr_t)r->token;
    m->decision_token.len = r->token_len;
    m->has_status = 1;
    m->status = (Shunt__V1__Status)r->status;
    for (size_t i = 0; i < r->metrics_n; i++) {
        shunt__v1__report_reward_request__metrics_entry__init(&entries[i]);
        entries[i].key = handle_text(r->metrics[i].name);
        entries[i].has_value = 1;
        entries[i].value = r->metrics[i].value;
        metrics[i] = &entries[i];
    }
    m->metrics = metrics;
    m->n_metrics = r->metrics_n;
    if (r->served_arm && r->served_arm[0])
        m->served_arm_id = handle_text(r->served_arm);
    if (r->idempotency_key && r->idempotency_key[0])
        m->idempotency_key = handle_text(r->idempotency_key);
    if (r->source && r->source[0])
        m->source = handle_text(r->source);
}

static void outcome_fill(struct shunt_outcome *o, const Shunt__V1__ReportRewardResponse *m)
{
    *o = (struct shunt_outcome){.queued = m == NULL};
    if (!m)
        return;
    o->duplicate = m->duplicate;
    o->unweighted = m->unweighted;
    o->orphaned = m->orphaned;
    o->position = m->position;
}

enum shunt_result shunt_report(struct shunt_client *client, const struct shunt_report *report,
                               struct shunt_outcome *ret, struct shunt_error *ret_error)
{
    Shunt__V1__ReportRewardRequest__MetricsEntry entries[HANDLE_VALUES_MAX];
    Shunt__V1__ReportRewardRequest__MetricsEntry *metrics[HANDLE_VALUES_MAX];
    Shunt__V1__ReportRewardRequest message;
    Shunt__V1__ReportRewardResponse *response;
    struct shunt_report r;
    struct shunt_outcome outcome;
    handle_clear(ret_error);
    if (!client || !report || (ret && ret->size < sizeof ret->size) ||
        !handle_read(&r, sizeof r, report))
        return handle_say(ret_error, SHUNT_INVALID,
                          "start the report and the outcome with their _INIT");
    const char *wrong = report_wrong(client, &r);
    if (wrong)
        return handle_say(ret_error, SHUNT_INVALID, "%s", wrong);
    if (r.token_len == 0 && !(r.decision_id && r.decision_id[0]))
        return handle_say(ret_error, SHUNT_NOT_REPORTABLE,
                          "no decision_id and no token: a fallback or a dry run");
    report_borrow(&r, entries, metrics, &message);
    enum shunt_result result =
        handle_report(client, &message, r.timeout_s, r.later, &response, ret_error);
    if (result != SHUNT_OK)
        return result;
    outcome_fill(&outcome, response);
    if (response)
        shunt__v1__report_reward_response__free_unpacked(response, NULL);
    if (ret)
        handle_write(ret, &outcome, sizeof outcome);
    return SHUNT_OK;
}

/* ---- the queue ---- */

void shunt_stats(struct shunt_client *client, struct shunt_stats *ret)
{
    struct outbox_stats box;
    outbox_read_stats(client->outbox, &box);
    const struct shunt_stats stats = {
        .routed = atomic_load(&client->routed),
        .fallbacks = atomic_load(&client->fallbacks),
        .queued = box.queued,
        .queued_bytes = box.queued_bytes,
        .delivered = box.delivered,
        .refused = box.refused,
        .dropped = box.dropped,
        .retries = box.retries,
    };
    handle_write(ret, &stats, sizeof stats);
}

enum shunt_result shunt_flush(struct shunt_client *client, double timeout_s)
{
    return outbox_flush(client->outbox, timeout_s) ? SHUNT_OK : SHUNT_TIMEOUT;
}
