/* shunt.h - libshunt: ask a shunt server which model should serve a request, say how it went.
 *
 * This header is the manual. Compile with `pkg-config --cflags --libs shunt`. In short:
 *
 *     struct shunt_options options = SHUNT_OPTIONS_INIT;
 *     options.address = "127.0.0.1:7077";
 *     options.default_arm = "small";            // served when shunt cannot be asked
 *     struct shunt_client *client = shunt_open(&options, NULL);
 *
 *     struct shunt_request request = SHUNT_REQUEST_INIT;
 *     request.task = "code";
 *     struct shunt_decision decision = SHUNT_DECISION_INIT;
 *     if (shunt_route(client, &request, &decision, NULL) == SHUNT_OK)
 *         ... send the prompt to decision.arm ...
 *
 *     struct shunt_value metrics[] = {{"quality", 0.8}, {"cost_usd", 0.0004}};
 *     struct shunt_report report = shunt_report_of(&decision);
 *     report.metrics = metrics;
 *     report.metrics_n = 2;
 *     shunt_report(client, &report, NULL, NULL);
 *
 *     shunt_flush(client, 5);
 *     shunt_close(client);
 *
 * What is promised
 * - Every call that may wait has a deadline and returns by it.
 * - A server that is down or slow never stops you: shunt_route answers with the default arm and
 *   says so (`fallback`); shunt_report keeps the outcome in a bounded queue in this process and a
 *   thread of the library delivers it later (`queued`). Outcomes count once per decision however
 *   often they are sent. What is still queued when the process ends is lost: shunt_flush first.
 * - A fallback decision was made by nobody, so it teaches nobody: it has no id and no token, and
 *   reporting it gives SHUNT_NOT_REPORTABLE, at no cost. Just do not.
 * - Prompt text leaves the process only if options.send_text is true, and then at most
 *   text_window_bytes of it: the beginning and the end of a long prompt. It is never queued.
 * - The library calls nothing of yours: no callbacks, no signal handlers, no output of its own.
 * gRPC below it writes to stderr when a TLS handshake fails, unless GRPC_VERBOSITY is NONE.
 *
 * Memory: what you pass in is read during the call only; answers go to memory of yours. Only the
 * handle is the library's.
 * Threads: any number of threads may use one handle at once; only shunt_close must be the last and
 * alone. After fork() a child must not touch a handle of its parent: open after forking.
 * Binary interface: structs begin with their size as you compiled it, so they can grow. Start them
 * with their _INIT; zero and NULL mean "the default" everywhere. Names starting with shunt_ are
 * all that the shared library exports.
 * Security: plaintext gRPC for loopback and unix sockets; TLS, with a certificate of yours if the
 * server asks for one, by tls_* of the options. A server whose certificate is not trusted, expired
 * or another's is a server that is away: the default arm serves, outcomes wait, and the error says
 * what is wrong with it. Nothing is ever sent in the clear where TLS was asked for.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SHUNT_API __attribute__((visibility("default")))

#define SHUNT_ID_CAP 38   /* 36 characters, the NUL, and one to keep the size even. */
#define SHUNT_NAME_CAP 66 /* Names are at most 64 characters. */
#define SHUNT_TOKEN_CAP 4096
#define SHUNT_URL_CAP 258    /* An engine's URL is at most 256 bytes. */
#define SHUNT_JSON_CAP 16384 /* Enough for any answer in JSON but a long explained ranking. */

/* ---- results ---- */

enum shunt_result {
    SHUNT_OK = 0,
    SHUNT_INVALID = 1, /* An argument is wrong; the message says which. Nothing was sent. */
    SHUNT_NO_MEMORY = 2,
    SHUNT_REFUSED = 3,        /* The server said no; see status, code and message. Do not retry. */
    SHUNT_UNAVAILABLE = 4,    /* No answer in time, and there is no arm to fall back to. */
    SHUNT_QUEUE_FULL = 5,     /* The outcome is dropped and counted. */
    SHUNT_NOT_REPORTABLE = 6, /* The decision has neither id nor token: a fallback or a dry run. */
    SHUNT_SMALL_BUFFER = 7,   /* *ret_len says how much is needed. The call itself was made. */
    SHUNT_TIMEOUT =
        8,           /* shunt_flush: outcomes are still queued. shunt_stream_next: no answer yet. */
    SHUNT_EMPTY = 9, /* shunt_stream_next: nothing is without an answer. */
};

