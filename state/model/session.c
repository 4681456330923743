#include "state/model/session.h"

#include "state/base/hash.h"
#include "state/base/mem.h"

#include <string.h>

/* Slots are numbered from 1, so that 0 ends a list. Free slots are a list by `after`. Which slot
 * something stands in is not state; the order of the lists is. */
struct session {
    struct session_account account;
    uint32_t before, after; /* By last use. */
    uint32_t chain;         /* Of its bucket. */
    uint32_t first, last;   /* Reservations, oldest first. */
};

struct reservation {
    uint8_t id[ID_BYTES];
    uint64_t amount;
    uint32_t session;
    uint32_t before, after; /* Of the session. */
    uint32_t chain;
};

struct sessions {
    struct session *rows; /* (cap + 1) */
    uint32_t *buckets;    /* (buckets_n), a power of two */
    uint32_t n, cap, free, buckets_n;
    uint32_t oldest, newest;
    struct reservation *holds; /* (holds_cap + 1) */
    uint32_t *hold_buckets;
    uint32_t holds_n, holds_cap, holds_free, hold_buckets_n;
};

enum { DROPS_A_STEP = 64 }; /* Expired sessions dropped by one event: bounded work in fold. */

static uint64_t nano_whole(double raw, double *ret_rest)
{
    double nano = raw * 1e9;
    *ret_rest = 0;
    if (!(nano < (double)(1ULL << SESSION_NANO_BITS)))
        return 1ULL << SESSION_NANO_BITS;
    if (!(nano > 0))
        return 0;
    uint64_t whole = (uint64_t)nano;
    *ret_rest = nano - (double)whole;
    return whole;
}

uint64_t session_nano_up(double raw)
{
    double rest;
    uint64_t whole = nano_whole(raw, &rest);
    return whole + (rest > 0);
}

uint64_t session_nano_down(double raw)
{
    double rest;
    return nano_whole(raw, &rest);
}

enum err sessions_new(struct sessions **ret_sessions)
{
    struct sessions *s = mem_calloc(1, sizeof *s);
    if (!s)
        return ERR_NOMEM;
    *ret_sessions = s;
    return OK;
}

void sessions_free(struct sessions *s)
{
    if (!s)
        return;
    mem_free(s->rows);
    mem_free(s->buckets);
    mem_free(s->holds);
    mem_free(s->hold_buckets);
    mem_free(s);
}

/* ---- the two tables ---- */

static uint32_t *session_bucket(const struct sessions *s, uint32_t router_uid, const char *name)
{
    return &s->buckets[hash_seeded(name, strlen(name), router_uid) & (s->buckets_n - 1)];
}

static uint32_t *hold_bucket(const struct sessions *s, const uint8_t id[ID_BYTES])
{
    return &s->hold_buckets[hash_bytes(id, ID_BYTES) & (s->hold_buckets_n - 1)];
}

static uint32_t find(const struct sessions *s, uint32_t router_uid, const char *name)
{
    if (s->n == 0)
        return 0;
    uint32_t at = *session_bucket(s, router_uid, name);
    while (at && (s->rows[at].account.router_uid != router_uid ||
                  strcmp(s->rows[at].account.name, name) != 0))
        at = s->rows[at].chain;
    return at;
}

static uint32_t find_hold(const struct sessions *s, const uint8_t id[ID_BYTES])
{
    if (s->holds_n == 0)
        return 0;
    uint32_t at = *hold_bucket(s, id);
    while (at && memcmp(s->holds[at].id, id, ID_BYTES) != 0)
        at = s->holds[at].chain;
    return at;
}

static uint32_t wider(uint32_t cap, uint64_t want, uint32_t max)
{
    uint64_t next = cap ? cap : 64;
    while (next < want)
        next *= 2;
    return next < max ? (uint32_t)next : max;
}

static uint32_t buckets_for(uint32_t cap)
{
    uint32_t n = 64;
    while (n < cap)
        n *= 2;
    return n;
}

static enum err widen_sessions(struct sessions *s, uint64_t want)
{
    uint32_t cap = wider(s->cap, want, MAX_SESSIONS), n = buckets_for(cap);
    struct session *rows = mem_realloc(s->rows, ((size_t)cap + 1) * sizeof *rows);
    if (!rows)
        return ERR_NOMEM;
    s->rows = rows;
    uint32_t *buckets = mem_calloc(n, sizeof *buckets);
    if (!buckets)
        return ERR_NOMEM;
    mem_free(s->buckets);
    s->buckets = buckets;
    s->buckets_n = n;
    for (uint32_t i = s->cap + 1; i <= cap; i++) {
        rows[i].after = s->free;
        s->free = i;
    }
    s->cap = cap;
    for (uint32_t at = s->oldest; at; at = rows[at].after) {
        uint32_t *b = session_bucket(s, rows[at].account.router_uid, rows[at].account.name);
        rows[at].chain = *b;
        *b = at;
    }
    return OK;
}

