/* adapters_commands.c - adapters: resident, desired, cost, share, value and why; plan, pin, unpin,
 * watch, simulate. */
#include "client/ctl/adapters_print.h"
#include "client/ctl/args.h"
#include "client/ctl/commands.h"
#include "client/ctl/job_wait.h"
#include "client/ctl/private_server.h"
#include "client/ctl/replay_play.h"
#include "proto/form/field.h"
#include "proto/form/set.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum ctl_exit print_state(const struct ctl *ctl, const ProtobufCMessage *response)
{
    (void)ctl;
    return adapters_print_state((const Shunt__V1__ResidencyState *)response);
}

static enum ctl_exit print_plan(const struct ctl *ctl, const ProtobufCMessage *response)
{
    (void)ctl;
    return adapters_print_plan((const Shunt__V1__AdapterPlan *)response);
}

static enum ctl_exit print_pinned(const struct ctl *ctl, const ProtobufCMessage *response)
{
    (void)ctl;
    const Shunt__V1__AdapterInfo *a = (const void *)response;
    bool pinned = a->adapter && a->adapter->pinned;
    printf("%s is %s; a plan with it is being made\n", a->arm_id ? a->arm_id : "?",
           pinned ? "pinned" : "not pinned");
    return CTL_OK;
}

/* ---- watch ---- */

static bool print_change(void *ctx, ProtobufCMessage *message)
{
    const struct ctl *ctl = ctx;
    enum ctl_exit code = ctl->json
                             ? ctl_print_message(message)
                             : adapters_print_state((const Shunt__V1__ResidencyState *)message);
    if (!ctl->json)
        puts("");
    return fflush(stdout) == 0 && code == CTL_OK;
}

static enum ctl_exit watch(struct ctl *ctl, const struct command_input *in)
{
    ProtobufCMessage *request = NULL;
    enum ctl_exit code = command_request(in, &request);
    if (code != CTL_OK)
        return code;
    code = ctl_watch(ctl, CTL_ADMIN, "WatchResidency", request,
                     &shunt__v1__residency_state__descriptor, print_change, ctl);
    protobuf_c_message_free_unpacked(request, NULL);
    return code;
}

/* ---- simulate ---- */

enum { NAME_MAX_LEN = 64 }; /* Of a setting; none is as long. */

static enum ctl_exit show(const struct ctl *ctl, const struct command_input *in,
                          const Shunt__V1__JobInfo *job)
{
    const char *csv = command_value(in, "csv"), *curves = command_value(in, "curves");
    enum ctl_exit code = CTL_OK;
    if (!job->simulation)
        return ctl_fail(CTL_REFUSED, "the server sent no simulation");
    if (csv)
        code = adapters_write_table(job->simulation, csv);
    if (code == CTL_OK && curves)
        code = adapters_write_curves(job->simulation, curves);
    if (code != CTL_OK || (csv && strcmp(csv, "-") == 0) || (curves && strcmp(curves, "-") == 0))
        return code;
    return ctl->json ? ctl_print_json(adapters_json(job->simulation))
                     : adapters_print_simulation(job->simulation);
}

static enum ctl_exit run(struct ctl *ctl, const struct command_input *in,
                         const Shunt__V1__StartJobRequest *request)
{
    Shunt__V1__JobInfo *job = NULL;
    enum ctl_exit code = job_run(ctl, request, &job);
    if (code != CTL_OK)
        return code;
    code = show(ctl, in, job);
    job_forget(ctl, job->id);
    protobuf_c_message_free_unpacked(&job->base, NULL);
    return code;
}

/* The server opens the trace: it is told where from the root on. What says how requests are made up
 * would be ignored without a word. */
static enum ctl_exit set_trace(const char *trace, ProtobufCMessage *request)
{
    const Shunt__V1__SimulateJob *job = ((const Shunt__V1__StartJobRequest *)request)->simulate;
    struct form_error error;
    if (job->has_horizon || job->has_rotations || job->has_adapters || job->has_tasks)
        return ctl_fail(CTL_USAGE, "a trace is played whole: leave out --horizon, --rotations, "
                                   "--adapters and --tasks, which make up requests");
    char *path = realpath(trace, NULL);
    if (!path)
        return ctl_fail(CTL_USAGE, "--trace: %s is not there", trace);
    bool ok = form_set_field(request, "simulate.data", path, &error) == FORM_OK;
    free(path);
    return ok ? CTL_OK : ctl_fail(CTL_USAGE, "--trace: %s", error.text);
}

