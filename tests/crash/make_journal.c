/* make_journal DIR OUTCOMES [CHECKPOINT_EVERY]
 *
 * Writes a data directory as a server would after OUTCOMES reports: one router with the default
 * context (d = 45) and 16 arms, every outcome with reward, cost and latency, a checkpoint after
 * every CHECKPOINT_EVERY of them (0: never), so that a restart loads one and folds the tail.
 * Goes through the ledger's gate like everything else; only the batches are larger. */
#include "state/base/rng.h"
#include "state/ledger.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ARMS = 16, TASKS = 8, BATCH = 4096 };
static const uint64_t seed = 20240607;
static const int64_t apart_us = 20 * 1000; /* Fifty outcomes a second: none forgotten by age. */

struct writing {
    struct ledger *ledger;
    struct event *event;
    struct buf bytes;
    struct ledger_entry entries[BATCH];
    size_t at[BATCH + 1];
    uint32_t n, router, arms[ARMS], d;
    uint64_t spec_hash, outcomes;
    int64_t start_us;
};

static int fail(enum err e, const struct err_detail *detail)
{
    (void)fprintf(stderr, "make_journal: %s: %s\n", err_code(e), detail->text);
    return EXIT_FAILURE;
}

static enum err flush(struct writing *w, struct err_detail *detail)
{
    const uint32_t n = w->n;
    w->n = 0;
    TRY(buf_error(&w->bytes));
    for (uint32_t i = 0; i < n; i++)
        w->entries[i].record = (struct slice){w->bytes.data + w->at[i], w->at[i + 1] - w->at[i]};
    TRY(ledger_commit(w->ledger, w->entries, n, detail));
    for (uint32_t i = 0; i < n; i++)
        if (w->entries[i].err != OK || w->entries[i].result.duplicate)
            return err_say(detail, w->entries[i].err ? w->entries[i].err : ERR_INTERNAL,
                           "event %u of a batch was not taken", i);
    buf_reset(&w->bytes);
    return OK;
}

static enum err put(struct writing *w, struct err_detail *detail)
{
    w->at[w->n++] = w->bytes.len;
    event_encode(w->event, &w->bytes);
    w->at[w->n] = w->bytes.len;
    return w->n == BATCH ? flush(w, detail) : OK;
}

static enum err put_alone(struct writing *w, uint32_t *ret_uid, struct err_detail *detail)
{
    TRY(put(w, detail));
    TRY(flush(w, detail));
    *ret_uid = w->entries[0].result.uid;
    return OK;
}

static enum err declare(struct writing *w, struct err_detail *detail)
{
    struct event *ev = w->event;
    memset(ev, 0, sizeof *ev);
    ev->at_us = w->start_us;
    ev->kind = EVENT_ROUTER_CREATE;
    settings_defaults(&ev->u.router, "default");
    w->d = spec_d(&ev->u.router.spec);
    w->spec_hash = spec_hash(&ev->u.router.spec);
    TRY(put_alone(w, &w->router, detail));
    for (uint32_t i = 0; i < TASKS; i++) {
        memset(ev, 0, sizeof *ev);
        ev->at_us = w->start_us;
        ev->kind = EVENT_LABEL_ADD;
        ev->u.label.router_uid = w->router;
        (void)snprintf(ev->u.label.label, NAME_CAP, "task-%u", i);
        TRY(put(w, detail));
    }
    TRY(flush(w, detail));
    for (uint32_t i = 0; i < ARMS; i++) {
        memset(ev, 0, sizeof *ev);
        ev->at_us = w->start_us;
        ev->kind = EVENT_ARM_ADD;
        ev->u.arm.router_uid = w->router;
        (void)snprintf(ev->u.arm.config.name, NAME_CAP, "model-%u", i);
        TRY(put_alone(w, &w->arms[i], detail));
    }
    return OK;
}

static void set_metric(struct event_outcome *o, uint8_t index, double raw, double z)
{
    o->metrics[o->metrics_n++] = (struct outcome_metric){index, raw, z};
}

