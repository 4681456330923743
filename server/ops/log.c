#include "server/ops/log.h"
#include "server/ops/clock.h"
#include "state/base/hash.h"
#include "state/base/mem.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define RATES_N 128
#define RATE_DEFAULT 20
#define CLOSE_WAIT_MS 500
#define POLL_MS 100

/* A bounded queue of many producers [Vyukov, 1024cores.net]: a slot's turn says whose it is.
 * turn == position: free for the producer of that position; position + 1: ready to be written. */
struct slot {
    _Atomic uint64_t turn;
    size_t len;
    char line[LOG_LINE_CAP];
};

/* How often an event name was logged in the current second. Slots are claimed, never freed: names
 * are literals, so they are as many as the program has. The last one is shared by the overflow. */
struct rate {
    _Atomic uint64_t hash; /* 0: free. */
    const char *_Atomic name;
    _Atomic uint64_t window; /* Second << 32 | lines in it. */
    _Atomic uint64_t suppressed;
};

struct log {
    int fd;
    enum log_level level;
    uint32_t per_event_max;
    _Atomic uint64_t head;    /* Next position to claim. */
    _Atomic uint64_t written; /* Positions below it are out. The thread's alone to move. */
    _Atomic uint64_t dropped;
    uint64_t dropped_said; /* The thread's. */
    _Atomic bool stop;
    sem_t wake;
    pthread_t thread;
    struct rate rates[RATES_N];
    struct slot slots[LOG_RING_SLOTS];
};

static struct rate *rate_find(struct log *log, const char *event)
{
    const uint64_t hash = hash_bytes(event, strlen(event)) | 1;
    for (size_t i = 0; i < RATES_N - 1; i++) {
        struct rate *r = &log->rates[(hash / 2 + i) % (RATES_N - 1)];
        uint64_t seen = atomic_load_explicit(&r->hash, memory_order_acquire);
        if (!seen && atomic_compare_exchange_strong(&r->hash, &seen, hash)) {
            atomic_store(&r->name, event);
            return r;
        }
        if (seen == hash)
            return r;
    }
    return &log->rates[RATES_N - 1];
}

static bool rate_allows(struct log *log, const char *event, int64_t unix_us)
{
    struct rate *r = rate_find(log, event);
    const uint64_t second = (uint64_t)(unix_us / 1000000) & 0xffffffff;
    uint64_t seen = atomic_load(&r->window);
    uint64_t next;
    do {
        if (seen >> 32 == second && (seen & 0xffffffff) >= log->per_event_max) {
            (void)atomic_fetch_add(&r->suppressed, 1);
            return false;
        }
        next = seen >> 32 == second ? seen + 1 : second << 32 | 1;
    } while (!atomic_compare_exchange_weak(&r->window, &seen, next));
    return true;
}

void log_event_fields(struct log *log, enum log_level level, const char *event,
                      const struct log_field *fields)
{
    if (!log || level < log->level)
        return;
    const int64_t now = clock_unix_us();
    if (!rate_allows(log, event, now))
        return;
    uint64_t position = atomic_load_explicit(&log->head, memory_order_relaxed);
    struct slot *slot;
    for (;;) {
        slot = &log->slots[position % LOG_RING_SLOTS];
        const uint64_t turn = atomic_load_explicit(&slot->turn, memory_order_acquire);
        if (turn == position) {
            if (atomic_compare_exchange_weak(&log->head, &position, position + 1))
                break;
        } else if (turn < position) {
            (void)atomic_fetch_add_explicit(&log->dropped, 1, memory_order_relaxed);
            return;
        } else {
            position = atomic_load_explicit(&log->head, memory_order_relaxed);
        }
    }
    slot->len = log_format(slot->line, sizeof slot->line, now, level, event, fields);
    atomic_store_explicit(&slot->turn, position + 1, memory_order_release);
    (void)sem_post(&log->wake);
}

/* The reader of our lines may be stuck. poll says when a whole line fits (LOG_LINE_CAP < PIPE_BUF),
 * so that the thread can always be asked to give up. False: it was asked. */
