#include "state/model/forget.h"

#include "state/base/mem.h"
#include "state/model/fold_parts.h"

#include <string.h>

void forgets_init(struct forgets *f)
{
    memset(f, 0, sizeof *f);
}

void forgets_done(struct forgets *f)
{
    mem_free(f->all);
    mem_free(f->refunds);
    forgets_init(f);
}

enum err forgets_note(struct forgets *f, const struct event_forget *what, uint64_t position)
{
    if (f->n == MAX_FORGETS)
        return ERR_LIMIT;
    if (f->n == f->cap) {
        uint32_t cap = f->cap ? 2 * f->cap : 8;
        struct forgotten *all = mem_realloc(f->all, cap * sizeof *all);
        if (!all)
            return ERR_NOMEM;
        f->all = all;
        f->cap = cap;
    }
    f->all[f->n++] = (struct forgotten){position, *what, 0};
    return OK;
}

static bool covers(const struct forgotten *f, uint32_t router_uid, const char *source)
{
    return (f->what.router_uid == 0 || f->what.router_uid == router_uid) &&
           strcmp(f->what.source, source) == 0;
}

struct forgotten *forgets_find(const struct forgets *f, const struct event *ev, uint64_t position)
{
    if (ev->kind != EVENT_OUTCOME || !ev->u.outcome.source[0])
        return NULL;
    for (uint32_t i = 0; i < f->n; i++)
        if (f->all[i].position > position &&
            covers(&f->all[i], ev->u.outcome.decision.router_uid, ev->u.outcome.source))
            return &f->all[i];
    return NULL;
}

/* ---- accounts ---- */

static int compare_refunds(const struct account_refund *a, const struct account_refund *b)
{
    if (a->forget != b->forget)
        return a->forget < b->forget ? -1 : 1;
    if (a->router_uid != b->router_uid)
        return a->router_uid < b->router_uid ? -1 : 1;
    if (a->metric != b->metric)
        return a->metric < b->metric ? -1 : 1;
    return strcmp(a->tenant, b->tenant);
}

static enum err grow_refunds(struct forgets *f)
{
    if (f->refunds_n < f->refunds_cap)
        return OK;
    uint32_t cap = f->refunds_cap ? 2 * f->refunds_cap : 16;
    struct account_refund *refunds = mem_realloc(f->refunds, cap * sizeof *refunds);
    if (!refunds)
        return ERR_NOMEM;
    f->refunds = refunds;
    f->refunds_cap = cap;
    return OK;
}

