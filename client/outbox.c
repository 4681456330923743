#include "client/outbox.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

struct letter {
    struct letter *next;
    ProtobufCMessage *message;
    size_t bytes;
};

struct outbox {
    struct outbox_config config;
    pthread_mutex_t lock;
    pthread_cond_t work; /* For the thread: a letter, a flush, the end. */
    pthread_cond_t room; /* For the callers: a letter left. */
    pthread_t thread;
    struct letter *head, **tail;
    /* (send_max), what is being sent: the first letters, which only the thread takes away. */
    const ProtobufCMessage **sending;
    enum outbox_verdict *verdicts;
    size_t window; /* Most messages of the next send. */
    struct outbox_stats stats;
    bool stop, hurry, retrying;
    double pause_s;
    uint64_t jitter;
};

static struct timespec time_after(double s)
{
    const double longest_s = 1e6;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    if (!(s > 0))
        return t;
    if (s > longest_s)
        s = longest_s;
    t.tv_sec += (time_t)s;
    t.tv_nsec += (long)((s - (double)(time_t)s) * 1e9);
    if (t.tv_nsec >= 1000000000) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000;
    }
    return t;
}

/* Between half and the whole of the pause. Xorshift: it has to differ, not to be good. */
static double pause_jittered(struct outbox *o)
{
    o->jitter ^= o->jitter << 13;
    o->jitter ^= o->jitter >> 7;
    o->jitter ^= o->jitter << 17;
    return o->pause_s * (0.5 + 0.5 * ((double)(o->jitter >> 11) / 9007199254740992.0));
}

static void letter_free(struct letter *letter)
{
    protobuf_c_message_free_unpacked(letter->message, NULL);
    free(letter);
}

/* What a send came to. */
struct sent {
    size_t ended, retried, deferred;
};

static void letter_end(struct outbox *o, struct letter *letter, enum outbox_verdict verdict)
{
    o->stats.queued--;
    o->stats.queued_bytes -= letter->bytes;
    if (verdict == OUTBOX_DELIVERED)
        o->stats.delivered++;
    else
        o->stats.refused++;
    letter_free(letter);
}

/* Gives each of the first n its verdict. Called with the lock. */
static struct sent settle(struct outbox *o, size_t n)
{
    struct sent sent = {0, 0, 0};
    struct letter *later = NULL, **later_tail = &later, **at = &o->head;
    for (size_t i = 0; i < n; i++) {
        struct letter *letter = *at;
        enum outbox_verdict verdict = o->verdicts[i];
        if (verdict == OUTBOX_RETRY) {
            sent.retried++;
            at = &letter->next;
            continue;
        }
        *at = letter->next;
        if (verdict == OUTBOX_DEFER) {
            sent.deferred++;
            letter->next = NULL;
            *later_tail = letter;
            later_tail = &letter->next;
        } else {
            sent.ended++;
            letter_end(o, letter, verdict);
        }
    }
    if (!*at)
        o->tail = at;
    *o->tail = later;
    if (later)
        o->tail = later_tail;
    pthread_cond_broadcast(&o->room);
    return sent;
}

/* What goes together: the first letters, as far as the window and the bytes allow. Called with the
 * lock and a head. */
static size_t gather(struct outbox *o)
{
    size_t n = 0, bytes = 0;
    for (const struct letter *l = o->head; l && n < o->window; l = l->next) {
        if (n > 0 &&
            (l->bytes > o->config.send_bytes_max || bytes > o->config.send_bytes_max - l->bytes))
            break;
        bytes += l->bytes;
        o->sending[n++] = l->message;
    }
    return n;
}

/* Called with the lock; new letters do not end a pause, a flush or the end does. */
static void rest(struct outbox *o)
{
    struct timespec until = time_after(pause_jittered(o));
    int waited = 0;
    while (!o->stop && !o->hurry && waited == 0)
        waited = pthread_cond_timedwait(&o->work, &o->lock, &until);
    if (o->hurry)
        o->pause_s = o->config.first_s;
    else
        o->pause_s *= 2;
    o->hurry = false;
    if (o->pause_s > o->config.max_s)
        o->pause_s = o->config.max_s;
}

/* Called with the lock. */
static void conclude(struct outbox *o, struct sent sent)
{
    o->retrying = sent.retried > 0;
    if (sent.ended > 0)
        o->pause_s = o->config.first_s;
    if (o->retrying)
        o->window = 1;
    else
        o->window = o->window > o->config.send_max / 2 ? o->config.send_max : 2 * o->window;
    if (sent.retried + sent.deferred == 0)
        return;
    o->stats.retries++;
    rest(o);
}

