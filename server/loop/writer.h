/* writer.h - the one thread that changes what is known: takes batches from the inbox, passes them
 * through the ledger, has them published and the waiters answered; writes tallies and checkpoints
 * in between.
 * Why: one writer needs no lock, and group commit falls out of it: the next batch collects while a
 * commit runs. While the writer waits for the disk, its herald publishes and answers the batch
 * before (herald.h). Few callers who come again at once are waited for instead, at most a commit
 * and a millisecond, so that they share one commit; nobody waits for who did not come before.
 * Owns: its thread and the herald's. Borrows ledger, published, inbox, live, pacers and log, which
 * must outlive it.
 * Threads: start and stop from the owner. While it runs, ledger and model are the writer's alone.
 * Invariant: an item is answered OK only after its commit, its fold and the publication; but a
 * FORGET, which cannot be sent again, once it is durable. */
#pragma once

#include "server/live/live.h"
#include "server/live/pacers.h"
#include "server/loop/inbox.h"
#include "server/ops/log.h"
#include "state/ledger.h"
#include "state/published.h"

struct writer;

struct writer_options {
    struct ledger *ledger;
    struct published *published;
    struct inbox *inbox;
    struct live *live;
    struct pacers *pacers;
    struct log *log;
    uint64_t checkpoint_every_events;
    int64_t checkpoint_every_us;
    void (*on_commit)(void *ctx, double seconds, uint32_t records); /* May be NULL. */
    void *on_commit_ctx;
    /* An event left the account of a session like this; before the event's `done`, on the same
     * thread. May be NULL. */
    void (*on_session)(void *ctx, const struct session_account *account);
    void *on_session_ctx;
    void (*fatal)(void *ctx, const char *why); /* The disk cannot be believed any more. */
    void *fatal_ctx;
};

/* Publishes the first snapshot before it returns, then starts the thread. */
MUST_USE enum err writer_start(const struct writer_options *o, struct writer **ret_writer);
/* Closes the inbox, answers what waits, writes tallies and a last checkpoint, joins. */
void writer_stop(struct writer *w);

/* Something to be done on the writer's thread between two batches, queued like an event. Fill kind,
 * out (but for CHECKPOINT), the uids (TRANSFER) and item.done; the rest is the writer's. */
enum writer_command_kind {
    WRITER_CHECKPOINT, /* Done when a generation at or after now is current. */
    WRITER_ENCODE,     /* Fills `out` with the exact bytes of the state; position says where. */
    WRITER_TRANSFER,   /* Fills `out` with what an arm knows (transfer.h). ERR_ARM_NOT_FOUND. */
    WRITER_FORGET,     /* Commits `forget`, publishes, and lets a checkpoint follow. */
};
struct writer_command {
    struct inbox_item item; /* record stays empty: that is how the writer knows a command. */
    enum writer_command_kind kind;
    struct buf *out;
    uint32_t router_uid, arm_uid;
    struct ledger_forget *forget;
    struct ledger_forgotten forgotten;   /* What came of it. */
    struct writer_command *next_waiting; /* The writer's. */
};

/* Events durable but not yet in the published snapshot. Any thread. */
uint64_t writer_fold_lag(struct writer *w);
