#include "state/base/slots.h"

#include "state/base/mem.h"

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

/* A place that is not out is nobody's to read. */
#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define TELL_SANITIZER 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define TELL_SANITIZER 1
#endif
#ifdef TELL_SANITIZER
#include <sanitizer/asan_interface.h>
#define FORBID(p, size) ASAN_POISON_MEMORY_REGION(p, size)
#define ALLOW(p, size) ASAN_UNPOISON_MEMORY_REGION(p, size)
#else
#define FORBID(p, size) ((void)(p), (void)(size))
#define ALLOW(p, size) ((void)(p), (void)(size))
#endif

/* Stands at the beginning of its memory, which stands on a multiple of its size: any place knows
 * its slab by its address. */
struct slab {
    struct slots *owner;
    void *given;                /* Places given back: each holds the address of the next. */
    uint32_t index, out, fresh; /* fresh: places from here on were never taken. */
    bool huge;
};

struct slots {
    pthread_mutex_t lock;
    size_t place_bytes;
    uint32_t places;     /* In a slab. */
    size_t refs;         /* Holders, and places that are out. */
    struct slab **slabs; /* The oldest first. */
    uint32_t slabs_n, slabs_cap;
    uint32_t room; /* No slab before this one has a place left. */
};

static_assert(sizeof(struct slab) <= SLOTS_ALIGN, "the first place would stand in the slab's head");

struct slots *slots_new(size_t place_bytes)
{
    assert(place_bytes > 0 && place_bytes <= SLOTS_PLACE_MAX);
    struct slots *s = mem_calloc(1, sizeof *s);
    if (!s)
        return NULL;
    if (pthread_mutex_init(&s->lock, NULL) != 0) {
        mem_free(s);
        return NULL;
    }
    s->place_bytes = (place_bytes + SLOTS_ALIGN - 1) / SLOTS_ALIGN * SLOTS_ALIGN;
    s->places = (uint32_t)((SLOTS_SLAB_BYTES - SLOTS_ALIGN) / s->place_bytes);
    s->refs = 1;
    return s;
}

static void lock(struct slots *s)
{
    int e = pthread_mutex_lock(&s->lock);
    assert(e == 0);
    (void)e;
}

static void unlock(struct slots *s)
{
    int e = pthread_mutex_unlock(&s->lock);
    assert(e == 0);
    (void)e;
}

static void drop_slab(struct slab *slab)
{
    ALLOW(slab, SLOTS_SLAB_BYTES); /* Somebody else may get these addresses. */
    mem_unmap(slab, SLOTS_SLAB_BYTES);
}

static void destroy(struct slots *s)
{
    for (uint32_t i = 0; i < s->slabs_n; i++)
        drop_slab(s->slabs[i]);
    (void)pthread_mutex_destroy(&s->lock);
    mem_free(s->slabs);
    mem_free(s);
}

struct slots *slots_acquire(struct slots *s)
{
    lock(s);
    s->refs++;
    unlock(s);
    return s;
}

void slots_release(struct slots *s)
{
    if (!s)
        return;
    lock(s);
    bool last = --s->refs == 0;
    unlock(s);
    if (last)
        destroy(s);
}

static struct slab *add_slab(struct slots *s)
{
    if (s->slabs_n == s->slabs_cap) {
        uint32_t cap = s->slabs_cap ? 2 * s->slabs_cap : 4;
        struct slab **slabs = mem_realloc(s->slabs, cap * sizeof *slabs);
        if (!slabs)
            return NULL;
        s->slabs = slabs;
        s->slabs_cap = cap;
    }
    struct slab *slab = mem_map(SLOTS_SLAB_BYTES);
    if (!slab)
        return NULL;
    FORBID((uint8_t *)slab + SLOTS_ALIGN, SLOTS_SLAB_BYTES - SLOTS_ALIGN);
    slab->owner = s;
    slab->index = s->slabs_n;
    s->slabs[s->slabs_n++] = slab;
    return slab;
}

/* The oldest slab with room; NULL: no memory. */
static struct slab *find_room(struct slots *s)
{
    for (; s->room < s->slabs_n; s->room++)
        if (s->slabs[s->room]->out < s->places)
            return s->slabs[s->room];
    return add_slab(s);
}

static void *take_from(struct slots *s, struct slab *slab)
{
    void *place = slab->given;
    if (place) {
        memcpy(&slab->given, place, sizeof slab->given);
    } else {
        place = (uint8_t *)slab + SLOTS_ALIGN + slab->fresh * s->place_bytes;
        slab->fresh++;
    }
    ALLOW(place, s->place_bytes);
    slab->out++;
    return place;
}

void *slots_take(struct slots *s)
{
    lock(s);
    struct slab *slab = find_room(s);
    void *place = slab ? take_from(s, slab) : NULL;
    if (place) {
        s->refs++;
        if (slab->out == s->places && !slab->huge) {
            mem_make_huge(slab, SLOTS_SLAB_BYTES);
            slab->huge = true;
        }
    }
    unlock(s);
    return place;
}

/* A slab has become empty: unless it is the only one, it goes. */
static void remove_if_spare(struct slots *s, struct slab *slab)
{
    bool other = false;
    for (uint32_t i = 0; i < s->slabs_n && !other; i++)
        other = s->slabs[i] != slab && s->slabs[i]->out == 0;
    if (!other)
        return;
    s->slabs_n--;
    for (uint32_t i = slab->index; i < s->slabs_n; i++) {
        s->slabs[i] = s->slabs[i + 1];
        s->slabs[i]->index = i;
    }
    drop_slab(slab);
}

void slots_give(void *place)
{
    if (!place)
        return;
    /* From the place, so that the pointer stays one into its memory. */
    struct slab *slab = (void *)((uint8_t *)place - ((uintptr_t)place & (SLOTS_SLAB_BYTES - 1)));
    struct slots *s = slab->owner;
    lock(s);
    memcpy(place, &slab->given, sizeof slab->given);
    FORBID((uint8_t *)place + sizeof slab->given, s->place_bytes - sizeof slab->given);
    slab->given = place;
    if (slab->index < s->room)
        s->room = slab->index;
    if (--slab->out == 0)
        remove_if_spare(s, slab);
    bool last = --s->refs == 0;
    unlock(s);
    if (last)
        destroy(s);
}

struct slots_count slots_count(struct slots *s)
{
    struct slots_count c = {0};
    lock(s);
    c.slabs = s->slabs_n;
    for (uint32_t i = 0; i < s->slabs_n; i++) {
        c.out += s->slabs[i]->out;
        c.huge += s->slabs[i]->huge;
    }
    unlock(s);
    return c;
}
