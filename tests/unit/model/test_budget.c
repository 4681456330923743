#include "state/model/budget.h"

#include "state/model/fold.h"
#include "state/model/snapshot.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/model/given.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { COST = 2, ENERGY = 3 };

static void open_budget(struct given *g)
{
    struct router_config c;
    given_config(&c);
    strcpy(c.settings.budget_metric, "cost_usd");
    c.settings.budget_per_request = .01;
    given_open(g, &c);
}

static struct fold_result set_tenant(struct given *g, const char *name, uint8_t metric, double each)
{
    memset(&g->event, 0, sizeof g->event);
    g->event.kind = EVENT_TENANT_SET;
    g->event.u.tenant.router_uid = g->router->uid;
    (void)snprintf(g->event.u.tenant.tenant.name, NAME_CAP, "%s", name);
    g->event.u.tenant.tenant.metric = metric;
    g->event.u.tenant.tenant.per_request = each;
    g->event.u.tenant.tenant.ceiling = 2;
    return given_fold(g);
}

static void put_account(struct given *g, const char *tenant, uint8_t metric, double bank)
{
    memset(&g->event, 0, sizeof g->event);
    g->event.kind = EVENT_ACCOUNTS;
    g->event.u.accounts.n = 1;
    struct account_row *row = &g->event.u.accounts.rows[0];
    row->router_uid = g->router->uid;
    row->metric = metric;
    (void)snprintf(row->tenant, NAME_CAP, "%s", tenant);
    row->account.budget = .01;
    row->account.bank = bank;
    (void)given_fold(g);
}

static double bank_of(const struct given *g, const char *tenant)
{
    bool there;
    uint32_t at = tenants_place(g->router->tenants, tenant, &there);
    assert_true(there);
    return g->router->tenant_accounts[at].bank;
}

static void a_tenants_account_is_its_own_whoever_comes_and_goes(void **state)
{
    (void)state;
    struct given g;
    open_budget(&g);
    const char *names[] = {"m", "c", "x", "a"};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(set_tenant(&g, names[i], COST, .5).err, OK);
        put_account(&g, names[i], COST, 1 + i);
    }
    assert_int_equal(set_tenant(&g, "c", COST, 0).err, OK);
    assert_int_equal(g.router->tenants->n, 3);
    assert_null(tenants_find(g.router->tenants, "c"));
    assert_true(bank_of(&g, "m") == 1 && bank_of(&g, "x") == 3 && bank_of(&g, "a") == 4);
    assert_int_equal(set_tenant(&g, "c", COST, .1).err, OK); /* A new one of that name. */
    assert_true(bank_of(&g, "c") == 0 && bank_of(&g, "m") == 1 && bank_of(&g, "x") == 3);
    given_close(&g);
}

static void another_budget_keeps_the_account_and_another_metric_begins_a_new_one(void **state)
{
    (void)state;
    struct given g;
    open_budget(&g);
    (void)set_tenant(&g, "t", COST, .5);
    put_account(&g, "t", COST, -3);
    (void)set_tenant(&g, "t", COST, .25);
    assert_true(bank_of(&g, "t") == -3);
    assert_true(tenants_find(g.router->tenants, "t")->per_request == .25);
    (void)set_tenant(&g, "t", ENERGY, 20);
    assert_true(bank_of(&g, "t") == 0);
    put_account(&g, "t", COST, 7); /* On its way when the metric changed. */
    assert_true(bank_of(&g, "t") == 0);
    given_close(&g);
}

static void the_routers_account_is_that_of_its_metric(void **state)
{
    (void)state;
    struct given g;
    open_budget(&g);
    put_account(&g, "", COST, 5);
    assert_true(g.router->account.bank == 5);
    uint64_t ignored = g.model->ignored;
    put_account(&g, "", ENERGY, 6);
    put_account(&g, "nobody", COST, 6);
    assert_true(g.router->account.bank == 5);
    assert_int_equal(g.model->ignored, ignored + 2);
    memset(&g.event, 0, sizeof g.event);
    g.event.kind = EVENT_ROUTER_UPDATE;
    g.event.u.update.router_uid = g.router->uid;
    g.event.u.update.settings = g.router->config.settings;
    g.event.u.update.settings.budget_per_request = .02;
    (void)given_fold(&g);
    assert_true(g.router->account.bank == 5);
    strcpy(g.event.u.update.settings.budget_metric, "energy_j");
    (void)given_fold(&g);
    assert_true(g.router->account.bank == 0);
    given_close(&g);
}

