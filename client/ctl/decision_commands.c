/* decision_commands.c - ask for an arm, say how it went, and ask why: route, report, explain,
 * features. */
#include "client/ctl/adapters_print.h"
#include "client/ctl/args.h"
#include "client/ctl/commands.h"
#include "client/ctl/table.h"
#include "proto/form/json.h"
#include "shunt/v1/admin.pb-c.h"
#include "shunt/v1/router.pb-c.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TEXT_MAX (1024UL * 1024)  /* The largest prompt that any server takes. */
#define NUMBERS_MAX (8192UL * 32) /* Bytes of a file of numbers. */
#define EMBEDDING_MAX 8192U
#define FEATURES_MAX 512U
#define RANKING_MAX 256U /* Arms that have terms in an answer, at most. */

/* A file that is text: a NUL would cut it short without a word. */
static enum ctl_exit text_read(const char *path, size_t max, char **ret)
{
    size_t len = 0;
    enum ctl_exit code = ctl_read_file(path, max, ret, &len);
    if (code != CTL_OK || strlen(*ret) == len)
        return code;
    free(*ret);
    *ret = NULL;
    return ctl_fail(CTL_USAGE, "%s: holds a NUL byte", path);
}

static enum ctl_exit text_take(Shunt__V1__RouteRequest *request, const struct command_input *in)
{
    const char *text = command_value(in, "text"), *file = command_value(in, "text-file");
    if (in->positional_n && strcmp(in->positional[0], "-") != 0)
        return ctl_fail(CTL_USAGE,
                        "'%.32s': give the prompt by --text, --text-file or - (standard "
                        "input)",
                        in->positional[0]);
    if ((text != NULL) + (file != NULL) + (in->positional_n > 0) > 1)
        return ctl_fail(CTL_USAGE, "give one of --text, --text-file and -");
    if (in->positional_n)
        file = "-";
    if (file)
        return text_read(file, TEXT_MAX, &request->text);
    if (text && !(request->text = strdup(text)))
        return ctl_fail(CTL_REFUSED, "out of memory");
    return CTL_OK;
}

static enum ctl_exit numbers_take(Shunt__V1__RouteRequest *request, const struct command_input *in)
{
    const char *features = command_value(in, "features");
    const char *file = command_value(in, "embedding-file");
    struct args_error error;
    char *text = NULL;
    if (features &&
        !args_floats(features, FEATURES_MAX, &request->features, &request->n_features, &error))
        return ctl_fail(CTL_USAGE, "--features: %s", error.text);
    if (!file)
        return CTL_OK;
    enum ctl_exit code = text_read(file, NUMBERS_MAX, &text);
    if (code == CTL_OK &&
        !args_floats(text, EMBEDDING_MAX, &request->embedding, &request->n_embedding, &error))
        code = ctl_fail(CTL_USAGE, "%s: %s", file, error.text);
    free(text);
    return code;
}

static enum ctl_exit route(struct ctl *ctl, const struct command_input *in)
{
    ProtobufCMessage *message = NULL;
    enum ctl_exit code = command_request(in, &message);
    Shunt__V1__RouteRequest *request = (Shunt__V1__RouteRequest *)message;
    if (code == CTL_OK)
        code = text_take(request, in);
    if (code == CTL_OK)
        code = numbers_take(request, in);
    if (code == CTL_OK)
        code = command_send(ctl, in, message);
    protobuf_c_message_free_unpacked(message, NULL);
    return code;
}

/* A word of the command line that is no "-" is the prompt itself. */
static enum ctl_exit prompt_take(Shunt__V1__RouteRequest *request, const struct command_input *in)
{
    if (!in->positional_n || strcmp(in->positional[0], "-") == 0)
        return text_take(request, in);
    if (command_value(in, "text") || command_value(in, "text-file"))
        return ctl_fail(CTL_USAGE, "give one prompt");
    request->text = strdup(in->positional[0]);
    return request->text ? CTL_OK : ctl_fail(CTL_REFUSED, "out of memory");
}

