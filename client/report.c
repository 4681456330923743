/* shunt_report, and what every way of reporting shares: check the arguments, borrow them as a
 * message, fill the outcome. */
#include "client/report.h"

#include "client/route.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

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

static void report_borrow(struct report_message *x)
{
    const struct shunt_report *r = &x->read;
    Shunt__V1__ReportRewardRequest *m = &x->m;
    shunt__v1__report_reward_request__init(m);
    if (r->decision_id && r->decision_id[0])
        m->decision_id = handle_text(r->decision_id);
    m->has_decision_token = r->token_len > 0;
    m->decision_token.data = (uint8_t *)(uintptr_t)r->token;
    m->decision_token.len = r->token_len;
    m->has_status = 1;
    m->status = (Shunt__V1__Status)r->status;
    for (size_t i = 0; i < r->metrics_n; i++) {
        shunt__v1__report_reward_request__metrics_entry__init(&x->entries[i]);
        x->entries[i].key = handle_text(r->metrics[i].name);
        x->entries[i].has_value = 1;
        x->entries[i].value = r->metrics[i].value;
        x->metrics[i] = &x->entries[i];
    }
    m->metrics = x->metrics;
    m->n_metrics = r->metrics_n;
    if (r->served_arm && r->served_arm[0])
        m->served_arm_id = handle_text(r->served_arm);
    if (r->idempotency_key && r->idempotency_key[0])
        m->idempotency_key = handle_text(r->idempotency_key);
    if (r->source && r->source[0])
        m->source = handle_text(r->source);
}

enum shunt_result report_message_init(struct report_message *x, const struct shunt_client *client,
                                      const struct shunt_report *report, struct shunt_error *error)
{
    struct shunt_report *r = &x->read;
    bool read = report && handle_read(r, sizeof *r, report);
    const char *wrong =
        read ? report_wrong(client, r) : "start the report and the outcome with their _INIT";
    if (wrong) {
        (void)handle_say(error, SHUNT_INVALID, "%s", wrong);
        return SHUNT_INVALID;
    }
    if (r->token_len == 0 && !(r->decision_id && r->decision_id[0])) {
        (void)handle_say(error, SHUNT_NOT_REPORTABLE,
                         "no decision_id and no token: a fallback or a dry run");
        return SHUNT_NOT_REPORTABLE;
    }
    report_borrow(x);
    return SHUNT_OK;
}

bool report_outcome_fits(const struct shunt_outcome *outcome)
{
    return !outcome || outcome->size >= sizeof outcome->size;
}

void report_outcome(Shunt__V1__ReportRewardResponse *response, struct shunt_outcome *ret)
{
    struct shunt_outcome o = {.queued = response == NULL};
    if (response) {
        o.duplicate = response->duplicate;
        o.unweighted = response->unweighted;
        o.orphaned = response->orphaned;
        o.position = response->position;
        shunt__v1__report_reward_response__free_unpacked(response, NULL);
    }
    if (ret)
        handle_write(ret, &o, sizeof o);
}

enum shunt_result shunt_report(struct shunt_client *client, const struct shunt_report *report,
                               struct shunt_outcome *ret, struct shunt_error *ret_error)
{
    struct report_message x;
    Shunt__V1__ReportRewardResponse *response;
    handle_clear(ret_error);
    if (!client || !report_outcome_fits(ret))
        return handle_say(ret_error, SHUNT_INVALID,
                          "start the report and the outcome with their _INIT");
    enum shunt_result result = report_message_init(&x, client, report, ret_error);
    if (result == SHUNT_OK)
        result = handle_report(client, &x.m, x.read.timeout_s, x.read.later, &response, ret_error);
    if (result == SHUNT_OK)
        report_outcome(response, ret);
    return result;
}
