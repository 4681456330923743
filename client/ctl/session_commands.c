/* session_commands.c - open sessions and their budgets: sessions, session start, session end. */
#include "client/ctl/commands.h"
#include "client/ctl/table.h"
#include "shunt/v1/admin.pb-c.h"
#include "shunt/v1/router.pb-c.h"

#include <inttypes.h>
#include <stdio.h>

static struct table *session_table(void)
{
    static const char *const figures[] = {"budget", "used", "left", "steps", "expires in"};
    struct table *t = table_new();
    if (!t)
        return NULL;
    table_column(t, "session", TABLE_LEFT);
    table_column(t, "arm", TABLE_LEFT);
    table_column(t, "metric", TABLE_LEFT);
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++)
        table_column(t, figures[i], TABLE_RIGHT);
    return t;
}

static void session_row(struct table *t, const Shunt__V1__SessionInfo *s)
{
    table_cell(t, "%s", s->session_id);
    table_cell(t, "%s", s->held_arm ? s->held_arm : "-");
    table_cell(t, "%s", s->budget ? s->budget->metric : "-");
    if (s->budget) {
        table_cell(t, "%.6g", s->budget->amount);
        table_cell(t, "%.6g", s->used);
        table_cell(t, "%.6g", s->left);
    } else {
        for (int i = 0; i < 3; i++)
            table_cell(t, "-");
    }
    table_cell(t, "%" PRIu64, s->steps);
    table_cell(t, "%.0f s", s->expires_s);
}

static enum ctl_exit print_end(struct table *t)
{
    bool ok = t && table_print(t, stdout, ctl_bold());
    table_free(t);
    return ok ? CTL_OK : ctl_fail(CTL_REFUSED, "out of memory");
}

static enum ctl_exit print_sessions(const struct ctl *ctl, const ProtobufCMessage *response)
{
    (void)ctl;
    const Shunt__V1__ListSessionsResponse *r = (const void *)response;
    if (r->n_sessions == 0) {
        puts("no session is open");
        return CTL_OK;
    }
    struct table *t = session_table();
    for (size_t i = 0; t && i < r->n_sessions; i++)
        session_row(t, r->sessions[i]);
    enum ctl_exit code = print_end(t);
    if (r->all > r->n_sessions)
        printf("and %zu more; --max shows them\n", (size_t)r->all - r->n_sessions);
    return code;
}

static enum ctl_exit print_session(const struct ctl *ctl, const ProtobufCMessage *response)
{
    (void)ctl;
    struct table *t = session_table();
    if (t)
        session_row(t, (const void *)response);
    return print_end(t);
}

static enum ctl_exit print_ended(const struct ctl *ctl, const ProtobufCMessage *response)
{
    (void)ctl;
    const Shunt__V1__EndSessionResponse *r = (const void *)response;
    printf("ended after %" PRIu64 " steps", r->session ? r->session->steps : 0);
    if (r->session && r->session->budget)
        printf(", %.6g of %.6g %s used", r->session->used, r->session->budget->amount,
               r->session->budget->metric);
    printf("; credited %u, had their own %u, not found %u\n", r->credited, r->reported, r->lost);
    return CTL_OK;
}

#define END                                                                                        \
    {                                                                                              \
        NULL, NULL, NULL, NULL, COMMAND_SET                                                        \
    }

static const struct command_option list_options[] = {
    {"max", "N", "show at most N (default: 100)", "max", COMMAND_SET}, END};
static const struct command_option start_options[] = {
    {"router", "ROUTER", "whose it is (default: default)", "router", COMMAND_SET},
    {"metric", "METRIC", "what its budget is in, such as cost_usd", "budget.metric", COMMAND_SET},
    {"amount", "X", "what it may spend, in the metric's own unit", "budget.amount", COMMAND_SET},
    END};
static const struct command_option end_options[] = {
    {"router", "ROUTER", "whose it is (default: default)", "router", COMMAND_SET},
    {"reward", "X", "credit this reward to its steps", "metrics.reward", COMMAND_SET},
    {"quality", "X", "credit this quality to its steps", "metrics.quality", COMMAND_SET},
    END};

const struct command session_commands[] = {
    {.words = "session start",
     .args = "SESSION",
     .doc = "Open a session, with a strict budget or without one, or show an open one.",
     .options = start_options,
     .positional_min = 1,
     .positional_max = 1,
     .positional_path = "session_id",
     .run = command_call,
     .service = CTL_ROUTER,
     .method = "StartSession",
     .request = &shunt__v1__start_session_request__descriptor,
     .response = &shunt__v1__session_info__descriptor,
     .print = print_session},
    {.words = "session end",
     .args = "SESSION",
     .doc = "End a session before it expires.\vWhat it held back of a budget is given up. A reward "
            "goes to its steps by the router's session_credit; steps that reported their own keep "
            "it.",
     .options = end_options,
     .positional_min = 1,
     .positional_max = 1,
     .positional_path = "session_id",
     .run = command_call,
     .service = CTL_ROUTER,
     .method = "EndSession",
     .request = &shunt__v1__end_session_request__descriptor,
     .response = &shunt__v1__end_session_response__descriptor,
     .print = print_ended},
    {.words = "sessions",
     .args = "[ROUTER]",
     .doc = "Show a router's open sessions.\v`used`: spent, and reserved for decisions whose true "
            "cost nobody reported yet.",
     .options = list_options,
     .positional_max = 1,
     .positional_path = "router",
     .run = command_call,
     .service = CTL_ADMIN,
     .method = "ListSessions",
     .request = &shunt__v1__list_sessions_request__descriptor,
     .response = &shunt__v1__list_sessions_response__descriptor,
     .print = print_sessions},
    {.words = NULL}};
