/* state_commands.c - what the server holds, and taking care of it: stats, config, verify,
 * checkpoint, backup, restore, classifier train, keys rotate, version. */
#include "client/ctl/commands.h"
#include "client/ctl/table.h"
#include "proto/form/json.h"
#include "shunt/v1/admin.pb-c.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* A mean of nothing is null for scripts, not 0. */
static void mean_of_nothing(json_t *metrics)
{
    const char *name;
    json_t *metric;
    json_object_foreach(metrics, name, metric)
    {
        if (json_integer_value(json_object_get(metric, "n")) == 0)
            json_object_set_new(metric, "mean", json_null());
    }
}

/* The generic form has exactly the promised keys. */
static enum ctl_exit print_stats_json(const ProtobufCMessage *response)
{
    json_t *json = NULL;
    struct form_error error;
    if (form_json_from_message(response, FORM_LISTS, &json, &error) != FORM_OK)
        return ctl_fail(CTL_REFUSED, "%s", error.text);
    const char *router_name, *arm_name;
    json_t *router, *arm;
    json_object_foreach(json_object_get(json, "routers"), router_name, router)
    {
        json_object_foreach(json_object_get(router, "arms"), arm_name, arm)
        {
            mean_of_nothing(json_object_get(arm, "metrics"));
        }
    }
    return ctl_print_json(json);
}

static void stats_rows(struct table *t, const char *name, const Shunt__V1__RouterStats *router)
{
    uint64_t issued = 0;
    for (size_t i = 0; i < router->n_arms; i++)
        issued += router->arms[i]->value ? router->arms[i]->value->issued : 0;
    for (size_t i = 0; i < router->n_arms; i++) {
        const Shunt__V1__ArmStats *arm = router->arms[i]->value;
        if (!arm)
            continue;
        char *text = NULL;
        size_t len = 0;
        FILE *out = open_memstream(&text, &len);
        for (size_t m = 0; out && m < arm->n_metrics; m++) {
            const Shunt__V1__MetricStats *s = arm->metrics[m]->value;
            if (s && s->n > 0)
                fprintf(out, "%s%s %.4g (%" PRIu64 ")", ftell(out) ? ", " : "",
                        arm->metrics[m]->key, s->mean, s->n);
        }
        if (out)
            fclose(out);
        table_cell(t, "%s", name);
        table_cell(t, "%s", router->arms[i]->key);
        table_cell(t, "%" PRIu64, arm->issued);
        table_cell(t, "%.1f %%", issued ? 100.0 * (double)arm->issued / (double)issued : 0.0);
        table_cell(t, "%s", text ? text : "");
        free(text);
    }
}

static enum ctl_exit print_stats(const Shunt__V1__StatsResponse *stats)
{
    struct table *t = table_new();
    printf("journal at %" PRIu64 ", checkpoint at %" PRIu64 "\n", stats->journal_position,
           stats->checkpoint_position);
    for (size_t i = 0; i < stats->n_routers; i++)
        if (stats->routers[i]->value)
            printf("router %s: %" PRIu64 " outcomes learned\n", stats->routers[i]->key,
                   stats->routers[i]->value->outcomes_folded);
    puts("");
    if (t) {
        table_column(t, "router", TABLE_LEFT);
        table_column(t, "arm", TABLE_LEFT);
        table_column(t, "issued", TABLE_RIGHT);
        table_column(t, "share", TABLE_RIGHT);
        table_column(t, "means (outcomes)", TABLE_LEFT);
    }
    for (size_t i = 0; t && i < stats->n_routers; i++)
        if (stats->routers[i]->value)
            stats_rows(t, stats->routers[i]->key, stats->routers[i]->value);
    bool ok = t && table_print(t, stdout, ctl_bold());
    table_free(t);
    return ok ? CTL_OK : ctl_fail(CTL_REFUSED, "out of memory");
}

/* Runs the call; the caller prints and frees. */
static enum ctl_exit ask(struct ctl *ctl, const struct command_input *in, ProtobufCMessage **ret)
{
    const struct command *c = in->command;
    ProtobufCMessage *request = NULL;
    enum ctl_exit code = command_request(in, &request);
    if (code == CTL_OK)
        code = c->long_label ? ctl_call_long(ctl, c->service, c->method, c->long_label, request,
                                             c->response, ret)
                             : ctl_call(ctl, c->service, c->method, request, c->response, ret);
    protobuf_c_message_free_unpacked(request, NULL);
    return code;
}

