/* engine.h - what is said of an inference engine: its kind, how to reach its replicas, which
 * adapters there are, what traffic they have, and how each of them stands.
 * Why: one vocabulary for whoever plans (the slow loop), whoever makes it so (reconciler.h) and
 * whoever speaks the engine's protocol (driver.h).
 * Threads: plain values. */
#pragma once

#include "server/adapters/assign.h"
#include "state/base/name.h"
#include "state/model/residency.h"

enum {
    ENGINE_REPLICAS_MAX = ASSIGN_REPLICAS_MAX,
    ENGINE_URL_CAP = REPLICA_URL_CAP,
    ENGINE_TOKEN_CAP = 4097, /* 4096 bytes and the NUL. */
    ENGINE_ERROR_CAP = 192,  /* Of a sentence in a status; longer ones are cut. */
    ENGINE_SLOTS_MAX = 1024, /* Residents of one replica. */
};

enum engine_kind {
    ENGINE_NONE,     /* Somebody else carries the plan out; it counts as carried out. */
    ENGINE_VLLM,     /* LRU in --max-loras slots: start it with slots + 1. */
    ENGINE_SGLANG,   /* Pins; start it with --max-loras-per-batch slots + 1. */
    ENGINE_LLAMACPP, /* Slot affinity; start it with --parallel slots + 1. */
};

/* "none", "vllm", "sglang", "llamacpp". */
const char *engine_kind_name(enum engine_kind kind);
MUST_USE enum err engine_kind_parse(const char *name, enum engine_kind *ret_kind);

/* What an engine can do for us. */
enum engine_flag {
    ENGINE_TRUE_UNLOAD = 1,      /* A release frees memory at once. */
    ENGINE_RESIDENCY_METRIC = 2, /* It says itself what is resident. */
    ENGINE_PIN = 4,              /* It can be told never to evict an adapter. */
};

/* One process that serves the base model. Borrowed; the reconciler copies. */
struct engine_replica {
    const char *name; /* For logs, status and answers to callers; a name (name.h). */
    const char *
        url; /* http://host:port or https://..., without user, path, query. NULL for ENGINE_NONE. */
    const char *token; /* Sent as "Authorization: Bearer"; never logged. NULL: none. */
};

/* One adapter of the library. Borrowed; the reconciler copies. */
struct engine_adapter {
    uint32_t uid;
    const char *name; /* What the engine calls it: "model" of a request; a name (name.h). */
    const char *path; /* Where the engine finds the weights. */
    uint64_t bytes;
    double rate; /* Share of requests; the busiest are loaded first, and onto more replicas. */
    bool desired;
    double load_ms; /* What a load was measured to take, by whichever process; 0: never. */
};

/* What the router knows of an adapter's requests on one replica. Times are monotonic microseconds
 * (clock_mono_ns() / 1000); 0: never. The vLLM driver's mirror of the engine's LRU is exact as far
 * as these are: routed_us of the latest decision, answered or not; served_us is when the latest of
 * the decisions was made that has an outcome which says that the engine did serve it. */
struct engine_traffic {
    uint32_t in_flight; /* Decided, no outcome yet, not expired. */
    int64_t routed_us, served_us;
};

enum engine_phase {
    ENGINE_COLD,     /* Not in fast memory, as far as we know; served through the scratch slot. */
    ENGINE_LOADING,  /* A load was sent. */
    ENGINE_RESIDENT, /* In fast memory. */
    ENGINE_DRAINING, /* In fast memory, no longer wanted, with requests in flight. */
    ENGINE_FAILED,   /* Wanted, and the engine would not: see error; retried after a pause. */
};
/* "cold", "loading", ... */
const char *engine_phase_name(enum engine_phase phase);

/* How one adapter stands on one replica. */
struct engine_row {
    uint32_t replica, uid;
    bool wanted;
    enum engine_phase phase;
    int32_t slot;                 /* ENGINE_LLAMACPP: send it as id_slot. -1: none of its own. */
    uint32_t failures;            /* In a row. */
    char error[ENGINE_ERROR_CAP]; /* Of the latest failure; empty when it has recovered. */
};

struct engine_replica_view {
    char name[NAME_CAP];
    /* It answered the latest time it was asked; not before the first, nor while loads fail behind
     * lists that answer. */
    bool up;
    uint32_t flags; /* Of enum engine_flag; some are learnt from its answers. */
    uint32_t slots; /* Residents it has room for: as configured, or fewer when it says so. */
    uint32_t wanted, resident; /* Adapters. converged: every wanted one is resident. */
    bool converged;
    int32_t scratch_slot; /* ENGINE_LLAMACPP: id_slot for what is not resident; -1: none. */
    uint32_t failures;    /* In a row. */
    uint64_t ticks, requests, loads, releases, touches, errors; /* Since it was opened. */
    uint64_t undrained; /* Releases that no longer waited for requests in flight. */
    char error[ENGINE_ERROR_CAP];
};
