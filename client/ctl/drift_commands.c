/* drift_commands.c - arms that change: alarms, arm price, arm reload, arm drain. */
#include "client/ctl/commands.h"
#include "client/ctl/table.h"
#include "proto/form/field.h"
#include "shunt/v1/admin.pb-c.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

static void time_cell(struct table *t, int64_t us)
{
    char text[32];
    time_t seconds = (time_t)(us / 1000000);
    struct tm tm;
    if (gmtime_r(&seconds, &tm) && strftime(text, sizeof text, "%Y-%m-%d %H:%M:%SZ", &tm))
        table_cell(t, "%s", text);
    else
        table_cell(t, "%" PRId64, us);
}

static const char *state_text(const Shunt__V1__Alarm *a)
{
    switch (a->state) {
    case SHUNT__V1__ALARM_STATE__ALARM_OPEN:
        return "open: probed";
    case SHUNT__V1__ALARM_STATE__ALARM_RESTORED:
        return "over: restored";
    case SHUNT__V1__ALARM_STATE__ALARM_SETTLED:
        return "settled";
    case SHUNT__V1__ALARM_STATE__ALARM_NOTED:
        return "noted";
    case _SHUNT__V1__ALARM_STATE_IS_INT_SIZE:
        break;
    }
    return "?";
}

static void alarm_row(struct table *t, const Shunt__V1__Alarm *a)
{
    table_cell(t, "%" PRIu64, a->id);
    time_cell(t, a->at_us);
    table_cell(t, "%s", a->router);
    table_cell(t, "%s", a->arm);
    table_cell(t, "%u", a->arm_version);
    table_cell(t, "%s", a->metric);
    table_cell(t, "%s", a->worse ? "worse" : "better");
    table_cell(t, "%.6g", a->before);
    table_cell(t, "%.6g", a->after);
    table_cell(t, "%" PRIu64, a->pulls);
    table_cell(t, "%s", state_text(a));
}

static enum ctl_exit print_alarms(const struct ctl *ctl, const ProtobufCMessage *response)
{
    (void)ctl;
    const Shunt__V1__ListAlarmsResponse *r = (const void *)response;
    static const char *const columns[] = {"id",      "when",   "router", "arm",
                                          "version", "metric", "became", "before",
                                          "after",   "pulls",  "state"};
    if (r->n_alarms == 0) {
        puts("no alarm");
        return CTL_OK;
    }
    struct table *t = table_new();
    for (size_t i = 0; t && i < sizeof columns / sizeof *columns; i++)
        table_column(t, columns[i], i >= 7 && i <= 9 ? TABLE_RIGHT : TABLE_LEFT);
    for (size_t i = 0; t && i < r->n_alarms; i++)
        alarm_row(t, r->alarms[i]);
    bool ok = t && table_print(t, stdout, ctl_bold());
    table_free(t);
    if (r->raised > r->n_alarms)
        printf("%" PRIu64 " were raised; a router's latest 32 are kept\n", r->raised);
    return ok ? CTL_OK : ctl_fail(CTL_REFUSED, "out of memory");
}

static enum ctl_exit print_arm(const struct ctl *ctl, const ProtobufCMessage *response)
{
    (void)ctl;
    const Shunt__V1__ArmInfo *arm = (const void *)response;
    const char *name = arm->spec ? arm->spec->name : "?";
    printf("arm %s, version %u", name, arm->version);
    if (arm->state == SHUNT__V1__ARM_STATE__ARM_DRAINING)
        printf(": draining, %" PRIu64 " in flight; `shuntctl arm show` says when it is done",
               arm->in_flight);
    else if (arm->has_drained && arm->drained)
        printf(": drained, paused");
    puts("");
    return CTL_OK;
}

#define END                                                                                        \
    {                                                                                              \
        NULL, NULL, NULL, NULL, COMMAND_SET                                                        \
    }
#define OF_ROUTER                                                                                  \
    {                                                                                              \
        "router", "ROUTER", "whose arm (default: default)", "router", COMMAND_SET                  \
    }
static const struct command_option no_options[] = {END};
static const struct command_option arm_options[] = {OF_ROUTER, END};
static const struct command_option price_options[] = {
    OF_ROUTER,
    {"factor", "F", "it costs F times as much from now on", "factor", COMMAND_SET},
    {"metric", "METRIC", "in which it is paid (default: cost_usd)", "metric", COMMAND_SET},
    END};
static const struct command_option reload_options[] = {
    OF_ROUTER,
    {"strength", "N", "keep what is known, worth N outcomes (default: nothing is kept)", "strength",
     COMMAND_SET},
    END};

#define ARM_CALL(method_, request_)                                                                \
    .args = "NAME", .positional_min = 1, .positional_max = 1, .positional_path = "name",           \
    .run = command_call, .print = print_arm, .service = CTL_ADMIN, .method = method_,              \
    .request = &shunt__v1__##request_##__descriptor, .response = &shunt__v1__arm_info__descriptor

const struct command drift_commands[] = {
    {.words = "alarms",
     .args = "[ROUTER]",
     .doc =
         "Show which arms are not what they were.\v`before` and `after`: means of the metric, as "
         "reported, until the change and since. `open`: the arm is probed until it has proved "
         "itself; `restored`: it is what it was again; `settled`: it is what it has become.",
     .options = no_options,
     .positional_max = 1,
     .positional_path = "router",
     .run = command_call,
     .print = print_alarms,
     .service = CTL_ADMIN,
     .method = "ListAlarms",
     .request = &shunt__v1__list_alarms_request__descriptor,
     .response = &shunt__v1__list_alarms_response__descriptor},
    {.words = "arm price",
     .doc = "Say that an arm's price changes.\vWhat is predicted of its cost is scaled at once; "
            "declared prices a token stay what they were.",
     .options = price_options,
     ARM_CALL("SetArmPrice", set_arm_price_request)},
    {.words = "arm reload",
     .doc = "Begin a new version of an arm that was replaced behind its name.\vOutcomes of the old "
            "version that are in flight are recorded and teach nobody.",
     .options = reload_options,
     ARM_CALL("ReloadArm", reload_arm_request)},
    {.words = "arm drain",
     .doc = "Route nothing more to an arm and wait for what is in flight.\vIt is paused then. Done "
            "when every decision is answered, or reward_wait_s is over.",
     .options = arm_options,
     .fixed = {"state", "ARM_DRAINING"},
     ARM_CALL("SetArmState", set_arm_state_request)},
    {.words = NULL}};
