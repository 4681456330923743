/* handle_budget.c - SetTenantBudget, RemoveTenantBudget, ListBudgets. */
#include "server/rpc/codec_budget.h"
#include "server/rpc/handlers.h"
#include "state/base/mem.h"

enum { BUDGETS_MAX = 10000, BUDGETS_SHOWN = 1000 };

enum err handle_set_tenant_budget(struct handler *h, const ProtobufCMessage *request,
                                  ProtobufCMessage **ret_response, struct err_detail *detail)
{
    const Shunt__V1__SetTenantBudgetRequest *m = (const Shunt__V1__SetTenantBudgetRequest *)request;
    struct budget_info info;
    uint32_t n, total;
    Shunt__V1__Budget *budget = NULL;
    struct slice router = codec_router(m->router), tenant = slice_text(m->tenant);
    double ceiling = m->has_ceiling ? m->ceiling : 2;
    TRY(engine_tenant_set(h->worker, router, tenant, slice_text(m->metric), m->per_request, ceiling,
                          detail));
    TRY(engine_budgets(h->worker, router, tenant, &info, 1, &n, &total, detail));
    if (n == 0) /* Removed by somebody else since. */
        return err_say(detail, ERR_TENANT_NOT_FOUND, "the budget is gone");
    TRY(codec_budget(&info, &h->arena, &budget, detail));
    *ret_response = &budget->base;
    return OK;
}

enum err handle_remove_tenant_budget(struct handler *h, const ProtobufCMessage *request,
                                     ProtobufCMessage **ret_response, struct err_detail *detail)
{
    const Shunt__V1__RemoveTenantBudgetRequest *m =
        (const Shunt__V1__RemoveTenantBudgetRequest *)request;
    Shunt__V1__RemoveTenantBudgetResponse *r = arena_alloc(&h->arena, sizeof *r);
    if (!r)
        return arena_error(&h->arena, detail);
    shunt__v1__remove_tenant_budget_response__init(r);
    TRY(engine_tenant_remove(h->worker, codec_router(m->router), slice_text(m->tenant), detail));
    *ret_response = &r->base;
    return OK;
}

static enum err list(struct handler *h, const Shunt__V1__ListBudgetsRequest *m,
                     struct budget_info *found, uint32_t max, Shunt__V1__ListBudgetsResponse *ret,
                     struct err_detail *detail)
{
    uint32_t n = 0;
    TRY(engine_budgets(h->worker, slice_text(m->router), slice_text(m->tenant), found, max, &n,
                       &ret->total, detail));
    ret->has_total = true;
    ret->budgets = arena_array(&h->arena, n, sizeof *ret->budgets);
    if (!ret->budgets)
        return arena_error(&h->arena, detail);
    for (uint32_t i = 0; i < n; i++)
        TRY(codec_budget(&found[i], &h->arena, &ret->budgets[i], detail));
    ret->n_budgets = n;
    return OK;
}

enum err handle_list_budgets(struct handler *h, const ProtobufCMessage *request,
                             ProtobufCMessage **ret_response, struct err_detail *detail)
{
    const Shunt__V1__ListBudgetsRequest *m = (const Shunt__V1__ListBudgetsRequest *)request;
    uint32_t max = m->has_max ? m->max : BUDGETS_SHOWN;
    if (max < 1 || max > BUDGETS_MAX)
        return err_say(detail, ERR_OUT_OF_RANGE, "max: %u is not in [1, %d]", max, BUDGETS_MAX);
    Shunt__V1__ListBudgetsResponse *r = arena_alloc(&h->arena, sizeof *r);
    if (!r)
        return arena_error(&h->arena, detail);
    shunt__v1__list_budgets_response__init(r);
    struct budget_info *found = mem_calloc(max, sizeof *found);
    if (!found)
        return err_say(detail, ERR_NOMEM, "no memory for the list");
    enum err e = list(h, m, found, max, r, detail);
    mem_free(found);
    if (e == OK)
        *ret_response = &r->base;
    return e;
}