static enum ctl_exit stats(struct ctl *ctl, const struct command_input *in)
{
    ProtobufCMessage *response = NULL;
    enum ctl_exit code = ask(ctl, in, &response);
    if (code == CTL_OK)
        code = ctl->json ? print_stats_json(response)
                         : print_stats((const Shunt__V1__StatsResponse *)response);
    protobuf_c_message_free_unpacked(response, NULL);
    return code;
}

static enum ctl_exit print_config(const struct ctl *ctl, const ProtobufCMessage *response)
{
    (void)ctl;
    const Shunt__V1__GetConfigResponse *config = (const void *)response;
    struct table *t = table_new();
    if (t) {
        table_column(t, "key", TABLE_LEFT);
        table_column(t, "value", TABLE_LEFT);
        table_column(t, "source", TABLE_LEFT);
        table_column(t, "about", TABLE_LEFT);
    }
    for (size_t i = 0; t && i < config->n_entries; i++) {
        const Shunt__V1__ConfigEntry *e = config->entries[i];
        table_cell(t, "%s", e->key ? e->key : "");
        table_cell(t, "%s", e->value ? e->value : "");
        table_cell(t, "%s", e->source ? e->source : "");
        table_cell(t, "%s", e->about ? e->about : "");
    }
    bool ok = t && table_print(t, stdout, ctl_bold());
    table_free(t);
    return ok ? CTL_OK : ctl_fail(CTL_REFUSED, "out of memory");
}

static enum ctl_exit verify(struct ctl *ctl, const struct command_input *in)
{
    ProtobufCMessage *response = NULL;
    enum ctl_exit code = ask(ctl, in, &response);
    if (code != CTL_OK)
        return code;
    const Shunt__V1__VerifyResponse *r = (const void *)response;
    bool same = r->has_ok && r->ok;
    if (ctl->json)
        code = ctl_print_message(response);
    else
        printf("%s: %" PRIu64 " events folded again from position %" PRIu64 ", compared %" PRIu64
               " bytes at position %" PRIu64 "%s%s\n",
               same ? "ok" : "DIFFERENT", r->events, r->base_position, r->state_bytes, r->position,
               r->detail && *r->detail ? ": " : "", r->detail ? r->detail : "");
    protobuf_c_message_free_unpacked(response, NULL);
    return code != CTL_OK ? code : same ? CTL_OK : CTL_DIFFERS;
}

static enum ctl_exit print_checkpoint(const struct ctl *ctl, const ProtobufCMessage *response)
{
    (void)ctl;
    printf("checkpoint at position %" PRIu64 "\n",
           ((const Shunt__V1__CheckpointResponse *)(const void *)response)->position);
    return CTL_OK;
}

/* The server wants an absolute path; a relative one is meant from here. */
static enum ctl_exit backup(struct ctl *ctl, const struct command_input *in)
{
    struct command_input absolute = *in;
    char here[4096], path[8192];
    if (in->positional[0][0] != '/') {
        if (!getcwd(here, sizeof here))
            return ctl_fail(CTL_REFUSED, "the current directory: %s", strerror(errno));
        snprintf(path, sizeof path, "%s/%.4000s", here, in->positional[0]);
        absolute.positional[0] = path;
    }
    return command_call(ctl, &absolute);
}

static enum ctl_exit print_backup(const struct ctl *ctl, const ProtobufCMessage *response)
{
    (void)ctl;
    const Shunt__V1__BackupResponse *r = (const void *)response;
    printf("copied %" PRIu64 " bytes, holding position %" PRIu64 "\n", r->bytes, r->position);
    return CTL_OK;
}

/* Runs shuntd and waits. What it prints is for programs; what it says on stderr is for the reader
 * here, too. */