static enum err widen_holds(struct sessions *s, uint64_t want)
{
    uint32_t cap = wider(s->holds_cap, want, MAX_RESERVATIONS), n = buckets_for(cap);
    struct reservation *holds = mem_realloc(s->holds, ((size_t)cap + 1) * sizeof *holds);
    if (!holds)
        return ERR_NOMEM;
    s->holds = holds;
    uint32_t *buckets = mem_calloc(n, sizeof *buckets);
    if (!buckets)
        return ERR_NOMEM;
    mem_free(s->hold_buckets);
    s->hold_buckets = buckets;
    s->hold_buckets_n = n;
    for (uint32_t i = s->holds_cap + 1; i <= cap; i++) {
        holds[i].after = s->holds_free;
        s->holds_free = i;
    }
    s->holds_cap = cap;
    for (uint32_t at = s->oldest; at; at = s->rows[at].after)
        for (uint32_t h = s->rows[at].first; h; h = holds[h].after) {
            uint32_t *b = hold_bucket(s, holds[h].id);
            holds[h].chain = *b;
            *b = h;
        }
    return OK;
}

enum err sessions_make_room(struct sessions *s, uint64_t more)
{
    uint64_t rows = s->n + more, holds = s->holds_n + more;
    rows = rows < MAX_SESSIONS ? rows : MAX_SESSIONS;
    holds = holds < MAX_RESERVATIONS ? holds : MAX_RESERVATIONS;
    if (rows > s->cap)
        TRY(widen_sessions(s, rows));
    return holds > s->holds_cap ? widen_holds(s, holds) : OK;
}

/* ---- single steps ---- */

static void unlink_use(struct sessions *s, uint32_t at)
{
    struct session *row = &s->rows[at];
    if (row->before)
        s->rows[row->before].after = row->after;
    else
        s->oldest = row->after;
    if (row->after)
        s->rows[row->after].before = row->before;
    else
        s->newest = row->before;
}

static void link_newest(struct sessions *s, uint32_t at)
{
    struct session *row = &s->rows[at];
    row->before = s->newest;
    row->after = 0;
    if (s->newest)
        s->rows[s->newest].after = at;
    else
        s->oldest = at;
    s->newest = at;
}

static uint32_t add_session(struct sessions *s, const struct session_account *account)
{
    uint32_t at = s->free;
    struct session *row = &s->rows[at];
    s->free = row->after;
    memset(row, 0, sizeof *row);
    row->account = *account;
    row->account.spent = row->account.reserved = 0;
    row->account.open = 0;
    uint32_t *b = session_bucket(s, account->router_uid, account->name);
    row->chain = *b;
    *b = at;
    link_newest(s, at);
    s->n++;
    return at;
}

static void add_hold(struct sessions *s, uint32_t session, const uint8_t id[ID_BYTES],
                     uint64_t amount)
{
    struct session *row = &s->rows[session];
    uint32_t at = s->holds_free;
    struct reservation *h = &s->holds[at];
    s->holds_free = h->after;
    memcpy(h->id, id, ID_BYTES);
    h->amount = amount;
    h->session = session;
    h->before = row->last;
    h->after = 0;
    if (row->last)
        s->holds[row->last].after = at;
    else
        row->first = at;
    row->last = at;
    uint32_t *b = hold_bucket(s, id);
    h->chain = *b;
    *b = at;
    row->account.reserved += amount;
    row->account.open++;
    s->holds_n++;
}

static void drop_hold(struct sessions *s, uint32_t at)
{
    struct reservation *h = &s->holds[at];
    struct session *row = &s->rows[h->session];
    uint32_t *b = hold_bucket(s, h->id);
    while (*b != at)
        b = &s->holds[*b].chain;
    *b = h->chain;
    if (h->before)
        s->holds[h->before].after = h->after;
    else
        row->first = h->after;
    if (h->after)
        s->holds[h->after].before = h->before;
    else
        row->last = h->before;
    row->account.reserved -= h->amount;
    row->account.open--;
    h->after = s->holds_free;
    s->holds_free = at;
    s->holds_n--;
}