static bool write_line(struct log *log, const char *line, size_t len)
{
    const int64_t give_up_ns = (int64_t)CLOSE_WAIT_MS * 1000000;
    int64_t stopping_since = 0;
    for (size_t done = 0; done < len;) {
        struct pollfd p = {log->fd, POLLOUT, 0};
        if (poll(&p, 1, POLL_MS) > 0) {
            const ssize_t n = write(log->fd, line + done, len - done);
            if (n < 0 && errno != EINTR && errno != EAGAIN)
                return true; /* A closed sink: nothing to tell, and nobody to tell it to. */
            done += n > 0 ? (size_t)n : 0;
        } else if (atomic_load(&log->stop)) {
            if (!stopping_since)
                stopping_since = clock_mono_ns();
            if (clock_mono_ns() - stopping_since > give_up_ns)
                return false;
        }
    }
    return true;
}

static void say(struct log *log, const char *event, const char *of, uint64_t n)
{
    char line[LOG_LINE_CAP];
    const struct log_field fields[] = {LOG_UINT("n", n), of ? LOG_STR("of", of) : LOG_END, LOG_END};
    const size_t len = log_format(line, sizeof line, clock_unix_us(), LOG_WARN, event, fields);
    (void)write_line(log, line, len);
}

static bool drain(struct log *log)
{
    uint64_t position = atomic_load_explicit(&log->written, memory_order_relaxed);
    for (;; position++) {
        struct slot *slot = &log->slots[position % LOG_RING_SLOTS];
        if (atomic_load_explicit(&slot->turn, memory_order_acquire) != position + 1)
            return true;
        if (!write_line(log, slot->line, slot->len))
            return false;
        atomic_store_explicit(&slot->turn, position + LOG_RING_SLOTS, memory_order_release);
        atomic_store(&log->written, position + 1);
    }
}

static void say_losses(struct log *log, bool all)
{
    const uint64_t second = (uint64_t)(clock_unix_us() / 1000000) & 0xffffffff;
    for (size_t i = 0; i < RATES_N; i++) {
        struct rate *r = &log->rates[i];
        if (!all && atomic_load(&r->window) >> 32 == second)
            continue;
        const uint64_t n = atomic_exchange(&r->suppressed, 0);
        const char *name = atomic_load(&r->name);
        if (n)
            say(log, "suppressed", name ? name : "(others)", n);
    }
    const uint64_t dropped = atomic_load(&log->dropped);
    if (dropped != log->dropped_said)
        say(log, "log_dropped", NULL, dropped - log->dropped_said);
    log->dropped_said = dropped;
}

static void *run(void *arg)
{
    struct log *log = arg;
    int64_t next_ns = 0;
    for (;;) {
        const bool stop = atomic_load(&log->stop);
        if (!drain(log))
            return NULL;
        if (stop || clock_mono_ns() >= next_ns) {
            say_losses(log, stop);
            next_ns = clock_mono_ns() + 1000000000;
        }
        if (stop)
            return NULL;
        struct timespec until;
        (void)clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += 1;
        (void)sem_timedwait(&log->wake, &until);
    }
}

enum err log_open(const struct log_options *options, struct log **ret_log)
{
    struct log *log = mem_calloc(1, sizeof *log);
    if (!log)
        return ERR_NOMEM;
    log->fd = options->fd;
    log->level = options->level;
    log->per_event_max = options->per_event_max ? options->per_event_max : RATE_DEFAULT;
    for (uint64_t i = 0; i < LOG_RING_SLOTS; i++)
        atomic_init(&log->slots[i].turn, i);
    (void)sem_init(&log->wake, 0, 0);
    /* Signals are for main; and a closed pipe must be EPIPE here, not the end of the process. */
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    const int failed = pthread_create(&log->thread, NULL, run, log);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) {
        (void)sem_destroy(&log->wake);
        mem_free(log);
        return ERR_NOMEM;
    }
    *ret_log = log;
    return OK;
}

void log_close(struct log *log)
{
    if (!log)
        return;
    atomic_store(&log->stop, true);
    (void)sem_post(&log->wake);
    (void)pthread_join(log->thread, NULL);
    (void)sem_destroy(&log->wake);
    mem_free(log);
}

bool log_flush(struct log *log, int timeout_ms)
{
    if (!log)
        return true;
    const uint64_t until = atomic_load(&log->head);
    const int64_t give_up = clock_mono_ns() + (int64_t)timeout_ms * 1000000;
    while (atomic_load(&log->written) < until) {
        if (clock_mono_ns() > give_up)
            return false;
        const struct timespec pause = {0, 1000000};
        (void)nanosleep(&pause, NULL);
    }
    return true;
}

uint64_t log_dropped(const struct log *log)
{
    return log ? atomic_load_explicit(&log->dropped, memory_order_relaxed) : 0;
}
