/* lab_commands.c - questions to what was logged and learned: decisions export, evaluate, what-if,
 * lambda; and the jobs that answer them. */
#include "client/ctl/args.h"
#include "client/ctl/commands.h"
#include "client/ctl/decision_file.h"
#include "client/ctl/job_wait.h"
#include "client/ctl/lab_print.h"
#include "client/ctl/lambda_play.h"
#include "client/ctl/private_server.h"
#include "client/ctl/replay_play.h"
#include "proto/form/error.h"
#include "proto/form/set.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SETTINGS_MAX 64

/* ---- what all of them share ---- */

static enum ctl_exit set(ProtobufCMessage *message, const char *path, const char *value)
{
    struct form_error error;
    return form_set_field(message, path, value, &error) == FORM_OK
               ? CTL_OK
               : ctl_fail(CTL_USAGE, "%s", error.text);
}

/* --since and --until of a job of this kind ("evaluate"). */
static enum ctl_exit set_window(const struct command_input *in, ProtobufCMessage *message,
                                const char *kind)
{
    static const char *const names[] = {"since", "until"};
    for (int i = 0; i < 2; i++) {
        const char *text = command_value(in, names[i]);
        struct args_error error;
        struct timespec now;
        char path[64], value[32];
        int64_t us;
        if (!text)
            continue;
        clock_gettime(CLOCK_REALTIME, &now);
        int64_t now_us = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
        if (!args_time(text, now_us, &us, &error))
            return ctl_fail(CTL_USAGE, "--%s: %s", names[i], error.text);
        snprintf(path, sizeof path, "%s.%s_us", kind, names[i]);
        snprintf(value, sizeof value, "%lld", (long long)us);
        enum ctl_exit code = set(message, path, value);
        if (code != CTL_OK)
            return code;
    }
    return CTL_OK;
}

/* The request of a job of this kind; its message is there even when nothing of it was given. */
static enum ctl_exit job_request(const struct command_input *in, const char *kind,
                                 Shunt__V1__StartJobRequest **ret)
{
    ProtobufCMessage *message = NULL;
    char path[64];
    enum ctl_exit code = command_request(in, &message);
    if (code != CTL_OK)
        return code;
    const char *router = command_value(in, "router");
    snprintf(path, sizeof path, "%s.router", kind);
    code = set(message, path, router ? router : "");
    if (code == CTL_OK)
        code = set_window(in, message, kind);
    if (code == CTL_OK)
        *ret = (Shunt__V1__StartJobRequest *)message;
    else
        protobuf_c_message_free_unpacked(message, NULL);
    return code;
}

/* Runs and prints. */
static enum ctl_exit run_and_print(struct ctl *ctl, const Shunt__V1__StartJobRequest *request)
{
    Shunt__V1__JobInfo *job = NULL;
    enum ctl_exit code = job_run(ctl, request, &job);
    if (code == CTL_OK)
        code = ctl->json ? ctl_print_message(&job->base) : lab_print_job(job);
    if (job)
        protobuf_c_message_free_unpacked(&job->base, NULL);
    return code;
}

static enum ctl_exit job_command(struct ctl *ctl, const struct command_input *in, const char *kind)
{
    Shunt__V1__StartJobRequest *request = NULL;
    enum ctl_exit code = job_request(in, kind, &request);
    if (code != CTL_OK)
        return code;
    code = run_and_print(ctl, request);
    protobuf_c_message_free_unpacked(&request->base, NULL);
    return code;
}

/* ---- evaluate ---- */

/* A fresh server has one router, `default`, and a file may declare it otherwise. */
static enum ctl_exit undeclare_default(struct ctl *ctl)
{
    Shunt__V1__RemoveRouterRequest request = SHUNT__V1__REMOVE_ROUTER_REQUEST__INIT;
    char name[] = "default";
    ProtobufCMessage *response = NULL;
    request.name = name;
    enum ctl_exit code = ctl_call(ctl, CTL_ADMIN, "RemoveRouter", &request.base,
                                  &shunt__v1__remove_router_response__descriptor, &response);
    protobuf_c_message_free_unpacked(response, NULL);
    return code;
}