/* Every policy is played, and no engine is driven: what says which has nothing to say here. */
static bool is_played(const ProtobufCFieldDescriptor *field)
{
    static const char *const others[] = {"policy", "engine", "replicas", "tick_ms"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strcmp(field->name, others[i]) == 0)
            return false;
    return true;
}

static enum ctl_exit no_setting(const char *key)
{
    const ProtobufCMessageDescriptor *all = &shunt__v1__residency__descriptor;
    char names[1024] = "";
    for (unsigned i = 0; i < all->n_fields; i++)
        if (is_played(&all->fields[i])) {
            size_t len = strlen(names);
            (void)snprintf(names + len, sizeof names - len, "%s%s", len ? ", " : "",
                           all->fields[i].name);
        }
    return ctl_fail(CTL_USAGE, "--set: there is no setting `%.64s` to play with; there are %s", key,
                    names);
}

static enum ctl_exit set_played(const char *text, ProtobufCMessage *request)
{
    char key[NAME_MAX_LEN], path[NAME_MAX_LEN + 32];
    struct form_error error;
    size_t len = strcspn(text, "=");
    if (len == 0 || text[len] == '\0')
        return ctl_fail(CTL_USAGE, "--set: '%.64s' is not KEY=VALUE", text);
    (void)snprintf(key, sizeof key, "%.*s", (int)(len < sizeof key ? len : sizeof key - 1), text);
    const ProtobufCFieldDescriptor *field =
        form_field_find(&shunt__v1__residency__descriptor, key, strlen(key));
    if (!field || !is_played(field))
        return no_setting(key);
    (void)snprintf(path, sizeof path, "simulate.residency.%s", key);
    if (form_set_field(request, path, text + len + 1, &error) != FORM_OK)
        return ctl_fail(CTL_USAGE, "--set: %s", error.text);
    return CTL_OK;
}

/* It asks no router, and it takes a while: on a server of its own unless one is named. */
static enum ctl_exit simulate(struct ctl *ctl, const struct command_input *in)
{
    struct private_server server = {0};
    struct form_error error;
    ProtobufCMessage *message = NULL;
    const char *trace = command_value(in, "trace");
    const char *csv = command_value(in, "csv"), *curves = command_value(in, "curves");
    if (csv && curves && strcmp(csv, "-") == 0 && strcmp(curves, "-") == 0)
        return ctl_fail(CTL_USAGE, "--csv and --curves are two tables: only one can be stdout's");
    enum ctl_exit code = command_request(in, &message);
    if (code != CTL_OK)
        return code;
    if (!((Shunt__V1__StartJobRequest *)message)->simulate &&
        form_set_field(message, "simulate.seeds", "10", &error) != FORM_OK)
        code = ctl_fail(CTL_REFUSED, "%s", error.text);
    for (size_t i = 0; i < in->values_n && code == CTL_OK; i++)
        if (strcmp(in->values[i].option->name, "set") == 0)
            code = set_played(in->values[i].value, message);
    if (code == CTL_OK && trace)
        code = set_trace(trace, message);
    if (code == CTL_OK && !ctl->admin_given) {
        play_block_signals();
        code = private_server_start(&server, ctl);
        if (code == CTL_OK)
            code = run(ctl, in, (const Shunt__V1__StartJobRequest *)message);
        private_server_stop(&server);
    } else if (code == CTL_OK) {
        code = run(ctl, in, (const Shunt__V1__StartJobRequest *)message);
    }
    protobuf_c_message_free_unpacked(message, NULL);
    return code;
}

/* ---- the table ---- */

#define END                                                                                        \
    {                                                                                              \
        NULL, NULL, NULL, NULL, COMMAND_SET                                                        \
    }
