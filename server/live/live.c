#include "server/live/live.h"

#include "server/live/recent.h"
#include "state/base/mem.h"

enum err live_new(uint32_t recent_max, int64_t recent_keep_us, struct live **ret_live)
{
    enum err e = ERR_NOMEM;
    struct live *l = mem_calloc(1, sizeof *l);
    if (!l)
        return ERR_NOMEM;
    l->chunks = mem_calloc(LIVE_CHUNKS_N, sizeof *l->chunks);
    if (!l->chunks)
        goto out;
    e = recent_new(recent_max, recent_keep_us, &l->recent);
    if (e != OK)
        goto out;
    *ret_live = l;
    return OK;
out:
    live_free(l);
    return e;
}

void live_free(struct live *l)
{
    if (!l)
        return;
    for (uint32_t i = 0; l->chunks && i < LIVE_CHUNKS_N; i++)
        mem_free(atomic_load_explicit(&l->chunks[i], memory_order_relaxed));
    mem_free(l->chunks);
    recent_free(l->recent);
    mem_free(l);
}

enum err live_prepare(struct live *l, uint32_t uid, uint64_t issued)
{
    if (uid / LIVE_CHUNK_N >= LIVE_CHUNKS_N)
        return ERR_LIMIT;
    _Atomic(struct live_chunk *) *at = &l->chunks[uid / LIVE_CHUNK_N];
    struct live_chunk *chunk = atomic_load_explicit(at, memory_order_relaxed);
    if (!chunk) { /* The writer alone makes chunks: no race to lose. */
        chunk = mem_calloc(1, sizeof *chunk);
        if (!chunk)
            return ERR_NOMEM;
        atomic_store_explicit(at, chunk, memory_order_release);
    }
    _Atomic uint64_t *count = &chunk->counts[uid % LIVE_CHUNK_N].issued;
    uint64_t now = atomic_load_explicit(count, memory_order_relaxed);
    while (now < issued && !atomic_compare_exchange_weak_explicit(
                               count, &now, issued, memory_order_relaxed, memory_order_relaxed))
        ;
    return OK;
}

bool live_probe(struct live_count *c, int64_t now_us, int64_t interval_us)
{
    int64_t last = atomic_load_explicit(&c->probe_at_us, memory_order_relaxed);
    int64_t since;
    if (__builtin_sub_overflow(now_us, last, &since))
        since = INT64_MAX;
    /* A clock set back by more than the interval must not silence an arm until it has caught up. */
    if (since < interval_us && since >= -interval_us)
        return false;
    return atomic_compare_exchange_strong_explicit(&c->probe_at_us, &last, now_us,
                                                   memory_order_relaxed, memory_order_relaxed);
}

enum live_recent live_recent_begin(struct live *l, const uint8_t id[ID_BYTES], uint64_t body_hash,
                                   int64_t now_us, struct buf *ret_answer)
{
    return recent_begin(l->recent, id, body_hash, now_us, ret_answer);
}

void live_recent_put(struct live *l, const uint8_t id[ID_BYTES], struct slice answer)
{
    recent_put(l->recent, id, answer);
}

void live_recent_drop(struct live *l, const uint8_t id[ID_BYTES])
{
    recent_drop(l->recent, id);
}
