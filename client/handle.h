/* handle.h - what a shunt_client is, and the two calls at the level of messages.
 * Why: the struct and the JSON variants differ only in how they are spelled; the rules of fallback
 * and queueing stand once.
 * Threads: everything in the handle is constant after shunt_open, locks itself, or is atomic. */
#pragma once

#include "client/call.h"
#include "client/outbox.h"
#include "client/shunt.h"
#include "shunt/v1/router.pb-c.h"

#include <stdatomic.h>

#define HANDLE_VALUES_MAX 64
#define HANDLE_ARMS_MAX 256
#define HANDLE_VECTOR_MAX 8192
#define HANDLE_TIMEOUT_MAX_S 3600.0
/* What the server takes of ReportReward, and of ReportRewards with room for what is around them. */
#define HANDLE_REPORT_BYTES_MAX ((size_t)64 << 10)
#define HANDLE_REPORTS_MAX 1000
#define HANDLE_REPORTS_BYTES_MAX ((size_t)3 << 20)

struct shunt_client {
    struct shunt_options options; /* Complete: no zero, no NULL but default_arm. Strings owned. */
    struct call_channel *channel;
    struct outbox *outbox;
    atomic_uint_fast64_t routed, fallbacks;
    atomic_bool away; /* The last delivery found no server; the next answer to a route ends it. */
};

/* Clears the error; error may be NULL. */
void handle_clear(struct shunt_error *error);
/* Says why and returns r; error may be NULL. */
enum shunt_result handle_say(struct shunt_error *error, enum shunt_result r, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Copies what a struct of the caller's size has of the library's struct; the rest stays zero.
 * false: its size was never set. */
bool handle_read(void *ours, size_t our_size, const void *theirs);
/* The other way; the size member stays the caller's. */
void handle_write(void *theirs, const void *ours, size_t our_size);
/* *timeout_s: 0 becomes fallback_s. false: not in (0, 3600]. */
bool handle_timeout(double *timeout_s, double fallback_s);

/* On the monotonic clock. */
double handle_now_s(void);
/* Whether a status speaks of the server's health and not of the request: the host still needs an
 * arm. */
bool handle_is_outage(int status);

/* protobuf-c's structs want text without const; packing only reads it. */
static inline char *handle_text(const char *text)
{
    return (char *)(uintptr_t)text;
}

/* What a route came to: an answer (response) or a fallback (arm, borrowed from request, client or
 * default_arm). */
struct handle_routed {
    Shunt__V1__RouteResponse *response;
    const char *fallback_arm;
};

/* What a status of the server, or of a call, comes to: 0 needs a usable response (taken in any
 * case, NULL without one); an outage falls back; anything else is SHUNT_REFUSED. `request` says
 * which arms are allowed. The error is filled on a fallback too. */
enum shunt_result handle_settle(struct shunt_client *client, const Shunt__V1__RouteRequest *request,
                                const char *default_arm, struct call_error *call,
                                Shunt__V1__RouteResponse *take, struct handle_routed *ret,
                                struct shunt_error *error);
/* One result of many as a call would have told it. Its response, or NULL, is taken out of it; r may
 * be NULL: there is none. */
Shunt__V1__RouteResponse *handle_open_result(Shunt__V1__RouteResult *r,
                                             struct call_error *ret_call);
/* Fills the router in when absent. default_arm NULL: that of the options. The response is the
 * caller's. The error is filled on a fallback too. */
enum shunt_result handle_route(struct shunt_client *client, Shunt__V1__RouteRequest *request,
                               const char *default_arm, double timeout_s, struct handle_routed *ret,
                               struct shunt_error *error);

/* *ret_response NULL: queued, and the error tells why unless `later`. */
enum shunt_result handle_report(struct shunt_client *client,
                                const Shunt__V1__ReportRewardRequest *report, double timeout_s,
                                bool later, Shunt__V1__ReportRewardResponse **ret_response,
                                struct shunt_error *error);
/* What a report came to that the server answered, or did not (call): taken; refused; or queued, for
 * which it waits wait_s where the options say so. *ret_response as above, out of `take`, which is
 * taken in any case. */
enum shunt_result handle_settle_report(struct shunt_client *client,
                                       const Shunt__V1__ReportRewardRequest *report,
                                       const struct call_error *call,
                                       Shunt__V1__ReportRewardResponse *take, double wait_s,
                                       Shunt__V1__ReportRewardResponse **ret_response,
                                       struct shunt_error *error);
/* At most HANDLE_REPORTS_MAX reports in one call. 0: *ret_response is the caller's. */
int handle_report_rewards(struct shunt_client *client, Shunt__V1__ReportRewardRequest **reports,
                          size_t n, double timeout_s,
                          Shunt__V1__ReportRewardsResponse **ret_response,
                          struct call_error *ret_call);
/* One result of many as ReportReward would have told it; its response, or NULL, is taken out of it.
 */
Shunt__V1__ReportRewardResponse *
handle_open_reported(const Shunt__V1__ReportRewardsResponse *response, size_t i,
                     struct call_error *ret_call);
/* Whether the same report may be taken later. */
bool handle_report_passing(const struct call_error *call);
/* Says why a call failed and what it means: SHUNT_UNAVAILABLE when the server was not there. */
enum shunt_result handle_refused(int status, const struct call_error *call,
                                 struct shunt_error *error);
/* The outbox's way to the server; at most HANDLE_REPORTS_MAX reports. */
void handle_deliver(void *client, const ProtobufCMessage *const *reports, size_t n,
                    enum outbox_verdict *ret_verdicts);

/* The text as it may be sent: a malloc'd window. NULL: no memory. */
char *handle_window(const struct shunt_client *client, const char *text, size_t len);
