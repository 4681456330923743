#include "server/engine/lab_events.h"

#include "server/engine/engine_parts.h"
#include "state/base/mem.h"

#include <string.h>

enum { BATCH_RECORDS = 512, BATCH_BYTES = 4 << 20 };

struct lab_events {
    struct engine *engine;
    struct buf base;
    struct forgets forgets;
    uint64_t first, last; /* Positions. */
    uint64_t read_to;     /* The last position in the batch. */
    uint64_t at;          /* The last one handed out. */
    struct buf batch;     /* Length u32 and the record, repeated. */
    struct reader reader;
    uint32_t batch_n;
};

enum err lab_events_open(struct engine *e, struct lab_events **ret_events, struct slice *ret_base,
                         struct err_detail *detail)
{
    struct lab_events *v = mem_calloc(1, sizeof *v);
    if (!v)
        return err_say(detail, ERR_NOMEM, "no memory to read the journal");
    uint64_t position = 0;
    v->engine = e;
    v->last = ledger_durable(e->ledger);
    forgets_init(&v->forgets);
    enum err err = ledger_base(e->ledger, &v->base, &position, detail);
    if (err == OK)
        err = ledger_forgets(e->ledger, position + 1, v->last, &v->forgets, detail);
    if (err != OK) {
        lab_events_free(v);
        return err;
    }
    v->first = position + 1;
    v->at = v->read_to = position;
    *ret_base = (struct slice){v->base.data, v->base.len};
    *ret_events = v;
    return OK;
}

void lab_events_free(struct lab_events *v)
{
    if (!v)
        return;
    if (v->base.data)
        explicit_bzero(v->base.data, v->base.cap);
    if (v->batch.data)
        explicit_bzero(v->batch.data, v->batch.cap);
    buf_done(&v->base);
    buf_done(&v->batch);
    forgets_done(&v->forgets);
    mem_free(v);
}

uint64_t lab_events_n(const struct lab_events *v)
{
    return v->last + 1 - v->first;
}

static enum err take_record(void *ctx, uint64_t position, struct slice record)
{
    struct lab_events *v = ctx;
    if (v->batch_n > 0 && v->batch.len + record.len > BATCH_BYTES)
        return ERR_TOO_LARGE; /* The next batch begins with it. */
    buf_put_u32(&v->batch, (uint32_t)record.len);
    buf_put(&v->batch, record.data, record.len);
    v->batch_n++;
    v->read_to = position;
    return buf_error(&v->batch);
}

static enum err read_batch(struct lab_events *v, struct err_detail *detail)
{
    uint64_t to = v->read_to + BATCH_RECORDS;
    buf_reset(&v->batch);
    v->batch_n = 0;
    enum err e = ledger_records(v->engine->ledger, v->read_to + 1, to < v->last ? to : v->last,
                                take_record, v, detail);
    reader_init(&v->reader, (struct slice){v->batch.data, v->batch.len});
    return e == ERR_TOO_LARGE ? OK : e;
}

/* Of a journal that is not at its end. */
static enum err next_record(struct lab_events *v, struct event *ret_event,
                            struct err_detail *detail)
{
    if (v->at == v->read_to)
        TRY(read_batch(v, detail));
    uint32_t len = reader_u32(&v->reader);
    const void *bytes = reader_take(&v->reader, len);
    v->at++;
    if (!bytes || event_decode((struct slice){bytes, len}, ret_event) != OK)
        return err_say(detail, ERR_CORRUPT, "journal record %llu cannot be decoded",
                       (unsigned long long)v->at);
    return OK;
}

/* What was forgotten is not there. */
static enum err next_event(void *self, struct event *ret_event, uint64_t *ret_position,
                           bool *ret_end, struct err_detail *detail)
{
    struct lab_events *v = self;
    do {
        *ret_end = v->at == v->last;
        if (*ret_end)
            return OK;
        TRY(next_record(v, ret_event, detail));
    } while (forgets_find(&v->forgets, ret_event, v->at));
    *ret_position = v->at;
    return OK;
}

static enum err rewind_events(void *self, struct err_detail *detail)
{
    (void)detail;
    struct lab_events *v = self;
    v->at = v->read_to = v->first - 1;
    return OK;
}

struct event_source lab_events_source(struct lab_events *v)
{
    return (struct event_source){v, next_event, rewind_events};
}
