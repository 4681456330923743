/* shunt_end_session: the end of a session, with a reward for all of it. shunt_activate: a step that
 * was decided ahead begins. */
#include "client/handle.h"

#include <math.h>
#include <string.h>

static const char *end_wrong(const struct shunt_client *client, struct shunt_session_end *e)
{
    if (!e->session_id || !e->session_id[0] || strlen(e->session_id) >= SHUNT_NAME_CAP)
        return "session_id is a name of 1 to 64 characters";
    if (!handle_timeout(&e->timeout_s, client->options.report_timeout_s))
        return "timeout_s is in (0, 3600]; 0 means that of the options";
    if (e->metrics_n > HANDLE_VALUES_MAX || (e->metrics_n > 0 && !e->metrics))
        return "at most 64 named values";
    for (size_t i = 0; i < e->metrics_n; i++)
        if (!e->metrics[i].name || !isfinite(e->metrics[i].value))
            return "values have a name and are finite";
    return NULL;
}

static void end_fill(struct shunt_session_ended *ret, const Shunt__V1__EndSessionResponse *m)
{
    memset(ret, 0, sizeof *ret);
    ret->credited = m->credited;
    ret->reported = m->reported;
    ret->lost = m->lost;
    if (!m->session)
        return;
    ret->steps = m->session->steps;
    ret->used = m->session->used;
}

static enum shunt_result end_call(struct shunt_client *client, const struct shunt_session_end *e,
                                  struct shunt_session_ended *ret, struct shunt_error *ret_error)
{
    Shunt__V1__EndSessionRequest__MetricsEntry entries[HANDLE_VALUES_MAX];
    Shunt__V1__EndSessionRequest__MetricsEntry *metrics[HANDLE_VALUES_MAX];
    Shunt__V1__EndSessionRequest m;
    struct call_error call;
    ProtobufCMessage *message = NULL;
    shunt__v1__end_session_request__init(&m);
    m.router = handle_text(e->router ? e->router : client->options.router);
    m.session_id = handle_text(e->session_id);
    for (size_t i = 0; i < e->metrics_n; i++) {
        shunt__v1__end_session_request__metrics_entry__init(&entries[i]);
        entries[i].key = handle_text(e->metrics[i].name);
        entries[i].has_value = 1;
        entries[i].value = e->metrics[i].value;
        metrics[i] = &entries[i];
    }
    m.metrics = metrics;
    m.n_metrics = e->metrics_n;
    int status =
        call_unary(client->channel, "/shunt.v1.Router/EndSession", &m.base,
                   &shunt__v1__end_session_response__descriptor, e->timeout_s, &message, &call);
    if (status != 0)
        return handle_refused(status, &call, ret_error);
    end_fill(ret, (const Shunt__V1__EndSessionResponse *)message);
    protobuf_c_message_free_unpacked(message, NULL);
    return SHUNT_OK;
}

enum shunt_result shunt_end_session(struct shunt_client *client,
                                    const struct shunt_session_end *end,
                                    struct shunt_session_ended *ret, struct shunt_error *ret_error)
{
    struct shunt_session_end e;
    struct shunt_session_ended ended;
    handle_clear(ret_error);
    if (!client || !end || (ret && ret->size < sizeof ret->size) || !handle_read(&e, sizeof e, end))
        return handle_say(ret_error, SHUNT_INVALID,
                          "start the end and the answer with their _INIT");
    const char *wrong = end_wrong(client, &e);
    if (wrong)
        return handle_say(ret_error, SHUNT_INVALID, "%s", wrong);
    enum shunt_result result = end_call(client, &e, &ended, ret_error);
    if (result == SHUNT_OK && ret)
        handle_write(ret, &ended, sizeof ended);
    return result;
}

enum shunt_result shunt_activate(struct shunt_client *client, const struct shunt_decision *decision,
                                 const char *session_id, double timeout_s,
                                 struct shunt_error *ret_error)
{
    Shunt__V1__ActivateDecisionRequest m;
    struct call_error call;
    ProtobufCMessage *message = NULL;
    unsigned char token[SHUNT_TOKEN_CAP];
    handle_clear(ret_error);
    if (!client || !decision || decision->size < sizeof decision->size)
        return handle_say(ret_error, SHUNT_INVALID, "a client and a decision, please");
    if (!decision->decision_id[0] || decision->token_len > sizeof token)
        return handle_say(ret_error, SHUNT_NOT_REPORTABLE, "a fallback or a dry run");
    if (!handle_timeout(&timeout_s, client->options.report_timeout_s))
        return handle_say(ret_error, SHUNT_INVALID, "timeout_s is in (0, 3600]; 0: the options'");
    shunt__v1__activate_decision_request__init(&m);
    m.decision_id = handle_text(decision->decision_id);
    m.session_id = handle_text(session_id);
    memcpy(token, decision->token, decision->token_len);
    m.has_decision_token = decision->token_len > 0;
    m.decision_token.data = token;
    m.decision_token.len = decision->token_len;
    int status =
        call_unary(client->channel, "/shunt.v1.Router/ActivateDecision", &m.base,
                   &shunt__v1__activate_decision_response__descriptor, timeout_s, &message, &call);
    if (status != 0)
        return handle_refused(status, &call, ret_error);
    protobuf_c_message_free_unpacked(message, NULL);
    return SHUNT_OK;
}
