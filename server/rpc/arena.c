#include "server/rpc/arena.h"

#include "state/base/mem.h"

#include <stdalign.h>
#include <stdint.h>
#include <string.h>

enum { FIRST_BYTES = 32 * 1024, KEPT_BYTES_MAX = 1024 * 1024 };

struct arena_chunk {
    struct arena_chunk *next;
    size_t cap, len;
    alignas(max_align_t) unsigned char bytes[];
};

static void *allocate(void *ctx, size_t size)
{
    return arena_alloc(ctx, size);
}

static void release(void *ctx, void *pointer)
{
    (void)ctx;
    (void)pointer;
}

void arena_init(struct arena *a, size_t limit)
{
    *a = (struct arena){.limit = limit};
    a->allocator = (ProtobufCAllocator){.alloc = allocate, .free = release, .allocator_data = a};
}

static void free_chunks(struct arena_chunk *c)
{
    while (c) {
        struct arena_chunk *next = c->next;
        mem_free(c);
        c = next;
    }
}

void arena_done(struct arena *a)
{
    free_chunks(a->first);
    a->first = a->last = NULL;
}

void arena_reset(struct arena *a)
{
    struct arena_chunk *first = a->first;
    if (first && first->next) {
        free_chunks(first->next);
        first->next = NULL;
        /* A call needed more than one chunk: have one of the right size next time. */
        if (a->used > first->cap && a->used <= KEPT_BYTES_MAX) {
            mem_free(first);
            a->first = first = NULL;
        }
    }
    if (first)
        first->len = 0;
    a->last = first;
    a->full = a->failed = false;
    if (first)
        a->used = 0; /* Else it stays as the hint for the next first chunk. */
}

static struct arena_chunk *add_chunk(struct arena *a, size_t size)
{
    size_t cap = FIRST_BYTES;
    if (a->last)
        cap = 2 * a->last->cap;
    else if (a->used > cap)
        cap = a->used + a->used / 4;
    if (!a->last)
        a->used = 0;
    if (cap < size)
        cap = size;
    struct arena_chunk *c = mem_alloc(sizeof *c + cap);
    if (!c) {
        a->failed = true;
        return NULL;
    }
    c->next = NULL;
    c->cap = cap;
    c->len = 0;
    if (a->last)
        a->last->next = c;
    else
        a->first = c;
    a->last = c;
    return c;
}

void *arena_alloc(struct arena *a, size_t size)
{
    if (size > a->limit || (a->last && size > a->limit - a->used)) {
        a->full = true;
        return NULL;
    }
    size = (size + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
    struct arena_chunk *c = a->last;
    if (!c || c->cap - c->len < size) {
        c = add_chunk(a, size);
        if (!c)
            return NULL;
    }
    void *p = c->bytes + c->len;
    c->len += size;
    a->used = a->used + size <= a->limit ? a->used + size : a->limit;
    return p;
}

void *arena_array(struct arena *a, size_t n, size_t size)
{
    if (size && n > a->limit / size) {
        a->full = true;
        return NULL;
    }
    void *p = arena_alloc(a, n * size);
    if (p)
        memset(p, 0, n * size);
    return p;
}

char *arena_text(struct arena *a, const char *text, size_t len)
{
    char *p = arena_alloc(a, len + 1);
    if (p) {
        memcpy(p, text, len);
        p[len] = '\0';
    }
    return p;
}

enum err arena_error(const struct arena *a, struct err_detail *detail)
{
    if (a->full)
        return err_say(detail, ERR_TOO_LARGE,
                       "the message needs more than %zu bytes of memory; send or ask for less",
                       a->limit);
    return err_say(detail, ERR_NOMEM, "out of memory for a message");
}
