/* shunt_report_batch: many reports in as few messages as the server's limits allow. */
#include "client/report.h"

#include <stdlib.h>

enum { BATCH_MAX = 100000 };

struct batch {
    struct shunt_client *client;
    /* The call that is being made up: (room), the first n of them. */
    struct report_message *messages;
    Shunt__V1__ReportRewardRequest **list;
    size_t *at; /* Which report each of them is. */
    size_t room, n, bytes;
    double until_s;
    bool passing; /* A call failed in passing, as `why` says: what follows is queued untried. */
    struct call_error why;
    struct shunt_outcome *const *outcomes; /* May be NULL, as may be `errors`. */
    enum shunt_result *results;
    struct shunt_error *errors;
};

static struct shunt_error *error_of(const struct batch *b, size_t i)
{
    return b->errors ? &b->errors[i] : NULL;
}

static void settled(const struct batch *b, size_t i, enum shunt_result result,
                    Shunt__V1__ReportRewardResponse *response)
{
    b->results[i] = result;
    if (result == SHUNT_OK)
        report_outcome(response, b->outcomes ? b->outcomes[i] : NULL);
}

/* Report i, which is `call` away from being taken. */
static void settle(const struct batch *b, size_t i, const Shunt__V1__ReportRewardRequest *report,
                   const struct call_error *call, Shunt__V1__ReportRewardResponse *take)
{
    Shunt__V1__ReportRewardResponse *response;
    enum shunt_result result = handle_settle_report(
        b->client, report, call, take, b->until_s - handle_now_s(), &response, error_of(b, i));
    settled(b, i, result, response);
}

static void send(struct batch *b)
{
    Shunt__V1__ReportRewardsResponse *response = NULL;
    struct call_error whole;
    if (b->n == 0)
        return;
    int status = handle_report_rewards(b->client, b->list, b->n, b->until_s - handle_now_s(),
                                       &response, &whole);
    for (size_t k = 0; k < b->n; k++) {
        struct call_error call = whole;
        Shunt__V1__ReportRewardResponse *one =
            status == 0 ? handle_open_reported(response, k, &call) : NULL;
        settle(b, b->at[k], b->list[k], &call, one);
    }
    if (response)
        shunt__v1__report_rewards_response__free_unpacked(response, NULL);
    b->n = b->bytes = 0;
    b->passing = status != 0 && handle_report_passing(&whole);
    b->why = whole;
}

/* A report that no call shall carry now. */
static void put_off(const struct batch *b, size_t i, const struct report_message *x)
{
    Shunt__V1__ReportRewardResponse *response = NULL;
    if (b->passing && !x->read.later) {
        settle(b, i, &x->m, &b->why, NULL);
        return;
    }
    enum shunt_result result = handle_report(b->client, &x->m, b->until_s - handle_now_s(), true,
                                             &response, error_of(b, i));
    settled(b, i, result, response);
}

/* Reads report i into the place behind those that go together. */
static bool read_report(const struct batch *b, size_t i, const struct shunt_report *report,
                        size_t *ret_bytes)
{
    struct report_message *x = &b->messages[b->n];
    struct shunt_error *error = error_of(b, i);
    handle_clear(error);
    if (b->outcomes && !report_outcome_fits(b->outcomes[i])) {
        b->results[i] = handle_say(error, SHUNT_INVALID, "start the outcome with its _INIT");
        return false;
    }
    b->results[i] = report_message_init(x, b->client, report, error);
    if (b->results[i] != SHUNT_OK)
        return false;
    *ret_bytes = protobuf_c_message_get_packed_size(&x->m.base);
    if (*ret_bytes <= HANDLE_REPORT_BYTES_MAX)
        return true;
    b->results[i] = handle_say(error, SHUNT_INVALID, "the report has %zu bytes; at most %zu",
                               *ret_bytes, HANDLE_REPORT_BYTES_MAX);
    return false;
}

static void take(struct batch *b, size_t i, const struct shunt_report *report)
{
    size_t bytes;
    if (b->n == b->room)
        send(b);
    if (!read_report(b, i, report, &bytes))
        return;
    if (b->bytes + bytes > HANDLE_REPORTS_BYTES_MAX) {
        send(b);
        if (!read_report(b, i, report, &bytes)) /* Again, as a message must not be moved. */
            return;
    }
    const struct report_message *x = &b->messages[b->n];
    if (x->read.later || b->passing || (b->n == 0 && outbox_retrying(b->client->outbox))) {
        put_off(b, i, x);
        return;
    }
    b->list[b->n] = &b->messages[b->n].m;
    b->at[b->n++] = i;
    b->bytes += bytes;
}

/* timeout_s of the first report, if it has one that can be. */
static double timeout_of(const struct shunt_client *client, const struct shunt_report *first)
{
    struct shunt_report r;
    if (first && handle_read(&r, sizeof r, first) &&
        handle_timeout(&r.timeout_s, client->options.report_timeout_s))
        return r.timeout_s;
    return client->options.report_timeout_s;
}

static void batch_done(const struct batch *b)
{
    free(b->messages);
    free(b->list);
    free(b->at);
}

enum shunt_result shunt_report_batch(struct shunt_client *client,
                                     const struct shunt_report *const *reports, size_t n,
                                     struct shunt_outcome *const *ret_outcomes,
                                     enum shunt_result *ret_results, struct shunt_error *ret_errors,
                                     struct shunt_error *ret_error)
{
    struct batch b = {.client = client,
                      .room = n < HANDLE_REPORTS_MAX ? n : HANDLE_REPORTS_MAX,
                      .outcomes = ret_outcomes,
                      .results = ret_results,
                      .errors = ret_errors};
    handle_clear(ret_error);
    if (!client || !reports || !ret_results || n == 0 || n > BATCH_MAX)
        return handle_say(ret_error, SHUNT_INVALID, "a batch has 1 to %d reports", BATCH_MAX);
    b.until_s = handle_now_s() + timeout_of(client, reports[0]);
    b.messages = malloc(b.room * sizeof *b.messages);
    b.list = calloc(b.room, sizeof *b.list);
    b.at = calloc(b.room, sizeof *b.at);
    enum shunt_result result = SHUNT_OK;
    if (b.messages && b.list && b.at) {
        for (size_t i = 0; i < n; i++)
            take(&b, i, reports[i]);
        send(&b);
    } else {
        result = handle_say(ret_error, SHUNT_NO_MEMORY, "out of memory");
    }
    batch_done(&b);
    return result;
}
