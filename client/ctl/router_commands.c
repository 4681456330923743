/* router_commands.c - routers and arms: add, list, show, update, pause, resume, remove. */
#include "client/ctl/args.h"
#include "client/ctl/commands.h"
#include "client/ctl/table.h"
#include "proto/form/field.h"
#include "proto/form/json.h"
#include "shunt/v1/admin.pb-c.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static enum ctl_exit print_end(struct table *t)
{
    bool ok = t && table_print(t, stdout, ctl_bold());
    table_free(t);
    return ok ? CTL_OK : ctl_fail(CTL_REFUSED, "out of memory");
}

static void print_router_row(struct table *t, const Shunt__V1__RouterInfo *router)
{
    bool ephemeral = router->spec && router->spec->has_ephemeral && router->spec->ephemeral;
    table_cell(t, "%s", router->spec ? router->spec->name : "");
    table_cell(t, "%zu", router->n_arms);
    table_cell(t, "%u", router->d);
    table_cell(t, "%" PRIu64, router->requests);
    table_cell(t, "%" PRIu64, router->outcomes_folded);
    table_cell(t, "%s", ephemeral ? "yes" : "");
}

static enum ctl_exit print_routers(const struct ctl *ctl, const ProtobufCMessage *response)
{
    (void)ctl;
    const Shunt__V1__ListRoutersResponse *list = (const void *)response;
    struct table *t = table_new();
    if (!t)
        return print_end(t);
    table_column(t, "router", TABLE_LEFT);
    table_column(t, "arms", TABLE_RIGHT);
    table_column(t, "d", TABLE_RIGHT);
    table_column(t, "requests", TABLE_RIGHT);
    table_column(t, "outcomes", TABLE_RIGHT);
    table_column(t, "ephemeral", TABLE_LEFT);
    for (size_t i = 0; i < list->n_routers; i++)
        print_router_row(t, list->routers[i]);
    return print_end(t);
}

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static const char *arm_state(const Shunt__V1__ArmInfo *arm)
{
    if (arm->has_state && arm->state == SHUNT__V1__ARM_STATE__ARM_PAUSED)
        return arm->has_drained && arm->drained ? "drained" : "paused";
    if (arm->has_state && arm->state == SHUNT__V1__ARM_STATE__ARM_DRAINING)
        return "draining";
    if (arm->has_suspect && arm->suspect)
        return "suspect";
    if (arm->has_cooldown_until_us && arm->cooldown_until_us > now_us())
        return "cooldown";
    return "active";
}

static const Shunt__V1__MetricStats *arm_metric(const Shunt__V1__ArmInfo *arm, const char *name)
{
    for (size_t i = 0; i < arm->n_metrics; i++)
        if (strcmp(arm->metrics[i]->key, name) == 0)
            return arm->metrics[i]->value;
    return NULL;
}

/* The metrics that some arm has seen, in the router's order; the others would be empty columns. */
static size_t metrics_seen(const Shunt__V1__RouterInfo *router, const char *ret[ARGS_PAIRS_MAX])
{
    size_t n = 0;
    for (size_t m = 0; router->spec && m < router->spec->n_metrics && n < ARGS_PAIRS_MAX; m++) {
        bool seen = false;
        for (size_t i = 0; i < router->n_arms && !seen; i++) {
            const Shunt__V1__MetricStats *s =
                arm_metric(router->arms[i], router->spec->metrics[m]->name);
            seen = s && s->n > 0;
        }
        if (seen)
            ret[n++] = router->spec->metrics[m]->name;
    }
    return n;
}