/* Why. May be NULL wherever it is asked for. */
struct shunt_error {
    int status;         /* gRPC's number, 0 if the server was not involved. */
    char code[64];      /* The server's stable machine code, such as ARM_NOT_FOUND, or "". */
    char message[1024]; /* A sentence for people. */
};

/* "NOT_REPORTABLE" and the like; never NULL. */
SHUNT_API const char *shunt_result_name(enum shunt_result result);

/* ---- the handle ---- */

enum shunt_queue_policy {
    SHUNT_DROP = 0,  /* A full queue refuses at once. */
    SHUNT_BLOCK = 1, /* A full queue makes shunt_report wait for room, until its deadline. */
};

struct shunt_options {
    size_t size;
    const char *address;     /* HOST:PORT or unix:PATH. NULL: 127.0.0.1:7077. */
    const char *router;      /* Used when a request names none. NULL: "default". */
    const char *default_arm; /* Answer when shunt cannot be asked. NULL: none, SHUNT_UNAVAILABLE. */
    double route_timeout_s;  /* Deadline of shunt_route, (0, 3600]. 0: 0.25. */
    double report_timeout_s; /* Deadline of shunt_report and of each later delivery. 0: 2. */
    bool send_text;          /* Whether prompt text may leave the process. */
    size_t text_window_bytes; /* Most text that is sent, [256, 1048576]. 0: 16384. */
    size_t queue_max;         /* Outcomes queued, at most 10,000,000. 0: 10,000. */
    size_t queue_max_bytes;   /* Their bytes. 0: 16 MiB. */
    enum shunt_queue_policy queue_policy;
    double retry_first_s; /* First pause after a failed delivery; doubles. 0: 0.1. */
    double retry_max_s;   /* Longest pause. 0: 30. */
    /* TLS, for a HOST:PORT; any of these asks for it. Paths are of PEM files, which are read once,
     * by shunt_open. */
    const char *tls_ca;          /* Whom to trust. NULL: the system's roots. */
    const char *tls_cert;        /* Your certificate chain, if the server asks for one, */
    const char *tls_key;         /* and its private key. */
    const char *tls_server_name; /* Name that the server's certificate has to bear. NULL: the host
                                  * of the address. */
    bool tls;                    /* TLS though none of these is given. */
};
#define SHUNT_OPTIONS_INIT                                                                         \
    {                                                                                              \
        .size = sizeof(struct shunt_options)                                                       \
    }

struct shunt_client;

/* Never waits for the server. NULL: see ret_error. options may be NULL. */
SHUNT_API struct shunt_client *shunt_open(const struct shunt_options *options,
                                          struct shunt_error *ret_error);
/* Stops the delivery thread, which may take a delivery's deadline; queued outcomes are lost. NULL
 * is fine. */
SHUNT_API void shunt_close(struct shunt_client *client);

/* ---- routing ---- */

struct shunt_value {
    const char *name;
    double value;
};

