#include "server/rpc/codec_budget.h"

#include <string.h>

static char *copy(struct arena *arena, const char *text)
{
    return arena_text(arena, text, strlen(text));
}

enum err codec_budget_use(const struct shown_budget *b, struct arena *arena,
                          Shunt__V1__BudgetUse **ret_message, struct err_detail *detail)
{
    *ret_message = NULL;
    if (!b->paced)
        return OK;
    Shunt__V1__BudgetUse *m = arena_alloc(arena, sizeof *m);
    if (!m)
        return arena_error(arena, detail);
    shunt__v1__budget_use__init(m);
    m->metric = copy(arena, b->metric);
    m->tenant = copy(arena, b->tenant);
    if (!m->metric || !m->tenant)
        return arena_error(arena, detail);
    m->has_per_request = m->has_lambda = m->has_affordable = m->has_breaker = true;
    m->per_request = b->per_request;
    m->lambda = b->lambda;
    m->affordable = b->affordable;
    m->breaker = b->breaker;
    m->has_charged = b->is_charged;
    m->charged = b->charged;
    *ret_message = m;
    return OK;
}

enum err codec_excluded(const struct excluded_arm *excluded, uint32_t n, struct arena *arena,
                        Shunt__V1__ExcludedArm ***ret_list, struct err_detail *detail)
{
    Shunt__V1__ExcludedArm *arms = arena_array(arena, n, sizeof *arms);
    Shunt__V1__ExcludedArm **list = arena_array(arena, n, sizeof *list);
    if (!arms || !list)
        return arena_error(arena, detail);
    for (uint32_t i = 0; i < n; i++) {
        shunt__v1__excluded_arm__init(&arms[i]);
        arms[i].arm_id = copy(arena, excluded[i].name);
        arms[i].has_reason = true;
        arms[i].reason = (Shunt__V1__Ineligible)excluded[i].why;
        arms[i].detail = excluded[i].detail[0] ? copy(arena, excluded[i].detail) : NULL;
        if (!arms[i].arm_id || (excluded[i].detail[0] && !arms[i].detail))
            return arena_error(arena, detail);
        list[i] = &arms[i];
    }
    *ret_list = list;
    return OK;
}

static void account_out(const struct pacer_report *a, Shunt__V1__Budget *m)
{
    const struct pacer_totals *t = &a->saved.totals;
    const struct pacing_kept *k = &a->saved.kept;
    m->has_requests = m->has_known = m->has_allowed = m->has_predicted = m->has_spent = true;
    m->has_bank = m->has_rate = m->has_lambda = m->has_affordable = m->has_recent = true;
    m->has_breaker = m->has_breaker_requests = true;
    m->requests = t->requests;
    m->known = t->corrected;
    m->allowed = t->allowed;
    m->predicted = t->predicted;
    m->spent = t->paid;
    m->bank = k->bank * k->budget;
    m->rate = a->rate;
    m->lambda = a->terms.lambda;
    m->affordable = a->terms.affordable;
    m->recent = k->spend * k->budget;
    m->breaker = k->tripped;
    m->breaker_requests = t->breaker;
}

enum err codec_budget(const struct budget_info *info, struct arena *arena,
                      Shunt__V1__Budget **ret_message, struct err_detail *detail)
{
    Shunt__V1__Budget *m = arena_alloc(arena, sizeof *m);
    if (!m)
        return arena_error(arena, detail);
    shunt__v1__budget__init(m);
    m->router = copy(arena, info->router);
    m->tenant = copy(arena, info->tenant);
    m->metric = copy(arena, info->metric);
    if (!m->router || !m->tenant || !m->metric)
        return arena_error(arena, detail);
    m->has_per_request = m->has_ceiling = true;
    m->per_request = info->per_request;
    m->ceiling = info->ceiling;
    if (info->has_account)
        account_out(&info->account, m);
    *ret_message = m;
    return OK;
}
