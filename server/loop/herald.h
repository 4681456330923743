/* herald.h - publishes a batch that was folded and tells those who wait for it; on the caller's
 * thread, or on its own while the writer journals the batch after it.
 * Why: publishing and answering took as long again as waiting for the disk does, and each needs
 * what the other leaves idle.
 * Owns: its thread. Borrows ledger, published and log, which must outlive it.
 * Threads: the writer calls; herald_lag is for any. From herald_begin until herald_wait the batch
 * is the herald's, and until herald_wait_published nobody may change the model. Invariant: batches
 * are told one after the other, in the order of folding; none is told OK before a snapshot at or
 * after its position is published. */
#pragma once

#include "server/loop/inbox.h"
#include "server/ops/log.h"
#include "state/ledger.h"
#include "state/published.h"

struct herald;

struct herald_options {
    struct ledger *ledger;
    struct published *published;
    struct log *log;
    /* As in writer.h. */
    void (*on_session)(void *ctx, const struct session_account *account);
    void *on_session_ctx;
};

/* Of n entries the first items_n have somebody waiting: items[i] for entries[i]. */
struct herald_batch {
    struct ledger_entry *entries;
    struct inbox_item **items;
    uint32_t items_n, n;
    enum err err;     /* Of the commit: all are told. */
    bool moved;       /* Something was folded. */
    uint64_t durable; /* What an entry that was not journalled is told as its position. */
};

MUST_USE enum err herald_new(const struct herald_options *o, struct herald **ret_herald);
/* Nothing is being told; takes NULL. */
void herald_free(struct herald *h);

/* ---- on the caller's thread; nothing is being told ---- */
MUST_USE enum err herald_publish(struct herald *h);
void herald_tell(struct herald *h, const struct herald_batch *b);
/* The last publication failed, so that what is durable cannot be seen; the next batch's, or
 * herald_publish, makes up for it. */
bool herald_stale(const struct herald *h);

/* ---- on its own; nothing is being told ---- */
void herald_begin(struct herald *h, const struct herald_batch *b);
void herald_wait_published(struct herald *h); /* Returns at once when nothing is being told. */
void herald_wait(struct herald *h);           /* Everybody was told. */

/* Events durable but not yet in the published snapshot. Any thread. */
uint64_t herald_lag(struct herald *h);
