/* ledger.h - the one gate: validate -> journal -> fold. Where the model meets the store.
 * Why: anything that changes what is learned passes here, so recovery is "fold again".
 * Owns: the store and the model. Threads: one, the writer; before it starts and after it stopped,
 * whoever opened it. ledger_verify and ledger_backup may run on another thread meanwhile.
 * Invariants: a record is folded only after its commit; the folded position never exceeds the
 * durable one; a batch is journalled whole or not at all. */
#pragma once

#include "state/base/err.h"
#include "state/base/slice.h"
#include "state/model/fold.h"
#include "state/model/forget.h"
#include "state/model/model.h"

#include <stdatomic.h>

struct ledger;

struct ledger_options {
    const char *dir;
    uint64_t map_bytes;         /* 0: the store's default. */
    int64_t journal_keep_us;    /* Journal younger than this is kept... */
    uint64_t journal_max_bytes; /* ...unless it grows beyond this. */
};

struct ledger_recovery {
    uint64_t checkpoint_position, position; /* Loaded, and after folding the tail. */
    uint64_t folded;                        /* Events of the tail. */
    bool fresh;                             /* The directory was empty. */
};

/* Opens the directory, loads the current checkpoint, folds the tail. */
MUST_USE enum err ledger_open(const struct ledger_options *o, struct ledger **ret_ledger,
                              struct ledger_recovery *ret_recovery, struct err_detail *detail);
void ledger_close(struct ledger *l);

struct model *ledger_model(struct ledger *l);
uint64_t ledger_durable(struct ledger *l);             /* Any thread. */
uint64_t ledger_checkpoint_position(struct ledger *l); /* Any thread. */
uint64_t ledger_journal_bytes(struct ledger *l);       /* Any thread; as of the last minute. */

struct ledger_entry {
    struct slice record;
    enum err err; /* OK: folded (or a plain duplicate). */
    struct fold_result result;
    uint64_t position; /* 0 when nothing was journalled for it. */
};

/* Whether events of this kind may share a batch; the others go alone, since each is checked against
 * the state that the one before it leaves. */
bool ledger_batches(enum event_kind kind);

/* Checks each record, journals those that pass in one commit, folds them. Entries that fail carry
 * their error and leave no trace. The function's own error is the commit's: then nothing was
 * journalled or folded (ERR_DISK_FULL, ERR_NOMEM: may be tried again; ERR_IO: stop the process). */
MUST_USE enum err ledger_commit(struct ledger *l, struct ledger_entry *entries, uint32_t n,
                                struct err_detail *detail);

/* The same in three steps, so that others may read the model while the disk works: prepare checks
 * (the records stay until the fold), append journals and leaves the model alone, fold changes it
 * and cannot fail. After an error of one of them the next is not called. */
MUST_USE enum err ledger_prepare(struct ledger *l, struct ledger_entry *entries, uint32_t n);
MUST_USE enum err ledger_append(struct ledger *l, struct err_detail *detail);
void ledger_fold(struct ledger *l, struct ledger_entry *entries);

/* A checkpoint in steps, so that acknowledgements never wait for a big one. begin freezes the state
 * without copying it (freeze.h); a step encodes and writes a quarter of a megabyte, or makes the
 * checkpoint the current one, or deletes a piece of what it replaced or of the journal that is no
 * longer kept: one transaction each. *ret_done when it is current and old ones are gone. */
MUST_USE enum err ledger_checkpoint_begin(struct ledger *l, int64_t now_us,
                                          struct err_detail *detail);
MUST_USE enum err ledger_checkpoint_step(struct ledger *l, bool *ret_done,
                                         struct err_detail *detail);
/* Whether there is a step to be done. */
bool ledger_checkpoint_running(const struct ledger *l);
/* Once a minute: reader hygiene, retention of bases and journal; the rest of it comes in steps. */
MUST_USE enum err ledger_tick(struct ledger *l, int64_t now_us, struct err_detail *detail);

/* Appends the exact bytes of the state, for verify; on the writer's thread. */
MUST_USE enum err ledger_encode(struct ledger *l, struct buf *out);

/* ---- the journal, read again ----
 * From any thread, while the writer goes on; nothing is held between two visits. */

/* `record` is the bytes of an event, valid during the call. What it returns other than OK ends the
 * walk and is returned. */
