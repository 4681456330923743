#include "server/live/session_table.h"

#include "state/base/hash.h"
#include "state/base/mem.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/random.h>

enum { SHARDS = 64, STEPS_FIRST = 4, SECOND_CHANCES = 64, LINE = 64, BUCKETS_FIRST = 16 };

/* A session is asked for after thousands of others: what a request of one without a budget touches
 * stands in two lines of memory, three if the name is long, that begin where a line does; and its
 * neighbours' stay where they are (was_used). */
struct entry {
    uint64_t hash;
    struct entry *chain; /* Of its bucket. */
    uint64_t steps;
    int64_t expires_us;
    uint8_t (*ids)[ID_BYTES]; /* A ring: step k stands at k % ids_cap once it is full. */
    uint32_t ids_n, ids_cap, ids_at;
    uint32_t held_arm;
    bool strict;
    bool was_used; /* Since it was linked. */
    uint8_t metric;
    _Alignas(LINE) struct session_key key;
    uint64_t budget, folded, moving; /* Known to the journal; on its way. */
    struct entry *before, *after;    /* In the shard, in the order in which they were linked. */
    void *storage;
};

/* About as many as there are entries, so that those of the sessions in use are near: spread over
 * room for all that could be open, each has a line of memory, and a page, of its own. Written with
 * the mutex held, read without it by session_table_expect: what was outgrown stays until the table
 * goes, less than the last one takes. */
struct buckets {
    struct buckets *outgrown;
    uint32_t n; /* A power of two. */
    struct entry *_Atomic first[];
};

struct shard {
    pthread_mutex_t mutex;
    struct buckets *_Atomic buckets;
    struct entry *oldest, *newest;
    uint32_t n;
};

struct session_table {
    struct shard shards[SHARDS];
    uint32_t max, buckets_max; /* Of a shard. */
    uint64_t seed;
    _Atomic uint32_t n;
    _Atomic int64_t ids_room;
};

static struct entry *new_entry(void)
{
    char *storage = mem_calloc(1, sizeof(struct entry) + LINE - 1);
    if (!storage)
        return NULL;
    void *at = storage + (LINE - (uintptr_t)storage % LINE) % LINE;
    struct entry *e = at;
    e->storage = storage;
    return e;
}

static void free_entry(struct entry *e)
{
    mem_free(e->ids);
    mem_free(e->storage);
}

static struct buckets *new_buckets(uint32_t n, struct buckets *outgrown)
{
    struct buckets *b = mem_calloc(1, sizeof *b + n * sizeof *b->first);
    if (!b)
        return NULL;
    b->outgrown = outgrown;
    b->n = n;
    return b;
}

static struct buckets *buckets_of(const struct shard *s)
{
    return atomic_load_explicit(&s->buckets, memory_order_acquire);
}

static struct entry *_Atomic *bucket(struct buckets *b, uint64_t hash)
{
    return &b->first[hash / SHARDS & (b->n - 1)];
}

static struct entry *first_of(struct entry *_Atomic *bucket)
{
    return atomic_load_explicit(bucket, memory_order_relaxed);
}

static void set_first(struct entry *_Atomic *bucket, struct entry *e)
{
    atomic_store_explicit(bucket, e, memory_order_relaxed);
}