static void drop_session(struct sessions *s, uint32_t at)
{
    struct session *row = &s->rows[at];
    while (row->first)
        drop_hold(s, row->first);
    uint32_t *b = session_bucket(s, row->account.router_uid, row->account.name);
    while (*b != at)
        b = &s->rows[*b].chain;
    *b = row->chain;
    unlink_use(s, at);
    row->after = s->free;
    s->free = at;
    s->n--;
}

/* ---- what fold does ---- */

uint32_t sessions_count(const struct sessions *s)
{
    return s->n;
}

bool sessions_next(const struct sessions *s, uint32_t *cursor, struct session_account *ret)
{
    uint32_t at = *cursor ? s->rows[*cursor].after : s->oldest;
    *cursor = at;
    if (at)
        *ret = s->rows[at].account;
    return at != 0;
}

bool sessions_get(const struct sessions *s, uint32_t router_uid, const char *name, int64_t at_us,
                  struct session_account *ret)
{
    uint32_t at = find(s, router_uid, name);
    if (!at || s->rows[at].account.expires_us < at_us)
        return false;
    *ret = s->rows[at].account;
    return true;
}

static bool fits(const struct session_account *a, uint64_t amount)
{
    uint64_t used = a->spent + a->reserved;
    return used <= a->budget && amount <= a->budget - used;
}

enum err sessions_check(const struct sessions *s, const struct event_session *e, int64_t at_us,
                        struct session_account *ret)
{
    struct session_account fresh = {.budget = e->budget};
    memset(ret, 0, sizeof *ret);
    bool open = sessions_get(s, e->router_uid, e->name, at_us, ret);
    if (open && (ret->budget != e->budget || ret->metric != e->metric))
        return ERR_SESSION_BUDGET;
    /* One that has expired makes room for it. */
    if (!open && s->n >= MAX_SESSIONS && s->rows[s->oldest].account.expires_us >= at_us)
        return ERR_LIMIT;
    if (e->amount == 0)
        return OK;
    if (find_hold(s, e->id))
        return ERR_ID_REUSED;
    if (ret->open >= MAX_SESSION_RESERVATIONS || s->holds_n >= MAX_RESERVATIONS)
        return ERR_LIMIT;
    return fits(open ? ret : &fresh, e->amount) ? OK : ERR_BUDGET_EXHAUSTED;
}

enum err sessions_hold(struct sessions *s, const struct event_session *e, int64_t at_us,
                       struct session_account *ret)
{
    for (int i = 0; i < DROPS_A_STEP && s->oldest; i++) {
        if (s->rows[s->oldest].account.expires_us >= at_us)
            break;
        drop_session(s, s->oldest);
    }
    enum err err = sessions_check(s, e, at_us, ret);
    if (err != OK)
        return err;
    uint32_t at = find(s, e->router_uid, e->name);
    if (at && s->rows[at].account.expires_us < at_us) {
        drop_session(s, at);
        at = 0;
    }
    if (at) {
        unlink_use(s, at);
        link_newest(s, at);
    } else {
        struct session_account fresh = {
            .router_uid = e->router_uid, .metric = e->metric, .budget = e->budget};
        memcpy(fresh.name, e->name, sizeof fresh.name);
        at = add_session(s, &fresh);
    }
    s->rows[at].account.expires_us = at_us + e->ttl_us;
    if (e->amount)
        add_hold(s, at, e->id, e->amount);
    *ret = s->rows[at].account;
    return OK;
}

bool sessions_holds(const struct sessions *s, const uint8_t id[ID_BYTES])
{
    return find_hold(s, id) != 0;
}

bool sessions_settle(struct sessions *s, uint32_t router_uid, const uint8_t id[ID_BYTES],
                     uint16_t counted, const double raw[MAX_METRICS], struct session_account *ret)
{
    uint32_t at = find_hold(s, id);
    if (!at)
        return false;
    struct session_account *a = &s->rows[s->holds[at].session].account;
    if (a->router_uid != router_uid || !(counted >> a->metric & 1))
        return false;
    uint64_t paid = session_nano_up(raw[a->metric]), most = 1ULL << SESSION_NANO_BITS;
    drop_hold(s, at);
    a->spent = paid < most - a->spent ? a->spent + paid : most;
    *ret = *a;
    return true;
}

bool sessions_end(struct sessions *s, const struct event_session_end *e,
                  struct session_account *ret)
{
    uint32_t at = find(s, e->router_uid, e->name);
    if (!at)
        return false;
    *ret = s->rows[at].account;
    drop_session(s, at);
    return true;
}

