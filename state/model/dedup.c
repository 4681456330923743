#include "state/model/dedup.h"

#include "state/base/hash.h"
#include "state/base/mem.h"

#include <assert.h>
#include <string.h>

static size_t pieces_at(uint32_t fills_n)
{
    return (sizeof(struct dedup_entry) + fills_n * sizeof(float) + 7) & ~(size_t)7;
}

void dedup_init(struct dedup *t, uint32_t fills_n, bool pieces)
{
    memset(t, 0, sizeof *t);
    t->fills_n = fills_n;
    t->pieces = pieces;
    t->stride = pieces_at(fills_n);
    if (pieces)
        t->stride +=
            sizeof(struct dedup_pieces) + fills_n * sizeof *((struct dedup_pieces *)0)->metrics;
}

struct dedup_pieces *dedup_pieces(const struct dedup *t, struct dedup_entry *e)
{
    assert(t->pieces);
    void *entry = e;
    void *at = (uint8_t *)entry + pieces_at(t->fills_n); /* The ring is aligned, and the stride. */
    return at;
}

bool dedup_knows_piece(const struct dedup_pieces *p, uint64_t key)
{
    for (uint64_t i = 0; i < p->keys_n; i++)
        if (p->keys[i] == key)
            return true;
    return false;
}

struct dedup_reporter *dedup_reporter(struct dedup_entry *e, uint32_t tag)
{
    for (uint32_t i = 0; i < MAX_REPORTERS; i++)
        if (e->reporters[i].tag == tag || e->reporters[i].tag == 0)
            return &e->reporters[i];
    return NULL;
}

void dedup_done(struct dedup *t)
{
    mem_free(t->ring);
    mem_free(t->index);
    dedup_init(t, t->fills_n, t->pieces);
}

static struct dedup_entry *slot_at(const struct dedup *t, uint64_t slot)
{
    void *at = t->ring + slot * t->stride;
    return at;
}

/* Slot of the i-th oldest entry. */
static uint64_t slot_of(const struct dedup *t, uint64_t i)
{
    uint64_t slot = t->head + i;
    return slot >= t->capacity ? slot - t->capacity : slot;
}

static uint64_t home_of(const struct dedup *t, const uint8_t id[ID_BYTES])
{
    return hash_bytes(id, ID_BYTES) & (t->index_n - 1);
}

static void index_put(struct dedup *t, uint64_t slot)
{
    uint64_t i = home_of(t, slot_at(t, slot)->id);
    while (t->index[i])
        i = (i + 1) & (t->index_n - 1);
    t->index[i] = (uint32_t)(slot + 1);
}

static uint64_t wanted(const struct dedup *t, uint64_t more, uint64_t max)
{
    uint64_t want = t->n + more;
    return want > max ? max : want;
}

bool dedup_would_move(const struct dedup *t, uint64_t more, uint64_t max)
{
    return wanted(t, more, max) > t->capacity;
}

enum err dedup_reserve(struct dedup *t, uint64_t more, uint64_t max)
{
    uint64_t want = wanted(t, more, max);
    if (want <= t->capacity)
        return OK;
    uint64_t capacity = t->capacity ? t->capacity : 256;
    while (capacity < want)
        capacity *= 2;
    if (capacity > max)
        capacity = max;
    uint64_t index_n = 512;
    while (index_n < capacity * 2)
        index_n *= 2;
    uint8_t *ring = mem_calloc(capacity, t->stride);
    uint32_t *index = mem_calloc(index_n, sizeof *index);
    if (!ring || !index) {
        mem_free(ring);
        mem_free(index);
        return ERR_NOMEM;
    }
    for (uint64_t i = 0; i < t->n; i++)
        memcpy(ring + i * t->stride, slot_at(t, slot_of(t, i)), t->stride);
    mem_free(t->ring);
    mem_free(t->index);
    t->ring = ring;
    t->index = index;
    t->capacity = capacity;
    t->index_n = index_n;
    t->head = 0;
    for (uint64_t i = 0; i < t->n; i++)
        index_put(t, i);
    return OK;
}

struct dedup_entry *dedup_find(const struct dedup *t, const uint8_t id[ID_BYTES])
{
    if (t->n == 0)
        return NULL;
    for (uint64_t i = home_of(t, id); t->index[i]; i = (i + 1) & (t->index_n - 1)) {
        struct dedup_entry *e = slot_at(t, t->index[i] - 1);
        if (memcmp(e->id, id, ID_BYTES) == 0)
            return e;
    }
    return NULL;
}

struct dedup_entry *dedup_add(struct dedup *t, const uint8_t id[ID_BYTES])
{
    uint64_t slot = slot_of(t, t->n);
    struct dedup_entry *e = slot_at(t, slot);
    memset(e, 0, t->stride);
    memcpy(e->id, id, ID_BYTES);
    t->n++;
    index_put(t, slot);
    return e;
}

struct dedup_entry *dedup_oldest(const struct dedup *t)
{
    return t->n ? slot_at(t, t->head) : NULL;
}

/* Linear probing without tombstones: what follows the hole moves back when its home allows. */
static void index_remove(struct dedup *t, uint64_t slot)
{
    uint64_t mask = t->index_n - 1;
    uint64_t hole = home_of(t, slot_at(t, slot)->id);
    while (t->index[hole] != slot + 1)
        hole = (hole + 1) & mask;
    for (uint64_t i = (hole + 1) & mask; t->index[i]; i = (i + 1) & mask) {
        uint64_t home = home_of(t, slot_at(t, t->index[i] - 1)->id);
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            t->index[hole] = t->index[i];
            hole = i;
        }
    }
    t->index[hole] = 0;
}

void dedup_drop_oldest(struct dedup *t)
{
    if (t->n == 0)
        return;
    index_remove(t, t->head);
    t->head = slot_of(t, 1);
    t->n--;
}

uint64_t dedup_slot(const struct dedup *t, const struct dedup_entry *e)
{
    const void *at = e;
    return (uint64_t)((const uint8_t *)at - t->ring) / t->stride;
}

uint64_t dedup_next_slot(const struct dedup *t)
{
    return slot_of(t, t->n);
}

void dedup_encode_slots(const struct dedup *t, uint64_t head, uint64_t from, uint64_t n,
                        struct buf *out)
{
    while (n > 0) {
        uint64_t slot = (head + from) % t->capacity, run = t->capacity - slot;
        if (run > n)
            run = n;
        buf_put(out, t->ring + slot * t->stride, run * t->stride);
        from += run;
        n -= run;
    }
}

void dedup_encode(const struct dedup *t, struct buf *out)
{
    buf_put_u64(out, t->n * t->stride);
    dedup_encode_slots(t, t->head, 0, t->n, out);
}

enum err dedup_decode(struct dedup *t, struct reader *r)
{
    uint64_t len = reader_u64(r), n = len / t->stride;
    if (r->failed || len > reader_left(r) || len % t->stride)
        return ERR_CORRUPT;
    TRY(dedup_reserve(t, n, n > 256 ? n : 256));
    for (uint64_t i = 0; i < n; i++) {
        const void *bytes = reader_take(r, t->stride);
        if (!bytes)
            return ERR_CORRUPT;
        struct dedup_entry *e = slot_at(t, i);
        memcpy(e, bytes, t->stride);
        if (dedup_find(t, e->id) || (t->pieces && dedup_pieces(t, e)->keys_n > MAX_PIECES))
            return ERR_CORRUPT;
        t->n++;
        index_put(t, i);
    }
    return OK;
}
