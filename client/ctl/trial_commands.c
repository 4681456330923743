/* trial_commands.c - what a trial shows: split, agreement; and its end: router promote. */
#include "client/ctl/commands.h"
#include "client/ctl/table.h"
#include "shunt/v1/admin.pb-c.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static enum ctl_exit print_end(struct table *t)
{
    bool ok = t && table_print(t, stdout, ctl_bold());
    table_free(t);
    return ok ? CTL_OK : ctl_fail(CTL_REFUSED, "out of memory");
}

static void print_since(int64_t us)
{
    char text[64];
    time_t seconds = (time_t)(us / 1000000);
    struct tm tm;
    if (gmtime_r(&seconds, &tm) && strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm))
        printf(", counted since %s", text);
}

static void interval_cell(struct table *t, const Shunt__V1__MeanEstimate *e)
{
    if (!e || !e->has_mean)
        table_cell(t, "-");
    else if (!e->has_low)
        table_cell(t, "%.4g", e->mean);
    else
        table_cell(t, "%.4g [%.4g, %.4g]", e->mean, e->low, e->high);
}

static const Shunt__V1__MeanEstimate *metric_of(const Shunt__V1__SplitSide *side, const char *name)
{
    for (size_t i = 0; side && i < side->n_metrics; i++)
        if (strcmp(side->metrics[i]->key, name) == 0)
            return side->metrics[i]->value;
    return NULL;
}

static const Shunt__V1__MeanEstimate *difference_of(const Shunt__V1__SplitReport *r,
                                                    const char *name)
{
    for (size_t i = 0; i < r->n_difference; i++)
        if (strcmp(r->difference[i]->key, name) == 0)
            return r->difference[i]->value;
    return NULL;
}

static void metric_row(struct table *t, const Shunt__V1__SplitReport *r, const char *name)
{
    table_cell(t, "%s", name);
    interval_cell(t, metric_of(r->a, name));
    interval_cell(t, metric_of(r->b, name));
    interval_cell(t, difference_of(r, name));
}

static enum ctl_exit print_split(const struct ctl *ctl, const ProtobufCMessage *response)
{
    (void)ctl;
    const Shunt__V1__SplitReport *r = (const void *)response;
    if (!r->has_since_us || !r->a || !r->b) {
        printf("router %s: no split was counted yet; it begins with --set split_policy=NAME in "
               "MODE_ONLINE\n",
               r->router ? r->router : "");
        return CTL_OK;
    }
    printf("router %s: split %s, share of B %g", r->router ? r->router : "",
           r->running ? "running" : "ended", r->share);
    print_since(r->since_us);
    puts("\n");
    struct table *t = table_new();
    if (!t)
        return print_end(t);
    table_column(t, "", TABLE_LEFT);
    table_column(t, "A", TABLE_RIGHT);
    table_column(t, "B", TABLE_RIGHT);
    table_column(t, "B less A", TABLE_RIGHT);
    table_cell(t, "policy");
    table_cell(t, "%s", r->a->policy);
    table_cell(t, "%s", r->b->policy);
    table_cell(t, "%s", "");
    table_cell(t, "requests");
    table_cell(t, "%" PRIu64, r->a->requests);
    table_cell(t, "%" PRIu64, r->b->requests);
    table_cell(t, "%s", "");
    table_cell(t, "answered");
    table_cell(t, "%" PRIu64, r->a->answered);
    table_cell(t, "%" PRIu64, r->b->answered);
    table_cell(t, "%s", "");
    for (size_t i = 0; i < r->a->n_metrics; i++)
        metric_row(t, r, r->a->metrics[i]->key);
    for (size_t i = 0; i < r->b->n_metrics; i++)
        if (!metric_of(r->a, r->b->metrics[i]->key))
            metric_row(t, r, r->b->metrics[i]->key);
    table_cell(t, "utility");
    interval_cell(t, r->a->utility);
    interval_cell(t, r->b->utility);
    interval_cell(t, r->utility_difference);
    enum ctl_exit code = print_end(t);
    printf("\n%s\n", r->verdict ? r->verdict : "");
    return code;
}