typedef enum err ledger_visit(void *ctx, uint64_t position, struct slice record);
/* Records from..to in order; from 0: the oldest kept; a `to` beyond the last: the last.
 * ERR_NOT_FOUND: `from` was trimmed. */
MUST_USE enum err ledger_records(struct ledger *l, uint64_t from, uint64_t to, ledger_visit *visit,
                                 void *ctx, struct err_detail *detail);
/* A position up to which every event was taken before at_us; 0: none that is kept. Many threads
 * stamp events, so the order of stamps is good to a minute, and that is allowed for. */
MUST_USE enum err ledger_seek(struct ledger *l, int64_t at_us, uint64_t *ret_position,
                              struct err_detail *detail);
/* The oldest state from which the journal can be folded again: appends model_encode's bytes (none:
 * from nothing). They hold the key ring: overwrite them. */
MUST_USE enum err ledger_base(struct ledger *l, struct buf *out, uint64_t *ret_position,
                              struct err_detail *detail);

/* The FORGET events in from..to (0: the oldest kept), for whoever folds those records (forget.h).
 * `forgets` was initialised by the caller. */
MUST_USE enum err ledger_forgets(struct ledger *l, uint64_t from, uint64_t to,
                                 struct forgets *forgets, struct err_detail *detail);

/* ---- forgetting a source ----
 * A model is folded anew beside the one that serves, without the reports of the source; then the
 * writer folds what came meanwhile, journals the FORGET and takes that model in place of its own.
 * A crash before that commit: nothing was forgotten; after it: all was, for recovery and verify
 * look through the journal for FORGETs before they fold.
 * What lies in the oldest base cannot be taken out. Other bases before the FORGET hold what it took
 * out, so they go as soon as there is one after it; until then nothing is trimmed. */

struct ledger_forgotten {
    uint64_t taken;         /* Reports that were taken out, or would be. */
    uint64_t before_base;   /* At most so many more stay: they lie in the oldest base. */
    uint64_t base_position; /* Of that base; 0: the journal is whole. */
    uint64_t position;      /* Of the FORGET; 0: none was made. */
};

struct ledger_forget;

/* Folds anew; from any thread, while the writer goes on; may take as long as verify. At most one at
 * once: ERR_OVERLOADED. partial: also when some lie in the oldest base; else ERR_FORGET_PARTIAL.
 * ERR_CANCELLED. *ret_so_far: filled also on ERR_FORGET_PARTIAL. */
MUST_USE enum err ledger_forget_begin(struct ledger *l, const struct event_forget *what,
                                      bool partial, const _Atomic bool *cancelled,
                                      struct ledger_forget **ret_forget,
                                      struct ledger_forgotten *ret_so_far,
                                      struct err_detail *detail);
/* On the writer's thread, between two batches. Errors as of ledger_commit: nothing was forgotten.
 * OK: ledger_model is another one from now on, with every router and arm marked as touched. */
MUST_USE enum err ledger_forget_commit(struct ledger *l, struct ledger_forget *f, int64_t at_us,
                                       struct ledger_forgotten *ret, struct err_detail *detail);
/* What went back to the accounts of budgets; after the commit. NULL: nothing. */
const struct account_refund *ledger_forget_refunds(const struct ledger_forget *f, uint32_t *ret_n);
/* Frees the model that is not in use, before or after the commit; NULL is fine. From any thread,
 * once nobody needs what ledger_model returned before. */
void ledger_forget_free(struct ledger *l, struct ledger_forget *f);
/* What it would do; changes nothing. From any thread. */
MUST_USE enum err ledger_forget_count(struct ledger *l, const struct event_forget *what,
                                      const _Atomic bool *cancelled, struct ledger_forgotten *ret,
                                      struct err_detail *detail);

struct ledger_verdict {
    bool ok;
    uint64_t base_position, position, events, state_bytes;
    char text[256];
};
/* Folds the journal from the base up to `position` in a model of its own and compares with `state`
 * (of ledger_encode at that position); then checks the invariants of the result. Any thread. */
MUST_USE enum err ledger_verify(struct ledger *l, uint64_t position, struct slice state,
                                const _Atomic bool *cancelled, struct ledger_verdict *ret_verdict,
                                struct err_detail *detail);
/* Any thread, while the writer goes on. ret_position: at least this much is in the copy. */
MUST_USE enum err ledger_backup(struct ledger *l, const char *path, uint64_t *ret_position,
                                uint64_t *ret_bytes, struct err_detail *detail);
