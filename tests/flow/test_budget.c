/* Budgets on the executable: kept over the wire with costs known late, by tenant, and across the
 * ends that a process can have. */
#include "tests/flow/play.h"
#include "tests/flow/server.h"
#include "tests/unit/cmocka_all.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { INVALID_ARGUMENT = 3, NOT_FOUND = 5, LATE = 20 };

struct fixture {
    struct played p;
    uint64_t asked;
};

static void connect_to(struct fixture *f)
{
    assert_true(server_start(&f->p.server));
    played_connect(&f->p);
}

static void leave(struct fixture *f, int signal)
{
    played_leave(&f->p);
    (void)server_stop(&f->p.server, signal);
}

/* US$ .002 a request; arm a costs .001, arm b .004: a third of b is what it buys. */
static void set_router_budget(struct fixture *f)
{
    char name[] = "flow", metric[] = "cost_usd";
    Shunt__V1__RouterSettings settings = SHUNT__V1__ROUTER_SETTINGS__INIT;
    Shunt__V1__UpdateRouterRequest request = SHUNT__V1__UPDATE_ROUTER_REQUEST__INIT;
    settings.budget_metric = metric;
    settings.has_budget_per_request = 1;
    settings.budget_per_request = .002;
    request.name = name;
    request.settings = &settings;
    ProtobufCMessage *info =
        played_admin(&f->p, "UpdateRouter", &request.base, &shunt__v1__router_info__descriptor, 0);
    const Shunt__V1__RouterInfo *m = (const Shunt__V1__RouterInfo *)info;
    assert_string_equal(m->spec->settings->budget_metric, "cost_usd");
    assert_true(m->spec->settings->budget_ceiling == 2);
    protobuf_c_message_free_unpacked(info, NULL);
}

static int set_tenant(struct fixture *f, const char *tenant, double each, struct call_error *error)
{
    char name[] = "flow", metric[] = "cost_usd", who[80];
    (void)snprintf(who, sizeof who, "%s", tenant);
    Shunt__V1__SetTenantBudgetRequest request = SHUNT__V1__SET_TENANT_BUDGET_REQUEST__INIT;
    request.router = name;
    request.tenant = who;
    request.metric = metric;
    request.per_request = each;
    ProtobufCMessage *answer = NULL;
    int status = call_unary(f->p.admin, "/shunt.v1.Admin/SetTenantBudget", &request.base,
                            &shunt__v1__budget__descriptor, 20, &answer, error);
    if (answer)
        protobuf_c_message_free_unpacked(answer, NULL);
    return status;
}

/* The account of a tenant, "" the router's own. */
struct seen {
    uint64_t requests, known;
    double spent, bank, lambda, per_request;
};

static struct seen account_of(struct fixture *f, const char *tenant)
{
    char name[] = "flow";
    Shunt__V1__ListBudgetsRequest request = SHUNT__V1__LIST_BUDGETS_REQUEST__INIT;
    request.router = name;
    ProtobufCMessage *answer = played_admin(&f->p, "ListBudgets", &request.base,
                                            &shunt__v1__list_budgets_response__descriptor, 0);
    const Shunt__V1__ListBudgetsResponse *m = (const Shunt__V1__ListBudgetsResponse *)answer;
    struct seen seen = {.per_request = -1};
    for (size_t i = 0; i < m->n_budgets; i++) {
        const Shunt__V1__Budget *b = m->budgets[i];
        if (strcmp(b->tenant, tenant) == 0)
            seen =
                (struct seen){b->requests, b->known, b->spent, b->bank, b->lambda, b->per_request};
    }
    protobuf_c_message_free_unpacked(answer, NULL);
    if (seen.per_request < 0)
        fail_msg("no budget of `%s`", tenant);
    return seen;
}

static struct decision_kept ask(struct fixture *f, const char *tenant)
{
    char name[] = "flow", who[80];
    (void)snprintf(who, sizeof who, "%s", tenant);
    float features[2] = {(float)(++f->asked % 7) / 7, (float)(f->asked % 3) / 3};
    Shunt__V1__RouteRequest request = SHUNT__V1__ROUTE_REQUEST__INIT;
    request.router = name;
    request.features = features;
    request.n_features = 2;
    request.tenant = who[0] ? who : NULL;
    ProtobufCMessage *response = NULL;
    struct call_error error;
    if (call_unary(f->p.router, "/shunt.v1.Router/RouteRequest", &request.base,
                   &shunt__v1__route_response__descriptor, 20, &response, &error))
        fail_msg("%s %s", error.code, error.message);
    const Shunt__V1__RouteResponse *m = (const Shunt__V1__RouteResponse *)response;
    struct decision_kept d;
    (void)snprintf(d.id, sizeof d.id, "%s", m->decision_id);
    (void)snprintf(d.arm, sizeof d.arm, "%s", m->arm_id);
    memcpy(d.token, m->decision_token.data, m->decision_token.len);
    d.token_len = m->decision_token.len;
    protobuf_c_message_free_unpacked(response, NULL);
    return d;
}

static void tell(struct fixture *f, const struct decision_kept *d, const char *metric, double value)
{
    struct report_seen seen;
    struct call_error error;
    if (play_report(f->p.router, d, metric, value, &seen, &error))
        fail_msg("%s %s", error.code, error.message);
}

static double cost_of(const struct decision_kept *d)
{
    return d->arm[0] == 'a' ? .001 : .004;
}

/* n requests whose cost is known LATE requests later; two in three are never rated. Returns what
 * they cost. */
