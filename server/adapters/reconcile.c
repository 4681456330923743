#include "server/adapters/reconcile.h"

#include <stdio.h>
#include <string.h>

int64_t reconcile_backoff_us(uint32_t failures, int64_t min_us, int64_t max_us, double jitter)
{
    int64_t pause = min_us;
    for (uint32_t i = 1; i < failures && pause < max_us; i++)
        pause *= 2;
    if (pause > max_us)
        pause = max_us;
    return pause - (int64_t)((double)pause / 2 * jitter);
}

int64_t reconcile_look_us(const struct reconcile_patience *p)
{
    const int64_t most_us = 1000000;
    return p->tick_us < most_us ? p->tick_us : most_us;
}

int64_t reconcile_pause_us(const struct reconcile_patience *p, uint32_t failures, int64_t spent_us,
                           double jitter)
{
    int64_t max_us = reconcile_look_us(p);
    int64_t pause_us = reconcile_backoff_us(
        failures, p->backoff_min_us < max_us ? p->backoff_min_us : max_us, max_us, jitter);
    return pause_us > 4 * spent_us ? pause_us : 4 * spent_us;
}

bool reconcile_sits_out(const struct engine_item *items, size_t n,
                        const struct reconcile_rules *rules, int64_t now_us)
{
    for (size_t i = 0; i < n; i++) {
        const struct engine_item *it = &items[i];
        if (it->hung && it->retry_us > now_us && (it->wanted || it->gone || rules->offers))
            return true;
    }
    return false;
}

static void fail(struct engine_item *item, const struct reconcile_rules *rules, const char *error,
                 int64_t now_us, double jitter)
{
    item->failures++;
    item->claimed = false;
    item->retry_us = now_us + reconcile_backoff_us(item->failures, rules->backoff_min_us,
                                                   rules->backoff_max_us, jitter);
    (void)snprintf(item->error, sizeof item->error, "%s", error);
}

void reconcile_confirm(struct engine_item *items, size_t n, const struct reconcile_rules *rules,
                       int64_t now_us, double jitter)
{
    for (size_t i = 0; i < n; i++) {
        struct engine_item *it = &items[i];
        if (it->claimed && it->denied) {
            fail(it, rules, "the engine said that it loaded it, and does not list it", now_us,
                 jitter);
        } else if (it->claimed || it->failures == 0 || (it->resident && !it->gone)) {
            it->claimed = false;
            it->failures = 0;
            it->error[0] = 0;
        }
    }
}

/* Its requests have ended, or were waited for as long as they may be. */
static bool drained(struct engine_item *it, int64_t patience_us, int64_t now_us)
{
    if (it->traffic.in_flight == 0) {
        it->draining_us = 0;
        return true;
    }
    if (it->draining_us == 0)
        it->draining_us = now_us;
    it->undrained = now_us - it->draining_us >= patience_us;
    return it->undrained;
}

static bool ready(const struct engine_item *it, const struct reconcile_pass *pass, int64_t now_us)
{
    return now_us >= it->retry_us && (it->pass != pass->number || it->acts < RECONCILE_ACTS);
}

/* What takes a slot that no load may have. Where an LRU makes room, an idle adapter takes none. */
static bool occupies(struct engine_item *it, const struct reconcile_rules *rules, int64_t now_us)
{
    if (!it->resident)
        return false;
    if (it->wanted && !it->gone)
        return true;
    return !drained(it, rules->drain_us, now_us) || rules->releases;
}

/* A predecessor of the same name must be retired first. */
static bool succeeded(const struct engine_item *items, size_t n, size_t i)
{
    for (size_t k = 0; k < n; k++)
        if (items[k].gone && items[k].offered && strcmp(items[k].name, items[i].name) == 0)
            return false;
    return true;
}

struct candidates {
    size_t leave, load, touch, offer; /* Index; SIZE_MAX: none. */
    enum reconcile_act leave_act;
    uint32_t occupied;
    bool gone;
};

static bool busier(const struct engine_item *items, size_t i, size_t best)
{
    return best == SIZE_MAX || items[i].rate > items[best].rate;
}

/* What may be made known to the engine under its name. */
static bool nameable(const struct engine_item *items, size_t n, size_t i,
                     const struct candidates *c)
{
    return !c->gone || succeeded(items, n, i);
}

/* A load that takes the adapter away for a moment waits for its requests, but not for long: a busy
 * adapter always has some, and it is the one that is worth loading. */
static bool loadable(struct engine_item *it, const struct reconcile_rules *rules, int64_t now_us)
{
    return !rules->reloads || !it->offered || drained(it, rules->drain_us / 10, now_us);
}

