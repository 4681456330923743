#include "state/published.h"

#include "state/base/mem.h"

#include <stdatomic.h>
#include <urcu/urcu-memb.h>

/* What liburcu orders with membarrier the thread sanitizer cannot see: a reader's release before
 * the reclaim, call_rcu before its callback, the callback before the barrier. It is told here. */
#ifdef __has_feature
#if __has_feature(thread_sanitizer)
#define TELL_SANITIZER 1
#endif
#elif defined(__SANITIZE_THREAD__)
#define TELL_SANITIZER 1
#endif
#ifdef TELL_SANITIZER
#include <sanitizer/tsan_interface.h>
#define ORDERED_BEFORE(p) __tsan_release(p)
#define ORDERED_AFTER(p) __tsan_acquire(p)
/* Only what liburcu allocates and frees for itself; everything of ours is told as above. */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "called_from_lib:liburcu-memb.so\n";
}
#else
#define ORDERED_BEFORE(p) ((void)(p))
#define ORDERED_AFTER(p) ((void)(p))
#endif

/* The pointer is a C11 atomic rather than rcu_assign_pointer's volatile: the same instructions on
 * x86-64, and every tool knows what they mean. */
struct published {
    _Atomic(struct snapshot *) current;
    _Atomic uint32_t retired; /* Not freed yet. */
};

struct retired {
    struct rcu_head head;
    struct published *from;
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
    ORDERED_AFTER(p);
    snapshot_free(atomic_load_explicit(&p->current, memory_order_acquire));
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
    return atomic_load_explicit(&p->current, memory_order_acquire);
}

void published_release(struct published *p)
{
    ORDERED_BEFORE(p);
    urcu_memb_read_unlock();
}

void published_wait_for_readers(struct published *p)
{
    urcu_memb_synchronize_rcu();
    ORDERED_AFTER(p);
}

const struct snapshot *published_current(const struct published *p)
{
    return atomic_load_explicit(&p->current, memory_order_acquire);
}

/* head is the first member, so its address is the struct's. */
static void reclaim(struct rcu_head *head)
{
    void *at = head;
    struct retired *r = at;
    ORDERED_AFTER(at);
    struct published *from = r->from;
    ORDERED_AFTER(from);
    snapshot_free(r->snapshot);
    mem_free(r);
    atomic_fetch_sub_explicit(&from->retired, 1, memory_order_relaxed);
    ORDERED_BEFORE(from);
}

void published_set(struct published *p, struct snapshot *snapshot)
{
    struct snapshot *old = atomic_exchange_explicit(&p->current, snapshot, memory_order_acq_rel);
    if (!old)
        return;
    bool room = atomic_load_explicit(&p->retired, memory_order_relaxed) < PUBLISHED_RETIRED_MAX;
    struct retired *r = room ? mem_alloc(sizeof *r) : NULL;
    if (!r) {
        urcu_memb_synchronize_rcu();
        ORDERED_AFTER(p);
        snapshot_free(old);
        return;
    }
    atomic_fetch_add_explicit(&p->retired, 1, memory_order_relaxed);
    r->snapshot = old;
    r->from = p;
    ORDERED_BEFORE(r);
    urcu_memb_call_rcu(&r->head, reclaim);
}