static double play(struct fixture *f, const char *tenant, int n)
{
    static struct decision_kept late[LATE];
    double sum = 0;
    for (int i = 0; i < n + LATE; i++) {
        struct decision_kept *d = &late[i % LATE];
        if (i >= LATE)
            tell(f, d, "cost_usd", cost_of(d));
        if (i >= n)
            continue;
        *d = ask(f, tenant);
        sum += cost_of(d);
        double gain = .1 + .3 * (double)(f->asked % 7) / 7;
        if (i % 3 == 0)
            tell(f, d, "reward", d->arm[0] == 'a' ? .4 : .4 + gain);
    }
    return sum;
}

static void start(struct fixture *f)
{
    memset(f, 0, sizeof *f);
    server_init(&f->p.server);
    connect_to(f);
    play_router(f->p.admin, "flow");
    set_router_budget(f);
}

static void end(struct fixture *f)
{
    leave(f, SIGTERM);
    server_free(&f->p.server);
}

static void spend_converges_to_the_budget_though_costs_come_late(void **state)
{
    (void)state;
    struct fixture f;
    start(&f);
    double before = play(&f, "", 500), mean = play(&f, "", 500) / 500;
    assert_true(mean > .85 * .002 && mean < 1.05 * .002);
    struct seen seen = account_of(&f, "");
    assert_int_equal(seen.requests, 1000);
    assert_int_equal(seen.known, 1000);
    assert_true(fabs(seen.spent - (before + 500 * mean)) < 1e-6 * seen.spent);
    assert_true(seen.lambda > 0);
    assert_true(server_metric(&f.p.server, "shunt_budget_price{router=\"flow\",tenant=\"\","
                                           "metric=\"cost_usd\"}") > 0);
    end(&f);
}

static void a_restart_keeps_the_account_and_a_kill_all_but_its_last_moment(void **state)
{
    (void)state;
    struct fixture f;
    start(&f);
    (void)play(&f, "", 100);
    struct seen before = account_of(&f, "");
    leave(&f, SIGTERM);
    connect_to(&f);
    struct seen after = account_of(&f, "");
    assert_int_equal(after.requests, before.requests);
    assert_true(fabs(after.spent - before.spent) < 1e-12 && fabs(after.bank - before.bank) < 1e-12);
    (void)play(&f, "", 50);
    before = account_of(&f, "");
    (void)sleep(2); /* Twenty times what a batch waits; then as many requests that may be lost. */
    (void)play(&f, "", 30);
    leave(&f, SIGKILL);
    connect_to(&f);
    after = account_of(&f, "");
    assert_in_range(after.requests, before.requests, before.requests + 30);
    assert_true(after.spent >= before.spent - 1e-9);
    (void)play(&f, "", 10);
    assert_int_equal(account_of(&f, "").requests, after.requests + 10);
    Shunt__V1__VerifyRequest verify = SHUNT__V1__VERIFY_REQUEST__INIT;
    ProtobufCMessage *answer =
        played_admin(&f.p, "Verify", &verify.base, &shunt__v1__verify_response__descriptor, 0);
    assert_true(((const Shunt__V1__VerifyResponse *)answer)->ok);
    protobuf_c_message_free_unpacked(answer, NULL);
    end(&f);
}

static void tenants_spend_from_their_own_budgets(void **state)
{
    (void)state;
    struct fixture f;
    struct call_error error;
    start(&f);
    assert_int_equal(set_tenant(&f, "rich", .01, &error), 0);
    assert_int_equal(set_tenant(&f, "poor", .001, &error), 0);
    assert_int_equal(set_tenant(&f, "none", 0, &error), INVALID_ARGUMENT);
    assert_string_equal(error.code, "OUT_OF_RANGE");
    double rich = 0, poor = 0;
    for (int i = 0; i < 10; i++) {
        rich += play(&f, "rich", 30);
        poor += play(&f, "poor", 30);
    }
    assert_true(rich / 300 > .003);
    assert_true(poor / 300 < .00115);
    assert_int_equal(account_of(&f, "").requests, 0);
    assert_true(fabs(account_of(&f, "rich").spent - rich) < 1e-6 * rich);
    leave(&f, SIGTERM);
    connect_to(&f);
    assert_int_equal(account_of(&f, "poor").requests, 300);
    char name[] = "flow", who[] = "poor";
    Shunt__V1__RemoveTenantBudgetRequest gone = SHUNT__V1__REMOVE_TENANT_BUDGET_REQUEST__INIT;
    gone.router = name;
    gone.tenant = who;
    protobuf_c_message_free_unpacked(
        played_admin(&f.p, "RemoveTenantBudget", &gone.base,
                     &shunt__v1__remove_tenant_budget_response__descriptor, 0),
        NULL);
    ProtobufCMessage *answer = NULL;
    assert_int_equal(call_unary(f.p.admin, "/shunt.v1.Admin/RemoveTenantBudget", &gone.base,
                                &shunt__v1__remove_tenant_budget_response__descriptor, 20, &answer,
                                &error),
                     NOT_FOUND);
    assert_string_equal(error.code, "TENANT_NOT_FOUND");
    (void)play(&f, "poor", 5);
    assert_int_equal(account_of(&f, "").requests, 5);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spend_converges_to_the_budget_though_costs_come_late),
        cmocka_unit_test(a_restart_keeps_the_account_and_a_kill_all_but_its_last_moment),
        cmocka_unit_test(tenants_spend_from_their_own_budgets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