static void consider(struct engine_item *items, size_t n, size_t i,
                     const struct reconcile_rules *rules, const struct reconcile_pass *pass,
                     int64_t now_us, struct candidates *c)
{
    struct engine_item *it = &items[i];
    bool leaves =
        it->gone ? it->offered || it->resident : rules->releases && it->resident && !it->wanted;
    c->occupied += occupies(it, rules, now_us);
    if (!ready(it, pass, now_us))
        return;
    if (leaves) {
        if (drained(it, rules->drain_us, now_us) && (c->leave == SIZE_MAX || it->gone)) {
            c->leave = i;
            c->leave_act = it->gone ? RECONCILE_RETIRE : RECONCILE_RELEASE;
        }
    } else if (it->gone) {
        return;
    } else if (it->wanted && !it->resident) {
        if (loadable(it, rules, now_us) && busier(items, i, c->load) && nameable(items, n, i, c))
            c->load = i;
    } else if (it->wanted) {
        it->draining_us = 0;
        if (it->endangered && it->pass != pass->number && busier(items, i, c->touch))
            c->touch = i;
    } else if (rules->offers && !it->offered && busier(items, i, c->offer) &&
               nameable(items, n, i, c)) {
        c->offer = i;
    }
}

static struct reconcile_step step(enum reconcile_act act, size_t item)
{
    return (struct reconcile_step){act, item};
}

struct reconcile_step reconcile_next(struct engine_item *items, size_t n,
                                     const struct reconcile_rules *rules,
                                     struct reconcile_pass *pass, int64_t now_us)
{
    struct candidates c = {SIZE_MAX, SIZE_MAX, SIZE_MAX, SIZE_MAX, RECONCILE_REST, 0, false};
    for (size_t i = 0; i < n; i++)
        c.gone = c.gone || items[i].gone;
    for (size_t i = 0; i < n; i++)
        consider(items, n, i, rules, pass, now_us, &c);
    if (c.leave != SIZE_MAX)
        return step(c.leave_act, c.leave);
    bool offer = c.offer != SIZE_MAX && pass->offers > 0;
    pass->offering = pass->offering && offer;
    if (!pass->offering) {
        if (c.touch != SIZE_MAX) /* Before a load, or the load would evict it. */
            return step(RECONCILE_TOUCH, c.touch);
        if (c.load != SIZE_MAX && c.occupied < rules->slots)
            return step(RECONCILE_LOAD, c.load);
    }
    if (!offer)
        return step(RECONCILE_REST, 0);
    pass->offering = true;
    pass->offers--;
    return step(RECONCILE_OFFER, c.offer);
}

void reconcile_begin(struct engine_item *item, enum reconcile_act act,
                     const struct reconcile_pass *pass)
{
    if (item->pass != pass->number)
        item->acts = 0;
    item->pass = pass->number;
    item->acts++;
    item->loading = act == RECONCILE_LOAD;
}

void reconcile_forgive(struct engine_item *items, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (items[i].failures < RECONCILE_STUBBORN)
            items[i].retry_us = 0;
}

bool reconcile_hopeless(const struct engine_item *items, size_t n, const struct engine_item *gone)
{
    if (gone->failures < RECONCILE_HOPELESS)
        return false;
    for (size_t i = 0; i < n; i++)
        if (strcmp(items[i].name, gone->name) == 0)
            return false;
    return true;
}

void reconcile_done(struct engine_item *item, enum reconcile_act act,
                    const struct reconcile_rules *rules, const char *error, int64_t now_us,
                    double jitter)
{
    item->draining_us = 0;
    item->loading = false;
    if (error) {
        fail(item, rules, error, now_us, jitter);
        return;
    }
    item->error[0] = 0;
    item->retry_us = 0;
    if (act == RECONCILE_LOAD || act == RECONCILE_OFFER)
        item->claimed = true; /* Its failures count on until the list confirms it. */
}

void reconcile_crowd(struct engine_item *items, size_t n, const struct reconcile_rules *rules,
                     const char *advice)
{
    size_t wanted = 0;
    for (size_t i = 0; i < n; i++)
        wanted += items[i].wanted && !items[i].gone;
    if (wanted <= rules->slots)
        return;
    for (size_t i = 0; i < n; i++) {
        struct engine_item *it = &items[i];
        if (it->wanted && !it->gone && !it->resident && it->failures == 0)
            (void)snprintf(it->error, sizeof it->error,
                           "the engine has room for %u of %zu adapters: %s", rules->slots, wanted,
                           advice);
    }
}

enum engine_phase reconcile_phase(const struct engine_item *item)
{
    if (item->loading)
        return ENGINE_LOADING;
    bool wanted = item->wanted && !item->gone;
    if (item->resident)
        return !wanted && item->traffic.in_flight ? ENGINE_DRAINING : ENGINE_RESIDENT;
    return wanted && item->error[0] ? ENGINE_FAILED : ENGINE_COLD;
}