/* The options fill a RouteRequest, which travels inside. */
static enum ctl_exit features(struct ctl *ctl, const struct command_input *in)
{
    struct command inner = *in->command;
    struct command_input rows = *in;
    Shunt__V1__FeaturesRequest message = SHUNT__V1__FEATURES_REQUEST__INIT;
    ProtobufCMessage *route_message = NULL;
    inner.request = &shunt__v1__route_request__descriptor;
    rows.command = &inner;
    enum ctl_exit code = command_request(&rows, &route_message);
    message.request = (Shunt__V1__RouteRequest *)route_message;
    if (code == CTL_OK)
        code = prompt_take(message.request, in);
    if (code == CTL_OK)
        code = numbers_take(message.request, in);
    if (code == CTL_OK)
        code = command_send(ctl, in, &message.base);
    protobuf_c_message_free_unpacked(route_message, NULL);
    return code;
}

static enum ctl_exit print_labels(const Shunt__V1__FeaturesResponse *r)
{
    struct table *t = table_new();
    if (t) {
        table_column(t, "classifier", TABLE_LEFT);
        table_column(t, "probability", TABLE_RIGHT);
        table_column(t, "router has it", TABLE_LEFT);
    }
    for (size_t i = 0; t && i < r->n_classifier; i++) {
        table_cell(t, "%s", r->classifier[i]->label);
        table_cell(t, "%.4f", r->classifier[i]->probability);
        table_cell(t, "%s", r->classifier[i]->in_router ? "yes" : "no");
    }
    puts("");
    bool ok = t && table_print(t, stdout, ctl_bold());
    table_free(t);
    return ok ? CTL_OK : ctl_fail(CTL_REFUSED, "out of memory");
}

static enum ctl_exit print_features(const struct ctl *ctl, const ProtobufCMessage *response)
{
    (void)ctl;
    const Shunt__V1__FeaturesResponse *r = (const void *)response;
    struct table *t = table_new();
    printf("router %s, %" PRIu32 " numbers: %s (hash %016" PRIx64 ")\n\n", r->router, r->d,
           r->feature_spec, r->feature_spec_hash);
    if (t) {
        table_column(t, "block", TABLE_LEFT);
        table_column(t, "name", TABLE_LEFT);
        table_column(t, "value", TABLE_RIGHT);
    }
    for (size_t b = 0; t && b < r->n_blocks; b++)
        for (size_t i = 0; i < r->blocks[b]->n_names && i < r->blocks[b]->n_values; i++) {
            table_cell(t, "%s", r->blocks[b]->name);
            table_cell(t, "%s", r->blocks[b]->names[i]);
            table_cell(t, "%.4f", (double)r->blocks[b]->values[i]);
        }
    bool ok = t && table_print(t, stdout, ctl_bold());
    table_free(t);
    if (!ok)
        return ctl_fail(CTL_REFUSED, "out of memory");
    return r->n_classifier ? print_labels(r) : CTL_OK;
}

static const char *reason_name(Shunt__V1__Reason reason)
{
    const ProtobufCEnumValue *value =
        protobuf_c_enum_descriptor_get_value(&shunt__v1__reason__descriptor, (int)reason);
    return value ? value->name : "?";
}

static double contribution_of(const Shunt__V1__ScoreTerms *terms, const char *metric)
{
    for (size_t i = 0; i < terms->n_contributions; i++)
        if (strcmp(terms->contributions[i]->key, metric) == 0)
            return terms->contributions[i]->value;
    return (double)NAN;
}

static void term_cell(struct table *t, double value)
{
    /* -0.0000 reads as if something were taken. */
    table_cell(t, "%+.4f", fabs(value) < .00005 ? 0 : value);
}

struct arm_terms {
    const char *arm;
    const Shunt__V1__ScoreTerms *terms; /* NULL: not known, and left out. */
};

/* What every mean is the sum of; the columns are the metrics with weight, in the table's order, and
 * pacing where a budget bore on it. */
