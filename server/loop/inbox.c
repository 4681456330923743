#include "server/loop/inbox.h"

#include "state/base/mem.h"

#include <pthread.h>
#include <time.h>

struct inbox {
    pthread_mutex_t lock;
    pthread_cond_t filled; /* Only the writer waits. */
    struct inbox_item *first, **last;
    uint32_t n, capacity;
    uint32_t wanted; /* As many wake the writer. */
    bool closed;
};

enum err inbox_new(uint32_t capacity, struct inbox **ret_inbox)
{
    if (capacity == 0)
        return ERR_INVALID;
    struct inbox *b = mem_calloc(1, sizeof *b);
    if (!b)
        return ERR_NOMEM;
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr,
                              CLOCK_MONOTONIC); /* A clock set back must not hang the writer. */
    pthread_cond_init(&b->filled, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&b->lock, NULL);
    b->last = &b->first;
    b->capacity = capacity;
    b->wanted = 1;
    *ret_inbox = b;
    return OK;
}

void inbox_free(struct inbox *b)
{
    if (!b)
        return;
    pthread_cond_destroy(&b->filled);
    pthread_mutex_destroy(&b->lock);
    mem_free(b);
}

enum err inbox_put_all(struct inbox *b, struct inbox_item *const *items, uint32_t n)
{
    enum err e = OK;
    pthread_mutex_lock(&b->lock);
    if (b->closed)
        e = ERR_SHUTTING_DOWN;
    else if (n > b->capacity - b->n || n > INBOX_GROUP_MAX)
        e = ERR_QUEUE_FULL;
    uint32_t before = b->n;
    for (uint32_t i = 0; e == OK && i < n; i++) {
        items[i]->next = NULL;
        items[i]->together = n - i;
        *b->last = items[i];
        b->last = &items[i]->next;
        b->n++;
    }
    if (before < b->wanted && b->n >= b->wanted)
        pthread_cond_signal(&b->filled);
    pthread_mutex_unlock(&b->lock);
    return e;
}

enum err inbox_put(struct inbox *b, struct inbox_item *item)
{
    return inbox_put_all(b, &item, 1);
}

static struct timespec deadline_after(int64_t wait_us)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += wait_us / 1000000;
    t.tv_nsec += wait_us % 1000000 * 1000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000;
    }
    return t;
}

/* With the lock: waits for so many items, the deadline or the end. */
static void wait_filled(struct inbox *b, uint32_t wanted, int64_t wait_us)
{
    if (wanted > b->capacity)
        wanted = b->capacity;
    if (b->n >= wanted || b->closed || wait_us == 0)
        return;
    struct timespec until = deadline_after(wait_us < 0 ? 0 : wait_us);
    int rc = 0;
    b->wanted = wanted;
    while (b->n < wanted && !b->closed && rc == 0)
        rc = wait_us < 0 ? pthread_cond_wait(&b->filled, &b->lock)
                         : pthread_cond_timedwait(&b->filled, &b->lock, &until);
    b->wanted = 1;
}

uint32_t inbox_gather(struct inbox *b, uint32_t wanted, int64_t wait_us)
{
    pthread_mutex_lock(&b->lock);
    wait_filled(b, wanted, wait_us);
    uint32_t n = b->n;
    pthread_mutex_unlock(&b->lock);
    return n;
}

void inbox_take(struct inbox *b, uint32_t max, int64_t wait_us, struct inbox_item **ret_list,
                uint32_t *ret_n, bool *ret_closed)
{
    pthread_mutex_lock(&b->lock);
    wait_filled(b, 1, wait_us);
    struct inbox_item *list = b->first, **end = &b->first;
    uint32_t n = 0;
    while (*end && n < max) {
        if (n > 0 && (*end)->together > max - n) /* The same throughout a group. */
            break;
        end = &(*end)->next;
        n++;
    }
    if (n) {
        b->first = *end;
        *end = NULL;
        if (!b->first)
            b->last = &b->first;
        b->n -= n;
    }
    *ret_list = n ? list : NULL;
    *ret_n = n;
    *ret_closed = b->closed && b->n == 0 && n == 0;
    pthread_mutex_unlock(&b->lock);
}

void inbox_close(struct inbox *b)
{
    pthread_mutex_lock(&b->lock);
    b->closed = true;
    pthread_cond_broadcast(&b->filled);
    pthread_mutex_unlock(&b->lock);
}

uint32_t inbox_depth(struct inbox *b)
{
    pthread_mutex_lock(&b->lock);
    uint32_t n = b->n;
    pthread_mutex_unlock(&b->lock);
    return n;
}
