/* store_inside.h - what the store_*.c files share; nobody else includes it.
 * Invariant: `first` and `last` follow the committed journal, so they may lag a commit, never lead
 * it. Lock order: generation_lock, append_lock, then the environment's own. */
#pragma once

#include "state/store/env.h"
#include "state/store/place.h"
#include "state/store/store.h"
#include "state/store/tables.h"

#include <pthread.h>
#include <stdatomic.h>

#define STORE_FILE "state"
#define STORE_LOCK "shunt.lock"
#define KEY_SEQ_BYTES 8
#define KEY_CHUNK_BYTES 12

struct store {
    struct env *env;
    int lock_fd;
    _Atomic uint64_t first, last;
    pthread_mutex_t append_lock;      /* One append or trim at a time. */
    pthread_mutex_t generation_lock;  /* Guards `building`, and changes of the generation table. */
    struct store_generation building; /* id 0: none. */
    char dir[PLACE_PATH_CAP];
};

/* Big-endian, so that byte order is number order. */
void key_seq(uint64_t n, uint8_t ret[KEY_SEQ_BYTES]);
uint64_t key_seq_read(const uint8_t key[KEY_SEQ_BYTES]);
void key_chunk(uint64_t id, uint32_t index, uint8_t ret[KEY_CHUNK_BYTES]);
uint32_t key_chunk_index(const uint8_t key[KEY_CHUNK_BYTES]);

/* Opens a state file with all its tables and checks the format row. READ_ALONE: nobody writes it,
 * and a crash does no harm. */
enum store_attach { STORE_WRITE, STORE_READ_ALONE };
MUST_USE enum err store_attach(const char *file, const struct store_options *options,
                               enum store_attach how, struct env **ret, struct err_detail *detail);
/* The oldest and newest record; 0 and 0 when empty. */
MUST_USE enum err store_journal_edges(struct env *e, uint64_t *ret_first, uint64_t *ret_last,
                                      struct err_detail *detail);
/* As store_journal_iterate, on a bare environment; `to` must exist. */
MUST_USE enum err store_journal_walk(struct env *e, uint64_t from, uint64_t to, store_visit *visit,
                                     void *ctx, struct err_detail *detail);
MUST_USE enum err store_generations(struct env *e,
                                    struct store_generation ret[STORE_GENERATIONS_MAX],
                                    size_t *ret_n, struct err_detail *detail);
MUST_USE enum err store_chunks_walk(struct env *e, const struct store_generation *g,
                                    store_visit *visit, void *ctx, struct err_detail *detail);
/* Deletes chunks that no generation row claims, but those of `spare`. */
MUST_USE enum err store_drop_orphans(struct env *e, uint64_t spare, struct err_detail *detail);
/* Looks at DIR/state in a child; the caller holds the lock. */
MUST_USE enum err store_look(const char *dir, bool everything, struct err_detail *detail);
