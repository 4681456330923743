#include "server/loop/audit.h"
#include "state/base/hash.h"
#include "state/base/mem.h"
#include "state/store/hours.h"

#include <pthread.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

enum {
    GROUP_N = 1024,        /* Records of one transaction. */
    GROUP_BYTES = 4 << 20, /* Their bytes, about. */
    LINGER_US = 20000,     /* So long records gather: fewer wake-ups, larger transactions. */
    EXPIRE_US = 60 * 1000000,
    RING_MIN = 64 << 10,
    RING_MAX = 1 << 30,
    ENTRY_EXPECTED = 96, /* Smaller records than this fill the index before the bytes. */
};

/* How an entry begins; then `len` bytes. Read and written by memcpy: no alignment. */
struct entry_head {
    uint32_t len;
    uint32_t slot; /* Of the index. */
    int64_t issued_us;
    uint8_t id[ID_BYTES];
};

/* Entries one after another, and an index of them by id: open addressing, linear probing, at most
 * half full. A slot holds the entry's offset + 1. */
struct half {
    uint8_t *bytes;
    size_t len;
    uint32_t n;
    uint32_t *index;
};

struct audit {
    struct hours *hours;
    size_t half_bytes;
    uint32_t slots_n; /* A power of two. */
    uint64_t seed; /* Ids come from outside: which slot they take must not be theirs to choose. */
    int64_t keep_us, expire_every_us;
    uint64_t max_bytes;

    pthread_mutex_t lock; /* Guards the halves' contents, closing and the counts. */
    pthread_cond_t wake;  /* The thread waits: something came, half full, closing. */
    struct half halves[2];
    struct half *active;  /* Filled by audit_put. */
    struct half *writing; /* Being written: found, not changed. NULL: none. */
    bool closing;
    uint64_t written, dropped;
    uint64_t put, settled; /* Records taken; of those, written or given up. */
    struct err_detail last_error;

    pthread_t thread;
    bool started;
    /* The thread's own. */
    struct hours_record group[GROUP_N];
    size_t group_n, group_bytes;
    int64_t group_hour, newest_hour;
    bool over; /* max_bytes is passed though only one hour is left. */
};

/* ---- a half; the lock is held ---- */

static struct entry_head entry_at(const struct half *h, size_t at)
{
    struct entry_head head;
    memcpy(&head, h->bytes + at, sizeof head);
    return head;
}

/* The slot of this id, or the empty one where it would go. */
static uint32_t slot_of(const struct audit *a, const struct half *h, const uint8_t *id)
{
    uint32_t slot = (uint32_t)hash_seeded(id, ID_BYTES, a->seed) & (a->slots_n - 1);
    while (h->index[slot]) {
        struct entry_head head = entry_at(h, h->index[slot] - 1);
        if (memcmp(head.id, id, ID_BYTES) == 0)
            break;
        slot = (slot + 1) & (a->slots_n - 1);
    }
    return slot;
}

static bool half_put(const struct audit *a, struct half *h, const uint8_t *id, int64_t issued_us,
                     struct slice bytes)
{
    struct entry_head head = {.len = (uint32_t)bytes.len, .issued_us = issued_us};
    if (h->n >= a->slots_n / 2 || sizeof head + bytes.len > a->half_bytes - h->len)
        return false;
    memcpy(head.id, id, ID_BYTES);
    head.slot = slot_of(a, h, id);
    h->index[head.slot] = (uint32_t)h->len + 1;
    memcpy(h->bytes + h->len, &head, sizeof head);
    if (bytes.len)
        memcpy(h->bytes + h->len + sizeof head, bytes.data, bytes.len);
    h->len += sizeof head + bytes.len;
    h->n++;
    return true;
}

/* ERR_NOT_FOUND, or OK with a copy in ret. */
static enum err half_find(const struct audit *a, const struct half *h, const uint8_t *id,
                          struct buf *ret)
{
    if (!h || h->n == 0)
        return ERR_NOT_FOUND;
    uint32_t at = h->index[slot_of(a, h, id)];
    if (!at)
        return ERR_NOT_FOUND;
    buf_put(ret, h->bytes + at - 1 + sizeof(struct entry_head), entry_at(h, at - 1).len);
    return buf_error(ret);
}

