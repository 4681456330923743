#include "server/loop/herald.h"

#include "state/base/mem.h"

#include <pthread.h>
#include <stdatomic.h>

enum herald_stage { IDLE, PUBLISHING, ANSWERING };

struct herald {
    struct herald_options o;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t given;   /* Only the thread waits. */
    pthread_cond_t changed; /* Only the writer waits. */
    enum herald_stage stage;
    const struct herald_batch *batch;
    bool closed;
    bool stale; /* Of whoever tells. */
    _Atomic uint64_t position;
};

uint64_t herald_lag(struct herald *h)
{
    uint64_t durable = ledger_durable(h->o.ledger), seen = atomic_load(&h->position);
    return durable > seen ? durable - seen : 0;
}

bool herald_stale(const struct herald *h)
{
    return h->stale;
}

enum err herald_publish(struct herald *h)
{
    struct snapshot *s = NULL;
    const struct snapshot *last = published_current(h->o.published);
    enum err e = snapshot_build(ledger_model(h->o.ledger), last, &s);
    if (e != OK) /* Short of memory for an instant, as a rule. */
        e = snapshot_build(ledger_model(h->o.ledger), last, &s);
    h->stale = e != OK;
    if (e != OK) {
        log_event(h->o.log, LOG_ERROR, "publish_failed", LOG_STR("code", err_code(e)), LOG_END);
        return e;
    }
    uint64_t position = s->position;
    published_set(h->o.published, s);
    atomic_store(&h->position, position);
    return OK;
}

/* What is durable but cannot be seen yet is not answered OK; sent again, it is a duplicate. */
static enum err show(struct herald *h, const struct herald_batch *b)
{
    if (b->err != OK || (!b->moved && !h->stale))
        return b->err;
    return herald_publish(h);
}

/* Sessions in the order of folding, so that the last word is the latest; and though nobody can see
 * the batch yet: it is durable, and an account that never heard of a settlement would refuse what
 * the session can pay until it expires. */
static void answer(struct herald *h, const struct herald_batch *b, enum err e)
{
    for (uint32_t i = 0; b->err == OK && h->o.on_session && i < b->n; i++)
        if (b->entries[i].result.has_session)
            h->o.on_session(h->o.on_session_ctx, &b->entries[i].result.session);
    for (uint32_t i = 0; i < b->items_n; i++) {
        struct ledger_entry *entry = &b->entries[i];
        b->items[i]->done(b->items[i], e != OK ? e : entry->err, &entry->result,
                          entry->position ? entry->position : b->durable);
    }
}

void herald_tell(struct herald *h, const struct herald_batch *b)
{
    answer(h, b, show(h, b));
}

/* ---- its own thread ---- */

static void set_stage(struct herald *h, enum herald_stage stage)
{
    pthread_mutex_lock(&h->lock);
    h->stage = stage;
    pthread_cond_signal(&h->changed);
    pthread_mutex_unlock(&h->lock);
}

/* The next batch; NULL when there will be none. */
static const struct herald_batch *take(struct herald *h)
{
    pthread_mutex_lock(&h->lock);
    while (h->stage == IDLE && !h->closed)
        pthread_cond_wait(&h->given, &h->lock);
    const struct herald_batch *b = h->stage == IDLE ? NULL : h->batch;
    pthread_mutex_unlock(&h->lock);
    return b;
}

static void *run(void *arg)
{
    struct herald *h = arg;
    published_register_thread(); /* call_rcu wants a registered thread. */
    for (const struct herald_batch *b; (b = take(h)) != NULL;) {
        enum err e = show(h, b);
        set_stage(h, ANSWERING);
        answer(h, b, e);
        set_stage(h, IDLE);
    }
    published_unregister_thread();
    return NULL;
}

void herald_begin(struct herald *h, const struct herald_batch *b)
{
    pthread_mutex_lock(&h->lock);
    h->batch = b;
    h->stage = PUBLISHING;
    pthread_cond_signal(&h->given);
    pthread_mutex_unlock(&h->lock);
}

static void wait_past(struct herald *h, enum herald_stage stage)
{
    pthread_mutex_lock(&h->lock);
    while (h->stage != IDLE && h->stage <= stage)
        pthread_cond_wait(&h->changed, &h->lock);
    pthread_mutex_unlock(&h->lock);
}

void herald_wait_published(struct herald *h)
{
    wait_past(h, PUBLISHING);
}

void herald_wait(struct herald *h)
{
    wait_past(h, ANSWERING);
}

enum err herald_new(const struct herald_options *o, struct herald **ret_herald)
{
    struct herald *h = mem_calloc(1, sizeof *h);
    if (!h)
        return ERR_NOMEM;
    h->o = *o;
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->given, NULL);
    pthread_cond_init(&h->changed, NULL);
    if (pthread_create(&h->thread, NULL, run, h) != 0) {
        pthread_cond_destroy(&h->changed);
        pthread_cond_destroy(&h->given);
        pthread_mutex_destroy(&h->lock);
        mem_free(h);
        return ERR_NOMEM;
    }
    *ret_herald = h;
    return OK;
}

void herald_free(struct herald *h)
{
    if (!h)
        return;
    pthread_mutex_lock(&h->lock);
    h->closed = true;
    pthread_cond_signal(&h->given);
    pthread_mutex_unlock(&h->lock);
    (void)pthread_join(h->thread, NULL);
    pthread_cond_destroy(&h->changed);
    pthread_cond_destroy(&h->given);
    pthread_mutex_destroy(&h->lock);
    mem_free(h);
}
