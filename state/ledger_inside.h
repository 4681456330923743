/* ledger_inside.h - what the files of the ledger share. Private to them; as ledger.h says. */
#pragma once

#include "state/ledger.h"
#include "state/model/freeze.h"
#include "state/store/store.h"

/* One transaction a step: WRITING ends with the one that makes the checkpoint the current one. */
enum checkpoint_phase { NO_CHECKPOINT, WRITING, DROPPING, SWEEPING };

struct ledger {
    struct store *store;
    struct model *model;
    struct event *event; /* Scratch: an event is too large for the stack. */
    struct slice *records;
    uint32_t *accepted;
    uint32_t batch_cap;
    uint32_t kept; /* Records of the batch that was prepared. */
    int64_t journal_keep_us;
    uint64_t journal_max_bytes;
    _Atomic uint64_t durable, checkpoint_position, journal_bytes;
    _Atomic bool forgetting; /* Nothing is trimmed meanwhile. */
    uint64_t trim_to;        /* The journal up to here goes, in steps; 0: nothing. */
    /* A checkpoint being written. */
    enum checkpoint_phase phase;
    struct freeze *freeze;
    struct buf piece; /* Read from the freeze; put up to piece_at. */
    size_t piece_at;
    bool all_read;
    uint64_t generation, frozen_position, frozen_at;
    uint64_t hash; /* Of the chunks put: each chunk's, seeded with that of those before. */
    uint32_t chunk;
};

/* A model that records are folded into, with FORGETs known beforehand. */
struct refold {
    struct model *model;
    struct event *event; /* Scratch. */
    struct forgets *forgets;
    uint64_t n; /* Records folded. */
    const _Atomic bool *cancelled;
    struct err_detail *detail;
};

/* Of a checkpoint's chunks so far and the next one; before the first: 0. */
uint64_t ledger_hash(uint64_t before, struct slice chunk);
MUST_USE enum err ledger_read_generation(struct ledger *l, const struct store_generation *g,
                                         struct model **ret_model, struct err_detail *detail);
/* The oldest state, at most at `position`, from which the journal can be folded. */
MUST_USE enum err ledger_find_base(struct ledger *l, uint64_t position, struct model **ret_model,
                                   struct err_detail *detail);
/* f->model, up to `to`. The FORGETs in between are noted first, beside those that were. */
MUST_USE enum err ledger_refold_to(struct ledger *l, struct refold *f, uint64_t to,
                                   struct err_detail *detail);
/* At open: l->model stands at the current checkpoint and is folded on to `last`. A FORGET after the
 * checkpoint changes what was folded before it; then all is folded again from the oldest base. */
MUST_USE enum err ledger_fold_tail(struct ledger *l, uint64_t last, uint64_t *ret_folded,
                                   struct err_detail *detail);
