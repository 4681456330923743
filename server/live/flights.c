#include "server/live/flights.h"

#include "state/base/hash.h"
#include "state/base/mem.h"

#include <pthread.h>
#include <string.h>

enum { SHARDS = 64, FLIGHTS = 1024, LANES = 256, REACH = 8 /* Places that a key may stand in. */ };

struct flight {
    uint64_t key; /* Of the decision's id; 0: free. */
    int64_t at_us;
    uint32_t uid, replica;
};

/* What one adapter has on one replica. */
struct lane {
    uint32_t uid, replica; /* uid 0: free. */
    uint32_t in_flight;
    int64_t departed_us, served_us;
};

struct shard {
    pthread_mutex_t lock;
    struct flight flights[FLIGHTS];
    struct lane lanes[LANES];
};

struct flights {
    int64_t keep_us;
    struct shard shards[SHARDS];
};

enum err flights_new(int64_t keep_us, struct flights **ret_flights)
{
    struct flights *f = mem_calloc(1, sizeof *f);
    if (!f)
        return ERR_NOMEM;
    f->keep_us = keep_us;
    for (int i = 0; i < SHARDS; i++)
        pthread_mutex_init(&f->shards[i].lock, NULL);
    *ret_flights = f;
    return OK;
}

void flights_free(struct flights *f)
{
    if (!f)
        return;
    for (int i = 0; i < SHARDS; i++)
        pthread_mutex_destroy(&f->shards[i].lock);
    mem_free(f);
}

/* ---- lanes ---- */

static uint64_t lane_hash(uint32_t uid, uint32_t replica)
{
    const uint32_t key[2] = {uid, replica};
    return hash_bytes(key, sizeof key);
}

/* The shard is locked. NULL: there is none. */
static struct lane *find_lane(struct shard *s, uint64_t hash, uint32_t uid, uint32_t replica)
{
    for (uint32_t i = 0; i < REACH; i++) {
        struct lane *l = &s->lanes[(hash / SHARDS + i) % LANES];
        if (l->uid == uid && l->replica == replica)
            return l;
    }
    return NULL;
}

/* The same, in the place of the one used longest ago when there is none. */
static struct lane *take_lane(struct shard *s, uint64_t hash, uint32_t uid, uint32_t replica)
{
    struct lane *found = find_lane(s, hash, uid, replica), *oldest = NULL;
    if (found)
        return found;
    for (uint32_t i = 0; i < REACH; i++) {
        struct lane *l = &s->lanes[(hash / SHARDS + i) % LANES];
        if (!oldest || l->departed_us < oldest->departed_us)
            oldest = l;
    }
    *oldest = (struct lane){.uid = uid, .replica = replica};
    return oldest;
}

static void count_departure(struct flights *f, const struct flight *flight)
{
    uint64_t hash = lane_hash(flight->uid, flight->replica);
    struct shard *s = &f->shards[hash % SHARDS];
    pthread_mutex_lock(&s->lock);
    struct lane *l = take_lane(s, hash, flight->uid, flight->replica);
    l->in_flight++;
    if (flight->at_us > l->departed_us)
        l->departed_us = flight->at_us;
    pthread_mutex_unlock(&s->lock);
}

static void count_landing(struct flights *f, const struct flight *flight, bool served)
{
    uint64_t hash = lane_hash(flight->uid, flight->replica);
    struct shard *s = &f->shards[hash % SHARDS];
    pthread_mutex_lock(&s->lock);
    struct lane *l = find_lane(s, hash, flight->uid, flight->replica);
    if (l && l->in_flight > 0)
        l->in_flight--;
    if (l && served && flight->at_us > l->served_us)
        l->served_us = flight->at_us;
    pthread_mutex_unlock(&s->lock);
}

struct flights_view flights_look(struct flights *f, uint32_t uid, uint32_t replica)
{
    struct flights_view view = {0};
    uint64_t hash = lane_hash(uid, replica);
    struct shard *s = &f->shards[hash % SHARDS];
    pthread_mutex_lock(&s->lock);
    const struct lane *l = find_lane(s, hash, uid, replica);
    if (l)
        view = (struct flights_view){l->in_flight, l->departed_us, l->served_us};
    pthread_mutex_unlock(&s->lock);
    return view;
}

/* ---- flights ---- */

static uint64_t id_key(const uint8_t id[ID_BYTES])
{
    uint64_t key = hash_bytes(id, ID_BYTES);
    return key ? key : 1;
}

void flights_depart(struct flights *f, const uint8_t id[ID_BYTES], uint32_t uid, uint32_t replica,
                    int64_t now_us)
{
    const struct flight fresh = {id_key(id), now_us, uid, replica};
    struct shard *s = &f->shards[fresh.key % SHARDS];
    struct flight *place = NULL;
    count_departure(f, &fresh); /* First: it may give way, or land, at once. */
    pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < REACH; i++) {
        struct flight *at = &s->flights[(fresh.key / SHARDS + i) % FLIGHTS];
        if (!place || at->key == 0 || (place->key != 0 && at->at_us < place->at_us))
            place = at;
        if (place->key == 0)
            break;
    }
    const struct flight before = *place;
    *place = fresh;
    pthread_mutex_unlock(&s->lock);
    if (before.key)
        count_landing(f, &before, false);
}

void flights_land(struct flights *f, const uint8_t id[ID_BYTES], bool served)
{
    uint64_t key = id_key(id);
    struct shard *s = &f->shards[key % SHARDS];
    struct flight landed = {0};
    pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < REACH; i++) {
        struct flight *at = &s->flights[(key / SHARDS + i) % FLIGHTS];
        if (at->key == key) {
            landed = *at;
            at->key = 0;
            break;
        }
    }
    pthread_mutex_unlock(&s->lock);
    if (landed.key)
        count_landing(f, &landed, served);
}

/* One that is given up, or key 0. From *ret_next on. */
static struct flight take_expired(struct shard *s, int64_t before_us, uint32_t *ret_next)
{
    struct flight expired = {0};
    pthread_mutex_lock(&s->lock);
    while (*ret_next < FLIGHTS && expired.key == 0) {
        struct flight *at = &s->flights[(*ret_next)++];
        if (at->key && at->at_us < before_us) {
            expired = *at;
            at->key = 0;
        }
    }
    pthread_mutex_unlock(&s->lock);
    return expired;
}

void flights_expire(struct flights *f, int64_t now_us)
{
    for (int i = 0; i < SHARDS; i++) {
        uint32_t next = 0;
        while (next < FLIGHTS) {
            const struct flight gone = take_expired(&f->shards[i], now_us - f->keep_us, &next);
            if (gone.key)
                count_landing(f, &gone, false);
        }
    }
}
