/* session.h - the accounts of sessions with a strict budget, as the journal keeps them.
 * Why: "never exceeded" must hold over kill -9, so the account is folded state: a decision's upper
 * bound is reserved by an event that is durable before the caller hears of the arm, and fold, not
 * whoever asked, has the last word on whether it fits.
 * Money is counted in whole nano-units of the metric (10^-9 dollars, joules, milliseconds): sums
 * are exact in any order. Bounds and costs are rounded up, budgets down.
 * What is kept: a reservation until its true cost is reported, or its session ends or expires; so
 * one whose answer never left, or that nobody reports, keeps its bound. A session expires when
 * nothing was reserved in it for its time to live; another one of that name is a new one.
 * A report above the bound (the arm broke what was declared of it) counts in full: what is spent is
 * spent, and the session gets nothing more.
 * Owns: its tables. Threads: the writer's. Deterministic: order is that of last use.
 * Invariant: reserved is the sum of the session's reservations; a reservation is taken only when
 * spent + reserved stays within the budget. */
#pragma once

#include "state/base/err.h"
#include "state/base/name.h"
#include "state/base/slice.h"
#include "state/model/limits.h"

#include <stdbool.h>
#include <stdint.h>

struct session_account {
    uint32_t router_uid;
    char name[NAME_CAP];
    uint8_t metric; /* Index in the router's table. */
    int64_t expires_us;
    uint64_t budget, spent, reserved; /* Nano-units. */
    uint32_t open;                    /* Reservations. */
};

/* Opens the session when it is not there, and reserves. amount 0: only opens. */
struct event_session {
    uint32_t router_uid;
    char name[NAME_CAP];
    uint8_t metric;
    uint64_t budget; /* Must be the session's when it is open. */
    int64_t ttl_us;
    uint64_t amount;
    uint8_t id[ID_BYTES]; /* Of the decision. */
};

struct event_session_end {
    uint32_t router_uid;
    char name[NAME_CAP];
};

enum { SESSION_NANO_BITS = 62 };
/* Raw units to nano-units, up or down; saturates at 2^62, so that two can be added. raw >= 0. */
uint64_t session_nano_up(double raw);
uint64_t session_nano_down(double raw);

struct sessions;

MUST_USE enum err sessions_new(struct sessions **ret_sessions);
void sessions_free(struct sessions *s);
/* Room for so many more sessions and reservations. */
MUST_USE enum err sessions_make_room(struct sessions *s, uint64_t more);

/* The i-th session, the one that was not used for longest first; for starts and tests. */
uint32_t sessions_count(const struct sessions *s);
bool sessions_next(const struct sessions *s, uint32_t *cursor, struct session_account *ret);
/* False: there is none, or it has expired. */
bool sessions_get(const struct sessions *s, uint32_t router_uid, const char *name, int64_t at_us,
                  struct session_account *ret);

/* Whether sessions_hold would take it. ERR_BUDGET_EXHAUSTED; ERR_SESSION_BUDGET: it is open with
 * another budget; ERR_ID_REUSED: the decision has a reservation; ERR_LIMIT. ret_account: of an open
 * session, also on error; else all zero. */
enum err sessions_check(const struct sessions *s, const struct event_session *e, int64_t at_us,
                        struct session_account *ret_account);
/* The same, done. Drops expired sessions on its way. */
enum err sessions_hold(struct sessions *s, const struct event_session *e, int64_t at_us,
                       struct session_account *ret_account);
/* Whether the decision has a reservation. */
bool sessions_holds(const struct sessions *s, const uint8_t id[ID_BYTES]);
/* A report of this decision gave new values: bit m of `counted`, raw[m]. If there is a reservation
 * and its metric is among them it is replaced by the true cost. Whether it was. */
bool sessions_settle(struct sessions *s, uint32_t router_uid, const uint8_t id[ID_BYTES],
                     uint16_t counted, const double raw[MAX_METRICS],
                     struct session_account *ret_account);
/* The session and its reservations are gone; false: there was none. */
bool sessions_end(struct sessions *s, const struct event_session_end *e,
                  struct session_account *ret_account);

/* One byte form; a decoder fails with the reader left failed. */
void session_event_encode(const struct event_session *e, struct buf *out);
void session_event_decode(struct reader *r, struct event_session *ret);
void session_end_encode(const struct event_session_end *e, struct buf *out);
void session_end_decode(struct reader *r, struct event_session_end *ret);
void sessions_encode(const struct sessions *s, struct buf *out);
/* Into an empty one. ERR_NOMEM, ERR_CORRUPT. */
MUST_USE enum err sessions_decode(struct reader *r, struct sessions *s);
