#include "server/live/pacers.h"

#include "state/base/hash.h"
#include "state/base/mem.h"
#include "state/base/rng.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/random.h>

enum { SHARDS = 16, KEY_WINDOW = 64 };

struct account {
    LIST_ENTRY(account) chain;   /* Of its bucket. */
    TAILQ_ENTRY(account) by_use; /* Tenants: least recently used first. */
    TAILQ_ENTRY(account) moved;  /* Not collected since; when is_moved. */
    struct pacer_id id;
    int64_t used_us;
    bool is_moved;
    struct pacer_totals totals;
    struct pacing pacing;
    struct pacing_slot slots[];
};

LIST_HEAD(bucket, account);
TAILQ_HEAD(queue, account);

struct shard {
    pthread_mutex_t lock;
    struct bucket *buckets;
    struct queue by_use, moved;
    uint32_t keys;
    struct pacers_count count; /* keys stays 0 here. */
};

struct pacers {
    uint64_t seed;
    int64_t idle_us;
    uint32_t shard_keys_max, buckets_n; /* Of each shard; buckets_n a power of two. */
    _Atomic uint32_t turn;              /* Of pacers_collect. */
    struct shard shards[SHARDS];
};

enum err pacers_new(uint32_t keys_max, int64_t idle_us, struct pacers **ret_pacers)
{
    if (keys_max < SHARDS || keys_max > 1U << 24 || idle_us < 0)
        return ERR_INVALID;
    struct pacers *p = mem_calloc(1, sizeof *p);
    if (!p)
        return ERR_NOMEM;
    enum err e = OK;
    p->idle_us = idle_us;
    p->shard_keys_max = (keys_max + SHARDS - 1) / SHARDS;
    for (p->buckets_n = 64; p->buckets_n < p->shard_keys_max; p->buckets_n *= 2)
        ;
    for (uint32_t i = 0; i < SHARDS; i++) {
        struct shard *s = &p->shards[i];
        pthread_mutex_init(&s->lock, NULL);
        TAILQ_INIT(&s->by_use);
        TAILQ_INIT(&s->moved);
        s->buckets = mem_calloc(p->buckets_n, sizeof *s->buckets);
        e = s->buckets ? e : ERR_NOMEM;
    }
    /* Keys are callers' words: buckets must not be theirs to choose. */
    if (e == OK && getrandom(&p->seed, sizeof p->seed, 0) != (ssize_t)sizeof p->seed)
        e = ERR_INTERNAL;
    if (e != OK) {
        pacers_free(p);
        return e;
    }
    *ret_pacers = p;
    return OK;
}

static bool is_key(const struct account *a)
{
    return a->id.key[0] != '\0';
}

static void remove_account(struct shard *s, struct account *a)
{
    LIST_REMOVE(a, chain);
    if (a->is_moved)
        TAILQ_REMOVE(&s->moved, a, moved);
    if (is_key(a)) {
        TAILQ_REMOVE(&s->by_use, a, by_use);
        s->keys--;
    }
    mem_free(a);
}

/* Calls f for every account of a router, or of all when every; f may remove it. */
static void each(struct pacers *p, uint32_t router_uid, bool every,
                 void (*f)(struct shard *s, struct account *a))
{
    for (uint32_t i = 0; i < SHARDS; i++) {
        struct shard *s = &p->shards[i];
        pthread_mutex_lock(&s->lock);
        for (uint32_t b = 0; s->buckets && b < p->buckets_n; b++) {
            struct account *a = LIST_FIRST(&s->buckets[b]);
            while (a) {
                struct account *next = LIST_NEXT(a, chain);
                if (every || a->id.router_uid == router_uid)
                    f(s, a);
                a = next;
            }
        }
        pthread_mutex_unlock(&s->lock);
    }
}

void pacers_free(struct pacers *p)
{
    if (!p)
        return;
    each(p, 0, true, remove_account);
    for (uint32_t i = 0; i < SHARDS; i++) {
        mem_free(p->shards[i].buckets);
        pthread_mutex_destroy(&p->shards[i].lock);
    }
    mem_free(p);
}

/* Where an id lives; its shard is locked. */
struct place {
    struct shard *shard;
    struct bucket *bucket;
};

