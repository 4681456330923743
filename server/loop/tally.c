#include "server/loop/tally.h"

#include "state/model/event.h"

#include <string.h>

void tally_init(struct tally *t)
{
    memset(t, 0, sizeof *t);
}

void tally_done(struct tally *t)
{
    buf_done(&t->bytes);
    buf_done(&t->pairs);
}

static bool moved(struct live_count *c, uint64_t *ret_issued)
{
    *ret_issued = atomic_load_explicit(&c->issued, memory_order_relaxed);
    return *ret_issued != atomic_load_explicit(&c->tallied, memory_order_relaxed);
}

static uint64_t read_count(_Atomic uint64_t *count)
{
    return atomic_load_explicit(count, memory_order_relaxed);
}

/* A router's counters. */
static bool router_moved(struct live_count *c, uint64_t *ret_requests)
{
    return moved(c, ret_requests) || read_count(&c->activated) != read_count(&c->activated_tallied);
}

static uint32_t collect_arms(struct tally *t, struct live *live, const struct router_view *r)
{
    uint32_t n = 0;
    buf_reset(&t->pairs);
    for (uint32_t i = 0; i < r->arms_n; i++) {
        uint64_t issued;
        struct live_count *c = live_get(live, r->arms[i]->uid);
        if (!c || !moved(c, &issued))
            continue;
        buf_put_u32(&t->pairs, r->arms[i]->uid);
        buf_put_u64(&t->pairs, issued);
        n++;
    }
    return n;
}

void tally_collect(struct tally *t, struct live *live, const struct snapshot *s, int64_t now_us,
                   bool all)
{
    t->n = 0;
    buf_reset(&t->bytes);
    for (uint32_t i = 0; i < s->routers_n && t->n < sizeof t->ends / sizeof *t->ends; i++) {
        const struct router_view *r = s->routers[i];
        uint64_t requests;
        struct live_count *c = live_get(live, r->uid);
        if (!c || (!router_moved(c, &requests) && !all))
            continue;
        uint32_t n = collect_arms(t, live, r);
        if (t->pairs.failed)
            return; /* What is complete goes out now; the rest next time. */
        if (n == 0 && !router_moved(c, &requests))
            continue;
        struct event ev;
        ev.kind = EVENT_TALLY;
        ev.at_us = now_us;
        ev.u.tally = (struct event_tally){
            .router_uid = r->uid,
            .requests = requests,
            .sides = {read_count(&c->sides[0]), read_count(&c->sides[1])},
            .logged = read_count(&c->logged),
            .deferred = read_count(&c->deferred),
            .activated = read_count(&c->activated),
            .n = n,
            .pairs = t->pairs.data,
        };
        event_encode(&ev, &t->bytes);
        if (t->bytes.failed)
            return;
        t->routers[t->n] = r->uid;
        t->ends[t->n++] = t->bytes.len;
    }
}

struct slice tally_record(const struct tally *t, uint32_t i)
{
    size_t start = i ? t->ends[i - 1] : 0;
    return (struct slice){t->bytes.data + start, t->ends[i] - start};
}

static void mark(struct live *live, uint32_t uid, uint64_t value)
{
    struct live_count *c = live_get(live, uid);
    if (c)
        atomic_store_explicit(&c->tallied, value, memory_order_relaxed);
}

void tally_commit(const struct tally *t, struct live *live)
{
    for (uint32_t i = 0; i < t->n; i++) {
        struct event ev;
        if (event_decode(tally_record(t, i), &ev) != OK)
            continue;
        mark(live, ev.u.tally.router_uid, ev.u.tally.requests);
        struct live_count *c = live_get(live, ev.u.tally.router_uid);
        if (c)
            atomic_store_explicit(&c->activated_tallied, ev.u.tally.activated,
                                  memory_order_relaxed);
        struct reader pairs;
        reader_init(&pairs, (struct slice){ev.u.tally.pairs, (size_t)ev.u.tally.n * 12});
        for (uint32_t k = 0; k < ev.u.tally.n; k++) {
            uint32_t uid = reader_u32(&pairs);
            mark(live, uid, reader_u64(&pairs));
        }
    }
}