static void *deliver(void *argument)
{
    struct outbox *o = argument;
    pthread_mutex_lock(&o->lock);
    while (!o->stop) {
        if (!o->head) {
            pthread_cond_wait(&o->work, &o->lock);
            continue;
        }
        size_t n = gather(o);
        o->hurry = false;
        pthread_mutex_unlock(&o->lock);
        o->config.send(o->config.context, o->sending, n, o->verdicts);
        pthread_mutex_lock(&o->lock);
        conclude(o, settle(o, n));
    }
    pthread_mutex_unlock(&o->lock);
    return NULL;
}

/* The host's signals are for the host's threads. */
static bool thread_start(struct outbox *o)
{
    sigset_t all, old;
    sigfillset(&all);
    if (pthread_sigmask(SIG_SETMASK, &all, &old) != 0)
        return false;
    bool started = pthread_create(&o->thread, NULL, deliver, o) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return started;
}

static void box_free(struct outbox *o)
{
    free(o->sending);
    free(o->verdicts);
    free(o);
}

struct outbox *outbox_new(const struct outbox_config *config)
{
    struct outbox *o = calloc(1, sizeof *o);
    if (!o)
        return NULL;
    struct timespec now = time_after(0);
    o->config = *config;
    o->tail = &o->head;
    o->pause_s = config->first_s;
    o->window = config->send_max;
    o->sending = calloc(config->send_max, sizeof *o->sending);
    o->verdicts = calloc(config->send_max, sizeof *o->verdicts);
    if (!o->sending || !o->verdicts) {
        box_free(o);
        return NULL;
    }
    o->jitter = ((uint64_t)now.tv_nsec << 20) ^ (uint64_t)(uintptr_t)o ^ 0x9e3779b97f4a7c15;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&o->lock, NULL);
    pthread_cond_init(&o->work, &monotonic);
    pthread_cond_init(&o->room, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (thread_start(o))
        return o;
    pthread_cond_destroy(&o->work);
    pthread_cond_destroy(&o->room);
    pthread_mutex_destroy(&o->lock);
    box_free(o);
    return NULL;
}

void outbox_free(struct outbox *o)
{
    if (!o)
        return;
    pthread_mutex_lock(&o->lock);
    o->stop = true;
    pthread_cond_signal(&o->work);
    pthread_mutex_unlock(&o->lock);
    pthread_join(o->thread, NULL);
    while (o->head) {
        struct letter *letter = o->head;
        o->head = letter->next;
        letter_free(letter);
    }
    pthread_cond_destroy(&o->work);
    pthread_cond_destroy(&o->room);
    pthread_mutex_destroy(&o->lock);
    box_free(o);
}

static bool has_room(const struct outbox *o, size_t bytes)
{
    return o->stats.queued < o->config.outcomes_max && bytes <= o->config.bytes_max &&
           o->stats.queued_bytes <= o->config.bytes_max - bytes;
}

bool outbox_put_take(struct outbox *o, ProtobufCMessage *message, size_t bytes, double wait_s)
{
    struct letter *letter = malloc(sizeof *letter);
    struct timespec until = time_after(wait_s);
    int waited = wait_s > 0 && bytes <= o->config.bytes_max ? 0 : 1;
    pthread_mutex_lock(&o->lock);
    while (letter && !has_room(o, bytes) && waited == 0)
        waited = pthread_cond_timedwait(&o->room, &o->lock, &until);
    bool taken = letter && has_room(o, bytes);
    if (taken) {
        *letter = (struct letter){NULL, message, bytes};
        *o->tail = letter;
        o->tail = &letter->next;
        o->stats.queued++;
        o->stats.queued_bytes += bytes;
        pthread_cond_signal(&o->work);
    } else {
        o->stats.dropped++;
    }
    pthread_mutex_unlock(&o->lock);
    if (!taken) {
        protobuf_c_message_free_unpacked(message, NULL);
        free(letter);
    }
    return taken;
}

bool outbox_retrying(struct outbox *o)
{
    pthread_mutex_lock(&o->lock);
    bool retrying = o->retrying;
    pthread_mutex_unlock(&o->lock);
    return retrying;
}

void outbox_nudge(struct outbox *o)
{
    pthread_mutex_lock(&o->lock);
    if (o->head) { /* Also one that is being sent: if it fails, it is tried again at once. */
        o->hurry = true;
        pthread_cond_signal(&o->work);
    }
    pthread_mutex_unlock(&o->lock);
}

bool outbox_flush(struct outbox *o, double timeout_s)
{
    struct timespec until = time_after(timeout_s);
    int waited = 0;
    pthread_mutex_lock(&o->lock);
    o->hurry = true;
    pthread_cond_signal(&o->work);
    while (o->head && waited == 0)
        waited = pthread_cond_timedwait(&o->room, &o->lock, &until);
    bool empty = !o->head;
    o->hurry = false;
    pthread_mutex_unlock(&o->lock);
    return empty;
}

void outbox_read_stats(struct outbox *o, struct outbox_stats *ret)
{
    pthread_mutex_lock(&o->lock);
    *ret = o->stats;
    pthread_mutex_unlock(&o->lock);
}
