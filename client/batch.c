/* shunt_route_batch: many requests in one message. */
#include "client/route.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH_MAX = 256 };

struct batch {
    struct route_message *messages; /* (n), the first `made` of them. */
    Shunt__V1__RouteRequest **list;
    size_t n, made;
};

static void batch_done(struct batch *b)
{
    for (size_t i = 0; i < b->made; i++)
        route_message_done(&b->messages[i]);
    free(b->messages);
    free(b->list);
}

static enum shunt_result batch_init(struct batch *b, const struct shunt_client *client,
                                    const struct shunt_request *const *requests,
                                    struct shunt_decision *const *decisions,
                                    struct shunt_error *error)
{
    b->messages = calloc(b->n, sizeof *b->messages);
    b->list = calloc(b->n, sizeof *b->list);
    if (!b->messages || !b->list)
        return handle_say(error, SHUNT_NO_MEMORY, "out of memory");
    for (; b->made < b->n; b->made++) {
        size_t i = b->made;
        if (!requests[i] || !decisions[i] || decisions[i]->size < sizeof decisions[i]->size)
            return handle_say(error, SHUNT_INVALID,
                              "start every request and decision with its _INIT");
        enum shunt_result r = route_message_init(&b->messages[i], client, requests[i], error);
        if (r != SHUNT_OK)
            return r;
        b->list[i] = &b->messages[i].m;
    }
    return SHUNT_OK;
}

static void ask(struct shunt_client *client, const struct batch *b,
                struct shunt_decision *const *ret_decisions, enum shunt_result *ret_results,
                struct shunt_error *ret_errors)
{
    Shunt__V1__RouteBatchRequest m = SHUNT__V1__ROUTE_BATCH_REQUEST__INIT;
    struct call_error whole;
    ProtobufCMessage *message = NULL;
    m.requests = b->list;
    m.n_requests = b->n;
    int status = call_unary(client->channel, "/shunt.v1.Router/RouteBatch", &m.base,
                            &shunt__v1__route_batch_response__descriptor,
                            b->messages[0].read.timeout_s, &message, &whole);
    Shunt__V1__RouteBatchResponse *answer = (Shunt__V1__RouteBatchResponse *)message;
    for (size_t i = 0; i < b->n; i++) {
        struct call_error call = whole;
        struct handle_routed routed;
        Shunt__V1__RouteResponse *response = NULL;
        if (status == 0)
            response = handle_open_result(i < answer->n_results ? answer->results[i] : NULL, &call);
        ret_results[i] = handle_settle(client, b->list[i], b->messages[i].read.default_arm, &call,
                                       response, &routed, ret_errors ? &ret_errors[i] : NULL);
        if (ret_results[i] == SHUNT_OK)
            route_decision(&routed, ret_decisions[i]);
    }
    if (message)
        protobuf_c_message_free_unpacked(message, NULL);
}

enum shunt_result shunt_route_batch(struct shunt_client *client,
                                    const struct shunt_request *const *requests, size_t n,
                                    struct shunt_decision *const *ret_decisions,
                                    enum shunt_result *ret_results, struct shunt_error *ret_errors,
                                    struct shunt_error *ret_error)
{
    struct batch b = {.n = n};
    handle_clear(ret_error);
    if (!client || !requests || !ret_decisions || !ret_results || n == 0 || n > BATCH_MAX)
        return handle_say(ret_error, SHUNT_INVALID, "a batch has 1 to %d requests", BATCH_MAX);
    enum shunt_result result = batch_init(&b, client, requests, ret_decisions, ret_error);
    if (result == SHUNT_OK)
        ask(client, &b, ret_decisions, ret_results, ret_errors);
    batch_done(&b);
    return result;
}
