#include "server/live/source_caps.h"

#include "state/base/mem.h"
#include "state/model/limits.h"

#include <pthread.h>

/* Twice as many as all routers can have, so that a free place is found at once. */
enum { PLACES = 65536 };
_Static_assert(PLACES >= 2 * MAX_ROUTERS * (MAX_SOURCES + 1), "every source has a place");
static const int64_t second_us = 1000000;

struct place {
    uint64_t key; /* Router and tag, never 0; 0: empty. */
    int64_t second, minute;
    uint32_t in_second, in_minute;
    uint64_t refused;
};

struct source_caps {
    pthread_mutex_t lock;
    struct place *places; /* NULL until a source has a cap. */
};

enum err source_caps_new(struct source_caps **ret_caps)
{
    struct source_caps *c = mem_calloc(1, sizeof *c);
    if (!c)
        return ERR_NOMEM;
    pthread_mutex_init(&c->lock, NULL);
    *ret_caps = c;
    return OK;
}

void source_caps_free(struct source_caps *c)
{
    if (!c)
        return;
    pthread_mutex_destroy(&c->lock);
    mem_free(c->places);
    mem_free(c);
}

static uint64_t key_of(uint32_t router_uid, uint32_t tag)
{
    return (uint64_t)router_uid << 32 | tag;
}

static uint64_t place_of(uint64_t key)
{
    return key * 0x9e3779b97f4a7c15ULL >> 48;
}

/* What stands there for a source whose minute is over is as good as empty, as routers come and go;
 * but rather one that was refused nothing. */
static struct place *find(struct source_caps *c, uint64_t key, int64_t minute)
{
    struct place *stale = NULL;
    uint64_t at = place_of(key);
    for (uint32_t n = 0; n < PLACES; n++, at = (at + 1) % PLACES) {
        struct place *p = &c->places[at];
        if (p->key == key)
            return p;
        bool free = p->key == 0 || p->minute != minute;
        if (free && (!stale || (stale->refused && !p->refused)))
            stale = p;
        if (p->key == 0)
            break;
    }
    if (stale)
        *stale = (struct place){.key = key};
    return stale;
}

static enum err take(struct source_caps *c, uint64_t key, uint32_t max_per_s, uint32_t max_per_min,
                     int64_t now_us)
{
    int64_t second = now_us / second_us, minute = second / 60;
    if (!c->places)
        c->places = mem_calloc(PLACES, sizeof *c->places);
    struct place *p = c->places ? find(c, key, minute) : NULL;
    if (!p)
        return ERR_NOMEM;
    if (p->second != second)
        p->in_second = 0;
    if (p->minute != minute)
        p->in_minute = 0;
    p->second = second;
    p->minute = minute;
    if ((max_per_s && p->in_second >= max_per_s) || (max_per_min && p->in_minute >= max_per_min)) {
        p->refused++;
        return ERR_SOURCE_CAP;
    }
    p->in_second++;
    p->in_minute++;
    return OK;
}

enum err source_caps_take(struct source_caps *c, uint32_t router_uid, uint32_t tag,
                          uint32_t max_per_s, uint32_t max_per_min, int64_t now_us)
{
    if (!max_per_s && !max_per_min)
        return OK;
    pthread_mutex_lock(&c->lock);
    enum err e = take(c, key_of(router_uid, tag), max_per_s, max_per_min, now_us);
    pthread_mutex_unlock(&c->lock);
    return e;
}

uint64_t source_caps_refused(struct source_caps *c, uint32_t router_uid, uint32_t tag)
{
    uint64_t refused = 0, key = key_of(router_uid, tag);
    pthread_mutex_lock(&c->lock);
    uint64_t at = place_of(key);
    for (uint32_t n = 0; c->places && n < PLACES && c->places[at].key; n++) {
        if (c->places[at].key == key)
            refused = c->places[at].refused;
        at = (at + 1) % PLACES;
    }
    pthread_mutex_unlock(&c->lock);
    return refused;
}
