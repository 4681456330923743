#include "server/live/recent.h"

#include "state/base/hash.h"
#include "state/base/mem.h"

#include <pthread.h>
#include <string.h>
#include <sys/random.h>

enum { SHARDS_MAX = 64, SHARD_ENTRIES_MIN = 64 };
#define NONE UINT32_MAX /* No entry. */

struct entry {
    uint8_t id[ID_BYTES];
    uint64_t body_hash;
    int64_t begun_us;
    uint8_t *answer; /* NULL: being decided. */
    size_t answer_len;
    uint32_t chain;        /* The next of the same bucket, or of the free list. */
    uint32_t older, newer; /* In order of begun_us. */
};

struct shard {
    pthread_mutex_t lock;
    struct entry *entries;
    uint32_t *buckets;
    uint32_t buckets_n; /* A power of two. */
    uint32_t free;
    uint32_t oldest, newest;
    size_t bytes;
};

struct recent {
    int64_t keep_us;
    uint64_t seed;
    uint32_t shards_n; /* A power of two. */
    size_t shard_bytes_max;
    struct shard shards[SHARDS_MAX];
};

static enum err shard_init(struct shard *s, uint32_t entries_n)
{
    s->buckets_n = 1;
    while (s->buckets_n < entries_n)
        s->buckets_n *= 2;
    s->entries = mem_calloc(entries_n, sizeof *s->entries);
    s->buckets = mem_alloc(s->buckets_n * sizeof *s->buckets);
    if (!s->entries || !s->buckets)
        return ERR_NOMEM;
    memset(s->buckets, 0xff, s->buckets_n * sizeof *s->buckets); /* All NONE. */
    s->oldest = s->newest = NONE;
    s->free = 0;
    for (uint32_t i = 0; i < entries_n; i++)
        s->entries[i].chain = i + 1 < entries_n ? i + 1 : NONE;
    return OK;
}

enum err recent_new(uint32_t max, int64_t keep_us, struct recent **ret_recent)
{
    if (max == 0 || max > 1U << 30 || keep_us < 0)
        return ERR_INVALID;
    struct recent *r = mem_calloc(1, sizeof *r);
    if (!r)
        return ERR_NOMEM;
    r->keep_us = keep_us;
    r->shards_n = 1;
    while (r->shards_n < SHARDS_MAX && max / (2 * r->shards_n) >= SHARD_ENTRIES_MIN)
        r->shards_n *= 2;
    r->shard_bytes_max = RECENT_BYTES_MAX / r->shards_n;
    enum err e = OK;
    for (uint32_t i = 0; i < r->shards_n; i++)
        pthread_mutex_init(&r->shards[i].lock, NULL);
    for (uint32_t i = 0; e == OK && i < r->shards_n; i++)
        e = shard_init(&r->shards[i], max / r->shards_n);
    if (e == OK && getrandom(&r->seed, sizeof r->seed, 0) != (ssize_t)sizeof r->seed)
        e = ERR_INTERNAL;
    if (e != OK) {
        recent_free(r);
        return e;
    }
    *ret_recent = r;
    return OK;
}

void recent_free(struct recent *r)
{
    if (!r)
        return;
    for (uint32_t i = 0; i < r->shards_n; i++) {
        struct shard *s = &r->shards[i];
        if (s->entries && s->buckets) /* Else it was never filled. */
            for (uint32_t k = s->oldest; k != NONE; k = s->entries[k].newer)
                mem_free(s->entries[k].answer);
        mem_free(s->entries);
        mem_free(s->buckets);
        pthread_mutex_destroy(&s->lock);
    }
    mem_free(r);
}

static uint64_t hash_id(const struct recent *r, const uint8_t *id)
{
    return hash_seeded(id, ID_BYTES, r->seed);
}

static struct shard *shard_of(struct recent *r, uint64_t hash)
{
    return &r->shards[(hash >> 32) & (r->shards_n - 1)];
}

static uint32_t *bucket_of(struct shard *s, uint64_t hash)
{
    return &s->buckets[hash & (s->buckets_n - 1)];
}

static uint32_t find(struct shard *s, uint64_t hash, const uint8_t *id)
{
    uint32_t k = *bucket_of(s, hash);
    while (k != NONE && memcmp(s->entries[k].id, id, ID_BYTES) != 0)
        k = s->entries[k].chain;
    return k;
}