#define OF_ROUTER                                                                                  \
    {                                                                                              \
        "router", "ROUTER", "whose adapters (default: default)", "router", COMMAND_SET             \
    }
static const struct command_option router_options[] = {OF_ROUTER, END};
static const struct command_option simulate_options[] = {
    {"seeds", "N", "paired runs (default: 10)", "simulate.seeds", COMMAND_SET},
    {"horizon", "T", "requests of a run (default: 20000)", "simulate.horizon", COMMAND_SET},
    {"rotations", "R", "times that the tasks change their popularity (default: 0)",
     "simulate.rotations", COMMAND_SET},
    {"adapters", "N", "how many there are (default: 15)", "simulate.adapters", COMMAND_SET},
    {"tasks", "M", "how many there are (default: 5)", "simulate.tasks", COMMAND_SET},
    {"slots", "K", "adapters that fit (default: 5)", "simulate.residency.slots", COMMAND_SET},
    {"delay", "D", "requests until a reward comes (default: 0)", "simulate.delay", COMMAND_SET},
    {"missing", "P", "share of rewards that never come (default: 0)", "simulate.missing",
     COMMAND_SET},
    {"plain-alpha", "A", "alpha of policy `oblivious` (default: .8)", "simulate.plain_alpha",
     COMMAND_SET},
    {"set", "KEY=VALUE", "a setting of residency, such as load_weight=.1; may be repeated", NULL,
     COMMAND_LOCAL},
    {"trace", "FILE", "requests of your own in place of synthetic ones", NULL, COMMAND_LOCAL},
    {"csv", "FILE", "write the table there; -: to stdout", NULL, COMMAND_LOCAL},
    {"curves", "FILE", "write each policy's regret over requests there, for plotting; -: to stdout",
     NULL, COMMAND_LOCAL},
    END};

#define ADAPTERS_CALL(method_, request_, response_, print_)                                        \
    .run = command_call, .print = print_, .service = CTL_ADMIN, .method = method_,                 \
    .request = &shunt__v1__##request_##_request__descriptor,                                       \
    .response = &shunt__v1__##response_##__descriptor
#define PIN                                                                                        \
    .args = "NAME", .options = router_options, .positional_min = 1, .positional_max = 1,           \
    .positional_path = "arm_id",                                                                   \
    ADAPTERS_CALL("PinAdapter", pin_adapter, adapter_info, print_pinned)

const struct command adapters_commands[] = {
    {.words = "adapters plan",
     .doc = "Show the plan in force, the epoch that runs, and the replicas that carry it out.",
     .options = router_options,
     ADAPTERS_CALL("GetPlan", get_plan, adapter_plan, print_plan)},
    {.words = "adapters pin",
     .doc = "Keep an adapter resident, whatever the plan thinks of it.",
     .fixed = {"pinned", "true"},
     PIN},
    {.words = "adapters unpin",
     .doc = "Leave an adapter to the plan again.",
     .fixed = {"pinned", "false"},
     PIN},
    {.words = "adapters watch",
     .doc = "Show what is desired and resident, now and whenever it changes; until Ctrl-C.",
     .options = router_options,
     .run = watch,
     .request = &shunt__v1__watch_residency_request__descriptor},
    {.words = "adapters simulate",
     .doc =
         "Play every cache policy through the same requests and compare what each costs.\v"
         "On a server of its own unless --admin names one. The README of server/adapters has "
         "the form of a trace. All but `oblivious` share the server's learner. `loads`: that "
         "plans asked for. `slope`: of log regret in log requests, from a sixteenth of the run on.",
     .options = simulate_options,
     .run = simulate,
     .request = &shunt__v1__start_job_request__descriptor},
    /* After those of two words, which begin with it. */
    {.words = "adapters",
     .doc =
         "Show a router's adapters: resident, desired, cost, share, estimated value, and why.\v"
         "`price`: utility that a miss is charged. `share`: of the requests of the last epochs. "
         "`value`: what a request would be worth less without it, or, of one that is not desired, "
         "what it would gain by a slot.",
     .options = router_options,
     ADAPTERS_CALL("ListAdapters", list_adapters, residency_state, print_state)},
    {.words = NULL}};