static enum ctl_exit print_arms(const struct ctl *ctl, const ProtobufCMessage *response)
{
    (void)ctl;
    const Shunt__V1__RouterInfo *router = (const void *)response;
    const char *metrics[ARGS_PAIRS_MAX];
    size_t metrics_n = metrics_seen(router, metrics);
    struct table *t = table_new();
    if (!t)
        return print_end(t);
    table_column(t, "arm", TABLE_LEFT);
    table_column(t, "version", TABLE_RIGHT);
    table_column(t, "state", TABLE_LEFT);
    table_column(t, "issued", TABLE_RIGHT);
    table_column(t, "answered", TABLE_RIGHT);
    table_column(t, "failures", TABLE_RIGHT);
    for (size_t m = 0; m < metrics_n; m++)
        table_column(t, metrics[m], TABLE_RIGHT);
    table_column(t, "description", TABLE_LEFT);
    for (size_t i = 0; i < router->n_arms; i++) {
        const Shunt__V1__ArmInfo *arm = router->arms[i];
        table_cell(t, "%s", arm->spec ? arm->spec->name : "");
        table_cell(t, "%u", arm->version);
        table_cell(t, "%s", arm_state(arm));
        table_cell(t, "%" PRIu64, arm->issued);
        table_cell(t, "%" PRIu64, arm->answered);
        table_cell(t, "%" PRIu64, arm->failures);
        for (size_t m = 0; m < metrics_n; m++) {
            const Shunt__V1__MetricStats *s = arm_metric(arm, metrics[m]);
            if (s && s->n > 0)
                table_cell(t, "%.4g", s->mean);
            else
                table_cell(t, "-");
        }
        table_cell(t, "%s", arm->spec && arm->spec->description ? arm->spec->description : "");
    }
    return print_end(t);
}

static void print_json_rows(struct table *t, const char *prefix, json_t *json)
{
    const char *key;
    json_t *value;
    json_object_foreach(json, key, value)
    {
        char *text = json_is_string(value) ? NULL : form_json_print(value, 0);
        table_cell(t, "%s%s", prefix, key);
        table_cell(t, "%s", json_is_string(value) ? json_string_value(value) : text ? text : "");
        free(text);
    }
}

/* The metric table, one row a metric. */
static enum ctl_exit print_metrics(const Shunt__V1__RouterSpec *spec)
{
    struct table *t = table_new();
    if (!t)
        return print_end(t);
    table_column(t, "metric", TABLE_LEFT);
    table_column(t, "better", TABLE_LEFT);
    table_column(t, "group", TABLE_LEFT);
    table_column(t, "weight", TABLE_RIGHT);
    table_column(t, "min", TABLE_RIGHT);
    table_column(t, "max", TABLE_RIGHT);
    table_column(t, "becomes 0", TABLE_RIGHT);
    table_column(t, "becomes 1", TABLE_RIGHT);
    for (size_t i = 0; i < spec->n_metrics; i++) {
        const Shunt__V1__Metric *m = spec->metrics[i];
        bool log = m->normalise == SHUNT__V1__NORMALISATION__NORMALISATION_LOG;
        table_cell(t, "%s", m->name);
        table_cell(t, "%s", m->better == SHUNT__V1__BETTER__BETTER_LOWER ? "lower" : "higher");
        table_cell(t, "%s", m->group == SHUNT__V1__METRIC_GROUP__GROUP_SERVED ? "served" : "rated");
        table_cell(t, "%g", m->weight);
        table_cell(t, "%g", m->min);
        table_cell(t, "%g", m->max);
        table_cell(t, "%g", m->norm_low);
        table_cell(t, "%g%s", m->norm_high, log ? " (log)" : "");
    }
    return print_end(t);
}

static enum ctl_exit print_sources(const Shunt__V1__RouterInfo *router)
{
    static const char *const columns[] = {"reports", "folded",    "logged only",
                                          "beaten",  "forgotten", "capped"};
    struct table *t = table_new();
    if (!t)
        return print_end(t);
    table_column(t, "source", TABLE_LEFT);
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++)
        table_column(t, columns[i], TABLE_RIGHT);
    for (size_t i = 0; i < router->n_sources; i++) {
        const Shunt__V1__SourceCount *c = router->sources[i];
        table_cell(t, "%s", !c->source ? "(others)" : *c->source ? c->source : "(none)");
        const uint64_t counts[] = {c->reports, c->folded,    c->logged_only,
                                   c->beaten,  c->forgotten, c->capped};
        for (size_t k = 0; k < sizeof counts / sizeof *counts; k++)
            table_cell(t, "%" PRIu64, counts[k]);
    }
    return print_end(t);
}

