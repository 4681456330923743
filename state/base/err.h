/* err.h - the one list of what can go wrong, and the sentence that goes with it.
 * Why: every error has a stable code that scripts may match and a sentence for people.
 * What can fail returns `enum err` (0 is OK); results leave through ret_ pointers, written only on
 * success. Where the outside world is touched, a caller-owned err_detail carries the sentence.
 * Threads: all functions are pure. */
#pragma once

#define MUST_USE __attribute__((warn_unused_result))

/* Code, stable machine code, what to do in general. Order is not part of the contract; names are.
 */
#define ERR_LIST(X)                                                                                \
    X(OK, "OK", "")                                                                                \
    X(ERR_NOMEM, "OUT_OF_MEMORY", "the server is out of memory; retry later")                      \
    X(ERR_INVALID, "INVALID_VALUE", "correct the value that is not valid")                         \
    X(ERR_NOT_FINITE, "NOT_FINITE", "send finite numbers only")                                    \
    X(ERR_OUT_OF_RANGE, "OUT_OF_RANGE", "send a value inside the stated range")                    \
    X(ERR_WRONG_DIMENSION, "WRONG_DIMENSION", "send as many values as the router declares")        \
    X(ERR_BAD_NAME, "BAD_NAME", "names are 1 to 64 of A-Z a-z 0-9 . _ / -")                        \
    X(ERR_BAD_ID, "BAD_DECISION_ID", "send a UUID of 36 characters")                               \
    X(ERR_BAD_SELECTOR, "BAD_SELECTOR",                                                            \
      "send a label selector as Kubernetes has them: tier in (small,medium),!beta")                \
    X(ERR_TOO_LARGE, "TOO_LARGE", "make it smaller")                                               \
    X(ERR_PARSE, "PARSE", "correct the message or file; it cannot be read")                        \
    X(ERR_ROUTER_NOT_FOUND, "ROUTER_NOT_FOUND", "create the router first or check its name")       \
    X(ERR_ARM_NOT_FOUND, "ARM_NOT_FOUND", "add the arm first or check its name")                   \
    X(ERR_METRIC_NOT_FOUND, "METRIC_NOT_FOUND", "use a metric of the router's table")              \
    X(ERR_PROJECTION_NOT_FOUND, "PROJECTION_NOT_FOUND",                                            \
      "put the projection's file into the server's projection.dir first")                          \
    X(ERR_TENANT_NOT_FOUND, "TENANT_NOT_FOUND", "`shuntctl budget` has the tenants with one")      \
    X(ERR_SOURCE_NOT_FOUND, "SOURCE_NOT_FOUND",                                                    \
      "name a source of the router's settings, or one that has reported")                          \
    X(ERR_STAGE_NOT_FOUND, "STAGE_NOT_FOUND", "name a stage of the router's settings")             \
    X(ERR_DECISION_NOT_FOUND, "DECISION_NOT_FOUND",                                                \
      "send the id and token that RouteRequest gave")                                              \
    X(ERR_DECISION_LATE, "DECISION_LATE", "report within the router's reward_wait_s")              \
    X(ERR_PIECE_KEY_REQUIRED, "IDEMPOTENCY_KEY_REQUIRED",                                          \
      "give every report of a rated metric an idempotency_key of its own; the router aggregates")  \
    X(ERR_PIECES_FULL, "TOO_MANY_PIECES", "add up what you know before you report it")             \
    X(ERR_SOURCE_REFUSED, "SOURCE_REFUSED",                                                        \
      "the router's sources do not let this one report; ask its operator")                         \
    X(ERR_FORGET_PARTIAL, "FORGET_PARTIAL",                                                        \
      "ask for a partial one, or restore a backup from before the source reported")                \
    X(ERR_LOG_REQUIRED, "DECISION_LOG_REQUIRED", "set decision_log to DECISION_LOG_ALL")           \
    X(ERR_SOURCE_CAP, "SOURCE_CAP", "the source has reached its cap; report the rest later")       \
    X(ERR_NO_ELIGIBLE_ARM, "NO_ELIGIBLE_ARM", "ask for less, or mend what keeps the arms out")     \
    X(ERR_ROUTER_EXISTS, "ROUTER_EXISTS", "update the router or choose another name")              \
    X(ERR_ARM_EXISTS, "ARM_EXISTS", "update the arm, or remove it first")                          \
    X(ERR_EXISTS, "EXISTS", "choose a path that does not exist yet")                               \
    X(ERR_ID_REUSED, "DECISION_ID_REUSED", "use a new decision_id for another request")            \
    X(ERR_FIXED_AT_CREATION, "FIXED_AT_CREATION", "create a new router for this")                  \
    X(ERR_SPEC_MISMATCH, "SPEC_MISMATCH",                                                          \
      "use a router of the same feature spec, metrics and ridges as the statistics")               \
    X(ERR_LIMIT, "LIMIT", "a documented limit is reached; remove something first")                 \
    X(ERR_SESSION_NOT_FOUND, "SESSION_NOT_FOUND",                                                  \
      "open the session again: it was ended, expired, or never opened here")                       \
    X(ERR_SESSION_BUDGET, "SESSION_BUDGET",                                                        \
      "send the budget that the session was opened with, or take another session_id")              \
    X(ERR_BUDGET_EXHAUSTED, "BUDGET_EXHAUSTED",                                                    \
      "report what was spent to release the rest of its bounds, or open another session")          \
    X(ERR_JOB_NOT_FOUND, "JOB_NOT_FOUND", "list the jobs; old ones are forgotten")                 \
    X(ERR_JOBS_FULL, "JOBS_FULL", "cancel a job that waits, or retry when one has ended")          \
    X(ERR_QUEUE_FULL, "QUEUE_FULL", "the writer's queue is full; retry after a pause")             \
    X(ERR_BASELINE_REQUIRED, "BASELINE_REQUIRED",                                                  \
      "name baseline_arm_id in the request, set the router's baseline_arm, or promote the router") \
    X(ERR_NO_ADAPTERS, "NO_ADAPTERS",                                                              \
      "declare settings.residency of the router and adapter of its arms first")                    \
    X(ERR_ADAPTERS_PENDING, "ADAPTERS_PENDING",                                                    \
      "a router's adapters are known a moment after it was created; retry")                        \
    X(ERR_OVERLOADED, "OVERLOADED", "too many requests in flight; retry after a pause")            \
    X(ERR_DISK_FULL, "DISK_FULL", "free disk space for the data directory and retry")              \
    X(ERR_MAP_FULL, "MAP_FULL", "the store's map is full; it is grown and retried")                \
    X(ERR_IO, "IO", "the data directory cannot be written; see the server's log")                  \
    X(ERR_CORRUPT, "CORRUPT", "restore the data directory from a backup")                          \
    X(ERR_SCHEMA, "SCHEMA",                                                                        \
      "start the version that wrote the data directory, or begin with a new one")                  \
    X(ERR_LOCKED, "LOCKED",                                                                        \
      "stop the other server that has this data directory open, or choose another directory")      \
    X(ERR_ADDRESS, "ADDRESS", "choose an address that is free on this machine")                    \
    X(ERR_NOT_FOUND, "NOT_FOUND", "check what was named")                                          \
    X(ERR_CANCELLED, "CANCELLED", "the caller went away")                                          \
    X(ERR_SHUTTING_DOWN, "SHUTTING_DOWN", "the server is draining; use another or retry")          \
    X(ERR_ENGINE_DOWN, "ENGINE_DOWN",                                                              \
      "start the inference engine, or correct its address; it is asked again")                     \
    X(ERR_ENGINE_REFUSED, "ENGINE_REFUSED", "mend what the engine names; it is asked again")       \
    X(ERR_ENGINE_ANSWER, "ENGINE_ANSWER",                                                          \
      "it is not what this kind of engine answers; check kind and address")                        \
    X(ERR_UNSUPPORTED, "UNSUPPORTED", "this build or machine cannot do it")                        \
    X(ERR_INTERNAL, "INTERNAL", "a mistake of ours; please report it with the log")

enum err {
#define X(name, code, text) name,
    ERR_LIST(X)
#undef X
        ERR_N
};

/* The sentence for people. Filled only together with a non-OK code. */
struct err_detail {
    char text[1024];
};

/* "ARM_NOT_FOUND" and the like; never NULL. */
const char *err_code(enum err e);
/* The general advice for a code; never NULL. */
const char *err_text(enum err e);
/* Formats the sentence (truncating) and returns e, so that `return err_say(d, ERR_X, "...")` reads
 * well. d may be NULL. */
enum err err_say(struct err_detail *d, enum err e, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#define TRY(expr)                                                                                  \
    do {                                                                                           \
        enum err try_err_ = (expr);                                                                \
        if (try_err_ != OK)                                                                        \
            return try_err_;                                                                       \
    } while (0)
