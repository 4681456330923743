/* session_table.h - the open sessions of now: whose budget has what left, which arm is held, which
 * decisions were the last steps.
 * Why: requests of one session race for its last cent, and the journal's answer takes a commit. So
 * an amount is counted here first, under one short lock, then it becomes an event; state/model's
 * session.h has the last word, and tells back (session_table_folded) what it made of it.
 * used = what the journal knows (spent and reserved) + what is on its way there.
 *
 * Bounds. At most `max` sessions. A new one takes the place of one that has expired, or of the one
 * in its shard that was not used for longest, about (a use is a mark, looked at when room is
 * needed: the second chance of a clock), if that has no budget: such a session loses the arm it
 * held, and its steps. One with a budget never goes before it expires (ERR_LIMIT). Of each
 * session the last SESSION_STEPS_MAX decisions are remembered, 16 bytes each, SESSION_STEPS_ALL
 * over all sessions beside the last five of each: beyond that a session keeps what it has room for.
 * Restart: sessions with a budget come back (session_table_restore), the others begin anew. Owns:
 * its entries. Threads: any; one mutex for 1/64 of the names, held for well under a microsecond but
 * by session_table_list. Names come from outside, so the hash is seeded. */
#pragma once

#include "state/base/err.h"
#include "state/base/name.h"
#include "state/model/session.h"

struct session_table;

enum { SESSION_STEPS_MAX = 256, SESSION_STEPS_ALL = 1 << 22 };

struct session_key {
    uint32_t router_uid;
    char name[NAME_CAP];
};

struct session_view {
    bool strict; /* It has a budget; else the next three are 0. */
    uint8_t metric;
    uint64_t budget, used; /* Nano-units. */
    uint32_t held_arm;     /* Uid of the arm of its last decision; 0: none yet. */
    uint64_t steps;        /* Decisions. */
    int64_t expires_us;
    uint64_t hash; /* Of its key in this table, for session_table_step. */
};

/* What a request says of its session. */
struct session_ask {
    struct session_key key;
    int64_t now_us, ttl_us;
    bool strict; /* It brings a budget. */
    uint8_t metric;
    uint64_t budget;
    uint64_t hash; /* session_table_expect's; 0: it was not called. */
};

MUST_USE enum err session_table_new(uint32_t max, struct session_table **ret_table);
void session_table_free(struct session_table *t);

/* Its session will be asked for in a moment: keeps the hash of its key, and has what says where the
 * session stands fetched from memory, without a lock. Then, a little later, the session itself:
 * a request that does other work between these and the next call waits for neither. */
void session_table_expect(const struct session_table *t, struct session_ask *ask);
void session_table_fetch(const struct session_table *t, const struct session_ask *ask);
/* Opens the session or finds it; an open one may be named without its budget. ERR_SESSION_BUDGET:
 * it was opened with another budget or without one, *ret_view says which. ERR_LIMIT, ERR_NOMEM. */
MUST_USE enum err session_table_enter(struct session_table *t, const struct session_ask *ask,
                                      struct session_view *ret_view);
/* The same for a request that must not leave a trace. */
MUST_USE enum err session_table_look(struct session_table *t, const struct session_ask *ask,
                                     struct session_view *ret_view);
/* Counts the amount as on its way when it fits. False: it does not; *ret_view says what is left. */
bool session_table_reserve(struct session_table *t, const struct session_key *key, uint64_t amount,
                           struct session_view *ret_view);
/* It arrived or never will; what the journal knows by now was told before. */
void session_table_arrived(struct session_table *t, const struct session_key *key, uint64_t amount);
/* The account as fold left it; on the herald's or the writer's thread, in the order of folding. */
void session_table_folded(struct session_table *t, const struct session_account *account);
/* The session was given this arm. hash: of session_table_enter's view; 0: not at hand. */
void session_table_step(struct session_table *t, const struct session_key *key, uint64_t hash,
                        const uint8_t id[ID_BYTES], uint32_t arm_uid);
/* Forgets the session. */
void session_table_end(struct session_table *t, const struct session_key *key);
/* At start, before the first request. */
MUST_USE enum err session_table_restore(struct session_table *t,
                                        const struct session_account *account);
/* ret_ids (SESSION_STEPS_MAX) gets its remembered steps, oldest first. False: there is none that is
 * open. */
bool session_table_steps(struct session_table *t, const struct session_key *key, int64_t now_us,
                         struct session_view *ret_view, uint8_t ret_ids[][ID_BYTES],
                         uint32_t *ret_ids_n);

struct session_row {
    struct session_key key;
    struct session_view view;
};
/* Open sessions of all routers; ret_strict: those of them that have a budget. */
uint32_t session_table_count(struct session_table *t, int64_t now_us, uint32_t *ret_strict);
/* At most n open sessions of a router, in no order; returns how many there are in all. */
uint32_t session_table_list(struct session_table *t, uint32_t router_uid, int64_t now_us,
                            struct session_row *ret_rows, uint32_t n);