/* A router as the file declares it, on a server of our own. */
static enum ctl_exit declare_router(struct ctl *ctl, Shunt__V1__RouterSpec *spec,
                                    Shunt__V1__StartJobRequest *request)
{
    Shunt__V1__CreateRouterRequest create = SHUNT__V1__CREATE_ROUTER_REQUEST__INIT;
    ProtobufCMessage *response = NULL;
    enum ctl_exit code = CTL_OK;
    create.spec = spec;
    if (strcmp(spec->name, "default") == 0)
        code = undeclare_default(ctl);
    if (code == CTL_OK)
        code = ctl_call(ctl, CTL_ADMIN, "CreateRouter", &create.base,
                        &shunt__v1__router_info__descriptor, &response);
    protobuf_c_message_free_unpacked(response, NULL);
    return code == CTL_OK ? set(&request->base, "evaluate.router", spec->name) : code;
}

static enum ctl_exit evaluate_private(struct ctl *ctl, const char *path,
                                      Shunt__V1__StartJobRequest *request)
{
    struct private_server server = {0};
    Shunt__V1__RouterSpec *spec = NULL;
    enum ctl_exit code = decision_file_spec(path, &spec);
    if (code != CTL_OK)
        return code;
    play_block_signals();
    code = private_server_start(&server, ctl);
    if (code == CTL_OK && spec)
        code = declare_router(ctl, spec, request);
    if (code == CTL_OK)
        code = run_and_print(ctl, request);
    private_server_stop(&server);
    if (spec)
        protobuf_c_message_free_unpacked(&spec->base, NULL);
    return code;
}

/* The server opens the file: it is told where from the root on. */
static enum ctl_exit set_data(const char *data, Shunt__V1__StartJobRequest *request, char **ret)
{
    *ret = realpath(data, NULL);
    if (!*ret)
        return ctl_fail(CTL_USAGE, "%s: %s", data, strerror(errno));
    return set(&request->base, "evaluate.data", *ret);
}

static enum ctl_exit evaluate(struct ctl *ctl, const struct command_input *in)
{
    Shunt__V1__StartJobRequest *request = NULL;
    const char *data = command_value(in, "data");
    bool private = data && !ctl->admin_given && !command_value(in, "router");
    char *path = NULL;
    enum ctl_exit code = job_request(in, "evaluate", &request);
    if (code != CTL_OK)
        return code;
    if (data)
        code = set_data(data, request, &path);
    if (code == CTL_OK && private && command_value(in, "frozen"))
        code = ctl_fail(CTL_USAGE, "--frozen asks a router that has learned: name it by --router");
    if (code == CTL_OK)
        code = private ? evaluate_private(ctl, path, request) : run_and_print(ctl, request);
    free(path);
    protobuf_c_message_free_unpacked(&request->base, NULL);
    return code;
}

static enum ctl_exit what_if(struct ctl *ctl, const struct command_input *in)
{
    return job_command(ctl, in, "what_if");
}

/* ---- lambda ---- */

