#include "server/live/session_table.h"

#include "state/base/hash.h"
#include "state/base/mem.h"
#include "state/base/slots.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/random.h>

enum { SHARDS = 64, RECENT = 5, RING_FIRST = 4, SECOND_CHANCES = 64 };
enum { LINE = 64, BUCKET = 6, BUCKETS_FIRST = 2, FULL = 4 };

/* A session is asked for after thousands of others, so nothing of it is in a cache, nor the way to
 * its page. What finds one without a budget stands in its first line of memory, with a name of up
 * to 31 characters; what its next step writes in the two behind that; and its neighbours' stay
 * where they are (was_used). */
struct entry {
    uint64_t hash;
    int64_t expires_us;
    uint32_t steps, held_arm; /* It stops counting at the last number there is. */
    bool strict;
    bool was_used; /* Since it was linked. */
    uint8_t metric;
    uint8_t recent_n;
    struct session_key key;
    uint16_t ring_n;
    uint8_t ring_at, ring_log;        /* Its capacity is 2 to ring_log; 0: there is no ring. */
    uint8_t (*ring)[ID_BYTES];        /* Steps before the recent ones: k stands at k % cap. */
    uint8_t recent[RECENT][ID_BYTES]; /* The last steps, oldest first. */
    uint64_t budget, folded, moving;  /* Known to the journal; on its way. */
    struct entry *before, *after;     /* In the shard, in the order in which they were linked. */
    struct entry *more;               /* Of its bucket, which is full. */
};
static_assert(offsetof(struct entry, key.name) == LINE / 2, "vectors compare names in one line");
static_assert(offsetof(struct entry, budget) == (size_t)3 * LINE, "steps end where a line does");

/* A line of memory. Entries are told apart by a byte of their hash, so that one that is not asked
 * for is not looked at: it would be one more that is in no cache. Kept dense. Written with the
 * mutex held, read without it by session_table_expect. */
struct bucket {
    _Alignas(LINE) _Atomic uint64_t tags; /* Byte i: of at[i]; 0: nobody stands there. */
    struct entry *_Atomic at[BUCKET];
    struct entry *_Atomic more; /* Those for whom there was no room, a chain. */
};
static_assert(sizeof(struct bucket) == LINE, "one line is fetched");

/* Two to four entries a bucket, so that those of the sessions in use are near: spread over room for
 * all that could be open, each has a page of its own. What was outgrown stays until the table goes,
 * less than the last one takes. */
struct buckets {
    struct buckets *outgrown;
    char *first;  /* In this memory, where a line begins. */
    uint32_t log; /* How many: 2 to this power, at most 63, */
};

struct shard {
    _Alignas(LINE) pthread_mutex_t mutex;
    struct buckets *buckets;
    struct entry *oldest, *newest;
    uint32_t n;
};

struct session_table {
    struct shard shards[SHARDS];
    /* Of each shard, side by side since every request looks here: `first` of its buckets, plus
     * their `log`. */
    _Alignas(LINE) char *_Atomic index[SHARDS];
    struct slots *entries;
    void *storage;
    uint32_t max, log_max; /* Of a shard's buckets. */
    uint64_t seed;
    _Atomic uint32_t n;
    _Atomic int64_t ring_room; /* Steps that rings may still have room for. */
};

static void *on_a_line(char *storage)
{
    return storage + (LINE - (uintptr_t)storage % LINE) % LINE;
}

static uint32_t ring_cap(const struct entry *e)
{
    return e->ring_log ? 1U << e->ring_log : 0;
}

/* Where step k of the ring stands. */
static uint8_t *ring_step(const struct entry *e, uint32_t k)
{
    return e->ring[(e->ring_at + k) & (ring_cap(e) - 1)];
}

static void free_entry(struct entry *e)
{
    mem_free(e->ring);
    slots_give(e);
}

static struct buckets *new_buckets(uint32_t log, struct buckets *outgrown)
{
    struct buckets *b = mem_calloc(1, sizeof *b + LINE + (sizeof(struct bucket) << log));
    if (!b)
        return NULL;
    b->outgrown = outgrown;
    b->first = on_a_line((char *)(b + 1));
    b->log = log;
    return b;
}

