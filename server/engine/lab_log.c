#include "server/engine/lab_log.h"

#include "server/engine/engine_parts.h"
#include "server/engine/jobs.h"
#include "state/base/hash.h"
#include "state/base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { PROGRESS_EVERY = 1024 };

struct row {
    uint8_t id[ID_BYTES];
    int64_t issued_us, reported_us;
    uint16_t mask;
    uint8_t status;
    uint8_t keys_n;
    bool has_outcome, replaced;
    uint32_t
        keys; /* 1 + where the last of its piece keys stands in lab_log.keys; 0: it has none. */
};

struct piece_key {
    uint64_t key;
    uint32_t before; /* Of the same row, as row.keys. */
};

struct lab_log {
    struct engine *engine;
    struct job *job;
    uint32_t router_uid, metrics_n;
    const struct router_config *config;
    struct lab_window window;
    struct row *rows; /* By time, then id. */
    double *raw;      /* (rows_n, metrics_n) */
    uint8_t *pieces;  /* (rows_n, metrics_n): reports in raw but the first; NULL: one each. */
    struct piece_key *keys;
    uint32_t keys_n, keys_cap;
    size_t rows_n, rows_cap;
    uint32_t *index; /* Open addressing, row + 1; 0 empty. */
    size_t index_n;  /* A power of two. */
    uint64_t seed;   /* Ids come from outside: which slot they take must not be theirs to choose. */
    struct event *event; /* Scratch. */
    struct forgets forgets;
    size_t next;
    struct audit_record record; /* The row handed out. */
    struct lab_log_counts counts;
};

/* ---- ids ---- */

static enum err take_decision(void *ctx, const struct audit_record *record)
{
    struct lab_log *l = ctx;
    if (job_cancelled(l->job))
        return ERR_CANCELLED;
    if (record->decision.router_uid != l->router_uid)
        return OK;
    if (l->counts.decisions++ % PROGRESS_EVERY == 0)
        job_progress(l->job, l->counts.decisions, 0);
    if (l->rows_n == LAB_LOG_ROWS_MAX) {
        l->counts.beyond++;
        return OK;
    }
    if (l->rows_n == l->rows_cap) {
        size_t cap = l->rows_cap ? 2 * l->rows_cap : 4096;
        struct row *rows = mem_realloc(l->rows, cap * sizeof *rows);
        if (!rows)
            return ERR_NOMEM;
        l->rows = rows;
        l->rows_cap = cap;
    }
    struct row *row = &l->rows[l->rows_n++];
    *row = (struct row){.issued_us = record->decision.issued_us};
    memcpy(row->id, record->decision.id, ID_BYTES);
    return OK;
}

static int by_time(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    if (x->issued_us != y->issued_us)
        return x->issued_us < y->issued_us ? -1 : 1;
    return memcmp(x->id, y->id, ID_BYTES);
}

/* The slot that holds this id, or the empty one where it would go. */
static size_t slot_of(const struct lab_log *l, const uint8_t *id)
{
    size_t slot = hash_seeded(id, ID_BYTES, l->seed) & (l->index_n - 1);
    while (l->index[slot] && memcmp(l->rows[l->index[slot] - 1].id, id, ID_BYTES) != 0)
        slot = (slot + 1) & (l->index_n - 1);
    return slot;
}

/* An id that a caller used again in another hour stands twice in the log; the first one counts. */
static enum err build_index(struct lab_log *l, struct err_detail *detail)
{
    for (l->index_n = 16; l->index_n < 2 * l->rows_n;)
        l->index_n *= 2;
    l->index = mem_calloc(l->index_n, sizeof *l->index);
    l->raw = mem_calloc(l->rows_n * l->metrics_n + 1, sizeof *l->raw);
    bool adds = l->config->settings.aggregation != AGGREGATE_FIRST;
    if (adds)
        l->pieces = mem_calloc(l->rows_n * l->metrics_n + 1, sizeof *l->pieces);
    if (!l->index || !l->raw || (adds && !l->pieces))
        return err_say(detail, ERR_NOMEM, "no memory for an index of %zu decisions", l->rows_n);
    if (getrandom(&l->seed, sizeof l->seed, 0) != (ssize_t)sizeof l->seed)
        return err_say(detail, ERR_INTERNAL, "the kernel gave no random bytes");
    if (l->rows_n)
        qsort(l->rows, l->rows_n, sizeof *l->rows, by_time);
    size_t kept = 0;
    for (size_t i = 0; i < l->rows_n; i++) {
        size_t slot = slot_of(l, l->rows[i].id);
        if (l->index[slot])
            continue;
        l->rows[kept] = l->rows[i];
        l->index[slot] = (uint32_t)++kept;
    }
    l->rows_n = kept;
    return OK;
}