static enum ctl_exit print_router(const struct ctl *ctl, const ProtobufCMessage *response)
{
    const Shunt__V1__RouterInfo *router = (const void *)response;
    json_t *json = NULL;
    struct form_error error;
    if (!router->spec)
        return ctl_fail(CTL_REFUSED, "the server sent no spec");
    if (form_json_from_message(response, 0, &json, &error) != FORM_OK)
        return ctl_fail(CTL_REFUSED, "%s", error.text);
    struct table *t = table_new();
    if (t) {
        json_t *spec = json_object_get(json, "spec");
        table_column(t, "router", TABLE_LEFT);
        table_column(t, router->spec->name, TABLE_LEFT);
        print_json_rows(t, "settings.", json_object_get(spec, "settings"));
        static const char *const apart[] = {"name", "settings", "metrics", "arms"};
        for (size_t i = 0; i < sizeof apart / sizeof *apart; i++)
            json_object_del(spec, apart[i]);
        print_json_rows(t, "", spec);
        json_object_del(json, "spec");
        json_object_del(json, "arms");
        json_object_del(json, "sources");
        print_json_rows(t, "", json);
    }
    json_decref(json);
    enum ctl_exit code = print_end(t);
    if (code == CTL_OK && router->spec->n_metrics) {
        puts("");
        code = print_metrics(router->spec);
    }
    if (code == CTL_OK && router->n_arms) {
        puts("");
        code = print_arms(ctl, response);
    }
    if (code == CTL_OK && router->n_sources) {
        puts("");
        code = print_sources(router);
    }
    return code;
}

/* Adding and updating answer with the router; a line is enough, `show` has the rest. */
static enum ctl_exit print_router_done(const struct ctl *ctl, const ProtobufCMessage *response)
{
    (void)ctl;
    const Shunt__V1__RouterInfo *router = (const void *)response;
    printf("router %s: %zu arms, %u features\n", router->spec ? router->spec->name : "?",
           router->n_arms, router->d);
    return CTL_OK;
}

static enum ctl_exit print_removed(const struct ctl *ctl, const ProtobufCMessage *response)
{
    (void)ctl;
    (void)response;
    puts("removed");
    return CTL_OK;
}

static enum ctl_exit print_arm_done(const struct ctl *ctl, const ProtobufCMessage *response)
{
    (void)ctl;
    const Shunt__V1__ArmInfo *arm = (const void *)response;
    printf("arm %s, version %u: %s\n", arm->spec ? arm->spec->name : "?", arm->version,
           arm_state(arm));
    return CTL_OK;
}

/* Arms of `router add`: by name here, with everything else by `arm add` or `apply -f`. */
static enum ctl_exit router_add(struct ctl *ctl, const struct command_input *in)
{
    ProtobufCMessage *request = NULL;
    enum ctl_exit code = command_request(in, &request);
    for (size_t i = 0; code == CTL_OK && i < in->values_n; i++) {
        char path[128];
        struct form_error error;
        if (strcmp(in->values[i].option->name, "arm") != 0)
            continue;
        if (!args_name_valid(in->values[i].value))
            code =
                ctl_fail(CTL_USAGE, "--arm: '%.64s' is not a name: 1 to 64 of A-Z a-z 0-9 . _ / -",
                         in->values[i].value);
        snprintf(path, sizeof path, "spec.arms.%.64s.description", in->values[i].value);
        if (code == CTL_OK && form_set_field(request, path, "", &error) != FORM_OK)
            code = ctl_fail(CTL_USAGE, "--arm: %s", error.text);
    }
    if (code == CTL_OK)
        code = command_send(ctl, in, request);
    protobuf_c_message_free_unpacked(request, NULL);
    return code;
}