static void a_tenant_that_is_not_there_or_one_too_many_is_refused(void **state)
{
    (void)state;
    struct given g;
    char name[NAME_CAP];
    open_budget(&g);
    assert_int_equal(set_tenant(&g, "t", COST, 0).err, ERR_TENANT_NOT_FOUND);
    assert_int_equal(set_tenant(&g, "t", 5, 1).err, ERR_METRIC_NOT_FOUND);
    for (int i = 0; i < MAX_TENANTS; i++) {
        (void)snprintf(name, sizeof name, "t%d", i);
        assert_int_equal(set_tenant(&g, name, COST, 1).err, OK);
    }
    assert_int_equal(set_tenant(&g, "more", COST, 1).err, ERR_LIMIT);
    assert_int_equal(set_tenant(&g, "t7", COST, 2).err, OK);
    given_close(&g);
}

static void a_snapshot_keeps_its_tenants_when_the_model_has_others(void **state)
{
    (void)state;
    struct given g;
    struct snapshot *first, *second;
    open_budget(&g);
    (void)set_tenant(&g, "t", COST, 1);
    assert_int_equal(snapshot_build(g.model, NULL, &first), OK);
    (void)set_tenant(&g, "t", COST, 2);
    (void)set_tenant(&g, "u", COST, 2);
    assert_int_equal(snapshot_build(g.model, first, &second), OK);
    assert_int_equal(first->routers[0]->budget_metric, COST);
    assert_int_equal(first->routers[0]->tenants->n, 1);
    assert_true(tenants_find(first->routers[0]->tenants, "t")->per_request == 1);
    assert_true(tenants_find(second->routers[0]->tenants, "t")->per_request == 2);
    snapshot_free(first);
    assert_int_equal(second->routers[0]->tenants->n, 2);
    snapshot_free(second);
    given_close(&g);
}

static void a_budget_of_what_cannot_be_spent_is_refused(void **state)
{
    (void)state;
    struct router_config c;
    struct err_detail detail;
    settings_defaults(&c, "r");
    const struct {
        const char *metric;
        double per_request, ceiling;
        enum err expected;
    } rows[] = {
        {"cost_usd", 1e-12, 1000, OK},
        {"latency_ms", 1e12, 1.0001, OK},
        {"cost", 1, 2, ERR_METRIC_NOT_FOUND},
        {"quality", 1, 2, ERR_INVALID},
        {"cost_usd", 0, 2, ERR_OUT_OF_RANGE},
        {"cost_usd", -1, 2, ERR_OUT_OF_RANGE},
        {"cost_usd", 2e12, 2, ERR_OUT_OF_RANGE},
        {"cost_usd", (double)NAN, 2, ERR_OUT_OF_RANGE},
        {"cost_usd", 1, 1, ERR_OUT_OF_RANGE},
        {"cost_usd", 1, 1001, ERR_OUT_OF_RANGE},
        {"cost_usd", 1, (double)NAN, ERR_OUT_OF_RANGE},
    };
    assert_int_equal(settings_check(&c, &detail), OK); /* None: nothing to check. */
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        (void)snprintf(c.settings.budget_metric, NAME_CAP, "%s", rows[i].metric);
        c.settings.budget_per_request = rows[i].per_request;
        c.settings.budget_ceiling = rows[i].ceiling;
        assert_int_equal(settings_check(&c, &detail), rows[i].expected);
        if (rows[i].expected != OK)
            assert_non_null(strstr(detail.text, "settings.budget_"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tenants_account_is_its_own_whoever_comes_and_goes),
        cmocka_unit_test(another_budget_keeps_the_account_and_another_metric_begins_a_new_one),
        cmocka_unit_test(the_routers_account_is_that_of_its_metric),
        cmocka_unit_test(a_tenant_that_is_not_there_or_one_too_many_is_refused),
        cmocka_unit_test(a_snapshot_keeps_its_tenants_when_the_model_has_others),
        cmocka_unit_test(a_budget_of_what_cannot_be_spent_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