static enum ctl_exit lambda_options(const struct command_input *in, struct lambda_plan *plan,
                                    const char **files, const char **settings,
                                    struct args_pairs *weights)
{
    struct args_error error;
    const char *metric = command_value(in, "metric"), *steps = command_value(in, "steps");
    const char *seed = command_value(in, "seed");
    plan->served = metric ? replay_metric_find(metric) : REPLAY_COST_USD;
    if (plan->served == REPLAY_QUALITY || plan->served == REPLAY_METRIC_N)
        return ctl_fail(CTL_USAGE, "--metric: with --data it is cost_usd, energy_j or latency_ms");
    if (steps && !args_integer(steps, 2, LAMBDA_STEPS_MAX, &plan->steps, &error))
        return ctl_fail(CTL_USAGE, "--steps: %s", error.text);
    if (seed && !args_integer(seed, 0, UINT64_MAX, &plan->seed, &error))
        return ctl_fail(CTL_USAGE, "--seed: %s", error.text);
    for (size_t i = 0; i < in->values_n; i++) {
        const char *name = in->values[i].option->name, *value = in->values[i].value;
        bool is_file = strcmp(name, "data") == 0, is_setting = strcmp(name, "set") == 0;
        if ((is_file && plan->files_n == SETTINGS_MAX) ||
            (is_setting && plan->settings_n == SETTINGS_MAX))
            return ctl_fail(CTL_USAGE, "--%s: more than %d", name, SETTINGS_MAX);
        if (is_file)
            files[plan->files_n++] = value;
        if (is_setting)
            settings[plan->settings_n++] = value;
        if (strcmp(name, "weights") != 0)
            continue;
        if (!args_pairs_add(value, 0, 1e6, weights, &error))
            return ctl_fail(CTL_USAGE, "--weights: %s", error.text);
        plan->weights = weights;
    }
    return CTL_OK;
}

static enum ctl_exit lambda_data(struct ctl *ctl, const struct command_input *in)
{
    const char *files[SETTINGS_MAX], *settings[SETTINGS_MAX];
    struct args_pairs weights = {.n = 0};
    struct lambda_plan plan = {.files = files,
                               .settings = settings,
                               .steps = 11,
                               .seed = 1,
                               .text = !command_value(in, "no-text"),
                               .task = !command_value(in, "no-task"),
                               .keep_policy = command_value(in, "keep-policy") != NULL};
    /* First, so that --set has the last word. What the weights while learning never choose would
     * otherwise hardly be learned, and the ends of the sweep would be guesses. */
    if (!plan.keep_policy)
        settings[plan.settings_n++] = "explore_floor=0.3";
    enum ctl_exit code = lambda_options(in, &plan, files, settings, &weights);
    return code == CTL_OK ? lambda_play(ctl, &plan) : code;
}

/* The options of a sweep on the server, by hand: with --data the same ones mean the client. */
static enum ctl_exit lambda_fill(const struct command_input *in,
                                 Shunt__V1__StartJobRequest *request)
{
    static const struct {
        const char *option, *path;
    } rows[] = {{"metric", "sweep.served"},
                {"rated", "sweep.rated"},
                {"steps", "sweep.steps"},
                {"contexts", "sweep.contexts_max"}};
    enum ctl_exit code = CTL_OK;
    for (size_t i = 0; i < sizeof rows / sizeof *rows && code == CTL_OK; i++) {
        const char *value = command_value(in, rows[i].option);
        if (value)
            code = set(&request->base, rows[i].path, value);
    }
    if (code == CTL_OK && command_value(in, "keep-policy"))
        code = set(&request->base, "sweep.keep_policy", "true");
    return code;
}

/* Options that only make sense with or without --data. */
static enum ctl_exit lambda_check(const struct command_input *in, bool data)
{
    static const char *const with[] = {"set", "weights", "seed", "no-task", "no-text"};
    static const char *const without[] = {"router", "rated", "contexts", "since", "until"};
    const char *const *wrong = data ? without : with;
    for (int i = 0; i < 5; i++)
        if (command_value(in, wrong[i]))
            return ctl_fail(CTL_USAGE, "--%s goes %s --data", wrong[i], data ? "without" : "with");
    return CTL_OK;
}

static enum ctl_exit lambda(struct ctl *ctl, const struct command_input *in)
{
    bool data = command_value(in, "data") != NULL;
    Shunt__V1__StartJobRequest *request = NULL;
    enum ctl_exit code = lambda_check(in, data);
    if (code != CTL_OK || data)
        return code == CTL_OK ? lambda_data(ctl, in) : code;
    code = job_request(in, "sweep", &request);
    if (code != CTL_OK)
        return code;
    code = lambda_fill(in, request);
    if (code == CTL_OK)
        code = run_and_print(ctl, request);
    protobuf_c_message_free_unpacked(&request->base, NULL);
    return code;
}