static enum ctl_exit router_get(struct ctl *ctl, const char *name, Shunt__V1__RouterInfo **ret)
{
    char copy[256];
    Shunt__V1__GetRouterRequest request = SHUNT__V1__GET_ROUTER_REQUEST__INIT;
    ProtobufCMessage *response = NULL;
    snprintf(copy, sizeof copy, "%s", name);
    request.name = copy;
    enum ctl_exit code = ctl_call(ctl, CTL_ADMIN, "GetRouter", &request.base,
                                  &shunt__v1__router_info__descriptor, &response);
    if (code == CTL_OK)
        *ret = (Shunt__V1__RouterInfo *)response;
    return code;
}

static const char *router_of(const struct command_input *in)
{
    const char *name = NULL;
    for (size_t i = 0; i < in->values_n; i++)
        if (strcmp(in->values[i].option->name, "router") == 0)
            name = in->values[i].value;
    return name ? name : "default";
}

static enum ctl_exit arm_list(struct ctl *ctl, const struct command_input *in)
{
    Shunt__V1__RouterInfo *router = NULL;
    enum ctl_exit code = router_get(ctl, router_of(in), &router);
    if (code != CTL_OK)
        return code;
    if (ctl->json) {
        json_t *json = NULL, *arms = NULL;
        struct form_error error;
        if (form_json_from_message(&router->base, FORM_LISTS, &json, &error) != FORM_OK)
            code = ctl_fail(CTL_REFUSED, "%s", error.text);
        else if (!(arms = json_object_get(json, "arms")))
            code = ctl_fail(CTL_REFUSED, "the server sent no arms");
        else
            code = ctl_print_json(json_pack("{s:O}", "arms", arms));
        json_decref(json);
    } else {
        code = print_arms(ctl, &router->base);
    }
    protobuf_c_message_free_unpacked(&router->base, NULL);
    return code;
}

static const Shunt__V1__ArmInfo *arm_find(const Shunt__V1__RouterInfo *router, const char *name)
{
    for (size_t i = 0; i < router->n_arms; i++)
        if (router->arms[i]->spec && strcmp(router->arms[i]->spec->name, name) == 0)
            return router->arms[i];
    return NULL;
}

static enum ctl_exit arm_get(struct ctl *ctl, const struct command_input *in,
                             Shunt__V1__RouterInfo **ret_router, const Shunt__V1__ArmInfo **ret)
{
    Shunt__V1__RouterInfo *router = NULL;
    enum ctl_exit code = router_get(ctl, router_of(in), &router);
    if (code != CTL_OK)
        return code;
    const Shunt__V1__ArmInfo *arm = arm_find(router, in->positional[0]);
    if (!arm) {
        struct call_error error = {.status = 5, .code = "ARM_NOT_FOUND"};
        snprintf(error.message, sizeof error.message, "router '%.64s' has no arm '%.64s'",
                 router_of(in), in->positional[0]);
        ctl_explain(ctl, CTL_ADMIN, &error);
        protobuf_c_message_free_unpacked(&router->base, NULL);
        return CTL_REFUSED;
    }
    *ret_router = router;
    *ret = arm;
    return CTL_OK;
}

static enum ctl_exit arm_show(struct ctl *ctl, const struct command_input *in)
{
    Shunt__V1__RouterInfo *router = NULL;
    const Shunt__V1__ArmInfo *arm = NULL;
    enum ctl_exit code = arm_get(ctl, in, &router, &arm);
    if (code != CTL_OK)
        return code;
    json_t *json = NULL;
    struct form_error error;
    struct table *t = ctl->json ? NULL : table_new();
    if (ctl->json) {
        code = ctl_print_message(&arm->base);
    } else if (form_json_from_message(&arm->base, 0, &json, &error) != FORM_OK) {
        code = ctl_fail(CTL_REFUSED, "%s", error.text);
    } else if (t) {
        table_column(t, "arm", TABLE_LEFT);
        table_column(t, in->positional[0], TABLE_LEFT);
        json_t *spec = json_object_get(json, "spec"), *metrics = json_object_get(json, "metrics");
        json_object_del(spec, "name");
        print_json_rows(t, "", spec);
        print_json_rows(t, "metrics.", metrics);
        json_object_del(json, "spec");
        json_object_del(json, "metrics");
        print_json_rows(t, "", json);
        code = print_end(t);
        t = NULL;
    }
    table_free(t);
    json_decref(json);
    protobuf_c_message_free_unpacked(&router->base, NULL);
    return code;
}

