/* reconcile.h - what to do next so that one replica holds what it should: the pure half of
 * reconciler.h.
 * Why: which of the many things that are wrong is mended first, who waits and how long, is policy
 * worth testing without an engine; time and jitter are arguments.
 * Owns: nothing; the items are the caller's. Threads: one caller at a time.
 * Invariants: nothing with requests in flight is released before drain_us have passed; an item that
 * failed is left alone until its pause is over; an item is acted on at most RECONCILE_ACTS times in
 * one pass, so a pass ends whatever an engine claims. */
#pragma once

#include "server/adapters/engine.h"
#include "server/adapters/engine_lru.h"

enum { RECONCILE_ACTS = 3 };

/* One adapter on one replica. */
struct engine_item {
    uint32_t uid;
    char name[NAME_CAP];
    char path[ADAPTER_PATH_CAP];
    /* What is wanted, from the library. */
    bool wanted;
    bool gone; /* No longer in the library, or under another name or path: to be retired. */
    double rate;
    struct engine_traffic traffic;
    /* What the driver knows (driver.h). */
    bool offered;       /* The engine serves it when asked, resident or not. */
    bool denied;        /* The engine's list contradicts what it answered to a load. */
    bool resident;      /* Surely in fast memory. */
    bool endangered;    /* Resident, and the next to be evicted. */
    bool pinned;        /* ENGINE_SGLANG. */
    int32_t slot;       /* ENGINE_LLAMACPP: which one last ran it; -1: none. */
    int32_t number;     /* ENGINE_LLAMACPP: its id; -1: the process was not started with it. */
    struct lru_use use; /* ENGINE_VLLM. */
    bool found; /* ENGINE_VLLM, ENGINE_SGLANG: offered by somebody else, it may have been resident,
                   or pinned. */
    bool reported;  /* ENGINE_VLLM: its metric says that it is in a slot. */
    double load_ms; /* Of the latest load that was one, also by a process before this; 0: none. */
    /* What reconcile knows. */
    uint32_t failures;   /* In a row, until the engine's list confirms it. */
    int64_t retry_us;    /* Left alone until then. */
    int64_t draining_us; /* Since when it waits for its requests; 0: it does not. */
    bool undrained;      /* It waited for as long as it may. */
    bool claimed;        /* The engine said it loaded it, its list did not say so yet. */
    bool loading;        /* The call is under way. */
    bool hung;           /* Its latest failure was the replica's: no answer, or no token taken. */
    uint64_t pass;       /* The pass that `acts` counts in. */
    uint32_t acts;
    char error[ENGINE_ERROR_CAP];
};

/* What this engine is like, and the patience with it. */
struct reconcile_rules {
    uint32_t slots; /* Residents there is room for. */
    bool offers;    /* What is not resident must be made known to it, to be served at all. */
    bool releases;  /* A release is a call that makes room; else an LRU makes it. */
    bool reloads;   /* Making an offered adapter resident takes it away for a moment. */
    int64_t drain_us, backoff_min_us, backoff_max_us;
};

/* With a replica that fails. */
struct reconcile_patience {
    int64_t tick_us, backoff_min_us;
};

struct reconcile_pass {
    uint64_t number; /* Rises by one a pass. */
    uint32_t offers; /* Left in this pass; wanted adapters do not count. */
    bool offering;   /* A batch of offers is under way: touches wait for its end. */
};

enum reconcile_act {
    RECONCILE_REST,
    RECONCILE_RETIRE,  /* Make the engine forget it. */
    RECONCILE_RELEASE, /* No longer resident, still offered. */
    RECONCILE_LOAD,
    RECONCILE_TOUCH,
    RECONCILE_OFFER,
};

struct reconcile_step {
    enum reconcile_act act;
    size_t item;
};

/* After the driver's list: items whose load is denied have failed, those it confirms are well. */
void reconcile_confirm(struct engine_item *items, size_t n, const struct reconcile_rules *rules,
                       int64_t now_us, double jitter);
/* Also keeps draining_us and undrained of each item. */
struct reconcile_step reconcile_next(struct engine_item *items, size_t n,
                                     const struct reconcile_rules *rules,
                                     struct reconcile_pass *pass, int64_t now_us);
/* The step is about to be carried out. */
void reconcile_begin(struct engine_item *item, enum reconcile_act act,
                     const struct reconcile_pass *pass);
/* The step was carried out, or failed with `error` (NULL: it was done). */
void reconcile_done(struct engine_item *item, enum reconcile_act act,
                    const struct reconcile_rules *rules, const char *error, int64_t now_us,
                    double jitter);
/* The replica is back after it was down, or a load succeeded that had failed: others need not sit
 * out their pauses, but those that failed RECONCILE_STUBBORN times in a row, which may be what
 * brings the engine down. */
enum { RECONCILE_STUBBORN = 3 };
void reconcile_forgive(struct engine_item *items, size_t n);
/* Whether to give up on `gone`, which the engine refused to forget RECONCILE_HOPELESS times in a
 * row: else items would gather without end. Not while one of the n of the library has its name, and
 * must not be served the weights of `gone`: those are bounded by the library. */
enum { RECONCILE_HOPELESS = 10 };
bool reconcile_hopeless(const struct engine_item *items, size_t n, const struct engine_item *gone);
/* A pause that doubles with each failure from the first, from `min` up to `max`; jitter in [0, 1)
 * takes up to half of it away, so that many do not ask at once. */
int64_t reconcile_backoff_us(uint32_t failures, int64_t min_us, int64_t max_us, double jitter);
/* Until a replica that failed is looked at again: a tick or a second, whichever is shorter, less up
 * to half, whatever it did: what is back is seen at once, and only loads are waited with. A look
 * that itself took long, spent_us of a processor, as megabytes of nonsense do, leaves four fifths
 * of one to others. */
int64_t reconcile_pause_us(const struct reconcile_patience *patience, uint32_t failures,
                           int64_t spent_us, double jitter);
/* The longest that a pause may be: however long a tick is. */
int64_t reconcile_look_us(const struct reconcile_patience *patience);
/* There are adapters whose calls hung, and that sit out their pauses: a pass that leaves them alone
 * does not show that the replica is well. */
bool reconcile_sits_out(const struct engine_item *items, size_t n,
                        const struct reconcile_rules *rules, int64_t now_us);
/* At the end of a pass: wanted items that there is no room for say so in their error. */
void reconcile_crowd(struct engine_item *items, size_t n, const struct reconcile_rules *rules,
                     const char *advice);
enum engine_phase reconcile_phase(const struct engine_item *item);
