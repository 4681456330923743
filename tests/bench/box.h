/* box.h - a ledger on a directory of its own under $TMPDIR (or /tmp), and a pool that makes its
 * events, for figures of the disk. What fails ends the program with a sentence. */
#pragma once

#include "state/ledger.h"
#include "tests/bench/pool.h"

enum { BOX_BATCH_MAX = 1024 };

struct box {
    char dir[512];
    struct ledger *ledger;
    struct pool pool;
    struct buf records;
    struct ledger_entry entries[BOX_BATCH_MAX];
};

/* A router of so many arms, and a context of d. */
void box_new(struct box *b, uint32_t arms, uint32_t d);
/* Removes the directory. */
void box_free(struct box *b);
/* One commit of n outcomes. */
void box_report(struct box *b, uint32_t n);
void box_checkpoint(struct box *b);
/* Begins one, or does its next step, as the writer does between two batches; whether it is done. */
bool box_checkpoint_step(struct box *b);
/* Of a checkpoint. */
size_t box_state_bytes(struct box *b);
/* Closes, and opens again. */
void box_reopen(struct box *b, struct ledger_recovery *ret);
/* What the state takes on the disk. */
uint64_t box_disk_bytes(const struct box *b);