/* A deep copy, by way of its bytes. */
static Shunt__V1__ArmSpec *spec_copy(const Shunt__V1__ArmSpec *spec)
{
    size_t len = shunt__v1__arm_spec__get_packed_size(spec);
    uint8_t *bytes = malloc(len ? len : 1);
    Shunt__V1__ArmSpec *copy = NULL;
    if (bytes) {
        shunt__v1__arm_spec__pack(spec, bytes);
        copy = shunt__v1__arm_spec__unpack(NULL, len, bytes);
    }
    free(bytes);
    return copy;
}

/* Those of --remove-label; one that is not there is likely a typing mistake. */
static enum ctl_exit labels_remove(const struct command_input *in, Shunt__V1__ArmSpec *spec)
{
    for (size_t i = 0; i < in->values_n; i++) {
        const char *key = in->values[i].value;
        size_t at = 0;
        if (strcmp(in->values[i].option->name, "remove-label") != 0)
            continue;
        while (at < spec->n_labels && strcmp(spec->labels[at]->key, key) != 0)
            at++;
        if (at == spec->n_labels)
            return ctl_fail(CTL_USAGE, "--remove-label: the arm has no label '%.64s'", key);
        protobuf_c_message_free_unpacked(&spec->labels[at]->base, NULL);
        spec->labels[at] = spec->labels[--spec->n_labels];
    }
    return CTL_OK;
}

/* UpdateArm replaces description, tags, priors and descriptors together; people mean only what they
 * typed, so the others are first read from the server. */
static enum ctl_exit arm_update(struct ctl *ctl, const struct command_input *in)
{
    Shunt__V1__RouterInfo *router = NULL;
    const Shunt__V1__ArmInfo *arm = NULL;
    enum ctl_exit code = arm_get(ctl, in, &router, &arm);
    if (code != CTL_OK)
        return code;
    Shunt__V1__UpdateArmRequest *request =
        (Shunt__V1__UpdateArmRequest *)form_message_new(&shunt__v1__update_arm_request__descriptor);
    if (request)
        request->spec = spec_copy(arm->spec);
    if (!request || !request->spec)
        code = ctl_fail(CTL_REFUSED, "out of memory");
    if (code == CTL_OK && request) /* The analyzer cannot see that the one implies the other. */
        code = labels_remove(in, request->spec);
    if (code == CTL_OK)
        code = command_fill(in, &request->base);
    if (code == CTL_OK)
        code = command_send(ctl, in, &request->base);
    if (request)
        protobuf_c_message_free_unpacked(&request->base, NULL);
    protobuf_c_message_free_unpacked(&router->base, NULL);
    return code;
}

#define END                                                                                        \
    {                                                                                              \
        NULL, NULL, NULL, NULL, COMMAND_SET                                                        \
    }
#define OF_ROUTER                                                                                  \
    {                                                                                              \
        "router", "ROUTER", "the router of the arm (default: default)", "router", COMMAND_SET      \
    }

#define STAGE_OPTION(path_)                                                                        \
    {                                                                                              \
        "stage", "NAME=SELECTOR", "arms allowed at a stage, by their labels; may be repeated",     \
            path_, COMMAND_PAIR                                                                    \
    }

#define SOURCE_OPTION(path_)                                                                       \
    {                                                                                              \
        "source", "NAME=RULE",                                                                     \
            "whether a source of outcomes teaches: fold, log_only or refuse, and caps; may be "    \
            "repeated",                                                                            \
            path_, COMMAND_PAIR                                                                    \
    }

#define DEFAULT_OPTION(path_)                                                                      \
    {                                                                                              \
        "default", "METRIC=VALUE,...", "what a decision is given that nobody rates in time",       \
            path_, COMMAND_PAIRS                                                                   \
    }