struct shunt_request {
    size_t size;
    const char *router;    /* NULL: that of the options. */
    const char *task;      /* Task label. NULL: unknown. */
    const char *text;      /* The prompt, UTF-8; looked at only if options.send_text. */
    size_t text_len;       /* 0: text ends at its NUL. */
    const float *features; /* As many as the router's features_n. */
    size_t features_n;
    const float *embedding; /* As many as the router's embedding_n. */
    size_t embedding_n;
    const struct shunt_value *weights; /* In place of the router's; at most 64. */
    size_t weights_n;
    const char *const *candidates; /* Arms to choose from; at most 256. None: all. */
    size_t candidates_n;
    const char *const *exclude; /* Arms not to choose; at most 256. */
    size_t exclude_n;
    const char *decision_id; /* Your own UUID: asking again with it gives the same decision. */
    const char *default_arm; /* In place of that of the options, for this request. */
    double timeout_s;        /* 0: that of the options. */
    bool dry_run;            /* Decide, but count nothing. */
    /* Where an agent's run stands; 0 and false: not said. See RouteRequest in router.proto for what
     * each does. */
    uint64_t tokens_so_far;     /* Of this run, in and out. */
    uint32_t turn;              /* Turns of the conversation before this one. */
    uint32_t tool_step;         /* Tool calls of this run so far. */
    uint32_t tool_errors;       /* Of those, failed. */
    uint32_t images;            /* In the prompt. */
    uint32_t max_output_tokens; /* Most that you will take. */
    bool json_required;         /* The answer must be JSON. */
    bool tools_required;        /* The arm must call tools. */
    /* A step of a session. See RouteRequest in router.proto. */
    const char *session_id;     /* NULL: none. */
    const char *session_metric; /* Of a strict budget, such as "cost_usd". NULL: none is given. */
    double session_budget;      /* In that metric's unit. With it there is no fallback: what nobody
                                 * reserves nobody may spend. */
    uint32_t input_tokens;      /* Of the prompt; 0: not counted. Prices bound only what is. */
    bool defer_activation;      /* It counts once you call shunt_activate, or report on it. */
    /* Who can serve it, and who pays. A fallback looks at none of these. */
    const char *selector; /* Labels of the arms to choose from: "tier in (small,medium),!beta". */
    const char *stage;    /* A stage of the router. NULL: none. */
    const char *tenant;   /* On whose behalf. NULL: nobody in particular. */
    const char *baseline; /* What you would have chosen; MODE_APPRENTICE answers it. */
    const struct shunt_value *limits; /* Bounds on metrics in their own unit; at most 64. */
    size_t limits_n;
    uint32_t modalities; /* What the prompt holds: SHUNT_IMAGE | ... Text need not be said. */
};
/* Bits of shunt_request.modalities. */
enum shunt_modality {
    SHUNT_TEXT = 1 << 0,
    SHUNT_IMAGE = 1 << 1,
    SHUNT_AUDIO = 1 << 2,
    SHUNT_VIDEO = 1 << 3,
    SHUNT_FILE = 1 << 4, /* A document in its own form, such as PDF. */
};
#define SHUNT_REQUEST_INIT                                                                         \
    {                                                                                              \
        .size = sizeof(struct shunt_request)                                                       \
    }

enum shunt_reason {
    SHUNT_REASON_UNSPECIFIED = 0, /* Also that of a fallback. */
    SHUNT_REASON_EXPLOIT = 1,
    SHUNT_REASON_EXPLORE = 2,
    SHUNT_REASON_NEWCOMER = 3,
    SHUNT_REASON_ONLY_ELIGIBLE = 4,
    SHUNT_REASON_COOLDOWN_PROBE = 5,
    SHUNT_REASON_ALL_COOLING = 6,
    SHUNT_REASON_FIXED = 7,
    SHUNT_REASON_BASELINE = 8,
    SHUNT_REASON_SESSION = 9,
    SHUNT_REASON_SESSION_MOVED = 10,
    SHUNT_REASON_PROBE = 11,
    SHUNT_REASON_ADAPTER_PROBE = 12,
};

/* Where an adapter's weights are. */
enum shunt_residence {
    SHUNT_COLD = 0,     /* Not in fast memory: a request for it pages them first. */
    SHUNT_LOADING = 1,  /* The same, and they are on their way. */
    SHUNT_RESIDENT = 2, /* In fast memory of `replica`, or, without one, of the engine. */
};

struct shunt_decision {
    size_t size;
    char arm[SHUNT_NAME_CAP];       /* The arm that shall serve. */
    char decision_id[SHUNT_ID_CAP]; /* 36 characters; "" for a fallback or a dry run. */
    bool fallback;                  /* The server was not there in time; arm is the default. */
    enum shunt_reason reason;
    double propensity; /* Probability with which arm was drawn; 0 for a fallback. */
    uint64_t position; /* Journal position of what decided. */
    uint32_t version;  /* Version of the arm. */
    size_t token_len;
    unsigned char token[SHUNT_TOKEN_CAP]; /* Keep it with the request; a report needs it. */
    bool limits_uncertain; /* No arm keeps the limits surely: this one does by its prediction. */
    /* How to reach the arm, where the router's arms are adapters of one base model
     * (settings.residency). Text is the struct's own, like all of it. */
    bool has_residence; /* The router declares residency, and what follows says something. */
    bool has_engine_slot;
    uint32_t engine_slot;           /* llama.cpp: `id_slot` of the completion. Send with it a `lora`
                                     * that has the scale of every adapter, 0 but for this one. */
    enum shunt_residence residence; /* As of the decision. A base model is always resident. */
    uint32_t replica_index;         /* Of `replica`, in settings.residency.replicas. */
    double expected_load_ms;        /* Milliseconds that its load will take; 0: it is resident. */
    char adapter[SHUNT_NAME_CAP];   /* `model` to ask the engine for; "": the base model's own. */
    char replica[SHUNT_URL_CAP];    /* URL of the engine to ask; "": the router declares none. */
};
#define SHUNT_DECISION_INIT                                                                        \
    {                                                                                              \
        .size = sizeof(struct shunt_decision)                                                      \
    }