/* ---- outcomes ---- */

/* One more report of a metric that the row holds: as counting.h has it, but that a sum saturates
 * when the row is read. */
static void add_piece(struct lab_log *l, size_t at, double raw)
{
    l->pieces[at]++;
    double n = l->pieces[at] + 1;
    if (l->config->settings.aggregation == AGGREGATE_MEAN)
        l->raw[at] += (raw - l->raw[at]) / n;
    else
        l->raw[at] += raw;
}

static bool knows_key(const struct lab_log *l, const struct row *row, uint64_t key)
{
    uint32_t at = row->keys;
    while (at && l->keys[at - 1].key != key)
        at = l->keys[at - 1].before;
    return at != 0;
}

static enum err add_key(struct lab_log *l, struct row *row, uint64_t key)
{
    if (l->keys_n == l->keys_cap) {
        uint32_t cap = l->keys_cap ? 2 * l->keys_cap : 4096;
        struct piece_key *keys = mem_realloc(l->keys, cap * sizeof *keys);
        if (!keys)
            return ERR_NOMEM;
        l->keys = keys;
        l->keys_cap = cap;
    }
    l->keys[l->keys_n++] = (struct piece_key){key, row->keys};
    row->keys = l->keys_n;
    row->keys_n++;
    return OK;
}

/* The metrics of a report that count in this row, as counting.h has it: the journal also holds
 * reports that another source had beaten, and those of sources that were not trusted then.
 * ERR_INVALID: fold would refuse it. */
static enum err count_metrics(struct lab_log *l, struct row *row, const struct event_outcome *o,
                              uint16_t *ret_mask)
{
    bool is_default = strcmp(o->source, SOURCE_DEFAULT) == 0;
    uint16_t mask = 0, pieces = 0;
    for (uint32_t i = 0; i < o->metrics_n; i++) {
        uint32_t m = o->metrics[i].index;
        if (m >= l->metrics_n)
            continue;
        mask = (uint16_t)(mask | 1u << m);
        if (l->pieces && !is_default && l->config->metrics[m].group == METRIC_RATED)
            pieces = (uint16_t)(pieces | 1u << m);
    }
    *ret_mask = (uint16_t)(mask & ~row->mask);
    if (!pieces)
        return OK;
    if (!o->piece)
        return ERR_INVALID;
    if (knows_key(l, row, o->piece)) {
        *ret_mask = (uint16_t)(*ret_mask & ~pieces);
        return OK;
    }
    if (row->keys_n == MAX_PIECES)
        return ERR_INVALID;
    *ret_mask = (uint16_t)(*ret_mask | pieces);
    return add_key(l, row, o->piece);
}

static void take_metrics(struct lab_log *l, size_t at, const struct event_outcome *o,
                         uint16_t counted)
{
    struct row *row = &l->rows[at];
    double *raw = l->raw + at * l->metrics_n;
    for (uint32_t i = 0; i < o->metrics_n; i++) {
        uint32_t m = o->metrics[i].index;
        if (m >= l->metrics_n || !(counted >> m & 1))
            continue;
        if (row->mask >> m & 1)
            add_piece(l, at * l->metrics_n + m, o->metrics[i].raw);
        else
            raw[m] = o->metrics[i].raw;
    }
    row->mask = (uint16_t)(row->mask | counted);
}

/* As fold counts, but by the trust in sources of now: the first report of each metric, or its
 * pieces, the status of the first report of all. */
static enum err take_outcome(void *ctx, uint64_t position, struct slice record)
{
    struct lab_log *l = ctx;
    struct event *event = l->event;
    if (job_cancelled(l->job))
        return ERR_CANCELLED;
    if (position % PROGRESS_EVERY == 0)
        job_progress(l->job, position, ledger_durable(l->engine->ledger));
    if (event_peek(record) != EVENT_OUTCOME)
        return OK;
    TRY(event_decode(record, event));
    if (forgets_find(&l->forgets, event, position))
        return OK;
    const struct event_outcome *o = &event->u.outcome;
    const struct decision *d = &o->decision;
    if (d->router_uid != l->router_uid || d->issued_us < l->window.since_us ||
        d->issued_us >= l->window.until_us)
        return OK;
    uint32_t at = l->index[slot_of(l, d->id)];
    if (!at) {
        l->counts.outcomes_unknown++;
        return OK;
    }
    if (sources_rule(&l->config->settings.sources, o->source)->trust != TRUST_FOLD)
        return OK;
    struct row *row = &l->rows[at - 1];
    uint16_t counted;
    enum err e = count_metrics(l, row, o, &counted);
    if (e != OK)
        return e == ERR_INVALID ? OK : e;
    if (!row->has_outcome) {
        l->counts.outcomes++;
        row->has_outcome = true;
        row->status = (uint8_t)o->status;
        row->replaced = o->served_uid != 0;
        row->reported_us = event->at_us;
    }
    if (!row->replaced) /* What another arm earned says nothing of the one that was chosen. */
        take_metrics(l, at - 1, o, counted);
    return OK;
}

