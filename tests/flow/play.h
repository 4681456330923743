/* play.h - the steps that every flow begins with: a router, its arms, a decision, a report.
 * Each fails the test by itself when it does not work. */
#pragma once

#include "client/call.h"
#include "shunt/v1/admin.pb-c.h"
#include "shunt/v1/router.pb-c.h"
#include "tests/flow/server.h"

/* A server and a channel to each of its services. */
struct played {
    struct server server;
    struct call_channel *router, *admin;
};
/* For cmocka: *state is a struct played, started; stopped with SIGTERM, which must end well. */
int played_setup(void **state);
/* With the router "flow" of play_router. */
int played_flow_setup(void **state);
int played_teardown(void **state);
/* Channels to the server as it runs now, and away again. */
void played_connect(struct played *p);
void played_leave(struct played *p);
/* An Admin call that must end with this status; its answer is the caller's. */
ProtobufCMessage *played_admin(struct played *p, const char *method, ProtobufCMessage *request,
                               const ProtobufCMessageDescriptor *response, int expected);

/* A router with the arms "a" and "b", two ready features, no task slots and no scalars: d is 3. */
void play_router(struct call_channel *admin, const char *name);

/* The arm of an adapter at /models/NAME, with its storage. */
struct play_adapter {
    Shunt__V1__ArmSpec spec;
    Shunt__V1__Adapter adapter;
    char name[80], path[96], base[16];
};
void play_adapter(struct play_adapter *a, const char *name, uint64_t bytes);

struct decision_kept {
    char id[40], arm[80];
    unsigned char token[4096];
    size_t token_len;
};
void play_route(struct call_channel *router, const char *name, struct decision_kept *ret);
/* The same with defer_activation. */
void play_route_ahead(struct call_channel *router, const char *name, struct decision_kept *ret);

/* The status of a report of one metric; duplicate and counted_n as answered when it is 0. */
struct report_seen {
    int duplicate;
    size_t counted_n;
};
int play_report(struct call_channel *router, const struct decision_kept *d, const char *metric,
                double value, struct report_seen *ret, struct call_error *error);
/* The same in the name of a source; NULL: of none. */
int play_report_as(struct call_channel *router, const struct decision_kept *d, const char *source,
                   const char *metric, double value, struct report_seen *ret,
                   struct call_error *error);