/* Nobody else sees it then: as long as its entries, not as its memory. */
static void half_clear(struct half *h)
{
    for (size_t at = 0; at < h->len;) {
        struct entry_head head = entry_at(h, at);
        h->index[head.slot] = 0;
        at += sizeof head + head.len;
    }
    h->len = 0;
    h->n = 0;
}

/* ---- the thread ---- */

static int64_t clock_us(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void count(struct audit *a, uint64_t written, uint64_t dropped, const struct err_detail *why)
{
    pthread_mutex_lock(&a->lock);
    a->written += written;
    a->dropped += dropped;
    if (why)
        a->last_error = *why;
    pthread_mutex_unlock(&a->lock);
}

static void write_group(struct audit *a)
{
    struct err_detail detail = {""};
    if (a->group_n == 0)
        return;
    if (a->over && a->group_hour <= a->newest_hour) {
        err_say(&detail, ERR_LIMIT, "the running hour of the decision log has reached max_bytes");
        count(a, 0, a->group_n, &detail);
    } else if (hours_put(a->hours, a->group_hour, a->group, a->group_n, &detail) == OK) {
        count(a, a->group_n, 0, NULL);
        if (a->group_hour > a->newest_hour)
            a->newest_hour = a->group_hour;
    } else {
        count(a, 0, a->group_n, &detail);
    }
    a->group_n = 0;
    a->group_bytes = 0;
}

static void write_half(struct audit *a, const struct half *h)
{
    for (size_t at = 0; at < h->len;) {
        struct entry_head head = entry_at(h, at);
        int64_t hour = hours_of(head.issued_us);
        if (a->group_n == GROUP_N || a->group_bytes >= GROUP_BYTES || hour != a->group_hour)
            write_group(a);
        struct hours_record *r = &a->group[a->group_n++];
        memcpy(r->key, head.id, ID_BYTES);
        r->bytes = (struct slice){h->bytes + at + sizeof head, head.len};
        a->group_hour = hour;
        a->group_bytes += head.len;
        at += sizeof head + head.len;
    }
    write_group(a);
}

static void expire(struct audit *a)
{
    int64_t keep_us = a->keep_us > 0 ? a->keep_us : INT64_MAX;
    uint64_t max_bytes = a->max_bytes ? a->max_bytes : UINT64_MAX, hours_dropped = 0;
    struct err_detail detail = {""};
    if (hours_expire(a->hours, clock_us(CLOCK_REALTIME), keep_us, max_bytes, &hours_dropped,
                     &detail) != OK)
        count(a, 0, 0, &detail);
}

static void keep_size(struct audit *a)
{
    if (!a->max_bytes)
        return;
    struct hours_counts c;
    hours_counts(a->hours, &c);
    if (c.bytes > a->max_bytes) {
        expire(a);
        hours_counts(a->hours, &c);
    }
    a->over = c.bytes > a->max_bytes;
}

/* With the lock. Returns at a signal that changed something, or at the time. */
static void wait_until(struct audit *a, int64_t until_us, bool (*enough)(const struct audit *a))
{
    struct timespec t = {.tv_sec = until_us / 1000000, .tv_nsec = until_us % 1000000 * 1000};
    while (!enough(a))
        if (pthread_cond_timedwait(&a->wake, &a->lock, &t) != 0)
            return;
}

static bool has_any(const struct audit *a)
{
    return a->closing || a->active->n;
}

static bool is_half_full(const struct audit *a)
{
    return a->closing || a->active->len >= a->half_bytes / 2 || a->active->n >= a->slots_n / 4;
}

/* Takes what waits; the empty half takes its place. */
static bool take_half(struct audit *a, int64_t until_us)
{
    pthread_mutex_lock(&a->lock);
    wait_until(a, until_us, has_any);
    if (a->active->n)
        wait_until(a, clock_us(CLOCK_MONOTONIC) + LINGER_US, is_half_full);
    bool closing = a->closing;
    a->writing = a->active;
    a->active = a->writing == &a->halves[0] ? &a->halves[1] : &a->halves[0];
    pthread_mutex_unlock(&a->lock);
    return closing;
}

static void *audit_run(void *arg)
{
    struct audit *a = arg;
    int64_t expire_at = clock_us(CLOCK_MONOTONIC);
    for (bool closing = false; !closing;) {
        if (clock_us(CLOCK_MONOTONIC) >= expire_at) {
            expire(a);
            expire_at = clock_us(CLOCK_MONOTONIC) + a->expire_every_us;
        }
        closing = take_half(a, expire_at);
        struct half *full = a->writing;
        write_half(a, full);
        pthread_mutex_lock(&a->lock);
        a->writing = NULL; /* It is on disk now: finders look there. */
        a->settled += full->n;
        pthread_mutex_unlock(&a->lock);
        half_clear(full);
        keep_size(a);
    }
    return NULL;
}

/* ---- open, close ---- */

static enum err init_ring(struct audit *a, uint64_t ring_bytes)
{
    a->half_bytes = ring_bytes / 2;
    a->slots_n = 1;
    while (a->slots_n < 2 * a->half_bytes / ENTRY_EXPECTED)
        a->slots_n *= 2;
    for (int i = 0; i < 2; i++) {
        a->halves[i].bytes = mem_alloc(a->half_bytes);
        a->halves[i].index = mem_calloc(a->slots_n, sizeof *a->halves[i].index);
        if (!a->halves[i].bytes || !a->halves[i].index)
            return ERR_NOMEM;
    }
    a->active = &a->halves[0];
    a->newest_hour = INT64_MIN;
    return getrandom(&a->seed, sizeof a->seed, 0) == (ssize_t)sizeof a->seed ? OK : ERR_INTERNAL;
}

static void init_lock(struct audit *a)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&a->wake, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&a->lock, NULL);
}

