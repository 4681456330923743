/* The public calls in structs: check the arguments, borrow them as a message, ask handle.c. */
#include "client/handle.h"

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
    static const char *const features[] = {"json",       "queue",       "block",       "flush",
                                           "unix",       "text-window", "default-arm", "agent",
                                           "served-arm", "key",         "source",      "sessions"};
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
    }
    return "UNKNOWN";
}

/* ---- open and close ---- */

static void size_default(size_t *value, size_t fallback)
{
    if (*value == 0)
        *value = fallback;
}

static bool name_fits(const char *name)
{
    return !name || (name[0] && strlen(name) < SHUNT_NAME_CAP);
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
    if (!name_fits(o->router) || !name_fits(o->default_arm))
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

/* Names and finite values of a map<string, double>, as its entry types have one layout each. */
static const char *values_wrong(const struct shunt_value *values, size_t n)
{
    if (n > HANDLE_VALUES_MAX || (n > 0 && !values))
        return "at most 64 named values";
    for (size_t i = 0; i < n; i++)
        if (!values[i].name || !isfinite(values[i].value))
            return "values have a name and are finite";
    return NULL;
}

static bool names_wrong(const char *const *names, size_t n)
{
    bool wrong = n > HANDLE_ARMS_MAX || (n > 0 && !names);
    for (size_t i = 0; i < n && !wrong; i++)
        wrong = !names[i];
    return wrong;
}

static bool vector_wrong(const float *v, size_t n)
{
    bool wrong = n > HANDLE_VECTOR_MAX || (n > 0 && !v);
    for (size_t i = 0; i < n && !wrong; i++)
        wrong = !isfinite(v[i]);
    return wrong;
}

static const char *request_wrong(const struct shunt_client *client, struct shunt_request *r)
{
    if (names_wrong(r->candidates, r->candidates_n) || names_wrong(r->exclude, r->exclude_n))
        return "candidates and exclude are at most 256 names each";
    if (vector_wrong(r->features, r->features_n) || vector_wrong(r->embedding, r->embedding_n))
        return "features and embedding are finite, at most 8192 values each";
    if (!name_fits(r->session_id) || !name_fits(r->session_metric))
        return "session_id and session_metric are names of 1 to 64 characters";
    if (r->session_metric && !(r->session_budget > 0 && isfinite(r->session_budget)))
        return "session_budget is finite and more than 0";
    if (!name_fits(r->default_arm))
        return "default_arm is a name of 1 to 64 characters";
    if (!handle_timeout(&r->timeout_s, client->options.route_timeout_s))
        return "timeout_s is in (0, 3600]; 0 means that of the options";
    return values_wrong(r->weights, r->weights_n);
}

/* Appended members begin where the struct ended, not in its padding, which callers leave as it is:
 * so a program compiled before says nothing in them. */
static_assert(offsetof(struct shunt_request, tokens_so_far) % _Alignof(struct shunt_request) == 0,
              "the agent's numbers begin past every older struct");

static_assert(offsetof(struct shunt_report, served_arm) % _Alignof(struct shunt_report) == 0,
              "a report without it had this size");
static_assert(offsetof(struct shunt_request, session_id) % _Alignof(struct shunt_request) == 0,
              "so does the session");

static void session_borrow(const struct shunt_request *r, Shunt__V1__SessionBudget *budget,
                           Shunt__V1__RouteRequest *m)
{
    shunt__v1__session_budget__init(budget);
    m->session_id = handle_text(r->session_id);
    m->has_input_tokens = r->input_tokens != 0;
    m->input_tokens = r->input_tokens;
    if (!r->session_metric)
        return;
    budget->metric = handle_text(r->session_metric);
    budget->amount = r->session_budget;
    m->session_budget = budget;
}

static void agent_borrow(const struct shunt_request *r, Shunt__V1__RouteRequest *m)
{
    m->has_turn = r->turn != 0;
    m->turn = r->turn;
    m->has_tool_step = r->tool_step != 0;
    m->tool_step = r->tool_step;
    m->has_tool_errors = r->tool_errors != 0;
    m->tool_errors = r->tool_errors;
    m->has_tokens_so_far = r->tokens_so_far != 0;
    m->tokens_so_far = r->tokens_so_far;
    m->has_images = r->images != 0;
    m->images = r->images;
    m->has_max_output_tokens = r->max_output_tokens != 0;
    m->max_output_tokens = r->max_output_tokens;
    m->has_json_required = m->json_required = r->json_required;
    m->has_tools_required = m->tools_required = r->tools_required;
}

/* A message that borrows the caller's memory. Packing writes nothing, so dropping const is safe. */
static void request_borrow(const struct shunt_client *client, const struct shunt_request *r,
                           Shunt__V1__RouteRequest__WeightsEntry *entries,
                           Shunt__V1__RouteRequest__WeightsEntry **weights,
                           Shunt__V1__RouteRequest *m)
{
    shunt__v1__route_request__init(m);
    m->router = handle_text(r->router ? r->router : client->options.router);
    m->task = handle_text(r->task);
    m->features = (float *)(uintptr_t)r->features;
    m->n_features = r->features_n;
    m->embedding = (float *)(uintptr_t)r->embedding;
    m->n_embedding = r->embedding_n;
    m->candidates = (char **)(uintptr_t)r->candidates;
    m->n_candidates = r->candidates_n;
    m->exclude = (char **)(uintptr_t)r->exclude;
    m->n_exclude = r->exclude_n;
    m->decision_id = handle_text(r->decision_id);
    m->has_dry_run = m->dry_run = r->dry_run;
    agent_borrow(r, m);
    m->has_max_ranked = 1; /* The struct has no ranking: spare the server the work. */
    m->max_ranked = 0;
    for (size_t i = 0; i < r->weights_n; i++) {
        shunt__v1__route_request__weights_entry__init(&entries[i]);
        entries[i].key = handle_text(r->weights[i].name);
        entries[i].has_value = 1;
        entries[i].value = r->weights[i].value;
        weights[i] = &entries[i];
    }
    m->weights = weights;
    m->n_weights = r->weights_n;
}

static void text_into(char *dst, size_t cap, const char *text)
{
    size_t len = text ? strnlen(text, cap - 1) : 0;
    if (len > 0)
        memcpy(dst, text, len);
    dst[len] = '\0';
}

static void decision_fill(struct shunt_decision *d, const struct handle_routed *routed)
{
    const Shunt__V1__RouteResponse *m = routed->response;
    memset(d, 0, sizeof *d);
    if (!m) {
        text_into(d->arm, sizeof d->arm, routed->fallback_arm);
        d->fallback = true;
        return;
    }
    text_into(d->arm, sizeof d->arm, m->arm_id);
    text_into(d->decision_id, sizeof d->decision_id, m->decision_id);
    d->reason = m->has_reason ? (enum shunt_reason)m->reason : SHUNT_REASON_UNSPECIFIED;
    d->propensity = m->propensity;
    d->position = m->position;
    d->version = m->version;
    if (m->has_decision_token && m->decision_token.len > 0) {
        d->token_len = m->decision_token.len; /* handle_route has checked that it fits. */
        memcpy(d->token, m->decision_token.data, d->token_len);
    }
}

enum shunt_result shunt_route(struct shunt_client *client, const struct shunt_request *request,
                              struct shunt_decision *ret, struct shunt_error *ret_error)
{
    Shunt__V1__RouteRequest__WeightsEntry entries[HANDLE_VALUES_MAX], *weights[HANDLE_VALUES_MAX];
    Shunt__V1__RouteRequest message;
    Shunt__V1__SessionBudget budget;
    struct shunt_request r;
    struct handle_routed routed;
    struct shunt_decision decision;
    handle_clear(ret_error);
    if (!client || !request || !ret || ret->size < sizeof ret->size ||
        !handle_read(&r, sizeof r, request))
        return handle_say(ret_error, SHUNT_INVALID,
                          "start the request and the decision with their _INIT");
    const char *wrong = request_wrong(client, &r);
    if (wrong)
        return handle_say(ret_error, SHUNT_INVALID, "%s", wrong);
    request_borrow(client, &r, entries, weights, &message);
    session_borrow(&r, &budget, &message);
    if (r.text && client->options.send_text) {
        size_t len = r.text_len > 0 ? r.text_len : strlen(r.text);
        message.text = handle_window(client, r.text, len);
        if (!message.text)
            return handle_say(ret_error, SHUNT_NO_MEMORY, "out of memory");
    }
    enum shunt_result result =
        handle_route(client, &message, r.default_arm, r.timeout_s, &routed, ret_error);
    free(message.text);
    if (result != SHUNT_OK)
        return result;
    decision_fill(&decision, &routed);
    if (routed.response)
        shunt__v1__route_response__free_unpacked(routed.response, NULL);
    handle_write(ret, &decision, sizeof decision);
    return SHUNT_OK;
}

/* ---- report ---- */

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
    return values_wrong(r->metrics, r->metrics_n);
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
