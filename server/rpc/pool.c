/* pool.c - a few threads for admin calls that wait: commits, copies, second folds. Each has its own
 * worker of the engine. The queue is bounded by the server's max_in_flight. */
#include "server/rpc/core.h"
#include "state/base/mem.h"

enum { POOL_THREADS_MAX = 4 };

struct pool {
    const struct rpc_loop_options *options;
    size_t arena_bytes;
    pthread_mutex_t mutex; /* Guards all below. */
    pthread_cond_t changed;
    struct call *first, *last;
    uint32_t begun;
    enum err error;
    bool stop;
    uint32_t threads_n;
    pthread_t threads[POOL_THREADS_MAX];
};

static struct call *take(struct pool *p)
{
    (void)pthread_mutex_lock(&p->mutex);
    while (!p->first && !p->stop)
        (void)pthread_cond_wait(&p->changed, &p->mutex);
    struct call *c = p->first;
    if (c) {
        p->first = *unary_next(c);
        if (!p->first)
            p->last = NULL;
    }
    (void)pthread_mutex_unlock(&p->mutex);
    return c;
}

static void *run(void *arg)
{
    struct pool *p = arg;
    struct handler *h = NULL;
    enum err e = handler_open(p->options, p->arena_bytes, &h);
    (void)pthread_mutex_lock(&p->mutex);
    p->begun++;
    if (e != OK)
        p->error = e;
    (void)pthread_cond_broadcast(&p->changed);
    (void)pthread_mutex_unlock(&p->mutex);
    for (struct call *c; e == OK && (c = take(p));)
        unary_run(c, h);
    handler_close(h);
    return NULL;
}

void pool_put(struct pool *p, struct call *call)
{
    *unary_next(call) = NULL;
    (void)pthread_mutex_lock(&p->mutex);
    if (p->last)
        *unary_next(p->last) = call;
    else
        p->first = call;
    p->last = call;
    (void)pthread_cond_signal(&p->changed);
    (void)pthread_mutex_unlock(&p->mutex);
}

enum err pool_open(const struct rpc_loop_options *o, size_t arena_bytes, uint32_t threads_n,
                   struct pool **ret_pool)
{
    struct pool *p = mem_calloc(1, sizeof *p);
    if (!p)
        return ERR_NOMEM;
    p->options = o;
    p->arena_bytes = arena_bytes;
    (void)pthread_mutex_init(&p->mutex, NULL);
    (void)pthread_cond_init(&p->changed, NULL);
    enum err e = OK;
    for (uint32_t i = 0; e == OK && i < threads_n && i < POOL_THREADS_MAX; i++) {
        if (pthread_create(&p->threads[i], NULL, run, p) != 0)
            e = ERR_NOMEM;
        else
            p->threads_n++;
    }
    (void)pthread_mutex_lock(&p->mutex);
    while (p->begun < p->threads_n)
        (void)pthread_cond_wait(&p->changed, &p->mutex);
    if (e == OK)
        e = p->error;
    (void)pthread_mutex_unlock(&p->mutex);
    if (e == OK)
        *ret_pool = p;
    else
        pool_close(p);
    return e;
}

void pool_close(struct pool *p)
{
    if (!p)
        return;
    (void)pthread_mutex_lock(&p->mutex);
    p->stop = true;
    (void)pthread_cond_broadcast(&p->changed);
    (void)pthread_mutex_unlock(&p->mutex);
    for (uint32_t i = 0; i < p->threads_n; i++)
        (void)pthread_join(p->threads[i], NULL);
    (void)pthread_cond_destroy(&p->changed);
    (void)pthread_mutex_destroy(&p->mutex);
    mem_free(p);
}