static enum ctl_exit print_terms(const struct arm_terms *arms, size_t n, bool pacing)
{
    const Shunt__V1__ScoreTerms *first = NULL;
    for (size_t i = 0; i < n && !first; i++)
        first = arms[i].terms;
    struct table *t = first ? table_new() : NULL;
    if (!first)
        return CTL_OK;
    if (t) {
        table_column(t, "terms of the mean", TABLE_LEFT);
        for (size_t m = 0; m < first->n_contributions; m++)
            table_column(t, first->contributions[m]->key, TABLE_RIGHT);
        table_column(t, "silence", TABLE_RIGHT);
        table_column(t, "charge", TABLE_RIGHT);
        if (pacing)
            table_column(t, "pacing", TABLE_RIGHT);
        table_column(t, "= mean", TABLE_RIGHT);
    }
    for (size_t i = 0; t && i < n; i++) {
        const Shunt__V1__ScoreTerms *terms = arms[i].terms;
        if (!terms)
            continue;
        table_cell(t, "%s", arms[i].arm && *arms[i].arm ? arms[i].arm : "(removed)");
        for (size_t m = 0; m < first->n_contributions; m++)
            term_cell(t, contribution_of(terms, first->contributions[m]->key));
        term_cell(t, terms->silence);
        term_cell(t, terms->charge);
        if (pacing)
            term_cell(t, terms->pacing);
        table_cell(t, "%.4f", terms->mean);
    }
    puts("");
    bool ok = t && table_print(t, stdout, ctl_bold());
    table_free(t);
    return ok ? CTL_OK : ctl_fail(CTL_REFUSED, "out of memory");
}

static enum ctl_exit print_ranking_terms(const Shunt__V1__RouteResponse *r)
{
    struct arm_terms arms[RANKING_MAX];
    size_t n = r->n_ranking < RANKING_MAX ? r->n_ranking : RANKING_MAX;
    for (size_t i = 0; i < n; i++)
        arms[i] = (struct arm_terms){r->ranking[i]->arm_id, r->ranking[i]->terms};
    return print_terms(arms, n, r->budget != NULL);
}

static enum ctl_exit print_ranking(const Shunt__V1__RouteResponse *r)
{
    bool terms = r->ranking[0]->terms != NULL;
    struct table *t = table_new();
    if (t) {
        table_column(t, "arm", TABLE_LEFT);
        table_column(t, "propensity", TABLE_RIGHT);
        table_column(t, "score", TABLE_RIGHT);
        if (terms) {
            table_column(t, "mean", TABLE_RIGHT);
            table_column(t, "width", TABLE_RIGHT);
            table_column(t, "pending", TABLE_RIGHT);
        }
    }
    for (size_t i = 0; t && i < r->n_ranking; i++) {
        const Shunt__V1__RankedArm *arm = r->ranking[i];
        table_cell(t, "%s", arm->arm_id ? arm->arm_id : "");
        table_cell(t, "%.4f", arm->propensity);
        table_cell(t, "%.4f", arm->score);
        if (terms) {
            table_cell(t, "%.4f", arm->terms ? arm->terms->mean : (double)NAN);
            table_cell(t, "%.4f", arm->terms ? arm->terms->width : (double)NAN);
            table_cell(t, "%" PRIu64, arm->terms ? arm->terms->pending : 0);
        }
    }
    bool ok = t && table_print(t, stdout, ctl_bold());
    table_free(t);
    return ok ? CTL_OK : ctl_fail(CTL_REFUSED, "out of memory");
}

/* The token in the form that `report --token` takes; "" when there is none. */
static enum ctl_exit print_token(const ProtobufCMessage *response)
{
    json_t *json = NULL;
    struct form_error error;
    if (form_json_from_message(response, 0, &json, &error) != FORM_OK)
        return ctl_fail(CTL_REFUSED, "%s", error.text);
    const char *token = json_string_value(json_object_get(json, "decision_token"));
    if (token)
        printf("token       %s\n", token);
    json_decref(json);
    return CTL_OK;
}

static enum ctl_exit print_excluded(const Shunt__V1__RouteResponse *r)
{
    if (!r->n_excluded)
        return CTL_OK;
    puts("");
    struct table *t = table_new();
    if (t) {
        table_column(t, "left out", TABLE_LEFT);
        table_column(t, "why", TABLE_LEFT);
        table_column(t, "figures", TABLE_LEFT);
        for (size_t i = 0; i < r->n_excluded; i++) {
            const Shunt__V1__ExcludedArm *e = r->excluded[i];
            const ProtobufCEnumValue *why = protobuf_c_enum_descriptor_get_value(
                &shunt__v1__ineligible__descriptor, (int)e->reason);
            table_cell(t, "%s", e->arm_id ? e->arm_id : "");
            table_cell(t, "%s", why ? why->name : "?");
            table_cell(t, "%s", e->detail ? e->detail : "");
        }
    }
    bool ok = t && table_print(t, stdout, ctl_bold());
    table_free(t);
    if (ok && r->excluded_n > r->n_excluded)
        printf("and %zu more\n", r->excluded_n - r->n_excluded);
    return ok ? CTL_OK : ctl_fail(CTL_REFUSED, "out of memory");
}

