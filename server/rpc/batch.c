/* batch.c - RouteBatch: requests taken off the wire one by one, results packed one by one.
 * Each item has the arena for itself, so a batch costs the memory of its answer and of its largest
 * item. What reserves of a strict budget waits for the writer: then the packed results move to the
 * heap, and whoever comes back last sends them. */
#include "server/engine/engine_session.h"
#include "server/ops/clock.h"
#include "server/rpc/codec_plain.h"
#include "server/rpc/core.h"
#include "server/rpc/routed.h"
#include "server/rpc/wire.h"
#include "state/base/mem.h"

#include <grpc/byte_buffer.h>
#include <string.h>

enum { BATCH_MAX = 256, REQUESTS_FIELD = 1, RESULTS_TAG = 1 << 3 | WIRE_BYTES };
enum { ANSWER_MAX = 4 * 1024 * 1024 - 64 * 1024 }; /* What gRPC's clients take by default. */
enum { KEPT_MAX = 256 * 1024 };                    /* Of a thread's buffer, between batches. */

/* One item whose reservation is on its way. */
struct waiting {
    struct route_wait wait;
    struct batch *batch;
    uint32_t index;
    enum err err; /* Why it was not taken. */
    struct err_detail detail;
    struct waiting *next;
};

struct batch {
    batch_done *done;
    void *ctx;
    _Atomic uint32_t left; /* Waiting items, and the thread that decides until it is through. */
    struct waiting *waiting;
    struct buf packed;
    uint32_t ends[BATCH_MAX], n; /* Where each result ends in `packed`. */
};

/* Appends `results = r`. */
static void put_result(struct buf *b, const struct routed *r)
{
    uint8_t *to = buf_room(b, 1 + WIRE_VARINT_MAX + routed_max(r));
    if (!to)
        return;
    *to++ = RESULTS_TAG;
    uint8_t *end = to + WIRE_ROOM;
    b->len = (size_t)(wire_fill_length(to, end + routed_pack(r, end)) - b->data);
}

static grpc_byte_buffer *to_wire(struct slice bytes)
{
    return payload_take(grpc_slice_from_copied_buffer(bytes.data, bytes.len));
}

/* ---- items that wait ---- */

static void batch_free(struct batch *b)
{
    while (b->waiting) {
        struct waiting *w = b->waiting;
        b->waiting = w->next;
        route_wait_done(&w->wait);
        mem_free(w);
    }
    buf_done(&b->packed);
    mem_free(b);
}

/* The results again, with refusals in place of what the journal did not take. */
static enum err repack(const struct batch *b, struct buf *out)
{
    struct routed r;
    uint32_t begin = 0;
    for (uint32_t i = 0; i < b->n; i++) {
        const struct waiting *w = b->waiting;
        while (w && (w->index != i || w->err == OK))
            w = w->next;
        if (w) {
            shunt__v1__route_result__init(&r.result);
            routed_refuse(&r, w->err, &w->detail);
            put_result(out, &r);
        } else {
            buf_put(out, b->packed.data + begin, b->ends[i] - begin);
        }
        begin = b->ends[i];
    }
    return buf_error(out);
}

static void leave(struct batch *b)
{
    if (atomic_fetch_sub(&b->left, 1) != 1)
        return;
    bool refused = false;
    struct buf out;
    grpc_byte_buffer *answer = NULL;
    buf_init(&out);
    for (const struct waiting *w = b->waiting; w; w = w->next)
        refused = refused || w->err != OK;
    enum err e = refused ? repack(b, &out) : buf_error(&b->packed);
    const struct buf *from = refused ? &out : &b->packed;
    if (e == OK)
        answer = to_wire((struct slice){from->data, from->len});
    batch_done *done = b->done;
    void *ctx = b->ctx;
    buf_done(&out);
    batch_free(b);
    done(ctx, e, answer);
}

/* On the herald's or the writer's thread. */
static void on_reserved(struct route_wait *wait, enum err e, const struct err_detail *detail)
{
    struct waiting *w = wait->ctx;
    w->err = e;
    w->detail = *detail;
    leave(w->batch);
}

static enum err begin_waiting(struct handler *h, struct batch **batch, uint32_t index,
                              struct err_detail *detail)
{
    struct waiting *w = mem_calloc(1, sizeof *w);
    if (!*batch) {
        *batch = mem_calloc(1, sizeof **batch);
        if (*batch)
            atomic_store(&(*batch)->left, 1);
    }
    if (!w || !*batch) {
        mem_free(w);
        engine_route_give_back(h->worker, &h->route_out);
        return err_say(detail, ERR_NOMEM, "no memory to wait for a reservation");
    }
    w->batch = *batch;
    w->index = index;
    w->wait.done = on_reserved;
    w->wait.ctx = w;
    w->next = w->batch->waiting;
    w->batch->waiting = w;
    atomic_fetch_add(&w->batch->left, 1);
    enum err e = engine_route_wait(h->worker, &h->route_out, &w->wait, detail);
    if (e == OK)
        return OK;
    atomic_fetch_sub(&w->batch->left, 1); /* Ours is still there: not the last. */
    w->batch->waiting = w->next;
    route_wait_done(&w->wait);
    mem_free(w);
    return e;
}

