#include "state/published.h"

#include "state/base/mem.h"

#include <urcu/urcu-memb.h>

struct published {
    struct snapshot *current;
};

struct retired {
    struct rcu_head head;
    struct snapshot *snapshot;
};

enum err published_new(struct published **ret_published)
{
    struct published *p = mem_calloc(1, sizeof *p);
    if (!p)
        return ERR_NOMEM;
    *ret_published = p;
    return OK;
}

void published_free(struct published *p)
{
    if (!p)
        return;
    urcu_memb_barrier(); /* What call_rcu still holds. */
    snapshot_free(p->current);
    mem_free(p);
}

void published_register_thread(void)
{
    urcu_memb_register_thread();
}

void published_unregister_thread(void)
{
    urcu_memb_unregister_thread();
}

const struct snapshot *published_acquire(struct published *p)
{
    urcu_memb_read_lock();
    return rcu_dereference(p->current);
}

void published_release(struct published *p)
{
    (void)p;
    urcu_memb_read_unlock();
}

const struct snapshot *published_current(const struct published *p)
{
    return p->current;
}

/* head is the first member, so its address is the struct's. */
static void reclaim(struct rcu_head *head)
{
    void *at = head;
    struct retired *r = at;
    snapshot_free(r->snapshot);
    mem_free(r);
}

void published_set(struct published *p, struct snapshot *snapshot)
{
    struct snapshot *old = p->current;
    rcu_assign_pointer(p->current, snapshot);
    if (!old)
        return;
    struct retired *r = mem_alloc(sizeof *r);
    if (!r) {
        urcu_memb_synchronize_rcu();
        snapshot_free(old);
        return;
    }
    r->snapshot = old;
    urcu_memb_call_rcu(&r->head, reclaim);
}