static enum err collect(struct lab_log *l, struct err_detail *detail)
{
    struct engine *e = l->engine;
    uint64_t from;
    TRY(audit_iterate(e->audit, l->window.since_us, l->window.until_us, take_decision, l,
                      &l->counts.damaged, detail));
    TRY(build_index(l, detail));
    TRY(ledger_seek(e->ledger, l->window.since_us, &from, detail));
    TRY(ledger_forgets(e->ledger, from ? from + 1 : 0, UINT64_MAX, &l->forgets, detail));
    TRY(ledger_records(e->ledger, from ? from + 1 : 0, UINT64_MAX, take_outcome, l, detail));
    l->counts.dropped = audit_dropped(e->audit);
    return OK;
}

enum err lab_log_open(struct engine *e, uint32_t router_uid, const struct router_config *config,
                      const struct lab_window *window, struct job *job, struct lab_log **ret_log,
                      struct err_detail *detail)
{
    struct lab_log *l = mem_calloc(1, sizeof *l);
    if (l)
        l->event = mem_calloc(1, sizeof *l->event);
    if (!l || !l->event) {
        mem_free(l);
        return err_say(detail, ERR_NOMEM, "no memory for the decisions");
    }
    l->engine = e;
    l->job = job;
    l->router_uid = router_uid;
    l->config = config;
    l->metrics_n = config->metrics_n;
    l->window = *window;
    detail->text[0] = '\0';
    enum err err = collect(l, detail);
    if (err != OK) {
        lab_log_free(l);
        return detail->text[0] ? err : err_say(detail, err, "%s", err_text(err));
    }
    *ret_log = l;
    return OK;
}

void lab_log_free(struct lab_log *l)
{
    if (!l)
        return;
    mem_free(l->record.arms);
    mem_free(l->event);
    mem_free(l->rows);
    mem_free(l->raw);
    mem_free(l->pieces);
    mem_free(l->keys);
    mem_free(l->index);
    forgets_done(&l->forgets);
    mem_free(l);
}

/* ---- rows ---- */

uint64_t lab_log_n(const struct lab_log *l)
{
    return l->rows_n;
}

static void fill_row(const struct lab_log *l, size_t i, struct lab_logged *ret)
{
    const struct row *row = &l->rows[i];
    *ret = (struct lab_logged){.record = &l->record,
                               .has_outcome = row->has_outcome,
                               .replaced = row->replaced,
                               .reported_us = row->reported_us,
                               .status = (enum outcome_status)row->status,
                               .mask = row->mask};
    memcpy(ret->raw, l->raw + i * l->metrics_n, l->metrics_n * sizeof *ret->raw);
    for (uint32_t m = 0; l->pieces && m < l->metrics_n; m++) {
        const struct metric_def *def = &l->config->metrics[m];
        double v = ret->raw[m];
        if (row->mask >> m & 1)
            ret->raw[m] = v < def->min ? def->min : v > def->max ? def->max : v;
    }
}

enum err lab_log_next(struct lab_log *l, struct lab_logged *ret_row, bool *ret_end,
                      struct err_detail *detail)
{
    *ret_end = false;
    while (l->next < l->rows_n) {
        size_t i = l->next++;
        if (job_cancelled(l->job))
            return err_say(detail, ERR_CANCELLED, "the job was cancelled");
        mem_free(l->record.arms);
        l->record.arms = NULL;
        enum err e = audit_read(l->engine->audit, l->rows[i].id, l->rows[i].issued_us, &l->record);
        if (e == OK) {
            fill_row(l, i, ret_row);
            return OK;
        }
        if (e != ERR_NOT_FOUND)
            return err_say(detail, e, "the decision log cannot be read: %s", err_text(e));
        l->counts.gone++;
    }
    *ret_end = true;
    return OK;
}

void lab_log_rewind(struct lab_log *l)
{
    l->next = 0;
    l->counts.gone = 0;
}

void lab_log_counts(const struct lab_log *l, struct lab_log_counts *ret)
{
    *ret = l->counts;
}
