/* The public calls in JSON, for bindings: text in, text out. */
#include "client/handle.h"
#include "proto/form/json.h"

#include <stdlib.h>
#include <string.h>

/* Puts the text of json (taken) into the caller's buffer; r unless that fails. */
static enum shunt_result answer_take(json_t *json, enum shunt_result r, char *buf, size_t cap,
                                     size_t *ret_len)
{
    char *text = json ? form_json_print(json, 0) : NULL;
    json_decref(json);
    if (ret_len)
        *ret_len = 0;
    if (!text) {
        if (cap > 0)
            buf[0] = '\0';
        return SHUNT_NO_MEMORY;
    }
    size_t len = strlen(text);
    if (ret_len)
        *ret_len = len;
    if (len < cap)
        memcpy(buf, text, len + 1);
    else if (cap > 0)
        buf[0] = '\0';
    free(text);
    return len < cap ? r : SHUNT_SMALL_BUFFER;
}

static json_t *error_json(enum shunt_result r, const struct shunt_error *error)
{
    /* The server's sentence may hold bytes that are not UTF-8; then the code has to do. */
    json_t *message = json_string(error->message);
    if (!message)
        message = json_string("(unreadable)");
    return json_pack("{s:s, s:i, s:s, s:o}", "result", shunt_result_name(r), "status",
                     error->status, "code", error->code, "message", message);
}

static enum shunt_result answer_error(enum shunt_result r, const struct shunt_error *error,
                                      char *buf, size_t cap, size_t *ret_len)
{
    return answer_take(json_pack("{s:o}", "error", error_json(r, error)), r, buf, cap, ret_len);
}

static enum shunt_result say_form(struct shunt_error *error, enum form_result r,
                                  const struct form_error *form)
{
    return handle_say(error, r == FORM_NOMEM ? SHUNT_NO_MEMORY : SHUNT_INVALID, "%s", form->text);
}

static enum shunt_result parse_object(const char *text, json_t **ret, struct shunt_error *error)
{
    struct form_error form;
    if (!text)
        return handle_say(error, SHUNT_INVALID, "expected a JSON object, got NULL");
    enum form_result r = form_json_parse(text, strlen(text), ret, &form);
    if (r != FORM_OK)
        return say_form(error, r, &form);
    if (json_is_object(*ret))
        return SHUNT_OK;
    json_decref(*ret);
    *ret = NULL;
    return handle_say(error, SHUNT_INVALID, "expected a JSON object");
}

/* Of a call: a binding that passed over the answer of shunt_open_json has no client. */
static enum shunt_result parse_call(const struct shunt_client *client, const char *text,
                                    json_t **ret, struct shunt_error *error)
{
    if (!client)
        return handle_say(error, SHUNT_INVALID, "the client is NULL: shunt_open_json says why");
    return parse_object(text, ret, error);
}

/* Takes "timeout_s" out of the object, as it is the library's and not the message's. */
static enum shunt_result take_timeout(json_t *object, double fallback_s, double *ret,
                                      struct shunt_error *error)
{
    const json_t *value = json_object_get(object, "timeout_s");
    *ret = json_number_value(value);
    if ((value && !json_is_number(value)) || !handle_timeout(ret, fallback_s))
        return handle_say(error, SHUNT_INVALID, "timeout_s: expected a number in (0, 3600]");
    json_object_del(object, "timeout_s");
    return SHUNT_OK;
}

static enum shunt_result read_message(const ProtobufCMessageDescriptor *type, json_t *object,
                                      ProtobufCMessage **ret, struct shunt_error *error)
{
    struct form_error form;
    enum form_result r = form_message_from_json(type, object, ret, &form);
    return r == FORM_OK ? SHUNT_OK : say_form(error, r, &form);
}

/* ---- open ---- */