/* The arms differ by task and by how long the text is, with noise: statistics as in real life. */
static void fill_outcome(struct writing *w, uint64_t i)
{
    struct event *ev = w->event;
    struct event_outcome *o = &ev->u.outcome;
    const uint64_t s = rng_mix(seed, i);
    const uint64_t arm = rng_below(s, 1, ARMS), task = rng_below(s, 2, TASKS);
    uint8_t random[10];
    ev->kind = EVENT_OUTCOME;
    ev->at_us = w->start_us + (int64_t)i * apart_us;
    for (unsigned k = 0; k < sizeof random; k++)
        random[k] = (uint8_t)rng_below(s, 100 + k, 256);
    id_make_v7(ev->at_us - 1000000, random, o->decision.id);
    o->decision.router_uid = w->router;
    o->decision.arm_uid = w->arms[arm];
    o->decision.spec_hash = w->spec_hash;
    o->decision.issued_us = ev->at_us - 1000000;
    o->decision.propensity = .25F;
    o->decision.reason = REASON_EXPLOIT;
    o->decision.evaluable = 1;
    o->decision.d = (uint16_t)w->d;
    memset(o->decision.x, 0, w->d * sizeof *o->decision.x);
    o->decision.x[0] = 1;
    o->decision.x[1 + task] = 1;
    for (uint32_t k = 17; k < w->d; k++)
        o->decision.x[k] = (float)rng_uniform(s, 10 + k);
    o->status = OUTCOME_OK;
    o->metrics_n = 0;
    double fit = (double)((arm * 5 + task * 3) % 11) / 10;
    double reward = .2 + .5 * fit + .3 * rng_uniform(s, 3);
    double cost = .01 * (double)(arm + 1) * (.5 + rng_uniform(s, 4));
    set_metric(o, 0, reward, reward);
    set_metric(o, 2, cost, cost);
    set_metric(o, 4, .5 + rng_uniform(s, 5) / 2, .5 + rng_uniform(s, 5) / 2);
}

static enum err checkpoint(struct writing *w, struct err_detail *detail)
{
    bool done = false;
    TRY(flush(w, detail));
    TRY(ledger_checkpoint_begin(w->ledger, w->event->at_us, detail));
    while (!done)
        TRY(ledger_checkpoint_step(w->ledger, &done, detail));
    return OK;
}

static enum err write_all(struct writing *w, uint64_t every, struct err_detail *detail)
{
    TRY(declare(w, detail));
    memset(w->event, 0, sizeof *w->event);
    for (uint64_t i = 1; i <= w->outcomes; i++) {
        fill_outcome(w, i);
        TRY(put(w, detail));
        /* None right at the end: the tail is as long as it can be. */
        if (every && i % every == 0 && i < w->outcomes)
            TRY(checkpoint(w, detail));
    }
    return flush(w, detail);
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        (void)fprintf(stderr, "usage: make_journal DIR OUTCOMES [CHECKPOINT_EVERY]\n");
        return 2;
    }
    struct err_detail detail = {""};
    struct ledger_options options = {.dir = argv[1],
                                     .journal_keep_us = INT64_C(30) * 86400 * 1000000};
    struct ledger_recovery recovery;
    struct writing *w = calloc(1, sizeof *w);
    struct timespec now;
    if (!w || !(w->event = calloc(1, sizeof *w->event)))
        return EXIT_FAILURE;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    w->outcomes = strtoull(argv[2], NULL, 10);
    w->start_us = (int64_t)now.tv_sec * 1000000 - (int64_t)(w->outcomes + 100) * apart_us;
    buf_init(&w->bytes);
    enum err e = ledger_open(&options, &w->ledger, &recovery, &detail);
    if (e == OK)
        e = write_all(w, argc > 3 ? strtoull(argv[3], NULL, 10) : 0, &detail);
    int status = e == OK ? EXIT_SUCCESS : fail(e, &detail);
    ledger_close(w->ledger);
    buf_done(&w->bytes);
    free(w->event);
    free(w);
    return status;
}
