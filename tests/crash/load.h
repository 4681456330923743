/* load.h - many clients at once, and a ledger of what the server has acknowledged to them.
 * Why: "nothing is lost" can be judged only by somebody outside, who wrote down every promise.
 * What: clients route and report random rewards against two routers, ROUTER_KEPT (four arms that
 * stay) and ROUTER_CHURN (arms come and go); an steward adds and removes arms, pauses, changes
 * weights, rotates keys, asks for checkpoints. Rewards are multiples of 1/256, so that their sum is
 * exact in a double and the order of folding cannot show.
 * Owns: its threads and ledgers. Threads: used from one; a phase runs its own and joins them.
 * Invariant: what a call answered OK for is in the ledger before the next call is made. A call
 * that the server did not answer is "in doubt" until load_settle asks again. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ROUTER_KEPT "kept"
#define ROUTER_CHURN "churn"
enum { KEPT_ARMS = 4, CHURN_ARMS = 4 };

struct load;

struct load_counts {
    uint64_t routes, acked, doubtful;         /* Decisions; those reported; metrics in doubt. */
    uint64_t reports;                         /* First reports answered OK since load_begin. */
    uint64_t pushed_back;                     /* Calls answered RESOURCE_EXHAUSTED. */
    uint64_t duplicates;                      /* Reports that the server called duplicates. */
    uint64_t settled_in, settled_out;         /* In doubt: it was there; it was not. */
    uint64_t operations;                      /* Of the steward, acknowledged. */
    uint64_t kept_decisions, churn_decisions; /* With at least one acknowledged report. */
};

/* No thread runs yet. Aborts without memory. */
struct load *load_new(uint64_t seed, unsigned clients);
void load_free(struct load *l);

/* Everything below: false when a promise was broken; load_wrong says which. */

bool load_create_routers(struct load *l, const char *admin);
/* Starts clients and, unless admin is NULL, the steward. They end when the server is gone. */
bool load_begin(struct load *l, const char *router, const char *admin);
/* Waits until `reports` more were acknowledged since load_begin, or everybody has ended. */
void load_wait(struct load *l, uint64_t reports);
bool load_end(struct load *l);

/* Everything acknowledged since load_begin is in doubt again: an older copy of the state serves. */
void load_doubt(struct load *l);
/* Reports everything in doubt once more: "duplicate" tells that it had been taken. */
bool load_settle(struct load *l, const char *router);
/* Reports acknowledged outcomes again with other values; each must be a plain duplicate. Those of
 * the last load_begin all, older ones with probability `share`. */
bool load_repeat(struct load *l, const char *router, double share);
/* Compares arms, versions, weights, n and mean of everything with the ledger. While something is
 * in doubt the counts may lie between without and with it. Also takes what the steward had in
 * doubt as the server has it. */
bool load_compare(struct load *l, const char *admin);

struct load_counts load_count(const struct load *l);
const char *load_wrong(const struct load *l);