/* ---- decisions export ---- */

static enum ctl_exit fetch(struct ctl *ctl, const Shunt__V1__JobInfo *job, FILE *out)
{
    enum ctl_exit code = decision_file_begin(ctl, job->router, out);
    return code == CTL_OK ? job_output(ctl, job->id, out) : code;
}

static enum ctl_exit say_export(const struct ctl *ctl, const Shunt__V1__JobInfo *job,
                                const char *path)
{
    if (ctl->json)
        return ctl_print_json(json_pack("{s:s, s:I, s:I}", "file", path, "rows",
                                        (json_int_t)job->export->rows, "bytes",
                                        (json_int_t)job->export->bytes));
    printf("%s: %llu decisions of router %s, %llu with an outcome\n", path,
           (unsigned long long)job->export->rows, job->router,
           (unsigned long long)(job->log ? job->log->outcomes : 0));
    if (job->log && job->log->note)
        printf("note: %s\n", job->log->note);
    return CTL_OK;
}

/* Standard output holds the lines alone. */
static enum ctl_exit print_lines(struct ctl *ctl, const Shunt__V1__JobInfo *job)
{
    if (job->log && job->log->note)
        fprintf(stderr, "shuntctl: note: %s\n", job->log->note);
    return fetch(ctl, job, stdout);
}

/* Into a file that appears whole or not at all. */
static enum ctl_exit save(struct ctl *ctl, const Shunt__V1__JobInfo *job, const char *path)
{
    char part[4096];
    if (snprintf(part, sizeof part, "%s.part", path) >= (int)sizeof part)
        return ctl_fail(CTL_USAGE, "--out: the path is too long");
    int fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    FILE *out = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (!out) {
        if (fd >= 0)
            close(fd);
        return ctl_fail(CTL_USAGE, "%s: %s", part, strerror(errno));
    }
    enum ctl_exit code = fetch(ctl, job, out);
    if (fclose(out) != 0 && code == CTL_OK)
        code = ctl_fail(CTL_REFUSED, "%s: %s", part, strerror(errno));
    if (code == CTL_OK && rename(part, path) != 0)
        code = ctl_fail(CTL_REFUSED, "%s: %s", path, strerror(errno));
    if (code != CTL_OK)
        unlink(part);
    return code == CTL_OK ? say_export(ctl, job, path) : code;
}

static enum ctl_exit export_decisions(struct ctl *ctl, const struct command_input *in)
{
    Shunt__V1__StartJobRequest *request = NULL;
    Shunt__V1__JobInfo *job = NULL;
    const char *path = command_value(in, "out");
    enum ctl_exit code = job_request(in, "export", &request);
    if (code != CTL_OK)
        return code;
    code = job_run(ctl, request, &job);
    protobuf_c_message_free_unpacked(&request->base, NULL);
    if (code != CTL_OK)
        return code;
    if (!job->export || !job->router)
        code = ctl_fail(CTL_REFUSED, "the server sent no export");
    else
        code = path && strcmp(path, "-") != 0 ? save(ctl, job, path) : print_lines(ctl, job);
    job_forget(ctl, job->id);
    protobuf_c_message_free_unpacked(&job->base, NULL);
    return code;
}

/* ---- jobs ---- */

static enum ctl_exit print_list(const struct ctl *ctl, const ProtobufCMessage *response)
{
    (void)ctl;
    return lab_print_jobs((const Shunt__V1__ListJobsResponse *)response);
}

static enum ctl_exit print_one(const struct ctl *ctl, const ProtobufCMessage *response)
{
    (void)ctl;
    return lab_print_job((const Shunt__V1__JobInfo *)response);
}

