/* library.h - every adapter there is, and which replica is to hold which: what is desired, whole.
 * Why: a plan is replaced, never changed, so a replica's thread works on one that stays as it is.
 * Owns: copies of all it says. Shared and counted: library_release frees with the last.
 * Threads: any; nothing in it changes but the count. Invariant: adapters stand in order of uid. */
#pragma once

#include "server/adapters/engine.h"

#include <stdatomic.h>

struct library_adapter {
    uint32_t uid;
    char name[NAME_CAP];
    char path[ADAPTER_PATH_CAP];
    uint64_t bytes;
    double rate, load_ms;
    bool desired;
};

struct library {
    atomic_uint refs;
    uint64_t generation;
    uint32_t n, replicas;
    struct library_adapter *adapters; /* (n) */
    uint8_t *want;                    /* (replicas, n) */
};

/* Nothing is wanted of anybody yet. ERR_INVALID, ERR_LIMIT, ERR_NOMEM. */
MUST_USE enum err library_new(const struct engine_adapter *adapters, size_t n, uint32_t replicas,
                              struct library **ret_library, struct err_detail *detail);
/* The same adapters, nothing wanted yet. */
MUST_USE enum err library_copy(const struct library *from, struct library **ret_library);
struct library *library_acquire(struct library *l);
void library_release(struct library *l); /* Takes NULL. */
/* Index, or n. */
uint32_t library_find(const struct library *l, uint32_t uid);

/* Who may hold what. rows: how things stand, in order of replica and uid. */
struct library_room {
    uint32_t slots;
    uint64_t bytes;
    const struct engine_row *rows;
    size_t rows_n;
    const bool *down; /* (replicas) those get nothing new; all of them down: as if all were up. */
};
/* Fills want; what a replica that is down wanted in `former` (may be NULL) it wants still, as far
 * as it is desired. ERR_NOMEM. */
MUST_USE enum err library_assign(struct library *l, const struct library *former,
                                 const struct library_room *room);