enum err audit_open(const struct audit_options *o, struct audit **ret_audit,
                    struct err_detail *detail)
{
    if (o->ring_bytes < RING_MIN || o->ring_bytes > RING_MAX)
        return err_say(detail, ERR_OUT_OF_RANGE,
                       "the ring of the decision log is %llu bytes; it must lie in [%d, %d]",
                       (unsigned long long)o->ring_bytes, RING_MIN, RING_MAX);
    struct audit *a = mem_calloc(1, sizeof *a);
    if (!a)
        return err_say(detail, ERR_NOMEM, "no memory for the decision log");
    init_lock(a);
    a->keep_us = o->keep_us;
    a->max_bytes = o->max_bytes;
    a->expire_every_us = o->expire_every_us > 0 ? o->expire_every_us : EXPIRE_US;
    enum err e = init_ring(a, o->ring_bytes);
    if (e != OK)
        err_say(detail, e, "no memory for the decision log's ring");
    else
        e = hours_open(o->dir, NULL, &a->hours, detail);
    if (e == OK && pthread_create(&a->thread, NULL, audit_run, a) != 0)
        e = err_say(detail, ERR_NOMEM, "cannot start the decision log's thread");
    a->started = e == OK;
    if (e != OK) {
        audit_close(a);
        return e;
    }
    *ret_audit = a;
    return OK;
}

void audit_close(struct audit *a)
{
    if (!a)
        return;
    if (a->started) {
        pthread_mutex_lock(&a->lock);
        a->closing = true;
        pthread_cond_signal(&a->wake);
        pthread_mutex_unlock(&a->lock);
        pthread_join(a->thread, NULL);
    }
    hours_close(a->hours);
    for (int i = 0; i < 2; i++) {
        mem_free(a->halves[i].bytes);
        mem_free(a->halves[i].index);
    }
    pthread_cond_destroy(&a->wake);
    pthread_mutex_destroy(&a->lock);
    mem_free(a);
}

/* ---- from outside ---- */

bool audit_put(struct audit *a, const uint8_t id[ID_BYTES], int64_t issued_us, struct slice bytes)
{
    pthread_mutex_lock(&a->lock);
    struct half *h = a->active;
    bool was_half_full = is_half_full(a);
    bool taken =
        !a->closing && bytes.len <= HOURS_RECORD_MAX && half_put(a, h, id, issued_us, bytes);
    a->put += taken;
    if (!taken)
        a->dropped++;
    else if (h->n == 1 || (is_half_full(a) && !was_half_full))
        pthread_cond_signal(&a->wake);
    pthread_mutex_unlock(&a->lock);
    return taken;
}

static enum err copy_bytes(void *ctx, int64_t hour, const uint8_t *key, struct slice bytes)
{
    (void)hour;
    (void)key;
    buf_reset(ctx);
    buf_put(ctx, bytes.data, bytes.len);
    return buf_error(ctx);
}

/* On disk. */
static enum err read_bytes(struct audit *a, const uint8_t *id, int64_t hint, struct buf *ret)
{
    struct err_detail unused;
    return hours_get(a->hours, id, hint, copy_bytes, ret, &unused);
}