static const struct command_option router_add_options[] = {
    {"set", "KEY=VALUE",
     "a setting (alpha, explore_floor, ...) or a field of the spec by its path; a list by commas",
     "spec.", COMMAND_SETTING},
    {"arm", "NAME", "an arm to begin with; may be repeated", NULL, COMMAND_LOCAL},
    {"tasks", "LABEL,...", "task labels in the order of their slots", "spec.tasks", COMMAND_SET},
    STAGE_OPTION("spec.settings.stages"),
    SOURCE_OPTION("spec.settings.sources"),
    DEFAULT_OPTION("spec.settings.default_rewards"),
    {"ephemeral", NULL, "remove it when the server starts again", "spec.ephemeral", COMMAND_FLAG},
    END};
static const struct command_option router_update_options[] = {
    {"set", "KEY=VALUE", "a setting: alpha, explore_floor, cooldown_s, ...", "", COMMAND_SETTING},
    {"weights", "METRIC=W,...", "new weights; metrics not named keep theirs", "weights",
     COMMAND_PAIRS},
    STAGE_OPTION("settings.stages"),
    SOURCE_OPTION("settings.sources"),
    DEFAULT_OPTION("settings.default_rewards"),
    {"remove-default", "METRIC,...", "metrics that have a default no more",
     "remove_default_rewards", COMMAND_SET},
    {"remove-source", "NAME,...", "sources to take away", "remove_sources", COMMAND_SET},
    {"remove-stage", "NAME,...", "stages to take away", "remove_stages", COMMAND_SET},
    END};
#define ARM_EDIT_OPTIONS                                                                           \
    OF_ROUTER, {"description", "TEXT", "for people", "spec.description", COMMAND_SET},             \
        {"tags", "TAG,...", "tags, in place of the present ones", "spec.tags", COMMAND_SET},       \
        {"priors", "METRIC=VALUE,...", "what to expect of it before the first outcome",            \
         "spec.priors", COMMAND_PAIRS},                                                            \
        {"size", "BILLIONS", "its parameters, for routers that are hybrid", "spec.size_b",         \
         COMMAND_SET},                                                                             \
        {"family", "NAME", "arms of one family resemble one another", "spec.family", COMMAND_SET}, \
        {"price-in", "USD", "per million input tokens", "spec.price_in_usd", COMMAND_SET},         \
        {"price-out", "USD", "per million output tokens", "spec.price_out_usd", COMMAND_SET},      \
        {"label", "KEY=VALUE", "a label for selectors; may be repeated", "spec.labels",            \
         COMMAND_PAIR},                                                                            \
        {"context-window", "TOKENS", "prompt and answer together; 0: not declared",                \
         "spec.context_window", COMMAND_SET},                                                      \
        {"max-output-tokens", "TOKENS", "most it can be asked for; 0: not declared",               \
         "spec.max_output_tokens", COMMAND_SET},                                                   \
        {"caps", "METRIC=X,...", "most that one request can cost, for strict sessions",            \
         "spec.caps", COMMAND_PAIRS},                                                              \
        {"adapter-base", "MODEL", "it is an adapter of this base model",                           \
         "spec.adapter.base_model", COMMAND_SET},                                                  \
        {"adapter-path", "PATH", "where the engine finds its weights", "spec.adapter.path",        \
         COMMAND_SET},                                                                             \
        {"adapter-bytes", "N", "fast memory that it takes", "spec.adapter.size_bytes",             \
         COMMAND_SET},                                                                             \
        {"adapter-rank", "N", "its rank", "spec.adapter.rank", COMMAND_SET},                       \
        {"modalities", "text,image,...", "all that it takes; empty: not declared",                 \
         "spec.modalities", COMMAND_SET},                                                          \
        {"tools", "true|false", "whether it can call tools", "spec.tools", COMMAND_SET},           \
    {                                                                                              \
        "json-mode", "true|false", "whether it can be held to JSON", "spec.json", COMMAND_SET      \
    }