static enum ctl_exit shuntd_run(char *const argv[])
{
    char shuntd[4352];
    posix_spawn_file_actions_t files;
    pid_t pid;
    int status = 0;
    ctl_find_shuntd(shuntd, sizeof shuntd);
    int failed = posix_spawn_file_actions_init(&files);
    if (failed)
        return ctl_fail(CTL_REFUSED, "cannot run %s: %s", shuntd, strerror(failed));
    failed = posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    if (!failed)
        failed = posix_spawnp(&pid, shuntd, &files, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&files);
    if (failed)
        return ctl_fail(CTL_REFUSED, "cannot run %s: %s", shuntd, strerror(failed));
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return ctl_fail(CTL_REFUSED, "waiting for %s: %s", shuntd, strerror(errno));
    if (WIFSIGNALED(status))
        return ctl_fail(CTL_REFUSED, "%s was ended by signal %d", shuntd, WTERMSIG(status));
    return WEXITSTATUS(status) == 0 ? CTL_OK : CTL_REFUSED;
}

/* A server cannot replace the directory it has open, so this runs shuntd itself. */
static enum ctl_exit restore(struct ctl *ctl, const struct command_input *in)
{
    char from[4096], to[4096];
    const char *data_dir = command_value(in, "data-dir");
    if (!data_dir)
        return ctl_fail(CTL_USAGE, "restore needs --data-dir DIR: where the copy goes");
    int a = snprintf(from, sizeof from, "%s", in->positional[0]);
    int b = snprintf(to, sizeof to, "%s", data_dir);
    if (a >= (int)sizeof from || b >= (int)sizeof to)
        return ctl_fail(CTL_USAGE, "a path is too long");
    char name[] = "shuntd", verb[] = "restore", flag_from[] = "--from", flag_dir[] = "--data-dir";
    char *const argv[] = {name, verb, flag_from, from, flag_dir, to, NULL};
    enum ctl_exit code = shuntd_run(argv);
    if (code != CTL_OK)
        return code;
    if (ctl->json)
        return ctl_print_json(json_pack("{s:b, s:s}", "restored", 1, "data_dir", to));
    printf("restored into %s; start a server there with shuntd --data-dir %s\n", to, to);
    return CTL_OK;
}

#define EXAMPLES_MAX (4UL * 1024 * 1024) /* As many bytes as the server takes. */

static enum ctl_exit classifier_train(struct ctl *ctl, const struct command_input *in)
{
    Shunt__V1__TrainClassifierRequest request = SHUNT__V1__TRAIN_CLASSIFIER_REQUEST__INIT;
    const char *path = in->positional[0];
    size_t len = 0;
    enum ctl_exit code = ctl_read_file(path, EXAMPLES_MAX, &request.examples, &len);
    if (code == CTL_OK && strlen(request.examples) != len)
        code = ctl_fail(CTL_USAGE, "%s: holds a NUL byte", path);
    if (code == CTL_OK)
        code = command_send(ctl, in, &request.base);
    free(request.examples);
    return code;
}

static enum ctl_exit print_trained(const struct ctl *ctl, const ProtobufCMessage *response)
{
    (void)ctl;
    const Shunt__V1__TrainClassifierResponse *r = (const void *)response;
    printf("learned %" PRIu32 " examples of %zu labels:", r->examples, r->n_labels);
    for (size_t i = 0; i < r->n_labels; i++)
        printf(" %s", r->labels[i]);
    puts("\nnot kept over a restart; classifier.examples names a file that is");
    return CTL_OK;
}

static enum ctl_exit print_keys(const struct ctl *ctl, const ProtobufCMessage *response)
{
    (void)ctl;
    const Shunt__V1__RotateKeysResponse *r = (const void *)response;
    printf("key %u seals from now on; %u in the ring still open tokens\n", r->key_id, r->keys);
    return CTL_OK;
}

static enum ctl_exit print_forgotten(const struct ctl *ctl, const ProtobufCMessage *response)
{
    (void)ctl;
    const Shunt__V1__ForgetSourceResponse *r = (const void *)response;
    if (r->has_position)
        printf("%" PRIu64 " reports were taken out, as of position %" PRIu64 "\n", r->taken_out,
               r->position);
    else
        printf("%" PRIu64 " reports would be taken out\n", r->taken_out);
    if (r->before_base)
        printf("%" PRIu64 " lie before position %" PRIu64 " and stay%s: a backup from before then "
               "may do without them\n",
               r->before_base, r->base_position,
               r->has_position ? "" : "; it takes --partial to take out the rest");
    return CTL_OK;
}

