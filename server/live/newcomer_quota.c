#include "server/live/newcomer_quota.h"

#include "state/base/mem.h"
#include "state/model/limits.h"

#include <pthread.h>

enum { PLACES = 4096 }; /* Routers whose quota was used in this hour: a free place is near. */
_Static_assert(PLACES >= 2 * MAX_ROUTERS, "every router has a place");
static const int64_t hour_us = INT64_C(3600) * 1000000;

struct place {
    uint64_t key; /* Router and metric, never 0; 0: empty. */
    int64_t hour;
    double spent;
};

struct newcomer_quota {
    pthread_mutex_t lock;
    struct place *places; /* NULL until a router has a quota. */
};

enum err newcomer_quota_new(struct newcomer_quota **ret_quota)
{
    struct newcomer_quota *q = mem_calloc(1, sizeof *q);
    if (!q)
        return ERR_NOMEM;
    pthread_mutex_init(&q->lock, NULL);
    *ret_quota = q;
    return OK;
}

void newcomer_quota_free(struct newcomer_quota *q)
{
    if (!q)
        return;
    pthread_mutex_destroy(&q->lock);
    mem_free(q->places);
    mem_free(q);
}

/* An hour that is over is as good as empty. NULL: no memory, or metrics of all routers at once. */
static struct place *find(struct newcomer_quota *q, const struct quota_id *id, int64_t now_us)
{
    uint64_t key = ((uint64_t)id->router_uid << 8 | id->metric) + 1;
    uint64_t at = key * 0x9e3779b97f4a7c15ULL >> 52;
    int64_t hour = now_us / hour_us;
    struct place *stale = NULL;
    if (!q->places)
        q->places = mem_calloc(PLACES, sizeof *q->places);
    for (uint32_t n = 0; q->places && n < PLACES; n++, at = (at + 1) % PLACES) {
        struct place *p = &q->places[at];
        if (p->key == key) {
            if (p->hour != hour)
                *p = (struct place){.key = key, .hour = hour};
            return p;
        }
        if (!stale && (p->key == 0 || p->hour != hour))
            stale = p;
        if (p->key == 0)
            break;
    }
    if (stale)
        *stale = (struct place){.key = key, .hour = hour};
    return stale;
}

double newcomer_quota_left(struct newcomer_quota *q, const struct quota_id *id, double per_hour,
                           int64_t now_us)
{
    pthread_mutex_lock(&q->lock);
    const struct place *p = find(q, id, now_us);
    double left = p && p->spent < per_hour ? per_hour - p->spent : 0;
    pthread_mutex_unlock(&q->lock);
    return left;
}

bool newcomer_quota_take(struct newcomer_quota *q, const struct quota_id *id, double per_hour,
                         double cost, int64_t now_us)
{
    pthread_mutex_lock(&q->lock);
    struct place *p = find(q, id, now_us);
    bool fits = p && cost <= per_hour - p->spent;
    if (fits)
        p->spent += cost;
    pthread_mutex_unlock(&q->lock);
    return fits;
}

void newcomer_quota_give(struct newcomer_quota *q, const struct quota_id *id, double cost,
                         int64_t now_us)
{
    pthread_mutex_lock(&q->lock);
    struct place *p = find(q, id, now_us);
    if (p)
        p->spent = p->spent > cost ? p->spent - cost : 0;
    pthread_mutex_unlock(&q->lock);
}