static const char *options_read(json_t *object, struct shunt_options *o)
{
    const char *policy = "drop";
    json_error_t where;
    int send_text = 0, tls = 0;
    json_int_t window = 0, max = 0, bytes = 0;
    if (json_unpack_ex(object, &where, JSON_STRICT,
                       "{s?s, s?s, s?s, s?F, s?F, s?b, s?I, s?I, s?I, s?s, s?F, s?F, s?s, s?s, "
                       "s?s, s?s, s?b}",
                       "address", &o->address, "router", &o->router, "default_arm", &o->default_arm,
                       "route_timeout_s", &o->route_timeout_s, "report_timeout_s",
                       &o->report_timeout_s, "send_text", &send_text, "text_window_bytes", &window,
                       "queue_max", &max, "queue_max_bytes", &bytes, "queue_policy", &policy,
                       "retry_first_s", &o->retry_first_s, "retry_max_s", &o->retry_max_s, "tls_ca",
                       &o->tls_ca, "tls_cert", &o->tls_cert, "tls_key", &o->tls_key,
                       "tls_server_name", &o->tls_server_name, "tls", &tls) != 0)
        return "the options have an unknown key or a value of the wrong type; known are address, "
               "router, default_arm, route_timeout_s, report_timeout_s, send_text, "
               "text_window_bytes, queue_max, queue_max_bytes, queue_policy, retry_first_s, "
               "retry_max_s, tls_ca, tls_cert, tls_key, tls_server_name, tls";
    if (window < 0 || max < 0 || bytes < 0)
        return "text_window_bytes, queue_max and queue_max_bytes are not negative";
    if (strcmp(policy, "drop") != 0 && strcmp(policy, "block") != 0)
        return "queue_policy: expected \"drop\" or \"block\"";
    o->send_text = send_text != 0;
    o->tls = tls != 0;
    o->text_window_bytes = (size_t)window;
    o->queue_max = (size_t)max;
    o->queue_max_bytes = (size_t)bytes;
    o->queue_policy = strcmp(policy, "block") == 0 ? SHUNT_BLOCK : SHUNT_DROP;
    return NULL;
}

struct shunt_client *shunt_open_json(const char *options_json, char *buf, size_t cap,
                                     size_t *ret_len)
{
    struct shunt_options o = SHUNT_OPTIONS_INIT;
    struct shunt_error error = {0};
    struct shunt_client *client = NULL;
    json_t *object = NULL;
    enum shunt_result r = parse_object(options_json ? options_json : "{}", &object, &error);
    const char *wrong = r == SHUNT_OK ? options_read(object, &o) : NULL;
    if (wrong)
        r = handle_say(&error, SHUNT_INVALID, "%s", wrong);
    if (r == SHUNT_OK)
        client = shunt_open(&o, &error);
    json_decref(object);
    if (client)
        (void)answer_take(json_pack("{s:s}", "version", shunt_version()), SHUNT_OK, buf, cap,
                          ret_len);
    else
        (void)answer_error(r == SHUNT_OK ? SHUNT_INVALID : r, &error, buf, cap, ret_len);
    return client;
}

/* ---- route ---- */

/* The policy on text, and the router of the options. */
static enum shunt_result request_finish(const struct shunt_client *client,
                                        Shunt__V1__RouteRequest *m, struct shunt_error *error)
{
    if (m->text) {
        char *window = NULL;
        if (client->options.send_text &&
            !(window = handle_window(client, m->text, strlen(m->text))))
            return handle_say(error, SHUNT_NO_MEMORY, "out of memory");
        free(m->text);
        m->text = window;
    }
    if (!m->router && !(m->router = strdup(client->options.router)))
        return handle_say(error, SHUNT_NO_MEMORY, "out of memory");
    return SHUNT_OK;
}

/* NULL: out of memory. */
static json_t *routed_json(const struct handle_routed *routed, const struct shunt_error *error)
{
    json_t *json = NULL;
    if (!routed->response)
        return json_pack("{s:s, s:b, s:o}", "arm_id", routed->fallback_arm, "fallback", 1, "error",
                         error_json(SHUNT_UNAVAILABLE, error));
    if (form_json_from_message(&routed->response->base, 0, &json, NULL) != FORM_OK)
        return NULL;
    if (json_object_set_new(json, "fallback", json_false()) != 0) {
        json_decref(json);
        return NULL;
    }
    return json;
}

/* Takes "default_arm" out of the object. *ret is a copy or NULL. */
static enum shunt_result take_arm(json_t *object, char **ret, struct shunt_error *error)
{
    const json_t *value = json_object_get(object, "default_arm");
    *ret = NULL;
    if (!value)
        return SHUNT_OK;
    size_t len = json_string_length(value);
    if (!json_is_string(value) || len == 0 || len >= SHUNT_NAME_CAP)
        return handle_say(error, SHUNT_INVALID, "default_arm: expected 1 to 64 characters");
    *ret = strdup(json_string_value(value));
    json_object_del(object, "default_arm");
    return *ret ? SHUNT_OK : handle_say(error, SHUNT_NO_MEMORY, "out of memory");
}