/* Which model to ask for, where, and what it will wait for. */
static void print_adapter_use(const Shunt__V1__AdapterUse *a)
{
    if (!a)
        return;
    if (!a->adapter)
        puts("adapter     none: the base model, always resident");
    else if (a->residence == SHUNT__V1__RESIDENCE__RESIDENCE_RESIDENT)
        printf("adapter     %s, resident\n", a->adapter);
    else
        printf("adapter     %s, %s: a load of about %.0f ms\n", a->adapter,
               residence_text(a->residence), a->expected_load_ms);
    if (a->replica && a->has_engine_slot)
        printf("engine      %s, slot %" PRIu32 "\n", a->replica, a->engine_slot);
    else if (a->replica)
        printf("engine      %s\n", a->replica);
}

static enum ctl_exit print_route(const struct ctl *ctl, const ProtobufCMessage *response)
{
    (void)ctl;
    const Shunt__V1__RouteResponse *r = (const void *)response;
    printf("arm         %s\n", r->arm_id ? r->arm_id : "");
    printf("reason      %s\n", reason_name(r->reason));
    printf("propensity  %.4f\n", r->propensity);
    if (r->decision_id)
        printf("decision    %s\n", r->decision_id);
    print_adapter_use(r->adapter);
    enum ctl_exit code = print_token(response);
    bool ranking = r->n_ranking > 1 || (r->n_ranking == 1 && r->ranking[0]->terms);
    if (code == CTL_OK && ranking) {
        puts("");
        code = print_ranking(r);
    }
    if (code == CTL_OK && ranking)
        code = print_ranking_terms(r);
    return code == CTL_OK ? print_excluded(r) : code;
}

static enum ctl_exit print_report(const struct ctl *ctl, const ProtobufCMessage *response)
{
    (void)ctl;
    const Shunt__V1__ReportRewardResponse *r = (const void *)response;
    printf("on disk at position %" PRIu64 "%s\n", r->position,
           r->duplicate ? "; a duplicate: nothing in it was new" : "");
    if (r->n_counted) {
        fputs("counted:", stdout);
        for (size_t i = 0; i < r->n_counted; i++)
            printf(" %s", r->counted[i]);
        puts("");
    }
    if (r->gated)
        puts("note: the source's rule is log_only; recorded, teaches nobody");
    if (r->unweighted)
        puts("note: none of these metrics has weight in the router's utility");
    if (r->orphaned)
        puts("note: the arm version is gone; recorded, teaches nobody");
    return CTL_OK;
}

static enum ctl_exit print_activated(const struct ctl *ctl, const ProtobufCMessage *response)
{
    (void)ctl;
    const Shunt__V1__ActivateDecisionResponse *r = (const void *)response;
    puts(r->already ? "it counted before" : "it counts from now on");
    return CTL_OK;
}

static void print_time(int64_t us)
{
    char text[64];
    time_t seconds = (time_t)(us / 1000000);
    struct tm tm;
    if (gmtime_r(&seconds, &tm) && strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm))
        printf("issued      %s.%06dZ\n", text, (int)(us % 1000000));
}

static void print_numbers(const char *label, const float *values, size_t n)
{
    printf("%s", label);
    for (size_t i = 0; i < n; i++)
        printf("%s%g", i ? " " : "", (double)values[i]);
    puts("");
}