/* ---- all items ---- */

static enum err count_items(struct slice body, uint32_t *ret_n, struct err_detail *detail)
{
    struct wire_field field;
    uint32_t n = 0;
    while (wire_next(&body, &field))
        n += field.number == REQUESTS_FIELD && field.type == WIRE_BYTES;
    if (body.len)
        return err_say(detail, ERR_PARSE, "the bytes are not a shunt.v1.RouteBatchRequest");
    if (n == 0 || n > BATCH_MAX)
        return err_say(detail, ERR_OUT_OF_RANGE, "requests: %u of them; a call takes 1 to %d", n,
                       BATCH_MAX);
    *ret_n = n;
    return OK;
}

/* Items that are read before the first of them is decided: contexts of one router share a pass over
 * its arms (engine_route_ahead). What is out of the ordinary is read in its turn. */
struct group {
    struct slice bytes[ENGINE_AHEAD];
    struct route_in in[ENGINE_AHEAD];
    bool read[ENGINE_AHEAD];
    uint32_t n;
};

static void group_begin(struct group *g, struct handler *h, size_t max_bytes)
{
    struct route_in *list[ENGINE_AHEAD];
    uint32_t n = 0;
    for (uint32_t i = 0; i < g->n; i++) {
        g->read[i] =
            g->bytes[i].len <= max_bytes && codec_plain_in(g->bytes[i], &h->ahead, &g->in[i]);
        if (g->read[i])
            list[n++] = &g->in[i];
    }
    engine_route_ahead(h->worker, list, n);
}

static void group_end(struct group *g, struct handler *h)
{
    engine_route_ahead_done(h->worker);
    arena_reset(&h->ahead);
    g->n = 0;
}

static void run_item(struct handler *h, struct slice item, size_t max_bytes, struct route_in *in,
                     uint32_t index, struct batch **batch)
{
    struct routed r;
    struct err_detail detail;
    size_t before = h->packed.len;
    routed_run(h, item, max_bytes, in, &r);
    put_result(&h->packed, &r);
    enum err e = OK;
    if (h->packed.len > ANSWER_MAX) {
        e = err_say(&detail, ERR_TOO_LARGE, "the answers have more than %d bytes", ANSWER_MAX);
        if (r.waits)
            engine_route_give_back(h->worker, &h->route_out);
    } else if (r.waits) {
        e = begin_waiting(h, batch, index, &detail);
    }
    if (e != OK) {
        h->packed.len = before;
        routed_refuse(&r, e, &detail);
        put_result(&h->packed, &r);
    }
    arena_reset(&h->arena);
}

static void keep_little(struct buf *b)
{
    if (b->cap > KEPT_MAX || b->failed) {
        buf_done(b);
        buf_init(b);
    }
}

/* Decides what is in the group. i: how many there were before it. */
static void run_group(struct handler *h, struct group *g, size_t max_bytes, uint32_t i,
                      uint32_t *ends, struct batch **batch)
{
    group_begin(g, h, max_bytes);
    for (uint32_t k = 0; k < g->n; k++) {
        run_item(h, g->bytes[k], max_bytes, g->read[k] ? &g->in[k] : NULL, i + k, batch);
        ends[i + k] = (uint32_t)h->packed.len;
    }
    group_end(g, h);
}

enum err batch_run(struct handler *h, struct slice body, size_t max_bytes, batch_done *done,
                   void *ctx, grpc_byte_buffer **ret_answer, struct err_detail *detail)
{
    uint32_t n = 0, i = 0, ends[BATCH_MAX];
    struct batch *batch = NULL;
    struct wire_field field;
    struct group group;
    group.n = 0;
    TRY(count_items(body, &n, detail));
    buf_reset(&h->packed);
    h->now_us = clock_unix_us();
    while (wire_next(&body, &field)) {
        if (field.number != REQUESTS_FIELD || field.type != WIRE_BYTES)
            continue;
        group.bytes[group.n++] = field.bytes;
        if (group.n < ENGINE_AHEAD && i + group.n < n)
            continue;
        uint32_t decided = group.n;
        run_group(h, &group, max_bytes, i, ends, &batch);
        i += decided;
    }
    h->now_us = 0;
    *ret_answer = NULL;
    if (batch) {
        batch->done = done;
        batch->ctx = ctx;
        batch->n = n;
        memcpy(batch->ends, ends, n * sizeof *ends);
        batch->packed = h->packed;
        buf_init(&h->packed);
        leave(batch);
        return OK;
    }
    enum err e = buf_error(&h->packed);
    if (e == OK)
        *ret_answer = to_wire((struct slice){h->packed.data, h->packed.len});
    keep_little(&h->packed);
    return e == OK ? OK : err_say(detail, e, "no memory for the answers");
}