static void publish(struct session_table *t, uint64_t shard, struct buckets *b)
{
    t->shards[shard].buckets = b;
    atomic_store_explicit(&t->index[shard], b->first + b->log, memory_order_release);
}

static struct bucket *bucket_in(char *first, uint32_t log, uint64_t hash)
{
    void *b = first + (hash / SHARDS & ((1ULL << log) - 1)) * sizeof(struct bucket);
    return b;
}

static struct bucket *bucket(const struct session_table *t, uint64_t hash)
{
    char *index = atomic_load_explicit(&t->index[hash % SHARDS], memory_order_acquire);
    uint32_t log = (uintptr_t)index % LINE;
    return bucket_in(index - log, log, hash);
}

static struct entry *get(struct entry *const _Atomic *at)
{
    return atomic_load_explicit(at, memory_order_relaxed);
}

static void set(struct entry *_Atomic *at, struct entry *e)
{
    atomic_store_explicit(at, e, memory_order_relaxed);
}

static uint64_t tag_of(uint64_t hash)
{
    uint64_t tag = hash >> 56;
    return tag ? tag : 1;
}

/* The high bit of every byte of the bucket's that is the tag. */
static uint64_t matches(const struct bucket *b, uint64_t tag)
{
    const uint64_t low = 0x7F7F7F7F7F7F7F7F;
    uint64_t other =
        atomic_load_explicit(&b->tags, memory_order_relaxed) ^ tag * 0x0101010101010101;
    return ~(((other & low) + low) | other | low);
}

/* Of a match the first place; BUCKET or more: there is none. */
static uint32_t place_of(uint64_t matches)
{
    return matches ? (uint32_t)__builtin_ctzll(matches) / 8 : BUCKET;
}

static void set_tag(struct bucket *b, uint32_t i, uint64_t tag)
{
    uint64_t tags = atomic_load_explicit(&b->tags, memory_order_relaxed);
    tags = (tags & ~(0xFFULL << 8 * i)) | tag << 8 * i;
    atomic_store_explicit(&b->tags, tags, memory_order_relaxed);
}

static bool init_shards(struct session_table *t)
{
    bool room = true;
    for (uint64_t i = 0; i < SHARDS; i++) {
        pthread_mutex_init(&t->shards[i].mutex, NULL);
        struct buckets *b = new_buckets(BUCKETS_FIRST, NULL);
        if (b)
            publish(t, i, b);
        room = room && b;
    }
    return room;
}

enum err session_table_new(uint32_t max, struct session_table **ret_table)
{
    char *storage = mem_calloc(1, sizeof(struct session_table) + LINE);
    if (!storage)
        return ERR_NOMEM;
    struct session_table *t = on_a_line(storage);
    t->storage = storage;
    t->max = max;
    t->ring_room = SESSION_STEPS_ALL;
    for (t->log_max = BUCKETS_FIRST; max / SHARDS >> t->log_max; t->log_max++)
        continue;
    bool room = init_shards(t) && getrandom(&t->seed, sizeof t->seed, 0) == sizeof t->seed;
    t->entries = slots_new(sizeof(struct entry));
    if (!room || !t->entries) {
        session_table_free(t);
        return ERR_NOMEM;
    }
    *ret_table = t;
    return OK;
}

void session_table_free(struct session_table *t)
{
    if (!t)
        return;
    for (int i = 0; i < SHARDS; i++) {
        struct shard *s = &t->shards[i];
        while (s->oldest) {
            struct entry *e = s->oldest;
            s->oldest = e->after;
            free_entry(e);
        }
        for (struct buckets *b = s->buckets, *next; b; b = next) {
            next = b->outgrown;
            mem_free(b);
        }
        pthread_mutex_destroy(&s->mutex);
    }
    slots_release(t->entries);
    mem_free(t->storage);
}

/* ---- one shard, its mutex held ---- */

static uint64_t hash_of(const struct session_table *t, const struct session_key *key)
{
    return hash_seeded(key->name, strnlen(key->name, NAME_CAP), t->seed + key->router_uid);
}