static enum ctl_exit print_eligible(const Shunt__V1__ExplainResponse *r)
{
    struct table *t = table_new();
    if (t) {
        table_column(t, "arm", TABLE_LEFT);
        table_column(t, "propensity", TABLE_RIGHT);
        table_column(t, "mean", TABLE_RIGHT);
        table_column(t, "width", TABLE_RIGHT);
        table_column(t, "pending", TABLE_RIGHT);
    }
    for (size_t i = 0; t && i < r->n_arms; i++) {
        const Shunt__V1__ExplainedArm *arm = r->arms[i];
        table_cell(t, "%s", arm->arm_id && *arm->arm_id ? arm->arm_id : "(removed)");
        table_cell(t, "%.4f", arm->propensity);
        table_cell(t, "%.4f", arm->mean);
        table_cell(t, "%.4f", arm->width);
        table_cell(t, "%" PRIu64, arm->pending);
    }
    bool ok = t && table_print(t, stdout, ctl_bold());
    table_free(t);
    return ok ? CTL_OK : ctl_fail(CTL_REFUSED, "out of memory");
}

static void print_trial(const Shunt__V1__ExplainResponse *r)
{
    if (r->has_mode && r->mode != SHUNT__V1__ROUTER_MODE__MODE_ONLINE)
        printf("mode        %s\n",
               r->mode == SHUNT__V1__ROUTER_MODE__MODE_APPRENTICE ? "apprentice" : "logging only");
    if (r->has_side && r->side != SHUNT__V1__SIDE__SIDE_NONE)
        printf("side        %c\n", r->side == SHUNT__V1__SIDE__SIDE_A ? 'A' : 'B');
    if (r->baseline_arm_id && *r->baseline_arm_id)
        printf("baseline    %s\n", r->baseline_arm_id);
    if (r->policy_arm_id && *r->policy_arm_id)
        printf("policy's    %s\n", r->policy_arm_id);
}

static void print_budget(const Shunt__V1__ExplainResponse *r)
{
    const Shunt__V1__BudgetUse *b = r->budget;
    if (!b)
        return;
    printf("budget      %g %s a request", b->per_request, b->metric ? b->metric : "");
    if (b->tenant && *b->tenant)
        printf(", of tenant %s", b->tenant);
    printf("\nprice       %g a unit%s\n", b->lambda,
           b->breaker ? "; the breaker let only the cheapest arm serve" : "");
    if (b->has_charged)
        printf("charged     %g\n", b->charged);
    for (size_t i = 0; i < r->n_unaffordable; i++) {
        const Shunt__V1__ExcludedArm *arm = r->unaffordable[i];
        printf("too dear    %s (%s)\n", arm->arm_id && *arm->arm_id ? arm->arm_id : "(removed)",
               arm->detail ? arm->detail : "");
    }
}

/* The log keeps the terms of 64 arms; the rest of a long list has none. */
static enum ctl_exit print_explained_terms(const Shunt__V1__ExplainResponse *r)
{
    struct arm_terms arms[RANKING_MAX];
    size_t n = 0;
    for (size_t i = 0; i < r->n_arms && n < RANKING_MAX; i++)
        if (r->arms[i]->terms)
            arms[n++] = (struct arm_terms){r->arms[i]->arm_id, r->arms[i]->terms};
    return print_terms(arms, n, r->budget != NULL);
}

static enum ctl_exit print_explain(const struct ctl *ctl, const ProtobufCMessage *response)
{
    (void)ctl;
    const Shunt__V1__ExplainResponse *r = (const void *)response;
    printf("decision    %s\n", r->decision_id ? r->decision_id : "");
    printf("router      %s\n", r->router ? r->router : "");
    printf("arm         %s\n", r->arm_id ? r->arm_id : "");
    printf("reason      %s\n", reason_name(r->reason));
    printf("policy      %s%s\n", r->policy ? r->policy : "",
           r->fallback ? "  (the arm it names was not eligible: the best mean)" : "");
    printf("propensity  %.4f%s\n", r->propensity,
           r->evaluable ? "" : "  (not for off-policy estimates)");
    print_trial(r);
    print_time(r->issued_at_us);
    printf("position    %" PRIu64 "\n", r->position);
    printf("seed        %" PRIu64 "\n", r->seed);
    for (size_t i = 0; i < r->n_weights; i++)
        printf("weight      %s %g\n", r->weights[i]->key, r->weights[i]->value);
    print_budget(r);
    print_numbers("context     ", r->context, r->n_context);
    puts("");
    enum ctl_exit code = print_eligible(r);
    return code == CTL_OK ? print_explained_terms(r) : code;
}