enum shunt_result shunt_route_json(struct shunt_client *client, const char *request_json, char *buf,
                                   size_t cap, size_t *ret_len)
{
    struct shunt_error error = {0};
    struct handle_routed routed = {NULL, NULL};
    ProtobufCMessage *message = NULL;
    json_t *object = NULL;
    char *arm = NULL;
    double timeout_s = 0;
    enum shunt_result r = parse_call(client, request_json, &object, &error);
    if (r == SHUNT_OK)
        r = take_timeout(object, client->options.route_timeout_s, &timeout_s, &error);
    if (r == SHUNT_OK)
        r = take_arm(object, &arm, &error);
    if (r == SHUNT_OK)
        r = read_message(&shunt__v1__route_request__descriptor, object, &message, &error);
    Shunt__V1__RouteRequest *request = (Shunt__V1__RouteRequest *)message;
    if (r == SHUNT_OK)
        r = request_finish(client, request, &error);
    if (r == SHUNT_OK)
        r = handle_route(client, request, arm, timeout_s, &routed, &error);
    enum shunt_result answered =
        r == SHUNT_OK ? answer_take(routed_json(&routed, &error), r, buf, cap, ret_len)
                      : answer_error(r, &error, buf, cap, ret_len);
    protobuf_c_message_free_unpacked(message, NULL);
    if (routed.response)
        shunt__v1__route_response__free_unpacked(routed.response, NULL);
    free(arm);
    json_decref(object);
    return answered;
}

/* ---- report ---- */

/* Takes "later" out of the object. */
static enum shunt_result take_later(json_t *object, bool *ret, struct shunt_error *error)
{
    const json_t *value = json_object_get(object, "later");
    *ret = json_is_true(value);
    if (value && !json_is_boolean(value))
        return handle_say(error, SHUNT_INVALID, "later: expected true or false");
    json_object_del(object, "later");
    return SHUNT_OK;
}

static enum shunt_result report_check(const Shunt__V1__ReportRewardRequest *m,
                                      struct shunt_error *error)
{
    bool id = m->decision_id && m->decision_id[0];
    if (!id && !(m->has_decision_token && m->decision_token.len > 0))
        return handle_say(error, SHUNT_NOT_REPORTABLE,
                          "no decision_id and no decision_token: a fallback or a dry run");
    if (m->n_metrics > HANDLE_VALUES_MAX)
        return handle_say(error, SHUNT_INVALID, "at most 64 metrics");
    if (m->has_decision_token && m->decision_token.len > SHUNT_TOKEN_CAP)
        return handle_say(error, SHUNT_INVALID, "a token is at most 4096 bytes");
    return SHUNT_OK;
}

/* NULL: out of memory. */
static json_t *reported_json(const Shunt__V1__ReportRewardResponse *response)
{
    json_t *json = NULL;
    if (!response)
        return json_pack("{s:b}", "queued", 1);
    if (form_json_from_message(&response->base, FORM_LISTS | FORM_DEFAULTS, &json, NULL) != FORM_OK)
        return NULL;
    if (json_object_set_new(json, "queued", json_false()) != 0) {
        json_decref(json);
        return NULL;
    }
    return json;
}

enum shunt_result shunt_report_json(struct shunt_client *client, const char *report_json, char *buf,
                                    size_t cap, size_t *ret_len)
{
    struct shunt_error error = {0};
    Shunt__V1__ReportRewardResponse *response = NULL;
    ProtobufCMessage *message = NULL;
    json_t *object = NULL;
    double timeout_s = 0;
    bool later = false;
    enum shunt_result r = parse_call(client, report_json, &object, &error);
    if (r == SHUNT_OK)
        r = take_timeout(object, client->options.report_timeout_s, &timeout_s, &error);
    if (r == SHUNT_OK)
        r = take_later(object, &later, &error);
    if (r == SHUNT_OK)
        r = read_message(&shunt__v1__report_reward_request__descriptor, object, &message, &error);
    const Shunt__V1__ReportRewardRequest *report = (const Shunt__V1__ReportRewardRequest *)message;
    if (r == SHUNT_OK)
        r = report_check(report, &error);
    if (r == SHUNT_OK)
        r = handle_report(client, report, timeout_s, later, &response, &error);
    enum shunt_result answered = r == SHUNT_OK
                                     ? answer_take(reported_json(response), r, buf, cap, ret_len)
                                     : answer_error(r, &error, buf, cap, ret_len);
    protobuf_c_message_free_unpacked(message, NULL);
    if (response)
        shunt__v1__report_reward_response__free_unpacked(response, NULL);
    json_decref(object);
    return answered;
}

enum shunt_result shunt_stats_json(struct shunt_client *client, char *buf, size_t cap,
                                   size_t *ret_len)
{
    struct shunt_stats s = SHUNT_STATS_INIT;
    shunt_stats(client, &s);
    json_t *json = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "routed",
                             (json_int_t)s.routed, "fallbacks", (json_int_t)s.fallbacks, "queued",
                             (json_int_t)s.queued, "queued_bytes", (json_int_t)s.queued_bytes,
                             "delivered", (json_int_t)s.delivered, "refused", (json_int_t)s.refused,
                             "dropped", (json_int_t)s.dropped, "retries", (json_int_t)s.retries);
    return answer_take(json, SHUNT_OK, buf, cap, ret_len);
}