static struct place lock_place(struct pacers *p, const struct pacer_id *id)
{
    uint64_t who = (uint64_t)id->metric << 32 | id->router_uid;
    /* A router's own account has no words in its id. */
    uint64_t hash = id->key[0] ? hash_seeded(id->key, strnlen(id->key, NAME_CAP), p->seed + who)
                               : rng_mix(p->seed, who);
    struct shard *s = &p->shards[hash % SHARDS];
    pthread_mutex_lock(&s->lock);
    return (struct place){s, &s->buckets[hash / SHARDS & (p->buckets_n - 1)]};
}

static struct account *find(struct place at, const struct pacer_id *id)
{
    struct account *a;
    LIST_FOREACH(a, at.bucket, chain)
    if (a->id.router_uid == id->router_uid && a->id.metric == id->metric &&
        a->id.key[0] == id->key[0] &&
        (id->key[0] == '\0' || strncmp(a->id.key, id->key, NAME_CAP) == 0))
        return a;
    return NULL;
}

static void use(struct shard *s, struct account *a, int64_t now_us)
{
    a->used_us = now_us;
    if (!is_key(a) || a == TAILQ_LAST(&s->by_use, queue))
        return;
    TAILQ_REMOVE(&s->by_use, a, by_use);
    TAILQ_INSERT_TAIL(&s->by_use, a, by_use);
}

static void mark_moved(struct shard *s, struct account *a)
{
    if (a->is_moved)
        return;
    a->is_moved = true;
    TAILQ_INSERT_TAIL(&s->moved, a, moved);
}

/* Room for one more key in a full shard. */
static enum err evict(const struct pacers *p, struct shard *s, int64_t now_us)
{
    struct account *oldest = TAILQ_FIRST(&s->by_use);
    if (s->keys < p->shard_keys_max)
        return OK;
    if (!oldest || now_us - oldest->used_us < p->idle_us) {
        s->count.refused++;
        return ERR_LIMIT;
    }
    s->count.evicted++;
    s->count.evicted_in_debt += oldest->pacing.bank < 0;
    remove_account(s, oldest);
    return OK;
}

static enum err add(struct pacers *p, struct place at, const struct pacer_id *id,
                    const struct pacer_budget *budget, int64_t now_us, struct account **ret_account)
{
    bool key = id->key[0] != '\0';
    uint32_t window = key ? KEY_WINDOW : PACING_W;
    if (key)
        TRY(evict(p, at.shard, now_us));
    struct account *a = mem_calloc(1, sizeof *a + window * sizeof *a->slots);
    if (!a)
        return ERR_NOMEM;
    a->id = *id;
    a->used_us = now_us;
    pacing_init(&a->pacing, budget->per_request, budget->ceiling, a->slots, window);
    LIST_INSERT_HEAD(at.bucket, a, chain);
    if (key) {
        TAILQ_INSERT_TAIL(&at.shard->by_use, a, by_use);
        at.shard->keys++;
    }
    *ret_account = a;
    return OK;
}

enum err pacers_terms(struct pacers *p, const struct pacer_id *id,
                      const struct pacer_budget *budget, int64_t now_us,
                      struct pacing_terms *ret_terms)
{
    struct place at = lock_place(p, id);
    struct account *a = find(at, id);
    enum err e = a ? OK : add(p, at, id, budget, now_us, &a);
    if (e == OK) {
        use(at.shard, a, now_us);
        if (a->pacing.budget != budget->per_request || a->pacing.ceiling != budget->ceiling)
            pacing_set(&a->pacing, budget->per_request, budget->ceiling);
        *ret_terms = pacing_terms(&a->pacing);
    }
    pthread_mutex_unlock(&at.shard->lock);
    return e;
}

void pacers_charge(struct pacers *p, const struct pacer_id *id, const struct pacing_menu *menu,
                   double cost)
{
    struct place at = lock_place(p, id);
    struct account *a = find(at, id);
    if (a) {
        a->totals.requests++;
        a->totals.breaker += a->pacing.tripped;
        a->totals.predicted += cost;
        a->totals.paid += cost;
        a->totals.allowed += a->pacing.budget;
        pacing_charge(&a->pacing, menu, cost);
        mark_moved(at.shard, a);
    }
    pthread_mutex_unlock(&at.shard->lock);
}

void pacers_correct(struct pacers *p, const struct pacer_id *id, double charged, double cost)
{
    struct place at = lock_place(p, id);
    struct account *a = find(at, id);
    if (a) {
        a->totals.corrected++;
        a->totals.paid += cost - charged;
        if (!(a->totals.paid > 0)) /* A crash took the charge. */
            a->totals.paid = 0;
        pacing_correct(&a->pacing, charged, cost);
        mark_moved(at.shard, a);
    }
    pthread_mutex_unlock(&at.shard->lock);
}