static void print_shares(const Shunt__V1__AgreementReport *r)
{
    printf("decided     %" PRIu64 "\n", r->decided);
    printf("agreed      %" PRIu64, r->agreed);
    if (r->has_share)
        printf(" (%.1f %%; of the latest 100, fading, %.1f %%)", 100 * r->share, 100 * r->recent);
    puts("");
    if (r->has_constant && r->has_by_chance)
        printf("by chance   %.1f %%; always the baseline's commonest arm %.1f %%\n",
               100 * r->by_chance, 100 * r->constant);
    if (r->has_kappa)
        printf("kappa       %.2f (1: always agrees, 0: no more than by chance)\n", r->kappa);
    else if (r->decided)
        puts("kappa       - (neither the baseline nor the policy ever varied)");
    const Shunt__V1__MeanEstimate *both[] = {r->agreed_utility, r->differed_utility};
    for (int i = 0; i < 2; i++)
        if (both[i] && both[i]->has_mean && both[i]->has_low)
            printf("utility     %.4g [%.4g, %.4g] where the policy %s\n", both[i]->mean,
                   both[i]->low, both[i]->high, i ? "differs" : "agrees");
}

static enum ctl_exit print_agreement(const struct ctl *ctl, const ProtobufCMessage *response)
{
    (void)ctl;
    const Shunt__V1__AgreementReport *r = (const void *)response;
    if (!r->has_since_us) {
        printf(
            "router %s: no agreement is counted; it begins with --set mode=MODE_APPRENTICE, and a "
            "later split takes its place\n",
            r->router ? r->router : "");
        return CTL_OK;
    }
    printf("router %s: %s", r->router ? r->router : "",
           r->running ? "apprentice" : "no apprentice any more");
    print_since(r->since_us);
    puts("");
    print_shares(r);
    puts("");
    struct table *t = table_new();
    if (!t)
        return print_end(t);
    table_column(t, "arm", TABLE_LEFT);
    table_column(t, "served", TABLE_RIGHT);
    table_column(t, "policy's choice", TABLE_RIGHT);
    table_column(t, "outcomes known", TABLE_LEFT);
    for (size_t i = 0; i < r->n_arms; i++) {
        table_cell(t, "%s", r->arms[i]->arm_id);
        table_cell(t, "%" PRIu64, r->arms[i]->served);
        table_cell(t, "%" PRIu64, r->arms[i]->chosen);
        table_cell(t, "%s", r->arms[i]->known ? "yes" : "no");
    }
    enum ctl_exit code = print_end(t);
    printf("\n%s\n", r->verdict ? r->verdict : "");
    return code;
}

static enum ctl_exit print_promoted(const struct ctl *ctl, const ProtobufCMessage *response)
{
    (void)ctl;
    const Shunt__V1__RouterInfo *router = (const void *)response;
    printf("router %s: online, the policy answers\n", router->spec ? router->spec->name : "?");
    return CTL_OK;
}

static const struct command_option no_options[] = {{NULL, NULL, NULL, NULL, COMMAND_SET}};

const struct command trial_commands[] = {
    {.words = "split",
     .args = "[ROUTER]",
     .doc = "Show how the two policies of a split compare.\vMeans with 95 % intervals; utility "
            "under the router's weights as they are now.",
     .options = no_options,
     .positional_max = 1,
     .positional_path = "router",
     .run = command_call,
     .service = CTL_ADMIN,
     .method = "GetSplit",
     .request = &shunt__v1__get_split_request__descriptor,
     .response = &shunt__v1__split_report__descriptor,
     .print = print_split},
    {.words = "agreement",
     .args = "[ROUTER]",
     .doc = "Show how often an apprentice's policy agrees with the baseline.\vAnd whether to "
            "promote the router.",
     .options = no_options,
     .positional_max = 1,
     .positional_path = "router",
     .run = command_call,
     .service = CTL_ADMIN,
     .method = "GetAgreement",
     .request = &shunt__v1__get_agreement_request__descriptor,
     .response = &shunt__v1__agreement_report__descriptor,
     .print = print_agreement},
    {.words = "router promote",
     .args = "NAME",
     .doc = "Let the policy answer: set the router's mode to MODE_ONLINE.\vArms that the baseline "
            "never was enter by the newcomer share.",
     .options = no_options,
     .positional_min = 1,
     .positional_max = 1,
     .positional_path = "name",
     .fixed = {"settings.mode", "MODE_ONLINE"},
     .run = command_call,
     .service = CTL_ADMIN,
     .method = "UpdateRouter",
     .request = &shunt__v1__update_router_request__descriptor,
     .response = &shunt__v1__router_info__descriptor,
     .print = print_promoted},
    {.words = NULL}};