/* SHUNT_OK with ret->fallback: ret_error tells why shunt could not be asked. The fallback honours
 * candidates and exclude: if they forbid the default arm it is the first candidate that is not
 * excluded, and without one the result is SHUNT_UNAVAILABLE. On anything but SHUNT_OK *ret is as it
 * was. */
SHUNT_API enum shunt_result shunt_route(struct shunt_client *client,
                                        const struct shunt_request *request,
                                        struct shunt_decision *ret, struct shunt_error *ret_error);

/* ---- many at once ---- */

/* Asks for n decisions, 1 to 256, in one message; each as shunt_route would decide and fall back,
 * with timeout_s of the first request for all of them. ret_decisions (n) point to decisions that
 * start with their _INIT; ret_results (n) says of each what shunt_route would have returned, and
 * ret_errors (n), which may be NULL, why. The result is SHUNT_OK when every request has its result,
 * else SHUNT_INVALID or SHUNT_NO_MEMORY and nothing was asked. */
SHUNT_API enum shunt_result shunt_route_batch(struct shunt_client *client,
                                              const struct shunt_request *const *requests, size_t n,
                                              struct shunt_decision *const *ret_decisions,
                                              enum shunt_result *ret_results,
                                              struct shunt_error *ret_errors,
                                              struct shunt_error *ret_error);

/* A stream: requests are sent without waiting for answers, on one call that stays. It is the way to
 * the most decisions a second from one thread.
 *
 *     struct shunt_stream *stream = shunt_stream_open(client, 0, NULL);
 *     for (...) {
 *         if (shunt_stream_send(stream, &request, tag, NULL) == SHUNT_QUEUE_FULL)
 *             ... take one with shunt_stream_next, then send again ...
 *     }
 *     while (shunt_stream_next(stream, 1, &tag, &decision, NULL) != SHUNT_EMPTY)
 *         ...
 *     shunt_stream_close(stream);
 *
 * What is promised: every request that was sent gets one answer, by its deadline, under its tag:
 * the server's decision, its refusal, or the default arm. A stream that breaks (the server
 * restarts, or lets its connection age) is opened again, and what was not answered is asked again;
 * but a request of a session without a decision_id of its own falls back instead, because asked
 * twice it might reserve twice. Give requests a decision_id if they must not be decided twice.
 * Threads: one at a time for a stream; streams of one client are independent of each other. */
struct shunt_stream;

/* in_flight: most requests without an answer, at most 1024; 0: 64. Never waits for the server. */
SHUNT_API struct shunt_stream *shunt_stream_open(struct shunt_client *client, size_t in_flight,
                                                 struct shunt_error *ret_error);
/* Takes a request; it leaves when a few are together, at the latest with the next
 * shunt_stream_next. Its timeout_s runs from here. SHUNT_QUEUE_FULL: as many as may be are without
 * an answer. */
SHUNT_API enum shunt_result shunt_stream_send(struct shunt_stream *stream,
                                              const struct shunt_request *request, uint64_t tag,
                                              struct shunt_error *ret_error);
/* The next answer, in the order in which they come; waits for it at most timeout_s seconds, which
 * may be 0. SHUNT_OK, SHUNT_REFUSED and SHUNT_UNAVAILABLE are of the request *ret_tag, as
 * shunt_route means them. SHUNT_TIMEOUT: none came in time. SHUNT_EMPTY: everything is answered. */
SHUNT_API enum shunt_result shunt_stream_next(struct shunt_stream *stream, double timeout_s,
                                              uint64_t *ret_tag, struct shunt_decision *ret,
                                              struct shunt_error *ret_error);
/* Unanswered requests are given up. Before shunt_close of its client. NULL is fine. */
SHUNT_API void shunt_stream_close(struct shunt_stream *stream);

/* ---- reporting ---- */

enum shunt_status {
    SHUNT_STATUS_OK = 0,
    SHUNT_STATUS_ERROR = 1,   /* The arm failed. */
    SHUNT_STATUS_REFUSED = 2, /* The arm would not answer. */
    SHUNT_STATUS_TIMEOUT = 3, /* The arm did not answer in time. */
};