static enum ctl_exit print_cancelled(const struct ctl *ctl, const ProtobufCMessage *response)
{
    (void)ctl;
    (void)response;
    puts("cancelled");
    return CTL_OK;
}

/* ---- the table ---- */

#define ROUTER                                                                                     \
    {                                                                                              \
        "router", "ROUTER", "the router asked about (default: default)", NULL, COMMAND_LOCAL       \
    }
#define WINDOW                                                                                     \
    {"since", "T", "decisions from this time on: 2026-11-22, 2026-11-22T05:30:00 (UTC), 12h, 3d",  \
     NULL, COMMAND_LOCAL},                                                                         \
    {                                                                                              \
        "until", "T", "decisions before this time (default: now)", NULL, COMMAND_LOCAL             \
    }
#define CHANGES(kind, default_weights)                                                             \
    {"policy", "POLICY", "the policy on trial (default: the router's)", kind ".settings.policy",   \
     COMMAND_SET},                                                                                 \
        {"set", "KEY=VALUE", "another setting on trial; may be repeated", kind ".",                \
         COMMAND_SETTING},                                                                         \
    {                                                                                              \
        "weights", "METRIC=W,...",                                                                 \
            "weights on trial; as in route, a metric that is not named has weight 0 "              \
            "(default: " default_weights ")",                                                      \
            kind ".weights", COMMAND_PAIRS                                                         \
    }
#define END                                                                                        \
    {                                                                                              \
        NULL, NULL, NULL, NULL, COMMAND_SET                                                        \
    }

static const struct command_option evaluate_options[] = {
    ROUTER,
    WINDOW,
    CHANGES("evaluate", "those of each decision"),
    {"data", "FILE", "evaluate this file in place of the decision log", NULL, COMMAND_LOCAL},
    {"frozen", NULL, "decide by the statistics of now and learn nothing", "evaluate.frozen",
     COMMAND_FLAG},
    {"no-replay", NULL, "leave out the replay estimate: half the time", "evaluate.no_replay",
     COMMAND_FLAG},
    {"seed", "N", "of the target's draws (default: 1)", "evaluate.seed", COMMAND_SET},
    END};
static const struct command_option what_if_options[] = {ROUTER, CHANGES("what_if", "the router's"),
                                                        END};
static const struct command_option lambda_options_table[] = {
    ROUTER,
    WINDOW,
    {"metric", "NAME", "the served metric that gets weight lambda (default: cost_usd)", NULL,
     COMMAND_LOCAL},
    {"rated", "NAME",
     "without --data: the rated metric that gets 1 - lambda (default: the heaviest)", NULL,
     COMMAND_LOCAL},
    {"steps", "N", "values of lambda from 0 to 1 (default: 11)", NULL, COMMAND_LOCAL},
    {"contexts", "N", "without --data: ask about the N oldest contexts only", NULL, COMMAND_LOCAL},
    {"keep-policy", NULL, "with newcomers, floor and policy as set, not the best mean alone", NULL,
     COMMAND_SWITCH},
    {"data", "FILE", "full-information rows as replay reads them; may be repeated", NULL,
     COMMAND_LOCAL},
    {"weights", "METRIC=W,...", "with --data: while learning (default: .5 and .5)", NULL,
     COMMAND_LOCAL},
    {"set", "KEY=VALUE", "with --data: a setting of the router that learns; may be repeated", NULL,
     COMMAND_LOCAL},
    {"seed", "N", "with --data: of the shuffle and the router (default: 1)", NULL, COMMAND_LOCAL},
    {"no-task", NULL, "with --data: do not send the task labels", NULL, COMMAND_SWITCH},
    {"no-text", NULL, "with --data: do not send the prompts", NULL, COMMAND_SWITCH},
    END};
static const struct command_option export_options[] = {
    ROUTER,
    WINDOW,
    {"out", "FILE", "write it here (default: standard output)", NULL, COMMAND_LOCAL},
    END};