/* The halves first: the thread lets go of one only when it is on disk, so nothing falls between. */
static enum err find_bytes(struct audit *a, const uint8_t *id, int64_t hint, struct buf *ret)
{
    pthread_mutex_lock(&a->lock);
    enum err e = half_find(a, a->active, id, ret);
    if (e == ERR_NOT_FOUND)
        e = half_find(a, a->writing, id, ret);
    pthread_mutex_unlock(&a->lock);
    return e == ERR_NOT_FOUND ? read_bytes(a, id, hint, ret) : e;
}

/* Decodes what was found and frees it. */
static enum err take_record(enum err found, struct buf *bytes, struct audit_record *ret_record)
{
    if (found == OK)
        found = audit_decode((struct slice){bytes->data, bytes->len}, ret_record);
    buf_done(bytes);
    return found == ERR_CORRUPT ? ERR_NOT_FOUND : found;
}

enum err audit_find(struct audit *a, const uint8_t id[ID_BYTES], struct audit_record *ret_record)
{
    struct buf bytes;
    int64_t ms = id_v7_ms(id);
    buf_init(&bytes);
    enum err e = find_bytes(a, id, ms < 0 ? -1 : hours_of(ms * 1000), &bytes);
    return take_record(e, &bytes, ret_record);
}

enum err audit_read(struct audit *a, const uint8_t id[ID_BYTES], int64_t issued_us,
                    struct audit_record *ret_record)
{
    struct buf bytes;
    buf_init(&bytes);
    enum err e = read_bytes(a, id, hours_of(issued_us), &bytes);
    return take_record(e, &bytes, ret_record);
}

/* ---- all of a time ---- */

/* Until the records that were put so far are on disk, or a second is over: a disk that hangs. */
static void wait_for_writer(struct audit *a)
{
    static const struct timespec pause = {.tv_nsec = 5000000};
    pthread_mutex_lock(&a->lock);
    uint64_t put = a->put;
    for (int i = 0; i < 200 && a->settled < put; i++) {
        pthread_mutex_unlock(&a->lock);
        nanosleep(&pause, NULL);
        pthread_mutex_lock(&a->lock);
    }
    pthread_mutex_unlock(&a->lock);
}

struct iteration {
    int64_t from_us, to_us;
    audit_visit *visit;
    void *ctx;
    uint64_t damaged;
};

static enum err visit_bytes(void *ctx, int64_t hour, const uint8_t *key, struct slice bytes)
{
    (void)hour;
    (void)key;
    struct iteration *it = ctx;
    struct audit_record record;
    enum err e = audit_decode(bytes, &record);
    if (e == ERR_CORRUPT) {
        it->damaged++;
        return OK;
    }
    TRY(e);
    if (record.decision.issued_us >= it->from_us && record.decision.issued_us < it->to_us)
        e = it->visit(it->ctx, &record);
    mem_free(record.arms);
    return e;
}

enum err audit_iterate(struct audit *a, int64_t from_us, int64_t to_us, audit_visit *visit,
                       void *ctx, uint64_t *ret_damaged, struct err_detail *detail)
{
    struct iteration it = {from_us, to_us, visit, ctx, 0};
    struct hours_counts before, after;
    if (to_us <= from_us)
        return err_say(detail, ERR_OUT_OF_RANGE, "the window ends before it begins");
    wait_for_writer(a);
    hours_counts(a->hours, &before);
    TRY(hours_iterate(a->hours, hours_of(from_us), hours_of(to_us - 1), visit_bytes, &it, detail));
    hours_counts(a->hours, &after);
    *ret_damaged = it.damaged + after.damaged_records - before.damaged_records;
    return OK;
}

uint64_t audit_dropped(struct audit *a)
{
    pthread_mutex_lock(&a->lock);
    uint64_t n = a->dropped;
    pthread_mutex_unlock(&a->lock);
    return n;
}

void audit_counts(struct audit *a, struct audit_counts *ret_counts)
{
    struct hours_counts c;
    hours_counts(a->hours, &c);
    pthread_mutex_lock(&a->lock);
    *ret_counts = (struct audit_counts){.written = a->written,
                                        .dropped = a->dropped,
                                        .hours = c.hours,
                                        .bytes = c.bytes,
                                        .damaged_hours = c.damaged_hours,
                                        .damaged_records = c.damaged_records,
                                        .last_error = a->last_error};
    pthread_mutex_unlock(&a->lock);
}
