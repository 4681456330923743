#include "server/loop/accounts.h"

#include "state/model/model.h"

#include <string.h>

void accounts_done(struct accounts *a)
{
    buf_done(&a->bytes);
}

static void to_row(const struct pacer_saved *from, struct account_row *ret)
{
    const struct pacing_kept *k = &from->kept;
    const struct pacer_totals *t = &from->totals;
    memset(ret, 0, sizeof *ret);
    ret->router_uid = from->id.router_uid;
    ret->metric = from->id.metric;
    memcpy(ret->tenant, from->id.key, sizeof ret->tenant);
    ret->account = (struct budget_account){
        .budget = k->budget,
        .bank = k->bank,
        .spend = k->spend,
        .charged = k->charged,
        .cost = k->cost,
        .lambda = k->lambda,
        .tripped = k->tripped,
        .requests = t->requests,
        .corrected = t->corrected,
        .breaker = t->breaker,
        .predicted = t->predicted,
        .paid = t->paid,
        .allowed = t->allowed,
    };
}

static enum err restore(const struct budget_account *a, const struct pacer_id *id, double ceiling,
                        struct pacers *pacers, int64_t now_us)
{
    if (!(a->budget > 0))
        return OK; /* Nothing was charged yet. */
    const struct pacer_saved saved = {
        .id = *id,
        .kept = {a->budget, a->bank, a->spend, a->charged, a->cost, a->lambda, a->tripped},
        .totals = {a->requests, a->corrected, a->breaker, a->predicted, a->paid, a->allowed},
    };
    return pacers_restore(pacers, &saved, ceiling, now_us);
}

enum err accounts_restore(const struct router *r, struct pacers *pacers, int64_t now_us)
{
    const struct router_settings *s = &r->config.settings;
    struct pacer_id id;
    memset(&id, 0, sizeof id);
    id.router_uid = r->uid;
    int metric = settings_metric_index(&r->config, s->budget_metric, strlen(s->budget_metric));
    if (metric >= 0) {
        id.metric = (uint8_t)metric;
        TRY(restore(&r->account, &id, s->budget_ceiling, pacers, now_us));
    }
    for (uint32_t i = 0; r->tenants && i < r->tenants->n; i++) {
        const struct tenant *t = &r->tenants->rows[i];
        memcpy(id.key, t->name, sizeof id.key);
        id.metric = t->metric;
        TRY(restore(&r->tenant_accounts[i], &id, t->ceiling, pacers, now_us));
    }
    return OK;
}

static bool put_event(struct accounts *a, uint32_t from, uint32_t to, int64_t now_us)
{
    struct event *ev = &a->event;
    ev->kind = EVENT_ACCOUNTS;
    ev->at_us = now_us;
    ev->u.accounts.n = to - from;
    for (uint32_t i = from; i < to; i++)
        to_row(&a->saved[i], &ev->u.accounts.rows[i - from]);
    event_encode(ev, &a->bytes);
    if (a->bytes.failed)
        return false;
    a->ends[a->n++] = a->bytes.len;
    return true;
}

void accounts_collect(struct accounts *a, struct pacers *pacers, int64_t now_us)
{
    a->n = 0;
    buf_reset(&a->bytes);
    a->saved_n = pacers_collect(pacers, a->saved, sizeof a->saved / sizeof *a->saved);
    for (uint32_t at = 0; at < a->saved_n; at += ACCOUNTS_MAX) {
        uint32_t to = at + ACCOUNTS_MAX < a->saved_n ? at + ACCOUNTS_MAX : a->saved_n;
        if (put_event(a, at, to, now_us))
            continue;
        a->n = 0; /* No memory: all of it next time. */
        accounts_return(a, pacers);
        return;
    }
}

struct slice accounts_record(const struct accounts *a, uint32_t i)
{
    size_t start = i ? a->ends[i - 1] : 0;
    return (struct slice){a->bytes.data + start, a->ends[i] - start};
}

void accounts_return(struct accounts *a, struct pacers *pacers)
{
    pacers_return(pacers, a->saved, a->saved_n);
}