void pacers_give_back(struct pacers *p, const struct pacer_id *id, int64_t corrected, double more)
{
    struct place at = lock_place(p, id);
    struct account *a = find(at, id);
    if (a) {
        uint64_t known = corrected > 0 ? (uint64_t)corrected : 0;
        a->totals.corrected -= known < a->totals.corrected ? known : a->totals.corrected;
        a->totals.paid -= more;
        if (!(a->totals.paid > 0))
            a->totals.paid = 0;
        pacing_give_back(&a->pacing, more);
        mark_moved(at.shard, a);
    }
    pthread_mutex_unlock(&at.shard->lock);
}

void pacers_close(struct pacers *p, const struct pacer_id *id)
{
    struct place at = lock_place(p, id);
    struct account *a = find(at, id);
    if (a)
        remove_account(at.shard, a);
    pthread_mutex_unlock(&at.shard->lock);
}

static struct pacer_saved save(const struct account *a)
{
    return (struct pacer_saved){a->id, pacing_keep(&a->pacing), a->totals};
}

bool pacers_read(struct pacers *p, const struct pacer_id *id, struct pacer_report *ret_report)
{
    struct place at = lock_place(p, id);
    const struct account *a = find(at, id);
    if (a)
        *ret_report =
            (struct pacer_report){save(a), pacing_terms(&a->pacing), pacing_rate(&a->pacing)};
    pthread_mutex_unlock(&at.shard->lock);
    return a != NULL;
}

static void forget_account(struct shard *s, struct account *a)
{
    (void)s;
    pacing_forget(&a->pacing);
}

static void doubt_account(struct shard *s, struct account *a)
{
    (void)s;
    pacing_doubt(&a->pacing);
}

void pacers_forget(struct pacers *p, uint32_t router_uid)
{
    each(p, router_uid, false, forget_account);
}

void pacers_doubt(struct pacers *p, uint32_t router_uid)
{
    each(p, router_uid, false, doubt_account);
}

void pacers_drop(struct pacers *p, uint32_t router_uid)
{
    each(p, router_uid, false, remove_account);
}

uint32_t pacers_collect(struct pacers *p, struct pacer_saved *ret_saved, uint32_t n)
{
    uint32_t got = 0;
    /* From another shard each time: a small n must not starve the last. */
    uint32_t turn = atomic_fetch_add_explicit(&p->turn, 1, memory_order_relaxed);
    for (uint32_t i = 0; i < SHARDS && got < n; i++) {
        struct shard *s = &p->shards[(turn + i) % SHARDS];
        pthread_mutex_lock(&s->lock);
        struct account *a;
        while (got < n && (a = TAILQ_FIRST(&s->moved))) {
            TAILQ_REMOVE(&s->moved, a, moved);
            a->is_moved = false;
            ret_saved[got++] = save(a);
        }
        pthread_mutex_unlock(&s->lock);
    }
    return got;
}

void pacers_return(struct pacers *p, const struct pacer_saved *saved, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        struct place at = lock_place(p, &saved[i].id);
        struct account *a = find(at, &saved[i].id);
        if (a)
            mark_moved(at.shard, a);
        pthread_mutex_unlock(&at.shard->lock);
    }
}

enum err pacers_restore(struct pacers *p, const struct pacer_saved *saved, double ceiling,
                        int64_t now_us)
{
    const struct pacer_budget budget = {saved->kept.budget, ceiling};
    if (!isfinite(budget.per_request) || !(budget.per_request > 0))
        return ERR_INVALID;
    struct place at = lock_place(p, &saved->id);
    struct account *a = find(at, &saved->id);
    enum err e = a ? OK : add(p, at, &saved->id, &budget, now_us, &a);
    if (e == OK) {
        pacing_restore(&a->pacing, &saved->kept);
        a->totals = saved->totals;
    }
    pthread_mutex_unlock(&at.shard->lock);
    return e;
}

struct pacers_count pacers_count(struct pacers *p)
{
    struct pacers_count total = {0};
    for (uint32_t i = 0; i < SHARDS; i++) {
        struct shard *s = &p->shards[i];
        pthread_mutex_lock(&s->lock);
        total.keys += s->keys;
        total.evicted += s->count.evicted;
        total.evicted_in_debt += s->count.evicted_in_debt;
        total.refused += s->count.refused;
        pthread_mutex_unlock(&s->lock);
    }
    return total;
}
