/* budget.h - tenants with budgets of their own, and spending accounts as the journal keeps them.
 * Why: what may be spent is declared and must be found at every request; what was spent must
 * outlive the process. How it is kept to is server/route/pacing's and server/live's.
 * A table of tenants never changes: another one takes its place, so that snapshots share it.
 * Owns: a table lives as long as somebody holds it. Threads: pure but for the count of holders.
 * Invariant: in order of name, each name once. */
#pragma once

#include "state/base/err.h"
#include "state/base/name.h"
#include "state/base/slice.h"
#include "state/model/limits.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct router_config;

/* A tenant's budget: its requests spend from it, and from nothing else. */
struct tenant {
    char name[NAME_CAP];
    uint8_t metric;     /* Served, lower is better. */
    double per_request; /* Mean a request, raw unit. */
    double ceiling;     /* Of the breaker, in budgets. */
};

struct tenants {
    _Atomic uint32_t refs;
    uint32_t n;
    struct tenant rows[];
};

/* Of a budget, a router's own or a tenant's. Not used yet: budget is 0. */
struct budget_account {
    double budget;        /* Raw unit; what the next five are in units of. */
    double bank, spend;   /* server/route/pacing.h says what they mean. */
    double charged, cost; /* As predicted and as reported, faded. */
    double lambda;
    bool tripped;
    /* Since the account began. */
    uint64_t requests, corrected, breaker; /* Charged; with a true cost; under the breaker. */
    double predicted, paid, allowed; /* Raw unit: charged, the same put right, budgets granted. */
};

enum { ACCOUNTS_MAX = 64 }; /* Of one event. */
struct account_row {
    uint32_t router_uid;
    uint8_t metric;
    char tenant[NAME_CAP]; /* Empty: the router's own. */
    struct budget_account account;
};

/* Where the name stands or would stand in the table (NULL: an empty one). */
uint32_t tenants_place(const struct tenants *t, const char *name, bool *ret_there);
/* NULL: it has no budget of its own. */
const struct tenant *tenants_find(const struct tenants *t, const char *name);
/* An empty table with room for n rows; NULL: no memory. */
struct tenants *tenants_new(uint32_t n);
/* A new table with the row added, or put in the place of the one of its name; without it when
 * per_request is 0. NULL: no memory. */
struct tenants *tenants_with(const struct tenants *t, const struct tenant *row);
struct tenants *tenants_hold(struct tenants *t);
void tenants_release(struct tenants *t);

/* A budget of this router: ERR_METRIC_NOT_FOUND, ERR_INVALID (a metric that cannot be spent),
 * ERR_OUT_OF_RANGE; `prefix` and "metric" make the
 * field that is named. */
MUST_USE enum err budget_check(const struct router_config *config, const char *prefix,
                               const char *metric, double per_request, double ceiling,
                               struct err_detail *detail);

/* One byte form; a decoder fails with the reader left failed. */
void tenant_encode(const struct tenant *t, struct buf *out);
void tenant_decode(struct reader *r, struct tenant *ret);
void account_encode(const struct budget_account *a, struct buf *out);
void account_decode(struct reader *r, struct budget_account *ret);