static struct shard *lock(struct session_table *t, uint64_t hash)
{
    struct shard *s = &t->shards[hash % SHARDS];
    pthread_mutex_lock(&s->mutex);
    return s;
}

static bool is_of(const struct entry *e, uint64_t hash, const struct session_key *key)
{
    return e->hash == hash && e->key.router_uid == key->router_uid &&
           strcmp(e->key.name, key->name) == 0;
}

static struct entry *find(const struct session_table *t, uint64_t hash,
                          const struct session_key *key)
{
    const struct bucket *b = bucket(t, hash);
    for (uint64_t left = matches(b, tag_of(hash)); left; left &= left - 1) {
        struct entry *e = get(&b->at[place_of(left)]);
        if (is_of(e, hash, key))
            return e;
    }
    struct entry *e = get(&b->more);
    while (e && !is_of(e, hash, key))
        e = e->more;
    return e;
}

static void unlink_use(struct shard *s, struct entry *e)
{
    *(e->before ? &e->before->after : &s->oldest) = e->after;
    *(e->after ? &e->after->before : &s->newest) = e->before;
}

static void link_newest(struct shard *s, struct entry *e)
{
    e->before = s->newest;
    e->after = NULL;
    *(s->newest ? &s->newest->after : &s->oldest) = e;
    s->newest = e;
}

static uint32_t held_by(const struct bucket *b)
{
    return place_of(matches(b, 0));
}

static void put(struct bucket *b, struct entry *e)
{
    uint32_t n = held_by(b);
    if (n < BUCKET) {
        set(&b->at[n], e);
        set_tag(b, n, tag_of(e->hash));
        return;
    }
    e->more = get(&b->more);
    set(&b->more, e);
}

static void take_from_chain(struct bucket *b, const struct entry *e)
{
    struct entry *before = get(&b->more);
    if (before == e) {
        set(&b->more, e->more);
        return;
    }
    while (before->more != e)
        before = before->more;
    before->more = e->more;
}

/* The gap is filled by the first of the chain, else by the last that stands. */
static void take_out(struct bucket *b, const struct entry *e)
{
    struct entry *other = get(&b->more);
    uint32_t i = 0, last = held_by(b) - 1;
    while (i < BUCKET && get(&b->at[i]) != e)
        i++;
    if (i == BUCKET) {
        take_from_chain(b, e);
    } else if (other) {
        set(&b->more, other->more);
        set(&b->at[i], other);
        set_tag(b, i, tag_of(other->hash));
    } else {
        other = get(&b->at[last]);
        set(&b->at[i], other);
        set_tag(b, i, tag_of(other->hash));
        set(&b->at[last], NULL);
        set_tag(b, last, 0);
    }
}

static void drop(struct session_table *t, struct shard *s, struct entry *e)
{
    take_out(bucket(t, e->hash), e);
    unlink_use(s, e);
    s->n--;
    atomic_fetch_add(&t->ring_room, ring_cap(e));
    atomic_fetch_sub(&t->n, 1);
    free_entry(e);
}

/* Whoever is on his way to the journal keeps it. */
static bool is_over(const struct entry *e, int64_t now_us)
{
    return e->expires_us < now_us && e->moving == 0;
}

static void show(const struct entry *e, struct session_view *ret)
{
    *ret = (struct session_view){
        .strict = e->strict,
        .metric = e->metric,
        .budget = e->strict ? e->budget : 0, /* Else they are 0, and not looked at. */
        .used = e->strict ? e->folded + e->moving : 0,
        .held_arm = e->held_arm,
        .steps = e->steps,
        .expires_us = e->expires_us,
        .hash = e->hash,
    };
}

/* The oldest gets a second chance when it was used since it was linked. To move it at every use
 * instead would write to four more lines of cold memory in every request. */
static void settle_oldest(struct shard *s)
{
    for (int i = 0; i < SECOND_CHANCES && s->oldest && s->oldest->was_used; i++) {
        struct entry *e = s->oldest;
        e->was_used = false;
        unlink_use(s, e);
        link_newest(s, e);
    }
}

