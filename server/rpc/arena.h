/* arena.h - memory for the messages of one call, given back all at once.
 * Why: protobuf-c allocates each string and each list by itself; a bump allocator makes that a few
 * additions, and its bound is what one call may make the server hold, whatever its bytes say.
 * Owns: its chunks. The first one is kept between calls and grows towards what calls really need.
 * Threads: no sharing.
 * Invariant: at most `limit` bytes are out; beyond it arena_alloc gives NULL and `full` is set. */
#pragma once

#include "state/base/err.h"

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>

struct arena_chunk;

struct arena {
    struct arena_chunk *first, *last;
    size_t limit, used;
    bool full;                    /* The limit was hit since the last reset. */
    bool failed;                  /* Memory ran out since the last reset. */
    ProtobufCAllocator allocator; /* Allocates here; frees nothing. */
};

/* limit: most bytes between two resets. */
void arena_init(struct arena *a, size_t limit);
void arena_done(struct arena *a);
void arena_reset(struct arena *a);
/* Aligned for anything; NULL: full or failed. Not cleared. */
void *arena_alloc(struct arena *a, size_t size);
/* An array of n cleared things of `size` bytes; NULL as above, also when n * size overflows. */
void *arena_array(struct arena *a, size_t n, size_t size);
/* A copy of text[0..len) with a NUL. */
char *arena_text(struct arena *a, const char *text, size_t len);
/* Why something was NULL: ERR_TOO_LARGE or ERR_NOMEM. */
enum err arena_error(const struct arena *a, struct err_detail *detail);