/* The row of this key, made when there is none. ERR_NOMEM. */
static enum err find_refund(struct forgets *f, const struct account_refund *key,
                            struct account_refund **ret)
{
    uint32_t low = 0, high = f->refunds_n;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (compare_refunds(&f->refunds[middle], key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == f->refunds_n || compare_refunds(&f->refunds[low], key) != 0) {
        TRY(grow_refunds(f));
        memmove(&f->refunds[low + 1], &f->refunds[low], (f->refunds_n - low) * sizeof *f->refunds);
        f->refunds[low] = *key;
        f->refunds_n++;
    }
    *ret = &f->refunds[low];
    return OK;
}

/* A true cost that was known by a report is no longer (sign 1), or is now (sign -1). */
static enum err add_refund(struct forgets *f, const struct forgotten *by,
                           const struct event_outcome *o, int sign)
{
    const struct decision *d = &o->decision;
    struct account_refund key, *row;
    double cost = 0;
    for (uint8_t i = 0; i < o->metrics_n; i++)
        if (o->metrics[i].index == d->budget_metric)
            cost = o->metrics[i].raw;
    memset(&key, 0, sizeof key);
    key.forget = (uint32_t)(by - f->all);
    key.router_uid = d->router_uid;
    key.metric = d->budget_metric;
    memcpy(key.tenant, d->tenant, sizeof key.tenant);
    TRY(find_refund(f, &key, &row));
    row->corrected += sign;
    row->charged += sign * (double)d->charge;
    row->cost += sign * cost;
    return OK;
}

/* ---- fold ---- */

static uint32_t metrics_of(const struct event_outcome *o)
{
    uint32_t mask = 0;
    for (uint8_t i = 0; i < o->metrics_n; i++)
        mask |= 1u << o->metrics[i].index;
    return mask;
}

static bool brought_cost(const struct event_outcome *o, uint32_t counted)
{
    return o->decision.paced && counted >> o->decision.budget_metric & 1;
}

/* The first FORGET after `position` of a source whose cost of this decision was passed over: when
 * it was made, the cost of this report became the one that is known. NULL: there is none. */
static const struct forgotten *who_stood_before(const struct forgets *f, const struct router *r,
                                                const struct event_outcome *o, uint64_t position)
{
    for (uint32_t i = 0; i < f->n; i++) {
        if (f->all[i].position <= position)
            continue;
        const struct dedup_reporter *said =
            fold_forgotten_of(r, o->decision.id, source_tag(f->all[i].what.source));
        if (said && said->counted >> o->decision.budget_metric & 1)
            return &f->all[i];
    }
    return NULL;
}

/* Of a report that is passed over: what it had put right, from when on. */
static enum err refund(struct forgets *f, const struct forgotten *by, const struct router *r,
                       const struct event_outcome *o, uint64_t position)
{
    const struct dedup_entry *entry = dedup_find(&r->dedup, o->decision.id);
    if (!brought_cost(o, metrics_of(o) & ~(entry ? entry->reported : 0u)))
        return OK;
    const struct forgotten *before = who_stood_before(f, r, o, position);
    if (before && before >= by)
        return OK; /* Its time never came. */
    if (before)
        TRY(add_refund(f, before, o, -1));
    return add_refund(f, by, o, 1);
}

/* Leaves out a report, but remembers that it was made. */
static enum err pass_over(struct forgets *f, struct forgotten *by, struct model *m,
                          const struct event *ev, uint64_t position)
{
    const struct event_outcome *o = &ev->u.outcome;
    struct fold_result would;
    struct router *r = model_router(m, o->decision.router_uid);
    if (!r) { /* Removed: it was then, too. */
        m->position = position;
        m->clock_us = ev->at_us;
        return OK;
    }
    enum err e = fold_check(m, ev, &would);
    TRY(dedup_reserve(&r->marks, 1, r->config.settings.dedup_max));
    bool teaches = e == OK && !would.gated;
    if (teaches)
        TRY(refund(f, by, r, o, position));
    m->position = position;
    m->clock_us = ev->at_us;
    by->taken++;
    source_counts_of(&r->sources, o->source)->forgotten++;
    r->touched = true;
    if (!teaches)
        return OK;
    fold_settle_session(m, o, (uint16_t)metrics_of(o), &would);
    struct dedup_reporter *said =
        dedup_reporter(fold_mark(r, &o->decision, ev->at_us), source_tag(o->source));
    if (said) {
        said->tag = source_tag(o->source);
        said->counted |= metrics_of(o) | REPORT_STATUS;
    }
    return OK;
}

/* A report that stands where a forgotten one stood: now its cost is the one that is known. */
static enum err take_place(struct forgets *f, struct model *m, const struct event *ev,
                           uint64_t position, const struct fold_result *result)
{
    const struct event_outcome *o = &ev->u.outcome;
    const struct router *r = model_router(m, o->decision.router_uid);
    if (!r || !brought_cost(o, result->counted_mask))
        return OK;
    const struct forgotten *before = who_stood_before(f, r, o, position);
    return before ? add_refund(f, before, o, -1) : OK;
}

static struct budget_account *account_of(struct model *m, const struct account_refund *row)
{
    struct router *r = model_router(m, row->router_uid);
    if (!r)
        return NULL;
    const char *own = r->config.settings.budget_metric;
    if (!row->tenant[0])
        return settings_metric_index(&r->config, own, strlen(own)) == row->metric ? &r->account
                                                                                  : NULL;
    const struct tenant *t = tenants_find(r->tenants, row->tenant);
    return t && t->metric == row->metric ? &r->tenant_accounts[t - r->tenants->rows] : NULL;
}

/* The bank is bounded where it is used, when server/live takes it up. */
static void give_back(struct forgets *f, struct model *m, uint32_t forget)
{
    for (uint32_t i = 0; i < f->refunds_n; i++) {
        const struct account_refund *row = &f->refunds[i];
        struct budget_account *a = row->forget == forget ? account_of(m, row) : NULL;
        if (!a || !(a->budget > 0))
            continue;
        uint64_t known = row->corrected > 0 ? (uint64_t)row->corrected : 0;
        a->bank += (row->cost - row->charged) / a->budget;
        a->corrected -= known < a->corrected ? known : a->corrected;
        a->paid += row->charged - row->cost;
        if (!(a->paid > 0))
            a->paid = 0;
    }
}

enum err forgets_fold(struct forgets *f, struct model *m, const struct event *ev, uint64_t position)
{
    struct fold_result result;
    struct forgotten *by = forgets_find(f, ev, position);
    if (by)
        return pass_over(f, by, m, ev, position);
    TRY(model_reserve(m, ev, 0));
    fold_event(m, ev, position, &result);
    if (ev->kind == EVENT_OUTCOME)
        return f->n > 0 ? take_place(f, m, ev, position, &result) : OK;
    for (uint32_t i = 0; ev->kind == EVENT_FORGET && i < f->n; i++)
        if (f->all[i].position == position)
            give_back(f, m, i);
    return OK;
}

uint64_t forget_known(const struct model *m, const struct event_forget *what)
{
    uint64_t known = 0;
    for (uint32_t i = 0; i < m->routers_n; i++) {
        const struct router *r = m->routers[i];
        if (what->router_uid && what->router_uid != r->uid)
            continue;
        const struct source_count *c = source_counts_find(&r->sources, what->source);
        c = c ? c : &r->sources.others;
        known += c->folded + c->beaten;
    }
    return known;
}