/* Expired ones go, a few at a time; in a full table the oldest without a budget does. */
static void make_room(struct session_table *t, struct shard *s, int64_t now_us)
{
    settle_oldest(s);
    for (int i = 0; i < 4 && s->oldest && is_over(s->oldest, now_us); i++)
        drop(t, s, s->oldest);
    if (atomic_load(&t->n) < t->max)
        return;
    struct entry *victim = NULL;
    int looked = 0;
    for (struct entry *e = s->oldest; e && looked < 64; e = e->after, looked++) {
        bool may_go = is_over(e, now_us) || (!e->strict && e->moving == 0);
        if (may_go && (!victim || !e->was_used))
            victim = e;
        if (victim && !victim->was_used)
            break;
    }
    if (victim)
        drop(t, s, victim);
}

/* Without memory the chains get longer. */
static void widen_buckets(struct session_table *t, struct shard *s)
{
    struct buckets *old = s->buckets, *b;
    if (s->n >> old->log < FULL || old->log >= t->log_max || !(b = new_buckets(old->log + 1, old)))
        return;
    for (struct entry *e = s->oldest; e; e = e->after)
        put(bucket_in(b->first, b->log, e->hash), e);
    publish(t, (uint64_t)(s - t->shards), b);
}

static enum err add(struct session_table *t, struct shard *s, uint64_t hash,
                    const struct session_key *key, int64_t now_us, struct entry **ret_entry)
{
    make_room(t, s, now_us);
    if (atomic_fetch_add(&t->n, 1) >= t->max) {
        atomic_fetch_sub(&t->n, 1);
        return ERR_LIMIT;
    }
    struct entry *e = slots_take(t->entries);
    if (!e) {
        atomic_fetch_sub(&t->n, 1);
        return ERR_NOMEM;
    }
    memset(e, 0, sizeof *e);
    e->key = *key;
    e->hash = hash;
    widen_buckets(t, s);
    put(bucket(t, hash), e);
    link_newest(s, e);
    s->n++;
    *ret_entry = e;
    return OK;
}

static bool agrees(const struct entry *e, const struct session_ask *ask)
{
    return !ask->strict || (e->strict && e->metric == ask->metric && e->budget == ask->budget);
}

static void open_as(struct entry *e, const struct session_ask *ask)
{
    e->strict = ask->strict;
    e->metric = ask->strict ? ask->metric : 0;
    e->budget = ask->strict ? ask->budget : 0;
    e->expires_us = ask->now_us + ask->ttl_us;
}

/* ---- the calls ---- */

void session_table_expect(const struct session_table *t, struct session_ask *ask)
{
    ask->hash = hash_of(t, &ask->key);
    __builtin_prefetch(bucket(t, ask->hash));
}

void session_table_fetch(const struct session_table *t, const struct session_ask *ask)
{
    const struct bucket *b = bucket(t, ask->hash);
    uint32_t i = place_of(matches(b, tag_of(ask->hash)));
    /* It may be gone by then: an address to fetch is not read. */
    const char *e = (const char *)get(i < BUCKET ? &b->at[i] : &b->more);
    if (!e)
        return;
    __builtin_prefetch(e, 1);
    __builtin_prefetch(e + LINE, 1);
}

/* Where session_table_step will write, a microsecond from now. */
static void fetch_step(const struct entry *e)
{
    if (e->recent_n < RECENT)
        __builtin_prefetch(e->recent[e->recent_n], 1);
    else if (e->ring)
        __builtin_prefetch(ring_step(e, e->ring_n), 1);
}

enum err session_table_enter(struct session_table *t, const struct session_ask *ask,
                             struct session_view *ret_view)
{
    uint64_t hash = ask->hash ? ask->hash : hash_of(t, &ask->key);
    struct shard *s = lock(t, hash);
    struct entry *e = find(t, hash, &ask->key);
    enum err err = OK;
    if (e && is_over(e, ask->now_us)) {
        drop(t, s, e);
        e = NULL;
    }
    if (!e) {
        err = add(t, s, hash, &ask->key, ask->now_us, &e);
        if (err == OK)
            open_as(e, ask);
    } else {
        e->was_used = true;
        if (!agrees(e, ask))
            err = ERR_SESSION_BUDGET;
        else if (!e->strict) /* With a budget it is kept by what the journal holds. */
            e->expires_us = ask->now_us + ask->ttl_us;
    }
    if (e) {
        show(e, ret_view);
        fetch_step(e);
    }
    pthread_mutex_unlock(&s->mutex);
    return err;
}