#define END                                                                                        \
    {                                                                                              \
        NULL, NULL, NULL, NULL, COMMAND_SET                                                        \
    }

/* Where an agent's run stands. */
#define AGENT_OPTIONS                                                                              \
    {"turn", "N", "turns of the conversation before this one", "turn", COMMAND_SET},               \
        {"tool-step", "N", "tool calls of this run so far", "tool_step", COMMAND_SET},             \
        {"tool-errors", "N", "of those, failed", "tool_errors", COMMAND_SET},                      \
        {"tokens-so-far", "N", "tokens of this run so far", "tokens_so_far", COMMAND_SET},         \
        {"images", "N", "images in the prompt", "images", COMMAND_SET},                            \
        {"max-output-tokens", "N", "most tokens you will take", "max_output_tokens", COMMAND_SET}, \
        {"json-required", NULL, "the answer must be JSON", "json_required", COMMAND_FLAG},         \
    {                                                                                              \
        "tools-required", NULL, "the arm must call tools", "tools_required", COMMAND_FLAG          \
    }

static const struct command_option route_options[] = {
    {"router", "ROUTER", "the router to ask (default: default)", "router", COMMAND_SET},
    {"text", "TEXT", "the prompt", NULL, COMMAND_LOCAL},
    {"text-file", "FILE", "a file that holds the prompt", NULL, COMMAND_LOCAL},
    {"task", "LABEL", "the task label", "task", COMMAND_SET},
    {"features", "1,2,3", "ready features, as many as the router declares", NULL, COMMAND_LOCAL},
    {"embedding-file", "FILE", "numbers of the prompt's embedding", NULL, COMMAND_LOCAL},
    AGENT_OPTIONS,
    {"weights", "METRIC=W,...", "in place of the router's weights", "weights", COMMAND_PAIRS},
    {"candidates", "ARM,...", "choose among these arms", "candidates", COMMAND_SET},
    {"exclude", "ARM,...", "choose none of these arms", "exclude", COMMAND_SET},
    {"selector", "SELECTOR", "choose among arms with these labels: 'tier in (small,medium),!beta'",
     "selector", COMMAND_SET},
    {"stage", "NAME", "a stage of the router: only arms that it allows", "stage", COMMAND_SET},
    {"session", "NAME", "the session that it is a step of", "session_id", COMMAND_SET},
    {"budget-metric", "METRIC", "what that session's budget is in, such as cost_usd",
     "session_budget.metric", COMMAND_SET},
    {"budget", "X", "what that session may spend, never more", "session_budget.amount",
     COMMAND_SET},
    {"input-tokens", "N", "tokens of the prompt (default: a third of its bytes)", "input_tokens",
     COMMAND_SET},
    {"modalities", "audio,...", "what the prompt holds beside text and images", "modalities",
     COMMAND_SET},
    {"limits", "METRIC=BOUND,...", "bounds on what metrics are expected to be, in their own unit",
     "limits", COMMAND_PAIRS},
    {"max-cost-usd", "USD", "limit of cost_usd", "max_cost_usd", COMMAND_SET},
    {"max-latency-ms", "MS", "limit of latency_ms", "max_latency_ms", COMMAND_SET},
    {"min-quality", "Q", "limit of quality, from below", "min_quality", COMMAND_SET},
    {"tenant", "TENANT", "on whose behalf: whose budget pays", "tenant", COMMAND_SET},
    {"baseline", "ARM", "the arm you would take without shunt", "baseline_arm_id", COMMAND_SET},
    {"decision-id", "UUID", "your own id for the decision", "decision_id", COMMAND_SET},
    {"max-ranked", "N", "show the N best arms", "max_ranked", COMMAND_SET},
    {"explain", NULL, "show the terms of each ranked arm", "explain", COMMAND_FLAG},
    {"dry-run", NULL, "decide, but count and log nothing", "dry_run", COMMAND_FLAG},
    {"latency-critical", NULL, "explore nothing by force with it", "latency_critical",
     COMMAND_FLAG},
    {"defer", NULL, "decide ahead: it counts once it is activated, or reported", "defer_activation",
     COMMAND_FLAG},
    END};