struct shunt_report {
    size_t size;
    const char *decision_id;
    const unsigned char *token; /* Without it the server looks in its decision log, best effort. */
    size_t token_len;
    const struct shunt_value *metrics; /* Finite; at most 64. All of a report is at most 64 KiB. */
    size_t metrics_n;
    enum shunt_status status;
    double timeout_s;       /* 0: that of the options. */
    bool later;             /* Do not wait for the server at all: queue it. */
    const char *served_arm; /* The arm that answered in place of the chosen one, whose metrics these
                               are; the status stays the chosen arm's. NULL: none did. */
    const char *idempotency_key; /* This report's own name among those of its decision, where the
                                    router aggregates; at most 128 bytes. NULL: none. */
    const char *source;          /* Who says so. NULL: nobody in particular. */
};
#define SHUNT_REPORT_INIT                                                                          \
    {                                                                                              \
        .size = sizeof(struct shunt_report)                                                        \
    }

struct shunt_outcome {
    size_t size;
    bool queued;       /* Not acknowledged yet; the rest is unknown. */
    bool duplicate;    /* Nothing in the report was new. */
    bool unweighted;   /* No metric of it has weight. */
    bool orphaned;     /* The arm version is gone: recorded, teaches nobody. */
    uint64_t position; /* Journal position of the outcome. */
};
#define SHUNT_OUTCOME_INIT                                                                         \
    {                                                                                              \
        .size = sizeof(struct shunt_outcome)                                                       \
    }

/* SHUNT_OK with queued false: on the server's disk and learned from. SHUNT_OK with queued true: the
 * library goes on trying. Deliveries that the server refuses for good are dropped and counted in
 * shunt_stats. While the server is known to be away, reports are queued without waiting for it.
 * ret may be NULL. */
SHUNT_API enum shunt_result shunt_report(struct shunt_client *client,
                                         const struct shunt_report *report,
                                         struct shunt_outcome *ret, struct shunt_error *ret_error);

/* Reports n outcomes, 1 to 100,000, in as few messages as the server's limits allow (1,000 reports
 * or 3 MiB in one): a message costs one commit, so this is the way to the most outcomes a second
 * from one thread. timeout_s of the first report holds for all of them together; one with `later`
 * is queued.
 *
 *     enum shunt_result results[64];
 *     shunt_report_batch(client, reports, 64, outcomes, results, NULL, NULL);
 *     for (size_t i = 0; i < 64; i++)
 *         if (results[i] == SHUNT_OK && !outcomes[i]->queued)
 *             ... report i is durable ...
 *
 * Each report stands for itself: ret_results (n) says of each what shunt_report would have
 * returned, ret_errors (n), which may be NULL, why. ret_outcomes (n), which may be NULL, point to
 * outcomes that start with their _INIT, or are NULL. SHUNT_OK with queued false: it is on the
 * server's disk, and stays there whatever becomes of the server or of the rest. SHUNT_OK with
 * queued true: nobody has acknowledged it; the library goes on trying, as it does for shunt_report,
 * and if the server did take it before the answer was lost, it counts once all the same. A message
 * that the server does not take now (it is away, or its queue is full) queues what is behind it
 * untried. SHUNT_BLOCK waits for room in the queue, until the deadline, for each that needs
 * it; SHUNT_QUEUE_FULL is of the reports that found none.
 *
 * The result is SHUNT_OK when every report has its result, else SHUNT_INVALID or SHUNT_NO_MEMORY
 * and nothing was sent. A decision may stand in several reports; reports of one batch are taken in
 * their order but for those that are queued. */
SHUNT_API enum shunt_result
shunt_report_batch(struct shunt_client *client, const struct shunt_report *const *reports, size_t n,
                   struct shunt_outcome *const *ret_outcomes, enum shunt_result *ret_results,
                   struct shunt_error *ret_errors, struct shunt_error *ret_error);

/* A report on a decision, to be completed; it borrows the decision. */
static inline struct shunt_report shunt_report_of(const struct shunt_decision *decision)
{
    struct shunt_report report = SHUNT_REPORT_INIT;
    report.decision_id = decision->decision_id;
    report.token = decision->token;
    report.token_len = decision->token_len;
    return report;
}

/* ---- decisions made ahead ---- */

/* A decision with defer_activation is served now: it counts from here on. SHUNT_OK also when it did
 * before. SHUNT_UNAVAILABLE: it may count or not; ask again. session_id: the session whose step it
 * becomes, or NULL. timeout_s 0: report_timeout_s of the options. */
SHUNT_API enum shunt_result shunt_activate(struct shunt_client *client,
                                           const struct shunt_decision *decision,
                                           const char *session_id, double timeout_s,
                                           struct shunt_error *ret_error);

