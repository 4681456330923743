/* route.h - a caller's request as a message, an answer as a decision: what shunt_route,
 * shunt_route_batch and streams share.
 * Owns: a route_message owns the window of its text and borrows the rest from the caller.
 * Threads: pure. */
#pragma once

#include "client/handle.h"

enum { ROUTE_MODALITIES = 5 };

struct route_message {
    struct shunt_request read; /* The caller's, complete. */
    Shunt__V1__RouteRequest m;
    Shunt__V1__RouteRequest__WeightsEntry entries[HANDLE_VALUES_MAX], *weights[HANDLE_VALUES_MAX];
    Shunt__V1__RouteRequest__LimitsEntry limit[HANDLE_VALUES_MAX], *limits[HANDLE_VALUES_MAX];
    Shunt__V1__Modality modalities[ROUTE_MODALITIES];
    Shunt__V1__SessionBudget budget;
};

/* On anything but SHUNT_OK there is nothing to be done. The struct must not be moved. */
enum shunt_result route_message_init(struct route_message *x, const struct shunt_client *client,
                                     const struct shunt_request *request,
                                     struct shunt_error *error);
void route_message_done(struct route_message *x);
/* Frees the response. */
void route_decision(const struct handle_routed *routed, struct shunt_decision *ret);

/* NULL, or 1 to 64 characters. */
bool route_name_fits(const char *name);
/* NULL, or what is wrong. */
const char *route_values_wrong(const struct shunt_value *values, size_t n);