enum err session_table_look(struct session_table *t, const struct session_ask *ask,
                            struct session_view *ret_view)
{
    uint64_t hash = ask->hash ? ask->hash : hash_of(t, &ask->key);
    struct shard *s = lock(t, hash);
    struct entry fresh = {0}, *e = find(t, hash, &ask->key);
    enum err err = OK;
    if (!e || is_over(e, ask->now_us)) {
        e = &fresh;
        open_as(e, ask);
    } else if (!agrees(e, ask)) {
        err = ERR_SESSION_BUDGET;
    }
    show(e, ret_view);
    pthread_mutex_unlock(&s->mutex);
    return err;
}

bool session_table_reserve(struct session_table *t, const struct session_key *key, uint64_t amount,
                           struct session_view *ret_view)
{
    uint64_t hash = hash_of(t, key);
    struct shard *s = lock(t, hash);
    struct entry *e = find(t, hash, key);
    bool fits = false;
    memset(ret_view, 0, sizeof *ret_view);
    if (e) {
        uint64_t used = e->folded + e->moving;
        fits = e->strict && used <= e->budget && amount <= e->budget - used;
        if (fits)
            e->moving += amount;
        show(e, ret_view);
    }
    pthread_mutex_unlock(&s->mutex);
    return fits;
}

void session_table_arrived(struct session_table *t, const struct session_key *key, uint64_t amount)
{
    uint64_t hash = hash_of(t, key);
    struct shard *s = lock(t, hash);
    struct entry *e = find(t, hash, key);
    if (e) /* One that was ended meanwhile, and opened again, has nothing of it. */
        e->moving -= amount < e->moving ? amount : e->moving;
    pthread_mutex_unlock(&s->mutex);
}

void session_table_folded(struct session_table *t, const struct session_account *account)
{
    struct session_key key = {account->router_uid, ""};
    memcpy(key.name, account->name, sizeof key.name);
    uint64_t hash = hash_of(t, &key);
    struct shard *s = lock(t, hash);
    struct entry *e = find(t, hash, &key);
    if (e) {
        e->strict = true;
        e->metric = account->metric;
        e->budget = account->budget;
        e->folded = account->spent + account->reserved;
        e->expires_us = account->expires_us;
    }
    pthread_mutex_unlock(&s->mutex);
}

/* Twice as much room for steps, if there is any left for all. */
static bool widen_ring(struct session_table *t, struct entry *e)
{
    uint32_t log = e->ring_log ? e->ring_log + 1U : RING_FIRST, more = (1U << log) - ring_cap(e);
    if (1U << log > SESSION_STEPS_MAX)
        return false;
    uint8_t(*ring)[ID_BYTES] = NULL;
    if (atomic_fetch_sub(&t->ring_room, more) >= more)
        ring = mem_alloc(sizeof *ring << log);
    if (!ring) {
        atomic_fetch_add(&t->ring_room, more);
        return false;
    }
    for (uint32_t i = 0; i < e->ring_n; i++)
        memcpy(ring[i], ring_step(e, i), ID_BYTES);
    mem_free(e->ring);
    e->ring = ring;
    e->ring_log = (uint8_t)log;
    e->ring_at = 0;
    return true;
}

/* Room for a step among the recent ones: they go into the ring together, so that its memory, which
 * is elsewhere, is wanted in one step of five. Without a ring the oldest of them is forgotten. */
static void make_room_for_step(struct session_table *t, struct entry *e)
{
    if (e->recent_n < RECENT)
        return;
    while ((uint32_t)e->ring_n + RECENT > ring_cap(e) && widen_ring(t, e))
        continue;
    if (!e->ring) {
        memmove(e->recent[0], e->recent[1], (RECENT - 1) * sizeof *e->recent);
        e->recent_n--;
        return;
    }
    for (uint32_t i = 0; i < RECENT; i++) {
        memcpy(ring_step(e, e->ring_n), e->recent[i], ID_BYTES);
        if (e->ring_n < ring_cap(e))
            e->ring_n++;
        else
            e->ring_at = (uint8_t)((e->ring_at + 1U) & (ring_cap(e) - 1));
    }
    e->recent_n = 0;
}