static enum ctl_exit version(struct ctl *ctl, const struct command_input *in)
{
    (void)in;
    if (ctl->json)
        return ctl_print_json(json_pack("{s:s}", "version", SHUNT_VERSION));
    puts("shuntctl " SHUNT_VERSION);
    return CTL_OK;
}

#define END                                                                                        \
    {                                                                                              \
        NULL, NULL, NULL, NULL, COMMAND_SET                                                        \
    }

static const struct command_option stats_options[] = {
    {"router", "ROUTER", "this router alone", "router", COMMAND_SET}, END};
static const struct command_option restore_options[] = {
    {"data-dir", "DIR", "where the copy goes; no server may have it open", NULL, COMMAND_LOCAL},
    END};
static const struct command_option forget_options[] = {
    {"source", "SOURCE", "whose reports, as they name it", "source", COMMAND_SET},
    {"router", "ROUTER", "in this router alone", "router", COMMAND_SET},
    {"dry-run", NULL, "only say how many", "dry_run", COMMAND_FLAG},
    {"partial", NULL, "although some lie too far back to be taken out", "partial", COMMAND_FLAG},
    END};
static const struct command_option no_options[] = {END};

#define ADMIN(method_, name_)                                                                      \
    .service = CTL_ADMIN, .method = method_, .request = &shunt__v1__##name_##_request__descriptor, \
    .response = &shunt__v1__##name_##_response__descriptor

const struct command state_commands[] = {
    {.words = "stats",
     .doc = "Show what was routed and learned, by arm.",
     .options = stats_options,
     .run = stats,
     ADMIN("Stats", stats)},
    {.words = "config",
     .doc = "Show the server's settings and their sources.",
     .options = no_options,
     .run = command_call,
     .print = print_config,
     ADMIN("GetConfig", get_config)},
    {.words = "verify",
     .doc = "Compare the statistics with the journal.\vThe journal is folded again and "
            "compared with the running statistics, byte for byte.",
     .options = no_options,
     .run = verify,
     .long_label = "verifying",
     ADMIN("Verify", verify)},
    {.words = "checkpoint",
     .doc = "Write a checkpoint now.\vThe next start is quicker for it.",
     .options = no_options,
     .run = command_call,
     .long_label = "writing a checkpoint",
     .print = print_checkpoint,
     ADMIN("Checkpoint", checkpoint)},
    {.words = "backup",
     .args = "PATH",
     .doc =
         "Copy the state while serving.\vPATH is on the server's host and must not be there yet.",
     .options = no_options,
     .positional_min = 1,
     .positional_max = 1,
     .positional_path = "path",
     .run = backup,
     .long_label = "copying",
     .print = print_backup,
     ADMIN("Backup", backup)},
    {.words = "restore",
     .args = "BACKUP",
     .doc = "Make a data directory from a backup.\vRuns `shuntd restore`.",
     .options = restore_options,
     .positional_min = 1,
     .positional_max = 1,
     .run = restore},
    {.words = "classifier train",
     .args = "FILE",
     .doc = "Learn the task labels from examples.\vFILE (- reads standard input) has lines LABEL, "
            "tab, example; deploy/sample/tasks.tsv is a start. Takes the place of what was learned "
            "before, until the server's next start.",
     .options = no_options,
     .positional_min = 1,
     .positional_max = 1,
     .run = classifier_train,
     .long_label = "training",
     .print = print_trained,
     ADMIN("TrainClassifier", train_classifier)},
    {.words = "forget",
     .doc = "Take what a source reported out of the statistics.\vAs if it had never come: the "
            "journal is folded again without it. Give the source the rule refuse first (router "
            "update --source NAME=refuse), or what it reports next counts again.",
     .options = forget_options,
     .run = command_call,
     .long_label = "folding again",
     .print = print_forgotten,
     ADMIN("ForgetSource", forget_source)},
    {.words = "keys rotate",
     .doc = "Seal tokens with a new key.\vTokens of older keys still open.",
     .options = no_options,
     .run = command_call,
     .print = print_keys,
     ADMIN("RotateKeys", rotate_keys)},
    {.words = "version", .doc = "Print the version.", .options = no_options, .run = version},
    {.words = NULL}};