static const struct command_option features_options[] = {
    {"router", "ROUTER", "the router whose context it is (default: default)", "router",
     COMMAND_SET},
    {"text", "TEXT", "the prompt", NULL, COMMAND_LOCAL},
    {"text-file", "FILE", "a file that holds the prompt", NULL, COMMAND_LOCAL},
    {"task", "LABEL", "the task label", "task", COMMAND_SET},
    {"features", "1,2,3", "ready features, as many as the router declares", NULL, COMMAND_LOCAL},
    {"embedding-file", "FILE", "numbers of the prompt's embedding", NULL, COMMAND_LOCAL},
    AGENT_OPTIONS,
    END};
static const struct command_option report_options[] = {
    {"token", "BASE64", "the decision's token, as route prints it", "decision_token", COMMAND_SET},
    {"metric", "NAME=VALUE,...", "what was measured; may be repeated", "metrics", COMMAND_PAIRS},
    {"status", "ok|error|refused|timeout", "how the call ended (default: ok)", "status",
     COMMAND_SET},
    {"key", "KEY", "this report's own name, where the router aggregates", "idempotency_key",
     COMMAND_SET},
    {"source", "NAME", "who says so", "source", COMMAND_SET},
    {"served-arm", "ARM", "the arm that answered in place of the chosen one", "served_arm_id",
     COMMAND_SET},
    END};
static const struct command_option activate_options[] = {
    {"token", "BASE64", "the decision's token, as route prints it", "decision_token", COMMAND_SET},
    {"session", "ID", "the session whose step it becomes", "session_id", COMMAND_SET},
    END};
static const struct command_option no_options[] = {END};

const struct command decision_commands[] = {
    {.words = "route",
     .args = "[-]",
     .doc = "Ask which arm should serve a request.\v`-` reads the prompt from standard input.",
     .options = route_options,
     .positional_max = 1,
     .run = route,
     .print = print_route,
     .service = CTL_ROUTER,
     .method = "RouteRequest",
     .request = &shunt__v1__route_request__descriptor,
     .response = &shunt__v1__route_response__descriptor},
    {.words = "report",
     .args = "DECISION_ID",
     .doc = "Say how a decision went.\v"
            "Without --token the server looks in its decision log; with it nothing is looked up.",
     .options = report_options,
     .positional_min = 1,
     .positional_max = 1,
     .positional_path = "decision_id",
     .run = command_call,
     .print = print_report,
     .service = CTL_ROUTER,
     .method = "ReportReward",
     .request = &shunt__v1__report_reward_request__descriptor,
     .response = &shunt__v1__report_reward_response__descriptor},
    {.words = "activate",
     .args = "DECISION_ID",
     .doc = "Say that a decision made with --defer is served.\vIt counts from now on.",
     .options = activate_options,
     .positional_min = 1,
     .positional_max = 1,
     .positional_path = "decision_id",
     .run = command_call,
     .print = print_activated,
     .service = CTL_ROUTER,
     .method = "ActivateDecision",
     .request = &shunt__v1__activate_decision_request__descriptor,
     .response = &shunt__v1__activate_decision_response__descriptor},
    {.words = "explain",
     .args = "DECISION_ID",
     .doc = "Show why a decision fell as it did.\vIt must be in the decision log.",
     .options = no_options,
     .positional_min = 1,
     .positional_max = 1,
     .positional_path = "decision_id",
     .run = command_call,
     .print = print_explain,
     .service = CTL_ADMIN,
     .method = "Explain",
     .request = &shunt__v1__explain_request__descriptor,
     .response = &shunt__v1__explain_response__descriptor},
    {.words = "features",
     .args = "[TEXT|-]",
     .doc = "Show the context that a request becomes, every number named.\v`-` reads the prompt "
            "from standard input. Nothing is decided, learned, stored or logged.",
     .options = features_options,
     .positional_max = 1,
     .run = features,
     .print = print_features,
     .service = CTL_ADMIN,
     .method = "Features",
     .request = &shunt__v1__features_request__descriptor,
     .response = &shunt__v1__features_response__descriptor},
    {.words = NULL}};