enum err session_table_new(uint32_t max, struct session_table **ret_table)
{
    struct session_table *t = mem_calloc(1, sizeof *t);
    if (!t)
        return ERR_NOMEM;
    t->max = max;
    t->ids_room = SESSION_STEPS_ALL;
    for (t->buckets_max = BUCKETS_FIRST; t->buckets_max < max / SHARDS; t->buckets_max *= 2)
        continue;
    bool room = getrandom(&t->seed, sizeof t->seed, 0) == sizeof t->seed;
    for (int i = 0; i < SHARDS; i++) {
        pthread_mutex_init(&t->shards[i].mutex, NULL);
        struct buckets *b = new_buckets(BUCKETS_FIRST, NULL);
        atomic_init(&t->shards[i].buckets, b);
        room = room && b;
    }
    if (!room) {
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
        for (struct buckets *b = buckets_of(s), *next; b; b = next) {
            next = b->outgrown;
            mem_free(b);
        }
        pthread_mutex_destroy(&s->mutex);
    }
    mem_free(t);
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

static struct entry *find(const struct shard *s, uint64_t hash, const struct session_key *key)
{
    struct entry *e = first_of(bucket(buckets_of(s), hash));
    while (e && (e->hash != hash || e->key.router_uid != key->router_uid ||
                 strcmp(e->key.name, key->name) != 0))
        e = e->chain;
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

static void drop(struct session_table *t, struct shard *s, struct entry *e)
{
    struct entry *_Atomic *at = bucket(buckets_of(s), e->hash);
    struct entry *before = first_of(at);
    if (before == e) {
        set_first(at, e->chain);
    } else {
        while (before->chain != e)
            before = before->chain;
        before->chain = e->chain;
    }
    unlink_use(s, e);
    s->n--;
    atomic_fetch_add(&t->ids_room, e->ids_cap);
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

static void chain(struct buckets *b, struct entry *e)
{
    struct entry *_Atomic *at = bucket(b, e->hash);
    e->chain = first_of(at);
    set_first(at, e);
}

/* Without memory the chains get longer. */
static void widen_buckets(const struct session_table *t, struct shard *s)
{
    struct buckets *old = buckets_of(s), *b;
    if (s->n < old->n || old->n >= t->buckets_max || !(b = new_buckets(2 * old->n, old)))
        return;
    for (struct entry *e = s->oldest; e; e = e->after)
        chain(b, e);
    atomic_store_explicit(&s->buckets, b, memory_order_release);
}

static enum err add(struct session_table *t, struct shard *s, uint64_t hash,
                    const struct session_key *key, int64_t now_us, struct entry **ret_entry)
{
    make_room(t, s, now_us);
    if (atomic_fetch_add(&t->n, 1) >= t->max) {
        atomic_fetch_sub(&t->n, 1);
        return ERR_LIMIT;
    }
    struct entry *e = new_entry();
    if (!e) {
        atomic_fetch_sub(&t->n, 1);
        return ERR_NOMEM;
    }
    e->key = *key;
    e->hash = hash;
    widen_buckets(t, s);
    chain(buckets_of(s), e);
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

/* Where its next step is written, when there is room. */
static uint32_t next_id(const struct entry *e)
{
    uint32_t at = e->ids_at + (e->ids_n < e->ids_cap ? e->ids_n : 0);
    return at < e->ids_cap ? at : at - e->ids_cap;
}

/* ---- the calls ---- */

void session_table_expect(const struct session_table *t, struct session_ask *ask)
{
    ask->hash = hash_of(t, &ask->key);
    const struct shard *s = &t->shards[ask->hash % SHARDS];
    /* It may be gone by then: an address to fetch is not read. */
    const void *e = first_of(bucket(buckets_of(s), ask->hash));
    if (!e)
        return;
    __builtin_prefetch(e, 1);
    __builtin_prefetch((const char *)e + LINE);
}

enum err session_table_enter(struct session_table *t, const struct session_ask *ask,
                             struct session_view *ret_view)
{
    uint64_t hash = ask->hash ? ask->hash : hash_of(t, &ask->key);
    struct shard *s = lock(t, hash);
    struct entry *e = find(s, hash, &ask->key);
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
        if (e->ids) /* For session_table_step, a few microseconds from now. */
            __builtin_prefetch(e->ids[next_id(e)], 1);
    }
    pthread_mutex_unlock(&s->mutex);
    return err;
}

enum err session_table_look(struct session_table *t, const struct session_ask *ask,
                            struct session_view *ret_view)
{
    uint64_t hash = ask->hash ? ask->hash : hash_of(t, &ask->key);
    struct shard *s = lock(t, hash);
    struct entry fresh = {0}, *e = find(s, hash, &ask->key);
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
    struct entry *e = find(s, hash, key);
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
    struct entry *e = find(s, hash, key);
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
    struct entry *e = find(s, hash, &key);
    if (e) {
        e->strict = true;
        e->metric = account->metric;
        e->budget = account->budget;
        e->folded = account->spent + account->reserved;
        e->expires_us = account->expires_us;
    }
    pthread_mutex_unlock(&s->mutex);
}

/* More room for steps, if there is any left for all. */
static void widen_ids(struct session_table *t, struct entry *e)
{
    uint32_t cap = e->ids_cap ? 2 * e->ids_cap : STEPS_FIRST, more = cap - e->ids_cap;
    if (cap > SESSION_STEPS_MAX)
        return;
    if (atomic_fetch_sub(&t->ids_room, more) < more) {
        atomic_fetch_add(&t->ids_room, more);
        return;
    }
    uint8_t(*ids)[ID_BYTES] = mem_alloc(cap * sizeof *ids);
    if (!ids) {
        atomic_fetch_add(&t->ids_room, more);
        return;
    }
    for (uint32_t i = 0; i < e->ids_n; i++)
        memcpy(ids[i], e->ids[(e->ids_at + i) % e->ids_cap], ID_BYTES);
    mem_free(e->ids);
    e->ids = ids;
    e->ids_cap = cap;
    e->ids_at = 0;
}

void session_table_step(struct session_table *t, const struct session_key *key, uint64_t hash,
                        const uint8_t id[ID_BYTES], uint32_t arm_uid)
{
    hash = hash ? hash : hash_of(t, key);
    struct shard *s = lock(t, hash);
    struct entry *e = find(s, hash, key);
    if (e) {
        e->held_arm = arm_uid;
        e->steps++;
        if (e->ids_n == e->ids_cap)
            widen_ids(t, e);
        if (e->ids_cap)
            memcpy(e->ids[next_id(e)], id, ID_BYTES);
        if (e->ids_n < e->ids_cap)
            e->ids_n++;
        else if (e->ids_cap)
            e->ids_at = (e->ids_at + 1) % e->ids_cap;
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

bool session_table_steps(struct session_table *t, const struct session_key *key, int64_t now_us,
                         struct session_view *ret_view, uint8_t ret_ids[][ID_BYTES],
                         uint32_t *ret_ids_n)
{
    uint64_t hash = hash_of(t, key);
    struct shard *s = lock(t, hash);
    struct entry *e = find(s, hash, key);
    bool open = e && !is_over(e, now_us);
    *ret_ids_n = 0;
    if (open) {
        show(e, ret_view);
        for (uint32_t i = 0; i < e->ids_n; i++)
            memcpy(ret_ids[i], e->ids[(e->ids_at + i) % e->ids_cap], ID_BYTES);
        *ret_ids_n = e->ids_n;
    }
    pthread_mutex_unlock(&s->mutex);
    return open;
}

void session_table_end(struct session_table *t, const struct session_key *key)
{
    uint64_t hash = hash_of(t, key);
    struct shard *s = lock(t, hash);
    struct entry *e = find(s, hash, key);
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