/* ---- sessions ---- */

struct shunt_session_end {
    size_t size;
    const char *router; /* NULL: that of the options. */
    const char *session_id;
    const struct shunt_value *metrics; /* A reward for all of it; rated metrics. */
    size_t metrics_n;
    double timeout_s; /* 0: report_timeout_s of the options. */
};
#define SHUNT_SESSION_END_INIT                                                                     \
    {                                                                                              \
        .size = sizeof(struct shunt_session_end)                                                   \
    }

struct shunt_session_ended {
    size_t size;
    uint32_t credited, reported, lost; /* As in EndSessionResponse. */
    uint64_t steps;
    double used; /* Of its budget. */
};
#define SHUNT_SESSION_ENDED_INIT                                                                   \
    {                                                                                              \
        .size = sizeof(struct shunt_session_ended)                                                 \
    }

/* Ends it before it expires. SHUNT_REFUSED: SESSION_NOT_FOUND and the like. SHUNT_UNAVAILABLE: it
 * may be open still; ask again. ret may be NULL. */
SHUNT_API enum shunt_result shunt_end_session(struct shunt_client *client,
                                              const struct shunt_session_end *end,
                                              struct shunt_session_ended *ret,
                                              struct shunt_error *ret_error);

/* ---- the queue ---- */

struct shunt_stats {
    size_t size;
    uint64_t routed;       /* Answers of the server. */
    uint64_t fallbacks;    /* Answers of the default arm. */
    uint64_t queued;       /* Outcomes waiting now. */
    uint64_t queued_bytes; /* Their bytes. */
    uint64_t delivered;    /* Queued outcomes that the server acknowledged. */
    uint64_t refused;      /* Queued outcomes that the server refused for good. */
    uint64_t dropped;      /* Outcomes that found the queue full. */
    uint64_t retries;      /* Deliveries, of one or many, that left something to try again. */
};
#define SHUNT_STATS_INIT                                                                           \
    {                                                                                              \
        .size = sizeof(struct shunt_stats)                                                         \
    }

SHUNT_API void shunt_stats(struct shunt_client *client, struct shunt_stats *ret);

/* Waits until the queue is empty, at most timeout_s seconds; tries at once, whatever the pause. */
SHUNT_API enum shunt_result shunt_flush(struct shunt_client *client, double timeout_s);

/* ---- JSON ----
 * The same calls for bindings: text in, text out, with the field names of shunt.v1 in router.proto.
 * The answer is one JSON object and a NUL in buf; *ret_len is its length without the NUL. Anything
 * but SHUNT_OK is answered by
 * {"error":{"result":"REFUSED","status":5,"code":"...","message":"..."}}. buf may be NULL if cap is
 * 0. */

/* options_json: an object of the fields of shunt_options ("queue_policy": "drop" or "block"); NULL
 * or "{}" for the defaults. NULL: the answer in buf tells why. */
SHUNT_API struct shunt_client *shunt_open_json(const char *options_json, char *buf, size_t cap,
                                               size_t *ret_len);

/* A RouteRequest and, besides, "timeout_s" and "default_arm". The answer is a RouteResponse and
 * "fallback"; a fallback holds arm_id, "fallback":true and the "error". */
SHUNT_API enum shunt_result shunt_route_json(struct shunt_client *client, const char *request_json,
                                             char *buf, size_t cap, size_t *ret_len);

/* A ReportRewardRequest and, besides, "timeout_s" and "later". decision_token is the base64 text
 * that shunt_route_json gave. The answer is a ReportRewardResponse and "queued". */
SHUNT_API enum shunt_result shunt_report_json(struct shunt_client *client, const char *report_json,
                                              char *buf, size_t cap, size_t *ret_len);

/* The fields of shunt_stats. */
SHUNT_API enum shunt_result shunt_stats_json(struct shunt_client *client, char *buf, size_t cap,
                                             size_t *ret_len);

/* ---- the library itself ---- */

/* "0.1.0". */
SHUNT_API const char *shunt_version(void);
/* Whether this build has a feature: "json", "queue", "block", "flush", "unix", "text-window",
 * "default-arm", "agent", "served-arm", "key", "source", "sessions", "batch", "stream",
 * "constraints", "report-batch", "tls"; later versions add names. */
SHUNT_API bool shunt_has(const char *feature);

#ifdef __cplusplus
}
#endif