static const struct command_option cancel_options[] = {
    {"forget", NULL, "also drop it from the list, with its output", "forget", COMMAND_FLAG}, END};
static const struct command_option no_options[] = {END};

static const char about_evaluate[] =
    "What would another policy, other settings or other weights have earned?\v"
    "Reads the decision log joined with what was reported, or FILE: what `decisions export` wrote, "
    "or logged bandit data, one JSON object a line, plain or gzip:\n"
    "  {\"task\": \"math\", \"text\": \"the prompt\", \"arm\": \"small\", \"propensity\": 0.25,\n"
    "   \"outcome\": {\"reward\": 1, \"cost_usd\": 0.0004}}\n"
    "The target begins knowing nothing, decides every row before it learns it, and never uses a "
    "row "
    "twice. Without --admin and --router, a file is evaluated on a private server. Ctrl-C cancels "
    "the job.\n\n"
    "The verdict comes from the doubly robust difference to the logged policy; there is none when "
    "the effective sample size is below 50.";
static const char about_what_if[] =
    "Fold the journal again as if the router had had other settings all along.\v"
    "Shows what would have been chosen and predicted, beside what was.";
static const char about_lambda[] =
    "Quality against cost: what each weight from 0 to 1 would give, from one learning.\v"
    "Without --data: predictions of the router's statistics on contexts of its decision log. With "
    "it: rows as `shuntctl replay` reads them are learned once on a private server (with --server "
    "on "
    "that one; SHUNT_SERVER does not choose it), and every lambda is asked as a dry run; the "
    "figures are then the true outcomes. While learning explore_floor is .3, unless --set or "
    "--keep-policy says otherwise, so that every arm is learned whatever the weights.";
static const char about_export[] =
    "Write decisions with all that an audit needs, one JSON object a line.\v"
    "The first lines declare the router and its arms; each other line is a decision: ids, arm, "
    "policy, reason, propensity, seed, snapshot position, context, every eligible arm with its "
    "propensity, mean, width and pending pulls, weights, the budget with its price or null, and "
    "the "
    "outcome or null. `evaluate --data` reads it.";

#define JOB .service = CTL_ADMIN, .request = &shunt__v1__start_job_request__descriptor

const struct command lab_commands[] = {
    {.words = "evaluate", .doc = about_evaluate, .options = evaluate_options, .run = evaluate, JOB},
    {.words = "what-if", .doc = about_what_if, .options = what_if_options, .run = what_if, JOB},
    {.words = "lambda", .doc = about_lambda, .options = lambda_options_table, .run = lambda, JOB},
    {.words = "decision export",
     .doc = about_export,
     .options = export_options,
     .run = export_decisions,
     JOB},
    {.words = "job cancel",
     .args = "ID",
     .doc = "End a job that waits or runs.",
     .options = cancel_options,
     .positional_min = 1,
     .positional_max = 1,
     .positional_path = "id",
     .run = command_call,
     .print = print_cancelled,
     .service = CTL_ADMIN,
     .method = "CancelJob",
     .request = &shunt__v1__cancel_job_request__descriptor,
     .response = &shunt__v1__cancel_job_response__descriptor},
    {.words = "job show",
     .args = "ID",
     .doc = "Show a job, and what it found.",
     .options = no_options,
     .positional_min = 1,
     .positional_max = 1,
     .positional_path = "id",
     .run = command_call,
     .print = print_one,
     .service = CTL_ADMIN,
     .method = "GetJob",
     .request = &shunt__v1__get_job_request__descriptor,
     .response = &shunt__v1__job_info__descriptor},
    {.words = "jobs",
     .doc = "List the jobs: those that wait, run, or ended lately.",
     .options = no_options,
     .run = command_call,
     .print = print_list,
     .service = CTL_ADMIN,
     .method = "ListJobs",
     .request = &shunt__v1__list_jobs_request__descriptor,
     .response = &shunt__v1__list_jobs_response__descriptor},
    {.words = NULL}};