void session_table_step(struct session_table *t, const struct session_key *key, uint64_t hash,
                        const uint8_t id[ID_BYTES], uint32_t arm_uid)
{
    hash = hash ? hash : hash_of(t, key);
    struct shard *s = lock(t, hash);
    struct entry *e = find(t, hash, key);
    if (e) {
        e->held_arm = arm_uid;
        e->steps += e->steps < UINT32_MAX;
        make_room_for_step(t, e);
        memcpy(e->recent[e->recent_n++], id, ID_BYTES);
    }
    pthread_mutex_unlock(&s->mutex);
}

enum err session_table_restore(struct session_table *t, const struct session_account *account)
{
    struct session_ask ask = {.strict = true, .metric = account->metric, .budget = account->budget};
    struct session_view view;
    ask.key.router_uid = account->router_uid;
    memcpy(ask.key.name, account->name, sizeof ask.key.name);
    TRY(session_table_enter(t, &ask, &view));
    session_table_folded(t, account);
    return OK;
}

/* The last SESSION_STEPS_MAX at most; returns how many. */
static uint32_t copy_steps(const struct entry *e, uint8_t ret_ids[][ID_BYTES])
{
    uint32_t all = (uint32_t)e->ring_n + e->recent_n, n = 0;
    for (uint32_t i = all > SESSION_STEPS_MAX ? all - SESSION_STEPS_MAX : 0; i < e->ring_n; i++)
        memcpy(ret_ids[n++], ring_step(e, i), ID_BYTES);
    memcpy(ret_ids[n], e->recent, e->recent_n * sizeof *e->recent);
    return n + e->recent_n;
}

bool session_table_steps(struct session_table *t, const struct session_key *key, int64_t now_us,
                         struct session_view *ret_view, uint8_t ret_ids[][ID_BYTES],
                         uint32_t *ret_ids_n)
{
    uint64_t hash = hash_of(t, key);
    struct shard *s = lock(t, hash);
    struct entry *e = find(t, hash, key);
    bool open = e && !is_over(e, now_us);
    *ret_ids_n = 0;
    if (open) {
        show(e, ret_view);
        *ret_ids_n = copy_steps(e, ret_ids);
    }
    pthread_mutex_unlock(&s->mutex);
    return open;
}

void session_table_end(struct session_table *t, const struct session_key *key)
{
    uint64_t hash = hash_of(t, key);
    struct shard *s = lock(t, hash);
    struct entry *e = find(t, hash, key);
    if (e)
        drop(t, s, e);
    pthread_mutex_unlock(&s->mutex);
}

uint32_t session_table_list(struct session_table *t, uint32_t router_uid, int64_t now_us,
                            struct session_row *ret_rows, uint32_t n)
{
    uint32_t all = 0;
    for (int i = 0; i < SHARDS; i++) {
        struct shard *s = &t->shards[i];
        pthread_mutex_lock(&s->mutex);
        for (const struct entry *e = s->oldest; e; e = e->after) {
            if (e->key.router_uid != router_uid || is_over(e, now_us))
                continue;
            if (all < n) {
                ret_rows[all].key = e->key;
                show(e, &ret_rows[all].view);
            }
            all++;
        }
        pthread_mutex_unlock(&s->mutex);
    }
    return all;
}

uint32_t session_table_count(struct session_table *t, int64_t now_us, uint32_t *ret_strict)
{
    uint32_t all = 0;
    *ret_strict = 0;
    for (int i = 0; i < SHARDS; i++) {
        struct shard *s = &t->shards[i];
        pthread_mutex_lock(&s->mutex);
        for (const struct entry *e = s->oldest; e; e = e->after) {
            if (is_over(e, now_us))
                continue;
            all++;
            *ret_strict += e->strict;
        }
        pthread_mutex_unlock(&s->mutex);
    }
    return all;
}
