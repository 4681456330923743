#include "tests/bench/box.h"

#include "tests/flow/server.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void must(enum err e, const struct err_detail *detail)
{
    pool_must(e, detail->text[0] ? detail->text : "ledger");
}

static void box_open(struct box *b, struct ledger_recovery *ret)
{
    struct err_detail detail = {""};
    const struct ledger_options o = {
        .dir = b->dir, .journal_keep_us = INT64_MAX / 4, .journal_max_bytes = UINT64_MAX / 4};
    must(ledger_open(&o, &b->ledger, ret, &detail), &detail);
}

/* The n records that stand in b->records, one after another. */
static void commit(struct box *b, const size_t *ends, uint32_t n)
{
    struct err_detail detail = {""};
    memset(b->entries, 0, n * sizeof *b->entries);
    for (uint32_t i = 0; i < n; i++) {
        size_t from = i ? ends[i - 1] : 0;
        b->entries[i].record = (struct slice){b->records.data + from, ends[i] - from};
    }
    must(ledger_commit(b->ledger, b->entries, n, &detail), &detail);
    for (uint32_t i = 0; i < n; i++)
        must(b->entries[i].err, &detail);
}

static void commit_event(struct box *b, const struct event *event)
{
    buf_reset(&b->records);
    event_encode(event, &b->records);
    const size_t end = b->records.len;
    commit(b, &end, 1);
}

/* The router and its arms have the uids of the pool's. */
static void declare(struct box *b)
{
    struct event *e = b->pool.event;
    memset(e, 0, sizeof *e);
    e->kind = EVENT_ROUTER_CREATE;
    e->u.router = model_router(b->pool.model, b->pool.router_uid)->config;
    commit_event(b, e);
    for (uint32_t a = 0; a < b->pool.arms_n; a++) {
        memset(e, 0, sizeof *e);
        e->kind = EVENT_ARM_ADD;
        e->u.arm.router_uid = b->pool.router_uid;
        (void)snprintf(e->u.arm.config.name, NAME_CAP, "arm-%05u", a);
        commit_event(b, e);
    }
}

void box_new(struct box *b, uint32_t arms, uint32_t d)
{
    const char *base = getenv("TMPDIR");
    struct ledger_recovery fresh;
    memset(b, 0, sizeof *b);
    (void)snprintf(b->dir, sizeof b->dir, "%s/shunt-bench-XXXXXX", base ? base : "/tmp");
    pool_must(mkdtemp(b->dir) ? OK : ERR_IO, "a directory under $TMPDIR");
    buf_init(&b->records);
    pool_open(&b->pool, arms, d, NULL);
    box_open(b, &fresh);
    declare(b);
}

void box_free(struct box *b)
{
    ledger_close(b->ledger);
    pool_close(&b->pool);
    buf_done(&b->records);
    server_remove_dir(b->dir);
}

void box_report(struct box *b, uint32_t n)
{
    size_t ends[BOX_BATCH_MAX];
    buf_reset(&b->records);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t k = b->pool.reported;
        pool_outcome(&b->pool, (uint32_t)(k % b->pool.arms_n), (uint32_t)(k % POOL_CONTEXTS));
        event_encode(b->pool.event, &b->records);
        ends[i] = b->records.len;
    }
    pool_must(buf_error(&b->records), "records");
    commit(b, ends, n);
}

void box_checkpoint(struct box *b)
{
    struct err_detail detail = {""};
    bool done = false;
    must(ledger_checkpoint_begin(b->ledger, 1, &detail), &detail);
    while (!done)
        must(ledger_checkpoint_step(b->ledger, &done, &detail), &detail);
}

bool box_checkpoint_step(struct box *b)
{
    struct err_detail detail = {""};
    bool done = false;
    if (ledger_checkpoint_running(b->ledger))
        must(ledger_checkpoint_step(b->ledger, &done, &detail), &detail);
    else
        must(ledger_checkpoint_begin(b->ledger, 1, &detail), &detail);
    return done;
}

size_t box_state_bytes(struct box *b)
{
    struct buf bytes;
    buf_init(&bytes);
    pool_must(ledger_encode(b->ledger, &bytes), "the state's bytes");
    size_t n = bytes.len;
    buf_done(&bytes);
    return n;
}

void box_reopen(struct box *b, struct ledger_recovery *ret)
{
    ledger_close(b->ledger);
    b->ledger = NULL;
    box_open(b, ret);
}

uint64_t box_disk_bytes(const struct box *b)
{
    char path[sizeof b->dir + 8];
    struct stat st;
    (void)snprintf(path, sizeof path, "%s/state", b->dir);
    pool_must(stat(path, &st) == 0 ? OK : ERR_IO, "the state's file");
    return (uint64_t)st.st_blocks * 512;
}