static void forget(struct recent *r, struct shard *s, uint32_t k)
{
    struct entry *e = &s->entries[k];
    uint32_t *link = bucket_of(s, hash_id(r, e->id));
    while (*link != k)
        link = &s->entries[*link].chain;
    *link = e->chain;
    *(e->older == NONE ? &s->oldest : &s->entries[e->older].newer) = e->newer;
    *(e->newer == NONE ? &s->newest : &s->entries[e->newer].older) = e->older;
    s->bytes -= e->answer_len;
    mem_free(e->answer);
    e->answer = NULL;
    e->answer_len = 0;
    e->chain = s->free;
    s->free = k;
}

/* Forgets the oldest entry that nobody is deciding, but never `except`. False: there is none. */
static bool forget_oldest(struct recent *r, struct shard *s, uint32_t except)
{
    uint32_t k = s->oldest;
    while (k != NONE && (!s->entries[k].answer || k == except))
        k = s->entries[k].newer;
    if (k == NONE)
        return false;
    forget(r, s, k);
    return true;
}

static bool expired(const struct recent *r, const struct entry *e, int64_t now_us)
{
    int64_t age;
    return !__builtin_sub_overflow(now_us, e->begun_us, &age) && age > r->keep_us;
}

static void remember(struct shard *s, uint64_t hash, const uint8_t *id, uint64_t body_hash,
                     int64_t now_us)
{
    uint32_t k = s->free;
    struct entry *e = &s->entries[k];
    s->free = e->chain;
    memcpy(e->id, id, ID_BYTES);
    e->body_hash = body_hash;
    e->begun_us = now_us;
    uint32_t *bucket = bucket_of(s, hash);
    e->chain = *bucket;
    *bucket = k;
    e->older = s->newest;
    e->newer = NONE;
    *(s->newest == NONE ? &s->oldest : &s->entries[s->newest].newer) = k;
    s->newest = k;
}

static enum live_recent begin(struct recent *r, struct shard *s, uint64_t hash, const uint8_t *id,
                              uint64_t body_hash, int64_t now_us, struct buf *ret_answer)
{
    while (s->oldest != NONE && expired(r, &s->entries[s->oldest], now_us))
        forget(r, s, s->oldest);
    uint32_t k = find(s, hash, id);
    if (k != NONE) {
        const struct entry *e = &s->entries[k];
        if (e->body_hash != body_hash)
            return LIVE_OTHER;
        if (!e->answer)
            return LIVE_BUSY;
        buf_reset(ret_answer);
        buf_put(ret_answer, e->answer, e->answer_len);
        return LIVE_SAME;
    }
    if (s->free == NONE && !forget_oldest(r, s, NONE))
        return LIVE_BUSY;
    remember(s, hash, id, body_hash, now_us);
    return LIVE_FRESH;
}

enum live_recent recent_begin(struct recent *r, const uint8_t id[ID_BYTES], uint64_t body_hash,
                              int64_t now_us, struct buf *ret_answer)
{
    uint64_t hash = hash_id(r, id);
    struct shard *s = shard_of(r, hash);
    pthread_mutex_lock(&s->lock);
    enum live_recent is = begin(r, s, hash, id, body_hash, now_us, ret_answer);
    pthread_mutex_unlock(&s->lock);
    return is;
}

void recent_put(struct recent *r, const uint8_t id[ID_BYTES], struct slice answer)
{
    uint8_t *copy = answer.len <= r->shard_bytes_max ? mem_alloc(answer.len) : NULL;
    if (copy && answer.len)
        memcpy(copy, answer.data, answer.len);
    uint64_t hash = hash_id(r, id);
    struct shard *s = shard_of(r, hash);
    pthread_mutex_lock(&s->lock);
    uint32_t k = find(s, hash, id);
    if (k != NONE && !s->entries[k].answer) {
        if (copy) {
            /* Room is made only from others' answers; alone in the shard it fits by the test above.
             */
            while (s->bytes + answer.len > r->shard_bytes_max && forget_oldest(r, s, k))
                ;
            s->entries[k].answer = copy;
            s->entries[k].answer_len = answer.len;
            s->bytes += answer.len;
            copy = NULL;
        } else {
            forget(r, s, k);
        }
    }
    pthread_mutex_unlock(&s->lock);
    mem_free(copy); /* Nobody waits for it: dropped meanwhile, or answered twice. */
}

void recent_drop(struct recent *r, const uint8_t id[ID_BYTES])
{
    uint64_t hash = hash_id(r, id);
    struct shard *s = shard_of(r, hash);
    pthread_mutex_lock(&s->lock);
    uint32_t k = find(s, hash, id);
    if (k != NONE && !s->entries[k].answer)
        forget(r, s, k);
    pthread_mutex_unlock(&s->lock);
}
