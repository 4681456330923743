/* dedup.h - one entry per decision that was ever reported: what counted, so that it counts once.
 * Why: an outcome may be sent any number of times, before and after a crash; it is folded once.
 * Entries stand in order of arrival and leave in that order: by age, or when the table is full
 * (then the caller refuses decisions issued before the evicted one as late, so none can be counted
 * twice). Owns: its memory. Threads: the writer. Only dedup_reserve allocates. */
#pragma once

#include "state/base/err.h"
#include "state/base/name.h"
#include "state/base/slice.h"
#include "state/model/settings.h"

#include <stdbool.h>
#include <stdint.h>

/* What a source said of a decision, so that it can be told apart when a source is forgotten. */
struct dedup_reporter {
    uint32_t tag; /* source_tag of its name; 0: the place is free. */
    /* Bit m: metric m of a report of it counted; is in the journal, but another source was first.
     * Bit MAX_METRICS: the same of the status. */
    uint32_t counted, beaten;
};
enum { REPORT_STATUS = 1 << MAX_METRICS };

struct dedup_entry {
    uint8_t id[ID_BYTES];
    int64_t at_us, issued_us;
    uint32_t arm_uid;
    uint16_t reported;               /* Bit m: metric m was counted. */
    uint8_t groups;                  /* Bit g: the matrix of group g has this decision. */
    uint8_t status;                  /* Of the first report. */
    uint16_t pooled;                 /* Bit m: the sums of all arms have metric m of it. */
    uint8_t defaulted;               /* 1: nobody rated it in time, and it was given a default. */
    uint8_t activated;               /* 1: it was deferred, and is served. */
    uint32_t learned[METRIC_GROUPS]; /* The router's clock when the matrix took it, modulo 2^32. */
    struct dedup_reporter reporters[MAX_REPORTERS]; /* In order of arrival. */
    float fills[]; /* (fills_n): what entered b for each metric (stats.h). */
};

/* Behind the fills, where rated metrics are aggregated: the pieces that came so far. */
struct dedup_pieces {
    uint64_t keys[MAX_PIECES]; /* Hashes of idempotency keys; the first keys_n. */
    uint64_t keys_n;
    struct {
        double sum; /* Raw. */
        uint64_t n;
    } metrics[]; /* (fills_n) */
};

struct dedup {
    uint32_t fills_n;
    bool pieces;
    size_t stride;
    uint8_t *ring;   /* capacity entries of stride bytes. */
    uint32_t *index; /* Open addressing, slot + 1; 0 empty. index_n is a power of two. */
    uint64_t capacity, index_n;
    uint64_t head, n; /* Oldest entry's slot; entries held. */
};

void dedup_init(struct dedup *t, uint32_t fills_n, bool pieces);
void dedup_done(struct dedup *t);
/* Room for `more` entries beyond n, but never for more than max in all. */
MUST_USE enum err dedup_reserve(struct dedup *t, uint64_t more, uint64_t max);
/* Whether that would move the entries to other slots. */
bool dedup_would_move(const struct dedup *t, uint64_t more, uint64_t max);
/* NULL when unknown. Valid until the next add or drop. */
struct dedup_entry *dedup_find(const struct dedup *t, const uint8_t id[ID_BYTES]);
/* Of an entry; only where the table was made with them. */
struct dedup_pieces *dedup_pieces(const struct dedup *t, struct dedup_entry *e);
bool dedup_knows_piece(const struct dedup_pieces *p, uint64_t key);
/* A zeroed entry at the end; the id must be unknown and room must have been reserved. */
struct dedup_entry *dedup_add(struct dedup *t, const uint8_t id[ID_BYTES]);
/* The place of a source in an entry: its own, else the first free one; NULL: all belong to others.
 */
struct dedup_reporter *dedup_reporter(struct dedup_entry *e, uint32_t tag);
/* NULL when empty. */
struct dedup_entry *dedup_oldest(const struct dedup *t);
void dedup_drop_oldest(struct dedup *t);
/* Entries in order of arrival, as the checkpoint keeps them; first how many bytes they are. */
void dedup_encode(const struct dedup *t, struct buf *out);
/* The same in pieces. An entry stays in its slot until dedup_reserve moves all, and its bytes until
 * it is changed or dedup_add takes its slot; so what a table held when its head and n were noted is
 * read from that head on: `n` entries from the `from`-th. */
void dedup_encode_slots(const struct dedup *t, uint64_t head, uint64_t from, uint64_t n,
                        struct buf *out);
uint64_t dedup_slot(const struct dedup *t, const struct dedup_entry *e);
/* The slot that dedup_add takes next, however many are dropped before; t->capacity > 0. */
uint64_t dedup_next_slot(const struct dedup *t);
MUST_USE enum err dedup_decode(struct dedup *t, struct reader *r);