static const struct command_option arm_add_options[] = {
    ARM_EDIT_OPTIONS,
    {"like", "ARM", "begin with what is known of that arm", "like", COMMAND_SET},
    {"strength", "N", "worth N outcomes (default: 10)", "strength", COMMAND_SET},
    END};
static const struct command_option arm_update_options[] = {
    ARM_EDIT_OPTIONS,
    {"remove-label", "KEY", "a label to take away; may be repeated", NULL, COMMAND_LOCAL},
    END};
static const struct command_option arm_options[] = {OF_ROUTER, END};
static const struct command_option no_options[] = {END};

#define ADMIN(method_, request_, response_)                                                        \
    .service = CTL_ADMIN, .method = method_, .request = &shunt__v1__##request_##__descriptor,      \
    .response = &shunt__v1__##response_##__descriptor
#define NAMED(path_)                                                                               \
    .args = "NAME", .positional_min = 1, .positional_max = 1, .positional_path = path_

const struct command router_commands[] = {
    {.words = "router add",
     .doc = "Create a router.",
     .options = router_add_options,
     NAMED("spec.name"),
     .run = router_add,
     .print = print_router_done,
     ADMIN("CreateRouter", create_router_request, router_info)},
    {.words = "router list",
     .doc = "List the routers.",
     .options = no_options,
     .run = command_call,
     .print = print_routers,
     ADMIN("ListRouters", list_routers_request, list_routers_response)},
    {.words = "router show",
     .doc = "Show a router: settings, metrics, arms.",
     .options = no_options,
     NAMED("name"),
     .run = command_call,
     .print = print_router,
     ADMIN("GetRouter", get_router_request, router_info)},
    {.words = "router update",
     .doc = "Change a router's settings and weights.",
     .options = router_update_options,
     NAMED("name"),
     .run = command_call,
     .print = print_router_done,
     ADMIN("UpdateRouter", update_router_request, router_info)},
    {.words = "router remove",
     .doc = "Remove a router and what it learned.",
     .options = no_options,
     NAMED("name"),
     .run = command_call,
     .print = print_removed,
     ADMIN("RemoveRouter", remove_router_request, remove_router_response)},
    {.words = "arm add",
     .doc = "Add an arm to a router.",
     .options = arm_add_options,
     NAMED("spec.name"),
     .run = command_call,
     .print = print_arm_done,
     ADMIN("AddArm", add_arm_request, arm_info)},
    {.words = "arm list",
     .doc = "List the arms of a router.",
     .options = arm_options,
     .run = arm_list},
    {.words = "arm show",
     .doc = "Show an arm.",
     .options = arm_options,
     .args = "NAME",
     .positional_min = 1,
     .positional_max = 1,
     .run = arm_show},
    {.words = "arm update",
     .doc = "Change what is declared of an arm.",
     .options = arm_update_options,
     .args = "NAME",
     .positional_min = 1,
     .positional_max = 1,
     .run = arm_update,
     .print = print_arm_done,
     ADMIN("UpdateArm", update_arm_request, arm_info)},
    {.words = "arm pause",
     .doc = "Route nothing more to an arm.\vOutcomes in flight still teach.",
     .options = arm_options,
     NAMED("name"),
     .fixed = {"state", "ARM_PAUSED"},
     .run = command_call,
     .print = print_arm_done,
     ADMIN("SetArmState", set_arm_state_request, arm_info)},
    {.words = "arm resume",
     .doc = "Route to a paused arm again.",
     .options = arm_options,
     NAMED("name"),
     .fixed = {"state", "ARM_ACTIVE"},
     .run = command_call,
     .print = print_arm_done,
     ADMIN("SetArmState", set_arm_state_request, arm_info)},
    {.words = "arm remove",
     .doc = "Remove an arm; late outcomes of it teach nobody.",
     .options = arm_options,
     NAMED("name"),
     .run = command_call,
     .print = print_removed,
     ADMIN("RemoveArm", remove_arm_request, remove_arm_response)},
    {.words = NULL}};