/* ---- byte forms ---- */

static void get_name(struct reader *r, char ret_name[NAME_CAP])
{
    memset(ret_name, 0, NAME_CAP);
    size_t before = reader_left(r);
    reader_str(r, ret_name, NAME_CAP);
    size_t len = before - reader_left(r) - sizeof(uint16_t);
    if (r->failed || !name_valid(ret_name, len))
        r->failed = true;
}

/* A number of nano-units that two of can be added. */
static uint64_t get_nano(struct reader *r)
{
    uint64_t v = reader_u64(r);
    if (v > 1ULL << SESSION_NANO_BITS)
        r->failed = true;
    return v;
}

static int64_t get_time(struct reader *r)
{
    uint64_t v = reader_u64(r);
    if (v > INT64_MAX / 4)
        r->failed = true;
    return (int64_t)v;
}

static uint8_t get_metric(struct reader *r)
{
    uint8_t v = reader_u8(r);
    if (v >= MAX_METRICS)
        r->failed = true;
    return v;
}

void session_event_encode(const struct event_session *e, struct buf *out)
{
    buf_put_u32(out, e->router_uid);
    buf_put_str(out, e->name);
    buf_put_u8(out, e->metric);
    buf_put_u64(out, e->budget);
    buf_put_u64(out, (uint64_t)e->ttl_us);
    buf_put_u64(out, e->amount);
    buf_put(out, e->id, ID_BYTES);
}

void session_event_decode(struct reader *r, struct event_session *ret)
{
    ret->router_uid = reader_u32(r);
    get_name(r, ret->name);
    ret->metric = get_metric(r);
    ret->budget = get_nano(r);
    ret->ttl_us = get_time(r);
    ret->amount = get_nano(r);
    reader_copy(r, ret->id, ID_BYTES);
}

void session_end_encode(const struct event_session_end *e, struct buf *out)
{
    buf_put_u32(out, e->router_uid);
    buf_put_str(out, e->name);
}

void session_end_decode(struct reader *r, struct event_session_end *ret)
{
    ret->router_uid = reader_u32(r);
    get_name(r, ret->name);
}

void sessions_encode(const struct sessions *s, struct buf *out)
{
    buf_put_u32(out, s->n);
    for (uint32_t at = s->oldest; at; at = s->rows[at].after) {
        const struct session_account *a = &s->rows[at].account;
        buf_put_u32(out, a->router_uid);
        buf_put_str(out, a->name);
        buf_put_u8(out, a->metric);
        buf_put_u64(out, (uint64_t)a->expires_us);
        buf_put_u64(out, a->budget);
        buf_put_u64(out, a->spent);
        buf_put_u32(out, a->open);
        for (uint32_t h = s->rows[at].first; h; h = s->holds[h].after) {
            buf_put(out, s->holds[h].id, ID_BYTES);
            buf_put_u64(out, s->holds[h].amount);
        }
    }
}

static enum err take_session(struct reader *r, struct sessions *s)
{
    struct session_account a = {.router_uid = reader_u32(r)};
    get_name(r, a.name);
    a.metric = get_metric(r);
    a.expires_us = get_time(r);
    a.budget = get_nano(r);
    uint64_t spent = get_nano(r);
    uint32_t open = reader_u32(r);
    if (r->failed || open > MAX_SESSION_RESERVATIONS || find(s, a.router_uid, a.name))
        return ERR_CORRUPT;
    TRY(sessions_make_room(s, (uint64_t)open + 1));
    uint32_t at = add_session(s, &a);
    s->rows[at].account.spent = spent;
    for (uint32_t i = 0; i < open; i++) {
        uint8_t id[ID_BYTES];
        reader_copy(r, id, ID_BYTES);
        uint64_t amount = get_nano(r);
        uint64_t used = s->rows[at].account.reserved;
        if (r->failed || s->holds_n >= MAX_RESERVATIONS || find_hold(s, id) || amount > a.budget ||
            used > a.budget - amount)
            return ERR_CORRUPT;
        add_hold(s, at, id, amount);
    }
    return OK;
}

enum err sessions_decode(struct reader *r, struct sessions *s)
{
    uint32_t n = reader_u32(r);
    if (r->failed || n > MAX_SESSIONS)
        return ERR_CORRUPT;
    for (uint32_t i = 0; i < n; i++)
        TRY(take_session(r, s));
    return OK;
}
