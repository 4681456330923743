/* reconciler.h - makes what the replicas of one engine hold what the plan wants them to hold.
 * Why: a plan is a wish. Engines crash, forget, refuse, lie and hang; here desired and actual are
 * compared again and again, and nobody who routes ever waits for an engine.
 *
 *   reconciler_open      checks and copies the configuration
 *   reconciler_start     one thread a replica, or
 *   reconciler_tick      one pass over one replica on the caller's thread (tests, simulations)
 *   reconciler_desire    the library and what of it should be resident: replaces the former whole
 *   reconciler_rows, reconciler_replica   how things stand
 *   reconciler_close     aborts what is under way, joins the threads
 *
 * A tick asks the replica what it has, then acts until nothing is left to do: releases what is no
 * longer wanted and has drained, loads what is wanted (busiest first), touches what an LRU would
 * evict, offers the rest of the library so that a miss can be served. When a call fails the replica
 * or the adapter waits an exponential back-off with jitter.
 *
 * Owns: copies of all that is configured or desired, the connections, the threads. Borrows the log
 * and the callbacks' context, which must outlive it.
 * Threads: all functions from any thread, but close last and once; reconciler_tick not beside
 * reconciler_start. Callbacks come from the replicas' threads with no lock held, several at once
 * for different replicas: they must be safe for that, and may call reconciler_rows, _replica and
 * _desire, never _close.
 * Invariants: no lock of ours is held across a call to an engine, so desire, rows and replica wait
 * for memory only; an answer is read up to 1 MiB; every call has a deadline and ends at close. */
#pragma once

#include "server/adapters/engine.h"
#include "server/ops/log.h"

struct reconciler;

struct reconciler_calls {
    void *ctx;
    /* Fills *ret, which is zero before. NULL: nothing is known to be in flight, nothing drains. */
    void (*traffic)(void *ctx, uint32_t replica, uint32_t uid, struct engine_traffic *ret);
    /* A load took so long, or failed after so long. Not called for touches. May be NULL. */
    void (*on_load)(void *ctx, uint32_t replica, uint32_t uid, double ms, bool ok);
    /* A row or a replica's view changed: publish anew. May be NULL. */
    void (*on_change)(void *ctx);
};

/* Zero of a number: its default. */
struct reconciler_config {
    enum engine_kind kind;
    uint32_t replicas_n; /* 1 to ENGINE_REPLICAS_MAX. */
    const struct engine_replica *replicas;
    const char *ca_file; /* PEM of who signed the replicas' certificates; NULL: the system's. */
    uint32_t slots;      /* Residents of one replica, without the scratch slot; 1 to
                            ENGINE_SLOTS_MAX. 0: only `bytes` bounds them, and the slots that the
                            engine says it has; llama.cpp says nothing, so not there. */
    uint64_t bytes;      /* Of one replica's residents; 0: only slots bound them. */
    uint32_t tick_ms;    /* Default 1000; 10 to 600000. */
    uint32_t call_timeout_ms; /* Of a question; default 2000. */
    uint32_t load_timeout_ms; /* Of a load or touch; default 60000. */
    /* Default 500, 30000. Of an adapter that fails. A replica that fails is looked at again after a
     * tick or a second, whichever is shorter, less up to half at random; one that is silent is
     * asked over a second connection as often, so that what comes back is seen at once. */
    uint32_t backoff_min_ms, backoff_max_ms;
    uint32_t drain_ms; /* Release no later than this, whatever is in flight; default 30000. */
    uint64_t seed;     /* Of the jitter. */
    struct reconciler_calls calls;
    struct log *log; /* NULL: silent. */
    const char
        *router; /* Whose engine it is, for the log; NULL: not said. Borrowed until open ends. */
};

/* Checks it all; the sentence names the field. No thread runs yet and nothing was sent. */
MUST_USE enum err reconciler_open(const struct reconciler_config *config,
                                  struct reconciler **ret_reconciler, struct err_detail *detail);
/* Takes NULL. Returns when every thread has ended; a call that is under way is cut off. */
void reconciler_close(struct reconciler *r);
/* ERR_INTERNAL when a thread cannot be made: none runs. */
MUST_USE enum err reconciler_start(struct reconciler *r);

/* The whole library; each uid and each name once, at most MAX_ARMS. Assigns what is desired to the
 * replicas that are up, where it is held already if possible, and wakes their threads. On an error
 * what was desired before stands. ERR_INVALID, ERR_LIMIT, ERR_NOMEM. */
MUST_USE enum err reconciler_desire(struct reconciler *r, const struct engine_adapter *adapters,
                                    size_t n, struct err_detail *detail);

/* One pass, now, whatever pause the replica is in; adapters keep theirs. OK when it was carried
 * out to the end, though single adapters may have failed. ERR_ENGINE_DOWN, ERR_ENGINE_ANSWER,
 * ERR_ENGINE_REFUSED: of the replica, what its view says. ERR_INVALID: no such replica. */
MUST_USE enum err reconciler_tick(struct reconciler *r, uint32_t replica);

/* Rows that say something (wanted, in fast memory, or failed), by replica and uid. Fills at most
 * cap, returns how many there are. */
size_t reconciler_rows(struct reconciler *r, struct engine_row *ret_rows, size_t cap);
/* False: no such replica. */
bool reconciler_replica(struct reconciler *r, uint32_t replica, struct engine_replica_view *ret);
uint32_t reconciler_replicas(const struct reconciler *r);
/* Rises with each change of a row or a view: whoever publishes can tell whether to. Lock-free. */
uint64_t reconciler_version(const struct reconciler *r);
