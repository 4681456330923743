/* budget_commands.c - what may be spent and what was: budget, budget set, budget remove. */
#include "client/ctl/commands.h"
#include "client/ctl/table.h"
#include "proto/form/field.h"
#include "shunt/v1/admin.pb-c.h"

#include <inttypes.h>
#include <stdio.h>

/* A dash where nothing was charged yet. */
static void amount_cell(struct table *t, bool has, double value)
{
    if (has)
        table_cell(t, "%.4g", value);
    else
        table_cell(t, "-");
}

static void budget_row(struct table *t, const Shunt__V1__Budget *b)
{
    double requests = b->requests ? (double)b->requests : 1;
    table_cell(t, "%s", b->router);
    table_cell(t, "%s", b->tenant && *b->tenant ? b->tenant : "(router)");
    table_cell(t, "%s", b->metric);
    table_cell(t, "%.4g", b->per_request);
    table_cell(t, "%" PRIu64, b->requests);
    amount_cell(t, b->has_spent, b->spent);
    if (b->has_spent && b->allowed > 0)
        table_cell(t, "%.1f %%", 100 * b->spent / b->allowed);
    else
        table_cell(t, "-");
    if (b->has_known && b->requests)
        table_cell(t, "%.0f %%", 100 * (double)b->known / requests);
    else
        table_cell(t, "-");
    amount_cell(t, b->has_bank, b->bank);
    amount_cell(t, b->has_rate, b->rate);
    amount_cell(t, b->has_lambda, b->lambda);
    if (b->has_breaker_requests && b->requests)
        table_cell(t, "%.1f %%%s", 100 * (double)b->breaker_requests / requests,
                   b->breaker ? " now" : "");
    else
        table_cell(t, "-");
}

static enum ctl_exit print_end(struct table *t)
{
    bool ok = t && table_print(t, stdout, ctl_bold());
    table_free(t);
    return ok ? CTL_OK : ctl_fail(CTL_REFUSED, "out of memory");
}

static struct table *budget_table(void)
{
    static const char *const figures[] = {"a request", "requests", "spent", "of budget", "known",
                                          "bank",      "rate",     "price", "breaker"};
    struct table *t = table_new();
    if (!t)
        return NULL;
    table_column(t, "router", TABLE_LEFT);
    table_column(t, "tenant", TABLE_LEFT);
    table_column(t, "metric", TABLE_LEFT);
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++)
        table_column(t, figures[i], TABLE_RIGHT);
    return t;
}

static enum ctl_exit print_budgets(const struct ctl *ctl, const ProtobufCMessage *response)
{
    (void)ctl;
    const Shunt__V1__ListBudgetsResponse *r = (const void *)response;
    if (r->n_budgets == 0) {
        puts("there is no budget; give a router one by --set budget_metric=cost_usd --set "
             "budget_per_request=N");
        return CTL_OK;
    }
    struct table *t = budget_table();
    for (size_t i = 0; t && i < r->n_budgets; i++)
        budget_row(t, r->budgets[i]);
    enum ctl_exit code = print_end(t);
    if (r->total > r->n_budgets)
        printf("and %zu more; --max shows them\n", (size_t)r->total - r->n_budgets);
    return code;
}

static enum ctl_exit print_budget(const struct ctl *ctl, const ProtobufCMessage *response)
{
    (void)ctl;
    struct table *t = budget_table();
    if (t)
        budget_row(t, (const void *)response);
    return print_end(t);
}

static enum ctl_exit print_removed(const struct ctl *ctl, const ProtobufCMessage *response)
{
    (void)ctl;
    (void)response;
    puts("removed; the tenant spends from its router's budget again");
    return CTL_OK;
}

#define END                                                                                        \
    {                                                                                              \
        NULL, NULL, NULL, NULL, COMMAND_SET                                                        \
    }

static const struct command_option list_options[] = {
    {"tenant", "TENANT", "that tenant's alone", "tenant", COMMAND_SET},
    {"max", "N", "show at most N (default: 1000)", "max", COMMAND_SET},
    END};
static const struct command_option set_options[] = {
    {"router", "ROUTER", "whose requests they are (default: default)", "router", COMMAND_SET},
    {"metric", "METRIC", "what is spent, such as cost_usd", "metric", COMMAND_SET},
    {"per-request", "X", "mean a request, in the metric's own unit", "per_request", COMMAND_SET},
    {"ceiling", "N", "the breaker trips at N budgets (default: 2)", "ceiling", COMMAND_SET},
    END};
static const struct command_option remove_options[] = {
    {"router", "ROUTER", "whose requests they are (default: default)", "router", COMMAND_SET}, END};

const struct command budget_commands[] = {
    {.words = "budget set",
     .args = "TENANT",
     .doc = "Give a tenant a budget of its own, or another one.\vA router's own budget is in its "
            "settings: shuntctl router update NAME --set budget_metric=cost_usd --set "
            "budget_per_request=N.",
     .options = set_options,
     .positional_min = 1,
     .positional_max = 1,
     .positional_path = "tenant",
     .run = command_call,
     .service = CTL_ADMIN,
     .method = "SetTenantBudget",
     .request = &shunt__v1__set_tenant_budget_request__descriptor,
     .response = &shunt__v1__budget__descriptor,
     .print = print_budget},
    {.words = "budget remove",
     .args = "TENANT",
     .doc = "Let a tenant spend from its router's budget again.\vIts account is forgotten.",
     .options = remove_options,
     .positional_min = 1,
     .positional_max = 1,
     .positional_path = "tenant",
     .run = command_call,
     .service = CTL_ADMIN,
     .method = "RemoveTenantBudget",
     .request = &shunt__v1__remove_tenant_budget_request__descriptor,
     .response = &shunt__v1__remove_tenant_budget_response__descriptor,
     .print = print_removed},
    {.words = "budget",
     .args = "[ROUTER]",
     .doc = "Show what may be spent and what was, by router and tenant.\v`known`: requests whose "
            "true cost was reported; the others count as predicted. `rate`: what a request may "
            "cost now on average. `bank`: saved, or owed: after a "
            "price change or an alarm an account begins 20 requests' budgets in debt. `price`: "
            "utility that one unit costs now. `breaker`: share of "
            "the requests under it.",
     .options = list_options,
     .positional_max = 1,
     .positional_path = "router",
     .run = command_call,
     .service = CTL_ADMIN,
     .method = "ListBudgets",
     .request = &shunt__v1__list_budgets_request__descriptor,
     .response = &shunt__v1__list_budgets_response__descriptor,
     .print = print_budgets},
    {.words = NULL}};
